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

#include <stdlib.h>
#include <string.h>

/* --- Keys of the indexes --- */

static uint64_t sku_hash(const struct ps_hash_key *key, const void *item)
{
    const struct oq_sku *sku = item;
    char text[sizeof sku->sale + PS_NAME_MAX];
    size_t len = sku->name.len < PS_NAME_MAX ? sku->name.len : PS_NAME_MAX;
    memcpy(text, &sku->sale, sizeof sku->sale);
    memcpy(text + sizeof sku->sale, sku->name.at, len);
    return ps_hash64(key, text, sizeof sku->sale + len);
}

static bool sku_same(const void *item, const void *probe)
{
    const struct oq_sku *a = item, *b = probe;
    return a->sale == b->sale && ps_str_same(a->name, b->name);
}

#define TERMS_KEY offsetof(struct oq_terms, number)

static uint64_t terms_hash(const struct ps_hash_key *key, const void *item)
{
    return ps_hash64(key, item, TERMS_KEY);
}

static bool terms_same(const void *item, const void *probe)
{
    return memcmp(item, probe, TERMS_KEY) == 0;
}

/* The user, and the key if there is one. Forms and length stand before them, so that no two pairs
 * look alike. */
static uint64_t hash_texts(const struct ps_hash_key *key, const struct oq_order *order,
                           bool with_key)
{
    const struct oq_order *first = oq_order_first(order);
    char text[2 + PS_USER_MAX + PS_KEY_MAX];
    size_t len = 2 + first->user_size;
    text[0] =
        (char)((first->flags & OQ_ORDER_USER_ID) | (with_key ? order->flags & OQ_ORDER_KEY_ID : 0));
    text[1] = (char)first->user_size;
    memcpy(text + 2, first->text, first->user_size);
    if (with_key) {
        memcpy(text + len, oq_order_key_at(order), order->key_size);
        len += order->key_size;
    }
    return ps_hash64(key, text, len);
}

static uint64_t buyer_hash(const struct ps_hash_key *key, const void *item)
{
    return hash_texts(key, item, false);
}

static bool buyer_same(const void *item, const void *probe)
{
    const struct oq_order *a = oq_order_first(item), *b = oq_order_first(probe);
    return a->user_size == b->user_size && ((a->flags ^ b->flags) & OQ_ORDER_USER_ID) == 0 &&
           memcmp(a->text, b->text, a->user_size) == 0;
}

static uint64_t key_hash(const struct ps_hash_key *key, const void *item)
{
    return hash_texts(key, item, true);
}

static bool key_same(const void *item, const void *probe)
{
    return oq_order_same_key(item, probe) && buyer_same(item, probe);
}

/* --- Making and freeing --- */

int oq_fold_new(struct oq_fold **ret_fold)
{
    struct oq_fold *fold = calloc(1, sizeof *fold);
    if (fold == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < OQ_PARTITION_MAX; i++)
        atomic_init(&fold->seq[i], -1);
    if (oq_space_new(&fold->space) != 0 ||
        oq_index_init(&fold->sales_by_name, oq_hash_by_name, oq_same_name) != 0 ||
        oq_index_init(&fold->skus_by_name, sku_hash, sku_same) != 0 ||
        oq_index_init(&fold->by_id, oq_hash_by_id, oq_same_id) != 0) {
        oq_fold_free(fold);
        return PS_E_NOMEM;
    }
    fold->arena.space = fold->space;
    *ret_fold = fold;
    return 0;
}

static void done_with_orders(struct oq_sale_orders *orders)
{
    oq_list_done(&orders->orders);
    oq_list_done(&orders->unknown);
    oq_list_done(&orders->marks);
    oq_list_done(&orders->adjusted);
    oq_list_done(&orders->not_adjusted);
    oq_list_done(&orders->terms);
    oq_index_done(&orders->adjustments);
    oq_index_done(&orders->by_terms);
    oq_index_done(&orders->by_buyer);
    oq_index_done(&orders->by_key);
}

void oq_fold_free(struct oq_fold *fold)
{
    if (fold == NULL)
        return;
    struct oq_sale *sale;
    for (size_t i = 0; (sale = oq_list_at(&fold->sales, i)) != NULL; i++) {
        oq_list_done(&sale->skus);
        if (oq_orders_of(sale) != NULL)
            done_with_orders(oq_orders_of(sale));
        oq_arena_done(&sale->arena);
    }
    oq_list_done(&fold->sales);
    oq_index_done(&fold->sales_by_name);
    oq_index_done(&fold->skus_by_name);
    oq_index_done(&fold->by_id);
    oq_arena_done(&fold->arena);
    oq_space_free(fold->space);
    free(fold);
}

