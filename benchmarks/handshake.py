"""One leg of the load test: SDP offer, ICE check and DTLS handshake against a running relay.

An independent peer on purpose: pyOpenSSL and a socket, none of the relay's own ICE or DTLS code, so that a
mistake there can't cancel itself out here. Only STUN messages are built by `relay.protocol.stun`.
"""

import asyncio
import datetime
import hashlib
import os
import re
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from relay.protocol import stun

Direction = Literal["sendrecv", "sendonly", "recvonly"]
Profile = Literal["gcm", "cm"]

AUDIO_PT: Final = 111
VIDEO_PT: Final = 96
RTX_PT: Final = 97
MID_EXTENSION: Final = 1

#: name on the command line -> (OpenSSL's name, bytes of master key, of master salt, of tag)
PROFILES: Final[dict[Profile, tuple[str, int, int, int]]] = {
    "gcm": ("SRTP_AEAD_AES_128_GCM", 16, 12, 16),
    "cm": ("SRTP_AES128_CM_SHA1_80", 16, 14, 10),
}

_MTU: Final = 1200
_FIRST_RETRY_S: Final = 0.2  # doubled each time
_STUN_TRIES: Final = 6
_HANDSHAKE_S: Final = 15.0
_CONSENTS: Final = 16  # distinct requests per leg, used in turn; an ICE-lite peer keeps no transactions


class HandshakeError(Exception):
    """The relay's answer can't be used, or the peer did not get through."""


@dataclass(frozen=True)
class Keys:
    """SRTP master key and salt of each direction (RFC 5764 §4.2), seen from the client."""

    profile: str
    tx: bytes = field(repr=False)
    rx: bytes = field(repr=False)


@dataclass
class Leg:
    """A connected leg. `sock` is connected to the relay's address; the holder closes it."""

    sock: socket.socket
    keys: Keys
    audio_ssrc: int
    video_ssrc: int
    sends: bool
    consents: tuple[bytes, ...]
    setup_s: float
    relay_port: int
    location: str = ""
    credential: str = field(default="", repr=False)


