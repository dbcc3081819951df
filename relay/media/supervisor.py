"""The node's side of the workers: one process each, watched, replaced when dead, and together one `Media`.

A room lives on one worker, chosen when its first leg arrives. The tables here say which; they are the only thing the
node knows about a worker's inside. Three promises:

1. A worker's death is noticed at once through its pidfd (or its closed socket, whichever comes first). Each of its
   open legs gets exactly one `lost` event, requests under way fail with a MediaError, and nothing that the dead worker
   still had to say is believed afterwards.
2. A worker that does not speak for `silent_s` is killed. It is the same as dead from that moment, even if it was only
   stopped. The check forgives everybody when the node itself was asleep.
3. A dead worker is replaced, on the same UDP port, as soon as the kernel has let go of the old process; one that dies
   young waits longer each time.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay.config import Config
from relay.media.channel import Channel
from relay.media.messages import (
    Answer,
    CloseLeg,
    CloseRoom,
    Command,
    Counters,
    Done,
    FromWorker,
    GoLive,
    Heartbeat,
    MediaError,
    MediaEvent,
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
from relay.media.process import Setup

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "relay.media.process")
"""What a worker process runs; `--index I --fd N` is added."""

MEDIA_LOST = 2002
"""The plugin's code for "media SDK: reset" (plugin-interface §3.2): the media plane could not serve the request."""


class StartError(Exception):
    """A worker could not start for a reason that will not go away by itself, such as a port in use."""


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what, in seconds."""

    start_s: float = 20.0  # a worker's imports, certificate and socket; generous for a loaded box
    request_s: float = 10.0  # a request of the call plane; HTTP clients give up soon after
    silent_s: float = 5.0  # five heartbeats
    check_s: float = 1.0  # how often silence is looked for
    any_worker_s: float = 3.0  # a new leg waits this long for a worker to be back
    stop_s: float = 2.0  # a worker's good-byes (DTLS close_notify) before it is killed
    first_delay_s: float = 0.1  # before the first replacement
    last_delay_s: float = 5.0  # the delay doubles up to this
    grown_up_s: float = 30.0  # a worker that lived so long starts the doubling anew


MAX_PENDING = 1024
"""Requests under way at one worker; more are refused, for they would all time out."""


@dataclass(eq=False)
class _Seat:
    """A leg's place. Until its answer has reached the call plane it is not `open` and its end is told by the
    request's failure alone."""

    room: str
    worker: "_Remote"
    open: bool = False


@dataclass(eq=False)
class _Room:
    worker: "_Remote"
    legs: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class WorkerState:
    """What is known of one worker without asking it. Ages in seconds, lag in milliseconds."""

    index: int
    up: bool
    pid: int | None
    port: int | None
    rooms: int
    legs: int
    pending: int
    lag_ms: float
    silent_s: float
    deaths: int


