"""What a request can get wrong apart from its fields: who asks, whom or what it names, and the body as a whole.

Over all endpoints: never a 500, always a code and a reason; errcode and errmsg on the original paths.
"""

from typing import Any

import pytest
from yarl import URL

from api.estate import Estate, on_estate
from api.plane import OFFER, SDP, Plane
from api.samples import BODIES, ENDPOINTS, WIDE, Samples, assert_refused, label
from relay.api.endpoint import Endpoint
from relay.api.tokens import Tokens
from relay.calls.invitation import Party
from relay.config import Config

JSON = {"Content-Type": "application/json"}
GUARDED = tuple(endpoint for endpoint in ENDPOINTS if endpoint.who is not None)
SELF_GUARDED = tuple(
    endpoint
    for endpoint in ENDPOINTS
    if endpoint.who is None and (endpoint.path.startswith(("/v1/calls", "/v1/events", "/whip", "/whep")))
)
WITH_PATH = tuple(endpoint for endpoint in ENDPOINTS if "{" in endpoint.path)
# What is found by its own token or says nothing about the id it is given.
WITHOUT_LOOKUP = {
    "POST /v1/users/{openid}/token",
    "PUT /v1/models/{model}",
    "PUT /v1/devices/{sn}",
    "POST /whip/{room}",
    "POST /whep/{room}",
}
UNKNOWN = {
    "room": "0" * 32, "leg": "0" * 32, "sn": "nobody", "model": "none", "grant": "none", "group": "none",
    "hook": "none",
}  # fmt: skip
STRANGE = (
    "%00", "%ff", "%ed%a0%80", "%F0%9F%98%80", "a%00b", "..%2f..", "%2e%2e", "x" * 3_000, "%25", "a%20b", "'", '%22',
    "%0d%0a", "*", "-1", "NaN",
)  # fmt: skip


def foreign(plane: Plane) -> Tokens:
    """Tokens of a node with another secret."""
    return Tokens(Config(secret="f" * 40), plane.wall)


async def prepared(estate: Estate) -> Samples:
    samples = Samples(estate)
    await samples.set_up()
    return samples


# --- who asks ---


def bad_tokens(estate: Estate) -> dict[str, str]:
    tokens, other = estate.plane.tokens, foreign(estate.plane)
    return {
        "rubbish": "rubbish",
        "expired device": tokens.mint("device", "door", -60, sn="door"),
        "expired user": tokens.mint("user", "ann", -60, openid="ann"),
        "expired operator": tokens.mint("operator", "vendor", -60),
        "foreign operator": other.mint("operator", "vendor", 600),
        "foreign device": other.mint("device", "door", 600, sn="door"),
        "unsigned": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2ZW5kb3IiLCJraW5kIjoib3BlcmF0b3IiLCJleHAiOjk5OTk5OTk5OTl9.",
        "huge": "x" * 7_000,
    }


def wrong_kinds(estate: Estate, samples: Samples) -> dict[str, str]:
    """Good tokens that are no bearer's: a join credential and a push token."""
    room = samples.path["room"]
    return {
        "leg": estate.plane.tokens.credential(room, "caller", Party("device", "door")),
        "push": estate.push_token(),
    }


