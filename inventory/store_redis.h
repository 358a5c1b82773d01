/* The counter in Redis: many gateways, one count. One struct inv_redis a process, one store a
 * thread that runs a loop (a worker, the control thread), each with a link of its own; all of them
 * know the same sales by the same handles.
 *
 * What the store adds to the contract of store.h:
 *  - reservations that come within one turn of the loop travel as one script call for each sale,
 *    together with the verdicts that wait; so they are answered together, too.
 *  - the first thing on every connection is the server's identity (redis_link.h). A sale is used
 *    only where the identity is the one that it was installed under; elsewhere it is FENCED. So a
 *    Redis that restarted empty, was flushed or failed over is never counted with.
 *  - reserved_at and pay_by are of Redis's clock, the same for every gateway.
 *  - verdicts, raises and applied offsets are *effects*: kept in order until Redis has taken them,
 *    also under a later epoch (all of them are idempotent). They may wait some milliseconds for a
 *    reservation that takes them along.
 *  - a load has a connection of its own and keeps its thread waiting. Its epoch must be new: never
 *    begin a second load of one epoch, for parts of the first may still be under way.
 *    PS_E_UNKNOWN of install: look at inv_redis_cur, and begin anew with a new epoch if it does not
 *    show the load's soon. PS_E_BUSY of install: not all had arrived. */
#ifndef INV_STORE_REDIS_H
#define INV_STORE_REDIS_H

#include "common/redis_link.h"
#include "inventory/store.h"

struct inv_redis;

struct inv_redis_settings {
    struct ps_redis_settings link;
    int64_t load_timeout_ms; /* for each reply to a part of a load */
    int64_t linger_ms;       /* how long an effect waits for company */
};
extern const struct inv_redis_settings inv_redis_defaults;

/* `start` is this start of the gateway (a new one at each start): the owner of what it reserves.
 * PS_E_NOMEM. */
int inv_redis_new(const struct ps_redis_url *url, const struct inv_redis_settings *settings,
                  const struct ps_uuid *start, struct inv_redis **ret_redis) PS_MUST_CHECK;
/* After all its stores and loads; NULL is allowed. */
void inv_redis_free(struct inv_redis *redis);

/* The gateway's view of the log has reached an end that the log had at this moment or later, by
 * the monotonic clock of the system. "Sold out" is said without asking Redis only of what was
 * learnt before: so that nobody whose order is decided, but not yet in this view, hears it. Any
 * thread. */
void inv_redis_view_reached(struct inv_redis *redis, int64_t mono_ns);

/* Called on the store's thread. Any may be NULL. */
struct inv_redis_events {
    void (*on_ready)(void *ctx);
    void (*on_away)(int err, const char *why, void *ctx);
    /* Redis has said, or its identity says, that the sale's epoch is not in force there. Comes
     * again and again while somebody still asks. */
    void (*on_fenced)(struct inv_sale *sale, void *ctx);
    /* An error reply: `text` is Redis's own, and names the key if the key is the matter. */
    void (*on_error)(struct inv_sale *sale, int err, const char *text, void *ctx);
    void *ctx;
};

/* Starts to connect. PS_E_NOMEM, PS_E_IO. inv_store_free answers what is open (PS_E_UNKNOWN, or
 * PS_E_CLOSED if it was not sent) before it returns, and is not called from a callback; its memory
 * goes when the loop has closed its handles. */
int inv_store_redis_new(struct inv_redis *redis, uv_loop_t *loop,
                        const struct inv_redis_events *events,
                        struct inv_store **ret_store) PS_MUST_CHECK;

/* --- The rest is for a store that inv_store_redis_new made, on its thread. Asynchronous calls
 * answer as those of store.h: negative = nothing was sent and no callback comes; else INV_PENDING.
 * --- */

bool inv_redis_ready(const struct inv_store *store);
/* True while something is not sent or not answered. */
bool inv_redis_busy(const struct inv_store *store);
/* "host:port" of the present or last server. */
const char *inv_redis_server(const struct inv_store *store);
/* What the last load that failed was told by Redis; "" = nothing. Any thread. */
void inv_redis_load_error(const struct inv_store *store, char *ret_text, size_t cap);

/* Which epoch of a sale is installed on the server that this store speaks to. */
struct inv_redis_cur {
    int64_t epoch; /* -1: none */
    bool fits;     /* it was installed under this server's present identity */
};
typedef void inv_redis_cur_fn(uint64_t handle, int err, const struct inv_redis_cur *cur, void *ctx);
int inv_redis_cur(struct inv_store *store, const char *sale, inv_redis_cur_fn *done, void *ctx,
                  uint64_t handle) PS_MUST_CHECK;

/* Takes up what another gateway has installed: makes the sale known to all stores of the process,
 * or moves it to the installed epoch. `skus` as in inv_load_new (PS_E_INVALID: too many).
 * PS_E_NOT_FOUND: nothing is installed. PS_E_CONFLICT: it is of an epoch below `least_epoch`, the
 * identity does not fit, or the sale is known with other SKUs. */
