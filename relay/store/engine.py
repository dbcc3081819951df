"""The store's engine: work goes in, its result comes back after the commit; the event loop never waits on a disk.

Work is a plain function of a SQLAlchemy connection. It runs in a lane, a thread with one connection: SQLite has one
lane, since it has one writer anyway, PostgreSQL has several. A lane takes all work that waits (at most
`BATCH`) into one transaction, each piece in a savepoint of its own, and commits once: one fsync for many calls.
Refusals (any exception of the work itself) undo that piece alone.

Two sorts of work:

- `run` is for somebody who waits. It has `store_wait_s`; then the waiter hears 503 and work that was not begun is
  dropped. Work that was under way may still be committed, so a caller who gave up on it undoes it with `later`.
- `later` is what happened already (a call has ended). It is kept, in order within its lane, until the store takes it.

A store that is down or locked makes a lane try again with growing pauses; nothing else in the node notices, but for
`run`, which refuses at once while more than `store_queue` pieces wait.
"""

import asyncio
import fcntl
import logging
import os
import queue
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.pool import NullPool

from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.schema import NewerSchemaError, migrate

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]

BATCH = 256  # pieces of one transaction: about 50 ms of SQLite, so that nobody waits long behind it
POSTGRES_LANES = 4
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
SQLITE_BUSY_S = 0.5  # SQLite's own wait for a lock; the lane goes on trying after it
CONNECT_S = 3

# The store is in trouble, rather than the work wrong.
TROUBLE = (OperationalError, InterfaceError, InternalError)


class StoreError(Exception):
    """The store cannot be opened; the text says what to do."""


class _Job:
    """One piece of work. `future` is None for work of `later`."""

    __slots__ = ("abandoned", "fault", "future", "queued_at", "result", "work")

    def __init__(self, work: Work[Any], future: "asyncio.Future[Any] | None") -> None:
        self.work = work
        self.future = future
        self.queued_at = time.monotonic()
        self.abandoned = False
        self.result: Any = None
        self.fault: BaseException | None = None


class _Lane:
    """A thread, its connection and its queue."""

    def __init__(self, store: "Store", number: int) -> None:
        self.store = store
        self.queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.in_hand: list[_Job] = []  # owned by the thread; read elsewhere for the age of its first only
        self.failing = False
        self.thread = threading.Thread(target=self._loop, name=f"store-{number}", daemon=True)
        self._connection: Connection | None = None
        self._stopping = False

    def _loop(self) -> None:
        while not self._stopping:
            job = self.queue.get()
            batch = self._drained(job)
            pause_s = FIRST_PAUSE_S
            while batch:
                self.in_hand = batch
                try:
                    self._commit(batch)
                    break
                except TROUBLE as fault:
                    self._failed(fault)
                except DBAPIError as fault:
                    if not fault.connection_invalidated:
                        log.exception("the store refused a transaction")
                    self._failed(fault)
                if self.store.closing.wait(pause_s):
                    break
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                batch = [job for job in batch if not job.abandoned]
            self.in_hand = []
        self._disconnect()

    def _drained(self, job: _Job | None) -> list[_Job]:
        batch: list[_Job] = []
        while True:
            if job is None:
                self._stopping = True
                return batch
            batch.append(job)
            if len(batch) == BATCH:
                return batch
            try:
                job = self.queue.get_nowait()
            except queue.Empty:
                return batch

    def _commit(self, batch: list[_Job]) -> None:
        if self._connection is None:
            self._connection = self.store.connect()
        begun = time.monotonic()
        connection = self._connection
        with connection.begin():
            for job in batch:
                job.result, job.fault = None, None
                if job.abandoned:
                    continue
                try:
                    with connection.begin_nested():
                        job.result = job.work(connection)
                except TROUBLE:
                    raise
                except Exception as fault:
                    job.fault = fault
        if self.failing:
            self.failing = False
            log.info("the store is back")
        self.store.committed(batch, time.monotonic() - begun)

    def _failed(self, fault: DBAPIError) -> None:
        self.store.failures += 1
        if not self.failing:
            self.failing = True
            log.error("the store does not take work; trying on", extra={"reason": str(fault.orig)[:200]})
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except DBAPIError:
                pass  # it is broken, which is why we leave it
            self._connection = None

    def oldest(self) -> float:
        """When the work in hand was asked for; infinity without any."""
        in_hand = self.in_hand
        return in_hand[0].queued_at if in_hand else float("inf")


