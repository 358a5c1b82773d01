/* A set-associative table of (tag, cell) slots: 16 slots a set, four cache lines. The tag is 63
 * bits of the hash of rule and key; its low half chooses the set, its high bits the line at which
 * the search begins. Bit 0 means "settled". A slot is two atomics, without a lock:
 *
 * - Use: find the tag, then compare-and-swap the cell. If that fails: read the tag again, try
 *   again.
 * - Claim a slot that was never used, or a settled one whose cell is idle: compare-and-swap the tag
 *   to the new key, unsettled. An idle cell reads as a fresh one under every rule, so the slot is
 *   ready at once. Nobody takes over an unsettled slot; the worker that claimed it settles it after
 *   counting.
 * - Evict if there is no such slot: swap the smallest settled cell (the first to become idle) to 0,
 *   which forgets its key; then claim.
 *
 * Why counts hold. A cell changes only by compare-and-swap of the whole state, so no request is
 * lost or counted twice. A key has one slot: all workers that insert it search in one order and
 * want the same slot, so one swap of the tag decides, and the others find it when they look again.
 * A tag never returns to 0, so a search may stop at the first 0: the key is not behind it. Three
 * races of some nanoseconds remain, all at a slot that changes hands. Each moves one request, and
 * none repeats by itself:
 *
 * - A forgotten key comes back to its slot while another claims it. Its request counts for the
 *   other key, whose debt is cut to one refill of its own rule (limiter.c).
 * - Two workers insert one key while the set changes between their searches, because a forgotten
 *   key comes back or their clocks fall on both sides of a second. The key may get two slots; the
 *   one that searches reach later is never found again.
 * - Two workers evict one key, and its slot's next key has the same cell before the second swap:
 *   that key is forgotten as well.
 *
 * A lock for each set was rejected: a preempted worker would stop the others. */
#include "gateway/admission/limits/limit_table.h"
#include "common/text/id.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WAYS        16
#define WAYS_A_LINE 4
#define SWAPS_MAX   64 /* lost races on one cell before giving up */
#define ROUNDS_MAX  32 /* searches of a set before giving up */
/* Slots for the keys of global and sale rules, twice as many as needed: the largest number of sales
 * under three rules fills a quarter, which overflows no set of 16; 2 MiB. */
#define FEW     (1 << 17)
#define SETTLED UINT64_C(1)

struct slot {
    _Atomic(uint64_t) tag; /* key | SETTLED; 0 = never used */
    _Atomic(uint64_t) cell;
};

struct region {
    struct slot *slots;
    size_t capacity; /* a multiple of WAYS, below 2^32 of them */
};

struct adm_limit_table {
    void *memory;
    size_t bytes;
    struct region many; /* users, addresses */
    /* Global, sales. Fixed windows use the monotonic clock, the others the share's: only cells of
     * one clock can be compared. */
    struct region few;
    struct region few_fixed;
    struct ps_hash_key hash_key;
    PS_ALIGNED struct adm_share share;
    PS_ALIGNED _Atomic(uint64_t) evictions;
};

int adm_limit_table_new(size_t mib, struct adm_limit_table **ret_table)
{
    assert(mib >= 1);
    size_t capacity = mib * 1024 * 1024 / sizeof(struct slot);
    size_t bytes = (capacity + 2 * FEW) * sizeof(struct slot);

    struct adm_limit_table *table = aligned_alloc(PS_CACHE_LINE, sizeof *table);
    if (table == NULL)
        return PS_E_NOMEM;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(table);
        return PS_E_NOMEM;
    }
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* fewer TLB misses; works without */
    memset(memory, 0, bytes);
    *table = (struct adm_limit_table){
        .memory = memory,
        .bytes = bytes,
        .many = {.slots = memory, .capacity = capacity},
        .few = {.slots = (struct slot *)memory + capacity, .capacity = FEW},
        .few_fixed = {.slots = (struct slot *)memory + capacity + FEW, .capacity = FEW},
    };
    ps_hash_key_random(&table->hash_key);
    *ret_table = table;
    return 0;
}

void adm_limit_table_free(struct adm_limit_table *table)
{
    if (table == NULL)
        return;
    (void)munmap(table->memory, table->bytes);
    free(table);
}

/* A slot at one moment: where a key is, or where it should go. */
struct place {
    struct slot *slot; /* NULL: none at this moment */
    uint64_t tag;
    uint64_t cell; /* belongs to that tag, not to its predecessor or successor */
    bool live;     /* the cell is not idle */
};

static struct place look(struct slot *slot, int64_t now_ns)
{
    struct place here = {.slot = slot};
    uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
    do {
        here.tag = tag;
        here.cell = atomic_load_explicit(&slot->cell, memory_order_acquire);
        tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
    } while (tag != here.tag);
    here.live = !adm_limit_idle(here.cell, now_ns);
    return here;
}

/* The key's 32 low bits as a fraction of all sets. */
static struct slot *set_of(const struct region *region, uint64_t key)
{
    uint64_t sets = region->capacity / WAYS;
    return region->slots + ((uint64_t)(uint32_t)(key >> 1) * sets >> 32) * WAYS;
}

/* The line of its set at which the search for the key begins. */
static size_t home_of(uint64_t key)
{
    return (size_t)(key >> 62) * WAYS_A_LINE;
}

