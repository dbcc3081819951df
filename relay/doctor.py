"""`relay doctor`: looks at the machine as a node would use it, and says what to do about each finding.

Every check tries the real thing where it can (binds the ports, sends with GSO) instead of comparing versions.
"""

import ctypes
import importlib.util
import os
import platform
import resource
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from relay.config import SECRET_MIN_BYTES, Config

# <linux/udp.h>; Python 3.11 has no names for them.
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

TIME_ERROR = 5
"""What adjtimex(2) returns while nothing disciplines the clock."""

DESCRIPTORS_WANTED = 16_384
"""An event socket each for many thousand parties, and some to spare."""

SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies")


@dataclass(frozen=True)
class Finding:
    """One check. `fail`: a node cannot run; `warn`: it runs worse than it could. `advice` says what to do."""

    verdict: Literal["ok", "warn", "fail"]
    subject: str
    detail: str
    advice: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """All findings, in the order of their weight."""
    yield _python()
    yield _native()
    yield from _ports(config)
    yield _announced(config)
    yield _secret()
    yield _store(config)
    yield _segmentation()
    yield _buffer(config.receive_buffer_bytes, "receive", socket.SO_RCVBUF, 33, "rmem_max")
    yield _buffer(config.send_buffer_bytes, "send", socket.SO_SNDBUF, 32, "wmem_max")
    yield _aes()
    yield _cores(config)
    yield _descriptors()
    yield _clock_source()
    yield _clock_discipline()


def show(findings: Iterable[Finding]) -> int:
    """Print the findings; returns the exit code, 1 when one of them keeps a node from running."""
    worst = 0
    for finding in findings:
        print(f"{finding.verdict:4}  {finding.subject:18} {finding.detail}")
        if finding.verdict != "ok" and finding.advice:
            print(f"{'':24} -> {finding.advice}")
        worst = max(worst, finding.verdict == "fail")
    print("A node can run here." if not worst else "A node cannot run here as configured.")
    return int(worst)


def _python() -> Finding:
    version = platform.python_version()
    if not hasattr(os, "pidfd_open"):
        return Finding("fail", "Python", f"{version} without pidfd_open", "use a Python built on Linux 5.3 or newer")
    return Finding("ok", "Python", version)


def _native() -> Finding:
    if importlib.util.find_spec("native.pump") is None:
        return Finding("fail", "native extension", "not built", "make build")
    try:
        importlib.import_module("native")
    except ImportError as error:
        return Finding("fail", "native extension", str(error), "make clean build")
    return Finding("ok", "native extension", "loads")


def _ports(config: Config) -> Iterator[Finding]:
    wanted = [(socket.SOCK_STREAM, config.host, config.port, "HTTP port", "--port")]
    wanted += [
        (socket.SOCK_DGRAM, config.media_host, config.media_port + index, "media port", "--media-port")
        for index in range(max(1, config.workers))
        if config.media_port
    ]
    for kind, host, port, subject, option in wanted:
        name = f"{'TCP' if kind == socket.SOCK_STREAM else 'UDP'} {port}"
        try:
            _try_to_bind(kind, host, port)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            advice = f"choose another with {option}; a node that runs already is found with: ss -lntup"
            yield Finding("fail", subject, f"{name}: {reason}", advice)
        else:
            yield Finding("ok", subject, f"{name} is free")


