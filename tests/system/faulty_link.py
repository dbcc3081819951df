"""A link between a client and a server that breaks on demand: at once, in the middle of a frame, or without a word."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Fault = Literal["cut", "torn", "half open"]


class Link:
    """One connection. `fault` comes into force with the server's `countdown`-th piece from then on."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._fault: Fault | None = None
        self._countdown = 0
        self.silent = asyncio.Event()
        self.ended = asyncio.Event()

    def break_down(self, fault: Fault, countdown: int) -> None:
        self._fault, self._countdown = fault, countdown

    async def serve(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter], port: int) -> None:
        server = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(self._forward(client[0], server[1], to_client=False)),
            asyncio.create_task(self._forward(server[0], client[1], to_client=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for _, writer in (client, server):
            writer.transport.abort()
        self.ended.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool) -> None:
        while piece := await reader.read(65_536):
            if self.silent.is_set():
                continue  # both ends believe in the other, and nothing comes through
            if to_client and self._fault is not None:
                if self._countdown > 0:
                    self._countdown -= 1
                elif self._fault == "half open":
                    self.silent.set()
                    continue
                else:
                    if self._fault == "torn":
                        writer.write(piece[: self._chance.randrange(len(piece))])
                        await writer.drain()
                    return
            writer.write(piece)


class Links:
    """All connections through one port; `latest` is the newest."""

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self.port = 0
        self.latest: Link | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.latest = link = Link(self._chance)
        await link.serve((reader, writer), self._target)


@asynccontextmanager
async def faulty(target: int, seed: int) -> AsyncIterator[Links]:
    links = Links(target, seed)
    server = await asyncio.start_server(links.serve, "127.0.0.1", 0)
    links.port = server.sockets[0].getsockname()[1]
    try:
        yield links
    finally:
        server.close()
