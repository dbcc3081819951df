"""A worker process: `python -m relay.media.process --index I --fd N`, started by the node and by nobody else.

Descriptor N is one end of a socket pair. The configuration comes first; then requests come in, each served
by its own task, and responses, events and a heartbeat a second go out. The socket is also the leash: when
it closes, whether the node stopped or was killed, the worker says good-bye to its peers and ends. So no
worker outlives its node, and signals that a terminal or a service manager sends to the whole group are left
for the node to act on.
"""

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec
import uvloop

from relay import logs
from relay.config import Config
from relay.media.channel import Channel
from relay.media.messages import (
    Answer,
    CloseLeg,
    CloseRoom,
    Command,
    Counters,
    Done,
    GoLive,
    Heartbeat,
    Media,
    MediaError,
    OpenLeg,
    Ready,
    Refused,
    Reply,
    Report,
    Request,
    Response,
    RestartLeg,
    Stats,
)

log = logging.getLogger(__name__)

START = 0
"""The number of a Response to no request: a Refused with it says why the worker cannot start."""

INTERNAL = 2002
"""The plugin's code for a media failure that is nobody's fault outside (plugin-interface §3.2)."""

HEARTBEAT_S = 1.0
LAG_SAMPLES = 4
"""A heartbeat reports the worst of so many measurements: a stall shorter than a second is seen too."""

HANDSHAKE_NICE = 5
"""Niceness of a worker's event loop: on a shared core a handshake never delays a packet for long."""

STOP_S = 1.2
"""Good-byes may take so long; the node kills a little later."""

LAST_RESORT_S = 3.0
"""A worker whose node is gone lives no longer than this, whatever it does."""


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """The node's first message."""

    config: Config
    log_level: str = "info"


class Service(Media, Protocol):
    """What a worker process serves: `relay.media.worker.Worker`."""

    @property
    def port(self) -> int:
        """The UDP port, once started."""
        ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def counters(self) -> dict[str, Any]: ...


def main() -> None:
    from relay.media.worker import (
        Worker,
    )  # here, so that the node does not load the pump for the sake of `Setup`

    run(Worker)


def run(make: Callable[[Config, int], Service]) -> None:
    """Serve `make(config, index)` on the descriptor given on the command line until it closes."""
    parser = argparse.ArgumentParser(description="A worker process of a relay node; started by `relay serve`.")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.configure(worker=arguments.index)
    leash = socket.socket(fileno=arguments.fd)
    os.set_inheritable(leash.fileno(), False)
    leash.setblocking(False)
    uvloop.run(_Process(make, arguments.index).serve(leash))


class _Process:
    def __init__(self, make: Callable[[Config, int], Service], index: int) -> None:
        self._make = make
        self._index = index
        self._service: Service | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        decoder = msgspec.msgpack.Decoder(Setup | Request)
        self._channel: Channel[Setup | Request] = Channel(decoder, self._receive, self._closed)

    async def serve(self, leash: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self._channel, sock=leash)
        await self._over.wait()
        # Nobody is left to kill a worker that hangs, not even in native code, but the kernel.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._service is not None:
            try:
                await asyncio.wait_for(self._service.stop(), STOP_S)
            except TimeoutError:
                log.warning("the good-byes took too long")

    def _receive(self, message: Setup | Request) -> None:
        if isinstance(message, Setup):
            self._spawn(self._start(message))
        else:
            self._spawn(self._answer(message))

    def _closed(self, reason: str) -> None:
        if reason != "closed":
            log.error("the socket to the node broke", extra={"reason": reason})
        self._over.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, setup: Setup) -> None:
        logs.configure(setup.log_level, worker=self._index)
        try:
            service = self._make(setup.config, self._index)
            await service.start()
        except Exception as error:
            if not isinstance(error, OSError):  # a bug, not the machine's state
                log.exception("the worker cannot start")
            reason = why_not(setup.config, self._index, error)
            self._channel.send(Response(START, Refused(503, INTERNAL, reason)))
            self._channel.close()
            return
        if setup.config.pump == "thread":
            # The pump's thread keeps its priority; handshakes and offers on this one step back behind media.
            os.setpriority(os.PRIO_PROCESS, 0, HANDSHAKE_NICE)
        self._service = service
        service.subscribe(self._channel.send)
        self._channel.send(Ready(service.port))
        await self._beat()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            worst = 0.0
            for _ in range(LAG_SAMPLES):
                wanted = loop.time() + HEARTBEAT_S / LAG_SAMPLES
                await asyncio.sleep(HEARTBEAT_S / LAG_SAMPLES)
                worst = max(worst, loop.time() - wanted)
            # While the node does not read, heartbeats would only pile up.
            if self._channel.unsent_bytes == 0:
                self._channel.send(Heartbeat(1000 * worst))

    async def _answer(self, request: Request) -> None:
        if self._service is None:
            reply: Reply = Refused(503, INTERNAL, "the worker is not ready")
        else:
            try:
                reply = await _serve(self._service, request.command)
            except MediaError as error:
                reply = Refused(error.status, error.code, error.message)
            except Exception:
                log.exception("a request failed", extra={"command": type(request.command).__name__})
                reply = Refused(500, INTERNAL, "the media worker failed; its log says more")
        try:
            self._channel.send(Response(request.number, reply))
        except ValueError as error:
            self._channel.send(Response(request.number, Refused(500, INTERNAL, str(error))))


def why_not(config: Config, index: int, error: Exception) -> str:
    """Why a worker could not start, in words that name its port when that is the matter."""
    if not isinstance(error, OSError) or not error.errno or error.errno < 0:
        return str(error)
    where = f"UDP port {config.media_port + index if config.media_port else 0} on {config.media_host}"
    hint = "; choose another with --media-port" if error.errno == errno.EADDRINUSE else ""
    return f"{where}: {os.strerror(error.errno).lower()}{hint}"


async def _serve(service: Service, command: Command) -> Reply:
    match command:
        case OpenLeg(room=room, leg=leg, offer=offer, live=live):
            return Answer(await service.open_leg(room, leg, offer, live=live))
        case RestartLeg(leg=leg, fragment=fragment):
            return Answer(await service.restart_leg(leg, fragment))
        case CloseLeg(leg=leg):
            await service.close_leg(leg)
            return Done()
        case GoLive(room=room):
            await service.go_live(room)
            return Done()
        case CloseRoom(room=room):
            await service.close_room(room)
            return Done()
        case Stats(room=room):
            return Report(await service.stats(room))
        case Counters():
            return Report(await service.counters())


if __name__ == "__main__":
    main()
