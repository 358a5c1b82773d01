/* The counter in memory: sales, and the locks around their ledger (ledger.h decides what happens).
 *
 * Locks, always taken in this order, so that no two threads wait for each other:
 *     the store's list of sales -> stripes of a sale by number -> parts of its index by number.
 * A reservation knows its stripe and its part beforehand and takes one of each. A verdict comes
 * with nothing but an id: a first look, under the part alone, learns the stripe; then both are
 * taken in order, and the order is looked up again, because only that look counts. Gone by then, or
 * in another stripe, means that the id was unknown for a moment in between, and the call is
 * answered as if it had come in that moment. A cut of all numbers takes all stripes; an install
 * takes every lock of the sale, so a ledger is freed only when no thread can be inside, and a
 * thread that had to wait finds the new ledger and, for a reservation, another epoch.
 *
 * Sold out: asking inv_sale_sku_sold_out is two loads, and admission asks it first. A reservation
 * itself does always look at the buyer, under their stripe: they may own the key, and then SOLD_OUT
 * would be a wrong answer. What lock-free readers see (counters, epoch) stays in place for the life
 * of the sale. */
#include "inventory/store_memory.h"
#include "inventory/ledger.h"
#include "inventory/store_backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
struct lock {
    pthread_mutex_t mutex;
} PS_ALIGNED;

struct mem_sale {
    struct inv_sale head;
    struct mem_store *store;
    SLIST_ENTRY(mem_sale) next; /* under the store's lock */
    char name[PS_NAME_MAX + 1];
    size_t sku_count;
    struct inv_sku_counter *counters;
    _Atomic int64_t epoch;
    struct inv_ledger *ledger; /* read under any lock of the sale, changed under all */
    struct lock stripes[INV_STRIPES];
    struct lock parts[INV_PARTS];
};

struct mem_store {
    struct inv_store head;
    const struct ps_clock *clock;
    struct ps_hash_key hash_key;
    pthread_mutex_t lock;
    SLIST_HEAD(, mem_sale) sales;
};

struct mem_load {
    struct inv_load head;
    struct mem_store *store;
    char name[PS_NAME_MAX + 1];
    size_t sku_count;
    struct inv_sku_counter *counters; /* until a sale takes them over */
    struct inv_ledger *ledger;
};

/* --- places and locks --- */

static struct inv_place place_of_id(const struct mem_store *store, const struct ps_uuid *id)
{
    uint64_t hash = ps_hash64(&store->hash_key, id->byte, sizeof id->byte);
    return (struct inv_place){.user = hash, .id = hash};
}

static struct inv_place place_of(const struct mem_store *store, const struct ps_uuid *id,
                                 struct ps_str user, struct ps_str key)
{
    struct inv_place place = place_of_id(store, id);
    place.user = ps_hash64(&store->hash_key, user.at, user.len);
    if (key.len > 0) /* a sum, because equal texts would cancel out in an exclusive or */
        place.key = ps_hash64(&store->hash_key, key.at, key.len) + place.user;
    return place;
}

static void lock_place(struct mem_sale *sale, const struct inv_place *place)
{
    pthread_mutex_lock(&sale->stripes[inv_place_stripe(place)].mutex);
    pthread_mutex_lock(&sale->parts[inv_place_part(place)].mutex);
}

static void unlock_place(struct mem_sale *sale, const struct inv_place *place)
{
    pthread_mutex_unlock(&sale->parts[inv_place_part(place)].mutex);
    pthread_mutex_unlock(&sale->stripes[inv_place_stripe(place)].mutex);
}

static void lock_stripes(struct mem_sale *sale)
{
    for (size_t i = 0; i < INV_STRIPES; i++)
        pthread_mutex_lock(&sale->stripes[i].mutex);
}

static void unlock_stripes(struct mem_sale *sale)
{
    for (size_t i = INV_STRIPES; i > 0; i--)
        pthread_mutex_unlock(&sale->stripes[i - 1].mutex);
}

static void lock_all(struct mem_sale *sale)
{
    lock_stripes(sale);
    for (size_t i = 0; i < INV_PARTS; i++)
        pthread_mutex_lock(&sale->parts[i].mutex);
}

