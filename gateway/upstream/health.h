/* Active checks: the gateway sends an HTTP request to each endpoint of a pool whose document has
 * `health`, at an interval with a jitter of 10 %.
 *
 * A check passes when an answer with an expected status arrives within timeout_ms of its start,
 * connecting included. Each check opens a TCP connection of its own, so it also tests accepting.
 *
 * An endpoint that was never checked counts as up: otherwise all endpoints would be down at a
 * gateway's start, and every request refused. Its first check begins at once and decides alone,
 * whatever the thresholds say, so a dead endpoint is used for one timeout_ms at most. The same
 * holds after a change of the rules: the old verdict stays until the first check by the new ones.
 *
 * One thread: that of the loop. */
#ifndef UP_HEALTH_H
#define UP_HEALTH_H

#include "common/clock.h"
#include "gateway/upstream/pool.h"

#include <uv.h>

enum up_check { UP_CHECK_NONE, UP_CHECK_PASSING, UP_CHECK_FAILING };

/* What is known of one endpoint. */
struct up_verdict {
    enum up_check check;
    int64_t since_ms;      /* wall clock; 0 with UP_CHECK_NONE */
    char why[UP_WHY_SIZE]; /* when FAILING: "no answer within 500 ms", "status 503", "connection
                              refused", "malformed answer: …"; else "" */
};

/* A verdict, and the results against it so far. Zeroed: never checked. */
struct up_streak {
    enum up_check check;
    unsigned against; /* results in a row */
};
/* Counts one result. True: the verdict has changed. Pure. */
bool up_streak_count(struct up_streak *streak, bool passed, unsigned healthy_after,
                     unsigned unhealthy_after);

struct up_health;
/* The verdict of an endpoint has changed. */
typedef void up_health_fn(void *ctx, const char *pool, const char *address,
                          const struct up_verdict *verdict);

/* PS_E_NOMEM. `changed` may be NULL. */
int up_health_new(uv_loop_t *loop, const struct ps_clock *clock, up_health_fn *changed, void *ctx,
                  struct up_health **ret_health) PS_MUST_CHECK;
/* Ends all checks. The loop must turn until its handles are closed. NULL is allowed. */
void up_health_free(struct up_health *health);

/* From now on checks these endpoints of the pool (each address once) by its document, and no
 * others; none if it has no `health`. Keeps what is known of endpoints that remain. Borrows
 * nothing. PS_E_NOMEM: some are not checked. */
int up_health_set(struct up_health *health, const struct cfg_pool *doc,
                  const struct cfg_endpoint *endpoints, size_t count) PS_MUST_CHECK;
/* The pool is gone. */
void up_health_drop(struct up_health *health, const char *pool);

/* Is an answer of this status one that the pool's health checks expect? Any thread. */
bool up_health_expects(const struct cfg_pool *pool, int status);

/* NULL: the endpoint is not checked. Valid until the loop's next event. */
const struct up_verdict *up_health_find(const struct up_health *health, const char *pool,
                                        const char *address);

#endif
