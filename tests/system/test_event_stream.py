"""Event sockets that break again and again: with `?after=SEQ` no event is lost, doubled or out of order.

What a party must have heard is what an undisturbed second socket of the same party heard.
"""

import asyncio
import base64
import json
import os
import random
import struct
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from api.plane import Plane, play
from faulty_link import Fault, faulty

from relay.api.app import SOCKETS
from relay.calls.invitation import Party

CALLS = 20
CUTS = 50


class Steady:
    """The undisturbed socket."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def listen(self, plane: Plane, token: str, begun: asyncio.Event) -> None:
        async with plane.listen(token) as socket:
            begun.set()
            async for message in socket:
                self.frames.append(message.data)


class Flaky:
    """A client whose connection breaks; it comes back with the number of the last event it heard."""

    def __init__(self, plane: Plane, token: str, seed: int) -> None:
        self._plane = plane
        self._token = token
        self._seed = seed
        self._chance = random.Random(seed)
        self.frames: list[str] = []
        self.last = 0
        self.cuts = 0
        self.faults: set[str] = set()
        self.started = asyncio.Event()

    def _hear(self, text: str) -> None:
        frame = json.loads(text)
        assert frame.get("type") != "gap", "nothing was forgotten yet"
        assert not self.last or frame["seq"] == self.last + 1, f"{frame['seq']} after {self.last}"
        self.last = frame["seq"]
        self.frames.append(text)

    async def live(self) -> None:
        port = urlsplit(self._plane.base).port
        assert port is not None
        async with faulty(port, self._seed) as links:
            while self.cuts < CUTS:
                await self._connection(links)
        async with self._plane.listen(self._token, after=self.last) as socket:
            async for message in socket:
                self._hear(message.data)

    async def _connection(self, links: Any) -> None:
        chance = self._chance
        query = f"?after={self.last}" if self.last else ""
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            socket = await self._plane.http.ws_connect(
                f"http://127.0.0.1:{links.port}/v1/events{query}",
                headers=headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.01),
            )
        except aiohttp.WSServerHandshakeError as refused:
            if refused.status != 429:  # half-open ones count until the node finds them out
                raise
            await asyncio.sleep(0.05)
            return
        self.started.set()
        link = links.latest
        fault: Fault | None = None
        if self.last and chance.random() < 0.2:
            await self._abort(socket, "at once")
            return
        wanted = chance.randrange(1, 4)
        if self.last and chance.random() < 0.75:
            fault = chance.choice(["cut", "torn", "half open"])
            link.break_down(fault, chance.randrange(3))
        heard = 0
        while True:
            try:
                message = await socket.receive(timeout=0.25 if fault == "half open" else None)
            except TimeoutError:  # a client that misses its heartbeats
                if link.silent.is_set():
                    break
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self._hear(message.data)
            heard += 1
            if fault is None and heard == wanted:
                break
        await self._abort(socket, fault or f"after {heard}")

    async def _abort(self, socket: aiohttp.ClientWebSocketResponse, how: str) -> None:
        """Without a close frame."""
        if self.last:
            self.cuts += 1
            self.faults.add(how)
        connection = socket._conn  # type: ignore[attr-defined]  # a client that says good-bye is no broken one
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        await socket.close()


async def calls_of(plane: Plane, number: int, clients: list[Flaky]) -> int:
    """One pair calls until both have been cut often enough."""
    device, user = plane.device(f"d{number}"), plane.user(f"u{number}")
    chance = random.Random(number)
    made = 0
    while any(client.cuts < CUTS for client in clients):
        body = {
            "direction": "device_to_user",
            "roomType": "voice",
            "caller": {"id": f"d{number}"},
            "listener": {"id": f"u{number}"},
        }
        status, answer = await plane.ask("POST", "/v1/calls", device, json=body)
        assert status == 201, answer
        made += 1
        path = f"/v1/calls/{answer['roomId']}"
        await asyncio.sleep(chance.random() * 0.02)
        if chance.random() < 0.7:
            assert (await plane.ask("POST", f"{path}/answer", user))[0] == 200
            await asyncio.sleep(chance.random() * 0.02)
        assert (await plane.ask("POST", f"{path}/hangup", device if chance.random() < 0.5 else user))[0] == 200
        await asyncio.sleep(chance.random() * 0.02)
    return made


@pytest.mark.timeout(300)
def test_twenty_calls_whose_event_sockets_break_fifty_times_each() -> None:
    async def scene(plane: Plane) -> None:
        steady: list[Steady] = []
        flaky: list[Flaky] = []
        tasks: list[asyncio.Task[None]] = []
        for number in range(CALLS):
            for side, token in enumerate((plane.device(f"d{number}"), plane.user(f"u{number}"))):
                begun = asyncio.Event()
                steady.append(Steady())
                tasks.append(asyncio.create_task(steady[-1].listen(plane, token, begun)))
                flaky.append(Flaky(plane, token, 2 * number + side))
                tasks.append(asyncio.create_task(flaky[-1].live()))
                await asyncio.gather(begun.wait(), flaky[-1].started.wait())
        lines = [asyncio.create_task(calls_of(plane, n, flaky[2 * n : 2 * n + 2])) for n in range(CALLS)]
        pending: set[asyncio.Task[Any]] = {*lines, *tasks}
        while not all(line.done() for line in lines):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task  # a client that heard something wrong ends the test
        async with asyncio.timeout(30):
            while any(
                client.last != json.loads(truth.frames[-1])["seq"] for client, truth in zip(flaky, steady, strict=True)
            ):
                await asyncio.sleep(0.02)
        for client, truth in zip(flaky, steady, strict=True):
            assert client.frames == truth.frames
            assert client.cuts == CUTS
        assert sum(line.result() for line in lines) >= CALLS
        how = set().union(*(client.faults for client in flaky))
        assert {"at once", "cut", "torn", "half open"} <= how
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(30):
            while plane.service.events.sockets:
                await asyncio.sleep(0.02)

    play(
        scene, heartbeat_s=0.5, heartbeat_lost_s=1.5, event_sockets_per_party=32, event_buffer=10_000,
        late_result_s=0, rate_per_s=100_000, rate_burst=1_000_000,
    )  # fmt: skip


class Raw:
    """A WebSocket by hand, with small buffers, that reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, plane: Plane, token: str) -> "Raw":
        url = urlsplit(plane.base)
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1024)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            (
                f"GET /v1/events HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
            ).encode()
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def rest(self) -> tuple[list[dict[str, Any]], int, str]:
        """All frames up to the close frame; its code and text. RFC 6455 §5.2, frames of a server."""
        frames: list[dict[str, Any]] = []
        while True:
            first, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            payload = await self._reader.readexactly(size)
            if first & 0x0F == 8:
                self._writer.transport.abort()
                return frames, struct.unpack("!H", payload[:2])[0], payload[2:].decode()
            if first & 0x0F == 1:
                frames.append(json.loads(payload))


