/* See log_fixture.h. */
#include "tests/contract/log_fixture.h"

#include "queue/log_journal.h"
#include "queue/log_spill.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/contract/kafka_broker.h"
#include "tests/contract/kafka_settings.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct log_backend *log_backend;
char log_dir[64];
struct log_watch watch;
struct oq_log *log_;

void log_start(void)
{
    log_watch_init(&watch);
    struct oq_log_callbacks callbacks = log_watch_callbacks(&watch);
    assert_ok(log_backend->open(log_dir, &callbacks, &log_));
}

void log_stop(void)
{
    assert_ok(oq_log_close(log_, PATIENCE));
    oq_log_free(log_);
    log_ = NULL;
}

/* Stops, forgets what was seen, and starts again. */
void log_restart(void)
{
    log_stop();
    log_watch_done(&watch);
    log_start();
}

int log_set_up(void **state)
{
    (void)state;
    strcpy(log_dir, "/tmp/penstock-log-XXXXXX");
    assert_non_null(mkdtemp(log_dir));
    log_start();
    return 0;
}

int log_tear_down(void **state)
{
    (void)state;
    log_backend->heal();
    if (log_ != NULL)
        log_stop();
    log_watch_done(&watch);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", log_dir);
    return system(command);
}

static struct oq_ticket ticket(uint64_t handle)
{
    return (struct oq_ticket){.owner = 3, .kind = 7, .handle = handle};
}

int log_append(const struct oq_event *event, uint64_t handle)
{
    struct oq_ticket of = ticket(handle);
    return oq_log_append(log_, event, &of);
}

int log_append_order(uint32_t number)
{
    char user[16];
    snprintf(user, sizeof user, "u%u", number);
    struct oq_event event = accepted(number, 1, user, "", 1);
    return log_append(&event, number);
}

void log_refuse_order(uint32_t number)
{
    struct log_hold hold;
    log_hold_well(&hold); /* it must not notice before it has taken the order */
    assert_ok(log_append_order(number));
    size_t outcomes = watch.outcome_count; /* nothing else is under way */
    log_backend->refuse();
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, outcomes + 1);
}

enum oq_outcome log_outcome_of(uint64_t handle)
{
    const struct seen_outcome *outcome;
    assert_int_equal(log_watch_outcomes_of(&watch, handle, &outcome), 1);
    return outcome->outcome;
}

void log_hold_well(struct log_hold *hold)
{
    struct oq_log_view view;
    for (;;) {
        log_watch_wait_back(&watch, 0);
        log_hold(hold, log_); /* its thread alone changes the state */
        oq_log_view(log_, &view);
        if (view.state == OQ_LOG_WELL)
            return;
        log_let_go(hold);
    }
}

/* Lets the log's thread pass once: what was appended before is done. */
void log_pass(void)
{
    struct log_hold hold;
    log_hold(&hold, log_);
    log_let_go(&hold);
}

/* --- the journal --- */

static bool journal_start(void)
{
    faulty_vfs_register();
    return true;
}

static void journal_stop(void)
{
}

static int journal_open(const char *in, const struct oq_log_callbacks *callbacks,
                        struct oq_log **ret_log)
{
    char path[96];
    snprintf(path, sizeof path, "%s/journal.db", in);
    const struct oq_journal_settings settings = {.path = path,
                                                 .queue_capacity = CAPACITY,
                                                 .batch_max = BATCH,
                                                 .retry_ms = 10,
                                                 .vfs = FAULTY_VFS,
                                                 .clock = &ps_clock_system};
    struct ps_fault fault = {0};
    int err = oq_journal_open(&settings, callbacks, ret_log, &fault);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", fault.path, fault.text);
    return err;
}

static void journal_refuse(void)
{
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
}

/* Only the fsync of the COMMIT fails. The next close drops what is not committed. */
static void journal_lose_one(void)
{
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_WAL, SQLITE_IOERR_FSYNC, 0, 1);
}

static bool hiding;

