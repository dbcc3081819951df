"""The SDK outside browsers: in a mini program's runtime, which has only `wx`, and in Node. Real HTTP and WebSocket."""

import asyncio
import socket

import pytest
from aiohttp import web

from .runtime import play
from .scripted_node import ScriptedNode, answering, refused, serving

CONNECT = "await voip.connect({ baseUrl, token: 'good', kind: 'user', id: 'mia', name: 'Mia' });"
TO_DEVICE = "{ roomType: 'video', sn: 'sn-1', modelId: 'm' }"
MADE = {"isSuccess": True, "roomId": "r1", "groupId": "r1", "chargeType": "license", "credential": "c"}


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_mini_program_rings_and_refuses() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /v1/calls/r1/reject"] = answering(lambda: web.json_response({"roomId": "r1"}))
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                CONNECT
                + """
                await seen(2);
                const ringing = voip.state();
                await voip.reject();
                const events = await seen(4);
                return {
                  phase: ringing.phase, local: ringing.local, remote: ringing.remote,
                  names: events.map((e) => e.eventName), query: voip.getPluginOnloadOptions(),
                };""",
            )
            await node.opened.get()
            await node.ring(1, roomType="video", query="a=1&amp;b=%E5%AE%B6")
            assert await node.requested("POST", "/v1/calls/r1/reject") == {"status": "manual"}
            await node.send(2, "rejectVoip", status="manual")
            await node.send(3, "endVoip", keepTime=0)
            result = await runtime.result()
            assert (result["phase"], result["local"], result["remote"]) == ("ringing", None, None)
            assert result["names"] == ["incomingCall", "callPageOnShow", "rejectVoip", "endVoip"]
            assert (result["query"]["a"], result["query"]["b"], result["query"]["groupId"]) == ("1", "家", "r1")
            assert node.tokens == ["good"]

    asyncio.run(scenario())


def test_a_mini_program_calls_and_cancels_without_media() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /v1/calls"] = answering(lambda: web.json_response(MADE, status=201))
        node.answers["POST /v1/calls/r1/hangup"] = answering(lambda: web.json_response({"roomId": "r1"}))
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                CONNECT
                + f"""
                const made = await voip.callDevice({TO_DEVICE});
                await seen(1);
                const {{ phase }} = voip.state();
                await voip.hangUp();
                return {{ made, phase, after: voip.state().phase }};""",
            )
            await node.opened.get()
            body = await node.requested("POST", "/v1/calls")
            assert (body["direction"], body["target"], body["modelId"]) == ("user_to_device", "device", "m")
            await node.send(1, "joinedRoomByCaller")
            assert await node.requested("POST", "/v1/calls/r1/hangup") == {"origin": "manual"}
            assert await runtime.result() == {"made": {"roomId": "r1"}, "phase": "waiting", "after": "ended"}

    asyncio.run(scenario())


def test_a_mini_program_may_bring_its_own_media() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /v1/calls"] = answering(lambda: web.json_response(MADE, status=201))
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                f"""
                const told = [];
                let hooks;
                const media = {{
                  muted: false, cameraOff: false, notices: [],
                  async open({{ video, encode }}, given) {{
                    hooks = given;
                    told.push(['open', video, encode.maxFPS]);
                  }},
                  async join(roomId, credential) {{
                    told.push(['join', roomId, credential]);
                    hooks.onRemote('their picture');
                    hooks.onState('connected');
                  }},
                  setMuted(muted) {{ this.muted = muted; }},
                  silence() {{}},
                  close() {{ told.push(['close']); }},
                }};
                await voip.connect({{ baseUrl, token: 'good', kind: 'user', id: 'mia', media }});
                await voip.callDevice({{ ...{TO_DEVICE}, encodeVideoMaxFPS: 10 }});
                voip.setMuted(true);
                await seen(2);
                const {{ path, remote, muted }} = voip.state();
                return {{ told, path, remote, muted }};""",
            )
            await node.opened.get()
            await node.requested("POST", "/v1/calls")
            await node.send(1, "cancelVoip", status="manual")
            await node.send(2, "endVoip", keepTime=0)
            result = await runtime.result()
            assert result["told"] == [["open", True, 10], ["join", "r1", "c"], ["close"]]
            assert (result["path"], result["remote"], result["muted"]) == ("connected", "their picture", True)

    asyncio.run(scenario())


