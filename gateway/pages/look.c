/* See look.h. */
#include "gateway/pages/look.h"

#include "gateway/pages/page_internal.h"
#include "gateway/upstream/route_figures.h"
#include "gateway/upstream/switch.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT_MAX 192

static void note(const struct page_look *look, const char *gate, enum adm_gate step,
                 const char *text)
{
    const struct ans_problem_detail detail = {.text = text};

    adm_look_note(
        look->look,
        &(struct adm_note){
            .gate = gate, .step = step, .verdict = look->verdict, .detail = &detail, .left = -1});
}

/* --- ROUTED --- */

static bool is_admitted(struct page_look *look)
{
    struct page_request *page = &look->page;
    struct adm_admission admission = {.gates = &look->gates->gates,
                                      .request = look->asked,
                                      .now_ns = look->http->now_ns,
                                      .wall_ms = look->wall_ms,
                                      .look = look->look};
    const char *text;

    (void)page_route(page, &look->copied, look->http, look->asked);
    look->route = page->route;
    if (!page_is_served(page, &look->verdict, &text)) {
        note(look, "route", ADM_GATE_DENY, text);
        return false;
    }
    note(look, "route", ADM_GATE_PASS, NULL);
    if (adm_admit_page(&admission, page->route->doc) == ADM_GATE_PASS)
        return true;
    look->verdict = admission.verdict;
    return false;
}

/* --- ADMITTED --- */

/* Does the route answer by itself? */
static bool answers_itself(struct page_look *look)
{
    const struct cfg_route *doc = look->route->doc;

    look->status = doc->redirect.status != 0 ? doc->redirect.status : doc->answer.status;
    return look->status != 0;
}

static void choose_pool(struct page_look *look)
{
    struct page_request *page = &look->page;
    const struct up_route_view *route = page->route;
    size_t worker = up_worker_index(look->copied.shop);
    uint64_t draws = *up_route_draws(route->live, worker);
    size_t split = page_split(page, &draws);

    if (split != UP_NONE && !up_pool_would_admit(route->splits[split].pool, worker)) {
        note(look, "split", ADM_GATE_PASS,
             "the breaker of the split's pool is open: the route's own pool is asked");
        split = UP_NONE;
    }
    page_take_split(page, split);
    look->pool = page->pool;
}

/* --- LOOKING_UP --- */

/* True: an entry answers. */
static bool take_entry(struct page_look *look, struct cache_entry *entry, const char *word)
{
    int64_t ttl_ms = cache_kept_ttl_ms(&entry->kept, page_now_ms(&look->copied));
    char text[TEXT_MAX];

    look->cache = word;
    look->verdict = page_entry_verdict(&look->page, entry, &look->status);
    if (ttl_ms >= 0)
        (void)snprintf(text, sizeof text, "fresh for %" PRId64 " s more", ttl_ms / 1000);
    else
        (void)snprintf(text, sizeof text, "stale for %" PRId64 " s", -ttl_ms / 1000);
    note(look, "cache", ADM_GATE_PASS, text);
    return true;
}

/* True: the cache decides. */
static bool look_up(struct page_look *look)
{
    static const char *const words[] = {[CACHE_FWD_BYPASS] = "miss",
                                        [CACHE_FWD_NONE] = "miss",
                                        [CACHE_FWD_MISS] = "miss",
                                        [CACHE_FWD_STALE] = "revalidate",
                                        [CACHE_FWD_REQUEST] = "request"};
    struct cache_found found;
    struct ps_buf key;
    bool decides = false;

    ps_buf_init(&key, look->key, sizeof look->key);
    if (look->route->cache == NULL)
        return false;
    if (!page_ask_look(&look->page, &key, &found)) {
        look->cache = "bypass";
        note(look, "cache", ADM_GATE_PASS, "this request is not for the cache");
        return false;
    }
    look->key_len = key.len;
    if (found.ask == CACHE_ASK_HIT || found.ask == CACHE_ASK_STALE) {
        bool is_fresh = cache_kept_ttl_ms(&found.entry->kept, page_now_ms(&look->copied)) > 0;
        decides = take_entry(look, found.entry, is_fresh ? "fresh" : "stale");
    } else if (found.ask == CACHE_ASK_WAIT) {
        look->cache = "wait";
        note(look, "cache", ADM_GATE_PASS, "another request fetches it, and this one would wait");
        decides = true;
    } else if (found.ask == CACHE_ASK_ABSENT) {
        look->cache = "absent";
        look->verdict = ANS_V_gateway_timeout;
        note(look, "cache", ADM_GATE_DENY, "the cache has no usable answer");
        decides = true;
    } else {
        look->cache = words[found.fwd];
        note(look, "cache", ADM_GATE_PASS, "the shop is asked");
    }
    cache_entry_drop(found.entry);
    return decides;
}

