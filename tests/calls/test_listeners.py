"""Several called parties: one after the other, or all at once. Who hears what, and whose answer counts."""

from typing import Any

import pytest

from calls.scene import ANN, BOB, DOOR, Ear, Scene, play
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Listener, Party, Person
from relay.errors import ApiError
from relay.store.schema import DEVICES, GRANTS

EVE = Party("user", "eve")
TOLD_OFF = ["incomingCall", "cancelVoip", "endVoip", "finishVoip"]


async def ring(stage: Scene, strategy: Any, *people: tuple[str, float | None], **more: Any) -> str:
    """A call of the door to these people, each with a name and maybe a ring time."""
    asked = Invitation(
        direction="device_to_user",
        room_type="video",
        caller=Person("door", "Front door"),
        listeners=tuple(Listener(name, name.title(), ring_timeout=ring_s) for name, ring_s in people),
        strategy=strategy,
        **more,
    )
    return (await stage.service.create(asked)).room


async def outcomes(stage: Scene, room: str) -> list[str]:
    return [listener.outcome for listener in (await stage.service.view(room, None)).listeners]


async def agree(stage: Scene, openid: str) -> None:
    """The user's grant for the door, on record."""
    device = {
        "sn": "door", "model_id": "m", "name": "", "kind": "device", "secret_hash": "", "profile": "{}",
        "created_ms": 0, "tokens_from_ms": 0,
    }  # fmt: skip
    grant = {
        "grant_id": openid, "openid": openid, "subject": "sn:door", "sn": "door", "model_id": "m", "device_name": "",
        "state": "agreed", "changed_ms": 0, "reopened_ms": 0,
    }  # fmt: skip
    await stage.plane.store.run(lambda connection: connection.execute(DEVICES.insert(), device).rowcount)
    await stage.plane.store.run(lambda connection: connection.execute(GRANTS.insert(), grant).rowcount)


def data(ear: Ear, room: str, name: str) -> dict[str, Any]:
    (frame,) = [frame for frame in ear.of(room) if frame["eventName"] == name]
    return dict(frame["data"])


# --- one after the other ---


@pytest.mark.parametrize("first", ["rejects", "hangs up", "says busy", "does not answer"])
def test_the_second_rings_when_the_first_drops_out(first: str) -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", 10), ("bob", None))
        await stage.enter(room, Side.CALLER)
        assert stage.ears[ANN].names == ["incomingCall"]
        assert stage.ears[BOB].names == []
        assert stage.ears[ANN].data("incomingCall")["ringTimeout"] == 10
        match first:
            case "rejects":
                stage.service.reject(room, ANN)
            case "hangs up":
                stage.service.hang_up(room, ANN)
            case "says busy":
                stage.service.reject(room, ANN, "busy")
            case _:
                stage.wait(9.9)
                assert stage.ears[BOB].names == []
                stage.wait(0.1)
        reason = {"says busy": [], "does not answer": ["timeout"]}.get(first, ["rejectVoip"])
        assert stage.ears[ANN].names == ["incomingCall", *reason, "endVoip", "finishVoip"]
        assert stage.ears[BOB].names == ["incomingCall"]
        assert stage.ears[BOB].data("incomingCall")["listenerId"] == "bob"
        assert stage.ears[BOB].data("incomingCall")["ringTimeout"] == 60
        stage.service.answer(room, BOB)
        await stage.enter(room, Side.LISTENER)
        stage.wait(4)
        stage.service.hang_up(room, BOB)
        assert stage.ears[BOB].names[1:] == ["hangOnVoip", "startVoip", "hangUpVoip", "endVoip", "finishVoip"]
        assert len(stage.ears[ANN].names) == 3 + len(reason), "the call goes on without her"
        told = [frame["data"] for frame in stage.ears[DOOR].frames if frame["eventName"] == "listenerChanged"]
        assert told == [
            {"listenerId": "ann", "listenerName": "Ann", "index": 0},
            {"listenerId": "bob", "listenerName": "Bob", "index": 1},
        ]
        came = {"says busy": "busy", "does not answer": "timeout"}.get(first, "rejected")
        assert await outcomes(stage, room) == [came, "answered"]
        assert (await stage.service.view(room, DOOR)).listener.id == "bob"

    play(scene)


def test_one_that_is_in_a_call_is_passed_over_and_hears_nothing() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create(device="gate")
        heard = len(stage.ears[ANN].frames)
        room = await ring(stage, "sequential", ("ann", None), ("bob", None))
        assert len(stage.ears[ANN].frames) == heard
        assert stage.ears[BOB].names == ["incomingCall"]
        assert await outcomes(stage, room) == ["busy", "ringing"]
        stage.service.answer(room, BOB)
        assert await outcomes(stage, room) == ["busy", "answered"]

    play(scene)