def test_a_mini_program_resumes_after_a_break_and_asks_about_a_gap() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        view = {"roomId": "r1", "state": "SETTLED", "endReason": "timeout", "keepTime": 0, "businessType": 1}
        node.answers["GET /v1/calls/r1"] = answering(lambda: web.json_response(view))
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                CONNECT
                + """
                await seen(3);
                voip.getDeviceVoIPList().catch(() => {}); // tells the test that it goes on
                return (await seen(5)).map((e) => [e.eventName, e.roomId]);""",
            )
            first = await node.opened.get()
            await node.send(7, "appMessage", "", message="hello")
            await node.ring(8)
            await node.requested("GET", "/v1/grants")
            await first.close()
            second = await node.opened.get()
            await second.send_json({"type": "gap", "after": 8, "first": 12})
            await node.send(8, "incomingCall")  # what was seen before is dropped
            assert await runtime.result() == [
                ["appMessage", ""],
                ["incomingCall", "r1"],
                ["callPageOnShow", "r1"],
                ["timeout", "r1"],
                ["endVoip", "r1"],
            ]
            assert node.asked == [None, "8"]

    asyncio.run(scenario())


def test_a_mini_program_asks_with_its_own_dialog() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        answer = {"grantId": "g1", "status": 1, "state": "granted", "name": "Door bell"}
        node.answers["POST /v1/grants"] = answering(lambda: web.json_response(answer))
        asked = "{ sn: 'sn-1', snTicket: 't', modelId: 'm', deviceName: 'Door' }"
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                CONNECT
                + f"""
                const told = [];
                const call = (name) => (result) => told.push([name, result.errMsg, result.errCode ?? 0]);
                const opts = {{ ...{asked}, success: call('success'), fail: call('fail'), complete: call('complete') }};
                const given = await voip.requestDeviceVoIP(opts);
                wx.modal = {{ confirm: false, cancel: true }};
                await voip.requestDeviceVoIP(opts).catch(() => {{}});
                return {{ given, told, dialogs: wx.log }};""",
            )
            result = await runtime.result()
            assert result["given"] == {**answer, "errMsg": "requestDeviceVoIP:ok"}
            assert [entry[0] for entry in result["told"]] == ["success", "complete", "fail", "complete"]
            assert result["told"][2][2] == 10021
            assert [name for name, _ in result["dialogs"]] == ["showModal", "showModal"]
            assert "Door bell" in result["dialogs"][0][1]
            assert [body["decision"] for _, _, body in node.requests] == ["ask", "agree", "ask", "refuse"]

    asyncio.run(scenario())


def test_a_mini_program_goes_to_the_end_page_by_each_route() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                CONNECT
                + """
                const nothing = voip.leaveCallPage();
                for (const routeType of [undefined, 'switchTab', 'reLaunch']) {
                  voip.setVoipEndPagePath({ url: '/pages/end', key: 'Call', options: 'a=1', routeType });
                  voip.leaveCallPage();
                }
                wx.enter = { path: 'p', query: { x: '1' }, scene: 1037 };
                return { nothing, log: wx.log, enter: voip.getPluginEnterOptions() };""",
            )
            result = await runtime.result()
            assert result["nothing"] is False
            assert result["log"] == [
                ["redirectTo", "/pages/end?a=1"],
                ["switchTab", "/pages/end"],
                ["reLaunch", "/pages/end?a=1"],
            ]
            assert result["enter"] == {"path": "p", "query": {"x": "1"}, "scene": 1037}

    asyncio.run(scenario())


def test_a_device_with_an_end_page_goes_there_at_once() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                """
                voip.setVoipEndPagePath({ url: '/pages/end', key: 'Call' });
                await voip.connect({ baseUrl, token: 'good', kind: 'device', id: 'sn-1' });
                await seen(4);
                return wx.log;""",
            )
            await node.opened.get()
            await node.ring(1)
            await node.send(2, "cancelVoip", status="other")
            await node.send(3, "endVoip", keepTime=0)
            assert await runtime.result() == [["redirectTo", "/pages/end"]]

    asyncio.run(scenario())


