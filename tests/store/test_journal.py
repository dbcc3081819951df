"""The record of calls: written with its parties, kept in order, read page by page, ended by the next life."""

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from relay.calls.invitation import Party
from relay.calls.view import CallView, Seen, SeenListener
from relay.calls.webhooks import HookEntry
from relay.errors import ApiError
from store.databases import NOW_MS, Database, Parts, nodes, play, play_two, settled

DOOR, ANN, BOB = Party("device", "door"), Party("user", "ann"), Party("user", "bob")


def view(room: str, at_ms: int = 0, caller: Party = DOOR, listener: Party = ANN, **more: Any) -> CallView:
    fields: dict[str, Any] = {
        "room_id": room, "group_id": room, "state": "CREATED", "room_type": "video", "direction": "device_to_user",
        "target": None, "business_type": 1, "charge_type": "license", "appid": "", "model_id": "m1",
        "caller": Seen(caller.id, "Front door 🔔", caller.kind), "listener": Seen(listener.id, "", listener.kind),
        "listeners": (SeenListener(listener.id, "", listener.kind, "ringing"),), "strategy": "sequential",
        "keep_time": 0, "time_limit": None, "ring_timeout": 60.0, "created_at": NOW_MS + at_ms,
    }  # fmt: skip
    return CallView(**{**fields, **more})


async def insert(node: Parts, *views: CallView) -> None:
    def parties(made: CallView) -> tuple[Party, ...]:
        return tuple(
            msgspec.convert({"kind": seen.kind, "id": seen.id}, Party) for seen in (made.caller, made.listener)
        )

    for made in views:
        await node.store.run(
            lambda connection, made=made: node.journal.insert(connection, made, parties(made)), lane=made.room_id
        )


def rooms(page: tuple[list[CallView], str | None]) -> list[str]:
    return [call.room_id for call in page[0]]


def test_a_record_is_read_as_it_was_written(database: Database) -> None:
    async def scene(node: Parts) -> None:
        made = view("r1", time_limit=1.5, err_msg="x" * 1000)
        await insert(node, made)
        assert await node.journal.view("r1") == (made, {"device:door", "user:ann"})
        assert await node.journal.view("r2") is None

    play(database, scene)


