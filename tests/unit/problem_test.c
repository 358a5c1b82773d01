/* The body and the Retry-After of problem answers. How they travel is seen in http_test.c. */
#include "gateway/answers/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static char memory[4096];

static json_t *print(enum ans_verdict verdict, const struct ans_problem_detail *detail,
                     struct ps_str instance)
{
    struct ps_buf buf;
    ps_buf_init(&buf, memory, sizeof memory);
    ans_problem_print(&buf, verdict, detail, instance, PS_STR("r-1"));
    assert_false(buf.overflow);
    json_t *json = json_loadb(buf.at, buf.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static void expect(const json_t *json, const char *member, const char *value)
{
    assert_string_equal(json_string_value(json_object_get(json, member)), value);
}

static void every_no_of_the_table_prints_a_whole_problem(void **state)
{
    size_t printed = 0;
    (void)state;
    for (int verdict = 0; verdict < ANS_VERDICT_COUNT; verdict++) {
        const struct ans_verdict_row *row = &ans_verdicts[verdict];
        if (row->status < 400)
            continue;
        json_t *json = print((enum ans_verdict)verdict, NULL, PS_STR("/v1/x"));
        expect(json, "code", row->name);
        expect(json, "title", row->title);
        expect(json, "instance", "/v1/x");
        expect(json, "request_id", "r-1");
        assert_int_equal(json_integer_value(json_object_get(json, "status")), row->status);
        assert_true(json_is_string(json_object_get(json, "type")));
        assert_int_equal(json_object_get(json, "violated-policies") != NULL,
                         row->status == 429 || row->status == 503);
        assert_null(json_object_get(json, "detail"));
        json_decref(json);
        printed++;
    }
    assert_true(printed > 30);
}

static void the_type_is_the_urn_of_the_code(void **state)
{
    json_t *json;
    (void)state;
    json = print(ANS_V_sold_out, NULL, PS_STR("/"));
    expect(json, "type", "urn:penstock:problem:sold_out");
    json_decref(json);
    json = print(ANS_V_ip_rate, NULL, PS_STR("/"));
    expect(json, "type", "urn:penstock:problem:ip_rate");
    json_decref(json);
    json = print(ANS_V_fenced, NULL, PS_STR("/"));
    expect(json, "type", "urn:penstock:problem:fenced");
    const json_t *policies = json_object_get(json, "violated-policies");
    assert_int_equal(json_array_size(policies), 1);
    assert_string_equal(json_string_value(json_array_get(policies, 0)), "fenced");
    json_decref(json);
}

static void what_a_stranger_chose_is_escaped(void **state)
{
    struct ans_problem_detail detail = {
        .text = "a \"b\" \\ c", .order_id = {"o\"1", 3}, .pointer = "/a\"b"};
    (void)state;
    json_t *json = print(ANS_V_invalid, &detail, PS_STR("/x\"y"));
    expect(json, "detail", "a \"b\" \\ c");
    expect(json, "order_id", "o\"1");
    expect(json, "pointer", "/a\"b");
    expect(json, "instance", "/x\"y");
    json_decref(json);
}

static void retry_after_is_never_before_the_limit_allows(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct ans_problem_detail detail = {.retry_after_s = 4, .seed = seed};
        assert_in_range(ans_problem_retry_after(ANS_V_user_rate, &detail), 4, 5);
        detail.limit = (struct ans_limit_fields){"user", 5, 10, 0, 9};
        assert_in_range(ans_problem_retry_after(ANS_V_user_rate, &detail), 9, 10);
        detail = (struct ans_problem_detail){.seed = seed};
        assert_int_equal(ans_problem_retry_after(ANS_V_user_rate, &detail), 1);
        assert_in_range(ans_problem_retry_after(ANS_V_shed, &detail), 1, 3);
        assert_in_range(ans_problem_retry_after(ANS_V_not_started, &detail), 1, 2);
        detail.retry_after_s = 60;
        assert_in_range(ans_problem_retry_after(ANS_V_not_started, &detail), 60, 62);
        assert_in_range(ans_problem_retry_after(ANS_V_store_unavailable, &detail), 60, 62);
        assert_int_equal(ans_problem_retry_after(ANS_V_sold_out, &detail), 60);
    }
}

/* A user with nothing left of their own quota would get 429 next. */
static void no_retry_after_is_before_the_askers_quota_has_room_again(void **state)
{
    static const enum ans_verdict verdicts[] = {ANS_V_user_rate, ANS_V_store_unavailable,
                                                ANS_V_paused, ANS_V_idempotency_in_progress,
                                                ANS_V_not_started};
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct ans_problem_detail detail = {.seed = seed, .limit = {"user", 5, 10, 0, 9}};
        for (size_t i = 0; i < PS_ARRAY_LEN(verdicts); i++)
            assert_in_range(ans_problem_retry_after(verdicts[i], &detail), 9, 11);
        assert_int_equal(ans_problem_retry_after(ANS_V_sold_out, &detail), 0);
        detail.limit.remaining = 1; /* a request is left: a short fault is no reason to stay away */
        assert_in_range(ans_problem_retry_after(ANS_V_store_unavailable, &detail), 1, 3);
    }
}

/* A client that reads Retry-After into 32 bits would come again at once, and go on. */
static void a_retry_after_in_a_far_year_fits_into_32_bits(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct ans_problem_detail detail = {.retry_after_s = INT64_C(251604352000), .seed = seed};
        assert_int_equal(ans_problem_retry_after(ANS_V_not_started, &detail), INT32_MAX);
        detail.retry_after_s = INT32_MAX - 9;
        assert_in_range(ans_problem_retry_after(ANS_V_not_started, &detail), INT32_MAX - 9,
                        INT32_MAX - 7);
    }
}

static void retry_after_is_there_exactly_where_the_table_wants_it(void **state)
{
    (void)state;
    for (int verdict = 0; verdict < ANS_VERDICT_COUNT; verdict++)
        assert_int_equal(ans_problem_retry_after((enum ans_verdict)verdict, NULL) > 0,
                         ans_verdicts[verdict].retry != ANS_RETRY_NONE);
}

static void users_are_spread_and_each_keeps_his_place(void **state)
{
    bool seen[4] = {false};
    (void)state;
    for (uint64_t seed = 0; seed < 9; seed++) {
        struct ans_problem_detail detail = {.seed = seed};
        int64_t after_s = ans_problem_retry_after(ANS_V_shed, &detail);
        assert_in_range(after_s, 1, 3);
        assert_int_equal(after_s, ans_problem_retry_after(ANS_V_shed, &detail));
        seen[after_s] = true;
    }
    assert_true(seen[1] && seen[2] && seen[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_no_of_the_table_prints_a_whole_problem),
        cmocka_unit_test(the_type_is_the_urn_of_the_code),
        cmocka_unit_test(what_a_stranger_chose_is_escaped),
        cmocka_unit_test(retry_after_is_never_before_the_limit_allows),
        cmocka_unit_test(no_retry_after_is_before_the_askers_quota_has_room_again),
        cmocka_unit_test(a_retry_after_in_a_far_year_fits_into_32_bits),
        cmocka_unit_test(retry_after_is_there_exactly_where_the_table_wants_it),
        cmocka_unit_test(users_are_spread_and_each_keeps_his_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
