"""Offer to answer: every decision about codecs, extensions and feedback (RFC 9429, 3264, 9143, 8843).

The relay forwards, so it has no codecs of its own. The first leg of a room gets every codec of its offer
that we know, in our order of preference. Each later leg gets what fits the legs that are there: a sender uses the
first codec of its answer, so the newcomer must decode that one, and everybody present must decode the
newcomer's. Where that can't be, the leg is refused with both sides' codecs named: better than a call
without a picture.

Payload types and extension ids are always the offerer's own; `maps` says how a packet is renumbered between
two legs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from relay.protocol import codecs, sdp
from relay.protocol.codecs import Codec, decodes
from relay.protocol.ice import Address, Credentials

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"

EXTENSIONS = frozenset(
    {
        MID,
        RID,
        REPAIRED_RID,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "urn:3gpp:video-orientation",
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    }
)
"""Extensions whose meaning survives forwarding, and those the relay reads itself."""

# These say which of the *sender's* m-lines a packet is of; forwarded they would name one of the receiver's.
_HOP_BY_HOP = frozenset({MID, RID, REPAIRED_RID})

FEEDBACK = ("nack", "nack pli", "ccm fir")

_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF", "RTP/SAVP"})
_DATA_KIND = "application"

MAX_MID_CHARACTERS = 16  # what a one-byte header extension can carry (RFC 8285 §4.2)
MAX_SSRCS = 32  # of one m-line; simulcast with RTX announces 6
_ONE_BYTE_IDS = range(1, 15)  # RFC 8285 §4.2; we never agree to two-byte ids


class NegotiationError(Exception):
    """The offer can't be answered. `message` says why, and names both sides' codecs if they are the reason."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Local:
    """Our side of the answer.

    `fingerprint` is as in `dtls.Certificate`, `addresses` are the candidates in order of preference (one at
    least), `ssrcs` draws a random number in 1..2^32-1.
    """

    credentials: Credentials
    fingerprint: str
    addresses: tuple[Address, ...]
    cname: str
    ssrcs: Callable[[], int]
    stream_id: str


@dataclass(frozen=True)
class Policy:
    """Codec names by kind, in the order we prefer them; what isn't named isn't negotiated."""

    audio: tuple[str, ...] = ("opus", "G722", "PCMA", "PCMU")
    video: tuple[str, ...] = ("H264", "VP8", "VP9", "AV1", "H265")

    def known(self, kind: str) -> tuple[str, ...]:
        return {"audio": self.audio, "video": self.video}.get(kind, ())


@dataclass
class Section:
    """One m-line as negotiated; `index` is its place in offer and answer.

    `receives` and `sends` are the relay's. `codecs` are the answer's in its order, with the offerer's
    payload types and parameters. `extensions` maps id to URI. `ssrcs` are (media, RTX or None) as the offer
    announced them. `rids` are the simulcast layers accepted: none yet, so that senders fall back to one
    stream.
    """

    index: int
    mid: str
    kind: str
    accepted: bool = False
    receives: bool = False
    sends: bool = False
    codecs: tuple[Codec, ...] = ()
    extensions: dict[int, str] = field(default_factory=dict)
    ssrcs: tuple[tuple[int, int | None], ...] = ()
    rids: tuple[str, ...] = ()
    out_ssrc: int | None = None
    out_rtx_ssrc: int | None = None
    reduced_size: bool = False


@dataclass
class Plan:
    """What was agreed with one leg."""

    remote: Credentials
    fingerprints: tuple[tuple[str, str], ...]
    dtls_client: bool
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Maps:
    """How packets of one section are renumbered for another.

    `payload`: source's payload type → sink's; absent means that the sink can't decode it. `rtx`: source's
    media payload type → (sink's media payload type, sink's RTX payload type), where the sink has RTX.
    `extensions`: source's id → sink's; absent means stripped.
    """

    payload: dict[int, int]
    rtx: dict[int, tuple[int, int]]
    extensions: dict[int, int]


def negotiate(offer: sdp.Session, local: Local, policy: Policy, peers: Sequence[Plan]) -> tuple[Plan, sdp.Session]:
    """Answer an offer in the presence of `peers`, the plans of the legs already in the room.

    Raises:
        NegotiationError: and nothing else, whatever the offer.
    """
    try:
        return _negotiate(offer, local, policy, peers)
    except sdp.SdpError as error:
        raise NegotiationError(f"the offer is malformed: {error}") from None


