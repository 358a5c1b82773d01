/* Which route serves a request, and what of its header fields goes on: to the shop, and back. */
#include "tests/unit/check.h"

#include "gateway/upstream/fields.h"
#include "gateway/upstream/route.h"

#include <stdlib.h>

/* --- Routes --- */

/* Documents are not written to here; their texts are the heap's otherwise. */
#define TEXT(literal) ((char[]){literal})
#define GET           (1u << PS_HTTP_GET)
#define POST          (1u << PS_HTTP_POST)

static struct cfg_route docs[] = {
    {.name = "all", .path = TEXT("/"), .methods = GET | POST},
    {.name = "p", .path = TEXT("/p/"), .methods = GET},
    {.name = "p-new", .path = TEXT("/p/new/"), .methods = GET},
    {.name = "p-post", .path = TEXT("/p/new/"), .methods = POST},
    {.name = "p-one", .path = TEXT("/p/new/1"), .exact = true, .methods = GET},
    {.name = "host", .host = TEXT("m.shop.example"), .path = TEXT("/"), .methods = GET},
    {.name = "host-p", .host = TEXT("m.shop.example"), .path = TEXT("/p/"), .methods = GET},
};
#define DOCS PS_ARRAY_LEN(docs)

static struct up_route_view views[DOCS];
static struct up_table table;

static int make_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < DOCS; i++) {
        docs[i].path_len = strlen(docs[i].path);
        views[i] = (struct up_route_view){.doc = &docs[i]};
    }
    table = (struct up_table){.route_count = DOCS, .routes = views};
    return up_route_index(&table);
}

static int free_table(void **state)
{
    (void)state;
    free(table.slots);
    return 0;
}

static const char *find(const char *host, const char *path, enum ps_http_method method)
{
    const struct up_route_view *other, *route;

    route = up_route_find(&table, (struct ps_str){host, strlen(host)},
                          (struct ps_str){path, strlen(path)}, method, &other);
    return route != NULL ? route->doc->name : "";
}

static void the_most_specific_route_serves(void **state)
{
    (void)state;
    assert_string_equal(find("shop", "/p/new/1", PS_HTTP_GET), "p-one");
    assert_string_equal(find("shop", "/p/new/1/", PS_HTTP_GET), "p-new");
    assert_string_equal(find("shop", "/p/new/12", PS_HTTP_GET), "p-new");
    assert_string_equal(find("shop", "/p/new", PS_HTTP_GET), "p");
    assert_string_equal(find("shop", "/p", PS_HTTP_GET), "all");
    assert_string_equal(find("shop", "/", PS_HTTP_GET), "all");
}

static void a_route_of_the_host_comes_before_one_of_any(void **state)
{
    (void)state;
    assert_string_equal(find("M.Shop.Example", "/p/new/1", PS_HTTP_GET), "host-p");
    assert_string_equal(find("m.shop.example", "/x", PS_HTTP_GET), "host");
    assert_string_equal(find("m.shop.example", "/x", PS_HTTP_POST), "all");
}

static void a_method_that_a_route_does_not_take_goes_to_a_less_specific_one(void **state)
{
    const struct up_route_view *other;

    (void)state;
    assert_string_equal(find("shop", "/p/new/x", PS_HTTP_POST), "p-post");
    assert_string_equal(find("shop", "/p/x", PS_HTTP_POST), "all");
    assert_null(up_route_find(&table, PS_STR("shop"), PS_STR("/p/x"), PS_HTTP_PUT, &other));
    assert_non_null(other);
}

/* As some server behind the gateway may read them: an encoded slash and a backslash end a segment,
 * and parameters (RFC 3986, 3.3) are no part of its name. */
