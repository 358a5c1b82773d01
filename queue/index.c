/* Containers for one writer and lock-free readers.
 *
 * Everything a reader follows is published by a release store after it was filled (a list's count,
 * an index's slot or table), and read with acquire. A reference is the number of a block and a
 * place in it, so that a slot of an index is one number: 32 bits of the item's hash and 32 bits
 * that lead to it. A search hardly ever looks at another item than the one sought, and moving an
 * item needs nothing of the item itself, which has long left the cache.
 *
 * The index is open addressing with linear probing, at most 3/4 full. It grows to the double by a
 * second table: new items go there, and each reserve moves a few of the old ones over, so that no
 * single insert pays for all of them (a million at once would hold up the log for 100 ms). Until
 * all are moved, readers look into both. Items go away with their arena only, all at once: a block
 * that is dropped hides them, and a table that is begun leaves them behind.
 *
 * Blocks and large tables are mapped, not taken from malloc: what is freed goes back to the system
 * at once. */
#include "queue/index.h"
#include "common/err.h"

#include <stdlib.h>
#include <sys/mman.h>

/* --- Memory --- */

#define BLOCK_SIZE ((size_t)256 * 1024)
#define GRAIN      8 /* bytes that a reference counts */
#define PLACE_BITS 15
#define BLOCKS_MAX ((size_t)1 << (32 - PLACE_BITS)) /* 32 GB */
#define MAP_FROM   ((size_t)32 * 1024)              /* less comes from calloc */

_Static_assert(BLOCK_SIZE / GRAIN == (size_t)1 << PLACE_BITS, "a reference reaches all of a block");

/* What everything that can be retired begins with. */
struct memory {
    struct memory *next; /* among what is retired */
    size_t size;
    int64_t retired; /* as which */
    bool is_block;
};

struct oq_block {
    struct memory memory;
    struct oq_space *space;
    struct oq_block *previous; /* of its arena */
    void *owner;
    uint32_t number;
    uint32_t used;
    _Atomic(bool) dropped;
};

struct oq_space {
    struct memory *retired, **retired_end;
    _Atomic(int64_t) retired_count;
    uint32_t next; /* where the search for a free number begins */
    struct oq_block *blocks[BLOCKS_MAX];
};

static void *map_memory(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at != MAP_FAILED ? at : NULL;
}

static void *memory_new(size_t size)
{
    struct memory *memory = size < MAP_FROM ? calloc(1, size) : map_memory(size);
    if (memory != NULL)
        memory->size = size;
    return memory;
}

static void memory_free(struct memory *memory)
{
    if (memory != NULL && memory->size < MAP_FROM)
        free(memory);
    else if (memory != NULL)
        munmap(memory, memory->size);
}

static void retire_memory(struct oq_space *space, struct memory *memory)
{
    int64_t count = atomic_load_explicit(&space->retired_count, memory_order_relaxed) + 1;
    memory->retired = count;
    memory->next = NULL;
    *space->retired_end = memory;
    space->retired_end = &memory->next;
    atomic_store(&space->retired_count, count);
}

int oq_space_new(struct oq_space **ret_space)
{
    struct oq_space *space = map_memory(sizeof *space); /* pages come as they are used */
    if (space == NULL)
        return PS_E_NOMEM;
    space->retired_end = &space->retired;
    *ret_space = space;
    return 0;
}

void oq_space_free(struct oq_space *space)
{
    if (space == NULL)
        return;
    oq_space_reclaim(space, INT64_MAX);
    munmap(space, sizeof *space);
}

int64_t oq_space_retired(const struct oq_space *space)
{
    return atomic_load(&space->retired_count);
}

void oq_space_reclaim(struct oq_space *space, int64_t upto)
{
    while (space->retired != NULL && space->retired->retired <= upto) {
        struct memory *memory = space->retired;
        space->retired = memory->next;
        if (memory->is_block)
            space->blocks[((struct oq_block *)memory)->number] = NULL;
        memory_free(memory);
    }
    if (space->retired == NULL)
        space->retired_end = &space->retired;
}

static struct oq_block *block_of(const void *item)
{
    return (struct oq_block *)((uintptr_t)item & ~(uintptr_t)(BLOCK_SIZE - 1));
}