static void unlock_all(struct mem_sale *sale)
{
    for (size_t i = INV_PARTS; i > 0; i--)
        pthread_mutex_unlock(&sale->parts[i - 1].mutex);
    unlock_stripes(sale);
}

/* The order of that id with its stripe and its part locked (unlock with what *ret_stripe and
 * *ret_part name), or NULL and nothing locked. */
static struct inv_order *lock_order(struct mem_sale *sale, const struct ps_uuid *id,
                                    pthread_mutex_t **ret_stripe, pthread_mutex_t **ret_part)
{
    struct inv_place place = place_of_id(sale->store, id);
    pthread_mutex_t *part = &sale->parts[inv_place_part(&place)].mutex;
    pthread_mutex_lock(part);
    struct inv_order *order = inv_ledger_order(sale->ledger, id, place.id);
    unsigned number = order != NULL ? inv_order_stripe(order) : 0;
    pthread_mutex_unlock(part);
    if (order == NULL)
        return NULL;

    pthread_mutex_t *stripe = &sale->stripes[number].mutex;
    pthread_mutex_lock(stripe);
    pthread_mutex_lock(part);
    order = inv_ledger_order(sale->ledger, id, place.id);
    if (order == NULL || inv_order_stripe(order) != number) {
        pthread_mutex_unlock(part);
        pthread_mutex_unlock(stripe);
        return NULL;
    }
    *ret_stripe = stripe;
    *ret_part = part;
    return order;
}

/* --- sales --- */

/* The caller holds the store's lock. */
static struct mem_sale *find_sale(const struct mem_store *store, const char *name)
{
    struct mem_sale *sale;
    SLIST_FOREACH(sale, &store->sales, next)
    {
        if (strcmp(sale->name, name) == 0)
            break;
    }
    return sale;
}

static int64_t mem_sale_epoch(const struct inv_sale *head)
{
    const struct mem_sale *sale = (const struct mem_sale *)head;
    return atomic_load_explicit(&sale->epoch, memory_order_relaxed);
}

static size_t mem_sale_sku_count(const struct inv_sale *head)
{
    return ((const struct mem_sale *)head)->sku_count;
}

static int64_t mem_sale_left(const struct inv_sale *head, uint32_t sku)
{
    const struct mem_sale *sale = (const struct mem_sale *)head;
    if (sku >= sale->sku_count)
        return 0;
    return atomic_load_explicit(&sale->counters[sku].available, memory_order_relaxed);
}

static bool mem_sale_sku_sold_out(const struct inv_sale *head, uint32_t sku)
{
    const struct mem_sale *sale = (const struct mem_sale *)head;
    return sku >= sale->sku_count || inv_sku_counter_sold_out(&sale->counters[sku]);
}

/* --- orders --- */

static int ask(struct inv_store *head, struct inv_sale *sale_head,
               const struct inv_reservation *reservation, bool reserves, struct inv_answer *ret)
{
    struct mem_store *store = (struct mem_store *)head;
    struct mem_sale *sale = (struct mem_sale *)sale_head;
    struct inv_place place =
        place_of(store, &reservation->order_id, reservation->user, reservation->key);
    int err = 0;
    lock_place(sale, &place);
    if (inv_ledger_epoch(sale->ledger) != reservation->epoch)
        *ret = (struct inv_answer){.result = INV_FENCED};
    else if (reserves)
        err = inv_ledger_reserve(sale->ledger, reservation, &place, store->clock, ret);
    else
        err = inv_ledger_judge(sale->ledger, reservation, &place, ret);
    unlock_place(sale, &place);
    return err;
}

static int mem_reserve(struct inv_store *head, struct inv_sale *sale,
                       const struct inv_reservation *reservation, struct inv_reply_to to)
{
    return ask(head, sale, reservation, true, to.ret_answer);
}

static int mem_judge(struct inv_store *head, struct inv_sale *sale,
                     const struct inv_reservation *reservation, struct inv_reply_to to)
{
    return ask(head, sale, reservation, false, to.ret_answer);
}

