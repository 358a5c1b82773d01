/* One sale as workers see it: its document and what the sales room knows of it on this gateway.
 * Immutable once a snapshot has it.
 *
 * A sale's phase is not stored: it follows from the clock, so that a sale opens at its millisecond
 * on every worker. */
#ifndef SNAP_SALE_H
#define SNAP_SALE_H

#include "gateway/config/kinds/sale_doc.h"
#include "gateway/snapshot/sale_figures.h"
#include "inventory/store.h"
#include "queue/fold.h"

struct snap_sku {
    char name[PS_NAME_MAX + 1];
    int64_t cap;          /* 0 = none of its own */
    int64_t stock;        /* as planned in the document, shown before the sale is opened */
    char *public_members; /* `"price":{…},"attributes":{…}`, as JSON text, heap */
};

/* The sale's state on this gateway, from the sales room. */
struct snap_sale_run {
    /* NULL until the sale is opened: its stock is in the log and in the counter. After a start the
     * log's sale of one that was opened before is there first. */
    struct inv_sale *counter;
    struct oq_sale *log_sale;
    int64_t epoch;
    bool fenced;   /* its epoch has ended, or may have: buyers must come again */
    bool unserved; /* it was opened, and its counter is unknown here */
    bool archived; /* nothing of it is here any more */
};

struct snap_sale {
    char name[PS_NAME_MAX + 1];
    int64_t version;
    int64_t opens_at_ms;
    int64_t closes_at_ms; /* INT64_MAX = none */
    bool draft;           /* no opens_at yet */
    bool paused;
    bool ended; /* by an operator */
    bool archived;
    bool rehearsal;
    char twin_of[PS_NAME_MAX + 1]; /* the sale whose rehearsals it serves; "" = none */
    int64_t created_at_ms;
    int64_t cap;
    int64_t ttl_ms;
    char *attributes;         /* JSON text, heap */
    struct inv_sale *counter; /* these five: snap_sale_run */
    struct oq_sale *log_sale;
    int64_t epoch;
    bool fenced;
    bool unserved;
    struct snap_figures *figures; /* NULL: it has no counter yet, or memory was short */
    uint32_t index; /* below snapshot.index_end, of no other sale: for tables of workers */
    size_t sku_count;
    struct snap_sku *skus;     /* in the order of the counter's and the fold's index */
    struct snap_sale *retired; /* private: the next one that is freed with the same snapshot */
};

/* Are its orders in its archive, and no longer in the fold? The log's thread says so before the
 * fold forgets the first of them, so ask after an order was not found. Any thread. */
static inline bool snap_sale_is_archived(const struct snap_sale *sale)
{
    return sale->archived || (sale->log_sale != NULL && oq_sale_archived(sale->log_sale));
}
enum cfg_phase snap_sale_phase(const struct snap_sale *sale, int64_t wall_ms);
/* PS_E_NOT_FOUND */
int snap_sale_sku(const struct snap_sale *sale, const char *name, size_t len,
                  uint32_t *ret_sku) PS_MUST_CHECK;
static inline bool snap_sale_is_twin(const struct snap_sale *sale)
{
    return sale->twin_of[0] != '\0';
}

/* --- Made by the control thread. --- */

/* NULL: out of memory. */
struct snap_sale *snap_sale_new(const char *name, const struct cfg_sale_doc *doc,
                                const struct cfg_sale_state *state);
struct snap_sale *snap_sale_copy(const struct snap_sale *from);
void snap_sale_free(struct snap_sale *sale); /* NULL is allowed */
/* Does the sale already have this state? */
bool snap_sale_is_run(const struct snap_sale *sale, const struct snap_sale_run *run);
/* Also sorts the SKUs in the order of the log. For a sale that is in no snapshot. */
void snap_sale_set_run(struct snap_sale *sale, const struct snap_sale_run *run);

#endif
