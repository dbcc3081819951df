"""One call of a device: what is known about it, and its media, from the first offer to the last close.

It decides nothing about the call's life; device.py does, by the relay's events.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from relay.client.events import Event
from relay.client.http import Refused, SignallingError
from relay.client.leg import Frame, Leg, LegError, OnFrame
from relay.client.outcome import Exit, Outcome
from relay.client.profile import Profile
from relay.client.recorder import Recorder
from relay.client.signalling import Created, Signalling
from relay.client.sources import Media, SourceError, Tracks

log = logging.getLogger(__name__)

JOIN_TRIES = 3  # inside the relay's 20 s join timer
PAUSE_MAX_S = 5.0  # between two of them, when the relay asks for one


class JoinError(Exception):
    """Media could not be set up in any of the attempts. `exit`: what that makes of the call."""

    def __init__(self, exit_: Exit, words: str) -> None:
        super().__init__(words)
        self.exit = exit_


@dataclass(frozen=True)
class Equipment:
    """What a device brings to every call. `recorder` opens the file of one call, None when none is wanted."""

    media: Media
    on_frame: OnFrame | None = None
    recorder: Callable[[bool], Recorder | None] = lambda video: None
    video_codec: str | None = None
    audio_codec: str | None = None


@dataclass(eq=False)
class Call:
    """`ended` is set exactly once. `camera`: whether pictures are sent."""

    peer: str
    caller: bool
    voice: bool
    ended: asyncio.Future[Outcome]
    made_s: float  # event loop's clock, as `started_s`
    camera: bool = True
    peer_name: str = ""
    peer_profile: Profile | None = None
    room: str = ""
    answered: bool = False
    started_s: float | None = None
    reason: tuple[str, dict[str, Any]] | None = None
    early: list[Event] = field(default_factory=list)  # heard before the room was known
    end_told: bool = False  # the relay has said endVoip
    leg: Leg | None = None
    joining: asyncio.Task[None] | None = None
    ticking: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None
    _location: str = ""
    _tracks: Tracks = field(default_factory=Tracks)
    _recorder: Recorder | None = None
    _leaving: list[asyncio.Task[None]] = field(default_factory=list)

    async def join(self, relay: Signalling, created: Created, equipment: Equipment) -> Leg:
        """Bring up the leg, with fresh credentials after a failure. Raises JoinError."""
        for attempt in range(1, JOIN_TRIES + 1):
            try:
                if attempt > 1:
                    created = await relay.join(self.room)
                return await self._open(relay, created, equipment)
            except (LegError, SignallingError, SourceError) as fault:
                await self.drop_leg(relay)
                final = attempt == JOIN_TRIES or isinstance(fault, SourceError)
                final |= isinstance(fault, Refused) and not fault.passing
                if final:
                    exit_ = Exit.RELAY if isinstance(fault, SignallingError) else Exit.MEDIA_LOST
                    raise JoinError(exit_, str(fault)) from fault
                log.info("joining failed, trying again: %s", fault)
                if isinstance(fault, Refused):
                    await asyncio.sleep(min(fault.retry_after_s, PAUSE_MAX_S))
        raise AssertionError("the last attempt returns or raises")

    async def _open(self, relay: Signalling, created: Created, equipment: Equipment) -> Leg:
        video = not self.voice
        self._tracks = equipment.media.open(video=video)
        self._recorder = self._recorder or equipment.recorder(video)
        self.leg = leg = Leg(
            self._tracks.all,
            video=video,
            on_frame=_both(self._recorder, equipment.on_frame),
            video_codec=equipment.video_codec,
            audio_codec=equipment.audio_codec,
        )
        leg.show(self.camera)

        async def exchange(offer: str) -> str:
            answer, self._location = await relay.open_leg(self.room, created.credential, offer)
            return answer

        await leg.connect(exchange)
        return leg

    def still(self) -> None:
        """No more seconds are told."""
        if self.ticking is not None:
            self.ticking.cancel()

    def show(self, camera: bool) -> None:
        """Begin or stop to send pictures, now and after a later join."""
        self.camera = camera
        if self.leg is not None:
            self.leg.show(camera)

    async def drop_leg(self, relay: Signalling) -> None:
        """Let go of the leg and what fed it; the recording goes on with the next one."""
        leg, self.leg = self.leg, None
        tracks, self._tracks = self._tracks, Tracks()
        location, self._location = self._location, ""
        # A task of its own, so that nobody's cancellation leaves half a leg behind.
        self._leaving.append(asyncio.ensure_future(self._release(relay, leg, tracks, location)))
        await asyncio.shield(asyncio.gather(*self._leaving))
        self._leaving.clear()

    async def _release(self, relay: Signalling, leg: Leg | None, tracks: Tracks, location: str) -> None:
        if leg is not None:
            await leg.close()
        await tracks.close()
        if location:
            with contextlib.suppress(SignallingError):
                await relay.close_leg(location)

    async def end_recording(self) -> str:
        """Complete the file; returns what went wrong with it, or an empty text."""
        if self._recorder is None:
            return ""
        await asyncio.to_thread(self._recorder.close)
        return self._recorder.failure or ""


def _both(recorder: Recorder | None, listener: OnFrame | None) -> OnFrame | None:
    if recorder is None:
        return listener
    if listener is None:
        return recorder.push

    def both(frame: Frame, arrival_s: float) -> None:
        recorder.push(frame, arrival_s)
        listener(frame, arrival_s)

    return both
