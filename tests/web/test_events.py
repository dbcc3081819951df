"""The SDK's event link: resuming, subscribing, ticking, noticing what died. In a real browser."""

import asyncio
import time

import pytest
from aiohttp import web

from .scripted_node import ScriptedNode, browser_before, connect, refused, seen

pytestmark = pytest.mark.browser


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_broken_link_resumes_and_delivers_each_event_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            for seq in (7, 8, 9):
                await node.send(seq, "busy", f"room-{seq}")
            await seen(page, 3)
            assert node.link is not None
            await node.link.close()
            await node.opened.get()
            await node.send(9, "busy", "room-9")  # a node that repeats the last one
            await node.send(10, "busy", "room-10")
            events = await seen(page, 4)
            assert node.asked == [None, "9"]
            assert [event["seq"] for event in events] == [7, 8, 9, 10]

    asyncio.run(scenario())


def test_a_node_that_counts_anew_is_still_heard() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.send(1, "busy", "old", timestamp=1)
            await node.send(2, "busy", "old", timestamp=2)
            await seen(page, 2)
            assert node.link is not None
            await node.link.close()
            await node.opened.get()
            await node.send(1, "busy", "new", timestamp=3)
            events = await seen(page, 3)
            assert events[-1]["roomId"] == "new"

    asyncio.run(scenario())


def test_off_function_unsubscribes_and_double_registration_counts_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await page.evaluate(
                """() => {
                  window.count = 0;
                  const listener = () => { count += 1; };
                  voip.onVoipEvent(listener);
                  window.off = voip.onVoipEvent(listener);
                  voip.onVoipEvent(() => { throw new Error('a fault of one listener'); });
                }"""
            )
            await connect(page, node)
            await node.send(1, "busy")
            await seen(page, 1)
            assert await page.evaluate("() => count") == 1
            await page.evaluate("() => off()")
            await node.send(2, "busy")
            await seen(page, 2)
            assert await page.evaluate("() => count") == 1

    asyncio.run(scenario())


def test_calling_ticks_once_a_second_from_the_nodes_start_until_the_end() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.ring(1)
            # The node's clock is an hour ahead: only the difference between its own two numbers counts.
            ahead = now_ms() + 3_600_000
            await node.send(2, "startVoip", timestamp=ahead, startTime=ahead - 4_600)
            events = await seen(page, 5)
            names = [event["eventName"] for event in events]
            assert names == ["incomingCall", "callPageOnShow", "startVoip", "calling", "calling"]
            assert [event["data"]["keepTime"] for event in events[3:]] == [5, 6]
            assert events[3]["roomId"] == events[3]["groupId"] == "r1"
            await node.send(3, "hangUpVoip", keepTime=6, status="endByCaller", origin="other")
            await node.send(4, "endVoip", keepTime=6)
            await page.wait_for_function("() => voip.state().phase === 'ended'")
            before = await page.evaluate("() => seen.filter((e) => e.eventName === 'calling').length")
            await page.wait_for_timeout(1_300)
            assert await page.evaluate("() => seen.filter((e) => e.eventName === 'calling').length") == before

    asyncio.run(scenario())


def test_heartbeats_go_out_and_a_silent_link_is_replaced() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node, fake_clock=True) as page:
            await connect(page, node)
            await page.clock.run_for(5_100)
            assert await node.heard.get() == {"type": "heartbeat"}
            node.deaf = True
            await page.clock.run_for(30_000)
            await asyncio.wait_for(node.opened.get(), 10)
            assert len(node.asked) >= 2

    asyncio.run(scenario())


def test_a_call_the_node_forgot_is_ended_after_the_reconnect() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.ring(1)
            await node.send(2, "startVoip", timestamp=now_ms(), startTime=now_ms())
            await page.wait_for_function("() => voip.state().phase === 'talking'")
            assert node.link is not None
            await node.link.close()
            await node.opened.get()
            await page.wait_for_function("() => voip.state().phase === 'ended'")
            events = await page.evaluate("() => seen.filter((e) => e.eventName !== 'calling')")
            assert [event["eventName"] for event in events[-2:]] == ["abortVoip", "endVoip"]
            assert events[-2]["data"]["error"] == {"errMsg": "room status is abort"}
            assert events[-1]["data"]["isCaller"] is False

    asyncio.run(scenario())


def test_answered_on_another_page_stops_ringing_here() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.ring(1)
            await page.wait_for_function("() => voip.state().phase === 'ringing'")
            await node.send(2, "hangOnVoip")
            await page.wait_for_function("() => voip.state().phase === 'ended'")
            assert await page.evaluate("() => voip.state().end.eventName") == "answeredElsewhere"
            assert node.requests == []

    asyncio.run(scenario())


def test_the_ring_notice_fills_the_pages_onload_options() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with browser_before(node) as page:
            await connect(page, node)
            await node.ring(1, query="a=1&amp;b=2")
            await seen(page, 2)
            options = await page.evaluate("() => voip.getPluginOnloadOptions()")
            assert options["a"] == "1"
            assert options["b"] == "2"
            assert options["callerId"] == "sn-1"
            assert options["groupId"] == "r1"

    asyncio.run(scenario())


def test_a_refused_token_fails_connect_with_the_nodes_words() -> None:
    async def scenario() -> None:
        node = ScriptedNode()

        async def no(_request: web.Request) -> web.StreamResponse:
            return refused(401, 1001, "a bearer token is needed")

        node.answers["GET /v1/calls/-"] = no
        async with browser_before(node) as page:
            error = await page.evaluate(
                """() => voip.connect({ baseUrl: location.origin, token: 'bad' })
                  .then(() => null, ({ name, errCode, httpStatus }) => ({ name, errCode, httpStatus }))"""
            )
            assert error == {"name": "VoipPluginError", "errCode": 1001, "httpStatus": 401}

    asyncio.run(scenario())
