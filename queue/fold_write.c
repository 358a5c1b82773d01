/* The fold of the order log. See fold.h for the table that it carries out.
 *
 * Sales and SKUs lie in one arena; what can be forgotten of a sale - orders, adjustments, and the
 * lists and indexes that lead to them - in the sale's own. One index leads to the orders of all
 * sales by id; in each sale one by buyer, to the buyer's newest order, which points to the one
 * before; and one by idempotency key. Most buyers have one order, so a buyer's first order is in no
 * index of keys: it is found by its buyer. Only orders that were accepted have a key, so a void one
 * has none from the start, and no order ever loses one. An adjustment is decided by its first
 * record and never changes.
 *
 * A record is applied in two steps: first whatever can fail (names, memory, sums), then the change
 * itself, which cannot. Readers see an order only when it is complete; totals of several SKUs or of
 * held and confirmed are one cut only for the writer itself.
 */
#include "queue/fold_internal.h"
#include "queue/checkpoint.h"

#include <string.h>

/* --- What a record is about --- */

static int sale_of(struct oq_fold *fold, const struct oq_event *event, struct oq_sale **ret_sale)
{
    struct oq_sale *sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    if (sale == NULL)
        return oq_fold_make_sale(fold, event->sale, event->rehearsal, ret_sale);
    *ret_sale = sale;
    return 0;
}

/* The sale and SKU of an accepted, a release or an adjustment; created when first named. *ret_sku =
 * NULL: the sale was forgotten, and the record changes nothing. */
static int subject_of(struct oq_fold *fold, const struct oq_event *event, struct oq_sku **ret_sku)
{
    struct oq_sku *sku = fold->subject;
    if (sku != NULL && ps_str_same(sku->name, event->sku) &&
        ps_str_same(sku->sale->name, event->sale)) {
        *ret_sku = !oq_sale_forgotten(sku->sale) ? sku : NULL;
        return 0;
    }
    struct oq_sale *sale;
    int err = sale_of(fold, event, &sale);
    if (err != 0)
        return err;
    if (oq_sale_forgotten(sale)) {
        *ret_sku = NULL;
        return 0;
    }
    sku = oq_fold_sku(sale, event->sku);
    if (sku == NULL)
        err = oq_fold_make_sku(sale, event->sku, &sku);
    if (err == 0)
        *ret_sku = fold->subject = sku;
    return err;
}

/* --- Applying --- */

/* Only the writer changes totals, so a load and a store are enough. */
static void add_units(_Atomic(int64_t) *total, int64_t delta)
{
    int64_t now = atomic_load_explicit(total, memory_order_relaxed);
    atomic_store_explicit(total, now + delta, memory_order_relaxed);
}

static void set_state(struct oq_order *order, enum oq_state state, enum oq_reason reason)
{
    struct oq_cut *cut = oq_order_sale(order)->fold->cut;
    if (PS_UNLIKELY(cut != NULL))
        oq_cut_note(cut, order);
    atomic_store_explicit(&order->decided, (uint8_t)((unsigned)state | (unsigned)reason << 4),
                          memory_order_release);
}

static struct oq_sku *sku_of(const struct oq_order *order)
{
    return oq_list_at(&oq_order_sale(order)->skus, oq_order_sku(order));
}

static void set_decided(struct oq_order *probe, enum oq_state state, enum oq_reason reason)
{
    atomic_init(&probe->decided, (uint8_t)((unsigned)state | (unsigned)reason << 4));
}

