/* The buyers' client against a small server in the same loop, which can also behave badly. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "loadtest/client.h"
#include "loadtest/request.h"

#include <stdio.h>
#include <stdlib.h>

enum mode {
    ANSWER,
    MUTE,
    HANG_UP,
    NONSENSE,
    CLOSING,
    IN_PIECES,
    INTERIM,
    SLOW,
    DIE,
    BUSY_THEN,
    ONCE,
    LEAVE
};

#define BODY    "{\"code\":\"sold_out\"}"
#define SLOW_MS 20
#define BUSY_MS 150

struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    struct lt_target target;
    enum mode mode;
    int requests, connections, with_key;
    bool dead;
    struct peer *peers;
};

struct peer {
    uv_tcp_t tcp;
    uv_timer_t timer;
    struct server *server;
    struct peer *next;
    char in[4096];
    size_t in_len, sent;
    int open_handles;
};

struct seen {
    int count, by_outcome[LT_GARBLED + 1];
    int status, last_tries;
    bool replayed;
    char body[64];
    int64_t least_lag_ns, most_latency_ns;
    int never_sent;
    int stop_after, stop_with;
    volatile sig_atomic_t stop;
};

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    if (--peer->open_handles > 0)
        return;
    struct peer **at = &peer->server->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    free(peer);
}

static void close_peer(struct peer *peer)
{
    if (uv_is_closing((uv_handle_t *)&peer->tcp))
        return;
    uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
    uv_close((uv_handle_t *)&peer->timer, on_peer_closed);
}

static void say(struct peer *peer, const char *text, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text, (unsigned)len);
    assert_int_equal(uv_try_write((uv_stream_t *)&peer->tcp, &buf, 1), len);
}

static const char answer[] = "HTTP/1.1 409 Conflict\r\nIdempotency-Replayed: true\r\n"
                             "Content-Length: 19\r\n\r\n" BODY;

static void on_timer(uv_timer_t *timer)
{
    struct peer *peer = timer->data;
    if (peer->server->mode == SLOW) {
        say(peer, answer, sizeof answer - 1);
        return;
    }
    say(peer, answer + peer->sent, 1);
    if (++peer->sent == sizeof answer - 1) {
        peer->sent = 0;
        uv_timer_stop(timer);
    }
}

static void die(struct server *server)
{
    server->dead = true;
    uv_close((uv_handle_t *)&server->listener, NULL);
    for (struct peer *peer = server->peers; peer != NULL; peer = peer->next)
        close_peer(peer);
}

/* The other connections end while nobody's loop turns, and the next click comes due. */
static void leave_others(struct peer *peer)
{
    for (struct peer *other = peer->server->peers; other != NULL; other = other->next)
        if (other != peer)
            close_peer(other);
    uv_sleep(BUSY_MS);
}

