/* See kafka_broker.h. Topics are made by librdkafka's admin calls around the proxy, with a handle
 * that lives no longer than the call: tests fork. */
#include "tests/contract/kafka_broker.h"
#include "tests/contract/free_port.h"
#include "tests/contract/tcp_proxy.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADMIN_MS 20000

bool kafka_wanted(void)
{
    if (getenv("PENSTOCK_WITHOUT_KAFKA") == NULL)
        return true;
    fprintf(stderr, "kafka: not tested, PENSTOCK_WITHOUT_KAFKA is set\n");
    return false;
}

static void give_up(const char *why)
{
    fprintf(stderr, "kafka: %s\n", why);
    exit(1);
}

static void serve(struct kafka_broker *broker)
{
    enum { OPTIONS = 6 };
    static const char *const names[OPTIONS] = {"--port",       "--controller-port",
                                               "--front-port", "--front-advertised",
                                               "--dir",        "--cluster-id"};
    const int ports[] = {broker->port, broker->controller_port, broker->front_port,
                         broker->proxy_port};
    char path[256];
    char text[OPTIONS][64];
    const char *argv[2 + 2 * OPTIONS] = {path}; /* the last one perhaps */
    char line[32] = "";
    int output[2];
    int status;
    snprintf(path, sizeof path, "%s/deploy/kafka/serve", PENSTOCK_SOURCE_DIR);
    for (size_t i = 0; i < OPTIONS; i++) {
        if (i < PS_ARRAY_LEN(ports))
            snprintf(text[i], sizeof text[i], "%d", ports[i]);
        else if (i + 1 < OPTIONS)
            snprintf(text[i], sizeof text[i], "%s", broker->dir);
        else if (broker->cluster != NULL)
            snprintf(text[i], sizeof text[i], "%s", broker->cluster);
        else
            break;
        argv[1 + 2 * i] = names[i];
        argv[2 + 2 * i] = text[i];
    }
    /* A test's broker needs no optimised code, but to start soon. */
    setenv("PENSTOCK_KAFKA_JAVA", "-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC", 1);
    if (pipe2(output, O_CLOEXEC) != 0)
        give_up("no pipe");
    pid_t child = fork();
    if (child == 0) { /* the broker must not hold connections and pipes of this process */
        dup2(output[1], STDOUT_FILENO);
        close_range(3, ~0U, 0);
        execv(path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(output[1]);
    ssize_t got = read(output[0], line, sizeof line - 1);
    close(output[0]);
    if (waitpid(child, &status, 0) != child || status != 0 || got <= 0)
        give_up("no broker; PENSTOCK_WITHOUT_KAFKA=1 leaves these tests out");
    broker->pid = (pid_t)atoi(line);
}

static void start_keeper(struct kafka_broker *broker, enum kafka_network network)
{
    int orders[2];
    int answers[2];
    if (pipe2(orders, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0)
        give_up("no pipe");
    broker->keeper = fork();
    if (broker->keeper == 0) {
        signal(SIGINT, SIG_IGN); /* it goes by the pipe alone */
        close(orders[1]);
        close(answers[0]);
        tcp_proxy_run(broker->proxy_port, broker->front_port, orders[0], answers[1]);
        kill(broker->pid, SIGKILL);
        _exit(0);
    }
    close(orders[0]);
    close(answers[1]);
    broker->orders = orders[1];
    broker->answers = answers[0];
    kafka_network(broker, network);
}

static void stop_keeper(struct kafka_broker *broker)
{
    close(broker->orders);
    close(broker->answers);
    waitpid(broker->keeper, NULL, 0);
}

void kafka_start(struct kafka_broker *broker)
{
    *broker = (struct kafka_broker){.dir = "/tmp/penstock-kafka-XXXXXX"};
    if (mkdtemp(broker->dir) == NULL)
        give_up("no directory");
    broker->port = free_port();
    broker->controller_port = free_port();
    broker->front_port = free_port();
    broker->proxy_port = free_port();
    snprintf(broker->direct, sizeof broker->direct, "127.0.0.1:%d", broker->port);
    snprintf(broker->proxied, sizeof broker->proxied, "127.0.0.1:%d", broker->proxy_port);
    serve(broker);
    start_keeper(broker, KAFKA_NETWORK_WELL);
}

static void wait_for_its_end(const struct kafka_broker *broker)
{
    while (kill(broker->pid, 0) == 0) /* it is nobody's child here */
        usleep(10000);
}

void kafka_stop(struct kafka_broker *broker)
{
    char command[96];
    stop_keeper(broker);
    wait_for_its_end(broker);
    snprintf(command, sizeof command, "rm -r %s", broker->dir);
    assert_ok(system(command));
}

void kafka_kill(struct kafka_broker *broker)
{
    stop_keeper(broker);
    wait_for_its_end(broker);
}

void kafka_start_again(struct kafka_broker *broker)
{
    serve(broker);
    start_keeper(broker, KAFKA_NETWORK_WELL);
}

void kafka_start_cut_off(struct kafka_broker *broker)
{
    serve(broker);
    start_keeper(broker, KAFKA_NETWORK_CUT);
}

void kafka_signal(struct kafka_broker *broker, int signal)
{
    assert_ok(kill(broker->pid, signal));
}

void kafka_network(struct kafka_broker *broker, enum kafka_network network)
{
    char mode = (char)network;
    assert_int_equal(write(broker->orders, &mode, 1), 1);
    assert_int_equal(read(broker->answers, &mode, 1), 1);
}

/* --- Topics --- */

/* What differs from Kafka's defaults. */
static const struct {
    const char *name, *value;
} as_wanted[] = {{"retention.ms", "-1"}, {"message.timestamp.type", "LogAppendTime"}};

static rd_kafka_t *admin_of(const struct kafka_broker *broker)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", broker->direct, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(handle);
    return handle;
}

/* Waits for the answer and returns the error of its one part. */
static rd_kafka_resp_err_t answer_of(rd_kafka_queue_t *queue)
{
    size_t count = 0;
    const rd_kafka_topic_result_t **results = NULL;
    const rd_kafka_ConfigResource_t **resources = NULL;
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_MS);
    assert_non_null(event);
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DELETETOPICS_RESULT)
        results =
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT)
        results = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(event), &count);
    else
        resources = rd_kafka_AlterConfigs_result_resources(
            rd_kafka_event_AlterConfigs_result(event), &count);
    if (error == 0 && count == 1)
        error = results != NULL ? rd_kafka_topic_result_error(results[0])
                                : rd_kafka_ConfigResource_error(resources[0]);
    rd_kafka_event_destroy(event);
    return error;
}

