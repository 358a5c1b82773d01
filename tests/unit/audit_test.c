/* The auditor: silent about a log that is as it should be, and loud about each fault that it is
 * there to find. A rule that nobody has seen fail proves nothing. */
#include "tests/unit/check.h"

#include "queue/audit.h"
#include "tests/unit/records.h"

#include <stdio.h>

struct log {
    struct oq_audit *audit;
    int64_t next[2];
};

static struct log new_log(void)
{
    struct log log = {0};
    assert_ok(oq_audit_new(&log.audit));
    return log;
}

static void put_in(struct log *log, uint32_t partition, struct oq_event event)
{
    assert_ok(oq_audit_add(log->audit, partition, log->next[partition]++, &event));
}

static void put(struct log *log, struct oq_event event)
{
    put_in(log, 0, event);
}

/* Epoch 5 has begun, and `stock` units are on sale. */
static struct log open_sale(int64_t stock)
{
    struct log log = new_log();
    put(&log, fenced(5, 1, true));
    put(&log, adjusted("initial:sale/sku", stock, 5));
    return log;
}

static json_t *report(const struct log *log, const struct oq_audit_counter *counters, size_t count)
{
    json_t *report;
    assert_ok(oq_audit_report(log->audit, "sale", T0, counters, count, &report));
    return report;
}

static json_int_t number(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* The report has exactly these violations, named in a row: "I1 I1 cut". "" = none, and it says ok.
 */
static void assert_report(json_t *report, const char *rules)
{
    char found[256] = "";
    size_t index;
    const json_t *violation;
    json_array_foreach(json_object_get(report, "violations"), index, violation)
    {
        size_t len = strlen(found);
        const char *rule = json_string_value(json_object_get(violation, "rule"));
        assert_non_null(json_string_value(json_object_get(violation, "text")));
        (void)snprintf(found + len, sizeof found - len, "%s%s", len > 0 ? " " : "", rule);
    }
    assert_string_equal(found, rules);
    assert_int_equal(number(report, "violation_count"),
                     json_array_size(json_object_get(report, "violations")));
    assert_int_equal(json_is_true(json_object_get(report, "ok")), rules[0] == '\0');
    json_decref(report);
}

/* The counter's numbers, when the log has that much held and confirmed of a stock. */
static struct oq_audit_counter counted(int64_t available, int64_t in_doubt, int64_t held,
                                       int64_t confirmed, struct oq_totals log)
{
    return (struct oq_audit_counter){"sku", available, in_doubt, held, confirmed, log, log};
}

/* Ends the log: what does the auditor say of it? */
static void assert_verdict(struct log *log, const char *rules)
{
    assert_report(report(log, NULL, 0), rules);
    oq_audit_free(log->audit);
}

/* --- A log without fault --- */

static void a_sale_by_the_rules_has_no_violation(void **state)
{
    (void)state;
    struct log log = open_sale(5);
    put(&log, accepted(1, 5, "alice", "k", 2));
    put(&log, accepted(2, 5, "bob", "k", 2));
    put(&log, accepted(2, 5, "bob", "k", 2)); /* resent */
    put(&log, confirmed(1));
    put(&log, confirmed(1));
    put(&log, released(2, OQ_EXPIRED));
    put(&log, released(2, OQ_EXPIRED));
    put(&log, accepted(3, 5, "carol", "", 1));
    put(&log, adjusted("adjust:sale/less", -1, 5));
    put(&log, adjusted("adjust:sale/less", -1, 5));
    put(&log, adjusted("adjust:sale/late", -1, 4));
    put(&log, adjust_rejected("adjust:sale/gone", 1));
    put(&log, adjusted("adjust:sale/gone", -1, 5));
    put(&log, released(9, OQ_REJECTED));
    put(&log, accepted(9, 5, "dora", "", 1));
    put(&log, fenced(6, 1, false));
    put(&log, accepted(10, 5, "erik", "k", 1)); /* void: its epoch has ended */
    put(&log, accepted(11, 6, "erik", "k", 1));
    put(&log, released(11, OQ_CANCELLED));
    assert_int_equal(oq_audit_seq(log.audit), 20);
    assert_int_equal(oq_fold_seq(oq_audit_fold(log.audit), 0), 20);

    json_t *found = report(&log, NULL, 0);
    const json_t *row = json_array_get(json_object_get(found, "skus"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "sku")), "sku");
    assert_int_equal(number(row, "adjustments"), 4);
    assert_int_equal(number(row, "available"), 1);
    assert_int_equal(number(row, "in_doubt"), 0);
    assert_int_equal(number(row, "held"), 1);
    assert_int_equal(number(row, "confirmed"), 2);
    assert_int_equal(number(row, "released"), 3);
    assert_null(json_object_get(row, "counter_available"));
    assert_int_equal(number(found, "seq"), 20);
    assert_string_equal(json_string_value(json_object_get(found, "at")),
                        "2030-03-17T17:46:40.000Z");
    assert_report(found, "");
    const struct oq_audit_counter counter =
        counted(1, 0, 1, 2, (struct oq_totals){.adjustments = 4, .held = 1, .confirmed = 2});
    assert_report(report(&log, &counter, 1), "");
    assert_verdict(&log, "");
}

