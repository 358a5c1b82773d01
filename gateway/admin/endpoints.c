/* Endpoints that register themselves, or that their starter registers: a PUT, and further PUTs as
 * heartbeats. A heartbeat does not wait for other changes: it is noted, answered at once, and
 * written together with others (upstream/registrations.h).
 *
 * A registrar may use the pools of its token, and there only its own registrations. A registration
 * keeps the token that made it: heartbeats and changes by operators do not change that. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/kinds/registration.h"
#include "gateway/config/store/sync.h"

#include <stdio.h>
#include <string.h>

/* The registration that the path names. */
struct endpoint {
    char name[CFG_NAME_MAX + 1]; /* of the document */
    struct cfg_endpoint is;
    const struct cfg_doc *pool;
    const struct cfg_doc *have; /* NULL: not registered */
};

/* --- The path. --- */

/* False: answered. The answer does not tell a registrar whether the pool exists. */
static bool may_use_pool(struct op_request *request, const char *pool)
{
    const struct op_token *token;

    if (request->role != OP_ROLE_REGISTRAR)
        return true;
    token = op_auth_find(request->admin->deps.auth, request->who, strlen(request->who));
    if (token != NULL &&
        op_token_has_pool(token, pool)) /* else the token was removed while this waited */
        return true;
    op_no(request, ANS_V_forbidden, "the token does not name the pool %s%s", pool,
          token != NULL && token->pools.count == 0 ? ": an earlier version made it, without pools"
                                                   : "");
    return false;
}

/* False: answered. */
static bool may_change(struct op_request *request, const struct cfg_registration *is)
{
    if (request->role != OP_ROLE_REGISTRAR || strcmp(is->by, request->who) == 0)
        return true;
    op_no(request, ANS_V_forbidden, "the endpoint %s of the pool %s is registered by another token",
          is->endpoint.address, is->pool);
    return false;
}

/* NULL: answered. */
static const struct cfg_doc *read_pool(struct op_request *request)
{
    struct op_target target;

    if (!op_read_target(request, &cfg_kind_pool, &target) || !may_use_pool(request, target.name))
        return NULL;
    if (target.have == NULL)
        op_no(request, ANS_V_not_found, "no such pool");
    return target.have;
}

static void refuse_address(struct op_request *request, const char *why)
{
    struct ps_fault fault;

    (void)ps_fault(&fault, PS_E_INVALID, "/address", "%s", why);
    op_fault(request, ANS_V_invalid, &fault);
}

/* False: answered. */
static bool read_endpoint(struct op_request *request, struct endpoint *ret_endpoint)
{
    char text[CFG_ENDPOINT_SIZE];
    size_t len;

    ret_endpoint->pool = read_pool(request);
    if (ret_endpoint->pool == NULL)
        return false;
    if (op_decode(request->arg[1], text, sizeof text, &len) < 0 ||
        cfg_endpoint_parse(text, len, &ret_endpoint->is) < 0) {
        refuse_address(request, "in the path: must be an address and a port: 10.0.0.1:8080 or "
                                "[fd00::1]:8080");
        return false;
    }
    cfg_registration_name(ret_endpoint->pool->name, &ret_endpoint->is, ret_endpoint->name);
    ret_endpoint->have = cfg_registration_find(request->admin->deps.config, ret_endpoint->name);
    return true;
}

/* --- Showing. --- */

static json_t *show(const struct cfg_doc *doc, int64_t until_ms)
{
    const struct cfg_registration *is = cfg_registration_of(doc);

    return json_pack("{s:s, s:s, s:I, s:i, s:o, s:o, s:s}", "pool", is->pool, "address",
                     is->endpoint.address, "ttl_s", (json_int_t)is->ttl_s, "weight",
                     (int)is->endpoint.weight, "registered_at", ps_json_of_time(doc->created_at_ms),
                     "expires_at", ps_json_of_time(until_ms), "by", is->by);
}

static void list_endpoints(struct op_request *request)
{
    const struct cfg_store *store = request->admin->deps.config;
    const struct cfg_doc *pool = read_pool(request), *doc = NULL;

    if (pool == NULL)
        return;
    json_t *list = json_array();
    int err = 0;
    while (err == 0 && (doc = cfg_registration_next(store, pool->name, doc)) != NULL)
        err = json_array_append_new(list, show(doc, cfg_registration_of(doc)->until_ms));
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok, list != NULL ? json_pack("{s:o}", "endpoints", list) : NULL);
}

static void get_endpoint(struct op_request *request)
{
    struct endpoint endpoint;

    if (!read_endpoint(request, &endpoint))
        return;
    if (endpoint.have == NULL)
        op_no(request, ANS_V_not_found, "no such endpoint is registered");
    else
        op_json(request, ANS_V_ok,
                show(endpoint.have, cfg_registration_of(endpoint.have)->until_ms));
}

/* --- Registering. --- */

/* May this pool have registrations, and at this address? False: answered. */
static bool check_place(struct op_request *request, const struct endpoint *endpoint)
{
    const char *pool = endpoint->pool->name, *refusal;

    if (cfg_pool_of(endpoint->pool)->discovery.by != CFG_DISCOVERY_REGISTRATION)
        op_no(request, ANS_V_conflict,
              "the pool %s does not accept registrations: its discovery is not "
              "{\"registration\":true}",
              pool);
    else if ((refusal = up_membership_refusal(request->admin->deps.members, &endpoint->is)) != NULL)
        refuse_address(request, refusal);
    else
        return true;
    return false;
}

