"""What an offer says about codecs, and which receiver takes what which sender sends.

The relay forwards packets as they are, so a receiver must be able to decode what a sender describes.
Formats differ in what their parameters promise: H.264 RFC 6184 §8.1, H.265 RFC 7798 §7.1, VP9 RFC 9628
§7, AV1 RTP 1.0 §7.2, Opus RFC 7587 §6.1.

Levels are not compared. In H.264 with level-asymmetry-allowed, in H.265 and in AV1 the level says what a
side is willing to receive and the sender is to stay below it; browsers state 3.1 and decode anything. A
call that shows a picture too large beats a call that was refused for a number.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.protocol import sdp
from relay.protocol.sdp import SdpError

# RFC 3551 §6: payload types that need no rtpmap. (G722's clock says 8000 for historical reasons, §4.5.2.)
STATIC = {0: ("PCMU", 8000, 1), 8: ("PCMA", 8000, 1), 9: ("G722", 8000, 1)}

_CANONICAL = {name.lower(): name for name in ("opus", "G722", "PCMA", "PCMU", "H264", "VP8", "VP9", "AV1", "H265")}

Parameters = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Codec:
    """One media codec of an m-line.

    `pt` and `rtx_pt` are the offerer's payload types, `name` has canonical case, `fmtp` keeps the offerer's
    order, with keys in lower case and "" where a parameter has no value. `rtx_pt` is None without
    retransmission (RFC 4588).
    """

    pt: int
    name: str
    clock_hz: int
    channels: int
    fmtp: Parameters
    rtcp_fb: tuple[str, ...]
    rtx_pt: int | None

    def parameter(self, key: str, default: str = "") -> str:
        return next((value for name, value in self.fmtp if name == key), default)

    def __str__(self) -> str:
        details = {
            "H264": f" (profile-level-id {self.parameter('profile-level-id', _H264_DEFAULT)},"
            f" packetization-mode {self.parameter('packetization-mode', '0')})",
            "VP9": f" (profile {self.parameter('profile-id', '0')})",
            "AV1": f" (profile {self.parameter('profile', '0')})",
            "H265": f" (profile {self.parameter('profile-id', '1')})",
        }
        return self.name + details.get(self.name, "")


def offered(media: sdp.Media) -> tuple[Codec, ...]:
    """The media codecs of an m-line in its order; RTX becomes the `rtx_pt` of what it repairs.

    Payload types 64 to 95 are left out: with RTP and RTCP on one port they can't be told from RTCP (RFC 5761
    §4). So is what has no rtpmap.

    Raises:
        SdpError: if a line that describes a format is malformed, or a payload type is beyond 127 or stands
            twice.
    """
    order = [sdp.number(text, 0, 127, "a payload type") for text in media.formats]
    if len(set(order)) != len(order):
        raise SdpError("a payload type stands twice in an m-line")
    maps = {pt: STATIC[pt] for pt in order if pt in STATIC}
    maps.update(_rtpmap(value) for value in media.values("rtpmap"))
    fmtp = dict(_fmtp(value) for value in media.values("fmtp"))
    feedback: dict[str, list[str]] = {}
    for value in media.values("rtcp-fb"):
        target, _, kind = value.partition(" ")
        feedback.setdefault(target, []).append(kind)
    usable = [pt for pt in order if pt in maps and not 64 <= pt <= 95]
    repairs: dict[int, int] = {}
    for pt in usable:
        if maps[pt][0].lower() == "rtx":
            repaired = dict(fmtp.get(pt, ())).get("apt", "")
            repairs.setdefault(sdp.number(repaired, 0, 127, "apt"), pt)
    found: list[Codec] = []
    for pt in usable:
        name, clock_hz, channels = maps[pt]
        if name.lower() == "rtx":
            continue
        said = feedback.get("*", []) + feedback.get(str(pt), [])
        canonical = _CANONICAL.get(name.lower(), name)
        repair = repairs.get(pt)
        if repair is not None and maps[repair][1] != clock_hz:  # RFC 4588 §8.1: same clock
            repair = None
        found.append(Codec(pt, canonical, clock_hz, channels, fmtp.get(pt, ()), tuple(said), repair))
    return tuple(found)


def decodes(sent: Codec, offered: Codec) -> bool:
    """May a receiver that listed `offered` be given what `sent` describes?"""
    if sent.name.lower() != offered.name.lower() or sent.clock_hz != offered.clock_hz:
        return False
    match sent.name:
        case "opus":
            return True  # stereo, rates and FEC are the sender's choice; decoders take all (RFC 7587 §7)
        case "H264":
            return _h264(sent, offered)
        case "VP9":  # RFC 9628 §7: profile-id, 0 if absent; a decoder lists every profile it has
            return sent.parameter("profile-id", "0") == offered.parameter("profile-id", "0")
        case "AV1":  # Profile 0 is part of 1, both are part of 2 (AV1 specification, annex A.2)
            profiles = [_small(c.parameter("profile", "0")) for c in (sent, offered)]
            return -1 not in profiles and profiles[0] <= profiles[1]
        case "H265":
            return _h265(sent, offered)
    return sent.channels == offered.channels


_H264_DEFAULT = "42000a"  # RFC 6184 §8.1: absent means Baseline, level 1

# RFC 6184 table 5: (profile_idc, mask and value of profile-iop) -> profile. The table's x is a 0 in the mask;
# constraint_set0_flag is 0x80.
_H264_PROFILES = (
    (0x42, 0x4F, 0x40, "constrained baseline"),
    (0x4D, 0x8F, 0x80, "constrained baseline"),
    (0x58, 0xCF, 0xC0, "constrained baseline"),
    (0x42, 0x4F, 0x00, "baseline"),
    (0x58, 0xCF, 0x80, "baseline"),
    (0x4D, 0xAF, 0x00, "main"),
    (0x58, 0xCF, 0x00, "extended"),
    (0x64, 0xFF, 0x0C, "constrained high"),
    (0x64, 0xFF, 0x00, "high"),
    (0x6E, 0xFF, 0x00, "high 10"),
    (0x7A, 0xFF, 0x00, "high 4:2:2"),
    (0xF4, 0xFF, 0x00, "high 4:4:4"),
)

# Which profiles a decoder of a profile takes besides its own (H.264 annex A.2).
_H264_TAKES = {
    "constrained baseline": frozenset[str](),
    "baseline": frozenset({"constrained baseline"}),
    "extended": frozenset({"constrained baseline", "baseline"}),
    "main": frozenset({"constrained baseline"}),
    "constrained high": frozenset({"constrained baseline"}),
    "high": frozenset({"constrained baseline", "main", "constrained high"}),
    "high 10": frozenset({"constrained baseline", "main", "constrained high", "high"}),
    "high 4:2:2": frozenset({"constrained baseline", "main", "constrained high", "high", "high 10"}),
    "high 4:4:4": frozenset({"constrained baseline", "main", "constrained high", "high", "high 10", "high 4:2:2"}),
}


def h264_profile(codec: Codec) -> str | None:
    """The profile's name by RFC 6184 table 5; None for an id that is malformed or not in it."""
    text = codec.parameter("profile-level-id", _H264_DEFAULT)
    try:
        idc, iop, _ = bytes.fromhex(text)
    except ValueError:
        return None
    return next(
        (name for i, mask, value, name in _H264_PROFILES if idc == i and iop & mask == value),
        None,
    )


