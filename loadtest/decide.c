/* Confirming and cancelling can be repeated: a call without a definite answer (503) is repeated in
 * the next round. */
#include "loadtest/decide.h"

#include "common/random.h"
#include "common/text/buf.h"

#include <stdlib.h>
#include <string.h>

#define BATCH       500
#define ROUNDS      20
#define ROUND_MS    200
#define PATIENCE_MS 15000
#define BODY_MAX    (BATCH * (PS_UUID_LEN + 3) + 64)

static int by_id(const void *left, const void *right)
{
    const struct lt_decision *a = left, *b = right;
    return memcmp(a->order_id.byte, b->order_id.byte, sizeof a->order_id.byte);
}

/* Every promised order once, then those that are drawn. */
static int draw_orders(const struct lt_tally *tally, const struct lt_decide_settings *settings,
                       struct lt_decisions *decisions)
{
    uint64_t seed = settings->seed;
    struct lt_decision *list = malloc((tally->promise_count + 1) * sizeof *list);
    if (list == NULL)
        return PS_E_NOMEM;
    size_t promised = 0, kept = 0;
    for (size_t i = 0; i < tally->promise_count; i++) {
        if (tally->promises[i].reported == LT_REPORTED_ACCEPTED)
            list[promised++] = (struct lt_decision){.order_id = tally->promises[i].order_id};
    }
    qsort(list, promised, sizeof *list, by_id);
    for (size_t i = 0; i < promised; i++) {
        if (i > 0 && by_id(&list[i], &list[i - 1]) == 0)
            continue;
        double drawn = ps_random_draw(&seed);
        struct lt_decision decision = {.order_id = list[i].order_id,
                                       .confirm = drawn < settings->confirm_share};
        if (drawn < settings->confirm_share + settings->cancel_share)
            list[kept++] = decision;
    }
    decisions->list = list;
    decisions->count = kept;
    return 0;
}

static void put_ids(struct ps_buf *body, const char *member, bool confirm,
                    struct lt_decision *const *batch, size_t count)
{
    char id[PS_UUID_LEN + 1];
    bool first = true;
    ps_buf_printf(body, "\"%s\":[", member);
    for (size_t i = 0; i < count; i++) {
        if (batch[i]->confirm != confirm)
            continue;
        ps_uuid_format(&batch[i]->order_id, id);
        ps_buf_printf(body, "%s\"%s\"", first ? "" : ",", id);
        first = false;
    }
    ps_buf_puts(body, "]");
}

/* Takes one result; false: it is not known yet. */
static bool take_result(const json_t *result, struct lt_decision *decision,
                        struct lt_decisions *decisions)
{
    json_int_t status = json_integer_value(json_object_get(result, "status"));
    if (status == 200) {
        decision->said = true;
        *(decision->confirm ? &decisions->confirmed : &decisions->cancelled) += 1;
        return true;
    }
    if (status >= 400 && status < 500) {
        decisions->refused++;
        return true;
    }
    return false;
}

/* Notes the gateway's answer about a decision; `result` NULL: it could not be parsed. */
static void note_result(struct lt_history_file *history, const struct lt_decision *decision,
                        const json_t *result)
{
    const char *state = json_string_value(json_object_get(result, "state"));
    const char *reason = json_string_value(json_object_get(result, "reason"));
    const char *code = json_string_value(json_object_get(result, "code"));
    json_int_t status = json_integer_value(json_object_get(result, "status"));
    struct lt_history_line line = {
        .process = decision->process,
        .type = status == 200                   ? LT_OP_OK
                : status >= 400 && status < 500 ? LT_OP_FAIL
                                                : LT_OP_INFO,
        .f = decision->confirm ? LT_OP_CONFIRM : LT_OP_CANCEL,
        .order_id = &decision->order_id,
        .verdict = ps_str(code != NULL ? code : ""),
        .seen =
            lt_seen_parse(ps_str(state != NULL ? state : ""), ps_str(reason != NULL ? reason : "")),
    };
    if (history != NULL)
        lt_history_write(history, &line);
}