/* --- Names, and what orders share --- */

/* Copies `text` to `memory` and ends it with NUL. */
static struct ps_str copy_text(char *memory, struct ps_str text)
{
    memcpy(memory, text.at, text.len);
    memory[text.len] = '\0';
    return (struct ps_str){memory, text.len};
}

/* NULL: out of memory. */
static struct oq_sale_orders *make_orders(struct oq_arena *arena)
{
    struct oq_sale_orders *orders = oq_arena_take(arena, sizeof *orders);
    if (orders == NULL)
        return NULL;
    if (oq_index_init(&orders->adjustments, oq_hash_by_id, oq_same_id) != 0 ||
        oq_index_init(&orders->by_terms, terms_hash, terms_same) != 0 ||
        oq_index_init(&orders->by_buyer, buyer_hash, buyer_same) != 0 ||
        oq_index_init(&orders->by_key, key_hash, key_same) != 0) {
        done_with_orders(orders);
        return NULL;
    }
    return orders;
}

int oq_fold_make_sale(struct oq_fold *fold, struct ps_str name, bool rehearsal,
                      struct oq_sale **ret_sale)
{
    if (oq_index_reserve(&fold->sales_by_name) != 0 || oq_list_reserve(&fold->sales) != 0)
        return PS_E_NOMEM;
    struct oq_sale *sale = oq_arena_take(&fold->arena, sizeof *sale + name.len + 1);
    if (sale == NULL)
        return PS_E_NOMEM;
    sale->arena = (struct oq_arena){.space = fold->space, .owner = sale};
    struct oq_sale_orders *orders = make_orders(&sale->arena);
    if (orders == NULL) {
        oq_arena_done(&sale->arena);
        return PS_E_NOMEM;
    }
    sale->fold = fold;
    sale->name = copy_text((char *)(sale + 1), name);
    sale->rehearsal = rehearsal;
    atomic_init(&sale->orders, orders);
    oq_index_put(&fold->sales_by_name, sale);
    oq_list_append(&fold->sales, sale);
    *ret_sale = sale;
    return 0;
}

int oq_fold_make_sku(struct oq_sale *sale, struct ps_str name, struct oq_sku **ret_sku)
{
    struct oq_fold *fold = sale->fold;
    if (oq_index_reserve(&fold->skus_by_name) != 0 || oq_list_reserve(&sale->skus) != 0)
        return PS_E_NOMEM;
    struct oq_sku *sku = oq_arena_take(&fold->arena, sizeof *sku + name.len + 1);
    if (sku == NULL)
        return PS_E_NOMEM;
    sku->sale = sale;
    sku->name = copy_text((char *)(sku + 1), name);
    sku->number = (uint32_t)oq_list_count(&sale->skus);
    oq_index_put(&fold->skus_by_name, sku);
    oq_list_append(&sale->skus, sku);
    *ret_sku = sku;
    return 0;
}

int oq_fold_make_terms(struct oq_sale *sale, const struct oq_terms *like,
                       struct oq_terms **ret_terms)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    struct oq_terms *terms = orders->last_terms;
    if (terms == NULL || !terms_same(terms, like))
        terms = oq_index_find(&orders->by_terms, like);
    if (terms == NULL) {
        if (oq_index_reserve(&orders->by_terms) != 0 || oq_list_reserve(&orders->terms) != 0)
            return PS_E_NOMEM;
        terms = oq_arena_take(&sale->arena, sizeof *terms);
        if (terms == NULL)
            return PS_E_NOMEM;
        *terms = *like;
        terms->number = (uint32_t)oq_list_count(&orders->terms);
        oq_index_put(&orders->by_terms, terms);
        oq_list_append(&orders->terms, terms);
    }
    *ret_terms = orders->last_terms = terms;
    return 0;
}

static int sale_of(struct oq_fold *fold, const struct oq_event *event, struct oq_sale **ret_sale)
{
    struct oq_sale *sale = oq_fold_sale(fold, event->sale.at, event->sale.len);
    if (sale == NULL)
        return oq_fold_make_sale(fold, event->sale, event->rehearsal, ret_sale);
    *ret_sale = sale;
    return 0;
}

/* The sale and SKU that an accepted, a release or an adjustment is about; made when first named.
 * *ret_sku = NULL: the sale was forgotten, and the record changes nothing. */
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

