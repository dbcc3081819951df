"""Finished calls, kept in memory up to a bound. A store takes this place once calls outlive their node."""

from collections import OrderedDict
from typing import Any

from relay.calls.invitation import Party


class Record:
    """One finished call: who may read it, and what they read."""

    __slots__ = ("caller", "listener", "view")

    def __init__(self, caller: Party, listener: Party, view: dict[str, Any]) -> None:
        self.caller = caller
        self.listener = listener
        self.view = view


class Records:
    """The latest `size` finished calls by room id."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._records: OrderedDict[str, Record] = OrderedDict()

    def put(self, room: str, record: Record) -> None:
        self._records[room] = record
        while len(self._records) > self._size:
            self._records.popitem(last=False)

    def find(self, room: str) -> Record | None:
        return self._records.get(room)

    def __len__(self) -> int:
        return len(self._records)
