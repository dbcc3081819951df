"""A device's leg: one aiortc peer connection, offered whole (no trickle) and answered over HTTP."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from relay.client import stamp

log = logging.getLogger(__name__)

Frame = AudioFrame | VideoFrame
OnFrame = Callable[[Frame, float], None]  # a decoded frame and its arrival on the event loop's clock, in seconds
Exchange = Callable[[str], Awaitable[str]]  # posts an SDP offer, returns the answer

FROZEN_S = 0.5  # without a new picture this long, a key frame is asked for
CONNECT_S = 15.0  # ICE and DTLS; the relay gives a party 20 s to join
VIDEO_CODECS = ("VP8", "H264")
AUDIO_CODECS = ("opus", "PCMU", "PCMA", "G722")


class LegError(Exception):
    """Media could not be set up. The message says why and, where possible, what to do."""


@dataclass
class LegStats:
    """Counters since the leg began. Bytes and packets are of the whole transport, RTCP and DTLS included.

    `lost_down`/`received_down`: packets of the incoming streams; `loss_up`: the share lost on the way to the
    relay in its last report, 0 to 1; `rtt_s`: None until the relay's first report; `delay_s`: age of the last
    received picture by its burnt-in clock (stamp.py), None when it carries none - meaningful when both ends
    share a clock.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    received_down: int = 0
    lost_down: int = 0
    loss_up: float = 0.0
    rtt_s: float | None = None
    audio_frames: int = 0
    video_frames: int = 0
    delay_s: float | None = None
    codecs: tuple[str, ...] = field(default=())

    @property
    def loss_down(self) -> float:
        total = self.received_down + self.lost_down
        return self.lost_down / total if total else 0.0


