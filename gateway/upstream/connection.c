/* One connection to an endpoint. Received bytes are parsed in place; only an incomplete head is
 * copied. Pieces of a chunked body that arrive together are moved together, so that they leave as
 * one part. */
#include "gateway/upstream/forward_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_PARTS_MAX 8

/* --- Its end --- */

static void on_closed(uv_handle_t *handle)
{
    struct up_connection *connection = handle->data;
    struct up_worker *worker = connection->worker;

    if (--connection->handles > 0)
        return;
    up_endpoint_drop(connection->endpoint);
    free(connection->kept);
    free(connection->unsent);
    free(connection);
    worker->handles--;
    if (worker->closing && worker->handles == 0)
        free(worker);
}

void up_connection_close(struct up_connection *connection)
{
    struct up_endpoint_cell *cell = up_cell_of(connection->worker, connection->endpoint);

    if (connection->state == UP_CLOSED)
        return;
    if (connection->state == UP_IDLE)
        TAILQ_REMOVE(&cell->idle, connection, idle);
    connection->state = UP_CLOSED;
    connection->exchange = NULL;
    up_add(&cell->connections, -1);
    TAILQ_REMOVE(&connection->worker->connections, connection, entry);
    uv_close((uv_handle_t *)&connection->poll, on_closed);
    uv_close((uv_handle_t *)&connection->timer, on_closed);
    close(connection->fd);
}

static void lose(struct up_connection *connection, enum up_end end)
{
    struct up_exchange *exchange = connection->exchange;

    up_connection_close(connection);
    if (exchange != NULL)
        up_exchange_on_lost(exchange, end);
}

/* `late`: if the answer's head was complete. */
static void lose_by(struct up_connection *connection, enum up_end early, enum up_end late)
{
    lose(connection, connection->state == UP_TAKING ? late : early);
}

/* The endpoint has ended the connection. */
static void lose_ended(struct up_connection *connection)
{
    lose_by(connection, UP_END_reset, UP_END_broken);
}

void up_connection_cut(struct up_connection *connection)
{
    lose(connection, UP_END_drained);
}

/* --- Polling and time --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void poll_for(struct up_connection *connection, int events)
{
    if (connection->polled == events || connection->state == UP_CLOSED)
        return;
    connection->polled = events;
    if (events == 0)
        uv_poll_stop(&connection->poll);
    else
        uv_poll_start(&connection->poll, events, on_poll);
}

static void poll_on(struct up_connection *connection)
{
    poll_for(connection, (connection->paused ? 0 : UV_READABLE) |
                             (connection->unsent_len > 0 ? UV_WRITABLE : 0));
}

static void on_timer(uv_timer_t *timer);

static void start_timer(struct up_connection *connection)
{
    int64_t left_ns = connection->deadline_ns - up_now_ns(connection->worker);

    connection->timer_ns = connection->deadline_ns;
    uv_update_time(connection->worker->deps.loop);
    uv_timer_start(&connection->timer, on_timer,
                   left_ns > 0 ? (uint64_t)((left_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS) : 0, 0);
}

/* A timer that runs out before the deadline is started again then. So a busy connection touches its
 * timer about once per deadline, not once per request. */
void up_connection_set_timer(struct up_connection *connection, int64_t at_ns)
{
    if (connection->doomed != UP_GOES)
        at_ns = 0;
    connection->deadline_ns = at_ns;
    if (connection->timer_ns == 0 || at_ns < connection->timer_ns)
        start_timer(connection);
}

