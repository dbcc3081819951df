"""Every flow of plugin-interface §2.5 once more, from outside: HTTP, WebSocket, ICE and DTLS against a running node.

The table is that of `tests/calls/flows.py`. All flows run at the same time on one node whose timers are short; each is
then judged by a test of its own. What depends on real time (seconds of talk) must agree with the call's record.
"""

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import uvloop
from running import STOP_S, Node

from benchmarks.handshake import Certificate, Leg, Offer
from relay.calls.call import Side

sys.path.insert(0, str(Path(__file__).parents[1]))

from calls.flows import CALLER, FLOWS, LISTENER, PAGE_FIELDS, Flow, Place, assert_envelopes, expected

API_KEY = "k" * 40
# Long enough for a handshake on a busy machine, short enough to wait for.
SETTINGS = f"""
join_s = 6
wait_s = 2
consent_s = 2
api_keys = ["vendor:{API_KEY}"]
anonymous_rate_burst = 10000
"""
RING_S = 5.0
LIMIT_S = 1.0
CONSENT_PAUSE_S = 0.4  # well below consent_s
AT_ONCE = 8  # flows that do something other than wait
PATIENCE_S = 25.0
KINDS = {"device_to_user": ("device", "user"), "user_to_device": ("user", "device")}


class Line:
    """One party's event socket, from before the call."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._news = asyncio.Condition()
        self._beats = 0
        self.frames: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            frame = json.loads(message.data)
            async with self._news:
                if frame.get("type") == "heartbeat":
                    self._beats += 1
                else:
                    self.frames.append(frame)
                self._news.notify_all()

    async def heard(self, name: str, room: str) -> None:
        """Wait for an event of a call."""

        def there() -> bool:
            return any(frame["eventName"] == name and frame["roomId"] == room for frame in self.frames)

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(there)

    async def caught_up(self) -> None:
        """Wait until everything the node has said so far is here: it answers in order."""
        beats = self._beats
        await self._socket.send_str('{"type":"heartbeat"}')
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self._beats > beats)

    async def close(self) -> None:
        self._reading.cancel()
        await self._socket.close()


@dataclass
class Outcome:
    """What came of a flow."""

    room: str = ""
    view: dict[str, Any] = field(default_factory=dict)
    frames: dict[Side, list[dict[str, Any]]] = field(default_factory=dict)
    ids: dict[Side, str] = field(default_factory=dict)


class Player:
    """Plays one script with two real clients."""

    def __init__(self, http: aiohttp.ClientSession, url: str, certificate: Certificate, number: int, way: str) -> None:
        self._http = http
        self._url = url
        self._certificate = certificate
        self._way = way
        self._kinds = dict(zip((CALLER, LISTENER), KINDS[way], strict=True))
        self._ids = {side: f"{side}-{number}" for side in Side}
        self._third = f"third-{number}"
        self._tokens: dict[Side, str] = {}
        self._credentials: dict[Side, str] = {}
        self._lines: dict[Side, Line] = {}
        self._legs: dict[Side, Leg] = {}
        self._alive: dict[Side, asyncio.Task[None]] = {}
        self._flow: Flow
        self.room = ""

    async def play(self, flow: Flow, working: asyncio.Semaphore) -> Outcome:
        self._flow = flow
        async with contextlib.AsyncExitStack() as stack:
            for side, name in ((CALLER, "Front door"), (LISTENER, "Ann")):
                self._tokens[side] = await self._token(self._kinds[side], self._ids[side], name)
                self._lines[side] = Line(await self._listen(self._tokens[side]))
                stack.push_async_callback(self._lines[side].close)
            stack.push_async_callback(self._leave)
            for verb, *arguments in flow.script:
                async with contextlib.nullcontext() if verb in ("timer", "vanish") else working:
                    await getattr(self, verb)(*arguments)
            for side, events in ((CALLER, flow.caller), (LISTENER, flow.listener)):
                if events:
                    await self._lines[side].heard("finishVoip", self.room)
            for line in self._lines.values():
                await line.caught_up()
            return await self._outcome()

    async def _outcome(self) -> Outcome:
        outcome = Outcome(self.room, ids=self._ids)
        for side, line in self._lines.items():
            outcome.frames[side] = [frame for frame in line.frames if frame["roomId"] == self.room]
        if self.room:
            _, outcome.view = await self._ask("GET", f"/v1/calls/{self.room}", self._tokens[CALLER])
        return outcome

    async def _leave(self) -> None:
        for task in self._alive.values():
            task.cancel()
        for leg in self._legs.values():
            leg.sock.close()

    # --- the verbs of flows.py ---

    async def call(self) -> None:
        status, made = await self._create()
        assert status == 201, made
        self.room = made["roomId"]
        self._credentials[CALLER] = made["credential"]

    async def call_refused(self, code: int) -> None:
        status, refusal = await self._create()
        assert status >= 400
        assert refusal["errCode"] == code

    async def occupy(self, side: Side) -> None:
        kind, other = self._kinds[side], "user" if self._kinds[side] == "device" else "device"
        token = await self._token(other, self._third, "Third")
        body = {
            "direction": f"{other}_to_{kind}", "roomType": "voice",
            "caller": {"id": self._third}, "listener": {"id": self._ids[side]},
        }  # fmt: skip
        status, made = await self._ask("POST", "/v1/calls", token, json=body)
        assert status == 201, made
        await self._lines[side].heard("incomingCall", made["roomId"])

    async def join(self, side: Side) -> None:
        offer = Offer(self._certificate, "gcm", "sendrecv")
        headers = {"Content-Type": "application/sdp"}
        status, answer = await self._ask(
            "POST", f"/v1/calls/{self.room}/legs", self._credentials[side], data=str(offer), headers=headers
        )
        assert status == 201, answer
        leg = self._legs[side] = await offer.connect(answer, host=urlsplit(self._url).hostname)
        self._alive[side] = asyncio.create_task(_consent(leg))
        if side is CALLER:
            await self._lines[CALLER].heard("joinedRoomByCaller", self.room)
        if len(self._legs) == 2:
            for line in self._lines.values():
                await line.heard("startVoip", self.room)
        elif side is LISTENER:
            async with asyncio.timeout(PATIENCE_S):
                while await self._state() != "LISTENER_WAITING":
                    await asyncio.sleep(0.02)

    async def answer(self) -> None:
        status, answered = await self._ask("POST", f"/v1/calls/{self.room}/answer", self._tokens[LISTENER])
        assert status == 200, answered
        self._credentials[LISTENER] = answered["credential"]

    async def answer_too_late(self) -> None:
        status, refusal = await self._ask("POST", f"/v1/calls/{self.room}/answer", self._tokens[LISTENER])
        assert (status, refusal) == (409, {"errCode": 2000, "errMsg": "retry join but voip is end"})

    async def reject(self, status: str) -> None:
        await self._act(LISTENER, "reject", {"status": status})

    async def hang_up(self, side: Side | None, origin: str) -> None:
        await self._act(side, "hangup", {"origin": origin})

    async def fail(self, side: Side, text: str) -> None:
        await self._act(side, "fail", {"errMsg": text})

    async def vanish(self, side: Side) -> None:
        self._alive[side].cancel()
        self._legs[side].sock.close()

    async def talk(self, seconds: float) -> None:
        """Real time passes by itself; how long they talked is compared with the record."""

    async def timer(self, seconds: float) -> None:
        await self._lines[CALLER].heard("endVoip", self.room)

    # --- HTTP ---

    async def _create(self) -> tuple[int, Any]:
        body: dict[str, Any] = {
            "direction": self._way,
            "roomType": "video",
            "caller": {"id": self._ids[CALLER], "name": "Front door"},
            "listener": {"id": self._ids[LISTENER], "name": "Ann", "cameraStatus": 1},
            "customQuery": "a=1",
        }
        body |= {"ring": {"ringTimeout": RING_S}, "limit": {"timeLimit": LIMIT_S}}.get(self._flow.timed, {})
        return await self._ask("POST", "/v1/calls", self._tokens[CALLER], json=body)

    async def _act(self, side: Side | None, verb: str, body: dict[str, str]) -> None:
        token = API_KEY if side is None else self._tokens[side]
        status, done = await self._ask("POST", f"/v1/calls/{self.room}/{verb}", token, json=body)
        assert (status, done) == (200, {"roomId": self.room})

    async def _state(self) -> str:
        return str((await self._ask("GET", f"/v1/calls/{self.room}", self._tokens[CALLER]))[1]["state"])

    async def _token(self, kind: str, identity: str, name: str) -> str:
        body = {"kind": kind, "id": identity, "name": name}
        status, answer = await self._ask("POST", "/demo/token", None, json=body)
        assert status == 200, answer
        return str(answer["token"])

    async def _listen(self, token: str) -> aiohttp.ClientWebSocketResponse:
        return await self._http.ws_connect(f"{self._url}/v1/events", headers={"Authorization": f"Bearer {token}"})

    async def _ask(self, method: str, path: str, token: str | None, **more: Any) -> tuple[int, Any]:
        headers = {**more.pop("headers", {}), **({} if token is None else {"Authorization": f"Bearer {token}"})}
        async with self._http.request(method, self._url + path, headers=headers, **more) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())


async def _consent(leg: Leg) -> None:
    """A peer that lives says so (RFC 7675)."""
    for request in itertools.cycle(leg.consents):
        with contextlib.suppress(BlockingIOError):
            leg.sock.send(request)
        await asyncio.sleep(CONSENT_PAUSE_S)


@contextlib.asynccontextmanager
async def _clients() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield http


async def _play_all(url: str) -> dict[tuple[str, str], Outcome | BaseException]:
    working = asyncio.Semaphore(AT_ONCE)
    plays = sorted(itertools.product(FLOWS, KINDS), key=lambda play: not {"timer", "vanish"} & _verbs(play[0]))
    async with _clients() as http:
        certificate = Certificate()
        players = [Player(http, url, certificate, number, way) for number, (_, way) in enumerate(plays)]
        results = await asyncio.gather(
            *(player.play(flow, working) for player, (flow, _) in zip(players, plays, strict=True)),
            return_exceptions=True,
        )
    return {(flow.name, way): result for (flow, way), result in zip(plays, results, strict=True)}


def _verbs(flow: Flow) -> set[str]:
    return {step[0] for step in flow.script}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Outcome | BaseException]]:
    folder = tmp_path_factory.mktemp("flows")
    (folder / "relay.toml").write_text(SETTINGS)
    node = Node(["--workers", "1", "--config", str(folder / "relay.toml")], folder / "node.log")
    try:
        yield uvloop.run(_play_all(node.url))
        for number in (signal.SIGTERM, signal.SIGTERM):  # the second one ends the calls that only ring
            node.process.send_signal(number)
            with contextlib.suppress(Exception):
                node.process.wait(1)
        node.process.wait(STOP_S)
        assert "Traceback" not in node.log(), node.log()
    finally:
        node.process.kill()
        node.process.wait()


@pytest.mark.parametrize("way", KINDS)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_both_sides_hear_exactly_this(
    flow: Flow, way: str, outcomes: dict[tuple[str, str], Outcome | BaseException]
) -> None:
    outcome = outcomes[flow.name, way]
    if isinstance(outcome, BaseException):
        raise outcome
    view = outcome.view
    keep = next((f["data"]["keepTime"] for f in outcome.frames[CALLER] if f["eventName"] == "endVoip"), 0)
    values = {
        Place.CALLER_ID: outcome.ids[CALLER], Place.CALLER_KIND: KINDS[way][0],
        Place.LISTENER_ID: outcome.ids[LISTENER], Place.LISTENER_KIND: KINDS[way][1],
        Place.KEEP: keep, Place.SETTLED: view.get("keepTime"), Place.START: view.get("startedAt"),
        Place.RING: RING_S if flow.timed == "ring" else 60.0, Place.LIMIT: LIMIT_S if flow.timed == "limit" else None,
        Place.BUSINESS: 1 if way == "device_to_user" else 2,
    }  # fmt: skip
    for side, events in ((CALLER, flow.caller), (LISTENER, flow.listener)):
        frames = outcome.frames[side]
        if side is LISTENER and KINDS[way][1] == "device" and frames:
            page = {name: frames[0]["data"].pop(name) for name in PAGE_FIELDS}
            assert parse_qs(urlsplit(page["path"]).query)["groupId"] == [outcome.room]
        assert [(frame["eventName"], frame["data"]) for frame in frames] == expected(events, values)
        assert_envelopes(frames, outcome.room)
    if flow.end is None:
        assert not view, "there is no call"
        return
    assert (view["state"], view["endReason"]) == ("SETTLED", flow.end)
    talked_s = (view["endedAt"] - view["startedAt"]) / 1000 if view["startedAt"] is not None else 0.0
    assert 0 <= view["keepTime"] <= keep <= talked_s + 0.1
    if flow.timed == "limit":
        assert keep == view["keepTime"] == LIMIT_S
