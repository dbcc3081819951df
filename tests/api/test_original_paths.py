"""The original paths with the original field names: a server that changes only the host name works (§4.4, §7.3)."""

from typing import Any

import pytest

from api.estate import API_KEY, Estate, on_estate


async def access_token(e: Estate) -> str:
    query = f"grant_type=client_credential&appid=vendor&secret={API_KEY}"
    answer = await e.done("GET", f"/cgi-bin/token?{query}")
    assert set(answer) == {"access_token", "expires_in"}
    assert answer["expires_in"] == 7200
    return str(answer["access_token"])


async def post(e: Estate, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    """Always 200, as the original."""
    token = await access_token(e) if token is None else token
    status, answer = await e.ask("POST", f"{path}?access_token={token}", None, body)
    assert status == 200
    return dict(answer)


def test_getsnticket() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        answer = await post(e, "/wxa/getsnticket", {"sn": "door", "model_id": "m1"})
        assert answer == {"errcode": 0, "errmsg": "ok", "sn_ticket": answer["sn_ticket"]}
        await e.grant("bob", snTicket=answer["sn_ticket"])
        for body, code in (
            ({"sn": "x" * 129, "model_id": "m1"}, 9800001),
            ({"sn": "a/b", "model_id": "m1"}, 9800002),
            ({"sn": "door", "model_id": "m2"}, 9800003),
            ({"sn": "nobody", "model_id": "m1"}, 9800004),
            ({"sn": "door"}, 1004),
        ):
            refusal = await post(e, "/wxa/getsnticket", body)
            assert (refusal["errcode"], set(refusal)) == (code, {"errcode", "errmsg"})

    on_estate(scene)


def test_groups() -> None:
    async def scene(e: Estate) -> None:
        await e.device("door")
        await e.device("gate")
        devices = {"device_list": [{"sn": "door", "model_id": "m1"}]}
        made = await post(e, "/wxa/business/group/createid", {"group_name": "School", "model_id": "m1"})
        group = made["group_id"]
        assert made == {"errcode": 0, "errmsg": "ok", "group_id": group}
        whole = {"errcode": 0, "errmsg": "ok", "group_id": group, "group_name": "School", "model_id": "m1", **devices}
        assert await post(e, "/wxa/business/group/adddevice", {"group_id": group, **devices}) == whole
        assert await post(e, "/wxa/business/group/getinfo", {"group_id": group}) == whole
        other = (await post(e, "/wxa/business/group/createid", {"group_name": "B", "model_id": "m1"}))["group_id"]
        refused = await post(e, "/wxa/business/group/adddevice", {"group_id": other, **devices})
        assert refused["errcode"] == 9800018
        moved = await post(e, "/wxa/business/group/adddevice", {"group_id": other, "force_add": True, **devices})
        assert moved["errcode"] == 0
        assert (await post(e, "/wxa/business/group/getinfo", {"group_id": group}))["device_list"] == []
        left = await post(e, "/wxa/business/group/removedevice", {"group_id": other, **devices})
        assert (left["errcode"], left["device_list"]) == (0, [])
        assert (await post(e, "/wxa/business/group/getinfo", {"group_id": "none"}))["errcode"] == 9800013

    on_estate(scene)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_iot_voip_call(version: int) -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        body = {
            "model_id": "m1", "sn": "door", "openid": "ann", "room_type": "voice", "listener_name": "Ann",
            "version_type": version, "query": "a=1", "caller_camera_status": 1, "listener_camera_status": 1,
            "payload": "p",
        }  # fmt: skip
        async with e.plane.listen(e.user_token()) as ann:
            answer = await post(e, "/wxa/business/iot/voip/call", body)
            assert (answer["errcode"], answer["errmsg"]) == (0, "ok")
            notice = await ann.receive_json(timeout=10)
        assert notice["roomId"] == answer["roomId"]
        data = notice["data"]
        assert (data["roomType"], data["query"], data["listenerName"]) == ("voice", "a=1", "Ann")
        assert (data["callerCameraStatus"], data["listenerCameraStatus"]) == (1, 1)
        view = await e.done("GET", f"/v1/calls/{answer['roomId']}", e.operator)
        assert (view["caller"]["id"], view["listener"]["id"]) == ("door", "ann")
        await e.end(answer["roomId"])
        e.plane.skew_s += 1
        for change, code in (
            ({"sn": ""}, 2), ({"sn": "nobody"}, 2), ({"model_id": "m2"}, 17), ({"openid": "nobody"}, 20),
            ({"openid": "a b"}, 7), ({"version_type": 3}, 1004), ({"room_type": "hologram"}, 1004),
        ):  # fmt: skip
            refusal = await post(e, "/wxa/business/iot/voip/call", {**body, **change})
            assert refusal["errcode"] == code, change

    on_estate(scene)


def test_the_release_that_is_not_approved_is_the_released_one_only() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        await e.model(approved=False)
        body = {"model_id": "m1", "sn": "door", "openid": "ann", "room_type": "video"}
        assert (await post(e, "/wxa/business/iot/voip/call", body))["errcode"] == 12
        assert (await post(e, "/wxa/business/iot/voip/call", {**body, "version_type": 1}))["errcode"] == 0

    on_estate(scene)


@pytest.mark.parametrize(
    "query",
    [
        "", "grant_type=client_credential", "grant_type=client_credential&appid=vendor&secret=wrong",
        "grant_type=password&appid=vendor&secret=" + API_KEY,
    ],
)  # fmt: skip
def test_access_tokens_that_are_not_given(query: str) -> None:
    async def scene(e: Estate) -> None:
        status, body = await e.ask("GET", f"/cgi-bin/token?{query}")
        assert status == 200
        assert body["errcode"] in (40001, 1004)
        assert "access_token" not in body

    on_estate(scene)


def test_an_access_token_ends_and_is_an_operators() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        token = await access_token(e)
        assert (await e.ask("GET", "/v1/webhooks", token))[0] == 200
        for wrong in (e.device_token(), e.user_token(), e.push_token()):
            answer = await post(e, "/wxa/getsnticket", {"sn": "door", "model_id": "m1"}, wrong)
            assert answer["errcode"] == 2103
        e.plane.skew_s += 7_300
        answer = await post(e, "/wxa/getsnticket", {"sn": "door", "model_id": "m1"}, token)
        assert answer["errcode"] == 40001

    on_estate(scene)


def test_the_api_key_itself_is_good_too_and_the_header_as_well() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        body = {"sn": "door", "model_id": "m1"}
        assert (await post(e, "/wxa/getsnticket", body, API_KEY))["errcode"] == 0
        assert (await e.done("POST", "/wxa/getsnticket", API_KEY, body))["errcode"] == 0

    on_estate(scene)


def test_the_body_may_come_with_any_content_type() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        token = await access_token(e)
        for content_type in ("text/plain", "application/x-www-form-urlencoded"):
            status, answer = await e.ask(
                "POST", f"/wxa/getsnticket?access_token={token}", data='{"sn":"door","model_id":"m1"}',
                headers={"Content-Type": content_type},
            )  # fmt: skip
            assert (status, answer["errcode"]) == (200, 0)

    on_estate(scene)
