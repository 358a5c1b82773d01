/* A log that changes under its readers: the topic is made anew while a gateway stands still, the
 * address leads to another cluster, a broker has lost the end of a partition and taken other
 * records since. Nothing of another log is read, nothing is accepted, and the log goes on by itself
 * when what was read is there again. */
#include "tests/contract/kafka_log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct gateway gateway;

static void wait_mismatch(const char *words)
{
    struct oq_log_view view;
    for (int tries = 0; !log_watch_says(&gateway.watch, words); tries++) {
        assert_true(tries < 1500);
        usleep(20000);
    }
    oq_log_view(gateway.log, &view);
    assert_int_equal(view.state, OQ_LOG_CLOSED);
    assert_false(view.current);
    struct oq_event order = accepted(99, 1, "late", "", 1);
    assert_int_equal(oq_log_append(gateway.log, &order, &(struct oq_ticket){0}), PS_E_CLOSED);
}

/* Further than this test's gateway has read. */
static void fill_partitions(void)
{
    for (int partition = 0; partition < PARTITIONS; partition++)
        for (int i = 0; i < 12; i++)
            kafka_put(&broker, topic, partition, "another log's record");
}

static void begin_with_orders(uint32_t orders, const char *where)
{
    gateway_open(&gateway, where);
    gateway_begin_sale(&gateway);
    for (uint32_t i = 0; i < orders; i++)
        gateway_append_order(&gateway, i, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + orders);
}

static void assert_goes_on(uint32_t order)
{
    size_t before = gateway.watch.outcome_count;
    log_watch_wait_back(&gateway.watch, 2);
    gateway_append_order(&gateway, order, 1);
    log_watch_wait_outcomes(&gateway.watch, before + 1);
    assert_int_equal(gateway_outcome_of(&gateway, order), OQ_LANDED);
}

/* F26. */
static void a_topic_that_was_made_anew_while_a_gateway_stood_still_is_not_read(void **state)
{
    (void)state;
    struct log_hold hold;
    begin_with_orders(6, broker.direct);
    size_t records = gateway.watch.record_count;
    uint64_t foreign = gateway.watch.notices;
    gateway_hold_well(&gateway, &hold);
    kafka_topic_remove(&broker, topic);
    usleep(300000);
    kafka_topic(&broker, topic, PARTITIONS, NULL);
    fill_partitions();
    sleep(2); /* longer than a busy thread takes */
    log_let_go(&hold);
    wait_mismatch("is not the one that was read there");
    assert_int_equal(gateway.watch.record_count, records);
    assert_int_equal(gateway.watch.notices, foreign);
    gateway_close(&gateway);
}

/* F26. */
static void another_cluster_at_the_same_address_is_not_read_and_the_own_one_goes_on(void **state)
{
    (void)state;
    struct kafka_broker other = broker;
    char command[160];
    begin_with_orders(6, broker.direct);
    size_t records = gateway.watch.record_count;
    uint64_t foreign = gateway.watch.notices;
    kafka_kill(&broker);
    other.cluster = "anotherAAAAAAAAAAAAAAA";
    (void)snprintf(other.dir, sizeof other.dir, "%.40s-other", broker.dir);
    kafka_start_again(&other);
    kafka_topic(&other, topic, PARTITIONS, NULL);
    for (int partition = 0; partition < PARTITIONS; partition++)
        for (int i = 0; i < 12; i++)
            kafka_put(&other, topic, partition, "another cluster's record");
    wait_mismatch("is cluster anotherAAAAAAAAAAAAAAA, but the orders are in cluster penstock");
    assert_int_equal(gateway.watch.record_count, records);
    assert_int_equal(gateway.watch.notices, foreign);
    kafka_kill(&other);
    kafka_start_again(&broker);
    assert_goes_on(50);
    assert_int_equal(gateway.watch.record_count, records + 1);
    gateway_close(&gateway);
    (void)snprintf(command, sizeof command, "rm -r %s", other.dir);
    assert_ok(system(command));
}

/* As an unclean restore does: the last record of each partition is gone. */
static void cut_the_end(uint32_t partition)
{
    char path[160];
    struct stat file;
    (void)snprintf(path, sizeof path, "%s/data/%s-%u/00000000000000000000.log", broker.dir, topic,
                   partition);
    assert_ok(stat(path, &file));
    assert_ok(truncate(path, file.st_size - 1)); /* recovery drops the torn batch */
}

/* F26. */
static void a_partition_that_lost_its_end_and_has_grown_again_is_not_read(void **state)
{
    (void)state;
    char path[160];
    begin_with_orders(6, broker.proxied);
    size_t records = gateway.watch.record_count;
    uint64_t foreign = gateway.watch.notices;
    kafka_kill(&broker);
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        cut_the_end(partition);
    (void)snprintf(path, sizeof path, "%s/data/replication-offset-checkpoint", broker.dir);
    (void)unlink(path);
    kafka_start_cut_off(&broker);
    fill_partitions();
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    wait_mismatch("is not the one that was read there");
    assert_int_equal(gateway.watch.record_count, records);
    assert_int_equal(gateway.watch.notices, foreign);
    gateway_close(&gateway);
}

