"""A media plane without packets: it keeps legs and rooms, answers any offer, and says what a test tells it to."""

import asyncio
from collections.abc import Callable
from typing import Any

from relay.media.messages import LegState, MediaError, MediaEvent


class MemoryMedia:
    """Implements relay.media.messages.Media."""

    def __init__(self) -> None:
        self.legs: dict[str, str] = {}  # leg -> room
        self.live: dict[str, bool] = {}  # leg -> opened into a live room
        self.live_rooms: set[str] = set()
        self.closed_rooms: list[str] = []
        self.gate: asyncio.Event | None = None  # when set, open_leg waits for it
        self.refusal: MediaError | None = None  # when set, open_leg raises it
        self._listeners: list[Callable[[MediaEvent], None]] = []

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str:
        if not offer.startswith("v=0"):
            raise MediaError(400, 1004, "the SDP offer is not usable")
        if self.refusal is not None:
            raise self.refusal
        self.legs[leg] = room
        self.live[leg] = live
        if self.gate is not None:
            await self.gate.wait()
        return f"v=0\r\ns={leg}\r\n"

    async def restart_leg(self, leg: str, fragment: str) -> str:
        if leg not in self.legs:
            raise MediaError(404, 1, "no such leg")
        return "a=ice-ufrag:relay\r\na=ice-pwd:0123456789012345678901\r\n"

    async def close_leg(self, leg: str) -> None:
        self.legs.pop(leg, None)

    async def go_live(self, room: str) -> None:
        self.live_rooms.add(room)

    async def close_room(self, room: str) -> None:
        self.closed_rooms.append(room)
        self.legs = {leg: at for leg, at in self.legs.items() if at != room}

    async def stats(self, room: str) -> dict[str, Any]:
        return {"legs": [leg for leg, at in self.legs.items() if at == room]}

    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None:
        self._listeners.append(listener)

    def say(self, leg: str, state: LegState, reason: str = "") -> None:
        """What a worker would report of a leg."""
        event = MediaEvent(self.legs.get(leg, ""), leg, state, reason)
        if state != "connected":
            self.legs.pop(leg, None)
        for listener in self._listeners:
            listener(event)
