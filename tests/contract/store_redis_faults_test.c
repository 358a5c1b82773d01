/* The counter in Redis where its surroundings are at their worst, on a real server: callbacks that
 * reserve again, a store that ends, data that nobody has packed, a server whose memory is full.
 * Each test has the server empty, and one gateway with the sale "drop" open under EPOCH, STOCK of
 * each SKU. */
#include "tests/unit/check.h"

#include "inventory/redis_codec.h"
#include "tests/contract/store_redis_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- callbacks that reserve --- */

/* A buyer who tries again at once, once. */
struct insistent {
    struct gateway *gateway;
    unsigned number;
    struct answer first, second;
};

static void on_second(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct insistent *buyer = ctx;
    (void)handle, (void)answer;
    buyer->second.times++;
    buyer->second.err = err;
}

static void on_first(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct insistent *buyer = ctx;
    struct inv_reservation r = wish(1000 + buyer->number, "ann", "", EPOCH);
    (void)handle, (void)answer;
    buyer->first.times++;
    buyer->first.err = err;
    int result = inv_store_reserve(buyer->gateway->store, buyer->gateway->sale, &r,
                                   (struct inv_reply_to){.on_answer = on_second,
                                                         .ctx = buyer,
                                                         .ret_answer = &buyer->second.answer});
    if (result != INV_PENDING)
        on_second(0, result, NULL, buyer);
}

static int insist(struct gateway *gateway, struct insistent *buyer, unsigned number)
{
    struct inv_reservation r = wish(number, "ann", "", EPOCH);
    *buyer = (struct insistent){.gateway = gateway, .number = number};
    return inv_store_reserve(gateway->store, gateway->sale, &r,
                             (struct inv_reply_to){.on_answer = on_first,
                                                   .ctx = buyer,
                                                   .ret_answer = &buyer->first.answer});
}

/* So many that a call is full of them, and the next one is, too. */
static void a_call_that_is_refused_whole_may_be_repeated_from_its_answers(void **state)
{
    enum { CALL = 128 };
    static struct insistent buyers[CALL];
    struct inv_redis_settings settings = inv_redis_defaults;
    const struct inv_redis_events events = {0};
    const struct ps_uuid start = {{9}};
    struct gateway narrow = {0};
    struct answer before, last;
    struct ps_redis_url parsed;
    (void)state;
    settings.link.pending_max = 1;
    settings.link.check_ms = 0;
    settings.link.command_timeout_ms = 20000;
    assert_ok(ps_redis_url_parse(url_of("", ""), &parsed, NULL));
    assert_ok(inv_redis_new(&parsed, &settings, &start, &narrow.redis));
    assert_ok(inv_store_redis_new(narrow.redis, &fixture_loop, 0, &events, &narrow.store));
    gateway_ready(&narrow);
    assert_ok(attach(&narrow, EPOCH));

    redis_pause_writes(&server);
    struct inv_reservation r = wish(200, "bob", "", EPOCH);
    reserve_later(&narrow, &r, &before);
    turn(); /* no other may be under way now */
    for (unsigned i = 0; i < CALL; i++)
        assert_int_equal(insist(&narrow, &buyers[i], i), INV_PENDING);
    r = wish(201, "bob", "", EPOCH);
    reserve_later(&narrow, &r, &last);
    assert_int_equal(last.times, 1);
    assert_int_equal(last.err, PS_E_FULL);
    redis_resume_writes(&server);
    rest(&narrow);
    assert_int_equal(before.answer.result, INV_RESERVED);
    for (unsigned i = 0; i < CALL; i++) {
        assert_int_equal(buyers[i].first.times, 1);
        assert_int_equal(buyers[i].first.err, PS_E_FULL);
        assert_int_equal(buyers[i].second.times, 1);
    }
    gateway_stop(&narrow);
}

static void a_store_that_ends_answers_also_what_its_last_answers_ask_for(void **state)
{
    static struct insistent sent, gathered;
    (void)state;
    start_two();
    redis_pause_writes(&server);
    assert_int_equal(insist(&two, &sent, 1), INV_PENDING);
    turn();
    assert_int_equal(insist(&two, &gathered, 2), INV_PENDING);
    gateway_stop(&two);
    assert_int_equal(sent.first.err, PS_E_UNKNOWN);
    assert_int_equal(gathered.first.err, PS_E_CLOSED);
    assert_int_equal(sent.first.times + gathered.first.times, 2);
    assert_int_equal(sent.second.err, PS_E_CLOSED);
    assert_int_equal(gathered.second.err, PS_E_CLOSED);
    assert_int_equal(sent.second.times + gathered.second.times, 2);
}

/* --- data that nobody has packed --- */

