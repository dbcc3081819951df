"""The handshake between two of our own ends: keys, refusals, spoofed records, good-bye."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol import dtls
from relay.protocol.dtls import Certificate, Closed, Dtls, DtlsOutput, Failed, Keys, Send

OURS = Certificate.generate()
THEIRS = Certificate.generate()
STRANGER = Certificate.generate()


def fingerprint(certificate: Certificate) -> list[tuple[str, str]]:
    algorithm, _, digest = certificate.fingerprint.partition(" ")
    return [(algorithm, digest)]


def server(expect: Certificate = THEIRS, **options: float) -> Dtls:
    return Dtls(OURS, client=False, fingerprints=fingerprint(expect), now=0.0, **options)


def client(expect: Certificate = OURS, own: Certificate = THEIRS) -> Dtls:
    return Dtls(own, client=True, fingerprints=fingerprint(expect), now=0.0)


def flights(outputs: Sequence[DtlsOutput]) -> list[bytes]:
    return [output.data for output in outputs if isinstance(output, Send)]


def results(outputs: Sequence[DtlsOutput]) -> list[DtlsOutput]:
    return [output for output in outputs if not isinstance(output, Send)]


def shake(one: Dtls, other: Dtls, towards_other: Sequence[DtlsOutput]) -> tuple[list[DtlsOutput], list[DtlsOutput]]:
    """Carry flights to and fro until both are silent; what each said besides."""
    said: tuple[list[DtlsOutput], list[DtlsOutput]] = (results(towards_other), [])
    pending, receiver = flights(towards_other), 1
    for _ in range(20):
        outputs = [o for data in pending for o in (one, other)[receiver].receive(data, 0.0)]
        said[receiver].extend(results(outputs))
        pending, receiver = flights(outputs), 1 - receiver
        if not pending:
            return said
    raise AssertionError("the handshake does not end")


def connected() -> tuple[Dtls, Dtls]:
    a, b = client(), server()
    shake(a, b, a.start(0.0))
    return a, b


def test_both_ends_get_each_others_keys() -> None:
    a, b = client(), server()
    (ours,), (theirs,) = shake(a, b, a.start(0.0))
    assert isinstance(ours, Keys)
    assert isinstance(theirs, Keys)
    assert ours.profile == theirs.profile == "SRTP_AEAD_AES_128_GCM"
    assert (ours.rx, ours.tx) == (theirs.tx, theirs.rx)
    assert ours.rx != ours.tx
    assert len(ours.rx) == 16 + 12
    assert a.deadline() is None
    assert b.deadline() is None
    assert ours.rx.hex() not in repr(ours)


@pytest.mark.parametrize(("profile", "size"), [("SRTP_AES128_CM_SHA1_80", 30), ("SRTP_AEAD_AES_256_GCM", 44)])
def test_the_peer_may_know_one_profile_only(monkeypatch: pytest.MonkeyPatch, profile: str, size: int) -> None:
    monkeypatch.setattr(dtls, "PROFILES", (profile,))
    picky = Certificate.generate()
    a, b = client(own=picky), server(expect=picky)
    (ours,), (theirs,) = shake(a, b, a.start(0.0))
    assert isinstance(ours, Keys)
    assert isinstance(theirs, Keys)
    assert ours.profile == profile
    assert len(ours.rx) == size
    assert ours.rx == theirs.tx


@pytest.mark.parametrize("picky_client", [True, False])
def test_ends_without_a_common_profile_both_refuse(monkeypatch: pytest.MonkeyPatch, picky_client: bool) -> None:
    monkeypatch.setattr(dtls, "PROFILES", ("SRTP_AES128_CM_SHA1_32",))
    picky = Certificate.generate()
    ends = (OURS, picky) if picky_client else (picky, OURS)
    a = client(expect=ends[0], own=ends[1])
    b = Dtls(ends[0], client=False, fingerprints=fingerprint(ends[1]), now=0.0)
    a_said, b_said = shake(a, b, a.start(0.0))
    assert a_said == b_said == [Failed("no_profile")]


@pytest.mark.parametrize("wrong", ["client", "server"])
def test_a_wrong_certificate_is_refused_in_both_roles(wrong: str) -> None:
    a = client(expect=STRANGER if wrong == "client" else OURS)
    b = server(expect=STRANGER if wrong == "server" else THEIRS)
    a_said, b_said = shake(a, b, a.start(0.0))
    refuser, other = (a_said, b_said) if wrong == "client" else (b_said, a_said)
    assert refuser == [Failed("fingerprint")]
    # As server we refuse before the client can believe itself connected; as client we close at once.
    assert other == ([] if wrong == "server" else [other[0], Closed()])
    assert (a if wrong == "client" else b).deadline() is None


def test_a_refused_client_is_told() -> None:
    a, b = client(), server(expect=STRANGER)
    shake(a, b, a.start(0.0))
    assert a.timeout(dtls.ALERT_PATIENCE_S) == [Failed("alert")]


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "none", ""])
def test_weak_fingerprint_algorithms_match_nothing(algorithm: str) -> None:
    a = client()
    b = Dtls(OURS, client=False, fingerprints=[(algorithm, "AA")], now=0.0)
    _, said = shake(a, b, a.start(0.0))
    assert said == [Failed("fingerprint")]


def test_one_of_several_fingerprints_is_enough_in_any_case() -> None:
    ((algorithm, digest),) = fingerprint(THEIRS)
    a = client()
    b = Dtls(
        OURS,
        client=False,
        fingerprints=[("sha-512", "00"), (algorithm.upper(), digest.lower())],
        now=0.0,
    )
    _, (said,) = shake(a, b, a.start(0.0))
    assert isinstance(said, Keys)


def record(kind: int, body: bytes, *, version: int = 0xFEFD, epoch: int = 0, number: int = 0) -> bytes:
    header = bytes([kind]) + version.to_bytes(2) + epoch.to_bytes(2) + number.to_bytes(6)
    return header + len(body).to_bytes(2) + body


def handshake(kind: int, body: bytes, *, sequence: int = 0, length: int | None = None, offset: int = 0) -> bytes:
    total = len(body) if length is None else length
    return bytes([kind]) + total.to_bytes(3) + sequence.to_bytes(2) + offset.to_bytes(3) + len(body).to_bytes(3) + body


def hello(suites: bytes, *, version: int = 0xFEFD, extensions: bytes = b"") -> bytes:
    body = version.to_bytes(2) + bytes(32) + b"\0\0" + len(suites).to_bytes(2) + suites + b"\1\0"
    return record(22, handshake(1, body + (len(extensions).to_bytes(2) + extensions if extensions else b"")))


BAD = {
    "impossible cipher suite": hello(b"\x00\x00"),
    "reserved cipher suite": hello(b"\x0f\x0f"),
    "no cipher suite": hello(b""),
    "DTLS 1.0": hello(b"\xc0\x2b", version=0xFEFF),
    "extensions that lie": hello(b"\xc0\x2b", extensions=b"\x00\x0e\xff\xff"),
    "truncated hello": record(22, handshake(1, bytes(10))),
    "hello of 16 MB": record(22, handshake(1, b"x" * 30, length=0xFFFFFF)),
    "fragment of zero bytes": record(22, handshake(1, b"", length=100)),
    "fragment beyond its message": record(22, handshake(1, bytes(50), length=40)),
    "server hello": record(22, handshake(2, bytes(60))),
    "hello request": record(22, handshake(0, b"")),
    "finished": record(22, handshake(20, bytes(12))),
    "certificate": record(22, handshake(11, bytes(6), sequence=1)),
    "unknown message": record(22, handshake(99, bytes(4))),
    "fatal alert": record(21, b"\x02\x28"),
    "close_notify": record(21, b"\x01\x00"),
    "long alert": record(21, b"\x02\x28\x00"),
    "change cipher spec": record(20, b"\x01"),
    "other change cipher spec": record(20, b"\x02"),
    "application data": record(23, b"hello"),
    "application data of epoch 1": record(23, bytes(40), epoch=1),
    "junk of epoch 1": record(22, bytes(60), epoch=1),
    "large junk of epoch 1": record(22, bytes(1000), epoch=1),
    "junk of epoch 9": record(22, bytes(60), epoch=9),
    "empty record": record(22, b""),
    "length beyond the datagram": record(22, bytes(20))[:-4],
    "heartbeat": record(24, bytes(20)),
    "TLS version": record(22, bytes(20), version=0x0303),
    "header only": record(22, b"")[:12],
    "junk": bytes(range(100)),
    "nothing": b"",
    "too large": bytes(60000),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_record_before_the_handshake_does_not_prevent_it(bad: bytes) -> None:
    a, b = client(), server()
    for _ in range(dtls.MAX_RESTARTS):
        assert results(b.receive(bad, 0.0)) == []
    (ours,), (theirs,) = shake(a, b, a.start(0.0))
    assert isinstance(ours, Keys)
    assert isinstance(theirs, Keys)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_record_never_makes_the_server_answer_with_an_alert(bad: bytes) -> None:
    """An alert sent for a spoofed record would reach the honest client and end its handshake."""
    for data in flights(server().receive(bad, 0.0)):
        assert data[0] != 21


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_record_after_completion_has_no_effect(bad: bytes) -> None:
    a, b = connected()
    for end in (a, b):
        for _ in range(20):
            assert end.receive(bad, 1.0) == []
    assert [o for data in flights(a.close()) for o in b.receive(data, 2.0)] == [Closed()]


def test_a_bad_record_before_the_answer_does_not_keep_a_client_from_connecting() -> None:
    a, b = client(), server()
    a.start(0.0)
    outputs = a.receive(BAD["server hello"], 0.0)
    (ours,), (theirs,) = shake(a, b, outputs)
    assert isinstance(ours, Keys)
    assert isinstance(theirs, Keys)


def test_too_many_broken_objects_end_the_session() -> None:
    b = server()
    said = [o for _ in range(dtls.MAX_RESTARTS + 1) for o in b.receive(BAD["impossible cipher suite"], 0.0)]
    assert said == [Failed("too_many_restarts")]
    assert b.receive(BAD["impossible cipher suite"], 0.0) == []
    assert b.deadline() is None


def test_nothing_heard_fails_at_the_limit() -> None:
    b = server(timeout_s=12.0)
    assert b.deadline() == 12.0
    assert b.timeout(11.9) == []
    assert b.timeout(12.0) == [Failed("timeout")]
    assert b.timeout(13.0) == []
    assert b.deadline() is None


def test_an_old_version_is_named_at_the_limit() -> None:
    b = server()
    b.receive(BAD["DTLS 1.0"], 0.0)
    assert b.timeout(30.0) == [Failed("version")]


def test_an_alert_in_the_clear_ends_the_session_only_if_the_handshake_does_not_complete() -> None:
    b = server()
    b.receive(BAD["fatal alert"], 3.0)
    assert b.deadline() == 3.0 + dtls.ALERT_PATIENCE_S
    assert b.timeout(3.0 + dtls.ALERT_PATIENCE_S) == [Failed("alert")]
    a, b = client(), server()
    hello_flight = a.start(0.0)
    b.receive(BAD["fatal alert"], 0.0)
    _, (said,) = shake(a, b, hello_flight)
    assert isinstance(said, Keys)


def test_close_notify_closes_the_other_side_once() -> None:
    a, b = connected()
    goodbye = a.close()
    assert flights(goodbye)
    assert [o for data in flights(goodbye) for o in b.receive(data, 1.0)] == [Closed()]
    assert [o for data in flights(goodbye) for o in b.receive(data, 1.0)] == []
    assert a.close() == []
    assert b.close() == []


def test_closing_before_the_handshake_sends_nothing() -> None:
    a = client()
    a.start(0.0)
    assert a.close() == []
    assert a.timeout(100.0) == []


def test_a_client_starts_once_and_a_server_never() -> None:
    a = client()
    assert a.receive(BAD["server hello"], 0.0) == []
    assert len(a.start(0.0)) == 1
    assert a.start(0.0) == []
    assert server().start(0.0) == []


def test_a_lost_last_flight_is_repeated() -> None:
    """The client repeats its flight by the library's clock, so this follows real time: about a second."""
    a, b = client(), server()
    (first,) = flights(a.start(0.0))
    (second,) = flights(b.receive(first, 0.0))
    (third,) = flights(a.receive(second, 0.0))
    assert [type(o) for o in b.receive(third, 0.0)][-1] is Keys  # and its last flight is lost
    again = wait_for_flight(a)
    answer = [data for part in again for data in flights(b.receive(part, 1.0))]
    assert [type(o) for data in answer for o in a.receive(data, 1.0)] == [Keys]


