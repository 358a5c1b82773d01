/* The console's first page, as the gateway has it (common/console), and what it shows: the events
 * of the gateway and its last minutes, asked for with the rehearsal's token, and the buyers'
 * figures. The Host must be this machine's: otherwise a stranger's page, under a name that resolves
 * to loopback, could read them (DNS rebinding). */
#include "loadtest/live.h"

#include "common/clock.h"
#include "common/console/asset.h"
#include "common/http/head.h"
#include "common/http/write.h"
#include "loadtest/feed.h"
#include "loadtest/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CONNECTIONS_MAX 32
#define STREAMS_MAX     8
#define HEAD_MAX        8192
#define UNSENT_MAX      ((size_t)64 * 1024) /* a reader that takes no more is cut */
#define PATIENCE_MS     2000

/* Made by the build from loadtest/console. */
extern const struct ps_asset lt_console_assets[];

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct lt_live *live;
    LIST_ENTRY(connection) entry;
    bool closing;
    bool streams; /* reads events until it leaves */
    bool waits;   /* for the gateway's answer */
    bool to_head; /* HEAD: without the body */
    size_t len;
    char in[HEAD_MAX];
    char head[HEAD_MAX];
    char *body; /* heap; NULL: none, or static */
};

struct lt_live {
    uv_tcp_t listener;
    uv_loop_t *loop;
    LIST_HEAD(, connection) connections;
    size_t open; /* handles, the listener included */
    struct lt_feed *feed;
    char *crowd; /* the buyers' figures as JSON */
    struct lt_live_source source;
    uv_work_t work;
    bool asking;
    struct lt_reply reply; /* of the work thread, while asking */
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
    connection->streams = connection->waits = false;
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

/* --- Answers. --- */

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_connection(write->data);
}

/* `fields`: header fields, or .len == 0: those of what is not kept. `body` stays in place. */
static void send_answer(struct connection *connection, int status, struct ps_str fields,
                        struct ps_str body)
{
    struct ps_buf head;
    ps_buf_init(&head, connection->head, sizeof connection->head);
    ps_http_put_status(&head, status);
    ps_buf_put(&head, fields.at, fields.len);
    ps_http_put_length(&head, body.len);
    ps_buf_puts(&head, "Connection: close\r\n\r\n");
    bool with_body = !connection->to_head && ps_http_has_body(status) && body.len > 0;
    uv_buf_t parts[] = {uv_buf_init(connection->head, (unsigned)head.len),
                        uv_buf_init((char *)(uintptr_t)body.at, (unsigned)body.len)};
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, parts, with_body ? 2 : 1,
                 on_written) < 0)
        close_connection(connection);
}

#define NOT_KEPT                                                                                   \
    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"                               \
    "Content-Security-Policy: default-src 'none'\r\nCross-Origin-Resource-Policy: same-origin\r\n"

static void refuse(struct connection *connection, int status, struct ps_str why)
{
    send_answer(connection, status, PS_STR(NOT_KEPT "Content-Type: text/plain; charset=utf-8\r\n"),
                why);
}

/* Copies the text, since what it was made from may change while it is sent. */
static void send_json(struct connection *connection, int status, const char *text, size_t len)
{
    connection->body = malloc(len + 1);
    if (connection->body == NULL) {
        close_connection(connection);
        return;
    }
    memcpy(connection->body, text, len);
    send_answer(connection, status, PS_STR(NOT_KEPT "Content-Type: application/json\r\n"),
                (struct ps_str){connection->body, len});
}

static void send_asset(struct connection *connection, const struct ps_asset *asset,
                       const struct ps_asset_request *asked)
{
    char text[PS_ASSET_FIELDS_MAX];
    struct ps_asset_answer answer;
    struct ps_buf fields;
    ps_asset_choose(asset, asked, &answer);
    ps_buf_init(&fields, text, sizeof text);
    ps_asset_put_fields(&fields, asset, answer.is_gzip);
    send_answer(connection, answer.status, (struct ps_str){fields.at, fields.len}, answer.body);
}

