/* A binary min-heap in one array that is allocated once: entry i's children are 2i+1 and 2i+2, and no child is earlier than its parent. */
#include "gateway/admission/waiting.h"

#include <stdlib.h>

struct entry {
    int64_t until_ns;
    uint64_t handle;
};

struct gw_waiting {
    size_t count, capacity;
    struct entry heap[];
};

int gw_waiting_new(size_t capacity, struct gw_waiting **ret_waiting)
{
    struct gw_waiting *waiting = malloc(sizeof *waiting + capacity * sizeof waiting->heap[0]);

    if (waiting == NULL)
        return PS_E_NOMEM;
    waiting->count = 0;
    waiting->capacity = capacity;
    *ret_waiting = waiting;
    return 0;
}

void gw_waiting_free(struct gw_waiting *waiting)
{
    free(waiting);
}

int gw_waiting_put(struct gw_waiting *waiting, int64_t until_ns, uint64_t handle)
{
    struct entry *heap = waiting->heap;
    size_t at = waiting->count;

    if (at == waiting->capacity)
        return PS_E_FULL;
    waiting->count++;
    for (; at > 0 && heap[(at - 1) / 2].until_ns > until_ns; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = (struct entry){until_ns, handle};
    return 0;
}

int64_t gw_waiting_next_ns(const struct gw_waiting *waiting)
{
    return waiting->count > 0 ? waiting->heap[0].until_ns : INT64_MAX;
}

bool gw_waiting_take(struct gw_waiting *waiting, int64_t now_ns, uint64_t *ret_handle)
{
    struct entry *heap = waiting->heap, last;
    size_t at = 0, child;

    if (waiting->count == 0 || heap[0].until_ns > now_ns)
        return false;
    *ret_handle = heap[0].handle;
    last = heap[--waiting->count];
    while ((child = 2 * at + 1) < waiting->count) {
        if (child + 1 < waiting->count && heap[child + 1].until_ns < heap[child].until_ns)
            child++;
        if (heap[child].until_ns >= last.until_ns)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return true;
}

size_t gw_waiting_count(const struct gw_waiting *waiting)
{
    return waiting->count;
}
