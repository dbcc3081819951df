"""The other side for client tests: a small relay of aiohttp and one aiortc peer per leg.

It is no model of the call plane - every test says itself which events come - but all that crosses a socket is real:
HTTP, the event WebSocket with resumption, ICE, DTLS, SRTP and codecs.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import numpy as np
from aiohttp import WSMsgType, web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from relay.client.sources import Media, Tracks

WAIT_S = 20.0


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition, at most WAIT_S."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what or condition}"
        await asyncio.sleep(0.01)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio of two 8-bit pictures, in dB."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def loudest_hz(samples: np.ndarray, rate_hz: int) -> float:
    """The frequency with the most energy in mono samples."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


class FarPeer:
    """Answers one offer; sends `media` and counts what it receives."""

    def __init__(self, media: Media) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._media = media
        self._tracks = Tracks()
        self._readers: list[asyncio.Task[None]] = []
        self.frames = {"audio": 0, "video": 0}
        self.last: dict[str, Any] = {}
        self.connection.on("track", lambda track: self._readers.append(asyncio.ensure_future(self._read(track))))

    async def answer(self, offer: str) -> str:
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        self._tracks = self._media.open(video="m=video" in offer)
        for track in self._tracks.all:
            self.connection.addTrack(track)
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.connection.localDescription.sdp

    async def _read(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                self.last[track.kind] = await track.recv()
                self.frames[track.kind] += 1

    async def close(self) -> None:
        await self.connection.close()
        await self._tracks.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


class SmallRelay:
    """`async with SmallRelay() as relay:` listens on `relay.url`."""

    def __init__(self, media: Media | None = None) -> None:
        self.media = media or Media(tone_hz=1000, width=320, height=240, fps=15)
        self.requests: list[tuple[str, str, Any, str]] = []  # method, path, body, token
        self.heartbeats = 0
        self.connections = 0  # of the event WebSocket, ever
        self.asked_after: list[int] = []
        self.peers: list[FarPeer] = []
        self.refuse: dict[str, tuple[int, dict[str, Any]]] = {}  # path or its last part -> what it answers
        self.refused: Counter[str] = Counter()
        self.keys: list[str] = []  # Idempotency-Key of each create
        self.drop_answers = 0  # so many creates are carried out, and their answers get lost
        self.on_request: Callable[[str, str], None] = lambda method, action: None
        self.tokens = {"demo-1"}
        self.tickets = {"ticket-1"}
        self.secrets: dict[str, str] = {}  # of registered devices, by SN
        self.token_life_s = 3600.0
        self.clock_ahead_s = 0.0  # of this relay, before the device's
        self.forgotten: int | None = None  # a resumption from before this number is told of a gap
        self.profile: dict[str, Any] = {"cameraRotation": 0, "aspectRatio": 4 / 3, "objectFit": "fill"}
        self.allowed = {"alice"}
        self.state = "TALKING"
        self.keep_s = 0
        self.reason = ""
        self.created: dict[str, Any] = {}  # more fields of the answer to create
        self.before_created: Callable[[], None] = lambda: None  # the call is made, its caller does not know yet
        self.hold: dict[str, asyncio.Event] = {}  # last part of a path -> the answer to it waits for this
        self._born = time.monotonic()
        self._log: list[dict[str, Any]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/demo/token", self._token)
        app.router.add_get("/v1/events", self._events)
        app.router.add_post("/v1/devices/{sn}/register", self._register)
        app.router.add_post("/v1/devices/{sn}/token", self._device_token)
        app.router.add_get("/v1/devices/{sn}", self._device)
        app.router.add_post("/v1/devices/{sn}/push-token", self._push_token)
        app.router.add_post("/v1/devices/{sn}/contacts/status", self._contacts)
        app.router.add_get("/v1/devices/{sn}/grants", self._grants)
        app.router.add_get("/v1/devices/{sn}/profile", self._profile)
        app.router.add_put("/v1/devices/{sn}/profile", self._profile)
        app.router.add_post("/v1/calls", self._call)
        app.router.add_post("/v1/calls/{room}/legs", self._leg)
        app.router.add_delete("/v1/calls/{room}/legs/{leg}", self._leave)
        app.router.add_get("/v1/calls/{room}", self._state)
        app.router.add_post("/v1/calls/{room}/{action}", self._call)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        await self._runner.cleanup()
        for peer in self.peers:
            await peer.close()

    def tell(self, name: str, room: str = "room-1", **data: Any) -> None:
        """Send an event, and keep it for whoever resumes."""
        seq = len(self._log) + 1
        now_ms = 1_000 + int((time.monotonic() - self._born) * 1000)
        event = {"seq": seq, "timestamp": now_ms, "eventName": name, "roomId": room, "groupId": room, "data": data}
        self._log.append(event)
        self.tell_text(json.dumps(event))

    def tell_text(self, text: str) -> None:
        """Send a frame as it is."""
        for socket in self._sockets:
            task = asyncio.ensure_future(socket.send_str(text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def ring(self, room: str = "room-1", room_type: str = "video", **data: Any) -> None:
        known = {"roomType": room_type, "callerId": "alice", "callerName": "Alice", "listenerId": "SN-1"}
        self.tell("incomingCall", room, **(known | data))

    def end(self, reason: str, room: str = "room-1", keep_s: int = 0, **data: Any) -> None:
        self.tell(reason, room, **data)
        self.tell("endVoip", room, keepTime=keep_s)

    async def cut(self) -> None:
        """Break every event connection without a closing handshake."""
        before = set(self._sockets)
        for socket in before:
            if (transport := socket._req.transport) is not None:  # type: ignore[union-attr]
                transport.abort()
        await until(lambda: not before & self._sockets, "the sockets are gone")

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """An outage of the event connection, for the length of a block."""
        self.refuse["events"] = (503, {"errCode": 2104, "errMsg": "draining"})
        await self.cut()
        yield
        del self.refuse["events"]

    async def expire(self) -> None:
        """Every token runs out, and every event connection ends with its own."""
        self.tokens = {f"used-up-{len(self.tokens)}"}  # so that later ones have other names
        for socket in tuple(self._sockets):
            await socket.close(code=4401, message=b"the token has expired")

    @property
    def actions(self) -> list[str]:
        return [path.rsplit("/", 1)[-1] for method, path, _, _ in self.requests if method == "POST"]

    async def _note(self, request: web.Request) -> str:
        text = await request.text()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = json.loads(text) if request.content_type == "application/json" and text else text
        self.requests.append((request.method, request.path, body, token))
        action = request.path.rsplit("/", 1)[-1]
        for name in (request.path, action):
            if name in self.refuse:
                self.refused[name] += 1
                raise _refusal(*self.refuse[name])
        return action

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise _refusal(401, {"errCode": 13, "errMsg": "the token is wrong"})

    def new_token(self, kind: str = "device") -> str:
        token = f"{kind}-{len(self.requests)}-{len(self.tokens)}"
        self.tokens.add(token)
        return token

    def _given(self, **more: Any) -> web.Response:
        """A device token and its end, by a clock of the relay's own."""
        now_s = time.time() + self.clock_ahead_s
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s))
        answer = {"deviceToken": self.new_token("device"), "expireTimestamp": int(now_s + self.token_life_s)}
        return web.json_response(answer | more, headers={"Date": date})

    async def _register(self, request: web.Request) -> web.Response:
        await self._note(request)
        asked, sn = self.requests[-1][2], request.match_info["sn"]
        if asked["snTicket"] not in self.tickets:
            raise _refusal(400, {"errCode": 9800011, "errMsg": "the sn_ticket is invalid"})
        self.tickets.remove(asked["snTicket"])
        self.secrets[sn] = f"secret-of-{sn}"
        return self._given(deviceSecret=self.secrets[sn])

    async def _device_token(self, request: web.Request) -> web.Response:
        await self._note(request)
        if self.requests[-1][2]["deviceSecret"] != self.secrets.get(request.match_info["sn"]):
            raise _refusal(401, {"errCode": 13, "errMsg": "the secret is wrong"})
        return self._given()

    async def _device(self, request: web.Request) -> web.Response:
        await self._note(request)
        self._check(request)
        return web.json_response({"sn": request.match_info["sn"], "modelId": "MODEL-OF-THE-RELAY", "name": ""})

    async def _push_token(self, request: web.Request) -> web.Response:
        await self._note(request)
        self._check(request)
        return web.json_response({"pushToken": "push-1", "token": "push-1", "expireTimestamp": 1_900_000_000})

    async def _contacts(self, request: web.Request) -> web.Response:
        await self._note(request)
        self._check(request)
        asked = self.requests[-1][2]
        known = {"sn": request.match_info["sn"], "model_id": asked["model_id"]}
        contacts = [
            known | {"openid": openid, "status": int(openid in self.allowed)} for openid in asked["openid_list"]
        ]
        return web.json_response({"errcode": 0, "errmsg": "ok", "contact_list": contacts})

    async def _grants(self, request: web.Request) -> web.Response:
        await self._note(request)
        self._check(request)
        return web.json_response({"grants": [{"grantId": "g-1", "openid": "alice", "status": 1}]})

    async def _profile(self, request: web.Request) -> web.Response:
        await self._note(request)
        self._check(request)
        if request.method == "PUT":
            self.profile |= self.requests[-1][2]
        return web.json_response(self.profile)

    async def _token(self, request: web.Request) -> web.Response:
        await self._note(request)
        return web.json_response({"token": self.new_token("demo")})

    async def _call(self, request: web.Request) -> web.Response:
        action = await self._note(request)
        self._check(request)
        if action == "calls":
            self.keys.append(request.headers.get("Idempotency-Key", ""))
            self.before_created()
            await self._held(action)
            if self.drop_answers:
                self.drop_answers -= 1
                assert request.transport is not None
                request.transport.abort()
        else:
            await self._held(action)
        asyncio.get_running_loop().call_soon(self.on_request, request.method, action)
        status = 201 if action == "calls" else 200
        answer = {"roomId": "room-1", "groupId": "room-1", "credential": "leg-token"}
        return web.json_response(answer | (self.created if action == "calls" else {}), status=status)

    async def _held(self, action: str) -> None:
        if action in self.hold:
            await self.hold[action].wait()

    async def _state(self, request: web.Request) -> web.Response:
        await self._note(request)
        return web.json_response(
            {"roomId": "room-1", "state": self.state, "keepTime": self.keep_s, "reason": self.reason}
        )

    async def _leg(self, request: web.Request) -> web.Response:
        await self._note(request)
        peer = FarPeer(self.media)
        self.peers.append(peer)
        answer = await peer.answer(await request.text())
        asyncio.get_running_loop().call_soon(self.on_request, "POST", "legs")
        location = f"/v1/calls/{request.match_info['room']}/legs/{len(self.peers)}"
        return web.Response(status=201, text=answer, content_type="application/sdp", headers={"Location": location})

    async def _leave(self, request: web.Request) -> web.Response:
        await self._note(request)
        return web.Response(status=200)

    def _live(self) -> list[dict[str, Any]]:
        """The events of calls that have not ended, for somebody who comes for the first time."""
        live: list[dict[str, Any]] = []
        for event in self._log:
            live.append(event)
            if event["eventName"] in ("endVoip", "finishVoip"):
                live = [other for other in live if other["roomId"] != event["roomId"]]
        return live

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if "events" in self.refuse:
            self.refused["events"] += 1
            raise _refusal(*self.refuse["events"])
        self._check(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        after = int(request.query.get("after", 0))
        self.connections += 1
        self.asked_after.append(after)
        kept = self._log[max(0, after - 1) :] if after else self._live()  # the last one twice, on purpose
        if after and self.forgotten is not None and after < self.forgotten:
            await socket.send_str(json.dumps({"type": "gap", "after": after, "first": self.forgotten}))
            kept = [event for event in kept if event["seq"] >= self.forgotten]
        for event in kept:
            await socket.send_str(json.dumps(event))
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "heartbeat":
                    self.heartbeats += 1
                    await socket.send_str('{"type":"heartbeat"}')
        finally:
            self._sockets.discard(socket)
        return socket


def _refusal(status: int, answer: dict[str, Any]) -> web.HTTPException:
    class Refusal(web.HTTPException):
        status_code = status

    headers = {"Retry-After": answer["retryAfter"]} if "retryAfter" in answer else None
    return Refusal(text=json.dumps(answer), content_type="application/json", headers=headers)


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """A task for the length of a block."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
