/* Fetches, and the requests that wait for them. A fill has a copy of the request that it answers,
 * since its client may leave. While it is `joinable`, requests for the same variant wait for it.
 * Each of them is told once, on its own thread: the end of a fill puts them on their workers' lists
 * and wakes those workers.
 *
 * Invariants: until it is told or cancelled, a waiter is in exactly one list, that of a fill (under
 * the cache's lock) or of a worker (under that cell's lock as well). A fill that ends has no
 * waiter. */
#include "gateway/cache/directives.h"
#include "gateway/cache/cache_internal.h"

#include <stdlib.h>

#define TRIES       2 /* fetches that fail before all who wait get the error */
#define MARK_MS     INT64_C(60000)
#define ROOM_FIRST  ((size_t)16 * 1024) /* of a body whose length is not known */
#define STATUS_LINE 64
#define NEARLY_NUMBER                                                                              \
    3 /* this part of the body must have arrived to continue without its client                    \
       */
#define NEARLY_OF 4

/* --- Waking. --- */

struct cell {
    pthread_mutex_t lock;
    struct cache_waiter_list woken;
} PS_ALIGNED;

struct cache_wakeups {
    void (*wake)(size_t worker, void *ctx);
    void *ctx;
    size_t count;
    struct cell cells[];
};

int cache_wakeups_new(size_t workers, void (*wake)(size_t worker, void *ctx), void *ctx,
                      struct cache_wakeups **ret_wakeups)
{
    size_t size = sizeof(struct cache_wakeups) + workers * sizeof(struct cell);
    size = (size + PS_CACHE_LINE - 1) / PS_CACHE_LINE * PS_CACHE_LINE;
    struct cache_wakeups *wakeups = aligned_alloc(PS_CACHE_LINE, size);
    if (wakeups == NULL)
        return PS_E_NOMEM;
    wakeups->wake = wake;
    wakeups->ctx = ctx;
    wakeups->count = workers;
    for (size_t i = 0; i < workers; i++) {
        pthread_mutex_init(&wakeups->cells[i].lock, NULL);
        TAILQ_INIT(&wakeups->cells[i].woken);
    }
    *ret_wakeups = wakeups;
    return 0;
}

void cache_wakeups_free(struct cache_wakeups *wakeups)
{
    for (size_t i = 0; wakeups != NULL && i < wakeups->count; i++)
        pthread_mutex_destroy(&wakeups->cells[i].lock);
    free(wakeups);
}

void cache_wakeups_deliver(struct cache_wakeups *wakeups, size_t worker)
{
    struct cell *cell = &wakeups->cells[worker];
    for (;;) { /* one at a time: the callback may cancel another */
        pthread_mutex_lock(&cell->lock);
        struct cache_waiter *waiter = TAILQ_FIRST(&cell->woken);
        if (waiter != NULL)
            TAILQ_REMOVE(&cell->woken, waiter, link);
        pthread_mutex_unlock(&cell->lock);
        if (waiter == NULL)
            return;
        struct cache *cache = waiter->cache;
        struct cache_entry *entry = waiter->entry;
        waiter->cache = NULL;
        waiter->entry = NULL;
        waiter->on_result(waiter, waiter->result, entry);
        cache_drop(cache);
    }
}

void cache_waiter_cancel(struct cache_waiter *waiter)
{
    struct cache *cache = waiter->cache;
    if (cache == NULL)
        return;
    pthread_mutex_lock(&cache->lock);
    if (waiter->fill != NULL) {
        TAILQ_REMOVE(&waiter->fill->waiting, waiter, link);
        waiter->fill->waiting_count--;
    } else {
        struct cell *cell = &cache->wakeups->cells[waiter->worker];
        pthread_mutex_lock(&cell->lock);
        TAILQ_REMOVE(&cell->woken, waiter, link);
        pthread_mutex_unlock(&cell->lock);
    }
    pthread_mutex_unlock(&cache->lock);
    cache_entry_drop(waiter->entry);
    waiter->entry = NULL;
    waiter->fill = NULL;
    waiter->cache = NULL;
    cache_drop(cache);
}

