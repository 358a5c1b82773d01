/* What exchange.c (one request: where to, again where to, to whom) and connection.c (bytes to and
 * from an endpoint) share. A connection serves one exchange at a time; it tells the exchange what
 * it has read, or that it is lost. */
#ifndef UP_FORWARD_INTERNAL_H
#define UP_FORWARD_INTERNAL_H

#include "common/http/chunks.h"
#include "gateway/upstream/forward.h"

/* An idle connection is closed after this; who waits longer loses to those servers that close
 * theirs after a minute. */
#define UP_IDLE_MS INT64_C(50000)
/* For a connection to be made, unless half of what is left to the first byte is shorter. */
#define UP_CONNECT_MS  INT64_C(1000)
#define UP_INTERIM_MAX 8

enum up_connection_state {
    UP_CONNECTING,
    UP_SENDING, /* its exchange waits for the head of the answer */
    UP_TAKING,  /* the body */
    UP_IDLE,
    UP_CLOSED /* its memory goes when the loop has closed the handles */
};

struct up_connection {
    struct up_worker *worker;
    struct up_endpoint *endpoint; /* a reference */
    struct up_exchange *exchange; /* NULL: UP_IDLE, UP_CLOSED */
    enum up_connection_state state;
    uv_poll_t poll;
    uv_timer_t timer;
    int polled;
    int fd;
    unsigned handles;
    bool reused;                   /* it has served an exchange before this one */
    bool refused;                  /* the kernel said so at once: told with the next turn */
    bool paused;                   /* what comes is not read */
    bool deaf;                     /* the endpoint takes nothing more */
    int64_t deadline_ns, timer_ns; /* when the timer runs out; 0: it does not run */
    unsigned interims;
    /* Of a request: what the kernel has not taken. */
    char *unsent;
    size_t unsent_len;
    /* Of an answer. */
    struct ps_http_head parse;
    struct ps_http_chunks chunks;
    enum ps_http_framing framing;
    uint64_t body_left;
    char *kept; /* a head that is not whole */
    size_t kept_len;
    TAILQ_ENTRY(up_connection) idle;  /* in the endpoint's cell */
    TAILQ_ENTRY(up_connection) entry; /* in up_worker.connections */
};

/* A table that exchanges of this worker still use. */
struct up_hold {
    struct up_table *table; /* a reference */
    size_t users;
};

struct up_exchange {
    struct up_worker *worker;
    struct up_hold *hold; /* what route and pool are of */
    const struct cfg_route *route;
    const struct up_pool_view *pool;
    struct up_target *target; /* of the same table; NULL: none */
    const struct up_callbacks *callbacks;
    void *ctx;
    struct up_connection *connection;
    enum ps_http_method method;
    int64_t body_len;
    uint64_t key;
    /* Deadlines. The first byte's is for the pool: with the queue and all tries, and without the
     * time in which the client sends its body. */
    int64_t first_byte_ns, total_ns;
    int64_t began_ns; /* in this room */
    int64_t first_ns; /* the head of the answer; 0: not yet */
    int64_t sent_ns;  /* when this try began */
    unsigned tries;
    struct up_endpoint *tried[UP_TRIES_MAX]; /* of the same table: no references */
    /* gate.c */
    int64_t place_ns; /* when it got its place */
    int64_t wait_until_ns;
    bool is_extra, has_place, waits;
    bool refused_by_circuit; /* of an endpoint */
    TAILQ_ENTRY(up_exchange) waiting;
    bool has_parts; /* of its body, some were given */
    bool fresh;   /* no kept connection any more: one of them was closed before the request came */
    bool is_sent; /* the whole request has been given to the connection */
    bool is_served; /* it counts as under way at its endpoint */
    bool begun;     /* the answer */
    bool calling, cancelled;
    bool wants_room;
    char *first; /* a part that came before the connection was made */
    size_t first_len;
    bool first_last;
    size_t head_len;
    char head[]; /* with framing */
};

TAILQ_HEAD(up_waiting_list, up_exchange);

struct up_worker {
    struct up_worker_deps deps;
    struct up_waiting_list waiting; /* for a place, the newest first */
    uv_timer_t timer;               /* when one of them is to be looked at */
    int64_t timer_ns;               /* 0: it does not run */
    struct up_hold *current;        /* NULL: none */
    struct up_connection_list connections;
    size_t handles;
    bool closing;
    struct ps_http_limits limits;
    char scratch[UP_SCRATCH_MAX];
    char in[UP_PART_MAX];
};

static inline int64_t up_now_ns(const struct up_worker *worker)
{
    return ps_clock_mono_ns(worker->deps.clock);
}
static inline struct up_endpoint_cell *up_cell_of(const struct up_worker *worker,
                                                  struct up_endpoint *endpoint)
{
    return &endpoint->cells[worker->deps.index];
}
static inline void up_add(_Atomic(int64_t) *figure, int64_t delta) /* one writer */
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + delta,
                          memory_order_relaxed);
}

/* --- connection.c --- */

/* A kept one, or a new one that is being made; for the exchange, which it serves from now on. NULL:
 * the system has no socket. */
struct up_connection *up_connection_take(struct up_worker *worker, struct up_endpoint *endpoint,
                                         struct up_exchange *exchange);
/* Bytes of the request, in order, in one go if the kernel takes them. False: some wait, and
 * up_exchange_on_room follows. A connection that is lost by this says so with the next turn. */
bool up_connection_send(struct up_connection *connection, const struct ps_str *parts, size_t count);
/* Deadlines have changed. */
void up_connection_set_timer(struct up_connection *connection, int64_t at_ns);
void up_connection_resume(struct up_connection *connection);
void up_connection_close(struct up_connection *connection);
/* It is lost for its exchange, too. */
void up_connection_cut(struct up_connection *connection);
/* Its exchange has ended well: it is kept, if `reusable`. */
void up_connection_leave(struct up_connection *connection, bool reusable);

/* --- gate.c --- */

/* UP_OUTCOME_ok: it has a place, or waits for one; UP_UNSENT_BREAKER, UP_UNSENT_BUSY. */
enum up_outcome up_gate_enter(struct up_exchange *exchange);
/* The head of its answer is here. */
void up_gate_answered(struct up_exchange *exchange);
/* It has ended. */
void up_gate_leave(struct up_exchange *exchange, enum up_outcome outcome);
void up_gate_tick(struct up_worker *worker);

/* --- exchange.c: what the gate tells --- */

/* It has its place by now. */
void up_exchange_go(struct up_exchange *exchange);
/* It does not get one. */
void up_exchange_give_up(struct up_exchange *exchange, enum up_outcome outcome);

/* --- exchange.c: what a connection tells --- */

void up_exchange_on_connected(struct up_exchange *exchange);
void up_exchange_on_interim(struct up_exchange *exchange, const char *base);
/* The first time with the head in connection->parse, later with `base` NULL. `last`: the answer is
 * whole. False: no more for now, or the exchange is gone, and connection->exchange is NULL. */
bool up_exchange_on_part(struct up_exchange *exchange, const char *base, struct ps_str part,
                         bool last, bool reusable);
/* The connection is closed after this. */
void up_exchange_on_lost(struct up_exchange *exchange, enum up_outcome outcome);
void up_exchange_on_room(struct up_exchange *exchange);

#endif
