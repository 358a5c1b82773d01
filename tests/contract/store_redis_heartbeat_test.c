/* What gateways tell each other by way of Redis, on a real server: the heartbeat, which also tells
 * what is left, which epoch is installed, and whose log is counted. Each test has the server empty,
 * and one gateway with the sale "drop" open under EPOCH, STOCK of each SKU. */
#include "tests/unit/check.h"

#include "tests/contract/store_redis_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

struct noted_heartbeat {
    bool here;
    int err;
    struct inv_heartbeat_reply heartbeat;
    struct inv_member members[4];
    struct inv_sale_state sales[4];
    char foreign[4][128]; /* ""; or what is foreign of it */
    char other_log[32];   /* "": told of none */
    bool refused;
};

static void on_heartbeat(int err, const struct inv_heartbeat_reply *heartbeat, void *ctx)
{
    struct noted_heartbeat *noted = ctx;
    noted->here = true;
    noted->err = err;
    if (err < 0)
        return;
    noted->heartbeat = *heartbeat;
    noted->refused = heartbeat->other_log != NULL;
    (void)snprintf(noted->other_log, sizeof noted->other_log, "%s",
                   noted->refused ? heartbeat->other_log : "");
    if (noted->refused)
        return; /* nothing else is told */
    memcpy(noted->members, heartbeat->members,
           heartbeat->member_count * sizeof *heartbeat->members);
    memcpy(noted->sales, heartbeat->sales, heartbeat->sale_count * sizeof *heartbeat->sales);
    for (size_t i = 0; i < heartbeat->sale_count; i++)
        (void)snprintf(noted->foreign[i], sizeof noted->foreign[i], "%s",
                       heartbeat->sales[i].foreign != NULL ? heartbeat->sales[i].foreign : "");
}

static struct noted_heartbeat heartbeat_for(struct gateway *gateway,
                                            const struct inv_heartbeat *words,
                                            const struct inv_log_claim *log,
                                            struct inv_sale *const *sales, size_t count)
{
    struct noted_heartbeat noted = {0};
    assert_int_equal(inv_shared_heartbeat(gateway->store,
                                          &(struct inv_heartbeat_call){words, log, sales, count},
                                          on_heartbeat, &noted),
                     INV_PENDING);
    while (!noted.here)
        turn();
    return noted;
}

static struct noted_heartbeat heartbeat_of(struct gateway *gateway,
                                           const struct inv_heartbeat *words,
                                           struct inv_sale *const *sales, size_t count)
{
    return heartbeat_for(gateway, words, NULL, sales, count);
}

static struct noted_heartbeat heartbeat_from(struct gateway *gateway,
                                             const struct inv_heartbeat *words)
{
    return heartbeat_of(gateway, words, &gateway->sale, 1);
}

static void gateways_hear_of_each_other(void **state)
{
    (void)state;
    const struct inv_heartbeat words[2] = {{"north", 100, 1, 0, 3}, {"south", 300, 0, 7, 4}};
    const struct ps_uuid second = {{2, 0x77}};
    start_two();
    (void)heartbeat_from(&one, &words[0]);
    turn_ms(30); /* of another clock than Redis's, in whole ms */
    struct noted_heartbeat heard = heartbeat_from(&two, &words[1]);
    assert_ok(heard.err);
    assert_int_equal(heard.heartbeat.member_count, 2);
    bool first_is_two = ps_uuid_equal(&heard.members[0].start, &second);
    struct inv_member *north = &heard.members[first_is_two ? 1 : 0];
    struct inv_member *south = &heard.members[first_is_two ? 0 : 1];
    assert_string_equal(north->heartbeat.name, "north");
    assert_int_equal(north->heartbeat.demand, 100);
    assert_int_equal(north->heartbeat.in_flight, 1);
    assert_int_equal(north->heartbeat.snapshot_version, 3);
    assert_true(north->age_ms >= 20 && north->age_ms < 60000);
    assert_string_equal(south->heartbeat.name, "south");
    assert_int_equal(south->heartbeat.spilled, 7);
    assert_int_equal(south->age_ms, 0);
    int64_t wall_ms = (int64_t)time(NULL) * 1000;
    assert_true(heard.heartbeat.now_ms > wall_ms - 60000 &&
                heard.heartbeat.now_ms < wall_ms + 60000);
}

