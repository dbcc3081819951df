"""How the load test's legs come into the relay: calls (1:1) and rooms (1 publisher to N players), over HTTP."""

import asyncio
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import jwt

from benchmarks.handshake import Certificate, Direction, HandshakeError, Leg, Offer, Profile

_TOKEN_S = 3600
_READY_S = 20.0


class Signalling:
    """A client of one relay.

    With the node's `secret` every token is made here; without it a node in demo mode is asked for the tokens of
    devices and users, and rooms can't be used.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, secret: str | None, profile: Profile) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._host = urlsplit(url).hostname
        self._secret = secret
        self._profile: Profile = profile
        self._certificate = Certificate()
        self._prefix = secrets.token_hex(3)
        self._calls = 0

    async def ready(self) -> None:
        """Wait until the node takes calls. Raises HandshakeError after 20 s."""
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            try:
                async with self._http.get(f"{self._url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass  # not listening yet
            await asyncio.sleep(0.1)
        raise HandshakeError(f"no relay is ready at {self._url}")

    async def call(self) -> tuple[Leg, Leg]:
        """A new answered video call from a device to a user, both legs connected."""
        self._calls += 1
        device, user = (f"load-{self._prefix}-{kind}-{self._calls}" for kind in ("device", "user"))
        device_token, user_token = await self._token("device", device), await self._token("user", user)
        made = await self._json(
            "/v1/calls",
            device_token,
            {
                "direction": "device_to_user",
                "roomType": "video",
                "caller": {"id": device, "name": device},
                "listener": {"id": user, "name": user},
            },
        )
        room = made["roomId"]
        answered = await self._json(f"/v1/calls/{room}/answer", user_token)
        path = f"/v1/calls/{room}/legs"
        caller = await self._leg(path, made["credential"], "sendrecv")
        listener = await self._leg(path, answered["credential"], "sendrecv")
        caller.credential, listener.credential = device_token, user_token
        return caller, listener

    async def room(self, players: int) -> list[Leg]:
        """A new room: its publisher first, then its players."""
        name = f"load-{self._prefix}-{secrets.token_hex(3)}"
        token = self._mint("operator", "load")
        legs = [await self._leg(f"/whip/{name}", token, "sendonly")]
        legs += [await self._leg(f"/whep/{name}", token, "recvonly") for _ in range(players)]
        for leg in legs:
            leg.credential = token
        return legs

    async def leave(self, leg: Leg) -> None:
        """Take one leg out; what the relay thinks of it does not matter any more."""
        leg.sock.close()
        headers = {"Authorization": f"Bearer {leg.credential}"}
        async with self._http.delete(self._url + leg.location, headers=headers):
            pass

    async def hang_up(self, leg: Leg) -> None:
        """End the call of a leg."""
        room = leg.location.split("/")[3]
        await self._json(f"/v1/calls/{room}/hangup", leg.credential)

    async def _leg(self, path: str, token: str, direction: Direction) -> Leg:
        offer = Offer(self._certificate, self._profile, direction)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
        async with self._http.post(self._url + path, data=str(offer), headers=headers) as response:
            answer = await response.text()
            if response.status != 201:
                raise HandshakeError(f"POST {path}: {response.status} {answer[:300]}")
            location = response.headers["Location"]
        leg = await offer.connect(answer, host=self._host)
        leg.location = location
        return leg

    async def _json(self, path: str, token: str | None, body: object = None) -> dict[str, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self._http.post(self._url + path, json=body or {}, headers=headers) as response:
            if response.status >= 300:
                raise HandshakeError(f"POST {path}: {response.status} {(await response.text())[:300]}")
            values: dict[str, Any] = await response.json()
            return values

    async def _token(self, kind: str, name: str) -> str:
        if self._secret is not None:
            return self._mint(kind, name)
        return str((await self._json("/demo/token", None, {"kind": kind, "id": name}))["token"])

    def _mint(self, kind: str, name: str) -> str:
        if self._secret is None:
            raise HandshakeError("rooms need the node's secret (--secret)")
        identity = {"device": {"sn": name}, "user": {"openid": name}}.get(kind, {})
        now = int(time.time())
        claims = {"sub": name, "kind": kind, "iat": now, "exp": now + _TOKEN_S, **identity}
        return jwt.encode(claims, self._secret, algorithm="HS256")
