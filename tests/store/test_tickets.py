"""Tickets: good once, for one device, for five minutes; whoever uses them at the same time."""

import asyncio

import pytest

from relay.calls.grants import GrantRequest
from relay.calls.tickets import ticket_fits, use_ticket
from relay.errors import ApiError
from store.databases import NOW_MS, Database, Parts, play, play_two

TASKS = 50


async def use(
    node: Parts, ticket: str, lane: str, now_ms: int = NOW_MS, sn: str = "door", model_id: str = "m1"
) -> bool:
    return await node.store.run(lambda connection: use_ticket(connection, ticket, sn, model_id, now_ms), lane=lane)


def test_fifty_use_one_ticket_and_one_wins(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        for _ in range(5):
            ticket = await one.tickets.issue("door", "m1", NOW_MS)
            used = await asyncio.gather(
                *(use((one, other)[number % 2], ticket, str(number)) for number in range(TASKS))
            )
            assert used.count(True) == 1
        assert database.value("SELECT count(*) FROM tickets") == 0

    play_two(database, scene, store_wait_s=20)


def test_fifty_users_ask_with_one_ticket_and_one_is_granted(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        ticket = await one.tickets.issue("door", "m1", NOW_MS)
        asked = GrantRequest(sn="door", sn_ticket=ticket, model_id="m1")
        outcomes = await asyncio.gather(
            *((one, other)[number % 2].grants.request(f"u{number}", asked, NOW_MS) for number in range(TASKS)),
            return_exceptions=True,
        )
        granted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [view.state for view in granted] == ["agreed"]
        assert {(fault.status, fault.code) for fault in faults if isinstance(fault, ApiError)} == {(403, 10008)}
        assert len(faults) == TASKS - 1
        assert database.value("SELECT count(*) FROM grants") == 1

    play_two(database, scene, store_wait_s=20)


def test_fifty_registrations_with_one_ticket_leave_one_secret(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        ticket = await one.tickets.issue("door", "m1", NOW_MS)
        outcomes = await asyncio.gather(
            *((one, other)[number % 2].devices.register("door", "m1", ticket, NOW_MS) for number in range(TASKS)),
            return_exceptions=True,
        )
        secrets = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert len(secrets) == 1
        assert await other.devices.authenticate("door", secrets[0], NOW_MS) == "m1"

    play_two(database, scene, store_wait_s=20)


def test_a_ticket_is_for_one_device_and_five_minutes(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        ticket = await node.tickets.issue("door", "m1", NOW_MS)
        life_ms = int(node.config.ticket_s * 1000)
        assert not await use(node, ticket, "", sn="gate")
        assert not await use(node, ticket, "", model_id="m2")
        assert not await use(node, ticket + "x", "")
        assert not await use(node, ticket, "", NOW_MS + life_ms)
        last = NOW_MS + life_ms - 1
        assert await node.store.run(lambda connection: ticket_fits(connection, ticket, "door", "m1", last))
        assert await use(node, ticket, "", last), "looking uses nothing up"
        assert not await use(node, ticket, "", last)

    play(database, scene)


def test_tickets_that_ran_out_are_forgotten(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        for _ in range(10):
            await node.tickets.issue("door", "m1", NOW_MS)
        ticket = await node.tickets.issue("door", "m1", NOW_MS + 1_000_000)
        assert database.value("SELECT count(*) FROM tickets") == 1
        assert ticket not in repr(database.rows("SELECT * FROM tickets")), "a ticket itself is not on record"

    play(database, scene)


def test_tickets_are_for_known_devices_of_their_model(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        for sn, model, expected in (("gate", "m1", (404, 9800004)), ("door", "m2", (400, 9800003))):
            with pytest.raises(ApiError) as fault:
                await node.tickets.issue(sn, model, NOW_MS)
            assert (fault.value.status, fault.value.code) == expected

    play(database, scene)


def test_nodes_that_clear_old_tickets_at_the_same_time_do_not_stop_each_other(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        for number in range(8):
            await one.device(f"d{number}")
        for later_ms in range(0, 4_000_000, 400_000):
            tickets = await asyncio.gather(
                *(
                    (one, other)[number % 2].tickets.issue(f"d{number % 8}", "m1", NOW_MS + later_ms)
                    for number in range(40)
                )
            )
            assert len(set(tickets)) == 40
        assert database.value("SELECT count(*) FROM tickets") == 40

    play_two(database, scene, store_wait_s=20)
