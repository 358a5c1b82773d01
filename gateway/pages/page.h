/* Pages: requests outside the API of sales. Each is forwarded to the shop, or answered by what the
 * operators' routes say instead. page.c has the steps.
 *
 * A page's route is chosen once, when its head has arrived, and kept with its table until the page
 * ends: later changes do not affect it. An answer that comes neither from the shop, the cache nor
 * the route is a problem document. An answer that breaks off ends the client's connection. One
 * thread. */
#ifndef PAGE_PAGE_H
#define PAGE_PAGE_H

#include "gateway/admission/admit.h"
#include "gateway/cache/cache.h"
#include "gateway/pages/mirror.h"
#include "gateway/server/http.h"
#include "gateway/upstream/fallback.h"
#include "gateway/upstream/forward.h"

struct page_events;
struct page_fetch;
struct page_request;

TAILQ_HEAD(page_fetch_list, page_fetch);
TAILQ_HEAD(page_list, page_request);

/* The state of a page. It waits in those marked *. */
enum page_state {
    PAGE_NONE,         /* the request is no page */
    PAGE_ROUTED,       /* its route is known, or that there is none; next: checks and gates */
    PAGE_ADMITTED,     /* the gates let it pass; next: what the route says */
    PAGE_LOOKING_UP,   /* its pool is chosen; next: the cache, if the route has one */
    PAGE_WAITING,      /* * for another page's fetch; in worker->waiting */
    PAGE_SENDING,      /* next: send it to `sent_to` */
    PAGE_MIRRORING,    /* sent; next: mirror it, if it is one of the share */
    PAGE_FETCHING,     /* * sent; the answer has not begun */
    PAGE_ANSWERING,    /* * the pool's answer is being forwarded to the client */
    PAGE_FALLING_BACK, /* the pool does not answer; next: the next fallback */
    PAGE_ENDED         /* answered, or its client has left; it holds nothing */
};

/* How a page ended; in the order of the metric's words (metrics.c). */
enum page_end {
    PAGE_END_SHOP,     /* with the complete answer of the chosen pool */
    PAGE_END_CACHE,    /* from the cache */
    PAGE_END_OWN,      /* with its route's redirect or fixed answer */
    PAGE_END_FALLBACK, /* from a fallback */
    PAGE_END_REFUSED,  /* by this gateway: no route, a gate, or too large */
    PAGE_END_FAILED,   /* no pool and no fallback answered */
    PAGE_END_BROKEN,   /* the pool's answer broke off */
    PAGE_END_LEFT      /* its client left first */
};

/* What the pages of one worker need, and those that wait. Everything it points to outlives it. */
struct page_worker {
    const struct ps_clock *clock;
    const struct adm_gates *gates;
    struct up_worker *shop; /* forwards to the shop */
    struct ps_metrics_shard *shard;
    /* Counts an answer, once for each page and before the answer is sent; and counts an answer that
     * broke off. */
    void (*count)(struct page_request *page, enum ans_verdict verdict);
    /* A refusal; completes its detail. */
    void (*count_refused)(struct page_request *page, enum ans_verdict verdict,
                          struct ans_problem_detail *detail);
    void (*count_broken)(struct page_request *page);
    /* Private. */
    const struct page_events *events;
    struct page_fetch_list fetches;
    struct page_list waiting; /* the oldest first */
    size_t waiting_count;
    struct page_mirrors mirrors;
};

/* The caller owns the memory, zeroes it first, and keeps it valid until the page is answered. */
struct page_request {
    struct page_worker *worker;
    struct srv_request *http;
    struct adm_request *asked; /* who asks, and the state of limits */
    bool trusted;              /* its peer is a trusted proxy */
    bool kept;                 /* by srv_suspend */
    enum page_state state;
    int status; /* of the answer */
    /* Set when the head has arrived. */
    struct up_hold *hold; /* the table of the next two; NULL: no route, or the page has ended */
    const struct up_route_view *route;
    const struct up_route_view *other; /* without a route: a route of this path for other methods */
    /* Where it is sent. */
    const struct up_pool_view *pool;    /* of its route or split: part of the cache's key */
    const struct up_pool_view *sent_to; /* the same pool, or that of a fallback */
    struct up_target *target;           /* where requests to `pool` are counted */
    struct up_exchange *exchange;       /* NULL: none is under way */
    const struct up_endpoint *endpoint; /* the last endpoint that it was sent to; NULL: none */
    int64_t body_left;                  /* bytes that the client may still send on this route */
    bool has_parts, has_all;            /* parts of the body have arrived; they are not kept */
    /* Of a route with a cache. */
    bool is_keyed;            /* the cache was asked: query and host are those of the key */
    struct page_fetch *fetch; /* the fetch by which its exchange fills the cache; NULL: none */
    struct cache_waiter waiter;
    TAILQ_ENTRY(page_request) link; /* in PAGE_WAITING */
    struct cache_status cached;     /* of the coming answer */
    /* Why the chosen pool does not answer. */
    bool in_trouble;
    enum up_trouble trouble;
    enum up_end end;      /* unless UP_TROUBLE_override or UP_TROUBLE_level */
    size_t next_fallback; /* index into route->doc->fallbacks; the one before it answers */
};

/* The caller has set all members of `worker` but the private ones. */
void page_worker_init(struct page_worker *worker);
/* Each 100 ms: delivers missed events, and ends waits that last too long. */
void page_worker_tick(struct page_worker *worker);
/* The worker stops: ends all fetches and mirrored requests, and all waits. The server answers the
 * remaining pages. */
void page_worker_stop(struct page_worker *worker);

/* The document of its route; NULL: it has none. */
static inline const struct cfg_route *page_route_doc(const struct page_request *page)
{
    return page->route != NULL ? page->route->doc : NULL;
}

/* A head has arrived: chooses the route. True: the body goes to a pool, in parts. Then page_start,
 * page_refuse or page_forget follows; `asked` is set by then. */
bool page_route(struct page_request *page, struct page_worker *worker, struct srv_request *http,
                struct adm_request *asked);
/* Answers the page, or keeps it until it can be answered. */
void page_start(struct page_request *page, bool trusted);
/* Answers with a problem document. `text` may be NULL. PAGE_ENDED. */
enum page_state page_refuse(struct page_request *page, enum ans_verdict verdict, const char *text);
/* For srv_settings.on_part and on_room. */
bool page_take_part(struct page_request *page, struct ps_str part, bool last);
void page_make_room(struct page_request *page);
/* The client has left, or the request was answered otherwise. Does nothing if it is no page. */
void page_forget(struct page_request *page);

/* For the access log: hit, miss, stale, request or bypass; NULL: no cache. */
const char *page_cache_result(const struct page_request *page);
/* Why the chosen pool did not answer, or not with a complete body; NULL: it did. */
const char *page_trouble(const struct page_request *page);

#endif
