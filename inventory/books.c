/* The books: buyers, orders and keys of one sale under one epoch.
 *
 * An order is one record in up to three lists: the index by id (always), the index by key (when it
 * has one, until it is forgotten) and its buyer's list of live orders, newest first (while its
 * units are his). An adjustment is a record without a buyer. A buyer lives while any order of his
 * is remembered. All records come from the arena of their stripe, so a reservation calls malloc
 * only when the sale sells more orders than it had units at its start.
 *
 * What must always hold, per SKU: sum = available + in doubt + held + confirmed, with the last
 * three tallied in each stripe; and a buyer's units are those of his live orders. */
#include "inventory/books.h"
#include "inventory/arena.h"
#include "inventory/table.h"

#include <stdlib.h>
#include <string.h>

/* Memory for at most so many orders is got in advance; a larger sale gets the rest as it sells. */
#define EXPECT_MAX ((int64_t)1 << 18)
/* A usual length of a user and of a key, for the same purpose. */
#define EXPECT_TEXT 40

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

struct buyer {
    struct inv_link by_user;
    struct inv_order *newest; /* of his live orders */
    int64_t units;            /* of his live orders */
    size_t orders;            /* that are remembered */
    uint8_t user_len;
    char user[];
};

struct inv_order {
    struct inv_link by_id;
    struct inv_link by_key; /* unless key_len is 0 */
    struct inv_order *newer, *older;
    struct buyer *buyer; /* NULL: an adjustment */
    struct ps_uuid id;
    int64_t quantity;
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    uint32_t sku;
    uint8_t state;
    uint8_t stripe;
    uint8_t key_len;
    char key[];
};

_Static_assert(sizeof(struct buyer) + PS_USER_MAX <= INV_ARENA_MAX, "a buyer fits");
_Static_assert(sizeof(struct inv_order) + PS_KEY_MAX <= INV_ARENA_MAX, "an order fits");

struct tally {
    int64_t in_doubt, held, confirmed;
};

