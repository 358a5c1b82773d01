/* Secrets in files. */
#include "tests/unit/temp_dir.h"

#include "common/program/secret.h"

#include <string.h>

static struct temp_dir dir;
static char secret[9];
static struct ps_fault fault;

static int read_secret(const char *path)
{
    fault = (struct ps_fault){0};
    return ps_secret_read(path, "store.redis.password_file", sizeof secret - 1, secret, &fault);
}

/* A file of this text with this mode. */
static const char *kept(const char *name, const char *text, mode_t mode)
{
    const char *path = temp_file(&dir, name);
    write_file(path, text);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void the_first_line_is_the_secret(void **state)
{
    static const char *const texts[] = {"sesame", "sesame\n", "sesame\r\n", "sesame\nof 2026\n"};
    (void)state;
    dir = temp_dir_make();
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        dir.used = 0;
        assert_ok(read_secret(kept("password", texts[i], 0600)));
        assert_string_equal(secret, "sesame");
    }
    temp_dir_remove(&dir);
}

static void each_line_that_counts_is_read(void **state)
{
    static const char setting[] = "tracing.headers_file";
    struct ps_strings lines;
    (void)state;
    dir = temp_dir_make();
    const char *path = kept("lines", "# ours\na: b\r\n\nc: d", 0600);
    assert_ok(ps_secret_read_lines(path, setting, 8, 2, &lines, &fault));
    assert_int_equal(lines.count, 2);
    assert_string_equal(lines.at[0], "a: b");
    assert_string_equal(lines.at[1], "c: d");
    ps_secret_lines_free(&lines);
    assert_int_equal(ps_secret_read_lines(path, setting, 8, 1, &lines, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "more than 1 line"));
    assert_int_equal(ps_secret_read_lines(path, setting, 3, 2, &lines, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "longer than 3 bytes"));
    assert_string_equal(fault.path, setting);
    assert_int_equal(
        ps_secret_read_lines(kept("empty", "# none\n", 0600), setting, 8, 2, &lines, &fault),
        PS_E_INVALID);
    assert_int_equal(
        ps_secret_read_lines(kept("open", "a: b\n", 0644), setting, 8, 2, &lines, &fault),
        PS_E_PERMISSION);
    temp_dir_remove(&dir);
}

static void a_name_is_looked_for_among_the_credentials_of_the_service(void **state)
{
    (void)state;
    dir = temp_dir_make();
    const char *path = kept("redis-password", "sesame\n", 0444); /* systemd guards the directory */
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir.path, 1), 0);
    assert_ok(read_secret("redis-password"));
    assert_string_equal(secret, "sesame");
    assert_int_equal(read_secret("another"), PS_E_NOT_FOUND);
    assert_int_equal(read_secret(path), PS_E_PERMISSION);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(read_secret("redis-password"), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "if systemd starts the program"));
    temp_dir_remove(&dir);
}

static void what_is_no_secret_is_refused_by_the_name_of_the_setting(void **state)
{
    (void)state;
    dir = temp_dir_make();
    const struct {
        const char *path;
        int err;
        const char *word;
    } cases[] = {{temp_file(&dir, "none"), PS_E_NOT_FOUND, "cannot be opened"},
                 {kept("everybody", "sesame", 0604), PS_E_PERMISSION, "chmod 600"},
                 {kept("empty", "", 0600), PS_E_INVALID, "no secret"},
                 {kept("blank", "\nsesame", 0600), PS_E_INVALID, "no secret"},
                 {kept("long", "123456789", 0600), PS_E_INVALID, "longer than 8 bytes"},
                 {dir.path, PS_E_IO, "cannot be read"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        assert_int_equal(read_secret(cases[i].path), cases[i].err);
        assert_string_equal(fault.path, "store.redis.password_file");
        assert_non_null(strstr(fault.text, cases[i].word));
        assert_null(strstr(fault.text, "sesame"));
    }
    temp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_line_is_the_secret),
        cmocka_unit_test(each_line_that_counts_is_read),
        cmocka_unit_test(a_name_is_looked_for_among_the_credentials_of_the_service),
        cmocka_unit_test(what_is_no_secret_is_refused_by_the_name_of_the_setting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
