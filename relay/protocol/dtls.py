"""The DTLS handshake of one leg (RFC 6347, RFC 8842) and the SRTP keys it yields (RFC 5764).

pyOpenSSL works over memory buffers; only the handshake passes here, media never. Two leaks are kept in this
file: the library has its own randomness and its own retransmission clock, so a resent flight follows real
time and not `now` (`deadline` translates).

Until the handshake is complete no datagram is authenticated, and one bad record can spoil the library's
object for good: a hello with an impossible cipher suite is the known attack on relays. So

- records are checked for shape first; a server's object sees nothing before a hello, and no object ever sees an
  alert in the clear;
- records in the clear get numbers of ours, for a spoofed high number would make the library take all that
  follow for replays (the handshake has its own message numbers, RFC 6347 §4.2.2);
- a hello with another random begins anew as long as nobody has answered our flight;
- when a record breaks the object anyway, the object is thrown away silently (an alert would end the honest
  peer's handshake) and a fresh one waits for the peer's retransmission, `MAX_RESTARTS` times;
- the peer's certificate is compared when the handshake is complete and the peer has proved to own its key.
  Anybody can spoof a Certificate message, and a mismatch is final.
"""

import datetime
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

PROFILES = ("SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM", "SRTP_AES128_CM_SHA1_80")
"""SRTP profiles in our order of preference, as OpenSSL names them. GCM costs half of CM with SHA-1."""

# Master key and salt bytes (RFC 5764 §4.1.2, RFC 7714 §12).
_KEY_SALT_BYTES = {
    "SRTP_AEAD_AES_128_GCM": (16, 12),
    "SRTP_AEAD_AES_256_GCM": (32, 12),
    "SRTP_AES128_CM_SHA1_80": (16, 14),
}

# RFC 8827 §6.5: forward secrecy and AEAD only. As client we may meet an RSA certificate, hence both kinds.
_CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
).encode()

# DTLS 1.3 records look different on the wire (RFC 9147 §4), so `_records` would drop them: 1.2 it is.
_DTLS_1_2 = 0xFEFD

DIGESTS = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}
"""Fingerprint algorithms believed (RFC 8122 §5 without the broken ones)."""

MAX_RESTARTS = 10
MAX_DATAGRAM_BYTES = 8192  # a flight of the largest honest certificate chain fits
MAX_MESSAGE_BYTES = 6144  # OpenSSL keeps up to 10 handshake messages out of order: 60 kB a handshake
MAX_EARLY_BYTES = 256  # a Finished has 53; OpenSSL keeps up to 100 records of the epoch to come
ALERT_PATIENCE_S = 10.0  # after an unauthenticated alert: either the handshake still completes, or it was true

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_RECORD_HEADER_BYTES = 13
_MESSAGE_HEADER_BYTES = 12
_CLIENT_HELLO = 1
_ALERT_FATAL = 2

# Fatal bad_certificate in the clear, for a client that has not seen our last flight and never will. The
# record number is far above any used in the handshake, so it isn't taken for a replay.
_BAD_CERTIFICATE = bytes.fromhex("15 fefd 0000 000100000000 0002 02 2a")


class Certificate:
    """Our self-signed certificate, made anew by every worker.

    Peers trust its fingerprint alone, so name and dates say nothing: a random name, and a validity that
    depends on no clock.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest().upper()
        self.fingerprint = "sha-256 " + ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
        """As in `a=fingerprint:` (RFC 8122 §5)."""
        self._context = _context(key, certificate)

    @classmethod
    def generate(cls) -> "Certificate":
        """ECDSA on P-256, the one curve every WebRTC endpoint must have (RFC 8827 §6.5)."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{serial:x}"[:16])])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC))
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)


@dataclass(frozen=True)
class Send:
    """One datagram for the peer, at most `mtu` bytes."""

    data: bytes


@dataclass(frozen=True)
class Keys:
    """The handshake is complete and the peer is who the SDP said.

    `rx` and `tx` are master key + master salt for packets we receive and send (RFC 5764 §4.2).
    """

    profile: str
    rx: bytes
    tx: bytes

    def __repr__(self) -> str:
        return f"Keys({self.profile})"  # no key reaches a log by accident


@dataclass(frozen=True)
class Failed:
    """There will be no session; the last output.

    `reason` is one of fingerprint, no_profile, timeout, alert, version, too_many_restarts.
    """

    reason: str


@dataclass(frozen=True)
class Closed:
    """The peer ended an established session with an authenticated close_notify; the last output."""


DtlsOutput = Send | Keys | Failed | Closed


