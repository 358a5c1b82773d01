/* One sale: made, found by its name, and how it comes into a state, whoever takes it there. */
#include "gateway/sales/sales_internal.h"

#include "common/grow.h"
#include "common/program/log.h"
#include "common/sorted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t sale_now_ns(const struct sale_runs *runs)
{
    return ps_clock_mono_ns(runs->settings.clock);
}

/* --- by name --- */

static int compare_with_run(const void *name, const void *run)
{
    return strcmp(name, (*(struct sale_run *const *)run)->name);
}

/* The index of `name`, or where to insert it. */
static size_t find_place(const struct sale_runs *runs, const char *name, bool *ret_there)
{
    return ps_sorted_place(name, runs->at, runs->count, sizeof *runs->at, compare_with_run,
                           ret_there);
}

static struct sale_run *new_run(struct sale_runs *runs, const char *name)
{
    struct sale_run *run = calloc(1, sizeof *run);

    if (run == NULL)
        return NULL;
    run->runs = runs;
    memcpy(run->name, name, strlen(name) + 1);
    run->view.log_sale = oq_fold_sale(runs->settings.fold, name, strlen(name));
    run->rebuild.installed_ns = INT64_MIN / 2;
    return run;
}

void sale_run_free(struct sale_run *run)
{
    sale_effect_list_done(&run->effects);
    free(run->forgotten);
    free(run->rebuild.slots);
    free(run->archive.slots);
    free(run);
}

static int make_room(struct sale_runs *runs)
{
    size_t cap = runs->cap, size = sizeof(struct sale_run *);
    int err = ps_grow(&runs->asked, &cap, runs->count + 1, size);

    return err < 0 ? err : ps_grow(&runs->at, &runs->cap, runs->count + 1, size);
}

struct sale_run *sale_run_find(const struct sale_runs *runs, const char *name)
{
    bool there;
    size_t place = find_place(runs, name, &there);

    return there ? runs->at[place] : NULL;
}

struct sale_run *sale_run_of(struct sale_runs *runs, const char *name)
{
    bool there;
    size_t place = find_place(runs, name, &there);
    struct sale_run *run;

    if (there)
        return runs->at[place];
    if (make_room(runs) < 0 || (run = new_run(runs, name)) == NULL)
        return NULL;
    memmove(&runs->at[place + 1], &runs->at[place],
            (runs->count - place) * sizeof(struct sale_run *));
    runs->at[place] = run;
    runs->count++;
    return run;
}

bool sale_get_decided(const struct sale_run *run, struct sale_decided *ret_decided)
{
    return run->runs->host.decided(run->name, ret_decided, run->runs->host.ctx);
}

/* --- the end of a try to build its counters --- */

static void on_unlocked(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    (void)err, (void)holder, (void)ttl_ms, (void)ctx; /* on a failure it expires by itself */
}

void sale_release_lock(struct sale_run *run)
{
    if (run->rebuild.locked_ns == 0)
        return;
    run->rebuild.locked_ns = 0;
    (void)!inv_shared_lease(run->runs->settings.store, run->name, 0, on_unlocked, NULL);
}

void sale_end_try(struct sale_run *run)
{
    struct sale_rebuild *rebuild = &run->rebuild;

    rebuild->opening = false;
    if (run->view.state < SALE_CLAIMING || run->view.state > SALE_VERIFYING_INSTALL)
        return;
    sale_release_lock(run);
    if (rebuild->slots_out == 0) { /* else their outcomes are still to come */
        free(rebuild->slots);
        rebuild->slots = NULL;
        rebuild->slot_count = 0;
    }
    rebuild->wait_ms = 0;
    rebuild->retry_ns = 0;
}

/* --- from state to state --- */

void sale_set_state(struct sale_run *run, enum sale_state state)
{
    run->view.state = state;
    run->idle_until_ms = 0;
    run->since_ns =
        state == SALE_CHECKING ? ps_clock_mono_ns(&ps_clock_system) : sale_now_ns(run->runs);
}

void sale_report_changed(const struct sale_run *run)
{
    run->runs->host.changed(run->name, run->runs->host.ctx);
}

void sale_refuse(struct sale_run *run, const char *why)
{
    sale_end_try(run);
    sale_set_state(run, SALE_REFUSED);
    (void)snprintf(run->view.refused_why, sizeof run->view.refused_why, "%s", why);
    atomic_fetch_add(&run->runs->refused, 1);
    sale_report_changed(run);
    ps_log(PS_LOG_ERROR, "sale_refused", SALE_LOG_NAME(run), PS_F_STR("why", why));
}

void sale_refuse_other(struct sale_run *run)
{
    sale_refuse(run, "another gateway has fenced the sale in this topic, and the counter in memory "
                     "is this one's alone; end the other gateway or give it a topic of its own "
                     "(several need store.kind redis), then restart this one");
}

void sale_serve(struct sale_run *run, struct inv_sale *counter)
{
    struct sale_view *view = &run->view;

    sale_end_try(run);
    sale_set_state(run, SALE_SERVING);
    view->counter = counter;
    view->epoch = inv_sale_epoch(counter);
    run->sku_count = oq_sale_sku_count(view->log_sale);
    run->in_redis = SALE_IN_REDIS_USABLE;
    run->resting = false;
    run->in_doubt = -1;
    run->busy_ns = run->since_ns;
    run->trim_due = true;
    sale_report_changed(run);
    ps_log(PS_LOG_INFO, "sale_served", SALE_LOG_NAME(run), PS_F_INT("epoch", view->epoch),
           PS_F_INT("orders", oq_sale_order_count(view->log_sale)));
}

void sale_fence(struct sale_run *run, const char *why)
{
    if (run->view.state != SALE_SERVING)
        return;
    sale_set_state(run, SALE_FENCED);
    ps_metric_add(run->runs->shard, GW_M_FENCES, 0, 1);
    ps_log(PS_LOG_WARN, "sale_fenced", SALE_LOG_NAME(run), PS_F_INT("epoch", run->view.epoch),
           PS_F_STR("why", why));
    sale_report_changed(run);
    clu_ask_all_next(run->runs->cluster); /* the others may have lost theirs, too */
}
