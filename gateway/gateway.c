/* Start-up in order, and the end in reverse order. Each part says what it needs by when it is
 * started:
 *
 *   state directory -> listen sockets -> counter, fold -> order log (read back into the fold) ->
 *   control store, tokens -> control thread's memory -> admin listener, workers -> loop
 *
 * The start of the loop is not yet the readiness: sales that were open before are served again
 * first; until then readyz says no.
 *
 * The end (SIGTERM, SIGINT, POST /admin/v1/drain): readyz fails at once; serving goes on for
 * drain.delay_ms; then the listen sockets close and what is in flight is finished; then the log
 * writes what it has; then the threads end. drain.timeout_ms bounds the whole. */
#include "gateway/gateway.h"

#include "common/log.h"
#include "gateway/backends.h"
#include "gateway/breakers.h"
#include "gateway/admin/admin.h"
#include "gateway/admission/overload.h"
#include "gateway/config/sync.h"
#include "gateway/leave.h"
#include "gateway/mail.h"
#include "gateway/metrics.h"
#include "gateway/orders/flow.h"
#include "gateway/orders/order_events.h"
#include "gateway/reload.h"
#include "gateway/report.h"
#include "gateway/sale_host.h"
#include "gateway/control.h"
#include "gateway/config/seed.h"
#include "gateway/sockets.h"
#include "gateway/state_dir.h"
#include "gateway/cluster/cluster.h"
#include "gateway/keeper.h"
#include "gateway/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define CONTROL_MAIL  16384
#define FLUSH_MS      2000 /* at least, for the log to write what it has */
#define CHECKPOINT_MS 5000 /* at most, for the last checkpoint */
#define LEAVE_MS      2500 /* after that, for everything else */
enum stage { RUNNING, DELAYING, FINISHING };

struct gateway {
    struct gw_settings *settings;
    const char *config_path;
    const struct ps_clock *clock;
    struct gw_state_dir dir;
    char *archive_dir, *archive_key; /* paths */
    /* What threads share, and what they are told by. */
    struct adm_limit_table *limits;
    struct gw_counter *counter;
    struct oq_fold *fold;
    struct ord_events *events;
    struct oq_log *log;
    struct gw_keeper *keeper;
    struct ord_flow *flow;
    struct ps_metrics *metrics;
    struct gw_mailboxes mail;
    struct gw_workers workers;
    struct gw_breakers breakers;
    struct gw_report report;
    /* The control thread's. */
    struct inv_store *store;
    struct sale_runs *sales;
    struct clu_cluster *cluster;
    struct cfg_store *config;
    struct op_auth *auth;
    struct gw_control *control;
    struct op_admin *admin;
    struct ps_metrics_shard *shard;
    struct adm_overload *overload;
    struct ps_uuid start; /* of this start of the process: the owner of what it reserves */
    int64_t started_ms;   /* wall clock */
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t housekeeping;
    struct gw_sockets sockets;
    enum stage stage;
    int64_t drain_started_ns;
    bool hurry; /* drain.delay_ms is cut short */
    uint64_t watchdog_us;
    int64_t watchdog_fed_ns;
};

static int64_t now_ns(const struct gateway *gateway)
{
    return ps_clock_mono_ns(gateway->clock);
}

/* --- the end --- */

static void begin_drain(void *ctx)
{
    struct gateway *gateway = ctx;

    if (gateway->stage != RUNNING) { /* asked twice: no more delay, but nobody is cut off */
        gateway->hurry = true;
        return;
    }
    gateway->stage = DELAYING;
    gateway->drain_started_ns = now_ns(gateway);
    atomic_store(&gateway->report.draining, true);
    sd_notify(0, "STOPPING=1");
    ps_log(PS_LOG_INFO, "draining", PS_F_INT("delay_ms", gateway->settings->drain.delay_ms));
}

static bool all_idle(const struct gateway *gateway)
{
    return gw_workers_idle(&gateway->workers) && op_admin_idle(gateway->admin);
}

