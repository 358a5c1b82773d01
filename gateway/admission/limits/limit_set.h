/* The limit rules of a snapshot, and what admission makes of them. */
#ifndef ADM_LIMIT_SET_H
#define ADM_LIMIT_SET_H

#include "gateway/admission/limits/limit_figures.h"
#include "gateway/admission/limits/limiter.h"

/* An IPv6 /48 gets this many times the rate: as much as 16 of its /64. */
#define ADM_LIMIT_WIDE_SCALE 16

struct adm_limit_rule {
    struct adm_limit_compiled own;
    struct adm_limit_compiled wide; /* at 16 times the rate: for the /48 of an IPv6 address */
    struct adm_limit_figures *figures;
    struct adm_limit_compiled trial, trial_wide; /* where the rule has a trial */
};

struct adm_limit_set {
    size_t count;
    unsigned kinds; /* bit i: of enum cfg_limit_key i there is a rule that is not off */
    struct cfg_limit_rule *rules;    /* by name */
    struct adm_limit_rule *compiled; /* by the same index */
};

/* The rules are copied. Figures go on from those of the set `before` (NULL: none). NULL: out of
 * memory. The control thread. */
struct adm_limit_set *adm_limit_set_new(const struct cfg_limit_rule *rules, size_t count,
                                        const struct adm_limit_set *before) PS_MUST_CHECK;
void adm_limit_set_free(struct adm_limit_set *set); /* NULL is allowed */
/* Do both count the same requests by the same key and algorithm? */
bool adm_limit_same_requests(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b);
/* Call it each second or so, with monotonic time. The control thread. */
void adm_limit_set_tick(const struct adm_limit_set *set, int64_t now_ns);

/* Does the rule count with other figures, too? */
static inline bool adm_limit_has_trial(const struct cfg_limit_rule *rule)
{
    return rule->trial.rate > 0;
}

#endif
