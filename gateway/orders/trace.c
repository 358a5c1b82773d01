/* Anything malformed starts a new trace. */
#include "gateway/orders/trace.h"

#include <string.h>

struct ps_str ord_trace_next(struct ps_str text, struct ps_uuid_source *ids, int64_t wall_ms,
                             char memory[PS_TRACEPARENT_LEN + 1])
{
    struct ps_traceparent is;
    struct ps_uuid trace, span;

    if (text.at == NULL)
        return (struct ps_str){0};
    if (ps_traceparent_parse(text, &is) == 0)
        return text;
    ps_uuid_next(ids, wall_ms, &trace);
    ps_uuid_next(ids, wall_ms, &span);
    memcpy(is.trace, trace.byte, sizeof is.trace);
    /* the random half of a UUIDv7; its top bit is set, so it is never zero */
    memcpy(is.span, span.byte + 8, sizeof is.span);
    is.flags = 0;
    ps_traceparent_format(&is, memory);
    return (struct ps_str){memory, PS_TRACEPARENT_LEN};
}
