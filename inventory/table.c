/* The chained hash table. One item a bucket on average; the low bits of the hash choose the bucket
 * (the high bits have chosen the stripe already). */
#include "inventory/table.h"
#include "common/err.h"

#include <stdlib.h>

#define FIRST_BUCKETS 16

int inv_table_init(struct inv_table *table)
{
    struct inv_link **buckets = calloc(FIRST_BUCKETS, sizeof *buckets);
    if (buckets == NULL)
        return PS_E_NOMEM;
    *table = (struct inv_table){.buckets = buckets, .mask = FIRST_BUCKETS - 1};
    return 0;
}

void inv_table_done(struct inv_table *table)
{
    free(table->buckets);
}

static void put_link(struct inv_table *table, struct inv_link *link)
{
    struct inv_link **bucket = &table->buckets[link->hash & table->mask];
    inv_link_lead(link, *bucket);
    *bucket = link;
}

void inv_table_expect(struct inv_table *table, size_t count)
{
    size_t size = table->mask + 1;
    while (size < count && size <= UINT32_MAX / 2)
        size *= 2;
    if (size == table->mask + 1)
        return;
    struct inv_table bigger = {.mask = size - 1, .count = table->count};
    bigger.buckets = calloc(size, sizeof *bigger.buckets);
    if (bigger.buckets == NULL)
        return;
    for (size_t i = 0; i <= table->mask; i++) {
        struct inv_link *next;
        for (struct inv_link *link = table->buckets[i]; link != NULL; link = next) {
            next = inv_link_next(link);
            put_link(&bigger, link);
        }
    }
    free(table->buckets);
    *table = bigger;
}

void inv_table_put(struct inv_table *table, struct inv_link *link, uint64_t hash)
{
    inv_table_expect(table, table->count + 1);
    link->hash = (uint32_t)hash;
    put_link(table, link);
    table->count++;
}

void inv_table_remove(struct inv_table *table, struct inv_link *link)
{
    struct inv_link **bucket = &table->buckets[link->hash & table->mask], *before = *bucket;
    if (before == link) {
        *bucket = inv_link_next(link);
    } else {
        while (inv_link_next(before) != link)
            before = inv_link_next(before);
        inv_link_lead(before, inv_link_next(link));
    }
    table->count--;
}
