"""An operator's server: takes webhook messages, checks their signatures as any receiver would, answers as told."""

import asyncio
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Message:
    """One request that came."""

    event: str
    delivery: str
    attempt: int
    stamp: int
    signature: str
    raw: bytes
    path: str
    headers: dict[str, str]
    request: web.Request

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def data(self) -> Any:
        return self.body["data"]

    def signed_with(self, secret: str) -> bool:
        """As the documentation says it, without a line of the sender's code."""
        text = str(self.stamp).encode() + b"." + self.raw
        expected = "v1=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, self.signature)


Answer = Callable[[Message], Awaitable[web.StreamResponse]]


async def fine(_message: Message) -> web.StreamResponse:
    return web.json_response({"errcode": 0})


@dataclass
class Receiver:
    """What came, in order; `answer` may be exchanged at any time."""

    base: str = ""
    answer: Answer = fine
    messages: list[Message] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        head = request.headers
        message = Message(
            event=head.get("Relay-Event", ""),
            delivery=head.get("Relay-Delivery", ""),
            attempt=int(head.get("Relay-Attempt", "0")),
            stamp=int(head.get("Relay-Timestamp", "0")),
            signature=head.get("Relay-Signature", ""),
            raw=raw,
            path=request.path,
            headers=dict(head),
            request=request,
        )
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()
        try:
            return await self.answer(message)
        finally:
            self.open -= 1

    async def until(self, count: int, event: str = "") -> list[Message]:
        """Wait for that many messages of a kind."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: len(self.of(event)) >= count)
        return self.of(event)

    def of(self, event: str = "") -> list[Message]:
        return [message for message in self.messages if event in ("", message.event)]

    def names(self, room: str) -> Counter[str]:
        """How often each `call.*` of this room was told."""
        return Counter(message.event for message in self.messages if message.data.get("roomId") == room)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free loopback port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def status(code: int) -> Answer:
    async def answer(_message: Message) -> web.StreamResponse:
        return web.json_response({"errcode": 0}, status=code)

    return answer


async def hang(_message: Message) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


def chunked(text: str) -> Answer:
    """The same answer in pieces, as some servers send it."""

    async def answer(_message: Message) -> web.StreamResponse:
        return web.Response(body=_pieces(text), content_type="application/json")

    return answer


async def _pieces(text: str) -> AsyncIterator[bytes]:
    for at in range(0, len(text), 3):
        yield text[at : at + 3].encode()
        await asyncio.sleep(0.005)