static void random_faultless_logs_have_no_violation(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 10; run++) {
        struct log log = open_sale(1000000);
        uint64_t seed = run;
        for (int i = 0; i < 2000; i++) {
            char user[16], key[16];
            uint32_t id = random_below(&seed, 500);
            (void)snprintf(user, sizeof user, "u%u", id % 100);
            (void)snprintf(key, sizeof key, "k%u", id);
            struct oq_event event = accepted(id, 4 + id % 2, user, id % 3 == 0 ? key : "", 1);
            put(&log, event);
            id = random_below(&seed, 500);
            struct ps_uuid uuid = id_of(id);
            if (oq_fold_order(oq_audit_fold(log.audit), &uuid) != NULL)
                put(&log, random_below(&seed, 2) == 0
                              ? confirmed(id)
                              : released(id, (enum oq_reason)(1 + random_below(&seed, 3))));
            else
                put(&log, released(id, OQ_REJECTED));
        }
        assert_verdict(&log, "");
    }
}

/* --- Seeded faults: each rule fails --- */

static void I1_an_oversold_unit_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(2);
    put(&log, accepted(1, 5, "alice", "", 2));
    put(&log, accepted(2, 5, "bob", "", 1));
    /* Found although it did not last. */
    put(&log, released(2, OQ_CANCELLED));
    json_t *found = report(&log, NULL, 0);
    const json_t *violation = json_array_get(json_object_get(found, "violations"), 0);
    assert_string_equal(json_string_value(json_object_get(violation, "sku")), "sku");
    assert_non_null(
        strstr(json_string_value(json_object_get(violation, "text")), "(partition 0, record 3)"));
    json_decref(found);
    assert_verdict(&log, "I1");
}

static void I1_stock_lowered_below_what_is_sold_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(2);
    put(&log, accepted(1, 5, "alice", "", 2));
    put(&log, confirmed(1));
    put(&log, adjusted("adjust:sale/less", -1, 5));
    assert_verdict(&log, "I1");
}

static void I1_an_order_for_a_sku_without_stock_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(2);
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    event.sku = PS_STR("never-stocked");
    put(&log, event);
    assert_verdict(&log, "I1");
}

static void I3_a_buyer_above_the_sales_cap_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    event.cap = 2;
    put(&log, event);
    put(&log, confirmed(1)); /* confirmed units count, released ones do not */
    event.order_id = id_of(2);
    put(&log, event);
    put(&log, released(2, OQ_EXPIRED));
    event.order_id = id_of(3);
    put(&log, event);
    event.order_id = id_of(4);
    event.sku = PS_STR("other"); /* the sale's cap spans SKUs */
    put(&log, adjusted("initial:sale/sku", 100, 5));
    struct oq_event stock = adjusted("initial:sale/other", 100, 5);
    stock.sku = PS_STR("other");
    put(&log, stock);
    put(&log, event);
    json_t *found = report(&log, NULL, 0);
    const json_t *violation = json_array_get(json_object_get(found, "violations"), 0);
    assert_string_equal(json_string_value(json_object_get(violation, "order_id")),
                        "01900000-0000-7000-8000-000004000000");
    json_decref(found);
    assert_verdict(&log, "I3");
}

