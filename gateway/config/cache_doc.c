/* See cache_doc.h. */
#include "gateway/config/cache_doc.h"

#include "gateway/config/part.h"
#include "gateway/config/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHES_MAX 16
#define BYTES_MIN  (INT64_C(1) << 20)
#define BYTES_MAX  (INT64_C(64) << 30)
#define OBJECT_MIN 1024

const char *const cfg_eviction_names[CFG_EVICTION_COUNT + 1] = {"lru", "lfu", "random", NULL};

static int cache_parse(const char *name, const json_t *json, const json_t *state,
                       const struct cfg_reading *reading, void **ret_parsed,
                       struct ps_faults *faults)
{
    struct cfg_cache *cache = calloc(1, sizeof *cache);
    int eviction = CFG_EVICTION_LRU;
    struct cfg_reading_state of;
    struct cfg_part part;

    (void)state;
    if (cache == NULL)
        return PS_E_NOMEM;
    (void)snprintf(cache->name, sizeof cache->name, "%s", name);
    cache->bytes = INT64_C(64) << 20;
    cache->object_bytes_max = INT64_C(1) << 20;
    cfg_part_begin(&part, json, reading, faults, &of);
    ps_json_int(&part.json, "bytes", BYTES_MIN, BYTES_MAX, &cache->bytes);
    if (!ps_json_has(&part.json, "object_bytes_max") && cache->object_bytes_max > cache->bytes / 8)
        cache->object_bytes_max = cache->bytes / 8;
    ps_json_int(&part.json, "object_bytes_max", OBJECT_MIN, BYTES_MAX, &cache->object_bytes_max);
    if (cache->object_bytes_max > cache->bytes / 8)
        ps_json_fault(&part.json, "object_bytes_max", "must be at most an eighth of bytes: %lld",
                      (long long)(cache->bytes / 8));
    ps_json_enum(&part.json, "eviction", cfg_eviction_names, &eviction);
    cache->eviction = (enum cfg_eviction)eviction;
    int err = cfg_part_end(&part);
    if (err < 0)
        free(cache);
    else
        *ret_parsed = cache;
    return err;
}

static json_t *cache_write(const void *parsed)
{
    const struct cfg_cache *cache = parsed;

    return json_pack("{s:I, s:I, s:s}", "bytes", (json_int_t)cache->bytes, "object_bytes_max",
                     (json_int_t)cache->object_bytes_max, "eviction",
                     cfg_eviction_names[cache->eviction]);
}

const struct cfg_kind cfg_kind_cache = {
    .path = "caches",
    .word = "cache",
    .name_rule = "a cache's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "caches",
    .lists_names = true,
    .put = "cache.put",
    .drop = "cache.delete",
    .max = CACHES_MAX,
    .shipped = (const struct cfg_shipped[]){{"default", "{}"}, {NULL, NULL}},
    .name = cfg_plain_name,
    .parse = cache_parse,
    .free = free,
    .write = cache_write,
    .publish = cfg_publish_pages,
};
