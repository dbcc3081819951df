"""A node that is no demo, and what an operator sets up on it: models, devices, users, grants, groups. All by HTTP."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from api.plane import Plane, running

API_KEY = "k" * 40
MODEL = {
    "appid": "wx1", "name": "Doorbell", "approved": True, "callNeedsGrant": False,
    "chargeTypes": ["license", "duration"], "inArrears": False,
}  # fmt: skip
Answer = tuple[int, Any]


class Estate:
    """One operator's devices and users on a plane."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.operator = plane.operator()

    async def ask(self, method: str, path: str, token: str | None = None, json: Any = None, **more: Any) -> Answer:
        return await self.plane.ask(method, path, token, json=json, **more)

    async def done(self, method: str, path: str, token: str | None = None, json: Any = None) -> Any:
        """The same, and it must succeed."""
        status, body = await self.ask(method, path, token, json)
        assert 200 <= status < 300, (method, path, status, body)
        assert not isinstance(body, dict) or body.get("errcode", 0) == 0, body
        return body

    # --- tokens ---

    def device_token(self, sn: str = "door", model_id: str = "m1") -> str:
        return self.plane.tokens.device(sn, model_id)[0]

    def push_token(self, sn: str = "door", model_id: str = "m1") -> str:
        return self.plane.tokens.push(sn, model_id)[0]

    def user_token(self, openid: str = "ann", appid: str = "wx1") -> str:
        return self.plane.tokens.mint("user", openid, 600, openid=openid, appid=appid)

    # --- what there is ---

    async def model(self, model_id: str = "m1", **fields: Any) -> None:
        """All of it; what `fields` leave out is as in MODEL."""
        await self.done("PUT", f"/v1/models/{model_id}", self.operator, {**MODEL, **fields})

    async def device(self, sn: str = "door", model_id: str = "m1", **fields: Any) -> str:
        """Returns its secret, "" if it was there already."""
        made = await self.done("PUT", f"/v1/devices/{sn}", self.operator, {"modelId": model_id, **fields})
        return str(made.get("deviceSecret", ""))

    async def user(self, openid: str = "ann", appid: str = "wx1") -> str:
        """A user who signed in once; returns a token."""
        token = self.user_token(openid, appid)
        async with self.plane.listen(token):
            return token

    async def ticket(self, sn: str = "door", model_id: str = "m1") -> str:
        body = {"sn": sn, "model_id": model_id}
        return str((await self.done("POST", "/v1/tickets", self.operator, body))["sn_ticket"])

    async def decide(self, decision: str = "agree", openid: str = "ann", sn: str = "door", **more: Any) -> Answer:
        """The user's decision about a device, with a fresh ticket unless `snTicket` is given."""
        ticket = more.pop("snTicket", None) or await self.ticket(sn)
        body = {"sn": sn, "modelId": "m1", "snTicket": ticket, "deviceName": "Front", "decision": decision, **more}
        return await self.ask("POST", "/v1/grants", self.user_token(openid), body)

    async def grant(self, openid: str = "ann", sn: str = "door", **more: Any) -> str:
        """The user agrees; returns the grant's id."""
        status, body = await self.decide("agree", openid, sn, **more)
        assert (status, body["status"], body["state"]) == (200, 1, "agreed"), body
        return str(body["grantId"])

    async def group(self, *sns: str, name: str = "School", model_id: str = "m1") -> str:
        """A group with these devices; returns its id."""
        body = {"group_name": name, "model_id": model_id}
        made = await self.done("POST", "/v1/groups", self.operator, body)
        if sns:
            await self.done("POST", f"/v1/groups/{made['group_id']}/devices", self.operator, members(*sns))
        return str(made["group_id"])

    async def decide_group(self, group: str, decision: str = "agree", openid: str = "ann") -> Answer:
        body = {"isGroup": True, "groupId": group, "decision": decision}
        return await self.ask("POST", "/v1/grants", self.user_token(openid), body)

    async def all(self) -> None:
        """The device `door` of the model `m1`, the user `ann`, and her grant: calls go through."""
        await self.model()
        await self.device()
        await self.user()
        await self.grant()

    # --- calls ---

    async def call(self, token: str | None = None, **more: Any) -> Answer:
        """From the device `door` to the user `ann`."""
        body = {
            "direction": "device_to_user", "roomType": "video",
            "caller": {"id": "door", "name": "Any name"}, "listener": {"id": "ann", "name": "Ann"},
        }  # fmt: skip
        return await self.ask("POST", "/v1/calls", token or self.device_token(), {**body, **more})

    async def call_device(self, token: str | None = None, **more: Any) -> Answer:
        """From the user `ann` to the device `door`, as initByCaller with businessType 2."""
        body = {
            "direction": "user_to_device", "roomType": "video", "caller": {"id": "ann", "name": "Ann"},
            "listener": {"id": "door"}, "modelId": "m1", "voipToken": self.push_token(),
        }  # fmt: skip
        return await self.ask("POST", "/v1/calls", token or self.user_token(), {**body, **more})

    async def room(self) -> str:
        """A call that rings."""
        status, made = await self.call()
        assert status == 201, made
        return str(made["roomId"])

    async def end(self, room: str) -> None:
        await self.done("POST", f"/v1/calls/{room}/hangup", self.operator, {})


def members(*sns: str, **more: Any) -> dict[str, Any]:
    return {"device_list": [{"sn": sn, "model_id": "m1"} for sn in sns], **more}


def on_estate(scene: Callable[[Estate], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """Run a scene on a node that is no demo; returns what it returns."""

    async def run() -> Any:
        async with running(**{"demo": False, "api_keys": (f"vendor:{API_KEY}",), **settings}) as plane:
            return await scene(Estate(plane))

    return asyncio.run(run())
