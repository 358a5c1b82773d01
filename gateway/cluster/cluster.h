/* One gateway among many: what the control thread does with the counter in Redis. Each 100 ms it
 * says that it is there and hears who else is (the pulse); it takes up what another gateway has
 * installed, builds a sale's counters again when they are gone (rebuild.h), brings what the log has
 * decided to Redis while it has the keeper's lease, and looks after orders that stay in doubt
 * (sweep.c).
 *
 * All on the control thread unless said otherwise. With a journal in place of Kafka the same code
 * serves one gateway, and refuses to sell while there is another one. */
#ifndef CLU_CLUSTER_H
#define CLU_CLUSTER_H

#include "gateway/control.h"

struct clu_cluster;

/* After the log is open. PS_E_NOMEM. */
int clu_cluster_new(struct gw_control *control, struct clu_cluster **ret_cluster) PS_MUST_CHECK;
/* Nothing is sent any more; before the control thread's store is freed. Waits for a load that is
 * under way (which ends soon, at the latest by Redis's deadlines). NULL is allowed. */
void clu_stop(struct clu_cluster *cluster);
/* After the store is freed. NULL is allowed. */
void clu_cluster_free(struct clu_cluster *cluster);

/* Each 100 ms. */
void clu_tick(struct clu_cluster *cluster);
/* GW_MAIL_CLUSTER. */
void clu_mail(struct clu_cluster *cluster, const struct ps_mail *mail);

/* A store has met a sale whose epoch is not in force in Redis: it is looked at now. Any thread. */
void clu_fenced(struct clu_cluster *cluster);

/* Arming in a cluster (arm.c). A sale that is due and was never opened: sale_opening_note_opening;
 * fences, the initial stock, read back; sale_opening_note. Both notes end in clu_noted. */
void clu_open(struct clu_cluster *cluster, struct gw_control_sale *sale);
void clu_noted(struct clu_cluster *cluster, const char *sale, bool noted);

/* Has this gateway the keeper's lease? */
bool clu_keeps(const struct clu_cluster *cluster);
/* The earlier of Redis's clock and `wall_ms`: what is past by it is past by both. INT64_MIN while
 * Redis's clock is not known. */
int64_t clu_earlier_ms(const struct clu_cluster *cluster, int64_t wall_ms);

/* What readyz asks for: the log was read up to the end that it had at the start, and Redis has
 * answered when it was last asked. Any thread. */
bool clu_has_view(const struct clu_cluster *cluster);
bool clu_has_redis(const struct clu_cluster *cluster);
static inline bool clu_is_up(const struct clu_cluster *cluster)
{
    return clu_has_view(cluster) && clu_has_redis(cluster);
}
/* Does this Redis count for this gateway's log, and no other? False until both are known. */
bool clu_owns(const struct clu_cluster *cluster);
/* Is it known that the sale has to be built again, here or by another gateway, or that a foreign
 * key stands in its way? */
bool clu_is_fenced(const struct clu_cluster *cluster, const char *sale);
/* Has a gateway said that orders lie in its spill, and may still bring them into the log? */
bool clu_may_bring_orders(const struct clu_cluster *cluster);

/* For /metrics and the admin listener. */
struct clu_numbers {
    size_t members; /* gateways heard of within the last three seconds, this one too */
    size_t fenced;  /* opened sales that cannot be sold from now */
    size_t effects; /* decided, and not yet known to be in Redis */
    bool keeper;
};
void clu_numbers(const struct clu_cluster *cluster, struct clu_numbers *ret_numbers);

#endif
