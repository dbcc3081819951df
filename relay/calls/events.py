"""Events of a party: numbered, kept for replay, handed to whoever listens. No I/O; time is an argument.

Numbers begin at the wall clock's milliseconds when a party is first heard of and then count by one. So they
rise across a restart of the node and across a forgotten party, and a client that asks for what came after an
old number gets all there is instead of nothing.

Bounds: `event_buffer` events and `event_buffer_bytes` for `event_buffer_s` per party, `max_parties` parties (the
longest unused without a listener goes first), `event_sockets_per_party` and `event_sockets_max` listeners.
"""

from collections import OrderedDict, deque
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

import msgspec

from relay.calls.invitation import Party
from relay.config import Config
from relay.errors import ApiError, Code


class Sink(Protocol):
    """Where a party's frames go. `put` must not block; a sink that is full cuts itself off."""

    def put(self, frame: str) -> None: ...
    def dismiss(self) -> None: ...


class Kept(NamedTuple):
    seq: int
    at: float  # clock seconds
    room: str
    frame: str


class Log:
    """One party's recent events and its listeners."""

    __slots__ = ("bytes", "forgotten", "kept", "seq", "sinks")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        # Number of the last event that can't be replayed. What came before this log, in an earlier life of the node or
        # of the party's log, can't either.
        self.forgotten = seq
        self.kept: deque[Kept] = deque()
        self.bytes = 0
        self.sinks: list[Sink] = []


class Events:
    """The event logs of all parties."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._logs: OrderedDict[Party, Log] = OrderedDict()
        self.sockets = 0
        self.published = 0
        self.bytes = 0  # of all frames kept

    def publish(
        self, party: Party, room: str, name: str, data: dict[str, Any], reason: str, now: float, wall_ms: int
    ) -> dict[str, Any]:
        """Number an event, keep it and hand it to the party's listeners; returns it as they see it."""
        log = self._log(party, wall_ms)
        log.seq += 1
        envelope: dict[str, Any] = {
            "seq": log.seq,
            "timestamp": wall_ms,
            "eventName": name,
            "roomId": room,
            "groupId": room,
            "data": data,
        }
        if reason:
            envelope["reason"] = reason
        frame = msgspec.json.encode(envelope).decode()
        self._keep(log, Kept(log.seq, now, room, frame))
        self.published += 1
        for sink in tuple(log.sinks):
            sink.put(frame)
        return envelope

    def attach(
        self, party: Party, sink: Sink, after: int | None, live: Collection[str], now: float, wall_ms: int
    ) -> None:
        """Replay into `sink`, then keep it informed until `detach`.

        With `after`: everything kept behind that number, and before it a frame `gap` if something behind that number
        was forgotten already. Without: what belongs to the calls in `live`, so
        that a client that comes late (woken by a push) still sees the call that rings. Raises ApiError (429)
        when there are too many listeners.
        """
        log = self._log(party, wall_ms)
        if self.sockets >= self._config.event_sockets_max:
            raise ApiError(429, Code.BACKEND, "this node has no room for another event connection")
        if len(log.sinks) >= self._config.event_sockets_per_party:
            raise ApiError(429, Code.BACKEND, "this party has too many event connections open")
        log.sinks.append(sink)
        self.sockets += 1
        self._expire(log, now)
        if after is not None and after < log.forgotten:
            sink.put(msgspec.json.encode({"type": "gap", "after": after, "first": log.forgotten + 1}).decode())
        for event in tuple(log.kept):
            if event.seq > after if after is not None else event.room in live:
                sink.put(event.frame)

    def dismiss(self, party: Party) -> None:
        """End the party's connections: their tokens are no good any more."""
        log = self._logs.get(party)
        for sink in tuple(log.sinks) if log is not None else ():
            sink.dismiss()

    def detach(self, party: Party, sink: Sink) -> None:
        """Stop informing `sink`; unknown ones are ignored."""
        log = self._logs.get(party)
        if log is not None and sink in log.sinks:
            log.sinks.remove(sink)
            self.sockets -= 1

    def listening(self, party: Party) -> int:
        """How many listeners the party has."""
        log = self._logs.get(party)
        return 0 if log is None else len(log.sinks)

    def _log(self, party: Party, wall_ms: int) -> Log:
        log = self._logs.get(party)
        if log is None:
            if len(self._logs) >= self._config.max_parties:
                self._forget_one()
            log = self._logs[party] = Log(wall_ms)
        self._logs.move_to_end(party)
        return log

    def _keep(self, log: Log, event: Kept) -> None:
        log.kept.append(event)
        log.bytes += len(event.frame)
        self.bytes += len(event.frame)
        limits = self._config
        while len(log.kept) > limits.event_buffer or (log.bytes > limits.event_buffer_bytes and len(log.kept) > 1):
            self._forget(log)
        if self.bytes > limits.event_memory_bytes:
            for other in tuple(self._logs.values()):  # the longest unused first
                while other.kept and self.bytes > limits.event_memory_bytes:
                    self._forget(other)

    def _forget(self, log: Log) -> None:
        event = log.kept.popleft()
        log.forgotten = event.seq
        log.bytes -= len(event.frame)
        self.bytes -= len(event.frame)

    def _forget_one(self) -> None:
        """Drop the longest unused log nobody listens to; one exists, for there are more logs than sockets."""
        for party in list(self._logs):
            if not self._logs[party].sinks:
                self.bytes -= self._logs.pop(party).bytes
                return
            self._logs.move_to_end(party)  # so that the next one need not pass it again
        raise AssertionError("event_sockets_max is not below max_parties")

    def _expire(self, log: Log, now: float) -> None:
        while log.kept and now - log.kept[0].at > self._config.event_buffer_s:
            self._forget(log)

    def sweep(self, now: float) -> None:
        """Forget what is too old to be replayed and parties without anything left."""
        for party, log in tuple(self._logs.items()):
            self._expire(log, now)
            if not log.kept and not log.sinks:
                del self._logs[party]

    def __len__(self) -> int:
        return len(self._logs)