static void note_calls(struct lt_history_file *history, struct lt_decision *const *batch,
                       size_t count)
{
    for (size_t i = 0; history != NULL && i < count; i++) {
        batch[i]->process = lt_history_process(history);
        lt_history_write(history, &(struct lt_history_line){
                                      .process = batch[i]->process,
                                      .type = LT_OP_INVOKE,
                                      .f = batch[i]->confirm ? LT_OP_CONFIRM : LT_OP_CANCEL,
                                      .order_id = &batch[i]->order_id,
                                  });
    }
}

/* Calls for `batch`; those without a definite answer move to its front, *io_count says how many. */
static int call_batch(const struct lt_admin *admin, struct lt_decision **batch, size_t *io_count,
                      struct lt_decisions *decisions, struct lt_history_file *history,
                      struct ps_fault *fault)
{
    char text[BODY_MAX];
    struct ps_buf body;
    ps_buf_init(&body, text, sizeof text);
    ps_buf_puts(&body, "{");
    put_ids(&body, "confirm", true, batch, *io_count);
    ps_buf_puts(&body, ",");
    put_ids(&body, "cancel", false, batch, *io_count);
    ps_buf_put(&body, "}", 2); /* with its NUL */

    struct lt_call call = {"POST", "/admin/v1/orders:batch", text, PATIENCE_MS};
    json_t *json = NULL;
    note_calls(history, batch, *io_count);
    int err = lt_admin_call_json(admin, &call, &json, fault);
    const json_t *results = json_object_get(json, "results");
    if (err == 0 && json_array_size(results) != *io_count)
        err = ps_fault(fault, PS_E_CONFLICT, "--admin", "orders:batch: %zu results for %zu orders",
                       json_array_size(results), *io_count);
    size_t index = 0, unknown = 0;
    /* Results come in the order asked: the confirmed ones first. */
    for (int round = 0; err == 0 && round < 2; round++) {
        for (size_t i = 0; i < *io_count; i++) {
            if (batch[i]->confirm != (round == 0))
                continue;
            const json_t *result = json_array_get(results, index++);
            batch[i]->done = take_result(result, batch[i], decisions);
            note_result(history, batch[i], result);
        }
    }
    for (size_t i = 0; err == 0 && i < *io_count; i++) {
        if (!batch[i]->done)
            batch[unknown++] = batch[i];
    }
    json_decref(json);
    if (err == 0)
        *io_count = unknown;
    return err;
}

int lt_decide(const struct lt_admin *admin, const struct lt_tally *tally,
              const struct lt_decide_settings *settings, struct lt_decisions *ret_decisions,
              struct ps_fault *fault)
{
    *ret_decisions = (struct lt_decisions){.count = 0};
    if (draw_orders(tally, settings, ret_decisions) < 0)
        return ps_fault(fault, PS_E_NOMEM, "", "no memory for the decisions");
    for (size_t at = 0; at < ret_decisions->count; at += BATCH) {
        struct lt_decision *batch[BATCH];
        size_t count = ret_decisions->count - at < BATCH ? ret_decisions->count - at : BATCH;
        for (size_t i = 0; i < count; i++)
            batch[i] = &ret_decisions->list[at + i];
        for (int round = 0; count > 0 && round < ROUNDS; round++) {
            int err = call_batch(admin, batch, &count, ret_decisions, settings->history, fault);
            if (err == 0 && count > 0)
                err = lt_admin_wait(admin, ROUND_MS, fault);
            if (err < 0)
                return err;
        }
        ret_decisions->unknown += (int64_t)count;
    }
    return 0;
}

const struct lt_decision *lt_decisions_find(const struct lt_decisions *decisions,
                                            const struct ps_uuid *order_id)
{
    const struct lt_decision probe = {.order_id = *order_id};
    return decisions->count > 0
               ? bsearch(&probe, decisions->list, decisions->count, sizeof probe, by_id)
               : NULL;
}

void lt_decisions_done(struct lt_decisions *decisions)
{
    free(decisions->list);
    *decisions = (struct lt_decisions){.count = 0};
}
