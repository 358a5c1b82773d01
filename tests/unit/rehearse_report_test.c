/* What buyers were told, held against a log, and how that is reported. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "loadtest/report_html.h"
#include "loadtest/template.h"
#include "loadtest/words.h"
#include "tests/unit/records.h"

#include <stdio.h>
#include <stdlib.h>

#define STOCK 2

/* A small world: a tally, a log, and what the gateway says of itself. */
struct world {
    struct lt_tally *tally;
    struct oq_audit *audit;
    int64_t records;
    struct lt_decisions decisions;
    int64_t in_doubt;
    bool gateway_lies;
};

static void take(struct world *world, const struct oq_event *event)
{
    assert_ok(oq_audit_add(world->audit, 0, ++world->records, event));
}

static void begin_over(struct world *world, int64_t partitions)
{
    *world = (struct world){.records = 0};
    assert_ok(lt_tally_new(&world->tally));
    assert_ok(oq_audit_new(&world->audit));
    struct oq_event fence = fenced(1, partitions, true),
                    stock = adjusted("initial:sale/sku", STOCK, 1);
    take(world, &fence);
    take(world, &stock);
}

static void begin(struct world *world)
{
    begin_over(world, 1);
}

/* Order `id` of "b-<buyer>", cap 1. */
static void log_order(struct world *world, uint32_t id, const char *user)
{
    struct oq_event event = accepted(id, 1, user, "", 1);
    event.cap = 1;
    take(world, &event);
}

static void answered(struct world *world, uint32_t buyer, int status, bool replayed,
                     const char *body)
{
    struct lt_click click = {.at_ns = 10 * PS_NS_PER_MS, .buyer = buyer};
    struct lt_answer answer = {.outcome = LT_ANSWERED,
                               .click = &click,
                               .ended_ns = 12 * PS_NS_PER_MS,
                               .latency_ns = 2 * PS_NS_PER_MS,
                               .status = status,
                               .replayed = replayed,
                               .body = str(body)};
    lt_tally_add(world->tally, &answer);
}

static void told(struct world *world, uint32_t buyer, uint32_t id, const char *state, bool replayed)
{
    char uuid[PS_UUID_LEN + 1], body[200];
    struct ps_uuid order = id_of(id);
    ps_uuid_format(&order, uuid);
    (void)snprintf(body, sizeof body,
                   "{\"order_id\":\"%s\",\"sale\":\"sale\",\"state\":\"%s\",\"reason\":null}", uuid,
                   state);
    answered(world, buyer, 202, replayed, body);
}

static void judge(struct world *world, struct lt_proof *ret_proof)
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
                                   .user_prefix = "b-"};
    assert_ok(lt_proof_make(&evidence, ret_proof));
    json_decref(gateway);
}

static void end(struct world *world, struct lt_proof *proof)
{
    lt_proof_done(proof);
    oq_audit_free(world->audit);
    lt_tally_free(world->tally);
}

static void only_fails(const struct lt_proof *proof, enum lt_check_name name)
{
    assert_false(proof->ok);
    for (size_t i = 0; i < LT_CHECKS; i++)
        assert_int_equal(proof->checks[i].ok, i != name);
}

static void kept_promises_are_a_proof(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    log_order(&world, 2, "b-2");
    told(&world, 1, 1, "accepted", false);
    told(&world, 1, 1, "accepted", true);
    told(&world, 2, 2, "pending", false);
    answered(&world, 3, 409, false, "{\"code\": \"sold_out\"}");
    judge(&world, &proof);
    assert_true(proof.made && proof.ok);
    assert_int_equal(proof.held, 2);
    assert_int_equal(proof.promised, 1);
    assert_int_equal(proof.pending_accepted, 1);
    assert_int_equal(proof.unreported, 0);
    assert_int_equal(lt_tally_count(world.tally, "accepted"), 1);
    assert_int_equal(lt_tally_count(world.tally, "replayed"), 1);
    assert_int_equal(lt_tally_count(world.tally, "pending"), 1);
    assert_int_equal(lt_tally_count(world.tally, "sold_out"), 1);
    end(&world, &proof);
}

