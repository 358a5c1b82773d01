/* The auditor's report: what was found record by record, and what shows only in the sums. See
 * audit.h for the rules. A report changes nothing in the books: what it finds itself is found again
 * by the next. */
#include "queue/audit_internal.h"
#include "common/json.h"

#include <string.h>

static const struct oq_audit_counter *find_counter(const struct oq_audit_counter *counters,
                                                   size_t count, const char *sku)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(counters[i].sku, sku) == 0)
            return &counters[i];
    }
    return NULL;
}

static int check_fold_totals(const struct oq_audit *audit, struct oq_findings *findings,
                             const struct oq_sku_book *sku)
{
    struct oq_totals totals = {0};
    uint32_t number;
    const struct oq_sale *sale =
        oq_fold_sale(audit->fold, sku->sale->name, strlen(sku->sale->name));
    if (sale != NULL && oq_sale_sku_find(sale, sku->name, strlen(sku->name), &number) == 0)
        oq_sale_totals(sale, number, &totals);
    if (totals.adjustments == sku->adjustments && totals.held == sku->held &&
        totals.confirmed == sku->confirmed && totals.released == sku->released)
        return 0;
    return oq_find_fault(
        findings, "fold", sku->name, NULL, NULL,
        "the fold counts adjustments %lld, held %lld, confirmed %lld, released %lld; "
        "these books %lld, %lld, %lld, %lld",
        (long long)totals.adjustments, (long long)totals.held, (long long)totals.confirmed,
        (long long)totals.released, (long long)sku->adjustments, (long long)sku->held,
        (long long)sku->confirmed, (long long)sku->released);
}

static bool amount_ok(int64_t amount)
{
    return amount >= 0 && amount <= PS_INT_MAX;
}

static int check_cut(struct oq_findings *findings, const struct oq_sku_book *sku,
                     const struct oq_audit_counter *counter)
{
    if (counter == NULL)
        return oq_find_fault(findings, "cut", sku->name, NULL, NULL,
                             "the counter does not have the SKU");
    if (!amount_ok(counter->available) || !amount_ok(counter->in_doubt))
        return oq_find_fault(findings, "cut", sku->name, NULL, NULL,
                             "the counter says available %lld, in doubt %lld",
                             (long long)counter->available, (long long)counter->in_doubt);
    int64_t accounted = counter->available + counter->in_doubt + sku->held + sku->confirmed;
    if (accounted == sku->adjustments)
        return 0;
    return oq_find_fault(
        findings, "cut", sku->name, NULL, NULL,
        "available %lld + in doubt %lld + held %lld + confirmed %lld = %lld, but the "
        "stock is %lld: %lld units %s",
        (long long)counter->available, (long long)counter->in_doubt, (long long)sku->held,
        (long long)sku->confirmed, (long long)accounted, (long long)sku->adjustments,
        (long long)(accounted < sku->adjustments ? sku->adjustments - accounted
                                                 : accounted - sku->adjustments),
        accounted < sku->adjustments ? "stranded" : "too many on sale");
}

/* A counter's SKU that the log has never named. */
static int check_strangers(struct oq_findings *findings, const struct oq_sale_book *sale,
                           const struct oq_audit_counter *counters, size_t count)
{
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++) {
        const struct oq_sku_book *sku = NULL;
        bool found = false;
        for (size_t j = 0; !found && (sku = oq_list_at(&sale->skus, j)) != NULL; j++)
            found = strcmp(sku->name, counters[i].sku) == 0;
        if (!found)
            err = oq_find_fault(findings, "cut", counters[i].sku, NULL, NULL,
                                "the log does not have the SKU");
    }
    return err;
}

static bool is_live(const struct oq_order_book *order)
{
    return order->state == OQ_BOOK_HELD || order->state == OQ_BOOK_CONFIRMED;
}

static void raise_cap(struct oq_units *units, int64_t cap)
{
    if (cap > units->cap)
        units->cap = cap;
}

/* The units as they are now, in a sale whose partitions reached the auditor in no common order. The
 * latest order that a buyer still has carries a cap that covers all the buyer's units: so the
 * largest cap of the buyer's orders must. */
