/* One request and its answer: chooses an endpoint, retries on another one, and reports the
 * outcome. */
#include "gateway/upstream/forward_internal.h"

#include "common/text/buf.h"
#include "common/http/write.h"
#include "gateway/upstream/retry.h"
#include "gateway/upstream/route_figures.h"

#include <stdlib.h>
#include <string.h>

#define FRAMING_MAX    64 /* bytes that follow the fields of a head */
#define SENDING_MAX_NS (24 * 3600 * PS_NS_PER_S)

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- Its end --- */

struct up_hold *up_hold_keep(struct up_hold *hold)
{
    hold->users++;
    return hold;
}

struct up_hold *up_worker_hold(struct up_worker *worker)
{
    return up_hold_keep(worker->current);
}

void up_hold_release(struct up_hold *hold)
{
    if (hold == NULL || --hold->users > 0)
        return;
    up_table_drop(hold->table);
    free(hold);
}

static void free_exchange(struct up_exchange *exchange)
{
    up_hold_release(exchange->hold);
    free(exchange->first);
    free(exchange);
}

static struct up_pool_cell *pool_cell_of(const struct up_exchange *exchange)
{
    return &exchange->pool->pool->cells[exchange->worker->deps.index];
}

/* The endpoint closed a kept connection before it received the request: not a byte of an answer
 * came. That says nothing about the endpoint, which may be tried again on a new connection. */
static bool was_stale(const struct up_exchange *exchange, enum up_outcome outcome)
{
    return outcome == UP_OUTCOME_reset && exchange->connection->reused &&
           exchange->connection->kept_len == 0;
}

/* Ends the service by this endpoint. Call it before the client gets the end of the answer, or the
 * client's next request would still count this one. */
static void leave_endpoint(struct up_exchange *exchange)
{
    if (exchange->state != UP_EXCHANGE_ANSWERED)
        up_add(&up_cell_of(exchange->worker, exchange->connection->endpoint)->in_flight, -1);
}

/* Counts this try in the endpoint's figures. */
static void end_try(struct up_exchange *exchange, enum up_outcome outcome)
{
    struct up_endpoint *endpoint = exchange->connection->endpoint;
    struct up_endpoint_cell *cell = up_cell_of(exchange->worker, endpoint);

    leave_endpoint(exchange);
    up_add(&cell->outcomes[outcome], 1);
    up_add(&pool_cell_of(exchange)->outcomes[outcome], 1);
    if (outcome == UP_OUTCOME_client_gone || was_stale(exchange, outcome))
        return;
    if (outcome == UP_OUTCOME_ok || outcome == UP_OUTCOME_error)
        up_circuit_succeed(&cell->circuit, up_now_ns(exchange->worker) - exchange->sent_ns);
    else
        up_circuit_fail(&cell->circuit, 0, up_outcome_names[outcome]);
    if (up_outcome_is_failure(outcome))
        atomic_fetch_add_explicit(&endpoint->in_row, 1, memory_order_relaxed);
    else if (atomic_load_explicit(&endpoint->in_row, memory_order_relaxed) > 0)
        atomic_store_explicit(&endpoint->in_row, 0, memory_order_relaxed);
}

/* Counts the whole request in the figures of its route. */
static void end_request(struct up_exchange *exchange, enum up_outcome outcome)
{
    int64_t end_ns = exchange->first_ns != 0 ? exchange->first_ns : up_now_ns(exchange->worker);
    int64_t began_ns = exchange->began_ns;

    if (exchange->is_upload) /* the time in which its client sent counts for nobody */
        began_ns = exchange->place_ns != 0 ? exchange->place_ns : end_ns;
    up_gate_leave(exchange, outcome);
    if (exchange->target != NULL)
        up_target_count(exchange->target, exchange->worker->deps.index,
                        outcome < UP_OUTCOME_COUNT ? outcome : UP_OUTCOME_refused,
                        end_ns - began_ns);
}

void up_exchange_cancel(struct up_exchange *exchange)
{
    if (exchange->connection != NULL) {
        end_try(exchange, UP_OUTCOME_client_gone);
        up_connection_close(exchange->connection);
        exchange->connection = NULL;
    }
    end_request(exchange, UP_OUTCOME_client_gone);
    if (!exchange->calling)
        free_exchange(exchange);
}

/* --- The request --- */

