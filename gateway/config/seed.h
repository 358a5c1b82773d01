/* sales[] and policy{} of the settings file: they create what is not there yet, and never change
 * what operators have changed since. */
#ifndef CFG_SEED_H
#define CFG_SEED_H

#include "gateway/config/store/store.h"

/* Checks both, as --check-config and the start do. PS_E_INVALID: all faults are added, their paths
 * begin with /sales or /policy. */
int cfg_seed_check(const json_t *sales, const json_t *policy, const struct cfg_bounds *bounds,
                   struct ps_faults *faults) PS_MUST_CHECK;

/* Submits what is new as changes by "settings"; what is there and differs is one warning that names
 * the differing members. In a cluster that happens when it is known what is there
 * (cfg_store_is_synced); of gateways with the same seeds one writes them, and a sale that was
 * deleted is not made again. Checked before; new references are taken where they have to wait. */
void cfg_seed(struct cfg_store *store, json_t *sales, json_t *policy);

#endif
