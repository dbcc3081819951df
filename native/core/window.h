/* What arrived of one stream: extended sequence, duplicates, loss and jitter (RFC 3550 §6.4.1, A.1, A.3, A.8).
 *
 * The window accounts; it never holds a packet back. All sequence numbers inside are 64 bits and cut to 16 on the wire.
 */
#ifndef RELAY_WINDOW_H
#define RELAY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WINDOW_BITS 1024u       /* duplicates are told apart this far back */
#define WINDOW_MAX_JUMP 3000    /* RFC 3550 A.1 MAX_DROPOUT: a larger jump needs a second packet to be believed */
#define WINDOW_START 65536u     /* extended numbers begin above zero so that the first packets may be reordered */

enum window_verdict { WINDOW_NEW, WINDOW_LATE, WINDOW_DUPLICATE, WINDOW_PENDING, WINDOW_RESTART };

struct window {
    uint64_t max;      /* highest extended sequence number */
    uint64_t base;     /* first one */
    uint64_t received; /* distinct packets since base */
    uint64_t expected_prior, received_prior;
    uint64_t seen[WINDOW_BITS / 64];
    uint32_t jitter16; /* RFC 3550 A.8 jitter in timestamp units, times 16 */
    uint32_t transit;
    uint16_t bad_next; /* the sequence number that would confirm a restart */
    bool started, has_transit, has_bad;
};

static inline void window_start(struct window *w, uint16_t sequence)
{
    memset(w, 0, sizeof *w);
    w->max = w->base = WINDOW_START + sequence;
    w->started = true;
    w->received = 1;
    w->seen[(w->max % WINDOW_BITS) / 64] = 1ull << (w->max % 64);
}

/* The extended number nearest to the newest one. */
static inline uint64_t window_extend(const struct window *w, uint16_t sequence)
{
    int16_t delta = (int16_t)(uint16_t)(sequence - (uint16_t)w->max);
    return w->max + (uint64_t)(int64_t)delta;
}

/* Accounts for one authenticated packet; `*ext` receives its extended number. */
static inline enum window_verdict window_update(struct window *w, uint16_t sequence, uint64_t *ext)
{
    if (!w->started) {
        window_start(w, sequence);
        *ext = w->max;
        return WINDOW_NEW;
    }
    uint64_t e = window_extend(w, sequence);
    int64_t ahead = (int64_t)(e - w->max);
    if (ahead > WINDOW_MAX_JUMP || ahead < -(int64_t)WINDOW_BITS + 1) {
        if (w->has_bad && sequence == w->bad_next) {
            uint64_t cycles = (w->max | 0xffff) + 1;
            window_start(w, sequence);
            w->max = w->base = cycles + sequence;
            memset(w->seen, 0, sizeof w->seen);
            w->seen[(w->max % WINDOW_BITS) / 64] = 1ull << (w->max % 64);
            *ext = w->max;
            return WINDOW_RESTART;
        }
        w->bad_next = (uint16_t)(sequence + 1);
        w->has_bad = true;
        return WINDOW_PENDING;
    }
    w->has_bad = false;
    *ext = e;
    if (ahead > 0) {
        for (uint64_t s = w->max + 1; s < e; ++s)
            w->seen[(s % WINDOW_BITS) / 64] &= ~(1ull << (s % 64));
        w->seen[(e % WINDOW_BITS) / 64] |= 1ull << (e % 64);
        w->max = e;
        ++w->received;
        return WINDOW_NEW;
    }
    uint64_t *word = &w->seen[(e % WINDOW_BITS) / 64], bit = 1ull << (e % 64);
    if (*word & bit)
        return WINDOW_DUPLICATE;
    *word |= bit;
    if (e < w->base)
        w->base = e;
    ++w->received;
    return WINDOW_LATE;
}

/* RFC 3550 A.8; `arrival` is in timestamp units. */
static inline void window_jitter(struct window *w, uint32_t arrival, uint32_t timestamp)
{
    uint32_t transit = arrival - timestamp;
    if (w->has_transit) {
        int32_t d = (int32_t)(transit - w->transit);
        uint32_t size = (uint32_t)(d < 0 ? -(int64_t)d : d);
        /* A jump of the sender's clock is no jitter: ignore what no network does (10 s at 90 kHz). */
        if (size < 900000)
            w->jitter16 += size - ((w->jitter16 + 8) >> 4);
    }
    w->transit = transit;
    w->has_transit = true;
}

static inline uint64_t window_expected(const struct window *w)
{
    return w->started ? w->max - w->base + 1 : 0;
}

static inline int64_t window_lost(const struct window *w)
{
    return (int64_t)(window_expected(w) - w->received);
}

/* Fraction lost since the last report, in 1/256 (RFC 3550 A.3). */
static inline uint8_t window_fraction(struct window *w)
{
    uint64_t expected = window_expected(w) - w->expected_prior;
    uint64_t received = w->received - w->received_prior;
    w->expected_prior += expected;
    w->received_prior += received;
    if (!expected || received >= expected)
        return 0;
    uint64_t f = ((expected - received) << 8) / expected;
    return (uint8_t)(f > 255 ? 255 : f);
}

#endif
