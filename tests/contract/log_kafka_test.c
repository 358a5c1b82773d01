/* What the log in Kafka promises beyond the log's contract: partitions, several gateways, topics
 * that must not be used, records of strangers, and brokers that freeze, die and come back. */
#include "tests/contract/kafka_log.h"

#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- partitions --- */

static uint32_t partition_of(struct gateway *gateway, uint32_t order)
{
    const struct seen_record *record;
    const struct ps_uuid id = id_of(order);
    assert_int_equal(
        log_watch_records_of(&gateway->watch, OQ_ACCEPTED, OQ_REASON_NONE, &id, &record), 1);
    return record->partition;
}

static void all_records_of_an_order_lie_in_the_partition_of_its_key(void **state)
{
    (void)state;
    enum { ORDERS = 60 };
    static struct gateway gateway;
    size_t used[PARTITIONS] = {0};
    gateway_open(&gateway, broker.direct);
    assert_int_equal(oq_log_partitions(gateway.log), PARTITIONS);
    gateway_begin_sale(&gateway);
    for (uint32_t i = 0; i < ORDERS; i++)
        gateway_append_order(&gateway, i, 1);
    for (uint32_t i = 0; i < ORDERS; i++) {
        struct oq_event event = confirmed(i);
        gateway_append(&gateway, &event, 1000 + i);
    }
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 2 * (size_t)ORDERS);
    for (uint32_t i = 0; i < ORDERS; i++) {
        const struct seen_record *record;
        const struct ps_uuid id = id_of(i);
        char key[PS_UUID_LEN + 1];
        ps_uuid_format(&id, key);
        assert_int_equal(
            partition_of(&gateway, i),
            rd_kafka_msg_partitioner_murmur2(NULL, key, PS_UUID_LEN, PARTITIONS, NULL, NULL));
        log_watch_records_of(&gateway.watch, OQ_CONFIRMED, OQ_REASON_NONE, &id, &record);
        assert_int_equal(record->partition, partition_of(&gateway, i));
        assert_int_equal(gateway_state_of(&gateway, i), OQ_STATE_CONFIRMED);
        used[record->partition]++;
    }
    for (size_t i = 0; i < PARTITIONS; i++)
        assert_true(used[i] > 0);
    gateway_close(&gateway);
}

static void a_topic_that_grows_does_not_move_the_keys_of_a_sale(void **state)
{
    (void)state;
    static struct gateway gateway;
    static struct gateway later;
    const struct oq_kafka_settings settings = kafka_patient(broker.direct);
    assert_ok(gateway_try(&gateway, &settings));
    gateway_begin_sale(&gateway);
    kafka_topic_grow(&broker, topic, 5);
    while (oq_log_partitions(gateway.log) < 5)
        usleep(10000);
    for (uint32_t i = 0; i < 40; i++)
        gateway_append_order(&gateway, i, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 40);
    assert_ok(gateway_try(&later, &settings));
    for (uint32_t i = 40; i < 80; i++)
        gateway_append_order(&later, i, 1);
    log_watch_wait_outcomes(&later.watch, 40);
    log_watch_wait_records(&later.watch, PARTITIONS + 1 + 80);
    for (uint32_t i = 0; i < 80; i++)
        assert_true(partition_of(&later, i) < PARTITIONS);
    /* A later sale uses them all. */
    struct oq_event fence = fenced(1, 5, true);
    fence.sale = str("later");
    const struct oq_ticket ticket = {.handle = 5000000};
    assert_ok(oq_log_append_to(gateway.log, 4, &fence, &ticket));
    assert_int_equal(oq_log_append_to(gateway.log, 5, &fence, &ticket), PS_E_INVALID);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 40 + 1);
    log_watch_wait_records(&later.watch, PARTITIONS + 1 + 80 + 1);
    gateway_close(&later);
    gateway_close(&gateway);
}

static void two_gateways_see_the_same_records_in_the_same_order_in_each_partition(void **state)
{
    (void)state;
    enum { EACH = 300, ALL = PARTITIONS + 1 + 2 * EACH };
    static struct gateway gateway[2];
    const struct oq_kafka_settings settings = kafka_patient(broker.direct);
    assert_ok(gateway_try(&gateway[0], &settings));
    gateway_begin_sale(&gateway[0]);
    assert_ok(gateway_try(&gateway[1], &settings));
    for (uint32_t i = 0; i < EACH; i++)
        for (uint32_t who = 0; who < 2; who++)
            gateway_append_order(&gateway[who], who * 10000 + i, 1);
    for (uint32_t who = 0; who < 2; who++) {
        log_watch_wait_records(&gateway[who].watch, ALL);
        assert_int_equal(oq_log_close(gateway[who].log, 5000), 0);
        assert_int_equal(gateway[who].watch.record_count, ALL);
    }
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        size_t at = 0;
        for (size_t i = 0; i < ALL; i++) {
            const struct seen_record *mine = &gateway[0].watch.record[i];
            if (mine->partition != partition)
                continue;
            while (gateway[1].watch.record[at].partition != partition)
                at++;
            assert_int_equal(gateway[1].watch.record[at].seq, mine->seq);
            assert_string_equal(gateway[1].watch.record[at].json, mine->json);
            at++;
        }
    }
    for (uint32_t who = 0; who < 2; who++)
        gateway_close(&gateway[who]);
}

