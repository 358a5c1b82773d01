/* What the gateway itself notes on sales, in the state beside their documents. */
#ifndef CFG_SALE_NOTES_H
#define CFG_SALE_NOTES_H

#include "gateway/config/kinds/sale_doc.h"
#include "gateway/config/store/store.h"

/* Notes the state of each of these sales as CFG_BY_GATEWAY: all, or none. Refused
 * or failed: see above; PS_E_NOT_FOUND, PS_E_NOMEM. */
int cfg_store_note_sales(struct cfg_store *store, const char *const *sales, size_t count,
                         enum cfg_sale_note note, cfg_done_fn *done, void *ctx) PS_MUST_CHECK;

#endif
