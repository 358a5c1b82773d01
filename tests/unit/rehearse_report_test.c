/* What buyers were told, held against a log, and how that is reported. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "loadtest/moments.h"
#include "loadtest/report.h"
#include "loadtest/template.h"
#include "tests/unit/records.h"

#include <stdio.h>
#include <stdlib.h>

#define STOCK 2

static const struct lt_sku skus[] = {{"sku"}, {"other"}};

/* A small world: a tally, a log, what the gateway says of itself, and what is made of it. */
struct world {
    struct lt_tally *tally;
    struct oq_audit *audit;
    int64_t records;
    struct lt_decisions decisions;
    int64_t in_doubt;
    bool gateway_lies;
    struct lt_plan_spec wants;
    struct lt_proof proof;
    struct lt_plan *plan;
    struct lt_report report;
};

static void end(struct world *world)
{
    lt_proof_done(&world->proof);
    lt_plan_free(world->plan);
    oq_audit_free(world->audit);
    lt_tally_free(world->tally);
}

static void add_record(struct world *world, struct oq_event event)
{
    assert_ok(oq_audit_add(world->audit, 0, ++world->records, &event));
}

/* Starts again, whatever was before. */
static void begin(struct world *world, int64_t partitions)
{
    end(world);
    *world = (struct world){.records = 0};
    assert_ok(lt_tally_new(&world->tally));
    assert_ok(oq_audit_new(&world->audit));
    lt_plan_spec_fill(&world->wants);
    add_record(world, fenced(1, partitions, true));
    add_record(world, adjusted("initial:sale/sku", STOCK, 1));
}

static int set_up(void **state)
{
    static struct world world;
    begin(&world, 1);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    end(*state);
    *(struct world *)*state = (struct world){.records = 0};
    return 0;
}

/* Order `id` of the user, cap 1. */
static void log_order(struct world *world, uint32_t id, const char *user)
{
    struct oq_event event = accepted(id, 1, user, "", 1);
    event.cap = 1;
    add_record(world, event);
}

static uint8_t wished; /* of the next click */

static void answered(struct world *world, uint32_t buyer, int status, bool replayed,
                     const char *body)
{
    struct lt_click click = {.at_ns = 10 * PS_NS_PER_MS, .buyer = buyer, .wish = wished};
    struct lt_answer answer = {.outcome = LT_ANSWERED,
                               .click = &click,
                               .ended_ns = 12 * PS_NS_PER_MS,
                               .latency_ns = 2 * PS_NS_PER_MS,
                               .status = status,
                               .replayed = replayed,
                               .body = str(body)};
    lt_tally_add(world->tally, &answer);
}

static void answered_as(struct world *world, uint32_t buyer, uint32_t id, const char *state,
                        bool replayed)
{
    char uuid[PS_UUID_LEN + 1], body[200];
    struct ps_uuid order = id_of(id);
    ps_uuid_format(&order, uuid);
    (void)snprintf(body, sizeof body,
                   "{\"order_id\":\"%s\",\"sale\":\"sale\",\"state\":\"%s\",\"reason\":null}", uuid,
                   state);
    answered(world, buyer, 202, replayed, body);
}

static void judge(struct world *world)
{
    json_t *gateway = NULL;
    assert_ok(oq_audit_report(world->audit, "sale", 0, NULL, 0, &gateway));
    json_t *row = json_array_get(json_object_get(gateway, "skus"), 0);
    json_object_set_new(row, "in_doubt", json_integer(world->in_doubt));
    if (world->gateway_lies)
        json_object_set_new(row, "held", json_integer(0));
    struct lt_evidence evidence = {.tally = world->tally,
                                   .decisions = &world->decisions,
                                   .audit = world->audit,
                                   .records = world->records,
                                   .gateway = gateway,
                                   .sale = "sale",
                                   .plan = &world->wants,
                                   .skus = skus,
                                   .user_prefix = "b-"};
    lt_proof_done(&world->proof);
    assert_ok(lt_proof_make(&evidence, &world->proof));
    json_decref(gateway);
}

static void judge_well(struct world *world)
{
    judge(world);
    assert_true(world->proof.ok);
}

static void only_fails(struct world *world, enum lt_check_name name)
{
    judge(world);
    assert_false(world->proof.ok);
    for (size_t i = 0; i < LT_CHECKS; i++)
        assert_int_equal(world->proof.checks[i].ok, i != name);
}

static void kept_promises_are_a_proof(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    log_order(world, 2, "b-2");
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 1, 1, "accepted", true);
    answered_as(world, 2, 2, "pending", false);
    answered(world, 3, 409, false, "{\"code\": \"sold_out\"}");
    judge(world);
    assert_true(world->proof.made && world->proof.ok);
    assert_int_equal(world->proof.sum.held, 2);
    assert_int_equal(world->proof.promised, 1);
    assert_int_equal(world->proof.pending_accepted, 1);
    assert_int_equal(world->proof.unreported, 0);
    assert_int_equal(lt_tally_count(world->tally, "accepted"), 1);
    assert_int_equal(lt_tally_count(world->tally, "replayed"), 1);
    assert_int_equal(lt_tally_count(world->tally, "pending"), 1);
    assert_int_equal(lt_tally_count(world->tally, "sold_out"), 1);
}

