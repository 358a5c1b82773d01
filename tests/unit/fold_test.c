/* The fold: what records mean, judged cell by cell and against a slow and obvious model; and its
 * readers, who take no lock. */
#include "tests/unit/check.h"

#include "queue/fold.h"
#include "tests/unit/records.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* --- Memory that runs out (the linker lets calloc and mmap of the code under test come here) ---
 */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_mmap64(void *at, size_t size, int protect, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protect, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);

static _Atomic(int) callocs_left = -1; /* -1: as many as wanted */

static _Atomic(size_t) mapped; /* bytes */

static bool has_memory(void)
{
    int left = atomic_load_explicit(&callocs_left, memory_order_relaxed);
    if (left > 0)
        atomic_fetch_sub_explicit(&callocs_left, 1, memory_order_relaxed);
    return left != 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return has_memory() ? __real_calloc(count, size) : NULL;
}

void *__wrap_mmap64(void *at, size_t size, int protect, int flags, int fd, off_t offset)
{
    if (!has_memory())
        return MAP_FAILED;
    atomic_fetch_add(&mapped, size);
    return __real_mmap64(at, size, protect, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t size)
{
    atomic_fetch_sub(&mapped, size);
    return __real_munmap(at, size);
}

/* --- A log under way --- */

struct log {
    struct oq_fold *fold;
    int64_t next[4];
    uint64_t anomalies;
};

static struct log new_log(void)
{
    struct log log = {0};
    assert_ok(oq_fold_new(&log.fold));
    return log;
}

static struct oq_change put_in(struct log *log, uint32_t partition, struct oq_event event)
{
    struct oq_change change;
    assert_ok(oq_fold_apply(log->fold, partition, log->next[partition]++, &event, &change));
    log->anomalies += change.anomaly;
    return change;
}

static struct oq_change put(struct log *log, struct oq_event event)
{
    return put_in(log, 0, event);
}

/* A log in which epoch 5 has begun and 100 units are on sale. */
static struct log open_sale(void)
{
    struct log log = new_log();
    put(&log, fenced(5, 1, true));
    put(&log, adjusted("initial:sale/sku", 100, 5));
    return log;
}

static struct oq_sale *the_sale(const struct log *log)
{
    return oq_fold_sale(log->fold, "sale", 4);
}

static void assert_totals(const struct log *log, int64_t adjustments, int64_t held,
                          int64_t confirmed_units, int64_t released_units)
{
    struct oq_totals totals;
    oq_sale_totals(the_sale(log), 0, &totals);
    assert_int_equal(totals.adjustments, adjustments);
    assert_int_equal(totals.held, held);
    assert_int_equal(totals.confirmed, confirmed_units);
    assert_int_equal(totals.released, released_units);
}

static struct oq_order *order(const struct log *log, uint32_t id)
{
    struct ps_uuid uuid = id_of(id);
    return oq_fold_order(log->fold, &uuid);
}

static void assert_state(const struct log *log, uint32_t id, enum oq_state state,
                         enum oq_reason reason)
{
    assert_non_null(order(log, id));
    assert_int_equal(oq_order_state(order(log, id)), state);
    assert_int_equal(oq_order_reason(order(log, id)), reason);
}

/* --- The table, and the rules that it carries --- */

enum start { NONE, ACCEPTED, CONFIRMED, RELEASED, VOID };

static void bring_to(struct log *log, uint32_t id, enum start start)
{
    if (start == NONE)
        return;
    put(log, accepted(id, start == VOID ? 4 : 5, "alice", "", 2));
    if (start == CONFIRMED)
        put(log, confirmed(id));
    if (start == RELEASED)
        put(log, released(id, OQ_CANCELLED));
}

static void behind_its_sale_archived_nothing_of_a_sale_counts(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "alice", "", 2));
    put(&log, confirmed(1));
    struct oq_change change = put(&log, archived());
    assert_int_equal(change.effect, OQ_EFFECT_ARCHIVED);
    assert_ptr_equal(change.sale, the_sale(&log));
    assert_true(oq_sale_archived(the_sale(&log)));
    assert_totals(&log, 100, 0, 60, 7); /* the record's */
    const struct oq_event late[] = {
        accepted(9, 5, "bob", "", 1),       released(9, OQ_EXPIRED), confirmed(9),
        adjusted("adjust:sale/late", 5, 0), fenced(9, 1, false),     archived()};
    for (size_t i = 0; i < PS_ARRAY_LEN(late); i++) {
        change = put(&log, late[i]);
        assert_int_equal(change.effect, OQ_EFFECT_NONE);
        assert_false(change.anomaly);
        assert_null(change.order);
        assert_ptr_equal(change.sale, the_sale(&log));
    }
    assert_null(order(&log, 9));
    assert_int_equal(oq_sale_epoch(the_sale(&log), 0), 5);
    assert_totals(&log, 100, 0, 60, 7);
    oq_fold_free(log.fold);
}

static void a_log_that_has_only_the_archived_record_of_a_sale_knows_its_numbers(void **state)
{
    (void)state;
    struct log log = new_log();
    assert_int_equal(put(&log, archived()).effect, OQ_EFFECT_ARCHIVED);
    assert_true(oq_sale_archived(the_sale(&log)));
    assert_string_equal(oq_sale_sku(the_sale(&log), 0), "sku");
    assert_totals(&log, 100, 0, 60, 7);
    oq_fold_free(log.fold);
}

static void a_sale_is_archived_when_each_of_its_partitions_is(void **state)
{
    (void)state;
    struct log log = new_log();
    put_in(&log, 0, fenced(5, 2, true));
    put_in(&log, 1, fenced(5, 2, true));
    put_in(&log, 0, adjusted("initial:sale/sku", 100, 5));
    struct oq_event record = archived();
    record.partitions = 2;
    assert_int_equal(put_in(&log, 3, record).effect, OQ_EFFECT_NONE); /* none of the sale's */
    assert_int_equal(put_in(&log, 1, record).effect, OQ_EFFECT_NONE);
    assert_int_equal(put_in(&log, 1, record).effect, OQ_EFFECT_NONE);
    assert_int_equal(put_in(&log, 1, accepted(1, 5, "alice", "", 1)).effect, OQ_EFFECT_NONE);
    assert_int_equal(put_in(&log, 0, accepted(2, 5, "alice", "", 1)).effect, OQ_EFFECT_ACCEPTED);
    assert_false(oq_sale_archived(the_sale(&log)));
    assert_int_equal(put_in(&log, 0, record).effect, OQ_EFFECT_ARCHIVED);
    assert_true(oq_sale_archived(the_sale(&log)));
    oq_fold_free(log.fold);
}

