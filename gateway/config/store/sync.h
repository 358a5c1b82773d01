/* The documents of a cluster: each gateway keeps its full copy in memory and in control.db and
 * serves from it; Redis is where they agree.
 *
 *   ps:control        hash  "generation"; of each document, "kind/name": "version text"
 *   ps:control:revs   zset  document -> revision, which rises with every change of any of them
 *
 * A text is {"at_ms", "created_at_ms", "who", "peer", "action", "why", and "deleted":true or
 * "document" (and "state")}.
 *
 * - Redis compares and sets a change first: of two changes of one version one wins, and the other
 * gets PS_E_CONFLICT when the winner is in force on this gateway. While Redis is away changes are
 *   refused, and decisions remain in force.
 * - Every POLL_MS each gateway requests changes newer than the revision that it knows, writes them
 *   into control.db and publishes them.
 * - A Redis that is not the one before (restarted, failed over: its identity; emptied: its
 *   generation) may have lost changes: each gateway first pushes its own copies, of which the
 * highest versions win, and then reads everything. Changes wait for SETTLE_MS, so that the others
 * can push theirs. One thread: control. */
#ifndef CFG_SYNC_H
#define CFG_SYNC_H

#include "common/redis/redis_link.h"
#include "gateway/config/store/store.h"

/* The path of faults about Redis. */
#define CFG_SYNC_PATH "store.redis.url"

struct cfg_sync_settings {
    uv_loop_t *loop;
    const struct ps_redis_url *url;
    const struct ps_redis_settings *redis;
    /* Is this Redis used for the log that this gateway writes? A Redis that is used for another log
     * holds the sales of another cluster. NULL: it is. */
    bool (*is_ours)(void *ctx);
    void *ctx;
};

/* Before the first turn of the loop: the store is shared from here on; cfg_store_close and
 * cfg_store_free end it. PS_E_NOMEM; PS_E_IO. */
int cfg_sync_new(struct cfg_store *store, const struct cfg_sync_settings *settings) PS_MUST_CHECK;
/* Closes link and timer; the loop must turn once more before cfg_sync_free. NULL is allowed. */
void cfg_sync_stop(struct cfg_sync *sync);
void cfg_sync_free(struct cfg_sync *sync); /* NULL is allowed */

/* True once everything from Redis is in force here: this gateway knows the cluster's decisions. */
bool cfg_sync_synced(const struct cfg_sync *sync);

/* All changes up to this revision are in force here; 1: it is not known yet. */
int64_t cfg_sync_complete(const struct cfg_sync *sync);

/* --- For store.c. --- */
/* A change of this gateway's own that Redis accepted at this revision is in control.db. */
void cfg_sync_written(struct cfg_sync *sync, int64_t revision);
/* cfg_store_go_on follows soon. */
void cfg_sync_wake(struct cfg_sync *sync);
/* False: a put would be refused at once, because Redis is away. */
bool cfg_sync_takes_puts(const struct cfg_sync *sync);
/* Changes have to wait: newer versions are arriving. cfg_store_go_on follows. */
bool cfg_sync_holds(const struct cfg_sync *sync);
/* err 0: Redis has the change, at this revision. PS_E_CONFLICT: it has a newer version; PS_E_BUSY:
 * it lost its copies; cfg_sync_holds until this is repaired. PS_E_UNKNOWN: it is not known whether
 * Redis has the change. Others: it does not have it. */
typedef void cfg_sync_put_fn(struct cfg_store *store, int err, int64_t revision,
                             const struct ps_fault *fault, void *ctx);
/* One at a time; the job must live until `fn` is called, once. PS_E_CLOSED (Redis is away),
 * PS_E_FULL, PS_E_NOMEM fill the fault: it is not called. */
int cfg_sync_put(struct cfg_sync *sync, const struct cfg_job *job, cfg_sync_put_fn *fn, void *ctx,
                 struct ps_fault *fault) PS_MUST_CHECK;

#endif
