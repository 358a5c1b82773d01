/* The contract of the stock counter (inventory/store.h), claim by claim, on every backend of
 * store_fixture.c. Each test has a store of its own with one sale, "drop", of the SKUs black (0),
 * white (1) and red (2), 10 units each, under epoch 5. */
#include "tests/unit/check.h"

#include <stdio.h>
#include <time.h>

#include "inventory/store.h"
#include "tests/contract/store_fixture.h"
#include "tests/contract/store_schedules.h"

#define SKUS   3
#define STOCK  10
#define EPOCH  5
#define TTL_MS 600000

static const struct store_backend *backend; /* of this run */

static struct store_fixture fx;
static struct inv_store *store;
static struct inv_sale *sale;

/* --- words for the tests --- */

static struct ps_uuid id(unsigned number)
{
    return (struct ps_uuid){{[6] = 0x70, [14] = (uint8_t)(number >> 8), [15] = (uint8_t)number}};
}

static struct inv_load *load_of(const char *name, int64_t epoch, int64_t available)
{
    static const char *const skus[SKUS] = {"black", "white", "red"};
    struct inv_load *load = NULL;
    assert_ok(inv_load_new(store, name, epoch, skus, SKUS, &load));
    for (uint32_t sku = 0; sku < SKUS; sku++)
        assert_ok(inv_load_available(load, sku, available));
    return load;
}

static struct inv_load_order loaded(unsigned number, const char *user, const char *key,
                                    int64_t quantity)
{
    return (struct inv_load_order){.id = id(number),
                                   .user = {user, strlen(user)},
                                   .key = {key, strlen(key)},
                                   .quantity = quantity,
                                   .state = INV_LOAD_HELD};
}

static int set_up(void **state)
{
    (void)state;
    fx_open(&fx, backend);
    store = fx.store;
    assert_ok(inv_load_install(load_of("drop", EPOCH, STOCK), &sale));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fx_close(&fx);
    return 0;
}

/* One unit of black, cap 2; tests change what they are about. */
static struct inv_reservation wish(unsigned number, const char *user, const char *key)
{
    return (struct inv_reservation){.order_id = id(number),
                                    .epoch = EPOCH,
                                    .user = {user, strlen(user)},
                                    .key = {key, strlen(key)},
                                    .quantity = 1,
                                    .cap = 2,
                                    .ttl_ms = TTL_MS};
}

static struct inv_answer reserve(const struct inv_reservation *reservation)
{
    struct inv_answer answer;
    assert_ok(fx_reserve(&fx, sale, reservation, &answer));
    return answer;
}

static enum inv_result buy(unsigned number, const char *user, const char *key)
{
    struct inv_reservation r = wish(number, user, key);
    return reserve(&r).result;
}

static enum inv_result buy_many(unsigned number, const char *user, int64_t quantity)
{
    struct inv_reservation r = wish(number, user, "");
    r.quantity = quantity;
    r.cap = PS_INT_MAX;
    return reserve(&r).result;
}

static enum inv_result lower(unsigned number, int64_t units)
{
    struct ps_uuid ref = id(number);
    struct inv_answer answer;
    assert_ok(fx_lower(&fx, sale, EPOCH, &ref, 0, units, &answer));
    return answer.result;
}

static void resolve(unsigned number, enum inv_verdict verdict)
{
    struct ps_uuid order = id(number);
    fx_resolve(&fx, sale, &order, verdict);
}

static void raise_by(unsigned number, int64_t units)
{
    struct ps_uuid ref = id(number);
    fx_raise(&fx, sale, &ref, 0, units);
}

static void assert_black(int64_t available, int64_t in_doubt, int64_t held, int64_t confirmed)
{
    struct inv_count count[SKUS];
    assert_ok(fx_counts(&fx, sale, count));
    assert_int_equal(count[0].available, available);
    assert_int_equal(count[0].in_doubt, in_doubt);
    assert_int_equal(count[0].held, held);
    assert_int_equal(count[0].confirmed, confirmed);
    assert_int_equal(inv_sale_left(sale, 0), available);
}

static void assert_about(struct inv_answer answer, enum inv_result want, unsigned number)
{
    struct ps_uuid order = id(number);
    assert_int_equal(answer.result, want);
    assert_memory_equal(&answer.order_id, &order, sizeof order);
}

/* --- reserving --- */

static void a_reservation_takes_its_units_and_says_until_when(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "k1");
    int64_t before_ms = fx_now_ms(&fx);
    r.quantity = 2;
    struct inv_answer answer = reserve(&r);
    assert_about(answer, INV_RESERVED, 1);
    assert_int_equal(answer.left, STOCK - 2);
    assert_true(answer.reserved_at_ms >= before_ms && answer.reserved_at_ms <= fx_now_ms(&fx));
    assert_int_equal(answer.pay_by_ms, answer.reserved_at_ms + TTL_MS);
    assert_black(STOCK - 2, 2, 0, 0);
    assert_int_equal(inv_sale_left(sale, 1), STOCK);
}

