"""How legs come up and go away: both address families, both DTLS roles, wrong certificates, silence."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from quality import Witness
from test_two_peers import SECRET, until

from benchmarks.handshake import Certificate, HandshakeError, Offer
from relay.client.leg import Leg, LegError
from relay.client.sources import PatternTrack, ToneTrack
from relay.config import Config
from relay.media.messages import MediaEvent
from relay.media.worker import Worker


def scene(play: Callable[[Worker, list[MediaEvent]], "asyncio.Future[None]"], **settings: object) -> None:
    """Run `play` with a started worker and the list its events go to."""

    async def run() -> None:
        config = Config(secret=SECRET, workers=0, media_port=0, **settings)  # type: ignore[arg-type]
        worker, events = Worker(config, 0), list[MediaEvent]()
        worker.subscribe(events.append)
        await worker.start()
        try:
            await play(worker, events)
        finally:
            await worker.stop()

    uvloop.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("profile", ["gcm", "cm"])
def test_a_leg_connects_over_either_family_and_profile(host: str, profile: str) -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        offer = Offer(Certificate(), profile, "sendrecv")  # type: ignore[arg-type]
        leg = await offer.connect(await worker.open_leg("room", "a", str(offer), live=True), host=host)
        await until(lambda: [e.state for e in events] == ["connected"])
        leg.sock.close()

    scene(play)  # type: ignore[arg-type]


def test_a_peer_that_wants_to_be_dtls_server_gets_a_client() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        witness = Witness(PatternTrack())
        passive, other = Leg([ToneTrack()], video=False, on_frame=witness), Leg([ToneTrack()], video=False)

        async def exchange(offer: str) -> str:
            answer = await worker.open_leg("room", "a", offer.replace("a=setup:actpass", "a=setup:passive"), live=True)
            assert "a=setup:active" in answer
            return answer

        try:
            await passive.connect(exchange)
            await other.connect(lambda offer: worker.open_leg("room", "b", offer, live=True))
            await until(lambda: len(witness.samples) > 60)
        finally:
            await passive.close()
            await other.close()

    scene(play)  # type: ignore[arg-type]


def wrong_fingerprint(offer: str) -> str:
    lines = offer.split("\r\n")
    for number, line in enumerate(lines):
        if line.startswith("a=fingerprint:"):
            name, _, value = line.partition(" ")
            lines[number] = f"{name} {':'.join(reversed(value.split(':')))}"
    return "\r\n".join(lines)


def test_another_certificate_than_the_offers_is_refused_by_the_server() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        offer = Offer(Certificate(), "gcm", "sendrecv")
        answer = await worker.open_leg("room", "a", wrong_fingerprint(str(offer)), live=True)
        connecting = asyncio.ensure_future(offer.connect(answer))
        await until(lambda: bool(events))
        assert [(e.state, e.reason) for e in events] == [("failed", "fingerprint")]
        connecting.cancel()
        with pytest.raises((HandshakeError, asyncio.CancelledError)):
            await connecting
        assert (await worker.counters())["legs"] == 0

    scene(play)  # type: ignore[arg-type]


def test_another_certificate_than_the_offers_is_refused_by_the_client() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        leg = Leg([ToneTrack()], video=False)

        async def exchange(offer: str) -> str:
            passive = wrong_fingerprint(offer.replace("a=setup:actpass", "a=setup:passive"))
            return await worker.open_leg("room", "a", passive, live=True)

        connecting = asyncio.ensure_future(leg.connect(exchange))
        await until(lambda: bool(events))
        assert [(e.state, e.reason) for e in events] == [("failed", "fingerprint")]
        await leg.close()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)

    scene(play)  # type: ignore[arg-type]


def test_a_silent_peer_is_gone_when_its_consent_expires() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        offer = Offer(Certificate(), "gcm", "sendrecv")
        leg = await offer.connect(await worker.open_leg("room", "a", str(offer), live=True))
        await until(lambda: [e.state for e in events] == ["connected"])
        leg.sock.close()  # without a word
        await until(lambda: len(events) == 2)
        assert (events[1].state, events[1].reason) == ("lost", "consent expired")
        assert (await worker.counters())["legs"] == 0

    scene(play, consent_s=1.0)  # type: ignore[arg-type]


def test_a_peer_that_never_comes_is_forgotten() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        await worker.open_leg("room", "a", str(Offer(Certificate(), "gcm", "sendrecv")), live=True)
        await until(lambda: bool(events))
        assert (events[0].state, events[0].reason) == ("failed", "no connectivity check")
        assert (await worker.counters())["legs"] == 0

    scene(play, consent_s=1.0)  # type: ignore[arg-type]


def test_wrong_credentials_connect_nobody() -> None:
    async def play(worker: Worker, events: list[MediaEvent]) -> None:
        leg = Leg([ToneTrack()], video=False)

        async def exchange(offer: str) -> str:
            answer = await worker.open_leg("room", "a", offer, live=True)
            lines = answer.split("\r\n")
            return "\r\n".join("a=ice-pwd:" + "x" * 24 if x.startswith("a=ice-pwd:") else x for x in lines)

        with pytest.raises(LegError):
            await leg.connect(exchange, timeout_s=3)
        await leg.close()
        assert events == []
        assert (await worker.counters())["dtls_in"] == 0

    scene(play)  # type: ignore[arg-type]
