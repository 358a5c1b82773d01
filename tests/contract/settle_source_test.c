/* What a log that settlement reads must do, run unchanged on each: a journal, and a topic of a real
 * broker; and what only one of them can meet. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "queue/journal_file.h"
#include "queue/settle/settle_source.h"
#include "tests/contract/kafka_broker.h"
#include "tests/unit/records.h"
#include "tests/unit/temp_dir.h"

#include <signal.h>

#define ROOM       8
#define PATIENCE_S 30

struct backend {
    const char *name;
    void (*make)(void);
    void (*drop)(void);
    void (*put)(const char *text); /* into partition 0 */
    int (*open)(const struct st_source_hooks *hooks, struct st_source **ret_source);
    const char *place_of_4; /* the fourth record, in the words of this log */
};

static const struct backend *backend;
static struct st_source *source;
static struct st_batch batch;
static struct ps_fault fault;

/* What the database would say. */
static struct st_position known;
static int asked;
static int hook_err;
static void (*when_asked)(void); /* NULL = nothing */

static int position(uint32_t partition, struct st_position *ret_position, void *ctx,
                    struct ps_fault *why)
{
    (void)ctx;
    asked++;
    if (when_asked != NULL)
        when_asked();
    if (hook_err != 0)
        return ps_fault(why, hook_err, "database", "is away");
    *ret_position = partition == 0 ? known : (struct st_position){0};
    return 0;
}

/* How often it was asked, and what it said last. */
static struct {
    int asked;
    uint32_t partition;
    int64_t seq, first;
    bool pass_over;
} gone;

static int lost(uint32_t partition, int64_t seq, int64_t first, void *ctx, struct ps_fault *why)
{
    (void)ctx;
    gone.asked++;
    gone.partition = partition;
    gone.seq = seq;
    gone.first = first;
    if (!gone.pass_over)
        return ps_fault(why, PS_E_CORRUPT, "topic", "records are gone");
    known = (struct st_position){.seq = first};
    return 0;
}

static const struct st_source_hooks hooks = {.position = position, .lost = lost};

/* --- The journal --- */

static struct temp_dir dir;
static char journal[128];
static int64_t journal_end;

static void journal_put(const char *text)
{
    struct ps_db_file *file;
    bool unknown;
    int lock;
    assert_ok(ps_db_file_lock(&oq_journal_kind, journal, &lock, NULL));
    const struct ps_db_file_settings settings = {&oq_journal_kind, journal, NULL, lock};
    assert_ok(ps_db_file_open(&settings, &file, NULL));
    assert_ok(oq_journal_file_begin(file, OQ_JOURNAL_NO_NOTE, NULL));
    assert_ok(oq_journal_file_insert(file, ++journal_end, PS_STR("sale"), str(text), NULL));
    assert_ok(ps_db_file_commit(file, &unknown, NULL));
    ps_db_file_close(file);
    close(lock);
}

static void journal_make(void)
{
    dir = temp_dir_make();
    journal_end = 0;
    snprintf(journal, sizeof journal, "%s/journal.db", dir.path);
    assert_ok(ps_db_file_create(&oq_journal_kind, journal, NULL, NULL));
}

static void journal_drop(void)
{
    temp_dir_remove(&dir);
}

static int journal_open(const struct st_source_hooks *given, struct st_source **ret_source)
{
    return st_source_journal_open(journal, given, ret_source, &fault);
}

/* --- Kafka --- */

static struct kafka_broker broker;
static unsigned topics;
static char topic[32], group[32];
static const char *dead_letters;

static void topic_make(void)
{
    snprintf(topic, sizeof topic, "orders-%u", ++topics);
    snprintf(group, sizeof group, "shop-%u", topics);
    dead_letters = NULL;
    kafka_topic(&broker, topic, 2, NULL);
}

static void topic_drop(void)
{
}

static void topic_put(const char *text)
{
    kafka_put(&broker, topic, 0, text);
}