static void cut_and_mend(void)
{
    pthread_mutex_lock(&gateway.watch.lock);
    size_t changes = gateway.watch.changes;
    pthread_mutex_unlock(&gateway.watch.lock);
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    log_watch_wait_away(&gateway.watch);
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    log_watch_wait_back(&gateway.watch, changes + 2);
}

static void a_last_record_that_retention_has_deleted_stops_nobody(void **state)
{
    (void)state;
    int64_t ends[PARTITIONS] = {0};
    begin_with_orders(12, broker.proxied);
    for (size_t i = 0; i < gateway.watch.record_count; i++)
        ends[gateway.watch.record[i].partition] = gateway.watch.record[i].seq;
    for (int partition = 0; partition < PARTITIONS; partition++)
        kafka_delete_records(&broker, topic, partition, ends[partition]);
    cut_and_mend();
    assert_goes_on(50);
    gateway_close(&gateway);
}

/* F26. */
static void records_that_were_deleted_before_they_were_read_close_the_log(void **state)
{
    (void)state;
    struct log_hold hold;
    begin_with_orders(12, broker.direct);
    gateway_hold_well(&gateway, &hold);
    fill_partitions();
    for (int partition = 0; partition < PARTITIONS; partition++)
        kafka_delete_records(&broker, topic, partition, RD_KAFKA_OFFSET_END);
    sleep(2);
    log_let_go(&hold);
    wait_mismatch("they were deleted");
    gateway_close(&gateway);
}

static void a_gateway_that_stood_still_goes_on(void **state)
{
    (void)state;
    static struct gateway other;
    struct log_hold hold;
    begin_with_orders(6, broker.direct);
    gateway_open(&other, broker.direct);
    gateway_hold_well(&gateway, &hold);
    for (uint32_t i = 20; i < 40; i++)
        gateway_append_order(&other, i, 1);
    log_watch_wait_records(&other.watch, PARTITIONS + 1 + 6 + 20);
    sleep(2);
    log_let_go(&hold);
    log_watch_wait_records(&gateway.watch, PARTITIONS + 1 + 6 + 20);
    gateway_assert_sold(&gateway, 26);
    gateway_close(&other);
    gateway_close(&gateway);
}

/* --- marks --- */

static struct {
    struct oq_mark mark[PARTITIONS];
    int err[PARTITIONS];
} marks;

static void note_marks(void *arg)
{
    for (uint32_t i = 0; i < PARTITIONS; i++)
        marks.err[i] = oq_log_mark(arg, i, &marks.mark[i]);
}

static void the_mark_of_a_partition_is_the_digest_of_its_last_record(void **state)
{
    (void)state;
    struct log_hold hold;
    unsigned char digest[crypto_hash_sha256_BYTES];
    begin_with_orders(12, broker.direct);
    assert_ok(oq_log_call(gateway.log, note_marks, gateway.log));
    gateway_hold_well(&gateway, &hold); /* so it has run */
    log_let_go(&hold);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        const struct seen_record *last = NULL;
        for (size_t j = 0; j < gateway.watch.record_count; j++)
            if (gateway.watch.record[j].partition == i)
                last = &gateway.watch.record[j];
        assert_non_null(last);
        assert_ok(marks.err[i]);
        assert_int_equal(marks.mark[i].seq, last->seq);
        crypto_hash_sha256(digest, (const unsigned char *)last->json, strlen(last->json));
        assert_memory_equal(marks.mark[i].digest, digest, sizeof digest);
        const struct ps_str json = {last->json, strlen(last->json)};
        assert_true(oq_mark_fits(&marks.mark[i], last->seq, json));
        assert_false(oq_mark_fits(&marks.mark[i], last->seq + 1, json));
        assert_false(
            oq_mark_fits(&marks.mark[i], last->seq, (struct ps_str){json.at, json.len - 1}));
    }
    struct oq_mark none;
    assert_int_equal(oq_log_mark(gateway.log, PARTITIONS, &none), PS_E_NOT_FOUND);
    gateway_close(&gateway);
}

/* --- beginning at marks --- */

static void open_at_marks(bool fit)
{
    struct oq_kafka_settings settings = kafka_patient(broker.direct);
    settings.marks = marks.mark;
    settings.mark_count = PARTITIONS;
    assert_ok(gateway_try(&gateway, &settings));
    assert_int_equal(gateway.watch.marks_told, 1);
    assert_int_equal(gateway.watch.marks_fitted, fit);
    assert_int_equal(gateway.watch.records_before_marks, 0);
}

static void note_marks_now(void)
{
    struct log_hold hold;
    assert_ok(oq_log_call(gateway.log, note_marks, gateway.log));
    gateway_hold_well(&gateway, &hold); /* so it has run */
    log_let_go(&hold);
}

static void mark_and_close(void)
{
    note_marks_now();
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_ok(marks.err[i]);
    gateway_close(&gateway);
}

