"""Tables of the store, and the steps that bring an older database up to them.

Times are Unix milliseconds, texts are UTF-8, JSON is text: the same columns on SQLite and PostgreSQL. A step is
applied once, in order, in one transaction with the version it leads to; a database newer than this program is left
alone.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

METADATA = MetaData()
MIGRATION_LOCK = 0x52454C41  # any number of our own: PostgreSQL's advisory lock while nodes start together

# SQLite counts rows only in a column that is INTEGER by name.
ROW_ID = BigInteger().with_variant(Integer, "sqlite")

VERSION = Table("schema_version", METADATA, Column("version", Integer, nullable=False))

NODES = Table(
    "nodes",
    METADATA,
    Column("node", String(128), primary_key=True),
    Column("seen_ms", BigInteger, nullable=False),
)

MODELS = Table(
    "models",
    METADATA,
    Column("model_id", String(128), primary_key=True),
    Column("appid", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("call_needs_grant", Boolean, nullable=False),
    Column("charge_types", String(64), nullable=False),  # parted by commas
    Column("in_arrears", Boolean, nullable=False),
)

DEVICES = Table(
    "devices",
    METADATA,
    Column("sn", String(128), primary_key=True),
    Column("model_id", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("kind", String(16), nullable=False),  # wmpf, device or cloud
    Column("secret_hash", String(64), nullable=False),
    Column("license_expires_ms", BigInteger),  # NULL: never activated
    Column("group_id", String(64), index=True),
    Column("profile", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("registered_ms", BigInteger),
    Column("tokens_from_ms", BigInteger, nullable=False),  # older tokens were another owner's
)

USERS = Table(
    "users",
    METADATA,
    Column("openid", String(128), primary_key=True),
    Column("appid", String(128), nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)

TICKETS = Table(
    "tickets",
    METADATA,
    Column("ticket_hash", String(64), primary_key=True),
    Column("sn", String(128), nullable=False),
    Column("model_id", String(128), nullable=False),
    Column("purpose", String(16), nullable=False),  # grant or register
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

GROUPS = Table(
    "device_groups",
    METADATA,
    Column("group_id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("model_id", String(128), nullable=False),
    Column("max_devices", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

GRANTS = Table(
    "grants",
    METADATA,
    Column("grant_id", String(64), primary_key=True),
    Column("openid", String(128), nullable=False),
    Column("subject", String(160), nullable=False),  # sn:... or group:...
    Column("sn", String(128)),
    Column("group_id", String(64)),
    Column("model_id", String(128), nullable=False),
    Column("device_name", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # agreed, refused, revoked or reopened
    Column("changed_ms", BigInteger, nullable=False),
    Column("reopened_ms", BigInteger, nullable=False),
    UniqueConstraint("openid", "subject", name="grants_once"),
    Index("grants_subject", "subject"),
)

CALLS = Table(
    "calls",
    METADATA,
    Column("room", String(64), primary_key=True),
    Column("node", String(128), nullable=False),
    Column("live", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("view", Text, nullable=False),  # all that GET /v1/calls/{roomId} says
    Index("calls_live", "node", "live"),
    Index("calls_created", "created_ms", "room"),
)

CALL_PARTIES = Table(
    "call_parties",
    METADATA,
    Column("room", String(64), primary_key=True),
    Column("party", String(160), primary_key=True),  # device:SN or user:OPENID
    Column("created_ms", BigInteger, nullable=False),
    Index("call_parties_party", "party", "created_ms", "room"),
)

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("hook_id", String(64), primary_key=True),
    Column("url", String(2048), nullable=False),
    Column("secret", String(128), nullable=False),
    Column("events", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("delivery_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("hook_id", String(64), nullable=False),
    Column("node", String(128), nullable=False),
    Column("event", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("deliveries_due", "node", "due_ms"),
    sqlite_autoincrement=True,  # else numbers come again once the outbox is empty, and receivers drop "repeats"
)

# What each version added. A change of a table that exists becomes a step of its own here, as SQL text; the tables above
# are always the newest, so a step that makes one must not be edited once it was released.
Step = Table | str
STEPS: tuple[tuple[Step, ...], ...] = (
    (MODELS, DEVICES, USERS, TICKETS, GROUPS, GRANTS),
    (NODES, CALLS, CALL_PARTIES),
    (WEBHOOKS, DELIVERIES),
)


class NewerSchemaError(Exception):
    """The database was written by a later program."""


def migrate(connection: Connection, steps: Sequence[Sequence[Step]] = STEPS) -> int:
    """Bring the database up to `steps`; returns its version. Raises NewerSchemaError, DBAPIError."""
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))  # another node may take long to migrate
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        version = 0
        if inspect(connection).has_table(VERSION.name):
            version = connection.execute(select(VERSION.c.version)).scalar() or 0
        else:
            connection.execute(CreateTable(VERSION))
            connection.execute(VERSION.insert().values(version=0))
        if version > len(steps):
            raise NewerSchemaError(
                f"its schema has version {version}, this program knows {len(steps)}; run a newer relay"
            )
        for step in steps[version:]:
            for change in step:
                if isinstance(change, Table):
                    connection.execute(CreateTable(change))
                    for index in sorted(change.indexes, key=lambda index: str(index.name)):
                        connection.execute(CreateIndex(index))
                else:
                    connection.execute(text(change))
        if version != len(steps):
            connection.execute(VERSION.update().values(version=len(steps)))
        return len(steps)
