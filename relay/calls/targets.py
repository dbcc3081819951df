"""Where a webhook may lead: an address that somebody typed in, so not inside.

Private, loopback, link-local and reserved ranges are refused, after the name was resolved, when the webhook is made and
again at each connection: what the connection uses is what was looked at. Addresses are read the way the HTTP client
reads them (yarl), or the two might not mean the same host.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from relay.config import Config
from relay.errors import ApiError, Code

NAME_THREADS = 8  # a name server that hangs must not use up the threads of everything else

UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291 §2.4: all that was given out to the public internet
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1

Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[list[Any]]]
"""Host, port and family to what socket.getaddrinfo returns."""


class Targets:
    """The rules of one node, and the resolver that keeps them."""

    def __init__(self, config: Config, lookup: Lookup | None = None) -> None:
        """`lookup` resolves names; None asks the system."""
        self._private = config.webhook_allow_private
        self._limit_s = config.webhook_s
        self._names = ThreadPoolExecutor(NAME_THREADS, "webhook-names")  # threads are made when they are needed
        self.resolver = _Resolver(self._private, lookup or self._look_up)

    def close(self) -> None:
        self._names.shutdown(wait=False, cancel_futures=True)

    async def check(self, text: str) -> None:
        """Raises ApiError 400/1004 for an address that may not be used."""
        try:
            url = URL(text)
            good = url.scheme in ("http", "https") and url.user is None and url.password is None
            host = url.host if good else None
        except ValueError:
            host = None
        if not host:
            raise ApiError(400, Code.WRONG_PARAMETER, "url: an http or https address without user name is needed")
        try:
            self.refuse_literal(host)
            if not self._private:
                async with asyncio.timeout(self._limit_s):
                    await self.resolver.resolve(host, url.port or 0)
        except (OSError, TimeoutError, ValueError) as fault:  # ValueError: no name at all, to the IDNA codec
            raise ApiError(400, Code.WRONG_PARAMETER, f"url: {fault or 'its name cannot be resolved'}") from None

    def refuse_literal(self, host: str) -> None:
        """An address instead of a name never meets the resolver. Raises OSError."""
        if self._private:
            return
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            # What aiohttp takes for an address: 2130706433 and 127.1 are loopback to the C library.
            if ":" in host or host.replace(".", "").isdigit():
                raise OSError("this address is spelled in an unusual way") from None
            return
        if inside(address):
            raise OSError("this address lies in a private or reserved range")

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        find = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM)
        return await asyncio.get_running_loop().run_in_executor(self._names, find)


class _Resolver(AbstractResolver):
    """Names that lead inside are not resolved."""

    def __init__(self, private: bool, lookup: Lookup) -> None:
        self._private = private
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        results: list[ResolveResult] = []
        for got_family, _, proto, _, address in await self._lookup(host, port, family):
            if not self._private and inside(ipaddress.ip_address(str(address[0]).partition("%")[0])):
                raise OSError("its name leads into a private or reserved range")
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=int(address[1]), family=got_family, proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )  # fmt: skip
        return results

    async def close(self) -> None:
        pass


def inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Is this no address of the public internet? IPv6 forms that carry an IPv4 address count as that."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if carried is not None:
            return inside(carried)
        if address in NAT64:
            return inside(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in UNICAST:  # IPv4-compatible, IPv4-translated, site-local, local NAT64 and what may come
            return True
    return not address.is_global or address.is_multicast
