/* The control thread's loop: its mail, its timer, the sales that are known here, and the
 * workers' acknowledgements of snapshots. */
#include "gateway/control.h"

#include "common/program/log.h"
#include "gateway/mail.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS 100

/* --- sales --- */

static void on_sale(struct gw_control *control, const struct cfg_doc *from,
                    const struct cfg_doc *to)
{
    const char *name = to != NULL ? to->name : from->name;
    struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    if (sale != NULL)
        sale_document_changed(sale->run);
    if (to == NULL || to->parsed == NULL) {
        sale_list_drop(&control->sales, name);
        return;
    }
    bool is_new = sale == NULL;
    sale = sale_list_add(&control->sales, control->deps.sales, name);
    if (sale == NULL) {
        ps_log(PS_LOG_ERROR, "sale_not_taken_over", PS_F_STR("sale", name));
        return;
    }
    if (is_new)
        sale->changing = (unsigned)cfg_store_changes_behind(control->deps.config, name);
    sale->stored = *cfg_sale_of(to);
    sale->stored.state.version = to->version;
    sale->stored.state.created_at_ms = to->created_at_ms;
}

static void on_changing(void *ctx, const char *name, bool changing)
{
    const struct gw_control *control = ctx;
    struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    if (sale != NULL)
        sale->changing += changing ? 1u : -1u;
}

static bool sale_is_used(void *ctx, const char *name)
{
    const struct gw_control *control = ctx;
    const struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    return sale != NULL ? sale_is_fixed(sale->run, &sale->stored.state)
                        : oq_fold_sale(control->deps.fold, name, strlen(name)) != NULL;
}

static bool sale_is_forgettable_here(void *ctx, const char *name)
{
    const struct gw_control *control = ctx;
    const struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    return sale != NULL && sale_is_forgettable(sale->run, &sale->stored.doc, &sale->stored.state);
}

static const char *holder(void *ctx, const struct cfg_kind *kind, const char *name)
{
    const struct plans *plans = ((const struct gw_control *)ctx)->deps.plans;

    return plans != NULL ? plans_holder(plans, kind, name) : NULL;
}

/* Copies the state of a sale here into the next snapshot. PS_E_NOMEM. */
static int show_run(struct gw_control *control, const char *name)
{
    const struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    if (sale == NULL)
        return 0;
    const struct sale_view *view = sale_view(sale->run);
    /* Also before it is served again after a start: its buyers may look their orders up. */
    bool opened = view->counter != NULL || sale->stored.state.opened;
    return snap_view_set_run(
        control->view, name,
        &(struct snap_sale_run){.counter = view->counter,
                                .log_sale = opened ? view->log_sale : NULL,
                                .epoch = view->epoch,
                                .fenced = view->state != SALE_SERVING,
                                .unserved = sale_is_unserved(sale->run, &sale->stored.state),
                                .archived = view->state == SALE_ARCHIVED});
}

/* --- publication --- */

/* Builds a table from the store and discovery. */
static int build_up_table(struct gw_control *control)
{
    struct up_table *table = up_registry_build(control->shop, control->deps.config);

    if (table == NULL)
        return PS_E_NOMEM;
    snap_view_set_up_table(control->view, table);
    up_membership_follow(control->members, table);
    if (control->deps.breakers != NULL)
        gw_breakers_follow(control->deps.breakers, table);
    control->up_table_changed = false;
    return 0;
}

static int build_snapshot(struct gw_control *control, int64_t revision)
{
    int64_t version = control->snapshot != NULL ? control->snapshot->version + 1 : 1;
    struct snapshot *snapshot;
    int err = control->up_table_changed ? build_up_table(control) : 0;

    if (err == 0)
        err = snap_view_snapshot(control->view, version, revision, &snapshot);
    if (err < 0)
        return err;
    control->older = control->snapshot;
    control->snapshot = snapshot;
    return 0;
}

static int publish(void *ctx, int64_t revision)
{
    struct gw_control *control = ctx;
    const struct gw_workers *workers = control->deps.workers;
    int err = build_snapshot(control, revision);

    if (err < 0) {
        control->dirty = true; /* the next tick tries again */
        return err;
    }
    control->acks = 0;
    for (size_t i = 0; i < workers->count; i++) {
        struct ps_mail mail = {.kind = GW_MAIL_SNAPSHOT, .ptr = control->snapshot};
        if (gw_worker_post(workers->at[i], &mail) < 0) /* it serves nobody either */
            ps_log(PS_LOG_ERROR, "policy_not_delivered", PS_F_INT("worker", i));
    }
    return 0;
}

