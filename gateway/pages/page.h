/* Pages: requests that are not of the API of sales. Each goes to the shop behind this gateway and
 * back, or gets what stands in for the shop, by the routes that operators have made. page.c has the
 * way, step by step.
 *
 * A page's route is decided once, when its head is there, and kept with its table until the page
 * has ended: whatever is exchanged meanwhile, this page goes by what was there when it came. Every
 * answer that is not the shop's, the cache's or the route's own is a problem document, and an
 * answer that breaks off in its middle ends the client's connection. One thread. */
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

/* How far a page is. Those in which it waits are marked *. */
enum page_state {
    PAGE_NONE,         /* it is no page */
    PAGE_ROUTED,       /* its route is decided, or that it has none; checks and gates are next */
    PAGE_ADMITTED,     /* the gates are passed: what the route says is next */
    PAGE_LOOKING_UP,   /* its pool is chosen; the cache is asked next, if the route has one */
    PAGE_WAITING,      /* * for another page's fetch: in worker->waiting */
    PAGE_SENDING,      /* `sent_to` is asked next */
    PAGE_MIRRORING,    /* sent; a copy to another pool is next, if it is this one's turn */
    PAGE_FETCHING,     /* * sent; the answer has not begun */
    PAGE_ANSWERING,    /* * the pool's answer goes through to the client */
    PAGE_FALLING_BACK, /* the pool does not answer: the next fallback is next */
    PAGE_ENDED         /* answered, or its client has left; nothing is held */
};

/* How a page ended; in the order of the metric's words (metrics.c). */
enum page_end {
    PAGE_END_SHOP,     /* with the answer of the pool that was meant, whole */
    PAGE_END_CACHE,    /* with what the cache had */
    PAGE_END_OWN,      /* with the redirect or the answer of its route */
    PAGE_END_FALLBACK, /* with what a fallback gave */
    PAGE_END_REFUSED,  /* by this gateway: no route takes it, or a gate, or it is too large */
    PAGE_END_FAILED,   /* no pool answered, and nothing stands in for it */
    PAGE_END_BROKEN,   /* the pool's answer had begun and broke off */
    PAGE_END_LEFT      /* its client left first */
};

/* What the pages of one worker need, and what is under way. All that is pointed to outlives it. */
struct page_worker {
    const struct ps_clock *clock;
    const struct adm_gates *gates;
    struct up_worker *shop; /* the way to the shop */
    struct ps_metrics_shard *shard;
    /* Counts an answer, once a page and before it leaves; and says that one has broken off. */
    void (*count)(struct page_request *page, enum ans_verdict verdict);
    void (*count_broken)(struct page_request *page);
    /* Inside. */
    const struct page_events *events;
    struct page_fetch_list fetches;
    struct page_list waiting; /* the oldest first */
    struct page_mirrors mirrors;
};

/* Its memory is the caller's, zeroed at the start, and valid until it is answered. */
struct page_request {
    struct page_worker *worker;
    struct srv_request *http;
    struct adm_request *asked; /* who asks, and what of limits */
    bool trusted;              /* its peer is a trusted proxy */
    bool kept;                 /* by srv_suspend */
    enum page_state state;
    int status;       /* of the answer */
    const char *rule; /* what has refused it, while it is counted; NULL: its verdict says it */
    /* Decided at the head. */
    struct up_hold *hold; /* the table of the next two; NULL: no route, or it has ended */
    const struct up_route_view *route;
    const struct up_route_view *other; /* without a route: one of this path for other methods */
    /* Where it goes. */
    const struct up_pool_view *pool; /* of its route or split: the cache knows its answers by it */
    const struct up_pool_view *sent_to; /* the same, or that of a fallback */
    struct up_target *target;           /* where the first is counted */
    struct up_exchange *exchange;       /* NULL: none is under way */
    const struct up_endpoint *endpoint; /* that it was given to last; NULL: to none */
    int64_t body_left;                  /* that the route lets the client still send */
    bool has_parts, has_all;            /* of its body; they are nowhere else */
    /* Of a route with a cache. */
    bool is_keyed;            /* the cache was asked; its query and host are the key's */
    struct page_fetch *fetch; /* that its exchange fills the cache by; NULL: none */
    struct cache_waiter waiter;
    TAILQ_ENTRY(page_request) link; /* PAGE_WAITING */
    struct cache_status cached;     /* of the answer to come */
    /* Why the pool that was meant does not answer. */
    bool in_trouble;
    enum up_trouble trouble;
    enum up_outcome outcome; /* with UP_TROUBLE_deadline and UP_TROUBLE_failed */
    size_t next_fallback;    /* route->doc->fallbacks; the one before it answers */
};

/* `worker` is filled but for its inside. */
void page_worker_init(struct page_worker *worker);
/* Each 100 ms: tells what was missed, and ends what waits for too long. */
void page_worker_tick(struct page_worker *worker);
/* The worker stops: all fetches and mirrored requests end, and no page waits any more. The server
 * answers those that are left. */
void page_worker_stop(struct page_worker *worker);

/* A head is there: decides the route. True: the body goes to a pool, and is wanted in parts. Then
 * page_start, page_refuse or page_forget follows. `asked` is filled by then. */
bool page_route(struct page_request *page, struct page_worker *worker, struct srv_request *http,
                struct adm_request *asked);
/* The page is answered, or kept. */
void page_start(struct page_request *page, bool trusted);
/* Answers with a problem document. `text` may be NULL. PAGE_ENDED. */
enum page_state page_refuse(struct page_request *page, enum ans_verdict verdict, const char *text);
/* As srv_settings.on_part and on_room. */
bool page_take_part(struct page_request *page, struct ps_str part, bool last);
void page_make_room(struct page_request *page);
/* The client has left, or the request is answered otherwise. Nothing if it is no page. */
void page_forget(struct page_request *page);

/* For the access log. What the cache had: hit, miss, stale, request or bypass; NULL: no cache. */
const char *page_cache_result(const struct page_request *page);
/* Why the pool that was meant did not answer, or not with a whole body; NULL: it did. */
const char *page_trouble(const struct page_request *page);

#endif
