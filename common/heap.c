/* Entry i's children are 2i+1 and 2i+2, and no child is earlier than its parent. */
#include "common/heap.h"

#include <stdlib.h>

struct entry {
    int64_t at_ns;
    uint64_t value;
};

struct ps_heap {
    size_t count, capacity, max;
    struct entry *entry;
};

int ps_heap_new(size_t initial, size_t max, struct ps_heap **ret_heap)
{
    struct ps_heap *heap = calloc(1, sizeof *heap);

    if (heap == NULL)
        return PS_E_NOMEM;
    heap->entry = malloc((initial ? initial : 1) * sizeof *heap->entry);
    if (heap->entry == NULL) {
        free(heap);
        return PS_E_NOMEM;
    }
    heap->capacity = initial;
    heap->max = max;
    *ret_heap = heap;
    return 0;
}

void ps_heap_free(struct ps_heap *heap)
{
    if (heap == NULL)
        return;
    free(heap->entry);
    free(heap);
}

static int grow(struct ps_heap *heap)
{
    size_t capacity = heap->capacity < 8 ? 16 : heap->capacity * 2;
    struct entry *more;

    if (heap->capacity >= heap->max)
        return PS_E_FULL;
    if (capacity > heap->max)
        capacity = heap->max;
    more = realloc(heap->entry, capacity * sizeof *more);
    if (more == NULL)
        return PS_E_NOMEM;
    heap->entry = more;
    heap->capacity = capacity;
    return 0;
}

int ps_heap_put(struct ps_heap *heap, int64_t at_ns, uint64_t value)
{
    size_t at = heap->count;

    if (at == heap->capacity) {
        int err = grow(heap);
        if (err < 0)
            return err;
    }
    heap->count++;
    for (; at > 0 && heap->entry[(at - 1) / 2].at_ns > at_ns; at = (at - 1) / 2)
        heap->entry[at] = heap->entry[(at - 1) / 2];
    heap->entry[at] = (struct entry){at_ns, value};
    return 0;
}

int64_t ps_heap_next_ns(const struct ps_heap *heap)
{
    return heap->count > 0 ? heap->entry[0].at_ns : INT64_MAX;
}

bool ps_heap_take(struct ps_heap *heap, int64_t now_ns, uint64_t *ret_value)
{
    struct entry *entry = heap->entry, last;
    size_t at = 0, child;

    if (heap->count == 0 || entry[0].at_ns > now_ns)
        return false;
    *ret_value = entry[0].value;
    last = entry[--heap->count];
    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && entry[child + 1].at_ns < entry[child].at_ns)
            child++;
        if (entry[child].at_ns >= last.at_ns)
            break;
        entry[at] = entry[child];
        at = child;
    }
    entry[at] = last;
    return true;
}

size_t ps_heap_count(const struct ps_heap *heap)
{
    return heap->count;
}
