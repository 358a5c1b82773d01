/* The contract on a real Redis: one server for all tests, emptied before each. */
#include "tests/unit/check.h"

#include "inventory/store_redis.h"
#include "tests/contract/redis_server.h"
#include "tests/contract/store_fixture.h"

#include <signal.h>
#include <stdio.h>

static struct redis_server server;
static struct inv_redis *redis;
static uv_loop_t loop;

static void start(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    redis_start(&server, NULL);
}

static void stop(void)
{
    redis_remove(&server);
}

static int open_store(const struct ps_clock *clock, struct inv_store **ret_store)
{
    const struct ps_uuid me = {{1, 2, 3}};
    const struct inv_redis_events events = {0};
    struct ps_redis_url url;
    struct inv_redis_settings settings = inv_redis_defaults;
    char text[48];
    (void)clock;
    settings.linger_ms = 0;
    settings.link.connect_timeout_ms = settings.link.command_timeout_ms =
        20000; /* on any machine */
    redis_do(&server, "FLUSHALL");
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d", server.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(uv_loop_init(&loop));
    assert_ok(inv_redis_new(&url, &settings, &me, &redis));
    assert_ok(inv_store_redis_new(redis, &loop, 0, &events, ret_store));
    inv_store_view_reached(*ret_store, INT64_MAX);
    while (!inv_store_ready(*ret_store))
        (void)uv_run(&loop, UV_RUN_ONCE);
    return 0;
}

static void close_store(struct inv_store *store)
{
    inv_store_free(store);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_ok(uv_loop_close(&loop));
    inv_redis_free(redis);
}

static void turn(struct inv_store *store)
{
    (void)store;
    (void)uv_run(&loop, UV_RUN_ONCE);
}

static bool busy(struct inv_store *store)
{
    return inv_store_busy(store);
}

const struct store_backend store_backend_redis = {
    .name = "inventory/redis",
    .start = start,
    .stop = stop,
    .open = open_store,
    .close = close_store,
    .turn = turn,
    .busy = busy,
    .shared = true,
    .own_clock = true,
    .schedules = 15,
    .steps = 300,
};
