"""Delivery: signed, repeated with growing pauses, given up in the end, bounded for each webhook, never lost."""

import asyncio
import sqlite3
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from relay.calls.webhooks import IN_FLIGHT_PER_HOOK
from relay.errors import ApiError
from relay.store.schema import DELIVERIES
from webhooks.outbox import Outbox, on_record, outbox, play
from webhooks.receiver import Receiver, fine, hang, receiving, status


def test_a_message_is_signed_and_says_what_it_is() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        hook = await box.add(receiver.base + "/told?who=me")
        other = await box.add(receiver.base + "/other", "grant.changed")
        await box.put(event="call.created", text="Grüße 🔔")
        (message,) = await receiver.until(1)
        assert message.signed_with(hook.secret)
        assert not message.signed_with(other.secret)
        assert abs(message.stamp - box.clock()) < 60, "a receiver may refuse old stamps"
        assert (message.event, message.attempt, message.path) == ("call.created", 1, "/told")
        assert message.headers["Content-Type"] == "application/json"
        assert set(message.body) == {"event", "createdAt", "node", "data"}
        assert message.body["event"] == "call.created"
        assert message.data == {"number": 0, "text": "Grüße 🔔"}
        await box.until_waiting(0)
        assert box.webhooks.results["delivered"] == 1

    play(scene)


@pytest.mark.parametrize("refusal", [500, 404, 302])
def test_attempts_count_up_with_growing_pauses_until_it_is_taken(refusal: int) -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        hook = await box.add(receiver.base)
        receiver.answer = status(refusal)
        await box.put()
        pauses = []
        for attempt in range(1, 10):
            await receiver.until(attempt)
            pauses.append(await noted_pause(box, attempt))
            await box.pass_time(pauses[-1] + 0.01 if attempt < 9 else 0)
        assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:7])), pauses
        assert pauses[7] == pytest.approx(pauses[8], rel=0.1), "up to the longest"
        messages = await receiver.until(9)
        assert [message.attempt for message in messages] == list(range(1, 10))
        assert len({message.delivery for message in messages}) == 1
        assert len({message.raw for message in messages}) == 1
        assert all(message.signed_with(hook.secret) for message in messages)
        assert len({message.signature for message in messages}) > 1, "each attempt has a stamp of its own"
        receiver.answer = fine
        await box.pass_time(200)
        await box.until_waiting(0)
        assert (box.webhooks.results["failed"], box.webhooks.results["delivered"]) == (9, 1)

    play(scene)


async def noted_pause(box: Outbox, attempts: int) -> float:
    """Wait until the outcome of that attempt is on record; the seconds until the next one."""

    def work(connection: Connection) -> int | None:
        return connection.execute(select(DELIVERIES.c.due_ms).where(DELIVERIES.c.attempts == attempts)).scalar()

    async with asyncio.timeout(20):
        while (due_ms := await box.store.run(work)) is None:
            await asyncio.sleep(0.005)
    return (due_ms - box.clock.now_ms()) / 1000


def test_what_nobody_takes_is_given_up_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        await box.add(receiver.base)
        receiver.answer = status(500)
        await box.put(3)
        await receiver.until(3)
        while await box.waiting():
            await box.pass_time(30)
            await asyncio.sleep(0.01)
        assert box.webhooks.results["given_up"] == 3
        assert box.webhooks.results["delivered"] == 0
        assert len(receiver.messages) == box.webhooks.results["failed"]

    play(scene, webhook_give_up_s=60)
    said = Counter(record.message for record in caplog.records)
    assert said == {"a webhook's target does not take messages": 1, "a webhook message was given up": 3}


def test_a_target_that_hangs_does_not_stop_another() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        async with receiving() as slow:
            slow.answer = hang
            await box.add(slow.base)
            await box.add(receiver.base)
            await box.put(200)
            messages = await receiver.until(200)
            assert sorted(message.data["number"] for message in messages) == list(range(200))
            assert slow.most_open <= IN_FLIGHT_PER_HOOK
            assert len(slow.messages) <= IN_FLIGHT_PER_HOOK, "the hanging one has its share and no more"
            assert receiver.most_open <= IN_FLIGHT_PER_HOOK

    play(scene, webhook_s=60)


