"""Reading requests: bearer token, JSON and SDP bodies, each bounded in size and time. Faults are ApiError."""

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import http_exceptions, web

from relay.api.tokens import Claims, Tokens
from relay.config import Config
from relay.errors import ApiError, Code

T = TypeVar("T")

SDP = "application/sdp"
SDP_FRAGMENT = "application/trickle-ice-sdpfrag"  # RFC 8840 §9
JSON = "application/json"
TOKEN_PREFIX = "bearer."


def bearer(request: web.Request) -> str:
    """The token of the Authorization header (RFC 6750 §2.1). Raises ApiError 401/1001."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(401, Code.TOKEN_MISSING, "an Authorization: Bearer header is needed")
    return token.strip()


def socket_token(request: web.Request) -> str:
    """From the Authorization header or, for browsers, from Sec-WebSocket-Protocol."""
    if "Authorization" in request.headers:
        return bearer(request)
    for offered in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        if offered.strip().startswith(TOKEN_PREFIX):
            return offered.strip().removeprefix(TOKEN_PREFIX)
    raise ApiError(401, Code.TOKEN_MISSING)


def leg_claims(request: web.Request, tokens: Tokens, *, expired: bool = False) -> Claims:
    """The claims behind a request for a leg. A bad credential is 401/2008."""
    token = bearer(request)
    try:
        return tokens.read(token, expired=expired)
    except ApiError as fault:
        raise ApiError(401, Code.SESSION_KEY, fault.message) from None


async def json_body(
    request: web.Request, config: Config, shape: type[T], *, optional: bool = False, any_type: bool = False
) -> T:
    """The body as `shape`. With `optional`, an empty body is an empty object; with `any_type` its content type does
    not matter.

    Raises ApiError: 415 for another content type, 413 when too large, 408 when too slow, 400 for all else.
    """
    body = await _body(request, config)
    if not body and optional:
        body = b"{}"
    elif request.content_type != JSON and not any_type:
        raise ApiError(415, Code.WRONG_PARAMETER, f"the content type must be {JSON}")
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError) as fault:
        raise ApiError(400, Code.WRONG_PARAMETER, f"bad request body: {fault}") from None


async def sdp_body(request: web.Request, config: Config, content_type: str = SDP) -> str:
    """The body as SDP text, not parsed. Raises ApiError as `json_body` does."""
    if request.content_type != content_type:
        raise ApiError(415, Code.WRONG_PARAMETER, f"the content type must be {content_type}")
    body = await _body(request, config)
    if not body:
        raise ApiError(400, Code.WRONG_PARAMETER, "the body is empty")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ApiError(400, Code.WRONG_PARAMETER, "the body is not UTF-8") from None


async def _body(request: web.Request, config: Config) -> bytes:
    limit = config.max_body_bytes
    too_large = ApiError(413, Code.WRONG_PARAMETER, f"the body may have {limit} bytes")
    if (request.content_length or 0) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(config.body_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise ApiError(408, Code.WRONG_PARAMETER, f"the body took longer than {config.body_s:g} s") from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as fault:
        raise ApiError(400, Code.WRONG_PARAMETER, f"bad request body: {fault}") from None
    return bytes(body)
