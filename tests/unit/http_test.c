/* The HTTP server over raw sockets: pipelining, kept connections, cut bytes, bodies, deadlines,
 * limits, kept requests, answers, drain. */
#include "http_fixture.h"
#include "common/http/chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST      "Host: shop.example\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static struct http_fixture fixture;
static struct http_reply reply;

static void start(void)
{
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
}

/* The server, and one client. */
static int begin(void)
{
    start();
    return http_connect(&fixture);
}

static void stop(int fd)
{
    close(fd);
    http_fixture_stop(&fixture);
}

/* The next answer has this status. */
static void expect(int fd, int status)
{
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, status);
}

static void ask(int fd, const char *text, int status)
{
    http_send_text(fd, text);
    expect(fd, status);
}

/* Until so many are left. */
static void await_connections(size_t left)
{
    for (int i = 0; i < HTTP_PATIENCE_MS && atomic_load(&fixture.connections) > left; i++)
        usleep(1000);
}

static void one_connection_serves_many_requests(void **state)
{
    (void)state;
    int fd = begin();
    for (int i = 0; i < 100; i++) {
        ask(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nab", 200);
        assert_non_null(strstr(reply.body, "body=ab\n"));
    }
    assert_int_equal(atomic_load(&fixture.handled), 100);
    assert_true(http_wait(&fixture.connections, 1));
    stop(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    char path[32];
    (void)state;
    int fd = begin();
    http_send_text(
        fd, GET("/0") "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc" GET("/later?20")
                GET("/3") "POST /4 HTTP/1.1\r\n" HOST
                          "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" GET("/5"));
    for (int i = 0; i < 6; i++) {
        expect(fd, 200);
        snprintf(path, sizeof path, "path=/%d\n", i);
        assert_non_null(strstr(reply.body, i == 2 ? "late" : path));
    }
    stop(fd);
}

static void a_request_may_come_in_single_bytes(void **state)
{
    static const char request[] = "POST /x?q HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
    (void)state;
    int fd = begin();
    for (size_t i = 0; i < sizeof request - 1; i++) {
        http_send(fd, request + i, 1);
        usleep(200);
    }
    expect(fd, 200);
    assert_non_null(strstr(reply.body, "body=abc\n"));
    stop(fd);
}

static void a_body_may_hold_any_byte_and_come_in_chunks(void **state)
{
    static const char request[] = "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                                  "2\r\na\0\r\n1\r\n\xff\r\n0\r\n\r\n";
    (void)state;
    int fd = begin();
    http_send(fd, request, sizeof request - 1);
    expect(fd, 200);
    assert_true(reply.body_len > 4);
    assert_memory_equal(reply.body + reply.body_len - 4, "a\0\xff\n", 4);
    stop(fd);
}

static void head_answers_like_get_without_the_body(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/shared") "HEAD /shared HTTP/1.1\r\n" HOST "\r\n"
                                      "HEAD /problem HTTP/1.1\r\n" HOST "\r\n" GET("/x"));
    http_read(fd, false, &reply);
    assert_string_equal(reply.body, "shared");
    http_read(fd, true, &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(http_field(&reply, "Content-Length"), "6");
    assert_string_equal(http_field(&reply, "ETag"), "\"1\"");
    http_read(fd, true, &reply);
    assert_int_equal(reply.status, 429);
    http_read(fd, false, &reply);
    assert_non_null(strstr(reply.body, "path=/x\n"));
    stop(fd);
}

static void not_modified_tells_the_length_of_the_page_that_it_stands_for(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/unchanged") GET("/x"));
    http_read(fd, true, &reply);
    assert_int_equal(reply.status, 304);
    assert_string_equal(http_field(&reply, "Content-Length"), "6");
    expect(fd, 200);
    stop(fd);
}

static void a_large_heap_body_arrives_whole(void **state)
{
    (void)state;
    int fd = begin();
    ask(fd, GET("/heap") GET("/x"), 200);
    assert_int_equal(reply.body_len, 100000);
    expect(fd, 200);
    stop(fd);
}

static void a_held_body_is_released_once_whatever_becomes_of_the_client(void **state)
{
    int small = 4096;
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/held?100000") GET("/held?10")
                           GET("/held?0") "HEAD /held?100000 HTTP/1.1\r\n" HOST "\r\n");
    for (size_t i = 0; i < 4; i++) {
        static const size_t lens[] = {100000, 10, 0, 0};
        http_read(fd, i == 3, &reply);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.body_len, lens[i]);
        assert_string_equal(http_field(&reply, "ETag"), "\"a\"");
        assert_string_equal(http_field(&reply, "Age"), "1");
    }
    assert_string_equal(http_field(&reply, "Content-Length"), "100000");
    assert_true(http_wait(&fixture.released, 4));
    close(fd);
    fd = http_connect(&fixture);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    for (int i = 0; i < 50; i++)
        http_send_text(fd, GET("/held?100000"));
    assert_true(http_wait(&fixture.handled, 5));
    usleep(50000);
    close(fd); /* in the middle */
    await_connections(0);
    assert_int_equal(atomic_load(&fixture.released), atomic_load(&fixture.handled));
    http_fixture_stop(&fixture);
}

static void an_answer_can_close_the_connection(void **state)
{
    (void)state;
    int fd = begin();
    ask(fd, GET("/close"), 200);
    assert_string_equal(http_field(&reply, "Connection"), "close");
    assert_true(http_closed(fd));
    stop(fd);
}

