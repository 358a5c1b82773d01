/* The store: how a change proceeds. Three events are asynchronous and each has one place here:
 * Redis has compared the versions (on_shared), the writer mails a job back (cfg_store_mail), all
 * workers use a snapshot (cfg_store_acknowledged).
 *
 * What must hold: memory changes only after the writer has committed; a snapshot is freed only when
 * no worker uses it any more; a change is answered only when every worker uses it. So at most one
 * publication is in progress, and at most one change. Decisions of other gateways proceed the same
 * way, ahead of local changes that have not begun: local changes compare their versions against the
 * newest.
 */
#include "gateway/config/store/store_internal.h"

#include "common/program/log.h"
#include "gateway/config/store/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX 1000000

/* --- Publication. --- */

static void next_step(struct cfg_store *store);
static void start_next(struct cfg_store *store);

/* Gives every worker a new snapshot. Without memory the old one stays in force, and the next tick
 * tries again. */
static void publish(struct cfg_store *store)
{
    store->dirty = false;
    store->publishing = true; /* before it may be acknowledged */
    int err = store->callbacks.publish(store->callbacks.ctx, store->revision);
    if (err < 0) {
        store->dirty = true;
        store->publishing = false;
        ps_log(PS_LOG_ERROR, "snapshot_not_built", PS_F_STR("error", ps_err_text(err)));
    }
}

void cfg_store_acknowledged(struct cfg_store *store)
{
    if (!store->publishing)
        return;
    store->publishing = false;
    next_step(store);
}

void cfg_store_changed(struct cfg_store *store)
{
    store->dirty = true;
    next_step(store);
}

bool cfg_store_is_publishing(const struct cfg_store *store)
{
    return store->publishing;
}

bool cfg_store_is_own_change(const struct cfg_store *store)
{
    return store->is_own_change;
}

bool cfg_store_is_settled(const struct cfg_store *store)
{
    return !store->dirty && !store->publishing;
}

bool cfg_store_is_idle(const struct cfg_store *store)
{
    return cfg_store_is_settled(store) && STAILQ_EMPTY(&store->changes);
}

/* --- The steps of a change. --- */

static void say_changing(const struct cfg_store *store, const struct cfg_doc *doc, bool changing)
{
    if (doc != NULL && doc->kind == &cfg_kind_sale && store->callbacks.on_changing != NULL)
        store->callbacks.on_changing(store->callbacks.ctx, doc->name, changing);
}

size_t cfg_store_changes_behind(const struct cfg_store *store, const char *sale)
{
    const struct cfg_change *change = STAILQ_FIRST(&store->changes);
    size_t count = 0;

    while (change != NULL && (change = STAILQ_NEXT(change, next)) != NULL) {
        for (size_t i = 0; i < change->job.edit_count && !change->is_taken; i++) {
            const struct cfg_doc *doc = change->job.edits[i].doc;
            count += doc != NULL && doc->kind == &cfg_kind_sale && strcmp(doc->name, sale) == 0;
        }
    }
    return count;
}

static void enqueue(struct cfg_store *store, struct cfg_change *change)
{
    STAILQ_INSERT_TAIL(&store->changes, change, next);
    for (size_t i = 0; i < change->job.edit_count; i++)
        say_changing(store, change->job.edits[i].doc, true);
}

static void finish_change(struct cfg_store *store, int err)
{
    struct cfg_change *change = STAILQ_FIRST(&store->changes);

    STAILQ_REMOVE_HEAD(&store->changes, next);
    if (change->job.not_synced)
        ps_log(PS_LOG_ERROR, "tokens_not_synced", PS_F_STR("error", change->job.fault.text));
    if (change->job.audit_err < 0)
        ps_log(PS_LOG_ERROR, "audit_log_not_written",
               PS_F_STR("error", ps_err_text(change->job.audit_err)));
    STAILQ_CONCAT(&store->ended, &change->job.ended); /* if they could not be removed */
    for (size_t i = 0; i < change->job.edit_count && !change->is_taken; i++)
        say_changing(store, change->job.edits[i].doc, false);
    if (change->done != NULL)
        change->done(err, &change->job.fault, change->ctx);
    cfg_change_free(change);
}

