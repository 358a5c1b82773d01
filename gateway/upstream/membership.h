/* Who is in a pool beside its document, and who of all is well: discovery, registrations and active
 * checks follow the table that the registry makes, and what they find makes the next table.
 *
 * Nothing is done within the calls below: a timer that is due at once does it on the loop's next
 * turn, since the store may be in the middle of a change. One thread: control. */
#ifndef UP_MEMBERSHIP_H
#define UP_MEMBERSHIP_H

#include "gateway/upstream/discovery.h"
#include "gateway/upstream/health.h"
#include "gateway/upstream/registrations.h"

struct up_membership;

struct up_membership_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    struct cfg_store *store;        /* its bounds say what may be an endpoint */
    const char *const *dns_servers; /* "ip:port"; none: those of /etc/resolv.conf */
    size_t dns_server_count;
};

/* PS_E_NOMEM, PS_E_IO. */
int up_membership_new(const struct up_membership_deps *deps,
                      struct up_membership **ret_membership) PS_MUST_CHECK;
/* Ends all looks and checks. The loop must turn, and the store must be freed, before
 * up_membership_free. */
void up_membership_stop(struct up_membership *membership);
void up_membership_free(struct up_membership *membership); /* NULL is allowed */

/* The table in force from now on; a reference is taken. */
void up_membership_follow(struct up_membership *membership, struct up_table *table);
/* cfg_store_callbacks.on_registration. */
void up_membership_registered(struct up_membership *membership, const char *pool, bool left);

/* Never NULL, until it is stopped. */
const struct up_discovery *up_membership_discovery(const struct up_membership *membership);
const struct up_health *up_membership_health(const struct up_membership *membership);
struct up_registrations *up_membership_registrations(const struct up_membership *membership);
/* Why no endpoint may be there (cfg_endpoint_refusal); NULL: one may. */
const char *up_membership_refusal(const struct up_membership *membership,
                                  const struct cfg_endpoint *endpoint);

#endif