/* The mark that is being made, with room for this partition; it begins as the one before. */
static int make_mark(struct oq_sale *sale, uint32_t partition)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    size_t count = oq_list_count(&orders->marks);
    const struct oq_place_mark *before = orders->mark;
    if (before == NULL && count > 0)
        before = oq_list_at(&orders->marks, count - 1);
    uint32_t partitions = (partition / OQ_PARTITIONS_AT_ONCE + 1) * OQ_PARTITIONS_AT_ONCE;
    if (before != NULL && before->partitions > partitions)
        partitions = before->partitions;
    struct oq_place_mark *mark =
        oq_arena_take(&sale->arena, sizeof *mark + partitions * sizeof *mark->last);
    if (mark == NULL || oq_list_reserve(&orders->marks) != 0)
        return PS_E_NOMEM;
    mark->partitions = partitions;
    if (before != NULL)
        memcpy(mark->last, before->last, before->partitions * sizeof *mark->last);
    orders->mark = mark;
    return 0;
}

static void enter_order(struct oq_sale_orders *orders, struct oq_order *order)
{
    orders->mark->last[oq_place_partition(order->place)] = oq_place_seq(order->place);
    oq_list_append(&orders->orders, order);
    if (oq_list_count(&orders->orders) % OQ_ORDERS_A_MARK != 0)
        return;
    oq_list_append(&orders->marks, orders->mark);
    orders->mark = NULL;
}

/* Makes sure that such an order can be entered in every list and index. */
static int reserve_places(struct oq_sale *sale, const struct oq_order *probe)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    uint32_t partition = oq_place_partition(probe->place);
    if (oq_index_reserve(&sale->fold->by_id) != 0)
        return PS_E_NOMEM;
    if ((probe->flags & OQ_ORDER_KNOWN) == 0)
        return oq_list_reserve(&orders->unknown);
    if (oq_index_reserve(&orders->by_buyer) != 0 || oq_index_reserve(&orders->by_key) != 0 ||
        oq_list_reserve(&orders->orders) != 0)
        return PS_E_NOMEM;
    if (orders->mark != NULL && partition < orders->mark->partitions)
        return 0;
    return make_mark(sale, partition);
}

/* A buyer's later orders share the text of the user with the first one. */
static struct oq_order *copy_order(struct oq_sale *sale, const struct oq_order *probe,
                                   const struct oq_order *older, const struct oq_order *before)
{
    uint32_t first = older != NULL ? oq_ref(oq_order_first(older)) : 0;
    uint8_t user_size = older != NULL ? sizeof first : probe->user_size;
    struct oq_order *order =
        oq_arena_take(&sale->arena, offsetof(struct oq_order, text) + user_size + probe->key_size);
    if (order == NULL)
        return NULL;
    order->id = probe->id;
    order->reserved_at_ms = probe->reserved_at_ms;
    order->place = probe->place;
    order->terms = probe->terms;
    order->older = oq_ref(older);
    order->number = before != NULL ? before->number : oq_orders_of(sale)->numbers++;
    atomic_init(&order->decided, atomic_load_explicit(&probe->decided, memory_order_relaxed));
    order->flags = probe->flags;
    order->user_size = user_size;
    order->key_size = probe->key_size;
    memcpy(order->text, older != NULL ? (const char *)&first : probe->text, user_size);
    memcpy(order->text + user_size, oq_order_key_at(probe), probe->key_size);
    if (older != NULL)
        order->flags = (uint8_t)((probe->flags & ~OQ_ORDER_USER_ID) | OQ_ORDER_USER_BEFORE);
    return order;
}

/* The first order that is accepted under a key has it. */
static void enter_key(struct oq_sale_orders *orders, struct oq_order *order)
{
    const struct oq_order *first = oq_order_first(order);
    if (order->key_size == 0 || order == first || oq_order_state(order) == OQ_STATE_VOID ||
        (oq_order_state(first) != OQ_STATE_VOID && oq_order_same_key(first, order)))
        return;
    uint32_t hash = oq_index_hash(&orders->by_key, order);
    if (oq_index_find_hashed(&orders->by_key, hash, order) == NULL)
        oq_index_put_hashed(&orders->by_key, hash, order);
}

