"""Own calls of several listeners, and what a program is told of every call: each event once, whatever happens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.client import Device, Event, Exit, Listener, Media, Profile

from .peer import SmallRelay, running, until

SMALL = Media(width=320, height=240, fps=15)


@contextlib.asynccontextmanager
async def device(relay: SmallRelay, **options: Any) -> AsyncIterator[tuple[Device, list[Event]]]:
    """A device, and the events it tells."""
    events: list[Event] = []
    async with Device("SN-1", relay.url, **({"media": SMALL, "on_event": events.append} | options)) as made:
        yield made, events


def names(events: list[Event]) -> list[str]:
    return [event.eventName for event in events if event.eventName != "calling"]


def create_of(relay: SmallRelay) -> dict[str, Any]:
    body = next(body for _, path, body, _ in relay.requests if path == "/v1/calls")
    assert isinstance(body, dict)
    return body


def test_several_listeners_ring_and_the_one_who_rings_is_shown() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events):
            peers: list[str] = []
            made.on_change = lambda changed: peers.append(f"{changed.phase} {changed.peer_name}")
            called = ["ann", Listener("bob", ring_timeout_s=9)]
            async with running(made.call(called, strategy="sequential", voice=True, time_limit_s=60)) as calling:
                await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
                relay.tell("listenerChanged", listenerId="ann", listenerName="Ann", index=0)
                relay.tell("listenerChanged", listenerId="bob", listenerName="Bob", index=1)
                relay.tell("startVoip")
                await until(lambda: made.phase == "talking")
                relay.end("hangUpVoip", origin="timeLimit", keep_s=60)
                outcome = await calling
            assert (outcome.exit, outcome.peer) == (Exit.COMPLETED, "bob")
            assert "time limit" in outcome.words
            assert peers == ["calling ann, bob", "calling Ann", "calling Bob", "talking Bob", "idle "]
            body = create_of(relay)
            assert [listener["id"] for listener in body["listeners"]] == ["ann", "bob"]
            assert body["listeners"][1]["ringTimeout"] == 9
            assert (body["strategy"], body["timeLimit"]) == ("sequential", 60)
            assert names(events) == ["listenerChanged", "listenerChanged", "startVoip", "hangUpVoip", "endVoip"]

    asyncio.run(main())


def test_the_relay_s_name_and_profile_of_the_other_side_are_shown() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, _):
            relay.created = {
                "listener": {"id": "bob", "name": "Bob's phone", "cameraStatus": 0, "kind": "user"},
                "listenerProfile": {"camera_rotation": 1, "cameraRotation": 180},
                "callerProfile": None,
            }
            async with running(made.call("bob", voice=True, camera=False)):
                await until(lambda: made.peer_profile)
                assert (made.peer, made.peer_name, made.peer_profile) == ("bob", "Bob's phone", Profile(180))
                assert create_of(relay)["caller"]["cameraStatus"] == 1

    asyncio.run(main())


def test_nobody_to_call_is_a_fault_of_the_program() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, _):
            with pytest.raises(ValueError, match="somebody"):
                await made.call([])
            assert made.phase == "idle"

    asyncio.run(main())


def test_an_end_that_overtakes_the_answer_to_create_is_the_call_s_end() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events):
            heard = asyncio.Event()
            made.on_event = lambda event: (events.append(event), heard.set() if event.eventName == "endVoip" else None)

            def at_once() -> None:
                relay.end("busy")

            relay.before_created = at_once
            relay.hold["calls"] = heard  # the answer leaves when the events have arrived
            outcome = await made.call("bob", voice=True)
            assert (outcome.exit, outcome.words) == (Exit.NOT_ANSWERED, "the other side is in another call")
            assert names(events) == ["busy", "endVoip"]
            assert "fail" not in relay.actions

    asyncio.run(main())


@pytest.mark.parametrize("own", [True, False], ids=["caller", "listener"])
def test_each_second_of_a_talk_is_told_on_both_sides(own: bool) -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events), contextlib.AsyncExitStack() as stack:
            if own:
                await stack.enter_async_context(running(made.call("bob", voice=True)))
            else:
                relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            relay.tell("startVoip")
            await until(lambda: sum(event.eventName == "calling" for event in events) >= 2)
            relay.end("hangUpVoip", origin="other", keep_s=2)
            await until(lambda: made.phase == "idle")
            ticks = [event for event in events if event.eventName == "calling"]
            kept = [(event.data or {})["keepTime"] for event in ticks]
            assert kept == sorted(set(kept)), "each second once; a stalled machine may skip some"
            assert kept[0] >= 1
            assert {event.roomId for event in ticks} == {event.groupId for event in ticks} == {"room-1"}
            told = [event.eventName for event in events]
            assert told.index("startVoip") < told.index("calling")
            assert told[-2:] == ["hangUpVoip", "endVoip"], "no second is told after the end"

    asyncio.run(main())


def test_the_talk_begins_when_the_relay_says_so_also_after_an_outage() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events):
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            async with relay.away():
                relay.tell("startVoip")
                began = asyncio.get_running_loop().time()
                await until(lambda: relay.refused["events"] >= 3, "a while")
                passed_s = asyncio.get_running_loop().time() - began
            await until(lambda: made.phase == "talking")
            assert made.talked_s >= passed_s
            assert names(events).count("startVoip") == 1

    asyncio.run(main())


def test_no_event_is_lost_or_told_twice_in_a_call_with_outages() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events):
            told: list[str] = []

            async def say(name: str, **data: Any) -> None:
                """Half of them while the connection is cut."""
                told.append(name)
                if len(told) % 2:
                    async with relay.away():
                        relay.tell(name, **data)
                else:
                    relay.tell(name, **data)
                await until(lambda: names(events)[-1:] == [name], name)

            await say("incomingCall", callerId="alice", roomType="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            for name in ("hangOnVoip", "startVoip"):
                await say(name)
            await say("hangUpVoip", origin="other")
            await say("endVoip", keepTime=1)
            await until(lambda: made.phase == "idle")
            await say("finishVoip", keepTime=1)
            assert names(events) == told
            assert made.last is not None
            assert made.last.exit is Exit.COMPLETED

    asyncio.run(main())


def test_a_start_that_was_forgotten_in_an_outage_is_asked_for() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, events):
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            async with relay.away():
                relay.tell("startVoip")
                relay.forgotten = 3
                relay.state, relay.keep_s = "TALKING", 5
            await until(lambda: made.phase == "talking")
            assert made.talked_s >= 5
            assert names(events) == ["incomingCall", "startVoip"]
            relay.tell("startVoip")  # a relay that says it all the same
            relay.end("hangUpVoip", origin="other", keep_s=7)
            assert (await made.outcome()).keep_s == 7
            assert names(events) == ["incomingCall", "startVoip", "hangUpVoip", "endVoip"]
            assert any("forgot" in note for note in made.notes)

    asyncio.run(main())


def test_an_end_that_was_forgotten_is_told_once_with_the_relay_s_reason() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, answer="manual") as (made, events):
            relay.ring()
            await until(lambda: made.phase == "ringing")
            async with relay.away():
                relay.end("cancelVoip", status="other")
                relay.forgotten = 4
                relay.state, relay.reason = "SETTLED", "the caller hung up before the answer"
            outcome = await made.outcome()
            assert (outcome.exit, outcome.words) == (Exit.NOT_ANSWERED, "the caller hung up before the answer")
            relay.tell("endVoip", keepTime=0)  # too late: it was told already
            relay.tell("finishVoip", keepTime=0)
            await until(lambda: names(events)[-1] == "finishVoip")
            assert names(events) == ["incomingCall", "endVoip", "finishVoip"]

    asyncio.run(main())


def test_a_full_relay_is_asked_again_when_it_said_so() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as (made, _):
            relay.refuse["legs"] = (503, {"errCode": 5, "errMsg": "worker restarting", "retryAfter": "1"})

            def relent(method: str, action: str) -> None:
                if action == "join":
                    relay.refuse.clear()

            relay.on_request = relent
            began = asyncio.get_running_loop().time()
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0, "media after the retry")
            assert asyncio.get_running_loop().time() - began >= 1, "not sooner than the relay wished"
            assert made.phase == "joining"

    asyncio.run(main())


def test_a_call_that_ends_while_it_is_being_answered_opens_no_leg() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, answer="manual") as (made, _):
            relay.hold["answer"] = asyncio.Event()
            relay.ring()
            await until(lambda: made.phase == "ringing")
            async with running(made.answer()) as answering:
                await until(lambda: "answer" in relay.actions)
                relay.end("cancelVoip", status="other")
                await until(lambda: made.phase == "idle")
                relay.hold["answer"].set()
                await answering
            relay.ring(callerId="bob")
            await until(lambda: made.phase == "ringing")
            assert "legs" not in relay.actions

    asyncio.run(main())


def test_a_device_that_comes_late_hears_of_the_call_that_rings() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.ring()
            async with device(relay, answer="manual") as (made, _):
                await until(lambda: made.phase == "ringing")
                assert made.peer == "alice"

    asyncio.run(main())
