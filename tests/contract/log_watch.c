/* See log_watch.h. The lists are read without the lock only after a wait that makes them stand
 * still, or when the log is closed. */
#include "tests/contract/log_watch.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <time.h>

#define PATIENCE_S 30

static void *grow(void *list, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return list;
    *cap = *cap > 0 ? *cap * 2 : 64;
    list = realloc(list, *cap * size);
    if (list == NULL)
        abort();
    return list;
}

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    struct log_watch *watch = ctx;
    pthread_mutex_lock(&watch->lock);
    watch->record =
        grow(watch->record, watch->record_count, &watch->record_cap, sizeof *watch->record);
    struct seen_record *record = &watch->record[watch->record_count++];
    *record = (struct seen_record){.partition = partition,
                                   .seq = seq,
                                   .type = event->type,
                                   .reason = event->reason,
                                   .order_id = event->order_id};
    if (event->adjust_key.len > 0)
        memcpy(record->adjust_key, event->adjust_key.at, event->adjust_key.len);
    struct ps_buf buf;
    ps_buf_init(&buf, record->json, sizeof record->json - 1);
    if (oq_event_encode(event, &buf) != 0)
        abort();
    pthread_cond_broadcast(&watch->news);
    pthread_mutex_unlock(&watch->lock);
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    struct log_watch *watch = ctx;
    (void)event;
    pthread_mutex_lock(&watch->lock);
    watch->outcome =
        grow(watch->outcome, watch->outcome_count, &watch->outcome_cap, sizeof *watch->outcome);
    watch->outcome[watch->outcome_count++] =
        (struct seen_outcome){*ticket, outcome, seq, watch->record_count};
    pthread_cond_broadcast(&watch->news);
    pthread_mutex_unlock(&watch->lock);
}

static void on_state(bool available, const char *why, void *ctx)
{
    struct log_watch *watch = ctx;
    pthread_mutex_lock(&watch->lock);
    watch->available = available;
    watch->changes++;
    strncpy(watch->why, why, sizeof watch->why - 1);
    pthread_cond_broadcast(&watch->news);
    pthread_mutex_unlock(&watch->lock);
}

static void on_notice(const char *text, void *ctx)
{
    struct log_watch *watch = ctx;
    pthread_mutex_lock(&watch->lock);
    watch->notices++;
    strncpy(watch->notice, text, sizeof watch->notice - 1);
    pthread_cond_broadcast(&watch->news);
    pthread_mutex_unlock(&watch->lock);
}

void log_watch_init(struct log_watch *watch)
{
    *watch = (struct log_watch){.available = true};
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->news, NULL);
}

void log_watch_done(struct log_watch *watch)
{
    pthread_mutex_destroy(&watch->lock);
    pthread_cond_destroy(&watch->news);
    free(watch->record);
    free(watch->outcome);
}

static int on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx)
{
    struct log_watch *watch = ctx;
    (void)sales;
    pthread_mutex_lock(&watch->lock);
    watch->marks_told++;
    watch->marks_fitted += fits;
    watch->records_before_marks = watch->record_count;
    (void)snprintf(watch->marks_why, sizeof watch->marks_why, "%s", why);
    pthread_mutex_unlock(&watch->lock);
    return 0;
}

struct oq_log_callbacks log_watch_callbacks(struct log_watch *watch)
{
    return (struct oq_log_callbacks){.on_record = on_record,
                                     .on_outcome = on_outcome,
                                     .on_state = on_state,
                                     .on_notice = on_notice,
                                     .on_marks = on_marks,
                                     .ctx = watch};
}

static struct timespec patience(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return until;
}

/* `seen` is guarded by the watch's lock. Patience ends when none has come for so long. */
static void wait_count(struct log_watch *watch, const size_t *seen, size_t count, const char *what)
{
    struct timespec until = patience();
    pthread_mutex_lock(&watch->lock);
    int late = 0;
    size_t came = *seen;
    while (came < count && late == 0) {
        late = pthread_cond_timedwait(&watch->news, &watch->lock, &until);
        if (*seen > came)
            until = patience();
        came = *seen;
    }
    pthread_mutex_unlock(&watch->lock);
    if (late != 0)
        fail_msg("of %zu %s only %zu came", count, what, came);
}

void log_watch_wait_outcomes(struct log_watch *watch, size_t count)
{
    wait_count(watch, &watch->outcome_count, count, "outcomes");
}

void log_watch_wait_records(struct log_watch *watch, size_t count)
{
    wait_count(watch, &watch->record_count, count, "records");
}

