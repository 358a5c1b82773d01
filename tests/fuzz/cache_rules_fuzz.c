/* A request's head and the head of its answer behind it, as the cache sees them. */
#include "fuzz.h"
#include "gateway/upstream/cache_key.h"

#include <string.h>

static const struct ps_http_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};
static const struct cfg_route_cache route = {.default_ttl_s = 5, .stale_if_error_s = 7};
static const struct up_moments moments = {1000, 2000, INT64_C(1790000000000)};

static void check_keys(const struct ps_http_head *head, const char *data, struct up_message answer)
{
    char text[UP_KEY_MAX], twice[UP_KEY_MAX];
    struct ps_buf key, again;
    struct ps_str path = ps_http_text(data, head->path), query = ps_http_text(data, head->query);
    ps_buf_init(&key, text, sizeof text);
    ps_buf_init(&again, twice, sizeof twice);
    if (up_query_put(&route, query, &key)) { /* what is sorted stays as it is */
        MUST(up_query_put(&route, (struct ps_str){text, key.len}, &again));
        MUST(key.len == again.len && memcmp(text, twice, key.len) == 0);
    }
    struct ps_str named = up_field(answer, "Location");
    ps_buf_init(&key, text, sizeof text);
    if (named.at != NULL &&
        up_key_put_named(&route, NULL, ps_http_text(data, head->host), path, named, &key))
        MUST(key.len > 0 && key.len <= UP_KEY_MAX);
}

static void check_fields(struct up_message answer)
{
    static char text[16384], merged[32768];
    struct ps_buf fields, more;
    ps_buf_init(&fields, text, sizeof text);
    ps_buf_init(&more, merged, sizeof merged);
    up_fields_put(answer, moments.wall_ms, &fields);
    MUST(!fields.overflow);
    struct ps_str lines = {text, fields.len};
    MUST(up_fields_find(lines, "Date").at != NULL);
    MUST(up_fields_find(lines, "Connection").at == NULL &&
         up_fields_find(lines, "Transfer-Encoding").at == NULL &&
         up_fields_find(lines, "Age").at == NULL);
    up_fields_merge(lines, answer, moments.wall_ms, &more);
    MUST(!more.overflow);
    MUST(up_fields_find((struct ps_str){merged, more.len}, "Date").at != NULL);
}

static void check_answer(const struct up_asked *asked, struct up_message answer)
{
    struct up_kept kept;
    uint64_t first, len;
    enum up_store store = up_kept_read(asked, answer, &route, &moments, &kept);
    MUST(kept.lifetime_ms >= 0 && kept.lifetime_ms <= INT64_MAX / 4);
    MUST(up_kept_age_ms(&kept, 2000) >= 0);
    MUST(store != UP_STORE_stored || (asked->is_get && kept.status >= 200));
    MUST(!kept.always_ask || up_kept_use(&kept, asked, &route, 2000) == UP_USE_ASK);
    MUST(!kept.never_stale || !up_kept_if_error(&kept, 2000 + kept.lifetime_ms));
    for (uint64_t body = 0; body < 20; body += 10) {
        enum up_part part = up_part_of(asked, &kept, up_field(answer, "ETag"), body, &first, &len);
        MUST(part != UP_PART_RANGE || (len > 0 && first + len <= body));
    }
}

static void check_vary(struct up_message request, struct up_message answer)
{
    char text[UP_VARY_TEXT_MAX];
    struct ps_buf vary;
    ps_buf_init(&vary, text, sizeof text);
    if (up_vary_put(answer, request, &vary))
        MUST(up_vary_fits((struct ps_str){text, vary.len}, request));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes;
    struct ps_http_head request, answer;
    struct up_asked asked;
    ps_http_request_init(&request, &limits);
    if (size == 0 || ps_http_head_parse(&request, data, size) != PS_HTTP_DONE)
        return 0;
    const char *rest = data + request.len;
    ps_http_response_init(&answer, &limits, false);
    if (size == request.len ||
        ps_http_head_parse(&answer, rest, size - request.len) != PS_HTTP_DONE)
        return 0;
    struct up_message from = {&request, data}, to = {&answer, rest};
    up_asked_read(from, &asked);
    check_answer(&asked, to);
    check_fields(to);
    check_vary(from, to);
    check_keys(&request, data, to);
    return 0;
}
