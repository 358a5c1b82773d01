/* Rules compiled once for all requests. */
#include "gateway/admission/limit_set.h"

#include <stdlib.h>

/* How many times the rate an IPv6 /48 has: as much as 16 of its /64. */
#define WIDE_SCALE 16

void *adm_limit_set_new(const struct cfg_limit_rule *rules, size_t count)
{
    /* One place more than is used: calloc may give NULL for none. */
    struct adm_limit_rule *set = calloc(count + 1, sizeof *set);

    for (size_t i = 0; set != NULL && i < count; i++) {
        adm_limit_compile(&rules[i], 1, &set[i].own);
        adm_limit_compile(&rules[i], WIDE_SCALE, &set[i].wide);
    }
    return set;
}
