/* Exit criteria of a rehearsal: thresholds on its report, and an older report to compare with. */
#include "tests/unit/check.h"

#include "gateway/answers/verdict.h"
#include "loadtest/baseline.h"
#include "loadtest/thresholds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 1,000 clicks: 600 accepted, of these 590 in time, 300 sold out, 100 without an answer. */
static json_t *report_of(double p99_ms, int unanswered)
{
    return json_pack(
        "{s:i, s:i, s:i, s:{s:i, s:i, s:i}, s:{s:i, s:{s:i, s:i}}, s:{s:{s:i, s:f, s:f, s:f, s:f, "
        "s:f}, s:{s:i, s:f, s:f, s:f}, s:{s:i, s:f, s:f}}, s:{s:i, s:i}}",
        "format", 1, "offered", 1000, "unanswered", unanswered, "answers", "accepted", 600,
        "sold_out", 300, "no_answer", unanswered, "in_time", "within_ms", 250, "answers",
        "accepted", 590, "sold_out", 300, "latency_ms", "all", "count", 900, "p50", 2.0, "p90",
        10.0, "p99", p99_ms, "p99_9", 150.0, "max", 200.0, "accepted", "count", 600, "p50", 3.0,
        "p90", 12.0, "p99", p99_ms, "refusals", "count", 300, "p50", 1.0, "p99", 5.0, "plan",
        "clicks", 1000, "buyers", 1000);
}

static size_t crossed_of(const char *text, const json_t *report)
{
    struct lt_thresholds thresholds;
    struct ps_fault fault = {.text = ""};
    if (lt_thresholds_parse(text, &thresholds, &fault) < 0)
        fail_msg("%s: %s", text, fault.text);
    json_t *judged = lt_thresholds_judge(&thresholds, report);
    assert_int_equal(json_array_size(judged), thresholds.count);
    size_t crossed = lt_thresholds_crossed(judged);
    json_decref(judged);
    return crossed;
}

static void a_threshold_is_crossed_beyond_its_bound_and_not_at_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t crossed;
    } cases[] = {
        {"p99=50ms", 0},
        {"p99=49ms", 1},
        {"p99=0.05s", 0},
        {"max=200ms,p50=2ms,p99_9=150ms,p90=9ms", 1},
        {"accepted.p99=49ms", 1},
        {"refusals.p99=5ms", 0},
        {"all.p99=50ms", 0},
        {"no_answer=10%", 0},
        {"no_answer=9.9%", 1},
        {"no_answer=0.1", 0},
        {"unanswered=0", 1},
        {"refusals=30%", 0},
        {"refusals=29%", 1},
        {"sold_out=0.3", 0},
        {"http_502=0", 0},
        {"shed=0%", 0},
        {"p99=1ms,no_answer=0,goodput=99%", 3},
    };
    json_t *report = report_of(50, 100);
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        if (crossed_of(cases[i].text, report) != cases[i].crossed)
            fail_msg("%s", cases[i].text);
    }
    json_decref(report);
}

static void goodput_is_what_was_accepted_in_time_and_has_a_lower_bound(void **state)
{
    (void)state;
    json_t *report = report_of(50, 100);
    assert_int_equal(crossed_of("goodput=59%", report), 0);
    assert_int_equal(crossed_of("goodput=59.1%", report), 1);
    assert_true(fabs(lt_goodput(report) - 0.59) < 1e-9);
    json_object_set_new(report, "in_time", json_null()); /* nobody asked how soon */
    assert_int_equal(crossed_of("goodput=60%", report), 0);
    json_decref(report);
}

static void what_nobody_measured_is_crossed(void **state)
{
    (void)state;
    json_t *report = report_of(50, 100);
    assert_int_equal(crossed_of("global_rate.p99=1s", report), 1);
    json_object_set_new(report, "offered", json_integer(0));
    assert_int_equal(crossed_of("no_answer=100%", report), 1);
    json_decref(report);
}