/* Of a connection that is made: it has received the whole request. */
static bool is_sent(const struct up_exchange *exchange)
{
    return exchange->body_len == 0 || exchange->body == UP_BODY_WHOLE;
}

/* A connection attempt may use half of the time that is left to the first byte; the other half is
 * for another endpoint. While the client sends its body, time runs only if the endpoint does not
 * take what has come: a client that is too slow is ended by the server. */
static void set_timer(struct up_exchange *exchange)
{
    int64_t now_ns = up_now_ns(exchange->worker), at_ns = exchange->total_ns;
    int64_t half_ns = (exchange->first_byte_ns - now_ns) / 2;
    int64_t stall_ns = exchange->route->total_ms * PS_NS_PER_MS;

    if (exchange->connection->state == UP_CONNECTING)
        at_ns = earlier(now_ns + earlier(half_ns, UP_CONNECT_MS * PS_NS_PER_MS), at_ns);
    else if (!is_sent(exchange))
        at_ns = now_ns + (exchange->wants_room ? stall_ns : SENDING_MAX_NS);
    else if (exchange->state == UP_EXCHANGE_TRYING)
        at_ns = earlier(exchange->first_byte_ns, at_ns);
    up_connection_set_timer(exchange->connection, at_ns);
}

static bool send_head(struct up_exchange *exchange)
{
    struct ps_str head = {exchange->head, exchange->head_len};

    exchange->sent_ns = up_now_ns(exchange->worker);
    bool room = up_connection_send(exchange->connection, &head, 1);
    set_timer(exchange);
    return room;
}

static bool send_part(struct up_exchange *exchange, struct ps_str part, bool last)
{
    char line_memory[24];
    struct ps_str parts[4];
    struct ps_buf line;
    size_t count = 0;

    ps_buf_init(&line, line_memory, sizeof line_memory);
    if (exchange->body_len < 0 && part.len > 0) {
        ps_http_put_chunk_begin(&line, part.len);
        parts[count++] = (struct ps_str){line.at, line.len};
    }
    parts[count++] = part;
    if (exchange->body_len < 0 && part.len > 0)
        parts[count++] = PS_STR("\r\n");
    if (exchange->body_len < 0 && last)
        parts[count++] = PS_STR("0\r\n\r\n");
    bool room = up_connection_send(exchange->connection, parts, count);
    if (last) {
        int64_t now_ns = up_now_ns(exchange->worker);
        /* the time in which the client sent the body does not count */
        exchange->first_byte_ns += now_ns - exchange->sent_ns;
        exchange->total_ns += now_ns - exchange->sent_ns;
        exchange->sent_ns = now_ns;
        up_gate_sent(exchange);
        set_timer(exchange);
    }
    return room;
}

static bool keep_part(struct up_exchange *exchange, struct ps_str part, bool last)
{
    char *first = realloc(exchange->first, exchange->first_len + part.len + 1);

    if (first == NULL) /* the endpoint would wait for the rest in vain */
        return false;
    memcpy(first + exchange->first_len, part.at, part.len);
    exchange->first = first;
    exchange->first_len += part.len;
    if (last)
        exchange->body = UP_BODY_WHOLE;
    return false;
}

bool up_exchange_part(struct up_exchange *exchange, struct ps_str part, bool last)
{
    bool waits = exchange->connection == NULL || exchange->connection->state == UP_CONNECTING;

    exchange->body = last && !waits ? UP_BODY_WHOLE : UP_BODY_SOME;
    bool room = waits ? keep_part(exchange, part, last) : send_part(exchange, part, last);
    if (exchange->wants_room == room) {
        exchange->wants_room = !room;
        if (!waits)
            set_timer(exchange);
    }
    return room;
}

/* False: the exchange is gone. */
static bool end_call(struct up_exchange *exchange)
{
    exchange->calling = false;
    if (exchange->state != UP_EXCHANGE_OVER)
        return true;
    free_exchange(exchange);
    return false;
}

void up_exchange_on_room(struct up_exchange *exchange)
{
    if (!exchange->wants_room)
        return;
    exchange->wants_room = false;
    set_timer(exchange);
    exchange->calling = true;
    exchange->callbacks->room(exchange->ctx);
    (void)end_call(exchange);
}

void up_exchange_on_connected(struct up_exchange *exchange)
{
    bool room = send_head(exchange);

    if (exchange->first != NULL) {
        struct ps_str first = {exchange->first, exchange->first_len};
        room = send_part(exchange, first, exchange->body == UP_BODY_WHOLE);
        free(exchange->first);
        exchange->first = NULL;
        exchange->first_len = 0;
    }
    if (room)
        up_exchange_on_room(exchange);
}

