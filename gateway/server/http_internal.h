/* What the files of server/ share. Each calls those before it: guard.c (how long bytes wait),
 * connection.c (one connection), send.c (bytes out), answer.c (answers), stream.c (bodies in
 * parts), gather.c (requests to the handler), proxy.c (PROXY headers), reading.c (bytes in),
 * accept.c (new connections), turn.c (a turn of the loop), server.c (start and end).
 *
 * Bytes are received into one buffer of the server and parsed there. A request takes a slot when
 * its head is complete, or when its first bytes must wait for more; the slot keeps the head, the
 * body and the upper layer's data until the answer is sent. So an idle connection needs nothing
 * but its struct.
 *
 * Requests of one connection are served in order, one at a time. Bytes behind a request that
 * waits are kept up to a bound, then no longer read. Answers to requests that arrived in one
 * piece leave in one piece. While the client has not read an answer completely, nothing more is
 * read from it. */
#ifndef SRV_HTTP_INTERNAL_H
#define SRV_HTTP_INTERNAL_H

#include "common/http/chunks.h"
#include "common/pool.h"
#include "gateway/answers/problem.h"
#include "gateway/server/deadline.h"
#include "gateway/server/http.h"

#include <sys/queue.h>

/* Most bytes of one read. */
#define SRV_IN_MAX ((size_t)64 * 1024)
/* Most bytes of answers gathered for one send. */
#define SRV_OUT_MAX ((size_t)64 * 1024)
/* A body extends its deadline each time this much of it has arrived, and an answer when this much
 * of it was taken. */
#define SRV_PROGRESS ((uint64_t)16 * 1024)
/* This many bytes may wait for a client that does not read its answers; then nothing more is
 * written. */
#define SRV_UNSENT_MAX ((size_t)64 * 1024)
/* An oversized body is read to its end up to this length, so that the client reads the 413. */
#define SRV_DISCARD_MAX ((size_t)64 * 1024)

enum srv_connection_state {
    SRV_READING,   /* between requests, or a request is not complete */
    SRV_PROXYING,  /* its PROXY header is not complete: the beginning is in `kept` */
    SRV_WAITING,   /* the handler keeps its request: `slot` */
    SRV_STREAMING, /* the same, and its body is still arriving, in parts */
    SRV_SENDING,   /* `unsent` is not empty: nothing is read */
    SRV_LINGERING, /* all is sent, and our direction is shut down; further bytes are dropped, so
                      that the client is not reset before it has read the answer */
    SRV_CLOSED     /* freed when the loop has closed the handle */
};

enum srv_slot_state {
    SRV_SLOT_HEAD, /* the head is not complete: its bytes are in `head` */
    SRV_SLOT_BODY,
    SRV_SLOT_HANDED,    /* the handler runs */
    SRV_SLOT_SUSPENDED, /* kept by the handler */
    SRV_SLOT_ANSWERING, /* the same, and its answer has begun */
    SRV_SLOT_LEFT       /* the same, but the client has left: the answer is dropped */
};

/* Bytes of an answer that the client has not read yet. */
struct srv_segment {
    STAILQ_ENTRY(srv_segment) next;
    const char *at;
    size_t len;
    void (*release)(void *held); /* called with it; NULL: the bytes are in `copy` */
    void *held;
    char copy[];
};

struct srv_slot {
    struct srv_request request; /* first: a request is its slot */
    struct srv_http *http;
    struct srv_connection *connection; /* NULL in SRV_SLOT_LEFT */
    TAILQ_ENTRY(srv_slot) entry;       /* in srv_http.suspended */
    enum srv_slot_state state;
    bool close; /* the connection ends after this request */
    bool to_head;
    uint8_t minor; /* version of the request */
    bool broken;   /* a field of the answer cannot be sent: reset the connection instead */
    enum ps_http_framing framing;
    uint64_t body_left; /* SRV_SLOT_BODY with a length */
    uint64_t discarded; /* bytes of an oversized body */
    bool unread;        /* the body comes in parts, and the last has not arrived */
    bool paused;        /* on_part returned false */
    bool counts;        /* in srv_http.in_flight */
    bool gathers;       /* SRV_SLOT_BODY: the body comes in parts, and is gathered first */
    char *gathered;     /* NULL: nothing was */
    size_t gathered_len, gathered_size;
    bool is_chunked; /* the answer */
    bool is_sized;
    uint64_t progress;    /* bytes of a body in parts since its deadline was last set */
    uint64_t answer_left; /* of an answer with a length */
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
    bool trusted; /* srv_request says of what */
    bool forwards;
    bool surplus; /* accepted above the soft limit, or too many of this address */
    bool placed;  /* counts in srv_http.places */
    bool counted; /* counted for its address */
    bool close;   /* when everything is sent */
    bool linger;  /* and before that; see SRV_LINGERING */
    bool is_ready;
    bool is_unread;
    struct ps_address peer; /* or what the PROXY header says */
    struct srv_slot *slot;  /* its request; NULL: none has begun */
    char *kept;             /* bytes behind it */
    size_t kept_len;
    STAILQ_HEAD(, srv_segment) unsent;
    size_t unsent_len;
    uint64_t sent;  /* bytes that the kernel has taken */
    uint64_t taken; /* of these, the client's kernel, when SRV_DEADLINE_SEND was set last */
    TAILQ_ENTRY(srv_connection) entry;  /* in srv_http.connections */
    TAILQ_ENTRY(srv_connection) ready;  /* in srv_http.ready */
    TAILQ_ENTRY(srv_connection) unread; /* in srv_guard.unread, and then in srv_http.closed */
    int64_t came_ns;                    /* the earliest time at which its bytes may have arrived */
};
TAILQ_HEAD(srv_connection_list, srv_connection);

