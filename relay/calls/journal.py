"""The record of calls in the store: written when a call is made, answered, talking and over, and read as history.

The first entry is awaited before anybody rings, so a call that was announced is on record. Later ones are handed to the
store, which keeps them in order until it can write them; media never waits. A node that died leaves calls marked as
live; its next life ends them (`recover`), at the time it was last seen, with reason `abort`.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, exists, literal, select, tuple_

from relay.calls.call import End, State
from relay.calls.hunt import Outcome
from relay.calls.invitation import Party
from relay.calls.view import CallView
from relay.calls.webhooks import Webhooks
from relay.errors import ApiError, Code
from relay.store.database import name_is_free
from relay.store.engine import Store
from relay.store.schema import CALL_PARTIES, CALLS, NODES

HISTORY_MAX = 200  # calls of one answer
AT_ONCE = 200  # calls of one transaction: ten thousand of them must not run into `store_wait_s`
LOST = "the node was stopped in the middle of the call"


# Built once: SQLAlchemy takes longer to make it than the database to do it.
FURTHER = (
    CALLS.update()
    .where(CALLS.c.room == bindparam("its_room"))
    .values(live=bindparam("is_live"), view=bindparam("as_view"))
)


class Journal:
    """The records of one node's calls."""

    def __init__(self, store: Store, webhooks: Webhooks, node: str, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._webhooks = webhooks
        self._node = node
        self._wall = wall

    def insert(self, connection: Connection, view: CallView, parties: Iterable[Party]) -> None:
        """Part of the transaction that makes a call."""
        room, created_ms = view.room_id, view.created_at
        values = {"node": self._node, "live": True, "created_ms": created_ms, "view": _text(view)}
        connection.execute(CALLS.insert().values(room=room, **values))
        rows = [{"room": room, "party": str(party), "created_ms": created_ms} for party in dict.fromkeys(parties)]
        connection.execute(CALL_PARTIES.insert(), rows)
        self._webhooks.enqueue(connection, "call.created", view, created_ms)

    def rang(self, room: str, party: Party, created_ms: int) -> None:
        """One of several called parties was rung: from now on the call is in its history too."""
        row = {"room": room, "party": str(party), "created_ms": created_ms}
        self._store.later(lambda connection: connection.execute(CALL_PARTIES.insert(), row), lane=room)

    def withdraw(self, connection: Connection, room: str) -> None:
        """A call whose maker did not wait for the store: it was never announced, so it was never made."""
        connection.execute(delete(CALL_PARTIES).where(CALL_PARTIES.c.room == room))
        connection.execute(delete(CALLS).where(CALLS.c.room == room))
        self._webhooks.withdraw(connection, "call.created", room)

    def note(self, event: str, view: CallView) -> None:
        """A live call came further: `call.answered`, `call.started`."""
        self._write(view, [(event, view)], live=True)

    def finish(self, ended: CallView, settled: CallView) -> None:
        """A call is over and settled, in one piece of work: `call.ended`, `call.finished`."""
        self._write(settled, [("call.ended", ended), ("call.finished", settled)], live=False)

    def _write(self, view: CallView, told: list[tuple[str, CallView]], *, live: bool) -> None:
        now_ms = int(self._wall() * 1000)
        values = {"its_room": view.room_id, "is_live": live, "as_view": _text(view)}

        def work(connection: Connection) -> None:
            connection.execute(FURTHER, values)
            for event, seen in told:
                self._webhooks.enqueue(connection, event, seen, now_ms)

        self._store.later(work, lane=view.room_id)

    def tell(self, event: str, data: dict[str, Any], room: str) -> None:
        """The same event that a party hears, for the webhooks that want it."""
        if not self._webhooks.wants(event):
            return
        now_ms = int(self._wall() * 1000)
        self._store.later(lambda connection: self._webhooks.enqueue(connection, event, data, now_ms), lane=room)

    # --- reading ---

    async def view(self, room: str) -> tuple[CallView, set[str]] | None:
        """A call's record and its parties, or None."""

        def work(connection: Connection) -> tuple[CallView, set[str]] | None:
            row = connection.execute(select(CALLS.c.view).where(CALLS.c.room == room)).first()
            if row is None:
                return None
            parties = connection.execute(select(CALL_PARTIES.c.party).where(CALL_PARTIES.c.room == room)).scalars()
            return _view(row.view), set(parties)

        return await self._store.run(work, lane=room)

    async def history(
        self,
        parties: tuple[Party, ...],
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> tuple[list[CallView], str | None]:
        """Calls that all of `parties` take part in, newest first, and the cursor of the next page.

        Raises ApiError 400/1004 for a cursor that is none.
        """
        limit = min(limit, HISTORY_MAX)
        # The first party's own index gives the order, so that a page of a party with 100,000 calls reads a page.
        made = CALL_PARTIES.c if parties else CALLS.c
        query = select(made.room, made.created_ms, CALLS.c.view)
        if parties:
            query = query.join(CALLS, CALLS.c.room == made.room).where(made.party == str(parties[0]))
        for party in parties[1:]:
            other = CALL_PARTIES.alias()
            query = query.where(exists().where(other.c.room == made.room, other.c.party == str(party)))
        if from_ms is not None:
            query = query.where(made.created_ms >= from_ms)
        if to_ms is not None:
            query = query.where(made.created_ms <= to_ms)
        if before is not None:
            when, _, room = before.partition("-")
            if not (when.isascii() and when.isdigit() and len(when) <= 16 and room):
                raise ApiError(400, Code.WRONG_PARAMETER, "before: must be `next` of an earlier answer")
            query = query.where(tuple_(made.created_ms, made.room) < tuple_(literal(int(when)), literal(room)))
        query = query.order_by(made.created_ms.desc(), made.room.desc()).limit(limit + 1)
        rows = await self._store.run(lambda connection: connection.execute(query).all(), lane="history")
        following = f"{rows[limit - 1].created_ms}-{rows[limit - 1].room}" if len(rows) > limit else None
        return [_view(row.view) for row in rows[:limit]], following

    # --- the node's own life ---

    async def seen(self) -> None:
        """Say that this node lives."""
        now_ms = int(self._wall() * 1000)

        def work(connection: Connection) -> None:
            changed = connection.execute(NODES.update().where(NODES.c.node == self._node).values(seen_ms=now_ms))
            if not changed.rowcount:
                connection.execute(NODES.insert().values(node=self._node, seen_ms=now_ms))

        await self._store.run(work, lane="nodes")

    async def forget(self, older_than_ms: int) -> int:
        """Delete the records of calls that were made before that time; returns how many."""
        old = select(CALLS.c.room).where(CALLS.c.created_ms < older_than_ms, CALLS.c.live.is_(False)).limit(AT_ONCE)

        def work(connection: Connection) -> int:
            rooms = connection.execute(old).scalars().all()
            for table in (CALL_PARTIES, CALLS):
                connection.execute(delete(table).where(table.c.room.in_(rooms)))
            return len(rooms)

        forgotten = 0
        while True:
            some = await self._store.run(work, lane="history")
            forgotten += some
            if some < AT_ONCE:
                return forgotten

    async def recover(self) -> list[tuple[CallView, list[Party]]]:
        """End what earlier lives left behind, of this node and of others that are gone for good; returns those calls
        and their parties.
        """
        others = select(NODES.c.node).where(NODES.c.node != self._node)
        names = await self._store.run(lambda connection: connection.execute(others).scalars().all(), lane="nodes")
        ended: list[tuple[CallView, list[Party]]] = []
        for name in (self._node, *names):
            while True:
                work = partial(self._recover_some, node=name)
                some = await self._store.run(work, lane="nodes")
                ended += some
                if len(some) < AT_ONCE:
                    break
        return ended

    def _recover_some(self, connection: Connection, node: str) -> list[tuple[CallView, list[Party]]]:
        now_ms = int(self._wall() * 1000)
        if node != self._node and not name_is_free(connection, node):
            return []
        seen_ms = connection.execute(select(NODES.c.seen_ms).where(NODES.c.node == node)).scalar() or now_ms
        left = select(CALLS).where(CALLS.c.node == node, CALLS.c.live.is_(True)).limit(AT_ONCE)
        ended: list[tuple[CallView, list[Party]]] = []
        for row in connection.execute(left).all():
            view = abandoned(_view(row.view), seen_ms)
            connection.execute(FURTHER, {"its_room": row.room, "is_live": False, "as_view": _text(view)})
            for event in ("call.ended", "call.finished"):
                self._webhooks.enqueue(connection, event, view, now_ms)
            query = select(CALL_PARTIES.c.party).where(CALL_PARTIES.c.room == row.room)
            ended.append((view, [_party(text) for text in connection.execute(query).scalars()]))
        if node != self._node and len(ended) < AT_ONCE:
            self._webhooks.adopt(connection, node)
            connection.execute(delete(NODES).where(NODES.c.node == node))
        return ended


def abandoned(view: CallView, seen_ms: int) -> CallView:
    """The record of a call whose node died, ended when the node was last seen."""
    ended_ms = max(seen_ms, view.created_at, view.answered_at or 0, view.started_at or 0)
    keep = 0 if view.started_at is None else (ended_ms - view.started_at) // 1000
    listeners = tuple(
        msgspec.structs.replace(listener, outcome=Outcome.NOT_RUNG)
        if listener.outcome in (Outcome.RINGING, Outcome.WAITING)
        else listener
        for listener in view.listeners
    )
    return msgspec.structs.replace(
        view, state=State.SETTLED, end_reason=End.ABORT, reason=LOST, ended_at=ended_ms, keep_time=keep,
        listeners=listeners,
    )  # fmt: skip


def _party(text: str) -> Party:
    kind, _, identity = text.partition(":")
    return msgspec.convert({"kind": kind, "id": identity}, Party)


def _view(text: str) -> CallView:
    return msgspec.json.decode(text, type=CallView)


def _text(view: CallView) -> str:
    return msgspec.json.encode(view).decode()
