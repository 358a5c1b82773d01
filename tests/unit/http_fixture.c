/* The server under test. Its thread owns the loop and everything on it; the test's thread speaks to
 * it by commands through one async handle, and by sockets. */
#include "http_fixture.h"
#include "common/http/head.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/server/problem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAP_BODY 100000

enum command { COMMAND_DRAIN = 1, COMMAND_STOP };

struct http_server {
    struct http_fixture *fixture;
    uv_loop_t loop;
    uv_async_t async;
    uv_prepare_t prepare;
    atomic_int command;
    pthread_t thread;
    struct srv_http *http;
    struct srv_shared_answer *shared;
    struct srv_shared_answer *unchanged;
};

struct later {
    uv_timer_t timer;
    struct http_server *server;
    uint64_t handle;
    bool kept;
};

static void free_later(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_later(uv_timer_t *timer)
{
    struct later *later = timer->data;
    struct srv_http *http = later->server->http;
    if (later->kept && http != NULL && !atomic_load(&later->server->fixture->answers_kept))
        return;
    struct srv_request *request = http != NULL ? srv_find(http, later->handle) : NULL;
    if (request != NULL) {
        const struct ps_http_head *head = request->head;
        struct ps_str last = ps_http_text(request->base, head->fields[head->field_count - 1].value);
        srv_answer_header(request, "X-Last", last.at, last.len);
        srv_answer(request, 200, "text/plain", PS_STR("late"), false);
        if (srv_find(http, later->handle) != NULL)
            abort(); /* an answered request must not be found again */
    }
    uv_close((uv_handle_t *)timer, free_later);
}

static uint64_t query_ms(const struct srv_request *request)
{
    uint64_t ms = 0;
    for (size_t i = 0; i < request->query.len; i++)
        ms = ms * 10 + (uint64_t)(request->query.at[i] - '0');
    return ms;
}

static void answer_place(struct http_server *server, struct srv_request *request)
{
    struct ps_buf buf = srv_answer_body(request);
    ps_buf_printf(&buf, "%zu%s", atomic_load(&server->fixture->handled),
                  request->overdue ? " overdue" : "");
    srv_answer(request, 200, "text/plain", (struct ps_str){buf.at, buf.len}, false);
}

static void wait_at_gate(struct http_fixture *fixture)
{
    atomic_store(&fixture->gate_is_open, false);
    atomic_fetch_add(&fixture->at_gate, 1);
    while (!atomic_load(&fixture->gate_is_open))
        usleep(1000);
}

static bool path_is(const struct srv_request *request, const char *path)
{
    return request->path.len == strlen(path) &&
           memcmp(request->path.at, path, request->path.len) == 0;
}

static void answer_later(struct http_server *server, struct srv_request *request)
{
    struct later *later = calloc(1, sizeof *later);
    if (later == NULL)
        abort();
    later->server = server;
    later->handle = srv_suspend(request);
    later->kept = path_is(request, "/kept");
    uv_timer_init(&server->loop, &later->timer);
    later->timer.data = later;
    uv_timer_start(&later->timer, on_later, query_ms(request), later->kept ? 1 : 0);
}

static void put_line(struct ps_buf *buf, const char *name, struct ps_str value)
{
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, "=");
    ps_buf_put(buf, value.at, value.len);
    ps_buf_puts(buf, "\n");
}

static void echo(struct srv_request *request)
{
    static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                          "PATCH", "DELETE", "OPTIONS", "other"};
    struct ps_buf buf = srv_answer_body(request);
    const char *method = methods[request->method];
    put_line(&buf, "method", (struct ps_str){method, strlen(method)});
    put_line(&buf, "path", request->path);
    put_line(&buf, "query", request->query);
    put_line(&buf, "host", request->header[SRV_H_HOST]);
    put_line(&buf, "user", request->header[SRV_H_USER_ID]);
    put_line(&buf, "client", request->header[SRV_H_CLIENT_IP]);
    for (size_t i = 0; i < request->header_lines[SRV_H_FORWARDED_FOR]; i++)
        put_line(&buf, "forwarded", request->forwarded_for[i]);
    ps_buf_printf(&buf, "body_len=%zu\n", request->body.len);
    put_line(&buf, "body", request->body.len < 1000 ? request->body : PS_STR("long"));
    srv_answer(request, 200, "text/plain", (struct ps_str){buf.at, buf.len}, false);
}

