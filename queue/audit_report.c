/* The auditor's report: faults found record by record, and faults that only the sums show. See
 * audit.h for the rules. A report does not change the audit: the next one finds its own faults
 * again. */
#include "queue/audit_internal.h"
#include "common/text/json.h"

#include <stdio.h>
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
    size_t orders;
    const struct oq_sale *sale = oq_folded_sale(audit, sku->sale, &orders);
    bool found = sale != NULL && oq_sale_sku_find(sale, sku->name, strlen(sku->name), &number) == 0;
    if (found && audit->own != NULL)
        oq_sale_totals(sale, number, &totals);
    else if (found && sale == audit->cut.sale && number < audit->cut.sku_count)
        totals = audit->cut.totals[number];
    if (totals.adjustments == sku->adjustments && totals.held == sku->held &&
        totals.confirmed == sku->confirmed && totals.released == sku->released)
        return 0;
    return oq_find_fault(findings, "fold", sku->name, NULL, NULL,
                         "the fold has adjustments %lld, held %lld, confirmed %lld, released %lld; "
                         "the auditor %lld, %lld, %lld, %lld",
                         (long long)totals.adjustments, (long long)totals.held,
                         (long long)totals.confirmed, (long long)totals.released,
                         (long long)sku->adjustments, (long long)sku->held,
                         (long long)sku->confirmed, (long long)sku->released);
}

static bool amount_ok(int64_t amount)
{
    return amount >= 0 && amount <= PS_INT_MAX;
}

static bool amounts_ok(const struct oq_audit_counter *counter)
{
    return amount_ok(counter->available) && amount_ok(counter->in_doubt) &&
           amount_ok(counter->held) && amount_ok(counter->confirmed);
}

static int64_t taken(const struct oq_audit_counter *counter)
{
    return counter->in_doubt + counter->held + counter->confirmed;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Writes the fault in the counter's numbers as text; false: none. Orders are accepted, confirmed
 * and released once and forever, so the counter's numbers must lie between those before and those
 * after. An order also counts as held while its gateway has not reported that it was accepted. */
static bool cut_fault(const struct oq_audit_counter *counter, char *ret_text, size_t size)
{
    const struct oq_totals *before = &counter->before, *after = &counter->after;
    if (!amounts_ok(counter)) {
        (void)snprintf(ret_text, size,
                       "the counter has available %lld, in doubt %lld, held %lld, confirmed %lld",
                       (long long)counter->available, (long long)counter->in_doubt,
                       (long long)counter->held, (long long)counter->confirmed);
        return true;
    }
    int64_t sum = counter->available + taken(counter);
    int64_t least = smaller(before->adjustments, after->adjustments);
    int64_t most = before->adjustments + after->adjustments - least;
    if (sum < least || sum > most) {
        (void)snprintf(
            ret_text, size,
            "available %lld + in doubt %lld + held %lld + confirmed %lld = %lld, but the stock is "
            "%lld: %lld units %s",
            (long long)counter->available, (long long)counter->in_doubt, (long long)counter->held,
            (long long)counter->confirmed, (long long)sum, (long long)(sum < least ? least : most),
            (long long)(sum < least ? least - sum : sum - most),
            sum < least ? "stranded" : "too many on sale");
        return true;
    }
    if (counter->confirmed < before->confirmed || counter->confirmed > after->confirmed) {
        (void)snprintf(ret_text, size, "the counter has %lld units confirmed, the log %lld",
                       (long long)counter->confirmed, (long long)after->confirmed);
        return true;
    }
    int64_t accepted_before = before->held + before->confirmed + before->released;
    int64_t accepted_after = after->held + after->confirmed + after->released;
    int64_t held_most = accepted_after - before->confirmed - before->released;
    int64_t held_least = accepted_before - after->confirmed - after->released;
    if (counter->held > held_most) {
        (void)snprintf(
            ret_text, size, "the counter holds %lld units, the log %lld: %lld units stranded",
            (long long)counter->held, (long long)held_most, (long long)(counter->held - held_most));
        return true;
    }
    if (counter->held + counter->in_doubt < held_least) {
        (void)snprintf(ret_text, size,
                       "the counter holds %lld units and has %lld in doubt, the log holds %lld: "
                       "%lld units too many on sale",
                       (long long)counter->held, (long long)counter->in_doubt,
                       (long long)held_least,
                       (long long)(held_least - counter->held - counter->in_doubt));
        return true;
    }
    return false;
}

bool oq_audit_fits(const struct oq_audit_counter *counter)
{
    char text[320];
    return !cut_fault(counter, text, sizeof text);
}

static int check_cut(struct oq_findings *findings, const struct oq_sku_book *sku,
                     const struct oq_audit_counter *counter)
{
    char text[320];
    if (counter == NULL)
        return oq_find_fault(findings, "cut", sku->name, NULL, NULL,
                             "the counter does not have the SKU");
    if (!cut_fault(counter, text, sizeof text))
        return 0;
    return oq_find_fault(findings, "cut", sku->name, NULL, NULL, "%s", text);
}

/* A SKU of the counter that the log has never named. */
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

/* The present units, in a sale whose partitions reached the auditor in no common order. */
static int check_stock_at_rest(const struct oq_sale_book *sale, struct oq_findings *findings)
{
    const struct oq_sku_book *sku;
    int err = 0;
    for (size_t i = 0; err == 0 && (sku = oq_list_at(&sale->skus, i)) != NULL; i++)
        err = oq_check_stock(findings, sku, NULL);
    return err;
}

/* Can an order that is in the first state by the records be in the second one in a fold that
 * continues? */
static bool leads_to(enum oq_book_state book, enum oq_state fold)
{
    switch (book) {
    case OQ_BOOK_HELD:
        return fold != OQ_STATE_VOID;
    case OQ_BOOK_CONFIRMED:
        return fold == OQ_STATE_CONFIRMED;
    case OQ_BOOK_RELEASED:
        return fold == OQ_STATE_RELEASED;
    default:
        return fold == OQ_STATE_VOID;
    }
}

/* Compares with a fold that continues: its orders up to the cut. */
static int check_fold_orders(const struct oq_audit *audit, const struct oq_sale_book *sale,
                             struct oq_findings *findings)
{
    size_t count;
    const struct oq_sale *folded = oq_folded_sale(audit, sale, &count);
    int err = 0;
    for (size_t i = 0; err == 0 && i < count; i++) {
        const struct oq_order *order = oq_sale_order_at(folded, i);
        if (order == NULL) /* the sale was archived in the meantime */
            break;
        struct oq_slot slot = oq_slot_of(sale, order);
        const struct oq_place at = {oq_place_partition(oq_order_place(order)),
                                    oq_place_seq(oq_order_place(order))};
        const char *sku = oq_sale_sku(folded, oq_order_sku(order));
        if (!slot.known)
            err = oq_find_fault(findings, "lost", sku, oq_order_id(order), &at,
                                "the log does not show the order any more");
        else if (!leads_to(slot.state, oq_order_state(order)))
            err = oq_find_fault(findings, "fold", sku, oq_order_id(order), NULL,
                                "the fold's order differs from its records");
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
    int64_t in_doubt =
        counter != NULL && amounts_ok(counter) ? taken(counter) - sku->held - sku->confirmed : 0;
    if (in_doubt < 0)
        in_doubt = 0;
    json_t *row =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o*, s:o*, s:o*}", "sku", sku->name,
                  "adjustments", (json_int_t)sku->adjustments, "available",
                  (json_int_t)(sku->adjustments - in_doubt - sku->held - sku->confirmed),
                  "in_doubt", (json_int_t)in_doubt, "held", (json_int_t)sku->held, "confirmed",
                  (json_int_t)sku->confirmed, "released", (json_int_t)sku->released,
                  "counter_available", counter != NULL ? json_integer(counter->available) : NULL,
                  "counter_held", counter != NULL ? json_integer(counter->held) : NULL,
                  "counter_confirmed", counter != NULL ? json_integer(counter->confirmed) : NULL);
    return row != NULL && json_array_append_new(rows, row) == 0 ? 0 : PS_E_NOMEM;
}

