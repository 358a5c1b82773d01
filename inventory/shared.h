/* What gateways do through a store that they share, besides counting: take up what another
 * gateway has installed, find undecided entries, note how far the log is applied, exchange
 * heartbeats, and hold leases. Only for a store for which inv_store_is_shared() is true, on its
 * thread.
 *
 * Asynchronous calls behave as those of store.h: negative = nothing was sent and no callback
 * comes; else INV_PENDING, and the callback comes exactly once. Its arguments are valid until it
 * returns. */
#ifndef INV_SHARED_H
#define INV_SHARED_H

#include "inventory/store.h"

/* Which epoch of a sale is installed on the server that this store speaks to. */
struct inv_installed {
    int64_t epoch; /* -1: none */
    bool fits;     /* it was installed under this server's present identity */
};
typedef void inv_installed_fn(int err, const struct inv_installed *installed, void *ctx);
int inv_shared_installed(struct inv_store *store, const char *sale, inv_installed_fn *done,
                         void *ctx) PS_MUST_CHECK;

/* Takes up what another gateway has installed: makes the sale known to all stores of the process,
 * or moves it to the installed epoch. PS_E_INVALID: too many SKUs. PS_E_NOT_FOUND: nothing is
 * installed. PS_E_CONFLICT: it is of an epoch below `least_epoch`, the identity does not fit, or
 * the sale is known with other SKUs. */
struct inv_attach {
    const char *sale;
    int64_t least_epoch;
    const char *const *skus; /* as in inv_load_new */
    size_t sku_count;
};
typedef void inv_attached_fn(int err, struct inv_sale *sale, void *ctx);
int inv_shared_attach(struct inv_store *store, const struct inv_attach *what, inv_attached_fn *done,
                      void *ctx) PS_MUST_CHECK;

/* One page of what is in doubt. Walk from cursor 0 until the next cursor is 0 again: whatever was
 * in doubt during the whole walk comes at least once, maybe more than once. Only what is at least
 * `age_ms` old comes, or has a negative age: the server's clock was set back since. PS_E_CLOSED:
 * also when fenced. */
struct inv_doubt {
    struct ps_uuid id;
    struct ps_uuid owner; /* the start that reserved it */
    bool lowering;        /* entry.key is its name */
    int64_t age_ms;       /* by the server's clock */
    struct inv_entry entry;
};
typedef void inv_doubts_fn(int err, const struct inv_doubt *doubts, size_t count,
                           uint64_t next_cursor, void *ctx);
int inv_shared_doubts(struct inv_store *store, struct inv_sale *sale, uint64_t cursor,
                      int64_t age_ms, inv_doubts_fn *done, void *ctx) PS_MUST_CHECK;

/* The counter's view of some orders and their buyers, and the numbers of all SKUs, at one moment.
 * At most INV_LOOK_MAX orders; none: only the numbers. `order_ids` and `users` are needed for the
 * call only. PS_E_CLOSED: also when fenced. */
#define INV_LOOK_MAX 100
struct inv_look {
    size_t count;
    const struct ps_uuid *order_ids;
    const struct ps_str *users; /* the buyer of each order */
};
struct inv_seen {
    bool known;          /* the counter has the order, in state: */
    int state;           /* as in struct inv_entry */
    int64_t buyer_units; /* which count against the buyer's cap, over all SKUs */
};
struct inv_looked {
    const struct inv_count *counts; /* inv_sale_sku_count many */
    /* For each SKU the sum of all orders and lowerings in doubt. NULL: too many for one call. */
    const int64_t *in_doubt;
    const struct inv_seen *seen; /* as many as were asked for */
};
typedef void inv_looked_fn(int err, const struct inv_looked *looked, void *ctx);
int inv_shared_look(struct inv_store *store, struct inv_sale *sale, const struct inv_look *what,
                    inv_looked_fn *done, void *ctx) PS_MUST_CHECK;

/* Up to which offset of each partition the effects of the log are applied. Resolve and raise
 * everything before an offset, then note the offset: the server gets them in that order.
 * PS_E_NOMEM: not noted, because this effect or one since the last note was lost. */
int inv_shared_note_applied(struct inv_store *store, struct inv_sale *sale, uint32_t partition,
                            int64_t offset) PS_MUST_CHECK;
struct inv_applied {
    uint32_t partition;
    int64_t offset;
};
/* `epoch`: of these offsets. */
typedef void inv_applied_fn(int err, int64_t epoch, const struct inv_applied *applied, size_t count,
                            void *ctx);
int inv_shared_applied(struct inv_store *store, struct inv_sale *sale, inv_applied_fn *done,
                       void *ctx) PS_MUST_CHECK;

/* What a gateway reports about itself. Numbers up to PS_INT_MAX. */
struct inv_heartbeat {
    char name[PS_NAME_MAX + 1];
    int64_t demand;    /* requests per second that global limits check */
    int64_t in_flight; /* orders that are reserved and not yet decided */
    int64_t spilled;   /* orders that lie in its spill */
    int64_t snapshot_version;
};
/* The order log of a gateway. A server is used for one log: from now on for this one, if the
 * gateway `claims` a server that is used for none yet. */
struct inv_log_claim {
    const char *name; /* as messages show it */
    bool claims;
};
struct inv_heartbeat_call {
    const struct inv_heartbeat *heartbeat;
    const struct inv_log_claim *log; /* NULL: the gateway does not know its log yet */
    struct inv_sale *const *sales;   /* to be asked about */
    size_t sale_count;
};
struct inv_member {
    struct ps_uuid start;
    int64_t age_ms; /* since its last heartbeat, by the server's clock */
    struct inv_heartbeat heartbeat;
};
struct inv_sale_state {
    struct inv_sale *sale;
    /* NULL: none. Else a key of this sale that another program wrote: which, and what it is; the
     * rest says nothing. */
    const char *foreign;
    struct inv_installed installed;
    int64_t in_doubt; /* units of all its SKUs; -1 = its epoch is not in force here */
};
struct inv_heartbeat_reply {
    int64_t now_ms; /* the server's clock */
    /* NULL: none. Else this server is used for this log and not for the gateway's ("": for none,
     * and it was not claimed): the gateway is no member, and the rest is empty. */
    const char *other_log;
    const struct inv_member *members; /* this gateway, too */
    size_t member_count;
    const struct inv_sale_state *sales; /* as they were asked about */
    size_t sale_count;
};
typedef void inv_heartbeat_fn(int err, const struct inv_heartbeat_reply *reply, void *ctx);
/* Sends a heartbeat; returns the gateways (including those that were silent for less than ten
 * minutes) and the state of these sales, and updates what is left of those in force. A foreign key
 * of one sale is reported with that sale, and is no error of the heartbeat. */
int inv_shared_heartbeat(struct inv_store *store, const struct inv_heartbeat_call *call,
                         inv_heartbeat_fn *done, void *ctx) PS_MUST_CHECK;

/* A lease saves work; safety never depends on it: it can end while its holder still acts on it. It
 * is taken or renewed for `ttl_ms`, the same for all, unless another start holds it; 0 releases it.
 * `sale` NULL: the leader's; else that sale's rebuild. The callback gets the start that holds it
 * now (all zero: none) and for how long. */
typedef void inv_lease_fn(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx);
int inv_shared_lease(struct inv_store *store, const char *sale, int64_t ttl_ms, inv_lease_fn *done,
                     void *ctx) PS_MUST_CHECK;

#endif