struct noted_entry {
    bool here;
    int err;
};

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    (void)handle, (void)entry;
    *(struct noted_entry *)ctx = (struct noted_entry){true, err};
}

static int find(struct gateway *gateway, unsigned number)
{
    struct noted_entry noted = {0};
    struct ps_uuid id = numbered(number);
    struct inv_entry entry;
    assert_int_equal(inv_store_find(gateway->store, gateway->sale, &id,
                                    (struct inv_reply_to){
                                        .on_entry = on_entry, .ctx = &noted, .ret_entry = &entry}),
                     INV_PENDING);
    while (!noted.here)
        turn();
    return noted.err;
}

static void put_in_doubt(unsigned number, int64_t reserved_at_ms, int64_t ttl_ms, int64_t quantity)
{
    char entry[256], *at = entry;
    struct ps_uuid id = numbered(number), owner = {{0}};
    *at++ = INV_IN_DOUBT;
    at = inv_put_int(inv_put_int(inv_put_int(at, reserved_at_ms), ttl_ms), quantity);
    at = inv_put_text(inv_put_text(inv_put_text(at, PS_STR("black")), PS_STR("ann")), PS_STR(""));
    at = inv_put_id(at, &owner);
    redis_do(&server, "HSET ps:{drop}:%d:doubt %b %b", EPOCH, id.byte, sizeof id.byte, entry,
             (size_t)(at - entry));
}

static void an_entry_whose_numbers_are_out_of_range_is_none(void **state)
{
    struct doubts found;
    (void)state;
    put_in_doubt(1, INT64_MIN, 0, 1);
    put_in_doubt(2, INT64_MAX, INT64_MAX, 1);
    put_in_doubt(3, 0, -1, 1);
    put_in_doubt(4, 0, 0, 0);
    put_in_doubt(5, 0, 0, PS_INT_MAX + 1);
    put_in_doubt(6, PS_INT_MAX, PS_INT_MAX, PS_INT_MAX);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(find(&one, i), PS_E_CORRUPT);
    assert_ok(find(&one, 6));
    walk_doubts(&one, INT64_MIN, &found);
    assert_int_equal(found.count, 1);
    assert_true(found.seen[6]);
    assert_int_equal(buy(&one, 2, "ann", ""), PS_E_UNKNOWN);
    assert_int_equal(buy(&one, 6, "ann", ""), INV_RESERVED); /* again */
}

/* --- a server whose memory is full --- */

static void fill_chunks(struct inv_load *load, unsigned first, unsigned orders)
{
    struct inv_load_order order = {.user = PS_STR("ann"), .quantity = 1, .state = INV_LOAD_HELD};
    for (unsigned i = first; i < first + orders; i++) {
        order.id = numbered(i);
        assert_ok(inv_load_order(load, &order));
    }
}

/* Else what it has brought would keep the memory full for an hour, for all sales. Many parts are
 * under way when the memory ends. */
static void a_load_that_fills_the_memory_leaves(void **state)
{
    enum { CHUNK = 1000, CHUNKS = 8 };
    (void)state;
    struct inv_load *load = load_of(&one, EPOCH + 1);
    fill_chunks(load, 0, CHUNK + 1);
    while (redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1) == 0) {
    }
    redis_do(&server, "CLIENT PAUSE 300 WRITE"); /* the load waits for it */
    fill_chunks(load, CHUNK + 1, CHUNKS * CHUNK - 1);
    redis_do(&server, "CONFIG SET maxmemory 1");
    assert_int_equal(inv_load_install(load, &one.sale), PS_E_FULL);
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1), 0);
    redis_do(&server, "CONFIG SET maxmemory 0");
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED); /* as before */
}

/* After 100 ms, while this process waits. */
static pid_t let_server_go_on(void)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    pid_t helper = fork();
    assert_true(helper >= 0);
    if (helper > 0)
        return helper;
    (void)nanosleep(&pause, NULL);
    (void)kill(server.pid, SIGCONT);
    _exit(0);
}

/* The server takes the parts from its socket one after the other, and so its refusals come, too. */
static void a_load_leaves_also_when_its_parts_are_refused_one_by_one(void **state)
{
    enum { CHUNK = 1000, CHUNKS = 6 };
    (void)state;
    struct inv_load *load = load_of(&one, EPOCH + 1);
    fill_chunks(load, 0, CHUNK + 1);
    while (redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1) == 0) {
    }
    redis_do(&server, "CONFIG SET maxmemory 1");
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    fill_chunks(load, CHUNK + 1, CHUNKS * CHUNK - 1);
    pid_t helper = let_server_go_on();
    assert_int_equal(inv_load_install(load, &one.sale), PS_E_FULL);
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:order", EPOCH + 1), 0);
    assert_int_equal(waitpid(helper, NULL, 0), helper);
}

