/* What the parts of the pump say to each other: pump.c (a packet's walk), feedback.c (RTCP), legs.c (commands). */
#ifndef RELAY_WALK_H
#define RELAY_WALK_H

#include "pump.h"
#include "rtp.h"

static inline uint32_t pump_random(struct pump *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return (uint32_t)(p->random >> 16);
}

/* NTP time (32.32) of our clock: RFC 3550 §4. */
static inline uint64_t ntp_at(const struct pump *p, uint64_t now)
{
    return p->ntp_offset + ((now / 1000000) << 32) + (((now % 1000000) << 32) / 1000000);
}

static inline void drop(struct pump *p, struct leg *leg, enum drop_reason reason)
{
    ++p->drops[reason];
    if (leg)
        ++leg->drops;
}

static inline uint32_t leg_handle(const struct pump *p, const struct leg *leg)
{
    return (uint32_t)leg->generation << 16 | (uint32_t)(leg - p->legs);
}

/* The leg of a handle, NULL when it is gone. */
static inline struct leg *leg_of(struct pump *p, uint32_t handle)
{
    uint32_t i = handle & 0xffff;
    if (i >= p->options.max_legs || !p->legs[i].used || p->legs[i].generation != handle >> 16)
        return NULL;
    return &p->legs[i];
}

/* Whether libsrtp holds, or may be made to hold, a context for this SSRC: an authenticated peer could otherwise make
 * its list, which is searched in order, as long as it likes. */
static inline bool ssrc_admitted(const struct leg *leg, uint32_t ssrc, bool *fresh)
{
    *fresh = false;
    for (uint8_t i = 0; i < leg->ssrc_count; ++i)
        if (leg->ssrcs[i] == ssrc)
            return true;
    *fresh = true;
    return leg->ssrc_count < MAX_LEG_SSRCS;
}

/* Sets how long a blocking receive waits, by whether there are legs. */
void receive_wait(struct pump *p);
/* Registers an SSRC; NONE when the leg or the pump holds its maximum. */
uint32_t stream_add(struct pump *p, uint32_t leg, uint8_t section, uint32_t ssrc, bool rtx);
void slow_push(struct pump *p, enum slow_ring ring, uint8_t kind, uint32_t leg, const struct address *from,
               const struct local_address *to, const uint8_t *data, uint32_t len);

/* Sends one clear packet of the route's source: the tail of a packet's walk and of a retransmission. */
void route_send(struct pump *p, struct route *r, const uint8_t *packet, uint32_t len, const struct rtp_view *v,
                uint64_t out_sequence, bool resend);

void feedback_receive(struct pump *p, struct leg *leg, uint8_t *data, uint32_t len, uint64_t now);
void feedback_report(struct pump *p, struct leg *leg, uint64_t now);
/* A sink needs a key frame of this source section: asked for now, or as soon as its interval allows. */
void keyframe_request(struct pump *p, uint32_t leg, uint8_t section, uint64_t now);
void keyframe_flush(struct pump *p, uint64_t now);

#endif
