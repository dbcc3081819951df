"""A whole node in this process on a given database, and clients that speak HTTP and WebSocket with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from relay.api.tokens import Tokens
from relay.node import Node
from store.databases import Database


class Line:
    """One party's event socket; `heard` grows by itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            async with self._news:
                self.heard.append(json.loads(message.data))
                self._news.notify_all()

    def names(self, room: str) -> list[str]:
        return [event["eventName"] for event in self.heard if event.get("roomId") == room]

    async def until(self, room: str, name: str) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: name in self.names(room))

    async def close(self) -> None:
        await self.socket.close()
        await self._task


class Served:
    """A node that runs, and what one may ask it."""

    def __init__(self, node: Node, http: aiohttp.ClientSession) -> None:
        self.node = node
        self.base = f"http://127.0.0.1:{node.port}"
        self._http = http
        self._tokens = Tokens(node.config)
        self.lines: list[Line] = []

    def token(self, kind: str, name: str) -> str:
        claims = {"device": {"sn": name}, "user": {"openid": name}}.get(kind, {})
        return self._tokens.mint(kind, name, 600, **claims)  # type: ignore[arg-type]

    async def ask(self, method: str, path: str, who: str = "", body: Any = None) -> tuple[int, Any, Any]:
        """Status, body and headers; `who` is `device:door`, `user:ann` or `operator:vendor`."""
        headers = {"Authorization": f"Bearer {self.token(*who.split(':'))}"} if who else {}
        async with self._http.request(method, self.base + path, headers=headers, json=body) as response:
            text = await response.text()
            return (
                response.status,
                json.loads(text) if response.content_type == "application/json" else text,
                response.headers,
            )

    async def create(self, device: str, user: str, **more: Any) -> tuple[int, Any, Any]:
        body = {
            "direction": "device_to_user",
            "roomType": "video",
            "caller": {"id": device, "name": device},
            "listener": {"id": user},
            **more,
        }
        return await self.ask("POST", "/v1/calls", f"device:{device}", body)

    async def room(self, device: str, user: str, **more: Any) -> str:
        status, body, _ = await self.create(device, user, **more)
        assert status == 201, body
        return str(body["roomId"])

    async def act(self, room: str, what: str, who: str, body: Any = None) -> Any:
        status, answer, _ = await self.ask("POST", f"/v1/calls/{room}/{what}", who, body)
        assert status == 200, answer
        return answer

    async def listen(self, who: str) -> Line:
        headers = {"Authorization": f"Bearer {self.token(*who.split(':'))}"}
        line = Line(await self._http.ws_connect(f"{self.base}/v1/events", headers=headers))
        self.lines.append(line)
        return line

    async def history(self) -> dict[str, Any]:
        """Every call on record by its room, page by page."""
        found: dict[str, Any] = {}
        path = "/v1/calls?limit=3"
        while True:
            status, page, _ = await self.ask("GET", path, "operator:vendor")
            assert status == 200, page
            for call in page["calls"]:
                assert call["roomId"] not in found, "a call is listed twice"
                found[call["roomId"]] = call
            if page["next"] is None:
                return found
            path = f"/v1/calls?limit=3&before={page['next']}"

    async def ready(self) -> bool:
        status, _, _ = await self.ask("GET", "/readyz")
        return status == 200

    async def until_ready(self, wanted: bool) -> None:
        async with asyncio.timeout(30):
            while await self.ready() is not wanted:
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Until nothing waits for the store."""
        async with asyncio.timeout(30):
            while await self.metric("relay_store_waiting"):
                await asyncio.sleep(0.005)

    async def metric(self, name: str) -> float:
        _, text, _ = await self.ask("GET", "/metrics")
        return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


@asynccontextmanager
async def served(database: Database, **settings: Any) -> AsyncIterator[Served]:
    config = database.config(
        **{
            "port": 0,
            "media_port": 0,
            "workers": 0,
            "pump": "loop",
            "media_host": "127.0.0.1",
            "node": "test",
            **settings,
        }
    )
    node = Node(config)
    await node.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            serving = Served(node, http)
            yield serving
            for line in serving.lines:
                await line.close()
    finally:
        await node.stop()
