/* The fold: what the records of a log mean. One implementation for gateways, auditor and
 * settlement, because "the log decides" only holds when everybody reads it alike. First record
 * wins; a record of an ended epoch is void.
 *
 *   record \ state                      none          accepted   confirmed  released  void
 *   accepted, epoch = partition's       ACCEPTED      -          -          -         -
 *   accepted, any other epoch           VOID          -          -          -         -
 *   released{rejected}                  VOID          -          -          -         -
 *   confirmed                           - (anomaly)   CONFIRMED  -          -         -
 *   released{expired, cancelled}        VOID (anom.)  RELEASED   -          -         -
 *
 * stock.adjusted, by adjust key, first wins: raising counts at once; lowering is judged like
 * accepted (epoch). A released{rejected} that comes first makes the adjust key void for good.
 * sale.fenced: the partition's epoch of that sale = max(epoch, its epoch). Duplicates are harmless
 * everywhere. Behind a sale.archived nothing of its sale counts in its partition; when each of the
 * sale's partitions has one, the sale is archived and its totals are the record's. An order becomes
 * void by the first record of it or never: what was accepted once
 * stays accepted, confirmed or released for ever.
 *
 * A sale can be forgotten: its orders, keys and adjustments go, its name, totals, partitions and
 * epochs stay, and later records of it change nothing but its epochs.
 *
 * Threads: one writer (oq_fold_apply). Everything under "Readers" may be called by any thread at
 * any time without a lock. All fields of an order but its state are written before it is published,
 * and it is never moved. Sales live as long as the fold. Orders of a sale that is forgotten are
 * freed by oq_fold_reclaim: whoever calls it knows that no reader holds one any more. Without it
 * they live as long as the fold, too. */
#ifndef OQ_FOLD_H
#define OQ_FOLD_H

#include "common/defs.h"
#include "common/err.h"
#include "common/text/id.h"
#include "queue/event.h"

#include <stdatomic.h>

enum oq_state { OQ_STATE_ACCEPTED, OQ_STATE_CONFIRMED, OQ_STATE_RELEASED, OQ_STATE_VOID };

struct oq_fold;
struct oq_sale;

struct oq_order;

/* An order as its records say. */
struct oq_order_view {
    struct ps_uuid id;
    struct oq_sale *sale;
    uint32_t sku; /* index in the sale */
    bool rehearsal;
    /* False: only a release was seen and no accepted; then user, key and quantity are meaningless.
     * If the accepted comes after all, a new order with the same id, void as well, replaces this
     * one in the fold; this one stays unchanged. */
    bool known;
    enum oq_state state;
    enum oq_reason reason;
    int64_t quantity;
    struct ps_str user, key; /* of the order or of the two texts below */
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    int64_t epoch;
    int64_t cap;
    int64_t sku_cap;
    int64_t place; /* of its first accepted record; while not known, of the release */
    char user_text[PS_UUID_LEN + 1], key_text[PS_UUID_LEN + 1];
};

/* What one record changed. */
enum oq_effect {
    OQ_EFFECT_NONE,     /* a duplicate, or a later record of a decided matter */
    OQ_EFFECT_ACCEPTED, /* order: held now */
    OQ_EFFECT_VOID,     /* order: never held stock */
    OQ_EFFECT_CONFIRMED,
    OQ_EFFECT_RELEASED,
    OQ_EFFECT_RAISED,     /* sku, ref, delta >= 0 (0 only in an initial record) */
    OQ_EFFECT_LOWERED,    /* sku, ref, delta < 0 */
    OQ_EFFECT_LOWER_VOID, /* sku, ref; delta < 0: the units that stay on sale */
    OQ_EFFECT_FENCED,     /* the partition's epoch rose */
    OQ_EFFECT_ARCHIVED    /* the sale is archived from this record on */
};

/* `sale` is always set, except for a confirm of an unknown order that names an unknown sale;
 * `order` is set if the fold knows the record's order, even if nothing changed. */
struct oq_change {
    enum oq_effect effect;
    bool anomaly; /* the protocol never writes such a record */
    struct oq_sale *sale;
    struct oq_order *order;
    struct ps_uuid ref; /* adjustments: oq_adjust_ref of the key */
    uint32_t sku;
    int64_t delta;
    int64_t epoch; /* sale.fenced: the partition's epoch now */
};

/* One SKU from the log alone. available = adjustments - held - confirmed. */
struct oq_totals {
    int64_t adjustments;
    int64_t held;
    int64_t confirmed;
    int64_t released; /* units that came back, for display; stops at PS_INT_MAX */
};

int oq_fold_new(struct oq_fold **ret_fold) PS_MUST_CHECK;
void oq_fold_free(struct oq_fold *fold); /* NULL is allowed */

/* Applies the record at `seq` (strictly rising within a partition; 0 or more). PS_E_NOMEM: it was
 * not applied and can be tried again. PS_E_INVALID: it is malformed (oq_event_check, a seq that
 * does not rise, a SKU's units beyond PS_INT_MAX) and was not applied. In both cases no order,
 * total or epoch has changed; a sale or SKU that it was the first to name may be known by name. */
int oq_fold_apply(struct oq_fold *fold, uint32_t partition, int64_t seq,
                  const struct oq_event *event, struct oq_change *ret_change) PS_MUST_CHECK;

/* Forgets the sale: readers no longer find its orders; its memory is freed in steps. The writer's
 * thread, between two records. */
