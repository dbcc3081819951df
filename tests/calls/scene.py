"""A call service with its store in memory, media without packets, and a clock that a test moves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from calls.memory_media import MemoryMedia
from relay.api.app import plane
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Party, Person
from relay.config import Config

OFFER = "v=0\r\na=ice-ufrag:aaaa\r\n"
DOOR, ANN, BOB = Party("device", "door"), Party("user", "ann"), Party("user", "bob")


class Ear:
    """A listener of one party's events."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []  # events
        self.gaps: list[dict[str, Any]] = []

    def put(self, frame: str) -> None:
        decoded = msgspec.json.decode(frame)
        (self.frames if "eventName" in decoded else self.gaps).append(decoded)

    @property
    def names(self) -> list[str]:
        return [frame["eventName"] for frame in self.frames]

    def of(self, room: str) -> list[dict[str, Any]]:
        """What was heard of one call."""
        return [frame for frame in self.frames if frame.get("roomId") == room]

    def data(self, name: str) -> dict[str, Any]:
        """The data of the one event with this name."""
        (frame,) = [frame for frame in self.frames if frame["eventName"] == name]
        return dict(frame["data"])


class Scene:
    """A service, its media, and the time."""

    def __init__(self, now: float = 50.0, node_name: str = "test", **settings: Any) -> None:
        self.now = now
        self.media = MemoryMedia()
        self.config = Config(demo=True, **settings)
        self.plane = plane(self.media, self.config, node_name, lambda: self.now, lambda: 1e9 + self.now)
        self.service = self.plane.calls
        self.ears = {party: self.ear(party) for party in (DOOR, ANN, BOB)}

    @property
    def wall_ms(self) -> int:
        return int(1e3 * (1e9 + self.now))

    def ear(self, party: Party, after: int | None = None) -> Ear:
        ear = Ear()
        rooms = self.service.party_rooms(party)
        self.service.events.attach(party, ear, after, rooms, self.now, self.wall_ms)
        return ear

    async def create(self, listener: str = "ann", device: str = "door", key: str | None = None, **more: Any) -> str:
        asked = Invitation(
            direction="device_to_user",
            room_type="video",
            caller=Person(device, "Front door"),
            listener=Person(listener, "Someone"),
            **more,
        )
        return (await self.service.create(asked, key)).room

    async def enter(self, room: str, side: Side) -> str:
        """The party's leg, connected; returns its id."""
        ice, _ = await self.service.open_leg(room, side, OFFER)
        self.media.say(ice.leg, "connected")
        return ice.leg

    async def talk(self) -> tuple[str, str, str]:
        room = await self.create()
        caller = await self.enter(room, Side.CALLER)
        self.service.answer(room, ANN)
        listener = await self.enter(room, Side.LISTENER)
        await asyncio.sleep(0)
        return room, caller, listener

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.service.expire()


def play(scene: Callable[[Scene], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run a scene; nothing of its calls may be left behind."""

    async def run() -> None:
        stage = Scene(**settings)
        await stage.plane.start()
        await scene(stage)
        await stage.service.close()
        await stage.plane.close()
        assert len(stage.service) == 0
        assert not stage.service.legs
        assert not stage.service._in_call
        assert not stage.media.legs, "no leg outlives its call"

    asyncio.run(run())
