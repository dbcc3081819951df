"""Rooms without a call: one publisher and its players, as WHIP and WHEP know them.

A room exists as long as its publisher's leg. Media rooms are named `live/<name>`, calls' are bare hexadecimal
numbers, so neither can be taken for the other.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from typing import Any, Literal

from relay.calls.ice_session import IceSession
from relay.config import Config
from relay.errors import ApiError, Code
from relay.media.messages import Media, MediaError, MediaEvent

log = logging.getLogger(__name__)

Role = Literal["publisher", "player"]


class Room:
    """One publisher and its players, by leg id."""

    __slots__ = ("legs", "media_room", "name", "publisher", "ready")

    def __init__(self, name: str, publisher: str) -> None:
        self.name = name
        self.media_room = f"live/{name}"
        self.publisher = publisher
        self.ready = False  # the publisher has its answer
        self.legs: dict[str, IceSession] = {}


class Rooms:
    """All rooms of a node. Needs a running loop."""

    def __init__(self, media: Media, config: Config) -> None:
        self._media = media
        self._config = config
        self._rooms: dict[str, Room] = {}
        self._legs: dict[str, tuple[Room, Role]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        media.subscribe(self._media_event)

    async def open_leg(self, name: str, role: Role, offer: str) -> tuple[IceSession, str]:
        """Answer an offer; returns its ICE session and the SDP answer.

        Raises ApiError: 409 for a second publisher, 404 for a player without one, 429 at a limit; MediaError.
        """
        leg = secrets.token_hex(16)
        room = self._rooms.get(name)
        if role == "publisher":
            if room is not None:
                raise ApiError(409, Code.OTHER_CALL, f"room {name!r} has a publisher already")
            if len(self._rooms) >= self._config.max_rooms:
                raise ApiError(429, Code.ROOM_NOT_MADE, "this node has as many rooms as it may have")
            room = self._rooms[name] = Room(name, leg)
        elif room is None or not room.ready:
            raise ApiError(404, Code.BAD_ROOM_ID, f"nobody publishes in room {name!r}; try again later")
        elif len(room.legs) >= self._config.max_legs_per_room:
            raise ApiError(429, Code.ROOM_NOT_MADE, f"room {name!r} is full")
        session = IceSession(leg, offer)
        room.legs[leg] = session
        self._legs[leg] = (room, role)
        try:
            answer = await self._media.open_leg(room.media_room, leg, offer, live=True)
        except MediaError:
            self._gone(leg)
            raise
        except BaseException:  # the client went away while it waited
            self._gone(leg)
            self._later(self._media.close_leg(leg))
            raise
        if leg not in self._legs:
            self._later(self._media.close_leg(leg))
            raise ApiError(409, Code.JOIN_FAILED, f"room {name!r} was closed meanwhile")
        room.ready = room.ready or role == "publisher"
        return session, answer

    async def patch_leg(
        self, name: str, role: Role, leg: str, fragment: str, if_match: str | None
    ) -> tuple[IceSession, str | None]:
        """See `IceSession.patch`. Raises ApiError 404/1 for an unknown leg."""
        session = self._find(name, role, leg).legs[leg]
        return session, await session.patch(self._media, fragment, if_match)

    async def close_leg(self, name: str, role: Role, leg: str) -> None:
        """A leg leaves; with its publisher the room ends. Raises ApiError 404/1."""
        self._find(name, role, leg)
        self._later(self._media.close_leg(leg))
        self._gone(leg)

    async def close(self) -> None:
        """End every room and wait until media was told."""
        for room in tuple(self._rooms.values()):
            self._gone(room.publisher)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._rooms)

    def _find(self, name: str, role: Role, leg: str) -> Room:
        found = self._legs.get(leg)
        if found is None or found[0].name != name or found[1] != role:
            raise ApiError(404, Code.BAD_ROOM_ID, "no such session")
        return found[0]

    def _media_event(self, event: MediaEvent) -> None:
        if event.state != "connected":
            self._gone(event.leg)

    def _gone(self, leg: str) -> None:
        found = self._legs.pop(leg, None)
        if found is None:
            return
        room, role = found
        del room.legs[leg]
        if role == "publisher":
            for player in room.legs:
                del self._legs[player]
            room.legs.clear()
            del self._rooms[room.name]
            self._later(self._media.close_room(room.media_room))

    def _later(self, told: Coroutine[Any, Any, None]) -> None:
        async def tell() -> None:
            try:
                await told
            except MediaError as refusal:
                log.info("media refused a clean-up", extra={"reason": refusal.message})
            except Exception:
                log.exception("media failed")

        task = asyncio.get_running_loop().create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
