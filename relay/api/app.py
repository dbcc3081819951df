"""The node's HTTP application: which path belongs to which handler, and nothing else."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web

from relay.api.calls import Calls
from relay.api.cloud import Cloud
from relay.api.cors import on_prepare, preflight
from relay.api.demo import Demo
from relay.api.devices import DeviceApi
from relay.api.endpoint import Endpoints
from relay.api.events import EventSockets
from relay.api.faults import faults
from relay.api.grants import GrantApi
from relay.api.hooks import HookApi
from relay.api.legs import LegApi
from relay.api.limits import Limits
from relay.api.openapi import document
from relay.api.repeats import Repeats
from relay.api.tokens import Tokens
from relay.api.whip import Whip
from relay.api.wxa import Wxa
from relay.calls.devices import Devices
from relay.calls.grants import Grants
from relay.calls.groups import Groups
from relay.calls.journal import Journal
from relay.calls.rooms import Rooms
from relay.calls.service import CallService
from relay.calls.tickets import Tickets
from relay.calls.webhooks import Webhooks
from relay.config import Config
from relay.media.messages import Media
from relay.store.engine import Store

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus exposition format

ROOMS = web.AppKey("rooms", Rooms)
SOCKETS = web.AppKey("sockets", EventSockets)
LIMITS = web.AppKey("limits", Limits)


@dataclass(frozen=True)
class CallPlane:
    """What the HTTP surface stands on; made by `plane`, started by whoever runs the node."""

    store: Store
    webhooks: Webhooks
    journal: Journal
    calls: CallService

    async def start(self) -> int:
        """Open the store, end what an earlier life left behind; returns how many calls. Raises StoreError."""
        await self.store.start()
        await self.webhooks.start()
        left = await self.calls.recover()
        await self.journal.seen()
        return left

    async def close(self) -> bool:
        """After the calls have ended: False when records could not be written."""
        await self.webhooks.close()
        return await self.store.close()


def plane(
    media: Media,
    config: Config,
    node: str,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> CallPlane:
    """The call plane of a node, not started. Raises StoreError for a store that is none."""
    store = Store(config, node)
    webhooks = Webhooks(store, config, node, wall)
    journal = Journal(store, webhooks, node, wall)
    return CallPlane(store, webhooks, journal, CallService(media, store, journal, config, clock, wall))


def build(
    config: Config,
    base: CallPlane,
    media: Media,
    *,
    metrics: Callable[[], Awaitable[bytes]],
    ready: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> web.Application:
    """Wire the handlers. `clock` and `wall` must be those of `base`."""
    service = base.calls
    tokens = Tokens(config, wall)
    rooms = Rooms(media, config)
    devices = Devices(base.store, config)
    groups = Groups(base.store, config)
    grants = Grants(base.store, base.webhooks, config)
    limits = Limits(config, clock)

    def notice_user(openid: str, appid: str) -> None:
        devices.notice_user(openid, appid, now_ms())

    def now_ms() -> int:
        return int(wall() * 1000)

    sockets = EventSockets(config, service, tokens, notice_user, limits, clock, wall)
    calls = Calls(config, service, base.journal, devices, Cloud(base.webhooks, tokens, wall), tokens, wall)
    device_api = DeviceApi(devices, grants, Tickets(base.store, config), service.events, tokens, clock, wall)
    contract = msgspec.json.encode(document(demo=config.demo))

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if not ready():
            return web.json_response({"status": "not ready"}, status=503)
        return web.json_response({"status": "ready"})

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": METRICS_TYPE})

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=contract, content_type="application/json")

    app = web.Application(middlewares=[faults, preflight], client_max_size=config.max_body_bytes)
    app.on_response_prepare.append(on_prepare)
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", scrape),
            web.get("/openapi.json", openapi),
        ]
    )
    endpoints = Endpoints(config, tokens, limits, Repeats(config, clock))
    for handlers in (
        calls,
        LegApi(config, service, tokens),
        sockets,
        device_api,
        GrantApi(grants, groups, devices, wall),
        HookApi(base.webhooks),
        Whip("publisher", config, service, rooms, tokens),
        Whip("player", config, service, rooms, tokens),
        Wxa(tokens, device_api, calls, groups, now_ms),
    ):
        app.add_routes(endpoints.routes(handlers))
    demo = Demo(config, tokens, devices, wall)
    if config.demo:
        app.add_routes(endpoints.routes(demo))
    if config.demo or config.pages:
        app.add_routes(demo.routes())

    async def shut_down(_app: web.Application) -> None:
        await sockets.close()
        await rooms.close()

    app.on_shutdown.append(shut_down)
    app[ROOMS] = rooms
    app[SOCKETS] = sockets
    app[LIMITS] = limits
    return app
