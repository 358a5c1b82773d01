/* One request and its answer: chooses an endpoint, retries on another one, and reports the
 * outcome. */
#include "gateway/upstream/forward_internal.h"

#include "common/text/buf.h"
#include "common/http/write.h"
#include "gateway/upstream/health.h"
#include "gateway/upstream/retry.h"
#include "gateway/upstream/route_figures.h"

#include <stdlib.h>
#include <string.h>

#define FRAMING_MAX 64 /* bytes that follow the fields of a head */
/* While its client is to send or to read: the server ends clients that are too slow. */
#define PATIENCE_NS (24 * 3600 * PS_NS_PER_S)

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- Its end --- */

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

/* Ends the service by this endpoint. Call it before the client gets the end of the answer, or the
 * client's next request would still count this one. */
static void leave_endpoint(struct up_exchange *exchange)
{
    if (exchange->state != UP_EXCHANGE_ANSWERED)
        up_add(&up_cell_of(exchange->worker, exchange->connection->endpoint)->in_flight, -1);
}

/* What the end says to one who counts with this sample. */
static struct up_met meet(const struct up_exchange *exchange, enum up_end end, enum up_says says,
                          struct up_sample *sample, struct up_marks *witnesses)
{
    struct up_worker *worker = exchange->worker;

    return (struct up_met){
        end, says,
        up_sample_tell(sample, witnesses, &worker->known, &exchange->who, says, up_now_ns(worker))};
}

/* Counts this try in the endpoint's figures. */
static void end_try(struct up_exchange *exchange, enum up_end end)
{
    struct up_endpoint *endpoint = exchange->connection->endpoint;
    struct up_endpoint_cell *cell = up_cell_of(exchange->worker, endpoint);

    leave_endpoint(exchange);
    up_add(&pool_cell_of(exchange)->outcomes[up_blame[end].word], 1);
    struct up_met met =
        meet(exchange, end, up_blame[end].rate, &cell->sample, &endpoint->witnesses);
    up_endpoint_count(endpoint, exchange->worker->deps.index, &met);
    met.says = up_blame[end].endpoint;
    met.told = (struct up_told){.good = met.says == UP_SAYS_GOOD, .bad = met.says == UP_SAYS_BAD};
    up_circuit_count(&cell->circuit, &met, up_prober(exchange));
}

/* Counts the whole request in the figures of its route. */
static void end_request(struct up_exchange *exchange, enum up_end end)
{
    int64_t end_ns = exchange->first_ns != 0 ? exchange->first_ns : up_now_ns(exchange->worker);
    int64_t began_ns = exchange->began_ns;

    if (exchange->is_upload) /* the time in which its client sent counts for nobody */
        began_ns = exchange->place_ns != 0 ? exchange->place_ns : end_ns;
    struct up_pool *pool = exchange->pool->pool;
    struct up_met met =
        meet(exchange, end, up_blame[end].pool, &pool_cell_of(exchange)->sample, &pool->witnesses);
    up_gate_leave(exchange, &met);
    struct up_target *target = exchange->target;
    if (target != NULL) {
        uint32_t index = exchange->worker->deps.index;
        met = meet(exchange, end, up_blame[end].split, &target->cells[index].sample,
                   &target->witnesses);
        up_target_count(target, index, &met, end_ns - began_ns);
    }
    if (up_blame[end].rate == UP_SAYS_GOOD)
        up_known_add(&exchange->worker->known, &exchange->who, up_now_ns(exchange->worker));
}

/* --- The request --- */

/* Of a connection that is made: it has received the whole request. */
static bool is_sent(const struct up_exchange *exchange)
{
    return exchange->body_len == 0 || exchange->body == UP_BODY_WHOLE;
}

/* Of the answer that has begun; a health check expects some, and others are no better than 500. */
static int status_of(const struct up_exchange *exchange)
{
    int status = exchange->connection->parse.status;
    const struct cfg_pool *of = exchange->probe_of;

    return of == NULL || up_health_expects(of, status) || status >= 500 ? status : 500;
}

