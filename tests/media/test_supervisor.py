"""Workers as real processes: placing, dying, being replaced. The processes run `tiny_worker.py`, without
media.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from relay.config import Config
from relay.media.messages import MediaError, MediaEvent
from relay.media.remote import Patience, StartError
from relay.media.supervisor import Supervisor

TINY = Path(__file__).with_name("tiny_worker.py")
CONFIG = Config(secret="0" * 32, media_port=0)
LIMIT_S = 30.0  # for anything to happen at all; a test that needs so long has failed


def command(kind: str = "tiny") -> list[str]:
    return [sys.executable, str(TINY), kind]


class Node:
    """A supervisor and what it told."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.media = supervisor
        self.events: list[MediaEvent] = []
        self._news = asyncio.Event()
        supervisor.subscribe(self._on_event)

    def _on_event(self, event: MediaEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def open(self, leg: str, room: str = "room", offer: str = "echo", *, live: bool = False) -> int:
        """Open a leg; returns the pid of the worker that it is on."""
        answer = await self.media.open_leg(room, leg, offer, live=live)
        return int(answer.split()[1])

    async def told(self, count: int) -> list[MediaEvent]:
        async with asyncio.timeout(LIMIT_S):
            while len(self.events) < count:
                self._news.clear()
                await self._news.wait()
        return self.events

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.01)

    def pids(self) -> list[int | None]:
        return [worker.pid for worker in self.media.state()]

    def up(self) -> list[bool]:
        return [worker.up for worker in self.media.state()]


@contextlib.asynccontextmanager
async def node(workers: int = 1, kind: str = "tiny", **patience: float) -> AsyncIterator[Node]:
    supervisor = Supervisor(CONFIG, workers, command=command(kind), patience=Patience(**patience))
    await supervisor.start()
    pids = [worker.pid for worker in supervisor.state()]
    try:
        yield Node(supervisor)
    finally:
        pids += [worker.pid for worker in supervisor.state()]
        await supervisor.stop()
        for pid in pids:
            assert pid is None or not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(main(), 2 * LIMIT_S))


def test_rooms_go_to_the_least_loaded_worker_and_their_legs_stay_together() -> None:
    async def main() -> None:
        async with node(2) as n:
            first = await n.open("a1", "a")
            assert await n.open("a2", "a") == first
            second = await n.open("b1", "b")
            assert second != first
            assert await n.open("c1", "c") == second
            assert [worker.legs for worker in n.media.state()] == [2, 2]
            assert [worker.rooms for worker in n.media.state()] == [1, 2]
            await n.media.close_room("c")
            await n.media.close_leg("b1")
            assert [worker.legs for worker in n.media.state()] == [2, 0]
            assert [worker.rooms for worker in n.media.state()] == [1, 0]

    run(main)


def test_every_request_reaches_the_worker_of_its_room() -> None:
    async def main() -> None:
        async with node(2) as n:
            await n.open("a1", "a")
            answer = await n.media.open_leg("b", "b1", "echo", live=True)
            assert answer.split()[2] == "True"
            assert await n.media.restart_leg("b1", "ufrag") == "UFRAG"
            await n.media.go_live("b")
            assert await n.media.stats("b") == {"legs": ["b1"], "live": True, "worker": 1}
            assert await n.media.stats("a") == {"legs": ["a1"], "live": False, "worker": 0}
            assert set(await n.media.counters()) == {0, 1}

    run(main)


def test_refusals_come_back_as_they_were_said() -> None:
    async def main() -> None:
        async with node() as n:
            with pytest.raises(MediaError, match="no common codec") as refusal:
                await n.open("a", offer="refuse")
            assert (refusal.value.status, refusal.value.code) == (406, 2004)
            with pytest.raises(MediaError) as bug:
                await n.open("a", offer="bug")
            assert bug.value.status == 500
            with pytest.raises(MediaError, match="too large"):
                await n.open("a", offer="large")
            with pytest.raises(MediaError) as unknown:
                await n.media.restart_leg("a", "")
            assert unknown.value.status == 404
            with pytest.raises(MediaError) as nobody:
                await n.media.stats("room")
            assert nobody.value.status == 404
            await n.media.close_leg("a")  # what does not exist is closed
            await n.media.close_room("room")
            await n.media.go_live("room")
            await n.open("a")
            with pytest.raises(MediaError) as twice:
                await n.open("a")
            assert twice.value.status == 409
            assert n.media.state()[0].legs == 1

    run(main)


