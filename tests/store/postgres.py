"""A PostgreSQL server of our own: in a temporary directory, on a free loopback port, without a password."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

START_S = 30.0

# Durability is PostgreSQL's own business; these make a fresh server cheap and its deadlocks short.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "deadlock_timeout": "100ms",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}


def binary(name: str) -> str | None:
    """The newest server's program, or None: Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


class Postgres:
    """The server; `start` and `stop` may be repeated and keep its data."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
        self._data = self._home / "data"
        self._as: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            user = pwd.getpwnam("postgres")
            os.chown(self._home, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._call("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def _command(self, name: str, *arguments: str) -> list[str]:
        program = binary(name)
        assert program is not None
        return [*self._as, program, *arguments]

    def _call(self, name: str, *arguments: str) -> None:
        subprocess.run(
            self._command(name, *arguments), check=True, capture_output=True, cwd=self._home, stdin=subprocess.DEVNULL
        )

    def start(self) -> None:
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = self._command(
            "postgres", "-D", str(self._data), "-k", str(self._home), "-p", str(self.port), *settings
        )
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._home / "log").read_text()
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        """At once: connections are cut, transactions that run are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_S)
            self._process = None

    def freeze(self) -> None:
        """Every process of the server stands still; its sockets stay open."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def address(self, database: str, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def fresh(self) -> str:
        """The name of a new, empty database."""
        self._databases += 1
        name = f"relay{self._databases}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")  # type: ignore[call-overload]
        return name

    def rows(self, database: str, query: str) -> Sequence[Any]:
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(query)  # type: ignore[call-overload]
            return [] if cursor.description is None else cursor.fetchall()
