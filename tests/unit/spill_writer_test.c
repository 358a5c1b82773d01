/* The spill's writer by itself: what it makes of its file, without a Kafka to drain into. */
#include "tests/unit/check.h"

#include "queue/spill_writer.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/records.h"
#include "tests/unit/temp_dir.h"

#include <sched.h>

#define ORDERS 60000
#define ROUND  2000

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
        .path = path, .vfs = FAULTY_VFS, .records_max = ORDERS, .retry_ms = 50};
    assert_ok(oq_spill_writer_open(&settings, &writer, &fault));
    assert_ok(oq_spill_writer_start(writer, ring, NULL, &fault));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(oq_spill_writer_stop(writer));
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

/* All of them in the file. */
static void spill(uint32_t first, uint32_t end)
{
    uint32_t put = first;
    for (size_t spilled = first; spilled < end;) {
        const struct oq_spill_batch *batch = oq_spill_writer_batch(writer);
        if (batch != NULL) {
            assert_int_equal(batch->outcome, OQ_SPILLED);
            spilled += batch->count;
            oq_spill_writer_reported(writer);
        } else if (put < end && oq_spill_writer_has_room(writer)) {
            struct oq_event event = accepted(put, 1, "somebody-with-a-name", "", 1);
            struct oq_ticket ticket = {.handle = put++};
            assert_ok(oq_spill_writer_put(writer, &event, &ticket));
        } else {
            sched_yield();
        }
    }
}

/* How soon pages are copied is a matter of the machine: so each round waits for that. */
static void spill_all(void)
{
    for (uint32_t put = 0; put < ORDERS; put += ROUND) {
        size_t syncs = faulty_vfs_hits();
        spill(put, put + ROUND);
        faulty_vfs_wait_hits(syncs + 1);
    }
}

static void drain_all(void)
{
    while (oq_spill_writer_stored(writer) > 0) {
        size_t syncs = faulty_vfs_hits();
        if (oq_spill_writer_window(writer) != NULL) {
            oq_spill_writer_drained(writer);
            faulty_vfs_wait_hits(syncs + 1);
        } else {
            sched_yield();
        }
    }
}

/* Else a drain would need as much room on the disk again as what it drains. */
static void the_wal_stays_small_while_a_spill_is_filled_and_drained(void **state)
{
    (void)state;
    faulty_vfs_count(FAULTY_SYNC, FAULTY_DATABASE);
    spill_all();
    assert_in_range(wal_size(), 1, 18 << 20);
    drain_all();
    assert_in_range(wal_size(), 1, 18 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_wal_stays_small_while_a_spill_is_filled_and_drained,
                                        set_up, tear_down),
    };
    faulty_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
