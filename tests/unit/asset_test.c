/* The console's files: found by name alone, in the form that the client takes, for no other site.
 */
#include "tests/unit/check.h"

#include "common/console/asset.h"

static const struct ps_asset own[] = {{"index.html", "text/html", "\"1\"", {"<p>", 3}, {"gz", 2}},
                                      {"dom.js", "text/javascript", "\"2\"", {"own", 3}, {"", 0}},
                                      {0}};

static const struct ps_asset *find(const char *name)
{
    return ps_asset_find(own, ps_str(name));
}

static void a_file_is_found_by_its_whole_name_first_among_the_own_ones(void **state)
{
    (void)state;
    assert_ptr_equal(find(""), &own[0]);
    assert_ptr_equal(find("dom.js"), &own[1]);
    assert_string_equal(find("style.css")->type, "text/css; charset=utf-8");
    static const char *const none[] = {".",           "..",           "../index.html", "index.htm",
                                       "index.html/", "DOM.JS",       "%64om.js",      "dom.js?",
                                       "/dom.js",     "uplot.LICENSE"};
    for (size_t i = 0; i < PS_ARRAY_LEN(none); i++)
        assert_null(find(none[i]));
    assert_null(ps_asset_find(own, (struct ps_str){"dom.js\0", 7}));
}

static void every_file_is_there_whole_with_a_type_and_a_tag_of_its_own(void **state)
{
    (void)state;
    size_t count = 0;
    for (const struct ps_asset *a = ps_console_assets; a->name != NULL; a++, count++) {
        assert_true(a->plain.len > 0 && a->gzip.len > 18 && a->type[0] != '\0');
        assert_memory_equal(a->gzip.at, "\x1f\x8b", 2);
        assert_true(strlen(a->etag) == 18 && a->etag[0] == '"' && a->etag[17] == '"');
        for (const struct ps_asset *b = ps_console_assets; b != a; b++)
            assert_true(strcmp(a->name, b->name) != 0 && strcmp(a->etag, b->etag) != 0);
    }
    assert_true(count > 5);
}

static struct ps_asset_answer choose(const char *accept, const char *none_match)
{
    struct ps_asset_request asked = {0};
    struct ps_asset_answer answer;

    if (accept != NULL)
        asked.accept_encoding = ps_str(accept);
    if (none_match != NULL)
        asked.if_none_match = ps_str(none_match);
    ps_asset_choose(&own[0], &asked, &answer);
    return answer;
}

static void the_compressed_form_goes_only_to_who_takes_it(void **state)
{
    (void)state;
    static const char *const takes[] = {"gzip", "br, GZIP", "deflate, gzip;q=0.5, br",
                                        "gzip ; q=1"};
    static const char *const refuses[] = {"",         "br",         "gzip;q=0", "gzip;q=0.000",
                                          "identity", "x-gzip-not", "*;q=0"};
    for (size_t i = 0; i < PS_ARRAY_LEN(takes); i++) {
        struct ps_asset_answer answer = choose(takes[i], NULL);
        assert_true(answer.is_gzip && ps_str_is(answer.body, "gz"));
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(refuses); i++) {
        struct ps_asset_answer answer = choose(refuses[i], NULL);
        assert_true(!answer.is_gzip && ps_str_is(answer.body, "<p>"));
    }
    assert_false(choose(NULL, NULL).is_gzip);
}

static void who_has_the_file_already_gets_304(void **state)
{
    (void)state;
    assert_int_equal(choose("gzip", "W/\"1\"").status, 304);
    assert_int_equal(choose(NULL, "\"0\", W/\"1\"").status, 304);
    assert_int_equal(choose(NULL, "*").status, 304);
    assert_int_equal(choose(NULL, "\"11\"").status, 200);
    assert_int_equal(choose(NULL, "").status, 200);
    assert_int_equal(choose(NULL, NULL).status, 200);
}

static bool is_foreign(const struct ps_asset *asset, const char *site, const char *mode,
                       const char *dest)
{
    struct ps_asset_request asked = {.fetch_site = ps_str(site)};

    if (mode != NULL)
        asked.fetch_mode = ps_str(mode);
    if (dest != NULL)
        asked.fetch_dest = ps_str(dest);
    return ps_asset_is_foreign(asset, &asked);
}

static void another_site_may_link_to_the_page_and_nothing_else(void **state)
{
    (void)state;
    static const char *const others[] = {"cross-site", "same-site", "", "anything"};
    for (size_t i = 0; i < PS_ARRAY_LEN(others); i++) {
        assert_false(is_foreign(&own[0], others[i], "navigate", "document"));
        assert_true(is_foreign(&own[0], others[i], "navigate", "iframe"));
        assert_true(is_foreign(&own[0], others[i], "no-cors", "script"));
        assert_true(is_foreign(&own[0], others[i], NULL, NULL));
        assert_true(is_foreign(&own[1], others[i], "navigate", "document"));
    }
    assert_false(is_foreign(&own[1], "same-origin", "cors", "script"));
    assert_false(is_foreign(&own[1], "none", "navigate", "document"));
    assert_false(ps_asset_is_foreign(&own[1], &(struct ps_asset_request){0}));
}

static void the_policy_lets_nothing_in_from_elsewhere(void **state)
{
    (void)state;
    char text[PS_ASSET_FIELDS_MAX];
    struct ps_buf buf;
    for (const struct ps_asset *asset = ps_console_assets; asset->name != NULL; asset++) {
        ps_buf_init(&buf, text, sizeof text - 1);
        ps_asset_put_fields(&buf, asset, true);
        assert_false(buf.overflow);
        text[buf.len] = '\0';
        assert_non_null(
            strstr(text, "Content-Security-Policy: default-src 'none'; script-src 'self';"));
        assert_null(strstr(text, "unsafe"));
        assert_non_null(strstr(text, "frame-ancestors 'none'"));
        assert_non_null(strstr(text, "X-Content-Type-Options: nosniff\r\n"));
        assert_non_null(strstr(text, "Content-Encoding: gzip\r\n"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_found_by_its_whole_name_first_among_the_own_ones),
        cmocka_unit_test(every_file_is_there_whole_with_a_type_and_a_tag_of_its_own),
        cmocka_unit_test(the_compressed_form_goes_only_to_who_takes_it),
        cmocka_unit_test(who_has_the_file_already_gets_304),
        cmocka_unit_test(another_site_may_link_to_the_page_and_nothing_else),
        cmocka_unit_test(the_policy_lets_nothing_in_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
