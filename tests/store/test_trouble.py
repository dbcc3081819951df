"""PostgreSQL's own kinds of trouble: cut connections, a COMMIT whose answer is lost, deadlocks, locks of strangers."""

import asyncio
import threading

import psycopg
import pytest
from sqlalchemy import Connection, text

from relay.config import Config
from relay.errors import ApiError
from relay.store.engine import Store
from relay.store.lane import after_commit
from store.cutting_proxy import cutting
from store.databases import Parts, PostgresDatabase, play, play_two, settled


def add(number: int) -> "Add":
    return Add(number)


class Add:
    """Work that counts how often it was done."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tries = 0

    def __call__(self, connection: Connection) -> int:
        self.tries += 1
        connection.execute(text("INSERT INTO notes VALUES (:number)"), {"number": self.number})
        return self.number


def table(database: PostgresDatabase) -> None:
    database.rows("CREATE TABLE notes (number INTEGER)")  # no key: a repeated insert shows


def read(database: PostgresDatabase) -> list[int]:
    return [row[0] for row in database.rows("SELECT number FROM notes ORDER BY number")]


@pytest.mark.parametrize("seed", range(3))
def test_a_commit_whose_answer_is_lost_is_not_done_twice(postgres_database: PostgresDatabase, seed: int) -> None:
    table(postgres_database)

    async def main() -> None:
        async with cutting(postgres_database.server.port) as proxy:
            address = postgres_database.server.address(postgres_database.name, proxy.port)
            store = Store(Config(demo=True, store=address, store_wait_s=20))
            await store.start()
            heard: list[int] = []

            def work(connection: Connection) -> int:
                after_commit(connection, lambda: heard.append(seed))
                return add(seed)(connection)

            proxy.swallow = 1
            assert await store.run(work) == seed
            assert proxy.swallowed == 1
            assert read(postgres_database) == heard == [seed]
            proxy.swallow = 3
            await asyncio.gather(*(store.run(add(number), lane=str(number)) for number in range(100, 140)))
            assert proxy.swallowed == 4
            assert read(postgres_database) == [seed, *range(100, 140)]
            assert await store.close()

    asyncio.run(main())


def test_connections_that_are_cut_lose_and_double_nothing(postgres_database: PostgresDatabase) -> None:
    table(postgres_database)

    async def main() -> None:
        async with cutting(postgres_database.server.port) as proxy:
            address = postgres_database.server.address(postgres_database.name, proxy.port)
            store = Store(Config(demo=True, store=address, store_wait_s=20))
            await store.start()
            asked = []
            for number in range(400):
                asked.append(asyncio.ensure_future(store.run(add(number), lane=str(number % 7))))
                await asyncio.sleep(0)
                if number % 40 == 0:
                    await asked[number // 2]
                    proxy.cut()
            assert await asyncio.gather(*asked) == list(range(400))
            assert read(postgres_database) == list(range(400))
            assert store.failures > 0
            assert await store.close()

    asyncio.run(main())


def test_a_session_that_the_server_ends_is_made_anew(postgres_database: PostgresDatabase) -> None:
    table(postgres_database)

    async def scene(node: Parts) -> None:
        ended = False

        def work(connection: Connection) -> None:
            nonlocal ended
            add(1)(connection)
            if not ended:
                ended = True
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        await node.store.run(work)
        assert read(postgres_database) == [1]
        assert node.store.failures == 1
        assert node.store.up

    play(postgres_database, scene, store_wait_s=20)


def test_two_nodes_that_want_the_same_rows_in_another_order_both_get_them(
    postgres_database: PostgresDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    table(postgres_database)
    for number in (1, 2):
        postgres_database.rows(f"INSERT INTO notes VALUES ({number})")

    async def scene(one: Parts, other: Parts) -> None:
        meet = threading.Barrier(2)
        tries: list[int] = []

        def crossing(first: int, second: int) -> object:
            def work(connection: Connection) -> None:
                tries.append(first)
                lock = text("SELECT number FROM notes WHERE number = :number FOR UPDATE")
                connection.execute(lock, {"number": first})
                if len(tries) <= 2:
                    meet.wait(10)
                connection.execute(lock, {"number": second})

            return work

        for _ in range(3):
            meet.reset()
            tries.clear()
            await asyncio.gather(
                one.store.run(crossing(1, 2)),  # type: ignore[arg-type]
                other.store.run(crossing(2, 1)),  # type: ignore[arg-type]
            )
            assert len(tries) > 2, "they met"
            assert one.store.up
            assert other.store.up, "a deadlock is no reason to send calls elsewhere"

    play_two(postgres_database, scene, store_wait_s=20)
    assert caplog.records == [], "nor to alarm anybody"


def test_a_lock_of_a_stranger_holds_up_its_own_piece_only(postgres_database: PostgresDatabase) -> None:
    table(postgres_database)
    postgres_database.rows("INSERT INTO notes VALUES (1)")

    async def scene(node: Parts) -> None:
        with psycopg.connect(postgres_database.url) as stranger:
            stranger.execute("SELECT number FROM notes FOR UPDATE")

            def wants(connection: Connection) -> None:
                connection.execute(text("UPDATE notes SET number = 7"))

            with pytest.raises(ApiError) as late:
                await node.store.run(wants)
            assert late.value.code == 1002
            for number in range(2, 5):
                async with asyncio.timeout(20):
                    while True:
                        try:
                            await node.store.run(add(number))
                            break
                        except ApiError:
                            pass  # the lane has not noticed yet that nobody waits for that piece
            stranger.rollback()
        assert read(postgres_database) == [1, 2, 3, 4], "and it is not done later"

    play(postgres_database, scene, store_wait_s=1)


def test_every_lane_comes_back_without_being_asked(postgres_database: PostgresDatabase) -> None:
    """Work that failed and was given up must not leave its lane, and with it the node, marked as failing for ever."""
    table(postgres_database)

    async def scene(node: Parts) -> None:
        postgres_database.server.stop()
        try:
            asked = [node.store.run(add(number), lane=str(number)) for number in range(40)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(outcome, ApiError) and outcome.code == 1002 for outcome in outcomes)
            assert not node.store.up
        finally:
            postgres_database.server.start()
        async with asyncio.timeout(20):
            while not node.store.up:
                await asyncio.sleep(0.01)
        assert node.store.waiting == 0, "given up work does not count for ever"
        assert read(postgres_database) == []
        assert await node.store.run(add(1)) == 1

    play(postgres_database, scene, store_wait_s=0.2)


def test_what_cannot_be_retried_with_success_is_no_trouble(postgres_database: PostgresDatabase) -> None:
    async def scene(node: Parts) -> None:
        for wrong in ("SELECT 1 / 0", "SELECT 'x'::int", "SELECT nothing", "INSERT INTO users VALUES (NULL)"):
            with pytest.raises(Exception, match="psycopg"):
                await node.store.run(lambda connection, wrong=wrong: connection.execute(text(wrong)))  # type: ignore[misc]
        await settled(node.store)
        assert node.store.up
        assert node.store.failures == 0

    play(postgres_database, scene)