static void on_ack(struct gw_control *control, const struct ps_mail *mail)
{
    if ((int64_t)mail->value != control->snapshot->version ||
        ++control->acks < control->deps.workers->count)
        return;
    snapshot_free(control->older);
    control->older = NULL;
    cfg_store_acknowledged(control->deps.config);
}

/* Publishes the changed states of sales; out of memory: with the next tick. */
static void publish_what_changed(struct gw_control *control)
{
    bool all = control->changed_count > GW_CHANGED_MAX;
    size_t count = all ? control->sales.count : control->changed_count;
    int err = 0;

    if (!control->dirty || cfg_store_is_publishing(control->deps.config))
        return;
    for (size_t i = 0; err == 0 && i < count; i++)
        err = show_run(control, all ? control->sales.at[i]->stored.doc.name : control->changed[i]);
    if (err < 0)
        return;
    control->dirty = false;
    control->changed_count = 0;
    cfg_store_changed(control->deps.config);
}

/* --- documents --- */

/* Discovery has other endpoints, or a document of the table has changed. */
static void on_members_changed(void *ctx)
{
    struct gw_control *control = ctx;

    control->up_table_changed = true;
    cfg_store_changed(control->deps.config);
}

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    struct gw_control *control = ctx;
    const struct cfg_doc *doc = to != NULL ? to : from;

    control->up_table_changed |= doc->kind->makes_up_table;
    up_membership_put(control->members, from, to);
    if (doc->kind == &cfg_kind_run && control->deps.plans != NULL)
        return plans_put(control->deps.plans, from, to);
    if (doc->kind != &cfg_kind_sale)
        return snap_view_put(control->view, control->deps.config, from, to);
    on_sale(control, from, to);
    int err = snap_view_put(control->view, control->deps.config, from, to);
    return err < 0 ? err : show_run(control, doc->name);
}

/* --- the thread --- */

void gw_control_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_control *control = ctx;

    switch (mail->kind) {
    case GW_MAIL_DONE:
        cfg_store_mail(control->deps.config, mail);
        break;
    case GW_MAIL_SNAPSHOT_ACK:
        on_ack(control, mail);
        break;
    case GW_MAIL_ORDER:
        sale_outcome(control->deps.sales, mail->handle, (enum oq_outcome)mail->result);
        break;
    case GW_MAIL_SALES:
        sale_mail(control->deps.sales, mail);
        break;
    case GW_MAIL_STATE:
        if (mail->value != 0)
            sale_go_on_all(control->deps.sales);
        break;
    default:
        break;
    }
    publish_what_changed(control);
}

/* Is the start over: seeds are stored, sales to be served are served or refused, and the workers
 * know? */
static void look_whether_started(struct gw_control *control)
{
    const struct gw_control_deps *deps = &control->deps;

    if (control->started || !sale_all_settled(deps->sales) || !gw_control_synced(control) ||
        !cfg_store_is_idle(deps->config) || control->dirty)
        return;
    sale_report_unknown(deps->sales);
    control->started = true;
    if (deps->on_started != NULL)
        deps->on_started(deps->ctx);
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_control *control = timer->data;

    sale_tick(control->deps.sales);
    cfg_ref_rotation_tick(&control->ref_keys); /* the start waits for the first key */
    look_whether_started(control);
    cfg_store_tick(control->deps.config);
    if (control->caches != NULL)
        caches_tick(control->caches);
    if (snap_view_last(control->view) != NULL)
        adm_limit_set_tick(snap_view_last(control->view)->limits,
                           ps_clock_mono_ns(cfg_store_clock(control->deps.config)));
    up_registry_tick(control->shop);
    if (up_registry_table(control->shop) != NULL)
        up_returns_tick(&control->returns, up_registry_table(control->shop));
    if (control->started && control->deps.plans != NULL)
        plans_tick(control->deps.plans);
    publish_what_changed(control);
}

