/* What a knee supports: a limit, thresholds of overload, connections. Pure: figures and documents
 * in, a bundle for PUT /admin/v1/config out. */
#ifndef LT_PROPOSAL_H
#define LT_PROPOSAL_H

#include "common/text/json.h"

struct lt_proposal {
    int64_t rate;              /* orders a second that the limit admits */
    int64_t burst;             /* and at once */
    json_t *thresholds;        /* signal -> its threshold of overload; NULL: none. Borrowed */
    int64_t connections;       /* http.connections, for buyers who connect directly */
    int64_t files;             /* the file descriptors that these need */
    int64_t proxy_connections; /* of all proxies together; requests of more connections would only
                                  wait */
};

/* Of a knee of `knee` clicks a second, where an answer is in time within `in_time_ms` and a kept
 * connection stays open for `idle_ms` after it (http.idle_timeout_ms). The burst is what the
 * proposed rate answers in that time; it must be verified. `thresholds` stays NULL. */
void lt_proposal_init(struct lt_proposal *proposal, int64_t knee, double margin, int64_t in_time_ms,
                      int64_t idle_ms);

/* Thresholds that separate the knee from calm: `knee` and `calm` are objects of the signals' values
 * at the knee, and the largest of all runs at the proposed rate and below. A signal is included,
 * with its value at the knee, if that is a quarter (1/LT_ENTER) above its value in calm: then the
 * ladder goes up before the knee, and stays at 0 in calm. The threshold of requests in flight is at
 * least the number answered in time at the knee, since cheaper refusals are among them. Only
 * signals that the load moves, and that are about the gateway alone. A new reference; NULL: out of
 * memory. */
#define LT_ENTER 0.8 /* of a threshold: the ladder goes up, unless its document says otherwise */
json_t *lt_proposal_thresholds(const struct lt_proposal *proposal, const json_t *knee,
                               const json_t *calm) PS_MUST_CHECK;

/* A bundle of the kinds `limits` and, with thresholds, `overload`. PUT replaces all documents of a
 * bundle's kinds; so the bundle has all documents of these kinds that the gateway has (`documents`,
 * of GET /admin/v1/config), and no other kind. The limit is the rule "global", or "capacity" if
 * "global" counts something else. A new reference; NULL: out of memory. */
json_t *lt_proposal_bundle(const struct lt_proposal *proposal,
                           const json_t *documents) PS_MUST_CHECK;

#endif
