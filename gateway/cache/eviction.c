/* Three ways to choose a victim, over one kind of node. A segment is a list, its head the most
 * recently used; LRU and random use one segment, W-TinyLFU three. Random also has an array of all
 * nodes, so that each is equally likely. */
#include "gateway/cache/eviction.h"
#include "common/grow.h"
#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

enum segment { WINDOW, PROBATION, PROTECTED, SEGMENTS };

TAILQ_HEAD(node_list, cache_eviction_node);

#define ROWS           4
#define COUNTER_MAX    15
#define WIDTH_MIN      256
#define WIDTH_MAX      ((size_t)1 << 24)
#define BYTES_A_WIDTH  512 /* of capacity, for each counter of a row */
#define SAMPLE_ENTRIES 10  /* requests per entry until all counters are halved */
#define SAMPLE_MIN     1000

struct cache_eviction {
    enum cfg_eviction algorithm;
    size_t capacity, bytes, count;
    struct node_list lists[SEGMENTS];
    size_t list_bytes[SEGMENTS];
    /* random */
    struct cache_eviction_node **all;
    size_t room;
    uint64_t random;
    /* lfu */
    uint8_t *counters; /* two in a byte, row after row */
    size_t width;      /* counters of a row, a power of two */
    size_t additions;
};

/* --- The sketch. --- */

static size_t counter_of(const struct cache_eviction *eviction, uint64_t hash, int row)
{
    static const uint64_t seeds[ROWS] = {UINT64_C(0xc3a5c85c97cb3127), UINT64_C(0xb492b66fbe98f273),
                                         UINT64_C(0x9ae16a3b2f90404f),
                                         UINT64_C(0xcbf29ce484222325)};
    uint64_t mixed = (hash + seeds[row]) * seeds[row];
    mixed ^= mixed >> 32;
    return (size_t)row * eviction->width + (mixed & (eviction->width - 1));
}

static unsigned count_at(const struct cache_eviction *eviction, size_t at)
{
    return eviction->counters[at / 2] >> (at % 2 * 4) & COUNTER_MAX;
}

static unsigned frequency(const struct cache_eviction *eviction, uint64_t hash)
{
    unsigned least = COUNTER_MAX;
    for (int row = 0; row < ROWS; row++) {
        unsigned count = count_at(eviction, counter_of(eviction, hash, row));
        least = count < least ? count : least;
    }
    return least;
}

static void halve_all(struct cache_eviction *eviction)
{
    size_t size = eviction->width * ROWS / 2;
    for (size_t i = 0; i < size; i++)
        eviction->counters[i] = eviction->counters[i] >> 1 & 0x77;
    eviction->additions /= 2;
}

/* Only the smallest of the four counters grow: larger ones also count other keys. */
void cache_eviction_asked(struct cache_eviction *eviction, uint64_t hash)
{
    if (eviction->algorithm != CFG_EVICTION_LFU)
        return;
    unsigned least = frequency(eviction, hash);
    if (least == COUNTER_MAX)
        return;
    for (int row = 0; row < ROWS; row++) {
        size_t at = counter_of(eviction, hash, row);
        if (count_at(eviction, at) == least)
            eviction->counters[at / 2] += (uint8_t)(1 << at % 2 * 4);
    }
    size_t sample = eviction->count * SAMPLE_ENTRIES;
    if (++eviction->additions >= (sample > SAMPLE_MIN ? sample : SAMPLE_MIN))
        halve_all(eviction);
}

/* --- Lists. --- */

static void link_node(struct cache_eviction *eviction, struct cache_eviction_node *node,
                      enum segment segment)
{
    node->segment = (uint8_t)segment;
    TAILQ_INSERT_HEAD(&eviction->lists[segment], node, link);
    eviction->list_bytes[segment] += node->bytes;
}

static void unlink_node(struct cache_eviction *eviction, struct cache_eviction_node *node)
{
    TAILQ_REMOVE(&eviction->lists[node->segment], node, link);
    eviction->list_bytes[node->segment] -= node->bytes;
}

static void move_node(struct cache_eviction *eviction, struct cache_eviction_node *node,
                      enum segment segment)
{
    unlink_node(eviction, node);
    link_node(eviction, node, segment);
}

static struct cache_eviction_node *last(struct cache_eviction *eviction, enum segment segment)
{
    return TAILQ_LAST(&eviction->lists[segment], node_list);
}

static size_t window_bytes_max(const struct cache_eviction *eviction)
{
    return eviction->capacity / 100;
}

static size_t main_bytes_max(const struct cache_eviction *eviction)
{
    return eviction->capacity - window_bytes_max(eviction);
}

static bool is_lfu(const struct cache_eviction *eviction)
{
    return eviction->algorithm == CFG_EVICTION_LFU;
}

/* --- Public. --- */

int cache_eviction_new(enum cfg_eviction algorithm, size_t capacity,
                       struct cache_eviction **ret_eviction)
{
    struct cache_eviction *eviction = calloc(1, sizeof *eviction);
    if (eviction == NULL)
        return PS_E_NOMEM;
    eviction->algorithm = algorithm;
    eviction->capacity = capacity;
    for (int i = 0; i < SEGMENTS; i++)
        TAILQ_INIT(&eviction->lists[i]);
    struct ps_hash_key seed;
    ps_hash_key_random(&seed);
    memcpy(&eviction->random, seed.byte, sizeof eviction->random);
    eviction->random |= 1;
    if (algorithm == CFG_EVICTION_LFU) {
        eviction->width = WIDTH_MIN;
        while (eviction->width < capacity / BYTES_A_WIDTH && eviction->width < WIDTH_MAX)
            eviction->width *= 2;
        eviction->counters = calloc(eviction->width * ROWS / 2, 1);
        if (eviction->counters == NULL) {
            free(eviction);
            return PS_E_NOMEM;
        }
    }
    *ret_eviction = eviction;
    return 0;
}

