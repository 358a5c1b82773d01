/* The counter in Redis: many gateways, one count. One struct inv_redis a process, one store a
 * thread that runs a loop (a worker, the control thread), each with a link of its own; all of them
 * know the same sales by the same handles.
 *
 * What the store adds to the contract of store.h:
 *  - reservations that come within one turn of the loop travel as one script call for each sale,
 *    together with the verdicts that wait; so they are answered together, too.
 *  - the first thing on every connection is the server's identity (redis_link.h). A sale is used
 *    only where the identity is the one that it was installed under; elsewhere it is FENCED. So a
 *    Redis that restarted empty, was flushed or failed over is never used.
 *  - reserved_at and pay_by are of Redis's clock, the same for every gateway.
 *  - verdicts, raises and applied offsets are *effects*: kept in order until Redis has taken them,
 *    also under a later epoch (all of them are idempotent). They may wait some milliseconds for a
 *    reservation that takes them along.
 *  - a load has a connection of its own and keeps its thread waiting. Its epoch must be new: never
 *    begin a second load of one epoch, because parts of the first may still arrive.
 *    PS_E_UNKNOWN of install: look at inv_shared_installed, and begin anew with a new epoch if it
 * does not show the load's soon. PS_E_BUSY of install: not all had arrived. */
#ifndef INV_STORE_REDIS_H
#define INV_STORE_REDIS_H

#include "common/redis/redis_link.h"
#include "inventory/store.h"

struct inv_redis;

struct inv_redis_settings {
    struct ps_redis_settings link;
    int64_t load_timeout_ms; /* for each reply to a part of a load */
    int64_t linger_ms;       /* how long an effect waits for a batch to join */
};
extern const struct inv_redis_settings inv_redis_defaults;

/* `start` is this start of the gateway (a new one at each start): the owner of what it reserves.
 * PS_E_NOMEM. */
int inv_redis_new(const struct ps_redis_url *url, const struct inv_redis_settings *settings,
                  const struct ps_uuid *start, struct inv_redis **ret_redis) PS_MUST_CHECK;
/* After all its stores and loads; NULL is allowed. */
void inv_redis_free(struct inv_redis *redis);

/* Called on the store's thread. Any may be NULL. */
struct inv_redis_events {
    void (*on_ready)(void *ctx);
    void (*on_away)(int err, const char *why, void *ctx);
    /* Redis has said, or its identity says, that the sale's epoch is not in force there. Comes
     * again for each call while it lasts. */
    void (*on_fenced)(struct inv_sale *sale, void *ctx);
    /* An error reply: `text` is Redis's own, and names the key if the key is the matter. */
    void (*on_error)(struct inv_sale *sale, int err, const char *text, void *ctx);
    void *ctx;
};

/* Starts to connect. `slow_ms`: as in ps_redis_settings, of this store alone. PS_E_NOMEM, PS_E_IO.
 * inv_store_free answers what is open (PS_E_UNKNOWN, or
 * PS_E_CLOSED if it was not sent) before it returns, and is not called from a callback; its memory
 * goes when the loop has closed its handles. */
int inv_store_redis_new(struct inv_redis *redis, uv_loop_t *loop, int64_t slow_ms,
                        const struct inv_redis_events *events,
                        struct inv_store **ret_store) PS_MUST_CHECK;

#endif