/* Buyers, keys, SKUs and quantities at random, until all is sold out and beyond. */
static void
a_judgement_is_the_answer_of_the_reservation_that_follows_and_takes_nothing(void **state)
{
    static const char *const users[] = {"ann", "bob", "cem", "dan", "eve"};
    static const char *const keys[] = {"", "", "k1", "k2"};
    uint64_t random = (uint64_t)time(NULL);
    int seen[INV_FENCED + 1] = {0};

    (void)state;
    print_message("seed %llu\n", (unsigned long long)random);
    for (unsigned i = 1; i <= 300; i++) {
        struct inv_count before[SKUS], after[SKUS];
        struct inv_answer judged, answer;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        unsigned bits = (unsigned)(random >> 33);
        struct inv_reservation r = wish(i, users[bits % 5], keys[bits / 5 % 4]);
        r.sku = bits / 20 % SKUS;
        r.quantity = 1 + bits / 60 % 3;
        r.cap = 8;
        r.sku_cap = bits / 180 % 4;
        r.epoch = bits / 720 % 20 == 0 ? EPOCH - 1 : EPOCH;
        assert_ok(fx_counts(&fx, sale, before));
        struct inv_reservation asked = r;
        asked.order_id = (struct ps_uuid){0};
        assert_ok(fx_judge(&fx, sale, &asked, &judged));
        assert_ok(fx_counts(&fx, sale, after));
        assert_memory_equal(before, after, sizeof before);
        answer = reserve(&r);
        assert_int_equal(judged.result, answer.result);
        seen[answer.result]++;
        assert_int_equal(judged.reserved_at_ms, 0);
        if (answer.result == INV_RESERVED)
            assert_int_equal(judged.left, answer.left + r.quantity);
        else
            assert_memory_equal(&judged.order_id, &answer.order_id, sizeof answer.order_id);
        if (bits / 14400 % 4 == 0)
            resolve(i, INV_VOID);
    }
    assert_true(seen[INV_RESERVED] > 0 && seen[INV_CAP] > 0 && seen[INV_SOLD_OUT] > 0 &&
                seen[INV_FENCED] > 0);
}

static void the_same_order_id_again_is_the_same_answer_and_takes_nothing(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "k1");
    struct inv_answer first = reserve(&r);
    fx.now.wall_ms += 1000;
    for (enum inv_verdict verdict = INV_ACCEPTED; verdict <= INV_CONFIRMED; verdict++) {
        struct inv_answer again = reserve(&r);
        assert_about(again, INV_RESERVED, 1);
        assert_int_equal(again.reserved_at_ms, first.reserved_at_ms);
        assert_int_equal(again.pay_by_ms, first.pay_by_ms);
        assert_int_equal(again.left, STOCK - 1);
        resolve(1, verdict);
    }
    assert_black(STOCK - 1, 0, 0, 1);
    buy_many(9, "rest", STOCK - 1);
    assert_about(reserve(&r), INV_RESERVED, 1); /* sold out or not */
}

static void an_order_id_of_somebody_else_is_refused(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "bob", "k1");
    struct inv_answer answer;
    struct ps_uuid taken = id(1);
    buy(1, "ann", "k1");
    assert_int_equal(fx_reserve(&fx, sale, &r, &answer), PS_E_CONFLICT);
    buy(2, "bob", "k2");
    assert_int_equal(fx_reserve(&fx, sale, &r, &answer), PS_E_CONFLICT);
    assert_int_equal(fx_lower(&fx, sale, EPOCH, &taken, 0, 1, &answer), PS_E_CONFLICT);
    assert_black(STOCK - 2, 2, 0, 0);
}

static void a_used_key_is_a_duplicate_or_a_mismatch(void **state)
{
    (void)state;
    struct inv_reservation r = wish(2, "ann", "k1");
    assert_int_equal(buy(1, "ann", "k1"), INV_RESERVED);
    assert_about(reserve(&r), INV_DUPLICATE, 1);
    r.quantity = 2;
    assert_about(reserve(&r), INV_MISMATCH, 1);
    r.quantity = 1;
    r.sku = 1;
    assert_about(reserve(&r), INV_MISMATCH, 1);
    assert_black(STOCK - 1, 1, 0, 0);
}

static void keys_belong_to_one_user_of_one_sale(void **state)
{
    (void)state;
    struct inv_sale *other;
    struct inv_reservation r = wish(3, "ann", "k1");
    struct inv_answer answer;
    assert_int_equal(buy(1, "ann", "k1"), INV_RESERVED);
    assert_int_equal(buy(2, "bob", "k1"), INV_RESERVED);
    assert_int_equal(buy(4, "annk", "1"), INV_RESERVED); /* the border between both counts */
    assert_ok(inv_load_install(load_of("other", EPOCH, 1), &other));
    assert_int_equal(fx_reserve(&fx, other, &r, &answer), 0);
    assert_int_equal(answer.result, INV_RESERVED);
    assert_int_equal(answer.left, 0);
}