uint32_t oq_ref(const void *item)
{
    if (item == NULL)
        return 0;
    const struct oq_block *block = block_of(item);
    size_t place = (size_t)((const char *)item - (const char *)block) / GRAIN;
    return block->number << PLACE_BITS | (uint32_t)place;
}

void *oq_at(const struct oq_space *space, uint32_t ref)
{
    size_t place = ref & (((uint32_t)1 << PLACE_BITS) - 1);
    return ref != 0 ? (char *)space->blocks[ref >> PLACE_BITS] + place * GRAIN : NULL;
}

/* Mapped at a multiple of its size, so that an item's address leads to its block. */
static struct oq_block *map_block(void)
{
    char *at = map_memory(BLOCK_SIZE);
    if (at != NULL && (uintptr_t)at % BLOCK_SIZE == 0)
        return (struct oq_block *)at;
    if (at != NULL)
        munmap(at, BLOCK_SIZE);
    at = map_memory(2 * BLOCK_SIZE);
    if (at == NULL)
        return NULL;
    size_t before = (BLOCK_SIZE - (uintptr_t)at % BLOCK_SIZE) % BLOCK_SIZE;
    if (before > 0)
        munmap(at, before);
    munmap(at + before + BLOCK_SIZE, BLOCK_SIZE - before);
    return (struct oq_block *)(at + before);
}

static struct oq_block *block_new(struct oq_arena *arena)
{
    struct oq_space *space = arena->space;
    size_t tried = 0;
    for (; tried < BLOCKS_MAX && space->blocks[space->next] != NULL; tried++)
        space->next = (space->next + 1) % BLOCKS_MAX;
    struct oq_block *block = tried < BLOCKS_MAX ? map_block() : NULL;
    if (block == NULL)
        return NULL;
    block->memory = (struct memory){.size = BLOCK_SIZE, .is_block = true};
    block->space = space;
    block->previous = arena->last;
    block->owner = arena->owner;
    block->number = space->next;
    block->used = (sizeof *block + GRAIN - 1) / GRAIN * GRAIN;
    space->blocks[space->next] = block;
    return block;
}

void *oq_beside(const void *item, uint32_t ref)
{
    return oq_at(block_of(item)->space, ref);
}

/* --- Arena --- */

void *oq_arena_take(struct oq_arena *arena, size_t size)
{
    size = (size + GRAIN - 1) / GRAIN * GRAIN;
    if (size > OQ_ARENA_TAKE_MAX)
        return NULL;
    if (arena->space == NULL) {
        if (oq_space_new(&arena->space) != 0)
            return NULL;
        arena->owns_space = true;
    }
    struct oq_block *block = arena->last;
    if (block == NULL || BLOCK_SIZE - block->used < size) {
        block = block_new(arena);
        if (block == NULL)
            return NULL;
        arena->last = block;
    }
    void *memory = (char *)block + block->used;
    block->used += (uint32_t)size;
    return memory;
}

void *oq_arena_owner(const void *item)
{
    return block_of(item)->owner;
}

void oq_arena_drop(struct oq_arena *arena)
{
    for (struct oq_block *block = arena->last; block != NULL; block = block->previous)
        atomic_store_explicit(&block->dropped, true, memory_order_relaxed);
}

void oq_arena_retire(struct oq_arena *arena)
{
    for (struct oq_block *block = arena->last; block != NULL; block = block->previous)
        retire_memory(arena->space, &block->memory);
    arena->last = NULL;
}

void oq_arena_done(struct oq_arena *arena)
{
    while (arena->last != NULL) {
        struct oq_block *block = arena->last;
        arena->last = block->previous;
        arena->space->blocks[block->number] = NULL;
        memory_free(&block->memory);
    }
    if (arena->owns_space)
        oq_space_free(arena->space);
}

/* --- List --- */

#define CHUNK_FIRST ((size_t)16)

struct oq_chunk {
    struct memory memory;
    uint32_t ref[];
};

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
        if (list->chunk[i] != NULL)
            memory_free(&list->chunk[i]->memory);
}

void oq_list_retire(struct oq_list *list, struct oq_space *space)
{
    for (size_t i = 0; i < OQ_LIST_CHUNKS; i++)
        if (list->chunk[i] != NULL)
            retire_memory(space, &list->chunk[i]->memory);
}