static void a_promise_that_is_not_in_the_log_is_lost(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    told(&world, 1, 1, "accepted", false);
    told(&world, 2, 2, "accepted", false);
    judge(&world, &proof);
    assert_int_equal(proof.lost, 1);
    only_fails(&proof, LT_CHECK_LOST);
    end(&world, &proof);
}

static void another_buyers_order_does_not_keep_a_promise(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    told(&world, 11, 1, "accepted", false);
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_LOST);
    end(&world, &proof);
}

static void a_promise_must_not_be_taken_back(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    struct oq_event rejected = released(1, OQ_REJECTED);
    take(&world, &rejected);
    log_order(&world, 1, "b-1"); /* comes too late: void */
    told(&world, 1, 1, "accepted", false);
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_LOST);
    end(&world, &proof);
}

static void an_order_may_end_by_expiry(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    struct oq_event expired = released(1, OQ_EXPIRED);
    take(&world, &expired);
    told(&world, 1, 1, "accepted", false);
    told(&world, 1, 1, "released", true);
    log_order(&world, 2, "b-1"); /* he may buy again then */
    told(&world, 1, 2, "accepted", false);
    judge(&world, &proof);
    assert_true(proof.ok);
    assert_int_equal(proof.released, 1);
    end(&world, &proof);
}

static void an_order_that_lives_must_not_be_called_over(void **state)
{
    (void)state;
    static const char *const before[] = {NULL, "pending", "accepted"};
    for (size_t i = 0; i < PS_ARRAY_LEN(before); i++) {
        struct world world;
        struct lt_proof proof;
        begin(&world);
        log_order(&world, 1, "b-1");
        if (before[i] != NULL)
            told(&world, 1, 1, before[i], false);
        told(&world, 1, 1, "released", true);
        told(&world, 1, 1, "released", true);
        judge(&world, &proof);
        assert_int_equal(proof.lost, 1);
        assert_int_equal(proof.unreported, 0);
        only_fails(&proof, LT_CHECK_LOST);
        end(&world, &proof);
    }
}

static void an_oversold_sale_is_found(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    for (uint32_t i = 1; i <= STOCK + 1; i++) {
        char user[8];
        (void)snprintf(user, sizeof user, "b-%u", i);
        log_order(&world, i, user);
        told(&world, i, i, "accepted", false);
    }
    judge(&world, &proof);
    assert_int_equal(proof.oversold, 1);
    assert_false(proof.checks[LT_CHECK_OVERSOLD].ok);
    assert_false(proof.checks[LT_CHECK_PROMISES].ok);
    assert_false(proof.checks[LT_CHECK_AUDITOR].ok);
    end(&world, &proof);
}

/* Of several partitions the auditor only sees how it ended. */
static void what_the_rehearsal_cancels_hides_no_promise(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin_over(&world, 2);
    for (uint32_t i = 1; i <= STOCK + 1; i++) {
        char user[8];
        (void)snprintf(user, sizeof user, "b-%u", i);
        log_order(&world, i, user);
        told(&world, i, i, "accepted", false);
    }
    struct oq_event given_back = released(1, OQ_CANCELLED);
    take(&world, &given_back);
    struct lt_decision cancelled = {.order_id = id_of(1), .done = true, .said = true};
    world.decisions = (struct lt_decisions){.list = &cancelled, .count = 1, .cancelled = 1};
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_PROMISES);
    lt_proof_done(&proof);
    cancelled.said = false; /* it was over before: another buyer may have got the unit */
    judge(&world, &proof);
    assert_true(proof.ok);
    end(&world, &proof);
}

static void a_buyer_with_two_is_found(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    struct oq_event second = accepted(2, 1, "b-1", "", 1); /* under a cap of 10 */
    take(&world, &second);
    told(&world, 1, 1, "accepted", false);
    told(&world, 1, 2, "accepted", false);
    judge(&world, &proof);
    assert_int_equal(proof.twice, 1);
    only_fails(&proof, LT_CHECK_TWICE);
    end(&world, &proof);
}

