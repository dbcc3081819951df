"""May this call be made? The checks of plugin-interface §7.7 that need the store, in their order, in one transaction.

    device known, and of the model named      2, 17
    openid known and of the device's app      20, 19
    grant, direct or by group                 9
    enabled for the release                   12
    charge type and licence                   22, 23, 24, 15

The shape of the request (1004, 1006, 1007), a call already going on (1005) and the tokens (1001, 13, 14) were looked
at before, whether the room can be made (5) is looked at after. With several called parties one that may not be rung is
left out; when none is left, its refusal is the call's.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, or_, select
from sqlalchemy.engine import Row

from relay.calls.devices import Profile
from relay.calls.invitation import Invitation, Listener, Party, Person
from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.schema import DEVICES, GRANTS, MODELS, USERS

CLOCKS_S = 5.0  # clocks of the operator's servers differ a little

# Built once: for such short queries SQLAlchemy takes longer to make them than the database to answer them.
DEVICE = (
    select(
        DEVICES,
        MODELS.c.appid,
        MODELS.c.name.label("model_name"),
        MODELS.c.approved,
        MODELS.c.call_needs_grant,
        MODELS.c.charge_types,
        MODELS.c.in_arrears,
    )
    .select_from(DEVICES.outerjoin(MODELS, MODELS.c.model_id == DEVICES.c.model_id))
    .where(DEVICES.c.sn == bindparam("own_sn"))
)
USER = select(USERS.c.appid).where(USERS.c.openid == bindparam("own_openid"))
GRANT = (
    select(GRANTS.c.device_name)
    .where(
        GRANTS.c.openid == bindparam("own_openid"),
        GRANTS.c.state == "agreed",
        or_(GRANTS.c.subject == bindparam("own"), GRANTS.c.subject == bindparam("grouped")),
    )
    .order_by(GRANTS.c.subject.desc())  # the device's own before its group's
)


class Member(msgspec.Struct, frozen=True, rename="camel"):
    """A party as the other side sees it."""

    id: str
    name: str
    camera_status: int
    kind: str
    profile: Profile | None = None  # of a device that stored one


class Admitted(msgspec.Struct, frozen=True):
    """A call that may be made. `refused` are the called parties that may not be rung, by index."""

    caller: Member
    listeners: tuple[Member, ...]
    refused: dict[int, str]
    appid: str
    model_id: str
    cloud: bool  # a device behind the operator's cloud


def admit(
    connection: Connection, asked: Invitation, config: Config, now_ms: int, token_s: float | None = None
) -> Admitted:
    """`token_s` is when the device's token was made, Unix seconds; None if there is none.

    Raises ApiError with the code of the first check that fails.
    """
    if token_s is not None:
        _in_time(connection, asked, token_s)
    if asked.direction == "device_to_user":
        return _from_device(connection, asked, config, now_ms)
    return _from_user(connection, asked, config, now_ms)


def _from_device(connection: Connection, asked: Invitation, config: Config, now_ms: int) -> Admitted:
    device = _device(connection, asked.caller.id, asked.model_id, config)
    refused: dict[int, ApiError] = {}
    names: dict[int, str] = {}
    for index, listener in enumerate(asked.called):
        try:
            _user(connection, listener.id, device, config)
            granted = _granted(connection, listener.id, device, config, needed=True)
            names[index] = _shown(granted, device, asked.caller.name)
        except ApiError as fault:
            refused[index] = fault
    if len(refused) == len(asked.called):
        raise refused[0]
    _policies(asked, device, config, now_ms)
    first = names[min(names)]
    return Admitted(
        caller=_member(Party("device", asked.caller.id), asked.caller, first, device),
        listeners=tuple(_member(Party("user", other.id), other, other.name, None) for other in asked.called),
        refused={index: fault.message for index, fault in refused.items()},
        appid=device.appid if device is not None and device.appid else "",
        model_id=device.model_id if device is not None else asked.model_id,
        cloud=device is not None and device.kind == "cloud",
    )


def _from_user(connection: Connection, asked: Invitation, config: Config, now_ms: int) -> Admitted:
    members: list[Member] = []
    refused: dict[int, ApiError] = {}
    first: Row[Any] | None = None
    for index, listener in enumerate(asked.called):
        party = Party("device", listener.id)
        device = None
        name = listener.name or listener.id
        try:
            device = _device(connection, listener.id, asked.model_id, config)
            _user(connection, asked.caller.id, device, config)
            needed = asked.target is None or bool(device is not None and device.call_needs_grant)
            granted = _granted(connection, asked.caller.id, device, config, needed=needed)
            name = _shown(granted, device, listener.name)
            _policies(asked, device, config, now_ms)
        except ApiError as fault:
            refused[index] = fault
        first = first if first is not None else device
        members.append(_member(party, listener, name, device))
    if len(refused) == len(members):
        raise refused[0]
    return Admitted(
        caller=_member(Party("user", asked.caller.id), asked.caller, asked.caller.name, None),
        listeners=tuple(members),
        refused={index: fault.message for index, fault in refused.items()},
        appid=first.appid if first is not None and first.appid else "",
        model_id=first.model_id if first is not None else asked.model_id,
        cloud=asked.is_cloud,
    )


def _in_time(connection: Connection, asked: Invitation, token_s: float) -> None:
    """A token that was made before the device was registered (again) is another owner's."""
    since = select(DEVICES.c.tokens_from_ms).where(DEVICES.c.sn == asked.devices[0])
    if 1000 * (token_s + CLOCKS_S) < (connection.execute(since).scalar() or 0):
        raise ApiError(403, Code.DEVICE_TOKEN_WRONG if asked.direction == "device_to_user" else Code.USER_TOKEN_WRONG)


