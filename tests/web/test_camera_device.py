"""The camera-device component before a scripted node: its states, words and quality menu. In a real browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Locator, Page, expect

from .scripted_node import ScriptedNode, answering, browser_before, refused

pytestmark = pytest.mark.browser


@asynccontextmanager
async def shown(node: ScriptedNode, attributes: str) -> AsyncIterator[tuple[Page, Locator]]:
    async with browser_before(node) as page:
        await page.evaluate(
            """async (attributes) => {
              await import('/web/sdk/camera-device.js');
              window.picked = [];
              document.addEventListener('changeQuality', ({ detail }) => picked.push(detail.index));
              document.body.innerHTML = `<camera-device ${attributes}></camera-device>`;
            }""",
            attributes,
        )
        yield page, page.locator("camera-device")


@pytest.mark.parametrize(
    ("attributes", "status", "words"),
    [
        ("", 0, "No device was named."),
        ("sn=door", 0, "Nobody is signed in to see this device."),
        ("sn=door token=t", 403, "You may not see this device."),
        ("sn=door token=t", 404, "The device is not sending a picture."),
        ("sn=door token=t lang=zh", 404, "设备当前没有发送画面。"),
        ("sn=door token=t base-url=http://127.0.0.1:1", 0, "The server cannot be reached."),
    ],
)
def test_what_is_wrong_is_said_and_can_be_tried_again(attributes: str, status: int, words: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /whep/door"] = answering(lambda: refused(status or 500, 1, "no"))
        async with shown(node, attributes) as (_page, camera):
            await expect(camera).to_have_attribute("data-state", "error")
            await expect(camera.locator(".text")).to_have_text(words)
            before = len(node.requests)
            await camera.locator(".retry").click()
            await expect(camera).to_have_attribute("data-state", "error")
            if status:
                assert len(node.requests) == before + 1
                offer = node.requests[-1][2]
                assert offer.count("a=recvonly") == 2

    asyncio.run(scenario())


def test_the_room_may_differ_and_changes_start_anew() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with shown(node, "sn=door room=garden token=t") as (page, camera):
            await node.requested("POST", "/whep/garden")
            await page.evaluate("() => document.querySelector('camera-device').setAttribute('room', 'gate')")
            await node.requested("POST", "/whep/gate")
            await expect(camera).to_have_attribute("data-state", "error")
            assert [path for _, path, _ in node.requests] == ["/whep/garden", "/whep/gate"]

    asyncio.run(scenario())


def test_the_quality_menu_works_by_keyboard() -> None:
    async def scenario() -> None:
        async with shown(ScriptedNode(), "sn=door device-name=Door token=t") as (page, camera):
            await expect(camera).to_have_attribute("data-state", "error")
            opener = camera.locator(".quality")
            await expect(opener).to_have_text("360P")
            await expect(opener).to_have_attribute("aria-label", "Picture quality: 360P")
            await opener.focus()
            await page.keyboard.press("Enter")
            items = camera.get_by_role("menuitemradio")
            await expect(items).to_have_text(["360P", "480P", "720P", "1080P", "4K"])
            await expect(items.nth(0)).to_be_focused()
            await page.keyboard.press("ArrowUp")  # round to the last
            await expect(items.nth(4)).to_be_focused()
            await page.keyboard.press("Escape")
            await expect(opener).to_be_focused()
            await expect(camera.get_by_role("menu")).to_be_hidden()
            await page.keyboard.press("Enter")
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("Enter")
            await expect(opener).to_have_text("720P")
            assert await page.evaluate("() => picked") == [2]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ('\'["a","b"]\'', ["a", "b"]),
        ("'low, high'", ["low", "high"]),
        ("'1,2,3,4,5,6,7'", ["1", "2", "3", "4", "5"]),
        ("'[broken'", ["360P", "480P", "720P", "1080P", "4K"]),
    ],
)
def test_the_quality_list_has_at_most_five_entries(value: str, names: list[str]) -> None:
    async def scenario() -> None:
        async with shown(ScriptedNode(), f"sn=door token=t video-quality-list={value}") as (_page, camera):
            await camera.locator(".quality").click()
            await expect(camera.get_by_role("menuitemradio")).to_have_text(names)

    asyncio.run(scenario())
