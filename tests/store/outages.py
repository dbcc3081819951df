"""Ways in which a store can fail a node that runs: held by another program, standing still, gone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from store.databases import Database, PostgresDatabase

# Another process, since a lock of this one's SQLite would be no stranger's.
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for line in sys.stdin:
    connection.execute({"hold": "BEGIN EXCLUSIVE", "let go": "COMMIT"}[line.strip()])
    print("done", flush=True)
"""


class Outage:
    """Something that can be done to a database and taken back."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Locked(Outage):
    """A SQLite file that another process holds for itself."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(database.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _say(self, word: str) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(word + "\n")
        self._holder.stdin.flush()
        assert self._holder.stdout.readline() == "done\n"

    def begin(self) -> None:
        self._say("hold")

    def end(self) -> None:
        self._say("let go")

    def close(self) -> None:
        self._holder.communicate()


class Blocked(Outage):
    """A PostgreSQL table that another session holds for itself."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._holder = psycopg.connect(database.url)

    def begin(self) -> None:
        self._holder.execute("LOCK TABLE calls, deliveries IN ACCESS EXCLUSIVE MODE")

    def end(self) -> None:
        self._holder.commit()

    def close(self) -> None:
        self._holder.close()


class Frozen(Outage):
    """A PostgreSQL server whose processes stand still."""

    def begin(self) -> None:
        assert isinstance(self.database, PostgresDatabase)
        self.database.server.freeze()

    def end(self) -> None:
        assert isinstance(self.database, PostgresDatabase)
        self.database.server.thaw()


class Stopped(Outage):
    """A PostgreSQL server that was stopped."""

    def begin(self) -> None:
        assert isinstance(self.database, PostgresDatabase)
        self.database.server.stop()

    def end(self) -> None:
        assert isinstance(self.database, PostgresDatabase)
        self.database.server.start()


KINDS: dict[str, type[Outage]] = {"locked": Locked, "blocked": Blocked, "frozen": Frozen, "stopped": Stopped}


@contextmanager
def made(kind: str, database: Database) -> Iterator[Outage]:
    """The outage, not begun; taken back in the end whatever happened."""
    outage = KINDS[kind](database)
    begin, end = outage.begin, outage.end
    under_way = False

    def begun() -> None:
        nonlocal under_way
        begin()
        under_way = True

    def ended() -> None:
        nonlocal under_way
        under_way = False
        end()

    outage.begin, outage.end = begun, ended  # type: ignore[method-assign]
    try:
        yield outage
    finally:
        if under_way:
            ended()
        outage.close()
