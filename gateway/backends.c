/* The counter and the log of the settings. For the rooms above them all kinds behave alike, with
 * two exceptions: a counter in Redis belongs to the thread that asks it, and a log in Kafka shows a
 * record some milliseconds after it was sent. Events of the links become log lines here. */
#include "gateway/backends.h"

#include "common/program/log.h"
#include "gateway/orders/flow.h"
#include "gateway/orders/order_events.h"
#include "inventory/store_memory.h"
#include "inventory/store_redis.h"
#include "queue/log_journal.h"
#include "queue/log_kafka.h"
#include "queue/log_spill.h"

#include <stdlib.h>
#include <string.h>

#define BEHIND_MS    2000
#define LOOK_MS      250
#define CHECK_MS     15000
#define OPEN_WAIT_MS 10000
#define FLIGHT_MAX   100000
#define MS_PER_HOUR  3600000

/* --- the counter --- */

struct gw_counter {
    struct gw_counter_deps deps;
    struct inv_redis *redis;        /* NULL: in memory */
    struct inv_store *store;        /* for every thread; NULL with Redis, where each has its own */
    _Atomic(int64_t) next_error_ns; /* until then no further error of Redis is logged */
};

static void on_ready(void *ctx)
{
    (void)ctx;
    ps_log(PS_LOG_INFO, "store_available");
}

static void on_away(int err, const char *why, void *ctx)
{
    (void)ctx;
    ps_log(PS_LOG_ERROR, "store_unavailable", PS_F_STR("error", ps_err_text(err)),
           PS_F_STR("why", why));
}

static void on_fenced(struct inv_sale *sale, void *ctx)
{
    const struct gw_counter *counter = ctx;

    (void)sale; /* the heartbeat asks about all sales */
    counter->deps.on_fenced(counter->deps.ctx);
}

/* The error comes with every call while it lasts. */
static void on_error(struct inv_sale *sale, int err, const char *text, void *ctx)
{
    struct gw_counter *counter = ctx;
    int64_t now = ps_clock_mono_ns(counter->deps.clock);

    (void)sale;
    if (now < atomic_load(&counter->next_error_ns))
        return;
    atomic_store(&counter->next_error_ns, now + PS_NS_PER_S);
    ps_log(PS_LOG_ERROR, "store_error", PS_F_STR("error", ps_err_text(err)), PS_F_STR("why", text));
}

int gw_counter_open(const struct gw_counter_deps *deps, struct gw_counter **ret_counter)
{
    const struct gw_settings *settings = deps->settings;
    struct gw_counter *counter = calloc(1, sizeof *counter);
    struct inv_redis_settings redis = inv_redis_defaults;
    int err;

    if (counter == NULL)
        return PS_E_NOMEM;
    counter->deps = *deps;
    redis.link.connect_timeout_ms = settings->store.redis.connect_timeout_ms;
    redis.link.command_timeout_ms = settings->store.redis.command_timeout_ms;
    err = settings->store.kind == GW_STORE_MEMORY
              ? inv_store_memory_new(deps->clock, &counter->store)
              : inv_redis_new(&settings->redis, &redis, deps->start, &counter->redis);
    if (err < 0) {
        free(counter);
        return err;
    }
    *ret_counter = counter;
    return 0;
}

int gw_counter_store(struct gw_counter *counter, uv_loop_t *loop, bool buyers,
                     struct inv_store **ret_store)
{
    int64_t slow_ms = buyers ? counter->deps.settings->store.redis.command_timeout_ms / 2 : 0;

    const struct inv_redis_events events = {.on_ready = on_ready,
                                            .on_away = on_away,
                                            .on_fenced = on_fenced,
                                            .on_error = on_error,
                                            .ctx = counter};

    if (counter->redis != NULL)
        return inv_store_redis_new(counter->redis, loop, slow_ms, &events, ret_store);
    *ret_store = counter->store;
    return 0;
}

void gw_counter_store_free(const struct gw_counter *counter, struct inv_store *store)
{
    if (counter->redis != NULL)
        inv_store_free(store);
}

void gw_counter_close(struct gw_counter *counter)
{
    inv_store_free(counter->store);
    inv_redis_free(counter->redis);
    free(counter);
}

/* --- the log --- */

static int open_journal(const struct gw_log_deps *deps, struct oq_log **ret_log,
                        struct ps_fault *fault)
{
    const struct gw_settings *settings = deps->settings;
    struct oq_log_callbacks callbacks = ord_events_callbacks(deps->events);
    char *path = gw_state_dir_file(deps->dir, "journal.db");
    struct oq_journal_settings journal = {.path = path,
                                          .queue_capacity = (size_t)settings->log.queue,
                                          .batch_max = (size_t)settings->log.batch_max,
                                          .retry_ms = settings->log.retry_ms,
                                          .mark = deps->mark_count == 1 ? deps->marks : NULL,
                                          .clock = deps->clock};
    int err = path == NULL ? PS_E_NOMEM : 0;

