"""Opening a store: a new one, older ones with their data, newer ones, two nodes at once, and what cannot be opened."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, Boolean, Connection, Integer, Table, inspect

from relay.config import Config
from relay.errors import ApiError
from relay.store.database import StoreError, address, make_engine
from relay.store.engine import Store
from relay.store.schema import METADATA, STEPS, VERSION, migrate
from store.databases import Database, PostgresDatabase, nodes
from store.postgres import Postgres


@contextmanager
def connected(database: Database) -> Iterator[Connection]:
    engine = make_engine(address(database.config()))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


async def opened(database: Database) -> None:
    async with nodes(database):
        pass


def row(table: Table, number: int) -> dict[str, Any]:
    """A row that fills every column."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if isinstance(column.type, Boolean):
            values[column.name] = bool(number % 2)
        elif isinstance(column.type, BigInteger | Integer):
            values[column.name] = number
        else:
            values[column.name] = f"{column.name[:8]}-{number}-ü"
    return values


TABLES = [step for steps in STEPS for step in steps if isinstance(step, Table)]


def test_every_table_has_its_step() -> None:
    assert {table.name for table in TABLES} | {VERSION.name} == set(METADATA.tables)


def test_a_new_store_has_every_column_and_index(database: Database) -> None:
    asyncio.run(opened(database))
    with connected(database) as connection:
        looked = inspect(connection)
        for table in TABLES:
            assert [column["name"] for column in looked.get_columns(table.name)] == [c.name for c in table.columns]
            made = {index["name"] for index in looked.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= made
    assert database.value("SELECT version FROM schema_version") == len(STEPS)


@pytest.mark.parametrize("version", range(len(STEPS) + 1))
def test_an_older_store_is_brought_up_to_date_with_its_data(database: Database, version: int) -> None:
    older = [step for steps in STEPS[:version] for step in steps if isinstance(step, Table)]
    with connected(database) as connection:
        assert migrate(connection, STEPS[:version]) == version
        with connection.begin():
            for table in older:
                connection.execute(table.insert(), [row(table, number) for number in range(1, 4)])
    for _ in range(2):  # the second time there is nothing to do
        asyncio.run(opened(database))
        assert database.rows("SELECT version FROM schema_version") == [(len(STEPS),)]
    with connected(database) as connection:
        for table in TABLES:
            kept = [dict(found._mapping) for found in connection.execute(table.select())]
            expected = [row(table, number) for number in range(1, 4)] if table in older else []
            assert sorted(kept, key=repr) == sorted(expected, key=repr), table.name


def test_a_step_may_be_a_statement(database: Database) -> None:
    steps = (*STEPS, ("ALTER TABLE users ADD COLUMN mood TEXT DEFAULT 'fine'", "UPDATE users SET mood = 'good'"))
    with connected(database) as connection:
        migrate(connection)
        with connection.begin():
            connection.execute(METADATA.tables["users"].insert(), row(METADATA.tables["users"], 1))
        assert migrate(connection, steps) == len(STEPS) + 1
    assert database.rows("SELECT mood FROM users") == [("good",)]


def test_a_step_that_fails_leaves_the_store_as_it_was(database: Database) -> None:
    broken = (*STEPS, ("ALTER TABLE users ADD COLUMN mood TEXT", "ALTER TABLE nowhere ADD COLUMN mood TEXT"))
    with connected(database) as connection:
        migrate(connection)
        with pytest.raises(sqlalchemy.exc.DBAPIError):
            migrate(connection, broken)
    assert database.value("SELECT version FROM schema_version") == len(STEPS)
    with connected(database) as connection:
        assert "mood" not in {column["name"] for column in inspect(connection).get_columns("users")}
    asyncio.run(opened(database))


def test_a_store_of_a_later_program_is_left_alone(database: Database) -> None:
    asyncio.run(opened(database))
    database.rows("UPDATE schema_version SET version = 99")
    with pytest.raises(
        StoreError, match=f"its schema has version 99, this program knows {len(STEPS)}; run a newer relay"
    ):
        asyncio.run(opened(database))
    assert database.value("SELECT version FROM schema_version") == 99


def test_nodes_that_start_together_share_the_work(postgres_database: PostgresDatabase) -> None:
    async def main() -> None:
        stores = [Store(postgres_database.config(store_wait_s=20)) for _ in range(6)]
        await asyncio.gather(*(store.start() for store in stores))
        for store in stores:
            assert store.up
            assert await store.close()

    asyncio.run(main())
    assert postgres_database.rows("SELECT version FROM schema_version") == [(len(STEPS),)]


def test_a_file_belongs_to_one_running_node(tmp_path: Path) -> None:
    database = Database(tmp_path / "deep" / "er" / "relay.sqlite3")  # the directory is made

    async def main() -> None:
        async with nodes(database):
            with pytest.raises(StoreError, match="belongs to another running node"):
                await Store(database.config()).start()
        await opened(database)

    asyncio.run(main())


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        asyncio.run(opened(Database(path)))
    assert path.read_text().startswith("Dear Sir")


def test_a_store_that_another_program_holds_at_the_start(tmp_path: Path) -> None:
    database = Database(tmp_path / "relay.sqlite3")
    asyncio.run(opened(database))
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked"):
        asyncio.run(opened(database))
    other.close()
    asyncio.run(opened(database))


@pytest.mark.parametrize("text", ["mysql://a/b", "oracle://", "://"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(StoreError, match="store:"):
        Store(Config(demo=True, store=text))


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    store = Store(Config(demo=True, store="postgresql://relay:geheim@127.0.0.1:1/relay"))
    with pytest.raises(StoreError) as refused:
        asyncio.run(store.start())
    assert "127.0.0.1:1" in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_a_name_belongs_to_one_running_node(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.database.NAME_WAIT_S", 0.2)

    async def scene() -> None:
        config = postgres_database.config()
        first, second, other = Store(config, "edge-1"), Store(config, "edge-1"), Store(config, "edge-2")
        await first.start()
        await other.start()
        with pytest.raises(StoreError, match=r"edge-1.*RELAY_NODE"):
            await second.start()
        await first.close()
        await second.start()
        await second.close()
        await other.close()

    asyncio.run(scene())


def test_a_name_that_was_lost_with_its_connection_is_taken_again_or_missed(
    postgres: Postgres, postgres_database: PostgresDatabase
) -> None:
    async def scene() -> None:
        config = postgres_database.config()
        first, second = Store(config, "edge-1"), Store(config, "edge-1")
        await first.start()
        postgres.stop()
        postgres.start()
        await first.check_name()
        await first.run(lambda connection: connection.execute(sqlalchemy.text("SELECT 1")).scalar())
        assert first.up, "nobody took it, so it is ours again"
        postgres.stop()
        postgres.start()
        await second.start()  # quicker than the first could look
        await first.check_name()
        assert not first.up
        with pytest.raises(ApiError):
            await first.run(lambda connection: connection.execute(sqlalchemy.text("SELECT 1")).scalar())
        await second.close()
        await first.check_name()
        await first.run(lambda connection: connection.execute(sqlalchemy.text("SELECT 1")).scalar())
        assert first.up, "and again, once it is free"
        await first.close()

    asyncio.run(scene())
