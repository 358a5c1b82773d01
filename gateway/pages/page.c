/* How a page is served, as a table of steps. A step takes what it needs, and either returns the
 * next state, or answers: an answer ends the page, which releases everything it holds (page_end).
 * Where a page waits, the event handlers at the end of this file continue. */
#include "gateway/pages/page.h"

#include "common/http/address.h"
#include "common/http/write.h"
#include "gateway/pages/page_internal.h"
#include "gateway/upstream/route.h"
#include "gateway/upstream/route_figures.h"
#include "gateway/upstream/switch.h"
#include "gateway/upstream/via.h"

#include <string.h>

typedef enum page_state step_fn(struct page_request *page);

/* --- ROUTED: is it a request that may go on? --- */

/* Writes the methods that the route serves, as Allow lists them. */
static void put_allow(struct page_request *page, uint32_t methods)
{
    static const char *const names[] = {
        [PS_HTTP_GET] = "GET",        [PS_HTTP_HEAD] = "HEAD",   [PS_HTTP_POST] = "POST",
        [PS_HTTP_PUT] = "PUT",        [PS_HTTP_PATCH] = "PATCH", [PS_HTTP_DELETE] = "DELETE",
        [PS_HTTP_OPTIONS] = "OPTIONS"};
    char memory[64];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        if ((methods >> i & 1) != 0)
            ps_buf_printf(&buf, "%s%s", buf.len > 0 ? ", " : "", names[i]);
    srv_answer_header(page->http, "Allow", buf.at, buf.len);
}

/* Routes whose shop reads a body of GET and the like must say so: one that ignores it would read it
 * as the next request (RFC 9110, section 9.3.1). */
static bool has_strange_body(const struct page_request *page)
{
    const uint32_t usual = 1u << PS_HTTP_POST | 1u << PS_HTTP_PUT | 1u << PS_HTTP_PATCH;
    const struct srv_request *http = page->http;
    uint32_t method = 1u << (unsigned)http->method;

    return (http->head == NULL || http->head->framing != PS_HTTP_NO_BODY) &&
           (method & (usual | page->route->doc->body_methods)) == 0;
}

static bool is_too_long(const struct page_request *page)
{
    const struct ps_http_head *head = page->http->head;

    return page->http->oversized || (head != NULL && head->framing == PS_HTTP_BY_LENGTH &&
                                     head->body_len > (uint64_t)page->route->doc->body_max);
}

bool page_is_served(const struct page_request *page, enum ans_verdict *ret_verdict,
                    const char **ret_text)
{
    const struct srv_request *http = page->http;

    *ret_text = NULL;
    if (page->route == NULL && page->other != NULL) {
        *ret_verdict = ANS_V_method_not_allowed;
    } else if (page->route == NULL) {
        *ret_verdict = ANS_V_not_found;
        *ret_text = "no such path";
    } else if (up_path_has_dots(http->path)) {
        *ret_verdict = ANS_V_malformed;
        *ret_text = "the path has a segment of dots";
    } else if (page->pool != NULL && up_via_loops(http->head, http->base)) {
        *ret_verdict = ANS_V_loop_detected;
        *ret_text = "Via names gateways of this program more than twice";
    } else if (has_strange_body(page)) {
        *ret_verdict = ANS_V_body_not_expected;
    } else if (is_too_long(page)) {
        *ret_verdict = ANS_V_too_large;
        *ret_text = "the body is larger than this route accepts";
    } else {
        return true;
    }
    return false;
}

static enum page_state admit(struct page_request *page)
{
    const struct page_worker *worker = page->worker;
    const struct srv_request *http = page->http;
    enum ans_verdict verdict;
    const char *text;

    if (!page_is_served(page, &verdict, &text)) {
        if (verdict == ANS_V_method_not_allowed)
            put_allow(page, page->other->doc->methods);
        return page_refuse(page, verdict, text);
    }
    struct adm_admission admission = {.gates = worker->gates,
                                      .request = page->asked,
                                      .now_ns = http->now_ns,
                                      .wall_ms = ps_clock_wall_ms(worker->clock)};
    if (adm_admit_page(&admission, page->route->doc) == ADM_GATE_PASS)
        return PAGE_ADMITTED;
    admission.detail.limit = page->asked->limit;
    return page_refuse_as(page, PAGE_END_REFUSED, admission.verdict, &admission.detail);
}

/* --- ADMITTED: what does its route say? --- */

size_t page_split(const struct page_request *page, uint64_t *draws)
{
    const struct up_route_view *route = page->route;
    const struct srv_request *http = page->http;
    unsigned off = 0;

    for (size_t i = 0; i < route->doc->split_count; i++)
        off |= (unsigned)up_split_is_off(&route->splits[i]) << i;
    return up_switch_pick(route->switches,
                          &(struct up_asker){.user = page->asked->user,
                                             .client = page->asked->address,
                                             .head = http->head,
                                             .base = http->base},
                          off, draws);
}

