"""The state of one call as a table: (state, input, now) -> (state, events of each side, timers, end reason).

Everything that changes a call's state is in this file, and all of it is in `TABLE` (plugin-interface §7.4).
No row, no change: an input that no row names is *not taken*, and whoever sent it is told so. Time is an
argument.

Three rules hold for every sequence of inputs:

1. A call gets exactly one end reason: only rows from states before ENDED carry one.
2. `endVoip` is said once to each side, after the reason event and before `finishVoip`. No row names it; it is
   added where a row carries an end reason, so no row can forget it.
3. A timer that is due fires before any later input is looked at, so an answer after the ring time has lost
   even when nobody had the time yet to run the timer.

The called side may answer before the caller's media is up, so besides the state we keep how far the *caller*
is (`Presence`); rows can ask for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import floor
from typing import Any, NamedTuple

ROUNDING_S = 1e-6  # of adding and subtracting clock readings: a limit of 3600 s must not give 3599


class State(StrEnum):
    CREATED = "CREATED"  # room exists, ring notice is out, caller has not begun to join
    CALLER_JOINING = "CALLER_JOINING"  # caller has sent its offer, media is not up
    RINGING = "RINGING"  # caller is in and waits
    LISTENER_JOINING = "LISTENER_JOINING"  # answered, its media is not up
    LISTENER_WAITING = "LISTENER_WAITING"  # called side is in, caller is not
    TALKING = "TALKING"  # both in
    ENDED = "ENDED"  # the reason is fixed
    SETTLED = "SETTLED"  # the duration is fixed too


class Presence(StrEnum):
    """How far the caller has come into the room."""

    AWAY = "away"
    JOINING = "joining"
    IN = "in"


class Side(StrEnum):
    CALLER = "caller"
    LISTENER = "listener"


class End(StrEnum):
    """Why a call ended; the record's `endReason`."""

    ABORT = "abort"
    BUSY = "busy"
    CANCELLED = "cancelled"
    FORCED = "forced"
    HANGUP = "hangup"
    REJECTED = "rejected"
    TIME_LIMIT = "timeLimit"
    TIMEOUT = "timeout"


class Kind(StrEnum):
    """Everything that can happen to a call."""

    CALLER_JOINS = "caller_joins"  # its offer arrived
    CALLER_IN = "caller_in"  # its leg is connected
    CALLER_RETRIES = "caller_retries"  # one attempt failed, the join timer still runs
    CALLER_FAILS = "caller_fails"  # failed for good
    CALLER_LOST = "caller_lost"  # was in, its leg is gone
    CALLER_HANGS_UP = "caller_hangs_up"
    ANSWER = "answer"
    LISTENER_IN = "listener_in"
    LISTENER_RETRIES = "listener_retries"
    LISTENER_FAILS = "listener_fails"
    LISTENER_LOST = "listener_lost"
    LISTENER_HANGS_UP = "listener_hangs_up"
    REJECT = "reject"
    BUSY = "busy"  # called side is in another call
    FORCE = "force"  # ended by the operator
    REFUSED = "refused"  # the operator's server does not want this call
    SETTLE = "settle"
    RING_TIMER = "ring_timer"  # nobody answered
    JOIN_TIMER = "join_timer"  # caller did not come in
    ANSWERED_TIMER = "answered_timer"  # called side answered and did not come in
    WAIT_TIMER = "wait_timer"  # called side is in, caller did not come
    LIMIT_TIMER = "limit_timer"  # the call's time limit


class Slot(StrEnum):
    """A place in an event's data that is filled when the event is made."""

    ORIGIN = "<origin>"  # manual, unloadCallPage or forceFromApp, as given with the input
    KEEP_TIME = "<keepTime>"  # whole seconds since startVoip, 0 without a talk
    SETTLED_TIME = "<settledTime>"  # whole seconds both were really there
    ERROR = "<error>"  # text given with the input, else the row's
    CODE = "<code>"  # number given with the input


class Emit(NamedTuple):
    """An event in the table; data may hold Slots."""

    name: str
    data: Mapping[str, Any] = {}


