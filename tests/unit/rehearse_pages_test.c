/* Visitors beside the buyers: which pages they ask for, and what caches say of the answers. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "loadtest/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lt_pages *parse(const char *text)
{
    struct lt_pages *pages = NULL;
    struct ps_fault fault;
    assert_int_equal(lt_pages_parse(text, &pages, &fault), 0);
    return pages;
}

static void a_mix_has_paths_with_weights_of_which_one_is_the_default(void **state)
{
    (void)state;
    struct lt_pages *pages = parse("/=5,/reviews/lamp?id=x=2.5,/p?id=lamp");
    assert_int_equal(pages->count, 3);
    assert_string_equal(pages->page[0].path, "/");
    assert_string_equal(pages->page[1].path, "/reviews/lamp?id=x");
    assert_true(pages->page[1].weight == 2.5 && pages->weights == 8.5);
    assert_string_equal(pages->page[2].path, "/p?id=lamp");
    lt_pages_free(pages);
}

static void a_mix_may_stand_in_a_file_by_lines(void **state)
{
    (void)state;
    char name[] = "/tmp/rehearse-pages-XXXXXX", text[64];
    int file = mkstemp(name);
    static const char lines[] = "/=2\n\n/a\n";
    assert_int_equal(write(file, lines, strlen(lines)), (ssize_t)strlen(lines));
    close(file);
    (void)snprintf(text, sizeof text, "@%s", name);
    struct lt_pages *pages = parse(text);
    assert_int_equal(pages->count, 2);
    lt_pages_free(pages);
    unlink(name);
}

static void what_is_no_mix_is_refused_by_its_part(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       ",",    "reviews=1", "/a=0",      "/a=-1",
        "/a=1e9", "/a b", "/a#part",   "/a,b=1,/c", "@/nowhere/at/all"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct lt_pages *pages = NULL;
        struct ps_fault fault;
        assert_true(lt_pages_parse(bad[i], &pages, &fault) < 0);
        assert_null(pages);
        assert_string_equal(fault.path, "--pages");
    }
}

static void pages_are_asked_for_by_their_weights(void **state)
{
    (void)state;
    struct lt_pages *pages = parse("/a=6,/b=3,/c=1");
    int got[3] = {0};
    for (uint32_t n = 0; n < 100000; n++)
        got[lt_pages_pick(pages, &(struct lt_click){.buyer = n})]++;
    assert_in_range(got[0], 59000, 61000);
    assert_in_range(got[1], 29000, 31000);
    assert_in_range(got[2], 9000, 11000);
    lt_pages_free(pages);
}

static void a_visit_is_a_get_by_a_visitor_with_an_address(void **state)
{
    (void)state;
    char text[LT_REQUEST_MAX];
    struct lt_pages *pages = parse("/p?id=1=2");
    assert_int_equal(
        lt_pages_address(pages, &(struct lt_names){"shop:80", "X-Forwarded-For", "v-"}), 0);
    size_t len = lt_request_write(&pages->page[0].request, &(struct lt_click){.buyer = 259}, text);
    static const char want[] = "GET /p?id=1 HTTP/1.1\r\nHost: shop:80\r\nX-User-Id: v-259\r\n"
                               "X-Forwarded-For: 198.18.1.3\r\n\r\n";
    assert_int_equal(len, strlen(want));
    assert_memory_equal(text, want, len);
    lt_pages_free(pages);
}

static void the_word_of_the_nearest_cache_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *field, *word;
    } cases[] = {
        {"Cache-Status: penstock; hit\r\n", "hit"},
        {"Cache-Status: penstock;fwd=miss; stored\r\n", "miss"},
        {"cache-status: \"cdn, far\"; hit, penstock; fwd=stale; fwd-status=304\r\n", "stale"},
        {"Cache-Status: penstock; hit; ttl=30; detail=fwd\r\n", "hit"},
        {"Cache-Status: penstock; fwd=a-word-that-is-too-long\r\n", "a-word-that-is-"},
        {"Cache-Status: penstock; fwd=\r\n", ""},
        {"Cache-Status: \r\n", ""},
        {"Cache-Status: ;\r\n", ""},
        {"", ""},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct lt_response response = {0};
        char text[256];
        bool complete = false;
        int len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n",
                           cases[i].field);
        assert_int_equal(lt_response_read(&response, text, (size_t)len, &complete), 0);
        assert_true(complete);
        assert_string_equal(response.cache, cases[i].word);
        lt_response_reset(&response);
    }
}

static void answers_are_counted_by_page_status_and_cache(void **state)
{
    (void)state;
    struct lt_pages *pages = parse("/a");
    struct lt_click visit = {.buyer = 1};
    struct lt_answer answer = {.outcome = LT_ANSWERED,
                               .click = &visit,
                               .status = 200,
                               .latency_ns = 5000000,
                               .cache = "hit",
                               .body = {"", 0}};
    lt_pages_add(pages, &answer);
    lt_pages_add(pages, &answer);
    answer.cache = "miss";
    answer.status = 503;
    lt_pages_add(pages, &answer);
    answer.outcome = LT_RESET;
    answer.cache = "";
    lt_pages_add(pages, &answer);
    assert_int_equal(lt_tally_count(pages->tally, "http_200"), 2);
    assert_int_equal(lt_tally_count(pages->tally, "http_503"), 1);
    assert_int_equal(lt_tally_count(pages->tally, "reset"), 1);
    assert_int_equal(pages->page[0].offered, 4);
    assert_int_equal(pages->page[0].latency.count, 3);
    assert_string_equal(pages->cache[0], "hit");
    assert_int_equal(pages->page[0].cache[0], 2);
    assert_int_equal(pages->page[0].cache[1], 1);
    lt_pages_free(pages);
}

static void visits_are_planned_for_as_long_as_buyers_come(void **state)
{
    (void)state;
    struct lt_pages *pages = parse("/a");
    struct ps_fault fault;
    assert_int_equal(lt_pages_plan(pages, 1000, 2500, 1, &fault), 0);
    assert_int_equal(pages->plan->count, 2500);
    assert_true(pages->plan->clicks[2499].at_ns < 2500 * PS_NS_PER_MS);
    lt_pages_free(pages);
    pages = parse("/a");
    assert_int_equal(lt_pages_plan(pages, 1e7, 60000, 1, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, "--pages-rate");
    lt_pages_free(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mix_has_paths_with_weights_of_which_one_is_the_default),
        cmocka_unit_test(a_mix_may_stand_in_a_file_by_lines),
        cmocka_unit_test(what_is_no_mix_is_refused_by_its_part),
        cmocka_unit_test(pages_are_asked_for_by_their_weights),
        cmocka_unit_test(a_visit_is_a_get_by_a_visitor_with_an_address),
        cmocka_unit_test(the_word_of_the_nearest_cache_is_read),
        cmocka_unit_test(answers_are_counted_by_page_status_and_cache),
        cmocka_unit_test(visits_are_planned_for_as_long_as_buyers_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
