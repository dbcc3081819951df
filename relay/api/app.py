"""The node's HTTP application: which path belongs to which handler, and nothing else."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from relay.api.calls import Calls
from relay.api.cors import on_prepare, preflight
from relay.api.demo import Demo
from relay.api.events import EventSockets
from relay.api.faults import faults
from relay.api.legs import Legs
from relay.api.tokens import Tokens
from relay.api.whip import Whip
from relay.calls.rooms import Rooms
from relay.calls.service import CallService
from relay.config import Config
from relay.media.messages import Media

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus exposition format

ROOMS = web.AppKey("rooms", Rooms)
SOCKETS = web.AppKey("sockets", EventSockets)


def build(
    config: Config,
    service: CallService,
    media: Media,
    *,
    metrics: Callable[[], Awaitable[bytes]],
    ready: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> web.Application:
    """Wire the handlers. `clock` and `wall` must be those of `service`."""
    tokens = Tokens(config, wall)
    rooms = Rooms(media, config)
    sockets = EventSockets(config, service, tokens, clock, wall)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if not ready():
            return web.json_response({"status": "not ready"}, status=503)
        return web.json_response({"status": "ready"})

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application(middlewares=[faults, preflight], client_max_size=config.max_body_bytes)
    app.on_response_prepare.append(on_prepare)
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    app.add_routes(Calls(config, service, tokens).routes())
    app.add_routes(Legs(config, service, tokens).routes())
    app.add_routes(Whip("publisher", config, service, rooms, tokens).routes())
    app.add_routes(Whip("player", config, service, rooms, tokens).routes())
    app.add_routes(sockets.routes())
    if config.demo:
        app.add_routes(Demo(config, tokens).routes())

    async def shut_down(_app: web.Application) -> None:
        await sockets.close()
        await rooms.close()

    app.on_shutdown.append(shut_down)
    app[ROOMS] = rooms
    app[SOCKETS] = sockets
    return app