class Dtls:
    """One end of one handshake.

    Args:
        certificate: ours.
        client: True if our answer said `a=setup:active`.
        fingerprints: (algorithm, "AA:BB:...") of the peer's SDP; one match among those we believe is enough.
        now: seconds, monotonic; `timeout_s` counts from here.
        mtu: largest datagram to send, in bytes of UDP payload.
        timeout_s: the handshake must be complete by then.

    Feed it only datagrams from addresses ICE has validated: whatever the library keeps and answers before
    that is somebody's amplifier.
    """

    def __init__(
        self,
        certificate: Certificate,
        *,
        client: bool,
        fingerprints: Sequence[tuple[str, str]],
        now: float,
        mtu: int = 1200,
        timeout_s: float = 30.0,
    ) -> None:
        self._certificate = certificate
        self._client = client
        self._fingerprints = tuple((algorithm.lower(), value.upper()) for algorithm, value in fingerprints)
        self._mtu = mtu
        self._limit = now + timeout_s
        self._reason = "timeout"  # what to say if the limit is reached
        self._restarts = 0
        self._started = not client
        self._established = False
        self._over = False
        self._resend: float | None = None
        self._connection = self._fresh()
        self._record_number = 0
        self._hello: bytes | None = None  # server: the random of the ClientHello the object has seen
        self._answered = False  # server: something followed that hello

    def start(self, now: float) -> list[DtlsOutput]:
        """Send the ClientHello, once the path is validated. Nothing in the server role or a second time."""
        if self._started or self._over:
            return []
        self._started = True
        return self._advance(now)

    def receive(self, datagram: bytes, now: float) -> list[DtlsOutput]:
        """Take one datagram from a validated address. Never raises for what is in it."""
        if self._over or not self._started or len(datagram) > MAX_DATAGRAM_BYTES:
            return []
        good = bytearray()
        for record in _records(datagram):
            if not self._admits(record, now):
                continue
            if _encrypted(record):
                good += record
            else:
                self._record_number += 1
                good += record[:5] + self._record_number.to_bytes(6) + record[11:]
        return self._take(bytes(good), now)

    def deadline(self) -> float | None:
        """When `timeout` wants to be called; None once nothing more can time out."""
        if self._over or self._established:
            return None
        return self._limit if self._resend is None else min(self._limit, self._resend)

    def timeout(self, now: float) -> list[DtlsOutput]:
        """Resend the last flight if the library's own clock agrees that it's time; give up at the limit."""
        if self._over or self._established:
            return []
        if now >= self._limit:
            return self._fail(self._reason)
        if self._resend is None or now < self._resend:
            return []
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            return self._restart("timeout", now)
        return self._flush(now)

    def close(self) -> list[DtlsOutput]:
        """Say good-bye (close_notify) if there is a session, and stop."""
        if self._over:
            return []
        self._over = True
        if not self._established:
            return []
        return self._shut()

    def _fresh(self) -> SSL.Connection:
        connection = SSL.Connection(self._certificate._context)
        connection.set_ciphertext_mtu(self._mtu)
        if self._client:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        return connection

    def _admits(self, record: bytes, now: float) -> bool:
        """Whether the library may see this well-formed record in the present state."""
        if self._established:
            return _encrypted(record)
        if _encrypted(record):
            return len(record) <= MAX_EARLY_BYTES and (self._client or self._hello is not None)
        if record[0] == _ALERT:
            if record[-2] == _ALERT_FATAL and self._reason == "timeout":
                self._reason = "alert"
                self._limit = min(self._limit, now + ALERT_PATIENCE_S)
            return False
        if self._client:
            return True
        random = _hello_random(record)
        if random is None:
            self._answered |= self._hello is not None and not _is_hello(record)
            return self._hello is not None
        if self._hello is not None and random != self._hello:
            if self._answered or self._restarts == MAX_RESTARTS:
                return False
            self._restart("hello", now)
        self._hello = random
        return True

    def _take(self, records: bytes, now: float) -> list[DtlsOutput]:
        if not records:
            return []
        self._connection.bio_write(records)
        if not self._established:
            return self._advance(now)
        # Only close_notify matters now; a repeated last flight of the peer makes the library repeat ours.
        output: list[DtlsOutput] = []
        try:
            while True:
                self._connection.recv(MAX_DATAGRAM_BYTES)
        except SSL.ZeroReturnError:
            self._over = True
            output.append(Closed())
        except SSL.Error:
            pass  # WantRead, or a record the library refused: either way it is consumed
        return [*_datagrams(self._pending(), self._mtu), *output]

    def _advance(self, now: float) -> list[DtlsOutput]:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return self._flush(now)
        except SSL.Error as error:
            return self._restart(_cause(error), now)
        return self._complete()

    def _complete(self) -> list[DtlsOutput]:
        connection = self._connection
        self._resend = None
        profile = connection.get_selected_srtp_profile().decode()
        certificate = connection.get_peer_certificate(as_cryptography=True)
        flight = self._pending()
        if certificate is None or not self._matches(certificate):
            # Our last flight stays here, so as server we never look connected.
            if self._client:
                return [*self._shut(), *self._fail("fingerprint")]
            return [Send(_BAD_CERTIFICATE), *self._fail("fingerprint")]
        if profile not in _KEY_SALT_BYTES:
            return [*_datagrams(flight, self._mtu), *self._shut(), *self._fail("no_profile")]
        self._established = True
        return [*_datagrams(flight, self._mtu), self._export(profile)]

    def _matches(self, certificate: x509.Certificate) -> bool:
        der = certificate.public_bytes(Encoding.DER)
        return any(
            algorithm in DIGESTS and DIGESTS[algorithm](der).hexdigest().upper() == value.replace(":", "")
            for algorithm, value in self._fingerprints
        )

    def _export(self, profile: str) -> Keys:
        key, salt = _KEY_SALT_BYTES[profile]
        material = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        # RFC 5764 §4.2: client key, server key, client salt, server salt.
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt :]
        return Keys(profile, server, client) if self._client else Keys(profile, client, server)

    def _restart(self, cause: str, now: float) -> list[DtlsOutput]:
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            return self._fail("too_many_restarts")
        if cause == "version" and self._reason == "timeout":
            self._reason = cause
        self._connection = self._fresh()
        self._resend = None
        self._hello = None
        self._answered = False
        # As client the fresh object opens with a new hello; as server it waits for the peer's.
        return self._advance(now) if self._client else []

    def _flush(self, now: float) -> list[DtlsOutput]:
        left = self._connection.DTLSv1_get_timeout()
        self._resend = None if left is None else now + left
        return list(_datagrams(self._pending(), self._mtu))

    def _shut(self) -> list[DtlsOutput]:
        try:
            self._connection.shutdown()
        except SSL.Error:
            return []
        return list(_datagrams(self._pending(), self._mtu))

    def _fail(self, reason: str) -> list[DtlsOutput]:
        self._over = True
        return [Failed(reason)]

    def _pending(self) -> bytes:
        out = bytearray()
        try:
            while True:
                out += self._connection.bio_read(65536)
        except SSL.Error:
            return bytes(out)  # WantRead: empty


