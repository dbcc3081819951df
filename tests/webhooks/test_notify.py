"""`iot_voip_notify`: the operator's server is asked about a call of its device, and its answer decides."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from api.plane import OFFER, SDP, Plane

from webhooks.outbox import hooked, play_plane
from webhooks.receiver import Answer, Message, Receiver, chunked, hang, status


def answer(errcode: int, errmsg: str = "") -> Answer:
    async def given(_message: Message) -> web.StreamResponse:
        return web.json_response({"errcode": errcode, "errmsg": errmsg})

    return given


async def call(plane: Plane) -> str:
    """The user calls a device behind the operator's cloud."""
    body = {
        "direction": "user_to_device", "businessType": 2, "target": "device", "isCloud": True, "roomType": "video",
        "caller": {"id": "ann", "name": "Ann"}, "listener": {"id": "cam"}, "modelId": "m1", "payload": "p1",
    }  # fmt: skip
    code, made = await plane.ask("POST", "/v1/calls", plane.user(), json=body)
    assert code == 201, made
    return str(made["roomId"])


async def end(plane: Plane, room: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            _, view = await plane.ask("GET", f"/v1/calls/{room}", plane.user())
            if view["state"] == "SETTLED":
                return dict(view)
            await asyncio.sleep(0.01)


def test_the_question_holds_what_the_server_needs() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        hook = await hooked(plane, receiver, "iot_voip_notify")
        async with plane.listen(plane.device("cam")) as cam:
            room = await call(plane)
            (asked,) = await receiver.until(1)
            assert asked.signed_with(hook["secret"])
            assert (asked.event, asked.attempt) == ("iot_voip_notify", 1)
            body = asked.body
            assert body["Event"] == "iot_voip_notify"
            assert (body["Action"], body["MsgType"]) == ("join_voip_room", "event")
            assert (body["RoomId"], body["Sn"], body["ModelId"], body["FromUserName"]) == (room, "cam", "m1", "ann")
            assert (body["Payload"], body["RoomType"]) == ("p1", "video")
            assert (await cam.receive_json(timeout=10))["eventName"] == "incomingCall", "errcode 0: it goes on"
            code, view = await plane.ask("GET", f"/v1/calls/{room}", body["ServerToken"])
            assert (code, view["roomId"]) == (200, room), "ServerToken is the device's"
            code, _, _ = await plane.asked(
                "POST", f"/v1/calls/{room}/legs", body["SessionKey"], data=OFFER, headers=SDP
            )
            assert code == 201, "the first offer with SessionKey answers the call"

    play_plane(scene)


@pytest.mark.parametrize(
    ("given", "expected", "attempts"),
    [
        (answer(7, "not at home"), (7, "not at home"), 1),
        (answer(-1), (-1, None), 1),
        (status(500), (1002, None), 3),
        (chunked("nonsense"), (1002, None), 3),
        (hang, (1002, None), 3),
    ],
    ids=["refused", "refused without words", "broken", "unreadable", "silent"],
)
def test_anything_but_0_ends_the_call(given: Answer, expected: tuple[int, str | None], attempts: int) -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "iot_voip_notify", "call.*")

        async def notify_only(message: Message) -> web.StreamResponse:
            return await (given if message.event == "iot_voip_notify" else answer(0))(message)

        receiver.answer = notify_only
        async with plane.listen(plane.user()) as ann, plane.listen(plane.device("cam")) as cam:
            room = await call(plane)
            heard = []
            while not heard or heard[-1]["eventName"] != "finishVoip":
                heard.append(await ann.receive_json(timeout=20))
            cancel = next(event for event in heard if event["eventName"] == "cancelVoip")
            assert (cancel["data"]["status"], cancel["data"]["errCode"]) == ("other", expected[0])
            if expected[1] is not None:
                assert cancel["data"]["errMsg"] == expected[1]
            await cam.send_json({"type": "heartbeat"})
            assert await cam.receive_json(timeout=10) == {"type": "heartbeat"}, "the device never heard of it"
            view = await end(plane, room)
            assert view["errCode"] == expected[0]
        asked = receiver.of("iot_voip_notify")
        assert [message.attempt for message in asked] == list(range(1, attempts + 1)), "repeats are marked"
        assert len({message.delivery for message in asked}) == 1
        assert len({message.body["RoomId"] for message in asked}) == 1, "and dropped by the room"
        await receiver.until(1, "call.finished")

    play_plane(scene, webhook_s=0.3)


def test_an_answer_in_pieces_is_put_together() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "iot_voip_notify")
        receiver.answer = chunked('{"errcode": 0,           "errmsg": "come in"}')
        async with plane.listen(plane.device("cam")) as cam:
            await call(plane)
            assert (await cam.receive_json(timeout=10))["eventName"] == "incomingCall"
        assert len(receiver.messages) == 1

    play_plane(scene)


def test_a_repeat_after_a_lost_answer_lets_the_call_go_on() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "iot_voip_notify")

        async def second_time(message: Message) -> web.StreamResponse:
            return await (status(502) if message.attempt == 1 else answer(0))(message)

        receiver.answer = second_time
        async with plane.listen(plane.device("cam")) as cam:
            await call(plane)
            assert (await cam.receive_json(timeout=10))["eventName"] == "incomingCall"
        assert [message.attempt for message in receiver.messages] == [1, 2]

    play_plane(scene)


def test_of_two_servers_the_one_that_refuses_decides() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "iot_voip_notify", path="/yes")
        await hooked(plane, receiver, "iot_voip_notify", path="/no")

        async def by_path(message: Message) -> web.StreamResponse:
            return await answer(3 if message.path == "/no" else 0)(message)

        receiver.answer = by_path
        assert (await end(plane, await call(plane)))["errCode"] == 3

    play_plane(scene)


def test_a_call_that_ends_while_the_server_thinks_stays_ended() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "iot_voip_notify")
        gate = asyncio.Event()

        async def late(message: Message) -> web.StreamResponse:
            await gate.wait()
            return await answer(0)(message)

        receiver.answer = late
        async with plane.listen(plane.device("cam")) as cam:
            room = await call(plane)
            await receiver.until(1)
            await plane.ask("POST", f"/v1/calls/{room}/hangup", plane.user())
            gate.set()
            assert (await end(plane, room))["endReason"] == "cancelled"
            await cam.send_json({"type": "heartbeat"})
            assert await cam.receive_json(timeout=10) == {"type": "heartbeat"}

    play_plane(scene)


def test_without_a_server_there_is_nobody_to_ask() -> None:
    async def scene(plane: Plane, receiver: Receiver) -> None:
        await hooked(plane, receiver, "call.*")
        body = {
            "direction": "user_to_device", "target": "device", "isCloud": True, "roomType": "video",
            "caller": {"id": "ann"}, "listener": {"id": "cam"},
        }  # fmt: skip
        code, refused = await plane.ask("POST", "/v1/calls", plane.user(), json=body)
        assert (code, refused["errCode"]) == (503, 1002)
        assert len(plane.service) == 0

    play_plane(scene)
