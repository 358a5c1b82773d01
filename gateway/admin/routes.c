/* The admin listener's router: routes are rows in the tables of parts. The order of refusals: 421
 * host, then (except for probes) 403 another site, 401 and 429 authentication, 404 path, 405
 * method, 403 role, 422 query of a change, 415 and 422 body; then the handler.
 *
 * The host is checked because a browser on an operator's machine can be made to send requests to a
 * stranger's name that resolves to this listener (DNS rebinding). Probes are requested by address
 * and disclose nothing of value. Without a token nobody learns which paths exist. */
#include "gateway/admin/admin_internal.h"

#include "common/program/log.h"
#include "gateway/server/strict.h"

#include <stdio.h>
#include <string.h>

static const char *const method_names[] = {[SRV_GET] = "GET, HEAD",
                                           [SRV_POST] = "POST",
                                           [SRV_PUT] = "PUT",
                                           [SRV_PATCH] = "PATCH",
                                           [SRV_DELETE] = "DELETE"};

/* --- Paths. --- */

struct path_parts {
    const struct cfg_kind *kind;
    struct ps_str arg[2];
};

/* The kind whose path stands at `at`, up to the end or a slash; *ret_len: its length. NULL: none
 * that the routes of documents serve. */
static const struct cfg_kind *kind_at(const char *at, const char *end, size_t *ret_len)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++) {
        size_t len = strlen((*kind)->path), left = (size_t)(end - at);
        *ret_len = len;
        if (!(*kind)->is_private && left >= len && memcmp(at, (*kind)->path, len) == 0 &&
            (left == len || at[len] == '/'))
            return *kind;
    }
    return NULL;
}

static bool path_fits(const char *pattern, struct ps_str path, struct path_parts *ret_parts)
{
    const char *at = path.at, *end = path.at + path.len;
    struct ps_str *arg = ret_parts->arg;
    size_t len = 0;

    for (; *pattern != '\0'; pattern++) {
        if (strncmp(pattern, "{kind}", 6) == 0) {
            ret_parts->kind = kind_at(at, end, &len);
            if (ret_parts->kind == NULL)
                return false;
            at += len;
            pattern += 5;
            if (ret_parts->kind->single == NULL)
                continue;
            if (strncmp(pattern + 1, "/{}", 3) != 0) /* a list */
                return false;
            *arg++ = ps_str(ret_parts->kind->single);
            pattern += 3;
        } else if (pattern[0] == '{') {
            const char *start = at;
            while (at < end && *at != '/')
                at++;
            if (at == start)
                return false;
            *arg++ = (struct ps_str){start, (size_t)(at - start)};
            pattern++;
        } else if (at == end || *at++ != *pattern) {
            return false;
        }
    }
    return at == end;
}

/* NULL: not this method. *ret_allow is "" when there is no such path. */
static const struct op_route *find_route(struct op_request *request, char *ret_allow, size_t cap)
{
    enum srv_method method = request->http->method == SRV_HEAD ? SRV_GET : request->http->method;
    const struct op_route *found = NULL;
    struct ps_buf allow;

    ps_buf_init(&allow, ret_allow, cap);
    for (const struct op_part *const *part = request->admin->parts; *part != NULL; part++) {
        const struct op_route *route = (*part)->routes;
        for (; route != NULL && route->path != NULL; route++) {
            struct path_parts parts = {0};
            if (!path_fits(route->path, request->http->path, &parts) ||
                (parts.kind != NULL && parts.kind->only_shipped && route->method == SRV_DELETE))
                continue;
            request->kind = parts.kind;
            memcpy(request->arg, parts.arg, sizeof parts.arg);
            ps_buf_puts(&allow, method_names[route->method]);
            ps_buf_puts(&allow, ", ");
            if (route->method == method)
                found = route;
        }
    }
    if (allow.len > 0)
        ps_buf_puts(&allow, "OPTIONS");
    ret_allow[allow.len] = '\0';
    return found;
}

/* --- Authentication. --- */

