"""Idempotency keys on every write: sent again it gets the first answer and does nothing; for another body it is 422."""

import asyncio
from typing import Any

import pytest

from api.estate import Estate, on_estate
from api.samples import ENDPOINTS, WIDE, Samples, label
from relay.api.endpoint import Empty, Endpoint

WRITES = tuple(one for one in ENDPOINTS if one.method != "GET" and one.answer is not None)
KEY = {"Idempotency-Key": "once"}


async def good_body(samples: Samples, endpoint: Endpoint) -> dict[str, Any] | None:
    """What succeeds here the first time, and for most not the second."""
    if endpoint.body is Empty:
        return None
    body = samples.body(endpoint)
    if endpoint.path in ("/v1/calls", "/v1/devices/{sn}/call", "/wxa/business/iot/voip/call"):
        await samples.estate.end(samples.path["room"])
        await samples.estate.grant(sn="gate")
    if endpoint.path == "/v1/devices/{sn}/register":
        return {"modelId": "m1", "snTicket": await samples.estate.ticket()}
    if endpoint.path == "/v1/devices/{sn}/token":
        made = await samples.estate.device("bell")
        samples.path["sn"] = "bell"
        return {"deviceSecret": made}
    if endpoint.path == "/v1/grants":
        body["snTicket"] = await samples.estate.ticket("gate")
    if endpoint.path == "/v1/devices/{sn}/call":
        body |= {"sn": "door"}
    if endpoint.handler == "take_out":
        body["device_list"] = [{"sn": "gate"}]
    if endpoint.path == "/v1/webhooks":
        body["url"] = "http://127.0.0.1:9/hook"
    return body


async def ready(samples: Samples, endpoint: Endpoint) -> None:
    estate = samples.estate
    if endpoint.handler == "join":
        await estate.done("POST", f"/v1/calls/{samples.path['room']}/answer", estate.user_token(), {})
    if endpoint.handler == "fail":
        await estate.end(samples.path["room"])
        _, made = await estate.call()
        samples.path["room"] = made["roomId"]
        await estate.done("POST", f"/v1/calls/{samples.path['room']}/answer", estate.user_token(), {})
    if endpoint.handler == "reopen":
        await estate.done("DELETE", f"/v1/grants/{samples.path['grant']}", estate.user_token())
    if endpoint.path == "/v1/webhooks/{hook}":
        hook = await estate.done("POST", "/v1/webhooks", estate.operator, {"url": "http://127.0.0.1:9/"})
        samples.path["hook"] = hook["id"]


