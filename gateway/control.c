/* The control thread's loop: its mail, its timer, the sales that are known here, and the
 * workers' acknowledgements of snapshots. */
#include "gateway/control.h"

#include "common/log.h"
#include "gateway/admission/limit_set.h"
#include "gateway/cluster/cluster.h"
#include "gateway/config/sync.h"
#include "gateway/mail.h"
#include "gateway/worker.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS 100

/* --- sales --- */

static void on_sale(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    struct gw_control *control = ctx;
    const char *name = to != NULL ? to->name : from->name;

    if (to == NULL || to->parsed == NULL) {
        sale_list_drop(&control->sales, name);
        return;
    }
    struct sale_entry *sale = sale_list_add(&control->sales, control->core->sales, name);
    if (sale == NULL) {
        ps_log(PS_LOG_ERROR, "sale_not_taken_over", PS_F_STR("sale", name));
        return;
    }
    sale->stored = *cfg_sale_of(to);
    sale->stored.state.version = to->version;
    sale->stored.state.created_at_ms = to->created_at_ms;
    sale->stored.state.updated_at_ms = to->by.at_ms;
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
                        : oq_fold_sale(control->core->fold, name, strlen(name)) != NULL;
}

static void decorate(void *ctx, const char *name, struct cfg_sale_run *ret_run)
{
    const struct gw_control *control = ctx;
    const struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    if (sale == NULL)
        return;
    const struct sale_view *view = sale_view(sale->run);
    /* Also before it is served again after a start: its buyers may look their orders up. */
    bool opened = view->counter != NULL || sale->stored.state.opened;
    *ret_run = (struct cfg_sale_run){.counter = view->counter,
                                     .books = opened ? view->log_sale : NULL,
                                     .epoch = view->epoch,
                                     .fenced = view->state != SALE_SERVING,
                                     .unserved = sale_is_unserved(sale->run, &sale->stored.state)};
}

/* --- publication --- */

static void publish(void *ctx, const struct cfg_snapshot *snapshot)
{
    struct gw_control *control = ctx;
    const struct gw_core *core = control->core;

    control->acks = 0;
    for (size_t i = 0; i < core->worker_count; i++) {
        struct ps_mail mail = {.kind = GW_MAIL_POLICY, .ptr = (void *)(uintptr_t)snapshot};
        if (gw_worker_post(core->workers[i], &mail) <
            0) /* a worker that takes no mail serves nobody either */
            ps_log(PS_LOG_ERROR, "policy_not_delivered", PS_F_INT("worker", i));
    }
}

static void on_ack(struct gw_control *control, const struct ps_mail *mail)
{
    if ((int64_t)mail->value == cfg_store_snapshot(control->config)->version &&
        ++control->acks >= control->core->worker_count)
        cfg_store_acknowledged(control->config, (int64_t)mail->value);
}

static void publish_what_changed(struct gw_control *control)
{
    if (!control->dirty || cfg_store_is_publishing(control->config))
        return;
    control->dirty = false;
    cfg_store_changed(control->config);
}

/* --- the thread --- */

void gw_control_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_control *control = ctx;

    switch (mail->kind) {
    case GW_MAIL_DONE:
        cfg_store_mail(control->config, mail);
        break;
    case GW_MAIL_POLICY_ACK:
        on_ack(control, mail);
        break;
    case GW_MAIL_ORDER:
        sale_outcome(control->core->sales, mail->handle, (enum oq_outcome)mail->result);
        break;
    case GW_MAIL_SALES:
        sale_mail(control->core->sales, mail);
        break;
    case GW_MAIL_STATE:
        if (mail->value != 0)
            sale_go_on(control->core->sales);
        break;
    default:
        break;
    }
    publish_what_changed(control);
}

/* The start is over: seeds are stored, sales that are to be sold from are served or refused, and
 * the workers know of all that. */
static void look_whether_started(struct gw_control *control)
{
    struct gw_core *core = control->core;

    if (atomic_load(&core->ready) || !sale_all_settled(core->sales) ||
        !gw_control_synced(control) || !cfg_store_is_idle(control->config) || control->dirty)
        return;
    sale_report_unknown(core->sales);
    atomic_store(&core->ready, true);
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_control *control = timer->data;

    sale_tick(control->core->sales);
    look_whether_started(control);
    cfg_store_tick(control->config);
    publish_what_changed(control);
}