typedef void inv_redis_attach_fn(uint64_t handle, int err, struct inv_sale *sale, void *ctx);
int inv_redis_attach(struct inv_store *store, const char *sale, int64_t least_epoch,
                     const char *const *skus, size_t sku_count, inv_redis_attach_fn *done,
                     void *ctx, uint64_t handle) PS_MUST_CHECK;

/* One page of what is in doubt. Walk from cursor 0 until the next cursor is 0 again: whatever was
 * in doubt during the whole walk is seen at least once, maybe more than once. Only what is at least
 * `age_ms` old comes, or has a negative age: Redis's clock was set back since. PS_E_CLOSED: also
 * when fenced. */
struct inv_redis_doubt {
    struct ps_uuid id;
    struct ps_uuid owner; /* the start that reserved it */
    bool lowering;        /* entry.key is its name */
    int64_t age_ms;       /* by Redis's clock */
    struct inv_entry entry;
};
typedef void inv_redis_doubt_fn(uint64_t handle, int err, const struct inv_redis_doubt *doubts,
                                size_t count, uint64_t next_cursor, void *ctx);
int inv_redis_doubts(struct inv_store *store, struct inv_sale *sale, uint64_t cursor,
                     int64_t age_ms, inv_redis_doubt_fn *done, void *ctx,
                     uint64_t handle) PS_MUST_CHECK;

/* Up to which offset of each partition the effects of the log are applied. An order of writing:
 * settle and raise what lies before an offset, then note the offset; Redis takes them in that
 * order. PS_E_NOMEM: not noted, because this effect or one since the last note was lost. */
int inv_redis_note_applied(struct inv_store *store, struct inv_sale *sale, uint32_t partition,
                           int64_t offset) PS_MUST_CHECK;
struct inv_redis_applied {
    uint32_t partition;
    int64_t offset;
};
typedef void inv_redis_applied_fn(uint64_t handle, int err, const struct inv_redis_applied *applied,
                                  size_t count, void *ctx);
int inv_redis_applied(struct inv_store *store, struct inv_sale *sale, inv_redis_applied_fn *done,
                      void *ctx, uint64_t handle) PS_MUST_CHECK;
/* The same of a load: the offsets that it was folded up to. Once a partition. */
int inv_redis_load_applied(struct inv_load *load, uint32_t partition, int64_t offset) PS_MUST_CHECK;

/* What a gateway says of itself. Numbers up to PS_INT_MAX. */
struct inv_redis_beat {
    char name[PS_NAME_MAX + 1];
    int64_t demand;    /* requests a second that the global limits are asked for */
    int64_t in_flight; /* orders that are reserved and not yet decided */
    int64_t spilled;   /* orders that lie in its spill */
    int64_t policy_version;
};
/* Which order log a gateway counts for. Redis counts for one (its key ps:log): for this one from
 * now on, if it `claims` a Redis that counts for none yet. */
struct inv_redis_log {
    const char *name; /* as people are told of it */
    bool claims;
};
struct inv_redis_member {
    struct ps_uuid start;
    int64_t age_ms; /* since it has last said so, by Redis's clock */
    struct inv_redis_beat beat;
};
struct inv_redis_pulse {
    int64_t now_ms; /* Redis's clock */
    /* NULL: well. Else this Redis counts for this log and not for the gateway's ("": for none, and
     * it was not claimed): the gateway is no member, and nothing else is told. */
    const char *other_log;
    const struct inv_redis_member *members; /* this one, too */
    size_t member_count;
    size_t sale_count; /* those that were asked about, in that order: */
    const struct inv_redis_pulse_sale {
        struct inv_sale *sale;
        /* NULL: well. Else a key of this sale is not one of ours: which, and what it is; the rest
         * says nothing. The reply's: copy it. */
        const char *foreign;
        struct inv_redis_cur cur;
        int64_t in_doubt; /* units of all its SKUs; -1 = its epoch is not in force here */
    } * sales;
};
typedef void inv_redis_pulse_fn(uint64_t handle, int err, const struct inv_redis_pulse *pulse,
                                void *ctx);
/* Says it, hears who else is there (also who has been silent for less than ten minutes), and learns
 * what is left of these sales where their epoch is in force. A foreign key of one sale is told with
 * that sale, and is no error of the pulse. `log` NULL: the gateway does not know its log yet. */
int inv_redis_pulse(struct inv_store *store, const struct inv_redis_beat *beat,
                    const struct inv_redis_log *log, struct inv_sale *const *sales,
                    size_t sale_count, inv_redis_pulse_fn *done, void *ctx,
                    uint64_t handle) PS_MUST_CHECK;

/* A lease is for economy, never for safety: it can end while its holder still acts on it. Taken or
 * renewed for `ttl_ms`, the same for all, unless another start holds it; 0 gives it back. `sale`
 * NULL: the keeper's; else that sale's rebuild. The answer says who holds it now (all zero: nobody)
 * and for how long still. */
typedef void inv_redis_lease_fn(uint64_t handle, int err, const struct ps_uuid *holder,
                                int64_t ttl_ms, void *ctx);
int inv_redis_lease(struct inv_store *store, const char *sale, int64_t ttl_ms,
                    inv_redis_lease_fn *done, void *ctx, uint64_t handle) PS_MUST_CHECK;

#endif
