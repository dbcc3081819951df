"""Where webhooks may lead, as an operator types it in: whatever it is, an answer with a reason."""

import pytest

from api.estate import Estate, on_estate


@pytest.mark.parametrize(
    "url",
    [
        "x", "ftp://example.org/", "//example.org/", "http://", "http:///path", "https://user:pass@example.org/",
        "http://a..b/", f"http://{'x' * 64}.org/", f"http://{'x.' * 500}org/", "http://\u2028/", "http://ex ample.org/",
        "http://example.org:0x50/", "http://example.org:99999/", "http://[::1/", "http://[::1]/", "http://127.0.0.1/",
        "http://localhost/", "http://10.1.2.3/", "http://169.254.169.254/latest", "http://[fe80::1]/", "http://0/",
        "http://[::ffff:10.0.0.1]/", "http://224.0.0.1/", "http://\ud7ff.example/", "http://xn--a.invalid/",
    ],
)  # fmt: skip
def test_targets_that_may_not_be_used(url: str) -> None:
    async def scene(e: Estate) -> None:
        status, body = await e.ask("POST", "/v1/webhooks", e.operator, {"url": url})
        assert (status, body["errCode"]) == (400, 1004), body
        assert body["errMsg"]
        assert (await e.done("GET", "/v1/webhooks", e.operator))["webhooks"] == []

    on_estate(scene)


def test_a_webhooks_secret_is_told_once() -> None:
    async def scene(e: Estate) -> None:
        made = await e.done("POST", "/v1/webhooks", e.operator, {"url": "http://127.0.0.1:9/"})
        assert len(made["secret"]) >= 32
        (listed,) = (await e.done("GET", "/v1/webhooks", e.operator))["webhooks"]
        assert listed == {name: made[name] for name in ("id", "url", "events")}
        await e.done("DELETE", f"/v1/webhooks/{made['id']}", e.operator)
        status, body = await e.ask("DELETE", f"/v1/webhooks/{made['id']}", e.operator)
        assert (status, body["errCode"]) == (404, 1004)

    on_estate(scene, webhook_allow_private=True)


def test_there_are_only_so_many() -> None:
    async def scene(e: Estate) -> None:
        for number in range(3):
            status, body = await e.ask("POST", "/v1/webhooks", e.operator, {"url": f"http://127.0.0.1:9/{number}"})
            assert status == (201 if number < 2 else 429), body

    on_estate(scene, webhook_allow_private=True, max_webhooks=2)
