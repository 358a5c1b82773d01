/* See refs.h. Every refusal comes here, so nothing is looked up that the request does not have. */
#include "gateway/public/refs.h"

#include "gateway/public/request.h"

#include <string.h>

void pub_refs_init(struct pub_refs *refs, const char *gateway, uint32_t worker)
{
    ps_ref_pads_init(&refs->pads, ps_ref_gateway(ps_str(gateway)), (uint8_t)worker);
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        refs->verdicts[i] = ps_ref_verdict(ps_str(ans_verdicts[i].name));
}

/* Limits answer 429; a feature that is off answers 503. */
static void name_rule(const struct pub_request *request, enum ans_verdict verdict,
                      const char *policy, struct ps_ref *ref)
{
    const struct cfg_route *route = page_route_doc(&request->page);

    if (policy != NULL) {
        ref->rule_kind =
            ans_verdicts[verdict].status == 429 ? PS_REF_RULE_LIMIT : PS_REF_RULE_FEATURE;
        ref->rule = ps_ref_rule(ps_str(policy));
    } else if (route != NULL) {
        ref->rule_kind = PS_REF_RULE_ROUTE;
        ref->rule = ps_ref_rule(ps_str(route->name));
    }
}

/* The share of those who order, or of those who look at pages. */
static uint8_t admission_of(const struct pub_request *request)
{
    const struct adm_shed *shed = request->listener->gates->shed;

    if (PS_LIKELY(!shed->active))
        return 100;
    return (uint8_t)(100 *
                     adm_shed_level(shed, request->api != NULL ? ADM_SHED_ORDER : ADM_SHED_OTHER));
}

void pub_refs_seal(struct pub_request *request, enum ans_verdict verdict,
                   struct ans_problem_detail *detail)
{
    struct pub_listener *listener = request->listener;
    const struct adm_gates *gates = listener->gates;
    int64_t wall_ms = srv_wall_ms(request->http);
    const struct ps_ref_key *key = cfg_ref_key_now(&gates->snapshot->ref_keys, wall_ms);
    struct ps_ref ref = {
        .at_ms = wall_ms,
        .verdict = listener->refs.verdicts[verdict],
        .level = (uint8_t)atomic_load_explicit(&gates->overload->level, memory_order_relaxed),
        .admission = admission_of(request),
        .user = ps_ref_user(request->client.user),
        .revision = gates->snapshot->revision};

    if (key == NULL)
        return;
    name_rule(request, verdict, detail->policy, &ref);
    ps_ref_seal(&listener->refs.pads, key, &ref, request->ref);
    request->has_ref = true;
    detail->ref = (struct ps_str){request->ref, sizeof request->ref};
    detail->ref_in_head = request->client.trusted_peer;
}