static void answer_problem(struct srv_request *request)
{
    struct ans_problem_detail detail = {.text = "slowly",
                                        .policy = "user",
                                        .retry_after_s = 3,
                                        .seed = 1,
                                        .limit = {"user", 5, 10, 0, 7},
                                        .order_id = PS_STR("id"),
                                        .pointer = "/a"};
    srv_problem_answer(request, ANS_V_user_rate, &detail);
}

static void release_held(void *held)
{
    atomic_size_t *released = held;
    atomic_fetch_add(released, 1);
}

static void answer_held(struct http_server *server, struct srv_request *request)
{
    static char body[HEAP_BODY];
    size_t len = (size_t)query_ms(request);
    memset(body, 'k', sizeof body);
    srv_answer_header(request, "Age", "1", 1);
    srv_answer_held(request,
                    &(struct srv_forward){
                        .status = 200, .fields = PS_STR("ETag: \"a\"\r\n"), .len = (int64_t)len},
                    (struct ps_str){body, len}, release_held, &server->fixture->released);
}

/* What the layer above has written to its memory: at the head, and when it was handed over. */
#define HEADED 0x5a
#define HANDED 0xa5

/* The query as a field, '~' as a line's end. */
static void answer_field(struct srv_request *request)
{
    char value[64];
    size_t len = request->query.len < sizeof value ? request->query.len : sizeof value;
    for (size_t i = 0; i < len; i++)
        value[i] = request->query.at[i] == '~' ? '\n' : request->query.at[i];
    srv_answer_header(request, "X-Field", value, len);
    srv_answer(request, 200, "text/plain", PS_STR("field"), false);
}

static bool on_head(struct srv_request *request, void *ctx)
{
    const struct http_server *server = ctx;
    unsigned char *user = request->user;

    for (size_t i = 0; i < server->fixture->settings.user_size; i++)
        if (user[i] != 0)
            abort();
    user[0] = HEADED;
    return path_is(request, "/parts") || path_is(request, "/early") || path_is(request, "/cut");
}

static bool on_part(struct srv_request *request, struct ps_str part, bool last, void *ctx)
{
    const struct http_server *server = ctx;
    size_t gone = atomic_load(&server->fixture->gone);

    bool room = srv_answer_part(request, part);
    if (atomic_load(&server->fixture->gone) != gone)
        return false;
    if (path_is(request, "/cut"))
        srv_answer_end(request, false);
    else if (last)
        srv_answer_end(request, true);
    return room;
}

static void on_room(struct srv_request *request, void *ctx)
{
    (void)ctx;
    srv_resume(request);
}

void http_begin_answer(struct srv_request *request, int64_t len)
{
    static const char type[] = "Content-Type: application/octet-stream\r\n";
    (void)srv_answer_forward(
        request,
        &(struct srv_forward){.status = 200, .fields = {type, sizeof type - 1}, .len = len},
        PS_STR(""), false);
}

static void begin_parts(struct srv_request *request)
{
    bool sized = request->query.len == 5;

    srv_suspend(request);
    http_begin_answer(request, sized ? request->body_len : -1);
}