static void a_problem_carries_its_fields(void **state)
{
    (void)state;
    int fd = begin();
    ask(fd, "GET /problem HTTP/1.1\r\n" HOST "X-Request-Id: r1\r\n\r\n", 429);
    assert_string_equal(http_field(&reply, "Retry-After"),
                        "8"); /* t=7 is later than 3 s; plus 1 by seed */
    assert_string_equal(http_field(&reply, "RateLimit"), "\"user\";r=0;t=7");
    assert_string_equal(http_field(&reply, "RateLimit-Policy"), "\"user\";q=5;w=10");
    assert_string_equal(http_field(&reply, "Cache-Control"), "no-store");
    assert_string_equal(http_field(&reply, "X-Request-Id"), "r1");
    assert_string_equal(
        reply.body, "{\"type\":\"urn:penstock:problem:user_rate\",\"title\":\"Too many requests of "
                    "this "
                    "user\",\"status\":429,\"detail\":\"slowly\",\"instance\":\"/"
                    "problem\",\"code\":\"user_rate\","
                    "\"request_id\":\"r1\",\"violated-policies\":[\"user\"],\"order_id\":"
                    "\"id\",\"pointer\":\"/a\"}\n");
    stop(fd);
}

/* Answers of the same shape are written over each other; a client must never see another's. */
static void answers_of_one_shape_are_each_their_own(void **state)
{
    enum { CLIENTS = 3, ROUNDS = 200 };
    int fds[CLIENTS];
    char text[128], id[32], field[32];
    (void)state;
    start();
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = http_connect(&fixture);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) { /* two shapes, pipelined */
            snprintf(text, sizeof text,
                     "GET /field?%0*d HTTP/1.1\r\n" HOST "X-Request-Id: a%d-%d\r\n\r\n",
                     4 + round % 2, round, i, 1000 + round);
            http_send_text(fds[i], text);
            http_send_text(fds[i], GET("/problem"));
        }
        for (int i = 0; i < CLIENTS; i++) {
            http_read(fds[i], false, &reply);
            snprintf(id, sizeof id, "a%d-%d", i, 1000 + round);
            snprintf(field, sizeof field, "%0*d", 4 + round % 2, round);
            assert_string_equal(http_field(&reply, "X-Request-Id"), id);
            assert_string_equal(http_field(&reply, "X-Field"), field);
            assert_string_equal(reply.body, "field");
            expect(fds[i], 429);
            assert_null(http_field(&reply, "X-Field"));
            assert_non_null(strstr(reply.body, http_field(&reply, "X-Request-Id")));
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    http_fixture_stop(&fixture);
}

static void exchange(const int *fds, size_t count, int round, bool late)
{
    char text[512], path[256], id[64];
    for (int reading = 0; reading < 2; reading++) {
        for (size_t i = 0; i < count; i++) {
            int number = (int)i * 1000 + round;
            snprintf(path, sizeof path, late ? "/later?20" : "/%0*d", 10 + number * 7 % 190,
                     number);
            snprintf(id, sizeof id, "id-%0*d", 8 + round % 9, number);
            if (reading == 0) {
                snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "X-Request-Id: %s\r\n\r\n",
                         path, id);
                http_send_text(fds[i], text);
                continue;
            }
            expect(fds[i], 200);
            snprintf(text, sizeof text, late ? "late" : "path=%s\n", path);
            assert_non_null(strstr(reply.body, text));
            assert_string_equal(http_field(&reply, "X-Request-Id"), id);
        }
    }
}

static void answers_of_many_shapes_are_each_their_own(void **state)
{
    enum { CLIENTS = 120, ROUNDS = 30 };
    int fds[CLIENTS];
    (void)state;
    start();
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = http_connect(&fixture);
    for (int round = 0; round < ROUNDS; round++)
        exchange(fds, CLIENTS, round, true);
    for (int round = 0; round < ROUNDS; round++)
        exchange(fds, CLIENTS, round, false);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    http_fixture_stop(&fixture);
}

static void a_field_value_with_a_line_end_is_never_sent(void **state)
{
    static const char *const requests[] = {GET("/field?a~X-Evil:1"), GET("/field?abX-Evil:1"),
                                           GET("/field?a~X-Evil:1"), GET("/field?acX-Evil:1")};
    (void)state;
    start();
    for (int i = 0; i < 4; i++) {
        int fd = http_connect(&fixture);
        http_send_text(fd, requests[i]);
        if (i % 2 == 0) {
            assert_true(http_closed(fd));
        } else {
            http_read(fd, false, &reply);
            assert_string_equal(http_field(&reply, "X-Field"),
                                i == 1 ? "abX-Evil:1" : "acX-Evil:1");
        }
        close(fd);
    }
    http_fixture_stop(&fixture);
}

/* --- Bodies that are too large --- */

static void expect_413(int fd)
{
    expect(fd, 413);
    assert_non_null(strstr(reply.body, "\"code\":\"too_large\""));
    assert_string_equal(http_field(&reply, "Connection"), "close");
    assert_true(http_closed(fd));
    close(fd);
}

static void send_filler(int fd, size_t len)
{
    static char filler[8192];
    memset(filler, 'x', sizeof filler);
    for (size_t part; len > 0; len -= part) {
        part = len < sizeof filler ? len : sizeof filler;
        if (send(fd, filler, part, MSG_NOSIGNAL) < 0)
            return;
    }
}

static void a_body_up_to_the_limit_is_taken_and_a_longer_one_is_413(void **state)
{
    (void)state;
    start();

    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 4096\r\n\r\n");
    send_filler(fd, 4096);
    expect(fd, 200);
    assert_non_null(strstr(reply.body, "body_len=4096\n"));
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 4097\r\n\r\n");
    send_filler(fd, 4097);
    expect_413(fd);

    fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1000\r\n");
    send_filler(fd, 4096);
    http_send_text(fd, "\r\n1\r\nx\r\n0\r\n\r\n");
    expect_413(fd);

    /* Far too long: said before the body. */
    fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 999999999\r\n\r\n");
    expect_413(fd);
    assert_int_equal(atomic_load(&fixture.handled), 1 + 3);

    /* Without an end in sight. */
    fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffff\r\n");
    send_filler(fd, 4096 + (1 << 16) + 1);
    expect_413(fd);
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_too_large]), 1);
    http_fixture_stop(&fixture);
}

