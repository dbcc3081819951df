"""Signalling: requests, refusals, and an event stream that outlives its connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.client.signalling import Event, Refused, Signalling, Unreachable, base_url, demo_token

from .peer import SmallRelay, running, until

QUICK: dict[str, Any] = {"heartbeat_s": 0.05, "silence_s": 5.0, "backoff_s": (0.01, 0.1)}


@contextlib.asynccontextmanager
async def listening(relay: SmallRelay, **options: Any) -> AsyncIterator[tuple[Signalling, list[Event]]]:
    seen: list[Event] = []
    async with (
        Signalling(relay.url, "demo-1", **(QUICK | options)) as signalling,
        running(signalling.listen(seen.append)),
    ):
        await until(signalling.online.is_set, "online")
        yield signalling, seen


def test_a_cut_connection_is_resumed_where_it_broke() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (signalling, seen):
            relay.tell("one")
            relay.tell("two")
            await until(lambda: len(seen) == 2)
            await relay.cut()
            relay.tell("three")
            relay.tell("four")
            await until(lambda: len(seen) == 4)
            assert [event.eventName for event in seen] == ["one", "two", "three", "four"]
            assert relay.asked_after == [0, 2]
            assert signalling.resumed == 1

    asyncio.run(main())


def test_many_cuts_lose_and_repeat_nothing() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (_, seen):
            for i in range(40):
                relay.tell(f"event-{i}")
                if i % 8 == 7:
                    await relay.cut()
            await until(lambda: len(seen) >= 40)
            assert [event.eventName for event in seen] == [f"event-{i}" for i in range(40)]

    asyncio.run(main())


def test_heartbeats_are_sent_and_a_silent_relay_is_left() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            async with listening(relay):
                await until(lambda: relay.heartbeats >= 3)
                assert relay.connections == 1
            relay.connections = 0
            async with listening(relay, heartbeat_s=60.0, silence_s=0.2) as (signalling, _):
                await until(lambda: signalling.resumed >= 2)

    asyncio.run(main())


def test_a_restarted_relay_that_counts_anew_is_believed() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (_, seen):
            for _ in range(5):
                relay.tell("before")
            await until(lambda: len(seen) == 5)
            await relay.cut()
            await until(lambda: relay.connections == 2)
            relay.tell_text('{"seq": 1, "timestamp": 99000, "eventName": "after", "roomId": "r"}')
            await until(lambda: len(seen) == 6)
            assert seen[-1].eventName == "after"

    asyncio.run(main())


def test_frames_that_are_no_events_are_passed_over() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (_, seen):
            for text in ("", "null", "[]", '{"eventName": 7}', '{"type":"heartbeat"}', "\ud7ff", '{"eventName":"x"'):
                relay.tell_text(text)
            relay.tell("good")
            await until(lambda: seen)
            assert [event.eventName for event in seen] == ["good"]

    asyncio.run(main())


def test_nothing_listening_is_told_as_such_at_once() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            url = relay.url
        async with Signalling(url, "t", **QUICK) as signalling:
            with pytest.raises(Unreachable, match="cannot reach a relay at"):
                await signalling.listen(lambda event: None)
            with pytest.raises(Unreachable):
                await signalling.answer("room-1")
        with pytest.raises(Unreachable):
            await demo_token(url, kind="device", id="SN-1")

    asyncio.run(main())


def test_a_relay_that_stays_away_is_given_up_after_the_patience_allowed() -> None:
    async def main() -> None:
        async with Signalling("http://127.0.0.1:1", "demo-1", **QUICK, patience_s=0.2) as signalling:
            async with SmallRelay() as relay:
                signalling.base = base_url(relay.url)
                task = asyncio.ensure_future(signalling.listen(lambda event: None))
                await until(signalling.online.is_set)
            with pytest.raises(Unreachable):
                await task

    asyncio.run(main())


def test_a_refusal_carries_the_plugin_s_code() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, Signalling(relay.url, "demo-1") as signalling:
            relay.refuse["calls"] = (403, {"errCode": 9, "errMsg": "not authorised by the user"})
            with pytest.raises(Refused, match="not authorised") as caught:
                await signalling.create_call(caller="SN-1", listener="alice", room_type="video")
            assert (caught.value.status, caught.value.code) == (403, 9)
            relay.refuse["calls"] = (200, {"isSuccess": False, "roomId": "", "credential": "", "errCode": 5})
            with pytest.raises(Refused) as caught:
                await signalling.create_call(caller="SN-1", listener="alice", room_type="video")
            assert caught.value.code == 5
            relay.refuse["answer"] = (200, {"strange": 1})
            with pytest.raises(Refused, match="not understood"):
                await signalling.answer("room-1")

    asyncio.run(main())


def test_a_refused_token_is_renewed_once() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            renewed: list[str] = []

            async def renew() -> str:
                renewed.append(await demo_token(relay.url, kind="device", id="SN-1"))
                return renewed[-1]

            async with Signalling(relay.url, "stale", renew=renew, **QUICK) as signalling:
                async with running(signalling.listen(lambda event: None)):
                    await until(signalling.online.is_set)
                assert len(renewed) == 1
            async with Signalling(relay.url, "stale", **QUICK) as signalling:
                with pytest.raises(Refused):
                    await signalling.listen(lambda event: None)

    asyncio.run(main())


def test_without_demo_mode_a_token_is_asked_for_in_words() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            relay.refuse["token"] = (404, {})
            with pytest.raises(Refused, match="not in demo mode"):
                await demo_token(relay.url, kind="device", id="SN-1")

    asyncio.run(main())


def test_addresses() -> None:
    assert str(base_url("127.0.0.1:8080") / "v1") == "http://127.0.0.1:8080/v1"
    assert str(base_url("https://relay.example/prefix/") / "v1" / "calls") == "https://relay.example/prefix/v1/calls"
    for text in ("ftp://x", "http://", ""):
        with pytest.raises(ValueError, match="not an http"):
            base_url(text)
