/* See kafka_log.h. */
#include "tests/contract/kafka_log.h"
#include "tests/contract/kafka_settings.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct kafka_broker broker;
char topic[32];
static unsigned topics;
static struct gateway *open_gateways[8]; /* of a test that has failed, some may be left */

int kafka_group_set_up(void **state)
{
    (void)state;
    kafka_start(&broker);
    return 0;
}

int kafka_group_tear_down(void **state)
{
    (void)state;
    kafka_stop(&broker);
    return 0;
}

int kafka_set_up_name(void **state)
{
    (void)state;
    snprintf(topic, sizeof topic, "test-%u", ++topics);
    return 0;
}

int kafka_set_up(void **state)
{
    (void)kafka_set_up_name(state);
    kafka_topic(&broker, topic, PARTITIONS, NULL);
    return 0;
}

int kafka_tear_down(void **state)
{
    (void)state;
    kafka_signal(&broker, SIGCONT); /* a test that has failed may have left it so */
    kafka_network(&broker, KAFKA_NETWORK_WELL);
    for (size_t i = 0; i < PS_ARRAY_LEN(open_gateways); i++)
        if (open_gateways[i] != NULL)
            gateway_close(open_gateways[i]);
    return 0;
}

static struct gateway **place_of(const struct gateway *gateway)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(open_gateways); i++)
        if (open_gateways[i] == gateway)
            return &open_gateways[i];
    abort();
}

struct oq_kafka_settings kafka_settings(const char *where)
{
    return kafka_settings_of(where, topic, PARTITIONS);
}

struct oq_kafka_settings kafka_patient(const char *where)
{
    struct oq_kafka_settings settings = kafka_settings(where);
    settings.delivery_timeout_ms = 10000;
    settings.behind_ms = 20000;
    return settings;
}

static struct oq_log_callbacks begin(struct gateway *gateway)
{
    *gateway = (struct gateway){0};
    log_watch_init(&gateway->watch);
    return log_watch_callbacks(&gateway->watch);
}

static int keep(struct gateway *gateway, int err)
{
    if (err != 0)
        log_watch_done(&gateway->watch);
    else
        *place_of(NULL) = gateway;
    return err;
}

int gateway_try(struct gateway *gateway, const struct oq_kafka_settings *settings)
{
    struct oq_log_callbacks callbacks = begin(gateway);
    return keep(gateway, oq_kafka_open(settings, &callbacks, &gateway->log, &gateway->fault));
}

int gateway_try_spill(struct gateway *gateway, const struct oq_spill_settings *settings)
{
    struct oq_log_callbacks callbacks = begin(gateway);
    return keep(gateway, oq_spill_open(settings, &callbacks, &gateway->log, &gateway->fault));
}

static void open_with(struct gateway *gateway, const struct oq_kafka_settings *settings)
{
    int err = gateway_try(gateway, settings);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", gateway->fault.path, gateway->fault.text);
    assert_ok(err);
    assert_true(oq_log_available(gateway->log));
}

void gateway_open(struct gateway *gateway, const char *where)
{
    const struct oq_kafka_settings settings = kafka_patient(where);
    open_with(gateway, &settings);
}

void gateway_open_hasty(struct gateway *gateway, const char *where)
{
    const struct oq_kafka_settings settings = kafka_settings(where);
    open_with(gateway, &settings);
}

void gateway_close(struct gateway *gateway)
{
    assert_ok(oq_log_close(gateway->log, 5000));
    oq_log_free(gateway->log);
    log_watch_done(&gateway->watch);
    *place_of(gateway) = NULL;
}

void gateway_hold_well(struct gateway *gateway, struct log_hold *hold)
{
    struct oq_log_view view;
    for (;;) {
        log_watch_wait_back(&gateway->watch, 0);
        log_hold(hold, gateway->log); /* its thread alone changes the state */
        oq_log_view(gateway->log, &view);
        if (view.state == OQ_LOG_WELL)
            return;
        log_let_go(hold);
    }
}

void gateway_append(struct gateway *gateway, const struct oq_event *event, uint64_t handle)
{
    const struct oq_ticket ticket = {.handle = handle};
    assert_ok(oq_log_append(gateway->log, event, &ticket));
}

void gateway_append_order(struct gateway *gateway, uint32_t number, int64_t epoch)
{
    char user[16];
    snprintf(user, sizeof user, "u%u", number);
    struct oq_event event = accepted(number, epoch, user, "", 1);
    gateway_append(gateway, &event, number);
}

enum oq_outcome gateway_outcome_of(struct gateway *gateway, uint64_t handle)
{
    const struct seen_outcome *outcome;
    assert_int_equal(log_watch_outcomes_of(&gateway->watch, handle, &outcome), 1);
    return outcome->outcome;
}

void gateway_fence(struct gateway *gateway, int64_t epoch, uint32_t partitions)
{
    const struct oq_event fence = fenced(epoch, partitions, epoch == 1);
    struct log_hold hold;
    gateway_hold_well(gateway, &hold);
    size_t before = gateway->watch.outcome_count;
    for (uint32_t i = 0; i < partitions; i++) {
        const struct oq_ticket ticket = {.handle = 1000000 + i};
        assert_ok(oq_log_append_to(gateway->log, i, &fence, &ticket));
    }
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway->watch, before + partitions);
}

void gateway_begin_sale(struct gateway *gateway)
{
    struct oq_event stock = adjusted("initial:sale/sku", 1000, 1);
    size_t before = gateway->watch.outcome_count;
    struct log_hold hold;
    gateway_fence(gateway, 1, PARTITIONS);
    gateway_hold_well(gateway, &hold);
    gateway_append(gateway, &stock, 1000100);
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway->watch, before + PARTITIONS + 1);
}

struct oq_fold *gateway_fold(struct gateway *gateway)
{
    struct oq_fold *fold;
    assert_ok(oq_fold_new(&fold));
    for (size_t i = 0; i < gateway->watch.record_count; i++) {
        const struct seen_record *record = &gateway->watch.record[i];
        struct oq_event event;
        struct oq_change change;
        void *owner;
        assert_ok(oq_event_decode(record->json, strlen(record->json), &event, &owner, NULL));
        assert_ok(oq_fold_apply(fold, record->partition, record->seq, &event, &change));
        assert_false(change.anomaly);
        oq_event_release(owner);
    }
    return fold;
}

enum oq_state gateway_state_of(struct gateway *gateway, uint32_t order)
{
    struct oq_fold *fold = gateway_fold(gateway);
    const struct ps_uuid id = id_of(order);
    const struct oq_order *found = oq_fold_order(fold, &id);
    assert_non_null(found);
    enum oq_state state = oq_order_state(found);
    oq_fold_free(fold);
    return state;
}

void gateway_assert_sold(struct gateway *gateway, uint32_t orders)
{
    struct oq_fold *fold = gateway_fold(gateway);
    struct oq_totals totals;
    oq_sale_totals(oq_fold_sale(fold, "sale", 4), 0, &totals);
    assert_int_equal(totals.held, orders);
    oq_fold_free(fold);
}

size_t gateway_count(struct gateway *gateway, enum oq_type type, enum oq_reason reason,
                     uint32_t order)
{
    const struct seen_record *record;
    const struct ps_uuid id = id_of(order);
    return log_watch_records_of(&gateway->watch, type, reason, &id, &record);
}