void page_take_split(struct page_request *page, size_t split)
{
    const struct up_route_view *route = page->route;

    page->target = route->own;
    if (split != UP_NONE) {
        page->pool = route->splits[split].pool;
        page->target = route->splits[split].live;
    }
    page->sent_to = page->pool;
}

/* Chooses the pool of the request's split, or the route's own. While the breaker of a split's pool
 * is open, its users get the route's own pool, and each counts as a failure of the split. */
static void choose_pool(struct page_request *page)
{
    const struct up_route_view *route = page->route;
    size_t worker = up_worker_index(page->worker->shop);
    size_t split = page_split(page, up_route_draws(route->live, worker));

    if (split != UP_NONE && !up_pool_admits(page->worker->shop, route->splits[split].pool,
                                            &page->asked->address, page->http->path)) {
        up_target_skip(route->splits[split].live, worker);
        split = UP_NONE;
    }
    page_take_split(page, split);
}

static enum page_state choose(struct page_request *page)
{
    const struct cfg_route *doc = page->route->doc;

    if (doc->redirect.status != 0)
        return page_answer_own(page, PAGE_END_OWN,
                               &(struct cfg_static){.status = doc->redirect.status},
                               doc->redirect.location, NULL);
    if (doc->answer.status != 0)
        return page_answer_own(page, PAGE_END_OWN, &doc->answer, NULL, NULL);
    page->body_left = doc->body_max;
    if (page_is_out(page))
        return PAGE_FALLING_BACK;
    choose_pool(page);
    return PAGE_LOOKING_UP;
}

/* --- LOOKING_UP: has the cache an answer? --- */

static enum page_state look_up(struct page_request *page)
{
    struct cache_found found;

    if (!page_ask(page, &found))
        return PAGE_SENDING;
    switch (found.ask) {
    case CACHE_ASK_STALE:
        page_fetch_behind(page, &found);
        /* fall through */
    case CACHE_ASK_HIT:
        page->cached.fwd = CACHE_FWD_NONE;
        return page_answer_entry(page, PAGE_END_CACHE, found.entry);
    case CACHE_ASK_WAIT:
        TAILQ_INSERT_TAIL(&page->worker->waiting, page, link);
        page->worker->waiting_count++;
        page_keep(page);
        return PAGE_WAITING;
    case CACHE_ASK_ABSENT:
        return page_refuse(page, ANS_V_gateway_timeout, "the cache has no usable answer");
    case CACHE_ASK_FETCH:
        break;
    }
    page->cached = (struct cache_status){.fwd = found.fwd};
    page_fetch_open(page, &found);
    return PAGE_SENDING;
}

/* --- SENDING and MIRRORING: a pool is asked. --- */

static enum page_state fail(struct page_request *page, enum up_end end)
{
    page_note_trouble(page, end);
    return PAGE_FALLING_BACK;
}

static enum page_state send_to_pool(struct page_request *page)
{
    enum up_end end;

    if (page_send(page, &end)) {
        page_keep(page);
        return PAGE_MIRRORING;
    }
    if (end == UP_END_request_too_large)
        return page_refuse(page, ANS_V_too_large,
                           "the head is too large after the route's additions");
    return fail(page, end);
}

static enum page_state mirror(struct page_request *page)
{
    if (!page->in_trouble)
        page_mirror_send(page);
    return PAGE_FETCHING;
}

/* --- The way --- */

/* clang-format off */
static step_fn *const steps[] = {
    [PAGE_NONE]         = NULL,           /* page_route -> ROUTED */
    [PAGE_ROUTED]       = admit,          /* -> ADMITTED */
    [PAGE_ADMITTED]     = choose,         /* -> LOOKING_UP, FALLING_BACK */
    [PAGE_LOOKING_UP]   = look_up,        /* -> SENDING, WAITING */
    [PAGE_WAITING]      = NULL,           /* on_result -> LOOKING_UP, FALLING_BACK */
    [PAGE_SENDING]      = send_to_pool,   /* -> MIRRORING, FALLING_BACK */
    [PAGE_MIRRORING]    = mirror,         /* -> FETCHING */
    [PAGE_FETCHING]     = NULL,           /* on_answer -> ANSWERING; on_failed -> FALLING_BACK; on_again -> SENDING */
    [PAGE_ANSWERING]    = NULL,           /* on_part, on_failed -> ENDED */
    [PAGE_FALLING_BACK] = page_fall_back, /* -> SENDING */
    [PAGE_ENDED]        = NULL,           /* from each state */
};
/* clang-format on */

