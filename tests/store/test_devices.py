"""Devices and users on record: made known, changed, registered, seen; two nodes at once."""

import asyncio

import msgspec
import pytest

from relay.calls.devices import DeviceEntry, Model, Profile
from relay.calls.tickets import ticket_fits
from relay.errors import ApiError
from store.databases import NOW_MS, Database, Parts, play, play_two


def refused(fault: pytest.ExceptionInfo[ApiError]) -> tuple[int, int]:
    return fault.value.status, fault.value.code


def test_a_device_is_made_known_changed_and_forgotten(database: Database) -> None:
    async def scene(node: Parts) -> None:
        made = await node.devices.put("door", DeviceEntry("m1", "Front door", "wmpf", 2_000_000_000), NOW_MS)
        assert made.device_secret
        assert (made.name, made.kind, made.registered) == ("Front door", "wmpf", False)
        assert made.license_expire_timestamp == 2_000_000_000
        changed = await node.devices.put("door", DeviceEntry("m2", "Back door"), NOW_MS + 1)
        assert not changed.device_secret, "told once"
        assert (changed.model_id, changed.name, changed.kind) == ("m2", "Back door", "wmpf"), "what is left out stays"
        assert changed.license_expire_timestamp == 2_000_000_000
        entry = DeviceEntry("m2", license_expire_timestamp=None)
        changed = await node.devices.put("door", entry, NOW_MS + 2)
        assert (changed.name, changed.license_expire_timestamp) == ("Back door", None)
        assert await node.devices.view("door") == changed
        assert await node.devices.authenticate("door", made.device_secret, NOW_MS) == "m2"
        for wrong in ("", "x", made.device_secret + "x"):
            with pytest.raises(ApiError) as fault:
                await node.devices.authenticate("door", wrong, NOW_MS)
            assert refused(fault) == (401, 13)
        await node.devices.remove("door")
        for unknown in (node.devices.view("door"), node.devices.remove("door"), node.devices.profile("door")):
            with pytest.raises(ApiError) as fault:
                await unknown
            assert refused(fault) == (404, 2)

    play(database, scene)


def test_a_device_outlives_its_node_but_its_secret_is_not_on_record(database: Database) -> None:
    secrets: list[str] = []

    async def before(node: Parts) -> None:
        secrets.append((await node.devices.put("door", DeviceEntry("m1", "门口 🔔"), NOW_MS)).device_secret)
        await node.devices.put_profile("door", {"cameraRotation": 90})

    async def after(node: Parts) -> None:
        assert (await node.devices.view("door")).name == "门口 🔔"
        assert await node.devices.authenticate("door", secrets[0], NOW_MS) == "m1"
        assert (await node.devices.profile("door")).camera_rotation == 90

    play(database, before)
    assert secrets[0] not in repr(database.rows("SELECT * FROM devices"))
    play(database, after)


def test_a_device_registers_itself_with_a_ticket_once(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        ticket = await node.tickets.issue("door", "m1", NOW_MS)
        for sn, model, given, expected in (
            ("gate", "m1", ticket, (404, 9800004)),
            ("door", "m2", ticket, (403, 9800003)),
            ("door", "m1", "wrong", (403, 9800011)),
        ):
            with pytest.raises(ApiError) as fault:
                await node.devices.register(sn, model, given, NOW_MS)
            assert refused(fault) == expected
        secret = await node.devices.register("door", "m1", ticket, NOW_MS)
        assert (await node.devices.view("door")).registered
        assert await node.devices.authenticate("door", secret, NOW_MS) == "m1"
        with pytest.raises(ApiError) as fault:
            await node.devices.register("door", "m1", ticket, NOW_MS)
        assert refused(fault) == (403, 9800011)

    play(database, scene)


def test_a_ticket_for_a_grant_cannot_take_over_a_device(database: Database) -> None:
    async def scene(node: Parts) -> None:
        made = await node.devices.put("door", DeviceEntry("m1"), NOW_MS)
        await node.devices.authenticate("door", made.device_secret, NOW_MS)  # the secret is in use
        for_a_user = await node.tickets.issue("door", "m1", NOW_MS)
        with pytest.raises(ApiError) as fault:
            await node.devices.register("door", "m1", for_a_user, NOW_MS)
        assert refused(fault) == (403, 9800011)
        again = await node.tickets.issue("door", "m1", NOW_MS, "register")
        assert not await node.store.run(lambda connection: ticket_fits(connection, again, "door", "m1", NOW_MS))
        secret = await node.devices.register("door", "m1", again, NOW_MS)
        assert await node.devices.authenticate("door", secret, NOW_MS) == "m1"

    play(database, scene)


def test_the_profile_keeps_what_a_change_does_not_name(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        await node.devices.put_profile("door", Profile(camera_rotation=180, hor_mirror=True))
        await node.devices.put_profile("door", Profile(hor_mirror=False))
        profile = await node.devices.profile("door")
        assert (profile.camera_rotation, profile.hor_mirror, profile.object_fit) == (180, False, msgspec.UNSET)

    play(database, scene)


def test_there_is_a_limit(database: Database) -> None:
    async def scene(node: Parts) -> None:
        for number in range(3):
            await node.device(f"d{number}")
        with pytest.raises(ApiError) as fault:
            await node.device("d3")
        assert fault.value.status == 429
        await node.device("d2", "m2")

    play(database, scene, max_devices=3)


def test_two_nodes_that_make_the_same_device_known_give_out_one_secret(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        for number in range(20):
            sn = f"d{number}"
            views = await asyncio.gather(
                *(node.devices.put(sn, DeviceEntry("m1"), NOW_MS) for node in (one, other, one, other)),
                *(node.devices.learn(sn, "m1", "", NOW_MS) for node in (one, other)),
            )
            secrets = [view.device_secret for view in views if view is not None and view.device_secret]
            assert len(secrets) <= 1
            if secrets:
                assert await other.devices.authenticate(sn, secrets[0], NOW_MS) == "m1"
        assert database.value("SELECT count(*) FROM devices") == 20

    play_two(database, scene)


def test_users_and_models_are_written_by_whoever_comes_first(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        for number in range(20):
            await asyncio.gather(
                *(node.devices.saw_user(f"u{number}", "wx1", NOW_MS) for node in (one, other)),
                *(node.devices.put_model(f"m{number}", Model("wx1", "Bell")) for node in (one, other)),
            )
        await one.devices.saw_user("u3", "wx2", NOW_MS + 1)
        assert database.rows("SELECT appid FROM users WHERE openid = 'u3'") == [("wx2",)]
        assert database.value("SELECT count(*) FROM users") == 20
        assert database.value("SELECT count(*) FROM models") == 20

    play_two(database, scene)


def test_a_user_who_was_seen_is_not_written_again(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.devices.saw_user("ann", "wx1", NOW_MS)
        written = node.store.written
        for _ in range(50):
            await node.devices.saw_user("ann", "wx1", NOW_MS + 1)
        assert node.store.written == written

    play(database, scene)
