/* `seed` of the settings file: a bundle that a gateway begins with. It applies at the first start,
 * while nobody has decided anything yet; later it changes nothing. */
#ifndef CFG_SEED_H
#define CFG_SEED_H

#include "gateway/config/store/store.h"

/* Checks it, as --check-config and the start do. PS_E_INVALID: all faults are added, their paths
 * begin with /seed. */
int cfg_seed_check(const json_t *seed, const struct cfg_bounds *bounds,
                   struct ps_faults *faults) PS_MUST_CHECK;

/* Submits it as one change by "settings", all of it or nothing. If the store has, or had,
 * documents, one warning names those that differ. In a cluster this waits until the cluster's
 * documents are known (cfg_store_is_synced); of gateways that start at once the first wins. The
 * seed was checked before; it takes a new reference if it has to wait. PS_E_INVALID, PS_E_CONFLICT:
 * its documents do not fit together, which is logged; PS_E_NOMEM. */
int cfg_seed(struct cfg_store *store, json_t *seed);

#endif
