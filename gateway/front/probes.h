/* Health probes, on both listeners. livez: this process answers. readyz: buyers can be served. */
#ifndef GW_PROBES_H
#define GW_PROBES_H

#include "gateway/core.h"
#include "gateway/front/http.h"
#include "gateway/front/verdict.h"

void gw_probe_live(struct gw_request *request);
/* 200 or 503; with ?verbose one line a check. `operator`: the admin listener, which also says why
 * and how much; the public one only names checks. */
enum gw_verdict gw_probe_ready(struct gw_core *core, struct gw_request *request,
                               bool operator_asks);

#endif