static void every_cell_of_the_table_holds(void **state)
{
    (void)state;
    const struct oq_event records[] = {
        accepted(7, 5, "alice", "", 2), accepted(7, 6, "alice", "", 2),
        released(7, OQ_REJECTED),       confirmed(7),
        released(7, OQ_EXPIRED),        released(7, OQ_CANCELLED)};
    static const int table[][5] = {{OQ_EFFECT_ACCEPTED, 0, 0, 0, 0},
                                   {OQ_EFFECT_VOID, 0, 0, 0, 0},
                                   {OQ_EFFECT_VOID, 0, 0, 0, 0},
                                   {0, OQ_EFFECT_CONFIRMED, 0, 0, 0},
                                   {OQ_EFFECT_VOID, OQ_EFFECT_RELEASED, 0, 0, 0},
                                   {OQ_EFFECT_VOID, OQ_EFFECT_RELEASED, 0, 0, 0}};
    for (size_t record = 0; record < PS_ARRAY_LEN(records); record++) {
        for (int start = NONE; start <= VOID; start++) {
            struct log log = open_sale();
            bring_to(&log, 7, (enum start)start);
            struct oq_change change = put(&log, records[record]);
            assert_int_equal(change.effect, table[record][start]);
            bool anomaly = record >= 3 && start == NONE;
            assert_int_equal(change.anomaly, anomaly);
            assert_ptr_equal(change.sale, the_sale(&log));
            assert_ptr_equal(change.order, order(&log, 7));
            /* And once more: nothing. */
            change = put(&log, records[record]);
            assert_int_equal(change.effect, OQ_EFFECT_NONE);
            oq_fold_free(log.fold);
        }
    }
}

static void an_order_is_what_its_first_record_says(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct oq_event event = accepted(1, 5, "alice", "k1", 2);
    event.rehearsal = true;
    event.sku_cap = 3;
    struct oq_change change = put(&log, event);
    struct oq_order_view view, *made = &view;
    assert_ptr_equal(change.order, order(&log, 1));
    oq_order_get(order(&log, 1), &view);
    assert_true(made->known && made->rehearsal && !oq_sale_rehearsal(made->sale));
    assert_int_equal(made->quantity, 2);
    assert_int_equal(made->user.len, 5);
    assert_memory_equal(made->user.at, "alice", 5);
    assert_memory_equal(made->key.at, "k1", 2);
    assert_int_equal(made->epoch, 5);
    assert_int_equal(made->cap, 10);
    assert_int_equal(made->sku_cap, 3);
    assert_int_equal(made->place, 2);
    assert_true(made->reserved_at_ms == T0 && made->pay_by_ms == T0 + 900000);
    assert_string_equal(oq_sale_sku(made->sale, made->sku), "sku");
    assert_null(oq_sale_sku(made->sale, 1));
    assert_totals(&log, 100, 2, 0, 0);
    put(&log, confirmed(1));
    assert_totals(&log, 100, 0, 2, 0);
    put(&log, accepted(2, 5, "bob", "", 3));
    put(&log, released(2, OQ_EXPIRED));
    assert_totals(&log, 100, 0, 2, 3);
    oq_fold_free(log.fold);
}

static void R3_a_rejection_that_comes_first_voids_the_order_for_good(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct oq_change change = put(&log, released(1, OQ_REJECTED));
    assert_int_equal(change.effect, OQ_EFFECT_VOID);
    struct oq_order *unknown = order(&log, 1);
    assert_false(oq_order_known(unknown));
    assert_int_equal(oq_sale_order_count(the_sale(&log)), 0);
    change = put(&log, accepted(1, 5, "alice", "k", 1));
    assert_int_equal(change.effect, OQ_EFFECT_NONE);
    assert_state(&log, 1, OQ_STATE_VOID, OQ_REJECTED);
    assert_totals(&log, 100, 0, 0, 0);
    /* Now its buyer is known; a reader that holds the first struct still reads "void". */
    assert_true(oq_order_known(order(&log, 1)));
    assert_ptr_equal(oq_fold_newest(log.fold, the_sale(&log), PS_STR("alice")), order(&log, 1));
    assert_ptr_equal(oq_sale_order_at(the_sale(&log), 0), order(&log, 1));
    assert_int_equal(oq_order_state(unknown), OQ_STATE_VOID);
    assert_false(oq_order_known(unknown));
    put(&log, confirmed(1));
    put(&log, released(1, OQ_EXPIRED));
    assert_state(&log, 1, OQ_STATE_VOID, OQ_REJECTED);
    assert_int_equal(log.anomalies, 0);
    oq_fold_free(log.fold);
}

static void R4_a_rejection_never_undoes_an_accepted_order(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "alice", "", 1));
    put(&log, released(1, OQ_REJECTED));
    assert_state(&log, 1, OQ_STATE_ACCEPTED, OQ_REASON_NONE);
    assert_totals(&log, 100, 1, 0, 0);
    oq_fold_free(log.fold);
}

static void R6_the_first_of_confirm_and_release_wins(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "alice", "", 1));
    put(&log, confirmed(1));
    put(&log, released(1, OQ_EXPIRED));
    put(&log, released(1, OQ_CANCELLED));
    assert_state(&log, 1, OQ_STATE_CONFIRMED, OQ_REASON_NONE);
    put(&log, accepted(2, 5, "bob", "", 1));
    put(&log, released(2, OQ_CANCELLED));
    put(&log, confirmed(2));
    put(&log, released(2, OQ_EXPIRED));
    assert_state(&log, 2, OQ_STATE_RELEASED, OQ_CANCELLED);
    assert_totals(&log, 100, 0, 1, 1);
    oq_fold_free(log.fold);
}

static void R2_a_fence_ends_the_epochs_before_it_in_its_partition_only(void **state)
{
    (void)state;
    struct log log = new_log();
    put_in(&log, 0, fenced(5, 2, true));
    put_in(&log, 1, fenced(5, 2, true));
    put_in(&log, 0, adjusted("initial:sale/sku", 100, 5));
    struct oq_change change = put_in(&log, 0, fenced(9, 2, false));
    assert_int_equal(change.effect, OQ_EFFECT_FENCED);
    assert_int_equal(change.epoch, 9);
    assert_int_equal(put_in(&log, 0, fenced(7, 2, false)).effect, OQ_EFFECT_NONE);
    assert_int_equal(oq_sale_epoch(the_sale(&log), 0), 9);
    assert_int_equal(oq_sale_epoch(the_sale(&log), 1), 5);
    assert_int_equal(oq_sale_epoch(the_sale(&log), OQ_PARTITION_MAX - 1), 0);
    put_in(&log, 0, accepted(1, 5, "alice", "", 1)); /* late, from a spill */
    put_in(&log, 1, accepted(2, 5, "alice", "", 1));
    put_in(&log, 1, accepted(3, 9, "alice", "", 1)); /* before this partition's fence */
    assert_state(&log, 1, OQ_STATE_VOID, OQ_REJECTED);
    assert_state(&log, 2, OQ_STATE_ACCEPTED, OQ_REASON_NONE);
    assert_state(&log, 3, OQ_STATE_VOID, OQ_REJECTED);
    /* What was accepted under an ended epoch lives on. */
    put_in(&log, 1, fenced(9, 2, false));
    put_in(&log, 1, confirmed(2));
    assert_state(&log, 2, OQ_STATE_CONFIRMED, OQ_REASON_NONE);
    oq_fold_free(log.fold);
}

