/* The load tester's packet source and sink: one thread, busy loop, no Python.
 *
 * Every leg is one connected UDP socket whose ICE and DTLS were done elsewhere. Streams send at their own pace
 * (a heap of deadlines); a burst leaves as one UDP_SEGMENT message. What comes back is read from whichever
 * sockets epoll names, with UDP_GRO and kernel receive timestamps. Every RTP packet is counted by its clear
 * header; one in `sample` is also unprotected, which proves the payload and gives the latency: each payload carries
 *
 *      offset 16: magic (4)  source (4)  counter (8)  CLOCK_REALTIME ns just before protection (8)
 *
 * in network order. The generator judges itself: `pacing` holds how late each send was, and a run whose own
 * lateness is above a bound says nothing about the relay. */
#ifndef BENCHMARKS_GENERATOR_H
#define BENCHMARKS_GENERATOR_H

#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define GENERATOR_HEADER 20u        /* RTP header + one-byte extension block with the MID */
#define GENERATOR_STAMP 16u         /* where the stamp starts in a payload: behind any VP8 descriptor */
#define GENERATOR_STAMP_BYTES 24u
#define GENERATOR_MAGIC 0x6c6f6164u /* "load" */
#define GENERATOR_PAYLOAD_MAX 1300u
#define GENERATOR_BURST_MAX 32u
#define GENERATOR_SEEN_MAX 16u      /* SSRCs told apart per leg; more are counted, not tracked */
#define GENERATOR_CONSENTS 16u      /* prepared STUN requests per leg, used in turn */
#define GENERATOR_CONSENT_BYTES 256u

/* srtp_protect and srtp_unprotect of libsrtp 2. */
typedef int (*generator_srtp)(void *session, void *packet, int *length);

struct generator_seen {
    uint32_t ssrc;
    uint16_t highest;
    uint64_t window[16];            /* bit per sequence number, modulo 1024 */
};

struct generator_leg {
    int fd;                         /* borrowed from the caller */
    void *tx, *rx;                  /* srtp_t, borrowed; NULL sends and expects clear RTP */
    uint32_t seen_count, seen_last, turn;
    struct generator_seen seen[GENERATOR_SEEN_MAX];
    uint64_t delivered, last_ns, longest_gap_ns;
    uint32_t consents, consent_next, consents_answered;
    uint32_t consent_bytes[GENERATOR_CONSENTS];
    uint8_t consent[GENERATOR_CONSENTS][GENERATOR_CONSENT_BYTES];
};

struct generator_stream {
    uint32_t leg, ssrc, source, timestamp, step;
    uint32_t burst, payload, wire;  /* packets a burst; bytes before and after protection */
    uint32_t copies;                /* deliveries expected of each packet */
    uint16_t sequence, picture;
    uint8_t payload_type, video, extension[4];
    double per_second;              /* bursts at scale 1 */
    uint64_t counter, interval_ns, next_ns;
};

struct generator_counts {
    uint64_t sent, expected, send_errors;
    uint64_t delivered, bytes, duplicates, reordered, foreign;
    uint64_t sampled, bad_auth, corrupt;
    uint64_t rtcp, stun, dtls, other;
    uint64_t sends, receives, polls;      /* system calls, for the generator's own account */
    uint64_t idle_ns, elapsed_ns, longest_gap_ns;
};

struct generator;

struct generator *generator_new(generator_srtp protect, generator_srtp unprotect, uint32_t sample, int segment);
void generator_free(struct generator *g);

/* Both return an index, or -1 when memory ran out, a number is out of range or the socket refused. */
int generator_add_leg(struct generator *g, int fd, void *tx, void *rx);
int generator_add_stream(struct generator *g, const struct generator_stream *stream);
int generator_add_consent(struct generator *g, uint32_t leg, const uint8_t *bytes, size_t length);

/* Sends for duration_ns at `scale` times the streams' own rates, then drains. Resets all counts first.
 * Returns 0, or -1 when there is nothing to send. */
int generator_run(struct generator *g, uint64_t duration_ns, double scale, uint32_t seed);

/* May be called from another thread: the run ends within a millisecond. */
void generator_stop(struct generator *g);

const struct generator_counts *generator_counts(const struct generator *g);
const struct histogram *generator_latency(const struct generator *g);
const struct histogram *generator_pacing(const struct generator *g);
const struct generator_leg *generator_leg(const struct generator *g, uint32_t index);

#endif
