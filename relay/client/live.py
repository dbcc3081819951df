"""The live line: what a call is doing, rewritten in place on a terminal, as plain lines elsewhere."""

import asyncio
import sys
from typing import TextIO

from relay.client.device import Device
from relay.client.leg import LegStats

TERMINAL_S = 0.5  # between two updates
PLAIN_S = 5.0


class Live:
    """Prints the device's state to `out` until cancelled; `say` prints a lasting line in between."""

    def __init__(self, device: Device, out: TextIO | None = None) -> None:
        self._device = device
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._drawn = 0  # width of the line now on the terminal
        self._rates = Rates()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await asyncio.sleep(TERMINAL_S if self._terminal else PLAIN_S)
            stats = await self._device.stats()
            if stats is None:
                self._rates = Rates()
                self._erase()
                continue
            text = self._rates.line(self._device, stats, asyncio.get_running_loop().time())
            if self._terminal:
                self._draw(text)
            else:
                self._print(text)

    def say(self, text: str) -> None:
        """A line that stays, above the live one."""
        self._erase()
        self._print(text)

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _draw(self, text: str) -> None:
        self._out.write("\r" + text.ljust(self._drawn))
        self._out.flush()
        self._drawn = len(text)

    def _erase(self) -> None:
        if self._drawn:
            self._out.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


class Rates:
    """Turns counters into rates over the time between two looks."""

    def __init__(self) -> None:
        self._at_s: float | None = None
        self._up = self._down = self._pictures = 0

    def line(self, device: Device, stats: LegStats, now_s: float) -> str:
        """One line of at most about 110 columns. `now_s`: a steady clock, seconds."""
        elapsed = now_s - self._at_s if self._at_s is not None else 0.0
        up = down = fps = 0.0
        if elapsed > 0:
            up = (stats.bytes_up - self._up) * 8 / 1000 / elapsed
            down = (stats.bytes_down - self._down) * 8 / 1000 / elapsed
            fps = (stats.video_frames - self._pictures) / elapsed
        self._at_s = now_s
        self._up, self._down, self._pictures = stats.bytes_up, stats.bytes_down, stats.video_frames
        minutes, seconds = divmod(int(device.talked_s), 60)
        rtt = f"{stats.rtt_s * 1000:.0f} ms" if stats.rtt_s is not None else "-"
        delay = f"  delay {stats.delay_s * 1000:.0f} ms" if stats.delay_s is not None else ""
        offline = "" if device.online else "  (signalling lost, reconnecting)"
        return (
            f"{device.phase} {minutes:02d}:{seconds:02d}  up {up:.0f} kbit/s  down {down:.0f} kbit/s"
            f"  {fps:.0f} fps"
            f"  loss {stats.loss_up:.1%} up {stats.loss_down:.1%} down  rtt {rtt}"
            f"  decoded {stats.video_frames} pictures {stats.audio_frames} sounds{delay}{offline}"
        )
