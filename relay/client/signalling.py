"""A device's side of the call interface: HTTP requests and the event WebSocket.

The WebSocket is a resumable log: every event has a number, and after a cut the client asks for what came
after the last one it saw (`?after=SEQ`), so an outage shorter than the relay's memory loses nothing.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec
from yarl import URL

HEARTBEAT_S = 5.0  # plugin-interface §7.5
SILENCE_S = 15.0  # no frame for this long: the connection is dead even if TCP has not noticed
REQUEST_S = 10.0
BACKOFF_S = (0.2, 8.0)  # first and longest wait between two attempts
MAX_BODY = 256 * 1024  # bytes of an answer or an event worth reading

RoomType = Literal["voice", "video"]


class SignallingError(Exception):
    """The relay could not be asked. `str()` is a sentence for a person."""


class Unreachable(SignallingError):
    """No answer at all: nothing listens there, the network is down, or it took too long."""


class Refused(SignallingError):
    """The relay answered no. `status` is HTTP's, `code` the plugin's error code (0 when it gave none)."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status}{f', code {code}' if code else ''})")
        self.status = status
        self.code = code
        self.message = message


class Event(msgspec.Struct, frozen=True):
    """One frame of the event WebSocket (plugin-interface §2.1, with the additions of §7.1)."""

    eventName: str
    seq: int = 0
    timestamp: int = 0  # Unix milliseconds, the relay's clock
    roomId: str = ""
    groupId: str = ""
    data: dict[str, Any] | None = None


class Created(msgspec.Struct, frozen=True):
    """The answer to create, answer and join: a room and the credential to join it with, once, within 60 s."""

    roomId: str
    credential: str
    isSuccess: bool = True


class _Fault(msgspec.Struct, frozen=True):
    errCode: int = 0
    errMsg: str = ""


class _State(msgspec.Struct, frozen=True):
    state: str


class _Token(msgspec.Struct, frozen=True):
    token: str


