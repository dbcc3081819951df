"""A party's requests about calls: make, answer, refuse, end; and its leg, posted as SDP."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from yarl import URL

from relay.client.http import Answer, Http, Refused, Unreachable
from relay.client.profile import Profile

RoomType = Literal["voice", "video"]
Strategy = Literal["sequential", "simultaneous"]
Query = str | Mapping[str, str]


class Listener(msgspec.Struct, frozen=True):
    """A user to call. `camera`: whether that side begins with its camera on; `ring_timeout_s`: of this user."""

    id: str
    name: str = ""
    camera: bool = True
    ring_timeout_s: float | None = None


def listeners_of(given: str | Listener | Sequence[str | Listener], camera: bool) -> list[Listener]:
    """Whoever is to be called, one or several; `camera` is for those given by their openid alone. Raises
    ValueError when there is nobody.
    """
    several = [given] if isinstance(given, str | Listener) else list(given)
    if not several:
        raise ValueError("a call needs somebody to call")
    return [Listener(entry, camera=camera) if isinstance(entry, str) else entry for entry in several]


class Shown(msgspec.Struct, frozen=True):
    """How the relay shows a party to the other one."""

    id: str = ""
    name: str = ""
    cameraStatus: int = 0  # 0 on, 1 off (plugin-interface §1.3)
    kind: str = ""


class Created(msgspec.Struct, frozen=True):
    """The answer to create, answer and join: a room and the credential to join it with, once, within 60 s.

    The parties and picture profiles come with create only.
    """

    roomId: str
    credential: str
    isSuccess: bool = True
    errCode: int = 0
    errMsg: str = ""
    caller: Shown | None = None
    listener: Shown | None = None
    callerProfile: Profile | None = None
    listenerProfile: Profile | None = None


class View(msgspec.Struct, frozen=True):
    """A call as the relay sees it now."""

    state: str
    keepTime: float = 0.0
    reason: str = ""  # why it ended, in words

    @property
    def over(self) -> bool:
        return self.state in ("ENDED", "SETTLED")

    @property
    def talking(self) -> bool:
        return self.state == "TALKING"


class Signalling:
    """Every method raises Refused (with the plugin's code) or Unreachable."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create_call(
        self,
        *,
        caller: str,
        listeners: Sequence[Listener],
        room_type: RoomType,
        caller_name: str = "",
        camera: bool = True,
        strategy: Strategy | None = None,
        ring_timeout_s: float | None = None,
        time_limit_s: float | None = None,
        query: Query = "",
        miniprogram_state: str | None = None,
    ) -> Created:
        """Call users from this device. A lost answer is asked for again: it is the same room, never a second."""
        body: dict[str, Any] = {
            "direction": "device_to_user",
            "businessType": 1,
            "roomType": room_type,
            "caller": {"id": caller, "name": caller_name or caller, "cameraStatus": int(not camera)},
        }
        if len(listeners) == 1 and strategy is None:
            body["listener"] = _party(listeners[0])
            ring_timeout_s = listeners[0].ring_timeout_s or ring_timeout_s
        else:
            body["listeners"] = [
                _party(listener) | _given(ringTimeout=_whole(listener.ring_timeout_s)) for listener in listeners
            ]
            body["strategy"] = strategy or "sequential"
        body |= _given(
            ringTimeout=_whole(ring_timeout_s),
            timeLimit=_whole(time_limit_s),
            customQuery=(query if isinstance(query, str) else urlencode(query)) or None,
            miniprogramState=miniprogram_state,
        )
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        try:
            answer = await self._http.post("v1", "calls", body=body, headers=headers)
        except Unreachable:
            answer = await self._http.post("v1", "calls", body=body, headers=headers)
        created = answer.read(Created)
        if not created.isSuccess:
            raise Refused(answer.status, created.errCode, created.errMsg or "the relay refused the call")
        return created

    async def answer(self, room: str) -> Created:
        """Take the call. Refused when it is over or was answered elsewhere."""
        return (await self._act(room, "answer")).read(Created)

    async def join(self, room: str) -> Created:
        """A fresh credential, for another try at joining inside the join timer."""
        return (await self._act(room, "join")).read(Created)

    async def reject(self, room: str) -> None:
        """Refuse the call."""
        await self._act(room, "reject", status="manual")

    async def busy(self, room: str) -> None:
        """Refuse the call and tell the caller that this side is in another one."""
        await self._act(room, "reject", status="busy")

    async def fail(self, room: str, reason: str) -> None:
        """Give up joining for good, so that the other side need not wait for a timer."""
        await self._act(room, "fail", errMsg=reason[:256])

    async def hang_up(self, room: str) -> None:
        """End the call in whatever phase it is: the relay makes it a cancel, a rejection or a hang-up."""
        await self._act(room, "hangup", origin="manual")

    async def view(self, room: str) -> View | None:
        """The call now; None when the relay no longer knows it."""
        try:
            return (await self._http.get("v1", "calls", room)).read(View)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def open_leg(self, room: str, credential: str, offer: str) -> tuple[str, str]:
        """Post an SDP offer; returns the SDP answer and the leg's URL (empty when the relay named none)."""
        answer = await self._http.request(
            "POST",
            self._http.base / "v1" / "calls" / room / "legs",
            data=offer.encode(),
            headers={"Content-Type": "application/sdp"},
            token=credential,
        )
        if answer.status != 201:
            raise Refused(answer.status, 0, "the relay gave no SDP answer")
        try:
            text = answer.content.decode()
        except UnicodeDecodeError:
            raise Refused(answer.status, 0, "the relay's SDP answer is not text") from None
        location = answer.headers.get("Location", "")
        return text, str(self._http.base.join(URL(location))) if location else ""

    async def close_leg(self, location: str) -> None:
        """Leave. A leg that is already gone is no fault."""
        try:
            await self._http.request("DELETE", URL(location))
        except Refused as refusal:
            if refusal.status not in (401, 403, 404, 409, 410):
                raise

    async def _act(self, room: str, action: str, **body: str) -> Answer:
        return await self._http.post("v1", "calls", room, action, body=body)


def _party(listener: Listener) -> dict[str, Any]:
    return {"id": listener.id, "cameraStatus": int(not listener.camera)} | _given(name=listener.name or None)


def _given(**fields: Any) -> dict[str, Any]:
    """Those that were given: the relay's own defaults stand for the others."""
    return {name: value for name, value in fields.items() if value is not None}


def _whole(seconds: float | None) -> float | int | None:
    """Whole numbers as integers, which is what the interface's tables show."""
    return int(seconds) if seconds is not None and float(seconds).is_integer() else seconds