int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct cfg_store *config,
                   struct op_auth *auth, struct gw_control **ret_control, struct ps_fault *fault)
{
    struct gw_control *control = calloc(1, sizeof *control);
    int err = PS_E_NOMEM;

    if (control == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    *control = (struct gw_control){.core = core,
                                   .loop = loop,
                                   .config = config,
                                   .auth = auth,
                                   .shard = ps_metrics_shard(core->metrics)};
    control->wall_started_ms = ps_clock_wall_ms(core->clock);
    const struct cfg_store_callbacks callbacks = {.ctx = control,
                                                  .publish = publish,
                                                  .on_sale = on_sale,
                                                  .on_changing = on_changing,
                                                  .sale_is_used = sale_is_used,
                                                  .view = {.ctx = control,
                                                           .decorate = decorate,
                                                           .log_sku = oq_sale_sku,
                                                           .compile = adm_limit_set_new,
                                                           .free_compiled = free}};
    if (control->shard == NULL || (err = cfg_store_start(config, &callbacks)) < 0) {
        control->config = NULL;
        gw_control_free(control);
        return ps_fault(fault, err, "", "control thread: %s", ps_err_text(err));
    }
    uv_timer_init(loop, &control->tick);
    control->tick.data = control;
    uv_timer_start(&control->tick, on_tick, TICK_MS, TICK_MS);
    *ret_control = control;
    return 0;
}

static bool is_redis_ours(void *ctx)
{
    const struct gw_core *core = ctx;

    return clu_owns(core->cluster);
}

int gw_control_share(struct gw_control *control, const struct ps_redis_url *url,
                     const struct ps_redis_settings *settings)
{
    return cfg_sync_new(control->config, &(struct cfg_sync_settings){.loop = control->loop,
                                                                     .url = url,
                                                                     .redis = settings,
                                                                     .is_ours = is_redis_ours,
                                                                     .ctx = control->core});
}

void gw_control_stop(struct gw_control *control)
{
    uv_close((uv_handle_t *)&control->tick, NULL);
    cfg_store_close(control->config);
}

void gw_control_free(struct gw_control *control)
{
    if (control == NULL)
        return;
    cfg_store_free(control->config); /* ends what is under way */
    sale_list_done(&control->sales);
    free(control);
}

/* --- the operators' listener --- */

static void tell_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    const struct gw_control *control = ctx;

    gw_core_readiness(control->core, ret_readiness);
}

static void gather_metrics(void *ctx)
{
    const struct gw_control *control = ctx;

    gw_core_gather(control->core, control->shard);
}

static bool is_published(void *ctx)
{
    const struct gw_control *control = ctx;

    return !control->dirty && cfg_store_is_settled(control->config);
}

struct op_deps gw_control_admin_deps(struct gw_control *control)
{
    const struct gw_core *core = control->core;
    const struct gw_settings *settings = core->settings;

    return (struct op_deps){.loop = control->loop,
                            .clock = core->clock,
                            .auth = control->auth,
                            .config = control->config,
                            .known = &control->sales,
                            .sales = core->sales,
                            .cluster = core->cluster,
                            .store = core->control_store,
                            .log = core->log,
                            .owner = GW_OWNER_CONTROL,
                            .fold = core->fold,
                            .metrics = core->metrics,
                            .shard = control->shard,
                            .readiness = tell_readiness,
                            .gather = gather_metrics,
                            .is_published = is_published,
                            .ctx = control,
                            .host = settings->admin.host,
                            .hosts = &settings->admin.hosts,
                            .metrics_open = &settings->admin.metrics_open,
                            .state_dir = settings->state_dir,
                            .ack_timeout_ms = settings->log.ack_timeout_ms,
                            .metrics_sales_max = (size_t)settings->metrics.sales_max,
                            .started_ms = control->wall_started_ms,
                            .http = {.head_timeout_ms = settings->http.head_timeout_ms,
                                     .body_timeout_ms = settings->http.body_timeout_ms,
                                     .idle_timeout_ms = settings->http.idle_timeout_ms,
                                     .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
                                     .clock = core->clock}};
}