static int mem_lower(struct inv_store *head, struct inv_sale *sale_head,
                     const struct inv_lowering *lowering, struct inv_reply_to to)
{
    struct mem_sale *sale = (struct mem_sale *)sale_head;
    struct inv_place place = place_of_id((struct mem_store *)head, &lowering->id);
    int err = 0;
    lock_place(sale, &place);
    if (inv_ledger_epoch(sale->ledger) != lowering->epoch)
        *to.ret_answer = (struct inv_answer){.result = INV_FENCED};
    else
        err = inv_ledger_lower(sale->ledger, lowering, &place, to.ret_answer);
    unlock_place(sale, &place);
    return err;
}

static int mem_find(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                    struct inv_reply_to to)
{
    pthread_mutex_t *stripe, *part;
    struct inv_order *order = lock_order((struct mem_sale *)sale, id, &stripe, &part);
    (void)head;
    if (order == NULL)
        return PS_E_NOT_FOUND;
    int err = inv_order_tell(order, to.ret_entry);
    pthread_mutex_unlock(part);
    pthread_mutex_unlock(stripe);
    return err;
}

static void mem_resolve(struct inv_store *head, struct inv_sale *sale_head,
                        const struct ps_uuid *id, enum inv_verdict verdict)
{
    struct mem_sale *sale = (struct mem_sale *)sale_head;
    pthread_mutex_t *stripe, *part;
    struct inv_order *order = lock_order(sale, id, &stripe, &part);
    (void)head;
    if (order == NULL)
        return;
    inv_ledger_resolve(sale->ledger, order, verdict);
    pthread_mutex_unlock(part);
    pthread_mutex_unlock(stripe);
}

static void mem_raise(struct inv_store *head, struct inv_sale *sale_head, const struct ps_uuid *id,
                      uint32_t sku, int64_t units)
{
    struct mem_sale *sale = (struct mem_sale *)sale_head;
    struct inv_place place = place_of_id((struct mem_store *)head, id);
    lock_place(sale, &place);
    inv_ledger_raise(sale->ledger, id, &place, sku, units);
    unlock_place(sale, &place);
}

static int mem_counts(struct inv_store *head, struct inv_sale *sale_head, struct inv_reply_to to)
{
    struct mem_sale *sale = (struct mem_sale *)sale_head;
    (void)head;
    lock_stripes(sale);
    inv_ledger_counts(sale->ledger, to.ret_counts);
    unlock_stripes(sale);
    return 0;
}

/* --- loading --- */

static void mem_load_free(struct inv_load *head)
{
    struct mem_load *load = (struct mem_load *)head;
    inv_ledger_free(load->ledger);
    free(load->counters);
    free(load);
}

static int mem_load_new(struct inv_store *head, const char *name, int64_t epoch,
                        const char *const *skus, size_t sku_count, struct inv_load **ret_load)
{
    struct mem_load *load = calloc(1, sizeof *load);
    (void)skus; /* the index is all that is needed here */
    if (load == NULL)
        return PS_E_NOMEM;
    load->head.backend = head->backend;
    load->store = (struct mem_store *)head;
    load->sku_count = sku_count;
    memcpy(load->name, name, strlen(name));
    if (inv_sku_counters_new(sku_count, &load->counters) < 0 ||
        inv_ledger_new(epoch, load->counters, sku_count, &load->ledger) < 0) {
        mem_load_free(&load->head);
        return PS_E_NOMEM;
    }
    *ret_load = &load->head;
    return 0;
}

static int mem_load_available(struct inv_load *head, uint32_t sku, int64_t available)
{
    return inv_ledger_available(((struct mem_load *)head)->ledger, sku, available);
}

static int mem_load_order(struct inv_load *head, const struct inv_load_order *order)
{
    struct mem_load *load = (struct mem_load *)head;
    struct inv_place place = place_of(load->store, &order->id, order->user, order->key);
    return inv_ledger_load(load->ledger, order, &place);
}

static void mem_load_expect(struct inv_load *head, size_t orders)
{
    inv_ledger_expect_orders(((struct mem_load *)head)->ledger, orders);
}

static int mem_load_raised(struct inv_load *head, const struct ps_uuid *id)
{
    struct mem_load *load = (struct mem_load *)head;
    struct inv_place place = place_of_id(load->store, id);
    return inv_ledger_raised(load->ledger, id, &place);
}

/* A sale that is new to the store takes over the load's counters. The caller holds the store's
 * lock.
 */
