/* Redis's clock is set while gateways sell: what stays in doubt is given up when it is old in
 * truth, and not when it seems so. */
#include "tests/contract/cluster_fixture.h"
#include "tests/unit/temp_dir.h"

#include <fcntl.h>
#include <sys/mman.h>

#define HOUR 3600

static struct temp_dir temp;
static volatile int64_t *seconds; /* how far off the server's wall clock is */

/* The server's clock can be set. */
static int make_with_clock(void **state)
{
    temp = temp_dir_make();
    const char *path = temp_file(&temp, "seconds");
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, sizeof *seconds), 0);
    void *at = mmap(NULL, sizeof *seconds, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(close(file), 0);
    seconds = at;
    assert_int_equal(setenv("SET_CLOCK", path, 1), 0);
    assert_int_equal(setenv("LD_PRELOAD", SET_CLOCK_LIBRARY, 1), 0);
    int err = make(state);
    assert_int_equal(unsetenv("LD_PRELOAD"), 0);
    return err;
}

static int drop_with_clock(void **state)
{
    int err = drop(state);
    assert_int_equal(munmap((void *)(uintptr_t)seconds, sizeof *seconds), 0);
    temp_dir_remove(&temp);
    return err;
}

static int given_up(void)
{
    return (int)shared_topic_count(topic, UINT32_MAX, OQ_RELEASED);
}

/* When that was, by this machine's monotonic clock. */
static int64_t set_clock(int64_t to_s)
{
    int64_t now_ns = ps_clock_mono_ns(&ps_clock_system);
    *seconds = to_s;
    return now_ns;
}

/* What was reserved before the clock was set is old 5 s later at the earliest. */
static void until_given_up_in_time(int64_t set_ns)
{
    while (given_up() == 0)
        turn();
    assert_true(ps_clock_mono_ns(&ps_clock_system) - set_ns >= 5 * PS_NS_PER_S);
    while (entries(IN_DOUBT) > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(given_up(), 2);
}

/* --- claims --- */

static void set_ahead_it_makes_no_reservation_old_and_no_gateway_dead(void **state)
{
    (void)state;
    open_sale();
    turn_ms(1000); /* one of them keeps, and both have heard of each other */
    (void)reserve(a, "ann");
    (void)reserve(b, "bob");
    int64_t set_ns = set_clock(HOUR);
    stop(b); /* which could as well be slow */
    until_given_up_in_time(set_ns);
}

static void set_back_it_keeps_no_reservation_young(void **state)
{
    (void)state;
    open_sale();
    turn_ms(1000);
    (void)reserve(a, "ann");
    (void)reserve(b, "bob");
    int64_t set_ns = set_clock(-HOUR);
    stop(b);
    until_given_up_in_time(set_ns);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make_with_clock, drop_with_clock)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(set_ahead_it_makes_no_reservation_old_and_no_gateway_dead),
        CLAIM(set_back_it_keeps_no_reservation_young),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
