"""Requests about calls: what is sent, and what a refusal says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.client import Http, Listener, Refused, Signalling, Unreachable

from .peer import SmallRelay

ALICE = [Listener("alice")]


@contextlib.asynccontextmanager
async def signalling(url: str, token: str = "demo-1") -> AsyncIterator[Signalling]:
    http = Http(url, token)
    try:
        yield Signalling(http)
    finally:
        await http.close()


async def created(relay: SmallRelay, **options: Any) -> dict[str, Any]:
    """The body that one create sends."""
    async with signalling(relay.url) as asked:
        await asked.create_call(caller="SN-1", room_type="video", **options)
    body = relay.requests[-1][2]
    assert isinstance(body, dict)
    return body


def test_a_call_of_one_user_has_the_plugin_s_names() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            body = await created(relay, listeners=ALICE, caller_name="Door")
            assert body == {
                "direction": "device_to_user",
                "businessType": 1,
                "roomType": "video",
                "caller": {"id": "SN-1", "name": "Door", "cameraStatus": 0},
                "listener": {"id": "alice", "cameraStatus": 0},
            }
            body = await created(
                relay,
                listeners=[Listener("alice", name="Alice", camera=False)],
                camera=False,
                ring_timeout_s=20,
                time_limit_s=90.0,
                query={"door": "2", "why": "a&b"},
                miniprogram_state="trial",
            )
            assert body["caller"]["cameraStatus"] == 1
            assert body["listener"] == {"id": "alice", "name": "Alice", "cameraStatus": 1}
            assert (body["ringTimeout"], body["timeLimit"]) == (20, 90)
            assert body["customQuery"] == "door=2&why=a%26b"
            assert body["miniprogramState"] == "trial"

    asyncio.run(main())


def test_a_call_of_several_users_has_a_list_and_a_strategy() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            several = [Listener("ann", ring_timeout_s=15), Listener("bob")]
            body = await created(relay, listeners=several, ring_timeout_s=40)
            assert "listener" not in body
            assert body["listeners"] == [
                {"id": "ann", "cameraStatus": 0, "ringTimeout": 15},
                {"id": "bob", "cameraStatus": 0},
            ]
            assert (body["strategy"], body["ringTimeout"]) == ("sequential", 40)
            assert (await created(relay, listeners=several, strategy="simultaneous"))["strategy"] == "simultaneous"

    asyncio.run(main())


def test_a_lost_answer_to_create_is_asked_for_again_with_the_same_key() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, signalling(relay.url) as asked:
            relay.drop_answers = 1
            assert (await asked.create_call(caller="SN-1", listeners=ALICE, room_type="voice")).roomId == "room-1"
            assert len(relay.keys) == 2
            assert len(set(relay.keys)) == 1

    asyncio.run(main())


def test_a_refusal_carries_the_plugin_s_code_and_says_what_to_do() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, signalling(relay.url) as asked:
            relay.refuse["calls"] = (403, {"errCode": 9, "errMsg": "not authorised by the user"})
            with pytest.raises(Refused, match="not authorised") as caught:
                await asked.create_call(caller="SN-1", listeners=ALICE, room_type="video")
            assert (caught.value.status, caught.value.code) == (403, 9)
            assert "requestDeviceVoIP" in caught.value.advice
            relay.refuse["calls"] = (200, {"isSuccess": False, "roomId": "", "credential": "", "errCode": 5})
            with pytest.raises(Refused) as caught:
                await asked.create_call(caller="SN-1", listeners=ALICE, room_type="video")
            assert caught.value.code == 5
            relay.refuse["answer"] = (200, {"strange": 1})
            with pytest.raises(Refused, match="not understood"):
                await asked.answer("room-1")

    asyncio.run(main())


def test_a_relay_that_is_full_says_when_to_come_again() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, signalling(relay.url) as asked:
            relay.refuse["calls"] = (503, {"errCode": 5, "errMsg": "draining", "retryAfter": "7"})
            with pytest.raises(Refused) as caught:
                await asked.create_call(caller="SN-1", listeners=ALICE, room_type="video")
            assert (caught.value.passing, caught.value.retry_after_s) == (True, 7.0)
            assert caught.value.advice == "try again in 7 s"

    asyncio.run(main())


def test_a_long_answer_is_read_to_its_end_and_an_endless_one_is_not() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, signalling(relay.url) as asked:
            relay.created = {"padding": "x" * 500_000}
            assert (await asked.create_call(caller="SN-1", listeners=ALICE, room_type="voice")).roomId == "room-1"
            relay.created = {"padding": "x" * 2_000_000}
            with pytest.raises(Refused, match="an answer of more than"):
                await asked.create_call(caller="SN-1", listeners=ALICE, room_type="voice")

    asyncio.run(main())


def test_nothing_listening_is_told_as_such() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            url = relay.url
        async with signalling(url) as asked:
            with pytest.raises(Unreachable, match="cannot reach a relay at"):
                await asked.answer("room-1")

    asyncio.run(main())