class Row(NamedTuple):
    """One line of the table. `to` None keeps the state; `caller_is` are the presences it holds for."""

    states: tuple[State, ...]
    kind: Kind
    to: State | None
    end: End | None = None
    caller: tuple[Emit, ...] = ()
    listener: tuple[Emit, ...] = ()
    caller_is: tuple[Presence, ...] = tuple(Presence)
    becomes: Presence | None = None  # the caller's presence afterwards
    error: str = ""


# --- the events of plugin-interface §2.2, in the forms the table uses ---

JOIN_FAIL_CALLER = Emit("joinFailCaller", {"errMsg": Slot.ERROR})
JOIN_FAIL_LISTENER = Emit("joinFailListener", {"errMsg": Slot.ERROR})
START = Emit("startVoip")
TIMEOUT = Emit("timeout")
FINISH = Emit("finishVoip", {"keepTime": Slot.SETTLED_TIME})
OTHER_SIDE_GONE = "room status is abort"  # §2.3
NO_PACKETS = "call interrupted due to native reason"  # §2.3


def _cancel(status: str) -> tuple[Emit, ...]:
    return (Emit("cancelVoip", {"status": status}),)


def _reject(status: str) -> tuple[Emit, ...]:
    return (Emit("rejectVoip", {"status": status}),)


def _hang_up(by: str, origin: str) -> tuple[Emit, ...]:
    return (Emit("hangUpVoip", {"keepTime": Slot.KEEP_TIME, "status": by, "origin": origin}),)


def _abort(status: str, message: str = Slot.ERROR) -> Emit:
    return Emit("abortVoip", {"keepTime": Slot.KEEP_TIME, "status": status, "error": {"errMsg": message}})


UNKNOWN = (_abort("unknown", OTHER_SIDE_GONE),)  # what the side hears that did nothing wrong
BY_CALLER = _abort("abortByCaller")
BY_LISTENER = _abort("abortByListener")

# --- groups of states ---

BEFORE_ANSWER = (State.CREATED, State.CALLER_JOINING, State.RINGING)
ANSWERED = (State.LISTENER_JOINING, State.LISTENER_WAITING)
BEFORE_TALK = BEFORE_ANSWER + ANSWERED
LIVE = (*BEFORE_TALK, State.TALKING)
NOT_IN = (Presence.AWAY, Presence.JOINING)

CALLER_NEVER_CAME: Any = {
    "to": State.ENDED,
    "end": End.ABORT,
    "caller": (JOIN_FAIL_CALLER, BY_CALLER),
    "listener": UNKNOWN,
}
LISTENER_NEVER_CAME: Any = {
    "to": State.ENDED,
    "end": End.ABORT,
    "caller": UNKNOWN,
    "listener": (JOIN_FAIL_LISTENER, BY_LISTENER),
}
# Where §7.4 has no row (a side that was in is lost before the talk), the row of the talk is used.
CALLER_GONE: Any = {"to": State.ENDED, "end": End.ABORT, "caller": (BY_CALLER,), "listener": UNKNOWN}
LISTENER_GONE: Any = {"to": State.ENDED, "end": End.ABORT, "caller": UNKNOWN, "listener": (BY_LISTENER,)}
COMES_IN: Any = {"caller_is": (Presence.JOINING,), "becomes": Presence.IN}

JOINED = Emit("joinedRoomByCaller")
SHOWN = Emit("callPageOnShow")

