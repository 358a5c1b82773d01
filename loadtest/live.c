/* Two resources, `/` and `/live.json`. The Host must be this machine's: otherwise a stranger's
 * page, under a name that resolves to loopback, could read them (DNS rebinding). */
#include "loadtest/live.h"

#include "common/clock.h"
#include "common/http/head.h"
#include "common/http/write.h"
#include "loadtest/curves.h"
#include "loadtest/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CONNECTIONS_MAX 16
#define HEAD_MAX        8192

static const unsigned char page[] = {
#include "live.html.inc"
};

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct lt_live *live;
    LIST_ENTRY(connection) entry;
    bool closing;
    size_t len;
    char in[HEAD_MAX];
    char head[512];
    char *body; /* heap: a copy, since the shown text may be replaced while it is sent */
};

struct lt_live {
    uv_tcp_t listener;
    uv_loop_t *loop;
    LIST_HEAD(, connection) connections;
    size_t open; /* handles, the listener included */
    char *json;
    struct lt_live_source source;
    int64_t started_ms; /* wall clock; 0: no second is over yet */
    uv_work_t work;
    bool asking;
    json_t *answer;      /* of the work thread, while asking */
    json_t *gateway_saw; /* the last one; NULL: none yet */
};

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    connection->live->open--;
    LIST_REMOVE(connection, entry);
    free(connection->body);
    free(connection);
}

static void close_connection(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_connection(write->data);
}

static void send_answer(struct connection *connection, int status, const char *type,
                        struct ps_str body)
{
    struct ps_buf head;
    connection->body = malloc(body.len + 1);
    if (connection->body == NULL) {
        close_connection(connection);
        return;
    }
    memcpy(connection->body, body.at, body.len);
    ps_buf_init(&head, connection->head, sizeof connection->head);
    ps_http_put_status(&head, status);
    ps_http_put_known(&head, PS_STR("Content-Type"), ps_str(type));
    ps_http_put_length(&head, body.len);
    ps_buf_puts(
        &head, "Cache-Control: no-store\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
               "Content-Security-Policy: default-src 'none'; connect-src 'self'; "
               "script-src 'unsafe-inline'; style-src 'unsafe-inline'\r\n\r\n");
    uv_buf_t parts[] = {uv_buf_init(connection->head, (unsigned)head.len),
                        uv_buf_init(connection->body, (unsigned)body.len)};
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, parts, 2, on_written) < 0)
        close_connection(connection);
}

/* Without its port. */
static bool is_this_machine(struct ps_str host)
{
    const char *colon = host.len > 0 ? memrchr(host.at, ':', host.len) : NULL;
    struct ps_str name = {host.at, colon != NULL ? (size_t)(colon - host.at) : host.len};
    return ps_str_is(name, "127.0.0.1") || ps_str_is(name, "localhost");
}

static void answer(struct connection *connection, const struct ps_http_head *head)
{
    const char *data = connection->in, *json = connection->live->json;
    struct ps_str path = ps_http_text(data, head->path);
    const char *text = "text/plain; charset=utf-8";
    if (!is_this_machine(ps_http_text(data, head->host)))
        send_answer(connection, 421, text, PS_STR("this page is served at 127.0.0.1\n"));
    else if (head->method != PS_HTTP_GET)
        send_answer(connection, 405, text, PS_STR("GET only\n"));
    else if (ps_str_is(path, "/"))
        send_answer(connection, 200, "text/html; charset=utf-8",
                    (struct ps_str){(const char *)page, sizeof page});
    else if (ps_str_is(path, "/live.json"))
        send_answer(connection, 200, "application/json", ps_str(json));
    else
        send_answer(connection, 404, text, PS_STR("only / and /live.json exist\n"));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *connection = handle->data;
    (void)suggested;
    *buf = uv_buf_init(connection->in + connection->len, (unsigned)(HEAD_MAX - connection->len));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    static const struct ps_http_limits limits = {
        .target_max = 1024, .head_max = HEAD_MAX - 1, .fields_max = PS_HTTP_FIELDS_MAX};
    struct connection *connection = stream->data;
    struct ps_http_head head;
    (void)buf;
    if (got < 0) {
        close_connection(connection);
        return;
    }
    connection->len += (size_t)got;
    ps_http_request_init(&head, &limits);
    enum ps_http_step step = ps_http_head_parse(&head, connection->in, connection->len);
    if (step == PS_HTTP_MORE)
        return;
    uv_read_stop(stream);
    if (step == PS_HTTP_DONE)
        answer(connection, &head);
    else
        send_answer(connection, 400, "text/plain; charset=utf-8", PS_STR("malformed\n"));
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct lt_live *live = listener->data;
    struct connection *connection = status < 0 ? NULL : calloc(1, sizeof *connection);
    if (connection == NULL)
        return;
    connection->live = live;
    connection->tcp.data = connection;
    LIST_INSERT_HEAD(&live->connections, connection, entry);
    live->open++;
    (void)uv_tcp_init(live->loop, &connection->tcp); /* it opens no socket yet */
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) < 0 || live->open > CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) < 0)
        close_connection(connection);
}