static void nothing_is_accepted_before_the_first_fence(void **state)
{
    (void)state;
    struct log log = new_log();
    put(&log, accepted(1, 5, "alice", "", 1));
    assert_state(&log, 1, OQ_STATE_VOID, OQ_REJECTED);
    oq_fold_free(log.fold);
}

static void R12_stock_is_lowered_under_the_epoch_and_raised_under_any(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct ps_uuid ref;
    assert_int_equal(put(&log, adjusted("adjust:sale/up", 10, 0)).effect, OQ_EFFECT_RAISED);
    struct oq_change change = put(&log, adjusted("adjust:sale/down", -4, 5));
    assert_int_equal(change.effect, OQ_EFFECT_LOWERED);
    assert_int_equal(change.delta, -4);
    oq_adjust_ref(PS_STR("adjust:sale/down"), &ref);
    assert_true(ps_uuid_equal(&change.ref, &ref));
    assert_totals(&log, 106, 0, 0, 0);
    /* First wins: whatever comes under the same key later. */
    assert_int_equal(put(&log, adjusted("adjust:sale/down", -4, 5)).effect, OQ_EFFECT_NONE);
    assert_int_equal(put(&log, adjusted("adjust:sale/down", 50, 5)).effect, OQ_EFFECT_NONE);
    assert_int_equal(put(&log, adjust_rejected("adjust:sale/down", 4)).effect, OQ_EFFECT_NONE);
    change = put(&log, adjusted("adjust:sale/late", -4, 4));
    assert_int_equal(change.effect, OQ_EFFECT_LOWER_VOID);
    change = put(&log, adjust_rejected("adjust:sale/gone", 3));
    assert_int_equal(change.effect, OQ_EFFECT_LOWER_VOID);
    assert_int_equal(change.delta, -3);
    assert_int_equal(put(&log, adjusted("adjust:sale/gone", -3, 5)).effect, OQ_EFFECT_NONE);
    assert_int_equal(put(&log, adjusted("adjust:sale/gone", 3, 5)).effect, OQ_EFFECT_NONE);
    assert_totals(&log, 106, 0, 0, 0);
    oq_fold_free(log.fold);
}

static void decided_adjustments_are_listed_for_a_rebuild(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, adjusted("adjust:sale/up", 10, 0));
    put(&log, adjusted("adjust:sale/late", -4, 4));
    put(&log, adjusted("adjust:sale/down", -4, 5));
    struct ps_uuid ref;
    uint32_t sku;
    int64_t delta, sum = 0;
    size_t count = 0;
    while (oq_sale_adjusted_at(the_sale(&log), count, &ref, &sku, &delta)) {
        assert_int_equal(oq_sale_adjusted(the_sale(&log), &ref), 1);
        sum += delta;
        count++;
    }
    assert_int_equal(count, 3);
    assert_int_equal(sum, 106);
    oq_adjust_ref(PS_STR("adjust:sale/late"), &ref);
    assert_int_equal(oq_sale_adjusted(the_sale(&log), &ref), 0);
    oq_adjust_ref(PS_STR("adjust:sale/never"), &ref);
    assert_int_equal(oq_sale_adjusted(the_sale(&log), &ref), PS_E_NOT_FOUND);
    oq_fold_free(log.fold);
}

/* --- Finding --- */

static void I4_a_void_order_frees_its_key_and_others_keep_it(void **state)
{
    (void)state;
    struct log log = open_sale();
    const struct oq_sale *sale;
    struct ps_str alice = PS_STR("alice"), key = PS_STR("k");
    put(&log, accepted(1, 4, "alice", "k", 1)); /* void */
    sale = the_sale(&log);
    assert_null(oq_fold_by_key(log.fold, sale, alice, key));
    put(&log, accepted(2, 5, "alice", "k", 1));
    assert_ptr_equal(oq_fold_by_key(log.fold, sale, alice, key), order(&log, 2));
    put(&log, released(2, OQ_CANCELLED));
    put(&log, accepted(3, 4, "alice", "k", 1)); /* void: takes nothing away */
    assert_ptr_equal(oq_fold_by_key(log.fold, sale, alice, key), order(&log, 2));
    assert_null(oq_fold_by_key(log.fold, sale, PS_STR("bob"), key));
    assert_null(oq_fold_by_key(log.fold, sale, alice, PS_STR("")));
    oq_fold_free(log.fold);
}

static void keys_of_buyers_do_not_run_into_each_other(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "ab", "c", 1));
    put(&log, accepted(2, 5, "a", "bc", 1));
    const struct oq_sale *sale = the_sale(&log);
    assert_ptr_equal(oq_fold_by_key(log.fold, sale, PS_STR("ab"), PS_STR("c")), order(&log, 1));
    assert_ptr_equal(oq_fold_by_key(log.fold, sale, PS_STR("a"), PS_STR("bc")), order(&log, 2));
    oq_fold_free(log.fold);
}

static void a_buyers_orders_hang_together_newest_first(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "alice", "", 1));
    put(&log, accepted(2, 5, "bob", "", 1));
    put(&log, accepted(3, 4, "alice", "", 1));
    put(&log, accepted(4, 5, "alice", "", 1));
    struct oq_order *newest = oq_fold_newest(log.fold, the_sale(&log), PS_STR("alice"));
    assert_ptr_equal(newest, order(&log, 4));
    assert_ptr_equal(oq_order_older(newest), order(&log, 3));
    assert_ptr_equal(oq_order_older(order(&log, 3)), order(&log, 1));
    assert_null(oq_order_older(order(&log, 1)));
    assert_null(oq_fold_newest(log.fold, the_sale(&log), PS_STR("carol")));
    assert_null(oq_fold_newest(log.fold, the_sale(&log), (struct ps_str){NULL, 0}));
    oq_fold_free(log.fold);
}