static void all_who_share_a_log_call_it_by_the_same_name(void **state)
{
    (void)state;
    static struct gateway gateway[2];
    struct oq_log_view view[2];
    char begin[64];
    gateway_open(&gateway[0], broker.direct);
    gateway_open(&gateway[1], broker.proxied);
    for (uint32_t who = 0; who < 2; who++)
        oq_log_view(gateway[who].log, &view[who]);
    assert_string_equal(view[0].name, view[1].name);
    (void)snprintf(begin, sizeof begin, "topic %s of Kafka cluster ", topic);
    assert_memory_equal(view[0].name, begin, strlen(begin));
    assert_true(strlen(view[0].name) > strlen(begin));
    for (uint32_t who = 0; who < 2; who++)
        gateway_close(&gateway[who]);
}

struct places {
    size_t count;
    int64_t place[600];
};

static int note_place(int64_t place, struct ps_str json, void *ctx)
{
    struct places *places = ctx;
    (void)json;
    places->place[places->count++] = place;
    return 0;
}

static void a_reader_reads_partition_by_partition_and_can_follow_one(void **state)
{
    (void)state;
    static struct places places;
    static struct gateway gateway;
    struct oq_reader *reader;
    int64_t last = 0;
    int64_t after;
    places.count = 0;
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    for (uint32_t i = 0; i < 500; i++)
        gateway_append_order(&gateway, i, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 500);
    assert_ok(oq_log_reader_new(gateway.log, &reader));
    do {
        after = last;
        assert_ok(
            oq_reader_read(reader, &(struct oq_read){after, 37, NULL, note_place, &places}, &last));
    } while (last != after);
    assert_int_equal(places.count, PARTITIONS + 1 + 500);
    for (size_t i = 1; i < places.count; i++)
        assert_true(places.place[i] > places.place[i - 1]);
    assert_int_equal(oq_place_partition(last), PARTITIONS - 1);
    for (size_t i = 0; i < gateway.watch.record_count; i++) {
        const struct seen_record *record = &gateway.watch.record[i];
        int64_t place = oq_place(record->partition, record->seq);
        size_t at = 0;
        while (at < places.count && places.place[at] != place)
            at++;
        assert_true(at < places.count);
    }
    gateway_append_order(&gateway, 5000, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 501);
    const struct seen_record *newest = &gateway.watch.record[gateway.watch.record_count - 1];
    places.count = 0;
    assert_ok(oq_reader_read(reader,
                             &(struct oq_read){oq_place(newest->partition, newest->seq - 1), 1,
                                               "sale", note_place, &places},
                             &last));
    assert_int_equal(places.count, 1);
    assert_int_equal(places.place[0], oq_place(newest->partition, newest->seq));
    places.count = 0;
    after = oq_place(PARTITIONS - 1, 1000000);
    assert_ok(
        oq_reader_read(reader, &(struct oq_read){after, 10, NULL, note_place, &places}, &last));
    assert_int_equal(last, after);
    assert_int_equal(places.count, 0);
    oq_reader_free(reader);
    gateway_close(&gateway);
}

/* Linked in place of librdkafka's: a follower that lags behind the leader names an end that is
 * none.
 */
static size_t false_ends; /* to be reported before the next message */
static rd_kafka_message_t false_end;
rd_kafka_message_t *__real_rd_kafka_consume(rd_kafka_topic_t *of, int32_t partition, int ms);
rd_kafka_message_t *__wrap_rd_kafka_consume(rd_kafka_topic_t *of, int32_t partition, int ms);
void __real_rd_kafka_message_destroy(rd_kafka_message_t *message);
void __wrap_rd_kafka_message_destroy(rd_kafka_message_t *message);

rd_kafka_message_t *__wrap_rd_kafka_consume(rd_kafka_topic_t *of, int32_t partition, int ms)
{
    if (false_ends == 0)
        return __real_rd_kafka_consume(of, partition, ms);
    false_ends--;
    false_end = (rd_kafka_message_t){
        .err = RD_KAFKA_RESP_ERR__PARTITION_EOF, .partition = partition, .offset = 1};
    return &false_end;
}

void __wrap_rd_kafka_message_destroy(rd_kafka_message_t *message)
{
    if (message != &false_end)
        __real_rd_kafka_message_destroy(message);
}

