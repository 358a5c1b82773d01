/* The fold of the order log. See fold.h for the table that it carries out.
 *
 * Orders, sales, SKUs and adjustments lie in one arena; three indexes lead to the orders: by id, by
 * buyer (sale, user) and by idempotency key (sale, user, key). The buyer's index holds the buyer's
 * newest order, each order points to the one before. The key's index holds only orders that were
 * accepted, so a void one has no key from the start, and no order ever loses one. An adjustment is
 * decided by its first record and never changes. A record is applied in two steps: first whatever
 * can fail (names, memory, sums), then the change itself, which cannot. Readers see an order only
 * when it is complete; totals of several SKUs or of held and confirmed are one cut only for the
 * writer itself.
 */
#include "queue/fold_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- Keys of the indexes --- */

/* `a` is preceded by its length, so that no two pairs look alike. */
static uint64_t hash_in_sale(const struct ps_hash_key *key, const struct oq_sale *sale,
                             struct ps_str a, struct ps_str b)
{
    char text[sizeof sale + 1 + PS_USER_MAX + PS_KEY_MAX];
    size_t a_len = a.len < PS_USER_MAX ? a.len : PS_USER_MAX;
    size_t b_len = b.len < PS_KEY_MAX ? b.len : PS_KEY_MAX;
    memcpy(text, &sale, sizeof sale);
    text[sizeof sale] = (char)a_len;
    if (a_len > 0)
        memcpy(text + sizeof sale + 1, a.at, a_len);
    if (b_len > 0)
        memcpy(text + sizeof sale + 1 + a_len, b.at, b_len);
    return ps_hash64(key, text, sizeof sale + 1 + a_len + b_len);
}

static uint64_t sku_hash(const struct ps_hash_key *key, const void *item)
{
    const struct oq_sku *sku = item;
    return hash_in_sale(key, sku->sale, sku->name, (struct ps_str){NULL, 0});
}

static bool sku_same(const void *item, const void *probe)
{
    const struct oq_sku *a = item, *b = probe;
    return a->sale == b->sale && ps_str_same(a->name, b->name);
}

static uint64_t buyer_hash(const struct ps_hash_key *key, const void *item)
{
    const struct oq_order *order = item;
    return hash_in_sale(key, order->sale, order->user, (struct ps_str){NULL, 0});
}

static bool buyer_same(const void *item, const void *probe)
{
    const struct oq_order *a = item, *b = probe;
    return a->sale == b->sale && ps_str_same(a->user, b->user);
}

static uint64_t key_hash(const struct ps_hash_key *key, const void *item)
{
    const struct oq_order *order = item;
    return hash_in_sale(key, order->sale, order->user, order->key);
}

static bool key_same(const void *item, const void *probe)
{
    const struct oq_order *a = item, *b = probe;
    return a->sale == b->sale && ps_str_same(a->key, b->key) && ps_str_same(a->user, b->user);
}

/* --- Making and freeing --- */

int oq_fold_new(struct oq_fold **ret_fold)
{
    struct oq_fold *fold = calloc(1, sizeof *fold);
    if (fold == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < OQ_PARTITION_MAX; i++)
        atomic_init(&fold->seq[i], -1);
    if (oq_index_init(&fold->sales_by_name, oq_hash_by_name, oq_same_name) != 0 ||
        oq_index_init(&fold->skus_by_name, sku_hash, sku_same) != 0 ||
        oq_index_init(&fold->adjustments, oq_hash_by_id, oq_same_id) != 0 ||
        oq_index_init(&fold->by_id, oq_hash_by_id, oq_same_id) != 0 ||
        oq_index_init(&fold->by_buyer, buyer_hash, buyer_same) != 0 ||
        oq_index_init(&fold->by_key, key_hash, key_same) != 0) {
        oq_fold_free(fold);
        return PS_E_NOMEM;
    }
    *ret_fold = fold;
    return 0;
}

void oq_fold_free(struct oq_fold *fold)
{
    if (fold == NULL)
        return;
    struct oq_sale *sale;
    for (size_t i = 0; (sale = oq_list_at(&fold->sales, i)) != NULL; i++) {
        oq_list_done(&sale->skus);
        oq_list_done(&sale->orders);
        oq_list_done(&sale->marks);
        oq_list_done(&sale->adjusted);
    }
    oq_list_done(&fold->sales);
    oq_index_done(&fold->sales_by_name);
    oq_index_done(&fold->skus_by_name);
    oq_index_done(&fold->adjustments);
    oq_index_done(&fold->by_id);
    oq_index_done(&fold->by_buyer);
    oq_index_done(&fold->by_key);
    oq_arena_done(&fold->arena);
    free(fold);
}

