/* The topic's state and settings, and its brokers.
 *
 * A log of orders is only as good as the topic under it: compaction keeps the last record of an
 * order where the first one decides, retention drops the beginning that a rebuild needs (and takes
 * a fresh order for an old one if the time of a record is what the gateway's clock said), one
 * replica is one disk. None of that shows until it is too late, so such a topic is refused before
 * the first order, with the setting to change. One broker alone can have no replicas: it is for
 * trying things out, and gets a warning only.
 *
 * Brokers older than 3.7 hand out records that too few replicas have (KAFKA-15583: their high
 * watermark moves on while fewer than min.insync.replicas are in sync), although they refuse to
 * acknowledge them; reading a record back proves nothing there. librdkafka does not tell a broker's
 * version, so each broker is asked for a setting that all since 3.7 have and none before (seen with
 * 3.6.2, 3.7.0, 3.9.1 and 4.1.1). */
#include "queue/kafka_topic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int topic_unreachable(const struct oq_kafka_settings *settings, struct ps_fault *fault,
                             rd_kafka_resp_err_t error)
{
    return ps_fault(fault, PS_E_IO, settings->topic, "%s: check Kafka at %s",
                    rd_kafka_err2str(error), settings->brokers);
}

/* --- Partitions and replicas --- */

static bool has_replica(const rd_kafka_metadata_topic_t *found, int32_t id, bool *ret_leads)
{
    bool has = false;
    *ret_leads = false;
    for (int i = 0; i < found->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *partition = &found->partitions[i];
        *ret_leads |= partition->leader == id;
        for (int j = 0; j < partition->replica_cnt; j++)
            has |= partition->replicas[j] == id;
    }
    return has;
}

static struct oq_kafka_replica *find_replica(struct oq_kafka_topic *topic, int32_t id)
{
    for (uint32_t i = 0; i < topic->replica_count; i++)
        if (topic->replica[i].id == id)
            return &topic->replica[i];
    return NULL;
}

/* A broker that went and came back must be asked again. */
static int note_replicas(const struct rd_kafka_metadata *metadata,
                         const struct oq_kafka_settings *settings, struct oq_kafka_topic *topic,
                         struct ps_fault *fault)
{
    struct oq_kafka_replica replica[OQ_KAFKA_REPLICAS_MAX];
    uint32_t count = 0;
    bool leads;
    for (int i = 0; i < metadata->broker_cnt; i++) {
        int32_t id = metadata->brokers[i].id;
        if (!has_replica(&metadata->topics[0], id, &leads))
            continue;
        if (count == OQ_KAFKA_REPLICAS_MAX)
            return ps_fault(fault, PS_E_INVALID, settings->topic,
                            "the topic is on more than %d brokers: use one on fewer brokers",
                            OQ_KAFKA_REPLICAS_MAX);
        const struct oq_kafka_replica *before = find_replica(topic, id);
        replica[count] = before != NULL ? *before : (struct oq_kafka_replica){.id = id};
        replica[count++].leads = leads;
    }
    memcpy(topic->replica, replica, count * sizeof *replica);
    topic->replica_count = count;
    return 0;
}

bool oq_kafka_topic_has_new(const struct oq_kafka_topic *topic)
{
    for (uint32_t i = 0; i < topic->replica_count; i++) {
        const struct oq_kafka_replica *replica = &topic->replica[i];
        if (!replica->asked || (replica->leads && !replica->fit))
            return true;
    }
    return false;
}

static int look_at_partition(const rd_kafka_metadata_partition_t *partition,
                             const struct oq_kafka_settings *settings, struct oq_kafka_topic *topic,
                             struct ps_fault *fault)
{
    if (partition->err != 0 && partition->err != RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE)
        return ps_fault(fault, PS_E_IO, settings->topic, "partition %" PRId32 ": %s", partition->id,
                        rd_kafka_err2str(partition->err));
    uint32_t replicas = (uint32_t)partition->replica_cnt;
    uint32_t in_sync = (uint32_t)partition->isr_cnt;
    if (replicas < topic->replicas)
        topic->replicas = replicas;
    if (in_sync < topic->in_sync) {
        topic->in_sync = in_sync;
        topic->in_sync_at = (uint32_t)partition->id;
    }
    return 0;
}

