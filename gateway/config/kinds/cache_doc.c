/* See cache_doc.h. */
#include "gateway/config/kinds/cache_doc.h"

#include "common/http/address.h"
#include "common/http/head.h"
#include "common/text/charset.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHES_MAX 16
#define BYTES_MIN  (INT64_C(1) << 20)
#define BYTES_MAX  (INT64_C(64) << 30)
#define OBJECT_MIN 1024

static const char *const eviction_names[CFG_EVICTION_COUNT + 1] = {"lru", "lfu", "random", NULL};

const char *const cfg_purge_names[] = {"key", "prefix", "tag", NULL};

/* --- Purges. --- */

static void free_cache(void *parsed)
{
    struct cfg_cache *cache = parsed;

    for (size_t i = 0; cache != NULL && i < cache->purge_count; i++)
        free(cache->purges[i].text);
    free(cache);
}

/* One of key, prefix and tag. */
static void read_purge(struct ps_json_reader *reader, enum cfg_purge_by *ret_by,
                       struct ps_str *ret_text)
{
    int count = 0;

    for (int i = 0; cfg_purge_names[i] != NULL; i++) {
        if (!ps_json_has(reader, cfg_purge_names[i]))
            continue;
        *ret_by = (enum cfg_purge_by)i;
        ps_json_string(reader, cfg_purge_names[i], CFG_PURGE_MAX, ret_text);
        count++;
    }
    if (count != 1)
        ps_json_fault(reader, "", "must have one of key, prefix and tag");
}

/* "shop.example/灯?a=1", with or without the host: as keys have it. False: it is no address. */
static bool put_address(struct ps_buf *buf, struct ps_str text, enum cfg_purge_by by)
{
    const char *slash = memchr(text.at, '/', text.len);
    size_t host_len = slash != NULL ? (size_t)(slash - text.at) : text.len;
    struct ps_str host = {text.at, host_len}, rest = {text.at + host_len, text.len - host_len};

    if ((slash == NULL && by == CFG_PURGE_KEY) || ps_has_control(text.at, text.len) ||
        memchr(text.at, '#', text.len) != NULL)
        return false;
    if (host_len > 0 && (!ps_http_is_authority(host) || host.at[host_len - 1] == ':'))
        return false; /* "https://…", too: a purge is of both schemes */
    ps_http_put_authority(buf, host, NULL);
    return ps_http_put_normal(buf, rest);
}

int cfg_purge_ask(const json_t *json, char text[CFG_PURGE_TEXT_SIZE], enum cfg_purge_by *ret_by,
                  struct ps_str *ret_text, struct ps_faults *faults)
{
    struct ps_json_reader reader;
    struct ps_buf buf;

    ps_json_reader_init_all(&reader, json, "", faults);
    read_purge(&reader, ret_by, ret_text);
    if (faults->count == 0 && ret_text->len == 0)
        ps_json_fault(&reader, cfg_purge_names[*ret_by], "must not be empty");
    ps_buf_init(&buf, text, CFG_PURGE_TEXT_SIZE);
    if (faults->count == 0 && *ret_by != CFG_PURGE_TAG) {
        if (!put_address(&buf, *ret_text, *ret_by))
            ps_json_fault(&reader, cfg_purge_names[*ret_by],
                          "must be a path, or a host and a path, such as /p/1 or shop.example/p/1");
        *ret_text = (struct ps_str){buf.at, buf.len};
    }
    (void)ps_json_has(&reader, "reason");
    return ps_json_done(&reader);
}

static json_t *purge_json(int64_t number, enum cfg_purge_by by, struct ps_str text)
{
    return json_pack("{s:I, s:s%}", "number", (json_int_t)number, cfg_purge_names[by], text.at,
                     text.len);
}

