/* Which counter and which log. What they do is the same to everybody above them but for two things:
 * a counter in Redis belongs to the thread that asks it, and a log in Kafka shows a record some
 * milliseconds after it has been sent. Events of the links become log lines
 * here. */
#include "gateway/backends.h"

#include "common/log.h"
#include "gateway/orders/order_events.h"
#include "gateway/sales/sales.h"
#include "inventory/store_memory.h"
#include "queue/log_journal.h"
#include "queue/log_kafka.h"
#include "queue/log_spill.h"

#include <stdlib.h>
#include <string.h>

#define BEHIND_MS    2000
#define LOOK_MS      250
#define CHECK_MS     3600000
#define OPEN_WAIT_MS 10000
#define FLIGHT_MAX   100000
#define MS_PER_HOUR  3600000

/* --- the counter --- */

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
    const struct gw_core *core = ctx;

    (void)sale; /* the heartbeat asks about all */
    sale_on_fenced(core->sales);
}

/* It comes with every call while it lasts. */
static void on_error(struct inv_sale *sale, int err, const char *text, void *ctx)
{
    struct gw_core *core = ctx;
    int64_t now = ps_clock_mono_ns(core->clock);

    (void)sale;
    if (now < atomic_load(&core->store_error_ns))
        return;
    atomic_store(&core->store_error_ns, now + PS_NS_PER_S);
    ps_log(PS_LOG_ERROR, "store_error", PS_F_STR("error", ps_err_text(err)), PS_F_STR("why", text));
}

int gw_counter_open(struct gw_core *core)
{
    const struct gw_settings *settings = core->settings;
    struct inv_redis_settings redis = inv_redis_defaults;

    if (settings->store.kind == GW_STORE_MEMORY)
        return inv_store_memory_new(core->clock, &core->store);
    redis.link.connect_timeout_ms = settings->store.redis.connect_timeout_ms;
    redis.link.command_timeout_ms = settings->store.redis.command_timeout_ms;
    return inv_redis_new(&settings->redis, &redis, &core->start, &core->redis);
}

int gw_counter_store(struct gw_core *core, uv_loop_t *loop, struct inv_store **ret_store)
{
    const struct inv_redis_events events = {.on_ready = on_ready,
                                            .on_away = on_away,
                                            .on_fenced = on_fenced,
                                            .on_error = on_error,
                                            .ctx = core};

    if (core->redis != NULL)
        return inv_store_redis_new(core->redis, loop, &events, ret_store);
    *ret_store = core->store;
    return 0;
}

void gw_counter_store_free(struct gw_core *core, struct inv_store *store)
{
    if (core->redis != NULL)
        inv_store_free(store);
}

void gw_counter_close(struct gw_core *core)
{
    inv_store_free(core->store);
    inv_redis_free(core->redis);
}

/* --- the log --- */

static int open_journal(struct gw_core *core, const struct gw_state_dir *dir,
                        struct ps_fault *fault)
{
    const struct gw_settings *settings = core->settings;
    struct oq_log_callbacks callbacks = ord_events_callbacks(core->events);
    char *path = gw_state_dir_file(dir, "journal.db");
    struct oq_journal_settings journal = {.path = path,
                                          .queue_capacity = (size_t)settings->log.queue,
                                          .batch_max = (size_t)settings->log.batch_max,
                                          .retry_ms = settings->log.retry_ms,
                                          .clock = core->clock};
    int err = path == NULL ? PS_E_NOMEM : oq_journal_open(&journal, &callbacks, &core->log, fault);

    free(path);
    return err;
}

/* With a spill beside it, unless the settings want none. */
static int open_with_spill(struct gw_core *core, const struct gw_state_dir *dir,
                           const struct oq_kafka_settings *kafka, struct ps_fault *fault)
{
    struct oq_log_callbacks callbacks = ord_events_callbacks(core->events);
    int64_t records = core->settings->log.spill.records;

    if (records == 0)
        return oq_kafka_open(kafka, &callbacks, &core->log, fault);
    char *path = gw_state_dir_file(dir, "spill.db");
    struct oq_spill_settings spill = {.path = path,
                                      .records_max = (size_t)records,
                                      .retry_ms = core->settings->log.retry_ms,
                                      .kafka = kafka};
    int err = path == NULL ? PS_E_NOMEM : oq_spill_open(&spill, &callbacks, &core->log, fault);

    free(path);
    return err;
}

static int open_kafka(struct gw_core *core, const struct gw_state_dir *dir, struct ps_fault *fault)
{
    const struct gw_settings *settings = core->settings;
    struct oq_kafka_property *properties;
    size_t property_count;
    int err = oq_kafka_properties(settings->log.kafka.properties, "log.kafka.properties",
                                  &properties, &property_count, fault);

    if (err < 0)
        return err;
    struct oq_kafka_settings kafka = {
        .brokers = settings->log.kafka.brokers,
        .topic = settings->log.kafka.topic,
        .gateway = core->gateway_id,
        .properties = properties,
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
        .clock = core->clock};
    err = open_with_spill(core, dir, &kafka, fault);
    free(properties);
    return err;
}

int gw_log_open(struct gw_core *core, const struct gw_state_dir *dir, struct ps_fault *fault)
{
    return core->settings->log.kind == GW_LOG_KAFKA ? open_kafka(core, dir, fault)
                                                    : open_journal(core, dir, fault);
}
