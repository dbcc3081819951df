"""The leg: two real aiortc peers, every codec, honest statistics, a clean end."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from relay.client import leg as leg_module
from relay.client.leg import Leg, LegError
from relay.client.sources import Media

from .peer import FarPeer, loudest_hz, until

SMALL = Media(width=320, height=240, fps=15)


async def connected(video: bool = True, **options: Any) -> tuple[Leg, FarPeer, Any]:
    tracks = SMALL.open(video=video)
    leg, far = Leg(tracks.all, video=video, **options), FarPeer(Media(tone_hz=1000, width=320, height=240, fps=15))
    await leg.connect(far.answer)
    return leg, far, tracks


async def close(leg: Leg, far: FarPeer, tracks: Any) -> None:
    await leg.close()
    await far.close()
    await tracks.close()


@pytest.mark.parametrize(("video", "audio"), [("VP8", "opus"), ("H264", "PCMU"), ("VP8", "PCMA"), ("H264", "G722")])
def test_sound_and_pictures_go_both_ways_with_the_codecs_asked_for(video: str, audio: str) -> None:
    async def main() -> None:
        sound: list[AudioFrame] = []

        def keep(frame: Any, arrival_s: float) -> None:
            if isinstance(frame, AudioFrame):
                sound.append(frame)

        leg, far, tracks = await connected(video_codec=video, audio_codec=audio, on_frame=keep)
        await until(lambda: min(far.frames.values()) >= 10 and len(sound) >= 40, "frames both ways")
        stats = await leg.stats()
        assert set(stats.codecs) == {video, audio}
        assert stats.video_frames > 0
        assert stats.bytes_up > 5000
        assert stats.bytes_down > 5000
        channels = len(sound[0].layout.channels)
        samples = np.concatenate([frame.to_ndarray()[0][::channels] for frame in sound[-25:]])
        assert abs(loudest_hz(samples, sound[0].sample_rate) - 1000) < 20
        await close(leg, far, tracks)

    asyncio.run(main())


def test_the_statistics_tell_round_trip_delay_and_loss() -> None:
    async def main() -> None:
        leg, far, tracks = await connected()

        async def known() -> bool:
            stats = await leg.stats()
            return stats.rtt_s is not None and stats.delay_s is not None

        async with asyncio.timeout(20):
            while not await known():
                await asyncio.sleep(0.05)
        stats = await leg.stats()
        assert stats.rtt_s is not None
        assert 0 <= stats.rtt_s < 1
        assert stats.delay_s is not None
        assert 0 <= stats.delay_s < 5
        assert stats.loss_down == 0.0
        assert stats.received_down > 0
        await close(leg, far, tracks)

    asyncio.run(main())


def test_a_voice_leg_offers_no_pictures() -> None:
    async def main() -> None:
        leg, far, tracks = await connected(video=False)
        await until(lambda: far.frames["audio"] >= 5)
        assert "m=video" not in far.connection.remoteDescription.sdp
        await close(leg, far, tracks)

    asyncio.run(main())


def test_a_leg_that_only_listens_still_receives() -> None:
    async def main() -> None:
        frames: list[Any] = []
        leg = Leg([], video=True, on_frame=lambda frame, arrival_s: frames.append(frame))
        far = FarPeer(SMALL)
        await leg.connect(far.answer)
        await until(lambda: len(frames) > 20)
        await leg.close()
        await far.close()

    asyncio.run(main())


def test_the_other_side_s_goodbye_is_noticed_at_once() -> None:
    async def main() -> None:
        leg, far, tracks = await connected()
        await until(lambda: min(far.frames.values()) > 0)
        await far.close()
        await until(leg.lost.is_set, "lost")
        await close(leg, far, tracks)

    asyncio.run(main())


def test_closing_leaves_no_thread_and_is_not_a_loss() -> None:
    async def main() -> None:
        leg, far, tracks = await connected()
        await until(lambda: far.frames["video"] > 0)
        await close(leg, far, tracks)
        await leg.close()
        assert not leg.lost.is_set()

    before = set(threading.enumerate())
    asyncio.run(main())
    assert {thread for thread in threading.enumerate() if "decoder" in thread.name} <= before


def test_a_broken_listener_does_not_end_the_call() -> None:
    async def main() -> None:
        def broken(frame: Any, arrival_s: float) -> None:
            raise RuntimeError("listener")

        leg, far, tracks = await connected(video=False, on_frame=broken)
        async with asyncio.timeout(20):
            while (await leg.stats()).audio_frames < 20:
                await asyncio.sleep(0.02)
        await close(leg, far, tracks)

    asyncio.run(main())


def test_what_cannot_connect_says_why() -> None:
    async def main() -> None:
        leg = Leg([], video=True)

        async def nonsense(offer: str) -> str:
            return "this is not SDP"

        with pytest.raises(LegError, match="cannot be used"):
            await leg.connect(nonsense)
        await leg.close()

        # An answer nobody stands behind.
        leg, far = Leg([], video=False), FarPeer(SMALL)

        async def deaf(offer: str) -> str:
            answer = await far.answer(offer)
            await far.close()
            return answer

        with pytest.raises(LegError):
            await leg.connect(deaf, timeout_s=1.0)
        await leg.close()

    asyncio.run(main())


def test_a_machine_with_loopback_only_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])

    async def main() -> None:
        leg = Leg([], video=True)

        async def never(offer: str) -> str:
            raise AssertionError("nothing is offered")

        with pytest.raises(LegError, match="no network address besides loopback"):
            await leg.connect(never)
        await leg.close()

    asyncio.run(main())


def test_an_unknown_codec_is_refused_with_the_known_ones() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="VP8, H264"):
            Leg([], video=True, video_codec="AV2")

    asyncio.run(main())


def test_the_constrained_baseline_is_offered_first() -> None:
    chosen = leg_module._only("video", "h264")
    assert chosen[0].parameters["profile-level-id"] == "42e01f"
    assert chosen[-1].mimeType == "video/rtx"
