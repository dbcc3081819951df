/* From a source's numbers to a route's: sequence and timestamp stay seamless when the source changes, restarts or is
 * thinned, and header extension ids become the receiver's.
 */
#ifndef RELAY_REWRITE_H
#define RELAY_REWRITE_H

#include "rtp.h"

#define REWRITE_REORDER 128 /* packets that may arrive after the first one though they were sent before it */

struct rewrite {
    uint64_t last_sequence; /* highest extended number sent */
    uint64_t valid_from;    /* numbers before this one used another offset */
    uint64_t offset;        /* out = in + offset, modulo 2^64 */
    uint64_t last_us;
    uint32_t last_timestamp;
    uint32_t timestamp_offset;
    bool started;
};

/* The next packet comes from a new source or a restarted one: continue where the old one ended. */
static inline void rewrite_join(struct rewrite *r, uint64_t in, uint32_t timestamp, uint32_t clock_hz, uint64_t now_us,
                                uint32_t random)
{
    uint64_t next;
    uint32_t ts;
    if (!r->started) {
        /* RFC 3550 §5.1: random start, clear of the wrap: packets that were overtaken by the first one keep their
         * place before it, and SRTP's rollover counter cannot be below zero. */
        next = 65536 + 1024 + (random & 0x3fff);
        ts = random * 2654435761u;
    } else {
        uint64_t gap = (now_us - r->last_us) * clock_hz / 1000000;
        next = r->last_sequence + 1;
        ts = r->last_timestamp + (uint32_t)(gap ? gap : 1);
    }
    r->offset = next - in;
    r->timestamp_offset = ts - timestamp;
    r->valid_from = r->started ? next : next - REWRITE_REORDER;
    r->started = true;
}

/* A packet that is not forwarded leaves no hole behind it, nor do packets lost just before it. */
static inline void rewrite_skip(struct rewrite *r, uint64_t in)
{
    if (r->started && r->last_sequence && in + r->offset > r->last_sequence) {
        r->offset = r->last_sequence - in;
        r->valid_from = r->last_sequence + 1;
    }
}

static inline uint64_t rewrite_sequence(struct rewrite *r, uint64_t in, uint32_t timestamp, uint64_t now_us)
{
    uint64_t out = in + r->offset;
    if (out > r->last_sequence) {
        r->last_sequence = out;
        r->last_timestamp = timestamp + r->timestamp_offset;
        r->last_us = now_us;
    }
    return out;
}

/* Renames extension ids in place; an element without a counterpart becomes padding (RFC 8285 §4.1.1: id 0). */
static inline void rewrite_extensions(uint8_t *p, const struct rtp_view *v, const uint8_t map[256])
{
    size_t at = v->ext_offset, data, len;
    size_t start = at;
    uint8_t id;
    bool two = ext_is_two_byte(v->ext_profile);
    while (start = at, ext_next(p, v, &at, &id, &data, &len)) {
        while (p[start] == 0)
            ++start;
        uint8_t to = map[id];
        if (!to || (!two && to > 14))
            memset(p + start, 0, at - start);
        else
            p[start] = two ? to : (uint8_t)(to << 4 | (p[start] & 15));
    }
    /* What could not be parsed must not leave the relay as it came. */
    if (start < (size_t)v->ext_offset + v->ext_len)
        memset(p + start, 0, (size_t)v->ext_offset + v->ext_len - start);
}

#endif
