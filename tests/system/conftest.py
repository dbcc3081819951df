"""`start_node`: real nodes, stopped after each test."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from running import STOP_S, Node


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """`start_node("--workers", "2")` starts a node; all are stopped and must have stayed free of tracebacks."""
    nodes: list[Node] = []

    def start(*arguments: str) -> Node:
        node = Node(list(arguments), tmp_path / f"node{len(nodes)}.log")
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.process.wait(0.5)  # a second signal that comes before the first was taken is no second one
        node.process.send_signal(signal.SIGTERM)
        try:
            node.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
            pytest.fail(f"the node did not stop: {node.log()}")
        assert "Traceback" not in node.log(), node.log()
