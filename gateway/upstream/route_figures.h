/* Outcomes of a route's requests, by target: the route's own pool, or that of a split. The objects
 * outlive the versions of the route's document; they live while a table or a request uses them.
 *
 * Each worker counts in its own cells, relaxed. The control thread reads them each second to judge
 * the splits (returns.h); metrics and GET of the route read them, too. Nothing here locks. */
#ifndef UP_ROUTE_FIGURES_H
#define UP_ROUTE_FIGURES_H

#include "common/metrics/histogram.h"
#include "gateway/upstream/pool.h"

/* Why a split is taken back (tally.h). */
enum up_cause { UP_CAUSE_NONE, UP_CAUSE_ERRORS, UP_CAUSE_LATENCY, UP_CAUSE_COUNT };
extern const char *const up_cause_names[]; /* in order */

/* One worker's figures of a target. */
struct up_target_cell {
    _Atomic(int64_t) outcomes[UP_OUTCOME_COUNT];
    _Atomic(int64_t) judged;  /* requests that say something of the pool, and those that fail it */
    _Atomic(int64_t) failed;  /* the latter */
    _Atomic(int64_t) skipped; /* not sent there because the pool's breaker was open */
    /* to the head of the answer; without one, the time waited */
    struct ps_times latency;
    struct up_sample sample; /* the worker's alone */
} PS_ALIGNED;

/* Where a route sends requests: its own pool, or that of a split. Fallbacks and mirrors are no
 * targets. */
struct up_target {
    _Atomic(unsigned) refs;
    _Atomic(bool) returned; /* a split that was taken back: it gets nothing */
    uint64_t key;           /* of the pool and of the split's `by`, without its share */
    size_t cell_count;
    struct up_marks witnesses; /* any worker's */
    /* The control thread's alone. */
    struct up_window *window;      /* of a split with `return`; else NULL */
    json_t *pending;               /* the return, until the document says it; NULL: none */
    struct up_target_cell cells[]; /* by worker */
};

/* One worker's part of a route. */
struct up_route_cell {
    uint64_t draws; /* for splits by request: the worker's alone */
    uint64_t mirror_draws;
    _Atomic(int64_t) fallbacks[CFG_FALLBACK_KINDS]; /* answers, by enum cfg_fallback_kind */
    _Atomic(int64_t) nothing_left; /* no fallback could answer either: counts as our error */
    _Atomic(int64_t) mirrors;      /* mirrored requests */
    /* not mirrored: no place, or the ladder has turned copies off */
    _Atomic(int64_t) mirrors_left_out;
    _Atomic(int64_t) mirrors_failed; /* of the mirrored requests */
} PS_ALIGNED;

struct up_route {
    _Atomic(unsigned) refs;
    char name[PS_NAME_MAX + 1];
    int64_t returns[UP_CAUSE_COUNT]; /* the control thread's alone: splits that were taken back */
    size_t cell_count;
    struct up_route_cell cells[]; /* by worker */
};

/* --- The control thread. --- */

/* Completes the view of a route whose `doc` and `splits` are set (as, pool, per_mille): its own
 * target, the targets of its splits, and who goes to which. Reuses what `before` has (NULL: none).
 * PS_E_NOMEM: nothing is held. */
int up_route_bind(struct up_route_view *view, const struct up_route_view *before,
                  size_t workers) PS_MUST_CHECK;
/* Releases what up_route_bind took; all zero is allowed. */
void up_route_unbind(struct up_route_view *view);

/* --- Any thread. --- */

/* The split gets nothing now: it was taken back, or its pool is not in the table. */
static inline bool up_split_is_off(const struct up_split_view *split)
{
    return split->pool == NULL ||
           atomic_load_explicit(&split->live->returned, memory_order_relaxed);
}

/* The draw counter of a worker, for up_switch_pick. The thread of `worker`. */
static inline uint64_t *up_route_draws(struct up_route *route, size_t worker)
{
    return &route->cells[worker].draws;
}

/* Adds one; a single writer. */
static inline void up_route_count(_Atomic(int64_t) *figure)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Counts a request that was not sent because the pool's breaker is open. The thread of `worker`. */
void up_target_skip(struct up_target *target, size_t worker);

/* A fallback has answered; no fallback could. The thread of `worker`. */
void up_route_fell_back(struct up_route *route, size_t worker, enum cfg_fallback_kind kind);
void up_route_has_nothing(struct up_route *route, size_t worker);

/* A request to this target has ended. `took_ns`: see up_target_cell.latency; ignored if the row of
 * `end` is not timed. The thread of `worker`. */
void up_target_count(struct up_target *target, size_t worker, const struct up_met *met,
                     int64_t took_ns);

#endif
