/* Tokens: listed, created and deleted. */
#include "gateway/admin/parts.h"

#include "common/text/utf8.h"

#include <stdio.h>
#include <string.h>

#define TOKEN_VERSION 1 /* a token never changes */

static void list_tokens(struct op_request *request)
{
    const struct op_auth *auth = request->admin->deps.auth;
    json_t *tokens = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < op_auth_count(auth); i++)
        err = json_array_append_new(tokens, op_token_write(op_auth_at(auth, i)));
    op_json(request, ANS_V_ok, json_pack("{s:o}", "tokens", ps_json_built(tokens, err)));
}

/* Who asks: what a console needs to know before it offers anything. */
static void whoami(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct op_token *token = op_auth_find(deps->auth, request->who, strlen(request->who));

    if (token == NULL) {
        op_no(request, ANS_V_unauthenticated, "the token was removed");
        return;
    }
    op_json(request, ANS_V_ok,
            json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "token", token->id, "role",
                      op_role_names[token->role], "note", token->note, "expires_at",
                      ps_json_of_time(token->expires_at_ms), "gateway", deps->gateway_id, "version",
                      PENSTOCK_VERSION));
}

/* False: answered, and the change is freed. */
static bool put_file(struct op_request *request, struct op_change *change, json_t *from, json_t *to)
{
    const struct op_admin *admin = change->admin;
    char path[1100]; /* state_dir has at most 1024 bytes */

    (void)snprintf(path, sizeof path, "%s/tokens.json", admin->deps.state_dir);
    cfg_change_line(change->change, change->target, from, to);
    if (cfg_change_file(change->change, path, op_auth_prepared_text(admin->deps.auth)) == 0)
        return true;
    op_auth_end_change(admin->deps.auth, false);
    op_change_free(change);
    op_no(request, ANS_V_internal, "out of memory");
    return false;
}

static void end_tokens(struct op_change *change, bool written)
{
    op_auth_end_change(change->admin->deps.auth, written);
}

/* The secret is shown once, here. */
static void answer_new_token(struct op_request *request, struct op_change *change)
{
    const struct op_token *token =
        op_auth_find(request->admin->deps.auth, change->token, strlen(change->token));
    json_t *json = token != NULL ? op_token_write(token) : NULL;
    int err = json_object_set_new(json, "token", json_string(change->secret));

    op_etag(request, TOKEN_VERSION);
    op_json(request, ANS_V_created, ps_json_built(json, err));
}

static bool is_note(struct ps_str text)
{
    size_t characters = 0, size;
    uint32_t point;

    for (size_t at = 0; at < text.len; at += size, characters++) {
        size = ps_utf8_next(text.at + at, text.len - at, &point);
        if (size == 0 || ps_utf8_is_control(point))
            return false;
    }
    return characters <= OP_TOKEN_NOTE_MAX;
}

/* `expires_at`, or now plus `ttl_s`. */
static void read_end(struct ps_json_reader *reader, int64_t now_ms, int64_t *ret_expires_at_ms)
{
    const json_t *ttl = ps_json_value(reader, "ttl_s");
    int64_t ttl_s = 0;

    if (!json_is_null(ps_json_value(reader, "expires_at")))
        ps_json_time(reader, "expires_at", ret_expires_at_ms);
    if (*ret_expires_at_ms <= now_ms)
        ps_json_fault(reader, "expires_at", "has passed already");
    if (ttl == NULL || json_is_null(ttl))
        return;
    ps_json_duration(reader, "ttl_s", 1, OP_TOKEN_TTL_MAX_S, &ttl_s);
    if (*ret_expires_at_ms != INT64_MAX)
        ps_json_fault(reader, "ttl_s", "must be absent beside expires_at: give one of the two");
    else if (ttl_s > 0)
        *ret_expires_at_ms = now_ms + ttl_s * 1000;
}

