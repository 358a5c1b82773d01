/* What a log reports, kept for a test: callbacks that write everything down, and words to wait for
 * it. Waiting ends the test when nothing came for half a minute. */
#ifndef PS_TEST_LOG_WATCH_H
#define PS_TEST_LOG_WATCH_H

#include "queue/log.h"

#include <pthread.h>

struct seen_record {
    uint32_t partition;
    int64_t seq;
    enum oq_type type;
    enum oq_reason reason;
    struct ps_uuid order_id;
    char adjust_key[OQ_ADJUST_KEY_MAX + 1];
    char json[OQ_EVENT_TEXT_MAX];
};

struct seen_outcome {
    struct oq_ticket ticket;
    enum oq_outcome outcome;
    int64_t seq;
    size_t records_before; /* how many records had been seen when it came */
};

struct log_watch {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct seen_record *record;
    size_t record_count, record_cap;
    struct seen_outcome *outcome;
    size_t outcome_count, outcome_cap;
    size_t changes; /* of state */
    bool available;
    char why[700];
    size_t notices;
    char notice[700]; /* the last one */
    /* on_marks */
    size_t marks_told, marks_fitted;
    size_t records_before_marks;
    char marks_why[300];
};

void log_watch_init(struct log_watch *watch);
void log_watch_done(struct log_watch *watch);
struct oq_log_callbacks log_watch_callbacks(struct log_watch *watch);

/* Whether on_state, on_notice has said these words last. */
bool log_watch_says(struct log_watch *watch, const char *words);
bool log_watch_notices(struct log_watch *watch, const char *words);

/* Test thread. */
void log_watch_wait_outcomes(struct log_watch *watch, size_t count);
void log_watch_wait_records(struct log_watch *watch, size_t count);
void log_watch_wait_notices(struct log_watch *watch, size_t count);
void log_watch_wait_away(struct log_watch *watch);
/* Until it works again after `changes` changes of its state or more. */
void log_watch_wait_back(struct log_watch *watch, size_t changes);
/* For a fault of which either may come: it is available after `changes`, or has said a notice more
 * than `notices`. */
void log_watch_wait_back_or_notice(struct log_watch *watch, size_t changes, size_t notices);
void log_watch_wait_changes(struct log_watch *watch, size_t changes);
/* Holds the log's thread between two batches, so that what is appended meanwhile makes one batch.
 */
struct log_hold {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool holds, let_go;
};
void log_hold(struct log_hold *hold, struct oq_log *log);
void log_let_go(struct log_hold *hold);
/* Of the outcomes with this handle: how many, and the first (NULL when none). */
size_t log_watch_outcomes_of(struct log_watch *watch, uint64_t handle,
                             const struct seen_outcome **ret_first);
/* Of the records of this order, type and reason: how many, and the first. */
size_t log_watch_records_of(struct log_watch *watch, enum oq_type type, enum oq_reason reason,
                            const struct ps_uuid *order_id, const struct seen_record **ret_first);

#endif
