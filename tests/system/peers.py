"""Calls with media for the system tests: HTTP, ICE and DTLS by an independent peer, packets by the native generator."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import aiohttp

from benchmarks.generator import Generator
from benchmarks.handshake import Leg
from benchmarks.signalling import Signalling
from benchmarks.traffic import through_relay


@dataclass
class Call:
    """Two connected legs of one call."""

    caller: Leg
    listener: Leg

    @property
    def legs(self) -> tuple[Leg, Leg]:
        return self.caller, self.listener

    @property
    def room(self) -> str:
        return self.caller.location.split("/")[3]

    @property
    def worker_port(self) -> int:
        return self.caller.relay_port


class Client:
    """Makes calls and asks about them."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._signalling = Signalling(http, url, None, "gcm")

    async def calls(self, count: int) -> list[Call]:
        """Answered, connected calls, a few at a time."""
        made: list[Call] = []
        while len(made) < count:
            batch = min(4, count - len(made))
            made += [Call(*legs) for legs in await asyncio.gather(*(self._signalling.call() for _ in range(batch)))]
        return made

    async def hang_up(self, call: Call) -> None:
        await self._signalling.hang_up(call.caller)

    async def state(self, call: Call) -> str:
        headers = {"Authorization": f"Bearer {call.caller.credential}"}
        async with self._http.get(f"{self._url}/v1/calls/{call.room}", headers=headers) as response:
            return str((await response.json())["state"])

    async def events(self, call: Call) -> list[str]:
        """The names of the events the caller got, in order, up to the end of the call."""
        names: list[str] = []
        headers = {"Authorization": f"Bearer {call.caller.credential}"}
        async with self._http.ws_connect(f"{self._url}/v1/events?after=0", headers=headers) as socket:
            while "finishVoip" not in names:
                names.append(json.loads(await socket.receive_str(timeout=10)).get("eventName", ""))
        return names


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        yield Client(http, url)


def traffic(calls: Iterable[Call]) -> Generator:
    """Sound and picture both ways in every call. One generator serves a call for its whole life: it counts on."""
    return through_relay([leg for call in calls for leg in call.legs], "gcm", copies=1, sample=4, segment=True)


def close(calls: Iterable[Call]) -> None:
    """Close the peers' sockets without a word."""
    for call in calls:
        for leg in call.legs:
            leg.sock.close()