static void a_reader_goes_on_behind_an_end_that_lies_before_the_leaders(void **state)
{
    (void)state;
    static struct places places;
    static struct gateway gateway;
    struct oq_reader *reader;
    int64_t last;
    places.count = 0;
    gateway_open(&gateway, broker.direct);
    for (int64_t epoch = 1; epoch <= 6; epoch++) /* a record each, in every partition */
        gateway_fence(&gateway, epoch, PARTITIONS);
    assert_ok(oq_log_reader_new(gateway.log, &reader));
    false_ends = 2;
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 1000, NULL, note_place, &places}, &last));
    assert_int_equal(false_ends, 0);
    assert_int_equal(places.count, 6 * PARTITIONS);
    oq_reader_free(reader);
    gateway_close(&gateway);
}

static void a_reader_does_not_wait_for_long_for_a_broker_that_falls_silent(void **state)
{
    enum { LONGEST_S = 20 };
    (void)state;
    static struct places places;
    static struct gateway gateway;
    struct oq_reader *reader;
    int64_t last;
    places.count = 0;
    gateway_open(&gateway, broker.direct);
    gateway_fence(&gateway, 1, PARTITIONS);
    assert_ok(oq_log_reader_new(gateway.log, &reader));
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 1, NULL, note_place, &places}, &last));
    kafka_signal(&broker, SIGSTOP);
    int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
    int err = oq_reader_read(
        reader, &(struct oq_read){oq_place(1, 0), 1, NULL, note_place, &places}, &last);
    int64_t took_ns = ps_clock_mono_ns(&ps_clock_system) - began_ns;
    kafka_signal(&broker, SIGCONT);
    assert_true(err == PS_E_IO || err == PS_E_TIMEOUT);
    assert_in_range(took_ns / PS_NS_PER_S, 0, LONGEST_S);
    oq_reader_free(reader);
    gateway_close(&gateway);
}

static void a_reader_begins_with_what_is_there_but_passes_over_nothing_on_its_way(void **state)
{
    (void)state;
    static struct places places;
    static struct gateway gateway;
    struct oq_reader *reader;
    char go_on[32];
    int64_t last;
    places.count = 0;
    gateway_open(&gateway, broker.direct);
    for (int64_t epoch = 1; epoch <= 6; epoch++) /* a record each, in every partition */
        gateway_fence(&gateway, epoch, PARTITIONS);
    kafka_delete_records(&broker, topic, 1, 4);
    assert_ok(oq_log_reader_new(gateway.log, &reader));
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 1000, NULL, note_place, &places}, &last));
    assert_int_equal(places.count, 6 + 2 + 6);
    assert_int_equal(places.place[6], oq_place(1, 5));
    oq_reader_free(reader);
    assert_ok(oq_log_reader_new(gateway.log, &reader));
    places.count = 0;
    assert_int_equal(
        oq_reader_read(reader, &(struct oq_read){oq_place(1, 3), 1000, NULL, note_place, &places},
                       &last),
        PS_E_NOT_FOUND);
    (void)snprintf(go_on, sizeof go_on, "after %lld", (long long)oq_place(1, 4));
    assert_non_null(strstr(oq_reader_why(reader), "partition 1 from offset 3 to 3 are gone"));
    assert_non_null(strstr(oq_reader_why(reader), go_on));
    assert_int_equal(places.count, 0);
    assert_ok(oq_reader_read(
        reader, &(struct oq_read){oq_place(1, 4), 1, NULL, note_place, &places}, &last));
    assert_int_equal(places.place[0], oq_place(1, 5));
    oq_reader_free(reader);
    gateway_close(&gateway);
}

/* --- topics that must not be used --- */

static void assert_refused(const struct oq_kafka_settings *settings, const char *part_of_message)
{
    static struct gateway gateway;
    int err = gateway_try(&gateway, settings);
    /* On a busy machine the broker may answer too late: the log opens as if it were away. */
    for (int tries = 0; err == 0 && !oq_log_available(gateway.log) && tries < 5; tries++) {
        gateway_close(&gateway);
        err = gateway_try(&gateway, settings);
    }
    if (err == 0)
        fail_msg("not refused for \"%s\": %s", part_of_message,
                 oq_log_available(gateway.log) ? "it is well" : gateway.watch.why);
    assert_int_equal(err, PS_E_INVALID);
    assert_string_equal(gateway.fault.path, topic);
    if (strstr(gateway.fault.text, part_of_message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", gateway.fault.text, part_of_message);
}

static void a_topic_that_is_missing_or_has_too_few_partitions_is_refused(void **state)
{
    (void)state;
    struct oq_kafka_settings settings = kafka_settings(broker.direct);
    assert_refused(&settings, "no such topic");
    kafka_topic(&broker, topic, 2, NULL);
    assert_refused(&settings, "has 2 partitions, the settings require at least 3");
}

static void a_topic_whose_settings_would_lose_orders_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bad, *good;
    } settings[] = {
        {"cleanup.policy", "compact", "delete"},
        {"cleanup.policy", "compact,delete", "delete"},
        {"retention.ms", "999", "1000"},
        {"retention.bytes", "1000000000", "-1"},
        {"message.timestamp.type", "CreateTime", "LogAppendTime"},
        {"max.message.bytes", "999999", "1000000"},
        {"min.insync.replicas", "2", "1"},
    };
    const struct oq_kafka_settings asked = kafka_settings(broker.direct);
    static struct gateway gateway;
    kafka_topic(&broker, topic, PARTITIONS, NULL);
    for (size_t i = 0; i < PS_ARRAY_LEN(settings); i++) {
        char message[64];
        kafka_topic_set(&broker, topic, settings[i].name, settings[i].bad);
        snprintf(message, sizeof message, "%s of the topic is %s", settings[i].name,
                 settings[i].bad);
        assert_refused(&asked, message);
        kafka_topic_set(&broker, topic, settings[i].name, settings[i].good);
    }
    gateway_open(&gateway, broker.direct);
    gateway_close(&gateway);
}

