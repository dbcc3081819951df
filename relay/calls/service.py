"""Live calls: the shell around `call.py` that owns timers, parties, legs and finished calls.

Every change goes through `_feed`: one input into the table, then its events to both parties, then the one
timer. Media is told what follows (routes live, room closed) by tasks, because a table cannot wait.

One call a party: a caller that is in a call is refused (1005), a called party that is in one makes the new
call end `busy` at once. A create repeated for the same pair within `late_result_s` is taken as a repeated
request and gives the same room, since its first answer may have been lost on the way.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple

import msgspec

from relay.calls import call as table
from relay.calls.call import Call, Durations, End, Input, Kind, Presence, Side, State
from relay.calls.events import Events
from relay.calls.ice_session import IceSession
from relay.calls.invitation import Invitation, Party
from relay.calls.records import Record, Records
from relay.config import Config
from relay.errors import ApiError, Code
from relay.media.messages import Media, MediaError, MediaEvent

log = logging.getLogger(__name__)

Origin = Literal["manual", "unloadCallPage", "forceFromApp"]
SWEEP_S = 60.0  # how often what is too old is forgotten

REASONS: dict[End, str] = {
    End.ABORT: "the call broke off",
    End.BUSY: "the called party is in another call",
    End.CANCELLED: "the caller gave up before the talk",
    End.FORCED: "the operator ended the call",
    End.HANGUP: "one side hung up",
    End.REJECTED: "the called party refused",
    End.TIME_LIMIT: "the time limit was reached",
    End.TIMEOUT: "nobody answered in time",
}

# Leg events as inputs, by side and state of the leg.
LOST = {Side.CALLER: Kind.CALLER_LOST, Side.LISTENER: Kind.LISTENER_LOST}
RETRIES = {Side.CALLER: Kind.CALLER_RETRIES, Side.LISTENER: Kind.LISTENER_RETRIES}
FAILS = {Side.CALLER: Kind.CALLER_FAILS, Side.LISTENER: Kind.LISTENER_FAILS}
COMES_IN = {Side.CALLER: Kind.CALLER_IN, Side.LISTENER: Kind.LISTENER_IN}
HANGS_UP = {Side.CALLER: Kind.CALLER_HANGS_UP, Side.LISTENER: Kind.LISTENER_HANGS_UP}


class LiveCall:
    """A call that has not ended: the table's state and what the shell adds to it."""

    __slots__ = ("call", "invitation", "legs", "parties", "room", "rung", "timer", "wall_ms")

    def __init__(self, room: str, invitation: Invitation, call: Call) -> None:
        self.room = room
        self.invitation = invitation
        self.call = call
        self.parties = {Side.CALLER: invitation.caller_party, Side.LISTENER: invitation.listener_party}
        self.legs: dict[Side, Leg] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.rung = False  # the called side was told
        self.wall_ms: dict[str, int] = {}  # created, answered, started, ended: Unix milliseconds

    def side_of(self, party: Party) -> Side | None:
        for side, own in self.parties.items():
            if own == party:
                return side
        return None


class Leg(NamedTuple):
    """A party's current leg."""

    call: LiveCall
    side: Side
    ice: IceSession