static void sales_and_skus_are_kept_apart(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct oq_event event = fenced(6, 1, true);
    event.sale = PS_STR("other");
    event.rehearsal = true;
    put(&log, event);
    event = accepted(1, 6, "alice", "k", 1);
    event.sale = PS_STR("other");
    event.sku = PS_STR("blue");
    put(&log, event);
    event.order_id = id_of(2);
    event.sku = PS_STR("red");
    event.key = PS_STR("k2");
    put(&log, event);
    struct oq_sale *other = oq_fold_sale(log.fold, "other", 5);
    uint32_t sku;
    assert_true(oq_sale_rehearsal(other));
    assert_ptr_equal(oq_fold_sale_at(log.fold, 0), the_sale(&log));
    assert_ptr_equal(oq_fold_sale_at(log.fold, 1), other);
    assert_null(oq_fold_sale_at(log.fold, 2));
    assert_string_equal(oq_sale_name(other), "other");
    assert_int_equal(oq_sale_sku_count(other), 2);
    assert_ok(oq_sale_sku_find(other, "red", 3, &sku));
    assert_string_equal(oq_sale_sku(other, sku), "red");
    assert_int_equal(oq_sale_sku_find(other, "sku", 3, &sku), PS_E_NOT_FOUND);
    assert_int_equal(oq_order_sku(order(&log, 2)), 1);
    assert_null(oq_fold_newest(log.fold, the_sale(&log), PS_STR("alice")));
    assert_totals(&log, 100, 0, 0, 0);
    assert_null(oq_fold_sale(log.fold, "none", 4));
    oq_fold_free(log.fold);
}

/* --- Records that make no sense --- */

static void records_that_make_no_sense_change_nothing(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct oq_change change;
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    assert_int_equal(oq_fold_seq(log.fold, 0), 1);
    assert_int_equal(oq_fold_seq(log.fold, 1), -1);
    assert_int_equal(oq_fold_apply(log.fold, 0, 1, &event, &change), PS_E_INVALID);
    assert_int_equal(oq_fold_apply(log.fold, OQ_PARTITION_MAX, 9, &event, &change), PS_E_INVALID);
    event.quantity = 0;
    assert_int_equal(oq_fold_apply(log.fold, 0, 9, &event, &change), PS_E_INVALID);
    /* More units than any JSON reader keeps exact. */
    event = adjusted("adjust:sale/a", PS_INT_MAX, 5);
    assert_int_equal(oq_fold_apply(log.fold, 0, 9, &event, &change), PS_E_INVALID);
    put(&log, accepted(2, 5, "bob", "", PS_INT_MAX));
    event = accepted(1, 5, "alice", "", 1);
    assert_int_equal(oq_fold_apply(log.fold, 0, 9, &event, &change), PS_E_INVALID);
    assert_null(order(&log, 1));
    assert_totals(&log, 100, PS_INT_MAX, 0, 0);
    assert_int_equal(oq_fold_seq(log.fold, 0), 2);
    oq_fold_free(log.fold);
}

/* A unit that is cancelled and sold again for ever must not end the gateway that folds it. */
static void units_come_back_beyond_what_can_be_counted(void **state)
{
    (void)state;
    struct log log = open_sale();
    for (uint32_t id = 1; id <= 3; id++) {
        put(&log, accepted(id, 5, "alice", "", PS_INT_MAX));
        put(&log, released(id, OQ_CANCELLED));
        assert_totals(&log, 100, 0, 0, PS_INT_MAX);
    }
    oq_fold_free(log.fold);
}

static void a_confirmed_of_an_unknown_sale_is_an_anomaly(void **state)
{
    (void)state;
    struct log log = new_log();
    struct oq_change change = put(&log, confirmed(1));
    assert_true(change.anomaly);
    assert_null(change.sale);
    assert_null(change.order);
    oq_fold_free(log.fold);
}

/* --- Against a model --- */

#define MODEL_ORDERS  400
#define MODEL_ADJUSTS 40
#define PARTITIONS    3

/* Everything in plain arrays; each rule as a line of the protocol. */
struct model {
    int64_t epoch[PARTITIONS];
    enum start state[MODEL_ORDERS];
    enum oq_reason reason[MODEL_ORDERS];
    int adjust[MODEL_ADJUSTS]; /* 0 undecided, 1 in force, 2 void */
    int64_t adjustments, held, confirmed, released;
    uint64_t anomalies;
};

static void model_order(struct model *model, uint32_t partition, uint32_t id,
                        const struct oq_event *event)
{
    enum start *state = &model->state[id];
    int64_t units = 1 + id % 3;
    if (event->type == OQ_ACCEPTED && *state == NONE) {
        *state = event->epoch == model->epoch[partition] ? ACCEPTED : VOID;
        model->held += *state == ACCEPTED ? units : 0;
    } else if (event->type == OQ_CONFIRMED && *state == NONE) {
        model->anomalies++;
    } else if (event->type == OQ_CONFIRMED && *state == ACCEPTED) {
        *state = CONFIRMED;
        model->held -= units;
        model->confirmed += units;
    } else if (event->type == OQ_RELEASED && *state == NONE) {
        *state = VOID;
        model->anomalies += event->reason != OQ_REJECTED;
    } else if (event->type == OQ_RELEASED && *state == ACCEPTED && event->reason != OQ_REJECTED) {
        *state = RELEASED;
        model->held -= units;
        model->released += units;
        model->reason[id] = event->reason;
    }
    if (*state == VOID)
        model->reason[id] = OQ_REJECTED;
}

static void model_adjust(struct model *model, uint32_t partition, uint32_t number,
                         const struct oq_event *event)
{
    if (model->adjust[number] != 0)
        return;
    bool in_force =
        event->type == OQ_ADJUSTED && (event->delta > 0 || event->epoch == model->epoch[partition]);
    model->adjust[number] = in_force ? 1 : 2;
    model->adjustments += in_force ? event->delta : 0;
}

static const char *text_of(char *text, const char *what, uint32_t number)
{
    (void)snprintf(text, 40, "%s%u", what, number);
    return text;
}

/* One random record, to both. Ids come back often, so records are doubled, late and out of order.
 */
