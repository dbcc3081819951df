"""What arrived against what was sent: pictures by PSNR, sound by its strongest tone."""

import time
from dataclasses import dataclass, field

import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from relay.client import stamp
from relay.client.sources import PatternTrack


def luma(frame: VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


@dataclass
class Witness:
    """Takes a leg's decoded frames (`on_frame`) and judges them by the stamp burnt into every picture."""

    pattern: PatternTrack
    psnr: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    rate_hz: int = 0

    def __call__(self, frame: VideoFrame | AudioFrame, _arrival: float) -> None:
        if isinstance(frame, AudioFrame):
            wave = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
            self.rate_hz = frame.sample_rate
            self.samples.append(wave)
            return
        got = luma(frame)
        mark = stamp.read(got) if got.shape == (self.pattern.height, self.pattern.width) else None
        if mark is None:
            return
        now_ms = int(time.time() * 1000)
        sent_ms = now_ms - (now_ms - mark.clock_ms) % stamp.CLOCK_MODULUS
        self.numbers.append(mark.number)
        self.psnr.append(psnr_db(got, luma(self.pattern.draw(mark.number, sent_ms / 1000))))

    def enough(self) -> bool:
        return len(self.psnr) >= 40 and len(self.samples) >= 100

    def tone_hz(self) -> tuple[float, float]:
        """Frequency of the strongest tone in the last second, and how far in dB it stands above the rest."""
        wave = np.concatenate(self.samples)[-self.rate_hz :].astype(float)
        power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
        peak = int(np.argmax(power[20:])) + 20
        around = slice(max(0, peak - 4), peak + 5)
        rest = power.sum() - power[around].sum()
        return peak * self.rate_hz / len(wave), 10 * np.log10(power[around].sum() / max(rest, 1e-9))
