/* The kind `caches`: memory for answers of the shop, over all workers together.
 *
 *   {"bytes":67108864,"object_bytes_max":1048576,"eviction":"lru"}
 *
 * A member that is absent has the value shown. `eviction`: lru, lfu (W-TinyLFU), random.
 *
 * Its state holds the last purges, numbered, so that every gateway applies each of them once:
 *
 *   {"purges":[{"number":1,"key":"/p/1?id=2"},{"number":2,"tag":"shoes"}]} */
#ifndef CFG_CACHE_DOC_H
#define CFG_CACHE_DOC_H

#include "gateway/config/store/document.h"

enum cfg_eviction { CFG_EVICTION_LRU, CFG_EVICTION_LFU, CFG_EVICTION_RANDOM, CFG_EVICTION_COUNT };

#define CFG_PURGES_KEPT 32 /* a gateway that missed one empties the cache */
#define CFG_PURGE_MAX   4096

enum cfg_purge_by { CFG_PURGE_KEY, CFG_PURGE_PREFIX, CFG_PURGE_TAG };
extern const char *const cfg_purge_names[]; /* NULL-terminated */
struct cfg_purge {
    int64_t number; /* 1 and up, per cache */
    enum cfg_purge_by by;
    char *text;
};

struct cfg_cache {
    char name[PS_NAME_MAX + 1];
    int64_t bytes;            /* 1 MiB .. 64 GiB */
    int64_t object_bytes_max; /* at most `bytes` / 8 */
    enum cfg_eviction eviction;
    size_t purge_count;
    struct cfg_purge purges[CFG_PURGES_KEPT]; /* the oldest first */
};

static inline const struct cfg_cache *cfg_cache_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#define CFG_PURGE_TEXT_SIZE (3 * CFG_PURGE_MAX)
/* Reads the body of POST …/purge: one of key, prefix and tag. The text lies in the JSON, or, in the
 * one spelling of common/http/address.h, in `text`. PS_E_INVALID: all faults are added. */
int cfg_purge_ask(const json_t *json, char text[CFG_PURGE_TEXT_SIZE], enum cfg_purge_by *ret_by,
                  struct ps_str *ret_text, struct ps_faults *faults) PS_MUST_CHECK;
/* The state of a cache with one more purge. Owner: the caller. NULL: out of memory. */
json_t *cfg_purge_state(const struct cfg_cache *cache, enum cfg_purge_by by, struct ps_str text);

#endif
