/* Looking at orders and buyers of a counter in Redis, on a real server: what an audit compares with
 * the log. Each test has the server empty, and one gateway with the sale "drop" open under EPOCH,
 * STOCK of each SKU. */
#include "tests/unit/check.h"

#include "tests/contract/store_redis_fixture.h"

#include <signal.h>
#include <stdio.h>

struct look {
    bool here, summed;
    int err;
    struct inv_count counts[SKUS];
    int64_t in_doubt[SKUS];
    struct inv_seen seen[INV_LOOK_MAX];
};

static size_t asked;

static void on_looked(int err, const struct inv_looked *looked, void *ctx)
{
    struct look *look = ctx;
    look->here = true;
    look->err = err;
    if (err < 0)
        return;
    look->summed = looked->in_doubt != NULL;
    memcpy(look->counts, looked->counts, sizeof look->counts);
    if (look->summed)
        memcpy(look->in_doubt, looked->in_doubt, sizeof look->in_doubt);
    memcpy(look->seen, looked->seen, asked * sizeof *look->seen);
}

/* At orders 0 to count - 1, all of one buyer. */
static struct look look_at(size_t count, const char *user)
{
    struct look look = {0};
    struct ps_uuid ids[INV_LOOK_MAX + 1];
    struct ps_str users[INV_LOOK_MAX + 1];
    for (unsigned i = 0; i < count; i++) {
        ids[i] = numbered(i);
        users[i] = (struct ps_str){user, strlen(user)};
    }
    asked = count;
    look.err = inv_shared_look(one.store, one.sale, &(struct inv_look){count, ids, users},
                               on_looked, &look);
    while (look.err == INV_PENDING && !look.here)
        turn();
    return look;
}

static void a_look_shows_orders_buyers_and_numbers_at_one_moment(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct inv_reservation r = wish(i, i == 4 ? "bob" : "ann", "", EPOCH);
        r.cap = 10;
        assert_int_equal(reserve(&one, &r), INV_RESERVED);
    }
    resolve(&one, 1, INV_ACCEPTED);
    resolve(&one, 2, INV_CONFIRMED);
    resolve(&one, 3, INV_RELEASED);
    rest(&one);
    struct look look = look_at(6, "ann");
    assert_int_equal(look.err, 0);
    static const int states[] = {INV_IN_DOUBT, INV_HELD, INV_CONFIRMED_UNITS, -1, INV_IN_DOUBT, -1};
    for (size_t i = 0; i < PS_ARRAY_LEN(states); i++) {
        assert_int_equal(look.seen[i].known ? look.seen[i].state : -1, states[i]);
        assert_int_equal(look.seen[i].buyer_units, 3);
    }
    assert_true(look.summed);
    assert_int_equal(look.in_doubt[0] + look.in_doubt[1], 2);
    assert_int_equal(look.counts[0].in_doubt + look.counts[1].in_doubt, 2);
    assert_int_equal(look.counts[0].held + look.counts[1].held, 1);
    assert_int_equal(look_at(1, "nobody").seen[0].buyer_units, 0);
    look = look_at(0, "");
    assert_int_equal(look.err, 0);
    assert_int_equal(look.counts[0].confirmed + look.counts[1].confirmed, 1);
}

static void a_look_at_too_many_is_refused_and_one_at_a_fenced_sale_fails(void **state)
{
    (void)state;
    assert_int_equal(look_at(INV_LOOK_MAX, "ann").err, 0);
    assert_int_equal(look_at(INV_LOOK_MAX + 1, "ann").err, PS_E_INVALID);
    redis_do(&server, "DEL ps:{drop}:current");
    assert_int_equal(look_at(1, "ann").err, PS_E_CLOSED);
}

static void what_nobody_has_packed_is_shown_as_missing(void **state)
{
    (void)state;
    assert_int_equal(buy(&one, 0, "ann", ""), INV_RESERVED);
    resolve(&one, 0, INV_ACCEPTED);
    rest(&one);
    redis_do(&server, "EVAL %s 1 ps:{drop}:5:order",
             "for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do"
             " redis.call('HSET', KEYS[1], field, 'x') end");
    redis_do(&server, "HSET ps:{drop}:5:user ann x");
    struct look look = look_at(1, "ann");
    assert_int_equal(look.err, 0);
    assert_false(look.seen[0].known);
    assert_int_equal(look.seen[0].buyer_units, 0);
}

static void more_in_doubt_than_can_be_added_up_is_said(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1001; i++) {
        char command[80];
        (void)snprintf(command, sizeof command, "HSET ps:{drop}:5:doubt %u x", i);
        redis_do(&server, command);
    }
    struct look look = look_at(0, "");
    assert_int_equal(look.err, 0);
    assert_false(look.summed);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_look_shows_orders_buyers_and_numbers_at_one_moment),
        CLAIM(a_look_at_too_many_is_refused_and_one_at_a_fenced_sale_fails),
        CLAIM(what_nobody_has_packed_is_shown_as_missing),
        CLAIM(more_in_doubt_than_can_be_added_up_is_said),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
