/* See breakers.h. The control thread never calls into a circuit: each thread publishes the state of
 * its own circuits, and applies an override when the override reaches it. */
#include "gateway/admission/breakers.h"

#include "common/program/log.h"
#include "common/sorted.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *const adm_breaker_orders[] = {
    [PS_BREAKER_FREE] = NULL,
    [PS_BREAKER_FORCED_OPEN] = "open",
    [PS_BREAKER_FORCED_CLOSED] = "closed",
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

/* --- the list --- */

static struct adm_breaker *new_breaker(const struct adm_breaker_source *source)
{
    size_t len = strlen(source->name);
    struct adm_breaker *breaker = calloc(1, sizeof *breaker + len + 1);

    if (breaker != NULL) {
        memcpy(breaker->name, source->name, len);
        breaker->source = *source;
        breaker->source.name = breaker->name;
    }
    return breaker;
}

int adm_breakers_add(struct adm_breakers *breakers, const struct adm_breaker_source *source)
{
    struct adm_breaker *breaker = new_breaker(source);

    assert(breakers->count < ADM_BREAKERS_MAX && source->circuits > 0);
    if (breaker == NULL)
        return PS_E_NOMEM;
    breakers->at[breakers->count++] = breaker;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct adm_breaker *const *)a)->name, (*(struct adm_breaker *const *)b)->name);
}

static int compare_with(const void *name, const void *breaker)
{
    return strcmp(name, (*(struct adm_breaker *const *)breaker)->name);
}

static struct adm_breaker *find_more(const struct adm_breakers *breakers, const char *name)
{
    struct adm_breaker **found = ps_sorted_find(name, breakers->more, breakers->more_count,
                                                sizeof breakers->more[0], compare_with);
    return found != NULL ? *found : NULL;
}

/* Keeps the breaker of this name. If its circuits are new, no override has been sent to them yet.
 */
static struct adm_breaker *take(const struct adm_breakers *breakers,
                                const struct adm_breaker_source *source)
{
    struct adm_breaker *breaker = find_more(breakers, source->name);

    if (breaker == NULL)
        return new_breaker(source);
    if (breaker->source.ctx != source->ctx)
        breaker->force.order = PS_BREAKER_FREE;
    breaker->source = *source;
    breaker->source.name = breaker->name;
    return breaker;
}

/* The breakers of `next` replace all dynamic ones. */
static void replace_more(struct adm_breakers *breakers, const struct adm_breakers *next)
{
    for (size_t i = 0; i < breakers->more_count; i++)
        if (find_more(next, breakers->more[i]->name) == NULL)
            free(breakers->more[i]);
    free(breakers->more);
    breakers->more = next->more;
    breakers->more_count = next->more_count;
}

static const struct adm_breakers none;

int adm_breakers_follow(struct adm_breakers *breakers, const struct adm_breaker_source *sources,
                        size_t count)
{
    struct adm_breakers next = {.more = calloc(count + 1, sizeof *next.more)};
    struct adm_breaker *breaker;

    if (next.more != NULL) {
        while (next.more_count < count &&
               (breaker = take(breakers, &sources[next.more_count])) != NULL)
            next.more[next.more_count++] = breaker;
        qsort(next.more, next.more_count, sizeof *next.more, compare_names);
    }
    replace_more(breakers, &next);
    if (next.more != NULL && next.more_count == count)
        return 0;
    replace_more(breakers, &none);
    return PS_E_NOMEM;
}

void adm_breakers_done(struct adm_breakers *breakers)
{
    replace_more(breakers, &none);
    for (size_t i = 0; i < breakers->count; i++)
        free(breakers->at[i]);
}

struct adm_breaker *adm_breakers_at(const struct adm_breakers *breakers, size_t index)
{
    if (index < breakers->count)
        return breakers->at[index];
    index -= breakers->count;
    return index < breakers->more_count ? breakers->more[index] : NULL;
}

struct adm_breaker *adm_breakers_find(struct adm_breakers *breakers, struct ps_str name)
{
    char text[ADM_BREAKER_NAME_MAX];

    if (name.len >= sizeof text)
        return NULL;
    memcpy(text, name.at, name.len);
    text[name.len] = '\0';
    for (size_t i = 0; i < breakers->count; i++)
        if (strcmp(breakers->at[i]->name, text) == 0)
            return breakers->at[i];
    return find_more(breakers, text);
}

/* --- state --- */

/* The worse of two states is the one that refuses more calls. */
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

/* --- overrides --- */

bool adm_breaker_is_obeyed(const struct adm_breaker *breaker)
{
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    return sum.obeyed >= breaker->force.id;
}

void adm_breakers_apply(struct adm_breakers *breakers, const struct cfg_store *store)
{
    static const enum ps_breaker_order orders[] = {[CFG_BREAKER_OPEN] = PS_BREAKER_FORCED_OPEN,
                                                   [CFG_BREAKER_CLOSED] = PS_BREAKER_FORCED_CLOSED};
    struct adm_breaker *breaker;

    for (size_t i = 0; (breaker = adm_breakers_at(breakers, i)) != NULL; i++) {
        int value = cfg_overridden(store, CFG_OVERRIDE_BREAKER, breaker->source.name, -1);
        enum ps_breaker_order order = value < 0 ? PS_BREAKER_FREE : orders[value];
        if (order == breaker->force.order)
            continue;
        breaker->force = (struct ps_breaker_force){.order = order, .id = ++breakers->last_id};
        breaker->source.force(&breaker->force, breaker->source.ctx);
    }
}

/* --- log events --- */

/* Logs "closed" only after a second without a new opening. */
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
    struct adm_breaker *breaker;

    for (size_t i = 0; (breaker = adm_breakers_at(breakers, i)) != NULL; i++) {
        struct adm_breaker_sum sum;

        adm_breaker_add_up(breaker, &sum);
        log_state(breaker, &sum);
    }
}
