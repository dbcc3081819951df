"""How a call ended, as a sentence and as the exit status of `relay device`."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Exit(enum.IntEnum):
    """Exit statuses. 1 is left to Python's own crashes and 2 is argparse's."""

    COMPLETED = 0
    USAGE = 2
    RELAY = 3
    NOT_ANSWERED = 4
    MEDIA_LOST = 5

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Exit.COMPLETED: "the call was completed normally (or there was none)",
    Exit.USAGE: "wrong usage: an unknown option, an unreadable file, an unusable camera",
    Exit.RELAY: "the relay cannot be reached or refused the request",
    Exit.NOT_ANSWERED: "no talk: rejected, busy, not answered in time or cancelled",
    Exit.MEDIA_LOST: "media could not be set up, or was lost during the call",
}


@dataclass(frozen=True)
class Outcome:
    """The end of one call. `keep_s` is the time talked, in seconds, as the relay counted it."""

    exit: Exit
    words: str
    room: str = ""
    peer: str = ""
    keep_s: float = 0.0


# The event that gives the reason comes before endVoip; none of them ends the call by itself
# (plugin-interface §2.5). joinFail* may be sent while a side is still trying, so it only counts for want of
# better.
REASON_EVENTS = frozenset({"hangUpVoip", "rejectVoip", "cancelVoip", "busy", "timeout", "abortVoip"})
WEAK_REASON_EVENTS = frozenset({"joinFailCaller", "joinFailListener"})


def judge(name: str, data: Mapping[str, Any], *, caller: bool) -> tuple[Exit, str]:
    """Exit status and sentence for the reason event `name` with its `data`, as seen by the caller or the
    listener.
    """
    status = str(data.get("status", ""))
    ours = status != "other"
    match name:
        case "hangUpVoip":
            origin = data.get("origin")
            if origin == "timeLimit":
                return Exit.COMPLETED, "the time limit of the call was reached"
            who = "the other side" if origin == "other" else "this device"
            return Exit.COMPLETED, f"{who} hung up"
        case "rejectVoip":
            return (
                Exit.NOT_ANSWERED,
                "this device rejected the call" if ours else "the other side rejected the call",
            )
        case "cancelVoip" if _error_text(data):
            # The operator's server was asked about a cloud call and said no, or nothing.
            return Exit.NOT_ANSWERED, f"the call was cancelled: {_error_text(data)}"
        case "cancelVoip":
            return (
                Exit.NOT_ANSWERED,
                "this device cancelled the call"
                if ours
                else "the caller cancelled the call, or another listener took it",
            )
        case "busy":
            return (
                Exit.NOT_ANSWERED,
                "the other side is in another call" if caller else "this device was in a call",
            )
        case "timeout":
            return Exit.NOT_ANSWERED, "nobody answered in time"
        case "abortVoip":
            return (
                Exit.MEDIA_LOST,
                f"the call was aborted: {_error_text(data) or status or 'no reason given'}",
            )
        case "joinFailCaller" | "joinFailListener":
            return Exit.MEDIA_LOST, f"joining the call failed: {_error_text(data) or 'no reason given'}"
        case _:
            return Exit.MEDIA_LOST, "the relay ended the call without giving a reason"


def _error_text(data: Mapping[str, Any]) -> str:
    """errMsg, wherever this event carries it: abortVoip has it inside `error`, joinFail* outside (§2.2)."""
    error = data.get("error")
    if isinstance(error, Mapping) and error.get("errMsg"):
        return str(error["errMsg"])
    return str(data.get("errMsg") or data.get("message") or "")
