"""What a caller asks for: the body of `POST /v1/calls`, checked in shape (plugin-interface §1.3, §7.3)."""

from typing import Annotated, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]  # §4.1: an SN has at most 128 bytes
Name = Annotated[str, msgspec.Meta(max_length=128)]
Query = Annotated[str, msgspec.Meta(max_length=1024)]
Opaque = Annotated[str, msgspec.Meta(max_length=4096)]  # tokens

PartyKind = Literal["device", "user"]
RoomType = Literal["voice", "video"]

DEVICE_TO_USER = 1  # businessType, §1.4
USER_TO_DEVICE = 2


class Party(msgspec.Struct, frozen=True):
    """One identity that can be in one call at a time: a device (its SN) or a user (the openid)."""

    kind: PartyKind
    id: str


class Person(msgspec.Struct, frozen=True, rename="camel"):
    """`caller` or `listener` of the request."""

    id: Id
    name: Name = ""
    camera_status: Literal[0, 1] = 0  # 0 is on


class Invitation(msgspec.Struct, frozen=True, rename="camel"):
    """A request for a call. Fields the plugin knows and we do not are ignored."""

    direction: Literal["device_to_user", "user_to_device"]
    room_type: RoomType
    caller: Person
    listener: Person
    business_type: Literal[0, 1, 2, 3] | None = None  # None: by direction
    time_limit: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] | None = None  # seconds of talk
    ring_timeout: Annotated[float, msgspec.Meta(ge=5, le=300)] | None = None  # seconds
    custom_query: Query = ""
    voip_token: Opaque = ""
    miniprogram_state: Literal["formal", "trial", "developer"] = "formal"
    charge_type: Literal["license", "duration"] = "duration"

    @property
    def business(self) -> int:
        """The businessType in effect: what was given, else the direction's."""
        if self.business_type is not None:
            return self.business_type
        return DEVICE_TO_USER if self.direction == "device_to_user" else USER_TO_DEVICE

    @property
    def caller_party(self) -> Party:
        return Party("device" if self.direction == "device_to_user" else "user", self.caller.id)

    @property
    def listener_party(self) -> Party:
        return Party("user" if self.direction == "device_to_user" else "device", self.listener.id)