static void I3_a_buyer_above_the_skus_cap_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    struct oq_event event = accepted(1, 5, "alice", "", 2);
    event.sku_cap = 2;
    put(&log, event);
    event.order_id = id_of(2);
    event.quantity = 1;
    put(&log, event);
    assert_verdict(&log, "I3");
}

static void I3_each_order_is_judged_by_the_cap_that_it_bears(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    struct oq_event event = accepted(1, 5, "alice", "", 3);
    event.cap = 3;
    put(&log, event);
    event = accepted(2, 5, "bob", "", 1);
    event.cap = 1; /* lowered since: alice keeps what she has */
    put(&log, event);
    assert_verdict(&log, "");
}

static void
I3_orders_that_land_the_other_way_round_are_judged_by_the_later_reservation(void **state)
{
    (void)state;
    for (int64_t raised = 0; raised <= 1; raised++) {
        struct log log = open_sale(100);
        struct oq_event later = accepted(2, 5, "alice", "b", 1),
                        earlier = accepted(1, 5, "alice", "a", 1);
        later.reserved_at_ms = earlier.reserved_at_ms + 1;
        later.cap = 1 + raised;
        earlier.cap = 2 - raised;
        put(&log, later);
        put(&log, earlier);
        assert_verdict(&log, raised == 1 ? "" : "I3");
    }
}

static void I3_a_cap_that_was_raised_counts_also_when_the_clock_was_set_back(void **state)
{
    (void)state;
    for (int64_t more = 0; more <= 1; more++) {
        struct log log = open_sale(100);
        struct oq_event first = accepted(1, 5, "alice", "a", 1),
                        second = accepted(2, 5, "alice", "b", 1 + more);
        first.cap = first.sku_cap = 1;
        second.cap = second.sku_cap = 2;
        second.sale_version = first.sale_version + 1;
        second.reserved_at_ms = first.reserved_at_ms - 60000;
        put(&log, first);
        put(&log, second);
        assert_verdict(&log, more == 1 ? "I3 I3" : ""); /* of the sale and of the SKU */
    }
}

/* The second order is judged by an older version of the sale, and reserved `later_ms` after. */
static void assert_own_cap_counts(int64_t later_ms)
{
    struct log log = open_sale(100);
    struct oq_event first = accepted(1, 5, "alice", "a", 1),
                    second = accepted(2, 5, "alice", "b", 1);
    first.cap = 1;
    first.sale_version = second.sale_version + 1;
    second.cap = 2;
    second.reserved_at_ms = first.reserved_at_ms + later_ms;
    put(&log, first);
    put(&log, second);
    assert_verdict(&log, "");
}

static void I3_a_gateway_that_hears_late_of_a_lowered_cap_still_goes_by_its_own(void **state)
{
    (void)state;
    assert_own_cap_counts(1);
}

static void I3_a_cap_that_was_lowered_counts_also_when_the_clock_was_set_back(void **state)
{
    (void)state;
    for (int64_t more = 0; more <= 1; more++) {
        struct log log = open_sale(100);
        struct oq_event first = accepted(1, 5, "alice", "a", 1),
                        second = accepted(2, 5, "alice", "b", 1),
                        third = accepted(3, 5, "alice", "c", 1);
        first.cap = 5;
        second.cap = third.cap = 2;
        second.sale_version = third.sale_version = first.sale_version + 1;
        second.reserved_at_ms = first.reserved_at_ms - 60000;
        third.reserved_at_ms = second.reserved_at_ms + 1;
        put(&log, first);
        put(&log, second);
        if (more == 1)
            put(&log, third);
        assert_verdict(&log, more == 1 ? "I3" : "");
    }
}

