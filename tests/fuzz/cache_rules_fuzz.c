/* A request's head and the head of its answer behind it, as the cache sees them. */
#include "fuzz.h"
#include "gateway/cache/directives.h"
#include "gateway/cache/fields.h"
#include "gateway/cache/key.h"

#include <string.h>

static const struct ps_http_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};
static const struct cfg_route_cache route = {.default_ttl_s = 5, .stale_if_error_s = 7};
static const struct cache_moments moments = {1000, 2000, INT64_C(1790000000000)};

static void check_keys(const struct ps_http_head *head, const char *data,
                       struct cache_message answer)
{
    char text[CACHE_KEY_MAX], twice[CACHE_KEY_MAX];
    struct ps_buf key, again;
    struct ps_str path = ps_http_text(data, head->path), query = ps_http_text(data, head->query);
    ps_buf_init(&key, text, sizeof text);
    ps_buf_init(&again, twice, sizeof twice);
    if (cache_query_put(&route, query, &key)) { /* what is sorted stays as it is */
        MUST(cache_query_put(&route, (struct ps_str){text, key.len}, &again));
        MUST(key.len == again.len && memcmp(text, twice, key.len) == 0);
    }
    struct ps_str named = cache_field(answer, "Location");
    ps_buf_init(&key, text, sizeof text);
    if (named.at != NULL &&
        cache_key_put_named(&route, ps_http_text(data, head->host), path, named, &key))
        MUST(key.len > 0 && key.len <= CACHE_KEY_MAX);
}

static void check_fields(struct cache_message answer)
{
    static char text[16384], merged[32768];
    struct ps_buf fields, more;
    ps_buf_init(&fields, text, sizeof text);
    ps_buf_init(&more, merged, sizeof merged);
    cache_fields_put(answer, moments.wall_ms, &fields);
    MUST(!fields.overflow);
    struct ps_str lines = {text, fields.len};
    MUST(cache_fields_find(lines, "Date").at != NULL);
    MUST(cache_fields_find(lines, "Connection").at == NULL &&
         cache_fields_find(lines, "Transfer-Encoding").at == NULL &&
         cache_fields_find(lines, "Age").at == NULL);
    cache_fields_merge(lines, answer, moments.wall_ms, &more);
    MUST(!more.overflow);
    MUST(cache_fields_find((struct ps_str){merged, more.len}, "Date").at != NULL);
}

static void check_answer(const struct cache_asked *asked, struct cache_message answer)
{
    struct cache_kept kept;
    uint64_t first, len;
    enum cache_store store = cache_kept_read(asked, answer, &route, &moments, &kept);
    MUST(kept.lifetime_ms >= 0 && kept.lifetime_ms <= INT64_MAX / 4);
    MUST(cache_kept_age_ms(&kept, 2000) >= 0);
    MUST(store != CACHE_STORE_stored || (asked->is_get && kept.status >= 200));
    MUST(!kept.always_ask || cache_kept_use(&kept, asked, &route, 2000) == CACHE_USE_ASK);
    MUST(!kept.never_stale || !cache_kept_if_error(&kept, 2000 + kept.lifetime_ms));
    for (uint64_t body = 0; body < 20; body += 10) {
        enum cache_part part =
            cache_part_of(asked, &kept, cache_field(answer, "ETag"), body, &first, &len);
        MUST(part != CACHE_PART_RANGE || (len > 0 && first + len <= body));
    }
}

static void check_vary(struct cache_message request, struct cache_message answer)
{
    char text[CACHE_VARY_TEXT_MAX];
    struct ps_buf vary;
    ps_buf_init(&vary, text, sizeof text);
    if (cache_vary_put(answer, request, NULL, &vary))
        MUST(cache_vary_fits((struct ps_str){text, vary.len}, request));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes;
    struct ps_http_head request, answer;
    struct cache_asked asked;
    ps_http_request_init(&request, &limits);
    if (size == 0 || ps_http_head_parse(&request, data, size) != PS_HTTP_DONE)
        return 0;
    const char *rest = data + request.len;
    ps_http_response_init(&answer, &limits, false);
    if (size == request.len ||
        ps_http_head_parse(&answer, rest, size - request.len) != PS_HTTP_DONE)
        return 0;
    struct cache_message from = {&request, data}, to = {&answer, rest};
    cache_asked_read(from, &asked);
    check_answer(&asked, to);
    check_fields(to);
    check_vary(from, to);
    check_keys(&request, data, to);
    return 0;
}
