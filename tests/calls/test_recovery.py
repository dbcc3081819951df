"""A node that died in the middle of calls: its next life ends them, as of when it was last seen, and says so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from calls.scene import ANN, BOB, DOOR, Ear, Scene
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Listener, Party, Person
from relay.errors import ApiError

GATE = Party("device", "gate")


async def life(store: Path, now: float) -> Scene:
    """One life of the node, begun at this time."""
    stage = Scene(now, store=str(store))
    await stage.plane.start()
    return stage


async def crash(stage: Scene) -> None:
    """The store is left as it is; nobody is told anything."""
    while stage.plane.store.waiting:
        await asyncio.sleep(0.01)
    await stage.plane.close()


def told(ear: Ear, room: str) -> list[tuple[str, dict[str, Any]]]:
    return [(frame["eventName"], frame["data"]) for frame in ear.of(room)]


def ending(keep: int, *, is_caller: bool) -> list[tuple[str, dict[str, Any]]]:
    over = {
        "keepTime": keep, "callerName": "Front door", "listenerName": "Someone", "roomType": "video",
        "isCaller": is_caller, "businessType": 1,
    }  # fmt: skip
    lost = {"keepTime": keep, "status": "unknown", "error": {"errMsg": "room status is abort"}}
    return [("abortVoip", lost), ("endVoip", over), ("finishVoip", {"keepTime": keep})]


def test_calls_of_a_dead_node_end_as_broken_off(tmp_path: Path) -> None:
    async def scene() -> None:
        first = await life(tmp_path / "calls.sqlite3", 1000.0)
        talking, _, _ = await first.talk()
        ringing = await first.create(device="gate", listener="bob")
        over = await first.create(device="bell", listener="eve")
        first.service.hang_up(over, Party("device", "bell"))
        first.now += 30.5
        await first.plane.journal.seen()
        first.now += 3
        last_seq = first.ears[ANN].frames[-1]["seq"]
        await crash(first)

        second = await life(tmp_path / "calls.sqlite3", 1100.0)
        for party, room, keep, is_caller in (
            (DOOR, talking, 30, True),
            (ANN, talking, 30, False),
            (GATE, ringing, 0, True),
            (BOB, ringing, 0, False),
        ):
            assert told(second.ear(party, 0), room) == ending(keep, is_caller=is_caller)
        resumed = second.ear(ANN, last_seq)
        assert [frame["eventName"] for frame in resumed.frames] == ["abortVoip", "endVoip", "finishVoip"]
        assert all(frame["seq"] > last_seq for frame in resumed.frames), "numbers rise across a restart"
        assert all(frame["reason"] for frame in resumed.frames)
        assert not second.ear(Party("user", "eve"), 0).frames, "what had ended is not ended again"

        view = await second.service.view(talking, ANN)
        assert (view.state, view.end_reason, view.keep_time) == ("SETTLED", "abort", 30)
        assert (view.ended_at or 0) - (view.started_at or 0) == 30_500
        assert (await second.service.view(over, None)).end_reason == "cancelled"
        await second.service.close()
        await second.plane.close()

    asyncio.run(scene())


def test_parties_of_a_recovered_call_are_free(tmp_path: Path) -> None:
    async def scene() -> None:
        first = await life(tmp_path / "calls.sqlite3", 1000.0)
        before = await first.create()
        await crash(first)
        second = await life(tmp_path / "calls.sqlite3", 1010.0)
        room = await second.create()
        assert room != before
        await second.enter(room, Side.CALLER)
        second.service.answer(room, ANN)
        with pytest.raises(ApiError):
            second.service.answer(before, ANN)
        assert len(second.service) == 1, "a call of the earlier life does not come back"
        await second.service.close()
        await second.plane.close()

    asyncio.run(scene())


def test_a_second_recovery_finds_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        first = await life(tmp_path / "calls.sqlite3", 1000.0)
        await first.service.create(Invitation("user_to_device", "voice", Person("ann"), Person("door"), target="wmpf"))
        await crash(first)
        second = await life(tmp_path / "calls.sqlite3", 1010.0)
        assert second.ear(DOOR, 0).names == ["abortVoip", "endVoip", "finishVoip"]
        await crash(second)
        third = await life(tmp_path / "calls.sqlite3", 1020.0)
        assert third.ear(DOOR, 0).names == []
        await third.plane.close()

    asyncio.run(scene())


def test_who_was_told_that_the_call_was_taken_is_not_told_again(tmp_path: Path) -> None:
    async def scene() -> None:
        first = await life(tmp_path / "calls.sqlite3", 1000.0)
        people = (Listener("ann", "Ann"), Listener("bob", "Bob"), Listener("eve", "Eve"))
        asked = Invitation(
            "device_to_user", "video", Person("door", "Front door"), listeners=people, strategy="simultaneous"
        )
        room = (await first.service.create(asked)).room
        first.service.reject(room, Party("user", "eve"))
        first.service.answer(room, BOB)
        await crash(first)
        second = await life(tmp_path / "calls.sqlite3", 1010.0)
        assert told(second.ear(DOOR, 0), room)[0][0] == "abortVoip"
        (_, over), *_ = [event for event in told(second.ear(BOB, 0), room) if event[0] == "endVoip"]
        assert over["listenerName"] == "Bob"
        for party in (ANN, Party("user", "eve")):
            assert told(second.ear(party, 0), room) == [], "it is over for them already"
        await second.plane.close()

    asyncio.run(scene())
