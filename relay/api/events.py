"""Events over WebSocket: `GET /v1/events`, for one party, resumable with `?after=SEQ`.

Each socket has a bounded queue and a writer. A reader that does not keep up, by number of frames or by the
time one frame takes, is cut with 1013 and may come back with the last number it saw: nothing is lost, and
nobody else waits. A client says `{"type":"heartbeat"}` every `heartbeat_s`; besides, the server pings, so a
plain WebSocket client lives too. Silence of `heartbeat_lost_s` ends the socket.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from relay.api.calls import Failure, HangUp, Rejection
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.limits import Limits
from relay.api.requests import socket_token
from relay.api.tokens import Claims, Tokens
from relay.calls.invitation import Party
from relay.calls.service import CallService
from relay.config import Config
from relay.errors import ApiError, Code

log = logging.getLogger(__name__)

T = TypeVar("T")

PROTOCOL = "relay.events"
CLOSE_S = 1.0  # a close frame that can't be written by then is given up
TOKEN_EXPIRED = 4401  # private close code: come back with a new token
SEQ_MAX = 2**53  # what JavaScript can count


class Frame(msgspec.Struct, frozen=True):
    """What a client sends."""

    type: Literal["heartbeat", "answer", "reject", "hangup", "fail"]
    roomId: str = ""


class Reader:
    """One socket's queue. `put` never blocks; a queue that is full marks the reader as too slow.

    What is replayed at the start does not count: the reader had no chance yet to read it.
    """

    def __init__(self, size: int) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self._size = size
        self._limit: float = math.inf
        self.ended = asyncio.Event()
        self.close_code: int = WSCloseCode.OK
        self.close_text = ""

    def put(self, frame: str) -> None:
        if self.ended.is_set():
            return
        if self.queue.qsize() >= self._limit:
            self.end(WSCloseCode.TRY_AGAIN_LATER, "too slow")
            return
        self.queue.put_nowait(frame)

    def replayed(self) -> None:
        """From now on frames count."""
        self._limit = self.queue.qsize() + self._size

    def dismiss(self) -> None:
        self.end(TOKEN_EXPIRED, "the token was revoked")

    def end(self, code: int, text: str) -> None:
        if not self.ended.is_set():
            self.close_code, self.close_text = code, text
            self.ended.set()


class EventSockets:
    """The handler of `/v1/events` and its open sockets."""

    ENDPOINTS = (
        Endpoint(
            "GET", "/v1/events", "connect", "The party's events as a WebSocket; `?after=SEQ` resumes",
            status=101, codes=(13, 1001, 1004, 2103), tag="events",
        ),
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        service: CallService,
        tokens: Tokens,
        notice_user: Callable[[str, str], None],
        limits: Limits,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._notice_user = notice_user
        self._limits = limits
        self._config = config
        self._service = service
        self._tokens = tokens
        self._clock = clock
        self._wall = wall
        self._readers: set[Reader] = set()
        self.cut = 0  # readers that were too slow

    async def close(self) -> None:
        """Tell every client to come back elsewhere."""
        for reader in tuple(self._readers):
            reader.end(WSCloseCode.GOING_AWAY, "the node is stopping")
        await asyncio.sleep(0)

    async def connect(self, asked: Asked[Empty, Empty]) -> web.StreamResponse:
        request = asked.request
        claims = self._tokens.read(socket_token(request))
        party = claims.party
        if party is None:
            raise ApiError(403, Code.NO_API_PERMISSION, "events are for a device or a user")
        after = _after(request)
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            # aiohttp ends a socket half of this after the ping it sends: together heartbeat_lost_s.
            heartbeat=self._config.heartbeat_lost_s * 2 / 3,
            max_msg_size=self._config.event_message_bytes,
            timeout=CLOSE_S,
            compress=False,  # frames are small, and a compressor costs 256 KiB a socket
        )
        if not socket.can_prepare(request).ok:
            raise ApiError(426, Code.WRONG_PARAMETER, "this path speaks WebSocket only")
        if claims.kind == "user":
            self._notice_user(party.id, claims.appid)
        reader = Reader(self._config.event_queue)
        # Attached before the handshake is answered, so that a refusal is still an HTTP answer.
        self._service.events.attach(
            party, reader, after, self._service.party_rooms(party), self._clock(), int(self._wall() * 1000)
        )
        reader.replayed()
        self._readers.add(reader)
        try:
            await socket.prepare(request)
            await self._serve(request, socket, reader, claims, party)
        finally:
            self._readers.discard(reader)
            self._service.events.detach(party, reader)
        return socket

    async def _serve(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        reader: Reader,
        claims: Claims,
        party: Party,
    ) -> None:
        writing = asyncio.create_task(self._write(socket, reader))
        reading = asyncio.create_task(self._read(socket, reader, party))
        ended = asyncio.create_task(reader.ended.wait())
        tasks = (writing, reading, ended)
        try:
            done, _ = await asyncio.wait(
                tasks,
                timeout=max(0.0, claims.exp - self._wall()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                reader.end(TOKEN_EXPIRED, "the token has expired")
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                    log.error("an event socket failed", exc_info=outcome)
            self.cut += reader.close_code == WSCloseCode.TRY_AGAIN_LATER
            await _shut(request, socket, reader)

    async def _write(self, socket: web.WebSocketResponse, reader: Reader) -> None:
        while True:
            frame = await reader.queue.get()
            try:
                async with asyncio.timeout(self._config.event_write_s):
                    await socket.send_str(frame)
            except TimeoutError:
                reader.end(WSCloseCode.TRY_AGAIN_LATER, "too slow")
                return

    async def _read(self, socket: web.WebSocketResponse, reader: Reader, party: Party) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                reader.end(WSCloseCode.UNSUPPORTED_DATA, "text frames only")
                return
            try:
                self._limits.take(party.kind, party.id)  # a frame counts like a request
            except ApiError:
                reader.end(WSCloseCode.POLICY_VIOLATION, "too many frames")
                return
            reader.put(msgspec.json.encode(self._answer(message.data, party)).decode())

    def _answer(self, text: str, party: Party) -> dict[str, Any]:
        """What a client's frame does, and the frame that tells it so."""
        kind, room = "", ""
        try:
            frame = _decoded(text, Frame)
            kind, room = frame.type, frame.roomId
            if kind == "heartbeat":
                return {"type": "heartbeat"}
            done: dict[str, Any] = {"type": kind, "roomId": room, "groupId": room}
            if kind == "answer":
                self._service.answer(room, party)
                done["credential"] = self._tokens.credential(room, "listener", party)
            elif kind == "reject":
                self._service.reject(room, party, _decoded(text, Rejection).status)
            elif kind == "hangup":
                self._service.hang_up(room, party, _decoded(text, HangUp).origin)
            else:
                self._service.fail(room, party, _decoded(text, Failure).errMsg)
            return done
        except ApiError as fault:
            return {
                "type": "error",
                "request": kind,
                "roomId": room,
                "errCode": fault.code,
                "errMsg": fault.message,
            }


def _decoded(text: str, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError) as fault:
        raise ApiError(400, Code.WRONG_PARAMETER, f"bad frame: {fault}") from None


def _after(request: web.Request) -> int | None:
    text = request.query.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= SEQ_MAX):
        raise ApiError(400, Code.WRONG_PARAMETER, "after: must be the number of an event")
    return int(text)


async def _shut(request: web.Request, socket: web.WebSocketResponse, reader: Reader) -> None:
    """Say good-bye if it can be said soon; a peer that does not read loses its connection."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code=reader.close_code, message=reader.close_text.encode(), drain=True)
    except (TimeoutError, ConnectionError):
        pass  # dropped below
    transport = request.transport
    if transport is not None and reader.close_code == WSCloseCode.TRY_AGAIN_LATER:
        transport.abort()
