/* One worker thread. Everything happens between two events of its loop: a request of the public
 * listener, a mail (an outcome of the log, a new snapshot, a step of the shutdown), or a timer.
 * Nothing here waits or locks. The worker connects the rooms: the server's requests go to the
 * public routes, the log's outcomes to the orders, and each snapshot to the gates. */
#include "gateway/worker.h"

#include "common/program/log.h"
#include "gateway/explain/case.h"
#include "gateway/metrics.h"
#include "gateway/orders/buy.h"
#include "gateway/orders/flow.h"
#include "gateway/public/order_answers.h"
#include "gateway/public/routes.h"
#include "gateway/public/status_page.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS      ADM_TICK_MS
#define TICK_LATE_MS 5 /* by the resolution of timers alone */
/* Buyers wait in the kernel's queue until the sales are served, since they would be refused; but
 * whoever asks how this gateway is must learn it even if the start takes longer. */
#define HOLD_NS PS_NS_PER_S
/* If a worker's loop has not turned for this long, the watchdog is not fed. */
#define DEAD_NS      (5 * PS_NS_PER_S)
#define WARN_EACH_NS (60 * PS_NS_PER_S) /* between two warnings */

static void swap_snapshot(struct gw_worker *worker, const struct snapshot *snapshot)
{
    struct ps_mail ack = {.kind = GW_MAIL_SNAPSHOT_ACK,
                          .handle = worker->index,
                          .value = (uint64_t)snapshot->version};

    worker->gates.snapshot = snapshot;
    up_worker_swap(worker->shop, snapshot->up_table);
    pub_status_pages_forget(worker->status_pages);
    if (ps_mailbox_post(worker->deps.control_mail, &ack) < 0)
        ps_log(PS_LOG_ERROR, "policy_ack_not_delivered", PS_F_INT("worker", worker->index));
}

/* A counter in memory has no breaker. */
static void show_breaker(const struct gw_worker *worker)
{
    struct ps_breaker_view view;

    if (inv_store_breaker(worker->store, &view))
        ps_board_write(&worker->deps.breakers[worker->index], &view, sizeof view);
}

static void force_breaker(const struct gw_worker *worker, const struct ps_mail *mail)
{
    const struct ps_breaker_force force = {.order = (enum ps_breaker_order)mail->result,
                                           .id = mail->handle};

    inv_store_force(worker->store, &force);
    show_breaker(worker);
}

static void stop(struct gw_worker *worker)
{
    gw_counter_store_free(worker->deps.counter, worker->store); /* answers pending calls */
    worker->store = NULL;
    page_worker_stop(&worker->listener.page_worker); /* while its requests still exist */
    srv_http_free(worker->http);
    worker->http = NULL;
    up_worker_free(worker->shop);
    worker->shop = NULL;
    ps_mailbox_close(worker->mail);
    worker->mail = NULL;
    ord_in_flight_stop(worker->orders);
    uv_close((uv_handle_t *)&worker->tick, NULL);
}

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_worker *worker = ctx;

    switch (mail->kind) {
    case GW_MAIL_ORDER:
        ord_buy_outcome(&worker->orders->deps, mail->handle, (enum oq_outcome)mail->result,
                        mail->ptr, (int64_t)mail->value);
        break;
    case GW_MAIL_SNAPSHOT:
        swap_snapshot(worker, mail->ptr);
        break;
    case GW_MAIL_CACHE:
        cache_wakeups_deliver(worker->deps.wakeups, worker->index);
        break;
    case GW_MAIL_BREAKER:
        force_breaker(worker, mail);
        break;
    case GW_MAIL_FOLD: /* no order is held between two events */
        (void)!ps_mailbox_post(worker->deps.control_mail, mail);
        break;
    case GW_MAIL_EXPLAIN:
        if (worker->explainer == NULL)
            (void)!exp_explainer_new(&worker->listener, worker->http, &worker->explainer);
        exp_case_run(mail->ptr, worker->explainer);
        break;
    case GW_MAIL_OPEN:
        srv_http_open(worker->http);
        break;
    case GW_MAIL_LEAVE:
        srv_http_leave(worker->http);
        break;
    case GW_MAIL_DRAIN:
        worker->draining = true;
        srv_drain(worker->http);
        break;
    case GW_MAIL_STOP:
        stop(worker);
        break;
    default:
        break;
    }
}