def test_nobody_is_left() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", 10), ("bob", 5))
        await stage.enter(room, Side.CALLER)
        stage.service.reject(room, ANN, "unloadCallPage")
        stage.wait(5)
        assert data(stage.ears[ANN], room, "rejectVoip") == {"status": "unloadCallPage"}
        assert stage.ears[BOB].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]
        names = [name for name in stage.ears[DOOR].names if name != "listenerChanged"]
        assert names == ["callPageOnShow", "joinedRoomByCaller", "timeout", "endVoip", "finishVoip"]
        assert (await stage.service.view(room, DOOR)).end_reason == "timeout"

    play(scene)


def test_each_has_its_own_ring_time() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", 10), ("bob", 30), ("eve", 5))
        await stage.enter(room, Side.CALLER)
        assert (await stage.service.view(room, DOOR)).ring_timeout == 45
        stage.wait(41)  # nobody had the time to run the timers meanwhile
        assert await outcomes(stage, room) == ["timeout", "timeout", "ringing"]
        stage.wait(4)
        assert (await stage.service.view(room, DOOR)).end_reason == "timeout"

    play(scene)


def test_an_answer_after_ones_own_ring_time_has_lost() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", 10), ("bob", None))
        await stage.enter(room, Side.CALLER)
        stage.now += 10  # the timer is due and has not run yet
        with pytest.raises(ApiError, match="voip is end"):
            stage.service.answer(room, ANN)
        assert stage.ears[ANN].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]
        assert stage.ears[BOB].names == ["incomingCall"]
        stage.service.answer(room, BOB)
        assert await outcomes(stage, room) == ["timeout", "answered"]

    play(scene)


def test_a_cancel_after_a_ring_time_finds_the_next_one_ringing() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", 10), ("bob", None))
        await stage.enter(room, Side.CALLER)
        stage.now += 10
        stage.service.hang_up(room, DOOR)
        assert stage.ears[ANN].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]
        assert stage.ears[BOB].names == TOLD_OFF

    play(scene)


def test_who_was_not_rung_hears_nothing_of_the_end() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "sequential", ("ann", None), ("bob", None))
        for act in (stage.service.answer, stage.service.hang_up):
            with pytest.raises(ApiError, match="no such call"):  # it is not his turn to know of it
                act(room, BOB)
        with pytest.raises(ApiError, match="no such call"):
            await stage.service.view(room, BOB)
        assert len(stage.service) == 1
        stage.service.hang_up(room, DOOR)
        assert stage.ears[ANN].names == TOLD_OFF
        assert stage.ears[BOB].names == []
        assert await outcomes(stage, room) == ["cancelled", "notRung"]

    play(scene)


def test_a_called_party_sees_itself_and_the_caller_all() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None))
        seen = [listener.id for listener in (await stage.service.view(room, ANN)).listeners]
        assert seen == ["ann"]
        stage.service.hang_up(room, DOOR)
        for party, expected in ((ANN, ["ann"]), (BOB, ["bob"]), (DOOR, ["ann", "bob"]), (None, ["ann", "bob"])):
            assert [listener.id for listener in (await stage.service.view(room, party)).listeners] == expected

    play(scene)


def test_who_may_not_be_rung_decides_nothing() -> None:
    async def scene(stage: Scene) -> None:
        await agree(stage, "ann")
        room = await ring(stage, "sequential", ("ann", None), ("bob", None))
        await stage.enter(room, Side.CALLER)
        stage.service.reject(room, ANN)
        assert "rejectVoip" in stage.ears[DOOR].names, "and not busy, for one who was never asked"
        assert stage.ears[BOB].names == []
        assert await outcomes(stage, room) == ["rejected", "refused"]
        with pytest.raises(ApiError, match="no such call"):
            await stage.service.view(room, BOB)
        assert (await stage.service.view(room, None)).end_reason == "rejected"

    play(scene, require_grants=True)


# --- all at once ---


def test_the_first_answer_wins_and_the_others_are_told() -> None:
    async def scene(stage: Scene) -> None:
        eve = stage.ear(EVE)
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None), ("eve", None))
        await stage.enter(room, Side.CALLER)
        for ear in (stage.ears[ANN], stage.ears[BOB], eve):
            assert ear.names == ["incomingCall"]
        stage.service.answer(room, BOB)
        for party in (ANN, EVE):
            with pytest.raises(ApiError, match="voip is end"):
                stage.service.answer(room, party)
        await stage.enter(room, Side.LISTENER)
        for ear, name in ((stage.ears[ANN], "Ann"), (eve, "Eve")):
            assert ear.names == TOLD_OFF
            assert data(ear, room, "cancelVoip") == {"status": "other"}
            assert data(ear, room, "finishVoip") == {"keepTime": 0}
            assert data(ear, room, "endVoip") == {
                "keepTime": 0, "callerName": "Front door", "listenerName": name, "roomType": "video",
                "isCaller": False, "businessType": 1,
            }  # fmt: skip
        assert data(stage.ears[DOOR], room, "listenerChanged") == {
            "listenerId": "bob", "listenerName": "Bob", "index": 1,
        }  # fmt: skip
        assert await outcomes(stage, room) == ["taken", "answered", "taken"]
        stage.service.hang_up(room, DOOR)
        assert stage.ears[BOB].names[-3:] == ["hangUpVoip", "endVoip", "finishVoip"]
        assert data(stage.ears[BOB], room, "endVoip")["listenerName"] == "Bob"
        assert data(stage.ears[DOOR], room, "endVoip")["listenerName"] == "Bob"
        assert stage.ears[ANN].names == TOLD_OFF

    play(scene)


