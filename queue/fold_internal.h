/* What the fold keeps, for its writer (fold_write.c, with fold_make.c), its readers (fold_read.c)
 * and its checkpoints (checkpoint.c). Nobody else includes this. */
#ifndef OQ_FOLD_INTERNAL_H
#define OQ_FOLD_INTERNAL_H

#include "queue/fold.h"
#include "queue/index.h"

#define OQ_EPOCHS_A_BLOCK 64

/* Orders of a sale between two marks. */
#define OQ_ORDERS_A_MARK 1024

#define OQ_PARTITIONS_AT_ONCE 16 /* room for this many more in a mark */

/* What many orders of a sale have in common: they share it. */
struct oq_terms {
    int64_t quantity; /* 0: only a release was seen */
    int64_t pay_ms;   /* from reserved_at to pay_by */
    int64_t epoch;
    int64_t cap;
    int64_t sku_cap;
    uint32_t sku;
    uint32_t rehearsal;
    uint32_t number; /* in the sale's list; the fields before this one are its key */
};

enum {
    OQ_ORDER_KNOWN = 1,
    OQ_ORDER_USER_ID = 2,    /* the user is a UUID as text, and kept in 16 bytes */
    OQ_ORDER_KEY_ID = 4,     /* so is the key */
    OQ_ORDER_USER_BEFORE = 8 /* in place of the user: the reference of the buyer's first order */
};

/* One order, as small as possible: a million of them are common. Read it by oq_order_get. Its sale
 * is the owner of its arena. */
struct oq_order {
    struct ps_uuid id; /* first, for its index */
    int64_t reserved_at_ms;
    int64_t place;
    uint32_t terms;           /* reference */
    uint32_t older;           /* reference of the same user's order before this one, or 0 */
    uint32_t number;          /* see oq_order_number */
    _Atomic(uint8_t) decided; /* state | reason << 4 */
    uint8_t flags;
    uint8_t user_size; /* bytes at text[0] */
    uint8_t key_size;  /* behind them */
    char text[];
};

/* For the sale's orders up to here: the seq of the last one in each partition; 0 = none. */
struct oq_place_mark {
    uint32_t partitions; /* the others have none */
    int64_t last[];
};

struct oq_epoch_block {
    _Atomic(int64_t) epoch[OQ_EPOCHS_A_BLOCK];
    bool archived[OQ_EPOCHS_A_BLOCK]; /* the writer's: records of the partition do not count any
                                         more */
};

struct oq_sku {
    struct oq_sale *sale;
    struct ps_str name; /* followed by a NUL */
    uint32_t number;
    _Atomic(int64_t) adjustments, held, confirmed, released;
};

struct oq_adjustment {
    struct ps_uuid ref; /* first, for its index */
    uint32_t sku;
    bool in_force;
    int64_t delta; /* 0 if a release made it void */
};

/* Freed when the sale is forgotten; in the sale's own arena, like its items. */
struct oq_sale_orders {
    struct oq_list orders;       /* struct oq_order, known ones */
    struct oq_list unknown;      /* struct oq_order, those of which only a release was seen */
    struct oq_list marks;        /* struct oq_place_mark; one for each OQ_ORDERS_A_MARK orders */
    struct oq_place_mark *mark;  /* the writer's: the next one; NULL: not created yet */
    struct oq_list adjusted;     /* struct oq_adjustment, those in force */
    struct oq_list not_adjusted; /* struct oq_adjustment, void ones */
    struct oq_list terms;        /* struct oq_terms */
    struct oq_index adjustments, by_terms;
    struct oq_index by_buyer; /* the buyer's newest order */
    /* Orders by their key, except each buyer's first one, which is found by its buyer. */
    struct oq_index by_key;
    struct oq_terms *last_terms; /* the writer's: probably those of the next order */
    size_t ids;                  /* the writer's: how many are in the index by id */
    uint32_t numbers;            /* the writer's: how many numbers orders have */
};

