"""Who a device is: SN, device type, secret; and the bearer token these are worth.

A token comes from the first of: the one given, the device's secret, a relay in demo mode. Only the first
cannot be renewed.
"""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from relay.client.http import Http, Refused
from relay.client.state import State, StateFile

RENEW_AT = 0.8  # of a token's life: early enough for a few failures, late enough to be rare


class _Given(msgspec.Struct, frozen=True):
    """The answer to a registration and to a request for a token."""

    deviceToken: str
    expireTimestamp: float
    deviceSecret: str = ""


class _DemoToken(msgspec.Struct, frozen=True):
    token: str


class Identity:
    """Reads the state file when it is first asked for something. Raises ValueError for a bad address."""

    def __init__(
        self,
        sn: str,
        url: str,
        token: str | None = None,
        *,
        secret: str | None = None,
        state: str | Path | None = None,
        model_id: str = "",
        name: str = "",
    ) -> None:
        self.sn = sn
        self.model_id = model_id
        self._name = name
        self._url = url
        self._secret = secret
        self._file = StateFile(state) if state is not None else None
        self._read = secret is not None or self._file is None
        self._given = token is not None
        self._kept = token or ""  # a token that nobody took yet
        self._renew_at_s: float | None = None  # event loop's clock; None: the token's end is not known

    @property
    def registered(self) -> bool:
        """Whether this device has a secret. Raises StateError."""
        return bool(self._known_secret())

    @property
    def renew_in_s(self) -> float | None:
        """How long the latest token is still young; None when its end is not known."""
        if self._renew_at_s is None:
            return None
        return max(0.0, self._renew_at_s - asyncio.get_running_loop().time())

    async def register(self, model_id: str, sn_ticket: str) -> str:
        """Trade a ticket for the device's secret, and keep it in the state file if there is one.

        Raises Refused, Unreachable, StateError. A ticket works once: that the file can be written is found out first.
        """
        if self._file is not None:
            self._file.check()
        async with _nobody(self._url) as http:
            body = {"modelId": model_id, "snTicket": sn_ticket}
            answer = await http.post("v1", "devices", self.sn, "register", body=body)
        given = answer.read(_Given)
        if not given.deviceSecret:
            raise Refused(answer.status, 0, "the relay registered the device but gave no secret")
        self.model_id, self._secret, self._read = model_id, given.deviceSecret, True
        if self._file is not None:
            self._file.write(State(self.sn, model_id, given.deviceSecret))
        self._kept = self._take(given, answer.headers)
        return given.deviceSecret

    async def token(self) -> str:
        """A token that is good now. Raises Refused, Unreachable, StateError."""
        self._known_secret()
        kept, self._kept = self._kept, ""
        if kept:
            return kept
        if self._given and not self._secret:
            raise Refused(401, 13, "the token is wrong or out of date, and there is no secret to get another with")
        async with _nobody(self._url) as http:
            if self._secret:
                body = {"deviceSecret": self._secret}
                answer = await http.post("v1", "devices", self.sn, "token", body=body)
                return self._take(answer.read(_Given), answer.headers)
            return await self._demo_token(http)

    def _known_secret(self) -> str:
        if not self._read and self._file is not None:
            if (state := self._file.read(self.sn)) is not None:
                self._secret = state.device_secret
                self.model_id = self.model_id or state.model_id
            self._read = True
        return self._secret or ""

    def _take(self, given: _Given, headers: Mapping[str, str]) -> str:
        # The end is by the relay's clock, and many a device has none worth the name: its own Date tells now.
        try:
            now_s = email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
        except (KeyError, TypeError, ValueError):
            now_s = time.time()
        life_s = max(0.0, given.expireTimestamp - now_s)
        self._renew_at_s = asyncio.get_running_loop().time() + life_s * RENEW_AT
        return given.deviceToken

    async def _demo_token(self, http: Http) -> str:
        body: dict[str, Any] = {"kind": "device", "id": self.sn}
        body |= {key: value for key, value in (("name", self._name), ("model_id", self.model_id)) if value}
        try:
            answer = await http.post("demo", "token", body=body)
        except Refused as refusal:
            if refusal.status not in (404, 405):
                raise
            words = f"the relay at {http.base} is not in demo mode: this device needs a secret or a token"
            raise Refused(refusal.status, 13, words) from refusal
        try:
            return answer.read(_DemoToken).token
        except Refused as fault:
            raise Refused(answer.status, 0, f"what answers at {http.base} is not a relay") from fault


@contextlib.asynccontextmanager
async def _nobody(url: str) -> AsyncIterator[Http]:
    """Requests without a token, for the length of a block."""
    http = Http(url)
    try:
        yield http
    finally:
        await http.close()
