/* The ledger: buyers, orders and keys of one sale under one epoch.
 *
 * The records of buyers and orders lie in stripes, by the hash of the user (records.c); an index by
 * id, in parts, finds an order of any stripe. An adjustment is a record without a buyer. Memory is
 * got in advance, so a reservation calls malloc only when the sale sells more orders than it had
 * units at its start.
 *
 * What must always hold, per SKU: sum = available + in doubt + held + confirmed, with the last
 * three summed up in each stripe; and a buyer's units are those of their live orders. */
#include "inventory/ledger.h"
#include "inventory/records.h"

#include <stdlib.h>
#include <string.h>

/* Memory for at most this many orders is allocated in advance; a larger sale gets the rest as it
 * sells. */
#define EXPECT_MAX ((int64_t)1 << 18)

enum state {
    IN_DOUBT = INV_IN_DOUBT,
    HELD = INV_HELD,
    CONFIRMED = INV_CONFIRMED_UNITS,
    GIVEN_BACK = INV_GIVEN_BACK, /* remembered for its key */
    LOWERING,                    /* an adjustment in doubt */
    LOWERED,
    RAISED,
    GONE /* not a state of a record: the record must be removed */
};

/* All effects of a verdict. */
/* clang-format off */
static const uint8_t next_state[GONE][4] = {
    /*               INV_ACCEPTED  INV_VOID     INV_CONFIRMED  INV_RELEASED */
    [IN_DOUBT]   = { HELD,         GONE,        CONFIRMED,     GIVEN_BACK },
    [HELD]       = { HELD,         HELD,        CONFIRMED,     GIVEN_BACK },
    [CONFIRMED]  = { CONFIRMED,    CONFIRMED,   CONFIRMED,     CONFIRMED  },
    [GIVEN_BACK] = { GIVEN_BACK,   GIVEN_BACK,  GIVEN_BACK,    GIVEN_BACK },
    [LOWERING]   = { LOWERED,      GONE,        LOWERING,      LOWERING   },
    [LOWERED]    = { LOWERED,      LOWERED,     LOWERED,       LOWERED    },
    [RAISED]     = { RAISED,       RAISED,      RAISED,        RAISED     },
};
/* clang-format on */

struct totals {
    int64_t in_doubt, held, confirmed;
};

struct stripe {
    struct inv_records records;
    struct totals *totals; /* one a SKU */
} PS_ALIGNED;

struct inv_ledger {
    struct stripe stripes[INV_STRIPES];
    struct {
        struct inv_table ids;
    } PS_ALIGNED parts[INV_PARTS];
    struct inv_sku_counter *counters;
    struct totals *totals; /* of all stripes */
    size_t sku_count;
    int64_t epoch;
};

/* --- making and freeing --- */

int inv_sku_counters_new(size_t count, struct inv_sku_counter **ret_counters)
{
    struct inv_sku_counter *counters =
        aligned_alloc(PS_CACHE_LINE, (count > 0 ? count : 1) * sizeof *counters);
    if (counters == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        atomic_init(&counters[i].available, 0);
        atomic_init(&counters[i].sum, 0);
        atomic_init(&counters[i].in_doubt, 0);
    }
    *ret_counters = counters;
    return 0;
}

int inv_ledger_new(int64_t epoch, struct inv_sku_counter *counters, size_t sku_count,
                   struct inv_ledger **ret_ledger)
{
    struct inv_ledger *ledger = aligned_alloc(PS_CACHE_LINE, sizeof *ledger);
    if (ledger == NULL)
        return PS_E_NOMEM;
    memset(ledger, 0, sizeof *ledger);
    ledger->counters = counters;
    ledger->sku_count = sku_count;
    ledger->epoch = epoch;
    ledger->totals = calloc(INV_STRIPES * (sku_count > 0 ? sku_count : 1), sizeof(struct totals));
    if (ledger->totals == NULL)
        goto fail;
    for (size_t i = 0; i < INV_STRIPES; i++) {
        struct stripe *stripe = &ledger->stripes[i];
        stripe->totals = ledger->totals + i * sku_count;
        if (inv_records_init(&stripe->records) < 0)
            goto fail;
    }
    for (size_t i = 0; i < INV_PARTS; i++) {
        if (inv_table_init(&ledger->parts[i].ids) < 0)
            goto fail;
    }
    *ret_ledger = ledger;
    return 0;
fail:
    inv_ledger_free(ledger);
    return PS_E_NOMEM;
}

