"""A worker: one UDP socket, one pump, and the rooms and legs that live on it.

The pump carries packets by itself; the worker runs on the event loop and does what is not a packet: offers and
answers, ICE checks, handshakes, consent, and the routes between the legs of a room.
"""

import asyncio
import ipaddress
import secrets
import socket
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from native import Pump
from relay.config import Config
from relay.media.leg import Leg
from relay.media.messages import LegState, MediaError, MediaEvent
from relay.protocol import sdp, stun
from relay.protocol.dtls import Certificate
from relay.protocol.ice import Address, Credentials
from relay.protocol.negotiate import Local, NegotiationError, Policy, maps, negotiate

_ICE_CHARACTERS = string.ascii_letters + string.digits + "+/"  # RFC 8839 §5.4
_TICK_S = 0.01  # the loop driver's timer: the pump's own resolution


@dataclass
class Room:
    """The legs that hear each other once the room is live."""

    live: bool
    legs: dict[str, Leg] = field(default_factory=dict)
    fed: set[tuple[str, int]] = field(default_factory=set)  # (sink leg, section): a section has one source
    taken: set[tuple[str, int, str]] = field(default_factory=set)  # (source leg, section, sink leg)


class Worker:
    """Implements `Media` on one socket; worker `index` uses UDP port `media_port + index` (0 = any port)."""

    def __init__(self, config: Config, index: int) -> None:
        self.config = config
        self.index = index
        self.port = 0
        self._rooms: dict[str, Room] = {}
        self._legs: dict[str, Leg] = {}
        self._by_ufrag: dict[str, Leg] = {}
        self._by_handle: dict[int, Leg] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._listeners: list[Callable[[MediaEvent], None]] = []
        self._policy = Policy(audio=config.audio_codecs, video=config.video_codecs)
        self._counts = {
            "legs_opened": 0,
            "legs_connected": 0,
            "legs_lost": 0,
            "legs_failed": 0,
            "legs_closed": 0,
        }
        self._socket: socket.socket | None = None
        self._tick: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Bind the socket and start the pump; OSError when the port is taken."""
        config = self.config
        self._loop = asyncio.get_running_loop()
        self._certificate = Certificate.generate()
        self._socket = _bind(config.media_host, config.media_port + self.index if config.media_port else 0)
        _set_buffer(self._socket, socket.SO_RCVBUF, 33, config.receive_buffer_bytes)  # 33: SO_RCVBUFFORCE
        _set_buffer(self._socket, socket.SO_SNDBUF, 32, config.send_buffer_bytes)  # 32: SO_SNDBUFFORCE
        self.port = self._socket.getsockname()[1]
        self._addresses = tuple((ip, self.port) for ip in announced(config, self._socket.family))
        self._pump = Pump(
            self._socket.fileno(),
            self._socket.family,
            max_legs=config.max_legs_per_worker,
            max_streams=config.max_legs_per_worker * 32,  # a leg's own bounds, so that none takes another's share;
            max_routes=config.max_legs_per_worker * 16,  # memory is only touched as it is used
            history_ms=config.history_ms,
            video_history_bytes=config.history_bytes,
            seed=secrets.randbits(63),
        )
        self._loop.add_reader(self._pump.event_fileno(), self._drain)
        if config.pump == "thread":
            self._pump.start()
        else:
            self._loop.add_reader(self._socket.fileno(), self._pump.step)
            self._tick = self._loop.call_later(_TICK_S, self._step)

    async def stop(self) -> None:
        """Close every leg and the socket."""
        if self._socket is None:
            return
        for name in list(self._legs):
            await self.close_leg(name)
        self._loop.remove_reader(self._pump.event_fileno())
        if self._tick is not None:
            self._tick.cancel()
            self._loop.remove_reader(self._socket.fileno())
        self._pump.stop()
        self._socket.close()
        self._socket = None

    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None:
        self._listeners.append(listener)

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str:
        """Answer an SDP offer; MediaError when it is malformed, fits no codec or the worker is full."""
        if leg in self._legs:
            raise MediaError(409, 2000, "this leg exists already")
        place = self._rooms.get(room) or Room(live)
        if len(place.legs) >= self.config.max_legs_per_room:
            raise MediaError(429, 2000, f"a room holds at most {self.config.max_legs_per_room} legs")
        local = Local(
            credentials=_credentials(),
            fingerprint=self._certificate.fingerprint,
            addresses=self._addresses,
            cname=secrets.token_urlsafe(12),
            ssrcs=_ssrc,
            stream_id=leg,
        )
        try:
            peers = [other.plan for other in place.legs.values()]
            plan, answer = negotiate(sdp.parse(offer), local, self._policy, peers)
        except sdp.SdpError as error:
            raise MediaError(400, 1004, f"the SDP offer is not usable: {error}") from None
        except NegotiationError as error:
            raise MediaError(406, 2004, str(error)) from None
        now = time.monotonic()
        try:
            made = Leg(
                leg,
                room,
                plan,
                local.credentials,
                self._certificate,
                self._pump,
                self._on_state,
                cname=local.cname,
                local_ssrc=_ssrc(),
                consent_s=self.config.consent_s,
                now=now,
            )
        except MemoryError as error:
            raise MediaError(503, 2000, str(error)) from None
        except (KeyError, OverflowError):
            raise MediaError(400, 1004, "the SDP offer has more sections or sources than a leg may have") from None
        self._rooms[room] = place
        place.legs[leg] = self._legs[leg] = self._by_handle[made.handle] = made
        self._by_ufrag[local.credentials.ufrag] = made
        self._counts["legs_opened"] += 1
        self._arm(made)
        return str(answer)

    async def restart_leg(self, leg: str, fragment: str) -> str:
        """New ICE credentials for a leg (RFC 8840 fragments both ways); media goes on meanwhile."""
        found = self._leg(leg)
        try:
            remote = sdp.parse_fragment(fragment)
        except sdp.SdpError as error:
            raise MediaError(400, 1004, f"the fragment is not usable: {error}") from None
        if remote is None or remote == found.plan.remote:
            raise MediaError(422, 1004, "only an ICE restart with new credentials is supported here")
        local = _credentials()
        found.restart(local, remote, time.monotonic())
        found.plan.remote = remote
        self._by_ufrag[local.ufrag] = found
        while len(found.ufrags) > 2:  # the agent accepts the newest two generations
            self._by_ufrag.pop(found.ufrags.pop(0), None)
        lines = [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.pwd}", "a=ice-lite"]
        lines += [
            f"a=candidate:{n} 1 udp {(126 << 24) | (65535 - n) << 8 | 255} {ip} {port} typ host"
            for n, (ip, port) in enumerate(self._addresses, 1)
        ]
        return "\r\n".join([*lines, "a=end-of-candidates", ""])

    async def close_leg(self, leg: str) -> None:
        """Remove a leg; unknown names are ignored, for the leg may just have ended by itself."""
        found = self._legs.get(leg)
        if found is not None:
            found.close()
            self._forget(found)

    async def go_live(self, room: str) -> None:
        """Start every route of the room, now and for legs that come later."""
        place = self._rooms.get(room)
        if place is None:
            raise MediaError(404, 1, "there is no such room")
        place.live = True
        self._route(place)

    async def close_room(self, room: str) -> None:
        place = self._rooms.get(room)
        for name in list(place.legs) if place else ():
            await self.close_leg(name)

    async def stats(self, room: str) -> dict[str, Any]:
        """Everything known about one room; lists are empty for a room without legs."""
        place = self._rooms.get(room)
        legs = {leg.handle: leg for leg in place.legs.values()} if place else {}
        out: dict[str, Any] = {
            "worker": self.index,
            "live": bool(place and place.live),
            "legs": [],
            "routes": [],
        }
        rows = {int(r["leg"]): r for r in self._pump.legs() if int(r["leg"]) in legs}
        streams = [r for r in self._pump.streams() if int(r["leg"]) in legs]
        for handle, leg in legs.items():
            out["legs"].append(
                {
                    "leg": leg.name,
                    "phase": leg.phase,
                    "srtpProfile": leg.profile,
                    **_plain(rows[handle], skip="leg"),
                    "streams": [_plain(s, skip="leg") for s in streams if int(s["leg"]) == handle],
                    "sections": [
                        {"mid": s.mid, "kind": s.kind, "codecs": [c.name for c in s.codecs]} for s in leg.plan.sections
                    ],
                }
            )
        for row in self._pump.routes():
            if int(row["source"]) in legs and int(row["sink"]) in legs:
                ends = {"source": legs[int(row["source"])].name, "sink": legs[int(row["sink"])].name}
                out["routes"].append({**_plain(row), **ends})
        return out

    async def counters(self) -> dict[str, Any]:
        """The pump's and the worker's counters since the start; gauges are `legs`, `streams`, `routes`, `rooms`."""
        record = self._pump.counters()
        drops = _plain(record["drops"])
        return {**_plain(record, skip="drops"), **self._counts, "rooms": len(self._rooms), "drops": drops}

    def _leg(self, name: str) -> Leg:
        leg = self._legs.get(name)
        if leg is None:
            raise MediaError(404, 1, "there is no such leg")
        return leg

    def _step(self) -> None:
        self._pump.step()
        self._tick = self._loop.call_later(_TICK_S, self._step)

    def _drain(self) -> None:
        """Take what the pump left for Python: STUN by user fragment, DTLS by leg."""
        now = time.monotonic()
        for is_dtls, handle, ip, port, local, data in self._pump.poll():
            source: Address = (ip, port)
            if is_dtls:
                leg = self._by_handle.get(handle) if handle is not None else None
                if leg is not None:
                    leg.dtls(data, source, local, now)
            else:
                names = stun.username(data)
                leg = self._by_ufrag.get(names[0]) if names is not None else None
                if leg is not None:
                    leg.stun(data, source, local, now)
            if leg is not None and leg.phase != "connected":
                self._arm(leg)

    def _arm(self, leg: Leg) -> None:
        """Keep one timer a leg: moved only when its deadline comes earlier, for consent is renewed all the time."""
        deadline = leg.deadline()
        if deadline is None:
            return
        at = self._loop.time() + max(0.0, deadline - time.monotonic())
        timer = self._timers.get(leg.name)
        if timer is not None:
            if timer.when() <= at + 0.001:
                return
            timer.cancel()
        self._timers[leg.name] = self._loop.call_at(at, self._timeout, leg)

    def _timeout(self, leg: Leg) -> None:
        self._timers.pop(leg.name, None)
        leg.timeout(time.monotonic())
        self._arm(leg)

    def _on_state(self, leg: Leg, state: LegState, reason: str) -> None:
        self._counts[f"legs_{state}"] += 1
        if state == "connected":
            place = self._rooms[leg.room]
            if place.live:
                self._route(place)
        else:
            self._forget(leg)
        event = MediaEvent(leg.room, leg.name, state, reason)
        for listener in self._listeners:
            listener(event)

    def _forget(self, leg: Leg) -> None:
        self._legs.pop(leg.name, None)
        self._by_handle.pop(leg.handle, None)
        for ufrag in leg.ufrags:
            self._by_ufrag.pop(ufrag, None)
        timer = self._timers.pop(leg.name, None)
        if timer is not None:
            timer.cancel()
        place = self._rooms.get(leg.room)
        if place is None:
            return
        place.legs.pop(leg.name, None)
        # What the leg fed is free for the next source.
        gone = {(sink, section) for source, section, sink in place.taken if source == leg.name}
        place.taken = {t for t in place.taken if leg.name not in (t[0], t[2])}
        place.fed = {(s, n) for s, n in place.fed if s != leg.name and (s, n) not in gone}
        if not place.legs:
            del self._rooms[leg.room]

    def _route(self, place: Room) -> None:
        """Add every route between connected legs that is missing: each source section to one free section of its
        kind on every other leg."""
        legs = [leg for leg in place.legs.values() if leg.phase == "connected"]
        for source in legs:
            for sink in legs:
                if sink is source:
                    continue
                for number, section in enumerate(source.plan.sections):
                    if not (section.accepted and section.receives) or (source.name, number, sink.name) in place.taken:
                        continue
                    for at, target in enumerate(sink.plan.sections):
                        if not (target.accepted and target.sends and target.kind == section.kind):
                            continue
                        if (sink.name, at) in place.fed:
                            continue
                        found = maps(section, target)
                        if self._pump.add_route(
                            source.handle,
                            number,
                            sink.handle,
                            at,
                            payload=found.payload,
                            rtx={pt: rtx_out for pt, (_, rtx_out) in found.rtx.items()},
                            extensions=found.extensions,
                        ):
                            place.fed.add((sink.name, at))
                            place.taken.add((source.name, number, sink.name))
                        break


def _plain(row: Any, skip: str = "") -> dict[str, int]:
    return {name: int(row[name]) for name in row.dtype.names if name != skip}


def _ssrc() -> int:
    return secrets.randbelow(0xFFFFFFFE) + 1


def _credentials() -> Credentials:
    """RFC 8445 §5.3 asks for 24 and 128 random bits; these have 48 and 144."""
    return Credentials(
        "".join(secrets.choice(_ICE_CHARACTERS) for _ in range(8)),
        "".join(secrets.choice(_ICE_CHARACTERS) for _ in range(24)),
    )


def _bind(host: str, port: int) -> socket.socket:
    """A UDP socket; `::` and the empty host take both families where the kernel has IPv6."""
    if host in ("", "::"):
        try:
            both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            both.bind(("::", port))
            return both
        except OSError as error:
            if error.errno == 98:  # EADDRINUSE: falling back to IPv4 would hide it
                raise
            host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _set_buffer(made: socket.socket, option: int, forced: int, size: int) -> None:
    """Past net.core.*mem_max where the process may, up to it where it may not."""
    try:
        made.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, option, size)


def announced(config: Config, family: int) -> list[str]:
    """The addresses that go into candidates: configured, bound, loopback for a loopback API, else this host's own."""
    if config.announce_addresses:
        return list(config.announce_addresses)
    if config.media_host not in ("", "::", "0.0.0.0"):
        return [config.media_host]
    if config.host == "localhost" or ipaddress.ip_address(config.host).is_loopback:
        return ["127.0.0.1", "::1"] if family == socket.AF_INET6 else ["127.0.0.1"]
    found = []
    probes = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
    for kind, target in probes[: 2 if family == socket.AF_INET6 else 1]:
        # Connecting a UDP socket sends nothing: it only asks the kernel which of our addresses it would use.
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                found.append(probe.getsockname()[0])
            except OSError:
                continue
    return found or ["127.0.0.1"]
