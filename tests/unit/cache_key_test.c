/* Keys: host, path and query as they count, and the variants of Vary. */
#include "tests/unit/check.h"

#include "tests/unit/cache_fixture.h"

#include <stdio.h>

static struct ps_str str(const char *text)
{
    return (struct ps_str){text, text != NULL ? strlen(text) : 0};
}

static char id[] = "id", page[] = "page", *names[] = {id, page};
static const struct cfg_route_cache routes[] = {
    [CFG_QUERY_ALL] = {.query = CFG_QUERY_ALL},
    [CFG_QUERY_NONE] = {.query = CFG_QUERY_NONE},
    [CFG_QUERY_LISTED] = {.query = CFG_QUERY_LISTED, .names = names, .name_count = 2},
};

static void a_key_begins_with_path_and_the_query_that_counts(void **state)
{
    (void)state;
    static const struct {
        enum cfg_query query;
        const char *path, *text, *want;
    } rows[] = {
        {CFG_QUERY_ALL, "/p", NULL, "/p"},
        {CFG_QUERY_ALL, "", NULL, "/"},
        {CFG_QUERY_ALL, "/p", "", "/p"},
        {CFG_QUERY_ALL, "/p", "&&", "/p"},
        {CFG_QUERY_ALL, "/p", "b=2&a=1", "/p?a=1&b=2"},
        {CFG_QUERY_ALL, "/p", "a=2&b&a=1&b=", "/p?a=2&a=1&b&b="},
        {CFG_QUERY_ALL, "/p", "ab=1&a=2", "/p?a=2&ab=1"},
        {CFG_QUERY_ALL, "/p", "a=b=c&&x", "/p?a=b=c&x"},
        {CFG_QUERY_NONE, "/p", "b=2&a=1", "/p"},
        {CFG_QUERY_LISTED, "/p", "utm=9&page=2&id=1&x", "/p?id=1&page=2"},
        {CFG_QUERY_LISTED, "/p", "ids=1&%69d=2", "/p"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char text[CACHE_KEY_MAX];
        struct ps_buf buf;
        ps_buf_init(&buf, text, sizeof text);
        assert_true(
            cache_key_put(&routes[rows[i].query], str(rows[i].path), str(rows[i].text), &buf));
        if (buf.len != strlen(rows[i].want) || memcmp(text, rows[i].want, buf.len) != 0)
            fail_msg("%.*s, not %s", (int)buf.len, text, rows[i].want);
    }
}

static void a_query_of_too_many_parameters_has_no_key(void **state)
{
    (void)state;
    char query[1024] = "", text[CACHE_KEY_MAX];
    for (int i = 0; i < CACHE_PARAMETERS_MAX; i++)
        snprintf(query + strlen(query), sizeof query - strlen(query), "&p%d=1", i);
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    assert_true(cache_key_put(&routes[CFG_QUERY_ALL], PS_STR("/p"), str(query), &buf));
    strcat(query, "&x");
    buf.len = 0;
    assert_false(cache_key_put(&routes[CFG_QUERY_ALL], PS_STR("/p"), str(query), &buf));
    ps_buf_init(&buf, text, 5);
    assert_false(cache_key_put(&routes[CFG_QUERY_ALL], PS_STR("/p/1/2"), str(NULL), &buf));
}

/* RFC 9111, 4.4. */
static void a_location_is_a_key_only_on_the_same_host(void **state)
{
    (void)state;
    static const struct {
        const char *named, *want; /* NULL: none */
    } rows[] = {
        {"/q?b=1&a=2", "/q?a=2&b=1"},
        {"http://shop.example/q", "/q"},
        {"HTTPS://SHOP.example/q#top", "/q"},
        {"http://shop.example", "/"},
        {"http://shop.example?a=1", "/?a=1"},
        {"//shop.example/q", "/q"},
        {"http://other.example/q", NULL},
        {"http://shop.example:81/q", NULL},
        {"//other.example/q", NULL},
        {"other", "/shop/other"},
        {"deep/er?x=1", "/shop/deep/er?x=1"},
        {"?a=1", "/shop/cart?a=1"},
        {"", "/shop/cart"},
        {"../q", NULL},
        {"/a/./b", NULL},
        {"/a/..", NULL},
        {"/a/.b..c/..d", "/a/.b..c/..d"},
        {"http:q", NULL},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char text[CACHE_KEY_MAX];
        struct ps_buf buf;
        ps_buf_init(&buf, text, sizeof text);
        bool is = cache_key_put_named(&routes[CFG_QUERY_ALL], PS_STR("shop.example"),
                                      PS_STR("/shop/cart"), str(rows[i].named), &buf);
        if (is != (rows[i].want != NULL) ||
            (is && (buf.len != strlen(rows[i].want) || memcmp(text, rows[i].want, buf.len) != 0)))
            fail_msg("%s: %d %.*s", rows[i].named, is, (int)buf.len, text);
    }
}

/* RFC 9111, 4.1. */
static void a_variant_is_what_the_request_had_in_these_fields(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *request, *want; /* NULL: not kept */
    } rows[] = {
        {"200", "GET|A: 1", ""},
        {"200|Vary: ", "GET|A: 1", ""},
        {"200|Vary: B, a", "GET|A: 1", "a:1\nb:\n"},
        {"200|Vary: a|Vary: b,A", "GET|A: 1, 2|a:3|B:x y", "a:1,2,3\nb:x y\n"},
        {"200|Vary: Accept-Encoding", "GET|Accept-Encoding: gzip, BR", "accept-encoding:br,gzip\n"},
        {"200|Vary: Accept-Language", "GET|Accept-Language: EN ,de", "accept-language:en,de\n"},
        {"200|Vary: User-Agent", "GET|User-Agent: Mo/1 (X)", "user-agent:Mo/1 (X)\n"},
        {"200|Vary: *", "GET", NULL},
        {"200|Vary: a b", "GET", NULL},
        {"200|Vary: a,b,c,d,e,f,g,h,i", "GET", NULL},
        {"200|Vary: a", "GET|a: 1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6",
         NULL},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct fixture_message answer, request;
        char text[CACHE_VARY_TEXT_MAX];
        struct ps_buf buf;
        ps_buf_init(&buf, text, sizeof text);
        fixture_message(&answer, rows[i].answer, 0);
        fixture_message(&request, rows[i].request, 0);
        bool is = cache_vary_put(answer.is, request.is, NULL, &buf);
        if (is != (rows[i].want != NULL) ||
            (is && (buf.len != strlen(rows[i].want) || memcmp(text, rows[i].want, buf.len) != 0)))
            fail_msg("%s: %d %.*s", rows[i].answer, is, (int)buf.len, text);
        if (is)
            assert_true(cache_vary_fits((struct ps_str){text, buf.len}, request.is));
    }
    struct fixture_message request;
    fixture_message(&request, "GET|A: 1", 0);
    assert_true(cache_vary_fits(PS_STR("a:1\n"), request.is));
    assert_false(cache_vary_fits(PS_STR("a:2\n"), request.is));
    assert_false(cache_vary_fits(PS_STR("a:1\nb:1\n"), request.is));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_begins_with_path_and_the_query_that_counts),
        cmocka_unit_test(a_query_of_too_many_parameters_has_no_key),
        cmocka_unit_test(a_location_is_a_key_only_on_the_same_host),
        cmocka_unit_test(a_variant_is_what_the_request_had_in_these_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