static void a_pending_order_may_become_anything(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    struct oq_event rejected = released(2, OQ_REJECTED);
    take(&world, &rejected);
    for (uint32_t i = 1; i <= 3; i++)
        told(&world, i, i, "pending", false);
    log_order(&world, 4, "b-4"); /* whose answer was lost */
    judge(&world, &proof);
    assert_true(proof.ok);
    assert_int_equal(proof.pending_accepted, 1);
    assert_int_equal(proof.pending_void, 1);
    assert_int_equal(proof.pending_gone, 1);
    assert_int_equal(proof.unreported, 1);
    end(&world, &proof);
}

static void what_was_said_to_be_decided_must_be(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    struct oq_event paid = confirmed(1), given_back = released(2, OQ_CANCELLED);
    log_order(&world, 1, "b-1");
    log_order(&world, 2, "b-2");
    take(&world, &paid);
    take(&world, &given_back);
    told(&world, 1, 1, "accepted", false);
    told(&world, 2, 2, "accepted", false);
    struct lt_decision list[] = {{.order_id = id_of(1), .confirm = true, .said = true},
                                 {.order_id = id_of(2), .said = true},
                                 {.order_id = id_of(2), .confirm = true}};
    world.decisions = (struct lt_decisions){.list = list, .count = 3, .confirmed = 1};
    judge(&world, &proof);
    assert_true(proof.ok);
    assert_int_equal(proof.confirmed, 1);
    lt_proof_done(&proof);
    list[2].said = true;
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_DECIDED);
    end(&world, &proof);
}

static void an_unreadable_promise_spoils_the_proof(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "", "{}", "{\"order_id\":\"1\",\"state\":\"accepted\"}",
        "{\"order_id\":\"01900000-0000-7000-8000-000000000001\",\"state\":\"great\"}",
        "{\"detail\":\"\\\"order_id\\\":\\\"01900000-0000-7000-8000-000000000001\\\"\"}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        struct world world;
        struct lt_proof proof;
        begin(&world);
        log_order(&world, 2, "b-2");
        answered(&world, 1, i % 2 == 0 ? 202 : 200, false, bodies[i]);
        judge(&world, &proof);
        only_fails(&proof, LT_CHECK_LEGIBLE);
        end(&world, &proof);
    }
}

static void a_promise_is_one_whatever_a_proxy_makes_of_its_status(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    answered(&world, 2, 200, false,
             "{\"order_id\":\"01900000-0000-7000-8000-000000000009\",\"state\":\"accepted\"}");
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_LOST);
    end(&world, &proof);
}

static void a_sale_that_nobody_got_into_is_no_proof(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    answered(&world, 1, 503, false, "{\"code\":\"paused\"}");
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_TRIED);
    assert_string_equal(lt_proof_words(&proof), "Nothing is proved");
    assert_non_null(strstr(proof.checks[LT_CHECK_TRIED].text, "1 ended as paused"));
    end(&world, &proof);

    begin(&world);
    log_order(&world, 1, "b-1");
    answered(&world, 2, 401, false, "{\"code\":\"unauthenticated\"}");
    answered(&world, 3, 401, false, "<html>"); /* a proxy's */
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_TRIED);
    assert_non_null(strstr(proof.checks[LT_CHECK_TRIED].text, "2 of 2 clicks"));
    end(&world, &proof);
}

static void a_gateway_that_disagrees_is_found(void **state)
{
    (void)state;
    struct world world;
    struct lt_proof proof;
    begin(&world);
    log_order(&world, 1, "b-1");
    world.gateway_lies = true;
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_GATEWAY);
    end(&world, &proof);

    begin(&world);
    log_order(&world, 1, "b-1");
    world.in_doubt = 1;
    judge(&world, &proof);
    only_fails(&proof, LT_CHECK_SETTLED);
    end(&world, &proof);
}

