/* What one client can make the server keep, and how much of its time it gets: pipelined requests
 * whose answers nobody reads, many requests at once, tiny chunks, connections beyond the cap. And
 * that no byte of an answer ever reaches another client. */
#include "gateway/server/address_count.h"
#include "http_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST      "Host: shop.example\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

static struct http_reply reply;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static _Thread_local bool no_memory;

void *__wrap_malloc(size_t size)
{
    return no_memory ? NULL : __real_malloc(size);
}

/* A client that takes little at once, with an address of loopback of its own. */
static int connect_as(const struct http_fixture *fixture, uint8_t last)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(fixture->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) | last)};
    struct timeval wait = {.tv_sec = HTTP_PATIENCE_MS / 1000};
    int small = 4096, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Sends it `count` times in one piece. */
static void send_often(int fd, const char *first, const char *text, size_t count)
{
    static char all[64 * 1024];
    size_t len = strlen(text), at = strlen(first);

    memcpy(all, first, at);
    for (size_t i = 0; i < count; i++, at += len) {
        assert_true(at + len <= sizeof all);
        memcpy(all + at, text, len);
    }
    http_send(fd, all, at);
}

/* Until the loop has had the time to do whatever it would do. */
static size_t settled(atomic_size_t *count)
{
    size_t before, now = atomic_load(count);

    do {
        before = now;
        usleep(100000);
        now = atomic_load(count);
    } while (now != before);
    return now;
}

/* --- Pipelined requests --- */

static void unread_answers_to_pipelined_requests_are_bounded(void **state)
{
    enum { REQUESTS = 300 };
    static const char *const asked[] = {GET("/held?100000"), GET("/heap")};
    (void)state;

    for (size_t i = 0; i < PS_ARRAY_LEN(asked); i++) {
        struct http_fixture fixture;
        http_fixture_init(&fixture);
        http_fixture_start(&fixture);
        int fd = connect_as(&fixture, 1);
        send_often(fd, "", asked[i], REQUESTS);
        assert_true(http_wait(&fixture.handled, 1));
        /* What the kernel buffers, 4 MB at most, and 64 KiB. */
        assert_in_range(settled(&fixture.handled), 1, 60);
        for (int j = 0; j < REQUESTS; j++) {
            http_read(fd, false, &reply);
            assert_int_equal(reply.status, 200);
            assert_int_equal(reply.body_len, 100000);
        }
        http_send_text(fd, GET("/shared"));
        http_read(fd, false, &reply);
        assert_string_equal(reply.body, "shared");
        close(fd);
        http_fixture_stop(&fixture);
    }
}

static void after_32_requests_a_connection_waits_for_the_others(void **state)
{
    enum { REQUESTS = 1000 };
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    int greedy = http_connect(&fixture), other = http_connect(&fixture);
    assert_true(http_wait(&fixture.connections, 2));
    send_often(greedy, GET("/gate"), GET("/shared"), REQUESTS);
    assert_true(http_wait(&fixture.at_gate, 1));
    http_send_text(other, GET("/nap?0"));
    atomic_store(&fixture.gate_is_open, true);
    http_read(other, false, &reply);
    assert_in_range(atoi(reply.body), 1, 3 * 32);
    for (int i = 0; i <= REQUESTS; i++) {
        http_read(greedy, false, &reply);
        assert_int_equal(reply.status, 200);
    }
    close(greedy);
    close(other);
    http_fixture_stop(&fixture);
}

/* Nobody is closed because the thread was late; half a head behind such requests still is. */
static void requests_that_wait_for_their_turn_are_not_late(void **state)
{
    enum { REQUESTS = 40 };
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.head_timeout_ms = 500;
    fixture.settings.idle_timeout_ms = 1;
    http_fixture_start(&fixture);
    int gate = http_connect(&fixture), greedy = http_connect(&fixture);
    int busy = http_connect(&fixture);
    assert_true(http_wait(&fixture.connections, 3));
    http_send_text(gate, GET("/gate"));
    assert_true(http_wait(&fixture.at_gate, 1));
    send_often(greedy, "", GET("/shared"), REQUESTS);
    http_send_text(busy, GET("/nap?1000"));
    atomic_store(&fixture.gate_is_open, true);
    for (int i = 0; i < REQUESTS; i++) {
        http_read(greedy, false, &reply);
        assert_int_equal(reply.status, 200);
    }
    close(greedy);
    greedy = http_connect(&fixture);
    send_often(greedy, "", GET("/shared"), REQUESTS);
    http_send_text(greedy, "GET /x HTTP/1.1\r\n");
    for (int i = 0; i < REQUESTS; i++)
        http_read(greedy, false, &reply);
    assert_true(http_closed(greedy));
    close(gate);
    close(greedy);
    close(busy);
    http_fixture_stop(&fixture);
}

