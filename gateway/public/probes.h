/* Health probes, on both listeners. livez: this process answers. readyz: buyers can be served. */
#ifndef PUB_PROBES_H
#define PUB_PROBES_H

#include "gateway/core.h"
#include "gateway/server/http.h"
#include "gateway/answers/verdict.h"

void pub_probe_live(struct srv_request *request);
/* 200 or 503; with ?verbose one line a check. `operator`: the admin listener, which also says why
 * and how much; the public one only names checks. */
enum ans_verdict pub_probe_ready(struct gw_core *core, struct srv_request *request,
                                 bool operator_asks);

#endif
