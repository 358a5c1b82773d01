/* The auditor: judges a sale from the log's records and, when given, the counter's numbers. It knows nothing of gateways. Used by the admin
 * API, the rehearsal tool and the tests. It keeps a fold of its own and further books that the fold does not need:
 *   - per SKU, recomputed order by order: adjustments = available + held + confirmed, and held + confirmed <= adjustments at every record (I1);
 *   - nobody above the caps that his order carries, at the record that accepted it (I3);
 *   - one (sale, user, key): at most one order that was ever accepted (I4); no order id accepted twice;
 *   - the fold's own totals equal the recomputed ones; no anomaly (I7);
 *   - with the counter: available + in_doubt + held + confirmed = adjustments (the cut), and held/confirmed agree.
 * One thread at a time. */
#ifndef OQ_AUDIT_H
#define OQ_AUDIT_H

#include "common/err.h"
#include "queue/event.h"
#include "queue/fold.h"

#include <jansson.h>

struct oq_audit;

/* The counter's numbers of one SKU, at the moment at which the log stood at `seq`. */
struct oq_audit_counter {
    const char *sku;
    int64_t available;
    int64_t in_doubt;
};

int oq_audit_new(struct oq_audit **ret_audit) PS_MUST_CHECK;
void oq_audit_free(struct oq_audit *audit);
int oq_audit_add(struct oq_audit *audit, uint32_t partition, int64_t seq, const struct oq_event *event) PS_MUST_CHECK;
/* Last record added. */
int64_t oq_audit_seq(const struct oq_audit *audit);
const struct oq_fold *oq_audit_fold(const struct oq_audit *audit);

/* {"ok":true,"at":"…","seq":N,"skus":[{"sku","adjustments","available","in_doubt","held","confirmed","released","counter_available"?}],"violations":[{"rule","sku"?,"order_id"?,"text"}]}; at
 * most 100 violations are listed, "violation_count" has them all. `counters` NULL: from the log alone. PS_E_NOT_FOUND: the log has no such sale. Owner: caller. */
int oq_audit_report(struct oq_audit *audit, const char *sale, int64_t at_ms, const struct oq_audit_counter *counters,
                    size_t counter_count, json_t **ret_report) PS_MUST_CHECK;

#endif
