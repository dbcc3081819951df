"""A device's line: one call at a time, made, taken and ended by a person and followed by the relay's events.

The relay owns the state machine (plugin-interface §7.4). Requests are sent, but a call changes and ends only by
the relay's events - or, when the relay says nothing more, by this side's own last resort timers.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, TypeVar

from relay.client.call import Call, Equipment, JoinError
from relay.client.events import Event
from relay.client.http import Refused, SignallingError
from relay.client.leg import LegStats
from relay.client.outcome import REASON_EVENTS, WEAK_REASON_EVENTS, Exit, Outcome, judge
from relay.client.profile import Profile
from relay.client.ring import Ring
from relay.client.signalling import Created, Listener, Query, Signalling, Strategy, listeners_of
from relay.client.tasks import Tasks
from relay.client.ticker import Clock, tick

log = logging.getLogger(__name__)

Phase = Literal["offline", "idle", "ringing", "calling", "joining", "talking"]
T = TypeVar("T")

LAST_WORD_S = 3.0  # how long the relay's endVoip may lag behind a closed leg or a hang-up before we end by ourselves
EARLY_MAX = 64  # events that may overtake the answer to our own create
KEPT_MAX = 64  # rings and outcomes kept for a program that does not ask for them yet


class Line:
    """Device (device.py) is the line with a connection behind it: it says who calls, and brings the events."""

    def __init__(self, sn: str, name: str, relay: Signalling, equipment: Equipment, *, auto: bool) -> None:
        self.sn, self.name = sn, name
        self.phase: Phase = "offline"
        self.incoming: Ring | None = None  # the ring of the current call, when it is an incoming one
        self.last: Outcome | None = None  # the end of the latest call
        self.notes: list[str] = []  # what went wrong without ending a call; drained by whoever shows it
        self.on_ring: Callable[[Ring], Any] | None = None
        self.on_event: Callable[[Event], Any] | None = None
        self.on_message: Callable[[str], Any] | None = None
        self.on_change: Callable[[Any], Any] | None = None
        self._relay = relay
        self._equipment = equipment
        self._auto = auto
        self._tasks = Tasks()
        self._listening: asyncio.Task[None] | None = None  # brings the events; ends by an exception or by close
        self._call: Call | None = None
        self._clock = Clock()
        self._rings: asyncio.Queue[Ring] = asyncio.Queue(KEPT_MAX)
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue(KEPT_MAX)
        self._ended_here: deque[str] = deque(maxlen=8)  # rooms whose endVoip the relay may still say

    # The current call

    @property
    def peer(self) -> str:
        """Id of the other party, or an empty text; of several who ring at once, all of them."""
        return self._call.peer if self._call else ""

    @property
    def peer_name(self) -> str:
        """The name to show for the other party."""
        return (self._call.peer_name or self._call.peer) if self._call else ""

    @property
    def peer_profile(self) -> Profile | None:
        """How the other party's picture is to be shown, when it is a device that says so."""
        return self._call.peer_profile if self._call else None

    @property
    def room(self) -> str:
        return self._call.room if self._call else ""

    @property
    def talked_s(self) -> float:
        """Seconds since the current call's startVoip, 0 before it."""
        if self._call is None or self._call.started_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._call.started_s

    @property
    def camera(self) -> bool:
        """Whether the current call sends pictures."""
        return self._call is not None and self._call.camera and not self._call.voice

    def set_camera(self, on: bool) -> None:
        """Send pictures or not, in the current call."""
        if self._call is not None:
            self._call.show(on)

    async def stats(self) -> LegStats | None:
        """The current leg's counters; None without a leg."""
        return await self._call.leg.stats() if self._call and self._call.leg else None

    # What a person can do

    async def call(
        self,
        listeners: str | Listener | Sequence[str | Listener],
        *,
        voice: bool = False,
        strategy: Strategy | None = None,
        ring_timeout_s: float | None = None,
        time_limit_s: float | None = None,
        camera: bool = True,
        listener_camera: bool = True,
        query: Query = "",
        miniprogram_state: Literal["formal", "trial", "developer"] | None = None,
    ) -> Outcome:
        """Call a user and return when the call is over. Raises SignallingError when the relay makes no room
        for it, ValueError for no listener at all.

        Several listeners ring one after the other ("sequential") or all at once ("simultaneous"); the first
        to answer has the call. `ring_timeout_s`: 5 to 300, of each one without a time of its own;
        `time_limit_s`: of the talk; `camera` and `listener_camera`: on when the call starts; `query` reaches
        the other side's application (customQuery).
        """
        called = listeners_of(listeners, listener_camera)
        if self._call is not None:
            raise Refused(409, 1005, "this device is in a call")
        peer = ", ".join(listener.id for listener in called)
        call = self._call = self._make_call(peer, caller=True, voice=voice, camera=camera)
        self._set_phase("calling")
        try:
            created = await self._relay.create_call(
                caller=self.sn,
                caller_name=self.name,
                listeners=called,
                room_type="voice" if voice else "video",
                camera=camera,
                strategy=strategy,
                ring_timeout_s=ring_timeout_s,
                time_limit_s=time_limit_s,
                query=query,
                miniprogram_state=miniprogram_state,
            )
        except SignallingError:
            if self._call is call:
                self._call = None
                self._set_phase("idle")
            raise
        call.room = created.roomId
        call.peer_profile = created.listenerProfile
        if len(called) == 1 and created.listener is not None:
            call.peer_name = created.listener.name
        if call.ending is not None:
            # Hung up while the relay was still making the room: it must not ring on.
            await self._relay.hang_up(call.room)
            return await call.ended
        call.joining = self._tasks.spawn(self._join(call, created))
        for event in call.early:
            if event.roomId == call.room:
                self._follow(call, event)
        try:
            return await self.wait_for(call.ended)
        except asyncio.CancelledError:
            with contextlib.suppress(SignallingError):
                await self.hang_up()
            raise

    async def answer(self, *, camera: bool | None = None) -> None:
        """Take the ringing call; nothing happens when none rings. `camera`: on or off at the start; None: as
        the caller asked.
        """
        call = self._call
        if call is None or call.caller or call.answered:
            return
        call.answered = True
        call.camera = call.camera if camera is None else camera
        self._set_phase("joining")
        try:
            created = await self._relay.answer(call.room)
        except Refused as refusal:
            # Cancelled, timed out or answered elsewhere a moment ago: the relay's event is on its way.
            self._note(f"the call could not be answered: {refusal.message}")
            self._end_later(call, Outcome(Exit.NOT_ANSWERED, f"the call could not be answered: {refusal.message}"))
            return
        except SignallingError as fault:
            self._end_later(call, Outcome(Exit.RELAY, str(fault)))
            return
        if call.ending is not None:
            return  # it ended while the relay took the answer: nothing would ever close a leg of it
        call.joining = self._tasks.spawn(self._join(call, created))

    async def reject(self) -> None:
        """Refuse the ringing call. Raises SignallingError."""
        call = self._call
        if call is not None and not call.caller and call.started_s is None:
            await self._finish(call, self._relay.reject, Outcome(Exit.NOT_ANSWERED, "this device rejected the call"))

    async def busy(self) -> None:
        """Refuse the ringing call as somebody in another call does. Raises SignallingError."""
        call = self._call
        if call is not None and not call.caller and not call.answered:
            call.reason = ("busy", {})  # the relay tells the caller only
            await self._finish(call, self._relay.busy, Outcome(Exit.NOT_ANSWERED, "this device was in a call"))

    async def hang_up(self) -> None:
        """End the current call in whatever phase; returns when it is over. Raises SignallingError."""
        call = self._call
        if call is None:
            return
        if call.started_s is not None:
            last_resort = Outcome(Exit.COMPLETED, "this device hung up")
        else:
            did = "cancelled" if call.caller else "rejected"
            last_resort = Outcome(Exit.NOT_ANSWERED, f"this device {did} the call")
        await self._finish(call, self._relay.hang_up, last_resort)

    async def handset(self, up: bool) -> None:
        """The handset was lifted (`up`), which answers a ringing call, or put down, which hangs up in whatever
        phase. Nothing without a call. Raises SignallingError.
        """
        await (self.answer() if up else self.hang_up())

    async def wait_for(self, awaited: "asyncio.Future[T]") -> T:
        """The result of a future; raises SignallingError when the relay is lost for good before."""
        if not awaited.done():
            ends: set[asyncio.Future[Any]] = {awaited, self._online_task}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not awaited.done() and not self._online_task.cancelled():
            await self._online_task
        return await asyncio.shield(awaited)  # a device that is being closed ends its call

    async def _next(self, queue: "asyncio.Queue[T]") -> T | None:
        """None when the device is closed."""
        getting = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({getting, self._online_task}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
        finally:
            getting.cancel()
        if not self._online_task.cancelled():
            await self._online_task
        return None

    @property
    def _online_task(self) -> "asyncio.Task[None]":
        if self._listening is None:
            raise RuntimeError("the device is not started")
        return self._listening

    # Events

    def _on_event(self, event: Event) -> None:
        self._clock.learn(event.timestamp, asyncio.get_running_loop().time())
        call = self._call
        if event.eventName == "incomingCall":
            self._on_incoming(event)
        elif event.eventName == "appMessage":
            self._tasks.tell(self.on_message, str((event.data or {}).get("message", "")))
        elif call is not None and call.room and event.roomId == call.room:
            if not self._follow(call, event):
                return
        elif call is not None and not call.room:
            # A listener that is busy is told of at once, perhaps before the answer to our create.
            if len(call.early) < EARLY_MAX:
                call.early.append(event)
        elif event.eventName == "endVoip" and event.roomId in self._ended_here:
            return
        self._tasks.tell(self.on_event, event)

    def _follow(self, call: Call, event: Event) -> bool:
        """An event of the current call; False when it is no news."""
        data = event.data or {}
        name = event.eventName
        if name == "startVoip":
            if call.started_s is not None:
                return False
            now_s = asyncio.get_running_loop().time()
            self._begin(call, self._clock.local_s(event.timestamp, call.made_s, now_s))
        elif name == "listenerChanged":
            call.peer = str(data.get("listenerId") or call.peer)
            call.peer_name = str(data.get("listenerName") or "")
            self._changed()
        elif name in REASON_EVENTS:
            call.reason = (name, data)
            call.still()
        elif name in WEAK_REASON_EVENTS and not data.get("retrying"):
            call.reason = call.reason or (name, data)
        elif name == "endVoip":
            call.still()
            call.end_told = True
            exit_, words = judge(*(call.reason or ("", {})), caller=call.caller)
            keep_s = data.get("keepTime")
            keep_s = float(keep_s) if isinstance(keep_s, int | float) else self.talked_s
            self._tasks.spawn(self._end(call, Outcome(exit_, words, call.room, call.peer, keep_s)))
        return True

    def _begin(self, call: Call, started_s: float) -> None:
        """The talk begins; from here on its seconds are told."""
        call.started_s = started_s
        call.ticking = self._tasks.spawn(tick(started_s, lambda kept: self._tell_own(call, "calling", keepTime=kept)))
        self._set_phase("talking")

    def _on_incoming(self, event: Event) -> None:
        if self._call is not None:
            # The relay normally knows and says busy by itself; this is for a call that crossed ours.
            if event.roomId != self._call.room:
                self._tasks.spawn(self._decline(event.roomId))
            return
        call = self._make_call("", caller=False)
        ring = Ring.of(event.roomId, event.data or {}, self, call.ended)
        call.room, call.peer, call.voice = ring.room, ring.caller, ring.voice
        call.peer_name, call.peer_profile, call.camera = ring.caller_name, ring.caller_profile, ring.listener_camera
        self._call, self.incoming = call, ring
        self._set_phase("ringing")
        _put(self._rings, ring)
        self._tasks.tell(self.on_ring, ring)
        if self._auto:
            self._tasks.spawn(self.answer())

    async def _decline(self, room: str) -> None:
        with contextlib.suppress(SignallingError):
            await self._relay.busy(room)

    def _on_gap(self) -> None:
        self._note("the relay was away for so long that it forgot events; the present state was asked for")
        self._check_call(lost=True)

    def _check_call(self, *, lost: bool) -> None:
        if self._call is not None and self._call.room:
            self._tasks.spawn(self._verify(self._call, lost=lost))

    async def _verify(self, call: Call, *, lost: bool) -> None:
        """After an outage: a relay that restarted knows nothing of this call and will never send its end; and
        with `lost` events, what they said has to be asked for.
        """
        with contextlib.suppress(SignallingError):
            view = await self._relay.view(call.room)
            if view is None:
                await self._give_up(call, self._outcome(call, Exit.RELAY, "the relay lost the call"), hang_up=False)
            elif view.over:
                talked = call.started_s is not None or view.keepTime > 0
                exit_ = Exit.COMPLETED if talked else Exit.NOT_ANSWERED
                outcome = Outcome(exit_, view.reason or "the call ended", call.room, call.peer, view.keepTime)
                await self._give_up(call, outcome, hang_up=False)
            elif lost and view.talking and call.started_s is None and not call.ended.done():
                self._begin(call, asyncio.get_running_loop().time() - view.keepTime)
                self._tell_own(call, "startVoip")

    # Media

    async def _join(self, call: Call, created: Created) -> None:
        """Bring up the leg, then watch over it until it is lost."""
        try:
            leg = await call.join(self._relay, created, self._equipment)
        except JoinError as fault:
            self._note(str(fault))
            with contextlib.suppress(SignallingError):
                await self._relay.fail(call.room, str(fault))
            await self._give_up(call, self._outcome(call, fault.exit, str(fault)))
            return
        await leg.lost.wait()
        # A relay that ends the call closes the leg in the same moment; its event carries the true reason.
        await self._give_up(call, self._outcome(call, Exit.MEDIA_LOST, "the media connection was lost"))

    # The end

    async def _finish(
        self, call: Call, request: Callable[[str], Coroutine[Any, Any, None]], last_resort: Outcome
    ) -> None:
        """Ask the relay to end the call and wait for its events; end it here when they do not come."""
        try:
            if call.room:
                await request(call.room)
        except Refused as refusal:
            log.info("the relay no longer has this call: %s", refusal)
        finally:
            await self._give_up(call, last_resort, hang_up=False)

    def _end_later(self, call: Call, outcome: Outcome) -> None:
        self._tasks.spawn(self._give_up(call, outcome, hang_up=False))

    async def _give_up(self, call: Call, outcome: Outcome, *, hang_up: bool = True) -> None:
        """Give the relay's own verdict a moment to arrive, then end the call with `outcome`."""
        try:
            if call.room or not hang_up:
                async with asyncio.timeout(LAST_WORD_S if call.room else 0):
                    await asyncio.shield(call.ended)
                return
        except TimeoutError:
            pass
        if hang_up and call.room and not call.ended.done():
            with contextlib.suppress(SignallingError):
                await self._relay.hang_up(call.room)
        await self._end(call, outcome)

    async def _end(self, call: Call, outcome: Outcome) -> None:
        """The one place where a call ends: once, completely, and only then is the device free again."""
        if call.ending is None:
            # A task of its own, so that nobody's cancellation leaves half a call behind.
            call.ending = self._tasks.protect(self._tear_down(call, outcome, asyncio.current_task()))
        await asyncio.shield(call.ending)

    async def _tear_down(self, call: Call, outcome: Outcome, asker: "asyncio.Task[Any] | None") -> None:
        call.still()
        if call.joining is not None and call.joining is not asker:
            call.joining.cancel()
            await asyncio.gather(call.joining, return_exceptions=True)
        try:
            await call.drop_leg(self._relay)
            if failure := await call.end_recording():
                self._note(failure)
        finally:
            if not call.end_told and call.room:
                # Whoever follows the events has to learn of every end, also of those the relay cannot tell.
                self._ended_here.append(call.room)
                self._tell_own(call, "endVoip", keepTime=int(outcome.keep_s), isCaller=call.caller)
            self._call = None
            self.incoming = None
            self.last = outcome
            if not call.caller:
                _put(self._outcomes, outcome)
            call.ended.set_result(outcome)
            self._set_phase("idle")

    def _outcome(self, call: Call, exit_: Exit, words: str) -> Outcome:
        return Outcome(exit_, words, call.room, call.peer, self.talked_s)

    # Odds and ends

    def _make_call(self, peer: str, *, caller: bool, voice: bool = False, camera: bool = True) -> Call:
        loop = asyncio.get_running_loop()
        return Call(peer, caller, voice, loop.create_future(), loop.time(), camera)

    def _tell_own(self, call: Call, name: str, **data: Any) -> None:
        """An event that is made on this side."""
        self._tasks.tell(self.on_event, Event(name, roomId=call.room, groupId=call.room, data=data))

    def _note(self, text: str) -> None:
        del self.notes[:-20]
        self.notes.append(text)

    def _set_phase(self, phase: Phase) -> None:
        if phase != self.phase:
            self.phase = phase
            self._changed()

    def _changed(self) -> None:
        self._tasks.tell(self.on_change, self)


def _put(queue: "asyncio.Queue[T]", item: T) -> None:
    """Add, and forget the oldest of a full queue."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(item)
