"""Live calls with a clock of our own: parties, legs, timers, repeated requests, records and limits."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from calls.memory_media import MemoryMedia
from calls.scene import ANN, BOB, DOOR, OFFER, Scene, play
from relay.api.app import plane
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Party, Person
from relay.config import Config
from relay.errors import ApiError
from relay.media.messages import MediaError


def test_a_whole_call() -> None:
    async def scene(stage: Scene) -> None:
        room, caller, listener = await stage.talk()
        assert room in stage.media.live_rooms
        assert stage.media.live == {caller: False, listener: False}
        stage.wait(5.5)
        stage.service.hang_up(room, ANN)
        await asyncio.sleep(0)
        assert stage.media.closed_rooms == [room]
        assert stage.ears[ANN].names == [
            "incomingCall",
            "hangOnVoip",
            "startVoip",
            "hangUpVoip",
            "endVoip",
            "finishVoip",
        ]
        frames = stage.ears[DOOR].frames
        assert [b["seq"] - a["seq"] for a, b in pairwise(frames)] == [1] * 5
        end = frames[-2]
        assert end["data"] == {
            "keepTime": 5,
            "callerName": "Front door",
            "listenerName": "Someone",
            "roomType": "video",
            "isCaller": True,
            "businessType": 1,
        }
        assert end["roomId"] == end["groupId"] == room
        assert end["reason"]
        start = next(frame for frame in frames if frame["eventName"] == "startVoip")
        assert start["data"] == {"startTime": 1_000_000_050_000}
        view = await stage.service.view(room, DOOR)
        assert (view.state, view.end_reason, view.keep_time) == ("SETTLED", "hangup", 5)
        assert (view.ended_at or 0) - (view.started_at or 0) == 5500

    play(scene)


def test_the_ring_notice() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create(custom_query="a=1", ring_timeout=30)
        (notice,) = stage.ears[ANN].frames
        assert notice["eventName"] == "incomingCall"
        assert notice["data"] == {
            "roomType": "video",
            "businessType": 1,
            "callerId": "door",
            "callerName": "Front door",
            "callerKind": "device",
            "callerCameraStatus": 0,
            "callerProfile": None,
            "listenerId": "ann",
            "listenerName": "Someone",
            "listenerKind": "user",
            "listenerCameraStatus": 0,
            "listenerProfile": None,
            "query": "a=1",
            "ringTimeout": 30,
            "timeLimit": None,
            "encodeVideo": {"fixedLength": 0, "rotation": 0, "ratio": 0, "maxFPS": 0},
        }

    play(scene)


def test_timers_run_by_themselves() -> None:
    async def scene() -> None:
        media = MemoryMedia()
        loop = asyncio.get_running_loop()
        running = plane(media, Config(demo=True, join_s=1), "test", loop.time)
        await running.start()
        service = running.calls
        person = Person("door"), Person("ann")
        room = (await service.create(Invitation("device_to_user", "voice", *person))).room
        async with asyncio.timeout(30):
            while len(service):
                await asyncio.sleep(0.05)
        assert (await service.view(room, DOOR)).end_reason == "abort"
        await service.close()
        await running.close()

    asyncio.run(scene())


def test_caller_in_a_call_is_refused() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create()
        with pytest.raises(ApiError) as refused:
            await stage.create(listener="bob")
        assert (refused.value.status, refused.value.code) == (409, 1005)

    play(scene)


def test_called_party_in_a_call_is_busy() -> None:
    async def scene(stage: Scene) -> None:
        await stage.talk()
        heard = len(stage.ears[ANN].frames)
        gate = Party("device", "gate")
        ear = stage.ear(gate)
        room = await stage.create(device="gate")
        assert ear.names == ["busy", "endVoip", "finishVoip"]
        assert len(stage.ears[ANN].frames) == heard, "the called party is left in peace"
        assert (await stage.service.view(room, gate)).end_reason == "busy"
        assert len(stage.service) == 1
        assert await stage.create(device="gate", listener="bob") != room, "and the caller is free again"

    play(scene)


def test_busy_can_be_a_refusal() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create()
        with pytest.raises(ApiError) as refused:
            await stage.create(device="gate")
        assert refused.value.code == 2100

    play(scene, refuse_busy=True)


def test_called_party_reports_busy() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.service.reject(room, ANN, "busy")
        assert stage.ears[DOOR].names == ["busy", "endVoip", "finishVoip"]

    play(scene)


def test_repeated_create_gives_the_same_room() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.now += 29
        assert await stage.create() == room
        assert stage.ears[ANN].names == ["incomingCall"]
        await stage.enter(room, Side.CALLER)
        stage.now += 2
        with pytest.raises(ApiError):
            await stage.create()
        stage.service.hang_up(room, DOOR)
        assert await stage.create() != room

    play(scene, join_s=40)


def test_idempotency_key_outlives_the_call() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create(key="k1")
        stage.service.hang_up(room, DOOR)
        assert await stage.create(key="k1") == room
        assert await stage.create(key="k2") != room
        assert len(stage.service) == 1

    play(scene)


def test_due_timers_free_the_party_even_unrun() -> None:
    async def scene(stage: Scene) -> None:
        first = await stage.create()
        stage.now += 20
        assert await stage.create(listener="bob") != first
        assert (await stage.service.view(first, DOOR)).end_reason == "abort"

    play(scene)


def test_strangers_see_no_call() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        service = stage.service
        for act in (service.view, service.answer, service.join, service.reject, service.hang_up):
            for who, where in ((BOB, room), (ANN, "nowhere")):
                with pytest.raises(ApiError) as refused:
                    await _done(act(where, who))
                assert (refused.value.status, refused.value.code) == (404, 1)
        service.hang_up(room, DOOR)
        with pytest.raises(ApiError):
            await service.view(room, BOB)
        assert await service.view(room, ANN) == await service.view(room, None)

    play(scene)


def test_who_may_do_what() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        for act in (stage.service.answer, stage.service.reject):
            with pytest.raises(ApiError) as refused:
                act(room, DOOR)
            assert refused.value.status == 403
        with pytest.raises(ApiError):
            stage.service.join(room, ANN)
        assert stage.service.join(room, DOOR) is Side.CALLER
        stage.service.answer(room, ANN)
        assert stage.service.join(room, ANN) is Side.LISTENER
        with pytest.raises(ApiError) as refused:
            stage.service.answer(room, ANN)
        assert refused.value.status == 409

    play(scene)


def test_ending_an_ended_call_is_no_fault() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.service.reject(room, ANN)
        heard = len(stage.ears[DOOR].frames)
        stage.service.reject(room, ANN)
        stage.service.hang_up(room, DOOR)
        stage.service.hang_up(room, None)
        assert len(stage.ears[DOOR].frames) == heard
        for act in (stage.service.answer, stage.service.join):
            with pytest.raises(ApiError, match="voip is end"):
                act(room, ANN)

    play(scene)


def test_answer_after_the_ring_time() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        await stage.enter(room, Side.CALLER)
        stage.now += 60
        with pytest.raises(ApiError) as refused:
            stage.service.answer(room, ANN)
        assert refused.value.status == 409
        assert stage.ears[ANN].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]

    play(scene)


@pytest.mark.parametrize("state", ["lost", "failed", "closed"])
def test_a_lost_leg_ends_the_talk(state: Any) -> None:
    async def scene(stage: Scene) -> None:
        room, caller, _ = await stage.talk()
        stage.media.say(caller, state)
        assert stage.ears[ANN].frames[-3]["data"]["status"] == "unknown"
        assert stage.ears[DOOR].frames[-3]["data"]["status"] == "abortByCaller"
        assert (await stage.service.view(room, ANN)).end_reason == "abort"

    play(scene)


def test_a_failed_attempt_can_be_repeated() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        ice, _ = await stage.service.open_leg(room, Side.CALLER, OFFER)
        stage.media.say(ice.leg, "failed", "no answer to DTLS")
        with pytest.raises(MediaError):
            await stage.service.open_leg(room, Side.CALLER, "nonsense")
        fails = [frame["data"] for frame in stage.ears[DOOR].frames[1:]]
        assert fails[0] == {"errMsg": "no answer to DTLS", "retrying": True}
        assert fails[1]["retrying"] is True
        await stage.enter(room, Side.CALLER)
        assert stage.ears[DOOR].names[-1] == "joinedRoomByCaller"

    play(scene)


def test_client_gives_up_joining() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.service.fail(room, DOOR, "no microphone")
        assert stage.ears[DOOR].names == ["joinFailCaller", "abortVoip", "endVoip", "finishVoip"]
        assert stage.ears[DOOR].frames[0]["data"] == {"errMsg": "no microphone"}

    play(scene)


def test_a_new_offer_replaces_the_leg_in_the_talk() -> None:
    async def scene(stage: Scene) -> None:
        room, old, _ = await stage.talk()
        ice, _ = await stage.service.open_leg(room, Side.CALLER, OFFER)
        assert stage.media.live[ice.leg] is True
        assert old not in stage.media.legs
        stage.media.say(old, "lost")
        assert len(stage.service) == 1, "the old leg is nobody's any more"
        stage.media.say(ice.leg, "connected")
        stage.media.say(ice.leg, "lost")
        assert len(stage.service) == 0

    play(scene)


def test_leaving_hangs_up_once_in_the_room() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        ice, _ = await stage.service.open_leg(room, Side.CALLER, OFFER)
        await stage.service.legs.close(room, ice.leg)
        assert len(stage.service) == 1, "it was not in yet, so it may try again"
        leg = await stage.enter(room, Side.CALLER)
        with pytest.raises(ApiError):
            await stage.service.legs.close("other", leg)
        await stage.service.legs.close(room, leg)
        assert (await stage.service.view(room, ANN)).end_reason == "cancelled"

    play(scene)


def test_the_call_ends_while_the_worker_answers() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.media.gate = asyncio.Event()
        opening = asyncio.create_task(stage.service.open_leg(room, Side.CALLER, OFFER))
        await asyncio.sleep(0)
        stage.service.hang_up(room, DOOR)
        stage.media.gate.set()
        with pytest.raises(ApiError, match="voip is end"):
            await opening

    play(scene)


def test_the_client_goes_away_while_the_worker_answers() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        stage.media.gate = asyncio.Event()
        opening = asyncio.create_task(stage.service.open_leg(room, Side.CALLER, OFFER))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.sleep(0)
        assert not stage.media.legs
        assert stage.service.join(room, DOOR) is Side.CALLER

    play(scene)


def test_offers_need_an_answered_live_call() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create()
        with pytest.raises(ApiError) as refused:
            await stage.service.open_leg(room, Side.LISTENER, OFFER)
        assert refused.value.status == 409
        stage.service.hang_up(room, DOOR)
        with pytest.raises(ApiError, match="voip is end"):
            await stage.service.open_leg(room, Side.CALLER, OFFER)

    play(scene)


def test_limits_and_draining() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create()
        await stage.create(device="gate", listener="bob")
        with pytest.raises(ApiError) as refused:
            await stage.create(device="bell", listener="eve")
        assert (refused.value.status, refused.value.code) == (429, 5)
        stage.service.drain()
        with pytest.raises(ApiError) as refused:
            await stage.create(device="bell", listener="eve")
        assert refused.value.status == 503
        assert len(stage.service) == 2

    play(scene, max_calls=2)


def test_grants_when_required() -> None:
    async def scene(stage: Scene) -> None:
        with pytest.raises(ApiError) as refused:
            await stage.create()
        assert refused.value.code == 9

    play(scene, require_grants=True)


def test_records_are_bounded() -> None:
    async def scene(stage: Scene) -> None:
        rooms = []
        for _ in range(5):
            rooms.append(await stage.create())
            stage.service.hang_up(rooms[-1], DOOR)
        assert len(stage.service.records) == 3
        assert (await stage.service.view(rooms[-1], DOOR)).end_reason == "cancelled"
        # Older ones are read from the store.
        assert (await stage.service.view(rooms[0], DOOR)).end_reason == "cancelled"

    play(scene, max_records=3)


def test_room_ids_cannot_be_guessed() -> None:
    async def scene(stage: Scene) -> None:
        first = await stage.create()
        second = await stage.create(device="gate", listener="bob")
        assert first != second
        assert len(bytes.fromhex(first)) == 16

    play(scene)


async def _done(outcome: Any) -> None:
    """Some of the service's methods are coroutines, some are not."""
    if asyncio.iscoroutine(outcome):
        await outcome
