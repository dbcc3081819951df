"""The load test of the call plane: `python -m benchmarks.calls`.

Starts a node on one CPU with a store file, registers devices, has users grant them, and then creates, answers and ends
calls at a fixed rate, each party listening on its own event socket. Calls are begun by a timetable, not after one
another: a node that falls behind is seen as latency, not as a lower rate. Nothing is switched off: tokens, grants,
rate limits, records, and with `--webhook` an outbox that is delivered.

Prints the percentiles of each request and of the ring notice, the node's CPU, and checks afterwards that every call is
on record with its end. Writes `benchmarks/out/calls.json`.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import uvloop
from aiohttp import web

from benchmarks.handshake import HandshakeError
from benchmarks.load import OUT, say
from benchmarks.signalling import Signalling
from benchmarks.target import Relay, first_in_line, pin, usage

MODEL: Final = "bench"
APPID: Final = "wxbench"
TOKEN_S: Final = 3_600
SETTLE_S: Final = 1.0
P99_MS: Final = 100.0  # what the API must keep at the rate asked for


class Client:
    """Everything that asks the node: the operator, devices and users."""

    def __init__(self, http: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._http = http
        self._url = url
        self._secret = secret
        self.took_ms: dict[str, list[float]] = {"create": [], "answer": [], "hang up": [], "ring": []}
        self.failed: Counter[str] = Counter()
        self.rung: dict[str, asyncio.Future[float]] = {}
        self.events = 0

    def token(self, kind: str, name: str) -> str:
        identity = {"device": {"sn": name, "model_id": MODEL}, "user": {"openid": name, "appid": APPID}}.get(kind, {})
        now = int(time.time())
        return jwt.encode({"sub": name, "kind": kind, "iat": now, "exp": now + TOKEN_S, **identity}, self._secret)

    async def ask(self, method: str, path: str, token: str, body: object = None) -> dict[str, Any]:
        """Raises RuntimeError with the answer when the node refuses."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.request(method, self._url + path, json=body, headers=headers) as response:
            answer = await response.json()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path.split('/')[-1]}: {response.status} {answer.get('errCode')}")
            return dict(answer)

    async def timed(self, what: str, method: str, path: str, token: str, body: object = None) -> dict[str, Any]:
        begun = time.perf_counter()
        answer = await self.ask(method, path, token, body)
        self.took_ms[what].append(1000 * (time.perf_counter() - begun))
        return answer

    async def listen(self, token: str) -> None:
        """Read a party's events until the node closes the socket."""
        async with self._http.ws_connect(
            f"{self._url}/v1/events", headers={"Authorization": f"Bearer {token}"}, heartbeat=5
        ) as socket:
            async for message in socket:
                event = json.loads(message.data)
                self.events += "seq" in event
                if event.get("eventName") == "incomingCall":
                    asked = self.rung.get(event["data"]["callerId"])
                    if asked is not None and not asked.done():
                        asked.set_result(time.perf_counter())

    async def prepare(self, pairs: int) -> list[tuple[str, str]]:
        """Known devices, and users who granted them."""
        operator = self.token("operator", "bench")
        await self.ask("PUT", f"/v1/models/{MODEL}", operator, {"appid": APPID, "name": "Bench"})
        made = []
        for number in range(pairs):
            sn, openid = f"SN-{number}", f"user-{number}"
            await self.ask("PUT", f"/v1/devices/{sn}", operator, {"modelId": MODEL, "name": sn})
            ticket = await self.ask("POST", "/v1/tickets", operator, {"sn": sn, "model_id": MODEL})
            asked = {"sn": sn, "modelId": MODEL, "snTicket": ticket["sn_ticket"], "deviceName": sn}
            await self.ask("POST", "/v1/grants", self.token("user", openid), asked)
            made.append((sn, openid))
        return made

    async def call(self, sn: str, openid: str) -> None:
        """One call: created by the device, answered by the user as soon as it rings, ended by the device."""
        device, user = self.token("device", sn), self.token("user", openid)
        ringing = self.rung[sn] = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        body = {"direction": "device_to_user", "roomType": "video", "caller": {"id": sn}, "listener": {"id": openid}}
        try:
            room = (await self.timed("create", "POST", "/v1/calls", device, body))["roomId"]
            self.took_ms["ring"].append(1000 * (await asyncio.wait_for(ringing, 10) - begun))
            await self.timed("answer", "POST", f"/v1/calls/{room}/answer", user, {})
            await self.timed("hang up", "POST", f"/v1/calls/{room}/hangup", device, {})
        except (RuntimeError, aiohttp.ClientError, TimeoutError) as fault:
            self.failed[str(fault) or type(fault).__name__] += 1
        finally:
            del self.rung[sn]


