/* Creates the fold's data, and forgets it: for the writer, and for reading a checkpoint. In each
 * function, whatever can fail comes first; then the change, which cannot. */
#include "queue/fold_internal.h"

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

/* The user, and the key if there is one. Form and length come first, so that no two pairs have the
 * same bytes. */
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

int oq_fold_set_opening(struct oq_sale *sale, struct ps_str id)
{
    char *text = id.len > 0 ? oq_arena_take(&sale->fold->arena, id.len + 1) : NULL;
    if (text == NULL)
        return id.len > 0 ? PS_E_NOMEM : 0;
    (void)copy_text(text, id);
    atomic_store_explicit(&sale->opening_id, text, memory_order_release);
    return 0;
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

struct oq_epoch_block *oq_fold_epochs(struct oq_sale *sale, uint32_t partition)
{
    _Atomic(struct oq_epoch_block *) *place = &sale->epochs[partition / OQ_EPOCHS_A_BLOCK];
    struct oq_epoch_block *block = atomic_load_explicit(place, memory_order_relaxed);
    if (block == NULL && (block = oq_arena_take(&sale->fold->arena, sizeof *block)) != NULL)
        atomic_store_explicit(place, block, memory_order_release);
    return block;
}

/* --- Orders --- */

/* The mark in progress, with room for this partition; it starts as a copy of the one before. */
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

/* Makes sure that there is room for such an order in every list and index. */
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

/* A buyer's later orders share the user's text with the first one. */
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

/* The first order accepted under a key owns it. */
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
    atomic_store(&fold->untidy, true);
}

/* Removes orders of forgotten sales from the index by id: builds a table without them. */
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
    atomic_store(&fold->untidy, fold->forgotten != NULL);
    return fold->forgotten != NULL;
}

bool oq_fold_untidy(const struct oq_fold *fold)
{
    return atomic_load(&fold->untidy);
}

void oq_fold_enter(struct oq_fold *fold)
{
    atomic_fetch_add(&fold->guests, 1);
}

void oq_fold_leave(struct oq_fold *fold)
{
    atomic_fetch_sub(&fold->guests, 1);
}

bool oq_fold_entered(const struct oq_fold *fold)
{
    return atomic_load(&fold->guests) > 0;
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
