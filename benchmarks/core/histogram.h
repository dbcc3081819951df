/* A histogram of nanoseconds with fixed buckets, after HdrHistogram: no allocation, 1.6 % wide at worst.
 *
 * Values below 64 have a bucket each; above, every power of two is cut into 64 equal parts. Adding is a
 * shift and an increment, so it may stand in a packet's path. */
#ifndef BENCHMARKS_HISTOGRAM_H
#define BENCHMARKS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 6                               /* parts of an octave: 1 << 6 */
#define HISTOGRAM_PARTS (1u << HISTOGRAM_BITS)
#define HISTOGRAM_OCTAVES 32                           /* up to 2^37 ns, over two minutes */
#define HISTOGRAM_BUCKETS (HISTOGRAM_PARTS * (HISTOGRAM_OCTAVES + 1))

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t highest;
};

static inline uint32_t histogram_index(uint64_t ns)
{
    if (ns < HISTOGRAM_PARTS)
        return (uint32_t)ns;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(ns) - HISTOGRAM_BITS;
    if (octave >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_BUCKETS - 1;
    return HISTOGRAM_PARTS * (octave + 1) + (uint32_t)((ns >> octave) - HISTOGRAM_PARTS);
}

/* The middle of a bucket, in ns. */
static inline uint64_t histogram_value(uint32_t index)
{
    if (index < HISTOGRAM_PARTS)
        return index;
    uint32_t octave = index / HISTOGRAM_PARTS - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_PARTS + index % HISTOGRAM_PARTS) << octave;
    return low + (((uint64_t)1 << octave) >> 1);
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[histogram_index(ns)]++;
    h->total++;
    if (ns > h->highest)
        h->highest = ns;
}

/* The value that a share (0..1) of all entries does not exceed; 0 when empty. */
static inline uint64_t histogram_percentile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->total + 0.5);
    uint64_t below = 0;
    if (h->total == 0)
        return 0;
    if (wanted == 0)
        wanted = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += h->count[i];
        if (below >= wanted) {
            uint64_t value = histogram_value(i);
            return value < h->highest ? value : h->highest;
        }
    }
    return h->highest;
}

#endif
