/* A fixed pool of equal slots, each with a generation, so that another thread can name a slot by a
 * handle and a stale handle is recognised. Start-up allocates once; take and give are a few
 * instructions. One thread. */
#ifndef PS_POOL_H
#define PS_POOL_H

#include "common/defs.h"

struct ps_pool;

int ps_pool_new(size_t count, size_t slot_size, struct ps_pool **ret_pool) PS_MUST_CHECK;
void ps_pool_free(struct ps_pool *pool); /* NULL is allowed */
/* A slot (not zeroed), or NULL when none is left. */
void *ps_pool_take(struct ps_pool *pool);
void ps_pool_give(struct ps_pool *pool, void *slot);
/* Never 0. Valid until the slot is given back. */
uint64_t ps_pool_handle(const struct ps_pool *pool, const void *slot);
/* NULL when the handle is stale or foreign. */
void *ps_pool_find(const struct ps_pool *pool, uint64_t handle);
size_t ps_pool_used(const struct ps_pool *pool);

#endif
