/* The buyers' listener: strict HTTP/1.1 on one loop and one thread (common/http parses and prints
 * it). It knows no sale. Nothing here locks.
 *
 * A request is handed to the handler once, when its head is well-formed and its body is complete,
 * or known to be too large. The handler answers at once, or keeps the request with srv_suspend()
 * and answers later on the same thread. The server notices at once when the client of a kept
 * request leaves.
 *
 * Every refusal by the server itself is a problem document with a request id. */
#ifndef SRV_HTTP_H
#define SRV_HTTP_H

#include "common/http/head.h"
#include "common/http/proxy.h"
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

/* The header fields that this program reads, found in the pass that checks them. Other fields are
 * checked and ignored. */
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
    SRV_H_CLIENT_IP, /* the field that the settings name */
    SRV_H_ORIGIN,
    SRV_H_REQUEST_METHOD, /* Access-Control-Request-Method */
    SRV_H_REHEARSAL,      /* Penstock-Rehearsal: common/text/mark.h */
    SRV_H_COUNT
};

#define SRV_PUBLIC_BODY_MAX    4096
#define SRV_GATHERED_MAX       ((size_t)16 * 1024 * 1024)
#define SRV_HEAD_MAX           ((size_t)10 * 1024) /* usually */
#define SRV_TARGET_MAX         2048                /* longer: 414, but for pages */
#define SRV_FORWARDED_MAX      8                   /* lines of X-Forwarded-For; more: 400 */
#define SRV_ANSWER_HEADER_TEXT 2048 /* header values of an answer together, in the slot */
#define SRV_ANSWER_TEXT_MAX    6144 /* body of an answer, in the slot */

#define SRV_WHY_SIZE 128

struct srv_http;
struct srv_shared_answer;

struct srv_request {
    /* Input: valid until the answer is sent. */
    enum srv_method method;
    /* In the one spelling of common/http/address.h; whatever depends on an address reads these. */
    struct ps_str path;                  /* origin-form, '?' excluded */
    struct ps_str query;                 /* without '?', "" when absent */
    struct ps_str sent_path, sent_query; /* as they came */
    struct ps_str header[SRV_H_COUNT]; /* without white space around it; .at == NULL when absent */
    uint8_t header_lines[SRV_H_COUNT]; /* 0 or 1, more are refused; X-Forwarded-For and
                                          Penstock-Rehearsal may appear more often, and the lines
                                          of If-Match and If-None-Match are joined */
    struct ps_str forwarded_for[SRV_FORWARDED_MAX]; /* the lines of X-Forwarded-For, in order */
    struct ps_str body;                             /* any bytes */
    char *made; /* private: what of the above does not lie in the head */
    /* The whole head, for forwarding; NULL if a body was read before the request was handed over.
     * Offsets are from `base`. */
    const struct ps_http_head *head;
    const char *base;
    bool in_parts;    /* the body comes by on_part; `body` is empty */
    bool at_once;     /* on_head sets it: hand the request over before any of its body has come */
    bool is_upload;   /* with in_parts: handed over before its whole body had arrived */
    bool is_late;     /* with on_gone: it was cut, since it sent or took too little */
    int64_t body_len; /* with in_parts: Content-Length; -1: it is chunked */
    size_t body_max;  /* srv_settings.body_max; on_head may lower it */
    bool oversized; /* the body is larger than body_max and was dropped: answer 404, 405, 413 or the
                       like at once; the connection ends then */
    struct ps_address peer; /* of the TCP connection; of a Unix socket all zero; or what the
                               connection's PROXY header says instead */
    bool trusted;  /* who sends it is a trusted proxy: what it says of the user and of what is asked
                      for counts. With a PROXY header that is the connection's own peer, and the
                      header's address or proxy_trusts_clients */
    bool forwards; /* `peer` is a trusted proxy: what it says of the client's address counts */
    int64_t arrived_ns; /* monotonic: the turn of the loop in which the head was complete */
    int64_t now_ns;     /* the same clock, when the request is handed over */
    int64_t
        waited_ns; /* the longest time that its last bytes may have waited unread until now_ns */
    bool overdue;  /* it waited longer than others: best refuse it, with a short answer */
    /* The client's when it is 1-64 bytes of [A-Za-z0-9._-], else a new UUIDv7. */
    struct ps_str request_id;
    /* For the layer above: zeroed when the head is complete; size given to srv_http_new. */
    void *user;
};

