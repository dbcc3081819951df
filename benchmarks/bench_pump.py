"""The whole pump without sockets: one video stream to N legs, SRTP in and out, what a packet costs."""

import struct
from typing import Any

import pytest

from native import Pump
from native.pump import clock_us
from native.srtp import PROFILES, Session

BATCH = 500
PAYLOAD = bytes(1100)
VIDEO_PT = 96
SOURCE_PORT = 5000
SINK_PORT = 6000
HOST = "192.0.2.1"


class Setup:
    """One publisher and its players on a pump that drops what it would send."""

    def __init__(self, sinks: int, profile: str) -> None:
        self.pump = Pump(-1, seed=1)
        self.sessions: list[Session] = []
        self.legs: list[int] = []
        key = bytes(range(PROFILES[profile][1]))
        self.sending = Session(profile, key, inbound=False)
        source = self._leg(profile, key, 1, SOURCE_PORT, receives=True)
        self.pump.add_ssrc(source, 0, 1)
        for number in range(sinks):
            sink = self._leg(profile, key, 10 + number, SINK_PORT + number, receives=False)
            assert self.pump.add_route(source, 0, sink, 0, payload={VIDEO_PT: VIDEO_PT}, rtx={}, extensions={})
        self.sequence = 0

    def _leg(self, profile: str, key: bytes, ssrc: int, port: int, *, receives: bool) -> int:
        leg = self.pump.add_leg(local_ssrc=ssrc, cname="bench")
        self.pump.add_section(
            leg, mid="v", video=True, receives=receives, sends=not receives, pli=True, out_ssrc=1000 + ssrc
        )
        self.pump.add_payload(leg, section=0, payload_type=VIDEO_PT, clock_hz=90_000)
        pair = Session(profile, key, inbound=True), Session(profile, key, inbound=False)
        self.sessions += pair
        assert self.pump.bind(leg, HOST, port, selected=True)
        self.pump.set_keys(leg, pair[0].pointer, pair[1].pointer)
        self.legs.append(leg)
        return leg

    def batch(self) -> list[bytes]:
        made = []
        for _ in range(BATCH):
            header = struct.pack("!BBHII", 0x80, VIDEO_PT, self.sequence & 0xFFFF, self.sequence, 1)
            made.append(self.sending.protect(header + PAYLOAD))
            self.sequence += 1
        return made

    def close(self) -> None:
        for leg in self.legs:
            self.pump.remove_leg(leg)
        for session in (*self.sessions, self.sending):
            session.close()


@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"])
@pytest.mark.parametrize("sinks", [1, 5, 20])
def test_pump(benchmark: Any, sinks: int, profile: str) -> None:
    setup = Setup(sinks, profile)
    try:
        benchmark.group = f"pump without sockets, {BATCH} packets a round, 1 to {sinks}"
        benchmark.pedantic(
            setup.pump.replay,
            setup=lambda: ((setup.batch(), HOST, SOURCE_PORT, clock_us()), {}),
            rounds=20,
        )
        routed = setup.pump.routes()
        assert len(routed) == sinks
        assert set(routed["packets"]) == {setup.sequence}
    finally:
        setup.close()
    if benchmark.enabled:
        benchmark.extra_info["ns_per_copy"] = benchmark.stats.stats.median / BATCH / sinks * 1e9