TABLE: tuple[Row, ...] = (
    # The caller comes in, before or after the answer.
    Row(
        (State.CREATED,),
        Kind.CALLER_JOINS,
        State.CALLER_JOINING,
        caller=(SHOWN,),
        caller_is=(Presence.AWAY,),
        becomes=Presence.JOINING,
    ),
    Row(
        ANSWERED,
        Kind.CALLER_JOINS,
        None,
        caller=(SHOWN,),
        caller_is=(Presence.AWAY,),
        becomes=Presence.JOINING,
    ),
    Row((State.CALLER_JOINING,), Kind.CALLER_IN, State.RINGING, caller=(JOINED,), **COMES_IN),
    Row((State.LISTENER_JOINING,), Kind.CALLER_IN, None, caller=(JOINED,), **COMES_IN),
    Row(
        (State.LISTENER_WAITING,),
        Kind.CALLER_IN,
        State.TALKING,
        caller=(JOINED, START),
        listener=(START,),
        **COMES_IN,
    ),
    # The caller does not come in.
    Row(
        (State.CALLER_JOINING, *ANSWERED),
        Kind.CALLER_RETRIES,
        None,
        caller=(Emit("joinFailCaller", {"errMsg": Slot.ERROR, "retrying": True}),),
        caller_is=(Presence.JOINING,),
        error="the media connection failed",
    ),
    Row(
        (State.CREATED, State.CALLER_JOINING, *ANSWERED),
        Kind.CALLER_FAILS,
        caller_is=NOT_IN,
        error="join room failed",
        **CALLER_NEVER_CAME,
    ),
    Row(
        (State.CREATED, State.CALLER_JOINING),
        Kind.JOIN_TIMER,
        error="join room failed: the caller did not come in before the join timer",
        **CALLER_NEVER_CAME,
    ),
    # The called side answers and comes in.
    Row(BEFORE_ANSWER, Kind.ANSWER, State.LISTENER_JOINING, listener=(Emit("hangOnVoip"),)),
    Row((State.LISTENER_JOINING,), Kind.LISTENER_IN, State.LISTENER_WAITING, caller_is=NOT_IN),
    Row(
        (State.LISTENER_JOINING,),
        Kind.LISTENER_IN,
        State.TALKING,
        caller=(START,),
        listener=(START,),
        caller_is=(Presence.IN,),
    ),
    # The called side does not come in, or waits in vain.
    Row(
        (State.LISTENER_JOINING,),
        Kind.LISTENER_RETRIES,
        None,
        listener=(Emit("joinFailListener", {"errMsg": Slot.ERROR, "retrying": True}),),
        error="the media connection failed",
    ),
    Row((State.LISTENER_JOINING,), Kind.LISTENER_FAILS, error="join room failed", **LISTENER_NEVER_CAME),
    Row(
        (State.LISTENER_JOINING,),
        Kind.ANSWERED_TIMER,
        error="join room failed: the called side did not come in before the join timer",
        **LISTENER_NEVER_CAME,
    ),
    Row(
        (State.LISTENER_WAITING,),
        Kind.WAIT_TIMER,
        error="listener waitOtherToJoin timeout",
        **LISTENER_GONE,
    ),
    # Somebody says no.
    Row(BEFORE_ANSWER, Kind.RING_TIMER, State.ENDED, End.TIMEOUT, (TIMEOUT,), (TIMEOUT,)),
    Row(
        BEFORE_TALK,
        Kind.CALLER_HANGS_UP,
        State.ENDED,
        End.CANCELLED,
        caller=_cancel(Slot.ORIGIN),
        listener=_cancel("other"),
    ),
    Row(
        BEFORE_TALK,
        Kind.REJECT,
        State.ENDED,
        End.REJECTED,
        caller=_reject("other"),
        listener=_reject(Slot.ORIGIN),
    ),
    Row(
        BEFORE_TALK,
        Kind.LISTENER_HANGS_UP,
        State.ENDED,
        End.REJECTED,
        caller=_reject("other"),
        listener=_reject(Slot.ORIGIN),
    ),
    Row(
        (*BEFORE_ANSWER, State.LISTENER_JOINING),
        Kind.BUSY,
        State.ENDED,
        End.BUSY,
        caller=(Emit("busy"),),
    ),
    # The talk ends.
    Row(
        (State.TALKING,),
        Kind.CALLER_HANGS_UP,
        State.ENDED,
        End.HANGUP,
        caller=_hang_up("endByCaller", Slot.ORIGIN),
        listener=_hang_up("endByCaller", "other"),
    ),
    Row(
        (State.TALKING,),
        Kind.LISTENER_HANGS_UP,
        State.ENDED,
        End.HANGUP,
        caller=_hang_up("endByListener", "other"),
        listener=_hang_up("endByListener", Slot.ORIGIN),
    ),
    Row(
        (State.TALKING,),
        Kind.LIMIT_TIMER,
        State.ENDED,
        End.TIME_LIMIT,
        caller=_hang_up("endByCaller", "timeLimit"),
        listener=_hang_up("endByCaller", "timeLimit"),
    ),
    # A side that was in is gone.
    Row(
        (State.RINGING, State.LISTENER_JOINING, State.TALKING),
        Kind.CALLER_LOST,
        caller_is=(Presence.IN,),
        error=NO_PACKETS,
        **CALLER_GONE,
    ),
    Row((State.LISTENER_WAITING, State.TALKING), Kind.LISTENER_LOST, error=NO_PACKETS, **LISTENER_GONE),
    # The operator ends it: as a cancel before the talk, as a hang-up in it.
    Row(
        BEFORE_TALK,
        Kind.FORCE,
        State.ENDED,
        End.FORCED,
        caller=_cancel("forceFromApp"),
        listener=_cancel("other"),
    ),
    Row(
        (State.TALKING,),
        Kind.FORCE,
        State.ENDED,
        End.FORCED,
        caller=_hang_up("endByCaller", "forceFromApp"),
        listener=_hang_up("endByCaller", "forceFromApp"),
    ),
    # The operator's server said no to a cloud call, or nothing at all (§4.5).
    Row(
        BEFORE_TALK,
        Kind.REFUSED,
        State.ENDED,
        End.CANCELLED,
        caller=(Emit("cancelVoip", {"status": "other", "errCode": Slot.CODE, "errMsg": Slot.ERROR}),),
        listener=_cancel("other"),
    ),
    Row((State.ENDED,), Kind.SETTLE, State.SETTLED, caller=(FINISH,), listener=(FINISH,)),
)

