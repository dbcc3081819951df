"""`database`: each test runs on SQLite and on PostgreSQL; `postgres`: the server that the tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.databases import Database, PostgresDatabase
from store.postgres import Postgres, binary


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if binary("initdb") is None or binary("postgres") is None:
        pytest.skip("PostgreSQL is missing; on Debian: apt-get install postgresql")
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(tmp_path / "relay.sqlite3")
    return PostgresDatabase(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres_database(postgres: Postgres) -> PostgresDatabase:
    return PostgresDatabase(postgres)