static int submit(struct cfg_store *store, struct cfg_change *change)
{
    struct cfg_job *job = &change->job;

    if (job->edit_count > 0 && job->revision == 0)
        job->revision = store->revision + 1;
    for (size_t i = 0; i < job->edit_count; i++) {
        if (job->edits[i].doc->revision == 0)
            job->edits[i].doc->revision = job->revision;
        if (cfg_map_make_room(cfg_store_map(store, job->edits[i].doc->kind), job->edit_count) < 0)
            return PS_E_NOMEM;
    }
    int err = cfg_writer_submit(store->writer, job);
    if (err == 0)
        change->step = CFG_STEP_WRITING;
    return err;
}

/* The first change waits for the cluster's copy, which may be queued right behind it. */
static void step_back(struct cfg_store *store)
{
    struct cfg_change *change = STAILQ_FIRST(&store->changes), *next = STAILQ_NEXT(change, next);

    change->step = CFG_STEP_WAITING;
    STAILQ_CONCAT(&store->ended, &change->job.ended);
    change->job.ended_count = 0;
    if (next == NULL || !next->is_taken)
        return;
    STAILQ_REMOVE_HEAD(&store->changes, next);
    STAILQ_INSERT_AFTER(&store->changes, next, change, next);
}

/* Redis has compared the versions. */
static void on_shared(struct cfg_store *store, int err, int64_t revision,
                      const struct ps_fault *fault, void *ctx)
{
    struct cfg_change *change = ctx;

    if (err == PS_E_CONFLICT || err == PS_E_BUSY) {
        change->refused = err == PS_E_CONFLICT ? err : 0; /* else retried */
        change->job.fault = *fault;
        step_back(store);
        start_next(store);
        return;
    }
    change->shared = err == 0;
    change->job.revision = revision;
    if (err == 0)
        err = submit(store, change);
    else
        change->job.fault = *fault;
    if (err < 0) {
        finish_change(store, err);
        start_next(store);
    }
}

/* Are its documents still successors of the versions in force? */
static bool is_current(const struct cfg_store *store, const struct cfg_job *job)
{
    for (size_t i = 0; i < job->edit_count; i++) {
        const struct cfg_edit *edit = &job->edits[i];
        const struct cfg_doc *last = cfg_store_last(store, edit->doc->kind, edit->doc->name);
        if ((last != NULL ? last->version : 0) != edit->after)
            return false;
    }
    return true;
}

/* A change of this gateway's own. 0: it is in progress, or still waits. */
static int start_own(struct cfg_store *store, struct cfg_change *change)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;

    if (store->sync != NULL && change->job.edit_count > 0 && cfg_sync_holds(store->sync))
        return 0;
    if (change->refused < 0)
        return change->refused;
    if (!is_current(store, &change->job))
        return ps_fault(&change->job.fault, PS_E_CONFLICT, "",
                        "somebody else changed this in the meantime");
    if (cfg_change_check(change, NULL, &refusal, &faults) < 0)
        return ps_fault(&change->job.fault, PS_E_CONFLICT, "", "meanwhile: %s", faults.at[0].text);
    int err = change->job.line == NULL ? cfg_change_write_line(change) : 0;
    if (err < 0)
        return err;
    cfg_change_add_ended(change);
    if (store->sync == NULL || change->job.edit_count == 0)
        return submit(store, change);
    err = cfg_sync_put(store->sync, &change->job, on_shared, change, &change->job.fault);
    if (err == 0)
        change->step = CFG_STEP_SHARING;
    return err;
}

/* Is it newer than the version here, or equally new and different? Then the cluster's copy wins. */
static bool is_news(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const struct cfg_doc *last = cfg_store_last(store, doc->kind, doc->name);

    if (last == NULL)
        return doc->json == NULL || cfg_store_is_in_force(store, doc);
    if (last->version != doc->version)
        return doc->version > last->version;
    if (cfg_doc_is_same(last, doc))
        return false;
    ps_log(PS_LOG_WARN, "shared_copy_differs", PS_F_STR("kind", doc->kind->path),
           PS_F_STR("document", doc->name), PS_F_INT("version", doc->version));
    return true;
}

