"""The load test: `python -m benchmarks.load`.

Starts a relay with one worker, brings legs in through the real front door (HTTP, ICE, DTLS) and raises the
packet rate until packets get lost. The generator has one CPU, the worker another. Writes
`benchmarks/out/load.json` (the result), `load-steps.json` (every run behind it) and `load.svg`.

How to read the numbers: one packet in and one out is one forwarded packet; with fan-out each delivered copy
counts. Latency is from just before the sender protects a packet to the kernel's receive timestamp at the
sink. A run in which the generator itself was late is void and repeated. Compare only within one report: on a
shared machine the bare forwarder beside it shows what the host did meanwhile.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks import chart, traffic
from benchmarks.generator import Generator
from benchmarks.handshake import HandshakeError, Leg
from benchmarks.report import Report
from benchmarks.search import Search
from benchmarks.signalling import Signalling
from benchmarks.target import Forwarder, Relay, Usage, first_in_line, pin, quiet, settle, stolen_s, usage

LOSS_PCT: Final = 0.1  # up to this a rate counts as carried
START_PPS: Final = 20_000.0
RETRIES: Final = 2  # a lossy run is repeated: the machine is shared, and one stall is not the relay's limit
VOID_RETRIES: Final = 5  # a void run proves nothing either way, so it is repeated more patiently
SENT_SHARE: Final = 0.98  # of the offered rate; less means that the generator stood still
PACING_US: Final = 2_000.0  # a generator later than this (p99) has not offered the rate it claims
BUSY_PCT: Final = 98.0
WARM_UP_S: Final = 1.0
OUT: Final = Path(__file__).resolve().parent / "out"


LIMITS: Final = {
    "loss": "the next higher rate lost packets",
    "generator": "higher rates could not be judged; the generator was disturbed, or this is its own limit",
    "search": "no rate lost packets; the limit lies higher (--steps, --max-pps)",
}


@dataclass(frozen=True)
class Step:
    """One run as the steps file keeps it; times in microseconds."""

    what: str
    offered_pps: float
    delivered_pps: float
    loss_pct: float
    user_us: float | None
    system_us: float | None
    sleeps_per_packet: float | None
    p50_us: float
    p99_us: float
    p999_us: float
    longest_gap_ms: float
    reordered: int
    duplicates: int
    foreign: int
    rtcp: int
    sampled: int
    generator_busy_pct: float
    generator_late_p99_us: float
    stolen_pct: float
    void: str

    @property
    def total_us(self) -> float | None:
        return None if self.user_us is None or self.system_us is None else self.user_us + self.system_us


class Load:
    """One load test against one relay."""

    def __init__(self, options: argparse.Namespace, signalling: Signalling, relay: Relay | None) -> None:
        self.options = options
        self.signalling = signalling
        self.relay = relay
        self.legs: list[Leg] = []
        self.groups: list[list[int]] = []  # numbers of the legs of each call or room
        self.steps: list[Step] = []
        self.setups: dict[str, Any] = {}
        self.worker: int | None = None
        self.rss_before_kb = 0
        self.rss_connected_kb = 0
        self.rss_after_kb = 0
        self.limit = ""  # what ended the search
        self._generator: Generator | None = None

    @property
    def generator(self) -> Generator:
        assert self._generator is not None
        return self._generator

    @property
    def copies(self) -> int:
        """Deliveries of each packet."""
        return int(self.options.fan_out) or 1

    @property
    def natural_pps(self) -> float:
        """Copies delivered a second at scale 1."""
        return float(sum(leg.sends for leg in self.legs) * self.copies * traffic.NATURAL_PPS)

    async def connect(self) -> None:
        """Bring all legs in. Raises HandshakeError."""
        fan_out = self.options.fan_out
        size = fan_out + 1 if fan_out else 2
        started = time.monotonic()
        for _ in range(max(1, self.options.legs // size)):
            legs = await (self.signalling.room(fan_out) if fan_out else self._call())
            self.groups.append(list(range(len(self.legs), len(self.legs) + len(legs))))
            self.legs += legs
            if self.worker is None and self.relay is not None:
                self._find_worker()
        took = time.monotonic() - started
        times = sorted(leg.setup_s * 1000 for leg in self.legs)
        say(
            f"{len(self.legs)} legs connected in {took:.1f} s; one leg, offer to keys: "
            f"median {statistics.median(times):.1f} ms, slowest {times[-1]:.1f} ms"
        )
        self._generator = traffic.through_relay(
            self.legs,
            self.options.profile,
            copies=self.copies,
            sample=self.options.sample,
            segment=not self.options.no_gso,
        )

    async def _call(self) -> list[Leg]:
        return list(await self.signalling.call())

    def _find_worker(self) -> None:
        assert self.relay is not None
        self.worker = self.relay.worker(self.legs[0].relay_port)
        # Before the next legs: what the first leg cost includes what is loaded once.
        self.rss_before_kb = usage(self.worker).rss_kb
        if self.options.worker_cpu is not None:
            pin(self.worker, self.options.worker_cpu)

    def run(self, generator: Generator, pid: int | None, what: str, pps: float, seconds: float) -> Step:
        """One run, judged and remembered."""
        self._consent()
        quiet()
        self._consent()
        before = usage(pid) if pid is not None else None
        stolen, began = stolen_s(), time.monotonic()
        report = generator.run(seconds, pps / self.natural_pps, seed=len(self.steps) + 1)
        after = usage(pid) if pid is not None else None
        stolen_pct = 100 * (stolen_s() - stolen) / (time.monotonic() - began) / (os.cpu_count() or 1)
        step = _step(what, pps, pps / self.copies, report, before, after, stolen_pct)
        silent = self._hears(report).count(False) if generator is self.generator else 0
        if silent:
            raise HandshakeError(f"{silent} legs hear nothing any more: they lost their relay, or it lost them")
        self.steps.append(step)
        return step

    def _consent(self) -> None:
        """Keep the legs alive (RFC 7675) while the generator does not, as when the forwarder is measured."""
        for leg in self.legs:
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                leg.sock.send(leg.consents[0])

    def run_sound(self, generator: Generator, pid: int | None, what: str, pps: float) -> Step:
        """As `run`, again while the run is void. What comes back may still be void: the host decides."""
        for _ in range(VOID_RETRIES + 1):
            step = self.run(generator, pid, what, pps, self.options.seconds)
            if not step.void:
                break
            say(_row(step))
        return step

    def warm_up(self) -> None:
        """Make sure that media flows on every leg before anything is measured. Raises HandshakeError."""
        for _ in range(5):
            report = self.generator.run(WARM_UP_S)
            if report.loss_pct <= LOSS_PCT and all(self._hears(report)):
                return
        silent = sum(not hears for hears in self._hears(report))
        raise HandshakeError(
            f"media does not flow at the natural rate: {report.loss_pct:.1f} % lost, {silent} legs hear nothing, "
            f"{report.bad_auth} packets unauthentic, {report.foreign} unknown"
        )

    def _hears(self, report: Report) -> list[bool]:
        return [
            count > 0 or (leg.sends and bool(self.options.fan_out))
            for leg, count in zip(self.legs, report.leg_delivered, strict=True)
        ]

    def find_lossless(self) -> Step:
        """Raise the rate step by step; returns the highest run without loss. Raises HandshakeError if none is."""
        say(HEADING)
        search = Search(max(START_PPS, self.natural_pps), self.options.steps, self.options.max_pps)
        best: Step | None = None
        for rate in search.rates():
            verdict: bool | None = None
            for _ in range(RETRIES + 1):
                step = self.run_sound(self.generator, self.worker, "search", rate)
                if step.void:
                    break
                say(_row(step))
                verdict = step.loss_pct <= LOSS_PCT
                if verdict:
                    break
            search.verdict(rate, verdict)
            if verdict and (best is None or step.delivered_pps > best.delivered_pps):
                best = step
        if search.lossy_pps < float("inf"):
            self.limit = "loss"
        elif search.unknown:
            self.limit = "generator"
        else:
            self.limit = "search"
        say(f"the search ended: {LIMITS[self.limit]}")
        if best is None:
            raise HandshakeError("no rate was carried without loss")
        return best

    async def latency(self, pps: float) -> tuple[list[Step], list[Step]]:
        """The relay and the bare forwarder in turn, same traffic, same rate."""
        say(f"\nlatency at {pps:,.0f} packets/s, the relay and the bare C forwarder in turn")
        say(HEADING)
        relayed: list[Step] = []
        bare: list[Step] = []
        for _ in range(self.options.alternations):
            relayed.append(self.run_sound(self.generator, self.worker, "relay", pps))
            say(_row(relayed[-1]))
            if self.relay is None:
                continue  # a forwarder on this machine says nothing about a node on another
            if self.worker is not None:
                await settle(self.worker)
            with contextlib.closing(_Bare(self)) as forwarder:
                bare.append(self.run_sound(forwarder.generator, forwarder.pid, "bare", pps))
            say(_row(bare[-1]))
        return relayed, bare

    async def storm(self, pps: float) -> None:
        """Set up and end calls while media flows: what do handshakes do to the calls that are running?"""
        rate = self.options.setups_per_second
        say(f"\n{rate:g} leg set-ups a second beside {pps:,.0f} packets/s")
        say(HEADING)
        calm = self.run_sound(self.generator, self.worker, "calm", pps)
        say(_row(calm))
        seconds = max(2.0, self.options.seconds)
        before = usage(self.worker) if self.worker is not None else None
        stolen, began = stolen_s(), time.monotonic()
        media = asyncio.create_task(asyncio.to_thread(self._run_ahead, seconds, pps / self.natural_pps))
        times, failures = await _set_up(self.signalling, rate, seconds)
        report = await media
        after = usage(self.worker) if self.worker is not None else None
        stolen_pct = 100 * (stolen_s() - stolen) / (time.monotonic() - began) / (os.cpu_count() or 1)
        step = _step("storm", pps, pps / self.copies, report, before, after, stolen_pct)
        self.steps.append(step)
        say(_row(step))
        self.setups = {
            "per_second": rate,
            "done": len(times),
            "failed": len(failures),
            "reasons": sorted(set(failures))[:5],
            "ms_p50": statistics.median(times) if times else None,
            "ms_max": max(times, default=None),
        }
        if times:
            say(
                f"{len(times)} legs set up, {len(failures)} failed; offer to keys: median "
                f"{statistics.median(times):.1f} ms, slowest {max(times):.1f} ms"
            )
        else:
            say(f"no set-up succeeded: {self.setups['reasons']}")

    def rss_per_leg(self, rss_kb: int) -> float | None:
        """What each leg added to the worker's memory; the first group was there at the first reading."""
        if self.worker is None:
            return None
        return round((rss_kb - self.rss_before_kb) / max(1, len(self.legs) - len(self.groups[0])), 1)

    def _run_ahead(self, seconds: float, scale: float) -> Report:
        """Run in a thread of its own, before this process's handshakes, which share its CPU."""
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        return self.generator.run(seconds, scale)

    def result(self, best: Step, relayed: list[Step], bare: list[Step]) -> dict[str, Any]:
        """What goes into load.json."""
        return {
            "cpu_us_per_packet": {
                "user": _rounded(best.user_us),
                "system": _rounded(best.system_us),
                "total": _rounded(best.total_us),
            },
            "lossless_pps": round(best.delivered_pps),
            "loss_pct": round(best.loss_pct, 4),
            "latency_us": _medians(relayed),
            "baseline_latency_us": _medians(bare),
            "rss_kb_per_leg": self.rss_per_leg(self.rss_after_kb),
            "machine": machine(),
            "commit": commit(),
            "settings": {
                **{name: value for name, value in vars(self.options).items() if name not in ("secret", "out")},
                "natural_pps_per_leg": traffic.NATURAL_PPS,
                "limit": self.limit,
                "latency_at_pps": round(relayed[0].offered_pps) if relayed else None,
            },
        }


