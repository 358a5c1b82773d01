/* What is particular to the counter in Redis, on a real server: batches, identity, faults, loads,
 * leases. Each test has the server empty, and one gateway with the sale "drop" open under EPOCH,
 * STOCK of each SKU. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "inventory/scripts.h"
#include "tests/contract/free_port.h"
#include "tests/contract/store_redis_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void assert_black(struct gateway *gateway, int64_t available, int64_t in_doubt, int64_t held)
{
    struct inv_count count = counts(gateway);
    assert_int_equal(count.available, available);
    assert_int_equal(count.in_doubt, in_doubt);
    assert_int_equal(count.held, held);
}

/* Calls of EVALSHA that the server has counted so far. */
static long long evals(void)
{
    redisReply *reply = redis_ask(&server, "INFO commandstats");
    const char *line = strstr(reply->str, "cmdstat_evalsha:calls=");
    long long calls = line != NULL ? strtoll(line + 22, NULL, 10) : 0;
    freeReplyObject(reply);
    return calls;
}

/* --- batches --- */

static void what_comes_in_one_turn_travels_as_one_call(void **state)
{
    (void)state;
    struct answer answers[100];
    char user[16];
    long long before = evals();
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++) {
        (void)snprintf(user, sizeof user, "user%u", i);
        struct inv_reservation r = wish(i, user, "k", EPOCH);
        r.sku = i % SKUS;
        reserve_later(&one, &r, &answers[i]);
    }
    rest(&one);
    assert_int_equal(evals(), before + 1);
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++) {
        assert_int_equal(answers[i].times, 1);
        assert_int_equal(answers[i].answer.result, i < SKUS * STOCK ? INV_RESERVED : INV_SOLD_OUT);
        assert_int_equal(answers[i].answer.left,
                         i < SKUS * STOCK ? STOCK - 1 - (int64_t)i / SKUS : 0);
    }
    assert_false(inv_sale_sold_out(one.sale)); /* nobody has decided anything */
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++)
        resolve(&one, i, INV_ACCEPTED);
    rest(&one);
    assert_true(inv_sale_sold_out(one.sale));
}

static void sold_out_is_said_when_the_view_has_caught_up_with_it(void **state)
{
    (void)state;
    inv_store_view_reached(one.store, 0);
    for (unsigned sku = 0; sku < SKUS; sku++) {
        struct inv_reservation r = wish(sku, "ann", "", EPOCH);
        r.sku = sku;
        r.quantity = STOCK;
        r.cap = SKUS * STOCK;
        struct answer answer;
        reserve_later(&one, &r, &answer);
        rest(&one);
        resolve(&one, sku, INV_ACCEPTED);
        rest(&one);
        assert_int_equal(answer.answer.result, INV_RESERVED);
    }
    int64_t now = ps_clock_mono_ns(&ps_clock_system);
    assert_false(inv_sale_sold_out(one.sale));
    inv_store_view_reached(one.store, now + 1);
    assert_true(inv_sale_sold_out(one.sale));
}

/* Of who has bought between two looks of another gateway, its view may not know yet. */
static void sold_out_is_not_said_on_when_units_came_and_went_elsewhere(void **state)
{
    (void)state;
    struct inv_reservation r = wish(0, "ann", "", EPOCH);
    r.quantity = STOCK;
    start_two();
    assert_int_equal(reserve(&one, &r), INV_RESERVED);
    resolve(&one, 0, INV_ACCEPTED);
    rest(&one);
    assert_int_equal(counts(&two).available, 0);
    inv_store_view_reached(two.store, ps_clock_mono_ns(&ps_clock_system) + 1);
    assert_true(inv_sale_sku_sold_out(two.sale, 0));

    resolve(&one, 0, INV_RELEASED);
    rest(&one);
    r = wish(1, "bob", "", EPOCH);
    r.quantity = STOCK;
    assert_int_equal(reserve(&one, &r), INV_RESERVED);
    resolve(&one, 1, INV_ACCEPTED);
    rest(&one);
    assert_int_equal(counts(&two).available, 0);
    assert_false(inv_sale_sku_sold_out(two.sale, 0));
    inv_store_view_reached(two.store, ps_clock_mono_ns(&ps_clock_system) + 1);
    assert_true(inv_sale_sku_sold_out(two.sale, 0));
}

static void what_a_late_reply_says_of_an_ended_epoch_is_no_news_of_the_next(void **state)
{
    (void)state;
    struct inv_reservation r = wish(0, "ann", "", EPOCH);
    struct answer late;
    r.quantity = STOCK;
    assert_int_equal(reserve(&one, &r), INV_RESERVED);
    resolve(&one, 0, INV_ACCEPTED);
    rest(&one);
    r = wish(1, "bob", "", EPOCH);
    reserve_later(&one, &r, &late);
    turn();                     /* it is sent */
    open_sale(&one, EPOCH + 1); /* which waits for no answer but its own */
    rest(&one);
    assert_int_equal(late.answer.result, INV_SOLD_OUT);
    assert_int_equal(inv_sale_left(one.sale, 0), STOCK);
    assert_false(inv_sale_sku_sold_out(one.sale, 0));
}

