/* What the workers go by: one immutable snapshot of sales, limits and blocklist. The control thread
 * builds a new one for each change, which shares all that did not change, and publishes it; a
 * worker swaps its pointer between two events, so the hot path takes no lock and no reference
 * count.
 *
 * A sale's phase is not stored: it follows from the clock, so that a sale opens at its millisecond
 * on every worker. */
#ifndef CFG_SNAPSHOT_H
#define CFG_SNAPSHOT_H

#include "gateway/config/blocklist.h"
#include "gateway/config/kinds/limit_rule.h"
#include "gateway/config/kinds/rehearsal_key.h"
#include "gateway/config/kinds/sale_doc.h"

struct inv_sale;
struct oq_sale;

struct cfg_sku {
    char name[PS_NAME_MAX + 1];
    int64_t cap;          /* 0 = none of its own */
    int64_t stock;        /* as planned in the document, shown before the sale is opened */
    char *public_members; /* `"price":{…},"attributes":{…}`, as JSON text, heap */
};

/* What the sales room knows of a sale on this gateway. */
struct cfg_sale_run {
    /* NULL until the sale is opened: its stock is in the log and in the counter. After a start the
     * log's sale of one that was opened before is there first. */
    struct inv_sale *counter;
    struct oq_sale *log_sale;
    int64_t epoch;
    bool fenced;   /* its epoch has ended, or may have: buyers are told to come again */
    bool unserved; /* it was opened, and its counter is not known here */
    bool archived; /* nothing of it is known here any more */
};

struct cfg_sale {
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
    struct inv_sale *counter; /* these five: cfg_sale_run */
    struct oq_sale *log_sale;
    int64_t epoch;
    bool fenced;
    bool unserved;
    uint32_t index; /* below cfg_snapshot.index_end, of no other sale: for tables of workers */
    size_t sku_count;
    struct cfg_sku *skus;     /* in the order of the counter's and the fold's index */
    struct cfg_sale *retired; /* inside: the next one that is freed with the same snapshot */
};

/* The rules, and what admission has made of them (cfg_view_callbacks.compile). */
struct cfg_limits {
    size_t count;
    struct cfg_limit_rule *rules; /* by name */
    void *compiled;
    void (*free_compiled)(void *compiled);
};

struct cfg_snapshot {
    int64_t version;  /* of the snapshot: rises with each publication */
    int64_t revision; /* of the store */
    size_t sale_count;
    uint32_t index_end;
    struct cfg_sale **sales; /* sorted by name */
    size_t twin_count;
    struct cfg_sale **twins; /* of them the newest twin of each sale, sorted by twin_of */
    struct cfg_limits *limits;
    struct cfg_blocklist *blocklist;
    struct cfg_rehearsal_keys rehearsal_keys;
    void *pages; /* cfg_view_callbacks.pages: a struct up_table; NULL: there are none */
    /* Inside: what the next one has no more. */
    struct {
        struct cfg_sale *first_sale, **sales;
        struct cfg_limits *limits;
        struct cfg_blocklist *blocklist;
        void *pages;
    } retired;
    void (*drop_pages)(void *pages); /* inside */
};

/* --- Built by the control thread. --- */

/* What is to be published: the one place that changes. */
struct cfg_view;

struct cfg_view_callbacks {
    void *ctx;
    /* What the sales room knows of the sale; NULL: nothing. */
    void (*decorate)(void *ctx, const char *sale, struct cfg_sale_run *ret_run);
    /* The name of a SKU by its place in the log; NULL: there is none. */
    const char *(*log_sku)(const struct oq_sale *sale, uint32_t place);
    /* What admission makes of the rules; NULL: out of memory. Both NULL: nothing. */
    void *(*compile)(const struct cfg_limit_rule *rules, size_t count);
    void (*free_compiled)(void *compiled);
    /* What pools, routes and caches make together, built anew; NULL: out of memory. It goes by
     * drop_pages when no snapshot has it any more. Both NULL: nothing. */
    void *(*pages)(void *ctx);
    void (*drop_pages)(void *pages);
};

int cfg_view_new(struct cfg_view **ret_view) PS_MUST_CHECK;
void cfg_view_free(struct cfg_view *view); /* NULL is allowed */
/* Before the first snapshot is built. */
void cfg_view_set_callbacks(struct cfg_view *view, const struct cfg_view_callbacks *callbacks);
/* A sale came into force (`doc` NULL: it is deleted). PS_E_NOMEM. */
int cfg_view_put_sale(struct cfg_view *view, const char *name, const struct cfg_sale_doc *doc,
                      const struct cfg_sale_state *state) PS_MUST_CHECK;
/* The rules have changed: `rules` (taken over, heap) are all, by name. */
void cfg_view_set_rules(struct cfg_view *view, struct cfg_limit_rule *rules, size_t count);
/* These are all keys, copied. */
void cfg_view_set_rehearsal_keys(struct cfg_view *view, const struct cfg_rehearsal_keys *keys);
/* The next snapshot has pages of its own. */
void cfg_view_pages_changed(struct cfg_view *view);
/* To be changed in place. */
struct cfg_blocklist *cfg_view_blocklist(struct cfg_view *view);
/* What the sales room knows of the sale has changed; NULL: of any, which is asked for when the next
 * snapshot is built. */
void cfg_view_decorate(struct cfg_view *view, const char *sale);
/* The one built before may be freed when no worker uses it any more, and must be before another
 * one is built. PS_E_NOMEM: what was to be published stays so. */
int cfg_view_snapshot(struct cfg_view *view, int64_t version, int64_t revision,
                      struct cfg_snapshot **ret_snapshot) PS_MUST_CHECK;

/* NULL is allowed. The last one is freed before its view. */
void cfg_snapshot_free(struct cfg_snapshot *snapshot);

/* --- Read by everybody. --- */

/* Sale by name, or NULL. */
const struct cfg_sale *cfg_snapshot_sale(const struct cfg_snapshot *snapshot, const char *name,
                                         size_t len);
/* What a rehearsal that names a sale gets: the newest twin of that sale, or the twin of this name.
 * NULL: there is none. Everybody else gets what is no twin. */
const struct cfg_sale *cfg_snapshot_twin(const struct cfg_snapshot *snapshot, const char *name,
                                         size_t len);
static inline bool cfg_sale_is_twin(const struct cfg_sale *sale)
{
    return sale->twin_of[0] != '\0';
}
enum cfg_phase cfg_sale_phase(const struct cfg_sale *sale, int64_t wall_ms);
/* PS_E_NOT_FOUND */
int cfg_sale_sku(const struct cfg_sale *sale, const char *name, size_t len,
                 uint32_t *ret_sku) PS_MUST_CHECK;

#endif