static int look_at(const struct rd_kafka_metadata *metadata,
                   const struct oq_kafka_settings *settings, struct oq_kafka_topic *topic,
                   struct ps_fault *fault)
{
    const rd_kafka_metadata_topic_t *found = &metadata->topics[0];
    if (metadata->topic_cnt != 1 || found->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "no such topic at %s: create it, with at least %" PRIu32
                        " partitions, cleanup.policy=delete, "
                        "message.timestamp.type=LogAppendTime and three replicas",
                        settings->brokers, settings->partitions_min);
    if (found->err != 0 && found->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return ps_fault(fault,
                        found->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ? PS_E_INVALID
                                                                                   : PS_E_IO,
                        settings->topic, "%s", rd_kafka_err2str(found->err));
    if (found->partition_cnt < 0 || (uint32_t)found->partition_cnt < settings->partitions_min)
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "the topic has %d partitions, the settings require at least %" PRIu32
                        ": add partitions before a sale opens, or require fewer",
                        found->partition_cnt, settings->partitions_min);
    if (found->partition_cnt > OQ_PARTITION_MAX)
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "the topic has %d partitions, at most %d can be used: use another topic",
                        found->partition_cnt, OQ_PARTITION_MAX);
    topic->partitions = (uint32_t)found->partition_cnt;
    topic->brokers = (uint32_t)metadata->broker_cnt;
    topic->replicas = topic->in_sync = UINT32_MAX;
    int err = note_replicas(metadata, settings, topic, fault);
    for (int i = 0; i < found->partition_cnt && err == 0; i++)
        err = look_at_partition(&found->partitions[i], settings, topic, fault);
    return err;
}

int oq_kafka_topic_look(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                        int timeout_ms, struct oq_kafka_topic *topic, struct ps_fault *fault)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *asked = rd_kafka_topic_new(handle, settings->topic, NULL);
    if (asked == NULL)
        return ps_fault(fault, PS_E_INVALID, settings->topic, "is not a valid topic name");
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 0, asked, &metadata, timeout_ms);
    rd_kafka_topic_destroy(asked);
    if (error != 0)
        return topic_unreachable(settings, fault, error);
    int err = look_at(metadata, settings, topic, fault);
    rd_kafka_metadata_destroy(metadata);
    if (err == 0 && topic->in_sync < topic->in_sync_least)
        return ps_fault(fault, PS_E_IO, settings->topic,
                        "partition %" PRIu32 " has %" PRIu32 " replicas in sync; "
                        "min.insync.replicas requires %" PRIu32 ": check the other brokers",
                        topic->in_sync_at, topic->in_sync, topic->in_sync_least);
    return err;
}

/* --- Settings --- */

enum rule {
    IS,       /* the text itself */
    AT_LEAST, /* the number, or -1 for no limit */
    NO_LIMIT, /* -1 */
};

struct wanted {
    const char *name;
    enum rule rule;
    const char *text; /* IS */
    int64_t least;    /* AT_LEAST */
    bool alone;       /* one broker alone cannot have it: a warning then */
    const char *why;
};

static bool is_good(const struct wanted *wanted, const char *value)
{
    int64_t number = strtoll(value, NULL, 10);
    switch (wanted->rule) {
    case IS:
        return strcmp(value, wanted->text) == 0;
    case AT_LEAST:
        return number == -1 || number >= wanted->least;
    default:
        return number == -1;
    }
}

static void put_wanted(char *text, size_t size, const struct wanted *wanted)
{
    if (wanted->rule == IS)
        snprintf(text, size, "%s", wanted->text);
    else if (wanted->rule == AT_LEAST)
        snprintf(text, size, "%" PRId64 " or more", wanted->least);
    else
        snprintf(text, size, "-1");
}

static const char *value_of(const rd_kafka_ConfigResource_t *resource, const char *name)
{
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
            return rd_kafka_ConfigEntry_value(entries[i]);
    return NULL;
}

