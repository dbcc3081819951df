"""Grants and groups over HTTP: wx.requestDeviceVoIP, wx.getDeviceVoIPList, and what the operator sees of them."""

import time
from collections.abc import Callable
from typing import Annotated

import msgspec

from relay.api.devices import OPERATOR
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.calls.devices import Devices, check_sn
from relay.calls.grants import GrantId, GrantRequest, Grants, GrantView, Listed
from relay.calls.groups import GroupEntry, Groups, GroupView, MemberChange
from relay.errors import ApiError, Code


class GrantList(msgspec.Struct, frozen=True):
    list: list[Listed]


class GroupSize(msgspec.Struct, frozen=True):
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class GrantApi:
    """The handlers of `/v1/grants` and `/v1/groups`."""

    ENDPOINTS = (
        Endpoint(
            "POST", "/v1/grants", "request", "The user's decision about a device or a group (wx.requestDeviceVoIP)",
            who=("user",), body=GrantRequest, answer=GrantView,
            codes=(19, 1004, 10001, 10008, 10021, 10025, -12001), tag="grants",
        ),
        Endpoint(
            "GET", "/v1/grants", "listed", "What the user decided (wx.getDeviceVoIPList)",
            who=("user",), answer=GrantList, tag="grants",
        ),
        Endpoint(
            "DELETE", "/v1/grants/{grant}", "revoke", "Switch a grant off, or revoke it",
            who=("user", "operator"), answer=GrantId, codes=(9,), tag="grants",
        ),
        Endpoint(
            "POST", "/v1/grants/{grant}/reopen", "reopen", "Allow to be asked again after a refusal",
            who=("user",), answer=GrantId, codes=(9, 10001, 45009), tag="grants",
        ),
        Endpoint(
            "POST", "/v1/groups", "create_group", "Make a group of devices",
            who=OPERATOR, body=GroupEntry, answer=GroupView, status=201, codes=(1004, 9800012, 9800044), tag="groups",
        ),
        Endpoint(
            "GET", "/v1/groups/{group}", "group", "A group and its devices",
            who=OPERATOR, answer=GroupView, codes=(9800013,), tag="groups",
        ),
        Endpoint(
            "PATCH", "/v1/groups/{group}", "resize_group", "Let a group have more devices",
            who=OPERATOR, body=GroupSize, answer=GroupView, codes=(9800013,), tag="groups",
        ),
        Endpoint(
            "POST", "/v1/groups/{group}/devices", "add", "Put devices into a group",
            who=OPERATOR, body=MemberChange, answer=GroupView,
            codes=(9800004, 9800013, 9800014, 9800015, 9800016, 9800018), tag="groups",
        ),
        Endpoint(
            "DELETE", "/v1/groups/{group}/devices", "take_out", "Take devices out of a group",
            who=OPERATOR, body=MemberChange, answer=GroupView, codes=(9800013, 9800017), tag="groups",
        ),
    )  # fmt: skip

    def __init__(
        self,
        grants: Grants,
        groups: Groups,
        devices: Devices,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._grants = grants
        self._groups = groups
        self._devices = devices
        self._wall = wall

    async def request(self, asked: Asked[GrantRequest, Empty]) -> GrantView:
        if not asked.body.is_group:
            check_sn(asked.body.sn)
        openid = asked.own.id
        assert asked.claims is not None
        await self._devices.saw_user(openid, asked.claims.appid, self._now_ms())
        return await self._grants.request(openid, asked.body, self._now_ms(), asked.claims.appid)

    async def listed(self, asked: Asked[Empty, Empty]) -> GrantList:
        return GrantList(await self._grants.of_user(asked.own.id))

    async def revoke(self, asked: Asked[Empty, Empty]) -> GrantId:
        openid = None if asked.party is None else asked.own.id
        return await self._grants.revoke(asked.path["grant"], openid, self._now_ms())

    async def reopen(self, asked: Asked[Empty, Empty]) -> GrantId:
        return await self._grants.reopen(asked.path["grant"], asked.own.id, self._now_ms())

    async def create_group(self, asked: Asked[GroupEntry, Empty]) -> GroupView:
        return await self._groups.create(asked.body, self._now_ms())

    async def group(self, asked: Asked[Empty, Empty]) -> GroupView:
        return await self._groups.view(asked.path["group"])

    async def resize_group(self, asked: Asked[GroupSize, Empty]) -> GroupView:
        return await self._groups.resize(asked.path["group"], asked.body.max_devices)

    async def add(self, asked: Asked[MemberChange, Empty]) -> GroupView:
        _check_members(asked.body)
        return await self._groups.add(asked.path["group"], asked.body)

    async def take_out(self, asked: Asked[MemberChange, Empty]) -> GroupView:
        return await self._groups.take_out(asked.path["group"], asked.body)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _check_members(change: MemberChange) -> None:
    """Raises ApiError 400/1004 for a device that is named twice."""
    if len({member.sn for member in change.device_list}) != len(change.device_list):
        raise ApiError(400, Code.WRONG_PARAMETER, "device_list: each device only once")