static void step(struct log *log, struct model *model, uint64_t *seed)
{
    char user[40], key[40], adjust[40];
    uint32_t id = random_below(seed, MODEL_ORDERS), number = random_below(seed, MODEL_ADJUSTS);
    uint32_t partition = id % PARTITIONS;
    int64_t epoch = model->epoch[partition] - (random_below(seed, 8) == 0);
    struct oq_event event;
    switch (random_below(seed, 32)) {
    case 0: {
        partition = random_below(seed, PARTITIONS);
        event = fenced(1 + random_below(seed, 6) + model->epoch[partition] / 2, PARTITIONS, false);
        if (event.epoch > model->epoch[partition])
            model->epoch[partition] = event.epoch;
        put_in(log, partition, event);
        return;
    }
    case 1:
    case 2:
        partition = number % PARTITIONS;
        epoch = model->epoch[partition] - (random_below(seed, 3) == 0);
        text_of(adjust, "adjust:sale/", number);
        event = adjusted(adjust, number % 2 == 0 ? 5 + number : -1 - (int64_t)number,
                         epoch > 0 ? epoch : 1);
        if (random_below(seed, 3) == 0)
            event = adjust_rejected(adjust, 1 + number);
        model_adjust(model, partition, number, &event);
        put_in(log, partition, event);
        return;
    case 3:
    case 4:
    case 5:
        event = confirmed(id);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        event = released(id, (enum oq_reason)(1 + random_below(seed, 3)));
        break;
    default:
        event = accepted(id, epoch > 0 ? epoch : 1, text_of(user, "user-", id % 50),
                         id % 2 == 0 ? text_of(key, "key-", id % 60) : "", 1 + id % 3);
    }
    model_order(model, partition, id, &event);
    put_in(log, partition, event);
}

static void compare(const struct log *log, const struct model *model)
{
    static const enum oq_state states[] = {[ACCEPTED] = OQ_STATE_ACCEPTED,
                                           [CONFIRMED] = OQ_STATE_CONFIRMED,
                                           [RELEASED] = OQ_STATE_RELEASED,
                                           [VOID] = OQ_STATE_VOID};
    for (uint32_t id = 0; id < MODEL_ORDERS; id++) {
        if (model->state[id] == NONE)
            assert_null(order(log, id));
        else
            assert_state(log, id, states[model->state[id]], model->reason[id]);
    }
    for (uint32_t i = 0; i < MODEL_ADJUSTS; i++) {
        char key[40];
        struct ps_uuid ref;
        static const int answers[] = {PS_E_NOT_FOUND, 1, 0};
        oq_adjust_ref(str(text_of(key, "adjust:sale/", i)), &ref);
        assert_int_equal(oq_sale_adjusted(the_sale(log), &ref), answers[model->adjust[i]]);
    }
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        assert_int_equal(oq_sale_epoch(the_sale(log), partition), model->epoch[partition]);
    assert_totals(log, model->adjustments, model->held, model->confirmed, model->released);
    assert_int_equal(log->anomalies, model->anomalies);
}

/* Every order is in its buyer's chain and, if it was ever accepted, the first such of its key is
 * found. */
static void compare_indexes(const struct log *log)
{
    const struct oq_sale *sale = the_sale(log);
    size_t count = oq_sale_order_count(sale);
    for (size_t i = 0; i < count; i++) {
        const struct oq_order *one = oq_sale_order_at(sale, i), *other;
        struct oq_order_view view, other_view;
        oq_order_get(one, &view);
        for (other = oq_fold_newest(log->fold, sale, view.user); other != one;
             other = oq_order_older(other))
            assert_non_null(other);
        if (view.key.len == 0)
            continue;
        const struct oq_order *first = NULL;
        for (size_t j = 0; j < count && first == NULL; j++) {
            other = oq_sale_order_at(sale, j);
            oq_order_get(other, &other_view);
            if (other_view.state != OQ_STATE_VOID && ps_str_same(other_view.key, view.key) &&
                ps_str_same(other_view.user, view.user))
                first = other;
        }
        assert_ptr_equal(oq_fold_by_key(log->fold, sale, view.user, view.key), first);
    }
    assert_null(oq_sale_order_at(sale, count));
}

/* Of ids up to `last` exactly those are found that a sale has. */
static void compare_ids(const struct log *log, uint32_t last)
{
    const struct oq_sale *sale;
    size_t found = 0, listed = 0;
    for (uint32_t id = 1; id <= last; id++)
        found += order(log, id) != NULL;
    for (size_t i = 0; (sale = oq_fold_sale_at(log->fold, i)) != NULL; i++) {
        for (size_t j = 0; j < oq_sale_order_count(sale); j++, listed++) {
            struct oq_order *one = oq_sale_order_at(sale, j);
            assert_ptr_equal(oq_fold_order(log->fold, oq_order_id(one)), one);
        }
    }
    assert_int_equal(found, listed);
}

static void the_fold_agrees_with_a_slow_model(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 20; run++) {
        struct log log = new_log();
        struct model model = {0};
        uint64_t seed = run;
        model.epoch[0] = 1;
        put_in(&log, 0, fenced(1, PARTITIONS, true));
        for (int i = 0; i < 3000; i++) {
            step(&log, &model, &seed);
            if (i % 500 == 499)
                compare(&log, &model);
        }
        compare(&log, &model);
        compare_indexes(&log);
        oq_fold_free(log.fold);
    }
}

/* I2, I6: whatever comes later, an order that was accepted never becomes void, and a decided one
 * stays. */
static void I6_what_is_decided_stays_decided(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct model model = {.epoch = {5, 0, 0}};
    uint64_t seed = 99;
    static enum oq_state last[MODEL_ORDERS];
    static bool seen[MODEL_ORDERS];
    for (int i = 0; i < 5000; i++) {
        step(&log, &model, &seed);
        for (uint32_t id = (uint32_t)i % 7; id < MODEL_ORDERS; id += 7) {
            const struct oq_order *now = order(&log, id);
            if (now == NULL)
                continue;
            enum oq_state is = oq_order_state(now);
            if (seen[id] && last[id] != is) {
                assert_int_equal(last[id], OQ_STATE_ACCEPTED);
                assert_true(is == OQ_STATE_CONFIRMED || is == OQ_STATE_RELEASED);
            }
            seen[id] = true;
            last[id] = is;
        }
    }
    oq_fold_free(log.fold);
}

/* --- Readers beside the writer --- */

#define SHARED_ORDERS 100000

struct shared {
    struct oq_fold *fold;
    atomic_bool done;
    atomic_uint wrong;
};

static void look_at(struct shared *shared, const struct oq_sale *sale, uint32_t id)
{
    char user[40], key[40];
    struct ps_uuid uuid = id_of(id);
    text_of(user, "user-", id / 2);
    text_of(key, "key-", id);
    const struct oq_order *by_id = oq_fold_order(shared->fold, &uuid);
    const struct oq_order *by_key = oq_fold_by_key(shared->fold, sale, str(user), str(key));
    const struct oq_order *newest = oq_fold_newest(shared->fold, sale, str(user));
    bool good = by_id != NULL && by_id == by_key && newest != NULL &&
                (newest == by_id || oq_order_older(newest) == by_id);
    if (good) {
        struct oq_order_view view;
        oq_order_get(by_id, &view);
        good = view.quantity == 1 && ps_str_is(view.user, user);
    }
    if (!good)
        atomic_fetch_add(&shared->wrong, 1);
}

