/* What exchange.c (one request: endpoint, retries, client) and connection.c (bytes to and from an
 * endpoint) share. A connection serves one exchange at a time; it reports to the exchange what it
 * has read, or that it is lost. */
#ifndef UP_FORWARD_INTERNAL_H
#define UP_FORWARD_INTERNAL_H

#include "common/http/chunks.h"
#include "gateway/upstream/forward.h"

/* Idle connections are closed after this time: some servers close theirs after a minute, and a
 * request sent at that moment would be lost. */
#define UP_IDLE_MS INT64_C(50000)
/* Time to connect, unless half of the time that is left to the first byte is shorter. */
#define UP_CONNECT_MS  INT64_C(1000)
#define UP_INTERIM_MAX 8

enum up_connection_state {
    UP_CONNECTING,
    UP_SENDING, /* its exchange waits for the head of the answer */
    UP_TAKING,  /* its exchange receives the body */
    UP_IDLE,
    UP_CLOSED /* freed when the loop has closed the handles */
};

struct up_connection {
    struct up_worker *worker;
    struct up_endpoint *endpoint; /* a reference */
    struct up_exchange *exchange; /* NULL in UP_IDLE and UP_CLOSED */
    enum up_connection_state state;
    uv_poll_t poll;
    uv_timer_t timer;
    int polled;
    int fd;
    unsigned handles;
    bool reused; /* it has served an earlier exchange */
    /* UP_END_refused, UP_END_no_room: what is reported on the loop's next turn; else UP_GOES */
    enum up_end doomed;
    bool paused;                   /* received bytes are left unread */
    bool deaf;                     /* the endpoint accepts no more bytes */
    int64_t deadline_ns, timer_ns; /* when the timer runs out; 0: it does not run */
    unsigned interims;
    /* The request's bytes that the kernel has not taken. */
    char *unsent;
    size_t unsent_len;
    /* Of the answer. */
    struct ps_http_head parse;
    struct ps_http_chunks chunks;
    enum ps_http_framing framing;
    uint64_t body_left;
    char *kept; /* an incomplete head */
    size_t kept_len;
    TAILQ_ENTRY(up_connection) idle;  /* in the endpoint's cell */
    TAILQ_ENTRY(up_connection) entry; /* in up_worker.connections */
};

/* A table that this worker's exchanges still use. */
struct up_hold {
    struct up_table *table; /* a reference */
    size_t users;
};

enum up_exchange_state {
    UP_EXCHANGE_NEW,
    UP_EXCHANGE_WAITING,   /* in the queue before its pool */
    UP_EXCHANGE_TRYING,    /* has a place in its pool, or one for uploads, until the head of an
                              answer arrives */
    UP_EXCHANGE_ANSWERING, /* the answer has begun */
    UP_EXCHANGE_ANSWERED,  /* its endpoint has sent the end of the answer */
    UP_EXCHANGE_OVER       /* cancelled or counted: freed when the callback under way returns */
};

/* What the client has sent of its body. */
enum up_body { UP_BODY_NONE, UP_BODY_SOME, UP_BODY_WHOLE };

struct up_exchange {
    enum up_exchange_state state;
    enum up_body body;
    bool is_extra; /* nobody waits for the answer */
    bool fresh;    /* use a new connection: a kept one was closed before it received the request */
    bool is_look;  /* it only asks which endpoint it would get: nothing may change */
    bool calling;  /* a callback runs */
    bool starved;  /* a part of the body was lost, for want of memory */
    bool wants_room; /* the client waits until the endpoint accepts more of the body */
    struct up_worker *worker;
    struct up_hold *hold; /* of the table of route and pool */
    const struct cfg_route *route;
    const struct up_pool_view *pool;
    struct up_target *target; /* in the same table; NULL: none */
    const struct up_callbacks *callbacks;
    void *ctx;
    struct up_connection *connection;
    enum ps_http_method method;
    int64_t body_len;
    uint64_t key;
    struct up_who who;
    const struct cfg_pool *probe_of; /* NULL: no probe */
    struct ps_address client;
    /* Deadlines. The first byte's is the pool's: it includes the queue and all tries, but not the
     * time in which the client sends its body. */
    int64_t first_byte_ns, total_ns;
    int64_t began_ns;  /* when the exchange began in this room */
    int64_t first_ns;  /* when the answer's head arrived; 0: not yet */
    int64_t sent_ns;   /* when this try began */
    int64_t paused_ns; /* since when the client takes no more of the answer; 0: it does */
    unsigned tries;
    struct up_endpoint *tried[UP_TRIES_MAX]; /* in the same table: no references */
    /* gate.c */
    bool is_upload;
    struct up_upload upload;
    int64_t place_ns; /* when it got its place among those who wait for an answer; 0: it has none */
    int64_t wait_until_ns;
    TAILQ_ENTRY(up_exchange) waiting;
    char *first; /* of the body: what arrived before the connection was made */
    size_t first_len;
    size_t head_len;
    char head[]; /* with framing */
};

