"""Webhooks: what happens at a node, told to the operator's servers. Nothing is lost with the node: an outbox.

What is to be told is written into the store together with what happened, in one transaction (`enqueue`), and deleted
when the target took it. So it is told at least once, also after a crash; what may have been told before says so
(`Relay-Attempt` above 1, the same `Relay-Delivery`). Messages of one webhook are sent side by side, so a receiver that
wants their order looks at `createdAt`. Back-off doubles from one second; after `webhook_give_up_s` a message is given
up, counted and logged.

A message is signed with the webhook's secret: `Relay-Signature: v1=HEX`, the HMAC-SHA256 of the text of
`Relay-Timestamp` (Unix seconds), a dot, and the body.

Where a target may lie is said in `targets.py`; redirects are not followed.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import aiohttp
import msgspec
from sqlalchemy import Connection, delete, func, select
from yarl import URL

from relay.calls.targets import Lookup, Targets
from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.lane import after_commit
from relay.store.schema import DELIVERIES, WEBHOOKS

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
DOUBLINGS_MAX = 10  # beyond, the longest pause holds anyway
IN_FLIGHT = 64  # deliveries under way
IN_FLIGHT_PER_HOOK = 8  # a slow target must not use up all of them
IDLE_S = 5.0  # how often the outbox is looked at when nothing was put into it
ANSWER_MAX = 64 * 1024  # bytes of an answer that are read
DEFAULT_EVENTS = ("call.*", "grant.changed", "iot_voip_notify")

# What a delivery may fail with: the target's fault, tried again.
FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError)

Pattern = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_]+(\.([A-Za-z]+|\*))?$|^\*$", max_length=64)]


class HookEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for. `events` are names, or `call.*`, `event.*`, `*`."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048, pattern=r"^[^\x00]*$")]
    events: Annotated[tuple[Pattern, ...], msgspec.Meta(min_length=1, max_length=32)] = DEFAULT_EVENTS
    secret: Annotated[str, msgspec.Meta(min_length=16, max_length=128, pattern=r"^[^\x00]*$")] | None = (
        None  # None: one is made
    )


class Hook(msgspec.Struct, frozen=True, omit_defaults=True):
    """A webhook; its secret is told once, when it is made."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = ""

    def wants(self, event: str) -> bool:
        return any(
            pattern in ("*", event) or (pattern.endswith(".*") and event.startswith(pattern[:-1]))
            for pattern in self.events
        )


class Answer(msgspec.Struct, frozen=True):
    """A target's answer to `iot_voip_notify` (§4.5)."""

    errcode: int = 0
    errmsg: str = ""


