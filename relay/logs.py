"""Log lines: one JSON object each on stderr, or plain text when a person is watching.

Nothing that identifies a party or opens a door may be logged at `info` or above: no network address, no
key, no token. Code is written so; the formatter is the net below it and blots out what slipped through. At
`debug` lines are written as they are, because that is what `debug` is for.
"""

import datetime
import json
import logging
import re
import sys
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")

# What a LogRecord carries by itself; everything else came in through `extra=` and is part of the line.
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_SECRETS = (
    # A JWT: three base64url parts, the first of which always begins with '{"'.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "<token>"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), r"\1<token>"),
    (re.compile(r"(?i)\b(ice-pwd|ice-ufrag|inline|secret|password)([:=]\s*)[^\s,;'\"]+"), r"\1\2<key>"),
    (re.compile(r"\b(?:[0-9A-Fa-f]{2}:){15,}[0-9A-Fa-f]{2}\b"), "<fingerprint>"),
    # A clock time also has colons, so IPv6 needs a `::` or at least five of them.
    (re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){5,7}[0-9A-Fa-f]{1,4}(?![\w:])"), "<address>"),
    (re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{0,4}::(?:[0-9A-Fa-f]{1,4}:){0,6}"
                r"[0-9A-Fa-f]{0,4}(?![\w:])"), "<address>"),
    (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\d.]*\d)"), "<address>"),
)  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")


def configure(level: str = "info", *, stream: TextIO | None = None, worker: int | None = None) -> None:
    """Send every log line of the process to `stream` (stderr by default), JSON unless it is a terminal.

    `level` is one of LEVELS and holds for the relay's own loggers; other packages speak from `warning` up.
    `worker` is written into every line of a worker process.
    """
    stream = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter(worker) if stream.isatty() else JsonFormatter(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("relay").setLevel(level.upper())
    logging.captureWarnings(True)


def level() -> str:
    """What `configure` was told last, one of LEVELS."""
    return logging.getLevelName(logging.getLogger("relay").getEffectiveLevel()).lower()


def redact(text: str) -> str:
    """`text` without addresses, tokens, keys and fingerprints."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields of `extra=`, and error for a
    traceback.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _clean(record, record.getMessage()),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        for name, value in _extra(record).items():
            plain = isinstance(value, (int, float, bool)) or value is None
            line[name] = value if plain else _clean(record, str(value))
        if record.exc_info:
            line["error"] = _clean(record, self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """The same for a person: time of day, level, message and fields; tracebacks keep their lines."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._source = "" if worker is None else f"worker {worker}: "

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        message = _clean(record, record.getMessage() + fields).replace("\n", "\\n")
        clock = _time(record).astimezone().strftime("%H:%M:%S")
        text = f"{clock} {record.levelname.lower():7} {self._source}{message}"
        if record.exc_info:
            text += "\n" + _clean(record, self.formatException(record.exc_info))
        return text


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}


def _clean(record: logging.LogRecord, text: str) -> str:
    # A peer chooses names that end up in messages: without this it could write lines of its own.
    text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return redact(text) if record.levelno >= logging.INFO else text
