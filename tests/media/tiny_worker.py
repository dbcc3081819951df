"""A worker without media, for the supervisor's tests: a real process that does what the offer says."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from relay.config import Config
from relay.media.messages import MediaError, MediaEvent
from relay.media.process import run


class TinyWorker:
    """Offers: `echo` is answered, `refuse` refused, `hang` never answered, `bug` raises, `connect`, `lose`
    and `twice` are answered and followed by events, `exit` ends the process, `large` makes an answer too
    large.
    """

    def __init__(self, config: Config, index: int) -> None:
        self.config = config
        self.index = index
        self.port = 0
        self.legs: dict[str, str] = {}
        self.live: set[str] = set()
        self.listeners: list[Callable[[MediaEvent], None]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def start(self) -> None:
        port = self.config.media_port
        self.socket.bind(("127.0.0.1", port + self.index if port else 0))
        self.port = self.socket.getsockname()[1]

    async def stop(self) -> None:
        if "linger" in self.legs.values():
            await asyncio.sleep(60)
        if "block" in self.legs.values():
            time.sleep(60)  # noqa: ASYNC251 - what a hang in native code looks like
        self.socket.close()

    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None:
        self.listeners.append(listener)

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str:
        match offer:
            case "refuse":
                raise MediaError(406, 2004, "no common codec")
            case "hang":
                await asyncio.sleep(3600)
            case "bug":
                raise ZeroDivisionError
            case "exit":
                os._exit(3)
            case "large":
                return "x" * (5 << 20)
            case "connect" | "lose" | "twice":
                states = {"connect": ["connected"], "lose": ["connected", "lost"], "twice": ["lost", "lost"]}
                for state in states[offer]:
                    asyncio.get_running_loop().call_later(0.05, self.tell, room, leg, state)
        self.legs[leg] = offer
        return f"{self.index} {os.getpid()} {live}"

    def tell(self, room: str, leg: str, state: Any) -> None:
        for listener in self.listeners:
            listener(MediaEvent(room, leg, state))

    async def restart_leg(self, leg: str, fragment: str) -> str:
        if leg not in self.legs:
            raise MediaError(404, 1, "there is no such leg")
        return fragment.upper()

    async def close_leg(self, leg: str) -> None:
        self.legs.pop(leg, None)

    async def go_live(self, room: str) -> None:
        self.live.add(room)

    async def close_room(self, room: str) -> None:
        self.live.discard(room)

    async def stats(self, room: str) -> dict[str, Any]:
        return {"legs": sorted(self.legs), "live": room in self.live}

    async def counters(self) -> dict[str, Any]:
        return {"legs": len(self.legs), "drops": {"bad_auth": 2}}


class BrokenWorker(TinyWorker):
    async def start(self) -> None:
        raise OSError(98, "Address already in use")


class CrashingWorker(TinyWorker):
    """Starts, and ends a moment later: what a fault that comes back at once looks like."""

    async def start(self) -> None:
        await super().start()
        asyncio.get_running_loop().call_later(0.05, os._exit, 7)


if __name__ == "__main__":
    kinds = {"tiny": TinyWorker, "broken": BrokenWorker, "crashing": CrashingWorker}
    run(kinds[sys.argv.pop(1)])
