"""The recorder: right durations, tracks in step, damage survived."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from relay.client import stamp
from relay.client.recorder import AUDIO_HELD_S, VIDEO_HELD_S, Recorder, RecorderError
from relay.client.sources import PatternTrack

from .peer import loudest_hz

RATE = 48_000


def sound(at_s: float, *, silent: bool = False) -> av.AudioFrame:
    """20 ms of 440 Hz with the timestamp `at_s`."""
    moments = at_s + np.arange(960) / RATE
    wave = np.sin(2 * np.pi * 440 * moments) * (0 if silent else 10_000)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(at_s * RATE)
    return frame


def picture(at_s: float, number: int) -> av.VideoFrame:
    frame = PatternTrack(320, 240).draw(number, 0.0)
    frame.time_base, frame.pts = Fraction(1, 90_000), round(at_s * 90_000)
    return frame


def read(path: Path) -> dict[str, Any]:
    """Everything in the file: sample times are counted, picture times are the container's."""
    with av.open(str(path)) as container:
        seen: dict[str, Any] = {"sound": [], "starts": [], "pictures": [], "numbers": []}
        for frame in container.decode():
            if isinstance(frame, av.AudioFrame):
                seen["starts"].append(frame.time)
                seen["sound"].append(frame.to_ndarray()[0])
            else:
                seen["pictures"].append(frame.time)
                mark = stamp.read(frame.to_ndarray(format="yuv420p")[: frame.height])
                seen["numbers"].append(mark.number if mark else None)
    seen["sound"] = np.concatenate(seen["sound"]) if seen["sound"] else np.zeros(0)
    return seen


def feed(recorder: Recorder, seconds: float, *, audio_late_s: float = 0.0, skip: tuple[float, float] = (9, 9)) -> None:
    """Pattern at 25 fps and tone as aiortc would deliver them: each track from timestamp 0, the way it holds them back,
    and jittery. `audio_late_s`: sound begins that much later; `skip`: sound lost from, until."""
    jitter = np.random.default_rng(7)
    events: list[tuple[float, Any]] = []
    for i in range(round(seconds * 25)):
        events.append((100 + i / 25 + VIDEO_HELD_S + jitter.uniform(0, 0.03), picture(i / 25, i)))
    for i in range(round((seconds - audio_late_s) * 50)):
        if not skip[0] <= i / 50 < skip[1]:
            at = 100 + audio_late_s + i / 50 + AUDIO_HELD_S + jitter.uniform(0, 0.03)
            events.append((at, sound(i / 50)))
    for arrival, frame in sorted(events, key=lambda event: event[0]):
        recorder.push(frame, arrival)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_both_tracks_last_as_long_as_was_received(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    recorder = Recorder(path, queue_frames=1000)
    feed(recorder, 4.0)
    recorder.close()
    seen = read(path)
    assert recorder.failure is None
    assert recorder.dropped == 0
    assert len(seen["pictures"]) == 100
    assert abs(seen["pictures"][-1] - seen["pictures"][0] - 99 / 25) < 0.01
    assert abs(len(seen["sound"]) / RATE - 4.0) < 0.1
    assert abs(loudest_hz(seen["sound"][RATE : 2 * RATE], RATE) - 440) < 5
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert abs(container.duration / 1e6 - 4.0) < 0.15


def test_a_track_that_began_later_stays_that_much_later(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    recorder = Recorder(path, queue_frames=1000)
    feed(recorder, 3.0, audio_late_s=0.5)
    recorder.close()
    seen = read(path)
    loud = np.flatnonzero(np.abs(seen["sound"]) > 0.05)
    begins_s = seen["starts"][0] + loud[0] / RATE
    assert abs(begins_s - seen["pictures"][0] - 0.5) < 0.05


def test_lost_sound_becomes_silence_and_moves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    recorder = Recorder(path, queue_frames=1000)
    feed(recorder, 4.0, skip=(2.0, 2.6))
    recorder.close()
    samples = read(path)["sound"]
    assert abs(len(samples) / RATE - 4.0) < 0.1
    assert np.abs(samples[int(2.1 * RATE) : int(2.5 * RATE)]).max() < 0.02
    assert np.abs(samples[int(2.8 * RATE) : int(3.2 * RATE)]).max() > 0.1


def test_a_broken_time_line_is_continued_not_believed(tmp_path: Path) -> None:
    """A sender that restarts begins again at any timestamp; the file goes on where it was."""
    path = tmp_path / "broken.mkv"
    recorder = Recorder(path, queue_frames=1000)
    for i in range(100):
        at_s = i / 50 + (5000 if i >= 50 else 0)
        recorder.push(sound(at_s), 100 + i / 50 + AUDIO_HELD_S)
    for i in range(50):
        recorder.push(picture(i / 25 + (7000 if i >= 25 else 0), i), 100 + i / 25 + VIDEO_HELD_S)
    recorder.close()
    seen = read(path)
    assert abs(len(seen["sound"]) / RATE - 2.0) < 0.1
    assert seen["pictures"][-1] < 2.1
    assert seen["numbers"] == list(range(50))


def test_a_changed_picture_size_keeps_the_file_readable(tmp_path: Path) -> None:
    path = tmp_path / "turned.mkv"
    recorder = Recorder(path, queue_frames=1000)
    for i in range(50):
        frame = PatternTrack(*((320, 240) if i < 40 else (240, 320))).draw(i, 0.0)
        frame.time_base, frame.pts = Fraction(1, 90_000), i * 3600
        recorder.push(frame, 100 + i / 25)
    recorder.close()
    assert recorder.failure is None
    assert len(read(path)["pictures"]) == 50


def test_nothing_received_gives_a_file_all_the_same(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "empty.mkv")
    recorder.close()
    recorder.close()
    assert recorder.failure is None
    with av.open(str(tmp_path / "empty.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["audio"]


def test_sound_alone_is_written_as_wav(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.wav", queue_frames=1000)
    feed(recorder, 2.0)
    recorder.close()
    with av.open(str(tmp_path / "out.wav")) as container:
        assert [stream.type for stream in container.streams] == ["audio"]
        assert container.duration is not None
        assert abs(container.duration / 1e6 - 2.0) < 0.05


def test_an_unusable_name_is_refused_at_once(tmp_path: Path) -> None:
    for name in ("out.txt", "no/such/folder/out.mkv"):
        with pytest.raises(RecorderError):
            Recorder(tmp_path / name)
