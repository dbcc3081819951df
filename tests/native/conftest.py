"""A pump in virtual time with two connected peers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pair import Peer

from native import Pump
from native.pump import clock_us


@pytest.fixture
def pump() -> Iterator[Pump]:
    made = Pump(-1, seed=7, capture_bytes=1 << 20)
    yield made
    assert len(made.legs()) == 0, "a test left a leg behind"
    counters = made.counters()
    assert (counters["streams"], counters["routes"]) == (0, 0)


@pytest.fixture
def now() -> int:
    """Commands that read the clock themselves must not lie in this test's future."""
    return clock_us()


@pytest.fixture
def peers(pump: Pump) -> Iterator[tuple[Peer, Peer]]:
    a, b = Peer(pump, 5000), Peer(pump, 6000, out_ssrc=(2001, 2002), rtx_ssrc=2003)
    a.connect()
    b.connect()
    yield a, b
    a.close()
    b.close()
