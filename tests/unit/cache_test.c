/* The store: who gets an entry, who fetches, who waits; what is bounded, evicted and purged. */
#include "tests/unit/check.h"

#include "tests/unit/cache_fixture.h"

#include <stdio.h>

#define FRESH "200|Cache-Control: max-age=60"

static const struct cfg_route_cache plain = {0};
static struct fixture_message get;

static struct cache_found ask(struct cache *cache, const char *key, int64_t now_ms,
                              struct fixture_waiter *waiter)
{
    return fixture_ask(cache, &plain, &get, key, now_ms, waiter);
}

static void store(struct cache *cache, const char *key, const char *answer, const char *body)
{
    struct cache_found found = ask(cache, key, 0, NULL);
    assert_int_equal(found.ask, CACHE_ASK_FETCH);
    fixture_answer(found.fill, answer, body, 0);
    cache_entry_drop(found.entry);
}

static bool has(struct cache *cache, const char *key)
{
    struct cache_found found = ask(cache, key, 0, NULL);
    bool hit = found.ask == CACHE_ASK_HIT;
    fixture_done(&found);
    return hit;
}

static struct cache_figures read_of(struct cache *cache)
{
    struct cache_figures figures;
    cache_read(cache, &figures);
    return figures;
}

static void an_answer_in_parts_is_kept_whole(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message answer;
    struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
    fixture_message(&answer, FRESH "|ETag: \"a\"", 0);
    for (int64_t length = -1; length <= 60000; length += 60001) {
        char key[24];
        snprintf(key, sizeof key, "/%d", (int)length);
        struct cache_found found = ask(cache, key, 0, NULL);
        assert_int_equal(cache_fill_begin(found.fill, answer.is, &moments, length),
                         CACHE_STORE_stored);
        for (int i = 0; i < 6000; i++)
            assert_true(cache_fill_part(found.fill, PS_STR("0123456789")));
        struct cache_entry *entry = cache_fill_end(found.fill);
        assert_int_equal(entry->body.len, 60000);
        for (size_t i = 0; i < entry->body.len; i++)
            assert_int_equal(entry->body.at[i], '0' + i % 10);
        assert_memory_equal(entry->etag.at, "\"a\"", entry->etag.len);
        cache_entry_drop(entry);
        found = ask(cache, key, 0, NULL);
        assert_int_equal(found.ask, CACHE_ASK_HIT);
        assert_int_equal(found.entry->body.len, 60000);
        fixture_done(&found);
    }
    fixture_free(cache);
}

static void an_answer_that_is_cut_is_not_kept(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message answer;
    struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
    fixture_message(&answer, FRESH, 0);
    struct cache_found found = ask(cache, "/p", 0, NULL);
    cache_fill_begin(found.fill, answer.is, &moments, 10);
    cache_fill_part(found.fill, PS_STR("01234"));
    assert_null(cache_fill_end(found.fill));
    found = ask(cache, "/p", 0, NULL);
    cache_fill_begin(found.fill, answer.is, &moments, 4);
    assert_false(cache_fill_part(found.fill, PS_STR("01234")));
    assert_null(cache_fill_end(found.fill));
    assert_false(has(cache, "/p"));
    assert_int_equal(read_of(cache).entries, 0);
    fixture_free(cache);
}

static void a_thousand_wait_for_one_fetch(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    static struct fixture_waiter waiters[1000];
    struct cache_found first = ask(cache, "/p", 0, NULL);
    assert_int_equal(first.ask, CACHE_ASK_FETCH);
    for (size_t i = 0; i < PS_ARRAY_LEN(waiters); i++) {
        fixture_waiter(&waiters[i], 0);
        assert_int_equal(ask(cache, "/p", 0, &waiters[i]).ask, CACHE_ASK_WAIT);
    }
    assert_int_equal(read_of(cache).waiting, 1000);
    fixture_answer(first.fill, FRESH, "body", 0);
    fixture_deliver(cache);
    for (size_t i = 0; i < PS_ARRAY_LEN(waiters); i++) {
        assert_int_equal(waiters[i].calls, 1);
        assert_int_equal(waiters[i].last, CACHE_RESULT_ENTRY);
        assert_memory_equal(waiters[i].entry->body.at, "body", 4);
        cache_entry_drop(waiters[i].entry);
    }
    assert_int_equal(read_of(cache).fetches, 1);
    fixture_free(cache);
}