static void a_client_that_waits_for_100_is_told_to_go_on_or_that_it_is_too_much(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd,
                   "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(fd, 100);
    ask(fd, "ab", 200);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST
                       "Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n");
    expect_413(fd);
    http_fixture_stop(&fixture);
}

/* A head has a second from the moment its connection is accepted: so the test has as long to begin
 * one. */
static void start_impatient(void)
{
    http_fixture_init(&fixture);
    fixture.settings.head_timeout_ms = 1000;
    fixture.settings.idle_timeout_ms = 100;
    http_fixture_start(&fixture);
}

/* Also for who does not take what is sent. */
static void start_impatient_for_bodies(void)
{
    http_fixture_init(&fixture);
    fixture.settings.body_timeout_ms = 300;
    http_fixture_start(&fixture);
}

/* --- Bodies in parts --- */

#define PARTS_LEN ((size_t)8 * 1024 * 1024)

/* A byte of the long body that says where it stands. */
static char part_byte(size_t at)
{
    return (char)('a' + at * 7 / 5 % 26);
}

struct sender {
    int fd;
    bool chunked;
};

static void *send_long_body(void *ctx)
{
    const struct sender *sender = ctx;
    static char piece[10000];
    for (size_t at = 0, len; at < PARTS_LEN; at += len) {
        char line[16];
        len = PARTS_LEN - at < sizeof piece ? PARTS_LEN - at : sizeof piece;
        for (size_t i = 0; i < len; i++)
            piece[i] = part_byte(at + i);
        if (sender->chunked) {
            snprintf(line, sizeof line, "%zx\r\n", len);
            http_send_text(sender->fd, line);
        }
        http_send(sender->fd, piece, len);
        if (sender->chunked)
            http_send_text(sender->fd, "\r\n");
    }
    if (sender->chunked)
        http_send_text(sender->fd, "0\r\n\r\n");
    return NULL;
}

/* Sends the long body while its echo is read, and compares. */
static void echo_long_body(bool chunked, bool sized)
{
    char head[256], buffer[65536];
    struct ps_http_chunks chunks;
    struct sender sender = {http_connect(&fixture), chunked};
    pthread_t thread;
    size_t head_len = 0, body = 0;
    ps_http_chunks_init(&chunks);
    snprintf(head, sizeof head, "POST /parts?%s HTTP/1.1\r\n" HOST "%s: %s\r\n\r\n",
             sized ? "sized" : "", chunked ? "Transfer-Encoding" : "Content-Length",
             chunked ? "chunked" : "8388608");
    http_send_text(sender.fd, head);
    assert_int_equal(pthread_create(&thread, NULL, send_long_body, &sender), 0);
    char answer[1024] = "";
    while (strstr(answer, "\r\n\r\n") == NULL) {
        assert_true(head_len + 1 < sizeof answer && recv(sender.fd, answer + head_len, 1, 0) == 1);
        answer[++head_len] = '\0';
    }
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(
        strstr(answer, sized ? "Content-Length: 8388608\r\n" : "Transfer-Encoding: chunked\r\n"));
    for (bool ended = false; !ended && !(sized && body == PARTS_LEN);) {
        ssize_t got = recv(sender.fd, buffer, sizeof buffer, 0);
        assert_true(got > 0);
        for (size_t at = 0, used = 0; at < (size_t)got && !ended; at += used) {
            struct ps_str part = {buffer + at, (size_t)got - at};
            enum ps_http_step step = PS_HTTP_DATA;
            used = part.len;
            if (!sized)
                step = ps_http_chunks_next(&chunks, buffer + at, (size_t)got - at, &used, &part);
            assert_true(step != PS_HTTP_BAD);
            ended = step == PS_HTTP_DONE;
            for (size_t i = 0; step == PS_HTTP_DATA && i < part.len; i++, body++)
                if (part.at[i] != part_byte(body))
                    fail_msg("byte %zu", body);
        }
    }
    assert_int_equal(body, PARTS_LEN);
    pthread_join(thread, NULL);
    http_send_text(sender.fd, GET("/next"));
    http_read(sender.fd, false, &reply);
    assert_int_equal(reply.status, 200);
    close(sender.fd);
}

static void a_long_body_goes_through_in_parts_both_ways(void **state)
{
    (void)state;
    start();
    echo_long_body(false, true);
    echo_long_body(false, false);
    echo_long_body(true, false);
    assert_int_equal(atomic_load(&fixture.in_flight), 0);
    http_fixture_stop(&fixture);
}

static void a_kept_request_keeps_its_head_while_others_are_read(void **state)
{
    (void)state;
    start();
    int kept = http_connect(&fixture), other = http_connect(&fixture);
    http_send_text(kept, "GET /later?100 HTTP/1.1\r\n" HOST "Accept: all\r\nX-Own: mine\r\n\r\n");
    assert_true(http_wait(&fixture.handled, 1));
    for (size_t i = 0; i < 3; i++) {
        http_send_text(other, "GET /another/and/longer/path HTTP/1.1\r\nX: y\r\nY: theirs\r\n" HOST
                              "Accept-Language: de\r\n\r\n");
        http_read(other, false, &reply);
    }
    http_read(kept, false, &reply);
    assert_string_equal(http_field(&reply, "X-Last"), "mine");
    close(kept);
    close(other);
    http_fixture_stop(&fixture);
}

