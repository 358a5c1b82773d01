/* The judge of settlement: batch by batch, beginning each time from what the database knows, it
 * says what one fold over the whole log says. */
#include "tests/unit/check.h"

#include "queue/fold.h"
#include "queue/settle/judge.h"
#include "tests/unit/records.h"

#include <stdlib.h>

#define BATCH      32
#define ORDERS     40
#define PARTITIONS 3

/* --- A database in memory --- */

struct world {
    struct st_judge judge;
    struct st_batch batch;
    enum st_state state[ORDERS];
    enum oq_reason reason[ORDERS];
    int64_t epoch[PARTITIONS];
    int64_t stored; /* orders that were stored as new */
    int64_t next[PARTITIONS];
};

static void world_init(struct world *world, bool rehearsals)
{
    *world = (struct world){0};
    assert_ok(st_judge_init(&world->judge, BATCH, rehearsals));
    assert_ok(st_batch_init(&world->batch, BATCH));
}

static void world_done(struct world *world)
{
    st_judge_done(&world->judge);
    st_batch_done(&world->batch);
}

static void add_text(struct world *world, uint32_t partition, const char *text)
{
    assert_ok(
        st_batch_add(&world->batch, partition, ++world->next[partition], str(text), "log", NULL));
}

static void add(struct world *world, uint32_t partition, const struct oq_event *event)
{
    char text[OQ_EVENT_TEXT_MAX];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text - 1);
    assert_ok(oq_event_encode(event, &buf));
    text[buf.len] = '\0';
    add_text(world, partition, text);
}

static uint32_t number_of(const struct ps_uuid *id)
{
    uint32_t number;
    memcpy(&number, id->byte + 12, sizeof number);
    return number;
}

static void look_up(struct world *world)
{
    struct st_judge *judge = &world->judge;
    for (size_t i = 0; i < judge->order_count; i++) {
        uint32_t number = number_of(&judge->orders[i].id);
        judge->orders[i].was = world->state[number];
        judge->orders[i].was_reason = world->reason[number];
    }
    for (size_t i = 0; i < judge->epoch_count; i++)
        judge->epochs[i].was = world->epoch[judge->epochs[i].partition];
}

static void store(struct world *world)
{
    struct st_judge *judge = &world->judge;
    for (size_t i = 0; i < judge->order_count; i++) {
        const struct st_order *order = &judge->orders[i];
        uint32_t number = number_of(&order->id);
        if (order->was == ST_UNKNOWN && order->is != ST_UNKNOWN && order->is != ST_VOID) {
            assert_int_equal(order->first->event.type, OQ_ACCEPTED);
            world->stored++;
        }
        world->state[number] = order->is;
        world->reason[number] = order->is_reason;
    }
    for (size_t i = 0; i < judge->epoch_count; i++)
        world->epoch[judge->epochs[i].partition] = judge->epochs[i].is;
}

/* Settles the batch. */
static void settle(struct world *world)
{
    st_judge_ask(&world->judge, &world->batch);
    look_up(world);
    assert_ok(st_judge(&world->judge, &world->batch));
    store(world);
    st_batch_clear(&world->batch);
}

static void settle_one(struct world *world, struct oq_event event)
{
    add(world, 0, &event);
    settle(world);
}

/* --- Against the fold --- */

static struct oq_event random_event(uint64_t *seed, uint32_t *ret_partition)
{
    uint32_t order = random_below(seed, ORDERS);
    int64_t epoch = 1 + random_below(seed, 4);
    *ret_partition = order % PARTITIONS;
    switch (random_below(seed, 12)) {
    case 0:
        *ret_partition = random_below(seed, PARTITIONS);
        return fenced(epoch, PARTITIONS, false);
    case 1:
    case 2:
        return confirmed(order);
    case 3:
    case 4:
        return released(order, OQ_EXPIRED + (enum oq_reason)random_below(seed, 3));
    case 5:
        return adjusted("adjust:sale/a", 5, 0);
    default:
        return accepted(order, epoch, "u", "", 1);
    }
}

static enum st_state state_by(const struct oq_fold *fold, uint32_t number,
                              enum oq_reason *ret_reason)
{
    static const enum st_state states[] = {[OQ_STATE_ACCEPTED] = ST_ACCEPTED,
                                           [OQ_STATE_CONFIRMED] = ST_CONFIRMED,
                                           [OQ_STATE_RELEASED] = ST_RELEASED,
                                           [OQ_STATE_VOID] = ST_VOID};
    struct ps_uuid id = id_of(number);
    struct oq_order *order = oq_fold_order(fold, &id);
    *ret_reason = OQ_REASON_NONE;
    if (order == NULL)
        return ST_UNKNOWN;
    if (oq_order_state(order) == OQ_STATE_RELEASED)
        *ret_reason = oq_order_reason(order);
    return states[oq_order_state(order)];
}