static void after_a_failed_fetch_one_more_tries_and_then_all_are_told(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_waiter waiters[3];
    struct cache_found first = ask(cache, "/p", 0, NULL);
    for (size_t i = 0; i < 3; i++) {
        fixture_waiter(&waiters[i], 0);
        ask(cache, "/p", 0, &waiters[i]);
    }
    cache_fill_fail(first.fill);
    fixture_deliver(cache);
    struct cache_found second = {0};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(waiters[i].last, CACHE_RESULT_AGAIN);
        struct cache_found found = ask(cache, "/p", 0, &waiters[i]);
        assert_int_equal(found.ask, i == 0 ? CACHE_ASK_FETCH : CACHE_ASK_WAIT);
        if (i == 0)
            second = found;
    }
    cache_fill_fail(second.fill);
    fixture_deliver(cache);
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(waiters[i].calls, 2);
        assert_int_equal(waiters[i].last, CACHE_RESULT_FAILED);
    }
    /* Who comes later begins anew. */
    struct cache_found found = ask(cache, "/p", 0, NULL);
    assert_int_equal(found.ask, CACHE_ASK_FETCH);
    fixture_done(&found);
    fixture_free(cache);
}

static void what_may_not_be_kept_makes_nobody_wait(void **state)
{
    (void)state;
    static const char *const answers[] = {"200|Cache-Control: no-store", "200",
                                          "200|Cache-Control: no-cache|ETag: \"a\"",
                                          FRESH "|Set-Cookie: a=b"};
    for (size_t i = 0; i < PS_ARRAY_LEN(answers); i++) {
        struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
        struct fixture_message answer;
        struct fixture_waiter waiter, later;
        struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
        fixture_message(&answer, answers[i], 0);
        fixture_waiter(&waiter, 0);
        fixture_waiter(&later, 0);
        struct cache_found first = ask(cache, "/p", 0, NULL);
        assert_int_equal(ask(cache, "/p", 0, &waiter).ask, CACHE_ASK_WAIT);
        cache_fill_begin(first.fill, answer.is, &moments,
                         4); /* with the head: the body may take long */
        fixture_deliver(cache);
        assert_int_equal(waiter.last, CACHE_RESULT_AGAIN);
        struct cache_found second = ask(cache, "/p", 0, &waiter),
                           third = ask(cache, "/p", 0, &later);
        assert_int_equal(second.ask, CACHE_ASK_FETCH);
        assert_int_equal(third.ask, CACHE_ASK_FETCH);
        fixture_done(&second);
        cache_fill_part(first.fill, PS_STR("body"));
        cache_entry_drop(cache_fill_end(first.fill));
        /* Until an answer can be kept. */
        fixture_answer(third.fill, FRESH, "body", 0);
        cache_entry_drop(third.entry);
        cache_purge_key(cache, PS_STR("/p"));
        first = ask(cache, "/p", 0, NULL);
        assert_int_equal(ask(cache, "/p", 0, &waiter).ask, CACHE_ASK_WAIT);
        cache_waiter_cancel(&waiter.is);
        fixture_done(&first);
        fixture_free(cache);
    }
}