static void an_answer_before_the_body_ends_the_connection(void **state)
{
    (void)state;
    int fd = begin();
    ask(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc", 200);
    assert_string_equal(http_field(&reply, "Connection"), "close");
    assert_true(http_closed(fd));
    stop(fd);
}

static void an_answer_that_ends_too_early_is_never_taken_for_whole(void **state)
{
    char buffer[4096];
    ssize_t got;
    (void)state;
    int fd = begin();
    http_send_text(fd, "POST /cut HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc");
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        assert_null(memmem(buffer, (size_t)got, "0\r\n\r\n", 5));
    assert_true(got < 0 && errno == ECONNRESET);
    stop(fd);
}

static void a_body_in_parts_that_stops_is_cut(void **state)
{
    (void)state;
    start_impatient_for_bodies();
    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /parts HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc");
    assert_true(http_wait(&fixture.gone, 1));
    stop(fd);
}

static void who_saw_a_head_is_told_when_the_request_ends_before_its_body(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nabc");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_true(http_wait(&fixture.gone_early, 1));
    close(fd);
    fd = http_connect(&fixture);
    http_send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n?");
    assert_true(http_wait(&fixture.gone_early, 2));
    stop(fd);
    assert_int_equal(atomic_load(&fixture.gone) + atomic_load(&fixture.handled), 0);
}

static void a_client_that_takes_no_parts_is_cut_and_costs_little_memory(void **state)
{
    int small = 4096;
    char piece[4096];
    (void)state;
    start_impatient_for_bodies();
    int fd = http_connect(&fixture);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    http_send_text(fd, "POST /parts HTTP/1.1\r\n" HOST "Content-Length: 100000000\r\n\r\n");
    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 2500; i++) /* until nothing is read of it any more */
        if (send(fd, piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
    assert_true(http_wait(&fixture.gone, 1));
    stop(fd);
    assert_int_equal(atomic_load(&fixture.in_flight), 0);
}

/* --- Heads that are large --- */

static int ask_with_field(const char *name, size_t len)
{
    static char head[16384];
    int fd = http_connect(&fixture);
    int start = snprintf(head, sizeof head, "GET /x HTTP/1.1\r\n" HOST "%s: ", name);
    memset(head + start, 'a', len);
    memcpy(head + start + len, "\r\n\r\n", 4);
    http_send(fd, head, (size_t)start + len + 4);
    http_read(fd, false, &reply);
    close(fd);
    return reply.status;
}

/* Were a request served whose answer has no room, its client would have to guess what became of it.
 */
static void a_request_that_was_served_is_answered_however_large_its_head(void **state)
{
    const char *const names[] = {"Authorization", "Cookie"};
    (void)state;
    start();
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        size_t answered = 0, refused = 0;
        atomic_store(&fixture.handled, 0);
        for (size_t len = 0; len < 12500; len += 100) {
            int status = ask_with_field(names[i], len);
            answered += status == 200;
            refused += status == 431;
            assert_true(status == 200 || status == 431 || status == 0);
        }
        assert_true(answered > 35 && refused > 10);
        assert_int_equal(atomic_load(&fixture.handled), answered);
    }
    http_fixture_stop(&fixture);
}

/* The status of the answer to a query of so many parameters. */
static int ask_with_parameters(size_t count)
{
    char head[SRV_TARGET_MAX + 64] = "GET /x?a";
    for (size_t i = 1; i < count; i++)
        strcat(head, "&a");
    strcat(head, " HTTP/1.1\r\n" HOST "\r\n");
    int fd = http_connect(&fixture);
    http_send_text(fd, head);
    http_read(fd, false, &reply);
    assert_true(reply.status == 200 || http_closed(fd));
    close(fd);
    return reply.status;
}

static void a_query_may_have_as_many_parameters_as_fit(void **state)
{
    (void)state;
    start();
    assert_int_equal(ask_with_parameters(900), 200);
    assert_int_equal(atomic_load(&fixture.handled), 1);
    http_fixture_stop(&fixture);
}

static void a_deep_pipeline_is_answered_whole(void **state)
{
    enum { REQUESTS = 300 };
    (void)state;
    int fd = begin();
    for (int i = 0; i < REQUESTS; i++)
        http_send_text(fd,
                       "GET /x HTTP/1.1\r\n" HOST "User-Agent: some words of some length\r\n\r\n");
    for (int i = 0; i < REQUESTS; i++) {
        expect(fd, 200);
    }
    stop(fd);
}

/* --- Deadlines --- */

static void expect_408(int fd)
{
    expect(fd, 408);
    assert_non_null(strstr(reply.body, "\"code\":\"request_timeout\""));
    assert_string_equal(http_field(&reply, "Content-Type"), "application/problem+json");
    assert_true(http_closed(fd));
    assert_true(http_wait(&fixture.refused[ANS_V_request_timeout], 1));
    close(fd);
}

/* `piece` again and again, until the server has had enough. */
static void assert_slow_head_is_cut(const char *begin, const char *piece)
{
    size_t len = strlen(piece);

    start_impatient();
    int fd = http_connect(&fixture);
    http_send_text(fd, begin);
    for (int i = 0; i < 100 && send(fd, piece, len, MSG_NOSIGNAL) == (ssize_t)len; i++) {
        char byte;
        if (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0)
            break;
        usleep(20000);
    }
    expect_408(fd);
    http_fixture_stop(&fixture);
}

static void a_head_a_byte_at_a_time_is_cut_at_its_deadline(void **state)
{
    (void)state;
    assert_slow_head_is_cut("GET /x HTTP/1.1\r\n" HOST "X-A: ", "a");
}

static void a_head_that_never_ends_is_cut_although_fields_keep_coming(void **state)
{
    (void)state;
    assert_slow_head_is_cut("GET /x HTTP/1.1\r\n" HOST, "X: y\r\n");
}

static void a_body_that_does_not_come_is_cut_at_its_deadline(void **state)
{
    (void)state;
    start_impatient_for_bodies();
    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    expect_408(fd);
    assert_int_equal(atomic_load(&fixture.handled), 0);
    http_fixture_stop(&fixture);
}

static void a_head_that_begins_behind_a_request_is_cut_at_its_deadline(void **state)
{
    (void)state;
    start_impatient();
    int fd = http_connect(&fixture);
    ask(fd, GET("/first") "GET /second HTTP/1.1\r\nHost: ", 200);
    expect(fd, 408);
    assert_true(http_closed(fd));
    stop(fd);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    start_impatient();
    int silent = http_connect(&fixture);
    int kept = http_connect(&fixture);
    ask(kept, GET("/x"), 200);
    assert_true(http_closed(silent));
    assert_true(http_closed(kept));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_request_timeout]), 0);
    close(silent);
    close(kept);
    http_fixture_stop(&fixture);
}