/* The wall clock as of the loop's turn: cheap. */
int64_t srv_wall_ms(const struct srv_request *request);

/* Called once for each request. It must call srv_answer* or srv_suspend before it returns. */
typedef void srv_handler_fn(struct srv_request *request, void *ctx);

/* Refusals by the server, for the metrics: the handler is not called. `verdict` is one of enum
 * ans_verdict (malformed, too_large, request_timeout, uri_too_long, headers_too_large,
 * too_many_connections, shed, draining). */
typedef void srv_refused_fn(int verdict, void *ctx);

/* What came of a connection that must begin with a PROXY header. */
enum srv_proxy_result {
    SRV_PROXY_V1,
    SRV_PROXY_V2,
    SRV_PROXY_OWN,  /* of either version: the connection is the proxy's own, as a health check is */
    SRV_PROXY_LEFT, /* the client has left before its end */
    SRV_PROXY_UNTRUSTED,
    SRV_PROXY_MALFORMED,
    SRV_PROXY_LATE,
    SRV_PROXY_RESULTS
};

struct srv_settings {
    int64_t head_timeout_ms;    /* 5000; from accept or, on a kept connection, after idle */
    int64_t body_timeout_ms;    /* 10000 */
    int64_t send_timeout_ms;    /* 10000; 0: as body_timeout_ms */
    int64_t idle_timeout_ms;    /* 15000 */
    int64_t idle_trusted_ms;    /* 75000, for peers that is_trusted or srv_trust accepts */
    size_t connections_soft;    /* above: 503 too_many_connections and close */
    size_t connections_hard;    /* further ones wait in the kernel's queue */
    size_t connections_address; /* for one address (IPv6: for a /64, and 4 times as many for a /48),
                                   trusted ones exempt: above 503; 0 = no cap */
    bool makes_room; /* without a free place or slot, close the untrusted connection that was silent
                        for longest in favour of a new one; first those that got an answer */
    size_t
        requests_max;  /* slots; a request has one from its request line until its answer is sent */
    size_t turn_max;   /* requests of one connection served in a turn of the loop; 0: 32 */
    size_t head_max;   /* bytes of a head, request line included: more is 431 */
    size_t target_max; /* with is_page: bytes of a page's request target; more is 414 */
    size_t body_max;   /* SRV_PUBLIC_BODY_MAX or 1 MiB */
    /* Bodies in parts of up to this many bytes are gathered before their request is handed over, as
     * long as all of them together have at most SRV_GATHERED_MAX. 0: none are. */
    size_t gather_max;
    size_t user_size;
    /* While a round over all connections takes at most round_ns, they are served in turn. While it
     * takes longer, bytes that may have waited longer than wait_ns are left unread as long as there
     * are newer ones. wait_ns 0: always serve in turn. */
    int64_t wait_ns, round_ns;
    const char *client_ip_header; /* NULL = none */
    /* Each connection of a trusted peer must begin with a PROXY header of these versions, and no
     * other peer may connect. Not OFF: on_proxy must be set. */
    enum ps_proxy_versions proxy_versions;
    bool proxy_trusts_clients; /* whatever address a PROXY header has, its sender is trusted */
    int64_t hold_ns;           /* accept nobody before srv_http_open, but for this long at most */
    srv_handler_fn *on_request;
    srv_refused_fn *on_refused;
    void *ctx; /* of all callbacks */
    /* `why` is NULL, or what is wrong with the header. */
    void (*on_proxy)(enum srv_proxy_result result, const struct ps_address *peer, const char *why,
                     void *ctx);
    /* Is this a page of the shop? Its address may have what browsers send (ps_http_is_odd). NULL:
     * none is. */
    bool (*is_page)(struct ps_str path);
    /* May this path be requested without Host, by HTTP/1.0, as simple load balancers do? NULL:
     * no. */
    bool (*needs_no_host)(struct ps_str path);
    /* `peer` is all zero for a Unix socket. NULL: nobody is trusted. */
    bool (*is_trusted)(const struct ps_address *peer, void *ctx);
    /* The client of a kept request has left, or the server ends: the owner must forget the request,
     * and its handle is stale. Also called for a request that on_head has seen and that ends before
     * it is handed over. NULL: the owner may continue with the request; its answer is dropped. */
    void (*on_gone)(struct srv_request *request, void *ctx);
    /* Called when an untrusted connection becomes idle: may it stay idle for long? Else it is
     * closed after a second. NULL: yes. */
    bool (*keeps_idle)(void *ctx);
    /* A head is complete, and `user` is zeroed: decides how the request is handled. True: its body,
     * if any, comes in parts, of any length. NULL: never. Then the request is handed over, at once
     * or with its whole body; or on_gone follows. */
    bool (*on_head)(struct srv_request *request, void *ctx);
    /* A part of a kept request's body; `last`: nothing follows, and `part` may be empty. False: no
     * more until srv_resume. */
    bool (*on_part)(struct srv_request *request, struct ps_str part, bool last, void *ctx);
    /* The loop is about to poll: how long it was away from its poll, perhaps some ms too little.
     * NULL: not measured. */
    void (*on_turn)(int64_t turn_ns, void *ctx);
    /* The client has read all parts of the answer so far. NULL: nobody waits for that. */
    void (*on_room)(struct srv_request *request, void *ctx);
    const struct ps_clock *clock;
};

