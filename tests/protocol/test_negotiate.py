"""Offers of real clients and broken ones, and the answers they get."""

import asyncio
import itertools
import random
from dataclasses import replace

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol import negotiate as negotiation
from relay.protocol import sdp
from relay.protocol.ice import Credentials
from relay.protocol.negotiate import Local, NegotiationError, Plan, Policy, maps, negotiate

FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
TRANSPORT = f"""a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=ice-options:trickle
a=fingerprint:{FINGERPRINT}
a=setup:actpass
"""
HEAD = "v=0\no=- 4611731400430051336 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n"

# As Chromium writes it for getUserMedia({audio, video}) and a data channel, shortened where lines repeat.
CHROMIUM = (
    HEAD
    + """a=group:BUNDLE 0 1 2
a=extmap-allow-mixed
a=msid-semantic: WMS 3c8f6ab7
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
"""
    + TRANSPORT
    + """a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:3c8f6ab7 a3b1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:1844158214 cname:3KfB8vlxm6W7D5jP
a=ssrc:1844158214 msid:3c8f6ab7 a3b1
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 115 116 98 99 100 101 45 46 123 124
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
"""
    + TRANSPORT
    + """a=mid:1
a=extmap:14 urn:ietf:params:rtp-hdrext:toffset
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:13 urn:3gpp:video-orientation
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=sendrecv
a=msid:3c8f6ab7 b4c2
a=rtcp-mux
a=rtcp-rsize
"""
    + "".join(
        f"""a=rtpmap:{pt} {name}/90000
a=rtcp-fb:{pt} goog-remb
a=rtcp-fb:{pt} transport-cc
a=rtcp-fb:{pt} ccm fir
a=rtcp-fb:{pt} nack
a=rtcp-fb:{pt} nack pli
{f"a=fmtp:{pt} {fmtp}" + chr(10) if fmtp else ""}a=rtpmap:{rtx} rtx/90000
a=fmtp:{rtx} apt={pt}
"""
        for pt, rtx, name, fmtp in (
            (96, 97, "VP8", ""),
            (103, 104, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
            (107, 108, "H264", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"),
            (109, 114, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            (115, 116, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"),
            (98, 99, "VP9", "profile-id=0"),
            (100, 101, "VP9", "profile-id=2"),
            (45, 46, "AV1", "level-idx=5;profile=0;tier=0"),
        )
    )
    + """a=rtpmap:123 ulpfec/90000
a=rtpmap:124 flexfec-03/90000
a=ssrc-group:FID 3210567 893041
a=ssrc:3210567 cname:3KfB8vlxm6W7D5jP
a=ssrc:3210567 msid:3c8f6ab7 b4c2
a=ssrc:893041 cname:3KfB8vlxm6W7D5jP
a=ssrc:893041 msid:3c8f6ab7 b4c2
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
"""
    + TRANSPORT
    + """a=mid:2
a=sctp-port:5000
a=max-message-size:262144
"""
)


def local(*addresses: tuple[str, int]) -> Local:
    return Local(
        Credentials("relayfrag", "relay-password-0123456789"),
        FINGERPRINT.replace("AB", "CD"),
        addresses or (("192.0.2.1", 5000),),
        "relay-cname",
        itertools.count(1000).__next__,
        "relay",
    )


def answered(offer: str, *peers: Plan, policy: Policy = Policy()) -> tuple[Plan, sdp.Session]:  # noqa: B008
    return negotiate(sdp.parse(offer), local(), policy, peers)


def refusal(offer: str, *peers: Plan) -> str:
    with pytest.raises(NegotiationError) as caught:
        answered(offer, *peers)
    return caught.value.message


def section(kind: str, codecs: str, *, direction: str = "sendrecv", mid: str = "", more: str = "") -> str:
    """An m-line; `codecs` as "96 VP8 90000, 8 PCMA 8000"."""
    entries = [entry.split() for entry in codecs.split(", ")]
    return (
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(entry[0] for entry in entries)}\n"
        + TRANSPORT
        + "".join(
            f"a=rtpmap:{pt} {name}/{clock}\n" + (f"a=fmtp:{pt} {fmtp[0]}\n" if fmtp else "")
            for pt, name, clock, *fmtp in entries
        )
        + (f"a=mid:{mid}\n" if mid else "")
        + f"a={direction}\na=rtcp-mux\n"
        + more
    )


def names(plan: Plan, index: int = 0) -> list[str]:
    return [codec.name for codec in plan.sections[index].codecs]


def test_chromium_gets_everything_we_know_in_our_order() -> None:
    plan, _ = answered(CHROMIUM)
    audio, video, data = plan.sections
    assert plan.remote == Credentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert plan.fingerprints == (("sha-256", ":".join(["AB"] * 32)),)
    assert not plan.dtls_client
    assert [codec.pt for codec in audio.codecs] == [111, 9, 8, 0]
    assert [codec.pt for codec in video.codecs] == [109, 107, 103, 115, 96, 98, 100, 45]
    assert [codec.rtx_pt for codec in video.codecs] == [114, 108, 104, 116, 97, 99, 101, 46]
    assert set(video.codecs[0].rtcp_fb) == {"nack", "nack pli", "ccm fir"}
    assert audio.codecs[0].rtcp_fb == ()
    assert audio.ssrcs == ((1844158214, None),)
    assert video.ssrcs == ((3210567, 893041),)
    assert video.out_ssrc is not None
    assert video.out_rtx_ssrc is not None
    assert audio.out_rtx_ssrc is None
    assert audio.reduced_size
    assert sorted(audio.extensions) == [1, 4]
    assert sorted(video.extensions) == [4, 5, 10, 11, 13]
    assert (data.kind, data.accepted, data.receives, data.sends) == ("application", False, False, False)


def test_the_answer_to_chromium_is_complete() -> None:
    plan, answer = answered(CHROMIUM)
    assert str(sdp.parse(str(answer))) == str(answer)
    audio, video, data = answer.media
    assert answer.has("ice-lite")
    assert answer.value("group") == "BUNDLE 0 1"
    assert "transport-cc" not in str(answer)
    for line in (audio, video):
        assert line.value("setup") == "passive"
        assert line.value("ice-ufrag") == "relayfrag"
        assert line.value("fingerprint") == local().fingerprint
        assert line.has("sendrecv")
        assert line.has("rtcp-mux")
        assert line.has("rtcp-rsize")
        assert line.value("msid") == f"relay relay-{line is video:d}"
    assert list(audio.values("candidate")) == ["1 1 udp 2130706431 192.0.2.1 5000 typ host"]
    assert audio.has("end-of-candidates")
    assert not video.has("candidate")
    out = plan.sections[1]
    assert video.value("ssrc-group") == f"FID {out.out_ssrc} {out.out_rtx_ssrc}"
    assert f"{out.out_ssrc} cname:relay-cname" in video.values("ssrc")
    assert "114 apt=109" in video.values("fmtp")
    assert (data.port, data.formats, data.value("mid")) == (0, ["webrtc-datachannel"], "2")


def test_aiortc_offers_and_takes_the_answer() -> None:
    async def exchange() -> None:
        connection = RTCPeerConnection()
        connection.addTransceiver("audio")
        connection.addTransceiver("video", direction="recvonly")
        try:
            await connection.setLocalDescription(await connection.createOffer())
            plan, answer = answered(connection.localDescription.sdp)
            audio, video = plan.sections
            assert names(plan)[0] == "opus"
            assert names(plan, 1)[0] == "H264"
            assert (audio.receives, audio.sends) == (True, True)
            assert (video.receives, video.sends) == (False, True)
            assert len(audio.ssrcs) == 1
            assert {algorithm for algorithm, _ in plan.fingerprints} == {"sha-256", "sha-384", "sha-512"}
            await connection.setRemoteDescription(RTCSessionDescription(str(answer), "answer"))
            assert connection.signalingState == "stable"
        finally:
            await connection.close()

    asyncio.run(exchange())


def test_two_browsers_map_one_to_one() -> None:
    first, _ = answered(CHROMIUM)
    second, _ = answered(CHROMIUM, first)
    found = maps(first.sections[1], second.sections[1])
    assert found.payload == {pt: pt for pt in (109, 107, 103, 115, 96, 98, 100, 45)}
    assert found.rtx[109] == (109, 114)
    assert found.extensions == {5: 5, 13: 13}


H264 = "profile-level-id=42e01f;packetization-mode=1"


def test_a_device_and_a_browser_are_renumbered() -> None:
    device_offer = (
        HEAD
        + "a=group:BUNDLE a v\n"
        + section("audio", "8 PCMA 8000, 97 opus 48000/2", mid="a")
        + section("video", f"102 H264 90000 {H264}", mid="v", more="a=extmap:9 urn:3gpp:video-orientation\n")
    )
    browser, _ = answered(CHROMIUM)
    device, answer = answered(device_offer, browser)
    assert device.sections[0].codecs[0].pt == 97  # the browser sends opus
    to_device = maps(browser.sections[1], device.sections[1])
    assert to_device.payload == {109: 102, 107: 102}
    assert to_device.rtx == {}
    assert to_device.extensions == {13: 9}
    to_browser = maps(device.sections[1], browser.sections[1])
    assert to_browser.payload == {102: 109}
    assert to_browser.rtx == {102: (109, 114)}
    assert device.sections[1].out_rtx_ssrc is None
    assert answer.media[1].formats == ["102"]


def test_the_newcomer_speaks_what_is_heard_first() -> None:
    present, _ = answered(HEAD + section("audio", "8 PCMA 8000, 0 PCMU 8000"))
    newcomer, answer = answered(
        HEAD + section("audio", "111 opus 48000/2, 9 G722 8000, 0 PCMU 8000, 8 PCMA 8000"), present
    )
    assert names(newcomer) == ["PCMA", "PCMU"]
    assert answer.media[0].formats == ["8", "0"]


def test_no_common_codec_names_both_sides() -> None:
    present, _ = answered(HEAD + section("video", f"102 H264 90000 {H264}"))
    message = refusal(HEAD + section("video", "96 VP8 90000, 98 VP9 90000 profile-id=2"), present)
    assert "VP8" in message
    assert "VP9 (profile 2)" in message
    assert "H264 (profile-level-id 42e01f, packetization-mode 1)" in message


def test_a_newcomer_that_cannot_decode_what_is_sent_is_refused() -> None:
    present, _ = answered(HEAD + section("audio", "111 opus 48000/2, 8 PCMA 8000"))
    message = refusal(HEAD + section("audio", "8 PCMA 8000"), present)
    assert "sends opus" in message


def test_directions_that_never_meet_need_no_common_codec() -> None:
    player, _ = answered(HEAD + section("video", "96 VP8 90000", direction="recvonly"))
    other, _ = answered(HEAD + section("video", f"102 H264 90000 {H264}", direction="recvonly"), player)
    assert names(other) == ["H264"]
    refusal(HEAD + section("video", f"102 H264 90000 {H264}", direction="sendonly"), player)


def test_main_profile_fits_one_way_only() -> None:
    main = "profile-level-id=4d001f;packetization-mode=1"
    baseline, _ = answered(HEAD + section("video", f"102 H264 90000 {H264}", direction="sendonly"))
    viewer, _ = answered(HEAD + section("video", f"99 H264 90000 {main}", direction="recvonly"), baseline)
    assert maps(baseline.sections[0], viewer.sections[0]).payload == {102: 99}
    player, _ = answered(HEAD + section("video", f"102 H264 90000 {H264}", direction="recvonly"))
    assert "4d001f" in refusal(HEAD + section("video", f"99 H264 90000 {main}", direction="sendonly"), player)


def test_a_kind_the_others_lack_is_accepted() -> None:
    present, _ = answered(HEAD + section("audio", "111 opus 48000/2"))
    plan, _ = answered(CHROMIUM, present)
    assert plan.sections[1].accepted
    assert names(plan, 1)[0] == "H264"


@pytest.mark.parametrize(
    ("direction", "receives", "sends", "answer"),
    [
        ("sendrecv", True, True, "sendrecv"),
        ("sendonly", True, False, "recvonly"),
        ("recvonly", False, True, "sendonly"),
        ("inactive", False, False, "inactive"),
    ],
)
def test_directions(direction: str, receives: bool, sends: bool, answer: str) -> None:
    plan, written = answered(HEAD + section("audio", "8 PCMA 8000", direction=direction, more="a=ssrc:5 cname:x\n"))
    (found,) = plan.sections
    assert (found.accepted, found.receives, found.sends) == (True, receives, sends)
    assert written.media[0].has(answer)
    assert (found.out_ssrc is not None) is sends
    assert written.media[0].has("ssrc") is sends
    assert bool(found.ssrcs) is receives


def test_the_direction_may_stand_in_the_session_part() -> None:
    offer = HEAD + "a=recvonly\n" + section("audio", "8 PCMA 8000").replace("a=sendrecv\n", "")
    assert answered(offer)[1].media[0].has("sendonly")


def test_the_repaired_stream_id_is_for_receiving() -> None:
    offer = CHROMIUM.replace("a=sendrecv", "a=recvonly")
    assert 11 not in answered(offer)[0].sections[1].extensions


def test_m_lines_offered_with_port_zero_stay_rejected() -> None:
    plan, answer = answered(CHROMIUM.replace("m=video 9", "m=video 0"))
    assert not plan.sections[1].accepted
    assert [media.port for media in answer.media] == [5000, 0, 0]
    assert answer.value("group") == "BUNDLE 0"


def test_a_bundle_only_m_line_is_not_rejected() -> None:
    offer = CHROMIUM.replace("m=video 9", "m=video 0").replace("a=mid:1\n", "a=mid:1\na=bundle-only\n")
    assert answered(offer)[0].sections[1].accepted


def test_an_m_line_of_unknown_codecs_is_rejected_alone() -> None:
    offer = (
        HEAD
        + "a=group:BUNDLE 0 1\n"
        + section("audio", "97 iLBC 8000", mid="0")
        + section("video", "96 VP8 90000", mid="1")
    )
    plan, answer = answered(offer)
    assert [found.accepted for found in plan.sections] == [False, True]
    assert answer.media[1].has("candidate")
    assert answer.value("group") == "BUNDLE 1"


def test_several_addresses_of_both_families() -> None:
    _, answer = negotiate(
        sdp.parse(HEAD + section("audio", "8 PCMA 8000")),
        local(("2001:db8::1", 5000), ("192.0.2.1", 5000)),
        Policy(),
        [],
    )
    media = answer.media[0]
    assert media.connection == "IN IP6 2001:db8::1"
    assert list(media.values("candidate")) == [
        "1 1 udp 2130706431 2001:db8::1 5000 typ host",
        "2 1 udp 2130706175 192.0.2.1 5000 typ host",
    ]


def test_one_m_line_needs_neither_mid_nor_bundle() -> None:
    plan, answer = answered(HEAD + section("audio", "8 PCMA 8000"))
    assert plan.sections[0].mid == ""
    assert not answer.has("group")
    assert not answer.media[0].has("mid")


@pytest.mark.parametrize(
    ("setup", "client", "ours"),
    [("actpass", False, "passive"), ("active", False, "passive"), ("passive", True, "active")],
)
def test_roles(setup: str, client: bool, ours: str) -> None:
    plan, answer = answered(CHROMIUM.replace("setup:actpass", f"setup:{setup}"))
    assert plan.dtls_client is client
    assert answer.media[0].value("setup") == ours


def test_the_parameter_sets_of_the_sender_are_kept_but_not_answered() -> None:
    fmtp = H264 + ";sprop-parameter-sets=Z0LAHg==,aM4xsg=="
    plan, answer = answered(HEAD + section("video", f"102 H264 90000 {fmtp}"))
    assert plan.sections[0].codecs[0].parameter("sprop-parameter-sets") == "Z0LAHg==,aM4xsg=="
    assert "sprop" not in str(answer)


def test_our_ssrcs_differ_from_theirs() -> None:
    drawn = iter([7, 1844158214, 5, 3210567, 6, 893041, 5, 8, 9])
    plan, _ = negotiate(sdp.parse(CHROMIUM), replace(local(), ssrcs=lambda: next(drawn)), Policy(), [])
    ours = {s.out_ssrc for s in plan.sections} | {s.out_rtx_ssrc for s in plan.sections}
    assert ours == {None, 7, 5, 6}


def test_policy_orders_and_limits() -> None:
    plan, _ = answered(CHROMIUM, policy=Policy(audio=("PCMU",), video=("VP9", "VP8")))
    assert names(plan) == ["PCMU"]
    assert names(plan, 1) == ["VP9", "VP9", "VP8"]


AUDIO = HEAD + section("audio", "8 PCMA 8000")


@pytest.mark.parametrize(
    ("offer", "part"),
    [
        (HEAD, "no m-line"),
        (AUDIO.replace("a=rtcp-mux\n", ""), "rtcp-mux"),
        (AUDIO.replace("a=ice-ufrag:EsAw\n", ""), "ice-"),
        (AUDIO.replace("a=ice-ufrag:EsAw\n", "").replace("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n", ""), "ice-"),
        (AUDIO.replace("EsAw", "EsA"), "ice-ufrag"),
        (AUDIO.replace("P2uYro0UC", ""), "ice-pwd"),
        (AUDIO.replace(f"a=fingerprint:{FINGERPRINT}\n", ""), "fingerprint"),
        (AUDIO.replace(FINGERPRINT, "sha-1 " + ":".join(["AB"] * 20)), "fingerprint"),
        (AUDIO.replace(FINGERPRINT, "sha-256 AB:CD"), "fingerprint"),
        (AUDIO.replace(FINGERPRINT, "sha-256"), "fingerprint"),
        (AUDIO.replace(FINGERPRINT, FINGERPRINT.replace("AB", "XY")), "fingerprint"),
        (AUDIO.replace("setup:actpass", "setup:holdconn"), "setup"),
        (AUDIO.replace("PCMA", "iLBC").replace("SAVPF 8", "SAVPF 97").replace(":8 ", ":97 "), "no m-line"),
        (AUDIO.replace("SAVPF 8", "SAVPF 128"), "payload type"),
        (AUDIO.replace("t=0 0\n", "t=0 0\na=ice-lite\n"), "ice-lite"),
        (CHROMIUM.replace("a=group:BUNDLE 0 1 2\n", ""), "BUNDLE"),
        (CHROMIUM.replace("a=group:BUNDLE 0 1 2\n", "a=group:BUNDLE 0\n"), "BUNDLE"),
        (CHROMIUM.replace("a=mid:1\n", "a=mid:0\n"), "mid"),
        (CHROMIUM.replace("a=mid:1\n", "a=mid:a b\n"), "mid"),
        (CHROMIUM.replace("a=mid:1\n", "a=mid:12345678901234567\n"), "mid"),
        (CHROMIUM.replace("1844158214", "3210567"), "SSRC"),
        (CHROMIUM.replace("a=ssrc:893041 cname", "a=ssrc-group:FID 5 893041\na=ssrc:893041 cname"), "FID"),
        (CHROMIUM.replace("FID 3210567 893041", "FID 3210567 x"), "SSRC"),
        (CHROMIUM.replace("FID 3210567 893041", "FID 3210567 4294967296"), "SSRC"),
        (AUDIO + "".join(f"a=ssrc:{n} cname:x\n" for n in range(33)), "SSRCs"),
        (CHROMIUM.replace("a=extmap:13 urn:3gpp", "a=extmap:4 urn:3gpp"), "extension id 4"),
        (CHROMIUM.replace("a=extmap:1 urn", "a=extmap:13 urn"), "extension id 13"),
        (AUDIO + "a=extmap:x urn:3gpp:video-orientation\n", "extension"),
        (CHROMIUM.replace("97 ", "111 ").replace(":97 ", ":111 "), "payload type"),
    ],
)
def test_unusable_offers_are_refused_with_the_reason(offer: str, part: str) -> None:
    assert part in refusal(offer)


def test_any_damaged_offer_raises_only_declared_errors() -> None:
    rng = random.Random(1)
    lines = CHROMIUM.splitlines()
    for _ in range(400):
        damaged = list(lines)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(4, len(damaged))
            match rng.randrange(4):
                case 0:
                    del damaged[at]
                case 1:
                    damaged.insert(at, damaged[rng.randrange(4, len(damaged))])
                case 2:
                    damaged[at] = damaged[at][: rng.randrange(len(damaged[at]) + 1)]
                case _:
                    damaged[at] += rng.choice([" ", ":", "0", ";=", "\t", "/", "é"])
        judge("\n".join(damaged))


WORDS = st.sampled_from(
    ["96", "97", "0", "8", "opus/48000/2", "VP8/90000", "rtx/90000", "H264/90000", "apt=96", "nack", "FID",
     "BUNDLE", "0 1", "sha-256", "actpass", "", "-1", "99999999999", "urn:3gpp:video-orientation", "/", "x" * 40]
)  # fmt: skip
NAMES = st.sampled_from(
    ["mid", "rtpmap", "fmtp", "rtcp-fb", "extmap", "ssrc", "ssrc-group", "group", "fingerprint", "setup",
     "ice-ufrag", "ice-pwd", "rtcp-mux", "bundle-only", "sendonly", "inactive", "rid", "simulcast", "msid"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=3)), max_size=8), st.integers(0, 60))
def test_any_attributes_raise_only_declared_errors(extra: list[tuple[str, list[str]]], at: int) -> None:
    lines = CHROMIUM.splitlines()
    lines[4 + at : 4 + at] = [f"a={name}:{' '.join(words)}" if words else f"a={name}" for name, words in extra]
    judge("\n".join(lines))


PRESENT = answered(CHROMIUM)[0]


def judge(offer: str) -> None:
    for peers in ((), (PRESENT,)):
        try:
            plan, answer = answered(offer, *peers)
        except (NegotiationError, sdp.SdpError):
            continue
        assert sdp.parse(str(answer)) == answer
        assert len(answer.media) == len(plan.sections)
        for one in plan.sections:
            for other in PRESENT.sections:
                found = maps(one, other)
                assert set(found.rtx) <= set(found.payload)
                assert not {negotiation.MID, negotiation.RID} & {one.extensions[n] for n in found.extensions}
