/* What the sources of discovery share. A source reports lists and failures; discovery.c judges
 * them. */
#ifndef UP_DISCOVERY_INTERNAL_H
#define UP_DISCOVERY_INTERNAL_H

#include "gateway/upstream/discovery.h"

#include <sys/queue.h>

struct up_source;

/* A list of endpoints; zeroed, it is empty. */
struct up_found {
    struct cfg_endpoint *at; /* heap */
    size_t count, room;
};
int up_found_add(struct up_found *found, const struct cfg_endpoint *endpoint) PS_MUST_CHECK;
void up_found_free(struct up_found *found); /* empty again */

/* One kind of source. */
struct up_source_kind {
    const char *name;
    /* Starts the source. PS_E_NOMEM, PS_E_IO. */
    int (*start)(struct up_source *source, void **ret_state);
    /* Stops it: no report follows. Work under way frees itself later, on the loop. */
    void (*stop)(void *state);
};
extern const struct up_source_kind up_source_file, up_source_dns, up_source_srv;

/* The source of one pool. */
struct up_source {
    struct up_discovery *discovery;
    struct cfg_pool *doc;              /* owned */
    const struct up_source_kind *kind; /* registrations have no state: NULL */
    void *state;
    struct up_found have, held; /* the list in force; the list on hold */
    bool is_baseline; /* `have` came from this source, so a shorter list means that it shrinks */
    uv_timer_t holding;
    struct up_discovery_view view;
    char why[UP_DISCOVERY_WHY];
    LIST_ENTRY(up_source) next;
};

/* A source calls one of these at the end of its event, since `changed` may stop it.
 * up_source_report takes the list's memory; the next query is at `next_ms` (0: none is planned). */
void up_source_report(struct up_source *source, struct up_found *found, int64_t next_ms);
void up_source_fail(struct up_source *source, int64_t next_ms, const char *fmt, ...)
    PS_PRINTF(3, 4);

const struct up_discovery_settings *up_source_settings(const struct up_source *source);

/* discovery_dns.c: call before and after all use of c-ares. PS_E_IO. */
int up_dns_init(void) PS_MUST_CHECK;
void up_dns_done(void);

#endif