void up_connection_doom(struct up_connection *connection)
{
    connection->doomed = UP_END_no_room;
    up_connection_set_timer(connection, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct up_connection *connection = timer->data;

    connection->timer_ns = 0;
    if (up_now_ns(connection->worker) < connection->deadline_ns) {
        start_timer(connection);
        return;
    }
    if (connection->state == UP_IDLE)
        up_connection_close(connection);
    else if (connection->doomed != UP_GOES)
        lose(connection, connection->doomed);
    else if (connection->state == UP_CONNECTING)
        lose(connection, UP_END_connect_late);
    else
        lose_by(connection, UP_END_late, UP_END_unfinished);
}

/* --- The request --- */

static bool keep_unsent(struct up_connection *connection, const struct ps_str *parts, size_t count,
                        size_t sent)
{
    size_t more = 0;

    for (size_t i = 0; i < count; i++)
        more += parts[i].len;
    char *unsent = realloc(connection->unsent, connection->unsent_len + more - sent);
    if (unsent == NULL)
        return false;
    connection->unsent = unsent;
    for (size_t i = 0; i < count; i++) {
        size_t skip = sent < parts[i].len ? sent : parts[i].len;
        sent -= skip;
        memcpy(unsent + connection->unsent_len, parts[i].at + skip, parts[i].len - skip);
        connection->unsent_len += parts[i].len - skip;
    }
    return true;
}

/* Nothing more can be sent. What can still be read, an answer or the reset, is read. */
static void end_sending(struct up_connection *connection)
{
    connection->deaf = true;
    connection->unsent_len = 0;
    poll_on(connection);
}

bool up_connection_send(struct up_connection *connection, const struct ps_str *parts, size_t count)
{
    struct iovec vector[SEND_PARTS_MAX];
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = count};
    size_t all = 0;
    ssize_t sent = 0;

    for (size_t i = 0; i < count; i++) {
        vector[i] = (struct iovec){(void *)(uintptr_t)parts[i].at, parts[i].len};
        all += parts[i].len;
    }
    if (connection->deaf || all == 0)
        return true;
    if (connection->unsent_len == 0) {
        sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            end_sending(connection);
            return true;
        }
    }
    if (sent == (ssize_t)all)
        return true;
    if (!keep_unsent(connection, parts, count, sent > 0 ? (size_t)sent : 0)) {
        end_sending(connection);
        up_connection_doom(connection);
        return true;
    }
    poll_on(connection);
    return false;
}

static void on_writable(struct up_connection *connection)
{
    ssize_t sent = send(connection->fd, connection->unsent, connection->unsent_len, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end_sending(connection);
        return;
    }
    connection->unsent_len -= (size_t)sent;
    memmove(connection->unsent, connection->unsent + sent, connection->unsent_len);
    if (connection->unsent_len > 0)
        return;
    poll_on(connection);
    if (connection->exchange != NULL)
        up_exchange_on_room(connection->exchange);
}

/* --- The answer --- */

/* Processes the body bytes in `data`. False: they break a rule of HTTP. */
static bool read_body(struct up_connection *connection, char *data, size_t len,
                      struct ps_str *ret_part, bool *ret_last, bool *ret_more)
{
    size_t at = 0;

    *ret_part = (struct ps_str){data, 0};
    *ret_last = false;
    if (connection->framing == PS_HTTP_CHUNKED) {
        while (at < len && !*ret_last) {
            struct ps_str piece;
            size_t used = 0;
            enum ps_http_step step =
                ps_http_chunks_next(&connection->chunks, data + at, len - at, &used, &piece);
            if (step == PS_HTTP_BAD)
                return false;
            if (step == PS_HTTP_DATA) {
                memmove(data + ret_part->len, piece.at, piece.len);
                ret_part->len += piece.len;
            }
            *ret_last = step == PS_HTTP_DONE;
            at += used;
        }
    } else if (connection->framing == PS_HTTP_UNTIL_CLOSE) {
        ret_part->len = at = len;
    } else {
        at = len < connection->body_left ? len : (size_t)connection->body_left;
        ret_part->len = at;
        connection->body_left -= at;
        *ret_last = connection->body_left == 0;
    }
    *ret_more = at < len;
    return true;
}

static void take_body(struct up_connection *connection, const char *base, char *data, size_t len)
{
    struct up_exchange *exchange = connection->exchange;
    struct ps_str part;
    bool last, surplus;

    if (!read_body(connection, data, len, &part, &last, &surplus)) {
        lose_by(connection, UP_END_malformed, UP_END_malformed_body);
        return;
    }
    connection->state = UP_TAKING;
    if (base == NULL && part.len == 0 && !last)
        return;
    bool reusable = connection->parse.keep_alive && !surplus;
    if (!up_exchange_on_part(exchange, base, part, last, reusable) &&
        connection->exchange == exchange && !last) {
        connection->paused = true;
        poll_on(connection);
    }
}

static void begin_answer(struct up_connection *connection)
{
    ps_http_response_init(&connection->parse, &connection->worker->limits,
                          connection->exchange->method == PS_HTTP_HEAD);
}