static void on_request(struct srv_request *request, void *ctx)
{
    struct http_server *server = ctx;
    if (server->fixture->handle != NULL) {
        server->fixture->handle(request, server->fixture->handle_ctx);
        return;
    }
    memset(request->user, HANDED, server->fixture->settings.user_size);
    if (path_is(request, "/hold")) {
        srv_suspend(request);
    } else if (path_is(request, "/nap")) {
        usleep((useconds_t)query_ms(request) * 1000);
        answer_place(server, request);
    } else if (path_is(request, "/gate")) {
        wait_at_gate(server->fixture);
        answer_place(server, request);
    } else if (path_is(request, "/later") || path_is(request, "/kept")) {
        answer_later(server, request);
    } else if (path_is(request, "/work")) {
        usleep((useconds_t)query_ms(request) * 1000);
        srv_answer(request, 200, "text/plain", PS_STR("done"), false);
    } else if (path_is(request, "/heap")) {
        char *body = malloc(HEAP_BODY);
        if (body == NULL)
            abort();
        memset(body, 'h', HEAP_BODY);
        srv_answer_heap(request, 200, "text/plain", body, HEAP_BODY);
    } else if (path_is(request, "/held")) {
        answer_held(server, request);
    } else if (path_is(request, "/early")) {
        srv_answer(request, 200, "text/plain", PS_STR("early"), false);
    } else if (request->in_parts) {
        begin_parts(request);
    } else if (request->oversized) {
        srv_problem_answer(request, ANS_V_too_large, &(struct ans_problem_detail){0});
    } else if (path_is(request, "/shared")) {
        srv_answer_shared(request, server->shared);
    } else if (path_is(request, "/unchanged")) {
        srv_answer_shared(request, server->unchanged);
    } else if (path_is(request, "/close")) {
        srv_answer(request, 200, "text/plain", PS_STR("bye"), true);
    } else if (path_is(request, "/field")) {
        answer_field(request);
    } else if (path_is(request, "/problem")) {
        answer_problem(request);
    } else {
        echo(request);
    }
    atomic_fetch_add(&server->fixture->handled, 1);
}

static void on_refused(int verdict, void *ctx)
{
    struct http_server *server = ctx;
    atomic_fetch_add(&server->fixture->refused[verdict], 1);
}

static void on_gone(struct srv_request *request, void *ctx)
{
    struct http_server *server = ctx;
    const unsigned char *user = request->user;
    if (user[0] != HANDED && user[0] != HEADED)
        abort();
    atomic_fetch_add(user[0] == HANDED ? &server->fixture->gone : &server->fixture->gone_early, 1);
}

static void on_turn(int64_t turn_ns, void *ctx)
{
    struct http_server *server = ctx;
    size_t us = turn_ns > 0 ? (size_t)turn_ns / 1000 : 0;
    if (us > atomic_load(&server->fixture->longest_turn_us))
        atomic_store(&server->fixture->longest_turn_us, us);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_server *server = prepare->data;
    atomic_fetch_add(&server->fixture->turns, 1);
    atomic_store(&server->fixture->connections, srv_http_connections(server->http));
    atomic_store(&server->fixture->in_flight, srv_in_flight(server->http));
    atomic_store(&server->fixture->begun, srv_http_begun(server->http));
}

static void on_async(uv_async_t *async)
{
    struct http_server *server = async->data;
    int command = atomic_exchange(&server->command, 0);
    if (command == COMMAND_DRAIN)
        srv_drain(server->http);
    if (command != COMMAND_STOP)
        return;
    srv_http_free(server->http);
    server->http = NULL; /* timers of requests whose clients have left may still fire */
    srv_shared_answer_unref(server->shared);
    srv_shared_answer_unref(server->unchanged);
    uv_close((uv_handle_t *)&server->async, NULL);
    uv_close((uv_handle_t *)&server->prepare, NULL);
}

static void *serve(void *ctx)
{
    struct http_server *server = ctx;
    uv_run(&server->loop, UV_RUN_DEFAULT);
    return NULL;
}

void http_fixture_init(struct http_fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->settings = (struct srv_settings){
        .head_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 60000,
        .idle_trusted_ms = 75000,
        .connections_soft = 200,
        .connections_hard = 250,
        .requests_max = 250,
        .head_max = SRV_HEAD_MAX,
        .body_max = SRV_PUBLIC_BODY_MAX,
        .user_size = 40,
        .client_ip_header = "CF-Connecting-IP",
        .needs_no_host = cfg_path_is_probe,
        .on_request = on_request,
        .on_refused = on_refused,
        .on_gone = on_gone,
        .on_head = on_head,
        .on_part = on_part,
        .on_turn = on_turn,
        .on_room = on_room,
        .clock = &ps_clock_system,
    };
}

