/* One POST /admin/v1/orders:batch at a time, without waiting for it, so that a slow gateway never
 * holds up the reading of the log.
 *
 * A 200 and the 409s that name the order's state are final: a gateway answers them only when its
 * log shows that state. So is 410 archived: the order was decided long ago, as its archive says.
 * Everything else (503 order_pending, no answer, an invalid answer) is tried again with
 * growing pauses, an item by itself or, if a gateway fails as a whole, all of them. Each retry goes
 * to the next gateway in the list, since one that has lost its log answers calls but decides
 * nothing. A 404 is final only after several tries, and only if this worker's log does not show the
 * order either: otherwise it is the wrong gateway, or one of the two is behind. */
#include "queue/settle/caller.h"
#include "common/call/call.h"
#include "common/program/secret.h"
#include "common/clock.h"
#include "common/text/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX     ((size_t)8 << 20)
#define TOKEN_MAX      256
#define PAUSE_FIRST_MS 100
#define ITEM_PAUSE_MS  10000 /* longest, for an order that is not decided */
#define CALL_PAUSE_MS  2000  /* longest, for a gateway that is away */
/* Wrong tokens lock an address out after ten a minute, and others use it too. */
#define TOKEN_PAUSE_MS  15000
#define BODY_PER_ID     48
#define CONNECT_WAIT_MS 2000L
#define NOT_FOUND_TRIES 6 /* with their pauses some 2 to 3 s */