static void a_topic_that_is_spoiled_later_stops_the_log_until_it_is_mended(void **state)
{
    (void)state;
    static struct gateway gateway;
    struct oq_kafka_settings settings = kafka_patient(broker.direct);
    settings.check_ms = 200;
    assert_ok(gateway_try(&gateway, &settings));
    gateway_begin_sale(&gateway);
    kafka_topic_set(&broker, topic, "cleanup.policy", "compact");
    log_watch_wait_away(&gateway.watch);
    assert_true(log_watch_says(&gateway.watch, "cleanup.policy of the topic is compact"));
    kafka_topic_set(&broker, topic, "cleanup.policy", "delete");
    log_watch_wait_back(&gateway.watch, 2);
    gateway_append_order(&gateway, 1, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 1);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_LANDED);
    gateway_close(&gateway);
}

static void one_broker_alone_is_taken_with_a_warning(void **state)
{
    (void)state;
    static struct gateway gateway;
    gateway_open(&gateway, broker.direct);
    assert_int_equal(gateway.watch.notices, 1);
    assert_true(log_watch_notices(&gateway.watch, "only one broker"));
    gateway_close(&gateway);
}

/* Something was lost that people were told of: only its return mends that. */
static void a_topic_that_was_made_anew_stops_the_log(void **state)
{
    (void)state;
    static struct gateway gateway;
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    kafka_topic_remove(&broker, topic);
    usleep(300000);
    kafka_topic(&broker, topic, PARTITIONS, NULL);
    for (int tries = 0; !log_watch_says(&gateway.watch, "estart the gateways"); tries++) {
        assert_true(tries < 1500);
        usleep(20000);
    }
    assert_false(oq_log_available(gateway.log));
    gateway_close(&gateway);
}

