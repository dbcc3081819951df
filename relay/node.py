"""A node: media, calls and the HTTP application, wired together here and nowhere else; start, drain, stop.

Order matters twice. Up: the HTTP port is bound first, so that a port in use is found before anything else
exists, but nothing is served until the workers can take legs. Down: calls end first, so that every party
hears why, then HTTP, then the workers, which say good-bye to their peers.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from relay.api.app import LIMITS, ROOMS, SOCKETS, build, plane
from relay.config import Config
from relay.errors import ApiError
from relay.media.process import why_not
from relay.media.remote import StartError
from relay.media.supervisor import Supervisor, WorkerState
from relay.media.worker import Worker
from relay.metrics import Metrics, Snapshot
from relay.store.database import StoreError

log = logging.getLogger(__name__)

DRAIN_S = 3600.0
"""A drain waits so long for calls to end unless told otherwise."""

LAG_SAMPLE_S = 0.25
LAG_SAMPLES = 4
UNWELL_LAG_S = 1.0
"""A loop that was later than this within the last second makes the node not ready."""

KEEPALIVE_S = 30.0
"""A connection without a request for so long is closed; clients open a new one."""

FORGET_S = 3600.0
"""How often call records that are too old are looked for."""

STOP_STEP_S = 0.6
"""Each of the three steps down may take so long, so that a second signal ends the node within two seconds."""


LAST_RESORT_S = 8.0
"""A node that has not stopped by then is ended by the kernel."""


class Node:
    """One node. `start`, then `drain` at most once, then `stop`; all in one event loop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.media: Supervisor | Worker = Supervisor(config, config.workers) if config.workers else Worker(config, 0)
        self.name = config.node or socket.gethostname()
        self._plane = plane(self.media, config, self.name)
        self.calls = self._plane.calls
        self._metrics = Metrics(self._look)
        self._app = build(config, self._plane, self.media, metrics=self._metrics.scrape, ready=self.ready)
        self._runner: web.AppRunner | None = None
        self._listener: socket.socket | None = None
        self._started = False
        self._draining = False
        self._lag_s = 0.0
        self._chores: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The HTTP port, once started; differs from the configured one when that is 0."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    @property
    def media_ports(self) -> list[int]:
        """The UDP ports of the workers that are up."""
        return [worker.port for worker in self.workers() if worker.port]

    def ready(self) -> bool:
        """May a load balancer send new calls here?"""
        return (
            self._started
            and not self._draining
            and self._lag_s < UNWELL_LAG_S
            and self._plane.store.up
            and any(worker.up for worker in self.workers())
        )

    def workers(self) -> list[WorkerState]:
        if isinstance(self.media, Supervisor):
            return self.media.state()
        return [WorkerState(index=0, up=self._started, port=self.media.port, lag_ms=1000 * self._lag_s)]

    async def start(self) -> None:
        """Raises StartError, with nothing left running, when a port is in use or a worker cannot start."""
        raise_descriptor_limit()
        self._listener = listen(self.config.host, self.config.port)
        try:
            left = await self._plane.start()
            await self.media.start()
        except BaseException as error:
            self._listener.close()
            await self._plane.close()
            if isinstance(error, OSError):
                raise StartError(why_not(self.config, 0, error)) from None
            if isinstance(error, StoreError | ApiError):
                raise StartError(str(error)) from None
            raise
        if left:
            log.warning("ended calls that an earlier run of this node left behind", extra={"calls": left})
        self._chores = [
            asyncio.create_task(self._measure_lag()),
            asyncio.create_task(self._be_seen()),
            asyncio.create_task(self._forget()),
        ]
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=STOP_STEP_S,
            keepalive_timeout=KEEPALIVE_S,
        )
        self._started = True
        try:
            await self._runner.setup()
            await web.SockSite(self._runner, self._listener).start()
        except BaseException:
            await self.stop()
            raise
        log.info("started", extra={"port": self.port, "workers": self.config.workers, "demo": self.config.demo})

    async def drain(self, limit_s: float = DRAIN_S) -> bool:
        """Take no new calls and wait, at most `limit_s`, until those that run have ended. True when all
        did.
        """
        self._draining = True
        self.calls.drain()
        log.info("draining", extra={"calls": len(self.calls), "rooms": len(self._app[ROOMS])})
        try:
            async with asyncio.timeout(limit_s):
                while self.busy():
                    await asyncio.sleep(LAG_SAMPLE_S)
        except TimeoutError:
            log.warning("the drain reached its limit", extra={"calls": len(self.calls), "limit_s": limit_s})
            return False
        return True

    def busy(self) -> bool:
        """Is anybody talking, or about to?"""
        return len(self.calls) > 0 or len(self._app[ROOMS]) > 0

    async def stop(self) -> None:
        """End what still runs; every party is told. Takes at most about two seconds."""
        self._draining = True
        await within(STOP_STEP_S, self.calls.close(), "ending the calls")
        if self._runner is not None:
            await within(2 * STOP_STEP_S, self._runner.cleanup(), "closing the connections")
            self._runner = None
        if self._started:
            await self.media.stop()
            self._started = False
        for chore in self._chores:
            chore.cancel()
        self._chores = []
        await within(STOP_STEP_S, self._plane.close(), "writing the last records")
        if self._listener is not None:
            self._listener.close()
        log.info("stopped")

    async def _be_seen(self) -> None:
        """Say in the store that this node lives, so that a crash can be dated."""
        while True:
            await asyncio.sleep(self.config.node_seen_s)
            try:
                await self._plane.store.check_name()
                await self._plane.journal.seen()
            except ApiError:
                pass  # the store is down, which /readyz and the metrics tell
            except Exception:
                log.exception("saying that this node lives failed")
            self.calls.sweep()

    async def _forget(self) -> None:
        """Delete call records that are too old."""
        while True:
            try:
                forgotten = await self._plane.journal.forget(int((time.time() - self.config.history_s) * 1000))
                if forgotten:
                    log.info("deleted old call records", extra={"calls": forgotten})
            except ApiError:
                pass  # the store is down; the next hour will do
            except Exception:
                log.exception("deleting old call records failed")
            await asyncio.sleep(FORGET_S)

    async def _look(self) -> Snapshot:
        if isinstance(self.media, Supervisor):
            counters = await self.media.counters()
        else:
            counters = {0: await self.media.counters()}
        return Snapshot(
            calls=len(self.calls),
            calls_created=self.calls.created,
            calls_ended=self.calls.ended,
            live_rooms=len(self._app[ROOMS]),
            event_sockets=self.calls.events.sockets,
            events=self.calls.events.published,
            readers_cut=self._app[SOCKETS].cut,
            rate_limited=self._app[LIMITS].refused,
            store=self._plane.store.report(),
            webhooks=self._plane.webhooks.results,
            draining=self._draining,
            ready=self.ready(),
            lag_s=self._lag_s,
            workers=self.workers(),
            counters=counters,
        )

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        lags = [0.0] * LAG_SAMPLES
        while True:
            wanted = loop.time() + LAG_SAMPLE_S
            await asyncio.sleep(LAG_SAMPLE_S)
            lags = [*lags[1:], max(0.0, loop.time() - wanted)]
            self._lag_s = max(lags)