/* Sends the request to an endpoint. UP_OUTCOME_ok: it is under way; UP_OUTCOME_COUNT: no
 * endpoint. */
static enum up_outcome try(struct up_exchange *exchange)
{
    bool refused = false;
    struct up_endpoint *endpoint = up_exchange_pick(exchange, &refused);

    if (endpoint == NULL) {
        up_add(&pool_cell_of(exchange)->no_endpoint, 1);
        return refused ? UP_UNSENT_BREAKER : UP_UNSENT_NO_ENDPOINT;
    }
    exchange->connection = up_connection_take(exchange->worker, endpoint, exchange);
    if (exchange->connection == NULL)
        return UP_OUTCOME_refused;
    exchange->tried[exchange->tries++] = endpoint;
    up_add(&up_cell_of(exchange->worker, endpoint)->in_flight, 1);
    if (exchange->connection->state == UP_SENDING)
        up_exchange_on_connected(exchange);
    else if (exchange->connection->refused)
        up_connection_set_timer(exchange->connection, 0);
    else
        set_timer(exchange);
    return UP_OUTCOME_ok;
}

struct up_exchange *up_forward(struct up_worker *worker, const struct up_call *call,
                               enum up_outcome *ret_outcome)
{
    struct up_exchange *exchange = malloc(sizeof *exchange + call->head.len + FRAMING_MAX);
    struct up_pool_cell *cell = &call->pool->pool->cells[worker->deps.index];
    int64_t now_ns = up_now_ns(worker);
    struct ps_buf head;

    *ret_outcome = UP_OUTCOME_refused;
    if (exchange == NULL)
        return NULL;
    *exchange = (struct up_exchange){
        .worker = worker,
        .hold = up_hold_keep(call->hold),
        .route = call->route,
        .pool = call->pool,
        .target = call->target,
        .began_ns = now_ns,
        .is_extra = call->is_extra,
        .is_upload = call->is_upload,
        .client = call->client,
        .callbacks = call->callbacks,
        .ctx = call->ctx,
        .method = call->method,
        .body_len = call->body_len,
        .key = call->key,
        .first_byte_ns = now_ns + call->route->first_byte_ms * PS_NS_PER_MS,
        .total_ns = call->began_ns + call->route->total_ms * PS_NS_PER_MS,
    };
    ps_buf_init(&head, exchange->head, call->head.len + FRAMING_MAX);
    ps_buf_put(&head, call->head.at, call->head.len);
    if (call->body_len > 0)
        ps_http_put_length(&head, (uint64_t)call->body_len);
    else if (call->body_len < 0)
        ps_buf_puts(&head, "Transfer-Encoding: chunked\r\n");
    ps_buf_puts(&head, "\r\n");
    exchange->head_len = head.len;
    up_add(&cell->requests, 1);
    up_retry_earn(cell, call->pool->doc->retry_budget, call->pool->pool->cell_count,
                  call->began_ns);
    *ret_outcome = up_gate_enter(exchange);
    if (*ret_outcome == UP_OUTCOME_ok && exchange->state == UP_EXCHANGE_TRYING)
        *ret_outcome = try(exchange);
    if (*ret_outcome == UP_OUTCOME_ok)
        return exchange;
    end_request(exchange, *ret_outcome);
    free_exchange(exchange);
    return NULL;
}

void up_forward_look(struct up_worker *worker, const struct up_call *call, struct up_way *ret_way)
{
    const struct up_exchange exchange = {.worker = worker,
                                         .is_look = true,
                                         .route = call->route,
                                         .pool = call->pool,
                                         .key = call->key};
    bool refused = false;

    *ret_way = (struct up_way){.members = call->pool->member_count};
    ret_way->outcome = up_gate_look(&exchange, &ret_way->waits);
    if (ret_way->outcome != UP_OUTCOME_ok)
        return;
    ret_way->endpoint = up_exchange_pick_look(&exchange, &ret_way->usable, &refused);
    if (ret_way->endpoint == NULL)
        ret_way->outcome = refused ? UP_UNSENT_BREAKER : UP_UNSENT_NO_ENDPOINT;
}

