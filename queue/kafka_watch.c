/* The watcher. It has a handle of its own: on the consumer's connection a question would wait
 * behind the fetch in progress, and the producer is replaced now and then. */
#include "queue/kafka_watch.h"
#include "queue/kafka_topic.h"
#include "queue/log_backend.h"
#include "common/program/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS     1000
#define LOOK_AGAIN_US 100000
/* In a look; each gets this part of a check's time limit. */
#define QUESTIONS 6

struct oq_kafka_watch {
    const struct oq_kafka_config *config;
    int wakeup;
    pthread_t thread;
    bool thread_runs;
    struct oq_kafka_hooks hooks;
    rd_kafka_t *handle;
    int answer_ms;               /* for each question */
    struct oq_kafka_topic topic; /* the watcher's thread */
    char reason[512];            /* the watcher's thread: why Kafka is out of reach */
    struct oq_kafka_look making; /* the watcher's thread */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    bool stop, check, is_new;
    struct oq_kafka_look look;
};

static void on_error(rd_kafka_t *handle, int err, const char *reason, void *opaque)
{
    struct oq_kafka_watch *watch = opaque;
    (void)handle;
    /* It only sums up earlier errors. */
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(watch->reason, sizeof watch->reason, "%s", reason);
}

/* Of each partition the offset of its first record (RD_KAFKA_OFFSET_BEGINNING), or behind its last
 * one (RD_KAFKA_OFFSET_END). */
static int find_edges(struct oq_kafka_watch *watch, int64_t edge, int64_t *ret_offsets,
                      struct ps_fault *fault)
{
    const char *topic = watch->config->set.topic;
    uint32_t partitions = watch->topic.partitions;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)partitions);
    for (uint32_t i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
    rd_kafka_resp_err_t error = oq_kafka_edges(watch->handle, list, edge, watch->answer_ms);
    for (int i = 0; i < list->cnt && error == 0; i++)
        ret_offsets[list->elems[i].partition] = list->elems[i].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return error == 0
               ? 0
               : ps_fault(fault, PS_E_IO, topic, "it does not say where its partitions %s: %s",
                          edge == RD_KAFKA_OFFSET_END ? "end" : "begin", rd_kafka_err2str(error));
}

static int find_out(struct oq_kafka_watch *watch, bool full, struct oq_kafka_look *look)
{
    const struct oq_kafka_settings *settings = &watch->config->set;
    struct oq_kafka_topic *topic = &watch->topic;
    struct ps_fault *fault = &look->fault;
    int wait_ms = watch->answer_ms;
    int err = oq_kafka_topic_look(watch->handle, settings, wait_ms, topic, fault);
    full = full || (err == 0 && oq_kafka_topic_has_new(topic));
    if (err == 0 && full)
        err = oq_kafka_topic_check(watch->handle, settings, wait_ms, topic, fault);
    if (err == 0 && full)
        err = find_edges(watch, RD_KAFKA_OFFSET_BEGINNING, look->begins, fault);
    if (err == 0)
        err = find_edges(watch, RD_KAFKA_OFFSET_END, look->ends, fault);
    if (err == 0 && full) {
        memcpy(look->notice, topic->notice, sizeof look->notice);
        look->checked_ns = look->began_ns;
    }
    return err;
}

/* Every broker since 0.10.1 reports it with the metadata that have just arrived; librdkafka keeps
 * the last report. */
static void take_cluster(struct oq_kafka_watch *watch, struct oq_kafka_look *look)
{
    char *id = rd_kafka_clusterid(watch->handle, watch->answer_ms);
    snprintf(look->cluster, sizeof look->cluster, "%s", id != NULL ? id : "");
    rd_kafka_mem_free(watch->handle, id);
}

static void look_once(struct oq_kafka_watch *watch, bool full)
{
    struct oq_kafka_look *look = &watch->making;
    look->began_ns = oq_now_ns();
    look->notice[0] = '\0';
    look->err = find_out(watch, full, look);
    if (look->err == 0)
        take_cluster(watch, look);
    rd_kafka_poll(watch->handle, 0); /* runs on_error */
    look->partitions = look->err == 0 ? watch->topic.partitions : 0;
    /* librdkafka reports a lasting reason once: keep it until a look succeeds */
    if (look->err == 0)
        watch->reason[0] = '\0';
    if (look->err == PS_E_IO && watch->reason[0] != '\0')
        ps_fault(&look->fault, look->err, watch->config->set.topic, "check Kafka at %s: %s",
                 watch->config->set.brokers, watch->reason);
}