static void a_turn_of_more_than_a_batch_is_served_in_order(void **state)
{
    (void)state;
    struct answer answers[300];
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++) {
        struct inv_reservation r = wish(i, "ann", "", EPOCH);
        reserve_later(&one, &r, &answers[i]);
    }
    rest(&one);
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++)
        assert_int_equal(answers[i].answer.result, i < STOCK ? INV_RESERVED : INV_SOLD_OUT);
}

/* Each in a turn of its own: else every turn would take a call and a batch, until there is none. */
static void what_comes_while_a_server_is_slow_gathers(void **state)
{
    (void)state;
    static struct answer answers[300];
    long long before = evals();
    redis_pause_writes(&server);
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++) {
        struct inv_reservation r = wish(i, "ann", "", EPOCH);
        reserve_later(&one, &r, &answers[i]);
        turn();
    }
    redis_resume_writes(&server);
    rest(&one);
    for (unsigned i = 0; i < PS_ARRAY_LEN(answers); i++) {
        assert_int_equal(answers[i].times, 1);
        assert_int_equal(answers[i].err, 0);
        assert_int_equal(answers[i].answer.result, i < STOCK ? INV_RESERVED : INV_SOLD_OUT);
    }
    assert_true(evals() - before < 20);
}

static void verdicts_travel_with_the_next_reservation(void **state)
{
    (void)state;
    assert_int_equal(buy(&one, 1, "ann", "k"), INV_RESERVED);
    long long before = evals();
    resolve(&one, 1, INV_ACCEPTED);
    assert_int_equal(buy(&one, 2, "bob", "k"), INV_RESERVED);
    rest(&one);
    assert_int_equal(evals(), before + 1);
    assert_black(&one, STOCK - 2, 1, 1);
}

static void thousands_of_verdicts_at_once_are_all_taken(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(buy(&one, i, "ann", ""), INV_RESERVED);
    for (unsigned i = 5; i < 5000; i++)
        resolve(&one, i, INV_ACCEPTED); /* nobody knows them */
    for (unsigned i = 1; i <= 4; i++)
        resolve(&one, i, i % 2 == 0 ? INV_ACCEPTED : INV_VOID);
    rest(&one);
    assert_black(&one, STOCK - 2, 0, 2);
}

/* --- two gateways --- */

static void gateways_share_one_count(void **state)
{
    (void)state;
    start_two();
    assert_int_equal(inv_sale_left(two.sale, 0), STOCK);
    for (unsigned i = 0; i < STOCK; i++)
        assert_int_equal(buy(i % 2 == 0 ? &one : &two, i, "ann", ""), INV_RESERVED);
    assert_int_equal(buy(&one, 50, "bob", ""), INV_SOLD_OUT);
    assert_int_equal(buy(&two, 51, "bob", ""), INV_SOLD_OUT);
    assert_int_equal(inv_sale_left(two.sale, 0), 0);
}

static void a_key_used_at_one_gateway_is_known_at_the_other(void **state)
{
    (void)state;
    start_two();
    struct answer answer;
    struct inv_reservation r = wish(2, "ann", "k1", EPOCH);
    struct ps_uuid first = numbered(1);
    assert_int_equal(buy(&one, 1, "ann", "k1"), INV_RESERVED);
    reserve_later(&two, &r, &answer);
    rest(&two);
    assert_int_equal(answer.answer.result, INV_DUPLICATE);
    assert_memory_equal(&answer.answer.order_id, &first, sizeof first);
    r.quantity = 2;
    assert_int_equal(reserve(&two, &r), INV_MISMATCH);
}

static void R7_a_verdict_has_one_effect_whoever_sends_it(void **state)
{
    (void)state;
    start_two();
    assert_int_equal(buy(&one, 1, "ann", "k1"), INV_RESERVED);
    assert_int_equal(buy(&one, 2, "ann", "k2"), INV_RESERVED);
    for (int i = 0; i < 3; i++) {
        resolve(&one, 1, INV_RELEASED);
        resolve(&two, 1, INV_RELEASED);
        resolve(&two, 2, INV_VOID);
        resolve(&one, 2, INV_VOID);
        rest(&one);
        rest(&two);
    }
    assert_black(&one, STOCK, 0, 0);
    struct inv_reservation r = wish(3, "ann", "k2", EPOCH);
    r.cap = 1;
    assert_int_equal(reserve(&two, &r), INV_RESERVED); /* nothing of the buyer is left */
}

static void attaching_wants_an_installed_epoch_that_is_high_enough(void **state)
{
    (void)state;
    start_two();
    assert_int_equal(attach(&two, EPOCH + 1), PS_E_CONFLICT);
    redis_do(&server, "DEL ps:{drop}:current");
    assert_int_equal(attach(&two, 0), PS_E_NOT_FOUND);
}

