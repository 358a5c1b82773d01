/* sales[] and policy{} of the settings file: they create what is not there yet, and never change
 * what operators have changed since. */
#ifndef GW_SEED_H
#define GW_SEED_H

#include "gateway/control/control.h"

/* Checks both, as --check-config and the start do. PS_E_INVALID: the fault's path begins with
 * /sales or /policy. */
int gw_seed_check(const json_t *sales, const json_t *policy, struct ps_fault *fault) PS_MUST_CHECK;

/* Submits what is new as changes by "settings"; what is there and differs is one warning that names
 * the differing members. Checked before. */
void gw_seed(struct gw_control *control, const json_t *sales, const json_t *policy);

#endif
