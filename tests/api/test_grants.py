"""The life of a grant: every row of plugin-interface §4.3, and the tickets with which it begins (§4.1, §3.4)."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from api.estate import Estate, members, on_estate


async def ready(e: Estate) -> None:
    """A device, and a user who was not asked yet."""
    await e.model()
    await e.device()
    await e.user()


async def may_call(e: Estate, **more: Any) -> bool:
    """Does a call of the device reach the user? If not, it must be for want of a grant."""
    status, body = await e.call(**more)
    if status == 201:
        await e.end(body["roomId"])
        return True
    assert (status, body["errCode"]) == (403, 9), body
    return False


async def listed(e: Estate, openid: str = "ann") -> list[dict[str, Any]]:
    return list((await e.done("GET", "/v1/grants", e.user_token(openid)))["list"])


# --- the rows of §4.3 ---


def test_the_user_agrees() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        assert not await may_call(e)
        assert await listed(e) == [], "never asked"
        status, body = await e.decide("agree")
        assert status == 200
        assert body == {"grantId": body["grantId"], "status": 1, "state": "agreed", "name": "Front Doorbell"}
        assert await may_call(e)
        assert await listed(e) == [
            {"status": 1, "grant_id": body["grantId"], "sn": "door", "model_id": "m1", "device_name": "Front"}
        ]

    on_estate(scene)


def test_the_user_agrees_to_a_group() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        await e.device("gate")
        group = await e.group("door", "gate")
        status, body = await e.decide_group(group)
        assert (status, body["name"], body["status"]) == (200, "School", 1)
        assert await may_call(e)
        assert await may_call(e, token=e.device_token("gate"), caller={"id": "gate"})
        (entry,) = await listed(e)
        assert entry == {"status": 1, "grant_id": body["grantId"], "group_id": group}, "sn and model_id are not there"

    on_estate(scene)


@pytest.mark.parametrize("how", ["refuses", "switches off"])
def test_who_has_refused_is_not_asked_again(how: str) -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        if how == "refuses":
            await e.decide("refuse")
        else:
            grant = await e.grant()
            off = await e.done("DELETE", f"/v1/grants/{grant}", e.user_token())
            assert off == {"grantId": grant, "state": "refused"}
        assert not await may_call(e)
        for decision in ("ask", "agree", "refuse"):
            status, body = await e.decide(decision)
            assert (status, body["errCode"]) == (403, 10021)
        (entry,) = await listed(e)
        assert entry["status"] == 0

    on_estate(scene)


def test_a_refused_grant_is_asked_for_again_after_the_user_reopened_it() -> None:
    """What wiping the mini program's records does for the original: the question is shown again."""

    async def scene(e: Estate) -> None:
        await ready(e)
        _, refused = await e.decide("refuse")
        reopened = await e.done("POST", f"/v1/grants/{refused['grantId']}/reopen", e.user_token())
        assert reopened == {"grantId": refused["grantId"], "state": "reopened"}
        assert await listed(e) == [], "no decision any more"
        assert not await may_call(e), "reopening is no agreement"
        status, question = await e.decide("ask")
        assert (status, question["state"]) == (200, "reopened")
        await e.grant()
        assert await may_call(e)
        status, body = await e.ask("POST", f"/v1/grants/{refused['grantId']}/reopen", e.user_token())
        assert (status, body["errCode"]) == (409, 10001)

    on_estate(scene)


def test_reopening_is_not_for_the_operator_and_not_at_will() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        _, refused = await e.decide("refuse")
        path = f"/v1/grants/{refused['grantId']}/reopen"
        assert (await e.ask("POST", path, e.operator))[0] == 403
        await e.done("POST", path, e.user_token())
        await e.done("POST", path, e.user_token())  # it is open: nothing to do
        await e.decide("refuse")
        status, _, headers = await e.plane.asked("POST", path, e.user_token())
        assert status == 429
        assert 1 <= int(headers["Retry-After"]) <= 60
        e.plane.skew_s = 61
        await e.done("POST", path, e.user_token())

    on_estate(scene)


@pytest.mark.parametrize("how", ["taken out", "moved by force", "forgotten"])
def test_a_device_that_left_the_group_has_no_grant_of_it(how: str) -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        group, other = await e.group("door"), await e.group(name="Other")
        await e.decide_group(group)
        assert await may_call(e)
        if how == "taken out":
            await e.done("DELETE", f"/v1/groups/{group}/devices", e.operator, members("door"))
        elif how == "moved by force":
            await e.done("POST", f"/v1/groups/{other}/devices", e.operator, members("door", force_add=True))
        else:
            await e.done("DELETE", "/v1/devices/door", e.operator)
            await e.device()
        assert not await may_call(e)
        if how == "moved by force":
            assert (await e.decide_group(other))[0] == 200, "the new group can be authorised"
            assert await may_call(e)

    on_estate(scene)