int oq_list_reserve(struct oq_list *list)
{
    size_t offset;
    size_t chunk = chunk_of(atomic_load_explicit(&list->count, memory_order_relaxed), &offset);
    if (chunk >= OQ_LIST_CHUNKS)
        return PS_E_NOMEM;
    if (list->chunk[chunk] == NULL)
        list->chunk[chunk] =
            memory_new(sizeof(struct oq_chunk) + (CHUNK_FIRST << chunk) * sizeof(uint32_t));
    return list->chunk[chunk] != NULL ? 0 : PS_E_NOMEM;
}

void oq_list_append(struct oq_list *list, void *item)
{
    size_t offset;
    size_t count = atomic_load_explicit(&list->count, memory_order_relaxed);
    size_t chunk = chunk_of(count, &offset);
    if (count == 0)
        list->space = block_of(item)->space;
    list->chunk[chunk]->ref[offset] = oq_ref(item);
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
    return oq_at(list->space, list->chunk[chunk]->ref[offset]);
}

/* --- Index --- */

#define TABLE_FIRST ((size_t)64)
/* A table of n slots fills up after 3/4 n inserts; two slots of its predecessor (n/2) an insert
 * would do to empty that in time. */
#define MOVE_SLOTS 4
#define STEP_SLOTS ((size_t)32 * 1024) /* some 0.5 ms */

struct oq_table {
    struct memory memory;
    uint32_t mask;
    _Atomic(struct oq_table *) from; /* whose items are being moved here; NULL = all are here */
    size_t moved;                    /* slots of `from` that are done */
    _Atomic(uint64_t) slot[];        /* hash << 32 | reference; 0 = free */
};

#define TABLE_MAX (UINT64_C(1) << 31) /* slots: more than 32 bits can spread over */

static struct oq_table *table_new(size_t slots)
{
    struct oq_table *table;
    if (slots > TABLE_MAX)
        return NULL;
    table = memory_new(sizeof *table + slots * sizeof table->slot[0]);
    if (table != NULL)
        table->mask = (uint32_t)(slots - 1);
    return table;
}

static struct oq_table *table_of(const struct oq_index *index)
{
    return atomic_load_explicit(&index->table, memory_order_relaxed);
}

static struct oq_table *from_of(const struct oq_table *table)
{
    return atomic_load_explicit(&table->from, memory_order_relaxed);
}

/* The item of a slot; NULL: its arena was dropped. */
static void *item_of(const struct oq_index *index, uint64_t slot)
{
    uint32_t ref = (uint32_t)slot;
    const struct oq_block *block = index->space->blocks[ref >> PLACE_BITS];
    if (atomic_load_explicit(&block->dropped, memory_order_relaxed))
        return NULL;
    return oq_at(index->space, ref);
}

/* The item of the probe's key, or NULL; and its slot, or the free one where it belongs. */
static void *find_in(const struct oq_index *index, const struct oq_table *table, uint32_t hash,
                     const void *probe, size_t *ret_at)
{
    for (uint32_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        uint64_t here = atomic_load_explicit(&table->slot[at], memory_order_acquire);
        *ret_at = at;
        if (here == 0)
            return NULL;
        if (here >> 32 != hash)
            continue;
        void *item = item_of(index, here);
        if (item != NULL && index->same(item, probe))
            return item;
    }
}

int oq_index_init(struct oq_index *index, oq_hash_fn *hash, oq_same_fn *same)
{
    struct oq_table *table = table_new(TABLE_FIRST);
    if (table == NULL)
        return PS_E_NOMEM;
    index->hash = hash;
    index->same = same;
    index->space = NULL;
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
    struct oq_table *table = table_of(index);
    if (table == NULL)
        return;
    if (from_of(table) != NULL)
        memory_free(&from_of(table)->memory);
    memory_free(&table->memory);
}

void oq_index_retire(struct oq_index *index, struct oq_space *space)
{
    struct oq_table *table = table_of(index);
    if (from_of(table) != NULL)
        retire_memory(space, &from_of(table)->memory);
    retire_memory(space, &table->memory);
}