static void a_promise_that_is_not_in_the_log_is_lost(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 2, 2, "accepted", false);
    only_fails(world, LT_CHECK_LOST);
    assert_int_equal(world->proof.lost, 1);
}

static void another_buyers_order_does_not_keep_a_promise(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    answered_as(world, 11, 1, "accepted", false);
    only_fails(world, LT_CHECK_LOST);
}

static void a_promise_must_not_be_taken_back(void **state)
{
    struct world *world = *state;
    add_record(world, released(1, OQ_REJECTED));
    log_order(world, 1, "b-1"); /* comes too late: void */
    answered_as(world, 1, 1, "accepted", false);
    only_fails(world, LT_CHECK_LOST);
}

static void an_order_may_end_by_expiry(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    add_record(world, released(1, OQ_EXPIRED));
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 1, 1, "released", true);
    log_order(world, 2, "b-1"); /* they may buy again then */
    answered_as(world, 1, 2, "accepted", false);
    judge_well(world);
    assert_int_equal(world->proof.sum.released, 1);
}

static void an_order_that_lives_must_not_be_called_over(void **state)
{
    struct world *world = *state;
    static const char *const before[] = {NULL, "pending", "accepted"};
    for (size_t i = 0; i < PS_ARRAY_LEN(before); i++) {
        begin(world, 1);
        log_order(world, 1, "b-1");
        if (before[i] != NULL)
            answered_as(world, 1, 1, before[i], false);
        answered_as(world, 1, 1, "released", true);
        answered_as(world, 1, 1, "released", true);
        only_fails(world, LT_CHECK_LOST);
        assert_int_equal(world->proof.lost, 1);
        assert_int_equal(world->proof.unreported, 0);
    }
}

static void sell_one_too_many(struct world *world)
{
    for (uint32_t i = 1; i <= STOCK + 1; i++) {
        char user[8];
        (void)snprintf(user, sizeof user, "b-%u", i);
        log_order(world, i, user);
        answered_as(world, i, i, "accepted", false);
    }
}

static void an_oversold_sale_is_found(void **state)
{
    struct world *world = *state;
    sell_one_too_many(world);
    judge(world);
    assert_int_equal(world->proof.oversold, 1);
    assert_false(world->proof.checks[LT_CHECK_OVERSOLD].ok);
    assert_false(world->proof.checks[LT_CHECK_PROMISES].ok);
    assert_false(world->proof.checks[LT_CHECK_AUDITOR].ok);
}

/* Of several partitions the auditor only sees how it ended. */
static void what_the_rehearsal_cancels_hides_no_promise(void **state)
{
    struct world *world = *state;
    begin(world, 2);
    sell_one_too_many(world);
    add_record(world, released(1, OQ_CANCELLED));
    struct lt_decision cancelled = {.order_id = id_of(1), .done = true, .said = true};
    world->decisions = (struct lt_decisions){.list = &cancelled, .count = 1, .cancelled = 1};
    only_fails(world, LT_CHECK_PROMISES);
    cancelled.said = false; /* it was over before: another buyer may have got the unit */
    judge_well(world);
}

static void a_buyer_with_two_is_found(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    add_record(world, accepted(2, 1, "b-1", "", 1)); /* under a cap of 10 */
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 1, 2, "accepted", false);
    only_fails(world, LT_CHECK_TWICE);
    assert_int_equal(world->proof.twice, 1);
}

/* Two SKUs of two units; a buyer may have three units, two of each. */
static void begin_wide(struct world *world)
{
    begin(world, 1);
    world->wants = (struct lt_plan_spec){
        .skus = 2, .quantity_min = 1, .quantity_max = 1, .cap = 3, .sku_cap = 2};
    struct oq_event other = adjusted("initial:sale/other", STOCK, 1);
    other.sku = PS_STR("other");
    add_record(world, other);
}

/* The order of the buyer's wish: both take the SKUs in turn. */
static void sell(struct world *world, uint32_t id, uint32_t buyer, uint8_t wish)
{
    char user[8];
    (void)snprintf(user, sizeof user, "b-%u", buyer);
    struct oq_event event = accepted(id, 1, user, "", 1);
    event.sku = ps_str(skus[(buyer + wish) % 2].name);
    add_record(world, event);
    wished = wish;
    answered_as(world, buyer, id, "accepted", false);
    wished = 0;
}

static void units_are_proved_of_each_sku(void **state)
{
    struct world *world = *state;
    begin_wide(world);
    sell(world, 1, 1, 0);
    sell(world, 2, 1, 1);
    sell(world, 3, 1, 2);
    judge_well(world);
    assert_int_equal(world->proof.sum.held, 3);
    assert_int_equal(world->proof.skus[0].held, 1);
    assert_int_equal(world->proof.skus[1].held, 2);
    assert_int_equal(world->proof.skus[1].promised, 2);

    sell(world, 4, 3, 0); /* a third unit of "other", while one of "sku" is left */
    judge(world);
    assert_int_equal(world->proof.oversold, 1);
    assert_false(world->proof.checks[LT_CHECK_OVERSOLD].ok);
    assert_false(world->proof.checks[LT_CHECK_PROMISES].ok);
    assert_non_null(strstr(world->proof.checks[LT_CHECK_PROMISES].text, "of other"));
}