static void the_mark_of_what_may_not_be_kept_ends(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_waiter waiter;
    fixture_waiter(&waiter, 0);
    store(cache, "/p", "200|Cache-Control: private", "x");
    struct cache_found first = ask(cache, "/p", 59999, NULL);
    struct cache_found second = ask(cache, "/p", 59999, &waiter);
    assert_int_equal(second.ask, CACHE_ASK_FETCH);
    fixture_done(&first);
    fixture_done(&second);
    first = ask(cache, "/p", 60000, NULL);
    assert_int_equal(ask(cache, "/p", 60000, &waiter).ask, CACHE_ASK_WAIT);
    cache_waiter_cancel(&waiter.is);
    fixture_done(&first);
    fixture_free(cache);
}

static void an_error_is_told_as_a_failure(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_waiter waiter;
    fixture_waiter(&waiter, 0);
    struct cache_found found = ask(cache, "/p", 0, NULL);
    ask(cache, "/p", 0, &waiter);
    assert_int_equal(fixture_answer(found.fill, "503", "down", 0), CACHE_STORE_freshness);
    fixture_deliver(cache);
    assert_int_equal(waiter.last, CACHE_RESULT_AGAIN);
    found = ask(cache, "/p", 0, &waiter);
    assert_int_equal(found.ask, CACHE_ASK_FETCH); /* no mark: the next ones wait again */
    struct fixture_waiter other;
    fixture_waiter(&other, 0);
    assert_int_equal(ask(cache, "/p", 0, &other).ask, CACHE_ASK_WAIT);
    fixture_answer(found.fill, "503", "down", 0);
    fixture_deliver(cache);
    assert_int_equal(other.last, CACHE_RESULT_FAILED);
    fixture_free(cache);
}

static void a_fetch_without_its_client_goes_on_for_others_or_when_nearly_done(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message answer;
    struct fixture_waiter waiter;
    struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
    fixture_message(&answer, FRESH, 0);
    fixture_waiter(&waiter, 0);

    struct cache_found found = ask(cache, "/p", 0, NULL);
    assert_false(cache_fill_left(found.fill)); /* the fill has ended */

    found = ask(cache, "/p", 0, NULL);
    ask(cache, "/p", 0, &waiter);
    assert_true(cache_fill_left(found.fill));
    cache_waiter_cancel(&waiter.is);
    assert_false(cache_fill_left(found.fill));

    found = ask(cache, "/p", 0, NULL);
    cache_fill_begin(found.fill, answer.is, &moments, 8);
    cache_fill_part(found.fill, PS_STR("01234"));
    assert_false(cache_fill_left(found.fill));
    found = ask(cache, "/p", 0, NULL);
    cache_fill_begin(found.fill, answer.is, &moments, 8);
    cache_fill_part(found.fill, PS_STR("012345"));
    assert_true(cache_fill_left(found.fill));
    cache_fill_part(found.fill, PS_STR("67"));
    cache_entry_drop(cache_fill_end(found.fill));
    assert_true(has(cache, "/p"));
    fixture_free(cache);
}

static void waiters_can_leave_before_and_after_the_fetch(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_waiter waiters[3];
    struct cache_found found = ask(cache, "/p", 0, NULL);
    for (size_t i = 0; i < 3; i++) {
        fixture_waiter(&waiters[i], 0);
        ask(cache, "/p", 0, &waiters[i]);
    }
    cache_waiter_cancel(&waiters[0].is);
    fixture_answer(found.fill, FRESH, "body", 0);
    cache_waiter_cancel(&waiters[1].is); /* it has its entry, and is not told yet */
    fixture_deliver(cache);
    cache_waiter_cancel(&waiters[2].is); /* nothing */
    assert_int_equal(waiters[0].calls, 0);
    assert_int_equal(waiters[1].calls, 0);
    assert_int_equal(waiters[2].calls, 1);
    cache_entry_drop(waiters[2].entry);
    fixture_free(cache);
}

