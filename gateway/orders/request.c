/* Common to all buyers' requests: kept, found again, answered once. */
#include "gateway/orders/request.h"

#include <string.h>

static const struct ord_caller *caller_of(const struct ord_request *request)
{
    return &request->deps->caller;
}

uint64_t ord_request_keep(struct ord_request *request)
{
    if (request->handle == 0)
        request->handle = caller_of(request)->keep(request);
    return request->handle;
}

struct ord_request *ord_request_find(const struct ord_deps *deps, uint64_t handle)
{
    return deps->caller.find(handle, deps->caller.ctx);
}

const struct snap_sale *ord_request_sale(const struct ord_request *request)
{
    return snapshot_sale(request->deps->gates->snapshot, request->sale_name.at,
                         request->sale_name.len);
}

bool ord_request_is_of(const struct ord_request *request, const char *user, size_t len)
{
    return len == request->asked.user.len && memcmp(user, request->asked.user.at, len) == 0;
}

void ord_request_deny(struct ord_request *request, enum ans_verdict verdict,
                      const struct ans_problem_detail *detail)
{
    struct ans_problem_detail whole = detail != NULL ? *detail : (struct ans_problem_detail){0};

    whole.seed = request->asked.user_hash;
    whole.limit = request->asked.limit;
    request->state = ORD_ANSWERED;
    caller_of(request)->reply(request, &(struct ord_reply){.verdict = verdict, .problem = &whole});
}

void ord_request_show(struct ord_request *request, enum ans_verdict verdict,
                      const struct ord_order_text *order, bool replayed)
{
    request->state = ORD_ANSWERED;
    caller_of(request)->reply(
        request, &(struct ord_reply){.verdict = verdict, .order = order, .replayed = replayed});
}