static void a_log_that_has_the_marks_is_read_from_them_on(void **state)
{
    (void)state;
    static struct gateway other;
    struct oq_mark again[PARTITIONS];
    begin_with_orders(12, broker.direct);
    gateway_open(&other, broker.direct);
    mark_and_close();
    memcpy(again, marks.mark, sizeof again);
    open_at_marks(true);
    assert_int_equal(gateway.watch.record_count, 0);
    note_marks_now();
    for (uint32_t i = 20; i < 30; i++)
        gateway_append_order(&other, i, 1);
    log_watch_wait_records(&gateway.watch, 10);
    assert_memory_equal(marks.mark, again, sizeof again);
    assert_int_equal(gateway.watch.record_count, 10);
    gateway_close(&gateway);
    open_at_marks(true);
    assert_int_equal(gateway.watch.record_count, 10);
    gateway_close(&gateway);
    gateway_close(&other);
}

static void assert_all_is_read(size_t records, const char *why)
{
    open_at_marks(false);
    if (strstr(gateway.watch.marks_why, why) == NULL)
        fail_msg("it says: %s", gateway.watch.marks_why);
    assert_int_equal(gateway.watch.record_count, records);
    gateway_close(&gateway);
}

static void a_log_that_lacks_one_of_the_marks_is_read_from_its_start(void **state)
{
    (void)state;
    struct oq_mark whole[PARTITIONS];
    begin_with_orders(12, broker.direct);
    size_t records = gateway.watch.record_count;
    mark_and_close();
    memcpy(whole, marks.mark, sizeof whole);
    marks.mark[1].digest[5] ^= 1;
    assert_all_is_read(records, "partition 1");
    memcpy(marks.mark, whole, sizeof whole);
    marks.mark[2].seq--;
    assert_all_is_read(records, "partition 2");
    memcpy(marks.mark, whole, sizeof whole);
    marks.mark[0].seq += 1000;
    assert_all_is_read(records, "partition 0");
}

static void a_topic_that_was_made_anew_or_is_smaller_is_read_from_its_start(void **state)
{
    (void)state;
    begin_with_orders(12, broker.direct);
    mark_and_close();
    kafka_topic_remove(&broker, topic);
    usleep(300000);
    kafka_topic(&broker, topic, PARTITIONS, NULL);
    assert_all_is_read(0, "is gone, or another record is in its place");
    fill_partitions();
    assert_all_is_read(0, "is gone, or another record is in its place");
}

static void a_mark_that_retention_has_deleted_is_not_gone_by(void **state)
{
    (void)state;
    begin_with_orders(12, broker.direct);
    size_t records;
    mark_and_close();
    for (size_t i = 0; i < 2; i++) { /* with the mark; with records behind it that nobody read */
        kafka_delete_records(&broker, topic, 1, marks.mark[1].seq + (int64_t)i);
        gateway_open(&gateway, broker.direct);
        records = gateway.watch.record_count;
        if (i == 0)
            kafka_put(&broker, topic, 1, "a stranger's record");
        gateway_close(&gateway);
        assert_all_is_read(records, "partition 1");
    }
}

static void a_partition_that_is_new_since_the_marks_is_read_from_its_start(void **state)
{
    (void)state;
    begin_with_orders(12, broker.direct);
    mark_and_close();
    kafka_topic_grow(&broker, topic, PARTITIONS + 1);
    gateway_open(&gateway, broker.direct);
    while (oq_log_partitions(gateway.log) <= PARTITIONS)
        usleep(20000);
    struct oq_event fence = fenced(2, PARTITIONS, false);
    struct log_hold hold;
    gateway_hold_well(&gateway, &hold);
    log_let_go(&hold);
    assert_ok(oq_log_append_to(gateway.log, PARTITIONS, &fence, &(struct oq_ticket){0}));
    log_watch_wait_outcomes(&gateway.watch, 1);
    gateway_close(&gateway);
    open_at_marks(true);
    assert_int_equal(gateway.watch.record_count, 1);
    gateway_close(&gateway);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, kafka_set_up, kafka_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(the_mark_of_a_partition_is_the_digest_of_its_last_record),
        CLAIM(a_log_that_has_the_marks_is_read_from_them_on),
        CLAIM(a_log_that_lacks_one_of_the_marks_is_read_from_its_start),
        CLAIM(a_topic_that_was_made_anew_or_is_smaller_is_read_from_its_start),
        CLAIM(a_mark_that_retention_has_deleted_is_not_gone_by),
        CLAIM(a_partition_that_is_new_since_the_marks_is_read_from_its_start),
        CLAIM(a_gateway_that_stood_still_goes_on),
        CLAIM(a_topic_that_was_made_anew_while_a_gateway_stood_still_is_not_read),
        CLAIM(a_last_record_that_retention_has_deleted_stops_nobody),
        CLAIM(records_that_were_deleted_before_they_were_read_close_the_log),
        CLAIM(a_partition_that_lost_its_end_and_has_grown_again_is_not_read),
        CLAIM(another_cluster_at_the_same_address_is_not_read_and_the_own_one_goes_on),
    };
    if (!kafka_wanted())
        return 0;
    return cmocka_run_group_tests(tests, kafka_group_set_up, kafka_group_tear_down);
}