/* False: answered. */
static bool read_wanted(struct op_request *request, const struct endpoint *endpoint,
                        struct cfg_registration *ret_wanted)
{
    struct ps_faults faults = {0};
    struct ps_json_reader reader;
    int64_t ttl_s = CFG_REGISTRATION_TTL_S, weight = 1;

    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_duration(&reader, "ttl_s", 1, CFG_REGISTRATION_TTL_MAX_S, &ttl_s);
    ps_json_int(&reader, "weight", 0, CFG_WEIGHT_MAX, &weight);
    if (ps_json_done(&reader) < 0 || faults.count > 0) {
        op_faults(request, ANS_V_invalid, &faults);
        return false;
    }
    *ret_wanted = (struct cfg_registration){.endpoint = endpoint->is, .ttl_s = ttl_s};
    ret_wanted->endpoint.weight = (uint16_t)weight;
    memcpy(ret_wanted->by,
           endpoint->have != NULL ? cfg_registration_of(endpoint->have)->by : request->who,
           sizeof ret_wanted->by);
    ret_wanted->until_ms =
        up_registration_end_ms(ps_clock_wall_ms(request->admin->deps.clock), ttl_s);
    return true;
}

static void answer_registered(struct op_request *request, struct op_change *change)
{
    const struct cfg_doc *doc = cfg_registration_find(request->admin->deps.config, change->name);

    if (request->created)
        srv_answer_header(request->http, "Location", request->http->path.at,
                          request->http->path.len);
    op_json(request, request->created ? ANS_V_created : ANS_V_ok,
            doc != NULL ? show(doc, cfg_registration_of(doc)->until_ms) : NULL);
}

/* Submits the document, which replaces the present one. */
static void submit(struct op_request *request, const struct endpoint *endpoint,
                   const struct cfg_registration *wanted)
{
    struct op_target named = {.kind = &cfg_kind_registration, .have = endpoint->have};

    memcpy(named.name, endpoint->name, sizeof named.name);
    struct op_change *change = op_document_change(
        request, &named, wanted->gone ? cfg_kind_registration.drop : cfg_kind_registration.put);
    if (change == NULL || !op_document_put(request, change, cfg_registration_write(wanted)))
        return;
    request->created = endpoint->have == NULL;
    change->answer = wanted->gone ? op_answer_empty : answer_registered;
    op_change_submit(request, change);
}

/* Answers at once, even while a change is in progress. */
static void renew(struct op_request *request, const struct cfg_doc *have)
{
    struct ps_fault fault = {0};
    int64_t until_ms;
    int err = up_registrations_renew(up_membership_registrations(request->admin->deps.members),
                                     have, &until_ms, &fault);

    if (err < 0)
        op_no(request,
              strcmp(fault.path, CFG_SYNC_PATH) == 0 ? ANS_V_store_unavailable
                                                     : ANS_V_control_unavailable,
              "%s", fault.text);
    else
        op_json(request, ANS_V_ok, show(have, until_ms));
}

static void put_endpoint(struct op_request *request)
{
    struct cfg_registration wanted;
    struct endpoint endpoint;

    if (!read_endpoint(request, &endpoint) || !check_place(request, &endpoint) ||
        !read_wanted(request, &endpoint, &wanted))
        return;
    const struct cfg_registration *have =
        endpoint.have != NULL ? cfg_registration_of(endpoint.have) : NULL;
    if (have != NULL && !may_change(request, have))
        return;
    if (have != NULL && cfg_kind_registration.renews(&wanted, have))
        renew(request, endpoint.have);
    else if (op_is_its_turn(request))
        submit(request, &endpoint, &wanted);
}

static void delete_endpoint(struct op_request *request)
{
    struct endpoint endpoint;

    if (!op_only_reason(request) || !read_endpoint(request, &endpoint))
        return;
    if (endpoint.have == NULL) {
        op_no(request, ANS_V_not_found, "no such endpoint is registered");
        return;
    }
    struct cfg_registration gone = *cfg_registration_of(endpoint.have);
    if (!may_change(request, &gone))
        return;
    gone.gone = true;
    gone.until_ms = ps_clock_wall_ms(request->admin->deps.clock) + CFG_REGISTRATION_GONE_MS;
    submit(request, &endpoint, &gone);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_endpoints_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/pools/{}/endpoints",    SRV_GET,    OP_ROLE_VIEWER,   OP_REGISTERS,                 list_endpoints},
        {"/admin/v1/pools/{}/endpoints/{}", SRV_GET,    OP_ROLE_VIEWER,   OP_REGISTERS,                 get_endpoint},
        {"/admin/v1/pools/{}/endpoints/{}", SRV_PUT,    OP_ROLE_OPERATOR, OP_NEEDS_BODY | OP_REGISTERS, put_endpoint},
        {"/admin/v1/pools/{}/endpoints/{}", SRV_DELETE, OP_ROLE_OPERATOR, OP_CHANGES | OP_REGISTERS,    delete_endpoint},
        {0}},
};
/* clang-format on */