static void on_signal(uv_signal_t *signal, int number)
{
    ps_log(PS_LOG_INFO, "signal", PS_F_STR("name", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    begin_drain(signal->data);
}

static void drain_step(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    int64_t passed_ms = (now_ns(gateway) - gateway->drain_started_ns) / PS_NS_PER_MS;

    if (gateway->stage == DELAYING && (gateway->hurry || passed_ms >= settings->drain.delay_ms)) {
        gateway->stage = FINISHING;
        gw_workers_tell(&gateway->workers, GW_MAIL_DRAIN);
    } else if (gateway->stage == FINISHING &&
               (all_idle(gateway) || passed_ms >= settings->drain.timeout_ms)) {
        if (!all_idle(gateway))
            ps_log(PS_LOG_WARN, "drain_timeout", PS_F_STR("why", "requests were still in flight"));
        uv_stop(&gateway->loop);
    }
}

/* --- while it runs --- */

static void on_hangup(uv_signal_t *signal, int number)
{
    const struct gateway *gateway = signal->data;

    (void)number;
    gw_reload(gateway->settings, gateway->config_path, gateway->config);
}

static void on_started(void *ctx)
{
    struct gateway *gateway = ctx;

    atomic_store(&gateway->report.started, true);
    sd_notify(0, "READY=1");
    ps_log(PS_LOG_INFO, "ready", PS_F_STR("listen", gateway->settings->listen.host),
           PS_F_INT("port", gateway->sockets.port),
           PS_F_STR("admin_listen", gateway->settings->admin.host),
           PS_F_INT("admin_port", gateway->sockets.admin_port),
           PS_F_INT("workers", gateway->workers.count));
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct gateway *gateway = timer->data;

    if (gateway->watchdog_us > 0 &&
        (now_ns(gateway) - gateway->watchdog_fed_ns) / 1000 > (int64_t)(gateway->watchdog_us / 3) &&
        gw_workers_alive(&gateway->workers, now_ns(gateway))) {
        gateway->watchdog_fed_ns = now_ns(gateway);
        sd_notify(0, "WATCHDOG=1");
    }
    adm_overload_tick(gateway->overload, atomic_load(&gateway->report.started));
    ord_flow_follow(gateway->flow, !gateway->overload->is_off);
    adm_breakers_watch(&gateway->breakers.known);
    double delay_ms = adm_signals_now(gateway->overload->signals)->value[CFG_SIGNAL_LOOP_DELAY];
    ord_flow_watch(gateway->flow, now_ns(gateway),
                   delay_ms > 0 ? (int64_t)(delay_ms * (double)PS_NS_PER_MS) : 0);
    gw_keeper_tick(gateway->keeper, gateway->overload->level > 0);
    drain_step(gateway);
}

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct gateway *gateway = ctx;

    if (mail->kind == GW_MAIL_ORDER && mail->value != SALE_TICKET) {
        if (gateway->admin != NULL)
            op_admin_outcome(gateway->admin, mail->handle, (enum oq_outcome)mail->result,
                             mail->ptr);
    } else if (mail->kind == GW_MAIL_FOLD) {
        gw_keeper_mail(gateway->keeper, mail);
    } else if (gateway->control != NULL)
        gw_control_mail(mail, gateway->control);
}

/* --- start --- */

static int say(const struct ps_fault *fault, int err)
{
    fprintf(stderr, "penstock: %s%s%s\n", fault->path, fault->path[0] ? ": " : "",
            fault->text[0] ? fault->text : ps_err_text(err));
    return err;
}

static void on_fenced(void *ctx)
{
    const struct gateway *gateway = ctx;

    sale_on_fenced(gateway->sales);
}

static int open_counter(struct gateway *gateway)
{
    struct ps_uuid_source ids;
    struct gw_counter_deps deps = {.settings = gateway->settings,
                                   .clock = gateway->clock,
                                   .start = &gateway->start,
                                   .on_fenced = on_fenced,
                                   .ctx = gateway};
    int err;

    ps_uuid_source_init(&ids);
    ps_uuid_next(&ids, gateway->started_ms, &gateway->start);
    err = gw_counter_open(&deps, &gateway->counter);
    return err < 0 ? err
                   : gw_counter_store(gateway->counter, &gateway->loop, false, &gateway->store);
}

static bool is_calm(void *ctx)
{
    const struct gateway *gateway = ctx;

    return gateway->stage == RUNNING && gateway->overload != NULL && gateway->overload->level == 0;
}

/* Where archives go, unless the settings say so, and their key. */
static int find_archive(struct gateway *gateway)
{
    const char *dir = gateway->settings->archive.dir;

    gateway->archive_dir = dir != NULL ? strdup(dir) : gw_state_dir_file(&gateway->dir, "archive");
    gateway->archive_key = gw_state_dir_file(&gateway->dir, "archive.key");
    return gateway->archive_dir != NULL && gateway->archive_key != NULL ? 0 : PS_E_NOMEM;
}

static int new_sales(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;

    if (find_archive(gateway) < 0)
        return PS_E_NOMEM;
    return sale_runs_new(
        &(struct sale_settings){.clock = gateway->clock,
                                .gateway_id = gateway->dir.gateway_id,
                                .store = gateway->store,
                                .fold = gateway->fold,
                                .metrics = gateway->metrics,
                                .mailbox = gateway->mail.control,
                                .mail_kind = GW_MAIL_SALES,
                                .owner = GW_OWNER_CONTROL,
                                .archive = {.dir = gateway->archive_dir,
                                            .make_dir = settings->archive.dir == NULL,
                                            .key = gateway->archive_key,
                                            .command = settings->archive.command,
                                            .after_ms = settings->log.archive_after_h * 3600000},
                                .is_calm = is_calm,
                                .ctx = gateway},
        &gateway->sales);
}

static int new_events(struct gateway *gateway)
{
    return ord_events_new(&(struct ord_events_settings){.clock = gateway->clock,
                                                        .fold = gateway->fold,
                                                        .sales = gateway->sales,
                                                        .metrics = gateway->metrics,
                                                        .flow = gateway->flow,
                                                        .deliver = gw_mail_outcome,
                                                        .on_state = gw_mail_log_state,
                                                        .ctx = &gateway->mail,
                                                        .on_marks = gw_keeper_on_marks,
                                                        .marks_ctx = gateway->keeper},
                          &gateway->events);
}

static int new_keeper(struct gateway *gateway)
{
    char *path = gw_state_dir_file(&gateway->dir, "fold.checkpoint");
    int err = PS_E_NOMEM;

    if (path != NULL)
        err = gw_keeper_new(&(struct gw_keeper_deps){.clock = gateway->clock,
                                                     .fold = gateway->fold,
                                                     .sales = gateway->sales,
                                                     .workers = &gateway->workers,
                                                     .path = path},
                            &gateway->keeper);
    free(path);
    return err;
}

static int open_parts(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    int64_t mib = settings->limits_table.mib;
    struct ps_fault fault = {0};
    int err;

    if ((err = gw_state_dir_open(settings->state_dir, &gateway->dir, &fault)) < 0 ||
        (err = gw_sockets_open(settings, gateway->workers.count, &gateway->sockets, &fault)) < 0)
        return gw_state_dir_undo(&gateway->dir, say(&fault, err));
    if ((err = adm_limit_table_new((size_t)mib, &gateway->limits)) < 0)
        return gw_state_dir_undo(
            &gateway->dir,
            say(&fault, ps_fault(&fault, err, "limits_table.mib",
                                 "%lld MiB of memory are not to be had", (long long)mib)));
    if ((err = ps_metrics_new(gw_metric_table, GW_M_COUNT, gateway->workers.count + 3,
                              &gateway->metrics)) == 0 &&
        (gateway->shard = ps_metrics_shard(gateway->metrics)) == NULL)
        err = PS_E_NOMEM;
    if (err < 0 || (err = open_counter(gateway)) < 0 || (err = oq_fold_new(&gateway->fold)) < 0 ||
        (err = gw_flow_new(settings, gateway->workers.count, &gateway->flow)) < 0 ||
        (err = new_sales(gateway)) < 0 || (err = new_keeper(gateway)) < 0 ||
        (err = new_events(gateway)) < 0)
        ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err));
    return err < 0 ? gw_state_dir_undo(&gateway->dir, say(&fault, err)) : 0;
}

