"""The call plane over HTTP on both databases: calls from create to end, grants that permit them, history, restarts."""

import asyncio
from pathlib import Path
from typing import Any

from api.plane import OFFER, SDP, Plane, asked, running

from store.databases import Database, settled

STRICT = {"require_grants": True, "require_registration": True}


def play(database: Database, scene: Any, **settings: Any) -> None:
    async def run() -> None:
        async with running(store=database.url, **settings) as plane:
            await scene(plane)

    asyncio.run(run())


async def come_in(plane: Plane, room: str, credential: str) -> None:
    code, _, headers = await plane.asked("POST", f"/v1/calls/{room}/legs", credential, data=OFFER, headers=SDP)
    assert code == 201
    plane.media.say(headers["Location"].rpartition("/")[2], "connected")


async def good(plane: Plane, method: str, path: str, token: str, json: Any = None) -> Any:
    code, body = await plane.ask(method, path, token, json=json)
    assert code in (200, 201), body
    return body


async def history(plane: Plane, token: str, query: str = "") -> list[dict[str, Any]]:
    return list((await good(plane, "GET", f"/v1/calls{query}", token))["calls"])


def test_a_call_from_create_to_end_and_its_record(database: Database) -> None:
    rooms: list[str] = []

    async def first(plane: Plane) -> None:
        async with plane.listen(plane.device()) as door, plane.listen(plane.user()) as ann:
            made = await plane.create()
            room = made["roomId"]
            rooms.append(room)
            assert (await ann.receive_json(timeout=10))["eventName"] == "incomingCall"
            await come_in(plane, room, made["credential"])
            answered = await good(plane, "POST", f"/v1/calls/{room}/answer", plane.user())
            await come_in(plane, room, answered["credential"])
            names = []
            while "startVoip" not in names:
                names.append((await door.receive_json(timeout=10))["eventName"])
            (live,) = await history(plane, plane.user())
            assert (live["state"], live["roomId"]) == ("TALKING", room)
            await good(plane, "POST", f"/v1/calls/{room}/hangup", plane.user())
            (over,) = await history(plane, plane.device())
            assert (over["state"], over["endReason"]) == ("SETTLED", "hangup"), (
                "a call that just ended is read as ended"
            )

    async def second(plane: Plane) -> None:
        view = await good(plane, "GET", f"/v1/calls/{rooms[0]}", plane.user())
        assert (view["state"], view["endReason"]) == ("SETTLED", "hangup")
        assert view["createdAt"] <= view["answeredAt"] <= view["startedAt"] <= view["endedAt"]
        assert [call["roomId"] for call in await history(plane, plane.device())] == rooms
        assert await history(plane, plane.user("bob")) == []
        code, body = await plane.ask("GET", f"/v1/calls/{rooms[0]}", plane.user("bob"))
        assert (code, body["errCode"]) == (404, 1)

    play(database, first)
    play(database, second)


def test_a_grant_permits_and_its_end_forbids(database: Database) -> None:
    async def scene(plane: Plane) -> None:
        operator, user = plane.operator(), plane.user()

        async def refused() -> int:
            code, body = await plane.ask("POST", "/v1/calls", plane.device(), json=asked())
            assert code >= 400
            return int(body["errCode"])

        assert await refused() == 2
        await good(plane, "PUT", "/v1/models/m1", operator, {"name": "Bell"})
        await good(plane, "PUT", "/v1/devices/door", operator, {"modelId": "m1"})
        assert await refused() == 20
        ticket = (await good(plane, "POST", "/v1/tickets", operator, {"sn": "door", "model_id": "m1"}))["sn_ticket"]
        body = {"sn": "door", "modelId": "m1", "snTicket": ticket, "deviceName": "Door"}
        grant = await good(plane, "POST", "/v1/grants", user, body)
        assert grant["status"] == 1
        made = await plane.create()
        assert made["caller"]["name"] == "Door Bell", "the name of the grant and the model are shown"
        await good(plane, "POST", f"/v1/calls/{made['roomId']}/reject", user)
        assert (await good(plane, "GET", "/v1/grants", user))["list"][0]["status"] == 1
        await good(plane, "DELETE", f"/v1/grants/{grant['grantId']}", user)
        assert await refused() == 9
        assert (await good(plane, "GET", "/v1/grants", user))["list"][0]["status"] == 0
        assert len(await history(plane, operator)) == 1

    play(database, scene, **STRICT)


