"""Legs on a pump without a socket: the peers' side of SRTP, RTP and RTCP, in virtual time."""

import struct
from dataclasses import dataclass, field

from native import Pump
from native.srtp import PROFILES, Session

AUDIO, VIDEO = 0, 1
AUDIO_PT, VIDEO_PT, RTX_PT = 111, 96, 97
MID_EXT, LEVEL_EXT = 4, 1


def rtp(
    sequence: int,
    payload: bytes = b"payload",
    *,
    ssrc: int,
    pt: int = VIDEO_PT,
    timestamp: int = 0,
    marker: bool = False,
    extensions: dict[int, bytes] | None = None,
    padding: int | None = None,
) -> bytes:
    """One RTP packet with one-byte extensions (RFC 8285 §4.2)."""
    first = 0x80 | (0x10 if extensions is not None else 0) | (0x20 if padding is not None else 0)
    head = struct.pack("!BBHII", first, pt | marker << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    if extensions is not None:
        body = b"".join(bytes([i << 4 | len(d) - 1]) + d for i, d in extensions.items())
        body += bytes(-len(body) % 4)
        head += struct.pack("!HH", 0xBEDE, len(body) // 4) + body
    tail = bytes(padding - 1) + bytes([padding]) if padding else b"\0" if padding == 0 else b""
    return head + payload + tail


@dataclass
class Packet:
    """An RTP packet taken apart by the simplest code that can."""

    pt: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    extensions: bytes
    payload: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "Packet":
        first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", raw)
        at, extensions = 12 + 4 * (first & 15), b""
        if first & 0x10:
            words = struct.unpack_from("!H", raw, at + 2)[0]
            extensions = raw[at + 4 : at + 4 + 4 * words]
            at += 4 + 4 * words
        return cls(second & 127, bool(second >> 7), sequence, timestamp, ssrc, extensions, raw[at:])


def key(profile: str, tag: int) -> bytes:
    return bytes((tag * 31 + i) & 255 for i in range(PROFILES[profile][1]))


@dataclass
class Peer:
    """One party behind its leg. `port` tells its datagrams apart in what the pump sent."""

    pump: Pump
    port: int
    profile: str = "SRTP_AEAD_AES_128_GCM"
    out_ssrc: tuple[int, int] = (1001, 1002)
    rtx_ssrc: int = 1003
    rsize: bool = True
    leg: int = 0
    inbox: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leg = self.pump.add_leg(local_ssrc=self.out_ssrc[0], cname="relay", reduced_size=self.rsize)
        self.pump.set_extension_ids(self.leg, mid=MID_EXT)
        self.pump.add_section(
            self.leg, mid="a", video=False, receives=True, sends=True, pli=False, out_ssrc=self.out_ssrc[0]
        )
        self.pump.add_section(
            self.leg,
            mid="v",
            video=True,
            receives=True,
            sends=True,
            pli=True,
            out_ssrc=self.out_ssrc[1],
            out_rtx_ssrc=self.rtx_ssrc,
        )
        self.pump.add_payload(self.leg, section=AUDIO, payload_type=AUDIO_PT, clock_hz=48000)
        self.pump.add_payload(self.leg, section=VIDEO, payload_type=VIDEO_PT, clock_hz=90000)
        self.pump.add_payload(self.leg, section=VIDEO, payload_type=RTX_PT, clock_hz=90000, repairs=VIDEO_PT)
        self._relay = [
            Session(self.profile, key(self.profile, self.port), inbound=True),
            Session(self.profile, key(self.profile, self.port + 1), inbound=False),
        ]
        self.sending = Session(self.profile, key(self.profile, self.port), inbound=False)
        self.receiving = Session(self.profile, key(self.profile, self.port + 1), inbound=True)

    def connect(self, *, selected: bool = True) -> None:
        assert self.pump.bind(self.leg, "192.0.2.1", self.port, selected=selected)
        self.pump.set_keys(self.leg, self._relay[0].pointer, self._relay[1].pointer)

    def send(self, *packets: bytes, now_us: int) -> None:
        self.raw(*(self.sending.protect(p) for p in packets), now_us=now_us)

    def send_rtcp(self, compound: bytes, *, now_us: int) -> None:
        self.raw(self.sending.protect_rtcp(compound), now_us=now_us)

    def raw(self, *datagrams: bytes, now_us: int) -> None:
        self.pump.inject([(d, "192.0.2.1", self.port) for d in datagrams], now_us)

    def rtp(self) -> list[Packet]:
        """RTP received since the last call, decrypted."""
        taken, self.inbox = self.inbox, []
        out = []
        for raw in taken:
            if 192 <= raw[1] <= 223:
                self.inbox.append(raw)
            else:
                out.append(Packet.parse(self.receiving.unprotect(raw)))
        return out

    def rtcp(self) -> list[tuple[int, int, bytes]]:
        """RTCP packets received since the last call: (type, count, whole packet)."""
        taken, self.inbox = self.inbox, []
        out = []
        for raw in taken:
            if not 192 <= raw[1] <= 223:
                self.inbox.append(raw)
                continue
            compound, at = self.receiving.unprotect_rtcp(raw), 0
            while at < len(compound):
                size = 4 * (struct.unpack_from("!H", compound, at + 2)[0] + 1)
                out.append((compound[at + 1], compound[at] & 31, compound[at : at + size]))
                at += size
        return out

    def close(self) -> None:
        self.pump.remove_leg(self.leg)
        for session in (*self._relay, self.sending, self.receiving):
            session.close()


def deliver(pump: Pump, *peers: Peer) -> None:
    """Hand every captured datagram to the peer it was sent to."""
    by_port = {peer.port: peer for peer in peers}
    for data, port in pump.captured():
        by_port[port].inbox.append(data)


def route(pump: Pump, source: Peer, sink: Peer, *, rtx: bool = True) -> None:
    """Audio and video one way, payload types unchanged, audio level kept as another id."""
    for section, pt in ((AUDIO, AUDIO_PT), (VIDEO, VIDEO_PT)):
        assert pump.add_route(
            source.leg,
            section,
            sink.leg,
            section,
            payload={pt: pt},
            rtx={VIDEO_PT: RTX_PT} if rtx and section == VIDEO else {},
            extensions={LEVEL_EXT: 7},
        )


def drops(pump: Pump) -> dict[str, int]:
    record = pump.counters()["drops"]
    return {name: int(record[name]) for name in record.dtype.names if record[name]}
