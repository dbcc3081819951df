"""What a log line may and may not hold."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from relay import logs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("relay")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:], root.level, own.level = before
    logging.captureWarnings(False)


@pytest.mark.parametrize(
    "secret",
    [
        "192.0.2.7",
        "192.0.2.7:40000",
        "2001:db8::7",
        "[2001:db8::7]:40000",
        "fe80::1",
        "::1",
        "::ffff:192.0.2.7",
        "2001:db8:1:2:3:4:5:6",
        TOKEN,
        f"Bearer {TOKEN}",
        "Bearer abcdefgh.ijkl-mnop",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "secret=0123456789",
        ":".join(["AB"] * 32),
    ],
)
def test_nothing_that_identifies_or_opens_passes(secret: str) -> None:
    for text in (secret, f"from {secret}", f"({secret}),", f"'{secret}'"):
        left = logs.redact(text)
        assert "<" in left
        for part in ("192.0.2", "2001", "db8", "fe80", TOKEN[-12:], "abcdefgh", "0123456789", "AB:AB"):
            assert part not in left


@pytest.mark.parametrize("text", ["12:34:56 a call ended", "version 1.2.3", "worker 3: 99.5 %", "relay.media.remote"])
def test_ordinary_words_stay(text: str) -> None:
    assert logs.redact(text) == text


def test_a_line_is_one_json_object_with_its_fields() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out, worker=3)
    log = logging.getLogger("relay.test")
    log.info("line\nbreak and %s", "192.0.2.7", extra={"legs": 4, "peer": "192.0.2.7", "name_": None})
    log.debug("unseen")
    try:
        raise ValueError(TOKEN)
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["message"] == "line\nbreak and <address>"
    assert (first["level"], first["worker"], first["legs"], first["peer"]) == ("info", 3, 4, "<address>")
    assert first["time"].endswith("Z")
    assert "ValueError" in second["error"]
    assert TOKEN not in out.getvalue()


def test_debug_says_everything() -> None:
    out = io.StringIO()
    logs.configure("debug", stream=out)
    assert logs.level() == "debug"
    logging.getLogger("relay.test").debug("from 192.0.2.7")
    assert "192.0.2.7" in out.getvalue()


def test_a_peer_cannot_write_a_line_of_its_own() -> None:
    out = Terminal()
    logs.configure("info", stream=out)
    logging.getLogger("relay.test").info("name %s", "a\n12:00:00 info forged\x1b[2J")
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b" not in out.getvalue()


def test_other_packages_speak_from_warning_up() -> None:
    out = io.StringIO()
    logs.configure("debug", stream=out)
    logging.getLogger("other").info("chatter")
    logging.getLogger("other").warning("trouble")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["trouble"]