def test_a_grant_by_group(database: Database) -> None:
    async def scene(plane: Plane) -> None:
        operator, user = plane.operator(), plane.user()
        await good(plane, "PUT", "/v1/devices/door", operator, {"modelId": "m1"})
        group = await good(plane, "POST", "/v1/groups", operator, {"group_name": "House", "model_id": "m1"})
        path = f"/v1/groups/{group['group_id']}/devices"
        await good(plane, "POST", path, operator, {"device_list": [{"sn": "door"}]})
        await good(plane, "POST", "/v1/grants", user, {"isGroup": True, "groupId": group["group_id"]})
        made = await plane.create()
        await good(plane, "POST", f"/v1/calls/{made['roomId']}/hangup", operator)
        await good(plane, "DELETE", path, operator, {"device_list": [{"sn": "door"}]})
        code, body = await plane.ask("POST", "/v1/calls", plane.device(), json=asked())
        assert (code, body["errCode"]) == (403, 9)

    play(database, scene, **STRICT)


def test_many_calls_at_once_are_all_on_record(database: Database) -> None:
    async def scene(plane: Plane) -> None:
        reasons: dict[str, str] = {}

        async def one(number: int) -> None:
            device, user = plane.device(f"d{number}"), plane.user(f"u{number}")
            body = asked(caller={"id": f"d{number}"}, listener={"id": f"u{number}"})
            room = (await good(plane, "POST", "/v1/calls", device, body))["roomId"]
            how, who, reason = [
                ("hangup", device, "cancelled"),
                ("reject", user, "rejected"),
                ("hangup", plane.operator(), "forced"),
            ][number % 3]
            await good(plane, "POST", f"/v1/calls/{room}/{how}", who)
            reasons[room] = reason

        await asyncio.gather(*(one(number) for number in range(120)))
        found: dict[str, str] = {}
        path = "/v1/calls?limit=50"
        while True:
            page = await good(plane, "GET", path, plane.operator())
            found.update((call["roomId"], call["endReason"]) for call in page["calls"])
            if page["next"] is None:
                break
            path = f"/v1/calls?limit=50&before={page['next']}"
        assert found == reasons
        assert [call["caller"]["id"] for call in await history(plane, plane.operator(), "?sn=d7&openid=u7")] == ["d7"]

    play(database, scene)


def test_the_same_key_again_is_the_same_call(database: Database) -> None:
    async def scene(plane: Plane) -> None:
        headers = {"Idempotency-Key": "k1"}
        answers = await asyncio.gather(
            *(plane.ask("POST", "/v1/calls", plane.device(), json=asked(), headers=headers) for _ in range(5))
        )
        assert len({body["roomId"] for _, body in answers}) == 1
        assert database.value("SELECT count(*) FROM calls") == 1

    play(database, scene)


def test_the_end_of_a_call_is_written_in_one_piece(tmp_path: Path) -> None:
    """A node may die between any two pieces, and the next life looks for live calls alone."""
    database = Database(tmp_path / "relay.sqlite3")

    async def scene(plane: Plane) -> None:
        database.rows("CREATE TABLE steps (live INTEGER, state TEXT)")
        database.rows(
            "CREATE TRIGGER step AFTER UPDATE ON calls BEGIN "
            "INSERT INTO steps VALUES (NEW.live, json_extract(NEW.view, '$.state')); END"
        )
        room = (await plane.create())["roomId"]
        await good(plane, "POST", f"/v1/calls/{room}/hangup", plane.device())
        await settled(plane.base_plane.store)
        assert database.rows("SELECT * FROM steps") == [(0, "SETTLED")]

    play(database, scene)
