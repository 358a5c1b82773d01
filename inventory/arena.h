/* Memory for small records of many sizes, without a malloc for each: blocks that are cut up in
 * order, and for each size a list of the pieces that were returned. Nothing returns to the system
 * before the whole is freed. The caller locks. */
#ifndef INV_ARENA_H
#define INV_ARENA_H

#include "common/defs.h"

#define INV_ARENA_GRAIN   8   /* sizes are rounded up to this; pieces are aligned to it */
#define INV_ARENA_MAX     256 /* largest piece */
#define INV_ARENA_CLASSES (INV_ARENA_MAX / INV_ARENA_GRAIN)

struct inv_arena_block;
struct inv_arena_piece;

/* Starts as {0}. */
struct inv_arena {
    struct inv_arena_block *blocks;
    char *at;    /* the unused rest of the newest block: */
    size_t room; /* its bytes */
    struct inv_arena_piece *free[INV_ARENA_CLASSES];
};

void inv_arena_done(struct inv_arena *arena);
/* Gets the next `bytes` in one piece, if there is memory for it; pages are touched only when
 * used. */
void inv_arena_expect(struct inv_arena *arena, size_t bytes);
/* 1 <= size <= INV_ARENA_MAX. Not zeroed. NULL when out of memory. */
void *inv_arena_take(struct inv_arena *arena, size_t size);
void inv_arena_give(struct inv_arena *arena, void *piece, size_t size); /* the size as taken */

#endif
