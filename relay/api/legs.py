"""A party's media leg over HTTP: offer in, answer out; PATCH restarts ICE, DELETE leaves.

The same shape as WHIP (RFC 9725) so that its clients work, with a call's join credential as bearer token.
"""

from aiohttp import web

from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.requests import SDP, SDP_FRAGMENT, leg_claims, sdp_body
from relay.api.tokens import Tokens
from relay.calls.call import Side
from relay.calls.invitation import Party
from relay.calls.service import CallService
from relay.config import Config
from relay.errors import ApiError, Code
from relay.media.messages import MediaError


class LegApi:
    """The handlers of `/v1/calls/{room}/legs`."""

    ENDPOINTS = (
        Endpoint(
            "POST", "/v1/calls/{room}/legs", "open", "Join a call: an SDP offer in, the answer out",
            sdp=SDP, status=201, codes=(1004, 2000, 2003, 2004, 2008), tag="legs",
        ),
        Endpoint(
            "PATCH", "/v1/calls/{room}/legs/{leg}", "patch", "Restart ICE (RFC 8840 fragment)",
            sdp=SDP_FRAGMENT, codes=(1, 1004, 2008, 2010), tag="legs",
        ),
        Endpoint("DELETE", "/v1/calls/{room}/legs/{leg}", "close", "Leave a call", codes=(1, 2008), tag="legs"),
    )  # fmt: skip

    def __init__(self, config: Config, service: CallService, tokens: Tokens) -> None:
        self._config = config
        self._service = service
        self._tokens = tokens

    async def open(self, asked: Asked[Empty, Empty]) -> web.Response:
        request = asked.request
        room = request.match_info["room"]
        claims = leg_claims(request, self._tokens)
        if claims.kind != "leg" or claims.role not in (Side.CALLER, Side.LISTENER):
            raise ApiError(403, Code.SESSION_KEY, "an offer needs the join credential of create, answer or join")
        if claims.room != room:
            raise ApiError(403, Code.SESSION_KEY, "the join credential is for another call")
        offer = await sdp_body(request, self._config)
        self._tokens.spend(claims)
        try:
            if claims.answers:
                self._service.take(room, Party("device", claims.sub))
            ice, answer = await self._service.open_leg(room, Side(claims.role), offer, claims.sub)
        except MediaError:
            self._tokens.unspend(claims)
            raise
        return web.Response(
            status=201,
            text=answer,
            content_type=SDP,
            headers={"Location": f"/v1/calls/{room}/legs/{ice.leg}", "ETag": ice.etag},
        )

    async def patch(self, asked: Asked[Empty, Empty]) -> web.Response:
        request = asked.request
        room, leg = self._owned(request)
        fragment = await sdp_body(request, self._config, SDP_FRAGMENT)
        answer = await self._service.legs.patch(room, leg, fragment, request.headers.get("If-Match"))
        if answer is None:
            return web.Response(status=204)
        ice, _, _ = self._service.legs.owner(room, leg)
        return web.Response(text=answer, content_type=SDP_FRAGMENT, headers={"ETag": ice.etag})

    async def close(self, asked: Asked[Empty, Empty]) -> web.Response:
        room, leg = self._owned(asked.request)
        await self._service.legs.close(room, leg)
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
        _, side, party = self._service.legs.owner(room, leg)
        if claims.kind == "operator" or claims.party == party:
            return room, leg
        if claims.kind == "leg" and claims.room == room and claims.role == side and claims.sub == party.id:
            return room, leg
        raise ApiError(404, Code.BAD_ROOM_ID, "no such leg")