static void verdicts_are_counted_by_their_code(void **state)
{
    (void)state;
    struct lt_tally *tally = NULL;
    assert_ok(lt_tally_new(&tally));
    struct world world = {.tally = tally};
    answered(&world, 1, 429, false, "{\"status\":429,\"code\":\"user_rate\"}");
    answered(&world, 1, 502, false, "<html>");
    answered(&world, 1, 404, false, "{\"code\":\"no <b>name</b>\"}");
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
    lt_tally_free(tally);
}

/* HAProxy says "no_answer" for a gateway that died: that is an answer, and a refusal. */
static void a_code_that_is_called_like_silence_is_an_answer(void **state)
{
    (void)state;
    static const char *const codes[] = {"accepted", "pending", "replayed", "no_answer",
                                        "reset",    "refused", "garbled"};
    struct world world = {.in_doubt = 0};
    assert_ok(lt_tally_new(&world.tally));
    for (size_t i = 0; i < PS_ARRAY_LEN(codes); i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"status\":503,\"code\":\"%s\"}", codes[i]);
        answered(&world, 1, 503, false, body);
        assert_int_equal(lt_tally_count(world.tally, codes[i]), 0);
    }
    struct lt_report report = {.tally = world.tally};
    assert_int_equal(lt_tally_count(world.tally, "http_503"), PS_ARRAY_LEN(codes));
    assert_int_equal(lt_report_answered(&report), PS_ARRAY_LEN(codes));
    assert_int_equal(lt_report_latency(&report, LT_OVER_NO).count, PS_ARRAY_LEN(codes));
    lt_tally_free(world.tally);
}

static void a_long_run_widens_the_slots_and_loses_nothing(void **state)
{
    (void)state;
    struct lt_tally *tally = NULL;
    assert_ok(lt_tally_new(&tally));
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
    lt_tally_free(tally);
}

/* One sale, reported in all three forms. */
struct reporting {
    struct world world;
    struct lt_proof proof;
    struct lt_plan *plan;
    struct lt_report report;
};

static void begin_report(struct reporting *reporting)
{
    struct world *world = &reporting->world;
    memset(reporting, 0, sizeof *reporting);
    begin(world);
    log_order(world, 1, "b-1");
    told(world, 1, 1, "accepted", false);
    answered(world, 2, 409, false, "{\"code\":\"sold_out\"}");
    answered(world, 3, 429, false, "{\"code\":\"user_rate\"}");
    answered(world, 4, 503, false, "{\"code\":\"shed\"}");
    judge(world, &reporting->proof);
    struct lt_plan_spec spec = {
        .stock = STOCK, .seed = 1, .phases = {{LT_SPIKE, 1000, 4}}, .phase_count = 1};
    struct ps_fault fault;
    assert_ok(lt_plan_new(&spec, &reporting->plan, &fault));
    reporting->report = (struct lt_report){
        .plan = reporting->plan,
        .sale = "sale",
        .public_authority = "<shop>",
        .started_wall_ms = T0 - 20,
        .connections = 10,
        .timeout_ms = 1000,
        .tally = world->tally,
        .proof = &reporting->proof,
    };
    lt_report_sales(&reporting->report, oq_audit_fold(world->audit));
}

static void end_report(struct reporting *reporting)
{
    lt_plan_free(reporting->plan);
    end(&reporting->world, &reporting->proof);
}

typedef void print_fn(const struct lt_report *report, FILE *out);

static char *printed(print_fn *print, const struct lt_report *report)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    print(report, out);
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
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    char *text = printed(lt_report_print_summary, &reporting.report);
    assert_says(text, "4 buyers came for 2 units and clicked 4 times");
    assert_says(text, "1 were told \"sold out\"");
    assert_says(text, "1 of 2 units sold, 0 oversold, 0 lost");
    assert_says(text, "The proof holds.");
    assert_null(strstr(text, "FAIL"));
    assert_null(strstr(text, "given back"));
    free(text);

    reporting.proof.released = 3;
    text = printed(lt_report_print_summary, &reporting.report);
    assert_says(text, "3 units were given back");
    free(text);

    reporting.proof.made = reporting.proof.ok = false;
    (void)snprintf(reporting.proof.why_not, sizeof reporting.proof.why_not, "nobody is there");
    text = printed(lt_report_print_summary, &reporting.report);
    assert_says(text, "THE PROOF COULD NOT BE MADE: nobody is there");
    free(text);
    end_report(&reporting);
}

