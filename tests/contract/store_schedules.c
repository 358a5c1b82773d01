/* Schedules: a few users with a few keys want a few units of a few SKUs, again and again, so that
 * every rule is met often; half of the schedules count in units of 2^50, near the largest number.
 */
#include "tests/unit/check.h"

#include "tests/contract/store_model.h"
#include "tests/contract/store_schedules.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STEPS_MAX 400
#define FAR       (INT64_C(1) << 50)

struct run {
    struct store_fixture *fx;
    struct inv_sale *sale;
    const char *name;
    uint64_t random;
    int64_t unit; /* what one piece counts: 1 or FAR */
    struct model model;
    size_t wish_count;
    struct inv_reservation
        wishes[STEPS_MAX]; /* every one that was ever made, for trying it again */
    uint32_t adjust_count;
    unsigned results[INV_FENCED + 1]; /* how often each was answered */
};

/* xorshift64*: small, and the same everywhere. */
static uint32_t below(struct run *run, uint32_t end)
{
    run->random ^= run->random >> 12;
    run->random ^= run->random << 25;
    run->random ^= run->random >> 27;
    return (uint32_t)((run->random * UINT64_C(2685821657736338717)) >> 33) % end;
}

static struct ps_uuid numbered(uint8_t kind, size_t number)
{
    return (struct ps_uuid){{kind, [13] = (uint8_t)(number >> 16), [14] = (uint8_t)(number >> 8),
                             [15] = (uint8_t)number}};
}

static struct inv_reservation *new_wish(struct run *run)
{
    static const char *const users[] = {"ann", "bob", "cat", "dan", "eve", "fay"};
    static const char *const keys[] = {"", "", "k1", "k2", "k3", "k4"};
    const char *user = users[below(run, PS_ARRAY_LEN(users))];
    const char *key = keys[below(run, PS_ARRAY_LEN(keys))];
    struct inv_reservation *wish = &run->wishes[run->wish_count];
    *wish = (struct inv_reservation){.order_id = numbered(1, run->wish_count),
                                     .epoch = run->model.epoch,
                                     .user = {user, strlen(user)},
                                     .key = {key, strlen(key)},
                                     .sku = below(run, MODEL_SKUS),
                                     .quantity = (1 + below(run, 3)) * run->unit,
                                     .cap = (1 + below(run, 6)) * run->unit,
                                     .sku_cap = below(run, 4) * run->unit,
                                     .ttl_ms = 1000};
    run->wish_count++;
    return wish;
}

static void check_answer(const struct inv_answer *answer, const struct inv_answer *want)
{
    assert_int_equal(answer->result, want->result);
    assert_int_equal(answer->left, want->left);
    assert_int_equal(answer->reserved_at_ms, want->reserved_at_ms);
    assert_int_equal(answer->pay_by_ms, want->pay_by_ms);
    assert_memory_equal(&answer->order_id, &want->order_id, sizeof want->order_id);
}

static void step_reserve(struct run *run, bool again)
{
    struct inv_reservation *wish = again && run->wish_count > 0
                                       ? &run->wishes[below(run, (uint32_t)run->wish_count)]
                                       : new_wish(run);
    int64_t before_ms = fx_now_ms(run->fx);
    struct inv_answer answer;
    assert_ok(fx_reserve(run->fx, run->sale, wish, &answer));
    size_t rows = run->model.count;
    struct inv_answer want = model_reserve(&run->model, wish, answer.reserved_at_ms);
    if (run->model.count > rows) /* the time is new */
        assert_true(answer.reserved_at_ms >= before_ms &&
                    answer.reserved_at_ms <= fx_now_ms(run->fx));
    check_answer(&answer, &want);
    run->results[answer.result]++;
}

/* One of the newest orders or adjustments, or one that does not exist yet. */
static struct ps_uuid some_id(struct run *run)
{
    uint8_t kind = (uint8_t)(1 + (below(run, 6) == 0));
    size_t count = kind == 1 ? run->wish_count : run->adjust_count;
    size_t back = below(run, 30);
    return numbered(kind, count > back ? count - back : count);
}

static void step_resolve(struct run *run)
{
    /* Confirmed is final, so it is rare: else there would soon be nothing left to decide. */
    static const enum inv_verdict verdicts[] = {
        INV_ACCEPTED, INV_ACCEPTED, INV_ACCEPTED, INV_VOID,     INV_VOID,
        INV_RELEASED, INV_RELEASED, INV_RELEASED, INV_RELEASED, INV_CONFIRMED};
    struct ps_uuid id = some_id(run);
    enum inv_verdict verdict = verdicts[below(run, PS_ARRAY_LEN(verdicts))];
    model_resolve(&run->model, &id, verdict);
    fx_resolve(run->fx, run->sale, &id, verdict);
}

static void step_adjust(struct run *run)
{
    struct ps_uuid id = below(run, 4) == 0 ? some_id(run) : numbered(2, run->adjust_count++);
    uint32_t sku = below(run, MODEL_SKUS);
    int64_t units = (1 + below(run, 3)) * run->unit;
    if (id.byte[0] != 2) /* an order's */
        return;
    if (below(run, 2) == 0) {
        model_raise(&run->model, &id, sku, units);
        fx_raise(run->fx, run->sale, &id, sku, units);
        return;
    }
    struct inv_answer answer;
    const int64_t epoch = run->model.epoch;
    int err = fx_lower(run->fx, run->sale, epoch, &id, sku, units, &answer);
    if (err == PS_E_CONFLICT) /* of a raise, or of another lowering: the model has no errors */
        return;
    assert_ok(err);
    struct inv_answer want = model_lower(&run->model, epoch, &id, sku, units);
    check_answer(&answer, &want);
}

