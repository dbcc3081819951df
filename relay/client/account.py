"""What the relay keeps about a device besides calls: who may be called, its wake-up token, its picture profile."""

from collections.abc import Iterable
from typing import Any

import msgspec

from relay.client.http import Http
from relay.client.profile import Profile


class PushToken(msgspec.Struct, frozen=True):
    """Give `token` to the operator's server: with it the device can be called. Unix seconds."""

    token: str
    expire_timestamp: int = msgspec.field(name="expireTimestamp")


class Contact(msgspec.Struct, frozen=True):
    """One user and this device. `status` 1: this user may be called."""

    openid: str
    status: int
    sn: str = ""
    model_id: str = ""

    @property
    def allowed(self) -> bool:
        return self.status == 1


class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """What one user decided about this device, or about the group it is in. `status` 1: may be called."""

    openid: str
    status: int
    state: str = ""
    grant_id: str = ""
    group_id: str | None = None
    device_name: str = ""
    changed_at: int = 0  # Unix milliseconds


class Account:
    """The paths below /v1/devices/{sn}. Every method raises Refused or Unreachable."""

    def __init__(self, http: Http, sn: str) -> None:
        self._http = http
        self._sn = sn

    async def push_token(self) -> PushToken:
        answer = await self._http.post(*self._path("push-token"), body={})
        return answer.read(PushToken)

    async def contacts(self, openids: Iterable[str], model_id: str) -> list[Contact]:
        """Which of these users may be called. `model_id` empty: the one the relay knows this device by."""
        body = {"model_id": model_id or await self.model_id(), "openid_list": list(openids)}
        answer = await self._http.post(*self._path("contacts", "status"), body=body)
        return answer.read(_Contacts).contact_list

    async def model_id(self) -> str:
        """The device type the relay knows this device by."""
        return (await self._http.get(*self._path())).read(_Registered).model_id

    async def profile(self) -> Profile:
        return (await self._http.get(*self._path("profile"))).read(Profile)

    async def set_profile(self, changes: dict[str, Any]) -> Profile:
        """Change the fields named as in the interface; returns the whole profile."""
        return (await self._http.put(*self._path("profile"), body=changes)).read(Profile)

    async def grants(self) -> list[Grant]:
        """What users decided about this device."""
        return (await self._http.get(*self._path("grants"))).read(_Grants).grants

    def _path(self, *parts: str) -> tuple[str, ...]:
        return ("v1", "devices", self._sn, *parts)


class _Contacts(msgspec.Struct, frozen=True):
    contact_list: list[Contact]


class _Registered(msgspec.Struct, frozen=True):
    model_id: str = msgspec.field(name="modelId")


class _Grants(msgspec.Struct, frozen=True):
    grants: list[Grant]
