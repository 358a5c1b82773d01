/* What http.c (the server), connections.c (sockets and deadlines), guard.c (how long bytes wait),
 * reading.c (bytes in), answer.c (answers), send.c (bytes out) and stream.c (bodies in parts)
 * share.
 *
 * Bytes are received into one buffer of the server and parsed there. A request takes a slot when
 * its head is complete, or when its first bytes must wait for more; the slot keeps the head, the
 * body and what the layer above needs until the answer is sent. So an idle connection keeps nothing
 * but its struct.
 *
 * Requests of one connection are served in order, one at a time. What the client has sent behind a
 * request that waits is kept, up to a bound, and then no longer read. Answers to requests that came
 * in one piece leave in one piece. While an answer is not taken whole, nothing is read. */
#ifndef SRV_HTTP_INTERNAL_H
#define SRV_HTTP_INTERNAL_H

#include "common/http/chunks.h"
#include "common/pool.h"
#include "gateway/answers/problem.h"
#include "gateway/server/deadline.h"
#include "gateway/server/http.h"

#include <sys/queue.h>

/* Received at once. */
#define SRV_IN_MAX ((size_t)64 * 1024)
/* Answers that leave at once. */
#define SRV_OUT_MAX ((size_t)64 * 1024)
/* The deadline of a body in parts moves on with so much of it. */
#define SRV_PROGRESS ((uint64_t)16 * 1024)
/* So much may wait for a client that does not take its answers, before nothing more is written. */
#define SRV_UNSENT_MAX ((size_t)64 * 1024)
/* A body that is too large is read to its end up to here, so that the client reads the 413. */
#define SRV_DISCARD_MAX ((size_t)64 * 1024)

enum srv_connection_state {
    SRV_READING,   /* between requests, or one is not complete */
    SRV_WAITING,   /* its request is kept by the handler: `slot` */
    SRV_STREAMING, /* the same, and its body still comes, in parts */
    SRV_SENDING,   /* `unsent` is not empty: nothing is read */
    SRV_LINGERING, /* all is sent, and our end is shut down; what still comes is dropped, so that
                      the client is not reset before it has read the answer */
    SRV_CLOSED     /* its memory goes when the loop has closed the handle */
};

enum srv_slot_state {
    SRV_SLOT_HEAD, /* the head is not complete: its bytes lie in `head` */
    SRV_SLOT_BODY,
    SRV_SLOT_HANDED,    /* the handler runs */
    SRV_SLOT_SUSPENDED, /* kept by the handler */
    SRV_SLOT_ANSWERING, /* the same, and its answer has begun */
    SRV_SLOT_LEFT       /* the same, but the client has gone: the answer goes nowhere */
};

/* Bytes of an answer that the client has not taken yet. */
struct srv_segment {
    STAILQ_ENTRY(srv_segment) next;
    const char *at;
    size_t len;
    void (*release)(void *held); /* called with it; NULL: `copy` */
    void *held;
    char copy[];
};

struct srv_slot {
    struct srv_request request; /* first: a request is its slot */
    struct srv_http *http;
    struct srv_connection *connection; /* NULL with SRV_SLOT_LEFT */
    TAILQ_ENTRY(srv_slot) entry;       /* in srv_http.suspended */
    enum srv_slot_state state;
    bool close; /* the connection ends with this request */
    bool to_head;
    uint8_t minor; /* version of the request */
    bool broken;   /* a field of the answer cannot be sent: the connection is reset instead */
    enum ps_http_framing framing;
    uint64_t body_left; /* SRV_SLOT_BODY by length */
    uint64_t discarded; /* bytes of an oversized body */
    bool unread;        /* the body comes in parts, and its last has not come */
    bool paused;        /* on_part said false */
    bool is_chunked;    /* the answer */
    bool is_sized;
    uint64_t progress;    /* bytes of a body in parts since its deadline was set */
    uint64_t answer_left; /* of an answer whose length was said */
    struct ps_http_chunks chunks;
    struct ps_http_head parse; /* SRV_SLOT_HEAD */
    size_t head_len;           /* bytes in `head` */
    size_t fields_len;         /* header fields of the answer, as text */
    char request_id[PS_UUID_LEN + 1];
    char fields[SRV_ANSWER_HEADER_TEXT];
    char text[SRV_ANSWER_TEXT_MAX];
    max_align_t rest[]; /* user, then head, then body */
};

struct srv_connection {
    struct srv_deadline deadline; /* first: a deadline is its connection */
    struct srv_http *http;
    int polled; /* events; 0: none */
    int fd;
    enum srv_connection_state state;
    bool trusted;
    bool surplus; /* accepted above the soft limit, or too many of this address */
    bool placed;  /* counts in srv_http.places */
    bool counted; /* by its address */
    bool close;   /* when all is sent */
    bool linger;  /* and before that; see SRV_LINGERING */
    bool is_ready;
    bool is_unread;
    struct ps_address peer;
    struct srv_slot *slot; /* its request; NULL: none has begun */
    char *kept;            /* what came behind it */
    size_t kept_len;
    STAILQ_HEAD(, srv_segment) unsent;
    size_t unsent_len;
    TAILQ_ENTRY(srv_connection) entry;  /* in srv_http.connections */
    TAILQ_ENTRY(srv_connection) ready;  /* in srv_http.ready */
    TAILQ_ENTRY(srv_connection) unread; /* in srv_guard.unread, and then in srv_guard.closed */
    int64_t came_ns;                    /* its bytes there, at the earliest */
};
TAILQ_HEAD(srv_connection_list, srv_connection);

