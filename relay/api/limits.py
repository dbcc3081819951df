"""Rate limits: a token bucket for each key that asks; what is too much gets 429 and the time to wait.

The key is who the token stands for, so one busy device does not cost the others of its site anything. Requests without
a good token count against their address.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from relay.config import Config
from relay.errors import ApiError, Code

KEYS_MAX = 100_000  # buckets; the longest unused one goes first, and it is full by then


def site_of(address: str) -> str:
    """The key of an address: an IPv6 site has 2^64 of them, and counts once (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))


class _Bucket:
    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at


class Limits:
    """All buckets of a node."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates = {  # kind -> requests a second, burst
            "operator": (config.operator_rate_per_s, config.operator_rate_burst),
            "anonymous": (config.anonymous_rate_per_s, config.anonymous_rate_burst),
        }
        self._party_rate = (config.rate_per_s, config.rate_burst)
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self.refused = 0

    def take(self, kind: str, key: str) -> None:
        """Count one request. Raises ApiError 429/45009."""
        rate, burst = self._rates.get(kind, self._party_rate)
        now = self._clock()
        bucket = self._buckets.get((kind, key))
        if bucket is None:
            while len(self._buckets) >= KEYS_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[kind, key] = _Bucket(burst, now)
        else:
            self._buckets.move_to_end((kind, key))
            bucket.left = min(burst, bucket.left + (now - bucket.at) * rate)
            bucket.at = now
        if bucket.left < 1:
            self.refused += 1
            raise ApiError(429, Code.TOO_OFTEN, retry_s=(1 - bucket.left) / rate)
        bucket.left -= 1