static int open_log(struct gateway *gateway)
{
    struct ps_fault fault = {0};
    uint32_t mark_count;
    const struct oq_mark *marks = gw_keeper_marks(gateway->keeper, &mark_count);
    int err = gw_log_open(&(struct gw_log_deps){.settings = gateway->settings,
                                                .clock = gateway->clock,
                                                .dir = &gateway->dir,
                                                .events = gateway->events,
                                                .marks = marks,
                                                .mark_count = mark_count},
                          &gateway->log, &fault);

    if (err == 0)
        gw_keeper_open(gateway->keeper, gateway->log, gateway->events);
    return err < 0 ? say(&fault, err) : 0;
}

static int open_cluster(struct gateway *gateway)
{
    int err = clu_cluster_new(&(struct clu_settings){.clock = gateway->clock,
                                                     .start = gateway->start,
                                                     .gateway_id = gateway->dir.gateway_id,
                                                     .store = gateway->store,
                                                     .log = gateway->log,
                                                     .duties = &gw_report_duties,
                                                     .ctx = &gateway->report},
                              &gateway->cluster);

    if (err == 0)
        sale_runs_open(gateway->sales, gateway->log, gateway->cluster);
    return err;
}

static int new_control(struct gateway *gateway, struct ps_fault *fault)
{
    return gw_control_new(
        &(struct gw_control_deps){.loop = &gateway->loop,
                                  .config = gateway->config,
                                  .sales = gateway->sales,
                                  .fold = gateway->fold,
                                  .breakers = &gateway->breakers,
                                  .workers = &gateway->workers,
                                  .dns_servers = &gateway->settings->upstream.dns_servers,
                                  .on_started = on_started,
                                  .ctx = gateway},
        &gateway->control, fault);
}

