/* A board: one thread writes a small struct there, any thread reads a complete copy of the last
 * write. Nobody locks; a reader that meets a write in progress reads again.
 *
 * A sequence lock without fences, in the form that C11's memory model allows: Boehm, "Can seqlocks
 * get along with programming language memory models?" (2012). */
#ifndef PS_BOARD_H
#define PS_BOARD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PS_BOARD_WORDS 64
#define PS_BOARD_BYTES (PS_BOARD_WORDS * sizeof(uint64_t))

/* All zero: a struct of zeros was written. */
struct ps_board {
    _Atomic uint32_t turn; /* odd during a write */
    _Atomic uint64_t word[PS_BOARD_WORDS];
};

/* `size`: at most PS_BOARD_BYTES, always the same. The writer's thread. */
void ps_board_write(struct ps_board *board, const void *at, size_t size);
/* Any thread. */
void ps_board_read(const struct ps_board *board, void *ret, size_t size);

#endif
