/* The rules of a shared cache one by one, each with its section; two requests in a row are in
 * cache_facts_test.c. */
#include "tests/unit/check.h"

#include "tests/unit/cache_fixture.h"

#include <stdio.h>

static const struct cfg_route_cache plain = {0};

static enum cache_store judged(const char *request, const char *answer,
                               const struct cfg_route_cache *route, struct cache_kept *ret_kept)
{
    struct fixture_message asked_text, message;
    struct cache_asked asked;
    struct cache_moments moments = {1000, 3000, FIXTURE_WALL_MS + 3000};
    fixture_message(&asked_text, request, 3000);
    fixture_message(&message, answer, 3000);
    cache_asked_read(asked_text.is, &asked);
    return cache_kept_read(&asked, message.is, route, &moments, ret_kept);
}

static struct cache_kept kept_of(const char *answer)
{
    struct cache_kept kept;
    judged("GET", answer, &plain, &kept);
    return kept;
}

/* RFC 9111, 4.2.3: sent at 1 s, received at 3 s. */
static void age_counts_what_caches_before_and_the_way_have_taken(void **state)
{
    (void)state;
    struct cache_kept kept = kept_of("200|Cache-Control: max-age=100|Date: {0}");
    assert_int_equal(kept.initial_age_ms, 2000); /* the response's delay */
    assert_int_equal(cache_kept_age_ms(&kept, 3000), 2000);
    assert_int_equal(cache_kept_age_ms(&kept, 13000), 12000);
    assert_int_equal(cache_kept_ttl_ms(&kept, 13000), 88000);
    assert_int_equal(cache_kept_ttl_ms(&kept, 103000), -2000);
    assert_int_equal(kept_of("200|Age: 30|Date: {0}").initial_age_ms, 32000);
    assert_int_equal(kept_of("200|Age: 30|Date: {-60}").initial_age_ms, 60000);
    assert_int_equal(kept_of("200|Date: {60}").initial_age_ms, 2000); /* a clock that is ahead */
    assert_int_equal(cache_kept_age_ms(&kept, 0), 2000);              /* and one that goes back */
}

/* 4.2.1, and RFC 9213: what says how long comes in this order. */
static void freshness_is_said_in_one_order(void **state)
{
    (void)state;
    const struct cfg_route_cache route = {.default_ttl_s = 7};
    static const struct {
        const char *answer;
        int64_t lifetime_s;
    } rows[] = {
        {"200|CDN-Cache-Control: s-maxage=1, max-age=2|Cache-Control: s-maxage=3", 1},
        {"200|CDN-Cache-Control: max-age=2|Cache-Control: s-maxage=3", 2},
        {"200|CDN-Cache-Control: public|Date: {0}|Expires: {5}", 7},
        {"200|Cache-Control: max-age=4, s-maxage=3|Date: {0}|Expires: {5}", 3},
        {"200|Cache-Control: max-age=4|Date: {0}|Expires: {5}", 4},
        {"200|Cache-Control: public|Date: {0}|Expires: {5}", 5},
        {"200|Cache-Control: public", 7},
        {"200", 7},
        {"200|Expires: never", 0},
        {"200|Date: {0}|Expires: {5}|Expires: {5}", 0},
        {"302", 0},
        {"200|Cache-Control: max-age=99999999999999999999", 2147483648},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct cache_kept kept;
        judged("GET", rows[i].answer, &route, &kept);
        if (kept.lifetime_ms != rows[i].lifetime_s * 1000)
            fail_msg("%s: %lld ms", rows[i].answer, (long long)kept.lifetime_ms);
    }
}