static bool is_led(rd_kafka_t *admin, const char *name, int partitions)
{
    const struct rd_kafka_metadata *metadata;
    int led = 0;
    assert_int_equal(rd_kafka_metadata(admin, 1, NULL, &metadata, 10000), 0);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        for (int p = 0; strcmp(topic->topic, name) == 0 && p < topic->partition_cnt; p++)
            led += topic->partitions[p].leader >= 0;
    }
    rd_kafka_metadata_destroy(metadata);
    return led >= partitions;
}

void kafka_topic(struct kafka_broker *broker, const char *name, int partitions,
                 const char *const *settings)
{
    char why[256];
    rd_kafka_t *admin = admin_of(broker);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, 1, why, sizeof why);
    assert_non_null(topic);
    for (size_t i = 0; i < PS_ARRAY_LEN(as_wanted); i++)
        rd_kafka_NewTopic_set_config(topic, as_wanted[i].name, as_wanted[i].value);
    for (; settings != NULL && settings[0] != NULL; settings += 2)
        rd_kafka_NewTopic_set_config(topic, settings[0], settings[1]);
    rd_kafka_CreateTopics(admin, &topic, 1, NULL, queue);
    rd_kafka_resp_err_t error = answer_of(queue);
    assert_true(error == 0 || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS);
    for (int tries = 0; !is_led(admin, name, partitions); tries++) {
        assert_true(tries < 100); /* it was made, but the broker may learn of it later */
        usleep(100000);
    }
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(admin);
}

/* Does the broker itself show this value? It answers a change before it goes by it. */
static bool shows_setting(rd_kafka_t *admin, const char *name, const char *setting,
                          const char *value)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_ConfigResource_t *topic = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_DescribeConfigs(admin, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10000);
    bool shown = false;
    size_t count = 0, entries = 0;
    assert_non_null(event);
    const rd_kafka_ConfigResource_t **found = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    const rd_kafka_ConfigEntry_t **entry =
        count == 1 ? rd_kafka_ConfigResource_configs(found[0], &entries) : NULL;
    for (size_t i = 0; i < entries; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entry[i]), setting) == 0)
            shown = strcmp(rd_kafka_ConfigEntry_value(entry[i]), value) == 0;
    rd_kafka_event_destroy(event);
    rd_kafka_ConfigResource_destroy(topic);
    rd_kafka_queue_destroy(queue);
    return shown;
}