# Which timers run in which state. A timer that runs on keeps its deadline, one that is not listed stops.
TIMERS: Mapping[State, tuple[Kind, ...]] = {
    State.CREATED: (Kind.RING_TIMER, Kind.JOIN_TIMER),
    State.CALLER_JOINING: (Kind.RING_TIMER, Kind.JOIN_TIMER),
    State.RINGING: (Kind.RING_TIMER,),
    State.LISTENER_JOINING: (Kind.ANSWERED_TIMER,),
    State.LISTENER_WAITING: (Kind.WAIT_TIMER,),
    State.TALKING: (Kind.LIMIT_TIMER,),
    State.ENDED: (),
    State.SETTLED: (),
}


def _cells(rows: Iterable[Row]) -> dict[tuple[State, Kind, Presence], Row]:
    cells: dict[tuple[State, Kind, Presence], Row] = {}
    for row in rows:
        for state in row.states:
            for presence in row.caller_is:
                cell = (state, row.kind, presence)
                assert cell not in cells, f"two rows for {cell}"
                cells[cell] = row
    return cells


CELLS = _cells(TABLE)


@dataclass(frozen=True, slots=True)
class Durations:
    """The timers of one call in seconds; `limit_s` None: no time limit."""

    ring_s: float
    join_s: float
    wait_s: float
    limit_s: float | None = None

    def of(self, timer: Kind) -> float | None:
        return {
            Kind.RING_TIMER: self.ring_s,
            Kind.JOIN_TIMER: self.join_s,
            Kind.ANSWERED_TIMER: self.join_s,
            Kind.WAIT_TIMER: self.wait_s,
            Kind.LIMIT_TIMER: self.limit_s,
        }[timer]


