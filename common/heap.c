/* Entry i's children are 2i+1 and 2i+2, and no child is earlier than its parent. */
#include "common/heap.h"

#include "common/grow.h"

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

    if (heap == NULL || ps_grow(&heap->entry, &heap->capacity, initial, sizeof *heap->entry) < 0) {
        free(heap);
        return PS_E_NOMEM;
    }
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

/* Moves `entry` up from the free place `at` to where it belongs. */
static void rise(struct ps_heap *heap, size_t at, struct entry entry)
{
    for (; at > 0 && heap->entry[(at - 1) / 2].at_ns > entry.at_ns; at = (at - 1) / 2)
        heap->entry[at] = heap->entry[(at - 1) / 2];
    heap->entry[at] = entry;
}

int ps_heap_put(struct ps_heap *heap, int64_t at_ns, uint64_t value)
{
    size_t at = heap->count;

    if (at == heap->max)
        return PS_E_FULL;
    if (ps_grow(&heap->entry, &heap->capacity, at + 1, sizeof *heap->entry) < 0)
        return PS_E_NOMEM;
    heap->count++;
    rise(heap, at, (struct entry){at_ns, value});
    return 0;
}

int64_t ps_heap_next_ns(const struct ps_heap *heap)
{
    return heap->count > 0 ? heap->entry[0].at_ns : INT64_MAX;
}

/* Fills the free place `at` with the last entry, which moves to where it belongs. */
static void close_gap(struct ps_heap *heap, size_t at)
{
    struct entry *entry = heap->entry, last = entry[--heap->count];
    size_t child;

    if (at == heap->count)
        return;
    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && entry[child + 1].at_ns < entry[child].at_ns)
            child++;
        if (entry[child].at_ns >= last.at_ns)
            break;
        entry[at] = entry[child];
        at = child;
    }
    rise(heap, at, last);
}

bool ps_heap_take(struct ps_heap *heap, int64_t now_ns, uint64_t *ret_value)
{
    if (heap->count == 0 || heap->entry[0].at_ns > now_ns)
        return false;
    *ret_value = heap->entry[0].value;
    close_gap(heap, 0);
    return true;
}

void ps_heap_drop(struct ps_heap *heap, uint64_t value)
{
    for (size_t at = 0; at < heap->count; at++) {
        if (heap->entry[at].value == value) {
            close_gap(heap, at);
            return;
        }
    }
}

size_t ps_heap_count(const struct ps_heap *heap)
{
    return heap->count;
}