static void advance(struct page_request *page, enum page_state state)
{
    while (steps[state] != NULL) {
        page->state = state;
        state = steps[state](page);
    }
    if (state != PAGE_ENDED) /* page_end has set the state, and its memory is the server's */
        page->state = state;
}

static void on_result(struct cache_waiter *waiter, enum cache_result result,
                      struct cache_entry *entry);

bool page_route(struct page_request *page, struct page_worker *worker, struct srv_request *http,
                struct adm_request *asked)
{
    const struct up_table *table = up_worker_table(worker->shop);
    enum ans_verdict verdict;
    const char *text;

    page->worker = worker;
    page->http = http;
    page->asked = asked;
    page->state = PAGE_ROUTED;
    page->waiter.on_result = on_result;
    if (table == NULL)
        return false;
    page->route = up_route_find(table, ps_http_host_name(http->header[SRV_H_HOST]), http->path,
                                (enum ps_http_method)http->method, &page->other);
    if (page->route != NULL || page->other != NULL)
        page->hold = up_worker_hold(worker->shop);
    if (page->route != NULL)
        page->pool = page->route->pool;
    http->at_once = !page_is_served(page, &verdict, &text);
    return page->pool != NULL;
}

void page_start(struct page_request *page, bool trusted)
{
    page->trusted = trusted;
    advance(page, PAGE_ROUTED);
}

/* --- What happens while it waits: for another page's fetch --- */

static void stop_waiting(struct page_request *page)
{
    if (page->waiter.cache == NULL) /* its fetch has ended, or it never waited */
        return;
    TAILQ_REMOVE(&page->worker->waiting, page, link);
    page->worker->waiting_count--;
    cache_waiter_cancel(&page->waiter);
}

static void on_result(struct cache_waiter *waiter, enum cache_result result,
                      struct cache_entry *entry)
{
    struct page_request *page =
        (struct page_request *)((char *)waiter - offsetof(struct page_request, waiter));
    const struct cache_message message = {page->http->head, page->http->base};

    TAILQ_REMOVE(&page->worker->waiting, page, link);
    page->worker->waiting_count--;
    if (result == CACHE_RESULT_ENTRY && cache_vary_fits(entry->vary, message)) {
        page->cached = (struct cache_status){.fwd = CACHE_FWD_MISS, .collapsed = true};
        (void)page_answer_entry(page, PAGE_END_CACHE, entry);
        return;
    }
    cache_entry_drop(entry);
    if (result != CACHE_RESULT_FAILED) {
        advance(page, PAGE_LOOKING_UP);
        return;
    }
    entry = page_find_stale(page);
    if (page_may_be_stale(page, entry)) {
        page->cached = (struct cache_status){.fwd = CACHE_FWD_STALE, .collapsed = true};
        (void)page_answer_entry(page, PAGE_END_CACHE, entry);
        return;
    }
    cache_entry_drop(entry);
    advance(page, fail(page, UP_END_reset));
}

/* --- For the pool --- */

static void note_endpoint(struct page_request *page)
{
    if (page->exchange != NULL)
        page->endpoint = up_exchange_endpoint(page->exchange);
}

static void on_interim(const struct up_answer *answer, void *ctx)
{
    struct page_request *page = ctx;
    struct ps_buf fields = up_worker_scratch(page->worker->shop);

    up_fields_answer(&fields, answer->head, answer->base, &(struct cfg_header_rules){0});
    if (!fields.overflow)
        srv_answer_interim(page->http, answer->status, (struct ps_str){fields.at, fields.len});
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct page_request *page = ctx;
    struct srv_request *http = page->http;
    struct ps_buf fields = up_worker_scratch(page->worker->shop);
    char why[PAGE_WHY_MAX];

    page->status = answer->status;
    note_endpoint(page);
    up_fields_answer(&fields, answer->head, answer->base, &page->route->doc->response_headers);
    if (page->route->cache != NULL) {
        ps_buf_puts(&fields, "Cache-Status: ");
        cache_status_put(&page->cached, &fields);
        ps_buf_puts(&fields, "\r\n");
    }
    bool by_fallback = page_put_why(page, why);
    if (by_fallback) {
        ps_http_put_known(&fields, PS_STR("Penstock-Fallback"), ps_str(why));
        page_count_fallback(page);
    }
    if (fields.overflow) {
        bool continues = page_leave(page, UP_WHY_HEAD_TOO_LARGE);
        (void)page_refuse_as(
            page, PAGE_END_FAILED, ANS_V_bad_gateway,
            &(struct ans_problem_detail){.text = "the head of the shop's answer is too large"});
        return continues;
    }
    page_invalidate(page, answer);
    page->worker->count(page, ANS_V_page);
    struct srv_forward head = {
        .status = answer->status,
        .len = answer->body_len,
        .fields = {fields.at, fields.len},
        .is_dated = ps_http_find(answer->head, answer->base, PS_STR("Date")).at != NULL};
    page->state = PAGE_ANSWERING;
    if (last)
        page_end(page, by_fallback ? PAGE_END_FALLBACK : PAGE_END_SHOP);
    return srv_answer_forward(http, &head, part, last);
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    struct page_request *page = ctx;
    struct srv_request *http = page->http;

    if (!last)
        return srv_answer_part(http, part);
    page_end(page, page->in_trouble ? PAGE_END_FALLBACK : PAGE_END_SHOP);
    srv_answer_last(http, part);
    return true;
}

