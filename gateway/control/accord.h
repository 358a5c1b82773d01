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
#ifndef GW_ACCORD_H
#define GW_ACCORD_H

#include "common/redis_link.h"
#include "gateway/control/control.h"

/* The path of faults that are Redis's. */
#define GW_ACCORD_PATH "store.redis.url"

/* Before the first turn of the loop: control->accord is set from here on; gw_control_stop and
 * gw_control_free end it. PS_E_NOMEM; PS_E_IO. */
int gw_accord_new(struct gw_control *control, uv_loop_t *loop, const struct ps_redis_url *url,
                  const struct ps_redis_settings *settings) PS_MUST_CHECK;
/* Closes link and timer; the loop must turn once more before gw_accord_free. NULL is allowed. */
void gw_accord_stop(struct gw_accord *accord);
void gw_accord_free(struct gw_accord *accord); /* NULL is allowed */

/* All that Redis had has been taken over once: this gateway knows what the cluster has decided. */
bool gw_accord_synced(const struct gw_accord *accord);

/* --- For control.c. --- */
/* gw_control_go_on follows soon. */
void gw_accord_wake(struct gw_accord *accord);
/* Changes have to wait: newer copies are on their way. gw_control_go_on follows. */
bool gw_accord_holds(const struct gw_accord *accord);
/* err 0: Redis has the change. PS_E_CONFLICT: it has a newer copy, PS_E_BUSY: it has lost its
 * copies; gw_accord_holds until that is put right. PS_E_UNKNOWN: whether it has the change will
 * show. Others: it does not have it. */
typedef void gw_accord_put_fn(struct gw_control *control, int err, const struct ps_fault *fault,
                              void *ctx);
/* One at a time. 0: `fn` comes once. PS_E_NOT_FOUND: nothing in the job is shared. PS_E_CLOSED
 * (Redis is away), PS_E_FULL, PS_E_NOMEM fill the fault. */
int gw_accord_put(struct gw_accord *accord, const struct gw_store_job *job, gw_accord_put_fn *fn,
                  void *ctx, struct ps_fault *fault) PS_MUST_CHECK;

#endif
