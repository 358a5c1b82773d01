/* Reads and frees snapshots. Sales are found by binary search over the sorted names. */
#include "gateway/snapshot/snapshot.h"

#include "common/sorted.h"

#include <sodium.h>
#include <stdlib.h>

static int compare_with_sale(const void *name, const void *sale)
{
    return ps_str_compare(*(const struct ps_str *)name,
                          ps_str((*(struct snap_sale *const *)sale)->name));
}

static int compare_with_twin(const void *name, const void *sale)
{
    return ps_str_compare(*(const struct ps_str *)name,
                          ps_str((*(struct snap_sale *const *)sale)->twin_of));
}

const struct snap_sale *snapshot_sale(const struct snapshot *snapshot, const char *name, size_t len)
{
    const struct ps_str key = {name, len};
    struct snap_sale *const *sale = ps_sorted_find(&key, snapshot->sales, snapshot->sale_count,
                                                   sizeof *sale, compare_with_sale);

    return sale != NULL ? *sale : NULL;
}

const struct snap_sale *snapshot_twin(const struct snapshot *snapshot, const char *name, size_t len)
{
    const struct ps_str key = {name, len};
    struct snap_sale *const *twin = ps_sorted_find(&key, snapshot->twins, snapshot->twin_count,
                                                   sizeof *twin, compare_with_twin);

    if (twin != NULL)
        return *twin;
    const struct snap_sale *sale = snapshot_sale(snapshot, name, len);
    return sale != NULL && snap_sale_is_twin(sale) ? sale : NULL;
}

void snapshot_free_retired(struct snap_sale *sale)
{
    while (sale != NULL) {
        struct snap_sale *next = sale->retired;
        snap_sale_free(sale);
        sale = next;
    }
}

void snapshot_free(struct snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    snapshot_free_retired(snapshot->retired.first_sale);
    free(snapshot->retired.sales);
    adm_limit_set_free(snapshot->retired.limits);
    adm_blocklist_free(snapshot->retired.blocklist);
    adm_watches_free(snapshot->retired.watches);
    up_table_drop(snapshot->retired.up_table);
    sodium_memzero(&snapshot->rehearsal_keys, sizeof snapshot->rehearsal_keys);
    sodium_memzero(&snapshot->ref_keys, sizeof snapshot->ref_keys);
    free(snapshot);
}
