"""Records the received sound and pictures into one file, with both on a common time line.

aiortc starts each received track at timestamp 0, so the tracks' own times say nothing about each other. What
relates them is arrival: a track's offset is its smallest (arrival - timestamp), the packet that waited least,
less what aiortc is known to hold back. After that only timestamps count, so network jitter does not reach the
file. Encoding runs on a thread of its own; a machine too slow for it loses pictures, never the call.
"""

import fractions
import queue
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import PictureType, VideoFrame

AUDIO_HZ = 48_000
AUDIO_BASE = fractions.Fraction(1, AUDIO_HZ)
VIDEO_BASE = fractions.Fraction(1, 90_000)
QUEUE_FRAMES = 250  # about 3 s of both tracks
SETTLE_S = 1.0  # frames are held this long to find the tracks' offsets
SLIP_S = 1.0  # timestamps and arrival further apart than this: the sender's time line was broken, start a new one
GAP_S = 0.06  # audio holes longer than this are filled with silence; shorter ones are rounding
# aiortc releases an audio frame when 4 packets of 20 ms follow it (rtcrtpreceiver.py:
# JitterBuffer(prefetch=4)), and a picture when the next one begins.
AUDIO_HELD_S = 0.08
VIDEO_HELD_S = 0.04

_CODECS = {
    ".mkv": ("libx264", "libopus"),
    ".mp4": ("libx264", "aac"),
    ".webm": ("libvpx", "libopus"),
    ".wav": (None, "pcm_s16le"),
}


class RecorderError(Exception):
    """The file cannot be written, or its kind is not known."""


