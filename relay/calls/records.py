"""The latest finished calls, kept in memory: late hang-ups and second looks need not wait for the store."""

from collections import OrderedDict

from relay.calls.invitation import Party
from relay.calls.view import CallView


class Record:
    """One finished call: who may read it, and what they read."""

    __slots__ = ("parties", "view")

    def __init__(self, parties: tuple[Party, ...], view: CallView) -> None:
        self.parties = parties
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
