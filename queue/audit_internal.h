/* The auditor's entries, shared by audit.c, which keeps them, audit_report.c, which checks them,
 * and audit_buyers.c, which checks buyers' units. */
#ifndef OQ_AUDIT_INTERNAL_H
#define OQ_AUDIT_INTERNAL_H

#include "queue/audit.h"
#include "queue/index.h"

/* The beginning of every entry. */
struct oq_entry {
    struct ps_str name;
};

#define OQ_SLOT_VERSION_BITS 28

struct oq_findings {
    json_t *list;
    uint64_t count;
};

enum oq_book_state {
    OQ_BOOK_NONE,
    OQ_BOOK_HELD,
    OQ_BOOK_CONFIRMED,
    OQ_BOOK_RELEASED,
    OQ_BOOK_VOID
};

/* The state of the order with this number in the fold, by the records. */
struct oq_slot {
    uint32_t state : 3;                      /* enum oq_book_state */
    uint32_t known : 1;                      /* an accepted was seen */
    uint32_t version : OQ_SLOT_VERSION_BITS; /* of the sale, stops at the end */
    uint32_t ended; /* of a released one: records of its partition after the sale's first; stops */
};

struct oq_steps { /* steps back in the times of records */
    uint64_t count;
    int64_t largest_ms;
    int64_t place; /* of the largest */
};

struct oq_sale_book { /* "n" sale */
    struct oq_entry entry;
    const char *name;    /* NUL-terminated */
    int64_t partitions;  /* of its first fence; 0 = none yet */
    struct oq_list skus; /* struct oq_sku_book */
    struct oq_slot *slots;
    size_t slot_count;
    size_t known;      /* known slots */
    int64_t first_seq; /* of its first record; -1 = none yet */
    int64_t unknown;   /* records of types that a later version has added */
    struct oq_steps steps;
    struct oq_findings findings;
};

struct oq_sku_book { /* "s" sale, sku */
    struct oq_entry entry;
    struct oq_sale_book *sale;
    const char *name; /* NUL-terminated */
    int64_t adjustments, held, confirmed, released;
};

struct oq_audit {
    const struct oq_fold *fold;
    struct oq_fold *own; /* NULL: the fold belongs to somebody else and is compared up to `cut` */
    struct oq_audit_cut cut; /* of that one */
    struct oq_arena arena;
    struct oq_index entries;
    struct oq_list sales; /* struct oq_sale_book */
    int64_t seq;
};

/* The place of the current record. */
struct oq_place {
    uint32_t partition;
    int64_t seq;
};

/* Adds a finding. `sku`, `order` and `at` (the record that shows it) may be NULL. PS_E_NOMEM. */
int oq_find_fault(struct oq_findings *findings, const char *rule, const char *sku,
                  const struct ps_uuid *order, const struct oq_place *at, const char *fmt, ...)
    PS_PRINTF(6, 7) PS_MUST_CHECK;

/* I1 of a SKU. `at` may be NULL. */
int oq_check_stock(struct oq_findings *findings, const struct oq_sku_book *sku,
                   const struct oq_place *at) PS_MUST_CHECK;

/* The fold's sale, or NULL, and how many of its orders are audited. */
const struct oq_sale *oq_folded_sale(const struct oq_audit *audit, const struct oq_sale_book *sale,
                                     size_t *ret_orders);
/* The slot of an order of that sale; one of zeros if no record has named it. */
struct oq_slot oq_slot_of(const struct oq_sale_book *sale, const struct oq_order *order);

/* --- audit_buyers.c --- */
/* I3 of every buyer, and that the fold has every order with its buyer. */
int oq_check_buyers(const struct oq_audit *audit, const struct oq_sale_book *sale,
                    struct oq_findings *findings) PS_MUST_CHECK;

#endif
