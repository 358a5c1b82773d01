/* lt_tally_add() is called for every answer, so it is cheap: a verdict is looked up by a walk over
 * a dozen names, and a member of a body is found by a scan instead of a parse. The scan is safe on
 * JSON: an unescaped quote cannot stand inside a string, so `"code"` followed by a colon is always
 * a member's name. */
#include "loadtest/tally.h"

#include "common/clock.h"
#include "common/grow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_NS_START (5 * PS_NS_PER_MS)

static const char *const fixed_names[LT_V_FIXED] = {"accepted", "pending", "replayed", "no_answer",
                                                    "reset",    "refused", "garbled"};

static struct lt_verdict_tally *add_verdict(struct lt_tally *tally, struct ps_str name)
{
    struct lt_verdict_tally *verdict = calloc(1, sizeof *verdict);
    if (verdict == NULL)
        return NULL;
    (void)snprintf(verdict->name, sizeof verdict->name, "%.*s", (int)name.len, name.at);
    ps_histogram_init(&verdict->latency);
    tally->verdicts[tally->verdict_count++] = verdict;
    return verdict;
}

int lt_tally_new(struct lt_tally **ret_tally)
{
    struct lt_tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return PS_E_NOMEM;
    tally->slot_ns = SLOT_NS_START;
    ps_histogram_init(&tally->sent_late);
    if (lt_waits_new(&tally->waits) < 0 || lt_waits_new(&tally->admitted) < 0) {
        lt_tally_free(tally);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < LT_V_FIXED; i++) {
        if (add_verdict(tally, ps_str(fixed_names[i])) == NULL) {
            lt_tally_free(tally);
            return PS_E_NOMEM;
        }
    }
    *ret_tally = tally;
    return 0;
}

void lt_tally_free(struct lt_tally *tally)
{
    if (tally == NULL)
        return;
    for (size_t i = 0; i < tally->verdict_count; i++)
        free(tally->verdicts[i]);
    lt_waits_free(&tally->waits);
    lt_waits_free(&tally->admitted);
    free(tally->promises);
    free(tally);
}

static void halve_slots(uint32_t slot[LT_SLOTS])
{
    for (size_t i = 0; i < LT_SLOTS / 2; i++)
        slot[i] = slot[2 * i] + slot[2 * i + 1];
    memset(slot + LT_SLOTS / 2, 0, LT_SLOTS / 2 * sizeof *slot);
}

size_t lt_tally_slot(struct lt_tally *tally, int64_t at_ns)
{
    if (at_ns < 0)
        at_ns = 0;
    while (at_ns / tally->slot_ns >= LT_SLOTS) {
        tally->slot_ns *= 2;
        tally->slot_count = (tally->slot_count + 1) / 2;
        halve_slots(tally->offered);
        for (size_t i = 0; i < tally->verdict_count; i++)
            halve_slots(tally->verdicts[i]->slot);
    }
    size_t slot = (size_t)(at_ns / tally->slot_ns);
    if (slot >= tally->slot_count)
        tally->slot_count = slot + 1;
    return slot;
}

/* The string member `name` (with its quotes) of a JSON object's text; empty when it is not there.
 */
static struct ps_str find_member(struct ps_str body, struct ps_str name)
{
    static const struct ps_str none = {"", 0};
    const char *at = memmem(body.at, body.len, name.at, name.len);
    if (at == NULL)
        return none;
    const char *end = body.at + body.len;
    for (at += name.len; at < end && (*at == ' ' || *at == ':'); at++)
        continue;
    if (at == end || *at != '"')
        return none;
    at++;
    const char *close = memchr(at, '"', (size_t)(end - at));
    return close != NULL ? (struct ps_str){at, (size_t)(close - at)} : none;
}

/* NULL: no click has this verdict. */
static struct lt_verdict_tally *verdict_named(const struct lt_tally *tally, struct ps_str name)
{
    for (size_t i = 0; i < tally->verdict_count; i++) {
        if (ps_str_is(name, tally->verdicts[i]->name))
            return tally->verdicts[i];
    }
    return NULL;
}

/* "garbled" if there is no room or memory for another verdict. */
static struct lt_verdict_tally *find_verdict(struct lt_tally *tally, struct ps_str name,
                                             bool refusal)
{
    struct lt_verdict_tally *verdict = verdict_named(tally, name);
    if (verdict != NULL)
        return verdict;
    if (tally->verdict_count < LT_VERDICTS_MAX)
        verdict = add_verdict(tally, name);
    if (verdict == NULL)
        return tally->verdicts[LT_V_GARBLED];
    verdict->refusal = refusal;
    return verdict;
}

static void note_promise(struct lt_tally *tally, const struct lt_promise *promise)
{
    if (ps_grow(&tally->promises, &tally->promise_room, tally->promise_count + 1, sizeof *promise) <
        0) {
        tally->out_of_memory = true;
        return;
    }
    tally->promises[tally->promise_count++] = *promise;
}

