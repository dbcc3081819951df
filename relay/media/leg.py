"""One party's media connection: ICE-lite, DTLS and SRTP keys, held together and told to the pump.

A leg feeds its sans-IO cores and carries out what they ask: datagrams leave through the pump's socket, validated
addresses and keys go into the pump. It knows nothing of rooms or calls; what happened to it goes to `on_state` once:
`connected`, then one of `lost`, `failed`, `closed`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from native import Pump
from native.srtp import Session
from relay.media.messages import CONSENT_EXPIRED, LegState
from relay.protocol.dtls import Certificate, Closed, Dtls, DtlsOutput, Failed, Keys, Send
from relay.protocol.ice import (
    Address,
    ConsentExpired,
    Credentials,
    Dropped,
    IceLite,
    IceOutput,
    Selected,
    Transmit,
    Validated,
)
from relay.protocol.negotiate import Plan

Phase = Literal["checking", "handshaking", "connected", "over"]

_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
_RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
_REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"

OnState = Callable[["Leg", LegState, str], None]


class Leg:
    """The sessions of one leg and its handle in the pump.

    `name` is the leg's id towards the node, `handle` the pump's; `ufrags` are the user fragments that lead here.
    """

    def __init__(
        self,
        name: str,
        room: str,
        plan: Plan,
        local: Credentials,
        certificate: Certificate,
        pump: Pump,
        on_state: OnState,
        *,
        cname: str,
        local_ssrc: int,
        consent_s: float,
        now: float,
    ) -> None:
        self.name = name
        self.room = room
        self.plan = plan
        self.ufrags = [local.ufrag]  # a check may still name an old one while an ICE restart settles
        self.phase: Phase = "checking"
        self.profile = ""
        self._pump = pump
        self._on_state = on_state
        self._path: Address | None = None
        self._from = ""  # the address of ours the path begins at
        self._sessions: list[Session] = []
        self._ice = IceLite(local, plan.remote, now, consent_s=consent_s)
        self._dtls = Dtls(certificate, client=plan.dtls_client, fingerprints=plan.fingerprints, now=now)
        self._dtls_started = False
        # Addresses another leg held when they were validated, and whether they were nominated.
        self._refused: dict[Address, bool] = {}
        self.handle = _install(pump, plan, cname, local_ssrc)

    def stun(self, datagram: bytes, source: Address, local: str, now: float) -> None:
        """A STUN datagram that names this leg's user fragment; `local` is the address of ours it came to."""
        outputs = self._ice.receive(datagram, source, now)
        if outputs and source in self._refused:  # an authenticated check: perhaps the address is free by now
            outputs = [*outputs, Selected(source) if self._refused.pop(source) else Validated(source)]
        self._ice_outputs(outputs, now, local)

    def dtls(self, datagram: bytes, source: Address, local: str, now: float) -> None:
        """A DTLS datagram from an address that ICE validated for this leg."""
        if self.phase == "over":
            return
        if self._path is None:
            self._path, self._from = source, local
        if self.phase == "checking":
            self.phase = "handshaking"
        self._dtls_outputs(self._dtls.receive(datagram, now))

    def deadline(self) -> float | None:
        """When `timeout` wants to be called, in seconds of the same clock; None once the leg is over."""
        if self.phase == "over":
            return None
        times = [self._ice.deadline()]
        if self.phase != "connected":
            times.append(self._dtls.deadline())
        return min((t for t in times if t is not None), default=None)

    def timeout(self, now: float) -> None:
        """Carry out what is due."""
        if self.phase == "over":
            return
        self._ice_outputs(self._ice.timeout(now), now)
        if self.phase in ("checking", "handshaking"):
            self._dtls_outputs(self._dtls.timeout(now))

    def restart(self, local: Credentials, remote: Credentials, now: float) -> None:
        """New ICE credentials (RFC 8445 §9); the DTLS session and the keys stay."""
        self.ufrags.append(local.ufrag)
        self._ice.restart(local, remote, now)

    def close(self) -> None:
        """Say good-bye and leave the pump. Tells nobody: the caller asked for it."""
        if self.phase == "over":
            return
        connected = self.phase == "connected"
        if self._path is not None:
            self._dtls_outputs(self._dtls.close())
        self._leave(bye=connected)

    def _leave(self, *, bye: bool) -> None:
        self.phase = "over"
        self._pump.remove_leg(self.handle, bye=bye)
        for session in self._sessions:
            session.close()

    def _end(self, state: LegState, reason: str) -> None:
        self._leave(bye=False)
        self._on_state(self, state, reason)

    def _send(self, data: bytes, to: Address, local: str) -> None:
        try:
            self._pump.send(data, *to, local)
        except OSError:
            pass  # unreachable or a full buffer: the sender's retransmission is the remedy

    def _ice_outputs(self, outputs: Sequence[IceOutput], now: float, local: str = "") -> None:
        # The answer goes last: a fast peer sends its ClientHello on it, and the pump must know the address by then.
        for output in sorted(outputs, key=lambda output: isinstance(output, Transmit)):
            if self.phase == "over":
                return
            match output:
                case Transmit(data, to):
                    self._send(data, to, local)
                case Validated(address):
                    if not self._pump.bind(self.handle, *address, selected=False, local=local):
                        self._refused.setdefault(address, False)
                case Selected(address):
                    if not self._pump.bind(self.handle, *address, selected=True, local=local):
                        self._refused[address] = True
                        continue
                    self._refused = {refused: False for refused in self._refused if refused != address}
                    self._path, self._from = address, local
                    if self.plan.dtls_client and not self._dtls_started:
                        self._dtls_started = True
                        self.phase = "handshaking"
                        self._dtls_outputs(self._dtls.start(now))
                case Dropped(address):
                    self._refused.pop(address, None)
                    self._pump.unbind(self.handle, *address)
                case ConsentExpired():
                    if self.phase == "connected":
                        self._end("lost", CONSENT_EXPIRED)
                    else:
                        self._end("failed", "no connectivity check" if self._path is None else "handshake timeout")

    def _dtls_outputs(self, outputs: Sequence[DtlsOutput]) -> None:
        for output in outputs:
            if self.phase == "over":
                return
            match output:
                case Send(data):
                    if self._path is not None:
                        self._send(data, self._path, self._from)
                case Keys(profile, rx, tx):
                    self.profile = profile
                    self._sessions = [Session(profile, rx, inbound=True), Session(profile, tx, inbound=False)]
                    self._pump.set_keys(self.handle, self._sessions[0].pointer, self._sessions[1].pointer)
                    self.phase = "connected"
                    self._on_state(self, "connected", "")
                case Failed(reason):
                    self._end("failed", reason)
                case Closed():
                    self._end("closed" if self.phase == "connected" else "failed", "peer closed")


