"""The API plane behind a real HTTP server on a free loopback port, with a media plane in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from calls.memory_media import MemoryMedia

from relay.api.app import build, plane
from relay.api.tokens import Tokens
from relay.calls.devices import Devices
from relay.config import Config

SECRET = "s" * 40
OFFER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:aaaa\r\nm=audio 9 X 0\r\n"
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class Plane:
    """One running API plane and a client for it."""

    def __init__(self, **settings: Any) -> None:
        self.config = Config(**{"secret": SECRET, "demo": True, "store": "sqlite://", **settings})
        self.media = MemoryMedia()
        self.skew_s = 0.0
        self.base_plane = plane(self.media, self.config, "test", time.monotonic, self.wall)
        self.service = self.base_plane.calls
        self.devices = Devices(self.base_plane.store, self.config)
        self.tokens = Tokens(self.config, self.wall)
        self.is_ready = True
        self.base = ""
        self.http: aiohttp.ClientSession
        self.app = build(
            self.config, self.base_plane, self.media, metrics=_metrics, ready=lambda: self.is_ready, wall=self.wall
        )

    def wall(self) -> float:
        return time.time() + self.skew_s

    def device(self, sn: str = "door") -> str:
        return self.tokens.mint("device", sn, 600, sn=sn)

    def user(self, openid: str = "ann") -> str:
        return self.tokens.mint("user", openid, 600, openid=openid)

    def operator(self) -> str:
        return self.tokens.mint("operator", "vendor", 600)

    async def ask(
        self, method: str, path: str, token: str | None = None, json: Any = None, **more: Any
    ) -> tuple[int, Any]:
        """Status and parsed body (or text)."""
        status, body, _ = await self.asked(method, path, token, json=json, **more)
        return status, body

    async def asked(
        self, method: str, path: str, token: str | None = None, *, headers: Any = None, **more: Any
    ) -> tuple[int, Any, Any]:
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, self.base + path, headers=headers, **more) as response:
            if response.content_type == "application/json":
                return response.status, await response.json(), response.headers
            return response.status, await response.text(), response.headers

    async def create(self, **more: Any) -> dict[str, Any]:
        status, body = await self.ask("POST", "/v1/calls", self.device(), json=asked(**more))
        assert status == 201, body
        return dict(body)

    def listen(self, token: str, after: int | None = None, **more: Any) -> Any:
        query = "" if after is None else f"?after={after}"
        return self.http.ws_connect(
            f"{self.base}/v1/events{query}", headers={"Authorization": f"Bearer {token}"}, **more
        )


def asked(**more: Any) -> dict[str, Any]:
    """The body of a call from the device `door` to the user `ann`."""
    return {
        "direction": "device_to_user",
        "roomType": "video",
        "caller": {"id": "door", "name": "Front door"},
        "listener": {"id": "ann"},
        **more,
    }


async def _metrics() -> bytes:
    return b"relay_calls 0\n"


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Plane]:
    plane = Plane(**settings)
    await plane.base_plane.start()
    runner = web.AppRunner(plane.app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    plane.base = "http://{}:{}".format(*runner.addresses[0][:2])
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as plane.http:
        try:
            yield plane
        finally:
            await plane.service.close()
            await runner.cleanup()
            await plane.base_plane.close()


def play(scene: Callable[[Plane], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        async with running(**settings) as plane:
            await scene(plane)

    asyncio.run(run())