struct oq_sale {
    struct ps_str name; /* with a closing NUL behind it; first, for its index */
    struct oq_fold *fold;
    bool rehearsal;
    _Atomic(uint32_t) partitions;
    _Atomic(const char *) opening_id; /* NULL: none */
    uint32_t partitions_archived;     /* the writer's: how many of them have its sale.archived */
    _Atomic(bool) archived;           /* all have */
    struct oq_list skus;              /* struct oq_sku */
    /* Most sales live in one partition: blocks are made when first needed. */
    _Atomic(struct oq_epoch_block *) epochs[OQ_PARTITION_MAX / OQ_EPOCHS_A_BLOCK];
    struct oq_arena arena;                   /* the writer's */
    _Atomic(struct oq_sale_orders *) orders; /* NULL: forgotten */
    struct oq_sale *next_forgotten;          /* the writer's */
    size_t gone_ids;                         /* how many it had in the index by id */
};

struct oq_fold {
    struct oq_space *space;
    struct oq_arena arena;
    struct oq_list sales;
    struct oq_index sales_by_name;
    struct oq_index skus_by_name; /* sale, name */
    struct oq_index by_id;
    struct oq_sku
        *subject;      /* the writer's: of the last record; the next one probably has the same */
    bool has_archived; /* the writer's: some partition has a sale.archived */
    /* The writer's: sales whose orders are still in by_id, and those that leave it now. */
    struct oq_sale *forgotten, *purged;
    struct oq_cut *cut; /* the writer's: a checkpoint that is being written, or NULL */
    _Atomic(bool) untidy;
    _Atomic(int) guests; /* oq_fold_enter */
    _Atomic(int64_t) seq[OQ_PARTITION_MAX];
};

/* An order of which only what an index looks at is set. */
union oq_order_probe {
    struct oq_order order;
    char bytes[sizeof(struct oq_order) + PS_USER_MAX + PS_KEY_MAX];
};
void oq_order_probe(union oq_order_probe *probe, struct ps_str user, struct ps_str key);
/* The first order of the same user, which has the user's text. */
const struct oq_order *oq_order_first(const struct oq_order *order);
bool oq_order_same_key(const struct oq_order *a, const struct oq_order *b);
static inline const struct oq_terms *oq_order_terms(const struct oq_order *order)
{
    return oq_beside(order, order->terms);
}
static inline const char *oq_order_key_at(const struct oq_order *order)
{
    return order->text + order->user_size;
}

/* The SKU of that name, or NULL. */
struct oq_sku *oq_fold_sku(const struct oq_sale *sale, struct ps_str name);

/* NULL: the sale was forgotten. Any thread. */
static inline struct oq_sale_orders *oq_orders_of(const struct oq_sale *sale)
{
    return atomic_load_explicit(&sale->orders, memory_order_acquire);
}

static inline int64_t oq_total(const _Atomic(int64_t) *total)
{
    return atomic_load_explicit(total, memory_order_relaxed);
}

/* The writer's functions that reading a checkpoint uses as well. PS_E_NOMEM. */
int oq_fold_make_sale(struct oq_fold *fold, struct ps_str name, bool rehearsal,
                      struct oq_sale **ret_sale) PS_MUST_CHECK;
int oq_fold_make_sku(struct oq_sale *sale, struct ps_str name,
                     struct oq_sku **ret_sku) PS_MUST_CHECK;
int oq_fold_make_terms(struct oq_sale *sale, const struct oq_terms *like,
                       struct oq_terms **ret_terms) PS_MUST_CHECK;
int oq_fold_make_adjustment(struct oq_sale *sale, const struct oq_adjustment *like) PS_MUST_CHECK;
/* "" changes nothing. */
int oq_fold_set_opening(struct oq_sale *sale, struct ps_str id) PS_MUST_CHECK;
/* The block of the partition's epoch, created on first use. NULL: out of memory. */
struct oq_epoch_block *oq_fold_epochs(struct oq_sale *sale, uint32_t partition);
/* Enters an order like `probe`, whose user and key are set by oq_order_probe, in every list and
 * index. Totals stay as they are. */
struct oq_order_hashes {
    uint32_t id, buyer;            /* of oq_index_hash; `buyer` only of a known one */
    const struct oq_order *before; /* of this id and sale, which it replaces; or NULL */
};
int oq_fold_make_order(struct oq_sale *sale, const struct oq_order *probe,
                       const struct oq_order_hashes *hashes,
                       struct oq_order **ret_order) PS_MUST_CHECK;

#endif