def _install(pump: Pump, plan: Plan, cname: str, local_ssrc: int) -> int:
    """Tell the pump about a plan; the leg's handle. MemoryError when the pump is full."""
    sending = [s.out_ssrc for s in plan.sections if s.out_ssrc]
    reduced = all(s.reduced_size for s in plan.sections if s.accepted)
    handle = pump.add_leg(local_ssrc=sending[0] if sending else local_ssrc, cname=cname, reduced_size=reduced)
    try:
        uris = {uri: number for s in plan.sections for number, uri in s.extensions.items()}
        pump.set_extension_ids(
            handle, mid=uris.get(_MID, 0), rid=uris.get(_RID, 0), repaired_rid=uris.get(_REPAIRED_RID, 0)
        )
        for number, section in enumerate(plan.sections):
            pump.add_section(
                handle,
                mid=section.mid,
                video=section.kind == "video",
                receives=section.accepted and section.receives,
                sends=section.accepted and section.sends,
                pli=any("nack pli" in c.rtcp_fb for c in section.codecs),
                out_ssrc=section.out_ssrc or 0,
                out_rtx_ssrc=section.out_rtx_ssrc or 0,
            )
            for codec in section.codecs:
                pump.add_payload(handle, section=number, payload_type=codec.pt, clock_hz=codec.clock_hz)
                if codec.rtx_pt is not None:
                    pump.add_payload(
                        handle,
                        section=number,
                        payload_type=codec.rtx_pt,
                        clock_hz=codec.clock_hz,
                        repairs=codec.pt,
                    )
            for ssrc, rtx in section.ssrcs if section.accepted else ():
                pump.add_ssrc(handle, number, ssrc, rtx or 0)
    except (KeyError, OverflowError):
        pump.remove_leg(handle)
        raise
    return handle
