"""Live calls: the shell around `call.py` that owns timers and parties; legs, record and checks have files of their own.

Every change goes through `_feed`: one input into the table, then its events to both parties, then the one
timer. Media and the store are told what follows by tasks, because a table cannot wait.

One call a party: a caller that is in a call is refused (1005), a called party that is in one makes the new
call end `busy` at once. A create repeated for the same pair within `late_result_s` is taken as a repeated
request and gives the same room, since its first answer may have been lost on the way.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from relay.calls import call as table
from relay.calls.admission import admit
from relay.calls.call import Input, Kind, Side, State
from relay.calls.events import Events
from relay.calls.hunt import Outcome
from relay.calls.ice_session import IceSession
from relay.calls.invitation import Invitation, Party
from relay.calls.journal import Journal
from relay.calls.legs import HANGS_UP, Legs, told, too_late
from relay.calls.live import OUTCOMES, REASONS, LiveCall
from relay.calls.records import Record, Records
from relay.calls.view import CallView
from relay.calls.webhooks import Answer
from relay.config import Config
from relay.errors import ApiError, Code
from relay.media.messages import Media
from relay.store.engine import Store

log = logging.getLogger(__name__)

Origin = Literal["manual", "unloadCallPage", "forceFromApp"]
SWEEP_S = 60.0  # how often what is too old is forgotten

FAILS = {Side.CALLER: Kind.CALLER_FAILS, Side.LISTENER: Kind.LISTENER_FAILS}

# What a called party that drops out alone has done.
DROPS = {Kind.REJECT: Outcome.REJECTED, Kind.BUSY: Outcome.BUSY, Kind.RING_TIMER: Outcome.TIMEOUT}

TAKEN = "another party took the call"

Ask = Callable[[LiveCall], Awaitable[Answer]]
"""Asks the operator's server whether a cloud call goes on (`iot_voip_notify`)."""