static int topic_open_with(const struct oq_kafka_property *properties, size_t count,
                           const struct st_source_hooks *given, struct st_source **ret_source)
{
    return st_source_kafka_open(&(struct st_kafka_settings){.brokers = broker.proxied,
                                                            .topic = topic,
                                                            .group = group,
                                                            .dead_letter_topic = dead_letters,
                                                            .properties = properties,
                                                            .property_count = count},
                                given, ret_source, &fault);
}

static int topic_open(const struct st_source_hooks *given, struct st_source **ret_source)
{
    static const struct oq_kafka_property quick[] = {{"session.timeout.ms", "30000"},
                                                     {"heartbeat.interval.ms", "500"}};
    return topic_open_with(quick, 2, given, ret_source);
}

static const struct backend backends[] = {
    {"journal", journal_make, journal_drop, journal_put, journal_open, "seq 4"},
    {"kafka", topic_make, topic_drop, topic_put, topic_open, "partition 0, offset 3"},
};

/* --- Words --- */

static int set_up(void **state)
{
    (void)state;
    known = (struct st_position){0};
    asked = hook_err = 0;
    memset(&gone, 0, sizeof gone);
    when_asked = NULL;
    source = NULL;
    backend->make();
    return st_batch_init(&batch, ROOM);
}

static int tear_down(void **state)
{
    (void)state;
    st_source_close(source);
    st_batch_done(&batch);
    backend->drop();
    return 0;
}

static void open_source(void)
{
    assert_ok(backend->open(&hooks, &source));
}

/* The text of order `number`; static memory. */
static const char *text_of(uint32_t number)
{
    static char text[OQ_EVENT_TEXT_MAX];
    struct oq_event event = accepted(number, 5, "u", "", 1);
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text - 1);
    assert_ok(oq_event_encode(&event, &buf));
    text[buf.len] = '\0';
    return text;
}

static void put_orders(uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last; i++)
        backend->put(text_of(i));
}

static void know(int64_t seq, const char *text)
{
    known = (struct st_position){
        .seq = seq, .checked = text != NULL, .digest = text != NULL ? st_digest(str(text)) : 0};
}

/* As the database does. A source that meets an error begins anew behind what is known. */
static void know_batch(const struct st_batch *read)
{
    for (size_t i = 0; i < read->count; i++)
        if (read->records[i].partition == 0)
            know(read->records[i].seq, NULL);
}

static int64_t patience_ends_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system) + PATIENCE_S * PS_NS_PER_S;
}

static bool is_in_time(int64_t until_ns)
{
    return ps_clock_mono_ns(&ps_clock_system) < until_ns;
}

/* Reads until something comes: Kafka takes its time. The first error, or 0. */
static int read_some(struct st_source *from)
{
    int64_t until_ns = patience_ends_ns();
    unsigned reads = 0, errors = 0;
    for (; is_in_time(until_ns); reads++) {
        int err = st_source_read(from, &batch, 100, &fault);
        errors += err == PS_E_IO;
        if (err == PS_E_IO) /* passes */
            continue;
        if (err != 0 || batch.count > 0)
            return err;
    }
    fail_msg("nothing came: %u reads, %u errors, the last one: %s", reads, errors, fault.text);
    return PS_E_TIMEOUT;
}

static void expect_orders(uint32_t first, uint32_t last)
{
    for (uint32_t next = first; next <= last;) {
        assert_ok(read_some(source));
        for (size_t i = 0; i < batch.count; i++, next++) {
            struct ps_uuid id = id_of(next);
            assert_null(batch.records[i].poison);
            assert_int_equal(batch.records[i].seq, next);
            assert_true(batch.records[i].digest == st_digest(str(text_of(next))));
            assert_true(ps_uuid_equal(&batch.records[i].event.order_id, &id));
            know(next, text_of(next));
        }
        st_source_stored(source, &batch);
    }
}

/* Also a broker that is slow to answer on a busy machine is an error that passes. */
static int read_once(struct st_source *from, int64_t wait_ms)
{
    int err = st_source_read(from, &batch, wait_ms, &fault);

    return err == PS_E_IO ? 0 : err;
}