/* The loop stands still over every deadline; what each connection waits for comes meanwhile. */
static void what_comes_in_time_is_served_by_a_thread_that_is_late(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.head_timeout_ms = fixture.settings.body_timeout_ms = 2000;
    fixture.settings.idle_timeout_ms = 100;
    http_fixture_start(&fixture);
    int busy = http_connect(&fixture), kept = http_connect(&fixture);
    http_send_text(kept, GET("/x"));
    http_read(kept, false, &reply);
    int fresh = http_connect(&fixture), head = http_connect(&fixture);
    int body = http_connect(&fixture);
    assert_true(http_wait(&fixture.connections, 5));
    http_send_text(head, "GET /x HTTP/1.1\r\n");
    http_send_text(body, "POST /parts HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    assert_true(http_wait(&fixture.begun, 2));
    http_send_text(busy, GET("/gate"));
    assert_true(http_wait(&fixture.at_gate, 1));
    http_send_text(kept, GET("/x"));
    http_send_text(fresh, GET("/x"));
    http_send_text(head, HOST "\r\n");
    http_send_text(body, "bc");
    usleep(2200 * 1000); /* the deadlines pass */
    atomic_store(&fixture.gate_is_open, true);
    const int all[] = {busy, kept, fresh, head, body};
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        expect(all[i], 200);
        close(all[i]);
    }
    http_fixture_stop(&fixture);
}

static void half_a_head_that_is_late_with_its_thread_is_cut(void **state)
{
    (void)state;
    start_impatient();
    int busy = http_connect(&fixture), half = http_connect(&fixture);
    assert_true(http_wait(&fixture.connections, 2));
    http_send_text(busy, GET("/gate"));
    assert_true(http_wait(&fixture.at_gate, 1));
    http_send_text(half, "GET /x HTTP/1.1\r\n");
    usleep(1100 * 1000); /* its deadline passes */
    atomic_store(&fixture.gate_is_open, true);
    expect(half, 408);
    assert_true(http_closed(half));
    close(busy);
    close(half);
    http_fixture_stop(&fixture);
}

static bool keeps_nothing(void *ctx)
{
    (void)ctx;
    return false;
}

static void
while_idle_connections_are_not_kept_one_ends_after_a_second_but_not_in_its_head(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.idle_timeout_ms = 60000;
    fixture.settings.head_timeout_ms = 60000;
    fixture.settings.keeps_idle = keeps_nothing;
    http_fixture_start(&fixture);
    int idle = http_connect(&fixture), busy = http_connect(&fixture);
    http_send_text(idle, GET("/x"));
    http_read(idle, false, &reply);
    http_send_text(busy, GET("/x"));
    http_read(busy, false, &reply);
    http_send_text(busy, "GET /x HTTP/1.1\r\n");
    assert_true(http_closed(idle));
    usleep(300000);
    ask(busy, "Host: x\r\n\r\n", 200);
    close(idle);
    close(busy);
    http_fixture_stop(&fixture);
}

static bool trust_all(const struct ps_address *peer, void *ctx)
{
    static const struct ps_address loopback = {
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};
    (void)ctx;
    return memcmp(peer, &loopback, sizeof loopback) == 0;
}

static void a_trusted_proxy_may_be_idle_for_longer(void **state)
{
    char byte;
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.head_timeout_ms = 1000;
    fixture.settings.idle_timeout_ms = 1;
    fixture.settings.keeps_idle = keeps_nothing;
    fixture.settings.is_trusted = trust_all;
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    http_send_text(fd, GET("/x"));
    http_read(fd, false, &reply);
    usleep(1300000);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    ask(fd, GET("/x"), 200);
    stop(fd);
}

static void a_client_that_does_not_take_its_answer_is_cut(void **state)
{
    int small = 4096;
    (void)state;
    start_impatient_for_bodies();
    int fd = http_connect(&fixture);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    for (int i = 0; i < 100; i++)
        (void)!send(fd, GET("/heap"), strlen(GET("/heap")), MSG_NOSIGNAL | MSG_DONTWAIT);
    assert_true(http_wait(&fixture.handled, 1));
    await_connections(0);
    assert_int_equal(atomic_load(&fixture.connections), 0);
    assert_int_equal(atomic_load(&fixture.in_flight), 0);
    stop(fd);
}

static void a_client_that_does_not_take_its_answer_is_reset(void **state)
{
    int small = 4096, error = 0;
    socklen_t len = sizeof error;
    (void)state;
    start_impatient_for_bodies();
    int fd = http_connect(&fixture);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    for (int i = 0; i < 100; i++)
        (void)!send(fd, GET("/heap"), strlen(GET("/heap")), MSG_NOSIGNAL | MSG_DONTWAIT);
    for (int i = 0; i < HTTP_PATIENCE_MS && error == 0; i++) {
        usleep(1000);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    }
    assert_int_equal(error, ECONNRESET);
    stop(fd);
}

/* --- Limits --- */