void log_watch_wait_notices(struct log_watch *watch, size_t count)
{
    wait_count(watch, &watch->notices, count, "notices");
}

enum wanted { ANY_STATE, AWAY, AVAILABLE };

static void wait_state(struct log_watch *watch, enum wanted wanted, size_t changes)
{
    struct timespec until = patience();
    pthread_mutex_lock(&watch->lock);
    int late = 0;
    while ((watch->changes < changes ||
            (wanted != ANY_STATE && watch->available != (wanted == AVAILABLE))) &&
           late == 0)
        late = pthread_cond_timedwait(&watch->news, &watch->lock, &until);
    pthread_mutex_unlock(&watch->lock);
    assert_int_equal(late, 0);
}

void log_watch_wait_away(struct log_watch *watch)
{
    wait_state(watch, AWAY, 1);
}

void log_watch_wait_back(struct log_watch *watch, size_t changes)
{
    wait_state(watch, AVAILABLE, changes);
}

void log_watch_wait_back_or_notice(struct log_watch *watch, size_t changes, size_t notices)
{
    struct timespec until = patience();
    int late = 0;
    pthread_mutex_lock(&watch->lock);
    while ((watch->changes < changes || !watch->available) && watch->notices <= notices &&
           late == 0)
        late = pthread_cond_timedwait(&watch->news, &watch->lock, &until);
    pthread_mutex_unlock(&watch->lock);
    assert_int_equal(late, 0);
}

void log_watch_wait_changes(struct log_watch *watch, size_t changes)
{
    wait_state(watch, ANY_STATE, changes);
}

static void stand_still(void *arg)
{
    struct log_hold *hold = arg;
    pthread_mutex_lock(&hold->lock);
    hold->holds = true;
    pthread_cond_broadcast(&hold->news);
    while (!hold->let_go)
        pthread_cond_wait(&hold->news, &hold->lock);
    hold->holds = false;
    pthread_cond_broadcast(&hold->news);
    pthread_mutex_unlock(&hold->lock);
}

void log_hold(struct log_hold *hold, struct oq_log *log)
{
    *hold = (struct log_hold){0};
    pthread_mutex_init(&hold->lock, NULL);
    pthread_cond_init(&hold->news, NULL);
    assert_ok(oq_log_call(log, stand_still, hold));
    pthread_mutex_lock(&hold->lock);
    while (!hold->holds)
        pthread_cond_wait(&hold->news, &hold->lock);
    pthread_mutex_unlock(&hold->lock);
}

void log_let_go(struct log_hold *hold)
{
    pthread_mutex_lock(&hold->lock);
    hold->let_go = true;
    pthread_cond_broadcast(&hold->news);
    while (hold->holds)
        pthread_cond_wait(&hold->news, &hold->lock);
    pthread_mutex_unlock(&hold->lock);
    pthread_cond_destroy(&hold->news);
    pthread_mutex_destroy(&hold->lock);
}

static bool has(struct log_watch *watch, const char *text, const char *words)
{
    pthread_mutex_lock(&watch->lock);
    bool found = strstr(text, words) != NULL;
    pthread_mutex_unlock(&watch->lock);
    return found;
}

bool log_watch_says(struct log_watch *watch, const char *words)
{
    return has(watch, watch->why, words);
}

bool log_watch_notices(struct log_watch *watch, const char *words)
{
    return has(watch, watch->notice, words);
}

size_t log_watch_outcomes_of(struct log_watch *watch, uint64_t handle,
                             const struct seen_outcome **ret_first)
{
    size_t count = 0;
    *ret_first = NULL;
    pthread_mutex_lock(&watch->lock);
    for (size_t i = 0; i < watch->outcome_count; i++) {
        if (watch->outcome[i].ticket.handle != handle)
            continue;
        if (count++ == 0)
            *ret_first = &watch->outcome[i];
    }
    pthread_mutex_unlock(&watch->lock);
    return count;
}

size_t log_watch_records_of(struct log_watch *watch, enum oq_type type, enum oq_reason reason,
                            const struct ps_uuid *order_id, const struct seen_record **ret_first)
{
    size_t count = 0;
    *ret_first = NULL;
    pthread_mutex_lock(&watch->lock);
    for (size_t i = 0; i < watch->record_count; i++) {
        const struct seen_record *record = &watch->record[i];
        if (record->type != type || record->reason != reason ||
            !ps_uuid_equal(&record->order_id, order_id))
            continue;
        if (count++ == 0)
            *ret_first = record;
    }
    pthread_mutex_unlock(&watch->lock);
    return count;
}
