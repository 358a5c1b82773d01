/* Start-up in order, and the end in reverse order. Each part says what it needs by when it is
 * started:
 *
 *   state directory -> listen sockets -> counter, fold -> order log (reads everything back into the
 * fold) -> control store, tokens
 *   -> control thread's memory -> admin listener, workers -> loop
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
#include "gateway/config/sync.h"
#include "gateway/admin/admin.h"
#include "gateway/mail.h"
#include "gateway/sale_host.h"
#include "gateway/control.h"
#include "gateway/config/seed.h"
#include "gateway/state_dir.h"
#include "gateway/cluster/cluster.h"
#include "gateway/worker.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define WORKERS_MAX  256
#define CONTROL_MAIL 16384
#define HOUSEKEEP_MS 100
#define FDS_A_WORKER 16   /* of its loop, and its links */
#define FDS_BESIDE   1024 /* of the admin listener, the log and the files */
#define FLUSH_MS     2000 /* at least, for the log to write what it has */
#define LEAVE_MS     2500 /* after that, for everything else */
#define WORKER_DEAD_NS                                                                             \
    (5 * PS_NS_PER_S) /* a worker whose loop has not turned for so long keeps the watchdog from    \
                         being fed */

enum stage { RUNNING, DELAYING, FINISHING };

struct gateway {
    struct gw_settings *settings;
    const char *config_path;
    struct gw_core core;
    struct gw_state_dir dir;
    struct cfg_store *store;
    struct op_auth *auth;
    struct gw_control *control;
    struct adm_share_meter meter;
    struct op_admin *admin;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t housekeeping;
    int fds[WORKERS_MAX];
    int admin_fd;
    uint16_t port, admin_port;
    enum stage stage;
    int64_t drain_started_ns;
    bool hurry; /* drain.delay_ms is cut short */
    bool said_ready;
    uint64_t watchdog_us;
    int64_t watchdog_fed_ns;
};

static int64_t now_ns(const struct gateway *gateway)
{
    return ps_clock_mono_ns(gateway->core.clock);
}

/* --- the end --- */

static void tell_workers(struct gateway *gateway, enum gw_mail_kind kind)
{
    for (size_t i = 0; i < gateway->core.worker_count; i++) {
        struct ps_mail mail = {.kind = kind};
        if (gw_worker_post(gateway->core.workers[i], &mail) < 0)
            ps_log(PS_LOG_ERROR, "worker_takes_no_mail", PS_F_INT("worker", i));
    }
}

static void begin_drain(void *ctx)
{
    struct gateway *gateway = ctx;

    if (gateway->stage != RUNNING) { /* asked twice: no more delay, but nobody is cut off */
        gateway->hurry = true;
        return;
    }
    gateway->stage = DELAYING;
    gateway->drain_started_ns = now_ns(gateway);
    atomic_store(&gateway->core.draining, true);
    sd_notify(0, "STOPPING=1");
    ps_log(PS_LOG_INFO, "draining", PS_F_INT("delay_ms", gateway->settings->drain.delay_ms));
}

static bool all_idle(const struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->core.worker_count; i++)
        if (!atomic_load_explicit(&gateway->core.workers[i]->idle, memory_order_relaxed))
            return false;
    return op_admin_idle(gateway->admin);
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
        tell_workers(gateway, GW_MAIL_DRAIN);
    } else if (gateway->stage == FINISHING &&
               (all_idle(gateway) || passed_ms >= settings->drain.timeout_ms)) {
        if (!all_idle(gateway))
            ps_log(PS_LOG_WARN, "drain_timeout", PS_F_STR("why", "requests were still in flight"));
        uv_stop(&gateway->loop);
    }
}

/* --- SIGHUP --- */

static void reload_live(struct gateway *gateway, struct gw_settings *fresh)
{
    struct gw_settings *live = gateway->settings;
    struct ps_option_list hosts = live->admin.hosts;

    live->admin.hosts = fresh->admin.hosts; /* only this thread reads them */
    fresh->admin.hosts = hosts;
    live->admin.metrics_open = fresh->admin.metrics_open;
    live->logging.level = fresh->logging.level;
    ps_log_level_set((enum ps_log_level)live->logging.level);
    cfg_seed(gateway->store, fresh->sales, fresh->policy);
}