static void on_request(struct peer *peer)
{
    static const char nonsense[] = "\x16\x03\x01 what?\r\n\r\n";
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const char closing[] =
        "HTTP/1.1 409 Conflict\r\nConnection: close\r\n\r\n" BODY; /* ended by the end */
    static const char busy[] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    struct server *server = peer->server;
    server->requests++;
    server->with_key += strstr(peer->in, "Idempotency-Key") != NULL;
    switch (server->mode) {
    case ANSWER:
        say(peer, answer, sizeof answer - 1);
        break;
    case MUTE:
        break;
    case HANG_UP:
        if (server->requests % 2 == 1)
            close_peer(peer);
        else
            say(peer, answer, sizeof answer - 1);
        break;
    case NONSENSE:
        say(peer, nonsense, sizeof nonsense - 1);
        break;
    case CLOSING:
        say(peer, closing, sizeof closing - 1);
        close_peer(peer);
        break;
    case IN_PIECES:
        assert_ok(uv_timer_start(&peer->timer, on_timer, 0, 1));
        break;
    case INTERIM:
        say(peer, interim, sizeof interim - 1);
        say(peer, answer, sizeof answer - 1);
        break;
    case SLOW:
        assert_ok(uv_timer_start(&peer->timer, on_timer, SLOW_MS, 0));
        break;
    case ONCE:
        if (server->requests == 4)
            say(peer, answer, sizeof answer - 1);
        break;
    case DIE:
        if (server->requests >= 5 && !server->dead)
            die(server);
        else if (!server->dead)
            say(peer, answer, sizeof answer - 1);
        break;
    case LEAVE:
        if (server->requests == 1)
            leave_others(peer);
        say(peer, answer, sizeof answer - 1);
        break;
    case BUSY_THEN:
        if (server->requests == 1)
            say(peer, busy, sizeof busy - 1);
        else
            say(peer, answer, sizeof answer - 1);
        break;
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct peer *peer = handle->data;
    *buf = uv_buf_init(peer->in + peer->in_len, (unsigned)(sizeof peer->in - 1 - peer->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    (void)buf;
    struct peer *peer = stream->data;
    if (got < 0) {
        close_peer(peer);
        return;
    }
    peer->in_len += (size_t)got;
    peer->in[peer->in_len] = '\0';
    if (peer->in_len > 0 && peer->in[peer->in_len - 1] == '}') {
        peer->in_len = 0;
        on_request(peer);
    }
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct server *server = stream->data;
    assert_int_equal(status, 0);
    struct peer *peer = calloc(1, sizeof *peer);
    assert_non_null(peer);
    peer->server = server;
    peer->next = server->peers;
    server->peers = peer;
    server->connections++;
    assert_ok(uv_tcp_init(&server->loop, &peer->tcp));
    assert_ok(uv_timer_init(&server->loop, &peer->timer));
    peer->open_handles = 2;
    peer->tcp.data = peer->timer.data = peer;
    assert_ok(uv_accept(stream, (uv_stream_t *)&peer->tcp));
    assert_ok(uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read));
}

static void start_server(struct server *server, enum mode mode)
{
    *server = (struct server){.mode = mode};
    assert_ok(uv_loop_init(&server->loop));
    assert_ok(uv_tcp_init(&server->loop, &server->listener));
    server->listener.data = server;
    struct sockaddr_in any;
    assert_ok(uv_ip4_addr("127.0.0.1", 0, &any));
    assert_ok(uv_tcp_bind(&server->listener, (const struct sockaddr *)&any, 0));
    assert_ok(uv_listen((uv_stream_t *)&server->listener, 512, on_connection));
    int len = sizeof any;
    assert_ok(uv_tcp_getsockname(&server->listener, (struct sockaddr *)&any, &len));
    char url[64];
    struct ps_fault fault;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(any.sin_port));
    assert_ok(lt_target_parse(url, "--public", &server->target, &fault));
}

static void stop_server(struct server *server)
{
    if (!server->dead)
        die(server);
    while (uv_run(&server->loop, UV_RUN_DEFAULT) != 0)
        continue;
    assert_ok(uv_loop_close(&server->loop));
}

static void on_answer(const struct lt_answer *seen_answer, void *ctx)
{
    struct seen *seen = ctx;
    seen->count++;
    seen->by_outcome[seen_answer->outcome]++;
    seen->last_tries = seen_answer->click->tries;
    assert_true(seen_answer->latency_ns >= 0);
    if (seen_answer->latency_ns > seen->most_latency_ns)
        seen->most_latency_ns = seen_answer->latency_ns;
    seen->never_sent += seen_answer->sent_late_ns < 0;
    if (seen_answer->outcome == LT_ANSWERED) {
        seen->status = seen_answer->status;
        seen->replayed = seen_answer->replayed;
        (void)snprintf(seen->body, sizeof seen->body, "%.*s", (int)seen_answer->body.len,
                       seen_answer->body.at);
    }
    if (seen->count == seen->stop_after)
        seen->stop = seen->stop_with;
}

static struct server server;
static struct seen seen;

/* One play against a server that answers as `mode` says. What it was sent, and what came of it,
 * stand in `server` and `seen` afterwards. */
struct game {
    enum mode mode;
    int64_t clicks, over_ms; /* 0: 20 ms */
    size_t connections;
    uint16_t retries;
    int64_t timeout_ms;  /* 0: a minute */
    int64_t patience_ms; /* 0: as timeout_ms */
    int stop_after, stop_with;
};

static const struct lt_sku skus[] = {{"sku"}, {"other"}};

static void play(const struct game *game)
{
    int64_t over_ms = game->over_ms != 0 ? game->over_ms : 20;
    struct lt_plan_spec spec = {
        .stock = 1, .phases = {{LT_CONSTANT, over_ms, game->clicks}}, .phase_count = 1};
    struct lt_plan *plan = NULL;
    struct lt_client *client = NULL;
    struct ps_fault fault;
    start_server(&server, game->mode);
    seen = (struct seen){.stop_after = game->stop_after, .stop_with = game->stop_with};
    assert_ok(lt_plan_new(&spec, &plan, &fault));
    struct lt_client_settings settings = {
        .target = &server.target,
        .plan = plan,
        .sale = "sale",
        .skus = skus,
        .user_prefix = "buyer-",
        .client_ip_header = "X-Forwarded-For",
        .connections = game->connections,
        .timeout_ms = game->timeout_ms != 0 ? game->timeout_ms : 60000,
        .patience_ms = game->patience_ms != 0  ? game->patience_ms
                       : game->timeout_ms != 0 ? game->timeout_ms
                                               : 60000,
        .retries = game->retries,
        .stop = &seen.stop,
        .on_answer = on_answer,
        .ctx = &seen,
    };
    assert_ok(lt_client_new(&server.loop, &settings, &client, &fault));
    assert_ok(lt_client_run(client, &fault));
    struct lt_progress progress;
    lt_client_progress(client, &progress);
    assert_int_equal(progress.offered, seen.count);
    assert_int_equal(progress.in_flight, 0);
    assert_int_equal(progress.waiting, 0);
    lt_client_free(client);
    lt_plan_free(plan);
    stop_server(&server);
}

#define PLAY(...) play(&(struct game){__VA_ARGS__})

static void every_click_is_answered_once(void **state)
{
    (void)state;
    PLAY(.mode = ANSWER, .clicks = 500, .connections = 20);
    assert_int_equal(seen.count, 500);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 500);
    assert_int_equal(server.requests, 500);
    assert_int_equal(server.connections, 20); /* kept alive */
    assert_int_equal(seen.status, 409);
    assert_string_equal(seen.body, BODY);
    assert_true(seen.replayed);
}