void cache_fill_join(struct cache_fill *fill, struct cache_waiter *waiter)
{
    waiter->cache = cache_keep(fill->cache);
    waiter->fill = fill;
    waiter->entry = NULL;
    TAILQ_INSERT_TAIL(&fill->waiting, waiter, link);
    fill->waiting_count++;
}

void cache_fill_close(struct cache_fill *fill)
{
    if (fill->joinable)
        LIST_REMOVE(fill, flight);
    fill->joinable = false;
}

/* Call with the cache's lock held. `stored` is for CACHE_RESULT_ENTRY. */
static void wake_all(struct cache_fill *fill, enum cache_result result, struct cache_stored *stored,
                     unsigned failures)
{
    struct cache_wakeups *wakeups = fill->cache->wakeups;
    cache_fill_close(fill);
    fill->waiting_count = 0;
    for (size_t worker = 0; !TAILQ_EMPTY(&fill->waiting); worker++) {
        struct cell *cell = &wakeups->cells[worker];
        struct cache_waiter *waiter, *next;
        pthread_mutex_lock(&cell->lock);
        bool asleep = TAILQ_EMPTY(&cell->woken), any = false;
        for (waiter = TAILQ_FIRST(&fill->waiting); waiter != NULL; waiter = next) {
            next = TAILQ_NEXT(waiter, link);
            if (waiter->worker != worker)
                continue;
            TAILQ_REMOVE(&fill->waiting, waiter, link);
            waiter->fill = NULL;
            waiter->result = result;
            waiter->failures = failures;
            waiter->entry = stored != NULL ? cache_entry_keep(&stored->is) : NULL;
            TAILQ_INSERT_TAIL(&cell->woken, waiter, link);
            any = true;
        }
        pthread_mutex_unlock(&cell->lock);
        if (any && asleep)
            wakeups->wake(worker, wakeups->ctx);
    }
}

/* --- A fill's life. --- */

struct cache_fill *cache_fill_new(struct cache *cache, const struct cache_asked *asked,
                                  const struct cfg_route_cache *route, struct ps_str key,
                                  uint64_t key_hash)
{
    struct cache_fill *fill = calloc(1, sizeof *fill + key.len);
    char *request = malloc(asked->message.head->len + 1);
    if (fill == NULL || request == NULL) {
        free(fill);
        free(request);
        return NULL;
    }
    memcpy(request, asked->message.data, asked->message.head->len);
    memcpy(&fill->head, asked->message.head, sizeof fill->head);
    fill->request = request;
    cache_asked_read((struct cache_message){&fill->head, request}, &fill->asked);
    fill->asked.authorized = asked->authorized;
    fill->asked.way = asked->way;
    memcpy(fill->key_text, key.at, key.len);
    fill->key = (struct ps_str){fill->key_text, key.len};
    fill->key_hash = key_hash;
    fill->route = *route;
    fill->route.names = NULL;
    fill->route.name_count = 0;
    TAILQ_INIT(&fill->waiting);
    fill->cache = cache_keep(cache);
    LIST_INSERT_HEAD(&cache->fills, fill, all);
    return fill;
}

/* Call with the lock held. */
static void take_back(struct cache_fill *fill)
{
    cache_fill_close(fill);
    LIST_REMOVE(fill, all);
    fill->cache->filling -= fill->reserved;
    fill->reserved = 0;
}

static void free_fill(struct cache_fill *fill)
{
    if (fill->stale != NULL)
        cache_entry_drop(&fill->stale->is);
    cache_body_drop(fill->body);
    free(fill->texts.at);
    free(fill->request);
    cache_drop(fill->cache);
    free(fill);
}

/* Those who wait, and those who come soon, fetch for themselves. */
static void give_up(struct cache_fill *fill, enum cache_store why)
{
    struct cache *cache = fill->cache;
    pthread_mutex_lock(&cache->lock);
    cache->figures.stores[why]++;
    if (why != CACHE_STORE_cut)
        cache_mark(cache, fill->key_hash, fill->kept.received_ms + MARK_MS);
    wake_all(fill, CACHE_RESULT_AGAIN, NULL, 0);
    cache->filling -= fill->reserved;
    fill->reserved = 0;
    pthread_mutex_unlock(&cache->lock);
    fill->may_keep = false;
    cache_body_drop(fill->body);
    fill->body = NULL;
}

