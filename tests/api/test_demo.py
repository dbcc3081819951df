"""Demo mode: tokens for everybody, pages that may use the camera, nothing outside their folder."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from api.plane import Plane, play
from relay.api.app import build
from relay.api.demo import Demo
from relay.api.tokens import Tokens


def test_tokens() -> None:
    async def scene(plane: Plane) -> None:
        for kind, id in (("device", "door"), ("user", "ann")):
            status, body, headers = await plane.asked(
                "POST", "/demo/token", json={"kind": kind, "id": id, "name": "Somebody"}
            )
            assert status == 200
            party = plane.tokens.read(body["token"]).party
            assert party is not None
            assert (party.kind, party.id) == (kind, id)
            assert "Access-Control-Allow-Origin" not in headers
        for json, code in [
            ({"kind": "operator", "id": "x"}, 1004),
            ({"kind": "user"}, 1004),
            ({"kind": "user", "id": ""}, 1004),
            ({"kind": "user", "id": "a b"}, 7),
            ({"kind": "device", "id": "a/b"}, 2),
        ]:
            status, body = await plane.ask("POST", "/demo/token", json=json)
            assert (status, body["errCode"]) == (400, code)
        status, _, headers = await plane.asked("OPTIONS", "/demo/token")
        assert "Access-Control-Allow-Origin" not in headers

    play(scene)


def test_pages(tmp_path: Path) -> None:
    (tmp_path / "web" / "sdk").mkdir(parents=True)
    (tmp_path / "web" / "index.html").write_text("<h1>hello</h1>")
    (tmp_path / "web" / "sdk" / "part.js").write_text("export {};")
    (tmp_path / "web" / "notes.py").write_text("")
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "web" / "link.html").symlink_to(tmp_path / "secret.html")

    async def check() -> None:
        plane = Plane()
        app = web.Application(middlewares=plane.app.middlewares)
        app.add_routes(Demo(plane.config, Tokens(plane.config), plane.devices, root=tmp_path / "web").routes())
        async with TestClient(TestServer(app)) as client:
            for path, content_type in [
                ("/", "text/html"),
                ("/index.html", "text/html"),
                ("/sdk/part.js", "text/javascript"),
            ]:
                response = await client.get(path)
                assert response.status == 200
                assert response.content_type == content_type
                policy = response.headers["Content-Security-Policy"]
                assert "script-src 'self'" in policy
                assert "media-src 'self' blob:" in policy
                assert "camera=(self)" in response.headers["Permissions-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
            for path in (
                "/nothing.html",
                "/sdk",
                "/sdk/",
                "/notes.py",
                "/link.html",
                "/../secret.html",
                "/..%2fsecret.html",
                "/%2e%2e/secret.html",
                "/a%00b.html",
                f"/{'x' * 5000}.html",
                "//etc/passwd",
                f"/{tmp_path}/secret.html",
            ):
                # By hand: a client library would tidy these paths.
                reader, writer = await asyncio.open_connection(client.host, client.port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answer = await asyncio.wait_for(reader.read(), 10)
                writer.close()
                assert answer.startswith(b"HTTP/1.1 404 "), path
                assert b'"errCode": 1004' in answer

    asyncio.run(check())


def test_a_missing_folder_is_a_404(tmp_path: Path) -> None:
    async def check() -> None:
        plane = Plane()
        app = web.Application(middlewares=plane.app.middlewares)
        app.add_routes(Demo(plane.config, Tokens(plane.config), plane.devices, root=tmp_path / "none").routes())
        async with TestClient(TestServer(app)) as client:
            assert (await client.get("/")).status == 404

    asyncio.run(check())


def test_health_and_metrics() -> None:
    async def scene(plane: Plane) -> None:
        status, body, headers = await plane.asked("GET", "/metrics")
        assert (status, body) == (200, "relay_calls 0\n")
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        for path in ("/healthz", "/readyz"):
            status, body = await plane.ask("GET", path)
            assert status == 200
            assert body["status"]

    play(scene)


@pytest.mark.parametrize("demo", [True, False])
def test_only_demo_mode_has_demo_paths(demo: bool) -> None:
    async def check() -> None:
        plane = Plane(demo=demo)
        app = build(plane.config, plane.base_plane, plane.media, metrics=_none, ready=lambda: True)
        paths = {str(resource.canonical) for resource in app.router.resources()}
        assert ("/demo/token" in paths) == demo

    async def _none() -> bytes:
        return b""

    asyncio.run(check())