void up_exchange_give_up(struct up_exchange *exchange, enum up_outcome outcome)
{
    bool begun = exchange->state == UP_EXCHANGE_ANSWERING;

    end_request(exchange, outcome);
    exchange->calling = true;
    exchange->callbacks->failed(outcome, begun, exchange->ctx);
    free_exchange(exchange);
}

void up_exchange_go(struct up_exchange *exchange)
{
    enum up_outcome outcome = try(exchange);

    if (outcome != UP_OUTCOME_ok)
        up_exchange_give_up(exchange, outcome);
}

/* --- Again --- */

static bool is_idempotent(enum ps_http_method method)
{
    return method == PS_HTTP_GET || method == PS_HTTP_HEAD || method == PS_HTTP_OPTIONS ||
           method == PS_HTTP_PUT || method == PS_HTTP_DELETE;
}

/* RFC 9110, section 9.2.2, and RFC 9112, section 9.3.1: a request may be retried if no endpoint has
 * begun to serve it. */
static bool may_retry(const struct up_exchange *exchange, bool stale, enum up_outcome outcome)
{
    bool unsent = outcome == UP_OUTCOME_refused || outcome == UP_OUTCOME_connect_timeout;

    return exchange->state == UP_EXCHANGE_TRYING && !exchange->is_extra &&
           exchange->tries < UP_TRIES_MAX && exchange->body == UP_BODY_NONE &&
           is_idempotent(exchange->method) &&
           up_now_ns(exchange->worker) < earlier(exchange->first_byte_ns, exchange->total_ns) &&
           (unsent || (stale && exchange->body_len == 0));
}

void up_exchange_on_lost(struct up_exchange *exchange, enum up_outcome outcome)
{
    struct up_pool_cell *cell = pool_cell_of(exchange);
    bool stale = was_stale(exchange, outcome);

    end_try(exchange, outcome);
    exchange->connection = NULL;
    if (stale) {
        exchange->fresh = true;
        exchange->tries--;
    }
    if (may_retry(exchange, stale, outcome) &&
        up_retry_may(cell, exchange->pool->doc->retry_budget)) {
        up_add(&cell->retries, 1);
        if (try(exchange) == UP_OUTCOME_ok)
            return;
    }
    up_exchange_give_up(exchange, outcome);
}

/* --- The answer --- */

void up_exchange_on_interim(struct up_exchange *exchange, const char *base)
{
    const struct ps_http_head *head = &exchange->connection->parse;

    if (head->status != 103 || exchange->callbacks->interim == NULL)
        return;
    exchange->calling = true;
    exchange->callbacks->interim(
        &(struct up_answer){.status = head->status, .head = head, .base = base}, exchange->ctx);
    (void)end_call(exchange);
}

static void note_first_byte(struct up_exchange *exchange)
{
    struct up_endpoint_cell *cell = up_cell_of(exchange->worker, exchange->connection->endpoint);
    int64_t now_ns = up_now_ns(exchange->worker), took_ns = now_ns - exchange->sent_ns;
    int64_t passed_ns = now_ns - atomic_load_explicit(&cell->ewma_at_ns, memory_order_relaxed);
    int64_t ewma_ns = atomic_load_explicit(&cell->ewma_ns, memory_order_relaxed);

    exchange->first_ns = now_ns;
    up_gate_answered(exchange);
    if (!is_sent(exchange)) /* its client's time, not the endpoint's */
        return;
    up_add(&cell->took_ns, took_ns);
    ps_times_add(&cell->times, took_ns);
    ps_durations_add(&pool_cell_of(exchange)->durations, took_ns);
    atomic_store_explicit(&cell->ewma_ns, up_ewma_add(ewma_ns, passed_ns, took_ns),
                          memory_order_relaxed);
    atomic_store_explicit(&cell->ewma_at_ns, now_ns, memory_order_relaxed);
}

static int64_t body_len_of(const struct ps_http_head *head)
{
    switch (head->framing) {
    case PS_HTTP_BY_LENGTH:
        return (int64_t)head->body_len;
    case PS_HTTP_NO_BODY: /* HEAD and 304 may announce one all the same */
        return head->has_length ? (int64_t)head->body_len : head->to_head ? -1 : 0;
    default:
        return -1;
    }
}