static void step_find(struct run *run)
{
    static const int state_of[] = {[MODEL_IN_DOUBT] = INV_IN_DOUBT,
                                   [MODEL_HELD] = INV_HELD,
                                   [MODEL_CONFIRMED] = INV_CONFIRMED_UNITS,
                                   [MODEL_GIVEN_BACK] = INV_GIVEN_BACK};
    struct ps_uuid id = some_id(run);
    const struct model_row *want = model_find(&run->model, &id);
    struct inv_entry entry;
    int err = fx_find(run->fx, run->sale, &id, &entry);
    assert_int_equal(err, want != NULL ? 0 : PS_E_NOT_FOUND);
    if (want == NULL)
        return;
    assert_int_equal(entry.state, state_of[want->state]);
    assert_int_equal(entry.sku, want->sku);
    assert_int_equal(entry.quantity, want->quantity);
    assert_int_equal(entry.reserved_at_ms, want->reserved_at_ms);
    assert_int_equal(entry.pay_by_ms, want->pay_by_ms);
    assert_int_equal(entry.user_len, want->user.len);
    assert_memory_equal(entry.user, want->user.at, want->user.len);
    assert_int_equal(entry.key_len, want->key.len);
    assert_memory_equal(entry.key, want->key.at, want->key.len);
}

/* Installs what the model holds, under its epoch. */
static void install(struct run *run)
{
    static const char *const skus[MODEL_SKUS] = {"black", "white", "red"};
    struct inv_load *load;
    assert_ok(inv_load_new(run->fx->store, run->name, run->model.epoch, skus, MODEL_SKUS, &load));
    for (uint32_t sku = 0; sku < MODEL_SKUS; sku++)
        assert_ok(inv_load_available(load, sku, run->model.available[sku]));
    for (size_t i = 0; i < run->model.count; i++) {
        const struct model_row *row = &run->model.rows[i];
        struct inv_load_order order = {row->id,  row->user,     row->key,
                                       row->sku, row->quantity, INV_LOAD_HELD};
        if (row->state == MODEL_RAISED)
            assert_ok(inv_load_raised(load, &row->id));
        if (row->state != MODEL_HELD && row->state != MODEL_CONFIRMED &&
            row->state != MODEL_GIVEN_BACK)
            continue;
        if (row->state == MODEL_CONFIRMED)
            order.state = INV_LOAD_CONFIRMED;
        if (row->state == MODEL_GIVEN_BACK)
            order.state = INV_LOAD_RELEASED;
        assert_ok(inv_load_order(load, &order));
    }
    assert_ok(inv_load_install(load, &run->sale));
}

static void step(struct run *run)
{
    uint32_t die = below(run, 1000);
    run->fx->now.wall_ms += below(run, 3);
    if (die < 480) {
        step_reserve(run, false);
    } else if (die < 560) {
        step_reserve(run, true);
    } else if (die < 840) {
        step_resolve(run);
    } else if (die < 940) {
        step_adjust(run);
    } else if (die < 995) {
        step_find(run);
    } else {
        model_rebuild(&run->model, run->model.epoch + 1 + below(run, 3));
        install(run);
    }
}

static void check_counts(struct run *run)
{
    struct inv_count counts[MODEL_SKUS];
    assert_ok(fx_counts(run->fx, run->sale, counts));
    for (uint32_t sku = 0; sku < MODEL_SKUS; sku++) {
        struct inv_count want = model_counts(&run->model, sku);
        assert_int_equal(counts[sku].available, want.available);
        assert_int_equal(counts[sku].in_doubt, want.in_doubt);
        assert_int_equal(counts[sku].held, want.held);
        assert_int_equal(counts[sku].confirmed, want.confirmed);
        assert_int_equal(inv_sale_left(run->sale, sku), want.available);
    }
}

void store_schedules(struct store_fixture *fx)
{
    const char *text = getenv("PENSTOCK_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
    struct run *run = malloc(sizeof *run);
    assert_non_null(run);
    print_message("PENSTOCK_TEST_SEED=%llu\n", (unsigned long long)seed);
    unsigned results[INV_FENCED + 1] = {0};
    for (uint64_t i = 0; i < fx->backend->schedules; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "schedule%u", (unsigned)i);
        memset(run, 0, sizeof *run);
        run->fx = fx;
        run->name = name;
        run->random = (seed + i + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
        run->unit = i % 2 == 0 ? 1 : FAR;
        run->model.epoch = 1;
        for (uint32_t sku = 0; sku < MODEL_SKUS; sku++)
            run->model.available[sku] = below(run, 8) * run->unit;
        install(run);
        for (size_t at = 0; at < fx->backend->steps; at++) {
            step(run);
            check_counts(run);
        }
        for (size_t at = 0; at < PS_ARRAY_LEN(results); at++)
            results[at] += run->results[at];
    }
    for (size_t at = 0; at < PS_ARRAY_LEN(results); at++)
        assert_true(results[at] > 0);
    free(run);
}
