/* The settlement worker's metrics file. */
#include "queue/settle/report.h"
#include "tests/unit/temp_dir.h"

static void the_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.prom");
    struct st_report report;
    struct ps_fault fault;
    write_file(path, "old");
    assert_ok(st_report_init(&report, path));
    assert_ok(st_report_write(&report, &fault));
    char *text = read_file(path);
    assert_non_null(strstr(text, "penstock_settle_records_total"));
    free(text);
    st_report_done(&report);
    temp_dir_remove(&dir);
}

static void a_link_in_the_place_of_the_new_file_is_not_followed(void **state)
{
    (void)state;
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.prom"), *victim = temp_file(&dir, "victim");
    struct st_report report;
    struct ps_fault fault;
    struct stat status;
    char link[160];
    snprintf(link, sizeof link, "%s.new-%ld", path, (long)getpid());
    write_file(victim, "precious");
    assert_int_equal(symlink(victim, link), 0);
    assert_ok(st_report_init(&report, path));
    assert_ok(st_report_write(&report, &fault));
    char *text = read_file(victim);
    assert_string_equal(text, "precious");
    free(text);
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    st_report_done(&report);
    temp_dir_remove(&dir);
}

/* node_exporter runs as another user; the worker's umask lets nobody read its other files. */
static void others_can_read_the_file(void **state)
{
    (void)state;
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.prom");
    struct st_report report;
    struct ps_fault fault;
    struct stat status;
    mode_t before = umask(077);
    assert_ok(st_report_init(&report, path));
    assert_ok(st_report_write(&report, &fault));
    umask(before);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    st_report_done(&report);
    temp_dir_remove(&dir);
}

static void a_folder_that_cannot_be_written_is_an_error_that_names_the_file(void **state)
{
    (void)state;
    struct st_report report;
    struct ps_fault fault;
    assert_ok(st_report_init(&report, "/nowhere/settle.prom"));
    assert_int_equal(st_report_write(&report, &fault), PS_E_IO);
    assert_string_equal(fault.path, "/nowhere/settle.prom");
    st_report_done(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_replaced_as_a_whole),
        cmocka_unit_test(a_link_in_the_place_of_the_new_file_is_not_followed),
        cmocka_unit_test(others_can_read_the_file),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_an_error_that_names_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
