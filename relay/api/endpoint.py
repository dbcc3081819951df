"""An endpoint: one method of one path, declared with the types that both check its requests and describe it.

A handler gets an `Asked`: who asks, the body and the query as typed structures, the parts of the path. It returns a
structure, which becomes JSON, or a whole response. `openapi.py` makes the machine-readable contract from the same
declarations, so the two cannot drift apart.

For each request, in this order: rate limit, bearer token, query, body, idempotency key, handler.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from relay.api.limits import Limits, site_of
from relay.api.repeats import Repeats, Reply
from relay.api.requests import json_body, socket_token
from relay.api.tokens import Claims, Kind, Tokens
from relay.calls.invitation import Party
from relay.config import Config
from relay.errors import ApiError, Code

B = TypeVar("B")
Q = TypeVar("Q")


class Empty(msgspec.Struct, frozen=True):
    """A body or query without fields."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[B, Q]):
    """One request, read. `claims` is None for endpoints that anybody may ask."""

    request: web.Request
    claims: Claims | None
    body: B
    query: Q

    @property
    def path(self) -> Mapping[str, str]:
        return self.request.match_info

    @property
    def party(self) -> Party | None:
        """The party that asks; None for the operator."""
        return None if self.claims is None else self.claims.party

    @property
    def own(self) -> Party:
        """The party that asks, at endpoints that only parties may ask."""
        party = self.party
        assert party is not None, "the endpoint's `who` saw to it"
        return party


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`handler` is the name of a method of the class that lists this endpoint. `who` None: anybody, or checked by the
    handler itself. `sdp`: the body is SDP, which the handler reads.
    """

    method: str
    path: str
    handler: str
    summary: str
    who: tuple[Kind, ...] | None = None
    body: type[Any] = Empty
    optional: bool = False
    query: type[Any] = Empty
    answer: Any = None
    status: int = 200
    codes: tuple[int, ...] = ()
    sdp: str = ""
    own_key: bool = False  # the handler looks after idempotency keys itself
    wxa: bool = False  # answers refusals the way the original paths do: 200 with errcode and errmsg
    tag: str = field(default="calls")


Handler = Callable[[Asked[Any, Any]], Awaitable[Any]]


class Endpoints:
    """Binds declared endpoints to their handlers."""

    def __init__(self, config: Config, tokens: Tokens, limits: Limits, repeats: Repeats) -> None:
        self._config = config
        self._tokens = tokens
        self._limits = limits
        self._repeats = repeats

    def routes(self, handlers: Any) -> list[web.RouteDef]:
        """The routes of an object that lists its endpoints in `ENDPOINTS`."""
        return [self._route(endpoint, getattr(handlers, endpoint.handler)) for endpoint in handlers.ENDPOINTS]

    def _route(self, endpoint: Endpoint, handler: Handler) -> web.RouteDef:
        async def serve(request: web.Request) -> web.StreamResponse:
            if not endpoint.wxa:
                return await self._serve(endpoint, handler, request)
            try:
                return await self._serve(endpoint, handler, request)
            except ApiError as fault:
                if fault.status in (429, 503):
                    raise
                return web.json_response({"errcode": fault.code, "errmsg": fault.message})

        return web.route(endpoint.method, endpoint.path, serve)

    async def _serve(self, endpoint: Endpoint, handler: Handler, request: web.Request) -> web.StreamResponse:
        claims, fault = self._claims(endpoint, request)
        if claims is None:
            self._limits.take("anonymous", site_of(self._address(request)))
        else:
            self._limits.take(claims.kind, claims.identity)
        if endpoint.who is not None:
            if fault is not None:
                raise fault
            if claims is None or claims.kind not in endpoint.who:
                raise ApiError(403, Code.NO_API_PERMISSION, f"this is for: {', '.join(endpoint.who)}")
        if any("\x00" in part for part in request.match_info.values()):
            raise ApiError(404, Code.WRONG_PARAMETER, "no such path")  # not every database can be asked for a NUL
        query = _query(request, endpoint.query)
        body: Any = Empty()
        if endpoint.body is not Empty:
            body = await json_body(
                request, self._config, endpoint.body, optional=endpoint.optional, any_type=endpoint.wxa
            )
        asked: Asked[Any, Any] = Asked(request, claims, body, query)
        key_given = request.headers.get("Idempotency-Key")
        if key_given is None or endpoint.method == "GET" or endpoint.answer is None or endpoint.own_key:
            answer = await handler(asked)
            return answer if isinstance(answer, web.StreamResponse) else _response(_reply(endpoint, answer))

        async def work() -> Reply:
            answer = await handler(asked)
            assert not isinstance(answer, web.StreamResponse), "a response of its own cannot be given twice"
            return _reply(endpoint, answer)

        request_bytes = f"{request.method} {request.path} ".encode() + msgspec.json.encode([body, query])
        # Without a token the body itself (a ticket, a secret) is what entitles to the answer, and it must be the same.
        who = f"anonymous:{request.path}" if claims is None else f"{claims.kind}:{claims.identity}"
        return _response(await self._repeats.once(who, key_given, request_bytes, work))

    def _address(self, request: web.Request) -> str:
        """The client's address, also behind the proxies that the configuration counts."""
        hops = self._config.forwarded_hops
        told = request.headers.get("X-Forwarded-For", "").split(",") if hops else []
        return told[-hops].strip() if 0 < hops <= len(told) else request.remote or ""

    def _claims(self, endpoint: Endpoint, request: web.Request) -> tuple[Claims | None, ApiError | None]:
        """Who asks, or why that is not known."""
        try:
            if endpoint.wxa and "access_token" in request.query:
                return self._tokens.read(request.query["access_token"]), None
            return self._tokens.read(socket_token(request)), None
        except ApiError as fault:
            if endpoint.wxa:
                return None, ApiError(401, Code.INVALID_CREDENTIAL)
            return None, fault


def _query(request: web.Request, shape: type[Q]) -> Q:
    try:
        return msgspec.convert(dict(request.query), shape, strict=False)
    except msgspec.ValidationError as fault:
        raise ApiError(400, Code.WRONG_PARAMETER, f"bad query: {fault}") from None


def _reply(endpoint: Endpoint, answer: Any) -> Reply:
    return Reply(endpoint.status, msgspec.json.encode(answer), "application/json")


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, content_type=reply.content_type)
