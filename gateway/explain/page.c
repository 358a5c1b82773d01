/* A described request whose path is known: a page of the shop, or a path of the API of sales. */
#include "gateway/explain/case_internal.h"

#include "gateway/public/routes.h"
#include "gateway/upstream/fallback.h"

#include <string.h>

/* --- a page --- */

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

/* The route's fallbacks in their order; `answers`: this one answers this request. */
static json_t *fallbacks_json(const struct page_look *look)
{
    json_t *list = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < look->route->doc->fallback_count; i++) {
        const struct cfg_fallback *fallback = &look->route->doc->fallbacks[i];
        bool has_pool = fallback->kind == CFG_FALLBACK_POOL;
        err = json_array_append_new(list, json_pack("{s:s, s:o, s:b}", "kind",
                                                    up_fallback_names[fallback->kind], "pool",
                                                    text_or_null(has_pool ? fallback->pool : NULL),
                                                    "answers", i == look->fallback));
    }
    return ps_json_built(list, err);
}

static json_t *page_json(const struct page_look *look)
{
    const struct up_route_view *route = look->route;

    if (route == NULL)
        return json_null();
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "route", route->doc->name, "class",
                     cfg_route_class_names[route->doc->class], "pool",
                     text_or_null(look->pool != NULL ? look->pool->pool->name : NULL), "endpoint",
                     text_or_null(look->endpoint != NULL ? look->endpoint->is.address : NULL),
                     "cache_key",
                     look->key_len > 0 ? json_stringn(look->key, look->key_len) : json_null(),
                     "cache", text_or_null(look->cache), "mirror",
                     text_or_null(route->mirror != NULL ? route->mirror->pool->name : NULL),
                     "fallbacks", fallbacks_json(look));
}

static void explain_page(struct exp_case *asked, const struct pub_listener *listener)
{
    struct page_look *look = &asked->page_look;

    look->worker = &listener->page_worker;
    look->gates = &asked->copy;
    look->http = &asked->described.request;
    look->asked = &asked->order.request.asked;
    look->trusted = listener->trusted->count > 0;
    look->wall_ms = asked->order.wall_ms;
    look->look = &asked->look;
    page_look(look);
    asked->page = page_json(look);
    page_look_done(look);
    asked->status = look->status;
    exp_case_end(asked, look->verdict);
}

/* --- a path of the API --- */

/* One that does not buy. */
static enum ans_verdict pass_gates(struct exp_case *asked, const struct snap_sale *sale,
                                   enum adm_gate (*admit)(struct adm_admission *admission))
{
    struct ord_request *request = &asked->order.request;
    struct adm_admission admission = {.gates = &asked->copy.gates,
                                      .request = &request->asked,
                                      .sale = sale,
                                      .now_ns = request->now_ns,
                                      .wall_ms = asked->order.wall_ms,
                                      .look = &asked->look};

    return admit(&admission) == ADM_GATE_DENY ? admission.verdict : ANS_V_ok;
}

static enum ans_verdict explain_sale(struct exp_case *asked, struct ps_str name,
                                     enum adm_gate (*admit)(struct adm_admission *admission))
{
    const struct snap_sale *sale =
        snapshot_buyers_sale(asked->copy.gates.snapshot, name.at, name.len);

    if (sale == NULL)
        return ANS_V_not_found;
    if (admit == adm_admit_lookup && asked->question->user.len == 0)
        return ANS_V_unauthenticated;
    return pass_gates(asked, sale, admit);
}

static enum ans_verdict explain_order_state(struct exp_case *asked, struct ps_str id)
{
    struct ps_uuid order;

    if (asked->question->user.len == 0)
        return ANS_V_unauthenticated;
    return ps_uuid_parse(id.at, id.len, &order) < 0 ? ANS_V_not_found
                                                    : pass_gates(asked, NULL, adm_admit_lookup);
}

static enum ans_verdict explain_readiness(const struct pub_listener *listener)
{
    struct ans_readiness readiness;

    listener->readiness(listener->readiness_ctx, &readiness);
    return ans_readiness_verdict(&readiness);
}

static enum ans_verdict explain_api(struct exp_case *asked, const struct pub_listener *listener,
                                    enum pub_asks asks, struct ps_str rest)
{
    switch (asks) {
    case PUB_ASKS_STATUS:
        return explain_sale(asked, rest, adm_admit_status);
    case PUB_ASKS_ORDERS:
        return explain_sale(asked, rest, adm_admit_lookup);
    case PUB_ASKS_ORDER:
        return explain_order_state(asked, rest);
    case PUB_ASKS_READINESS:
        return explain_readiness(listener);
    case PUB_ASKS_LIVENESS:
        return ANS_V_ok;
    case PUB_ASKS_OPTIONS:
        return ANS_V_no_content;
    case PUB_ASKS_ANOTHER_METHOD:
        return ANS_V_method_not_allowed;
    case PUB_ASKS_TO_BUY: /* without a body; exp_question_read refuses it */
        return ANS_V_unsupported_media_type;
    default:
        return ANS_V_not_found;
    }
}

void exp_case_path(struct exp_case *asked, const struct exp_explainer *explainer)
{
    const struct exp_question *question = asked->question;
    const struct pub_listener *listener = explainer->listener;
    struct srv_described *described = &asked->described;
    struct ps_str rest;

    if (!srv_request_describe(explainer->http, (struct ps_str){question->head, question->head_len},
                              described)) {
        const struct ans_problem_detail detail = {.text = described->why};
        enum ans_verdict verdict = (enum ans_verdict)described->verdict;
        adm_look_note(&asked->look, &(struct adm_note){.gate = "head",
                                                       .step = ADM_GATE_DENY,
                                                       .verdict = verdict,
                                                       .detail = &detail,
                                                       .left = -1});
        exp_case_end(asked, verdict);
        return;
    }
    described->request.arrived_ns = described->request.now_ns = asked->order.request.now_ns;
    enum pub_asks asks = pub_routes_asks(&described->request, &rest);
    if (asks == PUB_ASKS_PAGE)
        explain_page(asked, listener);
    else
        exp_case_end(asked, explain_api(asked, listener, asks, rest));
}