class Target:
    """The webhook's target: takes everything."""

    def __init__(self) -> None:
        self.taken = 0
        self._runner = web.AppRunner(self._app(), access_log=None)

    def _app(self) -> web.Application:
        async def take(request: web.Request) -> web.Response:
            await request.read()
            self.taken += 1
            return web.json_response({"errcode": 0})

        app = web.Application()
        app.router.add_post("/", take)
        return app

    async def start(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        await self._runner.cleanup()


async def measure(options: argparse.Namespace, relay: Relay, store: Path) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    target = Target()
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as http:
        client = Client(http, relay.url, relay.secret)
        await Signalling(http, relay.url, relay.secret, "gcm").ready()
        say(f"registering {options.parties} devices and users ...")
        pairs = await client.prepare(options.parties)
        if options.webhook:
            url = await target.start()
            await client.ask("POST", "/v1/webhooks", client.token("operator", "bench"), {"url": url})
        listening = [
            asyncio.ensure_future(client.listen(client.token(kind, name)))
            for pair in pairs
            for kind, name in zip(("device", "user"), pair, strict=True)
        ]
        await asyncio.sleep(SETTLE_S)
        say(f"{options.rate} calls a second for {options.seconds:g} s ...")
        before, begun = usage(relay.pid), time.perf_counter()
        calls = await _timetable(client, pairs, options)
        took_s = time.perf_counter() - begun
        after = usage(relay.pid)
        await asyncio.sleep(SETTLE_S)
        metrics = await _metrics(http, relay.url)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    if options.webhook:
        await target.stop()
    user_s, system_s = after.cpu_since(before)
    return {
        "machine": f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}",
        "calls": calls,
        "calls_per_second": round(calls / took_s, 1),
        "failed": dict(client.failed),
        "requests": {what: percentiles(times) for what, times in client.took_ms.items()},
        "events": client.events,
        "webhook_messages": target.taken,
        "cpu_pct": round(100 * (user_s + system_s) / took_s, 1),
        "cpu_ms_per_call": round(1000 * (user_s + system_s) / max(1, calls), 2),
        "work_per_transaction": round(metrics["relay_store_work_total"] / metrics["relay_store_transactions_total"], 2),
        "store_busy_pct": round(100 * metrics["relay_store_busy_seconds_total"] / took_s, 1),
        "rss_mb": round(after.rss_kb / 1024, 1),
    }


async def _timetable(client: Client, pairs: list[tuple[str, str]], options: argparse.Namespace) -> int:
    """Begin calls at their times; returns how many."""
    loop = asyncio.get_running_loop()
    begun, turn = loop.time(), itertools.cycle(pairs)
    running: set[asyncio.Task[None]] = set()
    total = int(options.rate * options.seconds)
    for number in range(total):
        delay = begun + number / options.rate - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        task = loop.create_task(client.call(*next(turn)))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return total


async def _metrics(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    async with http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """p50, p90, p99 and the longest, in milliseconds."""
    ordered = sorted(times_ms)
    if not ordered:
        return {}
    at = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in SHARES.items()}
    return {name: round(value, 2) for name, value in at.items()}


SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def recorded(store: Path) -> dict[str, int]:
    """What the store holds once the node has stopped."""
    connection = sqlite3.connect(store)
    try:
        intact = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        ended, live = 0, 0
        for (view,) in connection.execute("SELECT view FROM calls"):
            ended += json.loads(view)["endReason"] is not None
        (live,) = connection.execute("SELECT count(*) FROM calls WHERE live").fetchone()
        return {"intact": int(intact), "ended": ended, "live": live}
    finally:
        connection.close()


def summary(result: dict[str, Any]) -> str:
    rows = [
        "",
        f"  {result['calls']:,} calls at {result['calls_per_second']:g}/s, failed: {result['failed'] or 'none'}",
        "",
        f"  {'ms':<10}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}",
    ]
    for what, at in result["requests"].items():
        rows.append(f"  {what:<10}" + "".join(f"{at.get(name, float('nan')):>9.2f}" for name in SHARES))
    store, cpu = result["store"], result["cpu_pct"]
    batch, busy = result["work_per_transaction"], result["store_busy_pct"]
    intact = "yes" if store["intact"] else "NO"
    return "\n".join(
        [
            *rows,
            "",
            f"  node       {cpu:g} % of one CPU, {result['cpu_ms_per_call']:g} ms a call, {result['rss_mb']:g} MB",
            f"  store      {batch:g} pieces of work a commit, busy {busy:g} %",
            f"  on record  {store['ended']:,} ended, {store['live']} live, intact: {intact}",
        ]
    )


def options_of(arguments: list[str]) -> argparse.Namespace:
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calls",
        description=(__doc__ or "").split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default 100)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--parties", type=int, default=100, help="devices, and as many users (default 100)")
    parser.add_argument("--webhook", action="store_true", help="register a webhook that takes everything")
    parser.add_argument("--cpu", type=int, default=cpus[-1], help="the node's CPU (default: the last)")
    parser.add_argument("--client-cpu", type=int, default=cpus[0], help="the client's CPU (default: the first)")
    parser.add_argument("--priority", action="store_true", help="run before everything else (nice -20, needs root)")
    parser.add_argument("--out", type=Path, default=OUT, help="directory of the report (default benchmarks/out)")
    options = parser.parse_args(arguments)
    if not (0 < options.rate <= 10_000 and 0.1 <= options.seconds <= 600 and 1 <= options.parties <= 10_000):
        parser.error("--rate up to 10000, --seconds 0.1 to 600, --parties 1 to 10000")
    return options


def main() -> int:
    options = options_of(sys.argv[1:])
    os.sched_setaffinity(0, {options.client_cpu})
    if options.priority:
        first_in_line()
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "calls.sqlite3"
        relay = Relay(demo=False, RELAY_STORE=f"sqlite:///{store}", RELAY_WEBHOOK_ALLOW_PRIVATE="true")
        relay.start(options.cpu)
        pin(relay.pid, options.cpu)
        try:
            result = uvloop.run(measure(options, relay, store))
        except (HandshakeError, RuntimeError, aiohttp.ClientError, KeyError) as fault:
            print(f"load test failed: {fault}\n{relay.log()}", file=sys.stderr)
            return 1
        finally:
            relay.stop()
        result |= {"commit": _commit(), "store": recorded(store)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "calls.json").write_text(json.dumps(result, indent=2) + "\n")
    say(summary(result))
    slow = [what for what, at in result["requests"].items() if at.get("p99", 0.0) >= P99_MS]
    lost = result["store"]["ended"] != result["calls"] or not result["store"]["intact"]
    if result["failed"] or slow or lost:
        missed = f"p99 >= {P99_MS:g} ms: {slow or 'none'}, records lost: {'yes' if lost else 'no'}"
        say(f"\n  NOT MET: {result['failed'] or 'none'} failed, {missed}")
        return 1
    say(f"\n  written to {options.out}: calls.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
