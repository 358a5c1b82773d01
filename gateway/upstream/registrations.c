/* Heartbeats that are due: a list by name, which a timer writes as one change. What could not be
 * written returns to the list. */
#include "gateway/upstream/registrations.h"

#include "common/grow.h"
#include "common/program/log.h"
#include "common/sorted.h"

#include <stdlib.h>
#include <string.h>

#define FLUSH_MS   1000
#define FLUSH_MIN  20
#define CHANGE_MAX 1000 /* documents in one change */

struct heartbeat {
    int64_t until_ms;
    char name[CFG_NAME_MAX + 1];
};

struct heartbeats {
    struct heartbeat **at; /* by name */
    size_t count, room;
};

struct up_registrations {
    struct cfg_store *store;
    uv_timer_t timer;
    struct heartbeats due, sent;
    bool is_writing, stopped;
    int err; /* result of the last change */
    struct ps_fault fault;
};

int64_t up_registration_end_ms(int64_t now_ms, int64_t ttl_s)
{
    return now_ms + ttl_s * 1500;
}

/* --- Lists. --- */

static int compare_with_beat(const void *name, const void *beat)
{
    return strcmp(name, (*(struct heartbeat *const *)beat)->name);
}

static int add(struct heartbeats *list, const char *name, int64_t until_ms)
{
    bool there;
    size_t place =
        ps_sorted_place(name, list->at, list->count, sizeof *list->at, compare_with_beat, &there);

    if (there) {
        if (list->at[place]->until_ms < until_ms)
            list->at[place]->until_ms = until_ms;
        return 0;
    }
    if (ps_grow(&list->at, &list->room, list->count + 1, sizeof(struct heartbeat *)) < 0)
        return PS_E_NOMEM;
    struct heartbeat *beat = malloc(sizeof *beat);
    if (beat == NULL)
        return PS_E_NOMEM;
    beat->until_ms = until_ms;
    memcpy(beat->name, name, strlen(name) + 1);
    memmove(&list->at[place + 1], &list->at[place],
            (list->count - place) * sizeof(struct heartbeat *));
    list->at[place] = beat;
    list->count++;
    return 0;
}

static void clear(struct heartbeats *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct heartbeats){0};
}

/* --- Writing. --- */

static void flush(uv_timer_t *timer);

static void flush_within(struct up_registrations *registrations, uint64_t ms)
{
    if (registrations->stopped || (uv_is_active((uv_handle_t *)&registrations->timer) &&
                                   uv_timer_get_due_in(&registrations->timer) <= ms))
        return;
    uv_timer_start(&registrations->timer, flush, ms, 0);
}

/* Logs a failure once, not for every try. */
static void note_end(struct up_registrations *registrations, int err, const struct ps_fault *fault)
{
    bool news = err < 0 && registrations->err == 0;

    registrations->err = err;
    registrations->fault = *fault;
    if (err < 0 && fault->text[0] == '\0')
        (void)ps_fault(&registrations->fault, err, "", "%s", ps_err_text(err));
    if (news && err != PS_E_CLOSED)
        ps_log(PS_LOG_WARN, "heartbeats_not_written", PS_F_STR("error", registrations->fault.text));
}

static void on_written(int err, const struct ps_fault *fault, void *ctx)
{
    struct up_registrations *registrations = ctx;
    struct heartbeats *sent = &registrations->sent;

    registrations->is_writing = false;
    for (size_t i = 0; err < 0 && i < sent->count; i++)
        (void)!add(&registrations->due, sent->at[i]->name, sent->at[i]->until_ms);
    clear(sent);
    if (err != PS_E_CONFLICT) /* another gateway has renewed one of them: try again */
        note_end(registrations, err, fault);
    if (registrations->due.count > 0)
        flush_within(registrations, err == PS_E_CONFLICT ? FLUSH_MIN : FLUSH_MS);
}

/* Adds a renewal that is still due: not if the registration has expired, was removed, or was
 * renewed by another gateway. */
