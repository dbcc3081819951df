"""Keys and signals of `relay device`: what a person at the terminal, or a handset's switch, wants of the device."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from relay.client.device import Device
from relay.client.http import SignallingError

HANDSET = {signal.SIGUSR1: False, signal.SIGUSR2: True}  # put down, lifted


class Controls:
    """`stop` is set when the device shall leave. What the device refuses is told by the call's end, not here."""

    def __init__(self, device: Device) -> None:
        self.stop = asyncio.Event()
        self._device = device
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what was asked for and is not done yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask to stop; a second one of them kills, as ever. SIGUSR1 and SIGUSR2 are the
        handset's.
        """
        loop = asyncio.get_running_loop()
        ends = (signal.SIGINT, signal.SIGTERM)

        def first() -> None:
            self.stop.set()
            for number in ends:
                loop.remove_signal_handler(number)

        for number in ends:
            loop.add_signal_handler(number, first)
        for number, up in HANDSET.items():
            loop.add_signal_handler(number, self._handset, up)
        try:
            yield
        finally:
            for number in (*ends, *HANDSET):
                loop.remove_signal_handler(number)

    @contextlib.asynccontextmanager
    async def keyboard(self, *, wanted: bool) -> AsyncIterator[None]:
        """Single keys from a terminal, or letters from a pipe. Without either: nothing."""
        try:
            descriptor = sys.stdin.fileno()
        except (OSError, ValueError, AttributeError):
            wanted = False
        # A background job that touched its terminal would be stopped by the kernel (SIGTTIN).
        if not wanted or (sys.stdin.isatty() and os.tcgetpgrp(descriptor) != os.getpgrp()):
            yield
            return
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                keys = os.read(descriptor, 64)
            except OSError:
                keys = b""
            if not keys:
                loop.remove_reader(descriptor)
            for key in keys.decode(errors="replace").lower():
                self._press(key)

        with _single_keys(descriptor):
            try:
                loop.add_reader(descriptor, read)
            except (OSError, ValueError):
                pass  # a plain file or /dev/null cannot be waited for: no keyboard then
            try:
                yield
            finally:
                with contextlib.suppress(OSError, ValueError):
                    loop.remove_reader(descriptor)

    def _handset(self, up: bool) -> None:
        self._do(self._device.handset(up))

    def _press(self, key: str) -> None:
        match key:
            case "q":
                self.stop.set()
            case "a":
                self._do(self._device.answer())
            case "r":
                self._do(self._device.reject())
            case "b":
                self._do(self._device.busy())
            case "h":
                self._do(self._device.hang_up())
            case "c":
                self._device.set_camera(not self._device.camera)

    def _do(self, action: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(_quietly(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _quietly(action: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(SignallingError):
        await action


@contextlib.contextmanager
def _single_keys(descriptor: int) -> Iterator[None]:
    """The terminal gives keys at once and without echo; Ctrl-C stays a signal."""
    if not os.isatty(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
