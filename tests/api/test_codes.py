"""Every code of plugin-interface §3 that a server can produce, each by a real request on a node that is no demo."""

import pytest

from api import neighbour_codes, plugin_codes
from api.code_cases import CASES, Case
from api.estate import Estate, on_estate
from relay.errors import TEXTS

BACKEND = {1, 2, 5, 7, 9, 12, 13, 14, 15, 17, 19, 20, 22, 23, 24}  # §3.1 without the campus face mode
PLUGIN = {1001, 1002, 1004, 1005, 1006, 1007, 1008, 1011, 2000, 2001, 2003, 2004, 2008, 2010, 2100, 2103}  # §3.2
NEIGHBOURS = {
    10001,
    10008,
    10021,
    10025,
    -12001,
    9800001,
    9800002,
    9800003,
    9800004,
    9800011,
    9800012,
    9800013,
    9800014,
    9800015,
    9800016,
    9800017,
    9800018,
    9800044,
    40001,
    40101,
    45002,
    45009,
    48012,
}  # fmt: skip  §3.4


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.request.__name__}")
def test_code(case: Case) -> None:
    async def scene(estate: Estate) -> None:
        status, body = await case.request(estate)
        original = "errcode" in body
        code, message = (body["errcode"], body["errmsg"]) if original else (body["errCode"], body["errMsg"])
        assert (status, code) == (case.status, case.code), body
        assert isinstance(message, str)
        assert message
        assert set(body) == ({"errcode", "errmsg"} if original else {"errCode", "errMsg"})

    on_estate(scene, **case.settings)


def test_every_code_a_server_can_produce_is_produced() -> None:
    assert {case.request.__module__ for case in CASES} == {plugin_codes.__name__, neighbour_codes.__name__}
    assert {case.code for case in CASES} == BACKEND | PLUGIN | NEIGHBOURS


def test_every_code_has_a_text() -> None:
    assert {case.code for case in CASES} <= set(TEXTS)
    assert all(text and text == text.strip() for text in TEXTS.values())