static bool host_is(struct ps_str host, const char *name)
{
    return strlen(name) == host.len && strncasecmp(name, host.at, host.len) == 0;
}

/* On all addresses of the machine, no list could name the gateway's own: a pod gets its address
 * when it starts. A page that rebinds a name to this address sends that name, so any address will
 * do. */
static bool is_own_address(const struct op_deps *deps, struct ps_str host)
{
    static const struct ps_address any_v4 = {{[10] = 0xff, [11] = 0xff}}, any_v6 = {0};
    struct ps_address own, asked;

    if (ps_address_parse(deps->host, strlen(deps->host), false, &own) < 0)
        return false;
    return (memcmp(&own, &any_v4, sizeof own) == 0 || memcmp(&own, &any_v6, sizeof own) == 0) &&
           ps_address_parse(host.at, host.len, false, &asked) == 0;
}

static bool host_served(const struct op_deps *deps, struct ps_str host)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    char own[PS_NAME_MAX + 3];
    const char *colon;

    if (host.at == NULL)
        return false;
    colon = memrchr(host.at, ':', host.len);
    if (colon != NULL && memchr(colon, ']', host.len - (size_t)(colon - host.at)) == NULL)
        host.len = (size_t)(colon - host.at);
    for (size_t i = 0; i < PS_ARRAY_LEN(always); i++)
        if (host_is(host, always[i]))
            return true;
    bool v6 = strchr(deps->host, ':') != NULL;
    (void)snprintf(own, sizeof own, v6 ? "[%s]" : "%s", deps->host);
    if (host_is(host, own) || is_own_address(deps, host))
        return true;
    for (size_t i = 0; i < deps->hosts->count; i++)
        if (host_is(host, deps->hosts->at[i]))
            return true;
    return false;
}

static bool metrics_are_open(const struct op_deps *deps)
{
    struct ps_address own;

    return *deps->metrics_open &&
           ps_address_parse(deps->host, strlen(deps->host), false, &own) == 0 &&
           ps_address_is_loopback(&own);
}

/* `expired`: the expired token; NULL: the token is unknown, or there is none. */
static void deny(struct op_request *request, enum op_auth_result result,
                 const struct op_token *expired, int64_t wait_s)
{
    ps_metric_add(request->admin->deps.shard, GW_M_ADMIN_DENIED, 0, 1);
    if (result == OP_AUTH_LOCKED || result == OP_AUTH_LIMITED) {
        op_leave(request);
        srv_problem_answer(request->http, ANS_V_admin_rate,
                           &(struct ans_problem_detail){
                               .policy = result == OP_AUTH_LOCKED ? "admin_lock" : "admin_rate",
                               .retry_after_s = wait_s});
        return;
    }
    static const char challenge[] = "Bearer", wrong[] = "Bearer error=\"invalid_token\"";
    if (result == OP_AUTH_NONE) {
        srv_answer_header(request->http, "WWW-Authenticate", challenge, sizeof challenge - 1);
        op_no(request, ANS_V_unauthenticated, "Authorization: Bearer and a token are needed");
        return;
    }
    srv_answer_header(request->http, "WWW-Authenticate", wrong, sizeof wrong - 1);
    ps_log(PS_LOG_WARN, "admin_denied", PS_F_STR("peer", request->peer),
           PS_F_STR("why", expired != NULL ? "expired token" : "unknown token"),
           PS_F_STR("token", expired != NULL ? expired->id : NULL));
    if (result == OP_AUTH_LAST)
        ps_log(PS_LOG_WARN, "admin_locked", PS_F_STR("peer", request->peer));
    op_no(request, ANS_V_unauthenticated, "%s",
          expired != NULL ? "the token has expired: an admin can make a new one"
                          : "this gateway does not know the token: it was removed, or belongs to "
                            "another gateway");
}

/* A browser says which site's page asks (Fetch Metadata); a page cannot say otherwise. No page of
 * another site has any business here, whatever token the browser adds. Programs send nothing. */
