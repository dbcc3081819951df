"""The live line: what a call is doing, rewritten in place on a terminal, as plain lines elsewhere."""

import asyncio
import shutil
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

    async def run(self) -> None:
        """Runs until cancelled."""
        loop = asyncio.get_running_loop()
        rates: Rates | None = None
        while True:
            await asyncio.sleep(TERMINAL_S)
            stats = await self._device.stats()
            if stats is None:
                rates = None
                self._erase()
            elif rates is None:
                rates = Rates(stats, loop.time())
            elif self._terminal:
                self._draw(rates.line(self._device, stats, loop.time()))
            elif loop.time() - rates.at_s >= PLAIN_S:
                self._print(rates.line(self._device, stats, loop.time()))

    def say(self, text: str) -> None:
        """A line that stays, above the live one."""
        self._erase()
        self._print(text)

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _draw(self, text: str) -> None:
        # A line wider than the terminal would wrap, and the carriage return would no longer reach its start.
        text = text[: shutil.get_terminal_size().columns - 1]
        self._out.write("\r" + text.ljust(self._drawn))
        self._out.flush()
        self._drawn = len(text)

    def _erase(self) -> None:
        if self._drawn:
            self._out.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


class Rates:
    """Turns counters into rates over the time between two looks."""

    def __init__(self, stats: LegStats, now_s: float) -> None:
        self.at_s = now_s  # of the last look
        self._remember(stats)

    def _remember(self, stats: LegStats) -> None:
        self._up, self._down, self._pictures = stats.bytes_up, stats.bytes_down, stats.video_frames

    def line(self, device: Device, stats: LegStats, now_s: float) -> str:
        """One line of about 130 columns. `now_s`: a steady clock, seconds, later than the last look."""
        elapsed = max(now_s - self.at_s, 0.001)
        up = (stats.bytes_up - self._up) * 8 / 1000 / elapsed
        down = (stats.bytes_down - self._down) * 8 / 1000 / elapsed
        fps = (stats.video_frames - self._pictures) / elapsed
        self.at_s = now_s
        self._remember(stats)
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