def _h264(sent: Codec, offered: Codec) -> bool:
    profile, wanted = h264_profile(sent), h264_profile(offered)
    if profile is None or wanted is None:
        # A profile we have no name for fits itself only.
        ids = [c.parameter("profile-level-id")[:4].lower() for c in (sent, offered)]
        if ids[0] != ids[1]:
            return False
    elif profile != wanted and profile not in _H264_TAKES[wanted]:
        return False
    modes = [c.parameter("packetization-mode", "0") for c in (sent, offered)]
    # Mode 0 (single NAL units) is part of mode 1; mode 2 interleaves and is part of nothing (RFC 6184 §6.1).
    return modes[0] == modes[1] or modes == ["0", "1"]


def _h265(sent: Codec, offered: Codec) -> bool:
    if sent.parameter("profile-space", "0") != offered.parameter("profile-space", "0"):
        return False
    if sent.parameter("tx-mode", "SRST").upper() != offered.parameter("tx-mode", "SRST").upper():
        return False
    tiers = [_small(c.parameter("tier-flag", "0")) for c in (sent, offered)]
    if -1 in tiers or tiers[0] > tiers[1]:
        return False
    profiles = [c.parameter("profile-id", "1") for c in (sent, offered)]
    # A Main 10 decoder takes Main (H.265 annex A.3.3).
    return profiles[0] == profiles[1] or profiles == ["1", "2"]


def _small(text: str) -> int:
    """A one-digit parameter, -1 if it is none."""
    return int(text) if len(text) == 1 and text in "0123456789" else -1


def names(codecs: Iterable[Codec]) -> str:
    """Codecs as an error message lists them, each once."""
    return ", ".join(dict.fromkeys(map(str, codecs))) or "none"


def _rtpmap(value: str) -> tuple[int, tuple[str, int, int]]:
    pt, _, rest = value.partition(" ")
    name, *details = rest.strip().split("/")
    if not 1 <= len(details) <= 2:
        raise SdpError("an rtpmap is not name/clock or name/clock/channels")
    channels = sdp.number(details[1], 1, 255, "the channels of an rtpmap") if len(details) == 2 else 1
    clock_hz = sdp.number(details[0], 1, 1_000_000, "the clock of an rtpmap")
    return sdp.number(pt, 0, 127, "a payload type"), (sdp.token(name, "a codec name"), clock_hz, channels)


def _fmtp(value: str) -> tuple[int, Parameters]:
    pt, _, rest = value.partition(" ")
    pairs = (part.strip().partition("=") for part in rest.split(";"))
    parameters = tuple((key.strip().lower(), text.strip()) for key, _, text in pairs if key.strip())
    return sdp.number(pt, 0, 127, "a payload type"), parameters
