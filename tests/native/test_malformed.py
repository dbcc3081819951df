"""Any bytes may arrive: raw from strangers, raw from a validated address, or protected by an authenticated peer."""

import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import AUDIO_PT, RTX_PT, VIDEO_PT, Packet, Peer, deliver, route, rtp

from native import Pump

SSRC = struct.pack("!I", 9)

#: Datagrams near the edge of every parser, and plain noise.
headers = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda first, second, rest: bytes([first, second]) + rest,
        st.integers(128, 191),
        st.integers(0, 255),
        st.binary(max_size=300),
    ),
    st.builds(
        lambda first, pt, seq, ts, rest: bytes([first, pt]) + seq + ts + SSRC + rest,
        st.integers(128, 191),
        st.sampled_from([AUDIO_PT, VIDEO_PT, RTX_PT, VIDEO_PT | 128, 50]),
        st.binary(min_size=2, max_size=2),
        st.binary(min_size=4, max_size=4),
        st.binary(max_size=200),
    ),
)
compounds = st.builds(
    lambda parts: b"".join(
        bytes([0x80 | count, kind]) + struct.pack("!H", words) + body for count, kind, words, body in parts
    ),
    st.lists(
        st.tuples(st.integers(0, 63), st.integers(192, 223), st.integers(0, 40), st.binary(max_size=160)),
        min_size=1,
        max_size=4,
    ),
)


def _made() -> tuple[Pump, Peer, Peer]:
    pump = Pump(-1, seed=7, capture_bytes=1 << 20)
    a, b = Peer(pump, 5000), Peer(pump, 6000, out_ssrc=(2001, 2002), rtx_ssrc=2003)
    a.connect()
    b.connect()
    route(pump, a, b)
    route(pump, b, a)
    return pump, a, b


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(headers, max_size=20))
def test_raw_datagrams_change_nothing(datagrams: list[bytes]) -> None:
    pump, a, b = _made()
    now = 10_000_000
    pump.inject([(d, "203.0.113.5", 999) for d in datagrams], now)
    assert pump.captured() == [], "not one byte to a stranger"
    pump.inject([(d, "192.0.2.1", a.port) for d in datagrams], now)
    deliver(pump, a, b)
    a.rtp(), b.rtp()
    a.send(*(rtp(i, b"%d" % i, ssrc=9) for i in range(5)), now_us=now)
    deliver(pump, a, b)
    assert [p.payload for p in b.rtp()] == [b"%d" % i for i in range(5)]
    a.close()
    b.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(headers, compounds), max_size=20), st.booleans())
def test_an_authenticated_peer_cannot_break_the_others(datagrams: list[bytes], rtcp: bool) -> None:
    pump, a, b = _made()
    c, d = Peer(pump, 7000), Peer(pump, 8000, out_ssrc=(4001, 4002), rtx_ssrc=4003)
    c.connect()
    d.connect()
    route(pump, c, d)
    now = 10_000_000
    for number, datagram in enumerate(datagrams):
        try:
            protected = a.sending.protect_rtcp(datagram) if rtcp else a.sending.protect(datagram)
        except ValueError:
            protected = datagram  # libsrtp itself finds nothing to protect in it
        a.raw(protected, now_us=now + number * 7000)
        c.send(rtp(number, b"%d" % number, ssrc=9), now_us=now + number * 7000)
    pump.inject([], now + 3_000_000)
    deliver(pump, a, b, c, d)
    assert [p.payload for p in d.rtp()] == [b"%d" % n for n in range(len(datagrams))]
    for packet in b.rtp():
        assert isinstance(packet, Packet), "what the relay sends parses again"
        assert packet.ssrc in (2001, 2002, 2003)
    for peer in (a, b, c, d):
        peer.close()
