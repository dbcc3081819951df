"""Webhooks on a store, with a wall clock that a test moves; and a whole API plane with a receiver."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from api.plane import Plane, running

from relay.calls.targets import Lookup
from relay.calls.webhooks import Hook, HookEntry, Webhooks
from relay.config import Config
from relay.store.engine import Store
from webhooks.receiver import Receiver, receiving


class Outbox:
    """One life of the webhooks of a store."""

    def __init__(self, webhooks: Webhooks, store: Store, clock: "Clock") -> None:
        self.webhooks = webhooks
        self.store = store
        self.clock = clock

    async def add(self, url: str, *events: str) -> Hook:
        return await self.webhooks.add(HookEntry(url, events or ("*",)))

    async def put(self, count: int = 1, event: str = "call.created", **data: Any) -> None:
        """Messages, each with the transaction of what it tells."""
        for number in range(count):
            await self.store.run(
                lambda connection, number=number: self.webhooks.enqueue(
                    connection, event, {"number": number, **data}, self.clock.now_ms()
                )
            )

    async def waiting(self) -> int:
        def count(connection: Any) -> int:
            return int(connection.exec_driver_sql("SELECT count(*) FROM deliveries").scalar())

        return await self.store.run(count)

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(20):
            while await self.waiting() != count:
                await asyncio.sleep(0.01)

    async def pass_time(self, seconds: float) -> None:
        """The wall clock goes on, and the outbox looks at it."""
        self.clock.skew_s += seconds
        self.webhooks.woken()


class Clock:
    def __init__(self) -> None:
        self.skew_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.skew_s

    def now_ms(self) -> int:
        return int(self() * 1000)


@asynccontextmanager
async def outbox(store: str = "sqlite://", lookup: Lookup | None = None, **settings: Any) -> AsyncIterator[Outbox]:
    config = Config(**{"demo": True, "store": store, "webhook_allow_private": True, **settings})
    made, clock = Store(config), Clock()
    webhooks = Webhooks(made, config, "test", clock, lookup)
    await made.start()
    await webhooks.start()
    try:
        yield Outbox(webhooks, made, clock)
    finally:
        await webhooks.close()
        await made.close()


def play(scene: Callable[[Outbox, Receiver], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        async with receiving() as receiver, outbox(**settings) as box:
            await scene(box, receiver)

    asyncio.run(run())


def play_plane(scene: Callable[[Plane, Receiver], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        async with receiving() as receiver, running(**{"webhook_allow_private": True, **settings}) as plane:
            await scene(plane, receiver)

    asyncio.run(run())


async def hooked(plane: Plane, receiver: Receiver, *events: str, path: str = "/") -> dict[str, Any]:
    """A webhook of the running plane; the answer with its secret."""
    body: dict[str, Any] = {"url": receiver.base + path, **({"events": list(events)} if events else {})}
    status, made = await plane.ask("POST", "/v1/webhooks", plane.operator(), json=body)
    assert status == 201, made
    return dict(made)


def on_record(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