static void I3_a_gateway_that_hears_very_late_of_a_lowered_cap_still_goes_by_its_own(void **state)
{
    (void)state;
    assert_own_cap_counts(60000);
}

static void I4_a_key_with_two_accepted_orders_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    put(&log, accepted(1, 5, "alice", "k", 1));
    put(&log, released(1, OQ_CANCELLED)); /* a released order keeps its key */
    put(&log, accepted(2, 5, "alice", "k", 1));
    assert_verdict(&log, "I4");
}

static void I7_anomalies_are_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    put(&log, confirmed(1));
    put(&log, released(2, OQ_EXPIRED));
    put(&log, released(3, OQ_CANCELLED));
    assert_verdict(&log, "I7 I7 I7");
}

static void an_order_id_used_for_two_orders_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    put(&log, accepted(1, 5, "alice", "", 1));
    put(&log, accepted(1, 5, "bob", "", 1));
    put(&log, accepted(1, 5, "alice", "", 2));
    put(&log, accepted(1, 5, "alice", "k", 1));
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    event.pay_by_ms++;
    put(&log, event);
    event = accepted(1, 5, "alice", "", 1);
    event.reserved_at_ms++;
    put(&log, event);
    assert_verdict(&log, "duplicate_id duplicate_id duplicate_id duplicate_id duplicate_id");
}

/* A record that only the auditor's fold takes in: from then on the fold is wrong. */
static void mislead_fold(struct log *log, struct oq_event event)
{
    struct oq_change change;
    struct oq_fold *fold = (struct oq_fold *)(uintptr_t)oq_audit_fold(log->audit);
    assert_ok(oq_fold_apply(fold, 0, log->next[0]++, &event, &change));
}

static void a_fold_that_counts_an_order_of_an_ended_epoch_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    put(&log, fenced(6, 1, false));
    mislead_fold(&log, fenced(7, 1, false));
    put(&log, accepted(1, 7, "alice", "", 1)); /* the fold accepts it, the log has never begun 7 */
    json_t *found = report(&log, NULL, 0);
    assert_int_equal(number(json_array_get(json_object_get(found, "skus"), 0), "held"), 0);
    json_decref(found);
    assert_verdict(&log, "fold fold"); /* the order's state, and the total */
}

static void a_fold_with_another_epoch_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    mislead_fold(&log, fenced(9, 1, false));
    put(&log, fenced(6, 1, false));
    assert_verdict(&log, "fold");
}

static void a_fold_that_has_an_order_otherwise_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    mislead_fold(&log, accepted(1, 5, "bob", "", 1));
    put(&log, accepted(1, 5, "alice", "", 1));
    assert_verdict(&log, "fold");
}

static void a_fold_whose_totals_are_wrong_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(100);
    mislead_fold(&log, adjusted("adjust:sale/more", 1, 5));
    assert_verdict(&log, "fold");
    log = open_sale(100);
    put(&log, accepted(1, 5, "alice", "", 1));
    mislead_fold(&log, confirmed(1));
    assert_verdict(&log, "fold");
}

/* --- Beside a fold that goes on --- */

/* The log up to a cut, judged beside the fold of all of it; the records at `skip` are not shown. */
static void assert_beside(const struct oq_event *events, size_t count, size_t cut, size_t skip,
                          const char *rules)
{
    struct oq_fold *fold;
    struct oq_change change;
    struct oq_totals totals = {0};
    struct oq_audit_cut at = {.totals = &totals, .sku_count = 1};
    json_t *found;
    struct log log = {0};
    assert_ok(oq_fold_new(&fold));
    for (size_t i = 0; i < count; i++) {
        assert_ok(oq_fold_apply(fold, 0, (int64_t)i + 1, &events[i], &change));
        if (i + 1 != cut)
            continue;
        at.fold = fold;
        at.sale = oq_fold_sale(fold, "sale", 4);
        at.orders = oq_sale_order_count(at.sale);
        oq_sale_totals(at.sale, 0, &totals);
    }
    assert_ok(oq_audit_new_beside(&at, &log.audit));
    for (size_t i = 0; i < cut; i++)
        if (i != skip)
            assert_ok(oq_audit_add(log.audit, 0, (int64_t)i + 1, &events[i]));
    assert_ok(oq_audit_report(log.audit, "sale", T0, NULL, 0, &found));
    assert_report(found, rules);
    oq_audit_free(log.audit);
    oq_fold_free(fold);
}

