/* Containers with one writer and any number of lock-free readers: an arena, a list and a hash
 * index. Items lie in arenas; lists and indexes lead to them by references of 4 bytes. An item is
 * never moved, so a pointer that a reader got stays good until the item's arena is dropped and the
 * readers have let go. What can fail is separate from what changes: `reserve` first, then `put` or
 * `append`, which cannot fail; so a caller out of memory has changed nothing.
 *
 * Readers may still be in memory that the writer has done with (an outgrown table, a dropped
 * arena): it is retired, and freed by oq_space_reclaim once every reader has passed a point at
 * which it holds no pointer. Without that call it stays until the whole is freed. */
#ifndef OQ_INDEX_H
#define OQ_INDEX_H

#include "common/defs.h"
#include "common/text/id.h"

#include <stdatomic.h>

/* --- Memory in numbered blocks: what a number of 32 bits leads to. --- */
struct oq_space;
int oq_space_new(struct oq_space **ret_space) PS_MUST_CHECK;
void oq_space_free(struct oq_space *space); /* after its arenas; NULL is allowed */
/* The writer's thread. 0 is none; `item` is in an arena. */
uint32_t oq_ref(const void *item);
void *oq_at(const struct oq_space *space, uint32_t ref); /* any thread; 0: NULL */
void *oq_beside(const void *item, uint32_t ref);         /* in the space of `item` */
/* Counts retired memory; 0 = none. Any thread. */
int64_t oq_space_retired(const struct oq_space *space);
/* Frees what oq_space_retired counted up to `upto`: since that call every reader has held no
 * pointer at some moment. The writer's thread. */
void oq_space_reclaim(struct oq_space *space, int64_t upto);

/* --- Memory that is given back all at once. The writer's thread only. Starts as {0}, for a space
 * of its own, or with a space and its owner, if any. --- */
struct oq_arena {
    struct oq_space *space;
    void *owner;
    struct oq_block *last;
    bool owns_space;
};
#define OQ_ARENA_TAKE_MAX ((size_t)128 * 1024)
/* Zeroed, aligned to 8 bytes; `size` up to OQ_ARENA_TAKE_MAX. NULL when out of memory. */
void *oq_arena_take(struct oq_arena *arena, size_t size);
void *oq_arena_owner(const void *item); /* of the arena in which it lies. Any thread */
/* From now on no index finds the items. Their memory remains. */
void oq_arena_drop(struct oq_arena *arena);
/* Retires the memory of a dropped arena, which is in no index any more: it is {0} with its space
 * then. */
void oq_arena_retire(struct oq_arena *arena);
void oq_arena_done(struct oq_arena *arena);

/* --- A list of items. Starts as {0}. --- */
#define OQ_LIST_CHUNKS 28
struct oq_list {
    _Atomic(size_t) count;
    struct oq_space *space;                 /* of its items */
    struct oq_chunk *chunk[OQ_LIST_CHUNKS]; /* chunk k holds 16 << k references */
};
void oq_list_done(struct oq_list *list);
/* Retires its memory. The list itself stays as it is, for readers that are in it. */
void oq_list_retire(struct oq_list *list, struct oq_space *space);
int oq_list_reserve(struct oq_list *list) PS_MUST_CHECK;    /* writer; room for one more */
void oq_list_append(struct oq_list *list, void *item);      /* writer; after a reserve */
size_t oq_list_count(const struct oq_list *list);           /* any thread */
void *oq_list_at(const struct oq_list *list, size_t index); /* any thread; NULL past the end */

/* --- A hash index. An item holds its own key; a probe is an item of which only the key is filled.
 * --- */
typedef uint64_t oq_hash_fn(const struct ps_hash_key *key, const void *item);
typedef bool oq_same_fn(const void *item, const void *probe);

struct oq_index {
    oq_hash_fn *hash;
    oq_same_fn *same;
    struct ps_hash_key key;
    struct oq_space *space; /* of its items */
    size_t count;
    _Atomic(struct oq_table *) table;
};
int oq_index_init(struct oq_index *index, oq_hash_fn *hash, oq_same_fn *same) PS_MUST_CHECK;
/* The two functions for items that begin with a struct ps_str, or with a struct ps_uuid, by which
 * they are found. */
uint64_t oq_hash_by_name(const struct ps_hash_key *key, const void *item);
bool oq_same_name(const void *item, const void *probe);
uint64_t oq_hash_by_id(const struct ps_hash_key *key, const void *item);
bool oq_same_id(const void *item, const void *probe);
void oq_index_done(struct oq_index *index); /* one of {0} is allowed */
/* Retires its memory. The index itself stays as it is, for readers that are in it. */
void oq_index_retire(struct oq_index *index, struct oq_space *space);
int oq_index_reserve(struct oq_index *index) PS_MUST_CHECK; /* writer; room for one more */
/* Writer, after a reserve. Replaces the item of the same key, if there is one. */
void oq_index_put(struct oq_index *index, void *item);
void *oq_index_find(const struct oq_index *index, const void *probe); /* any thread; NULL = none */
/* The same in parts, to find and then put: hashing is a fifth of either. */
uint32_t oq_index_hash(const struct oq_index *index, const void *probe);
void oq_index_put_hashed(struct oq_index *index, uint32_t hash, void *item);
void *oq_index_find_hashed(const struct oq_index *index, uint32_t hash, const void *probe);
/* Room for this many items at once, if many are about to come. Writer. */
int oq_index_expect_count(struct oq_index *index, size_t count) PS_MUST_CHECK;
/* Takes `gone` items of dropped arenas out: begins a table for the others. PS_E_NOMEM: they stay
 * until it grows. Writer. */
int oq_index_purge(struct oq_index *index, size_t gone) PS_MUST_CHECK;
/* Moves some thousand items to the new table. False: all are there. Writer. */
bool oq_index_step(struct oq_index *index);
/* Prefetches the memory that find and put will read. A large index is outside every cache: a caller
 * that needs several places can fetch them at the same time. */
void oq_index_expect(const struct oq_index *index, uint32_t hash);

#endif
