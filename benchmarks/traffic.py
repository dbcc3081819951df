"""Turns connected legs into a Generator: the traffic of a video call, with SRTP towards the relay or bare.

One leg's natural rate is 50 audio packets/s of 160 B and 30 video frames/s of 5 packets of 1,100 B: 200 packets/s.
"""

import socket
from collections.abc import Sequence
from typing import Final

from pylibsrtp._binding import ffi, lib

from benchmarks.generator import Generator
from benchmarks.handshake import AUDIO_PT, MID_EXTENSION, PROFILES, VIDEO_PT, Leg, Profile
from native.srtp import Session

AUDIO_PER_SECOND: Final = 50
FRAMES_PER_SECOND: Final = 30
FRAME_PACKETS: Final = 5
AUDIO_BYTES: Final = 160
VIDEO_BYTES: Final = 1100
NATURAL_PPS: Final = AUDIO_PER_SECOND + FRAMES_PER_SECOND * FRAME_PACKETS


def _address(function: str) -> int:
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, function)))


def _add_streams(
    generator: Generator, index: int, ssrcs: tuple[int, int], *, tag: int, padding: int, copies: int
) -> None:
    """One leg's audio and video; `padding` makes up for the tag where there is no SRTP."""
    for video, payload_type, burst, size, rate, clock_hz in (
        (False, AUDIO_PT, 1, AUDIO_BYTES, AUDIO_PER_SECOND, 48_000),
        (True, VIDEO_PT, FRAME_PACKETS, VIDEO_BYTES, FRAMES_PER_SECOND, 90_000),
    ):
        generator.add_stream(
            index,
            ssrc=ssrcs[video],
            payload_type=payload_type,
            mid=b"1" if video else b"0",
            mid_id=MID_EXTENSION,
            video=video,
            burst=burst,
            payload=size + padding,
            tag=tag,
            per_second=rate,
            clock_hz=clock_hz,
            copies=copies,
        )


def through_relay(legs: Sequence[Leg], profile: Profile, *, copies: int, sample: int, segment: bool) -> Generator:
    """SRTP on connected legs; those that send have `copies` receivers each."""
    generator = Generator(
        protect=_address("srtp_protect"), unprotect=_address("srtp_unprotect"), sample=sample, segment=segment
    )
    tag = PROFILES[profile][3]
    for leg in legs:
        tx = Session(leg.keys.profile, leg.keys.tx, inbound=False)
        rx = Session(leg.keys.profile, leg.keys.rx, inbound=True)
        index = generator.add_leg(leg.sock, tx.pointer, rx.pointer, keep=(tx, rx))
        for request in leg.consents:
            generator.add_consent(index, request)
        if leg.sends:
            _add_streams(generator, index, (leg.audio_ssrc, leg.video_ssrc), tag=tag, padding=0, copies=copies)
    return generator


def through_forwarder(
    port: int, groups: Sequence[Sequence[int]], profile: Profile, *, two_way: bool, sample: int, segment: bool
) -> tuple[Generator, list[tuple[int, int]]]:
    """The same packets, equally long, without SRTP; `groups` are the numbers of the legs that hear each other.

    In a group the first leg sends to all others, and with `two_way` the others to it. Returns the
    generator and the forwarder's (source port, destination port) pairs.
    """
    generator = Generator(sample=sample, segment=segment)
    tag = PROFILES[profile][3]
    routes: list[tuple[int, int]] = []
    for group in groups:
        socks = []
        for _ in group:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            socks.append(sock)
        ports = [int(sock.getsockname()[1]) for sock in socks]
        routes += [(ports[0], other) for other in ports[1:]]
        if two_way:
            routes += [(other, ports[0]) for other in ports[1:]]
        for place, (number, sock) in enumerate(zip(group, socks, strict=True)):
            index = generator.add_leg(sock)
            if place == 0 or two_way:
                ssrcs = (2 * number + 1, 2 * number + 2)
                copies = len(group) - 1 if place == 0 else 1
                _add_streams(generator, index, ssrcs, tag=0, padding=tag, copies=copies)
    return generator, routes
