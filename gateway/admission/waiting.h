/* The waiting room of one worker: requests that a leaky bucket has told to wait, by the moment at which they go on. A bounded binary heap; a
 * full room refuses. One thread. */
#ifndef GW_WAITING_H
#define GW_WAITING_H

#include "common/err.h"

struct gw_waiting;

int gw_waiting_new(size_t capacity, struct gw_waiting **ret_waiting) PS_MUST_CHECK;
void gw_waiting_free(struct gw_waiting *waiting); /* NULL is allowed */
/* PS_E_FULL: no room. `handle` names the request. */
int gw_waiting_put(struct gw_waiting *waiting, int64_t until_ns, uint64_t handle) PS_MUST_CHECK;
/* The earliest moment, or INT64_MAX when nobody waits. */
int64_t gw_waiting_next_ns(const struct gw_waiting *waiting);
/* Takes out one whose moment has come: true and *ret_handle, earliest first. */
bool gw_waiting_take(struct gw_waiting *waiting, int64_t now_ns, uint64_t *ret_handle);
size_t gw_waiting_count(const struct gw_waiting *waiting);

#endif
