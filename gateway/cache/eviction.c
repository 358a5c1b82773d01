/* Three ways to choose a victim, over one kind of node. A segment is a list, its head the most
 * recently used; LRU and random use one segment, W-TinyLFU three. Random also has an array of all
 * nodes, so that each is equally likely. */
#include "gateway/cache/eviction.h"
#include "common/grow.h"
#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

enum segment { WINDOW, PROBATION, PROTECTED, SEGMENTS };

TAILQ_HEAD(node_list, cache_policy_node);

#define ROWS           4
#define COUNTER_MAX    15
#define WIDTH_MIN      256
#define WIDTH_MAX      ((size_t)1 << 24)
#define BYTES_A_WIDTH  512 /* of capacity, for each counter of a row */
#define SAMPLE_ENTRIES 10  /* requests per entry until all counters are halved */
#define SAMPLE_MIN     1000

struct cache_policy {
    enum cfg_eviction eviction;
    size_t capacity, bytes, count;
    struct node_list lists[SEGMENTS];
    size_t list_bytes[SEGMENTS];
    /* random */
    struct cache_policy_node **all;
    size_t room;
    uint64_t random;
    /* lfu */
    uint8_t *counters; /* two in a byte, row after row */
    size_t width;      /* counters of a row, a power of two */
    size_t additions;
};

/* --- The sketch. --- */

static size_t counter_of(const struct cache_policy *policy, uint64_t hash, int row)
{
    static const uint64_t seeds[ROWS] = {UINT64_C(0xc3a5c85c97cb3127), UINT64_C(0xb492b66fbe98f273),
                                         UINT64_C(0x9ae16a3b2f90404f),
                                         UINT64_C(0xcbf29ce484222325)};
    uint64_t mixed = (hash + seeds[row]) * seeds[row];
    mixed ^= mixed >> 32;
    return (size_t)row * policy->width + (mixed & (policy->width - 1));
}

static unsigned count_at(const struct cache_policy *policy, size_t at)
{
    return policy->counters[at / 2] >> (at % 2 * 4) & COUNTER_MAX;
}

static unsigned frequency(const struct cache_policy *policy, uint64_t hash)
{
    unsigned least = COUNTER_MAX;
    for (int row = 0; row < ROWS; row++) {
        unsigned count = count_at(policy, counter_of(policy, hash, row));
        least = count < least ? count : least;
    }
    return least;
}

static void halve_all(struct cache_policy *policy)
{
    size_t size = policy->width * ROWS / 2;
    for (size_t i = 0; i < size; i++)
        policy->counters[i] = policy->counters[i] >> 1 & 0x77;
    policy->additions /= 2;
}

/* Only the smallest of the four counters grow: larger ones also count other keys. */
void cache_policy_asked(struct cache_policy *policy, uint64_t hash)
{
    if (policy->eviction != CFG_EVICTION_LFU)
        return;
    unsigned least = frequency(policy, hash);
    if (least == COUNTER_MAX)
        return;
    for (int row = 0; row < ROWS; row++) {
        size_t at = counter_of(policy, hash, row);
        if (count_at(policy, at) == least)
            policy->counters[at / 2] += (uint8_t)(1 << at % 2 * 4);
    }
    size_t sample = policy->count * SAMPLE_ENTRIES;
    if (++policy->additions >= (sample > SAMPLE_MIN ? sample : SAMPLE_MIN))
        halve_all(policy);
}

/* --- Lists. --- */

static void link_node(struct cache_policy *policy, struct cache_policy_node *node,
                      enum segment segment)
{
    node->segment = (uint8_t)segment;
    TAILQ_INSERT_HEAD(&policy->lists[segment], node, link);
    policy->list_bytes[segment] += node->bytes;
}

static void unlink_node(struct cache_policy *policy, struct cache_policy_node *node)
{
    TAILQ_REMOVE(&policy->lists[node->segment], node, link);
    policy->list_bytes[node->segment] -= node->bytes;
}

static void move_node(struct cache_policy *policy, struct cache_policy_node *node,
                      enum segment segment)
{
    unlink_node(policy, node);
    link_node(policy, node, segment);
}

static struct cache_policy_node *last(struct cache_policy *policy, enum segment segment)
{
    return TAILQ_LAST(&policy->lists[segment], node_list);
}

static size_t window_bytes_max(const struct cache_policy *policy)
{
    return policy->capacity / 100;
}

static size_t main_bytes_max(const struct cache_policy *policy)
{
    return policy->capacity - window_bytes_max(policy);
}

static bool is_lfu(const struct cache_policy *policy)
{
    return policy->eviction == CFG_EVICTION_LFU;
}

/* --- Public. --- */

int cache_policy_new(enum cfg_eviction eviction, size_t capacity, struct cache_policy **ret_policy)
{
    struct cache_policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL)
        return PS_E_NOMEM;
    policy->eviction = eviction;
    policy->capacity = capacity;
    for (int i = 0; i < SEGMENTS; i++)
        TAILQ_INIT(&policy->lists[i]);
    struct ps_hash_key seed;
    ps_hash_key_random(&seed);
    memcpy(&policy->random, seed.byte, sizeof policy->random);
    policy->random |= 1;
    if (eviction == CFG_EVICTION_LFU) {
        policy->width = WIDTH_MIN;
        while (policy->width < capacity / BYTES_A_WIDTH && policy->width < WIDTH_MAX)
            policy->width *= 2;
        policy->counters = calloc(policy->width * ROWS / 2, 1);
        if (policy->counters == NULL) {
            free(policy);
            return PS_E_NOMEM;
        }
    }
    *ret_policy = policy;
    return 0;
}

