/* W3C Trace Context: a request's traceparent, copied into the event. */
#ifndef ORD_TRACE_H
#define ORD_TRACE_H

#include "common/text/id.h"
#include "common/text/traceparent.h"

/* The traceparent to pass on: the request's if it is valid, none if it has none, and a new trace
 * (not sampled) in `memory` if it is malformed. */
struct ps_str ord_trace_next(struct ps_str text, struct ps_uuid_source *ids, int64_t wall_ms,
                             char memory[PS_TRACEPARENT_LEN + 1]);

#endif