class Signalling:
    """One party's connection to a relay.

    `token` is the party's bearer token; `renew`, when given, is awaited for a new one after the relay refuses
    it.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        renew: Callable[[], Awaitable[str]] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        silence_s: float = SILENCE_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
        patience_s: float | None = None,
    ) -> None:
        """`patience_s`: how long a lost connection is sought again before Unreachable is raised; None: for
        ever.
        """
        self.base = base_url(url)
        self._token = token
        self._renew = renew
        self._heartbeat_s = heartbeat_s
        self._silence_s = silence_s
        self._backoff_s = backoff_s
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None
        self._last_seq = 0
        self._last_timestamp = 0
        self.online = asyncio.Event()
        self.resumed = 0  # how often the event connection came back

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Calls

    async def create_call(
        self,
        *,
        caller: str,
        listener: str,
        room_type: RoomType,
        caller_name: str = "",
        listener_name: str = "",
        ring_timeout_s: int | None = None,
    ) -> Created:
        """Call a user from this device. Raises Refused (with the plugin's code) or Unreachable."""
        body: dict[str, Any] = {
            "direction": "device_to_user",
            "roomType": room_type,
            "caller": {"id": caller, "name": caller_name or caller},
            "listener": {"id": listener} | ({"name": listener_name} if listener_name else {}),
        }
        if ring_timeout_s is not None:
            body["ringTimeout"] = ring_timeout_s
        return await self._created("v1/calls", body)

    async def answer(self, room: str) -> Created:
        """Take the call. Raises Refused when it is over or was answered elsewhere."""
        return await self._created(f"v1/calls/{room}/answer", {})

    async def join(self, room: str) -> Created:
        """A fresh credential, for another try at joining inside the join timer."""
        return await self._created(f"v1/calls/{room}/join", {})

    async def reject(self, room: str, *, busy: bool = False) -> None:
        """Refuse the call; `busy` tells the caller that this side is in another one."""
        await self._post_json(f"v1/calls/{room}/reject", {"status": "busy" if busy else "manual"})

    async def fail(self, room: str, reason: str) -> None:
        """Give up joining for good, so that the other side need not wait for a timer."""
        await self._post_json(f"v1/calls/{room}/fail", {"errMsg": reason[:256]})

    async def over(self, room: str) -> bool:
        """Whether the relay no longer has this call or has ended it. Raises SignallingError."""
        try:
            _, content, _ = await self._request("GET", self.base / "v1" / "calls" / room)
            return msgspec.json.decode(content, type=_State).state in ("ENDED", "SETTLED")
        except Refused as refusal:
            if refusal.status == 404:
                return True
            raise
        except msgspec.DecodeError as fault:
            raise Refused(200, 0, f"answer not understood: {fault}") from fault

    async def hang_up(self, room: str) -> None:
        """End the call in whatever phase it is: the relay makes it a cancel, a rejection or a hang-up."""
        await self._post_json(f"v1/calls/{room}/hangup", {"origin": "manual"})

    # The leg

    async def open_leg(self, room: str, credential: str, offer: str) -> tuple[str, str]:
        """Post an SDP offer; returns the SDP answer and the leg's URL (empty when the relay named none)."""
        status, body, headers = await self._request(
            "POST",
            self.base / "v1" / "calls" / room / "legs",
            data=offer.encode(),
            headers={"Content-Type": "application/sdp"},
            token=credential,
        )
        if status != 201:
            raise Refused(status, 0, "the relay gave no SDP answer")
        try:
            answer = body.decode()
        except UnicodeDecodeError:
            raise Refused(status, 0, "the relay's SDP answer is not text") from None
        location = headers.get("Location", "")
        return answer, str(self.base.join(URL(location))) if location else ""

    async def close_leg(self, location: str) -> None:
        """Leave. A leg that is already gone is no fault."""
        try:
            await self._request("DELETE", URL(location), token=self._token)
        except Refused as refusal:
            if refusal.status not in (401, 403, 404, 409, 410):
                raise

    # Events

    async def listen(self, on_event: Callable[[Event], None], on_resume: Callable[[], None] | None = None) -> None:
        """Hand over every event once and in order until cancelled, through any number of cut connections.

        Raises Unreachable when the first connection fails or a later outage outlasts `patience_s`, and
        Refused when the relay turns the token down. `online` is set while connected;
        `on_resume` is called each time the connection came back, before the events that were missed.
        """
        loop = asyncio.get_running_loop()
        wait_s, longest_s = self._backoff_s
        lost_at: float | None = None
        ever = False
        while True:
            try:
                socket = await self._connect()
            except Unreachable:
                if not ever:
                    raise
                now = loop.time()
                lost_at = now if lost_at is None else lost_at
                if self._patience_s is not None and now - lost_at >= self._patience_s:
                    raise
                # Jitter, so that a thousand devices do not come back to a restarted relay in one instant.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, longest_s)
                continue
            self.resumed += ever
            ever, lost_at, heard = True, None, False
            self.online.set()
            if self.resumed and on_resume is not None:
                on_resume()
            try:
                heard = await self._receive(socket, on_event)
            finally:
                self.online.clear()
                await socket.close()
            if heard:
                wait_s = self._backoff_s[0]
            else:
                # Accepted and dropped at once: a relay in trouble must not be hammered either.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, longest_s)

    async def _connect(self, *, renewed: bool = False) -> aiohttp.ClientWebSocketResponse:
        url = self.base / "v1" / "events"
        if self._last_seq:
            url = url.with_query(after=str(self._last_seq))
        try:
            return await self._client().ws_connect(
                url,
                headers={"Authorization": f"Bearer {self._token}"},
                max_msg_size=MAX_BODY,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as refusal:
            if refusal.status == 401 and self._renew is not None and not renewed:
                self._token = await self._renew()
                return await self._connect(renewed=True)
            if refusal.status >= 500 or refusal.status == 429:
                raise Unreachable(f"the relay at {self.base} is not ready (HTTP {refusal.status})") from refusal
            raise Refused(refusal.status, 0, f"the relay at {self.base} refused the event connection") from refusal
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise Unreachable(f"cannot reach a relay at {self.base}: {_cause(fault)}") from fault

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, on_event: Callable[[Event], None]) -> bool:
        """Read until the connection ends or falls silent; True when the relay said anything at all."""
        beating = asyncio.ensure_future(self._beat(socket))
        heard = False
        try:
            while True:
                try:
                    message = await socket.receive(timeout=self._silence_s)
                except TimeoutError:
                    return heard
                if message.type is not aiohttp.WSMsgType.TEXT:
                    # Binary frames are not ours; every other type means that the connection is ending.
                    if message.type is aiohttp.WSMsgType.BINARY:
                        continue
                    return heard
                heard = True
                event = _event(message.data)
                if event is not None and self._fresh(event):
                    on_event(event)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while not socket.closed:
            try:
                await socket.send_json({"type": "heartbeat"})
            except (aiohttp.ClientError, OSError):
                return  # the receiving side sees the same end and reconnects
            await asyncio.sleep(self._heartbeat_s)

    def _fresh(self, event: Event) -> bool:
        """False for what a resumption repeats. Numbers that start over at a later time are a restarted
        relay's.
        """
        if event.seq == 0:
            return True
        if event.seq <= self._last_seq and event.timestamp <= self._last_timestamp:
            return False
        self._last_seq, self._last_timestamp = event.seq, event.timestamp
        return True

    # HTTP

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        return self._session

    async def _created(self, path: str, body: dict[str, Any]) -> Created:
        status, content = await self._post_json(path, body)
        try:
            created = msgspec.json.decode(content, type=Created)
        except msgspec.DecodeError as fault:
            refusal = _fault(content)
            raise Refused(status, refusal.errCode, refusal.errMsg or f"answer not understood: {fault}") from fault
        if not created.isSuccess:
            refusal = _fault(content)
            raise Refused(status, refusal.errCode, refusal.errMsg or "the relay refused the call")
        return created

    async def _post_json(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        url = self.base.joinpath(path)
        for attempt in (1, 2):
            try:
                status, content, _ = await self._request(
                    "POST", url, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
                )
                return status, content
            except Refused as refusal:
                if refusal.status != 401 or self._renew is None or attempt == 2:
                    raise
                self._token = await self._renew()
        raise AssertionError("unreachable")

    async def _request(
        self,
        method: str,
        url: URL,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, bytes, Any]:
        headers = dict(headers or {}) | {"Authorization": f"Bearer {token or self._token}"}
        return await _exchange(self._client(), method, url, data=data, headers=headers)


async def demo_token(url: str, *, kind: Literal["device", "user"], id: str, name: str = "") -> str:
    """A token from a relay in demo mode. Raises Refused when it is not in demo mode, or Unreachable."""
    base = base_url(url)
    body = {"kind": kind, "id": id} | ({"name": name} if name else {})
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_S)) as session:
        try:
            _, content, _ = await _exchange(
                session,
                "POST",
                base / "demo" / "token",
                data=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )
        except Refused as refusal:
            if refusal.status in (404, 405):
                raise Refused(
                    refusal.status,
                    refusal.code,
                    f"the relay at {base} is not in demo mode: a --token is needed",
                ) from refusal
            raise
    try:
        return msgspec.json.decode(content, type=_Token).token
    except msgspec.DecodeError as fault:
        raise Refused(200, 0, f"what answers at {base} is not a relay: {fault}") from fault