static void an_address_has_at_most_its_share_of_connections(void **state)
{
    int fds[3];
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.connections_address = 2;
    http_fixture_start(&fixture);
    for (int i = 0; i < 3; i++) {
        fds[i] = http_connect(&fixture);
        if (i < 2)
            assert_true(http_wait(&fixture.connections, (size_t)i + 1));
    }
    expect(fds[2], 503);
    assert_non_null(strstr(reply.body, "\"code\":\"too_many_connections\""));
    assert_true(http_closed(fds[2]));
    close(fds[2]);
    for (int i = 0; i < 2; i++) {
        ask(fds[i], GET("/x"), 200);
    }
    /* Who has left makes room. */
    close(fds[0]);
    await_connections(1);
    fds[0] = http_connect(&fixture);
    ask(fds[0], GET("/x"), 200);
    close(fds[0]);
    close(fds[1]);
    http_fixture_stop(&fixture);
}

static void above_the_soft_limit_a_connection_is_told_to_come_back(void **state)
{
    int fds[3];
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.connections_soft = 2;
    fixture.settings.connections_hard = 4;
    http_fixture_start(&fixture);
    for (int i = 0; i < 3; i++) {
        fds[i] = http_connect(&fixture);
        http_send_text(fds[i], GET("/x"));
        http_read(fds[i], false, &reply);
        assert_int_equal(reply.status, i < 2 ? 200 : 503);
    }
    assert_non_null(strstr(reply.body, "\"code\":\"too_many_connections\""));
    assert_non_null(strstr(reply.body, "\"violated-policies\":[\"too_many_connections\"]"));
    assert_in_range(atoi(http_field(&reply, "Retry-After")), 1, 3);
    assert_true(http_closed(fds[2]));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_too_many_connections]), 1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    http_fixture_stop(&fixture);
}

static void above_the_hard_limit_clients_wait_until_one_has_left(void **state)
{
    int fds[4];
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.connections_soft = 3;
    fixture.settings.connections_hard = 3;
    http_fixture_start(&fixture);
    for (int i = 0; i < 4; i++) {
        fds[i] = http_connect(&fixture);
        http_send_text(fds[i], GET("/x"));
        if (i == 3)
            break;
        expect(fds[i], 200);
    }
    usleep(50000);
    assert_int_equal(atomic_load(&fixture.handled), 3);
    close(fds[0]);
    expect(fds[3], 200);
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    http_fixture_stop(&fixture);
}

static void without_a_free_slot_a_request_is_shed(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.requests_max = 1;
    http_fixture_start(&fixture);
    int holder = http_connect(&fixture);
    http_send_text(holder, GET("/hold"));
    assert_true(http_wait(&fixture.handled, 1));
    int fd = http_connect(&fixture);
    ask(fd, GET("/x"), 503);
    assert_non_null(strstr(reply.body, "\"code\":\"shed\""));
    close(fd);
    close(holder);
    http_fixture_stop(&fixture);
}

/* --- Kept requests, drain, end --- */

/* For less and for more than the 20 ms after which the connection of a kept request is parked. */
static void keep_many(void)
{
    enum { CLIENTS = 150, ROUNDS = 3 };
    static const char *const requests[] = {GET("/later?0"), GET("/later?5"), GET("/later?50")};
    int fds[CLIENTS];
    http_fixture_start(&fixture);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = http_connect(&fixture);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++)
            http_send_text(fds[i], requests[i % 3]);
        for (int i = 0; i < CLIENTS; i++) {
            expect(fds[i], 200);
            assert_string_equal(reply.body, "late");
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    http_fixture_stop(&fixture);
}

static void many_kept_requests_are_answered_from_the_loop(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    keep_many();
    http_fixture_init(&fixture);
    fixture.settings.on_gone = NULL; /* parked at once */
    keep_many();
}

static void others_are_served_while_requests_are_kept(void **state)
{
    char head[7000];
    (void)state;
    start();
    int kept = http_connect(&fixture);
    int fd = http_connect(&fixture);
    /* Larger than what is read at once; in two parts; pipelined. */
    int len =
        snprintf(head, sizeof head, "GET /x HTTP/1.1\r\n" HOST "X-Filler: %06000d\r\n\r\n", 7);
    for (int i = 0; i < 3; i++) {
        http_send_text(kept, GET("/later?15"));
        assert_true(http_wait(&fixture.handled, (size_t)i * 5 + 1));
        http_send(fd, head, (size_t)len);
        expect(fd, 200);
        http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
        ask(fd, "bc", 200);
        ask(fd, GET("/x") GET("/problem"), 200);
        expect(fd, 429);
        expect(kept, 200);
    }
    close(fd);
    close(kept);
    http_fixture_stop(&fixture);
}

/* So many that what arrives is gathered from tick to tick. */
static void others_are_served_in_a_crowd_of_kept_requests(void **state)
{
    enum { CROWD = 180, ROUNDS = 5 };
    int fds[CROWD];
    (void)state;
    int fd = begin();
    for (int i = 0; i < CROWD; i++)
        fds[i] = http_connect(&fixture);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CROWD; i++)
            http_send_text(fds[i], GET("/later?15"));
        for (int i = 0; i < 4; i++) {
            ask(fd, GET("/x") GET("/problem"), 200);
            expect(fd, 429);
        }
        for (int i = 0; i < CROWD; i++) {
            http_read(fds[i], false, &reply);
            assert_string_equal(reply.body, "late");
        }
    }
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    stop(fd);
}

static void keeping_a_request_does_not_make_the_loop_spin(void **state)
{
    (void)state;
    int fd = begin();
    size_t before = atomic_load(&fixture.turns);
    ask(fd, GET("/later?200"), 200);
    assert_true(atomic_load(&fixture.turns) - before < 100);
    stop(fd);
}

static void a_reset_connection_takes_its_kept_request_along(void **state)
{
    enum { CLIENTS = 20 };
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fds[CLIENTS];
    (void)state;
    start();
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = http_connect(&fixture);
        http_send_text(fds[i], GET("/hold"));
        assert_true(http_wait(&fixture.handled, (size_t)i + 1));
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fds[i]);
    }
    assert_true(http_wait(&fixture.gone, CLIENTS));
    http_fixture_stop(&fixture);
    assert_int_equal(atomic_load(&fixture.in_flight), 0);
}