int lt_live_new(uv_loop_t *loop, uint16_t port, const struct lt_live_source *source,
                struct lt_live **ret_live, struct ps_fault *fault)
{
    struct lt_live *live = calloc(1, sizeof *live);
    struct sockaddr_in address;
    char *empty = strdup("{}");
    if (live == NULL || empty == NULL) {
        free(live);
        free(empty);
        return ps_fault(fault, PS_E_NOMEM, "--live", "out of memory");
    }
    live->loop = loop;
    live->json = empty;
    live->source = *source;
    live->work.data = live;
    live->listener.data = live;
    (void)uv_ip4_addr("127.0.0.1", port, &address);
    (void)uv_tcp_init(loop, &live->listener);
    live->open = 1;
    int err = uv_tcp_bind(&live->listener, (const struct sockaddr *)&address, 0);
    if (err == 0)
        err = uv_listen((uv_stream_t *)&live->listener, CONNECTIONS_MAX, on_connection);
    if (err == 0) {
        *ret_live = live;
        return 0;
    }
    lt_live_free(live);
    return ps_fault(fault,
                    err == UV_EADDRINUSE ? PS_E_BUSY
                    : err == UV_EACCES   ? PS_E_PERMISSION
                                         : PS_E_IO,
                    "--live", "port %u: %s", (unsigned)port, uv_strerror(err));
}

static void ask(uv_work_t *work)
{
    struct lt_live *live = work->data;
    struct ps_fault fault;
    if (lt_curves_history(live->source.admin, live->started_ms, &live->answer, &fault) < 0)
        live->answer = NULL; /* the page goes on with what there is */
}

static void on_asked(uv_work_t *work, int status)
{
    struct lt_live *live = work->data;
    (void)status;
    live->asking = false;
    if (live->answer == NULL)
        return;
    json_decref(live->gateway_saw);
    live->gateway_saw = live->answer;
    live->answer = NULL;
}

/* The page draws the same timeline as the report, so it comes from there. */
void lt_live_second(struct lt_live *live, const struct lt_progress *progress)
{
    if (live->started_ms == 0)
        live->started_ms = ps_clock_wall_ms(&ps_clock_system) - progress->elapsed_ns / PS_NS_PER_MS;
    json_t *json = json_pack(
        "{s:s, s:f, s:I, s:I, s:I, s:I, s:o, s:O?}", "sale", live->source.sale, "elapsed_s",
        (double)progress->elapsed_ns / (double)PS_NS_PER_S, "offered",
        (json_int_t)progress->offered, "in_flight", (json_int_t)progress->in_flight, "waiting",
        (json_int_t)progress->waiting, "connected", (json_int_t)progress->connected, "timeline",
        lt_report_timeline(live->source.tally), "gateway_saw", live->gateway_saw);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text != NULL) {
        free(live->json);
        live->json = text;
    }
    if (!live->asking)
        live->asking = uv_queue_work(live->loop, &live->work, ask, on_asked) == 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    ((struct lt_live *)handle->data)->open--;
}

void lt_live_free(struct lt_live *live)
{
    struct connection *connection;
    if (live == NULL)
        return;
    uv_close((uv_handle_t *)&live->listener, on_listener_closed);
    LIST_FOREACH(connection, &live->connections, entry)
    close_connection(connection);
    while (live->open > 0 || live->asking)
        uv_run(live->loop, UV_RUN_ONCE);
    json_decref(live->gateway_saw);
    free(live->json);
    free(live);
}
