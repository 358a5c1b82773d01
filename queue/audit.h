/* The auditor: judges a sale from the log's records and, when given, the counter's numbers. It
 * knows nothing of gateways. Used by the admin API, the rehearsal tool and the tests. It reads the
 * rules of the protocol a second time, so that it finds mistakes of the fold, too: the state of
 * an order is decided here, from the records alone, and compared. What an order *says* (its buyer,
 * its units) is taken from the fold once the order's own record has confirmed every word of it. So
 * the auditor keeps eight bytes an order beside a fold that somebody has anyway.
 *
 * The fold is either the auditor's own, fed with the same records (the rehearsal, the tests), or a
 * gateway's, which continues meanwhile: then the log is read up to a cut, and the fold's present
 * state of each order must be reachable from the state at the cut. The rules, as they are named in
 * a report:
 *
 * - I1: per SKU, held + confirmed <= adjustments.
 * - I3: no user holds more units than the caps that the user's latest reservation carries, where
 * the latest by time and the latest by the sale's version differ: than the wider ones (a clock that
 *   was set back by less than ten seconds hides what a lowered cap forbids).
 * - I4: one (sale, user, key): at most one order that was ever accepted.
 * - I7: no record that the protocol never writes (a confirmed or an expiry of an unknown order).
 * - duplicate_id: no order id is accepted for two different orders (the same record twice is fine).
 * - early: no order was released as expired before its pay_by, by the time in the record.
 * - fold: the fold says of every order, epoch and total what the records say.
 * - lost: the log still shows every order that the fold has.
 * - cut: with the counter: available + in doubt + held + confirmed = adjustments, per SKU, and the
 *   counter holds and has confirmed what the log does. What it holds beyond the log is in doubt.
 *
 * I1 is judged at every record, I3 at every order, in a sale of one partition. Records of several
 * partitions reach the auditor in no common order, so there the two are judged at the report, from
 * the units as they are.
 *
 * Times that step back by more than two seconds from one record to the next are no violation, since
 * gateways have clocks of their own, but a notice. One thread at a time. */
#ifndef OQ_AUDIT_H
#define OQ_AUDIT_H

#include "common/err.h"
#include "queue/event.h"
#include "queue/fold.h"

#include <jansson.h>

struct oq_audit;

/* Listed in a report; all are counted. */
#define OQ_AUDIT_LISTED 100

/* The counter's numbers of one SKU, at a moment between two moments of the log: it had everything
 * that the log had `before`, and nothing that the log did not have `after`. For a counter in this
 * process the two are one. */
struct oq_audit_counter {
    const char *sku;
    int64_t available;
    int64_t in_doubt;
    int64_t held;
    int64_t confirmed;
    struct oq_totals before, after;
};

/* With a fold of its own. */
int oq_audit_new(struct oq_audit **ret_audit) PS_MUST_CHECK;
/* Of one sale, beside a fold that has all of its records up to the cut, and maybe more: `orders`
 * and `totals` (as many as the sale has SKUs) are its oq_sale_order_count and oq_sale_totals at the
 * cut. Fold and totals outlive the audit. Only records of that sale up to the cut are added. */
struct oq_audit_cut {
    const struct oq_fold *fold;
    const struct oq_sale *sale;
    size_t orders;
    const struct oq_totals *totals;
    size_t sku_count;
};
int oq_audit_new_beside(const struct oq_audit_cut *cut, struct oq_audit **ret_audit) PS_MUST_CHECK;
void oq_audit_free(struct oq_audit *audit); /* NULL is allowed */

/* Adds the record at `seq`, as oq_fold_apply. PS_E_INVALID: it is malformed and was not added.
 * PS_E_NOMEM: the audit may be incomplete now; only oq_audit_free is allowed. */
int oq_audit_add(struct oq_audit *audit, uint32_t partition, int64_t seq,
                 const struct oq_event *event) PS_MUST_CHECK;
/* The same for a record in line form (oq_event_line), whose `seq` is its place. */
int oq_audit_add_line(struct oq_audit *audit, const char *line, size_t len) PS_MUST_CHECK;
/* Adds a fault of rule `cut` that the caller has found in the counter: `sku` and `order` may be
 * NULL. */
int oq_audit_add_fault(struct oq_audit *audit, const char *sale, const char *sku,
                       const struct ps_uuid *order, const char *text) PS_MUST_CHECK;

/* Place of the last added record; -1 = none yet. With one partition: oq_fold_seq. */
int64_t oq_audit_seq(const struct oq_audit *audit);
/* Its own fold, or the one that it compares with. Borrowed; lives as long as the audit. */
const struct oq_fold *oq_audit_fold(const struct oq_audit *audit);

/* True: a report would find no fault of rule `cut` in these numbers. */
bool oq_audit_fits(const struct oq_audit_counter *counter);
/* {"ok":true,"at":"…","seq":N,
 *  "skus":[{"sku","adjustments","available","in_doubt","held","confirmed","released",
 *           "counter_available"?,"counter_held"?,"counter_confirmed"?}],
 *  "violation_count":0,"violations":[{"rule","sku"?,"order_id"?,"text"}],"notices":["…"],
 *  "unknown_records":0}
 * `available` is what the log leaves: adjustments - in_doubt - held - confirmed; in_doubt is what
 * the counter has taken beyond what the log shows; `unknown_records` are of types that a later
 * version has added: they change no number. At most OQ_AUDIT_LISTED violations are listed.
 * `counters` NULL: from the log alone. PS_E_NOT_FOUND: the log has no such sale. Owner: the caller
 * (json_decref). */
int oq_audit_report(struct oq_audit *audit, const char *sale, int64_t at_ms,
                    const struct oq_audit_counter *counters, size_t counter_count,
                    json_t **ret_report) PS_MUST_CHECK;

#endif
