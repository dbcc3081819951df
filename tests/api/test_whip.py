"""WHIP and WHEP over real HTTP."""

import pytest

from api.plane import FRAGMENT, SDP, Plane, play

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:aaaa\r\n"
SENDS = HEAD + "m=audio 9 X 111\r\na=sendonly\r\n"
RECEIVES = HEAD + "m=audio 9 X 111\r\na=recvonly\r\n"


def leg(plane: Plane, room: str, role: str) -> str:
    return plane.tokens.mint("leg", "someone", 60, room=room, role=role)


async def offer(plane: Plane, path: str, token: str | None, sdp: str) -> tuple[int, str]:
    """Status and Location."""
    status, _, headers = await plane.asked("POST", path, token, data=sdp, headers=SDP)
    return status, headers.get("Location", "")


def test_publish_and_play() -> None:
    async def scene(plane: Plane) -> None:
        publisher, player = leg(plane, "cam", "publisher"), leg(plane, "cam", "player")
        assert (await offer(plane, "/whep/cam", player, RECEIVES))[0] == 404
        status, body, headers = await plane.asked("POST", "/whip/cam", publisher, data=SENDS, headers=SDP)
        assert status == 201
        assert body.startswith("v=0")
        assert headers["Location"].startswith("/whip/cam/")
        assert headers["ETag"]
        assert (await offer(plane, "/whip/cam", publisher, SENDS))[0] == 409
        locations = []
        for _ in range(3):
            status, location = await offer(plane, "/whep/cam", player, RECEIVES)
            assert status == 201
            assert location.startswith("/whep/cam/")
            locations.append(location)
        assert set(plane.media.legs.values()) == {"live/cam"}
        assert all(plane.media.live.values())
        assert (await plane.ask("DELETE", locations[0], publisher))[0] == 403
        assert (await plane.ask("DELETE", locations[0].replace("whep", "whip"), publisher))[0] == 404
        assert (await plane.ask("DELETE", locations[0], player))[0] == 200
        assert (await plane.ask("DELETE", locations[0], player))[0] == 404
        plane.media.say(locations[1].rpartition("/")[2], "lost")
        assert (await plane.ask("DELETE", locations[1], player))[0] == 404
        # With its publisher the room ends, and another may publish.
        assert (await plane.ask("DELETE", headers["Location"], publisher))[0] == 200
        assert (await plane.ask("DELETE", locations[2], player))[0] == 404
        assert plane.media.closed_rooms == ["live/cam"]
        assert (await offer(plane, "/whip/cam", plane.operator(), SENDS))[0] == 201

    play(scene)


def test_the_room_is_free_when_its_publisher_is_lost() -> None:
    async def scene(plane: Plane) -> None:
        _, location = await offer(plane, "/whip/cam", plane.operator(), SENDS)
        plane.media.say(location.rpartition("/")[2], "lost")
        assert (await offer(plane, "/whep/cam", plane.operator(), RECEIVES))[0] == 404
        assert (await offer(plane, "/whip/cam", plane.operator(), SENDS))[0] == 201

    play(scene)


def test_a_refused_publisher_leaves_the_room_free() -> None:
    async def scene(plane: Plane) -> None:
        assert (await offer(plane, "/whip/cam", plane.operator(), "m=audio 9 X 0\n"))[0] == 400
        assert (await offer(plane, "/whip/cam", plane.operator(), SENDS))[0] == 201

    play(scene)


def test_tokens() -> None:
    async def scene(plane: Plane) -> None:
        for token, status in [
            (None, 401),
            ("nonsense", 401),
            (plane.device(), 403),
            (plane.user(), 403),
            (leg(plane, "other", "publisher"), 403),
            (leg(plane, "cam", "player"), 403),
            (leg(plane, "cam", "caller"), 403),
        ]:
            assert (await offer(plane, "/whip/cam", token, SENDS))[0] == status
        assert (await offer(plane, "/whip/not%20a%20name", plane.operator(), SENDS))[0] == 400

    play(scene)


@pytest.mark.parametrize(
    ("path", "media", "status"),
    [
        ("/whep/cam", "m=audio 9 X 1\r\na=sendrecv\r\n", 422),
        ("/whep/cam", "m=audio 9 X 1\r\n", 422),
        ("/whep/cam", "m=video 9 X 1\r\na=recvonly\r\nm=audio 9 X 1\r\na=sendonly\r\n", 422),
        ("/whep/cam", "m=video 9 X 1\r\na=recvonly\r\nm=application 9 X 1\r\n", 201),
        ("/whep/cam", "a=recvonly\r\nm=video 9 X 1\r\n", 201),
        ("/whep/cam", "m=video 0 X 1\r\nm=audio 9 X 1\r\na=recvonly\r\n", 201),
        ("/whip/dog", "m=video 9 X 1\r\na=recvonly\r\n", 422),
        ("/whip/dog", "m=video 9 X 1\r\na=sendrecv\r\n", 201),
    ],
)
def test_directions(path: str, media: str, status: int) -> None:
    async def scene(plane: Plane) -> None:
        await offer(plane, "/whip/cam", plane.operator(), SENDS)
        assert (await offer(plane, path, plane.operator(), HEAD + media))[0] == status

    play(scene)


def test_restart_and_trickle() -> None:
    async def scene(plane: Plane) -> None:
        token = leg(plane, "cam", "publisher")
        _, _, headers = await plane.asked("POST", "/whip/cam", token, data=SENDS, headers=SDP)
        location, etag = headers["Location"], headers["ETag"]
        plane.skew_s = 600  # an old token may still end what it began
        for ufrag, match, expected in [("aaaa", etag, 204), ("bbbb", '"x"', 412), ("bbbb", "*", 200)]:
            status, body, headers = await plane.asked(
                "PATCH", location, token, data=f"a=ice-ufrag:{ufrag}\r\n", headers=FRAGMENT | {"If-Match": match}
            )
            assert status == expected
        assert "a=ice-ufrag:" in body
        assert headers["ETag"] != etag
        assert (await plane.ask("DELETE", location, token))[0] == 200
        assert (await offer(plane, "/whip/cam", token, SENDS))[0] == 401

    play(scene)


def test_limits() -> None:
    async def scene(plane: Plane) -> None:
        token = plane.operator()
        assert (await offer(plane, "/whip/cam", token, SENDS))[0] == 201
        assert (await offer(plane, "/whip/dog", token, SENDS))[0] == 429
        assert (await offer(plane, "/whep/cam", token, RECEIVES))[0] == 201
        assert (await offer(plane, "/whep/cam", token, RECEIVES))[0] == 429
        plane.service.drain()
        assert (await offer(plane, "/whep/cam", token, RECEIVES))[0] == 503

    play(scene, max_rooms=1, max_legs_per_room=2)


def test_options_and_other_methods() -> None:
    async def scene(plane: Plane) -> None:
        for path in ("/whip/cam", "/whep/cam", "/whip/cam/leg", "/v1/calls", "/v1/calls/x/legs/y"):
            status, _, headers = await plane.asked(
                "OPTIONS",
                path,
                headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"},
            )
            assert status == 204
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Authorization" in headers["Access-Control-Allow-Headers"]
            assert ("Accept-Post" in headers) == path.startswith("/wh")
        for method in ("GET", "HEAD", "PUT"):  # RFC 9725 §4.2
            assert (await plane.ask(method, "/whip/cam"))[0] == 405

    play(scene)