class CallService:
    """All calls of a node. Needs a running loop; every method runs in its thread."""

    def __init__(
        self,
        media: Media,
        store: Store,
        journal: Journal,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is monotonic seconds and drives all timers, `wall` is Unix seconds for what people read."""
        self._media = media
        self._store = store
        self._journal = journal
        self._config = config
        self._clock = clock
        self._wall = wall
        self._live: dict[str, LiveCall] = {}
        self._in_call: dict[Party, LiveCall] = {}
        self._creating: dict[Party, tuple[Invitation, asyncio.Future[LiveCall]]] = {}
        self._keys: OrderedDict[tuple[Party, str], tuple[float, Invitation, asyncio.Future[LiveCall]]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swept = clock()
        self._closing = False
        self.legs = Legs(media, self._feed, self._later, config.consent_s)
        self.events = Events(config)
        self.records = Records(config.max_records)
        self.draining = False
        self.created = 0
        self.ended: Counter[str] = Counter()  # by end reason

    # --- create ---

    async def create(
        self,
        asked: Invitation,
        key: str | None = None,
        *,
        check: Callable[[], float | None] = lambda: None,
        ask: Ask | None = None,
    ) -> LiveCall:
        """Make a call and ring the called party.

        The caller's identity is checked already; `key` is the request's idempotency key; `check` looks at its tokens,
        whose turn comes after that of a call already going on, and returns when the device's was made. With `ask` the
        call rings only after the operator's server agreed. Raises ApiError: 409/1005 when the caller is in another
        call, what `admit` raises, 409/2100 for a busy party when configured so, 429/5 at the limit, 503/5 while
        draining, 503/1002 when the store is down.
        """
        now = self._clock()
        self._sweep(now)
        caller = asked.caller_party
        if key is not None and (known := self._keys.get((caller, key))) is not None:
            if known[1] != asked:
                raise ApiError(422, Code.WRONG_PARAMETER, "this Idempotency-Key was used for another call")
            return await asyncio.shield(known[2])
        if (under_way := self._creating.get(caller)) is not None:
            if under_way[0] != asked:
                raise ApiError(409, Code.PLUGIN_BUSY)
            return await asyncio.shield(under_way[1])
        current = self._current(caller)
        if current is not None:
            if self._repeats(current, asked, now):
                self._remember(caller, key, asked, _done(current), now)
                return current
            raise ApiError(409, Code.PLUGIN_BUSY)
        token_s = check()
        future: asyncio.Future[LiveCall] = asyncio.get_running_loop().create_future()
        self._creating[caller] = (asked, future)
        self._remember(caller, key, asked, future, now)
        try:
            live = await self._make(asked, ask, token_s)
        except BaseException as fault:
            if key is not None:
                self._keys.pop((caller, key), None)
            future.set_exception(fault if isinstance(fault, ApiError) else _withdrawn())
            future.exception()  # somebody may wait for it, or nobody
            raise
        finally:
            del self._creating[caller]
        future.set_result(live)
        return live

    async def _make(self, asked: Invitation, ask: Ask | None, token_s: float | None) -> LiveCall:
        room = secrets.token_hex(16)
        created_ms = self._wall_ms()
        full = self._no_room(asked)

        def work(connection: Connection) -> LiveCall:
            admitted = admit(connection, asked, self._config, created_ms, token_s)
            if full is not None:
                raise full
            live = LiveCall(room, asked, admitted, self._config)
            live.wall_ms["created"] = created_ms
            parties = (live.caller, *live.called) if live.hunt.alone else (live.caller,)
            self._journal.insert(connection, live.view(0), parties)
            return live

        live = await self._store.run(work, lane=room, undo=lambda connection: self._journal.withdraw(connection, room))
        live.begin(self._clock())
        self._live[room] = live
        self._in_call[live.caller] = live
        self.created += 1
        if self._closing:
            self._feed(live, Input(Kind.FORCE))
        elif ask is not None:
            self._arm(live)
            live.notifying = self._later(self._ask(live, ask))
        else:
            self._begin(live)
        return live

    def _no_room(self, asked: Invitation) -> ApiError | None:
        """Why the room cannot be made, the last of the checks at create."""
        if self._config.refuse_busy and all(self._busy(party) for party in asked.called_parties):
            return ApiError(409, Code.SYSTEM_CALL)
        if self.draining:
            return ApiError(503, Code.ROOM_NOT_MADE, "this node is draining; try another one")
        if len(self._live) + len(self._creating) > self._config.max_calls:
            return ApiError(429, Code.ROOM_NOT_MADE, "this node has as many calls as it may have")
        return None

    def _current(self, party: Party) -> LiveCall | None:
        live = self._in_call.get(party)
        return None if live is None or self._due(live) else live

    def _busy(self, party: Party) -> bool:
        return party in self._creating or self._current(party) is not None

    def _repeats(self, current: LiveCall, asked: Invitation, now: float) -> bool:
        return (
            current.caller == asked.caller_party
            and current.called == asked.called_parties
            and current.asked.room_type == asked.room_type
            and now - current.call.created <= self._config.late_result_s
        )

    def _remember(
        self, caller: Party, key: str | None, asked: Invitation, made: "asyncio.Future[LiveCall]", now: float
    ) -> None:
        if key is None:
            return
        self._keys[caller, key] = (now, asked, made)
        while len(self._keys) > self._config.max_records:
            self._keys.popitem(last=False)

    async def _ask(self, live: LiveCall, ask: Ask) -> None:
        answer = await ask(live)
        if live.call.end is not None:
            return
        if answer.errcode:
            message = answer.errmsg or "the operator's server refused the call"
            self._feed(live, Input(Kind.REFUSED, error=message, code=answer.errcode))
        elif live.call.answered is None:
            self._begin(live)

    # --- ringing ---

    def _begin(self, live: LiveCall) -> None:
        """Ring the first called party, or all of them."""
        now = self._clock()
        move = live.hunt.begin(now)
        live.hunt = move.hunt
        self._ring(live, move.rings, now)

    def _ring(self, live: LiveCall, rings: tuple[int, ...], now: float) -> None:
        for index in rings:
            party = live.called[index]
            if self._busy(party):
                # It hears nothing: to its client this room does not exist, and an `endVoip` out of nowhere would look
                # like the end of the call it is in.
                self._drop(live, index, Input(Kind.BUSY), now, Outcome.BUSY)
                if live.call.end is not None:
                    return
                continue
            self._in_call[party] = live
            self._told(live, index)
            self._publish(live, party, "incomingCall", live.notice(index))
            if not live.hunt.alone and live.hunt.strategy == "sequential":
                self._tell_caller(live, index)
        self._arm(live)

    def _told(self, live: LiveCall, index: int) -> None:
        live.rung.add(index)
        live.told.add(index)
        if not live.hunt.alone:
            self._journal.rang(live.room, live.called[index], live.wall_ms["created"])

    def _drop(self, live: LiveCall, index: int, given: Input, now: float, outcome: Outcome) -> bool:
        """A ringing party says no, or nothing: alone while others are left, else for the whole call."""
        move = live.hunt.drop(index, outcome, now)
        live.hunt = move.hunt
        if move.last:
            live.winner = index  # the table's called side, for the events of the end
            return self._feed(live, given, now)
        if index in live.rung:
            self._part(live, index, given, now)
        self._ring(live, move.rings, now)
        return True

    def _part(self, live: LiveCall, index: int, given: Input, now: float, reason: str = "") -> None:
        """Tell one called party how the call ends for it, though it goes on: what the table would say."""
        party = live.called[index]
        live.rung.discard(index)
        if self._in_call.get(party) is live:
            del self._in_call[party]
        ended = table.receive(live.call, given, now)
        settled = table.receive(ended.call, Input(Kind.SETTLE), now)
        assert ended.call.end is not None
        for event in ended.listener + settled.listener:
            data = self._filled(live, Side.LISTENER, event, index)
            self._publish(live, party, event.name, data, reason or REASONS[ended.call.end])

    def _tell_caller(self, live: LiveCall, index: int) -> None:
        listener = live.admitted.listeners[index]
        data = {"listenerId": listener.id, "listenerName": listener.name, "index": index}
        self._publish(live, live.caller, "listenerChanged", data)

    # --- what the parties do ---

    def answer(self, room: str, party: Party) -> None:
        """The called side takes the call; one answer wins. Raises ApiError: 404/1, 403/2103, 409/2000."""
        live, side = self._own(room, party)
        if side is not Side.LISTENER:
            raise ApiError(403, Code.NO_API_PERMISSION, "only the called side can answer")
        if self._due(live):
            raise too_late()
        if live.call.answered is not None and live.index_of(party) == live.winner:
            raise ApiError(409, Code.JOIN_FAILED, "the call was answered already; join gives a new credential")
        index = self._ringing(live, party)
        if live.call.answered is not None or index is None:
            raise too_late()
        if index not in live.rung:
            if self._busy(party):
                raise ApiError(409, Code.OTHER_CALL)
            self._told(live, index)
            self._in_call[party] = live
        now = self._clock()
        move = live.hunt.answer(index)
        for other in move.taken:
            if other in live.rung:
                self._part(live, other, Input(Kind.CALLER_HANGS_UP), now, TAKEN)
        live.hunt, live.winner = move.hunt, index
        self._feed(live, Input(Kind.ANSWER))
        if live.hunt.strategy == "simultaneous":
            self._tell_caller(live, index)

    def take(self, room: str, party: Party) -> None:
        """Answer the call unless this party did so already. Raises as `answer` does."""
        live = self._live.get(room)
        if live is None or live.call.answered is None or live.index_of(party) != live.winner:
            self.answer(room, party)

    def join(self, room: str, party: Party) -> Side:
        """May this party (again) send an offer? Returns its side. Raises ApiError: 404/1, 409/2000."""
        live, side = self._own(room, party)
        if self._due(live):
            raise too_late()
        if side is Side.LISTENER:
            if live.call.answered is None:
                raise ApiError(409, Code.JOIN_FAILED, "answer the call before joining it")
            if live.index_of(party) != live.winner:
                raise too_late()
        return side

    def reject(self, room: str, party: Party, status: Origin | Literal["busy"] = "manual") -> None:
        """The called side refuses, or says that it is in another call (`busy`).

        Rejecting a call that is over changes nothing and is no fault. Raises ApiError: 404/1, 403/2103,
        409/1008 when the talk has begun.
        """
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        live, side = self._own(room, party)
        if side is not Side.LISTENER:
            raise ApiError(403, Code.NO_API_PERMISSION, "only the called side can reject; the caller hangs up")
        given = Input(Kind.BUSY) if status == "busy" else Input(Kind.REJECT, origin=status)
        if not self._refuse(live, party, given) and live.call.end is None and live.index_of(party) == live.winner:
            raise ApiError(409, Code.INTERRUPTED, "too late to reject; hang up instead")

    def hang_up(self, room: str, party: Party | None, origin: Origin = "manual") -> None:
        """End a call in whatever phase it is: a cancel, a rejection or a hang-up. Party None is the operator.

        Hanging up a call that is over changes nothing and is no fault. Raises ApiError 404/1.
        """
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        side = found.side_of(party) if party is not None else None
        if side is None or party is None:
            self._feed(found, Input(Kind.FORCE))
        elif side is Side.LISTENER and found.call.answered is None:
            self._refuse(found, party, Input(Kind.REJECT, origin=origin))
        elif side is Side.CALLER or found.index_of(party) == found.winner:
            self._feed(found, Input(HANGS_UP[side], origin=origin))

    def fail(self, room: str, party: Party, message: str) -> None:
        """A party's client gives up joining for good. Raises ApiError: 404/1, 409/1008 when it is in."""
        found = self._find(room, party)
        if isinstance(found, Record):
            return
        live, side = self._own(room, party)
        mine = side is Side.CALLER or live.index_of(party) == live.winner
        if not (mine and self._feed(live, Input(FAILS[side], error=message))) and live.call.end is None:
            raise ApiError(409, Code.INTERRUPTED, "this party is not joining")

    def _ringing(self, live: LiveCall, party: Party) -> int | None:
        """The party's index while it may answer. One behind the operator's cloud may before it was rung."""
        index = live.index_of(party)
        if index is None or index in live.rung:
            return index
        asking = live.notifying is not None and not live.notifying.done()
        early = asking and live.hunt.candidates[index].outcome is Outcome.WAITING
        return index if early else None

    def _refuse(self, live: LiveCall, party: Party, given: Input) -> bool:
        """A called party says no, in whatever phase; False when nothing took it."""
        if self._due(live):
            return False
        index = live.index_of(party)
        assert index is not None
        if live.call.answered is not None:
            return index == live.winner and self._feed(live, given)
        if live.hunt.candidates[index].outcome is not Outcome.RINGING:
            return self._feed(live, given) if live.hunt.alone else False
        return self._drop(live, index, given, self._clock(), DROPS[given.kind])

    # --- legs ---

    async def open_leg(self, room: str, side: Side, offer: str, party: str = "") -> tuple[IceSession, str]:
        """Answer an SDP offer of a party; returns its ICE session and the SDP answer.

        `party` is the id the credential was given to, "" is any of that side. A party's earlier leg is replaced.
        Raises ApiError (409/2000 when the call is over or not answered) and MediaError (the offer is refused).
        """
        live = self._live.get(room)
        if live is None or self._due(live):
            raise too_late()
        if side is Side.LISTENER and live.call.answered is None:
            raise ApiError(409, Code.JOIN_FAILED, "answer the call before joining it")
        if party and party != live.party(side).id:
            raise too_late()
        return await self.legs.open(live, side, offer)

    # --- reading ---

    async def view(self, room: str, party: Party | None) -> CallView:
        """Everything about a call for its own parties and the operator (None). Raises ApiError 404/1, 503/1002."""
        live = self._live.get(room)
        if live is not None and not self._due(live):
            if party is not None and not live.knows(party):
                raise ApiError(404, Code.BAD_ROOM_ID)
            return live.view(self._clock()).seen_by(party)
        record = self.records.find(room)
        if record is not None:
            if party is not None and party not in record.parties:
                raise ApiError(404, Code.BAD_ROOM_ID)
            return record.view.seen_by(party)
        found = await self._journal.view(room)
        if found is None or (party is not None and str(party) not in found[1]):
            raise ApiError(404, Code.BAD_ROOM_ID)
        return found[0].seen_by(party)

    def now(self, view: CallView) -> CallView:
        """A record as it is at this moment: that of a call that lives here, or did lately, may be behind."""
        live = self._live.get(view.room_id)
        if live is not None and not self._due(live):
            return live.view(self._clock())
        record = self.records.find(view.room_id)
        return view if record is None else record.view

    async def stats(self, room: str, party: Party | None) -> dict[str, Any]:
        """The call and all that media knows about its room. Raises ApiError 404/1 and MediaError."""
        view = await self.view(room, party)
        media = await self._media.stats(room) if room in self._live else {}
        return {**msgspec.to_builtins(view), "media": media}

    def party_rooms(self, party: Party) -> tuple[str, ...]:
        """The rooms of a party's live calls (at most one)."""
        live = self._in_call.get(party)
        return () if live is None else (live.room,)

    def __len__(self) -> int:
        """Calls that have not ended."""
        return len(self._live) + len(self._creating)

    # --- the node's side ---

    async def recover(self) -> int:
        """End what this node's earlier life left behind, and tell the parties; returns how many calls."""
        left = await self._journal.recover()
        now, wall_ms = self._clock(), self._wall_ms()
        for view, parties in left:
            # Unanswered, those that rang; answered, the one that did: for the others the call is over already.
            over_for = {
                Party(listener.kind, listener.id)  # type: ignore[arg-type]
                for listener in view.listeners
                if listener.outcome != (Outcome.NOT_RUNG if view.answered_at is None else Outcome.ANSWERED)
            }
            for party in parties:
                if party in over_for:
                    continue
                is_caller = (party.kind, party.id) == (view.caller.kind, view.caller.id)
                lost = {"keepTime": view.keep_time, "status": "unknown", "error": {"errMsg": table.OTHER_SIDE_GONE}}
                over = {
                    "keepTime": view.keep_time,
                    "callerName": view.caller.name,
                    "listenerName": view.listener.name,
                    "roomType": view.room_type,
                    "isCaller": is_caller,
                    "businessType": view.business_type,
                }
                settled = {"keepTime": view.keep_time}
                for name, data in (("abortVoip", lost), ("endVoip", over), ("finishVoip", settled)):
                    self.events.publish(party, view.room_id, name, data, view.reason, now, wall_ms)
        return len(left)

    def drain(self) -> None:
        """Take no new calls; those that live go on."""
        self.draining = True

    async def close(self) -> None:
        """End every call (reason `forced`) and wait until media was told."""
        self.draining = self._closing = True
        for live in tuple(self._live.values()):
            self._feed(live, Input(Kind.FORCE))
        while self._tasks or self._creating:
            await asyncio.gather(*self._tasks, *(made for _, made in self._creating.values()), return_exceptions=True)
            await asyncio.sleep(0)

    def sweep(self) -> None:
        """Forget what is too old; also done while calls are made."""
        self._sweep(self._clock())

    def expire(self) -> None:
        """Fire every timer that is due now; the loop does so by itself, this is for a clock of one's own."""
        for live in tuple(self._live.values()):
            self._due(live)
        self._sweep(self._clock())

    # --- the one way a call changes ---

    def _feed(self, live: LiveCall, given: Input, now: float | None = None) -> bool:
        """Give the table an input, after the timers that are due; True when a row took it."""
        if now is None:
            self._due(live)
        return self._changed(live, table.receive(live.call, given, self._clock() if now is None else now))

    def _due(self, live: LiveCall) -> bool:
        """Run due timers, those of ringing parties and those of the table; True when the call is over."""
        now = self._clock()
        while live.call.end is None and (late := live.hunt.due(now)) is not None:
            index, when = late
            limit = live.call.deadline()
            if limit is not None and limit <= when:
                break
            self._drop(live, index, Input(Kind.RING_TIMER), when, Outcome.TIMEOUT)
        if live.call.end is None:
            self._changed(live, table.timeout(live.call, now))
        return live.call.end is not None

    def _changed(self, live: LiveCall, step: table.Step) -> bool:
        before, after = live.call, step.call
        if after is before:
            return step.taken
        live.call = after
        new = live.stamp(before, self._wall_ms())
        if "ended" in new and step.caller and "errCode" in step.caller[0].data:
            live.err = (step.caller[0].data["errCode"], step.caller[0].data["errMsg"])
        self._tell(live, step)
        if after.state is State.TALKING and before.state is not State.TALKING:
            self._later(self._media.go_live(live.room))
        if after.end is not None and before.end is None:
            self._finish(live)
            return step.taken
        for name in new:
            self._journal.note(f"call.{name}", live.view(self._clock()))
        if before.deadlines != after.deadlines:
            self._arm(live)
        return step.taken

    def _finish(self, live: LiveCall) -> None:
        """Settle at once, free the parties, close the room, keep the record."""
        assert live.call.end is not None
        now = self._clock()
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        if live.notifying is not None:
            live.notifying.cancel()
        heard = live.hears()
        live.hunt = live.hunt.end(OUTCOMES.get(live.call.end, Outcome.CANCELLED))
        for party in (live.caller, *live.called):
            if self._in_call.get(party) is live:
                del self._in_call[party]
        self.legs.forget(live)
        del self._live[live.room]
        ended = live.view(now)
        step = table.receive(live.call, Input(Kind.SETTLE), now)
        live.call = step.call
        self._tell(live, step, heard)
        self.ended[live.call.end or ""] += 1
        view = live.view(now)
        self.records.put(live.room, Record((live.caller, *(party for party in live.called if live.knows(party))), view))
        self._journal.finish(ended, view)
        self._later(self._media.close_room(live.room))

    def _tell(self, live: LiveCall, step: table.Step, heard: tuple[int, ...] | None = None) -> None:
        """Both sides' events; the called side is every party that rings until one has answered."""
        for event in step.caller:
            self._publish(live, live.caller, event.name, self._filled(live, Side.CALLER, event))
        for index in live.hears() if heard is None else heard:
            for event in step.listener:
                self._publish(live, live.called[index], event.name, self._filled(live, Side.LISTENER, event, index))

    def _filled(self, live: LiveCall, side: Side, event: table.Event, index: int | None = None) -> dict[str, Any]:
        """The event's data; `index` is the called party that hears it."""
        if event.name == "startVoip":
            return {"startTime": live.wall_ms["started"]}
        if event.name == "endVoip":
            return {**event.data, **live.end_data(side, index)}
        return event.data

    def _publish(self, live: LiveCall, party: Party, name: str, data: dict[str, Any], reason: str = "") -> None:
        envelope = self.events.publish(
            party,
            live.room,
            name,
            data,
            reason or live.reason,
            self._clock(),
            self._wall_ms(),
        )
        self._journal.tell(f"event.{name}", {"party": party, **envelope}, live.room)

    def _arm(self, live: LiveCall) -> None:
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        deadline = live.deadline()
        if deadline is not None:
            delay_s = max(0.0, deadline - self._clock())
            live.timer = asyncio.get_running_loop().call_later(delay_s, self._fire, live)

    def _fire(self, live: LiveCall) -> None:
        live.timer = None
        if not self._due(live):
            self._arm(live)

    def _later(self, request: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Have something done without waiting for it."""
        task = asyncio.get_running_loop().create_task(told(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- finding ---

    def _find(self, room: str, party: Party | None) -> LiveCall | Record:
        """A call of this party (None: the operator's). Somebody else's call does not exist for it."""
        live = self._live.get(room)
        if live is not None and (party is None or live.knows(party) or self._ringing(live, party) is not None):
            return live
        record = self.records.find(room)
        if record is not None and (party is None or party in record.parties):
            return record
        raise ApiError(404, Code.BAD_ROOM_ID)

    def _own(self, room: str, party: Party) -> tuple[LiveCall, Side]:
        found = self._find(room, party)
        if isinstance(found, Record):
            raise too_late()
        side = found.side_of(party)
        assert side is not None, "_find gives a party its own calls only"
        return found, side

    def _sweep(self, now: float) -> None:
        if now - self._swept < SWEEP_S:
            return
        self._swept = now
        self.events.sweep(now)
        while self._keys and now - next(iter(self._keys.values()))[0] > self._config.repeat_s:
            self._keys.popitem(last=False)

    def _wall_ms(self) -> int:
        return int(self._wall() * 1000)


def _done(live: LiveCall) -> "asyncio.Future[LiveCall]":
    future: asyncio.Future[LiveCall] = asyncio.get_running_loop().create_future()
    future.set_result(live)
    return future


def _withdrawn() -> ApiError:
    return ApiError(503, Code.REQUEST_FAILED, "the request was withdrawn; try again")