def test_an_offer_too_large_for_the_socket_is_refused_and_the_worker_lives() -> None:
    async def main() -> None:
        async with node() as n:
            with pytest.raises(MediaError) as refusal:
                await n.open("a", offer="x" * (5 << 20))
            assert refusal.value.status == 413
            await n.open("a")

    run(main)


def test_events_reach_the_listener_once_and_a_legs_end_frees_its_place() -> None:
    async def main() -> None:
        async with node() as n:
            await n.open("a", "one", "connect")
            await n.open("b", "two", "lose")
            await n.open("c", "three", "twice")
            await n.told(4)
            await n.media.stats("one")  # what was sent before this answer has arrived
            assert sorted((event.leg, event.state) for event in n.events) == [
                ("a", "connected"),
                ("b", "connected"),
                ("b", "lost"),
                ("c", "lost"),
            ]
            assert n.media.state()[0].legs == 1

    run(main)


def test_a_closed_leg_is_not_heard_of_again() -> None:
    async def main() -> None:
        async with node() as n:
            await n.open("a", "one", "lose")
            await n.open("b", "two", "connect")
            await n.media.close_leg("a")
            await n.told(1)
            assert [event.leg for event in n.events] == ["b"]

    run(main)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_worker_costs_only_its_own_legs(how: signal.Signals) -> None:
    async def main() -> None:
        async with node(2) as n:
            victim = await n.open("a1", "a")
            other = await n.open("b1", "b")
            await n.open("a2", "a")
            loop = asyncio.get_running_loop()
            killed = loop.time()
            os.kill(victim, how)
            events = await n.told(2)
            assert loop.time() - killed < 1
            assert [(e.room, e.leg, e.state, e.reason) for e in events] == [
                ("a", "a1", "lost", "worker died"),
                ("a", "a2", "lost", "worker died"),
            ]
            assert await n.open("b2", "b") == other
            await n.until(lambda: n.up() == [True, True])
            assert await n.open("a1", "a") not in (victim, other)  # the replacement is the emptiest
            assert len(n.events) == 2
            assert [worker.deaths for worker in n.media.state()] == [1, 0]

    run(main)


def test_requests_under_way_fail_when_the_worker_dies_and_make_no_event() -> None:
    async def main() -> None:
        async with node() as n:
            pid = await n.open("a", "one")
            hanging = [asyncio.create_task(n.open(f"h{i}", "two", "hang")) for i in range(5)]
            await n.until(lambda: n.media.state()[0].pending == 5)
            os.kill(pid, signal.SIGKILL)
            for result in await asyncio.gather(*hanging, return_exceptions=True):
                assert isinstance(result, MediaError)
                assert (result.status, result.code) == (503, 2002)
            assert [event.leg for event in await n.told(1)] == ["a"]
            assert n.media.state()[0].legs == 0

    run(main)


def test_a_new_leg_waits_for_the_replacement() -> None:
    async def main() -> None:
        async with node() as n:
            pid = await n.open("a")
            os.kill(pid, signal.SIGKILL)
            await n.told(1)
            assert await n.open("b") != pid

    run(main)


def test_an_offer_that_ends_the_process_ends_only_itself() -> None:
    async def main() -> None:
        async with node() as n:
            with pytest.raises(MediaError) as died:
                await n.open("a", offer="exit")
            assert died.value.status == 503
            assert not n.events
            await n.open("b")

    run(main)


def test_a_stopped_worker_is_replaced_and_stays_dead() -> None:
    async def main() -> None:
        async with node(silent_s=1.5, check_s=0.1) as n:
            pid = await n.open("a", offer="connect")
            await n.told(1)
            os.kill(pid, signal.SIGSTOP)
            assert (await n.told(2))[1].state == "lost"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # too late: it was killed
            await n.until(lambda: n.up() == [True])
            assert not alive(pid)
            assert await n.open("a") != pid
            assert len(n.events) == 2

    run(main)


