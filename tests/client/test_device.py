"""The device: whole calls against real peers, and what every way of ending leaves behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest

from relay.client import Device, Exit, Media, Outcome, Refused, Unreachable

from .peer import SmallRelay, running, until

SMALL = Media(width=320, height=240, fps=15)


@contextlib.asynccontextmanager
async def device(relay: SmallRelay, **options: Any) -> AsyncIterator[Device]:
    async with Device("SN-1", relay.url, **({"media": SMALL} | options)) as made:
        assert (made.phase, made.online) == ("idle", True)
        yield made
    assert made.phase == "offline"


def ends_when_asked(relay: SmallRelay, reason: str, **data: Any) -> None:
    """The relay answers hangup and reject with the events of a call's end."""

    def on_request(method: str, action: str) -> None:
        if action in ("hangup", "reject"):
            relay.end(reason, keep_s=3, **data)

    relay.on_request = on_request


def test_a_ringing_call_is_answered_talked_and_hung_up() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            phases: list[str] = []
            made.on_change = lambda changed: phases.append(changed.phase)
            relay.ring()
            await until(lambda: "legs" in relay.actions, "the leg is offered")
            relay.tell("hangOnVoip")
            relay.tell("startVoip", startTime=1)
            await until(lambda: made.phase == "talking")
            await until(lambda: relay.peers[0].frames["video"] >= 3, "pictures arrive")
            stats = await made.stats()
            assert stats is not None
            assert stats.bytes_up > 0
            assert made.incoming is not None
            assert made.incoming.caller_name == "Alice"
            ends_when_asked(relay, "hangUpVoip", status="endByListener", origin="manual")
            await made.hang_up()
            outcome = await made.outcome()
            assert outcome == Outcome(Exit.COMPLETED, "this device hung up", "room-1", "alice", 3.0)
            assert phases == ["ringing", "joining", "talking", "idle"]
            leg_posts = [(token, body) for _, path, body, token in relay.requests if path.endswith("/legs")]
            assert leg_posts[0][0] == "leg-token"
            assert leg_posts[0][1].startswith("v=0")
            assert relay.requests[-1][:2] == ("DELETE", "/v1/calls/room-1/legs/1")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reason", "data", "exit_", "words"),
    [
        ("hangUpVoip", {"status": "endByListener", "origin": "other"}, Exit.COMPLETED, "the other side hung up"),
        ("hangUpVoip", {"status": "endByCaller", "origin": "timeLimit"}, Exit.COMPLETED, "time limit"),
        ("rejectVoip", {"status": "other"}, Exit.NOT_ANSWERED, "the other side rejected"),
        ("busy", {}, Exit.NOT_ANSWERED, "another call"),
        ("timeout", {}, Exit.NOT_ANSWERED, "nobody answered"),
        ("cancelVoip", {"status": "manual"}, Exit.NOT_ANSWERED, "this device cancelled"),
        ("abortVoip", {"status": "unknown", "error": {"errMsg": "room status is abort"}}, Exit.MEDIA_LOST, "abort"),
        ("joinFailCaller", {"errMsg": "no room"}, Exit.MEDIA_LOST, "no room"),
    ],
)
def test_every_end_of_an_own_call_has_its_status_and_words(
    reason: str, data: dict[str, Any], exit_: Exit, words: str
) -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.on_request = lambda method, action: relay.end(reason, **data) if action == "legs" else None
            outcome = await made.call("bob", voice=True)
            assert outcome.exit is exit_
            assert words in outcome.words
            assert (made.phase, made.room) == ("idle", "")
            create = next(body for _, path, body, _ in relay.requests if path == "/v1/calls")
            assert create["direction"] == "device_to_user"
            assert create["roomType"] == "voice"
            assert create["caller"]["id"] == "SN-1"
            assert create["listener"]["id"] == "bob"

    asyncio.run(main())


def test_a_call_the_relay_refuses_raises_and_leaves_the_device_free() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.refuse["calls"] = (403, {"errCode": 9, "errMsg": "no grant"})
            with pytest.raises(Refused, match="no grant"):
                await made.call("bob")
            assert made.phase == "idle"

    asyncio.run(main())


def test_manual_answering_waits_and_rejecting_ends() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, answer="manual") as made:
            relay.ring()
            await until(lambda: made.phase == "ringing")
            assert "answer" not in relay.actions
            ends_when_asked(relay, "rejectVoip", status="manual")
            await made.reject()
            assert (await made.outcome()).words == "this device rejected the call"
            relay.ring("room-1")
            await until(lambda: made.phase == "ringing")
            await made.answer()
            await until(lambda: "legs" in relay.actions)

    asyncio.run(main())


