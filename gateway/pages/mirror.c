/* See mirror.h. */
#include "gateway/pages/mirror.h"

#include "gateway/pages/page_internal.h"
#include "gateway/upstream/route_figures.h"
#include "gateway/upstream/switch.h"

#include <stdlib.h>

struct page_mirror {
    struct page_mirrors *all;
    struct up_exchange *exchange;
    struct up_route_cell *cell; /* of its route; the exchange's table keeps it valid */
    LIST_ENTRY(page_mirror) entry;
};

static void end_mirror(struct page_mirror *mirror, bool failed)
{
    if (failed)
        up_route_count(&mirror->cell->mirrors_failed);
    LIST_REMOVE(mirror, entry);
    mirror->all->count--;
    free(mirror);
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct page_mirror *mirror = ctx;

    (void)part;
    if (answer->status >= 500)
        up_route_count(&mirror->cell->mirrors_failed);
    if (last)
        end_mirror(mirror, false);
    return true;
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    (void)part;
    if (last)
        end_mirror(ctx, false);
    return true;
}

static void on_failed(enum up_end end, bool begun, void *ctx)
{
    (void)end;
    (void)begun;
    end_mirror(ctx, true);
}

static void on_room(void *ctx)
{
    (void)ctx; /* a GET has no body */
}

static const struct up_callbacks callbacks = {
    .answer = on_answer, .part = on_part, .failed = on_failed, .room = on_room};

/* Should this request be mirrored, and is there a place? */
static bool takes_turn(const struct page_request *page, struct up_route_cell *cell)
{
    const struct page_worker *worker = page->worker;

    if (!up_draw_is_in(&cell->mirror_draws, page->route->doc->mirror.per_mille))
        return false;
    if (worker->mirrors.count < PAGE_MIRRORS_MAX &&
        adm_feature_on(worker->gates->overload, worker->shard, CFG_FEATURE_mirror))
        return true;
    up_route_count(&cell->mirrors_left_out);
    return false;
}

static struct up_exchange *send_copy(const struct page_request *page, struct page_mirror *mirror)
{
    const struct srv_request *http = page->http;
    struct up_worker *shop = page->worker->shop;
    struct ps_buf head = up_worker_scratch(shop);
    struct page_texts texts;
    struct up_origin origin;
    enum up_end end;

    page_origin(page, &texts, &origin);
    up_fields_request(&head, &origin, &page->route->doc->request_headers);
    ps_buf_puts(&head, "Penstock-Mirror: ?1\r\n");
    if (head.overflow)
        return NULL;
    return up_forward(shop,
                      &(struct up_call){.hold = page->hold,
                                        .route = page->route->doc,
                                        .pool = page->route->mirror,
                                        .head = {head.at, head.len},
                                        .method = PS_HTTP_GET,
                                        .key = ps_hash64(&(struct ps_hash_key){{0}}, http->path.at,
                                                         http->path.len),
                                        .began_ns = http->now_ns,
                                        .client = page->asked->address,
                                        .path = http->path,
                                        .is_extra = true,
                                        .callbacks = &callbacks,
                                        .ctx = mirror},
                      &end);
}

void page_mirror_send(struct page_request *page)
{
    const struct srv_request *http = page->http;
    struct page_worker *worker = page->worker;
    struct up_route_cell *cell = &page->route->live->cells[up_worker_index(worker->shop)];

    if (page->route->mirror == NULL || http->head->method != PS_HTTP_GET ||
        (http->in_parts && http->body_len != 0) || !takes_turn(page, cell))
        return;
    struct page_mirror *mirror = calloc(1, sizeof *mirror);
    if (mirror != NULL)
        mirror->exchange = send_copy(page, mirror);
    if (mirror == NULL || mirror->exchange == NULL) {
        up_route_count(&cell->mirrors_left_out);
        free(mirror);
        return;
    }
    up_route_count(&cell->mirrors);
    mirror->all = &worker->mirrors;
    mirror->cell = cell;
    LIST_INSERT_HEAD(&worker->mirrors.all, mirror, entry);
    worker->mirrors.count++;
}

void page_mirrors_cancel(struct page_mirrors *mirrors)
{
    struct page_mirror *mirror;

    while ((mirror = LIST_FIRST(&mirrors->all)) != NULL) {
        up_exchange_cancel(mirror->exchange, UP_WHY_STOPPED);
        end_mirror(mirror, false);
    }
}
