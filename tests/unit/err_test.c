/* The error table and faults. */
#include "tests/unit/check.h"

#include "common/err.h"

static void every_code_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(ps_err_text(PS_E_IO), "input or output failed");
    assert_string_equal(ps_err_text(PS_E_PERMISSION), "not permitted");
    assert_string_equal(ps_err_text(-999), "unknown error");
    assert_string_equal(ps_err_text(0), "unknown error");
}

static void a_fault_returns_its_code_and_keeps_path_and_text(void **state)
{
    (void)state;
    struct ps_fault fault;
    assert_int_equal(ps_fault(&fault, PS_E_INVALID, "/skus/0", "below %d", 1), PS_E_INVALID);
    assert_string_equal(fault.path, "/skus/0");
    assert_string_equal(fault.text, "below 1");
    assert_int_equal(ps_fault(NULL, PS_E_FULL, "x", "y"), PS_E_FULL);
}

static void a_fault_can_wrap_itself(void **state)
{
    (void)state;
    struct ps_fault fault;
    (void)ps_fault(&fault, PS_E_INVALID, "stock", "too small");
    (void)ps_fault(&fault, PS_E_INVALID, fault.path, "sale \"a\": %s", fault.text);
    assert_string_equal(fault.path, "stock");
    assert_string_equal(fault.text, "sale \"a\": too small");
}

static void a_long_fault_is_cut_between_characters(void **state)
{
    (void)state;
    struct ps_fault fault;
    char path[400];
    for (size_t i = 0; i + 2 < sizeof path; i += 2)
        memcpy(path + i, "\xc3\xa9", 2); /* 191 bytes fit: the last one is half a letter */
    path[398] = '\0';
    (void)ps_fault(&fault, PS_E_INVALID, path,
                   "a\nb\xff"
                   "c");
    assert_int_equal(strlen(fault.path), sizeof fault.path - 1);
    assert_int_equal(fault.path[sizeof fault.path - 2], '?');
    assert_string_equal(fault.text, "a?b?c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_text),
        cmocka_unit_test(a_fault_returns_its_code_and_keeps_path_and_text),
        cmocka_unit_test(a_fault_can_wrap_itself),
        cmocka_unit_test(a_long_fault_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
