/* What would this request get, and why? The workers answer (explain/). */
#include "gateway/admin/parts.h"

#include "gateway/explain/question.h"

#define EXPLAIN_WAIT_MS 2000

static void post_explain(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    struct ps_faults faults = {0};
    struct exp_question question;
    int err = exp_question_read(request->body, &question, &faults);

    if (err == PS_E_INVALID) {
        op_faults(request, ANS_V_invalid, &faults);
        return;
    }
    if (err == 0)
        err = deps->explain(deps->ctx, &question, op_wait(request, EXPLAIN_WAIT_MS));
    if (err == PS_E_BUSY)
        op_no(request, ANS_V_shed, "no worker of this gateway has time to answer");
    else if (err < 0)
        op_no(request, ANS_V_internal, "out of memory");
}

void op_admin_explained(struct op_admin *admin, uint64_t handle, json_t *answer)
{
    struct op_request *request = op_find(admin, handle);

    if (request != NULL)
        op_json(request, ANS_V_ok, answer);
    else
        json_decref(answer);
}

/* clang-format off */
const struct op_part op_explain_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/explain", SRV_POST, OP_ROLE_VIEWER, OP_NEEDS_BODY, post_explain},
        {0}},
};
/* clang-format on */