def maps(source: Section, sink: Section) -> Maps:
    """How packets that `source`'s leg sends are renumbered for `sink`'s."""
    payload: dict[int, int] = {}
    rtx: dict[int, tuple[int, int]] = {}
    for sent in source.codecs:
        fitting = [codec for codec in sink.codecs if decodes(sent, codec)]
        if not fitting:
            continue
        # The sink's entry that says the same comes before one that merely includes it.
        target = next((codec for codec in fitting if decodes(codec, sent)), fitting[0])
        payload[sent.pt] = target.pt
        if target.rtx_pt is not None:
            rtx[sent.pt] = (target.pt, target.rtx_pt)
    by_uri = {uri: number for number, uri in sink.extensions.items() if uri not in _HOP_BY_HOP}
    extensions = {number: by_uri[uri] for number, uri in source.extensions.items() if uri in by_uri}
    return Maps(payload, rtx, extensions)


def _negotiate(offer: sdp.Session, local: Local, policy: Policy, peers: Sequence[Plan]) -> tuple[Plan, sdp.Session]:
    if not offer.media:
        raise NegotiationError("the offer has no m-line")
    if offer.has("ice-lite"):
        raise NegotiationError("the offer says a=ice-lite, but the relay is lite itself: nobody would check")
    bundle = _bundle(offer)
    sections = [_section(offer, i, media, bundle, policy, peers) for i, media in enumerate(offer.media)]
    accepted = [section for section in sections if section.accepted]
    if not accepted:
        raise NegotiationError("no m-line can be carried; the relay knows " + ", ".join((*policy.audio, *policy.video)))
    if len(accepted) > 1 and not all(section.mid in bundle for section in accepted):
        raise NegotiationError("several m-lines must be in one BUNDLE group")
    _refuse_collisions(accepted)
    transport = (offer.media[accepted[0].index], offer)
    remote = sdp.credentials(*transport)
    if remote is None:
        raise NegotiationError("the offer has no ice-ufrag and ice-pwd")
    plan = Plan(remote, _fingerprints(transport), _dtls_client(transport), tuple(sections))
    _draw_ssrcs(accepted, local)
    return plan, _answer(offer, plan, local)


def _bundle(offer: sdp.Session) -> tuple[str, ...]:
    """The mids of the first BUNDLE group (RFC 9143 §7.2), after the mids were seen to be distinct."""
    mids = [mid for media in offer.media if (mid := media.value("mid")) is not None]
    for mid in mids:
        sdp.token(mid, "a mid")
        if len(mid) > MAX_MID_CHARACTERS:
            raise NegotiationError(f"a mid has more than {MAX_MID_CHARACTERS} characters")
    if len(set(mids)) != len(mids):
        raise NegotiationError("the same mid stands on two m-lines")
    groups = [value.split() for value in offer.values("group")]
    return next((tuple(group[1:]) for group in groups if group[:1] == ["BUNDLE"]), ())


def _section(
    offer: sdp.Session,
    index: int,
    media: sdp.Media,
    bundle: tuple[str, ...],
    policy: Policy,
    peers: Sequence[Plan],
) -> Section:
    section = Section(index, media.value("mid") or "", media.kind)
    # RFC 8843 §6: a bundle-only m-line has port 0 without being rejected.
    disabled = media.port == 0 and not (media.has("bundle-only") and section.mid in bundle)
    if disabled or not policy.known(media.kind) or media.protocol not in _PROTOCOLS:
        return section
    section.receives, section.sends = _directions(offer, media)
    offered = codecs.offered(media)
    section.codecs = _chosen(section, offered, policy, peers)
    if not section.codecs:
        section.receives = section.sends = False
        return section
    if not media.has("rtcp-mux"):
        raise NegotiationError(f"the {media.kind} m-line lacks a=rtcp-mux; the relay has one port for both")
    section.accepted = True
    section.extensions = _extensions(section, media)
    section.ssrcs = _ssrcs(media) if section.receives else ()
    section.reduced_size = media.has("rtcp-rsize")
    return section


