"""Rate limits: 429 with the time to wait, and what one key uses up costs the others nothing."""

from typing import Any

import pytest

from api.estate import API_KEY, Estate, on_estate
from relay.api.limits import Limits, site_of
from relay.config import Config
from relay.errors import ApiError

PATH = ("GET", "/v1/calls")


async def use_up(e: Estate, token: str | None) -> tuple[int, Any, Any]:
    """Ask until it is too much."""
    for _ in range(50):
        status, body, headers = await e.plane.asked(*PATH, token)
        if status == 429:
            return status, body, headers
    raise AssertionError("there is no limit")


def test_too_much_is_told_with_the_time_to_wait() -> None:
    async def scene(e: Estate) -> None:
        _, body, headers = await use_up(e, e.device_token())
        assert body == {"errCode": 45009, "errMsg": "too many requests"}
        assert 1 <= int(headers["Retry-After"]) <= 10

    on_estate(scene, rate_per_s=0.1, rate_burst=3)


def test_one_key_does_not_cost_another() -> None:
    async def scene(e: Estate) -> None:
        await use_up(e, e.device_token("door"))
        for token in (e.device_token("gate"), e.user_token("door"), e.user_token(), e.operator, API_KEY):
            assert (await e.ask(*PATH, token))[0] == 200
        assert (await e.ask(*PATH, e.plane.tokens.mint("device", "door", 60, sn="door")))[0] == 429, "not by token"

    on_estate(scene, rate_per_s=0.1, rate_burst=3)


def test_a_wrong_token_counts_against_its_address_and_not_its_name() -> None:
    async def scene(e: Estate) -> None:
        expired = e.plane.tokens.mint("device", "door", -60, sn="door")
        await use_up(e, expired)
        assert (await e.ask(*PATH, None))[0] == 429
        assert (await e.ask(*PATH, e.device_token("door")))[0] == 200, "nobody shuts out a device with bad tokens"

    on_estate(scene, anonymous_rate_per_s=0.1, anonymous_rate_burst=3)


def test_an_operator_has_a_limit_of_its_own() -> None:
    async def scene(e: Estate) -> None:
        for _ in range(10):
            assert (await e.ask(*PATH, e.operator))[0] == 200
        assert (await use_up(e, e.device_token()))[0] == 429

    on_estate(scene, rate_per_s=0.1, rate_burst=2, operator_rate_burst=20)


def test_health_is_not_limited() -> None:
    async def scene(e: Estate) -> None:
        await use_up(e, None)
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await e.ask("GET", path))[0] == 200

    on_estate(scene, anonymous_rate_per_s=0.1, anonymous_rate_burst=1)


# --- the buckets themselves, with a clock of our own ---


def bucket(now: list[float], **settings: Any) -> Limits:
    return Limits(Config(secret="s" * 40, **settings), lambda: now[0])


def test_a_bucket_fills_again_up_to_its_burst() -> None:
    now = [100.0]
    limits = bucket(now, rate_per_s=2.0, rate_burst=3)

    def taken() -> int:
        count = 0
        while True:
            try:
                limits.take("user", "ann")
            except ApiError:
                return count
            count += 1

    assert taken() == 3
    now[0] += 0.5
    assert taken() == 1
    now[0] += 1.0
    assert taken() == 2
    now[0] += 3600
    assert taken() == 3


def test_the_time_to_wait_is_enough() -> None:
    now = [100.0]
    limits = bucket(now, rate_per_s=0.1, rate_burst=1)
    limits.take("user", "ann")
    with pytest.raises(ApiError) as refused:
        limits.take("user", "ann")
    assert 0 < refused.value.retry_s <= 10
    now[0] += refused.value.retry_s + 1e-6
    limits.take("user", "ann")
    assert limits.refused == 1


def test_an_ipv6_site_counts_once() -> None:
    assert site_of("2001:db8:1:2::1") == site_of("2001:db8:1:2:ffff::9") != site_of("2001:db8:1:3::1")
    assert site_of("::ffff:192.0.2.7") == site_of("192.0.2.7") == "192.0.2.7"
    assert site_of("unix") == "unix"