static void expect_end(void)
{
    for (int64_t until_ns = patience_ends_ns(); is_in_time(until_ns);) {
        assert_ok(read_once(source, 100));
        assert_int_equal(batch.count, 0);
        if (st_source_caught_up(source))
            return;
    }
    fail_msg("the end was not seen");
}

/* Reads until it is said; up to which record was read meanwhile. `where` NULL: anywhere. */
static int64_t expect_fault(const char *where, const char *what)
{
    int64_t seen = 0;

    for (int64_t until_ns = patience_ends_ns(); is_in_time(until_ns);) {
        int err = st_source_read(source, &batch, 100, &fault);
        if (err == PS_E_IO && strstr(fault.text, what) != NULL &&
            (where == NULL || strcmp(fault.path, where) == 0))
            return seen;
        assert_true(err == 0 || err == PS_E_IO);
        for (size_t r = 0; r < batch.count; r++)
            seen = batch.records[r].seq > seen ? batch.records[r].seq : seen;
    }
    fail_msg("\"%s\" was not said, the last was: %s", what, fault.text);
    return seen;
}

/* --- Claims --- */

static void records_are_given_out_once_and_in_order(void **state)
{
    (void)state;
    put_orders(1, 2 * ROOM + 3);
    open_source();
    expect_orders(1, 2 * ROOM + 3);
    expect_end();
    assert_int_equal(st_source_lag(source), 0);
    put_orders(2 * ROOM + 4, 2 * ROOM + 5);
    expect_orders(2 * ROOM + 4, 2 * ROOM + 5);
    expect_end();
}

static void reading_begins_behind_the_position(void **state)
{
    (void)state;
    put_orders(1, 6);
    know(4, text_of(4));
    open_source();
    expect_orders(5, 6);
    expect_end();
}

static void a_position_at_the_end_waits_for_what_comes(void **state)
{
    (void)state;
    put_orders(1, 3);
    know(3, text_of(3));
    open_source();
    expect_end();
    put_orders(4, 4);
    expect_orders(4, 4);
}

static void a_source_that_is_rewound_asks_where_to_begin(void **state)
{
    (void)state;
    put_orders(1, 6);
    open_source();
    expect_orders(1, 6);
    know(2, text_of(2));
    asked = 0;
    st_source_rewind(source);
    expect_orders(3, 6);
    assert_true(asked > 0);
}

static void a_database_that_is_away_is_asked_again(void **state)
{
    (void)state;
    put_orders(1, 2);
    hook_err = PS_E_IO;
    open_source();
    assert_int_equal(expect_fault("database", "is away"), 0);
    hook_err = 0;
    expect_orders(1, 2);
}

static void what_is_no_record_comes_as_poison_with_its_bytes(void **state)
{
    (void)state;
    put_orders(1, 1);
    backend->put("{\"type\":\"penstock.order.accepted.v1\"}");
    backend->put("gibberish");
    put_orders(4, 4);
    open_source();
    size_t seen = 0;
    while (seen < 4) {
        assert_ok(read_some(source));
        for (size_t i = 0; i < batch.count; i++) {
            const struct st_record *record = &batch.records[i];
            assert_int_equal(record->seq, (int64_t)++seen);
            assert_int_equal(record->poison != NULL, seen == 2 || seen == 3);
            if (seen == 2)
                assert_non_null(strstr(record->poison, "is missing"));
            if (seen == 3)
                assert_memory_equal(record->raw.at, "gibberish", 9);
        }
        know_batch(&batch);
    }
}

static void a_log_whose_record_is_another_one_is_refused(void **state)
{
    (void)state;
    put_orders(1, 6);
    know(4, text_of(5));
    open_source();
    assert_int_equal(read_some(source), PS_E_CORRUPT);
    assert_int_equal(batch.count, 0);
    assert_non_null(strstr(fault.text, backend->place_of_4));
    know(4, NULL); /* as an operator may decide */
    st_source_rewind(source);
    expect_orders(5, 6);
}