static void orders_without_a_key_are_never_duplicates(void **state)
{
    (void)state;
    assert_int_equal(buy(1, "ann", ""), INV_RESERVED);
    assert_int_equal(buy(2, "ann", ""), INV_RESERVED);
}

static void users_and_keys_of_full_length_are_told_apart(void **state)
{
    (void)state;
    char user[PS_USER_MAX], key[PS_KEY_MAX];
    memset(user, 'u', sizeof user);
    memset(key, 'k', sizeof key);
    struct inv_reservation r = wish(1, "", "");
    r.user = (struct ps_str){user, sizeof user};
    r.key = (struct ps_str){key, sizeof key};
    assert_int_equal(reserve(&r).result, INV_RESERVED);
    r.order_id = id(2);
    assert_int_equal(reserve(&r).result, INV_DUPLICATE);
    key[PS_KEY_MAX - 1] = 'x';
    assert_int_equal(reserve(&r).result, INV_RESERVED);
    r.order_id = id(3);
    key[PS_KEY_MAX - 1] = 'y';
    assert_int_equal(reserve(&r).result, INV_CAP);
    user[PS_USER_MAX - 1] = '\xff';
    assert_int_equal(reserve(&r).result, INV_RESERVED);
}

static void nobody_gets_more_than_the_cap_of_the_sale(void **state)
{
    (void)state;
    struct inv_reservation r = wish(3, "ann", "");
    r.sku = 1;
    assert_int_equal(buy(1, "ann", ""), INV_RESERVED);
    assert_int_equal(buy(2, "ann", ""), INV_RESERVED);
    assert_about(reserve(&r), INV_CAP, 2); /* over all SKUs */
    resolve(1, INV_ACCEPTED);
    resolve(1, INV_CONFIRMED);
    assert_about(reserve(&r), INV_CAP, 2); /* confirmed units count */
    resolve(2, INV_ACCEPTED);
    resolve(2, INV_RELEASED);
    r.quantity = 2;
    assert_about(reserve(&r), INV_CAP, 1); /* the last that the buyer still has */
    r.quantity = 1;
    assert_int_equal(reserve(&r).result, INV_RESERVED); /* released ones do not */
}

static void the_cap_of_a_sku_counts_that_sku_only(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "");
    r.cap = 5;
    r.sku_cap = 1;
    assert_int_equal(reserve(&r).result, INV_RESERVED);
    r.order_id = id(2);
    assert_about(reserve(&r), INV_CAP, 1);
    r.sku = 1;
    assert_int_equal(reserve(&r).result, INV_RESERVED);
    r.order_id = id(3);
    r.sku_cap = 0;
    assert_int_equal(reserve(&r).result, INV_RESERVED);
}

static void more_than_the_cap_at_once_is_cap_without_an_order(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "");
    r.quantity = 3;
    struct inv_answer answer = reserve(&r);
    struct ps_uuid none = {{0}};
    assert_int_equal(answer.result, INV_CAP);
    assert_memory_equal(&answer.order_id, &none, sizeof none);
    assert_int_equal(answer.left, STOCK);
    assert_black(STOCK, 0, 0, 0);
}

static void fewer_units_than_asked_are_sold_out_and_stay(void **state)
{
    (void)state;
    assert_int_equal(buy_many(1, "ann", STOCK - 1), INV_RESERVED);
    assert_int_equal(buy_many(2, "bob", 2), INV_SOLD_OUT);
    assert_black(1, STOCK - 1, 0, 0);
    assert_int_equal(buy_many(2, "bob", 1), INV_RESERVED); /* the refused id was left free */
    assert_int_equal(buy_many(3, "cat", 1), INV_SOLD_OUT);
    assert_black(0, STOCK, 0, 0);
}

static void id_then_key_then_cap_are_judged_before_sold_out(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "k1");
    assert_int_equal(reserve(&r).result, INV_RESERVED);
    assert_int_equal(buy_many(2, "bob", STOCK - 1), INV_RESERVED);
    assert_true(inv_sale_left(sale, 0) == 0);
    r.quantity = 3;
    assert_about(reserve(&r), INV_RESERVED, 1); /* the id is all that counts */
    r.order_id = id(3);
    assert_about(reserve(&r), INV_MISMATCH, 1); /* above the cap, too */
    r.quantity = 1;
    assert_about(reserve(&r), INV_DUPLICATE, 1);
    r.key.len = 0;
    r.cap = 1;
    assert_about(reserve(&r), INV_CAP, 1);
    r.cap = 2;
    assert_int_equal(reserve(&r).result, INV_SOLD_OUT);
}

