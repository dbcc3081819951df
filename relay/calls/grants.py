"""Grants: may this device, or a device of this group, call this user? (plugin-interface §4.1-4.3)

    (none) ──agree──► agreed ──the user switches off──► refused ──reopen──► reopened ──agree──► agreed
       └────refuse────────────────────────────────────────┘  ▲                 └──refuse──► refused
    agreed ──the operator revokes──► revoked ──agree, with a new ticket──► agreed

Only the user decides, and for a device only with a ticket, the operator's word that it is its own. Who has refused is
not asked again (10021), except after reopening it, which is the user's own act and may not be repeated at will.
"""

import secrets
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Connection, or_, select
from sqlalchemy.exc import IntegrityError

from relay.calls.invitation import Id, Name, Opaque
from relay.calls.tickets import ticket_fits, use_ticket
from relay.calls.webhooks import Webhooks
from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.schema import DEVICES, GRANTS, GROUPS, MODELS

State = Literal["agreed", "refused", "revoked", "reopened"]
LISTED_MAX = 1_000


class GrantRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What wx.requestDeviceVoIP is given, and the user's decision; `ask` only looks whether one may be made."""

    sn: Name = ""
    sn_ticket: Opaque = ""
    model_id: Name = ""
    device_name: Annotated[str, msgspec.Meta(max_length=13, pattern=r"^[^\x00]*$")] = ""  # §4.1: 13 characters
    is_group: bool = False
    group_id: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")] = ""
    decision: Literal["ask", "agree", "refuse"] = "agree"

    def __post_init__(self) -> None:
        if self.is_group and not self.group_id:
            raise ValueError("groupId is needed for a group")
        if not self.is_group and not (self.sn and self.sn_ticket and self.model_id):
            raise ValueError("sn, snTicket and modelId are needed, or isGroup and groupId")