static json_t *notices_of(const struct oq_sale_book *sale)
{
    const struct oq_steps *steps = &sale->steps;
    json_t *unknown = NULL, *stepped = NULL;
    if (sale->unknown > 0)
        unknown = json_sprintf("%lld records are of types that this version does not know: they "
                               "are kept and change nothing",
                               (long long)sale->unknown);
    if (steps->count > 0)
        stepped =
            json_sprintf("%llu records bear a time more than 2 s before that of the record "
                         "before them, at most %lld ms (partition %u, record %lld)",
                         (unsigned long long)steps->count, (long long)steps->largest_ms,
                         oq_place_partition(steps->place), (long long)oq_place_seq(steps->place));
    return json_pack("[o*, o*]", unknown, stepped);
}

/* Prints the report, once everything has been checked. */
static int print_report(const struct oq_audit *audit, const struct oq_sale_book *sale,
                        int64_t at_ms, json_t *rows, const struct oq_findings *findings,
                        json_t **ret_report)
{
    json_t *report =
        json_pack("{s:b, s:o, s:I, s:O, s:I, s:O, s:o, s:I}", "ok", findings->count == 0, "at",
                  ps_json_of_time(at_ms), "seq", (json_int_t)audit->seq, "skus", rows,
                  "violation_count", (json_int_t)findings->count, "violations", findings->list,
                  "notices", notices_of(sale), "unknown_records", (json_int_t)sale->unknown);
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
    /* Faults that only a report finds are not kept: the next one looks again. */
    struct oq_findings findings = {json_copy(sale->findings.list), sale->findings.count};
    json_t *rows = json_array();
    int err = findings.list == NULL || rows == NULL ? PS_E_NOMEM : 0;
    if (err == 0 && sale->partitions > 1)
        err = check_stock_at_rest(sale, &findings);
    if (err == 0)
        err = oq_check_buyers(audit, sale, &findings);
    if (err == 0 && audit->own == NULL)
        err = check_fold_orders(audit, sale, &findings);
    for (size_t i = 0; err == 0 && (sku = oq_list_at(&sale->skus, i)) != NULL; i++)
        err = report_sku(audit, &findings, sku, find_counter(counters, counter_count, sku->name),
                         counters != NULL, rows);
    if (err == 0)
        err = check_strangers(&findings, sale, counters, counter_count);
    if (err == 0)
        err = print_report(audit, sale, at_ms, rows, &findings, ret_report);
    json_decref(rows);
    json_decref(findings.list);
    return err;
}