/* Another gateway's decisions, as far as they are new here. */
static int start_taken(struct cfg_store *store, struct cfg_change *change)
{
    struct cfg_job *job = &change->job;
    size_t kept = 0;

    for (size_t i = 0; i < job->edit_count; i++) {
        struct cfg_doc *doc = job->edits[i].doc;
        if (!is_news(store, doc)) {
            cfg_doc_free(doc);
            continue;
        }
        job->edits[kept++] = job->edits[i];
        if (job->revision < doc->revision)
            job->revision = doc->revision;
    }
    job->edit_count = kept;
    if (kept == 0) {
        change->step = CFG_STEP_WRITTEN;
        return 0;
    }
    int err = cfg_change_write_line(change);
    cfg_change_add_ended(change);
    return err < 0 ? err : submit(store, change);
}

/* The next change that begins; those that cannot have failed. `done` may have begun another change
 * itself when the queue was empty. */
static void start_next(struct cfg_store *store)
{
    struct cfg_change *change;

    while ((change = STAILQ_FIRST(&store->changes)) != NULL && change->step == CFG_STEP_WAITING) {
        int err = change->is_taken ? start_taken(store, change) : start_own(store, change);
        if (err < 0)
            finish_change(store, err);
        else if (change->step == CFG_STEP_WRITTEN) /* nothing was new */
            finish_change(store, 0);
        else
            return;
    }
}

/* Starts what can proceed: the publication first, then the change that waited for it, then the next
 * change. */
static void next_step(struct cfg_store *store)
{
    while (!store->publishing) {
        if (store->dirty) {
            publish(store);
            if (store->publishing || store->dirty)
                return;
        }
        const struct cfg_change *first = STAILQ_FIRST(&store->changes);
        if (first == NULL || first->step != CFG_STEP_WRITTEN)
            return;
        finish_change(store, 0);
        start_next(store);
    }
}

/* --- Into memory. --- */

static void say_taken(const struct cfg_doc *doc)
{
    ps_log(PS_LOG_INFO, "shared_copy_taken_over", PS_F_STR("kind", doc->kind->path),
           PS_F_STR("document", doc->name), PS_F_INT("version", doc->version));
}

/* Puts the document into memory. True: it is more than a heartbeat. */
static bool put_in_force(struct cfg_store *store, struct cfg_doc *doc)
{
    struct cfg_doc *old = cfg_map_put(cfg_store_map(store, doc->kind), doc);
    bool is_news = !cfg_doc_renews(doc, old);
    int err = cfg_store_tell(store, old, doc);

    if (err < 0)
        ps_log(PS_LOG_ERROR, "document_not_in_force", PS_F_STR("kind", doc->kind->path),
               PS_F_STR("document", doc->name), PS_F_STR("error", ps_err_text(err)));
    cfg_store_watch_end(store, doc);
    cfg_doc_free(old);
    return is_news;
}

static void apply(struct cfg_store *store, struct cfg_change *change)
{
    struct cfg_job *job = &change->job;

    store->is_own_change = !change->is_taken;
    for (size_t i = 0; i < job->edit_count; i++) {
        struct cfg_doc *doc = job->edits[i].doc;
        job->edits[i].doc = NULL;
        if (!change->is_taken)
            say_changing(store, doc, false);
        if (job->edits[i].falls)
            cfg_store_say_end(store, cfg_store_last(store, doc->kind, doc->name), change->who,
                              doc->kind->drop);
        bool is_news = put_in_force(store, doc);
        store->dirty |= is_news;
        if (change->is_taken && is_news)
            say_taken(doc);
        else if (!change->is_taken && doc->kind->changed != NULL)
            doc->kind->changed(store, doc);
    }
    store->is_own_change = false;
    cfg_store_reach(store, job->revision);
    if (change->shared)
        cfg_sync_written(store->sync, job->revision);
    cfg_ended_list_free(&job->ended);
}

void cfg_store_reach(struct cfg_store *store, int64_t revision)
{
    if (store->revision < revision)
        store->revision = revision;
}

static void look_done(struct cfg_history *look, int err)
{
    json_t *history = look->job.history;

    look->job.history = NULL;
    LIST_REMOVE(look, next);
    look->done(err, history, &look->job.fault, look->ctx);
    cfg_job_done(&look->job);
    free(look);
}