static void a_fold_that_has_gone_on_since_the_cut_agrees_with_the_log(void **state)
{
    (void)state;
    const struct oq_event events[] = {fenced(5, 1, true),
                                      adjusted("initial:sale/sku", 10, 5),
                                      released(7, OQ_REJECTED),
                                      accepted(7, 5, "alice", "", 1),
                                      accepted(1, 5, "alice", "k", 1),
                                      accepted(2, 5, "bob", "", 1),
                                      accepted(3, 5, "alice", "", 1),
                                      released(1, OQ_CANCELLED),
                                      confirmed(2),
                                      accepted(4, 5, "alice", "", 1),
                                      confirmed(3),
                                      fenced(6, 1, false)};
    for (size_t cut = 2; cut <= PS_ARRAY_LEN(events); cut++)
        assert_beside(events, PS_ARRAY_LEN(events), cut, SIZE_MAX, "");
}

static void an_order_that_the_log_shows_no_more_is_lost(void **state)
{
    (void)state;
    const struct oq_event events[] = {fenced(5, 1, true), adjusted("initial:sale/sku", 10, 5),
                                      accepted(1, 5, "alice", "", 1), accepted(2, 5, "bob", "", 1)};
    /* Its units miss in the sum, too. */
    assert_beside(events, 4, 4, 3, "lost fold");
    assert_beside(events, 4, 4, 1, "I1 I1 fold");
}

static void an_end_that_the_log_shows_no_more_is_found(void **state)
{
    (void)state;
    const struct oq_event events[] = {fenced(5, 1, true), adjusted("initial:sale/sku", 10, 5),
                                      accepted(1, 5, "alice", "", 1), confirmed(1)};
    assert_beside(events, 4, 4, 3, "fold"); /* the sum alone: an order may be confirmed later */
    assert_beside(events, 4, 4, 2, "I7 lost fold");
}

/* --- When --- */

static void an_order_that_expired_before_its_time_is_found(void **state)
{
    (void)state;
    for (int64_t early = 0; early <= 1; early++) {
        struct log log = open_sale(10);
        struct oq_event event = released(1, OQ_EXPIRED);
        put(&log, accepted(1, 5, "alice", "", 1));
        event.at_ms = T0 + 900000 - early;
        put(&log, event);
        assert_verdict(&log, early == 1 ? "early" : "");
    }
    struct log log = open_sale(10);
    put(&log, accepted(1, 5, "alice", "", 1));
    put(&log, released(1, OQ_CANCELLED)); /* at any time */
    assert_verdict(&log, "");
}

static void a_time_that_steps_back_is_a_notice_and_no_violation(void **state)
{
    (void)state;
    struct log log = open_sale(10);
    struct oq_event event = confirmed(1);
    put(&log, accepted(1, 5, "alice", "", 1));
    event.at_ms = T0 + 10000;
    put(&log, event);
    event.at_ms -= 2000; /* clocks of gateways differ */
    put(&log, event);
    json_t *found = report(&log, NULL, 0);
    assert_int_equal(json_array_size(json_object_get(found, "notices")), 0);
    json_decref(found);
    event.at_ms -= 2001;
    put(&log, event);
    event = accepted(2, 5, "bob", "", 1);
    event.at_ms = T0 - 60000; /* it waited in a spill */
    put(&log, event);
    found = report(&log, NULL, 0);
    const char *notice = json_string_value(json_array_get(json_object_get(found, "notices"), 0));
    assert_non_null(strstr(notice, "1 records"));
    assert_non_null(strstr(notice, "2001 ms (partition 0, record 5)"));
    json_decref(found);
    assert_verdict(&log, "");
}

/* --- The counter --- */

