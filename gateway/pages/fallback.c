/* Answers a page from a fallback, in the order of the route's document (upstream/fallback.h). Such
 * an answer carries its reason: Penstock-Fallback: static; why=deadline.
 *
 * A request whose body was sent to one pool is not sent to another: the body is not kept. */
#include "gateway/pages/page_internal.h"

#include "gateway/upstream/route_figures.h"

#include <stdio.h>
#include <string.h>

/* --- Why --- */

void page_note_trouble(struct page_request *page, enum up_end end)
{
    if (page->in_trouble) /* a fallback pool failed: report the first trouble */
        return;
    page->in_trouble = true;
    page->trouble = up_blame[end].trouble;
    page->end = end;
}

const char *page_trouble(const struct page_request *page)
{
    bool was_asked = page->trouble == UP_TROUBLE_deadline || page->trouble == UP_TROUBLE_failed;

    if (!page->in_trouble)
        return NULL;
    return was_asked ? up_outcome_names[up_blame[page->end].word] : up_trouble_names[page->trouble];
}

static const char *text_of(const struct page_request *page)
{
    switch (page->trouble) {
    case UP_TROUBLE_override:
        return "this part of the shop is out of service for a while";
    case UP_TROUBLE_level:
        return "this part of the shop is turned off while the gateway is overloaded";
    default:
        return up_blame[page->end].text;
    }
}

static enum ans_verdict verdict_of(enum up_trouble trouble)
{
    switch (trouble) {
    case UP_TROUBLE_level:
        return ANS_V_shed;
    case UP_TROUBLE_uploads_full:
        return ANS_V_uploads_full;
    case UP_TROUBLE_deadline:
        return ANS_V_gateway_timeout;
    case UP_TROUBLE_failed:
        return ANS_V_bad_gateway;
    default:
        return ANS_V_upstream_unavailable;
    }
}

/* CFG_FEATURE_COUNT: never turned off. */
static enum cfg_feature feature_of(enum cfg_route_class class)
{
    static const enum cfg_feature features[CFG_ROUTE_CLASSES] = {
        [CFG_ROUTE_CORE] = CFG_FEATURE_COUNT,
        [CFG_ROUTE_IMPORTANT] = CFG_FEATURE_routes_important,
        [CFG_ROUTE_NORMAL] = CFG_FEATURE_routes_normal,
        [CFG_ROUTE_EXTRA] = CFG_FEATURE_routes_extra};
    return features[class];
}

bool page_is_out(struct page_request *page)
{
    const struct cfg_route *doc = page->route->doc;
    const struct page_worker *worker = page->worker;
    enum cfg_feature feature = feature_of(doc->class);

    if (page->route->out != NULL)
        page->trouble = UP_TROUBLE_override;
    else if (feature != CFG_FEATURE_COUNT &&
             !adm_feature_on(worker->gates->overload, worker->shard, feature))
        page->trouble = UP_TROUBLE_level;
    else
        return false;
    page->in_trouble = true;
    return true;
}

/* --- The answer --- */

static const struct cfg_fallback *current(const struct page_request *page)
{
    return &page->route->doc->fallbacks[page->next_fallback - 1];
}

bool page_put_why(const struct page_request *page, char ret_text[PAGE_WHY_MAX])
{
    if (!page->in_trouble)
        return false;
    (void)snprintf(ret_text, PAGE_WHY_MAX, "%s; why=%s", up_fallback_names[current(page)->kind],
                   up_trouble_names[page->trouble]);
    return true;
}

void page_count_fallback(const struct page_request *page)
{
    up_route_fell_back(page->route->live, up_worker_index(page->worker->shop), current(page)->kind);
}

enum ans_verdict page_give_up_verdict(const struct page_request *page,
                                      struct ans_problem_detail *ret_detail)
{
    *ret_detail = (struct ans_problem_detail){.text = text_of(page)};
    if (page->trouble == UP_TROUBLE_level)
        ret_detail->policy = cfg_feature_names[feature_of(page->route->doc->class)];
    return verdict_of(page->trouble);
}

static enum page_state give_up(struct page_request *page)
{
    struct ans_problem_detail detail;
    enum ans_verdict verdict = page_give_up_verdict(page, &detail);

    return page_refuse_as(page, PAGE_END_FAILED, verdict, &detail);
}

/* --- Which one --- */

static unsigned other_pools(const struct page_request *page)
{
    unsigned bits = 0;

    for (size_t i = 0; i < page->route->doc->fallback_count; i++) {
        const struct up_pool_view *pool = page->route->fallback[i];
        bits |= (unsigned)(pool != NULL && pool != page->sent_to) << i;
    }
    return bits;
}

static bool has_time(const struct page_request *page)
{
    int64_t total_ns = page->route->doc->total_ms * PS_NS_PER_MS;

    return ps_clock_mono_ns(page->worker->clock) < page->http->now_ns + total_ns;
}

size_t page_next_fallback(struct page_request *page, bool stale)
{
    size_t index =
        up_fallback_next(page->route->doc, page->next_fallback,
                         &(struct up_fallback_offer){.stale = stale,
                                                     .sendable = !page->has_parts && has_time(page),
                                                     .pools = other_pools(page)});

    page->next_fallback = index + 1;
    return index;
}

enum page_state page_fall_back(struct page_request *page)
{
    const struct cfg_route *doc = page->route->doc;
    struct cache_entry *stale = page_find_stale(page);
    size_t index = page_next_fallback(page, stale != NULL);
    char why[PAGE_WHY_MAX];

    if (index == doc->fallback_count || doc->fallbacks[index].kind != CFG_FALLBACK_STALE) {
        cache_entry_drop(stale);
        stale = NULL;
    }
    if (index == doc->fallback_count) {
        up_route_has_nothing(page->route->live, up_worker_index(page->worker->shop));
        return give_up(page);
    }
    if (doc->fallbacks[index].kind == CFG_FALLBACK_POOL) {
        page->sent_to = page->route->fallback[index];
        page->target = NULL;
        return PAGE_SENDING;
    }
    page_count_fallback(page);
    (void)page_put_why(page, why);
    if (doc->fallbacks[index].kind == CFG_FALLBACK_STATIC)
        return page_answer_own(page, PAGE_END_FALLBACK, &doc->fallbacks[index].fixed, NULL, why);
    srv_answer_header(page->http, "Penstock-Fallback", why, strlen(why));
    if (stale == NULL)
        return give_up(page);
    page->cached = (struct cache_status){.fwd = CACHE_FWD_NONE};
    return page_answer_entry(page, PAGE_END_FALLBACK, stale);
}
