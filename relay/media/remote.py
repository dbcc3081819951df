"""One worker process as the node sees it: started, asked, watched, buried and replaced.

`Remote` is a place for a worker, numbered and with a UDP port of its own; `_Life` is the process that fills
it now. Death has two moments. At the first (socket closed, pidfd readable, or silent for too long) the life
is over for the node: requests fail, the owner is told once, nothing that still arrives is believed, and the
process is killed should it exist. At the second the kernel has buried it: its port is free, and the next
life may begin.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay import logs
from relay.config import Config
from relay.media.channel import Channel
from relay.media.messages import (
    Command,
    FromWorker,
    Heartbeat,
    MediaError,
    MediaEvent,
    Ready,
    Refused,
    Reply,
    Request,
    Response,
)
from relay.media.process import START, Setup

log = logging.getLogger(__name__)

MEDIA_LOST = 2002
"""The plugin's code for "media SDK: reset" (plugin-interface §3.2): the media plane could not serve the
request.
"""

MAX_PENDING = 1024
"""Requests under way at one worker; more are refused, for they would all time out."""


class StartError(Exception):
    """A worker could not start for a reason that will not go away by itself, such as a port in use."""


@dataclass(frozen=True)
class Patience:
    """How long the node waits for what, in seconds."""

    start_s: float = 20.0  # a worker's imports, certificate and socket; generous for a loaded box
    request_s: float = 10.0  # a request of the call plane; HTTP clients give up soon after
    silent_s: float = 5.0  # five heartbeats
    check_s: float = 1.0  # how often silence is looked for
    any_worker_s: float = 3.0  # a new leg waits this long for a worker to be back
    stop_s: float = 1.5  # a worker's good-byes (DTLS close_notify) before it is killed
    first_delay_s: float = 0.05  # before the first replacement
    last_delay_s: float = 5.0  # the delay doubles up to this
    grown_up_s: float = 30.0  # a worker that lived so long starts the doubling anew


class Owner(Protocol):
    """Who is told what happens to a `Remote`."""

    def on_ready(self, worker: "Remote") -> None: ...
    def on_event(self, worker: "Remote", event: MediaEvent) -> None: ...
    def on_death(self, worker: "Remote") -> None:
        """Once per life that was ready, before the requests under way learn of it."""


class Remote:
    """A place for worker `index`. Fields are read by the owner; `legs` is the owner's to count."""

    def __init__(self, owner: Owner, config: Config, index: int, command: Sequence[str], patience: Patience) -> None:
        self.index = index
        self.legs = 0
        self.ready = False
        self.port: int | None = None
        self.deaths = 0
        self.lag_ms = 0.0
        self.heard = 0.0
        self._owner = owner
        self._config = config
        self._command = command
        self._patience = patience
        self._number = START
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._life: _Life | None = None
        self._stopping = False
        self._refusal = ""
        self._delay_s = 0.0
        self._first_ready: asyncio.Future[None] | None = None
        self._revival: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that lives now."""
        life = self._life
        return life.process.pid if life is not None and not life.buried.done() else None

    @property
    def pending(self) -> int:
        """Requests that wait for their reply."""
        return len(self._pending)

    async def start(self) -> None:
        """The first life. Unlike later ones, when it fails it is not tried again: StartError says why."""
        self._first_ready = asyncio.get_running_loop().create_future()
        try:
            await self._spawn()
            await asyncio.wait_for(self._first_ready, self._patience.start_s)
        except TimeoutError:
            raise StartError(f"worker {self.index} was not ready within {self._patience.start_s:g} s") from None
        finally:
            self._first_ready = None

    async def stop(self) -> None:
        """End the life for good; afterwards no process is left."""
        self._stopping = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
        life = self._life
        if life is None:
            return
        self._end(life, "stopped")
        try:
            await asyncio.wait_for(asyncio.shield(life.buried), self._patience.stop_s)
        except TimeoutError:
            life.kill()
            await life.buried
        await life.channel.wait_closed()

    def kill(self, why: str) -> None:
        """End this life at once; the next one follows."""
        if self._life is not None:
            self._end(self._life, why)

    async def request(self, command: Command, timeout_s: float) -> Reply:
        """Send a command and wait for its reply. Raises MediaError: what the worker refused with, 503
        without a worker, 504 without a reply in time.
        """
        if not self.ready or self._life is None:
            raise MediaError(503, MEDIA_LOST, "the media worker is not running; try again")
        if len(self._pending) >= MAX_PENDING:
            raise MediaError(503, MEDIA_LOST, "the media worker has too much to do; try again")
        self._number += 1
        number = self._number
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            self._life.channel.send(Request(number, command))
            reply = await asyncio.wait_for(future, timeout_s)
        except ValueError as error:
            raise MediaError(413, MEDIA_LOST, str(error)) from None
        except TimeoutError:
            raise MediaError(504, MEDIA_LOST, "the media worker did not answer in time") from None
        finally:
            del self._pending[number]
        if isinstance(reply, Refused):
            raise MediaError(reply.status, reply.code, reply.message)
        return reply

    def post(self, command: Command) -> None:
        """A command whose reply interests nobody."""
        if self.ready and self._life is not None:
            self._number += 1
            self._life.channel.send(Request(self._number, command))

    async def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        process, ours = self._launch()
        life = self._life = _Life(process, loop)
        life.channel = Channel(
            msgspec.msgpack.Decoder(FromWorker),
            lambda message: self._receive(life, message),
            lambda reason: self._end(life, f"its socket: {reason}"),
        )
        self._refusal = ""
        loop.add_reader(life.pidfd, self._bury, life)
        try:
            await loop.create_unix_connection(lambda: life.channel, sock=ours)
        except BaseException:
            ours.close()
            raise
        # The configuration holds the token secret, so it travels here and not among the arguments, which
        # every user of the machine can read.
        life.channel.send(Setup(self._config, logs.level()))

    def _launch(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        """Start the process; about a millisecond (vfork), so it may be done on the event loop."""
        ours, theirs = socket.socketpair()
        arguments = [*self._command, "--index", str(self.index), "--fd", str(theirs.fileno())]
        try:
            process = subprocess.Popen(arguments, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
        except OSError as error:
            ours.close()
            raise StartError(f"worker {self.index} cannot be started: {error.strerror}") from None
        finally:
            theirs.close()
        ours.setblocking(False)
        return process, ours

    def _receive(self, life: "_Life", message: FromWorker) -> None:
        if life.over:
            return
        self.heard = asyncio.get_running_loop().time()
        match message:
            case Response(number=number, reply=Refused(message=why)) if number == START:
                self._refusal = why  # it cannot start, and exits now
            case Response(number=number, reply=reply):
                future = self._pending.get(number)
                if future is not None and not future.done():
                    future.set_result(reply)
            case MediaEvent():
                self._owner.on_event(self, message)
            case Heartbeat(lag_ms=lag_ms):
                self.lag_ms = lag_ms
            case Ready(port=port):
                self.port = port
                self.ready = True
                if self._first_ready is not None and not self._first_ready.done():
                    self._first_ready.set_result(None)
                else:
                    log.info("a worker is back", extra={"index": self.index, "pid": life.process.pid})
                self._owner.on_ready(self)

    def _end(self, life: "_Life", how: str) -> None:
        """The first moment of death; later calls for the same life do nothing."""
        if life.over:
            return
        life.over = True
        was_ready, self.ready = self.ready, False
        if self._stopping:
            life.channel.close()  # the worker reads the end of file and says good-bye to its peers
        else:
            life.channel.abort()
            life.kill()
        if was_ready:
            if not self._stopping:
                self.deaths += 1
                fields = {"index": self.index, "pid": life.process.pid, "how": how, "legs": self.legs}
                log.error("a worker died", extra=fields)
            self._owner.on_death(self)
        for future in self._pending.values():
            if not future.done():
                future.set_result(Refused(503, MEDIA_LOST, "the media worker died; offer again"))

    def _bury(self, life: "_Life") -> None:
        """The second moment: the pidfd is readable, so the kernel has closed the process's sockets."""
        loop = asyncio.get_running_loop()
        how = life.reap(loop)
        self._end(life, how)
        if self._stopping:
            return
        if self._first_ready is not None:
            if not self._first_ready.done():
                reason = self._refusal or f"it ended with {how} before it was ready; its log lines say why"
                self._first_ready.set_exception(StartError(f"worker {self.index} cannot start: {reason}"))
            return
        if self._refusal:
            log.error("a worker cannot start", extra={"index": self.index, "reason": self._refusal})
        self._revival = loop.create_task(self._revive(loop.time() - life.born))

    async def _revive(self, lived_s: float) -> None:
        patience = self._patience
        if self._delay_s == 0.0 or lived_s >= patience.grown_up_s:
            self._delay_s = patience.first_delay_s
        else:
            self._delay_s = min(2 * self._delay_s, patience.last_delay_s)
        while True:
            await asyncio.sleep(self._delay_s)
            try:
                await self._spawn()
                return
            except StartError as error:
                log.error("a worker cannot be started", extra={"index": self.index, "reason": str(error)})
                self._delay_s = min(2 * self._delay_s, patience.last_delay_s)


class _Life:
    """One process, from its start until it is buried."""

    channel: Channel[FromWorker]

    def __init__(self, process: "subprocess.Popen[bytes]", loop: asyncio.AbstractEventLoop) -> None:
        self.process = process
        self.pidfd = os.pidfd_open(process.pid)
        self.born = loop.time()
        self.over = False
        self.buried: asyncio.Future[None] = loop.create_future()

    def kill(self) -> None:
        if not self.buried.done():
            self.process.kill()

    def reap(self, loop: asyncio.AbstractEventLoop) -> str:
        """Collect the dead process and say how it ended. Only to be called once the pidfd is readable."""
        loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        status = self.process.wait()
        self.buried.set_result(None)
        return signal.Signals(-status).name if status < 0 else f"exit code {status}"