void cfg_store_mail(struct cfg_store *store, const struct ps_mail *mail)
{
    struct cfg_job *job = mail->ptr;
    struct cfg_change *change = mail->ptr;

    if (job->look != CFG_LOOK_NOT) {
        look_done(mail->ptr, job->err);
        return;
    }
    if (job->err < 0) {
        if (change->shared)
            ps_log(PS_LOG_ERROR, "shared_change_not_written", PS_F_STR("error", job->fault.text));
        finish_change(store, job->err);
        start_next(store);
        return;
    }
    apply(store, change);
    change->step = CFG_STEP_WRITTEN;
    next_step(store);
}

int cfg_change_submit(struct cfg_change *change, cfg_done_fn *done, void *ctx)
{
    struct cfg_store *store = change->store;
    bool first = STAILQ_EMPTY(&store->changes);

    change->done = done;
    change->ctx = ctx;
    if (first && store->sync == NULL) {
        /* A refusal is returned at once; `done` comes later or not at all. */
        int err = is_current(store, &change->job) ? cfg_change_write_line(change) : PS_E_CONFLICT;
        if (err == 0) {
            cfg_change_add_ended(change);
            err = submit(store, change);
        }
        if (err == 0) {
            enqueue(store, change);
            return 0;
        }
        STAILQ_CONCAT(&store->ended, &change->job.ended);
        cfg_change_free(change);
        return err;
    }
    enqueue(store, change);
    if (first) /* Redis may refuse it with a reason: `done` reports it */
        cfg_sync_wake(store->sync);
    return 0;
}

static int look(struct cfg_store *store, const struct cfg_job *wanted, const char *name,
                cfg_history_fn *done, void *ctx)
{
    struct cfg_history *look = calloc(1, sizeof *look);

    if (look == NULL)
        return PS_E_NOMEM;
    *look = (struct cfg_history){.job = *wanted, .done = done, .ctx = ctx};
    STAILQ_INIT(&look->job.ended);
    memcpy(look->job.name, name, strlen(name) + 1);
    int err = cfg_writer_submit(store->writer, &look->job);
    if (err < 0)
        free(look);
    else
        LIST_INSERT_HEAD(&store->looks, look, next);
    return err;
}

int cfg_store_history(struct cfg_store *store, const struct cfg_kind *kind, const char *name,
                      int64_t version, cfg_history_fn *done, void *ctx)
{
    const struct cfg_job job = {.look = CFG_LOOK_DOCUMENT, .kind = kind, .version = version};

    return look(store, &job, name, done, ctx);
}

int cfg_store_past(struct cfg_store *store, const char *kinds, int64_t revision,
                   cfg_history_fn *done, void *ctx)
{
    const struct cfg_job job = {.look = revision > 0 ? CFG_LOOK_AT_REVISION : CFG_LOOK_REVISIONS,
                                .version = revision};

    return look(store, &job, kinds, done, ctx);
}

/* --- The cluster. --- */

bool cfg_store_is_synced(const struct cfg_store *store)
{
    return store->sync == NULL || cfg_sync_synced(store->sync);
}

bool cfg_store_takes_changes(const struct cfg_store *store)
{
    return store->sync == NULL || cfg_sync_takes_puts(store->sync);
}

int64_t cfg_store_complete(const struct cfg_store *store)
{
    return store->sync != NULL ? cfg_sync_complete(store->sync) : store->revision;
}

bool cfg_store_is_shared(const struct cfg_store *store)
{
    return store->sync != NULL;
}

void cfg_store_set_sync(struct cfg_store *store, struct cfg_sync *sync)
{
    store->sync = sync;
}

void cfg_store_set_seed(struct cfg_store *store, json_t *seed, cfg_seed_fn *take)
{
    json_decref(store->seed);
    store->seed = json_incref(seed);
    store->take_seed = take;
}

void cfg_store_go_on(struct cfg_store *store)
{
    json_t *seed = store->seed;

    if (cfg_store_is_synced(store) && seed != NULL) {
        store->seed = NULL;
        (void)store->take_seed(store, seed);
        json_decref(seed);
    }
    start_next(store);
}

struct cfg_change *cfg_change_own(struct cfg_store *store, const char *who, const char *action)
{
    const struct cfg_author author = {.at_ms = ps_clock_wall_ms(store->clock),
                                      .who = who,
                                      .peer = "",
                                      .action = action,
                                      .why = ""};

