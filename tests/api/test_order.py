"""The order of the checks at create (plugin-interface §7.7): what breaks several gets the code of the first.

A request that breaks everything is repaired one fault at a time; after each repair the next code must come.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from api.estate import Estate, on_estate

Repair = Callable[[], Awaitable[Any]]
LICENSED = {"require_licence": True, "max_calls": 1}


async def repair_all(estate: Estate, ask: Callable[[], Awaitable[Any]], steps: list[tuple[int, Repair]]) -> None:
    """Each step: the code that must come now, then what repairs it. At the end the call goes through."""
    for code, repair in steps:
        status, body = await ask()
        assert status >= 400
        assert body["errCode"] == code, f"expected {code}: {body}"
        await repair()
    status, body = await ask()
    assert status == 201, body


class Draft:
    """A request that changes, and the things around it."""

    def __init__(self, estate: Estate, body: dict[str, Any], token: str) -> None:
        self.estate = estate
        self.body = body
        self.token = token

    async def ask(self) -> Any:
        return await self.estate.ask("POST", "/v1/calls", self.token, self.body)

    def put(self, **fields: Any) -> Repair:
        async def repair() -> None:
            self.body |= fields

        return repair

    def use(self, token: str) -> Repair:
        async def repair() -> None:
            self.token = token

        return repair

    def drop(self, name: str) -> Repair:
        async def repair() -> None:
            del self.body[name]

        return repair


def test_a_device_calls_a_user() -> None:
    async def scene(e: Estate) -> None:
        service = e.plane.service
        # Another call of the device goes on, to somebody with a grant and a licence.
        await e.model(chargeTypes=["duration", "license"])
        await e.model("m2")
        await e.device(licenseExpireTimestamp=int(e.plane.wall()) + 1000)
        await e.user("eve")
        await e.grant("eve")
        status, other = await e.call(listener={"id": "eve"})
        assert status == 201
        # A second device's call keeps the node full until the end.
        draft = Draft(
            e,
            {
                "direction": "device_to_user",
                "roomType": "hologram",
                "businessType": 3,
                "caller": {"id": "door"},
                "listener": {"id": "not an openid"},
                "voipToken": "wrong",
                "modelId": "m1",
                "chargeType": "license",
            },
            e.user_token(),
        )

        async def forget_device() -> None:
            await e.end(other["roomId"])
            await e.done("DELETE", "/v1/devices/door", e.operator)

        async def another_model() -> None:
            await e.device("door", "m2")

        async def first_model() -> None:
            await e.device("door", "m1")

        async def sign_in() -> None:
            await e.user("ann", "wx2")

        async def right_app() -> None:
            await e.user("ann", "wx1")

        async def grant() -> None:
            await e.grant()
            await e.model(approved=False, chargeTypes=["duration"], inArrears=True)

        async def approve() -> None:
            await e.model(chargeTypes=["duration"], inArrears=True)

        async def allow_licence() -> None:
            await e.model(inArrears=True)

        async def licence(offset_s: int) -> None:
            await e.device(licenseExpireTimestamp=int(e.plane.wall()) + offset_s)

        async def pay() -> None:
            await e.model()
            service.drain()

        async def reopen() -> None:
            service.draining = False

        await repair_all(
            e,
            draft.ask,
            [
                (1004, draft.put(roomType="video")),
                (1011, draft.drop("businessType")),
                (1006, draft.use(e.device_token())),
                (1005, forget_device),
                (13, draft.put(voipToken=e.device_token(model_id="m2"))),
                (17, draft.put(voipToken=e.device_token())),
                (7, draft.put(listener={"id": "ann"})),
                (2, another_model),
                (17, first_model),
                (20, sign_in),
                (19, right_app),
                (9, grant),
                (12, approve),
                (22, allow_licence),
                (24, lambda: licence(-1)),
                (23, draft.put(chargeType="duration")),
                (15, pay),
                (5, reopen),
            ],
        )

    on_estate(scene, **LICENSED)


def test_a_user_calls_a_device() -> None:
    async def scene(e: Estate) -> None:
        service = e.plane.service
        await e.model()
        await e.device("gate", licenseExpireTimestamp=int(e.plane.wall()) + 1000)
        status, other = await e.call_device(
            e.user_token(appid="wx1"), target="device", listener={"id": "gate"}, chargeType="license"
        )
        assert status == 201, other
        draft = Draft(
            e,
            {
                "direction": "user_to_device",
                "roomType": "video",
                "caller": {"id": "ann", "cameraStatus": 2},
                "listener": {"id": "not an sn"},
                "modelId": "m2",
                "chargeType": "license",
            },
            e.device_token(),
        )

        async def hang_up() -> None:
            await e.end(other["roomId"])

        async def make_device() -> None:
            await e.device("door", "m2")

        async def first_model() -> None:
            await e.device("door", "m1")

        async def grant() -> None:
            await e.grant()
            await e.model(approved=False)

        async def approve() -> None:
            await e.model()

        async def licence(offset_s: int) -> None:
            await e.device(licenseExpireTimestamp=int(e.plane.wall()) + offset_s)

        async def last_licence() -> None:
            await licence(1000)
            service.drain()

        async def reopen() -> None:
            service.draining = False

        await repair_all(
            e,
            draft.ask,
            [
                (1004, draft.put(caller={"id": "ann"})),
                (1007, draft.use(e.user_token(appid="wx2"))),
                (1005, hang_up),
                (1001, draft.put(voipToken="wrong")),
                (14, draft.put(voipToken=e.push_token("not an sn"))),
                (17, draft.put(modelId="m1")),
                (2, draft.put(listener={"id": "door"}, voipToken=e.push_token())),
                (2, make_device),
                (17, first_model),
                (19, draft.use(e.user_token(appid="wx1"))),
                (9, grant),
                (12, approve),
                (24, lambda: licence(-1)),
                (23, last_licence),
                (5, reopen),
            ],
        )

    on_estate(scene, require_licence=True)


def test_what_is_wrong_in_shape_comes_before_everything() -> None:
    """Also what only several fields together make wrong."""

    async def scene(e: Estate) -> None:
        await e.all()
        room = await e.room()
        wrong: tuple[dict[str, Any], ...] = (
            {"listeners": [{"id": "bob"}]},
            {"listener": None},
            {"listener": None, "listeners": [{"id": "bob"}, {"id": "bob"}]},
            {"listener": None, "listeners": []},
            {"listener": None, "listeners": [{"id": f"u{number}"} for number in range(17)]},
            {"businessType": 2},
            {"target": "wmpf"},
            {"isCloud": True},
        )
        for more in wrong:
            status, body = await e.call(e.user_token("eve"), **more)
            assert (status, body["errCode"]) == (400, 1004), more
        two: dict[str, Any] = {"listener": None, "listeners": [{"id": "door"}, {"id": "gate"}]}
        status, body = await e.call_device(e.device_token(), **two)
        assert (status, body["errCode"]) == (400, 1004), "several devices have several push tokens"
        await e.end(room)

    on_estate(scene)