static void a_check_alone_says_what_a_start_would(void **state)
{
    (void)state;
    char notice[OQ_KAFKA_NOTICE];
    struct ps_fault fault;
    struct oq_kafka_settings settings = kafka_settings(broker.proxied);
    assert_ok(oq_kafka_check(&settings, 20000, notice, &fault));
    assert_non_null(strstr(notice, "only one broker"));
    kafka_topic_set(&broker, topic, "message.timestamp.type", "CreateTime");
    assert_int_equal(oq_kafka_check(&settings, 20000, notice, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, topic);
    assert_non_null(strstr(fault.text, "message.timestamp.type of the topic is CreateTime"));
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    assert_int_equal(oq_kafka_check(&settings, 300, notice, &fault), PS_E_IO);
    assert_non_null(strstr(fault.text, "check Kafka at"));
    kafka_network(&broker, KAFKA_NETWORK_NO_ANSWERS);
    int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
    assert_int_equal(oq_kafka_check(&settings, 2000, notice, &fault), PS_E_IO);
    assert_in_range((ps_clock_mono_ns(&ps_clock_system) - began_ns) / PS_NS_PER_S, 0, 20);
}

static void properties_are_passed_on_and_ours_are_kept(void **state)
{
    (void)state;
    static const struct {
        struct oq_kafka_property property;
        bool good;
    } cases[] = {
        {{"linger.ms", "1"}, true},
        {{"no.such.property", "1"}, false},
        {{"linger.ms", "soon"}, false},
        {{"acks", "1"}, false},
        {{"enable.idempotence", "false"}, false},
        {{"group.id", "mine"}, false},
        {{"message.timeout.ms", "1"}, false},
        {{"message.max.bytes", "2000000"}, false},
        {{"isolation.level", "read_committed"}, false},
        {{"api.version.request", "false"}, false},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        static struct gateway gateway;
        struct oq_kafka_settings settings = kafka_settings(broker.direct);
        settings.properties = &cases[i].property;
        settings.property_count = 1;
        int err = gateway_try(&gateway, &settings);
        assert_int_equal(err, cases[i].good ? 0 : PS_E_INVALID);
        if (cases[i].good)
            gateway_close(&gateway);
        else
            assert_string_equal(gateway.fault.path, cases[i].property.name);
    }
    /* Security is passed on as well: this broker speaks no TLS, so nothing is reached. */
    const struct oq_kafka_property tls = {"security.protocol", "ssl"};
    static struct gateway gateway;
    struct oq_kafka_settings settings = kafka_settings(broker.direct);
    settings.properties = &tls;
    settings.property_count = 1;
    settings.open_wait_ms = 1500;
    assert_ok(gateway_try(&gateway, &settings));
    log_watch_wait_away(&gateway.watch);
    gateway_close(&gateway);
}

/* --- records of strangers --- */

static void a_record_that_is_not_ours_is_reported_and_passed_over(void **state)
{
    (void)state;
    static struct gateway gateway;
    struct oq_log_stats stats;
    char where[64];
    kafka_put(&broker, topic, 1, "good morning");
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    assert_int_equal(gateway.watch.notices, 2); /* with the warning of the one broker */
    snprintf(where, sizeof where, "%s, partition 1, offset 0", topic);
    assert_true(log_watch_notices(&gateway.watch, where));
    kafka_put(&broker, topic, 2, "{\"type\":\"penstock.order.accepted.v1\"}");
    log_watch_wait_notices(&gateway.watch, 3);
    snprintf(where, sizeof where, "%s, partition 2, offset", topic);
    assert_true(log_watch_notices(&gateway.watch, where));
    assert_true(log_watch_notices(&gateway.watch, "/sale is missing"));
    gateway_append_order(&gateway, 1, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 1);
    oq_log_stats(gateway.log, &stats);
    assert_int_equal(stats.foreign, 2);
    assert_int_equal(gateway.watch.record_count, PARTITIONS + 1 + 1);
    gateway_close(&gateway);
}

/* Ours are never part of a transaction; what a stranger leaves open holds up nobody. */
static void a_transaction_that_a_stranger_leaves_open_holds_up_nobody(void **state)
{
    (void)state;
    static struct gateway gateway;
    static struct gateway later;
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    rd_kafka_t *stranger = kafka_leave_open(&broker, topic, PARTITIONS);
    for (uint32_t i = 0; i < 20; i++)
        gateway_append_order(&gateway, i, 1);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 20);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(gateway_outcome_of(&gateway, i), OQ_LANDED);
    gateway_open(&later, broker.direct);
    gateway_assert_sold(&later, 20);
    gateway_close(&later);
    /* What ends it is a record too, which nobody is given. */
    assert_null(rd_kafka_abort_transaction(stranger, 20000));
    rd_kafka_destroy(stranger);
    gateway_open(&later, broker.direct);
    gateway_assert_sold(&later, 20);
    gateway_close(&later);
    gateway_close(&gateway);
}

/* As large as an operator can make it. */
static void the_largest_batch_fits_into_the_smallest_topic_that_is_taken(void **state)
{
    enum { ORDERS = 3000 };
    (void)state;
    static const struct oq_kafka_property large[] = {{"batch.size", "8000000"},
                                                     {"linger.ms", "1000"}};
    static struct gateway gateway;
    struct oq_kafka_settings settings = kafka_patient(broker.direct);
    struct log_hold hold;
    char user[PS_USER_MAX + 1];
    settings.properties = large;
    settings.property_count = PS_ARRAY_LEN(large);
    kafka_topic_set(&broker, topic, "max.message.bytes", "1000000");
    assert_ok(gateway_try(&gateway, &settings));
    gateway_fence(&gateway, 1, 1); /* so all of them lie in one partition */
    log_hold(&hold, gateway.log);
    for (uint32_t i = 0; i < ORDERS; i++) {
        snprintf(user, sizeof user, "%0*u", PS_USER_MAX, i);
        struct oq_event event = accepted(i, 1, user, "", 1);
        gateway_append(&gateway, &event, i);
    }
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway.watch, 1 + ORDERS);
    for (uint32_t i = 0; i < ORDERS; i++)
        assert_int_equal(gateway_outcome_of(&gateway, i), OQ_LANDED);
    gateway_close(&gateway);
}

/* Others may have read it when it was whole, and told people. */
static void a_record_that_the_disk_has_damaged_stops_the_log(void **state)
{
    (void)state;
    static struct gateway gateway;
    static struct gateway later;
    struct oq_kafka_settings settings = kafka_settings(broker.direct);
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    for (uint32_t i = 0; i < 20; i++) {
        gateway_append_order(&gateway, i, 1);
        log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 1 + i);
    }
    kafka_damage(&broker, topic, (int)partition_of(&gateway, 7), "\"u7\"");
    settings.open_wait_ms = 3000;
    assert_ok(gateway_try(&later, &settings));
    for (int tries = 0; !log_watch_says(&later.watch, "estart the gateway"); tries++) {
        assert_true(tries < 1500);
        usleep(20000);
    }
    assert_false(oq_log_available(later.log));
    gateway_close(&later);
    gateway_close(&gateway);
}