static int open_control(struct gateway *gateway)
{
    char *control_path = gw_state_dir_file(&gateway->dir, "control.db"),
         *audit_path = gw_state_dir_file(&gateway->dir, "audit.log"),
         *tokens = gw_state_dir_file(&gateway->dir, "tokens.json"),
         *first = gw_state_dir_file(&gateway->dir, "admin.token");
    struct sale_host host;
    struct ps_fault fault = {0};
    bool made_token = false;
    int err = PS_E_NOMEM;

    if (control_path == NULL || audit_path == NULL || tokens == NULL || first == NULL)
        goto out;
    if ((err = cfg_store_open(&(struct cfg_writer_settings){.path = control_path,
                                                            .audit_path = audit_path,
                                                            .mailbox = gateway->mail.control,
                                                            .mail_kind = GW_MAIL_DONE,
                                                            .clock = gateway->clock},
                              &gateway->config, &fault)) < 0)
        goto out;
    gateway->settings->bounds.listeners[0].port = gateway->sockets.port; /* as bound */
    gateway->settings->bounds.listeners[1].port = gateway->sockets.admin_port;
    cfg_store_set_bounds(gateway->config, &gateway->settings->bounds);
    if ((err = op_auth_open(&(struct op_auth_settings){.tokens_path = tokens,
                                                       .first_path = first,
                                                       .clock = gateway->clock},
                            &gateway->auth, &made_token, &fault)) < 0 ||
        (err = open_cluster(gateway)) < 0 || (err = new_control(gateway, &fault)) < 0)
        goto out;
    host = gw_sale_host(gateway->control);
    sale_runs_start(gateway->sales, &host);
    if (made_token)
        ps_log(PS_LOG_INFO, "admin_token_made", PS_F_STR("file", first));
out:
    free(control_path);
    free(audit_path);
    free(tokens);
    free(first);
    return err < 0 ? say(&fault, err) : 0;
}

