"""A device: keeps a relay connection, takes and makes calls, one at a time.

The relay owns the state machine (plugin-interface §7.4); this follows it. Requests are sent, but a call
changes and ends only by the relay's events - or, when the relay says nothing more, by this side's own last
resort timers.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from relay.client.leg import Frame, Leg, LegError, LegStats, OnFrame
from relay.client.outcome import REASON_EVENTS, WEAK_REASON_EVENTS, Exit, Outcome, judge
from relay.client.recorder import Recorder, RecorderError
from relay.client.signalling import Created, Event, Refused, Signalling, SignallingError, demo_token
from relay.client.sources import Media, SourceError, Tracks

log = logging.getLogger(__name__)

Phase = Literal["offline", "idle", "ringing", "calling", "joining", "talking"]

JOIN_TRIES = 3  # inside the relay's 20 s join timer
LAST_WORD_S = 3.0  # how long the relay's endVoip may lag behind a closed leg or a hang-up before we end by ourselves


@dataclass(frozen=True)
class Incoming:
    """A call that rings. `voice`: without pictures; `query`: what the caller's application passed along."""

    room: str
    caller: str
    caller_name: str
    voice: bool
    query: str = ""


@dataclass
class _Call:
    """The one call of this device. `ended` is set exactly once."""

    peer: str
    caller: bool
    voice: bool
    ended: asyncio.Future[Outcome]
    room: str = ""
    answered: bool = False
    hanging_up: bool = False
    started_s: float | None = None
    reason: tuple[str, dict[str, Any]] | None = None
    leg: Leg | None = None
    location: str = ""
    tracks: Tracks = field(default_factory=Tracks)
    recorder: Recorder | None = None
    joining: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None


