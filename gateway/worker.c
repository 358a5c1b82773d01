/* One worker thread. Everything it does happens between two events of its loop: a request from the
 * HTTP front, a mail (an outcome of the log, a new policy, a step of the shutdown), or one of three
 * timers. Nothing here waits or locks.
 *
 * Two lists hold requests that are not answered yet: orders that wait for the log (a list in time
 * order, because all wait equally long) and requests that a leaky bucket holds (a heap). Each entry
 * has its own deadline, so that no request can be forgotten. */
#include "gateway/worker.h"

#include "common/log.h"
#include "gateway/backends.h"
#include "gateway/public/status_page.h"
#include "gateway/orders/request.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS        100
#define LARGE_HEADS_NS (60 * PS_NS_PER_S) /* between two warnings */
#define NS_TO_MS(x)    ((uint64_t)(((x) + PS_NS_PER_MS - 1) / PS_NS_PER_MS))

static void swap_policy(struct gw_worker *worker, const struct cfg_snapshot *policy)
{
    struct ps_mail ack = {
        .kind = GW_MAIL_POLICY_ACK, .handle = worker->index, .value = (uint64_t)policy->version};

    worker->policy = policy;
    pub_pages_forget(worker->pages);
    if (ps_mailbox_post(worker->core->control_mail, &ack) < 0)
        ps_log(PS_LOG_ERROR, "policy_ack_not_delivered", PS_F_INT("worker", worker->index));
}

