"""Calls over HTTP: create, answer, join, reject, hang up, read.

Paths as in plugin-interface §7.3, the order of checks at create as in §7.7, who may do what as in §7.6.
"""

import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from relay.api.cloud import Cloud
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.api.repeats import check_key
from relay.api.requests import bearer
from relay.api.tokens import Claims, Tokens
from relay.calls.admission import Member
from relay.calls.devices import Devices, Profile
from relay.calls.invitation import DEVICE_TO_USER, USER_TO_DEVICE, Id, Invitation, Name, Opaque, Party, Person, Query
from relay.calls.journal import HISTORY_MAX, Journal
from relay.calls.live import LiveCall
from relay.calls.service import CallService, Origin
from relay.calls.view import CallView
from relay.config import Config
from relay.errors import ApiError, Code

SN = re.compile(r"[A-Za-z0-9_-]{1,128}")  # plugin-interface §4.1
OPENID = re.compile(r"[!-~]{1,128}")  # printable ASCII without spaces
PARTIES: tuple[Literal["device", "user"], ...] = ("device", "user")
ANYBODY: tuple[Literal["device", "user", "operator"], ...] = ("device", "user", "operator")
MILLISECONDS = msgspec.Meta(ge=0, le=2**53)


class Made(msgspec.Struct, frozen=True, rename="camel"):
    """A call was made: what the caller needs to join it, and the names to show."""

    is_success: bool
    room_id: str
    group_id: str
    charge_type: Literal["license", "duration"]
    credential: str
    caller: Member
    listener: Member
    caller_profile: Profile | None
    listener_profile: Profile | None


class Admission(msgspec.Struct, frozen=True, rename="camel"):
    """What a party joins with: a join credential, good for one offer within a minute."""

    room_id: str
    group_id: str
    role: Literal["caller", "listener"]
    credential: str


class Rejection(msgspec.Struct, frozen=True):
    status: Literal["manual", "unloadCallPage", "forceFromApp", "busy"] = "manual"


class HangUp(msgspec.Struct, frozen=True):
    origin: Origin = "manual"


class Failure(msgspec.Struct, frozen=True):
    errMsg: Annotated[str, msgspec.Meta(max_length=256)] = "join room failed"


class Done(msgspec.Struct, frozen=True, rename="camel"):
    room_id: str


class HistoryQuery(msgspec.Struct, frozen=True, rename={"from_ms": "from", "to_ms": "to"}):
    """Which calls; `from` and `to` are Unix milliseconds, `before` is `next` of the page before."""

    sn: Name | None = None
    openid: Name | None = None
    from_ms: Annotated[int, MILLISECONDS] | None = None
    to_ms: Annotated[int, MILLISECONDS] | None = None
    before: Name | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=HISTORY_MAX)] = 50


class History(msgspec.Struct, frozen=True):
    calls: list[CallView]
    next: str | None


class ServerCall(msgspec.Struct, frozen=True):
    """The server-side call of a device behind the operator's cloud, with the original field names (§4.4)."""

    openid: Id
    room_type: Literal["voice", "video", 0, 1] = "video"
    sn: Name = ""
    model_id: Name = ""
    listener_name: Name = ""
    version_type: Literal[0, 1, 2] = 0  # release, development, trial
    query: Query = ""
    caller_camera_status: Literal[0, 1] = 0
    listener_camera_status: Literal[0, 1] = 0
    payload: Opaque = ""


class ServerCallMade(msgspec.Struct, frozen=True, omit_defaults=True):
    """`roomId` and `credential` are additions: the original tells them by `iot_voip_notify` only."""

    errcode: int
    errmsg: str
    roomId: str
    credential: str = ""


