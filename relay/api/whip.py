"""WHIP (RFC 9725) and WHEP: publish into a room, play from it, without a call.

A room has one publisher and many players. The bearer token is an operator's, or a leg token with this room
and the role `publisher` or `player`; such a token may be used again, since encoders reconnect with the one
they have.
"""

import re
from collections.abc import Iterator

from aiohttp import web

from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.requests import SDP, SDP_FRAGMENT, leg_claims, sdp_body
from relay.api.tokens import Tokens
from relay.calls.rooms import Role, Rooms
from relay.calls.service import CallService
from relay.config import Config
from relay.errors import ApiError, Code

ROOM = re.compile(r"[A-Za-z0-9_-]{1,64}")
DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", re.MULTILINE)


def endpoints(role: Role) -> tuple[Endpoint, ...]:
    """Those of `/whip` (publisher) or `/whep` (player)."""
    path, what = ("/whip", "Publish into a room") if role == "publisher" else ("/whep", "Play from a room")
    return (
        Endpoint(
            "POST", path + "/{room}", "open", f"{what}: an SDP offer in, the answer out",
            sdp=SDP, status=201, codes=(1, 5, 1004, 2003, 2004, 2103), tag="rooms",
        ),
        Endpoint(
            "PATCH", path + "/{room}/{leg}", "patch", "Restart ICE (RFC 8840 fragment)",
            sdp=SDP_FRAGMENT, codes=(1, 1004, 2010, 2103), tag="rooms",
        ),
        Endpoint("DELETE", path + "/{room}/{leg}", "close", "Leave a room", codes=(1, 2103), tag="rooms"),
    )  # fmt: skip


class Whip:
    """The handlers of one of `/whip` (publisher) and `/whep` (player)."""

    def __init__(self, role: Role, config: Config, service: CallService, rooms: Rooms, tokens: Tokens) -> None:
        self._role: Role = role
        self._path = "/whip" if role == "publisher" else "/whep"
        self._config = config
        self._service = service
        self._rooms = rooms
        self._tokens = tokens
        self.ENDPOINTS = endpoints(role)

    async def open(self, asked: Asked[Empty, Empty]) -> web.Response:
        request = asked.request
        room = self._allowed(request)
        offer = await sdp_body(request, self._config)
        self._check_directions(offer)
        if self._service.draining:
            raise ApiError(503, Code.ROOM_NOT_MADE, "this node is draining; try another one")
        ice, answer = await self._rooms.open_leg(room, self._role, offer)
        return web.Response(
            status=201,
            text=answer,
            content_type=SDP,
            headers={"Location": f"{self._path}/{room}/{ice.leg}", "ETag": ice.etag},
        )

    async def patch(self, asked: Asked[Empty, Empty]) -> web.Response:
        request = asked.request
        room = self._allowed(request, expired=True)
        fragment = await sdp_body(request, self._config, SDP_FRAGMENT)
        ice, answer = await self._rooms.patch_leg(
            room, self._role, request.match_info["leg"], fragment, request.headers.get("If-Match")
        )
        if answer is None:
            return web.Response(status=204)
        return web.Response(text=answer, content_type=SDP_FRAGMENT, headers={"ETag": ice.etag})

    async def close(self, asked: Asked[Empty, Empty]) -> web.Response:
        request = asked.request
        room = self._allowed(request, expired=True)
        await self._rooms.close_leg(room, self._role, request.match_info["leg"])
        return web.Response()

    def _allowed(self, request: web.Request, *, expired: bool = False) -> str:
        """The room of the path, if the token opens it. `expired`: a leg token may have run out since."""
        claims = leg_claims(request, self._tokens, expired=expired)
        if expired and claims.kind != "leg":
            claims = leg_claims(request, self._tokens)
        room = request.match_info["room"]
        if not ROOM.fullmatch(room):
            raise ApiError(400, Code.BAD_ROOM_ID, "a room's name has 1 to 64 letters, digits, _ and -")
        if claims.kind == "operator":
            return room
        if claims.kind == "leg" and claims.room == room and claims.role == self._role:
            return room
        raise ApiError(403, Code.NO_API_PERMISSION, f"a token with role {self._role} for this room is needed")

    def _check_directions(self, offer: str) -> None:
        """A player must not send, or it would publish into the room; a publisher must."""
        directions = list(_directions(offer))
        if self._role == "player" and any(way in ("sendrecv", "sendonly") for way in directions):
            raise ApiError(422, Code.WRONG_PARAMETER, "a player's offer must be recvonly")
        if self._role == "publisher" and not any(way in ("sendrecv", "sendonly") for way in directions):
            raise ApiError(422, Code.WRONG_PARAMETER, "a publisher's offer must be sendonly")


def _directions(offer: str) -> Iterator[str]:
    """The direction of each audio and video section in use (RFC 8866 §6.7: sendrecv when none is given)."""
    session, *sections = re.split(r"^m=", offer, flags=re.MULTILINE)
    default = _direction(session, "sendrecv")
    for section in sections:
        words = section.split(maxsplit=2)
        if len(words) > 1 and words[0] in ("audio", "video") and words[1] != "0":
            yield _direction(section, default)


def _direction(lines: str, default: str) -> str:
    match = DIRECTION.search(lines)
    return match[1] if match else default