def test_many_waiting_rows_of_one_hook_do_not_hide_those_of_another(tmp_path: Path) -> None:
    """A node that starts finds them all due, those of the hanging target first."""

    async def main() -> None:
        store = str(tmp_path / "relay.sqlite3")
        async with receiving() as slow, receiving() as receiver:
            slow.answer = receiver.answer = hang
            async with outbox(store, webhook_s=60) as box:
                await box.add(slow.base, "call.created")
                await box.add(receiver.base, "grant.changed")
                await box.put(150, event="call.created")
                await box.put(20, event="grant.changed")
            receiver.messages.clear()
            receiver.answer = fine
            async with outbox(store, webhook_s=60):
                async with asyncio.timeout(2.5):  # half of the time after which the outbox is looked at anyway
                    await receiver.until(20)

    asyncio.run(main())


def test_the_outbox_survives_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        store = str(tmp_path / "relay.sqlite3")
        async with receiving() as receiver:
            async with outbox(store) as box:
                hook = await box.add(receiver.base)
                receiver.answer = hang
                await box.put(20)
                await receiver.until(IN_FLIGHT_PER_HOOK)
            assert on_record(Path(store), "SELECT count(*) FROM deliveries") == [(20,)]
            receiver.messages.clear()
            receiver.answer = fine
            async with outbox(store) as box:
                messages = await receiver.until(20)
                await box.until_waiting(0)
            assert sorted(message.data["number"] for message in messages) == list(range(20))
            assert all(message.signed_with(hook.secret) for message in messages)
            assert {message.attempt for message in messages} == {2}, "an earlier life may have told them"

    asyncio.run(main())


def test_each_message_has_a_number_that_never_comes_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving() as receiver:
            for life in range(3):
                async with outbox(str(tmp_path / "relay.sqlite3")) as box:
                    if not life:
                        await box.add(receiver.base)
                    for _ in range(3):  # the outbox is empty in between
                        await box.put(2)
                        await box.until_waiting(0)
        assert len({message.delivery for message in receiver.messages}) == 18
        assert {message.attempt for message in receiver.messages} == {1}

    asyncio.run(main())


def test_a_webhook_that_is_removed_hears_nothing_more() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        receiver.answer = status(500)
        hook = await box.add(receiver.base)
        kept = await box.add(receiver.base + "/kept")
        await box.put(5)
        await receiver.until(10)
        await box.webhooks.remove(hook.id)
        with pytest.raises(ApiError) as unknown:
            await box.webhooks.remove(hook.id)
        assert (unknown.value.status, unknown.value.code) == (404, 1004)
        assert [known.id for known in await box.webhooks.all()] == [kept.id]
        assert await box.waiting() == 5
        receiver.messages.clear()
        receiver.answer = fine
        await box.pass_time(100)
        await box.put()
        await box.until_waiting(0)
        assert {message.path for message in receiver.messages} == {"/kept"}
        assert len(receiver.messages) == 6

    play(scene)


def test_what_waits_for_one_webhook_is_bounded_and_flow_is_not() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        await box.add(receiver.base)
        for _ in range(10):  # ten times the bound passes through, since it is taken
            await box.put(10)
            await box.until_waiting(0)
        assert box.webhooks.results["overflow"] == 0
        assert len(receiver.messages) == 100
        receiver.answer = hang
        await box.put(30)
        assert await box.waiting() == 10
        assert box.webhooks.results["overflow"] == 20

    play(scene, webhook_pending_max=10)


def test_there_are_only_so_many_webhooks_and_each_has_its_secret_once() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        made = [await box.add(receiver.base) for _ in range(3)]
        assert len({hook.secret for hook in made}) == 3
        with pytest.raises(ApiError) as full:
            await box.add(receiver.base)
        assert full.value.status == 429
        assert [hook.secret for hook in await box.webhooks.all()] == ["", "", ""]

    play(scene, max_webhooks=3)


def test_a_store_that_is_down_after_the_delivery_does_not_tell_it_again(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "relay.sqlite3"
        async with receiving() as receiver, outbox(str(path), store_wait_s=0.3) as box:
            await box.add(receiver.base)
            gate = asyncio.Event()

            async def slow(message: object) -> object:
                await gate.wait()
                return await fine(message)  # type: ignore[arg-type]

            receiver.answer = slow  # type: ignore[assignment]
            await box.put()
            await receiver.until(1)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            gate.set()
            while box.store.up:
                await asyncio.sleep(0.01)
            for _ in range(3):
                await box.pass_time(60)
                with pytest.raises(ApiError):
                    await box.waiting()
            other.close()
            while not box.store.up:
                await asyncio.sleep(0.01)
            await box.until_waiting(0)
            assert len(receiver.messages) == 1

    asyncio.run(main())
