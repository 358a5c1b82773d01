/* The relay of a gateway's events: whole events only, and nothing that is not such a stream. The
 * gateway here is a socket on the same loop, which says what a test wants to the first connection,
 * and events that are well-formed to later ones. */
#include "tests/unit/check.h"

#include "loadtest/feed.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 20000
#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define GOOD HEAD "8\r\ndata: 2\n\r\n1\r\n\n\r\n"

static uv_loop_t loop;
static uv_tcp_t listener, peers[64];
static uv_timer_t patience;
static uv_write_t writes[64];
static size_t connections;
static const char *first; /* said to the first connection */
static size_t first_len;
static char got[8][LT_EVENT_MAX + 1];
static size_t got_count, wanted;

static void on_event(struct ps_str event, void *ctx)
{
    (void)ctx;
    assert_true(event.len <= LT_EVENT_MAX);
    if (got_count < 8)
        (void)snprintf(got[got_count], sizeof got[0], "%.*s", (int)event.len, event.at);
    if (++got_count == wanted)
        uv_stop(&loop);
}

static void on_connection(uv_stream_t *stream, int status)
{
    assert_int_equal(status, 0);
    assert_true(connections < 64);
    uv_tcp_t *peer = &peers[connections];
    (void)uv_tcp_init(&loop, peer);
    assert_ok(uv_accept(stream, (uv_stream_t *)peer));
    bool is_first = connections == 0;
    uv_buf_t part = uv_buf_init((char *)(uintptr_t)(is_first ? first : GOOD),
                                (unsigned)(is_first ? first_len : sizeof GOOD - 1));
    assert_ok(uv_write(&writes[connections], (uv_stream_t *)peer, &part, 1, NULL));
    connections++;
}

static void out_of_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the events did not come");
}

/* Until `count` events were passed on. */
static void play(const char *said, size_t len, size_t count)
{
    struct sockaddr_in address;
    struct lt_admin admin = {.token = "pst_x"};
    int size = sizeof address;
    first = said;
    first_len = len;
    wanted = count;
    got_count = connections = 0;
    assert_ok(uv_loop_init(&loop));
    assert_ok(uv_ip4_addr("127.0.0.1", 0, &address));
    assert_ok(uv_tcp_init(&loop, &listener));
    assert_ok(uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0));
    assert_ok(uv_listen((uv_stream_t *)&listener, 8, on_connection));
    assert_ok(uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &size));
    memcpy(&admin.target.address, &address, sizeof address);
    (void)snprintf(admin.target.authority, sizeof admin.target.authority, "127.0.0.1");
    assert_ok(uv_timer_init(&loop, &patience));
    assert_ok(uv_timer_start(&patience, out_of_patience, PATIENCE_MS, 0));
    struct lt_feed *feed = lt_feed_new(&loop, &admin, on_event, NULL);
    assert_non_null(feed);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    lt_feed_free(feed);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_close((uv_handle_t *)&listener, NULL);
    for (size_t i = 0; i < connections; i++)
        uv_close((uv_handle_t *)&peers[i], NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
}

static void events_are_passed_on_whole_however_they_are_cut(void **state)
{
    (void)state;
    static const char said[] =
        HEAD "3\r\nid:\r\n6\r\n 1\ndat\r\n8\r\na: {}\n\nd\r\n6\r\nata: 3\r\n2\r\n\n\n\r\n";
    play(said, sizeof said - 1, 2);
    assert_int_equal(connections, 1);
    assert_string_equal(got[0], "id: 1\ndata: {}\n\n");
    assert_string_equal(got[1], "data: 3\n\n");
}

/* Then it connects again. */
static void what_is_no_stream_of_events_is_not_passed_on(void **state)
{
    (void)state;
    static const char *const others[] = {
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\ndata: 1\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: 1\n\n",
        "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n",
        HEAD "x\r\ndata: 1\n\n",
        HEAD "0\r\n\r\n",
        "data: 1\n\n",
        "\x16\x03\x01",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(others); i++) {
        play(others[i], strlen(others[i]), 1);
        assert_true(connections > 1);
        assert_string_equal(got[0], "data: 2\n\n");
    }
}

static void an_event_or_a_head_without_an_end_is_dropped(void **state)
{
    (void)state;
    size_t size = 2 * LT_EVENT_MAX;
    char *said = malloc(size + 256);
    assert_non_null(said);
    int len = snprintf(said, 256, HEAD "%zx\r\n", size);
    memset(said + len, 'x', size);
    play(said, (size_t)len + size, 1);
    assert_string_equal(got[0], "data: 2\n\n");
    len = snprintf(said, 256, "HTTP/1.1 200 OK\r\nX: ");
    memset(said + len, 'x', size);
    play(said, (size_t)len + size, 1);
    assert_string_equal(got[0], "data: 2\n\n");
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_passed_on_whole_however_they_are_cut),
        cmocka_unit_test(what_is_no_stream_of_events_is_not_passed_on),
        cmocka_unit_test(an_event_or_a_head_without_an_end_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