TAILQ_HEAD(up_waiting_list, up_exchange);

struct up_worker {
    struct up_worker_deps deps;
    struct up_waiting_list waiting; /* requests without a place, the newest first */
    uv_timer_t timer;               /* when to look at the next of them */
    int64_t timer_ns;               /* 0: it does not run */
    struct up_hold *current;        /* NULL: none */
    struct up_connection_list connections;
    size_t handles;
    bool closing;
    LIST_HEAD(, up_probe) probes;
    struct up_known known;
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
/* NULL: its own probe, which counts by itself. */
static inline const struct up_who *up_prober(const struct up_exchange *exchange)
{
    return exchange->probe_of == NULL ? &exchange->who : NULL;
}
static inline void up_add(_Atomic(int64_t) *figure, int64_t delta) /* the only writer */
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + delta,
                          memory_order_relaxed);
}

/* --- connection.c --- */

/* Returns a kept connection or starts a new one, for this exchange. NULL: the system has no
 * socket. */
struct up_connection *up_connection_take(struct up_worker *worker, struct up_endpoint *endpoint,
                                         struct up_exchange *exchange);
/* Sends bytes of the request, in order. False: some are waiting, and up_exchange_on_room follows. A
 * connection lost by this is reported on the loop's next turn. */
bool up_connection_send(struct up_connection *connection, const struct ps_str *parts, size_t count);
/* Call it when a deadline has changed. */
void up_connection_set_timer(struct up_connection *connection, int64_t at_ns);
/* This gateway lacks memory for it: lost on the loop's next turn. */
void up_connection_doom(struct up_connection *connection);
void up_connection_resume(struct up_connection *connection);
void up_connection_close(struct up_connection *connection);
/* Closes the connection; its exchange no longer has one. */
void up_connection_cut(struct up_connection *connection);
/* Its exchange has ended successfully: keeps the connection if `reusable`. */
void up_connection_leave(struct up_connection *connection, bool reusable);

/* --- gate.c --- */

/* UP_GOES: the request has a place, or waits for one. */
enum up_end up_gate_enter(struct up_exchange *exchange);
/* What up_gate_enter would say, without effect; *ret_waits: it would wait for a place. */
enum up_end up_gate_look(const struct up_exchange *exchange, bool *ret_waits);
/* The whole body of an upload is sent: from now on it takes a place, whether one is free or not,
 * since the shop has the request. */
void up_gate_sent(struct up_exchange *exchange);
/* The head of the answer has arrived. */
void up_gate_answered(struct up_exchange *exchange);
/* The exchange has ended. */
void up_gate_leave(struct up_exchange *exchange, const struct up_met *met);
void up_gate_tick(struct up_worker *worker);

/* --- probe.c --- */

/* Each 100 ms: sends a probe to each pool with health checks whose circuit is half open. */
void up_probes_tick(struct up_worker *worker);
void up_probes_stop(struct up_worker *worker);

/* --- picking.c --- */

/* NULL: no endpoint may be used; *ret_refused is set if a circuit refuses one of them. */
struct up_endpoint *up_exchange_pick(const struct up_exchange *exchange, bool *ret_refused);
/* The same for an exchange with `is_look`, with copies of what picking changes; *ret_usable:
 * endpoints that could be picked. */
const struct up_endpoint *up_exchange_pick_look(const struct up_exchange *exchange,
                                                size_t *ret_usable, bool *ret_refused);

/* --- exchange.c: what the gate tells --- */

/* The request has got a place. */
void up_exchange_go(struct up_exchange *exchange);
/* The request gets no place. */
void up_exchange_give_up(struct up_exchange *exchange, enum up_end end);

/* --- exchange.c: what a connection tells --- */

void up_exchange_on_connected(struct up_exchange *exchange);
void up_exchange_on_interim(struct up_exchange *exchange, const char *base);
/* The first call has the head in connection->parse; later calls have `base` NULL. `last`: the
 * answer is complete. False: no more for now, or the exchange is gone and connection->exchange is
 * NULL. */
bool up_exchange_on_part(struct up_exchange *exchange, const char *base, struct ps_str part,
                         bool last, bool reusable);
/* The connection is closed after this. */
void up_exchange_on_lost(struct up_exchange *exchange, enum up_end end);
void up_exchange_on_room(struct up_exchange *exchange);

#endif
