"""The races of plugin-interface §7.8, each by its name: one of two wins, and the other changes nothing."""

import asyncio

import pytest

from calls.scene import ANN, BOB, DOOR, OFFER, Scene, play
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Person
from relay.errors import ApiError


async def ringing(stage: Scene) -> str:
    room = await stage.create()
    await stage.enter(room, Side.CALLER)
    return room


def assert_ended_once(stage: Scene, room: str) -> None:
    for party in (DOOR, ANN):
        names = [frame["eventName"] for frame in stage.ears[party].of(room)]
        assert names.count("endVoip") == names.count("finishVoip") == 1
        assert names[-2:] == ["endVoip", "finishVoip"]


def test_cancel_before_answer() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.service.hang_up(room, DOOR)
        with pytest.raises(ApiError, match="voip is end"):
            stage.service.answer(room, ANN)
        assert (await stage.service.view(room, ANN)).end_reason == "cancelled"
        assert "hangOnVoip" not in stage.ears[ANN].names
        assert_ended_once(stage, room)

    play(scene)


def test_answer_before_cancel() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.service.answer(room, ANN)
        stage.service.hang_up(room, DOOR)
        with pytest.raises(ApiError, match="voip is end"):
            await stage.service.open_leg(room, Side.LISTENER, OFFER)
        assert (await stage.service.view(room, ANN)).end_reason == "cancelled", "there was no talk yet"
        assert stage.ears[ANN].names == ["incomingCall", "hangOnVoip", "cancelVoip", "endVoip", "finishVoip"]
        assert_ended_once(stage, room)

    play(scene)


@pytest.mark.parametrize("first", [DOOR, ANN], ids=["caller", "called side"])
def test_both_hang_up_at_once(first: object) -> None:
    async def scene(stage: Scene) -> None:
        room, _, _ = await stage.talk()
        by_caller = first == DOOR
        for party in (DOOR, ANN) if by_caller else (ANN, DOOR):
            stage.service.hang_up(room, party)
        status = "endByCaller" if by_caller else "endByListener"
        for party in (DOOR, ANN):
            told = stage.ears[party].data("hangUpVoip")
            assert told == {"keepTime": 0, "status": status, "origin": "manual" if party == first else "other"}
        assert_ended_once(stage, room)

    play(scene)


def test_answer_after_timeout() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.now += 60  # the timer is due, nobody ran it
        with pytest.raises(ApiError, match="voip is end"):
            stage.service.answer(room, ANN)
        assert (await stage.service.view(room, ANN)).end_reason == "timeout"
        assert_ended_once(stage, room)

    play(scene)


def test_answer_in_the_last_moment() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.now += 59.999
        stage.service.answer(room, ANN)
        stage.wait(1)
        assert (await stage.service.view(room, ANN)).state == "LISTENER_JOINING"
        await stage.enter(room, Side.LISTENER)
        assert stage.ears[ANN].names[-1] == "startVoip"

    play(scene)


def test_double_answer() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.service.answer(room, ANN)
        with pytest.raises(ApiError, match="answered already") as refused:
            stage.service.answer(room, ANN)
        assert (refused.value.status, refused.value.code) == (409, 2000)
        assert stage.ears[ANN].names == ["incomingCall", "hangOnVoip"]

    play(scene)


def test_reject_after_answer_and_answer_after_reject() -> None:
    async def scene(stage: Scene) -> None:
        room = await ringing(stage)
        stage.service.answer(room, ANN)
        stage.service.reject(room, ANN)
        with pytest.raises(ApiError, match="voip is end"):
            stage.service.answer(room, ANN)
        assert (await stage.service.view(room, ANN)).end_reason == "rejected"
        assert_ended_once(stage, room)

    play(scene)


def test_reject_in_the_talk_is_too_late() -> None:
    async def scene(stage: Scene) -> None:
        room, _, _ = await stage.talk()
        with pytest.raises(ApiError) as refused:
            stage.service.reject(room, ANN)
        assert (refused.value.status, refused.value.code) == (409, 1008)
        assert len(stage.service) == 1

    play(scene)