/* --- Names --- */

/* Copies `text` to `memory` and ends it with NUL. */
static struct ps_str copy_text(char *memory, struct ps_str text)
{
    memcpy(memory, text.at, text.len);
    memory[text.len] = '\0';
    return (struct ps_str){memory, text.len};
}

static int sale_of(struct oq_fold *fold, const struct oq_event *event, struct oq_sale **ret_sale)
{
    struct oq_sale *sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    if (sale == NULL) {
        if (oq_index_reserve(&fold->sales_by_name) != 0 || oq_list_reserve(&fold->sales) != 0)
            return PS_E_NOMEM;
        sale = oq_arena_take(&fold->arena, sizeof *sale + event->sale.len + 1);
        if (sale == NULL)
            return PS_E_NOMEM;
        sale->fold = fold;
        sale->name = copy_text((char *)(sale + 1), event->sale);
        sale->rehearsal = event->rehearsal;
        oq_index_put(&fold->sales_by_name, sale);
        oq_list_append(&fold->sales, sale);
    }
    *ret_sale = sale;
    return 0;
}

/* The sale and SKU that an accepted, a release or an adjustment is about; made when first named. */
static int subject_of(struct oq_fold *fold, const struct oq_event *event, struct oq_sku **ret_sku)
{
    struct oq_sku *sku = fold->subject;
    if (sku != NULL && ps_str_same(sku->name, event->sku) &&
        ps_str_same(sku->sale->name, event->sale)) {
        *ret_sku = sku;
        return 0;
    }
    struct oq_sale *sale;
    int err = sale_of(fold, event, &sale);
    if (err != 0)
        return err;
    sku = oq_fold_sku(sale, event->sku);
    if (sku == NULL) {
        if (oq_index_reserve(&fold->skus_by_name) != 0 || oq_list_reserve(&sale->skus) != 0)
            return PS_E_NOMEM;
        sku = oq_arena_take(&fold->arena, sizeof *sku + event->sku.len + 1);
        if (sku == NULL)
            return PS_E_NOMEM;
        sku->sale = sale;
        sku->name = copy_text((char *)(sku + 1), event->sku);
        sku->number = (uint32_t)oq_list_count(&sale->skus);
        oq_index_put(&fold->skus_by_name, sku);
        oq_list_append(&sale->skus, sku);
    }
    *ret_sku = fold->subject = sku;
    return 0;
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
    atomic_store_explicit(&order->decided, (uint32_t)state | (uint32_t)reason << 8,
                          memory_order_release);
}

/* The mark that is being made, with room for this partition; it begins as the one before. */
static int make_mark(struct oq_fold *fold, struct oq_sale *sale, uint32_t partition)
{
    size_t count = oq_list_count(&sale->marks);
    const struct oq_place_mark *before = sale->mark;
    if (before == NULL && count > 0)
        before = oq_list_at(&sale->marks, count - 1);
    uint32_t partitions = (partition / OQ_PARTITIONS_AT_ONCE + 1) * OQ_PARTITIONS_AT_ONCE;
    if (before != NULL && before->partitions > partitions)
        partitions = before->partitions;
    struct oq_place_mark *mark =
        oq_arena_take(&fold->arena, sizeof *mark + partitions * sizeof *mark->last);
    if (mark == NULL || oq_list_reserve(&sale->marks) != 0)
        return PS_E_NOMEM;
    mark->partitions = partitions;
    if (before != NULL)
        memcpy(mark->last, before->last, before->partitions * sizeof *mark->last);
    sale->mark = mark;
    return 0;
}

static void enter_order(struct oq_sale *sale, struct oq_order *order)
{
    sale->mark->last[oq_place_partition(order->place)] = oq_place_seq(order->place);
    oq_list_append(&sale->orders, order);
    if (oq_list_count(&sale->orders) % OQ_ORDERS_A_MARK != 0)
        return;
    oq_list_append(&sale->marks, sale->mark);
    sale->mark = NULL;
}

/* Makes sure that an order of this sale and partition can be entered in every book. */
static int reserve_places(struct oq_fold *fold, struct oq_sale *sale, uint32_t partition)
{
    if (oq_index_reserve(&fold->by_id) != 0 || oq_index_reserve(&fold->by_buyer) != 0 ||
        oq_index_reserve(&fold->by_key) != 0 || oq_list_reserve(&sale->orders) != 0)
        return PS_E_NOMEM;
    if (sale->mark != NULL && partition < sale->mark->partitions)
        return 0;
    return make_mark(fold, sale, partition);
}

/* The order of an accepted record, in no book yet; `older` is its user's newest. A user's later
 * orders share the text of the buyer's name. */