bool op_note_head(struct srv_request *http, void *ctx)
{
    const struct op_admin *admin = ctx;
    struct ps_str site = ps_http_find(http->head, http->base, PS_STR("Sec-Fetch-Site"));
    struct op_request *request = http->user;

    if (http->head->framing != PS_HTTP_NO_BODY &&
        !op_auth_knows(admin->deps.auth, http->header[SRV_H_AUTHORIZATION]))
        http->body_max = OP_BODY_STRANGER;
    request->is_foreign = site.at != NULL && !ps_http_same_text(site, PS_STR("same-origin")) &&
                          !ps_http_same_text(site, PS_STR("none"));
    return false;
}

/* False: answered. */
static bool authenticated(struct op_request *request)
{
    const struct op_token *token = NULL;
    int64_t wait_s = 1;
    enum op_auth_result result =
        op_auth_check(request->admin->deps.auth, request->http->header[SRV_H_AUTHORIZATION],
                      &request->http->peer, &token, &wait_s);

    if (result != OP_AUTH_OK) {
        deny(request, result, token, wait_s);
        return false;
    }
    srv_trust(request->http);
    memcpy(request->who, token->id, sizeof request->who);
    request->role = token->role;
    return true;
}

/* --- The body. --- */

/* application/merge-patch+json (RFC 7396), whatever its parameters. */
static bool is_merge_patch(struct ps_str type)
{
    static const char name[] = "application/merge-patch+json";
    size_t len = sizeof name - 1;

    return type.at != NULL && type.len >= len && strncasecmp(type.at, name, len) == 0 &&
           (type.len == len || type.at[len] == ';' || type.at[len] == ' ');
}

/* Removes `reason` from the body, so that handlers see only their members; if it is a member of the
 * document, too, it remains, so that a patch can remove it. It is one line of text, because it goes
 * into the audit log, structured log lines and the order log. False: answered. */
static bool take_reason(struct op_request *request)
{
    struct ps_json_reader reader;
    struct ps_str reason = {"", 0};
    struct ps_fault fault;

    ps_json_reader_init(&reader, request->body, "", &fault);
    if (!json_is_null(ps_json_value(&reader, "reason")))
        ps_json_text(&reader, "reason", CFG_REASON_MAX, &reason);
    if (reader.err < 0) {
        op_fault(request, ANS_V_invalid, &fault);
        return false;
    }
    memcpy(request->why, reason.at, reason.len);
    if (request->kind == NULL || !request->kind->keeps_reason)
        (void)json_object_del(request->body, "reason");
    return true;
}

/* False: answered. */
static bool read_body(struct op_request *request, bool needed)
{
    struct srv_request *http = request->http;
    struct ps_str type = http->header[SRV_H_CONTENT_TYPE];
    struct ps_fault fault = {0};

    if (http->body.len == 0 && !needed)
        return true;
    if (http->body.len > 0 && !srv_strict_json(type) &&
        !(http->method == SRV_PATCH && is_merge_patch(type))) {
        op_no(request, ANS_V_unsupported_media_type, NULL);
        return false;
    }
    if (!srv_strict_plain(http->header[SRV_H_CONTENT_ENCODING])) {
        op_no(request, ANS_V_unsupported_media_type,
              "Content-Encoding: send the body uncompressed");
        return false;
    }
    int err = ps_json_parse(http->body.at, http->body.len, &request->body, &fault);
    if (err < 0) {
        op_fault(request, err == PS_E_NOMEM ? ANS_V_internal : ANS_V_malformed, &fault);
        return false;
    }
    if (!json_is_object(request->body)) {
        (void)ps_fault(&fault, PS_E_INVALID, "", "the body must be a JSON object");
        op_fault(request, ANS_V_invalid, &fault);
        return false;
    }
    return take_reason(request);
}

/* --- Routing. --- */

