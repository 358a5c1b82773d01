/* Sales that are over and settled, and sales with somebody else's keys in Redis: what they cost the
 * cluster, and that they go on when there is something to do for them. A Redis that counts for
 * another log. */
#include "tests/contract/cluster_fixture.h"

#include <stdlib.h>

#define OVER 20 /* sales that are over */
/* Longer than until a settled sale rests. */
#define REST_MS  4500
#define ROUND_MS 3000

/* --- a cluster of sales --- */

/* Both gateways run, and SALE is open. */
static void begin(void)
{
    start(b);
    open_sale();
}

static int64_t past(void)
{
    return ps_clock_wall_ms(&ps_clock_system) - 1;
}

/* SALE is over at both. */
static void close_sale(void)
{
    put_sale(a, SALE, 2, true, past());
    put_sale(b, SALE, 2, true, past());
}

static const char *name_of(int number)
{
    static char name[16];
    (void)snprintf(name, sizeof name, "over-%d", number);
    return name;
}

/* Opened by `a`, then over. */
static void make_over(void)
{
    for (int i = 0; i < OVER; i++)
        put_sale(a, name_of(i), 1, false, INT64_MAX);
    for (int i = 0; i < OVER; i++)
        while (!serves_sale(a, name_of(i)))
            turn();
    for (int i = 0; i < OVER; i++)
        put_sale(a, name_of(i), 3, true, past());
}

static void until_they_rest(void)
{
    for (int i = 0; i < OVER; i++)
        while (!is_resting(a, name_of(i)))
            turn();
}

static long long calls_in(const redisReply *info, const char *command)
{
    char field[64];
    (void)snprintf(field, sizeof field, "cmdstat_%s:calls=", command);
    const char *line = strstr(info->str, field);
    return line != NULL ? strtoll(line + strlen(field), NULL, 10) : 0;
}

/* Calls of a command that the server has counted so far, those of scripts among them. */
static long long calls(const char *command)
{
    redisReply *info = redis_ask(&server, "INFO commandstats");
    long long count = calls_in(info, command);
    freeReplyObject(info);
    return count;
}

/* The calls of heartbeats and sweeps, as of one moment. */
struct costs {
    long long looks, pulses, sweeps;
};

static struct costs costs(void)
{
    redisReply *info = redis_ask(&server, "INFO commandstats");
    struct costs costs = {calls_in(info, "hgetall"), calls_in(info, "hset"),
                          calls_in(info, "hscan")};
    freeReplyObject(info);
    return costs;
}

/* --- claims --- */

static void sales_that_are_over_cost_no_pulse_and_no_sweep(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    make_over();
    until_they_rest();
    turn_ms(REST_MS); /* what was asked before is answered */
    struct costs before = costs();
    turn_ms(ROUND_MS);
    struct costs after = costs();
    long long looks = after.looks - before.looks, pulses = after.pulses - before.pulses;
    long long sweeps = after.sweeps - before.sweeps;
    assert_true(pulses > 0 && looks > 0 && sweeps > 0); /* of the one that is open */
    assert_true(looks <= 3 * pulses); /* who is there, the open sale, and one that is over */
    assert_true(sweeps <= pulses);
}

static void a_late_cancel_of_a_sale_that_is_over_reaches_redis(void **state)
{
    (void)state;
    begin();
    struct ps_uuid id = buy(a);
    close_sale();
    turn_ms(REST_MS);
    assert_int_equal(left(), STOCK - 1);
    struct oq_event event = cancelled(id);
    append(b, &event);
    while (left() != STOCK)
        turn();
    turn_ms(REST_MS);
    assert_int_equal(left(), STOCK);
    assert_int_equal(state_at(a, id), OQ_STATE_RELEASED);
}

static void stock_that_is_added_to_a_sale_that_is_over_reaches_redis_and_all_gateways(void **state)
{
    (void)state;
    begin();
    close_sale();
    turn_ms(REST_MS);
    struct oq_event raise = {.type = OQ_ADJUSTED,
                             .adjust_key = PS_STR("adjust:" SALE "/more"),
                             .sale = PS_STR(SALE),
                             .at_ms = 1,
                             .sku = PS_STR("phone"),
                             .delta = 5};
    append(b, &raise);
    while (left_at(a) != STOCK + 5 || left_at(b) != STOCK + 5)
        turn();
    assert_int_equal(left(), STOCK + 5);
}

