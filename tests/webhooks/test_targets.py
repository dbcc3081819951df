"""Where a webhook may lead: not inside, in whatever spelling, by name, by a name that changes, or by a redirect."""

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from relay.calls.targets import Targets, inside
from relay.calls.webhooks import HookEntry
from relay.config import Config
from relay.errors import ApiError
from webhooks.outbox import Outbox, outbox, play
from webhooks.receiver import Message, Receiver, receiving

PUBLIC = "93.184.215.14"

LITERALS = [
    "127.0.0.1", "127.1", "127.0.0.53", "0.0.0.0", "0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]", "[2001:0:0:0:0:0:80ff:fffe]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]",
    "[fc00::1]", "[fd12:3456::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[100::1]",
    "2130706433", "0x7f.1", "0x7f000001", "0x7F.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "127.0.1", "3232235521",
    "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "[0:0:0:0:0:ffff:127.0.0.1]",
]  # fmt: skip

NAMES = [
    "localhost",
    "localhost.",
    "LOCALHOST",
    "ip6-localhost.invalid",
    "localhost.localdomain.invalid",
    "a" * 70 + ".com",
]

NO_ADDRESSES = [
    "", "nothing", "//93.184.215.14/", "file:///etc/passwd", "ftp://93.184.215.14/", "gopher://93.184.215.14/",
    "javascript:alert(1)", "unix:/run/docker.sock", "http://", "http:///path", "http://:80/", "http://[/", "http://[::1/",
    "http://user:pass@93.184.215.14/", "http://user@93.184.215.14/", "http://:pass@93.184.215.14/",
    "http://93.184.215.14:99999/", "http://93.184.215.14:x/", "http://93.184.215.14\\@127.0.0.1/",
]  # fmt: skip


def check(url: str, **settings: Any) -> None:
    async def main() -> None:
        targets = Targets(Config(demo=True, **settings))
        try:
            await targets.check(url)
        finally:
            targets.close()

    asyncio.run(main())


def refused(url: str) -> None:
    with pytest.raises(ApiError) as fault:
        check(url)
    assert (fault.value.status, fault.value.code) == (400, 1004)


@pytest.mark.parametrize("host", LITERALS)
def test_addresses_that_lie_inside(host: str) -> None:
    refused(f"http://{host}/")
    refused(f"https://{host}:8443/path?query#fragment")


@pytest.mark.parametrize("host", NAMES)
def test_names_that_lead_inside_or_nowhere(host: str) -> None:
    refused(f"http://{host}/")


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_of_a_server(url: str) -> None:
    refused(url)


@pytest.mark.parametrize("host", [PUBLIC, "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]", "[64:ff9b::5db8:d70e]"])
def test_addresses_outside_are_taken(host: str) -> None:
    check(f"http://{host}/")
    check(f"https://{host}:8443/hook")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "10.0.0.1", "hook.internal"])
def test_everything_is_taken_when_the_operator_allows_it(host: str) -> None:
    check(f"http://{host}:8080/hook", webhook_allow_private=True)
    with pytest.raises(ApiError):
        check(f"ftp://{host}/", webhook_allow_private=True)


def test_every_spelling_of_an_ipv4_address_within_ipv6() -> None:
    for v4 in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0"):
        packed = int(ipaddress.IPv4Address(v4))
        for prefix, shift in (("::ffff:0:0", 0), ("64:ff9b::", 0), ("2002::", 80), ("::", 0), ("::ffff:0:0:0", 0)):
            address = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | packed << shift)
            assert inside(address), address
    assert not inside(ipaddress.ip_address(PUBLIC))
    assert not inside(ipaddress.ip_address("64:ff9b::5db8:d70e"))