/* Parses an answer's head, or its beginning, and the interim heads before it. Returns how many
 * bytes at the end must be kept until more arrive. */
static size_t take_head(struct up_connection *connection, char *data, size_t len)
{
    struct ps_http_head *head = &connection->parse;

    while (len > 0) {
        enum ps_http_step step = ps_http_head_parse(head, data, len);
        if (step == PS_HTTP_MORE)
            return len;
        if (step == PS_HTTP_BAD || head->status == 101 ||
            (head->status < 200 && ++connection->interims > UP_INTERIM_MAX)) {
            bool large =
                head->rule == PS_HTTP_HEAD_TOO_LARGE || head->rule == PS_HTTP_TOO_MANY_FIELDS;
            lose(connection,
                 step == PS_HTTP_BAD && large ? UP_END_head_too_large : UP_END_malformed);
            return 0;
        }
        if (head->status >= 200) {
            connection->framing = head->framing;
            connection->body_left = head->framing == PS_HTTP_BY_LENGTH ? head->body_len : 0;
            ps_http_chunks_init(&connection->chunks);
            take_body(connection, data, data + head->len, len - head->len);
            return 0;
        }
        up_exchange_on_interim(connection->exchange, data);
        if (connection->state == UP_CLOSED)
            return 0;
        data += head->len;
        len -= head->len;
        begin_answer(connection);
    }
    return 0;
}

/* The same for kept bytes together with new ones. */
static void take_kept_head(struct up_connection *connection, const char *data, size_t len)
{
    size_t all = connection->kept_len + len;
    char *whole = realloc(connection->kept, all);

    if (whole == NULL) {
        lose(connection, UP_END_no_room);
        return;
    }
    memcpy(whole + connection->kept_len, data, len);
    connection->kept = NULL;
    connection->kept_len = 0;
    size_t rest = take_head(connection, whole, all);
    if (rest == 0) {
        free(whole);
        return;
    }
    memmove(whole, whole + all - rest, rest);
    connection->kept = whole;
    connection->kept_len = rest;
}

static void take_whole_head(struct up_connection *connection, char *data, size_t len)
{
    size_t rest = take_head(connection, data, len);

    if (rest == 0)
        return;
    connection->kept = malloc(rest);
    if (connection->kept == NULL) {
        lose(connection, UP_END_no_room);
        return;
    }
    memcpy(connection->kept, data + len - rest, rest);
    connection->kept_len = rest;
}

/* Reads once. False: there is nothing more to read. */
static bool receive(struct up_connection *connection)
{
    char *in = connection->worker->in;
    ssize_t received = recv(connection->fd, in, UP_PART_MAX, 0);

    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (received > 0 && connection->state == UP_SENDING) {
        if (connection->kept_len > 0)
            take_kept_head(connection, in, (size_t)received);
        else
            take_whole_head(connection, in, (size_t)received);
        return true;
    }
    if (received > 0 && connection->state == UP_TAKING) {
        take_body(connection, NULL, in, (size_t)received);
        return true;
    }
    if (received == 0 && connection->state == UP_TAKING &&
        connection->framing == PS_HTTP_UNTIL_CLOSE) {
        up_exchange_on_part(connection->exchange, NULL, (struct ps_str){in, 0}, true, false);
        return false;
    }
    /* an idle connection that receives bytes is closed, too */
    lose_ended(connection);
    return false;
}

/* --- Its beginning --- */

/* Checks an idle connection before a request is sent: bytes received by then answer no request.
 * More than 0: it has received bytes. 0: the endpoint has closed it. Less than 0: errno says
 * whether nothing was received (EAGAIN) or the connection is lost. */
