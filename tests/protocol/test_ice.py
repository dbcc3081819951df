"""The lite agent: what it answers, learns, forgets, and when consent ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import stun
from relay.protocol.ice import (
    Address,
    ConsentExpired,
    Credentials,
    Dropped,
    IceLite,
    IceOutput,
    Selected,
    Transmit,
    Validated,
)

LOCAL = Credentials("relayfrag", "relay-password-0123456789")
REMOTE = Credentials("peerfrag", "peer-password-0123456789")
HERE: Address = ("192.0.2.7", 4000)
TRANSACTION = b"transaction!"


def agent(now: float = 0.0) -> IceLite:
    return IceLite(LOCAL, REMOTE, now)


def check(
    *,
    user: str = "relayfrag:peerfrag",
    password: str = LOCAL.pwd,
    nominate: bool = False,
    priority: int | None = 1,
    controlled: int | None = None,
    extra: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    controlling = 5 if controlled is None else None
    return stun.binding_request(
        TRANSACTION,
        user,
        password,
        priority=priority,
        controlling=controlling,
        controlled=controlled,
        nominate=nominate,
        extra=extra,
    )


def answers(output: list[IceOutput]) -> list[stun.Message]:
    return [stun.parse(item.data) for item in output if isinstance(item, Transmit)]


def news(output: list[IceOutput]) -> list[IceOutput]:
    return [item for item in output if not isinstance(item, Transmit)]


@pytest.mark.parametrize("source", [HERE, ("2001:db8::7", 4000)])
def test_a_check_is_answered_with_the_address_it_came_from(source: Address) -> None:
    output = agent().receive(check(), source, 1.0)
    (answer,) = answers(output)
    assert answer.type == stun.BINDING_SUCCESS
    assert answer.authentic(LOCAL.pwd)
    assert stun.FINGERPRINT not in answer.attributes  # it stands behind the integrity, and parse verified it
    assert stun.address(answer.attributes[stun.XOR_MAPPED_ADDRESS], TRANSACTION) == source
    assert news(output) == [Validated(source)]


def test_nomination_selects_and_repeats_silently() -> None:
    ice = agent()
    assert news(ice.receive(check(nominate=True), HERE, 1.0)) == [Validated(HERE), Selected(HERE)]
    assert news(ice.receive(check(nominate=True), HERE, 2.0)) == []
    other = ("192.0.2.7", 4001)
    assert news(ice.receive(check(nominate=True), other, 3.0)) == [Validated(other), Selected(other)]
    assert news(ice.receive(check(), HERE, 4.0)) == []


@pytest.mark.parametrize(
    "datagram",
    [
        check(password="wrong-password-0123456789"),
        check(user="otherfrag:peerfrag"),
        check(user="relayfrag:otherfrag"),
        check(user="relayfrag"),
        stun.build(stun.BINDING_REQUEST, TRANSACTION, [(stun.USERNAME, b"relayfrag:peerfrag")]),
        stun.build(stun.BINDING_REQUEST, TRANSACTION, [], LOCAL.pwd),
        stun.build(stun.BINDING_INDICATION, TRANSACTION, [], LOCAL.pwd),
        stun.binding_success(TRANSACTION, HERE, LOCAL.pwd),
        stun.build(0x0003, TRANSACTION, [(stun.USERNAME, b"relayfrag:peerfrag")], LOCAL.pwd),
        bytes(20),
        b"",
    ],
)
def test_what_is_not_authentic_gets_nothing_and_changes_nothing(datagram: bytes) -> None:
    ice = agent()
    assert ice.receive(datagram, HERE, 5.0) == []
    assert ice.deadline() == 30.0


def test_use_candidate_behind_the_integrity_does_not_nominate() -> None:
    datagram = check()[:-8] + bytes.fromhex("00250000")
    datagram = datagram[:2] + (len(datagram) - 20).to_bytes(2) + datagram[4:]
    assert news(agent().receive(datagram, HERE, 1.0)) == [Validated(HERE)]


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        (check(controlled=9), 487),
        (check(priority=None), 400),
        (check(extra=((0x0003, b"\0\0\0\6"),)), 420),
    ],
)
def test_an_authentic_request_we_cannot_grant_gets_a_short_error(datagram: bytes, code: int) -> None:
    output = agent().receive(datagram, HERE, 1.0)
    (answer,) = answers(output)
    assert answer.type == stun.BINDING_ERROR
    assert answer.authentic(LOCAL.pwd)
    assert answer.attributes[stun.ERROR_CODE] == bytes([0, 0, code // 100, code % 100])
    assert news(output) == []
    assert len(answer.raw) <= len(datagram)


def test_consent_runs_out_thirty_seconds_after_the_last_check() -> None:
    ice = agent(now=100.0)
    assert ice.deadline() == 130.0
    ice.receive(check(nominate=True), HERE, 110.0)
    assert ice.deadline() == 140.0
    assert ice.timeout(139.9) == []
    assert ice.timeout(140.0) == [ConsentExpired()]
    assert ice.deadline() is None
    assert ice.timeout(200.0) == []
    assert ice.receive(check(), HERE, 200.0) == []


def test_refused_requests_do_not_renew_consent() -> None:
    ice = agent()
    ice.receive(check(controlled=9), HERE, 20.0)
    ice.receive(check(extra=((0x7000, b""),)), HERE, 20.0)
    assert ice.deadline() == 30.0


def test_the_least_recently_heard_address_makes_room_but_never_the_selected() -> None:
    ice = agent()
    ice.receive(check(nominate=True), HERE, 0.0)
    others = [("192.0.2.7", 5000 + n) for n in range(9)]
    for other in others[:7]:
        assert news(ice.receive(check(), other, 1.0)) == [Validated(other)]
    ice.receive(check(), others[0], 2.0)
    assert news(ice.receive(check(), others[7], 3.0)) == [Validated(others[7]), Dropped(others[1])]
    assert news(ice.receive(check(), others[8], 3.0)) == [Validated(others[8]), Dropped(others[2])]


def test_restart_keeps_the_old_credentials_until_the_new_ones_are_used() -> None:
    ice = agent()
    stale = ("192.0.2.7", 4009)
    ice.receive(check(nominate=True), HERE, 0.0)
    ice.receive(check(), stale, 0.0)
    new_local = Credentials("relaynew", "new-relay-password-01234567")
    ice.restart(new_local, Credentials("peernew", "new-peer-password-01234567"), 1.0)
    assert answers(ice.receive(check(), HERE, 2.0))
    there = ("192.0.2.8", 4000)
    renewed = {"user": "relaynew:peernew", "password": new_local.pwd}
    first = stun.binding_request(TRANSACTION, **renewed, priority=1)
    assert news(ice.receive(first, there, 3.0)) == [Dropped(stale), Validated(there)]
    assert ice.receive(check(), HERE, 4.0) == []
    nominating = stun.binding_request(TRANSACTION, **renewed, priority=1, nominate=True)
    assert news(ice.receive(nominating, there, 5.0)) == [Selected(there), Dropped(HERE)]


def test_restart_from_the_same_address_changes_no_path() -> None:
    ice = agent()
    ice.receive(check(nominate=True), HERE, 0.0)
    new_local = Credentials("relaynew", "new-relay-password-01234567")
    ice.restart(new_local, REMOTE, 1.0)
    datagram = stun.binding_request(TRANSACTION, "relaynew:peerfrag", new_local.pwd, priority=1, nominate=True)
    assert news(ice.receive(datagram, HERE, 2.0)) == []


def test_restart_revives_an_expired_agent() -> None:
    ice = agent()
    ice.timeout(30.0)
    ice.restart(LOCAL, REMOTE, 31.0)
    assert ice.deadline() == 61.0
    assert answers(ice.receive(check(), HERE, 32.0))


def test_credentials_do_not_print_their_password() -> None:
    assert LOCAL.pwd not in repr(LOCAL)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), max_size=60))
def test_the_table_stays_bounded_and_the_outputs_describe_it(steps: list[tuple[int, bool, bool]]) -> None:
    ice = agent()
    known: set[Address] = set()
    selected: Address | None = None
    for number, (port, nominate, authentic) in enumerate(steps):
        source = ("192.0.2.7", 1000 + port)
        password = LOCAL.pwd if authentic else "wrong-password-0123456789"
        for item in ice.receive(check(password=password, nominate=nominate), source, number / 100):
            match item:
                case Validated(address):
                    assert address not in known
                    known.add(address)
                case Dropped(address):
                    assert address != selected
                    known.remove(address)
                case Selected(address):
                    assert address in known
                    assert address != selected
                    selected = address
        assert len(known) <= 8


@given(st.binary(max_size=120))
def test_any_bytes_get_no_answer(data: bytes) -> None:
    assert agent().receive(data, HERE, 0.0) == []