static int apply_accepted(struct oq_fold *fold, uint32_t partition, int64_t place,
                          const struct oq_event *event, struct oq_change *change)
{
    struct oq_sku *sku = fold->subject;
    union oq_order_probe room;
    struct oq_order *probe = &room.order;
    struct oq_order_hashes hashes = {.id = oq_index_hash(&fold->by_id, &event->order_id)};
    /* The record usually belongs to the sale of the record before: prefetch both places at once. */
    const struct oq_sale_orders *guess = sku != NULL ? oq_orders_of(sku->sale) : NULL;
    oq_index_expect(&fold->by_id, hashes.id);
    oq_order_probe(&room, event->user, event->key);
    if (guess != NULL) {
        hashes.buyer = oq_index_hash(&guess->by_buyer, probe);
        oq_index_expect(&guess->by_buyer, hashes.buyer);
    }
    struct oq_order *old = oq_index_find_hashed(&fold->by_id, hashes.id, &event->order_id);
    if (old != NULL && oq_order_known(old)) {
        change->order = old;
        return 0;
    }
    int err = subject_of(fold, event, &sku);
    if (err != 0 || sku == NULL)
        return err;
    bool wins = old == NULL && event->epoch == oq_sale_epoch(sku->sale, partition);
    if (wins && oq_total(&sku->held) + oq_total(&sku->confirmed) > PS_INT_MAX - event->quantity)
        return PS_E_INVALID;
    if (oq_orders_of(sku->sale) != guess)
        hashes.buyer = oq_index_hash(&oq_orders_of(sku->sale)->by_buyer, probe);
    const struct oq_terms like = {.quantity = event->quantity,
                                  .pay_ms = event->pay_by_ms - event->reserved_at_ms,
                                  .epoch = event->epoch,
                                  .cap = event->cap,
                                  .sku_cap = event->sku_cap,
                                  .sku = sku->number,
                                  .rehearsal = event->rehearsal};
    struct oq_terms *terms;
    err = oq_fold_make_terms(sku->sale, &like, &terms);
    if (err != 0)
        return err;
    probe->id = event->order_id;
    probe->reserved_at_ms = event->reserved_at_ms;
    probe->place = place;
    probe->terms = oq_ref(terms);
    set_decided(probe, wins ? OQ_STATE_ACCEPTED : OQ_STATE_VOID,
                wins ? OQ_REASON_NONE : OQ_REJECTED);
    if (old != NULL && oq_order_sale(old) == sku->sale)
        hashes.before = old;
    err = oq_fold_make_order(sku->sale, probe, &hashes, &change->order);
    if (err != 0)
        return err;
    if (wins)
        add_units(&sku->held, event->quantity);
    if (old == NULL)
        change->effect = wins ? OQ_EFFECT_ACCEPTED : OQ_EFFECT_VOID;
    return 0;
}

static bool is_of_forgotten(const struct oq_fold *fold, const struct oq_event *event)
{
    const struct oq_sale *sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    return sale != NULL && oq_sale_forgotten(sale);
}

static void apply_confirmed(struct oq_fold *fold, const struct oq_event *event,
                            struct oq_change *change)
{
    struct oq_order *order = oq_fold_order(fold, &event->order_id);
    change->order = order;
    change->anomaly = order == NULL && !is_of_forgotten(fold, event);
    if (order == NULL || oq_order_state(order) != OQ_STATE_ACCEPTED)
        return;
    struct oq_sku *sku = sku_of(order);
    int64_t quantity = oq_order_quantity(order);
    add_units(&sku->held, -quantity);
    add_units(&sku->confirmed, quantity);
    set_state(order, OQ_STATE_CONFIRMED, OQ_REASON_NONE);
    change->effect = OQ_EFFECT_CONFIRMED;
}

/* A release of an unknown order: from now on it is void. */
static int apply_released_first(struct oq_fold *fold, int64_t place, const struct oq_event *event,
                                struct oq_change *change)
{
    struct oq_sku *sku;
    struct oq_terms *terms;
    int err = subject_of(fold, event, &sku);
    if (err != 0 || sku == NULL)
        return err;
    const struct oq_terms like = {.sku = sku->number, .rehearsal = event->rehearsal};
    err = oq_fold_make_terms(sku->sale, &like, &terms);
    if (err != 0)
        return err;
    const struct oq_order_hashes hashes = {.id = oq_index_hash(&fold->by_id, &event->order_id)};
    struct oq_order probe = {.id = event->order_id, .place = place, .terms = oq_ref(terms)};
    set_decided(&probe, OQ_STATE_VOID, OQ_REJECTED);
    err = oq_fold_make_order(sku->sale, &probe, &hashes, &change->order);
    if (err != 0)
        return err;
    change->effect = OQ_EFFECT_VOID;
    change->anomaly = event->reason != OQ_REJECTED;
    return 0;
}

