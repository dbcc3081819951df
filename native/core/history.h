/* The newest clear packets of one stream, for retransmission: a ring of bytes, bounded in bytes, packets and time. */
#ifndef RELAY_HISTORY_H
#define RELAY_HISTORY_H

#include <stdint.h>

#define HISTORY_INDEX 1024u /* packets; a power of two */

struct history_entry {
    uint64_t position; /* absolute offset of the first byte, modulo capacity in the ring */
    uint64_t sequence; /* extended */
    uint32_t when_ms;
    uint16_t len;
};

struct history {
    uint64_t head; /* absolute offset of the next byte */
    uint32_t capacity;
    uint32_t index_mask;
    uint8_t *bytes;               /* allocated by history_new */
    struct history_entry *index; /* allocated by history_new */
};

/* Allocated once per stream; NULL when memory is short. Freed by its stream's owner. */
struct history *history_new(uint32_t capacity, uint32_t packets);
void history_free(struct history *h);
void history_put(struct history *h, uint64_t sequence, const uint8_t *packet, uint16_t len, uint64_t now_us);
/* NULL when the packet was never there, was overwritten or is older than `max_age_ms`. Borrowed until the next put. */
const uint8_t *history_get(const struct history *h, uint64_t sequence, uint64_t now_us, uint32_t max_age_ms,
                           uint16_t *len);

#endif