/* Call with the cache's lock held. */
static void tell_failed(struct cache_fill *fill)
{
    unsigned failures = fill->failures + 1;
    wake_all(fill, failures >= TRIES ? CACHE_RESULT_FAILED : CACHE_RESULT_AGAIN, NULL, failures);
}

void cache_fill_fail(struct cache_fill *fill)
{
    if (fill == NULL)
        return;
    pthread_mutex_lock(&fill->cache->lock);
    tell_failed(fill);
    take_back(fill);
    pthread_mutex_unlock(&fill->cache->lock);
    free_fill(fill);
}

bool cache_fill_left(struct cache_fill *fill)
{
    struct cache *cache = fill->cache;
    pthread_mutex_lock(&cache->lock);
    bool continues = fill->waiting_count > 0 ||
                     (fill->may_keep && fill->length >= 0 &&
                      fill->body_len >= (size_t)fill->length / NEARLY_OF * NEARLY_NUMBER);
    if (!continues)
        take_back(fill);
    pthread_mutex_unlock(&cache->lock);
    if (!continues)
        free_fill(fill);
    return continues;
}

/* --- Taking an answer in. --- */

static void read_tags(struct cache_fill *fill, struct cache_message answer)
{
    struct ps_str line, word;
    fill->tag_count = 0;
    for (uint32_t at = 0; cache_next_line(answer, "Surrogate-Key", &at, &line);) {
        while (fill->tag_count < CACHE_TAGS_MAX && cache_take_word(&line, &word))
            fill->tags[fill->tag_count++] = ps_hash64(&fill->cache->key, word.at, word.len);
    }
}

/* Vary's text and the fields, in one heap buffer. */
static enum cache_store put_texts(struct cache_fill *fill, struct cache_message answer,
                                  int64_t wall_ms)
{
    size_t room = (size_t)answer.head->len + CACHE_VARY_TEXT_MAX + PS_HTTP_DATE_LEN + STATUS_LINE;
    char *text = malloc(room);
    if (text == NULL)
        return CACHE_STORE_no_room;
    ps_buf_init(&fill->texts, text, room);
    if (!cache_vary_put(answer, fill->asked.message, fill->asked.way, &fill->texts))
        return CACHE_STORE_vary;
    fill->vary_len = fill->texts.len;
    cache_fields_put(answer, wall_ms, &fill->texts);
    return fill->texts.overflow ? CACHE_STORE_no_room : CACHE_STORE_stored;
}

static bool set_room(struct cache_fill *fill, size_t room)
{
    struct cache_body *body = realloc(fill->body, sizeof *body + room);
    if (body == NULL)
        return false;
    if (fill->body == NULL)
        atomic_init(&body->refs, 1);
    fill->body = body;
    fill->body_room = room;
    return true;
}

static enum cache_store reserve(struct cache_fill *fill, size_t bytes)
{
    struct cache *cache = fill->cache;
    pthread_mutex_lock(&cache->lock);
    enum cache_store store = CACHE_STORE_stored;
    if (fill->reserved + bytes > cache->object_bytes_max)
        store = CACHE_STORE_too_large;
    else if (!cache_reserve(cache, fill, bytes))
        store = CACHE_STORE_no_room;
    pthread_mutex_unlock(&cache->lock);
    return store;
}

static enum cache_store prepare(struct cache_fill *fill, struct cache_message answer,
                                int64_t wall_ms)
{
    read_tags(fill, answer);
    enum cache_store store = put_texts(fill, answer, wall_ms);
    if (store != CACHE_STORE_stored)
        return store;
    size_t room = fill->length >= 0 ? (size_t)fill->length : ROOM_FIRST;
    store = reserve(fill, sizeof(struct cache_stored) + fill->texts.len + room);
    if (store == CACHE_STORE_stored && !set_room(fill, room))
        store = CACHE_STORE_no_room;
    return store;
}