static void the_heartbeat_tells_what_is_left_and_which_epoch_is_installed(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    start_two();
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    assert_int_equal(inv_sale_left(two.sale, 0), STOCK); /* has not heard of it */
    struct noted_heartbeat heard = heartbeat_from(&two, &words);
    assert_int_equal(heard.heartbeat.sale_count, 1);
    assert_ptr_equal(heard.sales[0].sale, two.sale);
    assert_int_equal(heard.sales[0].installed.epoch, EPOCH);
    assert_true(heard.sales[0].installed.fits);
    assert_int_equal(inv_sale_left(two.sale, 0), STOCK - 1);
    assert_int_equal(heard.sales[0].in_doubt, 1);
    resolve(&one, 1, INV_ACCEPTED);
    rest(&one);
    heard = heartbeat_from(&two, &words);
    assert_int_equal(heard.sales[0].in_doubt, 0);
    open_sale(&one, EPOCH + 1);
    heard = heartbeat_from(&two, &words);
    assert_int_equal(heard.sales[0].in_doubt, -1); /* what it knows of is of an ended epoch */
    assert_int_equal(heard.sales[0].installed.epoch, EPOCH + 1);
    redis_do(&server, "FLUSHALL");
    heard = heartbeat_from(&two, &words);
    assert_int_equal(heard.sales[0].installed.epoch, -1);
}

static void a_heartbeat_asks_about_the_sales_that_it_is_given(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    struct noted_heartbeat heard = heartbeat_of(&one, &words, NULL, 0);
    assert_ok(heard.err);
    assert_int_equal(heard.heartbeat.sale_count, 0);
    assert_int_equal(heard.heartbeat.member_count, 1);
}

static void a_foreign_key_of_one_sale_is_named_and_the_heartbeat_of_the_others_goes_on(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    static const struct {
        const char *key, *put, *field, *named;
    } keys[] = {{"ps:{drop}:current", "SADD", "", "ps:{drop}:current is a set"},
                {"ps:{drop}:5:stock", "LPUSH", "", "ps:{drop}:5:stock is a list"},
                {"ps:{drop}:current", "HSET", "epoch", "ps:{drop}:current has an epoch"}};
    struct inv_load *load;
    struct inv_sale *other;
    assert_ok(inv_load_new(one.store, "other", EPOCH, fixture_skus, SKUS, &load));
    assert_ok(inv_load_available(load, 0, 7));
    assert_ok(inv_load_install(load, &other));
    struct inv_sale *const both[] = {one.sale, other};
    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        redis_do(&server, "RENAME %s kept", keys[i].key);
        if (keys[i].field[0] != '\0')
            redis_do(&server, "%s %s %s theirs", keys[i].put, keys[i].key, keys[i].field);
        else
            redis_do(&server, "%s %s theirs", keys[i].put, keys[i].key);
        struct noted_heartbeat heard = heartbeat_of(&one, &words, both, 2);
        assert_ok(heard.err);
        assert_int_equal(heard.heartbeat.member_count, 1);
        assert_non_null(strstr(heard.foreign[0], keys[i].named));
        assert_string_equal(heard.foreign[1], "");
        assert_int_equal(heard.sales[1].installed.epoch, EPOCH);
        assert_int_equal(inv_sale_left(other, 0), 7);
        redis_do(&server, "DEL %s", keys[i].key);
        redis_do(&server, "RENAME kept %s", keys[i].key);
    }
    struct noted_heartbeat heard = heartbeat_of(&one, &words, both, 2);
    assert_string_equal(heard.foreign[0], "");
    assert_int_equal(heard.sales[0].installed.epoch, EPOCH);
}

static void the_long_silent_are_forgotten_and_strangers_left_out(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    redis_do(&server, "HSET ps:gateways 0123456789abcdef %b", "\0\0\0\0\0\0\0\1more", (size_t)12);
    struct noted_heartbeat heard = heartbeat_from(&one, &words);
    assert_int_equal(heard.heartbeat.member_count, 1);
    assert_int_equal(redis_number(&server, "HLEN ps:gateways"), 1);
    redis_do(&server, "HSET ps:gateways stranger %b", "\x7f\0\0\0\0\0\0\1more", (size_t)12);
    heard = heartbeat_from(&one, &words);
    assert_ok(heard.err);
    assert_int_equal(heard.heartbeat.member_count, 1);
}

/* Moves what all gateways have said into the past, or with a negative number into the future: as if
 * Redis's clock had been set so far ahead, or back. */
static void move_clock(long long ms)
{
    redis_do(&server, "EVAL %s 1 ps:gateways %lld",
             "local all = redis.call('HGETALL', KEYS[1]) "
             "for i = 1, #all, 2 do "
             "local at = struct.unpack('>i8', all[i + 1]) - ARGV[1] "
             "redis.call('HSET', KEYS[1], all[i], struct.pack('>i8', at) .. "
             "string.sub(all[i + 1], 9)) "
             "end",
             ms);
}

