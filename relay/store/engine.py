"""The store's engine: work goes in, its result comes back after the commit; the event loop never waits on a disk.

Work is a plain function of a SQLAlchemy connection. It runs in a lane, a thread with one connection: SQLite has one
lane, since it has one writer anyway, PostgreSQL has several. A lane takes all work that waits (at most
`BATCH`) into one transaction, each piece in a savepoint of its own, and commits once: one fsync for many calls.
Refusals (any exception of the work itself) undo that piece alone.

Two sorts of work:

- `run` is for somebody who waits. It has `store_wait_s`; then the waiter hears 503 and work that was not begun is
  dropped. Work that was under way may still be committed; `undo` is then done after it.
- `later` is what happened already (a call has ended). It is kept, in order within its lane, until the store takes it.

A store that is down or locked makes a lane try again with growing pauses; nothing else in the node notices, but for
`run`, which refuses at once while more than `store_queue` pieces wait. So work may be done several times before it is
committed once, and must not change anything outside the database: what has to happen with the commit is handed to
`after_commit`. A commit whose answer was lost is not repeated before PostgreSQL was asked what became of it.
"""

import asyncio
import logging
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.database import Claim, StoreError, address, in_memory, make_engine
from relay.store.lane import Job, Lane, T, Work
from relay.store.schema import NewerSchemaError, migrate

log = logging.getLogger(__name__)

POSTGRES_LANES = 4


class Store:
    """One node's store. `start` before anything else; `run` and `later` from the loop's thread only."""

    def __init__(self, config: Config, node: str = "") -> None:
        """`node` is the name that no other running node may have; "" claims none."""
        self._url = address(config)
        self._claim = Claim(self._url, node)
        self._wait_s = config.store_wait_s
        self._limit = config.store_queue
        self._engine: Engine | None = None
        self._lanes: list[Lane] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0  # pieces handed in and not yet settled
        self._name_lost = False
        self.closing = threading.Event()
        self.written = 0
        self.transactions = 0
        self.failures = 0
        self.refused = 0
        self.busy_s = 0.0  # time spent in transactions

    @property
    def embedded(self) -> bool:
        """Is it SQLite, which belongs to this node alone?"""
        return self._url.get_backend_name() == "sqlite"

    @property
    def in_memory(self) -> bool:
        return in_memory(self._url)

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def up(self) -> bool:
        """Does it take work, and soon?"""
        if not self._lanes or self._name_lost or any(lane.failing for lane in self._lanes):
            return False
        return time.monotonic() - min(lane.oldest() for lane in self._lanes) < self._wait_s

    async def check_name(self) -> None:
        """See to it that no other node took this one's name while the database was away; if so, take no more work."""
        if self._engine is None:
            return
        mine = await asyncio.to_thread(self._claim.check, self._engine)
        if mine == self._name_lost:
            self._name_lost = not mine
            if not mine:
                log.error("another node took this node's name in the store; give each its own with RELAY_NODE")

    def report(self) -> dict[str, float]:
        """The store's counters, for the metrics."""
        return {
            "up": float(self.up),
            "waiting": self._waiting,
            "written": self.written,
            "transactions": self.transactions,
            "failures": self.failures,
            "refused": self.refused,
            "busy_s": self.busy_s,
        }

    async def start(self) -> None:
        """Open, bring the schema up to date, start the lanes. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._engine = make_engine(self._url)
        lanes = [Lane(self, number) for number in range(1 if self.embedded else POSTGRES_LANES)]
        try:
            # In lane 0, whose connection is the whole database when that is in memory.
            lanes[0].connection = await asyncio.to_thread(self._open)
        except BaseException as fault:
            self._claim.release()
            if not isinstance(fault, DBAPIError | NewerSchemaError):
                raise
            words = str(fault.orig).strip() if isinstance(fault, DBAPIError) else str(fault)
            raise StoreError(f"cannot open the store {self._url.render_as_string()}: {words}") from None
        self._lanes = lanes
        for lane in lanes:
            lane.thread.start()

    async def close(self, limit_s: float = 2.0) -> bool:
        """Write what waits, for at most `limit_s`; False when something was left unwritten."""
        deadline = time.monotonic() + limit_s
        lanes, self._lanes = self._lanes, []  # from now on nothing is taken
        try:
            for lane in lanes:
                lane.queue.put(None)
            for lane in lanes:
                await asyncio.to_thread(lane.thread.join, max(0.0, deadline - time.monotonic()))
        finally:
            self.closing.set()  # a lane that hangs in the database's library is left behind
            if self._engine is not None:
                self._engine.dispose()
            self._claim.release()
        await asyncio.sleep(0)  # results that were on their way to this loop
        left = self._waiting
        if left:
            log.error("the node stops with records the store did not take", extra={"records": left})
        return left == 0

    async def run(self, work: Work[T], lane: str = "", undo: Work[Any] | None = None) -> T:
        """The result of `work` once it is committed. Raises what it raised, or ApiError 503/1002.

        Work of one `lane` is done in the order in which it was handed in. `undo` is done when `work` was committed
        though nobody waited for it any more.
        """
        if self._waiting >= self._limit or not self._lanes or self._name_lost:
            self.refused += 1
            raise _down()
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        job = Job(work, lane, future, undo)
        self._hand_in(job)
        try:
            await asyncio.wait((future,), timeout=self._wait_s)
        except asyncio.CancelledError:
            self._give_up(job)
            raise
        if not future.done():
            self._give_up(job)
            self.refused += 1
            raise _down()
        return cast(T, future.result())

    def _give_up(self, job: Job) -> None:
        """Nobody waits for this piece any more: it need not be done, and is undone if it was."""
        assert job.future is not None
        job.abandoned = True
        if not job.future.cancel() and job.future.exception() is None and job.undo is not None:
            self.later(job.undo, job.lane)

    def later(self, work: Work[Any], lane: str = "") -> None:
        """Have `work` done, whenever the store can."""
        if self._lanes:
            self._hand_in(Job(work, lane, None))

    def _hand_in(self, job: Job) -> None:
        self._waiting += 1
        self._lanes[zlib.crc32(job.lane.encode()) % len(self._lanes)].queue.put(job)

    # --- called by the lanes' threads ---

    def connect(self) -> Connection:
        assert self._engine is not None
        return self._engine.connect()

    def soon(self, done: Callable[..., None], *arguments: Any) -> None:
        """Have `done` run in the loop's thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(done, *arguments)
        except RuntimeError:
            pass  # the loop is closed: the node is gone

    def committed(self, batch: list[Job], took_s: float) -> None:
        self.written += len(batch)
        self.transactions += 1
        self.busy_s += took_s
        self.settle(batch)

    def settle(self, batch: list[Job]) -> None:
        self._waiting -= len(batch)
        for job in batch:
            for callback in job.after:
                callback()
            if job.future is None:
                if job.fault is not None:
                    log.error("a record could not be written", exc_info=job.fault)
            elif job.future.done():
                if job.done and job.undo is not None:
                    self.later(job.undo, job.lane)
            elif job.fault is not None:
                job.future.set_exception(job.fault)
            else:
                job.future.set_result(job.result)

    # --- opening ---

    def _open(self) -> Connection:
        assert self._engine is not None
        self._claim.take(self._engine)
        connection = self.connect()
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _down() -> ApiError:
    return ApiError(503, Code.REQUEST_FAILED, "the store does not answer; try again in a moment")
