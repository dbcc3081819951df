"""CORS for everything a page embeds: calls, legs, events, WHIP and WHEP.

Any origin may ask, because what counts is the bearer token in the request and browsers never add that by
themselves; cookies are not used and credentials mode is not allowed.
"""

from aiohttp import web

from relay.api.faults import Handler

PATHS = ("/v1/", "/whip/", "/whep/")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method != "OPTIONS" or not request.path.startswith(PATHS):
        return await handler(request)
    headers = dict(PREFLIGHT)
    if request.path.startswith(("/whip/", "/whep/")):
        headers["Accept-Post"] = "application/sdp"  # RFC 9725 §4.2
        headers["Accept-Patch"] = "application/trickle-ice-sdpfrag"
    return web.Response(status=204, headers=headers)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    if request.path.startswith(PATHS):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = "Location, ETag, Link, Retry-After"
        response.headers.setdefault("Cache-Control", "no-store")