def test_whose_call_was_taken_is_free_at_once() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None))
        stage.service.answer(room, BOB)
        other = await stage.create(device="gate")
        assert stage.ears[ANN].of(other)[0]["eventName"] == "incomingCall"

    play(scene)


def test_all_reject() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None))
        stage.service.reject(room, ANN)
        assert stage.ears[ANN].names == ["incomingCall", "rejectVoip", "endVoip", "finishVoip"]
        assert stage.ears[BOB].names == ["incomingCall"], "he still rings"
        assert stage.ears[DOOR].names == []
        stage.service.reject(room, ANN)
        stage.service.reject(room, BOB, "forceFromApp")
        assert data(stage.ears[BOB], room, "rejectVoip") == {"status": "forceFromApp"}
        assert data(stage.ears[BOB], room, "endVoip")["listenerName"] == "Bob"
        assert stage.ears[ANN].names.count("endVoip") == 1
        assert stage.ears[DOOR].names == ["rejectVoip", "endVoip", "finishVoip"]
        assert (await stage.service.view(room, DOOR)).end_reason == "rejected"
        assert await outcomes(stage, room) == ["rejected", "rejected"]

    play(scene)


def test_a_cancel_reaches_everybody_who_rings() -> None:
    async def scene(stage: Scene) -> None:
        eve = stage.ear(EVE)
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None), ("eve", None))
        stage.service.reject(room, BOB)
        stage.service.hang_up(room, DOOR, "unloadCallPage")
        for ear, name in ((stage.ears[ANN], "Ann"), (eve, "Eve")):
            assert ear.names == TOLD_OFF
            assert data(ear, room, "cancelVoip") == {"status": "other"}
            assert data(ear, room, "endVoip")["listenerName"] == name
        assert stage.ears[BOB].names == ["incomingCall", "rejectVoip", "endVoip", "finishVoip"]
        assert stage.ears[DOOR].names == ["cancelVoip", "endVoip", "finishVoip"]

    play(scene)


def test_all_at_once_with_different_ring_times() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "simultaneous", ("ann", 5), ("bob", 30))
        await stage.enter(room, Side.CALLER)
        stage.now += 5
        with pytest.raises(ApiError, match="voip is end"):
            stage.service.answer(room, ANN)
        assert stage.ears[ANN].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]
        stage.wait(25)
        assert stage.ears[BOB].names == ["incomingCall", "timeout", "endVoip", "finishVoip"]
        assert (await stage.service.view(room, DOOR)).end_reason == "timeout"

    play(scene)


def test_everybody_is_busy() -> None:
    async def scene(stage: Scene) -> None:
        await stage.create(device="gate")
        await stage.create(device="bell", listener="bob")
        heard = len(stage.ears[ANN].frames), len(stage.ears[BOB].frames)
        for strategy in ("simultaneous", "sequential"):
            room = await ring(stage, strategy, ("ann", None), ("bob", None))
            assert [frame["eventName"] for frame in stage.ears[DOOR].of(room)] == ["busy", "endVoip", "finishVoip"]
            assert await outcomes(stage, room) == ["busy", "busy"]
        assert (len(stage.ears[ANN].frames), len(stage.ears[BOB].frames)) == heard

    play(scene)


def test_the_operator_ends_it_while_several_ring() -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, "simultaneous", ("ann", None), ("bob", None))
        stage.service.hang_up(room, None)
        assert stage.ears[ANN].names == stage.ears[BOB].names == TOLD_OFF
        assert (await stage.service.view(room, DOOR)).end_reason == "forced"

    play(scene)


@pytest.mark.parametrize("strategy", ["sequential", "simultaneous"])
def test_the_caller_does_not_come_in(strategy: str) -> None:
    async def scene(stage: Scene) -> None:
        room = await ring(stage, strategy, ("ann", None), ("bob", None))
        stage.wait(20)
        rung = [ANN] if strategy == "sequential" else [ANN, BOB]
        for party in (ANN, BOB):
            expected = ["incomingCall", "abortVoip", "endVoip", "finishVoip"] if party in rung else []
            assert stage.ears[party].names == expected
        assert (await stage.service.view(room, DOOR)).end_reason == "abort"

    play(scene)


def test_several_devices_are_called_by_a_user() -> None:
    async def scene(stage: Scene) -> None:
        gate = stage.ear(Party("device", "gate"))
        asked = Invitation(
            "user_to_device", "voice", Person("ann", "Ann"),
            listeners=(Listener("door"), Listener("gate")), strategy="simultaneous", target="device",
        )  # fmt: skip
        room = (await stage.service.create(asked)).room
        assert gate.data("incomingCall")["listenerId"] == "gate"
        stage.service.answer(room, Party("device", "gate"))
        assert stage.ears[DOOR].names == TOLD_OFF

    play(scene)
