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
import fcntl
import logging
import os
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
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

# PostgreSQL's word for "somebody else was in the way, try again": serialization, deadlock, lock_timeout.
CONFLICTS = ("40001", "40P01", "55P03")

# Each session's own limits. A lock is waited for a little longer than deadlocks are looked for (1 s) and less than
# anybody waits for the store; a node that stands still within a transaction loses it, and its locks with it.
POSTGRES_SESSION = "SET lock_timeout = '1500ms'; SET idle_in_transaction_session_timeout = '10s'"

# libpq's: a server that vanished without a word is found out within about 20 s.
POSTGRES_CONNECT = {
    "connect_timeout": CONNECT_S,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}


class StoreError(Exception):
    """The store cannot be opened; the text says what to do."""


class InDoubtError(Exception):
    """The server still works on a transaction whose connection was lost."""

    def __str__(self) -> str:
        return "a commit is in doubt"


def after_commit(connection: Connection, callback: Callable[[], None]) -> None:
    """For work: have `callback` run in the loop's thread once this piece is committed; never, if it is not."""
    connection.info["after_commit"].append(callback)


class _Job:
    """One piece of work. `future` is None for work of `later`."""

    __slots__ = ("abandoned", "after", "done", "fault", "future", "lane", "queued_at", "result", "undo", "work")

    def __init__(
        self, work: Work[Any], lane: str, future: "asyncio.Future[Any] | None", undo: Work[Any] | None = None
    ) -> None:
        self.work = work
        self.lane = lane
        self.future = future
        self.undo = undo
        self.queued_at = time.monotonic()
        self.abandoned = False  # set in the loop's thread, when nobody waits any more
        self.clear()

    def clear(self) -> None:
        """Forget an attempt that came to nothing."""
        self.done = False
        self.result: Any = None
        self.fault: BaseException | None = None
        self.after: list[Callable[[], None]] = []


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
        self._doubt: int | None = None  # the transaction whose COMMIT was sent and not answered

    def _loop(self) -> None:
        while not self._stopping and not self.store.closing.is_set():
            batch = self._drained([], self.queue.get())
            pause_s = FIRST_PAUSE_S
            # A lane that fails goes on trying without work too: else nobody would learn that the store is back.
            while batch or (self.failing and not self._stopping):
                self.in_hand = batch
                try:
                    self._commit(batch)
                    break
                except Exception as fault:
                    self._failed(fault)
                if self.store.closing.wait(pause_s):
                    break
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                if self._doubt is None:
                    batch = self._topped_up(batch)
            self.in_hand = []
        self._disconnect()

    def _drained(self, batch: list[_Job], job: _Job | None) -> list[_Job]:
        """`batch` with `job` and all that waits behind it, up to the limit."""
        while True:
            if job is None:
                self._stopping = True
                return batch
            batch.append(job)
            if len(batch) >= BATCH:
                return batch
            try:
                job = self.queue.get_nowait()
            except queue.Empty:
                return batch

    def _topped_up(self, batch: list[_Job]) -> list[_Job]:
        """Without what nobody waits for any more, with what came in the meantime."""
        kept: list[_Job] = []
        dropped: list[_Job] = []
        for job in batch:
            job.clear()
            (dropped if job.abandoned else kept).append(job)
        if dropped:
            self.store.soon(self.store.settle, dropped)
        if self._stopping or len(kept) >= BATCH:
            return kept
        try:
            return self._drained(kept, self.queue.get_nowait())
        except queue.Empty:
            return kept

    def _commit(self, batch: list[_Job]) -> None:
        begun = time.monotonic()
        if self._connection is None:
            self._connection = self.store.connect()
        connection = self._connection
        if self._doubt is None or not self._came_through(connection, self._doubt):
            self._doubt = None
            transaction = connection.begin()
            try:
                for job in batch:
                    self._do(connection, job)
                if not batch:
                    connection.exec_driver_sql("SELECT 1").close()  # does the store answer at all?
                elif not self.store.embedded:
                    self._doubt = connection.execute(text("SELECT txid_current_if_assigned()")).scalar()
            except BaseException:
                if transaction.is_active:
                    transaction.rollback()
                raise
            transaction.commit()
        self._doubt = None
        if self.failing:
            self.failing = False
            log.info("the store is back")
        if batch:
            self.store.soon(self.store.committed, batch, time.monotonic() - begun)

    def _do(self, connection: Connection, job: _Job) -> None:
        job.clear()
        if job.abandoned:
            return
        connection.info["after_commit"] = job.after
        try:
            with connection.begin_nested():
                job.result = job.work(connection)
            job.done = True
        except Exception as fault:
            if isinstance(fault, TROUBLE) and not _wrong_work(fault):
                raise
            job.clear()
            job.fault = fault

    def _came_through(self, connection: Connection, transaction: int) -> bool:
        """What became of a transaction whose COMMIT was not answered. Raises while the server does not know."""
        try:
            with connection.begin():
                status = connection.execute(text("SELECT txid_status(:id)"), {"id": transaction}).scalar()
        except DBAPIError as fault:
            if fault.connection_invalidated or isinstance(fault, TROUBLE):
                raise
            return False  # the server never heard of it: it broke down before it wrote it
        if status == "in progress":
            raise InDoubtError
        return bool(status == "committed")

    def _failed(self, fault: Exception) -> None:
        self.store.failures += 1
        if _conflict(fault) and self._doubt is None:
            return
        if not self.failing:
            self.failing = True
            reason = str(fault.orig if isinstance(fault, DBAPIError) else fault)[:200]
            known = isinstance(fault, (*TROUBLE, InDoubtError))
            log.error(
                "the store does not take work; trying on",
                extra={"reason": reason},
                exc_info=None if known else fault,
            )
        if not self.store.in_memory:  # where the connection is the database
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except SQLAlchemyError:
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
    def in_memory(self) -> bool:
        return self.embedded and self._url.database in (None, "", ":memory:")

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
        self._engine = make_engine(self._url)
        lanes = [_Lane(self, number) for number in range(1 if self.embedded else POSTGRES_LANES)]
        try:
            # In lane 0, whose connection is the whole database when that is in memory.
            lanes[0]._connection = await asyncio.to_thread(self._open)
        except BaseException as fault:
            self._release_file()
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
            self._release_file()
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
        if self._waiting >= self._limit or not self._lanes:
            self.refused += 1
            raise _down()
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        job = _Job(work, lane, future, undo)
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

    def _give_up(self, job: _Job) -> None:
        """Nobody waits for this piece any more: it need not be done, and is undone if it was."""
        assert job.future is not None
        job.abandoned = True
        if not job.future.cancel() and job.future.exception() is None and job.undo is not None:
            self.later(job.undo, job.lane)

    def later(self, work: Work[Any], lane: str = "") -> None:
        """Have `work` done, whenever the store can."""
        if self._lanes:
            self._hand_in(_Job(work, lane, None))

    def _hand_in(self, job: _Job) -> None:
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

    def committed(self, batch: list[_Job], took_s: float) -> None:
        self.written += len(batch)
        self.transactions += 1
        self.busy_s += took_s
        self.settle(batch)

    def settle(self, batch: list[_Job]) -> None:
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
        connection = self.connect()
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_file(self) -> None:
        """Two nodes on one SQLite file would each take the other's calls for leftovers of a crash."""
        if not self.embedded or self.in_memory:
            return
        path = Path(self._url.database or "")
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