class Name:
    """A name server of the test: each question takes the next answer, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        self.asked += 1
        answers = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            (socket.AF_INET6 if ":" in answer else socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))
            for answer in answers
        ]


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], [PUBLIC, "10.0.0.1"], ["fe80::1%eth0"]],
)
def test_a_name_that_resolves_inside_in_any_of_its_addresses(answers: list[str]) -> None:
    async def main() -> None:
        async with outbox(lookup=Name(answers), webhook_allow_private=False) as box:
            with pytest.raises(ApiError) as fault:
                await box.webhooks.add(HookEntry("http://hook.example/"))
            assert fault.value.status == 400
            assert await box.webhooks.all() == []

    asyncio.run(main())


def test_a_name_that_resolves_inside_after_it_was_registered() -> None:
    """DNS rebinding: what a connection uses is what was looked at, each time."""

    async def main() -> None:
        async with receiving() as receiver:
            port = urlsplit(receiver.base).port
            name = Name([PUBLIC], ["127.0.0.1"])
            async with outbox(lookup=name, webhook_allow_private=False) as box:
                await box.webhooks.add(HookEntry(f"http://hook.example:{port}/", ("*",)))
                assert name.asked == 1
                await box.put()
                async with asyncio.timeout(10):
                    while not box.webhooks.results["failed"]:
                        await asyncio.sleep(0.01)
                assert name.asked > 1
                answer = await box.webhooks.ask("iot_voip_notify", {})
                assert answer.errcode == 1002
                assert receiver.messages == []
                assert await box.waiting() == 1

    asyncio.run(main())


def test_the_same_name_is_used_when_inside_is_allowed() -> None:
    async def main() -> None:
        async with receiving() as receiver:
            port = urlsplit(receiver.base).port
            async with outbox(lookup=Name(["127.0.0.1"])) as box:
                await box.webhooks.add(HookEntry(f"http://hook.example:{port}/", ("*",)))
                await box.put()
                (message,) = await receiver.until(1)
                assert message.headers["Host"] == f"hook.example:{port}"

    asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_target_from_the_time_when_inside_was_allowed_gets_nothing(host: str, tmp_path: Any) -> None:
    async def main() -> None:
        store = str(tmp_path / "relay.sqlite3")
        async with receiving() as receiver:
            port = urlsplit(receiver.base).port
            async with outbox(store) as box:
                await box.webhooks.add(HookEntry(f"http://{host}:{port}/", ("*",)))
            async with outbox(store, webhook_allow_private=False) as box:
                await box.put()
                async with asyncio.timeout(10):
                    while not box.webhooks.results["failed"]:
                        await asyncio.sleep(0.01)
                assert (await box.webhooks.ask("iot_voip_notify", {})).errcode == 1002
            assert receiver.messages == []

    asyncio.run(main())


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code: int) -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        async with receiving() as inner:

            async def away(_message: Message) -> web.StreamResponse:
                return web.Response(status=code, headers={"Location": f"{inner.base}/secret"})

            receiver.answer = away
            await box.add(receiver.base)
            await box.put()
            await receiver.until(1)
            async with asyncio.timeout(10):
                while not box.webhooks.results["failed"]:
                    await asyncio.sleep(0.01)
            assert inner.messages == []
            assert await box.waiting() == 1, "and it counts as not taken"

    play(scene)


def test_an_answer_may_be_endless_and_is_not_kept() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        async def flood(message: Message) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(message.request)
            try:
                while True:
                    await response.write(b"x" * 65_536)
            except ConnectionError:
                return response

        receiver.answer = flood
        await box.add(receiver.base)
        await box.put()
        await box.until_waiting(0)
        assert box.webhooks.results["delivered"] == 1

    play(scene)


def test_cookies_of_a_target_are_not_kept() -> None:
    async def scene(box: Outbox, receiver: Receiver) -> None:
        async def cookie(_message: Message) -> web.StreamResponse:
            response = web.json_response({})
            response.set_cookie("a", "b")
            return response

        receiver.answer = cookie
        await box.add(receiver.base.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await box.put()
            await box.until_waiting(0)
        messages = await receiver.until(2)
        assert all("Cookie" not in message.headers for message in messages)

    play(scene)
