"""Demo mode: the pages of `relay/web` and a token for anybody who asks. Never on by default."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from aiohttp import web

from relay.api.calls import OPENID, SN
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.tokens import Tokens
from relay.calls.devices import Devices
from relay.calls.invitation import Id, Name
from relay.config import Config
from relay.errors import ApiError, Code

DEMO_MODEL = "demo"
WEB = Path(__file__).resolve().parent.parent / "web"

# What the pages need and no more: their own scripts, pictures and streams, the camera for their own origin.
POLICY = (
    "default-src 'self'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob: mediastream:",
    "connect-src 'self' ws: wss:",  # not every browser counts ws: of the own host as 'self'
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), autoplay=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {  # not left to the machine's own table: a module script with another type is not run
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".woff2": "font/woff2",
}


class TokenRequest(msgspec.Struct, frozen=True):
    """`id` is the openid, the SN, or for a publisher or player the name of the WHIP room."""

    kind: Literal["user", "device", "publisher", "player"]
    id: Id
    name: Name = ""
    model_id: Name = DEMO_MODEL
    appid: Name = ""


class DemoToken(msgspec.Struct, frozen=True):
    token: str


class Demo:
    """The handlers of demo mode."""

    ENDPOINTS = (
        Endpoint("POST", "/demo/token", "token", "Demo mode: a token for anybody", body=TokenRequest, answer=DemoToken,
                 codes=(2, 7, 1004), tag="demo"),
    )  # fmt: skip

    def __init__(
        self, config: Config, tokens: Tokens, devices: Devices, wall: Callable[[], float] = time.time, root: Path = WEB
    ) -> None:
        self._devices = devices
        self._wall = wall
        self._config = config
        self._tokens = tokens
        self._root = root

    def routes(self) -> list[web.RouteDef]:
        # Pages leave the API's paths alone: a GET there must stay 404 or 405.
        return [
            web.get("/{path:(?!v1/|whip/|whep/|demo/|wxa/|cgi-bin/).*}", self.page),
        ]

    async def token(self, asked: Asked[TokenRequest, Empty]) -> DemoToken:
        # A page of another site can't come here: JSON needs a preflight, and this path has none.
        body = asked.body
        if not (SN if body.kind == "device" else OPENID).fullmatch(body.id):
            code = Code.BAD_DEVICE_ID if body.kind == "device" else Code.BAD_OPENID
            raise ApiError(400, code)
        if body.kind == "publisher" or body.kind == "player":
            token = self._tokens.mint("leg", body.kind, self._config.demo_token_s, room=body.id, role=body.kind)
            return DemoToken(token)
        now_ms = int(self._wall() * 1000)
        if body.kind == "device":
            await self._devices.learn(body.id, body.model_id, body.name, now_ms)
            identity = {"sn": body.id, "model_id": body.model_id}
        else:
            await self._devices.saw_user(body.id, body.appid, now_ms)
            identity = {"openid": body.id, "appid": body.appid}
        given = {name: value for name, value in identity.items() if value}
        return DemoToken(self._tokens.mint(body.kind, body.id, self._config.demo_token_s, **given))

    async def page(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"] or "index.html"
        try:
            file = (self._root / path).resolve()
            found = file.is_relative_to(self._root.resolve()) and file.is_file()
        except (OSError, ValueError):  # a NUL, or a name longer than the file system's
            found = False
        if not found or file.suffix not in TYPES:
            raise ApiError(404, Code.WRONG_PARAMETER, "no such page")
        content_type = TYPES[file.suffix]
        if content_type.startswith("text/"):
            content_type += "; charset=utf-8"
        return web.FileResponse(file, headers={**HEADERS, "Content-Type": content_type})
