"""The media legs of live calls: offers in, answers out, and what media says of them as inputs of the state table."""

import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from relay.calls.call import Input, Kind, Side, State
from relay.calls.ice_session import IceSession
from relay.calls.invitation import Party
from relay.calls.live import LiveCall
from relay.errors import ApiError, Code
from relay.media.messages import CONSENT_EXPIRED, Media, MediaError, MediaEvent

log = logging.getLogger(__name__)

# What media says of a leg as inputs, by the side it belongs to.
LOST = {Side.CALLER: Kind.CALLER_LOST, Side.LISTENER: Kind.LISTENER_LOST}
RETRIES = {Side.CALLER: Kind.CALLER_RETRIES, Side.LISTENER: Kind.LISTENER_RETRIES}
COMES_IN = {Side.CALLER: Kind.CALLER_IN, Side.LISTENER: Kind.LISTENER_IN}
HANGS_UP = {Side.CALLER: Kind.CALLER_HANGS_UP, Side.LISTENER: Kind.LISTENER_HANGS_UP}

Feed = Callable[[LiveCall, Input], bool]


class Leg(NamedTuple):
    """A party's current leg."""

    call: LiveCall
    side: Side
    ice: IceSession


class Legs:
    """All legs of a node's calls: at most one a party. `feed` gives a call an input; `later` runs a task."""

    def __init__(
        self, media: Media, feed: Feed, later: Callable[[Coroutine[Any, Any, None]], object], consent_s: float
    ) -> None:
        self._media = media
        self._feed = feed
        self._later = later
        self._consent_s = consent_s
        self._legs: dict[str, Leg] = {}
        self._of: dict[tuple[str, Side], Leg] = {}
        media.subscribe(self._media_event)

    async def open(self, live: LiveCall, side: Side, offer: str) -> tuple[IceSession, str]:
        """Answer an offer; a party's earlier leg is replaced. Raises ApiError 409/2000 and MediaError."""
        leg = Leg(live, side, IceSession(secrets.token_hex(16), offer))
        replaced = self._of.get((live.room, side))
        self._of[live.room, side] = leg
        self._legs[leg.ice.leg] = leg
        if side is Side.CALLER:
            self._feed(live, Input(Kind.CALLER_JOINS))
        if replaced is not None:
            # Before the new leg opens: the worker must never see two legs of one party in a room.
            del self._legs[replaced.ice.leg]
            await told(self._media.close_leg(replaced.ice.leg))
        self._check_open(leg)
        talking = live.call.state is State.TALKING
        try:
            answer = await self._media.open_leg(live.room, leg.ice.leg, offer, live=talking)
        except MediaError as refusal:
            self._gone(leg, refusal.message)
            raise
        except BaseException:  # the client went away while it waited: nobody has the answer
            if self._legs.get(leg.ice.leg) is leg:
                self._later(self._media.close_leg(leg.ice.leg))
                self._gone(leg, "the offer was withdrawn")
            raise
        try:
            self._check_open(leg)
        except ApiError:
            # The call ended, or a newer offer took this one's place, while the worker was busy.
            self._later(self._media.close_leg(leg.ice.leg))
            raise
        return leg.ice, answer

    def _check_open(self, leg: Leg) -> None:
        if self._legs.get(leg.ice.leg) is leg:
            return
        if leg.call.call.end is not None:
            raise too_late()
        raise ApiError(409, Code.JOIN_FAILED, "the leg was lost, or a newer offer replaced it")

    async def patch(self, room: str, leg: str, fragment: str, if_match: str | None) -> str | None:
        """See `IceSession.patch`. Raises ApiError 404/1 for an unknown leg."""
        return await self._find(room, leg).ice.patch(self._media, fragment, if_match)

    async def close(self, room: str, leg: str) -> None:
        """A party leaves. One that was in the room thereby hangs up. Raises ApiError 404/1."""
        left = self._find(room, leg)
        was_in = left.call.is_in(left.side)
        self._drop(left)
        self._later(self._media.close_leg(leg))
        if was_in:
            self._feed(left.call, Input(HANGS_UP[left.side]))

    def owner(self, room: str, leg: str) -> tuple[IceSession, Side, Party]:
        """Whose leg this is. Raises ApiError 404/1."""
        found = self._find(room, leg)
        return found.ice, found.side, found.call.party(found.side)

    def forget(self, live: LiveCall) -> None:
        """The call is over; its room is closed by whoever ended it."""
        for side in Side:
            leg = self._of.get((live.room, side))
            if leg is not None:
                self._drop(leg)

    def __len__(self) -> int:
        return len(self._legs)

    def _find(self, room: str, leg: str) -> Leg:
        found = self._legs.get(leg)
        if found is None or found.call.room != room:
            raise ApiError(404, Code.BAD_ROOM_ID, "no such leg")
        return found

    def _drop(self, leg: Leg) -> None:
        self._legs.pop(leg.ice.leg, None)
        if self._of.get((leg.call.room, leg.side)) is leg:
            del self._of[leg.call.room, leg.side]

    def _media_event(self, event: MediaEvent) -> None:
        """What media says about a leg. Legs that were replaced or left are no longer ours to hear about."""
        leg = self._legs.get(event.leg)
        if leg is None:
            return
        if event.state == "connected":
            self._feed(leg.call, Input(COMES_IN[leg.side]))
        else:
            self._gone(leg, event.reason)

    def _gone(self, leg: Leg, reason: str) -> None:
        if self._legs.get(leg.ice.leg) is not leg:
            return
        was_in = leg.call.is_in(leg.side)
        self._drop(leg)
        if was_in:
            silent_s = self._consent_s if reason == CONSENT_EXPIRED else 0.0
            self._feed(leg.call, Input(LOST[leg.side], silent_s=silent_s))
        else:
            self._feed(leg.call, Input(RETRIES[leg.side], error=reason))


async def told(request: Coroutine[Any, Any, None]) -> None:
    """Tell media something whose refusal changes nothing: a room or leg that is gone already is no fault."""
    try:
        await request
    except MediaError as refusal:
        log.info("media refused a clean-up", extra={"reason": refusal.message})
    except Exception:
        log.exception("a request to media failed")


def too_late() -> ApiError:
    """§2.4: the text known for an answer or a join that comes after the end."""
    return ApiError(409, Code.JOIN_FAILED, "retry join but voip is end")