/* --- SENDING --- */

/* Which endpoint of `sent_to`, and why. False: none. */
static bool look_at_pool(struct page_look *look, const char *gate)
{
    struct page_request *page = &look->page;
    const struct up_pool_view *pool = page->sent_to;
    struct ans_problem_detail detail;
    char text[TEXT_MAX];
    struct up_way way;

    up_forward_look(look->copied.shop,
                    &(struct up_call){.route = page->route->doc,
                                      .pool = pool,
                                      .key = page_balance_key(page, pool->doc)},
                    &way);
    if (way.end != UP_GOES) {
        page_note_trouble(page, way.end);
        look->verdict = page_give_up_verdict(page, &detail);
        note(look, gate, ADM_GATE_DENY, detail.text);
        return false;
    }
    look->pool = pool;
    look->endpoint = way.endpoint;
    look->verdict = ANS_V_page;
    (void)snprintf(text, sizeof text, "%s takes %s, of %zu usable endpoints of %zu%s",
                   cfg_algorithm_names[pool->doc->algorithm], way.endpoint->is.address, way.usable,
                   way.members, way.waits ? "; the request waits for a place first" : "");
    note(look, gate, ADM_GATE_PASS, text);
    return true;
}

/* --- FALLING_BACK --- */

/* True: this fallback answers. */
static bool try_fallback(struct page_look *look, size_t index)
{
    const struct cfg_fallback *fallback = &look->route->doc->fallbacks[index];
    struct cache_entry *stale;

    look->fallback = index;
    switch (fallback->kind) {
    case CFG_FALLBACK_POOL:
        look->page.sent_to = look->route->fallback[index];
        look->page.target = NULL;
        return look_at_pool(look, "fallback");
    case CFG_FALLBACK_STATIC:
        look->verdict = ANS_V_page;
        look->status = fallback->fixed.status;
        note(look, "fallback", ADM_GATE_PASS, "the route's fixed answer");
        return true;
    case CFG_FALLBACK_STALE:
        stale = page_find_stale(&look->page);
        if (stale == NULL)
            return false;
        look->verdict = page_entry_verdict(&look->page, stale, &look->status);
        cache_entry_drop(stale);
        note(look, "fallback", ADM_GATE_PASS, "the cache's answer, however old");
        return true;
    default:
        return false;
    }
}

static void fall_back(struct page_look *look)
{
    struct page_request *page = &look->page;
    const struct cfg_route *doc = look->route->doc;
    struct ans_problem_detail detail;

    for (;;) {
        struct cache_entry *stale = page_find_stale(page);
        size_t index = page_next_fallback(page, stale != NULL);
        cache_entry_drop(stale);
        if (index < doc->fallback_count && try_fallback(look, index))
            return;
        if (index < doc->fallback_count && doc->fallbacks[index].kind == CFG_FALLBACK_POOL)
            continue;
        look->fallback = index < doc->fallback_count ? index : SIZE_MAX;
        look->verdict = page_give_up_verdict(page, &detail);
        note(look, "fallback", ADM_GATE_DENY, detail.text);
        return;
    }
}

/* --- The way --- */

static void follow(struct page_look *look)
{
    struct page_request *page = &look->page;
    struct ans_problem_detail detail;

    if (!is_admitted(look))
        return;
    look->verdict = ANS_V_page;
    if (answers_itself(look))
        return;
    if (page_is_out(page)) {
        look->verdict = page_give_up_verdict(page, &detail);
        note(look, "class", ADM_GATE_DENY,
             look->route->out != NULL ? look->route->out : detail.text);
        fall_back(look);
        return;
    }
    choose_pool(look);
    if (!look_up(look) && !look_at_pool(look, "pool"))
        fall_back(look);
}

void page_look(struct page_look *look)
{
    look->copied = *look->worker;
    look->copied.gates = &look->gates->gates;
    look->copied.shard = look->gates->gates.shard;
    look->page = (struct page_request){.trusted = look->trusted};
    look->fallback = SIZE_MAX;
    follow(look);
}

void page_look_done(struct page_look *look)
{
    up_hold_release(look->page.hold);
    look->page.hold = NULL;
}