def _device(connection: Connection, sn: str, model_id: str, config: Config) -> Row[Any] | None:
    """The device with its model's columns; None when it is unknown and may be."""
    device = connection.execute(DEVICE, {"own_sn": sn}).first()
    if device is None:
        if config.needs_registration:
            raise ApiError(404, Code.BAD_DEVICE_ID, "no such device; it must be registered first")
        return None
    if model_id and model_id != device.model_id and config.needs_registration:
        raise ApiError(403, Code.TOKEN_MODEL_MISMATCH)
    return device


def _user(connection: Connection, openid: str, device: Row[Any] | None, config: Config) -> None:
    user = connection.execute(USER, {"own_openid": openid}).first()
    if user is None:
        if config.needs_registration:
            raise ApiError(404, Code.OPENID_INVALID, "no such user: nobody with this openid ever signed in here")
        return
    if device is not None and device.appid and user.appid and user.appid != device.appid:
        raise ApiError(403, Code.OPENID_OTHER_APP)


def _granted(connection: Connection, openid: str, device: Row[Any] | None, config: Config, *, needed: bool) -> str:
    """The device's name in the grant that permits the call; "" when none is needed or known."""
    if device is None:
        if needed and config.needs_grants:
            raise ApiError(403, Code.NO_GRANT)
        return ""
    subjects = {"own": f"sn:{device.sn}", "grouped": f"group:{device.group_id or ''}"}
    found = connection.execute(GRANT, {"own_openid": openid, **subjects}).first()
    if found is None:
        if needed and config.needs_grants:
            raise ApiError(403, Code.NO_GRANT)
        return ""
    return str(found.device_name)


def _policies(asked: Invitation, device: Row[Any] | None, config: Config, now_ms: int) -> None:
    if device is not None and device.approved is False and asked.release:
        raise ApiError(403, Code.NOT_APPROVED)
    if not config.require_licence or device is None:
        return
    if device.charge_types and asked.charge not in device.charge_types.split(","):
        raise ApiError(403, Code.CHARGE_TYPE_REFUSED)
    if asked.charge == "license":
        if device.license_expires_ms is None:
            raise ApiError(403, Code.LICENCE_INACTIVE)
        if device.license_expires_ms <= now_ms:
            raise ApiError(403, Code.LICENCE_EXPIRED)
    elif device.in_arrears:
        raise ApiError(402, Code.IN_ARREARS)


def _shown(granted: str, device: Row[Any] | None, given: str) -> str:
    """A device's name is not the caller's to choose: that of the grant and its type are shown (§1.3)."""
    if device is None:
        return given
    named = granted or device.name or given or device.sn
    model = device.model_name or ""
    return named if not model or model in named else f"{named} {model}"


def _member(party: Party, person: Person | Listener, name: str, device: Row[Any] | None) -> Member:
    profile = None
    if device is not None and device.profile != "{}":
        profile = msgspec.json.decode(device.profile, type=Profile)
    return Member(party.id, name, person.camera_status, party.kind, profile)
