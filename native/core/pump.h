/* The packet loop: legs, streams and routes, and what happens to a datagram.
 *
 * One function, pump_step, is a packet's whole walk (design: receive, demultiplex, unprotect, account, rewrite,
 * protect, send). A native thread or the event loop's reader drives it; both hold `mutex` for a whole batch, so nothing
 * inside takes a lock, allocates (but for a new stream's history) or touches Python. Commands take the same mutex; it
 * inherits priority and hands over fairly, so a saturated pump cannot starve them.
 *
 * `now` is an argument everywhere: microseconds of a monotonic clock.
 */
#ifndef RELAY_PUMP_H
#define RELAY_PUMP_H

#include "drops.h"
#include "egress.h"
#include "history.h"
#include "rewrite.h"
#include "srtp.h"
#include "udp.h"
#include "window.h"

#include <pthread.h>

#define MAX_SECTIONS 16u        /* m-sections of a leg */
#define MAX_LEG_STREAMS 32u     /* SSRCs of a leg: simulcast and RTX of every section fit */
#define MAX_LEG_ADDRESSES 9u    /* the eight that ICE keeps, and a new one before the oldest goes */
#define MAX_LEG_SSRCS 64u       /* SSRCs libsrtp keeps a context for, RTCP senders included: it never forgets one */
#define MAX_LEG_SLOW 16u        /* a leg's share of the ring towards Python */
#define NONE UINT32_MAX
#define NO_PT 255u

#define SLOW_ITEMS 256u         /* per ring */
#define SLOW_BYTES 1500u

#define TICK_US 10000u          /* resolution of everything timed */
#define REPORT_US 1000000u      /* RTCP interval of a leg; RFC 4585 allows less, nobody needs it */
#define KEYFRAME_US 500000u     /* at most two key frame requests a second reach a source */
#define SWITCH_US 500000u       /* a silent source loses its route to another stream of its section */
#define RESEND_SLOTS 256u
#define RESEND_MIN_US 20000u    /* a packet is resent at most once per RTT, or this where the RTT is unknown */
#define RESEND_BUDGET 32768     /* bytes of burst on top of 20 % of the route's bytes */

enum slow_kind { SLOW_STUN = 0, SLOW_DTLS = 1 };
enum slow_ring { RING_KNOWN, RING_STRANGER, RING_COUNT };

struct slow_item {
    uint32_t leg; /* handle, NONE for a stranger */
    uint16_t len;
    uint8_t kind;
    struct address from;
    struct local_address to;
    uint8_t data[SLOW_BYTES];
};

struct ring {
    struct slow_item *items; /* SLOW_ITEMS, allocated by pump_new */
    uint32_t head, tail;     /* tail - head items wait */
};

/* One m-section of a leg, both directions. */
struct section {
    char mid[17];
    uint8_t mid_len;
    bool video, receives, sends, pli, rsize;
    /* as a source */
    uint32_t first_route;   /* list through route.next_of_source */
    uint32_t signalled;     /* stream from the SDP or first learned, NONE before */
    uint64_t keyframe_us;   /* last request sent to the source */
    bool keyframe_pending;
    uint8_t fir_number;
    /* as a sink */
    uint32_t out_ssrc, out_rtx_ssrc; /* 0 = none */
    uint32_t fed_by;        /* route, NONE */
    struct rewrite rewrite; /* of the last route: the numbers go on under the same SSRC and key */
    uint16_t rtx_sequence;
    bool was_fed;
};

