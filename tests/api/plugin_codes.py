"""The codes of the plugin and of its backend (plugin-interface §3.1, §3.2), each by the request that earns it."""

from api.code_cases import gives
from api.estate import Answer, Estate
from api.plane import FRAGMENT, OFFER, SDP
from relay.media.messages import MediaError

# --- §3.1, the backend's ---


@gives(1, 404)
async def read_an_unknown_call(e: Estate) -> Answer:
    return await e.ask("GET", "/v1/calls/" + "0" * 32, e.operator)


@gives(2, 404)
async def call_for_an_unknown_device(e: Estate) -> Answer:
    return await e.call()


@gives(2, 400)
async def call_for_an_impossible_device(e: Estate) -> Answer:
    return await e.call(e.operator, caller={"id": "no spaces"})


@gives(5, 503)
async def call_while_draining(e: Estate) -> Answer:
    await e.all()
    e.plane.service.drain()
    return await e.call()


@gives(5, 429, max_calls=1)
async def call_beyond_the_limit(e: Estate) -> Answer:
    await e.all()
    await e.device("gate")
    await e.grant(sn="gate")
    await e.room()
    return await e.call(e.device_token("gate"), caller={"id": "gate"})


@gives(7, 400)
async def call_an_impossible_user(e: Estate) -> Answer:
    await e.all()
    return await e.call(listener={"id": "no spaces"})


@gives(9, 403)
async def call_without_a_grant(e: Estate) -> Answer:
    await e.model()
    await e.device()
    await e.user()
    return await e.call()


@gives(9, 403)
async def call_a_device_without_a_grant(e: Estate) -> Answer:
    await e.model()
    await e.device()
    return await e.call_device()


@gives(12, 403)
async def call_of_a_release_that_is_not_approved(e: Estate) -> Answer:
    await e.all()
    await e.model(approved=False)
    return await e.call()


@gives(13, 401)
async def call_with_a_wrong_device_token(e: Estate) -> Answer:
    return await e.call("a.b.c")


@gives(13, 403)
async def call_with_another_ones_voip_token(e: Estate) -> Answer:
    await e.all()
    return await e.call(voipToken=e.device_token("gate"))


@gives(13, 401)
async def ask_for_a_token_with_a_wrong_secret(e: Estate) -> Answer:
    await e.all()
    return await e.ask("POST", "/v1/devices/door/token", None, {"deviceSecret": "wrong"})


@gives(14, 401)
async def call_with_a_wrong_user_token(e: Estate) -> Answer:
    return await e.call_device("a.b.c")


@gives(14, 403)
async def call_a_device_with_a_wrong_push_token(e: Estate) -> Answer:
    await e.all()
    return await e.call_device(voipToken=e.push_token("gate"))


@gives(15, 402, require_licence=True)
async def call_in_arrears(e: Estate) -> Answer:
    await e.all()
    await e.model(inArrears=True)
    return await e.call(chargeType="duration")


@gives(17, 403)
async def call_with_a_token_of_another_model(e: Estate) -> Answer:
    await e.all()
    return await e.call(voipToken=e.device_token(model_id="m2"), modelId="m1")


@gives(17, 403)
async def call_for_a_device_of_another_model(e: Estate) -> Answer:
    await e.all()
    return await e.call(e.operator, modelId="m2")


@gives(19, 403)
async def call_a_user_of_another_app(e: Estate) -> Answer:
    await e.all()
    await e.user("bob", "wx2")
    return await e.call(listener={"id": "bob"})


@gives(20, 404)
async def call_a_user_nobody_saw(e: Estate) -> Answer:
    await e.all()
    return await e.call(listener={"id": "nobody"})


@gives(22, 403, require_licence=True)
async def call_with_a_charge_type_the_model_does_not_allow(e: Estate) -> Answer:
    await e.all()
    await e.model(chargeTypes=["duration"])
    return await e.call(chargeType="license")


@gives(23, 403, require_licence=True)
async def call_with_an_expired_licence(e: Estate) -> Answer:
    await e.all()
    await e.device(licenseExpireTimestamp=int(e.plane.wall()) - 1)
    return await e.call()


@gives(24, 403, require_licence=True)
async def call_without_a_licence(e: Estate) -> Answer:
    await e.all()
    return await e.call()


# --- §3.2, the plugin's ---


@gives(1001, 401)
async def ask_without_a_token(e: Estate) -> Answer:
    return await e.ask("GET", "/v1/calls", None)


@gives(1001, 400)
async def call_a_device_without_its_push_token(e: Estate) -> Answer:
    await e.all()
    return await e.call_device(voipToken="")


@gives(1002, 503)
async def make_a_cloud_call_that_nobody_takes(e: Estate) -> Answer:
    await e.all()
    return await e.call_device(target="device", isCloud=True)


