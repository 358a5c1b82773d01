/* Moments of the operators' plans (gateway/plans) while a rehearsal ran: when a run started, was
 * suspended, ended. Not to be confused with the plan of the crowd (plan.h). */
#ifndef LT_MOMENTS_H
#define LT_MOMENTS_H

#include "loadtest/admin.h"

/* Of the time from `started_ms` (wall clock of the gateways) on, in order, at most 200:
 *
 *   [{"at_ms":4210,"what":"started"|"suspended"|"ended","plan","run","end"}]
 *
 * `end` is how it ended, else null. A run that was suspended and has ended since has its end alone:
 * a gateway remembers no more. PS_E_NOMEM, and the errors of lt_admin_call_json. Owner of
 * *ret_json: the caller. */
int lt_moments_read(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* Adds those of a page of GET /admin/v1/runs, whatever it says. PS_E_NOMEM. */
int lt_moments_add(json_t *moments, const json_t *page, int64_t started_ms) PS_MUST_CHECK;
/* For people: [{"at_ms","words","drawn","percent"}], the place on an axis of `length_ms`; what is
 * not `drawn` was after the axis. A new reference; NULL: out of memory. */
json_t *lt_moments_view(const json_t *moments, double length_ms);

#endif