static void refuse_reload(const struct gateway *gateway, const struct ps_fault *fault)
{
    ps_log(PS_LOG_ERROR, "reload_refused",
           PS_F_STR("file", gateway->config_path ? gateway->config_path : ""),
           PS_F_STR("path", fault->path), PS_F_STR("error", fault->text));
}

static void on_hangup(uv_signal_t *signal, int number)
{
    struct gateway *gateway = signal->data;
    struct gw_settings fresh;
    struct ps_faults faults = {0};

    (void)number;
    if (gw_settings_load(gateway->config_path, &fresh, &faults) < 0) {
        for (size_t i = 0; i < faults.count && i < PS_FAULTS_KEPT; i++)
            refuse_reload(gateway, &faults.at[i]);
        return;
    }
    for (size_t i = 0; i < gw_option_count; i++)
        if (!gw_options[i].live && ps_option_differs(&gw_options[i], gateway->settings, &fresh))
            ps_log(PS_LOG_WARN, "setting_kept", PS_F_STR("option", gw_options[i].path),
                   PS_F_STR("why", "it is read at start only"));
    reload_live(gateway, &fresh);
    gw_settings_free(&fresh);
    ps_log(PS_LOG_INFO, "reloaded");
}

/* --- each 100 ms --- */

static bool workers_alive(const struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->core.worker_count; i++)
        if (now_ns(gateway) -
                atomic_load_explicit(&gateway->core.workers[i]->alive_ns, memory_order_relaxed) >
            WORKER_DEAD_NS)
            return false;
    return true;
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct gateway *gateway = timer->data;

    if (!gateway->said_ready && atomic_load(&gateway->core.ready)) {
        gateway->said_ready = true;
        sd_notify(0, "READY=1");
        ps_log(PS_LOG_INFO, "ready", PS_F_STR("listen", gateway->settings->listen.host),
               PS_F_INT("port", gateway->port),
               PS_F_STR("admin_listen", gateway->settings->admin.host),
               PS_F_INT("admin_port", gateway->admin_port),
               PS_F_INT("workers", gateway->core.worker_count));
    }
    if (gateway->watchdog_us > 0 &&
        (now_ns(gateway) - gateway->watchdog_fed_ns) / 1000 > (int64_t)(gateway->watchdog_us / 3) &&
        workers_alive(gateway)) {
        gateway->watchdog_fed_ns = now_ns(gateway);
        sd_notify(0, "WATCHDOG=1");
    }
    drain_step(gateway);
}

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct gateway *gateway = ctx;

    if (mail->kind == GW_MAIL_ORDER && mail->value != SALE_TICKET) {
        if (gateway->admin != NULL)
            op_admin_outcome(gateway->admin, mail->handle, (enum oq_outcome)mail->result,
                             mail->ptr);
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

static void raise_fd_limit(const struct gw_core *core)
{
    struct rlimit limit;
    rlim_t wanted =
        (rlim_t)core->worker_count * ((rlim_t)gw_worker_connections_max(core) + FDS_A_WORKER) +
        FDS_BESIDE;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (limit.rlim_max < wanted) { /* root may raise it, others take what there is */
        struct rlimit more = {.rlim_cur = wanted, .rlim_max = wanted};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return;
        ps_log(PS_LOG_WARN, "fd_limit_low", PS_F_INT("limit", limit.rlim_max),
               PS_F_INT("wanted", wanted),
               PS_F_STR("why",
                        "http.connections needs more file descriptors than this process may open"));
    }
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)!setrlimit(RLIMIT_NOFILE, &limit);
}

static int listen_on(const char *listener, const char *host, int64_t port, size_t count, int *fds,
                     uint16_t *ret_port)
{
    struct ps_fault fault;
    char name[16];
    int err = srv_listen(host, (uint16_t)port, count, fds, ret_port);

    snprintf(name, sizeof name, "%s.%s", listener, err == PS_E_INVALID ? "host" : "port");
    if (err == PS_E_BUSY)
        ps_fault(&fault, err, name, "%s port %lld is taken by another program", host,
                 (long long)port);
    else if (err == PS_E_INVALID)
        ps_fault(&fault, err, name, "%s is no address of this machine", host);
    else if (err < 0)
        ps_fault(&fault, err, name, "cannot listen on %s port %lld: %s", host, (long long)port,
                 ps_err_text(err));
    return err < 0 ? say(&fault, err) : 0;
}