json_t *cfg_purge_state(const struct cfg_cache *cache, enum cfg_purge_by by, struct ps_str text)
{
    size_t count = cache->purge_count, first = count == CFG_PURGES_KEPT;
    int64_t last = count > 0 ? cache->purges[count - 1].number : 0;
    json_t *list = json_array();
    int err = 0;

    for (size_t i = first; err == 0 && i < count; i++) {
        const struct cfg_purge *purge = &cache->purges[i];
        struct ps_str is = {purge->text, strlen(purge->text)};
        err = json_array_append_new(list, purge_json(purge->number, purge->by, is));
    }
    if (err == 0)
        err = json_array_append_new(list, purge_json(last + 1, by, text));
    return json_pack("{s:o}", "purges", ps_json_built(list, err));
}

static int read_purges(void *parsed, const json_t *state, struct ps_faults *faults)
{
    struct cfg_cache *cache = parsed;
    const json_t *list = json_object_get(state, "purges"), *json;
    size_t i;

    if (json_array_size(list) > CFG_PURGES_KEPT)
        return ps_faults_add(faults, PS_E_INVALID, "/purges", "too many");
    json_array_foreach(list, i, json)
    {
        struct cfg_purge *purge = &cache->purges[i];
        struct ps_json_reader reader;
        struct ps_str text = {"", 0};
        ps_json_reader_init_all(&reader, json, "/purges", faults);
        ps_json_int(&reader, "number", 1, PS_INT_MAX, &purge->number);
        read_purge(&reader, &purge->by, &text);
        int err = ps_json_done(&reader);
        if (err < 0)
            return err;
        purge->text = strndup(text.at, text.len);
        if (purge->text == NULL)
            return PS_E_NOMEM;
        cache->purge_count++;
    }
    return 0;
}

/* --- The document. --- */

static void check_cache(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_cache *cache = object;

    (void)snprintf(cache->name, sizeof cache->name, "%s", reading->name);
    if (!ps_table_has(at, "object_bytes_max") && cache->object_bytes_max > cache->bytes / 8)
        cache->object_bytes_max = cache->bytes / 8;
    if (cache->object_bytes_max > cache->bytes / 8)
        ps_table_fault(at, "object_bytes_max", "must be at most an eighth of bytes: %lld",
                       (long long)(cache->bytes / 8));
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_cache, field)
static const struct ps_member members[] = {
    {"bytes", PS_M_INT, AT(bytes), .min = BYTES_MIN, .max = BYTES_MAX, .unit = {"bytes", "字节"}, .fallback = "67108864", .text = {"Memory for answers, over all workers together", "应答占用的内存，所有 worker 合计"}},
    {"object_bytes_max", PS_M_INT, AT(object_bytes_max), .min = OBJECT_MIN, .max = BYTES_MAX, .unit = {"bytes", "字节"}, .fallback = "1048576", .text = {"The largest answer that is kept; at most an eighth of bytes. Default: 1 MiB, or an eighth of bytes if that is less", "可缓存的最大应答；不超过 bytes 的八分之一，省略时亦然"}},
    {"eviction", PS_M_ENUM, AT(eviction), .words = eviction_names, .fallback = "\"lru\"", .text = {"What is removed when the cache is full: the least recently used (lru), the least often used (lfu, W-TinyLFU), any (random)", "淘汰算法：最近最少使用、最不常用（W-TinyLFU）、随机"}},
    {"live", PS_M_FREE, .flags = PS_M_MEASURED, .text = {"What the cache holds, and its hits", "当前内容与命中情况"}},
};
/* clang-format on */
static const struct ps_table table = {.title = "cache",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_cache),
                                      .check = check_cache};

const struct cfg_kind cfg_kind_cache = {
    .path = "caches",
    .id = "cache",
    .word = "cache",
    .name_rule = "a cache's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "caches",
    .lists_names = true,
    .put = "cache.put",
    .drop = "cache.delete",
    .max = CACHES_MAX,
    .initial_state = "{\"purges\":[]}",
    .shipped = (const struct cfg_shipped[]){{"default", "{}"}, {NULL, NULL}},
    .name = cfg_plain_name,
    .table = &table,
    .read_state = read_purges,
    .free = free_cache,
    .makes_up_table = true,
};