static void a_request_says_who_where_and_which(void **state)
{
    (void)state;
    struct lt_request request;
    char text[LT_REQUEST_MAX];
    struct lt_plan_spec wants = {.skus = 2, .quantity_min = 12, .quantity_max = 12};
    const struct lt_names names = {"shop:80", "X-Forwarded-For", "buyer-"};
    assert_ok(lt_request_init(&request, &names, "sale", &wants, skus));
    struct lt_click click = {.buyer = 66000, .with_key = true};
    size_t len = lt_request_write(&request, &click, text);
    static const char expected[] =
        "POST /v1/sales/sale/orders HTTP/1.1\r\nHost: shop:80\r\n"
        "Content-Type: application/json\r\nX-User-Id: buyer-66000\r\n"
        "X-Forwarded-For: 198.19.1.208\r\nIdempotency-Key: \"click-66000\"\r\n"
        "Content-Length: 27\r\n\r\n{\"sku\":\"sku\",\"quantity\":12}";
    assert_int_equal(len, sizeof expected - 1);
    assert_memory_equal(text, expected, len);
    click.wish = 3;
    len = lt_request_write(&request, &click, text);
    assert_non_null(memmem(text, len, "Idempotency-Key: \"click-66000-3\"\r\n", 34));
    assert_non_null(memmem(text, len, "{\"sku\":\"other\",\"quantity\":12}", 29));
    click.with_key = false;
    len = lt_request_write(&request, &click, text);
    assert_null(memmem(text, len, "Idempotency", 11));
    assert_null(memmem(text, len, "Penstock", 8));
    lt_request_mark(&request, "v1;one");
    lt_request_mark(&request, "v1;two");
    len = lt_request_write(&request, &click, text);
    assert_non_null(memmem(text, len, "\r\nPenstock-Rehearsal: v1;two\r\n", 30));
    assert_null(memmem(text, len, "v1;one", 6));
}