def test_forced_hang_up_of_a_strange_room_does_nothing() -> None:
    async def scene(stage: Scene) -> None:
        mine, _, _ = await stage.talk()
        other = await stage.create(device="gate", listener="bob")
        before = {party: len(ear.frames) for party, ear in stage.ears.items()}
        for room in (other, "0" * 32, ""):
            with pytest.raises(ApiError) as refused:
                stage.service.hang_up(room, ANN, "forceFromApp")
            assert (refused.value.status, refused.value.code) == (404, 1)
        assert {party: len(ear.frames) for party, ear in stage.ears.items()} == before
        assert (await stage.service.view(mine, ANN)).state == "TALKING"
        assert (await stage.service.view(other, BOB)).state == "CREATED"

    play(scene)


def test_forced_hang_up_of_the_call_before_leaves_the_next_one_alone() -> None:
    """The complaint of users (§6, 1): a timer of the last call that hangs up the next one."""

    async def scene(stage: Scene) -> None:
        old, _, _ = await stage.talk()
        stage.service.hang_up(old, ANN)
        new, _, _ = await stage.talk()
        stage.service.hang_up(old, DOOR, "forceFromApp")
        stage.service.hang_up(old, ANN, "forceFromApp")
        assert (await stage.service.view(new, ANN)).state == "TALKING"

    play(scene)


def test_time_limit_counts_from_the_talk_and_not_from_create() -> None:
    async def scene(stage: Scene) -> None:
        room = await stage.create(time_limit=10.0)
        await stage.enter(room, Side.CALLER)
        stage.wait(50)
        stage.service.answer(room, ANN)
        stage.wait(15)
        await stage.enter(room, Side.LISTENER)
        stage.wait(9.9)
        assert (await stage.service.view(room, ANN)).state == "TALKING"
        stage.wait(0.1)
        view = await stage.service.view(room, ANN)
        assert (view.end_reason, view.keep_time) == ("timeLimit", 10)
        assert_ended_once(stage, room)

    play(scene)


def test_late_result_of_create_after_the_client_has_gone() -> None:
    """The client closed its page while create was under way and asks again: it is not told that it is busy (§1.5)."""

    async def scene(stage: Scene) -> None:
        first = asyncio.create_task(stage.create())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        room = await stage.create()
        assert [frame["roomId"] for frame in stage.ears[ANN].frames] == [room], "the first one never rang"
        # Its answer was lost on the way: the same again, then the late result is hung up by its room.
        assert await stage.create() == room
        stage.service.hang_up(room, DOOR, "forceFromApp")
        assert stage.ears[ANN].data("cancelVoip") == {"status": "other"}
        assert stage.ears[DOOR].data("cancelVoip") == {"status": "forceFromApp"}
        again = await stage.create()
        assert again != room, "a quick hang-up does not break the next call"

    play(scene)


def test_two_callers_reach_for_one_user_at_once() -> None:
    async def scene(stage: Scene) -> None:
        rooms = await asyncio.gather(stage.create(), stage.create(device="gate"))
        rang = [frame["roomId"] for frame in stage.ears[ANN].frames if frame["eventName"] == "incomingCall"]
        assert len(rang) == 1
        ends = {room: (await stage.service.view(room, None)).end_reason for room in rooms}
        assert sorted(map(str, ends.values())) == ["None", "busy"]
        assert ends[rang[0]] is None

    play(scene)


def test_two_parties_call_each_other_at_once() -> None:
    async def scene(stage: Scene) -> None:
        back = Invitation("user_to_device", "video", Person("ann"), Person("door"), target="wmpf")
        made = await asyncio.gather(stage.create(), stage.service.create(back), return_exceptions=True)
        assert not any(isinstance(one, BaseException) and not isinstance(one, ApiError) for one in made)
        assert stage.ears[ANN].names.count("incomingCall") + stage.ears[DOOR].names.count("incomingCall") <= 1
        for party in (DOOR, ANN):
            live = [room for room in stage.service.party_rooms(party) if room]
            assert len(live) <= 1

    play(scene)
