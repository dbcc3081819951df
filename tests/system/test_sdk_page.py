"""The SDK against a real node: every row of its own test page, the grant dialog and the camera component in Chromium;
a mini program's runtime and Node without one.
"""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright
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
    "--no-first-run",
]
RUN_MS = 110_000
ROWS = {
    "Plugin methods": 12,
    "Methods of wx": 2,
    "Additions": 14,
    "Error classes": 5,
    "Calls": 11,
    "Several listeners": 2,
}


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        made = browser.new_context(permissions=["camera", "microphone"], locale="en-US").new_page()
        made.set_default_timeout(RUN_MS)
        yield made
        browser.close()


@pytest.mark.timeout(150)
def test_every_row_of_the_test_page_is_right(page: Page, start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")
    page.goto(f"{node.url}/sdk/test.html")
    rows = page.evaluate("() => sdkTest.run()")
    assert [f"{row['name']}: {row['seen']}" for row in rows if not row["ok"]] == []
    groups = [row["group"] for row in rows]
    assert {group: groups.count(group) for group in ROWS} == ROWS
    # The table a person reads says the same.
    assert page.locator("#verdict").inner_text() == f"All {len(rows)} checks passed"
    assert page.locator("#rows td.ok").count() == len(rows)


KEY = "0123456789abcdef0123456789abcdef"
MODEL = {"name": "Bell", "approved": True}
ASK = """(ticket) => {
  const device = { sn: 'door-1', modelId: 'bell', deviceName: 'Door' };
  window.asked = relayDemo.voip.requestDeviceVoIP({ ...device, snTicket: ticket })
    .then(({ errMsg }) => errMsg, ({ errCode }) => errCode);
}"""
CALL = """() => relayDemo.voip.initByCaller({
  businessType: 1, roomType: 'voice', caller: { id: 'door-1' }, listener: { id: 'mia' },
}).then(({ isSuccess, errCode }) => isSuccess || errCode)"""


class Operator:
    """The operator's server: one API key."""

    def __init__(self, page: Page, node: Node) -> None:
        self._page = page
        self._url = node.url

    def send(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._page.request.fetch(
            self._url + path, method=method, data=body, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert response.ok, response.text()
        return dict(response.json())

    def ticket(self) -> str:
        return str(self.send("POST", "/v1/tickets", {"sn": "door-1", "model_id": "bell"})["sn_ticket"])


def test_a_device_may_call_once_the_user_agreed_in_the_dialog(
    page: Page, start_node: Callable[..., Node], tmp_path: Path
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f'require_grants = true\napi_keys = ["ops:{KEY}"]\n')
    node = start_node("--workers", "0", "--config", str(config))
    operator = Operator(page, node)
    operator.send("PUT", "/v1/models/bell", MODEL)
    operator.send("PUT", "/v1/devices/door-1", {"modelId": "bell", "name": "Door"})
    device = page.context.new_page()
    device.goto(f"{node.url}/device.html?id=door-1")
    page.goto(f"{node.url}/call.html?id=mia")
    for each in (device, page):
        each.wait_for_function("() => window.relayDemo?.state().link === 'online'")
    assert device.evaluate(CALL) == 9

    # The first ticket is wrong, the second refused; refused is refused until the user wants to be asked again.
    page.evaluate(ASK, "wrong")
    assert page.evaluate("() => asked") == 10008
    page.evaluate(ASK, operator.ticket())
    page.click(".voip-dialog #refuse")
    assert page.evaluate("() => asked") == 10021
    page.evaluate(ASK, operator.ticket())
    assert page.evaluate("() => asked") == 10021
    assert page.locator(".voip-dialog").count() == 0
    page.evaluate("() => relayDemo.voip.reopenGrant({ sn: 'door-1' })")
    page.evaluate(ASK, operator.ticket())
    assert "Door" in page.locator(".voip-dialog h2").inner_text()
    page.click(".voip-dialog #agree")
    assert page.evaluate("() => asked") == "requestDeviceVoIP:ok"

    [entry] = page.evaluate("() => relayDemo.voip.getDeviceVoIPList().then(({ list }) => list)")
    assert (entry["sn"], entry["model_id"], entry["status"]) == ("door-1", "bell", 1)
    contacts = (
        "() => relayDemo.voip.getIotBindContactList({ sn: 'door-1', model_id: 'bell', openid_list: ['mia', 'ben'] })"
    )
    found = device.evaluate(contacts)
    assert [(one["openid"], one["status"]) for one in found["contact_list"]] == [("mia", 1), ("ben", 0)]
    page.evaluate(ASK, operator.ticket())
    assert page.evaluate("() => asked") == 10001  # given already
    device.bring_to_front()
    assert device.evaluate(CALL) is True


PUBLISH = """async ([url, token]) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } });
  window.publisher = new RTCPeerConnection();
  for (const track of stream.getTracks()) publisher.addTransceiver(track, { direction: 'sendonly' });
  await publisher.setLocalDescription(await publisher.createOffer());
  const headers = { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` };
  const response = await fetch(url, { method: 'POST', headers, body: publisher.localDescription.sdp });
  await publisher.setRemoteDescription({ type: 'answer', sdp: await response.text() });
}"""
SHOW = """async (token) => {
  await import('/sdk/camera-device.js');
  document.body.innerHTML = '<camera-device sn="garden" device-name="Garden"></camera-device>';
  window.camera = document.querySelector('camera-device');
  camera.token = token;
}"""


def test_the_camera_component_shows_what_a_device_publishes(page: Page, start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")
    page.goto(f"{node.url}/sdk/test.html")

    def token(kind: str) -> str:
        answer = page.request.post(f"{node.url}/demo/token", data={"kind": kind, "id": "garden"})
        return str(answer.json()["token"])

    page.evaluate(SHOW, token("player"))
    camera = page.locator("camera-device")
    expect(camera).to_have_attribute("data-state", "error")  # nobody publishes yet
    expect(camera.locator(".text")).to_have_text("The device is not sending a picture.")
    page.evaluate(PUBLISH, [f"{node.url}/whip/garden", token("publisher")])
    camera.locator(".retry").click()
    expect(camera).to_have_attribute("data-state", "live", timeout=20_000)
    assert page.evaluate("() => camera.shadowRoot.querySelector('video').videoWidth") > 0


RUNTIME = Path(__file__).resolve().parents[1] / "web" / "runtime.mjs"
NODE = ["--no-warnings", "--experimental-vm-modules", "--experimental-websocket"]
MINI_PROGRAM = """
await voip.connect({ baseUrl, token: TOKEN });
const { roomId } = await voip.callDevice({ roomType: 'video', sn: 'lock-1', modelId: 'demo', nickName: 'Mia' });
const events = await seen(3);
const ofRoom = events.every((e) => e.roomId === roomId);
return { names: events.map((e) => e.eventName), status: events[0].data.status, ofRoom };
"""
DEVICE = """
await voip.connect({ baseUrl, token: TOKEN });
const events = await seen(2);
await voip.reject(events[0].roomId);
return { caller: events[0].data.callerName, names: (await seen(5)).map((e) => e.eventName) };
"""


def test_a_mini_program_and_a_device_in_node_signal_without_media(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "0")
    executable = shutil.which("node")
    assert executable, "this test needs Node 20 or later; on Debian: apt-get install nodejs"

    def play(runtime: str, kind: str, identity: str, scenario: str) -> "subprocess.Popen[str]":
        body = json.dumps({"kind": kind, "id": identity}).encode()
        request = urllib.request.Request(f"{node.url}/demo/token", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            token = json.loads(response.read())["token"]
        process = subprocess.Popen(
            [executable, *NODE, str(RUNTIME), runtime, node.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(scenario.replace("TOKEN", json.dumps(token)))
        process.stdin.close()
        process.stdin = None
        return process

    sides = [play("node", "device", "lock-1", DEVICE), play("wx", "user", "mia", MINI_PROGRAM)]
    device, user = [json.loads(side.communicate(timeout=30)[0])["result"] for side in sides]
    assert device["names"] == ["incomingCall", "callPageOnShow", "rejectVoip", "endVoip", "finishVoip"]
    assert device["caller"] == "Mia"
    assert user == {"names": ["rejectVoip", "endVoip", "finishVoip"], "status": "other", "ofRoom": True}
