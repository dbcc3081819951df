"""`kill -9` of a worker under twenty calls: only its own calls end, the node says so, and new calls work at once."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

import pytest
import uvloop
from peers import client, close, traffic
from running import Node

CALLS = 20
LIMIT_S = 100.0


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> float:
    """Wait for a condition; returns the seconds it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began < limit_s, "it never happened"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.timeout(120)
def test_a_killed_worker_costs_only_its_own_calls(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "2")

    async def main() -> None:
        async with client(node.url) as peers:
            calls = await peers.calls(CALLS)
            ports = sorted({call.worker_port for call in calls})
            assert len(ports) == 2, "the calls share one worker"
            doomed = [call for call in calls if call.worker_port == ports[0]]
            safe = [call for call in calls if call.worker_port == ports[1]]
            assert len(doomed) == len(safe) == CALLS // 2
            assert {await peers.state(call) for call in calls} == {"TALKING"}

            on_doomed, on_safe = traffic(doomed), traffic(safe)
            before = await asyncio.gather(*(asyncio.to_thread(g.run, 1.0) for g in (on_doomed, on_safe)))
            for report in before:
                assert report.delivered == report.expected > 0
                assert report.bad_auth == report.corrupt == 0

            running = [asyncio.create_task(asyncio.to_thread(g.run, 4.0)) for g in (on_doomed, on_safe)]
            await asyncio.sleep(1.5)
            victim = next(pid for pid in node.children() if udp_port(pid, ports[0]))
            os.kill(victim, signal.SIGKILL)
            noticed_s = await until(lambda: node.metrics()['relay_calls_ended_total{reason="abort"}'] == CALLS // 2)
            lost, kept = await asyncio.gather(*running)

            assert noticed_s < 3, "the node was slow to end the dead worker's calls"
            assert lost.delivered < lost.expected
            assert kept.delivered == kept.expected, f"{kept.expected - kept.delivered} packets of others were lost"
            assert kept.duplicates == kept.bad_auth == kept.corrupt == 0
            assert {await peers.state(call) for call in safe} == {"TALKING"}
            assert {await peers.state(call) for call in doomed} <= {"ENDED", "SETTLED"}
            names = await peers.events(doomed[0])
            assert names.count("abortVoip") == names.count("endVoip") == names.count("finishVoip") == 1

            metrics = node.metrics()
            assert metrics["relay_calls"] == CALLS // 2
            assert metrics["relay_ready"] == 1
            assert (
                metrics['relay_worker_deaths_total{worker="0"}'] + metrics['relay_worker_deaths_total{worker="1"}'] == 1
            )
            await until(lambda: all(node.metrics()[f'relay_worker_up{{worker="{i}"}}'] == 1 for i in (0, 1)))
            assert victim not in node.children()
            assert len(node.children()) == 2

            fresh = await peers.calls(4)
            assert any(call.worker_port != ports[1] for call in fresh), "the replacement takes no calls"
            again = traffic(fresh)
            report = await asyncio.to_thread(again.run, 1.0)
            assert report.delivered == report.expected > 0
            close([*calls, *fresh])

    uvloop.run(asyncio.wait_for(main(), LIMIT_S))


def udp_port(pid: int, port: int) -> bool:
    """Does this process hold the UDP port?"""
    inodes = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(FileNotFoundError), open(table) as rows:
            for fields in (row.split() for row in list(rows)[1:]):
                if int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                return True
    return False