class Recorder:
    """Writes `path` (.mkv, .mp4, .webm; .wav for sound only). Feed it with `push`, end it with `close`.

    `video`: whether pictures are wanted; `queue_frames`: how many frames may wait to be encoded before new ones
    are dropped. The constructor raises RecorderError; later faults (a full disk) end the recording and show in
    `failure`.
    """

    def __init__(self, path: str | Path, *, video: bool = True, queue_frames: int = QUEUE_FRAMES) -> None:
        self.check(path)
        suffix = Path(path).suffix.lower()
        self.path = str(path)
        self.failure: str | None = None
        self.dropped = 0  # frames that came faster than they could be encoded
        self._video_codec, self._audio_codec = _CODECS[suffix]
        self._wants_video = video and self._video_codec is not None
        try:
            self._container = av.open(self.path, mode="w")
        except (OSError, ValueError) as fault:
            raise RecorderError(f"cannot write {path}: {getattr(fault, 'strerror', None) or fault}") from fault
        self._queue: queue.Queue[tuple[Any, float] | None] = queue.Queue(queue_frames)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @staticmethod
    def check(path: str | Path) -> None:
        """Raise RecorderError now for what would fail at the first call."""
        if Path(path).suffix.lower() not in _CODECS:
            raise RecorderError(f"cannot record into {path}: the name must end in {', '.join(_CODECS)}")
        if not Path(path).absolute().parent.is_dir():
            raise RecorderError(f"cannot record into {path}: there is no such folder")

    def push(self, frame: AudioFrame | VideoFrame, arrival_s: float) -> None:
        """Record a decoded frame that arrived at `arrival_s` (any steady clock, seconds). Never blocks."""
        if isinstance(frame, VideoFrame) and not self._wants_video:
            return
        try:
            self._queue.put_nowait((frame, arrival_s))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write out everything and close the file; blocks while the last frames are encoded. May be called
        twice.
        """
        if self._thread.is_alive():
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._container:
                self._record()
        except (OSError, ValueError, RuntimeError) as fault:  # FFmpeg's errors derive from the first two
            self.failure = f"recording {self.path} failed: {fault}"
            while self._queue.get() is not None:
                pass  # keep the producer's queue from filling up until it closes us

    def _record(self) -> None:
        held: list[tuple[Any, float]] = []
        lines = {"audio": _Line(AUDIO_HELD_S), "video": _Line(VIDEO_HELD_S)}
        writer: _Writer | None = None
        while (item := self._queue.get()) is not None:
            frame, arrival = item
            if frame.pts is None or frame.time_base is None:
                continue
            if writer is not None:
                writer.write(frame, arrival)
                continue
            held.append(item)
            lines[_kind(frame)].learn(float(frame.pts * frame.time_base), arrival)
            both = all(line.known for kind, line in lines.items() if kind == "audio" or self._wants_video)
            if (arrival - held[0][1] >= SETTLE_S and both) or arrival - held[0][1] >= 2 * SETTLE_S:
                writer = self._begin(held, lines)
        if writer is None and held:
            writer = self._begin(held, lines)
        if writer is None:
            # Nothing was ever received. Some containers cannot hold nothing: one frame of silence.
            writer = _Writer(self._container, None, self._audio_codec, (0, 0), lines, 0.0)
            writer.write_silence(AUDIO_HZ // 50)
        writer.finish()

    def _begin(self, held: list[tuple[Any, float]], lines: dict[str, "_Line"]) -> "_Writer":
        start = min(line.place(float(f.pts * f.time_base), a) for f, a in held for line in [lines[_kind(f)]])
        first = next((f for f, _ in held if isinstance(f, VideoFrame)), None)
        size = (first.width // 2 * 2, first.height // 2 * 2) if first is not None else (640, 360)
        video = self._video_codec if self._wants_video else None
        writer = _Writer(self._container, video, self._audio_codec, size, lines, start)
        for frame, arrival in held:
            writer.write(frame, arrival)
        held.clear()
        return writer


class _Line:
    """Maps one track's timestamps to the recording's clock."""

    def __init__(self, held_s: float) -> None:
        self._held_s = held_s
        self._offset = 0.0
        self.known = False

    def learn(self, media_s: float, arrival_s: float) -> None:
        offset = arrival_s - media_s - self._held_s
        self._offset = min(self._offset, offset) if self.known else offset
        self.known = True

    def place(self, media_s: float, arrival_s: float) -> float:
        """Where this frame belongs, in seconds of the arrival clock."""
        if not self.known or abs(arrival_s - media_s - self._held_s - self._offset) > SLIP_S:
            self._offset = arrival_s - media_s - self._held_s
            self.known = True
        return media_s + self._offset


class _Writer:
    """Encodes placed frames. Sound is continuous by construction: holes become silence, overlaps are cut."""

    def __init__(
        self,
        container: Any,
        video_codec: str | None,
        audio_codec: str,
        size: tuple[int, int],
        lines: dict[str, _Line],
        start_s: float,
    ) -> None:
        self._container, self._size, self._lines, self._start_s = container, size, lines, start_s
        self._audio = container.add_stream(audio_codec, rate=AUDIO_HZ, layout="stereo")
        self._audio.time_base = AUDIO_BASE
        self._video: Any = None
        if video_codec is not None:
            self._video = container.add_stream(video_codec, rate=30)
            self._video.width, self._video.height = size
            self._video.pix_fmt = "yuv420p"
            self._video.codec_context.time_base = VIDEO_BASE
            self._video.options = _FAST[video_codec]
        self._resampler: Any = None
        self._source: tuple[Any, ...] = ()
        self._samples = 0  # written so far: the audio time line's end
        self._last_pts = -1
        self._fifo = av.AudioFifo()

    def write(self, frame: Any, arrival_s: float) -> None:
        media_s = float(frame.pts * frame.time_base)
        at_s = max(0.0, self._lines[_kind(frame)].place(media_s, arrival_s) - self._start_s)
        if isinstance(frame, VideoFrame):
            self._write_video(frame, at_s)
        else:
            self._write_audio(frame, at_s)

    def write_silence(self, count: int) -> None:
        """`count` samples of it at the end of the sound."""
        while count > 0:
            part = min(count, AUDIO_HZ)
            self._append(np.zeros((1, 2 * part), np.int16))
            count -= part

    def finish(self) -> None:
        if self._resampler is not None:
            for piece in self._resampler.resample(None):
                self._append(piece.to_ndarray())
        self._encode_audio(partial=True)
        self._container.mux(self._audio.encode(None))
        if self._video is not None:
            self._container.mux(self._video.encode(None))

    def _write_video(self, frame: VideoFrame, at_s: float) -> None:
        if self._video is None:
            return
        pts = round(at_s / VIDEO_BASE)
        if pts <= self._last_pts:
            return  # a new time line overlaps the old one for a moment
        self._last_pts = pts
        # A sender may turn or shrink its picture; the file keeps the first size.
        picture = frame.reformat(width=self._size[0], height=self._size[1], format="yuv420p")
        picture.pts, picture.time_base, picture.pict_type = pts, VIDEO_BASE, PictureType.NONE
        self._container.mux(self._video.encode(picture))

    def _write_audio(self, frame: AudioFrame, at_s: float) -> None:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            self._source = source
            self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=AUDIO_HZ)
        frame.pts = None  # the resampler would insert or drop samples by it; place() has already decided
        pieces = [piece.to_ndarray() for piece in self._resampler.resample(frame)]
        at = round(at_s * AUDIO_HZ)
        gap = at - self._samples
        if gap > GAP_S * AUDIO_HZ or self._samples == 0:
            self.write_silence(max(0, gap))
        for samples in pieces:
            overlap = self._samples - at if gap < -GAP_S * AUDIO_HZ else 0
            self._append(samples[:, 2 * max(0, overlap) :])
            at += samples.shape[1] // 2
        self._encode_audio(partial=False)

    def _append(self, samples: Any) -> None:
        """`samples`: packed s16 stereo of shape (1, 2n)."""
        if samples.shape[1] == 0:
            return
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, self._samples, AUDIO_BASE
        self._samples += frame.samples
        self._fifo.write(frame)

    def _encode_audio(self, *, partial: bool) -> None:
        size = self._audio.codec_context.frame_size or 960
        while (frame := self._fifo.read(size, partial=partial)) is not None:
            self._container.mux(self._audio.encode(frame))


# Real time first: a device records while it also encodes what it sends.
_FAST = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
}


def _kind(frame: Any) -> str:
    return "video" if isinstance(frame, VideoFrame) else "audio"