struct srv_listener {
    struct srv_http *http;
    uv_poll_t poll;
    int fd;
    bool open;
};

/* Whom the loop tells of, how long bytes wait, and what stays unread (guard.c). */
struct srv_guard {
    uv_prepare_t prepare; /* before the loop looks */
    uv_check_t check;     /* after it has looked and has told of all it found */
    int64_t looked_ns;    /* when prepare ran; before_ms: the same by libuv's clock */
    uint64_t before_ms;
    int64_t last_ns;  /* when a poll before this one returned that has looked */
    int64_t first_ns; /* when the first event of this turn began; INT64_MAX: none yet */
    int64_t turn_ns;  /* when this turn began, or some ms later; 0: none has */
    bool begun;       /* this turn has had an event */
    bool blind;       /* the poll before this one slept, and told of nothing */
    bool slept;       /* until something came, and the kernel was not asked when */
    int64_t asked_ns; /* when it was, last */
    int64_t since_ns; /* since when the bytes of this turn may have waited */
    int fd;           /* epoll's, of all connections; -1: there is none */
    uv_poll_t found;  /* tells that it has found some */
    bool full;        /* there may be more than were found last */
    bool late;        /* a round takes too long: the newest are read first */
    int64_t all_ns;   /* when a look found all that there was, last */
    struct srv_load load;
    uint64_t before;  /* what was in `load` before it was last asked for: requests and closed */
    int64_t timed_ns; /* since when, while late, a round is timed; `timed`: the requests by then */
    uint64_t timed;
    struct srv_connection_list unread; /* newest first */
    size_t unread_count;
    struct srv_connection_list closed; /* the loop may still be about to tell of them */
    uv_idle_t busy;  /* runs while there are unread ones: the loop does not sleep */
    unsigned served; /* of the newest, since one of the oldest was */
    size_t most;     /* connections to accept, and to close, in this turn; while there are unread
                        ones */
};

struct srv_http {
    struct srv_settings settings;
    struct ps_http_limits limits;
    srv_handler_fn *on_request;
    srv_refused_fn *on_refused;
    void *ctx;
    struct ps_uuid_source ids;
    int64_t now_ns, wall_ms; /* as read at the start of this event */
    int64_t came_ns;         /* when the bytes that are served may have come, at the earliest */
    int64_t date_s;          /* for which `date` was printed */
    char date[8 + PS_HTTP_DATE_LEN]; /* "Date: …\r\n" */
    bool draining, closing;

    struct ps_pool *slots;
    struct ps_pool *pool; /* of connections */
    size_t places;        /* taken: neither refused at once, nor lingering, nor closed */
    TAILQ_HEAD(, srv_slot) suspended;
    struct srv_connection_list connections;
    struct srv_connection_list ready; /* that have something to go on with */
    size_t in_flight;
    size_t user_span;               /* bytes of a slot's `rest` before the head */
    struct ps_http_head parse;      /* of a head that lies whole in `in` */
    bool overdue;                   /* what is read is an overdue request */
    struct srv_connection *reading; /* whose answers are gathered in `out` */
    size_t out_len;

    struct srv_guard guard;
    struct srv_deadlines deadlines;
    int64_t timer_ns; /* when `timer` will run; INT64_MAX: it is not started */
    uv_timer_t timer;
    uv_idle_t idle;                      /* runs while `ready` is not empty */
    struct srv_address_count *addresses; /* NULL: there is no cap */
    bool paused;                         /* accepting */
    size_t handles;                      /* not yet closed, those of connections included */
    size_t listener_count;
    struct srv_listener *listeners;
    char in[SRV_IN_MAX];
    char out[SRV_OUT_MAX];
};

/* --- connections.c --- */

int srv_connections_start(struct srv_http *http, uv_loop_t *loop, const int *fds,
                          size_t count) PS_MUST_CHECK;
/* Accepts what is queued, and closes the listen sockets. */
void srv_connections_drain(struct srv_http *http);
void srv_connections_close(struct srv_http *http); /* also timer and listeners */
void srv_read_clock(struct srv_http *http);
void srv_set_deadline(struct srv_connection *connection, enum srv_deadline_kind kind);
/* Events have come for what it is polled for, or its socket is broken. */
void srv_tell(struct srv_connection *connection, int events, bool broken);
void srv_connection_free(struct srv_connection *connection);
/* Reads what the client of a kept request sends, or only looks whether it leaves. */
void srv_poll_waiting(struct srv_connection *connection);
/* Closes the socket; by a reset, `reset`, so that nothing unread stays in the kernel. What the
 * request still waits for is forgotten, and on_gone is called. */
