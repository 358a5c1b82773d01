/* Containers with one writer and any number of lock-free readers, for data that only grows: an
 * arena, a list and a hash index. Nothing in them is ever moved or freed before the whole, so a
 * pointer that a reader got stays good. What can fail is separate from what changes: `reserve`
 * first, then `put` or `append`, which cannot fail; so a caller out of memory has changed nothing.
 */
#ifndef OQ_INDEX_H
#define OQ_INDEX_H

#include "common/defs.h"
#include "common/id.h"

#include <stdatomic.h>

/* --- Memory that is given back all at once. The writer's thread only. Starts as {0}. --- */
struct oq_arena {
    struct oq_arena_block *last;
};
/* Zeroed, aligned to 8 bytes. NULL when out of memory. */
void *oq_arena_take(struct oq_arena *arena, size_t size);
void oq_arena_done(struct oq_arena *arena);

/* --- A list of pointers. Starts as {0}. --- */
#define OQ_LIST_CHUNKS 28
struct oq_list {
    _Atomic(size_t) count;
    void **chunk[OQ_LIST_CHUNKS]; /* chunk k holds 16 << k pointers */
};
void oq_list_done(struct oq_list *list);
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
void oq_index_done(struct oq_index *index);                 /* one of {0} is allowed */
int oq_index_reserve(struct oq_index *index) PS_MUST_CHECK; /* writer; room for one more */
/* Writer, after a reserve. Takes the place of the item of the same key, if there is one. */
void oq_index_put(struct oq_index *index, void *item);
void *oq_index_find(const struct oq_index *index, const void *probe); /* any thread; NULL = none */
/* The same in parts, to find and then put: hashing is a fifth of either. */
uint32_t oq_index_hash(const struct oq_index *index, const void *probe);
void oq_index_put_hashed(struct oq_index *index, uint32_t hash, void *item);
void *oq_index_find_hashed(const struct oq_index *index, uint32_t hash, const void *probe);
/* Begins to fetch from memory what find and put will look at. A large index lies outside of every
 * cache: who needs several places lets them come at the same time. */
void oq_index_expect(const struct oq_index *index, uint32_t hash);

#endif