static void a_record_without_a_value_is_passed_over(void **state)
{
    (void)state;
    static struct gateway gateway;
    kafka_put(&broker, topic, 1, NULL);
    gateway_open(&gateway, broker.direct);
    assert_true(log_watch_notices(&gateway.watch, "the record has no value"));
    gateway_begin_sale(&gateway);
    gateway_close(&gateway);
}

/* --- brokers that freeze, die and come back --- */

static struct gateway seller;

/* A stream of orders while `fault` strikes and `mend` mends; every one that was taken and not
 * refused is accepted in the end, and no refused one is (R3). */
static void sell_through(void (*fault)(void), void (*mend)(void))
{
    enum { ORDERS = 200 };
    uint32_t taken = 0;
    uint32_t kept = 0;
    gateway_open_hasty(&seller, broker.proxied);
    gateway_begin_sale(&seller);
    size_t others = seller.watch.outcome_count;
    for (uint32_t i = 0; i < ORDERS; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%u", i);
        struct oq_event event = accepted(i, 1, user, "", 1);
        const struct oq_ticket ticket = {.handle = i};
        int err = oq_log_append(seller.log, &event, &ticket);
        if (err == 0)
            taken++;
        else
            assert_int_equal(err, PS_E_CLOSED);
        if (i == ORDERS / 2) {
            log_watch_wait_outcomes(&seller.watch, others + ORDERS / 4);
            fault();
        }
        usleep(2000);
    }
    log_watch_wait_away(&seller.watch);
    log_watch_wait_outcomes(&seller.watch, others + taken);
    mend();
    log_watch_wait_back(&seller.watch, 2);
    gateway_append_order(&seller, 5000, 1);
    log_watch_wait_outcomes(&seller.watch, others + taken + 1);
    assert_int_equal(gateway_outcome_of(&seller, 5000), OQ_LANDED);
    for (uint32_t i = 0; i < ORDERS; i++) {
        const struct seen_outcome *outcome;
        if (log_watch_outcomes_of(&seller.watch, i, &outcome) == 0)
            continue;
        bool in_log = outcome->outcome != OQ_REFUSED;
        assert_int_equal(gateway_count(&seller, OQ_ACCEPTED, OQ_REASON_NONE, i) > 0, in_log);
        kept += in_log;
    }
    assert_true(kept >= ORDERS / 4);
    gateway_assert_sold(&seller, kept + 1);
    gateway_close(&seller);
    gateway_open(&seller, broker.direct);
    gateway_assert_sold(&seller, kept + 1);
    gateway_close(&seller);
}

static void freeze(void)
{
    kafka_signal(&broker, SIGSTOP);
}

static void thaw(void)
{
    kafka_signal(&broker, SIGCONT);
}

static void cut(void)
{
    kafka_network(&broker, KAFKA_NETWORK_CUT);
}

static void swallow_answers(void)
{
    kafka_network(&broker, KAFKA_NETWORK_NO_ANSWERS);
}

static void mend_network(void)
{
    kafka_network(&broker, KAFKA_NETWORK_WELL);
}

static void kill_it(void)
{
    kafka_kill(&broker);
}

static void start_it(void)
{
    kafka_start_again(&broker);
}

static void a_broker_that_freezes_costs_no_order(void **state)
{
    (void)state;
    sell_through(freeze, thaw);
}

static void a_network_that_is_cut_costs_no_order(void **state)
{
    (void)state;
    sell_through(cut, mend_network);
}

static void lost_acknowledgements_make_no_second_order(void **state)
{
    (void)state;
    sell_through(swallow_answers, mend_network);
}

static void a_broker_that_is_killed_costs_no_order(void **state)
{
    (void)state;
    sell_through(kill_it, start_it);
}

/* --- orders of an operator --- */

static void order(enum ps_breaker_order what)
{
    static uint64_t id;
    struct ps_breaker_view view;
    oq_log_force(seller.log, &(struct ps_breaker_force){what, ++id});
    do {
        assert_true(oq_log_breaker(seller.log, &view));
        usleep(1000);
    } while (view.force.id < id);
    if (what != PS_BREAKER_FREE)
        assert_int_equal(view.state == PS_BREAKER_OPEN, what == PS_BREAKER_FORCED_OPEN);
}

static void force_open(void)
{
    order(PS_BREAKER_FORCED_OPEN);
}

static void release(void)
{
    usleep(600000); /* looks at a broker that is well do not bring it back before */
    assert_false(oq_log_available(seller.log));
    order(PS_BREAKER_FREE);
}

static void a_log_that_is_forced_open_costs_no_order(void **state)
{
    (void)state;
    sell_through(force_open, release);
}

/* A record that was not acknowledged must be read back, whatever was ordered. */
static void cut_while_forced_closed(void)
{
    order(PS_BREAKER_FORCED_CLOSED);
    cut();
}

static void a_log_that_is_forced_closed_costs_no_order(void **state)
{
    (void)state;
    sell_through(cut_while_forced_closed, mend_network);
}

/* --- a producer that fails for good --- */

