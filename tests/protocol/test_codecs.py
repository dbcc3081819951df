"""What an m-line says about codecs, and who may be given what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import codecs, sdp
from relay.protocol.codecs import Codec, decodes


def codec(name: str, clock_hz: int = 90000, channels: int = 1, **fmtp: str) -> Codec:
    parameters = tuple((key.replace("_", "-"), value) for key, value in fmtp.items())
    return Codec(100, name, clock_hz, channels, parameters, (), None)


def h264(profile: str | None, mode: str = "1") -> Codec:
    said = {"profile_level_id": profile} if profile is not None else {}
    return codec("H264", packetization_mode=mode, **said)


def media(formats: str, *lines: str) -> sdp.Media:
    head = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"
    return sdp.parse(head + "\n".join([f"m=video 9 UDP/TLS/RTP/SAVPF {formats}", *lines])).media[0]


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("42e01f", "constrained baseline"),
        ("42C00D", "constrained baseline"),
        ("4d801f", "constrained baseline"),
        ("58c01f", "constrained baseline"),
        ("42001f", "baseline"),
        ("42a01f", "baseline"),
        ("58801f", "baseline"),
        ("4d001f", "main"),
        ("4d401f", "main"),
        ("58001f", "extended"),
        ("64001f", "high"),
        ("640c1f", "constrained high"),
        ("6e001f", "high 10"),
        ("f4001f", "high 4:4:4"),
        (None, "baseline"),
        ("640034", "high"),
        ("ff001f", None),
        ("42e01", None),
        ("42e01f00", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_profiles_by_rfc_6184_table_5(profile: str | None, name: str | None) -> None:
    assert codecs.h264_profile(h264(profile)) == name


CB, B, M, H, CH = "42e01f", "42001f", "4d001f", "64001f", "640c1f"


@pytest.mark.parametrize(
    ("sent", "takers"),
    [(CB, {CB, B, M, H, CH}), (B, {B}), (M, {M, H}), (CH, {CH, H}), (H, {H})],
)
def test_h264_by_profile(sent: str, takers: set[str]) -> None:
    assert {taker for taker in (CB, B, M, H, CH) if decodes(h264(sent), h264(taker))} == takers


def test_h264_levels_and_spelling_do_not_matter() -> None:
    assert decodes(h264("42E034"), h264("42e00a"))
    assert decodes(h264("58c01f"), h264("42e01f"))


def test_h264_without_a_profile_is_baseline() -> None:
    assert decodes(h264(None), h264(B))
    assert not decodes(h264(None), h264(CB))
    assert decodes(h264(CB), h264(None))


@pytest.mark.parametrize(
    ("sent", "taker", "fits"),
    [("0", "0", True), ("0", "1", True), ("1", "1", True), ("1", "0", False), ("2", "1", False), ("2", "2", True)],
)
def test_h264_by_packetization_mode(sent: str, taker: str, fits: bool) -> None:
    assert decodes(h264(CB, sent), h264(CB, taker)) is fits


def test_h264_of_unknown_profiles_fits_itself() -> None:
    assert decodes(h264("ff001f"), h264("FF0028"))
    assert not decodes(h264("ff001f"), h264("fe001f"))
    assert not decodes(h264("ff001f"), h264(CB))


@pytest.mark.parametrize(
    ("sent", "taker", "fits"),
    [
        (codec("VP8"), codec("VP8"), True),
        (codec("VP8"), codec("VP9"), False),
        (codec("VP9"), codec("VP9", profile_id="0"), True),
        (codec("VP9", profile_id="2"), codec("VP9"), False),
        (codec("AV1"), codec("AV1", profile="1"), True),
        (codec("AV1", profile="1"), codec("AV1"), False),
        (codec("AV1", profile="x"), codec("AV1"), False),
        (codec("H265"), codec("H265", profile_id="1", level_id="60"), True),
        (codec("H265"), codec("H265", profile_id="2"), True),
        (codec("H265", profile_id="2"), codec("H265"), False),
        (codec("H265", tier_flag="1"), codec("H265"), False),
        (codec("H265"), codec("H265", tier_flag="1"), True),
        (codec("H265", tx_mode="MRST"), codec("H265"), False),
        (codec("H265", profile_space="1"), codec("H265"), False),
        (codec("opus", 48000, 2, stereo="1"), codec("opus", 48000, 2), True),
        (codec("PCMA", 8000), codec("PCMA", 8000), True),
        (codec("PCMA", 8000), codec("PCMU", 8000), False),
        (codec("PCMA", 8000), codec("PCMA", 16000), False),
        (codec("PCMA", 8000, 2), codec("PCMA", 8000), False),
    ],
)
def test_other_codecs(sent: Codec, taker: Codec, fits: bool) -> None:
    assert decodes(sent, taker) is fits


def test_an_m_line_is_read_in_its_order_with_its_retransmission() -> None:
    found = codecs.offered(
        media(
            "97 96 98 99 0",
            "a=rtpmap:96 h264/90000",
            "a=fmtp:96 Profile-Level-ID=42e01f; packetization-mode=1;flag",
            "a=rtcp-fb:96 nack pli",
            "a=rtcp-fb:* nack",
            "a=rtpmap:97 vp8/90000",
            "a=rtpmap:98 rtx/90000",
            "a=fmtp:98 apt=96",
            "a=rtpmap:99 rtx/8000",
            "a=fmtp:99 apt=97",
        )
    )
    fmtp = (("profile-level-id", "42e01f"), ("packetization-mode", "1"), ("flag", ""))
    assert found == (
        Codec(97, "VP8", 90000, 1, (), ("nack",), None),
        Codec(96, "H264", 90000, 1, fmtp, ("nack", "nack pli"), 98),
        Codec(0, "PCMU", 8000, 1, (), ("nack",), None),
    )


def test_payload_types_that_look_like_rtcp_are_left_out() -> None:
    found = codecs.offered(media("72 96 35", *(f"a=rtpmap:{pt} VP8/90000" for pt in (72, 96, 35))))
    assert [c.pt for c in found] == [96, 35]


@pytest.mark.parametrize(
    ("formats", "lines"),
    [
        ("128", []),
        ("x", []),
        ("96 96", ["a=rtpmap:96 VP8/90000"]),
        ("96", ["a=rtpmap:96 VP8"]),
        ("96", ["a=rtpmap:96 VP8/0"]),
        ("96", ["a=rtpmap:96 /90000"]),
        ("96", ["a=rtpmap:96 VP8/90000/1/1"]),
        ("96", ["a=rtpmap:VP8/90000"]),
        ("96", ["a=rtpmap:200 VP8/90000"]),
        ("96", ["a=fmtp:x y=z"]),
        ("96", ["a=rtpmap:96 rtx/90000"]),
        ("96", ["a=rtpmap:96 rtx/90000", "a=fmtp:96 apt=-1"]),
    ],
)
def test_malformed_formats_are_refused(formats: str, lines: list[str]) -> None:
    with pytest.raises(sdp.SdpError):
        codecs.offered(media(formats, *lines))


TEXT = st.text("0123456789 /=;:abcVP8H264rtx-*", max_size=24)


@given(st.lists(st.tuples(st.sampled_from(["rtpmap", "fmtp", "rtcp-fb"]), TEXT), max_size=8), TEXT)
def test_any_attributes_raise_only_sdp_error(attributes: list[tuple[str, str]], formats: str) -> None:
    line = sdp.Media("video", 9, "UDP/TLS/RTP/SAVPF", formats.split(), attributes=list(attributes))
    try:
        found = codecs.offered(line)
    except sdp.SdpError:
        return
    for one in found:
        for other in found:
            assert isinstance(decodes(one, other), bool)
        str(one)


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "profile-level-id": st.sampled_from(["42e01f", "", "zz", "64001f", "42"]) | st.text(max_size=8),
        "packetization-mode": st.sampled_from(["0", "1", "2"]) | st.text(max_size=3),
        "profile-id": st.text(max_size=3),
        "profile": st.text(max_size=3),
        "tier-flag": st.text(max_size=3),
    },
).map(lambda found: tuple(found.items()))


@given(st.sampled_from(["H264", "H265", "VP9", "AV1", "opus", "other"]), PARAMETERS, PARAMETERS)
def test_decodes_never_raises(name: str, sent: codecs.Parameters, taken: codecs.Parameters) -> None:
    one, other = (Codec(96, name, 90000, 1, fmtp, (), None) for fmtp in (sent, taken))
    assert isinstance(decodes(one, other), bool)
