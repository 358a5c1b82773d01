/* Everything is sorted once and then scanned: observations of orders by order, gateway and
 * moment; requests by user and key; effects by their place in the log. Clients know an interval
 * for an effect: from its first request until somebody observed it. Two effects contradict the
 * log's order if the interval of the later one ended before that of the earlier one began; so
 * one scan with the latest beginning so far finds any.
 *
 * Fold and states are the auditor's own (queue/fold): this file does not decide what the log
 * means. */
#include "loadtest/history_check.h"

#include "common/grow.h"
#include "common/sorted.h"
#include "loadtest/template.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct decision { /* confirmed or released, by the record that did it */
    struct ps_uuid order_id;
    int64_t place;
};

struct lt_history_log {
    struct oq_fold *fold;
    struct decision *decisions;
    size_t count, room;
};

/* What one answer shows of an order. */
struct sight {
    const struct ps_uuid *order_id;
    const struct lt_op *op;
};

/* An effect in the log, and what clients know about its moment. NULL: nothing. */
struct effect {
    int64_t place;
    const struct lt_op *asked; /* the first that may have caused it */
    const struct lt_op *seen;  /* whose answer was the first to show it */
    const struct oq_order *order;
};

struct check {
    const struct lt_history_log *log;
    const struct oq_sale *sale;
    const struct lt_op **asks; /* buys, by user, key and moment */
    size_t ask_count;
    struct sight *sights; /* by order, gateway, moment */
    size_t sight_count;
    struct effect *effects;
    size_t effect_count;
    struct lt_history_verdict verdict;
    uint32_t first_line; /* of the contradiction in `verdict`; 0: none */
};

/* --- the log --- */

int lt_history_log_new(struct lt_history_log **ret_log)
{
    struct lt_history_log *log = calloc(1, sizeof *log);
    if (log == NULL || oq_fold_new(&log->fold) < 0) {
        free(log);
        return PS_E_NOMEM;
    }
    *ret_log = log;
    return 0;
}

void lt_history_log_free(struct lt_history_log *log)
{
    if (log == NULL)
        return;
    oq_fold_free(log->fold);
    free(log->decisions);
    free(log);
}

int lt_history_log_add(struct lt_history_log *log, uint32_t partition, int64_t seq,
                       const struct oq_event *event)
{
    struct oq_change change;
    int err = ps_grow(&log->decisions, &log->room, log->count + 1, sizeof *log->decisions);
    if (err == 0)
        err = oq_fold_apply(log->fold, partition, seq, event, &change);
    if (err == 0 && (change.effect == OQ_EFFECT_CONFIRMED || change.effect == OQ_EFFECT_RELEASED))
        log->decisions[log->count++] =
            (struct decision){*oq_order_id(change.order), oq_place(partition, seq)};
    return err;
}

static int add_placed(int64_t place, const struct oq_event *event, void *log)
{
    return lt_history_log_add(log, oq_place_partition(place), oq_place_seq(place), event);
}

int lt_history_log_add_line(struct lt_history_log *log, const char *line, size_t len)
{
    return oq_event_visit_line(line, len, add_placed, log);
}

/* --- contradictions --- */

/* Keeps the one whose last line comes first. */
static void __attribute__((format(printf, 3, 4)))
contradict(struct check *check, uint32_t line, const char *fmt, ...)
{
    check->verdict.contradictions++;
    if (check->first_line > 0 && check->first_line <= line)
        return;
    check->first_line = line;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(check->verdict.text, sizeof check->verdict.text, fmt, args);
    va_end(args);
}