static void largest_numbers_do_not_overflow(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "");
    assert_ok(inv_load_install(load_of("drop", EPOCH + 1, PS_INT_MAX), &sale));
    r.epoch = EPOCH + 1;
    r.quantity = r.cap = r.sku_cap = PS_INT_MAX;
    r.ttl_ms = PS_INT_MAX;
    struct inv_answer answer = reserve(&r);
    assert_int_equal(answer.result, INV_RESERVED);
    assert_int_equal(answer.pay_by_ms, answer.reserved_at_ms + PS_INT_MAX);
    assert_black(0, PS_INT_MAX, 0, 0);
    r.order_id = id(2);
    r.sku = 1;
    assert_about(reserve(&r), INV_CAP, 1);
    raise_by(3, 1);
    raise_by(3, PS_INT_MAX);
    assert_black(0, PS_INT_MAX, 0, 0); /* what would pass the largest number changes nothing */
    resolve(1, INV_VOID);
    assert_black(PS_INT_MAX, 0, 0, 0);
}

static void impossible_reservations_are_refused(void **state)
{
    (void)state;
    const struct inv_reservation good = wish(1, "ann", "k1");
    struct inv_reservation bad[] = {good, good, good, good, good, good, good, good, good, good};
    char text[PS_USER_MAX + 1] = "ann";
    struct ps_uuid ref = id(2);
    struct inv_answer answer;
    bad[0].quantity = 0;
    bad[1].quantity = PS_INT_MAX + 1;
    bad[2].cap = 0;
    bad[3].cap = PS_INT_MAX + 1;
    bad[4].sku_cap = -1;
    bad[5].ttl_ms = -1;
    bad[6].user.len = 0;
    bad[7].user = (struct ps_str){text, PS_USER_MAX + 1};
    bad[8].key = (struct ps_str){text, PS_KEY_MAX + 1};
    bad[9].sku = SKUS;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(fx_reserve(&fx, sale, &bad[i], &answer), PS_E_INVALID);
    assert_int_equal(fx_lower(&fx, sale, EPOCH, &ref, 0, 0, &answer), PS_E_INVALID);
    assert_int_equal(fx_lower(&fx, sale, EPOCH, &ref, SKUS, 1, &answer), PS_E_INVALID);
    assert_black(STOCK, 0, 0, 0);
}

/* --- settling --- */

static void every_verdict_on_every_state_does_what_the_contract_says(void **state)
{
    enum { DOUBT, HELD, CONFIRMED, BACK };
    /* state before x ACCEPTED, VOID, CONFIRMED, RELEASED */
    static const int after[4][4] = {[DOUBT] = {HELD, BACK, CONFIRMED, BACK},
                                    [HELD] = {HELD, HELD, CONFIRMED, BACK},
                                    [CONFIRMED] = {CONFIRMED, CONFIRMED, CONFIRMED, CONFIRMED},
                                    [BACK] = {BACK, BACK, BACK, BACK}};
    static const enum inv_verdict to_reach[4] = {0, INV_ACCEPTED, INV_CONFIRMED, INV_RELEASED};
    unsigned number = 0;
    (void)state;
    for (int before = DOUBT; before <= BACK; before++) {
        for (enum inv_verdict verdict = INV_ACCEPTED; verdict <= INV_RELEASED; verdict++) {
            char user[16];
            (void)snprintf(user, sizeof user, "user%u", number);
            assert_ok(inv_load_install(load_of("drop", EPOCH + 1 + number, STOCK), &sale));
            struct inv_reservation r = wish(number, user, "k1");
            r.epoch = EPOCH + 1 + number;
            assert_int_equal(reserve(&r).result, INV_RESERVED);
            if (before != DOUBT)
                resolve(number, to_reach[before]);
            for (int times = 0; times < 2; times++) {
                resolve(number, verdict);
                int now = after[before][verdict];
                assert_black(now == BACK ? STOCK : STOCK - 1, now == DOUBT, now == HELD,
                             now == CONFIRMED);
            }
            number++;
        }
    }
}

static void an_unknown_id_changes_nothing(void **state)
{
    (void)state;
    buy(1, "ann", "");
    for (enum inv_verdict verdict = INV_ACCEPTED; verdict <= INV_RELEASED; verdict++)
        resolve(2, verdict);
    assert_black(STOCK - 1, 1, 0, 0);
}

static void a_void_order_frees_its_key_and_its_id(void **state)
{
    (void)state;
    buy(1, "ann", "k1");
    resolve(1, INV_VOID);
    assert_int_equal(buy(2, "ann", "k1"), INV_RESERVED);
    assert_int_equal(buy(1, "ann", "k2"), INV_RESERVED);
    assert_black(STOCK - 2, 2, 0, 0);
}

static void a_released_order_keeps_its_key_and_frees_its_units(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "k1");
    reserve(&r);
    resolve(1, INV_ACCEPTED);
    resolve(1, INV_RELEASED);
    assert_about(reserve(&r), INV_DUPLICATE, 1); /* itself */
    r.order_id = id(2);
    assert_about(reserve(&r), INV_DUPLICATE, 1);
    assert_black(STOCK, 0, 0, 0);
    r.key.len = 0;
    r.quantity = 2;
    assert_int_equal(reserve(&r).result, INV_RESERVED);
}

