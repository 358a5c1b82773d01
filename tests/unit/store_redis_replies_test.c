/* The counter in Redis against a server that answers in the protocol, but with what no script of
 * ours says: every call is answered all the same, once, and what was not said is not believed. */
#include "tests/unit/check.h"

#include "inventory/shared.h"
#include "inventory/store_redis.h"
#include "tests/unit/redis_fake.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define RUN_ID "0123456789012345678901234567890123456789"
#define INFO                                                                                       \
    "$168\r\n# Server\r\nredis_version:7.0.15\r\nrun_id:" RUN_ID                                   \
    "\r\n# Replication\r\nrole:master\r\nmaster_replid:aaaa\r\n# Memory\r\n"                       \
    "maxmemory_policy:noeviction\r\n\r\n"
/* Epoch 5, installed here. */
#define CUR "*3\r\n$1\r\n5\r\n$45\r\n" RUN_ID ":aaaa\r\n*0\r\n"

static const char *const odd[] = {
    ":7\r\n",
    ":-9223372036854775808\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    "*-1\r\n",
    "*0\r\n",
    "+ODD\r\n",
    "-\r\n",
    "-ODD\r\n",
    "*1\r\n*1\r\n*0\r\n",
    "*1\r\n:1\r\n",
    "*2\r\n:1\r\n:1\r\n",
    "*2\r\n$-1\r\n:5\r\n",
    "*2\r\n$0\r\n\r\n*0\r\n",
    "*2\r\n$0\r\n\r\n:1\r\n",
    "*2\r\n$3\r\nodd\r\n:1\r\n",
    "*3\r\n:1\r\n:2\r\n:3\r\n",
    "*3\r\n*-1\r\n*-1\r\n*-1\r\n",
    "*3\r\n$1\r\n5\r\n$1\r\nx\r\n$-1\r\n",
    "*3\r\n$1\r\nx\r\n$1\r\nx\r\n*0\r\n",
    "*3\r\n$1\r\n5\r\n$45\r\n" RUN_ID ":aaaa\r\n*3\r\n:1\r\n*0\r\n$-1\r\n",
    "*3\r\n:1\r\n*3\r\n:1\r\n:1\r\n:1\r\n*3\r\n:1\r\n:1\r\n:1\r\n",
    "*3\r\n:1\r\n*3\r\n$16\r\n0123456789abcdef\r\n$-1\r\n$-1\r\n*0\r\n",
    "*3\r\n:1\r\n*0\r\n*3\r\n$1\r\n5\r\n$-1\r\n*1\r\n:1\r\n",
    "*3\r\n:1\r\n*0\r\n*3\r\n$1\r\n5\r\n$45\r\n" RUN_ID ":aaaa\r\n:1\r\n",
    "*3\r\n:1\r\n$1\r\n0\r\n*2\r\n*0\r\n*0\r\n",
    "*3\r\n$-1\r\n$1\r\nx\r\n*3\r\n$16\r\n0123456789abcdef\r\n$1\r\nx\r\n$-1\r\n",
    "*4\r\n$1\r\n0\r\n*0\r\n$5\r\nblack\r\n$-1\r\n",
    "*5\r\n$0\r\n\r\n:1\r\n$5\r\nblack\r\n$1\r\n1\r\n*-1\r\n",
};

static uv_loop_t loop;
static struct fake fake;
static struct inv_redis *redis;
static struct inv_store *store;
static struct inv_sale *sale;
static unsigned answered;

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
}

/* --- what is called --- */

static void on_answer(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    (void)handle, (void)ctx;
    answered++;
    assert_int_equal(err, PS_E_UNKNOWN);
    assert_null(answer);
}

static int reserve(void)
{
    const struct inv_reservation r = {
        .epoch = 5, .user = PS_STR("ann"), .key = PS_STR("k"), .quantity = 1, .cap = 1};
    struct inv_answer answer;
    return inv_store_reserve(store, sale, &r,
                             (struct inv_reply_to){.on_answer = on_answer, .ret_answer = &answer});
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    (void)handle, (void)ctx;
    answered++;
    assert_true(err < 0 && entry == NULL);
}

static int find(void)
{
    const struct ps_uuid id = {{1}};
    struct inv_entry entry;
    return inv_store_find(store, sale, &id,
                          (struct inv_reply_to){.on_entry = on_entry, .ret_entry = &entry});
}

static void on_counts(uint64_t handle, int err, const struct inv_count *counts, void *ctx)
{
    (void)handle, (void)ctx;
    answered++;
    assert_int_equal(err < 0, counts == NULL);
}

static int ask_counts(void)
{
    struct inv_count count;
    return inv_store_counts(store, sale,
                            (struct inv_reply_to){.on_counts = on_counts, .ret_counts = &count});
}

static void on_applied(int err, int64_t epoch, const struct inv_applied *applied, size_t count,
                       void *ctx)
{
    (void)epoch, (void)count, (void)ctx;
    answered++;
    assert_int_equal(err < 0, applied == NULL);
}