static void stale_is_served_while_one_asks_the_origin(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    store(cache, "/p", "200|Cache-Control: max-age=1, stale-while-revalidate=9|ETag: \"a\"", "old");
    struct cache_found first = ask(cache, "/p", 2000, NULL), second = ask(cache, "/p", 2000, NULL);
    assert_int_equal(first.ask, CACHE_ASK_STALE);
    assert_non_null(first.fill);
    assert_int_equal(second.ask, CACHE_ASK_HIT);
    assert_null(second.fill);
    fixture_done(&second);
    struct fixture_message answer;
    struct cache_moments moments = {2000, 2000, FIXTURE_WALL_MS + 2000};
    fixture_message(&answer, "304|ETag: \"a\"|Cache-Control: max-age=60|New: 1", 2000);
    struct cache_entry *entry = cache_fill_freshen(first.fill, answer.is, &moments);
    assert_non_null(entry);
    assert_ptr_equal(entry->body.at, first.entry->body.at); /* nothing is copied */
    assert_non_null(cache_fields_find(entry->fields, "New").at);
    cache_entry_drop(entry);
    cache_entry_drop(first.entry);
    second = ask(cache, "/p", 50000, NULL);
    assert_int_equal(second.ask, CACHE_ASK_HIT);
    assert_int_equal(cache_kept_age_ms(&second.entry->kept, 50000), 48000);
    fixture_done(&second);
    assert_int_equal(read_of(cache).entries, 1);
    fixture_free(cache);
}

static void a_304_that_forbids_storing_ends_the_entry(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    store(cache, "/p", "200|Cache-Control: max-age=1|ETag: \"a\"", "old");
    struct cache_found found = ask(cache, "/p", 2000, NULL);
    assert_int_equal(found.ask, CACHE_ASK_FETCH);
    struct fixture_message answer;
    struct cache_moments moments = {2000, 2000, FIXTURE_WALL_MS + 2000};
    fixture_message(&answer, "304|ETag: \"b\"", 2000);
    assert_null(cache_fill_freshen(found.fill, answer.is, &moments)); /* of another entry */
    fixture_message(&answer, "304|ETag: \"a\"|Cache-Control: no-store", 2000);
    struct cache_entry *entry = cache_fill_freshen(found.fill, answer.is, &moments);
    assert_memory_equal(entry->body.at, "old", 3); /* for this client */
    cache_entry_drop(entry);
    cache_entry_drop(found.entry);
    assert_int_equal(read_of(cache).entries, 0);
    fixture_free(cache);
}

static void a_304_brings_the_age_it_has(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    store(cache, "/p", "200|Cache-Control: max-age=1|ETag: \"a\"", "old");
    struct cache_found found = ask(cache, "/p", 2000, NULL);
    struct fixture_message answer;
    struct cache_moments moments = {2000, 2000, FIXTURE_WALL_MS + 2000};
    fixture_message(&answer, "304|Date: {0}|Age: 20|Cache-Control: max-age=60", 2000);
    struct cache_entry *entry = cache_fill_freshen(found.fill, answer.is, &moments);
    assert_int_equal(cache_kept_age_ms(&entry->kept, 2000), 20000);
    assert_null(cache_fields_find(entry->fields, "Age").at);
    cache_entry_drop(entry);
    cache_entry_drop(found.entry);
    fixture_free(cache);
}

static void two_variants_stand_beside_each_other_and_sixteen_are_the_most(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message requests[20];
    for (int i = 0; i < 20; i++) {
        char text[32], body[16];
        snprintf(text, sizeof text, "GET|Foo: %d", i);
        snprintf(body, sizeof body, "%d", i);
        fixture_message(&requests[i], text, 0);
        struct cache_found found = fixture_ask(cache, &plain, &requests[i], "/p", 0, NULL);
        assert_int_equal(found.ask, CACHE_ASK_FETCH);
        fixture_answer(found.fill, FRESH "|Vary: foo", body, 0);
    }
    assert_int_equal(read_of(cache).entries, 16);
    for (int i = 4; i < 20; i++) {
        struct cache_found found = fixture_ask(cache, &plain, &requests[i], "/p", 0, NULL);
        assert_int_equal(found.ask, CACHE_ASK_HIT);
        char body[16];
        snprintf(body, sizeof body, "%d", i);
        assert_memory_equal(found.entry->body.at, body, strlen(body));
        fixture_done(&found);
    }
    assert_int_equal(cache_purge_key(cache, PS_STR("/p")), 16);
    fixture_free(cache);
}

