/* The kind `caches`: memory for answers of the shop, over all workers together.
 *
 *   {"bytes":67108864,"object_bytes_max":1048576,"eviction":"lru"}
 *
 * What is left out has the values shown. `eviction`: lru, lfu (W-TinyLFU), random. */
#ifndef CFG_CACHE_DOC_H
#define CFG_CACHE_DOC_H

#include "gateway/config/document.h"

enum cfg_eviction { CFG_EVICTION_LRU, CFG_EVICTION_LFU, CFG_EVICTION_RANDOM, CFG_EVICTION_COUNT };
extern const char *const cfg_eviction_names[CFG_EVICTION_COUNT + 1]; /* NULL-terminated */

struct cfg_cache {
    char name[PS_NAME_MAX + 1];
    int64_t bytes;            /* 1 MiB .. 64 GiB */
    int64_t object_bytes_max; /* at most `bytes` / 8 */
    enum cfg_eviction eviction;
};

static inline const struct cfg_cache *cfg_cache_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
