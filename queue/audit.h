/* The auditor: judges a sale from the log's records and, when given, the counter's numbers. It
 * knows nothing of gateways. Used by the admin API, the rehearsal tool and the tests. It keeps a
 * fold, and beside it books of its own, kept order by order by a second reading of the same rules,
 * so that a mistake in the fold is found too. The rules, as they are named in a report:
 *
 * - I1: per SKU, held + confirmed <= adjustments.
 * - I3: no user holds more units than the caps that the user's latest reservation carries, where
 * the latest by time and the latest by the sale's version differ: than the wider ones (a clock that
 *   was set back by less than ten seconds hides what a lowered cap forbids).
 * - I4: one (sale, user, key): at most one order that was ever accepted.
 * - I7: no record that the protocol never writes (a confirmed or an expiry of an unknown order).
 * - duplicate_id: no order id is accepted for two different orders (the same record twice is fine).
 * - fold: the fold says of every order, epoch and total what these books say.
 * - cut: with the counter: available + in doubt + held + confirmed = adjustments, per SKU.
 *
 * I1 and I3 are judged at every record in a sale of one partition. Records of several partitions
 * reach the auditor in no common order, so there the two are judged at the report, from the units
 * as they are. One thread at a time. */
#ifndef OQ_AUDIT_H
#define OQ_AUDIT_H

#include "common/err.h"
#include "queue/event.h"
#include "queue/fold.h"

#include <jansson.h>

struct oq_audit;

/* Listed in a report; all are counted. */
#define OQ_AUDIT_LISTED 100

/* The counter's numbers of one SKU, at the moment at which the log stood where the audit does. */
struct oq_audit_counter {
    const char *sku;
    int64_t available;
    int64_t in_doubt;
};

int oq_audit_new(struct oq_audit **ret_audit) PS_MUST_CHECK;
void oq_audit_free(struct oq_audit *audit); /* NULL is allowed */

/* Takes the record at `seq`, as oq_fold_apply. PS_E_INVALID: it makes no sense and was not taken.
 * PS_E_NOMEM: the books may be incomplete now; only oq_audit_free is of use. */
int oq_audit_add(struct oq_audit *audit, uint32_t partition, int64_t seq,
                 const struct oq_event *event) PS_MUST_CHECK;
/* The same for a record in line form (oq_event_line), whose `seq` is its place. */
int oq_audit_add_line(struct oq_audit *audit, const char *line, size_t len) PS_MUST_CHECK;

/* Place of the record that was added last; -1 = none yet. Of one partition: oq_fold_seq. */
int64_t oq_audit_seq(const struct oq_audit *audit);
/* Borrowed; lives as long as the audit. */
const struct oq_fold *oq_audit_fold(const struct oq_audit *audit);

/* {"ok":true,"at":"…","seq":N,
 *  "skus":[{"sku","adjustments","available","in_doubt","held","confirmed","released",
 *           "counter_available"?}],
 *  "violation_count":0,"violations":[{"rule","sku"?,"order_id"?,"text"}]}
 * `available` is what the log leaves: adjustments - in_doubt - held - confirmed; counter_available
 * is what the counter says. At most OQ_AUDIT_LISTED violations are listed. `counters` NULL: from
 * the log alone. PS_E_NOT_FOUND: the log has no such sale. Owner: the caller (json_decref). */
int oq_audit_report(struct oq_audit *audit, const char *sale, int64_t at_ms,
                    const struct oq_audit_counter *counters, size_t counter_count,
                    json_t **ret_report) PS_MUST_CHECK;

#endif