/* Moves the next slots of the predecessor. What has been replaced since is here already, and newer;
 * two items of one hash are told apart by their keys. */
static void move_some(struct oq_index *index, struct oq_table *table, size_t slots)
{
    struct oq_table *from = from_of(table);
    for (size_t i = 0; i < slots && table->moved <= from->mask; i++, table->moved++) {
        uint64_t slot = atomic_load_explicit(&from->slot[table->moved], memory_order_relaxed);
        void *item = slot != 0 ? item_of(index, slot) : NULL;
        size_t at;
        if (item != NULL && find_in(index, table, (uint32_t)(slot >> 32), item, &at) == NULL)
            atomic_store_explicit(&table->slot[at], slot, memory_order_release);
    }
    if (table->moved > from->mask && index->space != NULL) {
        atomic_store_explicit(&table->from, NULL, memory_order_release);
        retire_memory(index->space, &from->memory);
    }
}

/* A table of so many slots takes the place of the one in use. */
static int begin_table(struct oq_index *index, size_t slots)
{
    struct oq_table *old = table_of(index);
    if (from_of(old) != NULL)
        move_some(index, old, SIZE_MAX);
    struct oq_table *table = from_of(old) == NULL ? table_new(slots) : NULL;
    if (table == NULL)
        return PS_E_NOMEM;
    atomic_init(&table->from, old);
    atomic_store_explicit(&index->table, table, memory_order_release);
    return 0;
}

static bool is_too_small(size_t slots, size_t count)
{
    return count * 4 > slots * 3;
}

int oq_index_expect_count(struct oq_index *index, size_t count)
{
    size_t slots = (size_t)table_of(index)->mask + 1, old = slots;
    while (is_too_small(slots, count))
        slots *= 2;
    return slots > old ? begin_table(index, slots) : 0;
}

int oq_index_reserve(struct oq_index *index)
{
    struct oq_table *table = table_of(index);
    size_t slots = (size_t)table->mask + 1;
    if (is_too_small(slots, index->count + 1)) {
        int err = begin_table(index, 2 * slots);
        if (err != 0)
            return err;
        table = table_of(index);
    }
    if (from_of(table) != NULL)
        move_some(index, table, MOVE_SLOTS);
    return 0;
}

int oq_index_purge(struct oq_index *index, size_t gone)
{
    size_t slots = TABLE_FIRST;
    index->count -= gone;
    /* Room to grow by half, so that what comes meanwhile does not fill it. */
    while (is_too_small(slots, index->count + index->count / 2 + 1))
        slots *= 2;
    int err = index->space != NULL ? begin_table(index, slots) : 0;
    if (err != 0)
        index->count += gone;
    return err;
}

bool oq_index_step(struct oq_index *index)
{
    struct oq_table *table = table_of(index);
    if (from_of(table) != NULL)
        move_some(index, table, STEP_SLOTS);
    return from_of(table) != NULL;
}

/* Never 0, which together with a reference is a free slot. */
uint32_t oq_index_hash(const struct oq_index *index, const void *probe)
{
    uint32_t hash = (uint32_t)index->hash(&index->key, probe);
    return hash != 0 ? hash : 1;
}

void oq_index_put_hashed(struct oq_index *index, uint32_t hash, void *item)
{
    struct oq_table *table = table_of(index);
    struct oq_table *from = from_of(table);
    size_t at, ignored;
    if (index->space == NULL)
        index->space = block_of(item)->space;
    if (find_in(index, table, hash, item, &at) == NULL &&
        (from == NULL || find_in(index, from, hash, item, &ignored) == NULL))
        index->count++;
    atomic_store_explicit(&table->slot[at], (uint64_t)hash << 32 | oq_ref(item),
                          memory_order_release);
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
    __builtin_prefetch(&table->slot[hash & table->mask], 1);
    if (from != NULL)
        __builtin_prefetch(&from->slot[hash & from->mask]);
}

void oq_index_put(struct oq_index *index, void *item)
{
    oq_index_put_hashed(index, oq_index_hash(index, item), item);
}

void *oq_index_find(const struct oq_index *index, const void *probe)
{
    return oq_index_find_hashed(index, oq_index_hash(index, probe), probe);
}
