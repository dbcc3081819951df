"""Groups of devices (plugin-interface §4.4): 50 devices, one model, one group a device, and moving by force."""

import asyncio

import pytest

from api.estate import Estate, members, on_estate


async def code(e: Estate, method: str, group: str, *sns: str, **more: object) -> int:
    """0 for success."""
    _, body = await e.ask(method, f"/v1/groups/{group}/devices", e.operator, members(*sns, **more))
    return int(body.get("errCode", 0))


async def inside(e: Estate, group: str) -> list[str]:
    return [member["sn"] for member in (await e.done("GET", f"/v1/groups/{group}", e.operator))["device_list"]]


def test_a_group_and_its_devices() -> None:
    async def scene(e: Estate) -> None:
        await e.device("door")
        group = await e.group("door")
        assert await e.done("GET", f"/v1/groups/{group}", e.operator) == {
            "group_id": group, "group_name": "School", "model_id": "m1", "max_devices": 50,
            "device_list": [{"sn": "door", "model_id": "m1"}],
        }  # fmt: skip
        assert (await e.done("GET", "/v1/devices/door", e.operator))["groupId"] == group
        assert await code(e, "DELETE", group, "door") == 0
        assert await inside(e, group) == []
        assert (await e.done("GET", "/v1/devices/door", e.operator)).get("groupId") is None

    on_estate(scene)


def test_the_fifty_first_device() -> None:
    async def scene(e: Estate) -> None:
        for number in range(51):
            await e.device(f"d{number}")
        group = await e.group(*(f"d{number}" for number in range(50)))
        assert await code(e, "POST", group, "d50") == 9800016
        assert len(await inside(e, group)) == 50
        larger = await e.done("PATCH", f"/v1/groups/{group}", e.operator, {"max_devices": 51})
        assert larger["max_devices"] == 51
        assert await code(e, "POST", group, "d50") == 0
        assert len(await inside(e, group)) == 51

    on_estate(scene)


def test_a_smaller_group_keeps_who_is_in_it() -> None:
    async def scene(e: Estate) -> None:
        for sn in ("d1", "d2", "d3"):
            await e.device(sn)
        group = await e.group("d1", "d2")
        await e.done("PATCH", f"/v1/groups/{group}", e.operator, {"max_devices": 1})
        assert await inside(e, group) == ["d1", "d2"]
        assert await code(e, "POST", group, "d3") == 9800016

    on_estate(scene)


def test_a_device_is_in_one_group_and_moves_by_force() -> None:
    async def scene(e: Estate) -> None:
        await e.device()
        first, second = await e.group("door"), await e.group(name="Other")
        assert await code(e, "POST", second, "door") == 9800018
        assert (await inside(e, first), await inside(e, second)) == (["door"], [])
        assert await code(e, "POST", second, "door", force_add=True) == 0
        assert (await inside(e, first), await inside(e, second)) == ([], ["door"])
        assert await code(e, "POST", second, "door", force_add=True) == 9800015

    on_estate(scene)


@pytest.mark.parametrize(
    ("sns", "expected"),
    [
        (("d1", "nobody"), 9800004),
        (("d1", "camera"), 9800014),
        (("d1", "elsewhere"), 9800018),
        (("d1", "d1"), 1004),
        (("d1", "d2", "d3"), 9800016),
        (("d1", "member"), 9800015),
    ],
)
def test_adding_is_all_or_nothing(sns: tuple[str, ...], expected: int) -> None:
    async def scene(e: Estate) -> None:
        for sn in ("d1", "d2", "d3", "member", "elsewhere"):
            await e.device(sn)
        await e.device("camera", "m2")
        await e.group("elsewhere", name="Other")
        group = await e.group("member")
        assert await code(e, "POST", group, *sns) == expected
        assert await inside(e, group) == ["member"]

    on_estate(scene, group_devices=3)


def test_taking_out_is_all_or_nothing() -> None:
    async def scene(e: Estate) -> None:
        await e.device("d1")
        await e.device("d2")
        group = await e.group("d1")
        assert await code(e, "DELETE", group, "d1", "d2") == 9800017
        assert await inside(e, group) == ["d1"]

    on_estate(scene)


def test_two_requests_reach_for_the_last_place() -> None:
    async def scene(e: Estate) -> None:
        for sn in ("d1", "d2"):
            await e.device(sn)
        group = await e.group()
        codes = await asyncio.gather(code(e, "POST", group, "d1"), code(e, "POST", group, "d2"))
        assert sorted(codes) == [0, 9800016]
        assert len(await inside(e, group)) == 1

    on_estate(scene, group_devices=1)


@pytest.mark.parametrize(("name", "good"), [("", False), ("x", True), ("x" * 32, True), ("é" * 17, False)])
def test_a_name_has_1_to_32_bytes(name: str, good: bool) -> None:
    async def scene(e: Estate) -> None:
        status, body = await e.ask("POST", "/v1/groups", e.operator, {"group_name": name, "model_id": "m1"})
        assert status == (201 if good else 400)
        assert good or body["errCode"] == 9800012

    on_estate(scene)


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST", "DELETE"])
def test_an_unknown_group(method: str) -> None:
    async def scene(e: Estate) -> None:
        await e.device()
        path = "/v1/groups/none" + ("/devices" if method in ("POST", "DELETE") else "")
        body = {"max_devices": 3} if method == "PATCH" else members("door")
        status, refusal = await e.ask(method, path, e.operator, None if method == "GET" else body)
        assert (status, refusal["errCode"]) == (404, 9800013)

    on_estate(scene)
