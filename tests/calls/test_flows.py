"""Every flow of plugin-interface §2.5 in virtual time: the exact events of both sides with their exact fields."""

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from calls.flows import CALLER, FLOWS, LISTENER, PAGE_FIELDS, Flow, Place, assert_envelopes, expected
from calls.scene import Scene, play
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Party, Person
from relay.errors import ApiError
from relay.media.messages import CONSENT_EXPIRED

DIRECTIONS: dict[str, tuple[Party, Party]] = {
    "device_to_user": (Party("device", "door"), Party("user", "ann")),
    "user_to_device": (Party("user", "ann"), Party("device", "door")),
}


class Player:
    """Plays a script; keeps what both sides heard."""

    def __init__(self, stage: Scene, direction: str, limit_s: float | None) -> None:
        self.stage = stage
        self.parties = dict(zip((CALLER, LISTENER), DIRECTIONS[direction], strict=True))
        self.ears = {side: stage.ear(party) for side, party in self.parties.items()}
        self.legs: dict[Side, str] = {}
        self.room = ""
        self.started_ms = 0
        self.asked = Invitation(
            direction=direction,  # type: ignore[arg-type]
            room_type="video",
            caller=Person(self.parties[CALLER].id, "Front door"),
            listener=Person(self.parties[LISTENER].id, "Ann", 1),
            custom_query="a=1",
            time_limit=limit_s,
        )

    async def play(self, flow: Flow) -> None:
        for verb, *arguments in flow.script:
            await getattr(self, verb)(*arguments)

    async def call(self) -> None:
        self.room = (await self.stage.service.create(self.asked)).room

    async def call_refused(self, code: int) -> None:
        with pytest.raises(ApiError) as refused:
            await self.call()
        assert refused.value.code == code

    async def occupy(self, side: Side) -> None:
        party = self.parties[side]
        other = "user_to_device" if party.kind == "user" else "device_to_user"
        await self.stage.service.create(
            Invitation(other, "voice", Person(party.id), Person("third"))  # type: ignore[arg-type]
        )
        self.ears[side].frames.clear()

    async def join(self, side: Side) -> None:
        self.legs[side] = await self.stage.enter(self.room, side)
        if len(self.legs) == 2:
            self.started_ms = self.stage.wall_ms

    async def answer(self) -> None:
        self.stage.service.answer(self.room, self.parties[LISTENER])

    async def answer_too_late(self) -> None:
        with pytest.raises(ApiError, match="retry join but voip is end") as refused:
            await self.answer()
        assert (refused.value.status, refused.value.code) == (409, 2000)

    async def reject(self, status: Any) -> None:
        self.stage.service.reject(self.room, self.parties[LISTENER], status)

    async def hang_up(self, side: Side | None, origin: Any) -> None:
        self.stage.service.hang_up(self.room, None if side is None else self.parties[side], origin)

    async def fail(self, side: Side, text: str) -> None:
        self.stage.service.fail(self.room, self.parties[side], text)

    async def vanish(self, side: Side) -> None:
        self.stage.media.say(self.legs[side], "lost", CONSENT_EXPIRED)

    async def talk(self, seconds: float) -> None:
        self.stage.wait(seconds)

    async def timer(self, seconds: float) -> None:
        heard = len(self.ears[CALLER].frames)
        self.stage.wait(seconds - 0.01)
        assert len(self.ears[CALLER].frames) == heard, "the timer fired too early"
        self.stage.wait(0.01)
        assert len(self.ears[CALLER].frames) > heard


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_both_sides_hear_exactly_this(flow: Flow, direction: str) -> None:
    async def scene(stage: Scene) -> None:
        limit_s = 10.0 if flow.timed == "limit" else None
        player = Player(stage, direction, limit_s)
        await player.play(flow)
        await asyncio.sleep(0)
        caller, listener = player.parties[CALLER], player.parties[LISTENER]
        values = {
            Place.CALLER_ID: caller.id, Place.CALLER_KIND: caller.kind,
            Place.LISTENER_ID: listener.id, Place.LISTENER_KIND: listener.kind,
            Place.KEEP: flow.keep, Place.SETTLED: flow.settled,
            Place.START: player.started_ms, Place.RING: 60.0, Place.LIMIT: limit_s,
            Place.BUSINESS: 1 if direction == "device_to_user" else 2,
        }  # fmt: skip
        for side, events in ((CALLER, flow.caller), (LISTENER, flow.listener)):
            frames = player.ears[side].frames
            if side is LISTENER and listener.kind == "device" and frames:
                assert_page(frames[0]["data"], player.room)
            assert [(frame["eventName"], frame["data"]) for frame in frames] == expected(events, values)
            assert_envelopes(frames, player.room)
        if flow.end is not None:
            view = await stage.service.view(player.room, None)
            assert (view.state, view.end_reason, view.keep_time) == ("SETTLED", flow.end, flow.settled)

    play(scene)


def assert_page(data: dict[str, Any], room: str) -> None:
    """What a WMPF device is pushed (§4.6): the page to open, with the query of §1.12; taken out of `data`."""
    path, app_type, appid = (data.pop(name) for name in PAGE_FIELDS)
    assert (app_type, appid) == (0, "")
    assert urlsplit(path).path == "/call.html"
    assert parse_qs(urlsplit(path).query) == {
        "roomType": ["video"],
        "groupId": [room],
        "listenerId": ["door"],
        "callerName": ["Front door"],
        "callerId": ["ann"],
        "a": ["1"],
    }


def test_every_event_of_a_call_is_in_some_flow() -> None:
    named = {event.name for flow in FLOWS for event in (*flow.caller, *flow.listener)}
    client_only = {"calling", "showCustomBox", "hideCustomBox", "bindContact"}
    known = {
        "callPageOnShow", "joinedRoomByCaller", "joinFailCaller", "joinFailListener", "hangOnVoip", "startVoip",
        "busy", "timeout", "cancelVoip", "rejectVoip", "hangUpVoip", "abortVoip", "endVoip", "finishVoip",
    }  # fmt: skip
    assert known <= named
    assert not client_only & named, "those are the clients' own"