def make_engine(url: URL) -> Engine:
    """SQLAlchemy's engine, with what we ask of each connection. Raises StoreError."""
    embedded = url.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"timeout": SQLITE_BUSY_S, "check_same_thread": False} if embedded else POSTGRES_CONNECT
    try:
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)
    except (ArgumentError, ImportError) as fault:
        hint = "; install it with: pip install 'relay[postgres]'" if isinstance(fault, ImportError) else ""
        raise StoreError(f"cannot open the store: {fault}{hint}") from None
    if embedded:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgres)
    return engine


def _down() -> ApiError:
    return ApiError(503, Code.REQUEST_FAILED, "the store does not answer; try again in a moment")


def _conflict(fault: Exception) -> bool:
    return isinstance(fault, DBAPIError) and getattr(fault.orig, "sqlstate", None) in CONFLICTS


def _wrong_work(fault: DBAPIError) -> bool:
    """Is the statement to blame, though the driver calls it trouble? Trying it again would block a lane for ever."""
    if isinstance(fault.orig, sqlite3.Error):
        return isinstance(fault, InterfaceError) or getattr(fault.orig, "sqlite_errorname", "") == "SQLITE_ERROR"
    return str(getattr(fault.orig, "sqlstate", "")).startswith("54")  # program limit exceeded


def _prepare_postgres(connection: Any, _record: Any) -> None:
    connection.execute(POSTGRES_SESSION)
    connection.commit()


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
