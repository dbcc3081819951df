"""A store that is locked, standing still or gone: calls go on, new ones are refused, in the end all is on record."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.databases import Database, PostgresDatabase
from store.outages import Outage, made
from store.served import served

WAIT_S = 0.5


@pytest.fixture(params=["locked", "frozen", "stopped"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    database = (
        Database(tmp_path / "relay.sqlite3")
        if request.param == "locked"
        else PostgresDatabase(request.getfixturevalue("postgres"))
    )
    with made(request.param, database) as outage:
        yield outage


class Ticks:
    """Counts the turns of the loop, about a hundred a second while nothing blocks it."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.count += 1

    def stop(self) -> None:
        self._task.cancel()


def test_calls_go_on_without_the_store_and_are_on_record_afterwards(outage: Outage) -> None:
    database = outage.database

    async def main() -> None:
        async with served(database, store_wait_s=WAIT_S, webhook_give_up_s=86_400) as node:
            hook = {"url": "http://127.0.0.1:9/nobody", "events": ["call.*"]}
            assert (await node.ask("POST", "/v1/webhooks", "operator:vendor", hook))[0] == 201
            lines = {who: await node.listen(who) for who in ("user:ann", "user:bob", "user:cid", "device:door")}
            ringing = await node.room("door", "ann")
            answered = await node.room("gate", "bob")
            refused = await node.room("yard", "cid")
            await node.act(answered, "answer", "user:bob")
            assert await node.ready()
            assert await node.metric("relay_store_up") == 1
            await node.settled()

            outage.begin()
            ticks = Ticks()
            status, body, headers = await node.create("shop", "dan")
            assert (status, body["errCode"]) == (503, 1002)
            assert int(headers["Retry-After"]) >= 1
            # Half of what an idle loop makes of `store_wait_s`; a loop that waited with the store would make none.
            assert ticks.count >= WAIT_S / 0.01 / 2, "the loop stood still"
            ticks.stop()
            await node.until_ready(False)
            assert await node.metric("relay_store_up") == 0

            assert (await node.act(ringing, "answer", "user:ann"))["credential"]
            assert (await node.act(ringing, "join", "device:door"))["role"] == "caller"
            await node.act(refused, "reject", "user:cid")
            await node.act(answered, "hangup", "device:gate")
            await node.act(ringing, "hangup", "user:ann")
            for who, room in (
                ("user:ann", ringing),
                ("device:door", ringing),
                ("user:bob", answered),
                ("user:cid", refused),
            ):
                await lines[who].until(room, "finishVoip")
                seqs = [event["seq"] for event in lines[who].heard]
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            heard = lines["user:ann"].names(ringing)
            assert heard[:2] == ["incomingCall", "hangOnVoip"]
            assert heard[-2:] == ["endVoip", "finishVoip"]
            status, body, _ = await node.ask("GET", f"/v1/calls/{ringing}", "user:ann")
            assert (status, body["state"]) == (200, "SETTLED"), "what ended lately is read from memory"
            late = await asyncio.gather(*(node.create(f"d{number}", f"u{number}") for number in range(30)))
            assert {(status, body["errCode"]) for status, body, _ in late} == {(503, 1002)}

            outage.end()
            await node.until_ready(True)
            assert await node.metric("relay_store_up") == 1
            await node.settled()
            history = await node.history()
            assert set(history) == {ringing, answered, refused}, "what was refused is not on record"
            assert all(call["state"] == "SETTLED" for call in history.values())
            assert history[ringing]["answeredAt"] >= history[ringing]["createdAt"]
            assert history[refused]["endReason"] == "rejected"
            assert database.value("SELECT count(*) FROM call_parties") == 6
            told = Counter(row[0] for row in database.rows("SELECT event FROM deliveries"))
            assert told == {"call.created": 3, "call.answered": 2, "call.ended": 3, "call.finished": 3}
            again = await node.room("shop", "dan")
            assert again in await node.history()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_a_create_that_was_refused_leaves_no_call(outage: Outage, seed: int) -> None:
    """The store goes away in the middle of many creates. Each one that was acknowledged is on record, no other is."""
    chance = random.Random(seed)

    async def main() -> None:
        async with served(outage.database, store_wait_s=WAIT_S, rate_burst=10_000) as node:
            hook = {"url": "http://127.0.0.1:9/nobody", "events": ["call.created"]}
            await node.ask("POST", "/v1/webhooks", "operator:vendor", hook)
            creates = []
            when = chance.randrange(60)
            for number in range(60):
                creates.append(asyncio.create_task(node.create(f"d{number}", f"u{number}")))
                if number == when:
                    for _ in range(chance.randrange(40)):
                        await asyncio.sleep(0)
                    outage.begin()
                await asyncio.sleep(0)
            outcomes = await asyncio.gather(*creates)
            made = {body["roomId"] for status, body, _ in outcomes if status == 201}
            assert {(status, body["errCode"]) for status, body, _ in outcomes if status != 201} <= {(503, 1002)}
            assert len(made) < 60
            outage.end()
            await node.until_ready(True)
            for _ in range(2):  # what was undone was handed in when the work before it was settled
                await node.settled()
            history = await node.history()
            assert set(history) == made
            assert len(node.node.calls) == len(made)
            assert outage.database.value("SELECT count(*) FROM call_parties") == 2 * len(made)
            assert outage.database.value("SELECT count(*) FROM deliveries") == len(made)

    asyncio.run(main())


