"""Random walks: a hundred thousand steps through the state table, and some thousand through the whole call service.

Whatever happens in whatever order and at whatever time, each call keeps the promises of `relay/calls/call.py`: one end
reason; `endVoip` once a side, after the reason event and before `finishVoip`, which is the last word; no `keepTime`
below zero; and no state in which a call can hang. Seeded: a failure names its walk and happens again.
"""

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import floor
from typing import Any

import pytest

from calls.scene import OFFER, Ear, Scene
from relay.calls import call as table
from relay.calls.call import CELLS, TABLE, TIMERS, Call, Durations, End, Event, Input, Kind, Presence, Side, State
from relay.calls.invitation import Invitation, Listener, Party, Person
from relay.errors import ApiError
from relay.media.messages import CONSENT_EXPIRED, MediaError

STEPS = 100_000
FIRED = [kind for kind in Kind if any(kind in timers for timers in TIMERS.values())]
GIVEN = [kind for kind in Kind if kind not in FIRED]
ORIGINS = ("manual", "unloadCallPage", "forceFromApp")
REASON_EVENTS = {"cancelVoip", "rejectVoip", "timeout", "busy", "hangUpVoip", "abortVoip"}
LIVE = tuple(state for state in State if state not in (State.ENDED, State.SETTLED))


@dataclass
class Story:
    """One call's walk: the call, its time, and what was heard."""

    call: Call
    now: float
    heard: dict[Side, list[Event]] = field(default_factory=lambda: {side: [] for side in Side})
    rows: Counter[int] = field(default_factory=Counter)  # those that were taken, by their place in memory

    def give(self, given: Input) -> None:
        before = self.call
        step = table.receive(before, given, self.now)
        self._check(before, step)
        row = CELLS.get((before.state, given.kind, before.caller))
        if step.taken and row is not None:
            self.rows[id(row)] += 1

    def wait(self) -> None:
        before = self.call
        step = table.timeout(before, self.now)
        for timer, when in before.deadlines.items():
            if when <= self.now and when == min(before.deadlines.values()):
                self.rows[id(CELLS[before.state, timer, before.caller])] += 1
        self._check(before, step)

    def _check(self, before: Call, after: table.Step) -> None:
        call = self.call = after.call
        self.heard[Side.CALLER] += after.caller
        self.heard[Side.LISTENER] += after.listener
        order = list(State)
        assert order.index(call.state) >= order.index(before.state), "a call never goes back"
        assert all(when > self.now for when in call.deadlines.values()), "a timer that is due has fired"
        if before.end is not None:
            assert (call.end, call.ended, call.started) == (before.end, before.ended, before.started)
        assert (call.end is None) == (call.state in LIVE)
        if call.state in LIVE and call.state is not State.TALKING:
            assert call.deadline() is not None, f"a call may hang in {call.state}"
        for event in (*after.caller, *after.listener):
            assert event.data.get("keepTime", 0) >= 0


def begin(rng: random.Random) -> Story:
    limit_s = rng.choice((None, 1.0, 10.0, 7.25, 3600.0))
    durations = Durations(rng.choice((5.0, 45.0, 300.0)), rng.choice((1.0, 20.0)), rng.choice((1.0, 20.0)), limit_s)
    now = rng.uniform(0, 5000)
    return Story(table.create(durations, now), now)


def step(rng: random.Random, story: Story) -> None:
    """Time goes on somehow, then something happens, likely something that the table knows."""
    deadline = story.call.deadline()
    match rng.randrange(8):
        case 0 if deadline is not None:
            story.now = deadline
        case 1 if deadline is not None:
            story.now = max(story.now, deadline - 1e-6)
        case 2:
            story.now += rng.uniform(0, 30)
        case 3 | 4:
            story.now += rng.uniform(0, 0.5)
    if rng.random() < 0.1:
        story.wait()
        return
    possible = [kind for kind in GIVEN if (story.call.state, kind, story.call.caller) in CELLS]
    coming = {Kind.CALLER_JOINS, Kind.CALLER_IN, Kind.ANSWER, Kind.LISTENER_IN}.intersection(possible)
    choice = rng.random()
    if coming and choice < 0.45:  # else most walks would end before the talk
        kind = rng.choice(sorted(coming))
    else:
        kind = rng.choice(possible if possible and choice < 0.65 else GIVEN)
    story.give(Input(kind, rng.choice(ORIGINS), rng.choice(("", "no camera")), 1002, rng.uniform(0, 40)))