/* Keys as versions before 0.2.0 named them: what they say is not counted, and they do no harm. */
static void keys_of_older_names_are_not_counted(void **state)
{
    struct inv_installed now;
    (void)state;
    redisReply *identity = redis_ask(&server, "HGET ps:{drop}:current identity");
    redis_do(&server, "DEL ps:{drop}:current");
    redis_do(&server, "HSET ps:{drop}:cur epoch %d identity %s", EPOCH, identity->str);
    redis_do(&server, "HSET ps:{drop}:%d:c black 7 white 7", EPOCH);
    freeReplyObject(identity);
    gateway_start(&two, 2, url_of("", ""));
    gateway_ready(&two);
    assert_ok(cur(&two, &now));
    assert_int_equal(now.epoch, -1);
    assert_int_equal(attach(&two, 0), PS_E_NOT_FOUND);
    open_sale(&two, EPOCH + 1);
    assert_black(&two, STOCK, 0, 0);
}

static void a_new_epoch_reaches_the_others_by_attaching(void **state)
{
    (void)state;
    start_two();
    open_sale(&one, EPOCH + 1);
    assert_int_equal(buy(&two, 1, "ann", ""), INV_FENCED);
    assert_int_equal(two.fenced, 1);
    struct inv_sale *before = two.sale;
    assert_ok(attach(&two, EPOCH + 1));
    assert_ptr_equal(two.sale, before);
    assert_int_equal(buy(&two, 1, "ann", ""), INV_RESERVED);
}

/* --- identity --- */

static void R10_a_server_that_restarted_empty_is_not_counted_with(void **state)
{
    (void)state;
    struct inv_installed now;
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    redis_end(&server, SIGKILL);
    redis_start_again(&server, NULL);
    while (one.ready < 2)
        turn();
    long long before = evals();
    assert_int_equal(buy(&one, 2, "ann", ""), INV_FENCED);
    assert_int_equal(evals(), before); /* not even asked */
    assert_int_equal(one.fenced, 1);
    assert_ok(cur(&one, &now));
    assert_int_equal(now.epoch, -1);
    open_sale(&one, EPOCH + 1);
    assert_int_equal(buy(&one, 2, "ann", ""), INV_RESERVED);
}

static void R10_a_server_that_restarted_with_old_data_is_not_counted_with(void **state)
{
    (void)state;
    struct inv_installed now;
    redis_do(&server, "SAVE");
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED); /* lost */
    redis_end(&server, SIGKILL);
    redis_start_again(&server, NULL);
    while (one.ready < 2)
        turn();
    assert_int_equal(buy(&one, 2, "ann", ""), INV_FENCED);
    assert_int_equal(counts(&one).available, PS_E_CLOSED);
    assert_ok(cur(&one, &now));
    assert_int_equal(now.epoch, EPOCH);
    assert_false(now.fits);
    assert_int_equal(attach(&one, 0), PS_E_CONFLICT);
}

static void R10_a_master_that_was_a_replica_in_between_is_another_one(void **state)
{
    (void)state;
    redis_do(&server, "REPLICAOF 127.0.0.1 1");
    redis_do(&server, "REPLICAOF NO ONE");
    while (one.ready < 2)
        turn();
    assert_int_equal(buy(&one, 1, "ann", ""), INV_FENCED);
}

static void a_replica_is_not_written_to(void **state)
{
    (void)state;
    redis_do(&server, "REPLICAOF 127.0.0.1 1");
    int result = buy(&one, 1, "ann", ""); /* the look at the identity may have been first */
    assert_true(result == PS_E_READ_ONLY || result == PS_E_UNKNOWN || result == PS_E_CLOSED);
    assert_int_equal(buy(&one, 2, "ann", ""), PS_E_CLOSED);
    while (strstr(one.text, "not a master") == NULL)
        turn();
    turn_ms(100);
    assert_int_equal(one.ready, 1);
}

static void a_flushed_server_fences_the_sale(void **state)
{
    (void)state;
    redis_do(&server, "FLUSHALL");
    assert_int_equal(buy(&one, 1, "ann", ""), INV_FENCED);
    assert_int_equal(one.fenced, 1);
    open_sale(&one, EPOCH + 1);
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
}

static void a_server_that_may_evict_is_left(void **state)
{
    (void)state;
    redis_do(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    while (one.away == 0)
        turn();
    assert_int_equal(one.err, PS_E_INVALID);
    assert_non_null(strstr(one.text, "allkeys-lru"));
    assert_int_equal(buy(&one, 1, "ann", ""), PS_E_CLOSED);
    redis_do(&server, "CONFIG SET maxmemory-policy noeviction");
    gateway_ready(&one);
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
}

/* --- faults --- */

static void forgotten_scripts_cost_a_round_trip_and_nothing_else(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        redis_do(&server, "SCRIPT FLUSH");
        assert_int_equal(buy(&one, i, "ann", ""), INV_RESERVED);
    }
    assert_black(&one, STOCK - 3, 3, 0);
    assert_int_equal(one.errors, 0);
}