@pytest.fixture(params=["locked", "blocked"])
def hindrance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    database = (
        Database(tmp_path / "relay.sqlite3")
        if request.param == "locked"
        else PostgresDatabase(request.getfixturevalue("postgres"))
    )
    asyncio.run(opened(database))  # its tables are what is held
    with made(request.param, database) as outage:
        yield outage


async def opened(database: Database) -> None:
    async with served(database):
        pass


def test_a_slow_store_delays_calls_and_loses_none(hindrance: Outage) -> None:
    async def main() -> None:
        async with served(hindrance.database, store_wait_s=20, rate_burst=10_000) as node:
            made: list[str] = []

            async def life(number: int) -> None:
                for turn in range(4):
                    room = await node.room(f"d{number}", f"u{number}t{turn}")
                    made.append(room)
                    await node.act(room, "answer", f"user:u{number}t{turn}")
                    await node.act(room, "hangup", f"device:d{number}")

            lives = [asyncio.create_task(life(number)) for number in range(10)]
            while not all(task.done() for task in lives):
                hindrance.begin()
                await asyncio.sleep(0.1)
                hindrance.end()
                await asyncio.sleep(0.01)
            await asyncio.gather(*lives)
            await node.settled()
            history = await node.history()
            assert set(history) == set(made)
            assert len(made) == 40
            for call in history.values():
                assert (call["state"], call["endReason"]) == ("SETTLED", "abort") or call["endReason"] == "cancelled"
                assert call["createdAt"] <= call["answeredAt"] <= call["endedAt"]

    asyncio.run(main())


def test_a_node_stops_in_time_though_its_store_is_down(outage: Outage) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with served(outage.database, store_wait_s=WAIT_S) as node:
            for number in range(5):
                await node.room(f"d{number}", f"u{number}")
            began = loop.time()
            await node.node.stop()
            with_store = loop.time() - began
        async with served(outage.database, store_wait_s=WAIT_S) as node:
            rooms = {await node.room(f"e{number}", f"v{number}") for number in range(5)}
            outage.begin()
            began = loop.time()
            await node.node.stop()
            assert loop.time() - began < with_store + 3, "each step of stopping has its limit"
            outage.end()
        async with served(outage.database, store_wait_s=20) as node:
            history = await node.history()
            for room in rooms:
                assert history[room]["state"] == "SETTLED", "the next life ends what the last one could not write"

    asyncio.run(main())