void inv_ledger_free(struct inv_ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (size_t i = 0; i < INV_STRIPES; i++)
        inv_records_done(&ledger->stripes[i].records);
    for (size_t i = 0; i < INV_PARTS; i++)
        inv_table_done(&ledger->parts[i].ids);
    free(ledger->totals);
    free(ledger);
}

int64_t inv_ledger_epoch(const struct inv_ledger *ledger)
{
    return ledger->epoch;
}

/* --- finding --- */

struct inv_order *inv_ledger_order(const struct inv_ledger *ledger, const struct ps_uuid *id,
                                   uint64_t id_hash)
{
    const struct inv_table *ids = &ledger->parts[id_hash >> 60].ids;
    for (struct inv_link *link = inv_table_first(ids, id_hash); link != NULL;
         link = inv_table_next(link)) {
        struct inv_order *order = (struct inv_order *)link;
        if (ps_uuid_equal(&order->id, id))
            return order;
    }
    return NULL;
}

unsigned inv_order_stripe(const struct inv_order *order)
{
    return order->stripe;
}

/* --- counters and totals --- */

static int64_t units_left(const struct inv_ledger *ledger, uint32_t sku)
{
    return atomic_load_explicit(&ledger->counters[sku].available, memory_order_relaxed);
}

/* False, and nothing changed, if the result would be below 0 or above PS_INT_MAX. */
static bool add_within(_Atomic int64_t *number, int64_t delta)
{
    int64_t old = atomic_load_explicit(number, memory_order_relaxed);
    do {
        if (old + delta < 0 || old + delta > PS_INT_MAX)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(number, &old, old + delta, memory_order_release,
                                                    memory_order_relaxed));
    return true;
}

static void add_units(_Atomic int64_t *number, int64_t units)
{
    atomic_fetch_add_explicit(number, units, memory_order_release);
}

static void add_to_totals(struct totals *totals, unsigned state, int64_t units)
{
    switch (state) {
    case IN_DOUBT:
    case LOWERING:
        totals->in_doubt += units;
        break;
    case HELD:
        totals->held += units;
        break;
    case CONFIRMED:
        totals->confirmed += units;
        break;
    default:
        break;
    }
}

/* --- records come and go --- */

/* Adds the record to the indices and its units to the totals. NULL: out of memory, nothing done. */
static struct inv_order *add_order(struct inv_ledger *ledger, const struct inv_record *record,
                                   const struct inv_place *place)
{
    unsigned number = inv_place_stripe(place);
    struct stripe *stripe = &ledger->stripes[number];
    struct inv_order *order = inv_records_add(&stripe->records, record, place);
    if (order == NULL)
        return NULL;
    order->stripe = (uint8_t)number;
    order->part = (uint8_t)inv_place_part(place);
    inv_table_put(&ledger->parts[inv_place_part(place)].ids, &order->by_id, place->id);
    add_to_totals(&stripe->totals[order->sku], order->state, order->quantity);
    return order;
}

static void forget_order(struct inv_ledger *ledger, struct inv_order *order)
{
    inv_table_remove(&ledger->parts[order->part].ids, &order->by_id);
    inv_records_forget(&ledger->stripes[order->stripe].records, order);
}

/* --- reserving --- */

/* `order` may be NULL. */
static struct inv_answer answer_about(const struct inv_order *order, enum inv_result result)
{
    struct inv_answer answer = {.result = result};
    if (order != NULL)
        answer.order_id = order->id;
    return answer;
}

static struct inv_answer answer_reserved(const struct inv_order *order)
{
    return (struct inv_answer){.result = INV_RESERVED,
                               .reserved_at_ms = order->reserved_at_ms,
                               .pay_by_ms = order->pay_by_ms,
                               .order_id = order->id};
}

/* Walks the buyer's live orders only for a cap of the SKU's own; caps keep them few. */
static bool over_cap(const struct inv_buyer *buyer, const struct inv_reservation *r)
{
    int64_t units = buyer != NULL ? buyer->units : 0;
    if (r->quantity > r->cap - units)
        return true;
    if (r->sku_cap == 0)
        return false;
    units = 0;
    if (buyer != NULL) {
        const struct inv_order *order;
        SLIST_FOREACH(order, &buyer->live, live)
        units += order->sku == r->sku ? order->quantity : 0;
    }
    return r->quantity > r->sku_cap - units;
}

