/* See board.h. Each word is stored with release and loaded with acquire: so a reader that sees a
 * word of a later turn also sees, after it, that the turn has changed. */
#include "common/board.h"

#include <assert.h>
#include <sched.h>
#include <string.h>

static size_t words_of(size_t size)
{
    return (size + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

void ps_board_write(struct ps_board *board, const void *at, size_t size)
{
    uint32_t turn = atomic_load_explicit(&board->turn, memory_order_relaxed);
    uint64_t copy[PS_BOARD_WORDS] = {0};

    assert(size <= sizeof copy);
    memcpy(copy, at, size);
    atomic_store_explicit(&board->turn, turn + 1, memory_order_relaxed);
    for (size_t i = 0; i < words_of(size); i++)
        atomic_store_explicit(&board->word[i], copy[i], memory_order_release);
    atomic_store_explicit(&board->turn, turn + 2, memory_order_release);
}

void ps_board_read(const struct ps_board *board, void *ret, size_t size)
{
    uint64_t copy[PS_BOARD_WORDS];
    uint32_t turn;

    assert(size <= sizeof copy);
    for (;;) {
        turn = atomic_load_explicit(&board->turn, memory_order_acquire);
        for (size_t i = 0; i < words_of(size); i++)
            copy[i] = atomic_load_explicit(&board->word[i], memory_order_acquire);
        if (turn % 2 == 0 && atomic_load_explicit(&board->turn, memory_order_relaxed) == turn)
            break;
        sched_yield(); /* the writer may have been interrupted */
    }
    memcpy(ret, copy, size);
}
