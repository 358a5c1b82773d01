/* Containers for one writer and lock-free readers.
 *
 * Everything a reader follows is published by a release store after it was filled (a list's count,
 * an index's slot or table), and read with acquire. The index is open addressing with linear
 * probing, at most 3/4 full, without deletion. It grows to the double by a second table: new items
 * go there, and each reserve moves a few of the old ones over, so that no single insert pays for
 * all of them (a million at once would hold up the log for 100 ms). Until all are moved, readers
 * look into both. An old table stays as it is until the index is freed, since a reader may still be
 * in it: together the old ones are as large as the present one (1 + 1/2 + 1/4 ...). */
#include "queue/index.h"
#include "common/err.h"

#include <assert.h>
#include <stdlib.h>

/* --- Arena --- */

#define ARENA_BLOCK ((size_t)256 * 1024)

struct oq_arena_block {
    struct oq_arena_block *previous;
    size_t used, size;
    _Alignas(8) char memory[];
};

void *oq_arena_take(struct oq_arena *arena, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    struct oq_arena_block *block = arena->last;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > ARENA_BLOCK ? size : ARENA_BLOCK;
        block = calloc(1, sizeof *block + room);
        if (block == NULL)
            return NULL;
        block->previous = arena->last;
        block->size = room;
        arena->last = block;
    }
    void *memory = block->memory + block->used;
    block->used += size;
    return memory;
}

void oq_arena_done(struct oq_arena *arena)
{
    while (arena->last != NULL) {
        struct oq_arena_block *block = arena->last;
        arena->last = block->previous;
        free(block);
    }
}

/* --- List --- */

#define CHUNK_FIRST ((size_t)16)

/* In which chunk `index` lies, and where in it. */
static size_t chunk_of(size_t index, size_t *ret_offset)
{
    size_t from_start = index + CHUNK_FIRST; /* chunk k holds those in [16 << k, 32 << k) */
    size_t chunk = 0;
    while (from_start >> chunk >= 2 * CHUNK_FIRST)
        chunk++;
    *ret_offset = from_start - (CHUNK_FIRST << chunk);
    return chunk;
}

void oq_list_done(struct oq_list *list)
{
    for (size_t i = 0; i < OQ_LIST_CHUNKS; i++)
        free(list->chunk[i]);
}

int oq_list_reserve(struct oq_list *list)
{
    size_t offset;
    size_t chunk = chunk_of(atomic_load_explicit(&list->count, memory_order_relaxed), &offset);
    if (chunk >= OQ_LIST_CHUNKS)
        return PS_E_NOMEM;
    if (list->chunk[chunk] == NULL)
        list->chunk[chunk] = calloc(CHUNK_FIRST << chunk, sizeof(void *));
    return list->chunk[chunk] != NULL ? 0 : PS_E_NOMEM;
}

void oq_list_append(struct oq_list *list, void *item)
{
    size_t offset;
    size_t count = atomic_load_explicit(&list->count, memory_order_relaxed);
    size_t chunk = chunk_of(count, &offset);
    list->chunk[chunk][offset] = item;
    atomic_store_explicit(&list->count, count + 1, memory_order_release);
}

size_t oq_list_count(const struct oq_list *list)
{
    return atomic_load_explicit(&list->count, memory_order_acquire);
}

void *oq_list_at(const struct oq_list *list, size_t index)
{
    if (index >= oq_list_count(list))
        return NULL;
    size_t offset;
    size_t chunk = chunk_of(index, &offset);
    return list->chunk[chunk][offset];
}

/* --- Index --- */

#define TABLE_FIRST ((size_t)64)
/* A table of n slots fills up after 3/4 n inserts; two slots of its predecessor (n/2) an insert
 * would do to empty that in time. */
#define MOVE_SLOTS 4

/* 32 bits of each item's hash stand beside its pointer. A search runs along them: 16 slots a cache
 * line, and hardly ever another item than the one sought is looked at. And moving an item needs
 * nothing of the item itself, which has long left the cache. */
struct oq_table {
    uint32_t mask;
    _Atomic(struct oq_table *) from; /* whose items are being moved here; NULL = all are here */
    size_t moved;                    /* slots of `from` that are done */
    struct oq_table *older;
    _Atomic(uint32_t) *hash; /* 0 = free; set after its slot */
    _Atomic(void *) slot[];
};

#define TABLE_MAX (UINT64_C(1) << 31) /* slots: more than 32 bits can spread over */

static struct oq_table *table_new(size_t slots, struct oq_table *older)
{
    if (slots > TABLE_MAX)
        return NULL;
    struct oq_table *table =
        calloc(1, sizeof *table + slots * (sizeof table->slot[0] + sizeof table->hash[0]));
    if (table == NULL)
        return NULL;
    table->hash = (_Atomic(uint32_t) *)&table->slot[slots];
    table->mask = (uint32_t)(slots - 1);
    table->older = older;
    atomic_init(&table->from, older);
    return table;
}

/* The item of the probe's key, or NULL; and its slot, or the free one where it belongs. */
static void *find_in(const struct oq_index *index, const struct oq_table *table, uint32_t hash,
                     const void *probe, size_t *ret_at)
{
    for (uint32_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        uint32_t here = atomic_load_explicit(&table->hash[at], memory_order_acquire);
        *ret_at = at;
        if (here == 0)
            return NULL;
        if (here != hash)
            continue;
        void *item = atomic_load_explicit(&table->slot[at], memory_order_acquire);
        if (index->same(item, probe))
            return item;
    }
}

