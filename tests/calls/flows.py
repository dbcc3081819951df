"""The flows of plugin-interface §2.5 as data: what is done, and every event that each side hears of it.

The same table is played twice: in virtual time against the service (`test_flows.py` beside this file), and against a
running node over HTTP and WebSocket with real media (`tests/system/test_flows.py`). A player gives meaning to the
steps and to the places (`Place`), and compares with `expected`.

`callPageOnShow` of the called side and `calling` are the client's own, so no node sends them (§2.2, §7.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from relay.calls.call import Side

CALLER, LISTENER = Side.CALLER, Side.LISTENER


class Place(StrEnum):
    """A value of an event that depends on the player."""

    CALLER_ID = "<callerId>"
    CALLER_KIND = "<callerKind>"
    LISTENER_ID = "<listenerId>"
    LISTENER_KIND = "<listenerKind>"
    KEEP = "<keepTime>"  # whole seconds of talk
    SETTLED = "<settled>"  # whole seconds both were there
    START = "<startTime>"  # Unix milliseconds
    RING = "<ringTimeout>"
    LIMIT = "<timeLimit>"
    BUSINESS = "<businessType>"


class Heard(NamedTuple):
    """An event as a side hears it."""

    name: str
    data: Mapping[str, Any] = {}


Step = tuple[Any, ...]
"""A verb and what it needs:

call                     the caller makes the call; the called side's ring notice goes out
call_refused code        the same, and it is refused with this code
occupy side              that side is in another call already, with a third party
join side                its media comes up
answer, answer_too_late  by the called side
reject status            by the called side
hang_up side origin      side None is the operator
fail side text           gives up joining for good
vanish side              its media falls silent
talk seconds             time passes in the talk
timer seconds            the timer that runs now fires, after so long
"""


@dataclass(frozen=True)
class Flow:
    name: str
    script: tuple[Step, ...]
    caller: tuple[Heard, ...]
    listener: tuple[Heard, ...]
    end: str | None  # the record's endReason; None: there is no call
    keep: int = 0
    settled: int = 0
    timed: str = ""  # "ring" or "limit": the call is made with a short one where time is real


INCOMING = Heard(
    "incomingCall",
    {
        "roomType": "video",
        "businessType": Place.BUSINESS,
        "callerId": Place.CALLER_ID,
        "callerName": "Front door",
        "callerKind": Place.CALLER_KIND,
        "callerCameraStatus": 0,
        "callerProfile": None,
        "listenerId": Place.LISTENER_ID,
        "listenerName": "Ann",
        "listenerKind": Place.LISTENER_KIND,
        "listenerCameraStatus": 1,
        "listenerProfile": None,
        "query": "a=1",
        "ringTimeout": Place.RING,
        "timeLimit": Place.LIMIT,
        "encodeVideo": {"fixedLength": 0, "rotation": 0, "ratio": 0, "maxFPS": 0},
    },
)
SHOWN = Heard("callPageOnShow")
JOINED = Heard("joinedRoomByCaller")
ANSWERED = Heard("hangOnVoip")
START = Heard("startVoip", {"startTime": Place.START})
BUSY = Heard("busy")
TIMEOUT = Heard("timeout")
FINISH = Heard("finishVoip", {"keepTime": Place.SETTLED})

RINGS = (("call",), ("join", CALLER))
ANSWERS = (*RINGS, ("answer",))
TALKS = (*ANSWERS, ("join", LISTENER))
CALLS = (SHOWN, JOINED)  # the caller is in
TAKES = (INCOMING, ANSWERED)  # the called side has answered

BROKEN = "room status is abort"
SILENT = "call interrupted due to native reason"
IN_VAIN = "listener waitOtherToJoin timeout"
NOT_IN = "join room failed: the {} did not come in before the join timer"


def cancel(status: str) -> Heard:
    return Heard("cancelVoip", {"status": status})


def reject(status: str) -> Heard:
    return Heard("rejectVoip", {"status": status})


def hang_up(status: str, origin: str) -> Heard:
    return Heard("hangUpVoip", {"keepTime": Place.KEEP, "status": status, "origin": origin})


def abort(status: str, text: str) -> Heard:
    return Heard("abortVoip", {"keepTime": Place.KEEP, "status": status, "error": {"errMsg": text}})


def no_join(side: Side, text: str) -> Heard:
    return Heard("joinFailCaller" if side is CALLER else "joinFailListener", {"errMsg": text})


def ends(side: Side, *events: Heard) -> tuple[Heard, ...]:
    """The reason event, then endVoip, then finishVoip: always in this order, also without a talk."""
    over = {
        "keepTime": Place.KEEP,
        "callerName": "Front door",
        "listenerName": "Ann",
        "roomType": "video",
        "isCaller": side is CALLER,
        "businessType": Place.BUSINESS,
    }
    return (*events, Heard("endVoip", over), FINISH)


FLOWS = (
    Flow(
        "answered, then hung up by the caller",
        (*TALKS, ("talk", 12.9), ("hang_up", CALLER, "manual")),
        (*CALLS, START, *ends(CALLER, hang_up("endByCaller", "manual"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByCaller", "other"))),
        "hangup", keep=12, settled=12,
    ),
    Flow(
        "answered, then hung up by the called side",
        (*TALKS, ("talk", 1.0), ("hang_up", LISTENER, "unloadCallPage")),
        (*CALLS, START, *ends(CALLER, hang_up("endByListener", "other"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByListener", "unloadCallPage"))),
        "hangup", keep=1, settled=1,
    ),
    Flow(
        "answered before the caller was in",
        (("call",), ("answer",), ("join", LISTENER), ("join", CALLER), ("hang_up", CALLER, "manual")),
        (*CALLS, START, *ends(CALLER, hang_up("endByCaller", "manual"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByCaller", "other"))),
        "hangup",
    ),
    Flow(
        "rejected",
        (*RINGS, ("reject", "manual")),
        (*CALLS, *ends(CALLER, reject("other"))),
        (INCOMING, *ends(LISTENER, reject("manual"))),
        "rejected",
    ),
    Flow(
        "called side hangs up while it waits for the caller",
        (("call",), ("answer",), ("join", LISTENER), ("hang_up", LISTENER, "manual")),
        ends(CALLER, reject("other")),
        (*TAKES, *ends(LISTENER, reject("manual"))),
        "rejected",
    ),
    Flow(
        "called side is forced to hang up while it waits for the caller",
        (("call",), ("answer",), ("join", LISTENER), ("hang_up", LISTENER, "forceFromApp")),
        ends(CALLER, reject("other")),
        (*TAKES, *ends(LISTENER, reject("forceFromApp"))),
        "rejected",
    ),
    Flow("known to be busy", (("occupy", LISTENER), ("call",)), ends(CALLER, BUSY), (), "busy"),
    Flow(
        "says that it is busy",
        (*RINGS, ("reject", "busy")),
        (*CALLS, *ends(CALLER, BUSY)),
        (INCOMING, *ends(LISTENER)),
        "busy",
    ),
    Flow(
        "caller cancels",
        (*RINGS, ("hang_up", CALLER, "manual")),
        (*CALLS, *ends(CALLER, cancel("manual"))),
        (INCOMING, *ends(LISTENER, cancel("other"))),
        "cancelled",
    ),
    Flow(
        "caller leaves the page before it is in",
        (("call",), ("hang_up", CALLER, "unloadCallPage")),
        ends(CALLER, cancel("unloadCallPage")),
        (INCOMING, *ends(LISTENER, cancel("other"))),
        "cancelled",
    ),
    Flow(
        "caller cancels after the answer",
        (*ANSWERS, ("hang_up", CALLER, "manual")),
        (*CALLS, *ends(CALLER, cancel("manual"))),
        (*TAKES, *ends(LISTENER, cancel("other"))),
        "cancelled",
    ),
    Flow(
        "no answer",
        (*RINGS, ("timer", 60)),
        (*CALLS, *ends(CALLER, TIMEOUT)),
        (INCOMING, *ends(LISTENER, TIMEOUT)),
        "timeout", timed="ring",
    ),
    Flow(
        "caller cannot join",
        (("call",), ("fail", CALLER, "no microphone")),
        (no_join(CALLER, "no microphone"), *ends(CALLER, abort("abortByCaller", "no microphone"))),
        (INCOMING, *ends(LISTENER, abort("unknown", BROKEN))),
        "abort",
    ),
    Flow(
        "caller does not come in",
        (("call",), ("timer", 20)),
        (
            no_join(CALLER, NOT_IN.format("caller")),
            *ends(CALLER, abort("abortByCaller", NOT_IN.format("caller"))),
        ),
        (INCOMING, *ends(LISTENER, abort("unknown", BROKEN))),
        "abort",
    ),
    Flow(
        "called side waits for the caller in vain",
        (("call",), ("answer",), ("join", LISTENER), ("timer", 20)),
        ends(CALLER, abort("unknown", BROKEN)),
        (*TAKES, *ends(LISTENER, abort("abortByListener", IN_VAIN))),
        "abort",
    ),
    Flow(
        "called side cannot join",
        (*ANSWERS, ("fail", LISTENER, "no camera")),
        (*CALLS, *ends(CALLER, abort("unknown", BROKEN))),
        (*TAKES, no_join(LISTENER, "no camera"), *ends(LISTENER, abort("abortByListener", "no camera"))),
        "abort",
    ),
    Flow(
        "called side does not come in",
        (*ANSWERS, ("timer", 20)),
        (*CALLS, *ends(CALLER, abort("unknown", BROKEN))),
        (
            *TAKES,
            no_join(LISTENER, NOT_IN.format("called side")),
            *ends(LISTENER, abort("abortByListener", NOT_IN.format("called side"))),
        ),
        "abort",
    ),
    Flow(
        "answered too late",
        (*RINGS, ("timer", 60), ("answer_too_late",)),
        (*CALLS, *ends(CALLER, TIMEOUT)),
        (INCOMING, *ends(LISTENER, TIMEOUT)),
        "timeout", timed="ring",
    ),
    Flow(
        "time limit",
        (*TALKS, ("timer", 10)),
        (*CALLS, START, *ends(CALLER, hang_up("endByCaller", "timeLimit"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByCaller", "timeLimit"))),
        "timeLimit", keep=10, settled=10, timed="limit",
    ),
    Flow(
        "caller dies in the talk",
        (*TALKS, ("talk", 47.5), ("vanish", CALLER)),
        (*CALLS, START, *ends(CALLER, abort("abortByCaller", SILENT))),
        (*TAKES, START, *ends(LISTENER, abort("unknown", BROKEN))),
        "abort", keep=47, settled=17,
    ),
    Flow(
        "called side dies in the talk",
        (*TALKS, ("talk", 12.0), ("vanish", LISTENER)),
        (*CALLS, START, *ends(CALLER, abort("unknown", BROKEN))),
        (*TAKES, START, *ends(LISTENER, abort("abortByListener", SILENT))),
        "abort", keep=12, settled=0,
    ),
    Flow(
        "caller is forced to hang up before the talk",
        (*RINGS, ("hang_up", CALLER, "forceFromApp")),
        (*CALLS, *ends(CALLER, cancel("forceFromApp"))),
        (INCOMING, *ends(LISTENER, cancel("other"))),
        "cancelled",
    ),
    Flow(
        "called side is forced to hang up before the talk",
        (*RINGS, ("hang_up", LISTENER, "forceFromApp")),
        (*CALLS, *ends(CALLER, reject("other"))),
        (INCOMING, *ends(LISTENER, reject("forceFromApp"))),
        "rejected",
    ),
    Flow(
        "operator ends it before the talk",
        (*RINGS, ("hang_up", None, "manual")),
        (*CALLS, *ends(CALLER, cancel("forceFromApp"))),
        (INCOMING, *ends(LISTENER, cancel("other"))),
        "forced",
    ),
    Flow(
        "caller is forced to hang up in the talk",
        (*TALKS, ("talk", 3.3), ("hang_up", CALLER, "forceFromApp")),
        (*CALLS, START, *ends(CALLER, hang_up("endByCaller", "forceFromApp"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByCaller", "other"))),
        "hangup", keep=3, settled=3,
    ),
    Flow(
        "called side is forced to hang up in the talk",
        (*TALKS, ("talk", 3.3), ("hang_up", LISTENER, "forceFromApp")),
        (*CALLS, START, *ends(CALLER, hang_up("endByListener", "other"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByListener", "forceFromApp"))),
        "hangup", keep=3, settled=3,
    ),
    Flow(
        "operator ends it in the talk",
        (*TALKS, ("talk", 3.3), ("hang_up", None, "manual")),
        (*CALLS, START, *ends(CALLER, hang_up("endByCaller", "forceFromApp"))),
        (*TAKES, START, *ends(LISTENER, hang_up("endByCaller", "forceFromApp"))),
        "forced", keep=3, settled=3,
    ),
    Flow("refused at once", (("occupy", CALLER), ("call_refused", 1005)), (), (), None),
)  # fmt: skip


def expected(events: tuple[Heard, ...], values: Mapping[Place, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a side with the player's values in their places.

    A called device is told besides which page to open (§4.6); who plays looks at that by itself.
    """

    def filled(value: Any) -> Any:
        if isinstance(value, Place):
            return values[value]
        if isinstance(value, Mapping):
            return {name: filled(inner) for name, inner in value.items()}
        return value

    return [(event.name, {name: filled(value) for name, value in event.data.items()}) for event in events]


PAGE_FIELDS = ("path", "appType", "appid")
ENDINGS = ("cancelVoip", "rejectVoip", "hangUpVoip", "abortVoip", "timeout", "busy", "endVoip", "finishVoip")
ENVELOPE = {"seq", "timestamp", "eventName", "roomId", "groupId", "data"}


def assert_envelopes(frames: list[dict[str, Any]], room: str) -> None:
    """What every event carries (§2.1, §7.1): both names of the room, a number, a time; the reason once it has ended."""
    for before, after in pairwise(frames):
        assert after["seq"] == before["seq"] + 1, "no number is left out"
        assert after["timestamp"] >= before["timestamp"]
        assert "reason" not in before or after["reason"] == before["reason"], "there is one reason"
    for frame in frames:
        assert set(frame) - {"reason"} == ENVELOPE
        assert frame["roomId"] == frame["groupId"] == room
        assert isinstance(frame["timestamp"], int)
        assert bool(frame.get("reason")) == (frame["eventName"] in ENDINGS or frame["eventName"].startswith("joinFail"))
