/* Which endpoints a pool has besides those of its document, and which are healthy: discovery,
 * registrations and active checks follow the table that the registry builds, and their results go
 * into the next table.
 *
 * The calls below only note what has changed; a timer does the work on the loop's next turn, since
 * the store may be in the middle of a change. One thread: control. */
#ifndef UP_MEMBERSHIP_H
#define UP_MEMBERSHIP_H

#include "gateway/upstream/discovery.h"
#include "gateway/upstream/health.h"
#include "gateway/upstream/registrations.h"

struct up_membership;

struct up_membership_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    struct cfg_store *store;      /* its bounds say which addresses may be endpoints */
    void (*on_change)(void *ctx); /* pools have other endpoints: build the table again */
    void *ctx;
    const char *const *dns_servers; /* "ip:port"; none: those of /etc/resolv.conf */
    size_t dns_server_count;
};

/* PS_E_NOMEM, PS_E_IO. */
int up_membership_new(const struct up_membership_deps *deps,
                      struct up_membership **ret_membership) PS_MUST_CHECK;
/* Ends all lookups and checks. The loop must turn, and the store must be freed, before
 * up_membership_free. */
void up_membership_stop(struct up_membership *membership);
void up_membership_free(struct up_membership *membership); /* NULL is allowed */

/* The table in force from now on; takes a reference. */
void up_membership_follow(struct up_membership *membership, struct up_table *table);
/* A version of a document is in force (cfg_store_callbacks.in_force): registrations are looked at
 * on the loop's next turn. */
void up_membership_put(struct up_membership *membership, const struct cfg_doc *from,
                       const struct cfg_doc *to);

/* Never NULL, until up_membership_stop. */
const struct up_discovery *up_membership_discovery(const struct up_membership *membership);
const struct up_health *up_membership_health(const struct up_membership *membership);
struct up_registrations *up_membership_registrations(const struct up_membership *membership);
/* Why the gateway may not use an endpoint at this address (cfg_endpoint_refusal); NULL: it may. */
const char *up_membership_refusal(const struct up_membership *membership,
                                  const struct cfg_endpoint *endpoint);

#endif
