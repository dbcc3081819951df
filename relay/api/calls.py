"""Calls over HTTP: create, answer, join, reject, hang up, read.

Paths as in plugin-interface §7.3, the order of checks at create as in §7.7, who may do what as in §7.6.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from relay.api.requests import bearer, json_body, party_of, party_or_operator
from relay.api.tokens import Tokens
from relay.calls.invitation import DEVICE_TO_USER, USER_TO_DEVICE, Invitation, Party
from relay.calls.service import CallService, Origin
from relay.config import Config
from relay.errors import ApiError, Code

SN = re.compile(r"[A-Za-z0-9_-]{1,128}")  # plugin-interface §4.1
OPENID = re.compile(r"[!-~]{1,128}")  # printable ASCII without spaces
KEY_MAX = 128  # characters of an idempotency key


class Rejection(msgspec.Struct, frozen=True):
    status: Literal["manual", "unloadCallPage", "forceFromApp", "busy"] = "manual"


class HangUp(msgspec.Struct, frozen=True):
    origin: Origin = "manual"


class Failure(msgspec.Struct, frozen=True):
    errMsg: Annotated[str, msgspec.Meta(max_length=256)] = "join room failed"


class Calls:
    """The handlers of `/v1/calls`."""

    def __init__(self, config: Config, service: CallService, tokens: Tokens) -> None:
        self._config = config
        self._service = service
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/calls", self.create),
            web.get("/v1/calls/{room}", self.read),
            web.get("/v1/calls/{room}/stats", self.stats),
            web.post("/v1/calls/{room}/answer", self.answer),
            web.post("/v1/calls/{room}/join", self.join),
            web.post("/v1/calls/{room}/reject", self.reject),
            web.post("/v1/calls/{room}/hangup", self.hang_up),
            web.post("/v1/calls/{room}/fail", self.fail),
        ]

    async def create(self, request: web.Request) -> web.Response:
        invitation = await json_body(request, self._config, Invitation)
        check_business(invitation)
        self._check_caller(request, invitation)
        check_listener(invitation)
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 0 < len(key) <= KEY_MAX:
            raise ApiError(400, Code.WRONG_PARAMETER, f"Idempotency-Key: 1 to {KEY_MAX} characters")
        room = self._service.create(invitation, key)
        return web.json_response(
            {
                "isSuccess": True,
                "roomId": room,
                "groupId": room,
                "chargeType": "duration",
                "credential": self._tokens.credential(room, "caller", invitation.caller_party),
            },
            status=201,
        )

    def _check_caller(self, request: web.Request, invitation: Invitation) -> None:
        """Side, token and identity of the caller. An operator may call for any device of its own."""
        caller = invitation.caller_party
        wrong = Code.DEVICE_TOKEN_WRONG if caller.kind == "device" else Code.USER_TOKEN_WRONG
        token = bearer(request)
        try:
            claims = self._tokens.read(token)
        except ApiError as fault:
            raise ApiError(401, wrong, fault.message) from None
        if claims.kind == "operator":
            return
        if claims.kind == "leg":
            raise ApiError(403, wrong, "a join credential cannot make a call")
        if claims.kind != caller.kind:
            raise ApiError(403, Code.ONLY_ON_DEVICE if caller.kind == "device" else Code.ONLY_IN_CLIENT)
        if claims.party != caller:
            raise ApiError(403, wrong, "caller.id is not the identity of this token")

    async def read(self, request: web.Request) -> web.Response:
        party = party_or_operator(request, self._tokens)
        return web.json_response(self._service.view(request.match_info["room"], party))

    async def stats(self, request: web.Request) -> web.Response:
        party = party_or_operator(request, self._tokens)
        report: dict[str, Any] = await self._service.stats(request.match_info["room"], party)
        return web.Response(body=msgspec.json.encode(report), content_type="application/json")

    async def answer(self, request: web.Request) -> web.Response:
        party, room = party_of(request, self._tokens), request.match_info["room"]
        self._service.answer(room, party)
        return self._admitted(room, "listener", party)

    async def join(self, request: web.Request) -> web.Response:
        party, room = party_of(request, self._tokens), request.match_info["room"]
        return self._admitted(room, self._service.join(room, party), party)

    def _admitted(self, room: str, role: str, party: Party) -> web.Response:
        credential = self._tokens.credential(room, role, party)
        return web.json_response({"roomId": room, "groupId": room, "role": role, "credential": credential})

    async def reject(self, request: web.Request) -> web.Response:
        party, room = party_of(request, self._tokens), request.match_info["room"]
        body = await json_body(request, self._config, Rejection, optional=True)
        self._service.reject(room, party, body.status)
        return web.json_response({"roomId": room})

    async def hang_up(self, request: web.Request) -> web.Response:
        party, room = party_or_operator(request, self._tokens), request.match_info["room"]
        body = await json_body(request, self._config, HangUp, optional=True)
        self._service.hang_up(room, party, body.origin)
        return web.json_response({"roomId": room})

    async def fail(self, request: web.Request) -> web.Response:
        party, room = party_of(request, self._tokens), request.match_info["room"]
        body = await json_body(request, self._config, Failure, optional=True)
        self._service.fail(room, party, body.errMsg)
        return web.json_response({"roomId": room})


def check_business(invitation: Invitation) -> None:
    """Raises ApiError: 1011 for the campus modes, 1004 for a mode of the other direction."""
    if invitation.business in (0, 3):
        raise ApiError(400, Code.UNSUPPORTED, f"businessType {invitation.business} (face mode) is not offered")
    expected = DEVICE_TO_USER if invitation.direction == "device_to_user" else USER_TO_DEVICE
    if invitation.business != expected:
        raise ApiError(400, Code.WRONG_PARAMETER, f"businessType {invitation.business} does not fit the direction")


def check_listener(invitation: Invitation) -> None:
    """Raises ApiError: 2 for an impossible SN, 20 for an impossible openid (of either party)."""
    for party in (invitation.caller_party, invitation.listener_party):
        if party.kind == "device" and not SN.fullmatch(party.id):
            raise ApiError(400, Code.BAD_DEVICE_ID, "an SN has letters, digits, _ and - only")
        if party.kind == "user" and not OPENID.fullmatch(party.id):
            raise ApiError(400, Code.OPENID_INVALID)
