/* Opens the reference of a refusal: what refused it, as it was then. A reference holds hashes of
 * names, which are compared with those that are known here, deleted documents included. Whatever
 * does not open gets one answer, so that nobody learns why. */
#include "gateway/admin/parts.h"

#include "gateway/cluster/cluster.h"
#include "gateway/config/kinds/feature_doc.h"
#include "gateway/config/ref_keys.h"

#include <stdio.h>
#include <string.h>

static const struct ans_verdict_row *find_verdict(uint16_t hash)
{
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        if (ps_ref_verdict(ps_str(ans_verdicts[i].name)) == hash)
            return &ans_verdicts[i];
    return NULL;
}

/* NULL: no gateway that this one knows. */
static const char *find_gateway(const struct op_deps *deps, uint16_t hash)
{
    struct clu_other other;

    if (ps_ref_gateway(ps_str(deps->gateway_id)) == hash)
        return deps->gateway_id;
    for (size_t i = 0; clu_other_at(deps->cluster, i, &other); i++)
        if (ps_ref_gateway(ps_str(other.name)) == hash)
            return other.name;
    return NULL;
}

/* --- What refused it. --- */

/* Of two documents with this hash, one that is in force. NULL: none is kept here. */
static const struct cfg_doc *find_document(const struct cfg_store *store,
                                           const struct cfg_kind *kind, uint32_t hash)
{
    const struct cfg_doc *doc = NULL, *found = NULL;

    while ((doc = cfg_store_next_kept(store, kind, doc != NULL ? doc->name : "")) != NULL &&
           doc->kind == kind)
        if (ps_ref_rule(ps_str(doc->name)) == hash && (found == NULL || doc->json != NULL))
            found = doc;
    return found;
}

static json_t *document_json(const struct cfg_store *store, const struct cfg_kind *kind,
                             const char *word, const struct ps_ref *ref, int64_t revision)
{
    const struct cfg_doc *doc = find_document(store, kind, ref->rule);

    return json_pack("{s:s, s:s?, s:b, s:b}", "kind", word, "name", doc != NULL ? doc->name : NULL,
                     "deleted", doc == NULL || doc->json == NULL, "changed",
                     doc == NULL || doc->revision > revision);
}

static json_t *feature_json(const struct ps_ref *ref)
{
    const char *name = NULL;

    for (size_t i = 0; i < CFG_FEATURE_COUNT; i++)
        if (ps_ref_rule(ps_str(cfg_feature_names[i])) == ref->rule)
            name = cfg_feature_names[i];
    return json_pack("{s:s, s:s?, s:b, s:b}", "kind", "feature", "name", name, "deleted",
                     name == NULL, "changed", name == NULL);
}

static json_t *rule_json(const struct cfg_store *store, const struct ps_ref *ref, int64_t revision)
{
    switch (ref->rule_kind) {
    case PS_REF_RULE_LIMIT:
        return document_json(store, &cfg_kind_limit, "limit", ref, revision);
    case PS_REF_RULE_ROUTE:
        return document_json(store, &cfg_kind_route, "route", ref, revision);
    case PS_REF_RULE_FEATURE:
        return feature_json(ref);
    default:
        return json_null();
    }
}

/* --- The answer. --- */

static json_t *ref_json(const struct op_request *request, const struct ps_ref *ref)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct ans_verdict_row *row = find_verdict(ref->verdict);
    int64_t revision = ps_ref_revision(ref, cfg_store_revision(deps->config));
    char user[8];

    (void)snprintf(user, sizeof user, "%06x", (unsigned)ref->user);
    return json_pack("{s:s%, s:o, s:s?, s:o, s:s?, s:s?, s:o, s:s?, s:i, s:i, s:o, s:I, s:s?}",
                     "ref", request->arg[0].at, request->arg[0].len, "at",
                     ps_json_of_time(ref->at_ms), "verdict", row != NULL ? row->name : NULL,
                     "status", row != NULL ? json_integer(row->status) : json_null(), "why",
                     row != NULL ? row->when : NULL, "remedy", row != NULL ? row->remedy : NULL,
                     "rule", rule_json(deps->config, ref, revision), "gateway",
                     find_gateway(deps, ref->gateway), "worker", (int)ref->worker, "level",
                     (int)ref->level, "admission", ps_json_of_number((double)ref->admission / 100),
                     "revision", (json_int_t)revision, "user_hash", ref->user != 0 ? user : NULL);
}

static void get_ref(struct op_request *request)
{
    char user[128 + 1] = "";
    const struct op_param params[] = {{.name = "user", .text = user, .cap = sizeof user}};
    struct ps_ref ref;

    if (!op_query(request, params, PS_ARRAY_LEN(params)))
        return;
    if (cfg_ref_open(request->admin->deps.config, request->arg[0], &ref) < 0) {
        op_no(request, ANS_V_ref_unknown,
              "a reference has %d characters (A-Z a-z 0-9 - _), opens in its own cluster and for "
              "%d days: take all of it from the member ref of the refusal, or from the log of the "
              "proxy",
              PS_REF_LEN, (int)(PS_REF_OPEN_MS / (24 * 3600 * 1000)));
        return;
    }
    json_t *json = ref_json(request, &ref);
    if (json != NULL && user[0] != '\0')
        json = ps_json_built(
            json, json_object_set_new(json, "is_user",
                                      json_boolean(ps_ref_user(ps_str(user)) == ref.user)));
    op_json(request, ANS_V_ok, json);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_refs_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/explain/{}", SRV_GET, OP_ROLE_VIEWER, OP_QUERY, get_ref},
        {0}},
};
/* clang-format on */