static void a_threshold_that_makes_no_sense_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "is not NAME=BOUND"},
        {"p99", "is not NAME=BOUND"},
        {"p99=50ms,", "is not NAME=BOUND"},
        {"p99=", "p99: \"\" is not a time"},
        {"p99=1%", "p99: \"1%\" is not a time"},
        {"p99=-1ms", "not a time"},
        {"p99=3", "p99: \"3\" has no unit: p99=3ms or p99=3s"},
        {"sold_out.max=0.5", "sold_out.max: \"0.5\" has no unit: sold_out.max=0.5ms"},
        {"no_answer=50ms", "no_answer: \"50ms\" is not a share"},
        {"no_answer=101%", "not a share"},
        {"no_answer=nan", "not a share"},
        {"goodput=-0.1", "not a share"},
        {"p98=50ms", "\"p98\" is not a figure"},
        {"soldout.p99=50ms", "is not a figure"},
        {"sold_out.p98=50ms", "is not a figure"},
        {"no_anwser=1%", "similar: no_answer"},
        {"http_5=1%", "is not a figure"},
        {"accepted=1%", "is not a figure"},
        {"p99=1s,p99=2s", "p99 appears twice"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct lt_thresholds thresholds = {.count = 7};
        struct ps_fault fault = {.text = ""};
        if (lt_thresholds_parse(cases[i].text, &thresholds, &fault) != PS_E_INVALID ||
            strstr(fault.text, cases[i].words) == NULL)
            fail_msg("%s: %s", cases[i].text, fault.text);
        assert_string_equal(fault.path, "--thresholds");
        assert_int_equal(thresholds.count, 7);
    }
}

/* A word that is missing in loadtest/thresholds.c could not be bounded. */
static void every_no_that_a_buyer_can_be_told_can_be_a_threshold(void **state)
{
    (void)state;
#define ROW(name, status, retry, title, audience, ...) {#name, status, audience},
    static const struct {
        const char *name;
        int status;
        enum ans_audience audience;
    } rows[] = {ANS_VERDICT_TABLE(ROW)};
#undef ROW
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char text[80];
        struct lt_thresholds thresholds;
        struct ps_fault fault;
        if (rows[i].status < 400 || rows[i].audience == ANS_TO_OPERATORS)
            continue;
        (void)snprintf(text, sizeof text, "%s=1%%", rows[i].name);
        if (lt_thresholds_parse(text, &thresholds, &fault) < 0)
            fail_msg("loadtest/thresholds.c does not know the answer %s", rows[i].name);
    }
}

static void print_names(FILE *out)
{
    struct lt_thresholds thresholds;
    struct ps_fault fault;
    json_t *report = report_of(50, 100);
    assert_ok(lt_thresholds_parse("p99=49ms,goodput=59%,shed.p50=1s", &thresholds, &fault));
    json_t *judged = lt_thresholds_judge(&thresholds, report);
    lt_thresholds_print(judged, out);
    json_decref(judged);
    json_decref(report);
}

static void the_lines_say_what_was_measured_and_what_was_wanted(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    print_names(out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text,
                        "  CROSSED p99              50.000 ms, at most 49 ms\n"
                        "  ok      goodput          59.000 %, at least 59 %\n"
                        "  CROSSED shed.p50         no such answer occurred, at most 1000 ms\n");
    free(text);
}

/* --- Two runs. --- */

