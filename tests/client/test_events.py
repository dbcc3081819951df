"""The event stream: it outlives its connections and its tokens, and loses and repeats nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.client import Event, EventStream, Http, Refused, Unreachable
from relay.client.http import base_url

from .peer import SmallRelay, running, until

QUICK: dict[str, Any] = {"heartbeat_s": 0.05, "silence_s": 5.0, "backoff_s": (0.01, 0.1)}


@contextlib.asynccontextmanager
async def connection(url: str, token: str = "demo-1", renew: Any = None) -> AsyncIterator[Http]:
    http = Http(url, token, renew)
    try:
        yield http
    finally:
        await http.close()


@contextlib.asynccontextmanager
async def listening(
    relay: SmallRelay, renew: Any = None, on_gap: Any = None, **options: Any
) -> AsyncIterator[tuple[EventStream, list[Event]]]:
    seen: list[Event] = []
    async with connection(relay.url, renew=renew) as http:
        stream = EventStream(http, **(QUICK | options))
        async with running(stream.listen(seen.append, on_gap=on_gap)):
            await until(stream.online.is_set, "online")
            yield stream, seen


def test_a_cut_connection_is_resumed_where_it_broke() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (stream, seen):
            relay.tell("one")
            relay.tell("two")
            await until(lambda: len(seen) == 2)
            await relay.cut()
            relay.tell("three")
            relay.tell("four")
            await until(lambda: len(seen) == 4)
            assert [event.eventName for event in seen] == ["one", "two", "three", "four"]
            assert relay.asked_after == [0, 2]
            assert stream.resumed == 1

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
            async with listening(relay, heartbeat_s=60.0, silence_s=0.2) as (stream, _):
                await until(lambda: stream.resumed >= 2)

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


def test_events_that_were_forgotten_are_told_as_a_gap_and_the_rest_comes() -> None:
    async def main() -> None:
        gaps: list[int] = []
        async with SmallRelay() as relay, listening(relay, on_gap=lambda: gaps.append(1)) as (_, seen):
            relay.tell("one")
            await until(lambda: seen)
            async with relay.away():
                relay.tell("lost")
                relay.tell("kept")
                relay.forgotten = 3
            await until(lambda: len(seen) == 2)
            relay.tell("live")
            await until(lambda: len(seen) == 3)
            assert [event.eventName for event in seen] == ["one", "kept", "live"]
            assert gaps == [1]

    asyncio.run(main())


def test_a_socket_that_ends_with_its_token_comes_back_with_a_new_one_and_loses_nothing() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            made: list[str] = []

            async def renew() -> str:
                made.append(relay.new_token())
                return made[-1]

            async with listening(relay, renew=renew) as (stream, seen):
                for round_ in (1, 2):
                    relay.tell(f"before-{round_}")
                    await until(lambda r=round_: len(seen) == 2 * r - 1)
                    await relay.expire()
                    relay.tell(f"after-{round_}")
                    await until(lambda r=round_: len(seen) == 2 * r)
                assert [event.eventName for event in seen] == ["before-1", "after-1", "before-2", "after-2"]
                assert len(made) == 2
                assert stream.resumed == 2

    asyncio.run(main())


def test_a_refused_token_is_renewed_once_and_without_a_way_to_is_told() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            made: list[str] = []

            async def renew() -> str:
                made.append(relay.new_token())
                return made[-1]

            async with connection(relay.url, "stale", renew) as http:
                stream = EventStream(http, **QUICK)
                async with running(stream.listen(lambda event: None)):
                    await until(stream.online.is_set)
                assert len(made) == 1
            async with connection(relay.url, "stale") as http:
                with pytest.raises(Refused) as caught:
                    await EventStream(http, **QUICK).listen(lambda event: None)
                assert "register" in caught.value.advice

    asyncio.run(main())


def test_a_relay_without_room_is_waited_for_once_it_has_been_heard() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, listening(relay) as (stream, seen):
            async with relay.away():
                await until(lambda: relay.refused["events"] >= 3)
                assert not stream.online.is_set()
                relay.tell("back")
            await until(lambda: seen)

    asyncio.run(main())


def test_nothing_listening_is_told_as_such_at_once() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            url = relay.url
        async with connection(url) as http:
            with pytest.raises(Unreachable, match="cannot reach a relay at"):
                await EventStream(http, **QUICK).listen(lambda event: None)

    asyncio.run(main())


def test_a_relay_that_stays_away_is_given_up_after_the_patience_allowed() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            http = Http(relay.url, "demo-1")
            stream = EventStream(http, **QUICK, patience_s=0.2)
            task = asyncio.ensure_future(stream.listen(lambda event: None))
            await until(stream.online.is_set)
        with pytest.raises(Unreachable):
            await task
        await http.close()

    asyncio.run(main())


def test_addresses() -> None:
    assert str(base_url("127.0.0.1:8080") / "v1") == "http://127.0.0.1:8080/v1"
    assert str(base_url("https://relay.example/prefix/") / "v1" / "calls") == "https://relay.example/prefix/v1/calls"
    for text in ("ftp://x", "http://", ""):
        with pytest.raises(ValueError, match="not an http"):
            base_url(text)