void http_fixture_start(struct http_fixture *fixture)
{
    static const char *const headers[] = {"Content-Type", "text/plain", "ETag", "\"1\"", NULL};
    struct http_server *server = calloc(1, sizeof *server);
    int fd;
    assert_non_null(server);
    fixture->server = server;
    server->fixture = fixture;
    assert_int_equal(srv_listen("127.0.0.1", 0, 1, &fd, &fixture->port), 0);
    assert_int_equal(uv_loop_init(&server->loop), 0);
    assert_int_equal(srv_shared_answer_new(200, headers, PS_STR("shared"), &server->shared), 0);
    assert_int_equal(srv_shared_answer_new(304, headers, PS_STR("shared"), &server->unchanged), 0);
    fixture->settings.ctx = server;
    assert_int_equal(srv_http_new(&server->loop, &(struct srv_door){.fd = fd}, 1,
                                  &fixture->settings, &server->http),
                     0);
    assert_int_equal(uv_async_init(&server->loop, &server->async, on_async), 0);
    uv_prepare_init(&server->loop, &server->prepare);
    server->async.data = server->prepare.data = server;
    uv_prepare_start(&server->prepare, on_prepare);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void tell(struct http_fixture *fixture, enum command command)
{
    atomic_store(&fixture->server->command, (int)command);
    uv_async_send(&fixture->server->async);
    atomic_store(&fixture->gate_is_open, true);
}

void http_fixture_drain(struct http_fixture *fixture)
{
    tell(fixture, COMMAND_DRAIN);
    while (atomic_load(&fixture->server->command) != 0)
        usleep(1000);
}

void http_fixture_stop(struct http_fixture *fixture)
{
    tell(fixture, COMMAND_STOP);
    assert_int_equal(pthread_join(fixture->server->thread, NULL), 0);
    assert_int_equal(uv_loop_close(&fixture->server->loop), 0);
    free(fixture->server);
}

int http_connect(const struct http_fixture *fixture)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(fixture->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = HTTP_PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

void http_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

void http_send_text(int fd, const char *text)
{
    http_send(fd, text, strlen(text));
}

static bool read_exactly(int fd, char *into, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = recv(fd, into + have, len - have, 0);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

void http_read(int fd, bool head_only, struct http_reply *reply)
{
    size_t len = 0;
    memset(reply, 0, sizeof *reply);
    /* One byte at a time, so that nothing of the next answer is taken. */
    while (len < 4 || memcmp(reply->head + len - 4, "\r\n\r\n", 4) != 0) {
        assert_true(len < sizeof reply->head - 1);
        if (!read_exactly(fd, reply->head + len, 1))
            return;
        len++;
    }
    assert_memory_equal(reply->head, "HTTP/1.1 ", 9);
    int status = atoi(reply->head + 9);
    const char *length = http_field(reply, "Content-Length");
    if (length != NULL && !head_only && status != 304 && status != 100) {
        reply->body_len = strtoul(length, NULL, 10);
        assert_true(reply->body_len < sizeof reply->body);
        if (!read_exactly(fd, reply->body, reply->body_len))
            return;
    }
    reply->status = status;
}

const char *http_field(const struct http_reply *reply, const char *name)
{
    static char value[512];
    size_t len = strlen(name);
    for (const char *line = reply->head; *line != '\0'; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, len) != 0 || line[len] != ':')
            continue;
        size_t n = strcspn(line + len + 2, "\r");
        assert_true(n < sizeof value);
        memcpy(value, line + len + 2, n);
        value[n] = '\0';
        return value;
    }
    return NULL;
}

bool http_closed(int fd)
{
    char rest[4096];
    ssize_t got;
    do
        got = recv(fd, rest, sizeof rest, 0);
    while (got > 0);
    return got == 0 || errno == ECONNRESET;
}

bool http_wait(atomic_size_t *count, size_t least)
{
    for (int i = 0; i < HTTP_PATIENCE_MS; i++) {
        if (atomic_load(count) >= least)
            return true;
        usleep(1000);
    }
    return false;
}
