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
        for text in (
            "examples:",
            "--call alice",
            "exit status:",
            "5  media",
            "Ctrl-C hangs up",
            "SIGUSR1",
            "--register",
        ):
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
            ["--time-limit", "30"],
            ["--call", "ann", "--ring-timeout", "4"],
            ["--register", "ticket-1"],
            ["--register", "ticket-1", "--model-id", "M", "--secret", "s"],
            ["--secret", "s", "--token", "t"],
            ["--secret-file", str(tmp_path / "absent")],
            ["--state", str(tmp_path)],
        ):
            status, _, err = await finish(await start(*options))
            assert (status, bool(err)) == (2, True), options

    asyncio.run(main())


def test_a_state_file_that_is_missing_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        absent = str(tmp_path / "absent.json")
        status, _, err = await finish(await start("--state", absent))
        assert status == 2
        assert f"there is no state file {absent}" in err
        assert "--register" in err

    asyncio.run(main())


def test_a_state_file_that_cannot_be_written_does_not_cost_the_ticket(tmp_path: Path) -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            state = str(tmp_path / "absent" / "SN-1.json")
            options = ("--register", "ticket-1", "--model-id", "MODEL-1", "--state", state)
            status, _, err = await finish(await start("--url", relay.url, *options))
            assert status == 2
            assert f"cannot write the state file {state}" in err
            assert relay.requests == []

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
            assert "this device hung up; talked 2 s\n" in out
            assert "status 0" not in out
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


def test_a_ticket_is_traded_for_a_secret_and_the_next_start_finds_it(tmp_path: Path) -> None:
    async def main() -> None:
        state = tmp_path / "SN-1.json"
        async with SmallRelay() as relay:
            relay.refuse["/demo/token"] = (404, {})
            register = ("--url", relay.url, "--register", "ticket-1", "--model-id", "MODEL-1")
            status, out, err = await finish(await start(*register, "--state", str(state)))
            assert (status, err) == (0, "")
            assert f"its secret is in {state}" in out
            assert "secret-of-SN-1" not in out
            errands = ("--contacts", "alice,bob", "--push-token")
            status, out, err = await finish(await start("--url", relay.url, "--state", str(state), *errands))
            assert (status, err) == (0, "")
            assert "push token: push-1" in out
            assert "alice: may be called" in out
            assert "bob: has not agreed" in out
            assert relay.requests[-1][2]["model_id"] == "MODEL-1"
            assert relay.connections == 0

            status, _, err = await finish(await start(*register))
            assert status == 3
            assert "sn_ticket is invalid" in err
            assert "what to do: a ticket works once" in err

    asyncio.run(main())


def test_a_secret_is_printed_without_a_state_file_and_read_from_a_file_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "secret"
        async with SmallRelay() as relay:
            relay.refuse["/demo/token"] = (404, {})
            options = ("--url", relay.url, "--register", "ticket-1", "--model-id", "MODEL-1")
            _, out, _ = await finish(await start(*options))
            assert "secret: secret-of-SN-1" in out
            file.write_text("secret-of-SN-1\n")
            status, out, _ = await finish(await start("--url", relay.url, "--secret-file", str(file), "--push-token"))
            assert (status, "push-1" in out) == (0, True)
            status, _, err = await finish(await start("--url", relay.url, "--push-token"))
            assert status == 3
            assert "needs a secret or a token" in err

    asyncio.run(main())


def test_several_listeners_and_the_limits_of_a_call_reach_the_relay() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            scripted(relay, legs=lambda: relay.end("timeout"))
            options = (
                "--call",
                "ann",
                "--call",
                "bob",
                "--strategy",
                "simultaneous",
                "--camera-off",
                "--query",
                "door=2",
            )
            limits = ("--ring-timeout", "20", "--time-limit", "90")
            status, out, _ = await finish(await start("--url", relay.url, *options, *limits))
            assert status == 4
            assert "calling ann, bob" in out
            body = next(body for _, path, body, _ in relay.requests if path == "/v1/calls")
            assert [listener["id"] for listener in body["listeners"]] == ["ann", "bob"]
            assert (body["strategy"], body["ringTimeout"], body["timeLimit"]) == ("simultaneous", 20, 90)
            assert (body["customQuery"], body["caller"]["cameraStatus"]) == ("door=2", 1)

    asyncio.run(main())


def test_a_refused_call_says_what_to_do() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.refuse["calls"] = (403, {"errCode": 9, "errMsg": "the user has not authorised this device"})
            status, _, err = await finish(await start("--url", relay.url, "--call", "bob"))
            assert status == 3
            assert "what to do: this user has to agree first" in err

    asyncio.run(main())


def test_the_handset_s_signals_answer_and_hang_up() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            scripted(
                relay,
                legs=lambda: relay.tell("startVoip"),
                hangup=lambda: relay.end("hangUpVoip", origin="manual"),
            )
            process = await start("--url", relay.url, "--answer", "manual", "--once")
            await until(lambda: relay.connections)
            relay.ring(room_type="voice", callerCameraStatus=1, query="door=2")
            assert process.stdout is not None
            while b"ringing: voice call from Alice, query door=2" not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGUSR2)
            await until(lambda: relay.peers and relay.peers[0].frames["audio"])
            process.send_signal(signal.SIGUSR1)
            status, out, err = await finish(process)
            assert (status, err) == (0, "")
            assert "this device hung up" in out

    asyncio.run(main())


def test_a_message_of_the_application_is_shown() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            process = await start("--url", relay.url, "--answer", "manual")
            await until(lambda: relay.connections)
            relay.tell("appMessage", room="", message="update at night")
            assert process.stdout is not None
            while b"message: update at night" not in await process.stdout.readline():
                pass
            assert process.stdin is not None
            process.stdin.write(b"q")
            assert (await finish(process))[0] == 0

    asyncio.run(main())