/* Whatever the fold's seq has passed must be found, by every way; totals must stay within bounds.
 */
static void *read_along(void *arg)
{
    struct shared *shared = arg;
    uint64_t seed = (uint64_t)(uintptr_t)&seed | 1;
    while (!atomic_load(&shared->done)) {
        int64_t seq = oq_fold_seq(shared->fold, 0);
        const struct oq_sale *sale = oq_fold_sale(shared->fold, "sale", 4);
        if (seq < 2)
            continue;
        int64_t orders = seq / 2; /* record 2n accepts order n, record 2n+1 decides it */
        struct oq_totals totals;
        for (int i = 0; i < 20; i++)
            look_at(shared, sale, 1 + random_below(&seed, (uint32_t)orders));
        look_at(shared, sale, (uint32_t)orders);
        oq_sale_totals(sale, 0, &totals);
        size_t count = oq_sale_order_count(sale);
        const struct oq_order *last = oq_sale_order_at(sale, count - 1);
        if (count < (size_t)orders || last == NULL || oq_order_state(last) == OQ_STATE_VOID ||
            totals.held < 0 || totals.held > SHARED_ORDERS || oq_sale_epoch(sale, 0) != 5)
            atomic_fetch_add(&shared->wrong, 1);
    }
    return NULL;
}

static void readers_find_all_that_was_applied_without_a_lock(void **state)
{
    (void)state;
    struct log log = open_sale();
    struct shared shared = {.fold = log.fold};
    pthread_t threads[3];
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++)
        assert_ok(pthread_create(&threads[i], NULL, read_along, &shared));
    for (uint32_t id = 1; id <= SHARED_ORDERS / 2; id++) {
        char user[40], key[40];
        put(&log, accepted(id, 5, text_of(user, "user-", id / 2), text_of(key, "key-", id), 1));
        put(&log, id % 2 == 0 ? confirmed(id) : released(id, OQ_EXPIRED));
    }
    atomic_store(&shared.done, true);
    for (size_t i = 0; i < PS_ARRAY_LEN(threads); i++)
        assert_ok(pthread_join(threads[i], NULL));
    assert_int_equal(atomic_load(&shared.wrong), 0);
    assert_totals(&log, 100, 0, SHARED_ORDERS / 4, SHARED_ORDERS / 4);
    oq_fold_free(log.fold);
}

/* --- Little memory --- */

/* In bytes, of `count` orders of as many buyers, all there is to them. */
static size_t memory_of(uint32_t count, const char *user_text, const char *key_text)
{
    struct log log = open_sale();
    size_t before = atomic_load(&mapped);
    for (uint32_t id = 1; id <= count; id++) {
        char user[PS_USER_MAX], key[PS_KEY_MAX];
        snprintf(user, sizeof user, "%s%09x", user_text, id);
        snprintf(key, sizeof key, "%s%09x", key_text, id);
        put(&log, accepted(id, 5, user, key, 1));
    }
    oq_fold_reclaim(log.fold, oq_fold_retired(log.fold));
    size_t taken = atomic_load(&mapped) - before;
    oq_fold_free(log.fold);
    return taken;
}

/* Just before the tables double and just behind. */
static void an_order_takes_little_memory(void **state)
{
    (void)state;
    static const struct {
        const char *user, *key;
        size_t most;
    } forms[] = {{"018f3c5a-7d2e-7b31-9c04-000", "9b2f6c1e-41d7-4e0a-8f33-000", 150},
                 {"us-", "9b2f6c1e-41d7-4e0a-8f33-000", 150},
                 {"user-0123456789-0123456789-", "key-0123456789-0123456789--", 190}};
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        static const uint32_t counts[] = {24000, 25000, 48000};
        for (size_t j = 0; j < PS_ARRAY_LEN(counts); j++)
            assert_in_range(memory_of(counts[j], forms[i].user, forms[i].key) / counts[j], 1,
                            forms[i].most);
    }
}

static void texts_that_look_like_ids_are_kept_as_they_came(void **state)
{
    (void)state;
    static const char *const texts[] = {"018f3c5a-7d2e-7b31-9c04-00000000000a",
                                        "018F3C5A-7D2E-7B31-9C04-00000000000A",
                                        "018f3c5a-7d2e-7b31-9c04-00000000000g",
                                        "018f3c5a-7d2e-7b31-9c04-0000000000000",
                                        "\x01\x8f\x3c\x5a",
                                        "0123456789abcdef"};
    struct log log = open_sale();
    uint32_t id = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++)
        for (size_t j = 0; j < PS_ARRAY_LEN(texts); j++)
            if (i != 4 && j != 4)
                put(&log, accepted(++id, 5, texts[i], texts[j], 1));
    id = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        for (size_t j = 0; j < PS_ARRAY_LEN(texts); j++) {
            struct oq_order_view view;
            if (i == 4 || j == 4)
                continue;
            oq_order_get(order(&log, ++id), &view);
            assert_true(ps_str_is(view.user, texts[i]) && ps_str_is(view.key, texts[j]));
            assert_ptr_equal(oq_fold_by_key(log.fold, the_sale(&log), str(texts[i]), str(texts[j])),
                             order(&log, id));
        }
    }
    oq_fold_free(log.fold);
}

/* --- Forgetting --- */

static void tidy(struct oq_fold *fold)
{
    while (oq_fold_tidy(fold))
        ;
    oq_fold_reclaim(fold, oq_fold_retired(fold));
}

static struct oq_event of_sale(struct oq_event event, const char *sale)
{
    event.sale = str(sale);
    return event;
}

