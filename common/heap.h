/* A binary min-heap of (moment, value): what is due next. Grows up to a bound; if created at its
 * bound, it never allocates again. One thread. */
#ifndef PS_HEAP_H
#define PS_HEAP_H

#include "common/err.h"

struct ps_heap;

/* Room for `initial` entries at once, for `max` after growing. */
int ps_heap_new(size_t initial, size_t max, struct ps_heap **ret_heap) PS_MUST_CHECK;
void ps_heap_free(struct ps_heap *heap); /* NULL is allowed */
/* PS_E_FULL at the bound; PS_E_NOMEM. */
int ps_heap_put(struct ps_heap *heap, int64_t at_ns, uint64_t value) PS_MUST_CHECK;
/* The earliest moment, or INT64_MAX when empty. */
int64_t ps_heap_next_ns(const struct ps_heap *heap);
/* Takes out the earliest entry if its moment has come. */
bool ps_heap_take(struct ps_heap *heap, int64_t now_ns, uint64_t *ret_value);
/* Takes out an entry of this value, if there is one; looks at all. */
void ps_heap_drop(struct ps_heap *heap, uint64_t value);
size_t ps_heap_count(const struct ps_heap *heap);

#endif
