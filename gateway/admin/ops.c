/* Operation: probes, metrics, tokens, and the end of the process. */
#include "gateway/admin/admin_internal.h"

#include "common/program/process.h"
#include "common/text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- Probes and metrics. --- */

static void send_probe(struct op_request *request, enum ans_verdict verdict, struct ps_str text)
{
    srv_answer_header(request->http, "Cache-Control", "no-store", sizeof "no-store" - 1);
    srv_answer(request->http, ans_verdicts[verdict].status, "text/plain; charset=utf-8", text,
               false);
}

void op_livez(struct op_request *request)
{
    send_probe(request, ANS_V_ok, PS_STR("ok\n"));
}

void op_readyz(struct op_request *request)
{
    struct ps_buf body = srv_answer_body(request->http);
    struct ans_readiness readiness;
    bool verbose = false;

    if (!op_query(request, &(struct op_param){.name = "verbose", .flag = &verbose}, 1))
        return;
    request->admin->deps.readiness(request->admin->deps.ctx, &readiness);
    ans_readiness_print(&body, &readiness, verbose ? PS_STR("verbose") : PS_STR(""), true);
    send_probe(request, ans_readiness_verdict(&readiness), (struct ps_str){body.at, body.len});
}

static void print_units(const char *name, const struct sale_units *units, void *ctx)
{
    static const char line[] = "penstock_sale_units{sale=\"%s\",state=\"%s\"} %" PRId64 "\n";
    FILE *out = ctx;

    fprintf(out, line, name, "left", units->left);
    fprintf(out, line, name, "held", units->held);
    fprintf(out, line, name, "confirmed", units->confirmed);
}

/* Those that there are. */
static void print_signals(FILE *out, size_t row, const double figure[CFG_SIGNAL_COUNT])
{
    for (enum cfg_signal i = 0; i < CFG_SIGNAL_COUNT; i++)
        if (!isnan(figure[i]))
            fprintf(out, "%s{signal=\"%s\"} %.4f\n", gw_metric_table[row].name, cfg_signals[i].name,
                    figure[i]);
}

static void print_breaker(FILE *out, size_t row, const struct adm_breaker *breaker)
{
    const char *metric = gw_metric_table[row].name, *name = breaker->source.name;
    const struct cfg_pin *pin = adm_breaker_pinned(breaker);
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    if (row == GW_M_BREAKER_OPENINGS)
        fprintf(out, "%s{breaker=\"%s\"} %" PRIu64 "\n", metric, name, sum.openings);
    for (size_t i = 0; row == GW_M_BREAKER && i < PS_BREAKER_STATES; i++)
        fprintf(out, "%s{breaker=\"%s\",state=\"%s\"} %zu\n", metric, name,
                ps_breaker_state_names[i], sum.circuits[i]);
    for (int i = 0; row == GW_M_BREAKER_FORCED && adm_breaker_pin.words[i] != NULL; i++)
        fprintf(out, "%s{breaker=\"%s\",state=\"%s\"} %d\n", metric, name, adm_breaker_pin.words[i],
                pin != NULL && pin->value == i);
}

static void print_breakers(FILE *out, size_t row, const struct adm_breakers *breakers)
{
    const struct adm_breaker *breaker;

    for (size_t i = 0; (breaker = adm_breakers_at(breakers, i)) != NULL; i++)
        if (strncmp(breaker->name, "endpoint:", 9) != 0) /* there may be thousands */
            print_breaker(out, row, breaker);
}

struct scrape {
    const struct op_deps *deps;
    struct ps_process process;
};

static void print_process(FILE *out, size_t row, const struct ps_process *process)
{
    const char *name = gw_metric_table[row].name;
    int64_t value = row == GW_M_RESIDENT_BYTES  ? process->resident_bytes
                    : row == GW_M_VIRTUAL_BYTES ? process->virtual_bytes
                    : row == GW_M_OPEN_FDS      ? process->open_fds
                    : row == GW_M_MAX_FDS       ? process->max_fds
                                                : -1;

    if (row == GW_M_CPU_SECONDS && process->cpu_ns >= 0)
        fprintf(out, "%s %" PRId64 ".%09" PRId64 "\n", name, process->cpu_ns / PS_NS_PER_S,
                process->cpu_ns % PS_NS_PER_S);
    else if (value >= 0)
        fprintf(out, "%s %" PRId64 "\n", name, value);
}

