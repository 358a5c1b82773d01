/* See shop_cache.h. A request that fetches for others has a pub_fetch, which stands between its
 * exchange and its client: it gives the answer to the fill, then to the client if there is one yet.
 *
 * What must hold: a fetch has an exchange or has ended; a request's fetch has that request. */
#include "gateway/public/shop_internal.h"

#include <stdlib.h>

struct pub_fetch {
    TAILQ_ENTRY(pub_fetch) entry;
    struct pub_listener *listener;
    struct pub_request *request; /* NULL: its client has left, or there was none */
    struct up_exchange *exchange;
    struct cache_fill *fill;
    struct cache_entry *stale; /* whose validators were sent; NULL: none were */
    int64_t sent_ns;
    bool kept; /* the answer goes into the cache */
};

static const struct up_callbacks fetch_callbacks;

struct pub_fetch *pub_fetch_new(struct pub_listener *listener, struct pub_request *request,
                                struct cache_found *found)
{
    struct pub_fetch *fetch = calloc(1, sizeof *fetch);

    if (fetch == NULL)
        return NULL;
    *fetch = (struct pub_fetch){.listener = listener,
                                .request = request,
                                .fill = found->fill,
                                .stale = found->entry,
                                .sent_ns = ps_clock_mono_ns(listener->clock)};
    TAILQ_INSERT_TAIL(&listener->cache.fetches, fetch, entry);
    found->fill = NULL;
    found->entry = NULL;
    return fetch;
}

/* Its exchange has ended, or is the client's alone. The fill has ended. */
static void free_fetch(struct pub_fetch *fetch)
{
    if (fetch->request != NULL)
        fetch->request->shop.cached.fetch = NULL;
    TAILQ_REMOVE(&fetch->listener->cache.fetches, fetch, entry);
    cache_entry_drop(fetch->stale);
    free(fetch);
}

/* The shop has not given what was asked for. */
static void fail_fetch(struct pub_fetch *fetch)
{
    cache_fill_fail(fetch->fill);
    free_fetch(fetch);
}

void pub_fetch_origin(const struct pub_fetch *fetch, struct up_origin *origin)
{
    origin->unconditional = true; /* so that the whole comes; the client's are judged here */
    if (fetch->stale == NULL)
        return;
    origin->if_none_match = fetch->stale->etag;
    origin->if_modified_since = cache_fields_find(fetch->stale->fields, "Last-Modified");
}

void pub_cache_call(const struct pub_request *request, struct up_call *call)
{
    if (request->shop.cached.fetch == NULL)
        return;
    call->callbacks = &fetch_callbacks;
    call->ctx = request->shop.cached.fetch;
}

void pub_cache_sent(struct pub_request *request, struct up_exchange *exchange)
{
    struct pub_fetch *fetch = request->shop.cached.fetch;

    if (fetch == NULL)
        return;
    fetch->exchange = exchange;
    if (exchange == NULL)
        fail_fetch(fetch);
}

static struct cache_moments moments_of(const struct pub_fetch *fetch)
{
    return (struct cache_moments){.sent_ms = fetch->sent_ns / PS_NS_PER_MS,
                                  .received_ms = pub_cache_now_ms(fetch->listener),
                                  .wall_ms = ps_clock_wall_ms(fetch->listener->clock)};
}

/* The exchange is given up or has ended, and the client gets the entry. */
static bool answer_instead(struct pub_fetch *fetch, struct cache_entry *entry, int status,
                           bool last)
{
    struct pub_request *request = fetch->request;
    struct up_exchange *exchange = fetch->exchange;

    free_fetch(fetch);
    if (!last)
        up_exchange_cancel(exchange);
    if (request == NULL) {
        cache_entry_drop(entry);
        return false;
    }
    request->shop.exchange = NULL;
    request->shop.cached.status = (struct cache_status){
        .fwd = CACHE_FWD_STALE, .fwd_status = status, .stored = status == 304};
    pub_cache_answer(request, entry);
    return false;
}

