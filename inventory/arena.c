/* The arena. A block has at least 16 KiB, so that a new block is rarely needed; the end of a block
 * that is too small for the next piece is not used. */
#include "inventory/arena.h"

#include <assert.h>
#include <stdlib.h>

#define BLOCK_MIN ((size_t)16 * 1024)

struct inv_arena_block {
    struct inv_arena_block *next;
    char bytes[];
};

struct inv_arena_piece {
    struct inv_arena_piece *next;
};

_Static_assert(sizeof(struct inv_arena_piece) <= INV_ARENA_GRAIN, "a free piece holds its link");
_Static_assert(sizeof(struct inv_arena_block) % INV_ARENA_GRAIN == 0, "pieces are aligned");

static size_t class_of(size_t size)
{
    assert(size >= 1 && size <= INV_ARENA_MAX);
    return (size - 1) / INV_ARENA_GRAIN;
}

void inv_arena_done(struct inv_arena *arena)
{
    struct inv_arena_block *next;
    for (struct inv_arena_block *block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
}

void inv_arena_expect(struct inv_arena *arena, size_t bytes)
{
    if (arena->room >= bytes)
        return;
    if (bytes < BLOCK_MIN)
        bytes = BLOCK_MIN;
    struct inv_arena_block *block = malloc(sizeof *block + bytes);
    if (block == NULL)
        return;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->at = block->bytes;
    arena->room = bytes;
}

void *inv_arena_take(struct inv_arena *arena, size_t size)
{
    size_t class = class_of(size);
    struct inv_arena_piece *piece = arena->free[class];
    if (piece != NULL) {
        arena->free[class] = piece->next;
        return piece;
    }
    size = (class + 1) * INV_ARENA_GRAIN;
    inv_arena_expect(arena, size);
    if (arena->room < size)
        return NULL;
    void *cut = arena->at;
    arena->at += size;
    arena->room -= size;
    return cut;
}

void inv_arena_give(struct inv_arena *arena, void *piece, size_t size)
{
    size_t class = class_of(size);
    struct inv_arena_piece *back = piece;
    back->next = arena->free[class];
    arena->free[class] = back;
}
