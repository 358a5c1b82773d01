/* The worker's loop, on one thread: read a batch, judge and store it in one transaction, move the
 * call to the gateway on, report the progress.
 *
 * What must hold:
 *  - the positions in the database are the only memory. After whatever went wrong (a conflict with
 *    another worker, a transaction whose outcome is not known, a database that was away) they are
 *    read again, and reading continues from there;
 *  - nothing about a record is done outside of its transaction, save sending it to the dead-letter
 *    topic, which may happen twice;
 *  - the worker waits for what can pass; what cannot (a log that is not the one that the database
 *    knows, tables of somebody else) ends it, because going on would lose orders. */
#include "queue/settle/worker.h"
#include "common/clock.h"
#include "common/program/log.h"
#include "queue/later.h"
#include "queue/settle/caller.h"
#include "queue/settle/report.h"
#include "queue/settle/tracing.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS       50  /* between two looks at a log without news */
#define CALL_WAIT_MS  5   /* the same while a call is under way */
#define DUE_MS        200 /* between two queries for decisions */
#define STAND_BACK_MS 500 /* after another worker was quicker */
#define AWAY_FIRST_MS 100
#define AWAY_MAX_MS   5000
#define SAY_AGAIN_NS  (60 * PS_NS_PER_S)

/* A database, a log or a gateway that may be away for a while. */
struct trouble {
    const char *away, *back; /* events of the program's log */
    int64_t failures;        /* in a row */
    int64_t said_ns;
    char said[sizeof((struct ps_fault *)NULL)->text];
};