class Certificate:
    """The load tester's one certificate, shared by all its legs: making 500 would measure the tester."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "load")])
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC))
            .sign(self._key, hashes.SHA256())
        )
        self.fingerprint = _colons(hashlib.sha256(self._certificate.public_bytes(Encoding.DER)).hexdigest())

    def context(self, profile: Profile) -> SSL.Context:
        """A DTLS client that offers this one SRTP profile."""
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.use_privatekey(self._key)
        context.use_certificate(self._certificate)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_tlsext_use_srtp(PROFILES[profile][0].encode())
        return context


class Offer:
    """What one leg proposes, and how it connects once the answer is there."""

    def __init__(self, certificate: Certificate, profile: Profile, direction: Direction) -> None:
        self._certificate = certificate
        self._profile: Profile = profile
        self._direction = direction
        self._ufrag = secrets.token_hex(4)
        self._pwd = secrets.token_hex(16)
        self._started = time.monotonic()
        self._audio, self._video, self._rtx = (secrets.randbits(31) + 1 for _ in range(3))

    def __str__(self) -> str:
        """RFC 8866 text, as a browser with one microphone and one camera would write it."""
        session = ["v=0", f"o=- {secrets.randbits(62)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1"]
        transport = [
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{self._ufrag}",
            f"a=ice-pwd:{self._pwd}",
            f"a=fingerprint:sha-256 {self._certificate.fingerprint}",
            "a=setup:actpass",
            f"a={self._direction}",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            f"a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid",
        ]
        audio = [
            f"m=audio 9 UDP/TLS/RTP/SAVPF {AUDIO_PT}",
            *transport,
            "a=mid:0",
            f"a=rtpmap:{AUDIO_PT} opus/48000/2",
            f"a=fmtp:{AUDIO_PT} minptime=10;useinbandfec=1",
        ]
        video = [
            f"m=video 9 UDP/TLS/RTP/SAVPF {VIDEO_PT} {RTX_PT}",
            *transport,
            "a=mid:1",
            f"a=rtpmap:{VIDEO_PT} VP8/90000",
            f"a=rtcp-fb:{VIDEO_PT} nack",
            f"a=rtcp-fb:{VIDEO_PT} nack pli",
            f"a=rtcp-fb:{VIDEO_PT} ccm fir",
            f"a=rtpmap:{RTX_PT} rtx/90000",
            f"a=fmtp:{RTX_PT} apt={VIDEO_PT}",
        ]
        if self._direction != "recvonly":
            audio += [f"a=ssrc:{self._audio} cname:load"]
            video += [f"a=ssrc-group:FID {self._video} {self._rtx}"]
            video += [f"a=ssrc:{ssrc} cname:load" for ssrc in (self._video, self._rtx)]
        return "\r\n".join([*session, *audio, *video, ""])

    async def connect(self, answer: str, *, host: str | None = None) -> Leg:
        """ICE and DTLS with the relay of `answer`; `host` prefers the candidate with this address.

        Raises HandshakeError.
        """
        if re.search(r"^m=\S+ 0 ", answer, re.MULTILINE):
            raise HandshakeError("the relay refused a section of the offer")
        remote_ufrag, remote_pwd = _attribute(answer, "ice-ufrag"), _attribute(answer, "ice-pwd")
        fingerprint = _attribute(answer, "fingerprint").split()[-1].upper()
        address = _candidate(answer, host)
        user = f"{remote_ufrag}:{self._ufrag}"
        tiebreaker = secrets.randbits(64)

        def check() -> bytes:
            return stun.binding_request(
                os.urandom(12), user, remote_pwd, priority=0x6E7F1EFF, controlling=tiebreaker, nominate=True
            )

        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(address)
            await _bind(sock, check())
            keys = await _shake(sock, self._certificate.context(self._profile), self._profile, fingerprint)
        except BaseException:
            sock.close()
            raise
        return Leg(
            sock=sock,
            keys=keys,
            audio_ssrc=self._audio,
            video_ssrc=self._video,
            sends=self._direction != "recvonly",
            consents=tuple(check() for _ in range(_CONSENTS)),
            setup_s=time.monotonic() - self._started,
            relay_port=address[1],
        )


async def _bind(sock: socket.socket, request: bytes) -> None:
    """One nominating check (RFC 8445 §7.2), resent until its answer comes."""
    wait = _FIRST_RETRY_S
    for _ in range(_STUN_TRIES):
        _send(sock, request)
        try:
            async with asyncio.timeout(wait):
                while True:
                    datagram = await _receive(sock)
                    if datagram[:2] == b"\x01\x01" and datagram[8:20] == request[8:20]:
                        return
        except TimeoutError:
            wait *= 2
    raise HandshakeError("no answer to the connectivity check")


async def _shake(sock: socket.socket, context: SSL.Context, profile: Profile, fingerprint: str) -> Keys:
    """DTLS as client (RFC 5764 §4); the relay is the server, which is who chooses the profile."""
    connection = SSL.Connection(context, None)
    connection.set_ciphertext_mtu(_MTU)
    connection.set_connect_state()
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            while not _advance(connection):
                _flush(sock, connection)
                await _feed(sock, connection)
    except TimeoutError:
        raise HandshakeError("the DTLS handshake timed out") from None
    except SSL.Error as error:
        raise HandshakeError(f"DTLS: {error}") from None
    _flush(sock, connection)
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None or _colons(certificate.fingerprint(hashes.SHA256()).hex()) != fingerprint:
        raise HandshakeError("the relay's certificate is not the one of its answer")
    name, key, salt, _ = PROFILES[profile]
    if connection.get_selected_srtp_profile() != name.encode():
        raise HandshakeError(f"the relay did not choose {name}")
    material = connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
    client_key, server_key = material[:key], material[key : 2 * key]
    client_salt, server_salt = material[2 * key : 2 * key + salt], material[2 * key + salt :]
    return Keys(name, tx=client_key + client_salt, rx=server_key + server_salt)


def _advance(connection: SSL.Connection) -> bool:
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    return True


async def _feed(sock: socket.socket, connection: SSL.Connection) -> None:
    """The next DTLS datagram, or a retransmission when none comes in time."""
    wait = connection.DTLSv1_get_timeout()
    try:
        async with asyncio.timeout(1.0 if wait is None else max(wait, 0.01)):
            while True:
                datagram = await _receive(sock)
                if datagram and 20 <= datagram[0] <= 63:  # RFC 7983
                    connection.bio_write(datagram)
                    return
    except TimeoutError:
        connection.DTLSv1_handle_timeout()


def _flush(sock: socket.socket, connection: SSL.Connection) -> None:
    """Whole records, as many as fit a datagram (RFC 6347 §4.1.1)."""
    try:
        flight = connection.bio_read(65_536)
    except SSL.WantReadError:
        return
    datagram = b""
    while flight:
        length = 13 + int.from_bytes(flight[11:13], "big")
        record, flight = flight[:length], flight[length:]
        if datagram and len(datagram) + len(record) > _MTU:
            _send(sock, datagram)
            datagram = b""
        datagram += record
    _send(sock, datagram)


def _send(sock: socket.socket, datagram: bytes) -> None:
    try:
        sock.send(datagram)
    except (BlockingIOError, ConnectionRefusedError):
        pass  # lost, as any datagram may be; retransmission is the cure


async def _receive(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await loop.sock_recv(sock, 2048)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


def _attribute(answer: str, name: str) -> str:
    match = re.search(rf"^a={name}:(.+?)\s*$", answer, re.MULTILINE)
    if match is None:
        raise HandshakeError(f"the answer has no {name}")
    return match[1]


def _candidate(answer: str, host: str | None) -> tuple[str, int]:
    found = re.findall(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise HandshakeError("the answer has no usable candidate")
    addresses = [(str(ip), int(port)) for ip, port in found]
    return min(addresses, key=lambda address: (address[0] != host, ":" in address[0]))


def _colons(digest: str) -> str:
    digest = digest.upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