/* CA1 */
static void what_is_not_kept_has_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *request, *answer;
        enum cache_store store;
    } rows[] = {
        {"GET", "200|Cache-Control: max-age=9", CACHE_STORE_stored},
        {"HEAD", "200|Cache-Control: max-age=9", CACHE_STORE_method},
        {"POST", "200|Cache-Control: max-age=9", CACHE_STORE_method},
        {"GET", "206|Cache-Control: max-age=9", CACHE_STORE_status},
        {"GET", "304|Cache-Control: max-age=9", CACHE_STORE_status},
        {"GET", "599|Cache-Control: max-age=9, must-understand", CACHE_STORE_status},
        {"GET", "200|Cache-Control: max-age=9, no-store", CACHE_STORE_no_store},
        {"GET", "200|Cache-Control: max-age=9, private", CACHE_STORE_private},
        {"GET|Authorization: x", "200|Cache-Control: max-age=9", CACHE_STORE_authorization},
        {"GET", "200|Cache-Control: max-age=9|Set-Cookie: a=b", CACHE_STORE_set_cookie},
        {"GET", "200|Cache-Control: max-age=9|Vary: a, *", CACHE_STORE_vary},
        {"GET", "200", CACHE_STORE_freshness},
        {"GET", "200|Cache-Control: max-age=0", CACHE_STORE_stale},
        {"GET", "200|Cache-Control: max-age=1|Age: 9", CACHE_STORE_stale},
        {"GET", "200|Cache-Control: no-cache", CACHE_STORE_stale},
        {"GET", "200|Cache-Control: max-age=0|ETag: W/\"a\"", CACHE_STORE_stored},
        {"GET", "200|Cache-Control: max-age=0|ETag: \"a", CACHE_STORE_stale},
        {"GET", "200|Cache-Control: max-age=0|Last-Modified: {-9}", CACHE_STORE_stored},
        {"GET", "200|Cache-Control: max-age=0, stale-if-error=9", CACHE_STORE_stored},
        {"GET", "200|Cache-Control: max-age=0, stale-if-error=9, must-revalidate",
         CACHE_STORE_stale},
        /* Negative answers: 404 and 410 are kept as others are. */
        {"GET", "404|Cache-Control: max-age=9", CACHE_STORE_stored},
        {"GET", "404", CACHE_STORE_freshness},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct cache_kept kept;
        enum cache_store store = judged(rows[i].request, rows[i].answer, &plain, &kept);
        if (store != rows[i].store)
            fail_msg("%s, %s: %s, not %s", rows[i].request, rows[i].answer,
                     cache_store_names[store], cache_store_names[rows[i].store]);
    }
    char many[1024] = "200|Cache-Control: max-age=9|Surrogate-Key:";
    for (int i = 0; i < 65; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), " t%d", i);
    struct cache_kept kept;
    assert_int_equal(judged("GET", many, &plain, &kept), CACHE_STORE_tags);
}

/* CA6: RFC 5861: the answer's word before the route's; 4.2.4: what forbids both. */
static void stale_uses_are_the_answers_then_the_routes(void **state)
{
    (void)state;
    const struct cfg_route_cache route = {.stale_while_revalidate_s = 5, .stale_if_error_s = 50};
    static const struct {
        const char *answer;
        int64_t while_revalidate_s, if_error_s;
        bool may_be_stale;
    } rows[] = {
        {"200|Cache-Control: max-age=1", 5, 50, true},
        {"200|Cache-Control: max-age=1, stale-while-revalidate=7", 7, 50, true},
        {"200|Cache-Control: max-age=1, stale-if-error=70", 5, 70, true},
        {"200|Cache-Control: max-age=1, stale-if-error=0", 5, 0, true},
        {"200|Cache-Control: max-age=1, stale-if-error=x", 5, 0, true},
        {"200|Cache-Control: max-age=1, must-revalidate, stale-if-error=70", 0, 0, false},
        {"200|Cache-Control: max-age=1, proxy-revalidate", 0, 0, false},
        {"200|Cache-Control: max-age=1, no-cache", 0, 0, false},
        {"200|Cache-Control: s-maxage=1", 0, 0, false},
        {"200|Cache-Control: s-maxage=1, stale-if-error=70", 0, 70, true},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct cache_kept kept;
        judged("GET", rows[i].answer, &route, &kept);
        if (kept.while_revalidate_ms != rows[i].while_revalidate_s * 1000 ||
            kept.if_error_ms != rows[i].if_error_s * 1000 ||
            cache_kept_may_be_stale(&kept) != rows[i].may_be_stale)
            fail_msg("%s: %lld, %lld", rows[i].answer, (long long)kept.while_revalidate_ms,
                     (long long)kept.if_error_ms);
    }
    struct cache_kept kept;
    judged("GET", "200|Cache-Control: max-age=10, stale-if-error=60|Date: {0}", &plain, &kept);
    assert_true(cache_kept_if_error(&kept, 3000 + 67999));
    assert_false(cache_kept_if_error(&kept, 3000 + 68000)); /* 2 s old on arrival */
}