static int add_renewal(const struct up_registrations *registrations, struct cfg_change *change,
                       const struct heartbeat *beat)
{
    const struct cfg_doc *doc = cfg_registration_find(registrations->store, beat->name);
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;

    if (doc == NULL || cfg_registration_of(doc)->until_ms >= beat->until_ms)
        return 0;
    struct cfg_registration is = *cfg_registration_of(doc);
    is.until_ms = beat->until_ms;
    json_t *json = cfg_registration_write(&is);
    int err = json != NULL ? cfg_change_put(change,
                                            &(struct cfg_put){.kind = &cfg_kind_registration,
                                                              .name = beat->name,
                                                              .json = json},
                                            &refusal, &faults)
                           : PS_E_NOMEM;
    json_decref(json);
    return err;
}

/* Moves what is due, as much as fits, to the next change. */
static void take_due(struct up_registrations *registrations)
{
    struct heartbeats *due = &registrations->due, *sent = &registrations->sent;

    *sent = *due;
    *due = (struct heartbeats){0};
    while (sent->count > CHANGE_MAX) {
        struct heartbeat *last = sent->at[--sent->count];
        (void)!add(due, last->name, last->until_ms);
        free(last);
    }
}

static void flush(uv_timer_t *timer)
{
    struct up_registrations *registrations = timer->data;
    struct cfg_store *store = registrations->store;
    const struct cfg_doc *from;
    const struct ps_fault none = {0};

    if (registrations->is_writing || registrations->due.count == 0)
        return;
    struct cfg_change *change = cfg_change_own(store, CFG_BY_GATEWAY, "endpoint.renew");
    take_due(registrations);
    int err = change != NULL ? 0 : PS_E_NOMEM;
    for (size_t i = 0; i < registrations->sent.count && err == 0; i++)
        err = add_renewal(registrations, change, registrations->sent.at[i]);
    registrations->is_writing = true;
    if (err < 0 || cfg_change_doc(change, 0, &from) == NULL) {
        cfg_change_free(change);
        on_written(err, &none, registrations);
        return;
    }
    err = cfg_change_submit(change, on_written, registrations);
    if (err < 0)
        on_written(err, &none, registrations);
}

int up_registrations_renew(struct up_registrations *registrations, const struct cfg_doc *doc,
                           int64_t *ret_until_ms, struct ps_fault *fault)
{
    const struct cfg_registration *is = cfg_registration_of(doc);
    int64_t now_ms = ps_clock_wall_ms(cfg_store_clock(registrations->store));
    uint64_t within_ms = (uint64_t)is->ttl_s * 1000 / 8;

    *ret_until_ms = is->until_ms;
    if (is->until_ms - now_ms >= is->ttl_s * 1000)
        return 0;
    *ret_until_ms = up_registration_end_ms(now_ms, is->ttl_s);
    int err = add(&registrations->due, doc->name, *ret_until_ms);
    if (err < 0)
        return ps_fault(fault, err, "", "out of memory");
    flush_within(registrations, within_ms < FLUSH_MS ? within_ms : FLUSH_MS);
    *fault = registrations->fault;
    return registrations->err;
}

const struct ps_fault *up_registrations_fault(const struct up_registrations *registrations)
{
    return registrations->err < 0 ? &registrations->fault : NULL;
}

/* --- Life. --- */

int up_registrations_new(uv_loop_t *loop, struct cfg_store *store,
                         struct up_registrations **ret_registrations)
{
    struct up_registrations *registrations = calloc(1, sizeof *registrations);

    if (registrations == NULL)
        return PS_E_NOMEM;
    registrations->store = store;
    uv_timer_init(loop, &registrations->timer);
    registrations->timer.data = registrations;
    *ret_registrations = registrations;
    return 0;
}

void up_registrations_stop(struct up_registrations *registrations)
{
    registrations->stopped = true;
    uv_close((uv_handle_t *)&registrations->timer, NULL);
}

void up_registrations_free(struct up_registrations *registrations)
{
    if (registrations == NULL)
        return;
    clear(&registrations->due);
    clear(&registrations->sent);
    free(registrations);
}
