"""Numbering, replay and bounds of a party's events."""

from typing import Any

import msgspec
import pytest

from relay.calls.events import Events
from relay.calls.invitation import Party
from relay.config import Config
from relay.errors import ApiError

ANN, BOB, EVE = (Party("user", name) for name in ("ann", "bob", "eve"))
WALL_MS = 1_700_000_000_000


class Ear:
    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def put(self, frame: str) -> None:
        self.frames.append(msgspec.json.decode(frame))

    @property
    def seqs(self) -> list[int]:
        return [frame["seq"] - WALL_MS for frame in self.frames if "seq" in frame]

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """(asked behind, first that there still is)"""
        return [
            (frame["after"] - WALL_MS, frame["first"] - WALL_MS) for frame in self.frames if frame.get("type") == "gap"
        ]


def events(**settings: Any) -> Events:
    return Events(Config(demo=True, **settings))


def say(log: Events, party: Party, count: int = 1, room: str = "r1", now: float = 0.0) -> None:
    for _ in range(count):
        log.publish(party, room, "startVoip", {}, "", now, WALL_MS)


def attach(log: Events, party: Party, after: int | None = None, now: float = 0.0, *live: str) -> Ear:
    ear = Ear()
    log.attach(party, ear, after, live, now, WALL_MS)
    return ear


def test_replay_goes_on_without_gap_or_repeat() -> None:
    log = events()
    say(log, ANN, 5)
    ear = attach(log, ANN, WALL_MS + 2)
    say(log, ANN, 2)
    assert ear.seqs == [3, 4, 5, 6, 7]
    log.detach(ANN, ear)
    say(log, ANN)
    assert len(ear.frames) == 5
    assert log.sockets == 0


def test_without_a_number_only_live_calls_are_replayed() -> None:
    log = events()
    say(log, ANN, 2, "old")
    say(log, ANN, 2, "new")
    assert attach(log, ANN, None, 0.0, "new").seqs == [3, 4]
    assert attach(log, ANN).seqs == []


def test_numbers_of_an_earlier_life_get_everything() -> None:
    log = events()
    say(log, ANN, 2)
    assert attach(log, ANN, WALL_MS - 86_400_000).seqs == [1, 2]
    assert attach(log, ANN, 7).seqs == [1, 2]


def test_replay_is_bounded_in_time_and_number() -> None:
    log = events(event_buffer=3, event_buffer_s=100)
    say(log, ANN, 5, now=0)
    assert attach(log, ANN, 0, 100).seqs == [3, 4, 5]
    say(log, ANN, 1, now=50)
    assert attach(log, ANN, 0, 120).seqs == [6]


def test_a_client_hears_that_events_were_forgotten() -> None:
    log = events(event_buffer=3, event_buffer_s=100)
    say(log, ANN, 5, now=0)
    assert attach(log, ANN, WALL_MS + 1, 1).gaps == [(1, 3)]
    assert attach(log, ANN, WALL_MS + 2, 1).gaps == []
    late = attach(log, ANN, WALL_MS + 4, 101)
    assert (late.gaps, late.seqs) == ([(4, 6)], [])


def test_parties_are_bounded_and_listeners_stay() -> None:
    log = events(max_parties=2, event_sockets_max=1)
    ear = attach(log, ANN)
    say(log, BOB)
    say(log, EVE)
    assert len(log) == 2
    say(log, ANN)
    assert ear.seqs == [1]
    say(log, BOB)
    assert len(log) == 2


def test_listeners_are_bounded() -> None:
    log = events(event_sockets_per_party=2, event_sockets_max=3)
    attach(log, ANN), attach(log, ANN)
    with pytest.raises(ApiError) as refused:
        attach(log, ANN)
    assert refused.value.status == 429
    attach(log, BOB)
    with pytest.raises(ApiError):
        attach(log, EVE)


def test_sweep_forgets_what_is_over() -> None:
    log = events(event_buffer_s=100)
    say(log, ANN)
    ear = attach(log, BOB)
    log.sweep(101)
    assert len(log) == 1
    log.detach(BOB, ear)
    log.sweep(102)
    assert len(log) == 0