static int open_sockets(struct gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    int err = listen_on("listen", settings->listen.host, settings->listen.port,
                        gateway->core.worker_count, gateway->fds, &gateway->port);

    if (err == 0)
        err = listen_on("admin", settings->admin.host, settings->admin.port, 1, &gateway->admin_fd,
                        &gateway->admin_port);
    return err;
}

static int new_sales(struct gw_core *core)
{
    return sale_runs_new(&(struct sale_settings){.clock = core->clock,
                                                 .gateway_id = core->gateway_id,
                                                 .store = core->control_store,
                                                 .fold = core->fold,
                                                 .metrics = core->metrics,
                                                 .mailbox = core->control_mail,
                                                 .mail_kind = GW_MAIL_SALES,
                                                 .owner = GW_OWNER_CONTROL},
                         &core->sales);
}

static int open_parts(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;
    int64_t mib = gateway->settings->limits_table.mib;
    struct ps_uuid_source ids;
    struct ps_fault fault = {0};
    int err;

    if ((err = gw_state_dir_open(gateway->settings->state_dir, &gateway->dir, &fault)) < 0)
        return say(&fault, err);
    memcpy(core->gateway_id, gateway->dir.gateway_id, sizeof core->gateway_id);
    if ((err = open_sockets(gateway)) < 0)
        return err;
    ps_uuid_source_init(&ids);
    ps_uuid_next(&ids, ps_clock_wall_ms(core->clock), &core->start);
    if ((err = adm_limit_table_new((size_t)mib, &core->limits)) < 0)
        return say(&fault, ps_fault(&fault, err, "limits_table.mib",
                                    "%lld MiB of memory are not to be had", (long long)mib));
    if ((err = ps_metrics_new(gw_metric_table, GW_M_COUNT, core->worker_count + 3,
                              &core->metrics)) < 0 ||
        (err = gw_counter_open(core)) < 0 ||
        (err = gw_counter_store(core, &gateway->loop, &core->control_store)) < 0 ||
        (err = oq_fold_new(&core->fold)) < 0 || (err = new_sales(core)) < 0 ||
        (err = gw_events_new(core)) < 0)
        ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err));
    return err < 0 ? say(&fault, err) : 0;
}

static int open_log(struct gateway *gateway)
{
    struct ps_fault fault = {0};
    int err = gw_log_open(&gateway->core, &gateway->dir, &fault);

    return err < 0 ? say(&fault, err) : 0;
}

/* --- what a heartbeat tells --- */

static int64_t measure_demand(int64_t now_ns, void *ctx)
{
    struct gateway *gateway = ctx;

    return adm_share_demand(
        &gateway->meter, ps_metric_read(gateway->core.metrics, GW_M_LIMIT_SHARED_ASKED, 0), now_ns);
}

static void set_share(int64_t own, const int64_t *all, size_t count, int64_t now_ns, void *ctx)
{
    const struct gateway *gateway = ctx;

    adm_share_set(adm_limit_table_share(gateway->core.limits), adm_share_of(own, all, count),
                  now_ns);
}

static int64_t tell_policy_version(void *ctx)
{
    const struct gateway *gateway = ctx;

    return cfg_store_revision(gateway->store);
}

static const struct clu_duties duties = {
    .demand = measure_demand, .on_demands = set_share, .policy_version = tell_policy_version};

static int open_cluster(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;
    int err = clu_cluster_new(&(struct clu_settings){.clock = core->clock,
                                                     .start = core->start,
                                                     .gateway_id = core->gateway_id,
                                                     .store = core->control_store,
                                                     .log = core->log,
                                                     .duties = &duties,
                                                     .ctx = gateway},
                              &core->cluster);

    if (err == 0)
        sale_runs_open(core->sales, core->log, core->cluster);
    return err;
}

