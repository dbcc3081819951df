"""A node that does what a test tells it (real aiohttp, real WebSocket), and a real Chromium before it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from playwright.async_api import Page, async_playwright

WEB = Path(__file__).resolve().parents[2] / "relay" / "web"
EMPTY_PAGE = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>test</title>"
ALLOW_MEDIA = "--use-fake-ui-for-media-stream"  # answers the question for microphone and camera with yes
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    ALLOW_MEDIA,
    "--use-fake-device-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(response: Callable[[], web.Response]) -> Handler:
    """A handler that gives the same answer each time."""

    async def handler(_request: web.Request) -> web.Response:
        return response()

    return handler


def refused(status: int, code: int, text: str) -> web.Response:
    return web.json_response({"errCode": code, "errMsg": text}, status=status)


class ScriptedNode:
    """Serves the SDK; `answers` maps "METHOD /path" to a handler, `links` holds the open event sockets."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Handler] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.asked: list[str | None] = []  # ?after= of each event socket, in order
        self.tokens: list[str] = []  # the subprotocol token of each event socket
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.link: web.WebSocketResponse | None = None
        self.opened: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        self.deaf = False  # do not answer heartbeats
        self._changed = asyncio.Condition()

    async def events(self, request: web.Request) -> web.StreamResponse:
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        assert protocols[0] == "relay.events"
        self.tokens.append(protocols[1].removeprefix("bearer."))
        if self.tokens[-1] == "bad":
            return refused(401, 1001, "a bearer token is needed")
        self.asked.append(request.query.get("after"))
        socket = web.WebSocketResponse(protocols=("relay.events",))
        await socket.prepare(request)
        self.link = socket
        await self.opened.put(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            await self.heard.put(frame)
            if frame.get("type") == "heartbeat" and not self.deaf:
                await socket.send_json({"type": "heartbeat"})
        return socket

    async def other(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        is_json = request.content_type == "application/json" and body
        handler = self.answers.get(f"{request.method} {request.path}")
        answer = refused(404, 1, "no such call") if handler is None else await handler(request)
        async with self._changed:
            self.requests.append((request.method, request.path, json.loads(body) if is_json else body))
            self._changed.notify_all()
        return answer

    async def requested(self, method: str, path: str) -> Any:
        """The body of the first such request, waiting for it."""
        async with self._changed:
            while True:
                for got_method, got_path, body in self.requests:
                    if (got_method, got_path) == (method, path):
                        return body
                await self._changed.wait()

    async def send(self, seq: int, name: str, room: str = "r1", timestamp: int = 0, **data: Any) -> None:
        assert self.link is not None
        await self.link.send_json(
            {
                "seq": seq,
                "timestamp": timestamp,
                "eventName": name,
                "roomId": room,
                "groupId": room,
                "data": data,
            }
        )

    async def ring(self, seq: int, room: str = "r1", **more: Any) -> None:
        await self.send(
            seq,
            "incomingCall",
            room,
            **{
                "roomType": "voice",
                "callerId": "sn-1",
                "callerName": "Door",
                "callerCameraStatus": 0,
                "listenerId": "mia",
                "listenerName": "Mia",
                "listenerCameraStatus": 0,
                "query": "",
                "ringTimeout": 60,
                **more,
            },
        )


@asynccontextmanager
async def serving(node: ScriptedNode, port: int = 0) -> AsyncIterator[None]:
    """The node listens, at `node.url`; by itself on any port."""

    async def blank(_request: web.Request) -> web.Response:
        return web.Response(text=EMPTY_PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/blank", blank)
    app.router.add_get("/v1/events", node.events)
    app.router.add_static("/web", WEB)
    app.router.add_route("*", "/{path:.*}", node.other)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser_before(
    node: ScriptedNode, *, fake_clock: bool = False, allow_media: bool = True
) -> AsyncIterator[Page]:
    """A page with the SDK as `voip` and `errors`, every event's name and data collected in `seen`."""
    executable = shutil.which("chromium")
    assert executable, "the browser tests need Chromium; on Debian: apt-get install chromium"
    async with serving(node), async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=[flag for flag in CHROMIUM if allow_media or flag != ALLOW_MEDIA]
        )
        page = await browser.new_page(locale="en-US")
        if fake_clock:
            await page.clock.install()
        await page.goto(f"{node.url}/blank")
        await page.evaluate(
            """async () => {
              const sdk = await import('/web/sdk/wmpf-voip.js');
              window.voip = sdk.default;
              window.createVoip = sdk.createVoip;
              window.errors = await import('/web/sdk/errors.js');
              window.seen = [];
              window.log = (event) => seen.push(event);
              voip.onVoipEvent(log);
            }"""
        )
        yield page
        await browser.close()


async def connect(page: Page, node: ScriptedNode) -> None:
    await page.evaluate("() => voip.connect({ baseUrl: location.origin, token: 'good', id: 'mia', name: 'Mia' })")
    await node.opened.get()


async def seen(page: Page, count: int) -> list[dict[str, Any]]:
    """The first `count` events, waiting for them."""
    await page.wait_for_function("count => seen.length >= count", arg=count)
    events: list[dict[str, Any]] = await page.evaluate("() => seen")
    return events