def assert_ended_well(story: Story) -> None:
    call = story.call
    assert call.end is not None
    for side in Side:
        names = [event.name for event in story.heard[side]]
        assert names.count("endVoip") == names.count("finishVoip") == 1
        assert names[-2:] == ["endVoip", "finishVoip"]
        reasons = [name for name in names if name in REASON_EVENTS]
        assert len(reasons) <= 1
        assert reasons == [] or names[-3] == reasons[0], "the reason event comes right before endVoip"
        assert names.count("startVoip") == (call.started is not None)
        over, settled = story.heard[side][-2].data["keepTime"], story.heard[side][-1].data["keepTime"]
        assert 0 <= settled <= over
        assert call.started is not None or over == 0
        if call.end is End.TIME_LIMIT:
            assert over == floor(call.durations.limit_s or 0), "a limit of ten seconds is ten seconds of talk"
    named = {event.name for events in story.heard.values() for event in events}
    assert named & REASON_EVENTS, "at least one side is told why"


def test_a_hundred_thousand_steps_through_the_table() -> None:
    rng = random.Random(2024)
    rows: Counter[int] = Counter()
    ends: Counter[End] = Counter()
    story = begin(rng)
    for _ in range(STEPS):
        step(rng, story)
        if story.call.state is State.SETTLED or (story.call.end is not None and rng.random() < 0.5):
            if story.call.state is State.ENDED:
                story.give(Input(Kind.SETTLE))
            assert_ended_well(story)
            ends[story.call.end or End.ABORT] += 1
            rows += story.rows
            story = begin(rng)
    assert set(ends) == set(End), "the walk reaches every end"
    never = [row for row in TABLE if not rows[id(row)]]
    assert not never, "the walk uses every row of the table"


def test_every_state_is_left_by_time_alone() -> None:
    """From wherever a walk gets, waiting is enough: only a talk without a time limit needs its media to end it."""
    rng = random.Random(7)
    seen: set[tuple[State, Presence]] = set()
    for _ in range(3_000):
        story = begin(rng)
        for _ in range(rng.randrange(12)):
            step(rng, story)
        call = story.call
        seen.add((call.state, call.caller))
        for _ in range(3):  # each deadline starts the next state's timers at most twice
            later = table.timeout(call, story.now + 10_000)
            call = later.call
        if call.end is None:
            assert (call.state, call.durations.limit_s) == (State.TALKING, None)
            gone = table.receive(call, Input(Kind.LISTENER_LOST), story.now + 10_000)
            assert gone.call.end is End.ABORT
    assert {state for state, _ in seen} == set(State)


# --- through the service ---

DEVICES = [Party("device", f"d{number}") for number in range(6)]
USERS = [Party("user", f"u{number}") for number in range(6)]


