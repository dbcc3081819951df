"""Sources: the test pattern, the tone, files in a loop."""

import asyncio
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from relay.client import stamp
from relay.client.sources import FileTrack, Media, PatternTrack, SourceError, ToneTrack
from relay.client.stamp import Stamp

from .peer import loudest_hz, psnr


async def take(track: Any, count: int) -> list[Any]:
    return [await track.recv() for _ in range(count)]


def luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="yuv420p")[: frame.height]


def coded(frame: av.VideoFrame, codec: str, bits_per_s: int) -> av.VideoFrame:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.bit_rate, encoder.framerate, encoder.time_base = bits_per_s, 25, Fraction(1, 25)
    decoder: Any = av.CodecContext.create("vp8" if codec == "libvpx" else "h264", "r")
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return next(picture for packet in [*packets, None] for picture in decoder.decode(packet))


def test_the_stamp_is_read_back_from_the_picture_as_drawn() -> None:
    pattern = PatternTrack(640, 360)
    for number, clock_s in ((0, 0.0), (1, 1_700_000_000.123), (2**24 + 5, 2e9)):
        expected = Stamp(number % 2**24, int(clock_s * 1000) % 2**24)
        assert stamp.read(luma(pattern.draw(number, clock_s))) == expected


@pytest.mark.parametrize("codec", ["libvpx", "libx264"])
def test_the_stamp_survives_strong_compression_and_scaling(codec: str) -> None:
    drawn = PatternTrack(640, 360).draw(123_456, 1_700_000_000.5)
    seen = coded(drawn, codec, 200_000)
    expected = Stamp(123_456, int(1_700_000_000.5 * 1000) % 2**24)
    assert stamp.read(luma(seen)) == expected
    assert stamp.read(luma(seen.reformat(width=320, height=180))) == expected
    assert psnr(luma(seen), luma(drawn)) > 25


def test_no_stamp_is_read_where_there_is_none() -> None:
    random = np.random.default_rng(1)
    assert stamp.read(np.zeros((360, 640), np.uint8)) is None
    assert stamp.read(np.full((360, 640), 255, np.uint8)) is None
    assert stamp.read(np.zeros((2, 2), np.uint8)) is None
    for _ in range(50):
        assert stamp.read(random.integers(0, 256, (360, 640), np.uint8)) is None


def test_pattern_pictures_move_and_are_timed_by_their_number() -> None:
    async def main() -> None:
        pattern = PatternTrack(320, 240, fps=50)
        frames = await take(pattern, 5)
        assert [frame.pts for frame in frames] == [0, 1800, 3600, 5400, 7200]
        assert [mark.number for frame in frames if (mark := stamp.read(luma(frame)))] == [0, 1, 2, 3, 4]
        for a, b in itertools.pairwise(frames):
            assert 10 < psnr(luma(a)[40:], luma(b)[40:]) < 45

    asyncio.run(main())


def test_the_tone_is_continuous_and_of_the_frequency_asked_for() -> None:
    async def main() -> None:
        frames = await take(ToneTrack(1000), 20)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        assert abs(loudest_hz(samples, 48_000) - 1000) < 5
        assert [frame.pts for frame in frames[:3]] == [0, 960, 1920]
        assert np.abs(np.diff(samples.astype(int))).max() < 500  # a step would be a click

    asyncio.run(main())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Half a second of pattern and tone."""
    path = tmp_path / "film.mkv"
    pattern, seconds = PatternTrack(320, 240), 0.5
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio: Any = out.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for number in range(int(25 * seconds)):
            frame = pattern.draw(number, 0.0)
            frame.pts = number
            out.mux(video.encode(frame))
        wave = (np.sin(2 * np.pi * 700 * np.arange(int(44_100 * seconds)) / 44_100) * 9000).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        sound.sample_rate, sound.pts = 44_100, 0
        out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return path


def test_a_file_starts_over_at_its_end_with_growing_timestamps(film: Path) -> None:
    async def main() -> None:
        track = FileTrack(str(film), "video")
        frames = await take(track, 30)
        assert all(a.pts < b.pts for a, b in itertools.pairwise(frames))
        marks = [stamp.read(luma(frame)) for frame in frames]
        assert [mark.number for mark in marks if mark] == [*range(12), *range(12), *range(6)]
        assert {(frame.width, frame.height, frame.format.name) for frame in frames} == {(320, 240, "yuv420p")}
        await track.close()

    asyncio.run(main())


def test_a_file_s_sound_is_resampled_without_gaps_and_keeps_pace_with_its_pictures(film: Path) -> None:
    async def main() -> None:
        sound, pictures = FileTrack(str(film), "audio"), FileTrack(str(film), "video")
        frames = await take(sound, 60)
        assert [frame.pts for frame in frames] == [i * 960 for i in range(60)]
        assert {(f.sample_rate, f.layout.name, f.format.name) for f in frames} == {(48_000, "stereo", "s16")}
        left = np.concatenate([frame.to_ndarray()[0][::2] for frame in frames])
        assert abs(loudest_hz(left, 48_000) - 700) < 10
        second_round = (await take(pictures, 13))[-1]
        assert abs(float(second_round.pts * second_round.time_base) - 0.5) < 0.05
        await sound.close()
        await pictures.close()

    asyncio.run(main())


def test_a_large_picture_is_scaled_to_what_software_can_encode(tmp_path: Path) -> None:
    path = tmp_path / "large.mkv"
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("mjpeg", rate=5)
        video.width, video.height, video.pix_fmt = 1920, 1440, "yuvj420p"
        for _ in range(2):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((1440, 1920, 3), np.uint8), format="rgb24")))
        out.mux(video.encode(None))

    async def main() -> None:
        track = FileTrack(str(path), "video")
        frame = await track.recv()
        assert (frame.width, frame.height) == (960, 720)
        await track.close()

    asyncio.run(main())


def test_unusable_sources_are_refused_by_name(tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"not a film" * 100)
    for media, text in (
        (Media(path=str(junk)), "junk.mp4"),
        (Media(path=str(tmp_path / "absent.mp4")), "not a file"),
        (Media(camera="/dev/no-such-camera"), "no camera"),
    ):
        with pytest.raises(SourceError, match=text):
            media.check()


def test_a_voice_call_opens_no_pictures() -> None:
    async def main() -> None:
        assert [track.kind for track in Media().open(video=False).all] == ["audio"]
        assert [track.kind for track in Media().open(video=True).all] == ["audio", "video"]

    asyncio.run(main())