def test_a_renamed_device_keeps_the_name_of_its_grant() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        await e.device(name="Old")
        grant = await e.grant()
        await e.device(name="New")
        _, made = await e.call()
        assert made["caller"]["name"] == "Front Doorbell"
        await e.end(made["roomId"])
        # Wiped and given again under the new name.
        await e.done("DELETE", f"/v1/grants/{grant}", e.user_token())
        await e.done("POST", f"/v1/grants/{grant}/reopen", e.user_token())
        await e.grant(deviceName="New")
        _, made = await e.call()
        assert made["caller"]["name"] == "New Doorbell"

    on_estate(scene)


def test_the_operator_revokes_and_the_user_can_be_asked_again() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        grant = await e.grant()
        revoked = await e.done("DELETE", f"/v1/grants/{grant}", e.operator)
        assert revoked == {"grantId": grant, "state": "revoked"}
        assert not await may_call(e)
        assert await e.done("DELETE", f"/v1/grants/{grant}", e.operator) == revoked, "once is enough"
        await e.grant()
        assert await may_call(e)

    on_estate(scene)


def test_the_operator_does_not_undo_a_refusal() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        _, refused = await e.decide("refuse")
        kept = await e.done("DELETE", f"/v1/grants/{refused['grantId']}", e.operator)
        assert kept["state"] == "refused"
        assert (await e.decide("ask"))[1]["errCode"] == 10021

    on_estate(scene)


def test_the_operator_and_the_device_can_know() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        await e.user("bob")
        group = await e.group("door")
        grant = await e.grant()
        await e.decide_group(group, openid="bob")
        await e.decide("refuse", "eve")
        for token in (e.operator, e.device_token()):
            known = (await e.done("GET", "/v1/devices/door/grants", token))["grants"]
            assert [(g["openid"], g["state"], g["status"], g["groupId"], g["deviceName"]) for g in known] == [
                ("ann", "agreed", 1, None, "Front"),
                ("bob", "agreed", 1, group, ""),
                ("eve", "refused", 0, None, "Front"),
            ]
            assert known[0]["grantId"] == grant
            assert all(isinstance(g["changedAt"], int) for g in known)
            asked = {"model_id": "m1", "openid_list": ["ann", "bob", "eve", "nobody"]}
            contacts = await e.done("POST", "/v1/devices/door/contacts/status", token, asked)
            assert contacts == {
                "errcode": 0, "errmsg": "ok",
                "contact_list": [
                    {"openid": openid, "sn": "door", "model_id": "m1", "status": status}
                    for openid, status in (("ann", 1), ("bob", 1), ("eve", 0), ("nobody", 0))
                ],
            }  # fmt: skip
        status, body = await e.ask(
            "POST", "/v1/devices/door/contacts/status", e.operator, {"model_id": "m2", "openid_list": []}
        )
        assert (status, body["errCode"]) == (403, 17)

    on_estate(scene)


