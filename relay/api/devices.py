"""Devices over HTTP: models, registration, tokens, push tokens, picture profile, contacts, messages, tickets."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from relay.api.calls import OPENID
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.tokens import Tokens
from relay.calls.devices import DeviceEntry, Devices, DeviceView, Model, ModelChange, Profile, check_sn, owner_of
from relay.calls.events import Events
from relay.calls.grants import Contact, DeviceGrant, Grants
from relay.calls.invitation import Id, Name, Opaque, Party
from relay.calls.tickets import Purpose, Tickets
from relay.errors import ApiError, Code

OPERATOR: tuple[Literal["operator"], ...] = ("operator",)
OWNERS: tuple[Literal["operator", "device"], ...] = ("operator", "device")
MESSAGE_MAX = 5_120  # bytes, plugin-interface §3.4
CONTACTS_MAX = 1_000


class UserQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    appid: Name = ""


class UserToken(msgspec.Struct, frozen=True, rename="camel"):
    token: str
    expire_timestamp: int  # Unix seconds


class Registration(msgspec.Struct, frozen=True, rename="camel"):
    model_id: Id
    sn_ticket: Opaque


class Registered(msgspec.Struct, frozen=True, rename="camel"):
    """The secret is told this once; `expire_timestamp` of the token is Unix seconds."""

    device_secret: str
    device_token: str
    expire_timestamp: int


class Secret(msgspec.Struct, frozen=True, rename="camel"):
    device_secret: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class DeviceToken(msgspec.Struct, frozen=True, rename="camel"):
    device_token: str
    expire_timestamp: int  # Unix seconds


class PushToken(msgspec.Struct, frozen=True, rename="camel"):
    """`token` is the plugin's name of it."""

    push_token: str
    token: str
    expire_timestamp: int  # Unix seconds


class WholeProfile(msgspec.Struct, frozen=True, rename="camel"):
    """A profile with the plugin's defaults for what was not set; `aspect_ratio` null: 4/3, or as the picture comes."""

    camera_rotation: int = 0
    aspect_ratio: float | None = None
    hor_mirror: bool = False
    vert_mirror: bool = False
    enable_toggle_camera: bool = True
    object_fit: str = "fill"


class ContactsQuestion(msgspec.Struct, frozen=True):
    """getIotBindContactList, with its field names."""

    model_id: Id
    openid_list: Annotated[tuple[Id, ...], msgspec.Meta(max_length=CONTACTS_MAX)]


class Contacts(msgspec.Struct, frozen=True):
    errcode: int
    errmsg: str
    contact_list: list[Contact]


class Message(msgspec.Struct, frozen=True):
    message: str


class Delivered(msgspec.Struct, frozen=True):
    delivered: int  # connections of the device that it was handed to


class DeviceGrants(msgspec.Struct, frozen=True):
    grants: list[DeviceGrant]


class TicketQuestion(msgspec.Struct, frozen=True):
    """`purpose` is an addition: a ticket for a grant goes to the user's client, so it cannot take over a device."""

    sn: str
    model_id: Name
    purpose: Purpose = "grant"


class Ticket(msgspec.Struct, frozen=True):
    errcode: int
    errmsg: str
    sn_ticket: str


