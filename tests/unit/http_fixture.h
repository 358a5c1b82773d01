/* A server under test on a loop and thread of its own, and a raw client that blocks for so long at
 * most. */
#ifndef HTTP_FIXTURE_H
#define HTTP_FIXTURE_H

#include "gateway/server/http.h"
#include "gateway/answers/verdict.h"

#include <stdatomic.h>

#define HTTP_PATIENCE_MS 30000

struct http_fixture {
    struct srv_settings settings; /* change between init and start */
    /* Instead of the handler below; set between init and start. */
    void (*handle)(struct srv_request *request, void *ctx);
    void *handle_ctx;
    uint16_t port;
    atomic_size_t handled;                    /* requests that reached the handler */
    atomic_size_t refused[ANS_VERDICT_COUNT]; /* as told by the server */
    atomic_size_t connections;                /* as of the last turn of the loop */
    atomic_size_t in_flight, begun;
    atomic_size_t turns;           /* of the loop */
    atomic_size_t longest_turn_us; /* as told by the server */
    atomic_size_t gone;            /* kept requests whose client has left, as told by the server */
    atomic_size_t gone_early;      /* those that ended between their head and their last byte */
    atomic_size_t released;        /* held bodies */
    atomic_size_t at_gate;         /* requests that have come to /gate */
    atomic_bool gate_is_open;
    atomic_bool answers_kept; /* requests to /kept */
    struct http_server *server;
};

/* Settings for a quick test: timeouts long, limits generous. */
void http_fixture_init(struct http_fixture *fixture);
void http_fixture_start(struct http_fixture *fixture);
/* Begins an answer of a kept request, in parts. */
void http_begin_answer(struct srv_request *request, int64_t len);
/* Both also let go who waits at the gate, when the server has the word. */
void http_fixture_drain(struct http_fixture *fixture);
/* Frees the server, lets the loop end and joins its thread. */
void http_fixture_stop(struct http_fixture *fixture);

/* The handler knows these paths:
 *   /hold        keeps the request until the server is freed
 *   /kept        keeps it until the test has it answered
 *   /later?MS    keeps it and answers after MS milliseconds, with its last field as X-Last
 *   /work?MS     works for MS milliseconds, then answers
 *   /heap        a heap body of 100,000 bytes
 *   /held?N      a body of N bytes (at most 100,000) that stays where it is until it is sent
 *   /shared      a shared answer with ETag
 *   /unchanged   304 with the ETag, the body given for its length only
 *   /close       an answer that closes
 *   /nap?MS      keeps the whole loop for MS milliseconds; then how many requests were handled
 *                before it, and "overdue" if it was
 *   /gate        the same, until the gate is open
 *   /problem     429 user_rate with everything a problem can carry
 *   /parts       the body back, in parts, as it comes; with the query "sized" by its length
 *   /early       answers before the body that comes in parts is read
 *   /cut         begins an answer in parts with the first part, and ends it there
 *   any other    200 and what the request looked like, one "name=value" a line */

int http_connect(const struct http_fixture *fixture);
void http_send(int fd, const void *bytes, size_t len);
void http_send_text(int fd, const char *text);

struct http_reply {
    int status; /* 0: the connection ended before an answer */
    char head[4096];
    char body[128 * 1024];
    size_t body_len;
};
/* Reads one answer. `head_only`: to a HEAD request. */
void http_read(int fd, bool head_only, struct http_reply *ret_reply);
/* The value of a field of the answer, or NULL. Valid until the next call. */
const char *http_field(const struct http_reply *reply, const char *name);
/* True when the other side closes within the wait. */
bool http_closed(int fd);
/* Waits until `*count` is at least `least`; false when its patience ends. */
bool http_wait(atomic_size_t *count, size_t least);

#endif