class Leg:
    """One connection. Make it, `connect` it, wait for `lost`, `close` it; it is never used twice."""

    def __init__(
        self,
        tracks: Sequence[MediaStreamTrack],
        *,
        video: bool,
        on_frame: OnFrame | None = None,
        video_codec: str | None = None,
        audio_codec: str | None = None,
    ) -> None:
        """`video`: whether pictures are wanted at all; a track to send is optional for each kind.

        `video_codec` (VP8, H264) and `audio_codec` (opus, PCMU, PCMA, G722): offer only this one. Raises
        ValueError for another name.
        """
        wanted = {"audio": audio_codec} | ({"video": video_codec} if video else {})
        preferred = {kind: _only(kind, codec) if codec else [] for kind, codec in wanted.items()}
        self._on_frame = on_frame
        # No STUN server: the relay has an address of its own, and aiortc's default would ask a public one. Not
        # MAX_BUNDLE: with one transport from the start, aiortc keeps only the last section's candidates, and an
        # answer may carry them in the first alone (RFC 9143 §7.1.3).
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._stats = LegStats()
        self._readers: list[asyncio.Task[None]] = []
        self._connected = asyncio.Event()
        self.lost = asyncio.Event()  # set once, when the connection failed or the relay closed it
        self._closing = False
        self._peer.on("connectionstatechange", self._on_state)
        self._peer.on("track", self._on_track)
        self._camera: tuple[RTCRtpSender, MediaStreamTrack] | None = None  # who sends the pictures, and whence
        for kind in wanted:
            track = next((track for track in tracks if track.kind == kind), None)
            transceiver = self._peer.addTransceiver(track or kind, direction="sendrecv" if track else "recvonly")
            if track is not None and kind == "video":
                self._camera = transceiver.sender, track
            if preferred[kind]:
                transceiver.setCodecPreferences(preferred[kind])
            # The connection's own state does not show that the relay said good-bye (DTLS close_notify): aiortc
            # calls a closed DTLS session over a living ICE path "connected".
            transceiver.receiver.transport.on("statechange", self._on_state)

    async def connect(self, exchange: Exchange, *, timeout_s: float = CONNECT_S) -> None:
        """Offer, exchange, apply the answer and wait until media can flow.

        Raises LegError; whatever `exchange` raises passes through. The leg must be closed in either case.
        """
        await self._peer.setLocalDescription(await self._peer.createOffer())
        offer = self._peer.localDescription.sdp
        if "\na=candidate:" not in offer:
            raise LegError(
                "this machine has no network address besides loopback, and the ICE agent (aioice) does not "
                "use loopback: bring up an interface, for example: ip link add dummy0 type dummy && "
                "ip address add 10.255.255.1/32 dev dummy0 && ip link set dummy0 up"
            )
        answer = await exchange(offer)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        except Exception as fault:  # aiortc raises anything from AssertionError to OperationError here
            raise LegError(f"the relay's SDP answer cannot be used: {fault}") from fault
        self._stats.codecs = tuple(_agreed(self._peer))
        ends = [asyncio.ensure_future(event.wait()) for event in (self._connected, self.lost)]
        try:
            done, _ = await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if not done:
            raise LegError(f"no media connection within {timeout_s:g} s: does a firewall block UDP to the relay?")
        if self.lost.is_set():
            raise LegError("the media connection failed: ICE found no way to the relay, or the DTLS handshake failed")

    def show(self, camera: bool) -> None:
        """Send pictures or send none; the connection stays as it was agreed."""
        if self._camera is not None:
            sender, track = self._camera
            sender.replaceTrack(track if camera else None)

    async def stats(self) -> LegStats:
        """The counters now; the same object every time."""
        stats = self._stats
        for report in (await self._peer.getStats()).values():
            if report.type == "transport":
                stats.bytes_up, stats.bytes_down = report.bytesSent, report.bytesReceived
            elif report.type == "remote-inbound-rtp":
                if report.roundTripTime is not None:
                    stats.rtt_s = report.roundTripTime
                stats.loss_up = report.fractionLost / 256  # RFC 3550 §6.4.1: a fixed point number, 8 bits
        streams = [stream for receiver in self._peer.getReceivers() for stream in _incoming(receiver)]
        stats.received_down = sum(stream.packets_received for stream in streams)
        stats.lost_down = sum(max(0, stream.packets_lost) for stream in streams)
        return stats

    async def close(self) -> None:
        """End the connection (DTLS close_notify) and every task and thread of it. May be called twice."""
        self._closing = True
        await self._peer.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()

    async def _thaw(self) -> None:
        """Ask for a key frame while no picture comes: aiortc itself never does when its decoder waits for one,
        as it must after packets that came before it was ready.
        """
        seen = -1
        while not self.lost.is_set():
            frames, seen = seen, self._stats.video_frames
            if frames == seen:
                for receiver in self._peer.getReceivers():
                    if receiver.track is not None and receiver.track.kind == "video":
                        for ssrc in _remote_ssrcs(receiver):
                            await receiver._send_rtcp_pli(ssrc)
            await asyncio.sleep(FROZEN_S)

    def _on_state(self) -> None:
        if self._closing:
            return
        states = {self._peer.connectionState}
        states |= {str(receiver.transport.state) for receiver in self._peer.getReceivers()}
        if states & {"failed", "closed"}:
            self.lost.set()
        elif self._peer.connectionState == "connected":
            self._connected.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._readers.append(asyncio.ensure_future(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        """Every decoded frame is taken at once: an unread track would grow without bound inside aiortc."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            arrival = loop.time()
            if isinstance(frame, VideoFrame):
                self._stats.video_frames += 1
                if self._stats.video_frames % 10 == 1:
                    self._stats.delay_s = _age(frame)
            elif isinstance(frame, AudioFrame):
                self._stats.audio_frames += 1
            else:
                continue
            if self._on_frame is not None:
                try:
                    self._on_frame(frame, arrival)
                except Exception:
                    # A broken listener must neither end the call nor be told 25 times a second.
                    log.exception("a frame listener failed and is no longer called")
                    self._on_frame = None


def _only(kind: str, codec: str) -> list[RTCRtpCodecCapability]:
    """The capability of this codec and its retransmission, for setCodecPreferences."""
    offered = RTCRtpSender.getCapabilities(kind).codecs
    chosen = [c for c in offered if c.mimeType.lower() == f"{kind}/{codec}".lower()]
    if not chosen:
        names = AUDIO_CODECS if kind == "audio" else VIDEO_CODECS
        raise ValueError(f"unknown {kind} codec {codec!r}; known are {', '.join(names)}")
    # Constrained baseline before plain baseline: every browser and chip decodes it (RFC 7742 §5).
    chosen.sort(key=lambda c: str(c.parameters.get("profile-level-id", "")).lower() != "42e01f")
    return chosen + [c for c in offered if c.mimeType.lower() == f"{kind}/rtx"]


def _agreed(peer: RTCPeerConnection) -> list[str]:
    """Names of the codecs we send with, one per accepted section."""
    return [
        transceiver._codecs[0].name
        for transceiver in peer.getTransceivers()
        if transceiver._codecs and transceiver.currentDirection not in (None, "inactive")
    ]


def _incoming(receiver: Any) -> list[Any]:
    """The receiver's statistics per SSRC. Its public report keeps one SSRC only: with RTX in use, mostly the
    wrong one.
    """
    streams = getattr(receiver, "_RTCRtpReceiver__remote_streams", {})
    return [stream for stream in streams.values() if stream.max_seq is not None]


def _remote_ssrcs(receiver: Any) -> list[int]:
    return list(getattr(receiver, "_RTCRtpReceiver__remote_streams", {}))


def _age(frame: VideoFrame) -> float | None:
    """Seconds since the stamp in the picture was drawn; None without one, or when the clocks differ."""
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    mark = stamp.read(luma)
    if mark is None:
        return None
    age_ms = (int(time.time() * 1000) - mark.clock_ms) % stamp.CLOCK_MODULUS
    return age_ms / 1000 if age_ms < 60_000 else None