class _Bare:
    """The bare forwarder with the load test's traffic."""

    def __init__(self, load: Load) -> None:
        options = load.options
        self._forwarder = Forwarder()
        port = self._forwarder.start((options.seconds + 2) * (VOID_RETRIES + 1) + 5, options.worker_cpu)
        self.generator, routes = traffic.through_forwarder(
            port,
            load.groups,
            options.profile,
            two_way=not options.fan_out,
            sample=options.sample,
            segment=not options.no_gso,
        )
        self._forwarder.route(routes)
        self.pid = self._forwarder.pid
        self.generator.run(0.3)

    def close(self) -> None:
        self._forwarder.stop()


async def _set_up(signalling: Signalling, per_second: float, seconds: float) -> tuple[list[float], list[str]]:
    """Calls at an even pace, each ended a second after it stood; returns milliseconds and failures."""
    times: list[float] = []
    failures: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        try:
            legs = await signalling.call()
        except HandshakeError as error:
            failures.append(str(error))
            return
        times.extend(leg.setup_s * 1000 for leg in legs)
        await asyncio.sleep(1.0)
        await signalling.hang_up(legs[0])
        for leg in legs:
            leg.sock.close()

    started = time.monotonic()
    for number in range(max(1, round(per_second * seconds / 2))):  # a call is two legs
        await asyncio.sleep(max(0.0, started + number * 2 / per_second - time.monotonic()))
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return times, failures