static uint32_t last_of(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* An order's id as text that lives as long as the block. */
#define ID(id) id_text((id), (char[PS_UUID_LEN + 1]){0})
static const char *id_text(const struct ps_uuid *id, char text[PS_UUID_LEN + 1])
{
    ps_uuid_format(id, text);
    return text;
}

static const char *const seen_names[] = {
    [LT_SEEN_UNKNOWN] = "?",           [LT_SEEN_NONE] = "not there",
    [LT_SEEN_PENDING] = "pending",     [LT_SEEN_ACCEPTED] = "accepted",
    [LT_SEEN_CONFIRMED] = "confirmed", [LT_SEEN_RELEASED] = "released",
    [LT_SEEN_REJECTED] = "rejected",
};

static const char *state_name(const struct oq_order *order)
{
    static const char *const names[] = {[OQ_STATE_ACCEPTED] = "accepted",
                                        [OQ_STATE_CONFIRMED] = "confirmed",
                                        [OQ_STATE_RELEASED] = "released",
                                        [OQ_STATE_VOID] = "rejected"};
    return order == NULL ? "nothing of it" : names[oq_order_state(order)];
}

/* How far an order has come. "Pending" is no promise: it may turn out not to be there. */
static int stage(enum lt_seen seen)
{
    return seen <= LT_SEEN_PENDING ? 0 : seen == LT_SEEN_ACCEPTED ? 1 : 2;
}

static bool was_accepted(enum lt_seen seen)
{
    return seen == LT_SEEN_ACCEPTED || seen == LT_SEEN_CONFIRMED || seen == LT_SEEN_RELEASED;
}

/* --- what was seen of one order --- */

static const struct oq_order *find_order(const struct check *check, const struct ps_uuid *id)
{
    const struct oq_order *order = oq_fold_order(check->log->fold, id);
    return order != NULL && oq_order_sale(order) == check->sale ? order : NULL;
}

static void check_lost(struct check *check, const struct lt_op *op, const struct oq_order *order)
{
    static const bool fits[][4] = {/* accepted, confirmed, released, void */
                                   [LT_SEEN_ACCEPTED] = {true, true, true, false},
                                   [LT_SEEN_CONFIRMED] = {false, true, false, false},
                                   [LT_SEEN_RELEASED] = {false, false, true, false},
                                   [LT_SEEN_REJECTED] = {false, false, false, true}};
    bool gone = order == NULL && op->seen != LT_SEEN_REJECTED;
    if (op->seen >= LT_SEEN_ACCEPTED &&
        (gone || (order != NULL && !fits[op->seen][oq_order_state(order)])))
        contradict(check, op->end_line, "lost: line %u: order %s was seen %s, and the log has %s",
                   op->end_line, ID(&op->order_id), seen_names[op->seen], state_name(order));
}

/* A replay without a key shows whatever order the buyer has. */
static void check_other(struct check *check, const struct lt_op *op, const struct oq_order *order)
{
    const char *what = NULL;
    bool whole = !op->replayed || op->key.len > 0;
    struct oq_order_view has;
    if (op->f != LT_OP_BUY || order == NULL || !oq_order_known(order))
        return;
    oq_order_get(order, &has);
    if (op->user.len > 0 && !ps_str_same(op->user, has.user))
        what = "user";
    else if (op->key.len > 0 && !ps_str_same(op->key, has.key))
        what = "key";
    else if (whole && op->sku.len > 0 && !ps_str_is(op->sku, oq_sale_sku(has.sale, has.sku)))
        what = "SKU";
    else if (whole && op->quantity > 0 && op->quantity != has.quantity)
        what = "quantity";
    if (what != NULL)
        contradict(check, op->end_line, "other: line %u: order %s was shown, which has another %s",
                   op->end_line, ID(&op->order_id), what);
}

static int by_end(const void *left, const void *right)
{
    const struct lt_op *a = ((const struct sight *)left)->op,
                       *b = ((const struct sight *)right)->op;
    return a->ended_ns < b->ended_ns ? -1 : a->ended_ns > b->ended_ns;
}

/* Sights of one order by one gateway, by the moment of asking. `ended` has room for them. */
static void check_back(struct check *check, const struct sight *sights, size_t count,
                       struct sight *ended)
{
    size_t over = 0;
    const struct lt_op *furthest = NULL; /* of those that had ended */
    memcpy(ended, sights, count * sizeof *sights);
    qsort(ended, count, sizeof *ended, by_end);
    for (size_t i = 0; i < count; i++) {
        const struct lt_op *op = sights[i].op;
        if (op->seen == LT_SEEN_UNKNOWN || op->anywhere)
            continue;
        for (; over < count && ended[over].op->ended_ns < op->invoked_ns; over++) {
            if (!ended[over].op->anywhere &&
                (furthest == NULL || stage(ended[over].op->seen) > stage(furthest->seen)))
                furthest = ended[over].op;
        }
        if (furthest != NULL && stage(op->seen) < stage(furthest->seen))
            contradict(check, last_of(op->end_line, furthest->end_line),
                       "back: lines %u and %u: order %s was seen %s, and afterwards %s",
                       furthest->end_line, op->end_line, ID(&op->order_id),
                       seen_names[furthest->seen], seen_names[op->seen]);
    }
}

/* All sights, order by order and, of each, gateway by gateway. */
static void check_sights(struct check *check, struct sight *room)
{
    for (size_t i = 0, first = 0; i < check->sight_count; i++) {
        const struct sight *sight = &check->sights[i];
        const struct oq_order *order = find_order(check, sight->order_id);
        check_lost(check, sight->op, order);
        check_other(check, sight->op, order);
        if (i + 1 == check->sight_count || !ps_uuid_equal(sight->order_id, sight[1].order_id) ||
            !ps_str_same(sight->op->at, sight[1].op->at)) {
            check_back(check, check->sights + first, i + 1 - first, room);
            first = i + 1;
        }
    }
}

/* --- what was asked under one key --- */

static void check_keys(struct check *check)
{
    const struct lt_op *one = NULL; /* of this user and key, whose answer shows an order */
    for (size_t i = 0; i < check->ask_count; i++) {
        const struct lt_op *op = check->asks[i], *before = i > 0 ? check->asks[i - 1] : NULL;
        if (before != NULL &&
            (!ps_str_same(op->user, before->user) || !ps_str_same(op->key, before->key)))
            one = NULL;
        if (op->key.len == 0 || !was_accepted(op->seen))
            continue;
        if (one == NULL)
            one = op;
        else if (!ps_uuid_equal(&one->order_id, &op->order_id))
            contradict(check, last_of(op->end_line, one->end_line),
                       "key: lines %u and %u: one key has the orders %s and %s", one->end_line,
                       op->end_line, ID(&one->order_id), ID(&op->order_id));
    }
}

/* By user, key and moment; the line makes it the same everywhere. */
static int by_ask(const void *left, const void *right)
{
    const struct lt_op *a = *(const struct lt_op *const *)left;
    const struct lt_op *b = *(const struct lt_op *const *)right;
    int order = ps_str_compare(a->user, b->user);
    if (order == 0)
        order = ps_str_compare(a->key, b->key);
    if (order == 0)
        order = (a->invoked_ns > b->invoked_ns) - (a->invoked_ns < b->invoked_ns);
    return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static int by_sight(const void *left, const void *right)
{
    const struct sight *a = left, *b = right;
    int order = memcmp(a->order_id->byte, b->order_id->byte, sizeof a->order_id->byte);
    if (order == 0)
        order = ps_str_compare(a->op->at, b->op->at);
    if (order == 0)
        order = (a->op->invoked_ns > b->op->invoked_ns) - (a->op->invoked_ns < b->op->invoked_ns);
    return order != 0 ? order : (a->op->line > b->op->line) - (a->op->line < b->op->line);
}

/* The first of the buys under the user and key of the order, if there is one. Of orders without a
 * key, any of the user's without one may have made it. */
static const struct lt_op *first_ask(struct check *check, const struct oq_order *order)
{
    struct oq_order_view has;
    oq_order_get(order, &has);
    /* Before every ask of this user and key. */
    const struct lt_op probe = {.user = has.user, .key = has.key, .invoked_ns = INT64_MIN};
    const struct lt_op *key = &probe, *first = NULL;
    bool there, refused = true;
    size_t i = ps_sorted_place(&key, check->asks, check->ask_count, sizeof key, by_ask, &there);
    for (; i < check->ask_count && ps_str_same(check->asks[i]->user, has.user) &&
           ps_str_same(check->asks[i]->key, has.key);
         i++) {
        first = first != NULL ? first : check->asks[i];
        refused = refused && check->asks[i]->type == LT_OP_FAIL;
    }
    if (first != NULL && refused && has.key.len > 0)
        contradict(check, first->end_line,
                   "refused: line %u: the key was refused at every try, and the log has order %s",
                   first->end_line, ID(&has.id));
    return first;
}

/* --- the order of the log --- */

static const struct lt_op *earlier_end(const struct lt_op *a, const struct lt_op *b)
{
    return a == NULL || b->ended_ns < a->ended_ns ? b : a;
}

static int by_order(const void *left, const void *right)
{
    const struct decision *a = left, *b = right;
    return memcmp(a->order_id.byte, b->order_id.byte, sizeof a->order_id.byte);
}

static int by_place(const void *left, const void *right)
{
    const struct effect *a = left, *b = right;
    return a->place < b->place ? -1 : a->place > b->place;
}

/* What the log has of an order becomes one effect or two. */
static void add_effects(struct check *check, const struct oq_order *order)
{
    const struct ps_uuid *id = oq_order_id(order);
    const struct sight probe = {id, &(const struct lt_op){.invoked_ns = INT64_MIN, .at = {"", 0}}};
    const struct decision wanted = {.order_id = *id};
    struct effect accepted = {
        .place = oq_order_place(order), .asked = first_ask(check, order), .order = order};
    struct effect decided = {.order = order};
    bool there;
    size_t i =
        ps_sorted_place(&probe, check->sights, check->sight_count, sizeof probe, by_sight, &there);
    for (; i < check->sight_count && ps_uuid_equal(check->sights[i].order_id, id); i++) {
        const struct lt_op *op = check->sights[i].op;
        if (was_accepted(op->seen))
            accepted.seen = earlier_end(accepted.seen, op);
        if (stage(op->seen) == 2)
            decided.seen = earlier_end(decided.seen, op);
        bool causes = op->f == LT_OP_CONFIRM
                          ? oq_order_state(order) == OQ_STATE_CONFIRMED
                          : op->f == LT_OP_CANCEL && oq_order_reason(order) == OQ_CANCELLED;
        if (causes && (decided.asked == NULL || op->invoked_ns < decided.asked->invoked_ns))
            decided.asked = op;
    }
    check->effects[check->effect_count++] = accepted;
    const struct decision *decision =
        ps_sorted_find(&wanted, check->log->decisions, check->log->count, sizeof wanted, by_order);
    if (decision != NULL) {
        decided.place = decision->place;
        check->effects[check->effect_count++] = decided;
    }
}

static void check_places(struct check *check)
{
    const struct effect *latest = NULL; /* asked for, of this partition so far */
    qsort(check->effects, check->effect_count, sizeof *check->effects, by_place);
    for (size_t i = 0; i < check->effect_count; i++) {
        const struct effect *effect = &check->effects[i];
        if (latest != NULL &&
            oq_place_partition(latest->place) != oq_place_partition(effect->place))
            latest = NULL;
        if (effect->asked != NULL &&
            (latest == NULL || effect->asked->invoked_ns > latest->asked->invoked_ns))
            latest = effect;
        if (latest != NULL && effect->seen != NULL &&
            effect->seen->ended_ns < latest->asked->invoked_ns)
            contradict(
                check, last_of(effect->seen->end_line, latest->asked->line),
                "order: lines %u and %u: the log has seq %lld of order %s, which was asked for "
                "only when seq %lld of order %s had been seen",
                effect->seen->end_line, latest->asked->line, (long long)latest->place,
                ID(oq_order_id(latest->order)), (long long)effect->place,
                ID(oq_order_id(effect->order)));
    }
}

/* --- all of it --- */

static int sort_ops(struct check *check, const struct lt_op *ops, size_t count)
{
    check->asks = malloc((count + 1) * sizeof *check->asks);
    check->sights = malloc((count + 1) * sizeof *check->sights);
    if (check->asks == NULL || check->sights == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].f == LT_OP_BUY && ops[i].user.len > 0)
            check->asks[check->ask_count++] = &ops[i];
        if (ops[i].has_order)
            check->sights[check->sight_count++] = (struct sight){&ops[i].order_id, &ops[i]};
    }
    qsort(check->asks, check->ask_count, sizeof *check->asks, by_ask);
    qsort(check->sights, check->sight_count, sizeof *check->sights, by_sight);
    return 0;
}

