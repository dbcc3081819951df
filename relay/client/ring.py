"""A call that rings at this device: all that the ring notice says, and what can be done about it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from relay.client.outcome import Outcome
from relay.client.profile import Profile

if TYPE_CHECKING:
    from relay.client.line import Line


@dataclass(frozen=True)
class EncodeVideo:
    """The picture the caller's side was asked for (plugin-interface §1.8); 0: not asked."""

    fixed_length: int = 0
    rotation: int = 0
    ratio: int = 0
    max_fps: int = 0


@dataclass(frozen=True, eq=False)
class Ring:
    """One incoming call. `voice`: without pictures; `caller_camera` and `listener_camera`: on when the call
    starts, the second being this device's.

    `query` is what the caller's application passed along (customQuery), `parameters` the same parted; `path`,
    `app_type` (0 release, 1 development, 2 trial) and `appid` are the fields of the known push message.
    `time_limit_s` 0: no limit.
    """

    room: str
    caller: str
    caller_name: str
    voice: bool = False
    caller_kind: str = ""
    caller_camera: bool = True
    caller_profile: Profile | None = None
    listener: str = ""
    listener_name: str = ""
    listener_kind: str = ""
    listener_camera: bool = True
    listener_profile: Profile | None = None
    query: str = ""
    path: str = ""
    app_type: int = 0
    appid: str = ""
    business_type: int = 0
    ring_timeout_s: float = 0.0
    time_limit_s: float = 0.0
    encode_video: EncodeVideo = EncodeVideo()
    _device: "Line | None" = field(default=None, repr=False)
    _ended: "asyncio.Future[Outcome] | None" = field(default=None, repr=False)

    @classmethod
    def of(cls, room: str, data: Mapping[str, Any], device: "Line", ended: "asyncio.Future[Outcome]") -> "Ring":
        """From the data of incomingCall. A field that is odd gets its default: the call rings all the same.

        `ended` is set when the call is over.
        """
        caller = _text(data, "callerId")
        asked = data.get("encodeVideo")
        asked = asked if isinstance(asked, Mapping) else {}
        return cls(
            room=room,
            caller=caller,
            caller_name=_text(data, "callerName") or caller,
            voice=data.get("roomType") == "voice",
            caller_kind=_text(data, "callerKind"),
            caller_camera=_number(data, "callerCameraStatus") != 1,
            caller_profile=_profile(data, "callerProfile"),
            listener=_text(data, "listenerId"),
            listener_name=_text(data, "listenerName"),
            listener_kind=_text(data, "listenerKind"),
            listener_camera=_number(data, "listenerCameraStatus") != 1,
            listener_profile=_profile(data, "listenerProfile"),
            query=_text(data, "query"),
            path=_text(data, "path"),
            app_type=int(_number(data, "appType")),
            appid=_text(data, "appid"),
            business_type=int(_number(data, "businessType")),
            ring_timeout_s=_number(data, "ringTimeout"),
            time_limit_s=_number(data, "timeLimit"),
            encode_video=EncodeVideo(
                *(int(_number(asked, name)) for name in ("fixedLength", "rotation", "ratio", "maxFPS"))
            ),
            _device=device,
            _ended=ended,
        )

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def over(self) -> bool:
        """Whether this call has ended, answered or not."""
        return self._ended is None or self._ended.done()

    async def answer(self, *, camera: bool | None = None) -> None:
        """Take the call. `camera`: on or off at the start; None: as the caller asked. Nothing when it is over."""
        if self._device is not None and not self.over:
            await self._device.answer(camera=camera)

    async def reject(self) -> None:
        """Refuse it. Nothing when it is over; raises SignallingError."""
        if self._device is not None and not self.over:
            await self._device.reject()

    async def busy(self) -> None:
        """Refuse it as somebody in another call does. Nothing when it is over; raises SignallingError."""
        if self._device is not None and not self.over:
            await self._device.busy()

    async def outcome(self) -> Outcome:
        """Wait until this call has ended, however it does. Raises SignallingError when the relay is lost for
        good.
        """
        if self._device is None or self._ended is None:
            raise ValueError("this ring was heard by no device")
        return await self._device.wait_for(self._ended)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _number(data: Mapping[str, Any], name: str) -> float:
    value = data.get(name)
    return value if isinstance(value, int | float) else 0


def _profile(data: Mapping[str, Any], name: str) -> Profile | None:
    try:
        return msgspec.convert(data.get(name), Profile | None)
    except msgspec.ValidationError:
        return None