bool up_exchange_on_part(struct up_exchange *exchange, const char *base, struct ps_str part,
                         bool last, bool reusable)
{
    struct up_connection *connection = exchange->connection;
    const struct ps_http_head *head = &connection->parse;
    bool more;

    if (base != NULL) {
        note_first_byte(exchange);
        set_timer(exchange);
    }
    if (last) {
        leave_endpoint(exchange);
        exchange->state = UP_EXCHANGE_ANSWERED;
    }
    exchange->calling = true;
    if (base != NULL) {
        more = exchange->callbacks->answer(
            &(struct up_answer){
                .status = head->status, .head = head, .base = base, .body_len = body_len_of(head)},
            part, last, exchange->ctx);
    } else {
        more = exchange->callbacks->part(part, last, exchange->ctx);
    }
    if (!end_call(exchange))
        return false;
    if (!last)
        return more;
    enum up_outcome outcome = head->status >= 500 ? UP_OUTCOME_error : UP_OUTCOME_ok;
    end_try(exchange, outcome);
    end_request(exchange, outcome);
    up_connection_leave(connection, reusable && is_sent(exchange));
    free_exchange(exchange);
    return false;
}

void up_exchange_resume(struct up_exchange *exchange)
{
    if (exchange->connection != NULL)
        up_connection_resume(exchange->connection);
}

const struct up_endpoint *up_exchange_endpoint(const struct up_exchange *exchange)
{
    return exchange->tries > 0 ? exchange->tried[exchange->tries - 1] : NULL;
}

/* --- The worker --- */

int up_worker_new(const struct up_worker_deps *deps, struct up_worker **ret_worker)
{
    struct up_worker *worker = calloc(1, sizeof *worker);

    if (worker == NULL)
        return PS_E_NOMEM;
    worker->deps = *deps;
    worker->limits = (struct ps_http_limits){.target_max = (uint32_t)UP_HEAD_MAX,
                                             .head_max = (uint32_t)UP_HEAD_MAX,
                                             .fields_max = PS_HTTP_FIELDS_MAX};
    TAILQ_INIT(&worker->connections);
    TAILQ_INIT(&worker->waiting);
    uv_timer_init(deps->loop, &worker->timer);
    worker->timer.data = worker;
    worker->handles = 1;
    *ret_worker = worker;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct up_worker *worker = handle->data;

    if (--worker->handles == 0)
        free(worker);
}

void up_worker_free(struct up_worker *worker)
{
    if (worker == NULL)
        return;
    worker->closing = true;
    up_worker_swap(worker, NULL);
    while (!TAILQ_EMPTY(&worker->connections))
        up_connection_close(TAILQ_FIRST(&worker->connections));
    uv_close((uv_handle_t *)&worker->timer, on_closed);
}

static void close_gone(struct up_worker *worker)
{
    struct up_connection *connection = TAILQ_FIRST(&worker->connections), *next;

    for (; connection != NULL; connection = next) {
        next = TAILQ_NEXT(connection, entry);
        if (connection->state == UP_IDLE && atomic_load(&connection->endpoint->gone))
            up_connection_close(connection);
    }
}

void up_worker_swap(struct up_worker *worker, struct up_table *table)
{
    struct up_hold *before = worker->current, *hold = NULL;

    if (before != NULL && before->table == table)
        return;
    if (table != NULL && (hold = calloc(1, sizeof *hold)) == NULL)
        return; /* requests under way still hold the previous table: it stays in use */
    if (hold != NULL)
        *hold = (struct up_hold){.table = up_table_keep(table), .users = 1};
    worker->current = hold;
    up_hold_release(before);
    close_gone(worker);
}

uint32_t up_worker_index(const struct up_worker *worker)
{
    return worker->deps.index;
}

const struct up_table *up_worker_table(const struct up_worker *worker)
{
    return worker->current != NULL ? worker->current->table : NULL;
}

void up_worker_tick(struct up_worker *worker)
{
    struct up_connection *connection = TAILQ_FIRST(&worker->connections);

    up_gate_tick(worker);
    while (connection != NULL) {
        struct up_connection *next = TAILQ_NEXT(connection, entry);
        bool cut = atomic_load(&connection->endpoint->cut);
        if (cut && connection->state == UP_IDLE) {
            up_connection_close(connection);
        } else if (cut) {
            up_connection_cut(connection);
            next = TAILQ_FIRST(&worker->connections); /* the callback may have closed others */
        }
        connection = next;
    }
}

struct ps_buf up_worker_scratch(struct up_worker *worker)
{
    struct ps_buf buf;

    ps_buf_init(&buf, worker->scratch, sizeof worker->scratch);
    return buf;
}