static bool answer_not_modified(struct pub_fetch *fetch, const struct up_answer *answer, bool last)
{
    struct pub_request *request = fetch->request;
    struct cache_moments moments = moments_of(fetch);
    struct cache_entry *entry = cache_fill_freshen(
        fetch->fill, (struct cache_message){answer->head, answer->base}, &moments);

    if (entry != NULL)
        return answer_instead(fetch, entry, 304, last);
    /* It speaks of another entry: the client's request goes again, without validators. */
    const struct up_pool_view *pool = request != NULL ? request->shop.cached.pool : NULL;
    struct up_target *target = request != NULL ? request->shop.cached.target : NULL;
    struct up_exchange *exchange = fetch->exchange;
    fail_fetch(fetch);
    if (!last)
        up_exchange_cancel(exchange);
    if (request != NULL) {
        request->shop.exchange = NULL;
        pub_shop_send(request, pool, target);
    }
    return false;
}

static bool is_error(int status)
{
    return status == 500 || status == 502 || status == 503 || status == 504; /* RFC 5861, 4 */
}

static bool may_serve_stale(const struct pub_fetch *fetch)
{
    return fetch->request != NULL && fetch->stale != NULL &&
           cache_kept_if_error(&fetch->stale->kept, pub_cache_now_ms(fetch->listener));
}

/* Conditions of the client's own, which were not sent on, with the answer that came. */
static bool is_not_modified(const struct pub_request *request, const struct up_answer *answer)
{
    struct cache_message message = {answer->head, answer->base};
    struct cache_asked asked = pub_cache_asked(request);
    struct cache_moments moments = {.wall_ms = ps_clock_wall_ms(request->listener->clock)};
    struct cache_kept kept;
    uint64_t first, len;

    if (!asked.has_conditions || answer->status != 200)
        return false;
    (void)cache_kept_read(&asked, message, &request->shop.route->doc->cache, &moments, &kept);
    return cache_part_of(&asked, &kept, cache_field(message, "ETag"), 0, &first, &len) ==
           CACHE_PART_NOT_MODIFIED;
}

/* The last part is in the fill: what is left of the answer is the client's. */
static void end_fetch(struct pub_fetch *fetch)
{
    cache_entry_drop(cache_fill_end(fetch->fill));
    free_fetch(fetch);
}

/* The client gets 304 and needs the answer no more. */
static bool answer_304(struct pub_fetch *fetch, struct pub_request *request,
                       const struct up_answer *answer, bool last)
{
    struct up_answer head = *answer;
    struct up_exchange *exchange = fetch->exchange;
    bool goes_on = !last && fetch->kept;

    head.status = 304;
    request->shop.exchange = NULL;
    request->shop.cached.fetch = NULL;
    fetch->request = NULL;
    (void)pub_shop_callbacks.answer(&head, (struct ps_str){NULL, 0}, true, request);
    if (goes_on)
        return true;
    end_fetch(fetch);
    if (!last)
        up_exchange_cancel(exchange);
    return false;
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct pub_fetch *fetch = ctx;
    struct pub_request *request = fetch->request;
    struct cache_moments moments = moments_of(fetch);

    if (answer->status == 304 && fetch->stale != NULL)
        return answer_not_modified(fetch, answer, last);
    if (is_error(answer->status) && may_serve_stale(fetch)) {
        struct cache_entry *entry = cache_entry_keep(fetch->stale);
        cache_fill_fail(fetch->fill);
        return answer_instead(fetch, entry, answer->status, last);
    }
    fetch->kept = cache_fill_begin(fetch->fill, (struct cache_message){answer->head, answer->base},
                                   &moments, answer->body_len) == CACHE_STORE_stored;
    if (fetch->kept)
        fetch->kept = cache_fill_part(fetch->fill, part);
    if (request == NULL && !fetch->kept) {
        struct up_exchange *exchange = fetch->exchange;
        end_fetch(fetch);
        if (!last)
            up_exchange_cancel(exchange);
        return false;
    }
    if (request == NULL) {
        if (last)
            end_fetch(fetch);
        return true;
    }
    request->shop.cached.status.stored = fetch->kept;
    if (is_not_modified(request, answer))
        return answer_304(fetch, request, answer, last);
    bool kept = fetch->kept;
    if (last)
        end_fetch(fetch);
    bool more = pub_shop_callbacks.answer(answer, part, last, request);
    return more || kept; /* those who wait do not wait for a slow client */
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    struct pub_fetch *fetch = ctx;
    struct pub_request *request = fetch->request;

    fetch->kept = fetch->kept && cache_fill_part(fetch->fill, part);
    bool kept = fetch->kept;
    if (request == NULL && !kept) {
        struct up_exchange *exchange = fetch->exchange;
        end_fetch(fetch);
        if (!last)
            up_exchange_cancel(exchange);
        return false;
    }
    if (last)
        end_fetch(fetch);
    bool more = request == NULL || pub_shop_callbacks.part(part, last, request);
    return more || kept;
}