@gives(1002, 503)
async def ask_while_the_store_is_gone(e: Estate) -> Answer:
    await e.plane.base_plane.store.close()
    return await e.ask("GET", "/v1/calls", e.operator)


@gives(1004, 400)
async def call_with_an_unknown_kind_of_room(e: Estate) -> Answer:
    return await e.call(roomType="hologram")


@gives(1005, 409)
async def call_while_in_a_call(e: Estate) -> Answer:
    await e.all()
    await e.user("bob")
    await e.grant("bob")
    await e.room()
    return await e.call(listener={"id": "bob"})


@gives(1006, 403)
async def call_as_a_device_with_a_user_token(e: Estate) -> Answer:
    return await e.call(e.user_token())


@gives(1007, 403)
async def call_as_a_user_with_a_device_token(e: Estate) -> Answer:
    return await e.call_device(e.device_token())


async def talk(e: Estate) -> str:
    await e.all()
    _, made = await e.call()
    room = str(made["roomId"])
    answered = await e.done("POST", f"/v1/calls/{room}/answer", e.user_token(), {})
    for credential in (made["credential"], answered["credential"]):
        _, _, headers = await e.plane.asked("POST", f"/v1/calls/{room}/legs", credential, data=OFFER, headers=SDP)
        e.plane.media.say(headers["Location"].rpartition("/")[2], "connected")
    return room


@gives(1008, 409)
async def reject_in_the_talk(e: Estate) -> Answer:
    room = await talk(e)
    return await e.ask("POST", f"/v1/calls/{room}/reject", e.user_token(), {})


@gives(1008, 409)
async def fail_to_join_when_in(e: Estate) -> Answer:
    room = await talk(e)
    return await e.ask("POST", f"/v1/calls/{room}/fail", e.device_token(), {})


@gives(1011, 400)
async def call_in_campus_mode(e: Estate) -> Answer:
    """Codes 3, 4 and 8 belong to that mode, which is refused as a whole."""
    return await e.call(businessType=0)


@gives(1011, 400)
async def call_in_campus_mode_with_a_licence(e: Estate) -> Answer:
    return await e.call(businessType=3)


@gives(2000, 409)
async def join_before_the_answer(e: Estate) -> Answer:
    await e.all()
    return await e.ask("POST", f"/v1/calls/{await e.room()}/join", e.user_token(), {})


@gives(2000, 409)
async def answer_when_it_is_over(e: Estate) -> Answer:
    await e.all()
    room = await e.room()
    await e.end(room)
    return await e.ask("POST", f"/v1/calls/{room}/answer", e.user_token(), {})


@gives(2001, 409)
async def publish_where_somebody_publishes(e: Estate) -> Answer:
    for _ in range(2):
        answer = await e.ask("POST", "/whip/garden", e.operator, data=OFFER + "a=sendonly\r\n", headers=SDP)
    return answer


async def offer(e: Estate, refusal: MediaError) -> Answer:
    await e.all()
    _, made = await e.call()
    e.plane.media.refusal = refusal
    return await e.ask("POST", f"/v1/calls/{made['roomId']}/legs", made["credential"], data=OFFER, headers=SDP)


@gives(2003, 503)
async def offer_while_no_worker_runs(e: Estate) -> Answer:
    return await offer(e, MediaError(503, 2003, "no media worker is running; try again in a few seconds"))


@gives(2004, 406)
async def offer_what_the_relay_does_not_speak(e: Estate) -> Answer:
    return await offer(e, MediaError(406, 2004, "no codec in common"))


@gives(2008, 401)
async def use_a_credential_twice(e: Estate) -> Answer:
    await e.all()
    _, made = await e.call()
    for _ in range(2):
        path = f"/v1/calls/{made['roomId']}/legs"
        answer = await e.ask("POST", path, made["credential"], data=OFFER, headers=SDP)
    return answer


@gives(2010, 412)
async def restart_an_ice_session_that_is_not_the_current_one(e: Estate) -> Answer:
    await e.all()
    _, made = await e.call()
    path = f"/v1/calls/{made['roomId']}/legs"
    _, _, headers = await e.plane.asked("POST", path, made["credential"], data=OFFER, headers=SDP)
    more = {"headers": FRAGMENT | {"If-Match": '"another"'}, "data": "a=ice-ufrag:bbbb\r\na=ice-pwd:x\r\n"}
    return await e.ask("PATCH", headers["Location"], made["credential"], **more)


@gives(2100, 409, refuse_busy=True)
async def call_a_busy_user(e: Estate) -> Answer:
    await e.all()
    await e.device("gate")
    await e.grant(sn="gate")
    await e.room()
    return await e.call(e.device_token("gate"), caller={"id": "gate"})


@gives(2103, 403)
async def ask_what_is_for_the_operator(e: Estate) -> Answer:
    return await e.ask("GET", "/v1/webhooks", e.user_token())