class CallService:
    """All calls of a node. Needs a running loop; every method runs in its thread."""

    def __init__(
        self,
        media: Media,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is monotonic seconds and drives all timers, `wall` is Unix seconds for what people read."""
        self._media = media
        self._config = config
        self._clock = clock
        self._wall = wall
        self._live: dict[str, LiveCall] = {}
        self._legs: dict[str, Leg] = {}
        self._in_call: dict[Party, LiveCall] = {}
        self._keys: OrderedDict[tuple[Party, str], tuple[float, str]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swept = clock()
        self.events = Events(config)
        self.records = Records(config.max_records)
        self.draining = False
        self.created = 0
        self.ended: Counter[str] = Counter()  # by end reason
        media.subscribe(self._media_event)

    # --- create ---

    def create(self, invitation: Invitation, key: str | None = None) -> str:
        """Make a call and ring the called party; returns the room id.

        The caller's identity is checked already; `key` is the request's idempotency key. Raises ApiError:
        409/1005 when the caller is in another call, 403/9 without a grant, 409/2100 for a busy party when
        configured so, 429/5 at the limit, 503/5 while draining.
        """
        now = self._clock()
        self._sweep(now)
        caller, listener = invitation.caller_party, invitation.listener_party
        if key is not None and (known := self._keys.get((caller, key))) is not None:
            return known[1]
        current = self._current(caller)
        if current is not None:
            if self._repeats(current, invitation, now):
                return self._remember(caller, key, current.room, now)
            raise ApiError(409, Code.PLUGIN_BUSY)
        if self._config.require_grants:
            raise ApiError(403, Code.NO_GRANT)  # grants are kept by the store; until then there are none
        busy = self._current(listener) is not None
        if busy and self._config.refuse_busy:
            raise ApiError(409, Code.SYSTEM_CALL)
        if self.draining:
            raise ApiError(503, Code.ROOM_NOT_MADE, "this node is draining; try another one")
        if len(self._live) >= self._config.max_calls:
            raise ApiError(429, Code.ROOM_NOT_MADE, "this node has as many calls as it may have")
        durations = Durations(
            ring_s=invitation.ring_timeout or self._config.ring_s,
            join_s=self._config.join_s,
            wait_s=self._config.wait_s,
            limit_s=invitation.time_limit,
        )
        live = LiveCall(secrets.token_hex(16), invitation, table.create(durations, now))
        live.wall_ms["created"] = self._wall_ms()
        self._live[live.room] = live
        self._in_call[caller] = live
        self.created += 1
        self._remember(caller, key, live.room, now)
        if busy:
            # The called party hears nothing: to its client this room does not exist, and an `endVoip` out of
            # nowhere would look like the end of the call it is in.
            self._feed(live, Input(Kind.BUSY))
            return live.room
        self._in_call[listener] = live
        live.rung = True
        self._publish(live, Side.LISTENER, "incomingCall", self._notice(live))
        self._arm(live)
        return live.room

    def _current(self, party: Party) -> LiveCall | None:
        live = self._in_call.get(party)
        return None if live is None or self._due(live) else live

    def _repeats(self, current: LiveCall, invitation: Invitation, now: float) -> bool:
        return (
            current.parties[Side.CALLER] == invitation.caller_party
            and current.parties[Side.LISTENER] == invitation.listener_party
            and current.invitation.room_type == invitation.room_type
            and now - current.call.created <= self._config.late_result_s
        )

    def _remember(self, caller: Party, key: str | None, room: str, now: float) -> str:
        if key is not None:
            self._keys[caller, key] = (now, room)
            while len(self._keys) > self._config.max_records:
                self._keys.popitem(last=False)
        return room

    def _notice(self, live: LiveCall) -> dict[str, Any]:
        asked = live.invitation
        return {
            "roomType": asked.room_type,
            "callerId": asked.caller.id,
            "callerName": asked.caller.name,
            "callerCameraStatus": asked.caller.camera_status,
            "listenerId": asked.listener.id,
            "listenerName": asked.listener.name,
            "listenerCameraStatus": asked.listener.camera_status,
            "query": asked.custom_query,
            "ringTimeout": live.call.durations.ring_s,
        }

    # --- what the parties do ---

    def answer(self, room: str, party: Party) -> None:
        """The called side takes the call; one answer wins. Raises ApiError: 404/1, 403/2103, 409/2000."""
        live, side = self._own(room, party)
        if side is not Side.LISTENER:
            raise ApiError(403, Code.NO_API_PERMISSION, "only the called side can answer")
        if not self._feed(live, Input(Kind.ANSWER)):
            if live.call.end is not None:
                raise _too_late()
            raise ApiError(409, Code.JOIN_FAILED, "the call was answered already; join gives a new credential")

    def join(self, room: str, party: Party) -> Side:
        """May this party (again) send an offer? Returns its side. Raises ApiError: 404/1, 409/2000."""
        live, side = self._own(room, party)
        self._due(live)
        if live.call.end is not None:
            raise _too_late()
        if side is Side.LISTENER and live.call.answered is None:
            raise ApiError(409, Code.JOIN_FAILED, "answer the call before joining it")
        return side

    def reject(self, room: str, party: Party, status: Origin | Literal["busy"] = "manual") -> None:
        """The called side refuses, or says that it is in another call (`busy`).

        Rejecting a call that is over changes nothing and is no fault. Raises ApiError: 404/1, 403/2103,
        409/1008 when the talk has begun.
        """
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        live, side = self._own(room, party)
        if side is not Side.LISTENER:
            raise ApiError(403, Code.NO_API_PERMISSION, "only the called side can reject; the caller hangs up")
        given = Input(Kind.BUSY) if status == "busy" else Input(Kind.REJECT, origin=status)
        if not self._feed(live, given) and live.call.end is None:
            raise ApiError(409, Code.INTERRUPTED, "too late to reject; hang up instead")

    def hang_up(self, room: str, party: Party | None, origin: Origin = "manual") -> None:
        """End a call in whatever phase it is: a cancel, a rejection or a hang-up. Party None is the operator.

        Hanging up a call that is over changes nothing and is no fault. Raises ApiError 404/1.
        """
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        side = found.side_of(party) if party is not None else None
        self._feed(found, Input(Kind.FORCE if side is None else HANGS_UP[side], origin=origin))

    def fail(self, room: str, party: Party, message: str) -> None:
        """A party's client gives up joining for good. Raises ApiError: 404/1, 409/1008 when it is in."""
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        live, side = self._own(room, party)
        if not self._feed(live, Input(FAILS[side], error=message)) and live.call.end is None:
            raise ApiError(409, Code.INTERRUPTED, "this party is not joining")

    # --- legs ---

    async def open_leg(self, room: str, side: Side, offer: str) -> tuple[IceSession, str]:
        """Answer an SDP offer of a party; returns its ICE session and the SDP answer.

        A party's earlier leg is replaced. Raises ApiError (409/2000 when the call is over or not answered)
        and MediaError (the offer is refused).
        """
        live = self._live.get(room)
        if live is None or self._due(live):
            raise _too_late()
        if side is Side.LISTENER and live.call.answered is None:
            raise ApiError(409, Code.JOIN_FAILED, "answer the call before joining it")
        leg = Leg(live, side, IceSession(secrets.token_hex(16), offer))
        replaced = live.legs.get(side)
        live.legs[side] = leg
        self._legs[leg.ice.leg] = leg
        if side is Side.CALLER:
            self._feed(live, Input(Kind.CALLER_JOINS))
        if replaced is not None:
            # Before the new leg opens: the worker must never see two legs of one party in a room.
            del self._legs[replaced.ice.leg]
            await _told(self._media.close_leg(replaced.ice.leg))
        self._check_open(leg)
        try:
            answer = await self._media.open_leg(room, leg.ice.leg, offer, live=live.call.state is State.TALKING)
        except MediaError as refusal:
            self._leg_gone(leg, refusal.message)
            raise
        except BaseException:  # the client went away while it waited: nobody has the answer
            if self._legs.get(leg.ice.leg) is leg:
                self._later(self._media.close_leg(leg.ice.leg))
                self._leg_gone(leg, "the offer was withdrawn")
            raise
        try:
            self._check_open(leg)
        except ApiError:
            # The call ended, or a newer offer took this one's place, while the worker was busy.
            self._later(self._media.close_leg(leg.ice.leg))
            raise
        return leg.ice, answer

    def _check_open(self, leg: Leg) -> None:
        if self._legs.get(leg.ice.leg) is leg:
            return
        if leg.call.call.end is not None:
            raise _too_late()
        raise ApiError(409, Code.JOIN_FAILED, "the leg was lost, or a newer offer replaced it")

    async def patch_leg(self, room: str, leg: str, fragment: str, if_match: str | None) -> str | None:
        """See `IceSession.patch`. Raises ApiError 404/1 for an unknown leg."""
        return await self._leg(room, leg).ice.patch(self._media, fragment, if_match)

    async def close_leg(self, room: str, leg: str) -> None:
        """A party leaves. One that was in the room thereby hangs up. Raises ApiError 404/1."""
        left = self._leg(room, leg)
        was_in = self._is_in(left.call, left.side)
        del self._legs[leg], left.call.legs[left.side]
        self._later(self._media.close_leg(leg))
        if was_in:
            self._feed(left.call, Input(HANGS_UP[left.side]))

    def leg_owner(self, room: str, leg: str) -> tuple[IceSession, Side, Party]:
        """Whose leg this is. Raises ApiError 404/1."""
        found = self._leg(room, leg)
        return found.ice, found.side, found.call.parties[found.side]

    def _leg(self, room: str, leg: str) -> Leg:
        found = self._legs.get(leg)
        if found is None or found.call.room != room:
            raise ApiError(404, Code.BAD_ROOM_ID, "no such leg")
        return found

    def _is_in(self, live: LiveCall, side: Side) -> bool:
        if side is Side.CALLER:
            return live.call.caller is Presence.IN
        return live.call.state in (State.LISTENER_WAITING, State.TALKING)

    def _media_event(self, event: MediaEvent) -> None:
        """What media says about a leg. Legs that were replaced or left are no longer ours to hear about."""
        leg = self._legs.get(event.leg)
        if leg is None:
            return
        if event.state == "connected":
            self._feed(leg.call, Input(COMES_IN[leg.side]))
        else:
            self._leg_gone(leg, event.reason)

    def _leg_gone(self, leg: Leg, reason: str) -> None:
        if self._legs.pop(leg.ice.leg, None) is None:
            return
        del leg.call.legs[leg.side]
        if self._is_in(leg.call, leg.side):
            self._feed(leg.call, Input(LOST[leg.side]))
        else:
            self._feed(leg.call, Input(RETRIES[leg.side], error=reason))

    # --- reading ---

    def view(self, room: str, party: Party | None) -> dict[str, Any]:
        """Everything about a call for its own parties and the operator (None). Raises ApiError 404/1."""
        found = self._find(room, party)
        if isinstance(found, Record):
            return found.view
        self._due(found)
        return self._view(found)

    async def stats(self, room: str, party: Party | None) -> dict[str, Any]:
        """The call and all that media knows about its room. Raises ApiError 404/1 and MediaError."""
        view = self.view(room, party)
        media = await self._media.stats(room) if room in self._live else {}
        return {**view, "media": media}

    def party_rooms(self, party: Party) -> tuple[str, ...]:
        """The rooms of a party's live calls (at most one)."""
        live = self._in_call.get(party)
        return () if live is None else (live.room,)

    def __len__(self) -> int:
        """Calls that have not ended."""
        return len(self._live)

    # --- the node's side ---

    def drain(self) -> None:
        """Take no new calls; those that live go on."""
        self.draining = True

    async def close(self) -> None:
        """End every call (reason `forced`) and wait until media was told."""
        self.draining = True
        for live in tuple(self._live.values()):
            self._feed(live, Input(Kind.FORCE))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def expire(self) -> None:
        """Fire every timer that is due now; the loop does so by itself, this is for a clock of one's own."""
        for live in tuple(self._live.values()):
            self._due(live)
        self._sweep(self._clock())

    # --- the one way a call changes ---

    def _feed(self, live: LiveCall, given: Input) -> bool:
        """Give the table an input; True when a row took it."""
        return self._changed(live, table.receive(live.call, given, self._clock()))

    def _due(self, live: LiveCall) -> bool:
        """Run due timers; True when the call is over."""
        self._changed(live, table.timeout(live.call, self._clock()))
        return live.call.end is not None

    def _changed(self, live: LiveCall, step: table.Step) -> bool:
        before, after = live.call, step.call
        live.call = after
        for name in ("answered", "started", "ended"):
            if getattr(before, name) is None and getattr(after, name) is not None:
                live.wall_ms[name] = self._wall_ms()
        self._tell(live, step)
        if after.state is State.TALKING and before.state is not State.TALKING:
            self._later(self._media.go_live(live.room))
        if after.end is not None and before.end is None:
            self._finish(live)
        elif before.deadlines != after.deadlines:
            self._arm(live)
        return step.taken

    def _finish(self, live: LiveCall) -> None:
        """Settle at once, free the parties, close the room, keep the record."""
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        for party in live.parties.values():
            if self._in_call.get(party) is live:
                del self._in_call[party]
        for leg in live.legs.values():
            self._legs.pop(leg.ice.leg, None)
        live.legs.clear()
        del self._live[live.room]
        step = table.receive(live.call, Input(Kind.SETTLE), self._clock())
        live.call = step.call
        self._tell(live, step)
        assert live.call.end is not None
        self.ended[live.call.end] += 1
        self.records.put(live.room, Record(live.parties[Side.CALLER], live.parties[Side.LISTENER], self._view(live)))
        self._later(self._media.close_room(live.room))

    def _tell(self, live: LiveCall, step: table.Step) -> None:
        for side, events in ((Side.CALLER, step.caller), (Side.LISTENER, step.listener)):
            if side is Side.LISTENER and not live.rung:
                continue
            for event in events:
                data = event.data
                if event.name == "startVoip":
                    data = {"startTime": live.wall_ms["started"]}
                elif event.name == "endVoip":
                    data = {
                        **data,
                        "callerName": live.invitation.caller.name,
                        "listenerName": live.invitation.listener.name,
                        "roomType": live.invitation.room_type,
                        "isCaller": side is Side.CALLER,
                        "businessType": live.invitation.business,
                    }
                self._publish(live, side, event.name, data)

    def _publish(self, live: LiveCall, side: Side, name: str, data: dict[str, Any]) -> None:
        end = live.call.end
        self.events.publish(
            live.parties[side],
            live.room,
            name,
            data,
            REASONS[end] if end is not None else "",
            self._clock(),
            self._wall_ms(),
        )

    def _arm(self, live: LiveCall) -> None:
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        deadline = live.call.deadline()
        if deadline is not None:
            delay_s = max(0.0, deadline - self._clock())
            live.timer = asyncio.get_running_loop().call_later(delay_s, self._fire, live)

    def _fire(self, live: LiveCall) -> None:
        live.timer = None
        if not self._due(live):
            self._arm(live)

    def _later(self, told: Coroutine[Any, Any, None]) -> None:
        """Tell media without waiting. A room or leg that is gone already is no fault."""

        task = asyncio.get_running_loop().create_task(_told(told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- finding ---

    def _find(self, room: str, party: Party | None) -> LiveCall | Record:
        """A call of this party (None: the operator's). Somebody else's call does not exist for it."""
        live = self._live.get(room)
        if live is not None and (party is None or live.side_of(party) is not None):
            return live
        record = self.records.find(room)
        if record is not None and (party is None or party in (record.caller, record.listener)):
            return record
        raise ApiError(404, Code.BAD_ROOM_ID)

    def _own(self, room: str, party: Party) -> tuple[LiveCall, Side]:
        found = self._find(room, party)
        if isinstance(found, Record):
            raise _too_late()
        side = found.side_of(party)
        assert side is not None, "_find gives a party its own calls only"
        return found, side

    def _view(self, live: LiveCall) -> dict[str, Any]:
        call, asked = live.call, live.invitation
        return {
            "roomId": live.room,
            "groupId": live.room,
            "state": call.state,
            "roomType": asked.room_type,
            "direction": asked.direction,
            "businessType": asked.business,
            "chargeType": "duration",
            "caller": {**msgspec.to_builtins(asked.caller), "kind": live.parties[Side.CALLER].kind},
            "listener": {**msgspec.to_builtins(asked.listener), "kind": live.parties[Side.LISTENER].kind},
            "keepTime": call.keep_time(self._clock()),
            "timeLimit": asked.time_limit,
            "ringTimeout": call.durations.ring_s,
            "createdAt": live.wall_ms["created"],
            "answeredAt": live.wall_ms.get("answered"),
            "startedAt": live.wall_ms.get("started"),
            "endedAt": live.wall_ms.get("ended"),
            "endReason": call.end,
            "reason": REASONS[call.end] if call.end is not None else "",
        }

    def _sweep(self, now: float) -> None:
        if now - self._swept < SWEEP_S:
            return
        self._swept = now
        self.events.sweep(now)
        while self._keys and now - next(iter(self._keys.values()))[0] > self._config.repeat_s:
            self._keys.popitem(last=False)

    def _wall_ms(self) -> int:
        return int(self._wall() * 1000)


async def _told(told: Coroutine[Any, Any, None]) -> None:
    try:
        await told
    except MediaError as refusal:
        log.info("media refused a clean-up", extra={"reason": refusal.message})
    except Exception:
        log.exception("media failed")


def _too_late() -> ApiError:
    """§2.4: the text known for an answer or a join that comes after the end."""
    return ApiError(409, Code.JOIN_FAILED, "retry join but voip is end")
