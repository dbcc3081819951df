"""The neighbouring code sets (plugin-interface §3.4): tickets, grants, groups, messages, access tokens."""

from api.code_cases import gives
from api.estate import Answer, Estate, members

# --- §3.4, the neighbours' ---


@gives(10001, 409)
async def agree_twice(e: Estate) -> Answer:
    await e.all()
    return await e.decide()


@gives(10008, 403)
async def agree_with_a_wrong_ticket(e: Estate) -> Answer:
    await e.model()
    await e.device()
    return await e.decide(snTicket="wrong")


@gives(10021, 403)
async def be_asked_again_after_a_refusal(e: Estate) -> Answer:
    await e.model()
    await e.device()
    await e.decide("refuse")
    return await e.decide("ask")


@gives(10025, 404)
async def agree_to_an_unknown_group(e: Estate) -> Answer:
    return await e.decide_group("none")


@gives(-12001, 403)
async def agree_to_a_model_that_is_not_approved(e: Estate) -> Answer:
    await e.model(approved=False)
    await e.device()
    return await e.decide()


@gives(9800001, 400)
async def ask_for_a_ticket_with_a_long_sn(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/tickets", e.operator, {"sn": "x" * 129, "model_id": "m1"})


@gives(9800002, 400)
async def ask_for_a_ticket_with_an_impossible_sn(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/tickets", e.operator, {"sn": "a/b", "model_id": "m1"})


@gives(9800003, 400)
async def ask_for_a_ticket_of_another_model(e: Estate) -> Answer:
    await e.device()
    return await e.ask("POST", "/v1/tickets", e.operator, {"sn": "door", "model_id": "m2"})


@gives(9800004, 404)
async def ask_for_a_ticket_of_an_unknown_device(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/tickets", e.operator, {"sn": "door", "model_id": "m1"})


@gives(9800004, 404)
async def register_an_unknown_device(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/devices/door/register", None, {"modelId": "m1", "snTicket": "x"})


@gives(9800011, 403)
async def register_with_a_wrong_ticket(e: Estate) -> Answer:
    await e.device()
    return await e.ask("POST", "/v1/devices/door/register", None, {"modelId": "m1", "snTicket": "x"})


@gives(9800012, 400)
async def make_a_group_with_a_long_name(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/groups", e.operator, {"group_name": "é" * 17, "model_id": "m1"})


@gives(9800013, 404)
async def read_an_unknown_group(e: Estate) -> Answer:
    return await e.ask("GET", "/v1/groups/none", e.operator)


async def put_in(e: Estate, group: str, *sns: str) -> Answer:
    return await e.ask("POST", f"/v1/groups/{group}/devices", e.operator, members(*sns))


@gives(9800014, 400)
async def put_a_device_of_another_model_into_a_group(e: Estate) -> Answer:
    await e.device("door", "m2")
    return await put_in(e, await e.group(), "door")


@gives(9800015, 409)
async def put_a_device_into_its_group(e: Estate) -> Answer:
    await e.device()
    return await put_in(e, await e.group("door"), "door")


@gives(9800016, 409, group_devices=1)
async def put_a_device_into_a_full_group(e: Estate) -> Answer:
    await e.device()
    await e.device("gate")
    return await put_in(e, await e.group("door"), "gate")


@gives(9800017, 404)
async def take_a_device_out_of_a_group_it_is_not_in(e: Estate) -> Answer:
    await e.device()
    return await e.ask("DELETE", f"/v1/groups/{await e.group()}/devices", e.operator, members("door"))


@gives(9800018, 409)
async def put_a_device_into_a_second_group(e: Estate) -> Answer:
    await e.device()
    await e.group("door")
    return await put_in(e, await e.group(name="Other"), "door")


@gives(9800044, 429, max_groups=1)
async def make_one_group_too_many(e: Estate) -> Answer:
    await e.group()
    return await e.ask("POST", "/v1/groups", e.operator, {"group_name": "Other", "model_id": "m1"})


@gives(40101, 404)
async def send_to_an_unknown_device(e: Estate) -> Answer:
    return await e.ask("POST", "/v1/devices/door/messages", e.operator, {"message": "hello"})


@gives(45002, 413)
async def send_too_much(e: Estate) -> Answer:
    await e.device()
    return await e.ask("POST", "/v1/devices/door/messages", e.operator, {"message": "é" * 2561})


@gives(45009, 429, rate_per_s=0.1, rate_burst=1)
async def ask_too_often(e: Estate) -> Answer:
    await e.ask("GET", "/v1/grants", e.user_token())
    return await e.ask("GET", "/v1/grants", e.user_token())


@gives(45009, 429)
async def reopen_too_often(e: Estate) -> Answer:
    await e.model()
    await e.device()
    _, refused = await e.decide("refuse")
    path = f"/v1/grants/{refused['grantId']}/reopen"
    await e.done("POST", path, e.user_token())
    await e.decide("refuse")
    return await e.ask("POST", path, e.user_token())


@gives(48012, 409)
async def send_to_a_device_that_is_not_connected(e: Estate) -> Answer:
    await e.device()
    return await e.ask("POST", "/v1/devices/door/messages", e.operator, {"message": "hello"})


@gives(40001, 200)
async def use_an_original_path_with_a_wrong_access_token(e: Estate) -> Answer:
    return await e.ask("POST", "/wxa/getsnticket?access_token=wrong", None, {"sn": "door", "model_id": "m1"})


@gives(40001, 200)
async def ask_for_an_access_token_with_a_wrong_secret(e: Estate) -> Answer:
    return await e.ask("GET", "/cgi-bin/token?grant_type=client_credential&appid=vendor&secret=wrong")
