"""STUN messages (RFC 8489), as far as connectivity checks need them.

Written here rather than taken from aioice, whose parser raises struct.error on attributes of a wrong size and
reads attributes that stand behind MESSAGE-INTEGRITY: anybody on the path can append those, so they must
not count (RFC 8489 §14.5).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |0 0|     STUN Message Type     |         Message Length        |
    |                     Magic Cookie 0x2112A442                   |
    |                     Transaction ID (96 bits)                  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

import hashlib
import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass

Address = tuple[str, int]
"""Textual IP address (IPv6 without brackets or scope, v4-mapped given as plain IPv4) and port."""

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20
TRANSACTION_BYTES = 12

# A check has about 100 bytes; browsers add up to 100 of their own. Nothing longer than a datagram that
# crosses an Ethernet unfragmented is worth an HMAC.
MAX_MESSAGE_BYTES = 1500

# Message types: method Binding with its classes (RFC 8489 §5).
BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

# Attributes (RFC 8489 §18.3, RFC 8445 §16.1).
MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
REALM = 0x0014
NONCE = 0x0015
MESSAGE_INTEGRITY_SHA256 = 0x001C
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

# What a connectivity check may carry below 0x8000; anything else there asks for a 420 (RFC 8489 §6.3.1).
UNDERSTOOD = frozenset(
    {
        MAPPED_ADDRESS,
        USERNAME,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        REALM,
        NONCE,
        MESSAGE_INTEGRITY_SHA256,
        XOR_MAPPED_ADDRESS,
        PRIORITY,
        USE_CANDIDATE,
    }
)

# Sizes that are fixed by definition; another size makes the message malformed.
_SIZES = {
    MESSAGE_INTEGRITY: 20,
    PRIORITY: 4,
    USE_CANDIDATE: 0,
    FINGERPRINT: 4,
    ICE_CONTROLLED: 8,
    ICE_CONTROLLING: 8,
}

_FINGERPRINT_XOR = 0x5354554E  # RFC 8489 §14.7: "STUN"
_INTEGRITY_BYTES = 24  # with its attribute header
_FINGERPRINT_BYTES = 8


class StunError(ValueError):
    """The bytes are not a well-formed STUN message."""


@dataclass(frozen=True)
class Message:
    """A parsed message.

    `attributes` holds the first of each type, and nothing that stood behind MESSAGE-INTEGRITY. `raw` is kept
    for `authentic`.
    """

    type: int
    transaction: bytes
    attributes: dict[int, bytes]
    raw: bytes
    integrity_offset: int | None

    def authentic(self, password: str) -> bool:
        """Whether MESSAGE-INTEGRITY is there and right for a short-term password (RFC 8489 §9.1, §14.5)."""
        offset = self.integrity_offset
        if offset is None:
            return False
        expected = _integrity(self.raw[:offset], password)
        return hmac.compare_digest(expected, self.attributes[MESSAGE_INTEGRITY])


def parse(datagram: bytes) -> Message:
    """Parse one datagram that is exactly one message.

    A FINGERPRINT, where present, is verified and must be last.

    Raises:
        StunError: for any deviation from the grammar, including a length that is not the datagram's.
    """
    size = len(datagram)
    if size < HEADER_BYTES or size > MAX_MESSAGE_BYTES:
        raise StunError("size out of range")
    kind, length, cookie = struct.unpack_from("!HHI", datagram)
    if kind & 0xC000 or cookie != MAGIC_COOKIE:
        raise StunError("not STUN")
    if length & 3 or length != size - HEADER_BYTES:
        raise StunError("length does not fit the datagram")
    attributes: dict[int, bytes] = {}
    integrity_offset: int | None = None
    position = HEADER_BYTES
    while position < size:
        # The length is a multiple of four and so is every step, so a whole attribute header is here.
        attribute, value_bytes = struct.unpack_from("!HH", datagram, position)
        value_at = position + 4
        if value_at + value_bytes > size:
            raise StunError("attribute exceeds the message")
        if _SIZES.get(attribute, value_bytes) != value_bytes:
            raise StunError(f"attribute 0x{attribute:04x} has a wrong size")
        value = datagram[value_at : value_at + value_bytes]
        after = value_at + (value_bytes + 3 & ~3)
        if attribute == FINGERPRINT:
            if after != size:
                raise StunError("FINGERPRINT is not last")
            if value != _fingerprint(datagram[:position]):
                raise StunError("FINGERPRINT is wrong")
        if integrity_offset is None:
            attributes.setdefault(attribute, value)
            if attribute == MESSAGE_INTEGRITY:
                integrity_offset = position
        position = after
    return Message(kind, bytes(datagram[8:HEADER_BYTES]), attributes, datagram, integrity_offset)


def username(datagram: bytes) -> tuple[str, str] | None:
    """The two halves of a Binding request's USERNAME: (receiver's fragment, sender's fragment).

    It finds the leg a check is meant for and proves nothing: `ice.IceLite.receive` verifies. Walks the
    headers only, never raises. None if the datagram is not a Binding request with such a USERNAME.
    """
    size = len(datagram)
    if size < HEADER_BYTES or size > MAX_MESSAGE_BYTES:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", datagram)
    if kind != BINDING_REQUEST or cookie != MAGIC_COOKIE or length & 3 or length != size - HEADER_BYTES:
        return None
    position = HEADER_BYTES
    while position < size:
        attribute, value_bytes = struct.unpack_from("!HH", datagram, position)
        position += 4
        if position + value_bytes > size or attribute == MESSAGE_INTEGRITY:
            return None
        if attribute == USERNAME:
            return _halves(datagram[position : position + value_bytes])
        position += value_bytes + 3 & ~3
    return None


def binding_request(
    transaction: bytes,
    user: str,
    password: str,
    *,
    priority: int | None = None,
    controlling: int | None = None,
    controlled: int | None = None,
    nominate: bool = False,
    extra: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """A connectivity check as a full agent sends it (RFC 8445 §7.2.2); the load tester and tests use it."""
    attributes = [(USERNAME, user.encode())]
    if priority is not None:
        attributes.append((PRIORITY, struct.pack("!I", priority)))
    if controlling is not None:
        attributes.append((ICE_CONTROLLING, struct.pack("!Q", controlling)))
    if controlled is not None:
        attributes.append((ICE_CONTROLLED, struct.pack("!Q", controlled)))
    if nominate:
        attributes.append((USE_CANDIDATE, b""))
    attributes.extend(extra)
    return build(BINDING_REQUEST, transaction, attributes, password)


def binding_success(transaction: bytes, mapped: Address, password: str) -> bytes:
    """The answer to a valid check (RFC 8445 §7.3.1.2)."""
    value = xor_address(mapped, transaction)
    return build(BINDING_SUCCESS, transaction, [(XOR_MAPPED_ADDRESS, value)], password)


def binding_error(transaction: bytes, code: int, password: str, unknown: tuple[int, ...] = ()) -> bytes:
    """An error answer with `code` in 300..699, without a reason phrase.

    The phrase is left out so that an answer is never longer than its request.
    """
    attributes = [(ERROR_CODE, struct.pack("!HBB", 0, code // 100, code % 100))]
    if unknown:
        attributes.append((UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown)))
    return build(BINDING_ERROR, transaction, attributes, password)


def build(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], password: str | None = None) -> bytes:
    """A message with FINGERPRINT, and with MESSAGE-INTEGRITY before it if a password is given."""
    body = b"".join(_attribute(attribute, value) for attribute, value in attributes)
    message = struct.pack("!HHI", kind, len(body), MAGIC_COOKIE) + transaction + body
    if password is not None:
        message += _attribute(MESSAGE_INTEGRITY, _integrity(message, password))
    length = len(message) - HEADER_BYTES + _FINGERPRINT_BYTES
    message = message[:2] + struct.pack("!H", length) + message[4:]
    return message + _attribute(FINGERPRINT, _fingerprint(message))


def xor_address(address: Address, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 §14.2)."""
    ip = ipaddress.ip_address(address[0])
    pad = struct.pack("!I", MAGIC_COOKIE) + transaction
    family = 1 if ip.version == 4 else 2
    xored = bytes(a ^ b for a, b in zip(ip.packed, pad, strict=False))
    return struct.pack("!BBH", 0, family, address[1] ^ (MAGIC_COOKIE >> 16)) + xored


