"""Which of a call's called parties rings: one, one after the other, or all at once. Pure: time is an argument.

The state table (`call.py`) knows one called side. With several, this decides which of them it is. A party that refuses,
is busy or lets its time run out drops out alone while another one is left; the last one's refusal is the call's. The
first answer wins, and whoever still rings is told that the call was taken.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, NamedTuple


class Outcome(StrEnum):
    """How far a called party came; part of the call's record."""

    WAITING = "waiting"  # not rung yet
    RINGING = "ringing"
    ANSWERED = "answered"
    REJECTED = "rejected"
    BUSY = "busy"
    TIMEOUT = "timeout"
    TAKEN = "taken"  # another one answered
    CANCELLED = "cancelled"  # the call ended while it rang
    REFUSED = "refused"  # has not authorised the device
    NOT_RUNG = "notRung"  # the call ended before its turn


@dataclass(frozen=True, slots=True)
class Candidate:
    """One called party. `deadline` is set while it rings, if it may drop out before the call does."""

    ring_s: float
    outcome: Outcome = Outcome.WAITING
    deadline: float | None = None


class Move(NamedTuple):
    """What came of an input: who rings now, who hears that the call was taken, and whether nobody is left."""

    hunt: "Hunt"
    rings: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    last: bool = False


@dataclass(frozen=True, slots=True)
class Hunt:
    """The called parties of one call, by index."""

    candidates: tuple[Candidate, ...]
    strategy: Literal["sequential", "simultaneous"]

    @property
    def alone(self) -> bool:
        return len(self.candidates) == 1

    def ring_s(self) -> float:
        """How long the whole call may ring."""
        times = [candidate.ring_s for candidate in self.candidates]
        return sum(times) if self.strategy == "sequential" else max(times)

    def ringing(self) -> tuple[int, ...]:
        return tuple(i for i, candidate in enumerate(self.candidates) if candidate.outcome is Outcome.RINGING)

    def deadline(self) -> float | None:
        return min((c.deadline for c in self.candidates if c.deadline is not None), default=None)

    def due(self, now: float) -> tuple[int, float] | None:
        """The party whose ring time is over first, and when it was."""
        times = [(c.deadline, i) for i, c in enumerate(self.candidates) if c.deadline is not None and c.deadline <= now]
        if not times:
            return None
        when, index = min(times)
        return index, when

    def begin(self, now: float) -> Move:
        """Ring the first, or all."""
        if self.strategy == "sequential":
            return self._ring_next(now)
        rings = tuple(i for i, candidate in enumerate(self.candidates) if candidate.outcome is Outcome.WAITING)
        hunt = self
        for index in rings:
            hunt = hunt._rung(index, now)
        return Move(hunt, rings)

    def drop(self, index: int, outcome: Outcome, now: float) -> Move:
        """A ringing party says no, or nothing. `last`: nobody is left, and nothing was changed but its outcome."""
        hunt = self._with(index, Candidate(self.candidates[index].ring_s, outcome))
        if hunt.ringing():
            return Move(hunt)
        move = hunt._ring_next(now)
        return move if move.rings else Move(hunt, last=True)

    def answer(self, index: int) -> Move:
        """A party takes the call."""
        taken = tuple(other for other in self.ringing() if other != index)
        hunt = self._with(index, Candidate(self.candidates[index].ring_s, Outcome.ANSWERED))
        for other in taken:
            hunt = hunt._with(other, Candidate(self.candidates[other].ring_s, Outcome.TAKEN))
        return Move(hunt._closed(), taken=taken)

    def end(self, outcome: Outcome) -> "Hunt":
        """The call is over: whoever still rings gets `outcome`."""
        hunt = self
        for index in self.ringing():
            hunt = hunt._with(index, Candidate(self.candidates[index].ring_s, outcome))
        return hunt._closed()

    def _closed(self) -> "Hunt":
        kept = (replace(c, outcome=Outcome.NOT_RUNG) if c.outcome is Outcome.WAITING else c for c in self.candidates)
        return replace(self, candidates=tuple(kept))

    def _ring_next(self, now: float) -> Move:
        for index, candidate in enumerate(self.candidates):
            if candidate.outcome is Outcome.WAITING:
                return Move(self._rung(index, now), (index,))
        return Move(self)

    def _rung(self, index: int, now: float) -> "Hunt":
        ring_s = self.candidates[index].ring_s
        # A party alone rings as long as the call, which the state table counts.
        return self._with(index, Candidate(ring_s, Outcome.RINGING, None if self.alone else now + ring_s))

    def _with(self, index: int, candidate: Candidate) -> "Hunt":
        return replace(self, candidates=(*self.candidates[:index], candidate, *self.candidates[index + 1 :]))


def prepare(
    ring_times_s: Sequence[float], strategy: Literal["sequential", "simultaneous"], refused: Container[int] = ()
) -> Hunt:
    """A hunt for as many parties as there are ring times; nobody rings yet, and `refused` ones never will."""
    outcomes = (Outcome.REFUSED if index in refused else Outcome.WAITING for index in range(len(ring_times_s)))
    return Hunt(tuple(map(Candidate, ring_times_s, outcomes)), strategy)
