/* What requests of a route have met, by where they were sent: to the route's own pool, or to that
 * of a split. Their objects live through all versions of the route's document, and as long as a
 * table or a request uses them.
 *
 * Each worker counts in its own cells, relaxed; the control thread reads them each second to judge
 * the splits (returns.h), and so do metrics and GET of the route. Nothing here locks. */
#ifndef UP_ROUTE_FIGURES_H
#define UP_ROUTE_FIGURES_H

#include "common/metrics/histogram.h"
#include "gateway/upstream/pool.h"

/* Why a split is taken back (tally.h). */
enum up_cause { UP_CAUSE_NONE, UP_CAUSE_ERRORS, UP_CAUSE_LATENCY, UP_CAUSE_COUNT };
extern const char *const up_cause_names[]; /* in order */

/* What one worker's requests have met in the pool of a target. */
struct up_target_cell {
    _Atomic(int64_t) outcomes[UP_OUTCOME_COUNT];
    _Atomic(int64_t) skipped; /* were to go there, but for the open breaker of its pool */
    _Atomic(uint32_t) latency[PS_TIME_BUCKETS]; /* until the head of the answer; of a timeout:
                                                      how long was waited */
} PS_ALIGNED;

/* Where a route sends requests: its own pool, or that of a split. Fall-backs and shadow copies are
 * no targets. */
struct up_target {
    _Atomic(unsigned) refs;
    _Atomic(bool) returned; /* a split that was taken back: it gets nothing */
    uint64_t key;           /* of the pool and of how the split chooses, without its share */
    size_t cell_count;
    /* The control thread's alone. */
    struct up_window *window;      /* of a split that is taken back by itself; else NULL */
    json_t *pending;               /* what there is to say of its return, as long as the document
                                      does not say so; NULL: nothing */
    struct up_target_cell cells[]; /* by worker */
};

/* One worker's part of a route. */
struct up_route_cell {
    uint64_t draws; /* of splits by request: the worker's alone */
    uint64_t shadow_draws;
    _Atomic(int64_t) fallbacks[CFG_FALLBACK_KINDS]; /* answers, by enum cfg_fallback_kind */
    _Atomic(int64_t) nothing_left;     /* no fall-back could answer either: an error of ours */
    _Atomic(int64_t) shadows;          /* copies that were sent */
    _Atomic(int64_t) shadows_left_out; /* for want of a place, or because the ladder says so */
    _Atomic(int64_t) shadows_failed;   /* of those that were sent */
} PS_ALIGNED;

struct up_route {
    _Atomic(unsigned) refs;
    char name[PS_NAME_MAX + 1];
    int64_t returns[UP_CAUSE_COUNT]; /* the control thread's alone: splits that were taken back */
    size_t cell_count;
    struct up_route_cell cells[]; /* by worker */
};

/* --- The control thread. --- */

/* Completes the view of a route whose `doc` and `splits` are set (as, pool): its own target, those
 * of its splits, and who goes to which. What `before` has (NULL: there was none) is gone on with.
 * PS_E_NOMEM: nothing is held. */
int up_route_bind(struct up_route_view *view, const struct up_route_view *before,
                  size_t workers) PS_MUST_CHECK;
/* Gives back what up_route_bind took; all zero is allowed. */
void up_route_unbind(struct up_route_view *view);

/* --- Any thread. --- */

/* It has no share now: it was taken back, or its pool is not in the table. */
static inline bool up_split_is_off(const struct up_split_view *split)
{
    return split->pool == NULL ||
           atomic_load_explicit(&split->live->returned, memory_order_relaxed);
}

/* The counter of a worker's part, for up_switch_pick. The thread of `worker`. */
static inline uint64_t *up_route_draws(struct up_route *route, size_t worker)
{
    return &route->cells[worker].draws;
}

/* One more; one writer. */
static inline void up_route_count(_Atomic(int64_t) *figure)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* It was not sent there because the breaker of the pool is open. The thread of `worker`. */
void up_target_skip(struct up_target *target, size_t worker);

/* A fall-back has answered; none could. The thread of `worker`. */
void up_route_fell_back(struct up_route *route, size_t worker, enum cfg_fallback_kind kind);
void up_route_has_nothing(struct up_route *route, size_t worker);

/* A request that was sent there has ended. `took_ns`: see up_target_cell.latency; not looked at
 * after any other outcome. The thread of `worker`. */
void up_target_count(struct up_target *target, size_t worker, enum up_outcome outcome,
                     int64_t took_ns);

#endif