@dataclass(frozen=True, slots=True)
class Input:
    """What happened. `origin` is for hang-ups and rejections, `error` for failures, `code` for a refusal;
    `silent_s` says how long ago a lost side was last heard.
    """

    kind: Kind
    origin: str = "manual"
    error: str = ""
    code: int = 0
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call at one moment. Times are those given as `now`."""

    durations: Durations
    created: float
    state: State = State.CREATED
    caller: Presence = Presence.AWAY
    answered: float | None = None
    started: float | None = None
    ended: float | None = None
    end: End | None = None
    silent_s: float = 0.0  # of the talk's end, one side was already gone
    deadlines: Mapping[Kind, float] = field(default_factory=dict)

    def deadline(self) -> float | None:
        """When `timeout` must be called, or None."""
        return min(self.deadlines.values(), default=None)

    def keep_time(self, now: float) -> int:
        """Whole seconds of talk so far; 0 if it never began."""
        if self.started is None:
            return 0
        return max(0, floor((now if self.ended is None else self.ended) - self.started + ROUNDING_S))

    def settled_time(self, now: float) -> int:
        """Whole seconds that both were there: the shorter presence of the two (§7.5, settle)."""
        if self.started is None:
            return 0
        return max(0, floor((now if self.ended is None else self.ended) - self.started - self.silent_s + ROUNDING_S))


@dataclass(frozen=True, slots=True)
class Step:
    """What came of an input: the call afterwards, each side's events in order, and whether a row took it."""

    call: Call
    caller: tuple[Event, ...] = ()
    listener: tuple[Event, ...] = ()
    taken: bool = True


def create(durations: Durations, now: float) -> Call:
    """A call whose room exists and whose ring notice goes out now."""
    call = Call(durations, now)
    return replace(call, deadlines=_deadlines(call, State.CREATED, now))


def receive(call: Call, given: Input, now: float) -> Step:
    """Timers that are due first, then the input. `taken` speaks of the input alone."""
    due = timeout(call, now)
    after = _apply(due.call, given, now)
    return Step(after.call, due.caller + after.caller, due.listener + after.listener, after.taken)


def timeout(call: Call, now: float) -> Step:
    """Fire every timer that is due, in the order of their deadlines and at their deadlines' time."""
    caller: tuple[Event, ...] = ()
    listener: tuple[Event, ...] = ()
    while call.deadlines:
        timer, when = min(call.deadlines.items(), key=lambda item: item[1])
        if when > now:
            break
        step = _apply(call, Input(timer), when)
        call, caller, listener = step.call, caller + step.caller, listener + step.listener
    return Step(call, caller, listener)


def _apply(call: Call, given: Input, now: float) -> Step:
    row = CELLS.get((call.state, given.kind, call.caller))
    if row is None:
        return Step(call, taken=False)
    to = row.to or call.state
    after = replace(
        call,
        state=to,
        caller=row.becomes or call.caller,
        answered=now if given.kind is Kind.ANSWER else call.answered,
        started=now if to is State.TALKING and call.started is None else call.started,
        ended=now if row.end else call.ended,
        end=row.end or call.end,
        silent_s=given.silent_s if row.end else call.silent_s,
        deadlines=_deadlines(call, to, now),
    )
    fill: dict[Slot, Any] = {
        Slot.ORIGIN: given.origin,
        Slot.KEEP_TIME: after.keep_time(now),
        Slot.SETTLED_TIME: after.settled_time(now),
        Slot.CODE: given.code,
        Slot.ERROR: given.error or row.error,
    }
    ending = (Emit("endVoip", {"keepTime": Slot.KEEP_TIME}),) if row.end else ()
    return Step(
        after,
        tuple(_event(emit, fill) for emit in row.caller + ending),
        tuple(_event(emit, fill) for emit in row.listener + ending),
    )


def _event(emit: Emit, fill: Mapping[Slot, Any]) -> Event:
    def filled(value: Any) -> Any:
        if isinstance(value, Slot):
            return fill[value]
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        return value

    return Event(emit.name, {name: filled(value) for name, value in emit.data.items()})


def _deadlines(call: Call, to: State, now: float) -> dict[Kind, float]:
    deadlines: dict[Kind, float] = {}
    for timer in TIMERS[to]:
        duration = call.durations.of(timer)
        if timer in call.deadlines:
            deadlines[timer] = call.deadlines[timer]
        elif duration is not None:
            deadlines[timer] = now + duration
    return deadlines