static void who_waits_for_another_variant_asks_again(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message one, two;
    struct fixture_waiter waiter;
    fixture_message(&one, "GET|Foo: 1", 0);
    fixture_message(&two, "GET|Foo: 2", 0);
    fixture_waiter(&waiter, 0);
    struct cache_found found = fixture_ask(cache, &plain, &one, "/p", 0, NULL);
    assert_int_equal(fixture_ask(cache, &plain, &two, "/p", 0, &waiter).ask, CACHE_ASK_WAIT);
    fixture_answer(found.fill, FRESH "|Vary: Foo", "one", 0);
    fixture_deliver(cache);
    assert_false(cache_vary_fits(waiter.entry->vary, two.is));
    cache_entry_drop(waiter.entry);
    /* From now on the variants are known, and fetched side by side. */
    fixture_message(&one, "GET|Foo: 3", 0);
    found = fixture_ask(cache, &plain, &two, "/p", 0, &waiter);
    struct cache_found other = fixture_ask(cache, &plain, &one, "/p", 0, &waiter);
    assert_int_equal(found.ask, CACHE_ASK_FETCH);
    assert_int_equal(other.ask, CACHE_ASK_FETCH);
    fixture_done(&found);
    fixture_done(&other);
    fixture_free(cache);
}

static void purges_take_what_they_name_and_what_is_on_its_way(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    store(cache, "/a/1", FRESH "|Surrogate-Key: red  big", "x");
    store(cache, "/a/2", FRESH "|Surrogate-Key: blue|Surrogate-Key: big", "x");
    store(cache, "/b/1", FRESH "|Surrogate-Key: reddish", "x");
    store(cache, "/b/2", FRESH, "x");
    assert_int_equal(cache_purge_tag(cache, PS_STR("red")), 1);
    assert_false(has(cache, "/a/1"));
    assert_int_equal(cache_purge_tag(cache, PS_STR("big")), 1);
    assert_int_equal(cache_purge_prefix(cache, PS_STR("/b/")), 2);
    assert_int_equal(read_of(cache).entries, 0);
    assert_int_equal(read_of(cache).purged, 4);

    /* What was asked for before the purge serves those who asked then, and nobody later. */
    for (int by = 0; by < 3; by++) {
        struct fixture_waiter waiter, later;
        fixture_waiter(&waiter, 0);
        fixture_waiter(&later, 0);
        struct cache_found old = ask(cache, "/a/1", 0, NULL);
        ask(cache, "/a/1", 0, &waiter);
        if (by == 0)
            cache_purge_key(cache, PS_STR("/a/1"));
        else if (by == 1)
            cache_purge_prefix(cache, PS_STR("/a"));
        else
            cache_purge_tag(cache, PS_STR("any"));
        struct cache_found new = ask(cache, "/a/1", 0, &later);
        assert_int_equal(new.ask, CACHE_ASK_FETCH);
        fixture_answer(old.fill, FRESH, "old", 0);
        fixture_deliver(cache);
        assert_int_equal(waiter.last, CACHE_RESULT_ENTRY);
        cache_entry_drop(waiter.entry);
        assert_int_equal(read_of(cache).entries, 0);
        fixture_done(&new);
    }
    fixture_free(cache);
}