def wait_for_flight(end: Dtls) -> list[bytes]:
    for _ in range(100):
        due = end.deadline()
        assert due is not None
        again = flights(end.timeout(due))
        if again:
            return again
        time.sleep(0.05)
    raise AssertionError("no flight was repeated")


@pytest.mark.parametrize("mtu", [500, 1200])
def test_no_datagram_exceeds_the_mtu(mtu: int) -> None:
    a, b = client(), Dtls(OURS, client=False, fingerprints=fingerprint(THEIRS), now=0.0, mtu=mtu)
    flight = [d for data in flights(a.start(0.0)) for d in flights(b.receive(data, 0.0))]
    assert flight
    assert max(map(len, flight)) <= mtu


def test_a_repeated_hello_does_not_disturb() -> None:
    a, b = client(), server()
    first = a.start(0.0)
    said: list[DtlsOutput] = []
    for data in flights(first):
        answer = b.receive(data, 0.0)
        b.receive(data, 0.0)
        a_said, b_said = shake(b, a, answer)
        said += a_said + b_said
    assert [type(item) for item in said] == [Keys, Keys]


def test_a_repeated_last_flight_of_the_peer_is_harmless() -> None:
    a, b = client(), server()
    pending = flights(a.start(0.0))
    last: list[bytes] = []
    receiver, sender = b, a
    while pending:
        outputs = [o for data in pending for o in receiver.receive(data, 0.0)]
        if sender is a:
            last = pending
        pending = flights(outputs)
        receiver, sender = sender, receiver
    for _ in range(100):
        for data in last:
            assert b.receive(data, 1.0) == []
    assert [o for data in flights(a.close()) for o in b.receive(data, 2.0)] == [Closed()]