static void a_killed_connection_comes_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        redis_do(&server, "CLIENT KILL TYPE normal SKIPME yes");
        while (one.ready < i + 2)
            turn();
        assert_int_equal(buy(&one, i, "ann", ""), INV_RESERVED);
    }
    assert_black(&one, STOCK - 5, 5, 0);
}

static void a_lost_reply_is_unknown_and_the_reservation_is_not_sent_again(void **state)
{
    (void)state;
    struct answer answer;
    struct doubts found;
    struct inv_reservation r = wish(7, "ann", "k1", EPOCH);
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    reserve_later(&one, &r, &answer);
    while (answer.times == 0)
        turn();
    assert_int_equal(answer.err, PS_E_UNKNOWN);
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    gateway_ready(&one);
    turn_ms(100);
    assert_black(&one, STOCK - 1, 1, 0); /* made after all, and once */

    walk_doubts(&one, 0, &found); /* who sweeps finds it */
    assert_int_equal(found.count, 1);
    struct ps_uuid mine = {{1, 0x77}};
    assert_memory_equal(&found.first.owner, &mine, sizeof mine);
    assert_memory_equal(&found.first.id, &r.order_id, sizeof r.order_id);
    assert_true(found.first.age_ms > 0);
    assert_false(found.first.lowering);
    resolve(&one, 7, INV_VOID);
    rest(&one);
    assert_black(&one, STOCK, 0, 0);
    assert_int_equal(answer.times, 1);
}

static void effects_wait_for_a_server_that_is_away(void **state)
{
    (void)state;
    struct ps_uuid raise = numbered(900);
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    resolve(&one, 1, INV_ACCEPTED);
    inv_store_raise(one.store, one.sale, &raise, 0, 5);
    while (one.away == 0)
        turn();
    resolve(&one, 1, INV_CONFIRMED);
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    rest(&one);
    struct inv_count count = counts(&one);
    assert_int_equal(count.available, STOCK + 4);
    assert_int_equal(count.confirmed, 1);
    assert_int_equal(count.in_doubt + count.held, 0);
}

static void out_of_memory_refuses_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    redis_do(&server, "CONFIG SET maxmemory 1");
    assert_int_equal(buy(&one, 2, "ann", ""), PS_E_FULL);
    assert_non_null(strstr(one.text, "OOM"));
    resolve(&one, 1, INV_ACCEPTED);
    turn_ms(30);
    redis_do(&server, "CONFIG SET maxmemory 0");
    rest(&one);
    assert_black(&one, STOCK - 1, 0, 1);
    assert_int_equal(buy(&one, 2, "ann", ""), INV_RESERVED);
}

static void a_key_of_a_foreign_type_is_named(void **state)
{
    static const char *const names[] = {"stock", "user",   "doubt",  "order",
                                        "idem",  "adjust", "applied"};
    char key[32];
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        (void)snprintf(key, sizeof key, "ps:{drop}:%d:%s", EPOCH, names[i]);
        redisReply *dump = redis_ask(&server, "DUMP %s", key);
        redis_do(&server, "DEL %s", key);
        redis_do(&server, "SET %s foreign", key);
        one.text[0] = '\0';
        assert_int_equal(buy(&one, 1, "ann", "k"), PS_E_CORRUPT);
        assert_non_null(strstr(one.text, key));
        redis_do(&server, "DEL %s", key);
        if (dump->type == REDIS_REPLY_STRING)
            redis_do(&server, "RESTORE %s 0 %b", key, dump->str, dump->len);
        freeReplyObject(dump);
    }
    assert_black(&one, STOCK, 0, 0);
    redis_do(&server, "SET ps:{drop}:current foreign");
    assert_int_equal(buy(&one, 1, "ann", "k"), PS_E_CORRUPT);
    assert_non_null(strstr(one.text, "ps:{drop}:current"));
}

/* Until a script runs for too long, or none does any more. */
static void wait_until_busy(bool wanted)
{
    redisContext *asker = redisConnect("127.0.0.1", server.port);
    assert_non_null(asker);
    for (bool busy = !wanted; busy != wanted;) {
        redisReply *reply = redisCommand(asker, "PING");
        assert_non_null(reply);
        busy = ps_redis_reply_err(reply) == PS_E_BUSY;
        freeReplyObject(reply);
    }
    redisFree(asker);
}

