/* Active checks against real servers on loopback, which answer as a test says. */
#include "gateway/upstream/health.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVERS_MAX 256

/* A server of one endpoint. */
struct server {
    uv_tcp_t listener;
    const char *answer; /* NULL: it says nothing */
    bool by_bytes;      /* each byte alone */
    bool closes;        /* at once, or behind the answer */
    unsigned stalls_ms; /* the thread stands still behind the answer */
    size_t asked;
    char request[1024]; /* the last one */
};

struct peer {
    uv_tcp_t tcp;
    struct server *server;
    uv_write_t write;
    bool answered;
};

struct fixture {
    uv_loop_t loop;
    struct up_health *health;
    struct server servers[SERVERS_MAX];
    size_t server_count;
    struct cfg_pool doc;
    int expect[2]; /* the document's */
    struct cfg_endpoint endpoints[SERVERS_MAX];
    size_t changes;
    struct up_verdict last;
    char last_address[CFG_ENDPOINT_SIZE];
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *peer = handle->data;

    (void)suggested;
    *buf = uv_buf_init(peer->server->request, sizeof peer->server->request - 1);
}

static void close_peer(struct peer *peer)
{
    if (!uv_is_closing((uv_handle_t *)&peer->tcp))
        uv_close((uv_handle_t *)&peer->tcp, on_closed);
}

static void on_written(uv_write_t *write, int status)
{
    struct peer *peer = write->data;

    if (status == 0 && peer->server->closes)
        close_peer(peer);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    struct server *server = peer->server;

    (void)buf;
    if (nread < 0) {
        close_peer(peer);
        return;
    }
    if (nread == 0 || peer->answered)
        return;
    server->request[nread] = '\0';
    peer->answered = true;
    server->asked++;
    if (server->answer == NULL) {
        if (server->closes)
            close_peer(peer);
        return;
    }
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)server->answer, 1);
    size_t len = strlen(server->answer), sent = 0;
    for (; server->by_bytes && sent < len; sent++) {
        out.base = (char *)(uintptr_t)server->answer + sent;
        if (uv_try_write(stream, &out, 1) != 1) { /* who has asked is gone: the test ends */
            close_peer(peer);
            return;
        }
    }
    out = uv_buf_init((char *)(uintptr_t)server->answer + sent, (unsigned)(len - sent));
    assert_int_equal(uv_write(&peer->write, stream, &out, 1, on_written), 0);
    usleep(server->stalls_ms * 1000);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct peer *peer = calloc(1, sizeof *peer);

    assert_int_equal(status, 0);
    peer->server = listener->data;
    peer->write.data = peer;
    assert_int_equal(uv_tcp_init(listener->loop, &peer->tcp), 0);
    peer->tcp.data = peer;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read), 0);
}

/* A server of a port that is taken; nobody listens yet. */
static struct server *take_port(struct fixture *f, const char *answer)
{
    struct server *server = &f->servers[f->server_count];
    struct cfg_endpoint *endpoint = &f->endpoints[f->server_count++];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len = sizeof at;

    server->answer = answer;
    assert_int_equal(uv_tcp_init(&f->loop, &server->listener), 0);
    server->listener.data = server;
    assert_int_equal(uv_tcp_bind(&server->listener, (struct sockaddr *)&at, 0), 0);
    uv_tcp_getsockname(&server->listener, (struct sockaddr *)&at, &len);
    endpoint->port = ntohs(at.sin_port);
    assert_int_equal(ps_address_parse("127.0.0.1", 9, false, &endpoint->ip), 0);
    (void)snprintf(endpoint->address, sizeof endpoint->address, "127.0.0.1:%u", endpoint->port);
    endpoint->weight = 1;
    return server;
}

static void start_server(struct fixture *f, const char *answer)
{
    struct server *server = take_port(f, answer);

    assert_int_equal(uv_listen((uv_stream_t *)&server->listener, 512, on_connection), 0);
}