static void a_buyer_above_a_cap_is_found(void **state)
{
    struct world *world = *state;
    begin_wide(world);
    for (uint8_t wish = 0; wish < 4; wish++)
        sell(world, 1U + wish, 2, wish);
    only_fails(world, LT_CHECK_TWICE); /* four, and three are allowed */
    assert_int_equal(world->proof.twice, 1);
    begin_wide(world);
    world->wants.sku_cap = 1;
    sell(world, 1, 2, 0);
    sell(world, 2, 2, 1);
    judge_well(world);
    sell(world, 3, 2, 2);
    only_fails(world, LT_CHECK_TWICE); /* two of "sku" */
}

static void an_order_of_something_else_keeps_no_promise(void **state)
{
    struct world *world = *state;
    begin_wide(world);
    add_record(world, accepted(1, 1, "b-1", "", 1)); /* of "sku", and the wish was "other" */
    answered_as(world, 1, 1, "accepted", false);
    only_fails(world, LT_CHECK_LOST);
    begin_wide(world);
    add_record(world, accepted(1, 1, "b-2", "", 2)); /* two, and the wish was one */
    answered_as(world, 2, 1, "accepted", false);
    only_fails(world, LT_CHECK_LOST);
    assert_non_null(strstr(world->proof.checks[LT_CHECK_LOST].text, "; the first: 01900000-"));
    assert_non_null(strstr(world->proof.checks[LT_CHECK_LOST].text, " of b-2"));
}

static void who_lost_the_answer_and_found_the_order_is_counted(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    log_order(world, 2, "b-2");
    answered_as(world, 1, 1, "accepted", true);
    judge_well(world);
    assert_int_equal(world->proof.orders, 2);
    assert_int_equal(world->proof.found_again, 1);
    assert_int_equal(world->proof.unreported, 1);
    answered_as(world, 1, 1, "accepted", false); /* they only clicked twice */
    judge_well(world);
    assert_int_equal(world->proof.found_again, 0);
}

static void a_pending_order_may_become_anything(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    add_record(world, released(2, OQ_REJECTED));
    for (uint32_t i = 1; i <= 3; i++)
        answered_as(world, i, i, "pending", false);
    log_order(world, 4, "b-4"); /* whose answer was lost */
    judge_well(world);
    assert_int_equal(world->proof.pending_accepted, 1);
    assert_int_equal(world->proof.pending_void, 1);
    assert_int_equal(world->proof.pending_gone, 1);
    assert_int_equal(world->proof.unreported, 1);
}

static void what_was_said_to_be_decided_must_be(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    log_order(world, 2, "b-2");
    add_record(world, confirmed(1));
    add_record(world, released(2, OQ_CANCELLED));
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 2, 2, "accepted", false);
    struct lt_decision list[] = {{.order_id = id_of(1), .confirm = true, .said = true},
                                 {.order_id = id_of(2), .said = true},
                                 {.order_id = id_of(2), .confirm = true}};
    world->decisions = (struct lt_decisions){.list = list, .count = 3, .confirmed = 1};
    judge_well(world);
    assert_int_equal(world->proof.sum.confirmed, 1);
    list[2].said = true;
    only_fails(world, LT_CHECK_DECIDED);
}

static void an_unreadable_promise_spoils_the_proof(void **state)
{
    struct world *world = *state;
    static const char *const bodies[] = {
        "", "{}", "{\"order_id\":\"1\",\"state\":\"accepted\"}",
        "{\"order_id\":\"01900000-0000-7000-8000-000000000001\",\"state\":\"great\"}",
        "{\"detail\":\"\\\"order_id\\\":\\\"01900000-0000-7000-8000-000000000001\\\"\"}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        begin(world, 1);
        log_order(world, 2, "b-2");
        answered(world, 1, i % 2 == 0 ? 202 : 200, false, bodies[i]);
        only_fails(world, LT_CHECK_LEGIBLE);
    }
}

static void a_promise_is_one_whatever_a_proxy_makes_of_its_status(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    answered(world, 2, 200, false,
             "{\"order_id\":\"01900000-0000-7000-8000-000000000009\",\"state\":\"accepted\"}");
    only_fails(world, LT_CHECK_LOST);
}

static void a_sale_that_nobody_got_into_is_no_proof(void **state)
{
    struct world *world = *state;
    answered(world, 1, 503, false, "{\"code\":\"paused\"}");
    only_fails(world, LT_CHECK_TRIED);
    assert_string_equal(lt_proof_words(&world->proof), "The run proves nothing");
    assert_non_null(strstr(world->proof.checks[LT_CHECK_TRIED].text, "1 ended as paused"));

    begin(world, 1);
    log_order(world, 1, "b-1");
    answered(world, 2, 401, false, "{\"code\":\"unauthenticated\"}");
    answered(world, 3, 401, false, "<html>"); /* a proxy's */
    only_fails(world, LT_CHECK_TRIED);
    assert_non_null(strstr(world->proof.checks[LT_CHECK_TRIED].text, "2 of 2 clicks"));
}

static void a_gateway_that_disagrees_is_found(void **state)
{
    struct world *world = *state;
    log_order(world, 1, "b-1");
    world->gateway_lies = true;
    only_fails(world, LT_CHECK_GATEWAY);

    begin(world, 1);
    log_order(world, 1, "b-1");
    world->in_doubt = 1;
    only_fails(world, LT_CHECK_SETTLED);
}