def test_a_second_ring_is_declined_and_the_first_call_stays() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, answer="manual") as made:
            relay.ring("room-1")
            relay.ring("room-2")
            await until(lambda: "reject" in relay.actions)
            assert [path for _, path, _, _ in relay.requests if path.endswith("reject")] == ["/v1/calls/room-2/reject"]
            assert made.room == "room-1"

    asyncio.run(main())


def test_a_failed_join_is_tried_again_with_a_fresh_credential() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.refuse["legs"] = (503, {"errCode": 1, "errMsg": "worker restarting"})

            def relent(method: str, action: str) -> None:
                if action == "join":
                    relay.refuse.clear()

            relay.on_request = relent
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0, "media after the retry")
            assert relay.actions.count("legs") == 2
            assert "join" in relay.actions
            assert made.phase == "joining"

    asyncio.run(main())


def test_lost_media_ends_the_call_with_that_reason() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            relay.tell("startVoip")
            await until(lambda: made.phase == "talking")
            await relay.peers[0].close()
            outcome = await made.outcome()
            assert (outcome.exit, outcome.words) == (Exit.MEDIA_LOST, "the media connection was lost")
            assert "hangup" in relay.actions

    asyncio.run(main())


def test_the_relay_s_reason_wins_when_its_leg_closes_first() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            relay.tell("startVoip")
            await relay.peers[0].close()
            await asyncio.sleep(0.2)
            relay.end("hangUpVoip", origin="other", keep_s=1)
            assert (await made.outcome()).words == "the other side hung up"

    asyncio.run(main())


def test_a_call_outlives_a_cut_event_connection() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.ring(room_type="voice")
            await until(lambda: relay.peers and relay.peers[0].frames["audio"] > 0)
            await relay.cut()
            relay.tell("startVoip")
            await until(lambda: made.phase == "talking")
            heard = relay.peers[0].frames["audio"]
            await until(lambda: relay.peers[0].frames["audio"] > heard)
            relay.end("hangUpVoip", origin="other")
            assert (await made.outcome()).exit is Exit.COMPLETED

    asyncio.run(main())


def test_a_relay_that_forgot_the_call_ends_it() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, answer="manual") as made:
            relay.ring()
            await until(lambda: made.phase == "ringing")
            relay.refuse["room-1"] = (404, {"errCode": 1, "errMsg": "no such call"})
            await relay.cut()
            assert (await made.outcome()).words == "the relay lost the call"

    asyncio.run(main())


def test_a_join_that_fails_for_good_is_told_to_the_relay() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made:
            relay.refuse["legs"] = (406, {"errCode": 2000, "errMsg": "no common codec"})
            relay.ring()
            outcome = await made.outcome()
            assert outcome.exit is Exit.RELAY
            assert "no common codec" in outcome.words
            assert relay.actions.count("legs") == 1
            assert "fail" in relay.actions

    asyncio.run(main())


def test_closing_the_device_hangs_up() -> None:
    async def main() -> None:
        async with SmallRelay() as relay:
            ends_when_asked(relay, "cancelVoip", status="manual")
            async with device(relay) as made, running(made.call("bob")):
                await until(lambda: relay.peers)
            assert "hangup" in relay.actions

    asyncio.run(main())


def test_hanging_up_while_the_room_is_being_made_does_not_leave_it_ringing() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay) as made, running(made.call("bob")) as calling:
            await until(lambda: made.phase == "calling")
            await made.hang_up()
            assert (await calling).exit is Exit.NOT_ANSWERED
            await until(lambda: "hangup" in relay.actions)
            assert made.phase == "idle"

    asyncio.run(main())


def test_each_call_is_recorded_into_its_own_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with SmallRelay() as relay, device(relay, save=tmp_path / "got.mkv") as made:
            for number in (1, 2):
                relay.ring()
                await until(lambda n=number: len(relay.peers) == n)
                async with asyncio.timeout(30):
                    while (stats := await made.stats()) is None or stats.video_frames < 40:
                        await asyncio.sleep(0.05)
                relay.end("hangUpVoip", origin="other")
                await made.outcome()
            assert made.notes == []

    asyncio.run(main())
    for name in ("got.mkv", "got-2.mkv"):
        with av.open(str(tmp_path / name)) as container:
            assert {stream.type for stream in container.streams} == {"audio", "video"}
            assert container.duration is not None
            assert 2.0 < container.duration / 1e6 < 8.0


def test_no_relay_is_said_before_anything_else() -> None:
    async def main() -> None:
        with pytest.raises(Unreachable):
            async with Device("SN-1", "http://127.0.0.1:1"):
                pass

    asyncio.run(main())
