/* Requests to the shop. A page that fetches for others has a page_fetch between its exchange and
 * its client: it gives the answer to the fill of the cache, then to the client, if there still is
 * one. So a page_fetch may outlive its page.
 *
 * Invariants: a fetch has an exchange, or is about to end; a fetch's page points to that fetch. */
#include "gateway/pages/page_internal.h"

#include "gateway/upstream/route_figures.h"

#include <stdlib.h>

struct page_fetch {
    TAILQ_ENTRY(page_fetch) entry;
    struct page_worker *worker;
    struct page_request *page; /* NULL: its client has left, or there was none */
    struct up_exchange *exchange;
    struct cache_fill *fill;
    struct cache_entry *stale; /* the entry whose validators were sent; NULL: none */
    int64_t sent_ns;
    bool kept; /* the answer is put into the cache */
};

/* --- To the shop --- */

uint64_t page_balance_key(const struct page_request *page, const struct cfg_pool *pool)
{
    static const struct ps_hash_key fixed = {{0}};
    const struct srv_request *http = page->http;
    struct ps_str by = http->path;
    struct ps_address address;

    if (pool->algorithm == CFG_ALGORITHM_source_ip_hash) {
        ps_address_limit_key(&page->asked->address, &address);
        by = (struct ps_str){(const char *)address.byte, sizeof address.byte};
    } else if (pool->hash_name != NULL) {
        struct ps_str name = {pool->hash_name, strlen(pool->hash_name)};
        by = pool->hash_by == CFG_HASH_COOKIE ? up_cookie_find(http->head, http->base, name)
                                              : ps_http_find(http->head, http->base, name);
    }
    return ps_hash64(&fixed, by.at != NULL ? by.at : "", by.len);
}

/* Starts an exchange with the pool. `fetch` NULL: for the page alone. NULL: *ret_end says
 * why. */
static struct up_exchange *start(const struct page_request *page, const struct up_pool_view *pool,
                                 const struct page_fetch *fetch,
                                 const struct up_callbacks *callbacks, void *ctx,
                                 enum up_end *ret_end)
{
    const struct srv_request *http = page->http;
    const struct cfg_route *doc = page->route->doc;
    struct ps_buf head = up_worker_scratch(page->worker->shop);
    struct page_texts texts;
    struct up_origin origin;

    *ret_end = UP_END_no_endpoint;
    if (pool == NULL)
        return NULL;
    page_origin(page, &texts, &origin);
    if (fetch != NULL) {
        /* fetch the whole page; the client's conditions are checked here */
        origin.unconditional = true;
        if (fetch->stale != NULL) {
            origin.if_none_match = fetch->stale->etag;
            origin.if_modified_since = cache_fields_find(fetch->stale->fields, "Last-Modified");
        }
    }
    up_fields_request(&head, &origin, &doc->request_headers);
    *ret_end = UP_END_request_too_large;
    if (head.overflow) {
        if (page->target != NULL)
            up_target_count(page->target, up_worker_index(page->worker->shop),
                            &(struct up_met){.end = *ret_end}, 0);
        return NULL;
    }
    bool empty = !http->in_parts || (page->has_all && !page->has_parts);
    struct up_call call = {.hold = page->hold,
                           .route = doc,
                           .pool = pool,
                           .target = page->target,
                           .head = {head.at, head.len},
                           .method = http->head->method,
                           .body_len = empty ? 0 : http->body_len,
                           .key = page_balance_key(page, pool->doc),
                           .began_ns = http->now_ns,
                           .is_upload = http->is_upload,
                           .client = page->asked->address,
                           .path = http->path,
                           .callbacks = callbacks,
                           .ctx = ctx};
    return up_forward(page->worker->shop, &call, ret_end);
}

/* --- A fetch's life --- */

static const struct up_callbacks fetch_callbacks;

/* NULL: out of memory; the caller keeps what it passed. */
static struct page_fetch *new_fetch(struct page_worker *worker, struct page_request *page,
                                    struct cache_fill *fill, struct cache_entry *stale)
{
    struct page_fetch *fetch = calloc(1, sizeof *fetch);

    if (fetch == NULL)
        return NULL;
    *fetch = (struct page_fetch){.worker = worker,
                                 .page = page,
                                 .fill = fill,
                                 .stale = stale,
                                 .sent_ns = ps_clock_mono_ns(worker->clock)};
    TAILQ_INSERT_TAIL(&worker->fetches, fetch, entry);
    return fetch;
}

