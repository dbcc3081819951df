"""The SDK's calling methods: shapes of results and errors, and hang-ups at awkward moments. In a real browser."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from .scripted_node import ScriptedNode, browser_before, connect, refused, seen

pytestmark = pytest.mark.browser

TO_USER = """{
  businessType: 1, roomType: 'voice',
  caller: { id: 'sn-1', name: 'Door' }, listener: { id: 'mia' },
}"""
TO_DEVICE = "{ roomType: 'voice', sn: 'sn-1', modelId: 'm', nickName: 'Mia' }"
FLAT = """(error) => ({
  name: error.name, errCode: error.errCode, errno: error.errno, errMsg: error.errMsg,
  base: error instanceof errors.VoipError,
})"""


def answering(response: web.Response) -> Any:
    async def handler(_request: web.Request) -> web.Response:
        return response

    return handler


def test_a_refusal_resolves_from_init_by_caller_and_is_thrown_by_call_device() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            node.answers["POST /v1/calls"] = answering(refused(403, 9, "not authorised"))
            result = await page.evaluate(
                f"""async () => {{
                  const result = await voip.initByCaller({TO_USER});
                  return {{ ...result, errObj: ({FLAT})(result.errObj) }};
                }}"""
            )
            error = {
                "name": "VoipCgiError",
                "errCode": 9,
                "errno": 9,
                "errMsg": "not authorised",
                "base": True,
            }
            assert result == {
                "isSuccess": False,
                "errCode": 9,
                "errMsg": "not authorised",
                "errObj": error,
                "error": {"err_code": "9", "errMsg": "not authorised"},
            }
            node.answers["POST /v1/calls"] = answering(refused(403, 9, "not authorised"))
            assert await page.evaluate(f"() => voip.callDevice({TO_DEVICE}).catch({FLAT})") == error
            assert await page.evaluate("() => voip.state().phase") == "ended"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_js", "word"),
    [
        ("{}", "roomType"),
        ("{ businessType: 1, roomType: 'video', caller: {}, listener: { id: 'a' } }", "caller.id"),
        (
            "{ businessType: 1, roomType: 'video', caller: { id: 'a' }, listener: { id: 'b' }, timeLimit: 0 }",
            "timeLimit",
        ),
        (
            "{ businessType: 9, roomType: 'video', caller: { id: 'a' }, listener: { id: 'b' } }",
            "businessType",
        ),
        ("null", "req"),
    ],
)
def test_wrong_parameters_are_thrown_and_named(request_js: str, word: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            error = await page.evaluate(f"() => voip.initByCaller({request_js}).catch({FLAT})")
            assert error["name"] == "VoipPluginError"
            assert error["errCode"] == 1004
            assert error["errMsg"].startswith(word)
            assert node.requests == []

    asyncio.run(scenario())


def test_campus_modes_resolve_as_not_offered() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            result = await page.evaluate(f"() => voip.initByCaller({{ ...{TO_USER}, businessType: 0 }})")
            assert (result["isSuccess"], result["errCode"]) == (False, 1011)

    asyncio.run(scenario())


def test_no_answer_is_1002_and_no_json_is_1003() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            node.answers["POST /v1/calls"] = answering(web.Response(text="<html>"))
            result = await page.evaluate(f"() => voip.initByCaller({TO_USER})")
            assert result["errCode"] == 1003
            await page.route("**/v1/calls", lambda route: route.abort())
            result = await page.evaluate(f"() => voip.initByCaller({TO_USER})")
            assert result["errCode"] == 1002

    asyncio.run(scenario())


def test_success_has_the_plugins_shape_and_a_second_call_is_1005() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            made = {"isSuccess": True, "roomId": "r1", "groupId": "r1", "chargeType": "duration", "credential": "c"}
            node.answers["POST /v1/calls"] = answering(web.json_response(made, status=201))
            node.answers["POST /v1/calls/r1/legs"] = answering(refused(503, 2010, "later"))
            result = await page.evaluate(f"() => voip.initByCaller({TO_USER})")
            assert result == {"isSuccess": True, "roomId": "r1", "groupId": "r1", "chargeType": "duration"}
            offer = await node.requested("POST", "/v1/calls/r1/legs")
            assert "m=audio" in offer
            assert "a=ice-ufrag" in offer
            second = await page.evaluate(f"() => voip.callDevice({TO_DEVICE}).catch({FLAT})")
            assert second["errCode"] == 1005
            body = await node.requested("POST", "/v1/calls")
            assert body["direction"] == "device_to_user"
            assert body["caller"] == {"id": "sn-1", "name": "Door", "cameraStatus": 0}

    asyncio.run(scenario())


def test_hanging_up_before_the_room_exists_hangs_up_the_late_room() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        release = asyncio.Event()

        async def slow(_request: web.Request) -> web.Response:
            await release.wait()
            return web.json_response({"roomId": "late", "groupId": "late", "credential": "c"}, status=201)

        node.answers["POST /v1/calls"] = slow
        node.answers["POST /v1/calls/late/hangup"] = answering(web.json_response({"roomId": "late"}))
        async with browser_before(node) as page:
            await connect(page, node)
            await page.evaluate(f"() => {{ window.made = voip.callDevice({TO_DEVICE}); }}")
            async with page.expect_request("**/v1/calls"):
                pass
            await page.evaluate("() => { voip.hangUp(); }")
            assert await page.evaluate("() => voip.state().phase") == "ended"
            release.set()
            assert await node.requested("POST", "/v1/calls/late/hangup") == {"origin": "manual"}
            assert not [path for _, path, _ in node.requests if path.endswith("/legs")]

    asyncio.run(scenario())


def test_forced_hang_up_of_a_strange_room_does_nothing() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.ring(1)
            await seen(page, 2)
            await page.evaluate("() => voip.forceHangUpVoip('another')")
            assert await page.evaluate("() => voip.state().phase") == "ringing"
            node.answers["POST /v1/calls/r1/reject"] = answering(web.json_response({"roomId": "r1"}))
            await page.evaluate("() => voip.forceHangUpVoip('r1')")
            assert await node.requested("POST", "/v1/calls/r1/reject") == {"status": "forceFromApp"}

    asyncio.run(scenario())


def test_two_calls_that_cross_leave_the_first_one_ringing() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def refuse_after_the_ring(_request: web.Request) -> web.Response:
            await node.ring(1, "theirs")
            return refused(409, 1005, "this party is in another call")

        node.answers["POST /v1/calls"] = refuse_after_the_ring
        async with browser_before(node) as page:
            await connect(page, node)
            error = await page.evaluate(f"() => voip.callDevice({TO_DEVICE}).catch({FLAT})")
            assert error["errCode"] == 1005
            await page.wait_for_function("() => voip.state().phase === 'ringing'")
            assert await page.evaluate("() => voip.state().roomId") == "theirs"
            names = [event["eventName"] for event in await seen(page, 2)]
            assert names == ["incomingCall", "callPageOnShow"]  # the notice is told once

    asyncio.run(scenario())


def test_an_expired_token_is_renewed_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def fresh_only(request: web.Request) -> web.Response:
            if request.headers["Authorization"] != "Bearer t2":
                return refused(401, 14, "the user's token has expired")
            return refused(403, 9, "reached")

        node.answers["POST /v1/calls"] = fresh_only
        async with browser_before(node) as page:
            await page.evaluate(
                """() => {
                  let count = 0;
                  return voip.connect({ baseUrl: location.origin, token: async () => `t${++count}`, id: 'mia' });
                }"""
            )
            error = await page.evaluate(f"() => voip.callDevice({TO_DEVICE}).catch({FLAT})")
            assert error["errMsg"] == "reached"

    asyncio.run(scenario())


def test_interface_settings_are_checked_and_kept() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            codes = await page.evaluate(
                """() => [
                  () => voip.setUIConfig({ callerUI: { cameraRotation: 45 } }),
                  () => voip.setUIConfig(null),
                  () => voip.setCustomBtnText(5),
                  () => voip.setVoipEndPagePath({ url: '/end', key: 'Other' }),
                  () => voip.setVoipEndPagePath({ key: 'Call' }),
                  () => voip.onVoipEvent('no function'),
                  () => voip.setUIConfig({ callerUI: { cameraRotation: 90 }, customBoxHeight: '75vh' }),
                  () => voip.setVoipEndPagePath({ url: '/end', key: 'Call', options: 'a=1' }),
                ].map((act) => { try { act(); return 0; } catch ({ errCode }) { return errCode; } })"""
            )
            assert codes == [1004, 1004, 1004, 1004, 1004, 1004, 0, 0]

    asyncio.run(scenario())