/* Nobody is told that all was read before it is known that this is the log. */
static void a_log_whose_last_record_is_another_one_is_never_at_its_end(void **state)
{
    (void)state;
    put_orders(1, 4);
    know(4, text_of(5));
    open_source();
    int err = 0;
    for (int64_t until_ns = patience_ends_ns();
         is_in_time(until_ns) && (err == 0 || err == PS_E_IO);) {
        err = st_source_read(source, &batch, 2, &fault);
        assert_false(st_source_caught_up(source));
    }
    assert_int_equal(err, PS_E_CORRUPT);
}

static void a_log_that_ends_before_the_position_is_refused(void **state)
{
    (void)state;
    put_orders(1, 3);
    know(9, text_of(9));
    open_source();
    assert_int_equal(read_some(source), PS_E_CORRUPT);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* --- The journal alone --- */

static void read_three_orders(void)
{
    put_orders(1, 3);
    open_source();
    expect_orders(1, 3);
    expect_end();
    know(3, text_of(3));
}

static void a_journal_that_takes_the_place_of_another_is_noticed(void **state)
{
    char old[160];
    (void)state;
    read_three_orders();
    /* restored from a backup, which lacks record 3 */
    static const char *const parts[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        snprintf(old, sizeof old, "%s%s", journal, parts[i]);
        (void)unlink(old);
    }
    journal_end = 0;
    assert_ok(ps_db_file_create(&oq_journal_kind, journal, NULL, NULL));
    put_orders(1, 2);
    int err = 0;
    for (int i = 0; i < 100 && err == 0; i++)
        err = st_source_read(source, &batch, 10, &fault);
    assert_int_equal(err, PS_E_CORRUPT);
    assert_non_null(strstr(fault.text, "restored"));
}

/* Else a run with --once would end well, and the new one's orders would stay where they are. */
static void a_journal_whose_place_was_taken_is_not_at_its_end(void **state)
{
    char old[160];
    (void)state;
    read_three_orders();
    snprintf(old, sizeof old, "%s.old", journal);
    assert_int_equal(rename(journal, old), 0);
    assert_ok(st_source_read(source, &batch, 0, &fault));
    assert_false(st_source_caught_up(source));
    assert_int_equal(rename(old, journal), 0);
    expect_end();
}

static void a_journal_that_is_missing_is_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(st_source_journal_open("/nowhere/journal.db", &hooks, &source, &fault),
                     PS_E_NOT_FOUND);
    assert_string_equal(fault.path, "/nowhere/journal.db");
}

/* --- Kafka alone --- */

/* Linked in place of librdkafka's: a new leader knows the ends only a moment later. */
static int old_ends; /* so many answers name an end that is no more */
rd_kafka_resp_err_t __real_rd_kafka_offsets_for_times(rd_kafka_t *handle,
                                                      rd_kafka_topic_partition_list_t *list,
                                                      int wait_ms);
rd_kafka_resp_err_t __wrap_rd_kafka_offsets_for_times(rd_kafka_t *handle,
                                                      rd_kafka_topic_partition_list_t *list,
                                                      int wait_ms);

rd_kafka_resp_err_t __wrap_rd_kafka_offsets_for_times(rd_kafka_t *handle,
                                                      rd_kafka_topic_partition_list_t *list,
                                                      int wait_ms)
{
    bool ends = list->cnt > 0 && list->elems[0].offset == RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t error = __real_rd_kafka_offsets_for_times(handle, list, wait_ms);
    for (int i = 0; ends && old_ends > 0 && i < list->cnt; i++)
        list->elems[i].offset = 0;
    old_ends -= ends && old_ends > 0;
    return error;
}

static void an_end_that_a_new_leader_reports_too_early_is_asked_for_again(void **state)
{
    (void)state;
    put_orders(1, 9);
    open_source();
    expect_orders(1, 9);
    old_ends = 3;
    st_source_rewind(source);
    put_orders(10, 11);
    expect_orders(10, 11);
    assert_int_equal(old_ends, 0);
}

