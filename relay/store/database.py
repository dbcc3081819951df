"""The database behind a store: its address, its connections, and this node's claim on it.

Two nodes on one SQLite file, or with one name in one PostgreSQL database, would each take the other's calls for
leftovers of a crash. So a node holds a claim while it runs: a lock on a file beside SQLite's, a lock on its name in
PostgreSQL.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from relay.config import Config

SQLITE_BUSY_S = 0.5  # SQLite's own wait for a lock; the lane goes on trying after it
CONNECT_S = 3
NAME_LOCK = 0x4E4F4445  # any number of our own: the first key of the advisory lock on a node's name
NAME_WAIT_S = 5.0  # a server notices only in a while that a killed node is gone

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


TAKE_NAME = text("SELECT pg_try_advisory_lock(:space, hashtext(:name))")
NAME_FREE = text("SELECT pg_try_advisory_xact_lock(:space, hashtext(:name))")


class StoreError(Exception):
    """The store cannot be opened; the text says what to do."""


class Claim:
    """What keeps a second node from using the same file or name. Taken once, released once."""

    def __init__(self, url: URL, node: str) -> None:
        """`node` "": no name is claimed in PostgreSQL."""
        self._url = url
        self._node = node
        self._lock: int | None = None
        self._connection: Connection | None = None

    def take(self, engine: Engine) -> None:
        """May wait up to `NAME_WAIT_S`. Raises StoreError, DBAPIError."""
        if self._url.get_backend_name() != "sqlite":
            if self._node:
                self._take_name(engine)
        elif not in_memory(self._url):
            self._take_file(Path(self._url.database or ""))

    def _take_file(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It holds the secrets of webhooks; its WAL gets the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except BlockingIOError:
            self.release()
            raise StoreError(
                f"the store {path} belongs to another running node; give this one its own with --store"
            ) from None
        except OSError as error:
            words = os.strerror(error.errno or 0).lower()
            raise StoreError(f"cannot use the store {path}: {words}; choose another with --store") from None

    def _take_name(self, engine: Engine) -> None:
        deadline = time.monotonic() + NAME_WAIT_S
        while not self._try_name(engine):
            if time.monotonic() > deadline:
                self.release()
                raise StoreError(f"another running node is called {self._node!r}; give each its own with RELAY_NODE")
            time.sleep(0.1)

    def _try_name(self, engine: Engine) -> bool:
        if self._connection is None:
            # A connection of its own: the lock lives as long as that, and no lane's trouble touches it.
            self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return bool(self._connection.execute(TAKE_NAME, {"space": NAME_LOCK, "name": self._node}).scalar())

    def check(self, engine: Engine) -> bool:
        """Is it still ours? One that went with its connection is taken anew, unless another node was quicker."""
        if not self._node or self._url.get_backend_name() == "sqlite":
            return True
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
                return True
            except SQLAlchemyError:
                self.release()
        try:
            mine = self._try_name(engine)
        except SQLAlchemyError:
            self.release()
            return True  # the store is down, which others find out; nobody can have taken the name
        if not mine:
            self.release()
        return mine

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._connection is not None:
            try:
                self._connection.close()
            except SQLAlchemyError:
                pass  # the server is gone, and the lock with it
            self._connection = None


def name_is_free(connection: Connection, node: str) -> bool:
    """Does no running node have this name, for as long as this transaction lasts? A SQLite file is one node's alone."""
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.execute(NAME_FREE, {"space": NAME_LOCK, "name": node}).scalar())


def in_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


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
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    except (ArgumentError, ImportError) as fault:
        hint = "; install it with: pip install 'relay[postgres]'" if isinstance(fault, ImportError) else ""
        raise StoreError(f"cannot open the store: {fault}{hint}") from None
    if embedded:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgres)
    return engine


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
