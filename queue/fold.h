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
    /* False: only a release was seen and no accepted; then user, key and quantity mean nothing.
     * Should the accepted come after all, a new order with the same id, void as well, takes the
     * place of this one; this one stays as it is. */
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
    OQ_EFFECT_LOWER_VOID, /* sku, ref; delta < 0: the units that were not taken out */
    OQ_EFFECT_FENCED,     /* the partition's epoch rose */
    OQ_EFFECT_ARCHIVED    /* the sale is archived from this record on */
};

/* `sale` is always set, save when a confirmed of an unknown order names an unknown sale; `order`
 * when the record's order is known to the fold, also without effect. */
struct oq_change {
    enum oq_effect effect;
    bool anomaly; /* the protocol never makes one */
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
    int64_t released; /* units that came back, for people; stops at PS_INT_MAX */
};

int oq_fold_new(struct oq_fold **ret_fold) PS_MUST_CHECK;
void oq_fold_free(struct oq_fold *fold); /* NULL is allowed */

/* Applies the record at `seq` (strictly rising within a partition; 0 or more). PS_E_NOMEM: it was
 * not applied and can be tried again. PS_E_INVALID: it makes no sense (oq_event_check, a seq that
 * does not rise, a SKU's units beyond PS_INT_MAX) and was not applied. Either way no order, total
 * or epoch has changed; a sale or SKU that it was the first to name may be known by name. */
int oq_fold_apply(struct oq_fold *fold, uint32_t partition, int64_t seq,
                  const struct oq_event *event, struct oq_change *ret_change) PS_MUST_CHECK;

/* Forgets the sale: at once for readers, who no longer find its orders; its memory goes in steps.
 * The writer's thread, between two records. */
void oq_fold_forget(struct oq_fold *fold, struct oq_sale *sale);
/* One step, of a millisecond at most. False: nothing is left to do. The writer's thread, between
 * two records; call it from time to time. */
bool oq_fold_tidy(struct oq_fold *fold);
/* Memory that readers may still be in is counted (0 = none ever; any thread), and freed up to a
 * count when every reader has held no order once since it was read (the writer's thread). */
int64_t oq_fold_retired(const struct oq_fold *fold);
void oq_fold_reclaim(struct oq_fold *fold, int64_t upto);
/* Is there something to tidy? Any thread. */
bool oq_fold_untidy(const struct oq_fold *fold);
/* For readers that nobody can ask whether they hold an order: from enter to leave they may. Any
 * thread. */
void oq_fold_enter(struct oq_fold *fold);
void oq_fold_leave(struct oq_fold *fold);
bool oq_fold_entered(const struct oq_fold *fold); /* is one within? */

/* --- Readers: an order --- */
/* Everything about it. Fields that are asked for often have a function of their own. */
void oq_order_get(const struct oq_order *order, struct oq_order_view *ret_view);
enum oq_state oq_order_state(const struct oq_order *order);
/* OQ_REJECTED for a void one, whatever made it so. */
enum oq_reason oq_order_reason(const struct oq_order *order);
const struct ps_uuid *oq_order_id(const struct oq_order *order);
struct oq_sale *oq_order_sale(const struct oq_order *order);
uint32_t oq_order_sku(const struct oq_order *order);
int64_t oq_order_quantity(const struct oq_order *order);
bool oq_order_rehearsal(const struct oq_order *order);
bool oq_order_known(const struct oq_order *order);
int64_t oq_order_place(const struct oq_order *order);
/* 0, 1, 2… in its sale; who takes the place of another has its number. */
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
/* Last applied; -1 = none yet. Whoever reads it sees what that record changed. */
int64_t oq_fold_seq(const struct oq_fold *fold, uint32_t partition);

const char *oq_sale_name(const struct oq_sale *sale);
size_t oq_sale_sku_count(const struct oq_sale *sale);
const char *oq_sale_sku(const struct oq_sale *sale, uint32_t sku); /* NULL past the end */
int oq_sale_sku_find(const struct oq_sale *sale, const char *name, size_t len,
                     uint32_t *ret_sku) PS_MUST_CHECK; /* PS_E_NOT_FOUND */
/* 0 = not fenced yet. */
int64_t oq_sale_epoch(const struct oq_sale *sale, uint32_t partition);
/* Over how many partitions the sale's keys are spread, for ever: as the first fence in partition 0
 * says. 0 = there is none yet. */
uint32_t oq_sale_partitions(const struct oq_sale *sale);
/* Which opening of the sale that fence belongs to; "": it names none. */
const char *oq_sale_opening_id(const struct oq_sale *sale);
/* The highest epoch that any partition shows; 0 = not fenced yet. */
int64_t oq_sale_highest_epoch(const struct oq_sale *sale);
/* Each of its partitions has its sale.archived: nothing of it changes any more. */
bool oq_sale_archived(const struct oq_sale *sale);
/* As the sale's first record says. */
bool oq_sale_rehearsal(const struct oq_sale *sale);
/* Its orders are found no more; totals, epochs and partitions are as they were. */
bool oq_sale_forgotten(const struct oq_sale *sale);
/* Relaxed; a cut only on the writer's thread. `sku` < oq_sale_sku_count. */
void oq_sale_totals(const struct oq_sale *sale, uint32_t sku, struct oq_totals *ret_totals);
/* Known orders in the order of their first accepted record (so, within one partition, of `seq`):
 * index 0 .. count-1; NULL past the end. */
size_t oq_sale_order_count(const struct oq_sale *sale);
struct oq_order *oq_sale_order_at(const struct oq_sale *sale, size_t index);
/* An index to look from for what comes behind the place `after` in its partition: no order of that
 * partition that lies before the index has a place above it, and of those behind it that have not,
 * few are passed over. */
size_t oq_sale_orders_after(const struct oq_sale *sale, int64_t after);
/* Adjust keys that have been decided in favour, for a rebuild; past the end -> false. */
bool oq_sale_adjusted_at(const struct oq_sale *sale, size_t index, struct ps_uuid *ret_ref,
                         uint32_t *ret_sku, int64_t *ret_delta);
/* Has this adjust key been decided? 1 in force, 0 void, PS_E_NOT_FOUND. */
int oq_sale_adjusted(const struct oq_sale *sale, const struct ps_uuid *ref) PS_MUST_CHECK;

#endif