struct worker {
    const struct st_settings *settings;
    bool once;
    const volatile sig_atomic_t *stop;
    struct st_source *source;
    struct st_sink *sink; /* NULL: away */
    int sink_err;         /* of the position hook */
    struct st_caller *caller;
    struct st_judge judge;
    struct st_batch batch;
    struct st_report report;
    struct st_tracing tracing;
    struct oq_kafka_property *properties;
    int64_t *position; /* a partition */
    struct trouble database, log, gateway;
    struct oq_later_names later;
    int64_t read_after_ns; /* no reading before */
    int64_t due_after_ns;  /* no looking for decisions before */
    int64_t reported_ns, said_ns, progress_ns, began_ns;
    int64_t said_records;
    bool done;
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

/* --- Away and back --- */

/* Logs the failure, unless just logged; returns the pause before the next attempt. */
static int64_t note_trouble(struct trouble *trouble, const struct ps_fault *fault)
{
    int64_t now = now_ns();
    if (trouble->failures == 0 || strcmp(trouble->said, fault->text) != 0 ||
        now - trouble->said_ns >= SAY_AGAIN_NS) {
        ps_log(PS_LOG_WARN, trouble->away, PS_F_STR("where", fault->path),
               PS_F_STR("why", fault->text));
        memcpy(trouble->said, fault->text, sizeof trouble->said);
        trouble->said_ns = now;
    }
    int64_t pause_ms = AWAY_FIRST_MS;
    for (int64_t i = 0; i < trouble->failures && pause_ms < AWAY_MAX_MS; i++)
        pause_ms *= 2;
    trouble->failures++;
    return (pause_ms < AWAY_MAX_MS ? pause_ms : AWAY_MAX_MS) * PS_NS_PER_MS;
}

static void note_well(struct trouble *trouble)
{
    if (trouble->failures > 0)
        ps_log(PS_LOG_INFO, trouble->back);
    trouble->failures = 0;
}

static bool cannot_pass(int err)
{
    return err == PS_E_CORRUPT || err == PS_E_NOT_FOUND || err == PS_E_NEWER || err == PS_E_EXISTS;
}

static int give_up(const char *event, int err, const struct ps_fault *fault)
{
    ps_log(PS_LOG_ERROR, event, PS_F_STR("where", fault->path), PS_F_STR("why", fault->text));
    return err;
}

/* 0: try again later. */
static int sink_failed(struct worker *worker, int err, const struct ps_fault *fault)
{
    st_report_add(&worker->report, ST_M_TRANSACTIONS, ST_FAILED, 1);
    st_sink_close(worker->sink);
    worker->sink = NULL;
    st_source_rewind(worker->source);
    if (cannot_pass(err))
        return give_up("database_refused", err, fault);
    worker->read_after_ns = now_ns() + note_trouble(&worker->database, fault);
    return 0;
}

/* As sink_failed. */
static int source_failed(struct worker *worker, int err, const struct ps_fault *fault)
{
    if (cannot_pass(err) || err == PS_E_INVALID)
        return give_up("log_refused", err, fault);
    worker->read_after_ns = now_ns() + note_trouble(&worker->log, fault);
    return 0;
}

/* --- Reading and storing --- */

static int position_of(uint32_t partition, struct st_position *ret_position, void *ctx,
                       struct ps_fault *fault)
{
    struct worker *worker = ctx;
    struct st_position position;
    if (worker->sink == NULL)
        return ps_fault(fault, PS_E_IO, "database", "is away");
    int err = st_sink_position(worker->sink, worker->settings->name, partition, &position, fault);
    if (err != 0) {
        worker->sink_err = err;
        return err;
    }
    worker->position[partition] = position.seq;
    *ret_position = position;
    return 0;
}

/* They may include orders, even paid ones: the shop's operator decides. The position in the
 * database moves on, so that this is reported and decided once. */
static int on_lost(uint32_t partition, int64_t seq, int64_t first, void *ctx,
                   struct ps_fault *fault)
{
    struct worker *worker = ctx;
    const struct st_settings *settings = worker->settings;
    const struct st_claim claim = {
        .partition = partition, .from = seq, .to = first, .unchecked = true};
    const char *log = settings->kafka.topic != NULL ? settings->kafka.topic : settings->journal;
    ps_log(PS_LOG_ERROR, "records_lost", PS_F_STR("topic", log), PS_F_INT("partition", partition),
           PS_F_INT("offset", seq), PS_F_INT("first_offset", first));
    st_report_add(&worker->report, ST_M_LOST, 0, first - seq);
    if (!settings->kafka.skip_lost)
        return ps_fault(
            fault, PS_E_CORRUPT, log,
            "partition %u: records from offset %lld to %lld were deleted before they were "
            "settled, orders may be missing; to continue without them start once with "
            "kafka.skip_lost, and see README.md, \"When records are gone\"",
            partition, (long long)seq, (long long)first - 1);
    int err = st_sink_begin(worker->sink, settings->name, &claim, 1, fault);
    if (err == 0)
        err = st_sink_commit(worker->sink, fault);
    if (err == PS_E_CONFLICT) /* another worker has moved it: the position says where */
        return 0;
    worker->sink_err = err;
    return err;
}

/* Poison goes to the dead-letter topic before the end of the transaction that puts it into the
 * table: sent twice at worst, never lost. All letters of a batch are sent together, with a short
 * wait: the transaction holds locks, and the table has what was not sent. */
static void bury_letters(struct worker *worker)
{
    struct ps_fault fault;
    const struct st_judge *judge = &worker->judge;
    for (size_t i = 0; i < judge->letter_count; i++) {
        const struct st_letter *letter = &judge->letters[i];
        ps_log(PS_LOG_WARN, "dead_letter", PS_F_INT("partition", letter->record->partition),
               PS_F_INT("seq", letter->record->seq), PS_F_STR("why", letter->reason));
    }
    size_t unsent = st_source_bury(worker->source, judge->letters, judge->letter_count, &fault);
    if (unsent == 0)
        return;
    st_report_add(&worker->report, ST_M_UNSENT_LETTERS, 0, (int64_t)unsent);
    ps_log(PS_LOG_WARN, "dead_letters_unsent", PS_F_STR("where", fault.path),
           PS_F_STR("why", fault.text));
}

static int store_in_transaction(struct worker *worker, struct ps_fault *fault)
{
    struct st_judge *judge = &worker->judge;
    struct st_sink *sink = worker->sink;
    const char *name = worker->settings->name;
    st_judge_ask(judge, &worker->batch);
    for (size_t i = 0; i < judge->claim_count; i++)
        judge->claims[i].from = worker->position[judge->claims[i].partition];
    const struct st_known known = {judge->epochs, judge->epoch_count, judge->orders,
                                   judge->order_count};
    int err = st_sink_begin(sink, name, judge->claims, judge->claim_count, fault);
    if (err == 0)
        err = st_sink_look_up(sink, name, &known, fault);
    if (err != 0)
        return err;
    err = st_judge(judge, &worker->batch);
    if (err != 0)
        return ps_fault(fault, err, "database", "its data about the orders is inconsistent");
    bury_letters(worker);
    struct st_changes changes = {.epochs = judge->epochs,
                                 .epoch_count = judge->epoch_count,
                                 .orders = judge->orders,
                                 .order_count = judge->order_count,
                                 .letters = judge->letters,
                                 .letter_count = judge->letter_count,
                                 .auto_confirm = worker->settings->auto_confirm};
    err = st_sink_store(sink, name, &changes, fault);
    return err == 0 ? st_sink_commit(sink, fault) : err;
}

static void name_unknown(struct worker *worker)
{
    for (size_t i = 0; i < worker->batch.count; i++) {
        const struct st_record *record = &worker->batch.records[i];
        if (record->poison == NULL && record->event.type == OQ_LATER &&
            oq_later_is_new(&worker->later, &record->event))
            ps_log(PS_LOG_WARN, "unknown_record", PS_F_INT("partition", record->partition),
                   PS_F_INT("seq", record->seq),
                   PS_F_STRN("type", record->event.later_type.at, record->event.later_type.len));
    }
}

static void note_stored(struct worker *worker, int64_t began_ns)
{
    const struct st_judge *judge = &worker->judge;
    int64_t now = now_ns();
    for (size_t i = 0; i < judge->claim_count; i++)
        worker->position[judge->claims[i].partition] = judge->claims[i].to;
    if (judge->count.by_type[OQ_LATER] > 0)
        name_unknown(worker);
    st_source_stored(worker->source, &worker->batch);
    st_report_count(&worker->report, &judge->count);
    st_report_add(&worker->report, ST_M_TRANSACTIONS, ST_STORED, 1);
    st_report_set(&worker->report, ST_M_LAST, ps_clock_wall_ms(&ps_clock_system) / 1000);
    ps_metric_observe_ns(worker->report.shard, ST_M_TRANSACTION_SECONDS, 0, now - began_ns);
    st_tracing_record(&worker->tracing, judge, began_ns, now);
    worker->progress_ns = now;
}

static int store_batch(struct worker *worker)
{
    struct ps_fault fault;
    int64_t began_ns = now_ns();
    int err = store_in_transaction(worker, &fault);
    if (err == PS_E_CONFLICT) {
        st_report_add(&worker->report, ST_M_TRANSACTIONS, ST_CONFLICT, 1);
        ps_log(PS_LOG_DEBUG, "conflict", PS_F_STR("where", fault.path));
        st_source_rewind(worker->source);
        worker->read_after_ns = now_ns() + STAND_BACK_MS * PS_NS_PER_MS;
        worker->progress_ns = now_ns(); /* the other one's */
        return 0;
    }
    if (err != 0)
        return sink_failed(worker, err, &fault);
    note_well(&worker->database);
    note_stored(worker, began_ns);
    return 0;
}

/* *ret_at_end: there was nothing to read. */
static int read_and_store(struct worker *worker, int64_t wait_ms, bool *ret_at_end)
{
    struct ps_fault fault;
    worker->sink_err = 0;
    int err = st_source_read(worker->source, &worker->batch, wait_ms, &fault);
    if (worker->sink_err != 0)
        return sink_failed(worker, worker->sink_err, &fault);
    if (err != 0)
        return source_failed(worker, err, &fault);
    bool caught_up = st_source_caught_up(worker->source);
    if (worker->batch.count > 0 || caught_up)
        note_well(&worker->log);
    *ret_at_end = worker->batch.count == 0 && caught_up;
    return worker->batch.count > 0 ? store_batch(worker) : 0;
}

/* --- Decisions --- */

static int64_t lease_ms(const struct worker *worker)
{
    return 2 * worker->settings->gateway.timeout_ms + 1000;
}

static int take_answers(struct worker *worker, int wait_ms)
{
    struct ps_fault fault;
    size_t count;
    if (st_caller_poll(worker->caller, wait_ms, &count, &fault) == 0)
        return 0;
    const struct st_decision *decisions = st_caller_room(worker->caller);
    if (fault.text[0] != '\0') {
        st_report_add(&worker->report, ST_M_CALLS, ST_CALL_FAILED, 1);
        (void)note_trouble(&worker->gateway, &fault);
    } else {
        st_report_add(&worker->report, ST_M_CALLS, ST_CALL_ANSWERED, 1);
        note_well(&worker->gateway);
        for (size_t i = 0; i < count; i++)
            if (decisions[i].result != NULL)
                worker->progress_ns = now_ns();
    }
    int err = st_sink_answer(worker->sink, decisions, count, &fault);
    if (err != 0)
        return sink_failed(worker, err, &fault);
    st_report_results(&worker->report, decisions, count);
    return 0;
}

static int send_due(struct worker *worker)
{
    struct ps_fault fault;
    size_t count = 0;
    int err = st_sink_due(worker->sink, lease_ms(worker), st_caller_room(worker->caller),
                          ST_CALL_MAX, &count, &fault);
    if (err != 0)
        return sink_failed(worker, err, &fault);
    worker->due_after_ns = count == ST_CALL_MAX ? 0 : now_ns() + DUE_MS * PS_NS_PER_MS;
    if (count == 0 || st_caller_start(worker->caller, count, &fault) == 0)
        return 0;
    (void)note_trouble(&worker->gateway, &fault);
    err = st_sink_answer(worker->sink, st_caller_room(worker->caller), count, &fault);
    return err != 0 ? sink_failed(worker, err, &fault) : 0;
}

/* Advances the calls for decisions. */
static int move_decisions(struct worker *worker)
{
    int err = 0;
    if (worker->caller == NULL || worker->sink == NULL)
        return 0;
    if (st_caller_busy(worker->caller))
        err = take_answers(worker, 0);
    if (err == 0 && worker->sink != NULL && st_caller_ready(worker->caller) &&
        now_ns() >= worker->due_after_ns && *worker->stop == 0)
        err = send_due(worker);
    return err;
}

static int open_decisions(struct worker *worker, int64_t *ret_count)
{
    struct ps_fault fault;
    *ret_count = -1;
    if (worker->sink == NULL)
        return 0;
    int err = st_sink_open_decisions(worker->sink, ret_count, &fault);
    return err != 0 ? sink_failed(worker, err, &fault) : 0;
}

/* --- Progress --- */

static void say_progress(struct worker *worker, const char *event)
{
    struct st_report *report = &worker->report;
    int64_t records = st_report_sum(report, ST_M_RECORDS);
    int64_t now = now_ns();
    int64_t per_s = (records - worker->said_records) * PS_NS_PER_S / (now - worker->said_ns + 1);
    ps_log(PS_LOG_INFO, event, PS_F_INT("records", records),
           PS_F_INT("orders", st_report_read(report, ST_M_ORDERS, 0)),
           PS_F_INT("confirmed", st_report_read(report, ST_M_DECISIONS, 0)),
           PS_F_INT("released", st_report_read(report, ST_M_DECISIONS, 1)),
           PS_F_INT("dead_letters", st_report_sum(report, ST_M_DEAD_LETTERS)),
           PS_F_INT("lag", st_report_read(report, ST_M_LAG, 0)), PS_F_INT("records_per_s", per_s));
    worker->said_records = records;
    worker->said_ns = now;
}

static int log_progress(struct worker *worker, bool at_last)
{
    int64_t now = now_ns(), open;
    struct ps_fault fault;
    if (!at_last && now - worker->reported_ns < worker->settings->metrics.interval_s * PS_NS_PER_S)
        return 0;
    worker->reported_ns = now;
    int err = open_decisions(worker, &open);
    if (err != 0)
        return err;
    if (open >= 0)
        st_report_set(&worker->report, ST_M_DECISIONS_OPEN, open);
    st_tracing_report(&worker->tracing, &worker->report);
    st_report_set(&worker->report, ST_M_LAG, st_source_lag(worker->source));
    if (st_report_write(&worker->report, &fault) != 0)
        ps_log(PS_LOG_WARN, "metrics_unwritten", PS_F_STR("where", fault.path),
               PS_F_STR("why", fault.text));
    int64_t every_ns = worker->settings->progress_s * PS_NS_PER_S;
    if (at_last)
        say_progress(worker, worker->done ? "done" : "stopped");
    else if (every_ns > 0 && now - worker->said_ns >= every_ns &&
             worker->progress_ns > worker->said_ns)
        say_progress(worker, "progress");
    return 0;
}

/* --- The loop --- */

static int open_sink(struct worker *worker, struct ps_fault *fault)
{
    struct st_sink *sink;
    int err = st_sink_open(worker->settings->database, false, &sink, fault);
    if (err != 0)
        return err;
    err = st_sink_check(sink, fault);
    if (err == 0 && worker->settings->auto_confirm)
        err = st_sink_confirm_all(sink, fault);
    if (err != 0) {
        st_sink_close(sink);
        return err;
    }
    worker->sink = sink;
    return 0;
}

static int reopen_sink(struct worker *worker)
{
    struct ps_fault fault;
    int err = open_sink(worker, &fault);
    if (err == 0) {
        note_well(&worker->database);
        return 0;
    }
    if (cannot_pass(err))
        return give_up("database_refused", err, &fault);
    worker->read_after_ns = now_ns() + note_trouble(&worker->database, &fault);
    return 0;
}

static void rest_a_little(struct worker *worker)
{
    if (worker->caller != NULL && st_caller_busy(worker->caller) && worker->sink != NULL)
        (void)take_answers(worker, IDLE_MS);
    else
        (void)poll(NULL, 0, IDLE_MS);
}

static int run_turn(struct worker *worker)
{
    bool at_end = false, decided = worker->caller == NULL;
    int64_t open = 0;
    int err = 0;
    if (worker->sink == NULL && now_ns() >= worker->read_after_ns)
        err = reopen_sink(worker);
    if (err == 0)
        err = move_decisions(worker);
    if (err == 0 && worker->once && worker->caller != NULL) {
        err = open_decisions(worker, &open);
        decided = open == 0;
    }
    bool calling = worker->caller != NULL && st_caller_busy(worker->caller);
    if (err == 0 && worker->sink != NULL && now_ns() >= worker->read_after_ns)
        err = read_and_store(worker, calling ? CALL_WAIT_MS : IDLE_MS, &at_end);
    else if (err == 0)
        rest_a_little(worker);
    worker->done = err == 0 && worker->once && at_end && decided && worker->sink != NULL;
    return err == 0 ? log_progress(worker, false) : err;
}

static int out_of_patience(const struct worker *worker)
{
    struct ps_fault fault;
    const char *said = worker->database.failures > 0  ? worker->database.said
                       : worker->log.failures > 0     ? worker->log.said
                       : worker->gateway.failures > 0 ? worker->gateway.said
                                                      : "decisions are without a result";
    ps_fault(&fault, PS_E_TIMEOUT, "", "%s", said);
    return give_up("no_progress", PS_E_TIMEOUT, &fault);
}

static int run_loop(struct worker *worker)
{
    int err = 0;
    while (err == 0 && *worker->stop == 0 && !worker->done) {
        err = run_turn(worker);
        if (err == 0 && worker->once && !worker->done &&
            now_ns() - worker->progress_ns > worker->settings->patience_s * PS_NS_PER_S)
            err = out_of_patience(worker);
    }
    /* Waits for the answers to calls in progress: otherwise their results would be stored only
     * after the next start. */
    int64_t until_ns = now_ns() + worker->settings->gateway.timeout_ms * PS_NS_PER_MS;
    while (err == 0 && worker->caller != NULL && worker->sink != NULL &&
           st_caller_busy(worker->caller) && now_ns() < until_ns)
        err = take_answers(worker, IDLE_MS);
    return err;
}

/* --- Life --- */

static int open_kafka(struct worker *worker, const struct st_source_hooks *hooks,
                      struct ps_fault *fault)
{
    const struct st_settings *settings = worker->settings;
    size_t count;
    int err = oq_kafka_properties(settings->kafka.properties, "kafka.properties",
                                  &worker->properties, &count, fault);
    if (err < 0)
        return err;
    struct st_kafka_settings kafka = {.brokers = settings->kafka.brokers,
                                      .topic = settings->kafka.topic,
                                      .group = settings->kafka.group,
                                      .dead_letter_topic = settings->kafka.dead_letter_topic,
                                      .properties = worker->properties,
                                      .property_count = count};
    return st_source_kafka_open(&kafka, hooks, &worker->source, fault);
}

static int open_all(struct worker *worker, struct ps_fault *fault)
{
    const struct st_settings *settings = worker->settings;
    struct st_source_hooks hooks = {.position = position_of, .lost = on_lost, .ctx = worker};
    struct st_caller_settings caller = {.urls = (const char *const *)settings->gateway.url.at,
                                        .url_count = settings->gateway.url.count,
                                        .token_file = settings->gateway.token_file,
                                        .timeout_ms = settings->gateway.timeout_ms};
    size_t batch = (size_t)settings->batch;
    worker->position = calloc(OQ_PARTITION_MAX, sizeof *worker->position);
    if (worker->position == NULL ||
        st_judge_init(&worker->judge, batch, settings->rehearsals) != 0 ||
        st_batch_init(&worker->batch, batch) != 0 ||
        st_report_init(&worker->report, settings->metrics.file) != 0)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    if (st_tracing_start(&worker->tracing, settings) != 0)
        return ps_fault(fault, PS_E_NOMEM, "tracing.endpoint", "out of memory");
    int err = open_sink(worker, fault);
    if (err == 0 && settings->journal != NULL)
        err = st_source_journal_open(settings->journal, &hooks, &worker->source, fault);
    else if (err == 0)
        err = open_kafka(worker, &hooks, fault);
    if (err == 0 && caller.url_count > 0)
        err = st_caller_new(&caller, &worker->caller, fault);
    return err;
}

static void close_all(struct worker *worker)
{
    st_tracing_free(&worker->tracing);
    st_caller_free(worker->caller);
    st_source_close(worker->source);
    st_sink_close(worker->sink);
    st_report_done(&worker->report);
    st_batch_done(&worker->batch);
    st_judge_done(&worker->judge);
    free(worker->properties);
    free(worker->position);
}

int st_worker_run(const struct st_settings *settings, bool once, const volatile sig_atomic_t *stop)
{
    struct worker worker = {.settings = settings,
                            .once = once,
                            .stop = stop,
                            .database = {.away = "database_away", .back = "database_back"},
                            .log = {.away = "log_away", .back = "log_back"},
                            .gateway = {.away = "gateway_away", .back = "gateway_back"}};
    struct ps_fault fault;
    worker.began_ns = worker.said_ns = worker.progress_ns = now_ns();
    int err = open_all(&worker, &fault);
    if (err != 0) {
        (void)give_up("start_failed", err, &fault);
    } else {
        ps_log(
            PS_LOG_INFO, "started", PS_F_STR("version", PENSTOCK_VERSION),
            PS_F_STR("log", settings->journal != NULL ? settings->journal : settings->kafka.topic));
        err = run_loop(&worker);
        st_tracing_stop(&worker.tracing);
        int last = log_progress(&worker, true);
        err = err != 0 ? err : last;
    }
    close_all(&worker);
    return err;
}

int st_worker_create_tables(const struct st_settings *settings)
{
    struct ps_fault fault;
    struct st_sink *sink;
    int err = st_sink_open(settings->database, true, &sink, &fault);
    if (err == 0) {
        err = st_sink_create(sink, &fault);
        st_sink_close(sink);
    }
    return err != 0 ? give_up("start_failed", err, &fault) : 0;
}