void cache_policy_free(struct cache_policy *policy)
{
    if (policy == NULL)
        return;
    free(policy->all);
    free(policy->counters);
    free(policy);
}

static int make_room(struct cache_policy *policy, size_t count)
{
    if (policy->eviction != CFG_EVICTION_RANDOM)
        return 0;
    return ps_grow(&policy->all, &policy->room, count, sizeof(struct cache_policy_node *));
}

static void insert(struct cache_policy *policy, struct cache_policy_node *node,
                   enum segment segment)
{
    link_node(policy, node, segment);
    if (policy->eviction == CFG_EVICTION_RANDOM) {
        policy->all[policy->count] = node;
        node->index = (uint32_t)policy->count;
    }
    policy->bytes += node->bytes;
    policy->count++;
}

int cache_policy_move(struct cache_policy *policy, struct cache_policy *from)
{
    static const enum segment order[] = {PROBATION, WINDOW, PROTECTED};
    int err = make_room(policy, policy->count + from->count);
    if (err != 0)
        return err;
    for (size_t i = 0; i < PS_ARRAY_LEN(order); i++) {
        struct cache_policy_node *node;
        while ((node = last(from, order[i])) != NULL) {
            cache_policy_remove(from, node);
            insert(policy, node, is_lfu(policy) ? PROBATION : WINDOW);
        }
    }
    return 0;
}

void cache_policy_limit(struct cache_policy *policy, size_t capacity)
{
    policy->capacity = capacity;
}

size_t cache_policy_bytes(const struct cache_policy *policy)
{
    return policy->bytes;
}

size_t cache_policy_count(const struct cache_policy *policy)
{
    return policy->count;
}

void cache_policy_hit(struct cache_policy *policy, struct cache_policy_node *node)
{
    if (policy->eviction == CFG_EVICTION_RANDOM)
        return;
    if (!is_lfu(policy) || node->segment == WINDOW) {
        move_node(policy, node, WINDOW);
        return;
    }
    move_node(policy, node, PROTECTED);
    struct cache_policy_node *oldest;
    while (policy->list_bytes[PROTECTED] > main_bytes_max(policy) / 5 * 4 &&
           (oldest = last(policy, PROTECTED)) != node)
        move_node(policy, oldest, PROBATION);
}

int cache_policy_add(struct cache_policy *policy, struct cache_policy_node *node)
{
    int err = make_room(policy, policy->count + 1);
    if (err == 0)
        insert(policy, node, WINDOW);
    return err;
}

void cache_policy_remove(struct cache_policy *policy, struct cache_policy_node *node)
{
    unlink_node(policy, node);
    policy->bytes -= node->bytes;
    policy->count--;
    if (policy->eviction == CFG_EVICTION_RANDOM) {
        policy->all[node->index] = policy->all[policy->count];
        policy->all[node->index]->index = node->index;
    }
}

static struct cache_policy_node *main_victim(struct cache_policy *policy)
{
    struct cache_policy_node *victim = last(policy, PROBATION);
    return victim != NULL ? victim : last(policy, PROTECTED);
}

/* The node that leaves the window, or the one that it pushes out; NULL: all fits. */
static struct cache_policy_node *lfu_victim(struct cache_policy *policy)
{
    while (policy->list_bytes[WINDOW] > window_bytes_max(policy)) {
        struct cache_policy_node *candidate = last(policy, WINDOW), *victim = main_victim(policy);
        size_t used = policy->list_bytes[PROBATION] + policy->list_bytes[PROTECTED];
        if (used + candidate->bytes <= main_bytes_max(policy)) {
            move_node(policy, candidate, PROBATION);
            continue;
        }
        if (victim == NULL)
            return candidate;
        return frequency(policy, candidate->hash) > frequency(policy, victim->hash) ? victim
                                                                                    : candidate;
    }
    return policy->bytes > policy->capacity ? main_victim(policy) : NULL;
}

static uint64_t next_random(struct cache_policy *policy) /* xorshift64* (Vigna, 2016) */
{
    policy->random ^= policy->random >> 12;
    policy->random ^= policy->random << 25;
    policy->random ^= policy->random >> 27;
    return policy->random * UINT64_C(0x2545f4914f6cdd1d);
}

struct cache_policy_node *cache_policy_evict(struct cache_policy *policy)
{
    struct cache_policy_node *victim;
    if (is_lfu(policy))
        victim = lfu_victim(policy);
    else if (policy->bytes <= policy->capacity)
        victim = NULL;
    else if (policy->eviction == CFG_EVICTION_RANDOM)
        victim = policy->all[(next_random(policy) >> 32) * policy->count >> 32];
    else
        victim = last(policy, WINDOW);
    if (victim != NULL)
        cache_policy_remove(policy, victim);
    return victim;
}
