"""The pages as a person meets them: words, languages, labels, errors. In a real browser, before a scripted node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from playwright.async_api import Page, ViewportSize, expect

from .scripted_node import ScriptedNode, answering, browser_before, refused

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 360, "height": 780}
SCREEN: ViewportSize = {"width": 1024, "height": 600}


@asynccontextmanager
async def opened(node: ScriptedNode, path: str) -> AsyncIterator[Page]:
    async def token(_request: web.Request) -> web.Response:
        return web.json_response({"token": "good"})

    node.answers.setdefault("POST /demo/token", token)
    async with browser_before(node) as page:
        await page.set_viewport_size(SCREEN if "device" in path else PHONE)
        await page.goto(f"{node.url}/web/{path}")
        yield page


@pytest.mark.parametrize("path", ["call.html?id=mia&name=Mia&peer=sn-1", "device.html?id=sn-1&peer=mia"])
def test_a_page_signs_in_rings_and_refuses(path: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def taken(_request: web.Request) -> web.Response:
            return web.json_response({"roomId": "r1"})

        node.answers["POST /v1/calls/r1/reject"] = taken
        async with opened(node, path) as page:
            await expect(page.locator("#status")).to_have_text("Ready for calls")
            await node.ring(1, roomType="video")
            await expect(page.locator("#answer")).to_be_visible()
            await expect(page.locator("#status")).to_have_text("Incoming video call · Door")
            await expect(page.locator("#hangup")).to_be_hidden()
            await page.keyboard.press("Shift+Tab")  # from Answer, which has the focus, to Decline
            await page.keyboard.press("Enter")
            assert await node.requested("POST", "/v1/calls/r1/reject") == {"status": "manual"}
            await node.send(2, "rejectVoip", status="manual")
            await node.send(3, "endVoip", keepTime=0)
            await expect(page.locator("#status")).to_have_text("Call declined")
            state = await page.evaluate("() => relayDemo.state()")
            assert state["phase"] == "ended"
            assert state["events"] == ["incomingCall", "callPageOnShow", "rejectVoip", "endVoip"]

    asyncio.run(scenario())


def test_the_language_can_be_switched_and_is_kept() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await expect(page.locator("#call-video")).to_have_text("Video call")
            await page.click("#language")
            await expect(page.locator("#call-video")).to_have_text("视频通话")
            assert await page.evaluate("() => document.documentElement.lang") == "zh-CN"
            await page.reload()
            await expect(page.locator("#call-video")).to_have_text("视频通话")

    asyncio.run(scenario())


def test_a_refused_call_says_why_and_what_to_do() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def refuse(_request: web.Request) -> web.Response:
            return refused(403, 9, "no grant")

        node.answers["POST /v1/calls"] = refuse
        async with opened(node, "device.html?id=sn-1&peer=mia&auto=call&voice=1") as page:
            await expect(page.locator(".verdict h2")).to_have_text("The device is not allowed to call you")
            await expect(page.locator(".advice")).to_contain_text("permission")
            body = await node.requested("POST", "/v1/calls")
            assert (body["roomType"], body["listener"]["id"]) == ("voice", "mia")

    asyncio.run(scenario())


def test_outside_demo_mode_the_page_says_so() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def none(_request: web.Request) -> web.Response:
            return refused(404, 1004, "no such page")

        node.answers["POST /demo/token"] = none
        async with opened(node, "call.html?id=mia") as page:
            await expect(page.locator("#status")).to_contain_text("relay serve --demo")

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["call.html?id=bad%20id!", "device.html?id=bad%20id!"])
def test_an_id_that_no_node_accepts_does_not_become_another(path: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, path) as page:
            await expect(page.locator("#status")).to_contain_text("The number “bad id!” in the address cannot be used")
            await expect(page.locator("#call-video")).to_be_disabled()
            await expect(page.locator("[data-self=id]")).to_have_text("bad id!")
            assert node.tokens == []
            assert [path for _, path, _ in node.requests if path == "/demo/token"] == []

    asyncio.run(scenario())


def test_a_handed_token_that_ran_out_is_told() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["GET /v1/calls/-"] = answering(lambda: refused(401, 1001, "the token has expired"))
        async with opened(node, "call.html?id=mia#token=bad") as page:
            await expect(page.locator("#status")).to_contain_text("Your sign-in has run out")
            await expect(page.locator("#status")).to_contain_text("from the application")
            await page.click("#language")
            await expect(page.locator("#status")).to_contain_text("登录已过期")

    asyncio.run(scenario())


def test_the_host_may_renew_a_token_and_is_told_when_it_does_not() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["GET /v1/calls/-"] = answering(lambda: refused(401, 1001, "the token has expired"))
        async with opened(node, "index.html") as page:
            await page.add_init_script(
                "window.given = 'good';window.relayHost = { baseUrl: `${location.origin}/`, token: async () => given };"
            )
            await page.goto(f"{node.url}/web/call.html?id=mia")
            await expect(page.locator("#status")).to_have_text("Ready for calls")
            await page.evaluate("() => { window.given = 'bad'; }")
            await (await node.opened.get()).close()
            await expect(page.locator("#status")).to_contain_text("Your sign-in has run out")
            await page.evaluate("() => { window.given = 'newer'; }")
            await expect(page.locator("#status")).to_have_text("Ready for calls")
            assert (node.tokens[0], node.tokens[-1]) == ("good", "newer")
            assert "/demo/token" not in [path for _, path, _ in node.requests]

    asyncio.run(scenario())


@pytest.mark.parametrize(("query", "model"), [("", "demo"), ("&model=bell-2", "bell-2")])
def test_the_address_names_the_model_of_the_device(query: str, model: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, f"call.html?id=mia&peer=sn-1&auto=call&voice=1{query}"):
            assert (await node.requested("POST", "/v1/calls"))["modelId"] == model

    asyncio.run(scenario())


def test_a_node_that_comes_up_later_is_found() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def lost(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        async def token(_request: web.Request) -> web.Response:
            return web.json_response({"token": "good"})

        node.answers["POST /demo/token"] = lost
        async with opened(node, "device.html?id=sn-1") as page:
            await expect(page.locator("#status")).to_contain_text("The server cannot be reached")
            node.answers["POST /demo/token"] = token
            await expect(page.locator("#status")).to_have_text("Ready for calls")

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["call.html", "device.html", "index.html"])
def test_every_control_has_a_name_and_no_script_fails(path: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, path) as page:
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            await page.reload()
            await expect(page.locator("#language")).to_have_text("中文")
            nameless = await page.evaluate(
                """() => [...document.querySelectorAll('button, a, input')].filter((node) => {
                  const label = node.labels?.[0]?.textContent ?? '';
                  return !(node.getAttribute('aria-label') || node.textContent.trim() || label.trim() || node.hidden);
                }).map(({ id, outerHTML }) => id || outerHTML)"""
            )
            # These two get their words with the first call.
            assert [name for name in nameless if name not in ("mute", "camera", "hangup")] == []
            assert faults == []

    asyncio.run(scenario())