static void the_full_text_has_every_verdict_and_check(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    char *text = printed(lt_report_print, &reporting.report);
    static const char *const words[] = {"accepted", "sold_out", "user_rate", "shed",   "oversold",
                                        "lost",     "auditor",  "gateway",   "settled"};
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++)
        assert_says(text, words[i]);
    free(text);
    end_report(&reporting);
}

static void the_json_has_the_documented_members(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    json_t *json = lt_report_json(&reporting.report);
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

    reporting.proof.made = false;
    json = lt_report_json(&reporting.report);
    assert_non_null(json);
    assert_true(json_is_null(json_object_get(json, "stock")));
    json_decref(json);
    end_report(&reporting);
}

/* A record that makes no sense is quoted, and cut where there is no more room. */
static void the_json_is_written_whatever_the_log_holds(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    (void)snprintf(reporting.proof.checks[LT_CHECK_AUDITOR].text,
                   sizeof reporting.proof.checks[0].text, "user \xc3\xa9\xff and \xc3");
    json_t *json = lt_report_json(&reporting.report);
    assert_non_null(json);
    const json_t *checks = json_object_get(json_object_get(json, "proof"), "checks");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(checks, LT_CHECK_AUDITOR), "text")),
        "user \xc3\xa9? and ?");
    json_decref(json);

    reporting.proof.made = false;
    memset(reporting.proof.why_not, 0xff, sizeof reporting.proof.why_not - 1);
    json = lt_report_json(&reporting.report);
    assert_non_null(json);
    json_decref(json);
    end_report(&reporting);
}

static void print_page(const struct lt_report *report, FILE *out)
{
    assert_ok(lt_report_html(report, out));
}

static void the_page_stands_alone(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    char *text = printed(print_page, &reporting.report);
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
    end_report(&reporting);
}