static bool is_between(size_t row, enum gw_metric first, enum gw_metric last)
{
    return row >= first && row <= last;
}

/* Rows about the same things stand together in gw_metric_table. */
static void print_asked(FILE *out, size_t row, void *ctx)
{
    const struct scrape *scrape = ctx;
    const struct op_deps *deps = scrape->deps;
    const struct up_table *table = up_registry_table(deps->shop);

    if (row == GW_M_SALE_UNITS)
        sale_each_open(deps->sales, deps->metrics_sales_max, print_units, out);
    else if (is_between(row, GW_M_AUDIT_OK, GW_M_AUDIT_SECONDS))
        op_print_audits(out, (enum gw_metric)row, deps);
    else if (row == GW_M_SIGNAL)
        print_signals(out, row, adm_signals_now(deps->overload->signals)->value);
    else if (row == GW_M_SIGNAL_SHARE)
        print_signals(out, row, adm_signals_now(deps->overload->signals)->share);
    else if (is_between(row, GW_M_BREAKER, GW_M_BREAKER_OPENINGS))
        print_breakers(out, row, deps->breakers);
    else if (is_between(row, GW_M_UPSTREAM_REQUESTS, GW_M_UPSTREAM_BUSY) ||
             is_between(row, GW_M_ROUTE_FALLBACKS, GW_M_ROUTE_REQUESTS))
        op_print_pools(out, (enum gw_metric)row, table);
    else if (is_between(row, GW_M_DISCOVERY_STATE, GW_M_DISCOVERY_FAILURES))
        op_print_discovery(out, (enum gw_metric)row, up_membership_discovery(deps->members), table);
    else if (is_between(row, GW_M_CACHE_REQUESTS, GW_M_CACHE_PURGES))
        op_print_caches(out, (enum gw_metric)row, deps->caches);
    else
        print_process(out, row, &scrape->process);
}

void op_metrics(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    struct scrape scrape = {.deps = deps};
    size_t len;
    char *text;

    deps->gather(deps->ctx);
    op_gather_standby(request->admin);
    ps_metric_set(deps->shard, GW_M_BUILD_INFO, 0, 1);
    ps_metric_set(deps->shard, GW_M_START_SECONDS, 0, deps->started_ms * PS_NS_PER_MS);
    ps_process_read(&scrape.process);
    text = ps_metrics_print(deps->metrics, print_asked, &scrape, &len);
    if (text == NULL)
        op_no(request, ANS_V_internal, "out of memory");
    else
        op_text(request, "text/plain; version=0.0.4; charset=utf-8", text, len);
}

/* --- Settings. --- */

void op_get_settings(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;

    op_json(request, ANS_V_ok,
            json_pack("{s:s, s:s, s:o, s:o}", "version", PENSTOCK_VERSION, "gateway",
                      deps->gateway_id, "started_at", ps_json_of_time(deps->started_ms), "settings",
                      deps->settings_json(deps->settings)));
}

/* --- Tokens. --- */

#define TOKEN_VERSION 1 /* one is never changed */

void op_list_tokens(struct op_request *request)
{
    const struct op_auth *auth = request->admin->deps.auth;
    json_t *tokens = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < op_auth_count(auth); i++)
        err = json_array_append_new(tokens, op_token_write(op_auth_at(auth, i)));
    op_json(request, ANS_V_ok, json_pack("{s:o}", "tokens", ps_json_built(tokens, err)));
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

struct token_request {
    int role;
    struct op_pools pools;
    struct ps_str note;
    int64_t expires_at_ms;
};

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

