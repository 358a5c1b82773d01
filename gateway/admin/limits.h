/* What a change of a limit rule would have done in the last minute. */
#ifndef OP_LIMITS_H
#define OP_LIMITS_H

#include "gateway/admin/admin_internal.h"
#include "gateway/admission/limits/forecast.h"

struct op_forecast {
    bool from_trial; /* counted one by one, by the trial of the rule in force; else a sample */
    struct adm_forecast says; /* of a trial: without an error, one in 1 */
};

/* How many requests at this gateway the rule, as it would be, would have refused in the last
 * minute. From the trial of the rule of this name, if it has the same figures, counts the same
 * requests, and has counted for ten seconds. PS_E_NOMEM. */
int op_limit_forecast(const struct op_admin *admin, const struct cfg_limit_rule *rule,
                      struct op_forecast *ret_forecast) PS_MUST_CHECK;
/* The same as JSON: {"source","seconds","seen","refused","error","one_in","not_known"}. NULL: out
 * of memory. */
json_t *op_limit_forecast_json(const struct op_admin *admin, const struct cfg_limit_rule *rule);

#endif
