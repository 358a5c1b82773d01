/* See shop_cache.h. What must hold: a request that waits is in the list of its worker. */
#include "gateway/public/shop_cache.h"

#include "gateway/public/shop_internal.h"

#include <string.h>

void pub_cache_work_init(struct pub_cache_work *work)
{
    TAILQ_INIT(&work->fetches);
    TAILQ_INIT(&work->waiting);
}

int64_t pub_cache_now_ms(const struct pub_listener *listener)
{
    return ps_clock_mono_ns(listener->clock) / PS_NS_PER_MS;
}

/* --- What a request asks --- */

static const struct cfg_route *doc_of(const struct pub_request *request)
{
    return request->shop.route->doc;
}

static bool has_body(const struct srv_request *http)
{
    return http->in_parts && http->body_len != 0;
}

/* A user who is known to the shop by X-User-Id is as good as Authorization (RFC 9111, 3.5). */
struct cache_asked pub_cache_asked(const struct pub_request *request)
{
    struct cache_asked asked;

    cache_asked_read((struct cache_message){request->http->head, request->http->base}, &asked);
    asked.authorized |= request->client.user.len > 0;
    return asked;
}

/* Pools and rehearsals have entries of their own, behind a space that no path has: whatever becomes
 * the route's pool, its answers are not those of another one. */
static bool put_key(const struct pub_request *request, const struct up_pool_view *pool,
                    struct ps_buf *key)
{
    const struct cfg_route *doc = doc_of(request);
    const struct srv_request *http = request->http;

    if (!cache_key_put(&doc->cache, doc->host, http->path, http->query, key))
        return false;
    ps_buf_put(key, " ", 1);
    ps_buf_puts(key, pool->pool->name);
    if (pub_request_is_rehearsal(request))
        ps_buf_puts(key, " rehearsal");
    return !key->overflow && key->len <= CACHE_KEY_MAX;
}

void pub_cache_origin(const struct pub_request *request, struct up_origin *origin,
                      char query[CACHE_KEY_MAX])
{
    const struct pub_cached *cached = &request->shop.cached;
    struct ps_buf buf;

    if (!cached->has_key)
        return;
    ps_buf_init(&buf, query, CACHE_KEY_MAX);
    if (cache_query_put(&doc_of(request)->cache, origin->query, &buf))
        origin->query = (struct ps_str){query, buf.len};
    if (cached->fetch != NULL)
        pub_fetch_origin(cached->fetch, origin);
}

/* --- Answers from an entry --- */

static void release(void *entry)
{
    cache_entry_drop(entry);
}

static void add_number(struct pub_request *request, const char *name, int64_t value)
{
    char memory[24];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_int(&buf, value);
    srv_answer_header(request->http, name, buf.at, buf.len);
}

static void add_status(struct pub_request *request)
{
    char memory[CACHE_STATUS_MAX];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    cache_status_put(&request->shop.cached.status, &buf);
    srv_answer_header(request->http, "Cache-Status", buf.at, buf.len);
}

static void add_range(struct pub_request *request, enum cache_part part, uint64_t first,
                      uint64_t len, uint64_t body_len)
{
    char memory[80];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    if (part == CACHE_PART_RANGE)
        ps_buf_printf(&buf, "bytes %llu-%llu/%llu", (unsigned long long)first,
                      (unsigned long long)(first + len - 1), (unsigned long long)body_len);
    else
        ps_buf_printf(&buf, "bytes */%llu", (unsigned long long)body_len);
    srv_answer_header(request->http, "Content-Range", buf.at, buf.len);
}

/* The entry is taken over. */
void pub_cache_answer(struct pub_request *request, struct cache_entry *entry)
{
    static const int statuses[] = {
        [CACHE_PART_NOT_MODIFIED] = 304, [CACHE_PART_RANGE] = 206, [CACHE_PART_NO_RANGE] = 416};
    const struct cfg_header_rules *rules = &doc_of(request)->response_headers;
    struct pub_cached *cached = &request->shop.cached;
    struct srv_request *http = request->http;
    struct cache_asked asked = pub_cache_asked(request);
    struct srv_forward head = {.fields = entry->fields, .is_dated = true};
    int64_t at_ms = pub_cache_now_ms(request->listener);
    uint64_t first, len;

    enum cache_part part =
        cache_part_of(&asked, &entry->kept, entry->etag, entry->body.len, &first, &len);
    head.status = part == CACHE_PART_WHOLE ? entry->kept.status : statuses[part];
    head.len = (int64_t)len;
    if (part == CACHE_PART_RANGE || part == CACHE_PART_NO_RANGE)
        add_range(request, part, first, len, entry->body.len);
    if (part == CACHE_PART_NO_RANGE)
        head = (struct srv_forward){.status = 416};
    else if (rules->set_count + rules->remove_count > 0)
        head.fields =
            up_fields_ruled(up_worker_scratch(request->listener->shop), entry->fields, rules);
    cached->status.has_ttl = true;
    cached->status.ttl_s = cache_kept_ttl_ms(&entry->kept, at_ms) / 1000;
    add_number(request, "Age", cache_kept_age_ms(&entry->kept, at_ms) / 1000);
    add_status(request);
    srv_answer_header(http, "Via", "1.1 penstock", sizeof "1.1 penstock" - 1);
    request->shop.status = head.status;
    pub_request_count(request, ANS_V_page);
    struct ps_str body = {entry->body.at + first, (size_t)head.len};
    struct up_hold *hold = request->shop.hold;
    request->shop = (struct pub_shop){0};
    srv_answer_held(http, &head, body, release, entry);
    up_hold_release(hold);
}