static void what_stays_in_doubt_in_a_sale_that_is_over_is_swept(void **state)
{
    (void)state;
    begin();
    close_sale();
    turn_ms(REST_MS);
    struct ps_uuid id = reserve(b, "ann"); /* by a gateway whose clock is late, say */
    stop(b);
    while (entries(IN_DOUBT) > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(state_at(a, id), OQ_STATE_VOID);
}

static void sales_that_are_over_are_built_again_when_redis_has_lost_them(void **state)
{
    (void)state;
    begin();
    (void)buy(a);
    make_over();
    turn_ms(REST_MS);
    redis_do(&server, "FLUSHALL");
    while (!is_fenced(a))
        turn();
    until_served(a);
    for (int i = 0; i < OVER; i++) {
        while (!is_installed(name_of(i)) || !serves_sale(a, name_of(i)))
            turn();
    }
    assert_int_equal(left(), STOCK - 1);
}

static void a_sale_whose_end_is_moved_is_looked_at_again(void **state)
{
    (void)state;
    begin();
    close_sale();
    turn_ms(REST_MS);
    put_sale(a, SALE, 3, true, INT64_MAX);
    put_sale(b, SALE, 3, true, INT64_MAX);
    long long sweeps = calls("hscan");
    (void)reserve(b, "ann");
    while (left_at(a) != STOCK - 1)
        turn();
    while (calls("hscan") < sweeps + 8)
        turn();
    while (entries(IN_DOUBT) > 0) /* its buyer was never told of it */
        turn();
    assert_int_equal(left(), STOCK);
}

/* --- keys of others --- */

static void a_foreign_key_of_one_sale_is_no_matter_of_the_others(void **state)
{
    (void)state;
    start(a);
    put_sale(a, "theirs", 1, false, INT64_MAX);
    know_sale(a, false);
    until_served(a);
    while (!serves_sale(a, "theirs"))
        turn();
    replace_sale("theirs");
    start(b);
    put_sale(b, "theirs", 1, true, INT64_MAX);
    know_sale(b, true);
    until_served(b);
    turn_ms(4000); /* longer than a gateway lives that is not heard of */
    while (members_at(a) != 2 || (!leads(a) && !leads(b)))
        turn();
    struct ps_uuid id = reserve(a, "ann");
    while (entries(IN_DOUBT) > 0) /* pulse, lease and sweep go on */
        turn();
    assert_int_equal(state_at(a, id), OQ_STATE_VOID);
    assert_false(serves_sale(b, "theirs"));
    assert_true(is_known_fenced(b, "theirs")); /* nobody waits for it */
    restore_sale("theirs");
    while (!serves_sale(b, "theirs"))
        turn();
    assert_true(serves_sale(a, "theirs"));
}

/* --- a Redis of another log --- */

/* What `node` would have written, if it counted. */
static void assert_nothing_was_written(const struct node *node)
{
    assert_false(has_heartbeats() || is_installed(SALE));
    assert_false(serves(node));
    assert_false(has_redis(node));
    assert_false(leads(node));
}

static void the_first_gateway_says_which_log_redis_counts_for(void **state)
{
    (void)state;
    open_sale();
    assert_true(says_log(SHARED_LOG_NAME));
}

static void a_gateway_of_another_log_does_nothing(void **state)
{
    (void)state;
    say_log("topic theirs");
    start(a);
    know_sale(a, false);
    turn_ms(2000);
    assert_nothing_was_written(a);
    assert_true(says_log("topic theirs"));
    say_no_log();
    until_served(a);
    assert_true(says_log(SHARED_LOG_NAME));
}

static void a_gateway_that_learns_that_redis_is_another_logs_sells_no_more(void **state)
{
    (void)state;
    begin();
    (void)buy(a);
    say_log("topic theirs");
    while (serves(a) || serves(b))
        turn();
    while (has_heartbeats()) /* its lease lasts for a while */
        turn();
    turn_ms(500);
    assert_false(has_heartbeats());
    assert_int_equal(members_at(a), 0);
    say_no_log();
    until_served(a);
    until_served(b);
    assert_int_equal(left(), STOCK - 1);
}

static void an_emptied_redis_is_told_again_which_log_it_counts_for(void **state)
{
    (void)state;
    begin();
    int64_t lost = epoch_at(a);
    redis_do(&server, "FLUSHALL");
    while (!serves(a) || !serves(b) || epoch_at(a) == lost || epoch_at(b) == lost)
        turn();
    assert_true(says_log(SHARED_LOG_NAME));
    assert_int_equal(left(), STOCK);
}

static void a_gateway_of_another_log_leaves_an_emptied_redis_to_whom_it_was(void **state)
{
    (void)state;
    say_log("topic theirs");
    start(a);
    know_sale(a, false);
    while (calls("evalsha") < 5) /* only heartbeats, one after the other: it has been told */
        turn();
    redis_do(&server, "FLUSHALL");
    turn_ms(1000);
    assert_true(says_no_log());
    assert_nothing_was_written(a);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(sales_that_are_over_cost_no_pulse_and_no_sweep),
        CLAIM(a_late_cancel_of_a_sale_that_is_over_reaches_redis),
        CLAIM(stock_that_is_added_to_a_sale_that_is_over_reaches_redis_and_all_gateways),
        CLAIM(what_stays_in_doubt_in_a_sale_that_is_over_is_swept),
        CLAIM(sales_that_are_over_are_built_again_when_redis_has_lost_them),
        CLAIM(a_sale_whose_end_is_moved_is_looked_at_again),
        CLAIM(a_foreign_key_of_one_sale_is_no_matter_of_the_others),
        CLAIM(the_first_gateway_says_which_log_redis_counts_for),
        CLAIM(a_gateway_of_another_log_does_nothing),
        CLAIM(a_gateway_that_learns_that_redis_is_another_logs_sells_no_more),
        CLAIM(an_emptied_redis_is_told_again_which_log_it_counts_for),
        CLAIM(a_gateway_of_another_log_leaves_an_emptied_redis_to_whom_it_was),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
