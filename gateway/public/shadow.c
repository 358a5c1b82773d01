/* See shadow.h. */
#include "gateway/public/shadow.h"

#include "gateway/public/shop_internal.h"
#include "gateway/upstream/switch.h"

#include <stdlib.h>

struct pub_shadow {
    struct pub_shadows *all;
    struct up_exchange *exchange;
    struct up_route_cell *cell; /* of its route, which the exchange's table keeps */
    LIST_ENTRY(pub_shadow) entry;
};

static void end_shadow(struct pub_shadow *shadow, bool failed)
{
    if (failed)
        up_route_count(&shadow->cell->shadows_failed);
    LIST_REMOVE(shadow, entry);
    shadow->all->count--;
    free(shadow);
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct pub_shadow *shadow = ctx;

    (void)part;
    if (answer->status >= 500)
        up_route_count(&shadow->cell->shadows_failed);
    if (last)
        end_shadow(shadow, false);
    return true;
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    (void)part;
    if (last)
        end_shadow(ctx, false);
    return true;
}

static void on_failed(enum up_outcome outcome, bool begun, void *ctx)
{
    (void)outcome;
    (void)begun;
    end_shadow(ctx, true);
}

static void on_room(void *ctx)
{
    (void)ctx; /* it has no body */
}

static const struct up_callbacks callbacks = {
    .answer = on_answer, .part = on_part, .failed = on_failed, .room = on_room};

/* Is it this one's turn, and is there a place? */
static bool takes_turn(struct pub_request *request, struct up_route_cell *cell)
{
    const struct up_route_view *route = request->shop.route;
    struct pub_listener *listener = request->listener;

    if (!up_draw_is_in(&cell->shadow_draws, route->doc->shadow.per_mille))
        return false;
    if (listener->shadows.count < PUB_SHADOWS_MAX &&
        pub_feature_on(listener, CFG_FEATURE_shadow_copies))
        return true;
    up_route_count(&cell->shadows_left_out);
    return false;
}

void pub_shadow_send(struct pub_request *request, struct ps_buf *head)
{
    const struct up_route_view *route = request->shop.route;
    const struct srv_request *http = request->http;
    struct pub_listener *listener = request->listener;
    struct up_route_cell *cell = &route->live->cells[up_worker_index(listener->shop)];
    enum up_outcome outcome;

    if (route->shadow == NULL || http->head->method != PS_HTTP_GET ||
        (http->in_parts && http->body_len != 0) || !takes_turn(request, cell))
        return;
    struct pub_shadow *shadow = calloc(1, sizeof *shadow);
    ps_buf_puts(head, "Penstock-Shadow: ?1\r\n");
    if (shadow != NULL && !head->overflow)
        shadow->exchange =
            up_forward(listener->shop,
                       &(struct up_call){.hold = request->shop.hold,
                                         .route = route->doc,
                                         .pool = route->shadow,
                                         .head = {head->at, head->len},
                                         .method = PS_HTTP_GET,
                                         .key = ps_hash64(&(struct ps_hash_key){{0}}, http->path.at,
                                                          http->path.len),
                                         .began_ns = http->arrived_ns,
                                         .is_extra = true,
                                         .callbacks = &callbacks,
                                         .ctx = shadow},
                       &outcome);
    if (shadow == NULL || shadow->exchange == NULL) {
        up_route_count(&cell->shadows_left_out);
        free(shadow);
        return;
    }
    up_route_count(&cell->shadows);
    shadow->all = &listener->shadows;
    shadow->cell = cell;
    LIST_INSERT_HEAD(&listener->shadows.all, shadow, entry);
    listener->shadows.count++;
}

void pub_shadows_cancel(struct pub_shadows *shadows)
{
    struct pub_shadow *shadow;

    while ((shadow = LIST_FIRST(&shadows->all)) != NULL) {
        up_exchange_cancel(shadow->exchange);
        end_shadow(shadow, false);
    }
}
