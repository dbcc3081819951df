"""Whatever a client sends: a 4xx with errCode and errMsg, never a 500."""

import asyncio
import gzip
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.plane import OFFER, SDP, Plane, asked, play, running

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"null", JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b'{"direction": NaN}', JSON, 400),
        (b'{"timeLimit": ' + b"9" * 5000 + b"}", JSON, 400),
        (b"[" * 60_000, JSON, 400),
        (b'{"x":' * 10_000, JSON, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": ";;/=,"}, 415),
        (b"x" * 65_537, JSON, 413),
        (gzip.compress(b"x" * 20_000_000), JSON | {"Content-Encoding": "gzip"}, 413),
        (b"not gzip", JSON | {"Content-Encoding": "gzip"}, 400),
    ],
)
def test_bad_json(body: bytes, headers: dict[str, str], status: int) -> None:
    async def scene(plane: Plane) -> None:
        got, answer = await plane.ask("POST", "/v1/calls", plane.device(), data=body, headers=headers)
        assert got == status, answer
        if isinstance(answer, dict):
            assert answer["errCode"] == 1004
            assert answer["errMsg"]

    play(scene)


def test_a_body_of_the_limit_is_read() -> None:
    async def scene(plane: Plane) -> None:
        credential = (await plane.create())["credential"]
        room = (await plane.create())["roomId"]
        path = f"/v1/calls/{room}/legs"
        padded = OFFER.ljust(65_537)
        assert (await plane.ask("POST", path, credential, data=padded, headers=SDP))[0] == 413
        assert (await plane.ask("POST", path, credential, data=padded[:-1], headers=SDP))[0] == 201

    play(scene)


def test_chunked_bodies_are_bounded_too() -> None:
    async def scene(plane: Plane) -> None:
        async def endless():  # type: ignore[no-untyped-def]
            for _ in range(100):
                yield b"x" * 10_000

        status, body = await plane.ask("POST", "/v1/calls", plane.device(), data=endless(), headers=JSON)
        assert (status, body["errCode"]) == (413, 1004)

    play(scene)


def test_slow_bodies_are_given_up() -> None:
    async def scene(plane: Plane) -> None:
        url = urlsplit(plane.base)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(
            f"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plane.device()}\r\n"
            "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{".encode()
        )
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()

    play(scene, body_s=0.3)


def test_an_offer_that_is_not_text() -> None:
    async def scene(plane: Plane) -> None:
        made = await plane.create()
        path = f"/v1/calls/{made['roomId']}/legs"
        for body, headers, status in [
            (b"\xff\xff", SDP, 400),
            (b"", SDP, 400),
            (OFFER.encode(), JSON, 415),
            (OFFER.encode(), {}, 415),
        ]:
            got, _ = await plane.ask("POST", path, made["credential"], data=body, headers=headers)
            assert got == status

    play(scene)


def test_unknown_paths_and_methods() -> None:
    async def scene(plane: Plane) -> None:
        for method, path, status in [
            ("GET", "/v2/calls", 404),
            ("POST", "/v1/nothing", 404),
            ("DELETE", "/v1/calls", 405),
            ("GET", "/v1/calls/x/answer", 405),
            ("POST", "/demo/token", 404),
            ("GET", "/", 404),
        ]:
            got, body = await plane.ask(method, path, plane.device())
            assert (got, body["errCode"]) == (status, 1004), path

    play(scene, demo=False)


def test_an_accident_is_a_500_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(plane: Plane) -> None:
        async def broken(*_args: object, **_named: object) -> str:
            raise RuntimeError("secret detail")

        plane.media.open_leg = broken  # type: ignore[method-assign]
        made = await plane.create()
        status, body = await plane.ask(
            "POST", f"/v1/calls/{made['roomId']}/legs", made["credential"], data=OFFER, headers=SDP
        )
        assert status == 500
        assert body == {"errCode": 1002, "errMsg": "the request failed inside the server"}
        assert "secret detail" in caplog.text
        assert made["roomId"] not in " ".join(record.getMessage() for record in caplog.records)

    play(scene)


def test_random_bodies_never_make_a_500() -> None:
    text = st.text(max_size=20)
    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )
    changes = st.dictionaries(st.sampled_from([*asked(), "timeLimit", "ringTimeout", "businessType"]), json)

    async def run() -> None:
        async with running(max_calls=100) as plane:
            loop = asyncio.get_running_loop()

            def send(change: dict[str, object]) -> None:
                answer = asyncio.run_coroutine_threadsafe(
                    plane.ask("POST", "/v1/calls", plane.operator(), json=asked(**change)), loop
                )
                status, body = answer.result(20)
                assert status in (201, 400, 409, 429), body
                assert status == 201 or body["errMsg"]

            check = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)(
                given(changes)(send)
            )
            await asyncio.to_thread(check)

    asyncio.run(run())