/* Under the lock. */
static void wait_ms(struct oq_kafka_watch *watch, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms * PS_NS_PER_MS;
    until.tv_sec += ns / PS_NS_PER_S;
    until.tv_nsec = ns % PS_NS_PER_S;
    while (!watch->stop && !watch->check &&
           pthread_cond_timedwait(&watch->wake, &watch->lock, &until) == 0)
        continue;
}

static void *run_watch(void *arg)
{
    struct oq_kafka_watch *watch = arg;
    const struct oq_kafka_settings *settings = &watch->config->set;
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        bool full = watch->check;
        watch->check = false;
        pthread_mutex_unlock(&watch->lock);
        if (oq_now_ns() - watch->making.checked_ns > settings->check_ms * PS_NS_PER_MS)
            full = true;
        look_once(watch, full);
        pthread_mutex_lock(&watch->lock);
        bool again = full && watch->making.err != 0;
        watch->look = watch->making;
        watch->is_new = true;
        (void)eventfd_write(watch->wakeup, 1);
        wait_ms(watch, settings->look_ms);
        watch->check |= again;
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int oq_kafka_watch_start(const struct oq_kafka_config *config, int wakeup,
                         struct oq_kafka_watch **ret_watch, struct ps_fault *fault)
{
    struct oq_kafka_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return ps_fault(fault, PS_E_NOMEM, config->set.topic, "out of memory");
    watch->config = config;
    watch->answer_ms = ANSWER_MS;
    watch->wakeup = wakeup;
    watch->check = true;
    watch->hooks = (struct oq_kafka_hooks){.on_error = on_error, .opaque = watch};
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&watch->lock, NULL);
    int err = oq_kafka_conf_new(config, OQ_KAFKA_WATCHER, &watch->hooks, &watch->handle, fault);
    if (err != 0)
        goto fail;
    err = ps_thread_start("kafka-watch", run_watch, watch, &watch->thread);
    if (err != 0) {
        ps_fault(fault, err, config->set.topic, "a thread cannot be started");
        goto fail;
    }
    watch->thread_runs = true;
    *ret_watch = watch;
    return 0;
fail:
    oq_kafka_watch_stop(watch);
    return err;
}

void oq_kafka_watch_stop(struct oq_kafka_watch *watch)
{
    if (watch == NULL)
        return;
    if (watch->thread_runs) {
        pthread_mutex_lock(&watch->lock);
        watch->stop = true;
        pthread_cond_signal(&watch->wake);
        pthread_mutex_unlock(&watch->lock);
        pthread_join(watch->thread, NULL);
    }
    if (watch->handle != NULL)
        rd_kafka_destroy(watch->handle);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

bool oq_kafka_watch_news(struct oq_kafka_watch *watch, struct oq_kafka_look *ret_look)
{
    pthread_mutex_lock(&watch->lock);
    bool is_new = watch->is_new;
    if (is_new)
        *ret_look = watch->look;
    watch->is_new = false;
    pthread_mutex_unlock(&watch->lock);
    return is_new;
}

void oq_kafka_watch_check(struct oq_kafka_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    watch->check = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
}

int oq_kafka_check(const struct oq_kafka_settings *settings, int64_t timeout_ms,
                   char ret_notice[OQ_KAFKA_NOTICE], struct ps_fault *fault)
{
    int64_t until_ns = oq_now_ns() + timeout_ms * PS_NS_PER_MS;
    struct oq_kafka_config config = {0};
    struct oq_kafka_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    watch->config = &config;
    watch->hooks = (struct oq_kafka_hooks){.on_error = on_error, .opaque = watch};
    int err = oq_kafka_config_init(&config, settings, fault);
    if (err == 0)
        err = oq_kafka_conf_new(&config, OQ_KAFKA_WATCHER, &watch->hooks, &watch->handle, fault);
    if (err == 0) {
        do {
            int64_t left_ms = (until_ns - oq_now_ns()) / PS_NS_PER_MS / QUESTIONS;
            watch->answer_ms = left_ms < 1 ? 1 : left_ms < ANSWER_MS ? (int)left_ms : ANSWER_MS;
            look_once(watch, true);
        } while (watch->making.err == PS_E_IO &&
                 oq_now_ns() + LOOK_AGAIN_US * INT64_C(1000) < until_ns &&
                 usleep(LOOK_AGAIN_US) == 0);
        err = watch->making.err;
        *fault = err != 0 ? watch->making.fault : *fault;
        memcpy(ret_notice, watch->making.notice, OQ_KAFKA_NOTICE);
    }
    if (watch->handle != NULL)
        rd_kafka_destroy(watch->handle);
    oq_kafka_config_done(&config);
    free(watch);
    return err;
}