struct leg {
    bool used, ready; /* ready: keys and a selected address */
    uint16_t generation;
    uint8_t section_count, stream_count, address_count;
    uint8_t mid_ext, rid_ext, rrid_ext;
    uint8_t ssrc_count, slow_waiting;
    uint8_t cname_len;
    bool rsize;
    void *rx, *tx; /* SRTP sessions, owned by the caller of pump_leg_keys */
    struct egress_path path;
    struct address selected;
    struct address addresses[MAX_LEG_ADDRESSES];
    uint32_t streams[MAX_LEG_STREAMS];
    uint32_t ssrcs[MAX_LEG_SSRCS]; /* that have authenticated, RTP or RTCP */
    struct section sections[MAX_SECTIONS];
    uint32_t clock_hz[128];
    uint8_t section_of[128]; /* NO_PT: the payload type is unknown or of several sections */
    uint8_t apt[128];        /* RTX: the payload type it repairs; NO_PT otherwise */
    uint32_t local_ssrc;
    char cname[64];
    uint64_t report_us;
    int64_t ntp_offset; /* our clock minus the peer's, NTP units; the smallest seen, so that queues do not count */
    bool has_ntp_offset;
    uint64_t packets_in, bytes_in, packets_out, bytes_out, drops, last_in_us;
};

/* One incoming SSRC. */
struct stream {
    bool used, rtx, ended, has_sr;
    uint8_t section;
    uint8_t rid_len;
    char rid[17];
    uint32_t leg, ssrc;
    uint32_t primary; /* RTX: the stream it repairs, NONE while unknown */
    struct window window;
    struct history *history;
    uint32_t clock_hz;
    uint32_t last_timestamp;
    uint64_t last_us;
    uint64_t sr_ntp, sr_us;
    uint32_t sr_timestamp;
    uint64_t packets, bytes, recovered;
};

struct resend {
    uint64_t sequence;
    uint64_t when_us;
};

/* "This stream goes to that leg." */
struct route {
    bool used;
    uint8_t source_section, sink_section;
    uint32_t source, sink; /* legs */
    uint32_t next_of_source;
    uint32_t stream; /* the source's stream being forwarded, NONE before the first packet */
    uint32_t out_ssrc, rtx_ssrc;
    uint16_t rtx_sequence;
    uint32_t clock_hz;
    struct rewrite rewrite;
    uint64_t packets, bytes;
    uint64_t resent, nacked;
    int64_t resend_budget;
    uint32_t rtt_us;
    uint8_t fraction_lost;
    int32_t lost;
    uint32_t jitter;
    uint8_t payload[128];   /* outgoing payload type, NO_PT = not forwarded */
    uint8_t rtx_payload[128]; /* outgoing RTX payload type by incoming payload type */
    uint8_t extensions[256];
    struct resend resends[RESEND_SLOTS];
};

struct pump_options {
    uint32_t max_legs, max_streams, max_routes;
    uint32_t history_ms, video_history_bytes, audio_history_bytes;
    uint64_t seed;
};

/* All in datagrams unless said; read in bulk, the order is part of native.pump.COUNTERS, the drops follow. */
struct pump_counters {
    uint64_t wakeups, datagrams_in, bytes_in, rtp_in, rtcp_in, stun_in, dtls_in;
    uint64_t packets_out, bytes_out, gso_runs, receive_calls, send_calls;
    uint64_t kernel_drops, recovered, resent, keyframe_requests_in, keyframe_requests_out, reports_out;
    uint64_t legs, streams, routes;
};

struct pump {
    struct udp udp;
    struct egress egress;
    struct table by_address, by_ssrc;
    struct leg *legs;       /* options.max_legs */
    struct stream *streams; /* options.max_streams */
    struct route *routes;   /* options.max_routes */
    uint32_t *free_streams, *free_routes; /* stacks */
    uint32_t free_stream_count, free_route_count;
    uint32_t leg_high, leg_count, tick_leg;
    uint32_t *keyframes; /* leg << 8 | section, waiting for their interval; one entry a section at most */
    uint32_t keyframe_count;
    struct ring rings[RING_COUNT];
    struct pump_options options;
    struct pump_counters counters;
    uint64_t drops[DROP_COUNT];
    uint64_t next_tick_us;
    uint64_t ntp_offset; /* NTP time of monotonic 0: fixed at start, so that wall clock steps never show */
    uint64_t random;
    struct udp_received received[RX_BATCH];
    int event_fd;
    bool signalled; /* event_fd was written and not yet polled */
    volatile bool stopping;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t mutex;
};

