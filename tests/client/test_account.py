"""What the relay keeps about a device: push token, contacts, grants, picture profile. None of it needs to be online."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.client import Contact, Device, Grant, Refused

from .peer import SmallRelay


@contextlib.asynccontextmanager
async def offline(relay: SmallRelay, **options: Any) -> AsyncIterator[Device]:
    device = Device("SN-1", relay.url, **options)
    try:
        yield device
    finally:
        await device.close()
        assert relay.connections == 0


def test_a_push_token_has_its_end() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay) as device:
            given = await device.push_token()
            assert (given.token, given.expire_timestamp) == ("push-1", 1_900_000_000)

    asyncio.run(main())


def test_contacts_say_who_may_be_called() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay, model_id="MODEL-1") as device:
            contacts = await device.contacts(["alice", "bob"])
            assert contacts == [Contact("alice", 1, "SN-1", "MODEL-1"), Contact("bob", 0, "SN-1", "MODEL-1")]
            assert [contact.allowed for contact in contacts] == [True, False]
            assert relay.requests[-1][2] == {"model_id": "MODEL-1", "openid_list": ["alice", "bob"]}

    asyncio.run(main())


def test_a_device_that_does_not_know_its_model_asks() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay) as device:
            await device.contacts(iter(["alice"]))
            assert relay.requests[-1][2]["model_id"] == "MODEL-OF-THE-RELAY"

    asyncio.run(main())


def test_grants_are_listed() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay) as device:
            assert await device.grants() == [Grant(openid="alice", status=1, grant_id="g-1")]

    asyncio.run(main())


def test_a_profile_is_read_and_changed_in_part() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay) as device:
            assert (await device.profile()).camera_rotation == 0
            profile = await device.set_profile(camera_rotation=90, hor_mirror=True)
            assert (profile.camera_rotation, profile.hor_mirror, profile.object_fit) == (90, True, "fill")
            assert relay.requests[-1][:3] == (
                "PUT",
                "/v1/devices/SN-1/profile",
                {"cameraRotation": 90, "horMirror": True},
            )
            with pytest.raises(TypeError, match="has no colour"):
                await device.set_profile(colour="red")

    asyncio.run(main())


def test_what_the_relay_refuses_is_raised() -> None:
    async def main() -> None:
        async with SmallRelay() as relay, offline(relay) as device:
            relay.refuse["profile"] = (400, {"errCode": 1004, "errMsg": "cameraRotation: 0, 90, 180 or 270"})
            with pytest.raises(Refused, match="cameraRotation"):
                await device.set_profile(camera_rotation=45)

    asyncio.run(main())
