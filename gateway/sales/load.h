/* A sale's counters from the fold: what a rebuild puts in force. */
#ifndef SALE_LOAD_H
#define SALE_LOAD_H

#include "gateway/core.h"

/* Fills counters under `epoch` and installs them; with Redis this takes as long as it takes to send
 * it all. A counter in memory: on the log's thread, or before it runs. One in Redis: any thread,
 * beside the log's, once the fold shows the sale's fences of this epoch in every partition.
 *
 * The sale's own SKUs are the first `sku_count` of the fold (sale_opening_check); what a stranger's
 * record has named behind them counts for nobody. `stop` (may be NULL): given up soon when it is
 * set, PS_E_CLOSED. *ret_counter is the handle. Errors as of inv_load_install. */
int sale_load(const struct gw_core *core, const struct oq_sale *books, size_t sku_count,
              int64_t epoch, const _Atomic(bool) *stop,
              struct inv_sale **ret_counter) PS_MUST_CHECK;

#endif