static void verdicts_are_counted_by_their_code(void **state)
{
    struct world *world = *state;
    struct lt_tally *tally = world->tally;
    answered(world, 1, 429, false, "{\"status\":429,\"code\":\"user_rate\"}");
    answered(world, 1, 502, false, "<html>");
    answered(world, 1, 404, false, "{\"code\":\"no <b>name</b>\"}");
    struct lt_click click = {.tries = 1};
    for (int outcome = LT_NO_ANSWER; outcome <= LT_GARBLED; outcome++) {
        struct lt_answer answer = {
            .outcome = (enum lt_outcome)outcome, .click = &click, .sent_late_ns = -1};
        lt_tally_add(tally, &answer);
    }
    static const char *const names[] = {"user_rate", "http_502", "http_404", "no_answer",
                                        "reset",     "refused",  "garbled"};
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        assert_int_equal(lt_tally_count(tally, names[i]), 1);
    assert_int_equal(tally->clicks, 7);
    assert_int_equal(tally->tries_again, 4);
    assert_int_equal(tally->never_sent, 1);
}

static void a_long_run_widens_the_slots_and_loses_nothing(void **state)
{
    struct lt_tally *tally = ((struct world *)*state)->tally;
    for (int64_t i = 0; i < 5000; i++) {
        struct lt_click click = {.at_ns = i * 7 * PS_NS_PER_MS};
        struct lt_answer answer = {.outcome = LT_RESET,
                                   .click = &click,
                                   .ended_ns = click.at_ns + 3 * PS_NS_PER_MS,
                                   .latency_ns = 3 * PS_NS_PER_MS};
        lt_tally_add(tally, &answer);
    }
    uint64_t offered = 0, ended = 0;
    for (size_t i = 0; i < LT_SLOTS; i++) {
        offered += tally->offered[i];
        ended += tally->verdicts[LT_V_RESET]->slot[i];
        if (i >= tally->slot_count)
            assert_int_equal(tally->offered[i], 0);
    }
    assert_int_equal(offered, 5000);
    assert_int_equal(ended, 5000);
    assert_true((int64_t)tally->slot_count * tally->slot_ns >= 4999 * 7 * PS_NS_PER_MS);
}

/* Percentiles of slots hold however often the slots were widened. */
static void how_long_buyers_waited_is_told_slot_by_slot(void **state)
{
    struct lt_waits waits;
    (void)state;
    assert_ok(lt_waits_new(&waits));
    for (int64_t i = 0; i < 3000; i++) /* a minute; in its second half answers take 100 ms */
        lt_waits_add(&waits, i * 20 * PS_NS_PER_MS, (i < 1500 ? 1 : 100) * PS_NS_PER_MS);
    assert_true((int64_t)waits.slot_count * waits.slot_ns >= 60 * PS_NS_PER_S - 20 * PS_NS_PER_MS);
    uint64_t answers = 0;
    for (size_t i = 0; i < waits.slot_count; i++) {
        double ms = (double)ps_histogram_percentile(&waits.slots[i], 50) / (double)PS_NS_PER_MS;
        bool early = (int64_t)(i + 1) * waits.slot_ns <= 30 * PS_NS_PER_S;
        bool late = (int64_t)i * waits.slot_ns >= 30 * PS_NS_PER_S;
        answers += waits.slots[i].count;
        assert_true(early || late ? (early ? ms < 1.1 : ms > 99 && ms < 102) : true);
    }
    assert_int_equal(answers, 3000);
    lt_waits_free(&waits);
}

static void make_report(struct world *world)
{
    struct lt_plan_spec spec = {
        .stock = STOCK, .seed = 1, .phases = {{LT_SPIKE, 1000, 4}}, .phase_count = 1};
    struct ps_fault fault;
    judge(world);
    assert_ok(lt_plan_new(&spec, &world->plan, &fault));
    world->report = (struct lt_report){
        .plan = world->plan,
        .sale = "sale",
        .public_authority = "<shop>",
        .started_wall_ms = T0 - 20,
        .connections = 10,
        .timeout_ms = 1000,
        .tally = world->tally,
        .proof = &world->proof,
    };
    lt_report_sales(&world->report, oq_audit_fold(world->audit));
}

/* HAProxy says "no_answer" for a gateway that died: that is an answer, and a refusal. */
static void a_code_that_is_called_like_silence_is_an_answer(void **state)
{
    struct world *world = *state;
    static const char *const codes[] = {"accepted", "pending", "replayed", "no_answer", "reset",
                                        "refused",  "garbled", "all",      "refusals",  "admitted"};
    for (size_t i = 0; i < PS_ARRAY_LEN(codes); i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"status\":503,\"code\":\"%s\"}", codes[i]);
        answered(world, 1, 503, false, body);
        assert_int_equal(lt_tally_count(world->tally, codes[i]), 0);
    }
    make_report(world);
    json_t *json = lt_report_json(&world->report);
    json_int_t answered_count = 0, refusals = 0;
    assert_ok(json_unpack(json, "{s:I, s:{s:{s:I}}}", "answered", &answered_count, "latency_ms",
                          "refusals", "count", &refusals));
    assert_int_equal(lt_tally_count(world->tally, "http_503"), PS_ARRAY_LEN(codes));
    assert_int_equal(answered_count, PS_ARRAY_LEN(codes));
    assert_int_equal(refusals, PS_ARRAY_LEN(codes));
    json_decref(json);
}

