/* Whom an overloaded worker refuses: the cut-off of DAGOR (H. Zhou et al., "Overload Control for
 * Scaling WeChat Microservices", SoCC 2018, section 4.2), per worker, without a word to others.
 *
 * Overload is seen in how long requests wait before they are handled, on average over a window in
 * which the worker could not serve all in turn (gateway/server/guard.c). A
 * request's place in the queue of priorities is a cell: its class first, then the bucket that the
 * hash of its user falls into under the hour's salt. Cells before the cut-off are admitted. After a
 * window of overload the cut-off moves so that 5 % less is admitted, else so that 1 % more of what
 * arrived is; how much arrived in each cell is counted. So the same users are refused for the hour,
 * instead of everybody now and then, and in the next hour others are.
 *
 * A "no" costs about half of a "yes". Where a fifth of the answers are refusals, a lower cut-off
 * would cost more than it saves: it rises again, and what the worker cannot read in time stays
 * unread (gateway/server/guard.c).
 *
 * While nothing is overloaded nothing is counted, and a request pays one comparison. One thread. */
#ifndef ADM_SHED_H
#define ADM_SHED_H

#include "common/clock.h"
#include "common/text/id.h"

/* In order of priority. (A confirm runs on the operators' listener, where nothing is shed.) */
enum adm_shed_class {
    ADM_SHED_ORDER,
    ADM_SHED_ORDER_STATE,
    ADM_SHED_STATUS,
    ADM_SHED_OTHER,  /* what is not core */
    ADM_SHED_CLASSES /* gw_shed_classes has their names */
};

#define ADM_SHED_BUCKETS 128 /* of users, as in DAGOR */
#define ADM_SHED_CELLS   (ADM_SHED_CLASSES * ADM_SHED_BUCKETS)

/* DAGOR's: the average wait that is overload, and how far the cut-off moves. A window is the time
 * between two calls of adm_shed_close. */
#define ADM_SHED_WAIT_NS (20 * PS_NS_PER_MS)
#define ADM_SHED_DOWN    0.05 /* of what was admitted */
#define ADM_SHED_UP      0.01 /* of what arrived */
/* Who waits for an answer before it asks again is served once a round over all. That is no overload
 * while a round takes half of 250 ms, which are in time. */
#define ADM_SHED_ROUND_NS (125 * PS_NS_PER_MS)
/* Of the answers, so many may be refusals before the cut-off falls no further. A "no" was measured
 * at 0.45 to 0.6 of a "yes"; with what leaving connections unread, accepting and closing them
 * takes, that is about a fifth of the time. */
#define ADM_SHED_REFUSED_MAX 0.2

/* What a worker saw in one window. */
struct adm_shed_window {
    uint64_t requests;
    uint64_t refused;  /* of them, whatever for */
    int64_t waited_ns; /* all of them together, before they were handled */
    uint64_t left;     /* connections with requests that were left unread */
    bool unread;       /* requests have waited for longer than the bound, and wait still */
    bool in_turn; /* all were served in turn, and a round took no longer than ADM_SHED_ROUND_NS:
                     no overload, however long they waited */
};

struct adm_shed {
    int64_t wait_ns; /* ADM_SHED_WAIT_NS, or what an operator says */
    struct ps_hash_key salt;
    bool active;       /* was overloaded, or refuses still: cells are counted */
    uint32_t cut_off;  /* cells that are admitted: 1 to ADM_SHED_CELLS */
    double read_share; /* of what came lately, what was read at once, 0 to 1 */
    uint32_t arrived[ADM_SHED_CELLS];
};

/* Admits everybody. */
void adm_shed_init(struct adm_shed *shed);

/* The salt of the hour that holds `wall_ms`. Whoever has the same secret has the same salts, and
 * refuses the same users. */
void adm_shed_salt(struct adm_shed *shed, const struct ps_hash_key *secret, int64_t wall_ms);

/* Ends a window: judges it, and moves the cut-off. */
void adm_shed_close(struct adm_shed *shed, const struct adm_shed_window *window);

/* While it is active: counts the request, and says whether it is before the cut-off. `who` is the
 * user, or the address of a request without one. */
bool adm_shed_judge(struct adm_shed *shed, enum adm_shed_class class, const void *who, size_t len);

/* The part of what comes that is admitted, 0 to 1: of the users, as far as requests are read. */
double adm_shed_level(const struct adm_shed *shed, enum adm_shed_class class);

/* When a refused one may come back, in seconds without jitter: 1 at a level of 1, 10 at 0. */
int64_t adm_shed_retry_after_s(const struct adm_shed *shed, enum adm_shed_class class);

#endif