static void a_slow_script_of_others_is_no_end(void **state)
{
    (void)state;
    redis_do(&server, "CONFIG SET busy-reply-threshold 50");
    redisContext *other = redisConnect("127.0.0.1", server.port);
    assert_non_null(other);
    assert_int_equal(redisAppendCommand(other, "EVAL %s 0", "while true do redis.call('TIME') end"),
                     REDIS_OK);
    int done = 0;
    while (!done)
        assert_int_equal(redisBufferWrite(other, &done), REDIS_OK);
    wait_until_busy(true);
    int result = buy(&one, 1, "ann", "");
    assert_true(result == PS_E_BUSY || result == PS_E_CLOSED);
    while (one.away == 0) /* it gives up, for a while */
        turn();
    redis_do(&server, "SCRIPT KILL");
    wait_until_busy(false);
    redisFree(other);
    gateway_ready(&one);
    assert_int_equal(buy(&one, 2, "ann", ""), INV_RESERVED);
    assert_black(&one, STOCK - 1, 1, 0);
}

/* --- loads --- */

static void a_load_of_many_chunks_counts_like_what_was_reserved(void **state)
{
    (void)state;
    enum { ORDERS = 2500 };
    struct inv_load *load = load_of(&one, EPOCH + 1);
    char user[16];
    for (unsigned i = 0; i < ORDERS; i++) {
        (void)snprintf(user, sizeof user, "user%u", i / 2);
        load_order(load, i, user, i % 2 == 0 ? "k1" : "k2");
    }
    for (uint32_t i = 0; i < 12; i++)
        assert_ok(inv_load_applied(load, i, 100 * i));
    assert_ok(inv_load_install(load, &one.sale));
    assert_black(&one, STOCK, 0, ORDERS);
    assert_int_equal(redis_number(&server, "HLEN ps:{drop}:%d:order", EPOCH + 1), ORDERS);
    assert_int_equal(redis_number(&server, "HLEN ps:{drop}:%d:idem", EPOCH + 1), ORDERS);
    assert_int_equal(redis_number(&server, "HLEN ps:{drop}:%d:user", EPOCH + 1), ORDERS / 2);
    assert_int_equal(redis_number(&server, "HLEN ps:{drop}:%d:applied", EPOCH + 1), 12);
    struct inv_reservation r = wish(4000, "user7", "", EPOCH + 1);
    struct ps_uuid last = numbered(15);
    struct answer answer;
    r.cap = 2;
    reserve_later(&one, &r, &answer);
    rest(&one);
    assert_int_equal(answer.answer.result, INV_CAP);
    assert_memory_equal(&answer.answer.order_id, &last, sizeof last);
    r.key = PS_STR("k1");
    assert_int_equal(reserve(&one, &r), INV_DUPLICATE);
}

static void a_load_leaves_when_it_is_given_up_and_stays_when_it_is_installed(void **state)
{
    (void)state;
    struct inv_load *load = load_of(&one, EPOCH + 1);
    for (unsigned i = 0; i < 1200; i++)
        load_order(load, i, "ann", "");
    while (redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1) == 0) {
    }
    assert_true(redis_number(&server, "TTL ps:{drop}:%d:order", EPOCH + 1) > 3000);
    inv_load_free(load);
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1), 0);
    load = load_of(&one, EPOCH + 2);
    load_order(load, 1, "ann", "");
    assert_ok(inv_load_install(load, &one.sale));
    assert_int_equal(redis_number(&server, "TTL ps:{drop}:%d:order", EPOCH + 2), -1);
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:stock", EPOCH),
                     0); /* the old ones */
}

static void R9_a_load_that_is_not_complete_is_not_installed(void **state)
{
    (void)state;
    char text[256];
    struct inv_load *load = load_of(&one, EPOCH + 1);
    for (unsigned i = 0; i < 1200; i++)
        load_order(load, i, "ann", "");
    while (redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1) == 0) {
    }
    struct ps_uuid lost = numbered(3);
    redis_do(&server, "HDEL ps:{drop}:%d:order %b", EPOCH + 1, lost.byte, sizeof lost.byte);
    assert_int_equal(inv_load_install(load, &one.sale), PS_E_BUSY);
    inv_store_load_error(one.store, text, sizeof text);
    assert_non_null(strstr(text, "the server does not have the whole load"));
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1), 0);
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED); /* as before */
}

static void R9_an_epoch_is_installed_once_and_late_parts_of_it_change_nothing(void **state)
{
    (void)state;
    start_two();
    struct inv_load *late = load_of(&two, EPOCH + 1);
    open_sale(&one, EPOCH + 2);
    assert_int_equal(inv_load_install(late, &two.sale), PS_E_CONFLICT);
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:stock", EPOCH + 1), 0);
    for (int64_t epoch = EPOCH + 1; epoch <= EPOCH + 2; epoch++) { /* a part of a load, by hand */
        redisReply *reply = redis_ask(
            &server, "EVAL %s 2 ps:{drop}:current ps:{drop}:%lld:stock %lld HSET black 99",
            inv_scripts[INV_SCRIPT_LOAD].text, (long long)epoch, (long long)epoch);
        assert_string_equal(reply->str, "LATE");
        freeReplyObject(reply);
    }
    assert_black(&one, STOCK, 0, 0);
}

