"""STUN on the wire: RFC 5769's vectors, the rules of RFC 8489, and whatever bytes a stranger sends."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import stun

# RFC 5769 §2.1: sample request, padded with spaces.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# RFC 5769 §2.2 and §2.3: answers with an IPv4 and an IPv6 address.
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")


def test_sample_request_of_rfc_5769() -> None:
    message = stun.parse(REQUEST)
    assert message.type == stun.BINDING_REQUEST
    assert message.transaction == TRANSACTION
    assert message.attributes[stun.USERNAME] == b"evtj:h6vY"
    assert message.attributes[stun.PRIORITY] == bytes.fromhex("6e0001ff")
    assert message.authentic(PASSWORD)
    assert not message.authentic(PASSWORD + "x")
    assert stun.username(REQUEST) == ("evtj", "h6vY")


@pytest.mark.parametrize(
    ("datagram", "address"),
    [
        (RESPONSE_V4, ("192.0.2.1", 32853)),
        (RESPONSE_V6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_sample_responses_of_rfc_5769(datagram: bytes, address: stun.Address) -> None:
    message = stun.parse(datagram)
    assert message.type == stun.BINDING_SUCCESS
    assert message.authentic(PASSWORD)
    value = message.attributes[stun.XOR_MAPPED_ADDRESS]
    assert stun.address(value, message.transaction) == address
    assert stun.xor_address(address, message.transaction) == value
    assert stun.username(datagram) is None


# What follows the integrity (here FINGERPRINT, from byte 100) is not covered by it and does not count.
@pytest.mark.parametrize("at", range(100))
def test_no_altered_byte_passes(at: int) -> None:
    altered = bytearray(REQUEST)
    altered[at] ^= 1
    try:
        assert not stun.parse(bytes(altered)).authentic(PASSWORD)
    except stun.StunError:
        pass


def test_attributes_behind_the_integrity_do_not_count() -> None:
    message = stun.binding_request(TRANSACTION, "evtj:h6vY", PASSWORD, priority=1)
    body = message[:-8] + struct.pack("!HH", stun.USE_CANDIDATE, 0)
    body = body[:2] + struct.pack("!H", len(body) - 20) + body[4:]
    parsed = stun.parse(body)
    assert parsed.authentic(PASSWORD)
    assert stun.USE_CANDIDATE not in parsed.attributes


def test_the_first_of_two_equal_attributes_counts() -> None:
    message = stun.binding_request(TRANSACTION, "first:x", PASSWORD, extra=((stun.USERNAME, b"second:x"),))
    assert stun.parse(message).attributes[stun.USERNAME] == b"first:x"


@pytest.mark.parametrize(
    "kind", [stun.PRIORITY, stun.USE_CANDIDATE, stun.ICE_CONTROLLING, stun.ICE_CONTROLLED, stun.FINGERPRINT]
)
@pytest.mark.parametrize("size", [1, 7, 12])
def test_a_fixed_size_attribute_of_another_size_is_malformed(kind: int, size: int) -> None:
    with pytest.raises(stun.StunError):
        stun.parse(stun.build(stun.BINDING_REQUEST, TRANSACTION, [(kind, bytes(size))], PASSWORD))


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        REQUEST[:19],
        REQUEST[:-4],
        REQUEST + b"\0\0\0\0",
        b"\xc0" + REQUEST[1:],
        REQUEST[:4] + bytes(4) + REQUEST[8:],
        REQUEST[:2] + b"\x00\x57" + REQUEST[4:-1],
        stun.build(stun.BINDING_REQUEST, TRANSACTION, [(stun.SOFTWARE, bytes(1500))]),
    ],
)
def test_malformed_messages_are_refused(datagram: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.parse(datagram)
    assert stun.username(datagram) is None


def test_fingerprint_must_be_last() -> None:
    inner = stun.build(stun.BINDING_REQUEST, TRANSACTION, [])
    longer = inner[:2] + struct.pack("!H", 16) + inner[4:] + struct.pack("!HHI", stun.PRIORITY, 4, 1)
    with pytest.raises(stun.StunError):
        stun.parse(longer)


@pytest.mark.parametrize("user", [b"", b"evtj", b":h6vY", b"\xff\xfe:x"])
def test_a_username_without_two_halves_is_none(user: bytes) -> None:
    datagram = stun.build(stun.BINDING_REQUEST, TRANSACTION, [(stun.USERNAME, user)], PASSWORD)
    assert stun.username(datagram) is None


def test_errors_list_unknown_attributes() -> None:
    message = stun.parse(stun.binding_error(TRANSACTION, 420, PASSWORD, (0x7777,)))
    assert message.type == stun.BINDING_ERROR
    assert message.attributes[stun.ERROR_CODE] == bytes([0, 0, 4, 20])
    assert message.attributes[stun.UNKNOWN_ATTRIBUTES] == b"\x77\x77"
    assert message.authentic(PASSWORD)


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_stun_error(data: bytes) -> None:
    stun.username(data)
    try:
        stun.parse(data)
    except stun.StunError:
        pass


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8), st.booleans())
def test_framed_attributes_raise_only_stun_error(attributes: list[tuple[int, bytes]], signed: bool) -> None:
    datagram = stun.build(stun.BINDING_REQUEST, TRANSACTION, attributes, PASSWORD if signed else None)
    stun.username(datagram)
    try:
        stun.parse(datagram).authentic(PASSWORD)
    except stun.StunError:
        pass


@given(st.binary(max_size=30))
def test_any_address_value_raises_only_stun_error(value: bytes) -> None:
    try:
        stun.address(value, TRANSACTION)
    except stun.StunError:
        pass