void kafka_topic_set(struct kafka_broker *broker, const char *name, const char *setting,
                     const char *value)
{
    rd_kafka_t *admin = admin_of(broker);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_ConfigResource_t *topic = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    for (size_t i = 0; i < PS_ARRAY_LEN(as_wanted); i++) /* the call replaces all settings */
        if (strcmp(setting, as_wanted[i].name) != 0)
            rd_kafka_ConfigResource_set_config(topic, as_wanted[i].name, as_wanted[i].value);
    rd_kafka_ConfigResource_set_config(topic, setting, value);
    rd_kafka_AlterConfigs(admin, &topic, 1, NULL, queue);
    assert_int_equal(answer_of(queue), 0);
    rd_kafka_ConfigResource_destroy(topic);
    rd_kafka_queue_destroy(queue);
    for (int tries = 0; !shows_setting(admin, name, setting, value); tries++) {
        assert_true(tries < 1500);
        usleep(20000);
    }
    rd_kafka_destroy(admin);
}

void kafka_topic_grow(struct kafka_broker *broker, const char *name, int partitions)
{
    char why[256];
    rd_kafka_t *admin = admin_of(broker);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_NewPartitions_t *more =
        rd_kafka_NewPartitions_new(name, (size_t)partitions, why, sizeof why);
    assert_non_null(more);
    rd_kafka_CreatePartitions(admin, &more, 1, NULL, queue);
    assert_int_equal(answer_of(queue), 0);
    rd_kafka_NewPartitions_destroy(more);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(admin);
}

void kafka_topic_remove(struct kafka_broker *broker, const char *name)
{
    rd_kafka_t *admin = admin_of(broker);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(admin, &topic, 1, NULL, queue);
    assert_int_equal(answer_of(queue), 0);
    rd_kafka_DeleteTopic_destroy(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(admin);
}

void kafka_delete_records(struct kafka_broker *broker, const char *topic, int partition,
                          int64_t before)
{
    rd_kafka_t *admin = admin_of(broker);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = before;
    rd_kafka_DeleteRecords_t *deletion = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(admin, &deletion, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_MS);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    const rd_kafka_topic_partition_list_t *deleted =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
    assert_int_equal(deleted->elems[0].err, 0);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(deletion);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(admin);
}

void kafka_put(struct kafka_broker *broker, const char *topic, int partition, const char *value)
{
    rd_kafka_t *producer = admin_of(broker);
    size_t len = value == NULL ? 0 : strlen(value);
    rd_kafka_resp_err_t error =
        rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, len), RD_KAFKA_V_END);
    assert_int_equal(error, 0);
    assert_int_equal(rd_kafka_flush(producer, ADMIN_MS), 0);
    rd_kafka_destroy(producer);
}

void kafka_damage(struct kafka_broker *broker, const char *topic, int partition, const char *what)
{
    static char bytes[65536];
    char path[160];
    snprintf(path, sizeof path, "%s/data/%s-%d/00000000000000000000.log", broker->dir, topic,
             partition);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    char *at = memmem(bytes, len, what, strlen(what));
    assert_non_null(at);
    assert_ok(fseek(file, at - bytes, SEEK_SET));
    assert_int_equal(fputc('#', file), '#');
    assert_ok(fclose(file));
}

rd_kafka_t *kafka_leave_open(struct kafka_broker *broker, const char *topic, int partitions)
{
    char why[256], value[] = "good morning";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", broker->direct, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "transactional.id", topic, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(producer);
    assert_null(rd_kafka_init_transactions(producer, ADMIN_MS));
    assert_null(rd_kafka_begin_transaction(producer));
    for (int i = 0; i < partitions; i++) {
        rd_kafka_resp_err_t error =
            rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(i),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_END);
        assert_int_equal(error, 0);
    }
    assert_int_equal(rd_kafka_flush(producer, ADMIN_MS), 0);
    return producer;
}
