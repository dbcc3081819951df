"""Ending a node: drain, hurry, and being killed."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from peers import client, close, traffic
from running import Node


def run(main: Callable[[], Any]) -> None:
    uvloop.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_an_empty_node_ends_at_once(start_node: Callable[..., Node], workers: str) -> None:
    node = start_node("--workers", workers)
    assert node.get("/healthz")[0] == node.get("/readyz")[0] == 200
    children = node.children()
    assert len(children) == int(workers)
    began = time.monotonic()
    assert node.end() == 0
    assert time.monotonic() - began < 5
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_drain_takes_no_new_calls_and_ends_with_the_last_one(start_node: Callable[..., Node], workers: str) -> None:
    node = start_node("--workers", workers)

    async def main() -> None:
        async with client(node.url) as peers:
            [call] = await peers.calls(1)
            media = traffic([call])
            node.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                while (await asyncio.to_thread(node.get, "/readyz"))[0] == 200:
                    await asyncio.sleep(0.02)
            assert node.get("/healthz")[0] == 200
            assert node.metrics()["relay_draining"] == 1
            with pytest.raises(Exception, match="503"):
                await peers.calls(1)
            report = await asyncio.to_thread(media.run, 1.0)
            assert report.delivered == report.expected > 0
            assert await peers.state(call) == "TALKING"
            await peers.hang_up(call)
            assert await asyncio.to_thread(node.process.wait, 10) == 0
            close([call])

    run(main)


def test_a_drain_has_a_limit(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1", "--drain", "0.5")

    async def main() -> None:
        async with client(node.url) as peers:
            calls = await peers.calls(1)
            assert await asyncio.to_thread(node.end) == 0
            close(calls)
        assert "limit" in node.log()

    run(main)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_calls_and_tells_the_parties(
    start_node: Callable[..., Node], number: signal.Signals
) -> None:
    node = start_node("--workers", "2")

    async def main() -> None:
        async with client(node.url) as peers:
            calls = await peers.calls(4)
            told = [asyncio.create_task(peers.events(call)) for call in calls]
            await asyncio.sleep(0.3)  # the event sockets connect
            node.process.send_signal(number)
            await asyncio.sleep(0.3)
            assert node.process.poll() is None
            began = time.monotonic()
            node.process.send_signal(number)
            assert await asyncio.to_thread(node.process.wait, 10) == 0
            assert time.monotonic() - began < 4  # two seconds are promised; this machine is shared
            for names in await asyncio.gather(*told):
                assert names.count("endVoip") == names.count("finishVoip") == 1
            close(calls)

    run(main)


def test_workers_do_not_outlive_a_killed_node(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "2")
    children = node.children()
    assert node.end(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(lives(pid) for pid in children):
        assert time.monotonic() < deadline, "an orphan holds its port"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Neither gone nor a zombie that nobody collects."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stopped_node_keeps_media_flowing(start_node: Callable[..., Node]) -> None:
    """The control plane may hang; packets do not pass through it. Its workers are not blamed afterwards."""
    node = start_node("--workers", "1")

    async def main() -> None:
        async with client(node.url) as peers:
            calls = await peers.calls(2)
            media = traffic(calls)
            children = node.children()
            node.process.send_signal(signal.SIGSTOP)
            try:
                report = await asyncio.to_thread(media.run, 2.0)
            finally:
                node.process.send_signal(signal.SIGCONT)
            assert report.delivered == report.expected > 0
            async with asyncio.timeout(20):
                while await asyncio.to_thread(lambda: node.get("/readyz")[0]) != 200:
                    await asyncio.sleep(0.1)
            assert node.children() == children
            assert node.metrics()["relay_calls"] == 2
            for call in calls:
                await peers.hang_up(call)
            close(calls)

    run(main)