/* Every answer of this world comes after 2 ms. */
static void answers_in_time_are_counted_by_verdict(void **state)
{
    struct world *world = *state;
    json_int_t within_ms = 0, accepted_count = 0, sold_out = -1, admitted = 0;
    world->tally->in_time_ns = 2 * PS_NS_PER_MS;
    answered_as(world, 1, 1, "accepted", false);
    answered_as(world, 2, 2, "pending", false);
    world->tally->in_time_ns = 2 * PS_NS_PER_MS - 1;
    answered_as(world, 3, 3, "accepted", false);
    answered(world, 4, 409, false, "{\"code\":\"sold_out\"}");
    world->tally->in_time_ns = 250 * PS_NS_PER_MS;
    make_report(world);
    json_t *json = lt_report_json(&world->report);
    assert_ok(json_unpack(json, "{s:{s:I, s:{s:I, s:I}}, s:{s:{s:I}}}", "in_time", "within_ms",
                          &within_ms, "answers", "accepted", &accepted_count, "sold_out", &sold_out,
                          "latency_ms", "admitted", "count", &admitted));
    assert_int_equal(within_ms, 250);
    assert_int_equal(accepted_count, 1);
    assert_int_equal(sold_out, 0);
    assert_int_equal(admitted, 3);
    json_decref(json);
    world->tally->in_time_ns = 0;
    json = lt_report_json(&world->report);
    assert_true(json_is_null(json_object_get(json, "in_time")));
    json_decref(json);
}

/* One sale, reported in all forms. */
static int set_up_report(void **state)
{
    (void)set_up(state);
    struct world *world = *state;
    log_order(world, 1, "b-1");
    answered_as(world, 1, 1, "accepted", false);
    answered(world, 2, 409, false, "{\"code\":\"sold_out\"}");
    answered(world, 3, 429, false, "{\"code\":\"user_rate\"}");
    answered(world, 4, 503, false, "{\"code\":\"shed\"}");
    make_report(world);
    return 0;
}

static char *printed(const struct world *world, enum lt_form form)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_ok(lt_report_print(&world->report, form, out));
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_says(const char *text, const char *words)
{
    if (strstr(text, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, text);
}

static void the_summary_speaks_plainly(void **state)
{
    struct world *world = *state;
    char *text = printed(world, LT_SUMMARY);
    assert_says(text, "4 buyers came for 2 units and clicked 4 times");
    assert_says(text, "1 were told \"sold out\"");
    assert_says(text, "1 of 2 units sold, 0 oversold, 0 lost");
    assert_says(text, "The proof holds.");
    assert_null(strstr(text, "FAIL"));
    assert_null(strstr(text, "given back"));
    free(text);

    world->proof.sum.released = 3;
    text = printed(world, LT_SUMMARY);
    assert_says(text, "3 units were given back");
    free(text);

    world->proof.made = world->proof.ok = false;
    (void)snprintf(world->proof.why_not, sizeof world->proof.why_not, "nobody is there");
    text = printed(world, LT_SUMMARY);
    assert_says(text, "THE PROOF COULD NOT BE MADE: nobody is there");
    free(text);
}

/* 5,989 got an order, and 6,000 are sold: the rest lost the answer. */
static void who_lost_the_answer_to_an_order_is_told(void **state)
{
    struct world *world = *state;
    world->proof.found_again = 11;
    char *text = printed(world, LT_SUMMARY);
    assert_says(text,
                "11 lost the answer to their order, and got the order when they clicked again");
    assert_null(strstr(text, "Note: 11"));
    free(text);
    world->proof.unreported = 2;
    static const enum lt_form forms[] = {LT_PAGE, LT_TEXT};
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        text = printed(world, forms[i]);
        assert_says(text,
                    "Note: 13 buyers lost the answer to their order: 11 got the order when they "
                    "clicked again, 2 have not yet.");
        free(text);
    }
}

static void the_units_of_several_skus_are_shown(void **state)
{
    struct world *world = *state;
    static const enum lt_form forms[] = {LT_PAGE, LT_TEXT};
    for (size_t several = 0; several < 2; several++) {
        for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
            char *text = printed(world, forms[i]);
            assert_int_equal(strstr(text, "blue-lamp") != NULL, several);
            free(text);
        }
        world->proof.skus[1] = (struct lt_proof_sku){.name = "blue-lamp", .stock = 7};
        world->proof.sku_count = 2;
    }
}

/* Multiples of a round number, where they belong. */
static void a_time_axis_has_round_numbers(void **state)
{
    struct world *world = *state;
    char *text = printed(world, LT_PAGE);
    assert_says(text, "<span style=\"left:0%\">0 ms</span><span style=\"left:");
    assert_null(strstr(text, ".5 ms</span>"));
    free(text);
}

static void the_full_text_has_every_verdict_and_check(void **state)
{
    struct world *world = *state;
    char *text = printed(world, LT_TEXT);
    static const char *const words[] = {"accepted", "sold_out", "user_rate", "shed",   "oversold",
                                        "lost",     "auditor",  "gateway",   "settled"};
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++)
        assert_says(text, words[i]);
    free(text);
}