static int open_control(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;
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
                                                            .mailbox = core->control_mail,
                                                            .mail_kind = GW_MAIL_DONE,
                                                            .clock = core->clock},
                              &gateway->store, &fault)) < 0 ||
        (err = op_auth_open(&(struct op_auth_settings){.tokens_path = tokens,
                                                       .first_path = first,
                                                       .clock = core->clock},
                            &gateway->auth, &made_token, &fault)) < 0 ||
        (err = open_cluster(gateway)) < 0 ||
        (err = gw_control_new(core, &gateway->loop, gateway->store, gateway->auth,
                              &gateway->control, &fault)) < 0)
        goto out;
    host = gw_sale_host(gateway->control);
    sale_runs_start(core->sales, &host);
    if (made_token)
        ps_log(PS_LOG_INFO, "admin_token_made", PS_F_STR("file", first));
out:
    free(control_path);
    free(audit_path);
    free(tokens);
    free(first);
    return err < 0 ? say(&fault, err) : 0;
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
    err = gw_control_share(gateway->control, &settings->redis, &redis);
    if (err < 0)
        return say(&fault, ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err)));
    return 0;
}

static int start_threads(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;
    struct ps_fault fault = {0};
    struct op_deps deps = gw_control_admin_deps(gateway->control);

    deps.drain = begin_drain;
    deps.drain_ctx = gateway;
    int err = op_admin_new(&deps, gateway->admin_fd, &gateway->admin);

    for (uint32_t i = 0; err == 0 && i < core->worker_count; i++)
        err = gw_worker_new(core, i, gateway->fds[i], cfg_store_snapshot(gateway->store),
                            &core->workers[i]);
    for (size_t i = 0; err == 0 && i < core->worker_count; i++)
        err = gw_worker_start(core->workers[i]);
    if (err == PS_E_NOMEM)
        ps_fault(&fault, err, "http.connections",
                 "no memory for %lld connections of %zu workers, with http.waiting %lld each",
                 (long long)core->settings->http.connections, core->worker_count,
                 (long long)core->settings->http.waiting);
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
    uv_timer_start(&gateway->housekeeping, on_housekeeping, HOUSEKEEP_MS, HOUSEKEEP_MS);
    if (sd_watchdog_enabled(0, &gateway->watchdog_us) <= 0)
        gateway->watchdog_us = 0;
}

static bool holds_loopback(const struct ps_cidr *range)
{
    static const struct ps_address v4 = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
                                   v6 = {{[15] = 1}};

    return ps_address_is_loopback(&range->address) || ps_cidr_has(range, &v4) ||
           ps_cidr_has(range, &v6);
}

static bool is_reachable(const char *host)
{
    struct ps_address address;

    return ps_address_parse(host, strlen(host), false, &address) == 0 &&
           !ps_address_is_loopback(&address);
}

static void warn_of_trust(const struct gw_settings *settings)
{
    bool open = is_reachable(settings->listen.host);

    if (is_reachable(settings->admin.host))
        ps_log(PS_LOG_WARN, "admin_in_clear", PS_F_STR("host", settings->admin.host));
    for (size_t i = 0; open && i < settings->trusted.count; i++)
        if (ps_cidr_is_everybody(&settings->trusted.at[i]))
            ps_log(PS_LOG_WARN, "everybody_is_trusted",
                   PS_F_STR("why", "trusted_proxies holds all addresses, and the public listener "
                                   "is not loopback's: whoever reaches it can be any user, from "
                                   "any address"));
        else if (holds_loopback(&settings->trusted.at[i]))
            ps_log(PS_LOG_WARN, "loopback_is_trusted",
                   PS_F_STR("why", "trusted_proxies holds loopback, but the public listener does "
                                   "not: whoever runs a program on this machine can be any user"));
}

/* --- the end, continued --- */

static void on_alarm(int number)
{
    static const char text[] = "penstock: the disk does not answer; left without waiting for it\n";

    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    (void)number;
    if (poll(&out, 1, 0) > 0) /* its reader may stand still, too */
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILURE);
}

/* A thread that hangs in the disk must not keep the process. What it has not written is what a
 * kill would have lost: nothing that anybody was promised. */
