/* W3C Trace Context: the traceparent of a request, passed on into the event. */
#ifndef ORD_TRACE_H
#define ORD_TRACE_H

#include "common/text/id.h"

#define ORD_TRACE_LEN 55

/* What travels on: the request's traceparent when it is good, none when there is none, and a new
 * trace (not sampled) in `memory` when it is bad. */
struct ps_str ord_trace_next(struct ps_str text, struct ps_uuid_source *ids, int64_t wall_ms,
                             char memory[ORD_TRACE_LEN + 1]);

#endif
