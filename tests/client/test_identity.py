"""Who a device is: registration, the state file, and tokens that are renewed before and after they end."""

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from relay.client import Device, Media, Refused, StateError

from .peer import SmallRelay, until

SMALL = Media(width=320, height=240, fps=15)


def made(relay: SmallRelay, **options: Any) -> Device:
    return Device("SN-1", relay.url, **({"media": SMALL, "answer": "manual"} | options))


def tokens_asked(relay: SmallRelay) -> int:
    return sum(path == "/v1/devices/SN-1/token" for _, path, _, _ in relay.requests)


def test_a_ticket_becomes_a_secret_that_outlives_the_program(tmp_path: Path) -> None:
    async def main() -> None:
        state = tmp_path / "SN-1.json"
        async with SmallRelay() as relay:
            first = made(relay, state=state)
            assert not first.registered
            assert await first.register("MODEL-1", "ticket-1") == "secret-of-SN-1"
            assert first.registered
            async with first:
                assert tokens_asked(relay) == 0, "registering gave a token already"
            assert stat.S_IMODE(state.stat().st_mode) == 0o600
            kept = json.loads(state.read_text())
            assert kept == {"sn": "SN-1", "modelId": "MODEL-1", "deviceSecret": "secret-of-SN-1"}
            assert os.listdir(tmp_path) == ["SN-1.json"]

            second = made(relay, state=state)
            assert second.registered
            async with second:
                assert tokens_asked(relay) == 1
                body = next(body for _, path, body, _ in relay.requests if path.endswith("/register"))
                assert body == {"modelId": "MODEL-1", "snTicket": "ticket-1"}

    asyncio.run(main())


def test_a_used_ticket_is_refused_with_what_to_do() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            device = made(relay)
            await device.register("MODEL-1", "ticket-1")
            with pytest.raises(Refused) as caught:
                await device.register("MODEL-1", "ticket-1")
            assert caught.value.code == 9800011
            assert "POST /v1/tickets" in caught.value.advice
            await device.close()

    asyncio.run(main())


def test_a_state_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            state = tmp_path / "state.json"
            state.write_text('{"sn":"SN-2","modelId":"M","deviceSecret":"s"}')
            with pytest.raises(StateError, match="belongs to the device SN-2"):
                made(relay, state=state).registered  # noqa: B018
            for text in ("", "[]", "{}", '{"sn":"SN-1"}', "\x80"):
                state.write_text(text, encoding="latin-1")
                with pytest.raises(StateError, match="move it away"):
                    await made(relay, state=state).start()
            with pytest.raises(StateError, match="cannot read"):
                made(relay, state=tmp_path).registered  # noqa: B018
            with pytest.raises(StateError, match="cannot write"):
                await made(relay, state=tmp_path / "absent" / "state.json").register("M", "ticket-1")

    asyncio.run(main())


def test_a_state_file_that_cannot_be_written_is_found_out_before_the_ticket_is_used(tmp_path: Path) -> None:
    async def main() -> None:
        kept = tmp_path / "SN-1.json"
        async with SmallRelay() as relay:
            for state in (tmp_path / "absent" / "SN-1.json", tmp_path):
                with pytest.raises(StateError, match=r"cannot write the state file .* The ticket was not used"):
                    await made(relay, state=state).register("MODEL-1", "ticket-1")
            assert relay.requests == []
            await made(relay, state=kept).register("MODEL-1", "ticket-1")
            assert os.listdir(tmp_path) == ["SN-1.json"]

    asyncio.run(main())


def test_a_way_to_answer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match='"auto" or "manual", not \'maybe\''):
        Device("SN-1", "http://127.0.0.1:1", answer="maybe")  # type: ignore[arg-type]


def test_a_state_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            state = tmp_path / "state.json"
            state.write_text('{"sn":"SN-1","modelId":"M","deviceSecret":"s"}')
            state.chmod(0o644)
            assert made(relay, state=state).registered
            assert stat.S_IMODE(state.stat().st_mode) == 0o600

    asyncio.run(main())


def test_a_wrong_secret_is_told_at_the_start() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            with pytest.raises(Refused, match="secret is wrong") as caught:
                async with made(relay, secret="guessed"):
                    pass
            assert "register the device" in caught.value.advice

    asyncio.run(main())


@pytest.mark.parametrize("ahead_s", [0.0, 900_000_000.0], ids=["clocks agree", "the device has no clock"])
def test_a_token_is_renewed_before_it_ends_by_the_relay_s_clock(ahead_s: float) -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.secrets["SN-1"] = "s"
            relay.token_life_s, relay.clock_ahead_s = 3.0, ahead_s
            async with made(relay, secret="s") as device:
                await until(lambda: tokens_asked(relay) >= 2, "renewed by itself")
                assert relay.connections == 1, "the event connection goes on meanwhile"
                await device.push_token()
                assert relay.actions[-1] == "push-token", "not refused, and so not repeated"

    asyncio.run(main())


def test_a_token_that_ended_is_renewed_for_requests_and_for_the_event_connection() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.secrets["SN-1"] = "s"
            async with made(relay, secret="s") as device:
                await relay.expire()
                relay.ring()
                await until(lambda: device.phase == "ringing", "rung over the new connection")
                assert relay.connections == 2
                assert tokens_asked(relay) == 2
                relay.tokens = {"nothing-holds"}
                await device.answer()
                assert device.phase == "joining"
                assert tokens_asked(relay) == 3
                assert relay.actions.count("answer") == 2, "once refused, once with the new token"

    asyncio.run(main())


def test_many_requests_with_an_old_token_ask_for_one_new_token() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.secrets["SN-1"] = "s"
            async with made(relay, secret="s") as device:
                relay.tokens = {"nothing-holds"}
                await asyncio.gather(*(device.push_token() for _ in range(8)))
                assert tokens_asked(relay) == 2

    asyncio.run(main())


def test_a_given_token_without_a_secret_cannot_be_renewed() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, made(relay, token="demo-1") as device:
            relay.tokens = {"nothing-holds"}
            with pytest.raises(Refused, match="no secret to get another"):
                await device.push_token()

    asyncio.run(main())


def test_outside_of_demo_mode_an_identity_is_asked_for_in_words() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.refuse["/demo/token"] = (404, {})
            with pytest.raises(Refused, match="not in demo mode"):
                await made(relay).start()

    asyncio.run(main())