static void on_failed(enum up_end end, bool begun, void *ctx)
{
    struct page_request *page = ctx;

    note_endpoint(page);
    page->exchange = NULL;
    if (!begun) {
        advance(page, fail(page, end));
        return;
    }
    page_note_trouble(page, end);
    page->worker->count_broken(page);
    page_end(page, PAGE_END_BROKEN);
    srv_answer_end(page->http, false);
}

static void on_room(void *ctx)
{
    struct page_request *page = ctx;

    srv_resume(page->http);
}

static void on_entry(struct page_request *page, struct cache_entry *entry)
{
    (void)page_answer_entry(page, PAGE_END_CACHE, entry);
}

static void on_again(struct page_request *page)
{
    advance(page, PAGE_SENDING);
}

static const struct page_events events = {.exchange = {.interim = on_interim,
                                                       .answer = on_answer,
                                                       .part = on_part,
                                                       .failed = on_failed,
                                                       .room = on_room},
                                          .entry = on_entry,
                                          .again = on_again};

/* --- For its client --- */

bool page_take_part(struct page_request *page, struct ps_str part, bool last)
{
    if (page->exchange == NULL) /* already answered: drop the rest */
        return true;
    page->body_left -= (int64_t)part.len;
    page->has_parts |= part.len > 0;
    page->has_all |= last;
    if (page->body_left >= 0)
        return up_exchange_part(page->exchange, part, last);
    (void)page_leave(page, UP_WHY_SENT_TOO_MUCH);
    if (page->state == PAGE_ANSWERING) {
        page_end(page, PAGE_END_REFUSED);
        srv_answer_end(page->http, false);
    } else {
        (void)page_refuse(page, ANS_V_too_large, "the body is larger than this route accepts");
    }
    return false;
}

void page_make_room(struct page_request *page)
{
    if (page->exchange != NULL)
        up_exchange_resume(page->exchange);
}

void page_forget(struct page_request *page)
{
    if (page->state == PAGE_NONE || page->state == PAGE_ENDED)
        return;
    stop_waiting(page);
    (void)page_leave(page, page->http->is_late ? UP_WHY_CLIENT_SLOW : UP_WHY_CLIENT_GONE);
    page_end(page, PAGE_END_LEFT);
}

/* --- All of a worker --- */

void page_worker_init(struct page_worker *worker)
{
    worker->events = &events;
    TAILQ_INIT(&worker->fetches);
    TAILQ_INIT(&worker->waiting);
    LIST_INIT(&worker->mirrors.all);
}

void page_worker_tick(struct page_worker *worker)
{
    struct page_request *page = TAILQ_FIRST(&worker->waiting), *next;
    int64_t now_ns = ps_clock_mono_ns(worker->clock);

    for (; page != NULL; page = next) {
        next = TAILQ_NEXT(page, link);
        if (now_ns < page->http->now_ns + page->route->doc->total_ms * PS_NS_PER_MS)
            continue;
        stop_waiting(page);
        advance(page, fail(page, UP_END_late));
        next = TAILQ_FIRST(&worker->waiting); /* an answer may have changed the list */
    }
}

void page_worker_stop(struct page_worker *worker)
{
    struct page_request *page;

    while ((page = TAILQ_FIRST(&worker->waiting)) != NULL)
        stop_waiting(page);
    page_fetches_stop(worker);
    page_mirrors_cancel(&worker->mirrors);
}

const char *page_cache_result(const struct page_request *page)
{
    static const char *const words[] = {[CACHE_FWD_NONE] = "hit",
                                        [CACHE_FWD_MISS] = "miss",
                                        [CACHE_FWD_STALE] = "stale",
                                        [CACHE_FWD_REQUEST] = "request",
                                        [CACHE_FWD_BYPASS] = "bypass"};

    return page->route != NULL && page->route->cache != NULL ? words[page->cached.fwd] : NULL;
}
