"""The webhooks' outbox on both databases: each node delivers its own, removal reaches all, counts keep their bound."""

import asyncio
import time

from api.plane import running
from webhooks.receiver import Receiver, receiving, status

from relay.calls.webhooks import HookEntry, Webhooks
from relay.config import Config
from relay.store.engine import Store
from store.databases import Database, PostgresDatabase


class Sender:
    """The webhooks of one node."""

    def __init__(self, config: Config, node: str) -> None:
        self.store = Store(config)
        self.webhooks = Webhooks(self.store, config, node)

    async def __aenter__(self) -> "Sender":
        await self.store.start()
        await self.webhooks.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.webhooks.close()
        await self.store.close()

    def put(self, count: int, event: str = "call.created") -> None:
        """Each in a lane of its own, as calls are."""
        now_ms = int(time.time() * 1000)
        for number in range(count):
            self.store.later(
                lambda connection, number=number: self.webhooks.enqueue(connection, event, number, now_ms), str(number)
            )


async def empty(database: Database) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(database.value, "SELECT count(*) FROM deliveries"):
            await asyncio.sleep(0.02)


def test_messages_of_many_lanes_are_all_delivered_at_once(database: Database) -> None:
    """The wake-up comes with the commit: nothing waits for the next time the outbox is looked at anyway."""

    async def main() -> None:
        config = database.config(webhook_give_up_s=86_400)
        async with receiving() as receiver, Sender(config, "one") as one:
            await one.webhooks.add(HookEntry(receiver.base, ("*",)))
            for turn in range(10):
                one.put(5)
                async with asyncio.timeout(2.5):  # half of the idle time
                    await receiver.until(5 * (turn + 1))
            one.put(300)
            await receiver.until(350)
            await empty(database)
            assert len(receiver.messages) == 350
            assert one.webhooks.results == {"delivered": 350, "overflow": 0}

    asyncio.run(main())


def test_each_node_delivers_its_own_messages_and_learns_of_new_webhooks(postgres_database: PostgresDatabase) -> None:
    async def main() -> None:
        config = postgres_database.config(webhook_give_up_s=86_400)
        async with receiving() as receiver, Sender(config, "one") as one, Sender(config, "two") as two:
            hook = await one.webhooks.add(HookEntry(receiver.base, ("*",)))
            assert not two.webhooks.wants("call.created")
            assert [known.id for known in await two.webhooks.all()] == [hook.id]
            one.put(50)
            two.put(50)
            messages = await receiver.until(100)
            assert sorted((message.body["node"], message.data) for message in messages) == [
                (node, number) for node in ("one", "two") for number in range(50)
            ]
            assert len({message.delivery for message in messages}) == 100
            assert all(message.signed_with(hook.secret) for message in messages)
            await empty(postgres_database)

            receiver.answer = status(500)
            one.put(5)
            two.put(5)
            await receiver.until(110)
            await two.webhooks.remove(hook.id)
            await empty(postgres_database)
            two.put(5)
            one.put(5)  # it may not know yet; then they go once it does
            await empty(postgres_database)
            assert one.webhooks.results["given_up"] == 0

    asyncio.run(main())


def test_a_call_over_http_is_told_from_either_database(database: Database) -> None:
    async def main() -> None:
        async with receiving() as receiver, running(store=database.url, webhook_allow_private=True) as plane:
            body = {"url": receiver.base}
            assert (await plane.ask("POST", "/v1/webhooks", plane.operator(), json=body))[0] == 201
            room = (await plane.create())["roomId"]
            await told(receiver, room, 1)
            await plane.ask("POST", f"/v1/calls/{room}/answer", plane.user())
            await told(receiver, room, 2)
            await plane.ask("POST", f"/v1/calls/{room}/hangup", plane.user())
            await told(receiver, room, 4)
            assert receiver.names(room) == {"call.created": 1, "call.answered": 1, "call.ended": 1, "call.finished": 1}

    asyncio.run(main())


async def told(receiver: Receiver, room: str, count: int) -> None:
    async with asyncio.timeout(2.5):  # half of the idle time
        await receiver.until(count)
    assert receiver.names(room).total() == count
