"""Calls and their legs over real HTTP."""

import asyncio
from typing import Any

import pytest

from api.plane import FRAGMENT, OFFER, SDP, Plane, asked, play


def test_a_whole_call() -> None:
    async def scene(plane: Plane) -> None:
        made = await plane.create()
        room = made["roomId"]
        assert made["isSuccess"] is True
        assert made["groupId"] == room
        assert made["chargeType"] == "license"
        legs = f"/v1/calls/{room}/legs"
        status, answer, headers = await plane.asked("POST", legs, made["credential"], data=OFFER, headers=SDP)
        assert status == 201
        assert headers["Content-Type"].startswith("application/sdp")
        assert headers["Location"].startswith(legs)
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" in headers["Access-Control-Expose-Headers"]
        assert answer.startswith("v=0")
        caller_leg = headers["Location"].rpartition("/")[2]
        plane.media.say(caller_leg, "connected")

        status, answered = await plane.ask("POST", f"/v1/calls/{room}/answer", plane.user())
        assert status == 200
        assert answered["role"] == "listener"
        status, _, headers = await plane.asked("POST", legs, answered["credential"], data=OFFER, headers=SDP)
        assert status == 201
        plane.media.say(headers["Location"].rpartition("/")[2], "connected")

        status, view = await plane.ask("GET", f"/v1/calls/{room}", plane.user())
        assert (status, view["state"], view["caller"]["id"]) == (200, "TALKING", "door")
        status, stats = await plane.ask("GET", f"/v1/calls/{room}/stats", plane.operator())
        assert status == 200
        assert caller_leg in stats["media"]["legs"]
        status, body = await plane.ask("POST", f"/v1/calls/{room}/hangup", plane.device(), json={"origin": "manual"})
        assert (status, body) == (200, {"roomId": room})
        status, view = await plane.ask("GET", f"/v1/calls/{room}", plane.device())
        assert view["endReason"] == "hangup"
        status, _ = await plane.ask("DELETE", headers["Location"], plane.user())
        assert status == 404

    play(scene)


def test_user_calls_device() -> None:
    async def scene(plane: Plane) -> None:
        body = {
            "direction": "user_to_device",
            "businessType": 2,
            "roomType": "voice",
            "caller": {"id": "ann", "name": "Ann"},
            "listener": {"id": "door"},
            "target": "wmpf",
            "modelId": "m1",
        }
        status, made = await plane.ask("POST", "/v1/calls", plane.user(), json=body)
        assert status == 201
        status, view = await plane.ask("GET", f"/v1/calls/{made['roomId']}", plane.device())
        assert (view["businessType"], view["listener"]["kind"]) == (2, "device")

    play(scene)


@pytest.mark.parametrize(
    ("token", "change", "status", "code"),
    [
        ("device", {"roomType": "hologram"}, 400, 1004),
        ("device", {"timeLimit": 0}, 400, 1004),
        ("device", {"timeLimit": "ten"}, 400, 1004),
        ("device", {"ringTimeout": 4}, 400, 1004),
        ("device", {"caller": {"id": ""}}, 400, 1004),
        ("device", {"caller": {"id": "x" * 129}}, 400, 1004),
        ("device", {"caller": None}, 400, 1004),
        ("device", {"businessType": 0}, 400, 1011),
        ("device", {"businessType": 3}, 400, 1011),
        ("device", {"businessType": 2}, 400, 1004),
        ("none", {}, 401, 1001),
        ("garbage", {}, 401, 13),
        ("garbage", {"direction": "user_to_device"}, 401, 14),
        ("user", {}, 403, 1006),
        ("device", {"direction": "user_to_device"}, 403, 1007),
        ("other device", {}, 403, 13),
        ("operator", {"caller": {"id": "no spaces please"}}, 400, 2),
        ("device", {"listener": {"id": "no spaces please"}}, 400, 7),
    ],
)
def test_refused_calls(token: str, change: dict[str, Any], status: int, code: int) -> None:
    async def scene(plane: Plane) -> None:
        tokens = {
            "device": plane.device(),
            "other device": plane.device("gate"),
            "user": plane.user(),
            "operator": plane.operator(),
            "garbage": "a.b.c",
            "none": None,
        }
        got, body = await plane.ask("POST", "/v1/calls", tokens[token], json=asked(**change))
        assert (got, body["errCode"]) == (status, code), body
        assert body["errMsg"]
        assert len(plane.service) == 0

    play(scene)


def test_operator_calls_for_a_device_and_ends_the_call() -> None:
    async def scene(plane: Plane) -> None:
        status, made = await plane.ask("POST", "/v1/calls", plane.operator(), json=asked())
        assert status == 201
        status, _ = await plane.ask("POST", f"/v1/calls/{made['roomId']}/hangup", plane.operator())
        assert status == 200
        _, view = await plane.ask("GET", f"/v1/calls/{made['roomId']}", plane.operator())
        assert view["endReason"] == "forced"
        status, body = await plane.ask("POST", f"/v1/calls/{made['roomId']}/answer", plane.operator())
        assert (status, body["errCode"]) == (403, 2103)

    play(scene)


def test_idempotency_key() -> None:
    async def scene(plane: Plane) -> None:
        rooms = set()
        for _ in range(2):
            status, made = await plane.ask(
                "POST", "/v1/calls", plane.device(), json=asked(), headers={"Idempotency-Key": "once"}
            )
            assert status == 201
            rooms.add(made["roomId"])
        assert len(rooms) == 1
        status, _ = await plane.ask(
            "POST", "/v1/calls", plane.device(), json=asked(), headers={"Idempotency-Key": "x" * 129}
        )
        assert status == 400

    play(scene)


