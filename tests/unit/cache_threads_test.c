/* Four workers ask, wait, fill, send and leave, while a fifth thread purges and changes the cache's
 * size. Every request must come to an end, and nothing may be left over. */
#include "tests/unit/check.h"

#include "common/program/thread.h"
#include "gateway/cache/cache.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define WORKERS  4
#define REQUESTS 8000 /* of each worker */
#define AT_ONCE  16
#define KEYS     40

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 8192, .fields_max = PS_HTTP_FIELDS_MAX};
static const struct cfg_route_cache route = {0};
static struct cache *cache;
static struct cache_wakeups *wakeups;
static sem_t bells[WORKERS];
static _Atomic(bool) over;
static _Atomic(int) hits, fetches, waits, wrong;

enum doing { IDLE, WAITING, FETCHING };

struct request {
    struct cache_waiter waiter; /* first */
    struct worker *worker;
    enum doing doing;
    struct cache_fill *fill;
    int steps;
    char key[16];
    struct ps_http_head head;
    char data[128];
};

struct worker {
    size_t index;
    uint64_t random;
    int begun, ended;
    struct ps_http_head answer;
    char answer_text[128];
    struct request requests[AT_ONCE];
};
static struct worker workers[WORKERS];

static uint32_t below(struct worker *worker, uint32_t limit)
{
    worker->random = worker->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(worker->random >> 33) % limit;
}

static void finish(struct request *request)
{
    request->doing = IDLE;
    request->worker->ended++;
}

static void check_body(struct request *request, struct cache_entry *entry)
{
    if (entry->body.len != 2000 || memcmp(entry->body.at, request->key, strlen(request->key)) != 0)
        atomic_fetch_add(&wrong, 1);
}

static void ask(struct request *request)
{
    struct cache_asked asked;
    struct cache_found found;
    cache_asked_read((struct cache_message){&request->head, request->data}, &asked);
    cache_ask(cache,
              &(struct cache_query){.asked = &asked,
                                    .route = &route,
                                    .key = {request->key, strlen(request->key)},
                                    .waiter = &request->waiter},
              &found);
    if (found.ask == CACHE_ASK_WAIT) {
        request->doing = WAITING;
        atomic_fetch_add(&waits, 1);
        return;
    }
    if (found.ask == CACHE_ASK_HIT) {
        check_body(request, found.entry);
        cache_entry_drop(found.entry);
        atomic_fetch_add(&hits, 1);
        finish(request);
        return;
    }
    cache_entry_drop(found.entry);
    request->fill = found.fill;
    request->steps = 0;
    request->doing = FETCHING;
    atomic_fetch_add(&fetches, 1);
}

static void on_result(struct cache_waiter *waiter, enum cache_result result,
                      struct cache_entry *entry)
{
    struct request *request = (struct request *)waiter;
    if (result == CACHE_RESULT_AGAIN) {
        ask(request);
        return;
    }
    if (entry != NULL)
        check_body(request, entry);
    cache_entry_drop(entry);
    finish(request);
}

/* A step of a fetch: its head, two halves of its body, its end; sometimes it goes wrong. */
static void fetch_on(struct request *request)
{
    struct worker *worker = request->worker;
    char half[1000] = {0};
    struct cache_moments moments = {0, 0, 1790000000000};
    struct cache_message answer = {&worker->answer, worker->answer_text};
    uint32_t chance = below(worker, 100);
    if (chance == 0) {
        cache_fill_fail(request->fill);
        finish(request);
        return;
    }
    if (chance == 1 && !cache_fill_left(request->fill)) {
        finish(request);
        return;
    }
    if (request->steps == 0)
        cache_fill_begin(request->fill, answer, &moments, chance % 2 == 0 ? 2000 : -1);
    else if (request->steps == 1)
        cache_fill_part(request->fill,
                        (struct ps_str){memcpy(half, request->key, strlen(request->key)), 1000});
    else if (request->steps == 2)
        cache_fill_part(request->fill, (struct ps_str){half, 1000});
    else
        cache_entry_drop(cache_fill_end(request->fill));
    if (request->steps++ == 3)
        finish(request);
}

