/* Discovery: sources that add endpoints to a pool. A pool's document names one source:
 *
 *   file          a JSON array of endpoints, or {"endpoints":[…]}; watched, and read each second
 *   dns           A and AAAA of a name, with a port; again when the TTL of the answers is over
 *   srv           SRV of a name, then A and AAAA of its targets; likewise
 *   registration  endpoints registered by the admin API that have not expired (up_discovery_offer)
 *
 * Each list passes one gate. An address that may not be an endpoint is left out, and `why` says so.
 * An empty list is a failure: the last valid list stays in force while failures last. A list
 * shorter than shrink_share_min times the last valid one is held for 60 s, which the state shows,
 * and is then used. Half a list (a registry that restarts, a file that is being written) is
 * complete again within that time, and a pool that was really made smaller needs no operator. A
 * longer list, or a change of the pool's document, ends the hold at once.
 *
 * The caller learns of a new list by `changed` and merges it with the document's endpoints. One
 * thread: that of the loop. */
#ifndef UP_DISCOVERY_H
#define UP_DISCOVERY_H

#include "common/clock.h"
#include "gateway/config/kinds/pool_doc.h"

#include <uv.h>

#define UP_HELD_MS       60000
#define UP_DISCOVERY_WHY 192

enum up_discovery_state {
    UP_DISCOVERY_WAITING, /* nothing is known yet */
    UP_DISCOVERY_OK,
    UP_DISCOVERY_FAILED, /* the last valid list stays in force */
    UP_DISCOVERY_HELD    /* the same, for UP_HELD_MS */
};
extern const char
    *const up_discovery_state_names[]; /* "waiting", "ok", "failed", "held"; NULL-terminated */

struct up_discovery_view {
    const char *source; /* "file", "dns", "srv", "registration" */
    enum up_discovery_state state;
    int64_t since_ms; /* wall clock: when this state began */
    int64_t next_ms;  /* wall clock: the next query, or the end of the hold; 0: none is planned */
    const char *why;  /* the reason; "": none */
    int64_t good_ms;  /* wall clock: when the source last confirmed the list in force; 0: never */
    int64_t failures; /* of this source */
    size_t endpoint_count;
};

struct up_discovery_settings {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    /* From the settings; the caller keeps what they point to alive. */
    const struct cfg_bounds *bounds; /* NULL: every address, and no files */
    const char *const *dns_servers;  /* "ip:port"; none: those of /etc/resolv.conf */
    size_t dns_server_count;
    int64_t held_ms; /* 0 = UP_HELD_MS */
    /* What up_discovery_endpoints gives has changed. */
    void (*changed)(void *ctx, const char *pool);
    void *ctx;
};

struct up_discovery;

/* PS_E_NOMEM; PS_E_IO: c-ares does not start. */
int up_discovery_new(const struct up_discovery_settings *settings,
                     struct up_discovery **ret_discovery) PS_MUST_CHECK;
/* The loop must turn until its handles are closed. NULL is allowed. */
void up_discovery_free(struct up_discovery *discovery);

/* Uses this version of the pool's document from now on; a document without discovery ends it. If
 * the source has changed, the endpoints found so far stay until the new source reports. PS_E_NOMEM:
 * the pool has no discovery. */
int up_discovery_set(struct up_discovery *discovery, const struct cfg_pool *doc) PS_MUST_CHECK;
void up_discovery_drop(struct up_discovery *discovery, const char *pool);

/* The registrations of a pool as they are now; NULL endpoints with count 0. `deliberate`: somebody
 * has removed one, and such a list is never held; else some may have expired. Does nothing if the
 * pool has another source. PS_E_NOMEM: the old list stays. */
int up_discovery_offer(struct up_discovery *discovery, const char *pool,
                       const struct cfg_endpoint *endpoints, size_t count,
                       bool deliberate) PS_MUST_CHECK;

/* The pool's registrations are unknown at present: the last list stays. */
void up_discovery_fail(struct up_discovery *discovery, const char *pool, const char *why);

/* Sorted by address, without duplicates; valid until `changed` or the next call of
 * up_discovery_set. NULL with *ret_count 0: none. */
const struct cfg_endpoint *up_discovery_endpoints(const struct up_discovery *discovery,
                                                  const char *pool, size_t *ret_count);
/* False: the pool has no discovery. */
bool up_discovery_view(const struct up_discovery *discovery, const char *pool,
                       struct up_discovery_view *ret_view);

/* Is the list long enough to replace the last valid one without a hold? Pure. */
bool up_discovery_is_enough(size_t count, size_t last, double shrink_share_min);

#endif