/* Frees a fetch whose fill has ended, and whose exchange has ended or belongs to another. */
static void free_fetch(struct page_fetch *fetch)
{
    if (fetch->page != NULL)
        fetch->page->fetch = NULL;
    TAILQ_REMOVE(&fetch->worker->fetches, fetch, entry);
    cache_entry_drop(fetch->stale);
    free(fetch);
}

/* The shop did not answer as it should: ends the fill. */
static void fail_fetch(struct page_fetch *fetch)
{
    cache_fill_fail(fetch->fill);
    free_fetch(fetch);
}

/* The fill has the last part, or wants none: the rest is for the client alone. */
static void end_fetch(struct page_fetch *fetch)
{
    cache_entry_drop(cache_fill_end(fetch->fill));
    free_fetch(fetch);
}

/* Nobody needs the rest of the answer; there is none if this was the `last` part. */
static void abandon(struct page_fetch *fetch, bool last)
{
    struct up_exchange *exchange = fetch->exchange;

    end_fetch(fetch);
    if (!last)
        up_exchange_cancel(exchange, UP_WHY_UNWANTED);
}

bool page_send(struct page_request *page, enum up_end *ret_end)
{
    struct page_fetch *fetch = page->fetch;

    if (fetch == NULL) {
        page->exchange =
            start(page, page->sent_to, NULL, &page->worker->events->exchange, page, ret_end);
        return page->exchange != NULL;
    }
    fetch->exchange = start(page, page->sent_to, fetch, &fetch_callbacks, fetch, ret_end);
    page->exchange = fetch->exchange;
    if (fetch->exchange == NULL)
        fail_fetch(fetch);
    return page->exchange != NULL;
}

void page_fetch_open(struct page_request *page, struct cache_found *found)
{
    if (found->fill != NULL)
        page->fetch = new_fetch(page->worker, page, found->fill, found->entry);
    if (page->fetch != NULL)
        return;
    cache_fill_fail(found->fill);
    cache_entry_drop(found->entry);
}

void page_fetch_behind(struct page_request *page, struct cache_found *found)
{
    struct cache_entry *stale = cache_entry_keep(found->entry);
    struct page_fetch *fetch = new_fetch(page->worker, NULL, found->fill, stale);
    enum up_end end;

    if (fetch == NULL) {
        cache_fill_fail(found->fill);
        cache_entry_drop(stale);
        return;
    }
    fetch->exchange = start(page, page->pool, fetch, &fetch_callbacks, fetch, &end);
    if (fetch->exchange == NULL)
        fail_fetch(fetch);
}

bool page_leave(struct page_request *page, enum up_why why)
{
    struct up_exchange *exchange = page->exchange;
    struct page_fetch *fetch = page->fetch;
    bool continues = fetch != NULL && cache_fill_left(fetch->fill);

    page->exchange = NULL;
    if (fetch != NULL) {
        page->fetch = NULL;
        fetch->page = NULL;
        if (!continues)
            free_fetch(fetch); /* the fill has ended */
    }
    if (!continues && exchange != NULL)
        up_exchange_cancel(exchange, why);
    return continues;
}

void page_fetches_stop(struct page_worker *worker)
{
    struct page_fetch *fetch;

    while ((fetch = TAILQ_FIRST(&worker->fetches)) != NULL) {
        struct up_exchange *exchange = fetch->exchange;
        if (fetch->page != NULL)
            fetch->page->exchange = NULL;
        fail_fetch(fetch);
        up_exchange_cancel(exchange, UP_WHY_STOPPED);
    }
}

/* --- What comes back --- */

static struct cache_moments moments_of(const struct page_fetch *fetch)
{
    return (struct cache_moments){.sent_ms = fetch->sent_ns / PS_NS_PER_MS,
                                  .received_ms = page_now_ms(fetch->worker),
                                  .wall_ms = ps_clock_wall_ms(fetch->worker->clock)};
}

static bool is_error(int status)
{
    return status == 500 || status == 502 || status == 503 || status == 504; /* RFC 5861, 4 */
}

static bool may_serve_stale(const struct page_fetch *fetch)
{
    return fetch->page != NULL && page_may_be_stale(fetch->page, fetch->stale);
}

/* The fill has ended with an entry, which this takes over. Cancels the exchange if it is still
 * running, and gives the entry to the client, if there is one. */
static void answer_instead(struct page_fetch *fetch, struct cache_entry *entry, int status,
                           bool ended)
{
    struct page_request *page = fetch->page;
    struct up_exchange *exchange = fetch->exchange;

    free_fetch(fetch);
    if (!ended)
        up_exchange_cancel(exchange, UP_WHY_UNWANTED);
    if (page == NULL) {
        cache_entry_drop(entry);
        return;
    }
    page->exchange = NULL;
    page->cached = (struct cache_status){
        .fwd = CACHE_FWD_STALE, .fwd_status = status, .stored = status == 304};
    page->worker->events->entry(page, entry);
}

