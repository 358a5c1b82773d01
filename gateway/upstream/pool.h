/* Pools of endpoints as all threads see them. An object lives as long as something refers to it:
 * the control thread's registry, a snapshot's table, or a worker's connection.
 *
 * Each worker counts in cells of its own; only the control thread judges (judge.h) and publishes
 * how much traffic an endpoint may get. So a worker that picks an endpoint reads a few relaxed
 * atomics, and nothing here locks. */
#ifndef UP_POOL_H
#define UP_POOL_H

#include "common/adaptive_limit.h"
#include "common/metrics/metrics.h"
#include "gateway/config/kinds/cache_doc.h"
#include "gateway/config/kinds/pool_doc.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/upstream/balance.h"
#include "gateway/upstream/blame.h"
#include "gateway/upstream/circuit.h"
#include "gateway/upstream/outlier.h"
#include "gateway/upstream/uploads.h"

#include <sys/queue.h>

#define UP_WORKERS_MAX 256  /* setting workers */
#define UP_WEIGHT_ONE  1000 /* a published weight of 1: slow start goes in thousandths */
#define UP_WHY_SIZE    96

/* The state of an endpoint, as the control thread judges it. */
enum up_state { UP_UP, UP_DOWN, UP_EJECTED, UP_DRAINING, UP_SLOW_START };
extern const char *const up_state_names[]; /* "up", "down", "ejected", "draining", "slow_start" */

struct up_connection;
TAILQ_HEAD(up_connection_list, up_connection);

/* What one worker knows of an endpoint. Only this worker writes the figures, and any thread reads
 * them, relaxed; the rest is the worker's alone. */
struct up_endpoint_cell {
    _Atomic(int64_t) answers;  /* requests that say something of it, and those that fail it */
    _Atomic(int64_t) failures; /* the latter */
    _Atomic(int64_t) took_ns;  /* sum of the times to the head of an answer */
    struct ps_times times;     /* the same times, counted */
    _Atomic(int64_t) connections;
    _Atomic(int64_t) in_flight; /* requests */
    _Atomic(int64_t) ewma_ns;   /* peak EWMA of the time to the first byte, at ewma_at_ns */
    _Atomic(int64_t) ewma_at_ns;
    struct up_connection_list idle; /* newest first */
    int64_t current;                /* smooth weighted round robin's counter */
    struct up_circuit circuit;
    struct up_sample sample;
} PS_ALIGNED;

/* One address of one pool. */
struct up_endpoint {
    _Atomic(unsigned) refs;
    struct cfg_endpoint is; /* address, port; weight and drain are those of the table */
    uint64_t hash;          /* of the address */
    size_t cell_count;
    /* Published by the control thread. */
    /* UP_WEIGHT_ONE times its weight, less in slow start; 0: no new requests */
    _Atomic(uint32_t) weight;
    _Atomic(bool) gone; /* no table has it: idle connections must be closed */
    /* gone, or drained, for longer than drain_ms: all connections must be closed */
    _Atomic(bool) cut;
    _Atomic(uint32_t) in_row; /* failures without a success in between, over all workers */
    struct up_circuit_order order;
    struct up_marks witnesses; /* any worker's */
    /* The control thread's alone. */
    enum up_state state;
    int64_t since_ms; /* wall clock */
    char why[UP_WHY_SIZE];
    struct up_judged judged;
    struct up_endpoint_cell cells[]; /* by worker */
};

/* One worker's part of a pool. */
struct up_pool_cell {
    struct up_picker picker;
    _Atomic(int64_t) requests, retries, no_endpoint, queue_full;
    /* of each try, endpoints that have left included */
    _Atomic(int64_t) outcomes[UP_OUTCOME_COUNT];
    struct ps_durations durations; /* times to the head of an answer */
    double budget;                 /* retries that are allowed; retry.h */
    int64_t budget_at_ns;
    struct up_circuit circuit;
    struct up_sample sample;
    struct up_probe *probe;         /* the one that is under way; NULL: none */
    struct ps_adaptive_limit limit; /* of requests that wait for the head of their answer */
    _Atomic(int64_t) waiting;       /* requests that wait for a place */
    struct up_uploads uploads;      /* requests whose clients still send */
} PS_ALIGNED;

