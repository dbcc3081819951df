"""A call that has not ended: the table's state, who is called, and what both sides may see of it."""

import asyncio
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode

from relay.calls.admission import Admitted, Member
from relay.calls.call import Call, Durations, End, Presence, Side, State, create
from relay.calls.hunt import Hunt, Outcome, prepare
from relay.calls.invitation import Invitation, Party
from relay.calls.view import CallView, Seen, SeenListener
from relay.config import Config

CALL_PAGE_PATH = "/call.html"  # as in the SDK
RESERVED = frozenset({"callerId", "callerName", "groupId", "isCaller", "isClickedHangOnBtn", "listenerId", "roomType"})

REASONS: dict[End, str] = {
    End.ABORT: "the call broke off",
    End.BUSY: "the called party is in another call",
    End.CANCELLED: "the caller gave up before the talk",
    End.FORCED: "the operator ended the call",
    End.HANGUP: "one side hung up",
    End.REJECTED: "the called party refused",
    End.TIME_LIMIT: "the time limit was reached",
    End.TIMEOUT: "nobody answered in time",
}


class LiveCall:
    """One call. `call` changes by the state table only, `hunt` by its own moves."""

    __slots__ = (
        "_durations", "admitted", "asked", "call", "called", "caller", "err", "hunt", "notifying", "room", "rung",
        "timer", "told", "wall_ms", "winner",
    )  # fmt: skip

    def __init__(self, room: str, asked: Invitation, admitted: Admitted, config: Config) -> None:
        self.room = room
        self.asked = asked
        self.admitted = admitted
        self.caller = asked.caller_party
        self.called = asked.called_parties
        ring_s = asked.ring_timeout or config.ring_s
        self.hunt: Hunt = prepare(
            [listener.ring_timeout or ring_s for listener in asked.called], asked.strategy, admitted.refused
        )
        self._durations = Durations(self.hunt.ring_s(), config.join_s, config.wait_s, asked.time_limit)
        self.call: Call = create(self._durations, 0)
        self.rung: set[int] = set()  # the called parties that ring, or rang until one answered, by index
        self.told: set[int] = set()  # those that ever heard of this call
        self.winner: int | None = None  # the one that answered, or the only one
        if self.hunt.alone:
            self.winner = 0
        self.timer: asyncio.TimerHandle | None = None
        self.notifying: asyncio.Task[None] | None = None  # the operator's server is being asked
        self.wall_ms: dict[str, int] = {}  # created, answered, started, ended: Unix milliseconds
        self.err: tuple[int, str] = (0, "")

    def begin(self, now: float) -> None:
        """The call's clock begins: a slow store must not cost it ring time."""
        self.call = create(self._durations, now)

    @property
    def listener(self) -> Party:
        """The called party: who answered, else the first."""
        return self.called[self.winner or 0]

    def member(self, side: Side) -> Member:
        return self.admitted.caller if side is Side.CALLER else self.admitted.listeners[self.winner or 0]

    def party(self, side: Side) -> Party:
        return self.caller if side is Side.CALLER else self.listener

    def side_of(self, party: Party) -> Side | None:
        if party == self.caller:
            return Side.CALLER
        return Side.LISTENER if party in self.called else None

    def knows(self, party: Party) -> bool:
        """May this party know of the call? Not one of several that was never rung."""
        index = self.index_of(party)
        return party == self.caller or (index is not None and (self.hunt.alone or index in self.told))

    def index_of(self, party: Party) -> int | None:
        return self.called.index(party) if party in self.called else None

    def hears(self) -> tuple[int, ...]:
        """The called parties that the state table's called side stands for now."""
        if self.winner is not None:
            return (self.winner,) if self.winner in self.rung else ()
        return tuple(index for index in self.hunt.ringing() if index in self.rung)

    def is_in(self, side: Side) -> bool:
        """Is this side's leg up, as far as the table knows?"""
        if side is Side.CALLER:
            return self.call.caller is Presence.IN
        return self.call.state in (State.LISTENER_WAITING, State.TALKING)

    def deadline(self) -> float | None:
        """When a timer of the table or a ring time is due."""
        times = (self.call.deadline(), self.hunt.deadline())
        return min((when for when in times if when is not None), default=None)

    def stamp(self, before: Call, now_ms: int) -> list[str]:
        """Note the wall time of what happened since `before`: answered, started, ended."""
        new = [
            name
            for name in ("answered", "started", "ended")
            if getattr(before, name) is None and getattr(self.call, name) is not None
        ]
        for name in new:
            self.wall_ms[name] = now_ms
        return new

    def notice(self, index: int) -> dict[str, Any]:
        """What the ringing party is told (`incomingCall`)."""
        asked, caller, listener = self.asked, self.admitted.caller, self.admitted.listeners[index]
        alone = self.hunt.alone
        data: dict[str, Any] = {
            "roomType": asked.room_type,
            "businessType": asked.business,
            "callerId": caller.id,
            "callerName": caller.name,
            "callerKind": caller.kind,
            "callerCameraStatus": caller.camera_status,
            "callerProfile": caller.profile,
            "listenerId": listener.id,
            "listenerName": listener.name,
            "listenerKind": listener.kind,
            "listenerCameraStatus": listener.camera_status,
            "listenerProfile": listener.profile,
            "query": asked.custom_query,
            "ringTimeout": self.call.durations.ring_s if alone else self.hunt.candidates[index].ring_s,
            "timeLimit": asked.time_limit,
            "encodeVideo": asked.encode_video,
        }
        if listener.kind == "device":
            data |= {"path": self._path(listener), "appType": asked.app_type, "appid": self.admitted.appid}
        return data

    def _path(self, listener: Member) -> str:
        """The page a WMPF device opens (§4.6, §1.12)."""
        query = urlencode(
            {
                "roomType": self.asked.room_type,
                "groupId": self.room,
                "listenerId": listener.id,
                "callerName": self.admitted.caller.name,
                "callerId": self.admitted.caller.id,
            },
            quote_via=quote,
        )
        custom = [part for part in self.asked.custom_query.lstrip("?").split("&") if part and not _reserved(part)]
        return "&".join([f"{CALL_PAGE_PATH}?{query}", *custom])

    @property
    def reason(self) -> str:
        """Why the call ended, in words; "" while it lives."""
        if self.err[0]:
            return "the operator's server did not want this call"
        return REASONS[self.call.end] if self.call.end is not None else ""

    def end_data(self, side: Side, index: int | None = None) -> dict[str, Any]:
        """What `endVoip` says besides the time (§2.2); `index` is the called party that hears it."""
        listener = self.member(Side.LISTENER) if index is None else self.admitted.listeners[index]
        return {
            "callerName": self.admitted.caller.name,
            "listenerName": listener.name,
            "roomType": self.asked.room_type,
            "isCaller": side is Side.CALLER,
            "businessType": self.asked.business,
        }

    def view(self, now: float) -> CallView:
        """Everything about the call, for its parties, the operator and the record."""
        call, asked = self.call, self.asked
        candidates = zip(self.admitted.listeners, self.hunt.candidates, strict=True)
        code, message = self.err
        return CallView(
            room_id=self.room,
            group_id=self.room,
            state=str(call.state),
            room_type=asked.room_type,
            direction=asked.direction,
            target=asked.target,
            business_type=asked.business,
            charge_type=asked.charge,
            appid=self.admitted.appid,
            model_id=self.admitted.model_id,
            caller=seen(self.admitted.caller),
            listener=seen(self.member(Side.LISTENER)),
            listeners=tuple(
                SeenListener(member.id, member.name, member.kind, str(candidate.outcome))
                for member, candidate in candidates
            ),
            strategy=asked.strategy,
            keep_time=call.settled_time(now) if call.state is State.SETTLED else call.keep_time(now),
            time_limit=asked.time_limit,
            ring_timeout=call.durations.ring_s,
            created_at=self.wall_ms["created"],
            answered_at=self.wall_ms.get("answered"),
            started_at=self.wall_ms.get("started"),
            ended_at=self.wall_ms.get("ended"),
            end_reason=None if call.end is None else str(call.end),
            reason=self.reason,
            err_code=code,
            err_msg=message,
        )


def _reserved(part: str) -> bool:
    """Is this part of a custom query one of the page's own? A caller must not make a device answer by itself."""
    return unquote_plus(part.partition("=")[0]).strip() in RESERVED


OUTCOMES: dict[End, Outcome] = {
    # What a party that still rang when the call ended is said to have done.
    End.TIMEOUT: Outcome.TIMEOUT,
    End.REJECTED: Outcome.REJECTED,
    End.BUSY: Outcome.BUSY,
}


def seen(member: Member) -> Seen:
    return Seen(member.id, member.name, member.kind, member.camera_status)