static void the_json_has_the_documented_members(void **state)
{
    struct world *world = *state;
    json_t *json = lt_report_json(&world->report);
    assert_non_null(json);
    json_error_t error;
    json_int_t sold = 0, accepted_count = 0, slot_ms = 0, lost = -1;
    int proved = 0;
    double p99 = 0, refused_p50 = 0;
    json_t *offered = NULL, *sold_curve = NULL;
    assert_int_equal(
        json_unpack_ex(json, &error, 0,
                       "{s:{s:I}, s:{s:I}, s:{s:I, s:o, s:o}, s:{s:b, s:I}, s:{s:{s:F}, s:{s:F}}}",
                       "stock", "sold", &sold, "answers", "accepted", &accepted_count, "timeline",
                       "slot_ms", &slot_ms, "offered", &offered, "sold", &sold_curve, "proof", "ok",
                       &proved, "lost", &lost, "latency_ms", "accepted", "p99", &p99, "refusals",
                       "p50", &refused_p50),
        0);
    assert_int_equal(sold, 1);
    assert_int_equal(accepted_count, 1);
    assert_int_equal(lost, 0);
    assert_true(proved);
    assert_true(p99 >= 2 && p99 < 2.1 && refused_p50 >= 2 && refused_p50 < 2.1);
    assert_int_equal(slot_ms, 5);
    assert_int_equal(json_integer_value(json_array_get(offered, 2)), 4);    /* at 10 ms */
    assert_int_equal(json_integer_value(json_array_get(sold_curve, 4)), 1); /* at 20 ms */
    json_decref(json);

    world->proof.made = false;
    json = lt_report_json(&world->report);
    assert_non_null(json);
    assert_true(json_is_null(json_object_get(json, "stock")));
    json_decref(json);
}

/* A record that makes no sense is quoted, and cut where there is no more room. */
static void the_json_is_written_whatever_the_log_holds(void **state)
{
    struct world *world = *state;
    (void)snprintf(world->proof.checks[LT_CHECK_AUDITOR].text, sizeof world->proof.checks[0].text,
                   "user \xc3\xa9\xff and \xc3");
    json_t *json = lt_report_json(&world->report);
    assert_non_null(json);
    const json_t *checks = json_object_get(json_object_get(json, "proof"), "checks");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(checks, LT_CHECK_AUDITOR), "text")),
        "user \xc3\xa9? and ?");
    json_decref(json);

    world->proof.made = false;
    memset(world->proof.why_not, 0xff, sizeof world->proof.why_not - 1);
    json = lt_report_json(&world->report);
    assert_non_null(json);
    json_decref(json);
}

static void the_page_stands_alone(void **state)
{
    struct world *world = *state;
    char *text = printed(world, LT_PAGE);
    assert_says(text, "<!doctype html>");
    assert_says(text, "</html>");
    assert_says(text, "role=\"img\" aria-label=");
    assert_says(text, "The proof holds");
    assert_says(text, "&lt;shop&gt;");
    static const char *const outside[] = {"http:",   "https:",  "src=",   "href=", "url(",
                                          "@import", "<script", "<shop>", "nan",   "inf%"};
    for (size_t i = 0; i < PS_ARRAY_LEN(outside); i++)
        assert_null(strstr(text, outside[i]));
    free(text);
}

/* Overload and a slow log are not the same trouble, and each has its own remedy. */
static void the_chart_tells_reasons_of_refusal_apart(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 2; i++)
        answered(world, 2, 503, false, "{\"code\":\"log_backlog\"}");
    for (int i = 0; i < 3; i++)
        answered(world, 3, 503, false, "{\"code\":\"paused\"}");
    char *page = printed(world, LT_PAGE);
    assert_says(page, "class=\"shed\"></i>shed: 1<"); /* as in every other test here */
    assert_says(page, "class=\"backlog\"></i>log backlog: 2<");
    assert_says(page, "class=\"other\"></i>other refusals: 3<");
    free(page);
}

/* One axis of time, the sell-out marked on each chart, and what the gateway itself saw. */
static void the_page_shows_what_the_gateway_saw(void **state)
{
    struct world *world = *state;
    world->report.gateway = json_pack(
        "{s:s, s:s, s:{}, s:{}, s:i, s:i, s:[i, i, i], s:[f, n, f], s:{s:{s:s, s:f, s:[f, f, f]}, "
        "s:{s:s, s:f, s:[i, i, i]}}}",
        "version", "9.8.7", "gateway", "gw-1", "settings", "documents", "step_ms", 10, "from_ms",
        -10, "level", 0, 2, 1, "pressure", 0.25, 1.5, "signals", "loop_delay_ms", "unit", "ms",
        "threshold", 20.0, "points", 1.0, 31.0, 2.0, "log_backlog", "unit", "share", "threshold",
        0.5, "points", 0, 0, 0);
    assert_non_null(world->report.gateway);
    world->proof.sum.available = 0; /* sold out */
    char *page = printed(world, LT_PAGE), *text = printed(world, LT_TEXT);
    json_decref(world->report.gateway);
    world->report.gateway = NULL;
    assert_says(page, "<b>degrade level</b>: at most 2 of 4");
    assert_says(page, "<b>loop_delay_ms</b>: at most 31 ms, threshold 20");
    assert_says(page, "class=\"end\"");
    assert_says(page, "class=\"mark\"");
    assert_says(page, "gw-1 (Penstock 9.8.7)");
    assert_null(strstr(page, "log_backlog</b>")); /* nothing but zeros */
    assert_says(text, "Penstock 9.8.7; at most level 2, pressure 1.5, loop_delay_ms 31");
    free(page);
    free(text);
}

