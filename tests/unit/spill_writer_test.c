/* The spill's writer by itself: what it makes of its file, without a Kafka to drain into. */
#include "tests/unit/check.h"

#include "queue/spill_writer.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/records.h"
#include "tests/unit/temp_dir.h"

#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#define BATCH  128 /* ten pages */
#define ORDERS (1 + 240 * BATCH)

#define RETRY_MS    50
#define PATIENCE_MS 30000

static struct temp_dir dir;
static char path[160];
static struct oq_spill_writer *writer;
static struct ps_fault fault;

static void ring(void *ctx)
{
    (void)ctx;
}

static int set_up(void **state)
{
    (void)state;
    dir = temp_dir_make();
    snprintf(path, sizeof path, "%s/spill.db", dir.path);
    const struct oq_spill_settings settings = {
        .path = path, .vfs = FAULTY_VFS, .records_max = ORDERS, .retry_ms = RETRY_MS};
    assert_ok(oq_spill_writer_open(&settings, &writer, &fault));
    assert_ok(oq_spill_writer_start(writer, ring, NULL, &fault));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(oq_spill_writer_stop(writer, PATIENCE_MS));
    oq_spill_writer_free(writer);
    temp_dir_remove(&dir);
    return 0;
}

static off_t wal_size(void)
{
    char name[sizeof path + 8];
    struct stat status;
    snprintf(name, sizeof name, "%s-wal", path);
    assert_int_equal(stat(name, &status), 0);
    return status.st_size;
}

static void put(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        struct oq_event event = accepted(i, 1, "somebody-with-a-name", "", 1);
        struct oq_ticket ticket = {.handle = i};
        assert_ok(oq_spill_writer_put(writer, &event, &ticket));
    }
}

static const struct oq_spill_batch *wait_batch(enum oq_outcome outcome)
{
    const struct oq_spill_batch *batch;
    while ((batch = oq_spill_writer_batch(writer)) == NULL)
        sched_yield();
    assert_int_equal(batch->outcome, outcome);
    return batch;
}

/* How soon pages are copied, and how many orders a commit has, is a matter of the machine. So all
 * go into the file in equal batches but for the first: the writer takes the next one when the one
 * before was reported. */
static void spill_all(void)
{
    put(0, 1);
    size_t spilled = wait_batch(OQ_SPILLED)->count;
    while (spilled < ORDERS) {
        put((uint32_t)spilled, BATCH);
        oq_spill_writer_reported(writer);
        spilled += wait_batch(OQ_SPILLED)->count;
        faulty_vfs_let_copy();
    }
    oq_spill_writer_reported(writer);
    assert_int_equal(spilled, ORDERS);
}

static void drain_all(void)
{
    while (oq_spill_writer_stored(writer) > 0) {
        if (oq_spill_writer_window(writer) != NULL) {
            oq_spill_writer_drained(writer);
            faulty_vfs_let_copy();
        } else {
            sched_yield();
        }
    }
}

/* Else a drain would need as much room on the disk again as what it drains. */
static void the_wal_stays_small_while_a_spill_is_filled_and_drained(void **state)
{
    (void)state;
    spill_all();
    assert_in_range(wal_size(), 1, 12 << 20);
    drain_all();
    assert_in_range(wal_size(), 1, 12 << 20);
}

static void expect_notice(const char *words)
{
    const char *notice = NULL;
    for (int ms = 0; ms < PATIENCE_MS && notice == NULL; ms++) {
        notice = oq_spill_writer_notice(writer);
        usleep(1000);
    }
    assert_non_null(notice);
    assert_non_null(strstr(notice, words));
    oq_spill_writer_noticed(writer);
}

/* Else an operator reads that orders are refused, and never that they are taken again. */
static void that_the_file_works_again_is_said_however_late_its_failure_was_reported(void **state)
{
    (void)state;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, 1);
    put(0, 1);
    (void)wait_batch(OQ_REFUSED);
    oq_spill_writer_reported(writer);
    usleep(6 * RETRY_MS * 1000);
    expect_notice("orders are refused");
    expect_notice("can be written again");
    assert_false(oq_spill_writer_broken(writer));
}

static void *heal_later(void *arg)
{
    (void)arg;
    usleep(2500000); /* longer than a stop waits that has no time left */
    faulty_vfs_heal();
    return NULL;
}

static void a_slow_disk_is_waited_for_as_long_as_the_stop_may_take(void **state)
{
    (void)state;
    pthread_t healer;
    faulty_vfs_hang(FAULTY_SYNC, FAULTY_WAL);
    put(0, 1);
    faulty_vfs_wait_hung();
    assert_ok(pthread_create(&healer, NULL, heal_later, NULL));
    int err = oq_spill_writer_stop(writer, PATIENCE_MS);
    pthread_join(healer, NULL);
    assert_ok(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_wal_stays_small_while_a_spill_is_filled_and_drained,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            that_the_file_works_again_is_said_however_late_its_failure_was_reported, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(a_slow_disk_is_waited_for_as_long_as_the_stop_may_take,
                                        set_up, tear_down),
    };
    faulty_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
