"""The real pages in Chromium: browser to browser and browser to device client, sound and picture, through the node."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from running import Node

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(permissions=["camera", "microphone"], locale="en-US")
    yield made
    made.close()


def state(page: Page) -> dict[str, Any]:
    return dict(page.evaluate("() => window.relayDemo.state()"))


def stats(page: Page) -> dict[str, Any]:
    return dict(page.evaluate("() => window.relayDemo.stats()"))


def wait_phase(page: Page, phase: str, timeout_ms: float = WAIT_MS) -> None:
    page.wait_for_function(f"() => window.relayDemo?.state().phase === {json.dumps(phase)}", timeout=timeout_ms)


def assert_media_grows(page: Page) -> None:
    """Pictures are decoded and sound has energy, and both go on."""
    page.wait_for_function(
        "async () => { const s = await window.relayDemo.stats();"
        " return s?.video?.framesDecoded > 20 && s?.audio?.totalAudioEnergy > 0; }",
        timeout=WAIT_MS,
    )
    first = stats(page)
    page.wait_for_function(
        "async ([frames, energy]) => { const s = await window.relayDemo.stats();"
        " return s.video.framesDecoded > frames + 10 && s.audio.totalAudioEnergy > energy; }",
        arg=[first["video"]["framesDecoded"], first["audio"]["totalAudioEnergy"]],
        timeout=WAIT_MS,
    )


def opened(context: BrowserContext, node: Node, path: str) -> Page:
    page = context.new_page()
    page.goto(node.url + path)
    wait_phase(page, "idle")
    return page


def test_a_user_page_and_a_device_page_talk(context: BrowserContext, start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")
    device = opened(context, node, "/device.html?id=door-1")
    user = opened(context, node, "/call.html?id=anna&peer=door-1")
    user.click("#call-video")
    device.wait_for_selector("#answer:visible", timeout=WAIT_MS)
    device.click("#answer")
    for page in (user, device):
        wait_phase(page, "talking")
    for page in (user, device):
        page.bring_to_front()
        assert_media_grows(page)
    user.click("#hangup")
    device.wait_for_function("() => window.relayDemo.state().events.includes('endVoip')", timeout=1000)
    user.wait_for_function("() => window.relayDemo.state().events.includes('endVoip')", timeout=1000)
    events = state(user)["events"]
    assert [e for e in events if e != "calling"][:6] == [
        "callPageOnShow",
        "joinedRoomByCaller",
        "startVoip",
        "hangUpVoip",
        "endVoip",
        "finishVoip",
    ]


def test_a_rejected_call_ends_on_both_pages(context: BrowserContext, start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "0")
    device = opened(context, node, "/device.html?id=door-2")
    user = opened(context, node, "/call.html?id=ben&peer=door-2")
    user.click("#call-voice")
    device.wait_for_selector("#reject:visible", timeout=WAIT_MS)
    device.click("#reject")
    for page in (user, device):
        page.wait_for_function("() => window.relayDemo.state().events.includes('endVoip')", timeout=WAIT_MS)
        assert "rejectVoip" in state(page)["events"]


def test_a_devices_profile_turns_its_picture_on_the_callers_page(
    context: BrowserContext, start_node: Callable[..., Node]
) -> None:
    node = start_node("--workers", "1")
    device = opened(context, node, "/device.html?id=door-3")
    token = device.request.post(f"{node.url}/demo/token", data={"kind": "device", "id": "door-3"}).json()["token"]
    profile = {"cameraRotation": 90, "objectFit": "contain"}
    answer = device.request.put(
        f"{node.url}/v1/devices/door-3/profile", data=profile, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.ok, answer.text()
    user = opened(context, node, "/call.html?id=dora&peer=door-3")
    user.set_viewport_size({"width": 360, "height": 780})
    user.click("#call-video")
    device.wait_for_selector("#answer:visible", timeout=WAIT_MS)
    device.click("#answer")
    wait_phase(user, "talking")
    user.bring_to_front()
    # 640x480 turned by 90 degrees is 3 wide and 4 high, and as wide as the phone.
    user.wait_for_function(
        """() => {
          const { width, height } = document.querySelector('#remote').getBoundingClientRect();
          return Math.round(width) === 360 && Math.round(height) === 480;
        }""",
        timeout=WAIT_MS,
    )
    # What this side sets goes before the profile.
    user.evaluate("() => relayDemo.voip.setUIConfig({ listenerUI: { cameraRotation: 0 } })")
    user.wait_for_function("() => Math.round(document.querySelector('#remote').getBoundingClientRect().height) === 270")


def test_a_page_and_the_device_client_talk(
    context: BrowserContext, start_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = start_node("--workers", "1")
    saved = tmp_path / "seen.mkv"
    command = [sys.executable, "-m", "relay", "device", "--sn", "cam-1", "--url", node.url, "--answer", "auto"]
    device = subprocess.Popen(
        [*command, "--once", "--save", str(saved)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        user = opened(context, node, "/call.html?id=carl&peer=cam-1")
        # The client may still be on its way: an unknown or absent device simply is not called yet.
        wait_online(node, "cam-1", device)
        user.click("#call-video")
        wait_phase(user, "talking")
        assert_media_grows(user)
        user.wait_for_function("() => window.relayDemo.state().keepTime >= 4", timeout=WAIT_MS)
        user.click("#hangup")
        output, _ = device.communicate(timeout=20)
        assert device.returncode == 0, output
    finally:
        if device.poll() is None:
            device.kill()
        device.wait()
        if device.stdout is not None:
            device.stdout.close()
    with av.open(str(saved)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames > 10, output
    with av.open(str(saved)) as container:
        loudest = max(int(abs(frame.to_ndarray()).max() * 1000) for frame in container.decode(audio=0))
    assert loudest > 10, "the browser's beeps reached the device"


def wait_online(node: Node, sn: str, device: "subprocess.Popen[str]") -> None:
    """Until the device's event socket is open, as the node's own metric tells."""
    limit = time.monotonic() + 20
    while node.metrics().get("relay_event_sockets", 0) < 2:
        assert device.poll() is None, "the device client ended"
        assert time.monotonic() < limit, sn
        time.sleep(0.1)