static void on_changed(void *ctx, const char *pool, const char *address,
                       const struct up_verdict *verdict)
{
    struct fixture *f = ctx;

    assert_string_equal(pool, "web");
    f->changes++;
    f->last = *verdict;
    (void)snprintf(f->last_address, sizeof f->last_address, "%s", address);
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    uv_loop_init(&f->loop);
    f->expect[0] = 200;
    f->expect[1] = 204;
    f->doc = (struct cfg_pool){.name = "web",
                               .health = {.path = strdup("/healthz?deep=1"),
                                          .interval_ms = 30,
                                          .timeout_ms = 60000,
                                          .healthy_after = 2,
                                          .unhealthy_after = 3,
                                          .expect_count = 2,
                                          .expect = f->expect}};
    assert_int_equal(up_health_new(&f->loop, &ps_clock_system, on_changed, f, &f->health), 0);
    *state = f;
    return 0;
}

static void close_all(uv_handle_t *handle, void *ctx)
{
    struct fixture *f = ctx;
    bool listens = false;

    for (size_t i = 0; i < f->server_count; i++)
        listens |= handle == (uv_handle_t *)&f->servers[i].listener;
    if (!uv_is_closing(handle))
        uv_close(handle, listens || handle->type != UV_TCP ? NULL : on_closed);
}

