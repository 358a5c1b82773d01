/* What a page asks of the cache: look-ups, fills, and invalidation by unsafe requests. */
#include "gateway/pages/page_internal.h"

int64_t page_now_ms(const struct page_worker *worker)
{
    return ps_clock_mono_ns(worker->clock) / PS_NS_PER_MS;
}

/* Writes the key into `key`, if the cache applies to this page. */
static bool is_for_cache(struct page_request *page, struct ps_buf *key)
{
    const struct srv_request *http = page->http;
    enum ps_http_method method = http->head->method;
    bool has_body = http->in_parts && http->body_len != 0;

    if (page->route->cache == NULL || page->pool == NULL || has_body ||
        (method != PS_HTTP_GET && method != PS_HTTP_HEAD))
        return false;
    page->is_keyed = page_key_put(page, page->pool->pool->name, key);
    return page->is_keyed;
}

bool page_ask_look(struct page_request *page, struct ps_buf *key, struct cache_found *ret_found)
{
    if (!is_for_cache(page, key))
        return false;
    struct cache_asked asked = page_asked(page);
    cache_look(page->route->cache,
               &(struct cache_query){.asked = &asked,
                                     .route = &page->route->doc->cache,
                                     .key = {key->at, key->len},
                                     .now_ms = page_now_ms(page->worker)},
               ret_found);
    return true;
}

bool page_ask(struct page_request *page, struct cache_found *ret_found)
{
    const struct up_route_view *route = page->route;
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;

    ps_buf_init(&key, memory, sizeof memory);
    if (!is_for_cache(page, &key))
        return false;
    struct cache_asked asked = page_asked(page);
    page->waiter.worker = up_worker_index(page->worker->shop);
    cache_ask(route->cache,
              &(struct cache_query){.asked = &asked,
                                    .route = &route->doc->cache,
                                    .key = {key.at, key.len},
                                    .now_ms = page_now_ms(page->worker),
                                    .waiter = &page->waiter},
              ret_found);
    return true;
}

struct cache_entry *page_find_stale(const struct page_request *page)
{
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;

    ps_buf_init(&key, memory, sizeof memory);
    if (page->route->cache == NULL || page->pool == NULL ||
        !page_key_put(page, page->pool->pool->name, &key))
        return NULL;
    struct cache_asked asked = page_asked(page);
    return cache_stale(page->route->cache, &asked, (struct ps_str){key.at, key.len});
}

bool page_may_be_stale(const struct page_request *page, const struct cache_entry *entry)
{
    return entry != NULL && cache_kept_if_error(&entry->kept, page_now_ms(page->worker));
}

/* --- What is purged --- */

/* Purges the named address, or the page itself, for one pool. */
static void purge(const struct page_request *page, struct ps_str named, const char *pool)
{
    char memory[CACHE_KEY_MAX];
    struct ps_buf key;

    ps_buf_init(&key, memory, sizeof memory);
    if (named.at != NULL ? page_key_put_named(page, named, pool, &key)
                         : page_key_put(page, pool, &key))
        (void)cache_purge_key(page->route->cache, (struct ps_str){key.at, key.len});
}

void page_invalidate(const struct page_request *page, const struct up_answer *answer)
{
    const struct up_route_view *route = page->route;
    const struct cache_message message = {answer->head, answer->base};
    const struct ps_str named[] = {
        {NULL, 0}, cache_field(message, "Location"), cache_field(message, "Content-Location")};

    if (route->cache == NULL || !cache_invalidates(page->http->head->method, answer->status))
        return;
    for (size_t i = 0; i < PS_ARRAY_LEN(named); i++) {
        if (i > 0 && named[i].at == NULL)
            continue;
        purge(page, named[i], route->doc->pool);
        for (size_t j = 0; j < route->doc->split_count; j++)
            purge(page, named[i], route->splits[j].as->pool);
    }
}
