/* Reference pages: text wraps without losing a word, and the manual quotes what its markup would
 * take for itself. */
#include "tests/unit/check.h"

#include "common/program/reference.h"

#include <stdlib.h>
#include <string.h>

static const char *const colours[] = {"red", "green", NULL};

static const struct ps_option options[] = {
    {"shop.open", PS_OPT_BOOL, 0, 0, 0, "true", "", NULL, true, "Whether it is open"},
    {"shop.name", PS_OPT_STRING, 0, 1, 9, "\"a\\\\b\"", "", NULL, false, "The shop's \"name\""},
    {"workers", PS_OPT_INT, 0, 0, 8, "0", "threads", NULL, false, "Worker threads"},
};

static const struct ps_metric metrics[] = {
    {"penstock_cars_total", "Cars by colour.", PS_COUNTER, "colour", colours, NULL},
    {"penstock_wait_seconds", "Waiting time.", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
};

static char *text;
static size_t len;

static FILE *open_page(void)
{
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    return out;
}

static void assert_page(FILE *out, const char *expected)
{
    assert_ok(fclose(out));
    assert_string_equal(text, expected);
    free(text);
}

static void a_text_wraps_at_110_columns_without_losing_a_word(void **state)
{
    (void)state;
    char words[500] = "";
    for (int i = 0; i < 99; i++)
        strcat(words, i == 0 ? "word" : " word");
    FILE *out = open_page();
    ps_reference_fill(out, 0, 2, words);
    assert_ok(fclose(out));
    size_t found = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        assert_in_range(strlen(line), 1, 110);
        assert_int_equal(strspn(line, " "), 2);
        for (const char *at = line; (at = strstr(at, "word")) != NULL; at += 4)
            found++;
    }
    assert_int_equal(found, 99);
    free(text);
}

static void a_text_goes_on_at_its_column(void **state)
{
    (void)state;
    FILE *out = open_page();
    fputs("- Client:", out);
    ps_reference_fill(out, 9, 2, "wait");
    assert_page(out, "- Client: wait\n");
}

static void settings_stand_under_the_first_part_of_their_path(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_settings(out, options, PS_ARRAY_LEN(options));
    assert_page(out, "## shop\n"
                     "\n"
                     "- **`shop.open`** (true, false; default `true`; live):\n"
                     "  Whether it is open\n"
                     "- **`shop.name`** (string of 1 to 9 bytes; default `\"a\\\\b\"`):\n"
                     "  The shop's \"name\"\n"
                     "\n"
                     "## workers\n"
                     "\n"
                     "- **`workers`** (0 to 8 threads; default `0`):\n"
                     "  Worker threads\n");
}

static void the_manual_quotes_what_its_markup_would_take_for_itself(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_manual(out, "shop", "little shop", options, PS_ARRAY_LEN(options));
    assert_ok(fclose(out));
    assert_non_null(strstr(text, ".Dt SHOP.JSON 5\n"));
    assert_non_null(
        strstr(text, ".It Cm shop.open Pq true, false ; default Li true\n"
                     "Whether it is open (live).\n"
                     ".It Cm shop.name Pq string of 1 to 9 bytes ; default Li \\(dqa\\e\\eb\\(dq\n"
                     "The shop's \\(dqname\\(dq.\n"
                     ".It Cm workers Pq 0 to 8 threads ; default Li 0\n"
                     "Worker threads.\n"));
    free(text);
}

static void the_gravest_events_come_first(void **state)
{
    (void)state;
    static const struct ps_reference_event events[] = {
        {"opened", PS_LOG_INFO, "The shop is open.", ""},
        {"burnt", PS_LOG_ERROR, "The shop has burnt down.", "Build another."},
    };
    FILE *out = open_page();
    ps_reference_events(out, events, PS_ARRAY_LEN(events));
    assert_page(out,
                "\n## Errors\n\n### burnt\n\nThe shop has burnt down.\n*To do:* Build another.\n"
                "\n## Information\n\n### opened\n\nThe shop is open.\n");
}

static void a_metric_has_its_type_and_the_values_of_its_label(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_metrics(out, metrics, PS_ARRAY_LEN(metrics));
    assert_page(out, "- **`penstock_cars_total`** (counter):\n"
                     "  Cars by colour.\n"
                     "  Label `colour`: red, green\n"
                     "- **`penstock_wait_seconds`** (histogram):\n"
                     "  Waiting time.\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_wraps_at_110_columns_without_losing_a_word),
        cmocka_unit_test(a_text_goes_on_at_its_column),
        cmocka_unit_test(settings_stand_under_the_first_part_of_their_path),
        cmocka_unit_test(the_manual_quotes_what_its_markup_would_take_for_itself),
        cmocka_unit_test(the_gravest_events_come_first),
        cmocka_unit_test(a_metric_has_its_type_and_the_values_of_its_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