static void store_item(struct oq_table *table, size_t at, uint32_t hash, void *item)
{
    atomic_store_explicit(&table->slot[at], item, memory_order_release);
    atomic_store_explicit(&table->hash[at], hash, memory_order_release);
}

int oq_index_init(struct oq_index *index, oq_hash_fn *hash, oq_same_fn *same)
{
    struct oq_table *table = table_new(TABLE_FIRST, NULL);
    if (table == NULL)
        return PS_E_NOMEM;
    index->hash = hash;
    index->same = same;
    index->count = 0;
    ps_hash_key_random(&index->key);
    atomic_init(&index->table, table);
    return 0;
}

uint64_t oq_hash_by_name(const struct ps_hash_key *key, const void *item)
{
    const struct ps_str *name = item;
    return ps_hash64(key, name->at, name->len);
}

bool oq_same_name(const void *item, const void *probe)
{
    return ps_str_same(*(const struct ps_str *)item, *(const struct ps_str *)probe);
}

uint64_t oq_hash_by_id(const struct ps_hash_key *key, const void *item)
{
    return ps_hash64(key, item, sizeof(struct ps_uuid));
}

bool oq_same_id(const void *item, const void *probe)
{
    return ps_uuid_equal(item, probe);
}

void oq_index_done(struct oq_index *index)
{
    struct oq_table *table = atomic_load_explicit(&index->table, memory_order_relaxed);
    while (table != NULL) {
        struct oq_table *older = table->older;
        free(table);
        table = older;
    }
}

/* Moves the next few slots of the predecessor. What has been replaced since is here already, and
 * newer. */
static void move_some(struct oq_index *index, struct oq_table *table, struct oq_table *from)
{
    for (int i = 0; i < MOVE_SLOTS && table->moved <= from->mask; i++, table->moved++) {
        uint32_t hash = atomic_load_explicit(&from->hash[table->moved], memory_order_relaxed);
        if (hash == 0)
            continue;
        void *item = atomic_load_explicit(&from->slot[table->moved], memory_order_relaxed);
        size_t at;
        if (find_in(index, table, hash, item, &at) == NULL)
            store_item(table, at, hash, item);
    }
    if (table->moved > from->mask)
        atomic_store_explicit(&table->from, NULL, memory_order_release);
}

int oq_index_reserve(struct oq_index *index)
{
    struct oq_table *table = atomic_load_explicit(&index->table, memory_order_relaxed);
    if ((index->count + 1) * 4 > ((size_t)table->mask + 1) * 3) {
        assert(atomic_load_explicit(&table->from, memory_order_relaxed) == NULL);
        table = table_new(2 * ((size_t)table->mask + 1), table);
        if (table == NULL)
            return PS_E_NOMEM;
        atomic_store_explicit(&index->table, table, memory_order_release);
    }
    struct oq_table *from = atomic_load_explicit(&table->from, memory_order_relaxed);
    if (from != NULL)
        move_some(index, table, from);
    return 0;
}

/* Never 0, which is a free slot. */
uint32_t oq_index_hash(const struct oq_index *index, const void *probe)
{
    uint32_t hash = (uint32_t)index->hash(&index->key, probe);
    return hash != 0 ? hash : 1;
}

void oq_index_put_hashed(struct oq_index *index, uint32_t hash, void *item)
{
    struct oq_table *table = atomic_load_explicit(&index->table, memory_order_relaxed);
    struct oq_table *from = atomic_load_explicit(&table->from, memory_order_relaxed);
    size_t at, ignored;
    if (find_in(index, table, hash, item, &at) == NULL &&
        (from == NULL || find_in(index, from, hash, item, &ignored) == NULL))
        index->count++;
    store_item(table, at, hash, item);
}

void *oq_index_find_hashed(const struct oq_index *index, uint32_t hash, const void *probe)
{
    struct oq_table *table = atomic_load_explicit(&index->table, memory_order_acquire);
    /* Read before looking into `table`: NULL then means that everything had arrived there. */
    struct oq_table *from = atomic_load_explicit(&table->from, memory_order_acquire);
    size_t ignored;
    void *item = find_in(index, table, hash, probe, &ignored);
    if (item == NULL && from != NULL)
        item = find_in(index, from, hash, probe, &ignored);
    return item;
}

void oq_index_expect(const struct oq_index *index, uint32_t hash)
{
    const struct oq_table *table = atomic_load_explicit(&index->table, memory_order_acquire);
    const struct oq_table *from = atomic_load_explicit(&table->from, memory_order_acquire);
    __builtin_prefetch(&table->hash[hash & table->mask], 1);
    __builtin_prefetch(&table->slot[hash & table->mask], 1);
    if (from != NULL)
        __builtin_prefetch(&from->hash[hash & from->mask]);
}

void oq_index_put(struct oq_index *index, void *item)
{
    oq_index_put_hashed(index, oq_index_hash(index, item), item);
}

void *oq_index_find(const struct oq_index *index, const void *probe)
{
    return oq_index_find_hashed(index, oq_index_hash(index, probe), probe);
}