/* --- finding --- */

static void an_order_is_found_in_each_state_until_it_is_forgotten(void **state)
{
    (void)state;
    struct ps_uuid order = id(1), unknown = id(2), adjustment = id(3);
    struct inv_reservation r = wish(1, "ann", "k1");
    struct inv_entry entry;
    r.sku = 1;
    r.quantity = 2;
    struct inv_answer answer = reserve(&r);
    assert_ok(fx_find(&fx, sale, &order, &entry));
    assert_int_equal(entry.state, INV_IN_DOUBT);
    assert_int_equal(entry.sku, 1);
    assert_int_equal(entry.quantity, 2);
    assert_int_equal(entry.reserved_at_ms, answer.reserved_at_ms);
    assert_int_equal(entry.pay_by_ms, answer.pay_by_ms);
    assert_int_equal(entry.user_len, 3);
    assert_memory_equal(entry.user, "ann", 3);
    assert_int_equal(entry.key_len, 2);
    assert_memory_equal(entry.key, "k1", 2);
    resolve(1, INV_ACCEPTED);
    assert_ok(fx_find(&fx, sale, &order, &entry));
    assert_int_equal(entry.state, INV_HELD);
    resolve(1, INV_RELEASED);
    assert_ok(fx_find(&fx, sale, &order, &entry));
    assert_int_equal(entry.state, INV_GIVEN_BACK);
    assert_int_equal(fx_find(&fx, sale, &unknown, &entry), PS_E_NOT_FOUND);
    lower(3, 1);
    assert_int_equal(fx_find(&fx, sale, &adjustment, &entry), PS_E_NOT_FOUND);
    buy(2, "bob", "");
    resolve(2, INV_CONFIRMED);
    assert_ok(fx_find(&fx, sale, &unknown, &entry));
    assert_int_equal(entry.state, INV_CONFIRMED_UNITS);
    buy(4, "bob", "");
    resolve(4, INV_RELEASED);
    unknown = id(4);
    assert_int_equal(fx_find(&fx, sale, &unknown, &entry), PS_E_NOT_FOUND);
}

/* --- adjusting --- */

static void a_lowering_takes_units_once_and_for_good_when_accepted(void **state)
{
    (void)state;
    assert_int_equal(lower(1, 4), INV_RESERVED);
    assert_int_equal(lower(1, 4), INV_RESERVED);
    assert_black(STOCK - 4, 4, 0, 0);
    resolve(1, INV_CONFIRMED);
    resolve(1, INV_RELEASED);
    assert_black(STOCK - 4, 4, 0, 0);
    resolve(1, INV_ACCEPTED);
    resolve(1, INV_VOID);
    assert_black(STOCK - 4, 0, 0, 0);
    assert_int_equal(lower(1, 4), INV_RESERVED);
    assert_black(STOCK - 4, 0, 0, 0);
}

static void the_id_of_a_lowering_is_good_for_one_sku_and_one_number_of_units(void **state)
{
    (void)state;
    struct inv_answer answer;
    struct ps_uuid ref = id(1);
    assert_int_equal(lower(1, 4), INV_RESERVED);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fx_lower(&fx, sale, EPOCH, &ref, 0, 5, &answer), PS_E_CONFLICT);
        assert_int_equal(fx_lower(&fx, sale, EPOCH, &ref, 1, 4, &answer), PS_E_CONFLICT);
        assert_black(STOCK - 4, round == 0 ? 4 : 0, 0, 0);
        resolve(1, INV_ACCEPTED);
    }
}

static void a_raise_that_the_log_shows_gives_back_a_lowering_of_its_id(void **state)
{
    (void)state;
    lower(1, 4);
    raise_by(1, 5);
    assert_black(STOCK + 5, 0, 0, 0);
    raise_by(1, 5);
    resolve(1, INV_ACCEPTED);
    assert_black(STOCK + 5, 0, 0, 0);
}

static void a_void_lowering_gives_its_units_back(void **state)
{
    (void)state;
    assert_int_equal(lower(1, STOCK), INV_RESERVED);
    assert_int_equal(buy(2, "ann", ""), INV_SOLD_OUT);
    resolve(1, INV_VOID);
    assert_black(STOCK, 0, 0, 0);
    assert_int_equal(lower(1, 1), INV_RESERVED);
}

static void a_lowering_never_takes_what_is_sold(void **state)
{
    (void)state;
    buy(1, "ann", "");
    assert_int_equal(lower(2, STOCK), INV_SOLD_OUT);
    assert_black(STOCK - 1, 1, 0, 0);
}

static void a_raise_counts_once(void **state)
{
    (void)state;
    raise_by(1, 5);
    raise_by(1, 5);
    raise_by(2, 1);
    resolve(1, INV_VOID);
    assert_black(STOCK + 6, 0, 0, 0);
}

