/* The auditor's books, shared by audit.c, which keeps them, and audit_report.c, which judges
 * them. */
#ifndef OQ_AUDIT_INTERNAL_H
#define OQ_AUDIT_INTERNAL_H

#include "queue/audit.h"
#include "queue/index.h"

/* What every entry begins with. */
struct oq_entry {
    struct ps_str name;
};

struct oq_findings {
    json_t *list;
    uint64_t count;
};

struct oq_sale_book { /* "n" sale */
    struct oq_entry entry;
    const char *name;      /* NUL-terminated */
    int64_t partitions;    /* of its first fence; 0 = none yet */
    struct oq_list skus;   /* struct oq_sku_book */
    struct oq_list orders; /* struct oq_order_book */
    struct oq_findings findings;
};

struct oq_sku_book { /* "s" sale, sku */
    struct oq_entry entry;
    struct oq_sale_book *sale;
    const char *name; /* NUL-terminated */
    int64_t adjustments, held, confirmed, released;
};

struct oq_latest { /* of a buyer's reservations, among what was accepted */
    int64_t version, at_ms, cap;
};

struct oq_units { /* "u" sale, user, and "v" sale, user, sku */
    struct oq_entry entry;
    int64_t held; /* and confirmed */
    struct oq_latest by_time, by_version;
    int64_t cap; /* only while a report judges units at rest: the largest of the orders' caps */
};

enum oq_book_state {
    OQ_BOOK_NONE,
    OQ_BOOK_HELD,
    OQ_BOOK_CONFIRMED,
    OQ_BOOK_RELEASED,
    OQ_BOOK_VOID
};

struct oq_order_book { /* "o" id */
    struct oq_entry entry;
    struct ps_uuid id;
    enum oq_book_state state;
    bool known; /* an accepted was seen */
    struct oq_sku_book *sku;
    int64_t quantity, cap, sku_cap;
    struct oq_units *user, *user_sku; /* set when accepted */
};

struct oq_audit {
    struct oq_fold *fold;
    struct oq_arena arena;
    struct oq_index entries;
    struct oq_list sales; /* struct oq_sale_book */
    int64_t seq;
};

/* Where the record at hand stands. */
struct oq_place {
    uint32_t partition;
    int64_t seq;
};

/* Adds a finding. `sku`, `order` and `at` (the record that shows it) may be NULL. PS_E_NOMEM. */
int oq_find_fault(struct oq_findings *findings, const char *rule, const char *sku,
                  const struct ps_uuid *order, const struct oq_place *at, const char *fmt, ...)
    PS_PRINTF(6, 7) PS_MUST_CHECK;

/* I1 of a SKU, and I3 of an order's buyer in `units` (`cap` 0 = none). `at` may be NULL. */
int oq_check_stock(struct oq_findings *findings, const struct oq_sku_book *sku,
                   const struct oq_place *at) PS_MUST_CHECK;
int oq_check_cap(struct oq_findings *findings, const struct oq_order_book *order,
                 const struct oq_units *units, int64_t cap,
                 const struct oq_place *at) PS_MUST_CHECK;

#endif