static int judge_setting(const rd_kafka_ConfigResource_t *resource,
                         const struct oq_kafka_settings *settings, struct oq_kafka_topic *topic,
                         struct ps_fault *fault)
{
    const struct wanted table[] = {
        {"cleanup.policy", IS, "delete", 0, false,
         "compaction keeps the last record of an order, and the first one decides"},
        {"retention.ms", AT_LEAST, NULL, settings->retention_min_ms, false,
         "a sale's first records are needed until it has ended and is settled"},
        {"retention.bytes", NO_LIMIT, NULL, 0, false,
         "a sale's first records are needed until it has ended and is settled"},
        {"message.timestamp.type", IS, "LogAppendTime", 0, false,
         "a wrong clock of a gateway would make records look old, and Kafka would delete them"},
        {"max.message.bytes", AT_LEAST, NULL, OQ_KAFKA_BATCH_BYTES, false,
         "many orders are sent as one batch"},
        {"unclean.leader.election.enable", IS, "false", 0, true,
         "a leader without all records would lose accepted orders"},
        {"min.insync.replicas", AT_LEAST, NULL, 2, true,
         "records on a single broker are lost with it"},
    };
    bool alone = topic->brokers == 1;
    const char *least = value_of(resource, "min.insync.replicas");
    topic->in_sync_least = least != NULL ? (uint32_t)strtoul(least, NULL, 10) : 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(table); i++) {
        const struct wanted *wanted = &table[i];
        const char *value = value_of(resource, wanted->name);
        char good[32];
        if (value == NULL || is_good(wanted, value) || (wanted->alone && alone))
            continue;
        put_wanted(good, sizeof good, wanted);
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "%s of the topic is %s and must be %s: %s", wanted->name, value, good,
                        wanted->why);
    }
    if (topic->replicas < topic->in_sync_least)
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "min.insync.replicas of the topic is %" PRIu32 ", but it has %" PRIu32
                        " replicas: nothing can be written to it",
                        topic->in_sync_least, topic->replicas);
    if (topic->replicas < 3 && !alone)
        return ps_fault(fault, PS_E_INVALID, settings->topic,
                        "a partition of the topic has %" PRIu32
                        " replicas and must have 3: add replicas, or use a topic with 3",
                        topic->replicas);
    if (alone)
        snprintf(topic->notice, sizeof topic->notice,
                 "topic %s: Kafka has only one broker: records that its disk loses are lost",
                 settings->topic);
    return 0;
}

/* Asks for all settings of a topic, or for one of a broker; answered in `queue`. */
static void ask_settings(rd_kafka_t *handle, rd_kafka_ResourceType_t kind, const char *name,
                         const char *one, int timeout_ms, rd_kafka_queue_t *queue)
{
    char why[128];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(kind, name);
    if (one != NULL)
        (void)rd_kafka_ConfigResource_set_config(resource, one, "");
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, why, sizeof why);
    rd_kafka_DescribeConfigs(handle, &resource, 1, options, queue);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_AdminOptions_destroy(options);
}

/* The next answer, NULL = none in time, for the caller to destroy; its one resource when there is
 * no error. */
static rd_kafka_event_t *take_answer(rd_kafka_queue_t *queue, int timeout_ms,
                                     const rd_kafka_ConfigResource_t **ret_resource,
                                     rd_kafka_resp_err_t *ret_error)
{
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources = NULL;
    rd_kafka_event_t *answer = rd_kafka_queue_poll(queue, timeout_ms + 100); /* it has its own */
    *ret_error = answer != NULL ? rd_kafka_event_error(answer) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (*ret_error == 0)
        resources = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(answer), &count);
    if (*ret_error == 0)
        *ret_error =
            count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
    *ret_resource = *ret_error == 0 ? resources[0] : NULL;
    return answer;
}

static bool is_denied(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

static int refuse_old(const struct oq_kafka_settings *settings, const char *broker,
                      struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_INVALID, settings->topic,
                    "Kafka 3.7 or newer is needed, and broker %s is older: it returns records that "
                    "too few replicas have, so an accepted order could be lost; upgrade it",
                    broker);
}

