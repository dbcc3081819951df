"""Cloud calls (plugin-interface §4.5): the operator's server is asked by webhook, and its answer decides."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from api.estate import Answer, Estate, on_estate
from api.plane import OFFER, SDP

SETTINGS: dict[str, Any] = {"webhook_allow_private": True, "webhook_tries": 1, "webhook_s": 5.0}


class Operator:
    """The operator's server: what it was asked, and what it says."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answer: dict[str, Any] | None = {"errcode": 0}
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self.headers: list[dict[str, str]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.asked.put_nowait(json.loads(await request.text()))
        await self.gate.wait()
        if self.answer is None:
            return web.Response(text="what?", status=self.status)
        return web.json_response(self.answer, status=self.status)

    async def question(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.asked.get()


Play = Callable[[Estate, Operator], Awaitable[None]]


def play(scene: Play, **settings: Any) -> None:
    async def run(estate: Estate) -> None:
        operator = Operator()
        app = web.Application()
        app.router.add_post("/", operator.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        hook = {"url": url, "events": ["iot_voip_notify"]}
        await estate.done("POST", "/v1/webhooks", estate.operator, hook)
        await estate.all()
        try:
            await scene(estate, operator)
        finally:
            operator.gate.set()
            await runner.cleanup()

    on_estate(run, **{**SETTINGS, **settings})


async def cloud_call(e: Estate, **more: Any) -> Answer:
    return await e.call_device(target="device", isCloud=True, voipToken="", payload="p", **more)


async def names(socket: Any, last: str) -> list[str]:
    """The events up to and with `last`."""
    heard: list[str] = []
    while last not in heard:
        heard.append((await socket.receive_json(timeout=10))["eventName"])
    return heard


async def state(e: Estate, room: str) -> str:
    return str((await e.done("GET", f"/v1/calls/{room}", e.operator))["state"])


def test_the_question() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        status, made = await cloud_call(e)
        assert status == 201, made
        question = await operator.question()
        keys = {name: question.pop(name) for name in ("SessionKey", "ServerToken", "CreateTime")}
        assert question == {
            "ToUserName": "wx1", "FromUserName": "ann", "MsgType": "event", "Event": "iot_voip_notify",
            "Action": "join_voip_room", "RoomId": made["roomId"], "Payload": "p", "ModelId": "m1", "Sn": "door",
            "RoomType": "video",
        }  # fmt: skip
        assert (await e.ask("GET", "/v1/devices/door", keys["ServerToken"]))[0] == 200, "a device token"
        (headers,) = operator.headers
        assert headers["Relay-Event"] == "iot_voip_notify"
        assert headers["Relay-Signature"].startswith("v1=")

    play(scene)


def test_errcode_0_lets_it_ring() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.gate.clear()
        async with e.plane.listen(e.device_token()) as door:
            _, made = await cloud_call(e)
            await operator.question()
            assert await state(e, made["roomId"]) == "CREATED"
            operator.gate.set()
            assert await names(door, "incomingCall") == ["incomingCall"]
            answered = await e.done("POST", f"/v1/calls/{made['roomId']}/answer", e.device_token(), {})
            assert answered["role"] == "listener"

    play(scene)


@pytest.mark.parametrize(
    ("answer", "status", "code", "text"),
    [
        ({"errcode": 7, "errmsg": "the device is off"}, 200, 7, "the device is off"),
        ({"errcode": -1}, 200, -1, "the operator's server refused the call"),
        (None, 200, 1002, "the operator's server did not answer"),
        ({"errcode": 0}, 500, 1002, "the operator's server did not answer"),
        ({"errcode": "none"}, 200, 1002, "the operator's server did not answer"),
    ],
)
def test_anything_else_cancels_it(answer: Any, status: int, code: int, text: str) -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.answer, operator.status = answer, status
        async with e.plane.listen(e.user_token()) as ann, e.plane.listen(e.device_token()) as door:
            _, made = await cloud_call(e)
            frames = [await ann.receive_json(timeout=10) for _ in range(3)]
            assert [frame["eventName"] for frame in frames] == ["cancelVoip", "endVoip", "finishVoip"]
            assert frames[0]["data"] == {"status": "other", "errCode": code, "errMsg": text}
            await door.send_str('{"type":"heartbeat"}')
            assert await door.receive_json(timeout=10) == {"type": "heartbeat"}, "it never rang"
        view = await e.done("GET", f"/v1/calls/{made['roomId']}", e.user_token())
        assert (view["endReason"], view["errCode"], view["errMsg"]) == ("cancelled", code, text)

    play(scene)


def test_silence_is_asked_again_and_then_is_1002() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.gate.clear()
        async with e.plane.listen(e.user_token()) as ann:
            await cloud_call(e)
            frame = await ann.receive_json(timeout=10)
        assert (frame["eventName"], frame["data"]["errCode"]) == ("cancelVoip", 1002)
        assert [headers["Relay-Attempt"] for headers in operator.headers] == ["1", "2"]
        assert len({headers["Relay-Delivery"] for headers in operator.headers}) == 1, "known as a repeat"

    play(scene, webhook_s=0.2, webhook_tries=2)


def test_the_first_offer_with_the_session_key_answers() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        async with e.plane.listen(e.device_token()) as door:
            _, made = await cloud_call(e)
            question = await operator.question()
            await names(door, "incomingCall")
            path = f"/v1/calls/{made['roomId']}/legs"
            status, _, headers = await e.plane.asked("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
            assert status == 201
            assert await names(door, "hangOnVoip") == ["hangOnVoip"]
            status, body = await e.ask("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
            assert (status, body["errCode"]) == (401, 2008), "once"
            _, _, caller = await e.plane.asked("POST", path, made["credential"], data=OFFER, headers=SDP)
            for location in (headers["Location"], caller["Location"]):
                e.plane.media.say(location.rpartition("/")[2], "connected")
            assert await state(e, made["roomId"]) == "TALKING"

    play(scene)


def test_an_answer_before_the_webhooks_reply_wins() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.gate.clear()
        async with e.plane.listen(e.device_token()) as door:
            _, made = await cloud_call(e)
            question = await operator.question()
            path = f"/v1/calls/{made['roomId']}/legs"
            status, _ = await e.ask("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
            assert status == 201
            assert await names(door, "hangOnVoip") == ["hangOnVoip"]
            operator.gate.set()
            await e.ask("GET", "/healthz")
            await door.send_str('{"type":"heartbeat"}')
            assert await door.receive_json(timeout=10) == {"type": "heartbeat"}, "it does not ring any more"
            assert await state(e, made["roomId"]) == "LISTENER_JOINING"

    play(scene)


def test_the_caller_gives_up_before_the_reply() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.gate.clear()
        async with e.plane.listen(e.user_token()) as ann, e.plane.listen(e.device_token()) as door:
            _, made = await cloud_call(e)
            question = await operator.question()
            await e.done("POST", f"/v1/calls/{made['roomId']}/hangup", e.user_token(), {})
            assert await names(ann, "finishVoip") == ["cancelVoip", "endVoip", "finishVoip"]
            operator.gate.set()
            path = f"/v1/calls/{made['roomId']}/legs"
            status, body = await e.ask("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
            assert (status, body["errMsg"]) == (409, "retry join but voip is end")
            await door.send_str('{"type":"heartbeat"}')
            assert await door.receive_json(timeout=10) == {"type": "heartbeat"}

    play(scene)


def test_a_device_in_another_call_cannot_answer_early() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        _, other = await e.call()
        operator.gate.clear()
        await e.user("bob")
        _, made = await e.call_device(
            e.user_token("bob"), target="device", isCloud=True, voipToken="", caller={"id": "bob"}
        )
        question = await operator.question()
        path = f"/v1/calls/{made['roomId']}/legs"
        status, body = await e.ask("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
        assert (status, body["errCode"]) == (409, 2001)
        async with e.plane.listen(e.user_token("bob")) as bob:
            operator.gate.set()
            assert await names(bob, "finishVoip") == ["busy", "endVoip", "finishVoip"]
        assert await state(e, other["roomId"]) == "CREATED"

    play(scene)


def test_a_server_side_call_asks_too_and_the_user_rings_after_the_yes() -> None:
    async def scene(e: Estate, operator: Operator) -> None:
        operator.gate.clear()
        async with e.plane.listen(e.user_token()) as ann:
            body = {"openid": "ann", "model_id": "m1", "room_type": "video", "payload": "p"}
            made = await e.done("POST", "/v1/devices/door/call", e.operator, body)
            question = await operator.question()
            assert (question["RoomId"], question["Sn"], question["Payload"]) == (made["roomId"], "door", "p")
            await ann.send_str('{"type":"heartbeat"}')
            assert await ann.receive_json(timeout=10) == {"type": "heartbeat"}
            operator.gate.set()
            assert await names(ann, "incomingCall") == ["incomingCall"]
            path = f"/v1/calls/{made['roomId']}/legs"
            status, _ = await e.ask("POST", path, question["SessionKey"], data=OFFER, headers=SDP)
            assert status == 201, "the device's own key joins as the caller"
            assert await state(e, made["roomId"]) == "CALLER_JOINING"

    play(scene)
