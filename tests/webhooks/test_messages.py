"""What is told: each step of a call once, each change of a grant, and each event as its party saw it."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from api.plane import OFFER, SDP, Plane

from webhooks.outbox import hooked, play_plane
from webhooks.receiver import Receiver, status


async def come_in(plane: Plane, room: str, credential: str) -> None:
    """A party's leg is opened and up."""
    code, _, headers = await plane.asked("POST", f"/v1/calls/{room}/legs", credential, data=OFFER, headers=SDP)
    assert code == 201
    plane.media.say(headers["Location"].rpartition("/")[2], "connected")


async def talk(plane: Plane, **more: Any) -> str:
    made = await plane.create(**more)
    room = str(made["roomId"])
    await come_in(plane, room, made["credential"])
    user = plane.user(more.get("listener", {"id": "ann"})["id"])
    _, answered = await plane.ask("POST", f"/v1/calls/{room}/answer", user)
    await come_in(plane, room, answered["credential"])
    return room


async def act(plane: Plane, room: str, what: str, token: str) -> None:
    code, body = await plane.ask("POST", f"/v1/calls/{room}/{what}", token)
    assert code == 200, body


def test_each_step_of_a_call_is_told_once() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        hook = await hooked(plane, receiver)
        room = await talk(plane)
        await act(plane, room, "hangup", plane.device())
        await act(plane, room, "hangup", plane.user())
        await receiver.until(1, "call.finished")
        await receiver.until(5)
        assert receiver.names(room) == {
            "call.created": 1, "call.answered": 1, "call.started": 1, "call.ended": 1, "call.finished": 1,
        }  # fmt: skip
        assert all(message.signed_with(hook["secret"]) for message in receiver.messages)
        by_name = {message.event: message.data for message in receiver.messages}
        assert by_name["call.created"]["state"] == "CREATED"
        assert by_name["call.answered"]["answeredAt"] >= by_name["call.created"]["createdAt"]
        assert by_name["call.started"]["state"] == "TALKING"
        assert by_name["call.ended"]["endReason"] == "hangup"
        _, view = await plane.ask("GET", f"/v1/calls/{room}", plane.operator())
        assert by_name["call.finished"] == view, "the last word is the record"

    play_plane(scene)


@pytest.mark.parametrize(
    ("ending", "reason", "steps"),
    [("cancel", "cancelled", 3), ("reject", "rejected", 3), ("force", "forced", 3), ("fail", "abort", 3)],
)
def test_a_call_that_comes_to_nothing_is_told_too(ending: str, reason: str, steps: int) -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver)
        room = str((await plane.create())["roomId"])
        if ending == "cancel":
            await act(plane, room, "hangup", plane.device())
        elif ending == "reject":
            await act(plane, room, "reject", plane.user())
        elif ending == "force":
            await act(plane, room, "hangup", plane.operator())
        else:
            await act(plane, room, "fail", plane.device())
        await receiver.until(steps)
        assert receiver.names(room) == {"call.created": 1, "call.ended": 1, "call.finished": 1}
        assert {message.data["endReason"] for message in receiver.messages} == {None, reason}

    play_plane(scene)


def test_exactly_one_finish_for_each_of_many_calls_though_the_target_refuses_at_times() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver)
        fine = receiver.answer

        async def moody(message: Any) -> Any:
            refuses = message.attempt == 1 and int(message.delivery) % 7 == 0
            return await (status(500) if refuses else fine)(message)

        receiver.answer = moody
        rooms = []

        async def one(number: int) -> None:
            caller, listener = {"id": f"d{number}"}, {"id": f"u{number}"}
            code, made = await plane.ask(
                "POST", "/v1/calls", plane.device(f"d{number}"),
                json={"direction": "device_to_user", "roomType": "voice", "caller": caller, "listener": listener},
            )  # fmt: skip
            assert code == 201
            rooms.append(made["roomId"])
            if number % 3:
                await act(plane, made["roomId"], "answer", plane.user(f"u{number}"))
            who = plane.user(f"u{number}") if number % 2 else plane.device(f"d{number}")
            await act(plane, made["roomId"], "hangup", who)

        await asyncio.gather(*(one(number) for number in range(40)))
        async with asyncio.timeout(60):
            while plane.base_plane.webhooks.results["delivered"] < 40 * 3 + 26:
                plane.skew_s += 2
                plane.base_plane.webhooks.woken()
                await asyncio.sleep(0.02)
        taken = Counter(
            (message.data["roomId"], message.event)
            for message in receiver.messages
            if message.attempt > 1 or int(message.delivery) % 7
        )
        assert set(taken.values()) == {1}
        assert len(taken) == 40 * 3 + 26
        assert {room for room, event in taken if event == "call.finished"} == set(rooms)

    play_plane(scene, rate_burst=10_000)


