"""Devices: their models, registration, secrets, picture profiles, and the users who were seen.

A device is first made known by the operator (`put`), who may give it its secret in the factory, or hand it a ticket
with which it registers itself. Its secret makes device tokens; the store keeps a hash of it alone.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Connection, case, delete, func, select
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from relay.calls.invitation import Id, Name, Party
from relay.calls.tickets import Purpose, use_ticket
from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.schema import DEVICES, GRANTS, MODELS, USERS

SECRET_BYTES = 32
USERS_REMEMBERED = 50_000  # that were written lately, so that not every request writes again


class Profile(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How a device's picture is shown: the UIConfig of §1.9, kept for the device. Only what was set."""

    camera_rotation: Literal[0, 90, 180, 270] | msgspec.UnsetType = msgspec.UNSET
    aspect_ratio: Annotated[float, msgspec.Meta(gt=0, le=10)] | msgspec.UnsetType | None = msgspec.UNSET
    hor_mirror: bool | msgspec.UnsetType = msgspec.UNSET
    vert_mirror: bool | msgspec.UnsetType = msgspec.UNSET
    enable_toggle_camera: bool | msgspec.UnsetType = msgspec.UNSET
    object_fit: Literal["fill", "contain"] | msgspec.UnsetType = msgspec.UNSET


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """A device type: which mini program it belongs to, and what its calls need."""

    appid: Name = ""
    name: Name = ""  # shown behind the device's name
    approved: bool = True  # False: calls of the released mini program are refused with 12
    call_needs_grant: bool = False  # True: callWMPF and callDevice need the user's grant too
    charge_types: Annotated[tuple[Literal["license", "duration"], ...], msgspec.Meta(min_length=1)] = (
        "license",
        "duration",
    )
    in_arrears: bool = False  # True: calls paid by duration are refused with 15, if licences are required


