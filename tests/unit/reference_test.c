/* Reference pages: text wraps without losing a word, and the manual quotes what its markup would
 * take for itself. */
#include "tests/unit/check.h"

#include "common/program/reference.h"

#include <stdlib.h>
#include <string.h>

static const char *const colours[] = {"red", "green", NULL};

static const struct ps_member door_rows[] = {
    {"wide", PS_M_INT, .max = 9, .unit = {"m", "米"}, .text = {"How wide", "宽度"}},
};
static const struct ps_table door = {.members = door_rows, .count = PS_ARRAY_LEN(door_rows)};
static const struct ps_member door_item = {"", PS_M_OBJECT, .table = &door};

/* clang-format off */
static const struct ps_member rows[] = {
    {"shop.open", PS_M_BOOL, .flags = PS_M_RELOADS, .fallback = "true", .text = {"Whether it is open", "是否营业"}},
    {"shop.name", PS_M_STRING, .min = 1, .max = 9, .fallback = "\"a\\\\b\"", .text = {"The shop's \"name\"", "店名"}},
    {"workers", PS_M_INT, .max = 8, .unit = {"threads", "个线程"}, .fallback = "0", .text = {"Worker threads", "线程数"}},
};
static const struct ps_member street_rows[] = {
    {"doors", PS_M_LIST, .max = 3, .item = &door_item, .text = {"Its doors", "门"}},
    {"seen", PS_M_INT, .flags = PS_M_LIVE, .text = {"Who came", "访客"}},
};
/* clang-format on */
static const struct ps_table table = {.members = rows, .count = PS_ARRAY_LEN(rows)};
static const struct ps_table street = {.members = street_rows, .count = PS_ARRAY_LEN(street_rows)};

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

static void a_chinese_character_takes_two_columns(void **state)
{
    (void)state;
    FILE *out = open_page();
    char words[300] = "";
    for (int i = 0; i < 26; i++)
        strcat(words, "库存");
    strcat(words, " 库 库存"); /* 104 columns, 3 more, 5 more */
    ps_reference_fill(out, 0, 0, words);
    assert_ok(fclose(out));
    assert_string_equal(strchr(text, ' '), " 库\n库存\n");
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

static void members_are_a_list_with_those_of_objects_inside(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_members(out, &street, PS_ENGLISH);
    assert_page(out, "- **`doors`** (an array of 0 to 3 entries):\n"
                     "  Its doors\n"
                     "- **`doors[].wide`** (a whole number between 0 and 9 m):\n"
                     "  How wide\n"
                     "- **`seen`** (read-only):\n"
                     "  Who came\n");
}

static void settings_stand_under_the_first_part_of_their_path(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_settings(out, &table, PS_ENGLISH);
    assert_page(out, "## shop\n"
                     "\n"
                     "- **`shop.open`** (true or false; default `true`; live):\n"
                     "  Whether it is open\n"
                     "- **`shop.name`** (a string of 1 to 9 bytes; default `\"a\\\\b\"`):\n"
                     "  The shop's \"name\"\n"
                     "\n"
                     "## workers\n"
                     "\n"
                     "- **`workers`** (a whole number between 0 and 8 threads; default `0`):\n"
                     "  Worker threads\n");
}

static void settings_are_printed_in_chinese(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_settings(out, &table, PS_CHINESE);
    assert_page(out, "## shop\n"
                     "\n"
                     "- **`shop.open`** (true 或 false; 默认 `true`; 热加载):\n"
                     "  是否营业\n"
                     "- **`shop.name`** (字符串，1 至 9 个字节; 默认 `\"a\\\\b\"`):\n"
                     "  店名\n"
                     "\n"
                     "## workers\n"
                     "\n"
                     "- **`workers`** (整数，0 至 8 个线程; 默认 `0`):\n"
                     "  线程数\n");
}

static void the_help_has_two_lines_for_every_setting(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_help(out, &table);
    assert_page(out, "  shop.open  true (true or false; live)\n"
                     "      Whether it is open\n"
                     "  shop.name  \"a\\\\b\" (a string of 1 to 9 bytes)\n"
                     "      The shop's \"name\"\n"
                     "  workers  0 (a whole number between 0 and 8 threads)\n"
                     "      Worker threads\n");
}

static void the_manual_quotes_what_its_markup_would_take_for_itself(void **state)
{
    (void)state;
    FILE *out = open_page();
    ps_reference_manual(out, "shop", "little shop", &table);
    assert_ok(fclose(out));
    assert_non_null(strstr(text, ".Dt SHOP.JSON 5\n"));
    assert_non_null(strstr(
        text, ".It Cm shop.open Pq \"true or false\" ; default Li \"true\"\n"
              "Whether it is open (live).\n"
              ".It Cm shop.name Pq \"a string of 1 to 9 bytes\" ; default Li "
              "\"\\(dqa\\e\\eb\\(dq\"\n"
              "The shop's \\(dqname\\(dq.\n"
              ".It Cm workers Pq \"a whole number between 0 and 8 threads\" ; default Li \"0\"\n"
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
        cmocka_unit_test(a_chinese_character_takes_two_columns),
        cmocka_unit_test(a_text_goes_on_at_its_column),
        cmocka_unit_test(members_are_a_list_with_those_of_objects_inside),
        cmocka_unit_test(settings_stand_under_the_first_part_of_their_path),
        cmocka_unit_test(settings_are_printed_in_chinese),
        cmocka_unit_test(the_help_has_two_lines_for_every_setting),
        cmocka_unit_test(the_manual_quotes_what_its_markup_would_take_for_itself),
        cmocka_unit_test(the_gravest_events_come_first),
        cmocka_unit_test(a_metric_has_its_type_and_the_values_of_its_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
