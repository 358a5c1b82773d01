/* What the workers go by: one immutable snapshot of sales, limits and blocklist. The control thread
 * builds a whole new one for each change and publishes it (core.h); a worker swaps its pointer
 * between two events, so the hot path takes no lock and no reference count.
 *
 * A sale's phase is not stored: it follows from the clock, so that a sale opens at its millisecond
 * on every worker. */
#ifndef CFG_SNAPSHOT_H
#define CFG_SNAPSHOT_H

#include "common/err.h"
#include "common/id.h"
#include "gateway/admission/limiter.h"
#include "gateway/config/limit_rule.h"
#include "gateway/config/sale_doc.h"
#include "gateway/public/client.h"
#include "inventory/store.h"
#include "queue/fold.h"

enum cfg_phase { CFG_PHASE_SCHEDULED, CFG_PHASE_OPEN, CFG_PHASE_PAUSED, CFG_PHASE_ENDED };

struct cfg_sku {
    char name[PS_NAME_MAX + 1];
    int64_t cap;          /* 0 = none of its own */
    int64_t stock;        /* as planned in the document, shown before the sale is armed */
    char *public_members; /* `"price":{…},"attributes":{…}`, as JSON text, heap */
};

struct cfg_sale {
    char name[PS_NAME_MAX + 1];
    int64_t version;
    int64_t opens_at_ms;
    int64_t closes_at_ms; /* INT64_MAX = none */
    bool draft;           /* no opens_at yet */
    bool paused;
    bool ended; /* by an operator */
    bool rehearsal;
    int64_t cap;
    int64_t ttl_ms;
    char *attributes; /* JSON text, heap */
    /* NULL until the sale is armed: its stock is in the log and in the counter. After a start the
     * books of a sale that was opened before are there first. */
    struct inv_sale *counter;
    struct oq_sale *books;
    int64_t epoch;
    bool fenced;    /* its epoch has ended, or may have: buyers are told to come again */
    bool unserved;  /* as sale_is_unserved */
    uint32_t index; /* position in cfg_snapshot.sales: a worker's page cache uses it */
    size_t sku_count;
    struct cfg_sku *skus; /* in the order of the counter's and the fold's index */
};

struct cfg_snapshot {
    int64_t version; /* of the snapshot: rises with each publication */
    size_t sale_count;
    struct cfg_sale **sales; /* sorted by name */
    size_t rule_count;
    struct cfg_limit_rule *rules; /* the compiled form stands beside, same index */
    struct adm_limit_compiled *compiled;
    struct adm_limit_compiled *wide; /* at 16 times the rate: for the /48 of an IPv6 address */
    struct cfg_blocklist *blocklist;
};

/* --- Built by the control thread. --- */

/* What a snapshot shows of a sale; the caller then sets counter, books and epoch. PS_E_NOMEM. */
int cfg_sale_new(const char *name, const struct cfg_sale_doc *doc,
                 const struct cfg_sale_state *state, struct cfg_sale **ret_sale) PS_MUST_CHECK;
void cfg_sale_free(struct cfg_sale *sale); /* NULL is allowed; not counter and books */
/* Brings the SKUs into the order of the log: the place that each got there when its stock landed.
 * It is that of the document, unless a disk failed in the middle of the opening. */
void cfg_sale_order_skus(struct cfg_sale *sale, const struct oq_sale *books);
/* Sorts and numbers the sales, compiles the rules. On success it owns the sales, and the blocklist
 * (not NULL); the arrays stay the caller's and rules are copied. On failure the caller keeps all.
 * PS_E_NOMEM. */
int cfg_snapshot_new(int64_t version, struct cfg_sale *const *sales, size_t sale_count,
                     const struct cfg_limit_rule *rules, size_t rule_count,
                     struct cfg_blocklist *blocklist,
                     struct cfg_snapshot **ret_policy) PS_MUST_CHECK;

/* --- Read by everybody. --- */

/* Sale by name, or NULL. */
const struct cfg_sale *cfg_snapshot_sale(const struct cfg_snapshot *policy, const char *name,
                                         size_t len);
enum cfg_phase cfg_sale_phase(const struct cfg_sale *sale, int64_t wall_ms);
/* PS_E_NOT_FOUND */
int cfg_sale_sku(const struct cfg_sale *sale, const char *name, size_t len,
                 uint32_t *ret_sku) PS_MUST_CHECK;
/* NULL is allowed; frees everything above but counter and books. */
void cfg_snapshot_free(struct cfg_snapshot *policy);

/* Users and address ranges that are refused. Entries end by wall clock. */
struct cfg_blocked_user {
    char user[PS_USER_MAX + 1];
    int64_t until_ms; /* INT64_MAX = for good */
};
struct cfg_blocked_range {
    struct ps_cidr range;
    int64_t until_ms;
};
int cfg_blocklist_new(const struct cfg_blocked_user *users, size_t user_count,
                      const struct cfg_blocked_range *ranges, size_t range_count,
                      struct cfg_blocklist **ret_blocklist) PS_MUST_CHECK;
void cfg_blocklist_free(struct cfg_blocklist *blocklist); /* NULL is allowed */
/* One look-up for the user, one for each prefix length that is in use: the cost does not grow with
 * the number of entries. `user.len` 0 = address only. Any thread. */
bool cfg_blocklist_has(const struct cfg_blocklist *blocklist, struct ps_str user,
                       const struct ps_address *address, int64_t wall_ms);

#endif
