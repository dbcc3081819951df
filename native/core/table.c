/* See table.h. */
#include "table.h"

#include <stdlib.h>

static inline uint32_t slot_of(const struct table *t, uint64_t a, uint64_t b, uint32_t c)
{
    /* A seeded multiply-xor mix: the seed keeps a peer from choosing addresses that collide. */
    uint64_t h = (a ^ t->seed) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h = (h ^ b) * 0xbf58476d1ce4e5b9ull;
    h ^= h >> 29;
    h = (h ^ c) * 0x94d049bb133111ebull;
    h ^= h >> 32;
    return (uint32_t)h & t->mask;
}

bool table_init(struct table *t, uint32_t entries, uint64_t seed)
{
    uint32_t size = 64;
    while (size < entries * 2)
        size *= 2;
    t->entries = malloc(size * sizeof *t->entries);
    if (!t->entries)
        return false;
    for (uint32_t i = 0; i < size; ++i)
        t->entries[i].value = TABLE_NONE;
    t->mask = size - 1;
    t->used = 0;
    t->seed = seed;
    return true;
}

void table_free(struct table *t)
{
    free(t->entries);
    t->entries = 0;
}

uint32_t table_get(const struct table *t, uint64_t a, uint64_t b, uint32_t c)
{
    for (uint32_t i = slot_of(t, a, b, c);; i = (i + 1) & t->mask) {
        const struct table_entry *e = &t->entries[i];
        if (e->value == TABLE_NONE)
            return TABLE_NONE;
        if (e->a == a && e->b == b && e->c == c)
            return e->value;
    }
}

bool table_put(struct table *t, uint64_t a, uint64_t b, uint32_t c, uint32_t value)
{
    uint32_t i = slot_of(t, a, b, c);
    for (;; i = (i + 1) & t->mask) {
        struct table_entry *e = &t->entries[i];
        if (e->value == TABLE_NONE)
            break;
        if (e->a == a && e->b == b && e->c == c) {
            e->value = value;
            return true;
        }
    }
    if (t->used * 2 > t->mask)
        return false;
    t->entries[i] = (struct table_entry){a, b, c, value};
    ++t->used;
    return true;
}

bool table_remove(struct table *t, uint64_t a, uint64_t b, uint32_t c)
{
    uint32_t i = slot_of(t, a, b, c);
    for (;; i = (i + 1) & t->mask) {
        if (t->entries[i].value == TABLE_NONE)
            return false;
        if (t->entries[i].a == a && t->entries[i].b == b && t->entries[i].c == c)
            break;
    }
    uint32_t hole = i;
    for (;;) {
        i = (i + 1) & t->mask;
        struct table_entry *e = &t->entries[i];
        if (e->value == TABLE_NONE)
            break;
        uint32_t home = slot_of(t, e->a, e->b, e->c);
        /* Move it back unless its home lies after the hole on the way here. */
        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->entries[hole] = *e;
            hole = i;
        }
    }
    t->entries[hole].value = TABLE_NONE;
    --t->used;
    return true;
}
