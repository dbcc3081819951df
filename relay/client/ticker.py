"""The `calling` event of each second of a talk, made here from the relay's start time (plugin-interface §7.4)."""

import asyncio
from collections.abc import Callable


class Clock:
    """The relay's clock by the event loop's. The two differ, so the difference is learnt from the events: the
    one that travelled fastest gives the smallest, and replayed ones, which look slow, never win.
    """

    def __init__(self) -> None:
        self._offset_s = float("inf")

    def learn(self, timestamp_ms: int, now_s: float) -> None:
        """An event stamped at `timestamp_ms` arrived at `now_s`."""
        if timestamp_ms:
            self._offset_s = min(self._offset_s, now_s - timestamp_ms / 1000)

    def local_s(self, timestamp_ms: int, earliest_s: float, now_s: float) -> float:
        """When that was, on the event loop's clock; never outside of what is possible, whatever the relay's
        clock has been set to meanwhile.
        """
        if not timestamp_ms:
            return now_s
        return min(max(timestamp_ms / 1000 + self._offset_s, earliest_s), now_s)


async def tick(started_s: float, tell: Callable[[int], None]) -> None:
    """`tell` the whole seconds since `started_s`, each second until cancelled. A machine that slept skips some."""
    loop = asyncio.get_running_loop()
    told = int(loop.time() - started_s)
    while True:
        await asyncio.sleep(started_s + told + 1 - loop.time())
        # A timer may be a hair early; the second it was set for has come all the same.
        told = max(told + 1, int(loop.time() - started_s))
        tell(told)