/* --- a server that forbids what the sale will need --- */

static void a_sale_is_not_opened_where_its_verdicts_would_be_forbidden(void **state)
{
    char text[256];
    (void)state;
    redis_do(&server, "ACL SETUSER default -hdel");
    assert_int_equal(inv_load_install(load_of(&one, EPOCH + 1), &one.sale), PS_E_PERMISSION);
    inv_store_load_error(one.store, text, sizeof text);
    assert_non_null(strstr(text, "HDEL"));
    assert_int_equal(redis_number(&server, "EXISTS ps:{drop}:%d:stock", EPOCH + 1), 0);
    redis_do(&server, "ACL SETUSER default +@all");
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED); /* as before */
    resolve(&one, 1, INV_VOID);
    rest(&one);
    assert_int_equal(counts(&one).available, STOCK);
}

/* A verdict that stops half way would give its units back again each time that it is sent. */
static void a_verdict_that_becomes_forbidden_waits_and_gives_back_once(void **state)
{
    (void)state;
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    redis_do(&server, "ACL SETUSER default -hdel");
    resolve(&one, 1, INV_VOID);
    while (one.errors < 2) /* it is sent some times */
        turn();
    assert_int_equal(redis_number(&server, "HINCRBY ps:{drop}:%d:stock black 0", EPOCH), STOCK - 1);
    assert_non_null(strstr(one.text, "HDEL"));
    redis_do(&server, "ACL SETUSER default +@all");
    rest(&one);
    assert_int_equal(counts(&one).available, STOCK);
}

/* --- orders of an operator --- */

static struct ps_breaker_view order(struct gateway *gateway, enum ps_breaker_order what)
{
    static uint64_t id;
    struct ps_breaker_view view;
    inv_store_force(gateway->store, &(struct ps_breaker_force){what, ++id});
    assert_true(inv_store_breaker(gateway->store, &view));
    return view;
}

static void forced_open_nothing_is_reserved_and_verdicts_wait(void **state)
{
    struct answer before;
    struct inv_reservation r = wish(2, "bob", "", EPOCH);
    (void)state;
    assert_int_equal(buy(&one, 1, "ann", ""), INV_RESERVED);
    redis_pause_writes(&server);
    reserve_later(&one, &r, &before);
    turn();
    assert_int_equal(order(&one, PS_BREAKER_FORCED_OPEN).state, PS_BREAKER_OPEN);
    assert_false(inv_store_ready(one.store));
    assert_int_equal(buy(&one, 3, "eve", ""), PS_E_CLOSED);
    resolve(&one, 1, INV_VOID);
    redis_resume_writes(&server);
    while (before.times == 0) /* it was on its way */
        turn();
    assert_int_equal(before.answer.result, INV_RESERVED);
    turn_ms(100); /* would send the verdict */
    assert_int_equal(redis_number(&server, "HINCRBY ps:{drop}:%d:stock black 0", EPOCH), STOCK - 2);
    (void)order(&one, PS_BREAKER_FREE);
    while (!inv_store_ready(one.store))
        turn();
    rest(&one);
    assert_int_equal(counts(&one).available, STOCK - 1);
    assert_int_equal(buy(&one, 3, "eve", ""), INV_RESERVED);
    assert_int_equal(one.away, 0);
    assert_int_equal(one.ready, 1);
}

static void forced_closed_refusals_are_asked_for_again_and_again(void **state)
{
    (void)state;
    (void)order(&one, PS_BREAKER_FORCED_CLOSED);
    redis_do(&server, "CONFIG SET maxmemory 1");
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(buy(&one, i, "ann", ""), PS_E_FULL);
    assert_int_equal(one.away, 0);
    assert_int_equal(order(&one, PS_BREAKER_FREE).openings, 0);
    for (unsigned i = 0; one.away == 0; i++)
        assert_int_equal(buy(&one, i, "ann", ""), PS_E_FULL);
    redis_do(&server, "CONFIG SET maxmemory 0");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        CLAIM(a_call_that_is_refused_whole_may_be_repeated_from_its_answers),
        CLAIM(a_store_that_ends_answers_also_what_its_last_answers_ask_for),
        CLAIM(an_entry_whose_numbers_are_out_of_range_is_none),
        CLAIM(a_load_that_fills_the_memory_leaves),
        CLAIM(a_load_leaves_also_when_its_parts_are_refused_one_by_one),
        CLAIM(a_sale_is_not_opened_where_its_verdicts_would_be_forbidden),
        CLAIM(a_verdict_that_becomes_forbidden_waits_and_gives_back_once),
        CLAIM(forced_open_nothing_is_reserved_and_verdicts_wait),
        CLAIM(forced_closed_refusals_are_asked_for_again_and_again),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
