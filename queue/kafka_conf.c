/* librdkafka's settings. The settings on which the log's guarantees depend are fixed (acks,
 * idempotence, where reading starts) and refused if an operator sets them; the rest are defaults
 * that the operator may change. Times are short: a sale continues within two seconds after Kafka
 * has come back, so nothing may wait for a connection that is long dead. */
#include "queue/kafka_conf.h"
#include "queue/kafka_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFRESH_MS     1000
#define READER_WAIT_MS 10
/* Numbers in Kafka's protocol. The second request is the first on each connection. */
#define PRODUCE_REQUEST      0
#define API_VERSIONS_REQUEST 18

static const struct oq_kafka_property defaults[] = {
    {"client.id", "penstock"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"socket.timeout.ms", "3000"},
    {"socket.connection.setup.timeout.ms", "3000"},
    {"api.version.request.timeout.ms", "3000"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "500"},
    {"topic.metadata.refresh.fast.interval.ms", "100"},
    {"statistics.interval.ms", "5000"},
    {"linger.ms", "5"},
    {"check.crcs", "true"},
    {"fetch.wait.max.ms", "500"},
    {"fetch.error.backoff.ms", "100"},
    {"queued.min.messages", "20000"},
    {"queued.max.messages.kbytes", "16384"},
    {NULL, NULL},
};

static const struct oq_kafka_property fixed[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"allow.auto.create.topics", "false"},
    {"enable.partition.eof", "true"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"auto.commit.enable", "false"},
    /* No record of ours is part of a transaction. An open transaction of another producer would
     * hold up a reader of committed records; and all gateways must read alike. */
    {"isolation.level", "read_uncommitted"},
    /* New connections are noticed by what they begin with. */
    {"api.version.request", "true"},
    {"api.version.fallback.ms", "0"},
    {NULL, NULL},
};

/* Also ours, by the log's own settings or because they are useless here. */
static const char *const refused[] = {
    "metadata.broker.list",
    "bootstrap.servers",
    "brokers",
    "request.required.acks",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "queue.buffering.max.messages",
    "message.max.bytes",
    "transactional.id",
    "group.id",
    "partitioner",
    "plugin.library.paths",
    NULL,
};

static const struct oq_kafka_rules rules = {defaults, fixed, refused};

static int set_int(rd_kafka_conf_t *conf, const char *name, int64_t value, struct ps_fault *fault)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return oq_kafka_check_set(conf, name, text, fault);
}

/* --- The settings --- */

static char *copy_string(char **at, const char *text)
{
    char *start = *at;
    size_t size = strlen(text) + 1;
    memcpy(start, text, size);
    *at += size;
    return start;
}

static int try_properties(const struct oq_kafka_settings *settings, struct ps_fault *fault)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int err =
        oq_kafka_check_apply(conf, &rules, settings->properties, settings->property_count, fault);
    rd_kafka_conf_destroy(conf);
    return err;
}

int oq_kafka_properties_check(const json_t *object, const char *path, oq_kafka_fault_fn *on_fault,
                              void *ctx)
{
    return oq_kafka_check_properties(&rules, object, path, on_fault, ctx);
}