static void bytes_stay_within_their_bound(void **state)
{
    (void)state;
    for (int eviction = 0; eviction < CFG_EVICTION_COUNT; eviction++) {
        struct cache *cache = fixture_cache((enum cfg_eviction)eviction, 1 << 20);
        static char body[100001];
        memset(body, 'x', 100000);
        for (int i = 0; i < 3000; i++) {
            char key[24];
            snprintf(key, sizeof key, "/%d", i % 700);
            struct cache_found found = ask(cache, key, 0, NULL);
            body[1 + i * 7919 % 100000] = '\0';
            if (found.fill != NULL)
                fixture_answer(found.fill, FRESH, body, 0);
            body[1 + i * 7919 % 100000] = 'x';
            cache_entry_drop(found.entry);
            struct cache_figures figures = read_of(cache);
            assert_true(figures.bytes <= (1 << 20) * 7 / 8);
            assert_int_equal(figures.bytes_held, 0);
        }
        assert_true(read_of(cache).evicted > 100);
        fixture_free(cache);
    }
}

static void what_is_evicted_while_it_is_sent_still_counts(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 1 << 20);
    static char body[100001];
    struct cache_entry *sent[20];
    size_t kept = 0;
    memset(body, 'x', 100000);
    for (int i = 0; i < 20; i++) {
        char key[24];
        snprintf(key, sizeof key, "/%d", i);
        struct cache_found found = ask(cache, key, 0, NULL);
        struct fixture_message answer;
        struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
        fixture_message(&answer, FRESH, 0);
        cache_fill_begin(found.fill, answer.is, &moments, 100000);
        cache_fill_part(found.fill, (struct ps_str){body, 100000});
        sent[kept] = cache_fill_end(found.fill);
        kept += sent[kept] != NULL;
        struct cache_figures figures = read_of(cache);
        assert_true(figures.bytes + figures.bytes_held <= 1 << 20);
    }
    assert_true(kept < 11); /* no room while all are still being sent */
    assert_true(read_of(cache).stores[CACHE_STORE_no_room] > 0);
    while (kept > 0)
        cache_entry_drop(sent[--kept]);
    store(cache, "/again", FRESH, body);
    assert_true(has(cache, "/again"));
    fixture_free(cache);
}

static void objects_and_sizes_are_bounded_by_the_document(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 1 << 20);
    static char body[1 << 18];
    memset(body, 'x', sizeof body - 1);
    struct cache_found found = ask(cache, "/p", 0, NULL);
    assert_int_equal(fixture_answer(found.fill, FRESH, body, 0), CACHE_STORE_too_large);
    found = ask(cache, "/p", 0, NULL);
    struct fixture_message answer;
    struct cache_moments moments = {0, 0, FIXTURE_WALL_MS};
    fixture_message(&answer, FRESH, 0);
    assert_int_equal(cache_fill_begin(found.fill, answer.is, &moments, -1), CACHE_STORE_stored);
    bool goes = true;
    for (int i = 0; i < 20 && goes; i++)
        goes = cache_fill_part(found.fill, (struct ps_str){body, 10000});
    assert_false(goes);
    assert_null(cache_fill_end(found.fill));
    /* Size and eviction change with what is kept. */
    for (int i = 0; i < 100; i++) {
        char key[24];
        snprintf(key, sizeof key, "/%d", i);
        body[5000] = '\0';
        store(cache, key, FRESH, body);
    }
    assert_int_equal(read_of(cache).entries, 100);
    struct cfg_cache doc = {.bytes = 2 << 20, .object_bytes_max = 1 << 18};
    for (int eviction = 0; eviction < CFG_EVICTION_COUNT; eviction++) {
        doc.eviction = (enum cfg_eviction)eviction;
        assert_ok(cache_set(cache, &doc));
        assert_int_equal(read_of(cache).entries, 100);
        assert_true(has(cache, "/0"));
    }
    doc.eviction = CFG_EVICTION_LRU;
    doc.bytes = 1 << 18;
    assert_ok(cache_set(cache, &doc));
    assert_in_range(read_of(cache).entries, 35, 45);
    assert_true(read_of(cache).bytes <= (1 << 18) * 7 / 8);
    fixture_free(cache);
}