static _Atomic(rd_kafka_t *) newest_producer;

rd_kafka_t *__real_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t len);
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t len);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t len)
{
    char idempotent[8];
    size_t size = sizeof idempotent;
    bool sends = rd_kafka_conf_get(conf, "enable.idempotence", idempotent, &size) == 0 &&
                 strcmp(idempotent, "true") == 0; /* others ask for metadata only */
    rd_kafka_t *handle = __real_rd_kafka_new(type, conf, why, len);

    if (sends)
        atomic_store(&newest_producer, handle);
    return handle;
}

static void wait_available(const struct gateway *gateway)
{
    for (int i = 0; i < 20000 && !oq_log_available(gateway->log); i++)
        usleep(1000);
    assert_true(oq_log_available(gateway->log));
}

/* F12: another one sends again what was on its way; each order is there once. */
static void a_producer_that_fails_for_good_costs_no_order(void **state)
{
    enum { ORDERS = 60 };
    static struct gateway gateway;
    struct oq_log_stats before, after;
    struct log_hold hold;
    uint32_t kept = 0;

    (void)state;
    gateway_open_hasty(&gateway, broker.proxied);
    gateway_begin_sale(&gateway);
    size_t others = gateway.watch.outcome_count;
    oq_log_stats(gateway.log, &before);
    for (uint32_t i = 0; i < ORDERS; i++) {
        if (i == ORDERS / 3) {
            log_watch_wait_outcomes(&gateway.watch, others + i);
            gateway_hold_well(&gateway, &hold); /* before it looks for answers */
            swallow_answers();
        }
        if (i == 2 * ORDERS / 3) { /* a third is sent and not acknowledged */
            log_let_go(&hold);
            usleep(100000);
            assert_int_equal(
                rd_kafka_test_fatal_error(atomic_load(&newest_producer),
                                          RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test"),
                RD_KAFKA_RESP_ERR_NO_ERROR);
            mend_network();
        }
        if (i < ORDERS / 3 || i >= 2 * ORDERS / 3)
            wait_available(&gateway);
        gateway_append_order(&gateway, i, 1);
    }
    log_watch_wait_outcomes(&gateway.watch, others + ORDERS);
    wait_available(&gateway);
    gateway_append_order(&gateway, 5000, 1);
    log_watch_wait_outcomes(&gateway.watch, others + ORDERS + 1);
    oq_log_stats(gateway.log, &after);
    assert_true(after.producers > before.producers);
    for (uint32_t i = 0; i < ORDERS; i++) {
        bool in_log = gateway_outcome_of(&gateway, i) != OQ_REFUSED;
        assert_int_equal(gateway_count(&gateway, OQ_ACCEPTED, OQ_REASON_NONE, i) > 0, in_log);
        kept += in_log;
    }
    assert_true(kept >= ORDERS / 3);
    gateway_close(&gateway);
    gateway_open(&gateway, broker.direct);
    gateway_assert_sold(&gateway, kept + 1);
    gateway_close(&gateway);
}

static void a_log_opens_while_kafka_is_away_and_is_ready_by_itself(void **state)
{
    (void)state;
    static struct gateway gateway;
    struct oq_kafka_settings settings = kafka_patient(broker.proxied);
    gateway_open(&gateway, broker.direct);
    gateway_begin_sale(&gateway);
    gateway_close(&gateway);
    settings.open_wait_ms = 300;
    cut();
    assert_ok(gateway_try(&gateway, &settings));
    assert_false(oq_log_available(gateway.log));
    log_watch_wait_away(&gateway.watch);
    assert_true(strlen(gateway.watch.why) > 0);
    struct oq_log_view view;
    oq_log_view(gateway.log, &view);
    assert_int_equal(view.state, OQ_LOG_CLOSED);
    assert_null(view.name);
    assert_int_equal(view.reached_ns, 0);
    struct oq_event order = accepted(1, 1, "ann", "", 1);
    assert_int_equal(oq_log_append(gateway.log, &order, &(struct oq_ticket){0}), PS_E_CLOSED);
    mend_network();
    log_watch_wait_back(&gateway.watch, 2);
    oq_log_view(gateway.log, &view);
    assert_non_null(view.name);
    assert_int_equal(gateway.watch.record_count, PARTITIONS + 1);
    gateway_append_order(&gateway, 1, 1);
    log_watch_wait_outcomes(&gateway.watch, 1);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_LANDED);
    gateway_close(&gateway);
}

static void an_order_that_may_have_been_sent_is_unknown_when_the_log_closes(void **state)
{
    (void)state;
    static struct gateway gateway;
    static struct gateway other;
    gateway_open(&gateway, broker.proxied);
    gateway_begin_sale(&gateway);
    gateway_open(&other, broker.direct);
    struct log_hold hold;
    gateway_hold_well(&gateway, &hold);
    gateway_append_order(&gateway, 1, 1);
    swallow_answers();
    log_let_go(&hold);
    log_watch_wait_records(&other.watch, PARTITIONS + 1 + 1); /* so it was sent */
    assert_ok(oq_log_close(gateway.log, 300));
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_UNKNOWN);
    mend_network();
    gateway_close(&other);
    gateway_close(&gateway);
}