/* A pool, by name, through all versions of its document. */
struct up_pool {
    _Atomic(unsigned) refs;
    char name[PS_NAME_MAX + 1];
    /* The control thread's alone; judge.h. */
    bool panic;
    int64_t panic_since_ms;                /* wall clock: when `panic` last changed; 0: never */
    int64_t ejections[UP_OUTLIER_REASONS]; /* since the start */
    size_t cell_count;
    struct up_circuit_order order;
    struct up_marks witnesses; /* any worker's */
    struct up_pool_cell cells[];
};

/* --- What a snapshot has: nobody changes it. --- */

struct up_member {
    struct up_endpoint *endpoint;
    struct cfg_endpoint as; /* weight, drain */
};

struct up_pool_view {
    struct cfg_pool *doc;
    struct up_pool *pool;
    int64_t first_byte_ms; /* the longest that a route waits for it; 0: none does */
    size_t member_count;
    struct up_member *members; /* by address */
};

struct up_split_view {
    const struct cfg_split *as;
    const struct up_pool_view *pool;
    uint32_t per_mille;     /* its share: the document's, or an override's */
    struct up_target *live; /* the figures of its requests, and whether it was taken back */
};

struct up_route_view {
    struct cfg_route *doc;
    const struct up_pool_view *pool;      /* NULL: a redirect or an answer */
    const struct up_pool_view **fallback; /* as doc->fallbacks; NULL where it is no pool */
    const struct up_pool_view *mirror;    /* NULL: none */
    struct up_split_view *splits;         /* as doc->splits */
    struct up_switch *switches;           /* who goes to which split (switch.h); NULL: no splits */
    struct up_route *live;                /* its figures, which outlive versions of its document */
    struct up_target *own;                /* those of the route's own pool; route_figures.h */
    struct cache *cache;                  /* NULL: none */
    char *out; /* by what override its fallbacks answer, for people; NULL: the pool answers */
};

struct up_table {
    _Atomic(unsigned) refs;
    size_t route_count, pool_count;
    struct up_route_view *routes; /* the most specific first */
    const struct up_route_view **by_name;
    struct up_pool_view *pools; /* by name */
    size_t slot_count;          /* of the index, a power of two; route.h */
    uint32_t *slots;            /* places in `routes`, + 1; 0: free */
};

/* Would the worker's circuit before the pool let a request through now? The thread of `worker`. */
bool up_pool_would_admit(const struct up_pool_view *pool, size_t worker);
/* A request to this endpoint has ended: counts what that says of it. The thread of `worker`. */
void up_endpoint_count(struct up_endpoint *endpoint, size_t worker, const struct up_met *met);
/* Sets up the circuit and the limit of a new pool's cell. gate.c */
void up_gate_init(struct up_pool_cell *cell, const struct ps_clock *clock);

/* --- Reference counts; any thread. --- */

struct up_endpoint *up_endpoint_keep(struct up_endpoint *endpoint);
void up_endpoint_drop(struct up_endpoint *endpoint); /* NULL is allowed */
struct up_pool *up_pool_keep(struct up_pool *pool);
struct up_table *up_table_keep(struct up_table *table);
void up_table_drop(struct up_table *table); /* NULL is allowed */

/* Over all workers. */
int64_t up_endpoint_in_flight(const struct up_endpoint *endpoint);
int64_t up_endpoint_connections(const struct up_endpoint *endpoint);
/* OPEN if the circuit of any worker is, else HALF_OPEN if any is. */
enum ps_breaker_state up_endpoint_circuit(const struct up_endpoint *endpoint);

#endif
