/* The order log decides; what buyers and gateway reported is compared with it. A promise is a 202
 * that names an order as accepted (or confirmed, in a replay): the log must have it as that buyer's
 * order, and the order may have ended since only by expiry or cancellation. A "pending" is not a
 * promise: any outcome is allowed. A sale in which no buyer got an order breaks no rule, but proves
 * nothing, and the report says so. */
#include "loadtest/proof.h"

#include "common/clock.h"
#include "loadtest/sale.h"
#include "loadtest/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct judging {
    const struct lt_evidence *evidence;
    const struct oq_fold *fold;
    int64_t living[LT_SKUS_MAX]; /* units of one buyer, by the plan's SKUs */
    int64_t known;               /* distinct orders of buyers in the log that are not void */
};

static const char *const check_names[LT_CHECKS] = {
    [LT_CHECK_OVERSOLD] = "oversold", [LT_CHECK_LOST] = "lost",
    [LT_CHECK_TWICE] = "twice",       [LT_CHECK_PROMISES] = "promises",
    [LT_CHECK_DECIDED] = "decided",   [LT_CHECK_LEGIBLE] = "legible",
    [LT_CHECK_AUDITOR] = "auditor",   [LT_CHECK_GATEWAY] = "gateway",
    [LT_CHECK_SETTLED] = "settled",   [LT_CHECK_HISTORY] = "history",
    [LT_CHECK_TRIED] = "tried",
};

static void __attribute__((format(printf, 4, 5)))
set_check(struct lt_proof *proof, enum lt_check_name name, bool ok, const char *fmt, ...)
{
    struct lt_check *check = &proof->checks[name];
    check->name = check_names[name];
    check->ok = ok;
    check->applied = true;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(check->text, sizeof check->text, fmt, args);
    va_end(args);
    proof->ok = proof->ok && ok;
}

/* Sorts by buyer, then by order, then by the strongest state in an answer. */
static int by_buyer(const void *left, const void *right)
{
    const struct lt_promise *a = left, *b = right;
    if (a->buyer != b->buyer)
        return a->buyer < b->buyer ? -1 : 1;
    int ids = memcmp(a->order_id.byte, b->order_id.byte, sizeof a->order_id.byte);
    return ids != 0 ? ids : a->reported - b->reported;
}

/* The order's buyer, SKU and quantity. */
static bool is_as_promised(const struct judging *judging, const struct oq_order *order,
                           const struct lt_promise *promise)
{
    const struct lt_evidence *evidence = judging->evidence;
    struct lt_wish wish = lt_plan_wish(evidence->plan, promise->buyer, promise->wish);
    char user[PS_USER_MAX + 1];
    struct oq_order_view view;
    (void)snprintf(user, sizeof user, "%s%u", evidence->user_prefix, promise->buyer);
    oq_order_get(order, &view);
    return strcmp(oq_sale_name(view.sale), evidence->sale) == 0 && ps_str_is(view.user, user) &&
           view.quantity == wish.quantity &&
           strcmp(oq_sale_sku(view.sale, view.sku), evidence->skus[wish.sku].name) == 0;
}

/* The rehearsal itself cancelled it, after the last buyer: until then the order was in force. */
static bool is_cancelled_after(const struct judging *judging, const struct ps_uuid *order_id)
{
    const struct lt_decision *decision = lt_decisions_find(judging->evidence->decisions, order_id);
    return decision != NULL && decision->said && !decision->confirm;
}

static void add_lost(struct lt_proof *proof, const struct judging *judging,
                     const struct lt_promise *promise)
{
    char id[PS_UUID_LEN + 1];
    ps_uuid_format(&promise->order_id, id);
    if (proof->lost++ == 0)
        (void)snprintf(proof->first_lost, sizeof proof->first_lost, "%s of %s%u", id,
                       judging->evidence->user_prefix, promise->buyer);
}

/* True: the log has the order, and it is not void. */
static bool judge_promise(struct lt_proof *proof, struct judging *judging,
                          const struct lt_promise *promise)
{
    const struct oq_order *order = oq_fold_order(judging->fold, &promise->order_id);
    bool found = order != NULL && oq_order_known(order) && is_as_promised(judging, order, promise);
    enum oq_state state = found ? oq_order_state(order) : OQ_STATE_VOID;
    struct lt_wish wish = lt_plan_wish(judging->evidence->plan, promise->buyer, promise->wish);
    judging->known += found && state != OQ_STATE_VOID;
    switch ((enum lt_reported)promise->reported) {
    case LT_REPORTED_ACCEPTED:
        proof->promised++;
        if (!found || state == OQ_STATE_VOID)
            add_lost(proof, judging, promise);
        if (state == OQ_STATE_ACCEPTED || state == OQ_STATE_CONFIRMED ||
            (state == OQ_STATE_RELEASED && is_cancelled_after(judging, &promise->order_id)))
            judging->living[wish.sku] += wish.quantity;
        break;
    case LT_REPORTED_RELEASED:
        break;
    case LT_REPORTED_PENDING:
        if (order == NULL)
            proof->pending_gone++;
        else if (state == OQ_STATE_VOID)
            proof->pending_void++;
        else
            proof->pending_accepted++;
        break;
    }
    return found && state != OQ_STATE_VOID;
}