void srv_close(struct srv_connection *connection, bool reset);
/* All is sent: only shuts our end down, and gives the place up. */
void srv_linger(struct srv_connection *connection);
/* srv_settings.makes_room: closes a connection for another one, or, `of_slots`, for its request.
 * False: there is none to close. */
bool srv_make_room(struct srv_http *http, bool of_slots);
/* The memory when the last handle has closed. */
void srv_http_release(struct srv_http *http);

/* --- guard.c --- */

int srv_guard_start(struct srv_http *http, uv_loop_t *loop) PS_MUST_CHECK;
/* The memory of closed connections. Not while the loop tells of some. */
void srv_guard_free_closed(struct srv_http *http);
/* A new connection; nothing is told of it before srv_poll. */
int srv_watch(struct srv_connection *connection) PS_MUST_CHECK;
/* UV_READABLE, UV_WRITABLE, UV_DISCONNECT; 0 stops. */
void srv_poll(struct srv_connection *connection, int events);
/* The loop tells of a connection; the clock has been read. */
void srv_guard_event(struct srv_http *http);
/* Leaves the connection's bytes unread, if they may have waited too long to be served before what
 * is newer. False: it is to be read now. */
bool srv_guard_judge(struct srv_connection *connection);
static inline bool srv_guard_leaves(struct srv_connection *connection)
{
    const struct srv_http *http = connection->http;
    bool late = http->now_ns - http->came_ns > http->settings.wait_ns;

    return PS_UNLIKELY(late || !TAILQ_EMPTY(&http->guard.unread)) && srv_guard_judge(connection);
}
/* It is closed, or read. */
void srv_guard_forget(struct srv_connection *connection);
/* How many connections may be accepted in a turn, or closed at their deadline, of at most `most`:
 * few while there are unread ones. */
static inline size_t srv_guard_most(const struct srv_http *http, size_t most)
{
    const struct srv_guard *guard = &http->guard;

    return TAILQ_EMPTY(&guard->unread) || guard->most > most ? most : guard->most;
}
/* Asks the kernel when the bytes that were just received came, if that may be long ago. */
void srv_guard_ask(struct srv_connection *connection);

/* --- reading.c --- */

void srv_readable(struct srv_connection *connection);
/* Goes on with what is kept: the request before it has been answered, or it is its turn again. */
void srv_read_kept(struct srv_connection *connection);
/* Fills the slot's request from its head, which lies in the slot. PS_HTTP_NO_RULE, or what it
 * breaks: `*ret_text` says more. */
bool srv_request_fill(struct srv_slot *slot, const struct ps_http_head *head,
                      const char **ret_text);
void srv_slot_free(struct srv_slot *slot);

static inline char *srv_head_of(struct srv_slot *slot)
{
    return (char *)slot->rest + slot->http->user_span;
}
static inline char *srv_body_of(struct srv_slot *slot)
{
    return srv_head_of(slot) + slot->http->limits.head_max + 1;
}

/* --- stream.c --- */

/* Gives what has come of a body to the handler, in one part; chunks are put together in `data`. How
 * many bytes were taken. */
size_t srv_read_parts(struct srv_connection *connection, struct srv_slot *slot, char *data,
                      size_t len);

/* --- send.c --- */

/* Sends what was gathered for the connection that is read. */
void srv_flush(struct srv_connection *connection);
/* The connection may be read again: on the loop's next turn where bytes are kept. */
void srv_go_on_reading(struct srv_connection *connection);
/* The client takes more. */
void srv_writable(struct srv_connection *connection);
/* Room for at most `most` bytes behind what was written before: in `out`, or in a segment behind
 * what is not sent yet; then srv_written. False: no memory, the connection has been closed. */
bool srv_write_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                    struct srv_segment **ret_segment);
/* The same, in a segment in any case. */
bool srv_segment_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                      struct srv_segment **ret_segment);
void srv_written(struct srv_connection *connection, const struct ps_buf *buf,
                 struct srv_segment *segment);
/* The same of bytes that stay where they are until `release(held)`, which is called in any case. */
bool srv_add_held(struct srv_connection *connection, struct ps_str bytes,
                  void (*release)(void *held), void *held);
void srv_segments_free(struct srv_connection *connection);

/* --- answer.c --- */

/* Room for whole lines of header fields, behind those that the answer has; the buffer is given back
 * when they are written. Where they do not fit, the connection is reset in the answer's place. */
struct ps_buf srv_fields_begin(struct srv_request *request);
void srv_fields_end(struct srv_request *request, const struct ps_buf *fields);
/* Answers with a problem of the server's own and closes the connection; needs no slot. `text` is
 * the detail, or NULL. */
void srv_refuse(struct srv_connection *connection, enum ans_verdict verdict, const char *text);
/* "HTTP/1.1 100 Continue" */
void srv_go_on(struct srv_connection *connection);
/* The fields of an answer of which the body follows in parts. */
void srv_put_forward(struct ps_buf *buf, struct srv_slot *slot, const struct srv_forward *head);
/* The request is answered: its slot goes back, and its connection goes on or ends. */
void srv_finish_request(struct srv_slot *slot, bool close);
void srv_new_request_id(struct srv_http *http, char ret_text[PS_UUID_LEN + 1]);

#endif