@pytest.mark.parametrize("endpoint", GUARDED, ids=label)
def test_who_may_not_ask(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        missing = await samples.ask(endpoint, token=None)
        assert_refused(missing, endpoint, "no token", 40001 if endpoint.wxa else 1001)
        assert missing[0] == (200 if endpoint.wxa else 401)
        for what, token in bad_tokens(estate).items():
            if endpoint.wxa and what == "huge":
                continue  # longer than a URL may be
            answer = await samples.ask(endpoint, token=token)
            assert_refused(answer, endpoint, what, 40001 if endpoint.wxa else 13)
        everybody = {"device": estate.device_token(), "user": estate.user_token(), "operator": estate.operator}
        others = {kind: token for kind, token in everybody.items() if kind not in (endpoint.who or ())}
        for what, token in {**others, **wrong_kinds(estate, samples)}.items():
            answer = await samples.ask(endpoint, token=token)
            assert_refused(answer, endpoint, what, 2103)
            assert answer[0] == (200 if endpoint.wxa else 403)

    on_estate(scene, **WIDE)


@pytest.mark.parametrize("endpoint", SELF_GUARDED, ids=label)
def test_who_may_not_ask_where_the_handler_looks_itself(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        assert_refused(await samples.ask(endpoint, token=None), endpoint, "no token", 1001)
        for what, token in bad_tokens(estate).items():
            answer = await samples.ask(endpoint, token=token)
            assert_refused(answer, endpoint, what, 13, 14, 2008)
            assert answer[0] == 401
        for what, token in wrong_kinds(estate, samples).items():
            if what == "leg" and "/legs" in endpoint.path:
                continue  # that is what they take
            answer = await samples.ask(endpoint, token=token)
            assert_refused(answer, endpoint, what, 1, 13, 2008, 2103)
            assert answer[0] in (403, 404)

    on_estate(scene, **WIDE)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dmVuZG9yOng=", "bearer\tx", "Bearer \xe9\xff", "Bearer a b c"]
)
def test_authorization_headers_that_are_none(header: str) -> None:
    async def scene(estate: Estate) -> None:
        status, body = await estate.ask("GET", "/v1/calls", headers={"Authorization": header})
        assert status == 401
        assert body["errCode"] in (13, 1001)

    on_estate(scene)


def test_a_refused_token_is_asked_for_again() -> None:
    """RFC 6750 §3."""

    async def scene(estate: Estate) -> None:
        for token in (None, "rubbish"):
            _, _, headers = await estate.plane.asked("GET", "/v1/calls", token)
            assert headers["WWW-Authenticate"] == "Bearer"

    on_estate(scene)


# --- whom or what it names ---


@pytest.mark.parametrize("endpoint", WITH_PATH, ids=label)
def test_unknown_and_strange_ids(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        for name in [name for name in samples.path if f"{{{name}}}" in endpoint.path]:
            for text in STRANGE:
                status, body = await raw(samples, endpoint, name, text)
                assert status < 500, (label(endpoint), text, status, body)
                assert status < 400 or "errCode" in body, (label(endpoint), text, status, body)
            if label(endpoint) not in WITHOUT_LOOKUP:
                answer = await samples.ask(endpoint, path={name: UNKNOWN[name]})
                assert_refused(answer, endpoint, name, *endpoint.codes)
                assert answer[0] in (400, 401, 403, 404), answer

    on_estate(scene, **WIDE)


async def raw(samples: Samples, endpoint: Endpoint, name: str, text: str) -> tuple[int, Any]:
    """With the path exactly as it is given, as no client library would send it."""
    plane = samples.estate.plane
    path = endpoint.path.format(**{**samples.path, name: text})
    headers = {"Authorization": f"Bearer {samples.token(endpoint) or 'x'}", "Idempotency-Key": "k"}
    more: dict[str, Any] = {"json": samples.body(endpoint)} if endpoint in BODIES else {}
    if endpoint.sdp:
        more = {"data": OFFER}
        headers |= {"Content-Type": endpoint.sdp}
    async with plane.http.request(
        endpoint.method, URL(plane.base + path, encoded=True), headers=headers, **more
    ) as response:
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text())


@pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if one.method == "GET" and "{" not in one.path], ids=label
)
def test_strange_queries(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        for text in STRANGE:
            for name in ("sn", "openid", "from", "to", "before", "limit", "after", "access_token", "secret", "x"):
                url = URL(f"{estate.plane.base}{endpoint.path}?{name}={text}", encoded=True)
                headers = {"Authorization": f"Bearer {samples.token(endpoint) or estate.device_token()}"}
                async with estate.plane.http.get(url, headers=headers) as response:
                    assert response.status < 500, (label(endpoint), name, response.status)

    on_estate(scene, **WIDE)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/devices/gate", 2),
        ("POST", "/v1/devices/gate/push-token", 2),
        ("GET", "/v1/devices/gate/profile", 2),
        ("PUT", "/v1/devices/gate/profile", 2),
        ("POST", "/v1/devices/gate/contacts/status", 2),
        ("GET", "/v1/devices/gate/grants", 2),
    ],
)
def test_what_belongs_to_another_device_does_not_exist(method: str, path: str, code: int) -> None:
    async def scene(estate: Estate) -> None:
        await prepared(estate)
        body = {"model_id": "m1", "openid_list": ["ann"]}
        theirs = await estate.ask(method, path, estate.device_token("door"), body)
        none = await estate.ask(method, path.replace("gate", "nothing"), estate.device_token("door"), body)
        assert theirs == none
        assert (theirs[0], theirs[1]["errCode"]) == (404, code)

    on_estate(scene)