static void begin(struct request *request)
{
    struct worker *worker = request->worker;
    worker->begun++;
    snprintf(request->key, sizeof request->key, "/%s%u", below(worker, 2) ? "a" : "b",
             below(worker, KEYS));
    int len = snprintf(request->data, sizeof request->data, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n",
                       request->key);
    ps_http_request_init(&request->head, &limits);
    if (ps_http_head_parse(&request->head, request->data, (size_t)len) != PS_HTTP_DONE)
        atomic_fetch_add(&wrong, 1);
    request->waiter = (struct cache_waiter){.worker = worker->index, .on_result = on_result};
    ask(request);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    while (worker->ended < REQUESTS) {
        bool all_wait = true;
        cache_wakeups_deliver(wakeups, worker->index);
        for (int i = 0; i < AT_ONCE; i++) {
            struct request *request = &worker->requests[i];
            if (request->doing == IDLE && worker->begun < REQUESTS)
                begin(request);
            else if (request->doing == FETCHING)
                fetch_on(request);
            else if (request->doing == WAITING && below(worker, 200) == 0) {
                cache_waiter_cancel(&request->waiter);
                finish(request);
            }
            all_wait &= request->doing == WAITING && worker->begun < REQUESTS;
        }
        if (all_wait) {
            struct timespec soon;
            clock_gettime(CLOCK_REALTIME, &soon);
            soon.tv_sec += 30;
            if (sem_timedwait(&bells[worker->index], &soon) != 0 && worker->ended < REQUESTS)
                atomic_fetch_add(&wrong, 1); /* somebody is stuck */
        }
    }
    return NULL;
}

static void *disturb(void *arg)
{
    (void)arg;
    struct cfg_cache doc = {.bytes = 1 << 16, .object_bytes_max = 1 << 13};
    for (unsigned i = 0; !atomic_load(&over); i++) {
        struct cache_figures figures;
        char key[16];
        snprintf(key, sizeof key, "/a%u", i % KEYS);
        cache_purge_key(cache, (struct ps_str){key, strlen(key)});
        if (i % 8 == 0)
            cache_purge_prefix(cache, PS_STR("/b"));
        if (i % 8 == 4)
            cache_purge_tag(cache, PS_STR("red"));
        if (i % 16 == 0) {
            doc.eviction = (enum cfg_eviction)(i / 16 % CFG_EVICTION_COUNT);
            doc.bytes = i / 16 % 2 == 0 ? 1 << 16 : 1 << 17;
            if (cache_set(cache, &doc) != 0)
                atomic_fetch_add(&wrong, 1);
        }
        cache_read(cache, &figures);
        if (figures.bytes > 1 << 17 || figures.bytes < 0)
            atomic_fetch_add(&wrong, 1);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

static void wake(size_t worker, void *ctx)
{
    (void)ctx;
    sem_post(&bells[worker]);
}

/* CA3 */
static void every_request_comes_to_an_end(void **state)
{
    (void)state;
    pthread_t threads[WORKERS], disturber;
    struct cfg_cache doc = {.bytes = 1 << 16, .object_bytes_max = 1 << 13};
    assert_ok(cache_wakeups_new(WORKERS, wake, NULL, &wakeups));
    assert_ok(cache_new(&doc, wakeups, &cache));
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        *worker = (struct worker){.index = i, .random = i + 1};
        strcpy(worker->answer_text, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
                                    "Surrogate-Key: red\r\n\r\n");
        ps_http_response_init(&worker->answer, &limits, false);
        assert_int_equal(
            ps_http_head_parse(&worker->answer, worker->answer_text, strlen(worker->answer_text)),
            PS_HTTP_DONE);
        for (int j = 0; j < AT_ONCE; j++)
            worker->requests[j].worker = worker;
        sem_init(&bells[i], 0, 0);
    }
    for (size_t i = 0; i < WORKERS; i++)
        assert_ok(ps_thread_start("worker", work, &workers[i], &threads[i]));
    assert_ok(ps_thread_start("disturb", disturb, NULL, &disturber));
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&over, true);
    pthread_join(disturber, NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(atomic_load(&hits) > 0 && atomic_load(&fetches) > 0 && atomic_load(&waits) > 0);
    struct cache_figures figures;
    cache_read(cache, &figures);
    assert_int_equal(figures.waiting, 0);
    assert_int_equal(figures.bytes_held, 0);
    assert_int_equal(figures.bytes_filling, 0);
    cache_drop(cache);
    cache_wakeups_free(wakeups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_comes_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