static int check_at_rest(const struct oq_sale_book *sale, struct oq_findings *findings)
{
    const struct oq_sku_book *sku;
    struct oq_order_book *order;
    int err = 0;
    for (size_t i = 0; err == 0 && (sku = oq_list_at(&sale->skus, i)) != NULL; i++)
        err = oq_check_stock(findings, sku, NULL);
    for (size_t i = 0; (order = oq_list_at(&sale->orders, i)) != NULL; i++)
        order->user->cap = order->user_sku->cap = 0;
    for (size_t i = 0; (order = oq_list_at(&sale->orders, i)) != NULL; i++) {
        if (!is_live(order))
            continue;
        raise_cap(order->user, order->cap);
        raise_cap(order->user_sku, order->sku_cap > 0 ? order->sku_cap : PS_INT_MAX);
    }
    for (size_t i = 0; err == 0 && (order = oq_list_at(&sale->orders, i)) != NULL; i++) {
        if (!is_live(order))
            continue;
        err = oq_check_cap(findings, order, order->user, order->user->cap, NULL);
        if (err == 0)
            err = oq_check_cap(findings, order, order->user_sku, order->user_sku->cap, NULL);
        order->user->cap = order->user_sku->cap = 0; /* said once a buyer */
    }
    return err;
}

/* Checks one SKU and adds its row to `rows`. */
static int report_sku(const struct oq_audit *audit, struct oq_findings *findings,
                      const struct oq_sku_book *sku, const struct oq_audit_counter *counter,
                      bool with_counters, json_t *rows)
{
    int err = check_fold_totals(audit, findings, sku);
    if (err == 0 && with_counters)
        err = check_cut(findings, sku, counter);
    if (err != 0)
        return err;
    int64_t in_doubt = counter != NULL && amount_ok(counter->in_doubt) ? counter->in_doubt : 0;
    json_t *row =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o*}", "sku", sku->name, "adjustments",
                  (json_int_t)sku->adjustments, "available",
                  (json_int_t)(sku->adjustments - in_doubt - sku->held - sku->confirmed),
                  "in_doubt", (json_int_t)in_doubt, "held", (json_int_t)sku->held, "confirmed",
                  (json_int_t)sku->confirmed, "released", (json_int_t)sku->released,
                  "counter_available", counter != NULL ? json_integer(counter->available) : NULL);
    return row != NULL && json_array_append_new(rows, row) == 0 ? 0 : PS_E_NOMEM;
}

/* The report proper, once everything has been looked at. */
static int print_report(const struct oq_audit *audit, int64_t at_ms, json_t *rows,
                        const struct oq_findings *findings, json_t **ret_report)
{
    json_t *report =
        json_pack("{s:b, s:o, s:I, s:O, s:I, s:O}", "ok", findings->count == 0, "at",
                  ps_json_of_time(at_ms), "seq", (json_int_t)audit->seq, "skus", rows,
                  "violation_count", (json_int_t)findings->count, "violations", findings->list);
    if (report == NULL)
        return PS_E_NOMEM;
    *ret_report = report;
    return 0;
}

int oq_audit_report(struct oq_audit *audit, const char *sale_name, int64_t at_ms,
                    const struct oq_audit_counter *counters, size_t counter_count,
                    json_t **ret_report)
{
    const struct oq_sale_book *sale = NULL;
    const struct oq_sku_book *sku;
    for (size_t i = 0; (sale = oq_list_at(&audit->sales, i)) != NULL; i++) {
        if (strcmp(sale->name, sale_name) == 0)
            break;
    }
    if (sale == NULL)
        return PS_E_NOT_FOUND;
    /* What only a report finds is not kept: the next one looks again. */
    struct oq_findings findings = {json_copy(sale->findings.list), sale->findings.count};
    json_t *rows = json_array();
    int err = findings.list == NULL || rows == NULL ? PS_E_NOMEM : 0;
    if (err == 0 && sale->partitions > 1)
        err = check_at_rest(sale, &findings);
    for (size_t i = 0; err == 0 && (sku = oq_list_at(&sale->skus, i)) != NULL; i++)
        err = report_sku(audit, &findings, sku, find_counter(counters, counter_count, sku->name),
                         counters != NULL, rows);
    if (err == 0)
        err = check_strangers(&findings, sale, counters, counter_count);
    if (err == 0)
        err = print_report(audit, at_ms, rows, &findings, ret_report);
    json_decref(rows);
    json_decref(findings.list);
    return err;
}
