/* Heart-beats of registered endpoints (config/registration.h), written together.
 *
 * A registration is stored with an end one TTL and a half after its last written heart-beat, and
 * one is written only when less than a TTL is left: at most once in half a TTL. So an endpoint is
 * never taken for gone earlier than a TTL after its heart-beat, and at the latest after one and a
 * half. All that are due within a second (an eighth of the shortest TTL among them, if that is
 * less) make one change of the store, whatever the number of endpoints.
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

/* When a registration ends whose heart-beat has just come. */
int64_t up_registration_end_ms(int64_t now_ms, int64_t ttl_s);

/* A heart-beat of what is in force; when it ends now is in *ret_until_ms. PS_E_NOMEM; or the last
 * heart-beats could not be written, and why: this one is tried again with them. */
int up_registrations_renew(struct up_registrations *registrations, const struct cfg_doc *doc,
                           int64_t *ret_until_ms, struct ps_fault *fault) PS_MUST_CHECK;
/* What the last writing failed with; NULL: it went well. */
const struct ps_fault *up_registrations_fault(const struct up_registrations *registrations);

#endif