static void an_answer_is_understood_in_every_form(void **state)
{
    (void)state;
    static const enum mode forms[] = {CLOSING, IN_PIECES, INTERIM};
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        PLAY(.mode = forms[i], .clicks = 4, .connections = 2);
        assert_int_equal(seen.by_outcome[LT_ANSWERED], 4);
        assert_int_equal(seen.status, 409);
        assert_string_equal(seen.body, BODY);
    }
}

static void silence_is_no_answer(void **state)
{
    (void)state;
    /* Six never find a free connection in time. */
    PLAY(.mode = MUTE, .clicks = 10, .connections = 4, .timeout_ms = 100);
    assert_int_equal(seen.by_outcome[LT_NO_ANSWER], 10);
    assert_true(seen.most_latency_ns >= 100 * PS_NS_PER_MS);
}

static void nonsense_is_garbled(void **state)
{
    (void)state;
    PLAY(.mode = NONSENSE, .clicks = 5, .connections = 5);
    assert_int_equal(seen.by_outcome[LT_GARBLED], 5);
}

static void a_hang_up_is_a_reset_and_nothing_is_sent_twice(void **state)
{
    (void)state;
    PLAY(.mode = HANG_UP, .clicks = 10, .connections = 2);
    assert_int_equal(seen.count, 10);
    assert_int_equal(seen.by_outcome[LT_RESET], 5);
    assert_int_equal(server.requests, 10);
}

static void no_buyer_is_sent_over_a_connection_that_has_ended(void **state)
{
    (void)state;
    PLAY(.mode = LEAVE, .clicks = 4, .over_ms = 4 * BUSY_MS, .connections = 8);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 4);
}

static void a_reset_buyer_may_try_again_with_the_same_key(void **state)
{
    (void)state;
    /* The first of every two is reset. */
    PLAY(.mode = HANG_UP, .clicks = 1, .connections = 1, .retries = 3);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.by_outcome[LT_RESET], 1);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 1);
    assert_int_equal(seen.last_tries, 1);
    assert_int_equal(server.with_key, 2);

    PLAY(.mode = BUSY_THEN, .clicks = 1, .connections = 1, .retries = 3);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 2);
    assert_int_equal(seen.status, 409);
}

static void a_dead_server_resets_and_refuses(void **state)
{
    (void)state;
    PLAY(.mode = DIE, .clicks = 16, .connections = 2);
    assert_int_equal(seen.count, 16);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 4);
    assert_true(seen.by_outcome[LT_RESET] >= 1);
    assert_true(seen.by_outcome[LT_REFUSED] >= 1);
    assert_int_equal(
        seen.by_outcome[LT_ANSWERED] + seen.by_outcome[LT_RESET] + seen.by_outcome[LT_REFUSED], 16);
}

/* One connection, answers after 20 ms each: the fifth click has waited for four others. */
static void waiting_for_a_connection_counts(void **state)
{
    (void)state;
    PLAY(.mode = SLOW, .clicks = 5, .connections = 1);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 5);
    assert_true(seen.most_latency_ns >= (5 * (SLOW_MS - 1) - 20) * PS_NS_PER_MS);
}

/* One connection that answers 50 times a second, and a click every 2 ms: only those are sent that
 * find it free soon, and a click that has waited too long is given up then, not at the timeout. */