class Webhooks:
    """The webhooks of a store, and the delivery of what this node has to tell."""

    def __init__(
        self,
        store: Store,
        config: Config,
        node: str,
        wall: Callable[[], float] = time.time,
        lookup: Lookup | None = None,
    ) -> None:
        """`lookup` resolves names; None asks the system."""
        self._store = store
        self._config = config
        self._node = node
        self._wall = wall
        self._targets = Targets(config, lookup)
        self._hooks: dict[str, Hook] = {}
        # By hook: the store's count as last read, and what was put in and taken out since. A bound, so near enough is
        # good. Changed in the loop's thread, read in the store's.
        self._pending: Counter[str] = Counter()
        self._loaded = 0.0
        self._earlier = 0  # up to this number, an earlier life may have told them and died before it noted it
        self._http: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending: set[int] = set()  # deliveries under way, up to the record of what became of them
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()  # requests under way, by hook
        self._failing: set[str] = set()
        self._wake = asyncio.Event()
        self.results: Counter[str] = Counter()  # delivered, failed, given_up, overflow

    # --- life ---

    async def start(self) -> None:
        newest = select(func.max(DELIVERIES.c.delivery_id))
        self._earlier = await self._store.run(
            lambda connection: connection.execute(newest).scalar() or 0, lane="webhooks"
        )
        await self._load()
        timeout = aiohttp.ClientTimeout(total=self._config.webhook_s)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._targets.resolver, limit=2 * IN_FLIGHT),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    async def close(self) -> None:
        """What is not delivered stays in the store, for the node's next life."""
        tasks = [*self._tasks, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        self._targets.close()

    # --- what the operator asks ---

    async def add(self, entry: HookEntry) -> Hook:
        """Raises ApiError 400/1004 for a target that may not be used, 429/1004 at `max_webhooks`."""
        await self._targets.check(entry.url)
        hook = Hook(secrets.token_hex(8), entry.url, entry.events, entry.secret or secrets.token_urlsafe(32))
        now_ms = int(self._wall() * 1000)

        def work(connection: Connection) -> None:
            count = connection.execute(select(func.count()).select_from(WEBHOOKS)).scalar() or 0
            if count >= self._config.max_webhooks:
                raise ApiError(
                    429, Code.WRONG_PARAMETER, f"there are {count} webhooks already, as many as there may be"
                )
            events = msgspec.json.encode(hook.events).decode()
            values = {"url": hook.url, "secret": hook.secret, "events": events, "created_ms": now_ms}
            connection.execute(WEBHOOKS.insert().values(hook_id=hook.id, **values))

        await self._store.run(work, lane="webhooks")
        self._hooks[hook.id] = hook
        return hook

    async def all(self) -> list[Hook]:
        """Without their secrets."""
        await self._load()
        return [msgspec.structs.replace(hook, secret="") for hook in self._hooks.values()]

    async def remove(self, hook_id: str) -> None:
        """And forget what was still to be told to it. Raises ApiError 404/1004."""

        def work(connection: Connection) -> None:
            if not connection.execute(delete(WEBHOOKS).where(WEBHOOKS.c.hook_id == hook_id)).rowcount:
                raise ApiError(404, Code.WRONG_PARAMETER, "no such webhook")
            connection.execute(delete(DELIVERIES).where(DELIVERIES.c.hook_id == hook_id))

        await self._store.run(work, lane="webhooks")
        self._hooks.pop(hook_id, None)
        self._pending.pop(hook_id, None)
        self._failing.discard(hook_id)

    # --- telling ---

    def wants(self, event: str) -> bool:
        """Does anybody want to hear of this?"""
        return any(hook.wants(event) for hook in self._hooks.values())

    def enqueue(self, connection: Connection, event: str, data: Any, now_ms: int) -> None:
        """Put a message into the outbox, in the transaction of what it tells; runs in the store's thread."""
        hooks = [hook for hook in tuple(self._hooks.values()) if hook.wants(event)]
        if not hooks:
            return
        body = msgspec.json.encode({"event": event, "createdAt": now_ms, "node": self._node, "data": data}).decode()
        told: list[str] = []
        for hook in hooks:
            if self._pending[hook.id] >= self._config.webhook_pending_max:
                continue
            values = {"node": self._node, "event": event, "body": body, "attempts": 0}
            due = {"due_ms": now_ms, "created_ms": now_ms}
            connection.execute(DELIVERIES.insert().values(hook_id=hook.id, **values, **due))
            told.append(hook.id)
        after_commit(connection, partial(self._put_in, told, len(hooks) - len(told)))

    def _put_in(self, hook_ids: list[str], overflow: int) -> None:
        self._pending.update(hook_ids)
        self.results["overflow"] += overflow
        self._wake.set()

    def withdraw(self, connection: Connection, event: str, room: str) -> None:
        """Take a message about a room out of the outbox again, unless it was told already."""
        mine = (DELIVERIES.c.node == self._node, DELIVERIES.c.event == event, DELIVERIES.c.body.contains(room))
        connection.execute(delete(DELIVERIES).where(*mine))

    def adopt(self, connection: Connection, node: str) -> None:
        """Tell what a node that is gone had still to tell; it may have told it already."""
        theirs = DELIVERIES.update().where(DELIVERIES.c.node == node)
        connection.execute(theirs.values(node=self._node, attempts=DELIVERIES.c.attempts + 1))

    def woken(self) -> None:
        """Look at the outbox now."""
        self._wake.set()

    async def ask(self, event: str, fields: dict[str, Any]) -> Answer:
        """Tell those who want this event at once and return their answer: the first that is not 0, or 0.

        Three tries each (`webhook_tries`); no usable answer is 1002. For `iot_voip_notify`, whose answer decides.
        """
        hooks = [hook for hook in self._hooks.values() if hook.wants(event)]
        if not hooks:
            return Answer(Code.REQUEST_FAILED, f"no webhook takes {event}")
        body = msgspec.json.encode(fields).decode()
        answers = await asyncio.gather(*(self._ask(hook, event, body) for hook in hooks))
        return next((answer for answer in answers if answer.errcode), answers[0])

    async def _ask(self, hook: Hook, event: str, body: str) -> Answer:
        delivery = secrets.token_hex(8)
        for attempt in range(1, self._config.webhook_tries + 1):
            try:
                status, answer = await self._post(hook, event, delivery, attempt, body)
                if 200 <= status < 300:
                    decoded = msgspec.json.decode(answer or b"{}", type=Answer)
                    self.results["delivered"] += 1
                    return decoded
            except (*FAILURES, msgspec.DecodeError):
                pass  # counted below; the next try, or the caller, decides
            self.results["failed"] += 1
            if attempt < self._config.webhook_tries:
                await asyncio.sleep(FIRST_PAUSE_S / 2)
        return Answer(Code.REQUEST_FAILED, "the operator's server did not answer")

    # --- the outbox ---

    async def _load(self) -> None:
        def work(connection: Connection) -> tuple[list[Hook], dict[str, int]]:
            rows = connection.execute(select(WEBHOOKS).order_by(WEBHOOKS.c.created_ms, WEBHOOKS.c.hook_id)).all()
            hooks = [
                Hook(row.hook_id, row.url, msgspec.json.decode(row.events, type=tuple[str, ...]), row.secret)
                for row in rows
            ]
            counted = select(DELIVERIES.c.hook_id, func.count()).group_by(DELIVERIES.c.hook_id)
            return hooks, {row[0]: row[1] for row in connection.execute(counted)}

        hooks, pending = await self._store.run(work, lane="webhooks")
        self._hooks = {hook.id: hook for hook in hooks}
        self._pending = Counter(pending)
        self._loaded = time.monotonic()

    async def _deliver(self) -> None:
        while True:
            self._wake.clear()
            wait_s = IDLE_S
            try:
                if time.monotonic() - self._loaded > IDLE_S:
                    await self._load()  # another node may have been told of a new one
                wait_s = await self._send_due()
            except ApiError:
                pass  # the store is down; what is in it can wait
            except Exception:
                log.exception("looking at the outbox failed")
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _send_due(self) -> float:
        """Send what is due; returns how long nothing more will be."""
        while True:
            room = IN_FLIGHT - len(self._sending)
            if room <= 0:
                return IDLE_S  # a delivery that ends wakes us
            now_ms = int(self._wall() * 1000)
            rows = await self._next(room)
            started = 0
            for row in rows:
                if row.due_ms > now_ms:
                    return min(IDLE_S, float(row.due_ms - now_ms) / 1000)
                if self._busy[row.hook_id] >= IN_FLIGHT_PER_HOOK:
                    continue
                started += 1
                self._busy[row.hook_id] += 1
                self._sending.add(row.delivery_id)
                task = asyncio.get_running_loop().create_task(self._send(row))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if len(rows) < room or not started:
                return IDLE_S
            # Many rows of one webhook may have hidden those of another.

    async def _next(self, limit: int) -> list[Any]:
        """The rows that are due next, of the webhooks that have room."""
        full = tuple(hook_id for hook_id, count in self._busy.items() if count >= IN_FLIGHT_PER_HOOK)
        query = (
            select(DELIVERIES)
            .where(
                DELIVERIES.c.node == self._node,
                DELIVERIES.c.delivery_id.not_in(tuple(self._sending)),
                DELIVERIES.c.hook_id.not_in(full),
            )
            .order_by(DELIVERIES.c.due_ms, DELIVERIES.c.delivery_id)
            .limit(limit)
        )
        return await self._store.run(lambda connection: list(connection.execute(query).all()), lane="webhooks")

    async def _send(self, row: Any) -> None:
        hook = self._hooks.get(row.hook_id)  # None: it was removed
        attempt = max(row.attempts + 1, 2 if row.delivery_id <= self._earlier else 1)
        status = 0
        try:
            if hook is not None:
                status, _ = await self._post(hook, row.event, str(row.delivery_id), attempt, row.body)
        except FAILURES:
            pass  # as a refusal: tried again
        finally:
            self._busy[row.hook_id] -= 1
            if not self._busy[row.hook_id]:
                del self._busy[row.hook_id]
        now_ms = int(self._wall() * 1000)
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt - 1, DOUBLINGS_MAX))
        due_ms = now_ms + int(1000 * pause_s)
        done = 200 <= status < 300
        given_up = not done and due_ms - row.created_ms > 1000 * self._config.webhook_give_up_s
        if hook is not None:
            self.results["delivered" if done else "failed"] += 1
            self._watch(row.hook_id, done, status)
            if given_up:
                self.results["given_up"] += 1
                log.warning("a webhook message was given up", extra={"event": row.event, "attempts": attempt})
        mine = DELIVERIES.c.delivery_id == row.delivery_id
        leaves = done or given_up or hook is None

        def work(connection: Connection) -> None:
            if leaves:
                connection.execute(delete(DELIVERIES).where(mine))
            else:
                connection.execute(DELIVERIES.update().where(mine).values(attempts=attempt, due_ms=due_ms))
            after_commit(connection, partial(self._recorded, row, leaves))

        # Kept until the store takes it: until then the message is not sent again.
        self._store.later(work, lane="webhooks")

    def _watch(self, hook_id: str, done: bool, status: int) -> None:
        """Say once that a target does not take messages, and once that it does again."""
        if not done and hook_id not in self._failing:
            self._failing.add(hook_id)
            log.warning(
                "a webhook's target does not take messages", extra={"hook": hook_id, "status": status or "none"}
            )
        elif done and hook_id in self._failing:
            self._failing.discard(hook_id)
            log.info("a webhook's target takes messages again", extra={"hook": hook_id})

    def _recorded(self, row: Any, leaves: bool) -> None:
        self._sending.discard(row.delivery_id)
        if leaves and self._pending[row.hook_id] > 0:
            self._pending[row.hook_id] -= 1
        self._wake.set()

    async def _post(self, hook: Hook, event: str, delivery: str, attempt: int, body: str) -> tuple[int, bytes]:
        """Status and the first bytes of the answer. Raises one of FAILURES."""
        assert self._http is not None
        url = URL(hook.url)
        self._targets.refuse_literal(url.host or "")
        stamp = str(int(self._wall()))
        headers = {
            "Content-Type": "application/json",
            "Relay-Event": event,
            "Relay-Delivery": delivery,
            "Relay-Attempt": str(attempt),  # above 1: perhaps a repeat
            "Relay-Timestamp": stamp,
            "Relay-Signature": sign(hook.secret, stamp, body),
        }
        async with self._http.post(url, data=body.encode(), headers=headers, allow_redirects=False) as response:
            answer = bytearray()
            while len(answer) < ANSWER_MAX and (more := await response.content.read(ANSWER_MAX - len(answer))):
                answer += more
            return response.status, bytes(answer)


def sign(secret: str, stamp: str, body: str) -> str:
    """The value of `Relay-Signature`; a receiver compares it in constant time and looks at the stamp's age."""
    digest = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"v1={digest}"
