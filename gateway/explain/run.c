/* A case takes the way of a request: who asks, which sale, the gates, the counter. What each says
 * becomes a member of `gates`. */
#include "gateway/explain/case_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define WHY_MAX (CFG_WHY_SIZE + 512) /* an override says its reason, too */

/* --- what a gate has said --- */

/* Milliseconds up to a minute, then seconds. */
static void put_wait(char *text, size_t cap, const char *before, int64_t ns, const char *after)
{
    int64_t ms = (ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS;

    if (ms < 60000)
        (void)snprintf(text, cap, "%s%" PRId64 " ms%s", before, ms, after);
    else
        (void)snprintf(text, cap, "%s%" PRId64 " s%s", before, (ms + 999) / 1000, after);
}

static void explain_rule(const struct adm_note *note, char ret_why[WHY_MAX])
{
    const char *of = note->wide ? " (counted for the whole /48)" : "";

    if (note->step == ADM_GATE_DENY)
        put_wait(ret_why, WHY_MAX, "it would let a request pass in ", note->wait_ns, of);
    else if (note->step == ADM_GATE_WAIT)
        put_wait(ret_why, WHY_MAX, "the request would be held for ", note->wait_ns, of);
    else if (note->shadow)
        (void)snprintf(ret_why, WHY_MAX, "the rule would refuse, but its mode is shadow%s", of);
    else
        (void)snprintf(ret_why, WHY_MAX, "%s", note->wide ? of + 1 : "");
}

static void explain_refusal(const struct adm_note *note, char ret_why[WHY_MAX])
{
    const struct ans_problem_detail *detail = note->detail;
    const char *text =
        detail != NULL && detail->text != NULL ? detail->text : ans_verdicts[note->verdict].when;

    if (note->verdict == ANS_V_not_started && detail != NULL && detail->retry_after_s > 0)
        (void)snprintf(ret_why, WHY_MAX, "the sale opens in %" PRId64 " s", detail->retry_after_s);
    else
        (void)snprintf(ret_why, WHY_MAX, "%s", text);
}

/* "10.0.0.0/8", "2001:db8::/32" */
static void put_range(const struct ps_cidr *range, char ret_text[64])
{
    char address[46];
    bool v4 = range->bits >= PS_V4_BITS && ps_address_is_v4(&range->address);

    ps_address_format(&range->address, address);
    (void)snprintf(ret_text, 64, "%s/%d", address, range->bits - (v4 ? PS_V4_BITS : 0));
}

/* The rule, feature or entry that decides; NULL: the gate has none. */
static json_t *rule_of(const struct exp_case *asked, const struct adm_note *note)
{
    struct ps_str user = asked->question->user;
    char range[64];

    if (note->rule != NULL)
        return json_string(note->rule->name);
    if (note->blocked == ADM_BLOCKED_USER)
        return json_stringn(user.at, user.len);
    if (note->blocked == ADM_BLOCKED_RANGE) {
        put_range(&note->range, range);
        return json_string(range);
    }
    return note->step == ADM_GATE_DENY && note->detail != NULL && note->detail->policy != NULL
               ? json_string(note->detail->policy)
               : json_null();
}

static void on_note(const struct adm_note *note, void *ctx)
{
    struct exp_case *asked = ctx;
    const char *verdict = ans_verdicts[note->verdict].name;
    char why[WHY_MAX] = "";

    if (note->step == ADM_GATE_PASS)
        verdict = "pass";
    else if (note->step == ADM_GATE_WAIT)
        verdict = "wait";
    else if (note->step == ADM_GATE_REPLAY)
        verdict = ans_verdicts[ANS_V_replayed].name;
    if (note->rule != NULL)
        explain_rule(note, why);
    else if (note->step == ADM_GATE_DENY)
        explain_refusal(note, why);
    else if (note->step == ADM_GATE_PASS && note->detail != NULL && note->detail->text != NULL)
        (void)snprintf(why, sizeof why, "%s", note->detail->text);
    else if (note->step == ADM_GATE_REPLAY)
        (void)snprintf(why, sizeof why, "the buyer already has this order");
    json_t *json = json_pack("{s:s, s:s, s:s, s:o, s:o}", "gate", note->gate, "verdict", verdict,
                             "why", why, "rule", rule_of(asked, note), "left",
                             note->left >= 0 ? json_integer((json_int_t)note->left) : json_null());
    if (asked->gates != NULL && json_array_append_new(asked->gates, json) < 0) {
        json_decref(asked->gates);
        asked->gates = NULL;
    }
}

/* --- an order --- */

static void on_verdict(struct ord_look *look, enum ans_verdict verdict)
{
    struct exp_case *asked = (struct exp_case *)((char *)look - offsetof(struct exp_case, order));

    exp_case_end(asked, verdict);
}

static void run_order(struct exp_case *asked)
{
    const struct exp_question *question = asked->question;
    const struct snap_sale *sale =
        snapshot_buyers_sale(asked->copy.gates.snapshot, question->sale.at, question->sale.len);

    if (sale == NULL) {
        exp_case_end(asked, ANS_V_not_found);
        return;
    }
    asked->order.request.asked.body = (struct ps_str){question->order, question->order_len};
    asked->order.look = &asked->look;
    asked->order.on_verdict = on_verdict;
    ord_buy_look(&asked->order, sale);
}

/* What the public listener finds out before any route runs. */
static void fill(struct exp_case *asked, const struct exp_explainer *explainer)
{
    const struct exp_question *question = asked->question;
    const struct pub_listener *listener = explainer->listener;
    struct ord_request *request = &asked->order.request;

    asked->look = (struct adm_look){.note = on_note, .ctx = asked};
    adm_gates_copy(listener->gates, &explainer->sink, &asked->copy);
    ord_in_flight_enter(listener->orders, request);
    asked->deps = listener->orders->deps;
    asked->deps.gates = &asked->copy.gates;
    request->deps = &asked->deps;
    request->asked.user = question->user;
    request->asked.address = question->address;
    request->arrived_ns = request->now_ns = ps_clock_mono_ns(listener->clock);
    if (question->user.len > 0)
        adm_admit_expect(&asked->copy.gates, &request->asked);
    asked->order.wall_ms =
        question->at_ms != INT64_MAX ? question->at_ms : ps_clock_wall_ms(listener->clock);
}

void exp_case_run(struct exp_case *asked, const struct exp_explainer *explainer)
{
    if (explainer == NULL) {
        json_decref(asked->gates);
        asked->gates = NULL;
        exp_case_end(asked, ANS_V_internal);
        return;
    }
    fill(asked, explainer);
    if (asked->question->sale.at != NULL)
        run_order(asked);
    else
        exp_case_path(asked, explainer);
}