/* 10 units, 2 held, 3 confirmed: the counter should have 5. */
static void assert_cut(int64_t available, int64_t in_doubt, const char *rules, const char *words)
{
    struct log log = open_sale(10);
    put(&log, accepted(1, 5, "alice", "", 2));
    put(&log, accepted(2, 5, "bob", "", 3));
    put(&log, confirmed(2));
    const struct oq_totals totals = {.adjustments = 10, .held = 2, .confirmed = 3};
    const struct oq_audit_counter counter = counted(available, in_doubt, 2, 3, totals);
    json_t *found = report(&log, &counter, 1);
    const json_t *row = json_array_get(json_object_get(found, "skus"), 0);
    assert_int_equal(number(row, "counter_available"), available);
    if (rules[0] != '\0') {
        const json_t *violation = json_array_get(json_object_get(found, "violations"), 0);
        assert_non_null(strstr(json_string_value(json_object_get(violation, "text")), words));
    } else {
        assert_int_equal(number(row, "available"), available);
        assert_int_equal(number(row, "in_doubt"), in_doubt);
    }
    assert_report(found, rules);
    /* A report leaves nothing behind: with the right counter all is well again. */
    const struct oq_audit_counter right = counted(5, 0, 2, 3, totals);
    assert_report(report(&log, &right, 1), "");
    assert_verdict(&log, "");
}

static void I5_a_counter_that_disagrees_is_found(void **state)
{
    (void)state;
    assert_cut(5, 0, "", "");
    assert_cut(3, 2, "", "");
    assert_cut(4, 0, "cut", "1 units stranded");
    assert_cut(7, 0, "cut", "2 units too many on sale");
    assert_cut(5, 1, "cut", "1 units too many on sale");
    assert_cut(-1, 6, "cut", "available -1");
    assert_cut(6, -1, "cut", "in doubt -1");
    assert_cut(INT64_MAX, 1, "cut", "available 9223372036854775807");
}

/* The log went from `before` to `after` around the counter's numbers. */
static void assert_between(struct oq_audit_counter counter, struct oq_totals after, bool fits)
{
    counter.after = after;
    assert_int_equal(oq_audit_fits(&counter), fits);
}

static void a_counter_between_two_moments_of_the_log_fits(void **state)
{
    (void)state;
    const struct oq_totals before = {.adjustments = 10, .held = 2, .confirmed = 3};
    /* One more is accepted, one of the held ones confirmed, one released. */
    const struct oq_totals after = {.adjustments = 10, .held = 1, .confirmed = 4, .released = 1};
    assert_between(counted(5, 0, 2, 3, before), before, true);
    assert_between(counted(5, 0, 2, 3, before), after, true);
    assert_between(counted(5, 0, 1, 4, before), after, true);
    assert_between(counted(6, 0, 0, 4, before), after, true);
    assert_between(counted(4, 1, 1, 4, before), after, true);
    assert_between(counted(4, 0, 3, 3, before), after, true);
    assert_between(counted(3, 0, 4, 3, before), after, false); /* held for good */
    assert_between(counted(4, 0, 3, 3, before), before, false);
    assert_between(counted(4, 1, 2, 3, before), before, true);
    assert_between(counted(5, 1, 1, 3, before), before,
                   true); /* not told yet that it is accepted */
    assert_between(counted(6, 0, 1, 3, before), before, false);
    assert_between(counted(5, 0, 1, 4, before), before, false);
    assert_between(counted(5, 0, 3, 2, before), before, false);
}

static void a_counter_that_took_a_unit_for_an_order_of_an_ended_epoch_is_found(void **state)
{
    (void)state;
    struct log log = open_sale(10);
    put(&log, fenced(6, 1, false));
    put(&log, accepted(1, 5, "alice", "", 1));
    const struct oq_audit_counter counter =
        counted(9, 0, 0, 0, (struct oq_totals){.adjustments = 10});
    assert_report(report(&log, &counter, 1), "cut");
    assert_verdict(&log, "");
}

