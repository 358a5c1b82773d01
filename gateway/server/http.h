/* The buyers' listener: strict HTTP/1.1 on one loop and one thread (common/http reads and writes
 * it). It knows no sale. Nothing here locks.
 *
 * A request is handed over once, when its head is well-formed and its body is complete, or known to
 * be too large. The handler answers at once, or keeps the request with srv_suspend() and answers
 * later on the same thread. A client that leaves while its request is kept is noticed at once.
 *
 * Every refusal of the server's own is a problem document with a request id. */
#ifndef SRV_HTTP_H
#define SRV_HTTP_H

#include "common/text/address.h"
#include "common/text/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/text/id.h"

#include <netinet/in.h>
#include <uv.h>

enum srv_method {
    SRV_GET,
    SRV_HEAD,
    SRV_POST,
    SRV_PUT,
    SRV_PATCH,
    SRV_DELETE,
    SRV_OPTIONS,
    SRV_METHOD_OTHER
};

/* The header fields that this program reads. Found in the same pass that checks them; others are
 * checked and forgotten. */
enum srv_header {
    SRV_H_HOST,
    SRV_H_CONTENT_TYPE,
    SRV_H_CONTENT_ENCODING,
    SRV_H_AUTHORIZATION,
    SRV_H_USER_ID,
    SRV_H_IDEMPOTENCY_KEY,
    SRV_H_IF_MATCH,
    SRV_H_IF_NONE_MATCH,
    SRV_H_TRACEPARENT,
    SRV_H_REQUEST_ID,
    SRV_H_FORWARDED_FOR,
    SRV_H_CLIENT_IP, /* the name in the settings */
    SRV_H_ORIGIN,
    SRV_H_REQUEST_METHOD, /* Access-Control-Request-Method */
    SRV_H_REHEARSAL,      /* Penstock-Rehearsal: common/text/mark.h */
    SRV_H_COUNT
};

#define SRV_PUBLIC_BODY_MAX    4096
#define SRV_HEAD_MAX           ((size_t)10 * 1024) /* usually */
#define SRV_TARGET_MAX         2048                /* longer: 414 */
#define SRV_FORWARDED_MAX      8                   /* lines of X-Forwarded-For; more: 400 */
#define SRV_ANSWER_HEADER_TEXT 2048 /* header values of an answer together, in the slot */
#define SRV_ANSWER_TEXT_MAX    6144 /* body of an answer, in the slot */

struct ps_http_head;
struct srv_http;
struct srv_shared_answer;

struct srv_request {
    /* In: valid until the answer is sent. */
    enum srv_method method;
    struct ps_str path;                /* origin-form, raw: no percent-decoding, '?' excluded */
    struct ps_str query;               /* without '?', "" when absent */
    struct ps_str header[SRV_H_COUNT]; /* without white space around it; .at == NULL when absent */
    uint8_t header_lines[SRV_H_COUNT]; /* 0 or 1, others are refused; X-Forwarded-For and
                                        * Penstock-Rehearsal may be there more often */
    struct ps_str forwarded_for[SRV_FORWARDED_MAX]; /* the lines of X-Forwarded-For, in order */
    struct ps_str body;                             /* may hold any byte */
    /* All of its head, for whoever passes it on; NULL where a body was read before the request was
     * handed over. Offsets are from `base`. */
    const struct ps_http_head *head;
    const char *base;
    bool in_parts;    /* the body comes by on_part; `body` is empty */
    int64_t body_len; /* with in_parts: what was announced; -1: it comes in chunks */
    bool oversized; /* the body is larger than body_max and is not kept: 404, 405, 413 or the like,
                     * at once; the connection ends with it */
    struct ps_address peer; /* of the TCP connection; of a Unix socket all zero */
    int64_t arrived_ns;     /* monotonic: the turn of the loop in which the head was complete */
    int64_t now_ns;         /* the same clock, when the request is handed over */
    int64_t waited_ns;      /* its last bytes may have waited for so long until now_ns, unread */
    bool overdue;           /* longer than others: the answer should be short, and is best a "no" */
    /* The client's when it is 1-64 bytes of [A-Za-z0-9._-], else a new UUIDv7. */
    struct ps_str request_id;
    /* For the layer above: zeroed when the head is complete; size given to srv_http_new. */
    void *user;
};