static struct oq_order *make_order(struct oq_fold *fold, int64_t place,
                                   const struct oq_event *event, const struct oq_sku *sku,
                                   struct oq_order *older)
{
    size_t user_size = older != NULL ? 0 : event->user.len;
    struct oq_order *order =
        oq_arena_take(&fold->arena, sizeof *order + user_size + event->key.len);
    if (order == NULL)
        return NULL;
    char *text = (char *)(order + 1);
    order->id = event->order_id;
    order->sale = sku->sale;
    order->sku = sku->number;
    order->rehearsal = event->rehearsal;
    order->known = true;
    order->quantity = event->quantity;
    order->user = older != NULL ? older->user : (struct ps_str){text, event->user.len};
    memcpy(text, event->user.at, user_size);
    order->key = (struct ps_str){text + user_size, event->key.len};
    if (event->key.len > 0)
        memcpy(text + user_size, event->key.at, event->key.len);
    order->reserved_at_ms = event->reserved_at_ms;
    order->pay_by_ms = event->pay_by_ms;
    order->epoch = event->epoch;
    order->cap = event->cap;
    order->sku_cap = event->sku_cap;
    order->place = place;
    order->older = older;
    return order;
}

static int apply_accepted(struct oq_fold *fold, uint32_t partition, int64_t place,
                          const struct oq_event *event, struct oq_change *change)
{
    struct oq_sku *sku;
    /* Mostly the record is of the sale of the one before: both places are fetched at once. */
    struct oq_order probe = {.id = event->order_id,
                             .user = event->user,
                             .sale = fold->subject != NULL ? fold->subject->sale : NULL};
    uint32_t id = oq_index_hash(&fold->by_id, &probe);
    uint32_t buyer = oq_index_hash(&fold->by_buyer, &probe);
    oq_index_expect(&fold->by_id, id);
    oq_index_expect(&fold->by_buyer, buyer);
    struct oq_order *old = oq_index_find_hashed(&fold->by_id, id, &probe);
    if (old != NULL && old->known) {
        change->order = old;
        return 0;
    }
    int err = subject_of(fold, event, &sku);
    if (err != 0)
        return err;
    bool wins = old == NULL && event->epoch == oq_sale_epoch(sku->sale, partition);
    if (wins && oq_total(&sku->held) + oq_total(&sku->confirmed) > PS_INT_MAX - event->quantity)
        return PS_E_INVALID;
    err = reserve_places(fold, sku->sale, partition);
    if (err != 0)
        return err;
    if (probe.sale != sku->sale) {
        probe.sale = sku->sale;
        buyer = oq_index_hash(&fold->by_buyer, &probe);
    }
    struct oq_order *older = oq_index_find_hashed(&fold->by_buyer, buyer, &probe);
    struct oq_order *order = make_order(fold, place, event, sku, older);
    if (order == NULL)
        return PS_E_NOMEM;

    order->number = old != NULL && old->sale == sku->sale ? old->number : sku->sale->numbers++;
    set_state(order, wins ? OQ_STATE_ACCEPTED : OQ_STATE_VOID, wins ? OQ_REASON_NONE : OQ_REJECTED);
    oq_index_put_hashed(&fold->by_id, id, order);
    oq_index_put_hashed(&fold->by_buyer, buyer, order);
    enter_order(sku->sale, order);
    if (wins) {
        add_units(&sku->held, order->quantity);
        if (order->key.len > 0 && oq_index_find(&fold->by_key, order) == NULL)
            oq_index_put(&fold->by_key, order);
    }
    change->order = order;
    if (old == NULL)
        change->effect = wins ? OQ_EFFECT_ACCEPTED : OQ_EFFECT_VOID;
    return 0;
}

static void apply_confirmed(struct oq_fold *fold, const struct oq_event *event,
                            struct oq_change *change)
{
    struct oq_order *order = oq_fold_order(fold, &event->order_id);
    change->order = order;
    change->anomaly = order == NULL;
    if (order == NULL || oq_order_state(order) != OQ_STATE_ACCEPTED)
        return;
    struct oq_sku *sku = oq_list_at(&order->sale->skus, order->sku);
    add_units(&sku->held, -order->quantity);
    add_units(&sku->confirmed, order->quantity);
    set_state(order, OQ_STATE_CONFIRMED, OQ_REASON_NONE);
    change->effect = OQ_EFFECT_CONFIRMED;
}

