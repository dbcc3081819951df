"""Bearer tokens: JWTs signed with HS256 (RFC 7519), nothing else accepted (RFC 8725 §3.1).

Kinds: `operator` (the vendor's own server), `device` (one SN), `user` (one openid) and `leg` (join one room
as one role). A leg token for a call is the join credential: `credential_s` long and good for one offer.
"""

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
LEEWAY_S = 5.0  # clocks of the operator's servers differ a little

Kind = Literal["operator", "device", "user", "leg"]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says. `exp` is Unix seconds."""

    sub: str
    kind: Kind
    exp: float
    sn: str = ""
    model_id: str = ""
    openid: str = ""
    appid: str = ""
    room: str = ""
    role: str = ""
    jti: str = ""

    @property
    def party(self) -> Party | None:
        """The party this token stands for; None for operator and leg tokens."""
        if self.kind == "device":
            return Party("device", self.sn or self.sub)
        if self.kind == "user":
            return Party("user", self.openid or self.sub)
        return None


class Tokens:
    """Makes and checks a node's tokens."""

    def __init__(self, config: Config, wall: Callable[[], float] = time.time) -> None:
        self._secret = config.secret
        self._credential_s = config.credential_s
        self._wall = wall
        self._spent: OrderedDict[str, float] = OrderedDict()  # credential -> exp

    def mint(self, kind: Kind, subject: str, ttl_s: float, **claims: str) -> str:
        """A token for `ttl_s` seconds. `claims` are those of `Claims`."""
        now = self._wall()
        payload: dict[str, Any] = {"sub": subject, "kind": kind, "iat": int(now), "exp": int(now + ttl_s)}
        return jwt.encode({**payload, **claims}, self._secret, algorithm=ALGORITHM)

    def credential(self, room: str, role: str, party: Party) -> str:
        """A join credential: one offer, in one room, as one side."""
        return self.mint("leg", party.id, self._credential_s, room=room, role=role, jti=secrets.token_urlsafe(12))

    def read(self, token: str, *, expired: bool = False) -> Claims:
        """Check signature, shape and time. With `expired`, one that ran out is taken too.

        Raises ApiError 401/13. The signature is compared in constant time (PyJWT uses hmac.compare_digest).
        """
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
            not_before = float(payload.get("nbf", 0))
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, TypeError, RecursionError):
            # One text for every fault: it must not tell a forger how far he got.
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the token is wrong") from None
        now = self._wall()
        leeway_s = 0.0 if claims.kind == "leg" else LEEWAY_S  # a credential's minute is a promise
        if not (expired or now < claims.exp + leeway_s) or now < not_before - LEEWAY_S:
            raise ApiError(401, Code.DEVICE_TOKEN_WRONG, "the token has expired or is not valid yet")
        return claims

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