static void counter_and_log_must_have_the_same_skus(void **state)
{
    (void)state;
    struct log log = open_sale(10);
    const struct oq_totals ten = {.adjustments = 10}, one = {.adjustments = 1};
    const struct oq_audit_counter counters[] = {counted(10, 0, 0, 0, ten),
                                                {"stranger", 1, 0, 0, 0, one, one}};
    assert_report(report(&log, counters, 2), "cut");
    assert_report(report(&log, counters + 1, 1), "cut cut");
    assert_report(report(&log, counters, 0), "cut");
    assert_verdict(&log, "");
}

/* --- Several partitions: judged at rest --- */

static struct log open_wide_sale(int64_t stock)
{
    struct log log = new_log();
    put_in(&log, 0, fenced(5, 2, true));
    put_in(&log, 1, fenced(5, 2, true));
    put_in(&log, 0, adjusted("initial:sale/sku", stock, 5));
    return log;
}

static void partitions_read_in_no_common_order_raise_no_false_alarm(void **state)
{
    (void)state;
    struct log log = open_wide_sale(1);
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    event.cap = 1;
    put_in(&log, 0, event);
    event.order_id = id_of(2); /* was reserved after the release below */
    put_in(&log, 1, event);
    json_t *found = report(&log, NULL, 0);
    assert_report(found, "I1 I3");
    put_in(&log, 0, released(1, OQ_CANCELLED));
    assert_verdict(&log, "");
}

static void units_at_rest_above_stock_or_cap_are_found_in_several_partitions(void **state)
{
    (void)state;
    struct log log = open_wide_sale(3);
    struct oq_event event = accepted(1, 5, "alice", "", 1);
    event.sku_cap = 1;
    put_in(&log, 0, event);
    event.order_id = id_of(2);
    put_in(&log, 1, event);
    put_in(&log, 1, confirmed(2));
    assert_report(report(&log, NULL, 0), "I3"); /* once for her, not once an order */
    put_in(&log, 0, accepted(3, 5, "bob", "", 2));
    assert_report(report(&log, NULL, 0), "I1 I3");
    /* A wider cap on a later order covers what she had before. */
    event.order_id = id_of(4);
    event.sku_cap = 3;
    put_in(&log, 0, event);
    put_in(&log, 0, adjusted("adjust:sale/more", 3, 5));
    assert_report(report(&log, NULL, 0), "");
    event.order_id = id_of(5);
    event.sku_cap = 0; /* lifted */
    put_in(&log, 1, event);
    assert_verdict(&log, "");
}

/* --- The auditor itself --- */

static void violations_are_listed_to_a_hundred_and_counted_to_the_end(void **state)
{
    (void)state;
    struct log log = open_sale(10);
    for (uint32_t id = 0; id < 250; id++)
        put(&log, confirmed(id));
    json_t *found = report(&log, NULL, 0);
    assert_int_equal(number(found, "violation_count"), 250);
    assert_int_equal(json_array_size(json_object_get(found, "violations")), OQ_AUDIT_LISTED);
    assert_true(json_is_false(json_object_get(found, "ok")));
    json_decref(found);
    oq_audit_free(log.audit);
}

static void sales_are_judged_apart(void **state)
{
    (void)state;
    struct log log = open_sale(10);
    struct oq_event event = confirmed(1);
    event.sale = PS_STR("other");
    put(&log, event);
    assert_report(report(&log, NULL, 0), "");
    json_t *found;
    assert_ok(oq_audit_report(log.audit, "other", T0, NULL, 0, &found));
    assert_report(found, "I7");
    assert_int_equal(oq_audit_report(log.audit, "none", T0, NULL, 0, &found), PS_E_NOT_FOUND);
    oq_audit_free(log.audit);
    oq_audit_free(NULL);
}