struct srv_listener {
    struct srv_http *http;
    uv_poll_t poll;
    int fd;
    bool open, shared;
};

/* Which connections the loop reports, how long bytes wait, and what stays unread (guard.c). */
struct srv_guard {
    uv_prepare_t prepare; /* before the loop looks */
    uv_check_t check;     /* after it has looked and reported everything */
    int64_t looked_ns;    /* when prepare ran; before_ms: the same by libuv's clock */
    uint64_t before_ms;
    int64_t last_ns;  /* when the last earlier poll returned that has looked */
    int64_t first_ns; /* when the first event of this turn began; INT64_MAX: none yet */
    int64_t turn_ns;  /* when this turn began, or some ms later; 0: no turn yet */
    bool begun;       /* this turn has had an event */
    bool blind;       /* the previous poll slept and reported nothing */
    bool slept;       /* until something arrived, and the kernel was not asked when */
    int64_t asked_ns; /* when the kernel was last asked */
    int64_t since_ns; /* the earliest time at which the bytes of this turn may have arrived */
    int fd;           /* the epoll set of all connections; -1: none */
    uv_poll_t found;  /* watches it */
    bool full;        /* there may be more than the last look found */
    bool late;        /* a round takes too long: the newest are read first */
    int64_t all_ns;   /* when a look last found everything */
    struct srv_load load;
    uint64_t before;  /* `load` before it was last read: requests and closed */
    int64_t timed_ns; /* while late: when the timed round began; `timed`: the requests up to then */
    uint64_t timed;
    struct srv_connection_list unread; /* newest first */
    size_t unread_count;
    int64_t began_ns; /* when this turn began to read unread ones; `read`: how many it has read */
    size_t read;
    unsigned served; /* of the newest, since the last of the oldest */
    size_t most;     /* how many to accept, and to close, in this turn, while some are unread */
};

struct srv_http {
    struct srv_settings settings;
    struct ps_http_limits limits;
    struct ps_uuid_source ids;
    int64_t now_ns, wall_ms; /* as read at the start of this event */
    int64_t came_ns;         /* the earliest time at which the served bytes may have arrived */
    int64_t date_s;          /* the time of `date` */
    char date[8 + PS_HTTP_DATE_LEN]; /* "Date: …\r\n" */
    bool draining, closing;

    struct ps_pool *slots;
    struct ps_pool *pool; /* of connections */
    size_t places;        /* taken: not refused at once, not lingering, not closed */
    TAILQ_HEAD(, srv_slot) suspended;
    struct srv_connection_list connections;
    struct srv_connection_list ready;  /* those that have kept bytes to continue with */
    struct srv_connection_list closed; /* the loop may still report them */
    size_t in_flight;
    size_t gathered;                /* bytes of memory of all slots' `gathered` */
    size_t user_span;               /* bytes of a slot's `rest` before the head */
    struct ps_http_head parse;      /* of a head that is complete in `in` */
    bool overdue;                   /* the request being read is overdue */
    struct srv_connection *reading; /* whose answers are gathered in `out` */
    size_t out_len;

    struct srv_guard guard;
    struct srv_deadlines deadlines;
    int64_t timer_ns; /* when `timer` runs out; INT64_MAX: it is not started */
    int64_t rest_ns;  /* deadlines that on_timer has left wait until then */
    uv_timer_t timer;
    uv_idle_t busy; /* runs while some are ready or unread: the loop does not sleep */
    struct srv_address_count *addresses; /* NULL: there is no cap */
    int64_t accepted_ns;                 /* the last connection */
    bool paused;                         /* accepting; it is tried again at accept_ns */
    int64_t accept_ns;
    size_t handles; /* not yet closed, those of connections included */
    size_t listener_count;
    struct srv_listener *listeners;
    char in[SRV_IN_MAX];
    char out[SRV_OUT_MAX];
};

