"""Which names are shown (plugin-interface §1.3, §4.1): a device's is not its own to choose. And picture profiles."""

from typing import Any

import pytest

from api.estate import Estate, on_estate

DEFAULTS = {
    "cameraRotation": 0, "horMirror": False, "vertMirror": False, "enableToggleCamera": True, "objectFit": "fill",
}  # fmt: skip


async def shown(e: Estate) -> str:
    """What the user sees when the device calls."""
    async with e.plane.listen(e.user_token()) as ann:
        status, made = await e.call(caller={"id": "door", "name": "A name of its own"})
        assert status == 201, made
        notice = await ann.receive_json(timeout=10)
        await e.end(made["roomId"])
        names = [notice["data"]["callerName"], made["caller"]["name"]]
        while notice["eventName"] != "endVoip":
            notice = await ann.receive_json(timeout=10)
        names.append(notice["data"]["callerName"])
        view = await e.done("GET", f"/v1/calls/{made['roomId']}", e.operator)
        names.append(view["caller"]["name"])
    assert len(set(names)) == 1, names
    return str(names[0])


@pytest.mark.parametrize(
    ("granted", "device", "model", "name"),
    [
        ("Front", "Door 7", "Doorbell", "Front Doorbell"),
        ("Front", "", "Doorbell", "Front Doorbell"),
        ("Front", "Door 7", "", "Front"),
        ("", "Door 7", "Doorbell", "Door 7 Doorbell"),
        ("My Doorbell", "", "Doorbell", "My Doorbell"),
        ("前门", "", "门铃", "前门 门铃"),
    ],
)
def test_a_device_is_shown_as_it_was_authorised(granted: str, device: str, model: str, name: str) -> None:
    async def scene(e: Estate) -> None:
        await e.model(name=model)
        await e.device(name=device)
        await e.user()
        await e.grant(deviceName=granted)
        assert await shown(e) == name

    on_estate(scene)


def test_of_two_grants_the_devices_own_comes_before_its_groups() -> None:
    async def scene(e: Estate) -> None:
        await e.model()
        await e.device(name="Plain")
        await e.user()
        group = await e.group("door")
        await e.decide_group(group)
        assert await shown(e) == "Plain Doorbell", "a group's grant has no name for a single device"
        await e.grant()
        assert await shown(e) == "Front Doorbell"

    on_estate(scene)


def test_a_called_device_is_shown_the_same_way() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        async with e.plane.listen(e.device_token()) as door:
            status, made = await e.call_device(listener={"id": "door", "name": "A name of its own"})
            assert status == 201, made
            notice = await door.receive_json(timeout=10)
        assert made["listener"]["name"] == notice["data"]["listenerName"] == "Front Doorbell"
        assert made["caller"]["name"] == notice["data"]["callerName"] == "Ann", "a user says its own name"
        await e.end(made["roomId"])

    on_estate(scene)


# --- profiles ---


def test_a_profile_is_kept_and_changed_in_parts() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        path, door = "/v1/devices/door/profile", e.device_token()
        before = await e.done("GET", path, door)
        assert {name: before[name] for name in DEFAULTS} == DEFAULTS
        await e.done("PUT", path, door, {"cameraRotation": 90, "objectFit": "contain"})
        after = await e.done("PUT", path, e.operator, {"horMirror": True, "aspectRatio": 1.5})
        expected = {**DEFAULTS, "cameraRotation": 90, "objectFit": "contain", "horMirror": True, "aspectRatio": 1.5}
        assert after == expected
        assert await e.done("GET", path, e.operator) == expected
        assert (await e.done("PUT", path, door, {}))["cameraRotation"] == 90

    on_estate(scene)


@pytest.mark.parametrize(
    "change",
    [
        {"cameraRotation": 45}, {"aspectRatio": 0}, {"aspectRatio": -1}, {"objectFit": "cover"}, {"horMirror": "yes"},
        {"enableToggleCamera": 1},
    ],
)  # fmt: skip
def test_values_that_the_plugin_does_not_know(change: dict[str, Any]) -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        status, body = await e.ask("PUT", "/v1/devices/door/profile", e.device_token(), change)
        assert (status, body["errCode"]) == (400, 1004)
        after = await e.done("GET", "/v1/devices/door/profile", e.device_token())
        assert {name: after[name] for name in DEFAULTS} == DEFAULTS

    on_estate(scene)


def test_both_sides_are_told_the_devices_profile() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        await e.done("PUT", "/v1/devices/door/profile", e.device_token(), {"cameraRotation": 270})

        async def profiles(made: dict[str, Any], socket: Any) -> list[Any]:
            data = (await socket.receive_json(timeout=10))["data"]
            await e.end(made["roomId"])
            both = [(made["callerProfile"], data["callerProfile"]), (made["listenerProfile"], data["listenerProfile"])]
            assert all(left == right for left, right in both), "the ring notice says the same"
            return [left for left, _ in both]

        async with e.plane.listen(e.user_token()) as ann:
            caller, listener = await profiles((await e.call())[1], ann)
        assert (caller["cameraRotation"], listener) == (270, None)
        async with e.plane.listen(e.device_token()) as door:
            caller, listener = await profiles((await e.call_device())[1], door)
        assert (caller, listener["cameraRotation"]) == (None, 270)

    on_estate(scene)


def test_a_device_without_a_profile_has_none_in_notices() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        _, made = await e.call()
        assert made["callerProfile"] is None
        assert made["listenerProfile"] is None

    on_estate(scene)


# --- what a called device is pushed ---


@pytest.mark.parametrize(
    ("fields", "app_type"),
    [
        ({}, 0), ({"envVersion": "release"}, 0), ({"envVersion": "develop"}, 1), ({"envVersion": "trial"}, 2),
        ({"miniprogramState": "developer"}, 1), ({"miniprogramState": "trial"}, 2),
    ],
)  # fmt: skip
def test_the_push_text_names_the_release_and_the_app(fields: dict[str, Any], app_type: int) -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        async with e.plane.listen(e.device_token()) as door:
            status, _ = await e.call_device(**fields)
            assert status == 201
            data = (await door.receive_json(timeout=10))["data"]
        assert (data["appType"], data["appid"]) == (app_type, "wx1")
        assert data["path"].startswith("/call.html?roomType=video&groupId=")

    on_estate(scene)


def test_what_the_calling_phone_is_asked_to_send_reaches_the_device() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        video: dict[str, Any] = {
            "encodeVideoFixedLength": 640, "encodeVideoRotation": 1, "encodeVideoRatio": 133, "encodeVideoMaxFPS": 15,
        }  # fmt: skip
        async with e.plane.listen(e.device_token()) as door:
            await e.call_device(target="device", **video)
            data = (await door.receive_json(timeout=10))["data"]
        assert data["encodeVideo"] == {"fixedLength": 640, "rotation": 1, "ratio": 133, "maxFPS": 15}

    on_estate(scene)
