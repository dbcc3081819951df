"""Incoming rings: what the notice says, the ways to hear of one, and the ways to deal with one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from relay.client import Device, Event, Exit, Media, Profile, Ring

from .peer import SmallRelay, running, until

SMALL = Media(width=320, height=240, fps=15)

NOTICE: dict[str, Any] = {
    "callerKind": "user",
    "callerCameraStatus": 1,
    "listenerName": "Door",
    "listenerKind": "device",
    "listenerCameraStatus": 0,
    "query": "door=2&why=a%26b",
    "ringTimeout": 30,
    "timeLimit": None,
    "businessType": 2,
    "callerProfile": None,
    "listenerProfile": {"cameraRotation": 90, "aspectRatio": None, "objectFit": "contain"},
    "encodeVideo": {"fixedLength": 480, "rotation": 1, "ratio": 75, "maxFPS": 12},
    "path": "/call.html?roomType=video&groupId=room-1&listenerId=SN-1&callerName=Alice&callerId=alice&door=2",
    "appType": 2,
    "appid": "wx1",
}


@contextlib.asynccontextmanager
async def device(relay: SmallRelay, **options: Any) -> AsyncIterator[Device]:
    async with Device("SN-1", relay.url, **({"media": SMALL, "answer": "manual"} | options)) as made:
        yield made


def test_a_ring_tells_all_of_its_notice() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            rings: list[Ring] = []
            made.on_ring = rings.append
            relay.ring(**NOTICE)
            await until(lambda: rings)
            (ring,) = rings
            assert made.incoming is ring
            assert (ring.caller, ring.caller_name, ring.caller_kind, ring.voice) == ("alice", "Alice", "user", False)
            assert (ring.caller_camera, ring.listener_camera) == (False, True)
            assert (ring.listener, ring.listener_name, ring.listener_kind) == ("SN-1", "Door", "device")
            assert ring.parameters == {"door": "2", "why": "a&b"}
            assert (ring.ring_timeout_s, ring.time_limit_s, ring.business_type) == (30, 0, 2)
            assert ring.caller_profile is None
            assert ring.listener_profile == Profile(camera_rotation=90, object_fit="contain")
            assert (ring.encode_video.fixed_length, ring.encode_video.max_fps) == (480, 12)
            assert ring.path.startswith("/call.html?")
            assert (ring.app_type, ring.appid) == (2, "wx1")
            assert not ring.over

    asyncio.run(main())


def test_an_odd_notice_rings_all_the_same() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(callerName=7, query=None, callerProfile={"cameraRotation": "up"}, encodeVideo=[], appType="x")
            await until(lambda: made.incoming)
            assert made.incoming is not None
            assert made.incoming.caller_name == "alice"
            assert (made.incoming.query, made.incoming.caller_profile, made.incoming.app_type) == ("", None, 0)

    asyncio.run(main())


def test_rings_are_iterated_one_call_after_the_other_until_the_device_closes() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.on_request = lambda method, action: (
                relay.end("rejectVoip", status="manual") if action == "reject" else None
            )
            seen: list[str] = []

            async def take(made: Device) -> None:
                async for ring in made.incoming_calls():
                    await ring.reject()
                    seen.append((await ring.outcome()).words)
                    assert ring.over
                    await ring.reject()  # nothing happens

            async with device(relay) as made:
                relay.ring()
                await until(lambda: made.incoming, "rings before anybody iterates")
                taking = asyncio.ensure_future(take(made))
                await until(lambda: len(seen) == 1)
                relay.ring()
                await until(lambda: len(seen) == 2)
                assert seen == ["this device rejected the call"] * 2
                assert relay.actions.count("reject") == 2
            await taking

    asyncio.run(main())


def test_a_ring_that_ended_unseen_is_left_out() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(callerId="early")
            relay.end("cancelVoip", status="other")
            assert "cancelled" in (await made.outcome()).words
            relay.ring(callerId="late")
            async for ring in made.incoming_calls():
                assert ring.caller == "late"
                break

    asyncio.run(main())


def test_busy_is_told_to_the_caller_and_is_the_call_s_end() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.on_request = lambda method, action: relay.tell("endVoip", keepTime=0) if action == "reject" else None
            relay.ring()
            await until(lambda: made.incoming)
            assert made.incoming is not None
            await made.incoming.busy()
            outcome = await made.outcome()
            assert (outcome.exit, outcome.words) == (Exit.NOT_ANSWERED, "this device was in a call")
            assert relay.requests[-1][2] == {"status": "busy"}

    asyncio.run(main())


def test_the_handset_answers_and_hangs_up_in_every_phase() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.on_request = lambda method, action: (
                relay.end("hangUpVoip", origin="manual") if action == "hangup" else None
            )
            await made.handset(up=True)
            await made.handset(up=False)
            assert relay.actions == ["token"], "without a call nothing is sent"

            relay.ring(room_type="voice")
            await until(lambda: made.phase == "ringing")
            await made.handset(up=True)
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            relay.tell("startVoip")
            await until(lambda: made.phase == "talking")
            await made.handset(up=True)
            assert relay.actions.count("answer") == 1
            await made.handset(up=False)
            assert (made.phase, relay.actions[-1]) == ("idle", "hangup")

            relay.ring()
            await until(lambda: made.phase == "ringing")
            await made.handset(up=False)
            assert relay.actions.count("hangup") == 2

            async with running(made.call("bob", voice=True)) as calling:
                await until(lambda: len(relay.peers) == 2)
                await made.handset(up=False)
                await calling
            assert relay.actions.count("hangup") == 3

    asyncio.run(main())


def test_listeners_may_be_coroutines_and_their_faults_are_theirs() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            seen: list[str] = []

            def broken(event: Event) -> None:
                seen.append(event.eventName)
                raise RuntimeError("a listener's own fault")

            async def take(ring: Ring) -> None:
                await ring.answer()

            made.on_event, made.on_ring = broken, take
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            relay.end("hangUpVoip", origin="other")
            assert (await made.outcome()).exit is Exit.COMPLETED
            assert seen == ["incomingCall", "hangUpVoip", "endVoip"]

    asyncio.run(main())


def test_a_listener_may_close_its_device() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            ends_well(relay)
            made = Device("SN-1", relay.url, media=SMALL, answer="manual")

            async def leave(ring: Ring) -> None:
                await made.close()

            made.on_ring = leave
            await made.start()
            relay.ring()
            await until(lambda: made.phase == "offline")
            assert "hangup" in relay.actions

    asyncio.run(main())


def ends_well(relay: SmallRelay) -> None:
    relay.on_request = lambda method, action: relay.end("rejectVoip", status="manual") if action == "hangup" else None


def test_a_camera_that_is_off_sends_no_pictures_until_it_is_on() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(listenerCameraStatus=1)
            await until(lambda: made.incoming)
            await made.answer()
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] >= 25, "half a second of sound")
            assert relay.peers[0].frames["video"] == 0
            assert not made.camera
            made.set_camera(True)
            await until(lambda: relay.peers[0].frames["video"] >= 3)
            assert made.camera

    asyncio.run(main())


def test_who_answers_may_choose_the_camera_against_the_caller_s_wish() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(listenerCameraStatus=1)
            async for ring in made.incoming_calls():
                await ring.answer(camera=True)
                break
            await until(lambda: relay.peers and relay.peers[0].frames["video"] >= 1)

    asyncio.run(main())


def test_messages_of_the_application_arrive() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            heard: list[str] = []
            async with device(relay, on_message=heard.append):
                relay.tell("appMessage", room="", message="update at night")
                await until(lambda: heard)
                assert heard == ["update at night"]

    asyncio.run(main())