def test_a_webhook_is_told_of_each_change() -> None:
    async def scene(e: Estate) -> None:
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def take(request: web.Request) -> web.Response:
            told.put_nowait(json.loads(await request.text()))
            return web.Response()

        app = web.Application()
        app.router.add_post("/", take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        await e.done("POST", "/v1/webhooks", e.operator, {"url": url, "events": ["grant.changed"]})
        await ready(e)
        grant = await e.grant()
        await e.done("DELETE", f"/v1/grants/{grant}", e.user_token())
        await e.done("POST", f"/v1/grants/{grant}/reopen", e.user_token())
        states: list[tuple[str, int]] = []
        async with asyncio.timeout(10):
            while len(states) < 3:
                message = await told.get()
                assert message["event"] == "grant.changed"
                assert message["data"]["grantId"] == grant
                assert (message["data"]["openid"], message["data"]["sn"]) == ("ann", "door")
                states.append((message["data"]["state"], message["data"]["status"]))
        assert sorted(states) == [("agreed", 1), ("refused", 0), ("reopened", 0)]
        await runner.cleanup()

    on_estate(scene, webhook_allow_private=True)


def test_which_calls_need_it() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        push = e.push_token()
        for more, needed in (
            ({}, True),
            ({"target": "wmpf"}, False),
            ({"target": "device"}, False),
        ):
            status, body = await e.call_device(voipToken=push, **more)
            assert (status, body.get("errCode")) == ((403, 9) if needed else (201, None)), more
            if status == 201:
                await e.end(body["roomId"])
        await e.model(callNeedsGrant=True)
        status, body = await e.call_device(target="device")
        assert (status, body["errCode"]) == (403, 9), "the policy of the model"
        await e.grant()
        assert (await e.call_device(target="device"))[0] == 201

    on_estate(scene)


def test_prepare_show_confirm() -> None:
    """The usual practice: looking whether the question may be shown uses nothing up and decides nothing."""

    async def scene(e: Estate) -> None:
        await ready(e)
        ticket = await e.ticket()
        for _ in range(2):
            status, question = await e.decide("ask", snTicket=ticket)
            assert (status, question) == (200, {"grantId": None, "status": 0, "state": None, "name": "Front Doorbell"})
        assert not await may_call(e)
        assert await listed(e) == []
        status, _ = await e.decide("agree", snTicket=ticket)
        assert status == 200

    on_estate(scene)


def test_without_a_grant_nobody_hears_anything() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        async with e.plane.listen(e.user_token()) as ann, e.plane.listen(e.device_token()) as door:
            assert not await may_call(e)
            for socket in (ann, door):
                await socket.send_str('{"type":"heartbeat"}')
                assert json.loads(await socket.receive_str(timeout=10)) == {"type": "heartbeat"}

    on_estate(scene)


# --- tickets ---


def test_a_ticket_is_used_once() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        ticket = await e.ticket()
        await e.grant(snTicket=ticket)
        status, body = await e.decide("agree", "bob", snTicket=ticket)
        assert (status, body["errCode"]) == (403, 10008)
        ticket = await e.ticket()
        registration = {"modelId": "m1", "snTicket": ticket}
        assert (await e.ask("POST", "/v1/devices/door/register", None, registration))[0] == 200
        status, body = await e.ask("POST", "/v1/devices/door/register", None, registration)
        assert (status, body["errCode"]) == (403, 9800011)
        assert (await e.decide("agree", "bob", snTicket=ticket))[1]["errCode"] == 10008

    on_estate(scene)


def test_two_users_reach_for_one_ticket() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        ticket = await e.ticket()
        both = await asyncio.gather(*(e.decide("agree", openid, snTicket=ticket) for openid in ("bob", "eve")))
        assert sorted(status for status, _ in both) == [200, 403]

    on_estate(scene)


def test_a_refused_decision_leaves_the_ticket_good() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        await e.grant()
        ticket = await e.ticket()
        assert (await e.decide("agree", snTicket=ticket))[1]["errCode"] == 10001
        await e.grant("bob", snTicket=ticket)

    on_estate(scene)


@pytest.mark.parametrize(("age_s", "good"), [(0, True), (299, True), (300, False), (3600, False)])
def test_a_ticket_is_good_for_five_minutes(age_s: float, good: bool) -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        ticket = await e.ticket()
        e.plane.skew_s = age_s
        status, body = await e.decide("agree", snTicket=ticket)
        assert status == (200 if good else 403), body
        assert good or body["errCode"] == 10008

    on_estate(scene)


def test_a_ticket_is_for_one_device_and_its_model() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        await e.device("gate")
        ticket = await e.ticket("door")
        for change in ({"sn": "gate"}, {"modelId": "m2"}, {"snTicket": ticket[:-1]}, {"snTicket": ticket + "x"}):
            status, body = await e.decide("agree", **{"snTicket": ticket, **change})
            assert (status, body["errCode"]) == (403, 10008), change
        status, body = await e.ask("POST", "/v1/devices/gate/register", None, {"modelId": "m1", "snTicket": ticket})
        assert (status, body["errCode"]) == (403, 9800011)
        status, body = await e.ask("POST", "/v1/devices/door/register", None, {"modelId": "m2", "snTicket": ticket})
        assert (status, body["errCode"]) == (403, 9800003)
        await e.grant(snTicket=ticket)

    on_estate(scene)


def test_a_device_name_has_thirteen_characters() -> None:
    async def scene(e: Estate) -> None:
        await ready(e)
        status, body = await e.decide("agree", deviceName="x" * 14)
        assert (status, body["errCode"]) == (400, 1004)
        await e.grant(deviceName="客厅的可视电话一二三四五六")

    on_estate(scene)
