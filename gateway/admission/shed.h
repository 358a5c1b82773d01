/* Which requests an overloaded worker refuses: the cut-off of DAGOR (H. Zhou et al., "Overload
 * Control for Scaling WeChat Microservices", SoCC 2018, section 4.2), for each worker by itself.
 *
 * Overload is measured as the average time that requests wait before they are handled, over a
 * window in which the worker could not serve all in turn (gateway/server/guard.c). A request's
 * priority is a cell: first its class, then the bucket of its user's hash under the hour's salt.
 * Cells before the cut-off are admitted. After a window of overload the cut-off moves so that 5 %
 * less is admitted, else so that 1 % more of what arrived is; arrivals are counted for each cell.
 * So the same users are refused for an hour, instead of everybody now and then; in the next hour,
 * others are.
 *
 * A refusal costs about half as much as an acceptance. When a fifth of the answers are refusals, a
 * lower cut-off would cost more than it saves: the cut-off rises again, and the worker leaves
 * requests unread that it cannot read in time (gateway/server/guard.c).
 *
 * Without overload nothing is counted, and a request pays one comparison. One thread. */
#ifndef ADM_SHED_H
#define ADM_SHED_H

#include "common/clock.h"
#include "common/text/id.h"

/* In order of priority. (A confirm runs on the operators' listener, where nothing is shed.) */
enum adm_shed_class {
    ADM_SHED_ORDER,
    ADM_SHED_ORDER_STATE,
    ADM_SHED_STATUS,
    ADM_SHED_OTHER,  /* any request of another class */
    ADM_SHED_CLASSES /* gw_shed_classes has their names */
};

#define ADM_SHED_BUCKETS 128 /* of users, as in DAGOR */
#define ADM_SHED_CELLS   (ADM_SHED_CLASSES * ADM_SHED_BUCKETS)

/* DAGOR's: the average wait that counts as overload, and how far the cut-off moves. A window is the
 * time between two calls of adm_shed_close. */
#define ADM_SHED_WAIT_NS (20 * PS_NS_PER_MS)
#define ADM_SHED_DOWN    0.05 /* of what was admitted */
#define ADM_SHED_UP      0.01 /* of what arrived */
/* Clients that wait for their answer before they send again are served once in a round over all
 * connections. While a round takes half of 250 ms, their answers are in time: no overload. */
#define ADM_SHED_ROUND_NS (125 * PS_NS_PER_MS)
/* When refusals are this share of the answers, the cut-off falls no further. A refusal was measured
 * at 0.45 to 0.6 of an acceptance; with the cost of leaving connections unread, accepting and
 * closing them, that is about a fifth of the time. */
#define ADM_SHED_REFUSED_MAX 0.2

/* One window of a worker. */
struct adm_shed_window {
    uint64_t requests;
    uint64_t refused;  /* of these, for whatever reason */
    int64_t waited_ns; /* sum of their waiting times */
    uint64_t left;     /* connections with requests that were left unread */
    bool unread;       /* requests are still waiting, longer than the bound */
    bool in_turn;      /* all were served in turn, and a round took at most ADM_SHED_ROUND_NS: no
                          overload, however long they waited */
};

struct adm_shed {
    int64_t wait_ns; /* ADM_SHED_WAIT_NS, or the value an operator set */
    struct ps_hash_key salt;
    bool active;       /* overloaded, or still refusing: counts cells */
    uint32_t cut_off;  /* how many cells are admitted: 1 to ADM_SHED_CELLS */
    double read_share; /* of recent arrivals, the share that was read at once, 0 to 1 */
    uint32_t arrived[ADM_SHED_CELLS];
};

/* Admits everybody. */
void adm_shed_init(struct adm_shed *shed);

/* The salt of the hour that contains `wall_ms`. Gateways with the same secret have the same salts
 * and refuse the same users. */
void adm_shed_salt(struct adm_shed *shed, const struct ps_hash_key *secret, int64_t wall_ms);

/* Ends a window: decides whether the worker was overloaded, and moves the cut-off. */
void adm_shed_close(struct adm_shed *shed, const struct adm_shed_window *window);

/* While active: counts the request and returns whether its cell is before the cut-off. `who` is the
 * user; for a request without a user, its address. */
bool adm_shed_judge(struct adm_shed *shed, enum adm_shed_class class, const void *who, size_t len);

/* The share of arrivals that is admitted, 0 to 1. */
double adm_shed_level(const struct adm_shed *shed, enum adm_shed_class class);

/* Retry-After of a refusal, in seconds without jitter: 1 at a level of 1, 10 at 0. */
int64_t adm_shed_retry_after_s(const struct adm_shed *shed, enum adm_shed_class class);

#endif
