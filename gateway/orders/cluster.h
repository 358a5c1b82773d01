/* One gateway among many: what the control thread does with the counter in Redis. Each 100 ms it
 * says that it is there and hears who else is (the pulse); it takes up what another gateway has
 * installed, builds a sale's counters again when they are gone (rebuild.h), brings what the log has
 * decided to Redis while it has the keeper's lease, and looks after orders that stay in doubt
 * (sweep.c).
 *
 * All on the control thread unless said otherwise. With a journal in place of Kafka the same code
 * serves one gateway, and refuses to sell while there is another one. */
#ifndef GW_CLUSTER_H
#define GW_CLUSTER_H

#include "gateway/control/control.h"

struct gw_cluster;

/* After the log is open. PS_E_NOMEM. */
int gw_cluster_new(struct gw_control *control, struct gw_cluster **ret_cluster) PS_MUST_CHECK;
/* Nothing is sent any more; before the control thread's store is freed. Waits for a load that is
 * under way (which ends soon, at the latest by Redis's deadlines). NULL is allowed. */
void gw_cluster_stop(struct gw_cluster *cluster);
/* After the store is freed. NULL is allowed. */
void gw_cluster_free(struct gw_cluster *cluster);

/* Each 100 ms. */
void gw_cluster_tick(struct gw_cluster *cluster);
/* GW_MAIL_CLUSTER. */
void gw_cluster_mail(struct gw_cluster *cluster, const struct ps_mail *mail);

/* A store has met a sale whose epoch is not in force in Redis: it is looked at now. Any thread. */
void gw_cluster_fenced(struct gw_cluster *cluster);

/* Arming in a cluster (arm.c). A sale that is due and was never opened: gw_arm_note_opening;
 * fences, the initial stock, read back; gw_arm_note. Both notes end in gw_cluster_noted. */
void gw_cluster_open(struct gw_cluster *cluster, struct gw_control_sale *sale);
void gw_cluster_noted(struct gw_cluster *cluster, const char *sale, bool noted);

/* Has this gateway the keeper's lease? */
bool gw_cluster_keeps(const struct gw_cluster *cluster);
/* The earlier of Redis's clock and `wall_ms`: what is past by it is past by both. INT64_MIN while
 * Redis's clock is not known. */
int64_t gw_cluster_earlier_ms(const struct gw_cluster *cluster, int64_t wall_ms);

/* What readyz asks for: the log was read up to the end that it had at the start, and Redis has
 * answered when it was last asked. Any thread. */
bool gw_cluster_has_view(const struct gw_cluster *cluster);
bool gw_cluster_has_redis(const struct gw_cluster *cluster);
static inline bool gw_cluster_is_up(const struct gw_cluster *cluster)
{
    return gw_cluster_has_view(cluster) && gw_cluster_has_redis(cluster);
}
/* Does this Redis count for this gateway's log, and no other? False until both are known. */
bool gw_cluster_owns(const struct gw_cluster *cluster);
/* Is it known that the sale has to be built again, here or by another gateway, or that a foreign
 * key stands in its way? */
bool gw_cluster_is_fenced(const struct gw_cluster *cluster, const char *sale);
/* Has a gateway said that orders lie in its spill, and may still bring them into the log? */
bool gw_cluster_may_bring_orders(const struct gw_cluster *cluster);

/* For /metrics and the admin listener. */
struct gw_cluster_numbers {
    size_t members; /* gateways heard of within the last three seconds, this one too */
    size_t fenced;  /* opened sales that cannot be sold from now */
    size_t effects; /* decided, and not yet known to be in Redis */
    bool keeper;
};
void gw_cluster_numbers(const struct gw_cluster *cluster, struct gw_cluster_numbers *ret_numbers);

#endif