    if (err == 0 && deps->mark_count > 1)
        err =
            callbacks.on_marks(false, "it is of a log of several partitions, and this is a journal",
                               NULL, callbacks.ctx);
    if (err == 0)
        err = oq_journal_open(&journal, &callbacks, ret_log, fault);

    free(path);
    return err;
}

/* With a spill beside it, unless the settings turn it off. */
static int open_with_spill(const struct gw_log_deps *deps, const struct oq_kafka_settings *kafka,
                           struct oq_log **ret_log, struct ps_fault *fault)
{
    struct oq_log_callbacks callbacks = ord_events_callbacks(deps->events);
    int64_t records = deps->settings->log.spill.records;

    if (records == 0)
        return oq_kafka_open(kafka, &callbacks, ret_log, fault);
    char *path = gw_state_dir_file(deps->dir, "spill.db");
    struct oq_spill_settings spill = {.path = path,
                                      .records_max = (size_t)records,
                                      .retry_ms = deps->settings->log.retry_ms,
                                      .kafka = kafka};
    int err = path == NULL ? PS_E_NOMEM : oq_spill_open(&spill, &callbacks, ret_log, fault);

    free(path);
    return err;
}

/* `*ret_kafka` borrows from the settings; the caller frees its properties. */
static int get_kafka(const struct gw_settings *settings, struct oq_kafka_settings *ret_kafka,
                     struct oq_kafka_property **ret_properties, struct ps_fault *fault)
{
    size_t property_count;
    int err = oq_kafka_properties(settings->log.kafka.properties, "log.kafka.properties",
                                  ret_properties, &property_count, fault);

    if (err < 0)
        return err;
    *ret_kafka = (struct oq_kafka_settings){
        .brokers = settings->log.kafka.brokers,
        .topic = settings->log.kafka.topic,
        .gateway = "",
        .properties = *ret_properties,
        .property_count = property_count,
        .partitions_min = (uint32_t)settings->log.kafka.partitions_min,
        .retention_min_ms = settings->log.kafka.retention_min_h * MS_PER_HOUR,
        .queue_capacity = (size_t)settings->log.queue,
        .in_flight_max = FLIGHT_MAX,
        .delivery_timeout_ms = settings->log.kafka.delivery_timeout_ms,
        .behind_ms = BEHIND_MS,
        .look_ms = LOOK_MS,
        .check_ms = CHECK_MS,
        .open_wait_ms = OPEN_WAIT_MS,
        .clock = &ps_clock_system};
    return 0;
}

static int open_kafka(const struct gw_log_deps *deps, struct oq_log **ret_log,
                      struct ps_fault *fault)
{
    struct oq_kafka_property *properties;
    struct oq_kafka_settings kafka;
    int err = get_kafka(deps->settings, &kafka, &properties, fault);

    if (err < 0)
        return err;
    kafka.gateway = deps->dir->gateway_id;
    kafka.clock = deps->clock;
    kafka.marks = deps->marks;
    kafka.mark_count = deps->mark_count;
    err = open_with_spill(deps, &kafka, ret_log, fault);
    free(properties);
    return err;
}

int gw_log_check(const struct gw_settings *settings, int64_t timeout_ms,
                 char ret_notice[OQ_KAFKA_NOTICE], struct ps_fault *fault)
{
    struct oq_kafka_property *properties;
    struct oq_kafka_settings kafka;
    int err = get_kafka(settings, &kafka, &properties, fault);

    if (err < 0)
        return err;
    err = oq_kafka_check(&kafka, timeout_ms, ret_notice, fault);
    free(properties);
    return err;
}

int gw_log_open(const struct gw_log_deps *deps, struct oq_log **ret_log, struct ps_fault *fault)
{
    return deps->settings->log.kind == GW_LOG_KAFKA ? open_kafka(deps, ret_log, fault)
                                                    : open_journal(deps, ret_log, fault);
}

/* --- how much is under way to them --- */

int gw_flow_new(const struct gw_settings *settings, size_t workers, struct ord_flow **ret_flow)
{
    const struct ord_flow_settings flow = {.workers = workers,
                                           .shared_store = settings->store.kind == GW_STORE_REDIS,
                                           .log_queue = settings->log.queue,
                                           .log_batch_max = settings->log.batch_max,
                                           .log_target_ms = settings->log.target_ms,
                                           .store_target_ms = settings->store.redis.target_ms,
                                           .ack_timeout_ms = settings->log.ack_timeout_ms,
                                           .store_timeout_ms =
                                               settings->store.redis.command_timeout_ms};

    return ord_flow_new(&flow, ret_flow);
}
