"""snTickets: the operator's word that a device is one of its own, good once and for five minutes (§4.1).

A ticket for a grant goes to the user's client, so it must not make that user the device: it registers a device only as
long as that has never used a secret. Later registrations need a ticket made for the purpose.
"""

import hashlib
import secrets
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, select

from relay.config import Config
from relay.errors import ApiError, Code
from relay.store.engine import Store
from relay.store.schema import DEVICES, TICKETS

TICKET_BYTES = 24

Purpose = Literal["grant", "register"]


class Tickets:
    """Issues tickets; the grants and the registration use them up in their own transactions."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._life_ms = int(config.ticket_s * 1000)

    async def issue(self, sn: str, model_id: str, now_ms: int, purpose: Purpose = "grant") -> str:
        """A new ticket. Raises ApiError 404/9800004 for an unknown SN, 400/9800003 for another model."""
        ticket = secrets.token_urlsafe(TICKET_BYTES)

        def work(connection: Connection) -> str:
            connection.execute(delete(TICKETS).where(TICKETS.c.expires_ms <= now_ms))
            device = connection.execute(select(DEVICES.c.model_id).where(DEVICES.c.sn == sn)).first()
            if device is None:
                raise ApiError(404, Code.SN_NOT_REGISTERED)
            if device.model_id != model_id:
                raise ApiError(400, Code.MODEL_WRONG)
            values = {"sn": sn, "model_id": model_id, "purpose": purpose, "expires_ms": now_ms + self._life_ms}
            connection.execute(TICKETS.insert().values(ticket_hash=_hash(ticket), **values))
            return ticket

        return await self._store.run(work, lane=sn)


def ticket_fits(connection: Connection, ticket: str, sn: str, model_id: str, now_ms: int) -> bool:
    """Is it good for a grant of this device now? Uses nothing up."""
    return connection.execute(select(TICKETS.c.sn).where(*_good(ticket, sn, model_id, now_ms))).first() is not None


def use_ticket(
    connection: Connection,
    ticket: str,
    sn: str,
    model_id: str,
    now_ms: int,
    purposes: tuple[Purpose, ...] = ("grant",),
) -> bool:
    """Use it up; False for one that is unknown, used, out of date, another device's or for something else."""
    return connection.execute(delete(TICKETS).where(*_good(ticket, sn, model_id, now_ms, purposes))).rowcount == 1


def _good(
    ticket: str, sn: str, model_id: str, now_ms: int, purposes: tuple[Purpose, ...] = ("grant",)
) -> tuple[ColumnElement[bool], ...]:
    return (
        TICKETS.c.purpose.in_(purposes),
        TICKETS.c.ticket_hash == _hash(ticket),
        TICKETS.c.sn == sn,
        TICKETS.c.model_id == model_id,
        TICKETS.c.expires_ms > now_ms,
    )


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