/* --- guard.c --- */

/* Connections found by one look. */
#define SRV_BATCH 256
/* A request that has waited for so long, unread, is overdue. */
#define SRV_OVERDUE_NS PS_NS_PER_S

struct epoll_event;

void srv_read_clock(struct srv_http *http);
int srv_guard_start(struct srv_http *http) PS_MUST_CHECK;
/* Adds a new connection; nothing is reported before srv_poll. */
int srv_watch(struct srv_connection *connection) PS_MUST_CHECK;
/* UV_READABLE, UV_WRITABLE, UV_DISCONNECT; UV_PRIORITIZED: only a reset; 0 stops. */
void srv_poll(struct srv_connection *connection, int events);
/* The loop is about to poll; has polled, and reported everything. */
void srv_guard_before_poll(struct srv_http *http);
void srv_guard_after_poll(struct srv_http *http);
/* The loop reports a connection; the clock has been read. */
void srv_guard_event(struct srv_http *http);
/* Finds connections with events: up to SRV_BATCH, into `found`. How many. Reads the clock. */
size_t srv_guard_look(struct srv_http *http, struct epoll_event *found);
/* Leaves the connection unread if its bytes may have waited too long to be served before newer
 * ones. False: read it now. */
bool srv_guard_judge(struct srv_connection *connection);
static inline bool srv_guard_leaves(struct srv_connection *connection)
{
    const struct srv_http *http = connection->http;
    bool late = http->now_ns - http->came_ns > http->settings.wait_ns;

    return PS_UNLIKELY(late || !TAILQ_EMPTY(&http->guard.unread)) && srv_guard_judge(connection);
}
/* Reading unread connections: begin, then read each `next` until there is none for this turn, end.
 * srv_http.overdue says of the next one whether it is. */
void srv_guard_begin_unread(struct srv_http *http);
struct srv_connection *srv_guard_next(struct srv_http *http);
void srv_guard_end_unread(struct srv_http *http);
/* An unread connection is closed, or answered without being read. */
void srv_guard_forget(struct srv_connection *connection);
/* How many connections, of at most `most`, may be accepted in a turn, or closed at their deadline:
 * few while some are unread. */
static inline size_t srv_guard_most(const struct srv_http *http, size_t most)
{
    const struct srv_guard *guard = &http->guard;

    return TAILQ_EMPTY(&guard->unread) || guard->most > most ? most : guard->most;
}
/* Asks the kernel when the bytes just received arrived, if that may be long ago. */
void srv_guard_ask(struct srv_connection *connection);

/* --- connection.c --- */

void srv_set_deadline(struct srv_connection *connection, enum srv_deadline_kind kind);
/* Polls the client of a kept request: for more bytes, or only for its leaving. */
void srv_poll_waiting(struct srv_connection *connection);
/* It has sent its last byte while its request waits: has it left? */
void srv_ask_whether_it_reads(struct srv_connection *connection);
void srv_slot_free(struct srv_slot *slot);
/* Frees what was gathered of its body. */
void srv_gathered_free(struct srv_slot *slot);
/* From now on its request is in flight, or is not. */
static inline void srv_slot_count(struct srv_slot *slot, bool counts)
{
    if (slot->counts != counts)
        slot->http->in_flight += counts ? (size_t)1 : (size_t)-1;
    slot->counts = counts;
}
void srv_segment_free(struct srv_segment *segment);
/* Closes the socket; `reset`: by a reset, so that nothing unread stays in the kernel. Forgets what
 * its request waits for, and calls on_gone. */
void srv_close(struct srv_connection *connection, bool reset);
/* Everything is sent: shuts our direction down, and frees the place. */
void srv_linger(struct srv_connection *connection);
/* Frees closed connections. Not while the loop reports some. */
void srv_free_closed(struct srv_http *http);
/* srv_settings.makes_room: closes a connection in favour of another one, or, with `of_slots`, of
 * its request. False: none may be closed. */
bool srv_make_room(struct srv_http *http, bool of_slots);

/* --- accept.c --- */

void srv_accept_some(struct srv_listener *listener, size_t most);
/* Begins, or goes on after a pause. */
void srv_accept_again(struct srv_http *http);

/* --- proxy.c --- */

/* Is there room for one more connection from its address? */
bool srv_count_address(struct srv_connection *connection);
/* A new connection must begin with a PROXY header; one of another peer is closed. */
void srv_proxy_begin(struct srv_connection *connection);
/* Reads more of the header. True: it is complete, and what follows it may be read now. */
bool srv_proxy_read(struct srv_connection *connection) PS_MUST_CHECK;
/* It did not arrive in time. */
void srv_proxy_late(struct srv_connection *connection);

