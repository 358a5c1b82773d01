/* The limit rules of a snapshot, and what admission makes of them. */
#ifndef ADM_LIMIT_SET_H
#define ADM_LIMIT_SET_H

#include "gateway/admission/limits/limiter.h"

struct adm_limit_rule {
    struct adm_limit_compiled own;
    struct adm_limit_compiled wide; /* at 16 times the rate: for the /48 of an IPv6 address */
};

struct adm_limit_set {
    size_t count;
    struct cfg_limit_rule *rules;    /* by name */
    struct adm_limit_rule *compiled; /* by the same index */
};

/* The rules are copied. NULL: out of memory. */
struct adm_limit_set *adm_limit_set_new(const struct cfg_limit_rule *rules,
                                        size_t count) PS_MUST_CHECK;
void adm_limit_set_free(struct adm_limit_set *set); /* NULL is allowed */

#endif