static void dots_are_seen_however_they_are_written(void **state)
{
    static const char *const bad[] = {
        "/..",         "/../",           "/p/../x",       "/p/./x",        "/p/%2e%2E/x",
        "/.%2e",       "/p/.",           "/p/..%2fadmin", "/p/..%2Fadmin", "/p%2f../admin",
        "/p/..%5cx",   "/p/..%5Cx",      "/p/..\\x",      "/p\\..",        "/p/..;/admin",
        "/p/..;a=b/x", "/p/.;",          "/p/..;",        "/p/..;a;b%2fx", "/p/..%3b/admin",
        "/p/..%3Ba/x", "/p%5c%2e%2e%5c", "/p/%2e%2e%2fx", "/p/;a/../x",    "/p/%2E;v=1/x"};
    static const char *const good[] = {
        "/",         "/...",   "/p/.x",      "/p/..x/",         "/p/%2e%2e%2e",
        "/a.b/c..d", "/p%2fx", "/p/x..%2fy", "/p/%252e%252e",   "/a;v=../b",
        "/a;..",     "/p/;/x", "/p/...;",    "/p/..%252fadmin", "/p\\x",
        "/a;b=.",    "/p%5cx", "/p/..%2"};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_true(up_path_has_dots((struct ps_str){bad[i], strlen(bad[i])}));
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++)
        assert_false(up_path_has_dots((struct ps_str){good[i], strlen(good[i])}));
}

/* --- Fields --- */

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 8192, .fields_max = 96};
static struct ps_http_head head;
static char text[8192];

static const char *text_of(const struct ps_buf *buf)
{
    assert_false(buf->overflow);
    text[buf->len] = '\0';
    return text;
}

/* What the shop gets of this request. */
static const char *sent(const char *request, bool trusted, const struct cfg_header_rules *rules)
{
    static const struct cfg_header_rules none;
    struct ps_address peer;
    struct ps_buf buf;

    ps_http_request_init(&head, &limits);
    assert_int_equal(ps_http_head_parse(&head, request, strlen(request)), PS_HTTP_DONE);
    assert_int_equal(ps_address_parse("10.0.0.9", 8, false, &peer), 0);
    ps_buf_init(&buf, text, sizeof text - 1);
    up_fields_request(&buf,
                      &(struct up_origin){.head = &head,
                                          .base = request,
                                          .path = ps_http_text(request, head.path),
                                          .query = head.query.at > 0
                                                       ? ps_http_text(request, head.query)
                                                       : PS_STR(""),
                                          .host = ps_http_text(request, head.host),
                                          .peer = &peer,
                                          .trusted = trusted,
                                          .user = trusted ? PS_STR("ann") : PS_STR(""),
                                          .request_id = PS_STR("id-1")},
                      rules != NULL ? rules : &none);
    return text_of(&buf);
}

static const char *given(const char *answer, const struct cfg_header_rules *rules)
{
    static const struct cfg_header_rules none;
    struct ps_buf buf;

    ps_http_response_init(&head, &limits, false);
    assert_int_equal(ps_http_head_parse(&head, answer, strlen(answer)), PS_HTTP_DONE);
    ps_buf_init(&buf, text, sizeof text - 1);
    up_fields_answer(&buf, &head, answer, rules != NULL ? rules : &none);
    return text_of(&buf);
}

/* PG4 */
static void a_stranger_cannot_say_who_asks(void **state)
{
    (void)state;
    assert_string_equal(
        sent("GET /p/1?a=b HTTP/1.1\r\nHost: shop:80\r\nX-User-Id: root\r\nX-Forwarded-For: "
             "1.2.3.4\r\n"
             "Forwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.2.3.4\r\n"
             "X-Request-Id: theirs\r\nPenstock-Rehearsal: x\r\nPenstock-Other: y\r\nAccept: "
             "a\r\n\r\n",
             false, NULL),
        "GET /p/1?a=b HTTP/1.1\r\nHost: shop:80\r\nAccept: a\r\nX-Forwarded-For: 10.0.0.9\r\n"
        "Forwarded: for=10.0.0.9;host=\"shop:80\";proto=http\r\nX-Forwarded-Host: shop:80\r\n"
        "X-Forwarded-Proto: http\r\nX-Request-Id: id-1\r\nVia: 1.1 penstock\r\n");
}