/* Every fsync fails until the heal: the file is left as a killed process would leave it. */
static void journal_hide_one(void)
{
    hiding = true;
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_ANY, SQLITE_IOERR_FSYNC, 0, FAULTY_FOR_EVER);
}

static void journal_heal(void)
{
    /* What was hidden comes back when the file was closed once without a working fsync. */
    while (hiding && faulty_vfs_hits() < 2)
        usleep(1000);
    hiding = false;
    faulty_vfs_heal();
}

/* --- Kafka: a topic of one partition a test, on one broker behind a proxy --- */

static struct kafka_broker broker;

static bool kafka_begin(void)
{
    if (!kafka_wanted())
        return false;
    kafka_start(&broker);
    return true;
}

static void kafka_end(void)
{
    kafka_stop(&broker);
}

bool log_patient;

static struct oq_kafka_settings kafka_settings(const char *in)
{
    struct oq_kafka_settings settings = kafka_settings_of(broker.proxied, strrchr(in, '/') + 1, 1);
    settings.queue_capacity = CAPACITY;
    settings.in_flight_max = BATCH;
    settings.delivery_timeout_ms = log_patient ? 10000 : 1000;
    if (log_patient)
        settings.behind_ms = 20000;
    settings.look_ms = 100;
    settings.open_wait_ms = PATIENCE;
    kafka_topic(&broker, settings.topic, 1, NULL);
    return settings;
}

static int kafka_open(const char *in, const struct oq_log_callbacks *callbacks,
                      struct oq_log **ret_log)
{
    const struct oq_kafka_settings settings = kafka_settings(in);
    struct ps_fault fault = {0};
    int err = oq_kafka_open(&settings, callbacks, ret_log, &fault);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", fault.path, fault.text);
    return err;
}

static int spill_open(const char *in, const struct oq_log_callbacks *callbacks,
                      struct oq_log **ret_log)
{
    char path[96];
    const struct oq_kafka_settings kafka = kafka_settings(in);
    const struct oq_spill_settings settings = {
        .path = path, .records_max = 1000, .retry_ms = 200, .kafka = &kafka};
    struct ps_fault fault = {0};
    snprintf(path, sizeof path, "%s/spill.db", in);
    int err = oq_spill_open(&settings, callbacks, ret_log, &fault);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", fault.path, fault.text);
    return err;
}

static void kafka_refuse(void)
{
    kafka_network(&broker, KAFKA_NETWORK_CUT);
}

/* Requests leave and never arrive. */
static void kafka_lose_one(void)
{
    kafka_network(&broker, KAFKA_NETWORK_NO_REQUESTS);
}

/* Requests arrive, and their answers do not; nor is anything read. */
static void kafka_hide_one(void)
{
    kafka_network(&broker, KAFKA_NETWORK_NO_ANSWERS);
}

static void kafka_heal(void)
{
    kafka_network(&broker, KAFKA_NETWORK_WELL);
}

static const struct log_backend backends[] = {
    {"journal", journal_start, journal_stop, journal_open, journal_refuse, journal_lose_one,
     journal_hide_one, journal_heal, false, false},
    {"kafka", kafka_begin, kafka_end, kafka_open, kafka_refuse, kafka_lose_one, kafka_hide_one,
     kafka_heal, true, false},
    {"kafka with a spill", kafka_begin, kafka_end, spill_open, kafka_refuse, kafka_lose_one,
     kafka_hide_one, kafka_heal, true, true},
};

int log_run_on_every_backend(int (*run)(const char *name))
{
    int failed = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(backends); i++) {
        log_backend = &backends[i];
        if (!log_backend->start())
            continue;
        failed += run(log_backend->name);
        log_backend->stop();
    }
    return failed;
}

void log_wait_reached(int64_t mono_ns)
{
    struct oq_log_view view;
    oq_log_view(log_, &view);
    for (int tries = 0; view.reached_ns < mono_ns; tries++) {
        assert_true(tries < 3000);
        usleep(10000);
        oq_log_view(log_, &view);
    }
}
