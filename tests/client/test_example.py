"""The example of the package's docstring does what it says, as it stands there."""

import asyncio
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest

import relay.client

from .peer import SmallRelay, running, until


def example() -> str:
    """The indented block of the docstring."""
    lines = inspect.getdoc(relay.client).splitlines()  # type: ignore[union-attr]
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))


def test_the_example_has_about_ten_lines() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 12


def test_the_example_registers_answers_and_tells_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example(), "the docstring of relay.client", "exec"), names)

    async def main() -> None:
        async with SmallRelay() as small:
            for times in (1, 2):  # the second time with the secret of the first
                async with running(names["main"](small.url, "ticket-1")) as program:
                    await until(lambda n=times: small.connections == n or program.done())
                    small.ring()
                    await until(lambda n=times: len(small.peers) == n and small.peers[-1].frames["video"])
                    small.tell("startVoip")
                    small.end("hangUpVoip", origin="other", keep_s=1)
                    await until(lambda n=times: capsys_lines(n))
            assert small.actions.count("register") == 1

    shown: list[str] = []

    def capsys_lines(count: int) -> bool:
        shown.extend(capsys.readouterr().out.splitlines())
        return len(shown) == count

    asyncio.run(main())
    assert shown == ["Alice the other side hung up"] * 2
