"""The live line: rates from counters, one line rewritten in place on a terminal."""

import asyncio
import io

from relay.client import Device, LegStats
from relay.client.live import Live, Rates

from .peer import running, until


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Talking(Device):
    """A device in a call, as far as statistics go."""

    def __init__(self) -> None:
        super().__init__("SN-1", "http://127.0.0.1:1")
        self.phase = "talking"
        self.counters: LegStats | None = LegStats()

    async def stats(self) -> LegStats | None:
        return self.counters


def test_rates_are_of_the_time_between_two_looks() -> None:
    async def main() -> None:
        rates = Rates(LegStats(bytes_up=1000), now_s=10.0)
        stats = LegStats(
            bytes_up=126_000, bytes_down=250_000, video_frames=50, received_down=75, lost_down=25, rtt_s=0.02
        )
        line = rates.line(Talking(), stats, 12.0)
        for text in ("talking 00:00", "up 500 kbit/s", "down 1000 kbit/s", "25 fps", "25.0% down", "rtt 20 ms"):
            assert text in line
        assert "up 0 kbit/s" in rates.line(Talking(), stats, 13.0)

    asyncio.run(main())


def test_a_terminal_gets_one_line_rewritten_and_lasting_lines_clear_it() -> None:
    async def main() -> None:
        screen, device = Screen(), Talking()
        live = Live(device, screen)
        async with running(live.run()):
            await until(lambda: screen.getvalue().count("\r") >= 2)
            live.say("call ended")
            assert screen.getvalue().endswith("\rcall ended\n")
            assert screen.getvalue().count("\n") == 1

    asyncio.run(main())


def test_without_a_call_nothing_is_drawn() -> None:
    async def main() -> None:
        screen, device = Screen(), Talking()
        live = Live(device, screen)
        async with running(live.run()):
            await until(lambda: screen.getvalue())
            device.counters = None
            await until(lambda: screen.getvalue().endswith(" \r"))

    asyncio.run(main())
