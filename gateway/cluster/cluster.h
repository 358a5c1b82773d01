/* Who else is there: each 100 ms this gateway says in Redis that it lives, and learns who else
 * does, what time it is there, what is left of the sales it names, and which log this Redis counts
 * for. One gateway at a time has the leader's lease. No sale's life is known here.
 *
 * A counter of this process alone makes a cluster of one: nobody else is there, it leads, and
 * Redis's clock is its own.
 *
 * Nothing here is needed for safety: members, lease and clock may all be old. The control thread
 * unless said otherwise. */
#ifndef CLU_CLUSTER_H
#define CLU_CLUSTER_H

#include "common/clock.h"
#include "inventory/store.h"
#include "queue/log.h"

struct clu_cluster;
struct inv_sale_state;

#define CLU_ALIVE_MS        3000 /* a gateway that has been silent for longer is dead */
#define CLU_CLOCKS_APART_MS 1000 /* two clocks that are further apart do not agree */

struct clu_settings {
    const struct ps_clock *clock;
    struct ps_uuid start; /* of this start of the process */
    const char *gateway_id;
    struct inv_store *store; /* the control thread's */
    const struct oq_log *log;
    /* What the heartbeat tells of this gateway, and whom it tells of all. NULL: nobody. */
    const struct clu_duties *duties;
    void *ctx;
};

struct clu_duties {
    /* Requests a second that the common limits are asked for; each heartbeat. */
    int64_t (*demand)(int64_t now_ns, void *ctx);
    /* The demand that this gateway has told, and those of all who were heard lately, its own among
     * them. */
    void (*on_demands)(int64_t own, const int64_t *all, size_t count, int64_t now_ns, void *ctx);
    int64_t (*policy_version)(void *ctx);
};

/* How the sales take part. */
struct clu_sales {
    size_t (*count)(void *ctx);
    /* The counters that the next heartbeat asks about, at most `count`. */
    size_t (*ask)(bool all, struct inv_sale **ret_counters, void *ctx);
    /* What Redis says of the one at `place` of them; it was asked at `asked_ns`. */
    void (*on_answer)(size_t place, const struct inv_sale_state *answer, int64_t asked_ns,
                      void *ctx);
    /* Redis counts for another log: whatever was begun there ends. */
    void (*on_disowned)(void *ctx);
    /* This gateway has become the leader. */
    void (*on_lead)(void *ctx);
};

/* After the log is open. PS_E_NOMEM. */
int clu_cluster_new(const struct clu_settings *settings,
                    struct clu_cluster **ret_cluster) PS_MUST_CHECK;
/* Nothing is sent any more; before the control thread's store is freed. NULL is allowed. */
void clu_stop(struct clu_cluster *cluster);
/* After the store is freed. NULL is allowed. */
void clu_cluster_free(struct clu_cluster *cluster);
/* Before the first tick. `sales` lives as long as the cluster. */
void clu_attend(struct clu_cluster *cluster, const struct clu_sales *sales, void *ctx);

/* Each 100 ms: a heartbeat, unless one is under way, and the lease. */
void clu_tick(struct clu_cluster *cluster);
/* The next heartbeat asks about all sales; or it is sent now, too. */
void clu_ask_all_next(struct clu_cluster *cluster);
void clu_ask_all(struct clu_cluster *cluster);

/* --- This gateway. --- */

/* Has it the leader's lease? */
bool clu_leads(const struct clu_cluster *cluster);
/* Does this Redis count for this gateway's log, and no other? False until both are known. */
bool clu_owns(const struct clu_cluster *cluster);
/* May it count in Redis: is the log shared with all who do, or was it the first? */
bool clu_may_act(const struct clu_cluster *cluster);
/* What readyz asks for: the log was read up to the end that it had at the start, and Redis has
 * answered when it was last asked. Any thread. */
bool clu_has_view(const struct clu_cluster *cluster);
bool clu_has_redis(const struct clu_cluster *cluster);

/* --- Time. --- */

/* The earlier of Redis's clock and `wall_ms`: what is past by it is past by both. INT64_MIN while
 * Redis's clock is not known. */
int64_t clu_earlier_ms(const struct clu_cluster *cluster, int64_t wall_ms);
/* When Redis's clock was last found to have been set, by the monotonic clock; INT64_MIN / 2: never.
 */
int64_t clu_clock_set_ns(const struct clu_cluster *cluster);

/* --- The others. --- */

/* Heartbeats that were answered: after some more of them, what is known of the others is new. */
size_t clu_heartbeats(const struct clu_cluster *cluster);
/* Gateways heard of within the last three seconds, this one too. */
size_t clu_members(const struct clu_cluster *cluster);
bool clu_is_own(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* Is this start alive, and another one than ours? */
bool clu_lives(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* When a gateway of that name was last heard in this Redis, another start than this one: of the
 * monotonic clock; INT64_MIN: never. */
int64_t clu_heard_ns(const struct clu_cluster *cluster, const char *name);
/* Is nobody else alive here? */
bool clu_is_alone(const struct clu_cluster *cluster);
/* Nobody who lives has anything under way that could still become an order. */
bool clu_is_quiet(const struct clu_cluster *cluster);
/* That start is dead, and none of its orders can come out of a spill any more. */
bool clu_is_gone(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* Has any gateway said that orders lie in its spill, and may it still bring them into the log? */
bool clu_may_bring_orders(const struct clu_cluster *cluster);

#endif