static void a_gateway_that_cannot_be_asked_is_said(void **state)
{
    struct world *world = *state;
    (void)snprintf(world->report.why_no_gateway, sizeof world->report.why_no_gateway, "it is gone");
    char *text = printed(world, LT_TEXT);
    assert_says(text, "what the gateway saw could not be read: it is gone");
    free(text);
    json_t *json = lt_report_json(&world->report);
    assert_true(json_is_null(json_object_get(json, "gateway_saw")));
    json_decref(json);
}

static void an_axis_says_what_its_lines_are(void **state)
{
    struct world *world = *state;
    static const struct {
        int64_t stock;
        const char *labels;
    } cases[] = {{1, "<span>1</span><span>0</span>"},
                 {5, "<span>5</span><span>0</span>"},
                 {8, "<span>8</span><span>4</span><span>0</span>"},
                 {1400, "<span>1,600</span><span>800</span><span>0</span>"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        world->proof.sum.stock = cases[i].stock;
        char *text = printed(world, LT_PAGE);
        assert_says(text, cases[i].labels);
        free(text);
    }
}

static void the_page_is_named_after_its_sale_host_and_moment(void **state)
{
    struct world *world = *state;
    char *text = printed(world, LT_PAGE);
    assert_says(text, "<title>sale at &lt;shop&gt;, 2030-03-17 17:46 UTC</title>");
    free(text);
}

static void a_check_without_a_case_is_left_out_for_people(void **state)
{
    struct world *world = *state;
    static const enum lt_form forms[] = {LT_PAGE, LT_TEXT};
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        char *text = printed(world, forms[i]);
        assert_null(strstr(text, "confirmed and cancelled no order"));
        free(text);
    }
    struct lt_check *check = &world->proof.checks[LT_CHECK_DECIDED];
    assert_true(check->ok && !check->applied);
    check->applied = true;
    for (size_t i = 0; i < PS_ARRAY_LEN(forms); i++) {
        char *text = printed(world, forms[i]);
        assert_says(text, "confirmed and cancelled no order");
        free(text);
    }
}

static void a_page_without_a_proof_says_why(void **state)
{
    struct world *world = *state;
    world->proof.made = world->proof.ok = false;
    (void)snprintf(world->proof.why_not, sizeof world->proof.why_not, "nobody <is> there");
    char *text = printed(world, LT_PAGE);
    assert_says(text, "No proof could be made");
    assert_says(text, "It could not be made: nobody &lt;is&gt; there");
    assert_null(strstr(text, "oversold"));
    free(text);
}

static void a_template_is_filled(void **state)
{
    (void)state;
    static const struct {
        bool html;
        const char *template, *text;
    } cases[] = {
        {false, "{{12 n}}|{{-5 half}}|{{5 half}}|{{-9 text}}|",
         "   1,234,567|0.5  |  0.5|a<b\"&    |"},
        {true, "{{n}} {{&n}} {{real}} {{half}} {{text}}",
         "1,234,567 1234567 3.14 0.5 a&lt;b&quot;&amp;"},
        {true, "{{~zero}} {{~real}} {{~n}} {{~sixty}}", "0 ms 3.14 ms 20.6 min 60 s"},
        {true, "{{o.inner}} {{#o}}{{inner}} {{n}}{{/o}}", "in in 1,234,567"},
        {true, "{{#list}}<{{.}}>{{/list}}{{^list}}none{{/list}}", "<1><2>"},
        {true, "{{#rows}}{{a}}{{#yes}}y{{/yes}};{{/rows}}", "1y;2y;"},
        {true,
         "{{#none}}x{{/none}}{{^none}}none{{/none}}{{#empty}}x{{#rows}}{{a}}{{/rows}}{{/empty}}!",
         "none!"},
        {true, "{{#yes}}y{{/yes}}{{#no}}n{{/no}}{{#zero}}0{{/zero}}{{^null}}null{{/null}}",
         "ynull"},
        {true, "{{#text}}<{{.}}>{{/text}}{{#blank}}x{{/blank}}{{^blank}}blank{{/blank}}",
         "<a&lt;b&quot;&amp;>blank"},
    };
    json_t *data = json_pack("{s:i, s:f, s:f, s:s, s:{s:s}, s:[i, i], s:[{s:i}, {s:i}], s:[], s:b, "
                             "s:b, s:i, s:n, s:i, s:s}",
                             "n", 1234567, "real", 3.14159, "half", 0.5, "text", "a<b\"&", "o",
                             "inner", "in", "list", 1, 2, "rows", "a", 1, "a", 2, "empty", "yes", 1,
                             "no", 0, "zero", 0, "null", "sixty", 60000, "blank", "");
    assert_non_null(data);
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        assert_non_null(out);
        lt_template_fill(cases[i].template, data, cases[i].html, out);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
    json_decref(data);
}

static void counts_are_grouped_by_thousands(void **state)
{
    (void)state;
    char text[LT_COUNT_LEN + 1];
    assert_string_equal(lt_count(0, text), "0");
    assert_string_equal(lt_count(999, text), "999");
    assert_string_equal(lt_count(1000, text), "1,000");
    assert_string_equal(lt_count(-123456, text), "-123,456");
    assert_string_equal(lt_count(INT64_MIN, text), "-9,223,372,036,854,775,808");
}

/* --- Moments of plans. --- */

#define STARTED_MS 1900000000000 /* 2030-03-17T17:46:40Z */