@pytest.mark.parametrize("endpoint", WRITES, ids=label)
def test_a_repeated_write_gets_the_first_answer(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        await ready(samples, endpoint)
        async with estate.plane.listen(estate.device_token("door")):  # for messages
            body = await good_body(samples, endpoint)
            more: dict[str, Any] = {"headers": KEY} if body is None else {"headers": KEY, "json": body}
            token = samples.token(endpoint)
            first = await samples.ask(endpoint, token=token, **more)
            assert first[0] in (200, 201), first
            assert first[1].get("errcode", 0) == 0, first
            again = await samples.ask(endpoint, token=token, **more)
            if endpoint.own_key:  # create makes a new credential for the same room
                assert (again[0], again[1]["roomId"]) == (first[0], first[1]["roomId"])
            else:
                assert again == first
            if body is None:
                return
            changed = {**more, "json": other(body)}
            status, refusal = await samples.ask(endpoint, token=token, **changed)
            code = refusal.get("errcode", refusal.get("errCode"))
            assert (status, code) == (200 if endpoint.wxa else 422, 1004), refusal

    on_estate(scene, webhook_allow_private=True, **WIDE)


def other(body: dict[str, Any]) -> dict[str, Any]:
    """Right in shape, but another one."""
    name, value = next(iter(body.items()))
    if name == "direction":
        return {**body, "roomType": "voice"}
    replaced: Any = {
        "status": "forceFromApp", "origin": "forceFromApp", "device_list": [{"sn": "elsewhere"}], "cameraRotation": 180,
        "max_devices": 61,
    }.get(name, f"{value}x")  # fmt: skip
    return {**body, name: replaced}


def test_two_at_once_do_one_thing() -> None:
    async def scene(estate: Estate) -> None:
        body = {"group_name": "School", "model_id": "m1"}
        made = await asyncio.gather(
            *(estate.ask("POST", "/v1/groups", estate.operator, body, headers=KEY) for _ in range(5))
        )
        assert len({answer["group_id"] for _, answer in made}) == 1
        status, _ = await estate.ask("POST", "/v1/groups", estate.operator, body)
        assert status == 429, "there is one already, and there may be one"

    on_estate(scene, max_groups=1)


def test_a_refusal_is_not_remembered() -> None:
    async def scene(estate: Estate) -> None:
        body = {"sn": "door", "model_id": "m1"}
        status, _ = await estate.ask("POST", "/v1/tickets", estate.operator, body, headers=KEY)
        assert status == 404
        await estate.device()
        status, _ = await estate.ask("POST", "/v1/tickets", estate.operator, body, headers=KEY)
        assert status == 200

    on_estate(scene)


def test_a_key_is_its_owners_alone() -> None:
    async def scene(estate: Estate) -> None:
        await estate.all()
        await estate.device("gate")
        answers = [
            await estate.ask("POST", f"/v1/devices/{sn}/push-token", estate.device_token(sn), headers=KEY)
            for sn in ("door", "gate")
        ]
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0][1]["token"] != answers[1][1]["token"]

    on_estate(scene)


def test_a_key_of_a_call_is_for_that_call() -> None:
    async def scene(estate: Estate) -> None:
        await estate.all()
        first = await estate.plane.asked("POST", "/v1/calls", estate.device_token(), headers=KEY, json=call())
        assert first[0] == 201
        status, refusal, _ = await estate.plane.asked(
            "POST", "/v1/calls", estate.device_token(), headers=KEY, json=call(roomType="voice")
        )
        assert (status, refusal["errCode"]) == (422, 1004)
        await estate.end(first[1]["roomId"])
        again = await estate.plane.asked("POST", "/v1/calls", estate.device_token(), headers=KEY, json=call())
        assert again[1]["roomId"] == first[1]["roomId"], "a late repeat does not ring again"
        status, view = await estate.ask("GET", f"/v1/calls/{first[1]['roomId']}", estate.operator)
        assert view["endReason"] == "forced"

    on_estate(scene)


def call(**more: Any) -> dict[str, Any]:
    body = {
        "direction": "device_to_user", "roomType": "video", "caller": {"id": "door"}, "listener": {"id": "ann"},
    }  # fmt: skip
    return {**body, **more}


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_keys_that_are_none(key: str) -> None:
    async def scene(estate: Estate) -> None:
        await estate.all()
        for endpoint in (("POST", "/v1/calls"), ("POST", "/v1/groups")):
            body = call() if endpoint[1] == "/v1/calls" else {"group_name": "School", "model_id": "m1"}
            token = estate.device_token() if endpoint[1] == "/v1/calls" else estate.operator
            status, refusal = await estate.ask(*endpoint, token, body, headers={"Idempotency-Key": key})
            assert (status, refusal["errCode"]) == (400, 1004)

    on_estate(scene)


def test_a_key_where_nothing_is_remembered_does_no_harm() -> None:
    """A leg is left once, and the second time it is gone; a client that sends keys everywhere still gets its answer."""

    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        (leave,) = [one for one in ENDPOINTS if label(one) == "DELETE /v1/calls/{room}/legs/{leg}"]
        assert (await samples.ask(leave, headers=KEY))[0] == 200
        assert (await samples.ask(leave, headers=KEY))[0] == 404

    on_estate(scene)
