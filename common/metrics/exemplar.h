/* Exemplars: for each bucket of a histogram one of the traces that were counted there, so that a
 * person who sees slow answers can look at one of them. One writer, any reader, no lock: a sequence
 * number is odd while the writer is at work, and a reader that sees it change takes none. */
#ifndef PS_EXEMPLAR_H
#define PS_EXEMPLAR_H

#include "common/defs.h"

#include <stdatomic.h>

#define PS_EXEMPLAR_TRACE 16 /* bytes of a trace's id */

/* All zero: none yet. */
struct ps_exemplar_cell {
    _Atomic(uint32_t) turn;
    _Atomic(uint64_t) trace[2];
    _Atomic(int64_t) value_ns;
    _Atomic(int64_t) at_ms;
};

struct ps_exemplar {
    uint8_t trace[PS_EXEMPLAR_TRACE];
    int64_t value_ns;
    int64_t at_ms; /* wall clock */
};

/* Replaces the cell's one, unless that is less than a second old: so busy buckets cost little. */
void ps_exemplar_note(struct ps_exemplar_cell *cell, const struct ps_exemplar *exemplar);
/* False: there is none, or it is just being replaced. Any thread. */
bool ps_exemplar_read(const struct ps_exemplar_cell *cell, struct ps_exemplar *ret_exemplar);

#endif