/* 1: the units may be taken. 0: *ret_answer says why not. */
static int judge_reservation(const struct inv_ledger *ledger, const struct inv_reservation *r,
                             const struct inv_place *place, struct inv_answer *ret_answer)
{
    const struct inv_records *records = &ledger->stripes[inv_place_stripe(place)].records;
    const struct inv_buyer *buyer = inv_records_buyer(records, r->user, place->user);
    const struct inv_order *order = inv_ledger_order(ledger, &r->order_id, place->id);
    if (order != NULL) {
        /* The buyer's own orders are in their stripe; of another's order, only the buyer may be
         * read. */
        if (buyer == NULL || order->buyer != buyer)
            return PS_E_CONFLICT;
        *ret_answer = order->state == GIVEN_BACK ? answer_about(order, INV_DUPLICATE)
                                                 : answer_reserved(order);
        return 0;
    }
    if (buyer != NULL && r->key.len > 0)
        order = inv_records_key(records, buyer, r->key, place->key);
    if (order != NULL) {
        bool same = order->sku == r->sku && order->quantity == r->quantity;
        *ret_answer = answer_about(order, same ? INV_DUPLICATE : INV_MISMATCH);
        return 0;
    }
    if (over_cap(buyer, r)) {
        *ret_answer = answer_about(buyer != NULL ? SLIST_FIRST(&buyer->live) : NULL, INV_CAP);
        return 0;
    }
    return 1;
}

static bool has_units(const struct inv_ledger *ledger, const struct inv_reservation *r)
{
    return units_left(ledger, r->sku) >= r->quantity;
}

static int take_units(struct inv_ledger *ledger, const struct inv_reservation *r,
                      const struct inv_place *place, const struct ps_clock *clock,
                      struct inv_answer *ret_answer)
{
    struct inv_sku_counter *counter = &ledger->counters[r->sku];
    struct inv_record record = {&r->order_id, r->user, r->key, r->sku, r->quantity, IN_DOUBT, true};
    bool taken = false;
    /* Otherwise many failed attempts would look like units in doubt. */
    if (has_units(ledger, r)) {
        add_units(&counter->in_doubt, r->quantity);
        taken = add_within(&counter->available, -r->quantity);
        if (!taken)
            add_units(&counter->in_doubt, -r->quantity);
    }
    if (!taken) {
        *ret_answer = answer_about(NULL, INV_SOLD_OUT);
        return 0;
    }
    struct inv_order *order = add_order(ledger, &record, place);
    if (order == NULL) {
        add_units(&counter->available, r->quantity);
        add_units(&counter->in_doubt, -r->quantity);
        return PS_E_NOMEM;
    }
    order->reserved_at_ms = ps_clock_wall_ms(clock);
    order->pay_by_ms = order->reserved_at_ms + r->ttl_ms;
    *ret_answer = answer_reserved(order);
    return 0;
}

int inv_ledger_reserve(struct inv_ledger *ledger, const struct inv_reservation *reservation,
                       const struct inv_place *place, const struct ps_clock *clock,
                       struct inv_answer *ret_answer)
{
    struct inv_answer answer;
    if (reservation->sku >= ledger->sku_count)
        return PS_E_INVALID;
    int err = judge_reservation(ledger, reservation, place, &answer);
    if (err == 1)
        err = take_units(ledger, reservation, place, clock, &answer);
    if (err < 0)
        return err;
    answer.left = units_left(ledger, reservation->sku);
    *ret_answer = answer;
    return 0;
}

int inv_ledger_judge(const struct inv_ledger *ledger, const struct inv_reservation *reservation,
                     const struct inv_place *place, struct inv_answer *ret_answer)
{
    struct inv_answer answer;
    if (reservation->sku >= ledger->sku_count)
        return PS_E_INVALID;
    int err = judge_reservation(ledger, reservation, place, &answer);
    if (err < 0)
        return err;
    if (err == 1)
        answer = answer_about(NULL, has_units(ledger, reservation) ? INV_RESERVED : INV_SOLD_OUT);
    answer.left = units_left(ledger, reservation->sku);
    *ret_answer = answer;
    return 0;
}

