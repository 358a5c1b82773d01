/* Start in order, end in reverse order. Each part needs the parts before it:
 *
 *   state directory -> listen sockets -> counter, fold -> order log (read back into the fold) ->
 *   control store, tokens -> control thread's memory -> admin listener, workers -> loop
 *
 * The gateway is not ready when the loop starts: sales that were open before are served again
 * first; until then readyz fails.
 *
 * The end (SIGTERM, SIGINT, POST /admin/v1/drain): readyz fails at once; the gateway serves for
 * another drain.delay_ms; then it closes the listen sockets and finishes the requests in flight;
 * then the log writes what it has; then the threads end. drain.timeout_ms bounds the whole. */
#include "gateway/gateway_internal.h"

#include "common/program/log.h"
#include "gateway/notify.h"
#include "gateway/orders/flow.h"
#include "gateway/tracing.h"
#include "gateway/orders/order_events.h"
#include "gateway/config/store/seed.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define CONTROL_MAIL  16384
#define FLUSH_MS      2000 /* at least, for the log to write what it has */
#define CHECKPOINT_MS 5000 /* at most, for the last checkpoint */
#define LEAVE_MS      2500 /* after that, for everything else */
static int64_t now_ns(const struct gw_gateway *gateway)
{
    return ps_clock_mono_ns(gateway->clock);
}

/* --- the end --- */

static void on_alarm(int number)
{
    static const char text[] = "penstock: the disk does not answer; left without waiting for it\n";
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    (void)number;
    if (poll(&out, 1, 0) > 0) /* its reader may hang, too */
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILURE);
}

/* A thread that hangs in the disk must not keep the process alive: after this time the process ends
 * with a failure. What such a thread has not written is what a kill would have lost: nothing that
 * was promised. */
static void leave_at_the_latest(int64_t in_ms)
{
    struct itimerval timer = {.it_value = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000}};

    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void begin_drain(void *ctx)
{
    struct gw_gateway *gateway = ctx;

    if (gateway->stage != GW_RUNNING) { /* a second request: skip the delay, but cut nobody off */
        gateway->hurry = true;
        return;
    }
    gateway->stage = GW_DELAYING;
    gateway->drain_started_ns = now_ns(gateway);
    atomic_store(&gateway->report.draining, true);
    gw_workers_tell(&gateway->workers, GW_MAIL_LEAVE);
    sd_notify(0, "STOPPING=1");
    gw_notify_status("Draining: finishes what it has accepted");
    ps_log(PS_LOG_INFO, "draining", PS_F_INT("delay_ms", gateway->settings->drain.delay_ms));
}

static bool all_idle(const struct gw_gateway *gateway)
{
    return gw_workers_idle(&gateway->workers) && op_admin_idle(gateway->admin);
}