/* --- Bodies in parts --- */

/* A handler that keeps its request; what it does later is done on the server's thread, outside of
 * any reading. */
static struct {
    struct http_fixture *fixture;
    struct srv_request *kept;
    void (*next)(struct srv_request *request); /* NULL: nothing */
    size_t parts, bytes, released;
    bool pause;
} script;

#define MUCH ((size_t)8 << 20)
static char much[MUCH];

static void on_script_turn(int64_t turn_ns, void *ctx)
{
    (void)turn_ns;
    (void)ctx;
    if (script.kept == NULL || script.next == NULL)
        return;
    struct srv_request *request = script.kept;
    void (*next)(struct srv_request * request) = script.next;
    script.next = NULL;
    next(request);
}

static void count_release(void *held)
{
    (void)held;
    script.released++;
}

static void keep_or_answer(struct srv_request *request, void *ctx)
{
    struct http_fixture *fixture = ctx;

    if (request->path.len > 1) { /* "/" is the one that is kept */
        srv_answer(request, 200, "text/plain", PS_STR("own"), false);
    } else {
        srv_suspend(request);
        script.kept = request;
    }
    atomic_fetch_add(&fixture->handled, 1);
}

static void forget(struct srv_request *request, void *ctx)
{
    (void)request;
    (void)ctx;
    script.kept = NULL;
}

static bool wants_all(struct srv_request *request, void *ctx)
{
    (void)request;
    (void)ctx;
    return true;
}

static void resume(struct srv_request *request)
{
    srv_resume(request);
}

static bool take_part(struct srv_request *request, struct ps_str part, bool last, void *ctx)
{
    (void)ctx;
    script.parts++;
    script.bytes += part.len;
    if (script.pause) { /* its answer does not leave, and it is resumed meanwhile */
        script.pause = false;
        (void)srv_answer_part(request, (struct ps_str){much, MUCH});
        script.next = resume;
    }
    if (last) {
        script.kept = NULL;
        srv_answer_end(request, true);
    }
    return script.next == NULL;
}

static void ignore_room(struct srv_request *request, void *ctx)
{
    (void)request;
    (void)ctx;
}

static void begin_much(struct srv_request *request)
{
    http_begin_answer(request, -1);
    (void)srv_answer_part(request, (struct ps_str){much, MUCH});
}

static void begin_answer(struct srv_request *request, void *ctx)
{
    keep_or_answer(request, ctx);
    if (request->path.len > 1)
        return;
    if (request->query.len > 0)
        begin_much(request);
    else
        http_begin_answer(request, -1);
}

static void start_script(struct http_fixture *fixture,
                         void (*handle)(struct srv_request *request, void *ctx))
{
    memset(&script, 0, sizeof script);
    http_fixture_init(fixture);
    fixture->settings.on_turn = on_script_turn;
    fixture->settings.on_gone = forget;
    fixture->settings.on_head = wants_all;
    fixture->settings.on_part = take_part;
    fixture->settings.on_room = ignore_room;
    fixture->settings.body_timeout_ms = 10000;
    fixture->handle = handle;
    fixture->handle_ctx = fixture;
    http_fixture_start(fixture);
}

/* Reads up to the end of a chunked answer. */
static bool read_chunked(int fd)
{
    static const char end[] = "\r\n0\r\n\r\n";
    static char buffer[256 * 1024];
    char tail[sizeof end - 1] = "";

    for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
        size_t len = (size_t)got, keep = len < sizeof tail ? len : sizeof tail;
        memmove(tail, tail + keep, sizeof tail - keep);
        memcpy(tail + sizeof tail - keep, buffer + len - keep, keep);
        if (memcmp(tail, end, sizeof tail) == 0)
            return true;
    }
    return false;
}

