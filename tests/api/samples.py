"""A good request for every endpoint, so that a test can take one thing away from it."""

from dataclasses import dataclass, field
from typing import Any

from api.estate import API_KEY, Answer, Estate, members
from api.plane import FRAGMENT, OFFER, SDP
from relay.api.endpoint import Empty, Endpoint
from relay.api.openapi import all_endpoints

ENDPOINTS = all_endpoints()
BODIES = tuple(endpoint for endpoint in ENDPOINTS if endpoint.body is not Empty)


def label(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


@dataclass
class Samples:
    """What the parts of a path, tokens and bodies are on one estate. `room` rings, `leg` is its caller's."""

    estate: Estate
    path: dict[str, str] = field(default_factory=dict)
    leg_token: str = ""

    async def set_up(self) -> None:
        estate = self.estate
        await estate.all()
        await estate.device("gate")
        group = await estate.group("gate")
        grants = await estate.done("GET", "/v1/grants", estate.user_token())
        _, made = await estate.call()
        self.leg_token = made["credential"]
        _, _, headers = await estate.plane.asked(
            "POST", f"/v1/calls/{made['roomId']}/legs", self.leg_token, data=OFFER, headers=SDP
        )
        self.path = {
            "room": made["roomId"],
            "leg": headers["Location"].rpartition("/")[2],
            "sn": "door",
            "model": "m1",
            "grant": grants["list"][0]["grant_id"],
            "group": group,
            "hook": "none",
            "openid": "ann",
        }

    def token(self, endpoint: Endpoint) -> str | None:
        """One that may ask."""
        estate = self.estate
        if endpoint.path in ("/v1/calls", "/v1/events") and endpoint.method != "GET":
            return estate.device_token("gate")
        if endpoint.path.startswith("/v1/calls/{room}/legs"):
            return self.leg_token
        if endpoint.path.startswith(("/whip", "/whep")):
            return estate.operator
        if endpoint.who is None:
            return None
        if "operator" in endpoint.who:
            return estate.operator
        if endpoint.who == ("device",):
            return estate.device_token()
        return estate.user_token()

    def body(self, endpoint: Endpoint) -> dict[str, Any]:
        call = {"openid": "ann", "room_type": "video", "sn": "door", "model_id": "m1", "listener_name": "Ann"}
        bodies: dict[tuple[str, str], dict[str, Any]] = {
            ("POST", "/v1/calls"): {
                "direction": "device_to_user",
                "roomType": "video",
                "caller": {"id": "gate", "name": "Gate", "cameraStatus": 0},
                "listener": {"id": "ann", "name": "Ann", "cameraStatus": 0},
                "modelId": "m1",
            },
            ("POST", "/v1/calls/{room}/reject"): {"status": "manual"},
            ("POST", "/v1/calls/{room}/hangup"): {"origin": "manual"},
            ("POST", "/v1/calls/{room}/fail"): {"errMsg": "no camera"},
            ("POST", "/v1/users/{openid}/token"): {"appid": "wx1"},
            ("POST", "/v1/devices/{sn}/call"): call,
            ("PUT", "/v1/models/{model}"): {"appid": "wx1", "name": "Doorbell"},
            ("PUT", "/v1/devices/{sn}"): {"modelId": "m1", "name": "Front"},
            ("POST", "/v1/devices/{sn}/register"): {"modelId": "m1", "snTicket": "ticket"},
            ("POST", "/v1/devices/{sn}/token"): {"deviceSecret": "secret"},
            ("PUT", "/v1/devices/{sn}/profile"): {"cameraRotation": 90},
            ("POST", "/v1/devices/{sn}/contacts/status"): {"model_id": "m1", "openid_list": ["ann"]},
            ("POST", "/v1/devices/{sn}/messages"): {"message": "hello"},
            ("POST", "/v1/tickets"): {"sn": "door", "model_id": "m1"},
            ("POST", "/v1/grants"): {"sn": "gate", "snTicket": "ticket", "modelId": "m1", "deviceName": "Front"},
            ("POST", "/v1/groups"): {"group_name": "School", "model_id": "m1"},
            ("PATCH", "/v1/groups/{group}"): {"max_devices": 60},
            ("POST", "/v1/groups/{group}/devices"): members("door"),
            ("DELETE", "/v1/groups/{group}/devices"): members("door"),
            ("POST", "/v1/webhooks"): {"url": "https://example.org/hook", "events": ["call.*"]},
            ("POST", "/cgi-bin/stable_token"): {
                "grant_type": "client_credential",
                "appid": "wx1",
                "secret": API_KEY,
            },
            ("POST", "/wxa/getsnticket"): {"sn": "door", "model_id": "m1"},
            ("POST", "/wxa/business/group/createid"): {"group_name": "School", "model_id": "m1"},
            ("POST", "/wxa/business/group/adddevice"): {"group_id": self.path.get("group", ""), **members("door")},
            ("POST", "/wxa/business/group/removedevice"): {"group_id": self.path.get("group", ""), **members("door")},
            ("POST", "/wxa/business/group/getinfo"): {"group_id": self.path.get("group", "")},
            ("POST", "/wxa/business/iot/voip/call"): call,
        }
        return bodies[endpoint.method, endpoint.path]

    async def ask(
        self, endpoint: Endpoint, *, token: str | None = "", path: dict[str, str] | None = None, query: str = "",
        **more: Any,
    ) -> Answer:  # fmt: skip
        """The good request, with something else in it: `token`, parts of the `path`, `query`, `json`, `data`,
        `headers`.
        """
        token = self.token(endpoint) if token == "" else token
        url = endpoint.path.format(**{**self.path, **(path or {})})
        if endpoint.wxa and endpoint.who is not None:
            url += f"?access_token={token or ''}"
            token = None
            query = query.replace("?", "&")
        if endpoint.sdp and not {"data", "json"} & set(more):
            fragment = {"data": "a=ice-ufrag:bbbb\r\na=ice-pwd:x\r\n", "headers": FRAGMENT}
            more = {**(fragment if endpoint.method == "PATCH" else {"data": OFFER, "headers": SDP}), **more}
        elif endpoint.body is not Empty and not {"data", "json"} & set(more):
            more["json"] = self.body(endpoint)
        return await self.estate.plane.ask(endpoint.method, url + query, token, **more)


def assert_refused(answer: Answer, endpoint: Endpoint, what: object, *codes: int) -> None:
    """A 4xx with a code and a reason; on the original paths errcode and errmsg, always with 200."""
    status, body = answer
    about = (label(endpoint), what, status, body)
    assert isinstance(body, dict), about
    names = ("errcode", "errmsg") if endpoint.wxa else ("errCode", "errMsg")
    assert set(body) == set(names), about
    assert status == 200 if endpoint.wxa and status < 400 else 400 <= status < 500, about
    assert isinstance(body[names[0]], int), about
    assert isinstance(body[names[1]], str), about
    assert body[names[1]], about
    assert body[names[0]] != 0, about
    if codes:
        assert body[names[0]] in codes, about


WIDE = {
    "api_keys": (f"vendor:{API_KEY}",), "rate_burst": 1_000_000, "operator_rate_burst": 1_000_000,
    "anonymous_rate_burst": 1_000_000, "anonymous_rate_per_s": 1e6, "rate_per_s": 1e6,
}  # fmt: skip