async def tell(plane: Plane, sn: str, number: int, size: int = 5_000) -> None:
    """One event for a device."""
    body = {"message": f"{number} ".ljust(size, "x")}
    status, answer = await plane.ask("POST", f"/v1/devices/{sn}/messages", plane.operator(), json=body)
    assert status == 200, answer


def number_of(frame: dict[str, Any]) -> int:
    return int(frame["data"]["message"].split()[0])


def test_a_slow_reader_is_cut_and_comes_back_and_others_do_not_notice() -> None:
    queue = 16

    async def scene(plane: Plane) -> None:
        slow = await Raw.connect(plane, plane.device())
        async with plane.listen(plane.device()) as fast, plane.listen(plane.device("gate")) as other:
            sent = 0
            heard: list[int] = []
            while plane.app[SOCKETS].cut == 0:
                assert sent < 20_000, "nothing bounds what waits for a slow reader"
                await tell(plane, "door", sent)
                heard.append(number_of(await fast.receive_json(timeout=10)))
                if sent % 10 == 0:
                    await tell(plane, "gate", sent)
                    assert number_of(await other.receive_json(timeout=10)) == sent
                sent += 1
            assert heard == list(range(sent)), "each at once, while the slow one stood still"
            frames, code, text = await slow.rest()
            assert (code, text) == (1013, "too slow")
            assert [number_of(frame) for frame in frames] == list(range(len(frames))), "what it was given is whole"
            assert sent - len(frames) <= queue + 2, "no more than the queue was dropped with it"
            for _ in range(3):
                await tell(plane, "door", sent)
                assert number_of(await fast.receive_json(timeout=10)) == sent
                sent += 1
            async with plane.listen(plane.device(), after=frames[-1]["seq"]) as back:
                missed = [number_of(await back.receive_json(timeout=10)) for _ in range(sent - len(frames))]
            assert missed == list(range(len(frames), sent)), "it may resume, and has lost nothing"
            assert plane.app[SOCKETS].cut == 1

    play(scene, event_queue=queue, event_buffer=10_000, event_write_s=60)


def test_a_reader_that_is_too_slow_again_and_again_gets_everything_in_the_end() -> None:
    turns, burst = 20, 30

    async def scene(plane: Plane) -> None:
        heard: list[int] = []
        last = 0

        def hear(frame: dict[str, Any]) -> None:
            nonlocal last
            assert not last or frame["seq"] == last + 1
            last = frame["seq"]
            heard.append(number_of(frame))

        async with plane.listen(plane.device()) as socket:
            await tell(plane, "door", 0, 10)
            hear(await socket.receive_json(timeout=10))
        for turn in range(turns):
            sent = turn * burst + 1
            async with plane.listen(plane.device(), after=last) as socket:
                while len(heard) < sent:
                    hear(await socket.receive_json(timeout=10))
            async with plane.listen(plane.device(), after=last) as socket:
                for number in range(sent, sent + burst):  # within one turn of the loop, which no reader can follow
                    data = {"message": f"{number} x"}
                    wall_ms = int(plane.wall() * 1000)
                    plane.service.events.publish(Party("device", "door"), "", "appMessage", data, "", 0.0, wall_ms)
                async for message in socket:
                    hear(json.loads(message.data))
                assert socket.close_code == 1013
        async with plane.listen(plane.device(), after=last) as socket:
            while len(heard) < turns * burst + 1:
                hear(await socket.receive_json(timeout=10))
        assert heard == list(range(turns * burst + 1))
        assert plane.app[SOCKETS].cut == turns

    play(scene, event_queue=4, event_buffer=10_000, event_buffer_s=86_400)


def test_a_gap_is_told_before_what_is_left() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.device()) as door:
            await tell(plane, "door", 0, 10)
            first = (await door.receive_json(timeout=10))["seq"]
            for number in range(1, 31):
                await tell(plane, "door", number, 10)
        for after, gap in ((first, True), (first + 19, True), (first + 20, False), (first + 29, False)):
            async with plane.listen(plane.device(), after=after) as door:
                frame = await door.receive_json(timeout=10)
                if gap:
                    assert frame == {"type": "gap", "after": after, "first": first + 21}
                    frame = await door.receive_json(timeout=10)
                left = [frame["seq"]]
                while left[-1] < first + 30:
                    left.append((await door.receive_json(timeout=10))["seq"])
                assert left == list(range(max(after + 1, first + 21), first + 31))

    play(scene, event_buffer=10)
