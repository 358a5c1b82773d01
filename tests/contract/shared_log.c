/* See shared_log.h. Records are kept encoded, as a real log keeps them. */
#include "tests/contract/shared_log.h"
#include "tests/unit/check.h"

#include "queue/log_kafka.h"

#include <stdatomic.h>
#include <stdlib.h>

#define RECORDS_MAX 4096
#define CALLS_MAX   256

struct record {
    struct oq_log *by; /* NULL: a stranger */
    struct oq_ticket ticket;
    enum oq_type type;
    size_t len;
    char *text;
};

struct shared_topic {
    size_t count[SHARED_PARTITIONS];
    struct record records[SHARED_PARTITIONS][RECORDS_MAX];
};

struct call {
    void (*fn)(void *arg);
    void *arg;
};

struct view {
    struct oq_log log;
    struct shared_topic *topic;
    struct oq_log_callbacks on;
    size_t read[SHARED_PARTITIONS];
    struct call calls[CALLS_MAX];
    size_t call_count;
    bool held;
    _Atomic(bool) away;
    _Atomic(int64_t) reached_ns;
};

struct shared_topic *shared_topic_new(void)
{
    struct shared_topic *topic = calloc(1, sizeof *topic);
    assert_non_null(topic);
    return topic;
}

void shared_topic_free(struct shared_topic *topic)
{
    for (size_t p = 0; p < SHARED_PARTITIONS; p++)
        for (size_t i = 0; i < topic->count[p]; i++)
            free(topic->records[p][i].text);
    free(topic);
}

size_t shared_topic_count(const struct shared_topic *topic, uint32_t partition, enum oq_type type)
{
    size_t count = 0;
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        for (size_t i = 0; i < topic->count[p]; i++)
            count +=
                topic->records[p][i].type == type && (partition == UINT32_MAX || partition == p);
    return count;
}

static void put(struct shared_topic *topic, uint32_t partition, const struct oq_event *event,
                struct oq_log *by, const struct oq_ticket *ticket)
{
    char text[OQ_EVENT_TEXT_MAX];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    assert_ok(oq_event_encode(event, &buf));
    assert_true(topic->count[partition] < RECORDS_MAX);
    struct record *record = &topic->records[partition][topic->count[partition]++];
    *record = (struct record){.by = by, .type = event->type, .len = buf.len};
    if (ticket != NULL)
        record->ticket = *ticket;
    record->text = malloc(buf.len);
    assert_non_null(record->text);
    memcpy(record->text, text, buf.len);
}

void shared_topic_put(struct shared_topic *topic, uint32_t partition, const struct oq_event *event)
{
    put(topic, partition, event, NULL, NULL);
}

static struct view *of(struct oq_log *log)
{
    return (struct view *)(void *)log;
}

static int append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                  const struct oq_ticket *ticket)
{
    struct view *view = of(log);
    char key[OQ_ADJUST_KEY_MAX + 1];
    if (view->away)
        return PS_E_CLOSED;
    if (partition == OQ_BY_KEY)
        partition =
            oq_log_partition_of((struct ps_str){key, oq_event_key(event, key)}, SHARED_PARTITIONS);
    put(view->topic, partition, event, log, ticket);
    return 0;
}

static unsigned backlog_percent(const struct oq_log *log)
{
    (void)log;
    return 0;
}

static bool available(const struct oq_log *log)
{
    return !((const struct view *)(const void *)log)->away;
}

static void view_of(const struct oq_log *log, struct oq_log_view *ret_view)
{
    const struct view *view = (const struct view *)(const void *)log;
    *ret_view = (struct oq_log_view){.state = view->away ? OQ_LOG_AWAY : OQ_LOG_WELL,
                                     .available = !view->away,
                                     .current = true,
                                     .shared = true,
                                     .partitions = SHARED_PARTITIONS,
                                     .reached_ns = view->reached_ns,
                                     .name = SHARED_LOG_NAME};
}

static void stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    (void)log;
    static const struct ps_durations none;
    *ret_stats = (struct oq_log_stats){.commit_durations = &none};
}

static int call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    struct view *view = of(log);
    if (view->call_count == CALLS_MAX)
        return PS_E_FULL;
    view->calls[view->call_count++] = (struct call){fn, arg};
    return 0;
}

static int close_view(struct oq_log *log, int64_t timeout_ms)
{
    (void)timeout_ms;
    shared_log_hold(log, false, true);
    shared_log_read(log); /* what was called still runs */
    return 0;
}

static void free_view(struct oq_log *log)
{
    struct view *view = of(log);
    for (size_t p = 0; p < SHARED_PARTITIONS; p++)
        for (size_t i = 0; i < view->topic->count[p]; i++)
            if (view->topic->records[p][i].by == log)
                view->topic->records[p][i].by = NULL;
    free(view);
}

static const struct oq_log_ops ops = {.append = append,
                                      .backlog_percent = backlog_percent,
                                      .available = available,
                                      .view = view_of,
                                      .stats = stats,
                                      .call = call,
                                      .close = close_view,
                                      .free = free_view};

struct oq_log *shared_log_new(struct shared_topic *topic, const struct oq_log_callbacks *callbacks)
{
    struct view *view = calloc(1, sizeof *view);
    assert_non_null(view);
    view->log.ops = &ops;
    view->topic = topic;
    view->on = *callbacks;
    return &view->log;
}

void shared_log_hold(struct oq_log *log, bool held, bool away)
{
    of(log)->held = held;
    of(log)->away = away;
}

static void read_one(struct view *view, uint32_t p)
{
    size_t at = view->read[p]++;
    struct record record = view->topic->records[p][at];
    int64_t seq = (int64_t)at + 1;
    struct oq_event event;
    void *owner;
    assert_ok(oq_event_decode(record.text, record.len, &event, &owner, NULL));
    view->on.on_record(p, seq, &event, view->on.ctx);
    if (record.by == &view->log)
        view->on.on_outcome(&record.ticket, &event, OQ_LANDED, seq, view->on.ctx);
    oq_event_release(owner);
}

void shared_log_read(struct oq_log *log)
{
    struct view *view = of(log);
    struct call calls[CALLS_MAX];
    size_t count = view->call_count;
    if (view->held)
        return;
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        while (view->read[p] < view->topic->count[p])
            read_one(view, p);
    view->reached_ns = ps_clock_mono_ns(&ps_clock_system);
    memcpy(calls, view->calls, count * sizeof *calls);
    view->call_count = 0;
    for (size_t i = 0; i < count; i++)
        calls[i].fn(calls[i].arg);
}
