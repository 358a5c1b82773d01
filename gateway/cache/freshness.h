/* What a shared cache may keep, for how long, and how it treats a request (RFC 9111, with RFC 5861,
 * 9110, 9211 and 9213), as pure functions over parsed heads. Any thread.
 *
 * Where the standard leaves a choice:
 * - An answer with Set-Cookie, with `private` and field names, or with 206 is not kept.
 * - There is no heuristic from Last-Modified: without explicit freshness, an answer lives as long
 *   as the route's default_ttl_s says.
 * - An answer that states its freshness twice, or not in digits, is stale.
 * - no-cache, no-store, max-age and min-fresh of a request count only if the route obeys them:
 *   otherwise anybody could reach the shop through them. only-if-cached and max-stale always count.
 * - stale-while-revalidate and stale-if-error beside s-maxage of the same answer count;
 *   must-revalidate, proxy-revalidate and no-cache forbid every stale use. */
#ifndef CACHE_FRESHNESS_H
#define CACHE_FRESHNESS_H

#include "common/text/buf.h"
#include "common/err.h"
#include "common/http/head.h"
#include "gateway/config/kinds/route_doc.h"

#define CACHE_VARY_NAMES_MAX 8  /* of an answer; one with more is not kept */
#define CACHE_TAGS_MAX       64 /* the same of its Surrogate-Keys */

/* A parsed head and its bytes. */
struct cache_message {
    const struct ps_http_head *head;
    const char *data;
};

/* The value of the field's first line; .at == NULL: none. Case does not count. */
static inline struct ps_str cache_field(struct cache_message message, const char *name)
{
    return ps_http_find(message.head, message.data, ps_str(name));
}

/* --- A request. --- */

/* How a field of a request reaches the shop: as it came, unless Connection names it; or as part of
 * the key; or in a way that forbids keeping an answer that varies by it. */
enum cache_field_way { CACHE_FIELD_PASSED, CACHE_FIELD_IN_KEY, CACHE_FIELD_CHANGED };
typedef enum cache_field_way cache_field_way_fn(struct ps_str name);

struct cache_asked {
    struct cache_message message; /* must outlive its use */
    cache_field_way_fn *way;      /* the caller's; NULL: all fields are forwarded as they came */
    bool is_get, is_head;
    bool authorized;     /* has Authorization; the caller may also set it */
    bool has_conditions; /* If-None-Match or If-Modified-Since */
    bool for_origin;     /* If-Match or If-Unmodified-Since: only the origin can check them */
    bool only_if_cached, no_cache, no_store;
    int64_t max_age_s, min_fresh_s,
        max_stale_s;               /* -1: none; max-stale without a number: INT64_MAX */
    struct ps_str range, if_range; /* .at == NULL: none */
};
void cache_asked_read(struct cache_message request, struct cache_asked *ret_asked);
/* May an entry answer it: GET or HEAD without conditions for the origin. */
static inline bool cache_asked_may_hit(const struct cache_asked *asked)
{
    return (asked->is_get || asked->is_head) && !asked->for_origin;
}
/* May others wait for its answer, and may the answer be kept: GET for the whole body. */
bool cache_asked_may_lead(const struct cache_asked *asked, const struct cfg_route_cache *route);

/* --- An answer. --- */

/* clang-format off */
#define CACHE_STORES(X) \
    X(stored) \
    X(method)        /* the request is not GET (section 3) */ \
    X(status)        /* not final, 206, 304, or must-understand and not known here (3, 5.2.2.3) */ \
    X(no_store)      /* 5.2.2.5 */ \
    X(private)       /* 5.2.2.7, also with field names */ \
    X(authorization) /* 3.5 */ \
    X(set_cookie)    /* 7.3 */ \
    X(vary)          /* "*", or more names than are kept (4.1) */ \
    X(tags)          /* more Surrogate-Keys than are kept */ \
    X(freshness)     /* nothing says how long, and the route has no default (4.2.1, 4.2.2) */ \
    X(stale)         /* stale at once, without a validator or a stale use (4.2) */ \
    X(too_large)     /* for the cache's object_bytes_max */ \
    X(no_room)       /* too much is on its way in, or still being sent */ \
    X(cut)           /* not whole, or purged meanwhile */
/* clang-format on */
#define CACHE_STORE_ENUM(name) CACHE_STORE_##name,
enum cache_store { CACHE_STORES(CACHE_STORE_ENUM) CACHE_STORE_COUNT };
#undef CACHE_STORE_ENUM
extern const char *const cache_store_names[CACHE_STORE_COUNT + 1]; /* NULL-terminated */

/* How an answer may be kept. Monotonic times in ms, dates in wall ms. */
struct cache_kept {
    uint16_t status;
    bool always_ask;  /* no-cache: never without asking the origin */
    bool never_stale; /* must-revalidate and the like */
    int64_t lifetime_ms;
    int64_t initial_age_ms, received_ms;
    int64_t while_revalidate_ms, if_error_ms;
    int64_t modified_ms; /* Last-Modified; INT64_MIN: none */
    int64_t date_ms;     /* Date, else when it was received */
};

/* When its request was sent and its head arrived. */
struct cache_moments {
    int64_t sent_ms, received_ms; /* monotonic */
    int64_t wall_ms;              /* when it was received */
};

/* Decides by all rules up to `stale`; always fills `ret_kept`. */
enum cache_store cache_kept_read(const struct cache_asked *asked, struct cache_message answer,
                                 const struct cfg_route_cache *route,
                                 const struct cache_moments *moments, struct cache_kept *ret_kept);

/* Section 4.2.3; never negative. */
int64_t cache_kept_age_ms(const struct cache_kept *kept, int64_t now_ms);
/* How long it is still fresh; negative: how long it has been stale. */
int64_t cache_kept_ttl_ms(const struct cache_kept *kept, int64_t now_ms);

enum cache_use {
    CACHE_USE_FRESH,
    CACHE_USE_STALE, /* at once, while the origin is asked (RFC 5861, or max-stale) */
    CACHE_USE_ASK    /* only after asking the origin */
};
enum cache_use cache_kept_use(const struct cache_kept *kept, const struct cache_asked *asked,
                              const struct cfg_route_cache *route, int64_t now_ms);
/* The origin has failed, or answered 500, 502, 503 or 504: may the entry be served (RFC 5861,
 * 4)? */
bool cache_kept_if_error(const struct cache_kept *kept, int64_t now_ms);
/* May it be served at any age, if the route's fallback says so (4.2.4)? */
static inline bool cache_kept_may_be_stale(const struct cache_kept *kept)
{
    return !kept->always_ask && !kept->never_stale;
}

/* --- Unsafe methods (4.4). --- */

/* Does an answer of this status invalidate what is stored for its target? */
bool cache_invalidates(enum ps_http_method method, int status);

/* --- Cache-Status (RFC 9211). --- */

enum cache_forwarded {
    CACHE_FWD_BYPASS, /* the value until the cache is asked */
    CACHE_FWD_NONE,   /* a hit */
    CACHE_FWD_MISS,
    CACHE_FWD_STALE,
    CACHE_FWD_REQUEST
};
struct cache_status {
    enum cache_forwarded fwd;
    int fwd_status; /* 0: not said */
    bool stored, collapsed;
    bool has_ttl;
    int64_t ttl_s;
};
#define CACHE_STATUS_MAX 96
/* The field's value: "penstock; hit; ttl=30". */
void cache_status_put(const struct cache_status *status, struct ps_buf *buf);

#endif