def _directions(offer: sdp.Session, media: sdp.Media) -> tuple[bool, bool]:
    """(the relay receives, the relay sends)."""
    said = next((name for part in (media, offer) for name in sdp.DIRECTIONS if part.has(name)), "sendrecv")
    return said in ("sendrecv", "sendonly"), said in ("sendrecv", "recvonly")


def _chosen(section: Section, offered: Sequence[Codec], policy: Policy, peers: Sequence[Plan]) -> tuple[Codec, ...]:
    """The answer's codecs, the one to be sent first."""
    names = policy.known(section.kind)
    known = [
        replace(codec, rtcp_fb=tuple(kind for kind in FEEDBACK if kind in codec.rtcp_fb))
        for codec in offered
        if codec.name in names
    ]
    known.sort(key=lambda codec: (names.index(codec.name), _h264_rank(codec)))  # stable: then as offered
    others = [other for peer in peers for other in peer.sections if other.accepted and other.kind == section.kind]
    sources = [other for other in others if section.sends and other.receives]
    sinks = [other for other in others if section.receives and other.sends]
    if not sources and not sinks:
        return tuple(known)
    # What each source sends is the first of its answer; what each sink takes is any of its answer.
    heard = [c for c in known if any(decodes(source.codecs[0], c) for source in sources)]
    spoken = [c for c in known if all(any(decodes(c, d) for d in sink.codecs) for sink in sinks)]
    deaf = next((s for s in sources if not any(decodes(s.codecs[0], c) for c in known)), None)
    if deaf is not None:
        raise _nothing_common(section.kind, offered, deaf.codecs, sends=deaf.codecs[0])
    if sinks and not spoken:
        raise _nothing_common(section.kind, offered, (c for sink in sinks for c in sink.codecs))
    if not sinks:
        return tuple(heard)
    if not sources:
        return tuple(spoken)
    first = [c for c in spoken if c in heard]
    return tuple(first + [c for c in spoken if c not in first] + [c for c in heard if c not in spoken])


def _nothing_common(
    kind: str, offered: Iterable[Codec], present: Iterable[Codec], sends: Codec | None = None
) -> NegotiationError:
    sending = f" and sends {sends}" if sends else ""
    return NegotiationError(
        f"no common {kind} codec: this offer has {codecs.names(offered)};"
        f" the other party has {codecs.names(present)}{sending}"
    )


def _h264_rank(codec: Codec) -> int:
    """Constrained baseline before all else, for every device decodes it; fragmented NAL units before single
    ones, which do not fit a packet (RFC 6184 §6)."""
    if codec.name != "H264":
        return 0
    return 2 * (codecs.h264_profile(codec) != "constrained baseline") + (
        codec.parameter("packetization-mode", "0") != "1"
    )


def _extensions(section: Section, media: sdp.Media) -> dict[int, str]:
    """The accepted `a=extmap` ids (RFC 8285 §5)."""
    found: dict[int, str] = {}
    for value in media.values("extmap"):
        entry, _, rest = value.partition(" ")
        number, slash, direction = entry.partition("/")
        # Beyond 14 RFC 8285 §6 lets an offer use 4096 to 4351 as proposals; both are simply not taken.
        identifier = sdp.number(number, 1, 65535, "an extension id")
        if slash and direction not in sdp.DIRECTIONS:
            raise sdp.SdpError("an extension has an unknown direction")
        uri = rest.split(" ")[0]
        if uri not in EXTENSIONS or identifier not in _ONE_BYTE_IDS or direction == "inactive":
            continue
        if uri == REPAIRED_RID and not section.receives:
            continue
        if found.setdefault(identifier, uri) != uri:
            raise NegotiationError(f"extension id {identifier} stands for two extensions")
    return {identifier: uri for identifier, uri in found.items() if _first(found, uri) == identifier}


def _first(found: dict[int, str], uri: str) -> int:
    return next(identifier for identifier, other in found.items() if other == uri)


