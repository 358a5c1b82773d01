/* The fixed pool: one block of slots, a stack of free indices (the slot given back last is taken
 * next, while it is still in the cache) and a generation for each slot.
 * A generation is odd while its slot is taken and even while it is free, and counts both changes; a
 * handle is (generation << 32 | index). So a handle is never 0, one of a free slot never matches,
 * and a stale one could match only after 2^31 further takes of the same slot. */
#include "common/pool.h"
#include "common/err.h"

#include <assert.h>
#include <stdlib.h>

struct ps_pool {
    char *slots;
    size_t stride; /* whole cache lines, so that neighbours do not share one */
    uint32_t *free;
    uint32_t *generation;
    uint32_t count;
    uint32_t free_count;
};

int ps_pool_new(size_t count, size_t slot_size, struct ps_pool **ret_pool)
{
    if (count == 0 || count > UINT32_MAX || slot_size == 0 || slot_size > UINT32_MAX)
        return PS_E_INVALID;
    struct ps_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return PS_E_NOMEM;
    size_t bytes;
    pool->stride = (slot_size + PS_CACHE_LINE - 1) / PS_CACHE_LINE * PS_CACHE_LINE;
    if (__builtin_mul_overflow(count, pool->stride, &bytes))
        goto fail;
    pool->count = pool->free_count = (uint32_t)count;
    pool->slots = aligned_alloc(PS_CACHE_LINE, bytes);
    pool->free = calloc(count, sizeof *pool->free);
    pool->generation = calloc(count, sizeof *pool->generation);
    if (pool->slots == NULL || pool->free == NULL || pool->generation == NULL)
        goto fail;
    for (uint32_t i = 0; i < pool->count; i++)
        pool->free[i] = pool->count - 1 - i;
    *ret_pool = pool;
    return 0;
fail:
    ps_pool_free(pool);
    return PS_E_NOMEM;
}

void ps_pool_free(struct ps_pool *pool)
{
    if (pool == NULL)
        return;
    free(pool->generation);
    free(pool->free);
    free(pool->slots);
    free(pool);
}

static uint32_t index_of(const struct ps_pool *pool, const void *slot)
{
    size_t offset = (size_t)((const char *)slot - pool->slots);
    assert(offset % pool->stride == 0 && offset / pool->stride < pool->count);
    return (uint32_t)(offset / pool->stride);
}

void *ps_pool_take(struct ps_pool *pool)
{
    if (pool->free_count == 0)
        return NULL;
    uint32_t index = pool->free[--pool->free_count];
    pool->generation[index]++;
    return pool->slots + index * pool->stride;
}

void ps_pool_give(struct ps_pool *pool, void *slot)
{
    uint32_t index = index_of(pool, slot);
    assert(pool->generation[index] % 2 == 1);
    pool->generation[index]++;
    pool->free[pool->free_count++] = index;
}

uint64_t ps_pool_handle(const struct ps_pool *pool, const void *slot)
{
    uint32_t index = index_of(pool, slot);
    assert(pool->generation[index] % 2 == 1);
    return (uint64_t)pool->generation[index] << 32 | index;
}

void *ps_pool_find(const struct ps_pool *pool, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    uint32_t generation = (uint32_t)(handle >> 32);
    if (index >= pool->count || generation % 2 == 0 || pool->generation[index] != generation)
        return NULL;
    return pool->slots + index * pool->stride;
}

size_t ps_pool_used(const struct ps_pool *pool)
{
    return pool->count - pool->free_count;
}