static void compare(struct world *world, const struct oq_fold *fold)
{
    for (uint32_t i = 0; i < ORDERS; i++) {
        enum oq_reason reason;
        assert_int_equal(world->state[i], state_by(fold, i, &reason));
        assert_int_equal(world->reason[i], reason);
    }
    const struct oq_sale *sale = oq_fold_sale(fold, "sale", 4);
    for (uint32_t p = 0; p < PARTITIONS && sale != NULL; p++)
        assert_int_equal(world->epoch[p], oq_sale_epoch(sale, p));
}

static void any_cut_of_the_log_into_batches_gives_what_the_fold_gives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world world;
        struct oq_fold *fold;
        uint64_t random = seed;
        world_init(&world, false);
        assert_ok(oq_fold_new(&fold));
        for (int i = 0; i < 200; i++) {
            uint32_t partition;
            struct oq_change change;
            struct oq_event event = random_event(&random, &partition);
            add(&world, partition, &event);
            assert_ok(oq_fold_apply(fold, partition, world.next[partition], &event, &change));
            if (world.batch.count == BATCH || random_below(&random, 4) == 0)
                settle(&world);
        }
        settle(&world);
        compare(&world, fold);
        int64_t known = 0;
        for (uint32_t i = 0; i < ORDERS; i++)
            known += world.state[i] != ST_UNKNOWN && world.state[i] != ST_VOID;
        assert_int_equal(world.stored, known); /* each order lands once */
        oq_fold_free(fold);
        world_done(&world);
    }
}

/* --- One by one --- */

static void
an_order_of_an_ended_epoch_is_void_also_when_the_fence_came_in_an_earlier_batch(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    settle_one(&world, fenced(5, 1, true));
    settle_one(&world, accepted(1, 5, "u", "", 1));
    settle_one(&world, fenced(9, 1, false));
    settle_one(&world, accepted(2, 5, "v", "", 1));
    settle_one(&world, accepted(3, 9, "w", "", 1));
    assert_int_equal(world.state[1], ST_ACCEPTED);
    assert_int_equal(world.state[2], ST_VOID);
    assert_int_equal(world.state[3], ST_ACCEPTED);
    world_done(&world);
}

static void a_rejected_order_that_lands_later_stays_void(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    settle_one(&world, fenced(5, 1, true));
    settle_one(&world, released(1, OQ_REJECTED));
    settle_one(&world, accepted(1, 5, "u", "", 1));
    settle_one(&world, confirmed(1));
    assert_int_equal(world.state[1], ST_VOID);
    assert_int_equal(world.stored, 0);
    world_done(&world);
}

static void an_order_that_is_accepted_and_decided_in_one_batch_is_stored_as_decided(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    struct oq_event events[] = {fenced(5, 1, true), accepted(1, 5, "u", "k", 2),
                                released(1, OQ_EXPIRED), confirmed(1)};
    for (size_t i = 0; i < PS_ARRAY_LEN(events); i++)
        add(&world, 0, &events[i]);
    settle(&world);
    assert_int_equal(world.state[1], ST_RELEASED);
    assert_int_equal(world.reason[1], OQ_EXPIRED);
    assert_int_equal(world.stored, 1);
    assert_int_equal(world.judge.count.accepted, 1);
    assert_int_equal(world.judge.count.released, 1);
    assert_int_equal(world.judge.count.confirmed, 0);
    world_done(&world);
}

static void rehearsals_are_passed_over_unless_they_are_wanted(void **s)
{
    (void)s;
    for (int wanted = 0; wanted < 2; wanted++) {
        struct world world;
        struct oq_event fence = fenced(5, 1, true), order = accepted(1, 5, "u", "", 1);
        fence.rehearsal = order.rehearsal = true;
        world_init(&world, wanted != 0);
        settle_one(&world, fence);
        settle_one(&world, order);
        assert_int_equal(world.state[1], wanted != 0 ? ST_ACCEPTED : ST_UNKNOWN);
        assert_int_equal(world.judge.count.rehearsal, wanted != 0 ? 0 : 1);
        assert_int_equal(world.judge.order_count, wanted);
        assert_true(wanted == 0 || world.judge.orders[0].rehearsal);
        world_done(&world);
    }
}

static void rehearsals_that_are_wanted_later_are_judged_by_the_fences_before(void **s)
{
    struct world world;
    struct oq_event fence = fenced(5, 1, true), order = accepted(1, 5, "u", "", 1);
    (void)s;
    fence.rehearsal = order.rehearsal = true;
    world_init(&world, false);
    settle_one(&world, fence);
    world.judge.rehearsals = true; /* as after a restart */
    settle_one(&world, order);
    assert_int_equal(world.state[1], ST_ACCEPTED);
    assert_int_equal(world.judge.letter_count, 0);
    world_done(&world);
}