static void a_click_waits_no_longer_than_its_patience(void **state)
{
    (void)state;
    PLAY(.mode = SLOW, .clicks = 300, .over_ms = 600, .connections = 1, .patience_ms = 10);
    assert_int_equal(seen.count, 300);
    assert_int_equal(seen.by_outcome[LT_ANSWERED] + seen.never_sent, 300);
    assert_int_equal(seen.by_outcome[LT_NO_ANSWER], seen.never_sent);
    assert_true(seen.by_outcome[LT_ANSWERED] >= 1);
    assert_true(seen.never_sent >= 150);
    assert_int_equal(server.requests, seen.by_outcome[LT_ANSWERED]);
}

static void told_to_stop_it_offers_no_more(void **state)
{
    (void)state;
    PLAY(.mode = SLOW, .clicks = 60, .over_ms = 3600000, .connections = 2, .stop_after = 1,
         .stop_with = 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(server.requests, 1);
}

/* The first click is answered, the others are not, and their buyers would wait for a minute. */
static void told_twice_to_stop_it_waits_for_nobody(void **state)
{
    (void)state;
    PLAY(.mode = ONCE, .clicks = 10, .connections = 4, .retries = 3, .timeout_ms = 60000,
         .stop_after = 1, .stop_with = 2);
    assert_int_equal(seen.by_outcome[LT_ANSWERED], 1);
    assert_int_equal(seen.by_outcome[LT_NO_ANSWER], seen.count - 1);
    assert_true(seen.most_latency_ns < 30 * PS_NS_PER_S);
}

static void only_loopback_is_loopback(void **state)
{
    (void)state;
    struct lt_target target;
    struct ps_fault fault;
    static const struct {
        const char *url;
        bool loopback;
    } cases[] = {
        {"http://127.0.0.1:80", true}, {"http://127.200.1.2/", true},
        {"http://[::1]:8080", true},   {"http://[::ffff:127.0.0.1]", true},
        {"http://192.0.2.1", false},   {"http://[2001:db8::1]:80/", false},
        {"http://0.0.0.0:80", false},  {"http://[::ffff:192.0.2.1]", false},
        {"http://localhost:81", true},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        assert_ok(lt_target_parse(cases[i].url, "--public", &target, &fault));
        assert_int_equal(target.loopback, cases[i].loopback);
    }
    assert_string_equal(target.authority, "localhost:81");
    static const char *const bad[] = {"",
                                      "127.0.0.1:80",
                                      "https://127.0.0.1",
                                      "http://",
                                      "http://:80",
                                      "http://user@127.0.0.1",
                                      "http://127.0.0.1:",
                                      "http://127.0.0.1:99999",
                                      "http://127.0.0.1:80/path",
                                      "http://[::1",
                                      "http://[::1/]",
                                      "http://127.0.0.1:8x"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        assert_int_equal(lt_target_parse(bad[i], "--public", &target, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, "--public");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_click_is_answered_once),
        cmocka_unit_test(a_request_says_who_where_and_which),
        cmocka_unit_test(an_answer_is_understood_in_every_form),
        cmocka_unit_test(silence_is_no_answer),
        cmocka_unit_test(nonsense_is_garbled),
        cmocka_unit_test(a_hang_up_is_a_reset_and_nothing_is_sent_twice),
        cmocka_unit_test(no_buyer_is_sent_over_a_connection_that_has_ended),
        cmocka_unit_test(a_reset_buyer_may_try_again_with_the_same_key),
        cmocka_unit_test(a_dead_server_resets_and_refuses),
        cmocka_unit_test(waiting_for_a_connection_counts),
        cmocka_unit_test(a_click_waits_no_longer_than_its_patience),
        cmocka_unit_test(told_to_stop_it_offers_no_more),
        cmocka_unit_test(told_twice_to_stop_it_waits_for_nobody),
        cmocka_unit_test(only_loopback_is_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