def _ssrcs(media: sdp.Media) -> tuple[tuple[int, int | None], ...]:
    """The announced SSRCs (RFC 5576) with the RTX ones attached to what they repair."""
    order: dict[int, None] = {}
    for value in media.values("ssrc"):
        order[_ssrc(value.split(" ")[0])] = None
    repairs: dict[int, int] = {}
    for value in media.values("ssrc-group"):
        semantics, *members = value.split() or [""]
        numbers = [_ssrc(member) for member in members]
        order.update(dict.fromkeys(numbers))
        if semantics != "FID" or len(numbers) != 2:
            continue
        source, repair = numbers
        used = {*repairs, *repairs.values()}
        if source == repair or source in used or repair in used:
            raise NegotiationError("an SSRC is in two FID groups")
        repairs[source] = repair
    if len(order) > MAX_SSRCS:
        raise NegotiationError(f"an m-line has more than {MAX_SSRCS} SSRCs")
    return tuple((ssrc, repairs.get(ssrc)) for ssrc in order if ssrc not in repairs.values())


def _ssrc(text: str) -> int:
    return sdp.number(text, 0, 0xFFFFFFFF, "an SSRC")


def _refuse_collisions(sections: Sequence[Section]) -> None:
    """In one bundle SSRCs, payload types and extension ids have one meaning (RFC 8843 §9.1, §9.2, §10.1)."""
    ssrcs: set[int] = set()
    payload: dict[int, tuple[str, int]] = {}
    extensions: dict[int, str] = {}
    for section in sections:
        for ssrc in (s for pair in section.ssrcs for s in pair if s is not None):
            if ssrc in ssrcs:
                raise NegotiationError(f"SSRC {ssrc} stands on two m-lines")
            ssrcs.add(ssrc)
        for number, uri in section.extensions.items():
            if extensions.setdefault(number, uri) != uri:
                raise NegotiationError(f"extension id {number} stands for two extensions")
        for codec in section.codecs:
            meanings = {codec.pt: codec.name, codec.rtx_pt: "rtx"}
            for pt, name in meanings.items():
                if pt is not None and payload.setdefault(pt, (name, codec.clock_hz)) != (name, codec.clock_hz):
                    raise NegotiationError(f"payload type {pt} stands for two codecs")


def _fingerprints(transport: Sequence[sdp.Part]) -> tuple[tuple[str, str], ...]:
    """`a=fingerprint` (RFC 8122 §5), of the m-line if it has any, else of the session."""
    for part in transport:
        found = [tuple(value.split(" ")) for value in part.values("fingerprint")]
        if not found:
            continue
        believed: list[tuple[str, str]] = []
        for entry in found:
            if len(entry) != 2:
                raise NegotiationError("a fingerprint is malformed")
            algorithm, digest = entry[0].lower(), entry[1].upper()
            size = {"sha-256": 32, "sha-384": 48, "sha-512": 64}.get(algorithm)
            if size is None:
                continue
            octets = digest.split(":")
            if len(octets) != size or not all(len(o) == 2 and set(o) <= _HEXADECIMAL for o in octets):
                raise NegotiationError("a fingerprint is malformed")
            believed.append((algorithm, digest))
        if not believed:
            raise NegotiationError("no fingerprint is sha-256, sha-384 or sha-512")
        return tuple(believed)
    raise NegotiationError("the offer has no fingerprint")


_HEXADECIMAL = frozenset("0123456789ABCDEF")


def _dtls_client(transport: Sequence[sdp.Part]) -> bool:
    """Our role (RFC 8842 §5.3): server wherever we may choose, for the server picks the SRTP profile."""
    said = next((value for part in transport if (value := part.value("setup")) is not None), "actpass")
    if said not in ("actpass", "active", "passive"):
        raise NegotiationError("a=setup must be actpass, active or passive")
    return said == "passive"


def _draw_ssrcs(sections: Sequence[Section], local: Local) -> None:
    taken = {ssrc for section in sections for pair in section.ssrcs for ssrc in pair}

    def draw() -> int:
        while True:
            ssrc = local.ssrcs()
            if ssrc not in taken:
                taken.add(ssrc)
                return ssrc

    for section in sections:
        if section.sends:
            section.out_ssrc = draw()
            if any(codec.rtx_pt is not None for codec in section.codecs):
                section.out_rtx_ssrc = draw()


