/* The books: buyers, orders and keys of one sale under one epoch.
 *
 * The records of buyers and orders lie in stripes, by the hash of the user (records.c); an index by
 * id, in parts, finds an order of any stripe. An adjustment is a record without a buyer. Memory is
 * got in advance, so a reservation calls malloc only when the sale sells more orders than it had
 * units at its start.
 *
 * What must always hold, per SKU: sum = available + in doubt + held + confirmed, with the last
 * three tallied in each stripe; and a buyer's units are those of his live orders. */
#include "inventory/books.h"
#include "inventory/records.h"

#include <stdlib.h>
#include <string.h>

/* Memory for at most so many orders is got in advance; a larger sale gets the rest as it sells. */
#define EXPECT_MAX ((int64_t)1 << 18)

enum state {
    IN_DOUBT = INV_IN_DOUBT,
    HELD = INV_HELD,
    CONFIRMED = INV_CONFIRMED_UNITS,
    GIVEN_BACK = INV_GIVEN_BACK, /* remembered for its key */
    LOWERING,                    /* an adjustment in doubt */
    LOWERED,
    RAISED,
    GONE /* no state of a record: it is to be forgotten */
};

/* Everything that a verdict can do. */
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

struct tally {
    int64_t in_doubt, held, confirmed;
};

struct stripe {
    struct inv_records records;
    struct tally *tallies; /* one a SKU */
} PS_ALIGNED;

struct inv_books {
    struct stripe stripes[INV_STRIPES];
    struct {
        struct inv_table ids;
    } PS_ALIGNED parts[INV_PARTS];
    struct inv_shelf *shelves;
    struct tally *tallies; /* of all stripes */
    size_t sku_count;
    int64_t epoch;
};

/* --- making and freeing --- */

int inv_shelves_new(size_t count, struct inv_shelf **ret_shelves)
{
    struct inv_shelf *shelves =
        aligned_alloc(PS_CACHE_LINE, (count > 0 ? count : 1) * sizeof *shelves);
    if (shelves == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        atomic_init(&shelves[i].available, 0);
        atomic_init(&shelves[i].sum, 0);
        atomic_init(&shelves[i].in_doubt, 0);
    }
    *ret_shelves = shelves;
    return 0;
}

int inv_books_new(int64_t epoch, struct inv_shelf *shelves, size_t sku_count,
                  struct inv_books **ret_books)
{
    struct inv_books *books = aligned_alloc(PS_CACHE_LINE, sizeof *books);
    if (books == NULL)
        return PS_E_NOMEM;
    memset(books, 0, sizeof *books);
    books->shelves = shelves;
    books->sku_count = sku_count;
    books->epoch = epoch;
    books->tallies = calloc(INV_STRIPES * (sku_count > 0 ? sku_count : 1), sizeof(struct tally));
    if (books->tallies == NULL)
        goto fail;
    for (size_t i = 0; i < INV_STRIPES; i++) {
        struct stripe *stripe = &books->stripes[i];
        stripe->tallies = books->tallies + i * sku_count;
        if (inv_records_init(&stripe->records) < 0)
            goto fail;
    }
    for (size_t i = 0; i < INV_PARTS; i++) {
        if (inv_table_init(&books->parts[i].ids) < 0)
            goto fail;
    }
    *ret_books = books;
    return 0;
fail:
    inv_books_free(books);
    return PS_E_NOMEM;
}

void inv_books_free(struct inv_books *books)
{
    if (books == NULL)
        return;
    for (size_t i = 0; i < INV_STRIPES; i++)
        inv_records_done(&books->stripes[i].records);
    for (size_t i = 0; i < INV_PARTS; i++)
        inv_table_done(&books->parts[i].ids);
    free(books->tallies);
    free(books);
}

int64_t inv_books_epoch(const struct inv_books *books)
{
    return books->epoch;
}

/* --- finding --- */