static void reset(int fd)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(fd);
}

static void a_client_that_closes_takes_its_kept_request_along(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/hold"));
    assert_true(http_wait(&fixture.handled, 1));
    close(fd);
    assert_true(http_wait(&fixture.gone, 1));

    /* Also when it has sent more, which waits behind the kept request. */
    fd = http_connect(&fixture);
    http_send_text(fd, GET("/hold"));
    assert_true(http_wait(&fixture.handled, 2));
    http_send_text(fd, GET("/behind"));
    usleep(20000);
    close(fd);
    assert_true(http_wait(&fixture.gone, 2));
    assert_int_equal(atomic_load(&fixture.handled), 2);

    /* Also when it has sent its last byte before. */
    fd = http_connect(&fixture);
    http_send_text(fd, GET("/hold"));
    assert_true(http_wait(&fixture.handled, 3));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    usleep(20000);
    assert_int_equal(atomic_load(&fixture.gone), 2);
    reset(fd);
    assert_true(http_wait(&fixture.gone, 3));
    http_fixture_stop(&fixture);
}

static void a_client_that_has_sent_its_last_byte_gets_its_answers_and_then_the_end(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/later?50"));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect(fd, 100); /* by which one that has left is found out */
    expect(fd, 200);
    assert_true(http_closed(fd));
    close(fd);

    fd = http_connect(&fixture);
    http_send_text(fd, "GET /later?50 HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect(fd, 200);
    assert_true(http_closed(fd));
    close(fd);

    fd = http_connect(&fixture);
    http_send_text(fd, GET("/later?50") GET("/a") GET("/later?20") GET("/b"));
    usleep(10000);
    http_send_text(fd, GET("/c"));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 5; i++) {
        http_read(fd, false, &reply);
        if (reply.status == 100)
            http_read(fd, false, &reply);
        assert_int_equal(reply.status, 200);
    }
    assert_non_null(strstr(reply.body, "path=/c\n"));
    assert_true(http_closed(fd));
    close(fd);
    http_fixture_stop(&fixture);
}

static void a_kept_request_outlives_its_client_where_nobody_is_told_of_that(void **state)
{
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.on_gone = NULL;
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    http_send_text(fd, GET("/later?50"));
    assert_true(http_wait(&fixture.handled, 1));
    close(fd);
    await_connections(0);
    for (int i = 0; i < HTTP_PATIENCE_MS && atomic_load(&fixture.in_flight) > 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&fixture.in_flight),
                     0); /* its handler has found and answered it */
    http_fixture_stop(&fixture);
}

static void what_comes_behind_a_kept_request_is_served_after_it(void **state)
{
    (void)state;
    int fd = begin();
    http_send_text(fd, GET("/later?50") GET("/a") GET("/later?20") GET("/b"));
    usleep(10000);
    http_send_text(fd, GET("/c"));
    const char *const paths[] = {"path=/later\n", "path=/a\n", "path=/later\n", "path=/b\n",
                                 "path=/c\n"};
    for (size_t i = 0; i < PS_ARRAY_LEN(paths); i++) {
        expect(fd, 200);
        if (strstr(paths[i], "later") == NULL)
            assert_non_null(strstr(reply.body, paths[i]));
    }
    stop(fd);
}

static void a_client_that_leaves_while_its_request_is_kept_does_no_harm(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 20; i++) {
        int fd = http_connect(&fixture);
        http_send_text(fd, GET("/later?20"));
        assert_true(http_wait(&fixture.handled, (size_t)i + 1));
        close(fd);
    }
    await_connections(0);
    assert_int_equal(atomic_load(&fixture.connections), 0);
    assert_int_equal(atomic_load(&fixture.in_flight), 0);
    http_fixture_stop(&fixture);
}

static void draining_serves_who_is_in_and_lets_nobody_else_in(void **state)
{
    (void)state;
    start();
    int kept = http_connect(&fixture);
    http_send_text(kept, GET("/x"));
    http_read(kept, false, &reply);
    assert_null(http_field(&reply, "Connection"));
    int busy = http_connect(&fixture);
    http_send_text(busy, GET("/kept"));
    assert_true(http_wait(&fixture.handled, 2));

    http_fixture_drain(&fixture);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(fixture.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof to), -1);
    close(late);

    atomic_store(&fixture.answers_kept, true);
    expect(busy, 200);
    assert_string_equal(http_field(&reply, "Connection"), "close");
    ask(kept, GET("/shared"), 200);
    assert_string_equal(http_field(&reply, "Connection"), "close");
    assert_true(http_closed(kept));
    assert_true(http_closed(busy));
    close(kept);
    close(busy);
    http_fixture_stop(&fixture);
}

static void at_the_end_every_kept_request_is_answered(void **state)
{
    enum { CLIENTS = 20 };
    int fds[CLIENTS];
    (void)state;
    start();
    int idle = http_connect(&fixture);
    int half = http_connect(&fixture);
    http_send_text(half, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = http_connect(&fixture);
        http_send_text(fds[i], GET("/hold"));
    }
    assert_true(http_wait(&fixture.handled, CLIENTS));
    http_fixture_stop(&fixture);
    for (int i = 0; i < CLIENTS; i++) {
        expect(fds[i], 503);
        assert_non_null(strstr(reply.body, "\"code\":\"draining\""));
        assert_string_equal(http_field(&reply, "Connection"), "close");
        assert_true(http_closed(fds[i]));
        close(fds[i]);
    }
    assert_true(http_closed(idle));
    assert_true(http_closed(half));
    close(idle);
    close(half);
}