static bool is_stale_at_once(const struct cache_kept *kept)
{
    return kept->always_ask || kept->lifetime_ms <= kept->initial_age_ms;
}

enum cache_store cache_fill_begin(struct cache_fill *fill, struct cache_message answer,
                                  const struct cache_moments *moments, int64_t body_len)
{
    enum cache_store store =
        cache_kept_read(&fill->asked, answer, &fill->route, moments, &fill->kept);
    fill->length = body_len;
    if (store == CACHE_STORE_stored)
        store = prepare(fill, answer, moments->wall_ms);
    if (store == CACHE_STORE_stored) {
        fill->may_keep = true;
        if (is_stale_at_once(&fill->kept)) { /* each request must revalidate for itself */
            pthread_mutex_lock(&fill->cache->lock);
            cache_mark(fill->cache, fill->key_hash, moments->received_ms + MARK_MS);
            wake_all(fill, CACHE_RESULT_AGAIN, NULL, 0);
            pthread_mutex_unlock(&fill->cache->lock);
        }
    } else if (answer.head->status >= 500) {
        pthread_mutex_lock(&fill->cache->lock);
        fill->cache->figures.stores[store]++;
        tell_failed(fill);
        pthread_mutex_unlock(&fill->cache->lock);
    } else {
        give_up(fill, store);
    }
    return store;
}

bool cache_fill_part(struct cache_fill *fill, struct ps_str part)
{
    if (!fill->may_keep)
        return false;
    if (part.len > fill->body_room - fill->body_len) {
        size_t room = fill->body_room;
        while (part.len > room - fill->body_len)
            room *= 2;
        enum cache_store store =
            fill->length >= 0 ? CACHE_STORE_cut : reserve(fill, room - fill->body_room);
        if (store == CACHE_STORE_stored && !set_room(fill, room))
            store = CACHE_STORE_no_room;
        if (store != CACHE_STORE_stored) {
            give_up(fill, store);
            return false;
        }
    }
    memcpy(fill->body->bytes + fill->body_len, part.at, part.len);
    fill->body_len += part.len;
    return true;
}

/* Links the entry into the table, if it may be kept, and tells those who wait. Ends the fill. */
static struct cache_entry *commit(struct cache_fill *fill, struct cache_stored *stored,
                                  enum cache_store store)
{
    struct cache *cache = fill->cache;
    struct cache_bucket victims = LIST_HEAD_INITIALIZER(victims);
    pthread_mutex_lock(&cache->lock);
    if (store == CACHE_STORE_stored && fill->purged)
        store = CACHE_STORE_cut;
    if (store == CACHE_STORE_stored && cache_link(cache, stored, &victims) != 0)
        store = CACHE_STORE_no_room;
    if (store == CACHE_STORE_stored && !is_stale_at_once(&stored->is.kept))
        cache_mark(cache, fill->key_hash, 0);
    cache->figures.stores[store]++;
    if (store == CACHE_STORE_stored || store == CACHE_STORE_cut)
        wake_all(fill, CACHE_RESULT_ENTRY, stored, 0);
    else
        wake_all(fill, CACHE_RESULT_AGAIN, NULL, 0);
    take_back(fill);
    pthread_mutex_unlock(&cache->lock);
    cache_release(&victims);
    free_fill(fill);
    return &stored->is;
}

struct cache_entry *cache_fill_end(struct cache_fill *fill)
{
    if (fill->may_keep && fill->length >= 0 && fill->body_len != (size_t)fill->length)
        give_up(fill, CACHE_STORE_cut);
    if (fill->may_keep && fill->body_room > fill->body_len)
        (void)set_room(fill, fill->body_len); /* it becomes smaller, so a failure does not matter */
    struct ps_str texts = {fill->texts.at, fill->texts.len};
    struct cache_stored *stored =
        !fill->may_keep
            ? NULL
            : cache_stored_new(
                  fill->cache, fill, (struct ps_str){texts.at, fill->vary_len},
                  (struct ps_str){texts.at + fill->vary_len, texts.len - fill->vary_len},
                  fill->body, fill->body_len);
    if (stored == NULL) {
        if (fill->may_keep)
            give_up(fill, CACHE_STORE_no_room);
        pthread_mutex_lock(&fill->cache->lock);
        take_back(fill);
        pthread_mutex_unlock(&fill->cache->lock);
        free_fill(fill);
        return NULL;
    }
    fill->body = NULL;
    return commit(fill, stored, CACHE_STORE_stored);
}

