/* What becomes of a route beside its document: an operator's order to use its fall-backs, with a
 * time, and splits that were taken back, which an operator may take up again. Both are the state of
 * the document: they outlive a restart and hold at every gateway of a cluster. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/kinds/route_doc.h"

static int show_route(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    const struct cfg_route *route = cfg_route_of(doc);
    const struct cfg_pin *pin = &route->fallback_pin;
    bool pinned = cfg_pin_is_in_force(pin, ps_clock_wall_ms(admin->deps.clock));

    return json_object_set_new(json, "pin", cfg_pin_write(pinned ? pin : NULL, &cfg_route_pins)) |
           json_object_set_new(json, "returned", cfg_route_returned(route));
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

static void fallback_route(struct op_request *request)
{
    int64_t now_ms = ps_clock_wall_ms(request->admin->deps.clock);
    struct op_target target;
    struct cfg_pin pin;

    if (!read_route(request, &target) || !op_read_pin(request, &cfg_route_pins, now_ms, &pin))
        return;
    const struct cfg_route *route = cfg_route_of(target.have);
    if (route->fallback_count == 0) {
        op_no(request, ANS_V_conflict, "the route has no fall-back: give it one first");
        return;
    }
    op_document_state(request, &target, "route.fallback", cfg_route_state(route, &pin, NULL),
                      cfg_pin_write(&route->fallback_pin, &cfg_route_pins),
                      cfg_pin_write(&pin, &cfg_route_pins));
}

static void restore_route(struct op_request *request)
{
    struct op_target target;

    if (!op_only_reason(request) || !read_route(request, &target))
        return;
    const struct cfg_route *route = cfg_route_of(target.have);
    if (cfg_pin_is_in_force(&route->fallback_pin, ps_clock_wall_ms(request->admin->deps.clock)))
        op_document_state(request, &target, "route.restore", cfg_route_state(route, NULL, NULL),
                          cfg_pin_write(&route->fallback_pin, &cfg_route_pins), NULL);
    else
        op_say_document(request, target.kind, target.name);
}

static void resume_route(struct op_request *request)
{
    struct op_target target;

    if (!op_only_reason(request) || !read_route(request, &target))
        return;
    const struct cfg_route *route = cfg_route_of(target.have);
    json_t *returned = cfg_route_returned(route);
    if (json_array_size(returned) > 0) {
        op_document_state(request, &target, "route.resume",
                          cfg_route_state(route, &route->fallback_pin, json_array()),
                          json_pack("{s:O}", "returned", returned), NULL);
    } else {
        op_say_document(request, target.kind, target.name);
    }
    json_decref(returned);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_switching_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/routes/{}/fallback", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY, fallback_route},
        {"/admin/v1/routes/{}/restore",  SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,                 restore_route},
        {"/admin/v1/routes/{}/resume",   SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,                 resume_route},
        {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_route, .show = show_route}, {0}},
};
/* clang-format on */