static ssize_t peek(const struct up_connection *connection)
{
    char byte;

    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* Does the gateway lack something, or is it the endpoint? Without a free port connect() says
 * EADDRNOTAVAIL; but so it does of IPv6 on a host that has none. */
static enum up_end end_of_connect(const struct up_endpoint *endpoint, int error)
{
    bool ours = error == ENOMEM || error == ENOBUFS || error == EMFILE || error == ENFILE ||
                error == EAGAIN || (error == EADDRNOTAVAIL && ps_address_is_v4(&endpoint->is.ip));

    return ours ? UP_END_no_room : UP_END_refused;
}

static void on_connected(struct up_connection *connection, bool failed)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (failed || getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
        error != 0) {
        lose(connection, end_of_connect(connection->endpoint, error));
        return;
    }
    if (peek(connection) > 0) {
        lose(connection, UP_END_malformed);
        return;
    }
    connection->state = UP_SENDING;
    poll_on(connection);
    up_exchange_on_connected(connection->exchange);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct up_connection *connection = poll->data;

    if (connection->state == UP_CONNECTING) {
        on_connected(connection, status < 0);
        return;
    }
    if (status < 0) { /* after a reset libuv stops polling: read what arrived before */
        connection->polled = 0;
        connection->deaf = true;
        while (connection->state != UP_CLOSED && !connection->paused && receive(connection))
            ;
        if (connection->state != UP_CLOSED)
            lose_ended(connection);
        return;
    }
    if ((events & UV_WRITABLE) != 0 && connection->unsent_len > 0)
        on_writable(connection);
    if ((events & UV_READABLE) != 0 && connection->state != UP_CLOSED && !connection->paused)
        (void)receive(connection);
}

static int open_socket(const struct up_endpoint *endpoint, enum up_end *ret_doomed)
{
    struct sockaddr_storage to;
    socklen_t len = ps_address_socket(&endpoint->is.ip, endpoint->is.port, &to);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (const struct sockaddr *)&to, len) < 0 && errno != EINPROGRESS)
        *ret_doomed = end_of_connect(endpoint, errno);
    return fd;
}

static struct up_connection *new_connection(struct up_worker *worker, struct up_endpoint *endpoint)
{
    struct up_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    connection->fd = open_socket(endpoint, &connection->doomed);
    if (connection->fd < 0 ||
        uv_poll_init(worker->deps.loop, &connection->poll, connection->fd) != 0) {
        if (connection->fd >= 0)
            close(connection->fd);
        free(connection);
        return NULL;
    }
    uv_timer_init(worker->deps.loop, &connection->timer);
    connection->poll.data = connection->timer.data = connection;
    connection->handles = 2;
    connection->worker = worker;
    connection->endpoint = up_endpoint_keep(endpoint);
    worker->handles++;
    TAILQ_INSERT_TAIL(&worker->connections, connection, entry);
    up_add(&up_cell_of(worker, endpoint)->connections, 1);
    if (connection->doomed == UP_GOES)
        poll_for(connection, UV_WRITABLE);
    return connection;
}

/* Returns an idle connection, or NULL. Connections that have received bytes or ended since the loop
 * looked are closed and never get a request. */
static struct up_connection *first_idle(struct up_endpoint_cell *cell)
{
    struct up_connection *connection;

    while ((connection = TAILQ_FIRST(&cell->idle)) != NULL) {
        ssize_t said = peek(connection);
        if (said < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        up_connection_close(connection);
    }
    return connection;
}

struct up_connection *up_connection_take(struct up_worker *worker, struct up_endpoint *endpoint,
                                         struct up_exchange *exchange)
{
    struct up_endpoint_cell *cell = up_cell_of(worker, endpoint);
    struct up_connection *connection = exchange->fresh ? NULL : first_idle(cell);

    if (connection != NULL) {
        TAILQ_REMOVE(&cell->idle, connection, idle);
        connection->state = UP_SENDING;
        connection->reused = true;
        connection->interims = 0;
    } else {
        connection = new_connection(worker, endpoint);
        if (connection == NULL)
            return NULL;
    }
    connection->exchange = exchange;
    begin_answer(connection);
    return connection;
}

void up_connection_resume(struct up_connection *connection)
{
    connection->paused = false;
    poll_on(connection);
}

void up_connection_leave(struct up_connection *connection, bool reusable)
{
    struct up_endpoint *endpoint = connection->endpoint;
    struct up_endpoint_cell *cell = up_cell_of(connection->worker, endpoint);

    connection->exchange = NULL;
    if (!reusable || connection->deaf || connection->unsent_len > 0 ||
        atomic_load_explicit(&endpoint->gone, memory_order_relaxed) ||
        connection->worker->closing) {
        up_connection_close(connection);
        return;
    }
    connection->state = UP_IDLE;
    TAILQ_INSERT_HEAD(&cell->idle, connection, idle);
    connection->paused = false;
    poll_on(connection);
    up_connection_set_timer(connection, up_now_ns(connection->worker) + UP_IDLE_MS * PS_NS_PER_MS);
}