static void stop(struct gw_worker *worker)
{
    gw_counter_store_free(worker->core, worker->store); /* answers what still waits for it */
    worker->store = NULL;
    srv_http_free(worker->http);
    worker->http = NULL;
    ps_mailbox_close(worker->mail);
    worker->mail = NULL;
    uv_close((uv_handle_t *)&worker->order_timer, NULL);
    uv_close((uv_handle_t *)&worker->waiting_timer, NULL);
    uv_close((uv_handle_t *)&worker->tick, NULL);
}

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_worker *worker = ctx;

    switch (mail->kind) {
    case GW_MAIL_ORDER:
        gw_buy_outcome(worker, mail);
        break;
    case GW_MAIL_POLICY:
        swap_policy(worker, mail->ptr);
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

static void on_order_timer(uv_timer_t *timer)
{
    struct gw_worker *worker = timer->data;
    int64_t now = ps_clock_mono_ns(worker->core->clock);

    gw_buy_overdue(worker, now);
    if (worker->first_order != NULL)
        uv_timer_start(timer, on_order_timer, NS_TO_MS(worker->first_order->deadline_ns - now), 0);
}

void gw_worker_await_log(struct gw_worker *worker, struct ord_request *visit, int64_t now_ns)
{
    int64_t timeout_ms = worker->core->settings->log.ack_timeout_ms;

    visit->waits_for_log = true;
    visit->deadline_ns = now_ns + timeout_ms * PS_NS_PER_MS;
    visit->older = worker->last_order;
    visit->newer = NULL;
    if (worker->last_order != NULL)
        worker->last_order->newer = visit;
    else
        worker->first_order = visit;
    worker->last_order = visit;
    worker->orders_open++;
    if (!uv_is_active((uv_handle_t *)&worker->order_timer))
        uv_timer_start(&worker->order_timer, on_order_timer, (uint64_t)timeout_ms, 0);
}

void gw_worker_awaited(struct gw_worker *worker, struct ord_request *visit)
{
    if (!visit->waits_for_log)
        return;
    visit->waits_for_log = false;
    if (visit->older != NULL)
        visit->older->newer = visit->newer;
    else
        worker->first_order = visit->newer;
    if (visit->newer != NULL)
        visit->newer->older = visit->older;
    else
        worker->last_order = visit->older;
    worker->orders_open--;
}

static void on_waiting_timer(uv_timer_t *timer);

static void arm_waiting(struct gw_worker *worker, int64_t now_ns)
{
    int64_t next = ps_heap_next_ns(worker->waiting);

    if (next != INT64_MAX)
        uv_timer_start(&worker->waiting_timer, on_waiting_timer,
                       next > now_ns ? NS_TO_MS(next - now_ns) : 0, 0);
}

static void on_waiting_timer(uv_timer_t *timer)
{
    struct gw_worker *worker = timer->data;
    int64_t now = ps_clock_mono_ns(worker->core->clock);
    uint64_t handle;

    while (ps_heap_take(worker->waiting, now, &handle)) {
        struct srv_request *request = srv_find(worker->http, handle);
        if (request != NULL)
            gw_buy_resume(worker, request);
    }
    arm_waiting(worker, now);
}

int gw_worker_hold(struct gw_worker *worker, uint64_t handle, int64_t until_ns, int64_t now_ns)
{
    int err = ps_heap_put(worker->waiting, until_ns, handle);

    if (err == 0)
        arm_waiting(worker, now_ns);
    return err;
}

/* What the log has decided of this worker's orders is on its way to Redis. (Where Redis is away,
 * who sweeps later finds them.) */
static bool owes(const struct gw_worker *worker)
{
    return worker->core->redis != NULL && inv_redis_ready(worker->store) &&
           inv_redis_busy(worker->store);
}

/* Browsers with many cookies are told 431 where nobody looks: the operator is told as well. */
static void warn_of_large_heads(struct gw_worker *worker, int64_t now_ns)
{
    if (worker->large_heads == 0 || now_ns < worker->large_heads_next_ns)
        return;
    ps_log(PS_LOG_WARN, "heads_too_large", PS_F_INT("refused", (int64_t)worker->large_heads),
           PS_F_STR("why", "a request's head did not fit into http.head_memory_kib, often because "
                           "of cookies: let the CDN or the proxy drop them (nothing here reads "
                           "cookies), or raise the setting"));
    worker->large_heads = 0;
    worker->large_heads_next_ns = now_ns + LARGE_HEADS_NS;
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_worker *worker = timer->data;
    int64_t now = ps_clock_mono_ns(worker->core->clock);

    atomic_store_explicit(&worker->alive_ns, now, memory_order_relaxed);
    warn_of_large_heads(worker, now);
    ps_metric_set(worker->shard, GW_M_CONNECTIONS, 0, (int64_t)srv_http_connections(worker->http));
    ps_metric_set(worker->shard, GW_M_IN_FLIGHT, 0, (int64_t)srv_in_flight(worker->http));
    ps_metric_set(worker->shard, GW_M_WAITING, 0, (int64_t)ps_heap_count(worker->waiting));
    atomic_store_explicit(&worker->idle,
                          worker->draining && srv_http_begun(worker->http) == 0 && !owes(worker),
                          memory_order_relaxed);
}

void gw_worker_count(struct gw_worker *worker, enum ans_verdict verdict)
{
    ps_metric_add(worker->shard, GW_M_ANSWERS, verdict, 1);
}

static void on_refused(int verdict, void *ctx)
{
    struct gw_worker *worker = ctx;
    ps_metric_add(worker->shard, GW_M_REFUSED_EARLY, (size_t)verdict, 1);
    worker->large_heads += verdict == ANS_V_headers_too_large;
}

static bool is_trusted(const struct ps_address *peer, void *ctx)
{
    const struct gw_worker *worker = ctx;
    return ps_cidrs_have(&worker->core->settings->trusted, peer);
}

static void on_gone(struct srv_request *request, void *ctx)
{
    gw_worker_awaited(ctx, request->user);
}

static size_t connections_soft(const struct gw_core *core)
{
    size_t connections = (size_t)core->settings->http.connections / core->worker_count;
    return connections < 16 ? 16 : connections;
}

size_t gw_worker_connections_max(const struct gw_core *core)
{
    size_t soft = connections_soft(core);
    return soft + soft / 4 + 256; /* room to say 503 */
}

static struct srv_settings http_settings(const struct gw_worker *worker)
{
    const struct gw_settings *settings = worker->core->settings;
    size_t connections = connections_soft(worker->core);

    return (struct srv_settings){
        .head_timeout_ms = settings->http.head_timeout_ms,
        .body_timeout_ms = settings->http.body_timeout_ms,
        .idle_timeout_ms = settings->http.idle_timeout_ms,
        .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
        .connections_soft = connections,
        .connections_hard = gw_worker_connections_max(worker->core),
        .requests_max = connections + 256,
        .head_memory = (size_t)settings->http.head_memory_kib * 1024,
        .body_max = SRV_PUBLIC_BODY_MAX,
        .user_size = sizeof(struct ord_request),
        .client_ip_header = settings->client_ip_header[0] ? settings->client_ip_header : NULL,
        .is_trusted = is_trusted,
        .on_gone = on_gone,
        .clock = worker->core->clock,
    };
}

static void init_timer(struct gw_worker *worker, uv_timer_t *timer)
{
    uv_timer_init(&worker->loop, timer);
    timer->data = worker;
}

int gw_worker_new(struct gw_core *core, uint32_t index, int listen_fd,
                  const struct cfg_snapshot *policy, struct gw_worker **ret_worker)
{
    struct gw_worker *worker = calloc(1, sizeof *worker);
    struct srv_settings settings;
    int err = PS_E_NOMEM;

    if (worker == NULL)
        return PS_E_NOMEM;
    worker->core = core;
    worker->index = index;
    worker->policy = policy;
    worker->shard = ps_metrics_shard(core->metrics);
    ps_uuid_source_init(&worker->ids);
    if (worker->shard == NULL || uv_loop_init(&worker->loop) != 0)
        goto fail;
    settings = http_settings(worker);
    if ((err = gw_counter_store(core, &worker->loop, &worker->store)) < 0 ||
        (err = pub_pages_new(&worker->pages)) < 0 ||
        (err = ps_heap_new((size_t)core->settings->http.waiting,
                           (size_t)core->settings->http.waiting, &worker->waiting)) < 0 ||
        /* Every request in flight can have one outcome under way; late ones are as many again at
           most. */
        (err = ps_mailbox_new(&worker->loop,
                              2 * settings.requests_max + (size_t)core->settings->log.queue,
                              on_mail, NULL, worker, &worker->mail)) < 0)
        goto fail_parts;
    init_timer(worker, &worker->order_timer);
    init_timer(worker, &worker->waiting_timer);
    init_timer(worker, &worker->tick);
    atomic_store_explicit(&worker->alive_ns, ps_clock_mono_ns(core->clock), memory_order_relaxed);
    uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
    err = srv_http_new(&worker->loop, &listen_fd, 1, &settings, gw_routes_handle, on_refused,
                       worker, &worker->http);
    if (err < 0)
        goto fail_parts;
    *ret_worker = worker;
    return 0;
fail_parts: /* start-up has failed: the process ends, its loop is not unwound */
    ps_heap_free(worker->waiting);
    pub_pages_free(worker->pages);
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
    ps_heap_free(worker->waiting);
    pub_pages_free(worker->pages);
    free(worker);
}