bool lt_tally_order(const struct lt_answer *answer, struct lt_reported_order *ret_reported)
{
    if (answer->outcome != LT_ANSWERED || answer->status / 100 != 2)
        return false;
    struct ps_str id = find_member(answer->body, PS_STR("\"order_id\""));
    struct ps_str state = find_member(answer->body, PS_STR("\"state\""));
    struct ps_str reason = find_member(answer->body, PS_STR("\"reason\""));
    struct lt_reported_order reported = {.seen = lt_seen_parse(state, reason)};
    if (ps_uuid_parse(id.at, id.len, &reported.order_id) < 0 || reported.seen == LT_SEEN_UNKNOWN)
        return false;
    /* A first answer never reports an ended order. */
    bool over = reported.seen == LT_SEEN_RELEASED || reported.seen == LT_SEEN_REJECTED;
    *ret_reported = reported;
    return !over || answer->replayed;
}

static enum lt_verdict judge_yes(struct lt_tally *tally, const struct lt_answer *answer)
{
    struct lt_reported_order reported;
    if (!lt_tally_order(answer, &reported))
        return LT_V_GARBLED;
    struct lt_promise promise = {
        .order_id = reported.order_id,
        .buyer = answer->click->buyer,
        .reported = reported.seen == LT_SEEN_PENDING   ? LT_REPORTED_PENDING
                    : reported.seen < LT_SEEN_RELEASED ? LT_REPORTED_ACCEPTED
                                                       : LT_REPORTED_RELEASED,
        .wish = answer->click->wish,
        .replayed = answer->replayed,
    };
    note_promise(tally, &promise);
    if (answer->replayed)
        return LT_V_REPLAYED;
    return promise.reported == LT_REPORTED_PENDING ? LT_V_PENDING : LT_V_ACCEPTED;
}

/* Names with another meaning in the report; a proxy may use one as its own code. */
static bool is_reserved(struct ps_str name)
{
    bool found =
        ps_str_is(name, "all") || ps_str_is(name, "admitted") || ps_str_is(name, "refusals");
    for (size_t i = 0; i < LT_V_FIXED; i++)
        found = found || ps_str_is(name, fixed_names[i]);
    return found;
}

static struct lt_verdict_tally *judge_answer(struct lt_tally *tally, const struct lt_answer *answer)
{
    static const enum lt_verdict of_outcome[] = {
        [LT_NO_ANSWER] = LT_V_NO_ANSWER,
        [LT_RESET] = LT_V_RESET,
        [LT_REFUSED] = LT_V_REFUSED,
        [LT_GARBLED] = LT_V_GARBLED,
    };
    if (answer->outcome != LT_ANSWERED)
        return tally->verdicts[of_outcome[answer->outcome]];
    /* A gateway answers 202; a proxy may turn it into another 2xx, which is a promise, too. */
    if (!tally->of_pages && answer->status / 100 == 2)
        return tally->verdicts[judge_yes(tally, answer)];
    struct ps_str code = find_member(answer->body, PS_STR("\"code\""));
    char text[16];
    if (!ps_name_ok(code.at, code.len) || is_reserved(code)) {
        int len = snprintf(text, sizeof text, "http_%d", answer->status);
        code = (struct ps_str){text, (size_t)len};
    }
    return find_verdict(tally, code, answer->status >= 400);
}

const char *lt_tally_add(struct lt_tally *tally, const struct lt_answer *answer)
{
    struct lt_verdict_tally *verdict = judge_answer(tally, answer);
    ps_histogram_record(&verdict->latency, (uint64_t)answer->latency_ns);
    if (answer->outcome == LT_ANSWERED)
        lt_waits_add(&tally->waits, answer->ended_ns, answer->latency_ns);
    if (verdict == tally->verdicts[LT_V_ACCEPTED] || verdict == tally->verdicts[LT_V_PENDING])
        lt_waits_add(&tally->admitted, answer->ended_ns, answer->latency_ns);
    verdict->in_time += answer->latency_ns <= tally->in_time_ns;
    /* The later moment comes first, because it may widen the slots. */
    verdict->slot[lt_tally_slot(tally, answer->ended_ns)]++;
    tally->offered[lt_tally_slot(tally, answer->click->at_ns)]++;
    tally->clicks++;
    tally->repeats += answer->click->repeat && answer->click->tries == 0;
    tally->tries_again += answer->click->tries > 0;
    if (answer->sent_late_ns >= 0)
        ps_histogram_record(&tally->sent_late, (uint64_t)answer->sent_late_ns);
    else
        tally->never_sent += answer->outcome == LT_NO_ANSWER;
    return verdict->name;
}

uint64_t lt_tally_count(const struct lt_tally *tally, const char *name)
{
    const struct lt_verdict_tally *verdict = verdict_named(tally, ps_str(name));
    return verdict != NULL ? verdict->latency.count : 0;
}