def test_strangers_find_nothing() -> None:
    async def scene(plane: Plane) -> None:
        room = (await plane.create())["roomId"]
        for path, method in [
            ("", "GET"),
            ("/stats", "GET"),
            ("/answer", "POST"),
            ("/join", "POST"),
            ("/reject", "POST"),
            ("/hangup", "POST"),
            ("/fail", "POST"),
        ]:
            mine = await plane.ask(method, f"/v1/calls/{room}{path}", plane.user("eve"))
            none = await plane.ask(method, "/v1/calls/" + "0" * 32 + path, plane.user("eve"))
            assert mine == none
            assert mine[0] == 404
            assert mine[1]["errCode"] == 1

    play(scene)


def test_one_answer_wins() -> None:
    async def scene(plane: Plane) -> None:
        room = (await plane.create())["roomId"]
        answers = await asyncio.gather(*(plane.ask("POST", f"/v1/calls/{room}/answer", plane.user()) for _ in range(4)))
        assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
        assert await plane.ask("POST", f"/v1/calls/{room}/reject", plane.user(), json={"status": "manual"})
        status, body = await plane.ask("POST", f"/v1/calls/{room}/join", plane.user())
        assert (status, body["errMsg"]) == (409, "retry join but voip is end")

    play(scene)


def test_a_credential_opens_one_leg_of_one_call() -> None:
    async def scene(plane: Plane) -> None:
        made = await plane.create()
        room = made["roomId"]
        path = f"/v1/calls/{room}/legs"

        async def offer(token: str | None, text: str = OFFER, to: str = path) -> tuple[int, int]:
            status, body = await plane.ask("POST", to, token, data=text, headers=SDP)
            return status, body["errCode"] if isinstance(body, dict) else 0

        assert await offer(None) == (401, 1001)
        assert await offer("rubbish") == (401, 2008)
        assert await offer(plane.device()) == (403, 2008)
        assert await offer(made["credential"], to="/v1/calls/other/legs") == (403, 2008)
        assert await offer(made["credential"], "not sdp") == (400, 1004)
        assert await offer(made["credential"]) == (201, 0), "a refused offer does not use it up"
        assert await offer(made["credential"]) == (401, 2008)
        status, joined = await plane.ask("POST", f"/v1/calls/{room}/join", plane.device())
        assert (status, joined["role"]) == (200, "caller")
        plane.skew_s = plane.config.credential_s + 10
        assert await offer(joined["credential"]) == (401, 2008)

    play(scene)


def test_leg_restart_and_leave() -> None:
    async def scene(plane: Plane) -> None:
        made = await plane.create()
        room, credential = made["roomId"], made["credential"]
        _, _, headers = await plane.asked("POST", f"/v1/calls/{room}/legs", credential, data=OFFER, headers=SDP)
        leg, etag = headers["Location"], headers["ETag"]
        plane.skew_s = 120  # the credential has run out, the leg has not

        async def patch(ufrag: str, token: str = credential, **more: str) -> tuple[int, str | None]:
            status, _, headers = await plane.asked(
                "PATCH", leg, token, data=f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n", headers=FRAGMENT | more
            )
            return status, headers.get("ETag")

        assert await patch("aaaa") == (204, None)
        assert (await patch("bbbb", plane.user()))[0] == 404
        assert (await patch("bbbb", plane.device("gate")))[0] == 404
        status, renewed = await patch("bbbb")
        assert status == 200
        assert renewed not in (etag, None)
        assert (await patch("cccc", **{"If-Match": etag}))[0] == 412
        assert (await patch("cccc", **{"If-Match": "*"}))[0] == 200
        status, _ = await plane.ask("PATCH", leg, credential, data="hello", headers=FRAGMENT)
        assert status == 400
        status, _ = await plane.ask("PATCH", leg, credential, data=OFFER, headers=SDP)
        assert status == 415
        assert (await plane.ask("DELETE", leg, plane.user()))[0] == 404
        assert (await plane.ask("DELETE", leg, credential))[0] == 200
        assert (await plane.ask("DELETE", leg, plane.device()))[0] == 404

    play(scene)


def test_join_failure_and_busy_by_request() -> None:
    async def scene(plane: Plane) -> None:
        room = (await plane.create())["roomId"]
        status, _ = await plane.ask("POST", f"/v1/calls/{room}/fail", plane.device(), json={"errMsg": "no camera"})
        assert status == 200
        room = (await plane.create())["roomId"]
        status, _ = await plane.ask("POST", f"/v1/calls/{room}/reject", plane.user(), json={"status": "busy"})
        assert status == 200
        _, view = await plane.ask("GET", f"/v1/calls/{room}", plane.user())
        assert view["endReason"] == "busy"

    play(scene)


def test_drain() -> None:
    async def scene(plane: Plane) -> None:
        made = await plane.create()
        plane.service.drain()
        plane.is_ready = False
        status, body = await plane.ask("POST", "/v1/calls", plane.device("gate"), json=asked(caller={"id": "gate"}))
        assert (status, body["errCode"]) == (503, 5)
        assert (await plane.ask("GET", "/readyz"))[0] == 503
        assert (await plane.ask("GET", "/healthz"))[0] == 200
        assert (await plane.ask("GET", f"/v1/calls/{made['roomId']}", plane.device()))[0] == 200

    play(scene)