static int ask_applied(void)
{
    return inv_shared_applied(store, sale, on_applied, NULL);
}

static void on_doubts(int err, const struct inv_doubt *doubts, size_t count, uint64_t next_cursor,
                      void *ctx)
{
    (void)doubts, (void)next_cursor, (void)ctx;
    answered++;
    assert_true(err < 0 || count == 0);
}

static int ask_doubts(void)
{
    return inv_shared_doubts(store, sale, 0, 0, on_doubts, NULL);
}

static void on_pulse(int err, const struct inv_heartbeat_reply *pulse, void *ctx)
{
    (void)ctx;
    answered++;
    assert_true(err < 0 || pulse->other_log != NULL || pulse->member_count == 0);
}

static int pulse(void)
{
    const struct inv_heartbeat beat = {.name = "north"};
    return inv_shared_heartbeat(store, &(struct inv_heartbeat_call){&beat, NULL, &sale, 1},
                                on_pulse, NULL);
}

static void on_lease(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    (void)ttl_ms, (void)ctx;
    answered++;
    assert_int_equal(err < 0, holder == NULL);
}

static int lease(void)
{
    return inv_shared_lease(store, NULL, 1000, on_lease, NULL);
}

static void on_cur(int err, const struct inv_installed *cur, void *ctx)
{
    (void)ctx;
    answered++;
    assert_int_equal(err < 0, cur == NULL);
}

static int ask_cur(void)
{
    return inv_shared_installed(store, "drop", on_cur, NULL);
}

static void on_attached(int err, struct inv_sale *attached, void *ctx)
{
    (void)ctx;
    answered++;
    if (err == 0)
        sale = attached;
}

static int attach(void)
{
    const char *const skus[] = {"black"};
    return inv_shared_attach(store, &(struct inv_attach){"drop", 5, skus, 1}, on_attached, NULL);
}

/* --- set-up --- */

static void answer_one(int (*call)(void))
{
    answered = 0;
    assert_int_equal(call(), INV_PENDING);
    while (answered == 0)
        turn();
    assert_int_equal(answered, 1);
}

static int set_up(void **state)
{
    const char *const script[] = {INFO, NULL};
    const struct inv_redis_events events = {0};
    const struct ps_uuid start = {{9}};
    struct inv_redis_settings settings = inv_redis_defaults;
    struct ps_redis_url url;
    char text[64];
    (void)state;
    sale = NULL;
    settings.link.check_ms = 0;
    settings.link.command_timeout_ms = settings.load_timeout_ms = 10000;
    assert_ok(uv_loop_init(&loop));
    fake_start(&fake, &loop);
    fake_script(&fake, script, CUR);
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d", fake.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(inv_redis_new(&url, &settings, &start, &redis));
    assert_ok(inv_store_redis_new(redis, &loop, 0, &events, &store));
    while (!inv_store_ready(store))
        turn();
    answer_one(attach);
    assert_non_null(sale);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    inv_store_free(store);
    fake_stop(&fake);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    inv_redis_free(redis);
    return 0;
}

/* --- claims --- */

static void whatever_a_reply_is_its_call_is_answered_once(void **state)
{
    static int (*const calls[])(void) = {reserve, find,  ask_counts, ask_applied, ask_doubts,
                                         pulse,   lease, ask_cur,    attach};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(odd); i++) {
        fake_script(&fake, NULL, odd[i]);
        for (size_t c = 0; c < PS_ARRAY_LEN(calls); c++)
            answer_one(calls[c]);
    }
    assert_true(inv_store_ready(store));
}

struct loading {
    int err;
    _Atomic(bool) done;
};

static void *load(void *arg)
{
    const char *const skus[] = {"black"};
    struct loading *loading = arg;
    struct inv_load *made;
    struct inv_sale *installed;
    loading->err = inv_load_new(store, "drop", 6, skus, 1, &made);
    if (loading->err == 0)
        loading->err = inv_load_available(made, 0, 10);
    if (loading->err == 0)
        loading->err = inv_load_install(made, &installed);
    atomic_store(&loading->done, true);
    return NULL;
}

static void whatever_is_said_to_an_install_only_ok_puts_it_in_force(void **state)
{
    const char *const script[] = {INFO, ":5\r\n", NULL}; /* a chunk of five fields is there */
    const struct timespec nap = {.tv_nsec = 1000000};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(odd); i++) {
        struct loading loading = {0};
        pthread_t thread;
        fake_script(&fake, script, odd[i]);
        assert_int_equal(pthread_create(&thread, NULL, load, &loading), 0);
        while (!atomic_load(&loading.done)) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
            (void)nanosleep(&nap, NULL);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(loading.err < 0);
        assert_int_equal(inv_sale_epoch(sale), 5);
    }
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest claims[] = {
        CLAIM(whatever_a_reply_is_its_call_is_answered_once),
        CLAIM(whatever_is_said_to_an_install_only_ok_puts_it_in_force),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(claims, NULL, NULL);
}
