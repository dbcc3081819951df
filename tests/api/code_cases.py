"""Requests that earn a code, by name: what `test_codes.py` sends."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from api.estate import Answer, Estate

Request = Callable[[Estate], Awaitable[Answer]]


class Case(NamedTuple):
    code: int
    status: int
    request: Request
    settings: dict[str, Any]


CASES: list[Case] = []


def gives(code: int, status: int, **settings: Any) -> Callable[[Request], Request]:
    """The request below gets this code, on a node with these settings."""

    def note(request: Request) -> Request:
        CASES.append(Case(code, status, request, settings))
        return request

    return note
