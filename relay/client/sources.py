"""What a device sends: a test pattern, a file played in a loop, or a camera.

Every source is an aiortc track that paces itself against the event loop's clock. Files are opened once per
track, so that neither kind ever waits for the other and a voice call decodes no pictures.
"""

import asyncio
import datetime
import fractions
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame

from relay.client import stamp
from relay.client.stamp import CLOCK_MODULUS, Plane, Stamp

AUDIO_HZ = 48_000
AUDIO_FRAME = 960  # samples: 20 ms, the packet time of every audio codec here
AUDIO_BASE = fractions.Fraction(1, AUDIO_HZ)
VIDEO_HZ = 90_000
VIDEO_BASE = fractions.Fraction(1, VIDEO_HZ)
TONE_HZ = 440
TONE_LEVEL = 0.1  # of full scale, -20 dBFS: audible, never painful
MAX_WIDTH, MAX_HEIGHT = 1280, 720  # aiortc encodes in software; larger pictures are scaled down
MAX_FPS = 30
LATE_S = 0.5  # a source later than this starts its clock anew instead of hurrying after it


class SourceError(Exception):
    """A file or a camera cannot be used. The message says which and why."""


class _Pace:
    """Holds frames back until their time. The first frame is due at once."""

    def __init__(self) -> None:
        self._start: float | None = None

    async def wait(self, media_s: float) -> None:
        now = asyncio.get_running_loop().time()
        if self._start is None:
            self._start = now - media_s
        late = now - self._start - media_s
        if late > LATE_S:
            self._start = now - media_s
        elif late < 0:
            await asyncio.sleep(-late)


class ToneTrack(MediaStreamTrack):
    """A steady sine tone, mono, 48 kHz, 20 ms frames. `level` is the amplitude as a part of full scale; 0 is
    silence.
    """

    kind = "audio"

    def __init__(self, tone_hz: int = TONE_HZ, level: float = TONE_LEVEL) -> None:
        super().__init__()
        seconds = np.arange(AUDIO_HZ) / AUDIO_HZ
        # One second holds a whole number of periods of any whole frequency, so it repeats without a click.
        wave = np.sin(2 * np.pi * tone_hz * seconds) * level * 32767
        self._second = wave.astype(np.int16).reshape(1, AUDIO_HZ)
        self._samples = 0
        self._pace = _Pace()

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await self._pace.wait(self._samples / AUDIO_HZ)
        at = self._samples % AUDIO_HZ
        frame = AudioFrame.from_ndarray(self._second[:, at : at + AUDIO_FRAME], format="s16", layout="mono")
        frame.sample_rate = AUDIO_HZ
        frame.pts = self._samples
        frame.time_base = AUDIO_BASE
        self._samples += AUDIO_FRAME
        return frame