class Device:
    """`async with Device("SN-1", "http://127.0.0.1:8080") as device: outcome = await device.call("alice")`.

    Without `token` one is asked from a relay in demo mode. `answer`: "auto" takes every call, "manual" waits
    for `answer()`. `save` records each call: the first into this file, later ones with -2, -3 ... before the
    suffix.
    `on_change(device)` is called after every change of `phase`; `on_frame` gets every decoded frame.
    """

    def __init__(
        self,
        sn: str,
        url: str,
        token: str | None = None,
        *,
        name: str = "",
        media: Media | None = None,
        answer: Literal["auto", "manual"] = "auto",
        save: str | Path | None = None,
        video_codec: str | None = None,
        audio_codec: str | None = None,
        patience_s: float | None = None,
        on_change: Callable[["Device"], None] | None = None,
        on_frame: OnFrame | None = None,
    ) -> None:
        self.sn, self.url, self.name = sn, url, name
        self.media = media or Media()
        self.phase: Phase = "offline"
        self.incoming: Incoming | None = None
        self.notes: list[str] = []  # what went wrong without ending a call; drained by whoever shows it
        self._token = token
        self._auto = answer == "auto"
        self._save = Path(save) if save is not None else None
        self._codecs = {"video_codec": video_codec, "audio_codec": audio_codec}
        self._patience_s = patience_s
        self.on_change = on_change
        self._on_frame = on_frame
        self.last: Outcome | None = None  # the end of the latest call
        self._signalling: Signalling | None = None
        self._listening: asyncio.Task[None] | None = None
        self._call: _Call | None = None
        self._calls_saved = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._protected: set[asyncio.Task[None]] = set()  # must run to their ends: they release things
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    # Life

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect; returns when the relay can ring this device. Raises SignallingError, SourceError."""
        self.media.check()
        renew = None if self._token is not None else self._fetch_token
        token = self._token if self._token is not None else await self._fetch_token()
        self._signalling = Signalling(self.url, token, renew=renew, patience_s=self._patience_s)
        self._listening = asyncio.ensure_future(self._signalling.listen(self._on_event, self._on_resume))
        online = asyncio.ensure_future(self._signalling.online.wait())
        try:
            await asyncio.wait({online, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            online.cancel()
        if self._listening.done():
            await self._listening
        self._set_phase("idle")

    async def close(self) -> None:
        """Hang up what runs, then let go of everything. May be called twice."""
        if self._call is not None:
            with contextlib.suppress(SignallingError):
                await self.hang_up()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._call is not None:
            await self._end(self._call, Outcome(Exit.NOT_ANSWERED, "the device was closed"))
        await asyncio.gather(*self._protected, return_exceptions=True)
        if self._signalling is not None:
            await self._signalling.close()
        self.phase = "offline"

    @property
    def online(self) -> bool:
        """Whether events can arrive now; calls under way outlive a gap."""
        return self._signalling is not None and self._signalling.online.is_set()

    @property
    def peer(self) -> str:
        """The other party of the current call, or an empty text."""
        return self._call.peer if self._call else ""

    @property
    def room(self) -> str:
        return self._call.room if self._call else ""

    @property
    def talked_s(self) -> float:
        """Seconds since the current call's startVoip, 0 before it."""
        if self._call is None or self._call.started_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._call.started_s

    async def stats(self) -> LegStats | None:
        """The current leg's counters; None without a leg."""
        return await self._call.leg.stats() if self._call and self._call.leg else None

    # What a person can do

    async def call(self, openid: str, *, voice: bool = False, ring_timeout_s: int | None = None) -> Outcome:
        """Call a user and return when the call is over. Raises SignallingError when the relay makes no room
        for it.
        """
        if self._call is not None:
            raise Refused(409, 1005, "this device is in a call")
        call = self._call = _Call(openid, caller=True, voice=voice, ended=_future())
        self._set_phase("calling")
        try:
            created = await self._relay.create_call(
                caller=self.sn,
                caller_name=self.name,
                listener=openid,
                room_type="voice" if voice else "video",
                ring_timeout_s=ring_timeout_s,
            )
        except SignallingError:
            if self._call is call:
                self._call = None
                self._set_phase("idle")
            raise
        call.room = created.roomId
        if self._call is not call:
            # Hung up while the relay was still making the room: it must not ring on.
            await self._relay.hang_up(call.room)
            return await call.ended
        call.joining = self._spawn(self._join(call, created))
        return await self._await_end(call)

    async def answer(self) -> None:
        """Take the ringing call; nothing happens when none rings."""
        call = self._call
        if call is None or call.caller or call.answered:
            return
        call.answered = True
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
        call.joining = self._spawn(self._join(call, created))

    async def reject(self) -> None:
        """Refuse the ringing call. Raises SignallingError."""
        call = self._call
        if call is not None and not call.caller and call.started_s is None:
            await self._finish(call, self._relay.reject, Outcome(Exit.NOT_ANSWERED, "this device rejected the call"))

    async def hang_up(self) -> None:
        """End the current call in whatever phase; returns when it is over. Raises SignallingError."""
        call = self._call
        if call is None:
            return
        talked = call.started_s is not None
        words = "this device hung up" if talked else "this device cancelled the call"
        last_resort = Outcome(Exit.COMPLETED if talked else Exit.NOT_ANSWERED, words)
        await self._finish(call, self._relay.hang_up, last_resort)

    async def outcome(self) -> Outcome:
        """The end of the next incoming call, in order. Raises SignallingError when the relay is lost for
        good.
        """
        assert self._listening is not None
        getting = asyncio.ensure_future(self._outcomes.get())
        try:
            await asyncio.wait({getting, self._listening}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
        finally:
            getting.cancel()
        await self._listening
        raise AssertionError("listening ends only by an exception")

    # Events

    def _on_event(self, event: Event) -> None:
        data = event.data or {}
        if event.eventName == "incomingCall":
            self._on_incoming(event, data)
            return
        call = self._call
        if call is None or event.roomId != call.room:
            return  # finishVoip of an earlier call, or what a resumption repeats
        if event.eventName == "startVoip":
            if call.started_s is None:
                call.started_s = asyncio.get_running_loop().time()
                self._set_phase("talking")
        elif event.eventName in REASON_EVENTS:
            call.reason = (event.eventName, data)
        elif event.eventName in WEAK_REASON_EVENTS and not data.get("retrying"):
            call.reason = call.reason or (event.eventName, data)
        elif event.eventName == "endVoip":
            exit_, words = judge(*(call.reason or ("", {})), caller=call.caller)
            keep_s = data.get("keepTime")
            keep_s = float(keep_s) if isinstance(keep_s, int | float) else self.talked_s
            self._spawn(self._end(call, Outcome(exit_, words, call.room, call.peer, keep_s)))

    def _on_incoming(self, event: Event, data: dict[str, Any]) -> None:
        if self._call is not None:
            # The relay normally knows and says busy by itself; this is for a call that crossed ours.
            if event.roomId != self._call.room:
                self._spawn(self._decline(event.roomId))
            return
        caller = str(data.get("callerId", ""))
        voice = data.get("roomType") == "voice"
        self.incoming = Incoming(
            event.roomId, caller, str(data.get("callerName") or caller), voice, str(data.get("query") or "")
        )
        self._call = _Call(caller, caller=False, voice=voice, ended=_future(), room=event.roomId)
        self._set_phase("ringing")
        if self._auto:
            self._spawn(self.answer())

    def _on_resume(self) -> None:
        if self._call is not None and self._call.room:
            self._spawn(self._verify(self._call))

    async def _verify(self, call: _Call) -> None:
        """After an outage: a relay that restarted knows nothing of this call and will never send its end."""
        with contextlib.suppress(SignallingError):
            if await self._relay.over(call.room):
                words = "the relay lost the call"
                await self._give_up(call, Outcome(Exit.RELAY, words, call.room, call.peer), hang_up=False)

    async def _decline(self, room: str) -> None:
        with contextlib.suppress(SignallingError):
            await self._relay.reject(room, busy=True)

    # The leg

    async def _join(self, call: _Call, created: Created) -> None:
        """Bring up the leg, with fresh credentials after a failure, then watch over it until it is lost."""
        for attempt in range(1, JOIN_TRIES + 1):
            try:
                if attempt > 1:
                    created = await self._relay.join(call.room)
                leg = await self._open_leg(call, created)
                break
            except (LegError, SignallingError, SourceError) as fault:
                await self._drop_leg(call)
                final = attempt == JOIN_TRIES or isinstance(fault, SourceError)
                final |= isinstance(fault, Refused) and fault.status < 500
                if final:
                    exit_ = Exit.RELAY if isinstance(fault, SignallingError) else Exit.MEDIA_LOST
                    self._note(str(fault))
                    with contextlib.suppress(SignallingError):
                        await self._relay.fail(call.room, str(fault))
                    await self._give_up(call, Outcome(exit_, str(fault), call.room, call.peer))
                    return
                log.info("joining failed, trying again: %s", fault)
        await leg.lost.wait()
        # A relay that ends the call closes the leg in the same moment; its event carries the true reason.
        await self._give_up(
            call,
            Outcome(Exit.MEDIA_LOST, "the media connection was lost", call.room, call.peer, self.talked_s),
        )

    async def _open_leg(self, call: _Call, created: Created) -> Leg:
        video = not call.voice
        call.tracks = self.media.open(video=video)
        call.recorder = call.recorder or self._open_recorder(video=video)
        call.leg = leg = Leg(call.tracks.all, video=video, on_frame=self._frames_to(call.recorder), **self._codecs)

        async def exchange(offer: str) -> str:
            answer, call.location = await self._relay.open_leg(call.room, created.credential, offer)
            return answer

        await leg.connect(exchange)
        return leg

    def _open_recorder(self, *, video: bool) -> Recorder | None:
        if self._save is None:
            return None
        self._calls_saved += 1
        suffix = f"-{self._calls_saved}" if self._calls_saved > 1 else ""
        try:
            return Recorder(self._save.with_name(self._save.stem + suffix + self._save.suffix), video=video)
        except RecorderError as fault:
            self._note(str(fault))  # a full disk must not cost the call
            return None

    def _frames_to(self, recorder: Recorder | None) -> OnFrame | None:
        listener = self._on_frame
        if recorder is None:
            return listener
        if listener is None:
            return recorder.push

        def both(frame: Frame, arrival_s: float) -> None:
            recorder.push(frame, arrival_s)
            listener(frame, arrival_s)

        return both

    async def _drop_leg(self, call: _Call) -> None:
        leg, call.leg = call.leg, None
        tracks, call.tracks = call.tracks, Tracks()
        location, call.location = call.location, ""
        await asyncio.shield(self._protect(self._release(leg, tracks, location)))

    async def _release(self, leg: Leg | None, tracks: Tracks, location: str) -> None:
        if leg is not None:
            await leg.close()
        await tracks.close()
        if location:
            with contextlib.suppress(SignallingError):
                await self._relay.close_leg(location)

    # The end

    async def _finish(
        self, call: _Call, request: Callable[[str], Coroutine[Any, Any, None]], last_resort: Outcome
    ) -> None:
        """Ask the relay to end the call and wait for its events; end it here when they do not come."""
        call.hanging_up = True
        try:
            if call.room:
                await request(call.room)
        except Refused as refusal:
            log.info("the relay no longer has this call: %s", refusal)
        finally:
            await self._give_up(call, last_resort, hang_up=False)

    def _end_later(self, call: _Call, outcome: Outcome) -> None:
        self._spawn(self._give_up(call, outcome, hang_up=False))

    async def _give_up(self, call: _Call, outcome: Outcome, *, hang_up: bool = True) -> None:
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

    async def _end(self, call: _Call, outcome: Outcome) -> None:
        """The one place where a call ends: once, completely, and only then is the device free again."""
        if call.ending is None:
            # A task of its own, so that nobody's cancellation leaves half a call behind.
            call.ending = self._protect(self._tear_down(call, outcome, asyncio.current_task()))
        await asyncio.shield(call.ending)

    async def _tear_down(self, call: _Call, outcome: Outcome, asker: "asyncio.Task[Any] | None") -> None:
        if call.joining is not None and call.joining is not asker:
            call.joining.cancel()
            await asyncio.gather(call.joining, return_exceptions=True)
        try:
            await self._drop_leg(call)
            if call.recorder is not None:
                await asyncio.to_thread(call.recorder.close)
                if call.recorder.failure:
                    self._note(call.recorder.failure)
        finally:
            self._call = None
            self.incoming = None
            self.last = outcome
            if not call.caller:
                self._outcomes.put_nowait(outcome)
            call.ended.set_result(outcome)
            self._set_phase("idle")

    async def _await_end(self, call: _Call) -> Outcome:
        """Cancelling this hangs up."""
        assert self._listening is not None
        try:
            ends: set[asyncio.Future[Any]] = {call.ended, self._listening}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            with contextlib.suppress(SignallingError):
                await self.hang_up()
            raise
        if not call.ended.done():
            await self._listening
        return call.ended.result()

    # Odds and ends

    @property
    def _relay(self) -> Signalling:
        if self._signalling is None:
            raise RuntimeError("the device is not started")
        return self._signalling

    async def _fetch_token(self) -> str:
        return await demo_token(self.url, kind="device", id=self.sn, name=self.name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _protect(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._protected.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._protected.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a task of the device failed", exc_info=fault)

    def _note(self, text: str) -> None:
        del self.notes[:-20]
        self.notes.append(text)

    def _set_phase(self, phase: Phase) -> None:
        if phase != self.phase:
            self.phase = phase
            if self.on_change is not None:
                self.on_change(self)


def _future() -> asyncio.Future[Outcome]:
    return asyncio.get_running_loop().create_future()
