/* The rehearsal's sale, through the admin API: create, open, read back, end. Blocking. */
#ifndef LT_SALE_H
#define LT_SALE_H

#include "common/text/id.h"
#include "loadtest/admin.h"
#include "loadtest/plan.h"
#include "queue/audit.h"

#define LT_SKU "rehearsal"

/* "rehearsal-20300131T120000Z" for the present time. */
void lt_sale_name(int64_t wall_ms, char ret_name[PS_NAME_MAX + 1]);

struct lt_sale {
    const char *twin_of; /* a live sale: its first SKUs, prices, attributes, time to pay; or NULL */
    const struct lt_plan_spec *plan; /* stock, number of SKUs, caps */
    int64_t closes_at_ms;
    struct lt_sku skus[LT_SKUS_MAX]; /* out: the SKUs that are sold */
};
/* The part of the stock of the SKU with this index: equal parts, except for the remainder. */
int64_t lt_sale_stock(const struct lt_plan_spec *plan, size_t sku);
/* Creates a sale marked as a rehearsal, with units of LT_SKU ("rehearsal", "rehearsal-2"...) or of
 * the live sale's SKUs, and waits until it is open and reported as a rehearsal. PS_E_EXISTS:
 * the name is taken; PS_E_CONFLICT: the gateway refused (the fault has the reason), or the live
 * sale does not exist or has fewer SKUs; PS_E_TIMEOUT: it did not open; PS_E_IO, PS_E_CLOSED. */
int lt_sale_open(const struct lt_admin *admin, const char *name, struct lt_sale *sale,
                 struct ps_fault *fault) PS_MUST_CHECK;

/* Ends the sale for good. */
int lt_sale_end(const struct lt_admin *admin, const char *sale,
                struct ps_fault *fault) PS_MUST_CHECK;

/* Requests the gateway's own audit until nothing is in doubt, for at most `patience_ms`; returns
 * the last answer. Owner: the caller (json_decref). */
int lt_sale_settle(const struct lt_admin *admin, const char *sale, int64_t patience_ms,
                   json_t **ret_audit, struct ps_fault *fault) PS_MUST_CHECK;
/* The text of an audit's first violation, or "no fault". */
const char *lt_sale_violation(const json_t *audit);
/* Sums of a member over the SKUs of an audit. */
int64_t lt_sale_audit_sum(const json_t *audit, const char *member);

/* That of one SKU; 0: the audit does not have it. */
int64_t lt_sale_audit_number(const json_t *audit, const char *sku, const char *member);

/* A reader of a sale's records in line form. */
struct lt_lines {
    int (*take)(const char *line, size_t len, void *ctx); /* a line without its end; an error ends
                                                             the reading */
    void *ctx;
    int64_t after;   /* reads records behind this one; 0: all. Then the last one read */
    int64_t records; /* counts */
};
/* Reads to the end of the sale's log. PS_E_CORRUPT, PS_E_IO, the error of `take`. */
int lt_sale_read_lines(const struct lt_admin *admin, const char *sale, struct lt_lines *lines,
                       struct ps_fault *fault) PS_MUST_CHECK;
/* The same into an audit, from the record after its last one. */
int lt_sale_read_log(const struct lt_admin *admin, const char *sale, struct oq_audit *audit,
                     int64_t *io_records, struct ps_fault *fault) PS_MUST_CHECK;

#endif
