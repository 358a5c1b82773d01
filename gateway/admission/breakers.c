/* See breakers.h. Circuits are never asked: each thread shows what its own is like, and obeys an
 * order when it gets it. An order ends by its own clock in each of them, so nothing is sent then.
 */
#include "gateway/admission/breakers.h"

#include "common/log.h"

#include <assert.h>
#include <string.h>

/* In the order of enum ps_breaker_order, without FREE. */
static const char *const words[] = {"open", "closed", NULL};

const struct cfg_pin_words adm_breaker_pin = {.member = "state", .words = words};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

void adm_breakers_add(struct adm_breakers *breakers, const struct adm_breaker_source *source)
{
    assert(breakers->count < ADM_BREAKERS_MAX && source->circuits > 0);
    breakers->at[breakers->count++].source = *source;
}

struct adm_breaker *adm_breakers_find(struct adm_breakers *breakers, struct ps_str name)
{
    for (size_t i = 0; i < breakers->count; i++)
        if (ps_str_is(name, breakers->at[i].source.name))
            return &breakers->at[i];
    return NULL;
}

/* --- what circuits show --- */

/* Which of two states tells more of what buyers meet. */
static bool is_worse(enum ps_breaker_state state, enum ps_breaker_state than)
{
    static const int weight[PS_BREAKER_STATES] = {
        [PS_BREAKER_CLOSED] = 0, [PS_BREAKER_HALF_OPEN] = 1, [PS_BREAKER_OPEN] = 2};
    return weight[state] > weight[than];
}

void adm_breaker_add_up(const struct adm_breaker *breaker, struct adm_breaker_sum *ret_sum)
{
    const struct adm_breaker_source *source = &breaker->source;
    struct adm_breaker_sum *sum = ret_sum;

    *sum = (struct adm_breaker_sum){.obeyed = UINT64_MAX};
    for (size_t i = 0; i < source->circuits; i++) {
        struct ps_breaker_view view;
        source->show(i, &view, source->ctx);
        sum->circuits[view.state]++;
        sum->calls += view.calls;
        sum->failures += view.failures;
        sum->slow += view.slow;
        sum->openings += view.openings;
        if (view.force.id < sum->obeyed)
            sum->obeyed = view.force.id;
        bool worse = i == 0 || is_worse(view.state, sum->state);
        bool earlier = view.since_ns < sum->since_ns;
        bool counts = view.state == sum->state && earlier == (view.state != PS_BREAKER_CLOSED);
        if (worse || counts)
            sum->since_ns = view.since_ns;
        if (worse) {
            sum->state = view.state;
            memcpy(sum->why, view.why, sizeof sum->why);
        }
    }
}

/* --- orders --- */

const struct cfg_pin *adm_breaker_pinned(const struct adm_breaker *breaker)
{
    bool forced = breaker->force.order != PS_BREAKER_FREE && now_ns() < breaker->force.until_ns;
    return forced ? &breaker->pin : NULL;
}

bool adm_breaker_is_obeyed(const struct adm_breaker *breaker)
{
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    return sum.obeyed >= breaker->force.id;
}

void adm_breakers_prepare(struct adm_breakers *breakers, struct adm_breaker *breaker,
                          const struct cfg_pin *pin, int64_t ttl_ms)
{
    breakers->changing = breaker;
    breakers->next = pin != NULL ? *pin : (struct cfg_pin){0};
    breakers->next_ns = now_ns() + ttl_ms * PS_NS_PER_MS;
}

void adm_breakers_end_change(struct adm_breakers *breakers, bool written)
{
    struct adm_breaker *breaker = breakers->changing;
    const struct cfg_pin *pin = &breakers->next;
    bool forces = pin->until_ms != 0;

    breakers->changing = NULL;
    if (!written)
        return;
    breaker->pin = *pin;
    breaker->force = (struct ps_breaker_force){
        .order = forces ? PS_BREAKER_FORCED_OPEN + (unsigned)pin->value : PS_BREAKER_FREE,
        .until_ns = breakers->next_ns,
        .id = ++breakers->last_id};
    breaker->source.force(&breaker->force, breaker->source.ctx);
}

/* --- the log --- */

/* One that opens again within the second has not come back. */
static void log_state(struct adm_breaker *breaker, const struct adm_breaker_sum *sum)
{
    bool open = sum->state != PS_BREAKER_CLOSED;

    if (open == breaker->logged_open || (!open && now_ns() - sum->since_ns < PS_NS_PER_S))
        return;
    breaker->logged_open = open;
    if (!open)
        ps_log(PS_LOG_INFO, "breaker_closed", PS_F_STR("breaker", breaker->source.name));
    else
        ps_log(PS_LOG_WARN, "breaker_opened", PS_F_STR("breaker", breaker->source.name),
               PS_F_STR("why", sum->why));
}

void adm_breakers_watch(struct adm_breakers *breakers)
{
    for (size_t i = 0; i < breakers->count; i++) {
        struct adm_breaker *breaker = &breakers->at[i];
        struct adm_breaker_sum sum;

        adm_breaker_add_up(breaker, &sum);
        log_state(breaker, &sum);
        if (breaker->force.order != PS_BREAKER_FREE && adm_breaker_pinned(breaker) == NULL) {
            breaker->force.order = PS_BREAKER_FREE;
            ps_log(PS_LOG_INFO, "breaker_order_over", PS_F_STR("breaker", breaker->source.name),
                   PS_F_STR("state", words[breaker->pin.value]), PS_F_STR("who", breaker->pin.who));
        }
    }
}