def test_a_native_screen_answers_only_the_call_it_was_opened_for() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /v1/calls/r2/answer"] = answering(
            lambda: web.json_response({"roomId": "r2", "credential": "c"})
        )
        async with serving(node):
            runtime = await play(
                "wx",
                node,
                "wx.enter = { path: 'p', query: { groupId: 'r2', isClickedHangOnBtn: '1' }, scene: 1 };"
                + CONNECT
                + """
                await seen(7);
                return voip.state().phase;""",
            )
            await node.opened.get()
            # The caller cannot ask for it: what it appends only fills the page's query.
            await node.ring(1, "r1", query="isClickedHangOnBtn=1")
            await node.send(2, "cancelVoip", "r1", status="other")
            await node.send(3, "endVoip", "r1", keepTime=0)
            await node.ring(4, "r2")
            assert await node.requested("POST", "/v1/calls/r2/answer") == {}
            await node.send(5, "hangOnVoip", "r2")
            assert await runtime.result() == "connecting"
            assert [path for _, path, _ in node.requests if path.endswith("/answer")] == ["/v1/calls/r2/answer"]

    asyncio.run(scenario())


def test_node_calls_without_media() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["POST /v1/calls"] = answering(lambda: refused(403, 9, "not authorised"))
        async with serving(node):
            runtime = await play(
                "node",
                node,
                CONNECT
                + f"""
                const error = await voip.callDevice({TO_DEVICE}).catch((e) => e);
                const {{ VoipCgiError, VoipError }} = sdk;
                return [error instanceof VoipCgiError, error instanceof VoipError, error.errCode, error.errno];""",
            )
            assert await runtime.result() == [True, True, 9, 9]

    asyncio.run(scenario())


def test_node_without_a_websocket_is_told_to_give_one() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with serving(node):
            runtime = await play("node", node, CONNECT, sockets=False)
            error = (await runtime.outcome())["error"]
            assert (error["name"], error["errCode"]) == ("VoipPluginError", 1011)
            assert "WebSocket" in error["errMsg"]
            given = await play(
                "node",
                node,
                """
                const WebSocket = globalThis.WebSocket;
                delete globalThis.WebSocket;
                await voip.connect({ baseUrl, token: 'good', id: 'mia', WebSocket });
                return voip.state().link;""",
            )
            assert await given.result() == "online"

    asyncio.run(scenario())


FAILED = """
const error = await voip.connect({ baseUrl, token: 'good', id: 'mia' }).catch((e) => e);
const call = await voip.callDevice(TO_DEVICE).catch((e) => e);
return [error.errCode, call.errCode, call.errMsg, voip.state().link];""".replace("TO_DEVICE", TO_DEVICE)


@pytest.mark.parametrize("kind", ["node", "wx"])
def test_after_a_failed_connect_there_is_no_connection(kind: str) -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.url = f"http://127.0.0.1:{closed_port()}"
        runtime = await play(kind, node, FAILED)
        assert await runtime.result() == [1002, 1002, "connect() first", "offline"]

    asyncio.run(scenario())


def test_node_goes_on_trying_after_a_connection_that_failed() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with serving(node):
            runtime = await play(
                "node",
                node,
                CONNECT
                + """
                const links = [];
                voip.onState(({ link }) => links.push(link));
                await seen(1);
                return links;""",
            )
            await node.opened.get()
            port = int(node.url.rpartition(":")[2])
        await asyncio.sleep(2)  # more than one attempt at a closed port
        async with serving(node, port):
            await node.opened.get()
            await node.send(1, "appMessage", "", message="hello")
            links = await runtime.result()
            assert (links[0], links[-1]) == ("online", "online")
            assert "offline" in links

    asyncio.run(scenario())


def test_a_connect_that_was_closed_settles() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        async with serving(node):
            runtime = await play(
                "node",
                node,
                """
                const connecting = voip.connect({ baseUrl, token: 'good', id: 'mia' }).catch((e) => e);
                await new Promise((done) => setTimeout(done));
                voip.close();
                return (await connecting).errCode;""",
            )
            assert await runtime.result() == 1008

    asyncio.run(scenario())


def test_a_token_the_node_refuses_later_is_told() -> None:
    async def scenario() -> None:
        node = ScriptedNode()
        node.answers["GET /v1/calls/-"] = answering(lambda: refused(401, 1001, "the token has expired"))
        async with serving(node):
            runtime = await play(
                "node",
                node,
                """
                let token = 'good';
                await voip.connect({ baseUrl, token: () => token, kind: 'user', id: 'mia' });
                token = 'bad';
                const until = (right) => new Promise((done) => voip.onState((state) => right(state) && done(state)));
                const { link, linkFailure } = await until((state) => state.linkFailure);
                token = 'better';
                const after = await until((state) => state.link === 'online');
                return [link === 'online', linkFailure.httpStatus, after.linkFailure];""",
            )
            await (await node.opened.get()).close()
            assert await runtime.result() == [False, 401, None]

    asyncio.run(scenario())
