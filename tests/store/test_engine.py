"""The engine's promises: order, one fault undoes one piece, the commit comes first, waiting has bounds."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from relay.errors import ApiError
from relay.store.engine import Store
from relay.store.lane import after_commit
from store.databases import Database, Parts, play, settled


class Notes:
    """A table of its own, in which the tests' work leaves numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.rows("CREATE TABLE notes (at INTEGER PRIMARY KEY, number INTEGER)" if database.kind == "sqlite"
                      else "CREATE TABLE notes (at SERIAL PRIMARY KEY, number INTEGER)")  # fmt: skip

    def write(self, number: int, fault: Exception | None = None) -> "Write":
        return Write(number, fault)

    def read(self) -> list[int]:
        return [row[0] for row in self._database.rows("SELECT number FROM notes ORDER BY at")]


class Write:
    def __init__(self, number: int, fault: Exception | None) -> None:
        self.number = number
        self.fault = fault
        self.tries = 0

    def __call__(self, connection: Connection) -> int:
        self.tries += 1
        connection.execute(text("INSERT INTO notes (number) VALUES (:number)"), {"number": self.number})
        if self.fault is not None:
            raise self.fault
        return self.number


@contextmanager
def held(store: Store, lane: str = "") -> Iterator[threading.Event]:
    """The lane is busy with one piece of work until the event is set, or the end of the block."""
    gate = threading.Event()
    store.later(lambda _connection: gate.wait(20), lane)
    try:
        yield gate
    finally:
        gate.set()


@pytest.fixture
def notes(database: Database) -> Notes:
    return Notes(database)


def test_a_result_comes_after_its_commit(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        for number in range(20):
            assert await node.store.run(notes.write(number), lane=str(number)) == number
            assert number in notes.read()

    play(database, scene)


def test_work_of_one_lane_is_done_in_order(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        asked = []
        with held(node.store, "a"):
            for number in range(600):  # more than a batch
                if number % 3:
                    node.store.later(notes.write(number), "a")
                else:
                    asked.append(asyncio.ensure_future(node.store.run(notes.write(number), "a")))
                    await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == list(range(0, 600, 3))
        await settled(node.store)
        assert notes.read() == list(range(600))
        assert node.store.transactions < 20, "waiting work shares transactions"

    play(database, scene)


def test_a_refusal_undoes_its_own_piece_alone(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        with held(node.store):
            asked = [
                asyncio.ensure_future(node.store.run(notes.write(number, ValueError(number) if number % 2 else None)))
                for number in range(10)
            ]
            await asyncio.sleep(0)
        for number, outcome in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
            assert isinstance(outcome, ValueError) if number % 2 else outcome == number
        assert notes.read() == [0, 2, 4, 6, 8]

    play(database, scene)


def test_a_fault_of_later_work_is_logged_and_costs_nothing_else(
    database: Database, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(node: Parts) -> None:
        node.store.later(notes.write(1, ValueError("odd")))
        node.store.later(notes.write(2))
        await settled(node.store)
        assert notes.read() == [2]
        assert node.store.up

    play(database, scene)
    assert [record.message for record in caplog.records] == ["a record could not be written"]


def test_a_wrong_statement_is_its_own_fault_and_blocks_nobody(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        with pytest.raises(Exception, match="nowhere"):
            await node.store.run(lambda connection: connection.execute(text("SELECT * FROM nowhere")))
        assert await node.store.run(notes.write(1)) == 1
        assert node.store.up
        assert node.store.failures == 0

    play(database, scene)


def test_beyond_the_waiting_limit_run_refuses_and_later_does_not(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        with held(node.store):
            for number in range(5):
                node.store.later(notes.write(number))
            with pytest.raises(ApiError) as refused:
                await node.store.run(notes.write(98))
            assert (refused.value.status, refused.value.code) == (503, 1002)
            assert node.store.refused == 1
            node.store.later(notes.write(5))
        await settled(node.store)
        assert await node.store.run(notes.write(6)) == 6, "there is room again"
        assert notes.read() == list(range(7))

    play(database, scene, store_queue=6)


def test_who_waits_too_long_hears_503_and_its_work_is_not_done(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        undone = notes.write(99)
        with held(node.store):
            with pytest.raises(ApiError) as late:
                await node.store.run(notes.write(1), undo=undone)
            assert (late.value.status, late.value.code) == (503, 1002)
            assert not node.store.up, "a lane that hangs is a store that is down"
        await settled(node.store)
        assert await node.store.run(notes.write(2)) == 2
        assert node.store.up
        assert notes.read() == [2]
        assert undone.tries == 0, "what was never done need not be undone"

    play(database, scene, store_wait_s=0.1)


def test_work_that_was_under_way_is_undone_after_it(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        gate = threading.Event()

        def slow(connection: Connection) -> None:
            notes.write(1)(connection)
            gate.wait(20)

        with pytest.raises(ApiError):
            await node.store.run(slow, "a", undo=notes.write(2))
        gate.set()
        await settled(node.store)
        await settled(node.store)  # the undoing was handed in when the work was settled
        assert notes.read() == [1, 2]

    play(database, scene, store_wait_s=0.1)


def test_a_waiter_that_goes_away_leaves_nothing(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        with held(node.store):
            waiter = asyncio.ensure_future(node.store.run(notes.write(1)))
            await asyncio.sleep(0)
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
        await settled(node.store)
        assert notes.read() == []

    play(database, scene)


def test_a_result_that_came_as_its_waiter_left_is_undone(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        waiter: asyncio.Future[int] = asyncio.ensure_future(node.store.run(notes.write(1), undo=notes.write(2)))
        await asyncio.sleep(0)
        while node.store.waiting:  # in the turn of the loop that settles it, before the waiter runs
            await asyncio.sleep(0)
        waiter.cancel()
        outcome = (await asyncio.gather(waiter, return_exceptions=True))[0]
        await settled(node.store)
        assert notes.read() == ([1] if outcome == 1 else [1, 2])

    play(database, scene)


def test_after_commit_runs_once_in_the_loop_and_never_for_a_refusal(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        heard: list[tuple[int, threading.Thread]] = []

        def work(number: int, fault: Exception | None = None) -> object:
            def do(connection: Connection) -> None:
                after_commit(connection, lambda: heard.append((number, threading.current_thread())))
                notes.write(number, fault)(connection)

            return node.store.later(do)

        for number in range(6):
            work(number, ValueError("no") if number % 2 else None)
        await settled(node.store)
        assert heard == [(number, threading.main_thread()) for number in (0, 2, 4)]

    play(database, scene)


def test_close_writes_what_waits(database: Database, notes: Notes) -> None:
    async def scene(node: Parts) -> None:
        for number in range(1000):
            node.store.later(notes.write(number), str(number))
        assert await node.store.close(20)
        assert sorted(notes.read()) == list(range(1000))
        node.store.later(notes.write(1000))
        with pytest.raises(ApiError):
            await node.store.run(notes.write(1001))
        assert len(notes.read()) == 1000

    play(database, scene)


def test_close_does_not_wait_for_ever(database: Database, notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(node: Parts) -> None:
        with held(node.store):
            node.store.later(notes.write(1))
            assert not await node.store.close(0.1)

    play(database, scene)
    assert caplog.records[-1].message == "the node stops with records the store did not take"