static void on_signal(uv_signal_t *signal, int number)
{
    ps_log(PS_LOG_INFO, "signal", PS_F_STR("name", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    begin_drain(signal->data);
}

static void drain_step(struct gw_gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    int64_t passed_ms = (now_ns(gateway) - gateway->drain_started_ns) / PS_NS_PER_MS;

    if (gateway->stage == GW_DELAYING &&
        (gateway->hurry || passed_ms >= settings->drain.delay_ms)) {
        gateway->stage = GW_FINISHING;
        gw_workers_tell(&gateway->workers, GW_MAIL_DRAIN);
    } else if (gateway->stage == GW_FINISHING &&
               (all_idle(gateway) || passed_ms >= settings->drain.timeout_ms)) {
        if (!all_idle(gateway))
            ps_log(PS_LOG_WARN, "drain_timeout", PS_F_STR("why", "requests were still in flight"));
        uv_stop(&gateway->loop);
    }
}

/* --- while it runs --- */

static void take_over(struct gw_settings *live, struct gw_settings *fresh, struct cfg_store *store)
{
    struct ps_strings hosts = live->admin.hosts;

    live->admin.hosts = fresh->admin.hosts; /* only this thread reads them */
    fresh->admin.hosts = hosts;
    live->admin.metrics_open = fresh->admin.metrics_open;
    live->logging.level = fresh->logging.level;
    ps_log_level_set((enum ps_log_level)live->logging.level);
    (void)cfg_seed(store, fresh->seed);
}

static void refuse_settings(const char *path, const struct ps_faults *faults)
{
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++)
        ps_log(PS_LOG_ERROR, "reload_refused", PS_F_STR("file", path ? path : ""),
               PS_F_STR("path", faults->at[i].path), PS_F_STR("error", faults->at[i].text));
}

/* Reads the file, all or nothing: a fault is logged and changes nothing. Settings that may change
 * while the gateway runs are taken over into `live`, seeds into `store`; of each other one that
 * differs the log says that it is kept. */
static void reload(struct gw_settings *live, const char *path, struct cfg_store *store)
{
    struct gw_settings fresh;
    struct ps_faults faults = {0};

    if (gw_settings_load(path, &fresh, &faults) < 0) {
        refuse_settings(path, &faults);
        return;
    }
    for (size_t i = 0; i < gw_settings_table.count; i++) {
        const struct ps_member *row = &gw_settings_table.members[i];
        if ((row->flags & PS_M_RELOADS) == 0 && !ps_member_same(row, live, &fresh))
            ps_log(PS_LOG_WARN, "setting_kept", PS_F_STR("option", row->name),
                   PS_F_STR("why", "it is read at start only"));
    }
    take_over(live, &fresh, store);
    gw_settings_free(&fresh);
    ps_log(PS_LOG_INFO, "reloaded");
}

static void on_hangup(uv_signal_t *signal, int number)
{
    const struct gw_gateway *gateway = signal->data;

    (void)number;
    reload(gateway->settings, gateway->config_path, gateway->config);
}

void gw_on_started(void *ctx)
{
    struct gw_gateway *gateway = ctx;

    atomic_store(&gateway->report.started, true);
    gw_workers_tell(&gateway->workers, GW_MAIL_OPEN);
    gw_notify_status("Ready: listens on %s port %u, admin on %s port %u",
                     gateway->settings->listen.host, (unsigned)gateway->sockets.port,
                     gateway->settings->admin.host, (unsigned)gateway->sockets.admin_port);
    sd_notify(0, "READY=1");
    ps_log(PS_LOG_INFO, "ready", PS_F_STR("listen", gateway->settings->listen.host),
           PS_F_INT("port", gateway->sockets.port),
           PS_F_STR("admin_listen", gateway->settings->admin.host),
           PS_F_INT("admin_port", gateway->sockets.admin_port),
           PS_F_INT("workers", gateway->workers.count));
}

/* Those that are no part of a snapshot, nor of the ladder. */
static void apply_overrides(struct gw_gateway *gateway)
{
    ord_flow_apply(gateway->flow, gateway->config);
    adm_breakers_apply(&gateway->breakers.known, gateway->config);
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct gw_gateway *gateway = timer->data;

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
    ord_flow_watch(gateway->flow, delay_ms > 0 ? (int64_t)(delay_ms * (double)PS_NS_PER_MS) : 0);
    apply_overrides(gateway);
    gw_keeper_tick(gateway->keeper, gateway->overload->level > 0);
    drain_step(gateway);
}

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_gateway *gateway = ctx;

    if (mail->kind == GW_MAIL_ORDER && mail->value != SALE_TICKET) {
        if (gateway->admin != NULL)
            op_admin_outcome(gateway->admin, mail->handle, (enum oq_outcome)mail->result,
                             mail->ptr);
    } else if (mail->kind == GW_MAIL_EXPLAIN) {
        gw_explaining_mail(&gateway->explaining, mail);
    } else if (mail->kind == GW_MAIL_FOLD) {
        gw_keeper_mail(gateway->keeper, mail);
    } else if (gateway->control != NULL)
        gw_control_mail(mail, gateway->control);
}

/* --- start --- */

static void fill_report(struct gw_gateway *gateway)
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
    gateway->report.tracer = gateway->tracer;
}