class Calls:
    """The handlers of `/v1/calls`."""

    ENDPOINTS = (
        Endpoint(
            "POST", "/v1/calls", "create", "Make a call and ring the called party",
            body=Invitation, answer=Made, status=201, own_key=True,
            codes=(2, 5, 7, 9, 12, 13, 14, 15, 17, 19, 20, 22, 23, 24, 1001, 1002, 1004, 1005, 1006, 1007, 1011, 2100),
        ),
        Endpoint(
            "GET", "/v1/calls", "history", "Calls of the past and the present, newest first",
            who=ANYBODY, query=HistoryQuery, answer=History, codes=(1004,),
        ),
        Endpoint("GET", "/v1/calls/{room}", "read", "One call", who=ANYBODY, answer=CallView, codes=(1,)),
        Endpoint(
            "GET", "/v1/calls/{room}/stats", "stats", "One call with its media",
            who=ANYBODY, answer=dict, codes=(1,),
        ),
        Endpoint(
            "POST", "/v1/calls/{room}/answer", "answer", "Take the ringing call",
            who=PARTIES, body=Empty, answer=Admission, codes=(1, 2000, 2001, 2103),
        ),
        Endpoint(
            "POST", "/v1/calls/{room}/join", "join", "A new join credential",
            who=PARTIES, answer=Admission, codes=(1, 2000),
        ),
        Endpoint(
            "POST", "/v1/calls/{room}/reject", "reject", "Refuse the ringing call, or say that this side is busy",
            who=PARTIES, body=Rejection, optional=True, answer=Done, codes=(1, 1008, 2103),
        ),
        Endpoint(
            "POST", "/v1/calls/{room}/hangup", "hang_up", "End a call, in whatever phase it is",
            who=ANYBODY, body=HangUp, optional=True, answer=Done, codes=(1,),
        ),
        Endpoint(
            "POST", "/v1/calls/{room}/fail", "fail", "Give up joining for good",
            who=PARTIES, body=Failure, optional=True, answer=Done, codes=(1, 1008),
        ),
        Endpoint(
            "POST", "/v1/devices/{sn}/call", "server_call", "Call a user for a device behind the operator's cloud",
            who=("operator",), body=ServerCall, answer=ServerCallMade, codes=(2, 9, 20, 1004, 1005), tag="devices",
        ),
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        service: CallService,
        journal: Journal,
        devices: Devices,
        cloud: Cloud,
        tokens: Tokens,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._service = service
        self._journal = journal
        self._devices = devices
        self._cloud = cloud
        self._tokens = tokens
        self._wall = wall

    async def create(self, asked: Asked[Invitation, Empty]) -> Made:
        invitation = asked.body
        check_business(invitation)
        if len(invitation.called) > self._config.max_listeners:
            raise ApiError(400, Code.WRONG_PARAMETER, f"listeners: at most {self._config.max_listeners}")
        claims = self._check_caller(asked, invitation)
        if claims.kind == "user":
            await self._devices.saw_user(invitation.caller.id, claims.appid, int(self._wall() * 1000))
        if not invitation.model_id and claims.kind == "device" and claims.model_id:
            invitation = msgspec.structs.replace(invitation, model_id=claims.model_id)
        key = asked.request.headers.get("Idempotency-Key")
        if key is not None:
            check_key(key)
        live = await self._service.create(
            invitation,
            key,
            check=lambda: self._check_tokens(invitation, claims),
            ask=self._cloud.ask if invitation.is_cloud else None,
        )
        return self._made(live)

    def _made(self, live: LiveCall) -> Made:
        caller, listener = live.admitted.caller, live.admitted.listeners[0]
        return Made(
            is_success=True,
            room_id=live.room,
            group_id=live.room,
            charge_type=live.asked.charge,
            credential=self._tokens.credential(live.room, "caller", live.caller),
            caller=caller,
            listener=listener,
            caller_profile=caller.profile,
            listener_profile=listener.profile,
        )

    def _check_caller(self, asked: Asked[Invitation, Empty], invitation: Invitation) -> Claims:
        """Side, token and identity of the caller. An operator may call for devices, which are its own."""
        caller = invitation.caller_party
        wrong = Code.DEVICE_TOKEN_WRONG if caller.kind == "device" else Code.USER_TOKEN_WRONG
        token = bearer(asked.request)
        try:
            claims = self._tokens.read(token)
        except ApiError as fault:
            raise ApiError(401, wrong, fault.message) from None
        if claims.kind == "operator" and caller.kind == "device":
            return claims
        if claims.kind in ("leg", "push"):
            raise ApiError(403, wrong, f"a {claims.kind} token cannot make a call")
        if claims.kind != caller.kind:
            raise ApiError(403, Code.ONLY_ON_DEVICE if caller.kind == "device" else Code.ONLY_IN_CLIENT)
        if claims.party != caller:
            raise ApiError(403, wrong, "caller.id is not the identity of this token")
        return claims

    def _check_tokens(self, invitation: Invitation, caller: Claims) -> float | None:
        """The device side's token, where the method asks for one (§1.4, §1.7), then the identities; returns when that
        token was made.
        """
        made_s = (caller.iat or None) if caller.kind == "device" else None
        if invitation.is_cloud and not self._cloud.reachable:
            raise ApiError(
                503, Code.REQUEST_FAILED, "no webhook takes iot_voip_notify, so nobody can answer for the device"
            )
        if invitation.direction == "device_to_user":
            if invitation.voip_token:
                self._check_token(invitation, "device", Code.DEVICE_TOKEN_WRONG, invitation.caller.id)
        elif invitation.target != "device":
            if invitation.voip_token:
                made_s = self._check_token(invitation, "push", Code.USER_TOKEN_WRONG, invitation.called[0].id)
            elif self._config.needs_registration:
                raise ApiError(400, Code.TOKEN_MISSING, "the device's pushToken is needed (voipToken)")
        check_ids(invitation)
        return made_s

    def _check_token(self, invitation: Invitation, kind: str, wrong: Code, sn: str) -> float | None:
        try:
            claims = self._tokens.read(invitation.voip_token)
        except ApiError:
            raise ApiError(403, wrong) from None
        if claims.kind != kind or (claims.sn or claims.sub) != sn:
            raise ApiError(403, wrong)
        if invitation.model_id and claims.model_id and claims.model_id != invitation.model_id:
            raise ApiError(403, Code.TOKEN_MODEL_MISMATCH)
        return claims.iat or None

    async def server_call(self, asked: Asked[ServerCall, Empty]) -> ServerCallMade:
        body, sn = asked.body, asked.path["sn"]
        if body.sn not in ("", sn):
            raise ApiError(400, Code.WRONG_PARAMETER, "sn: must be the one of the path")
        return await self.call_for(sn, body)

    async def call_for(self, sn: str, body: ServerCall) -> ServerCallMade:
        """The operator's server calls for a device. Raises ApiError as `create` does."""
        if not sn:
            raise ApiError(400, Code.BAD_DEVICE_ID, "sn: is needed")
        invitation = Invitation(
            direction="device_to_user",
            room_type={0: "voice", 1: "video"}.get(body.room_type, body.room_type),  # type: ignore[arg-type]
            caller=Person(sn, "", body.caller_camera_status),
            listener=Person(body.openid, body.listener_name, body.listener_camera_status),
            model_id=body.model_id,
            custom_query=body.query,
            payload=body.payload,
            env_version=("release", "develop", "trial")[body.version_type],
        )
        live = await self._service.create(
            invitation,
            check=lambda: check_ids(invitation),
            ask=self._cloud.ask if self._cloud.reachable else None,
        )
        return ServerCallMade(0, "ok", live.room, self._tokens.credential(live.room, "caller", live.caller))

    async def history(self, asked: Asked[Empty, HistoryQuery]) -> History:
        query = asked.query
        parties = [Party("device", query.sn)] if query.sn is not None else []
        if query.openid is not None:
            parties.append(Party("user", query.openid))
        if asked.party is not None and asked.party not in parties:
            parties.append(asked.party)
        calls, following = await self._journal.history(
            tuple(parties), from_ms=query.from_ms, to_ms=query.to_ms, before=query.before, limit=query.limit
        )
        return History([self._service.now(call).seen_by(asked.party) for call in calls], following)

    async def read(self, asked: Asked[Empty, Empty]) -> CallView:
        return await self._service.view(asked.path["room"], asked.party)

    async def stats(self, asked: Asked[Empty, Empty]) -> dict[str, Any]:
        return await self._service.stats(asked.path["room"], asked.party)

    async def answer(self, asked: Asked[Empty, Empty]) -> Admission:
        room = asked.path["room"]
        self._service.answer(room, asked.own)
        return self._admission(room, "listener", asked.own)

    async def join(self, asked: Asked[Empty, Empty]) -> Admission:
        room = asked.path["room"]
        return self._admission(room, self._service.join(room, asked.own).value, asked.own)

    def _admission(self, room: str, role: Literal["caller", "listener"], party: Party) -> Admission:
        return Admission(room, room, role, self._tokens.credential(room, role, party))

    async def reject(self, asked: Asked[Rejection, Empty]) -> Done:
        self._service.reject(asked.path["room"], asked.own, asked.body.status)
        return Done(asked.path["room"])

    async def hang_up(self, asked: Asked[HangUp, Empty]) -> Done:
        self._service.hang_up(asked.path["room"], asked.party, asked.body.origin)
        return Done(asked.path["room"])

    async def fail(self, asked: Asked[Failure, Empty]) -> Done:
        self._service.fail(asked.path["room"], asked.own, asked.body.errMsg)
        return Done(asked.path["room"])


def check_business(invitation: Invitation) -> None:
    """Raises ApiError: 1011 for the campus modes, 1004 for fields that do not go together."""
    if invitation.business in (0, 3):
        raise ApiError(400, Code.UNSUPPORTED, f"businessType {invitation.business} (face mode) is not offered")
    expected = DEVICE_TO_USER if invitation.direction == "device_to_user" else USER_TO_DEVICE
    if invitation.business != expected:
        raise ApiError(400, Code.WRONG_PARAMETER, f"businessType {invitation.business} does not fit the direction")
    if invitation.target is not None and invitation.direction != "user_to_device":
        raise ApiError(400, Code.WRONG_PARAMETER, f"target {invitation.target!r} is for calls to a device")
    if invitation.is_cloud and (invitation.target != "device" or len(invitation.called) > 1):
        raise ApiError(400, Code.WRONG_PARAMETER, "isCloud is for target 'device' and one device")
    if len(invitation.called) > 1 and invitation.direction == "user_to_device" and invitation.target != "device":
        raise ApiError(400, Code.WRONG_PARAMETER, "listeners: several devices are called with target 'device'")
    if len(set(invitation.called_parties)) != len(invitation.called_parties):
        raise ApiError(400, Code.WRONG_PARAMETER, "listeners: each one only once")


def check_ids(invitation: Invitation) -> None:
    """Raises ApiError: 2 for an impossible SN, 7 for an impossible openid."""
    for party in (invitation.caller_party, *invitation.called_parties):
        if party.kind == "device" and not SN.fullmatch(party.id):
            raise ApiError(400, Code.BAD_DEVICE_ID, "an SN has letters, digits, _ and - only")
        if party.kind == "user" and not OPENID.fullmatch(party.id):
            raise ApiError(400, Code.BAD_OPENID, "an openid has printable ASCII characters without spaces only")
