/* cache-trace [REQUESTS]: hit ratios of the cache's ways to choose who must go, on the store
 * itself. 100,000 objects of 2,000 bytes are asked for by Zipf's law; caches hold 1, 5 and 10 % of
 * them. With a scan: in the middle fifth of the trace another object that never comes back is asked
 * for between each two. Counted are requests of Zipf's law after the first fifth. Prints the table
 * of docs/pages.md. */
#include "common/random.h"
#include "gateway/cache/cache.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OBJECTS  100000
#define BODY_LEN 2000

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 8192, .fields_max = PS_HTTP_FIELDS_MAX};
static const struct cfg_route_cache route = {0};
static struct ps_http_head request, answer;
static const char request_text[] = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
static const char answer_text[] = "HTTP/1.1 200 OK\r\nCache-Control: max-age=100000\r\n\r\n";
static char body[BODY_LEN];
static struct cache_asked asked;
static double *sums;
static uint64_t state;

static double uniform(void)
{
    return ps_random_draw(&state);
}

static void prepare_zipf(double s)
{
    double sum = 0;
    for (int i = 0; i < OBJECTS; i++)
        sums[i] = sum += pow(i + 1, -s);
}

static int draw(void)
{
    double at = uniform() * sums[OBJECTS - 1];
    int low = 0, high = OBJECTS - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (sums[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void give_up(const char *what)
{
    fprintf(stderr, "cache-trace: %s\n", what);
    exit(1);
}

/* Was it there? If not, it is fetched. */
static bool get(struct cache *cache, char kind, int object)
{
    char key[16];
    struct cache_found found;
    struct cache_moments moments = {0, 0, 1790000000000};
    int len = snprintf(key, sizeof key, "/%c%08d", kind, object);
    cache_ask(cache,
              &(struct cache_query){.asked = &asked, .route = &route, .key = {key, (size_t)len}},
              &found);
    bool hit = found.ask == CACHE_ASK_HIT;
    if (found.fill != NULL) {
        if (cache_fill_begin(found.fill, (struct cache_message){&answer, answer_text}, &moments,
                             BODY_LEN) != CACHE_STORE_stored)
            give_up("an answer is not kept");
        cache_fill_part(found.fill, (struct ps_str){body, BODY_LEN});
        cache_entry_drop(cache_fill_end(found.fill));
    }
    cache_entry_drop(found.entry);
    return hit;
}

static struct cache *new_cache(struct cache_wakeups *wakeups, enum cfg_eviction eviction,
                               int64_t bytes)
{
    struct cfg_cache doc = {.bytes = bytes, .object_bytes_max = bytes, .eviction = eviction};
    struct cache *cache;
    if (cache_new(&doc, wakeups, &cache) != 0)
        give_up("out of memory");
    return cache;
}

static int64_t bytes_of_one(struct cache_wakeups *wakeups)
{
    struct cache *cache = new_cache(wakeups, CFG_EVICTION_LRU, 1 << 20);
    struct cache_figures figures;
    get(cache, 'z', 0);
    cache_read(cache, &figures);
    cache_drop(cache);
    return figures.bytes;
}

static double ratio(struct cache *cache, int requests, bool scan)
{
    int hits = 0, counted = 0;
    state = 1;
    for (int i = 0; i < requests; i++) {
        bool hit = get(cache, 'z', draw());
        if (scan && i >= requests / 5 * 2 && i < requests / 5 * 3)
            get(cache, 's', i);
        if (i >= requests / 5) {
            hits += hit;
            counted++;
        }
    }
    return (double)hits / counted;
}

static void wake(size_t worker, void *ctx)
{
    (void)worker;
    (void)ctx;
}

static void print_rows(struct cache_wakeups *wakeups, int requests, double s, bool scan)
{
    static const int shares[] = {1, 5, 10};
    int64_t one = bytes_of_one(wakeups);
    prepare_zipf(s);
    for (size_t i = 0; i < PS_ARRAY_LEN(shares); i++) {
        int64_t bytes = one * OBJECTS * shares[i] / 100;
        bytes += bytes / 7 + 8; /* an eighth is for what comes in */
        printf("| %.1f | %s | %d %% |", s, scan ? "yes" : "no", shares[i]);
        for (int eviction = 0; eviction < CFG_EVICTION_COUNT; eviction++) {
            struct cache *cache = new_cache(wakeups, (enum cfg_eviction)eviction, bytes);
            printf(" %.1f %% |", 100 * ratio(cache, requests, scan));
            fflush(stdout);
            cache_drop(cache);
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    static const double skews[] = {0.8, 1.0};
    int requests = argc > 1 ? atoi(argv[1]) : 1000000;
    struct cache_wakeups *wakeups;
    sums = calloc(OBJECTS, sizeof *sums);
    if (requests < 1000 || sums == NULL || cache_wakeups_new(1, wake, NULL, &wakeups) != 0)
        give_up("usage: cache-trace [REQUESTS, 1000 at least]");
    ps_http_request_init(&request, &limits);
    ps_http_response_init(&answer, &limits, false);
    if (ps_http_head_parse(&request, request_text, strlen(request_text)) != PS_HTTP_DONE ||
        ps_http_head_parse(&answer, answer_text, strlen(answer_text)) != PS_HTTP_DONE)
        give_up("a head does not parse");
    cache_asked_read((struct cache_message){&request, request_text}, &asked);
    printf("| s | scan | size | lru | lfu | random |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < PS_ARRAY_LEN(skews); i++) {
        print_rows(wakeups, requests, skews[i], false);
        print_rows(wakeups, requests, skews[i], true);
    }
    cache_wakeups_free(wakeups);
    free(sums);
    return 0;
}