/* More than a purge looks at in one go. */
static void fill_with_many(struct cache *cache, int count)
{
    for (int i = 0; i < count; i++) {
        char key[24];
        snprintf(key, sizeof key, "/%s/%d", i % 2 == 0 ? "even" : "odd", i);
        store(cache, key, i % 2 == 0 ? FRESH "|Surrogate-Key: even" : FRESH, "x");
    }
    assert_int_equal(read_of(cache).entries, count);
}

static void a_purge_of_many_is_in_force_at_once_and_frees_them_by_parts(void **state)
{
    (void)state;
    for (int by = 0; by < 2; by++) {
        struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 64 << 20);
        fill_with_many(cache, 20000);
        size_t gone = by == 0 ? cache_purge_tag(cache, PS_STR("even"))
                              : cache_purge_prefix(cache, PS_STR("/even/"));
        assert_in_range(gone, 100, 5000); /* a part of the 10,000 */
        for (int i = 0; i < 20000; i += 199) {
            char key[24];
            snprintf(key, sizeof key, "/%s/%d", i % 2 == 0 ? "even" : "odd", i);
            assert_int_equal(has(cache, key), i % 2 != 0);
        }
        int64_t before = read_of(cache).entries;
        store(cache, "/even/0", FRESH "|Surrogate-Key: even", "new"); /* it is younger */
        bool replaced = read_of(cache).entries == before; /* the old one was not freed yet */
        int sweeps = 1;
        while (cache_sweep(cache))
            sweeps++;
        assert_in_range(sweeps, 2, 20);
        assert_int_equal(read_of(cache).entries, 10001);
        assert_int_equal(read_of(cache).purged, 10000 - replaced);
        assert_true(has(cache, "/even/0") && has(cache, "/odd/1"));
        assert_false(cache_sweep(cache));
        fixture_free(cache);
    }
}

static void any_number_of_purges_may_be_under_way(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 64 << 20);
    fill_with_many(cache, 20000);
    for (int i = 0; i < 3000; i++) {
        char key[24];
        snprintf(key, sizeof key, "/odd/%d", 2 * i + 1);
        cache_purge_path(cache, (struct ps_str){key, strlen(key)});
        assert_false(has(cache, key));
    }
    assert_true(has(cache, "/odd/6001"));
    while (cache_sweep(cache))
        ;
    assert_int_equal(read_of(cache).entries, 17000);
    assert_int_equal(read_of(cache).purged, 3000);
    fixture_free(cache);
}

static void what_is_too_much_for_a_smaller_size_goes_by_parts(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 64 << 20);
    fill_with_many(cache, 20000);
    struct cfg_cache doc = {.bytes = 2 << 20, .object_bytes_max = 1 << 18};
    assert_ok(cache_set(cache, &doc));
    assert_true(read_of(cache).bytes > (2 << 20) * 7 / 8);
    while (cache_sweep(cache))
        ;
    assert_in_range(read_of(cache).bytes, 1 << 20, (2 << 20) * 7 / 8);
    assert_true(has(cache, "/odd/19999")); /* the newest stay */
    assert_false(has(cache, "/even/0"));
    fixture_free(cache);
}

static void lru_keeps_what_was_used_last(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 1 << 20);
    static char body[60001];
    memset(body, 'x', 60000);
    for (int i = 0; i < 100; i++) {
        char key[24];
        snprintf(key, sizeof key, "/%d", i);
        store(cache, key, FRESH, body);
        assert_true(has(cache, "/0"));
    }
    assert_true(has(cache, "/99"));
    assert_false(has(cache, "/50"));
    fixture_free(cache);
}

