/* The circuit breakers, and operators' orders for them. An order is in the audit log first, then in
 * force in every circuit, then answered; it ends by itself, and with the process. */
#include "gateway/admin/parts.h"

#include <stdio.h>

#define OBEY_WAIT_MS 2000

/* --- Showing. --- */

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
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    int64_t age_ms = (ps_clock_mono_ns(deps->clock) - sum.since_ns) / PS_NS_PER_MS;
    return json_pack("{s:s, s:s, s:o, s:s?, s:o, s:o, s:o, s:I}", "name", breaker->source.name,
                     "state", ps_breaker_state_names[sum.state], "since",
                     ps_json_of_time(ps_clock_wall_ms(deps->clock) - age_ms), "why",
                     sum.why[0] != '\0' ? sum.why : NULL, "forced",
                     cfg_pin_write(adm_breaker_pinned(breaker), &adm_breaker_pin), "circuits",
                     circuits_json(&sum), "window", window_json(&sum), "openings",
                     (json_int_t)sum.openings);
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

/* NULL: answered. */
static struct adm_breaker *breaker_of(struct op_request *request)
{
    struct adm_breaker *breaker = NULL;
    char name[ADM_BREAKER_NAME_MAX];
    size_t len;

    if (op_decode(request->arg[0], name, sizeof name, &len) == 0)
        breaker = adm_breakers_find(request->admin->deps.breakers, (struct ps_str){name, len});
    if (breaker == NULL)
        op_no(request, ANS_V_not_found,
              "no such breaker here: redis stands before a counter in Redis, kafka before a log in "
              "Kafka, pool:NAME and endpoint:NAME:ADDRESS before those of the shop");
    return breaker;
}

static void say_breaker(struct op_request *request)
{
    const struct adm_breaker *breaker = breaker_of(request);

    if (breaker != NULL)
        op_json(request, ANS_V_ok, breaker_json(&request->admin->deps, breaker));
}

/* --- Orders. --- */

static void say_when_obeyed(struct op_request *request)
{
    const struct adm_breaker *breaker = breaker_of(request);

    if (breaker != NULL && adm_breaker_is_obeyed(breaker))
        say_breaker(request);
}

static void end_order(struct op_change *change, bool written)
{
    adm_breakers_end_change(change->admin->deps.breakers, written);
}

static void answer_order(struct op_request *request, struct op_change *change)
{
    (void)change;
    request->on_tick = say_when_obeyed;
    (void)op_wait(request, OBEY_WAIT_MS);
}

/* `pin` NULL: releases. */
static void order(struct op_request *request, struct adm_breaker *breaker,
                  const struct cfg_pin *pin, int64_t ttl_ms)
{
    char target[ADM_BREAKER_NAME_MAX + 16];

    (void)snprintf(target, sizeof target, "breakers/%s", breaker->source.name);
    struct op_change *change =
        op_change_new(request, pin != NULL ? "breaker.force" : "breaker.release", target);
    if (change == NULL)
        return;
    adm_breakers_prepare(request->admin->deps.breakers, breaker, pin, ttl_ms);
    cfg_change_line(change->change, target,
                    cfg_pin_write(adm_breaker_pinned(breaker), &adm_breaker_pin),
                    cfg_pin_write(pin, &adm_breaker_pin));
    change->end = end_order;
    change->answer = answer_order;
    op_change_submit(request, change);
}

static void force_breaker(struct op_request *request)
{
    int64_t now_ms = ps_clock_wall_ms(request->admin->deps.clock);
    struct adm_breaker *breaker = breaker_of(request);
    struct cfg_pin pin;

    if (breaker != NULL && op_read_pin(request, &adm_breaker_pin, now_ms, &pin))
        order(request, breaker, &pin, pin.until_ms - now_ms);
}

static void release_breaker(struct op_request *request)
{
    struct adm_breaker *breaker = breaker_of(request);

    if (breaker == NULL || !op_only_reason(request))
        return;
    if (adm_breaker_pinned(breaker) == NULL)
        say_breaker(request);
    else
        order(request, breaker, NULL, 0);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_breakers_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/breakers",            SRV_GET,  OP_ROLE_VIEWER,   0,                          list_breakers},
        {"/admin/v1/breakers/{}/force",   SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY, force_breaker},
        {"/admin/v1/breakers/{}/release", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,                 release_breaker},
        {0}},
};
/* clang-format on */
