/* See exemplar.h. All members are atomics, so that a torn read is one of whole words, which the
 * sequence number reveals. */
#include "common/metrics/exemplar.h"

#include <string.h>

#define KEPT_MS 1000

void ps_exemplar_note(struct ps_exemplar_cell *cell, const struct ps_exemplar *exemplar)
{
    uint32_t turn = atomic_load_explicit(&cell->turn, memory_order_relaxed);
    int64_t age_ms = exemplar->at_ms - atomic_load_explicit(&cell->at_ms, memory_order_relaxed);
    uint64_t trace[2];

    if (turn > 0 && age_ms >= 0 && age_ms < KEPT_MS)
        return;
    memcpy(trace, exemplar->trace, sizeof trace);
    atomic_store_explicit(&cell->turn, turn + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < PS_ARRAY_LEN(trace); i++)
        atomic_store_explicit(&cell->trace[i], trace[i], memory_order_relaxed);
    atomic_store_explicit(&cell->value_ns, exemplar->value_ns, memory_order_relaxed);
    atomic_store_explicit(&cell->at_ms, exemplar->at_ms, memory_order_relaxed);
    atomic_store_explicit(&cell->turn, turn + 2, memory_order_release);
}

bool ps_exemplar_read(const struct ps_exemplar_cell *cell, struct ps_exemplar *ret_exemplar)
{
    uint32_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
    struct ps_exemplar exemplar;
    uint64_t trace[2];

    if (turn == 0 || turn % 2 != 0)
        return false;
    for (size_t i = 0; i < PS_ARRAY_LEN(trace); i++)
        trace[i] = atomic_load_explicit(&cell->trace[i], memory_order_relaxed);
    exemplar.value_ns = atomic_load_explicit(&cell->value_ns, memory_order_relaxed);
    exemplar.at_ms = atomic_load_explicit(&cell->at_ms, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&cell->turn, memory_order_relaxed) != turn)
        return false;
    memcpy(exemplar.trace, trace, sizeof exemplar.trace);
    *ret_exemplar = exemplar;
    return true;
}
