# cython: language_level=3, auto_pickle=False, autotestdict=False
"""The load tester's packet source and sink: the skin over core/generator.c.

The caller owns sockets and SRTP sessions; a Generator keeps references to both as long as it lives. `run`
releases the GIL for its whole duration.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from benchmarks.report import Report


cdef extern from "histogram.h" nogil:
    struct histogram:
        uint64_t total
        uint64_t highest

    uint64_t histogram_percentile(const histogram *h, double share)


cdef extern from "generator.h" nogil:
    const uint32_t GENERATOR_HEADER
    ctypedef int (*generator_srtp)(void *session, void *packet, int *length)

    struct generator_leg:
        uint64_t delivered
        uint64_t longest_gap_ns
        uint32_t consents_answered

    struct generator_stream:
        uint32_t leg, ssrc, source, timestamp, step
        uint32_t burst, payload, wire, copies
        uint16_t sequence, picture
        uint8_t payload_type, video
        uint8_t extension[4]
        double per_second

    struct generator_counts_s "generator_counts":
        uint64_t sent, expected, send_errors
        uint64_t delivered, bytes, duplicates, reordered, foreign
        uint64_t sampled, bad_auth, corrupt
        uint64_t rtcp, stun, dtls, other
        uint64_t sends, receives, polls
        uint64_t idle_ns, elapsed_ns, longest_gap_ns

    struct generator:
        pass

    generator *generator_new(generator_srtp protect, generator_srtp unprotect, uint32_t sample, int segment)
    void generator_free(generator *g)
    int generator_add_leg(generator *g, int fd, void *tx, void *rx)
    int generator_add_stream(generator *g, const generator_stream *stream)
    int generator_add_consent(generator *g, uint32_t leg, const uint8_t *bytes, size_t length)
    int generator_run(generator *g, uint64_t duration_ns, double scale, uint32_t seed)
    void generator_stop(generator *g)
    const generator_counts_s *generator_counts(const generator *g)
    const histogram *generator_latency(const generator *g)
    const histogram *generator_pacing(const generator *g)
    const generator_leg *generator_leg_at "generator_leg"(const generator *g, uint32_t index)


cdef class Generator:
    cdef generator *g
    cdef list kept
    cdef uint32_t legs
    cdef bint running

    def __cinit__(self, *, uintptr_t protect=0, uintptr_t unprotect=0, uint32_t sample=8, bint segment=True):
        self.g = generator_new(<generator_srtp><void *>protect, <generator_srtp><void *>unprotect, sample, segment)
        if self.g == NULL:
            raise MemoryError
        self.kept = [None]

    def __dealloc__(self):
        generator_free(self.g)

    cdef int idle(self) except -1:
        if self.running:
            raise RuntimeError("the generator is running")
        return 0

    def add_leg(self, sock, uintptr_t tx=0, uintptr_t rx=0, keep=None):
        self.idle()
        index = generator_add_leg(self.g, sock.fileno(), <void *>tx, <void *>rx)
        if index < 0:
            raise OSError("the socket can't be used by the generator")
        self.kept.append((sock, keep))
        self.legs += 1
        return index

    def add_stream(self, uint32_t leg, *, uint32_t ssrc, uint8_t payload_type, bytes mid, uint8_t mid_id,
                   bint video, uint32_t burst, uint32_t payload, uint32_t tag, double per_second,
                   uint32_t clock_hz, uint32_t copies=1, uint16_t sequence=0):
        cdef generator_stream s
        self.idle()
        if not 1 <= len(mid) <= 3 or not 1 <= mid_id <= 14:
            raise ValueError("a MID of 1 to 3 bytes and an extension id of 1 to 14 fit the header")
        memset(&s, 0, sizeof(s))
        s.leg = leg
        s.ssrc = ssrc
        s.payload_type = payload_type
        s.extension[0] = <uint8_t>(mid_id << 4 | (len(mid) - 1))
        memcpy(&s.extension[1], <const uint8_t *>mid, len(mid))
        s.video = video
        s.burst = burst
        # libsrtp wants packets on word boundaries, and a burst's packets lie end to end.
        s.payload = payload + (-(payload + tag)) % 4
        s.wire = GENERATOR_HEADER + s.payload + tag
        s.per_second = per_second
        s.step = <uint32_t>(clock_hz / per_second)
        s.copies = copies
        s.sequence = sequence
        index = generator_add_stream(self.g, &s)
        if index < 0:
            raise ValueError("a number of the stream is out of range")
        return index

    def add_consent(self, uint32_t leg, bytes datagram):
        self.idle()
        if generator_add_consent(self.g, leg, <const uint8_t *>datagram, len(datagram)) < 0:
            raise ValueError("too many or too long consent requests")

    def run(self, double seconds, double scale=1.0, uint32_t seed=1):
        cdef int result
        cdef uint64_t duration = <uint64_t>(seconds * 1e9)
        self.idle()
        self.running = True
        try:
            with nogil:
                result = generator_run(self.g, duration, scale, seed)
        finally:
            self.running = False
        if result < 0:
            raise ValueError("nothing to send")
        return self.report()

    def stop(self):
        generator_stop(self.g)

    cdef object report(self):
        cdef const generator_counts_s *c = generator_counts(self.g)
        cdef const histogram *latency = generator_latency(self.g)
        cdef const histogram *pacing = generator_pacing(self.g)
        cdef uint32_t i
        gaps = []
        delivered = []
        consents = []
        for i in range(self.legs):
            gaps.append(generator_leg_at(self.g, i).longest_gap_ns)
            delivered.append(generator_leg_at(self.g, i).delivered)
            consents.append(generator_leg_at(self.g, i).consents_answered)
        return Report(
            sent=c.sent, expected=c.expected, send_errors=c.send_errors, delivered=c.delivered, bytes=c.bytes,
            duplicates=c.duplicates, reordered=c.reordered, foreign=c.foreign, sampled=c.sampled,
            bad_auth=c.bad_auth, corrupt=c.corrupt, rtcp=c.rtcp, stun=c.stun, dtls=c.dtls, other=c.other,
            sends=c.sends, receives=c.receives, polls=c.polls, idle_ns=c.idle_ns, elapsed_ns=c.elapsed_ns,
            longest_gap_ns=c.longest_gap_ns,
            latency_p50_ns=histogram_percentile(latency, 0.5),
            latency_p99_ns=histogram_percentile(latency, 0.99),
            latency_p999_ns=histogram_percentile(latency, 0.999),
            latency_max_ns=latency.highest,
            pacing_p50_ns=histogram_percentile(pacing, 0.5),
            pacing_p99_ns=histogram_percentile(pacing, 0.99),
            pacing_max_ns=pacing.highest,
            leg_gaps_ns=tuple(gaps), leg_delivered=tuple(delivered), leg_consents=tuple(consents),
        )