/* `expires_at`, or `ttl_s` from now on. */
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
    ps_json_int(reader, "ttl_s", 1, OP_TOKEN_TTL_MAX_S, &ttl_s);
    if (*ret_expires_at_ms != INT64_MAX)
        ps_json_fault(reader, "ttl_s", "must be left out where there is an expires_at");
    else if (ttl_s > 0)
        *ret_expires_at_ms = now_ms + ttl_s * 1000;
}

/* False: answered. */
static bool read_token(struct op_request *request, struct token_request *ret_request)
{
    struct ps_json_reader reader;
    struct ps_faults faults = {0};

    *ret_request = (struct token_request){.note = {"", 0}, .expires_at_ms = INT64_MAX};
    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"role", NULL});
    ps_json_enum(&reader, "role", op_role_names, &ret_request->role);
    if (faults.count == 0)
        op_token_read_pools(&reader, (enum op_role)ret_request->role, false, &ret_request->pools);
    else
        (void)ps_json_has(&reader, "pools");
    ps_json_string(&reader, "note", OP_TOKEN_NOTE_BYTES, &ret_request->note);
    if (!is_note(ret_request->note))
        ps_json_fault(&reader, "note", "must be at most %d characters, none of them a control",
                      OP_TOKEN_NOTE_MAX);
    read_end(&reader, ps_clock_wall_ms(request->admin->deps.clock), &ret_request->expires_at_ms);
    (void)ps_json_has(&reader, "reason");
    if (ps_json_done(&reader) == 0 && faults.count == 0)
        return true;
    op_faults(request, ANS_V_invalid, &faults);
    return false;
}

void op_new_token(struct op_request *request)
{
    struct op_auth *auth = request->admin->deps.auth;
    struct token_request wanted;
    const struct op_token *token;
    char secret[OP_TOKEN_LEN + 1];
    struct op_change *change;

    if (!read_token(request, &wanted))
        return;
    int err = op_auth_prepare_new(auth, (enum op_role)wanted.role, &wanted.pools, wanted.note.at,
                                  wanted.expires_at_ms, &token, secret);
    if (err < 0) {
        op_no(request, err == PS_E_FULL ? ANS_V_conflict : ANS_V_internal, "%s",
              err == PS_E_FULL ? "there are as many tokens as there may be" : ps_err_text(err));
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

void op_delete_token(struct op_request *request)
{
    struct op_auth *auth = request->admin->deps.auth;
    const struct op_token *token = op_auth_find(auth, request->arg[0].at, request->arg[0].len);
    struct op_change *change;

    if (!op_only_reason(request))
        return;
    if (token != NULL && op_if_match(request, TOKEN_VERSION) == OP_MATCH_NONE) {
        op_no(request, ANS_V_precondition_required,
              "say that you mean this token: If-Match: *, or the ETag of its creation");
        return;
    }
    if (token != NULL && !op_matches(request, TOKEN_VERSION))
        return;
    int err = op_auth_prepare_delete(auth, request->arg[0].at, request->arg[0].len);
    if (err == PS_E_NOT_FOUND || token == NULL) {
        op_no(request, ANS_V_not_found, "no such token");
        return;
    }
    if (err == PS_E_CONFLICT) {
        op_no(request, ANS_V_conflict, "no admin token would be left that never expires");
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

/* --- The end. --- */

static void answer_drain(struct op_request *request, struct op_change *change)
{
    (void)change;
    op_json(request, ANS_V_accepted, json_pack("{s:b}", "draining", 1));
}

static void end_drain(struct op_change *change, bool written)
{
    if (written)
        change->admin->deps.drain(change->admin->deps.ctx);
}

void op_drain(struct op_request *request)
{
    struct op_change *change;

    if (!op_only_reason(request))
        return;
    change = op_change_new(request, "drain", "gateway");
    if (change == NULL)
        return;
    change->end = end_drain;
    change->answer = answer_drain;
    cfg_change_line(change->change, "gateway", NULL, NULL);
    op_change_submit(request, change);
}
