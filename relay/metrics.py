"""What Prometheus reads at `/metrics`: one bulk question to each worker a scrape, nothing counted twice.

Names have the prefix `relay_`, base units, and labels from small fixed sets (a worker's number, a drop
reason, an end reason): never a room, a device or a user. A worker that was replaced begins at zero again,
which `rate()` expects.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import relay
from relay.calls.call import End
from relay.media.supervisor import WorkerState

CACHE_S = 0.5
"""Scrapes that come faster get the same text again, so that /metrics cannot be used to keep workers busy."""


@dataclass
class Snapshot:
    """The node at one moment."""

    calls: int = 0
    calls_created: int = 0
    calls_ended: Mapping[str, int] = field(default_factory=dict)
    live_rooms: int = 0
    event_sockets: int = 0
    events: int = 0
    readers_cut: int = 0
    rate_limited: int = 0
    store: Mapping[str, float] = field(default_factory=dict)
    webhooks: Mapping[str, int] = field(default_factory=dict)
    draining: bool = False
    ready: bool = True
    lag_s: float = 0.0
    workers: list[WorkerState] = field(default_factory=list)
    counters: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


# A worker's counter -> (metric, labels, help). What is not listed is exported under its own name.
_COUNTERS: dict[str, tuple[str, dict[str, str], str]] = {
    "datagrams_in": ("received_datagrams", {}, "Datagrams received, whatever they were."),
    "bytes_in": ("received_bytes", {}, "UDP payload bytes received."),
    "packets_out": ("sent_packets", {}, "RTP and RTCP packets given to the kernel; every delivered copy counts."),
    "bytes_out": ("sent_bytes", {}, "UDP payload bytes given to the kernel."),
    "resent": ("retransmitted_packets", {}, "Packets sent again because a receiver asked (NACK)."),
    "recovered": ("recovered_packets", {}, "Packets that were missing and came after the relay had asked for them."),
    "kernel_drops": ("kernel_drops", {}, "Datagrams the kernel dropped as the receive buffer was full."),
    "wakeups": ("pump_wakeups", {}, "Times the packet loop woke up; datagrams over wake-ups is the batch size."),
    "gso_runs": ("gso_runs", {}, "Runs of packets sent with one UDP GSO call."),
    "reports_out": ("rtcp_reports", {}, "RTCP compound packets with reports sent."),
    "legs_opened": ("legs_opened", {}, "Legs whose offer was answered."),
}
for _kind in ("rtp", "rtcp", "stun", "dtls"):
    _COUNTERS[f"{_kind}_in"] = ("received_packets", {"protocol": _kind}, "Packets received by protocol (RFC 7983).")
for _way, _label in (("in", "received"), ("out", "sent")):
    _help = "Requests for a key frame (PLI, FIR), from receivers and on to sources."
    _COUNTERS[f"keyframe_requests_{_way}"] = ("keyframe_requests", {"direction": _label}, _help)
for _call in ("receive", "send"):
    _COUNTERS[f"{_call}_calls"] = ("system_calls", {"call": _call}, "System calls of the packet loop.")
for _state in ("connected", "lost", "failed", "closed"):
    _help = "Legs that became connected, and how legs ended."
    _COUNTERS[f"legs_{_state}"] = ("leg_changes", {"state": _state}, _help)

_GAUGES = {
    "legs": "Legs that are open.",
    "streams": "Incoming streams (one SSRC with its retransmissions).",
    "routes": "Routes, each from one stream to one leg.",
    "rooms": "Rooms with at least one leg.",
}


class Metrics:
    """`scrape()` is the body of /metrics. `look` makes a snapshot; it may take as long as the workers need."""

    def __init__(self, look: Callable[[], Awaitable[Snapshot]], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = asyncio.Lock()
        self._text = b""
        self._made: float | None = None
        self._families = _Families()
        self._registry = CollectorRegistry()
        self._registry.register(self._families)
        ProcessCollector(namespace="relay", registry=self._registry)
        GCCollector(registry=self._registry)

    async def scrape(self) -> bytes:
        async with self._lock:
            if self._made is None or self._clock() - self._made >= CACHE_S:
                self._families.now = list(families(await self._look()))
                self._text = generate_latest(self._registry)
                self._made = self._clock()
            return self._text


class _Families(Collector):
    """Hands the families of the latest snapshot to the registry, which asks without waiting."""

    def __init__(self) -> None:
        self.now: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.now


def families(snapshot: Snapshot) -> Iterable[Metric]:
    """The snapshot as metric families."""
    yield InfoMetricFamily("relay_build", "The relay's version.", {"version": relay.__version__})
    yield GaugeMetricFamily("relay_ready", "1 while the node takes new calls.", float(snapshot.ready))
    yield GaugeMetricFamily(
        "relay_draining", "1 while the node waits for its last calls to end.", float(snapshot.draining)
    )
    yield GaugeMetricFamily(
        "relay_loop_lag_seconds", "How late the node's event loop was, worst of the last second.", snapshot.lag_s
    )
    yield GaugeMetricFamily("relay_calls", "Calls that have not ended.", snapshot.calls)
    yield CounterMetricFamily("relay_calls_created", "Calls created.", snapshot.calls_created)
    ended = CounterMetricFamily("relay_calls_ended", "Calls ended, by reason.", labels=["reason"])
    for reason in End:
        ended.add_metric([reason.value], snapshot.calls_ended.get(reason, 0))
    yield ended
    yield GaugeMetricFamily("relay_live_rooms", "Rooms without a call (WHIP).", snapshot.live_rooms)
    yield GaugeMetricFamily("relay_event_sockets", "WebSockets that listen for events.", snapshot.event_sockets)
    yield CounterMetricFamily("relay_events", "Events published to parties.", snapshot.events)
    yield CounterMetricFamily(
        "relay_event_readers_cut", "WebSockets that were cut since they read too slowly.", snapshot.readers_cut
    )
    yield CounterMetricFamily(
        "relay_rate_limited_requests", "Requests refused with 429, as their key asked too often.", snapshot.rate_limited
    )
    yield from _store(snapshot.store)
    webhooks = CounterMetricFamily(
        "relay_webhook_messages",
        "Webhook messages by what became of them; a failed one is tried again, overflow and given_up are lost.",
        labels=["result"],
    )
    for result in ("delivered", "failed", "given_up", "overflow"):
        webhooks.add_metric([result], snapshot.webhooks.get(result, 0))
    yield webhooks
    yield from _workers(snapshot.workers)
    yield from _reports(snapshot.counters)


def _store(report: Mapping[str, float]) -> Iterable[Metric]:
    value = report.get
    yield GaugeMetricFamily("relay_store_up", "1 while the store takes work in time.", value("up", 0.0))
    yield GaugeMetricFamily("relay_store_waiting", "Pieces of work that wait for the store.", value("waiting", 0.0))
    yield CounterMetricFamily("relay_store_work", "Pieces of work the store has done.", value("written", 0.0))
    yield CounterMetricFamily(
        "relay_store_transactions",
        "Transactions; work over transactions is the batch size.",
        value("transactions", 0.0),
    )
    yield CounterMetricFamily("relay_store_busy_seconds", "Time spent in transactions.", value("busy_s", 0.0))
    yield CounterMetricFamily(
        "relay_store_failures", "Transactions that failed and were tried again.", value("failures", 0.0)
    )
    yield CounterMetricFamily(
        "relay_store_refused", "Requests refused as the store was down or late.", value("refused", 0.0)
    )


def _workers(workers: Iterable[WorkerState]) -> Iterable[Metric]:
    up = GaugeMetricFamily("relay_worker_up", "1 while the worker takes legs.", labels=["worker"])
    deaths = CounterMetricFamily("relay_worker_deaths", "Times the worker died and was replaced.", labels=["worker"])
    pending = GaugeMetricFamily(
        "relay_worker_pending_requests", "Requests that wait for the worker's reply.", labels=["worker"]
    )
    lag = GaugeMetricFamily(
        "relay_worker_loop_lag_seconds",
        "How late the worker's event loop was, worst of the last second; media has its own thread.",
        labels=["worker"],
    )
    for worker in workers:
        label = [str(worker.index)]
        up.add_metric(label, float(worker.up))
        deaths.add_metric(label, worker.deaths)
        pending.add_metric(label, worker.pending)
        lag.add_metric(label, worker.lag_ms / 1000)
    yield from (up, deaths, pending, lag)


def _reports(reports: Mapping[int, Mapping[str, Any]]) -> Iterable[Metric]:
    made: dict[str, Metric] = {}
    drops = CounterMetricFamily(
        "relay_drops", "Packets dropped, by reason (native/core/drops.h).", labels=["worker", "reason"]
    )
    for index, values in sorted(reports.items()):
        worker = str(index)
        for reason, count in values.get("drops", {}).items():
            drops.add_metric([worker, reason], count)
        for name, value in values.items():
            if not isinstance(value, (int, float)):
                continue
            if name in _GAUGES:
                gauge = made.get(name) or GaugeMetricFamily(f"relay_{name}", _GAUGES[name], labels=["worker"])
                made[name] = gauge
                assert isinstance(gauge, GaugeMetricFamily)
                gauge.add_metric([worker], value)
                continue
            metric, labels, text = _COUNTERS.get(name, (name, {}, "A counter of the media worker."))
            counter = made.get(metric) or CounterMetricFamily(f"relay_{metric}", text, labels=["worker", *labels])
            made[metric] = counter
            assert isinstance(counter, CounterMetricFamily)
            counter.add_metric([worker, *labels.values()], value)
    yield from made.values()
    yield drops