static void delete_records(int64_t before)
{
    kafka_delete_records(&broker, topic, 0, before);
}

static void assert_gone(int times, int64_t seq, int64_t first)
{
    assert_int_equal(gone.asked, times);
    assert_int_equal(gone.partition, 0);
    assert_int_equal(gone.seq, seq);
    assert_int_equal(gone.first, first);
}

static void records_that_are_gone_before_they_were_read_are_an_error(void **state)
{
    (void)state;
    put_orders(1, 8);
    know(3, text_of(3));
    delete_records(5); /* records 4 and 5 (offsets 3 and 4) are lost */
    open_source();
    assert_int_equal(read_some(source), PS_E_CORRUPT);
    assert_gone(1, 3, 5);
}

/* Those below `first`, before a source has read any: it says so. */
static void lose_records(int64_t first)
{
    delete_records(first);
    open_source();
    assert_int_equal(read_some(source), PS_E_CORRUPT);
    assert_gone(1, 0, first);
}

static void a_partition_that_lost_its_beginning_before_it_was_ever_read_is_an_error(void **state)
{
    (void)state;
    put_orders(1, 8);
    lose_records(5);
}

static void a_partition_that_has_lost_all_that_it_had_is_an_error(void **state)
{
    (void)state;
    put_orders(1, 3);
    lose_records(3);
}

/* Deletes records of a journal as those of an archived sale, up to `upto`. */
static void journal_archive(int64_t upto)
{
    struct ps_db_file *file;
    bool unknown;
    int lock;
    assert_ok(ps_db_file_lock(&oq_journal_kind, journal, &lock, NULL));
    const struct ps_db_file_settings settings = {&oq_journal_kind, journal, NULL, lock};
    assert_ok(ps_db_file_open(&settings, &file, NULL));
    assert_ok(ps_db_file_begin(file, NULL));
    assert_ok(oq_journal_file_archive(file, PS_STR("sale"), upto, NULL));
    assert_ok(ps_db_file_commit(file, &unknown, NULL));
    while (oq_journal_file_drop(file, &unknown, NULL) > 0)
        ;
    ps_db_file_close(file);
    close(lock);
}

static void records_that_went_with_their_sale_before_they_were_read_are_an_error(void **state)
{
    (void)state;
    put_orders(1, 8);
    know(3, text_of(3));
    journal_archive(5);
    open_source();
    assert_int_equal(read_some(source), PS_E_CORRUPT);
    assert_gone(1, 3, 5);
    gone.pass_over = true;
    expect_orders(6, 8);
    expect_end();
    assert_gone(2, 3, 5);
}

static void records_that_went_after_they_were_read_are_not_missed(void **state)
{
    (void)state;
    put_orders(1, 5);
    open_source();
    expect_orders(1, 5);
    expect_end();
    put_orders(6, 8);
    journal_archive(5);
    expect_orders(6, 8);
    st_source_rewind(source);
    know(5, text_of(5)); /* the record at the place is gone */
    expect_orders(6, 8);
    expect_end();
    assert_int_equal(gone.asked, 0);
}

static void records_that_go_while_the_partition_is_read_are_an_error(void **state)
{
    (void)state;
    put_orders(1, 2);
    open_source();
    expect_orders(1, 2);
    expect_end();
    know(2, text_of(2));
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    put_orders(3, 6);
    delete_records(4);
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    assert_int_equal(read_some(source), PS_E_CORRUPT);
    assert_gone(1, 2, 4);
}

static void what_is_gone_is_passed_over_when_that_is_wanted(void **state)
{
    (void)state;
    put_orders(1, 8);
    gone.pass_over = true;
    delete_records(5);
    open_source();
    expect_orders(6, 8);
    expect_end();
    assert_gone(1, 0, 5);
    st_source_rewind(source);
    know(8, text_of(8));
    expect_end();
    assert_int_equal(gone.asked, 1);
}