static int apply_released(struct oq_fold *fold, int64_t place, const struct oq_event *event,
                          struct oq_change *change)
{
    struct oq_order *order = oq_fold_order(fold, &event->order_id);
    if (order == NULL)
        return apply_released_first(fold, place, event, change);
    change->order = order;
    if (oq_order_state(order) != OQ_STATE_ACCEPTED || event->reason == OQ_REJECTED)
        return 0;
    struct oq_sku *sku = sku_of(order);
    int64_t quantity = oq_order_quantity(order), room = PS_INT_MAX - oq_total(&sku->released);
    add_units(&sku->held, -quantity);
    add_units(&sku->released, quantity < room ? quantity : room);
    set_state(order, OQ_STATE_RELEASED, event->reason);
    change->effect = OQ_EFFECT_RELEASED;
    return 0;
}

/* stock.adjusted, and released{rejected} of an adjust key. */
static int apply_adjusted(struct oq_fold *fold, uint32_t partition, const struct oq_event *event,
                          struct oq_change *change)
{
    struct oq_sku *sku;
    int err = subject_of(fold, event, &sku);
    if (err != 0 || sku == NULL)
        return err;
    bool rejected = event->type == OQ_RELEASED;
    bool in_force =
        !rejected && (event->delta >= 0 || event->epoch == oq_sale_epoch(sku->sale, partition));
    struct oq_adjustment made = {
        .sku = sku->number, .in_force = in_force, .delta = in_force ? event->delta : 0};
    oq_adjust_ref(event->adjust_key, &made.ref);
    change->ref = made.ref;
    change->sale = sku->sale;
    change->sku = sku->number;
    change->delta = rejected ? -event->quantity : event->delta;
    if (oq_sale_adjusted(sku->sale, &made.ref) >= 0)
        return 0;
    int64_t sum = oq_total(&sku->adjustments) + made.delta;
    if (sum > PS_INT_MAX || sum < -PS_INT_MAX)
        return PS_E_INVALID;
    err = oq_fold_make_adjustment(sku->sale, &made);
    if (err != 0)
        return err;
    change->effect = OQ_EFFECT_LOWER_VOID;
    if (in_force) {
        add_units(&sku->adjustments, event->delta);
        change->effect = event->delta >= 0 ? OQ_EFFECT_RAISED : OQ_EFFECT_LOWERED;
    }
    return 0;
}

static int apply_fenced(struct oq_fold *fold, uint32_t partition, const struct oq_event *event,
                        struct oq_change *change)
{
    struct oq_sale *sale;
    int err = sale_of(fold, event, &sale);
    if (err != 0)
        return err;
    struct oq_epoch_block *block = oq_fold_epochs(sale, partition);
    if (block == NULL)
        return PS_E_NOMEM;
    bool first = partition == 0 && oq_sale_partitions(sale) == 0;
    if (first && (err = oq_fold_set_opening(sale, event->opening_id)) != 0)
        return err;
    _Atomic(int64_t) *epoch = &block->epoch[partition % OQ_EPOCHS_A_BLOCK];
    if (event->epoch > oq_total(epoch)) {
        atomic_store_explicit(epoch, event->epoch, memory_order_release);
        change->effect = OQ_EFFECT_FENCED;
    }
    if (first)
        atomic_store_explicit(&sale->partitions, (uint32_t)event->partitions, memory_order_release);
    change->sale = sale;
    change->epoch = oq_sale_epoch(sale, partition);
    return 0;
}

static void set_units(_Atomic(int64_t) *total, int64_t units)
{
    atomic_store_explicit(total, units, memory_order_relaxed);
}

