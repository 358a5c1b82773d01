/* What the workers use: one immutable snapshot of sales, limits, blocklist and pages. The control
 * thread builds a new one for each change (view.h), which shares all that did not change, and
 * publishes it; a worker swaps its pointer between two events, so the hot path takes no lock and no
 * reference count. */
#ifndef SNAP_SNAPSHOT_H
#define SNAP_SNAPSHOT_H

#include "gateway/admission/limits/blocklist.h"
#include "gateway/admission/limits/limit_set.h"
#include "gateway/admission/limits/watches.h"
#include "gateway/config/kinds/ref_key.h"
#include "gateway/config/kinds/rehearsal_key.h"
#include "gateway/snapshot/sale.h"
#include "gateway/upstream/pool.h"

struct snapshot {
    int64_t version;  /* of the snapshot: rises with each publication */
    int64_t revision; /* of the store */
    size_t sale_count;
    uint32_t index_end;
    struct snap_sale **sales; /* sorted by name */
    size_t twin_count;
    struct snap_sale **twins; /* of them the newest twin of each sale, sorted by twin_of */
    struct adm_limit_set *limits;
    struct adm_blocklist *blocklist;
    struct adm_watches *watches; /* NULL: nobody is watched */
    struct cfg_rehearsal_keys rehearsal_keys;
    struct cfg_ref_keys ref_keys;
    struct up_table *up_table; /* NULL: there are none */
    /* Private: what the next one does not have any more. */
    struct {
        struct snap_sale *first_sale, **sales;
        struct adm_limit_set *limits;
        struct adm_blocklist *blocklist;
        struct adm_watches *watches;
        struct up_table *up_table;
    } retired;
};

/* Sale by name, or NULL. */
const struct snap_sale *snapshot_sale(const struct snapshot *snapshot, const char *name,
                                      size_t len);
/* The sale that a buyer's request names: no twin. NULL: there is none. */
static inline const struct snap_sale *snapshot_buyers_sale(const struct snapshot *snapshot,
                                                           const char *name, size_t len)
{
    const struct snap_sale *sale = snapshot_sale(snapshot, name, len);
    return sale != NULL && !snap_sale_is_twin(sale) ? sale : NULL;
}
/* The sale of a rehearsal that names a sale: the newest twin of that sale, or the twin of this
 * name. NULL: there is none. All other requests get no twin. */
const struct snap_sale *snapshot_twin(const struct snapshot *snapshot, const char *name,
                                      size_t len);

/* Call it when no worker uses it any more. NULL is allowed. The last one is freed before its
 * view. */
void snapshot_free(struct snapshot *snapshot);
/* Private: sales linked by `retired`. */
void snapshot_free_retired(struct snap_sale *sale);

#endif
