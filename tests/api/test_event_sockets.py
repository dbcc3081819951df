"""Events over real WebSockets: order, resuming, frames from the client, slow and silent readers."""

import asyncio
import base64
import os
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from api.plane import OFFER, SDP, Plane, play
from relay.api.app import SOCKETS
from relay.calls.invitation import Party

ANN = Party("user", "ann")


async def next_event(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    return dict(await socket.receive_json(timeout=10))


async def until(socket: aiohttp.ClientWebSocketResponse, name: str) -> list[dict[str, Any]]:
    events = []
    while not events or events[-1].get("eventName") != name:
        events.append(await next_event(socket))
    return events


def test_events_of_a_call_in_order() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.device()) as door, plane.listen(plane.user()) as ann:
            made = await plane.create()
            room = made["roomId"]
            assert (await next_event(ann))["eventName"] == "incomingCall"
            _, _, headers = await plane.asked(
                "POST", f"/v1/calls/{room}/legs", made["credential"], data=OFFER, headers=SDP
            )
            plane.media.say(headers["Location"].rpartition("/")[2], "connected")
            await ann.send_json({"type": "answer", "roomId": room})
            frames = [await next_event(ann), await next_event(ann)]
            assert frames[0]["eventName"] == "hangOnVoip"
            assert frames[1]["type"] == "answer"
            _, _, headers = await plane.asked(
                "POST", f"/v1/calls/{room}/legs", frames[1]["credential"], data=OFFER, headers=SDP
            )
            plane.media.say(headers["Location"].rpartition("/")[2], "connected")
            await ann.send_json({"type": "hangup", "roomId": room, "origin": "unloadCallPage"})
            heard = await until(door, "finishVoip")
            assert [event["eventName"] for event in heard] == [
                "callPageOnShow",
                "joinedRoomByCaller",
                "startVoip",
                "hangUpVoip",
                "endVoip",
                "finishVoip",
            ]
            first = heard[0]["seq"]
            assert [event["seq"] for event in heard] == list(range(first, first + 6))
            assert all(event["roomId"] == event["groupId"] == room for event in heard)
            assert heard[3]["data"]["status"] == "endByListener"
            assert (await until(ann, "hangUpVoip"))[-1]["data"]["origin"] == "unloadCallPage"

    play(scene)


def test_resuming() -> None:
    async def scene(plane: Plane) -> None:
        room = (await plane.create())["roomId"]
        async with plane.listen(plane.user()) as ann:
            notice = await next_event(ann)
            assert notice["eventName"] == "incomingCall", "told though it came late"
        await plane.ask("POST", f"/v1/calls/{room}/hangup", plane.device())
        async with plane.listen(plane.user(), after=notice["seq"]) as ann:
            heard = await until(ann, "finishVoip")
            assert [event["eventName"] for event in heard] == ["cancelVoip", "endVoip", "finishVoip"]
        async with plane.listen(plane.user()) as ann:
            await ann.send_json({"type": "heartbeat"})
            assert await next_event(ann) == {"type": "heartbeat"}, "nothing of calls that are over"

    play(scene)


def test_browsers_pass_the_token_as_protocol() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.http.ws_connect(
            f"{plane.base}/v1/events", protocols=("relay.events", f"bearer.{plane.user()}")
        ) as ann:
            assert ann.protocol == "relay.events"
            await plane.create()
            assert (await next_event(ann))["eventName"] == "incomingCall"

    play(scene)


@pytest.mark.parametrize(
    ("who", "query", "status"),
    [
        ("nobody", "", 401),
        ("rubbish", "", 401),
        ("operator", "", 403),
        ("user", "?after=-1", 400),
        ("user", "?after=1e3", 400),
        ("user", "?after=" + "9" * 5000, 400),
        ("user", "?after=%D9%A1", 400),
    ],
)
def test_refused_sockets(who: str, query: str, status: int) -> None:
    async def scene(plane: Plane) -> None:
        tokens = {"user": plane.user(), "operator": plane.operator(), "rubbish": "x.y.z"}
        headers = {"Authorization": f"Bearer {tokens[who]}"} if who in tokens else {}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await plane.http.ws_connect(f"{plane.base}/v1/events{query}", headers=headers)
        assert refused.value.status == status
        assert plane.service.events.sockets == 0

    play(scene)


def test_plain_http_is_told_to_upgrade() -> None:
    async def scene(plane: Plane) -> None:
        status, body = await plane.ask("GET", "/v1/events", plane.user())
        assert (status, body["errCode"]) == (426, 1004)

    play(scene)


def test_sockets_per_party_are_bounded() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()), plane.listen(plane.user()):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await plane.listen(plane.user())
            assert refused.value.status == 429
        while plane.service.events.sockets:
            await asyncio.sleep(0.01)
        async with plane.listen(plane.user()):
            pass

    play(scene, event_sockets_per_party=2)