/* A release of an unknown order: from now on it is void. */
static int apply_released_first(struct oq_fold *fold, int64_t place, const struct oq_event *event,
                                struct oq_change *change)
{
    struct oq_sku *sku;
    int err = subject_of(fold, event, &sku);
    if (err != 0)
        return err;
    struct oq_order *order = NULL;
    if (oq_index_reserve(&fold->by_id) == 0)
        order = oq_arena_take(&fold->arena, sizeof *order);
    if (order == NULL)
        return PS_E_NOMEM;
    order->id = event->order_id;
    order->sale = sku->sale;
    order->sku = sku->number;
    order->rehearsal = event->rehearsal;
    order->user = order->key = PS_STR("");
    order->place = place;
    order->number = sku->sale->numbers++;
    set_state(order, OQ_STATE_VOID, OQ_REJECTED);
    oq_index_put(&fold->by_id, order);
    change->order = order;
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
    struct oq_sku *sku = oq_list_at(&order->sale->skus, order->sku);
    int64_t room = PS_INT_MAX - oq_total(&sku->released);
    add_units(&sku->held, -order->quantity);
    add_units(&sku->released, order->quantity < room ? order->quantity : room);
    set_state(order, OQ_STATE_RELEASED, event->reason);
    change->effect = OQ_EFFECT_RELEASED;
    return 0;
}

/* stock.adjusted, and released{rejected} of an adjust key. */
static int apply_adjusted(struct oq_fold *fold, uint32_t partition, const struct oq_event *event,
                          struct oq_change *change)
{
    struct oq_sku *sku;
    struct oq_adjustment probe;
    int err = subject_of(fold, event, &sku);
    if (err != 0)
        return err;
    bool rejected = event->type == OQ_RELEASED;
    bool in_force =
        !rejected && (event->delta >= 0 || event->epoch == oq_sale_epoch(sku->sale, partition));
    oq_adjust_ref(event->adjust_key, &probe.ref);
    change->ref = probe.ref;
    change->sale = sku->sale;
    change->sku = sku->number;
    change->delta = rejected ? -event->quantity : event->delta;
    if (oq_index_find(&fold->adjustments, &probe) != NULL)
        return 0;
    int64_t sum = oq_total(&sku->adjustments) + (in_force ? event->delta : 0);
    if (sum > PS_INT_MAX || sum < -PS_INT_MAX)
        return PS_E_INVALID;
    if (oq_index_reserve(&fold->adjustments) != 0 || oq_list_reserve(&sku->sale->adjusted) != 0)
        return PS_E_NOMEM;
    struct oq_adjustment *adjustment = oq_arena_take(&fold->arena, sizeof *adjustment);
    if (adjustment == NULL)
        return PS_E_NOMEM;
    *adjustment = (struct oq_adjustment){.ref = probe.ref,
                                         .sale = sku->sale,
                                         .sku = sku->number,
                                         .in_force = in_force,
                                         .delta = in_force ? event->delta : 0};
    oq_index_put(&fold->adjustments, adjustment);
    change->effect = OQ_EFFECT_LOWER_VOID;
    if (in_force) {
        add_units(&sku->adjustments, event->delta);
        oq_list_append(&sku->sale->adjusted, adjustment);
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
    _Atomic(struct oq_epoch_block *) *place = &sale->epochs[partition / OQ_EPOCHS_A_BLOCK];
    struct oq_epoch_block *block = atomic_load_explicit(place, memory_order_relaxed);
    if (block == NULL) {
        block = oq_arena_take(&fold->arena, sizeof *block);
        if (block == NULL)
            return PS_E_NOMEM;
        atomic_store_explicit(place, block, memory_order_release);
    }
    bool first = partition == 0 && oq_sale_partitions(sale) == 0;
    char *id = NULL;
    if (first && event->opening_id.len > 0 &&
        (id = oq_arena_take(&fold->arena, event->opening_id.len + 1)) == NULL)
        return PS_E_NOMEM;
    _Atomic(int64_t) *epoch = &block->epoch[partition % OQ_EPOCHS_A_BLOCK];
    if (event->epoch > oq_total(epoch)) {
        atomic_store_explicit(epoch, event->epoch, memory_order_release);
        change->effect = OQ_EFFECT_FENCED;
    }
    if (first) {
        if (id != NULL) {
            (void)copy_text(id, event->opening_id);
            atomic_store_explicit(&sale->opening_id, id, memory_order_release);
        }
        atomic_store_explicit(&sale->partitions, (uint32_t)event->partitions, memory_order_release);
    }
    change->sale = sale;
    change->epoch = oq_total(epoch);
    return 0;
}

static int apply_record(struct oq_fold *fold, uint32_t partition, int64_t place,
                        const struct oq_event *event, struct oq_change *change)
{
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
        change.sale = change.order->sale;
        change.sku = change.order->sku;
    } else if (change.sale == NULL) {
        change.sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    }
    atomic_store_explicit(&fold->seq[partition], seq, memory_order_release);
    *ret_change = change;
    return 0;
}
