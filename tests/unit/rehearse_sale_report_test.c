/* The report of a real sale, from records and from what the gateway says of itself. */
#include "tests/unit/check.h"

#include "loadtest/sale_report.h"
#include "tests/unit/records.h"

#include <stdlib.h>

struct world {
    struct lt_sale_log log;
    int64_t seq;
    json_t *report;
    char *text, *page;
};

static void end(struct world *world)
{
    lt_sale_log_free(&world->log);
    json_decref(world->report);
    free(world->text);
    free(world->page);
    *world = (struct world){.seq = 0};
}

/* As the admin API gives it. */
static void add_record(struct world *world, struct oq_event event)
{
    char json[OQ_EVENT_TEXT_MAX], line[OQ_EVENT_TEXT_MAX + OQ_SEQ_TEXT_MAX];
    struct ps_buf inside, buf;
    ps_buf_init(&inside, json, sizeof json);
    ps_buf_init(&buf, line, sizeof line);
    assert_ok(oq_event_encode(&event, &inside));
    assert_ok(oq_event_line(++world->seq, (struct ps_str){json, inside.len}, &buf));
    assert_ok(lt_sale_log_add(line, buf.len, &world->log));
}

static int set_up(void **state)
{
    static struct world world;
    end(&world);
    assert_ok(lt_sale_log_new(&world.log));
    add_record(&world, fenced(1, 1, true));
    add_record(&world, adjusted("initial:sale/sku", 3, 1));
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    end(*state);
    return 0;
}

static char *printed(const json_t *report, bool page)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_ok(lt_sale_report_print(report, page, out));
    assert_int_equal(fclose(out), 0);
    return text;
}

/* The gateway says what the log says, save `in_doubt`. */
static void make_report(struct world *world, const char *state, int64_t in_doubt)
{
    json_t *gateway = NULL;
    json_t *sale = json_pack("{s:s, s:s, s:s, s:n, s:i, s:i}", "sale", "sale", "state", state,
                             "opens_at", "2030-03-17T17:46:40.000Z", "closes_at", "per_user_cap",
                             10, "reservation_ttl_s", 900);
    assert_ok(oq_audit_report(world->log.audit, "sale", 0, NULL, 0, &gateway));
    json_t *row = json_array_get(json_object_get(gateway, "skus"), 0);
    json_object_set_new(row, "in_doubt", json_integer(in_doubt));
    assert_ok(lt_sale_report_json(&world->log, sale, gateway, NULL, &world->report));
    json_decref(gateway);
    json_decref(sale);
    world->text = printed(world->report, false);
    world->page = printed(world->report, true);
}

static void says(const char *text, const char *words)
{
    if (strstr(text, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, text);
}

static void both_say(struct world *world, const char *words)
{
    says(world->text, words);
    says(world->page, words);
}

static struct oq_event expired(uint32_t id, int64_t after_pay_by_ms)
{
    struct oq_event event = released(id, OQ_EXPIRED);
    event.at_ms = T0 + 900000 + after_pay_by_ms;
    return event;
}

static void what_became_of_orders_is_counted(void **state)
{
    struct world *world = *state;
    add_record(world, accepted(1, 1, "ann", "", 1));
    add_record(world, accepted(2, 1, "bob", "", 1));
    add_record(world, accepted(3, 1, "cid", "", 1));
    add_record(world, accepted(4, 0x7fff, "dan", "", 1)); /* of an epoch that is over: void */
    add_record(world, confirmed(1));
    add_record(world, expired(2, 2500));
    struct oq_event late = accepted(5, 1, "bob", "", 1);
    late.reserved_at_ms += 1200000;
    late.pay_by_ms += 1200000;
    add_record(world, late);
    make_report(world, "ended", 0);
    both_say(world, "The audit found no difference");
    says(world->text, "confirmed                         1         1");
    says(world->text, "accepted, not paid yet            2         2");
    says(world->text, "expired                           1         1");
    says(world->text, "rejected                          1         1");
    both_say(world, "3 buyers had an order");
    says(world->text, "3 of 3 units");
    says(world->page, "<b>3</b><span>of 3 units");
    both_say(world, "The latest expiry came 2.5 s after");
    says(world->page, "10 min</span>"); /* the axis of twenty minutes */
    json_t *timeline = json_object_get(world->report, "timeline");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(timeline, "units"), 0)), 3);
    assert_true(json_array_size(json_object_get(timeline, "units")) <= 100);
}

static void an_order_that_expired_early_is_a_fault(void **state)
{
    struct world *world = *state;
    add_record(world, accepted(1, 1, "ann", "", 1));
    add_record(world, expired(1, -1));
    make_report(world, "ended", 0);
    both_say(world, "THE AUDIT FOUND DIFFERENCES");
    both_say(world, "of 1 expired orders, 1 expired before their payment was due");
}

static void an_oversold_sale_is_a_fault(void **state)
{
    struct world *world = *state;
    add_record(world, accepted(1, 1, "ann", "", 4));
    make_report(world, "open", 0);
    both_say(world, "THE AUDIT FOUND DIFFERENCES");
    both_say(world, "1 units are oversold");
}

static void doubt_is_a_fault_only_when_nothing_is_sold_any_more(void **state)
{
    struct world *world = *state;
    add_record(world, accepted(1, 1, "ann", "", 1));
    make_report(world, "open", 1);
    both_say(world, "The audit found no difference");
    (void)set_up(state);
    add_record(world, accepted(1, 1, "ann", "", 1));
    make_report(world, "ended", 1);
    both_say(world, "THE AUDIT FOUND DIFFERENCES");
}

static void a_sale_without_an_order_has_a_report(void **state)
{
    struct world *world = *state;
    make_report(world, "ended", 0);
    both_say(world, "The audit found no difference");
    both_say(world, "0 buyers had an order");
    json_t *report = NULL, *gateway = json_object();
    json_t *other = json_pack("{s:s}", "sale", "other");
    assert_int_equal(lt_sale_report_json(&world->log, other, gateway, NULL, &report),
                     PS_E_NOT_FOUND);
    json_decref(other);
    json_decref(gateway);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(what_became_of_orders_is_counted),
        WITH(an_order_that_expired_early_is_a_fault),
        WITH(an_oversold_sale_is_a_fault),
        WITH(doubt_is_a_fault_only_when_nothing_is_sold_any_more),
        WITH(a_sale_without_an_order_has_a_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