/* The log's decisions about this worker's orders are on their way to Redis. (If Redis is away, a
 * later sweep finds them.) */
static bool owes(const struct gw_worker *worker)
{
    return inv_store_ready(worker->store) && inv_store_busy(worker->store);
}

/* Browsers with many cookies get 431, which nobody sees: so warn the operator. */
static void warn_of_large_heads(struct gw_worker *worker, int64_t now_ns)
{
    if (worker->large_heads == 0 || now_ns < worker->large_heads_next_ns)
        return;
    ps_log(PS_LOG_WARN, "heads_too_large", PS_F_INT("refused", (int64_t)worker->large_heads),
           PS_F_STR("why", "a request's head did not fit into http.head_max_kib, often because "
                           "of cookies: let the CDN or the proxy drop them (nothing here reads "
                           "cookies), or raise the setting"));
    worker->large_heads = 0;
    worker->large_heads_next_ns = now_ns + WARN_EACH_NS;
}

/* A proxy that is not set up for it gets no answer at all. */
static void warn_of_proxies(struct gw_worker *worker, int64_t now_ns)
{
    char peer[46] = "unix";

    if (worker->proxies.refused == 0 || now_ns < worker->proxies.next_ns)
        return;
    if (!ps_address_is_none(&worker->proxies.peer))
        ps_address_format(&worker->proxies.peer, peer);
    ps_log(PS_LOG_WARN, "proxy_header_refused",
           PS_F_INT("refused", (int64_t)worker->proxies.refused), PS_F_STR("peer", peer),
           PS_F_STR("why", worker->proxies.why));
    worker->proxies.refused = 0;
    worker->proxies.next_ns = now_ns + WARN_EACH_NS;
}

/* --- the load, as the control thread reads it --- */