static int check_settings(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                          int timeout_ms, struct oq_kafka_topic *topic, struct ps_fault *fault)
{
    const rd_kafka_ConfigResource_t *resource;
    rd_kafka_resp_err_t error;
    int err;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    topic->notice[0] = '\0';
    ask_settings(handle, RD_KAFKA_RESOURCE_TOPIC, settings->topic, NULL, timeout_ms, queue);
    rd_kafka_event_t *answer = take_answer(queue, timeout_ms, &resource, &error);
    if (error == 0)
        err = judge_setting(resource, settings, topic, fault);
    else if (error == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
        err = refuse_old(settings, "that answers", fault);
    else if (is_denied(error))
        err = ps_fault(fault, PS_E_INVALID, settings->topic,
                       "its settings cannot be checked: allow this user DescribeConfigs on it");
    else
        err = topic_unreachable(settings, fault, error);
    if (answer != NULL)
        rd_kafka_event_destroy(answer);
    rd_kafka_queue_destroy(queue);
    return err;
}

/* --- Brokers --- */

/* Of all brokers since 3.7 (KIP-714), and of none before. */
#define SETTING_SINCE_3_7 "telemetry.max.bytes"

static int judge_broker(const rd_kafka_ConfigResource_t *resource,
                        const struct oq_kafka_settings *settings, struct oq_kafka_topic *topic,
                        struct ps_fault *fault)
{
    const char *name = rd_kafka_ConfigResource_name(resource);
    if (value_of(resource, SETTING_SINCE_3_7) == NULL)
        return refuse_old(settings, name, fault);
    struct oq_kafka_replica *replica = find_replica(topic, (int32_t)strtol(name, NULL, 10));
    if (replica != NULL)
        replica->fit = true;
    return 0;
}

/* All are asked at once. */
static int check_brokers(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                         int timeout_ms, struct oq_kafka_topic *topic, struct ps_fault *fault)
{
    char id[16];
    int err = 0;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    for (uint32_t i = 0; i < topic->replica_count; i++) {
        snprintf(id, sizeof id, "%" PRId32, topic->replica[i].id);
        topic->replica[i].asked = true;
        ask_settings(handle, RD_KAFKA_RESOURCE_BROKER, id, SETTING_SINCE_3_7, timeout_ms, queue);
    }
    for (uint32_t i = 0; i < topic->replica_count && err == 0; i++) {
        const rd_kafka_ConfigResource_t *resource;
        rd_kafka_resp_err_t error;
        rd_kafka_event_t *answer = take_answer(queue, timeout_ms, &resource, &error);
        if (error == 0)
            err = judge_broker(resource, settings, topic, fault);
        else if (is_denied(error))
            err = ps_fault(fault, PS_E_INVALID, settings->topic,
                           "the version of the brokers cannot be checked: allow this user "
                           "DescribeConfigs on the cluster");
        if (answer != NULL)
            rd_kafka_event_destroy(answer);
    }
    rd_kafka_queue_destroy(queue);
    for (uint32_t i = 0; i < topic->replica_count && err == 0; i++)
        if (topic->replica[i].leads && !topic->replica[i].fit)
            err = ps_fault(fault, PS_E_IO, settings->topic,
                           "the version of broker %" PRId32 " is not known yet: check "
                           "Kafka at %s",
                           topic->replica[i].id, settings->brokers);
    return err;
}

int oq_kafka_topic_check(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                         int timeout_ms, struct oq_kafka_topic *topic, struct ps_fault *fault)
{
    int err = check_settings(handle, settings, timeout_ms, topic, fault);
    return err != 0 ? err : check_brokers(handle, settings, timeout_ms, topic, fault);
}

/* --- Edges --- */

rd_kafka_resp_err_t oq_kafka_edges(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list,
                                   int64_t edge, int timeout_ms)
{
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = edge;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle, list, timeout_ms);
    for (int i = 0; i < list->cnt && error == 0; i++)
        error = list->elems[i].err;
    return error;
}
