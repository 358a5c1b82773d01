/* Strict UTF-8. */
#include "tests/unit/check.h"

#include "common/text/utf8.h"

#include <string.h>

static void every_code_point_is_decoded_as_it_was_encoded(void **state)
{
    (void)state;
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        if (point >= 0xd800 && point <= 0xdfff)
            continue;
        char text[4];
        size_t size = 1;
        if (point < 0x80) {
            text[0] = (char)point;
        } else if (point < 0x800) {
            size = 2;
            text[0] = (char)(0xc0 | point >> 6);
        } else if (point < 0x10000) {
            size = 3;
            text[0] = (char)(0xe0 | point >> 12);
            text[1] = (char)(0x80 | (point >> 6 & 0x3f));
        } else {
            size = 4;
            text[0] = (char)(0xf0 | point >> 18);
            text[1] = (char)(0x80 | (point >> 12 & 0x3f));
            text[2] = (char)(0x80 | (point >> 6 & 0x3f));
        }
        if (size > 1)
            text[size - 1] = (char)(0x80 | (point & 0x3f));
        uint32_t decoded = 0;
        if (ps_utf8_next(text, size, &decoded) != size || decoded != point)
            fail_msg("U+%04X", point);
        if (ps_utf8_next(text, size - 1, &decoded) != 0)
            fail_msg("U+%04X cut short", point);
    }
}

static void what_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",             /* a continuation alone */
        "\xc0\x80",         /* overlong NUL */
        "\xc1\xbf",         /* overlong */
        "\xe0\x80\x80",     /* overlong */
        "\xe0\x9f\xbf",     /* overlong */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",     /* first surrogate */
        "\xed\xbf\xbf",     /* last surrogate */
        "\xf4\x90\x80\x80", /* beyond U+10FFFF */
        "\xf8\x88\x80\x80\x80",
        "\xc3\x28",
        "\xe2\x82\x28",
        "\xff",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        uint32_t point;
        assert_int_equal(ps_utf8_next(bad[i], strlen(bad[i]), &point), 0);
    }
}

static void white_space_and_controls_are_those_of_unicode(void **state)
{
    (void)state;
    size_t spaces = 0, controls = 0;
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        spaces += ps_utf8_is_space(point);
        controls += ps_utf8_is_control(point);
    }
    assert_int_equal(spaces, 25);   /* members of White_Space in Unicode 15 */
    assert_int_equal(controls, 65); /* members of Cc */
}

static void a_text_is_cut_between_characters(void **state)
{
    static const struct {
        const char *text;
        size_t max, cut;
    } cases[] = {{"abc", 3, 3},     {"abc", 2, 2},          {"", 2, 0},           {"a\u00e9", 2, 1},
                 {"a\u00e9", 3, 3}, {"\u8d27\u8d27", 5, 3}, {"\U0001f600", 3, 0}, {"abc", 0, 0}};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++)
        assert_int_equal(ps_utf8_cut(cases[i].text, strlen(cases[i].text), cases[i].max),
                         cases[i].cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_decoded_as_it_was_encoded),
        cmocka_unit_test(what_is_not_utf8_is_refused),
        cmocka_unit_test(a_text_is_cut_between_characters),
        cmocka_unit_test(white_space_and_controls_are_those_of_unicode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
