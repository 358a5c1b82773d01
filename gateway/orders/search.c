/* The search's position is an index into the sales of one snapshot. */
#include "gateway/orders/search.h"

#include "gateway/orders/order_id.h"

const struct snap_sale *ord_search_take(struct ord_search *search, const struct snapshot *snapshot,
                                        int result)
{
    if (search->version != snapshot->version) {
        search->version = snapshot->version;
        search->at = 0;
        return NULL;
    }
    const struct snap_sale *sale = snapshot->sales[search->at];
    bool archived = snap_sale_is_archived(sale); /* then its counter is only about to be emptied */
    if (result == INV_DONE && !archived)
        return sale;
    search->unsure |= result != INV_DONE && result != PS_E_NOT_FOUND && !archived;
    search->at++;
    return NULL;
}

int ord_search_run(struct ord_search *search, const struct snapshot *snapshot,
                   struct inv_store *store, struct inv_reply_to reply_to,
                   const struct snap_sale **ret_sale)
{
    if (search->version != snapshot->version) {
        search->version = snapshot->version;
        search->at = 0;
    }
    while (search->at < snapshot->sale_count) {
        const struct snap_sale *sale = snapshot->sales[search->at];
        bool fits = ord_order_id_fits(&search->id, sale->name) && !snap_sale_is_archived(sale);
        if (!fits || sale->counter == NULL) {
            search->unsure |= fits && sale->unserved;
            search->at++;
            continue;
        }
        int result = inv_store_find(store, sale->counter, &search->id, reply_to);
        if (result == INV_PENDING)
            return INV_PENDING;
        *ret_sale = ord_search_take(search, snapshot, result);
        if (*ret_sale != NULL)
            return INV_DONE;
    }
    return search->unsure ? PS_E_UNKNOWN : PS_E_NOT_FOUND;
}