static void a_forgotten_sale_has_no_orders_and_gives_its_memory_back(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct log log = open_sale();
    put(&log, of_sale(fenced(7, 1, true), "other"));
    size_t before = atomic_load(&mapped);
    char user[40], key[40];
    for (uint32_t id = 1; id <= COUNT; id++) {
        const char *sale = id % 100 == 0 ? "other" : "sale";
        put(&log, of_sale(accepted(id, id % 100 == 0 ? 7 : 5, text_of(user, "user-", id / 2),
                                   text_of(key, "key-", id), 1),
                          sale));
        if (id % 3 == 0)
            put(&log, of_sale(confirmed(id), sale));
    }
    put(&log, released(COUNT + 1, OQ_REJECTED));
    struct oq_sale *other = oq_fold_sale(log.fold, "other", 5);
    struct oq_totals totals;
    oq_sale_totals(the_sale(&log), 0, &totals);
    oq_fold_forget(log.fold, the_sale(&log));
    for (int round = 0; round < 2; round++) {
        assert_true(oq_sale_forgotten(the_sale(&log)) && !oq_sale_forgotten(other));
        assert_int_equal(oq_sale_order_count(the_sale(&log)), 0);
        assert_null(oq_sale_order_at(the_sale(&log), 0));
        assert_null(oq_fold_newest(log.fold, the_sale(&log), PS_STR("user-1")));
        assert_null(oq_fold_by_key(log.fold, the_sale(&log), PS_STR("user-1"), PS_STR("key-2")));
        assert_int_equal(oq_sale_order_count(other), COUNT / 100);
        for (uint32_t id = 1; id <= COUNT + 1; id++)
            assert_true((order(&log, id) != NULL) == (id % 100 == 0 && id <= COUNT));
        assert_totals(&log, totals.adjustments, totals.held, totals.confirmed, totals.released);
        assert_int_equal(oq_sale_epoch(the_sale(&log), 0), 5);
        assert_int_equal(oq_sale_partitions(the_sale(&log)), 1);
        tidy(log.fold);
    }
    /* What is left is that of the other sale: its blocks, and an index for so many. */
    assert_in_range(atomic_load(&mapped), 1, before + 512 * 1024);
    oq_fold_free(log.fold);
}

static void later_records_of_a_forgotten_sale_change_nothing(void **state)
{
    (void)state;
    struct log log = open_sale();
    put(&log, accepted(1, 5, "alice", "k", 2));
    oq_fold_forget(log.fold, the_sale(&log));
    const struct oq_event late[] = {accepted(1, 5, "alice", "k", 2),
                                    accepted(2, 5, "bob", "", 1),
                                    confirmed(1),
                                    released(1, OQ_EXPIRED),
                                    released(3, OQ_REJECTED),
                                    adjusted("adjust:sale/late", 5, 0)};
    for (size_t i = 0; i < PS_ARRAY_LEN(late); i++) {
        if (i == 3)
            tidy(log.fold);
        struct oq_change change = put(&log, late[i]);
        assert_int_equal(change.effect, OQ_EFFECT_NONE);
        assert_false(change.anomaly);
        assert_null(change.order);
        assert_ptr_equal(change.sale, the_sale(&log));
    }
    assert_totals(&log, 100, 2, 0, 0);
    oq_fold_free(log.fold);
}

static void sales_come_and_are_forgotten_while_others_go_on(void **state)
{
    (void)state;
    struct log log = open_sale();
    uint32_t id = 0;
    size_t most = 0;
    for (int round = 0; round < 40; round++) {
        char name[24], user[40], key[40];
        snprintf(name, sizeof name, "sale-%d", round);
        put(&log, of_sale(fenced(5, 1, true), name));
        for (int i = 0; i < 5000; i++) {
            id++;
            put(&log, of_sale(accepted(id, 5, text_of(user, "u", id), text_of(key, "k", id), 1),
                              i % 50 == 0 ? "sale" : name));
            if (i % 100 == 0)
                oq_fold_tidy(log.fold);
        }
        oq_fold_forget(log.fold, oq_fold_sale(log.fold, name, strlen(name)));
        oq_fold_reclaim(log.fold, oq_fold_retired(log.fold));
        if (round < 4)
            most = atomic_load(&mapped);
    }
    tidy(log.fold);
    assert_int_equal(oq_sale_order_count(the_sale(&log)), 40 * 100);
    compare_ids(&log, id);
    assert_in_range(atomic_load(&mapped), 1, 2 * most);
    oq_fold_free(log.fold);
}

/* A reader tells before each look what was retired by then; the writer frees only what all have
 * told of. */
struct reader {
    struct oq_fold *fold;
    atomic_bool *done;
    _Atomic(int64_t) retired;
    uint64_t found;
};

static void *read_while_sales_go(void *arg)
{
    struct reader *reader = arg;
    uint64_t seed = (uint64_t)(uintptr_t)&seed | 1;
    while (!atomic_load(reader->done)) {
        atomic_store(&reader->retired, oq_fold_retired(reader->fold));
        const struct oq_sale *sale;
        for (size_t i = 0; (sale = oq_fold_sale_at(reader->fold, i)) != NULL; i++) {
            struct oq_order_view view;
            char user[40], key[40];
            uint32_t id = 1 + random_below(&seed, 40000);
            struct ps_uuid uuid = id_of(id);
            const struct oq_order *one = oq_fold_order(reader->fold, &uuid);
            if (one != NULL) {
                oq_order_get(one, &view);
                reader->found += ps_str_is(view.user, text_of(user, "u", id));
            }
            one = oq_fold_by_key(reader->fold, sale, str(text_of(user, "u", id)),
                                 str(text_of(key, "k", id)));
            one = one != NULL ? one : oq_sale_order_at(sale, random_below(&seed, 2000));
            if (one != NULL)
                oq_order_get(one, &view);
        }
    }
    atomic_store(&reader->retired, INT64_MAX);
    return NULL;
}

static void readers_may_look_while_sales_are_forgotten(void **state)
{
    (void)state;
    struct log log = new_log();
    atomic_bool done = false;
    struct reader readers[2] = {{.fold = log.fold, .done = &done},
                                {.fold = log.fold, .done = &done}};
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_ok(pthread_create(&threads[i], NULL, read_while_sales_go, &readers[i]));
    uint32_t id = 0;
    for (int round = 0; round < 20; round++) {
        char name[24], user[40], key[40];
        snprintf(name, sizeof name, "sale-%d", round);
        put(&log, of_sale(fenced(5, 1, true), name));
        for (int i = 0; i < 2000; i++) {
            id++;
            put(&log,
                of_sale(accepted(id, 5, text_of(user, "u", id), text_of(key, "k", id), 1), name));
            put(&log, of_sale(confirmed(id), name));
            if (i % 64 == 0) {
                int64_t retired = atomic_load(&readers[0].retired),
                        other = atomic_load(&readers[1].retired);
                oq_fold_tidy(log.fold);
                oq_fold_reclaim(log.fold, retired < other ? retired : other);
            }
        }
        if (round >= 2) {
            snprintf(name, sizeof name, "sale-%d", round - 2);
            oq_fold_forget(log.fold, oq_fold_sale(log.fold, name, strlen(name)));
        }
    }
    atomic_store(&done, true);
    for (size_t i = 0; i < 2; i++)
        assert_ok(pthread_join(threads[i], NULL));
    tidy(log.fold);
    compare_ids(&log, id);
    oq_fold_free(log.fold);
}

/* --- Out of memory --- */

