/* A command line from a table. */
#include "tests/unit/check.h"

#include "common/program/flags.h"

#include <stdio.h>
#include <stdlib.h>

struct filled {
    bool loud;
    const char *file;
    int64_t count;
};

static const struct ps_flag table[] = {
    {"--loud", NULL, "say more", ps_flag_set_bool, offsetof(struct filled, loud), 0, 0},
    {"--file", "FILE",
     "a text that is longer than what is left of eighty columns beside the name of its flag, and "
     "ends here",
     ps_flag_set_text, offsetof(struct filled, file), 0, 0},
    {"--a-flag-with-a-long-name", "N", "how many", ps_flag_set_int, offsetof(struct filled, count),
     1, 9},
};

static int read_line(const char *line, struct filled *fill, struct ps_fault *fault)
{
    static char text[256];
    char *argv[16] = {(char[]){"program"}};
    int argc = 1;
    (void)snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    return ps_flags_read(table, PS_ARRAY_LEN(table), argc, argv, fill, fault);
}

static void flags_fill_their_fields(void **state)
{
    (void)state;
    static const struct {
        const char *line, *file;
        bool loud;
        int64_t count;
    } cases[] = {
        {"", "none", false, 7},
        {"--loud --file a --a-flag-with-a-long-name 9", "a", true, 9},
        {"--file=a=b --a-flag-with-a-long-name=1", "a=b", false, 1},
        {"--file --loud", "--loud", false, 7},
        {"--loud=true --file a --file b", "b", true, 7},
        {"--loud --loud=false --file=", "", false, 7},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct filled fill = {.file = "none", .count = 7};
        struct ps_fault fault;
        assert_ok(read_line(cases[i].line, &fill, &fault));
        assert_string_equal(fill.file, cases[i].file);
        assert_int_equal(fill.loud, cases[i].loud);
        assert_int_equal(fill.count, cases[i].count);
    }
}

static void a_fault_names_the_flag_and_the_nearest_one(void **state)
{
    (void)state;
    static const struct {
        const char *line, *path, *text;
    } cases[] = {
        {"--lout", "--lout", "did you mean --loud;"},
        {"--zzzzzzzz", "--zzzzzzzz", "is not an option; see --help"},
        {"loud", "loud", "is not an option"},
        {"--file", "--file", "needs a value"},
        {"--loud=yes", "--loud", "takes no value"},
        {"--a-flag-with-a-long-name 0", "--a-flag-with-a-long-name", "\"0\" is not a whole number"},
        {"--a-flag-with-a-long-name 10", "--a-flag-with-a-long-name", "from 1 to 9"},
        {"--a-flag-with-a-long-name 1x", "--a-flag-with-a-long-name", "\"1x\""},
        {"--a-flag-with-a-long-name=", "--a-flag-with-a-long-name", "\"\""},
        {"--a-flag-with-a-long-name 99999999999999999999", "--a-flag-with-a-long-name", "whole"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct filled fill = {.count = 7};
        struct ps_fault fault;
        assert_int_equal(read_line(cases[i].line, &fill, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, cases[i].path);
        assert_non_null(strstr(fault.text, cases[i].text));
        assert_int_equal(fill.count, 7);
    }
}

static void the_help_fits_eighty_columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    ps_flags_print_help(table, PS_ARRAY_LEN(table), out);
    assert_ok(fclose(out));
    static const char expected[] =
        "  --loud                    say more\n"
        "  --file FILE               a text that is longer than what is left of eighty\n"
        "                            columns beside the name of its flag, and ends here\n"
        "  --a-flag-with-a-long-name N\n"
        "                            how many\n";
    assert_string_equal(text, expected);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_fill_their_fields),
        cmocka_unit_test(a_fault_names_the_flag_and_the_nearest_one),
        cmocka_unit_test(the_help_fits_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
