"""What counts as a token (RFC 8725), and how long a credential lasts."""

import base64
import json
import time
from typing import Any

import jwt
import pytest

from relay.api.tokens import Claims, Tokens
from relay.calls.invitation import Party
from relay.config import Config
from relay.errors import ApiError

SECRET = "k" * 32


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def tokens(clock: Clock | None = None) -> Tokens:
    return Tokens(Config(secret=SECRET), clock or Clock())


def signed(payload: dict[str, Any], key: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(payload, key, algorithm=algorithm)


def good(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "kind": "user", "openid": "ann", "exp": int(time.time()) + 60, **more}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in good().items() if key != name}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_parties() -> None:
    made = tokens()
    assert made.read(signed(good())).party == Party("user", "ann")
    assert made.read(made.mint("device", "d1", 60)).party == Party("device", "d1")
    assert made.read(made.mint("operator", "o", 60)).party is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "x" * 5000,
        signed(good(), "w" * 32),
        signed(good(), SECRET * 2, "HS512"),
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(good())}.",
        f"{part({'alg': 'HS256'})}.{part(good())}.",
        signed(without("exp")),
        signed(without("sub")),
        signed(without("kind")),
        signed(good(kind="root")),
        signed(good(sub=7)),
        signed(good(exp="soon")),
        signed(good(exp=None)),
        signed(good(exp=int(time.time()) - 60)),
        signed(good(nbf=int(time.time()) + 86_400)),
        signed(good(nbf=[])),
        signed(good(openid=["ann"])),
        signed(good(aud="somebody")),
        signed(good())[:-2],
    ],
)
def test_refused_tokens(token: str) -> None:
    with pytest.raises(ApiError) as refused:
        tokens().read(token)
    assert refused.value.status == 401


def test_a_deep_header_is_no_accident() -> None:
    header = base64.urlsafe_b64encode(b"[" * 2900).rstrip(b"=").decode()
    with pytest.raises(ApiError):
        tokens().read(f"{header}.e30.AA")


def test_a_credential_ends_and_is_spent_once() -> None:
    clock = Clock()
    made = tokens(clock)
    text = made.credential("room", "caller", Party("device", "door"))
    claims = made.read(text)
    assert (claims.room, claims.role, claims.kind) == ("room", "caller", "leg")
    made.spend(claims)
    with pytest.raises(ApiError) as refused:
        made.spend(claims)
    assert refused.value.code == 2008
    made.unspend(claims)
    made.spend(claims)
    clock.now += 60
    with pytest.raises(ApiError):
        made.read(text)
    assert made.read(text, expired=True) == claims


def test_spent_credentials_are_forgotten_when_they_have_run_out() -> None:
    clock = Clock()
    made = tokens(clock)
    for number in range(50):
        made.spend(Claims("x", "leg", clock.now + 60, jti=str(number)))
        clock.now += 10
    assert len(made._spent) < 10