class Supervisor:
    """`Media` over `count` worker processes. All methods belong to one event loop.

    `command` starts a worker (tests put their own there).
    """

    def __init__(
        self,
        config: Config,
        count: int,
        *,
        command: Sequence[str] = COMMAND,
        patience: Patience | None = None,
    ) -> None:
        if count < 1:
            raise ValueError("a supervisor needs at least one worker")
        self._patience = patience if patience is not None else Patience()
        self._listeners: list[Callable[[MediaEvent], None]] = []
        self._rooms: dict[str, _Room] = {}
        self._legs: dict[str, _Seat] = {}
        self._workers = [_Remote(self, config, index, command) for index in range(count)]
        self._someone_ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start every worker and wait until all can take legs. Raises StartError after having stopped them again."""
        results = await asyncio.gather(
            *(worker.start(self._patience.start_s) for worker in self._workers), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.stop()
            raise failures[0]
        self._watch = asyncio.create_task(self._watch_silence())

    async def stop(self) -> None:
        """Let every worker say good-bye to its peers, at most `stop_s`; afterwards no process is left."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        await asyncio.gather(*(worker.stop(self._patience.stop_s) for worker in self._workers))
        self._rooms.clear()
        self._legs.clear()

    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None:
        self._listeners.append(listener)

    def state(self) -> list[WorkerState]:
        """Every worker as the node sees it now."""
        now = asyncio.get_running_loop().time()
        return [
            WorkerState(
                index=worker.index,
                up=worker.ready,
                pid=worker.pid,
                port=worker.port,
                rooms=sum(room.worker is worker for room in self._rooms.values()),
                legs=worker.load,
                pending=worker.pending,
                lag_ms=worker.lag_ms,
                silent_s=max(0.0, now - worker.heard) if worker.ready else 0.0,
                deaths=worker.deaths,
            )
            for worker in self._workers
        ]

    async def counters(self, timeout_s: float = 2.0) -> dict[int, dict[str, Any]]:
        """Counters of each worker that answers within `timeout_s`, by index."""

        async def ask(worker: _Remote) -> dict[str, Any] | None:
            try:
                reply = await worker.request(Counters(), timeout_s)
            except MediaError:
                return None
            return reply.values if isinstance(reply, Report) else None

        asked = [worker for worker in self._workers if worker.ready]
        answers = await asyncio.gather(*(ask(worker) for worker in asked))
        return {
            worker.index: values
            for worker, values in zip(asked, answers, strict=True)
            if values is not None
        }  # fmt: skip

    # Media

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str:
        if leg in self._legs:
            raise MediaError(409, MEDIA_LOST, "this leg exists already")
        worker = self._rooms[room].worker if room in self._rooms else await self._least_loaded()
        # Waiting for a worker gave others their turn, so both tables are asked again.
        if leg in self._legs:
            raise MediaError(409, MEDIA_LOST, "this leg exists already")
        home = self._rooms.setdefault(room, _Room(worker))
        worker = home.worker
        seat = self._legs[leg] = _Seat(room, worker)
        home.legs.add(leg)
        worker.load += 1
        try:
            reply = await worker.request(OpenLeg(room, leg, offer, live), self._patience.request_s)
            if self._legs.get(leg) is not seat or not isinstance(reply, Answer):
                # The worker died, or the leg was closed, between the answer's arrival and this line.
                raise MediaError(503, MEDIA_LOST, "the leg ended while it was being opened; offer again")
        except BaseException as error:
            if self._legs.get(leg) is seat:
                self._forget(leg)
                if not isinstance(error, MediaError) or error.status == 504:
                    worker.post(CloseLeg(leg))  # nobody waits for the answer any more
            raise
        seat.open = True
        return reply.sdp

    async def restart_leg(self, leg: str, fragment: str) -> str:
        seat = self._legs.get(leg)
        if seat is None:
            raise MediaError(404, MEDIA_LOST, "no such leg; post a new offer")
        reply = await seat.worker.request(RestartLeg(leg, fragment), self._patience.request_s)
        if not isinstance(reply, Answer):
            raise MediaError(503, MEDIA_LOST, "the worker gave no answer")
        return reply.sdp

    async def close_leg(self, leg: str) -> None:
        """Closing what is gone already, or goes meanwhile, is success."""
        seat = self._legs.get(leg)
        if seat is None:
            return
        self._forget(leg)
        await self._end(seat.worker, CloseLeg(leg))

    async def go_live(self, room: str) -> None:
        """Without legs there is nothing to start: a leg that comes later is opened with `live`."""
        home = self._rooms.get(room)
        if home is not None:
            await home.worker.request(GoLive(room), self._patience.request_s)

    async def close_room(self, room: str) -> None:
        home = self._rooms.get(room)
        if home is None:
            return
        for leg in tuple(home.legs):
            self._forget(leg)
        self._rooms.pop(room, None)
        await self._end(home.worker, CloseRoom(room))

    async def stats(self, room: str) -> dict[str, Any]:
        home = self._rooms.get(room)
        if home is None:
            raise MediaError(404, MEDIA_LOST, "nobody is in this room")
        reply = await home.worker.request(Stats(room), self._patience.request_s)
        if not isinstance(reply, Report):
            raise MediaError(503, MEDIA_LOST, "the worker gave no report")
        return {**reply.values, "worker": home.worker.index}

    # What workers tell

    def on_ready(self) -> None:
        self._someone_ready.set()

    def on_event(self, worker: "_Remote", event: MediaEvent) -> None:
        seat = self._legs.get(event.leg)
        if seat is None or seat.worker is not worker:
            return  # closed by us a moment ago; its owner knows
        if event.state != "connected":
            self._forget(event.leg)
        self._emit(event)

    def on_death(self, worker: "_Remote") -> None:
        """Called once per life of a worker, before anything else can be heard about it."""
        if not any(other.ready for other in self._workers):
            self._someone_ready.clear()
        lost = [(leg, seat) for leg, seat in self._legs.items() if seat.worker is worker]
        for leg, _ in lost:
            self._forget(leg)
        for room in [name for name, home in self._rooms.items() if home.worker is worker]:
            del self._rooms[room]
        for leg, seat in lost:
            if seat.open:
                self._emit(MediaEvent(seat.room, leg, "lost", "worker died"))

    # The inside

    async def _least_loaded(self) -> "_Remote":
        if not any(worker.ready for worker in self._workers):
            try:
                await asyncio.wait_for(self._someone_ready.wait(), self._patience.any_worker_s)
            except TimeoutError:
                raise MediaError(503, MEDIA_LOST, "no media worker is running; try again in a few seconds") from None
        return min(
            (worker for worker in self._workers if worker.ready), key=lambda worker: (worker.load, worker.index)
        )

    async def _end(self, worker: "_Remote", command: CloseLeg | CloseRoom) -> None:
        try:
            await worker.request(command, self._patience.request_s)
        except MediaError as error:
            if worker.ready and error.status == 504:
                raise

    def _forget(self, leg: str) -> None:
        seat = self._legs.pop(leg)
        seat.worker.load -= 1
        home = self._rooms.get(seat.room)
        if home is not None:
            home.legs.discard(leg)
            if not home.legs:
                del self._rooms[seat.room]

    def _emit(self, event: MediaEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener of media events failed")

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        check_s = self._patience.check_s
        checked = loop.time()
        while True:
            await asyncio.sleep(check_s)
            now = loop.time()
            # If the node itself slept (stopped, swapped, starved), heartbeats lie unread in the sockets: judging
            # now would kill every healthy worker for the node's own fault.
            late = now - checked > 2 * check_s
            checked = now
            for worker in self._workers:
                if late:
                    worker.heard = now
                elif worker.ready and now - worker.heard > self._patience.silent_s:
                    log.error(
                        "a worker is silent and will be replaced",
                        extra={"worker": worker.index, "silent_s": round(now - worker.heard, 1)},
                    )
                    worker.kill()


class _Remote:
    """One place for a worker: the process that fills it now, and those that will after it."""

    def __init__(self, owner: Supervisor, config: Config, index: int, command: Sequence[str]) -> None:
        self.index = index
        self.ready = False
        self.load = 0
        self.heard = 0.0
        self.lag_ms = 0.0
        self.deaths = 0
        self.port: int | None = None
        self._owner = owner
        self._config = config
        self._command = command
        self._number = 0
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._life: _Life | None = None
        self._stopping = False
        self._refusal: str | None = None
        self._delay_s = 0.0
        self._first_ready: asyncio.Future[None] | None = None
        self._revival: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._life.process.pid if self._life is not None else None

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def start(self, timeout_s: float) -> None:
        """The first life; its failure is a StartError instead of a reason to try again."""
        self._first_ready = asyncio.get_running_loop().create_future()
        await self._spawn()
        try:
            await asyncio.wait_for(self._first_ready, timeout_s)
        except TimeoutError:
            raise StartError(f"worker {self.index} was not ready within {timeout_s:g} s") from None
        finally:
            self._first_ready = None

    async def stop(self, timeout_s: float) -> None:
        self._stopping = True
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.gather(self._revival, return_exceptions=True)
        life = self._life
        if life is None:
            return
        life.channel.close()
        try:
            await asyncio.wait_for(asyncio.shield(life.exited), timeout_s)
        except TimeoutError:
            life.kill()
            await life.exited

    def kill(self) -> None:
        if self._life is not None:
            self._on_silent_death(self._life, "killed")
            self._life.kill()

    async def request(self, command: Command, timeout_s: float) -> Reply:
        """Send a command and wait for its reply. Raises MediaError: refused by the worker, 503 without a worker,
        504 without an answer in time.
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
            self._pending.pop(number, None)
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
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            arguments = [*self._command, "--index", str(self.index), "--fd", str(theirs.fileno())]
            process = subprocess.Popen(arguments, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
        except OSError as error:
            ours.close()
            raise StartError(f"worker {self.index} cannot be started: {error.strerror}") from None
        finally:
            theirs.close()
        life = _Life(process, loop)
        channel = Channel(
            msgspec.msgpack.Decoder(FromWorker),
            lambda message: self._receive(life, message),
            lambda reason: self._on_silent_death(life, f"its socket: {reason}"),
        )
        life.channel = channel
        self._life = life
        self._refusal = None
        loop.add_reader(life.pidfd, self._on_exit, life)
        await loop.create_connection(lambda: channel, sock=ours)
        # The configuration holds the token secret, so it travels here and not in the arguments, which every
        # user of the machine can read.
        channel.send(Setup(self._config))

    def _receive(self, life: "_Life", message: FromWorker) -> None:
        if life.dead:
            return
        self.heard = asyncio.get_running_loop().time()
        match message:
            case Response(number=0, reply=Refused(message=why)):
                self._refusal = why  # it cannot start and will exit
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
                self._owner.on_ready()

    def _on_silent_death(self, life: "_Life", how: str) -> None:
        """The process may still exist, but not for us: first end everything that hung on it, then kill it."""
        if life.dead:
            return
        life.dead = True
        was_ready, self.ready = self.ready, False
        life.channel.abort()
        for future in self._pending.values():
            if not future.done():
                future.set_result(Refused(503, MEDIA_LOST, "the media worker died; offer again"))
        if not self._stopping:
            life.kill()
            if was_ready:
                self.deaths += 1
                log.error(
                    "a worker died", extra={"index": self.index, "pid": life.process.pid, "how": how, "legs": self.load}
                )
        self._owner.on_death(self)

    def _on_exit(self, life: "_Life") -> None:
        """The pidfd is readable: the kernel has closed the process's sockets, its port is free again."""
        loop = asyncio.get_running_loop()
        status = life.reap(loop)
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        was_ready = self.ready and not life.dead
        self._on_silent_death(life, how)
        self._life = None
        if self._stopping:
            return
        if self._first_ready is not None:
            if not self._first_ready.done():
                reason = self._refusal or f"it ended with {how} before it was ready; its log lines say why"
                self._first_ready.set_exception(StartError(f"worker {self.index} cannot start: {reason}"))
            return
        if not was_ready and self._refusal:
            log.error("a worker cannot start", extra={"index": self.index, "reason": self._refusal})
        self._revival = loop.create_task(self._revive(loop.time() - life.born))

    async def _revive(self, lived_s: float) -> None:
        patience = self._owner.patience
        grown_up = lived_s >= patience.grown_up_s or self._delay_s == 0.0
        self._delay_s = patience.first_delay_s if grown_up else min(2 * self._delay_s, patience.last_delay_s)
        while True:
            await asyncio.sleep(self._delay_s)
            try:
                await self._spawn()
                return
            except StartError as error:
                log.error("a worker cannot be started", extra={"index": self.index, "reason": str(error)})
                self._delay_s = min(2 * self._delay_s, patience.last_delay_s)


class _Life:
    """One process, from its start until it is reaped."""

    channel: Channel[FromWorker]

    def __init__(self, process: "subprocess.Popen[bytes]", loop: asyncio.AbstractEventLoop) -> None:
        self.process = process
        self.pidfd = os.pidfd_open(process.pid)
        self.born = loop.time()
        self.dead = False
        self.exited: asyncio.Future[None] = loop.create_future()

    def kill(self) -> None:
        if not self.exited.done():
            self.process.kill()

    def reap(self, loop: asyncio.AbstractEventLoop) -> int:
        loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        status = self.process.wait()
        self.exited.set_result(None)
        return status


_ = Done  # part of the protocol's vocabulary: the reply to CloseLeg, GoLive and CloseRoom
