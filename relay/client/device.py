"""A device: who it is, its connection to a relay, and its line (line.py) for one call at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from relay.client.account import Account, Contact, Grant, PushToken
from relay.client.call import Equipment
from relay.client.events import Event, EventStream
from relay.client.http import Http, Refused, SignallingError
from relay.client.identity import Identity
from relay.client.leg import OnFrame
from relay.client.line import Line
from relay.client.outcome import Exit, Outcome
from relay.client.profile import Profile, changed
from relay.client.recorder import Recorder, RecorderError
from relay.client.ring import Ring
from relay.client.signalling import Signalling
from relay.client.sources import Media

RENEW_PAUSE_S = 10.0  # between two attempts to renew a token in time


class Device(Line):
    """One device and its connection to a relay; `async with`, or `start` and `close`.

    Who it is: a `token`, a `secret`, or a `state` file that `register` has put a secret into; without any of
    them a relay in demo mode gives a token. `answer`: "auto" takes every call at once, as the plugin does for
    a page opened with isClickedHangOnBtn=1; "manual" waits for `answer()`. `save` records each call: the
    first into this file, later ones with -2, -3 ... before the suffix.

    The callbacks are attributes too, and may be coroutine functions: `on_ring(ring)` for an incoming call,
    `on_event(event)` for every event of the plugin, `calling` of each second included, `on_message(text)` for
    the operator's messages, `on_change(device)` after a change of `phase` or `peer`. `on_frame` gets every
    decoded frame.
    """

    def __init__(
        self,
        sn: str,
        url: str,
        token: str | None = None,
        *,
        secret: str | None = None,
        state: str | Path | None = None,
        model_id: str = "",
        name: str = "",
        media: Media | None = None,
        answer: Literal["auto", "manual"] = "auto",
        save: str | Path | None = None,
        video_codec: str | None = None,
        audio_codec: str | None = None,
        patience_s: float | None = None,
        on_ring: Callable[[Ring], Any] | None = None,
        on_event: Callable[[Event], Any] | None = None,
        on_message: Callable[[str], Any] | None = None,
        on_change: Callable[["Device"], Any] | None = None,
        on_frame: OnFrame | None = None,
    ) -> None:
        if answer not in ("auto", "manual"):
            raise ValueError(f'answer must be "auto" or "manual", not {answer!r}')
        self.url = url
        self.media = media or Media()
        self._save = Path(save) if save is not None else None
        self._calls_saved = 0
        self._identity = Identity(sn, url, token, secret=secret, state=state, model_id=model_id, name=name)
        self._http = Http(url, renew=self._identity.token)
        self._account = Account(self._http, sn)
        self._events = EventStream(self._http, patience_s=patience_s)
        self._renewing: asyncio.Task[None] | None = None
        equipment = Equipment(self.media, on_frame, self._open_recorder, video_codec, audio_codec)
        super().__init__(sn, name, Signalling(self._http), equipment, auto=answer == "auto")
        self.on_ring, self.on_event, self.on_message, self.on_change = on_ring, on_event, on_message, on_change

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
        """Connect; returns when the relay can ring this device. Raises SignallingError, SourceError, StateError."""
        self.media.check()
        await self._http.authorise()
        self._listening = asyncio.ensure_future(
            self._events.listen(self._on_event, lambda: self._check_call(lost=False), self._on_gap)
        )
        online = asyncio.ensure_future(self._events.online.wait())
        try:
            await asyncio.wait({online, self._listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            online.cancel()
        if self._listening.done():
            await self._listening
        self._keep_renewing()
        if self._call is None:  # a call that was ringing already is told at once
            self._set_phase("idle")

    async def close(self) -> None:
        """Hang up what runs, then let go of everything. May be called twice."""
        if self._call is not None:
            with contextlib.suppress(SignallingError):
                await self.hang_up()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._tasks.cancel()
        if self._call is not None:
            await self._end(self._call, Outcome(Exit.NOT_ANSWERED, "the device was closed"))
        await self._tasks.finish()
        await self._http.close()
        self.phase = "offline"

    @property
    def online(self) -> bool:
        """Whether events can arrive now; calls under way outlive a gap."""
        return self._events.online.is_set()

    def _keep_renewing(self) -> None:
        if self._listening is not None and (self._renewing is None or self._renewing.done()):
            self._renewing = self._tasks.spawn(self._keep_token())

    async def _keep_token(self) -> None:
        """A new token well before the old one ends, so that no call is made with one that just ran out."""
        while (wait_s := self._identity.renew_in_s) is not None:
            await asyncio.sleep(max(wait_s, 1.0))
            try:
                await self._http.renew(self._http.token)
            except SignallingError as fault:
                if isinstance(fault, Refused) and not fault.passing:
                    self._note(f"the token could not be renewed: {fault}")
                    return  # the next request, or the end of the event connection, says so as an exception
                await asyncio.sleep(RENEW_PAUSE_S)

    # Who this device is, and what the relay keeps about it; all of it works without `start` too

    @property
    def registered(self) -> bool:
        """Whether this device has a secret. Raises StateError."""
        return self._identity.registered

    async def register(self, model_id: str, sn_ticket: str) -> str:
        """Trade a ticket of the operator's server for this device's secret, which is kept in the state file if
        there is one, and must be kept by the program if there is none. Raises SignallingError, StateError.
        """
        secret = await self._identity.register(model_id, sn_ticket)
        await self._http.renew(self._http.token)
        self._keep_renewing()
        return secret

    async def push_token(self) -> PushToken:
        """The token with which this device can be called; the operator's server wants it. Raises
        SignallingError, as the following do.
        """
        return await self._account.push_token()

    async def contacts(self, openids: Iterable[str]) -> list[Contact]:
        """Who of these may be called."""
        return await self._account.contacts(openids, self._identity.model_id)

    async def grants(self) -> list[Grant]:
        """What users decided about this device or its group."""
        return await self._account.grants()

    async def profile(self) -> Profile:
        """How this device's picture is shown."""
        return await self._account.profile()

    async def set_profile(self, **changes: Any) -> Profile:
        """Change fields of the profile, by their names in `Profile`; returns the whole."""
        return await self._account.set_profile(changed(**changes))

    # Waiting for calls

    async def incoming_calls(self) -> AsyncIterator[Ring]:
        """Every call that rings here, until the device is closed. A ring that nobody answered in time to be
        looked at is left out. Raises SignallingError when the relay is lost for good.
        """
        while (ring := await self._next(self._rings)) is not None:
            if not ring.over or self._auto:
                yield ring

    async def outcome(self) -> Outcome:
        """The end of the next incoming call, in order. Raises SignallingError when the relay is lost for
        good or the device is closed.
        """
        if (outcome := await self._next(self._outcomes)) is None:
            raise SignallingError("the device was closed")
        return outcome

    def _open_recorder(self, video: bool) -> Recorder | None:
        if self._save is None:
            return None
        self._calls_saved += 1
        suffix = f"-{self._calls_saved}" if self._calls_saved > 1 else ""
        try:
            return Recorder(self._save.with_name(self._save.stem + suffix + self._save.suffix), video=video)
        except RecorderError as fault:
            self._note(str(fault))  # a full disk must not cost the call
            return None