class Store:
    """One node's store. `start` before anything else; `run` and `later` from the loop's thread only."""

    def __init__(self, config: Config) -> None:
        self._url = address(config)
        self._wait_s = config.store_wait_s
        self._limit = config.store_queue
        self._engine: Engine | None = None
        self._lanes: list[_Lane] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0  # pieces handed in and not yet settled
        self._lock: int | None = None
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
    def waiting(self) -> int:
        return self._waiting

    @property
    def up(self) -> bool:
        """Does it take work, and soon?"""
        if not self._lanes or any(lane.failing for lane in self._lanes):
            return False
        return time.monotonic() - min(lane.oldest() for lane in self._lanes) < self._wait_s

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
        self._take_file()
        self._engine = self._make_engine()
        lanes = 1 if self.embedded else POSTGRES_LANES
        self._lanes = [_Lane(self, number) for number in range(lanes)]
        try:
            # In lane 0, whose connection is the whole database when that is in memory.
            self._lanes[0]._connection = await asyncio.to_thread(self._open)
        except (DBAPIError, NewerSchemaError) as fault:
            self._lanes = []
            self._release_file()
            words = str(fault.orig).strip() if isinstance(fault, DBAPIError) else str(fault)
            raise StoreError(f"cannot open the store {self._url.render_as_string()}: {words}") from None
        for lane in self._lanes:
            lane.thread.start()

    async def close(self, limit_s: float = 2.0) -> bool:
        """Write what waits, for at most `limit_s`; False when something was left unwritten."""
        deadline = time.monotonic() + limit_s
        for lane in self._lanes:
            lane.queue.put(None)
        for lane in self._lanes:
            await asyncio.to_thread(lane.thread.join, max(0.0, deadline - time.monotonic()))
        self.closing.set()
        await asyncio.sleep(0)  # results that were on their way to this loop
        left = self._waiting
        if left:
            log.error("the node stops with records the store did not take", extra={"records": left})
        if self._engine is not None:
            self._engine.dispose()
        self._lanes = []
        self._release_file()
        return left == 0

    async def run(self, work: Work[T], lane: str = "") -> T:
        """The result of `work` once it is committed. Raises what it raised, or ApiError 503/1002.

        Work of one `lane` is done in the order in which it was handed in.
        """
        if self._waiting >= self._limit or not self._lanes:
            self.refused += 1
            raise _down()
        assert self._loop is not None
        job = _Job(work, self._loop.create_future())
        self._hand_in(job, lane)
        assert job.future is not None
        try:
            async with asyncio.timeout(self._wait_s):
                return cast(T, await job.future)
        except TimeoutError:
            job.abandoned = True
            self.refused += 1
            raise _down() from None

    def later(self, work: Work[Any], lane: str = "") -> None:
        """Have `work` done, whenever the store can."""
        if not self._lanes:
            return
        self._hand_in(_Job(work, None), lane)

    def _hand_in(self, job: _Job, lane: str) -> None:
        self._waiting += 1
        self._lanes[zlib.crc32(lane.encode()) % len(self._lanes)].queue.put(job)

    # --- called by the lanes' threads ---

    def connect(self) -> Connection:
        assert self._engine is not None
        return self._engine.connect()

    def committed(self, batch: list[_Job], took_s: float) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._settle, batch, took_s)
        except RuntimeError:
            pass  # the loop is closed: the node is gone, the work is done

    def _settle(self, batch: list[_Job], took_s: float) -> None:
        self._waiting -= len(batch)
        self.written += len(batch)
        self.transactions += 1
        self.busy_s += took_s
        for job in batch:
            if job.future is None:
                if job.fault is not None:
                    log.error("a record could not be written", exc_info=job.fault)
            elif not job.future.done():
                if job.fault is not None:
                    job.future.set_exception(job.fault)
                else:
                    job.future.set_result(job.result)

    # --- opening ---

    def _open(self) -> Connection:
        connection = self.connect()
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_engine(self) -> Engine:
        arguments: dict[str, Any] = {"timeout": SQLITE_BUSY_S, "check_same_thread": False}
        if not self.embedded:
            arguments = {"connect_timeout": CONNECT_S, "tcp_user_timeout": 10_000}
        try:
            engine = sqlalchemy.create_engine(self._url, poolclass=NullPool, connect_args=arguments)
        except (ArgumentError, ImportError) as fault:
            hint = "; install it with: pip install 'relay[postgres]'" if isinstance(fault, ImportError) else ""
            raise StoreError(f"cannot open the store: {fault}{hint}") from None
        if self.embedded:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _take_file(self) -> None:
        """Two nodes on one SQLite file would each take the other's calls for leftovers of a crash."""
        if not self.embedded or not self._url.database or self._url.database == ":memory:":
            return
        path = Path(self._url.database)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release_file()
            raise StoreError(
                f"the store {path} belongs to another running node; give this one its own with --store"
            ) from None
        except OSError as error:
            words = os.strerror(error.errno or 0).lower()
            raise StoreError(f"cannot use the store {path}: {words}; choose another with --store") from None

    def _release_file(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def address(config: Config) -> URL:
    """The database of a configuration. Raises StoreError for text that names none."""
    text = config.store or ("sqlite://" if config.demo else "sqlite:///relay.sqlite3")
    if "://" not in text:
        text = f"sqlite:///{text}"  # a plain path
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise StoreError(f"store: {text!r} is no database address") from None
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"store: {backend} is not supported; use sqlite:///FILE or postgresql://...")
    return url


def _down() -> ApiError:
    return ApiError(503, Code.REQUEST_FAILED, "the store does not answer; try again in a moment")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # SQLAlchemy, not the driver, begins transactions: only then do savepoints and BEGIN IMMEDIATE work.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a commit survives a power cut; batches make it cheap
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