/* W-TinyLFU: what is asked for often stays, whatever is asked for once comes by. */
static void lfu_keeps_what_is_asked_for_often(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LFU, 1 << 20);
    static char body[10001];
    char key[24];
    memset(body, 'x', 10000);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 40; i++) {
            snprintf(key, sizeof key, "/often%d", i);
            struct cache_found found = ask(cache, key, 0, NULL);
            if (found.fill != NULL)
                fixture_answer(found.fill, FRESH, body, 0);
            cache_entry_drop(found.entry);
        }
    }
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "/once%d", i);
        store(cache, key, FRESH, body);
    }
    int stayed = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "/often%d", i);
        stayed += has(cache, key);
    }
    assert_in_range(stayed, 38, 40);
    fixture_free(cache);
}

static void a_cache_outlives_its_last_user_while_entries_are_sent(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    store(cache, "/p", FRESH, "body");
    struct cache_found found = ask(cache, "/p", 0, NULL);
    cache_drop(cache);
    assert_memory_equal(found.entry->body.at, "body", 4);
    cache_entry_drop(found.entry); /* frees all: the sanitizers see it */
    fixture_end();
}

static void any_stale_entry_serves_a_fall_back_unless_it_is_forbidden(void **state)
{
    (void)state;
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct cache_asked asked;
    cache_asked_read(get.is, &asked);
    store(cache, "/p", "200|Cache-Control: max-age=1", "x");
    store(cache, "/q", "200|Cache-Control: max-age=1, must-revalidate", "x");
    struct cache_entry *entry = cache_stale(cache, &asked, PS_STR("/p"));
    assert_non_null(entry);
    cache_entry_drop(entry);
    assert_null(cache_stale(cache, &asked, PS_STR("/q")));
    assert_null(cache_stale(cache, &asked, PS_STR("/r")));
    fixture_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_in_parts_is_kept_whole),
        cmocka_unit_test(an_answer_that_is_cut_is_not_kept),
        cmocka_unit_test(a_thousand_wait_for_one_fetch),
        cmocka_unit_test(after_a_failed_fetch_one_more_tries_and_then_all_are_told),
        cmocka_unit_test(what_may_not_be_kept_makes_nobody_wait),
        cmocka_unit_test(the_mark_of_what_may_not_be_kept_ends),
        cmocka_unit_test(an_error_is_told_as_a_failure),
        cmocka_unit_test(a_fetch_without_its_client_goes_on_for_others_or_when_nearly_done),
        cmocka_unit_test(waiters_can_leave_before_and_after_the_fetch),
        cmocka_unit_test(stale_is_served_while_one_asks_the_origin),
        cmocka_unit_test(a_304_that_forbids_storing_ends_the_entry),
        cmocka_unit_test(a_304_brings_the_age_it_has),
        cmocka_unit_test(two_variants_stand_beside_each_other_and_sixteen_are_the_most),
        cmocka_unit_test(who_waits_for_another_variant_asks_again),
        cmocka_unit_test(purges_take_what_they_name_and_what_is_on_its_way),
        cmocka_unit_test(a_purge_of_many_is_in_force_at_once_and_frees_them_by_parts),
        cmocka_unit_test(any_number_of_purges_may_be_under_way),
        cmocka_unit_test(what_is_too_much_for_a_smaller_size_goes_by_parts),
        cmocka_unit_test(bytes_stay_within_their_bound),
        cmocka_unit_test(what_is_evicted_while_it_is_sent_still_counts),
        cmocka_unit_test(objects_and_sizes_are_bounded_by_the_document),
        cmocka_unit_test(lru_keeps_what_was_used_last),
        cmocka_unit_test(lfu_keeps_what_is_asked_for_often),
        cmocka_unit_test(a_cache_outlives_its_last_user_while_entries_are_sent),
        cmocka_unit_test(any_stale_entry_serves_a_fall_back_unless_it_is_forbidden),
    };
    fixture_message(&get, "GET", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