void cache_eviction_free(struct cache_eviction *eviction)
{
    if (eviction == NULL)
        return;
    free(eviction->all);
    free(eviction->counters);
    free(eviction);
}

static int make_room(struct cache_eviction *eviction, size_t count)
{
    if (eviction->algorithm != CFG_EVICTION_RANDOM)
        return 0;
    return ps_grow(&eviction->all, &eviction->room, count, sizeof(struct cache_eviction_node *));
}

static void insert(struct cache_eviction *eviction, struct cache_eviction_node *node,
                   enum segment segment)
{
    link_node(eviction, node, segment);
    if (eviction->algorithm == CFG_EVICTION_RANDOM) {
        eviction->all[eviction->count] = node;
        node->index = (uint32_t)eviction->count;
    }
    eviction->bytes += node->bytes;
    eviction->count++;
}

int cache_eviction_move(struct cache_eviction *eviction, struct cache_eviction *from)
{
    static const enum segment order[] = {PROBATION, WINDOW, PROTECTED};
    int err = make_room(eviction, eviction->count + from->count);
    if (err != 0)
        return err;
    for (size_t i = 0; i < PS_ARRAY_LEN(order); i++) {
        struct cache_eviction_node *node;
        while ((node = last(from, order[i])) != NULL) {
            cache_eviction_remove(from, node);
            insert(eviction, node, is_lfu(eviction) ? PROBATION : WINDOW);
        }
    }
    return 0;
}

void cache_eviction_limit(struct cache_eviction *eviction, size_t capacity)
{
    eviction->capacity = capacity;
}

size_t cache_eviction_bytes(const struct cache_eviction *eviction)
{
    return eviction->bytes;
}

size_t cache_eviction_count(const struct cache_eviction *eviction)
{
    return eviction->count;
}

void cache_eviction_hit(struct cache_eviction *eviction, struct cache_eviction_node *node)
{
    if (eviction->algorithm == CFG_EVICTION_RANDOM)
        return;
    if (!is_lfu(eviction) || node->segment == WINDOW) {
        move_node(eviction, node, WINDOW);
        return;
    }
    move_node(eviction, node, PROTECTED);
    struct cache_eviction_node *oldest;
    while (eviction->list_bytes[PROTECTED] > main_bytes_max(eviction) / 5 * 4 &&
           (oldest = last(eviction, PROTECTED)) != node)
        move_node(eviction, oldest, PROBATION);
}

int cache_eviction_add(struct cache_eviction *eviction, struct cache_eviction_node *node)
{
    int err = make_room(eviction, eviction->count + 1);
    if (err == 0)
        insert(eviction, node, WINDOW);
    return err;
}

void cache_eviction_remove(struct cache_eviction *eviction, struct cache_eviction_node *node)
{
    unlink_node(eviction, node);
    eviction->bytes -= node->bytes;
    eviction->count--;
    if (eviction->algorithm == CFG_EVICTION_RANDOM) {
        eviction->all[node->index] = eviction->all[eviction->count];
        eviction->all[node->index]->index = node->index;
    }
}

static struct cache_eviction_node *main_victim(struct cache_eviction *eviction)
{
    struct cache_eviction_node *victim = last(eviction, PROBATION);
    return victim != NULL ? victim : last(eviction, PROTECTED);
}

/* The node that leaves the window, or the one that it pushes out; NULL: all fits. */
static struct cache_eviction_node *lfu_victim(struct cache_eviction *eviction)
{
    while (eviction->list_bytes[WINDOW] > window_bytes_max(eviction)) {
        struct cache_eviction_node *candidate = last(eviction, WINDOW),
                                   *victim = main_victim(eviction);
        size_t used = eviction->list_bytes[PROBATION] + eviction->list_bytes[PROTECTED];
        if (used + candidate->bytes <= main_bytes_max(eviction)) {
            move_node(eviction, candidate, PROBATION);
            continue;
        }
        if (victim == NULL)
            return candidate;
        return frequency(eviction, candidate->hash) > frequency(eviction, victim->hash) ? victim
                                                                                        : candidate;
    }
    return eviction->bytes > eviction->capacity ? main_victim(eviction) : NULL;
}

static uint64_t next_random(struct cache_eviction *eviction) /* xorshift64* (Vigna, 2016) */
{
    eviction->random ^= eviction->random >> 12;
    eviction->random ^= eviction->random << 25;
    eviction->random ^= eviction->random >> 27;
    return eviction->random * UINT64_C(0x2545f4914f6cdd1d);
}

struct cache_eviction_node *cache_eviction_evict(struct cache_eviction *eviction)
{
    struct cache_eviction_node *victim;
    if (is_lfu(eviction))
        victim = lfu_victim(eviction);
    else if (eviction->bytes <= eviction->capacity)
        victim = NULL;
    else if (eviction->algorithm == CFG_EVICTION_RANDOM)
        victim = eviction->all[(next_random(eviction) >> 32) * eviction->count >> 32];
    else
        victim = last(eviction, WINDOW);
    if (victim != NULL)
        cache_eviction_remove(eviction, victim);
    return victim;
}
