/* Memory for large tables that are used all over: huge pages take fewer misses of the address
 * cache. */
#ifndef PS_MEMORY_H
#define PS_MEMORY_H

#include "common/defs.h"

/* Asks the kernel for huge pages (2 MiB) for what lies in this memory. It may not have any. What is
 * never touched stays untouched, in steps of a page. */
void ps_memory_huge(void *memory, size_t bytes);
/* Not zeroed, on a cache line, in huge pages from its beginning when it is large enough; given back
 * by free(). NULL: none left. */
void *ps_memory_take(size_t bytes);

#endif
