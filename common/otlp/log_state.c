/* The log lines about a collector, the same in each program that records spans. See tracer.h. */
#include "common/otlp/tracer.h"

#include "common/program/log.h"

void ps_tracer_log_state(enum ps_tracer_state state, const char *why)
{
    if (state == PS_TRACER_WELL)
        ps_log(PS_LOG_INFO, "traces_sent");
    else if (state == PS_TRACER_AWAY)
        ps_log(PS_LOG_WARN, "traces_not_sent", PS_F_STR("why", why));
    else
        ps_log(PS_LOG_WARN, "traces_refused", PS_F_STR("why", why));
}
