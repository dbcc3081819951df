"""Groups of devices: one model, one group a device, 50 devices by default (plugin-interface §4.4).

Adding is all or nothing: the first device that does not fit is named and nothing was changed. A device that is moved by
force leaves its old group, and users who authorised only that group are not reachable any more (code 9).
"""

import secrets
from typing import Annotated, Any

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import Row

from relay.calls.invitation import Id, Name
from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.schema import DEVICES, GROUPS

NAME_MAX_BYTES = 32


class GroupEntry(msgspec.Struct, frozen=True):
    group_name: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")]
    model_id: Id


class Member(msgspec.Struct, frozen=True):
    sn: Id
    model_id: Name = ""


class MemberChange(msgspec.Struct, frozen=True):
    """`force_add` takes devices out of other groups."""

    device_list: Annotated[tuple[Member, ...], msgspec.Meta(min_length=1, max_length=1000)]
    force_add: bool = False


class GroupView(msgspec.Struct, frozen=True):
    group_id: str
    group_name: str
    model_id: str
    max_devices: int
    device_list: tuple[Member, ...] = ()


class Groups:
    """The groups of a node's store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config

    async def create(self, entry: GroupEntry, now_ms: int) -> GroupView:
        """Raises ApiError 400/9800012 for its name, 429/9800044 at `max_groups`."""
        if not 1 <= len(entry.group_name.encode()) <= NAME_MAX_BYTES:
            raise ApiError(400, Code.GROUP_NAME)
        view = GroupView(secrets.token_hex(12), entry.group_name, entry.model_id, self._config.group_devices)

        def work(connection: Connection) -> GroupView:
            count = connection.execute(select(func.count()).select_from(GROUPS)).scalar() or 0
            if count >= self._config.max_groups:
                raise ApiError(429, Code.TOO_MANY_GROUPS)
            values = {"name": view.group_name, "model_id": view.model_id, "max_devices": view.max_devices}
            connection.execute(GROUPS.insert().values(group_id=view.group_id, created_ms=now_ms, **values))
            return view

        return await self._store.run(work, lane="groups")

    async def view(self, group_id: str) -> GroupView:
        """Raises ApiError 404/9800013."""
        return await self._store.run(lambda connection: _view(connection, group_id), lane="groups")

    async def resize(self, group_id: str, max_devices: int) -> GroupView:
        """Let a group have more (or fewer) devices; those in it stay. Raises ApiError 404/9800013."""

        def work(connection: Connection) -> GroupView:
            _locked(connection, group_id)
            connection.execute(GROUPS.update().where(GROUPS.c.group_id == group_id).values(max_devices=max_devices))
            return _view(connection, group_id)

        return await self._store.run(work, lane="groups")

    async def add(self, group_id: str, change: MemberChange) -> GroupView:
        """Raises ApiError: 404/9800013, 404/9800004, 400/9800014, 409/9800015, 409/9800016, 409/9800018."""

        def work(connection: Connection) -> GroupView:
            group = _locked(connection, group_id)
            members = connection.execute(
                select(func.count()).select_from(DEVICES).where(DEVICES.c.group_id == group_id)
            ).scalar()
            for wanted in change.device_list:
                # Held too: another node may be putting it into another group.
                device = connection.execute(select(DEVICES).where(DEVICES.c.sn == wanted.sn).with_for_update()).first()
                if device is None:
                    raise ApiError(404, Code.SN_NOT_REGISTERED, f"{wanted.sn}: not registered")
                if device.model_id != group.model_id or wanted.model_id not in ("", device.model_id):
                    raise ApiError(400, Code.GROUP_MODEL, f"{wanted.sn}: its device type does not fit the group")
                if device.group_id == group_id:
                    raise ApiError(409, Code.IN_THIS_GROUP, f"{wanted.sn}: in this group already")
                if device.group_id and not change.force_add:
                    raise ApiError(409, Code.IN_OTHER_GROUP, f"{wanted.sn}: in another group; force_add moves it")
                members = (members or 0) + 1
                if members > group.max_devices:
                    raise ApiError(409, Code.GROUP_FULL, f"a group of {group.max_devices} devices is full")
                connection.execute(DEVICES.update().where(DEVICES.c.sn == wanted.sn).values(group_id=group_id))
            return _view(connection, group_id)

        return await self._store.run(work, lane="groups")

    async def take_out(self, group_id: str, change: MemberChange) -> GroupView:
        """Raises ApiError: 404/9800013, 404/9800017."""

        def work(connection: Connection) -> GroupView:
            _locked(connection, group_id)
            for wanted in change.device_list:
                where = (DEVICES.c.sn == wanted.sn, DEVICES.c.group_id == group_id)
                if not connection.execute(DEVICES.update().where(*where).values(group_id=None)).rowcount:
                    raise ApiError(404, Code.NOT_IN_GROUP, f"{wanted.sn}: not in this group")
            return _view(connection, group_id)

        return await self._store.run(work, lane="groups")


def _locked(connection: Connection, group_id: str) -> Row[Any]:
    """The group's row, held against other nodes until the commit: two of them must not both take the last place."""
    group = connection.execute(select(GROUPS).where(GROUPS.c.group_id == group_id).with_for_update()).first()
    if group is None:
        raise ApiError(404, Code.GROUP_UNKNOWN)
    return group


def _view(connection: Connection, group_id: str) -> GroupView:
    group = connection.execute(select(GROUPS).where(GROUPS.c.group_id == group_id)).first()
    if group is None:
        raise ApiError(404, Code.GROUP_UNKNOWN)
    members = connection.execute(
        select(DEVICES.c.sn, DEVICES.c.model_id).where(DEVICES.c.group_id == group_id).order_by(DEVICES.c.sn)
    )
    return GroupView(
        group.group_id,
        group.name,
        group.model_id,
        group.max_devices,
        tuple(Member(row.sn, row.model_id) for row in members),
    )
