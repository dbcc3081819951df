"""Bearer tokens: JWTs signed with HS256 (RFC 7519), nothing else accepted (RFC 8725 §3.1), and API keys.

Kinds: `operator` (the vendor's own server), `device` (one SN), `user` (one openid), `leg` (join one room as one role)
and `push` (stands for a device towards who wants to call it; no bearer token). A leg token for a call is the join
credential: `credential_s` long and good for one offer.

An API key is a fixed secret of an operator's server, from the configuration; as a bearer it is an operator token.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import jwt
import msgspec

from relay.calls.invitation import Party
from relay.config import Config
from relay.errors import ApiError, Code

ALGORITHM = "HS256"  # pinned: a token that names another one is refused
TOKEN_MAX = 4096  # characters; ours have about 300
CLAIM_MAX = 128  # characters of a claim; the longest are SNs and openids
LEEWAY_S = 5.0  # clocks of the operator's servers differ a little

Kind = Literal["operator", "device", "user", "leg", "push"]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says. `exp` is Unix seconds."""

    sub: str
    kind: Kind
    exp: float
    iat: float = 0.0
    sn: str = ""
    model_id: str = ""
    openid: str = ""
    appid: str = ""
    room: str = ""
    role: str = ""
    jti: str = ""
    answers: bool = False  # a leg token whose first offer answers the call

    @property
    def identity(self) -> str:
        """Whom this token stands for, among those of its kind."""
        return (self.sn or self.sub) if self.kind == "device" else (self.openid or self.sub)

    @property
    def party(self) -> Party | None:
        """The party this token stands for; None for the others."""
        if self.kind == "device":
            return Party("device", self.identity)
        if self.kind == "user":
            return Party("user", self.identity)
        return None


class Tokens:
    """Makes and checks a node's tokens."""

    def __init__(self, config: Config, wall: Callable[[], float] = time.time) -> None:
        self._secret = config.secret
        self._config = config
        self._wall = wall
        self._spent: OrderedDict[str, float] = OrderedDict()  # credential -> exp
        self._revoked: OrderedDict[str, float] = OrderedDict()  # SN -> when; older tokens of it are no good
        # By hash, so that looking one up tells nothing about the others by its time.
        self._keys = {_hash(key.partition(":")[2]): key.partition(":")[0] for key in config.api_keys}

    def mint(self, kind: Kind, subject: str, ttl_s: float, **claims: str | bool) -> str:
        """A token for `ttl_s` seconds. `claims` are those of `Claims`."""
        now = self._wall()
        payload: dict[str, Any] = {"sub": subject, "kind": kind, "iat": int(now), "exp": int(now + ttl_s)}
        return jwt.encode({**payload, **claims}, self._secret, algorithm=ALGORITHM)

    def credential(self, room: str, role: str, party: Party, *, answers: bool = False) -> str:
        """A join credential: one offer, in one room, as one side. With `answers` the offer also takes the call."""
        more: dict[str, str | bool] = {"answers": True} if answers else {}
        key = secrets.token_urlsafe(12)
        return self.mint("leg", party.id, self._config.credential_s, room=room, role=role, jti=key, **more)

    def device(self, sn: str, model_id: str, life_s: float | None = None) -> tuple[str, int]:
        """A device token and when it expires (Unix seconds)."""
        life_s = self._config.device_token_s if life_s is None else life_s
        return self.mint("device", sn, life_s, sn=sn, model_id=model_id), int(self._wall() + life_s)

    def user(self, openid: str, appid: str) -> tuple[str, int]:
        """A user token and when it expires (Unix seconds)."""
        life_s = self._config.user_token_s
        given = {"appid": appid} if appid else {}
        return self.mint("user", openid, life_s, openid=openid, **given), int(self._wall() + life_s)

    def push(self, sn: str, model_id: str) -> tuple[str, int]:
        """A push token and when it expires (Unix seconds)."""
        life_s = self._config.push_token_s
        return self.mint("push", sn, life_s, sn=sn, model_id=model_id), int(self._wall() + life_s)

    def operator(self, key: str) -> tuple[str, int]:
        """An operator token for the API key, and its life in seconds. Raises ApiError 401/40001."""
        owner = self._keys.get(_hash(key))
        if owner is None:
            raise ApiError(401, Code.INVALID_CREDENTIAL)
        return self.mint("operator", owner, self._config.api_token_s), int(self._config.api_token_s)

    def read(self, token: str, *, expired: bool = False) -> Claims:
        """Check signature, shape and time. With `expired`, one that ran out is taken too.

        Raises ApiError 401/13. The signature is compared in constant time (PyJWT uses hmac.compare_digest).
        """
        if self._keys and (owner := self._keys.get(_hash(token))) is not None:
            return Claims(sub=owner, kind="operator", exp=float("inf"))
        try:
            if len(token) > TOKEN_MAX:
                raise ValueError("too long")
            payload = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                # Time is checked below with our own clock.
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            claims = msgspec.convert(payload, Claims)
            if not all(map(_plain, (claims.sub, claims.sn, claims.openid, claims.appid, claims.model_id, claims.room))):
                raise ValueError("a claim is too long or has control characters")
            not_before = float(payload.get("nbf", 0))
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, TypeError, RecursionError):
            # One text for every fault: it must not tell a forger how far he got.
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the token is wrong") from None
        if claims.kind == "device" and claims.iat + 1 < self._revoked.get(claims.identity, 0.0):
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the token was revoked")
        now = self._wall()
        leeway_s = 0.0 if claims.kind == "leg" else LEEWAY_S  # a credential's minute is a promise
        if not (expired or now < claims.exp + leeway_s) or now < not_before - LEEWAY_S:
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the token has expired or is not valid yet")
        return claims

    def revoke(self, sn: str) -> None:
        """The device was removed, or has a new secret: its tokens made so far are refused for as long as they live."""
        now = self._wall()
        self._revoked[sn] = now
        self._revoked.move_to_end(sn)
        while next(iter(self._revoked.values())) < now - self._config.device_token_s - LEEWAY_S:
            self._revoked.popitem(last=False)

    def spend(self, claims: Claims) -> None:
        """Use up a credential. Raises ApiError 401/2008 when it was used before."""
        now = self._wall()
        while self._spent and next(iter(self._spent.values())) < now - LEEWAY_S:
            self._spent.popitem(last=False)
        key = claims.jti or f"{claims.sub} {claims.room} {claims.role} {claims.exp}"
        if key in self._spent:
            raise ApiError(401, Code.SESSION_KEY, "the join credential was used already; join gives a new one")
        self._spent[key] = claims.exp

    def unspend(self, claims: Claims) -> None:
        """Give a credential back whose offer was refused, so that the client can send a better one."""
        self._spent.pop(claims.jti, None)


def _plain(text: str) -> bool:
    return len(text) <= CLAIM_MAX and (text.isprintable() or not text)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
