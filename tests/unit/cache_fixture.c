#include "tests/unit/check.h"

#include "tests/unit/cache_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 8192, .fields_max = PS_HTTP_FIELDS_MAX};
static struct cache_wakeups *wakeups;

static size_t put_date(char *at, const char *offset, int64_t now_ms)
{
    char date[PS_HTTP_DATE_LEN + 1];
    ps_http_date_format(FIXTURE_WALL_MS + now_ms + strtoll(offset, NULL, 10) * 1000, date);
    memcpy(at, date, PS_HTTP_DATE_LEN);
    return PS_HTTP_DATE_LEN;
}

/* What stands between bars, each a line. */
static size_t put_lines(char *at, const char *text, int64_t now_ms)
{
    char *from = at;
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            memcpy(at, "\r\n", 2);
            at += 2;
        } else if (*text == '{' && strchr(text, '}') != NULL) {
            at += put_date(at, text + 1, now_ms);
            text = strchr(text, '}');
        } else {
            *at++ = *text;
        }
    }
    memcpy(at, "\r\n\r\n", 4);
    return (size_t)(at + 4 - from);
}

static void parse(struct fixture_message *message, size_t len)
{
    enum ps_http_step step = ps_http_head_parse(&message->head, message->data, len);
    if (step != PS_HTTP_DONE)
        fail_msg("rule %s: %s", ps_http_rules[message->head.rule].name, message->data);
    message->is = (struct cache_message){&message->head, message->data};
}

void fixture_request(struct fixture_message *message, const char *text, const char *path,
                     int64_t now_ms)
{
    const char *bar = strchr(text, '|');
    int method = bar != NULL ? (int)(bar - text) : (int)strlen(text);
    int len = snprintf(message->data, sizeof message->data,
                       "%.*s %s HTTP/1.1\r\nHost: shop.example", method, text, path);
    size_t all = (size_t)len + put_lines(message->data + len, bar != NULL ? bar : "", now_ms);
    ps_http_request_init(&message->head, &limits);
    parse(message, all);
}

void fixture_message(struct fixture_message *message, const char *text, int64_t now_ms)
{
    if (*text < '0' || *text > '9') {
        fixture_request(message, text, "/p", now_ms);
        return;
    }
    int len = snprintf(message->data, sizeof message->data, "HTTP/1.1 %.3s ", text);
    size_t all = (size_t)len + put_lines(message->data + len, text + 3, now_ms);
    ps_http_response_init(&message->head, &limits, false);
    parse(message, all);
}

static void on_result(struct cache_waiter *waiter, enum cache_result result,
                      struct cache_entry *entry)
{
    struct fixture_waiter *mine = (struct fixture_waiter *)waiter;
    mine->calls++;
    mine->last = result;
    mine->entry = entry;
}

void fixture_waiter(struct fixture_waiter *waiter, size_t worker)
{
    *waiter = (struct fixture_waiter){.is = {.worker = worker, .on_result = on_result}};
}

static void wake(size_t worker, void *ctx)
{
    (void)worker;
    (void)ctx;
}

struct cache *fixture_cache(enum cfg_eviction eviction, int64_t bytes)
{
    struct cfg_cache doc = {.bytes = bytes == 0 ? 1 << 20 : bytes, .eviction = eviction};
    doc.object_bytes_max = doc.bytes / 8;
    struct cache *cache;
    assert_ok(cache_wakeups_new(1, wake, NULL, &wakeups));
    assert_ok(cache_new(&doc, wakeups, &cache));
    return cache;
}

void fixture_deliver(struct cache *cache)
{
    (void)cache;
    cache_wakeups_deliver(wakeups, 0);
}

void fixture_free(struct cache *cache)
{
    struct cache_figures figures;
    cache_read(cache, &figures);
    assert_int_equal(figures.waiting, 0);
    assert_int_equal(figures.bytes_filling, 0);
    assert_int_equal(figures.bytes_held, 0);
    cache_drop(cache);
    fixture_end();
}

void fixture_end(void)
{
    cache_wakeups_free(wakeups);
}

struct cache_found fixture_ask(struct cache *cache, const struct cfg_route_cache *route,
                               const struct fixture_message *request, const char *key,
                               int64_t now_ms, struct fixture_waiter *waiter)
{
    struct cache_asked asked;
    struct cache_found found;
    cache_asked_read(request->is, &asked);
    cache_ask(cache,
              &(struct cache_query){.asked = &asked,
                                    .route = route,
                                    .key = {key, strlen(key)},
                                    .now_ms = now_ms,
                                    .waiter = waiter != NULL ? &waiter->is : NULL},
              &found);
    return found;
}

enum cache_store fixture_answer(struct cache_fill *fill, const char *answer, const char *body,
                                int64_t now_ms)
{
    struct fixture_message message;
    struct cache_moments moments = {now_ms, now_ms, FIXTURE_WALL_MS + now_ms};
    fixture_message(&message, answer, now_ms);
    enum cache_store store = cache_fill_begin(fill, message.is, &moments, (int64_t)strlen(body));
    cache_fill_part(fill, (struct ps_str){body, strlen(body)});
    cache_entry_drop(cache_fill_end(fill));
    return store;
}

void fixture_done(struct cache_found *found)
{
    cache_entry_drop(found->entry);
    cache_fill_fail(found->fill);
    *found = (struct cache_found){.ask = found->ask};
}