class PatternTrack(MediaStreamTrack):
    """A moving test picture with a burnt-in frame counter and clock (stamp.py).

    `width` and `height` in pixels, even, at least 128 x 96; `fps` 1 to 60.
    """

    kind = "video"

    def __init__(self, width: int = 640, height: int = 360, fps: int = 25) -> None:
        super().__init__()
        if width % 2 or height % 2 or width < 128 or height < 96 or not 1 <= fps <= 60:
            raise ValueError("a pattern is even-sized, at least 128 x 96, with 1 to 60 pictures per second")
        self.width, self.height, self.fps = width, height, fps
        self._scenery = _scenery(width, height)
        self._number = 0
        self._pace = _Pace()

    async def recv(self) -> VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await self._pace.wait(self._number / self.fps)
        frame = self.draw(self._number, time.time())
        frame.pts = self._number * VIDEO_HZ // self.fps
        frame.time_base = VIDEO_BASE
        self._number += 1
        return frame

    def draw(self, number: int, clock_s: float) -> VideoFrame:
        """Picture `number`, with the wall clock `clock_s` (Unix seconds) burnt in; without a timestamp."""
        width, height = self.width, self.height
        picture = np.empty((height * 3 // 2, width), dtype=np.uint8)
        luma = picture[:height]
        luma[:] = self._scenery.luma[:, (at := number * 2 % width) : at + width]
        picture[height:] = self._scenery.chroma
        side = height // 6
        left = (width - side) - abs(number * 3 % (2 * (width - side)) - (width - side))
        luma[-side * 3 // 2 : -side // 2, left : left + side] = 235
        moment = datetime.datetime.fromtimestamp(clock_s, tz=datetime.UTC).astimezone()
        text = f"{number:06d} {moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        stamp.burn(luma, Stamp(number % CLOCK_MODULUS, int(clock_s * 1000) % CLOCK_MODULUS), text)
        return VideoFrame.from_ndarray(picture, format="yuv420p")


@dataclass(frozen=True)
class _Scenery:
    luma: Plane
    chroma: Plane


def _scenery(width: int, height: int) -> _Scenery:
    """Two widths of a seamless grey wave to scroll through, and eight still colour bars in I420 order."""
    wave = 110 + 60 * np.sin(2 * np.pi * np.arange(2 * width) / width * 2)
    tilt = 20 * np.sin(2 * np.pi * np.arange(height) / height)
    luma = (wave[None, :] + tilt[:, None]).astype(np.uint8)
    bar = np.arange(width // 2) * 8 // (width // 2)
    angle = 2 * np.pi * bar / 8
    planes = [
        np.broadcast_to((128 + 70 * wave_of(angle)).astype(np.uint8), (height // 2, width // 2))
        for wave_of in (np.cos, np.sin)
    ]
    return _Scenery(luma, np.concatenate([p.reshape(-1) for p in planes]).reshape(height // 2, width))


class FileTrack(MediaStreamTrack):
    """One track of a media file or capture device, decoded on a thread, resized and re-timed for sending.

    A file starts again at its end, with timestamps that keep growing. Raises SourceError when it cannot be
    opened or has no track of this kind.
    """

    def __init__(
        self, path: str, kind: str, *, format: str | None = None, options: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.kind = kind
        self._live = format is not None
        self._container, self._stream = _open(path, kind, format, options)
        self._length_s = self._container.duration / av.time_base if self._container.duration else 0.0
        self._frames: Iterator[AudioFrame | VideoFrame] = (
            self._audio_frames() if kind == "audio" else self._video_frames()
        )
        self._pace = _Pace()
        self._reading = asyncio.Lock()

    async def recv(self) -> AudioFrame | VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        async with self._reading:
            frame = await self._undisturbed()
        if frame is None:
            self.stop()
            raise MediaStreamError
        if not self._live:
            await self._pace.wait(float((frame.pts or 0) * (frame.time_base or 0)))
        return frame

    async def close(self) -> None:
        """Stop and release the file or device; waits for a read under way."""
        self.stop()
        async with self._reading:
            await asyncio.to_thread(self._container.close)

    def _next(self) -> AudioFrame | VideoFrame | None:
        return next(self._frames, None)

    async def _undisturbed(self) -> AudioFrame | VideoFrame | None:
        """One frame. Cancelled, it still waits: only one thread may use the decoder at a time."""
        reading = asyncio.ensure_future(asyncio.to_thread(self._next))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait({reading})
            raise

    def _decoded(self) -> Iterator[tuple[Any, float]]:
        """Every frame with the seconds to add to its own time, starting over at the end of a file."""
        offset_s = 0.0
        while True:
            last_s = 0.0
            for frame in self._container.decode(self._stream):
                if frame.pts is None or frame.time_base is None:
                    continue
                last_s = float(frame.pts * frame.time_base)
                yield frame, offset_s
            if self._live or (last_s <= 0.0 and self._length_s <= 0.0):
                return
            # The whole file's length, not this track's: both tracks then start over together.
            offset_s += max(self._length_s, last_s)
            self._container.seek(0)

    def _video_frames(self) -> Iterator[VideoFrame]:
        first_s: float | None = None
        last = -VIDEO_HZ
        for frame, offset_s in self._decoded():
            at_s = float(frame.pts * frame.time_base) + offset_s
            if self._live:
                first_s = at_s if first_s is None else first_s
                at_s -= first_s
            pts = round(at_s * VIDEO_HZ)
            if pts - last < VIDEO_HZ // MAX_FPS * 9 // 10:
                continue
            last = pts
            width, height = _fit(frame.width, frame.height)
            picture = frame.reformat(width=width, height=height, format="yuv420p")
            # A decoded frame remembers that it was a key frame and would make the encoder produce one too.
            picture.pict_type = PictureType.NONE
            picture.pts, picture.time_base = pts, VIDEO_BASE
            yield picture

    def _audio_frames(self) -> Iterator[AudioFrame]:
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=AUDIO_HZ, frame_size=AUDIO_FRAME)
        written = 0  # samples; audio is re-timed by counting, and silence fills whatever a loop leaves open
        loop_s = 0.0
        for frame, offset_s in self._decoded():
            if offset_s != loop_s:
                loop_s = offset_s
                while written + AUDIO_FRAME <= offset_s * AUDIO_HZ:
                    yield _silence(written)
                    written += AUDIO_FRAME
            frame.pts = None
            for piece in resampler.resample(frame):
                piece.pts, piece.time_base = written, AUDIO_BASE
                written += piece.samples
                yield piece


def _open(path: str, kind: str, format: str | None, options: dict[str, str] | None) -> tuple[InputContainer, Any]:
    try:
        container = av.open(path, mode="r", format=format, options=options or {})
    except (OSError, ValueError) as fault:  # av.FFmpegError derives from one of them, whatever the fault
        raise SourceError(f"cannot open {path}: {getattr(fault, 'strerror', None) or fault}") from fault
    stream: Any
    for stream in container.streams:
        if stream.type == kind:
            stream.thread_type = "AUTO"
            return container, stream
    container.close()
    raise SourceError(f"{path} has no {kind} track")


def _fit(width: int, height: int) -> tuple[int, int]:
    """The largest even size not above 1280 x 720 with the same shape."""
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def _silence(pts: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.zeros((1, 2 * AUDIO_FRAME), np.int16), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, pts, AUDIO_BASE
    return frame


@dataclass(frozen=True)
class Media:
    """What a device sends in its calls: a file (`path`), a `camera` device, or the test pattern."""

    path: str | None = None
    camera: str | None = None
    tone_hz: int = TONE_HZ
    width: int = 640
    height: int = 360
    fps: int = 25

    def check(self) -> None:
        """Raise SourceError now rather than in the middle of a call."""
        if self.path is not None:
            if not Path(self.path).is_file():
                raise SourceError(f"{self.path} is not a file")
            _probe(self.path)
        if self.camera is not None and not Path(self.camera).exists():
            raise SourceError(f"there is no camera at {self.camera}")

    def open(self, *, video: bool) -> "Tracks":
        """Fresh tracks for one call. Raises SourceError."""
        if self.camera is not None:
            options = {"video_size": f"{self.width}x{self.height}", "framerate": str(self.fps)}
            # A camera has no sound of its own; silence keeps the audio leg alive.
            tracks: list[MediaStreamTrack] = [ToneTrack(level=0)]
            if video:
                tracks.append(FileTrack(self.camera, "video", format="v4l2", options=options))
            return Tracks(tracks)
        if self.path is not None:
            kinds = _probe(self.path)
            chosen: list[MediaStreamTrack] = [FileTrack(self.path, "audio") if "audio" in kinds else ToneTrack(level=0)]
            if video and "video" in kinds:
                chosen.append(FileTrack(self.path, "video"))
            return Tracks(chosen)
        pattern: list[MediaStreamTrack] = [ToneTrack(self.tone_hz)]
        if video:
            pattern.append(PatternTrack(self.width, self.height, self.fps))
        return Tracks(pattern)


def _probe(path: str) -> set[str]:
    try:
        with av.open(path) as container:
            kinds = {str(stream.type) for stream in container.streams} & {"audio", "video"}
    except (OSError, ValueError) as fault:
        raise SourceError(f"cannot open {path}: {getattr(fault, 'strerror', None) or fault}") from fault
    if not kinds:
        raise SourceError(f"{path} has neither sound nor pictures")
    return kinds


@dataclass
class Tracks:
    """The tracks of one call; at most one of each kind."""

    all: list[MediaStreamTrack] = field(default_factory=list)

    def of(self, kind: str) -> MediaStreamTrack | None:
        return next((track for track in self.all if track.kind == kind), None)

    async def close(self) -> None:
        for track in self.all:
            if isinstance(track, FileTrack):
                await track.close()
            else:
                track.stop()
