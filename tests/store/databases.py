"""A database for one test, SQLite's or PostgreSQL's, and the parts of a call plane that stand on it."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from relay.calls.devices import DeviceEntry, Devices, Model
from relay.calls.grants import Grants
from relay.calls.groups import Groups
from relay.calls.journal import Journal
from relay.calls.tickets import Tickets
from relay.calls.webhooks import Webhooks
from relay.config import Config
from relay.store.engine import Store
from store.postgres import Postgres

NOW_MS = 1_750_000_000_000


class Database:
    """Empty at first; `url` is what a node is given."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def config(self, **settings: Any) -> Config:
        return Config(**{"demo": True, "store": self.url, "webhook_allow_private": True, **settings})

    def rows(self, query: str) -> Sequence[Any]:
        """By a connection of its own: what everybody else may see."""
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            return connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        return self.rows(query)[0][0]


class PostgresDatabase(Database):
    kind = "postgresql"

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.name = server.fresh()
        self.url = server.address(self.name)

    def rows(self, query: str) -> Sequence[Any]:
        return self.server.rows(self.name, query)


class Parts:
    """What one node's call plane makes of a store."""

    def __init__(self, store: Store, config: Config, node: str) -> None:
        self.store = store
        self.config = config
        self.webhooks = Webhooks(store, config, node, time.time)
        self.journal = Journal(store, self.webhooks, node, time.time)
        self.devices = Devices(store, config)
        self.groups = Groups(store, config)
        self.grants = Grants(store, self.webhooks, config)
        self.tickets = Tickets(store, config)

    async def device(self, sn: str, model_id: str = "m1", **more: Any) -> None:
        await self.devices.put(sn, DeviceEntry(model_id, **more), NOW_MS)

    async def model(self, model_id: str = "m1", **more: Any) -> None:
        await self.devices.put_model(model_id, Model(**more))


@asynccontextmanager
async def nodes(database: Database, count: int = 1, **settings: Any) -> AsyncIterator[list[Parts]]:
    """`count` nodes on one database. SQLite belongs to one node, so there all of them are the same one."""
    config = database.config(**settings)
    async with AsyncExitStack() as stack:
        parts: list[Parts] = []
        for number in range(1 if database.kind == "sqlite" else count):
            store = Store(config)
            await store.start()
            stack.push_async_callback(store.close)
            parts.append(Parts(store, config, f"node{number}"))
        yield [parts[number % len(parts)] for number in range(count)]


def play(
    database: Database, scene: Callable[[Parts], Coroutine[Any, Any, None]], count: int = 1, **settings: Any
) -> None:
    """A scene on one node, or on the first of several."""

    async def run() -> None:
        async with nodes(database, count, **settings) as parts:
            await scene(parts[0])

    asyncio.run(run())


def play_two(database: Database, scene: Callable[[Parts, Parts], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        async with nodes(database, 2, **settings) as (one, other):
            await scene(one, other)

    asyncio.run(run())


async def settled(store: Store) -> None:
    """Until nothing waits for the store."""
    async with asyncio.timeout(20):
        while store.waiting:
            await asyncio.sleep(0.005)