/* --- Events. --- */

struct piece {
    uv_write_t write;
    struct connection *connection;
    char text[];
};

static void on_piece_written(uv_write_t *write, int status)
{
    struct piece *piece = write->data;
    if (status < 0)
        close_connection(piece->connection);
    free(piece);
}

static void send_piece(struct connection *connection, struct ps_str text)
{
    struct piece *piece = malloc(sizeof *piece + text.len);
    if (piece == NULL ||
        uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp) > UNSENT_MAX) {
        free(piece);
        close_connection(connection);
        return;
    }
    memcpy(piece->text, text.at, text.len);
    piece->connection = connection;
    piece->write.data = piece;
    uv_buf_t part = uv_buf_init(piece->text, (unsigned)text.len);
    if (uv_write(&piece->write, (uv_stream_t *)&connection->tcp, &part, 1, on_piece_written) < 0) {
        free(piece);
        close_connection(connection);
    }
}

static void on_event(struct ps_str event, void *ctx)
{
    struct lt_live *live = ctx;
    struct connection *connection;
    LIST_FOREACH(connection, &live->connections, entry)
    if (connection->streams)
        send_piece(connection, event);
}

static void begin_stream(struct connection *connection)
{
    const struct connection *other;
    size_t count = 0;
    LIST_FOREACH(other, &connection->live->connections, entry)
    count += other->streams;
    if (count >= STREAMS_MAX) {
        refuse(connection, 503, PS_STR("too many readers\n"));
        return;
    }
    connection->streams = true;
    send_piece(connection, PS_STR("HTTP/1.1 200 OK\r\n" NOT_KEPT
                                  "Content-Type: text/event-stream\r\nConnection: close\r\n\r\n"));
}

/* --- The gateway's last minutes. --- */

static void ask(uv_work_t *work)
{
    struct lt_live *live = work->data;
    const struct lt_call call = {
        .method = "GET", .path = "/admin/v1/overload?history_s=600", .patience_ms = PATIENCE_MS};
    struct ps_fault fault;
    if (lt_admin_call(live->source.admin, &call, &live->reply, &fault) < 0)
        live->reply = (struct lt_reply){.status = 0};
}

static void on_asked(uv_work_t *work, int status)
{
    struct lt_live *live = work->data;
    struct connection *connection;
    (void)status;
    live->asking = false;
    LIST_FOREACH(connection, &live->connections, entry)
    {
        if (!connection->waits)
            continue;
        connection->waits = false;
        if (live->reply.status == 200)
            send_json(connection, 200, live->reply.body, live->reply.len);
        else
            refuse(connection, 503, PS_STR("the gateway does not answer\n"));
    }
    free(live->reply.body);
    live->reply = (struct lt_reply){.status = 0};
}

static void ask_gateway(struct connection *connection)
{
    struct lt_live *live = connection->live;
    connection->waits = true;
    if (!live->asking)
        live->asking = uv_queue_work(live->loop, &live->work, ask, on_asked) == 0;
    if (!live->asking)
        close_connection(connection);
}

/* --- Requests. --- */

/* Without its port. */
static bool is_this_machine(struct ps_str host)
{
    const char *colon = host.len > 0 ? memrchr(host.at, ':', host.len) : NULL;
    struct ps_str name = {host.at, colon != NULL ? (size_t)(colon - host.at) : host.len};
    return ps_str_is(name, "127.0.0.1") || ps_str_is(name, "localhost");
}

static void answer_data(struct connection *connection, struct ps_str path)
{
    const char *crowd = connection->live->crowd;
    if (ps_str_is(path, "/crowd"))
        send_json(connection, 200, crowd, strlen(crowd));
    else if (connection->to_head)
        refuse(connection, 405, PS_STR("GET only\n"));
    else if (ps_str_is(path, "/overload"))
        ask_gateway(connection);
    else
        begin_stream(connection);
}

