/* The members of a cluster. Each 100 ms this gateway writes to Redis that it is alive, and reads
 * who else is, Redis's time, the remaining stock of the sales it names, and which log this Redis
 * counts for. One gateway at a time has the leader's lease. This room knows nothing of a sale's
 * life.
 *
 * A counter in this process alone makes a cluster of one: it is always the leader, and Redis's
 * clock is its own.
 *
 * Nothing here is needed for safety: members, lease and clock may all be out of date. The control
 * thread unless said otherwise. */
#ifndef CLU_CLUSTER_H
#define CLU_CLUSTER_H

#include "common/clock.h"
#include "inventory/store.h"
#include "queue/log.h"

struct clu_cluster;
struct inv_sale_state;

#define CLU_ALIVE_MS        3000 /* a gateway that was silent for longer counts as dead */
#define CLU_CLOCKS_APART_MS 1000 /* two clocks that differ by more do not agree */

struct clu_settings {
    const struct ps_clock *clock;
    struct ps_uuid start; /* id of this start of the process */
    const char *gateway_id;
    struct inv_store *store; /* the control thread's */
    const struct oq_log *log;
    /* What the heartbeat reports of this gateway, and who receives what it learns of all. NULL:
     * nobody. */
    const struct clu_duties *duties;
    void *ctx;
};

struct clu_duties {
    /* Requests a second that ask the shared limits; for each heartbeat. */
    int64_t (*demand)(int64_t now_ns, void *ctx);
    /* The demand that this gateway last reported, and those of all live members, its own
     * included. */
    void (*on_demands)(int64_t own, const int64_t *all, size_t count, int64_t now_ns, void *ctx);
    int64_t (*snapshot_version)(void *ctx);
};

/* What the sales contribute. */
struct clu_sales {
    size_t (*count)(void *ctx);
    /* The counters that the next heartbeat asks about, at most `count`. */
    size_t (*ask)(bool all, struct inv_sale **ret_counters, void *ctx);
    /* Redis's answer about the counter at `place`; it was asked at `asked_ns`. */
    void (*on_answer)(size_t place, const struct inv_sale_state *answer, int64_t asked_ns,
                      void *ctx);
    /* Redis counts for another log: everything begun there ends. */
    void (*on_disowned)(void *ctx);
    /* This gateway has become the leader. */
    void (*on_lead)(void *ctx);
};

/* After the log is open. PS_E_NOMEM. */
int clu_cluster_new(const struct clu_settings *settings,
                    struct clu_cluster **ret_cluster) PS_MUST_CHECK;
/* Nothing is sent after this; call it before the control thread's store is freed. NULL is
 * allowed. */
void clu_stop(struct clu_cluster *cluster);
/* After the store is freed. NULL is allowed. */
void clu_cluster_free(struct clu_cluster *cluster);
/* Call it before the first tick. `sales` lives as long as the cluster. */
void clu_attend(struct clu_cluster *cluster, const struct clu_sales *sales, void *ctx);

/* Each 100 ms: sends a heartbeat, unless one is in progress, and renews the lease. */
void clu_tick(struct clu_cluster *cluster);
/* The next heartbeat asks about all sales; the second function also sends it now. */
void clu_ask_all_next(struct clu_cluster *cluster);
void clu_ask_all(struct clu_cluster *cluster);

/* --- This gateway. --- */

/* Does it have the leader's lease? */
bool clu_leads(const struct clu_cluster *cluster);
/* Does this Redis count for this gateway's log, and no other? False until both are known. */
bool clu_owns(const struct clu_cluster *cluster);
/* May it count in Redis: do all who count there share its log, or was it the first? */
bool clu_may_act(const struct clu_cluster *cluster);
/* For readyz: the log was read up to its end at the start, and Redis answered the last request. Any
 * thread. */
bool clu_has_view(const struct clu_cluster *cluster);
bool clu_has_redis(const struct clu_cluster *cluster);

/* --- Time. --- */

/* The earlier of Redis's clock and `wall_ms`: what is past by it is past by both. INT64_MIN while
 * Redis's clock is unknown. */
int64_t clu_earlier_ms(const struct clu_cluster *cluster, int64_t wall_ms);
/* When a step of Redis's clock was last noticed, by the monotonic clock; INT64_MIN / 2: never. */
int64_t clu_clock_set_ns(const struct clu_cluster *cluster);

/* --- The others. --- */

/* Answered heartbeats: a few more of them, and what is known about the others is up to date. */
size_t clu_heartbeats(const struct clu_cluster *cluster);
/* Gateways with a heartbeat within the last three seconds, this one included. */
size_t clu_members(const struct clu_cluster *cluster);
bool clu_is_own(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* Is this start alive, and not ours? */
bool clu_lives(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* When a gateway of that name, in another start than this one, last had a heartbeat in this Redis;
 * monotonic; INT64_MIN: never. */
int64_t clu_heard_ns(const struct clu_cluster *cluster, const char *name);
/* The other gateways by the last start of each name, alive or not: index 0 and up until false. The
 * name is borrowed until the next tick. */
struct clu_other {
    const char *name;
    int64_t age_ms; /* of its last heartbeat */
    bool alive;
    bool leads;          /* it had the leader's lease when this gateway last asked for that */
    bool leads_is_known; /* that was within the last three seconds */
};
bool clu_other_at(const struct clu_cluster *cluster, size_t index, struct clu_other *ret_other);
/* Is no other gateway alive? */
bool clu_is_alone(const struct clu_cluster *cluster);
/* No live gateway has anything in progress that could still become an order. */
bool clu_is_quiet(const struct clu_cluster *cluster);
/* That start is dead, and none of its orders can still come out of a spill. */
bool clu_is_gone(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* Has any gateway reported orders in its spill that it may still bring into the log? */
bool clu_may_bring_orders(const struct clu_cluster *cluster);

#endif
