"""RTCP hop by hop: reports, retransmission and key frame requests, and who may speak of which SSRC."""

import struct

from pair import AUDIO_PT, RTX_PT, VIDEO_PT, Peer, deliver, drops, route, rtp

from native import Pump

MS, S = 1000, 1_000_000


def pli(media: int, sender: int = 1) -> bytes:
    return struct.pack("!BBHII", 0x81, 206, 2, sender, media)


def nack(media: int, *items: tuple[int, int], sender: int = 1) -> bytes:
    return struct.pack("!BBHII", 0x81, 205, 2 + len(items), sender, media) + b"".join(
        struct.pack("!HH", *item) for item in items
    )


def keyframe_requests(peer: Peer) -> int:
    return sum(1 for kind, count, _ in peer.rtcp() if (kind, count) == (206, 1))


def test_a_route_asks_for_a_key_frame_and_requests_are_coalesced(
    pump: Pump, peers: tuple[Peer, Peer], now: int
) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(rtp(1, ssrc=9), now_us=now + 20 * MS)
    pump.inject([], now + 40 * MS)
    deliver(pump, a, b)
    assert keyframe_requests(a) == 1, "asked as soon as the stream is known"
    start = now + 100 * MS
    for i in range(300):
        b.send_rtcp(pli(2002), now_us=start + i * 10 * MS)
    deliver(pump, a, b)
    assert 4 <= keyframe_requests(a) <= 7, "at most two a second in 3 s of 100 a second"
    b.send_rtcp(pli(2002), now_us=start + 10 * S)
    deliver(pump, a, b)
    assert keyframe_requests(a) == 1, "an honest one later goes at once"