static void a_load_meets_a_foreign_key_and_says_so(void **state)
{
    (void)state;
    char text[256];
    redis_do(&server, "SET ps:{drop}:%d:stock foreign", EPOCH + 1);
    assert_int_equal(inv_load_install(load_of(&one, EPOCH + 1), &one.sale), PS_E_CORRUPT);
    inv_store_load_error(one.store, text, sizeof text);
    assert_non_null(strstr(text, "ps:{drop}:6:stock"));
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
}

static void a_load_without_a_server_is_refused(void **state)
{
    (void)state;
    char text[256];
    redis_end(&server, SIGKILL);
    assert_int_equal(inv_load_install(load_of(&one, EPOCH + 1), &one.sale), PS_E_CLOSED);
    inv_store_load_error(one.store, text, sizeof text);
    assert_non_null(strstr(text, "refused"));
    redis_start_again(&server, NULL);
}

/* --- effects and fences --- */

static void R8_effects_survive_a_fence(void **state)
{
    (void)state;
    struct ps_uuid raise = numbered(900);
    assert_int_equal(buy(&one, 1, "ann", "k1"), INV_RESERVED);
    redis_do(&server, "FLUSHALL");
    resolve(&one, 1, INV_ACCEPTED);
    resolve(&one, 1, INV_RELEASED); /* read from the log while the sale is fenced */
    inv_store_raise(one.store, one.sale, &raise, 0, 5);
    assert_ok(inv_shared_note_applied(one.store, one.sale, 3, 77));
    turn_ms(30);
    assert_true(inv_store_busy(one.store));
    struct inv_load *load = load_of(&one, EPOCH + 1); /* of before the release */
    load_order(load, 1, "ann", "k1");
    assert_ok(inv_load_install(load, &one.sale));
    rest(&one);
    assert_black(&one, STOCK + 1 + 5, 0, 0);
    redisReply *offset = redis_ask(&server, "HGET ps:{drop}:%d:applied 3", EPOCH + 1);
    assert_string_equal(offset->str, "77");
    freeReplyObject(offset);
}

struct noted_applied {
    bool here;
    size_t count;
    int64_t offset[16];
};

static void on_applied(int err, int64_t epoch, const struct inv_applied *applied, size_t count,
                       void *ctx)
{
    struct noted_applied *noted = ctx;
    assert_ok(err);
    assert_int_equal(epoch, EPOCH);
    noted->here = true;
    noted->count = count;
    for (size_t i = 0; i < count; i++)
        noted->offset[applied[i].partition] = applied[i].offset;
}

static void applied_offsets_only_grow(void **state)
{
    (void)state;
    struct noted_applied noted = {0};
    assert_ok(inv_shared_note_applied(one.store, one.sale, 0, 10));
    assert_ok(inv_shared_note_applied(one.store, one.sale, 11, PS_INT_MAX));
    assert_ok(inv_shared_note_applied(one.store, one.sale, 0, 9));
    assert_ok(inv_shared_note_applied(one.store, one.sale, 2, 0));
    rest(&one);
    assert_int_equal(inv_shared_applied(one.store, one.sale, on_applied, &noted), INV_PENDING);
    while (!noted.here)
        turn();
    assert_int_equal(noted.count, 3);
    assert_int_equal(noted.offset[0], 10);
    assert_int_equal(noted.offset[2], 0);
    assert_true(noted.offset[11] == PS_INT_MAX);
}

/* --- what is in doubt --- */

/* Two units of the SKU, which nobody confirms. */
static void lower_in_doubt(void)
{
    static struct inv_answer answer;
    const struct inv_lowering lowering = {
        .id = numbered(3001), .epoch = EPOCH, .name = PS_STR("away"), .sku = 1, .units = 2};
    assert_int_equal(inv_store_lower(one.store, one.sale, &lowering,
                                     (struct inv_reply_to){.ret_answer = &answer}),
                     INV_PENDING);
    rest(&one);
}

static void everything_in_doubt_is_found_page_by_page(void **state)
{
    (void)state;
    enum { ORDERS = 1500 };
    struct ps_uuid raise = numbered(3000);
    struct inv_answer answer;
    static struct doubts found;
    inv_store_raise(one.store, one.sale, &raise, 0, ORDERS);
    rest(&one);
    for (unsigned i = 0; i < ORDERS; i++) {
        struct inv_reservation r = wish(i, "ann", "", EPOCH);
        r.cap = PS_INT_MAX;
        assert_int_equal(inv_store_reserve(one.store, one.sale, &r,
                                           (struct inv_reply_to){.ret_answer = &answer}),
                         INV_PENDING);
    }
    lower_in_doubt();
    walk_doubts(&one, 0, &found);
    assert_int_equal(found.count, ORDERS + 1);
    assert_true(found.pages > 5);
    walk_doubts(&one, 60000, &found); /* only what is old */
    assert_int_equal(found.count, 0);
}

