/* `seed` of the settings file: a bundle that a gateway begins with. It is taken at the first start,
 * when nobody has decided anything yet; afterwards it changes nothing. */
#ifndef CFG_SEED_H
#define CFG_SEED_H

#include "gateway/config/store/store.h"

/* Checks it, as --check-config and the start do. PS_E_INVALID: all faults are added, their paths
 * begin with /seed. */
int cfg_seed_check(const json_t *seed, const struct cfg_bounds *bounds,
                   struct ps_faults *faults) PS_MUST_CHECK;

/* Submits it as one change by "settings", all of it or nothing. Where there are documents, or were,
 * one warning names those that differ. In a cluster that happens when it is known what is there
 * (cfg_store_is_synced); of gateways that start at once one is first. Checked before; a new
 * reference is taken where it has to wait. PS_E_INVALID, PS_E_CONFLICT: its documents do not fit
 * together, which is logged; PS_E_NOMEM. */
int cfg_seed(struct cfg_store *store, json_t *seed);

#endif
