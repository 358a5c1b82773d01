/* The report of a sale that has ended or still runs: from its log, its audit, and the gateway's
 * history of the last ten minutes. It plays nothing and changes nothing. */
#ifndef LT_SALE_REPORT_H
#define LT_SALE_REPORT_H

#include "loadtest/admin.h"
#include "queue/audit.h"

#include <stdio.h>

/* The log of one sale, read record by record. One thread. */
struct lt_sale_log {
    struct oq_audit *audit;
    int64_t expired_early;    /* orders that a record ended before they had to be paid */
    int64_t latest_expiry_ms; /* the longest time from an order's deadline to its expiry; 0: none */
};

/* PS_E_NOMEM. */
int lt_sale_log_new(struct lt_sale_log *ret_log) PS_MUST_CHECK;
void lt_sale_log_free(struct lt_sale_log *log);
/* A record in line form; an lt_line_fn, whose ctx is the log. */
int lt_sale_log_add(const char *line, size_t len, void *log);

/* `sale` is the document of GET /admin/v1/sales/NAME, `gateway` its own audit, `saw` what
 * lt_curves_history has read since `started_ms`, NULL: nothing. See loadtest/README.md for the
 * members. PS_E_NOT_FOUND: the log has no such sale; PS_E_NOMEM. Owner of *ret_json: the caller. */
int lt_sale_report_json(const struct lt_sale_log *log, const json_t *sale, json_t *gateway,
                        json_t *saw, json_t **ret_json) PS_MUST_CHECK;
/* The moment of the sale's first reservation; 0: nobody bought. */
int64_t lt_sale_report_start(const struct lt_sale_log *log, const char *sale);
/* As text, or as a self-contained page. PS_E_NOMEM. Errors of writing show in ferror(). */
int lt_sale_report_print(const json_t *report, bool page, FILE *out) PS_MUST_CHECK;

#endif