class World:
    """Some devices and users who call each other at random, and all that they hear."""

    def __init__(self, stage: Scene, rng: random.Random) -> None:
        self.stage = stage
        self.rng = rng
        self.ears: dict[Party, Ear] = {party: stage.ear(party) for party in (*DEVICES, *USERS)}
        self.read: Counter[Party] = Counter()
        self.inside: dict[Party, set[str]] = defaultdict(set)  # rooms whose endVoip is still to come
        self.heard: dict[tuple[Party, str], list[dict[str, Any]]] = defaultdict(list)
        self.rooms: list[str] = []
        self.callers: dict[str, Party] = {}

    async def step(self) -> None:
        actions = (
            (self.create, 6), (self.create_two, 1), (self.enter, 24), (self.answer, 14), (self.media, 3),
            (self.reject, 2), (self.hang_up, 2), (self.fail, 1), (self.wait, 4),
        )  # fmt: skip
        action = self.rng.choices([a for a, _ in actions], [weight for _, weight in actions])[0]
        try:
            await action()
        except (ApiError, MediaError):
            pass  # refused, which changes nothing
        self.listen()

    def listen(self) -> None:
        """Read what is new; a party may be in one call at a time only."""
        for party, ear in self.ears.items():
            for frame in ear.frames[self.read[party] :]:
                name, room = frame["eventName"], frame["roomId"]
                self.heard[party, room].append(frame)
                if name == "endVoip":
                    self.inside[party].discard(room)
                elif name not in ("finishVoip", "busy"):
                    self.inside[party].add(room)
                assert len(self.inside[party] - self.ending(party)) <= 1, f"{party} is in two calls"
            self.read[party] = len(ear.frames)

    def ending(self, party: Party) -> set[str]:
        """Rooms of which more was heard already than was read: their end may be among it."""
        return {
            frame["roomId"] for frame in self.ears[party].frames[self.read[party] :] if frame["eventName"] == "endVoip"
        }

    # --- what happens ---

    def invitation(self) -> Invitation:
        rng = self.rng
        to_user = rng.random() < 0.5
        callers, called = (DEVICES, USERS) if to_user else (USERS, DEVICES)
        people = [Listener(p.id, ring_timeout=rng.choice((None, 5.0))) for p in rng.sample(called, rng.choice((1, 3)))]
        return Invitation(
            direction="device_to_user" if to_user else "user_to_device",
            room_type="video",
            caller=Person(rng.choice(callers).id),
            listeners=tuple(people),
            strategy=rng.choice(("sequential", "simultaneous")),
            target=None if to_user else "device",
            time_limit=rng.choice((None, 4.0)),
        )

    async def create(self) -> None:
        asked = self.invitation()
        live = await self.stage.service.create(asked)
        if live.room not in self.callers:
            self.rooms.append(live.room)
            self.callers[live.room] = asked.caller_party

    async def create_two(self) -> None:
        """At the same time, so that they meet in the store."""
        await asyncio.gather(self.create(), self.create(), return_exceptions=True)

    def room(self) -> str:
        """Mostly one that lives."""
        live = [room for room in self.rooms if any(room in inside for inside in self.inside.values())]
        if live and self.rng.random() < 0.9:
            return self.rng.choice(live)
        return self.rng.choice(self.rooms[-20:] or ["none"])

    def anybody(self) -> Party:
        return self.rng.choice((*DEVICES, *USERS))

    def party(self, room: str) -> Party:
        """Mostly one of the call's own."""
        own = [party for (party, where) in self.heard if where == room] or [self.anybody()]
        return self.rng.choice(own) if self.rng.random() < 0.9 else self.anybody()

    async def enter(self) -> None:
        room, side = self.room(), self.rng.choice(tuple(Side))
        if self.rng.random() < 0.05:
            await self.stage.service.open_leg(room, side, "nonsense")
        ice, _ = await self.stage.service.open_leg(room, side, OFFER)
        if self.rng.random() < 0.9:
            self.stage.media.say(ice.leg, "connected")

    async def media(self) -> None:
        legs = list(self.stage.media.legs)
        if legs:
            state = self.rng.choice(("connected", "connected", "lost", "failed", "closed"))
            reason = CONSENT_EXPIRED if state == "lost" else ""
            self.stage.media.say(self.rng.choice(legs), state, reason)  # type: ignore[arg-type]

    async def answer(self) -> None:
        room = self.room()
        self.stage.service.answer(room, self.party(room))

    async def reject(self) -> None:
        room = self.room()
        self.stage.service.reject(room, self.party(room), self.rng.choice((*ORIGINS, "busy")))  # type: ignore[arg-type]

    async def hang_up(self) -> None:
        room = self.room()
        party = None if self.rng.random() < 0.2 else self.party(room)
        self.stage.service.hang_up(room, party, self.rng.choice(ORIGINS))  # type: ignore[arg-type]

    async def fail(self) -> None:
        room = self.room()
        self.stage.service.fail(room, self.party(room), "no camera")

    async def wait(self) -> None:
        self.stage.now += self.rng.choice((0.0, 0.2, 3.0, 5.0, 25.0))
        if self.rng.random() < 0.7:  # else the timers are late
            self.stage.service.expire()

    # --- the end ---

    async def finish(self) -> None:
        self.stage.wait(1_000)
        for room in self.rooms:
            try:
                self.stage.service.hang_up(room, None)  # talks without a limit
            except ApiError:
                pass  # long over
        self.listen()
        for _ in range(5):
            await asyncio.sleep(0)

    def assert_all_ended_well(self) -> None:
        assert not any(self.inside.values())
        for (party, room), frames in self.heard.items():
            names = [frame["eventName"] for frame in frames]
            assert names.count("endVoip") == names.count("finishVoip") == 1, (party, names)
            assert names[-2:] == ["endVoip", "finishVoip"], (party, names)
            assert sum(name in REASON_EVENTS for name in names) <= 1, (party, names)
            assert names.count("startVoip") <= 1
            assert names.count("incomingCall") == (party != self.callers.get(room, party)), (party, names)
            assert len({frame["reason"] for frame in frames if "reason" in frame}) == 1
            over, settled = (frame["data"]["keepTime"] for frame in frames[-2:])
            assert 0 <= settled <= over
        for room, caller in self.callers.items():
            assert self.heard[caller, room], "the caller always hears how it ended"


@pytest.mark.parametrize("seed", range(4))
def test_calls_at_random_through_the_whole_service(seed: int) -> None:
    async def run() -> None:
        stage = Scene(event_buffer=10_000, max_records=10_000)
        await stage.plane.start()
        world = World(stage, random.Random(seed))
        for _ in range(3_000):
            await world.step()
        await world.finish()
        world.assert_all_ended_well()
        reached = {frame["eventName"] for frames in world.heard.values() for frame in frames}
        assert {"startVoip", "busy", "timeout", "hangUpVoip", "abortVoip", "rejectVoip", "cancelVoip"} <= reached
        service = stage.service
        assert len(service) == 0
        assert not service._live
        assert not service._in_call
        assert not service._creating
        assert not len(service.legs)
        assert not stage.media.legs
        await service.close()
        assert not service._tasks
        await stage.plane.close()

    asyncio.run(run())
