/* Returned splits, which an operator may enable again. They are in the state of their route's
 * document: they survive a restart and apply to every gateway of a cluster. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/kinds/route_doc.h"

static int show_route(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    (void)admin;
    return json_object_set_new(json, "returned", cfg_route_returned(cfg_route_of(doc)));
}

/* False: answered. */
static bool read_route(struct op_request *request, struct op_target *ret_target)
{
    if (!op_read_target(request, &cfg_kind_route, ret_target))
        return false;
    if (ret_target->have == NULL) {
        op_no(request, ANS_V_not_found, "no such route");
        return false;
    }
    return op_matches(request, ret_target->have->version);
}

static void resume_route(struct op_request *request)
{
    struct op_target target;

    if (!op_only_reason(request) || !read_route(request, &target))
        return;
    const struct cfg_route *route = cfg_route_of(target.have);
    json_t *returned = cfg_route_returned(route);
    if (json_array_size(returned) > 0) {
        op_document_state(request, &target, "route.resume", cfg_route_state(route, json_array()),
                          json_pack("{s:O}", "returned", returned), NULL);
    } else {
        op_say_document(request, target.kind, target.name);
    }
    json_decref(returned);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_switching_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/routes/{}/resume", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES, resume_route},
        {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_route, .show = show_route}, {0}},
};
/* clang-format on */