static bool is_redis_ours(void *ctx)
{
    const struct gateway *gateway = ctx;

    return clu_owns(gateway->cluster);
}

/* With a counter in Redis other gateways may be there, and share what operators decide. */
static int open_sync(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    struct ps_redis_settings redis = ps_redis_defaults;
    struct ps_fault fault = {0};
    int err;

    if (settings->store.kind != GW_STORE_REDIS)
        return 0;
    redis.connect_timeout_ms = settings->store.redis.connect_timeout_ms;
    redis.command_timeout_ms = settings->store.redis.command_timeout_ms;
    err = cfg_sync_new(gateway->config, &(struct cfg_sync_settings){.loop = &gateway->loop,
                                                                    .url = &settings->redis,
                                                                    .redis = &redis,
                                                                    .is_ours = is_redis_ours,
                                                                    .ctx = gateway});
    if (err < 0)
        return say(&fault, ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err)));
    return 0;
}

static void fill_report(struct gateway *gateway)
{
    gateway->report.limits = gateway->limits;
    gateway->report.store = gateway->store;
    gateway->report.log = gateway->log;
    gateway->report.flow = gateway->flow;
    gateway->report.cluster = gateway->cluster;
    gateway->report.sales = gateway->sales;
    gateway->report.config = gateway->config;
    gateway->report.breakers = &gateway->breakers.known;
    gateway->report.signals = gateway->overload->signals;
    gateway->report.metrics = gateway->metrics;
}

static void gather_metrics(void *ctx)
{
    const struct gateway *gateway = ctx;

    gw_report_metrics(&gateway->report, gateway->shard);
}

static void tell_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    gw_report_readiness(&((struct gateway *)ctx)->report, ret_readiness);
}

static bool is_published(void *ctx)
{
    const struct gateway *gateway = ctx;

    return gw_control_is_published(gateway->control);
}

static int new_admin(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    const struct op_deps deps = {.loop = &gateway->loop,
                                 .clock = gateway->clock,
                                 .auth = gateway->auth,
                                 .config = gateway->config,
                                 .known = &gateway->control->sales,
                                 .sales = gateway->sales,
                                 .cluster = gateway->cluster,
                                 .store = gateway->store,
                                 .log = gateway->log,
                                 .owner = GW_OWNER_CONTROL,
                                 .fold = gateway->fold,
                                 .metrics = gateway->metrics,
                                 .overload = gateway->overload,
                                 .shop = gateway->control->shop,
                                 .caches = gateway->control->caches,
                                 .members = gateway->control->members,
                                 .breakers = &gateway->breakers.known,
                                 .flow = gateway->flow,
                                 .shard = gateway->shard,
                                 .readiness = tell_readiness,
                                 .gather = gather_metrics,
                                 .is_published = is_published,
                                 .drain = begin_drain,
                                 .ctx = gateway,
                                 .settings = settings,
                                 .settings_json = gw_settings_json,
                                 .host = settings->admin.host,
                                 .hosts = &settings->admin.hosts,
                                 .metrics_open = &settings->admin.metrics_open,
                                 .state_dir = settings->state_dir,
                                 .archive_dir = gateway->archive_dir,
                                 .archive_key = gateway->archive_key,
                                 .gateway_id = gateway->dir.gateway_id,
                                 .ack_timeout_ms = settings->log.ack_timeout_ms,
                                 .confirm_on_standby = settings->log.confirm_on_standby,
                                 .metrics_sales_max = (size_t)settings->metrics.sales_max,
                                 .started_ms = gateway->started_ms,
                                 .http = {.head_timeout_ms = settings->http.head_timeout_ms,
                                          .body_timeout_ms = settings->http.body_timeout_ms,
                                          .idle_timeout_ms = settings->http.idle_timeout_ms,
                                          .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
                                          .clock = gateway->clock}};

    fill_report(gateway);
    return op_admin_new(&deps, gateway->sockets.admin, gateway->sockets.admins, &gateway->admin);
}

