"""A TCP proxy in front of a server: it can cut connections, and swallow the answer to a COMMIT."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    """`swallow` COMMITs: each reaches the server, and once it has answered, both sides are cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.port = 0
        self.swallow = 0
        self.swallowed = 0

    def cut(self) -> None:
        for pair in tuple(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        pair = (writer, server_writer)
        self._pairs.add(pair)
        committed = asyncio.Event()

        async def to_server() -> None:
            while data := await reader.read(65_536):
                if b"COMMIT\0" in data and self.swallow > 0:
                    self.swallow -= 1
                    committed.set()
                server_writer.write(data)

        async def to_client() -> None:
            while data := await server_reader.read(65_536):
                if committed.is_set():
                    self.swallowed += 1
                    return
                writer.write(data)

        tasks = [asyncio.create_task(to_server()), asyncio.create_task(to_client())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in pair:
            end.transport.abort()
        self._pairs.discard(pair)


@asynccontextmanager
async def cutting(port: int) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
        proxy.cut()
        await asyncio.sleep(0)
