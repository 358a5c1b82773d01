/* Shows the circuit breakers; overrides.c forces them. */
#include "gateway/admin/parts.h"

static json_t *share(uint32_t part, uint32_t whole)
{
    return whole > 0 ? json_real((double)part / whole) : json_null();
}

static json_t *window_json(const struct adm_breaker_sum *sum)
{
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "calls", (json_int_t)sum->calls, "failures",
                     (json_int_t)sum->failures, "slow", (json_int_t)sum->slow, "failure_share",
                     share(sum->failures, sum->calls), "slow_share", share(sum->slow, sum->calls));
}

static json_t *circuits_json(const struct adm_breaker_sum *sum)
{
    json_t *json = json_object();
    int err = 0;

    for (size_t i = 0; err == 0 && i < PS_BREAKER_STATES; i++)
        err = json_object_set_new(json, ps_breaker_state_names[i],
                                  json_integer((json_int_t)sum->circuits[i]));
    return ps_json_built(json, err);
}

static json_t *breaker_json(const struct op_deps *deps, const struct adm_breaker *breaker)
{
    enum ps_breaker_order order = breaker->force.order;
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    int64_t age_ms = (ps_clock_mono_ns(deps->clock) - sum.since_ns) / PS_NS_PER_MS;
    return json_pack(
        "{s:s, s:s, s:o, s:s?, s:o, s:o, s:o, s:I}", "name", breaker->source.name, "state",
        ps_breaker_state_names[sum.state], "since",
        ps_json_of_time(ps_clock_wall_ms(deps->clock) - age_ms), "why",
        sum.why[0] != '\0' ? sum.why : NULL, "override",
        order != PS_BREAKER_FREE ? json_string(adm_breaker_orders[order]) : json_null(), "circuits",
        circuits_json(&sum), "window", window_json(&sum), "openings", (json_int_t)sum.openings);
}

static void list_breakers(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    json_t *list = json_array();
    const struct adm_breaker *breaker;
    int err = 0;

    for (size_t i = 0; err == 0 && (breaker = adm_breakers_at(deps->breakers, i)) != NULL; i++)
        err = json_array_append_new(list, breaker_json(deps, breaker));
    op_json(request, ANS_V_ok, json_pack("{s:o}", "breakers", ps_json_built(list, err)));
}

const struct op_part op_breakers_part = {
    .routes =
        (const struct op_route[]){{"/admin/v1/breakers", SRV_GET, OP_ROLE_VIEWER, 0, list_breakers},
                                  {0}},
};
