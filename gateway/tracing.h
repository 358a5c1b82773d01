/* The way of the gateway's traces to their collector. */
#ifndef GW_TRACING_H
#define GW_TRACING_H

#include "common/otlp/tracer.h"
#include "gateway/settings.h"

/* *ret_tracer is NULL if the settings name no collector. PS_E_NOMEM, PS_E_IO. */
int gw_tracing_start(const struct gw_settings *settings, const char *gateway_id, size_t workers,
                     struct ps_tracer **ret_tracer) PS_MUST_CHECK;
/* Sends what is left, for at most a second. NULL is allowed. */
void gw_tracing_stop(struct ps_tracer *tracer);

#endif