static void lines_are_audited_as_records_are(void **state)
{
    (void)state;
    struct log log = new_log();
    const struct oq_event events[] = {fenced(5, 1, true), adjusted("initial:sale/sku", 1, 5),
                                      accepted(1, 5, "alice", "", 2)};
    for (size_t i = 0; i < PS_ARRAY_LEN(events); i++) {
        char text[OQ_EVENT_TEXT_MAX], line[OQ_EVENT_TEXT_MAX + OQ_SEQ_TEXT_MAX];
        struct ps_buf json, buf;
        ps_buf_init(&json, text, sizeof text);
        ps_buf_init(&buf, line, sizeof line);
        assert_ok(oq_event_encode(&events[i], &json));
        assert_ok(oq_event_line((int64_t)i + 10, (struct ps_str){text, json.len}, &buf));
        ps_buf_puts(&buf, "\n");
        assert_ok(oq_audit_add_line(log.audit, line, buf.len));
        /* The same line again is no record of this log. */
        assert_int_equal(oq_audit_add_line(log.audit, line, buf.len), PS_E_INVALID);
    }
    assert_int_equal(oq_audit_add_line(log.audit, "{}", 2), PS_E_INVALID);
    assert_int_equal(oq_audit_seq(log.audit), 12);
    assert_verdict(&log, "I1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sale_by_the_rules_has_no_violation),
        cmocka_unit_test(random_faultless_logs_have_no_violation),
        cmocka_unit_test(I1_an_oversold_unit_is_found),
        cmocka_unit_test(I1_stock_lowered_below_what_is_sold_is_found),
        cmocka_unit_test(I1_an_order_for_a_sku_without_stock_is_found),
        cmocka_unit_test(I3_a_buyer_above_the_sales_cap_is_found),
        cmocka_unit_test(I3_a_buyer_above_the_skus_cap_is_found),
        cmocka_unit_test(I3_each_order_is_judged_by_the_cap_that_it_bears),
        cmocka_unit_test(
            I3_orders_that_land_the_other_way_round_are_judged_by_the_later_reservation),
        cmocka_unit_test(I3_a_cap_that_was_raised_counts_also_when_the_clock_was_set_back),
        cmocka_unit_test(I3_a_gateway_that_hears_late_of_a_lowered_cap_still_goes_by_its_own),
        cmocka_unit_test(I3_a_gateway_that_hears_very_late_of_a_lowered_cap_still_goes_by_its_own),
        cmocka_unit_test(I3_a_cap_that_was_lowered_counts_also_when_the_clock_was_set_back),
        cmocka_unit_test(I4_a_key_with_two_accepted_orders_is_found),
        cmocka_unit_test(I7_anomalies_are_found),
        cmocka_unit_test(an_order_id_used_for_two_orders_is_found),
        cmocka_unit_test(a_fold_that_counts_an_order_of_an_ended_epoch_is_found),
        cmocka_unit_test(a_fold_with_another_epoch_is_found),
        cmocka_unit_test(a_fold_that_has_an_order_otherwise_is_found),
        cmocka_unit_test(a_fold_whose_totals_are_wrong_is_found),
        cmocka_unit_test(a_fold_that_has_gone_on_since_the_cut_agrees_with_the_log),
        cmocka_unit_test(an_order_that_the_log_shows_no_more_is_lost),
        cmocka_unit_test(an_end_that_the_log_shows_no_more_is_found),
        cmocka_unit_test(an_order_that_expired_before_its_time_is_found),
        cmocka_unit_test(a_time_that_steps_back_is_a_notice_and_no_violation),
        cmocka_unit_test(I5_a_counter_that_disagrees_is_found),
        cmocka_unit_test(a_counter_between_two_moments_of_the_log_fits),
        cmocka_unit_test(a_counter_that_took_a_unit_for_an_order_of_an_ended_epoch_is_found),
        cmocka_unit_test(counter_and_log_must_have_the_same_skus),
        cmocka_unit_test(partitions_read_in_no_common_order_raise_no_false_alarm),
        cmocka_unit_test(units_at_rest_above_stock_or_cap_are_found_in_several_partitions),
        cmocka_unit_test(violations_are_listed_to_a_hundred_and_counted_to_the_end),
        cmocka_unit_test(sales_are_judged_apart),
        cmocka_unit_test(lines_are_audited_as_records_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
