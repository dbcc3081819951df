"""Cloud calls: devices behind the operator's own server, which is asked by `iot_voip_notify` (plugin-interface §4.5).

The question carries what the server needs to join for the device: the room, a join credential (`SessionKey`; the
first offer with it answers the call) and a device token that lives as long as the ringing (`ServerToken`). The
server's answer decides: errcode 0 lets the call go on, anything else or silence ends it.
"""

import time
from collections.abc import Callable

from relay.api.tokens import Tokens
from relay.calls.call import Side
from relay.calls.live import LiveCall
from relay.calls.webhooks import Answer, Webhooks

EVENT = "iot_voip_notify"
GRACE_S = 60.0  # the server token outlives the ringing, so that a late answer can still be told that it is late


class Cloud:
    """Asks the operator's server about calls of its devices."""

    def __init__(self, webhooks: Webhooks, tokens: Tokens, wall: Callable[[], float] = time.time) -> None:
        self._webhooks = webhooks
        self._tokens = tokens
        self._wall = wall

    @property
    def reachable(self) -> bool:
        """Does anybody take the question?"""
        return self._webhooks.wants(EVENT)

    async def ask(self, live: LiveCall) -> Answer:
        """The answer of the operator's server, 1002 without a usable one."""
        calls = live.caller.kind == "device"
        device, user = (live.caller, live.listener) if calls else (live.listener, live.caller)
        side = Side.CALLER if calls else Side.LISTENER
        life_s = live.call.durations.ring_s + GRACE_S
        return await self._webhooks.ask(
            EVENT,
            {
                "ToUserName": live.admitted.appid,
                "FromUserName": user.id,
                "CreateTime": int(self._wall()),
                "MsgType": "event",
                "Event": EVENT,
                "Action": "join_voip_room",
                "RoomId": live.room,
                "SessionKey": self._tokens.credential(live.room, side, device, answers=not calls),
                "ServerToken": self._tokens.device(device.id, live.admitted.model_id, life_s)[0],
                "Payload": live.asked.payload,
                "ModelId": live.admitted.model_id,
                "Sn": device.id,
                "RoomType": live.asked.room_type,
            },
        )
