/* Discovery: who else says which endpoints a pool has. A pool's document names one source:
 *
 *   file          a JSON array of endpoints, or {"endpoints":[…]}; watched, read again each second
 *   dns           A and AAAA of a name, with a port; as long as the answers' TTL
 *   srv           SRV of a name, then A and AAAA of its targets; the same
 *   registration  what was registered through the admin API and has not ended (up_discovery_offer)
 *
 * Each list goes through one gate. An address that may be no endpoint is left out, and `why` says
 * so. An empty list is a failure: the last good one stays, for as long as the failures last. A list
 * shorter than shrink_share_min times the last good one is held for 60 s, which the state says, and
 * then taken: half an answer (a registry that restarts, a file that is being written) is whole
 * again within that time, and where a pool was really made smaller nobody has to be woken up for
 * it. A longer list, or a change of the pool's document, ends that at once.
 *
 * What was found is merged with the document's endpoints by whoever is told by `changed`.
 * One thread: that of the loop. */
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
    UP_DISCOVERY_FAILED, /* the last good list stays */
    UP_DISCOVERY_HELD    /* so does it, for UP_HELD_MS */
};
extern const char
    *const up_discovery_state_names[]; /* "waiting", "ok", "failed", "held"; NULL-terminated */

struct up_discovery_view {
    const char *source; /* "file", "dns", "srv", "registration" */
    enum up_discovery_state state;
    int64_t since_ms; /* wall clock: so long in this state */
    int64_t next_ms;  /* wall clock: the next look, or the end of holding; 0: none is planned */
    const char *why;  /* "": there is nothing to say */
    int64_t good_ms;  /* wall clock: when the source last gave the list in force; 0: it has not */
    int64_t failures; /* of this source */
    size_t endpoint_count;
};

struct up_discovery_settings {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    /* Of the settings; what they point to outlives this. */
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

/* Goes by this version of the pool's document from now on; one without discovery ends it. When its
 * source is another one, the endpoints found so far stay until the new one has said something.
 * PS_E_NOMEM: the pool has no discovery. */
int up_discovery_set(struct up_discovery *discovery, const struct cfg_pool *doc) PS_MUST_CHECK;
void up_discovery_drop(struct up_discovery *discovery, const char *pool);

/* The registrations of a pool as they are now; NULL endpoints with count 0. `deliberate`: somebody
 * has removed one, which is never held; else some may have ended by themselves. Nothing happens
 * when the pool has another source. PS_E_NOMEM: the old ones stay. */
int up_discovery_offer(struct up_discovery *discovery, const char *pool,
                       const struct cfg_endpoint *endpoints, size_t count,
                       bool deliberate) PS_MUST_CHECK;

/* Nothing can be said of the pool's registrations now: the last list stays. */
void up_discovery_fail(struct up_discovery *discovery, const char *pool, const char *why);

/* By address, each once; valid until `changed` or the next call of up_discovery_set. NULL with
 * *ret_count 0: none. */
const struct cfg_endpoint *up_discovery_endpoints(const struct up_discovery *discovery,
                                                  const char *pool, size_t *ret_count);
/* False: the pool has no discovery. */
bool up_discovery_view(const struct up_discovery *discovery, const char *pool,
                       struct up_discovery_view *ret_view);

/* May a list so short take the place of the last good one without being held? Pure. */
bool up_discovery_is_enough(size_t count, size_t last, double shrink_share_min);

#endif