static struct place search(const struct region *region, uint64_t key, int64_t now_ns)
{
    struct slot *set = set_of(region, key);
    size_t home = home_of(key);
    struct place best = {.cell = UINT64_MAX, .live = true};
    for (size_t i = 0; i < WAYS; i++) {
        struct place here = look(&set[(home + i) % WAYS], now_ns);
        if ((here.tag & ~SETTLED) == key)
            return here;
        if (here.tag == 0)
            return best.live ? here : best;
        bool better = best.live && (!here.live || here.cell < best.cell);
        if (better && (here.tag & SETTLED) != 0)
            best = here;
    }
    return best;
}

/* Gives the slot to `key`, unsettled, with an idle cell. False: another worker was faster. */
static bool claim(struct adm_limit_table *table, struct place *place, uint64_t key)
{
    struct slot *slot = place->slot;
    if (place->live) {
        if (!atomic_compare_exchange_strong_explicit(&slot->cell, &place->cell, 0,
                                                     memory_order_relaxed, memory_order_relaxed))
            return false;
        place->cell = 0;
        atomic_fetch_add_explicit(&table->evictions, 1, memory_order_relaxed);
    }
    return atomic_compare_exchange_strong_explicit(&slot->tag, &place->tag, key,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* Counts on the slot while it is `key`'s. False: it was taken over, or too many swaps failed. A
 * successful swap releases and a failed one acquires, so that a worker that sees another's cell
 * also sees the tag before it. */
static bool count(struct place place, uint64_t key, const struct adm_limit_compiled *rule,
                  int64_t now_ns, int64_t patience_ms, struct adm_limit_result *ret_result)
{
    for (int i = 0; i < SWAPS_MAX; i++) {
        uint64_t next;
        *ret_result = adm_limit_step(rule, place.cell, now_ns, patience_ms, &next);
        if (!ret_result->allowed ||
            atomic_compare_exchange_strong_explicit(&place.slot->cell, &place.cell, next,
                                                    memory_order_acq_rel, memory_order_acquire))
            return true;
        if ((atomic_load_explicit(&place.slot->tag, memory_order_acquire) & ~SETTLED) != key)
            return false;
    }
    return false;
}

/* Where the keys of a global or sale rule are, and this gateway's share of the rule: may set *rule
 * to *shared, and *now_ns to the time of the share's clock. */
static const struct region *enter_few(const struct adm_limit_table *table,
                                      const struct adm_limit_compiled **rule,
                                      struct adm_limit_compiled *shared, int64_t *now_ns)
{
    bool fixed = (*rule)->algorithm == CFG_LIMIT_FIXED_WINDOW;
    if (!adm_share_whole(&table->share)) {
        int64_t clock_ns;
        adm_limit_share(*rule, adm_share_read(&table->share, *now_ns, &clock_ns), shared);
        *rule = shared;
        if (!fixed)
            *now_ns = clock_ns;
    }
    return fixed ? &table->few_fixed : &table->few;
}

uint64_t adm_limit_hash(const struct adm_limit_table *table, const void *key, size_t key_len)
{
    return ps_hash64(&table->hash_key, key, key_len);
}

/* Never 0, which marks a slot that was never used. */
static uint64_t key_of(const struct adm_limit_compiled *rule, uint64_t hash)
{
    uint64_t key = (hash ^ rule->seed) & ~SETTLED;
    return key != 0 ? key : ~SETTLED;
}

void adm_limit_expect(const struct adm_limit_table *table, const struct adm_limit_compiled *rule,
                      uint64_t hash)
{
    uint64_t key = key_of(rule, hash);
    if (!rule->few_keys)
        __builtin_prefetch(set_of(&table->many, key) + home_of(key), 1);
}

struct adm_limit_result adm_limit_check(struct adm_limit_table *table,
                                        const struct adm_limit_compiled *rule, uint64_t hash,
                                        int64_t now_ns, int64_t patience_ms)
{
    uint64_t key = key_of(rule, hash);
    const struct region *region = &table->many;
    struct adm_limit_compiled shared;
    if (rule->few_keys)
        region = enter_few(table, &rule, &shared, &now_ns);
    struct adm_limit_result result;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        struct place place = search(region, key, now_ns);
        if (place.slot == NULL)
            continue;
        bool fresh = (place.tag & ~SETTLED) != key;
        if (fresh && !claim(table, &place, key))
            continue;
        bool counted = count(place, key, rule, now_ns, patience_ms, &result);
        if (fresh)
            atomic_store_explicit(&place.slot->tag, key | SETTLED, memory_order_release);
        if (counted)
            return result;
    }
    /* Every slot or cell tried went to others: like a key that was evicted at once. */
    uint64_t forgotten;
    atomic_fetch_add_explicit(&table->evictions, 1, memory_order_relaxed);
    return adm_limit_step(rule, 0, now_ns, patience_ms, &forgotten);
}

struct adm_limit_result adm_limit_look(const struct adm_limit_table *table,
                                       const struct adm_limit_compiled *rule, uint64_t hash,
                                       int64_t now_ns, int64_t patience_ms)
{
    uint64_t key = key_of(rule, hash), cell = 0, forgotten;
    const struct region *region = &table->many;
    struct adm_limit_compiled shared;

    if (rule->few_keys)
        region = enter_few(table, &rule, &shared, &now_ns);
    struct place place = search(region, key, now_ns);
    if (place.slot != NULL && (place.tag & ~SETTLED) == key)
        cell = place.cell;
    return adm_limit_step(rule, cell, now_ns, patience_ms, &forgotten);
}

uint64_t adm_limit_table_evictions(const struct adm_limit_table *table)
{
    return atomic_load_explicit(&table->evictions, memory_order_relaxed);
}

struct adm_share *adm_limit_table_share(struct adm_limit_table *table)
{
    return &table->share;
}