struct st_caller {
    struct st_caller_settings settings;
    struct ps_caller *caller;
    bool busy;
    size_t url; /* the one being asked now */
    char *body;
    int64_t failures; /* of whole calls, in a row */
    int64_t not_before_ns;
    struct ps_uuid_source random; /* for jitter */
    size_t count;
    struct st_decision decisions[ST_CALL_MAX];
    size_t order[ST_CALL_MAX]; /* of the answers: indexes of decisions, those to confirm first */
    size_t asked;
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

/* PAUSE_FIRST_MS, doubled each time, up to `longest_ms`; then half to all of it. */
static int64_t pause_ms(struct st_caller *caller, int64_t tries, int64_t longest_ms)
{
    struct ps_uuid random;
    int64_t pause = PAUSE_FIRST_MS;
    for (int64_t i = 1; i < tries && pause < longest_ms; i++)
        pause *= 2;
    if (pause > longest_ms)
        pause = longest_ms;
    ps_uuid_next(&caller->random, 0, &random);
    return pause / 2 + random.byte[15] * (pause / 2) / 255;
}

/* --- Making and freeing --- */

int st_caller_new(const struct st_caller_settings *settings, struct st_caller **ret_caller,
                  struct ps_fault *fault)
{
    struct st_caller *caller = calloc(1, sizeof *caller);
    if (caller == NULL)
        return ps_fault(fault, PS_E_NOMEM, "gateway", "out of memory");
    caller->settings = *settings;
    ps_uuid_source_init(&caller->random);
    caller->caller = ps_caller_new();
    caller->body = malloc(ST_CALL_MAX * BODY_PER_ID + 64);
    if (caller->caller == NULL || caller->body == NULL) {
        st_caller_free(caller);
        return ps_fault(fault, PS_E_NOMEM, "gateway", "out of memory");
    }
    *ret_caller = caller;
    return 0;
}

void st_caller_free(struct st_caller *caller)
{
    if (caller == NULL)
        return;
    ps_caller_free(caller->caller);
    free(caller->body);
    free(caller);
}

bool st_caller_busy(const struct st_caller *caller)
{
    return caller->busy;
}

bool st_caller_ready(const struct st_caller *caller)
{
    return !caller->busy && now_ns() >= caller->not_before_ns;
}

struct st_decision *st_caller_room(struct st_caller *caller)
{
    return caller->decisions;
}

/* --- Asking --- */

static void put_ids(struct st_caller *caller, struct ps_buf *buf, const char *member, bool confirm)
{
    bool first = true;
    ps_buf_puts(buf, member);
    for (size_t i = 0; i < caller->count; i++) {
        struct st_decision *decision = &caller->decisions[i];
        struct ps_uuid id;
        if (decision->confirm != confirm)
            continue;
        if (ps_uuid_parse(decision->order_id, strlen(decision->order_id), &id) != 0) {
            decision->result = ST_RESULT_NOT_FOUND; /* no order anywhere has this id */
            continue;
        }
        ps_buf_puts(buf, first ? "" : ",");
        ps_buf_put_json(buf, decision->order_id, PS_UUID_LEN);
        caller->order[caller->asked++] = i;
        first = false;
    }
}

static int begin_call(struct st_caller *caller, struct ps_fault *fault)
{
    const struct st_caller_settings *settings = &caller->settings;
    char token[TOKEN_MAX];
    const struct ps_call call = {.admin = settings->urls[caller->url],
                                 .method = "POST",
                                 .path = "/admin/v1/orders:batch",
                                 .body = caller->body,
                                 .token = token,
                                 .connect_ms = CONNECT_WAIT_MS,
                                 .answer_ms = settings->timeout_ms,
                                 .answer_max = ANSWER_MAX};
    int err =
        ps_secret_read(settings->token_file, "gateway.token_file", sizeof token - 1, token, fault);

    if (err == 0 && caller->asked > 0 && (err = ps_caller_begin(caller->caller, &call)) < 0)
        err = ps_fault(fault, err, "gateway", "out of memory");
    return err;
}

static void turn_to_next(struct st_caller *caller)
{
    caller->url = (caller->url + 1) % caller->settings.url_count;
}

/* The call as a whole failed: everything is asked again, after a pause. */
static void try_later(struct st_caller *caller, int64_t at_least_ms)
{
    int64_t pause = pause_ms(caller, ++caller->failures, CALL_PAUSE_MS);
    if (pause < at_least_ms)
        pause = at_least_ms;
    turn_to_next(caller);
    caller->not_before_ns = now_ns() + pause * PS_NS_PER_MS;
    for (size_t i = 0; i < caller->count; i++) {
        caller->decisions[i].retry_after_ms = pause;
        caller->decisions[i].unheard = true;
    }
}

int st_caller_start(struct st_caller *caller, size_t count, struct ps_fault *fault)
{
    struct ps_buf buf;
    caller->count = count;
    caller->asked = 0;
    for (size_t i = 0; i < count; i++)
        caller->decisions[i].result = NULL;
    ps_buf_init(&buf, caller->body, ST_CALL_MAX * BODY_PER_ID + 63);
    put_ids(caller, &buf, "{\"confirm\":[", true);
    put_ids(caller, &buf, "],\"cancel\":[", false);
    ps_buf_puts(&buf, "]}");
    caller->body[buf.len] = '\0';
    int err = begin_call(caller, fault);
    caller->busy = err == 0;
    if (err != 0)
        try_later(caller, 0);
    return err;
}

/* --- Answers --- */

/* NULL: no final answer. */
static const char *result_of(const struct st_decision *decision, int64_t status, struct ps_str code)
{
    static const char *const final[] = {"order_expired", "order_cancelled", "order_rejected",
                                        "order_confirmed"};
    if (status == 200)
        return decision->confirm ? ST_RESULT_CONFIRMED : ST_RESULT_RELEASED;
    if (status == 404)
        return decision->known || decision->tries < NOT_FOUND_TRIES ? NULL : ST_RESULT_NOT_FOUND;
    if (status == 410 && ps_str_is(code, ST_RESULT_ARCHIVED))
        return ST_RESULT_ARCHIVED;
    for (size_t i = 0; status == 409 && i < PS_ARRAY_LEN(final); i++) {
        if (ps_str_is(code, final[i]))
            return final[i];
    }
    return NULL;
}

/* {"order_id","action","status","code"?,...}; members that are added later do no harm. */
static int read_result(struct st_caller *caller, const json_t *item, struct st_decision *decision)
{
    const json_t *id = json_object_get(item, "order_id"), *code = json_object_get(item, "code"),
                 *status = json_object_get(item, "status"),
                 *action = json_object_get(item, "action");
    if (!json_is_string(id) || !json_is_integer(status) || !json_is_string(action) ||
        strcmp(json_string_value(id), decision->order_id) != 0 ||
        strcmp(json_string_value(action), decision->confirm ? "confirm" : "cancel") != 0)
        return PS_E_INVALID;
    struct ps_str word = {json_is_string(code) ? json_string_value(code) : "",
                          json_is_string(code) ? json_string_length(code) : 0};
    decision->result = result_of(decision, json_integer_value(status), word);
    decision->retry_after_ms =
        decision->result == NULL ? pause_ms(caller, decision->tries, ITEM_PAUSE_MS) : 0;
    return 0;
}

static int read_results(struct st_caller *caller, const struct ps_answer *answer,
                        struct ps_fault *fault)
{
    json_t *reply = NULL;
    int err = ps_json_parse(answer->text, answer->len, &reply, fault);
    const json_t *results = json_object_get(reply, "results");
    if (err == 0 && json_array_size(results) != caller->asked)
        err = PS_E_INVALID;
    for (size_t i = 0; i < caller->asked && err == 0; i++)
        err = read_result(caller, json_array_get(results, i), &caller->decisions[caller->order[i]]);
    json_decref(reply);
    if (err == PS_E_NOMEM)
        return err;
    if (err != 0) {
        for (size_t i = 0; i < caller->asked; i++)
            caller->decisions[caller->order[i]].result = NULL;
        return ps_fault(fault, err, caller->settings.urls[caller->url],
                        "the answer is not from a gateway");
    }
    return 0;
}

static bool has_decided_all(const struct st_caller *caller)
{
    for (size_t i = 0; i < caller->count; i++)
        if (caller->decisions[i].result == NULL)
            return false;
    return true;
}

static int judge_answer(struct st_caller *caller, const struct ps_answer *answer,
                        int64_t *ret_at_least_ms, struct ps_fault *fault)
{
    const char *url = caller->settings.urls[caller->url];
    int64_t retry_after_s = answer->retry_after_s;
    int status = answer->status;

    if (status == 200)
        return read_results(caller, answer, fault);
    *ret_at_least_ms = status == 401 || status == 403            ? TOKEN_PAUSE_MS
                       : retry_after_s > 0 && retry_after_s < 60 ? retry_after_s * 1000
                                                                 : 0;
    if (status == 401 || status == 403)
        return ps_fault(fault, PS_E_PERMISSION, url,
                        "%d: the token in %s is refused; it needs the role operator", status,
                        caller->settings.token_file);
    return ps_fault(fault, PS_E_IO, url, "the answer is %d", status);
}

int st_caller_poll(struct st_caller *caller, int wait_ms, size_t *ret_count, struct ps_fault *fault)
{
    struct ps_answer *answer;
    int64_t at_least_ms = 0;
    int err = 0;
    fault->path[0] = fault->text[0] = '\0';
    if (!caller->busy)
        return 0;
    if (caller->asked > 0) {
        err = ps_caller_poll(caller->caller, wait_ms, &answer, fault);
        if (err == 0)
            return 0;
        if (err > 0)
            err = judge_answer(caller, answer, &at_least_ms, fault);
    }
    caller->busy = false;
    if (err != 0) {
        try_later(caller, at_least_ms);
    } else {
        caller->failures = 0;
        fault->path[0] = fault->text[0] = '\0';
        if (!has_decided_all(caller))
            turn_to_next(caller);
    }
    *ret_count = caller->count;
    return 1;
}