static void an_axis_says_what_its_lines_are(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    static const struct {
        int64_t stock;
        const char *labels;
    } cases[] = {{1, "<span>1</span><span>0.5</span><span>0</span>"},
                 {5, "<span>5</span><span>2.5</span><span>0</span>"},
                 {8, "<span>8</span><span>4</span><span>0</span>"},
                 {1400, "<span>1,500</span><span>750</span><span>0</span>"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        reporting.proof.stock = cases[i].stock;
        char *text = printed(print_page, &reporting.report);
        assert_says(text, cases[i].labels);
        free(text);
    }
    end_report(&reporting);
}

static void the_page_is_named_after_its_sale_host_and_moment(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    char *text = printed(print_page, &reporting.report);
    assert_says(text, "<title>sale at &lt;shop&gt;, 2030-03-17 17:46 UTC</title>");
    free(text);
    end_report(&reporting);
}

static void a_check_without_a_case_is_left_out_for_people(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    print_fn *const prints[] = {print_page, lt_report_print};
    for (size_t i = 0; i < PS_ARRAY_LEN(prints); i++) {
        char *text = printed(prints[i], &reporting.report);
        assert_null(strstr(text, "confirmed and cancelled no order"));
        free(text);
    }
    struct lt_check *check = &reporting.proof.checks[LT_CHECK_DECIDED];
    assert_true(check->ok && !check->applied);
    check->applied = true;
    for (size_t i = 0; i < PS_ARRAY_LEN(prints); i++) {
        char *text = printed(prints[i], &reporting.report);
        assert_says(text, "confirmed and cancelled no order");
        free(text);
    }
    end_report(&reporting);
}

static void a_page_without_a_proof_says_why(void **state)
{
    (void)state;
    struct reporting reporting;
    begin_report(&reporting);
    reporting.proof.made = reporting.proof.ok = false;
    (void)snprintf(reporting.proof.why_not, sizeof reporting.proof.why_not, "nobody <is> there");
    char *text = printed(print_page, &reporting.report);
    assert_says(text, "No proof could be made");
    assert_says(text, "It could not be made: nobody &lt;is&gt; there");
    assert_null(strstr(text, "oversold"));
    free(text);
    end_report(&reporting);
}

static void a_template_is_filled(void **state)
{
    (void)state;
    static const struct {
        const char *template, *text;
    } cases[] = {
        {"{{n}} {{&n}} {{real}} {{half}} {{text}}", "1,234,567 1234567 3.14 0.5 a&lt;b&quot;&amp;"},
        {"{{~zero}} {{~real}} {{~n}} {{~sixty}}", "0 ms 3.14 ms 1,235 s 60 s"},
        {"{{o.inner}} {{#o}}{{inner}} {{n}}{{/o}}", "in in 1,234,567"},
        {"{{#list}}<{{.}}>{{/list}}{{^list}}none{{/list}}", "<1><2>"},
        {"{{#rows}}{{a}}{{#yes}}y{{/yes}};{{/rows}}", "1y;2y;"},
        {"{{#none}}x{{/none}}{{^none}}none{{/none}}{{#empty}}x{{#rows}}{{a}}{{/rows}}{{/empty}}!",
         "none!"},
        {"{{#yes}}y{{/yes}}{{#no}}n{{/no}}{{#zero}}0{{/zero}}{{^null}}null{{/null}}", "ynull"},
    };
    json_t *data = json_pack("{s:i, s:f, s:f, s:s, s:{s:s}, s:[i, i], s:[{s:i}, {s:i}], s:[], s:b, "
                             "s:b, s:i, s:n, s:i}",
                             "n", 1234567, "real", 3.14159, "half", 0.5, "text", "a<b\"&", "o",
                             "inner", "in", "list", 1, 2, "rows", "a", 1, "a", 2, "empty", "yes", 1,
                             "no", 0, "zero", 0, "null", "sixty", 60000);
    assert_non_null(data);
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        assert_non_null(out);
        lt_template_fill(cases[i].template, data, out);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_promises_are_a_proof),
        cmocka_unit_test(a_promise_that_is_not_in_the_log_is_lost),
        cmocka_unit_test(another_buyers_order_does_not_keep_a_promise),
        cmocka_unit_test(a_promise_must_not_be_taken_back),
        cmocka_unit_test(an_order_may_end_by_expiry),
        cmocka_unit_test(an_order_that_lives_must_not_be_called_over),
        cmocka_unit_test(an_oversold_sale_is_found),
        cmocka_unit_test(what_the_rehearsal_cancels_hides_no_promise),
        cmocka_unit_test(a_buyer_with_two_is_found),
        cmocka_unit_test(a_pending_order_may_become_anything),
        cmocka_unit_test(what_was_said_to_be_decided_must_be),
        cmocka_unit_test(an_unreadable_promise_spoils_the_proof),
        cmocka_unit_test(a_promise_is_one_whatever_a_proxy_makes_of_its_status),
        cmocka_unit_test(a_sale_that_nobody_got_into_is_no_proof),
        cmocka_unit_test(a_gateway_that_disagrees_is_found),
        cmocka_unit_test(verdicts_are_counted_by_their_code),
        cmocka_unit_test(a_code_that_is_called_like_silence_is_an_answer),
        cmocka_unit_test(a_long_run_widens_the_slots_and_loses_nothing),
        cmocka_unit_test(the_summary_speaks_plainly),
        cmocka_unit_test(the_full_text_has_every_verdict_and_check),
        cmocka_unit_test(the_json_has_the_documented_members),
        cmocka_unit_test(the_json_is_written_whatever_the_log_holds),
        cmocka_unit_test(the_page_stands_alone),
        cmocka_unit_test(an_axis_says_what_its_lines_are),
        cmocka_unit_test(the_page_is_named_after_its_sale_host_and_moment),
        cmocka_unit_test(a_check_without_a_case_is_left_out_for_people),
        cmocka_unit_test(a_page_without_a_proof_says_why),
        cmocka_unit_test(a_template_is_filled),
        cmocka_unit_test(counts_are_grouped_by_thousands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
