"""`relay device` as a process: its words, its keys, its exit statuses."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from .peer import SmallRelay, until

PROGRAM = (
    "import argparse, sys\n"
    "from relay.client.command import add_parser\n"
    "parser = argparse.ArgumentParser(prog='relay')\n"
    "add_parser(parser.add_subparsers(required=True))\n"
    "args = parser.parse_args()\n"
    "sys.exit(args.run(args))\n"
)


async def start(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, "device", "--sn", "SN-1", *options,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def scripted(relay: SmallRelay, **steps: Any) -> None:
    """After a request to `action`, run steps[action]."""
    relay.on_request = lambda method, action: steps[action]() if action in steps else None


def test_help_explains_the_statuses_and_gives_examples() -> None:
    async def main() -> None:
        status, out, _ = await finish(await start("--help"))
        assert status == 0
        for text in ("examples:", "--call alice", "exit status:", "5  media", "Ctrl-C hangs up"):
            assert text in out

    asyncio.run(main())


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    async def main() -> None:
        for options in (
            ["--media", str(tmp_path / "absent.mp4")],
            ["--save", str(tmp_path / "out.txt")],
            ["--video-codec", "MPEG2"],
            ["--duration", "-1"],
            ["--url", "ftp://x"],
            ["--voice"],
        ):
            status, _, err = await finish(await start(*options))
            assert (status, bool(err)) == (2, True), options

    asyncio.run(main())


def test_no_relay_is_status_3_in_words() -> None:
    async def main() -> None:
        status, _, err = await finish(await start("--url", "http://127.0.0.1:1"))
        assert status == 3
        assert "cannot reach a relay at http://127.0.0.1:1" in err

    asyncio.run(main())


def test_a_timed_call_is_hung_up_and_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        saved = tmp_path / "got.mkv"
        async with SmallRelay() as relay:
            scripted(
                relay,
                legs=lambda: relay.tell("startVoip"),
                hangup=lambda: relay.end("hangUpVoip", origin="manual", keep_s=2),
            )
            process = await start("--url", relay.url, "--call", "bob", "--duration", "2", "--save", str(saved))
            status, out, err = await finish(process)
            assert (status, err) == (0, "")
            assert "talking with bob" in out
            assert "this device hung up; talked 2 s (status 0" in out
            assert saved.stat().st_size > 10_000

    asyncio.run(main())


def test_a_rejected_call_is_status_4() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            scripted(relay, legs=lambda: relay.end("rejectVoip", status="other"))
            status, out, _ = await finish(await start("--url", relay.url, "--call", "bob"))
            assert status == 4
            assert "the other side rejected the call" in out

    asyncio.run(main())


def test_ctrl_c_in_a_talk_hangs_up_and_is_a_normal_end() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            scripted(
                relay,
                legs=lambda: relay.tell("startVoip"),
                hangup=lambda: relay.end("hangUpVoip", origin="manual", keep_s=1),
            )
            process = await start("--url", relay.url, "--once")
            await until(lambda: relay.connections)
            relay.ring()
            await until(lambda: relay.peers and relay.peers[0].frames["video"])
            process.send_signal(signal.SIGINT)
            status, out, err = await finish(process)
            assert (status, err) == (0, "")
            assert out.count("ended: this device hung up") == 1
            assert "hangup" in relay.actions

    asyncio.run(main())


def test_keys_answer_and_hang_up() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            scripted(
                relay,
                legs=lambda: relay.tell("startVoip"),
                hangup=lambda: relay.end("hangUpVoip", origin="manual"),
            )
            process = await start("--url", relay.url, "--answer", "manual", "--once")
            await until(lambda: relay.connections)
            relay.ring(room_type="voice")
            assert process.stdin is not None
            assert process.stdout is not None
            while b"ringing: voice call from Alice" not in await process.stdout.readline():
                pass
            process.stdin.write(b"a")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"])
            process.stdin.write(b"h")
            status, out, _ = await finish(process)
            assert status == 0
            assert "this device hung up" in out

    asyncio.run(main())


def test_q_leaves_an_idle_device_with_status_0() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            process = await start("--url", relay.url, "--answer", "manual")
            await until(lambda: relay.connections)
            assert process.stdin is not None
            process.stdin.write(b"q")
            status, out, err = await finish(process)
            assert (status, err) == (0, "")
            assert "is online at" in out

    asyncio.run(main())