int lt_history_check(const struct lt_history *history, struct lt_history_log *log, const char *sale,
                     struct lt_history_verdict *ret_verdict)
{
    struct check check = {.log = log, .sale = oq_fold_sale(log->fold, sale, strlen(sale))};
    size_t count;
    const struct lt_op *ops = lt_history_ops(history, &count);
    if (check.sale == NULL)
        return PS_E_NOT_FOUND;
    qsort(log->decisions, log->count, sizeof *log->decisions, by_order);
    size_t orders = oq_sale_order_count(check.sale);
    check.effects = malloc((2 * orders + 1) * sizeof *check.effects);
    int err = sort_ops(&check, ops, count);
    struct sight *room = err == 0 ? malloc((check.sight_count + 1) * sizeof *room) : NULL;
    if (room == NULL || check.effects == NULL)
        err = PS_E_NOMEM;
    if (err == 0) {
        check_sights(&check, room);
        check_keys(&check);
        for (size_t i = 0; i < orders; i++) {
            const struct oq_order *order = oq_sale_order_at(check.sale, i);
            if (oq_order_known(order) && oq_order_state(order) != OQ_STATE_VOID)
                add_effects(&check, order);
        }
        check_places(&check);
        check.verdict.operations = count;
        *ret_verdict = check.verdict;
    }
    free(room);
    free(check.effects);
    free(check.sights);
    free(check.asks);
    return err;
}

const char *lt_history_words(const struct lt_history_verdict *verdict,
                             char ret_text[LT_HISTORY_WORDS_MAX])
{
    if (verdict->contradictions == 0)
        (void)snprintf(ret_text, LT_HISTORY_WORDS_MAX,
                       "what clients saw in %s operations fits the log's order",
                       LT_COUNT(verdict->operations));
    else
        (void)snprintf(ret_text, LT_HISTORY_WORDS_MAX,
                       "what clients saw contradicts the log %s times; the first: %s",
                       LT_COUNT(verdict->contradictions), verdict->text);
    return ret_text;
}