/* Applies the record with only `budget` allocations; when they do not do, once more with plenty. */
static bool put_short(struct log *log, struct oq_event event, int budget)
{
    struct oq_change change;
    int64_t seq = log->next[0];
    atomic_store(&callocs_left, budget);
    int err = oq_fold_apply(log->fold, 0, seq, &event, &change);
    atomic_store(&callocs_left, -1);
    if (err == 0) {
        log->next[0]++;
        return false;
    }
    assert_int_equal(err, PS_E_NOMEM);
    assert_int_equal(oq_fold_seq(log->fold, 0), seq - 1);
    put(log, event);
    return true;
}

/* What an export of orders, page by page, passes over: it must not grow with what was exported. */
static void a_page_of_a_partition_begins_near_its_place_however_long_the_log_is(void **state)
{
    (void)state;
    enum { ORDERS = 40000, FEW = 3000, SPREAD = 40 };
    static int64_t next[SPREAD];
    struct oq_fold *fold;
    struct oq_change change;
    uint64_t seed = 11;
    char user[16];
    assert_ok(oq_fold_new(&fold));
    memset(next, 0, sizeof next);
    for (uint32_t i = 0; i < ORDERS; i++) { /* the first orders are read before any fence */
        uint32_t partition = i < ORDERS / 2 ? random_below(&seed, 3) : random_below(&seed, SPREAD);
        struct oq_event event = accepted(i, 1, text_of(user, "u", i), "", 1);
        assert_ok(oq_fold_apply(fold, partition, ++next[partition], &event, &change));
    }
    const struct oq_sale *sale = oq_fold_sale(fold, "sale", 4);
    assert_int_equal(oq_sale_order_count(sale), ORDERS);
    for (uint32_t partition = 0; partition < SPREAD; partition++) {
        size_t at = 0;
        for (int64_t seq = 0; seq < next[partition]; seq += 1 + next[partition] / 50) {
            int64_t after = oq_place(partition, seq);
            while (oq_place_partition(oq_order_place(oq_sale_order_at(sale, at))) != partition ||
                   oq_order_place(oq_sale_order_at(sale, at)) <= after)
                at++;
            assert_true(oq_sale_orders_after(sale, after) <= at);
            assert_true(at - oq_sale_orders_after(sale, after) < FEW);
        }
        assert_true(ORDERS - oq_sale_orders_after(sale, oq_place(partition, next[partition])) <
                    FEW);
    }
    assert_int_equal(oq_sale_orders_after(sale, oq_place(SPREAD + 500, 0)), ORDERS / 1024 * 1024);
    oq_fold_free(fold);
}

static void out_of_memory_applies_nothing_and_can_be_tried_again(void **state)
{
    (void)state;
    for (int budget = 0; budget < 4; budget++) {
        struct log log = new_log();
        struct model model = {.epoch = {1, 0, 0}};
        uint64_t seed = 3;
        unsigned failures = 0;
        failures += put_short(&log, fenced(1, PARTITIONS, true), budget);
        for (int i = 0; i < 2000; i++) {
            char user[40], key[40], adjust[40];
            uint32_t id = random_below(&seed, MODEL_ORDERS), number = id % MODEL_ADJUSTS;
            struct oq_event event =
                accepted(id, 1, text_of(user, "u", id), text_of(key, "k", id), 1 + id % 3);
            model_order(&model, 0, id, &event);
            failures += put_short(&log, event, budget);
            event = released(MODEL_ORDERS + (uint32_t)i, OQ_REJECTED);
            failures += put_short(&log, event, budget);
            event = adjusted(text_of(adjust, "adjust:sale/", number), 1 + number, 1);
            model_adjust(&model, 0, number, &event);
            failures += put_short(&log, event, budget);
        }
        assert_totals(&log, model.adjustments, model.held, 0, 0);
        compare_indexes(&log);
        assert_true(failures > 0 || budget == 3);
        oq_fold_free(log.fold);
    }
}

static void out_of_memory_at_the_start_leaves_nothing_behind(void **state)
{
    (void)state;
    struct oq_fold *fold = NULL;
    for (int budget = 0; budget < 5; budget++) {
        atomic_store(&callocs_left, budget);
        int err = oq_fold_new(&fold);
        atomic_store(&callocs_left, -1);
        assert_int_equal(err, PS_E_NOMEM);
        assert_null(fold);
    }
    oq_fold_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_of_the_table_holds),
        cmocka_unit_test(behind_its_sale_archived_nothing_of_a_sale_counts),
        cmocka_unit_test(a_log_that_has_only_the_archived_record_of_a_sale_knows_its_numbers),
        cmocka_unit_test(a_sale_is_archived_when_each_of_its_partitions_is),
        cmocka_unit_test(an_order_is_what_its_first_record_says),
        cmocka_unit_test(R3_a_rejection_that_comes_first_voids_the_order_for_good),
        cmocka_unit_test(R4_a_rejection_never_undoes_an_accepted_order),
        cmocka_unit_test(R6_the_first_of_confirm_and_release_wins),
        cmocka_unit_test(R2_a_fence_ends_the_epochs_before_it_in_its_partition_only),
        cmocka_unit_test(nothing_is_accepted_before_the_first_fence),
        cmocka_unit_test(R12_stock_is_lowered_under_the_epoch_and_raised_under_any),
        cmocka_unit_test(decided_adjustments_are_listed_for_a_rebuild),
        cmocka_unit_test(I4_a_void_order_frees_its_key_and_others_keep_it),
        cmocka_unit_test(keys_of_buyers_do_not_run_into_each_other),
        cmocka_unit_test(a_buyers_orders_hang_together_newest_first),
        cmocka_unit_test(sales_and_skus_are_kept_apart),
        cmocka_unit_test(records_that_make_no_sense_change_nothing),
        cmocka_unit_test(units_come_back_beyond_what_can_be_counted),
        cmocka_unit_test(a_confirmed_of_an_unknown_sale_is_an_anomaly),
        cmocka_unit_test(the_fold_agrees_with_a_slow_model),
        cmocka_unit_test(I6_what_is_decided_stays_decided),
        cmocka_unit_test(readers_find_all_that_was_applied_without_a_lock),
        cmocka_unit_test(a_page_of_a_partition_begins_near_its_place_however_long_the_log_is),
        cmocka_unit_test(an_order_takes_little_memory),
        cmocka_unit_test(texts_that_look_like_ids_are_kept_as_they_came),
        cmocka_unit_test(a_forgotten_sale_has_no_orders_and_gives_its_memory_back),
        cmocka_unit_test(later_records_of_a_forgotten_sale_change_nothing),
        cmocka_unit_test(sales_come_and_are_forgotten_while_others_go_on),
        cmocka_unit_test(readers_may_look_while_sales_are_forgotten),
        cmocka_unit_test(out_of_memory_applies_nothing_and_can_be_tried_again),
        cmocka_unit_test(out_of_memory_at_the_start_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
