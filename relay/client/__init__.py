"""The Python device client: what a camera or doorbell does, on aiortc, PyAV and aiohttp.

    import asyncio
    from relay.client import Device

    async def main(url, ticket):
        device = Device("SN-1", url, state="SN-1.json", answer="manual")
        if not device.registered:
            await device.register("MODEL-1", ticket)
        async with device:
            async for ring in device.incoming_calls():
                await ring.answer()
                print(ring.caller_name, (await ring.outcome()).words)

`relay device` (command.py) is the same thing with a terminal.
"""

from relay.client.account import Contact, Grant, PushToken
from relay.client.device import Device
from relay.client.events import Event, EventStream
from relay.client.http import Http, Refused, SignallingError, Unreachable
from relay.client.leg import Leg, LegError, LegStats
from relay.client.line import Phase
from relay.client.outcome import Exit, Outcome
from relay.client.profile import Profile
from relay.client.recorder import Recorder, RecorderError
from relay.client.ring import Ring
from relay.client.signalling import Listener, Signalling
from relay.client.sources import Media, SourceError
from relay.client.state import StateError

__all__ = [
    "Contact",
    "Device",
    "Event",
    "EventStream",
    "Exit",
    "Grant",
    "Http",
    "Leg",
    "LegError",
    "LegStats",
    "Listener",
    "Media",
    "Outcome",
    "Phase",
    "Profile",
    "PushToken",
    "Recorder",
    "RecorderError",
    "Refused",
    "Ring",
    "Signalling",
    "SignallingError",
    "SourceError",
    "StateError",
    "Unreachable",
]