int inv_ledger_lower(struct inv_ledger *ledger, const struct inv_lowering *lowering,
                     const struct inv_place *place, struct inv_answer *ret_answer)
{
    const struct ps_uuid *id = &lowering->id;
    uint32_t sku = lowering->sku;
    int64_t units = lowering->units;
    if (sku >= ledger->sku_count)
        return PS_E_INVALID;
    _Atomic int64_t *available = &ledger->counters[sku].available;
    struct inv_record record = {.id = id, .sku = sku, .quantity = units, .state = LOWERING};
    const struct inv_order *order = inv_ledger_order(ledger, id, place->id);
    struct inv_answer answer;
    /* An adjustment is in the stripe of its id, so its state may be read; a buyer's may not. */
    if (order != NULL && (order->buyer != NULL || order->state == RAISED || order->sku != sku ||
                          order->quantity != units))
        return PS_E_CONFLICT;
    if (order == NULL && !add_within(available, -units)) {
        answer = answer_about(NULL, INV_SOLD_OUT);
    } else {
        if (order == NULL && (order = add_order(ledger, &record, place)) == NULL) {
            add_units(available, units);
            return PS_E_NOMEM;
        }
        answer = answer_reserved(order);
    }
    answer.left = units_left(ledger, sku);
    *ret_answer = answer;
    return 0;
}

/* --- what the log has decided --- */

void inv_ledger_resolve(struct inv_ledger *ledger, struct inv_order *order,
                        enum inv_verdict verdict)
{
    struct totals *totals = &ledger->stripes[order->stripe].totals[order->sku];
    struct inv_sku_counter *counter = &ledger->counters[order->sku];
    unsigned old = order->state;
    unsigned state = next_state[old][verdict];
    if (state == old)
        return;
    add_to_totals(totals, old, -order->quantity);
    add_to_totals(totals, state, order->quantity);
    order->state = (uint8_t)state;
    if (state == LOWERED)
        add_units(&counter->sum, -order->quantity);
    if (state == GONE || state == GIVEN_BACK) {
        add_units(&counter->available, order->quantity);
        if (order->buyer != NULL)
            inv_records_delist(order);
    }
    if (old == IN_DOUBT)
        add_units(&counter->in_doubt, -order->quantity);
    if (state == GONE || (state == GIVEN_BACK && order->key_size == 0))
        forget_order(ledger, order);
}

void inv_ledger_raise(struct inv_ledger *ledger, const struct ps_uuid *id,
                      const struct inv_place *place, uint32_t sku, int64_t units)
{
    struct inv_record record = {.id = id, .sku = sku, .quantity = units, .state = RAISED};
    if (sku >= ledger->sku_count)
        return;
    struct inv_order *order = inv_ledger_order(ledger, id, place->id);
    if (order != NULL && order->state == LOWERING) { /* the log never got it */
        inv_ledger_resolve(ledger, order, INV_VOID);
        order = NULL;
    }
    if (order != NULL || !add_within(&ledger->counters[sku].sum, units))
        return;
    if (add_order(ledger, &record, place) == NULL)
        add_units(&ledger->counters[sku].sum, -units);
    else
        add_units(&ledger->counters[sku].available, units);
}

int inv_order_tell(const struct inv_order *order, struct inv_entry *ret_entry)
{
    const struct inv_buyer *buyer = order->buyer;
    if (buyer == NULL)
        return PS_E_NOT_FOUND;
    ret_entry->state = order->state;
    ret_entry->sku = order->sku;
    ret_entry->quantity = order->quantity;
    ret_entry->reserved_at_ms = order->reserved_at_ms;
    ret_entry->pay_by_ms = order->pay_by_ms;
    char room[PS_UUID_LEN + 1];
    struct ps_str text = ps_id_unpack(buyer->user, buyer->user_size, buyer->user_is_uuid, room);
    memcpy(ret_entry->user, text.at, text.len);
    ret_entry->user_len = text.len;
    text = ps_id_unpack(order->key, order->key_size, order->key_is_uuid, room);
    memcpy(ret_entry->key, text.at, text.len);
    ret_entry->key_len = text.len;
    return 0;
}

