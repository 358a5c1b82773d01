/* One answer to a click, read as its bytes arrive. */
#ifndef LT_RESPONSE_H
#define LT_RESPONSE_H

#include "common/err.h"
#include "common/http/chunks.h"

#define LT_BODY_KEPT       1024
#define LT_CACHE_WORD_SIZE 16

struct lt_response {
    /* The result, when it is complete. */
    int status;
    bool keep_alive;
    bool replayed;                  /* it has Idempotency-Replayed */
    bool rehearsal;                 /* it has Penstock-Rehearsal: the request's mark was accepted */
    char cache[LT_CACHE_WORD_SIZE]; /* the nearest cache's word in Cache-Status (RFC 9211): "hit",
                                       or why not: "miss", "stale"...; "": none */
    size_t body_len;
    char body[LT_BODY_KEPT]; /* its beginning */
    /* Private. */
    bool in_body;
    enum ps_http_framing framing;
    uint64_t left;
    struct ps_http_chunks chunks;
    char *head; /* the received part of an incomplete head */
    size_t head_len;
};

/* Prepares for the next answer; a zeroed struct is allowed. */
void lt_response_reset(struct lt_response *response);
/* Takes bytes. PS_E_CORRUPT: not HTTP, or bytes behind the answer; PS_E_NOMEM. */
int lt_response_read(struct lt_response *response, const char *data, size_t len,
                     bool *ret_complete) PS_MUST_CHECK;
/* The connection has ended. True: the answer is complete. */
bool lt_response_ends(const struct lt_response *response);

#endif