static void what_is_no_record_is_put_aside_and_the_rest_of_its_batch_counts(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    settle_one(&world, fenced(5, 1, true));
    struct oq_event order = accepted(1, 5, "u", "", 1);
    add_text(&world, 0, "{\"type\":\"something else\"}");
    add(&world, 0, &order);
    assert_ok(
        st_batch_add(&world.batch, 0, ++world.next[0], (struct ps_str){NULL, 0}, "log", NULL));
    st_judge_ask(&world.judge, &world.batch);
    look_up(&world);
    assert_ok(st_judge(&world.judge, &world.batch));
    assert_int_equal(world.judge.letter_count, 2);
    assert_int_equal(world.judge.letters[0].record->seq, 2);
    assert_memory_equal(world.judge.letters[0].record->raw.at, "{\"type\":", 8);
    assert_non_null(strstr(world.judge.letters[0].reason, "type"));
    assert_int_equal(world.judge.letters[1].record->raw.len, 0);
    assert_int_equal(world.judge.count.poison, 2);
    store(&world);
    assert_int_equal(world.state[1], ST_ACCEPTED);
    world_done(&world);
}

static void what_no_gateway_writes_is_put_aside_with_its_text(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    struct oq_event events[] = {accepted(1, 5, "u", "", 1), confirmed(2), released(3, OQ_EXPIRED)};
    for (size_t i = 0; i < PS_ARRAY_LEN(events); i++)
        add(&world, 0, &events[i]);
    st_judge_ask(&world.judge, &world.batch);
    look_up(&world);
    assert_ok(st_judge(&world.judge, &world.batch));
    assert_int_equal(world.judge.letter_count, 3);
    assert_int_equal(world.judge.count.anomalies, 3);
    assert_memory_equal(world.judge.letters[0].record->raw.at,
                        "{\"type\":\"penstock.order.accepted", 32);
    assert_non_null(strstr(world.judge.letters[0].reason, "fence"));
    store(&world);
    assert_int_equal(world.state[1], ST_VOID);
    assert_int_equal(world.state[2], ST_UNKNOWN);
    assert_int_equal(world.state[3], ST_VOID);
    world_done(&world);
}

static void a_claim_names_the_last_record_of_each_partition(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    struct oq_event order = accepted(1, 5, "u", "", 1);
    add(&world, 2, &order);
    add(&world, 0, &order);
    add(&world, 2, &order);
    add_text(&world, 2, "poison");
    st_judge_ask(&world.judge, &world.batch);
    assert_int_equal(world.judge.claim_count, 2);
    assert_int_equal(world.judge.claims[0].partition, 0);
    assert_int_equal(world.judge.claims[0].to, 1);
    assert_int_equal(world.judge.claims[1].partition, 2);
    assert_int_equal(world.judge.claims[1].to, 3);
    assert_true(world.judge.claims[1].digest == st_digest(PS_STR("poison")));
    assert_int_equal(world.judge.order_count, 1);
    world_done(&world);
}

static void a_database_that_contradicts_itself_is_no_ground_to_judge_on(void **s)
{
    struct world world;
    (void)s;
    world_init(&world, false);
    struct oq_event order = accepted(1, 5, "u", "", 1);
    add(&world, 0, &order);
    st_judge_ask(&world.judge, &world.batch);
    world.judge.orders[0].was = ST_RELEASED;
    world.judge.orders[0].was_reason = OQ_REASON_NONE;
    assert_int_equal(st_judge(&world.judge, &world.batch), PS_E_CORRUPT);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_of_the_log_into_batches_gives_what_the_fold_gives),
        cmocka_unit_test(
            an_order_of_an_ended_epoch_is_void_also_when_the_fence_came_in_an_earlier_batch),
        cmocka_unit_test(a_rejected_order_that_lands_later_stays_void),
        cmocka_unit_test(an_order_that_is_accepted_and_decided_in_one_batch_is_stored_as_decided),
        cmocka_unit_test(rehearsals_are_passed_over_unless_they_are_wanted),
        cmocka_unit_test(rehearsals_that_are_wanted_later_are_judged_by_the_fences_before),
        cmocka_unit_test(what_is_no_record_is_put_aside_and_the_rest_of_its_batch_counts),
        cmocka_unit_test(what_no_gateway_writes_is_put_aside_with_its_text),
        cmocka_unit_test(a_claim_names_the_last_record_of_each_partition),
        cmocka_unit_test(a_database_that_contradicts_itself_is_no_ground_to_judge_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
