"""What a caller asks for: the body of `POST /v1/calls`, checked in shape (plugin-interface §1.3, §1.7, §1.8, §7.3)."""

from typing import Annotated, Literal

import msgspec

# A NUL can't be stored by every database, and nobody means one.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]  # §4.1: at most 128 bytes
Name = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")]
Query = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^\x00]*$")]
Opaque = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00]*$")]  # tokens, payloads
RingTime = Annotated[float, msgspec.Meta(ge=5, le=300)]  # seconds, §7.5

PartyKind = Literal["device", "user"]
RoomType = Literal["voice", "video"]
Strategy = Literal["sequential", "simultaneous"]

DEVICE_TO_USER = 1  # businessType, §1.4
USER_TO_DEVICE = 2


class Party(msgspec.Struct, frozen=True):
    """One identity that can be in one call at a time: a device (its SN) or a user (the openid)."""

    kind: PartyKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Person(msgspec.Struct, frozen=True, rename="camel"):
    """`caller` or `listener` of the request."""

    id: Id
    name: Name = ""
    camera_status: Literal[0, 1] = 0  # 0 is on


class Listener(msgspec.Struct, frozen=True, rename="camel"):
    """One of several called parties, with its own ring time."""

    id: Id
    name: Name = ""
    camera_status: Literal[0, 1] = 0
    ring_timeout: RingTime | None = None  # seconds


class EncodeVideo(msgspec.Struct, frozen=True, rename={"max_fps": "maxFPS", "fixed_length": "fixedLength"}):
    """The picture that the calling phone is asked to send (§1.8); 0 is "not set"."""

    fixed_length: int = 0  # long side in pixels
    rotation: int = 0  # 1 upright, 2 rotated
    ratio: int = 0  # width / height x 100
    max_fps: int = 0


class Invitation(msgspec.Struct, frozen=True, rename="camel"):
    """A request for a call. Fields the plugin knows and we do not are ignored."""

    direction: Literal["device_to_user", "user_to_device"]
    room_type: RoomType
    caller: Person
    listener: Person | None = None
    listeners: Annotated[tuple[Listener, ...], msgspec.Meta(min_length=1, max_length=64)] | None = None
    strategy: Strategy = "sequential"
    target: Literal["wmpf", "device"] | None = None  # callWMPF, callDevice; None: initByCaller
    business_type: Literal[0, 1, 2, 3] | None = None  # None: by direction
    time_limit: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] | None = None  # seconds of talk
    ring_timeout: RingTime | None = None  # seconds
    custom_query: Query = ""
    voip_token: Opaque = ""
    model_id: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")] = ""
    is_cloud: bool = False
    payload: Opaque = ""
    miniprogram_state: Literal["formal", "trial", "developer"] = "formal"
    env_version: Literal["release", "trial", "develop"] | None = None
    charge_type: Literal["license", "duration"] | None = None  # None: the method's default, §5.4
    encode_video_fixed_length: Literal[0, 320, 480, 640] = 0
    encode_video_rotation: Literal[0, 1, 2] = 0
    encode_video_ratio: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    encode_video_max_fps: Annotated[int, msgspec.Meta(ge=0, le=15)] = msgspec.field(default=0, name="encodeVideoMaxFPS")

    def __post_init__(self) -> None:
        if (self.listener is None) == (self.listeners is None):
            raise ValueError("give `listener` or `listeners`, one of the two")
        if self.encode_video_max_fps and self.encode_video_max_fps < 8:
            raise ValueError("encodeVideoMaxFPS is 0 or 8 to 15")

    @property
    def business(self) -> int:
        """The businessType in effect: what was given, else the direction's."""
        if self.business_type is not None:
            return self.business_type
        return DEVICE_TO_USER if self.direction == "device_to_user" else USER_TO_DEVICE

    @property
    def charge(self) -> Literal["license", "duration"]:
        """callWMPF and callDevice default to the licence, mode 2 cannot use it, mode 1 is a device's (§5.4)."""
        if self.charge_type is not None:
            return self.charge_type
        return "duration" if self.target is None and self.direction == "user_to_device" else "license"

    @property
    def release(self) -> bool:
        """Is the released mini program asked for? Only that one needs approval (code 12)."""
        if self.env_version is not None:
            return self.env_version == "release"
        return self.miniprogram_state == "formal"

    @property
    def app_type(self) -> int:
        """0 release, 1 development, 2 trial (§4.6)."""
        if self.env_version is not None:
            return {"release": 0, "develop": 1, "trial": 2}[self.env_version]
        return {"formal": 0, "developer": 1, "trial": 2}[self.miniprogram_state]

    @property
    def encode_video(self) -> EncodeVideo:
        return EncodeVideo(
            self.encode_video_fixed_length,
            self.encode_video_rotation,
            self.encode_video_ratio,
            self.encode_video_max_fps,
        )

    @property
    def called(self) -> tuple[Listener, ...]:
        """Who is called, one or several."""
        if self.listeners is not None:
            return self.listeners
        assert self.listener is not None, "__post_init__ saw to it"
        return (Listener(self.listener.id, self.listener.name, self.listener.camera_status),)

    @property
    def caller_party(self) -> Party:
        return Party("device" if self.direction == "device_to_user" else "user", self.caller.id)

    @property
    def called_parties(self) -> tuple[Party, ...]:
        kind: PartyKind = "user" if self.direction == "device_to_user" else "device"
        return tuple(Party(kind, listener.id) for listener in self.called)

    @property
    def devices(self) -> tuple[str, ...]:
        """The SNs that take part."""
        return (self.caller.id,) if self.direction == "device_to_user" else tuple(p.id for p in self.called_parties)
