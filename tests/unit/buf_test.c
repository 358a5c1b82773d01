/* The bounded text buffer. */
#include "tests/unit/check.h"

#include "common/text/buf.h"
#include "common/text/json.h"

#include <inttypes.h>
#include <stdio.h>

static void assert_text(const struct ps_buf *buf, const char *want)
{
    assert_int_equal(buf->len, strlen(want));
    assert_memory_equal(buf->at, want, buf->len);
}

static void what_fits_is_kept_and_the_rest_is_flagged(void **state)
{
    (void)state;
    char memory[6];
    struct ps_buf buf;
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_puts(&buf, "abc");
    ps_buf_put(&buf, "def", 3);
    assert_false(buf.overflow);
    assert_text(&buf, "abcdef");
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_puts(&buf, "abcd");
    ps_buf_puts(&buf, "efgh");
    assert_true(buf.overflow);
    assert_text(&buf, "abcdef");
    ps_buf_init(&buf, NULL, 0);
    ps_buf_printf(&buf, "%d", 1);
    assert_true(buf.overflow);
    assert_text(&buf, "");
}

static void after_an_overflow_nothing_more_is_taken(void **state)
{
    (void)state;
    char memory[6];
    struct ps_buf buf;
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_printf(&buf, "%s", "longer than that");
    assert_true(buf.overflow);
    size_t len = buf.len;
    ps_buf_puts(&buf, "x");
    ps_buf_put_int(&buf, 1);
    ps_buf_printf(&buf, "x");
    assert_int_equal(buf.len, len);
    assert_memory_equal(memory, "longe", 5);
}

static void integers_print_as_printf_prints_them(void **state)
{
    (void)state;
    static const int64_t values[] = {
        0, 1, -1, 9, 10, -10, 99, 100, INT32_MAX, INT32_MIN, PS_INT_MAX, INT64_MAX, INT64_MIN,
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(values); i++) {
        char memory[32], want[32];
        struct ps_buf buf;
        ps_buf_init(&buf, memory, sizeof memory);
        ps_buf_put_int(&buf, values[i]);
        snprintf(want, sizeof want, "%" PRId64, values[i]);
        assert_text(&buf, want);
    }
}

static void a_json_string_reads_back_as_it_was(void **state)
{
    (void)state;
    char text[512], memory[4096];
    size_t len = 0;
    for (int c = 1; c < 0x80; c++)
        text[len++] = (char)c;
    len += (size_t)snprintf(text + len, sizeof text - len, "%s",
                            "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
    struct ps_buf buf;
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_json(&buf, text, len);
    assert_false(buf.overflow);
    json_t *json = NULL;
    assert_ok(ps_json_parse(buf.at, buf.len, &json, NULL));
    assert_int_equal(json_string_length(json), len);
    assert_memory_equal(json_string_value(json), text, len);
    json_decref(json);
}

static void a_json_string_is_valid_whatever_comes_in(void **state)
{
    (void)state;
    char memory[128];
    struct ps_buf buf;
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_json(&buf,
                    "a\xff"
                    "b\0\xe2\x82",
                    6);
    assert_text(&buf, "\"a\\ufffdb\\u0000\\ufffd\\ufffd\"");
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_json(&buf, "q\"\\\n\r\t\x1f", 7);
    assert_text(&buf, "\"q\\\"\\\\\\n\\r\\t\\u001f\"");
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_json(&buf, "", 0);
    assert_text(&buf, "\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_kept_and_the_rest_is_flagged),
        cmocka_unit_test(after_an_overflow_nothing_more_is_taken),
        cmocka_unit_test(integers_print_as_printf_prints_them),
        cmocka_unit_test(a_json_string_reads_back_as_it_was),
        cmocka_unit_test(a_json_string_is_valid_whatever_comes_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
