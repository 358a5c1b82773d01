/* Calls a gateway's admin API to confirm and cancel orders, up to ST_CALL_MAX in one
 * call, one call at a time, without blocking. A call may be repeated: the gateway's log decides
 * once, and answers the same forever. So anything but a clear answer is asked again. One thread. */
#ifndef ST_CALLER_H
#define ST_CALLER_H

#include "queue/settle/settle_sink.h"

#define ST_CALL_MAX 1000

/* The result of a decision; the words of the result column. */
#define ST_RESULT_CONFIRMED "confirmed" /* goods leave only on this one */
#define ST_RESULT_RELEASED  "released"  /* a cancel was answered 200 */
#define ST_RESULT_NOT_FOUND "not_found"
#define ST_RESULT_ARCHIVED  "archived"

struct st_caller_settings {
    const char *const *urls; /* of admin listeners; borrowed. The next one when one fails, or does
                                not decide all */
    size_t url_count;
    const char *token_file; /* read for each call; borrowed */
    int64_t timeout_ms;     /* of a call */
};

struct st_caller;

/* PS_E_NOMEM, PS_E_INVALID. */
int st_caller_new(const struct st_caller_settings *settings, struct st_caller **ret_caller,
                  struct ps_fault *fault) PS_MUST_CHECK;
void st_caller_free(struct st_caller *caller); /* cancels a call in progress; NULL is allowed */

/* Is a call in progress, or is it too early for the next one? */
bool st_caller_busy(const struct st_caller *caller);
bool st_caller_ready(const struct st_caller *caller);
/* Room for ST_CALL_MAX decisions, to be filled before st_caller_start. */
struct st_decision *st_caller_room(struct st_caller *caller);
/* Asks for the first `count` of them. PS_E_NOMEM, PS_E_IO (the token): nothing was asked. */
int st_caller_start(struct st_caller *caller, size_t count, struct ps_fault *fault) PS_MUST_CHECK;
/* Advances the call, waiting up to `wait_ms` for news. 1: it has ended, and each decision has its
 * result or the time of its next try; 0: not yet. If the call as a whole failed, `fault` says why;
 * else its text is empty. */
int st_caller_poll(struct st_caller *caller, int wait_ms, size_t *ret_count,
                   struct ps_fault *fault) PS_MUST_CHECK;

#endif
