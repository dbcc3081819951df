/* See history.h. Records are contiguous: one that does not fit before the end starts again at the beginning. */
#include "history.h"

#include <stdlib.h>
#include <string.h>

struct history *history_new(uint32_t capacity, uint32_t packets)
{
    struct history *h = calloc(1, sizeof *h);
    uint32_t count = 64;
    if (!h)
        return NULL;
    while (count < packets && count < HISTORY_INDEX)
        count *= 2;
    h->capacity = capacity;
    h->index_mask = count - 1;
    h->bytes = malloc(capacity);
    h->index = calloc(count, sizeof *h->index);
    if (!h->bytes || !h->index) {
        history_free(h);
        return NULL;
    }
    return h;
}

void history_free(struct history *h)
{
    if (!h)
        return;
    free(h->bytes);
    free(h->index);
    free(h);
}

void history_put(struct history *h, uint64_t sequence, const uint8_t *packet, uint16_t len, uint64_t now_us)
{
    uint64_t room = h->capacity - h->head % h->capacity;
    if (len > h->capacity)
        return;
    if (room < len)
        h->head += room;
    struct history_entry *e = &h->index[sequence & h->index_mask];
    e->position = h->head;
    e->sequence = sequence;
    e->when_ms = (uint32_t)(now_us / 1000);
    e->len = len;
    memcpy(h->bytes + h->head % h->capacity, packet, len);
    h->head += len;
}

const uint8_t *history_get(const struct history *h, uint64_t sequence, uint64_t now_us, uint32_t max_age_ms,
                           uint16_t *len)
{
    const struct history_entry *e = &h->index[sequence & h->index_mask];
    if (!e->len || e->sequence != sequence || h->head - e->position > h->capacity)
        return NULL;
    if ((uint32_t)(now_us / 1000) - e->when_ms > max_age_ms)
        return NULL;
    *len = e->len;
    return h->bytes + e->position % h->capacity;
}
