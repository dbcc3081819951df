"""The history of calls: newest first, in pages, filtered, and for a party its own calls only."""

from typing import Any

import pytest

from api.estate import Estate, on_estate


async def ended_calls(e: Estate, *pairs: tuple[str, str]) -> list[str]:
    """Calls of a device to a user that are over, each a minute after the one before; their rooms, oldest first."""
    await e.model()
    rooms = []
    for sn, openid in pairs:
        await e.device(sn)
        await e.user(openid)
        if (await e.decide("ask", openid, sn))[0] == 200:
            await e.grant(openid, sn)
        e.plane.skew_s += 60
        status, made = await e.call(e.device_token(sn), caller={"id": sn}, listener={"id": openid})
        assert status == 201, made
        await e.end(made["roomId"])
        rooms.append(made["roomId"])
    return rooms


async def history(e: Estate, token: str | None = None, **query: Any) -> tuple[list[str], str | None]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await e.done("GET", f"/v1/calls?{text}", token or e.operator)
    return [call["roomId"] for call in answer["calls"]], answer["next"]


def test_newest_first_in_pages() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, *[("door", "ann")] * 7)
        assert await history(e) == (rooms[::-1], None)
        pages, cursor = [], None
        while True:
            page, cursor = await history(e, limit=3, **({} if cursor is None else {"before": cursor}))
            pages.append(page)
            if cursor is None:
                break
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [room for page in pages for room in page] == rooms[::-1]
        assert (await history(e, limit=7))[1] is None, "the last page knows that it is the last"

    on_estate(scene)


def test_calls_of_the_same_millisecond_are_parted_by_pages_too() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, *[("door", "ann")] * 4)
        now = e.plane.wall()
        e.plane.wall = lambda: now  # type: ignore[method-assign]
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(4):
            page, cursor = await history(e, limit=1, **({} if cursor is None else {"before": cursor}))
            seen += page
        assert sorted(seen) == sorted(rooms)
        assert cursor is None

    on_estate(scene)


def test_new_calls_do_not_shift_the_pages() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, *[("door", "ann")] * 4)
        first, cursor = await history(e, limit=2)
        await ended_calls(e, ("door", "ann"))
        second, _ = await history(e, limit=2, before=cursor)
        assert first + second == rooms[::-1]

    on_estate(scene)


def test_filters() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, ("door", "ann"), ("door", "bob"), ("gate", "ann"), ("gate", "bob"))
        assert (await history(e, sn="door"))[0] == [rooms[1], rooms[0]]
        assert (await history(e, openid="ann"))[0] == [rooms[2], rooms[0]]
        assert (await history(e, sn="gate", openid="bob"))[0] == [rooms[3]]
        assert (await history(e, sn="nobody"))[0] == []
        calls = (await e.done("GET", "/v1/calls", e.operator))["calls"]
        at = {call["roomId"]: call["createdAt"] for call in calls}
        assert (await history(e, **{"from": at[rooms[2]]}))[0] == [rooms[3], rooms[2]]
        assert (await history(e, to=at[rooms[1]]))[0] == [rooms[1], rooms[0]]
        assert (await history(e, **{"from": at[rooms[1]], "to": at[rooms[2]]}))[0] == [rooms[2], rooms[1]]
        assert (await history(e, **{"from": at[rooms[2]], "to": at[rooms[1]]}))[0] == []

    on_estate(scene)


def test_a_party_sees_its_own_calls_only() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, ("door", "ann"), ("door", "bob"), ("gate", "ann"))
        ann, door = e.user_token("ann"), e.device_token("door")
        assert (await history(e, ann))[0] == [rooms[2], rooms[0]]
        assert (await history(e, door))[0] == [rooms[1], rooms[0]]
        assert (await history(e, ann, sn="door"))[0] == [rooms[0]]
        assert (await history(e, ann, openid="bob"))[0] == [], "nobody asks for another one's calls"
        assert (await history(e, door, sn="gate"))[0] == []
        assert (await history(e, e.user_token("stranger")))[0] == []

    on_estate(scene)


def test_an_entry_says_everything() -> None:
    async def scene(e: Estate) -> None:
        (room,) = await ended_calls(e, ("door", "ann"))
        (entry,) = (await e.done("GET", "/v1/calls", e.operator))["calls"]
        times = {name: entry.pop(name) for name in ("createdAt", "endedAt")}
        assert times["createdAt"] <= times["endedAt"]
        assert entry == {
            "roomId": room, "groupId": room, "state": "SETTLED", "roomType": "video", "direction": "device_to_user",
            "target": None, "businessType": 1, "chargeType": "license", "appid": "wx1", "modelId": "m1",
            "caller": {"id": "door", "name": "Front Doorbell", "kind": "device", "cameraStatus": 0},
            "listener": {"id": "ann", "name": "", "kind": "user", "cameraStatus": 0},
            "listeners": [{"id": "ann", "name": "", "kind": "user", "outcome": "cancelled"}],
            "strategy": "sequential", "keepTime": 0, "timeLimit": None, "ringTimeout": 60.0,
            "answeredAt": None, "startedAt": None,
            "endReason": "forced", "reason": "the operator ended the call", "errCode": 0, "errMsg": "",
        }  # fmt: skip
        assert await e.done("GET", f"/v1/calls/{room}", e.device_token()) == {**entry, **times}

    on_estate(scene)


def test_a_call_that_goes_on_is_shown_as_it_is_now() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        room = await e.room()
        (entry,) = (await e.done("GET", "/v1/calls", e.operator))["calls"]
        assert (entry["roomId"], entry["state"], entry["endReason"]) == (room, "CREATED", None)
        assert entry["listeners"][0]["outcome"] == "ringing"
        await e.done("POST", f"/v1/calls/{room}/answer", e.user_token(), {})
        (entry,) = (await e.done("GET", "/v1/calls", e.operator))["calls"]
        assert entry["state"] == "LISTENER_JOINING"

    on_estate(scene)


def test_records_outlive_the_memory() -> None:
    async def scene(e: Estate) -> None:
        rooms = await ended_calls(e, *[("door", "ann")] * 3)
        assert len(e.plane.service.records) == 1
        for room in rooms:
            assert (await e.done("GET", f"/v1/calls/{room}", e.user_token()))["endReason"] == "forced"
            assert (await e.ask("GET", f"/v1/calls/{room}", e.user_token("eve")))[0] == 404

    on_estate(scene, max_records=1)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "from=-1", "to=x", "from=1.5", "before=x", "before=1", "before=-1-a", "sn="
     + "x" * 129, f"to={2**60}", "before=99999999999999999-a"],
)  # fmt: skip
def test_questions_that_are_none(query: str) -> None:
    async def scene(e: Estate) -> None:
        status, body = await e.ask("GET", f"/v1/calls?{query}", e.operator)
        assert (status, body["errCode"]) == (400, 1004)

    on_estate(scene)