/* What remains of an archived sale: its SKUs and their numbers. */
static int keep_counts(struct oq_sale *sale, const struct oq_event *event)
{
    struct ps_str rest = event->counts;
    struct oq_count count;
    while (oq_counts_next(&rest, &count)) {
        struct oq_sku *sku = oq_fold_sku(sale, count.sku);
        int err = sku == NULL ? oq_fold_make_sku(sale, count.sku, &sku) : 0;
        if (err != 0)
            return err;
        set_units(&sku->adjustments, count.adjustments);
        set_units(&sku->held, count.held);
        set_units(&sku->confirmed, count.confirmed);
        set_units(&sku->released, count.released);
    }
    return 0;
}

static int apply_archived(struct oq_fold *fold, uint32_t partition, const struct oq_event *event,
                          struct oq_change *change)
{
    struct oq_sale *sale;
    int err = sale_of(fold, event, &sale);
    if (err != 0)
        return err;
    /* A log that has lost the sale's fences learns from the record how many partitions the sale
     * has. */
    uint32_t partitions = oq_sale_partitions(sale);
    if (partitions == 0)
        partitions = (uint32_t)event->partitions;
    struct oq_epoch_block *block = oq_fold_epochs(sale, partition);
    if (block == NULL)
        return PS_E_NOMEM;
    change->sale = sale;
    bool last = partition < partitions && sale->partitions_archived + 1 == partitions;
    if (last && (err = keep_counts(sale, event)) != 0)
        return err;
    block->archived[partition % OQ_EPOCHS_A_BLOCK] = true;
    fold->has_archived = true;
    sale->partitions_archived += partition < partitions;
    if (last) {
        atomic_store_explicit(&sale->archived, true, memory_order_release);
        change->effect = OQ_EFFECT_ARCHIVED;
    }
    return 0;
}

/* The record's sale, if it is archived in that partition; or NULL. */
static struct oq_sale *archived_sale(const struct oq_fold *fold, uint32_t partition,
                                     const struct oq_event *event)
{
    if (!fold->has_archived)
        return NULL;
    struct oq_sale *sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    if (sale == NULL)
        return NULL;
    const struct oq_epoch_block *block =
        atomic_load_explicit(&sale->epochs[partition / OQ_EPOCHS_A_BLOCK], memory_order_relaxed);
    return block != NULL && block->archived[partition % OQ_EPOCHS_A_BLOCK] ? sale : NULL;
}

static int apply_record(struct oq_fold *fold, uint32_t partition, int64_t place,
                        const struct oq_event *event, struct oq_change *change)
{
    change->sale = archived_sale(fold, partition, event);
    if (change->sale != NULL)
        return 0;
    switch (event->type) {
    case OQ_ACCEPTED:
        return apply_accepted(fold, partition, place, event, change);
    case OQ_CONFIRMED:
        apply_confirmed(fold, event, change);
        return 0;
    case OQ_RELEASED:
        return event->has_order_id ? apply_released(fold, place, event, change)
                                   : apply_adjusted(fold, partition, event, change);
    case OQ_ADJUSTED:
        return apply_adjusted(fold, partition, event, change);
    case OQ_FENCED:
        return apply_fenced(fold, partition, event, change);
    case OQ_ARCHIVED:
        return apply_archived(fold, partition, event, change);
    case OQ_HEAD:  /* it vouches for the audit log, and says nothing about orders */
    case OQ_LATER: /* it would be marked as critical */
        return 0;
    }
    return PS_E_INVALID;
}

int oq_fold_apply(struct oq_fold *fold, uint32_t partition, int64_t seq,
                  const struct oq_event *event, struct oq_change *ret_change)
{
    struct oq_change change = {0};
    if (partition >= OQ_PARTITION_MAX || seq <= oq_fold_seq(fold, partition))
        return PS_E_INVALID;
    int err = oq_event_check(event, NULL);
    if (err == 0)
        err = apply_record(fold, partition, oq_place(partition, seq), event, &change);
    if (err != 0)
        return err;
    if (change.order != NULL) {
        change.sale = oq_order_sale(change.order);
        change.sku = oq_order_sku(change.order);
    } else if (change.sale == NULL) {
        change.sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    }
    atomic_store_explicit(&fold->seq[partition], seq, memory_order_release);
    *ret_change = change;
    return 0;
}