static void a_gateway_is_silent_from_when_redis_clock_was_set_back(void **state)
{
    (void)state;
    const struct inv_heartbeat words[2] = {{.name = "north"}, {.name = "south"}};
    const struct ps_uuid second = {{2, 0x77}};
    start_two();
    (void)heartbeat_from(&one, &words[0]);
    (void)heartbeat_from(&two, &words[1]); /* and nothing more */
    move_clock(-3600000);
    assert_int_equal(heartbeat_from(&one, &words[0]).heartbeat.member_count, 2);
    turn_ms(50);
    struct noted_heartbeat heard = heartbeat_from(&one, &words[0]);
    assert_int_equal(heard.heartbeat.member_count, 2);
    bool first_is_two = ps_uuid_equal(&heard.members[0].start, &second);
    const struct inv_member *south = &heard.members[first_is_two ? 0 : 1];
    assert_string_equal(south->heartbeat.name, "south");
    assert_true(south->age_ms >= 40 && south->age_ms < 60000);
}

static void redis_counts_for_one_log(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    const struct inv_log_claim first = {"orders", true}, second = {"trials", true},
                               shy = {"orders", false};
    start_two();
    assert_true(heartbeat_for(&one, &words, &shy, &one.sale, 1).refused);
    assert_int_equal(redis_number(&server, "EXISTS ps:log ps:gateways"), 0);
    struct noted_heartbeat heard = heartbeat_for(&one, &words, &first, &one.sale, 1);
    assert_false(heard.refused);
    assert_int_equal(heard.heartbeat.member_count, 1);
    assert_int_equal(heartbeat_from(&two, &words).heartbeat.member_count,
                     2); /* it does not know its log yet */
    heard = heartbeat_for(&two, &words, &second, &two.sale, 1);
    assert_ok(heard.err);
    assert_string_equal(heard.other_log, "orders");
    assert_int_equal(heard.heartbeat.member_count + heard.heartbeat.sale_count, 0);
    heard = heartbeat_for(&one, &words, &shy, &one.sale, 1);
    assert_false(heard.refused);
    assert_int_equal(heard.heartbeat.member_count, 1);
    assert_int_equal(heard.heartbeat.sale_count, 1);
}

static void a_foreign_key_in_the_place_of_the_log_is_named(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    const struct inv_log_claim log = {"orders", true};
    redis_do(&server, "SADD ps:log theirs");
    assert_int_equal(heartbeat_for(&one, &words, &log, NULL, 0).err, PS_E_CORRUPT);
    assert_non_null(strstr(one.text, "ps:log is a set"));
}

/* Else all would have been silent for too long when there is memory again, and the orders that they
 * still work on would be given up. */
static void gateways_hear_of_each_other_also_when_memory_is_full(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    assert_int_equal(heartbeat_from(&one, &words).heartbeat.member_count, 1);
    redis_do(&server, "CONFIG SET maxmemory 1");
    assert_int_equal(buy(&one, 2, "ann", ""), PS_E_FULL);
    struct noted_heartbeat heard = heartbeat_from(&one, &words);
    assert_ok(heard.err);
    assert_int_equal(heard.heartbeat.member_count, 1);
    assert_int_equal(heard.sales[0].in_doubt, 1);
}

static void whatever_a_stranger_says_stops_no_heartbeat(void **state)
{
    (void)state;
    const struct inv_heartbeat words = {.name = "north"};
    redis_do(&server, "HSET ps:gateways 0123456789abcdef short empty %b", "", (size_t)0);
    for (int times = 0; times < 2; times++) {
        struct noted_heartbeat heard = heartbeat_from(&one, &words);
        assert_ok(heard.err);
        assert_int_equal(heard.heartbeat.member_count, 1);
    }
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        CLAIM(gateways_hear_of_each_other),
        CLAIM(the_heartbeat_tells_what_is_left_and_which_epoch_is_installed),
        CLAIM(a_heartbeat_asks_about_the_sales_that_it_is_given),
        CLAIM(redis_counts_for_one_log),
        CLAIM(a_foreign_key_in_the_place_of_the_log_is_named),
        CLAIM(a_foreign_key_of_one_sale_is_named_and_the_heartbeat_of_the_others_goes_on),
        CLAIM(the_long_silent_are_forgotten_and_strangers_left_out),
        CLAIM(a_gateway_is_silent_from_when_redis_clock_was_set_back),
        CLAIM(gateways_hear_of_each_other_also_when_memory_is_full),
        CLAIM(whatever_a_stranger_says_stops_no_heartbeat),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