def test_a_strangers_good_hello_first_does_not_prevent_the_handshake() -> None:
    a, b, stranger = client(), server(), client(own=STRANGER)
    for data in flights(stranger.start(0.0)):
        assert flights(b.receive(data, 0.0))
    (ours,), (theirs,) = shake(a, b, a.start(0.0))
    assert isinstance(ours, Keys)
    assert isinstance(theirs, Keys)


def records_of(datagram: bytes) -> list[bytes]:
    records = []
    while datagram:
        end = 13 + int.from_bytes(datagram[11:13])
        records.append(datagram[:end])
        datagram = datagram[end:]
    return records


def test_a_strangers_hello_in_the_middle_does_not_disturb() -> None:
    a, b, stranger = client(), server(), client(own=STRANGER)
    (first,) = flights(a.start(0.0))
    (second,) = flights(b.receive(first, 0.0))
    third = a.receive(second, 0.0)
    for data in flights(third):
        split = records_of(data)
        outputs = b.receive(split[0], 0.0)
        for spoofed in flights(stranger.start(0.0)):
            assert b.receive(spoofed, 0.0) == []
        outputs += b.receive(b"".join(split[1:]), 0.0)
        assert [type(o) for o in results(outputs)] == [Keys]


@pytest.mark.parametrize("kind", [20, 22])
def test_a_spoofed_high_record_number_does_not_blind_the_object(kind: int) -> None:
    body = b"\x01" if kind == 20 else handshake(14, b"", sequence=9)
    a, b = client(), server()
    (first,) = flights(a.start(0.0))
    (second,) = flights(b.receive(first, 0.0))
    assert b.receive(record(kind, body, number=2**48 - 1), 0.0) == []
    assert a.receive(record(22, handshake(14, b"", sequence=9), number=2**48 - 1), 0.0) == []
    third = a.receive(second, 0.0)
    assert [type(o) for data in flights(third) for o in results(b.receive(data, 0.0))] == [Keys]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
def test_any_bytes_raise_nothing(datagrams: list[bytes], as_client: bool) -> None:
    end = client() if as_client else server()
    end.start(0.0)
    for datagram in datagrams:
        end.receive(datagram, 0.0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([20, 21, 22, 23]),
            st.binary(max_size=60),
            st.integers(0, 2),
            st.booleans(),
            st.integers(0, 25),
        ),
        max_size=5,
    ),
    st.sampled_from(["server", "client", "connected"]),
)
def test_any_records_raise_nothing(records: list[tuple[int, bytes, int, bool, int]], state: str) -> None:
    end = connected()[1] if state == "connected" else client() if state == "client" else server()
    end.start(0.0)
    for number, (kind, body, epoch, framed, message) in enumerate(records):
        fragment = handshake(message, body, sequence=number) if framed else body
        end.receive(record(kind, fragment, epoch=epoch, number=number), 0.0)
    end.close()