/* A bound and listening socket, non-blocking. */
struct srv_door {
    int fd;
    bool shared; /* other servers accept from it too: this one takes one connection at a time */
};

/* The sockets of `doors` are owned by the server afterwards (on an error they stay the caller's).
 * The strings of `settings` must outlive the server. It starts accepting
 * on the loop's next turn. */
int srv_http_new(uv_loop_t *loop, const struct srv_door *doors, size_t door_count,
                 const struct srv_settings *settings, struct srv_http **ret_http) PS_MUST_CHECK;

/* Accepts from now on, whatever srv_settings.hold_ns says. */
void srv_http_open(struct srv_http *http);
/* From now on every answer closes its connection, so that no client sends its next request to a
 * server that has gone. */
void srv_http_leave(struct srv_http *http);
/* Stops listening: accepts what is queued, then closes the listen sockets. Includes srv_http_leave.
 */
void srv_drain(struct srv_http *http);
size_t srv_http_connections(const struct srv_http *http);
/* Requests that the handler has with their whole body, and whose answer has not begun: not those
 * whose client still sends or reads. */
size_t srv_in_flight(const struct srv_http *http);
/* The same, plus requests whose first line has arrived and that are not complete yet, or that are
 * left unread. */
size_t srv_http_begun(const struct srv_http *http);
/* A connection is so new that its first request may be on its way. */
bool srv_http_expects(const struct srv_http *http);
/* Answers every kept request with 503 draining and closes all connections. Not from within the
 * handler. The memory is freed when the loop has closed the handles. NULL is allowed. */
void srv_http_free(struct srv_http *http);

/* Figures of the listener's thread since the last call. On that thread only. */
struct srv_load {
    uint64_t requests; /* handed over */
    int64_t waited_ns; /* sum over all of them */
    uint64_t refused;  /* requests answered with 400 and above */
    uint64_t left;     /* connections left unread in favour of newer ones */
    uint64_t closed;   /* of these: closed because their client left, or at their deadline */
    bool late;         /* a round takes too long */
    size_t unread;     /* now */
    int64_t unread_ns; /* how long the oldest of them has waited; 0: none */
};
void srv_http_load(struct srv_http *http, struct srv_load *ret_load);
/* Sets srv_settings.wait_ns. */
void srv_http_set_wait(struct srv_http *http, int64_t wait_ns);

/* Keeps the request beyond the handler. Other threads may hold its handle; srv_find returns the
 * request, or NULL if the handle is stale: the request is answered or gone. */
uint64_t srv_suspend(struct srv_request *request);
struct srv_request *srv_find(struct srv_http *http, uint64_t handle);

/* A request that nobody has sent, read by the rules of this server. */
struct srv_described {
    struct ps_http_head head;
    struct srv_request request; /* what its head says: points into `text` and `head` */
    int verdict;                /* of a head that would be refused, one of enum ans_verdict ... */
    const char *why;            /* ... and what is wrong with it, perhaps in `text` */
    char text[SRV_WHY_SIZE];
};
/* False: it would be refused. `text` is the whole head. Then srv_described_free. */
bool srv_request_describe(const struct srv_http *http, struct ps_str text,
                          struct srv_described *ret_described);
void srv_described_free(struct srv_described *described);

/* The client has authenticated: its connection is trusted from now on. */
void srv_trust(struct srv_request *request);

/* --- Answers. All copy what they are given, unless said otherwise, and all but a shared one carry
 * X-Request-Id. To HEAD, and with 304, the body is not sent but its length is: give the body that
 * GET or 200 would have. --- */