void oq_fold_forget(struct oq_fold *fold, struct oq_sale *sale);
/* Does one step, of a millisecond at most. False: nothing is left to do. The writer's thread,
 * between two records; call it from time to time. */
bool oq_fold_tidy(struct oq_fold *fold);
/* oq_fold_retired counts memory that readers may still use (0 = none; any thread). oq_fold_reclaim
 * frees it up to a count once every reader has held no order at some moment since that count was
 * read (the writer's thread). */
int64_t oq_fold_retired(const struct oq_fold *fold);
void oq_fold_reclaim(struct oq_fold *fold, int64_t upto);
/* Is there something to tidy? Any thread. */
bool oq_fold_untidy(const struct oq_fold *fold);
/* For readers that cannot be asked whether they hold an order: between enter and leave they may.
 * Any thread. */
void oq_fold_enter(struct oq_fold *fold);
void oq_fold_leave(struct oq_fold *fold);
bool oq_fold_entered(const struct oq_fold *fold); /* is one within? */

/* --- Readers: an order --- */
/* Fills in everything about it. Frequently used fields have functions of their own. */
void oq_order_get(const struct oq_order *order, struct oq_order_view *ret_view);
enum oq_state oq_order_state(const struct oq_order *order);
/* OQ_REJECTED for a void order, whatever made it void. */
enum oq_reason oq_order_reason(const struct oq_order *order);
const struct ps_uuid *oq_order_id(const struct oq_order *order);
struct oq_sale *oq_order_sale(const struct oq_order *order);
uint32_t oq_order_sku(const struct oq_order *order);
int64_t oq_order_quantity(const struct oq_order *order);
bool oq_order_rehearsal(const struct oq_order *order);
bool oq_order_known(const struct oq_order *order);
int64_t oq_order_place(const struct oq_order *order);
/* 0, 1, 2… in its sale; an order that replaces another has its number. */
uint32_t oq_order_number(const struct oq_order *order);
/* The same user's order before this one in the same sale, or NULL. */
struct oq_order *oq_order_older(const struct oq_order *order);

/* --- Readers: the fold --- */
struct oq_sale *oq_fold_sale(const struct oq_fold *fold, const char *name, size_t len);
/* In the order of first mention; NULL past the end. */
struct oq_sale *oq_fold_sale_at(const struct oq_fold *fold, size_t index);
struct oq_order *oq_fold_order(const struct oq_fold *fold, const struct ps_uuid *id);
/* The user's newest known order in the sale (follow oq_order_older), or NULL. Void ones are among
 * them. */
struct oq_order *oq_fold_newest(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user);
/* The order that has (sale, user, key), or NULL. A void order has no key: another may take it. */
struct oq_order *oq_fold_by_key(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user, struct ps_str key);
/* Last applied; -1 = none yet. A reader of this value sees what that record changed. */
int64_t oq_fold_seq(const struct oq_fold *fold, uint32_t partition);

const char *oq_sale_name(const struct oq_sale *sale);
size_t oq_sale_sku_count(const struct oq_sale *sale);
const char *oq_sale_sku(const struct oq_sale *sale, uint32_t sku); /* NULL past the end */
int oq_sale_sku_find(const struct oq_sale *sale, const char *name, size_t len,
                     uint32_t *ret_sku) PS_MUST_CHECK; /* PS_E_NOT_FOUND */
/* 0 = not fenced yet. */
int64_t oq_sale_epoch(const struct oq_sale *sale, uint32_t partition);
/* How many partitions the sale's keys are spread over, forever: from the first fence in partition
 * 0. 0 = there is none yet. */
uint32_t oq_sale_partitions(const struct oq_sale *sale);
/* The opening of the sale that this fence belongs to; "": it names none. */
const char *oq_sale_opening_id(const struct oq_sale *sale);
/* The highest epoch that any partition shows; 0 = not fenced yet. */
int64_t oq_sale_highest_epoch(const struct oq_sale *sale);
/* Each of its partitions has its sale.archived: it does not change any more. */
bool oq_sale_archived(const struct oq_sale *sale);
/* By the sale's first record. */
bool oq_sale_rehearsal(const struct oq_sale *sale);
/* Its orders cannot be found any more; totals, epochs and partitions are unchanged. */
bool oq_sale_forgotten(const struct oq_sale *sale);
/* Relaxed; a cut only on the writer's thread. `sku` < oq_sale_sku_count. */
void oq_sale_totals(const struct oq_sale *sale, uint32_t sku, struct oq_totals *ret_totals);
/* Known orders in the order of their first accepted record (so, within one partition, of `seq`):
 * index 0 .. count-1; NULL past the end. */
size_t oq_sale_order_count(const struct oq_sale *sale);
struct oq_order *oq_sale_order_at(const struct oq_sale *sale, size_t index);
/* An index at which to start looking for orders after the place `after` in its partition: no
 * order of that partition before the index has a larger place, and only few after it have a
 * smaller one. */
size_t oq_sale_orders_after(const struct oq_sale *sale, int64_t after);
/* Adjust keys in force, for a rebuild; past the end -> false. */
bool oq_sale_adjusted_at(const struct oq_sale *sale, size_t index, struct ps_uuid *ret_ref,
                         uint32_t *ret_sku, int64_t *ret_delta);
/* Has this adjust key been decided? 1 in force, 0 void, PS_E_NOT_FOUND. */
int oq_sale_adjusted(const struct oq_sale *sale, const struct ps_uuid *ref) PS_MUST_CHECK;

#endif