static struct cache_entry *find_stale(const struct pub_request *request)
{
    const struct pub_cached *cached = &request->shop.cached;
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;
    struct cache_asked asked;

    const struct up_pool_view *pool =
        cached->pool != NULL ? cached->pool : request->shop.route->pool;

    ps_buf_init(&key, memory, sizeof memory);
    if (request->shop.route->cache == NULL || request->http->head == NULL || pool == NULL ||
        !put_key(request, pool, &key))
        return NULL;
    asked = pub_cache_asked(request);
    return cache_stale(request->shop.route->cache, &asked, (struct ps_str){key.at, key.len});
}

bool pub_cache_has_stale(const struct pub_request *request)
{
    struct cache_entry *entry = find_stale(request);

    cache_entry_drop(entry);
    return entry != NULL;
}

bool pub_cache_answer_stale(struct pub_request *request, const char *why)
{
    struct cache_entry *entry = find_stale(request);

    if (entry == NULL)
        return false;
    srv_answer_header(request->http, "Penstock-Fallback", why, strlen(why));
    request->shop.cached.status = (struct cache_status){.fwd = CACHE_FWD_NONE};
    pub_cache_answer(request, entry);
    return true;
}

/* --- Asking --- */

static void on_told(struct cache_waiter *waiter, enum cache_told told, struct cache_entry *entry);

static bool use(struct pub_request *request, struct cache_found *found)
{
    struct pub_cached *cached = &request->shop.cached;

    switch (found->ask) {
    case CACHE_ASK_STALE:
        pub_fetch_behind(request, found);
        /* fall through */
    case CACHE_ASK_HIT:
        cached->status.fwd = CACHE_FWD_NONE;
        pub_cache_answer(request, found->entry);
        return true;
    case CACHE_ASK_WAIT:
        cached->collapsed = true;
        TAILQ_INSERT_TAIL(&request->listener->cache.waiting, request, shop.cached.link);
        pub_shop_keep(request);
        return true;
    case CACHE_ASK_ABSENT:
        pub_shop_refuse(
            request, ANS_V_gateway_timeout,
            &(struct ans_problem_detail){.text = "the cache has no answer that may be used"});
        return true;
    case CACHE_ASK_FETCH:
        break;
    }
    cached->status = (struct cache_status){.fwd = found->fwd};
    if (found->fill != NULL)
        cached->fetch = pub_fetch_new(request->listener, request, found);
    cache_fill_fail(found->fill); /* without memory for a fetch */
    cache_entry_drop(found->entry);
    return false;
}

static bool ask(struct pub_request *request)
{
    struct pub_cached *cached = &request->shop.cached;
    const struct up_route_view *route = request->shop.route;
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;
    struct cache_asked asked = pub_cache_asked(request);
    struct cache_found found;

    ps_buf_init(&key, memory, sizeof memory);
    cached->has_key = put_key(request, cached->pool, &key);
    if (!cached->has_key)
        return false;
    cached->waiter.worker = up_worker_index(request->listener->shop);
    cached->waiter.on_told = on_told;
    cache_ask(route->cache, &asked, &route->doc->cache, (struct ps_str){key.at, key.len},
              pub_cache_now_ms(request->listener), &cached->waiter, &found);
    return use(request, &found);
}

bool pub_cache_take(struct pub_request *request, const struct up_pool_view *pool,
                    struct up_target *target)
{
    struct pub_cached *cached = &request->shop.cached;
    const struct srv_request *http = request->http;
    enum ps_http_method method = http->head->method;

    if (request->shop.route->cache == NULL || pool == NULL)
        return false;
    *cached = (struct pub_cached){.pool = pool, .target = target};
    return (method == PS_HTTP_GET || method == PS_HTTP_HEAD) && !has_body(http) && ask(request);
}