/* PG4 */
static void what_a_trusted_proxy_says_is_gone_on_with(void **state)
{
    (void)state;
    assert_string_equal(
        sent("GET / HTTP/1.1\r\nHost: shop\r\nX-User-Id: ann\r\nX-Forwarded-For: 1.2.3.4\r\n"
             "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: "
             "https\r\n\r\n",
             true, NULL),
        "GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-For: 1.2.3.4, 10.0.0.1, 10.0.0.9\r\n"
        "Forwarded: for=1.2.3.4, for=10.0.0.9;host=\"shop\";proto=http\r\nX-Forwarded-Host: "
        "shop\r\n"
        "X-User-Id: ann\r\nX-Request-Id: id-1\r\nVia: 1.1 penstock\r\n");
}

static void what_is_of_one_connection_stays_there(void **state)
{
    (void)state;
    assert_non_null(strstr(
        sent("POST / HTTP/1.1\r\nHost: s\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: "
             "trailers\r\n"
             "Keep-Alive: 5\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\nTransfer-Encoding: chunked\r\n"
             "Expect: 100-continue\r\nTrailer: X\r\nProxy-Authorization: b\r\nCookie: c=d\r\n\r\n",
             false, NULL),
        "Host: s\r\nCookie: c=d\r\nX-Forwarded-For:"));
    assert_string_equal(
        given("HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-HOP: 1\r\nContent-Length: 3\r\n"
              "Keep-Alive: 5\r\nX-Request-Id: theirs\r\nPenstock-Admission: x\r\n"
              "ETag: \"1\"\r\nVia: 1.1 shop\r\n\r\n",
              NULL),
        "ETag: \"1\"\r\nVia: 1.1 shop\r\nVia: 1.1 penstock\r\n");
}

static void a_route_sets_and_removes_fields(void **state)
{
    struct cfg_header_set set[] = {{TEXT("X-Shop"), TEXT("one")}, {TEXT("Server"), TEXT("shop")}};
    char *remove[] = {TEXT("Cookie"), TEXT("X-Powered-By")};
    const struct cfg_header_rules rules = {
        .set_count = 2, .set = set, .remove_count = 2, .remove = remove};

    (void)state;
    assert_non_null(strstr(
        sent("GET / HTTP/1.1\r\nHost: s\r\nCOOKIE: a=b\r\nx-shop: two\r\n\r\n", false, &rules),
        "Host: s\r\nX-Forwarded-For:"));
    assert_non_null(strstr(text, "Via: 1.1 penstock\r\nX-Shop: one\r\nServer: shop\r\n"));
    assert_string_equal(
        given("HTTP/1.1 200 OK\r\nserver: nginx\r\nX-Powered-By: y\r\nAge: 3\r\n\r\n", &rules),
        "Age: 3\r\nVia: 1.1 penstock\r\nX-Shop: one\r\nServer: shop\r\n");
}

static void a_cookie_is_found_by_its_whole_name(void **state)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: s\r\nCookie: xsid=1; sid=two; sid2=3;empty=\r\n\r\n";
    struct ps_str value;

    (void)state;
    (void)sent(request, false, NULL);
    value = up_cookie_find(&head, request, PS_STR("sid"));
    assert_int_equal(value.len, 3);
    assert_memory_equal(value.at, "two", 3);
    value = up_cookie_find(&head, request, PS_STR("empty"));
    assert_non_null(value.at);
    assert_int_equal(value.len, 0);
    assert_null(up_cookie_find(&head, request, PS_STR("id")).at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_route_serves),
        cmocka_unit_test(a_route_of_the_host_comes_before_one_of_any),
        cmocka_unit_test(a_method_that_a_route_does_not_take_goes_to_a_less_specific_one),
        cmocka_unit_test(dots_are_seen_however_they_are_written),
        cmocka_unit_test(a_stranger_cannot_say_who_asks),
        cmocka_unit_test(what_a_trusted_proxy_says_is_gone_on_with),
        cmocka_unit_test(what_is_of_one_connection_stays_there),
        cmocka_unit_test(a_route_sets_and_removes_fields),
        cmocka_unit_test(a_cookie_is_found_by_its_whole_name),
    };
    return cmocka_run_group_tests(tests, make_table, free_table);
}