static void a_lowering_in_doubt_tells_its_name(void **state)
{
    (void)state;
    struct ps_uuid raise = numbered(3000);
    static struct doubts found;
    inv_store_raise(one.store, one.sale, &raise, 1, 5);
    rest(&one);
    lower_in_doubt();
    walk_doubts(&one, 0, &found);
    assert_int_equal(found.count, 1);
    assert_true(found.first.lowering);
    assert_int_equal(found.first.entry.quantity, 2);
    assert_int_equal(found.first.entry.sku, 1);
    assert_int_equal(found.first.entry.key_len, 4);
    assert_memory_equal(found.first.entry.key, "away", 4);
}

static void doubts_of_a_fenced_sale_are_not_told(void **state)
{
    (void)state;
    struct doubts found;
    redis_do(&server, "DEL ps:{drop}:current");
    walk_doubts(&one, 0, &found);
    assert_int_equal(found.err, PS_E_CLOSED);
}

/* --- leases --- */

struct noted_lease {
    bool here;
    struct ps_uuid holder;
    int64_t ttl_ms;
};

static void on_lease(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    struct noted_lease *noted = ctx;
    assert_ok(err);
    *noted = (struct noted_lease){true, *holder, ttl_ms};
}

/* The first byte of who holds it: 1, 2, or 0 for nobody. */
static int lease(struct gateway *gateway, const char *sale, int64_t ttl_ms)
{
    struct noted_lease noted = {0};
    assert_int_equal(inv_shared_lease(gateway->store, sale, ttl_ms, on_lease, &noted), INV_PENDING);
    while (!noted.here)
        turn();
    assert_true(noted.ttl_ms <= 60000);
    return noted.holder.byte[0];
}

static void a_lease_has_one_holder_at_a_time(void **state)
{
    (void)state;
    start_two();
    assert_int_equal(lease(&one, NULL, 60000), 1);
    assert_int_equal(lease(&two, NULL, 60000), 1);
    assert_int_equal(lease(&one, NULL, 60000), 1);
    assert_int_equal(lease(&two, "drop", 60000), 2); /* another lease */
    assert_int_equal(lease(&two, NULL, 0), 1);       /* not this one's to release */
    assert_int_equal(lease(&one, NULL, 0), 0);
    assert_int_equal(lease(&two, NULL, 30), 2);
    turn_ms(60);
    assert_int_equal(lease(&one, NULL, 60000), 1); /* it has run out */
}

/* Its end is of the clock that it was given by. Without that, who has died would have it for as
 * long as the clock went back. */
static void a_lease_from_before_redis_clock_was_set_back_is_free(void **state)
{
    (void)state;
    start_two();
    assert_int_equal(lease(&one, NULL, 30000), 1);
    redis_do(&server, "PEXPIRE ps:leader 60000");
    assert_int_equal(lease(&two, NULL, 0), 1);
    assert_int_equal(lease(&two, NULL, 30000), 2);
    assert_int_equal(lease(&one, NULL, 30000), 2);
}

/* --- ways to the server --- */

static void users_passwords_and_databases_are_used(void **state)
{
    (void)state;
    redis_do(&server, "ACL SETUSER shop on >s3cret ~ps:* +@all");
    gateway_start(&two, 2, url_of("shop:s3cret@", "/3"));
    gateway_ready(&two);
    open_sale(&two, EPOCH);
    assert_int_equal(buy(&two, 1, "ann", ""), INV_RESERVED);
    assert_black(&one, STOCK, 0, 0); /* that was another database */
    redis_do(&server, "ACL SETUSER shop resetkeys ~none");
    assert_int_equal(buy(&two, 2, "ann", ""), PS_E_PERMISSION);
}

static void a_wrong_password_is_named_with_its_server(void **state)
{
    (void)state;
    char where[32];
    gateway_start(&two, 2, url_of("shop:wrong@", ""));
    while (two.away == 0)
        turn();
    (void)snprintf(where, sizeof where, "127.0.0.1:%d", server.port);
    assert_int_equal(two.err, PS_E_PERMISSION);
    assert_non_null(strstr(two.text, where));
    assert_non_null(strstr(two.text, "WRONGPASS"));
}

/* --- Sentinel --- */

static void start_sentinel(struct redis_server *sentinel)
{
    char config[128], text[512];
    *sentinel =
        (struct redis_server){.port = free_port(), .directory = "/tmp/penstock-redis-XXXXXX"};
    assert_non_null(mkdtemp(sentinel->directory));
    (void)snprintf(config, sizeof config, "%s/sentinel.conf", sentinel->directory);
    int len = snprintf(text, sizeof text,
                       "sentinel monitor shop 127.0.0.1 %d 1\n"
                       "sentinel down-after-milliseconds shop 60000\n" /* not yet */
                       "sentinel failover-timeout shop 2000\n",
                       server.port);
    FILE *file = fopen(config, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, (size_t)len, file), len);
    assert_int_equal(fclose(file), 0);
    redis_start_sentinel(sentinel, config);
}

