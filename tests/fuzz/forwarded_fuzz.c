/* Any bytes as a request and, behind its empty line, the head of the shop's answer: what goes on of
 * either is a head by the same rules, framed by nobody, with nothing of one connection; a request
 * that comes back again and again is known by the third time; and what the cache makes of the
 * answer is within the answer's bounds. */
#include "common/text/address.h"
#include "fuzz.h"
#include "gateway/cache/directives.h"
#include "gateway/cache/fields.h"
#include "gateway/upstream/fields.h"
#include "gateway/upstream/via.h"

#define ROOM     65536
#define BODY_LEN 1000

static const struct ps_http_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};
/* What is added to a head may make it longer. */
static const struct ps_http_limits wide = {
    .target_max = 512, .head_max = ROOM, .fields_max = PS_HTTP_FIELDS_MAX};
static const struct cfg_header_rules no_rules;
static const struct cfg_route_cache route = {.obeys_no_cache = true, .default_ttl_s = 10};

static const char *const of_connection[] = {"Connection", "Keep-Alive",        "TE",
                                            "Upgrade",    "Transfer-Encoding", "Content-Length",
                                            "Trailer",    "Proxy-Authenticate"};

static void check_plain(const struct ps_http_head *head, const char *base)
{
    MUST(!head->has_length && !head->has_encoding);
    for (size_t i = 0; i < PS_ARRAY_LEN(of_connection); i++)
        MUST(ps_http_find(head, base, (struct ps_str){of_connection[i], strlen(of_connection[i])})
                 .at == NULL);
}

static size_t count_fields(const struct ps_http_head *head, const char *base, struct ps_str name)
{
    size_t count = 0;

    for (uint32_t i = 0; i < head->field_count; i++)
        count += ps_http_same_text(ps_http_text(base, head->fields[i].name), name);
    return count;
}

static void forward_request(const struct ps_http_head *head, const char *base)
{
    static const struct ps_address peer = {.byte = {[15] = 1}};
    struct up_origin origin = {.head = head,
                               .base = base,
                               .path = ps_http_text(base, head->path),
                               .query = ps_http_text(base, head->query),
                               .host = PS_STR("shop"),
                               .peer = &peer,
                               .request_id = PS_STR("id")};
    char memory[ROOM];

    if (origin.path.len == 0) /* "*" */
        return;
    for (int trusted = 0; trusted < 2; trusted++) {
        struct ps_http_head again;
        struct ps_buf buf;
        origin.trusted = trusted == 1;
        ps_buf_init(&buf, memory, sizeof memory);
        up_fields_request(&buf, &origin, &no_rules);
        ps_buf_puts(&buf, "\r\n");
        MUST(!buf.overflow);
        ps_http_request_init(&again, &wide);
        MUST(ps_http_head_parse(&again, buf.at, buf.len) == PS_HTTP_DONE && again.len == buf.len);
        MUST(again.framing == PS_HTTP_NO_BODY && again.method == head->method);
        check_plain(&again, buf.at);
        MUST(count_fields(&again, buf.at, PS_STR("X-User-Id")) == 0);
        MUST(count_fields(&again, buf.at, PS_STR("X-Forwarded-For")) == 1);
        MUST(count_fields(&again, buf.at, PS_STR("Host")) == 1);
    }
}

/* Whatever the first client has sent, gateways that send a request to each other end it. */
static void go_round(const struct ps_http_head *head, const char *base)
{
    static const struct ps_address peer = {.byte = {[15] = 1}};
    static char memory[2][ROOM];
    static struct ps_http_head again;
    struct up_origin origin = {.head = head, .base = base, .host = PS_STR("shop"), .peer = &peer};

    if (head->asterisk)
        return;
    for (int time = 0; time <= UP_VIA_MAX; time++) {
        struct ps_buf buf;
        ps_buf_init(&buf, memory[time % 2], ROOM);
        origin.path = ps_http_text(origin.base, origin.head->path);
        origin.query = ps_http_text(origin.base, origin.head->query);
        if (origin.path.len == 0)
            origin.path = PS_STR("/");
        up_fields_request(&buf, &origin, &no_rules);
        ps_buf_puts(&buf, "\r\n");
        MUST(!buf.overflow);
        ps_http_request_init(&again, &wide);
        MUST(ps_http_head_parse(&again, buf.at, buf.len) == PS_HTTP_DONE);
        origin.head = &again;
        origin.base = buf.at;
    }
    MUST(up_via_loops(&again, origin.base));
}

static void check_answer(struct ps_buf *buf)
{
    struct ps_http_head again;

    ps_buf_puts(buf, "\r\n");
    MUST(!buf->overflow);
    ps_http_response_init(&again, &wide, false);
    MUST(ps_http_head_parse(&again, buf->at, buf->len) == PS_HTTP_DONE && again.len == buf->len);
    MUST(again.framing == PS_HTTP_UNTIL_CLOSE);
    check_plain(&again, buf->at);
}

static void begin_answer(struct ps_buf *buf, char memory[ROOM])
{
    ps_buf_init(buf, memory, ROOM);
    ps_buf_puts(buf, "HTTP/1.1 200 OK\r\n");
}

static void keep_answer(const struct cache_asked *asked, struct cache_message answer)
{
    static const struct cache_moments moments = {
        .sent_ms = 1000, .received_ms = 1010, .wall_ms = INT64_C(1700000000000)};
    char memory[ROOM];
    struct ps_buf buf;
    struct cache_kept kept;
    uint64_t first = 0, len = 0;
    enum cache_store store = cache_kept_read(asked, answer, &route, &moments, &kept);

    MUST(store < CACHE_STORE_COUNT);
    if (store != CACHE_STORE_stored)
        return;
    MUST(cache_kept_age_ms(&kept, moments.received_ms) >= 0);
    MUST(cache_kept_use(&kept, asked, &route, moments.received_ms) <= CACHE_USE_ASK);
    (void)cache_kept_ttl_ms(&kept, INT64_MAX / 4);
    struct ps_str etag = cache_field(answer, "ETag");
    if (cache_part_of(asked, &kept, etag, BODY_LEN, &first, &len) == CACHE_PART_RANGE)
        MUST(len > 0 && first < BODY_LEN && len <= BODY_LEN - first);
    begin_answer(&buf, memory);
    cache_fields_put(answer, moments.wall_ms, &buf);
    check_answer(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *base = (const char *)bytes;
    struct ps_http_head request, answer;
    char memory[ROOM];
    struct cache_asked asked;
    struct ps_buf buf;

    ps_http_request_init(&request, &limits);
    if (size == 0 || ps_http_head_parse(&request, base, size) != PS_HTTP_DONE)
        return 0;
    forward_request(&request, base);
    go_round(&request, base);
    cache_asked_read((struct cache_message){&request, base}, &asked);
    const char *more = base + request.len;
    ps_http_response_init(&answer, &limits, request.method == PS_HTTP_HEAD);
    if (size == request.len ||
        ps_http_head_parse(&answer, more, size - request.len) != PS_HTTP_DONE)
        return 0;
    begin_answer(&buf, memory);
    up_fields_answer(&buf, &answer, more, &no_rules);
    check_answer(&buf);
    keep_answer(&asked, (struct cache_message){&answer, more});
    return 0;
}
