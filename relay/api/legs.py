"""A party's media leg over HTTP: offer in, answer out; PATCH restarts ICE, DELETE leaves.

The same shape as WHIP (RFC 9725) so that its clients work, with a call's join credential as bearer token.
"""

from aiohttp import web

from relay.api.requests import SDP, SDP_FRAGMENT, leg_claims, sdp_body
from relay.api.tokens import Tokens
from relay.calls.call import Side
from relay.calls.service import CallService
from relay.config import Config
from relay.errors import ApiError, Code
from relay.media.messages import MediaError


class Legs:
    """The handlers of `/v1/calls/{room}/legs`."""

    def __init__(self, config: Config, service: CallService, tokens: Tokens) -> None:
        self._config = config
        self._service = service
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/calls/{room}/legs", self.open),
            web.patch("/v1/calls/{room}/legs/{leg}", self.patch),
            web.delete("/v1/calls/{room}/legs/{leg}", self.close),
        ]

    async def open(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        claims = leg_claims(request, self._tokens)
        if claims.kind != "leg" or claims.role not in (Side.CALLER, Side.LISTENER):
            raise ApiError(403, Code.SESSION_KEY, "an offer needs the join credential of create, answer or join")
        if claims.room != room:
            raise ApiError(403, Code.SESSION_KEY, "the join credential is for another call")
        offer = await sdp_body(request, self._config)
        self._tokens.spend(claims)
        try:
            ice, answer = await self._service.open_leg(room, Side(claims.role), offer)
        except MediaError:
            self._tokens.unspend(claims)
            raise
        return web.Response(
            status=201,
            text=answer,
            content_type=SDP,
            headers={"Location": f"/v1/calls/{room}/legs/{ice.leg}", "ETag": ice.etag},
        )

    async def patch(self, request: web.Request) -> web.Response:
        room, leg = self._owned(request)
        fragment = await sdp_body(request, self._config, SDP_FRAGMENT)
        answer = await self._service.patch_leg(room, leg, fragment, request.headers.get("If-Match"))
        if answer is None:
            return web.Response(status=204)
        ice, _, _ = self._service.leg_owner(room, leg)
        return web.Response(text=answer, content_type=SDP_FRAGMENT, headers={"ETag": ice.etag})

    async def close(self, request: web.Request) -> web.Response:
        room, leg = self._owned(request)
        await self._service.close_leg(room, leg)
        return web.Response()

    def _owned(self, request: web.Request) -> tuple[str, str]:
        """The leg of the path, if the token may touch it; another's leg does not exist.

        An expired credential is good enough here: it was checked when the leg was opened, and the leg's end
        must not depend on a token of one minute.
        """
        room, leg = request.match_info["room"], request.match_info["leg"]
        claims = leg_claims(request, self._tokens, expired=True)
        if claims.kind != "leg":
            claims = leg_claims(request, self._tokens)
        _, side, party = self._service.leg_owner(room, leg)
        if claims.kind == "operator" or claims.party == party:
            return room, leg
        if claims.kind == "leg" and claims.room == room and claims.role == side and claims.sub == party.id:
            return room, leg
        raise ApiError(404, Code.BAD_ROOM_ID, "no such leg")