static void a_raise_puts_a_sold_out_sku_on_sale_again(void **state)
{
    (void)state;
    buy_many(1, "ann", STOCK);
    assert_int_equal(buy(2, "bob", ""), INV_SOLD_OUT);
    raise_by(3, 1);
    assert_int_equal(buy(2, "bob", ""), INV_RESERVED);
}

static void buy_all(unsigned sku)
{
    struct inv_reservation r = wish(sku, "ann", "");
    r.sku = sku;
    r.quantity = STOCK;
    r.cap = SKUS * STOCK;
    reserve(&r);
    assert_int_equal(inv_sale_left(sale, sku), 0);
}

static void a_sale_is_sold_out_when_every_sku_is(void **state)
{
    (void)state;
    for (unsigned sku = 0; sku < SKUS; sku++) {
        assert_false(inv_sale_sold_out(sale));
        assert_false(inv_sale_sku_sold_out(sale, sku));
        buy_all(sku);
        resolve(sku, INV_ACCEPTED);
        assert_true(inv_sale_sku_sold_out(sale, sku));
    }
    assert_true(inv_sale_sold_out(sale));
    assert_int_equal(inv_sale_left(sale, SKUS), 0);
    assert_true(inv_sale_sku_sold_out(sale, SKUS));
    resolve(1, INV_RELEASED);
    assert_false(inv_sale_sold_out(sale));
    assert_false(inv_sale_sku_sold_out(sale, 1));
}

/* Only the counter knows the buyer of a unit in doubt, so it is to be asked. */
static void nothing_is_sold_out_while_the_log_has_not_decided(void **state)
{
    static const enum inv_verdict verdicts[SKUS] = {INV_ACCEPTED, INV_CONFIRMED, INV_VOID};
    (void)state;
    for (unsigned sku = 0; sku < SKUS; sku++) {
        struct inv_reservation r = wish(10 + sku, "bob", "");
        r.sku = sku;
        buy_all(sku);
        assert_int_equal(reserve(&r).result, INV_SOLD_OUT);
        assert_false(inv_sale_sku_sold_out(sale, sku));
        assert_false(inv_sale_sold_out(sale));
        resolve(sku, verdicts[sku]);
        assert_int_equal(inv_sale_sku_sold_out(sale, sku), verdicts[sku] != INV_VOID);
    }
    buy_all(2);
    assert_false(inv_sale_sold_out(sale));
    assert_ok(inv_load_install(load_of("drop", EPOCH + 1, 0), &sale));
    assert_true(inv_sale_sold_out(sale)); /* what was in doubt is none of the new books */
}

/* --- loading and epochs --- */

static void sales_are_told_apart_by_name(void **state)
{
    (void)state;
    struct inv_sale *other, *prefix, *again;
    assert_ok(inv_load_install(load_of("other", 7, 1), &other));
    assert_ok(inv_load_install(load_of("dro", 7, 1), &prefix));
    assert_ptr_not_equal(other, sale);
    assert_ptr_not_equal(prefix, sale);
    assert_int_equal(inv_sale_epoch(sale), EPOCH);
    assert_ok(inv_load_install(load_of("other", 8, 1), &again));
    assert_ptr_equal(again, other);
    assert_int_equal(inv_sale_epoch(other), 8);
    assert_int_equal(inv_sale_sku_count(sale), SKUS);
    buy(1, "ann", "");
    assert_int_equal(inv_sale_left(other, 0), 1);
}

static void a_load_is_not_in_force_before_its_install(void **state)
{
    (void)state;
    struct inv_load *load = load_of("drop", EPOCH + 1, 0);
    assert_int_equal(inv_sale_epoch(sale), EPOCH);
    buy(1, "ann", "");
    inv_load_free(load);
    assert_int_equal(inv_sale_epoch(sale), EPOCH);
    assert_int_equal(inv_sale_left(sale, 0), STOCK - 1);
    inv_load_free(NULL);
}

static void calls_of_another_epoch_are_fenced(void **state)
{
    (void)state;
    struct inv_reservation r = wish(1, "ann", "");
    struct ps_uuid ref = id(2);
    struct inv_answer answer;
    r.epoch = EPOCH - 1;
    assert_int_equal(reserve(&r).result, INV_FENCED);
    r.epoch = EPOCH + 1;
    assert_int_equal(reserve(&r).result, INV_FENCED);
    assert_int_equal(fx_lower(&fx, sale, EPOCH + 1, &ref, 0, 1, &answer), INV_DONE);
    assert_int_equal(answer.result, INV_FENCED);
    assert_black(STOCK, 0, 0, 0);
}

static void an_install_replaces_the_counters_of_an_older_epoch(void **state)
{
    (void)state;
    struct inv_sale *again;
    buy(1, "ann", "k1");
    lower(2, 3);
    assert_ok(inv_load_install(load_of("drop", EPOCH + 1, 7), &again));
    assert_ptr_equal(again, sale);
    assert_int_equal(inv_sale_epoch(sale), EPOCH + 1);
    assert_black(7, 0, 0, 0);
    resolve(1, INV_VOID); /* what an ended epoch left in doubt is no longer known */
    resolve(2, INV_ACCEPTED);
    assert_black(7, 0, 0, 0);
    assert_int_equal(buy(3, "ann", "k1"), INV_FENCED);
}