def _context(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_QUERY_MTU
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(_CIPHERS)
    context.set_tlsext_use_srtp(":".join(PROFILES).encode())
    # Any certificate passes here: who it must be is said by the SDP and judged in `_complete`.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept)
    context.use_privatekey(key)
    context.use_certificate(certificate)
    return context


def _accept(*_: Any) -> bool:
    return True


def _cause(error: SSL.Error) -> str:
    """The one cause worth telling apart when a handshake object breaks."""
    reasons = " ".join(str(part) for entry in error.args if isinstance(entry, list) for part in entry)
    return "version" if "version" in reasons or "unsupported protocol" in reasons else "handshake"


def _records(datagram: bytes) -> list[bytes]:
    """The well-formed records of a datagram (RFC 6347 §4.1); none of what follows the first malformed one.

    type (1) | version (2) | epoch (2) | sequence number (6) | length (2) | fragment
    """
    records: list[bytes] = []
    position = 0
    while position + _RECORD_HEADER_BYTES <= len(datagram):
        kind, major, _, epoch = struct.unpack_from("!BBBH", datagram, position)
        (length,) = struct.unpack_from("!H", datagram, position + 11)
        start = position + _RECORD_HEADER_BYTES
        end = start + length
        if kind not in (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA) or major != 0xFE:
            break
        if not length or end > len(datagram):
            break
        if epoch == 0 and not _plausible(kind, datagram[start:end]):
            break
        if epoch != 0 or kind != _APPLICATION_DATA:
            records.append(datagram[position:end])
        position = end
    return records


def _encrypted(record: bytes) -> bool:
    return record[3:5] != b"\0\0"


def _is_hello(record: bytes) -> bool:
    return record[0] == _HANDSHAKE and record[_RECORD_HEADER_BYTES] == _CLIENT_HELLO


def _hello_random(record: bytes) -> bytes | None:
    """The random of a ClientHello's first fragment, which follows the two bytes of its version."""
    start = _RECORD_HEADER_BYTES + _MESSAGE_HEADER_BYTES
    first = record[start - 6 : start - 3] == b"\0\0\0"
    if not _is_hello(record) or not first or len(record) < start + 34:
        return None
    return record[start + 2 : start + 34]


def _plausible(kind: int, fragment: bytes) -> bool:
    """Whether a plaintext fragment has the shape its type demands, within our bounds."""
    if kind == _ALERT:
        return len(fragment) == 2
    if kind == _CHANGE_CIPHER_SPEC:
        return fragment == b"\x01"
    position = 0
    while position < len(fragment):  # RFC 6347 §4.2.2: type, length, message_seq, fragment offset and length
        if position + _MESSAGE_HEADER_BYTES > len(fragment):
            return False
        length = int.from_bytes(fragment[position + 1 : position + 4])
        offset = int.from_bytes(fragment[position + 6 : position + 9])
        here = int.from_bytes(fragment[position + 9 : position + 12])
        if length > MAX_MESSAGE_BYTES or offset + here > length or (here == 0 and length):
            return False
        position += _MESSAGE_HEADER_BYTES + here
    return position == len(fragment)


def _datagrams(flight: bytes, mtu: int) -> list[Send]:
    """Cut a flight back into datagrams: the memory buffer forgets the library's borders, records don't."""
    out: list[Send] = []
    current = b""
    position = 0
    while position < len(flight):
        (length,) = struct.unpack_from("!H", flight, position + 11)
        record = flight[position : position + _RECORD_HEADER_BYTES + length]
        position += len(record)
        if current and len(current) + len(record) > mtu:
            out.append(Send(current))
            current = b""
        current += record
    if current:
        out.append(Send(current))
    return out
