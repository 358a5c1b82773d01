/* Each connection is a process: it carries one request at a time, and one that gives up on an
 * answer is closed and never used again. Each call of an operator is a process of its own. */
#include "loadtest/witness.h"

#include "loadtest/request.h"
#include "loadtest/sale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_PATIENCE_MS 15000

bool lt_witness_several(const struct lt_admin *admin)
{
    json_t *json = NULL;
    struct ps_fault none;
    if (lt_admin_get(admin, "/admin/v1/settings", READ_PATIENCE_MS, &json, &none) < 0)
        return true;
    const json_t *log = json_object_get(json_object_get(json, "settings"), "log");
    const char *kind = json_string_value(json_object_get(log, "kind"));
    bool alone =
        kind != NULL && strcmp(kind, "journal") == 0; /* no other gateway can write to it */
    json_decref(json);
    return !alone;
}

void lt_witness_send(const struct lt_witness *witness, const struct lt_click *click,
                     uint64_t process)
{
    struct lt_wish wish = lt_plan_wish(witness->plan, click->buyer, click->wish);
    char user[PS_USER_MAX + 1], key[LT_KEY_SIZE];
    (void)snprintf(user, sizeof user, "%s%u", witness->user_prefix, click->buyer);
    lt_history_write(witness->file,
                     &(struct lt_history_line){
                         .process = (int64_t)process,
                         .type = LT_OP_INVOKE,
                         .user = ps_str(user),
                         .key = {key, click->with_key ? lt_request_key(click, key) : 0},
                         .sku = ps_str(witness->skus[wish.sku].name),
                         .quantity = wish.quantity,
                     });
}

void lt_witness_answer(const struct lt_witness *witness, const struct lt_answer *answer,
                       const char *verdict)
{
    struct lt_reported_order reported;
    bool named = lt_tally_order(answer, &reported);
    /* A refusal with a code of a gateway bought nothing; a proxy's answer proves nothing. */
    bool refused = answer->outcome == LT_ANSWERED && answer->status >= 400 &&
                   strncmp(verdict, "http_", strlen("http_")) != 0;
    if (answer->process > 0)
        lt_history_write(witness->file, &(struct lt_history_line){
                                            .process = (int64_t)answer->process,
                                            .type = named     ? LT_OP_OK
                                                    : refused ? LT_OP_FAIL
                                                              : LT_OP_INFO,
                                            .anywhere = named && witness->several,
                                            .verdict = ps_str(verdict),
                                            .order_id = named ? &reported.order_id : NULL,
                                            .seen = named ? reported.seen : LT_SEEN_UNKNOWN,
                                        });
}

/* Looks up one order at the gateway; 404 is an answer, too. */
static int read_order(const struct lt_admin *admin, const struct ps_uuid *order_id,
                      struct lt_history_line *line, struct ps_fault *fault)
{
    char path[64], id[PS_UUID_LEN + 1];
    ps_uuid_format(order_id, id);
    (void)snprintf(path, sizeof path, "/admin/v1/orders/%s", id);
    struct lt_call call = {"GET", path, NULL, READ_PATIENCE_MS};
    struct lt_reply reply;
    int err = lt_admin_call(admin, &call, &reply, fault);
    if (err < 0)
        return err;
    json_t *json = NULL;
    if (reply.status == 200 && ps_json_parse(reply.body, reply.len, &json, NULL) == 0) {
        const char *state = json_string_value(json_object_get(json, "state"));
        const char *reason = json_string_value(json_object_get(json, "reason"));
        line->seen =
            lt_seen_parse(ps_str(state != NULL ? state : ""), ps_str(reason != NULL ? reason : ""));
    } else if (reply.status == 404) {
        line->seen = LT_SEEN_NONE;
    }
    line->type = line->seen != LT_SEEN_UNKNOWN ? LT_OP_OK : LT_OP_INFO;
    json_decref(json);
    free(reply.body);
    return 0;
}

int lt_witness_read(const struct lt_witness *witness, const struct lt_admin *admin,
                    const struct lt_tally *tally, struct ps_fault *fault)
{
    size_t step = tally->promise_count / LT_WITNESS_READS + 1;
    for (size_t i = 0; i < tally->promise_count; i += step) {
        const struct ps_uuid *order_id = &tally->promises[i].order_id;
        struct lt_history_line line = {
            .process = lt_history_process(witness->file), .f = LT_OP_READ, .order_id = order_id};
        lt_history_write(witness->file, &line);
        int err = read_order(admin, order_id, &line, fault);
        if (err < 0)
            return err; /* its end is not written: the outcome is unknown */
        lt_history_write(witness->file, &line);
    }
    return 0;
}

static int add_to_log(const char *line, size_t len, void *ctx)
{
    return lt_history_log_add_line(ctx, line, len);
}

int lt_witness_judge(const struct lt_admin *admin, const char *sale, const char *path,
                     struct lt_history_verdict *ret_verdict, struct ps_fault *fault)
{
    struct lt_history *history = NULL;
    struct lt_history_log *log = NULL;
    int err = lt_history_load(path, &history, fault);
    if (err == 0 && (err = lt_history_log_new(&log)) < 0)
        (void)ps_fault(fault, err, "", "out of memory");
    struct lt_lines lines = {.take = add_to_log, .ctx = log};
    if (err == 0)
        err = lt_sale_read_lines(admin, sale, &lines, fault);
    if (err == 0 && (err = lt_history_check(history, log, sale, ret_verdict)) < 0)
        (void)ps_fault(fault, err, "--sale",
                       err == PS_E_NOT_FOUND ? "the log has no sale %s" : "%s: out of memory",
                       sale);
    lt_history_log_free(log);
    lt_history_free(history);
    return err;
}
