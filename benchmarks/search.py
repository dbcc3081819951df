"""Looks for the highest packet rate a relay carries without loss. Pure: rates go out, verdicts come in."""

from collections.abc import Iterator
from dataclasses import dataclass

GROWTH = 1.4  # until the first loss
CLOSE = 1.04  # the limit is known well enough when the nearest loss is this much above it
UNKNOWN_MAX = 2  # so many rates in a row that can't be judged end the search


@dataclass
class Search:
    """Grow until the first lossy rate, then halve the distance, at most `steps` rates in all."""

    start_pps: float
    steps: int
    highest_pps: float = float("inf")
    lossless_pps: float = 0.0
    lossy_pps: float = float("inf")
    unknown: int = 0

    def rates(self) -> Iterator[float]:
        """Rates to try; call `verdict` before asking for the next."""
        rate = min(self.start_pps, self.highest_pps)
        for _ in range(self.steps):
            yield rate
            if self.unknown >= UNKNOWN_MAX or rate >= self.highest_pps:
                return
            if self.lossy_pps == float("inf"):
                rate = min(rate * GROWTH, self.highest_pps)
            elif self.lossless_pps == 0:
                rate = self.lossy_pps / 2
            elif self.lossy_pps / self.lossless_pps < CLOSE:
                return
            elif self.unknown:
                rate = (self.lossless_pps * rate) ** 0.5
            else:
                rate = (self.lossless_pps * self.lossy_pps) ** 0.5

    def verdict(self, rate: float, lossless: bool | None) -> None:
        """What came of a rate; None when the run could not be judged."""
        self.unknown = self.unknown + 1 if lossless is None else 0
        if lossless:
            self.lossless_pps = max(self.lossless_pps, rate)
        elif lossless is not None:
            self.lossy_pps = min(self.lossy_pps, rate)