/* The moments of a page, as text. */
static void assert_moments(const char *page, const char *expected)
{
    json_t *json = json_loads(page, JSON_DECODE_ANY, NULL), *moments = json_array();
    assert_non_null(json);
    assert_ok(lt_moments_add(moments, json, STARTED_MS));
    char *text = json_dumps(moments, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(moments);
    json_decref(json);
}

static void moments_of_plans_are_those_since_the_start(void **state)
{
    (void)state;
    assert_moments(
        "{\"runs\":[{\"run\":\"r\",\"plan\":\"p\",\"state\":\"ended\",\"end\":\"expired\","
        "\"started\":\"2030-03-17T17:46:41.500Z\",\"ended\":\"2030-03-17T17:46:50Z\"},"
        "{\"run\":\"s\",\"plan\":\"q\",\"state\":\"suspended\",\"end\":null,"
        "\"started\":\"2030-03-17T17:46:39Z\",\"since\":\"2030-03-17T17:46:42Z\"}]}",
        "[{\"at_ms\":1500,\"what\":\"started\",\"plan\":\"p\",\"run\":\"r\",\"end\":null},"
        "{\"at_ms\":10000,\"what\":\"ended\",\"plan\":\"p\",\"run\":\"r\",\"end\":\"expired\"},"
        "{\"at_ms\":2000,\"what\":\"suspended\",\"plan\":\"q\",\"run\":\"s\",\"end\":null}]");
}

static void a_page_of_runs_that_makes_no_sense_has_no_moments(void **state)
{
    (void)state;
    static const char *const pages[] = {
        "7",
        "{}",
        "{\"runs\":7}",
        "{\"runs\":[7,null,{},[]]}",
        "{\"runs\":[{\"run\":7,\"plan\":\"p\",\"started\":\"2030-03-17T17:46:41Z\"}]}",
        "{\"runs\":[{\"run\":\"r\",\"plan\":null,\"started\":\"2030-03-17T17:46:41Z\"}]}",
        "{\"runs\":[{\"run\":\"r\",\"plan\":\"p\",\"started\":7,\"ended\":\"yesterday\"}]}",
        "{\"runs\":[{\"run\":\"r\",\"plan\":\"p\",\"state\":9,\"started\":\"2030-03-17T17:46:39Z\"}"
        "]}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(pages); i++)
        assert_moments(pages[i], "[]");
}

#define JUDGED(test)   cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define REPORTED(test) cmocka_unit_test_setup_teardown(test, set_up_report, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JUDGED(kept_promises_are_a_proof),
        JUDGED(a_promise_that_is_not_in_the_log_is_lost),
        JUDGED(another_buyers_order_does_not_keep_a_promise),
        JUDGED(a_promise_must_not_be_taken_back),
        JUDGED(an_order_may_end_by_expiry),
        JUDGED(an_order_that_lives_must_not_be_called_over),
        JUDGED(an_oversold_sale_is_found),
        JUDGED(what_the_rehearsal_cancels_hides_no_promise),
        JUDGED(a_buyer_with_two_is_found),
        JUDGED(units_are_proved_of_each_sku),
        JUDGED(a_buyer_above_a_cap_is_found),
        JUDGED(an_order_of_something_else_keeps_no_promise),
        JUDGED(who_lost_the_answer_and_found_the_order_is_counted),
        JUDGED(a_pending_order_may_become_anything),
        JUDGED(what_was_said_to_be_decided_must_be),
        JUDGED(an_unreadable_promise_spoils_the_proof),
        JUDGED(a_promise_is_one_whatever_a_proxy_makes_of_its_status),
        JUDGED(a_sale_that_nobody_got_into_is_no_proof),
        JUDGED(a_gateway_that_disagrees_is_found),
        JUDGED(verdicts_are_counted_by_their_code),
        JUDGED(a_code_that_is_called_like_silence_is_an_answer),
        JUDGED(a_long_run_widens_the_slots_and_loses_nothing),
        JUDGED(answers_in_time_are_counted_by_verdict),
        REPORTED(the_summary_speaks_plainly),
        REPORTED(who_lost_the_answer_to_an_order_is_told),
        REPORTED(the_units_of_several_skus_are_shown),
        REPORTED(a_time_axis_has_round_numbers),
        REPORTED(the_full_text_has_every_verdict_and_check),
        REPORTED(the_json_has_the_documented_members),
        REPORTED(the_json_is_written_whatever_the_log_holds),
        REPORTED(the_page_stands_alone),
        REPORTED(the_chart_tells_reasons_of_refusal_apart),
        REPORTED(the_page_shows_what_the_gateway_saw),
        REPORTED(a_gateway_that_cannot_be_asked_is_said),
        REPORTED(an_axis_says_what_its_lines_are),
        REPORTED(the_page_is_named_after_its_sale_host_and_moment),
        REPORTED(a_check_without_a_case_is_left_out_for_people),
        REPORTED(a_page_without_a_proof_says_why),
        cmocka_unit_test(how_long_buyers_waited_is_told_slot_by_slot),
        cmocka_unit_test(moments_of_plans_are_those_since_the_start),
        cmocka_unit_test(a_page_of_runs_that_makes_no_sense_has_no_moments),
        cmocka_unit_test(a_template_is_filled),
        cmocka_unit_test(counts_are_grouped_by_thousands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
