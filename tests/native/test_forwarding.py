"""A packet's walk: what arrives protected from one peer leaves rewritten and protected towards the other."""

import random
import struct

import pytest
from pair import AUDIO, AUDIO_PT, LEVEL_EXT, MID_EXT, RTX_PT, VIDEO_PT, Peer, deliver, drops, route, rtp

from native import DROP_REASONS, Pump
from native.srtp import PROFILES

MS = 1000


@pytest.mark.parametrize("profile", PROFILES)
def test_media_crosses_with_the_sinks_numbers(pump: Pump, now: int, profile: str) -> None:
    a = Peer(pump, 5000, profile=profile)
    b = Peer(pump, 6000, profile=profile, out_ssrc=(2001, 2002), rtx_ssrc=2003)
    a.connect()
    b.connect()
    route(pump, a, b)
    payloads = [bytes([i]) * (i * 9 + 1) for i in range(100)]
    packets = [
        rtp(65500 + i, p, ssrc=77, timestamp=i * 3000, marker=i % 3 == 2, extensions={MID_EXT: b"v"})
        for i, p in enumerate(payloads)
    ]
    a.send(*packets, now_us=now)
    deliver(pump, a, b)
    got = b.rtp()
    assert [p.payload for p in got] == payloads
    assert {p.ssrc for p in got} == {2002}
    assert {p.pt for p in got} == {VIDEO_PT}
    assert [p.marker for p in got] == [i % 3 == 2 for i in range(100)]
    assert [(p.sequence - got[0].sequence) & 0xFFFF for p in got] == list(range(100))
    assert [(p.timestamp - got[0].timestamp) & 0xFFFFFFFF for p in got] == [i * 3000 for i in range(100)]
    assert {p.extensions for p in got} == {bytes(4)}, "the source's MID stays with the source"
    assert drops(pump) == {}
    a.close()
    b.close()


