/* The kind `routes`: how a request is answered that is not for the API of sales.
 *
 *   {"host":null,"path":"/p/","match":"prefix","methods":["GET","HEAD"],"class":"normal",
 *    "pool":"web","split":[],"first_byte_ms":1000,"total_ms":10000,"body_max":1048576,"body_methods":null,
 *    "request_headers":{"set":{},"remove":[]},"response_headers":{"set":{},"remove":[]},
 *    "cache":null,"fallback":[],"redirect":null,"answer":null,"mirror":null}
 *
 * An absent member has the value shown; `path` is required, and exactly one of `pool`,
 * `redirect` {"status":302,"location":"https://…"} and `answer` {"status":200,
 * "content_type":"text/html","body":"…"}. Instead of a body a change may name a "file" of the
 * directory upstream.static_dir: its text is stored as the body, also for the other gateways of a
 * cluster and for a rollback.
 *
 * The most specific route serves a request: one with a host before one without, an exact path
 * before a prefix, a longer prefix before a shorter one. Two routes that match the same requests,
 * neither more specific, are a fault, and so is one for a path of the API (`/v1/`, `/livez`,
 * `/readyz`). */
#ifndef CFG_ROUTE_DOC_H
#define CFG_ROUTE_DOC_H

#include "common/http/head.h"
#include "gateway/config/store/document.h"

#define CFG_ROUTES_MAX       1000
#define CFG_SPLITS_MAX       8
#define CFG_FALLBACKS_MAX    8
#define CFG_HEADER_RULES_MAX 32
#define CFG_QUERY_NAMES_MAX  32

/* In order of importance: the ladder turns the first one off last. */
enum cfg_route_class {
    CFG_ROUTE_CORE,
    CFG_ROUTE_IMPORTANT,
    CFG_ROUTE_NORMAL,
    CFG_ROUTE_EXTRA,
    CFG_ROUTE_CLASSES
};
extern const char *const cfg_route_class_names[]; /* by enum cfg_route_class */

struct cfg_header_set {
    char *name, *value;
};
struct cfg_header_rules {
    size_t set_count, remove_count;
    struct cfg_header_set *set; /* replaces the field */
    char **remove;
};

enum cfg_split_by { CFG_SPLIT_USER, CFG_SPLIT_COOKIE, CFG_SPLIT_HEADER, CFG_SPLIT_REQUEST };
struct cfg_split {
    char pool[PS_NAME_MAX + 1];
    uint32_t per_mille; /* of the users, cookies or requests, in steps of 0.1 %: 0 .. 1000 */
    enum cfg_split_by by;
    char *name, *value; /* of the cookie, or of the header and the value it must have: then the
                           share is of such requests */
    struct {
        double errors_above; /* share of answers, beyond that of the route's pool; 0: not judged */
        double p99_above;    /* times that of the route's pool; 0: not judged */
        int64_t window_s;    /* 0: the gateway never returns it */
    } back;                  /* `return` */
    json_t *returned;        /* the gateway returned the split: its share counts as 0. An entry of
                                `returned`        in the state of the document; NULL: not returned */
};

enum cfg_query { CFG_QUERY_ALL, CFG_QUERY_NONE, CFG_QUERY_LISTED };
struct cfg_route_cache {
    char store[PS_NAME_MAX + 1]; /* "" = nothing is kept */
    int64_t default_ttl_s;       /* for answers that do not state how long they are fresh */
    enum cfg_query query; /* which query parameters are part of the cache key; they are sorted */
    size_t name_count;
    char **names;
    int64_t stale_while_revalidate_s; /* unless the answer states another time */
    int64_t stale_if_error_s;
    bool obeys_no_cache; /* Cache-Control: no-cache of requests */
};

enum cfg_fallback_kind {
    CFG_FALLBACK_STALE,
    CFG_FALLBACK_POOL,
    CFG_FALLBACK_STATIC,
    CFG_FALLBACK_PROBLEM,
    CFG_FALLBACK_KINDS
};
struct cfg_static { /* a fixed answer */
    int status;
    char *content_type;
    char *body; /* NUL-terminated; of a file: its text when the document was changed */
    size_t body_len;
    char *file; /* only while the document is read */
};
struct cfg_fallback {
    enum cfg_fallback_kind kind;
    char pool[PS_NAME_MAX + 1];
    struct cfg_static fixed; /* `{"kind":"static","status":200,"content_type":…,"body":…}` */
};

struct cfg_route {
    char name[PS_NAME_MAX + 1];
    char *host; /* lower case, without a port; NULL: any */
    char *path;
    size_t path_len;
    bool exact;
    uint32_t methods; /* bits: 1 << enum ps_http_method */
    enum cfg_route_class class;
    char pool[PS_NAME_MAX + 1]; /* "" = redirect or answer */
    size_t split_count;
    struct cfg_split *splits;
    int64_t first_byte_ms, total_ms;
    int64_t body_max;      /* bytes of a request */
    uint32_t body_methods; /* bits as `methods`: those whose requests may have a body, beside POST,
                              PUT and PATCH, which always may */
    struct cfg_header_rules request_headers, response_headers;
    struct cfg_route_cache cache;
    size_t fallback_count;
    struct cfg_fallback *fallbacks;
    struct { /* 0: none */
        int status;
        char *location;
    } redirect;
    struct cfg_static answer; /* status 0: none */
    struct {
        char pool[PS_NAME_MAX + 1]; /* "" = none */
        uint32_t per_mille;
    } mirror;
    _Atomic(unsigned) refs; /* private */
};

/* The first segment of the path ("/v1") if the gateway answers paths below it itself, so that no
 * route may use it; NULL: the path is free. Only this function knows these paths. */
const char *cfg_path_own(struct ps_str path);
bool cfg_path_is_page(struct ps_str path); /* none of these */
/* Is it a probe path of load balancers? */
bool cfg_path_is_probe(struct ps_str path);

static inline struct cfg_route *cfg_route_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}
/* A route's state, beside its document:
 *
 *   {"returned":[{"split":{…},"since":"…","why":"errors","new":{…},"old":{…}}]}
 *
 * `split` is an element of the document's `split` as it was written when it was returned: an
 * element that differs is another split, and gets its share. Reads into a route that is complete
 * otherwise; adds all faults. PS_E_INVALID, PS_E_NOMEM. */
int cfg_route_state_read(const json_t *state, struct cfg_route *route,
                         struct ps_faults *faults) PS_MUST_CHECK;
/* The returned splits, as answers show them. Owner: the caller. NULL: out of memory. */
json_t *cfg_route_returned(const struct cfg_route *route);
/* The state of a route with `returned` (ownership passes; NULL: unchanged). NULL: out of memory. */
json_t *cfg_route_state(const struct cfg_route *route, json_t *returned);
/* The index of the split that is written like this; split_count: none. */
size_t cfg_route_split(const struct cfg_route *route, const json_t *element);
/* An element of `split`, as it is written. NULL: out of memory. */
json_t *cfg_split_write(const struct cfg_split *split);

struct cfg_route *cfg_route_keep(struct cfg_route *route);
void cfg_route_drop(struct cfg_route *route); /* NULL is allowed */

#endif