static struct mem_sale *add_sale(struct mem_load *load)
{
    struct mem_store *store = load->store;
    struct mem_sale *sale = aligned_alloc(PS_CACHE_LINE, sizeof *sale);
    if (sale == NULL)
        return NULL;
    memset(sale, 0, sizeof *sale);
    sale->head.backend = store->head.backend;
    sale->store = store;
    memcpy(sale->name, load->name, sizeof sale->name);
    sale->sku_count = load->sku_count;
    sale->counters = load->counters;
    load->counters = NULL;
    sale->ledger = load->ledger;
    load->ledger = NULL;
    atomic_init(&sale->epoch, inv_ledger_epoch(sale->ledger));
    for (size_t i = 0; i < INV_STRIPES; i++)
        pthread_mutex_init(&sale->stripes[i].mutex, NULL);
    for (size_t i = 0; i < INV_PARTS; i++)
        pthread_mutex_init(&sale->parts[i].mutex, NULL);
    SLIST_INSERT_HEAD(&store->sales, sale, next);
    return sale;
}

/* Puts the load's ledger in force, and leaves the old ones to the load. */
static int replace_ledger(struct mem_sale *sale, struct mem_load *load)
{
    int err = PS_E_CONFLICT;
    lock_all(sale);
    if (load->sku_count == sale->sku_count &&
        inv_ledger_epoch(load->ledger) > inv_ledger_epoch(sale->ledger)) {
        struct inv_ledger *old = sale->ledger;
        inv_ledger_move(load->ledger, sale->counters);
        sale->ledger = load->ledger;
        load->ledger = old;
        atomic_store_explicit(&sale->epoch, inv_ledger_epoch(sale->ledger), memory_order_relaxed);
        err = 0;
    }
    unlock_all(sale);
    return err;
}

static int mem_load_install(struct inv_load *head, struct inv_sale **ret_sale)
{
    struct mem_load *load = (struct mem_load *)head;
    int err;
    inv_ledger_expect(load->ledger);
    pthread_mutex_lock(&load->store->lock);
    struct mem_sale *sale = find_sale(load->store, load->name);
    if (sale != NULL) {
        err = replace_ledger(sale, load);
    } else {
        sale = add_sale(load);
        err = sale != NULL ? 0 : PS_E_NOMEM;
    }
    pthread_mutex_unlock(&load->store->lock);
    mem_load_free(head); /* outside the locks: the old ledger may be large */
    if (err == 0)
        *ret_sale = &sale->head;
    return err;
}

/* --- the store --- */

static void mem_store_free(struct inv_store *head)
{
    struct mem_store *store = (struct mem_store *)head;
    while (!SLIST_EMPTY(&store->sales)) {
        struct mem_sale *sale = SLIST_FIRST(&store->sales);
        SLIST_REMOVE_HEAD(&store->sales, next);
        for (size_t i = 0; i < INV_STRIPES; i++)
            pthread_mutex_destroy(&sale->stripes[i].mutex);
        for (size_t i = 0; i < INV_PARTS; i++)
            pthread_mutex_destroy(&sale->parts[i].mutex);
        inv_ledger_free(sale->ledger);
        free(sale->counters);
        free(sale);
    }
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct inv_backend mem_backend = {
    .sale_epoch = mem_sale_epoch,
    .sale_sku_count = mem_sale_sku_count,
    .sale_left = mem_sale_left,
    .sale_sku_sold_out = mem_sale_sku_sold_out,
    .reserve = mem_reserve,
    .judge = mem_judge,
    .lower = mem_lower,
    .find = mem_find,
    .resolve = mem_resolve,
    .raise = mem_raise,
    .counts = mem_counts,
    .load_new = mem_load_new,
    .load_available = mem_load_available,
    .load_order = mem_load_order,
    .load_expect = mem_load_expect,
    .load_raised = mem_load_raised,
    .load_install = mem_load_install,
    .load_free = mem_load_free,
    .store_free = mem_store_free,
};

int inv_store_memory_new(const struct ps_clock *clock, struct inv_store **ret_store)
{
    struct mem_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return PS_E_NOMEM;
    store->head.backend = &mem_backend;
    store->clock = clock;
    ps_hash_key_random(&store->hash_key);
    pthread_mutex_init(&store->lock, NULL);
    *ret_store = &store->head;
    return 0;
}
