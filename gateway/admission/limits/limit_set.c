/* Rules compiled once for all requests. */
#include "gateway/admission/limits/limit_set.h"

#include <stdlib.h>
#include <string.h>

/* Its cells are apart from the rule's own. */
#define TRIAL_SEED UINT64_C(0x747269616c5f6365)

static size_t find_rule(const struct adm_limit_set *set, const char *name)
{
    size_t i = 0;

    while (i < set->count && strcmp(set->rules[i].name, name) != 0)
        i++;
    return i;
}

/* Do the two trials count the same requests in the same way? */
static bool same_trial(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b)
{
    return a->trial.rate == b->trial.rate && a->trial.burst == b->trial.burst &&
           a->trial.period_s == b->trial.period_s && adm_limit_same_requests(a, b) &&
           (a->mode == CFG_LIMIT_OFF) == (b->mode == CFG_LIMIT_OFF);
}

static int bind_figures(struct adm_limit_set *set, size_t rule, const struct adm_limit_set *before)
{
    const struct cfg_limit_rule *own = &set->rules[rule];
    struct adm_limit_rule *compiled = &set->compiled[rule];
    size_t was = before != NULL ? find_rule(before, own->name) : 0;
    bool there = before != NULL && was < before->count;

    compiled->figures =
        there ? adm_limit_figures_keep(before->compiled[was].figures) : adm_limit_figures_new();
    if (compiled->figures == NULL)
        return PS_E_NOMEM;
    if (there && !same_trial(own, &before->rules[was]))
        adm_trial_begin(compiled->figures);
    return 0;
}

static void compile(const struct cfg_limit_rule *rule, struct adm_limit_rule *compiled)
{
    struct cfg_limit_rule trial;

    adm_limit_compile(rule, 1, &compiled->own);
    adm_limit_compile(rule, ADM_LIMIT_WIDE_SCALE, &compiled->wide);
    if (!adm_limit_has_trial(rule))
        return;
    cfg_limit_with_trial(rule, &trial);
    adm_limit_compile(&trial, 1, &compiled->trial);
    adm_limit_compile(&trial, ADM_LIMIT_WIDE_SCALE, &compiled->trial_wide);
    compiled->trial.seed ^= TRIAL_SEED;
    compiled->trial_wide.seed ^= TRIAL_SEED;
}

struct adm_limit_set *adm_limit_set_new(const struct cfg_limit_rule *rules, size_t count,
                                        const struct adm_limit_set *before)
{
    struct adm_limit_set *set = calloc(1, sizeof *set);

    if (set == NULL)
        return NULL;
    /* One more than needed: calloc may return NULL for none. */
    set->rules = calloc(count + 1, sizeof *set->rules);
    set->compiled = calloc(count + 1, sizeof *set->compiled);
    if (set->rules == NULL || set->compiled == NULL) {
        adm_limit_set_free(set);
        return NULL;
    }
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        set->rules[i] = rules[i];
        set->kinds |= rules[i].mode != CFG_LIMIT_OFF ? 1u << rules[i].key : 0;
        compile(&rules[i], &set->compiled[i]);
        if (bind_figures(set, i, before) < 0) {
            adm_limit_set_free(set);
            return NULL;
        }
    }
    return set;
}

void adm_limit_set_free(struct adm_limit_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; set->compiled != NULL && i < set->count; i++)
        adm_limit_figures_drop(set->compiled[i].figures);
    free(set->rules);
    free(set->compiled);
    free(set);
}

void adm_limit_set_tick(const struct adm_limit_set *set, int64_t now_ns)
{
    for (size_t i = 0; i < set->count; i++)
        if (adm_limit_has_trial(&set->rules[i]))
            adm_trial_tick(set->compiled[i].figures, now_ns);
}

bool adm_limit_same_requests(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b)
{
    return a->algorithm == b->algorithm && a->key == b->key && a->max_wait_ms == b->max_wait_ms &&
           a->applies_to == b->applies_to && strcmp(a->sale, b->sale) == 0 &&
           strcmp(a->route, b->route) == 0;
}