/* --- turn.c --- */

/* From now on the loop serves connections. On an error srv_http.handles have begun. */
int srv_turn_start(struct srv_http *http, uv_loop_t *loop) PS_MUST_CHECK;

/* --- reading.c --- */

void srv_readable(struct srv_connection *connection);
/* Continues with kept bytes: the request before them has been answered, or the connection's turn
 * has come again. */
void srv_read_kept(struct srv_connection *connection);
/* Fills the request from a head that lies at `base`; it may allocate request->made. False: the
 * other two say why it is refused. */
bool srv_request_fill(struct srv_request *request, const struct srv_settings *settings,
                      const struct ps_http_head *head, const char *base,
                      enum ans_verdict *ret_verdict, const char **ret_text);
/* Why the parser refused a head: the rule's text, perhaps with the byte's place, in `text`. */
const char *srv_strict_why(const struct ps_http_head *head, char text[SRV_WHY_SIZE]);
static inline char *srv_head_of(struct srv_slot *slot)
{
    return (char *)slot->rest + slot->http->user_span;
}
static inline char *srv_body_of(struct srv_slot *slot)
{
    return srv_head_of(slot) + slot->http->limits.head_max + 1;
}

/* --- stream.c --- */

/* Gives received body bytes to the handler, in one part; chunks are joined in `data`. Returns how
 * many bytes were taken. */
size_t srv_read_parts(struct srv_connection *connection, struct srv_slot *slot, char *data,
                      size_t len);
/* Gives a part of a kept request's body to the handler. */
void srv_give_part(struct srv_connection *connection, struct srv_slot *slot, struct ps_str part,
                   bool last);

/* --- gather.c --- */

/* Gives the request to the handler. */
void srv_hand_over(struct srv_connection *connection, struct srv_slot *slot);
/* A head is complete whose body comes in parts: hands the request over, or begins to gather. `head`
 * need not stay valid; `len` bytes have arrived after it. */
void srv_begin_parts(struct srv_connection *connection, struct srv_slot *slot,
                     const struct ps_http_head *head, size_t len);
/* Keeps received body bytes of a slot that gathers, and hands the request over when the body is
 * whole or too long. Returns how many bytes were taken. */
size_t srv_gather(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                  size_t len);

/* --- send.c --- */

/* Sends what was gathered for the connection being read. */
void srv_flush(struct srv_connection *connection);
/* Has the client taken enough of the answer since SRV_DEADLINE_SEND was set? */
bool srv_is_taking(struct srv_connection *connection);
/* The connection may be read again: on the loop's next turn if bytes are kept. */
void srv_go_on_reading(struct srv_connection *connection);
/* The client can take more. */
void srv_writable(struct srv_connection *connection);
/* Room for at most `most` bytes after what was written: in `out`, or in a segment after unsent
 * bytes; then call srv_written. False: out of memory, the connection has been closed. */
bool srv_write_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                    struct srv_segment **ret_segment);
/* The same, always in a segment. */
bool srv_segment_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                      struct srv_segment **ret_segment);
void srv_written(struct srv_connection *connection, const struct ps_buf *buf,
                 struct srv_segment *segment);
/* The same for bytes that stay in place until `release(held)`, which is called in any case. */
bool srv_add_held(struct srv_connection *connection, struct ps_str bytes,
                  void (*release)(void *held), void *held);

/* --- answer.c --- */

/* Room for complete lines of header fields, after those that the answer has; pass the buffer to
 * srv_fields_end when they are written. If they do not fit, the connection is reset instead of the
 * answer. */
struct ps_buf srv_fields_begin(struct srv_request *request);
void srv_fields_end(struct srv_request *request, const struct ps_buf *fields);
/* Answers with a problem of the server itself and closes the connection; needs no slot. `text` is
 * the detail, or NULL. */
void srv_refuse(struct srv_connection *connection, enum ans_verdict verdict, const char *text);
/* The verdict for a broken rule of HTTP. */
enum ans_verdict srv_rule_verdict(const struct ps_http_rule_row *rule);
/* "HTTP/1.1 100 Continue" */
void srv_go_on(struct srv_connection *connection);
/* Writes the fields of an answer whose body follows in parts. */
void srv_put_forward(struct ps_buf *buf, struct srv_slot *slot, const struct srv_forward *head);
/* The request is answered: frees its slot; its connection continues or ends. */
void srv_finish_request(struct srv_slot *slot, bool close);
void srv_new_request_id(struct srv_http *http, char ret_text[PS_UUID_LEN + 1]);

#endif
