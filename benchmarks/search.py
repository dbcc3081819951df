"""Looks for the highest packet rate a relay carries without loss. Pure: rates go out, verdicts come in."""

from collections.abc import Iterator
from dataclasses import dataclass, field

GROWTH = 1.4  # until the first loss
CLOSE = 1.04  # the limit is known well enough when the nearest loss is this much above it


@dataclass
class Search:
    """Grow until the first lossy rate, then halve the distance, at most `steps` rates in all."""

    start_pps: float
    steps: int
    highest_pps: float = float("inf")
    lossless_pps: float = 0.0
    lossy_pps: float = field(default=float("inf"))

    def rates(self) -> Iterator[float]:
        """Rates to try; call `verdict` before asking for the next."""
        rate = min(self.start_pps, self.highest_pps)
        for _ in range(self.steps):
            yield rate
            if self.lossy_pps == float("inf"):
                if self.lossless_pps >= self.highest_pps:
                    return
                rate = min(rate * GROWTH, self.highest_pps)
            elif self.lossless_pps == 0:
                rate /= 2
            elif self.lossy_pps / self.lossless_pps < CLOSE:
                return
            else:
                rate = (self.lossless_pps * self.lossy_pps) ** 0.5

    def verdict(self, rate: float, lossless: bool) -> None:
        if lossless:
            self.lossless_pps = max(self.lossless_pps, rate)
        else:
            self.lossy_pps = min(self.lossy_pps, rate)