static void answer(struct connection *connection, const struct ps_http_head *head)
{
    const char *data = connection->in;
    struct ps_str path = ps_http_text(data, head->path);
    struct ps_str name = path.len > 0 ? (struct ps_str){path.at + 1, path.len - 1} : PS_STR("");
    const struct ps_asset_request asked = {
        .accept_encoding = ps_http_find(head, data, PS_STR("Accept-Encoding")),
        .if_none_match = ps_http_find(head, data, PS_STR("If-None-Match")),
        .fetch_site = ps_http_find(head, data, PS_STR("Sec-Fetch-Site")),
        .fetch_mode = ps_http_find(head, data, PS_STR("Sec-Fetch-Mode")),
        .fetch_dest = ps_http_find(head, data, PS_STR("Sec-Fetch-Dest"))};
    const struct ps_asset *asset = ps_asset_find(lt_console_assets, name);
    bool is_data =
        ps_str_is(path, "/crowd") || ps_str_is(path, "/overload") || ps_str_is(path, "/events");
    connection->to_head = head->method == PS_HTTP_HEAD;
    if (!is_this_machine(ps_http_text(data, head->host)))
        refuse(connection, 421, PS_STR("this page is served at 127.0.0.1\n"));
    else if (head->method != PS_HTTP_GET && head->method != PS_HTTP_HEAD)
        refuse(connection, 405, PS_STR("GET and HEAD only\n"));
    else if (asset == NULL && !is_data)
        refuse(connection, 404, PS_STR("there is no such file\n"));
    else if (ps_asset_is_foreign(asset, &asked))
        refuse(connection, 403, PS_STR("another site may link to this page, but not read it\n"));
    else if (is_data)
        answer_data(connection, path);
    else
        send_asset(connection, asset, &asked);
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
        refuse(connection, 400, PS_STR("malformed\n"));
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
    if (live != NULL)
        live->crowd = strdup("{}");
    if (live == NULL || live->crowd == NULL) {
        free(live);
        return ps_fault(fault, PS_E_NOMEM, "--live", "out of memory");
    }
    live->loop = loop;
    live->source = *source;
    live->work.data = live;
    live->listener.data = live;
    (void)uv_ip4_addr("127.0.0.1", port, &address);
    (void)uv_tcp_init(loop, &live->listener);
    live->open = 1;
    int err = uv_tcp_bind(&live->listener, (const struct sockaddr *)&address, 0);
    if (err == 0)
        err = uv_listen((uv_stream_t *)&live->listener, CONNECTIONS_MAX, on_connection);
    if (err == 0 && (live->feed = lt_feed_new(loop, source->admin, on_event, live)) == NULL)
        err = UV_ENOMEM;
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

/* The page draws the same timeline as the report, so it comes from there. */
void lt_live_second(struct lt_live *live, const struct lt_progress *progress)
{
    json_t *json = json_pack(
        "{s:s, s:f, s:I, s:I, s:I, s:I, s:o}", "sale", live->source.sale, "elapsed_s",
        (double)progress->elapsed_ns / (double)PS_NS_PER_S, "offered",
        (json_int_t)progress->offered, "in_flight", (json_int_t)progress->in_flight, "waiting",
        (json_int_t)progress->waiting, "connected", (json_int_t)progress->connected, "timeline",
        lt_report_timeline(live->source.tally));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL)
        return;
    free(live->crowd);
    live->crowd = text;
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
    lt_feed_free(live->feed);
    uv_close((uv_handle_t *)&live->listener, on_listener_closed);
    LIST_FOREACH(connection, &live->connections, entry)
    close_connection(connection);
    while (live->open > 0 || live->asking)
        uv_run(live->loop, UV_RUN_ONCE);
    free(live->reply.body);
    free(live->crowd);
    free(live);
}
