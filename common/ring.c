/* The bounded ring: D. Vyukov's array queue with one sequence number a cell, cut down to one
 * consumer.
 *
 * Position p lives in cell p mod capacity. A cell's sequence says whose turn it is:
 *     sequence == p                 free for the producer of position p
 *     sequence == p + 1             published, for the consumer at position p
 *     sequence == p + capacity      taken out: free for the producer of position p + capacity
 * Why it is right: (1) only the compare-and-swap of `tail` from p to p + 1 hands out position p, so
 * one producer owns the cell until it stores p + 1; (2) that store is a release and the consumer's
 * load an acquire, so the consumer sees the whole content; (3) the consumer's store of p + capacity
 * is a release that the next producer of the cell acquires, so it never overwrites what is still
 * being read; (4) a producer that sees sequence < p has met a cell that is not yet taken out since
 * the last round: the ring is full. Relaxed order suffices for `tail`, since nothing is read
 * through it but the cell's own sequence. Positions are 64 bits wide and do not wrap in practice.
 *
 * A packaged ring (Concurrency Kit 0.7) was tried: its plain volatile loads are races to the thread
 * sanitizer, and its producers spin until all earlier ones have committed. Here none waits. */
#include "common/ring.h"
#include "common/err.h"

#include <stdatomic.h>
#include <stdlib.h>

#define CAPACITY_MAX ((size_t)1 << 30)
#define FETCH_MAX    ((size_t)1024)

struct cell {
    _Atomic uint64_t sequence;
    uint64_t position; /* of the thread that has the cell between reserve and publish */
    _Alignas(max_align_t) char slot[];
};

struct ps_ring {
    PS_ALIGNED _Atomic uint64_t tail; /* next position of a producer */
    PS_ALIGNED uint64_t head;         /* next position of the consumer; only the consumer's */
    PS_ALIGNED char *cells;
    size_t mask;
    size_t stride;
};

static struct cell *cell_at(const struct ps_ring *ring, uint64_t position)
{
    return (struct cell *)(void *)(ring->cells + (position & ring->mask) * ring->stride);
}

static struct cell *cell_of(void *slot)
{
    return (struct cell *)(void *)((char *)slot - offsetof(struct cell, slot));
}

int ps_ring_new(size_t capacity, size_t slot_size, struct ps_ring **ret_ring)
{
    if (capacity > CAPACITY_MAX || slot_size == 0 || slot_size > CAPACITY_MAX)
        return PS_E_INVALID;
    size_t cells = 2;
    while (cells < capacity)
        cells *= 2;
    struct ps_ring *ring = aligned_alloc(PS_CACHE_LINE, sizeof *ring);
    if (ring == NULL)
        return PS_E_NOMEM;
    size_t stride = sizeof(struct cell) + slot_size;
    stride = (stride + PS_CACHE_LINE - 1) / PS_CACHE_LINE * PS_CACHE_LINE;
    *ring = (struct ps_ring){.mask = cells - 1, .stride = stride};
    size_t bytes;
    if (__builtin_mul_overflow(cells, stride, &bytes))
        goto fail;
    ring->cells = aligned_alloc(PS_CACHE_LINE, bytes);
    if (ring->cells == NULL)
        goto fail;
    for (uint64_t i = 0; i < cells; i++)
        atomic_init(&cell_at(ring, i)->sequence, i);
    *ret_ring = ring;
    return 0;
fail:
    ps_ring_free(ring);
    return PS_E_NOMEM;
}

void ps_ring_free(struct ps_ring *ring)
{
    if (ring == NULL)
        return;
    free(ring->cells);
    free(ring);
}

/* The ring is larger than a cache, and a cell comes back cold: the next one is fetched while this
 * one is filled and used. */
static void prefetch_cell(const struct ps_ring *ring, const struct cell *cell)
{
    size_t bytes = ring->stride < FETCH_MAX ? ring->stride : FETCH_MAX;
    for (size_t at = 0; at < bytes; at += PS_CACHE_LINE)
        __builtin_prefetch((const char *)cell + at, 1);
}

void *ps_ring_reserve(struct ps_ring *ring)
{
    uint64_t position = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (;;) {
        struct cell *cell = cell_at(ring, position);
        uint64_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
        if (sequence < position)
            return NULL;
        if (sequence > position) { /* another thread was faster: read the tail again */
            position = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&ring->tail, &position, position + 1,
                                                         memory_order_relaxed,
                                                         memory_order_relaxed)) {
            cell->position = position;
            prefetch_cell(ring, cell_at(ring, position + 1));
            return cell->slot;
        }
    }
}

void ps_ring_publish(struct ps_ring *ring, void *slot)
{
    (void)ring;
    struct cell *cell = cell_of(slot);
    atomic_store_explicit(&cell->sequence, cell->position + 1, memory_order_release);
}

void *ps_ring_front(struct ps_ring *ring)
{
    return ps_ring_at(ring, 0);
}

void *ps_ring_at(struct ps_ring *ring, size_t ahead)
{
    uint64_t position = ring->head + ahead;
    struct cell *cell = cell_at(ring, position);
    if (atomic_load_explicit(&cell->sequence, memory_order_acquire) != position + 1)
        return NULL;
    return cell->slot;
}

void ps_ring_pop(struct ps_ring *ring)
{
    atomic_store_explicit(&cell_at(ring, ring->head)->sequence, ring->head + ring->mask + 1,
                          memory_order_release);
    ring->head++;
}

size_t ps_ring_capacity(const struct ps_ring *ring)
{
    return ring->mask + 1;
}