HEADING: Final = (
    "           offered    carried    loss     CPU us/packet        latency us            longest  sleeps   generator\n"
    "             pkt/s      pkt/s       %   user  sys total    p50     p99   p99.9      gap ms   /pkt  busy  late"
)


def _row(step: Step) -> str:
    cpu = f"{'-':>17}"
    sleeps = f"{'-':>6}"
    if step.user_us is not None and step.system_us is not None and step.sleeps_per_packet is not None:
        cpu = f"{step.user_us:5.2f} {step.system_us:4.2f} {step.user_us + step.system_us:5.2f} "
        sleeps = f"{step.sleeps_per_packet:6.3f}"
    row = (
        f"  {step.what:<8}{step.offered_pps:8,.0f} {step.delivered_pps:10,.0f} {step.loss_pct:7.3f}  {cpu}"
        f"{step.p50_us:7,.0f} {step.p99_us:7,.0f} {step.p999_us:7,.0f}  {step.longest_gap_ms:10.1f} {sleeps} "
        f"{step.generator_busy_pct:4.0f}% {step.generator_late_p99_us:5,.0f}"
    )
    return f"{row}  VOID: {step.void}" if step.void else row


def _step(
    what: str,
    pps: float,
    sent_pps: float,
    report: Report,
    before: Usage | None,
    after: Usage | None,
    stolen_pct: float,
) -> Step:
    user = system = sleeps = None
    if before is not None and after is not None and report.delivered:
        user, system = (1e6 * seconds / report.delivered for seconds in after.cpu_since(before))
        sleeps = (after.sleeps - before.sleeps) / report.delivered
    void = report.void(PACING_US)
    if not void and report.sent_pps < SENT_SHARE * sent_pps:
        void = f"the generator sent {report.sent_pps:,.0f} instead of {sent_pps:,.0f} packets/s"
    if not void and report.busy_pct > BUSY_PCT:
        void = f"the generator had no time left ({report.busy_pct:.0f} % busy)"
    return Step(
        what=what,
        offered_pps=pps,
        delivered_pps=report.delivered_pps,
        loss_pct=report.loss_pct,
        user_us=user,
        system_us=system,
        sleeps_per_packet=sleeps,
        p50_us=report.latency_p50_ns / 1000,
        p99_us=report.latency_p99_ns / 1000,
        p999_us=report.latency_p999_ns / 1000,
        longest_gap_ms=report.longest_gap_ns / 1e6,
        reordered=report.reordered,
        duplicates=report.duplicates,
        foreign=report.foreign,
        rtcp=report.rtcp,
        sampled=report.sampled,
        generator_busy_pct=report.busy_pct,
        generator_late_p99_us=report.pacing_p99_ns / 1000,
        stolen_pct=stolen_pct,
        void=void,
    )