struct payload_spec {
    uint8_t pt, section, apt; /* apt NO_PT unless RTX */
    uint32_t clock_hz;
};

struct leg_row {
    uint64_t leg, packets_in, bytes_in, packets_out, bytes_out, drops, last_in_us;
};
struct stream_row {
    uint64_t leg, section, ssrc, rtx, packets, bytes, expected, jitter_us, recovered;
    int64_t lost;
};
struct route_row {
    uint64_t source, source_section, sink, sink_section, packets, bytes, resent, nacked, rtt_us, fraction_lost, jitter_us;
    int64_t lost;
};

/* fd < 0 makes a pump without a socket, fed by pump_inject. NULL when memory is short. */
struct pump *pump_new(int fd, int family, const struct pump_options *options);
void pump_free(struct pump *p);

void pump_lock(struct pump *p);
void pump_unlock(struct pump *p);
uint64_t pump_clock_us(void);

/* One batch; takes the mutex. Returns datagrams handled. */
uint32_t pump_step(struct pump *p, bool block);
bool pump_thread_start(struct pump *p);
void pump_thread_stop(struct pump *p);

/* Everything below expects the mutex to be held. Handles name legs; a stale handle is refused. */
void pump_inject(struct pump *p, uint8_t *data, uint32_t len, const struct address *from,
                 const struct local_address *to, uint64_t now);
void pump_tick(struct pump *p, uint64_t now);

uint32_t pump_leg_add(struct pump *p, uint32_t local_ssrc, const char *cname, uint8_t cname_len, bool rsize);
bool pump_leg_ids(struct pump *p, uint32_t leg, uint8_t mid, uint8_t rid, uint8_t rrid);
bool pump_leg_section(struct pump *p, uint32_t leg, const char *mid, uint8_t mid_len, bool video, bool receives,
                      bool sends, bool pli, uint32_t out_ssrc, uint32_t out_rtx_ssrc);
bool pump_leg_payload(struct pump *p, uint32_t leg, const struct payload_spec *spec);
bool pump_leg_ssrc(struct pump *p, uint32_t leg, uint8_t section, uint32_t ssrc, uint32_t rtx_ssrc);
bool pump_leg_keys(struct pump *p, uint32_t leg, void *rx, void *tx);
/* An authenticated check came from `a`; false when another leg holds it or the leg holds its maximum. */
bool pump_leg_bind(struct pump *p, uint32_t leg, const struct address *a, const struct local_address *local,
                   bool selected);
bool pump_leg_unbind(struct pump *p, uint32_t leg, const struct address *a);
bool pump_leg_remove(struct pump *p, uint32_t leg);
bool pump_leg_bye(struct pump *p, uint32_t leg);
bool pump_route_add(struct pump *p, uint32_t source, uint8_t source_section, uint32_t sink, uint8_t sink_section,
                    const uint8_t payload[128], const uint8_t rtx_payload[128], const uint8_t extensions[256]);

uint32_t pump_poll(struct pump *p, struct slow_item *out, uint32_t max);
void pump_counters_read(struct pump *p, struct pump_counters *out, uint64_t drops[DROP_COUNT]);
uint32_t pump_leg_rows(struct pump *p, struct leg_row *out, uint32_t max);
uint32_t pump_stream_rows(struct pump *p, struct stream_row *out, uint32_t max);
uint32_t pump_route_rows(struct pump *p, struct route_row *out, uint32_t max);

/* Straight to the socket, from any thread; 0 or an errno. */
int pump_send(struct pump *p, const struct address *to, const struct local_address *from, const uint8_t *data,
              size_t len);

#endif
