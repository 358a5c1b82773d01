/* The kind `pools`: servers of the shop that serve the same pages, and how one is chosen.
 *
 *   {"algorithm":"round_robin","hash_by":null,
 *    "endpoints":[{"address":"127.0.0.1:9001","weight":1,"drain":false}],
 *    "discovery":null,
 *    "health":{"path":"/","host":null,"interval_ms":1000,"timeout_ms":500,"healthy_after":2,"unhealthy_after":3,"expect":[200]},
 *    "outlier":{"consecutive_errors":5,"success_share_min":0.5,"latency_factor":0,"requests_min":20,"eject_ms":10000,"ejected_share_max":0.5},
 *    "panic_share":0.5,"slow_start_ms":0,"drain_ms":30000,"connections_max":0,"queue_max":0,"uploads":0.25,"retry_budget":0.2}
 *
 * An absent member has the value shown, except `health`, whose default is null: no health checks,
 * only the outcomes of requests are judged. consistent_hash uses "path", "header:NAME" or
 * "cookie:NAME"; the default is the path. Every other algorithm has a `hash_by` of null.
 * `discovery` is one of {"file":NAME} (of a file in upstream.endpoint_dir), {"dns":NAME,"port":N},
 * {"srv":NAME}, {"registration":true}, each with an optional "shrink_share_min":0.5. */
#ifndef CFG_POOL_DOC_H
#define CFG_POOL_DOC_H

#include "common/text/address.h"
#include "gateway/config/store/document.h"

#define CFG_ENDPOINTS_MAX 256 /* of a pool, discovered ones included */
#define CFG_ENDPOINT_SIZE 64  /* "[2001:db8::1]:65535" with its NUL, and a reserve */
#define CFG_WEIGHT_MAX    1000
#define CFG_EXPECT_MAX    8

/* clang-format off */
#define CFG_ALGORITHMS(X) \
    X(round_robin) X(weighted_round_robin) X(least_connections) X(weighted_least_connections) X(least_response_time) \
    X(source_ip_hash) X(consistent_hash) X(random) X(weighted_random) X(two_choices)
/* clang-format on */
#define CFG_ALGORITHM_ENUM(name) CFG_ALGORITHM_##name,
enum cfg_algorithm { CFG_ALGORITHMS(CFG_ALGORITHM_ENUM) CFG_ALGORITHM_COUNT };
#undef CFG_ALGORITHM_ENUM
extern const char *const cfg_algorithm_names[]; /* by enum cfg_algorithm */

enum cfg_hash_by { CFG_HASH_PATH, CFG_HASH_HEADER, CFG_HASH_COOKIE };

/* An endpoint as a source names it: a document, a file, a DNS answer, a registration. */
struct cfg_endpoint {
    char address[CFG_ENDPOINT_SIZE]; /* the canonical form: "127.0.0.1:9001", "[::1]:9001" */
    struct ps_address ip;
    uint16_t port;
    uint16_t weight; /* 0 .. CFG_WEIGHT_MAX; 0: gets no requests */
    bool drain;      /* gets no new requests */
};

enum cfg_discovery {
    CFG_DISCOVERY_NONE,
    CFG_DISCOVERY_FILE,
    CFG_DISCOVERY_DNS,
    CFG_DISCOVERY_SRV,
    CFG_DISCOVERY_REGISTRATION
};

struct cfg_pool {
    char name[PS_NAME_MAX + 1];
    enum cfg_algorithm algorithm;
    enum cfg_hash_by hash_by; /* of consistent_hash */
    char *hash_name;          /* of the header or cookie; NULL: by path */
    size_t endpoint_count;
    struct cfg_endpoint *endpoints; /* each address once */
    struct {
        enum cfg_discovery by;
        char *from;              /* name of a file, or of the DNS */
        uint16_t port;           /* with CFG_DISCOVERY_DNS */
        double shrink_share_min; /* a list shorter than this share of the last one is held back */
    } discovery;
    struct {
        char *path, *host; /* path NULL: no checks; host NULL: the address */
        int64_t interval_ms, timeout_ms;
        unsigned healthy_after, unhealthy_after;
        size_t expect_count;
        int *expect; /* status */
    } health;
    struct {
        unsigned consecutive_errors; /* this many in a row eject; 0: not judged */
        double success_share_min;    /* 0: not judged */
        double latency_factor;       /* of the pool's median; 0: not judged */
        unsigned requests_min;       /* for the two shares, within 10 s */
        int64_t eject_ms;            /* times how often it was ejected in a row, at most 30 times */
        double ejected_share_max;
    } outlier;
    double panic_share; /* fewer usable endpoints than this share: all are used; 0: never */
    int64_t slow_start_ms;
    int64_t drain_ms;        /* then the connections of a drained or removed endpoint are closed */
    int64_t connections_max; /* to each endpoint, over all workers; 0: no limit */
    int64_t queue_max;       /* requests that wait for a place; 0: none waits */
    double uploads;          /* requests whose clients still send, as a share of the places */
    double retry_budget;     /* retries as a share of requests */
    _Atomic(unsigned) refs;  /* private */
};

/* Of a version that is not a deletion. */
static inline struct cfg_pool *cfg_pool_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}
/* Keeps the parsed document when its version is gone; any thread. */
struct cfg_pool *cfg_pool_keep(struct cfg_pool *pool);
void cfg_pool_drop(struct cfg_pool *pool); /* NULL is allowed */

/* One element of `endpoints` of a watched file, which may be older than this program. Adds all
 * faults. */
int cfg_endpoint_read(const json_t *json, const char *pointer, struct cfg_endpoint *ret_endpoint,
                      struct ps_faults *faults) PS_MUST_CHECK;
/* Members that endpoints had in older versions. */
extern const char *const cfg_endpoint_dropped[];
/* "127.0.0.1:9001" or "[::1]:9001"; weight 1. PS_E_INVALID. */
int cfg_endpoint_parse(const char *text, size_t len,
                       struct cfg_endpoint *ret_endpoint) PS_MUST_CHECK;
/* Why no endpoint may have this address, to be read behind the address ("is outside …"); NULL: one
 * may. Every source of endpoints asks this. Control thread. */
const char *cfg_endpoint_refusal(const struct cfg_endpoint *endpoint,
                                 const struct cfg_bounds *bounds); /* NULL: there are none */
void cfg_endpoint_make(const struct ps_address *ip, uint16_t port,
                       struct cfg_endpoint *ret_endpoint);

#endif