void up_exchange_cancel(struct up_exchange *exchange, enum up_why why)
{
    bool begun = exchange->first_ns != 0 && exchange->connection != NULL;
    enum up_turn turn = !is_sent(exchange) ? UP_TURN_SENDING
                        : begun            ? UP_TURN_READING
                                           : UP_TURN_SHOP;
    enum up_end end = up_end_of_why(why, turn, begun ? status_of(exchange) : 0);

    if (exchange->connection != NULL) {
        end_try(exchange, end);
        up_connection_close(exchange->connection);
        exchange->connection = NULL;
    }
    end_request(exchange, end);
    if (!exchange->calling)
        free_exchange(exchange);
}

/* A connection attempt may use half of the time that is left to the first byte; the other half is
 * for another endpoint. While the client sends its body, time runs only if the endpoint does not
 * take what has come; while the client does not read, it does not run. */
static void set_timer(struct up_exchange *exchange)
{
    int64_t now_ns = up_now_ns(exchange->worker), at_ns = exchange->total_ns;
    int64_t half_ns = (exchange->first_byte_ns - now_ns) / 2;
    int64_t stall_ns = exchange->route->total_ms * PS_NS_PER_MS;

    if (exchange->connection->state == UP_CONNECTING)
        at_ns = earlier(now_ns + earlier(half_ns, UP_CONNECT_MS * PS_NS_PER_MS), at_ns);
    else if (exchange->paused_ns != 0)
        at_ns = now_ns + PATIENCE_NS;
    else if (!is_sent(exchange))
        at_ns = now_ns + (exchange->wants_room ? stall_ns : PATIENCE_NS);
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

    if (first == NULL) { /* the endpoint would wait for the rest in vain */
        exchange->starved = true;
        if (exchange->connection != NULL)
            up_connection_doom(exchange->connection);
        return false;
    }
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

/* Sends the request to an endpoint. UP_GOES: it is under way. */
static enum up_end try(struct up_exchange *exchange)
{
    bool refused = false;
    struct up_endpoint *endpoint = up_exchange_pick(exchange, &refused);

    if (endpoint == NULL) {
        up_add(&pool_cell_of(exchange)->no_endpoint, 1);
        return refused ? UP_END_breaker : UP_END_no_endpoint;
    }
    exchange->connection = up_connection_take(exchange->worker, endpoint, exchange);
    if (exchange->connection == NULL) {
        up_add(&pool_cell_of(exchange)->outcomes[UP_OUTCOME_no_room], 1);
        return UP_END_no_room;
    }
    exchange->tried[exchange->tries++] = endpoint;
    up_add(&up_cell_of(exchange->worker, endpoint)->in_flight, 1);
    if (exchange->starved)
        up_connection_doom(exchange->connection);
    else if (exchange->connection->state == UP_SENDING)
        up_exchange_on_connected(exchange);
    else
        set_timer(exchange);
    return UP_GOES;
}

struct up_exchange *up_forward(struct up_worker *worker, const struct up_call *call,
                               enum up_end *ret_end)
{
    struct up_exchange *exchange = malloc(sizeof *exchange + call->head.len + FRAMING_MAX);
    struct up_pool_cell *cell = &call->pool->pool->cells[worker->deps.index];
    int64_t now_ns = up_now_ns(worker);
    struct ps_buf head;

    *ret_end = UP_END_no_room;
    if (exchange == NULL) {
        up_add(&cell->outcomes[UP_OUTCOME_no_room], 1);
        if (call->target != NULL)
            up_target_count(call->target, worker->deps.index, &(struct up_met){.end = *ret_end}, 0);
        return NULL;
    }
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
        .who = up_who_of(&worker->known, &call->client, call->path),
        .probe_of = call->probe_of,
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
    *ret_end = up_gate_enter(exchange);
    if (*ret_end == UP_GOES && exchange->state == UP_EXCHANGE_TRYING)
        *ret_end = try(exchange);
    if (*ret_end == UP_GOES)
        return exchange;
    end_request(exchange, *ret_end);
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
    ret_way->end = up_gate_look(&exchange, &ret_way->waits);
    if (ret_way->end != UP_GOES)
        return;
    ret_way->endpoint = up_exchange_pick_look(&exchange, &ret_way->usable, &refused);
    if (ret_way->endpoint == NULL)
        ret_way->end = refused ? UP_END_breaker : UP_END_no_endpoint;
}

void up_exchange_give_up(struct up_exchange *exchange, enum up_end end)
{
    bool begun = exchange->state == UP_EXCHANGE_ANSWERING;

    end_request(exchange, end);
    exchange->calling = true;
    exchange->callbacks->failed(end, begun, exchange->ctx);
    free_exchange(exchange);
}

void up_exchange_go(struct up_exchange *exchange)
{
    enum up_end end = try(exchange);

    if (end != UP_GOES)
        up_exchange_give_up(exchange, end);
}

/* --- Again --- */

static bool is_idempotent(enum ps_http_method method)
{
    return method == PS_HTTP_GET || method == PS_HTTP_HEAD || method == PS_HTTP_OPTIONS ||
           method == PS_HTTP_PUT || method == PS_HTTP_DELETE;
}

/* RFC 9110, section 9.2.2, and RFC 9112, section 9.3.1: a request may be retried if no endpoint has
 * begun to serve it. */
static bool may_retry(const struct up_exchange *exchange, enum up_end end)
{
    enum up_again again = up_blame[end].again;

    return exchange->state == UP_EXCHANGE_TRYING && !exchange->is_extra &&
           exchange->tries < UP_TRIES_MAX && exchange->body == UP_BODY_NONE &&
           is_idempotent(exchange->method) &&
           up_now_ns(exchange->worker) < earlier(exchange->first_byte_ns, exchange->total_ns) &&
           (again == UP_AGAIN_OTHER || (again == UP_AGAIN_FRESH && exchange->body_len == 0));
}

/* What the connection does not know. The endpoint closed a kept connection before it received the
 * request if not a byte of an answer came: it may be tried again on a new one. And as long as the
 * request is not whole, only an endpoint that takes none of it can be late. */
static enum up_end end_of_loss(const struct up_exchange *exchange, enum up_end end)
{
    const struct up_connection *connection = exchange->connection;

    if (end == UP_END_reset && (connection->kept_len > 0 || connection->interims > 0))
        return UP_END_reset_in_head;
    if (end == UP_END_reset && connection->reused)
        return UP_END_stale;
    if (end == UP_END_late && !is_sent(exchange))
        return exchange->wants_room ? UP_END_deaf : UP_END_slow_sending;
    return end;
}

void up_exchange_on_lost(struct up_exchange *exchange, enum up_end end)
{
    struct up_pool_cell *cell = pool_cell_of(exchange);

    end = end_of_loss(exchange, end);
    end_try(exchange, end);
    exchange->connection = NULL;
    if (up_blame[end].again == UP_AGAIN_FRESH) {
        exchange->fresh = true;
        exchange->tries--;
    }
    if (may_retry(exchange, end) && up_retry_may(cell, exchange->pool->doc->retry_budget)) {
        up_add(&cell->retries, 1);
        if (try(exchange) == UP_GOES)
            return;
    }
    up_exchange_give_up(exchange, end);
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
    if (!last && !more && exchange->paused_ns == 0) {
        exchange->paused_ns = up_now_ns(exchange->worker);
        set_timer(exchange);
    }
    if (!last)
        return more;
    enum up_end end = up_end_of_answer(status_of(exchange), is_sent(exchange));
    end_try(exchange, end);
    end_request(exchange, end);
    up_connection_leave(connection, reusable && is_sent(exchange));
    free_exchange(exchange);
    return false;
}

void up_exchange_resume(struct up_exchange *exchange)
{
    if (exchange->connection != NULL && exchange->paused_ns != 0) {
        exchange->total_ns += up_now_ns(exchange->worker) - exchange->paused_ns;
        exchange->paused_ns = 0;
        set_timer(exchange);
    }
    if (exchange->connection != NULL)
        up_connection_resume(exchange->connection);
}

const struct up_endpoint *up_exchange_endpoint(const struct up_exchange *exchange)
{
    return exchange->tries > 0 ? exchange->tried[exchange->tries - 1] : NULL;
}
