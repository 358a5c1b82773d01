/* What operators decided, shared by the gateways of a cluster. Each gateway keeps its full copy in
 * memory and in control.db and serves from it; Redis is where they agree.
 *
 *   ps:control       hash  "generation"; of each document (accord_doc.h) "version text"; the text
 * of each entry of the policy ps:control:revs  zset  document or entry -> revision: rises with
 * every change of any of them; one that the hash does not have is gone
 *
 * - A change is compared and set in Redis first: of two changes of one version one wins, the other
 *   hears PS_E_CONFLICT when this gateway has taken the winner's copy over. While Redis is away
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

#include "common/redis_link.h"
#include "gateway/control.h"

/* The path of faults that are Redis's. */
#define CFG_SYNC_PATH "store.redis.url"

/* Before the first turn of the loop: control->accord is set from here on; gw_control_stop and
 * gw_control_free end it. PS_E_NOMEM; PS_E_IO. */
int cfg_sync_new(struct gw_control *control, uv_loop_t *loop, const struct ps_redis_url *url,
                 const struct ps_redis_settings *settings) PS_MUST_CHECK;
/* Closes link and timer; the loop must turn once more before cfg_sync_free. NULL is allowed. */
void cfg_sync_stop(struct cfg_sync *accord);
void cfg_sync_free(struct cfg_sync *accord); /* NULL is allowed */

/* All that Redis had has been taken over once: this gateway knows what the cluster has decided. */
bool cfg_sync_synced(const struct cfg_sync *accord);

/* --- For control.c. --- */
/* gw_control_go_on follows soon. */
void cfg_sync_wake(struct cfg_sync *accord);
/* Changes have to wait: newer copies are on their way. gw_control_go_on follows. */
bool cfg_sync_holds(const struct cfg_sync *accord);
/* err 0: Redis has the change. PS_E_CONFLICT: it has a newer copy, PS_E_BUSY: it has lost its
 * copies; cfg_sync_holds until that is put right. PS_E_UNKNOWN: whether it has the change will
 * show. Others: it does not have it. */
typedef void cfg_sync_put_fn(struct gw_control *control, int err, const struct ps_fault *fault,
                             void *ctx);
/* One at a time. 0: `fn` comes once. PS_E_NOT_FOUND: nothing in the job is shared. PS_E_CLOSED
 * (Redis is away), PS_E_FULL, PS_E_NOMEM fill the fault. */
int cfg_sync_put(struct cfg_sync *accord, const struct cfg_store_job *job, cfg_sync_put_fn *fn,
                 void *ctx, struct ps_fault *fault) PS_MUST_CHECK;

#endif