/* A lost mail does no harm: workers look on each tick. */
static void wake_worker(size_t worker, void *ctx)
{
    const struct gw_control *control = ctx;
    struct ps_mail mail = {.kind = GW_MAIL_CACHE};

    if (gw_worker_post(control->deps.workers->at[worker], &mail) < 0)
        ps_log(PS_LOG_ERROR, "worker_takes_no_mail", PS_F_INT("worker", (int64_t)worker));
}

/* Creates pools and routes, and the sources of their endpoints. */
static int new_shop(struct gw_control *control)
{
    const struct gw_control_deps *deps = &control->deps;
    const struct ps_strings *servers = deps->dns_servers;
    int err = up_membership_new(
        &(struct up_membership_deps){.loop = deps->loop,
                                     .clock = cfg_store_clock(deps->config),
                                     .store = deps->config,
                                     .on_change = on_members_changed,
                                     .ctx = control,
                                     .dns_servers =
                                         servers != NULL ? (const char *const *)servers->at : NULL,
                                     .dns_server_count = servers != NULL ? servers->count : 0},
        &control->members);

    if (err == 0)
        err = cache_wakeups_new(deps->workers->count, wake_worker, control, &control->wakeups);
    if (err == 0)
        err = caches_new(control->wakeups, &control->caches);
    if (err == 0)
        err = up_registry_new(&(struct up_registry_deps){.clock = cfg_store_clock(deps->config),
                                                         .worker_count = deps->workers->count,
                                                         .members = control->members,
                                                         .caches = control->caches},
                              &control->shop);
    return err;
}

static void free_shop(struct gw_control *control)
{
    up_registry_free(control->shop);
    caches_free(control->caches);
    cache_wakeups_free(control->wakeups);
}

static void free_snapshots(struct gw_control *control)
{
    snapshot_free(control->older);
    snapshot_free(control->snapshot);
    snap_view_free(control->view);
}

int gw_control_new(const struct gw_control_deps *deps, struct gw_control **ret_control,
                   struct ps_fault *fault)
{
    struct gw_control *control = calloc(1, sizeof *control);
    int err;

    if (control == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    control->deps = *deps;
    STAILQ_INIT(&control->notes);
    STAILQ_INIT(&control->noting);
    control->returns =
        (struct up_returns){.config = deps->config, .clock = cfg_store_clock(deps->config)};
    control->ref_keys = (struct cfg_ref_rotation){.store = deps->config};
    const struct cfg_store_callbacks callbacks = {.ctx = control,
                                                  .publish = publish,
                                                  .in_force = in_force,
                                                  .on_changing = on_changing,
                                                  .sale_is_used = sale_is_used,
                                                  .sale_is_forgettable = sale_is_forgettable_here,
                                                  .holder = holder};
    control->up_table_changed = true;
    err = snap_view_new(deps->workers->count, &control->view);
    if (err == 0)
        err = new_shop(control);
    if (err == 0)
        err = cfg_store_start(deps->config, &callbacks);
    if (err == 0)
        err = build_snapshot(control, cfg_store_revision(deps->config));
    if (err < 0) {
        free_snapshots(control);
        free_shop(control);
        sale_list_done(&control->sales);
        free(control);
        return ps_fault(fault, err, "", "control thread: %s", ps_err_text(err));
    }
    uv_timer_init(deps->loop, &control->tick);
    control->tick.data = control;
    uv_timer_start(&control->tick, on_tick, TICK_MS, TICK_MS);
    *ret_control = control;
    return 0;
}

void gw_control_stop(struct gw_control *control)
{
    uv_close((uv_handle_t *)&control->tick, NULL);
    up_membership_stop(control->members);
    cfg_store_close(control->deps.config);
}

static void free_notes(struct gw_control *control)
{
    struct gw_note *note;

    while ((note = STAILQ_FIRST(&control->notes)) != NULL) {
        STAILQ_REMOVE_HEAD(&control->notes, next);
        free(note);
    }
}

void gw_control_free(struct gw_control *control)
{
    if (control == NULL)
        return;
    cfg_store_free(control->deps.config); /* ends what is in progress */
    free_notes(control);
    sale_list_done(&control->sales);
    free_snapshots(control);
    up_membership_free(control->members);
    free_shop(control);
    free(control);
}

bool gw_control_is_published(void *ctx)
{
    const struct gw_control *control = ctx;

    return !control->dirty && cfg_store_is_settled(control->deps.config);
}
