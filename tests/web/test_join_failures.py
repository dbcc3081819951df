"""What keeps the SDK from joining: each failure with its own code, told to the application and to the node."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Page

from .scripted_node import ScriptedNode, answering, browser_before, connect

pytestmark = pytest.mark.browser

CALL = "voip.callDevice({ roomType: 'voice', sn: 'sn-1', modelId: 'm', nickName: 'Mia' })"
FLAT = "(error) => ({ name: error.name, errCode: error.errCode, extErrMsg: error.extErrMsg ?? null })"
LEGS = "/v1/calls/r1/legs"
CANDIDATES = re.compile(r"a=(candidate|end-of-candidates).*\r\n")  # without them, two peers never meet


def making_calls(node: ScriptedNode) -> None:
    """Calls can be made; what becomes of the offer is the test's affair."""
    made = {"isSuccess": True, "roomId": "r1", "groupId": "r1", "chargeType": "license", "credential": "c"}
    node.answers["POST /v1/calls"] = answering(lambda: web.json_response(made, status=201))
    again = {"roomId": "r1", "groupId": "r1", "role": "caller", "credential": "c2"}
    node.answers["POST /v1/calls/r1/join"] = answering(lambda: web.json_response(again))
    node.answers["POST /v1/calls/r1/fail"] = answering(lambda: web.json_response({"roomId": "r1"}))


async def failure(page: Page) -> dict[str, Any]:
    """The error of the call's own part, once there is one."""
    await page.wait_for_function("() => voip.state().failure !== null")
    error: dict[str, Any] = await page.evaluate(f"() => ({FLAT})(voip.state().failure)")
    return error


def test_a_microphone_that_is_refused_is_2102_and_no_room_is_made() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        making_calls(node)
        async with browser_before(node, allow_media=False) as page:
            await connect(page, node)
            error = await page.evaluate(f"() => {CALL}.catch({FLAT})")
            assert error == {"name": "VoipJoinError", "errCode": 2102, "extErrMsg": "microphone-refused"}
            assert ("POST", "/v1/calls") not in [(method, path) for method, path, _ in node.requests]

    asyncio.run(scenario())


def test_a_microphone_that_fails_is_2007() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        making_calls(node)
        async with browser_before(node) as page:
            await connect(page, node)
            # The browser's own word for a device that is there and cannot be read.
            await page.evaluate(
                """() => {
                  const busy = new DOMException('busy', 'NotReadableError');
                  navigator.mediaDevices.getUserMedia = () => Promise.reject(busy);
                }"""
            )
            await page.evaluate(f"() => {CALL}")
            error = await failure(page)
            assert error == {"name": "VoipJoinError", "errCode": 2007, "extErrMsg": "microphone-in-use"}
            assert (await node.requested("POST", "/v1/calls/r1/fail"))["errMsg"].startswith("microphone")

    asyncio.run(scenario())


def test_an_answer_that_fits_no_offer_is_2003_and_the_node_is_told() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        making_calls(node)
        nonsense = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        node.answers[f"POST {LEGS}"] = answering(
            lambda: web.Response(status=201, text=nonsense, content_type="application/sdp")
        )
        async with browser_before(node, fake_clock=True) as page:
            await connect(page, node)
            await page.evaluate(f"() => {CALL}")
            told = asyncio.ensure_future(node.requested("POST", "/v1/calls/r1/fail"))
            while not told.done():
                await page.clock.run_for(1_000)
            error = await failure(page)
            assert (error["name"], error["errCode"]) == ("VoipJoinError", 2003)
            assert "answer" in (await told)["errMsg"]

    asyncio.run(scenario())


def test_a_path_that_does_not_come_up_is_2004_after_several_tries() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        making_calls(node)
        peers: list[RTCPeerConnection] = []
        turn = asyncio.Lock()  # the page's clock stands still while the node is at work

        async def answer(request: web.Request) -> web.Response:
            async with turn:
                peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
                peers.append(peer)
                offer = CANDIDATES.sub("", await request.text())
                await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
                await peer.setLocalDescription(await peer.createAnswer())
                text = CANDIDATES.sub("", peer.localDescription.sdp)
            headers = {"Location": f"{LEGS}/{len(peers)}"}
            return web.Response(status=201, text=text, content_type="application/sdp", headers=headers)

        node.answers[f"POST {LEGS}"] = answer
        async with browser_before(node, fake_clock=True) as page:
            await connect(page, node)
            await page.evaluate(f"() => {CALL}")
            told = asyncio.ensure_future(node.requested("POST", "/v1/calls/r1/fail"))
            while not told.done():
                async with turn:
                    await page.clock.run_for(200)
                for _ in range(3):
                    await page.evaluate("() => fetch('/blank')")  # requests of the page come first
            error = await failure(page)
            assert (error["name"], error["errCode"]) == ("VoipJoinError", 2004)
            assert len(peers) > 1, "retried inside the join timer, with a new credential"
        for peer in peers:
            await peer.close()

    asyncio.run(scenario())
