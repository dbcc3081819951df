"""Webhooks: what happens at a node, told to the operator's servers. Nothing is lost with the node: an outbox.

What is to be told is written into the store together with what happened, in one transaction (`enqueue`), and deleted
when the target took it. So it is told at least once, also after a crash; what is told again says so (`Relay-Attempt`).
Back-off doubles from one second; after `webhook_give_up_s` a message is given up, counted and logged.

A message is signed with the webhook's secret: `Relay-Signature: v1=HEX`, the HMAC-SHA256 of the text of
`Relay-Timestamp` (Unix seconds), a dot, and the body.

A target is an address somebody typed in, so it may not lead inside: private, loopback, link-local and reserved
ranges are refused, after the name was resolved and at each connection, and redirects are not followed.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from sqlalchemy import Connection, delete, func, select

from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.schema import DELIVERIES, WEBHOOKS

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
IN_FLIGHT = 64  # deliveries under way
IN_FLIGHT_PER_HOOK = 8  # a slow target must not use up all of them
IDLE_S = 5.0  # how often the outbox is looked at when nothing was put into it
ANSWER_MAX = 64 * 1024  # bytes of an answer that are read
DEFAULT_EVENTS = ("call.*", "grant.changed", "iot_voip_notify")

Pattern = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_]+(\.([A-Za-z]+|\*))?$|^\*$", max_length=64)]


class HookEntry(msgspec.Struct, frozen=True):
    """What an operator asks for. `events` are names, or `call.*`, `event.*`, `*`."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    events: Annotated[tuple[Pattern, ...], msgspec.Meta(min_length=1, max_length=32)] = DEFAULT_EVENTS
    secret: Annotated[str, msgspec.Meta(min_length=16, max_length=128)] | None = None  # None: one is made


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

    def __init__(self, store: Store, config: Config, node: str, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._config = config
        self._node = node
        self._wall = wall
        self._hooks: dict[str, Hook] = {}
        # By hook: the store's count as last read, and what was put into it since. A bound, so near enough is good.
        self._pending: Counter[str] = Counter()
        self._loaded = 0.0
        self._http: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()  # deliveries under way, by hook
        self._wake = asyncio.Event()
        self.results: Counter[str] = Counter()  # delivered, failed, given_up, overflow

    # --- life ---

    async def start(self) -> None:
        await self._load()
        connector = aiohttp.TCPConnector(resolver=_Resolver(self._config.webhook_allow_private), limit=2 * IN_FLIGHT)
        timeout = aiohttp.ClientTimeout(total=self._config.webhook_s)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    async def close(self) -> None:
        """What is not delivered stays in the store, for the node's next life."""
        tasks = [*self._sending.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    # --- what the operator asks ---

    async def add(self, entry: HookEntry) -> Hook:
        """Raises ApiError 400/1004 for a target that may not be used, 429/1004 at `max_webhooks`."""
        await self._check_target(entry.url)
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
        for hook in hooks:
            if self._pending[hook.id] >= self._config.webhook_pending_max:
                self.results["overflow"] += 1
                continue
            self._pending[hook.id] += 1
            values = {"node": self._node, "event": event, "body": body, "attempts": 0}
            due = {"due_ms": now_ms, "created_ms": now_ms}
            connection.execute(DELIVERIES.insert().values(hook_id=hook.id, **values, **due))

    def woken(self) -> None:
        """Something was put into the outbox and is committed."""
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
                    self.results["delivered"] += 1
                    return msgspec.json.decode(answer or b"{}", type=Answer)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.DecodeError):
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
            try:
                if time.monotonic() - self._loaded > IDLE_S:
                    await self._load()  # another node may have been told of a new one
                wait_s = await self._send_due() if self._hooks else IDLE_S
            except ApiError:
                wait_s = IDLE_S  # the store is down; what is in it can wait
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _send_due(self) -> float:
        """Send what is due; returns how long nothing more will be."""
        now_ms = int(self._wall() * 1000)
        sending = tuple(self._sending)
        full = tuple(hook_id for hook_id, count in self._busy.items() if count >= IN_FLIGHT_PER_HOOK)
        room = IN_FLIGHT - len(sending)
        if room <= 0:
            return IDLE_S  # a delivery that ends wakes us

        def work(connection: Connection) -> list[Any]:
            query = (
                select(DELIVERIES)
                .where(
                    DELIVERIES.c.node == self._node,
                    DELIVERIES.c.delivery_id.not_in(sending),
                    DELIVERIES.c.hook_id.not_in(full),
                )
                .order_by(DELIVERIES.c.due_ms, DELIVERIES.c.delivery_id)
                .limit(room)
            )
            return list(connection.execute(query).all())

        rows = await self._store.run(work, lane="webhooks")
        for row in rows:
            if row.due_ms > now_ms:
                return min(IDLE_S, float(row.due_ms - now_ms) / 1000)
            if self._busy[row.hook_id] >= IN_FLIGHT_PER_HOOK or row.delivery_id in self._sending:
                continue
            self._busy[row.hook_id] += 1
            task = asyncio.get_running_loop().create_task(self._send(row))
            self._sending[row.delivery_id] = task
        return IDLE_S

    async def _send(self, row: Any) -> None:
        hook = self._hooks.get(row.hook_id)
        attempt = row.attempts + 1
        status = 0
        try:
            if hook is not None:
                status, _ = await self._post(hook, row.event, str(row.delivery_id), attempt, row.body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            pass  # as a refusal: tried again
        finally:
            self._busy[row.hook_id] -= 1
        now_ms = int(self._wall() * 1000)
        pause_ms = int(1000 * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1)))
        given_up = now_ms + pause_ms - row.created_ms > 1000 * self._config.webhook_give_up_s
        done = 200 <= status < 300 or hook is None
        self.results["delivered" if done else "failed"] += 1
        if given_up and not done:
            self.results["given_up"] += 1
            log.warning("a webhook message was given up", extra={"event": row.event, "attempts": attempt})
        mine = DELIVERIES.c.delivery_id == row.delivery_id

        def work(connection: Connection) -> None:
            if done or given_up:
                connection.execute(delete(DELIVERIES).where(mine))
            else:
                later = {"attempts": attempt, "due_ms": now_ms + pause_ms}
                connection.execute(DELIVERIES.update().where(mine).values(**later))

        try:
            await self._store.run(work, lane="webhooks")
        except ApiError:
            pass  # it stays in the outbox and is told again, marked as a repeat or not
        finally:
            del self._sending[row.delivery_id]
            self._wake.set()

    async def _post(self, hook: Hook, event: str, delivery: str, attempt: int, body: str) -> tuple[int, bytes]:
        assert self._http is not None
        self._refuse_literal(urlsplit(hook.url).hostname or "")
        stamp = str(int(self._wall()))
        headers = {
            "Content-Type": "application/json",
            "Relay-Event": event,
            "Relay-Delivery": delivery,
            "Relay-Attempt": str(attempt),  # above 1: a repeat
            "Relay-Timestamp": stamp,
            "Relay-Signature": sign(hook.secret, stamp, body),
        }
        async with self._http.post(hook.url, data=body.encode(), headers=headers, allow_redirects=False) as response:
            return response.status, await response.content.read(ANSWER_MAX)

    # --- targets ---

    async def _check_target(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ApiError(400, Code.WRONG_PARAMETER, "url: an http or https address without user name is needed")
        self._refuse_literal(parts.hostname)
        if self._config.webhook_allow_private:
            return
        try:
            async with asyncio.timeout(self._config.webhook_s):
                await _Resolver(False).resolve(parts.hostname, port or 0)
        except (OSError, TimeoutError) as fault:
            raise ApiError(400, Code.WRONG_PARAMETER, f"url: {fault or 'its name cannot be resolved'}") from None

    def _refuse_literal(self, host: str) -> None:
        """An address instead of a name never meets the resolver. Raises ApiError 400/1004."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        if not self._config.webhook_allow_private and inside(address):
            raise ApiError(400, Code.WRONG_PARAMETER, "url: this address lies in a private or reserved range")


class _Resolver(AbstractResolver):
    """Names that lead inside are not resolved; what the connection uses is what was looked at."""

    def __init__(self, private: bool) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for got_family, _, proto, _, address in found:
            if not self._private and inside(ipaddress.ip_address(str(address[0]).partition("%")[0])):
                raise OSError("its name leads into a private or reserved range")
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=int(address[1]), family=got_family, proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )  # fmt: skip
        return results

    async def close(self) -> None:
        pass


def inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Is this no address of the public internet? IPv6 forms that carry an IPv4 address count as that."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if carried is not None:
            return inside(carried)
        if address in NAT64:
            return inside(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return not address.is_global or address.is_multicast


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


def sign(secret: str, stamp: str, body: str) -> str:
    """The value of `Relay-Signature`; a receiver compares it in constant time and looks at the stamp's age."""
    digest = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"v1={digest}"