static void a_topic_that_kept_all_that_was_not_read_is_read_on(void **state)
{
    (void)state;
    put_orders(1, 8);
    know(5, text_of(5));
    delete_records(5);
    open_source();
    expect_orders(6, 8);
}

/* The last records that came of each partition; one that comes again changes nothing. */
static void note_last(struct st_source *from, int64_t *last)
{
    assert_ok(read_once(from, 50));
    for (size_t i = 0; i < batch.count; i++) {
        const struct st_record *record = &batch.records[i];
        if (record->seq > last[record->partition])
            last[record->partition] = record->seq;
    }
}

static void two_members_share_the_partitions_and_one_takes_over(void **state)
{
    struct st_source *other;
    bool both = false;
    (void)state;
    open_source();
    expect_end();
    assert_ok(topic_open(&hooks, &other));
    for (int64_t until_ns = patience_ends_ns(); is_in_time(until_ns) && !both;) {
        assert_ok(read_once(source, 50));
        assert_ok(read_once(other, 50));
        both = st_source_caught_up(source) && st_source_caught_up(other);
    }
    assert_true(both);
    put_orders(1, 3);
    kafka_put(&broker, topic, 1, text_of(9));
    int64_t last[2][2] = {{0}}; /* of each member, in each partition */
    int64_t until_ns = patience_ends_ns();
    while (is_in_time(until_ns) && last[0][0] + last[1][0] + last[0][1] + last[1][1] < 4) {
        note_last(source, last[0]);
        note_last(other, last[1]);
    }
    int first = last[0][0] > 0 ? 0 : 1; /* who has partition 0 */
    assert_true(last[first][0] == 3 && last[first][1] == 0);
    assert_true(last[!first][0] == 0 && last[!first][1] == 1);
    st_source_close(source);
    source = other;
    put_orders(4, 4);
    kafka_put(&broker, topic, 1, text_of(10));
    bool seen[2] = {false, false};
    until_ns = patience_ends_ns();
    while (is_in_time(until_ns) && !(seen[0] && seen[1])) {
        assert_ok(read_once(source, 100));
        for (size_t r = 0; r < batch.count; r++)
            seen[batch.records[r].partition] |=
                batch.records[r].seq == (batch.records[r].partition == 0 ? 4 : 2);
    }
    assert_true(seen[0] && seen[1]);
}

/* Two orders are read to the end, then no broker can be reached, and that has been said. */
static void lose_the_broker_at_the_end(void)
{
    put_orders(1, 2);
    open_source();
    expect_orders(1, 2);
    expect_end();
    know(2, text_of(2));
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    (void)expect_fault(NULL, "broker");
    assert_false(st_source_caught_up(source));
}

static void reading_goes_on_when_the_broker_is_back(void **state)
{
    (void)state;
    lose_the_broker_at_the_end();
    put_orders(3, 4);
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    expect_orders(3, 4);
}

static void the_end_is_seen_again_when_the_broker_is_back_and_has_nothing_new(void **state)
{
    (void)state;
    lose_the_broker_at_the_end();
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    for (int64_t until_ns = patience_ends_ns();
         is_in_time(until_ns) && !st_source_caught_up(source);) {
        int err = st_source_read(source, &batch, 100, &fault);
        assert_true(err == 0 || err == PS_E_IO);
        assert_int_equal(batch.count, 0);
    }
    assert_true(st_source_caught_up(source));
}

static void freeze_the_broker(void)
{
    kafka_signal(&broker, SIGSTOP);
    when_asked = NULL;
}