/* R4, R13: it is not sent again under an epoch that is over, but its buyer is told by a record. */
static void an_unknown_order_of_an_ended_epoch_is_rejected_by_a_record(void **state)
{
    (void)state;
    static struct gateway gateway;
    static struct gateway rebuilder;
    gateway_open_hasty(&gateway, broker.proxied);
    gateway_begin_sale(&gateway);
    gateway_open(&rebuilder, broker.direct);
    struct log_hold hold;
    gateway_hold_well(&gateway, &hold);
    gateway_append_order(&gateway, 1, 1);
    struct oq_event lowering = adjusted("adjust:sale/less", -3, 1);
    gateway_append(&gateway, &lowering, 2);
    struct oq_event raising = adjusted("adjust:sale/more", 5, 0);
    gateway_append(&gateway, &raising, 3);
    kafka_network(&broker, KAFKA_NETWORK_NO_REQUESTS);
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway.watch, PARTITIONS + 1 + 3);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_UNKNOWN);
    gateway_fence(&rebuilder, 2, PARTITIONS);
    log_watch_wait_away(&gateway.watch);
    mend_network();
    log_watch_wait_back(&gateway.watch, 2);
    assert_int_equal(gateway_count(&gateway, OQ_ACCEPTED, OQ_REASON_NONE, 1), 0);
    assert_int_equal(gateway_count(&gateway, OQ_RELEASED, OQ_REJECTED, 1), 1);
    assert_int_equal(gateway_state_of(&gateway, 1), OQ_STATE_VOID);
    struct oq_fold *fold = gateway_fold(&gateway);
    struct oq_totals totals;
    oq_sale_totals(oq_fold_sale(fold, "sale", 4), 0, &totals);
    assert_int_equal(totals.adjustments, 1000 + 5);
    oq_fold_free(fold);
    gateway_close(&rebuilder);
    gateway_close(&gateway);
}

#define NAMED(test) cmocka_unit_test_setup_teardown(test, kafka_set_up_name, kafka_tear_down)
#define CLAIM(test) cmocka_unit_test_setup_teardown(test, kafka_set_up, kafka_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(all_records_of_an_order_lie_in_the_partition_of_its_key),
        CLAIM(a_topic_that_grows_does_not_move_the_keys_of_a_sale),
        CLAIM(two_gateways_see_the_same_records_in_the_same_order_in_each_partition),
        CLAIM(all_who_share_a_log_call_it_by_the_same_name),
        CLAIM(a_reader_reads_partition_by_partition_and_can_follow_one),
        CLAIM(a_reader_goes_on_behind_an_end_that_lies_before_the_leaders),
        CLAIM(a_reader_does_not_wait_for_long_for_a_broker_that_falls_silent),
        CLAIM(a_reader_begins_with_what_is_there_but_passes_over_nothing_on_its_way),
        NAMED(a_topic_that_is_missing_or_has_too_few_partitions_is_refused),
        NAMED(a_topic_whose_settings_would_lose_orders_is_refused),
        CLAIM(a_topic_that_is_spoiled_later_stops_the_log_until_it_is_mended),
        CLAIM(one_broker_alone_is_taken_with_a_warning),
        CLAIM(a_topic_that_was_made_anew_stops_the_log),
        CLAIM(a_check_alone_says_what_a_start_would),
        CLAIM(properties_are_passed_on_and_ours_are_kept),
        CLAIM(a_record_that_is_not_ours_is_reported_and_passed_over),
        CLAIM(a_record_without_a_value_is_passed_over),
        CLAIM(a_transaction_that_a_stranger_leaves_open_holds_up_nobody),
        CLAIM(a_record_that_the_disk_has_damaged_stops_the_log),
        CLAIM(the_largest_batch_fits_into_the_smallest_topic_that_is_taken),
        CLAIM(a_broker_that_freezes_costs_no_order),
        CLAIM(a_network_that_is_cut_costs_no_order),
        CLAIM(a_log_that_is_forced_open_costs_no_order),
        CLAIM(a_log_that_is_forced_closed_costs_no_order),
        CLAIM(lost_acknowledgements_make_no_second_order),
        CLAIM(a_producer_that_fails_for_good_costs_no_order),
        CLAIM(a_log_opens_while_kafka_is_away_and_is_ready_by_itself),
        CLAIM(an_order_that_may_have_been_sent_is_unknown_when_the_log_closes),
        CLAIM(an_unknown_order_of_an_ended_epoch_is_rejected_by_a_record),
        CLAIM(a_broker_that_is_killed_costs_no_order),
    };
    if (!kafka_wanted())
        return 0;
    return cmocka_run_group_tests(tests, kafka_group_set_up, kafka_group_tear_down);
}