def address(value: bytes, transaction: bytes) -> Address:
    """Read a XOR-MAPPED-ADDRESS.

    Raises:
        StunError: if family and size do not fit each other.
    """
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        raise StunError("not an address")
    pad = struct.pack("!I", MAGIC_COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(value[4:], pad, strict=False))
    port: int = struct.unpack_from("!H", value, 2)[0] ^ (MAGIC_COOKIE >> 16)
    return str(ipaddress.ip_address(packed)), port


def _attribute(attribute: int, value: bytes) -> bytes:
    return struct.pack("!HH", attribute, len(value)) + value + bytes(-len(value) % 4)


def _integrity(before: bytes, password: str) -> bytes:
    # RFC 8489 §14.5: the HMAC covers the message up to the attribute, with a length that ends behind it.
    length = len(before) - HEADER_BYTES + _INTEGRITY_BYTES
    covered = before[:2] + struct.pack("!H", length) + before[4:]
    return hmac.digest(password.encode(), covered, hashlib.sha1)


def _fingerprint(before: bytes) -> bytes:
    return struct.pack("!I", zlib.crc32(before) ^ _FINGERPRINT_XOR)


def _halves(value: bytes) -> tuple[str, str] | None:
    try:
        receiver, colon, sender = value.decode("ascii").partition(":")
    except UnicodeDecodeError:
        return None
    return (receiver, sender) if receiver and colon else None