def test_bad_frames_are_answered_and_harm_nothing() -> None:
    async def scene(plane: Plane) -> None:
        room = (await plane.create())["roomId"]
        async with plane.listen(plane.user(), after=2**53) as ann:
            for text, code in [
                ("", 1004),
                ("[]", 1004),
                ("nonsense", 1004),
                ('{"type":"dance"}', 1004),
                ('{"type":"answer"}', 1),
                ('{"type":"answer","roomId":7}', 1004),
                (f'{{"type":"reject","roomId":"{room}","status":"later"}}', 1004),
                ("[" * 8000, 1004),
                ('{"type":"hangup","roomId":"elsewhere"}', 1),
            ]:
                await ann.send_str(text)
                answer = await next_event(ann)
                assert (answer["type"], answer["errCode"]) == ("error", code), text
            await ann.send_str(f'{{"type":"reject","roomId":"{room}"}}')
            assert (await next_event(ann))["eventName"] == "rejectVoip"

    play(scene)


@pytest.mark.parametrize(("binary", "code"), [(True, 1003), (False, 1009)])
def test_frames_of_the_wrong_kind_or_size_close(binary: bool, code: int) -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()) as ann:
            await (ann.send_bytes(b"x") if binary else ann.send_str("x" * 9000))
            message = await ann.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == code
        async with asyncio.timeout(10):
            while plane.service.events.sockets:
                await asyncio.sleep(0.01)

    play(scene)


async def _raw_socket(plane: Plane, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket whose frames nobody reads: the handshake by hand, with a tiny receive window."""
    url = urlsplit(plane.base)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1024)
    writer.write(
        (
            f"GET /v1/events HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        ).encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def test_a_reader_that_does_not_read_is_cut_and_others_are_not() -> None:
    async def scene(plane: Plane) -> None:
        _, writer = await _raw_socket(plane, plane.user())
        async with plane.listen(plane.user()) as ann:
            last = 0
            for _ in range(400):
                for _ in range(8):
                    plane.service.events.publish(
                        ANN, "room", "startVoip", {"pad": "x" * 4000}, "", 0.0, 1_700_000_000_000
                    )
                for _ in range(8):
                    seq = (await next_event(ann))["seq"]
                    assert last in (0, seq - 1)
                    last = seq
                if plane.service.events.sockets == 1:
                    break
            else:
                pytest.fail("12 MB for a reader that reads nothing")
            assert plane.app[SOCKETS].cut == 1
        writer.close()

    play(scene, event_queue=64, event_write_s=0.5)


def test_a_burst_beyond_the_queue_closes_with_1013() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()) as ann:
            while not plane.service.events.listening(ANN):
                await asyncio.sleep(0.01)
            for _ in range(20):
                plane.service.events.publish(ANN, "room", "startVoip", {}, "", 0.0, 1_700_000_000_000)
            while (message := await ann.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.data == 1013

    play(scene, event_queue=10)


def test_a_silent_peer_is_dropped() -> None:
    async def scene(plane: Plane) -> None:
        _, writer = await _raw_socket(plane, plane.user())  # it never answers a ping
        async with asyncio.timeout(20):
            while plane.service.events.sockets:
                await asyncio.sleep(0.05)
        writer.close()

    play(scene, heartbeat_s=0.1, heartbeat_lost_s=0.6)


def test_the_socket_ends_with_its_token() -> None:
    async def scene(plane: Plane) -> None:
        token = plane.tokens.mint("user", "ann", 1.5, openid="ann")
        async with plane.listen(token) as ann:
            message = await ann.receive(timeout=10)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)

    play(scene)


def test_stopping_tells_clients() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()) as ann:
            while not plane.service.events.listening(ANN):
                await asyncio.sleep(0.01)
            await plane.app[SOCKETS].close()
            message = await ann.receive(timeout=10)
            assert message.data == 1001

    play(scene)


def test_frames_are_plain_json() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()) as ann:
            await plane.create(caller={"id": "door", "name": "前门"})
            message = await ann.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.TEXT
            assert msgspec.json.decode(message.data)["data"]["callerName"] == "前门"

    play(scene)


def test_frames_count_like_requests() -> None:
    async def scene(plane: Plane) -> None:
        async with plane.listen(plane.user()) as socket:
            for _ in range(50):
                await socket.send_str('{"type":"heartbeat"}')
            answered = 0
            async for _ in socket:
                answered += 1
            assert socket.close_code == 1008
            assert answered < 30
        async with plane.listen(plane.device()) as other:
            await other.send_str('{"type":"heartbeat"}')
            assert (await other.receive_json())["type"] == "heartbeat"

    play(scene, rate_burst=20, rate_per_s=0.1)
