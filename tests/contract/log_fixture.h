/* The ground of the order log's contract tests: each test has a log of its own in a directory of
 * its own, on the backend of this run, and `watch` writes down all that it reports. */
#ifndef PS_TEST_LOG_FIXTURE_H
#define PS_TEST_LOG_FIXTURE_H

#include "tests/unit/check.h"

#include "queue/log.h"
#include "tests/contract/log_watch.h"
#include "tests/unit/records.h"

#define CAPACITY 64
#define BATCH    256
#define PATIENCE INT64_C(30000)

struct log_backend {
    const char *name;
    bool (*start)(void); /* of the servers that it needs; false: leave it out */
    void (*stop)(void);
    int (*open)(const char *dir, const struct oq_log_callbacks *callbacks, struct oq_log **ret_log);
    void (*refuse)(void);   /* from now on nothing can be appended, and that is certain */
    void (*lose_one)(void); /* the next batch: outcome unknown; it is not there */
    void (*hide_one)(void); /* the next batch: outcome unknown; it is there after the heal */
    void (*heal)(void);
    bool sends_again; /* what is unknown; else it is closed by released{rejected} */
    bool spills;      /* takes accepted orders also while it is away */
};

/* To be set where nothing fails: a busy machine is then not to look like a Kafka that is away. */
extern bool log_patient;
extern const struct log_backend *log_backend; /* of this run */
extern char log_dir[64];
extern struct log_watch watch;
extern struct oq_log *log_;

int log_set_up(void **state);
int log_tear_down(void **state);
#define CLAIM(test) cmocka_unit_test_setup_teardown(test, log_set_up, log_tear_down)
/* The number of tests that failed. */
int log_run_on_every_backend(int (*run)(const char *name));

void log_start(void);
void log_stop(void);
void log_restart(void); /* stops, forgets what was seen, and starts again */

int log_append(const struct oq_event *event, uint64_t handle);
int log_append_order(uint32_t number);
/* An order that is taken, and refused because nothing can be appended from now on. */
void log_refuse_order(uint32_t number);
/* The one outcome with this handle. */
enum oq_outcome log_outcome_of(uint64_t handle);
/* log_hold, at a moment at which the log takes records: a busy machine may look like a Kafka that
 * is away, and what the test appends meanwhile is to be sent. */
void log_hold_well(struct log_hold *hold);
/* Lets the log's thread pass once: what was appended before is done. */
void log_pass(void);
/* Until on_record has shown all that the log had at this moment. */
void log_wait_reached(int64_t mono_ns);

#endif
