"""What the node and a worker say to each other: a few coarse messages, never one per packet.

The same structures serve both shapes: with `workers = 0` the node calls the worker directly, otherwise
they cross a Unix socket as length-prefixed msgpack (`supervisor.py` on one end, `worker.py` on the other).
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

LegState = Literal["connected", "lost", "failed", "closed"]


CONSENT_EXPIRED = "consent expired"
"""The reason of a `lost` leg whose peer went silent (RFC 7675); others are lost in the moment they are told."""


class MediaError(Exception):
    """A media request was refused.

    `status` is the HTTP status that fits, `code` the plugin's code (plugin-interface §3.2), `message` says
    what was wrong and, where possible, what to do.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class OpenLeg(msgspec.Struct, frozen=True, tag="open_leg"):
    """An SDP offer for a new leg in a room; answered by `Answer`."""

    room: str
    leg: str
    offer: str
    live: bool


class RestartLeg(msgspec.Struct, frozen=True, tag="restart_leg"):
    """An ICE restart (RFC 8840 fragment); answered by `Answer` with a fragment."""

    leg: str
    fragment: str


class CloseLeg(msgspec.Struct, frozen=True, tag="close_leg"):
    leg: str


class GoLive(msgspec.Struct, frozen=True, tag="go_live"):
    """Start every route of the room."""

    room: str


class CloseRoom(msgspec.Struct, frozen=True, tag="close_room"):
    room: str


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Ask for everything known about one room; answered by `Report`."""

    room: str


class Counters(msgspec.Struct, frozen=True, tag="counters"):
    """Ask for the worker's counters in bulk; answered by `Report`."""


Command = OpenLeg | RestartLeg | CloseLeg | GoLive | CloseRoom | Stats | Counters


class Request(msgspec.Struct, frozen=True, tag="request"):
    """A command and the number its reply will carry."""

    number: int
    command: Command


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    sdp: str


class Report(msgspec.Struct, frozen=True, tag="report"):
    values: dict[str, Any]


class Done(msgspec.Struct, frozen=True, tag="done"):
    pass


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    status: int
    code: int
    message: str


Reply = Answer | Report | Done | Refused


class Response(msgspec.Struct, frozen=True, tag="response"):
    number: int
    reply: Reply


class MediaEvent(msgspec.Struct, frozen=True, tag="event"):
    """A leg changed: `connected` once its DTLS handshake is done, then exactly one of `lost` (consent expired
    or its worker died), `failed` (it never connected) or `closed` (its peer said good-bye).
    """

    room: str
    leg: str
    state: LegState
    reason: str = ""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A worker's first message: it can take legs."""

    port: int


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Sent by a worker once a second; `lag_ms` is how late its loop was."""

    lag_ms: float


FromWorker = Response | MediaEvent | Ready | Heartbeat


class Media(Protocol):
    """What the call plane asks of the media plane. Every method raises MediaError when refused."""

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str: ...
    async def restart_leg(self, leg: str, fragment: str) -> str: ...
    async def close_leg(self, leg: str) -> None: ...
    async def go_live(self, room: str) -> None: ...
    async def close_room(self, room: str) -> None: ...
    async def stats(self, room: str) -> dict[str, Any]: ...
    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None: ...