    return cfg_change_new(store, &author);
}

int cfg_store_take(struct cfg_store *store, struct cfg_edit *edits, size_t count, cfg_done_fn *done,
                   void *ctx)
{
    struct cfg_change *change = cfg_change_own(store, "cluster", "cluster.take");
    struct cfg_change *first = STAILQ_FIRST(&store->changes);

    if (change == NULL) {
        for (size_t i = 0; i < count; i++)
            cfg_doc_free(edits[i].doc);
        free(edits);
        return PS_E_NOMEM;
    }
    change->job.edits = edits;
    change->job.edit_count = change->room = count;
    change->is_taken = true;
    (void)snprintf(change->target, sizeof change->target, "control");
    change->done = done;
    change->ctx = ctx;
    if (first != NULL && first->step != CFG_STEP_WAITING)
        STAILQ_INSERT_AFTER(&store->changes, first, change, next);
    else
        STAILQ_INSERT_HEAD(&store->changes, change, next);
    start_next(store);
    return 0;
}

/* --- Life. --- */

static int load(struct cfg_doc *doc, void *ctx)
{
    struct cfg_store *store = ctx;
    struct cfg_map *map = cfg_store_map(store, doc->kind);

    if (cfg_map_make_room(map, 1) < 0) {
        cfg_doc_free(doc);
        return PS_E_NOMEM;
    }
    (void)cfg_map_put(map, doc);
    cfg_store_watch_end(store, doc);
    return 0;
}

int cfg_store_open(const struct cfg_writer_settings *settings, struct cfg_store **ret_store,
                   struct ps_fault *fault)
{
    struct cfg_store *store = calloc(1, sizeof *store);
    int err = PS_E_NOMEM;

    if (store == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    store->clock = settings->clock;
    store->rest_ms = settings->rest_ms;
    store->kinds = cfg_kinds;
    STAILQ_INIT(&store->changes);
    STAILQ_INIT(&store->ended);
    LIST_INIT(&store->looks);
    if (ps_heap_new(16, ENDS_MAX, &store->ends) < 0)
        (void)ps_fault(fault, err, settings->path, "out of memory");
    else
        err = cfg_writer_open(settings, load, store, &store->revision, &store->writer, fault);
    if (err < 0)
        cfg_store_free(store);
    else
        *ret_store = store;
    return err;
}

int cfg_store_start(struct cfg_store *store, const struct cfg_store_callbacks *callbacks)
{
    int err = 0;

    store->callbacks = *callbacks;
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL && err == 0; kind++) {
        const struct cfg_map *map = cfg_store_map(store, *kind);
        for (size_t i = 0; i < map->count && err == 0; i++)
            err = callbacks->in_force(callbacks->ctx, NULL, map->at[i]);
    }
    return err;
}

void cfg_store_close(struct cfg_store *store)
{
    if (store == NULL)
        return;
    cfg_sync_stop(store->sync);
    cfg_writer_close(store->writer);
    store->writer = NULL;
}

void cfg_store_free(struct cfg_store *store)
{
    struct cfg_history *look;
    uint64_t value;

    if (store == NULL)
        return;
    cfg_writer_close(store->writer);
    while (!STAILQ_EMPTY(&store->changes))
        finish_change(store, PS_E_CLOSED);
    while ((look = LIST_FIRST(&store->looks)) != NULL)
        look_done(look, PS_E_CLOSED);
    cfg_sync_free(store->sync);
    cfg_store_set_seed(store, NULL, NULL);
    for (size_t i = 0; i < CFG_KINDS_MAX; i++) {
        for (size_t j = 0; j < store->maps[i].count; j++)
            cfg_doc_free(store->maps[i].at[j]);
        free(store->maps[i].at);
    }
    cfg_ended_list_free(&store->ended);
    while (store->ends != NULL && ps_heap_take(store->ends, INT64_MAX, &value))
        free((void *)(uintptr_t)value);
    ps_heap_free(store->ends);
    free(store);
}

void cfg_store_audit_head(const struct cfg_store *store, struct cfg_audit_head *ret_head)
{
    cfg_writer_head(store->writer, ret_head);
}