static void publish(_Atomic(int64_t) *figure, int64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

static void on_turn(int64_t turn_ns, void *ctx)
{
    struct gw_worker *worker = ctx;
    struct adm_worker_load *load = worker->load;

    ps_times_add(&load->turns, turn_ns);
    publish(&load->connections, (int64_t)srv_http_connections(worker->http));
    publish(&load->in_flight, (int64_t)srv_in_flight(worker->http) -
                                  (int64_t)worker->listener.page_worker.waiting_count);
    publish(&load->held, (int64_t)ord_in_flight_held(worker->orders));
    publish(&load->log_oldest_ns, ord_in_flight_oldest_ns(worker->orders));
}

/* A late tick shows that the worker could not run at all, not even to poll: its processor was busy
 * with others, or its quota was used up. */
static void note_late_tick(struct gw_worker *worker, int64_t now_ns)
{
    _Atomic(int64_t) *alive_ns = &worker->load->alive_ns;
    int64_t passed_ns = now_ns - atomic_load_explicit(alive_ns, memory_order_relaxed);

    if (passed_ns > (TICK_MS + TICK_LATE_MS) * PS_NS_PER_MS)
        ps_times_add(&worker->load->turns, passed_ns - TICK_MS * PS_NS_PER_MS);
    publish(alive_ns, now_ns);
}

/* --- overload --- */

/* Gateways that share a log refuse the same users: the secret is the log's name, which contains the
 * random id of the Kafka cluster. With the journal of a single gateway it is this process's own. */
static void salt_shed(struct gw_worker *worker, int64_t wall_ms)
{
    static const char own[] = "shed";
    struct ps_hash_key secret = {{0}};
    struct oq_log_view view;

    oq_log_view(worker->deps.log, &view);
    if (view.shared && view.name != NULL) {
        (void)crypto_generichash(secret.byte, sizeof secret.byte, (const unsigned char *)view.name,
                                 strlen(view.name), NULL, 0);
    } else {
        uint64_t hash = adm_limit_hash(worker->deps.limits, own, sizeof own);
        memcpy(secret.byte, &hash, sizeof hash);
    }
    adm_shed_salt(&worker->shed, &secret, wall_ms);
}

/* For Penstock-Admission: a dictionary of RFC 8941. */
static void tell_admission(struct gw_worker *worker)
{
    struct pub_listener *listener = &worker->listener;
    struct ps_buf text;

    ps_buf_init(&text, listener->admission, sizeof listener->admission);
    for (enum adm_shed_class i = 0; i < ADM_SHED_CLASSES; i++) {
        double level = adm_shed_level(&worker->shed, i);
        ps_metric_set(worker->shard, GW_M_ADMISSION, i,
                      (int64_t)(level * PS_NS_PER_S) / (int64_t)worker->deps.worker_count);
        ps_buf_printf(&text, "%s%s=%.2f", i > 0 ? ", " : "", gw_shed_classes[i], level);
    }
    listener->admission_len = adm_shed_level(&worker->shed, ADM_SHED_OTHER) < 1 ? text.len : 0;
}

static void show_load(const struct gw_worker *worker, const struct srv_load *load)
{
    ps_metric_set(worker->shard, GW_M_UNREAD, 0, (int64_t)load->unread);
    ps_metric_add(worker->shard, GW_M_UNREAD_LEFT, 0, (int64_t)load->left);
    ps_metric_add(worker->shard, GW_M_UNREAD_CLOSED, 0, (int64_t)load->closed);
}

/* Ends a window of overload control. */
static void judge_load(struct gw_worker *worker)
{
    struct srv_load load;
    bool was_active = worker->shed.active;

    srv_http_load(worker->http, &load);
    show_load(worker, &load);
    /* While an operator has turned the controller off, everything is read and admitted. */
    if (atomic_load_explicit(&worker->deps.overload->is_off, memory_order_relaxed)) {
        adm_shed_init(&worker->shed);
        srv_http_set_wait(worker->http, 0);
    } else {
        srv_http_set_wait(worker->http, worker->shed.wait_ns);
        adm_shed_close(&worker->shed,
                       &(struct adm_shed_window){.requests = load.requests,
                                                 .refused = load.refused,
                                                 .waited_ns = load.waited_ns,
                                                 .left = load.left,
                                                 .unread = load.unread_ns > worker->shed.wait_ns,
                                                 .in_turn = !load.late});
    }
    if (!was_active && !worker->shed.active)
        return;
    salt_shed(worker, ps_clock_wall_ms(worker->deps.clock));
    tell_admission(worker);
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_worker *worker = timer->data;
    int64_t now = ps_clock_mono_ns(worker->deps.clock);

    note_late_tick(worker, now);
    adm_limit_sample_tick(worker->gates.sample, now);
    warn_of_large_heads(worker, now);
    warn_of_proxies(worker, now);
    judge_load(worker);
    show_breaker(worker);
    up_worker_tick(worker->shop);
    cache_wakeups_deliver(worker->deps.wakeups, worker->index);
    page_worker_tick(&worker->listener.page_worker);
    atomic_store_explicit(&worker->idle,
                          worker->draining && srv_http_begun(worker->http) == 0 &&
                              !srv_http_expects(worker->http) && !owes(worker),
                          memory_order_relaxed);
}

static void on_request(struct srv_request *request, void *ctx)
{
    (void)ctx;
    pub_routes_handle(request);
}

static void on_refused(int verdict, void *ctx)
{
    struct gw_worker *worker = ctx;
    ps_metric_add(worker->shard, GW_M_REFUSED_EARLY, (size_t)verdict, 1);
    worker->large_heads += verdict == ANS_V_headers_too_large;
}

/* Who may connect to listen.unix is trusted: its mode and group say who. */
static bool is_trusted(const struct ps_address *peer, void *ctx)
{
    const struct gw_worker *worker = ctx;
    return ps_address_is_none(peer) || ps_cidrs_have(&worker->deps.settings->trusted, peer);
}

static void on_proxy(enum srv_proxy_result result, const struct ps_address *peer, const char *why,
                     void *ctx)
{
    struct gw_worker *worker = ctx;

    ps_metric_add(worker->shard, GW_M_PROXY_HEADERS, result, 1);
    if (why == NULL)
        return;
    worker->proxies.refused++;
    worker->proxies.why = why;
    worker->proxies.peer = *peer;
}

static bool keeps_idle(void *ctx)
{
    const struct gw_worker *worker = ctx;

    return adm_feature_on(worker->deps.overload, worker->shard, CFG_FEATURE_long_keep_alive);
}

static bool on_head(struct srv_request *request, void *ctx)
{
    struct gw_worker *worker = ctx;

    return pub_routes_on_head(request, &worker->listener);
}

static bool on_part(struct srv_request *request, struct ps_str part, bool last, void *ctx)
{
    (void)ctx;
    return page_take_part(&((struct pub_request *)request->user)->page, part, last);
}

static void on_room(struct srv_request *request, void *ctx)
{
    (void)ctx;
    page_make_room(&((struct pub_request *)request->user)->page);
}

static void on_gone(struct srv_request *request, void *ctx)
{
    struct pub_request *gone = request->user;

    (void)ctx;
    page_forget(&gone->page);
    ord_in_flight_leave(&gone->order);
}

static size_t connections_soft(const struct gw_settings *settings, size_t worker_count)
{
    size_t connections = (size_t)settings->http.connections / worker_count;

    return connections < 16 ? 16 : connections;
}

size_t gw_worker_connections_max(const struct gw_settings *settings, size_t worker_count)
{
    size_t soft = connections_soft(settings, worker_count);

    return soft + soft / 4 + 256; /* room to answer 503 */
}

/* A worker's share: the kernel spreads the connections of an address unevenly over the workers. */
static size_t connections_address(const struct gw_settings *settings, size_t worker_count)
{
    size_t most = (size_t)settings->http.connections_per_address;
    size_t share = most / worker_count;

    return most == 0 || worker_count == 1 ? most : share + share / 4 + 16;
}

static struct srv_settings http_settings(const struct gw_worker *worker)
{
    const struct gw_settings *settings = worker->deps.settings;
    size_t worker_count = worker->deps.worker_count;
    size_t connections = connections_soft(settings, worker_count);

    return (struct srv_settings){
        .head_timeout_ms = settings->http.head_timeout_ms,
        .body_timeout_ms = settings->http.body_timeout_ms,
        .send_timeout_ms = settings->http.send_timeout_ms,
        .idle_timeout_ms = settings->http.idle_timeout_ms,
        .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
        .connections_soft = connections,
        .connections_hard = gw_worker_connections_max(settings, worker_count),
        .connections_address = connections_address(settings, worker_count),
        .requests_max = connections + 256,
        .head_max = (size_t)settings->http.head_max_kib * 1024,
        .target_max = (size_t)settings->http.target_max,
        .is_page = cfg_path_is_page,
        .body_max = SRV_PUBLIC_BODY_MAX,
        .gather_max = (size_t)settings->upstream.body_gather_kib * 1024,
        .user_size = sizeof(struct pub_request),
        .wait_ns = ADM_SHED_WAIT_NS,
        .round_ns = ADM_SHED_ROUND_NS,
        .client_ip_header = settings->client_ip_header[0] ? settings->client_ip_header : NULL,
        .proxy_versions = (enum ps_proxy_versions)settings->listen.proxy_protocol,
        .proxy_trusts_clients = settings->listen.proxy_protocol_trusts_clients,
        .on_proxy = on_proxy,
        .hold_ns = HOLD_NS,
        .needs_no_host = cfg_path_is_probe,
        .is_trusted = is_trusted,
        .keeps_idle = keeps_idle,
        .on_request = on_request,
        .on_refused = on_refused,
        .on_gone = on_gone,
        .on_head = on_head,
        .on_part = on_part,
        .on_room = on_room,
        .on_turn = on_turn,
        .clock = worker->deps.clock,
    };
}

/* NULL: it is off. */
static struct ord_tracing *tracing_of(struct gw_worker *worker)
{
    return worker->tracing.tracer != NULL ? &worker->tracing : NULL;
}

static void fill_tracing(struct gw_worker *worker)
{
    const struct gw_settings *settings = worker->deps.settings;

    worker->tracing =
        (struct ord_tracing){.tracer = worker->deps.tracer,
                             .producer = worker->index,
                             .rules = {.accepted_one_in = settings->tracing.accepted_one_in,
                                       .refused_one_in = settings->tracing.refused_one_in,
                                       .other_one_in = settings->tracing.other_one_in,
                                       .follow_sampled = settings->tracing.follow_sampled}};
    ps_span_ids_init(&worker->tracing.ids);
}

static void fill_gates(struct gw_worker *worker, const struct snapshot *snapshot)
{
    const struct gw_worker_deps *deps = &worker->deps;

    worker->gates =
        (struct adm_gates){.limits = deps->limits,
                           .sample = &deps->samples->at[worker->index],
                           .shed = &worker->shed,
                           .overload = deps->overload,
                           .fold = deps->fold,
                           .log = deps->log,
                           .backlog_percent = (unsigned)deps->settings->log.backlog_percent,
                           .log_limit = &deps->flow->log,
                           .store_limit = ord_flow_store(deps->flow, worker->index),
                           .shard = worker->shard,
                           .worker = worker->index,
                           .snapshot = snapshot};
    static_assert(ADM_LIMIT_WORKERS_MAX >= UP_WORKERS_MAX, "each worker has cells of its own");
}

static void fill_listener(struct gw_worker *worker)
{
    const struct gw_settings *settings = worker->deps.settings;

    worker->listener = (struct pub_listener){.clock = worker->deps.clock,
                                             .trusted = &settings->trusted,
                                             .client_ip_header = settings->client_ip_header[0] != 0,
                                             .cors_origins = &settings->cors.allow_origins,
                                             .gates = &worker->gates,
                                             .orders = worker->orders,
                                             .load = worker->load,
                                             .status_pages = worker->status_pages,
                                             .shard = worker->shard,
                                             .access_api.every = settings->access_log.every,
                                             .access_is_on = settings->access_log.every > 0,
                                             .access_has_addresses = settings->access_log.addresses,
                                             .tracing = tracing_of(worker),
                                             .readiness = worker->deps.readiness,
                                             .readiness_ctx = worker->deps.readiness_ctx};
    for (size_t i = 0; i < CFG_ROUTE_CLASSES; i++) {
        worker->listener.access_pages[i].every = settings->access_log.pages[i];
        worker->listener.access_is_on |= settings->access_log.pages[i] > 0;
    }
    worker->listener.page_worker =
        (struct page_worker){.clock = worker->deps.clock,
                             .gates = &worker->gates,
                             .shop = worker->shop,
                             .shard = worker->shard,
                             .count = pub_request_count_page,
                             .count_refused = pub_request_count_refused_page,
                             .count_broken = pub_request_count_broken};
    pub_refs_init(&worker->listener.refs, worker->deps.gateway_id, worker->index);
    page_worker_init(&worker->listener.page_worker);
}

static int new_orders(struct gw_worker *worker)
{
    const struct gw_worker_deps *deps = &worker->deps;
    const struct ord_deps ord_deps = {.loop = &worker->loop,
                                      .clock = deps->clock,
                                      .gates = &worker->gates,
                                      .store = worker->store,
                                      .log = deps->log,
                                      .load = worker->load,
                                      .ids = &worker->ids,
                                      .owner = worker->index,
                                      .ack_timeout_ms = deps->settings->log.ack_timeout_ms,
                                      .held_max = (size_t)deps->settings->http.waiting,
                                      .tracing = tracing_of(worker),
                                      .caller = pub_order_answers_caller(worker->http),
                                      .on_due = ord_buy_on_due,
                                      .on_overdue = ord_buy_on_overdue};

    return ord_in_flight_new(&ord_deps, &worker->orders);
}

static int new_shop(struct gw_worker *worker, const struct snapshot *snapshot)
{
    const struct up_worker_deps deps = {
        .loop = &worker->loop, .clock = worker->deps.clock, .index = worker->index};
    int err = up_worker_new(&deps, &worker->shop);

    if (err == 0)
        up_worker_swap(worker->shop, snapshot->up_table);
    return err;
}

int gw_worker_new(const struct gw_worker_deps *deps, uint32_t index, const struct gw_doors *doors,
                  const struct snapshot *snapshot, struct gw_worker **ret_worker)
{
    struct gw_worker *worker = calloc(1, sizeof *worker);
    struct srv_settings settings;
    int err = PS_E_NOMEM;

    if (worker == NULL)
        return PS_E_NOMEM;
    worker->deps = *deps;
    worker->index = index;
    worker->load = &deps->loads[index];
    worker->shard = ps_metrics_shard(deps->metrics);
    ps_uuid_source_init(&worker->ids);
    if (worker->shard == NULL || uv_loop_init(&worker->loop) != 0)
        goto fail;
    adm_shed_init(&worker->shed);
    fill_gates(worker, snapshot);
    fill_tracing(worker);
    settings = http_settings(worker);
    settings.ctx = worker;
    if ((err = gw_counter_store(deps->counter, &worker->loop, true, &worker->store)) < 0 ||
        (err = pub_status_pages_new(&worker->status_pages)) < 0 ||
        (err = new_shop(worker, snapshot)) < 0 ||
        /* Every request in flight can have one outcome on its way; late ones are at most as many
         * again. */
        (err = ps_mailbox_new(&worker->loop,
                              2 * settings.requests_max + (size_t)deps->settings->log.queue,
                              on_mail, NULL, worker, &worker->mail)) < 0 ||
        (err = srv_http_new(&worker->loop, doors->at, doors->count, &settings, &worker->http)) <
            0 ||
        (err = new_orders(worker)) < 0)
        goto fail_parts;
    fill_listener(worker);
    tell_admission(worker);
    uv_timer_init(&worker->loop, &worker->tick);
    worker->tick.data = worker;
    publish(&worker->load->alive_ns, ps_clock_mono_ns(deps->clock));
    show_breaker(worker);
    uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
    *ret_worker = worker;
    return 0;
fail_parts: /* the start has failed: the process ends, its loop is not unwound */
    pub_status_pages_free(worker->status_pages);
fail:
    free(worker);
    return err;
}

static void run(void *arg)
{
    struct gw_worker *worker = arg;
    uv_run(&worker->loop, UV_RUN_DEFAULT);
}

int gw_worker_start(struct gw_worker *worker)
{
    return uv_thread_create(&worker->thread, run, worker) == 0 ? 0 : PS_E_NOMEM;
}

int gw_worker_post(struct gw_worker *worker, const struct ps_mail *mail)
{
    return ps_mailbox_post(worker->mail, mail);
}

void gw_worker_join(struct gw_worker *worker)
{
    if (worker == NULL)
        return;
    uv_thread_join(&worker->thread);
    uv_loop_close(&worker->loop);
    ord_in_flight_free(worker->orders);
    pub_status_pages_free(worker->status_pages);
    exp_explainer_free(worker->explainer);
    free(worker);
}

/* --- all of them --- */

void gw_workers_tell(const struct gw_workers *workers, enum gw_mail_kind kind)
{
    for (size_t i = 0; i < workers->count; i++) {
        struct ps_mail mail = {.kind = kind};
        if (gw_worker_post(workers->at[i], &mail) < 0)
            ps_log(PS_LOG_ERROR, "worker_takes_no_mail", PS_F_INT("worker", i));
    }
}

bool gw_workers_alive(const struct gw_workers *workers, int64_t now_ns)
{
    for (size_t i = 0; i < workers->count; i++)
        if (now_ns - atomic_load_explicit(&workers->at[i]->load->alive_ns, memory_order_relaxed) >
            DEAD_NS)
            return false;
    return true;
}

bool gw_workers_idle(const struct gw_workers *workers)
{
    for (size_t i = 0; i < workers->count; i++)
        if (!atomic_load_explicit(&workers->at[i]->idle, memory_order_relaxed))
            return false;
    return true;
}
