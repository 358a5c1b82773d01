/* What the fold keeps, for its writer (fold.c) and its readers (fold_read.c). Nobody else includes
 * this. */
#ifndef OQ_FOLD_INTERNAL_H
#define OQ_FOLD_INTERNAL_H

#include "queue/fold.h"
#include "queue/index.h"

#define OQ_EPOCHS_A_BLOCK 64

/* Orders of a sale between two marks. */
#define OQ_ORDERS_A_MARK 1024

#define OQ_PARTITIONS_AT_ONCE 16 /* room for so many more in a mark */

/* Of the sale's orders up to here: where the last one of each partition lies (its seq; 0 = none).
 */
struct oq_place_mark {
    uint32_t partitions; /* further ones have none */
    int64_t last[];
};

struct oq_epoch_block {
    _Atomic(int64_t) epoch[OQ_EPOCHS_A_BLOCK];
};

struct oq_sku {
    struct oq_sale *sale;
    struct ps_str name; /* with a closing NUL behind it */
    uint32_t number;
    _Atomic(int64_t) adjustments, held, confirmed, released;
};

struct oq_adjustment {
    struct ps_uuid ref; /* first, for its index */
    struct oq_sale *sale;
    uint32_t sku;
    bool in_force;
    int64_t delta; /* 0 when a release made it void */
};

struct oq_sale {
    struct ps_str name; /* with a closing NUL behind it; first, for its index */
    struct oq_fold *fold;
    bool rehearsal;
    _Atomic(uint32_t) partitions;
    _Atomic(const char *) opening_id; /* NULL: none */
    uint32_t numbers;           /* the writer's: how many have been given to orders */
    struct oq_list skus;        /* struct oq_sku */
    struct oq_list orders;      /* struct oq_order, known ones */
    struct oq_list marks;       /* struct oq_place_mark; one for each OQ_ORDERS_A_MARK orders */
    struct oq_place_mark *mark; /* the writer's: will be the next one; NULL: not made yet */
    struct oq_list adjusted;    /* struct oq_adjustment, those in force */
    /* Most sales live in one partition: blocks are made when first needed. */
    _Atomic(struct oq_epoch_block *) epochs[OQ_PARTITION_MAX / OQ_EPOCHS_A_BLOCK];
};

struct oq_fold {
    struct oq_arena arena;
    struct oq_list sales;
    struct oq_index sales_by_name;
    struct oq_index skus_by_name; /* sale, name */
    struct oq_index adjustments;  /* ref */
    struct oq_index by_id, by_buyer, by_key;
    struct oq_sku
        *subject; /* the writer's: of the last record; the next one is mostly about it too */
    _Atomic(int64_t) seq[OQ_PARTITION_MAX];
};

/* The SKU of that name, or NULL. */
struct oq_sku *oq_fold_sku(const struct oq_sale *sale, struct ps_str name);

static inline int64_t oq_total(const _Atomic(int64_t) *total)
{
    return atomic_load_explicit(total, memory_order_relaxed);
}

#endif