/* False: answered. */
static bool read_token(struct op_request *request, struct op_token *ret_wanted)
{
    struct ps_json_reader reader;
    struct ps_faults faults = {0};
    struct ps_str note = {"", 0};
    int role = OP_ROLE_REGISTRAR;

    *ret_wanted = (struct op_token){.expires_at_ms = INT64_MAX};
    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"role", NULL});
    ps_json_enum(&reader, "role", op_role_names, &role);
    ret_wanted->role = (enum op_role)role;
    if (faults.count == 0)
        op_token_read_pools(&reader, ret_wanted->role, false, &ret_wanted->pools);
    else
        (void)ps_json_has(&reader, "pools");
    ps_json_string(&reader, "note", OP_TOKEN_NOTE_BYTES, &note);
    if (!is_note(note))
        ps_json_fault(&reader, "note", "must be at most %d characters, without control characters",
                      OP_TOKEN_NOTE_MAX);
    (void)snprintf(ret_wanted->note, sizeof ret_wanted->note, "%.*s", (int)note.len, note.at);
    read_end(&reader, ps_clock_wall_ms(request->admin->deps.clock), &ret_wanted->expires_at_ms);
    (void)ps_json_has(&reader, "reason");
    if (ps_json_done(&reader) == 0 && faults.count == 0)
        return true;
    op_faults(request, ANS_V_invalid, &faults);
    return false;
}

static void new_token(struct op_request *request)
{
    struct op_auth *auth = request->admin->deps.auth;
    struct op_token wanted;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    struct op_change *change;

    if (!read_token(request, &wanted))
        return;
    int err = op_auth_prepare_new(auth, &wanted, &token, secret);
    if (err < 0) {
        op_no(request, err == PS_E_FULL ? ANS_V_conflict : ANS_V_internal, "%s",
              err == PS_E_FULL ? "the maximum number of tokens is reached" : ps_err_text(err));
        return;
    }
    char target[PS_NAME_MAX + 8];
    (void)snprintf(target, sizeof target, "tokens/%s", token->id);
    change = op_change_new(request, "token.new", target);
    if (change == NULL) {
        op_auth_end_change(auth, false);
    } else {
        memcpy(change->secret, secret, sizeof secret);
        memcpy(change->token, token->id, sizeof change->token);
        change->end = end_tokens;
        change->answer = answer_new_token;
        if (put_file(request, change, NULL, op_token_write(token)))
            op_change_submit(request, change);
    }
    sodium_memzero(secret, sizeof secret);
}

static void answer_delete_token(struct op_request *request, struct op_change *change)
{
    (void)change;
    op_empty(request);
}

static void delete_token(struct op_request *request)
{
    struct op_auth *auth = request->admin->deps.auth;
    const struct op_token *token = op_auth_find(auth, request->arg[0].at, request->arg[0].len);
    struct op_change *change;

    if (!op_only_reason(request))
        return;
    if (token != NULL && op_if_match(request, TOKEN_VERSION) == OP_MATCH_NONE) {
        op_no(request, ANS_V_precondition_required,
              "send If-Match: *, or the ETag that came with the token");
        return;
    }
    if (token != NULL && !op_matches(request, TOKEN_VERSION))
        return;
    int err = op_auth_prepare_delete(auth, request->arg[0].at, request->arg[0].len);
    if (err == PS_E_NOT_FOUND || token == NULL) {
        op_no(request, ANS_V_not_found, "no such token");
        return;
    }
    if (err == PS_E_READ_ONLY) {
        op_no(request, ANS_V_conflict,
              "it is in a file of admin.token_dir: delete that file and restart the gateway");
        return;
    }
    if (err == PS_E_CONFLICT) {
        op_no(request, ANS_V_conflict,
              "it is the last admin token that does not expire: make another first");
        return;
    }
    if (err < 0) {
        op_no(request, ANS_V_internal, "%s", ps_err_text(err));
        return;
    }
    char target[PS_NAME_MAX + 8];
    (void)snprintf(target, sizeof target, "tokens/%s", token->id);
    change = op_change_new(request, "token.delete", target);
    if (change == NULL) {
        op_auth_end_change(auth, false);
        return;
    }
    change->end = end_tokens;
    change->answer = answer_delete_token;
    if (put_file(request, change, op_token_write(token), NULL))
        op_change_submit(request, change);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_tokens_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/whoami",    SRV_GET,    OP_ROLE_VIEWER, 0,                          whoami},
        {"/admin/v1/tokens",    SRV_GET,    OP_ROLE_OPERATOR, 0,                        list_tokens},
        {"/admin/v1/tokens",    SRV_POST,   OP_ROLE_ADMIN,  OP_CHANGES | OP_NEEDS_BODY, new_token},
        {"/admin/v1/tokens/{}", SRV_DELETE, OP_ROLE_ADMIN,  OP_CHANGES,                 delete_token},
        {0}},
};
/* clang-format on */
