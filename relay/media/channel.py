"""A Unix stream socket that carries whole messages: a 4-byte big-endian length, then msgpack.

Both ends of the socket between the node and a worker are this class. Frames are bounded on the way in and
on the way out, and the far end closing, breaking the framing or sending a message of the wrong shape all
look the same to the owner: `closed` is called once, with the reason. Messages are delivered in the order
they were sent.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

MAX_FRAME_BYTES = 4 << 20
"""Largest message. An SDP is at most 64 KiB; the report of a room with hundreds of legs is the big one."""

MAX_UNSENT_BYTES = 16 << 20
"""A far end that leaves this much unread is not coming back: the channel closes."""

_LENGTH_BYTES = 4

In = TypeVar("In")


class Channel(asyncio.Protocol, Generic[In]):
    """One end of the socket. `receive` gets every message, `closed` the reason once there will be no more."""

    def __init__(
        self,
        decoder: "msgspec.msgpack.Decoder[In]",
        receive: Callable[[In], None],
        closed: Callable[[str], None],
    ) -> None:
        self._decoder = decoder
        self._receive = receive
        self._closed = closed
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._reason = ""
        self._opened = False
        self._over = asyncio.Event()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent but are not in the kernel yet; 0 when closed."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, message: msgspec.Struct) -> None:
        """Queue one message; on a closed channel this does nothing, for `closed` has told the owner.

        Raises ValueError when the message is larger than MAX_FRAME_BYTES.
        """
        if self._transport is None or self._transport.is_closing():
            return
        body = self._encoder.encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ValueError(f"a {type(message).__name__} of {len(body)} bytes is too large for the channel")
        self._transport.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        if self.unsent_bytes > MAX_UNSENT_BYTES:
            self._fail("the far end does not read")

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what is queued is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Returns once the socket is closed, which a closing channel is a moment later; at once if it never
        was.
        """
        if self._opened:
            await self._over.wait()

    # asyncio.Protocol, called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface without the base class.
        self._transport = cast(asyncio.Transport, transport)
        self._opened = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[start : start + _LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                self._fail(f"a frame of {length} bytes was announced")
                return
            end = start + _LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            try:
                message = self._decoder.decode(bytes(self._buffer[start + _LENGTH_BYTES : end]))
            except msgspec.MsgspecError as error:
                self._fail(f"not a message: {error}")
                return
            start = end
            self._receive(message)
            if self._transport is None or self._transport.is_closing():
                return
        del self._buffer[:start]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._over.set()
        self._buffer.clear()
        self._closed(self._reason or (str(error) if error else "closed"))

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self.abort()