async def serve(config: Config, *, drain_s: float = DRAIN_S, announce: Callable[[Node], None]) -> None:
    """Run a node until a signal has ended it. SIGTERM or SIGINT drains, a second one stops at once.

    `announce` is called once the node serves. Raises StartError.
    """
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    node = Node(config)
    await node.start()
    try:
        announce(node)
        await first.wait()
        if node.busy() and node.config.demo:
            print("draining: waiting for running calls to end; press Ctrl-C again to end them", flush=True)
        drained = asyncio.create_task(node.drain(drain_s))
        hurried = asyncio.create_task(second.wait())
        await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()
    finally:
        # A stop that hangs, even in native code, must not leave a process behind that holds the ports.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_S)
        await node.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_ours(record: logging.LogRecord) -> bool:
    """A request that is no HTTP is the sender's fault, was answered with 400, and must not fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; `::` takes IPv4 too. Raises StartError with a sentence that says what to do."""
    try:
        if host == "::" and socket.has_dualstack_ipv6():
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        words = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        hint = "; choose another with --port" if port else ""
        raise StartError(f"cannot listen on {host} port {port}: {words}{hint}") from None


async def within(limit_s: float, step: Coroutine[Any, Any, object], what: str) -> None:
    """One step of stopping: late or failed, the next ones still follow."""
    started = time.monotonic()
    try:
        await asyncio.wait_for(step, limit_s)
    except TimeoutError:
        log.warning("%s took too long", what, extra={"waited_s": round(time.monotonic() - started, 1)})
    except Exception:
        log.exception("%s failed", what)


def raise_descriptor_limit() -> None:
    """Sockets are cheap and the soft limit of 1,024 is history; workers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