def _medians(steps: list[Step]) -> dict[str, float] | None:
    sound = [step for step in steps if not step.void]
    if not sound:
        return None
    return {
        "p50": round(statistics.median(step.p50_us for step in sound), 1),
        "p99": round(statistics.median(step.p99_us for step in sound), 1),
        "p999": round(statistics.median(step.p999_us for step in sound), 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def machine() -> dict[str, Any]:
    """What it ran on, without names."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit measured, with a + when the tree differs from it."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=root, capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


def picture(load: Load, result: dict[str, Any]) -> str:
    """The search as SVG: cost and latency of every sound run over its rate."""

    def line(what: str, of: str) -> chart.Points:
        points: list[tuple[float, float]] = []
        for step in load.steps:
            y = getattr(step, of)
            if step.what == what and not step.void and step.loss_pct <= LOSS_PCT and y is not None:
                points.append((step.delivered_pps, y))
        return points

    cost = {
        "total": line("search", "total_us"),
        "system": line("search", "system_us"),
        "user": line("search", "user_us"),
    }
    latency = {"relay p50": line("search", "p50_us"), "relay p99": line("search", "p99_us")}
    scene = f"1 to {load.options.fan_out}" if load.options.fan_out else "1:1"
    notes = [
        f"{len(load.legs)} legs, {scene}, {load.options.profile.upper()}, one worker: "
        f"{result['lossless_pps']:,} packets/s without loss",
        f"{result['machine']['cpu']}, Linux {result['machine']['kernel']}, commit {result['commit'][:12]}",
    ]
    panels = [("CPU, microseconds a packet", cost), ("latency, microseconds", latency)]
    return chart.draw("Relay under load", panels, notes)


def say(text: str) -> None:
    print(text, flush=True)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole test. Raises HandshakeError."""
    relay = None
    if options.url is None:
        relay = Relay()
        relay.start(options.cpu)
    url, secret = (relay.url, relay.secret) if relay is not None else (options.url, options.secret)
    try:
        async with aiohttp.ClientSession() as http:
            signalling = Signalling(http, url, secret, options.profile)
            await signalling.ready()
            load = Load(options, signalling, relay)
            try:
                return await _measure(load)
            finally:
                for leg in load.legs:
                    leg.sock.close()
    except (HandshakeError, aiohttp.ClientError):
        if relay is not None:
            print(relay.log(), file=sys.stderr)
        raise
    finally:
        if relay is not None:
            relay.stop()


async def _measure(load: Load) -> dict[str, Any]:
    await load.connect()
    if load.worker is not None:
        load.rss_connected_kb = usage(load.worker).rss_kb
    gc.freeze()  # nothing of ours is collected while a run is timed
    load.warm_up()
    best = load.find_lossless()
    if load.worker is not None:
        load.rss_after_kb = usage(load.worker).rss_kb
    relayed, bare = await load.latency(best.delivered_pps / 2)
    if load.options.setups_per_second > 0:
        await load.storm(best.delivered_pps / 2)
    result = load.result(best, relayed, bare)
    load.options.out.mkdir(parents=True, exist_ok=True)
    steps = {
        "steps": [asdict(step) for step in load.steps],
        "setups": load.setups,
        "rss_kb_per_leg_before_media": load.rss_per_leg(load.rss_connected_kb),
    }
    (load.options.out / "load.json").write_text(json.dumps(result, indent=2) + "\n")
    (load.options.out / "load-steps.json").write_text(json.dumps(steps, indent=2) + "\n")
    (load.options.out / "load.svg").write_text(picture(load, result))
    return result


def _summary(result: dict[str, Any]) -> str:
    def three(values: dict[str, float] | None) -> str:
        return "-" if values is None else " / ".join(f"{values[name]:,.0f}" for name in ("p50", "p99", "p999"))

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:g}"

    cpu = result["cpu_us_per_packet"]
    return "\n".join(
        [
            "",
            f"  without loss           {result['lossless_pps']:,} packets/s ({result['loss_pct']:g} % lost)",
            f"  CPU a packet           {number(cpu['total'])} us "
            f"(user {number(cpu['user'])}, system {number(cpu['system'])})",
            f"  latency at half of it  {three(result['latency_us'])} us (p50 / p99 / p99.9)",
            f"  bare forwarder         {three(result['baseline_latency_us'])} us",
            f"  memory a leg           {number(result['rss_kb_per_leg'])} kB",
        ]
    )


def options_of(arguments: list[str]) -> argparse.Namespace:
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=(__doc__ or "").split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--url", help="a running node (default: start one here); its CPU and memory are then not measured")
    add("--secret", default=os.environ.get("RELAY_SECRET"), help="that node's secret (default: RELAY_SECRET)")
    add("--legs", type=int, default=100, help="legs in all (default 100)")
    add("--fan-out", type=int, default=0, help="players per publisher (default 0: calls of two legs)")
    add("--profile", choices=("gcm", "cm"), default="gcm", help="AEAD_AES_128_GCM or AES128_CM_SHA1_80")
    add("--seconds", type=float, default=6.0, help="length of one run (default 6)")
    add("--steps", type=int, default=14, help="rates tried at most (default 14)")
    add("--max-pps", type=float, default=500_000.0, help="the search stops here (default 500000)")
    add("--alternations", type=int, default=3, help="latency runs of relay and forwarder each (default 3)")
    add("--setups-per-second", type=float, default=20.0, help="legs a second in the set-up storm; 0 leaves it out")
    add("--sample", type=int, default=8, help="unprotect and time one packet in so many (default 8)")
    add("--no-gso", action="store_true", help="send bursts as single packets")
    add("--cpu", type=int, default=cpus[0], help="the generator's CPU, and the node's")
    add(
        "--worker-cpu", type=int, default=cpus[1] if len(cpus) > 1 else None, help="the worker's CPU (default: another)"
    )
    add("--priority", action="store_true", help="run before everything else on the machine (nice -20, needs root)")
    add("--out", type=Path, default=OUT, help="directory of the report (default benchmarks/out)")
    options = parser.parse_args(arguments)
    if not 0.2 <= options.seconds <= 20:
        # Legs send no consent checks while a forwarder run lasts; consent expires after 30 s (RFC 7675).
        parser.error("--seconds: 0.2 to 20")
    if options.legs < 2 or options.fan_out < 0 or options.steps < 1 or options.sample < 1 or options.alternations < 1:
        parser.error("--legs at least 2; --steps, --sample, --alternations at least 1")
    return options


def main() -> int:
    options = options_of(sys.argv[1:])
    os.sched_setaffinity(0, {options.cpu})
    # A plain SIGTERM would leave the relay behind; as an exception it passes every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.priority:
            first_in_line()
        result = asyncio.run(measure(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except PermissionError as error:
        print(f"--priority needs root: {error}", file=sys.stderr)
        return 1
    except (HandshakeError, aiohttp.ClientError) as error:
        print(f"load test failed: {error}", file=sys.stderr)
        return 1
    say(_summary(result))
    say(f"\n  written to {options.out}: load.json, load-steps.json, load.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
