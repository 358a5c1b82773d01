/* How a checkpoint lies in its file, for its writer (checkpoint.c) and its reader
 * (checkpoint_read.c).
 *
 *     head        magic, which also tells the byte order and the version
 *     names       of the moment of the cut: marks, sales, SKUs with their totals, epochs; and of
 *                 each sale how many terms, orders, unknown orders and adjustments follow
 *     bodies      of each sale that is not forgotten, these
 *     accepted    ids of orders that were accepted at the cut and whose state the body may show as
 *                 it was a moment later. No other state ever changes
 *     notes       the host's
 *     digest      BLAKE2b of all before it */
#ifndef OQ_CHECKPOINT_INTERNAL_H
#define OQ_CHECKPOINT_INTERNAL_H

#include "queue/checkpoint.h"
#include "queue/fold_internal.h"

#define OQ_CHECKPOINT_MAGIC UINT64_C(0x3230544b43465350) /* "PSFCKT02" on a usual machine */

#define OQ_CHECKPOINT_DIGEST 32

/* An order in the file; followed by its user and key. */
struct oq_order_row {
    struct ps_uuid id;
    int64_t reserved_at_ms;
    int64_t place;
    uint32_t terms; /* index in its sale */
    uint8_t decided, flags, user_size, key_size;
};

struct oq_terms_row {
    int64_t quantity, pay_ms, epoch, cap, sku_cap;
    uint32_t sku, rehearsal;
};

struct oq_adjustment_row {
    struct ps_uuid ref;
    int64_t delta;
    uint32_t sku, in_force;
};

struct oq_sale_row { /* followed by its name, the id of its opening, its SKUs and its epochs */
    uint64_t terms, unknown, orders, adjusted, not_adjusted;
    uint32_t name_len, skus, epochs, partitions, partitions_archived;
    uint8_t rehearsal, archived, forgotten, opening_len;
};

struct oq_sku_row { /* followed by its name */
    struct oq_totals totals;
    uint64_t name_len;
};

struct oq_epoch_row {
    int64_t epoch;
    uint32_t partition, archived;
};

#endif
