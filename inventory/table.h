/* A chained hash table whose links lie inside the items, so that putting an item in cannot fail.
 * It grows by doubling; when there is no memory for that, the chains get longer and nothing else
 * happens. The caller hashes (under a secret key), compares, and locks. */
#ifndef INV_TABLE_H
#define INV_TABLE_H

#include "common/defs.h"

struct inv_link {
    uint32_t next[2]; /* a pointer in two halves, so that this takes 12 bytes: an order has two */
    uint32_t hash;    /* its low bits: the high ones have chosen the stripe or the part */
};

static inline struct inv_link *inv_link_next(const struct inv_link *link)
{
    struct inv_link *next;
    memcpy(&next, link->next, sizeof next);
    return next;
}

static inline void inv_link_lead(struct inv_link *link, const struct inv_link *next)
{
    memcpy(link->next, &next, sizeof next);
}

struct inv_table {
    struct inv_link **buckets;
    size_t mask; /* number of buckets - 1; that number is a power of two */
    size_t count;
};

int inv_table_init(struct inv_table *table) PS_MUST_CHECK; /* PS_E_NOMEM */
void inv_table_done(struct inv_table *table);              /* one of {0} is allowed */
/* Makes room for `count` items in advance, when there is memory for it. */
void inv_table_expect(struct inv_table *table, size_t count);
void inv_table_put(struct inv_table *table, struct inv_link *link, uint64_t hash);
void inv_table_remove(struct inv_table *table, struct inv_link *link); /* which is in it */

/* The items of one hash: first, then next until NULL. */
static inline struct inv_link *inv_table_same(struct inv_link *link, uint32_t hash)
{
    while (link != NULL && link->hash != hash)
        link = inv_link_next(link);
    return link;
}

static inline struct inv_link *inv_table_first(const struct inv_table *table, uint64_t hash)
{
    return inv_table_same(table->buckets[(uint32_t)hash & table->mask], (uint32_t)hash);
}

/* Begins to fetch from memory where the items of this hash begin. */
static inline void inv_table_fetch(const struct inv_table *table, uint64_t hash)
{
    __builtin_prefetch(&table->buckets[(uint32_t)hash & table->mask]);
}

static inline struct inv_link *inv_table_next(const struct inv_link *link)
{
    return inv_table_same(inv_link_next(link), link->hash);
}

#endif
