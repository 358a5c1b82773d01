/* By its Via a request is known that comes back to the gateway. */
#include "tests/unit/check.h"

#include "gateway/upstream/via.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Is a request with these lines of Via one that goes round? NULL-terminated. */
static bool loops(const char *const *lines)
{
    static const struct ps_http_limits limits = {
        .target_max = 2048, .head_max = 1 << 17, .fields_max = PS_HTTP_FIELDS_MAX};
    static char text[1 << 17];
    struct ps_http_head head;
    size_t len = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: shop\r\n");

    for (; *lines != NULL; lines++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s\r\n", *lines);
    len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
    ps_http_request_init(&head, &limits);
    assert_int_equal(ps_http_head_parse(&head, text, len), PS_HTTP_DONE);
    return up_via_loops(&head, text);
}
#define LOOPS(...) loops((const char *const[]){__VA_ARGS__, NULL})

#define OWN "Via: " UP_VIA

static void the_third_time_is_one_too_many(void **state)
{
    (void)state;
    assert_false(LOOPS("Accept: */*"));
    assert_false(LOOPS(OWN));
    assert_false(LOOPS(OWN, OWN));
    assert_true(LOOPS(OWN, OWN, OWN));
    assert_true(LOOPS(OWN, OWN, OWN, OWN));
}

static void elements_of_one_line_and_of_several_count_alike(void **state)
{
    (void)state;
    assert_false(LOOPS("Via: 1.1 penstock, 1.1 penstock"));
    assert_true(LOOPS("Via: 1.1 penstock, 1.1 penstock, 1.1 penstock"));
    assert_true(LOOPS("Via: 1.1 penstock,1.1 penstock", OWN));
    assert_true(
        LOOPS("Via: ,, 1.0 fred,1.1 penstock ,", "X: y", "via:\t2\tPenstock", "VIA: 1.1 a", OWN));
    assert_true(LOOPS("Via: HTTP/1.1  penstock (one), HTTP/2 penstock(two), 1.1 penstock"));
}

static void other_names_count_for_nothing(void **state)
{
    (void)state;
    assert_false(LOOPS("Via: 1.1 penstock2, 1.1 penstock-a, 1.1 penstock.example, 1.1 a.penstock",
                       OWN, OWN));
    assert_false(LOOPS("Via: 1.1 penstoc, 1.1 pen stock, penstock, penstock 1.1, 1.1 penstock:80",
                       OWN, OWN));
    assert_false(LOOPS("Viae: 1.1 penstock", "X-Via: 1.1 penstock", OWN, OWN));
    assert_false(LOOPS("Via:", "Via: ,", "Via: 1.1", "Via: 1.1 ,", OWN, OWN));
}

static void comments_count_for_nothing(void **state)
{
    (void)state;
    assert_false(LOOPS("Via: 1.1 a (x, 1.1 penstock, 1.1 penstock, 1.1 penstock)", OWN, OWN));
    assert_false(
        LOOPS("Via: 1.1 a (x (y, 1.1 penstock), 1.1 penstock \\), 1.1 penstock)", OWN, OWN));
    assert_true(LOOPS("Via: 1.1 a (x, y), 1.1 penstock (a, (b)), 1.1 b", OWN, OWN));
}

static void a_comment_that_is_not_closed_hides_nothing(void **state)
{
    (void)state;
    assert_true(LOOPS("Via: 1.1 a (x, 1.1 penstock, 1.1 penstock, 1.1 penstock"));
    assert_true(LOOPS("Via: 1.1 a ((x), 1.1 penstock, 1.1 penstock, 1.1 penstock"));
    assert_true(LOOPS("Via: 1.1 a ) (\\), 1.1 penstock", OWN, OWN));
    assert_true(LOOPS("Via: 1.1 a (", OWN, OWN, OWN));
}

static void a_long_line_costs_its_length(void **state)
{
    (void)state;
    static char line[100000] = "Via: 1.1 ";
    memset(line + 9, '(', sizeof line - 10);
    clock_t began = clock();
    for (int i = 0; i < 10; i++)
        assert_false(LOOPS(line, OWN, OWN));
    for (size_t i = 9; i + 1 < sizeof line; i++)
        line[i] = "(),"[i % 3];
    for (int i = 0; i < 10; i++)
        assert_false(LOOPS(line, OWN, OWN));
    assert_true(clock() - began < 2 * CLOCKS_PER_SEC); /* square: minutes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_time_is_one_too_many),
        cmocka_unit_test(elements_of_one_line_and_of_several_count_alike),
        cmocka_unit_test(other_names_count_for_nothing),
        cmocka_unit_test(comments_count_for_nothing),
        cmocka_unit_test(a_comment_that_is_not_closed_hides_nothing),
        cmocka_unit_test(a_long_line_costs_its_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