#define UPLOAD "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

/* F30. */
static void chunks_that_come_together_are_one_part(void **state)
{
    struct http_fixture fixture;
    (void)state;
    start_script(&fixture, begin_answer);
    int fd = http_connect(&fixture);
    send_often(fd, UPLOAD, "1\r\nx\r\n", 5000);
    http_send_text(fd, "0\r\n\r\n");
    assert_true(read_chunked(fd));
    close(fd);
    http_fixture_stop(&fixture);
    assert_int_equal(script.bytes, 5000);
    assert_in_range(script.parts, 1, 5);
}

static void an_upload_goes_on_when_its_client_has_taken_the_answer(void **state)
{
    struct http_fixture fixture;
    (void)state;
    start_script(&fixture, begin_answer);
    script.pause = true;
    int fd = connect_as(&fixture, 1);
    int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
    http_send_text(fd, UPLOAD "3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n");
    usleep(200000); /* its answer fills what the kernel takes, and it is resumed */
    assert_true(read_chunked(fd));
    assert_true(ps_clock_mono_ns(&ps_clock_system) - began_ns < 8 * PS_NS_PER_S);
    close(fd);
    http_fixture_stop(&fixture);
    assert_int_equal(script.bytes, 9);
}

/* Its head is the last that is read in this turn. */
static void an_upload_behind_many_requests_goes_on(void **state)
{
    static const char *const uploads[] = {UPLOAD, "POST /?much HTTP/1.1\r\n" HOST
                                                  "Transfer-Encoding: chunked\r\n\r\n"};
    (void)state;

    for (size_t i = 0; i < PS_ARRAY_LEN(uploads); i++) {
        struct http_fixture fixture;
        char all[8192] = "";
        start_script(&fixture, begin_answer);
        int fd = connect_as(&fixture, 1);
        int64_t began_ns = ps_clock_mono_ns(&ps_clock_system);
        for (size_t j = 0; j < 31; j++)
            strcat(all, GET("/x"));
        strcat(strcat(all, uploads[i]), "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
        http_send_text(fd, all);
        for (size_t j = 0; j < 31; j++) {
            http_read(fd, false, &reply);
            assert_string_equal(reply.body, "own");
        }
        assert_true(read_chunked(fd));
        assert_true(ps_clock_mono_ns(&ps_clock_system) - began_ns < 8 * PS_NS_PER_S);
        close(fd);
        http_fixture_stop(&fixture);
        assert_int_equal(script.bytes, 6);
    }
}

/* --- No answer reaches somebody else --- */

static void answer_too_short(struct srv_request *request)
{
    srv_answer_forward(request,
                       &(struct srv_forward){.status = 200, .fields = PS_STR(""), .len = 1000},
                       PS_STR("somebody's secret"), true);
}

static void answer_without_memory(struct srv_request *request)
{
    no_memory = true;
    srv_answer_held(request,
                    &(struct srv_forward){
                        .status = 200, .fields = PS_STR("X-Secret: of somebody\r\n"), .len = 20000},
                    (struct ps_str){much, 20000}, count_release, NULL);
    no_memory = false;
}

static void an_answer_that_breaks_off_reaches_nobody_else(void **state)
{
    static void (*const breaks[])(struct srv_request * request) = {answer_too_short,
                                                                   answer_without_memory};
    (void)state;

    for (size_t i = 0; i < PS_ARRAY_LEN(breaks); i++) {
        struct http_fixture fixture;
        start_script(&fixture, keep_or_answer);
        int broken = http_connect(&fixture), other = http_connect(&fixture);
        assert_true(http_wait(&fixture.connections, 2));
        script.next = breaks[i];
        http_send_text(broken, GET("/"));
        assert_true(http_closed(broken));
        http_send_text(other, GET("/other"));
        http_read(other, false, &reply);
        assert_string_equal(reply.body, "own");
        assert_null(http_field(&reply, "X-Secret"));
        http_send_text(other, GET("/other"));
        http_read(other, false, &reply);
        assert_string_equal(reply.body, "own");
        close(broken);
        close(other);
        http_fixture_stop(&fixture);
        assert_int_equal(script.released, i);
    }
}

/* --- Connections --- */

static void a_refused_connection_costs_no_place(void **state)
{
    enum { REFUSED = 150, CAP = 4 };
    struct http_fixture fixture;
    int inside[CAP], refused[REFUSED];
    (void)state;
    http_fixture_init(&fixture);
    fixture.settings.connections_soft = 16;
    fixture.settings.connections_hard = 116;
    fixture.settings.connections_address = CAP;
    http_fixture_start(&fixture);
    for (size_t i = 0; i < CAP; i++) {
        inside[i] = connect_as(&fixture, 1);
        http_send_text(inside[i], GET("/shared"));
        http_read(inside[i], false, &reply);
        assert_int_equal(reply.status, 200);
    }
    for (size_t i = 0; i < REFUSED; i++) {
        refused[i] = connect_as(&fixture, 1);
        http_send_text(refused[i], GET("/shared"));
        http_read(refused[i], false, &reply);
        assert_int_equal(reply.status, 503);
        if (i % 10 != 0)
            continue;
        int other = connect_as(&fixture, 2);
        http_send_text(other, GET("/shared"));
        http_read(other, false, &reply);
        assert_int_equal(reply.status, 200);
        close(other);
    }
    for (size_t i = 0; i < CAP; i++) { /* who was in is served on */
        http_send_text(inside[i], GET("/shared"));
        http_read(inside[i], false, &reply);
        assert_int_equal(reply.status, 200);
        close(inside[i]);
    }
    for (size_t i = 0; i < REFUSED; i++)
        close(refused[i]);
    http_fixture_stop(&fixture);
}

static void trust_who_asks_for_it(struct srv_request *request, void *ctx)
{
    (void)ctx;
    if (request->path.len == strlen("/token"))
        srv_trust(request);
    srv_answer(request, 200, "text/plain", PS_STR("own"), false);
}

static void start_with_room(struct http_fixture *fixture, size_t connections, size_t requests)
{
    http_fixture_init(fixture);
    fixture->settings.connections_soft = connections;
    fixture->settings.connections_hard = 2 * connections;
    fixture->settings.requests_max = requests;
    fixture->settings.makes_room = true;
    fixture->handle = trust_who_asks_for_it;
    http_fixture_start(fixture);
}

static void ask(int fd, const char *request)
{
    http_send_text(fd, request);
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
}

/* Who says nothing, who has said half of a head or of a body, and who has asked and is silent now.
 */
static void the_longest_silent_connection_makes_room(void **state)
{
    enum { PLACES = 8 };
    static const char *const said[] = {"", "GET /x HTTP/1.1\r\n",
                                       "POST /x HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\n12",
                                       GET("/x")};
    (void)state;

    for (size_t i = 0; i < PS_ARRAY_LEN(said); i++) {
        struct http_fixture fixture;
        int silent[3 * PLACES];
        start_with_room(&fixture, PLACES, 2 * PLACES);
        int known = http_connect(&fixture);
        ask(known, GET("/token"));
        for (size_t j = 0; j < PS_ARRAY_LEN(silent); j++) {
            silent[j] = http_connect(&fixture);
            http_send_text(silent[j], said[i]);
            ask(known, GET("/x"));
        }
        int newcomer = http_connect(&fixture);
        ask(newcomer, GET("/x"));
        ask(known, GET("/x"));
        assert_true(http_closed(silent[0]));
        assert_true(http_wait(&fixture.refused[ANS_V_too_many_connections], 2 * PLACES));
        close(known);
        close(newcomer);
        for (size_t j = 0; j < PS_ARRAY_LEN(silent); j++)
            close(silent[j]);
        http_fixture_stop(&fixture);
    }
}

static void half_a_request_gives_its_slot_to_a_whole_one(void **state)
{
    enum { SLOTS = 4 };
    struct http_fixture fixture;
    int half[2 * SLOTS];
    (void)state;

    start_with_room(&fixture, 100, SLOTS);
    int silent = http_connect(&fixture);
    for (size_t i = 0; i < PS_ARRAY_LEN(half); i++) {
        half[i] = http_connect(&fixture);
        http_send_text(half[i], "GET /x HTTP/1.1\r\n");
    }
    assert_true(http_wait(&fixture.refused[ANS_V_shed], SLOTS));
    int newcomer = http_connect(&fixture);
    ask(newcomer, GET("/x"));
    assert_true(http_closed(half[0]));
    ask(silent, GET("/x")); /* it had no slot to give */
    close(silent);
    close(newcomer);
    for (size_t i = 0; i < PS_ARRAY_LEN(half); i++)
        close(half[i]);
    http_fixture_stop(&fixture);
}

static void among_trusted_ones_an_idle_one_makes_room(void **state)
{
    enum { PLACES = 4 };
    struct http_fixture fixture;
    int known[PLACES];
    (void)state;

    start_with_room(&fixture, PLACES, 2 * PLACES);
    for (size_t i = 0; i < PLACES; i++) {
        known[i] = http_connect(&fixture);
        ask(known[i], GET("/token"));
    }
    for (size_t i = 0; i < 3 * PLACES; i++) { /* strangers have one place among them */
        int newcomer = http_connect(&fixture);
        ask(newcomer, GET("/x"));
        for (size_t j = 1; j < PLACES; j++)
            ask(known[j], GET("/x"));
        close(newcomer);
    }
    assert_true(http_closed(known[0]));
    for (size_t i = 0; i < PLACES; i++)
        close(known[i]);
    http_fixture_stop(&fixture);
}

static struct ps_address address(const char *text)
{
    struct ps_address is;

    assert_int_equal(ps_address_parse(text, strlen(text), false, &is), 0);
    return is;
}

static void a_48_has_four_times_the_connections_of_a_64(void **state)
{
    enum { MOST = 3, ALL = MOST * SRV_ADDRESS_SITE };
    struct srv_address_count *count;
    struct ps_address at[ALL];
    (void)state;

    assert_int_equal(srv_address_count_new(64, MOST, &count), 0);
    for (int i = 0; i < ALL; i++) {
        char text[64];
        snprintf(text, sizeof text, "2001:db8:7:%x::%x", i / MOST, i + 1);
        at[i] = address(text);
        assert_true(srv_address_add(count, &at[i]));
        struct ps_address same = address(text);
        if (i % MOST == MOST - 1)
            assert_false(srv_address_add(count, &same));
    }
    struct ps_address sibling = address("2001:db8:7:ffff::1"), other = address("2001:db8:8::1"),
                      v4 = address("192.0.2.1");
    assert_false(srv_address_add(count, &sibling));
    for (int i = 0; i < MOST; i++) {
        assert_true(srv_address_add(count, &other));
        assert_true(srv_address_add(count, &v4));
    }
    assert_false(srv_address_add(count, &other));
    assert_false(srv_address_add(count, &v4));
    srv_address_drop(count, &at[0]);
    assert_true(srv_address_add(count, &sibling));
    assert_false(srv_address_add(count, &at[0]));
    srv_address_drop(count, &sibling);
    for (int i = 1; i < ALL; i++)
        srv_address_drop(count, &at[i]);
    for (int i = 0; i < ALL; i++)
        assert_true(srv_address_add(count, &at[i]));
    srv_address_count_free(count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unread_answers_to_pipelined_requests_are_bounded),
        cmocka_unit_test(after_32_requests_a_connection_waits_for_the_others),
        cmocka_unit_test(requests_that_wait_for_their_turn_are_not_late),
        cmocka_unit_test(chunks_that_come_together_are_one_part),
        cmocka_unit_test(an_upload_goes_on_when_its_client_has_taken_the_answer),
        cmocka_unit_test(an_upload_behind_many_requests_goes_on),
        cmocka_unit_test(an_answer_that_breaks_off_reaches_nobody_else),
        cmocka_unit_test(a_refused_connection_costs_no_place),
        cmocka_unit_test(the_longest_silent_connection_makes_room),
        cmocka_unit_test(half_a_request_gives_its_slot_to_a_whole_one),
        cmocka_unit_test(among_trusted_ones_an_idle_one_makes_room),
        cmocka_unit_test(a_48_has_four_times_the_connections_of_a_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