struct srv_settings {
    int64_t head_timeout_ms;    /* 5000; from accept or, on a kept connection, after idle */
    int64_t body_timeout_ms;    /* 10000 */
    int64_t idle_timeout_ms;    /* 15000 */
    int64_t idle_trusted_ms;    /* 75000, for peers of which is_trusted says yes, and srv_trust */
    size_t connections_soft;    /* above: 503 too_many_connections and close */
    size_t connections_hard;    /* more wait in the kernel's queue */
    size_t connections_address; /* of one address (in IPv6 of a /64, and 4 times as many of a /48),
                                 * trusted ones exempt: above 503; 0 = no cap */
    bool makes_room; /* where no place or slot is free, who is not trusted and has been silent for
                      * longest is closed for whoever comes: first of those that were answered */
    size_t requests_max; /* slots; each is taken from the request line until the answer is sent */
    size_t turn_max;     /* requests of one connection in a turn of the loop; 0: 32 */
    size_t head_max;     /* bytes of a head with its request line: more is 431 */
    size_t body_max;     /* SRV_PUBLIC_BODY_MAX or 1 MiB */
    size_t user_size;
    /* While a round over all connections takes no longer than round_ns, they are served in turn.
     * While it does, bytes that may have waited for longer than wait_ns are left unread as long as
     * newer ones are there. wait_ns 0: all are served in turn, always. */
    int64_t wait_ns, round_ns;
    const char *client_ip_header; /* NULL = none */
    /* May it be asked for without Host, by HTTP/1.0, as simple load balancers do? NULL: no. */
    bool (*needs_no_host)(struct ps_str path);
    bool (*is_trusted)(const struct ps_address *peer, void *ctx); /* may be NULL */
    /* The client of a kept request has left, or the server ends: its owner must forget it, and its
     * handle is stale from now on. Called as well for a request that on_head has seen and that ends
     * before it is handed over. NULL: the owner may go on with the request; its answer goes
     * nowhere. */
    void (*on_gone)(struct srv_request *request, void *ctx);
    /* Asked when a connection that is no trusted proxy's begins to be idle: may it be for long?
     * Else it is closed after a second. NULL: yes. */
    bool (*keeps_idle)(void *ctx);
    /* A head is complete, and `user` is zeroed: what is decided of the request is decided here.
     * True: its body, if it has one, comes in parts, however long. NULL: it does not. Then the
     * request is handed over, at once or with its whole body; or on_gone says that it is not. */
    bool (*on_head)(struct srv_request *request, void *ctx);
    /* A part of the body of a kept request; `last`: nothing follows, and `part` may be empty.
     * False: no more until srv_resume. */
    bool (*on_part)(struct srv_request *request, struct ps_str part, bool last, void *ctx);
    /* The loop is about to poll: how long it was away from its poll, or some ms less. NULL: it
     * is not measured. */
    void (*on_turn)(int64_t turn_ns, void *ctx);
    /* The client has taken what there was of an answer in parts. */
    void (*on_room)(struct srv_request *request, void *ctx);
    const struct ps_clock *clock;
};

/* Called once a request. It must call srv_answer* or srv_suspend before it returns. */
typedef void srv_handler_fn(struct srv_request *request, void *ctx);

/* What the server refuses before the handler sees it: the handler is not
 * called. `verdict` is one of enum ans_verdict (malformed, too_large, request_timeout,
 * uri_too_long, headers_too_large, too_many_connections, shed, draining), for the metrics. */
typedef void srv_refused_fn(int verdict, void *ctx);

/* `listen_fds` are bound and listening, non-blocking; owned by the server afterwards (on an error
 * they stay the caller's). The strings of `settings` must outlive the server. It starts accepting
 * on the loop's next turn. */
int srv_http_new(uv_loop_t *loop, const int *listen_fds, size_t listen_count,
                 const struct srv_settings *settings, srv_handler_fn *on_request,
                 srv_refused_fn *on_refused, void *ctx, struct srv_http **ret_http) PS_MUST_CHECK;

/* Stops listening: accepts what is queued, then closes the listen sockets. From now on every answer
 * closes its connection. */
void srv_drain(struct srv_http *http);
size_t srv_http_connections(const struct srv_http *http);
/* Requests that the handler has seen and whose answer is not sent yet. */
size_t srv_in_flight(const struct srv_http *http);
/* The same, and those whose first line has been read and that are not complete yet, or that are
 * left unread. */
size_t srv_http_begun(const struct srv_http *http);
/* Answers every kept request with 503 draining, closes all. Not from within the handler. The memory
 * goes when the loop has closed the handles. NULL is allowed. */
void srv_http_free(struct srv_http *http);

/* What the listener's thread has done since it was last asked. That thread only. */
struct srv_load {
    uint64_t requests; /* handed over */
    int64_t waited_ns; /* of all of them */
    uint64_t refused;  /* requests answered with 400 and above */
    uint64_t left;     /* connections that were left unread, for what was newer */
    uint64_t closed;   /* of these: their client has left, or their deadline has passed */
    bool late;         /* a round has taken too long */
    size_t unread;     /* now */
    int64_t unread_ns; /* for how long the oldest of them has waited; 0: there is none */
};
void srv_http_load(struct srv_http *http, struct srv_load *ret_load);
/* Sets srv_settings.wait_ns. */
void srv_http_set_wait(struct srv_http *http, int64_t wait_ns);

