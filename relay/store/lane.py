"""A lane: a thread with one connection, which does the work of its queue in transactions.

All that waits, up to `BATCH`, goes into one transaction, each piece in a savepoint of its own; a piece that is refused
undoes itself alone. A transaction that fails is tried again, so work may be done several times before it is committed
once.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]

BATCH = 256  # pieces of one transaction: about 50 ms of SQLite, so that nobody waits long behind it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0

# The store is in trouble, rather than the work wrong.
TROUBLE = (OperationalError, InterfaceError, InternalError)

# PostgreSQL's word for "somebody else was in the way, try again": serialization, deadlock, lock_timeout.
CONFLICTS = ("40001", "40P01", "55P03")


class Owner(Protocol):
    """What a lane needs of its store; called in the lane's thread, but for what is handed to `soon`."""

    closing: threading.Event
    failures: int

    @property
    def embedded(self) -> bool: ...
    @property
    def in_memory(self) -> bool: ...
    def connect(self) -> Connection: ...
    def soon(self, done: Callable[..., None], *arguments: Any) -> None: ...
    def committed(self, batch: "list[Job]", took_s: float) -> None: ...
    def settle(self, batch: "list[Job]") -> None: ...


class InDoubtError(Exception):
    """The server still works on a transaction whose connection was lost."""

    def __str__(self) -> str:
        return "a commit is in doubt"


def after_commit(connection: Connection, callback: Callable[[], None]) -> None:
    """For work: have `callback` run in the loop's thread once this piece is committed; never, if it is not."""
    connection.info["after_commit"].append(callback)


class Job:
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


class Lane:
    """A thread, its connection and its queue."""

    def __init__(self, store: Owner, number: int) -> None:
        self.store = store
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.in_hand: list[Job] = []  # owned by the thread; read elsewhere for the age of its first only
        self.failing = False
        self.thread = threading.Thread(target=self._loop, name=f"store-{number}", daemon=True)
        self.connection: Connection | None = None
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

    def _drained(self, batch: list[Job], job: Job | None) -> list[Job]:
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

    def _topped_up(self, batch: list[Job]) -> list[Job]:
        """Without what nobody waits for any more, with what came in the meantime."""
        kept: list[Job] = []
        dropped: list[Job] = []
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

    def _commit(self, batch: list[Job]) -> None:
        begun = time.monotonic()
        if self.connection is None:
            self.connection = self.store.connect()
        connection = self.connection
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

    def _do(self, connection: Connection, job: Job) -> None:
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
        if self.connection is not None:
            try:
                self.connection.close()
            except SQLAlchemyError:
                pass  # it is broken, which is why we leave it
            self.connection = None

    def oldest(self) -> float:
        """When the work in hand was asked for; infinity without any."""
        in_hand = self.in_hand
        return in_hand[0].queued_at if in_hand else float("inf")


def _conflict(fault: Exception) -> bool:
    return isinstance(fault, DBAPIError) and getattr(fault.orig, "sqlstate", None) in CONFLICTS


def _wrong_work(fault: DBAPIError) -> bool:
    """Is the statement to blame, though the driver calls it trouble? Trying it again would block a lane for ever."""
    if isinstance(fault.orig, sqlite3.Error):
        return isinstance(fault, InterfaceError) or getattr(fault.orig, "sqlite_errorname", "") == "SQLITE_ERROR"
    return str(getattr(fault.orig, "sqlstate", "")).startswith("54")  # program limit exceeded