static void a_taken_port_is_reported_and_a_free_one_is_shared(void **state)
{
    int fds[3], other;
    uint16_t port, same;
    (void)state;
    assert_int_equal(srv_listen("127.0.0.1", 0, 3, fds, &port), 0);
    assert_int_equal(srv_listen("127.0.0.1", port, 1, &other, &same), PS_E_BUSY);
    assert_int_equal(srv_listen("localhost", 0, 1, &other, &same), PS_E_INVALID);
    assert_int_equal(srv_listen("192.0.2.1", 0, 1, &other, &same), PS_E_INVALID);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    assert_int_equal(srv_listen("127.0.0.1", port, 1, &other, &same), 0);
    assert_int_equal(same, port);
    close(other);
}

/* Also where the loop has slept before, and whatever else keeps the machine busy. */
static void a_turn_of_the_loop_is_told_as_long_as_it_was(void **state)
{

    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    for (int i = 0; i < 5; i++) {
        usleep(30000);
        atomic_store(&fixture.longest_turn_us, 0);
        int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
        ask(fd, "GET /work?40 HTTP/1.1\r\nHost: a\r\n\r\n", 200);
        assert_true(http_wait(&fixture.longest_turn_us, 38000));
        size_t passed_us = (size_t)(ps_clock_mono_ns(&ps_clock_system) - began_ns) / 1000;
        assert_true(atomic_load(&fixture.longest_turn_us) <= passed_us);
    }
    stop(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_body_goes_through_in_parts_both_ways),
        cmocka_unit_test(a_kept_request_keeps_its_head_while_others_are_read),
        cmocka_unit_test(an_answer_before_the_body_ends_the_connection),
        cmocka_unit_test(an_answer_that_ends_too_early_is_never_taken_for_whole),
        cmocka_unit_test(a_body_in_parts_that_stops_is_cut),
        cmocka_unit_test(who_saw_a_head_is_told_when_the_request_ends_before_its_body),
        cmocka_unit_test(a_client_that_takes_no_parts_is_cut_and_costs_little_memory),
        cmocka_unit_test(one_connection_serves_many_requests),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_request_may_come_in_single_bytes),
        cmocka_unit_test(a_body_may_hold_any_byte_and_come_in_chunks),
        cmocka_unit_test(head_answers_like_get_without_the_body),
        cmocka_unit_test(not_modified_tells_the_length_of_the_page_that_it_stands_for),
        cmocka_unit_test(a_large_heap_body_arrives_whole),
        cmocka_unit_test(a_held_body_is_released_once_whatever_becomes_of_the_client),
        cmocka_unit_test(an_answer_can_close_the_connection),
        cmocka_unit_test(a_problem_carries_its_fields),
        cmocka_unit_test(answers_of_one_shape_are_each_their_own),
        cmocka_unit_test(answers_of_many_shapes_are_each_their_own),
        cmocka_unit_test(a_field_value_with_a_line_end_is_never_sent),
        cmocka_unit_test(a_body_up_to_the_limit_is_taken_and_a_longer_one_is_413),
        cmocka_unit_test(a_client_that_waits_for_100_is_told_to_go_on_or_that_it_is_too_much),
        cmocka_unit_test(a_request_that_was_served_is_answered_however_large_its_head),
        cmocka_unit_test(a_query_may_have_as_many_parameters_as_fit),
        cmocka_unit_test(a_deep_pipeline_is_answered_whole),
        cmocka_unit_test(a_head_a_byte_at_a_time_is_cut_at_its_deadline),
        cmocka_unit_test(a_head_that_never_ends_is_cut_although_fields_keep_coming),
        cmocka_unit_test(a_body_that_does_not_come_is_cut_at_its_deadline),
        cmocka_unit_test(a_head_that_begins_behind_a_request_is_cut_at_its_deadline),
        cmocka_unit_test(what_comes_in_time_is_served_by_a_thread_that_is_late),
        cmocka_unit_test(half_a_head_that_is_late_with_its_thread_is_cut),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(
            while_idle_connections_are_not_kept_one_ends_after_a_second_but_not_in_its_head),
        cmocka_unit_test(a_trusted_proxy_may_be_idle_for_longer),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_cut),
        cmocka_unit_test(a_client_that_does_not_take_its_answer_is_reset),
        cmocka_unit_test(an_address_has_at_most_its_share_of_connections),
        cmocka_unit_test(above_the_soft_limit_a_connection_is_told_to_come_back),
        cmocka_unit_test(above_the_hard_limit_clients_wait_until_one_has_left),
        cmocka_unit_test(without_a_free_slot_a_request_is_shed),
        cmocka_unit_test(many_kept_requests_are_answered_from_the_loop),
        cmocka_unit_test(others_are_served_while_requests_are_kept),
        cmocka_unit_test(others_are_served_in_a_crowd_of_kept_requests),
        cmocka_unit_test(keeping_a_request_does_not_make_the_loop_spin),
        cmocka_unit_test(a_reset_connection_takes_its_kept_request_along),
        cmocka_unit_test(a_client_that_closes_takes_its_kept_request_along),
        cmocka_unit_test(a_client_that_has_sent_its_last_byte_gets_its_answers_and_then_the_end),
        cmocka_unit_test(a_kept_request_outlives_its_client_where_nobody_is_told_of_that),
        cmocka_unit_test(what_comes_behind_a_kept_request_is_served_after_it),
        cmocka_unit_test(a_client_that_leaves_while_its_request_is_kept_does_no_harm),
        cmocka_unit_test(draining_serves_who_is_in_and_lets_nobody_else_in),
        cmocka_unit_test(at_the_end_every_kept_request_is_answered),
        cmocka_unit_test(a_turn_of_the_loop_is_told_as_long_as_it_was),
        cmocka_unit_test(a_taken_port_is_reported_and_a_free_one_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
