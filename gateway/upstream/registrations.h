/* Heartbeats of registered endpoints (config/registration.h), written together.
 *
 * A stored registration expires one and a half TTLs after its last written heartbeat. A heartbeat
 * is written only when less than one TTL is left, so at most once in half a TTL. So an endpoint
 * expires no earlier than one TTL after its heartbeat, and no later than one and a half. All
 * heartbeats that are due within a second (or an eighth of the shortest TTL among them, if that is
 * less) are one change of the store, whatever the number of endpoints.
 *
 * One thread: control. */
#ifndef UP_REGISTRATIONS_H
#define UP_REGISTRATIONS_H

#include "gateway/config/kinds/registration.h"
#include "gateway/config/store/store.h"

#include <uv.h>

struct up_registrations;

int up_registrations_new(uv_loop_t *loop, struct cfg_store *store,
                         struct up_registrations **ret_registrations) PS_MUST_CHECK;
/* Closes the timer; the loop must turn, and the store must be freed, before up_registrations_free.
 */
void up_registrations_stop(struct up_registrations *registrations);
void up_registrations_free(struct up_registrations *registrations); /* NULL is allowed */

/* When a registration expires whose heartbeat has just arrived. */
int64_t up_registration_end_ms(int64_t now_ms, int64_t ttl_s);

/* A heartbeat of a registration in force; *ret_until_ms is its new end. PS_E_NOMEM; or the reason
 * for which the last heartbeats could not be written: this one is then retried with them. */
int up_registrations_renew(struct up_registrations *registrations, const struct cfg_doc *doc,
                           int64_t *ret_until_ms, struct ps_fault *fault) PS_MUST_CHECK;
/* Why the last write failed; NULL: it did not. */
const struct ps_fault *up_registrations_fault(const struct up_registrations *registrations);

#endif
