"""All workers of the node as one `Media`: which room and which leg live where, and what happens when one
dies.

A room lives on one worker, the least loaded when its first leg arrives. When a worker dies (`remote.py`
notices), each of its open legs gets exactly one `lost` event, its rooms are free to be opened elsewhere,
and a new process takes its place. A worker that has not spoken for `Patience.silent_s` is as good as dead
and is killed.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.config import Config
from relay.media.messages import (
    Answer,
    CloseLeg,
    CloseRoom,
    Counters,
    GoLive,
    MediaError,
    MediaEvent,
    OpenLeg,
    Report,
    RestartLeg,
    Stats,
)
from relay.media.remote import MEDIA_LOST, Patience, Remote

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "relay.media.process")
"""What a worker process runs; `--index I --fd N` is added."""


@dataclass(frozen=True)
class WorkerState:
    """What is known of one worker without asking it."""

    index: int
    up: bool
    port: int | None
    pid: int | None = None  # None: no process of its own, or none alive
    rooms: int = 0
    legs: int = 0
    pending: int = 0  # requests that wait for their reply
    lag_ms: float = 0.0
    silent_s: float = 0.0
    deaths: int = 0


@dataclass(eq=False)
class _Leg:
    """A leg's place. Until its answer is with the call plane it is not `open`, and only its request tells
    its end.
    """

    room: str
    worker: Remote
    open: bool = False


@dataclass(eq=False)
class _Room:
    worker: Remote
    legs: set[str] = field(default_factory=set)


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
        self._legs: dict[str, _Leg] = {}
        self._workers = [Remote(self, config, index, command, self._patience) for index in range(count)]
        self._someone_ready = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start every worker and wait until all can take legs. After a StartError none is left running."""
        results = await asyncio.gather(*(worker.start() for worker in self._workers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                await self.stop()
                raise result
        self._watch = asyncio.create_task(self._watch_silence())

    async def stop(self) -> None:
        """Let every worker say good-bye to its peers; afterwards no process is left. No events come from
        here.
        """
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._rooms.clear()
        self._legs.clear()
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def subscribe(self, listener: Callable[[MediaEvent], None]) -> None:
        self._listeners.append(listener)

    def state(self) -> list[WorkerState]:
        """Every worker as the node sees it now."""
        now = asyncio.get_running_loop().time()
        rooms = [home.worker for home in self._rooms.values()]
        return [
            WorkerState(
                index=worker.index,
                up=worker.ready,
                pid=worker.pid,
                port=worker.port,
                rooms=rooms.count(worker),
                legs=worker.legs,
                pending=worker.pending,
                lag_ms=worker.lag_ms,
                silent_s=max(0.0, now - worker.heard) if worker.ready else 0.0,
                deaths=worker.deaths,
            )
            for worker in self._workers
        ]

    async def counters(self, timeout_s: float = 2.0) -> dict[int, dict[str, Any]]:
        """Counters of each worker that answers within `timeout_s`, by index."""

        async def ask(worker: Remote) -> dict[str, Any]:
            try:
                reply = await worker.request(Counters(), timeout_s)
            except MediaError:
                return {}
            return reply.values if isinstance(reply, Report) else {}

        workers = [worker for worker in self._workers if worker.ready]
        answers = await asyncio.gather(*(ask(worker) for worker in workers))
        return {worker.index: values for worker, values in zip(workers, answers, strict=True) if values}

    # Media

    async def open_leg(self, room: str, leg: str, offer: str, *, live: bool) -> str:
        if room not in self._rooms:
            await self._wait_for_any()
        # Waiting gave others their turn: the tables are asked only now.
        if leg in self._legs:
            raise MediaError(409, MEDIA_LOST, "this leg exists already")
        home = self._rooms.get(room)
        if home is None:
            home = self._rooms[room] = _Room(self._least_loaded())
        worker = home.worker
        place = self._legs[leg] = _Leg(room, worker)
        home.legs.add(leg)
        worker.legs += 1
        try:
            reply = await worker.request(OpenLeg(room, leg, offer, live), self._patience.request_s)
            if self._legs.get(leg) is not place or not isinstance(reply, Answer):
                # The worker died, or the leg ended, between the answer's arrival and this line.
                raise MediaError(503, MEDIA_LOST, "the leg ended while it was being opened; offer again")
        except BaseException as error:
            if self._legs.get(leg) is place:
                self._forget(leg)
                if not isinstance(error, MediaError) or error.status == 504:
                    worker.post(CloseLeg(leg))  # nobody waits for the answer any more
            raise
        place.open = True
        return reply.sdp

    async def restart_leg(self, leg: str, fragment: str) -> str:
        place = self._legs.get(leg)
        if place is None:
            raise MediaError(404, MEDIA_LOST, "no such leg; post a new offer")
        reply = await place.worker.request(RestartLeg(leg, fragment), self._patience.request_s)
        if not isinstance(reply, Answer):
            raise MediaError(503, MEDIA_LOST, "the media worker gave no answer")
        return reply.sdp

    async def close_leg(self, leg: str) -> None:
        """Always succeeds: what is gone already, or goes meanwhile, is closed. No event follows."""
        place = self._legs.get(leg)
        if place is not None:
            self._forget(leg)
            await self._close(place.worker, CloseLeg(leg))

    async def go_live(self, room: str) -> None:
        """Without legs there is nothing to start: a leg that comes later is opened with `live`."""
        home = self._rooms.get(room)
        if home is not None:
            await home.worker.request(GoLive(room), self._patience.request_s)

    async def close_room(self, room: str) -> None:
        """Always succeeds, as `close_leg`."""
        home = self._rooms.get(room)
        if home is not None:
            for leg in tuple(home.legs):
                self._forget(leg)
            await self._close(home.worker, CloseRoom(room))

    async def stats(self, room: str) -> dict[str, Any]:
        home = self._rooms.get(room)
        if home is None:
            raise MediaError(404, MEDIA_LOST, "nobody is in this room")
        reply = await home.worker.request(Stats(room), self._patience.request_s)
        if not isinstance(reply, Report):
            raise MediaError(503, MEDIA_LOST, "the media worker gave no report")
        return {**reply.values, "worker": home.worker.index}

    # relay.media.remote.Owner

    def on_ready(self, worker: Remote) -> None:
        self._someone_ready.set()

    def on_event(self, worker: Remote, event: MediaEvent) -> None:
        place = self._legs.get(event.leg)
        if place is None or place.worker is not worker:
            return  # closed by us a moment ago; its owner knows
        if event.state != "connected":
            self._forget(event.leg)
            if not place.open:
                return
        self._emit(event)

    def on_death(self, worker: Remote) -> None:
        if not any(other.ready for other in self._workers):
            self._someone_ready.clear()
        places = [(leg, place) for leg, place in self._legs.items() if place.worker is worker]
        for leg, _ in places:
            self._forget(leg)
        # Only now, with all tables right, may a listener act on what it hears.
        for leg, place in places:
            if place.open:
                self._emit(MediaEvent(place.room, leg, "lost", "worker died"))

    # The inside

    async def _wait_for_any(self) -> None:
        try:
            await asyncio.wait_for(self._someone_ready.wait(), self._patience.any_worker_s)
        except TimeoutError:
            raise MediaError(503, MEDIA_LOST, "no media worker is running; try again in a few seconds") from None

    def _least_loaded(self) -> Remote:
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            raise MediaError(503, MEDIA_LOST, "no media worker is running; try again in a few seconds")
        return min(ready, key=lambda worker: (worker.legs, worker.index))

    async def _close(self, worker: Remote, command: CloseLeg | CloseRoom) -> None:
        try:
            await worker.request(command, self._patience.request_s)
        except MediaError as error:
            # Dead: closed with the rest. Refused: it ended by itself just now. Silent: the watch will kill
            # it.
            log.debug("a worker did not close", extra={"index": worker.index, "reason": error.message})

    def _forget(self, leg: str) -> None:
        """Take the leg out of all tables; its room goes with the last one."""
        place = self._legs.pop(leg)
        place.worker.legs -= 1
        home = self._rooms[place.room]
        home.legs.discard(leg)
        if not home.legs:
            del self._rooms[place.room]

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
            # If the node itself slept (stopped, starved, swapped out), heartbeats lie unread in its
            # sockets; to judge now would kill every healthy worker for the node's own fault.
            node_slept = now - checked > 2 * check_s
            checked = now
            for worker in self._workers:
                if node_slept:
                    worker.heard = now
                elif worker.ready and now - worker.heard > self._patience.silent_s:
                    worker.kill(f"silent for {now - worker.heard:.1f} s")