static int end(void **state)
{
    struct fixture *f = *state;

    up_health_free(f->health);
    for (int i = 0; i < 3; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    uv_walk(&f->loop, close_all, f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->doc.health.path);
    free(f->doc.health.host);
    free(f);
    return 0;
}

static void set(struct fixture *f, size_t count)
{
    assert_int_equal(up_health_set(f->health, &f->doc, f->endpoints, count), 0);
}

static void wake(uv_timer_t *timer)
{
    (void)timer;
}

static void run_for(struct fixture *f, uint64_t ms)
{
    uv_timer_t timer;
    uint64_t until;

    uv_update_time(&f->loop);
    until = uv_now(&f->loop) + ms;
    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, wake, ms, 1);
    while (uv_now(&f->loop) < until)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* How often a timer of `each_ms` that is set again when it ends has ended meanwhile. */
static size_t run_rounds_of(struct fixture *f, uint64_t each_ms, uint64_t ms)
{
    size_t rounds = 0;

    uv_update_time(&f->loop);
    for (uint64_t until = uv_now(&f->loop) + ms; uv_now(&f->loop) < until; rounds++)
        run_for(f, each_ms);
    return rounds;
}

static void wait_for(struct fixture *f, size_t index, enum up_check check)
{
    for (int i = 0; i < 500; i++) {
        const struct up_verdict *verdict =
            up_health_find(f->health, "web", f->endpoints[index].address);
        assert_non_null(verdict);
        if (verdict->check == check)
            return;
        run_for(f, 10);
    }
    fail_msg("the verdict did not come within 5 s");
}

static const struct up_verdict *verdict_of(const struct fixture *f, size_t index)
{
    return up_health_find(f->health, "web", f->endpoints[index].address);
}

static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char bad[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

static void a_first_result_decides_alone(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    start_server(f, bad);
    f->doc.health.interval_ms = 60000;
    set(f, 2);
    assert_int_equal(verdict_of(f, 0)->check, UP_CHECK_NONE);
    assert_int_equal(verdict_of(f, 0)->since_ms, 0);
    wait_for(f, 0, UP_CHECK_PASSING);
    wait_for(f, 1, UP_CHECK_FAILING);
    assert_string_equal(verdict_of(f, 0)->why, "");
    assert_string_equal(verdict_of(f, 1)->why, "status 503");
    assert_true(verdict_of(f, 1)->since_ms > 0);
    assert_int_equal(f->changes, 2);
    assert_int_equal(f->servers[0].asked, 1);
}

static void a_request_names_path_host_and_who_asks(void **state)
{
    struct fixture *f = *state;
    char host[100];

    start_server(f, good);
    set(f, 1);
    wait_for(f, 0, UP_CHECK_PASSING);
    (void)snprintf(host, sizeof host, "\r\nHost: %s\r\n", f->endpoints[0].address);
    assert_ptr_equal(strstr(f->servers[0].request, "GET /healthz?deep=1 HTTP/1.1\r\n"),
                     f->servers[0].request);
    assert_non_null(strstr(f->servers[0].request, host));
    assert_non_null(strstr(f->servers[0].request, "\r\nUser-Agent: penstock/"));
    f->doc.health.host = strdup("shop.example");
    set(f, 1);
    static const char other[] = "\r\nHost: shop.example\r\n"; /* one before may be on its way */
    for (int i = 0; i < 500 && strstr(f->servers[0].request, other) == NULL; i++)
        run_for(f, 10);
    assert_non_null(strstr(f->servers[0].request, other));
}

static void thresholds_count_results_in_a_row(void **state)
{
    struct up_streak streak = {UP_CHECK_NONE, 0};

    (void)state;
    assert_true(up_streak_count(&streak, true, 2, 3));
    assert_false(up_streak_count(&streak, false, 2, 3));
    assert_false(up_streak_count(&streak, false, 2, 3));
    assert_false(up_streak_count(&streak, true, 2, 3));
    assert_false(up_streak_count(&streak, false, 2, 3));
    assert_false(up_streak_count(&streak, false, 2, 3));
    assert_true(up_streak_count(&streak, false, 2, 3));
    assert_int_equal(streak.check, UP_CHECK_FAILING);
    assert_false(up_streak_count(&streak, true, 2, 3));
    assert_false(up_streak_count(&streak, false, 2, 3));
    assert_false(up_streak_count(&streak, true, 2, 3));
    assert_true(up_streak_count(&streak, true, 2, 3));
    assert_int_equal(streak.check, UP_CHECK_PASSING);
}

static void an_endpoint_goes_down_and_comes_back(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    set(f, 1);
    wait_for(f, 0, UP_CHECK_PASSING);
    f->servers[0].answer = bad;
    f->servers[0].asked = 0;
    wait_for(f, 0, UP_CHECK_FAILING);
    assert_true(f->servers[0].asked >= 3);
    f->servers[0].answer = good;
    f->servers[0].asked = 0;
    wait_for(f, 0, UP_CHECK_PASSING);
    assert_true(f->servers[0].asked >= 2);
    assert_string_equal(verdict_of(f, 0)->why, "");
    assert_int_equal(f->changes, 3);
    assert_string_equal(f->last_address, f->endpoints[0].address);
}

static void each_way_to_fail_is_told(void **state)
{
    struct fixture *f = *state;
    static char endless[20000];
    static const struct {
        const char *answer;
        bool closes;
        const char *why;
    } ways[] = {
        {NULL, false, "no answer within 200 ms"},
        {NULL, true, "the connection was closed without an answer"},
        {"HTTP/1.1 200 O", true, "malformed answer: it ended in the middle of its head"},
        {"HTTP/1.1 200 O", false, "no answer within 200 ms"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", false, "malformed answer: the status line is malformed"},
        {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", false,
         "malformed answer: a field value continues in the next line"},
        {"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", false, "status 301"},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, "status 101"},
        {endless, false, "malformed answer: the header fields are too large"},
    };

    f->doc.health.timeout_ms = 200;
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, "HTTP/1.1 200 OK\r\nA: ", 20);
    for (size_t i = 0; i < PS_ARRAY_LEN(ways); i++) {
        start_server(f, ways[i].answer);
        f->servers[i].closes = ways[i].closes;
    }
    set(f, f->server_count);
    for (size_t i = 0; i < PS_ARRAY_LEN(ways); i++) {
        wait_for(f, i, UP_CHECK_FAILING);
        /* One that the machine delayed had no answer in time; the next check tells more. */
        for (int j = 0; j < 500 && strcmp(verdict_of(f, i)->why, ways[i].why) != 0; j++)
            run_for(f, 10);
        assert_string_equal(verdict_of(f, i)->why, ways[i].why);
    }
}

static void a_port_where_nobody_listens_is_refused(void **state)
{
    struct fixture *f = *state;

    (void)take_port(f, good); /* else another program might listen there */
    set(f, 1);
    wait_for(f, 0, UP_CHECK_FAILING);
    assert_string_equal(verdict_of(f, 0)->why, "connection refused");
}

static void odd_but_right_answers_pass(void **state)
{
    struct fixture *f = *state;

    start_server(f, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 No "
                    "Content\r\n\r\n");
    start_server(f, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
    start_server(f, good);
    f->servers[1].closes = true;
    f->servers[2].by_bytes = true;
    set(f, 3);
    for (size_t i = 0; i < 3; i++)
        wait_for(f, i, UP_CHECK_PASSING);
}

static void what_stays_keeps_its_verdict_and_what_goes_is_asked_no_more(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    start_server(f, good);
    f->servers[1].answer = NULL;
    set(f, 2);
    wait_for(f, 0, UP_CHECK_PASSING);
    int64_t since_ms = verdict_of(f, 0)->since_ms;
    set(f, 1); /* in the middle of the other's check */
    assert_null(verdict_of(f, 1));
    assert_int_equal(verdict_of(f, 0)->check, UP_CHECK_PASSING);
    assert_int_equal(verdict_of(f, 0)->since_ms, since_ms);
    size_t asked = f->servers[1].asked;
    run_for(f, 300);
    assert_true(f->servers[1].asked <= asked + 1);
    free(f->doc.health.path);
    f->doc.health.path = NULL;
    set(f, 1);
    assert_null(verdict_of(f, 0));
    asked = f->servers[0].asked;
    run_for(f, 100);
    assert_true(f->servers[0].asked <= asked + 1);
}

static void new_rules_are_tried_at_once_and_decide_alone(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    f->doc.health.interval_ms = 60000;
    set(f, 1);
    wait_for(f, 0, UP_CHECK_PASSING);
    f->doc.health.expect[0] = 204;
    f->doc.health.expect[1] = 201;
    set(f, 1);
    assert_int_equal(verdict_of(f, 0)->check, UP_CHECK_PASSING); /* until it is known better */
    wait_for(f, 0, UP_CHECK_FAILING);
    assert_string_equal(verdict_of(f, 0)->why, "status 200");
    assert_int_equal(f->servers[0].asked, 2);
}

static void checks_come_at_their_interval_with_a_jitter(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    set(f, 1);
    wait_for(f, 0, UP_CHECK_PASSING);
    f->servers[0].asked = 0;
    uint64_t began = uv_now(&f->loop);
    size_t rounds = run_rounds_of(f, 33, 900);
    /* Never more often than each 27 ms; about as often as the loop turns each 33 ms, which on a
     * busy machine is less. */
    assert_in_range(f->servers[0].asked, rounds / 2, (uv_now(&f->loop) - began) / 27 + 1);
    assert_true(rounds > 0);
}

static void an_answer_in_time_counts_although_the_thread_stood_still(void **state)
{
    struct fixture *f = *state;

    start_server(f, good);
    f->servers[0].stalls_ms = 1200;
    f->doc.health.timeout_ms = 1000;
    f->doc.health.interval_ms = 60000;
    set(f, 1);
    while (f->changes == 0)
        run_for(f, 10);
    assert_string_equal(f->last.why, "");
    assert_int_equal(f->last.check, UP_CHECK_PASSING);
}

static void a_pool_of_256_endpoints_is_checked(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < SERVERS_MAX; i++)
        start_server(f, i % 2 == 0 ? good : bad);
    f->doc.health.timeout_ms = 5000;
    f->doc.health.interval_ms = 60000;
    set(f, SERVERS_MAX);
    for (size_t i = 0; i < SERVERS_MAX; i++)
        wait_for(f, i, i % 2 == 0 ? UP_CHECK_PASSING : UP_CHECK_FAILING);
    assert_int_equal(f->changes, SERVERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_count_results_in_a_row),
        cmocka_unit_test_setup_teardown(a_first_result_decides_alone, begin, end),
        cmocka_unit_test_setup_teardown(a_request_names_path_host_and_who_asks, begin, end),
        cmocka_unit_test_setup_teardown(an_endpoint_goes_down_and_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(each_way_to_fail_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_port_where_nobody_listens_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(odd_but_right_answers_pass, begin, end),
        cmocka_unit_test_setup_teardown(what_stays_keeps_its_verdict_and_what_goes_is_asked_no_more,
                                        begin, end),
        cmocka_unit_test_setup_teardown(new_rules_are_tried_at_once_and_decide_alone, begin, end),
        cmocka_unit_test_setup_teardown(checks_come_at_their_interval_with_a_jitter, begin, end),
        cmocka_unit_test_setup_teardown(an_answer_in_time_counts_although_the_thread_stood_still,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_pool_of_256_endpoints_is_checked, begin, end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
