"""A call as it is read: by its parties, by the operator, in the history and by webhooks. One shape for all of them."""

import msgspec

from relay.calls.invitation import Party


class Seen(msgspec.Struct, frozen=True, rename="camel"):
    """A party of a call. `camera_status` 0 is on."""

    id: str
    name: str
    kind: str
    camera_status: int = 0


class SeenListener(msgspec.Struct, frozen=True, rename="camel"):
    """A called party and how far it came (`relay/calls/hunt.py`, Outcome)."""

    id: str
    name: str
    kind: str
    outcome: str


class CallView(msgspec.Struct, frozen=True, rename="camel"):
    """Everything about one call. Times (`..._at`) are Unix milliseconds, `keep_time`, `time_limit` and
    `ring_timeout` seconds.
    """

    room_id: str
    group_id: str  # the plugin's older name of the same value
    state: str
    room_type: str
    direction: str
    target: str | None
    business_type: int
    charge_type: str
    appid: str
    model_id: str
    caller: Seen
    listener: Seen  # who answered, else the first
    listeners: tuple[SeenListener, ...]
    strategy: str
    keep_time: int
    time_limit: float | None
    ring_timeout: float
    created_at: int
    answered_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    end_reason: str | None = None
    reason: str = ""
    err_code: int = 0
    err_msg: str = ""

    def seen_by(self, party: Party | None) -> "CallView":
        """What this party may see: a called one of several sees no other, the caller and the operator (None) all."""
        if party is None or (party.kind, party.id) == (self.caller.kind, self.caller.id):
            return self
        mine = tuple(other for other in self.listeners if (other.kind, other.id) == (party.kind, party.id))
        return msgspec.structs.replace(self, listeners=mine)