def test_events_are_told_as_their_party_saw_them() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "event.*")
        seen: dict[str, list[dict[str, Any]]] = {"door": [], "ann": []}
        async with plane.listen(plane.device()) as door, plane.listen(plane.user()) as ann:
            room = await talk(plane)
            await act(plane, room, "hangup", plane.user())
            for name, socket in (("door", door), ("ann", ann)):
                while not seen[name] or seen[name][-1]["eventName"] != "finishVoip":
                    seen[name].append(await socket.receive_json(timeout=10))
        total = len(seen["door"]) + len(seen["ann"])
        await receiver.until(total)
        for name, events in seen.items():
            told = [message for message in receiver.messages if message.data["party"]["id"] == name]
            told.sort(key=lambda message: message.data["seq"])
            assert [message.event for message in told] == [f"event.{event['eventName']}" for event in events]
            for message, event in zip(told, events, strict=True):
                assert message.data == {"party": message.data["party"], **event}
                assert message.data["party"]["kind"] == ("device" if name == "door" else "user")
        assert len(receiver.messages) == total

    play_plane(scene)


def test_a_hook_hears_what_it_asked_for_and_no_more() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "call.finished", path="/finished")
        await hooked(plane, receiver, "event.incomingCall", path="/ring")
        await hooked(plane, receiver, "*", path="/all")
        await hooked(plane, receiver, "grant.changed", path="/grants")
        room = str((await plane.create())["roomId"])
        await act(plane, room, "hangup", plane.device())
        # created, ended, finished; incomingCall, and three events of the end for each side
        await receiver.until(3 + 7 + 2)
        by_path = Counter(message.path for message in receiver.messages)
        assert by_path["/finished"] == by_path["/ring"] == 1
        assert by_path["/grants"] == 0
        for bad in ("", "call", "Call.**", "call.*.*", "a b", "*.created", "x" * 65):
            body = {"url": receiver.base, "events": [bad]}
            code, answer = await plane.ask("POST", "/v1/webhooks", plane.operator(), json=body)
            if bad != "call":
                assert (code, answer["errCode"]) == (400, 1004), bad

    play_plane(scene)


async def grant(plane: Plane, decision: str) -> dict[str, Any]:
    _, ticket = await plane.ask("POST", "/v1/tickets", plane.operator(), json={"sn": "door", "model_id": "m1"})
    body = {
        "sn": "door", "modelId": "m1", "snTicket": ticket["sn_ticket"], "deviceName": "Door", "decision": decision,
    }  # fmt: skip
    code, answer = await plane.ask("POST", "/v1/grants", plane.user(), json=body)
    assert code == 200, answer
    return dict(answer)


def test_every_change_of_a_grant_is_told() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver)
        await plane.ask("PUT", "/v1/devices/door", plane.operator(), json={"modelId": "m1"})
        await grant(plane, "ask")
        given = await grant(plane, "agree")
        path = f"/v1/grants/{given['grantId']}"
        assert (await plane.ask("DELETE", path, plane.operator()))[0] == 200
        assert (await plane.ask("DELETE", path, plane.operator()))[0] == 200, "nothing changes any more"
        await grant(plane, "agree")
        assert (await plane.ask("DELETE", path, plane.user()))[0] == 200
        assert (await plane.ask("POST", path + "/reopen", plane.user()))[0] == 200
        await grant(plane, "refuse")
        messages = await receiver.until(6, "grant.changed")
        messages.sort(key=lambda message: int(message.delivery))
        states = ["agreed", "revoked", "agreed", "refused", "reopened", "refused"]
        assert [message.data["state"] for message in messages] == states
        assert [message.data["status"] for message in messages] == [1, 0, 1, 0, 0, 0]
        for message in messages:
            assert message.data["grantId"] == given["grantId"]
            assert (message.data["openid"], message.data["sn"], message.data["modelId"]) == ("ann", "door", "m1")
            assert (message.data["groupId"], message.data["deviceName"]) == (None, "Door")
        assert len(receiver.messages) == 6

    play_plane(scene)


def test_calls_of_a_node_that_died_are_told_as_finished_by_its_next_life(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'relay.sqlite3'}"
    rooms: list[str] = []

    async def first(plane: Plane, receiver: Receiver) -> None:
        receiver.answer = status(500)
        await hooked(plane, receiver)
        rooms.append(await talk(plane))
        await receiver.until(3)
        await plane.base_plane.webhooks.close()
        await plane.base_plane.store.close()  # as if it were killed here: nothing of the end is written

    async def second(plane: Plane, receiver: Receiver) -> None:
        rows = await plane.base_plane.store.run(
            lambda connection: connection.exec_driver_sql("SELECT event FROM deliveries ORDER BY 1").scalars().all()
        )
        assert rows == ["call.answered", "call.created", "call.ended", "call.finished", "call.started"]
        _, view = await plane.ask("GET", f"/v1/calls/{rooms[0]}", plane.operator())
        assert (view["state"], view["endReason"]) == ("SETTLED", "abort")

    play_plane(first, store=store)
    play_plane(second, store=store)