void inv_ledger_counts(const struct inv_ledger *ledger, struct inv_count *ret_counts)
{
    for (uint32_t sku = 0; sku < ledger->sku_count; sku++) {
        struct inv_count count = {.available = units_left(ledger, sku)};
        for (size_t i = 0; i < INV_STRIPES; i++) {
            const struct totals *totals = &ledger->stripes[i].totals[sku];
            count.in_doubt += totals->in_doubt;
            count.held += totals->held;
            count.confirmed += totals->confirmed;
        }
        ret_counts[sku] = count;
    }
}

/* --- loading --- */

int inv_ledger_available(struct inv_ledger *ledger, uint32_t sku, int64_t available)
{
    if (sku >= ledger->sku_count)
        return PS_E_INVALID;
    struct inv_sku_counter *counter = &ledger->counters[sku];
    if (!add_within(&counter->sum, available - units_left(ledger, sku)))
        return PS_E_INVALID;
    atomic_store_explicit(&counter->available, available, memory_order_relaxed);
    return 0;
}

int inv_ledger_load(struct inv_ledger *ledger, const struct inv_load_order *order,
                    const struct inv_place *place)
{
    static const uint8_t state_of[] = {
        [INV_LOAD_HELD] = HELD, [INV_LOAD_CONFIRMED] = CONFIRMED, [INV_LOAD_RELEASED] = GIVEN_BACK};
    struct inv_record record = {.id = &order->id,
                                .user = order->user,
                                .key = order->key,
                                .sku = order->sku,
                                .quantity = order->quantity,
                                .state = state_of[order->state],
                                .live = order->state != INV_LOAD_RELEASED};
    int64_t units = order->state == INV_LOAD_RELEASED ? 0 : order->quantity;
    if (order->sku >= ledger->sku_count)
        return PS_E_INVALID;
    /* A million of them do not fit into any cache: prefetch the three places together. */
    const struct inv_records *records = &ledger->stripes[inv_place_stripe(place)].records;
    inv_table_fetch(&records->buyers, place->user);
    inv_table_fetch(&records->keys, place->key);
    inv_table_fetch(&ledger->parts[inv_place_part(place)].ids, place->id);
    if (inv_ledger_order(ledger, &order->id, place->id) != NULL)
        return PS_E_EXISTS;
    if (!add_within(&ledger->counters[order->sku].sum, units))
        return PS_E_INVALID;
    if (add_order(ledger, &record, place) == NULL) {
        add_units(&ledger->counters[order->sku].sum, -units);
        return PS_E_NOMEM;
    }
    return 0;
}

int inv_ledger_raised(struct inv_ledger *ledger, const struct ps_uuid *id,
                      const struct inv_place *place)
{
    struct inv_record record = {.id = id, .state = RAISED};
    if (inv_ledger_order(ledger, id, place->id) != NULL)
        return PS_E_EXISTS;
    return add_order(ledger, &record, place) != NULL ? 0 : PS_E_NOMEM;
}

void inv_ledger_expect_orders(struct inv_ledger *ledger, size_t orders)
{
    for (size_t i = 0; i < INV_STRIPES; i++)
        inv_records_expect(&ledger->stripes[i].records, orders / INV_STRIPES);
    for (size_t i = 0; i < INV_PARTS; i++) {
        struct inv_table *ids = &ledger->parts[i].ids;
        inv_table_expect(ids, ids->count + orders / INV_PARTS);
    }
}

void inv_ledger_expect(struct inv_ledger *ledger)
{
    int64_t units = 0; /* an order has at least one */
    for (uint32_t sku = 0; sku < ledger->sku_count && units < EXPECT_MAX; sku++)
        units += units_left(ledger, sku);
    if (units > EXPECT_MAX)
        units = EXPECT_MAX;
    /* Buyers do not spread evenly: a quarter more than the mean, and a few for each stripe. */
    inv_ledger_expect_orders(ledger, (size_t)units * 5 / 4 + (size_t)8 * INV_STRIPES);
}

void inv_ledger_move(struct inv_ledger *ledger, struct inv_sku_counter *counters)
{
    for (uint32_t sku = 0; sku < ledger->sku_count; sku++) {
        int64_t sum = atomic_load_explicit(&ledger->counters[sku].sum, memory_order_relaxed);
        atomic_store_explicit(&counters[sku].available, units_left(ledger, sku),
                              memory_order_relaxed);
        atomic_store_explicit(&counters[sku].sum, sum, memory_order_relaxed);
        atomic_store_explicit(&counters[sku].in_doubt, 0, memory_order_relaxed);
    }
    ledger->counters = counters;
}