/* An answer said that the order has ended: then it must have, whatever other answers said. */
static void judge_end(struct lt_proof *proof, const struct judging *judging,
                      const struct lt_promise *promise)
{
    const struct oq_order *order = oq_fold_order(judging->fold, &promise->order_id);
    if (order == NULL || !oq_order_known(order) || !is_as_promised(judging, order, promise))
        return;
    enum oq_state state = oq_order_state(order);
    if (state == OQ_STATE_ACCEPTED || state == OQ_STATE_CONFIRMED)
        add_lost(proof, judging, promise);
}

/* After the last promise of a buyer: does the buyer have more than allowed? */
static void judge_buyer(struct lt_proof *proof, struct judging *judging)
{
    const struct lt_plan_spec *plan = judging->evidence->plan;
    int64_t units = 0, most = 0;
    for (size_t i = 0; i < (size_t)plan->skus; i++) {
        units += judging->living[i];
        most = judging->living[i] > most ? judging->living[i] : most;
        proof->skus[i].promised += judging->living[i];
        judging->living[i] = 0;
    }
    proof->sum.promised += units;
    proof->twice += units > plan->cap || (plan->sku_cap > 0 && most > plan->sku_cap);
}

/* `promises` are sorted. Each order of a buyer is judged once, by the strongest state in its
 * answers, and by "released" if an answer said so. */
static void judge_promises(struct lt_proof *proof, struct judging *judging,
                           const struct lt_promise *promises, size_t count)
{
    for (size_t i = 0, end; i < count; i = end) {
        const struct lt_promise *promise = &promises[i];
        bool answered = false, ended = false;
        for (end = i; end < count && promises[end].buyer == promise->buyer &&
                      ps_uuid_equal(&promises[end].order_id, &promise->order_id);
             end++) {
            answered = answered || !promises[end].replayed;
            ended = ended || promises[end].reported == LT_REPORTED_RELEASED;
        }
        proof->found_again += judge_promise(proof, judging, promise) && !answered;
        if (ended)
            judge_end(proof, judging, promise);
        if (end == count || promises[end].buyer != promise->buyer)
            judge_buyer(proof, judging);
    }
}

static void judge_decisions(struct lt_proof *proof, const struct oq_fold *fold,
                            const struct lt_decisions *decisions)
{
    proof->confirmed_said = decisions->confirmed;
    proof->cancelled_said = decisions->cancelled;
    for (size_t i = 0; i < decisions->count; i++) {
        const struct lt_decision *decision = &decisions->list[i];
        const struct oq_order *order = oq_fold_order(fold, &decision->order_id);
        enum oq_state said = decision->confirm ? OQ_STATE_CONFIRMED : OQ_STATE_RELEASED;
        if (decision->said &&
            (order == NULL || !oq_order_known(order) || oq_order_state(order) != said))
            proof->broken_decisions++;
    }
}

static int64_t count_in_log(const struct oq_sale *sale)
{
    int64_t count = 0;
    for (size_t i = 0; i < oq_sale_order_count(sale); i++) {
        const struct oq_order *order = oq_sale_order_at(sale, i);
        count += oq_order_known(order) && oq_order_state(order) != OQ_STATE_VOID;
    }
    return count;
}

/* Violations of I3, I4 and duplicate_id: a buyer has more than allowed. */
static int64_t count_too_much(const json_t *audit)
{
    int64_t count = 0;
    size_t index;
    const json_t *violation;
    json_array_foreach(json_object_get(audit, "violations"), index, violation)
    {
        const char *rule = json_string_value(json_object_get(violation, "rule"));
        count += rule != NULL && (strcmp(rule, "I3") == 0 || strcmp(rule, "I4") == 0 ||
                                  strcmp(rule, "duplicate_id") == 0);
    }
    return count;
}