static void gather_metrics(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    gw_report_metrics(&gateway->report, gateway->shard);
}

static void tell_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    gw_report_readiness(&((struct gw_gateway *)ctx)->report, ret_readiness);
}

static bool is_published(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    return gw_control_is_published(gateway->control);
}

static json_t *show_settings(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    return gw_settings_json(gateway->settings);
}

static int explain(void *ctx, struct exp_question *question, uint64_t handle)
{
    return gw_explaining_ask(&((struct gw_gateway *)ctx)->explaining, question, handle);
}

static void on_explained(void *ctx, uint64_t handle, json_t *answer)
{
    const struct gw_gateway *gateway = ctx;

    op_admin_explained(gateway->admin, handle, answer);
}

static int new_admin(struct gw_gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    const struct op_deps deps = {.loop = &gateway->loop,
                                 .clock = gateway->clock,
                                 .auth = gateway->auth,
                                 .config = gateway->config,
                                 .plans = gateway->plans,
                                 .view = gateway->control->view,
                                 .known = &gateway->control->sales,
                                 .sales = gateway->sales,
                                 .cluster = gateway->cluster,
                                 .store = gateway->store,
                                 .log = gateway->log,
                                 .owner = GW_OWNER_CONTROL,
                                 .fold = gateway->fold,
                                 .metrics = gateway->metrics,
                                 .samples = &gateway->samples,
                                 .limits_share = adm_limit_table_share(gateway->limits),
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
                                 .explain = explain,
                                 .ctx = gateway,
                                 .settings = show_settings,
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
                                          .send_timeout_ms = settings->http.send_timeout_ms,
                                          .idle_timeout_ms = settings->http.idle_timeout_ms,
                                          .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
                                          .clock = gateway->clock}};

    fill_report(gateway);
    gateway->explaining = (struct gw_explaining){.workers = &gateway->workers,
                                                 .control = gateway->mail.control,
                                                 .on_answer = on_explained,
                                                 .ctx = gateway};
    struct gw_doors doors;
    int err = gw_sockets_admin(&gateway->sockets, &doors);
    if (err < 0)
        return err;
    err = op_admin_new(&deps, doors.at, doors.count, &gateway->admin);
    free(doors.at);
    return err;
}

static int start_workers(struct gw_gateway *gateway)
{
    const struct gw_workers *workers = &gateway->workers;
    const struct gw_worker_deps deps = {.settings = gateway->settings,
                                        .clock = gateway->clock,
                                        .counter = gateway->counter,
                                        .limits = gateway->limits,
                                        .samples = &gateway->samples,
                                        .overload = &gateway->overload->shared,
                                        .loads = adm_signals_loads(gateway->overload->signals),
                                        .breakers = gateway->breakers.redis,
                                        .log = gateway->log,
                                        .flow = gateway->flow,
                                        .fold = gateway->fold,
                                        .metrics = gateway->metrics,
                                        .control_mail = gateway->mail.control,
                                        .tracer = gateway->tracer,
                                        .wakeups = gateway->control->wakeups,
                                        .worker_count = workers->count,
                                        .gateway_id = gateway->dir.gateway_id,
                                        .readiness = gw_report_readiness,
                                        .readiness_ctx = &gateway->report};
    int err = 0;

    for (uint32_t i = 0; err == 0 && i < workers->count; i++) {
        struct gw_doors doors = {0};
        err = gw_sockets_deal(&gateway->sockets, workers->count, i, &doors);
        if (err == 0)
            err = gw_worker_new(&deps, i, &doors, gateway->control->snapshot, &workers->at[i]);
        free(doors.at);
    }
    if (err == 0)
        apply_overrides(gateway); /* before the first buyer comes */
    for (size_t i = 0; err == 0 && i < workers->count; i++)
        err = gw_worker_start(workers->at[i]);
    return err;
}