def test_a_call_with_oneself_and_a_room_that_is_taken(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await insert(node, view("r1", listener=DOOR))
        assert (await node.journal.view("r1") or (0, set()))[1] == {"device:door"}
        with pytest.raises(Exception, match=r"(?i)unique"):
            await insert(node, view("r1", listener=BOB))
        assert (await node.journal.view("r1") or (0, set()))[1] == {"device:door"}, "all of it or nothing"

    play(database, scene)


def test_notes_are_kept_in_order(database: Database) -> None:
    async def scene(node: Parts) -> None:
        made = [view(f"r{number}") for number in range(20)]
        await insert(node, *made)
        for keep in range(1, 31):
            for call in made:
                node.journal.note("call.answered", msgspec.structs.replace(call, keep_time=keep))
            if keep % 10 == 0:
                await asyncio.sleep(0)
        for call in made:
            node.journal.finish(call, msgspec.structs.replace(call, keep_time=99))
        await settled(node.store)
        for call in made:
            found = await node.journal.view(call.room_id)
            assert found is not None
            assert found[0].keep_time == 99
        assert database.value("SELECT count(*) FROM calls WHERE live") == 0

    play(database, scene)


def test_old_calls_are_forgotten_and_those_that_live_are_not(database: Database) -> None:
    async def scene(node: Parts) -> None:
        calls = [view(f"r{number:03}", at_ms=number) for number in range(450)]
        await insert(node, *calls)
        for call in calls[1:]:
            node.journal.finish(call, call)
        await settled(node.store)
        assert await node.journal.forget(NOW_MS + 420) == 419
        assert await node.journal.forget(NOW_MS + 420) == 0
        left, _ = await node.journal.history((), limit=200)
        assert [call.room_id for call in left] == [f"r{number:03}" for number in range(449, 419, -1)] + ["r000"]
        assert database.value("SELECT count(*) FROM call_parties") == 2 * 31

    play(database, scene)


def test_the_outbox_is_written_with_the_record(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.webhooks.add(HookEntry("http://127.0.0.1:9/", ("call.*",)))
        made = view("r1")
        await insert(node, made)
        for event in ("call.answered", "call.started"):
            node.journal.note(event, made)
        node.journal.finish(made, made)
        await settled(node.store)
        told = [row[0] for row in database.rows("SELECT event FROM deliveries ORDER BY delivery_id")]
        assert told == ["call.created", "call.answered", "call.started", "call.ended", "call.finished"]
        await node.store.run(lambda connection: node.journal.withdraw(connection, "r1"))
        assert await node.journal.view("r1") is None
        assert database.value("SELECT count(*) FROM call_parties") == 0
        assert database.value("SELECT count(*) FROM deliveries WHERE event = 'call.created'") == 0

    play(database, scene)


def test_history_page_by_page_also_of_one_millisecond(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await insert(node, *(view(f"r{number:02}", at_ms=number // 7) for number in range(40)))
        everything = sorted((f"r{number:02}" for number in range(40)), reverse=True)
        for limit in (1, 3, 7, 39, 40, 41, 500):
            found: list[str] = []
            before = None
            while True:
                page = await node.journal.history((DOOR,), before=before, limit=limit)
                found += rooms(page)
                assert len(page[0]) <= limit
                before = page[1]
                if before is None:
                    break
            assert found == everything, limit
        page = await node.journal.history((), from_ms=NOW_MS + 2, to_ms=NOW_MS + 3)
        assert rooms(page) == everything[40 - 28 : 40 - 14]
        assert all(
            (earlier.created_at, earlier.room_id) > (later.created_at, later.room_id)
            for earlier, later in pairwise(page[0])
        )

    play(database, scene)


def test_history_is_that_of_all_parties_asked_for(database: Database) -> None:
    async def scene(node: Parts) -> None:
        gate = Party("device", "gate")
        await insert(
            node,
            view("door-ann"),
            view("door-bob", 1, listener=BOB),
            view("gate-ann", 2, gate),
            view("ann-door", 3, ANN, DOOR),
        )
        for parties, expected in (
            ((DOOR,), ["ann-door", "door-bob", "door-ann"]),
            ((ANN,), ["ann-door", "gate-ann", "door-ann"]),
            ((DOOR, ANN), ["ann-door", "door-ann"]),
            ((BOB, ANN), []),
            ((Party("user", "door"),), []),
            ((), ["ann-door", "gate-ann", "door-bob", "door-ann"]),
        ):
            assert rooms(await node.journal.history(parties)) == expected

    play(database, scene)


@pytest.mark.parametrize("before", ["", "x", "-", "12", "12-", "-r", "1.5-r", "9" * 17 + "-r", "١-r"])
def test_cursors_that_are_none(database: Database, before: str) -> None:
    async def scene(node: Parts) -> None:
        with pytest.raises(ApiError) as fault:
            await node.journal.history((), before=before)
        assert (fault.value.status, fault.value.code) == (400, 1004)

    play(database, scene)


def test_a_node_ends_what_its_earlier_life_left_and_nothing_else(database: Database) -> None:
    async def first(one: Parts, other: Parts) -> None:
        await one.journal.seen()
        await insert(
            one,
            view("ringing"),
            view("talking", answered_at=NOW_MS + 5, started_at=NOW_MS + 10, state="TALKING"),
            view("over"),
        )
        one.journal.finish(view("over"), view("over", state="SETTLED", end_reason="hangup"))
        if other is not one:
            await insert(other, view("elsewhere"))

    async def second(one: Parts, other: Parts) -> None:
        seen_ms = database.value("SELECT seen_ms FROM nodes")
        left = {call.room_id: (call, set(parties)) for call, parties in await one.journal.recover()}
        assert set(left) == {"ringing", "talking"}
        assert {parties for _, found in left.values() for parties in found} == {DOOR, ANN}
        talking = left["talking"][0]
        assert (talking.state, talking.end_reason, talking.ended_at) == ("SETTLED", "abort", seen_ms)
        assert talking.keep_time == (seen_ms - NOW_MS - 10) // 1000
        assert talking.started_at == NOW_MS + 10
        assert [listener.outcome for listener in left["ringing"][0].listeners] == ["notRung"]
        assert await one.journal.recover() == []
        for room, (call, _) in left.items():
            assert (await one.journal.view(room) or (None,))[0] == call
        if other is not one:
            assert (await other.journal.view("elsewhere") or (view(""),))[0].state == "CREATED"
            assert [call.room_id for call, _ in await other.journal.recover()] == ["elsewhere"]

    play_two(database, first)
    play_two(database, second)


def test_a_node_that_had_many_calls_can_start_again(database: Database) -> None:
    async def main() -> None:
        async with nodes(database) as (node,):
            for number in range(3_000):
                made = view(f"r{number}")
                node.store.later(
                    lambda connection, made=made: node.journal.insert(connection, made, (DOOR, ANN)), made.room_id
                )
            await settled(node.store)
        async with nodes(database, store_wait_s=1) as (node,):
            assert len(await node.journal.recover()) == 3_000, "no piece of it takes as long as anybody may wait"
        assert database.value("SELECT count(*) FROM calls WHERE live") == 0

    asyncio.run(main())