/* Keeps the request beyond the handler. Its handle goes to other threads; srv_find gives the
 * request back, or NULL when the handle is stale: the request is answered or gone. */
uint64_t srv_suspend(struct srv_request *request);
struct srv_request *srv_find(struct srv_http *http, uint64_t handle);

/* The client has shown who it is: its connection is a trusted one's from now on. */
void srv_trust(struct srv_request *request);

/* --- Answers. All copy what they are given, unless said otherwise, and all but a shared one carry
 * X-Request-Id. To HEAD, and with 304, the body is not sent but its length is: give the body that
 * GET or 200 would have. --- */

/* Adds a header field to the answer to come. `name` must be a literal; with an empty value the
 * field is left out. A value that is none, or does not fit: the connection is reset in the answer's
 * place. */
void srv_answer_header(struct srv_request *request, const char *name, const char *value,
                       size_t len);
/* Memory of the slot in which the body is built: use it, then srv_answer with the buffer. */
struct ps_buf srv_answer_body(struct srv_request *request);
/* Sends. `body` may be what srv_answer_body gave (not copied) or outlive the process (literal).
 * `close` closes the connection after it. */
void srv_answer(struct srv_request *request, int status, const char *content_type,
                struct ps_str body, bool close);
/* Sends a heap body and frees it afterwards (admin). */
void srv_answer_heap(struct srv_request *request, int status, const char *content_type, char *body,
                     size_t len);

/* A whole answer made once and sent often (status page): counted references, one thread. Headers
 * are name, value, name, value, NULL. */
int srv_shared_answer_new(int status, const char *const *headers, struct ps_str body,
                          struct srv_shared_answer **ret_answer) PS_MUST_CHECK;
void srv_shared_answer_unref(struct srv_shared_answer *answer); /* NULL is allowed */
void srv_answer_shared(struct srv_request *request, struct srv_shared_answer *answer);

/* --- Bodies of any length, in parts. A request whose body comes in parts is handed over with its
 * head. Its handler keeps it, and gets the parts; or answers at once, and the connection ends with
 * that. A client that neither sends nor takes 16 KiB within body_timeout_ms is cut. Any of these
 * calls may find that the client has left: then on_gone is called before it returns. --- */

/* More parts of the body may come. */
void srv_resume(struct srv_request *request);

/* A part, which is copied if the client does not take it at once. False: 64 KiB wait; on_room
 * follows, or on_gone. A part beyond the length that was said: the connection is reset. */
bool srv_answer_part(struct srv_request *request, struct ps_str part);
/* The same of the last part, which may be empty. The request is answered. Shorter in all than was
 * said: the connection is reset, so that nobody takes it for whole. */
void srv_answer_last(struct srv_request *request, struct ps_str part);
/* The request is answered, without another part. Not `whole`: the connection is reset. */
void srv_answer_end(struct srv_request *request, bool whole);

/* An answer that somebody else has made. */
struct srv_forward {
    int status;
    struct ps_str fields; /* lines with their CRLF, without framing and X-Request-Id */
    bool is_dated;        /* Date is among them */
    int64_t len;          /* of the body; -1: not known. It is sent in chunks then, to HTTP/1.0
                             until the connection ends */
};
/* Begins the answer of a kept request with such a head and the first part of the body, or with all
 * of it: they leave in one piece. Then as srv_answer_part, or srv_answer_last. */
bool srv_answer_forward(struct srv_request *request, const struct srv_forward *head,
                        struct ps_str part, bool last);
/* The same of an answer whose whole body stays where it is until `release(held)`, which is called
 * once, maybe at once. The request need not be kept. `head->len` is that of the body. */
void srv_answer_held(struct srv_request *request, const struct srv_forward *head,
                     struct ps_str body, void (*release)(void *held), void *held);
/* An interim answer, 103, to a kept request whose answer has not begun. */
void srv_answer_interim(struct srv_request *request, int status, struct ps_str fields);

/* Opens the sockets of one address for `count` threads (SO_REUSEPORT each), after one bind without
 * it has shown that the port is free. `host` is a numeric address. Port 0 takes a free port, the
 * same for all; *ret_port tells it. PS_E_BUSY: taken, PS_E_PERMISSION, PS_E_INVALID. */
int srv_listen(const char *host, uint16_t port, size_t count, int *ret_fds,
               uint16_t *ret_port) PS_MUST_CHECK;

#endif
