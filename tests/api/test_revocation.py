"""What ends with a device's owner: its tokens, its event sockets, the push tokens it gave away."""

from aiohttp import WSMsgType

from api.estate import Estate, on_estate


async def register(e: Estate) -> dict[str, str]:
    """The device registers itself anew, as a new owner's would."""
    asked = {"sn": "door", "model_id": "m1", "purpose": "register"}
    ticket = (await e.done("POST", "/v1/tickets", e.operator, asked))["sn_ticket"]
    body = {"modelId": "m1", "snTicket": ticket}
    made: dict[str, str] = await e.done("POST", "/v1/devices/door/register", None, body)
    return made


def test_a_new_secret_ends_tokens_and_sockets_of_the_old_one() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        old, push = e.device_token(), e.push_token()
        async with e.plane.listen(old) as socket:
            e.plane.skew_s += 60
            new = await register(e)
            message = await socket.receive(10)
            assert (message.type, socket.close_code) == (WSMsgType.CLOSE, 4401)
        status, body = await e.ask("GET", "/v1/devices/door", old)
        assert (status, body["errCode"]) == (401, 13)
        assert (await e.ask("GET", "/v1/devices/door", new["deviceToken"]))[0] == 200
        call = {
            "direction": "user_to_device", "roomType": "video", "caller": {"id": "ann"}, "listener": {"id": "door"},
        }  # fmt: skip
        status, body = await e.ask("POST", "/v1/calls", e.user_token(), {**call, "voipToken": push})
        assert (status, body["errCode"]) == (403, 14)
        fresh = (await e.done("POST", "/v1/devices/door/push-token", new["deviceToken"]))["pushToken"]
        assert (await e.ask("POST", "/v1/calls", e.user_token(), {**call, "voipToken": fresh}))[0] == 201

    on_estate(scene)


def test_a_device_that_was_removed_is_cut_off() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        token = e.device_token()
        async with e.plane.listen(token) as socket:
            e.plane.skew_s += 60
            await e.done("DELETE", "/v1/devices/door", e.operator)
            await socket.receive(10)
            assert socket.close_code == 4401
        assert (await e.ask("GET", "/v1/devices/door/profile", token))[0] == 401

    on_estate(scene)


def test_an_api_key_gives_tokens_to_users() -> None:
    async def scene(e: Estate) -> None:
        made = await e.done("POST", "/v1/users/zoe/token", e.operator, {"appid": "wx1"})
        assert await e.done("GET", "/v1/grants", made["token"]) == {"list": []}
        claims = e.plane.tokens.read(made["token"])
        assert (claims.kind, claims.openid, claims.appid) == ("user", "zoe", "wx1")
        status, body = await e.ask("POST", "/v1/users/zoe/token", e.user_token(), {})
        assert (status, body["errCode"]) == (403, 2103)

    on_estate(scene)


def test_what_is_remembered_for_a_key_belongs_to_the_identity_not_to_the_subject() -> None:
    async def scene(e: Estate) -> None:
        await e.all()
        ann, bob = (e.plane.tokens.mint("user", "app", 600, openid=openid, appid="wx1") for openid in ("ann", "bob"))
        _, made = await e.call()
        room = made["roomId"]
        answer = {"headers": {"Idempotency-Key": "1"}}
        assert (await e.ask("POST", f"/v1/calls/{room}/answer", ann, {}, **answer))[0] == 200
        status, body = await e.ask("POST", f"/v1/calls/{room}/answer", bob, {}, **answer)
        assert (status, body["errCode"]) == (404, 1)

    on_estate(scene)
