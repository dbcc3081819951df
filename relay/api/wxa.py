"""The original paths of the server-side calls, for servers that change only the host name (§4.4, §7.3).

Same field names, same codes; the token is `?access_token=`, answers are always 200 with `errcode` and `errmsg`. The
token comes from `/cgi-bin/token` for an API key of the configuration.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from relay.api.calls import Calls, ServerCall, ServerCallMade
from relay.api.devices import OPERATOR, DeviceApi, Ticket, TicketQuestion
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.tokens import Tokens
from relay.calls.groups import GroupEntry, Groups, GroupView, Member, MemberChange
from relay.calls.invitation import Name
from relay.errors import ApiError, Code


class TokenQuery(msgspec.Struct, frozen=True):
    """`secret` is that of an API key, `appid` its name."""

    grant_type: Name = ""
    appid: Name = ""
    secret: Annotated[str, msgspec.Meta(max_length=512)] = ""


class AccessToken(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int  # seconds


class AccessQuery(msgspec.Struct, frozen=True):
    access_token: Annotated[str, msgspec.Meta(max_length=4096)] = ""


class GroupQuestion(msgspec.Struct, frozen=True):
    group_id: Name


class GroupChange(msgspec.Struct, frozen=True):
    group_id: Name
    device_list: Annotated[tuple[Member, ...], msgspec.Meta(min_length=1, max_length=1000)]
    force_add: bool = False


class GroupMade(msgspec.Struct, frozen=True):
    errcode: int
    errmsg: str
    group_id: str


class GroupInfo(msgspec.Struct, frozen=True):
    errcode: int
    errmsg: str
    group_id: str
    group_name: str
    model_id: str
    device_list: tuple[Member, ...]


class Wxa:
    """The handlers of `/wxa/...` and `/cgi-bin/token`."""

    ENDPOINTS = (
        Endpoint(
            "GET", "/cgi-bin/token", "access_token", "An access token for an API key",
            query=TokenQuery, answer=AccessToken, codes=(40001,), wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/cgi-bin/stable_token", "stable_token", "An access token for an API key",
            body=TokenQuery, answer=AccessToken, codes=(40001,), wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/getsnticket", "ticket", "getSnTicket",
            who=OPERATOR, query=AccessQuery, body=TicketQuestion, answer=Ticket, wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/business/group/createid", "create_group", "Make a group of devices",
            who=OPERATOR, query=AccessQuery, body=GroupEntry, answer=GroupMade, wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/business/group/adddevice", "add", "Put devices into a group",
            who=OPERATOR, query=AccessQuery, body=GroupChange, answer=GroupInfo, wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/business/group/removedevice", "take_out", "Take devices out of a group",
            who=OPERATOR, query=AccessQuery, body=GroupChange, answer=GroupInfo, wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/business/group/getinfo", "group", "A group and its devices",
            who=OPERATOR, query=AccessQuery, body=GroupQuestion, answer=GroupInfo, wxa=True, tag="original paths",
        ),
        Endpoint(
            "POST", "/wxa/business/iot/voip/call", "call", "Call a user for a device behind the operator's cloud",
            who=OPERATOR, query=AccessQuery, body=ServerCall, answer=ServerCallMade, wxa=True, tag="original paths",
        ),
    )  # fmt: skip

    def __init__(
        self, tokens: Tokens, devices: DeviceApi, calls: Calls, groups: Groups, now_ms: Callable[[], int]
    ) -> None:
        self._tokens = tokens
        self._devices = devices
        self._calls = calls
        self._groups = groups
        self._now_ms = now_ms

    async def access_token(self, asked: Asked[Empty, TokenQuery]) -> AccessToken:
        return self._access(asked.query)

    async def stable_token(self, asked: Asked[TokenQuery, Empty]) -> AccessToken:
        return self._access(asked.body)

    def _access(self, given: TokenQuery) -> AccessToken:
        if given.grant_type != "client_credential":
            raise ApiError(400, Code.WRONG_PARAMETER, "grant_type: must be client_credential")
        return AccessToken(*self._tokens.operator(given.secret))

    async def ticket(self, asked: Asked[TicketQuestion, AccessQuery]) -> Ticket:
        return await self._devices.ticket(asked)  # type: ignore[arg-type]

    async def create_group(self, asked: Asked[GroupEntry, AccessQuery]) -> GroupMade:
        view = await self._groups.create(asked.body, self._now_ms())
        return GroupMade(0, "ok", view.group_id)

    async def add(self, asked: Asked[GroupChange, AccessQuery]) -> GroupInfo:
        change = MemberChange(asked.body.device_list, asked.body.force_add)
        return _info(await self._groups.add(asked.body.group_id, change))

    async def take_out(self, asked: Asked[GroupChange, AccessQuery]) -> GroupInfo:
        return _info(await self._groups.take_out(asked.body.group_id, MemberChange(asked.body.device_list)))

    async def group(self, asked: Asked[GroupQuestion, AccessQuery]) -> GroupInfo:
        return _info(await self._groups.view(asked.body.group_id))

    async def call(self, asked: Asked[ServerCall, AccessQuery]) -> ServerCallMade:
        return await self._calls.call_for(asked.body.sn, asked.body)


def _info(view: GroupView) -> GroupInfo:
    return GroupInfo(0, "ok", view.group_id, view.group_name, view.model_id, view.device_list)