static void leave_at_the_latest(int64_t in_ms)
{
    struct itimerval timer = {.it_value = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000}};

    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop_parts(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;
    int64_t left_ms = gateway->settings->drain.timeout_ms -
                      (now_ns(gateway) - gateway->drain_started_ns) / PS_NS_PER_MS;

    if (left_ms < FLUSH_MS)
        left_ms = FLUSH_MS;
    leave_at_the_latest(left_ms + LEAVE_MS);
    if (oq_log_close(core->log, left_ms) < 0) { /* while the workers still take mail */
        /* The log's thread is still at work on everything: nothing can be taken apart. */
        ps_log(PS_LOG_ERROR, "log_not_flushed", PS_F_STR("why", "the disk does not answer"));
        ps_log_stop();
        _exit(EXIT_FAILURE);
    }
    tell_workers(gateway, GW_MAIL_STOP);
    for (size_t i = 0; i < core->worker_count; i++)
        gw_worker_join(core->workers[i]);
    core->worker_count = 0;
    clu_stop(core->cluster);
    sale_runs_stop(core->sales);
    gw_counter_store_free(core, core->control_store); /* answers what still waits for it */
    op_admin_free(gateway->admin);
    gateway->admin = NULL; /* outcomes that come now find nobody */
    gw_control_stop(gateway->control);
    uv_close((uv_handle_t *)&gateway->term, NULL);
    uv_close((uv_handle_t *)&gateway->interrupt, NULL);
    uv_close((uv_handle_t *)&gateway->hangup, NULL);
    uv_close((uv_handle_t *)&gateway->housekeeping, NULL);
    ps_mailbox_close(core->control_mail);
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    uv_loop_close(&gateway->loop);
    gw_control_free(gateway->control); /* ends what is under way, and sales are told of that */
    clu_cluster_free(core->cluster);
}

static void free_parts(struct gateway *gateway)
{
    struct gw_core *core = &gateway->core;

    op_auth_free(gateway->auth);
    oq_log_free(core->log);
    ord_events_free(core->events);
    sale_runs_free(core->sales);
    oq_fold_free(core->fold);
    gw_counter_close(core);
    adm_limit_table_free(core->limits);
    ps_metrics_free(core->metrics);
    free(core->workers);
    gw_state_dir_close(&gateway->dir);
}

int gw_gateway_run(struct gw_settings *settings, const char *config_path)
{
    struct gateway *gateway = calloc(1, sizeof *gateway);
    struct gw_core *core = gateway ? &gateway->core : NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int err = PS_E_NOMEM;

    if (gateway == NULL)
        return PS_E_NOMEM;
    gateway->settings = settings;
    gateway->config_path = config_path;
    core->settings = settings;
    core->clock = &ps_clock_system;
    core->worker_count = settings->workers > 0 ? (size_t)settings->workers
                         : cores > 0           ? (size_t)cores
                                               : 1;
    if (core->worker_count > WORKERS_MAX) /* a machine of more cores */
        core->worker_count = WORKERS_MAX;
    core->workers = calloc(core->worker_count, sizeof *core->workers);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);  /* until the loop runs: what is to be read again has just been read */
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk, and EFBIG says so */
    if (core->workers == NULL || uv_loop_init(&gateway->loop) != 0 ||
        (err = ps_mailbox_new(&gateway->loop, CONTROL_MAIL, on_mail, NULL, gateway,
                              &core->control_mail)) < 0)
        return err;
    raise_fd_limit(core);
    warn_of_trust(settings);
    /* A start that fails ends the process: what was opened is closed by its end. */
    if ((err = open_parts(gateway)) < 0 || (err = open_log(gateway)) < 0 ||
        (err = open_control(gateway)) < 0 || (err = open_sync(gateway)) < 0)
        return err;
    ord_events_go(core->events);
    if ((err = start_threads(gateway)) < 0)
        return err;
    start_loop(gateway);
    cfg_seed(gateway->store, settings->sales, settings->policy);
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    stop_parts(gateway);
    free_parts(gateway);
    free(gateway);
    ps_log(PS_LOG_INFO, "stopped");
    return 0;
}
