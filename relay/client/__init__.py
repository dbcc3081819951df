"""The Python device client: what a camera or doorbell does, on aiortc, PyAV and aiohttp.

`Device` is the library's front door; `relay device` (command.py) is the same thing with a terminal.
"""

from relay.client.device import Device, Incoming, Phase
from relay.client.leg import Leg, LegError, LegStats
from relay.client.outcome import Exit, Outcome
from relay.client.recorder import Recorder, RecorderError
from relay.client.signalling import Event, Refused, Signalling, SignallingError, Unreachable
from relay.client.sources import Media, SourceError

__all__ = [
    "Device",
    "Event",
    "Exit",
    "Incoming",
    "Leg",
    "LegError",
    "LegStats",
    "Media",
    "Outcome",
    "Phase",
    "Recorder",
    "RecorderError",
    "Refused",
    "Signalling",
    "SignallingError",
    "SourceError",
    "Unreachable",
]
