/* See tracing.h. */
#include "gateway/tracing.h"

#include "common/call/call.h"

int gw_tracing_start(const struct gw_settings *settings, const char *gateway_id, size_t workers,
                     struct ps_tracer **ret_tracer)
{
    const struct ps_tracer_settings tracer = {.endpoint = settings->tracing.endpoint,
                                              .headers = &settings->headers,
                                              .service = "penstock",
                                              .version = PENSTOCK_VERSION,
                                              .instance = gateway_id,
                                              .producers = workers,
                                              .on_state = ps_tracer_log_state};

    *ret_tracer = NULL;
    if (settings->tracing.endpoint == NULL)
        return 0;
    int err = ps_calls_start();
    return err < 0 ? err : ps_tracer_new(&tracer, ret_tracer);
}

void gw_tracing_stop(struct ps_tracer *tracer)
{
    if (tracer == NULL)
        return;
    ps_tracer_free(tracer);
    ps_calls_stop();
}
