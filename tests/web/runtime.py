"""Scenarios for the SDK outside a browser: `runtime.mjs` plays one, in a mini program's runtime or in Node."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from .scripted_node import ScriptedNode

RUNNER = Path(__file__).with_name("runtime.mjs")


class Runtime:
    """A process that plays one scenario."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def outcome(self) -> Any:
        """{'result': …} or {'error': …}."""
        output, errors = await asyncio.wait_for(self._process.communicate(), 30)
        assert output, errors.decode()
        return json.loads(output)

    async def result(self) -> Any:
        outcome = await self.outcome()
        assert "error" not in outcome, outcome
        return outcome["result"]


async def play(kind: str, node: ScriptedNode, scenario: str, *, sockets: bool = True) -> Runtime:
    executable = shutil.which("node")
    assert executable, "these tests need Node 20 or later; on Debian: apt-get install nodejs"
    flags = ["--no-warnings", "--experimental-vm-modules", *(["--experimental-websocket"] if sockets else [])]
    process = await asyncio.create_subprocess_exec(
        executable,
        *flags,
        str(RUNNER),
        kind,
        node.url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(scenario.encode())
    process.stdin.close()
    return Runtime(process)