class DeviceApi:
    """The handlers of `/v1/devices`, `/v1/models` and `/v1/tickets`."""

    ENDPOINTS = (
        Endpoint(
            "PUT", "/v1/models/{model}", "put_model", "Make a device type known, or change it",
            who=OPERATOR, body=ModelChange, answer=Model, codes=(1004,), tag="devices",
        ),
        Endpoint(
            "GET", "/v1/models/{model}", "model", "A device type",
            who=OPERATOR, answer=Model, codes=(9800003,), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/users/{openid}/token", "user_token", "A token with which a user's client signs in",
            who=OPERATOR, body=UserQuestion, optional=True, answer=UserToken, codes=(7,), tag="devices",
        ),
        Endpoint(
            "PUT", "/v1/devices/{sn}", "put", "Make a device known, or change it",
            who=OPERATOR, body=DeviceEntry, answer=DeviceView, codes=(1004, 9800001, 9800002), tag="devices",
        ),
        Endpoint(
            "GET", "/v1/devices/{sn}", "view", "A device",
            who=OWNERS, answer=DeviceView, codes=(2,), tag="devices",
        ),
        Endpoint(
            "DELETE", "/v1/devices/{sn}", "remove", "Forget a device and what was granted to it",
            who=OPERATOR, answer=Empty, codes=(2,), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/register", "register", "A device registers itself with a ticket",
            body=Registration, answer=Registered, codes=(9800003, 9800004, 9800011), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/token", "token", "A device token, for the device's secret",
            body=Secret, answer=DeviceToken, codes=(13,), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/push-token", "push_token", "A token with which the device can be called",
            who=("device",), answer=PushToken, codes=(2,), tag="devices",
        ),
        Endpoint(
            "GET", "/v1/devices/{sn}/profile", "profile", "How the device's picture is shown",
            who=OWNERS, answer=WholeProfile, codes=(2,), tag="devices",
        ),
        Endpoint(
            "PUT", "/v1/devices/{sn}/profile", "put_profile", "Change how the device's picture is shown",
            who=OWNERS, body=Profile, answer=WholeProfile, codes=(2, 1004), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/contacts/status", "contacts", "Which of these users may be called",
            who=OWNERS, body=ContactsQuestion, answer=Contacts, codes=(2, 7, 17), tag="devices",
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/messages", "send", "Send the device a message of the application",
            who=OPERATOR, body=Message, answer=Delivered, codes=(40101, 45002, 48012), tag="devices",
        ),
        Endpoint(
            "GET", "/v1/devices/{sn}/grants", "grants", "Who decided about this device or its group",
            who=OWNERS, answer=DeviceGrants, codes=(2,), tag="grants",
        ),
        Endpoint(
            "POST", "/v1/tickets", "ticket", "A ticket for one registration or one question to a user",
            who=OPERATOR, body=TicketQuestion, answer=Ticket, codes=(9800001, 9800002, 9800003, 9800004), tag="grants",
        ),
    )  # fmt: skip

    def __init__(
        self,
        devices: Devices,
        grants: Grants,
        tickets: Tickets,
        events: Events,
        tokens: Tokens,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._devices = devices
        self._grants = grants
        self._tickets = tickets
        self._events = events
        self._tokens = tokens
        self._clock = clock
        self._wall = wall

    async def put_model(self, asked: Asked[ModelChange, Empty]) -> Model:
        model_id = asked.path["model"]
        if not 0 < len(model_id) <= 128 or not model_id.isprintable():
            raise ApiError(400, Code.MODEL_WRONG)
        return await self._devices.put_model(model_id, asked.body)

    async def model(self, asked: Asked[Empty, Empty]) -> Model:
        return await self._devices.model(asked.path["model"])

    async def user_token(self, asked: Asked[UserQuestion, Empty]) -> UserToken:
        openid = asked.path["openid"]
        if not OPENID.fullmatch(openid):
            raise ApiError(400, Code.BAD_OPENID)
        await self._devices.saw_user(openid, asked.body.appid, self._now_ms())
        return UserToken(*self._tokens.user(openid, asked.body.appid))

    async def put(self, asked: Asked[DeviceEntry, Empty]) -> DeviceView:
        check_sn(asked.path["sn"])
        return await self._devices.put(asked.path["sn"], asked.body, self._now_ms())

    async def view(self, asked: Asked[Empty, Empty]) -> DeviceView:
        return await self._devices.view(self._owned(asked))

    async def remove(self, asked: Asked[Empty, Empty]) -> Empty:
        await self._devices.remove(asked.path["sn"])
        self._revoke(asked.path["sn"])
        return Empty()

    async def register(self, asked: Asked[Registration, Empty]) -> Registered:
        sn, body = asked.path["sn"], asked.body
        secret = await self._devices.register(sn, body.model_id, body.sn_ticket, self._now_ms())
        self._revoke(sn)
        token, expires = self._tokens.device(sn, body.model_id)
        return Registered(secret, token, expires)

    async def token(self, asked: Asked[Secret, Empty]) -> DeviceToken:
        sn = asked.path["sn"]
        model_id = await self._devices.authenticate(sn, asked.body.device_secret, self._now_ms())
        return DeviceToken(*self._tokens.device(sn, model_id))

    async def push_token(self, asked: Asked[Empty, Empty]) -> PushToken:
        device = await self._devices.view(self._owned(asked))
        token, expires = self._tokens.push(device.sn, device.model_id)
        return PushToken(token, token, expires)

    async def profile(self, asked: Asked[Empty, Empty]) -> WholeProfile:
        return _whole(await self._devices.profile(self._owned(asked)))

    async def put_profile(self, asked: Asked[Profile, Empty]) -> WholeProfile:
        return _whole(await self._devices.put_profile(self._owned(asked), asked.body))

    async def contacts(self, asked: Asked[ContactsQuestion, Empty]) -> Contacts:
        for openid in asked.body.openid_list:
            if not OPENID.fullmatch(openid):
                raise ApiError(400, Code.BAD_OPENID)
        sn = self._owned(asked)
        return Contacts(0, "ok", await self._grants.contacts(sn, asked.body.model_id, asked.body.openid_list))

    async def send(self, asked: Asked[Message, Empty]) -> Delivered:
        sn, text = asked.path["sn"], asked.body.message
        if len(text.encode()) > MESSAGE_MAX:
            raise ApiError(413, Code.MESSAGE_TOO_BIG)
        party = Party("device", sn)
        listening = self._events.listening(party)
        if not listening:
            try:
                await self._devices.view(sn)
            except ApiError:
                raise ApiError(404, Code.MESSAGE_PARAMETER, "no such device") from None
            raise ApiError(409, Code.NOBODY_LISTENS)
        self._events.publish(party, "", "appMessage", {"message": text}, "", self._clock(), self._now_ms())
        return Delivered(listening)

    async def grants(self, asked: Asked[Empty, Empty]) -> DeviceGrants:
        return DeviceGrants(await self._grants.of_device(self._owned(asked)))

    async def ticket(self, asked: Asked[TicketQuestion, Empty]) -> Ticket:
        check_sn(asked.body.sn)
        body = asked.body
        return Ticket(0, "ok", await self._tickets.issue(body.sn, body.model_id, self._now_ms(), body.purpose))

    def _revoke(self, sn: str) -> None:
        self._tokens.revoke(sn)
        self._events.dismiss(Party("device", sn))

    def _owned(self, asked: Asked[Any, Any]) -> str:
        owner_of(asked.path["sn"], asked.party)
        return asked.path["sn"]

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _whole(profile: Profile) -> WholeProfile:
    return msgspec.convert(msgspec.to_builtins(profile), WholeProfile)