def base_url(text: str) -> URL:
    """The relay's address with a scheme and a path to append to. Raises ValueError."""
    url = URL(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not an http or https address")
    return url.with_query(None).with_fragment(None)


async def _exchange(
    session: aiohttp.ClientSession, method: str, url: URL, *, data: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes, Any]:
    try:
        async with session.request(method, url, data=data, headers=headers) as response:
            content = await response.content.read(MAX_BODY)
            if response.status >= 400:
                refusal = _fault(content)
                reason = (
                    refusal.errMsg or f"the relay at {url.origin()} refused: {response.reason or 'no reason given'}"
                )
                raise Refused(response.status, refusal.errCode, reason)
            return response.status, content, response.headers
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        raise Unreachable(f"cannot reach a relay at {url.origin()}: {_cause(fault)}") from fault


def _event(text: str) -> Event | None:
    """None for heartbeats and for whatever a newer relay may say."""
    try:
        return msgspec.json.decode(text, type=Event)
    except msgspec.DecodeError:
        return None


def _fault(content: bytes) -> _Fault:
    try:
        return msgspec.json.decode(content, type=_Fault)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Fault()


def _cause(fault: BaseException) -> str:
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, aiohttp.ClientConnectorError):
        # asyncio puts a text of its own where the system's would be; name resolution has negative numbers.
        number = fault.os_error.errno or 0
        return os.strerror(number) if number > 0 else fault.os_error.strerror or str(fault.os_error)
    return str(fault) or type(fault).__name__