static void serve_stale(struct page_fetch *fetch, int status, bool ended)
{
    struct cache_entry *entry = cache_entry_keep(fetch->stale);

    cache_fill_fail(fetch->fill);
    answer_instead(fetch, entry, status, ended);
}

static void answer_not_modified(struct page_fetch *fetch, const struct up_answer *answer, bool last)
{
    struct page_request *page = fetch->page;
    struct up_exchange *exchange = fetch->exchange;
    struct cache_moments moments = moments_of(fetch);
    struct cache_entry *entry = cache_fill_freshen(
        fetch->fill, (struct cache_message){answer->head, answer->base}, &moments);

    if (entry != NULL) {
        answer_instead(fetch, entry, 304, last);
        return;
    }
    fail_fetch(fetch);
    if (!last)
        up_exchange_cancel(exchange, UP_WHY_UNWANTED);
    if (page == NULL)
        return;
    page->exchange = NULL;
    page->worker->events->again(page);
}

/* Does the answer satisfy the client's own conditions, which were not sent to the shop? */
static bool is_not_modified(const struct page_request *page, const struct up_answer *answer)
{
    struct cache_message message = {answer->head, answer->base};
    struct cache_asked asked = page_asked(page);
    struct cache_moments moments = {.wall_ms = ps_clock_wall_ms(page->worker->clock)};
    struct cache_kept kept;
    uint64_t first, len;

    if (!asked.has_conditions || answer->status != 200)
        return false;
    (void)cache_kept_read(&asked, message, &page->route->doc->cache, &moments, &kept);
    return cache_part_of(&asked, &kept, cache_field(message, "ETag"), 0, &first, &len) ==
           CACHE_PART_NOT_MODIFIED;
}

/* The client gets 304 and no body. */
static bool answer_304(struct page_fetch *fetch, const struct up_answer *answer, bool last)
{
    struct page_request *page = fetch->page;
    struct up_answer head = *answer;
    bool continues = !last && fetch->kept;

    head.status = ans_verdicts[ANS_V_not_modified].status;
    page->exchange = NULL;
    page->fetch = NULL;
    fetch->page = NULL;
    (void)page->worker->events->exchange.answer(&head, (struct ps_str){NULL, 0}, true, page);
    if (!continues)
        abandon(fetch, last);
    return continues;
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct page_fetch *fetch = ctx;
    struct page_request *page = fetch->page;
    struct cache_moments moments = moments_of(fetch);

    if (answer->status == 304 && fetch->stale != NULL) {
        answer_not_modified(fetch, answer, last);
        return false;
    }
    if (is_error(answer->status) && may_serve_stale(fetch)) {
        serve_stale(fetch, answer->status, last);
        return false;
    }
    bool kept = cache_fill_begin(fetch->fill, (struct cache_message){answer->head, answer->base},
                                 &moments, answer->body_len) == CACHE_STORE_stored &&
                cache_fill_part(fetch->fill, part);
    fetch->kept = kept;
    if (page == NULL) {
        if (!kept || last)
            abandon(fetch, last);
        return kept;
    }
    page->cached.stored = kept;
    if (is_not_modified(page, answer))
        return answer_304(fetch, answer, last);
    if (last)
        end_fetch(fetch);
    bool more = page->worker->events->exchange.answer(answer, part, last, page);
    return more || kept; /* a slow client does not hold up those who wait */
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    struct page_fetch *fetch = ctx;
    struct page_request *page = fetch->page;
    bool kept = fetch->kept && cache_fill_part(fetch->fill, part);

    fetch->kept = kept;
    if (page == NULL) {
        if (!kept || last)
            abandon(fetch, last);
        return kept;
    }
    if (last)
        end_fetch(fetch);
    bool more = page->worker->events->exchange.part(part, last, page);
    return more || kept;
}

static void on_failed(enum up_end end, bool begun, void *ctx)
{
    struct page_fetch *fetch = ctx;
    struct page_request *page = fetch->page;

    if (!begun && may_serve_stale(fetch)) {
        serve_stale(fetch, 0, true);
        return;
    }
    fail_fetch(fetch);
    if (page != NULL)
        page->worker->events->exchange.failed(end, begun, page);
}

static void on_interim(const struct up_answer *answer, void *ctx)
{
    struct page_fetch *fetch = ctx;

    if (fetch->page != NULL)
        fetch->worker->events->exchange.interim(answer, fetch->page);
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