static int new_overload(struct gw_gateway *gateway)
{
    const struct adm_overload_deps deps = {
        .config = gateway->config,
        .view = gateway->control->view,
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

static int start_threads(struct gw_gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    struct ps_fault fault = {0};
    int err = new_overload(gateway);

    if (err == 0)
        err = gw_tracing_start(settings, gateway->dir.gateway_id, gateway->workers.count,
                               &gateway->tracer);
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
    return err < 0 ? gw_say_fault(&fault, err) : 0;
}

static void start_loop(struct gw_gateway *gateway)
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

static void stop_parts(struct gw_gateway *gateway)
{
    int64_t left_ms = gateway->settings->drain.timeout_ms -
                      (now_ns(gateway) - gateway->drain_started_ns) / PS_NS_PER_MS;

    if (left_ms < FLUSH_MS)
        left_ms = FLUSH_MS;
    leave_at_the_latest(left_ms + CHECKPOINT_MS + LEAVE_MS);
    gw_keeper_finish(gateway->keeper, CHECKPOINT_MS);
    if (oq_log_close(gateway->log, left_ms) < 0) { /* while the workers still take mail */
        /* The log's thread still uses everything: nothing can be freed. */
        ps_log(PS_LOG_ERROR, "log_not_flushed", PS_F_STR("why", "the disk does not answer"));
        ps_log_stop();
        _exit(EXIT_FAILURE);
    }
    gw_workers_tell(&gateway->workers, GW_MAIL_STOP);
    for (size_t i = 0; i < gateway->workers.count; i++)
        gw_worker_join(gateway->workers.at[i]);
    gw_tracing_stop(gateway->tracer);
    gw_explaining_done(&gateway->explaining);
    gateway->workers.count = 0;
    clu_stop(gateway->cluster);
    sale_runs_stop(gateway->sales);
    gw_counter_store_free(gateway->counter, gateway->store); /* answers pending calls */
    op_admin_free(gateway->admin);
    gateway->admin = NULL; /* later outcomes are dropped */
    gw_sockets_remove(gateway->settings, &gateway->sockets);
    gw_control_stop(gateway->control);
    uv_close((uv_handle_t *)&gateway->term, NULL);
    uv_close((uv_handle_t *)&gateway->interrupt, NULL);
    uv_close((uv_handle_t *)&gateway->hangup, NULL);
    uv_close((uv_handle_t *)&gateway->housekeeping, NULL);
    ps_mailbox_close(gateway->mail.control);
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    uv_loop_close(&gateway->loop);
    gw_control_free(gateway->control); /* ends what is in progress, and reports it to the sales */
    plans_free(gateway->plans);
    clu_cluster_free(gateway->cluster);
}

static void free_parts(struct gw_gateway *gateway)
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
    adm_limit_samples_free(&gateway->samples);
    adm_overload_free(gateway->overload);
    ps_metrics_free(gateway->metrics);
    free(gateway->workers.at);
    free(gateway->archive_dir);
    free(gateway->archive_key);
    gw_state_dir_close(&gateway->dir);
}

int gw_gateway_run(struct gw_settings *settings, const char *config_path)
{
    struct gw_gateway *gateway = calloc(1, sizeof *gateway);
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
    signal(SIGHUP, SIG_IGN);  /* until the loop runs: the settings have just been read */
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk, and EFBIG says so */
    if (workers->at == NULL || uv_loop_init(&gateway->loop) != 0 ||
        (err = ps_mailbox_new(&gateway->loop, CONTROL_MAIL, on_mail, NULL, gateway,
                              &gateway->mail.control)) < 0)
        return err;
    gw_notify_status("Starting: reads the order log");
    /* A failed start ends the process, which closes everything. */
    if ((err = gw_open_parts(gateway)) < 0 || (err = gw_open_log(gateway)) < 0 ||
        (err = gw_open_control(gateway)) < 0 || (err = gw_open_sync(gateway)) < 0)
        return err;
    ord_events_go(gateway->events);
    if ((err = start_threads(gateway)) < 0)
        return err;
    start_loop(gateway);
    if ((err = cfg_seed(gateway->config, settings->seed)) < 0)
        return err;
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    stop_parts(gateway);
    free_parts(gateway);
    free(gateway);
    ps_log(PS_LOG_INFO, "stopped");
    return 0;
}