static int start_workers(struct gateway *gateway)
{
    const struct gw_workers *workers = &gateway->workers;
    const struct gw_worker_deps deps = {.settings = gateway->settings,
                                        .clock = gateway->clock,
                                        .counter = gateway->counter,
                                        .limits = gateway->limits,
                                        .overload = &gateway->overload->shared,
                                        .loads = adm_signals_loads(gateway->overload->signals),
                                        .breakers = gateway->breakers.redis,
                                        .log = gateway->log,
                                        .flow = gateway->flow,
                                        .fold = gateway->fold,
                                        .metrics = gateway->metrics,
                                        .control_mail = gateway->mail.control,
                                        .wakeups = gateway->control->wakeups,
                                        .worker_count = workers->count,
                                        .readiness = gw_report_readiness,
                                        .readiness_ctx = &gateway->report};
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < workers->count; i++)
        err = gw_worker_new(&deps, i, gateway->sockets.workers[i],
                            cfg_store_snapshot(gateway->config), &workers->at[i]);
    for (size_t i = 0; err == 0 && i < workers->count; i++)
        err = gw_worker_start(workers->at[i]);
    return err;
}

static int new_overload(struct gateway *gateway)
{
    const struct adm_overload_deps deps = {
        .config = gateway->config,
        .shard = gateway->shard,
        .signals = {.clock = gateway->clock,
                    .root = "",
                    .workers = gateway->workers.count,
                    .log = gateway->log,
                    .metrics = gateway->metrics,
                    .connections_max = gateway->settings->http.connections,
                    .store_is_shared = inv_store_is_shared(gateway->store)}};

    return adm_overload_new(&deps, &gateway->overload);
}

static int start_threads(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    struct ps_fault fault = {0};
    int err = new_overload(gateway);

    if (err == 0)
        err = gw_breakers_init(&gateway->breakers, &gateway->workers, gateway->log,
                               inv_store_is_shared(gateway->store));
    if (err == 0) {
        gw_breakers_follow(&gateway->breakers, up_registry_table(gateway->control->shop));
        err = new_admin(gateway);
    }
    if (err == 0)
        err = start_workers(gateway);
    if (err == PS_E_NOMEM)
        ps_fault(&fault, err, "http.connections",
                 "no memory for %lld connections of %zu workers, with http.waiting %lld each",
                 (long long)settings->http.connections, gateway->workers.count,
                 (long long)settings->http.waiting);
    else if (err < 0)
        ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err));
    return err < 0 ? say(&fault, err) : 0;
}

static void start_loop(struct gateway *gateway)
{
    uv_signal_init(&gateway->loop, &gateway->term);
    uv_signal_init(&gateway->loop, &gateway->interrupt);
    uv_signal_init(&gateway->loop, &gateway->hangup);
    uv_timer_init(&gateway->loop, &gateway->housekeeping);
    gateway->term.data = gateway->interrupt.data = gateway->hangup.data =
        gateway->housekeeping.data = gateway;
    uv_signal_start(&gateway->term, on_signal, SIGTERM);
    uv_signal_start(&gateway->interrupt, on_signal, SIGINT);
    uv_signal_start(&gateway->hangup, on_hangup, SIGHUP);
    uv_timer_start(&gateway->housekeeping, on_housekeeping, ADM_TICK_MS, ADM_TICK_MS);
    if (sd_watchdog_enabled(0, &gateway->watchdog_us) <= 0)
        gateway->watchdog_us = 0;
}

/* --- the end, continued --- */