/* A worker sees a signal between two reads. */
static void a_broker_that_falls_silent_between_two_questions_does_not_hold_up_a_read(void **state)
{
    enum { LONGEST_S = 20 };
    int64_t slowest_ns = 0;
    (void)state;
    put_orders(1, 2);
    when_asked = freeze_the_broker;
    open_source();
    int64_t until_ns = patience_ends_ns();
    for (int silent = 0; is_in_time(until_ns) && silent < 2;) {
        int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
        int err = st_source_read(source, &batch, 100, &fault);
        int64_t took_ns = ps_clock_mono_ns(&ps_clock_system) - began_ns;
        assert_true(err == 0 || err == PS_E_IO);
        slowest_ns = took_ns > slowest_ns ? took_ns : slowest_ns;
        silent += asked > 0;
    }
    kafka_signal(&broker, SIGCONT);
    assert_true(asked > 0);
    assert_in_range(slowest_ns / PS_NS_PER_S, 0, LONGEST_S);
    expect_orders(1, 2);
}

static void a_batch_holds_only_so_many_bytes(void **state)
{
    enum { COUNT = 40, LARGE = 900000 };
    struct st_batch large;
    size_t seen = 0;
    (void)state;
    char *text = malloc(LARGE + 1);
    assert_non_null(text);
    memset(text, 'x', LARGE);
    text[LARGE] = '\0';
    for (int i = 0; i < COUNT; i++)
        backend->put(text);
    free(text);
    assert_ok(st_batch_init(&large, 1000));
    open_source();
    for (int64_t until_ns = patience_ends_ns(); is_in_time(until_ns) && seen < COUNT;) {
        int err = st_source_read(source, &large, 100, &fault);
        assert_true(err == 0 || err == PS_E_IO);
        assert_true(large.count * LARGE <= ST_BATCH_BYTES_MAX + LARGE);
        for (size_t r = 0; r < large.count; r++)
            assert_int_equal(large.records[r].seq, (int64_t)++seen);
        know_batch(&large);
    }
    assert_int_equal(seen, COUNT);
    st_batch_done(&large);
}

static void a_dead_letter_is_sent_with_its_reason_and_place(void **state)
{
    struct st_source *letters;
    (void)state;
    kafka_topic(&broker, "dead", 1, NULL);
    dead_letters = "dead";
    backend->put("gibberish");
    open_source();
    assert_ok(read_some(source));
    const struct st_letter letter = {&batch.records[0], batch.records[0].poison};
    assert_int_equal(st_source_bury(source, &letter, 1, &fault), 0);
    snprintf(topic, sizeof topic, "dead");
    snprintf(group, sizeof group, "readers");
    dead_letters = NULL;
    assert_ok(topic_open(&hooks, &letters));
    assert_ok(read_some(letters));
    assert_memory_equal(batch.records[0].raw.at, "gibberish", 9);
    st_source_close(letters);
}

static void a_dead_letter_that_cannot_be_sent_says_so(void **state)
{
    (void)state;
    dead_letters = "nowhere";
    backend->put("gibberish");
    open_source();
    assert_ok(read_some(source));
    const struct st_letter letter = {&batch.records[0], "reason"};
    assert_int_equal(st_source_bury(source, &letter, 1, &fault), 1);
    assert_string_equal(fault.path, "nowhere");
}

static void a_transaction_that_a_stranger_leaves_open_holds_up_nobody(void **state)
{
    (void)state;
    put_orders(1, 2);
    rd_kafka_t *stranger = kafka_leave_open(&broker, topic, 1);
    put_orders(4, 4);
    open_source();
    size_t seen = 0;
    while (seen < 4) {
        assert_ok(read_some(source));
        for (size_t i = 0; i < batch.count; i++) {
            assert_int_equal(batch.records[i].seq, (int64_t)++seen);
            assert_int_equal(batch.records[i].poison != NULL, seen == 3);
        }
        know_batch(&batch);
    }
    expect_end();
    rd_kafka_destroy(stranger);
}

static void a_record_that_the_disk_has_damaged_is_said_and_not_passed_over(void **state)
{
    (void)state;
    put_orders(1, 6);
    kafka_damage(&broker, topic, 0, text_of(4));
    open_source();
    assert_true(expect_fault(topic, "CRC") <= 3);
}

