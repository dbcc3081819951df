"""Names, shapes and errors of the SDK: what is thrown, what resolves, what is sent. In Node."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web

from .runtime import play
from .scripted_node import WEB, ScriptedNode, answering, refused, serving

PLUGIN = [
    "initByCaller",
    "callWMPF",
    "callDevice",
    "forceHangUpVoip",
    "onVoipEvent",
    "setCustomBtnText",
    "setVoipEndPagePath",
    "setUIConfig",
    "getIotBindContactList",
    "getPluginEnterOptions",
    "getPluginOnloadOptions",
    "bindVoipAdminContact",
    "getBindContactPath",
    "getVoipBindContactList",
    "deleteVoipBindContact",
    "transerAdmin",
    "requestDeviceVoIP",
    "getDeviceVoIPList",
]
USER = "await voip.connect({ baseUrl, token: 'good', kind: 'user', id: 'mia' });"
DEVICE = "await voip.connect({ baseUrl, token: 'good', kind: 'device', id: 'sn-1' });"
ONE = "{ roomType: 'voice', caller: { id: 'a' }, listener: { id: 'b' } }"
FLAT = "(e) => [e.name, e.errCode, e.errMsg]"


def run(scenario: str, node: ScriptedNode | None = None) -> Any:
    """Plays one scenario that needs nothing from the test while it runs."""

    async def playing() -> Any:
        served = node or ScriptedNode()
        async with serving(served):
            return await (await play("node", served, scenario)).result()

    return asyncio.run(playing())


def test_every_member_is_there_and_has_its_type() -> None:
    members = run("return Object.entries(voip).map(([name, value]) => [name, typeof value]);")
    assert set(PLUGIN) <= {name for name, kind in members if kind == "function"}
    assert ["CALL_PAGE_PATH", "string"] in members
    types = (WEB / "sdk" / "wmpf-voip.d.ts").read_text()
    declared = types[types.index("export interface Voip {") :]
    names = re.findall(r"^  (?:readonly )?(\w+)[(:]", declared[: declared.index("\n}")], re.MULTILINE)
    assert sorted(names) == sorted(name for name, _ in members)
    state = types[types.index("export interface State {") :]
    fields = re.findall(r"^  (\w+):", state[: state.index("\n}")], re.MULTILINE)
    assert fields == run("return Object.keys(voip.state());")


def test_face_pay_methods_throw_1011() -> None:
    names = PLUGIN[11:16]
    codes = run(
        f"""
        const codes = [];
        for (const name of {names}) try {{ await voip[name]({{}}); }} catch (e) {{ codes.push([e.name, e.errCode]); }}
        return codes;"""
    )
    assert codes == [["VoipPluginError", 1011]] * 5


@pytest.mark.parametrize(
    ("connect", "call", "code"),
    [
        (USER, f"voip.initByCaller({{ ...{ONE}, businessType: 1 }})", 1006),
        (DEVICE, f"voip.initByCaller({{ ...{ONE}, businessType: 2, voipToken: 't' }})", 1007),
        (DEVICE, "voip.callWMPF({ roomType: 'voice', sn: 'a', modelId: 'm', nickName: 'n', pushToken: 't' })", 1007),
        (DEVICE, "voip.callDevice({ roomType: 'voice', sn: 'a', modelId: 'm' })", 1007),
        (USER, f"voip.initByCaller({{ ...{ONE}, businessType: 2 }})", 1001),
        (USER, f"voip.initByCaller({{ ...{ONE}, businessType: 2, voipToken: 5 }})", 1001),
        (DEVICE, f"voip.initByCaller({{ ...{ONE}, businessType: 1, voipToken: '' }})", 1001),
        (USER, "voip.callWMPF({ roomType: 'voice', sn: 'a', modelId: 'm', nickName: 'n' })", 1001),
        (USER, f"voip.initByCaller({{ ...{ONE}, businessType: 3 }})", 1011),
        ("", f"voip.initByCaller({{ ...{ONE}, businessType: 1 }})", 1002),
    ],
)
def test_the_wrong_side_and_missing_tokens_have_their_codes(connect: str, call: str, code: int) -> None:
    node = ScriptedNode()
    seen = run(
        f"{connect} return await {call}.then((r) => [r.isSuccess, r.errCode], (e) => ['thrown', e.errCode]);", node
    )
    assert seen == ["thrown" if "callWMPF" in call or "callDevice" in call else False, code]
    assert [path for _, path, _ in node.requests if path == "/v1/calls"] == []


def test_a_devices_token_function_that_fails_is_1000() -> None:
    scenario = """
        const cause = new Error('no network');
        return await voip.connect({ baseUrl, kind: 'device', token: async () => { throw cause; } })
          .catch((e) => [e.name, e.errCode, e.cause === cause]);"""
    assert run(scenario) == ["VoipPluginError", 1000, True]
    node = ScriptedNode()
    node.answers["POST /v1/calls"] = answering(lambda: refused(401, 13, "expired"))
    scenario = f"""
        let count = 0;
        await voip.connect({{ baseUrl, kind: 'device', id: 'a', token: async () => (count++ === 0 ? 'good' : '') }});
        const {{ isSuccess, errCode }} = await voip.initByCaller({{ ...{ONE}, businessType: 1 }});
        return [isSuccess, errCode];"""
    assert run(scenario, node) == [False, 1000]


def test_the_kind_comes_from_the_token() -> None:
    scenario = f"""
        const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const token = [part({{}}), part({{ kind: 'device', sn: '门-1', sub: 'x' }}), 's'].join('.');
        await voip.connect({{ baseUrl, token }});
        const refused = await voip.callDevice({{ roomType: 'voice', sn: 'a', modelId: 'm' }}).catch({FLAT});
        const {{ kind, self }} = voip.state();
        return [kind, self.id, refused[1]];"""
    assert run(scenario) == ["device", "门-1", 1007]


def test_several_listeners_are_sent_and_followed() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        made = {"roomId": "r1", "chargeType": "license", "credential": "c"}
        node.answers["POST /v1/calls"] = answering(lambda: web.json_response(made, status=201))
        async with serving(node):
            runtime = await play(
                "node",
                node,
                DEVICE
                + """
                const listeners = [{ id: 'mia', ringTimeout: 10 }, { id: 'ben', name: 'Ben', cameraStatus: 1 }];
                const call = { businessType: 1, roomType: 'video', caller: { id: 'sn-1' }, listeners };
                const result = await voip.initByCaller({ ...call, strategy: 'sequential' });
                const first = voip.state().peer.id;
                await seen(1);
                return { result, peers: [first, voip.state().peer.id, voip.state().listenerId] };""",
            )
            await node.opened.get()
            body = await node.requested("POST", "/v1/calls")
            await node.send(1, "listenerChanged", listenerId="ben", listenerName="Ben", index=1)
            assert body["strategy"] == "sequential"
            assert body["listeners"] == [
                {"id": "mia", "name": "", "cameraStatus": 0, "ringTimeout": 10},
                {"id": "ben", "name": "Ben", "cameraStatus": 1},
            ]
            assert "listener" not in body
            result = await runtime.result()
            assert result["result"] == {"isSuccess": True, "roomId": "r1", "groupId": "r1", "chargeType": "license"}
            assert result["peers"] == ["mia", "ben", "ben"]

    asyncio.run(scenario())


def test_names_and_profiles_are_those_the_node_knows() -> None:
    node = ScriptedNode()
    made = {
        "roomId": "r1",
        "credential": "c",
        "caller": {"id": "mia", "name": "Mia"},
        "listener": {"id": "sn-1", "name": "Front door · Bell"},
        "callerProfile": None,
        "listenerProfile": {"cameraRotation": 90, "objectFit": "contain", "unknown": 1, "aspectRatio": "wide"},
    }
    node.answers["POST /v1/calls"] = answering(lambda: web.json_response(made, status=201))
    scenario = (
        USER
        + """
        voip.setUIConfig({ listenerUI: { objectFit: 'fill' } });
        await voip.callDevice({ roomType: 'video', sn: 'sn-1', modelId: 'm', deviceName: 'mine' });
        const { peer, ui, callerId, listenerId } = voip.state();
        return [peer.name, callerId, listenerId, ui.listenerUI, ui.callerUI.cameraRotation];"""
    )
    name, caller, listener, picture, rotation = run(scenario, node)
    assert (name, caller, listener, rotation) == ("Front door · Bell", "mia", "sn-1", 0)
    assert picture == {
        "cameraRotation": 90,
        "aspectRatio": None,
        "horMirror": None,
        "vertMirror": False,
        "enableToggleCamera": True,
        "objectFit": "fill",
    }


def test_a_gap_brings_back_the_start_of_the_talk_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        view = {"roomId": "r1", "state": "TALKING", "startedAt": 5, "keepTime": 3, "businessType": 1}
        node.answers["GET /v1/calls/r1"] = answering(lambda: web.json_response(view))
        async with serving(node):
            runtime = await play(
                "node", node, USER + "return (await seen(4)).map((e) => [e.eventName, e.data.startTime]);"
            )
            socket = await node.opened.get()
            await node.ring(1)
            await socket.send_json({"type": "gap", "after": 1, "first": 9})
            await socket.send_json({"type": "gap", "after": 1, "first": 9})
            names = await runtime.result()
            assert names[:3] == [["incomingCall", None], ["callPageOnShow", None], ["startVoip", 5]]
            assert names[3][0] == "calling"

    asyncio.run(scenario())


def test_grants_pass_the_nodes_codes_on_and_keep_groups_apart() -> None:
    node = ScriptedNode()
    node.answers["POST /v1/grants"] = answering(lambda: refused(409, 10001, "sn has been subscribed"))
    group = {"group_id": "g1", "status": 0, "grant_id": "x1"}
    device = {"sn": "sn-1", "model_id": "m", "status": 1, "grant_id": "x2"}
    node.answers["GET /v1/grants"] = answering(lambda: web.json_response({"list": [group, device]}))
    reopened = {"grantId": "x1", "state": "reopened"}
    node.answers["POST /v1/grants/x1/reopen"] = answering(lambda: web.json_response(reopened))
    late = web.json_response({"errCode": 45009, "errMsg": "too often"}, status=429, headers={"Retry-After": "30"})
    node.answers["POST /v1/grants/x2/reopen"] = answering(lambda: late)
    scenario = (
        USER
        + f"""
        const told = [];
        const given = await voip.requestDeviceVoIP({{
          isGroup: true, groupId: 'g1', confirm: () => told.push('asked'),
          success: () => told.push('success'), fail: (e) => told.push(e.errCode), complete: () => told.push('complete'),
        }}).catch({FLAT});
        const {{ list }} = await voip.getDeviceVoIPList();
        const again = await voip.reopenGrant({{ groupId: 'g1' }});
        const often = await voip.reopenGrant('x2').catch((e) => [e.errCode, e.httpStatus, e.retryAfter]);
        return {{ told, given, sn: list[0].sn ?? 'undefined', again, often }};"""
    )
    seen = run(scenario, node)
    assert seen["told"] == [10001, "complete"]
    assert seen["given"] == ["VoipCgiError", 10001, "requestDeviceVoIP:fail sn has been subscribed"]
    assert seen["sn"] == "undefined"
    assert seen["again"] == reopened
    assert seen["often"] == [45009, 429, 30]
    assert node.requests[0][2] == {"isGroup": True, "groupId": "g1", "decision": "ask"}


def test_a_question_that_was_put_off_stores_no_decision() -> None:
    node = ScriptedNode()
    node.answers["POST /v1/grants"] = answering(lambda: web.json_response({"name": "Door · Bell", "status": 0}))
    scenario = (
        USER
        + f"""
        let question;
        const confirm = (asked) => {{
          question = asked;
          return null;
        }};
        const opts = {{ sn: 'a', snTicket: 't', modelId: 'm', deviceName: 'Door', confirm }};
        const error = await voip.requestDeviceVoIP(opts).catch({FLAT});
        return [error[1], Object.keys(question), question.name];"""
    )
    code, fields, name = run(scenario, node)
    assert (code, name) == (1008, "Door · Bell")
    assert fields == ["name", "isGroup", "title", "content", "confirmText", "cancelText"]
    assert [body["decision"] for _, _, body in node.requests] == ["ask"]


@pytest.mark.parametrize(
    ("camera", "asked", "size"),
    [
        ((640, 480), {}, (640, 480)),
        ((640, 480), {"fixedLength": 320}, (320, 240)),
        ((640, 480), {"fixedLength": 320, "rotation": 2}, (240, 320)),
        ((640, 480), {"ratio": 200}, (640, 320)),
        ((640, 480), {"fixedLength": 480, "ratio": 75}, (360, 480)),
        ((640, 480), {"fixedLength": 480, "ratio": 133}, (480, 360)),
        ((480, 640), {"fixedLength": 320, "rotation": 1}, (240, 320)),
        ((480, 640), {"fixedLength": 320, "rotation": 2, "ratio": 50}, (160, 320)),
    ],
)
def test_the_size_a_device_asked_for(camera: tuple[int, int], asked: dict[str, int], size: tuple[int, int]) -> None:
    module = (WEB / "sdk" / "framing.js").as_uri()
    scenario = f"""
        const {{ framedSize }} = await import('{module}');
        const {{ width, height }} = framedSize({{ width: {camera[0]}, height: {camera[1]} }}, {asked});
        return [width, height];"""
    assert tuple(run(scenario)) == size
