"""HTTP to one relay: the bearer token and its renewal, answers as types, refusals as exceptions in words."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec
from yarl import URL

from relay.client.advice import advice

REQUEST_S = 10.0
MAX_BODY = 1024 * 1024  # bytes of an answer worth reading; a thousand contacts have 200 KiB

T = TypeVar("T")


class SignallingError(Exception):
    """The relay could not be asked. `str()` is a sentence for a person."""

    advice = ""  # what to do about it, when that is known


class Unreachable(SignallingError):
    """No answer at all: nothing listens there, the network is down, or it took too long."""

    retry_after_s = 0.0  # the relay's own wish, when it was able to utter one


class Refused(SignallingError):
    """The relay answered no. `status` is HTTP's, `code` the plugin's error code (0 when it gave none)."""

    def __init__(self, status: int, code: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{message} (HTTP {status}{f', code {code}' if code else ''})")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def passing(self) -> bool:
        """Whether the same request may do better in a while: the relay is full, draining or in trouble."""
        return self.status >= 500 or self.status == 429

    @property
    def advice(self) -> str:  # type: ignore[override]
        return advice(self.code, self.retry_after_s if self.passing else 0.0)


class Answer(NamedTuple):
    """What came back; its status is below 400."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    def read(self, shape: type[T]) -> T:
        """The body as `shape`. Raises Refused, with the code in the body if it has one."""
        try:
            return msgspec.json.decode(self.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            refusal = _fault(self.content)
            words = refusal.errMsg or f"answer not understood: {fault}"
            raise Refused(self.status, refusal.errCode, words) from fault


class Http:
    """Requests of one party. `token`: its bearer token; empty: fetched by `renew` before the first request.

    `renew` is also awaited for a new one after the relay refuses the old one; without it and without a token
    the requests are nobody's.
    """

    def __init__(self, url: str, token: str = "", renew: Callable[[], Awaitable[str]] | None = None) -> None:
        """Raises ValueError for what is no http or https address."""
        self.base = base_url(url)
        self.token = token
        self._fetch = renew
        self._fetching = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let the connections go; a later request makes new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        return self._session

    @property
    def renewable(self) -> bool:
        return self._fetch is not None

    async def authorise(self) -> None:
        """See to it that there is a token. Raises what fetching one raises."""
        if not self.token:
            await self.renew("")

    async def renew(self, stale: str) -> None:
        """Replace the token `stale`, once however many ask at the same time."""
        async with self._fetching:
            if self.token == stale and self._fetch is not None:
                self.token = await self._fetch()

    async def get(self, *path: str) -> Answer:
        """Raises Refused or Unreachable, like `post` and `put`."""
        return await self.request("GET", self.base.joinpath(*path))

    async def post(self, *path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.request("POST", self.base.joinpath(*path), json=body, headers=headers)

    async def put(self, *path: str, body: Any) -> Answer:
        return await self.request("PUT", self.base.joinpath(*path), json=body)

    async def request(
        self,
        method: str,
        url: URL,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str = "",
    ) -> Answer:
        """One request and its answer. With `token` (a join credential) the own one is left alone.

        A refused token is renewed and the request repeated, once. Raises Refused or Unreachable.
        """
        sent = dict(headers or {})
        if json is not None:
            data = msgspec.json.encode(json)
            sent["Content-Type"] = "application/json"
        if token:
            return await self._exchange(method, url, data, sent, token)
        await self.authorise()
        used = self.token
        try:
            return await self._exchange(method, url, data, sent, used)
        except Refused as refusal:
            if refusal.status != 401 or not self.renewable:
                raise
        await self.renew(used)
        return await self._exchange(method, url, data, sent, self.token)

    async def _exchange(self, method: str, url: URL, data: bytes | None, headers: dict[str, str], token: str) -> Answer:
        if token:
            headers = headers | {"Authorization": f"Bearer {token}"}
        try:
            async with self.session.request(method, url, data=data, headers=headers) as response:
                content = await _content(response)
                if response.status >= 400:
                    refusal = _fault(content)
                    reason = refusal.errMsg or f"the relay at {self.base} refused: {response.reason or 'no reason'}"
                    raise Refused(response.status, refusal.errCode, reason, retry_after_s(response.headers))
                return Answer(response.status, content, response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise self.unreachable(fault) from fault

    def unreachable(self, fault: BaseException) -> Unreachable:
        return Unreachable(f"cannot reach a relay at {self.base}: {_cause(fault)}")


def base_url(text: str) -> URL:
    """The relay's address with a scheme and a path to append to. Raises ValueError."""
    url = URL(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not an http or https address")
    return url.with_query(None).with_fragment(None)


def retry_after_s(headers: Mapping[str, str] | None) -> float:
    """Seconds of a Retry-After header; 0 without one. A date in it is not worth a second parser."""
    text = (headers or {}).get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


class _Fault(msgspec.Struct, frozen=True):
    errCode: int = 0
    errMsg: str = ""


def _fault(content: bytes) -> _Fault:
    try:
        return msgspec.json.decode(content, type=_Fault)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Fault()


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. What is longer than MAX_BODY is no answer of a relay."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            raise Refused(response.status, 0, f"an answer of more than {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _cause(fault: BaseException) -> str:
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, aiohttp.ClientConnectorError):
        # asyncio puts a text of its own where the system's would be; name resolution has negative numbers.
        number = fault.os_error.errno or 0
        return os.strerror(number) if number > 0 else fault.os_error.strerror or str(fault.os_error)
    return str(fault) or type(fault).__name__
