/* cache-purge [MIB]: how long a purge, or a new version of its document, stops who asks a full
 * cache of small answers (200 bytes of body; 1,024 MiB). Another thread asks for random keys all
 * the time, and each look-up is timed. Prints for each: how long it took the thread that does it
 * (the control thread's turn), the longest look-up meanwhile, and how many there were. */
#include "gateway/cache/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BODY_LEN 200

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 8192, .fields_max = PS_HTTP_FIELDS_MAX};
static const struct cfg_route_cache route = {0};
static const char request_text[] = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
static const char answers[2][128] = {
    "HTTP/1.1 200 OK\r\nCache-Control: max-age=100000\r\nSurrogate-Key: lamp\r\n\r\n",
    "HTTP/1.1 200 OK\r\nCache-Control: max-age=100000\r\nSurrogate-Key: few\r\n\r\n"};
static struct ps_http_head request, heads[2];
static char body[BODY_LEN];
static struct cache *cache;
static int objects;
static atomic_bool ends;
static _Atomic(int64_t) longest_ns, asked_count;

static int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static struct cache_asked asked_of(void)
{
    struct cache_asked asked;
    cache_asked_read((struct cache_message){&request, request_text}, &asked);
    return asked;
}

static void get(const struct cache_asked *asked, int object, bool fill)
{
    char key[32];
    struct cache_found found;
    struct cache_moments moments = {0, 0, 1790000000000};
    int which = object % 1000 == 0; /* one in a thousand has the other tag */
    int len = snprintf(key, sizeof key, "/%s/%08d", which ? "few" : "p", object);
    cache_ask(cache,
              &(struct cache_query){.asked = asked, .route = &route, .key = {key, (size_t)len}},
              &found);
    if (found.fill != NULL && fill) {
        if (cache_fill_begin(found.fill, (struct cache_message){&heads[which], answers[which]},
                             &moments, BODY_LEN) == CACHE_STORE_stored)
            cache_fill_part(found.fill, (struct ps_str){body, BODY_LEN});
        cache_entry_drop(cache_fill_end(found.fill));
    } else {
        cache_fill_fail(found.fill);
    }
    cache_entry_drop(found.entry);
}

static void *ask(void *ctx)
{
    struct cache_asked asked = asked_of();
    uint64_t state = 1;
    (void)ctx;
    while (!atomic_load(&ends)) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t began = now_ns();
        get(&asked, (int)((state >> 33) % (uint64_t)objects), false);
        int64_t took = now_ns() - began;
        if (took > atomic_load_explicit(&longest_ns, memory_order_relaxed))
            atomic_store_explicit(&longest_ns, took, memory_order_relaxed);
        atomic_fetch_add_explicit(&asked_count, 1, memory_order_relaxed);
    }
    return NULL;
}

static void fill(int64_t bytes)
{
    struct cache_asked asked = asked_of();
    struct cache_figures figures = {0};
    for (objects = 0; figures.bytes < bytes / 8 * 7 - bytes / 100; objects++) {
        get(&asked, objects, true);
        if (objects % 4096 == 0)
            cache_read(cache, &figures);
    }
}

static size_t gone;
static struct cfg_cache doc;
static void nothing(void)
{
    struct timespec wait = {.tv_nsec = 200000000};
    nanosleep(&wait, NULL);
    gone = 0;
}
static void purge_key(void)
{
    gone = cache_purge_key(cache, PS_STR("/p/00000001"));
}
static void purge_path(void)
{
    gone = cache_purge_path(cache, PS_STR("/p/00000002"));
}
static void purge_no_prefix(void)
{
    gone = cache_purge_prefix(cache, PS_STR("/other/"));
}
static void purge_few(void)
{
    gone = cache_purge_tag(cache, PS_STR("few"));
}
static void purge_all(void)
{
    gone = cache_purge_prefix(cache, PS_STR("/"));
}
static void sweep_all(void)
{
    for (gone = 1; cache_sweep(cache); gone++) {
        struct timespec wait = {.tv_nsec = 10000000};
        nanosleep(&wait, NULL);
    }
}
static void same_document(void)
{
    gone = (size_t)cache_set(cache, &doc);
}
static void another_size(void)
{
    doc.bytes += 1 << 20;
    gone = (size_t)cache_set(cache, &doc);
}

static void wake(size_t worker, void *ctx)
{
    (void)worker;
    (void)ctx;
}

static void row(const char *name, void (*what)(void))
{
    atomic_store(&longest_ns, 0);
    atomic_store(&asked_count, 0);
    int64_t began = now_ns();
    what();
    int64_t took = now_ns() - began;
    printf("| %s | %.2f ms | %.2f ms | %lld | %zu |\n", name, (double)took / 1e6,
           (double)atomic_load(&longest_ns) / 1e6, (long long)atomic_load(&asked_count), gone);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct cache_wakeups *wakeups;
    struct cache_figures figures;
    pthread_t thread;
    int64_t bytes = (argc > 1 ? atoll(argv[1]) : 1024) << 20;
    doc = (struct cfg_cache){
        .bytes = bytes, .object_bytes_max = 1 << 20, .eviction = CFG_EVICTION_LRU};
    ps_http_request_init(&request, &limits);
    if (ps_http_head_parse(&request, request_text, sizeof request_text - 1) != PS_HTTP_DONE)
        return 1;
    for (int i = 0; i < 2; i++) {
        ps_http_response_init(&heads[i], &limits, false);
        if (ps_http_head_parse(&heads[i], answers[i], strlen(answers[i])) != PS_HTTP_DONE)
            return 1;
    }
    if (cache_wakeups_new(1, wake, NULL, &wakeups) != 0 || cache_new(&doc, wakeups, &cache) != 0)
        return 1;
    fill(bytes);
    cache_read(cache, &figures);
    printf("%lld entries, %lld MiB\n\n| | took | longest look-up meanwhile | look-ups | gone "
           "|\n|---|---|---|---|---|\n",
           (long long)figures.entries, (long long)figures.bytes >> 20);
    pthread_create(&thread, NULL, ask, NULL);
    row("nothing for 200 ms", nothing);
    row("purge of a key", purge_key);
    row("purge of a path", purge_path);
    row("purge of a prefix that none has", purge_no_prefix);
    row("purge of a tag of 1 in 1,000", purge_few);
    row("its rest, by parts (gone: how many)", sweep_all);
    row("the same document again", same_document);
    row("another size", another_size);
    row("purge of all", purge_all);
    row("its rest, by parts (gone: how many)", sweep_all);
    atomic_store(&ends, true);
    pthread_join(thread, NULL);
    cache_drop(cache);
    cache_wakeups_free(wakeups);
    return 0;
}