static void a_failover_by_sentinel_is_followed_and_fences(void **state)
{
    (void)state;
    struct redis_server replica, sentinel;
    char master_port[8], url[64];
    const char *const follow[] = {
        "--replicaof", "127.0.0.1", master_port, "--repl-diskless-sync-delay", "0", NULL};
    (void)snprintf(master_port, sizeof master_port, "%d", server.port);
    redis_start(&replica, follow);
    for (bool synced = false; !synced;) {
        redisReply *info = redis_ask(&replica, "INFO replication");
        synced = strstr(info->str, "master_link_status:up") != NULL;
        freeReplyObject(info);
        turn_ms(20);
    }
    start_sentinel(&sentinel);
    for (bool known = false; !known;) {
        redisReply *slaves = redis_ask(&sentinel, "SENTINEL replicas shop");
        known = slaves->elements == 1;
        freeReplyObject(slaves);
        turn_ms(20);
    }
    (void)snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d/shop", sentinel.port);
    gateway_start(&two, 2, url);
    gateway_ready(&two);
    open_sale(&two, EPOCH + 1); /* a replica that came has changed nobody's identity, but be sure */
    assert_int_equal(buy(&two, 1, "ann", ""), INV_RESERVED);

    unsigned ready = two.ready;
    redis_end(&server, SIGKILL);
    redis_do(&sentinel, "SENTINEL SET shop down-after-milliseconds 200");
    while (two.ready == ready)
        turn();
    char where[32];
    (void)snprintf(where, sizeof where, "127.0.0.1:%d", replica.port);
    assert_string_equal(inv_store_server(two.store), where);
    assert_int_equal(buy(&two, 2, "ann", ""), INV_FENCED);
    open_sale(&two, EPOCH + 2);
    assert_int_equal(buy(&two, 2, "ann", ""), INV_RESERVED);
    redis_remove(&sentinel);
    redis_remove(&replica);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        CLAIM(what_comes_in_one_turn_travels_as_one_call),
        CLAIM(sold_out_is_said_when_the_view_has_caught_up_with_it),
        CLAIM(sold_out_is_not_said_on_when_units_came_and_went_elsewhere),
        CLAIM(what_a_late_reply_says_of_an_ended_epoch_is_no_news_of_the_next),
        CLAIM(a_turn_of_more_than_a_batch_is_served_in_order),
        CLAIM(what_comes_while_a_server_is_slow_gathers),
        CLAIM(verdicts_travel_with_the_next_reservation),
        CLAIM(thousands_of_verdicts_at_once_are_all_taken),
        CLAIM(gateways_share_one_count),
        CLAIM(a_key_used_at_one_gateway_is_known_at_the_other),
        CLAIM(R7_a_verdict_has_one_effect_whoever_sends_it),
        CLAIM(attaching_wants_an_installed_epoch_that_is_high_enough),
        CLAIM(keys_of_older_names_are_not_counted),
        CLAIM(a_new_epoch_reaches_the_others_by_attaching),
        CLAIM(R10_a_server_that_restarted_empty_is_not_counted_with),
        CLAIM(R10_a_server_that_restarted_with_old_data_is_not_counted_with),
        CLAIM(R10_a_master_that_was_a_replica_in_between_is_another_one),
        CLAIM(a_replica_is_not_written_to),
        CLAIM(a_flushed_server_fences_the_sale),
        CLAIM(a_server_that_may_evict_is_left),
        CLAIM(forgotten_scripts_cost_a_round_trip_and_nothing_else),
        CLAIM(a_killed_connection_comes_back),
        CLAIM(a_lost_reply_is_unknown_and_the_reservation_is_not_sent_again),
        CLAIM(effects_wait_for_a_server_that_is_away),
        CLAIM(out_of_memory_refuses_and_changes_nothing),
        CLAIM(a_key_of_a_foreign_type_is_named),
        CLAIM(a_slow_script_of_others_is_no_end),
        CLAIM(a_load_of_many_chunks_counts_like_what_was_reserved),
        CLAIM(a_load_leaves_when_it_is_given_up_and_stays_when_it_is_installed),
        CLAIM(R9_a_load_that_is_not_complete_is_not_installed),
        CLAIM(R9_an_epoch_is_installed_once_and_late_parts_of_it_change_nothing),
        CLAIM(a_load_meets_a_foreign_key_and_says_so),
        CLAIM(a_load_without_a_server_is_refused),
        CLAIM(R8_effects_survive_a_fence),
        CLAIM(applied_offsets_only_grow),
        CLAIM(everything_in_doubt_is_found_page_by_page),
        CLAIM(a_lowering_in_doubt_tells_its_name),
        CLAIM(doubts_of_a_fenced_sale_are_not_told),
        CLAIM(a_lease_has_one_holder_at_a_time),
        CLAIM(a_lease_from_before_redis_clock_was_set_back_is_free),
        CLAIM(users_passwords_and_databases_are_used),
        CLAIM(a_wrong_password_is_named_with_its_server),
        CLAIM(a_failover_by_sentinel_is_followed_and_fences),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
