"""Two aiortc peers through one worker: what one shows and plays, the other sees and hears."""

import asyncio
from typing import Literal

import pytest
import uvloop
from quality import Witness

from relay.client.leg import Leg
from relay.client.sources import PatternTrack, ToneTrack
from relay.config import Config
from relay.media.messages import MediaError, MediaEvent
from relay.media.worker import Worker

SECRET = "a secret of thirty-two bytes or more"


def config(pump: Literal["thread", "loop"] = "thread", media_host: str = "127.0.0.1") -> Config:
    return Config(secret=SECRET, workers=0, media_host=media_host, media_port=0, pump=pump)


async def until(condition, seconds: float = 30.0) -> None:  # type: ignore[no-untyped-def]
    """Wait for an event of the system under test, bounded only so that a failure ends."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("video", "audio", "pump"),
    [
        ("VP8", "opus", "thread"),
        ("H264", "PCMA", "thread"),
        ("VP8", "PCMU", "loop"),
        ("H264", "opus", "loop"),
    ],
)
def test_sound_and_picture_cross_both_ways(video: str, audio: str, pump: Literal["thread", "loop"]) -> None:
    async def scene() -> None:
        worker = Worker(config(pump), 0)
        await worker.start()
        witnesses, legs, tones = [], [], (440, 700)
        events: list[MediaEvent] = []
        worker.subscribe(events.append)
        try:
            for name, tone in zip(("a", "b"), tones, strict=True):
                pattern = PatternTrack(320, 240, 20)
                witness = Witness(PatternTrack(320, 240, 20))
                leg = Leg(
                    [pattern, ToneTrack(tone)],
                    video=True,
                    on_frame=witness,
                    video_codec=video,
                    audio_codec=audio,
                )
                witnesses.append(witness)
                legs.append(leg)

                async def exchange(offer: str, name: str = name) -> str:
                    return await worker.open_leg("room", name, offer, live=False)

                await leg.connect(exchange)
            await until(lambda: [e.state for e in events] == ["connected"] * 2)
            assert all(not w.psnr for w in witnesses), "nothing flows before the room is live"
            await worker.go_live("room")
            await until(lambda: all(w.enough() for w in witnesses))
            for witness, tone in zip(witnesses, reversed(tones), strict=True):
                good = sorted(witness.psnr)
                assert good[len(good) // 2] > 30, f"median PSNR {good[len(good) // 2]:.1f} dB"
                frequency, above = witness.tone_hz()
                assert abs(frequency - tone) < 4
                assert above > 15
                assert witness.numbers == sorted(witness.numbers)
            stats = await worker.stats("room")
            assert {leg["phase"] for leg in stats["legs"]} == {"connected"}
            assert len(stats["routes"]) == 4
            counters = await worker.counters()
            assert counters["packets_out"] > 200
            await worker.close_leg("a")
            await until(legs[0].lost.is_set)
        finally:
            for leg in legs:
                await leg.close()
            await worker.stop()

    uvloop.run(scene())


def test_legs_without_a_common_codec_are_told_so() -> None:
    async def scene() -> None:
        worker = Worker(config(), 0)
        await worker.start()
        first = Leg([PatternTrack()], video=True, video_codec="VP8")
        second = Leg([PatternTrack()], video=True, video_codec="H264")
        try:
            await first.connect(lambda offer: worker.open_leg("room", "a", offer, live=True))
            with pytest.raises(MediaError) as refused:
                await second.connect(lambda offer: worker.open_leg("room", "b", offer, live=True))
            assert refused.value.status == 406
            assert "VP8" in refused.value.message
            assert "H264" in refused.value.message
        finally:
            await first.close()
            await second.close()
            await worker.stop()

    uvloop.run(scene())