def _try_to_bind(kind: socket.SocketKind, host: str, port: int) -> None:
    """Bind as the node will; `::` means both families, or IPv4 alone where there is no IPv6."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind((host, port))


def _announced(config: Config) -> Finding:
    from relay.media.worker import announced

    found = announced(config, socket.AF_INET6 if ":" in config.media_host else socket.AF_INET)
    words = ", ".join(found)
    parsed = [ip_address(address) for address in found]
    if all(address.is_loopback for address in parsed):
        return Finding("ok", "announced address", f"{words}: calls on this machine only; --host opens the node")
    if not any(address.is_global for address in parsed):
        advice = "behind NAT, peers outside need the public one: --announce ADDR, and forward the UDP ports"
        return Finding("warn", "announced address", f"{words}: private", advice)
    return Finding("ok", "announced address", words)


def _secret() -> Finding:
    if len(os.environ.get("RELAY_SECRET", "").encode()) >= SECRET_MIN_BYTES:
        return Finding("ok", "secret", "RELAY_SECRET is set")
    advice = "export RELAY_SECRET=$(head -c 48 /dev/urandom | base64 -w0), or put `secret` into the settings file"
    return Finding("warn", "secret", "RELAY_SECRET is not set: only relay serve --demo would start", advice)


def _store(config: Config) -> Finding:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import DBAPIError

    from relay.store.database import StoreError, address

    try:
        url = address(config)
        if url.get_backend_name() == "sqlite":
            folder = Path(url.database or ".").resolve().parent
            if not os.access(folder, os.W_OK):
                return Finding("fail", "store", f"{folder} cannot be written", "choose another with --store")
            return Finding("ok", "store", f"SQLite, in {folder}")
        engine = create_engine(url, connect_args={"connect_timeout": 3})
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar()
        engine.dispose()
    except (StoreError, ImportError) as fault:
        return Finding("fail", "store", str(fault), "see RELAY_STORE in README.md; PostgreSQL needs relay[postgres]")
    except DBAPIError as fault:
        return Finding("fail", "store", str(fault.orig).strip().splitlines()[0], "is it running, and may we log in?")
    return Finding("ok", "store", f"PostgreSQL {version}")


def _segmentation() -> Finding:
    """Three segments in one call must arrive as three datagrams, and the receiver must be allowed to merge."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        size = 1000
        try:
            segment = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
            sender.sendmsg([bytes(3 * size)], segment, 0, receiver.getsockname())
            sizes = [len(receiver.recv(4 * size)) for _ in range(3)]
        except OSError as error:
            advice = "sending costs about twice as much; use Linux 4.18 or newer without a filter on UDP_SEGMENT"
            return Finding("warn", "UDP GSO and GRO", f"no GSO: {error}", advice)
        try:
            receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        except OSError as error:
            advice = "receiving costs about a fifth more; use Linux 5.0 or newer"
            return Finding("warn", "UDP GSO and GRO", f"GSO works, no GRO: {error}", advice)
    if sizes != [size] * 3:
        return Finding("warn", "UDP GSO and GRO", f"segments arrive as {sizes}", "report this kernel, please")
    return Finding("ok", "UDP GSO and GRO", f"work (Linux {platform.release()})")


def _buffer(wanted: int, name: str, option: int, forced: int, limit: str) -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, forced, wanted)
        except PermissionError:
            probe.setsockopt(socket.SOL_SOCKET, option, wanted)
        got = probe.getsockopt(socket.SOL_SOCKET, option) // 2  # the kernel doubles it for its own bookkeeping
    detail = f"{got // 1024} KiB of {wanted // 1024} KiB"
    if got < wanted:
        advice = f"sysctl -w net.core.{limit}={wanted}, and the same line in /etc/sysctl.d/relay.conf"
        return Finding("warn", f"{name} buffer", detail, advice)
    return Finding("ok", f"{name} buffer", detail)


def _aes() -> Finding:
    machine = platform.machine()
    wanted = {"x86_64": {"aes", "pclmulqdq"}, "aarch64": {"aes", "pmull"}}.get(machine)
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.lower().startswith(("flags", "features")):
            flags = set(line.partition(":")[2].split())
            break
    if wanted is None or not flags:
        return Finding("warn", "AES in hardware", f"unknown on {machine}", "compare: openssl speed -evp aes-128-gcm")
    if not wanted <= flags:
        advice = "SRTP will cost several times as much; let the hypervisor pass the CPU's AES instructions through"
        return Finding("warn", "AES in hardware", f"missing: {', '.join(sorted(wanted - flags))}", advice)
    return Finding("ok", "AES in hardware", ", ".join(sorted(wanted)))


def _cores(config: Config) -> Finding:
    cores = len(os.sched_getaffinity(0))
    workers = max(1, config.workers)
    detail = f"{workers} on {cores} cores"
    if workers > cores:
        return Finding("warn", "workers", detail, f"more workers than cores only compete: --workers {cores}")
    return Finding("ok", "workers", detail)


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_WANTED:
        advice = f"ulimit -Hn {DESCRIPTORS_WANTED}, or LimitNOFILE= in the service; each event socket needs one"
        return Finding("warn", "open files", f"at most {hard}", advice)
    return Finding("ok", "open files", f"{soft}, raised to {hard} at the start")


def _clock_source() -> Finding:
    path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    try:
        source = path.read_text().strip()
    except OSError:
        return Finding("ok", "clock source", "unknown")
    if source in SLOW_CLOCKS:
        return Finding("warn", "clock source", source, "reading the time is slow here; boot with a TSC or kvm-clock")
    return Finding("ok", "clock source", source)


def _clock_discipline() -> Finding:
    """Tokens and events carry wall-clock times that other machines compare with their own."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # struct timex is 208 bytes; its first field, modes = 0, asks and changes nothing.
        state = libc.adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        state = -1
    if state == TIME_ERROR:
        return Finding(
            "warn", "clock", "nothing keeps it right", "run chrony or systemd-timesyncd: tokens expire by it"
        )
    return Finding("ok", "clock", "synchronised" if state >= 0 else "unknown")
