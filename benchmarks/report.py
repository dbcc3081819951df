"""What one run of the generator measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """Counts of one run; durations in nanoseconds.

    `expected` is `sent` times the copies each packet should have; `delivered` counts every copy once.
    """

    sent: int
    expected: int
    send_errors: int
    delivered: int
    bytes: int
    duplicates: int
    reordered: int
    foreign: int  # RTP that no stream of ours can explain (retransmissions, probes)
    sampled: int
    bad_auth: int
    corrupt: int
    rtcp: int
    stun: int
    dtls: int
    other: int
    sends: int
    receives: int
    polls: int
    idle_ns: int
    elapsed_ns: int
    longest_gap_ns: int
    latency_p50_ns: int
    latency_p99_ns: int
    latency_p999_ns: int
    latency_max_ns: int
    pacing_p50_ns: int
    pacing_p99_ns: int
    pacing_max_ns: int
    leg_gaps_ns: tuple[int, ...]
    leg_delivered: tuple[int, ...]
    leg_consents: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return self.elapsed_ns / 1e9

    @property
    def delivered_pps(self) -> float:
        return self.delivered / self.seconds

    @property
    def sent_pps(self) -> float:
        return self.sent / self.seconds

    @property
    def loss_pct(self) -> float:
        """Share of the expected copies that never came; 0 to 100."""
        return max(0.0, 100.0 * (1 - self.delivered / self.expected)) if self.expected else 0.0

    @property
    def busy_pct(self) -> float:
        """How much of its time the generator was at work: near 100 it is the bottleneck, not the relay."""
        return 100.0 * (1 - self.idle_ns / self.elapsed_ns)

    def void(self, pacing_bound_us: float) -> str:
        """Why this run says nothing about the relay; empty when it does."""
        if self.pacing_p99_ns > pacing_bound_us * 1000:
            return f"the generator sent {self.pacing_p99_ns / 1000:.0f} us late (p99)"
        if self.send_errors > 0.0001 * self.sent:
            return f"the kernel refused {self.send_errors} of the generator's packets"
        if self.sampled and self.corrupt + self.bad_auth > 0.001 * self.sampled:
            return f"{self.corrupt} corrupt and {self.bad_auth} unauthentic packets among {self.sampled} sampled"
        return ""
