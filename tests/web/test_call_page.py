"""The call page honours setUIConfig, setCustomBtnText and setVoipEndPagePath, proved on boxes and pixels.

The page's media is a test picture of 640x480 with coloured corners: red, green / blue, yellow, white in the middle.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, ViewportSize, expect

from .pixels import Screenshot
from .scripted_node import ScriptedNode, answering, browser_before

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 360, "height": 780}
SCREEN: ViewportSize = {"width": 1024, "height": 600}
UPRIGHT = ["red", "green", "blue", "yellow"]

HOST = """
window.pattern = () => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
  const pen = canvas.getContext('2d');
  const fill = (colour, ...box) => { pen.fillStyle = colour; pen.fillRect(...box); };
  const draw = () => {
    fill('#808080', 0, 0, 640, 480);
    fill('#f00', 0, 0, 160, 120);
    fill('#0f0', 480, 0, 160, 120);
    fill('#00f', 0, 360, 160, 120);
    fill('#ff0', 480, 360, 160, 120);
    fill('#fff', 280, 200, 80, 80);
  };
  draw();
  setInterval(draw, 100);
  return canvas.captureStream(10);
};
window.relayHost = {
  media: () => {
    let hooks;
    return {
      muted: false, cameraOff: false, notices: [],
      async open(settings, given) { hooks = given; this.cameraOff = settings.cameraOff; hooks.onLocal(pattern()); },
      async join() { hooks.onRemote(pattern()); hooks.onState('connected'); },
      setMuted(muted) { this.muted = muted; },
      async setCameraOff(off) { this.cameraOff = off; },
      silence() {}, close() {},
    };
  },
  navigate: (page) => { (window.jumps ??= []).push(page); },
};
"""


@asynccontextmanager
async def opened(node: ScriptedNode, path: str, screen: ViewportSize = PHONE) -> AsyncIterator[Page]:
    node.answers["POST /demo/token"] = answering(lambda: web.json_response({"token": "good"}))
    taken = answering(lambda: web.json_response({"roomId": "r1", "credential": "c"}))
    node.answers["POST /v1/calls/r1/answer"] = taken
    node.answers["POST /v1/calls/r1/hangup"] = taken
    async with browser_before(node) as page:
        await page.add_init_script(HOST)
        await page.set_viewport_size(screen)
        await page.goto(f"{node.url}/web/{path}")
        await node.opened.get()
        yield page


async def talk(page: Page, node: ScriptedNode, config: str = "{}", **notice: Any) -> None:
    """Sets the config, lets a video call ring, answers it, and waits until both pictures are there."""
    await page.evaluate(f"() => relayDemo.voip.setUIConfig({config})")
    await node.ring(1, **{"roomType": "video", **notice})
    await page.click("#answer")
    await node.requested("POST", "/v1/calls/r1/answer")
    await node.send(2, "hangOnVoip")
    await node.send(3, "startVoip")
    await page.wait_for_function(
        """() => document.querySelector('#stage').dataset.phase === 'talking'
          && (document.querySelector('#stage').dataset.kind === 'voice'
            || document.querySelector('#remote').getVideoPlaybackQuality().totalVideoFrames > 1)"""
    )


async def box(page: Page, selector: str) -> dict[str, float]:
    """The box on the screen, with turns and mirrors applied, rounded."""
    found: dict[str, float] = await page.evaluate(
        """selector => {
          const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
          return { x: Math.round(x), y: Math.round(y), width: Math.round(width), height: Math.round(height) };
        }""",
        selector,
    )
    return found


async def bare(page: Page) -> Screenshot:
    """A screenshot of the pictures alone: without buttons and without the small picture."""
    await page.click("#veil", position={"x": 20, "y": 400})
    await page.add_style_tag(content="[data-place=corner], #swap { visibility: hidden }")
    return Screenshot(await page.screenshot())


@pytest.mark.parametrize(
    ("picture", "size", "corners"),
    [
        ("{ objectFit: 'contain' }", (360, 270), UPRIGHT),
        ("{ objectFit: 'contain', horMirror: true }", (360, 270), ["green", "red", "yellow", "blue"]),
        ("{ objectFit: 'contain', vertMirror: true }", (360, 270), ["blue", "yellow", "red", "green"]),
        ("{ objectFit: 'contain', cameraRotation: 90 }", (360, 480), ["blue", "red", "yellow", "green"]),
        ("{ objectFit: 'contain', cameraRotation: 180 }", (360, 270), ["yellow", "blue", "green", "red"]),
        ("{ objectFit: 'contain', cameraRotation: 270 }", (360, 480), ["green", "yellow", "red", "blue"]),
        (
            "{ objectFit: 'contain', cameraRotation: 90, horMirror: true }",
            (360, 480),
            ["red", "blue", "green", "yellow"],
        ),
        ("{ objectFit: 'contain', aspectRatio: 2 }", (360, 180), UPRIGHT),
        ("{ objectFit: 'contain', aspectRatio: 0.5 }", (360, 720), UPRIGHT),
        ("{ objectFit: 'fill' }", (1040, 780), None),
        ("{}", (360, 270), UPRIGHT),
    ],
)
def test_the_callers_picture_is_turned_mirrored_and_fitted(
    picture: str, size: tuple[int, int], corners: list[str] | None
) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await talk(page, node, f"{{ callerUI: {picture} }}")
            remote = await box(page, "#remote")
            assert (remote["width"], remote["height"]) == size
            assert remote["x"] + remote["width"] / 2 == 180
            assert abs(remote["y"] + remote["height"] / 2 - 390) <= 1
            shot = await bare(page)
            if corners is None:
                # It covers the stage: grey of the picture's middle at all corners of the stage, no bars.
                assert shot.corners({"x": 0, "y": 0, "width": 360, "height": 780}) == ["grey"] * 4
            else:
                assert shot.corners(remote) == corners
                assert shot.colour(180, 20) == "dark"  # the bars

    asyncio.run(scenario())


def test_fill_and_contain_differ_on_a_lying_screen_too() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "device.html?id=sn-1", SCREEN) as page:
            await talk(page, node, "{ callerUI: { objectFit: 'fill' } }")
            assert await box(page, "#remote") == {"x": 0, "y": -84, "width": 1024, "height": 768}
            await page.evaluate("() => relayDemo.voip.setUIConfig({ callerUI: { objectFit: 'contain' } })")
            await page.wait_for_function(
                "() => document.querySelector('#remote').getBoundingClientRect().width === 800"
            )
            assert await box(page, "#remote") == {"x": 112, "y": 0, "width": 800, "height": 600}

    asyncio.run(scenario())


def test_the_settings_follow_the_role_and_a_stored_profile_gives_way() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            profile = {"cameraRotation": 180, "horMirror": True, "objectFit": "contain", "aspectRatio": 2}
            await talk(
                page,
                node,
                "{ callerUI: { horMirror: false }, listenerUI: { vertMirror: true } }",
                callerProfile=profile,
            )
            remote = await box(page, "#remote")
            assert (remote["width"], remote["height"]) == (360, 180)  # the profile's ratio
            # Turned as the profile says, not mirrored as this side set.
            assert (await bare(page)).corners(remote) == ["yellow", "blue", "green", "red"]
            # The called side is this user: its own picture has listenerUI, and by habit a mirror's.
            transform = await page.evaluate("() => document.querySelector('#local').style.transform")
            assert "scale(-1, -1) rotate(0deg)" in transform

    asyncio.run(scenario())


def test_the_own_picture_may_be_the_large_one() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await talk(page, node, "{ isSelfWindowMax: true }")
            assert await page.evaluate(
                "() => ['remote', 'local'].map((id) => document.getElementById(id).parentNode.dataset.place)"
            ) == [
                "corner",
                "main",
            ]
            await page.click("#swap")
            assert await page.evaluate("() => document.getElementById('remote').parentNode.dataset.place") == "main"

    asyncio.run(scenario())


def test_the_camera_switch_can_be_taken_away_and_a_device_has_a_speaker() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await talk(page, node, "{ listenerUI: { enableToggleCamera: false } }")
            await expect(page.locator("#camera")).to_be_hidden()
            await expect(page.locator("#speaker")).to_be_hidden()
            await page.evaluate("() => relayDemo.voip.setUIConfig({ listenerUI: { enableToggleCamera: true } })")
            await expect(page.locator("#camera")).to_be_visible()
        node = ScriptedNode()
        async with opened(node, "device.html?id=sn-1", SCREEN) as page:
            await talk(page, node, "{ handsFree: false }")
            speaker = page.locator("#speaker")
            await expect(speaker).to_have_attribute("aria-pressed", "false")
            assert await page.evaluate("() => document.querySelector('#remote').volume") < 1
            await speaker.click()
            await expect(speaker).to_have_attribute("aria-pressed", "true")
            assert await page.evaluate("() => document.querySelector('#remote').volume") == 1

    asyncio.run(scenario())


def test_a_tap_hides_the_buttons_and_hidden_buttons_do_not_react() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await talk(page, node)
            spot = await box(page, "#hangup")
            middle = (spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
            await page.click("#veil", position={"x": 180, "y": 300})
            await expect(page.locator("#hangup")).to_be_hidden()
            for _ in range(8):  # the keyboard cannot reach them either
                await page.keyboard.press("Tab")
                assert await page.evaluate("() => document.activeElement.closest('.controls') === null")
            await page.mouse.click(*middle)  # shows them again, and does nothing else
            await expect(page.locator("#hangup")).to_be_visible()
            assert await page.evaluate("() => relayDemo.state().phase") == "talking"
            assert not [path for _, path, _ in node.requests if path.endswith("/hangup")]
            await page.mouse.click(*middle)
            await node.requested("POST", "/v1/calls/r1/hangup")

    asyncio.run(scenario())


def test_the_custom_button_opens_a_half_screen_that_knows_both_ids() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await page.evaluate("() => relayDemo.voip.setCustomBtnText('Open the door')")
            await node.ring(1, roomType="video")
            await expect(page.locator("#answer")).to_be_visible()
            await expect(page.locator("#custom")).to_be_hidden()  # not before the talk
            await talk(page, node, "{ customBoxHeight: '75vh' }")
            await page.click("#custom")
            await expect(page.locator(".box")).to_be_visible()
            assert await box(page, ".box") == {"x": 0, "y": 195, "width": 360, "height": 585}
            await expect(page.locator(".box h2")).to_have_text("Open the door")
            await expect(page.locator("[data-fill=callerId]")).to_have_text("sn-1")
            await expect(page.locator(".box-close")).to_be_focused()
            await page.keyboard.press("Escape")
            await expect(page.locator(".box")).to_be_hidden()
            await expect(page.locator("#custom")).to_be_focused()
            log = await page.evaluate("() => relayDemo.state().log.filter((e) => e.eventName.endsWith('CustomBox'))")
            assert [entry["eventName"] for entry in log] == ["showCustomBox", "hideCustomBox"]
            assert log[0]["data"] == log[1]["data"] == {"callerId": "sn-1", "listenerId": "mia"}

    asyncio.run(scenario())


def test_the_host_may_fill_the_half_screen_and_a_device_has_none() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await page.add_init_script(
                """relayHost.customBox = (container, { callerId, listenerId, roomId, close }) => {
                  container.innerHTML = `<button id="mine">${callerId} ${listenerId} ${roomId}</button>`;
                  container.firstChild.addEventListener('click', close);
                  return () => { window.cleaned = true; };
                };"""
            )
            await page.reload()
            await node.opened.get()
            await talk(page, node, "{ btnText: 'Door' }")
            await page.click("#custom")
            await expect(page.locator("#mine")).to_have_text("sn-1 mia r1")
            await page.click("#mine")
            await expect(page.locator(".box")).to_be_hidden()
            assert await page.evaluate("() => window.cleaned") is True
        node = ScriptedNode()
        async with opened(node, "device.html?id=sn-1", SCREEN) as page:
            await talk(page, node, "{ btnText: 'Door' }")
            await expect(page.locator("#custom")).to_be_hidden()

    asyncio.run(scenario())


END = (
    "() => relayDemo.voip.setVoipEndPagePath({ url: '/done.html', key: 'Call', options: 'a=1', routeType: 'reLaunch' })"
)


def test_the_phone_goes_to_the_end_page_after_its_close_button() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await page.evaluate(END)
            await talk(page, node)
            await node.send(4, "hangUpVoip", keepTime=3, status="endByCaller", origin="other")
            await node.send(5, "endVoip", keepTime=3)
            await expect(page.locator(".verdict h2")).to_have_text("The other side hung up")
            assert await page.evaluate("() => window.jumps ?? []") == []
            await expect(page.locator("#back")).to_have_text("Close")
            await page.click("#back")
            [jump] = await page.evaluate("() => window.jumps")
            assert (jump["address"], jump["routeType"]) == ("/done.html?a=1", "reLaunch")

    asyncio.run(scenario())


def test_a_device_with_an_end_page_shows_no_other_and_goes_at_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "device.html?id=sn-1", SCREEN) as page:
            await page.evaluate(END)
            await talk(page, node)
            await node.send(4, "hangUpVoip", keepTime=3, status="endByCaller", origin="other")
            await node.send(5, "endVoip", keepTime=3)
            await page.wait_for_function("() => window.jumps?.length === 1")
            await expect(page.locator(".verdict")).to_be_hidden()

    asyncio.run(scenario())


@pytest.mark.parametrize(("route", "history"), [("redirectTo", 0), ("reLaunch", 0), ("switchTab", 1)])
def test_each_route_reaches_the_end_page(route: str, history: int) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            before = await page.evaluate("() => history.length")
            await page.evaluate(
                f"""async () => {{
                  const voip = (await import('/web/sdk/wmpf-voip.js')).createVoip();
                  voip.setVoipEndPagePath({{ url: '/blank', key: 'Call', options: 'a=1', routeType: '{route}' }});
                  setTimeout(() => voip.leaveCallPage());
                }}"""
            )
            await page.wait_for_url("**/blank?a=1")
            assert await page.evaluate("() => history.length") - before == history

    asyncio.run(scenario())


def test_a_push_opens_the_call_page_as_the_device_and_answers_without_a_tap() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        path = "call.html?roomType=voice&groupId=r1&listenerId=sn-9&callerName=Mia&callerId=mia&isClickedHangOnBtn=1"
        async with opened(node, path) as page:
            await node.ring(1, callerId="mia", callerName="Mia", listenerId="sn-9")
            await node.requested("POST", "/v1/calls/r1/answer")
            await node.send(2, "startVoip")
            await expect(page.locator("#hangup")).to_be_visible()
            await expect(page.locator("#veil")).to_be_hidden()  # a voice call has no picture to tap
            enter, onload = await page.evaluate(
                "() => [relayDemo.voip.getPluginEnterOptions(), relayDemo.voip.getPluginOnloadOptions()]"
            )
            assert enter["path"] == "/web/call.html"
            assert enter["query"]["groupId"] == onload["groupId"] == "r1"
            assert onload["isClickedHangOnBtn"] == "1"
            assert (await page.evaluate("() => relayDemo.voip.state()"))["kind"] == "device"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("encode", "size", "corners"),
    [
        ("{ fixedLength: 320, rotation: 2 }", (240, 320), ["green", "yellow", "red", "blue"]),
        ("{ fixedLength: 320, rotation: 1 }", (320, 240), UPRIGHT),
        ("{ ratio: 200 }", (640, 320), UPRIGHT),  # cut above and below, so the corners stay their colours
    ],
)
def test_the_sent_picture_has_the_form_a_device_asked_for(
    encode: str, size: tuple[int, int], corners: list[str]
) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia", {"width": 700, "height": 700}) as page:
            await page.evaluate(
                f"""async () => {{
                  const {{ Framing }} = await import('/web/sdk/framing.js');
                  const framing = new Framing(pattern().getVideoTracks()[0], {encode});
                  const video = document.createElement('video');
                  Object.assign(video, {{ id: 'sent', muted: true, autoplay: true }});
                  video.style.cssText = 'position: fixed; inset: 0 auto auto 0; z-index: 9';
                  video.srcObject = new MediaStream([framing.track]);
                  document.body.append(video);
                }}"""
            )
            await page.wait_for_function("() => sent.getVideoPlaybackQuality().totalVideoFrames > 2")
            shown = await box(page, "#sent")
            assert (shown["width"], shown["height"]) == size
            assert Screenshot(await page.screenshot()).corners(shown) == corners

    asyncio.run(scenario())


def test_a_pushed_page_shows_nothing_but_its_call_and_then_goes_home() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?roomType=voice&groupId=r1&listenerId=sn-9&callerId=mia", SCREEN) as page:
            await expect(page.locator("#home")).to_be_hidden()
            await node.ring(1, callerId="mia", callerName="Mia", listenerId="sn-9")
            await expect(page.locator("#answer")).to_be_visible()
            await node.send(2, "cancelVoip", status="other")
            await node.send(3, "endVoip", keepTime=0)
            await page.click("#back")
            await page.wait_for_url("**/device.html?id=sn-9**")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"status": "other"}, "Missed call"),
        ({"status": "other", "errCode": 1002, "errMsg": "no answer"}, "The device could not be reached"),
        ({"status": "forceFromApp"}, "The call was ended by the app"),
    ],
)
def test_the_end_page_says_why_a_call_was_cancelled(data: dict[str, Any], title: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await node.ring(1)
            await node.send(2, "cancelVoip", **data)
            await node.send(3, "endVoip", keepTime=0)
            await expect(page.locator(".verdict h2")).to_have_text(title)

    asyncio.run(scenario())


OUT_OF_REACH = """() => [...document.querySelectorAll('#stage button:not(#veil)')].filter((button) => {
  const { x, y, right, bottom, width, height } = button.getBoundingClientRect();
  const on = button.checkVisibility({ visibilityProperty: true });
  return on && (x < 0 || y < 0 || right > innerWidth || bottom > innerHeight || width < 44 || height < 44);
}).map(({ id }) => id)"""
SCROLLS = """() => ['html', '.frame', '#stage'].filter((name) => {
  const { scrollTop, scrollWidth, clientWidth } = document.querySelector(name);
  return scrollTop > 0 || scrollWidth > clientWidth;
})"""


@pytest.mark.parametrize("path", ["device.html?id=sn-1", "call.html?id=mia"])
@pytest.mark.parametrize("size", [(360, 780), (320, 568), (240, 280), (780, 360)])
def test_every_button_is_in_reach_on_a_small_screen(path: str, size: tuple[int, int]) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, path, {"width": size[0], "height": size[1]}) as page:
            await node.ring(1, roomType="video", callerName="Front door of the garden house")
            await expect(page.locator("#answer")).to_be_in_viewport(ratio=1)
            await expect(page.locator("#call-video")).to_be_hidden()
            assert await page.evaluate(OUT_OF_REACH) == []
            await talk(page, node)
            assert await page.evaluate(OUT_OF_REACH) == []
            await expect(page.locator("#timer")).to_be_in_viewport(ratio=1)
            await node.send(4, "hangUpVoip", keepTime=3, status="endByCaller", origin="other")
            await node.send(5, "endVoip", keepTime=3)
            await expect(page.locator("#back")).to_be_visible()
            assert await page.evaluate(OUT_OF_REACH) == []
            assert await page.evaluate(SCROLLS) == []

    asyncio.run(scenario())


def test_a_phone_in_a_call_is_seen_before_a_light_ground() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia", SCREEN) as page:
            await expect(page.locator(".recent-none")).to_be_in_viewport(ratio=1)
            await talk(page, node)
            assert await page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(230, 236, 241)"

    asyncio.run(scenario())


def test_who_did_not_answer_first_hears_that_somebody_else_did() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await node.ring(1)
            assert node.link is not None
            await node.link.send_json(
                {
                    "seq": 2,
                    "timestamp": 0,
                    "eventName": "cancelVoip",
                    "roomId": "r1",
                    "groupId": "r1",
                    "data": {"status": "other"},
                    "reason": "another party took the call",
                }
            )
            await node.send(3, "endVoip", keepTime=0)
            await expect(page.locator(".verdict h2")).to_have_text("Someone else answered")
            await expect(page.locator(".with")).to_have_text("Call with Door")
            await page.click("#back")
            await expect(page.locator(".recent.in")).to_contain_text("Door")

    asyncio.run(scenario())


def test_the_frame_of_the_focus_is_for_the_keyboard() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            frame = "() => getComputedStyle(document.activeElement.querySelector('.disc')).outlineStyle"
            await node.ring(1)
            await expect(page.locator("#answer")).to_be_focused()
            assert await page.evaluate(frame) == "none"
            await page.keyboard.press("Tab")
            await page.keyboard.press("Shift+Tab")
            await expect(page.locator("#answer")).to_be_focused()
            assert await page.evaluate(frame) == "solid"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("notices", "text"),
    [
        (["no-microphone"], "You can hear, but nobody hears you."),
        (["no-camera"], "No camera was found, so only your voice is sent."),
        (["no-microphone", "no-camera"], "No microphone and no camera were found."),
    ],
)
def test_what_is_missing_is_told_in_one_sentence(notices: list[str], text: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with opened(node, "call.html?id=mia") as page:
            await page.add_init_script(
                f"const {{ media }} = relayHost; relayHost.media = () => ({{ ...media(), notices: {notices} }});"
            )
            await page.reload()
            await node.opened.get()
            await talk(page, node)
            await expect(page.locator("#status")).to_contain_text(text)

    asyncio.run(scenario())


def test_the_grant_dialog_works_by_keyboard_and_in_both_languages() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        answer = {"grantId": "g1", "status": 1, "state": "granted", "name": "Front door · Bell"}
        node.answers["POST /v1/grants"] = answering(lambda: web.json_response(answer))
        ask = """() => {
          const device = { sn: 'a', snTicket: 't', modelId: 'm', deviceName: 'Front door' };
          window.asked = relayDemo.voip.requestDeviceVoIP(device).then(() => 0, ({ errCode }) => errCode);
        }"""
        async with opened(node, "call.html?id=mia") as page:
            dialog = page.get_by_role("dialog", name="Allow calls from “Front door · Bell”?")
            await page.evaluate(ask)
            await expect(dialog).to_be_focused()
            await page.keyboard.press("Enter")  # decides nothing
            await expect(dialog).to_be_visible()
            await page.keyboard.press("Escape")
            assert await page.evaluate("() => asked") == 1008
            await page.evaluate(ask)
            await expect(dialog).to_be_focused()
            await page.keyboard.press("Tab")
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            assert await page.evaluate("() => asked") == 0
            await page.click("#language")
            await page.evaluate(ask)
            await page.get_by_role("button", name="拒绝").click()
            assert await page.evaluate("() => asked") == 10021
            await expect(page.locator(".voip-dialog")).to_have_count(0)
            decisions = [body["decision"] for _, path, body in node.requests if path == "/v1/grants"]
            assert decisions == ["ask", "ask", "agree", "ask", "refuse"]

    asyncio.run(scenario())
