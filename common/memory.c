/* Large memory. A pool uses its beginning most, so that must lie in a huge page too. */
#include "common/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 * 1024 * 1024)

void ps_memory_huge(void *memory, size_t bytes)
{
    size_t before = -(size_t)(uintptr_t)memory % HUGE_PAGE;
    if (bytes >= before + HUGE_PAGE) /* works without */
        (void)madvise((char *)memory + before, (bytes - before) / HUGE_PAGE * HUGE_PAGE,
                      MADV_HUGEPAGE);
}

void *ps_memory_take(size_t bytes)
{
    size_t unit = bytes < HUGE_PAGE ? PS_CACHE_LINE : HUGE_PAGE;
    if (bytes > SIZE_MAX - unit)
        return NULL;
    bytes = (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, bytes);
    if (memory != NULL)
        ps_memory_huge(memory, bytes);
    return memory;
}