/* --- 304. --- */

/* Writes the entry's merged head as text into `texts`, behind the place of Vary; the end of its
 * fields. */
static bool put_merged(struct cache_fill *fill, struct cache_message not_modified, int64_t wall_ms,
                       struct ps_buf *text, struct ps_str *ret_fields)
{
    const struct cache_entry *old = &fill->stale->is;
    ps_buf_puts(text, "HTTP/1.1 ");
    ps_buf_put_int(text, old->kept.status);
    ps_buf_puts(text, " \r\n");
    size_t from = text->len;
    cache_fields_merge(old->fields, not_modified, wall_ms, text);
    *ret_fields = (struct ps_str){text->at + from, text->len - from};
    struct ps_str age = cache_field(not_modified, "Age");
    if (age.at != NULL) {
        ps_buf_puts(text, "Age: ");
        ps_buf_put(text, age.at, age.len);
        ps_buf_puts(text, "\r\n");
    }
    ps_buf_puts(text, "\r\n");
    return !text->overflow;
}

static struct cache_entry *freshen(struct cache_fill *fill, struct cache_message not_modified,
                                   const struct cache_moments *moments, struct ps_buf *text)
{
    static const struct ps_http_limits limits = {
        .target_max = 0, .head_max = UINT32_MAX / 2, .fields_max = PS_HTTP_FIELDS_MAX};
    struct cache_stored *old = fill->stale;
    struct ps_http_head head;
    struct ps_str fields;
    char vary_text[CACHE_VARY_TEXT_MAX];
    struct ps_buf vary;
    ps_http_response_init(&head, &limits, true);
    if (!put_merged(fill, not_modified, moments->wall_ms, text, &fields) ||
        ps_http_head_parse(&head, text->at, text->len) != PS_HTTP_DONE)
        return NULL;
    struct cache_message merged = {&head, text->at};
    enum cache_store store =
        cache_kept_read(&fill->asked, merged, &fill->route, moments, &fill->kept);
    ps_buf_init(&vary, vary_text, sizeof vary_text);
    if (!cache_vary_put(merged, fill->asked.message, fill->asked.way, &vary))
        store = CACHE_STORE_vary;
    if (cache_field(not_modified, "Surrogate-Key").at != NULL) {
        read_tags(fill, not_modified);
    } else {
        fill->tag_count = old->tag_count;
        memcpy(fill->tags, old->tags, old->tag_count * sizeof fill->tags[0]);
    }
    struct cache_stored *stored =
        cache_stored_new(fill->cache, fill, (struct ps_str){vary_text, vary.len}, fields, old->body,
                         old->is.body.len);
    if (stored == NULL)
        return NULL;
    atomic_fetch_add_explicit(&old->body->refs, 1, memory_order_relaxed);
    struct cache_bucket victims = LIST_HEAD_INITIALIZER(victims);
    pthread_mutex_lock(&fill->cache->lock);
    fill->cache->figures.revalidated++;
    if (store != CACHE_STORE_stored && old->linked)
        cache_unlink(fill->cache, old, &victims);
    pthread_mutex_unlock(&fill->cache->lock);
    cache_release(&victims);
    return commit(fill, stored, store);
}

struct cache_entry *cache_fill_freshen(struct cache_fill *fill, struct cache_message not_modified,
                                       const struct cache_moments *moments)
{
    if (fill->stale == NULL || !cache_fields_same(fill->stale->is.etag, not_modified))
        return NULL;
    size_t room = fill->stale->is.fields.len + not_modified.head->len + 3 * STATUS_LINE;
    char *memory = malloc(room);
    if (memory == NULL)
        return NULL;
    struct ps_buf text;
    ps_buf_init(&text, memory, room);
    struct cache_entry *entry = freshen(fill, not_modified, moments, &text);
    free(memory);
    return entry;
}
