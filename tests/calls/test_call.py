"""The state table: every row, every race of two inputs, and random walks against its three promises."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.calls import call as table
from relay.calls.call import (
    CELLS,
    TABLE,
    TIMERS,
    Call,
    Durations,
    End,
    Event,
    Input,
    Kind,
    Presence,
    Side,
    State,
)

DURATIONS = Durations(ring_s=60, join_s=20, wait_s=20)
REASON_EVENTS = {"cancelVoip", "rejectVoip", "timeout", "busy", "hangUpVoip", "abortVoip"}
OVER = (State.ENDED, State.SETTLED)


class Walk:
    """A call and what each side heard, with the time of the moment."""

    def __init__(self, durations: Durations = DURATIONS) -> None:
        self.now = 1000.0
        self.call = table.create(durations, self.now)
        self.heard: dict[Side, list[Event]] = {Side.CALLER: [], Side.LISTENER: []}

    def give(self, *kinds: Kind | Input, after: float = 0.0) -> bool:
        """Inputs in a row, the first one `after` seconds; was the last one taken?"""
        self.now += after
        taken = False
        for kind in kinds:
            given = kind if isinstance(kind, Input) else Input(kind)
            taken = self._note(table.receive(self.call, given, self.now))
        return taken

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._note(table.timeout(self.call, self.now))

    def _note(self, step: table.Step) -> bool:
        self.call = step.call
        self.heard[Side.CALLER] += step.caller
        self.heard[Side.LISTENER] += step.listener
        return step.taken

    def names(self, side: Side) -> list[str]:
        return [event.name for event in self.heard[side]]

    def data(self, side: Side, name: str) -> dict[str, object]:
        (event,) = [event for event in self.heard[side] if event.name == name]
        return event.data

    @property
    def caller(self) -> list[str]:
        return self.names(Side.CALLER)

    @property
    def listener(self) -> list[str]:
        return self.names(Side.LISTENER)


def ringing(durations: Durations = DURATIONS) -> Walk:
    walk = Walk(durations)
    walk.give(Kind.CALLER_JOINS, Kind.CALLER_IN)
    assert walk.call.state is State.RINGING
    return walk


def talking(durations: Durations = DURATIONS) -> Walk:
    walk = ringing(durations)
    walk.give(Kind.ANSWER, Kind.LISTENER_IN, after=3)
    assert walk.call.state is State.TALKING
    return walk


# --- the rows of §2.5 ---


def test_answered_then_hung_up() -> None:
    walk = talking()
    walk.give(Kind.CALLER_HANGS_UP, after=12.9)
    walk.give(Kind.SETTLE)
    assert walk.caller == [
        "callPageOnShow",
        "joinedRoomByCaller",
        "startVoip",
        "hangUpVoip",
        "endVoip",
        "finishVoip",
    ]
    assert walk.listener == ["hangOnVoip", "startVoip", "hangUpVoip", "endVoip", "finishVoip"]
    assert walk.data(Side.CALLER, "hangUpVoip") == {
        "keepTime": 12,
        "status": "endByCaller",
        "origin": "manual",
    }
    assert walk.data(Side.LISTENER, "hangUpVoip")["origin"] == "other"
    assert walk.data(Side.LISTENER, "finishVoip") == {"keepTime": 12}
    assert walk.call.end is End.HANGUP


def test_hung_up_by_listener() -> None:
    walk = talking()
    walk.give(Input(Kind.LISTENER_HANGS_UP, origin="unloadCallPage"), after=1)
    assert walk.data(Side.LISTENER, "hangUpVoip") == {
        "keepTime": 1,
        "status": "endByListener",
        "origin": "unloadCallPage",
    }
    assert walk.data(Side.CALLER, "hangUpVoip")["origin"] == "other"


@pytest.mark.parametrize("kind", [Kind.REJECT, Kind.LISTENER_HANGS_UP])
def test_rejected(kind: Kind) -> None:
    walk = ringing()
    walk.give(Input(kind, origin="forceFromApp"))
    assert walk.caller[-2:] == ["rejectVoip", "endVoip"]
    assert walk.listener == ["rejectVoip", "endVoip"]
    assert walk.data(Side.CALLER, "rejectVoip") == {"status": "other"}
    assert walk.data(Side.LISTENER, "rejectVoip") == {"status": "forceFromApp"}
    assert walk.call.end is End.REJECTED


def test_listener_hangs_up_while_waiting_for_caller_is_a_rejection() -> None:
    walk = Walk()
    walk.give(Kind.ANSWER, Kind.LISTENER_IN)
    assert walk.call.state is State.LISTENER_WAITING
    walk.give(Kind.LISTENER_HANGS_UP)
    assert walk.listener == ["hangOnVoip", "rejectVoip", "endVoip"]
    assert walk.caller == ["rejectVoip", "endVoip"]


def test_busy() -> None:
    walk = ringing()
    walk.give(Kind.BUSY)
    assert walk.caller[-3:] == ["joinedRoomByCaller", "busy", "endVoip"]
    assert walk.listener == ["endVoip"]


@pytest.mark.parametrize("origin", ["manual", "unloadCallPage", "forceFromApp"])
def test_cancelled(origin: str) -> None:
    walk = ringing()
    walk.give(Input(Kind.CALLER_HANGS_UP, origin=origin))
    assert walk.data(Side.CALLER, "cancelVoip") == {"status": origin}
    assert walk.data(Side.LISTENER, "cancelVoip") == {"status": "other"}
    assert walk.listener == ["cancelVoip", "endVoip"]
    assert walk.call.end is End.CANCELLED


def test_nobody_answers() -> None:
    walk = ringing()
    walk.wait(59.9)
    assert walk.call.state is State.RINGING
    walk.wait(0.1)
    assert walk.caller[-2:] == ["timeout", "endVoip"]
    assert walk.listener == ["timeout", "endVoip"]
    assert walk.call.end is End.TIMEOUT


def test_ring_time_of_the_call_counts_from_create() -> None:
    walk = Walk(replace(DURATIONS, ring_s=5))
    walk.give(Kind.CALLER_JOINS, Kind.CALLER_IN, after=4)
    walk.wait(1)
    assert walk.call.end is End.TIMEOUT


@pytest.mark.parametrize("joins", [False, True])
def test_caller_never_comes_in(joins: bool) -> None:
    walk = Walk()
    if joins:
        walk.give(Kind.CALLER_JOINS, after=10)
    walk.wait(20)
    assert walk.caller[-3:] == ["joinFailCaller", "abortVoip", "endVoip"]
    assert walk.listener == ["abortVoip", "endVoip"]
    assert walk.data(Side.CALLER, "abortVoip")["status"] == "abortByCaller"
    assert walk.data(Side.LISTENER, "abortVoip") == {
        "keepTime": 0,
        "status": "unknown",
        "error": {"errMsg": "room status is abort"},
    }
    assert walk.call.ended == 1020.0, "at the deadline, however late it was noticed"


def test_one_failed_attempt_is_not_the_end() -> None:
    walk = Walk()
    walk.give(Kind.CALLER_JOINS, Input(Kind.CALLER_RETRIES, error="DTLS failed"))
    assert walk.data(Side.CALLER, "joinFailCaller") == {"errMsg": "DTLS failed", "retrying": True}
    walk.give(Kind.CALLER_JOINS, Kind.CALLER_IN)
    assert walk.call.state is State.RINGING
    walk.give(Kind.ANSWER, Kind.LISTENER_RETRIES, Kind.LISTENER_IN)
    assert walk.call.state is State.TALKING
    assert walk.data(Side.LISTENER, "joinFailListener")["retrying"] is True


def test_caller_absent_after_answer() -> None:
    walk = Walk()
    walk.give(Kind.ANSWER, Kind.LISTENER_IN, after=5)
    walk.wait(20)
    assert walk.data(Side.LISTENER, "abortVoip") == {
        "keepTime": 0,
        "status": "abortByListener",
        "error": {"errMsg": "listener waitOtherToJoin timeout"},
    }
    assert walk.data(Side.CALLER, "abortVoip")["status"] == "unknown"


def test_listener_cannot_join() -> None:
    walk = ringing()
    walk.give(Kind.ANSWER, after=30)
    walk.wait(20)
    assert walk.listener == ["hangOnVoip", "joinFailListener", "abortVoip", "endVoip"]
    assert walk.caller[-2:] == ["abortVoip", "endVoip"]
    assert walk.data(Side.LISTENER, "abortVoip")["status"] == "abortByListener"


def test_early_answer_then_caller_comes() -> None:
    walk = Walk()
    walk.give(Kind.ANSWER, Kind.LISTENER_IN, Kind.CALLER_JOINS, Kind.CALLER_IN)
    assert walk.call.state is State.TALKING
    assert walk.caller == ["callPageOnShow", "joinedRoomByCaller", "startVoip"]
    walk = Walk()
    walk.give(Kind.CALLER_JOINS, Kind.ANSWER, Kind.CALLER_IN)
    assert walk.call.state is State.LISTENER_JOINING
    walk.give(Kind.LISTENER_IN)
    assert walk.call.state is State.TALKING


def test_time_limit_counts_from_start() -> None:
    walk = ringing(replace(DURATIONS, limit_s=10))
    walk.give(Kind.ANSWER, Kind.LISTENER_IN, after=50)
    walk.wait(9.9)
    assert walk.call.state is State.TALKING
    walk.wait(5)
    for side in Side:
        assert walk.data(side, "hangUpVoip") == {
            "keepTime": 10,
            "status": "endByCaller",
            "origin": "timeLimit",
        }
    assert walk.call.end is End.TIME_LIMIT


@pytest.mark.parametrize(
    ("kind", "gone", "status"),
    [
        (Kind.CALLER_LOST, Side.CALLER, "abortByCaller"),
        (Kind.LISTENER_LOST, Side.LISTENER, "abortByListener"),
    ],
)
def test_one_side_lost(kind: Kind, gone: Side, status: str) -> None:
    walk = talking()
    walk.give(kind, after=7)
    walk.give(Kind.SETTLE)
    living = Side.LISTENER if gone is Side.CALLER else Side.CALLER
    assert walk.data(living, "abortVoip") == {
        "keepTime": 7,
        "status": "unknown",
        "error": {"errMsg": "room status is abort"},
    }
    assert walk.data(gone, "abortVoip")["status"] == status
    assert walk.names(living)[-3:] == ["abortVoip", "endVoip", "finishVoip"]


def test_forced_by_operator() -> None:
    walk = ringing()
    walk.give(Kind.FORCE)
    assert walk.data(Side.CALLER, "cancelVoip") == {"status": "forceFromApp"}
    walk = talking()
    walk.give(Kind.FORCE, after=2)
    assert walk.data(Side.LISTENER, "hangUpVoip")["origin"] == "forceFromApp"
    assert walk.call.end is End.FORCED


# --- races: whoever comes first has it, and the other input changes nothing ---


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        (Kind.CALLER_HANGS_UP, Kind.ANSWER, End.CANCELLED),
        (Kind.REJECT, Kind.ANSWER, End.REJECTED),
        (Kind.REJECT, Kind.CALLER_HANGS_UP, End.REJECTED),
        (Kind.CALLER_HANGS_UP, Kind.REJECT, End.CANCELLED),
        (Kind.BUSY, Kind.ANSWER, End.BUSY),
    ],
)
def test_race_while_ringing(first: Kind, second: Kind, end: End) -> None:
    walk = ringing()
    assert walk.give(first)
    heard = walk.caller, walk.listener
    assert not walk.give(second)
    assert (walk.caller, walk.listener) == heard
    assert walk.call.end is end


def test_cancel_after_answer_is_still_a_cancel() -> None:
    walk = ringing()
    walk.give(Kind.ANSWER)
    assert walk.give(Kind.CALLER_HANGS_UP)
    assert walk.call.end is End.CANCELLED
    assert walk.listener == ["hangOnVoip", "cancelVoip", "endVoip"]


def test_both_hang_up_at_once() -> None:
    walk = talking()
    assert walk.give(Kind.LISTENER_HANGS_UP)
    assert not walk.give(Kind.CALLER_HANGS_UP)
    assert walk.caller.count("hangUpVoip") == walk.listener.count("endVoip") == 1
    assert walk.data(Side.CALLER, "hangUpVoip")["status"] == "endByListener"


def test_second_answer_is_not_taken() -> None:
    walk = ringing()
    assert walk.give(Kind.ANSWER)
    assert not walk.give(Kind.ANSWER)
    assert walk.listener == ["hangOnVoip"]


def test_answer_at_the_ring_time_has_lost() -> None:
    walk = ringing()
    assert not walk.give(Kind.ANSWER, after=60)
    assert walk.call.end is End.TIMEOUT
    assert "hangOnVoip" not in walk.listener


def test_reject_during_talk_is_not_taken() -> None:
    walk = talking()
    assert not walk.give(Kind.REJECT)
    assert walk.call.state is State.TALKING


# --- the table itself ---


def test_every_state_but_the_last_can_be_left() -> None:
    left = {state for row in TABLE for state in row.states if row.to not in (None, state)}
    assert left == set(State) - {State.SETTLED}


def test_every_state_before_the_talk_has_a_way_out_by_time() -> None:
    for state in State:
        if state not in (State.TALKING, *OVER):
            assert TIMERS[state], f"a call may hang in {state}"
    for state, timers in TIMERS.items():
        for timer in timers:
            assert any((state, timer, presence) in CELLS for presence in Presence)


def test_every_end_names_its_reason_to_at_least_one_side() -> None:
    for row in TABLE:
        names = {emit.name for emit in row.caller + row.listener}
        assert bool(row.end) == bool(names & REASON_EVENTS)
        assert (row.to is State.ENDED) == bool(row.end)
        assert "endVoip" not in names


def test_every_pair_of_state_and_input() -> None:
    for state in State:
        for presence in Presence:
            for kind in Kind:
                call = Call(DURATIONS, 0.0, state, presence, started=1.0)
                step = table.receive(call, Input(kind), 5.0)
                assert step.taken == ((state, kind, presence) in CELLS)
                if not step.taken:
                    assert step.call == call
                    assert step.caller == step.listener == ()


# --- random walks ---

INPUTS = st.tuples(st.sampled_from(sorted(set(Kind))), st.floats(0, 40))


@settings(max_examples=400, deadline=None)
@given(st.lists(INPUTS, max_size=30), st.one_of(st.none(), st.floats(0.5, 50)))
def test_any_walk_keeps_the_promises(inputs: list[tuple[Kind, float]], limit_s: float | None) -> None:
    walk = Walk(replace(DURATIONS, limit_s=limit_s))
    states = [walk.call.state]
    timers = {kind for kind in Kind if kind.value.endswith("_timer")}
    for kind, pause in inputs:
        if kind in timers:
            walk.wait(pause)
        else:
            before = walk.call
            walk.give(kind, after=pause)
            if before.end is not None:
                assert walk.call.end is before.end, "the reason is fixed"
                assert walk.call.ended == before.ended
        states.append(walk.call.state)
        assert all(when > walk.now for when in walk.call.deadlines.values())
    walk.give(Kind.FORCE)
    walk.give(Kind.SETTLE)
    assert walk.call.state is State.SETTLED
    assert walk.call.deadline() is None
    for side in Side:
        names = walk.names(side)
        assert names.count("endVoip") == 1
        assert names[-2:] == ["endVoip", "finishVoip"]
        assert names.count("startVoip") == (walk.call.started is not None)
        assert sum(name in REASON_EVENTS for name in names) <= 1
        for event in walk.heard[side]:
            assert event.data.get("keepTime", 0) >= 0
    # States are in the order of a call's life; none is entered again.
    order = list(State)
    assert all(order.index(a) <= order.index(b) for a, b in pairwise(states))
