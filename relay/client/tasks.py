"""A device's background tasks: none outlives it, none fails unseen, and those that release things run to their ends."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """`spawn` and `tell` while it lives; then `cancel`, then `finish`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._protected: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._add(work, self._tasks)

    def protect(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Like `spawn`, but `cancel` leaves it alone."""
        return self._add(work, self._protected)

    def tell(self, listener: Callable[..., Any] | None, *given: Any) -> None:
        """Call a listener, which may be a coroutine function. Its faults are its own: they end neither a call
        nor a connection.
        """
        if listener is None:
            return
        try:
            result = listener(*given)
        except Exception:
            log.exception("a listener of the device failed")
            return
        if inspect.iscoroutine(result):
            self.spawn(result)

    async def cancel(self) -> None:
        """End all but the protected ones, and all but the one that asks: a listener may close its device."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(self) -> None:
        """Wait for the protected ones."""
        await asyncio.gather(*self._protected, return_exceptions=True)

    def _add(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[Any]]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._protected.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a task of the device failed", exc_info=fault)