/* 3.1, 3.2 and 7.8 of RFC 9110: what is of a connection or of the body alone. */
static void an_entry_keeps_what_is_not_of_one_connection(void **state)
{
    (void)state;
    struct fixture_message message;
    char text[1024];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    fixture_message(&message,
                    "200|Date: {0}|A: 1|Connection: b, C|b: 2|c: 3|Keep-Alive: x|Upgrade: y|TE: z|"
                    "Proxy-Authenticate: q|Proxy-Authentication-Info: q|Proxy-Authorization: q|"
                    "Proxy-Connection: q|Trailer: t|Age: 5|Content-Length: 9|Surrogate-Key: k|"
                    "Cache-Control: max-age=1|Content-Type: text/plain|X-Frame-Options: deny",
                    0);
    cache_fields_put(message.is, FIXTURE_WALL_MS, &buf);
    assert_int_equal(buf.len, strlen("Date: Mon, 21 Sep 2026 14:13:20 GMT\r\nA: 1\r\n"
                                     "Cache-Control: max-age=1\r\nContent-Type: text/plain\r\n"
                                     "X-Frame-Options: deny\r\n"));
    struct ps_str lines = {text, buf.len};
    assert_int_equal(cache_fields_find(lines, "a").at[0], '1');
    assert_null(cache_fields_find(lines, "b").at);
    buf.len = 0;
    fixture_message(&message, "200|A: 1", 0);
    cache_fields_put(message.is, FIXTURE_WALL_MS, &buf); /* RFC 9110, 6.6.1 */
    assert_memory_equal(text, "A: 1\r\nDate: Mon, 21 Sep 2026 14:13:20 GMT\r\n", buf.len);
}

static void a_304_brings_new_fields_and_leaves_the_body_alone(void **state)
{
    (void)state;
    struct fixture_message message;
    char text[1024];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    fixture_message(
        &message,
        "304|Cache-Control: max-age=9|test-header: B|Content-Encoding: br|"
        "Content-Length: 7|Date: {9}|Content-Range: x|New: 1|Connection: close, Gone|Gone: 2",
        0);
    cache_fields_merge(PS_STR("Test-Header: A\r\nContent-Encoding: gzip\r\nOld: 3\r\n"
                              "Cache-Control: max-age=1\r\nGone: 1\r\nDate: x\r\n"),
                       message.is, FIXTURE_WALL_MS, &buf);
    const char *want = "Content-Encoding: gzip\r\nOld: 3\r\nGone: 1\r\n"
                       "Cache-Control: max-age=9\r\ntest-header: B\r\n"
                       "Date: Mon, 21 Sep 2026 14:13:29 GMT\r\nNew: 1\r\n";
    assert_int_equal(buf.len, strlen(want));
    assert_memory_equal(text, want, buf.len);
}

/* 4.3.4. */
static void a_304_of_another_tag_is_not_the_entrys(void **state)
{
    (void)state;
    struct fixture_message message;
    fixture_message(&message, "304|ETag: \"a\"", 0);
    assert_true(cache_fields_same(PS_STR("\"a\""), message.is));
    assert_true(cache_fields_same(PS_STR("W/\"a\""), message.is));
    assert_false(cache_fields_same(PS_STR("\"b\""), message.is));
    assert_false(cache_fields_same((struct ps_str){NULL, 0}, message.is));
    fixture_message(&message, "304", 0);
    assert_true(cache_fields_same(PS_STR("\"b\""), message.is));
}

