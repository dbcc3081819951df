"""What is measured: a relay started for the test, its worker process, and the bare forwarder beside it."""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.handshake import HandshakeError

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") // 1024
_DRAIN_S: Final = 0.5  # the test's own calls never end by themselves
_STOP_S: Final = 10.0
_QUIET_S: Final = 0.2
_CORE: Final = Path(__file__).resolve().parent / "core"


@dataclass(frozen=True)
class Usage:
    """A process's consumption so far, all threads: seconds of CPU, kB resident, times it went to sleep."""

    cpu_s: float  # from schedstat, nanosecond clock
    user_ticks: int
    system_ticks: int
    rss_kb: int
    sleeps: int

    def cpu_since(self, before: "Usage") -> tuple[float, float]:
        """Seconds of (user, system) CPU: the exact total, split as the 10 ms ticks are."""
        total = self.cpu_s - before.cpu_s
        user = self.user_ticks - before.user_ticks
        system = self.system_ticks - before.system_ticks
        share = user / (user + system) if user + system else 0.5
        return total * share, total * (1 - share)


def usage(pid: int) -> Usage:
    """Read one process. Raises FileNotFoundError or ProcessLookupError when it is gone."""
    cpu_ns = sleeps = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            cpu_ns += int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended meanwhile
        sleeps += int(status.split("\nvoluntary_ctxt_switches:", 1)[1].split()[0])
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(cpu_ns / 1e9, int(stat[11]), int(stat[12]), resident * _PAGE_KB, sleeps)


def stolen_s() -> float:
    """Seconds of CPU that the hypervisor gave to others, all CPUs, since boot."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICKS


def pin(pid: int, cpu: int) -> None:
    """Tie every thread of a process to one CPU; threads it starts later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {cpu})


def busy_s() -> float:
    """Seconds of CPU that anybody used, all CPUs, since boot."""
    user, nice, system, _, _, interrupts, soft, stolen, *_ = Path("/proc/stat").read_text().split()[1:11]
    return sum(int(ticks) for ticks in (user, nice, system, interrupts, soft, stolen)) / _TICKS


def quiet(limit_s: float = 8.0) -> bool:
    """Wait until the machine uses less than a fifth of one CPU; False when it did not within `limit_s`."""
    waited = 0.0
    while waited < limit_s:
        before = busy_s()
        time.sleep(_QUIET_S)
        waited += _QUIET_S
        if busy_s() - before < 0.2 * _QUIET_S:
            return True
    return False


def first_in_line() -> None:
    """Put this process, and those it starts, before all others. Raises PermissionError.

    Between sessions the kernel shares CPUs by the session's own niceness (sched(7), autogroup), so both are set.
    """
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    with contextlib.suppress(FileNotFoundError):  # a kernel without autogroup
        Path("/proc/self/autogroup").write_text("-20")


class Relay:
    """`relay serve` with one worker: the node on one CPU, the worker on another. `settings` are RELAY_* variables."""

    def __init__(self, *, demo: bool = True, **settings: str) -> None:
        self._arguments = ["--demo"] if demo else []
        self._settings = settings
        self.secret = secrets.token_urlsafe(48)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, cpu: int) -> None:
        """Start the node on `cpu`; its threads and processes inherit that until `pin`."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        environment = {
            "RELAY_HOST": "127.0.0.1",
            "RELAY_PORT": str(self.port),
            "RELAY_MEDIA_PORT": "0",
            "RELAY_WORKERS": "1",
            "RELAY_SECRET": self.secret,
            **self._settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "relay", "serve", *self._arguments, "--workers", "1"],
            env=own | environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        pin(self._process.pid, cpu)

    @property
    def pid(self) -> int:
        """The node's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def worker(self, udp_port: int) -> int:
        """The process that holds this UDP port: the node itself, or one of its children.

        Raises HandshakeError when none does.
        """
        if self._process is None:
            raise HandshakeError("the relay is not running")
        inodes = _udp_inodes(udp_port)
        for pid in _family(self._process.pid):
            with contextlib.suppress(OSError):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(descriptor) in inodes:
                            return pid
        raise HandshakeError(f"no process of the relay holds UDP port {udp_port}")

    def log(self) -> str:
        """The end of what the relay wrote."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4000))
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """Ask it to end: once to drain, again to end running calls; kill it after 10 s."""
        if self._process is None:
            return
        for wait in (_DRAIN_S, _STOP_S):
            self._process.terminate()
            try:
                self._process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                pass  # the next step says it louder
        else:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._log.close()


class Forwarder:
    """The bare C forwarder, compiled into a temporary directory."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._binary = Path(self._directory.name) / "forwarder"
        self._process: subprocess.Popen[str] | None = None
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise HandshakeError("the baseline needs a C compiler")
        command = [compiler, "-std=gnu11", "-O2", "-o", str(self._binary), str(_CORE / "forwarder.c")]
        subprocess.run(command, check=True)

    def start(self, seconds: float, cpu: int | None) -> int:
        """Start it on `cpu`, for `seconds` at most; returns its port on 127.0.0.1."""
        self._process = subprocess.Popen(
            [str(self._binary), str(int(seconds) + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if cpu is not None:
            pin(self._process.pid, cpu)
        return int(self._line())

    def route(self, pairs: list[tuple[int, int]]) -> None:
        """Give it all (source port, destination port) at once; it forwards from then on."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{source} {to}\n" for source, to in pairs))
        self._process.stdin.close()
        self._line()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        self._directory.cleanup()


async def settle(pid: int, quiet_s: float = 0.3, limit_s: float = 3.0) -> None:
    """Wait until a process uses less than a tenth of a CPU."""
    waited = 0.0
    before = usage(pid)
    while waited < limit_s:
        await asyncio.sleep(quiet_s)
        waited += quiet_s
        after = usage(pid)
        if after.cpu_s - before.cpu_s < 0.1 * quiet_s:
            return
        before = after


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _udp_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rsplit(":", 1)[1], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