struct inv_order *inv_books_order(const struct inv_books *books, const struct ps_uuid *id,
                                  uint64_t id_hash)
{
    const struct inv_table *ids = &books->parts[id_hash >> 60].ids;
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

/* --- shelves and tallies --- */

static int64_t left(const struct inv_books *books, uint32_t sku)
{
    return atomic_load_explicit(&books->shelves[sku].available, memory_order_relaxed);
}

/* False, and nothing done, when the result would be below 0 or above PS_INT_MAX. */
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

static void give(_Atomic int64_t *number, int64_t units)
{
    atomic_fetch_add_explicit(number, units, memory_order_release);
}

static void tally_add(struct tally *tally, unsigned state, int64_t units)
{
    switch (state) {
    case IN_DOUBT:
    case LOWERING:
        tally->in_doubt += units;
        break;
    case HELD:
        tally->held += units;
        break;
    case CONFIRMED:
        tally->confirmed += units;
        break;
    default:
        break;
    }
}

/* --- records come and go --- */

/* Puts it into the indices and counts its units in the tallies. NULL: out of memory, nothing done.
 */
static struct inv_order *add_order(struct inv_books *books, const struct inv_record *record,
                                   const struct inv_place *place)
{
    unsigned number = inv_place_stripe(place);
    struct stripe *stripe = &books->stripes[number];
    struct inv_order *order = inv_records_add(&stripe->records, record, place);
    if (order == NULL)
        return NULL;
    order->stripe = (uint8_t)number;
    inv_table_put(&books->parts[inv_place_part(place)].ids, &order->by_id, place->id);
    tally_add(&stripe->tallies[order->sku], order->state, order->quantity);
    return order;
}

static void forget(struct inv_books *books, struct inv_order *order)
{
    inv_table_remove(&books->parts[order->by_id.hash >> 60].ids, &order->by_id);
    inv_records_forget(&books->stripes[order->stripe].records, order);
}

/* --- reserving --- */

/* `order` may be NULL. */
static struct inv_answer about(const struct inv_order *order, enum inv_result result)
{
    struct inv_answer answer = {.result = result};
    if (order != NULL)
        answer.order_id = order->id;
    return answer;
}

static struct inv_answer reserved(const struct inv_order *order)
{
    return (struct inv_answer){.result = INV_RESERVED,
                               .reserved_at_ms = order->reserved_at_ms,
                               .pay_by_ms = order->pay_by_ms,
                               .order_id = order->id};
}

/* Walks his live orders only for a cap of the SKU's own; caps keep them few. */
static bool over_cap(const struct inv_buyer *buyer, const struct inv_reservation *r)
{
    int64_t units = buyer != NULL ? buyer->units : 0;
    if (r->quantity > r->cap - units)
        return true;
    if (r->sku_cap == 0)
        return false;
    units = 0;
    for (const struct inv_order *order = buyer != NULL ? buyer->newest : NULL; order != NULL;
         order = order->older)
        units += order->sku == r->sku ? order->quantity : 0;
    return r->quantity > r->sku_cap - units;
}

/* 1: nothing speaks against it, now take the units. 0: *ret_answer says what does. */
static int judge(const struct inv_books *books, const struct inv_reservation *r,
                 const struct inv_place *place, struct inv_answer *ret_answer)
{
    const struct inv_records *records = &books->stripes[inv_place_stripe(place)].records;
    const struct inv_buyer *buyer = inv_records_buyer(records, r->user, place->user);
    const struct inv_order *order = inv_books_order(books, &r->order_id, place->id);
    if (order != NULL) {
        /* His own orders lie in his stripe; of another's, only the buyer may be read. */
        if (buyer == NULL || order->buyer != buyer)
            return PS_E_CONFLICT;
        *ret_answer = order->state == GIVEN_BACK ? about(order, INV_DUPLICATE) : reserved(order);
        return 0;
    }
    if (buyer != NULL && r->key.len > 0)
        order = inv_records_key(records, buyer, r->key, place->key);
    if (order != NULL) {
        bool same = order->sku == r->sku && order->quantity == r->quantity;
        *ret_answer = about(order, same ? INV_DUPLICATE : INV_MISMATCH);
        return 0;
    }
    if (over_cap(buyer, r)) {
        *ret_answer = about(buyer != NULL ? buyer->newest : NULL, INV_CAP);
        return 0;
    }
    return 1;
}

static int take(struct inv_books *books, const struct inv_reservation *r,
                const struct inv_place *place, const struct ps_clock *clock,
                struct inv_answer *ret_answer)
{
    struct inv_shelf *shelf = &books->shelves[r->sku];
    struct inv_record record = {&r->order_id, r->user, r->key, r->sku, r->quantity, IN_DOUBT, true};
    bool taken = false;
    if (left(books, r->sku) >= r->quantity) { /* else many who fail would look like doubt */
        give(&shelf->in_doubt, r->quantity);
        taken = add_within(&shelf->available, -r->quantity);
        if (!taken)
            give(&shelf->in_doubt, -r->quantity);
    }
    if (!taken) {
        *ret_answer = about(NULL, INV_SOLD_OUT);
        return 0;
    }
    struct inv_order *order = add_order(books, &record, place);
    if (order == NULL) {
        give(&shelf->available, r->quantity);
        give(&shelf->in_doubt, -r->quantity);
        return PS_E_NOMEM;
    }
    order->reserved_at_ms = ps_clock_wall_ms(clock);
    order->pay_by_ms = order->reserved_at_ms + r->ttl_ms;
    *ret_answer = reserved(order);
    return 0;
}

int inv_books_reserve(struct inv_books *books, const struct inv_reservation *reservation,
                      const struct inv_place *place, const struct ps_clock *clock,
                      struct inv_answer *ret_answer)
{
    struct inv_answer answer;
    if (reservation->sku >= books->sku_count)
        return PS_E_INVALID;
    int err = judge(books, reservation, place, &answer);
    if (err == 1)
        err = take(books, reservation, place, clock, &answer);
    if (err < 0)
        return err;
    answer.left = left(books, reservation->sku);
    *ret_answer = answer;
    return 0;
}

int inv_books_lower(struct inv_books *books, const struct inv_lowering *lowering,
                    const struct inv_place *place, struct inv_answer *ret_answer)
{
    const struct ps_uuid *id = &lowering->id;
    uint32_t sku = lowering->sku;
    int64_t units = lowering->units;
    if (sku >= books->sku_count)
        return PS_E_INVALID;
    _Atomic int64_t *available = &books->shelves[sku].available;
    struct inv_record record = {.id = id, .sku = sku, .quantity = units, .state = LOWERING};
    const struct inv_order *order = inv_books_order(books, id, place->id);
    struct inv_answer answer;
    /* An adjustment lies in the stripe of its id, so its state may be read; a buyer's may not. */
    if (order != NULL && (order->buyer != NULL || order->state == RAISED || order->sku != sku ||
                          order->quantity != units))
        return PS_E_CONFLICT;
    if (order == NULL && !add_within(available, -units)) {
        answer = about(NULL, INV_SOLD_OUT);
    } else {
        if (order == NULL && (order = add_order(books, &record, place)) == NULL) {
            give(available, units);
            return PS_E_NOMEM;
        }
        answer = reserved(order);
    }
    answer.left = left(books, sku);
    *ret_answer = answer;
    return 0;
}

/* --- what the log has decided --- */

void inv_books_resolve(struct inv_books *books, struct inv_order *order, enum inv_verdict verdict)
{
    struct tally *tally = &books->stripes[order->stripe].tallies[order->sku];
    struct inv_shelf *shelf = &books->shelves[order->sku];
    unsigned old = order->state;
    unsigned state = next_state[old][verdict];
    if (state == old)
        return;
    tally_add(tally, old, -order->quantity);
    tally_add(tally, state, order->quantity);
    order->state = (uint8_t)state;
    if (state == LOWERED)
        give(&shelf->sum, -order->quantity);
    if (state == GONE || state == GIVEN_BACK) {
        give(&shelf->available, order->quantity);
        if (order->buyer != NULL)
            inv_records_delist(order);
    }
    if (old == IN_DOUBT)
        give(&shelf->in_doubt, -order->quantity);
    if (state == GONE || (state == GIVEN_BACK && order->key_len == 0))
        forget(books, order);
}

void inv_books_raise(struct inv_books *books, const struct ps_uuid *id,
                     const struct inv_place *place, uint32_t sku, int64_t units)
{
    struct inv_record record = {.id = id, .sku = sku, .quantity = units, .state = RAISED};
    if (sku >= books->sku_count)
        return;
    struct inv_order *order = inv_books_order(books, id, place->id);
    if (order != NULL && order->state == LOWERING) { /* which never came into the log */
        inv_books_resolve(books, order, INV_VOID);
        order = NULL;
    }
    if (order != NULL || !add_within(&books->shelves[sku].sum, units))
        return;
    if (add_order(books, &record, place) == NULL)
        give(&books->shelves[sku].sum, -units);
    else
        give(&books->shelves[sku].available, units);
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
    ret_entry->user_len = buyer->user_len;
    ret_entry->key_len = order->key_len;
    memcpy(ret_entry->user, buyer->user, buyer->user_len);
    memcpy(ret_entry->key, order->key, order->key_len);
    return 0;
}

void inv_books_counts(const struct inv_books *books, struct inv_count *ret_counts)
{
    for (uint32_t sku = 0; sku < books->sku_count; sku++) {
        struct inv_count count = {.available = left(books, sku)};
        for (size_t i = 0; i < INV_STRIPES; i++) {
            const struct tally *tally = &books->stripes[i].tallies[sku];
            count.in_doubt += tally->in_doubt;
            count.held += tally->held;
            count.confirmed += tally->confirmed;
        }
        ret_counts[sku] = count;
    }
}

/* --- loading --- */

int inv_books_available(struct inv_books *books, uint32_t sku, int64_t available)
{
    if (sku >= books->sku_count)
        return PS_E_INVALID;
    struct inv_shelf *shelf = &books->shelves[sku];
    if (!add_within(&shelf->sum, available - left(books, sku)))
        return PS_E_INVALID;
    atomic_store_explicit(&shelf->available, available, memory_order_relaxed);
    return 0;
}

int inv_books_load(struct inv_books *books, const struct inv_load_order *order,
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
    if (order->sku >= books->sku_count)
        return PS_E_INVALID;
    if (inv_books_order(books, &order->id, place->id) != NULL)
        return PS_E_EXISTS;
    if (!add_within(&books->shelves[order->sku].sum, units))
        return PS_E_INVALID;
    if (add_order(books, &record, place) == NULL) {
        give(&books->shelves[order->sku].sum, -units);
        return PS_E_NOMEM;
    }
    return 0;
}

int inv_books_raised(struct inv_books *books, const struct ps_uuid *id,
                     const struct inv_place *place)
{
    struct inv_record record = {.id = id, .state = RAISED};
    if (inv_books_order(books, id, place->id) != NULL)
        return PS_E_EXISTS;
    return add_order(books, &record, place) != NULL ? 0 : PS_E_NOMEM;
}

void inv_books_expect(struct inv_books *books)
{
    int64_t units = 0; /* an order has at least one */
    for (uint32_t sku = 0; sku < books->sku_count && units < EXPECT_MAX; sku++)
        units += left(books, sku);
    if (units > EXPECT_MAX)
        units = EXPECT_MAX;
    for (size_t i = 0; i < INV_STRIPES; i++) {
        /* Buyers do not spread evenly: a quarter more than the mean, and a few. */
        size_t orders = (size_t)units / INV_STRIPES * 5 / 4 + 8;
        inv_records_expect(&books->stripes[i].records, orders);
    }
    for (size_t i = 0; i < INV_PARTS; i++) {
        struct inv_table *ids = &books->parts[i].ids;
        inv_table_expect(ids, ids->count + (size_t)units / INV_PARTS);
    }
}

void inv_books_move(struct inv_books *books, struct inv_shelf *shelves)
{
    for (uint32_t sku = 0; sku < books->sku_count; sku++) {
        int64_t sum = atomic_load_explicit(&books->shelves[sku].sum, memory_order_relaxed);
        atomic_store_explicit(&shelves[sku].available, left(books, sku), memory_order_relaxed);
        atomic_store_explicit(&shelves[sku].sum, sum, memory_order_relaxed);
        atomic_store_explicit(&shelves[sku].in_doubt, 0, memory_order_relaxed);
    }
    books->shelves = shelves;
}
