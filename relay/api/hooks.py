"""Webhooks over HTTP: where the operator's servers are told what happens."""

import msgspec

from relay.api.devices import OPERATOR
from relay.api.endpoint import Asked, Empty, Endpoint
from relay.calls.webhooks import Hook, HookEntry, Webhooks


class HookList(msgspec.Struct, frozen=True):
    webhooks: list[Hook]


class HookApi:
    """The handlers of `/v1/webhooks`."""

    ENDPOINTS = (
        Endpoint(
            "POST", "/v1/webhooks", "add", "Tell a server what happens; the answer holds the secret of its signatures",
            who=OPERATOR, body=HookEntry, answer=Hook, status=201, codes=(1004,), tag="webhooks",
        ),
        Endpoint("GET", "/v1/webhooks", "all", "All webhooks", who=OPERATOR, answer=HookList, tag="webhooks"),
        Endpoint(
            "DELETE", "/v1/webhooks/{hook}", "remove", "Tell a server nothing more",
            who=OPERATOR, answer=Empty, codes=(1004,), tag="webhooks",
        ),
    )  # fmt: skip

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def add(self, asked: Asked[HookEntry, Empty]) -> Hook:
        return await self._webhooks.add(asked.body)

    async def all(self, asked: Asked[Empty, Empty]) -> HookList:
        return HookList(await self._webhooks.all())

    async def remove(self, asked: Asked[Empty, Empty]) -> Empty:
        await self._webhooks.remove(asked.path["hook"])
        return Empty()
