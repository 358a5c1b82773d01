/* Rules compiled once for all requests. */
#include "gateway/admission/limits/limit_set.h"

#include <stdlib.h>
#include <string.h>

/* An IPv6 /48 gets this many times the rate: as much as 16 of its /64. */
#define WIDE_SCALE 16

struct adm_limit_set *adm_limit_set_new(const struct cfg_limit_rule *rules, size_t count)
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
        adm_limit_compile(&rules[i], 1, &set->compiled[i].own);
        adm_limit_compile(&rules[i], WIDE_SCALE, &set->compiled[i].wide);
    }
    return set;
}

void adm_limit_set_free(struct adm_limit_set *set)
{
    if (set == NULL)
        return;
    free(set->rules);
    free(set->compiled);
    free(set);
}