class ModelChange(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What to change of a device type; what is left out stays, and is the default for a new one."""

    appid: Name | msgspec.UnsetType = msgspec.UNSET
    name: Name | msgspec.UnsetType = msgspec.UNSET
    approved: bool | msgspec.UnsetType = msgspec.UNSET
    call_needs_grant: bool | msgspec.UnsetType = msgspec.UNSET
    charge_types: (
        Annotated[tuple[Literal["license", "duration"], ...], msgspec.Meta(min_length=1)] | msgspec.UnsetType
    ) = msgspec.UNSET
    in_arrears: bool | msgspec.UnsetType = msgspec.UNSET


class DeviceEntry(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the operator says of a device; what is left out stays as it is."""

    model_id: Id
    name: Name | msgspec.UnsetType = msgspec.UNSET
    kind: Literal["wmpf", "device", "cloud"] | msgspec.UnsetType = msgspec.UNSET  # "device" for a new one
    license_expire_timestamp: (
        Annotated[int, msgspec.Meta(ge=0, le=2**53)] | msgspec.UnsetType | None  # Unix seconds; null: no licence
    ) = msgspec.UNSET


class DeviceView(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A device as its operator and itself may read it; the secret is told once, when it is made."""

    sn: str
    model_id: str
    name: str
    kind: str
    group_id: str | None
    registered: bool
    license_expire_timestamp: int | None
    device_secret: str = ""


class Devices:
    """Devices and users of a node's store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._seen: dict[str, str] = {}  # openid -> appid, as written

    async def put_model(self, model_id: str, change: ModelChange) -> Model:
        """Make a device type known, or change it; returns all of it."""

        def work(connection: Connection) -> Model:
            kept: dict[str, Any] = msgspec.to_builtins(_model(connection, model_id) or Model())
            model = msgspec.convert({**kept, **msgspec.to_builtins(change)}, Model)
            values = msgspec.structs.asdict(model) | {"charge_types": ",".join(model.charge_types)}
            _put(connection, MODELS, {"model_id": model_id}, values)
            return model

        return await self._store.run(work, lane=model_id)

    async def model(self, model_id: str) -> Model:
        """Raises ApiError 404/9800003."""
        found = await self._store.run(lambda connection: _model(connection, model_id), lane=model_id)
        if found is None:
            raise ApiError(404, Code.MODEL_WRONG, "no such device type")
        return found

    async def put(self, sn: str, entry: DeviceEntry, now_ms: int) -> DeviceView:
        """Make a device known, or change it. The view of a new one holds its secret; one of another model than before
        leaves its group, which is for one model.

        Raises ApiError 429/5 at `max_devices`.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        given: dict[str, Any] = msgspec.structs.asdict(entry)
        values = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        if "license_expire_timestamp" in values:
            expires = values.pop("license_expire_timestamp")
            values["license_expires_ms"] = None if expires is None else expires * 1000

        kept_group = case((DEVICES.c.model_id == entry.model_id, DEVICES.c.group_id))
        change = DEVICES.update().where(DEVICES.c.sn == sn).values(**values, group_id=kept_group)

        def work(connection: Connection) -> DeviceView:
            if connection.execute(change).rowcount:
                return _view(_found(connection, sn))
            count = connection.execute(select(func.count()).select_from(DEVICES)).scalar() or 0
            if count >= self._config.max_devices:
                raise ApiError(429, Code.ROOM_NOT_MADE, "this node knows as many devices as it may")
            made = {
                "name": "", "kind": "device", **values, "secret_hash": _hash(secret), "profile": "{}",
                "created_ms": now_ms, "tokens_from_ms": now_ms,
            }  # fmt: skip
            try:
                with connection.begin_nested():
                    connection.execute(DEVICES.insert().values(sn=sn, **made))
            except IntegrityError:  # another node made it known in this moment
                connection.execute(change)
                return _view(_found(connection, sn))
            return _view(_found(connection, sn), secret)

        return await self._store.run(work, lane=sn)

    async def learn(self, sn: str, model_id: str, name: str, now_ms: int) -> None:
        """Demo mode: whoever says it is a device is one."""

        def work(connection: Connection) -> None:
            values = {
                "model_id": model_id, "name": name, "kind": "device", "secret_hash": "", "profile": "{}",
                "created_ms": now_ms, "registered_ms": now_ms, "tokens_from_ms": 0,
            }  # fmt: skip
            if connection.execute(select(DEVICES.c.sn).where(DEVICES.c.sn == sn)).first() is not None:
                return
            try:
                with connection.begin_nested():
                    connection.execute(DEVICES.insert().values(sn=sn, **values))
            except IntegrityError:
                pass  # another node learned it in this moment

        await self._store.run(work, lane=sn)

    async def view(self, sn: str) -> DeviceView:
        """Raises ApiError 404/2."""
        return _view(await self._store.run(lambda connection: _found(connection, sn), lane=sn))

    async def remove(self, sn: str) -> None:
        """Forget a device and what was granted to it. Raises ApiError 404/2."""

        def work(connection: Connection) -> None:
            _found(connection, sn)
            connection.execute(delete(GRANTS).where(GRANTS.c.subject == f"sn:{sn}"))
            connection.execute(delete(DEVICES).where(DEVICES.c.sn == sn))

        await self._store.run(work, lane=sn)

    async def register(self, sn: str, model_id: str, ticket: str, now_ms: int) -> str:
        """A device that the operator made known registers itself with a ticket; returns its new secret.

        Raises ApiError: 404/9800004 unknown SN, 403/9800003 another model, 403/9800011 bad ticket, or one that is only
        for a grant while the device has a secret in use.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)

        def work(connection: Connection) -> str:
            device = connection.execute(select(DEVICES).where(DEVICES.c.sn == sn)).first()
            if device is None:
                raise ApiError(404, Code.SN_NOT_REGISTERED)
            if device.model_id != model_id:
                raise ApiError(403, Code.MODEL_WRONG)
            purposes: tuple[Purpose, ...] = ("register",) if device.registered_ms else ("grant", "register")
            if not use_ticket(connection, ticket, sn, model_id, now_ms, purposes):
                raise ApiError(403, Code.SN_TICKET_INVALID)
            values = {"secret_hash": _hash(secret), "registered_ms": now_ms, "tokens_from_ms": now_ms}
            connection.execute(DEVICES.update().where(DEVICES.c.sn == sn).values(**values))
            return secret

        return await self._store.run(work, lane=sn)

    async def authenticate(self, sn: str, secret: str, now_ms: int) -> str:
        """The model of the device whose secret this is. Raises ApiError 401/13, the same for unknown devices."""

        def work(connection: Connection) -> Any:
            return connection.execute(select(DEVICES).where(DEVICES.c.sn == sn)).first()

        device = await self._store.run(work, lane=sn)
        known = device.secret_hash if device is not None and device.secret_hash else _hash("nobody")
        if not hmac.compare_digest(known, _hash(secret)) or device is None or not device.secret_hash:
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the device secret is wrong")
        if device.registered_ms is None:
            mine = DEVICES.update().where(DEVICES.c.sn == sn).values(registered_ms=now_ms)
            await self._store.run(lambda connection: connection.execute(mine).rowcount, lane=sn)
        return str(device.model_id)

    async def profile(self, sn: str) -> Profile:
        """Raises ApiError 404/2."""
        device = await self._store.run(lambda connection: _found(connection, sn), lane=sn)
        return msgspec.json.decode(device.profile, type=Profile)

    async def put_profile(self, sn: str, change: Profile) -> Profile:
        """Change what `change` sets; the rest stays. Raises ApiError 404/2."""

        def work(connection: Connection) -> Profile:
            kept = msgspec.json.decode(_found(connection, sn).profile)
            profile = msgspec.convert({**kept, **msgspec.to_builtins(change)}, Profile)
            text = msgspec.json.encode(profile).decode()
            connection.execute(DEVICES.update().where(DEVICES.c.sn == sn).values(profile=text))
            return profile

        return await self._store.run(work, lane=sn)

    async def saw_user(self, openid: str, appid: str, now_ms: int) -> None:
        """Remember that a user signed in; written once in a node's life."""
        if self._seen.get(openid) != appid:
            await self._store.run(_user_seen(openid, appid, now_ms), lane=openid)
            self._remember(openid, appid)

    def notice_user(self, openid: str, appid: str, now_ms: int) -> None:
        """The same for somebody who must not wait for the store."""
        if self._seen.get(openid) != appid:
            self._store.later(_user_seen(openid, appid, now_ms), lane=openid)
            self._remember(openid, appid)

    def _remember(self, openid: str, appid: str) -> None:
        while len(self._seen) >= USERS_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[openid] = appid


def _user_seen(openid: str, appid: str, now_ms: int) -> Callable[[Connection], None]:
    values = {"appid": appid, "seen_ms": now_ms}
    return lambda connection: _put(connection, USERS, {"openid": openid}, values)


def check_sn(sn: str) -> None:
    """Raises ApiError 400 with the codes of getSnTicket (§3.4)."""
    if len(sn.encode()) > 128:
        raise ApiError(400, Code.SN_TOO_LONG)
    if not sn or not all(c.isascii() and (c.isalnum() or c in "_-") for c in sn):
        raise ApiError(400, Code.SN_CHARACTERS)


def owner_of(sn: str, party: Party | None) -> None:
    """Raises ApiError 404/2 when a device asks about another one; the operator (None) may ask about all."""
    if party is not None and party != Party("device", sn):
        raise ApiError(404, Code.BAD_DEVICE_ID, "no such device")


def _found(connection: Connection, sn: str) -> Row[Any]:
    device = connection.execute(select(DEVICES).where(DEVICES.c.sn == sn)).first()
    if device is None:
        raise ApiError(404, Code.BAD_DEVICE_ID, "no such device")
    return device


def _model(connection: Connection, model_id: str) -> Model | None:
    row = connection.execute(select(MODELS).where(MODELS.c.model_id == model_id)).first()
    if row is None:
        return None
    types = tuple(row.charge_types.split(","))
    return Model(row.appid, row.name, row.approved, row.call_needs_grant, types, row.in_arrears)


def _view(device: Row[Any], secret: str = "") -> DeviceView:
    expires = device.license_expires_ms
    return DeviceView(
        sn=device.sn,
        model_id=device.model_id,
        name=device.name,
        kind=device.kind,
        group_id=device.group_id,
        registered=device.registered_ms is not None,
        license_expire_timestamp=None if expires is None else expires // 1000,
        device_secret=secret,
    )


def _put(connection: Connection, table: Any, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Insert, or update what is there, also when another node was quicker."""
    where = [table.c[name] == value for name, value in key.items()]
    if connection.execute(table.update().where(*where).values(**values)).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(table.insert().values(**key, **values))
    except IntegrityError:
        connection.execute(table.update().where(*where).values(**values))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