static void on_failed(enum up_outcome outcome, bool begun, void *ctx)
{
    struct pub_fetch *fetch = ctx;
    struct pub_request *request = fetch->request;

    if (!begun && may_serve_stale(fetch)) {
        struct cache_entry *entry = cache_entry_keep(fetch->stale);
        cache_fill_fail(fetch->fill);
        (void)answer_instead(fetch, entry, 0, true);
        return;
    }
    fail_fetch(fetch);
    if (request != NULL)
        pub_shop_callbacks.failed(outcome, begun, request);
}

static void on_interim(const struct up_answer *answer, void *ctx)
{
    struct pub_fetch *fetch = ctx;

    if (fetch->request != NULL)
        pub_shop_callbacks.interim(answer, fetch->request);
}

static void on_room(void *ctx)
{
    (void)ctx; /* these requests have no body */
}

static const struct up_callbacks fetch_callbacks = {.interim = on_interim,
                                                    .answer = on_answer,
                                                    .part = on_part,
                                                    .failed = on_failed,
                                                    .room = on_room};

/* The client has its answer already, or gets it now. */
void pub_fetch_behind(struct pub_request *request, struct cache_found *found)
{
    struct pub_cached *cached = &request->shop.cached;
    struct cache_found behind = {.fill = found->fill, .entry = cache_entry_keep(found->entry)};
    struct pub_fetch *fetch = pub_fetch_new(request->listener, NULL, &behind);

    found->fill = NULL;
    if (fetch == NULL) {
        cache_fill_fail(behind.fill);
        cache_entry_drop(behind.entry);
        return;
    }
    cached->fetch = fetch;
    fetch->exchange = pub_shop_start(request, cached->pool, cached->target);
    cached->fetch = NULL;
    if (fetch->exchange == NULL)
        fail_fetch(fetch);
}

bool pub_fetch_leave(struct pub_fetch *fetch)
{
    bool goes_on = fetch->exchange != NULL && cache_fill_left(fetch->fill);

    if (goes_on) {
        fetch->request->shop.cached.fetch = NULL;
        fetch->request = NULL;
    } else {
        free_fetch(fetch);
    }
    return goes_on;
}

void pub_cache_stop(struct pub_listener *listener)
{
    struct pub_request *request;
    struct pub_fetch *fetch;

    while ((request = TAILQ_FIRST(&listener->cache.waiting)) != NULL)
        (void)pub_cache_forget(request);
    while ((fetch = TAILQ_FIRST(&listener->cache.fetches)) != NULL) {
        struct up_exchange *exchange = fetch->exchange;
        if (fetch->request != NULL)
            fetch->request->shop.exchange = NULL;
        fail_fetch(fetch);
        up_exchange_cancel(exchange);
    }
}