/* RFC 9110, 13.2.2 and 14; RFC 9111, 4.3.2: the body has ten bytes. */
static void conditions_and_ranges_are_answered_from_an_entry(void **state)
{
    (void)state;
    static const char lm[] = "200|Date: {0}|Last-Modified: {-3000}|Cache-Control: max-age=9";
    static const struct {
        const char *answer, *etag, *request;
        enum cache_part part;
        uint64_t first, len;
    } rows[] = {
        {lm, "\"a\"", "GET", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: \"a\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "HEAD|If-None-Match: \"a\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: W/\"a\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "W/\"a\"", "GET|If-None-Match: \"a\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: \"1\", \"a\", \"2\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: \"1\"|If-None-Match: \"a\"", CACHE_PART_NOT_MODIFIED, 0,
         10},
        {lm, "\"a,b\"", "GET|If-None-Match: \"1\", \"a,b\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"abc\xfc\"", "GET|If-None-Match: \"abc\xfc\"", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: a", CACHE_PART_WHOLE, 0, 10},
        {lm, "a", "GET|If-None-Match: a", CACHE_PART_WHOLE, 0, 10},
        {lm, "w/\"a\"", "GET|If-None-Match: w/\"a\"", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: *", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: \"b\"|If-Modified-Since: {0}", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|If-None-Match: \"a\"|If-Modified-Since: {-9999}",
         CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-Modified-Since: {-3000}", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-Modified-Since: {-2000}", CACHE_PART_NOT_MODIFIED, 0, 10},
        {lm, "\"a\"", "GET|If-Modified-Since: {-3001}", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|If-Modified-Since: yesterday", CACHE_PART_WHOLE, 0, 10},
        {"200|Date: {0}", "\"a\"", "GET|If-Modified-Since: {0}", CACHE_PART_NOT_MODIFIED, 0, 10},
        {"200|Date: {0}", "\"a\"", "GET|If-Modified-Since: {-1}", CACHE_PART_WHOLE, 0, 10},
        {"404|Date: {0}", "\"a\"", "GET|If-None-Match: \"a\"", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=0-1", CACHE_PART_RANGE, 0, 2},
        {lm, "\"a\"", "GET|Range: BYTES=1-", CACHE_PART_RANGE, 1, 9},
        {lm, "\"a\"", "GET|Range: bytes=-1", CACHE_PART_RANGE, 9, 1},
        {lm, "\"a\"", "GET|Range: bytes=-99", CACHE_PART_RANGE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=5-99", CACHE_PART_RANGE, 5, 5},
        {lm, "\"a\"", "GET|Range: bytes=9-9", CACHE_PART_RANGE, 9, 1},
        {lm, "\"a\"", "GET|Range: bytes=10-", CACHE_PART_NO_RANGE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=-0", CACHE_PART_NO_RANGE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=0-1,3-4", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=5-4", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=a-b", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: lines=0-1", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=9999999999999999999-", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "HEAD|Range: bytes=0-1", CACHE_PART_WHOLE, 0, 10},
        {"404|Date: {0}", "\"a\"", "GET|Range: bytes=0-1", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=0-1|If-Range: \"a\"", CACHE_PART_RANGE, 0, 2},
        {lm, "\"a\"", "GET|Range: bytes=0-1|If-Range: \"b\"", CACHE_PART_WHOLE, 0, 10},
        {lm, "W/\"a\"", "GET|Range: bytes=0-1|If-Range: W/\"a\"", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=0-1|If-Range: {-3000}", CACHE_PART_RANGE, 0, 2},
        {lm, "\"a\"", "GET|Range: bytes=0-1|If-Range: {-2999}", CACHE_PART_WHOLE, 0, 10},
        {lm, "\"a\"", "GET|Range: bytes=0-1|If-None-Match: \"a\"", CACHE_PART_NOT_MODIFIED, 0, 10},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct fixture_message request;
        struct cache_asked asked;
        struct cache_kept kept;
        uint64_t first, len;
        fixture_message(&request, rows[i].request, 3000);
        cache_asked_read(request.is, &asked);
        judged("GET", rows[i].answer, &plain, &kept);
        enum cache_part part = cache_part_of(
            &asked, &kept, (struct ps_str){rows[i].etag, strlen(rows[i].etag)}, 10, &first, &len);
        if (part != rows[i].part ||
            (part == CACHE_PART_RANGE && (first != rows[i].first || len != rows[i].len)))
            fail_msg("%s: %d, %d %d", rows[i].request, part, (int)first, (int)len);
    }
}

/* CA4: 4.4. */
static void unsafe_methods_that_succeed_invalidate(void **state)
{
    (void)state;
    assert_true(cache_invalidates(PS_HTTP_POST, 200));
    assert_true(cache_invalidates(PS_HTTP_PUT, 204));
    assert_true(cache_invalidates(PS_HTTP_DELETE, 303));
    assert_true(cache_invalidates(PS_HTTP_METHOD_OTHER, 200));
    assert_false(cache_invalidates(PS_HTTP_POST, 500));
    assert_false(cache_invalidates(PS_HTTP_PUT, 412));
    assert_false(cache_invalidates(PS_HTTP_GET, 200));
    assert_false(cache_invalidates(PS_HTTP_HEAD, 200));
    assert_false(cache_invalidates(PS_HTTP_OPTIONS, 200));
}

static void said(const struct cache_status *status, const char *want)
{
    char text[CACHE_STATUS_MAX];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    cache_status_put(status, &buf);
    assert_int_equal(buf.len, strlen(want));
    assert_memory_equal(text, want, buf.len);
}

/* RFC 9211. */
static void cache_status_says_what_was_done(void **state)
{
    (void)state;
    said(&(struct cache_status){.fwd = CACHE_FWD_NONE, .has_ttl = true, .ttl_s = 30},
         "penstock; hit; ttl=30");
    said(&(struct cache_status){.fwd = CACHE_FWD_NONE, .has_ttl = true, .ttl_s = -3},
         "penstock; hit; ttl=-3");
    said(&(struct cache_status){.fwd = CACHE_FWD_MISS, .stored = true},
         "penstock; fwd=miss; stored");
    said(&(struct cache_status){.fwd = CACHE_FWD_STALE, .fwd_status = 304},
         "penstock; fwd=stale; fwd-status=304");
    said(&(struct cache_status){.fwd = CACHE_FWD_MISS, .collapsed = true},
         "penstock; fwd=miss; collapsed");
    char longest[CACHE_STATUS_MAX];
    struct ps_buf buf;
    ps_buf_init(&buf, longest, sizeof longest);
    cache_status_put(&(struct cache_status){CACHE_FWD_REQUEST, 599, true, true, true, INT64_MIN},
                     &buf);
    assert_false(buf.overflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(age_counts_what_caches_before_and_the_way_have_taken),
        cmocka_unit_test(freshness_is_said_in_one_order),
        cmocka_unit_test(what_is_not_kept_has_a_reason),
        cmocka_unit_test(stale_uses_are_the_answers_then_the_routes),
        cmocka_unit_test(an_entry_keeps_what_is_not_of_one_connection),
        cmocka_unit_test(a_304_brings_new_fields_and_leaves_the_body_alone),
        cmocka_unit_test(a_304_of_another_tag_is_not_the_entrys),
        cmocka_unit_test(conditions_and_ranges_are_answered_from_an_entry),
        cmocka_unit_test(unsafe_methods_that_succeed_invalidate),
        cmocka_unit_test(cache_status_says_what_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
