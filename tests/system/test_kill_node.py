"""kill -9 of a node while it writes, two hundred times on one file: opens clean, nothing acknowledged is lost, no call
is half recorded. Then the whole `relay serve` with its workers, whose parties come back and hear how it ended.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mortal import mortal_plane
from running import Node

KILLS = 200
TESTS = Path(__file__).parent.parent

EVENTS = ("call.created", "call.answered", "call.started", "call.ended", "call.finished")
REASONS = {"cancelled", "rejected", "hangup", "abort"}


class Mortals:
    """The server of lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        search = os.pathsep.join([str(TESTS), str(TESTS / "system"), str(TESTS.parent)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mortal", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": search},
        )  # fmt: skip

    def live(self, seed: int, chance: random.Random) -> tuple[set[str], bool]:
        """One life up to its kill: the rooms it acknowledged, and whether it got as far as making calls."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        lines = self._process.stdout
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        pid = int(lines.readline().removeprefix("born "))
        words: list[list[str]] = []
        if chance.random() < 0.2:  # in the middle of opening and recovering
            pause_s = chance.uniform(0, 0.04)
        else:
            pause_s = chance.uniform(0, 0.004)
            wanted = chance.randrange(1, 80)
            while len(words) < wanted:
                words.append(lines.readline().split())
                assert words[-1] != ["ended"], "a life ended by itself"
        until = time.perf_counter() + pause_s
        while time.perf_counter() < until:
            pass  # finer than a sleep
        os.kill(pid, signal.SIGKILL)
        while not words or words[-1] != ["ended"]:
            words.append(lines.readline().split())
        return {word[1] for word in words if word[0] == "made"}, any(word[0] == "up" for word in words)

    def close(self) -> None:
        self._process.communicate()


class Evidence:
    """What is found in the file after each kill, against what was found before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alive: dict[str, dict[str, Any]] = {}  # calls that the last life left alive
        self.schema: list[tuple[Any, ...]] = []
        self.seen = Counter[str]()

    def look(self, made: set[str]) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            self._schema(connection)
            calls = {
                room: (bool(live), json.loads(view))
                for room, live, view in connection.execute("SELECT room, live, view FROM calls")
            }
            assert made <= set(calls), "an acknowledged call is not on record"
            self._parties(connection, calls)
            told = self._outbox(connection, calls)
            for room, (live, view) in calls.items():
                self._call(live, view, told[room])
            for room, before in self.alive.items():
                self._recovered(before, *calls[room])
            self.alive = {room: view for room, (live, view) in calls.items() if live}
            over = [(room,) for room, (live, _) in calls.items() if not live]
            connection.executemany("DELETE FROM calls WHERE room = ?", over)
            connection.executemany("DELETE FROM call_parties WHERE room = ?", over)
            connection.executemany("DELETE FROM deliveries WHERE json_extract(body, '$.data.roomId') = ?", over)
            connection.execute(
                "UPDATE deliveries SET due_ms = due_ms + 1000000"
            )  # none is sent: they would only cost time
        self.seen.update(calls=len(over), kills=1, acknowledged=len(made))

    def _schema(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        if found and not self.schema:
            self.schema = found
        assert found in ([], self.schema), "all tables or none"

    def _parties(self, connection: sqlite3.Connection, calls: dict[str, Any]) -> None:
        found: dict[str, set[str]] = {}
        for room, party in connection.execute("SELECT room, party FROM call_parties"):
            found.setdefault(room, set()).add(party)
        expected = {
            room: {f"device:{view['caller']['id']}", f"user:{view['listener']['id']}"}
            for room, (_, view) in calls.items()
        }
        assert found == expected

    def _outbox(self, connection: sqlite3.Connection, calls: dict[str, Any]) -> dict[str, Counter[str]]:
        told: dict[str, Counter[str]] = {room: Counter() for room in calls}
        for event, body in connection.execute("SELECT event, body FROM deliveries"):
            message = json.loads(body)
            assert message["event"] == event
            assert message["data"]["roomId"] in calls, "a message about a call that is not on record"
            told[message["data"]["roomId"]][event] += 1
        return told

    def _call(self, live: bool, view: dict[str, Any], told: Counter[str]) -> None:
        """The record and the outbox were written together, so each says what the other says."""
        expected = Counter({"call.created": 1})
        for event, field in (("call.answered", "answeredAt"), ("call.started", "startedAt"), ("call.ended", "endedAt")):
            expected[event] = int(view[field] is not None)
        expected["call.finished"] = int(not live)
        assert told == +expected, (view, told)
        assert (view["state"] == "SETTLED") is (not live)
        assert (view["endReason"] is None) is (view["endedAt"] is None) is live
        assert view["endReason"] in (*REASONS, None)
        times = [view[name] for name in ("createdAt", "answeredAt", "startedAt", "endedAt") if view[name] is not None]
        assert times == sorted(times)
        if view["startedAt"] is None:
            assert view["keepTime"] == 0

    def _recovered(self, before: dict[str, Any], live: bool, after: dict[str, Any]) -> None:
        """A call that an earlier life left alive: as it was, or ended by a later life, with all that it had."""
        if live:
            assert after == before, "nobody touches it but the recovery"
            return
        self.seen["recovered"] += 1
        self.seen["recovered talking"] += before["startedAt"] is not None
        for field in ("createdAt", "answeredAt", "startedAt", "caller", "listener"):
            assert after[field] == before[field]
        assert after["endReason"] == "abort"
        assert after["reason"] == "the node was stopped in the middle of the call"
        assert after["listeners"][0]["outcome"] in ("answered", "notRung")


@pytest.mark.timeout(300)
def test_two_hundred_kills_in_the_middle_of_writing(tmp_path: Path) -> None:
    chance = random.Random(20_250_601)
    mortals = Mortals(tmp_path / "relay.sqlite3")
    evidence = Evidence(mortals.path)
    try:
        mortals_up = 0
        for seed in range(KILLS):
            made, up = mortals.live(seed, chance)
            mortals_up += up
            if mortals_up:  # before, the tables may not be there
                evidence.look(made)
    finally:
        mortals.close()

    async def last_life() -> None:
        base, _ = mortal_plane(str(mortals.path))
        await base.start()
        await base.close()

    asyncio.run(last_life())
    evidence.look(set())
    assert evidence.alive == {}, "a recovery leaves no call alive"
    assert mortals_up > KILLS / 2
    assert evidence.seen["acknowledged"] > KILLS * 10
    assert evidence.seen["recovered"] > KILLS
    assert evidence.seen["recovered talking"] > KILLS / 10


class Guest:
    """A party of a demo node: its token is made anew in each life of the node."""

    def __init__(self, http: aiohttp.ClientSession, kind: str, name: str) -> None:
        self._http = http
        self.kind = kind
        self.name = name
        self.seq = 0
        self.gaps = 0
        self._token = ""

    async def arrive(self, url: str) -> None:
        """Come to a node, perhaps to the next life of the one before."""
        self._url = url
        asked = {"kind": self.kind, "id": self.name, "name": self.name}
        async with self._http.post(f"{url}/demo/token", json=asked) as response:
            self._token = (await response.json())["token"]

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._http.request(method, self._url + path, headers=headers, json=body) as response:
            return response.status, await response.json()

    async def hear(self, until: str) -> list[dict[str, Any]]:
        """Events behind the last one heard, up to the first of that name."""
        heard: list[dict[str, Any]] = []
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._http.ws_connect(f"{self._url}/v1/events?after={self.seq}", headers=headers) as socket:
            while not heard or heard[-1]["eventName"] != until:
                frame = await socket.receive_json(timeout=10)
                if frame.get("type") == "gap":
                    assert (heard, frame["after"]) == ([], self.seq)
                    self.gaps += 1
                else:
                    heard.append(frame)
        self.seq = heard[-1]["seq"]
        return heard


@pytest.mark.timeout(180)
def test_parties_of_a_killed_node_come_back_and_hear_the_end(start_node: Callable[..., Node], tmp_path: Path) -> None:
    serve = ("--workers", "2", "--store", str(tmp_path / "relay.sqlite3"))

    async def main() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            pairs = [(Guest(http, "device", f"d{number}"), Guest(http, "user", f"u{number}")) for number in range(4)]
            on_record: dict[str, str] = {}
            node = await asyncio.to_thread(start_node, *serve)
            for turn in range(5):
                rooms = []
                for number, (device, user) in enumerate(pairs):
                    await device.arrive(node.url)
                    await user.arrive(node.url)
                    rooms.append(await call(device, user))
                    if number % 2:
                        assert (await user.ask("POST", f"/v1/calls/{rooms[-1]}/answer"))[0] == 200
                        assert (await user.hear("hangOnVoip"))[-1]["roomId"] == rooms[-1]
                device, user = pairs[0]
                assert (await device.ask("POST", f"/v1/calls/{rooms[0]}/hangup"))[0] == 200
                await device.hear("finishVoip")
                await user.hear("finishVoip")
                on_record[rooms[0]] = "cancelled"
                on_record.update(dict.fromkeys(rooms[1:], "abort"))
                while (await asyncio.to_thread(node.metrics))["relay_store_waiting"]:
                    pass  # the end of a call is told at once and written soon after
                assert await asyncio.to_thread(node.end, signal.SIGKILL) == -signal.SIGKILL
                node = await asyncio.to_thread(start_node, *serve)
                for number, (device, user) in enumerate(pairs):
                    for guest in (device, user):
                        await guest.arrive(node.url)
                        if number:
                            await ended(guest, rooms[number], turn)
                        status, page = await guest.ask("GET", "/v1/calls?limit=100")
                        assert status == 200
                        assert {call["roomId"]: call["endReason"] for call in page["calls"]} == {
                            room: reason for at, (room, reason) in enumerate(on_record.items()) if at % 4 == number
                        }
                        assert {call["state"] for call in page["calls"]} == {"SETTLED"}

    asyncio.run(main())


async def call(device: Guest, user: Guest) -> str:
    body = {
        "direction": "device_to_user",
        "roomType": "video",
        "caller": {"id": device.name},
        "listener": {"id": user.name},
    }
    status, made = await device.ask("POST", "/v1/calls", body)
    assert status == 201, made
    return str(made["roomId"])


async def ended(guest: Guest, room: str, turn: int) -> None:
    before, gaps = guest.seq, guest.gaps
    heard = [event for event in await guest.hear("finishVoip") if event["roomId"] == room]
    assert [event["eventName"] for event in heard] == ["abortVoip", "endVoip", "finishVoip"], (turn, heard)
    assert heard[0]["seq"] > before
    assert guest.gaps == gaps + 1, "it is told that there may have been more"
    assert heard[1]["data"]["isCaller"] is (guest.kind == "device")
    status, view = await guest.ask("GET", f"/v1/calls/{room}")
    assert (status, view["endReason"]) == (200, "abort")
