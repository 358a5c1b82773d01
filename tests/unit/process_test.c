/* What is said of this process moves with it. */
#include "tests/unit/check.h"

#include "common/program/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void open_files_are_counted_without_the_count_itself(void **state)
{
    struct ps_process before, after;
    int fd[5];

    (void)state;
    ps_process_read(&before);
    for (size_t i = 0; i < 5; i++)
        assert_true((fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    ps_process_read(&after);
    assert_int_equal(after.open_fds, before.open_fds + 5);
    for (size_t i = 0; i < 5; i++)
        close(fd[i]);
    ps_process_read(&after);
    assert_int_equal(after.open_fds, before.open_fds);
    assert_true(before.open_fds >= 3);
}

static void the_limit_of_files_is_the_one_in_force(void **state)
{
    struct rlimit old, lower;
    struct ps_process process;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    lower = old;
    lower.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    ps_process_read(&process);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(process.max_fds, 64);
}

static void a_process_without_a_file_to_spare_says_that_it_does_not_know(void **state)
{
    struct rlimit old, none;
    struct ps_process process;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    ps_process_read(&process);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(process.open_fds, -1);
    assert_int_equal(process.resident_bytes, -1);
    assert_int_equal(process.virtual_bytes, -1);
    assert_true(process.cpu_ns >= 0);
}

static void memory_that_is_used_is_resident(void **state)
{
    const size_t size = 64 << 20;
    struct ps_process before, after;

    (void)state;
    ps_process_read(&before);
    char *memory = malloc(size);
    assert_non_null(memory);
    memset(memory, 1, size);
    ps_process_read(&after);
    assert_true(after.resident_bytes >= before.resident_bytes + (int64_t)size / 2);
    assert_true(after.virtual_bytes >= after.resident_bytes);
    free(memory);
}

static void work_takes_processor_time(void **state)
{
    struct ps_process before, after;

    (void)state;
    ps_process_read(&before);
    while (clock() < CLOCKS_PER_SEC / 10)
        ;
    ps_process_read(&after);
    assert_true(before.cpu_ns >= 0 && after.cpu_ns >= 100000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_files_are_counted_without_the_count_itself),
        cmocka_unit_test(the_limit_of_files_is_the_one_in_force),
        cmocka_unit_test(a_process_without_a_file_to_spare_says_that_it_does_not_know),
        cmocka_unit_test(memory_that_is_used_is_resident),
        cmocka_unit_test(work_takes_processor_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