/* Adds a header field to the coming answer. `name` must be a literal; an empty value leaves the
 * field out. If the value is malformed or does not fit, the connection is reset instead of the
 * answer. */
void srv_answer_header(struct srv_request *request, const char *name, const char *value,
                       size_t len);
/* The slot's memory for the body: write into it, then call srv_answer with the buffer. */
struct ps_buf srv_answer_body(struct srv_request *request);
/* Sends an answer. `body` is what srv_answer_body returned (not copied), or a literal. `close`:
 * closes the connection after it. */
void srv_answer(struct srv_request *request, int status, const char *content_type,
                struct ps_str body, bool close);
/* Sends a heap body and frees it afterwards (admin). */
void srv_answer_heap(struct srv_request *request, int status, const char *content_type, char *body,
                     size_t len);

/* A complete answer that is built once and sent often (status page): reference counted, one thread.
 * Headers are name, value, name, value, NULL. */
int srv_shared_answer_new(int status, const char *const *headers, struct ps_str body,
                          struct srv_shared_answer **ret_answer) PS_MUST_CHECK;
void srv_shared_answer_unref(struct srv_shared_answer *answer); /* NULL is allowed */
void srv_answer_shared(struct srv_request *request, struct srv_shared_answer *answer);

/* --- Bodies of any length, in parts. A request whose body comes in parts is handed over when a
 * short body is whole (gather_max), or else with its head, as an upload. Its handler keeps it, and
 * gets the parts; or answers at once, and the connection of an upload ends with that. A client that
 * does not send 16 KiB, or the rest, within body_timeout_ms, or does not take 16 KiB of an answer
 * within send_timeout_ms, is cut. Any of these calls may find that the client has left: then
 * on_gone is called before it returns. --- */

/* The owner can take more parts of the body. */
void srv_resume(struct srv_request *request);

/* Sends a part; copies what the client does not take at once. False: 64 KiB are waiting; on_room
 * follows, or on_gone. If the parts exceed the announced length, the connection is reset. */
bool srv_answer_part(struct srv_request *request, struct ps_str part);
/* The same for the last part, which may be empty. The request is answered. If all parts are shorter
 * than announced, the connection is reset, so that nobody takes the answer for complete. */
void srv_answer_last(struct srv_request *request, struct ps_str part);
/* Ends the answer without another part. Not `whole`: resets the connection. */
void srv_answer_end(struct srv_request *request, bool whole);

/* For answers that have no end. How many bytes the client's kernel has not acknowledged (over a
 * Unix socket: the client has not read) yet: while there are some, its owner may leave parts out.
 */
size_t srv_answer_unsent(const struct srv_request *request);
/* Has the client left, though the owner still keeps the request? It ends it by srv_answer_end. */
bool srv_answer_is_left(const struct srv_request *request);
/* The kernel keeps about this many bytes for the client, instead of some MiB. */
void srv_answer_bound(struct srv_request *request, int bytes);

/* An answer made by somebody else. */
struct srv_forward {
    int status;
    struct ps_str fields; /* lines with their CRLF, without framing and X-Request-Id */
    bool is_dated;        /* the fields include Date */
    int64_t len; /* of the body; -1: not known. Then it is sent in chunks; to HTTP/1.0, until the
                    connection ends */
};
/* Begins the answer of a kept request with this head and the first part of the body, or all of it;
 * both leave in one piece. Otherwise as srv_answer_part and srv_answer_last. */
bool srv_answer_forward(struct srv_request *request, const struct srv_forward *head,
                        struct ps_str part, bool last);
/* The same for a body that stays in place until `release(held)`, which is called once, maybe at
 * once. The request need not be kept. `head->len` is the body's length. */
void srv_answer_held(struct srv_request *request, const struct srv_forward *head,
                     struct ps_str body, void (*release)(void *held), void *held);
/* Sends an interim answer, 103, to a kept request whose answer has not begun. */
void srv_answer_interim(struct srv_request *request, int status, struct ps_str fields);

/* Opens the sockets of one address for `count` threads (SO_REUSEPORT each), after one bind without
 * it has shown that the port is free. `host` is a numeric address. Port 0 takes a free port, the
 * same for all; *ret_port receives it. PS_E_BUSY: taken, PS_E_PERMISSION, PS_E_INVALID. */
int srv_listen(const char *host, uint16_t port, size_t count, int *ret_fds,
               uint16_t *ret_port) PS_MUST_CHECK;

#endif