int oq_kafka_config_init(struct oq_kafka_config *config, const struct oq_kafka_settings *settings,
                         struct ps_fault *fault)
{
    int err = try_properties(settings, fault);
    if (err != 0)
        return err;
    const struct oq_kafka_property *from = settings->properties;
    size_t table = settings->property_count * sizeof(struct oq_kafka_property);
    size_t size =
        table + strlen(settings->brokers) + strlen(settings->topic) + strlen(settings->gateway) + 3;
    for (size_t i = 0; i < settings->property_count; i++)
        size += strlen(from[i].name) + strlen(from[i].value) + 2;
    char *memory = malloc(size);
    if (memory == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    struct oq_kafka_property *properties = (struct oq_kafka_property *)(void *)memory;
    char *at = memory + table;
    *config = (struct oq_kafka_config){.set = *settings, .memory = memory};
    config->set.brokers = copy_string(&at, settings->brokers);
    config->set.topic = copy_string(&at, settings->topic);
    config->set.gateway = copy_string(&at, settings->gateway);
    config->set.properties = properties;
    for (size_t i = 0; i < settings->property_count; i++) {
        properties[i].name = copy_string(&at, from[i].name);
        properties[i].value = copy_string(&at, from[i].value);
    }
    return 0;
}

void oq_kafka_config_done(struct oq_kafka_config *config)
{
    free(config->memory);
    config->memory = NULL;
}

/* --- Handles --- */

static rd_kafka_resp_err_t on_request_sent(rd_kafka_t *handle, int socket, const char *broker,
                                           int32_t broker_id, int16_t kind, int16_t version,
                                           int32_t number, size_t size, void *opaque)
{
    const struct oq_kafka_hooks *hooks = opaque;
    (void)handle;
    (void)socket;
    (void)broker;
    (void)broker_id;
    (void)version;
    (void)number;
    (void)size;
    if (kind == PRODUCE_REQUEST && hooks->on_produce_request != NULL)
        hooks->on_produce_request(hooks->opaque);
    if (kind == API_VERSIONS_REQUEST && hooks->on_connect != NULL)
        hooks->on_connect(hooks->opaque);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t add_interceptor(rd_kafka_t *handle, const rd_kafka_conf_t *conf,
                                           void *opaque, char *why, size_t size)
{
    (void)conf;
    (void)why;
    (void)size;
    return rd_kafka_interceptor_add_on_request_sent(handle, "penstock", on_request_sent, opaque);
}

static int set_properties(rd_kafka_conf_t *conf, const struct oq_kafka_config *config,
                          enum oq_kafka_role role, struct ps_fault *fault)
{
    const struct oq_kafka_settings *settings = &config->set;
    int err = set_int(conf, "message.timeout.ms", settings->delivery_timeout_ms, fault);
    if (err == 0) /* this one the operator may change */
        err = set_int(conf, "request.timeout.ms", settings->delivery_timeout_ms, fault);
    if (err == 0) /* never full: the sender limits what the producer has */
        err = set_int(conf, "queue.buffering.max.messages",
                      2 * (int64_t)settings->in_flight_max + 1, fault);
    if (err == 0) /* a batch that the topic refuses would be sent again forever */
        err = set_int(conf, "message.max.bytes", OQ_KAFKA_BATCH_BYTES, fault);
    if (err == 0)
        err = oq_kafka_check_apply(conf, &rules, settings->properties, settings->property_count,
                                   fault);
    if (err == 0 && role == OQ_KAFKA_WATCHER) /* it produces nothing and needs no producer id */
        err = oq_kafka_check_set(conf, "enable.idempotence", "false", fault);
    if (err == 0 && role == OQ_KAFKA_READER) /* a held fetch keeps the next partition waiting */
        err = set_int(conf, "fetch.wait.max.ms", READER_WAIT_MS, fault);
    if (err == 0)
        err = oq_kafka_check_set(conf, "bootstrap.servers", settings->brokers, fault);
    return err;
}

int oq_kafka_conf_new(const struct oq_kafka_config *config, enum oq_kafka_role role,
                      struct oq_kafka_hooks *hooks, rd_kafka_t **ret_handle, struct ps_fault *fault)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int err = set_properties(conf, config, role, fault);
    if (err != 0)
        goto fail;
    rd_kafka_conf_set_opaque(conf, hooks->opaque);
    rd_kafka_conf_set_error_cb(conf, hooks->on_error);
    if (hooks->on_delivery != NULL)
        rd_kafka_conf_set_dr_msg_cb(conf, hooks->on_delivery);
    if (hooks->on_statistics != NULL)
        rd_kafka_conf_set_stats_cb(conf, hooks->on_statistics);
    if ((hooks->on_produce_request != NULL || hooks->on_connect != NULL) &&
        rd_kafka_conf_interceptor_add_on_new(conf, "penstock", add_interceptor, hooks) != 0) {
        err = ps_fault(fault, PS_E_NOMEM, config->set.topic, "out of memory");
        goto fail;
    }
    bool reads = role == OQ_KAFKA_CONSUMER || role == OQ_KAFKA_READER;
    rd_kafka_type_t type = reads ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
    rd_kafka_t *handle = rd_kafka_new(type, conf, why, sizeof why);
    if (handle == NULL) {
        err = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG ? PS_E_INVALID : PS_E_IO;
        ps_fault(fault, err, config->set.brokers, "%s", why);
        goto fail;
    }
    *ret_handle = handle;
    return 0;
fail:
    rd_kafka_conf_destroy(conf);
    return err;
}

int oq_kafka_conf_refresh(rd_kafka_t *handle, rd_kafka_topic_t *topic, struct ps_fault *fault)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 0, topic, &metadata, REFRESH_MS);
    if (error != 0)
        return ps_fault(fault, PS_E_IO, rd_kafka_topic_name(topic), "%s", rd_kafka_err2str(error));
    rd_kafka_metadata_destroy(metadata);
    return 0;
}