static const json_t *figure_of(const json_t *compared, const char *name)
{
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(compared, "figures"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    fail_msg("no figure %s", name);
    return NULL;
}

static bool regressed(const json_t *compared, const char *name)
{
    return json_is_true(json_object_get(figure_of(compared, name), "regressed"));
}

static void a_run_against_itself_has_not_regressed(void **state)
{
    (void)state;
    json_t *report = report_of(50, 100), *compared = lt_baseline_compare(report, report, 0);
    assert_int_equal(lt_baseline_regressed(compared), 0);
    assert_int_equal(json_array_size(json_object_get(compared, "unlike")), 0);
    assert_true(json_number_value(json_object_get(figure_of(compared, "p99"), "change")) == 0);
    json_decref(compared);
    json_decref(report);
}

static void what_is_worse_beyond_the_bound_has_regressed(void **state)
{
    (void)state;
    json_t *old = report_of(50, 100), *new = report_of(56, 120);
    json_t *compared = lt_baseline_compare(old, new, 0.1);
    assert_true(regressed(compared, "p99"));
    assert_true(regressed(compared, "accepted.p99"));
    assert_true(regressed(compared, "unanswered"));
    assert_false(regressed(compared, "p50"));
    assert_false(regressed(compared, "goodput"));
    assert_int_equal(lt_baseline_regressed(compared), 3);
    json_decref(compared);

    compared = lt_baseline_compare(old, new, 0.2); /* at the bound */
    assert_int_equal(lt_baseline_regressed(compared), 0);
    json_decref(compared);

    compared = lt_baseline_compare(new, old, 0); /* better is no regression */
    assert_int_equal(lt_baseline_regressed(compared), 0);
    json_decref(compared);

    json_object_set_new(json_object_get(json_object_get(new, "in_time"), "answers"), "accepted",
                        json_integer(500));
    compared = lt_baseline_compare(old, new, 0.1);
    assert_true(regressed(compared, "goodput"));
    json_decref(compared);
    json_decref(old);
    json_decref(new);
}

static void small_differences_are_noise(void **state)
{
    (void)state;
    json_t *old = report_of(0.5, 0), *new = report_of(1.4, 1);
    json_t *compared = lt_baseline_compare(old, new, 0.1);
    assert_int_equal(lt_baseline_regressed(compared), 0);
    json_decref(compared);
    json_decref(old);
    json_decref(new);
}

static void an_answer_of_one_run_alone_is_shown(void **state)
{
    (void)state;
    json_t *old = report_of(50, 100), *new = report_of(50, 100);
    json_object_set_new(json_object_get(new, "answers"), "shed", json_integer(50));
    json_t *compared = lt_baseline_compare(old, new, 0.1);
    const json_t *row = figure_of(compared, "shed");
    assert_true(json_number_value(json_object_get(row, "old")) == 0);
    assert_true(fabs(json_number_value(json_object_get(row, "new")) - 0.05) < 1e-9);
    assert_true(json_is_null(json_object_get(row, "change")));
    json_decref(compared);
    json_decref(old);
    json_decref(new);
}

static void runs_that_are_not_alike_are_said_to_be_so(void **state)
{
    (void)state;
    json_t *old = report_of(50, 100), *new = report_of(50, 100);
    json_object_set_new(json_object_get(new, "plan"), "clicks", json_integer(2000));
    json_object_set_new(new, "in_time", json_null());
    json_t *compared = lt_baseline_compare(old, new, 0.1);
    const json_t *unlike = json_object_get(compared, "unlike");
    assert_int_equal(json_array_size(unlike), 2);
    assert_string_equal(json_string_value(json_array_get(unlike, 0)),
                        "plan.clicks was 1000, is 2000");
    assert_string_equal(json_string_value(json_array_get(unlike, 1)),
                        "in_time.within_ms was 250, is not there");
    json_decref(compared);
    json_decref(old);
    json_decref(new);
}

static void a_baseline_that_is_no_report_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"{", "[]", "{}", "{\"format\":1}",
                                        "{\"format\":2,\"latency_ms\":{},\"offered\":1}"};
    char path[64];
    json_t *json = NULL;
    struct ps_fault fault = {.text = ""};
    (void)snprintf(path, sizeof path, "/tmp/penstock-baseline-%d", (int)getpid());
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        FILE *file = fopen(path, "w");
        fputs(texts[i], file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(lt_baseline_load(path, &json, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, "--baseline");
        assert_non_null(strstr(fault.text, path));
    }
    (void)remove(path);
    assert_int_equal(lt_baseline_load(path, &json, &fault), PS_E_IO);
    assert_null(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_threshold_is_crossed_beyond_its_bound_and_not_at_it),
        cmocka_unit_test(goodput_is_what_was_accepted_in_time_and_has_a_lower_bound),
        cmocka_unit_test(what_nobody_measured_is_crossed),
        cmocka_unit_test(a_threshold_that_makes_no_sense_is_named),
        cmocka_unit_test(every_no_that_a_buyer_can_be_told_can_be_a_threshold),
        cmocka_unit_test(the_lines_say_what_was_measured_and_what_was_wanted),
        cmocka_unit_test(a_run_against_itself_has_not_regressed),
        cmocka_unit_test(what_is_worse_beyond_the_bound_has_regressed),
        cmocka_unit_test(small_differences_are_noise),
        cmocka_unit_test(an_answer_of_one_run_alone_is_shown),
        cmocka_unit_test(runs_that_are_not_alike_are_said_to_be_so),
        cmocka_unit_test(a_baseline_that_is_no_report_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
