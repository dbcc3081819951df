"""Idempotency keys: a write that is sent again with its key gets the first one's answer and does nothing.

Kept for `repeat_s` (10 min), by who asks. Only answers of success are kept: a refusal may be gone the next time. Two
requests at once with one key: the second waits for the first one's answer.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from relay.config import Config
from relay.errors import ApiError, Code

KEY_MAX = 128  # characters
REPEATS_MAX = 20_000  # answers kept; about 1 KiB each


class Reply(NamedTuple):
    """An answer that can be given again."""

    status: int
    body: bytes
    content_type: str


class _Kept(NamedTuple):
    at: float
    request: bytes  # hash of what was asked
    reply: "asyncio.Future[Reply]"


class Repeats:
    """The answers of a node's last writes."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._life_s = config.repeat_s
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def once(self, who: str, key: str, request: bytes, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of `work`, or of the earlier request with this key.

        Raises ApiError 400/1004 for a bad key, 422/1004 for a key that was used for something else, and what `work`
        raises.
        """
        check_key(key)
        now = self._clock()
        while self._kept and now - next(iter(self._kept.values())).at > self._life_s:
            self._kept.popitem(last=False)
        digest = hashlib.sha256(request).digest()
        kept = self._kept.get((who, key))
        if kept is not None:
            if kept.request != digest:
                raise ApiError(422, Code.WRONG_PARAMETER, "this Idempotency-Key was used for another request")
            return await asyncio.shield(kept.reply)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._kept[who, key] = _Kept(now, digest, future)
        while len(self._kept) > REPEATS_MAX:
            self._kept.popitem(last=False)
        try:
            reply = await work()
        except BaseException as fault:
            if self._kept.get((who, key), (None, None, None))[2] is future:
                del self._kept[who, key]
            withdrawn = ApiError(503, Code.REQUEST_FAILED, "the request was withdrawn; try again")
            future.set_exception(fault if isinstance(fault, ApiError) else withdrawn)
            future.exception()  # somebody may wait for it, or nobody
            raise
        future.set_result(reply)
        return reply


def check_key(key: str) -> None:
    """Raises ApiError 400/1004."""
    if not 0 < len(key) <= KEY_MAX:
        raise ApiError(400, Code.WRONG_PARAMETER, f"Idempotency-Key: 1 to {KEY_MAX} characters")
