"""The event WebSocket: a resumable log.

Every event has a number, and after a cut the client asks for what came after the last one it saw
(`?after=SEQ`), so an outage shorter than the relay's memory loses nothing, and a longer one is told by a gap
frame. The socket ends with the token it was opened with (close code 4401); the next one has a new token.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from relay.client.http import Http, Refused, Unreachable, retry_after_s

HEARTBEAT_S = 5.0  # plugin-interface §7.5
SILENCE_S = 15.0  # no frame for this long: the connection is dead even if TCP has not noticed
BACKOFF_S = (0.2, 8.0)  # first and longest wait between two attempts
MAX_FRAME = 256 * 1024  # bytes
TOKEN_EXPIRED = 4401  # private close code: come back with a new token


class Event(msgspec.Struct, frozen=True):
    """One frame of the event WebSocket (plugin-interface §2.1, with the additions of §7.1)."""

    eventName: str
    seq: int = 0  # 0: made here, not sent by the relay
    timestamp: int = 0  # Unix milliseconds, the relay's clock
    roomId: str = ""
    groupId: str = ""
    data: dict[str, Any] | None = None
    reason: str = ""  # in words, where the relay knows one


class _Gap(msgspec.Struct, frozen=True, tag="gap", tag_field="type"):
    """Events after number `after` and before `first` were forgotten before they could be sent."""

    after: int = 0
    first: int = 0


class EventStream:
    """One party's event connection, through any number of cuts.

    `patience_s`: how long a lost connection is sought again before Unreachable is raised; None: for ever.
    """

    def __init__(
        self,
        http: Http,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        silence_s: float = SILENCE_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
        patience_s: float | None = None,
    ) -> None:
        self._http = http
        self._heartbeat_s = heartbeat_s
        self._silence_s = silence_s
        self._backoff_s = backoff_s
        self._patience_s = patience_s
        self._last_seq = 0
        self._last_timestamp = 0
        self.online = asyncio.Event()
        self.resumed = 0  # how often the connection came back

    async def listen(
        self,
        on_event: Callable[[Event], None],
        on_resume: Callable[[], None] | None = None,
        on_gap: Callable[[], None] | None = None,
    ) -> None:
        """Hand over every event once and in order until cancelled.

        Raises Unreachable when the first connection fails or a later outage outlasts `patience_s`, and
        Refused when the relay turns the token down for good. `online` is set while connected; `on_resume` is
        called each time the connection came back, before the events that were missed, and `on_gap` when some
        of those are lost.
        """
        loop = asyncio.get_running_loop()
        wait_s, longest_s = self._backoff_s
        lost_at: float | None = None
        ever = False
        while True:
            try:
                socket = await self._connect()
            except Unreachable as fault:
                if not ever:
                    raise
                now = loop.time()
                lost_at = now if lost_at is None else lost_at
                if self._patience_s is not None and now - lost_at >= self._patience_s:
                    raise
                # Jitter, so that a thousand devices do not come back to a restarted relay in one instant.
                await asyncio.sleep(max(wait_s, min(fault.retry_after_s, longest_s)) * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, longest_s)
                continue
            self.resumed += ever
            ever, lost_at, healthy = True, None, False
            self.online.set()
            if self.resumed and on_resume is not None:
                on_resume()
            token, began = self._http.token, loop.time()
            try:
                healthy = await self._receive(socket, on_event, on_gap)
            finally:
                self.online.clear()
                await socket.close()
            if socket.close_code == TOKEN_EXPIRED:
                await self._renew(token)
                # A token that is out of date at once is a clock gone wrong; it must not become a hammer.
                healthy = loop.time() - began >= self._heartbeat_s
            if healthy:
                wait_s = self._backoff_s[0]
            else:
                # Accepted and dropped at once: a relay in trouble must not be hammered either.
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, longest_s)

    async def _renew(self, token: str) -> None:
        """Get a new token before coming back. Failing is no matter here: the next connection finds out why."""
        try:
            await self._http.renew(token)
        except (Refused, Unreachable):
            pass

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        """Raises Unreachable for what may pass and Refused for what will not."""
        try:
            await self._http.authorise()
            used = self._http.token
            try:
                return await self._open(used)
            except Refused as refusal:
                if refusal.status != 401 or not self._http.renewable:
                    raise
            await self._http.renew(used)
            return await self._open(self._http.token)
        except Refused as refusal:
            if not refusal.passing:
                raise
            fault = Unreachable(f"the relay at {self._http.base} is not ready (HTTP {refusal.status})")
            fault.retry_after_s = refusal.retry_after_s
            raise fault from refusal

    async def _open(self, token: str) -> aiohttp.ClientWebSocketResponse:
        url = self._http.base / "v1" / "events"
        if self._last_seq:
            url = url.with_query(after=str(self._last_seq))
        try:
            return await self._http.session.ws_connect(
                url,
                headers={"Authorization": f"Bearer {token}"},
                max_msg_size=MAX_FRAME,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        except aiohttp.WSServerHandshakeError as refusal:
            words = f"the relay at {self._http.base} refused the event connection"
            code = 13 if refusal.status == 401 else 0  # a refused handshake shows no body: 401 is the token
            raise Refused(refusal.status, code, words, retry_after_s(refusal.headers)) from refusal
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise self._http.unreachable(fault) from fault

    async def _receive(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        on_event: Callable[[Event], None],
        on_gap: Callable[[], None] | None,
    ) -> bool:
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
                frame = _frame(message.data)
                if isinstance(frame, _Gap):
                    if on_gap is not None:
                        on_gap()
                elif frame is not None and self._fresh(frame):
                    on_event(frame)
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


def _frame(text: str) -> Event | _Gap | None:
    """None for heartbeats and for whatever a newer relay may say."""
    try:
        return msgspec.json.decode(text, type=Event)
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.json.decode(text, type=_Gap)
    except msgspec.DecodeError:
        return None