static void check_gateway(struct lt_proof *proof)
{
    static const char *const members[] = {"adjustments", "held", "confirmed"};
    if (!json_is_true(json_object_get(proof->gateway, "ok"))) {
        set_check(proof, LT_CHECK_GATEWAY, false, "the gateway's own audit found a difference: %s",
                  lt_sale_violation(proof->gateway));
        return;
    }
    for (size_t i = 0; i < proof->sku_count * PS_ARRAY_LEN(members); i++) {
        const char *sku = proof->skus[i / PS_ARRAY_LEN(members)].name;
        const char *member = members[i % PS_ARRAY_LEN(members)];
        int64_t ours = lt_sale_audit_number(proof->auditor, sku, member);
        int64_t theirs = lt_sale_audit_number(proof->gateway, sku, member);
        if (ours != theirs) {
            set_check(proof, LT_CHECK_GATEWAY, false, "%s of %s: %s by the log, %s by the gateway",
                      member, sku, LT_COUNT(ours), LT_COUNT(theirs));
            return;
        }
    }
    set_check(proof, LT_CHECK_GATEWAY, true,
              "the gateway's own audit found no difference and has the same numbers");
}

/* A buyer of a rehearsal never gets a 401 from a gateway that trusts this machine; a run with 401s
 * proves nothing. */
static void check_tried(struct lt_proof *proof, const struct lt_tally *tally, int64_t orders)
{
    const struct lt_verdict_tally *most = tally->verdicts[0];
    for (size_t i = 1; i < tally->verdict_count; i++)
        most = tally->verdicts[i]->latency.count > most->latency.count ? tally->verdicts[i] : most;
    uint64_t unknown = lt_tally_count(tally, "unauthenticated") + lt_tally_count(tally, "http_401");
    bool any = orders > 0 || proof->promised > 0;
    if (!any && tally->clicks == 0)
        set_check(proof, LT_CHECK_TRIED, false, "no buyer clicked");
    else if (!any)
        set_check(proof, LT_CHECK_TRIED, false,
                  "no buyer got an order: of %s clicks %s ended as %s", LT_COUNT(tally->clicks),
                  LT_COUNT(most->latency.count), most->name);
    else if (unknown > 0)
        set_check(proof, LT_CHECK_TRIED, false, "%s of %s clicks were refused with 401",
                  LT_COUNT(unknown), LT_COUNT(tally->clicks));
    else
        set_check(proof, LT_CHECK_TRIED, true,
                  "%s orders were made, and no click was refused with 401", LT_COUNT(orders));
}

static void check_decided(struct lt_proof *proof)
{
    if (proof->confirmed_said + proof->cancelled_said > 0) {
        set_check(proof, LT_CHECK_DECIDED, proof->broken_decisions == 0,
                  "the gateway confirmed %s orders and cancelled %s; for %s of them the log says "
                  "otherwise",
                  LT_COUNT(proof->confirmed_said), LT_COUNT(proof->cancelled_said),
                  LT_COUNT(proof->broken_decisions));
        return;
    }
    set_check(proof, LT_CHECK_DECIDED, true, "the gateway confirmed and cancelled no order");
    proof->checks[LT_CHECK_DECIDED].applied = false;
}

/* More promises than units of a SKU? The text names the first such SKU. */
static void check_promises(struct lt_proof *proof)
{
    for (size_t i = 0; i < proof->sku_count; i++) {
        const struct lt_proof_sku *sku = &proof->skus[i];
        if (sku->promised > sku->stock) {
            set_check(proof, LT_CHECK_PROMISES, false,
                      "%s units of %s were promised and in force, but only %s exist",
                      LT_COUNT(sku->promised), sku->name, LT_COUNT(sku->stock));
            return;
        }
    }
    set_check(proof, LT_CHECK_PROMISES, true, "%s promised units were in force, of %s%s",
              LT_COUNT(proof->sum.promised), LT_COUNT(proof->sum.stock),
              proof->sku_count > 1 ? ", and no SKU was promised beyond its stock" : "");
}

static void check_all(struct lt_proof *proof, const struct lt_tally *tally,
                      const struct lt_plan_spec *plan)
{
    proof->ok = true;
    set_check(proof, LT_CHECK_OVERSOLD, proof->oversold == 0,
              "%s of %s units are sold: %s oversold",
              LT_COUNT(proof->sum.held + proof->sum.confirmed), LT_COUNT(proof->sum.stock),
              LT_COUNT(proof->oversold));
    set_check(proof, LT_CHECK_LOST, proof->lost == 0,
              "of %s orders promised to buyers, %s are missing from the log%s%s",
              LT_COUNT(proof->promised), LT_COUNT(proof->lost),
              proof->lost > 0 ? "; the first: " : "", proof->first_lost);
    set_check(proof, LT_CHECK_TWICE, proof->twice == 0, "%s buyers have more than %s",
              LT_COUNT(proof->twice), plan->cap > 1 ? "they may have" : "one order");
    check_promises(proof);
    check_decided(proof);
    uint64_t garbled = lt_tally_count(tally, "garbled");
    set_check(proof, LT_CHECK_LEGIBLE, garbled == 0, "%s answers could not be read",
              LT_COUNT(garbled));
    set_check(proof, LT_CHECK_AUDITOR, json_is_true(json_object_get(proof->auditor, "ok")),
              "the auditor read %s records and found %s", LT_COUNT(proof->records),
              lt_sale_violation(proof->auditor));
    check_gateway(proof);
    int64_t in_doubt = lt_sale_audit_sum(proof->gateway, "in_doubt");
    set_check(proof, LT_CHECK_SETTLED, in_doubt == 0, "%s units are still in doubt",
              LT_COUNT(in_doubt));
}