static void an_install_never_goes_back(void **state)
{
    (void)state;
    static const char *const two[] = {"black", "white"};
    struct inv_sale *none = NULL;
    struct inv_load *load;
    assert_int_equal(inv_load_install(load_of("drop", EPOCH, 99), &none), PS_E_CONFLICT);
    assert_int_equal(inv_load_install(load_of("drop", EPOCH - 1, 99), &none), PS_E_CONFLICT);
    assert_ok(inv_load_new(store, "drop", EPOCH + 1, two, 2, &load));
    assert_int_equal(inv_load_install(load, &none), PS_E_CONFLICT);
    assert_null(none);
    assert_int_equal(inv_sale_epoch(sale), EPOCH);
    assert_int_equal(buy(1, "ann", ""), INV_RESERVED);
    assert_black(STOCK - 1, 1, 0, 0);
}

static void loaded_orders_count_like_those_that_were_reserved(void **state)
{
    (void)state;
    struct inv_load *load = load_of("drop", EPOCH + 1, 4);
    struct inv_load_order order = loaded(1, "ann", "k1", 2);
    struct inv_reservation r = wish(9, "ann", "k1");
    struct inv_entry entry;
    r.epoch = EPOCH + 1;
    r.quantity = 2;
    assert_ok(inv_load_order(load, &order));
    order = loaded(2, "bob", "k1", 3);
    order.state = INV_LOAD_CONFIRMED;
    assert_ok(inv_load_order(load, &order));
    order = loaded(3, "cat", "k1", 2);
    order.state = INV_LOAD_RELEASED;
    assert_ok(inv_load_order(load, &order));
    assert_ok(inv_load_install(load, &sale));
    assert_black(4, 0, 2, 3);

    assert_about(reserve(&r), INV_DUPLICATE, 1);
    r.user = PS_STR("cat");
    assert_about(reserve(&r), INV_DUPLICATE, 3);
    r.key.len = 0;
    assert_int_equal(reserve(&r).result, INV_RESERVED); /* released units are not the buyer's */
    r.user = PS_STR("bob");
    r.cap = 4;
    r.order_id = id(10);
    assert_about(reserve(&r), INV_CAP, 2);
    assert_ok(fx_find(&fx, sale, &order.id, &entry));
    assert_int_equal(entry.state, INV_GIVEN_BACK);
    assert_int_equal(entry.reserved_at_ms, 0);
    resolve(1, INV_RELEASED);
    resolve(2, INV_RELEASED);
    assert_black(4, 2, 0, 3);
}

static void a_loaded_raise_does_not_count_again(void **state)
{
    (void)state;
    struct inv_load *load = load_of("drop", EPOCH + 1, STOCK);
    struct ps_uuid ref = id(1);
    assert_ok(inv_load_raised(load, &ref));
    assert_int_equal(inv_load_raised(load, &ref), PS_E_EXISTS);
    assert_ok(inv_load_install(load, &sale));
    raise_by(1, 5);
    assert_black(STOCK, 0, 0, 0);
    raise_by(2, 5);
    assert_black(STOCK + 5, 0, 0, 0);
}

static void impossible_loads_are_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"black"}, *const bad[] = {"bl ack"};
    struct inv_load *load = NULL;
    assert_int_equal(inv_load_new(store, "no good", 9, good, 1, &load), PS_E_INVALID);
    assert_int_equal(inv_load_new(store, "drop", -1, good, 1, &load), PS_E_INVALID);
    assert_int_equal(inv_load_new(store, "drop", 9, bad, 1, &load), PS_E_INVALID);
    const char *many[INV_SKUS_MAX + 1];
    for (size_t i = 0; i < PS_ARRAY_LEN(many); i++)
        many[i] = good[0];
    assert_int_equal(inv_load_new(store, "drop", 9, many, PS_ARRAY_LEN(many), &load), PS_E_INVALID);
    assert_null(load);
    assert_ok(inv_load_new(store, "one", 9, good, 1, &load));
    assert_int_equal(inv_load_available(load, 1, 5), PS_E_INVALID);
    assert_int_equal(inv_load_available(load, 0, -1), PS_E_INVALID);
    assert_int_equal(inv_load_available(load, 0, PS_INT_MAX + 1), PS_E_INVALID);

    struct inv_load_order order = loaded(1, "ann", "", 1);
    order.state = INV_LOAD_RELEASED;
    assert_int_equal(inv_load_order(load, &order), PS_E_INVALID); /* nothing of it would count */
    order.state = INV_LOAD_HELD;
    order.sku = 1;
    assert_int_equal(inv_load_order(load, &order), PS_E_INVALID);
    order.sku = 0;
    order.quantity = 0;
    assert_int_equal(inv_load_order(load, &order), PS_E_INVALID);
    order.quantity = PS_INT_MAX;
    assert_ok(inv_load_order(load, &order));
    assert_int_equal(inv_load_order(load, &order), PS_E_EXISTS);
    order = loaded(2, "bob", "", 1);
    assert_int_equal(inv_load_order(load, &order), PS_E_INVALID); /* the sum */
    assert_int_equal(inv_load_available(load, 0, 1), PS_E_INVALID);
    assert_ok(inv_load_install(load, &sale));
    assert_int_equal(inv_sale_left(sale, 0), 0);
}