def test_another_users_grant_does_not_exist() -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        eve = await estate.user("eve")
        for method, tail in (("DELETE", ""), ("POST", "/reopen")):
            theirs = await estate.ask(method, f"/v1/grants/{samples.path['grant']}{tail}", eve)
            none = await estate.ask(method, f"/v1/grants/none{tail}", eve)
            assert theirs == none
            assert (theirs[0], theirs[1]["errCode"]) == (404, 9)
        status, _ = await estate.call(estate.device_token("door"))
        assert status == 201, "the grant is what it was"

    on_estate(scene)


# --- credentials ---


def test_credentials_that_are_used_up_late_or_for_another_room() -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        room = samples.path["room"]
        tokens = estate.plane.tokens

        async def offer(credential: str, to: str = room) -> tuple[int, int]:
            status, body = await estate.ask("POST", f"/v1/calls/{to}/legs", credential, data=OFFER, headers=SDP)
            return status, body["errCode"] if status >= 400 else 0

        door, ann = Party("device", "door"), Party("user", "ann")
        assert await offer(samples.leg_token) == (401, 2008), "used up"
        assert await offer(tokens.mint("leg", "door", -1, room=room, role="caller", jti="1")) == (401, 2008), "expired"
        assert await offer(tokens.credential("another", "caller", door)) == (403, 2008)
        assert await offer(tokens.credential(room, "player", door)) == (403, 2008)
        assert await offer(tokens.credential(room, "caller", Party("device", "gate"))) == (409, 2000)
        assert await offer(tokens.credential(room, "listener", ann)) == (409, 2000), "not answered"
        foreign_one = foreign(estate.plane).credential(room, "caller", door)
        assert await offer(foreign_one) == (401, 2008)

    on_estate(scene)


# --- the body as a whole ---

SURROGATE = b'{"direction": "\\ud800", "message": "\\udfff", "sn": "\\ud800", "model_id": "\\ud800"}'
BODIES_THAT_ARE_NONE = {
    "empty": b"",
    "half": b"{",
    "null": b"null",
    "array": b"[]",
    "text": b'"x"',
    "number": b"7",
    "not a number": b'{"direction": NaN}',
    "not UTF-8": b"\xff\xfe",
    "surrogates": SURROGATE,
    "raw NUL": b'{"a": "\x00"}',
    "deep array": b"[" * 50_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "many digits": b'{"timeLimit": ' + b"9" * 30_000 + b"}",
}


@pytest.mark.parametrize("endpoint", BODIES, ids=label)
def test_bodies_and_content_types_that_are_none(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = await prepared(estate)
        for what, data in BODIES_THAT_ARE_NONE.items():
            answer = await samples.ask(endpoint, data=data, headers=JSON)
            if endpoint.optional and not data:
                continue  # they may leave the body out
            if answer[0] < 300 and what in ("deep object", "many digits"):
                continue  # unknown fields are passed over, and some need no others
            assert_refused(answer, endpoint, what, *(() if endpoint.optional else (1004,)))
        answer = await samples.ask(endpoint, data=b'{"x": "' + b"y" * 70_000 + b'"}', headers=JSON)
        assert_refused(answer, endpoint, "huge", 1004)
        assert answer[0] == (200 if endpoint.wxa else 413)
        for content_type in ("text/plain", "application/sdp", "application/x-www-form-urlencoded", ";;/=,"):
            status, refusal = await samples.ask(endpoint, data=b'{"a": 1}', headers={"Content-Type": content_type})
            if endpoint.wxa:
                assert status == 200, "the original takes any"
                continue
            assert (status, refusal["errCode"]) == (415, 1004)

    on_estate(scene, **WIDE)


def test_errors_of_the_original_paths_speak_their_own_names() -> None:
    async def scene(estate: Estate) -> None:
        for _ in range(2):
            status, body, headers = await estate.plane.asked(
                "POST", f"/wxa/getsnticket?access_token={estate.operator}", json={"sn": "door", "model_id": "m1"}
            )
        assert status == 429
        assert (body["errcode"], set(body)) == (45009, {"errcode", "errmsg"})
        assert int(headers["Retry-After"]) >= 1

    on_estate(scene, operator_rate_burst=1, operator_rate_per_s=0.1)