def test_extension_ids_become_the_sinks(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    extensions = {MID_EXT: b"a", LEVEL_EXT: b"\x85", 9: b"secret"}
    a.send(rtp(1, ssrc=5, pt=AUDIO_PT, extensions=extensions), now_us=now)
    deliver(pump, a, b)
    (packet,) = b.rtp()
    assert packet.extensions.strip(b"\0") == bytes([7 << 4]) + b"\x85"
    assert packet.pt == AUDIO_PT
    assert packet.ssrc == 2001


def test_one_stream_feeds_many_sinks(pump: Pump, now: int) -> None:
    source = Peer(pump, 5000)
    sinks = [
        Peer(pump, 6000 + 10 * i, out_ssrc=(3000 + 10 * i, 3001 + 10 * i), rtx_ssrc=3002 + 10 * i) for i in range(40)
    ]
    for peer in (source, *sinks):
        peer.connect()
    for sink in sinks:
        route(pump, source, sink)
    source.send(*(rtp(i, b"x" * 1100, ssrc=9) for i in range(20)), now_us=now)
    deliver(pump, source, *sinks)
    assert [len(s.rtp()) for s in sinks] == [20] * 40
    for peer in (source, *sinks):
        peer.close()


def test_order_is_kept_as_received_and_duplicates_end_here(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    order = list(range(200))
    rng = random.Random(3)
    for i in range(0, 190, 7):
        order.insert(i + rng.randrange(1, 9), order.pop(i))
    protected = [a.sending.protect(rtp(1000 + i, struct.pack("!H", i), ssrc=9)) for i in range(200)]
    for i in order:
        a.raw(protected[i], protected[i], now_us=now)
    deliver(pump, a, b)
    got = b.rtp()
    assert [struct.unpack("!H", p.payload)[0] for p in got] == order
    assert drops(pump) == {"replayed": 200}


def test_sequence_numbers_wrap_many_times(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    expected = None
    for start in range(0, 3 * 65536 + 5000, 500):
        a.send(*(rtp(start + i, b"", ssrc=9, timestamp=start + i) for i in range(500)), now_us=now + start)
        deliver(pump, a, b)
        got = b.rtp()
        assert len(got) == 500
        for packet in got:
            assert expected is None or packet.sequence == expected
            expected = (packet.sequence + 1) & 0xFFFF
        b.rtcp()
        a.inbox.clear()
    (stream,) = pump.streams()
    assert int(stream["lost"]) == 0
    assert int(stream["packets"]) == int(stream["expected"])


def test_a_restarted_source_continues_seamlessly(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(*(rtp(100 + i, ssrc=9, timestamp=i * 3000) for i in range(10)), now_us=now)
    a.send(*(rtp(30000 + i, ssrc=9, timestamp=900000000 + i * 3000) for i in range(10)), now_us=now + 100 * MS)
    deliver(pump, a, b)
    got = b.rtp()
    assert len(got) == 19, "the first packet after a jump waits for a second one"
    assert [(p.sequence - got[0].sequence) & 0xFFFF for p in got] == list(range(19))
    assert (got[10].timestamp - got[9].timestamp) & 0xFFFFFFFF == 9000, "100 ms at 90 kHz"
    assert drops(pump) == {"restarting": 1}


def test_a_new_ssrc_takes_over_when_the_old_one_falls_silent(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(rtp(10, b"old", ssrc=1), rtp(5000, b"other", ssrc=2), now_us=now)
    assert drops(pump) == {"layer_gate": 1}
    a.send(rtp(5001, b"new", ssrc=2), now_us=now + 600 * MS)
    deliver(pump, a, b)
    got = b.rtp()
    assert [p.payload for p in got] == [b"old", b"new"]
    assert (got[1].sequence - got[0].sequence) & 0xFFFF == 1


def test_an_unmapped_payload_type_leaves_no_hole(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    pump.add_payload(a.leg, section=AUDIO, payload_type=13, clock_hz=8000)
    route(pump, a, b)
    packets = [rtp(i, ssrc=9, pt=13 if i % 5 == 4 else AUDIO_PT) for i in range(20)]
    a.send(*packets, now_us=now)
    deliver(pump, a, b)
    got = b.rtp()
    assert [(p.sequence - got[0].sequence) & 0xFFFF for p in got] == list(range(16))
    assert drops(pump) == {"no_payload": 4}


def test_rtx_repairs_a_hole_and_a_probe_repairs_nothing(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    pump.add_ssrc(a.leg, 1, 9, 10)
    route(pump, a, b)
    a.send(*(rtp(i, bytes([i]), ssrc=9, timestamp=i) for i in (1, 2, 4)), now_us=now)
    a.send(rtp(1, struct.pack("!H", 3) + b"\x03", ssrc=10, pt=RTX_PT, timestamp=3), now_us=now)
    a.send(rtp(2, struct.pack("!H", 2) + b"\x02", ssrc=10, pt=RTX_PT, timestamp=2), now_us=now)
    a.send(rtp(3, b"", ssrc=10, pt=RTX_PT, padding=200), now_us=now)
    deliver(pump, a, b)
    got = b.rtp()
    assert [p.payload for p in got] == [b"\x01", b"\x02", b"\x04", b"\x03"]
    assert got[3].sequence == got[2].sequence - 1
    assert {p.ssrc for p in got} == {2002}
    assert drops(pump) == {"duplicate": 1, "rtx_padding": 1}


def test_what_is_not_a_packet_of_the_leg_is_dropped_with_its_reason(
    pump: Pump, peers: tuple[Peer, Peer], now: int
) -> None:
    a, b = peers
    late = Peer(pump, 7000)
    assert pump.bind(late.leg, "192.0.2.1", 7000, selected=True)
    route(pump, a, b)
    good = a.sending.protect(rtp(1, ssrc=9))
    cases: dict[str, bytes] = {
        "empty": b"",
        "not_ours": b"\x40hello",
        "malformed": b"\x90" + good[1:12] + b"\xbe\xde\xff\xff" + bytes(40),
        "bad_auth": good[:-1] + bytes([good[-1] ^ 1]),
        "oversize": good + bytes(2000),
        "bad_padding": a.sending.protect(rtp(2, b"x", ssrc=9, padding=0)),
        "no_section": a.sending.protect(rtp(3, ssrc=11, pt=50)),
        "rtcp_malformed": b"\x80\xc8\x00\x00",
        "rtcp_bad_auth": b"\x80\xc9\x00\x01" + bytes(40),
        "stun_malformed": b"\x00\x01" + bytes(30),
    }
    for reason, datagram in cases.items():
        before = drops(pump).get(reason, 0)
        a.raw(datagram, now_us=now)
        assert drops(pump).get(reason, 0) == before + 1, reason
    pump.inject([(good, "192.0.2.9", 5000)], now)
    assert drops(pump)["unknown_source"] == 1
    pump.inject([(bytes([22]) + bytes(50), "192.0.2.9", 5000)], now)
    assert drops(pump)["dtls_unvalidated"] == 1
    late.raw(good, now_us=now)
    assert drops(pump)["no_keys"] == 1
    b.send(rtp(1, ssrc=9), now_us=now)
    assert drops(pump)["no_route"] == 1
    assert set(drops(pump)) <= set(DROP_REASONS)
    deliver(pump, a, b)
    assert b.rtp() == []
    a.raw(good, now_us=now)
    deliver(pump, a, b)
    assert len(b.rtp()) == 1, "none of it cost the leg its stream"
    late.close()


def test_streams_of_a_leg_are_bounded(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(rtp(1, ssrc=1), now_us=now)
    a.send(*(rtp(1, ssrc=2 + i) for i in range(5000)), now_us=now)
    assert int(pump.counters()["streams"]) == 32
    assert drops(pump)["stream_table_full"] == 5000 - 31
    a.send(rtp(2, b"still", ssrc=1), now_us=now)
    deliver(pump, a, b)
    assert b.rtp()[-1].payload == b"still"


def test_addresses_of_a_leg_are_bounded_and_nobody_elses(pump: Pump, peers: tuple[Peer, Peer]) -> None:
    a, b = peers
    assert not pump.bind(b.leg, "192.0.2.1", a.port, selected=True)
    assert [pump.bind(a.leg, "2001:db8::1", 1000 + i, selected=False) for i in range(10)] == [True] * 8 + [False] * 2
    assert pump.unbind(a.leg, "2001:db8::1", 1003)
    assert pump.bind(b.leg, "2001:db8::1", 1003, selected=False)


def test_a_stale_handle_is_refused(pump: Pump) -> None:
    leg = pump.add_leg(local_ssrc=1, cname="x")
    pump.remove_leg(leg)
    again = pump.add_leg(local_ssrc=1, cname="x")
    assert again != leg
    with pytest.raises(KeyError):
        pump.remove_leg(leg)
    pump.remove_leg(again)


def test_a_section_fed_again_goes_on_counting(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    """The same SSRC and key: a number used twice would be a two-time pad, one behind would be refused by SRTP."""
    a, b = peers
    last = None
    for life in range(8):
        source = Peer(pump, 7000 + life * 10)
        source.connect()
        route(pump, source, b)
        source.send(
            *(rtp(i * life, bytes(9), ssrc=9, timestamp=i) for i in range(1, 300)), now_us=now + life * 1000 * MS
        )
        deliver(pump, a, b, source)
        got = b.rtp()
        assert got
        for packet in got:
            assert last is None or (packet.sequence - last) & 0xFFFF < 0x8000
            last = packet.sequence
        source.close()
    assert "protect_failed" not in drops(pump)


def test_a_repair_never_moves_the_window(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    pump.add_ssrc(a.leg, 1, 9, 10)
    route(pump, a, b)
    a.send(rtp(5000, b"first", ssrc=9), now_us=now)
    probes = [5001, 3000, 3001, 3002, 40000]
    a.send(*(rtp(i, struct.pack("!H", o) + b"probe", ssrc=10, pt=RTX_PT) for i, o in enumerate(probes)), now_us=now)
    a.send(rtp(5001, b"second", ssrc=9), now_us=now)
    deliver(pump, a, b)
    assert [p.payload for p in b.rtp()] == [b"first", b"second"]
    assert drops(pump) == {"rtx_orphan": 5}


def test_ssrcs_an_authenticated_peer_can_make_srtp_remember_are_bounded(
    pump: Pump, peers: tuple[Peer, Peer], now: int
) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(rtp(1, ssrc=1), now_us=now)
    a.send(*(rtp(1, ssrc=100 + i, pt=50) for i in range(500)), now_us=now)
    for i in range(500):
        a.send_rtcp(struct.pack("!BBHI", 0x80, 201, 1, 10_000 + i), now_us=now)
    assert drops(pump)["no_section"] == 63
    assert drops(pump)["stream_table_full"] == 437 + 500
    a.send(rtp(2, b"still", ssrc=1), now_us=now)
    deliver(pump, a, b)
    assert b.rtp()[-1].payload == b"still"


def test_one_leg_cannot_fill_the_ring_of_the_others(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    hello = bytes([22, 254, 253]) + bytes(40)
    a.raw(*[hello] * 400, now_us=now)
    b.raw(hello, now_us=now)
    waiting = [leg for _, leg, *_ in pump.poll()]
    assert waiting.count(a.leg) == 16
    assert waiting.count(b.leg) == 1
    assert drops(pump)["slow_full"] == 384
    a.raw(hello, now_us=now)
    assert len(pump.poll()) == 1, "what was taken makes room again"