static void a_store_answers_what_its_callers_ask_of_any_backend(void **state)
{
    char text[64] = "before";
    (void)state;
    assert_int_equal(inv_store_is_shared(store), backend->shared);
    assert_true(inv_store_ready(store));
    assert_false(inv_store_busy(store));
    assert_int_equal(strlen(inv_store_server(store)) > 0, backend->shared);
    inv_store_load_error(store, text, sizeof text);
    assert_string_equal(text, "");
}

static void the_offsets_that_a_load_holds_are_no_part_of_its_numbers(void **state)
{
    struct inv_load *load = load_of("drop", EPOCH + 1, 3);
    (void)state;
    assert_ok(inv_load_applied(load, 0, 17));
    assert_ok(inv_load_applied(load, 11, 0));
    assert_ok(inv_load_install(load, &sale));
    assert_int_equal(inv_sale_left(sale, 0), 3);
}

static void random_schedules_agree_with_a_plain_model(void **state)
{
    (void)state;
    store_schedules(&fx);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CLAIM(a_reservation_takes_its_units_and_says_until_when),
        CLAIM(a_judgement_is_the_answer_of_the_reservation_that_follows_and_takes_nothing),
        CLAIM(the_same_order_id_again_is_the_same_answer_and_takes_nothing),
        CLAIM(an_order_id_of_somebody_else_is_refused),
        CLAIM(a_used_key_is_a_duplicate_or_a_mismatch),
        CLAIM(keys_belong_to_one_user_of_one_sale),
        CLAIM(orders_without_a_key_are_never_duplicates),
        CLAIM(users_and_keys_of_full_length_are_told_apart),
        CLAIM(nobody_gets_more_than_the_cap_of_the_sale),
        CLAIM(the_cap_of_a_sku_counts_that_sku_only),
        CLAIM(more_than_the_cap_at_once_is_cap_without_an_order),
        CLAIM(fewer_units_than_asked_are_sold_out_and_stay),
        CLAIM(id_then_key_then_cap_are_judged_before_sold_out),
        CLAIM(largest_numbers_do_not_overflow),
        CLAIM(impossible_reservations_are_refused),
        CLAIM(every_verdict_on_every_state_does_what_the_contract_says),
        CLAIM(an_unknown_id_changes_nothing),
        CLAIM(a_void_order_frees_its_key_and_its_id),
        CLAIM(a_released_order_keeps_its_key_and_frees_its_units),
        CLAIM(an_order_is_found_in_each_state_until_it_is_forgotten),
        CLAIM(a_lowering_takes_units_once_and_for_good_when_accepted),
        CLAIM(the_id_of_a_lowering_is_good_for_one_sku_and_one_number_of_units),
        CLAIM(a_raise_that_the_log_shows_gives_back_a_lowering_of_its_id),
        CLAIM(a_void_lowering_gives_its_units_back),
        CLAIM(a_lowering_never_takes_what_is_sold),
        CLAIM(a_raise_counts_once),
        CLAIM(a_raise_puts_a_sold_out_sku_on_sale_again),
        CLAIM(a_sale_is_sold_out_when_every_sku_is),
        CLAIM(nothing_is_sold_out_while_the_log_has_not_decided),
        CLAIM(sales_are_told_apart_by_name),
        CLAIM(a_load_is_not_in_force_before_its_install),
        CLAIM(calls_of_another_epoch_are_fenced),
        CLAIM(an_install_replaces_the_counters_of_an_older_epoch),
        CLAIM(an_install_never_goes_back),
        CLAIM(loaded_orders_count_like_those_that_were_reserved),
        CLAIM(a_loaded_raise_does_not_count_again),
        CLAIM(impossible_loads_are_refused),
        CLAIM(a_store_answers_what_its_callers_ask_of_any_backend),
        CLAIM(the_offsets_that_a_load_holds_are_no_part_of_its_numbers),
        CLAIM(random_schedules_agree_with_a_plain_model),
    };
    int failed = 0;
    for (size_t i = 0; i < store_backend_count; i++) {
        backend = store_backends[i];
        if (backend->start != NULL)
            backend->start();
        failed += cmocka_run_group_tests_name(backend->name, tests, NULL, NULL);
        if (backend->stop != NULL)
            backend->stop();
    }
    return failed;
}