/* The log's units of each SKU of the rehearsal. */
static void add_units(struct lt_proof *proof, const struct lt_evidence *evidence)
{
    proof->sku_count = (size_t)evidence->plan->skus;
    for (size_t i = 0; i < proof->sku_count; i++) {
        struct lt_proof_sku *sku = &proof->skus[i];
        const struct {
            const char *member;
            int64_t *units, *sum;
        } members[] = {
            {"adjustments", &sku->stock, &proof->sum.stock},
            {"held", &sku->held, &proof->sum.held},
            {"confirmed", &sku->confirmed, &proof->sum.confirmed},
            {"released", &sku->released, &proof->sum.released},
            {"available", &sku->available, &proof->sum.available},
        };
        (void)snprintf(sku->name, sizeof sku->name, "%s", evidence->skus[i].name);
        for (size_t m = 0; m < PS_ARRAY_LEN(members); m++) {
            *members[m].units = lt_sale_audit_number(proof->auditor, sku->name, members[m].member);
            *members[m].sum += *members[m].units;
        }
        int64_t over = sku->held + sku->confirmed - sku->stock;
        proof->oversold += over > 0 ? over : 0;
    }
}

int lt_proof_make(const struct lt_evidence *evidence, struct lt_proof *ret_proof)
{
    const struct lt_tally *tally = evidence->tally;
    const char *sale = evidence->sale;
    struct lt_proof proof = {
        .made = true, .records = evidence->records, .gateway = json_incref(evidence->gateway)};
    struct judging judging = {.evidence = evidence, .fold = oq_audit_fold(evidence->audit)};
    int err = tally->out_of_memory ? PS_E_NOMEM : 0;
    if (err == 0)
        err = oq_audit_report(evidence->audit, sale, ps_clock_wall_ms(&ps_clock_system), NULL, 0,
                              &proof.auditor);
    size_t size = tally->promise_count * sizeof *tally->promises;
    struct lt_promise *promises = NULL;
    if (err == 0) {
        promises = malloc(size + 1);
        err = promises == NULL ? PS_E_NOMEM : 0;
    }
    if (err < 0) {
        lt_proof_done(&proof);
        return err;
    }
    if (size > 0) {
        memcpy(promises, tally->promises, size);
        qsort(promises, tally->promise_count, sizeof *promises, by_buyer);
    }
    add_units(&proof, evidence);
    judge_promises(&proof, &judging, promises, tally->promise_count);
    free(promises);
    judge_decisions(&proof, judging.fold, evidence->decisions);

    proof.twice += count_too_much(proof.auditor);
    proof.orders = count_in_log(oq_fold_sale(judging.fold, sale, strlen(sale)));
    proof.unreported = proof.orders - judging.known;
    check_all(&proof, tally, evidence->plan);
    check_tried(&proof, tally, proof.orders);
    set_check(&proof, LT_CHECK_HISTORY, true, "no history was written");
    proof.checks[LT_CHECK_HISTORY].applied = false;
    *ret_proof = proof;
    return 0;
}

void lt_proof_history(struct lt_proof *proof, const struct lt_history_verdict *verdict)
{
    char text[LT_HISTORY_WORDS_MAX];
    set_check(proof, LT_CHECK_HISTORY, verdict->contradictions == 0, "%s",
              lt_history_words(verdict, text));
}

const char *lt_proof_words(const struct lt_proof *proof)
{
    if (!proof->made)
        return "No proof could be made";
    if (proof->ok)
        return "The proof holds";
    for (size_t i = 0; i < LT_CHECKS; i++) {
        if (!proof->checks[i].ok && i != LT_CHECK_TRIED)
            return "The proof fails";
    }
    return "The run proves nothing";
}

void lt_proof_done(struct lt_proof *proof)
{
    json_decref(proof->auditor);
    json_decref(proof->gateway);
    proof->auditor = proof->gateway = NULL;
}