def test_a_worker_stopped_for_a_moment_goes_on() -> None:
    async def main() -> None:
        async with node(silent_s=5, check_s=0.1) as n:
            pid = await n.open("a")
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGCONT)
            assert await n.open("b") == pid
            assert not n.events

    run(main)


def test_a_node_that_slept_does_not_blame_its_workers() -> None:
    async def main() -> None:
        async with node(silent_s=1, check_s=0.1) as n:
            pid = await n.open("a")
            time.sleep(2.5)  # noqa: ASYNC251 - the node's own loop stands still
            await asyncio.sleep(0.5)
            assert n.pids() == [pid]
            assert not n.events

    run(main)


def test_a_request_without_a_reply_times_out_and_gives_its_place_back() -> None:
    async def main() -> None:
        async with node(request_s=0.3) as n:
            with pytest.raises(MediaError) as late:
                await n.open("a", offer="hang")
            assert late.value.status == 504
            assert n.media.state()[0].legs == 0
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(n.open("b", offer="hang"), 0.05)
            assert n.media.state()[0].legs == 0
            await n.open("a")

    run(main)


def test_a_worker_that_keeps_dying_is_given_more_time_each_time() -> None:
    async def main() -> None:
        async with node(kind="crashing", first_delay_s=0.05, last_delay_s=0.2) as n:
            await n.until(lambda: n.media.state()[0].deaths >= 4)
            assert not n.events


def test_a_port_in_use_is_a_clear_refusal_to_start() -> None:
    async def main() -> None:
        supervisor = Supervisor(CONFIG, 2, command=command("broken"))
        with pytest.raises(StartError, match=r"worker \d cannot start: .*address already in use"):
            await supervisor.start()
        assert [worker.pid for worker in supervisor.state()] == [None, None]

    run(main)


def test_a_program_that_is_no_worker_is_a_clear_refusal_to_start() -> None:
    async def main() -> None:
        for program, words in (
            ([sys.executable, "-c", "exit(9)"], "exit code 9"),
            (["/nonexistent"], "No such file"),
        ):
            supervisor = Supervisor(CONFIG, 1, command=program)
            with pytest.raises(StartError, match=words):
                await supervisor.start()

    run(main)


def test_a_worker_that_lingers_is_killed_in_the_end() -> None:
    async def main() -> None:
        async with node(stop_s=0.3) as n:
            await n.open("a", offer="linger")

    run(main)


@pytest.mark.parametrize("offer", ["echo", "linger", "block"])
def test_workers_end_when_their_node_is_killed(offer: str) -> None:
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(TINY.parent)!r})
from relay.config import Config
from relay.media.supervisor import Supervisor
async def main():
    supervisor = Supervisor(Config(secret="0" * 32, media_port=0), 2, command={command()!r})
    await supervisor.start()
    for room in ("a", "b"):
        await supervisor.open_leg(room, room, {offer!r}, live=False)
    print(*(worker.pid for worker in supervisor.state()), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        pids = [int(pid) for pid in (await process.stdout.readline()).split()]
        assert len(pids) == 2
        process.kill()
        await process.wait()
        async with asyncio.timeout(LIMIT_S):
            while any(running(pid) for pid in pids):
                await asyncio.sleep(0.02)

    run(main)


def running(pid: int) -> bool:
    """Neither gone nor a zombie that waits for an init which does not collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_many_deaths_leave_nothing_behind() -> None:
    async def main() -> None:
        async with node(first_delay_s=0, last_delay_s=0) as n:
            await n.open("a")
            before = len(os.listdir("/proc/self/fd"))
            for death in range(20):
                pid = await n.open(f"leg{death}", f"room{death}")
                os.kill(pid, signal.SIGKILL)
                await n.told(len(n.events) + 1)
                await n.until(lambda: n.up() == [True])
            assert len(os.listdir("/proc/self/fd")) == before
            assert n.media.state()[0].deaths == 20
            assert len(n.events) == 21  # `a` died with the first

    run(main)