static void on_told(struct cache_waiter *waiter, enum cache_told told, struct cache_entry *entry)
{
    struct pub_request *request =
        (struct pub_request *)((char *)waiter - offsetof(struct pub_request, shop.cached.waiter));
    struct pub_cached *cached = &request->shop.cached;

    TAILQ_REMOVE(&request->listener->cache.waiting, request, shop.cached.link);
    if (told == CACHE_TOLD_ENTRY &&
        cache_vary_fits(entry->vary,
                        (struct cache_message){request->http->head, request->http->base})) {
        cached->status = (struct cache_status){.fwd = CACHE_FWD_MISS, .collapsed = true};
        pub_cache_answer(request, entry);
        return;
    }
    cache_entry_drop(entry);
    if (told != CACHE_TOLD_FAILED) {
        if (!ask(request))
            pub_shop_send(request, cached->pool, cached->target);
        return;
    }
    entry = find_stale(request);
    if (entry != NULL && cache_kept_if_error(&entry->kept, pub_cache_now_ms(request->listener))) {
        cached->status = (struct cache_status){.fwd = CACHE_FWD_STALE, .collapsed = true};
        pub_cache_answer(request, entry);
        return;
    }
    cache_entry_drop(entry);
    pub_shop_callbacks.failed(UP_OUTCOME_reset, false, request);
}

/* --- The rest --- */

const char *pub_cache_result(const struct pub_request *request)
{
    static const char *const words[] = {[CACHE_FWD_NONE] = "hit",
                                        [CACHE_FWD_MISS] = "miss",
                                        [CACHE_FWD_STALE] = "stale",
                                        [CACHE_FWD_REQUEST] = "request",
                                        [CACHE_FWD_BYPASS] = "bypass"};
    const struct pub_shop *shop = &request->shop;

    return shop->route != NULL && shop->route->cache != NULL ? words[shop->cached.status.fwd]
                                                             : NULL;
}

void pub_cache_put_status(const struct pub_request *request, struct ps_buf *fields)
{
    if (request->shop.route->cache == NULL)
        return;
    ps_buf_puts(fields, "Cache-Status: ");
    cache_status_put(&request->shop.cached.status, fields);
    ps_buf_puts(fields, "\r\n");
}

static void purge_of_pool(struct cache *cache, struct ps_buf *key, const char *pool)
{
    size_t len = key->len;

    ps_buf_puts(key, " ");
    ps_buf_puts(key, pool);
    if (!key->overflow)
        (void)cache_purge_key(cache, (struct ps_str){key->at, key->len});
    key->len = len;
    key->overflow = false;
}

static void purge(const struct pub_request *request, struct ps_buf *key)
{
    const struct up_route_view *route = request->shop.route;

    purge_of_pool(route->cache, key, route->doc->pool);
    for (size_t i = 0; i < route->doc->split_count; i++)
        purge_of_pool(route->cache, key, route->splits[i].as->pool);
}

void pub_cache_invalidate(const struct pub_request *request, const struct up_answer *answer)
{
    static const char *const names[] = {"Location", "Content-Location"};
    const struct cfg_route *doc = doc_of(request);
    const struct srv_request *http = request->http;
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;

    if (request->shop.route->cache == NULL ||
        !cache_invalidates(http->head->method, answer->status))
        return;
    ps_buf_init(&key, memory, sizeof memory);
    if (cache_key_put(&doc->cache, doc->host, http->path, http->query, &key))
        purge(request, &key);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        struct ps_str named =
            cache_field((struct cache_message){answer->head, answer->base}, names[i]);
        ps_buf_init(&key, memory, sizeof memory);
        if (named.at != NULL &&
            cache_key_put_named(&doc->cache, doc->host, http->header[SRV_H_HOST], http->path, named,
                                &key))
            purge(request, &key);
    }
}

bool pub_cache_forget(struct pub_request *request)
{
    struct pub_cached *cached = &request->shop.cached;
    struct pub_fetch *fetch = cached->fetch;

    if (cached->waiter.cache != NULL) {
        TAILQ_REMOVE(&request->listener->cache.waiting, request, shop.cached.link);
        cache_waiter_cancel(&cached->waiter);
    }
    return fetch != NULL && pub_fetch_leave(fetch);
}

void pub_cache_tick(struct pub_listener *listener)
{
    struct pub_request *request = TAILQ_FIRST(&listener->cache.waiting), *next;
    int64_t now_ns = ps_clock_mono_ns(listener->clock);

    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, shop.cached.link);
        if (now_ns < request->http->arrived_ns + doc_of(request)->total_ms * PS_NS_PER_MS)
            continue;
        (void)pub_cache_forget(request);
        pub_shop_callbacks.failed(UP_OUTCOME_timeout, false, request);
        next = TAILQ_FIRST(&listener->cache.waiting); /* what was told may have changed the list */
    }
}