class GrantView(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a request. `name` is what the question shows; `status` 1 is "may call"."""

    grant_id: str | None
    status: Literal[0, 1]
    state: State | None
    name: str


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of getDeviceVoIPList, with the plugin's field names; for a group sn and model_id are missing."""

    status: Literal[0, 1]
    grant_id: str
    sn: str | None = None
    model_id: str | None = None
    group_id: str | None = None
    device_name: str = ""


class Contact(msgspec.Struct, frozen=True):
    """An entry of getIotBindContactList."""

    openid: str
    sn: str
    model_id: str
    status: Literal[0, 1]


class DeviceGrant(msgspec.Struct, frozen=True, rename="camel"):
    """What the operator and the device may read of a grant."""

    grant_id: str
    openid: str
    state: State
    status: Literal[0, 1]
    group_id: str | None
    device_name: str
    changed_at: int  # Unix milliseconds


class GrantId(msgspec.Struct, frozen=True, rename="camel"):
    grant_id: Id
    state: State


class Grants:
    """The grants of a node's store."""

    def __init__(self, store: Store, webhooks: Webhooks, config: Config) -> None:
        self._store = store
        self._webhooks = webhooks
        self._reopen_ms = int(config.reopen_s * 1000)

    async def request(self, openid: str, asked: GrantRequest, now_ms: int, appid: str = "") -> GrantView:
        """A user's decision about a device or a group. Raises ApiError: 409/10001, 403/10021, 403/10008,
        404/10025, 403/-12001, 403/19 for a device of another mini program.
        """

        def work(connection: Connection) -> GrantView:
            subject = f"group:{asked.group_id}" if asked.is_group else f"sn:{asked.sn}"
            where = (GRANTS.c.openid == openid, GRANTS.c.subject == subject)
            # Held against other nodes until the commit: of two decisions at once, the second sees the first.
            grant = connection.execute(select(GRANTS).where(*where).with_for_update()).first()
            if grant is not None and grant.state == "agreed":
                raise ApiError(409, Code.ALREADY_GRANTED)
            if grant is not None and grant.state == "refused":
                raise ApiError(403, Code.REFUSED_BEFORE)
            name, model_id = self._subject(connection, appid, asked, now_ms)
            if asked.decision == "ask":
                known = (None, None) if grant is None else (grant.grant_id, grant.state)
                return GrantView(known[0], 0, known[1], name)
            if not asked.is_group and not use_ticket(connection, asked.sn_ticket, asked.sn, model_id, now_ms):
                raise ApiError(403, Code.TICKET_WRONG)
            state: State = "agreed" if asked.decision == "agree" else "refused"
            values: dict[str, Any] = {
                "state": state,
                "changed_ms": now_ms,
                "device_name": asked.device_name,
                "model_id": model_id,
            }
            if grant is not None:
                grant_id = grant.grant_id
                connection.execute(GRANTS.update().where(*where).values(**values))
            else:
                grant_id = secrets.token_hex(12)
                mine = {"sn": None if asked.is_group else asked.sn, "group_id": asked.group_id or None}
                made = {"grant_id": grant_id, "openid": openid, "subject": subject, "reopened_ms": 0, **mine}
                try:
                    with connection.begin_nested():
                        connection.execute(GRANTS.insert().values(**made, **values))
                except IntegrityError:  # the same user on another node, in this moment
                    other = connection.execute(select(GRANTS.c.state).where(*where)).scalar()
                    if other == "refused":
                        raise ApiError(403, Code.REFUSED_BEFORE) from None
                    raise ApiError(409, Code.ALREADY_GRANTED) from None
            self._tell(connection, grant_id, now_ms)
            return GrantView(grant_id, 1 if state == "agreed" else 0, state, name)

        return await self._store.run(work, lane=openid)

    def _subject(self, connection: Connection, appid: str, asked: GrantRequest, now_ms: int) -> tuple[str, str]:
        """The name to show, and the model. Raises ApiError: 403/10008, 404/10025, 403/-12001."""
        if asked.is_group:
            group = connection.execute(select(GROUPS).where(GROUPS.c.group_id == asked.group_id)).first()
            if group is None:
                raise ApiError(404, Code.GROUP_NOT_GRANTABLE)
            _approved(connection, group.model_id, appid)
            return group.name, group.model_id
        if not ticket_fits(connection, asked.sn_ticket, asked.sn, asked.model_id, now_ms):
            raise ApiError(403, Code.TICKET_WRONG)
        model_name = _approved(connection, asked.model_id, appid)
        return f"{asked.device_name} {model_name}".strip() or asked.sn, asked.model_id

    async def of_user(self, openid: str) -> list[Listed]:
        """What this user decided. A reopened grant is no decision, so it is not listed."""

        def work(connection: Connection) -> list[Listed]:
            where = (GRANTS.c.openid == openid, GRANTS.c.state != "reopened")
            rows = connection.execute(select(GRANTS).where(*where).order_by(GRANTS.c.changed_ms).limit(LISTED_MAX))
            return [
                Listed(
                    status=1 if row.state == "agreed" else 0,
                    grant_id=row.grant_id,
                    sn=row.sn,
                    model_id=None if row.group_id else row.model_id,
                    group_id=row.group_id,
                    device_name=row.device_name,
                )
                for row in rows
            ]

        return await self._store.run(work, lane=openid)

    async def of_device(self, sn: str) -> list[DeviceGrant]:
        """Everybody who decided about this device or its group. Raises ApiError 404/2."""

        def work(connection: Connection) -> list[DeviceGrant]:
            query = select(GRANTS).where(_about(connection, sn)).order_by(GRANTS.c.changed_ms).limit(LISTED_MAX)
            return [
                DeviceGrant(
                    grant_id=row.grant_id,
                    openid=row.openid,
                    state=row.state,
                    status=1 if row.state == "agreed" else 0,
                    group_id=row.group_id,
                    device_name=row.device_name,
                    changed_at=row.changed_ms,
                )
                for row in connection.execute(query)
            ]

        return await self._store.run(work, lane=sn)

    async def contacts(self, sn: str, model_id: str, openids: tuple[str, ...]) -> list[Contact]:
        """Who of these may be called by the device. Raises ApiError 404/2, 403/17."""

        def work(connection: Connection) -> list[Contact]:
            about = _about(connection, sn)
            known = connection.execute(select(DEVICES.c.model_id).where(DEVICES.c.sn == sn)).scalar()
            if known != model_id:
                raise ApiError(403, Code.TOKEN_MODEL_MISMATCH)
            query = select(GRANTS.c.openid).where(about, GRANTS.c.state == "agreed", GRANTS.c.openid.in_(openids))
            agreed = set(connection.execute(query).scalars())
            return [Contact(openid, sn, model_id, 1 if openid in agreed else 0) for openid in openids]

        return await self._store.run(work, lane=sn)

    async def revoke(self, grant_id: str, openid: str | None, now_ms: int) -> GrantId:
        """The user (`openid`) switches off, or the operator (None) revokes. Raises ApiError 404/9."""
        state: State = "revoked" if openid is None else "refused"

        def work(connection: Connection) -> GrantId:
            grant = _own(connection, grant_id, openid)
            # A refusal stays one: the operator must not make it possible to ask again.
            if grant.state == "agreed" or (grant.state == "reopened" and openid is not None):
                self._change(connection, grant_id, {"state": state, "changed_ms": now_ms})
                self._tell(connection, grant_id, now_ms)
                return GrantId(grant_id, state)
            return GrantId(grant_id, grant.state)

        return await self._store.run(work, lane=grant_id)

    async def reopen(self, grant_id: str, openid: str, now_ms: int) -> GrantId:
        """The user allows to be asked again. Raises ApiError 404/9, 409/10001 for one that is given, 429/45009."""

        def work(connection: Connection) -> GrantId:
            grant = _own(connection, grant_id, openid)
            if grant.state == "agreed":
                raise ApiError(409, Code.ALREADY_GRANTED)
            if grant.state == "reopened":
                return GrantId(grant_id, "reopened")
            wait_ms = grant.reopened_ms + self._reopen_ms - now_ms
            if wait_ms > 0:
                raise ApiError(429, Code.TOO_OFTEN, "reopened a moment ago; try again later", retry_s=wait_ms / 1000)
            self._change(connection, grant_id, {"state": "reopened", "changed_ms": now_ms, "reopened_ms": now_ms})
            self._tell(connection, grant_id, now_ms)
            return GrantId(grant_id, "reopened")

        return await self._store.run(work, lane=openid)

    def _change(self, connection: Connection, grant_id: str, values: dict[str, Any]) -> None:
        connection.execute(GRANTS.update().where(GRANTS.c.grant_id == grant_id).values(**values))

    def _tell(self, connection: Connection, grant_id: str, now_ms: int) -> None:
        if not self._webhooks.wants("grant.changed"):
            return
        grant = connection.execute(select(GRANTS).where(GRANTS.c.grant_id == grant_id)).one()
        data = {
            "grantId": grant_id,
            "openid": grant.openid,
            "sn": grant.sn,
            "groupId": grant.group_id,
            "modelId": grant.model_id,
            "deviceName": grant.device_name,
            "state": grant.state,
            "status": 1 if grant.state == "agreed" else 0,
        }
        self._webhooks.enqueue(connection, "grant.changed", data, now_ms)


def _approved(connection: Connection, model_id: str, appid: str) -> str:
    """The model's name. Raises ApiError 403/-12001, 403/19."""
    model = connection.execute(select(MODELS).where(MODELS.c.model_id == model_id)).first()
    if model is not None and not model.approved:
        raise ApiError(403, Code.SCOPE_NOT_GRANTED)
    if model is not None and model.appid and appid and model.appid != appid:
        raise ApiError(403, Code.OPENID_OTHER_APP)
    return "" if model is None else str(model.name)


def _about(connection: Connection, sn: str) -> Any:
    device = connection.execute(select(DEVICES.c.group_id).where(DEVICES.c.sn == sn)).first()
    if device is None:
        raise ApiError(404, Code.BAD_DEVICE_ID, "no such device")
    own = GRANTS.c.subject == f"sn:{sn}"
    return or_(own, GRANTS.c.subject == f"group:{device.group_id}") if device.group_id else own


def _own(connection: Connection, grant_id: str, openid: str | None) -> Any:
    grant = connection.execute(select(GRANTS).where(GRANTS.c.grant_id == grant_id).with_for_update()).first()
    if grant is None or (openid is not None and grant.openid != openid):
        raise ApiError(404, Code.NO_GRANT, "no such grant")
    return grant
