/* The memory counter's ledger of one sale under one epoch: which buyer has which units. Private to
 * the memory backend. It decides; store_memory.c locks. Which lock protects what:
 *
 * A *stripe* holds buyers, their orders and their keys; the hash of the name chooses it, so one
 * buyer is in one stripe. All fields of an order belong to its stripe.
 *
 * A *part* is a slice of the index by id, chosen by the hash of the id. A thread that adds or
 * removes an order holds its stripe and then its part; so under the part alone an order found there
 * exists, and its constant fields (its stripe, its buyer) may be read.
 *
 * A SKU's counter is atomic, and only holders of a stripe change it: a holder of all stripes sees
 * one moment. */
#ifndef INV_LEDGER_H
#define INV_LEDGER_H

#include "common/clock.h"
#include "inventory/store.h"

#include <stdatomic.h>

/* Together with one more below 64: ThreadSanitizer tracks that many locks of one thread. */
#define INV_STRIPES 32
#define INV_PARTS   16

struct inv_ledger;
struct inv_order;

struct inv_sku_counter {
    _Atomic int64_t available;
    _Atomic int64_t sum;      /* available + in doubt + held + confirmed */
    _Atomic int64_t in_doubt; /* of orders only, read without a lock; never too low */
} PS_ALIGNED;

/* A reservation adds to in_doubt before it takes from available. So a reader that sees the units
 * gone also sees them in doubt until the log has decided; a reader that no longer sees them in
 * doubt sees that decision. */
static inline bool inv_sku_counter_sold_out(const struct inv_sku_counter *counter)
{
    return atomic_load_explicit(&counter->available, memory_order_acquire) < 1 &&
           atomic_load_explicit(&counter->in_doubt, memory_order_acquire) < 1;
}

/* Hashes, computed before any lock is taken. An adjustment has no buyer and no key: its id also
 * chooses its stripe. */
struct inv_place {
    uint64_t user, key, id;
};

static inline unsigned inv_place_stripe(const struct inv_place *place)
{
    return (unsigned)(place->user >> 59);
}

static inline unsigned inv_place_part(const struct inv_place *place)
{
    return (unsigned)(place->id >> 60);
}

/* An array of counters on cache lines of their own, all 0; free() frees it. */
int inv_sku_counters_new(size_t count, struct inv_sku_counter **ret_counters) PS_MUST_CHECK;

/* `counters` remain the caller's. */
int inv_ledger_new(int64_t epoch, struct inv_sku_counter *counters, size_t sku_count,
                   struct inv_ledger **ret_ledger) PS_MUST_CHECK;
void inv_ledger_free(struct inv_ledger *ledger); /* NULL is allowed */
int64_t inv_ledger_epoch(const struct inv_ledger *ledger);

/* --- The caller holds the stripe and the part of `place`. --- */

int inv_ledger_reserve(struct inv_ledger *ledger, const struct inv_reservation *reservation,
                       const struct inv_place *place, const struct ps_clock *clock,
                       struct inv_answer *ret_answer) PS_MUST_CHECK;
/* What inv_ledger_reserve would answer now; a RESERVED one has only `left`. */
int inv_ledger_judge(const struct inv_ledger *ledger, const struct inv_reservation *reservation,
                     const struct inv_place *place, struct inv_answer *ret_answer) PS_MUST_CHECK;
int inv_ledger_lower(struct inv_ledger *ledger, const struct inv_lowering *lowering,
                     const struct inv_place *place, struct inv_answer *ret_answer) PS_MUST_CHECK;
/* If out of memory, adds nothing: then less is sold, never more. */
void inv_ledger_raise(struct inv_ledger *ledger, const struct ps_uuid *id,
                      const struct inv_place *place, uint32_t sku, int64_t units);
int inv_ledger_load(struct inv_ledger *ledger, const struct inv_load_order *order,
                    const struct inv_place *place) PS_MUST_CHECK;
int inv_ledger_raised(struct inv_ledger *ledger, const struct ps_uuid *id,
                      const struct inv_place *place) PS_MUST_CHECK;

/* --- The caller holds the part of the id. --- */

/* NULL if it is not known. */
struct inv_order *inv_ledger_order(const struct inv_ledger *ledger, const struct ps_uuid *id,
                                   uint64_t id_hash);
unsigned inv_order_stripe(const struct inv_order *order);

/* --- The caller holds the part and the stripe of `order`. --- */

/* May end the order's life. */
void inv_ledger_resolve(struct inv_ledger *ledger, struct inv_order *order,
                        enum inv_verdict verdict);
/* PS_E_NOT_FOUND: it is an adjustment. */
int inv_order_tell(const struct inv_order *order, struct inv_entry *ret_entry) PS_MUST_CHECK;

/* --- The caller holds all stripes. --- */

void inv_ledger_counts(const struct inv_ledger *ledger, struct inv_count *ret_counts);

/* --- No other thread knows the ledger. --- */

/* Sets what is available of a SKU. PS_E_INVALID: its sum would pass PS_INT_MAX. */
int inv_ledger_available(struct inv_ledger *ledger, uint32_t sku, int64_t available) PS_MUST_CHECK;
/* Allocates memory for this many more orders, if there is some. */
void inv_ledger_expect_orders(struct inv_ledger *ledger, size_t orders);
/* Allocates memory for selling everything that is available, as far as that is bounded and there is
 * some. */
void inv_ledger_expect(struct inv_ledger *ledger);
/* Copies the numbers to these counters, which count from now on. */
void inv_ledger_move(struct inv_ledger *ledger, struct inv_sku_counter *counters);

#endif
