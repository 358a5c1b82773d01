/* What http.c (bytes in), http_head.c (heads) and http_answer.c (answers out) share: the three
 * files that know libmicrohttpd. */
#ifndef SRV_HTTP_PRIVATE_H
#define SRV_HTTP_PRIVATE_H

#include "common/pool.h"
#include "gateway/server/connections.h"
#include "gateway/server/http.h"
#include "gateway/answers/verdict.h"

#include <microhttpd.h>

enum srv_slot_state {
    SRV_SLOT_READING,   /* head or body are not complete, or it was refused */
    SRV_SLOT_HANDED,    /* the handler runs */
    SRV_SLOT_SUSPENDED, /* kept by the handler, in the list of suspended requests */
    SRV_SLOT_ANSWERED   /* being sent, or about to be */
};

struct srv_answer_field {
    const char *name;
    const char *value; /* in header_text */
    size_t len;
};

struct srv_slot {
    struct srv_request request; /* first: a request is its slot */
    struct srv_http *http;
    struct srv_connection *connection;
    struct MHD_Connection *mhd;
    struct srv_slot *prev, *next; /* in the list of suspended requests */
    enum srv_slot_state state;
    bool parked; /* the library has been told to suspend the connection */
    bool chunked;
    bool refused;       /* before it was handed over */
    uint64_t discarded; /* bytes of an oversized body */
    uint64_t run;       /* of the library, in which the request line was read */
    int64_t kept_ns;    /* since when it is kept */
    /* The answer. */
    int status;
    struct MHD_Response *response; /* NULL when answered: no memory, the connection closes */
    struct srv_shared_answer *shared;
    size_t header_count;
    size_t header_used;
    struct srv_answer_field header[SRV_ANSWER_HEADER_MAX];
    const char *raw_target; /* in the library's memory */
    size_t target_len;
    char request_id[PS_UUID_LEN + 1];
    char header_text[SRV_ANSWER_HEADER_TEXT];
    char text[SRV_ANSWER_TEXT_MAX];
    char target[SRV_TARGET_MAX];
    max_align_t rest[]; /* user, then body */
};

struct srv_http {
    struct srv_settings settings;
    srv_handler_fn *on_request;
    srv_refused_fn *on_refused;
    void *ctx;
    struct MHD_Daemon *daemon;
    struct srv_connections *connections;
    struct srv_connection *accepting; /* being handed to the library */
    struct ps_pool *slots;
    struct srv_slot *suspended;
    struct ps_uuid_source ids;
    int64_t date_s; /* for which `date` was printed */
    char date[PS_HTTP_DATE_LEN + 1];
    size_t in_flight;
    size_t user_span;  /* bytes of a slot's `rest` before the body */
    bool ready;        /* the library has work */
    bool pending;      /* it has work left over from its last run */
    bool unsent;       /* an answer was begun that only the next run sends */
    uint64_t runs;     /* of the library */
    size_t lingering;  /* requests that are kept and not parked: see on_kept() in http.c */
    bool crowd;        /* many linger, and the library's descriptor is not polled */
    bool layout_known; /* see on_field in http_head.c */
    bool draining;
    bool closing;
    size_t handles; /* not yet closed; the connections count as one */
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t linger;
};

/* Takes a slot off the list of suspended requests. */
void srv_slot_unlink(struct srv_slot *slot);
/* Gives the answer of a slot to the library; within its callback only. */
enum MHD_Result srv_slot_queue(struct srv_slot *slot);
/* Gives up our hold on the response: it is queued, or its client has gone before. */
void srv_slot_drop_response(struct srv_slot *slot);
/* Answers with a problem of the server's own and closes the connection. Needs no slot; within the
 * library's callback only. `text` is the detail, or NULL. */
enum MHD_Result srv_refuse(struct srv_http *http, struct srv_connection *connection,
                           struct MHD_Connection *mhd, enum ans_verdict verdict, const char *text);
/* Says no on a connection whose request is not complete, past the library, which lets nothing be
 * said then. Its caller ends the connection. */
void srv_refuse_unread(struct srv_http *http, struct srv_connection *connection,
                       enum ans_verdict verdict);
void srv_new_request_id(struct srv_http *http, char ret_text[PS_UUID_LEN + 1]);

/* --- http_head.c --- */

struct srv_head {
    uint64_t content_length; /* 0: none, or more than can be counted: then the most */
    bool chunked;
    enum ans_verdict refusal; /* of a bad one, and */
    const char *why;          /* the first breach in words, or NULL */
};

/* Fills the slot's request from the head. False: it must be refused. */
bool srv_head_read(struct srv_slot *slot, const char *method, const char *version,
                   struct srv_head *ret_head);
/* The first breach in the trailers of a body in chunks, in words, or NULL. */
const char *srv_head_trailer_fault(struct MHD_Connection *mhd);

#endif