def test_feedback_about_a_foreign_ssrc_reaches_nobody(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    c = Peer(pump, 7000, out_ssrc=(4001, 4002), rtx_ssrc=4003)
    c.connect()
    route(pump, a, b)
    a.send(rtp(1, ssrc=9), rtp(2, ssrc=9), now_us=now)
    pump.inject([], now + 20 * MS)
    deliver(pump, a, b, c)
    b.rtp()
    keyframe_requests(a)
    later = now + 2 * S
    sender_report = struct.pack("!BBHIQIII", 0x80, 200, 6, 9, 1 << 32, 5, 6, 7)
    bye = struct.pack("!BBHI", 0x81, 203, 1, 9)
    for compound in (pli(2002), pli(9), nack(2002, (1, 0)), sender_report, bye):
        c.send_rtcp(compound, now_us=later)
    deliver(pump, a, b, c)
    assert keyframe_requests(a) == 0
    assert drops(pump)["rtcp_foreign_ssrc"] == 5
    a.send(rtp(3, b"goes on", ssrc=9), now_us=later)
    deliver(pump, a, b, c)
    assert [p.payload for p in b.rtp()] == [b"goes on"]
    c.close()


def test_nack_is_answered_once_per_round_trip_as_rtx(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(*(rtp(i, bytes([i]) * 50, ssrc=9, timestamp=i) for i in range(1, 21)), now_us=now)
    deliver(pump, a, b)
    sent = b.rtp()
    lost = sent[4]
    for _ in range(5):
        b.send_rtcp(nack(2002, (lost.sequence, 0b101)), now_us=now + 30 * MS)
    deliver(pump, a, b)
    again = b.rtp()
    assert [p.pt for p in again] == [RTX_PT] * 3
    assert {p.ssrc for p in again} == {2003}
    assert [struct.unpack_from("!H", p.payload)[0] for p in again] == [lost.sequence + d for d in (0, 1, 3)]
    assert again[0].payload[2:] == lost.payload
    assert again[0].timestamp == lost.timestamp
    b.send_rtcp(nack(2002, (lost.sequence, 0)), now_us=now + 60 * MS)
    b.send_rtcp(nack(2002, (lost.sequence, 0)), now_us=now + 5 * S)
    deliver(pump, a, b)
    assert len(b.rtp()) == 1, "again after a round trip, never when it is older than the history"


def test_without_rtx_the_same_packet_is_sent_again(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b, rtx=False)
    a.send(*(rtp(i, bytes([i]), ssrc=9, pt=VIDEO_PT) for i in range(1, 6)), now_us=now)
    datagrams = pump.captured()
    lost = datagrams.pop(2)
    b.inbox = [d for d, _ in datagrams]
    sequences = [p.sequence for p in b.rtp()]
    b.send_rtcp(nack(2002, (sequences[1] + 1, 0)), now_us=now + 30 * MS)
    assert [d for d, port in pump.captured() if port == b.port] == [lost[0]]


def test_a_nack_flood_stays_in_its_budget(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    a.send(*(rtp(i, bytes(1000), ssrc=9) for i in range(1, 201)), now_us=now)
    deliver(pump, a, b)
    newest = b.rtp()[-1].sequence
    flood = nack(2002, *((newest - 17 * k & 0xFFFF, 0xFFFF) for k in range(200)))
    for i in range(50):
        b.send_rtcp(flood, now_us=now + 20 * MS * i)
    deliver(pump, a, b)
    resent = sum(len(p.payload) for p in b.rtp())
    assert 0 < resent <= 0.2 * 200 * 1050 + 33000


def test_reports_are_the_relays_own_on_each_hop(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    for i in range(200):
        lost = i % 10 == 5
        if not lost:
            a.send(rtp(100 + i, bytes(100), ssrc=9, pt=AUDIO_PT, timestamp=i * 960), now_us=now + i * 20 * MS)
        if i == 50:
            ntp = (1000 << 32) + (1 << 31)
            report = struct.pack("!BBHIQIII", 0x80, 200, 6, 9, ntp, i * 960, 45, 4500)
            a.send_rtcp(report, now_us=now + i * 20 * MS)
    deliver(pump, a, b)
    got = b.rtp()
    reports = [p for kind, _, p in a.rtcp() if kind in (200, 201)]
    ssrc, fraction, highest, _, lsr, dlsr = [struct.unpack_from("!IIIIII", r, 8) for r in reports if len(r) >= 32][-1]
    assert ssrc == 9
    assert 15 <= fraction >> 24 <= 35, "10 % lost, in 1/256"
    assert 10 <= fraction & 0xFFFFFF <= 20
    assert 250 <= highest & 0xFFFF <= 299
    assert lsr == 1000 << 16 | 1 << 15
    assert 1 << 16 < dlsr < 4 << 16
    sent = [p for kind, _, p in b.rtcp() if kind == 200]
    assert sent
    out_ssrc, ntp_high, ntp_low, timestamp, packets, octets = struct.unpack_from("!IIIIII", sent[-1], 4)
    assert out_ssrc == 2001
    assert octets == packets * 100
    # The timestamp of the report lies on the line through the packets: within 20 ms of what was sent around then.
    last = got[-1].timestamp
    assert abs((timestamp - last + 2**31) % 2**32 - 2**31) < 48000 * 2
    first_ntp = struct.unpack_from("!II", sent[0], 8)
    elapsed = (ntp_high + ntp_low / 2**32) - (first_ntp[0] + first_ntp[1] / 2**32)
    units = (timestamp - struct.unpack_from("!I", sent[0], 16)[0]) & 0xFFFFFFFF
    if len(sent) > 1:
        assert abs(units / 48000 - elapsed) < 0.1


def test_round_trip_time_comes_from_the_sinks_report(pump: Pump, peers: tuple[Peer, Peer], now: int) -> None:
    a, b = peers
    route(pump, a, b)
    for i in range(100):
        a.send(rtp(i, ssrc=9, pt=AUDIO_PT, timestamp=i * 960), now_us=now + i * 20 * MS)
    deliver(pump, a, b)
    report = [p for kind, _, p in b.rtcp() if kind == 200][-1]
    middle = struct.unpack_from("!Q", report, 8)[0] >> 16 & 0xFFFFFFFF
    for row in pump.routes():
        assert int(row["rtt_us"]) == 0
    # Answer "500 ms after I got it" 580 ms after the newest possible sending time: the rest is the round trip.
    block = struct.pack("!IIIIII", 2001, 64 << 24 | 5, 100, 480, middle, 1 << 15)
    b.send_rtcp(struct.pack("!BBHI", 0x81, 201, 7, 1) + block, now_us=now + 99 * 20 * MS + 580 * MS)
    rows = {int(r["sink_section"]): r for r in pump.routes()}
    assert 79 * MS <= int(rows[0]["rtt_us"]) <= 2 * S
    assert int(rows[0]["fraction_lost"]) == 64
    assert int(rows[0]["lost"]) == 5
    assert int(rows[0]["jitter_us"]) == 10 * MS


def test_good_bye_is_said_for_every_stream(pump: Pump, peers: tuple[Peer, Peer]) -> None:
    a, _ = peers
    other = Peer(pump, 7000, out_ssrc=(4001, 4002), rtx_ssrc=4003)
    other.connect()
    pump.remove_leg(other.leg, bye=True)
    deliver(pump, a, other)
    assert [struct.unpack_from("!I", p, 4)[0] for kind, _, p in other.rtcp() if kind == 203] == [4001, 4002]
    other.leg = pump.add_leg(local_ssrc=1, cname="x")
    other.close()