static void run(struct op_request *request, const struct op_route *route)
{
    bool needs_body =
        (route->flags & OP_NEEDS_BODY) != 0 &&
        !(request->kind != NULL && request->kind->may_be_empty && route->method == SRV_PUT);

    /* A query of another meaning must not cause a change. */
    if ((route->flags & OP_QUERY) == 0 && !op_query(request, NULL, 0))
        return;
    if (route->method != SRV_GET && !read_body(request, needs_body))
        return;
    request->run = route->run;
    if ((route->flags & OP_CHANGES) != 0 && !op_is_its_turn(request))
        return;
    route->run(request);
}

/* False: answered. */
bool op_exports_are_on(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;

    if (adm_feature_on(&deps->overload->shared, deps->shard, CFG_FEATURE_exports))
        return true;
    op_leave(request);
    srv_problem_answer(
        request->http, ANS_V_shed,
        &(struct ans_problem_detail){
            .policy = cfg_feature_names[CFG_FEATURE_exports],
            .text = "exports and large audits are turned off while the gateway is overloaded"});
    return false;
}

/* Only in a path, a range is written with a dash instead of its slash. */
static void say_no_path(struct op_request *request)
{
    static const char ranges[] = "/admin/v1/blocklist/ips/";
    struct ps_str path = request->http->path;
    size_t len = sizeof ranges - 1;
    char name[CFG_NAME_MAX + 1];

    if (path.len <= len || memcmp(path.at, ranges, len) != 0 ||
        cfg_kind_range.name(path.at + len, path.len - len, name) < 0) {
        op_no(request, ANS_V_not_found, "no such path");
        return;
    }
    *strchr(name, '/') = '-';
    op_no(request, ANS_V_not_found,
          "no such path: in a path, write a range with a dash instead of the slash: %s%s", ranges,
          name);
}

static void dispatch(struct op_request *request, const struct op_route *route, const char *allow)
{
    struct srv_request *http = request->http;
    enum op_role role = request->role;

    if (allow[0] == '\0') {
        say_no_path(request);
        return;
    }
    if (route == NULL) {
        srv_answer_header(http, "Allow", allow, strlen(allow));
        if (http->method == SRV_OPTIONS)
            op_empty(request);
        else
            op_no(request, ANS_V_method_not_allowed, NULL);
        return;
    }
    bool registers = (route->flags & OP_REGISTERS) != 0 && role == OP_ROLE_REGISTRAR;
    if (role < route->role && !registers) {
        op_no(request, ANS_V_forbidden, "needs the role %s, the token has the role %s",
              op_role_names[route->role], op_role_names[role]);
        return;
    }
    if (http->oversized) {
        op_no(request, ANS_V_too_large, NULL);
        return;
    }
    if ((route->flags & OP_EXPORT) != 0 && !op_exports_are_on(request))
        return;
    run(request, route);
}

void op_handle(struct srv_request *http, void *ctx)
{
    struct op_admin *admin = ctx;
    const struct op_deps *deps = &admin->deps;
    struct op_request *request = http->user;
    char allow[64];

    request->admin = admin;
    request->role = OP_ROLE_VIEWER;
    request->http = http;
    request->on_deadline = op_late;
    if (ps_address_is_none(&http->peer))
        memcpy(request->peer, "unix", sizeof "unix");
    else
        ps_address_format(&http->peer, request->peer);
    const struct op_route *route = find_route(request, allow, sizeof allow);
    bool probe = route != NULL && (route->flags & OP_OPEN) != 0;
    if (!probe && !host_served(deps, http->header[SRV_H_HOST])) {
        op_no(request, ANS_V_misdirected, "this Host is not in admin.hosts of the settings");
        return;
    }
    bool page = route != NULL && (route->flags & OP_PAGE) != 0; /* judges by itself */
    if (!probe && !page && request->is_foreign) {
        op_no(request, ANS_V_forbidden,
              "the request is from a page of another site (Sec-Fetch-Site)");
        return;
    }
    bool open = probe || page ||
                (route != NULL && (route->flags & OP_METRICS) != 0 && metrics_are_open(deps));
    if (!open && !authenticated(request))
        return;
    dispatch(request, route, allow);
}