int oq_fold_make_order(struct oq_sale *sale, const struct oq_order *probe,
                       const struct oq_order_hashes *hashes, struct oq_order **ret_order)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    struct oq_index *by_id = &sale->fold->by_id;
    bool known = (probe->flags & OQ_ORDER_KNOWN) != 0;
    int err = reserve_places(sale, probe);
    if (err != 0)
        return err;
    struct oq_order *older =
        known ? oq_index_find_hashed(&orders->by_buyer, hashes->buyer, probe) : NULL;
    struct oq_order *order = copy_order(sale, probe, older, hashes->before);
    if (order == NULL)
        return PS_E_NOMEM;
    size_t ids = by_id->count;
    oq_index_put_hashed(by_id, hashes->id, order);
    orders->ids += by_id->count - ids;
    if (known) {
        oq_index_put_hashed(&orders->by_buyer, hashes->buyer, order);
        enter_key(orders, order);
        enter_order(orders, order);
    } else {
        oq_list_append(&orders->unknown, order);
    }
    *ret_order = order;
    return 0;
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
    /* Mostly the record is of the sale of the one before: both places are fetched at once. */
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

int oq_fold_make_adjustment(struct oq_sale *sale, const struct oq_adjustment *like)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    struct oq_list *list = like->in_force ? &orders->adjusted : &orders->not_adjusted;
    if (oq_index_reserve(&orders->adjustments) != 0 || oq_list_reserve(list) != 0)
        return PS_E_NOMEM;
    struct oq_adjustment *adjustment = oq_arena_take(&sale->arena, sizeof *adjustment);
    if (adjustment == NULL)
        return PS_E_NOMEM;
    *adjustment = *like;
    oq_index_put(&orders->adjustments, adjustment);
    oq_list_append(list, adjustment);
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

struct oq_epoch_block *oq_fold_epochs(struct oq_sale *sale, uint32_t partition)
{
    _Atomic(struct oq_epoch_block *) *place = &sale->epochs[partition / OQ_EPOCHS_A_BLOCK];
    struct oq_epoch_block *block = atomic_load_explicit(place, memory_order_relaxed);
    if (block == NULL && (block = oq_arena_take(&sale->fold->arena, sizeof *block)) != NULL)
        atomic_store_explicit(place, block, memory_order_release);
    return block;
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
    change->epoch = oq_sale_epoch(sale, partition);
    return 0;
}

static void set_units(_Atomic(int64_t) *total, int64_t units)
{
    atomic_store_explicit(total, units, memory_order_relaxed);
}

/* What is left of an archived sale: its SKUs and their numbers. */
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
    /* A log that has lost the sale's fences knows from the record how many partitions it has. */
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

/* --- Forgetting --- */

void oq_fold_forget(struct oq_fold *fold, struct oq_sale *sale)
{
    struct oq_sale_orders *orders = oq_orders_of(sale);
    if (orders == NULL)
        return;
    sale->gone_ids = orders->ids;
    atomic_store_explicit(&sale->orders, NULL, memory_order_release);
    oq_arena_drop(&sale->arena);
    oq_list_retire(&orders->orders, fold->space);
    oq_list_retire(&orders->unknown, fold->space);
    oq_list_retire(&orders->marks, fold->space);
    oq_list_retire(&orders->adjusted, fold->space);
    oq_list_retire(&orders->not_adjusted, fold->space);
    oq_list_retire(&orders->terms, fold->space);
    oq_index_retire(&orders->adjustments, fold->space);
    oq_index_retire(&orders->by_terms, fold->space);
    oq_index_retire(&orders->by_buyer, fold->space);
    oq_index_retire(&orders->by_key, fold->space);
    sale->next_forgotten = fold->forgotten;
    fold->forgotten = sale;
}

/* Orders of forgotten sales leave the index by id by a table that is made without them. */
bool oq_fold_tidy(struct oq_fold *fold)
{
    size_t gone = 0;
    if (fold->purged == NULL) {
        for (const struct oq_sale *sale = fold->forgotten; sale != NULL;
             sale = sale->next_forgotten)
            gone += sale->gone_ids;
        if (fold->forgotten == NULL || oq_index_purge(&fold->by_id, gone) != 0)
            return fold->forgotten != NULL;
        fold->purged = fold->forgotten;
        fold->forgotten = NULL;
    }
    if (oq_index_step(&fold->by_id))
        return true;
    for (; fold->purged != NULL; fold->purged = fold->purged->next_forgotten)
        oq_arena_retire(&fold->purged->arena);
    return fold->forgotten != NULL;
}

int64_t oq_fold_retired(const struct oq_fold *fold)
{
    return oq_space_retired(fold->space);
}

void oq_fold_reclaim(struct oq_fold *fold, int64_t upto)
{
    if (fold->cut == NULL) /* its writer is a reader, too */
        oq_space_reclaim(fold->space, upto);
}
