import socket

from benchmarks.report import Report

class Generator:
    """Sends RTP on many legs and measures what comes back.

    `protect` and `unprotect` are the addresses of libsrtp's functions; one received packet in `sample` is
    unprotected and timed. With `segment` false bursts leave as single packets.
    """

    def __init__(self, *, protect: int = 0, unprotect: int = 0, sample: int = 8, segment: bool = True) -> None: ...
    def add_leg(self, sock: socket.socket, tx: int = 0, rx: int = 0, keep: object = None) -> int:
        """Add a connected UDP socket; `tx` and `rx` are addresses of srtp_t (0: clear RTP), `keep` their owner.

        Raises OSError when the socket can't be timed or polled.
        """
    def add_stream(
        self,
        leg: int,
        *,
        ssrc: int,
        payload_type: int,
        mid: bytes,
        mid_id: int,
        video: bool,
        burst: int,
        payload: int,
        tag: int,
        per_second: float,
        clock_hz: int,
        copies: int = 1,
        sequence: int = 0,
    ) -> int:
        """Add a stream of `per_second` bursts of `burst` packets with `payload` bytes (40 to 1300) each.

        `tag` is what protection adds, in bytes; `copies` how often each packet should be delivered.
        Raises ValueError when a number is out of range.
        """
    def add_consent(self, leg: int, datagram: bytes) -> None:
        """Add one of up to 16 STUN requests (at most 256 bytes) that the leg sends in turn every 2.5 s."""
    def run(self, seconds: float, scale: float = 1.0, seed: int = 1) -> Report:
        """Send for `seconds` at `scale` times the natural rate, drain, report. Holds no GIL, one core fully."""
    def stop(self) -> None:
        """End a run that another thread is in."""
