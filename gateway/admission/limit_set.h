/* The limit rules of a snapshot as the gates ask them. */
#ifndef ADM_LIMIT_SET_H
#define ADM_LIMIT_SET_H

#include "gateway/admission/limiter.h"

/* What admission keeps of a rule: beside it (cfg_limits.rules) in an array of the same index. */
struct adm_limit_rule {
    struct adm_limit_compiled own;
    struct adm_limit_compiled wide; /* at 16 times the rate: for the /48 of an IPv6 address */
};

/* Of all rules, heap; free() frees it. NULL: out of memory. */
void *adm_limit_set_new(const struct cfg_limit_rule *rules, size_t count) PS_MUST_CHECK;

#endif
