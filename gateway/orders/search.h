/* Searches for an order that the log does not show: a counter may have it for a moment, or for as
 * long as the log is away. The order's id fits its sale and few others (order_id.h); their counters
 * are asked one after the other, because a shared one answers later. One thread. */
#ifndef ORD_SEARCH_H
#define ORD_SEARCH_H

#include "gateway/snapshot/snapshot.h"
#include "inventory/store.h"

struct ord_search {
    struct ps_uuid id; /* set by the caller; the rest is zero at the start */
    int64_t version;   /* of the snapshot that `at` indexes */
    size_t at;
    bool unsure; /* a counter did not answer, or a sale that may have it is not served */
};

/* Continues the search. INV_DONE: *ret_sale's counter has the order, at reply_to.ret_entry.
 * INV_PENDING: reply_to.on_entry gets the reply; pass its result to ord_search_take.
 * PS_E_NOT_FOUND: no counter has it; PS_E_UNKNOWN: one that may have it could not be asked. */
int ord_search_run(struct ord_search *search, const struct snapshot *snapshot,
                   struct inv_store *store, struct inv_reply_to reply_to,
                   const struct snap_sale **ret_sale) PS_MUST_CHECK;

/* Takes a counter's later answer. Returns the sale whose counter has the order; NULL: continue with
 * ord_search_run, which starts anew if the snapshot was replaced meanwhile. */
const struct snap_sale *ord_search_take(struct ord_search *search, const struct snapshot *snapshot,
                                        int result);

#endif
