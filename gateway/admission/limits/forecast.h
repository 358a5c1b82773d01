/* What a limit rule would have refused in the last minute, from the sample (sample.h).
 *
 * A rule by user or address is applied to the requests of the keys that were chosen, with the very
 * functions that limit requests: without a level above 0 the number is exact, and with one it is
 * never said to be. A rule whose requests
 * are counted together gets those that were chosen, each for 2^level, in amounts that need not be
 * whole. Either begins with full buckets and empty windows, as if nothing had come before. */
#ifndef ADM_FORECAST_H
#define ADM_FORECAST_H

#include "gateway/admission/limits/sample.h"

struct adm_forecast {
    int64_t took_ns;       /* the time that it is about, up to now */
    int64_t seen, refused; /* requests at the rule's gate, and of them */
    /* `refused` is right to this many requests in 19 of 20 cases: twice the standard error of what
     * was chosen. */
    int64_t error;
    bool may_miss_keys; /* of keys that were not looked at: one that sends very much is not in it */
    bool one_key_dominates; /* more than half of `refused` are one key's and those it stands for */
    int64_t one_in;         /* keys, or requests, of which one was looked at */
};

/* `share` is this gateway's part of a rule that the cluster shares, above 0 and up to 1. Any mode
 * but off counts as enforce. Takes about a millisecond. The control thread. PS_E_NOMEM. */
int adm_forecast(const struct adm_limit_samples *samples, const struct cfg_limit_rule *rule,
                 double share, int64_t now_ns, struct adm_forecast *ret_forecast) PS_MUST_CHECK;

#endif
