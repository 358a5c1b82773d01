/* One answer to a click, read as its bytes come. */
#ifndef LT_RESPONSE_H
#define LT_RESPONSE_H

#include "common/err.h"
#include "common/http/chunks.h"

#define LT_BODY_KEPT       1024
#define LT_CACHE_WORD_SIZE 16

struct lt_response {
    /* Out, when it is complete. */
    int status;
    bool keep_alive;
    bool replayed;  /* it says Idempotency-Replayed */
    bool rehearsal; /* it says Penstock-Rehearsal: the request's mark was believed */
    char cache[LT_CACHE_WORD_SIZE]; /* what the nearest cache says of it in Cache-Status (RFC 9211):
                                       "hit", or why not: "miss", "stale"...; "": nothing */
    size_t body_len;
    char body[LT_BODY_KEPT]; /* the beginning */
    /* Inside. */
    bool in_body;
    enum ps_http_framing framing;
    uint64_t left;
    struct ps_http_chunks chunks;
    char *head; /* what has come of a head that is not complete */
    size_t head_len;
};

/* For the next answer; a zeroed one is allowed. */
void lt_response_reset(struct lt_response *response);
/* Takes bytes. PS_E_CORRUPT: not HTTP, or bytes behind the answer; PS_E_NOMEM. */
int lt_response_read(struct lt_response *response, const char *data, size_t len,
                     bool *ret_complete) PS_MUST_CHECK;
/* The connection has ended: is the answer complete with that? */
bool lt_response_ends(const struct lt_response *response);

#endif
