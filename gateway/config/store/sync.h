/* The documents of a cluster: each gateway keeps its full copy in memory and in control.db and
 * serves from it; Redis is where they agree.
 *
 *   ps:control        hash  "generation"; of each document, "kind/name": "version text"
 *   ps:control:revs   zset  document -> revision, which rises with every change of any of them
 *
 * A text is {"at_ms", "created_at_ms", "who", "peer", "action", "why", and "deleted":true or
 * "document" (and "state")}.
 *
 * - A change is compared and set in Redis first: of two changes of one version one wins, the other
 *   gets PS_E_CONFLICT when this gateway has taken the winner's copy over. While Redis is away
 *   changes are refused, and what is decided stays in force.
 * - Every POLL_MS each gateway asks for what is newer than the revision that it knows, writes it
 *   into control.db and publishes it.
 * - A Redis that is another one than before (restarted, failed over: its identity; emptied: its
 *   generation) may have lost changes: each gateway first brings its own copies, of which the
 *   highest versions stay, and then reads all. Changes wait for SETTLE_MS then, so that the others
 *   can bring theirs.
 * One thread: control. */
#ifndef CFG_SYNC_H
#define CFG_SYNC_H

#include "common/redis/redis_link.h"
#include "gateway/config/store/store.h"

/* The path of faults that are Redis's. */
#define CFG_SYNC_PATH "store.redis.url"

struct cfg_sync_settings {
    uv_loop_t *loop;
    const struct ps_redis_url *url;
    const struct ps_redis_settings *redis;
    /* Does this Redis count for the log that this gateway writes? Whoever decides in one that
     * counts for another log has another cluster's sales there. NULL: it does. */
    bool (*is_ours)(void *ctx);
    void *ctx;
};

/* Before the first turn of the loop: the store is shared from here on; cfg_store_close and
 * cfg_store_free end it. PS_E_NOMEM; PS_E_IO. */
int cfg_sync_new(struct cfg_store *store, const struct cfg_sync_settings *settings) PS_MUST_CHECK;
/* Closes link and timer; the loop must turn once more before cfg_sync_free. NULL is allowed. */
void cfg_sync_stop(struct cfg_sync *sync);
void cfg_sync_free(struct cfg_sync *sync); /* NULL is allowed */

/* All that Redis had has been taken over once: this gateway knows what the cluster has decided. */
bool cfg_sync_synced(const struct cfg_sync *sync);

/* All changes up to this revision are in force here; 1: it is not known yet. */
int64_t cfg_sync_complete(const struct cfg_sync *sync);

/* --- For store.c. --- */
/* A change of this gateway's own is in control.db, which Redis took at this revision. */
void cfg_sync_written(struct cfg_sync *sync, int64_t revision);
/* cfg_store_go_on follows soon. */
void cfg_sync_wake(struct cfg_sync *sync);
/* False: a put would be refused at once, for Redis is away. */
bool cfg_sync_takes_puts(const struct cfg_sync *sync);
/* Changes have to wait: newer copies are on their way. cfg_store_go_on follows. */
bool cfg_sync_holds(const struct cfg_sync *sync);
/* err 0: Redis has the change, at this revision. PS_E_CONFLICT: it has a newer copy, PS_E_BUSY: it
 * has lost its copies; cfg_sync_holds until that is put right. PS_E_UNKNOWN: whether it has the
 * change will show. Others: it does not have it. */
typedef void cfg_sync_put_fn(struct cfg_store *store, int err, int64_t revision,
                             const struct ps_fault *fault, void *ctx);
/* One at a time; the job lives until `fn` comes, which it does once. PS_E_CLOSED (Redis is away),
 * PS_E_FULL, PS_E_NOMEM fill the fault: it does not come. */
int cfg_sync_put(struct cfg_sync *sync, const struct cfg_job *job, cfg_sync_put_fn *fn, void *ctx,
                 struct ps_fault *fault) PS_MUST_CHECK;

#endif