static void a_topic_that_is_not_there_is_named(void **state)
{
    (void)state;
    snprintf(topic, sizeof topic, "nowhere");
    open_source();
    (void)expect_fault(NULL, "no such topic");
}

static void a_property_that_the_promises_rest_on_is_refused(void **state)
{
    static const struct oq_kafka_property fixed[] = {{"enable.auto.commit", "true"}};
    static const struct oq_kafka_property others[] = {{"isolation.level", "read_committed"}};
    static const struct oq_kafka_property unknown[] = {{"security.protokol", "SSL"}};
    (void)state;
    assert_int_equal(topic_open_with(fixed, 1, &hooks, &source), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "enable.auto.commit"));
    assert_int_equal(topic_open_with(others, 1, &hooks, &source), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "isolation.level"));
    assert_int_equal(topic_open_with(unknown, 1, &hooks, &source), PS_E_INVALID);
    assert_non_null(strstr(fault.text, "security.protokol"));
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(records_are_given_out_once_and_in_order),
        CLAIM(reading_begins_behind_the_position),
        CLAIM(a_position_at_the_end_waits_for_what_comes),
        CLAIM(a_source_that_is_rewound_asks_where_to_begin),
        CLAIM(a_database_that_is_away_is_asked_again),
        CLAIM(what_is_no_record_comes_as_poison_with_its_bytes),
        CLAIM(a_log_whose_record_is_another_one_is_refused),
        CLAIM(a_log_whose_last_record_is_another_one_is_never_at_its_end),
        CLAIM(a_log_that_ends_before_the_position_is_refused),
    };
    return cmocka_run_group_tests_name(backend->name, tests, NULL, NULL);
}

static int run_journal(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_journal_that_takes_the_place_of_another_is_noticed),
        CLAIM(a_journal_whose_place_was_taken_is_not_at_its_end),
        CLAIM(a_journal_that_is_missing_is_refused_by_name),
        CLAIM(records_that_went_with_their_sale_before_they_were_read_are_an_error),
        CLAIM(records_that_went_after_they_were_read_are_not_missed),
    };
    return cmocka_run_group_tests_name("journal alone", tests, NULL, NULL);
}

static int run_kafka(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(an_end_that_a_new_leader_reports_too_early_is_asked_for_again),
        CLAIM(records_that_are_gone_before_they_were_read_are_an_error),
        CLAIM(a_partition_that_lost_its_beginning_before_it_was_ever_read_is_an_error),
        CLAIM(a_partition_that_has_lost_all_that_it_had_is_an_error),
        CLAIM(records_that_go_while_the_partition_is_read_are_an_error),
        CLAIM(what_is_gone_is_passed_over_when_that_is_wanted),
        CLAIM(a_topic_that_kept_all_that_was_not_read_is_read_on),
        CLAIM(two_members_share_the_partitions_and_one_takes_over),
        CLAIM(reading_goes_on_when_the_broker_is_back),
        CLAIM(the_end_is_seen_again_when_the_broker_is_back_and_has_nothing_new),
        CLAIM(a_broker_that_falls_silent_between_two_questions_does_not_hold_up_a_read),
        CLAIM(a_batch_holds_only_so_many_bytes),
        CLAIM(a_dead_letter_is_sent_with_its_reason_and_place),
        CLAIM(a_dead_letter_that_cannot_be_sent_says_so),
        CLAIM(a_transaction_that_a_stranger_leaves_open_holds_up_nobody),
        CLAIM(a_record_that_the_disk_has_damaged_is_said_and_not_passed_over),
        CLAIM(a_topic_that_is_not_there_is_named),
        CLAIM(a_property_that_the_promises_rest_on_is_refused),
    };
    return cmocka_run_group_tests_name("kafka alone", tests, NULL, NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    backend = &backends[0];
    int failed = run_all() + run_journal();
    if (!kafka_wanted())
        return failed;
    backend = &backends[1];
    kafka_start(&broker);
    failed += run_all() + run_kafka();
    kafka_stop(&broker);
    return failed;
}