def _answer(offer: sdp.Session, plan: Plan, local: Local) -> sdp.Session:
    bundle = _bundle(offer)
    answer = sdp.Session(f"- {local.ssrcs()} 1 IN IP4 0.0.0.0")
    answer.add("ice-lite")
    accepted = [section for section in plan.sections if section.accepted]
    if all(section.mid in bundle for section in accepted):
        answer.add("group", " ".join(["BUNDLE", *(section.mid for section in accepted)]))
    if offer.has("msid-semantic"):
        answer.add("msid-semantic", f"WMS {local.stream_id}")
    for section, media in zip(plan.sections, offer.media, strict=True):
        if section.accepted:
            answer.media.append(_accept(section, media, plan, local, first=section is accepted[0]))
        else:
            answer.media.append(_reject(section, media))
    return answer


def _reject(section: Section, media: sdp.Media) -> sdp.Media:
    """An m-line refused (RFC 3264 §6): port 0, its formats kept."""
    rejected = sdp.Media(media.kind, 0, media.protocol, media.formats, connection="IN IP4 0.0.0.0")
    if section.mid:
        rejected.add("mid", section.mid)
    rejected.add("inactive")
    return rejected


def _accept(section: Section, media: sdp.Media, plan: Plan, local: Local, *, first: bool) -> sdp.Media:
    formats = [pt for codec in section.codecs for pt in (codec.pt, codec.rtx_pt) if pt is not None]
    host, port = local.addresses[0]
    answer = sdp.Media(media.kind, port, media.protocol, [str(pt) for pt in formats])
    answer.connection = f"IN {'IP6' if ':' in host else 'IP4'} {host}"
    if section.mid:
        answer.add("mid", section.mid)
    answer.add("ice-ufrag", local.credentials.ufrag)
    answer.add("ice-pwd", local.credentials.pwd)
    answer.add("fingerprint", local.fingerprint)
    answer.add("setup", "active" if plan.dtls_client else "passive")
    if first:  # RFC 8843 §7.3: the transport is the first m-line's
        for number, (ip, at) in enumerate(local.addresses, 1):
            # RFC 8445 §5.1.2.1: type preference 126 for a host candidate, component 1.
            priority = 126 << 24 | (65536 - number) << 8 | 255
            answer.add("candidate", f"{number} 1 udp {priority} {ip} {at} typ host")
        answer.add("end-of-candidates")
    answer.add(
        {(1, 1): "sendrecv", (1, 0): "recvonly", (0, 1): "sendonly"}.get((section.receives, section.sends), "inactive")
    )
    answer.add("rtcp-mux")
    if section.reduced_size:
        answer.add("rtcp-rsize")
    for number, uri in section.extensions.items():
        answer.add("extmap", f"{number} {uri}")
    for codec in section.codecs:
        _describe(answer, codec)
    if section.out_ssrc is not None:
        _announce(answer, section, local)
    return answer


def _describe(answer: sdp.Media, codec: Codec) -> None:
    channels = f"/{codec.channels}" if codec.channels != 1 else ""
    answer.add("rtpmap", f"{codec.pt} {codec.name}/{codec.clock_hz}{channels}")
    # sprop-* describe the offerer's own stream; in an answer they would describe ours (RFC 6184 §8.2.2).
    said = [(key, value) for key, value in codec.fmtp if not key.startswith("sprop-")]
    if said:
        answer.add("fmtp", f"{codec.pt} " + ";".join(f"{k}={v}" if v else k for k, v in said))
    for kind in codec.rtcp_fb:
        answer.add("rtcp-fb", f"{codec.pt} {kind}")
    if codec.rtx_pt is not None:
        answer.add("rtpmap", f"{codec.rtx_pt} rtx/{codec.clock_hz}")
        answer.add("fmtp", f"{codec.rtx_pt} apt={codec.pt}")


def _announce(answer: sdp.Media, section: Section, local: Local) -> None:
    track = f"{local.stream_id}-{section.index}"
    answer.add("msid", f"{local.stream_id} {track}")
    numbers = [ssrc for ssrc in (section.out_ssrc, section.out_rtx_ssrc) if ssrc is not None]
    if len(numbers) == 2:
        answer.add("ssrc-group", f"FID {numbers[0]} {numbers[1]}")
    for ssrc in numbers:
        answer.add("ssrc", f"{ssrc} cname:{local.cname}")
        answer.add("ssrc", f"{ssrc} msid:{local.stream_id} {track}")
