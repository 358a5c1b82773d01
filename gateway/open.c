/* Starts the parts, each with what it needs; gateway.c has the order and its reasons. */
#include "gateway/gateway_internal.h"

#include "common/program/log.h"
#include "gateway/config/store/sync.h"
#include "gateway/notify.h"
#include "gateway/orders/order_events.h"
#include "gateway/sale_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int gw_say_fault(const struct ps_fault *fault, int err)
{
    const char *colon = fault->path[0] ? ": " : "";
    const char *text = fault->text[0] ? fault->text : ps_err_text(err);

    fprintf(stderr, "%spenstock: %s%s%s\n", ps_log_priority(PS_LOG_ERROR), fault->path, colon,
            text);
    gw_notify_status("Failed: %s%s%s", fault->path, colon, text);
    return err;
}

static void on_fenced(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    sale_on_fenced(gateway->sales);
}

static int open_counter(struct gw_gateway *gateway)
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
    const struct gw_gateway *gateway = ctx;

    return gateway->stage == GW_RUNNING && gateway->overload != NULL &&
           gateway->overload->level == 0;
}

/* Where archives go, unless the settings say so, and their key. */
static int find_archive(struct gw_gateway *gateway)
{
    const char *dir = gateway->settings->archive.dir;

    gateway->archive_dir = dir != NULL ? strdup(dir) : gw_state_dir_file(&gateway->dir, "archive");
    gateway->archive_key = gw_state_dir_file(&gateway->dir, "archive.key");
    return gateway->archive_dir != NULL && gateway->archive_key != NULL ? 0 : PS_E_NOMEM;
}

static int new_sales(struct gw_gateway *gateway)
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
                                            .after_ms = settings->log.archive_after_h * 3600000,
                                            .rest_ms = settings->clock.archive_rest_s * 1000},
                                .expiry_rest_ms = settings->clock.expiry_rest_s * 1000,
                                .is_calm = is_calm,
                                .ctx = gateway},
        &gateway->sales);
}

static int new_events(struct gw_gateway *gateway)
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

static int new_keeper(struct gw_gateway *gateway)
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

int gw_open_parts(struct gw_gateway *gateway)
{
    const struct gw_settings *settings = gateway->settings;
    int64_t mib = settings->limits_table.mib;
    struct ps_fault fault = {0};
    int err;

    if ((err = gw_state_dir_open(settings->state_dir, &gateway->dir, &fault)) < 0 ||
        (err = gw_sockets_open(settings, gateway->workers.count, &gateway->sockets, &fault)) < 0)
        return gw_state_dir_undo(&gateway->dir, gw_say_fault(&fault, err));
    ps_log_node_set(gateway->dir.gateway_id);
    gw_sockets_raise_limit(settings, gateway->workers.count);
    gw_settings_warn(settings);
    if ((err = adm_limit_table_new((size_t)mib, &gateway->limits)) < 0)
        return gw_state_dir_undo(
            &gateway->dir,
            gw_say_fault(&fault, ps_fault(&fault, err, "limits_table.mib",
                                          "%lld MiB of memory are not to be had", (long long)mib)));
    if ((err = adm_limit_samples_new(gateway->workers.count, ps_clock_mono_ns(gateway->clock),
                                     &gateway->samples)) == 0 &&
        (err = ps_metrics_new(gw_metric_table, GW_M_COUNT, gateway->workers.count + 3,
                              &gateway->metrics)) == 0 &&
        (gateway->shard = ps_metrics_shard(gateway->metrics)) == NULL)
        err = PS_E_NOMEM;
    if (err < 0 || (err = open_counter(gateway)) < 0 || (err = oq_fold_new(&gateway->fold)) < 0 ||
        (err = gw_flow_new(settings, gateway->workers.count, &gateway->flow)) < 0 ||
        (err = new_sales(gateway)) < 0 || (err = new_keeper(gateway)) < 0 ||
        (err = new_events(gateway)) < 0)
        ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err));
    return err < 0 ? gw_state_dir_undo(&gateway->dir, gw_say_fault(&fault, err)) : 0;
}

int gw_open_log(struct gw_gateway *gateway)
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
    return err < 0 ? gw_say_fault(&fault, err) : 0;
}

static int open_cluster(struct gw_gateway *gateway)
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

static int new_control(struct gw_gateway *gateway, struct ps_fault *fault)
{
    return gw_control_new(
        &(struct gw_control_deps){.loop = &gateway->loop,
                                  .config = gateway->config,
                                  .sales = gateway->sales,
                                  .fold = gateway->fold,
                                  .breakers = &gateway->breakers,
                                  .plans = gateway->plans,
                                  .workers = &gateway->workers,
                                  .dns_servers = &gateway->settings->upstream.dns_servers,
                                  .on_started = gw_on_started,
                                  .ctx = gateway},
        &gateway->control, fault);
}

int gw_open_control(struct gw_gateway *gateway)
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
    if ((err = cfg_store_open(
             &(struct cfg_writer_settings){.path = control_path,
                                           .audit_path = audit_path,
                                           .mailbox = gateway->mail.control,
                                           .mail_kind = GW_MAIL_DONE,
                                           .clock = gateway->clock,
                                           .rest_ms =
                                               gateway->settings->clock.archive_rest_s * 1000},
             &gateway->config, &fault)) < 0)
        goto out;
    gateway->settings->bounds.listeners[0].port = gateway->sockets.port; /* as bound */
    gateway->settings->bounds.listeners[1].port = gateway->sockets.admin_port;
    gateway->settings->bounds.gateway = gateway->dir.gateway_id;
    cfg_store_set_bounds(gateway->config, &gateway->settings->bounds);
    if ((err = op_auth_open(
             &(struct op_auth_settings){.tokens_path = tokens,
                                        .first_path = first,
                                        .given_dir = gateway->settings->admin.token_dir,
                                        .clock = gateway->clock},
             &gateway->auth, &made_token, &fault)) < 0 ||
        (err = open_cluster(gateway)) < 0 || (err = gw_open_plans(gateway)) < 0 ||
        (err = new_control(gateway, &fault)) < 0)
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
    return err < 0 ? gw_say_fault(&fault, err) : 0;
}

static bool is_redis_ours(void *ctx)
{
    const struct gw_gateway *gateway = ctx;

    return clu_owns(gateway->cluster);
}

/* With a counter in Redis there may be other gateways, which share the operators' documents. */
int gw_open_sync(struct gw_gateway *gateway)
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
        return gw_say_fault(&fault, ps_fault(&fault, err, "", "start-up: %s", ps_err_text(err)));
    return 0;
}