struct stripe {
    struct inv_table buyers, keys;
    struct inv_arena arena;
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
        if (inv_table_init(&stripe->buyers) < 0 || inv_table_init(&stripe->keys) < 0)
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
    for (size_t i = 0; i < INV_STRIPES; i++) {
        inv_table_done(&books->stripes[i].buyers);
        inv_table_done(&books->stripes[i].keys);
        inv_arena_done(&books->stripes[i].arena);
    }
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

static struct buyer *find_buyer(const struct stripe *stripe, struct ps_str user, uint64_t hash)
{
    for (struct inv_link *link = inv_table_first(&stripe->buyers, hash); link != NULL;
         link = inv_table_next(link)) {
        struct buyer *buyer = (struct buyer *)link;
        if (buyer->user_len == user.len && memcmp(buyer->user, user.at, user.len) == 0)
            return buyer;
    }
    return NULL;
}

static struct inv_order *find_key(const struct stripe *stripe, const struct buyer *buyer,
                                  struct ps_str key, uint64_t hash)
{
    for (struct inv_link *link = inv_table_first(&stripe->keys, hash); link != NULL;
         link = inv_table_next(link)) {
        struct inv_order *order =
            (struct inv_order *)((char *)link - offsetof(struct inv_order, by_key));
        if (order->buyer == buyer && order->key_len == key.len &&
            memcmp(order->key, key.at, key.len) == 0)
            return order;
    }
    return NULL;
}

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

static struct buyer *add_buyer(struct stripe *stripe, struct ps_str user, uint64_t hash)
{
    struct buyer *buyer = inv_arena_take(&stripe->arena, sizeof *buyer + user.len);
    if (buyer == NULL)
        return NULL;
    *buyer = (struct buyer){.user_len = (uint8_t)user.len};
    memcpy(buyer->user, user.at, user.len);
    inv_table_put(&stripe->buyers, &buyer->by_user, hash);
    return buyer;
}

static void drop_buyer(struct stripe *stripe, struct buyer *buyer)
{
    inv_table_remove(&stripe->buyers, &buyer->by_user);
    inv_arena_give(&stripe->arena, buyer, sizeof *buyer + buyer->user_len);
}

/* The order becomes the newest of its buyer's live ones. */
static void enlist(struct inv_order *order)
{
    struct buyer *buyer = order->buyer;
    order->older = buyer->newest;
    if (order->older != NULL)
        order->older->newer = order;
    buyer->newest = order;
    buyer->units += order->quantity;
}

static void delist(struct inv_order *order)
{
    struct buyer *buyer = order->buyer;
    if (order->newer != NULL)
        order->newer->older = order->older;
    else
        buyer->newest = order->older;
    if (order->older != NULL)
        order->older->newer = order->newer;
    buyer->units -= order->quantity;
}

/* What add_order is told of a record; user.len == 0: an adjustment. */
struct record {
    const struct ps_uuid *id;
    struct ps_str user, key;
    uint32_t sku;
    int64_t quantity;
    enum state state;
};

/* Puts it into the indices and counts its units in the tallies. NULL: out of memory, nothing done.
 */
static struct inv_order *add_order(struct inv_books *books, const struct record *record,
                                   const struct inv_place *place)
{
    unsigned number = inv_place_stripe(place);
    struct stripe *stripe = &books->stripes[number];
    struct inv_order *order = inv_arena_take(&stripe->arena, sizeof *order + record->key.len);
    struct buyer *buyer = NULL;
    if (order == NULL)
        return NULL;
    if (record->user.len > 0) {
        buyer = find_buyer(stripe, record->user, place->user);
        if (buyer == NULL)
            buyer = add_buyer(stripe, record->user, place->user);
        if (buyer == NULL) {
            inv_arena_give(&stripe->arena, order, sizeof *order + record->key.len);
            return NULL;
        }
        buyer->orders++;
    }
    *order = (struct inv_order){.buyer = buyer,
                                .id = *record->id,
                                .quantity = record->quantity,
                                .sku = record->sku,
                                .state = (uint8_t)record->state,
                                .stripe = (uint8_t)number,
                                .key_len = (uint8_t)record->key.len};
    if (order->key_len > 0) {
        memcpy(order->key, record->key.at, order->key_len);
        inv_table_put(&stripe->keys, &order->by_key, place->key);
    }
    inv_table_put(&books->parts[inv_place_part(place)].ids, &order->by_id, place->id);
    if (buyer != NULL && order->state != GIVEN_BACK)
        enlist(order);
    tally_add(&stripe->tallies[order->sku], order->state, order->quantity);
    return order;
}

static void forget(struct inv_books *books, struct inv_order *order)
{
    struct stripe *stripe = &books->stripes[order->stripe];
    struct buyer *buyer = order->buyer;
    inv_table_remove(&books->parts[order->by_id.hash >> 60].ids, &order->by_id);
    if (order->key_len > 0)
        inv_table_remove(&stripe->keys, &order->by_key);
    inv_arena_give(&stripe->arena, order, sizeof *order + order->key_len);
    if (buyer != NULL && --buyer->orders == 0)
        drop_buyer(stripe, buyer);
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
static bool over_cap(const struct buyer *buyer, const struct inv_reservation *r)
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
    const struct stripe *stripe = &books->stripes[inv_place_stripe(place)];
    const struct buyer *buyer = find_buyer(stripe, r->user, place->user);
    const struct inv_order *order = inv_books_order(books, &r->order_id, place->id);
    if (order != NULL) {
        /* His own orders lie in his stripe; of another's, only the buyer may be read. */
        if (buyer == NULL || order->buyer != buyer)
            return PS_E_CONFLICT;
        *ret_answer = order->state == GIVEN_BACK ? about(order, INV_DUPLICATE) : reserved(order);
        return 0;
    }
    if (buyer != NULL && r->key.len > 0)
        order = find_key(stripe, buyer, r->key, place->key);
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
    struct record record = {&r->order_id, r->user, r->key, r->sku, r->quantity, IN_DOUBT};
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

int inv_books_lower(struct inv_books *books, const struct ps_uuid *id,
                    const struct inv_place *place, uint32_t sku, int64_t units,
                    struct inv_answer *ret_answer)
{
    if (sku >= books->sku_count)
        return PS_E_INVALID;
    _Atomic int64_t *available = &books->shelves[sku].available;
    struct record record = {.id = id, .sku = sku, .quantity = units, .state = LOWERING};
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

void inv_books_settle(struct inv_books *books, struct inv_order *order, enum inv_verdict verdict)
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
            delist(order);
    }
    if (old == IN_DOUBT)
        give(&shelf->in_doubt, -order->quantity);
    if (state == GONE || (state == GIVEN_BACK && order->key_len == 0))
        forget(books, order);
}

void inv_books_raise(struct inv_books *books, const struct ps_uuid *id,
                     const struct inv_place *place, uint32_t sku, int64_t units)
{
    struct record record = {.id = id, .sku = sku, .quantity = units, .state = RAISED};
    if (sku >= books->sku_count)
        return;
    struct inv_order *order = inv_books_order(books, id, place->id);
    if (order != NULL && order->state == LOWERING) { /* which never came into the log */
        inv_books_settle(books, order, INV_VOID);
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
    const struct buyer *buyer = order->buyer;
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
    struct record record = {.id = &order->id,
                            .user = order->user,
                            .key = order->key,
                            .sku = order->sku,
                            .quantity = order->quantity,
                            .state = state_of[order->state]};
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
    struct record record = {.id = id, .state = RAISED};
    if (inv_books_order(books, id, place->id) != NULL)
        return PS_E_EXISTS;
    return add_order(books, &record, place) != NULL ? 0 : PS_E_NOMEM;
}

void inv_books_expect(struct inv_books *books)
{
    const size_t bytes = sizeof(struct inv_order) + sizeof(struct buyer) + 2 * EXPECT_TEXT;
    int64_t units = 0; /* an order has at least one */
    for (uint32_t sku = 0; sku < books->sku_count && units < EXPECT_MAX; sku++)
        units += left(books, sku);
    if (units > EXPECT_MAX)
        units = EXPECT_MAX;
    for (size_t i = 0; i < INV_STRIPES; i++) {
        struct stripe *stripe = &books->stripes[i];
        /* Buyers do not spread evenly: a quarter more than the mean, and a few. */
        size_t orders = (size_t)units / INV_STRIPES * 5 / 4 + 8;
        inv_table_expect(&stripe->buyers, stripe->buyers.count + orders);
        inv_table_expect(&stripe->keys, stripe->keys.count + orders);
        inv_arena_expect(&stripe->arena, orders * bytes);
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