static void stop_parts(struct gateway *gateway)
{
    int64_t left_ms = gateway->settings->drain.timeout_ms -
                      (now_ns(gateway) - gateway->drain_started_ns) / PS_NS_PER_MS;

    if (left_ms < FLUSH_MS)
        left_ms = FLUSH_MS;
    gw_leave_at_the_latest(left_ms + CHECKPOINT_MS + LEAVE_MS);
    gw_keeper_finish(gateway->keeper, CHECKPOINT_MS);
    if (oq_log_close(gateway->log, left_ms) < 0) { /* while the workers still take mail */
        /* The log's thread is still at work on everything: nothing can be taken apart. */
        ps_log(PS_LOG_ERROR, "log_not_flushed", PS_F_STR("why", "the disk does not answer"));
        ps_log_stop();
        _exit(EXIT_FAILURE);
    }
    gw_workers_tell(&gateway->workers, GW_MAIL_STOP);
    for (size_t i = 0; i < gateway->workers.count; i++)
        gw_worker_join(gateway->workers.at[i]);
    gateway->workers.count = 0;
    clu_stop(gateway->cluster);
    sale_runs_stop(gateway->sales);
    gw_counter_store_free(gateway->counter, gateway->store); /* answers what still waits for it */
    op_admin_free(gateway->admin);
    gateway->admin = NULL; /* outcomes that come now find nobody */
    gw_sockets_remove(gateway->settings);
    gw_control_stop(gateway->control);
    uv_close((uv_handle_t *)&gateway->term, NULL);
    uv_close((uv_handle_t *)&gateway->interrupt, NULL);
    uv_close((uv_handle_t *)&gateway->hangup, NULL);
    uv_close((uv_handle_t *)&gateway->housekeeping, NULL);
    ps_mailbox_close(gateway->mail.control);
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    uv_loop_close(&gateway->loop);
    gw_control_free(gateway->control); /* ends what is under way, and sales are told of that */
    clu_cluster_free(gateway->cluster);
}

static void free_parts(struct gateway *gateway)
{
    op_auth_free(gateway->auth);
    gw_breakers_done(&gateway->breakers);
    gw_keeper_free(gateway->keeper);
    oq_log_free(gateway->log);
    ord_events_free(gateway->events);
    ord_flow_free(gateway->flow);
    sale_runs_free(gateway->sales);
    oq_fold_free(gateway->fold);
    gw_counter_close(gateway->counter);
    adm_limit_table_free(gateway->limits);
    adm_overload_free(gateway->overload);
    ps_metrics_free(gateway->metrics);
    free(gateway->workers.at);
    free(gateway->archive_dir);
    free(gateway->archive_key);
    gw_state_dir_close(&gateway->dir);
}

int gw_gateway_run(struct gw_settings *settings, const char *config_path)
{
    struct gateway *gateway = calloc(1, sizeof *gateway);
    struct gw_workers *workers = gateway ? &gateway->workers : NULL;
    int err = PS_E_NOMEM;

    if (gateway == NULL)
        return PS_E_NOMEM;
    gateway->settings = settings;
    gateway->config_path = config_path;
    gateway->clock = &ps_clock_system;
    gateway->started_ms = ps_clock_wall_ms(gateway->clock);
    workers->count = gw_sockets_worker_count(settings);
    workers->at = calloc(workers->count, sizeof *workers->at);
    gateway->mail.workers = workers;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);  /* until the loop runs: what is to be read again has just been read */
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk, and EFBIG says so */
    if (workers->at == NULL || uv_loop_init(&gateway->loop) != 0 ||
        (err = ps_mailbox_new(&gateway->loop, CONTROL_MAIL, on_mail, NULL, gateway,
                              &gateway->mail.control)) < 0)
        return err;
    gw_sockets_raise_limit(settings, workers->count);
    gw_settings_warn(settings);
    /* A start that fails ends the process: what was opened is closed by its end. */
    if ((err = open_parts(gateway)) < 0 || (err = open_log(gateway)) < 0 ||
        (err = open_control(gateway)) < 0 || (err = open_sync(gateway)) < 0)
        return err;
    ord_events_go(gateway->events);
    if ((err = start_threads(gateway)) < 0)
        return err;
    start_loop(gateway);
    cfg_seed(gateway->config, settings->sales, settings->policy);
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    stop_parts(gateway);
    free_parts(gateway);
    free(gateway);
    ps_log(PS_LOG_INFO, "stopped");
    return 0;
}
