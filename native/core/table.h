/* Two open-addressed hash tables of fixed capacity: address -> leg and (leg, SSRC) -> stream.
 *
 * Both are filled only with what was authenticated. Linear probing, deletion by back-shift, load at most one half,
 * never a rehash.
 */
#ifndef RELAY_TABLE_H
#define RELAY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define TABLE_NONE UINT32_MAX

/* IPv4 is kept as IPv4-mapped IPv6, so that both families share one table. */
struct address {
    uint64_t hi, lo;
    uint32_t port; /* host order */
};

struct table_entry {
    uint64_t a, b;
    uint32_t c;
    uint32_t value; /* TABLE_NONE marks a free entry */
};

struct table {
    struct table_entry *entries; /* allocated by table_init */
    uint32_t mask;
    uint32_t used;
    uint64_t seed;
};

bool table_init(struct table *t, uint32_t entries, uint64_t seed);
void table_free(struct table *t);
uint32_t table_get(const struct table *t, uint64_t a, uint64_t b, uint32_t c);
/* False when the table holds its bound. */
bool table_put(struct table *t, uint64_t a, uint64_t b, uint32_t c, uint32_t value);
bool table_remove(struct table *t, uint64_t a, uint64_t b, uint32_t c);

/* The address of this machine a datagram came to; all zero when the socket is bound to one address anyway. */
struct local_address {
    uint64_t hi, lo;
};

static inline bool address_equal(const struct address *x, const struct address *y)
{
    return x->hi == y->hi && x->lo == y->lo && x->port == y->port;
}

#endif
