/* Asks the followed gateway, one question at a time, on the calling thread. */
#ifndef SB_CALLER_H
#define SB_CALLER_H

#include "common/defs.h"
#include "common/err.h"

struct sb_caller;

struct sb_reply {
    int status;
    char *body; /* lives until the next call; with a NUL behind it */
    size_t len;
    int64_t last_seq; /* Penstock-Last-Seq; -1 = none */
    int64_t version;  /* ETag; -1 = none */
};

/* `url`: scheme, host and port. The token is read from its file for each call, so that it may
 * change. PS_E_NOMEM, PS_E_INVALID: no URL. */
int sb_caller_new(const char *url, const char *token_file, struct sb_caller **ret_caller,
                  struct ps_fault *fault) PS_MUST_CHECK;
void sb_caller_free(struct sb_caller *caller); /* NULL is allowed */
/* GET. Any HTTP status is a success. PS_E_IO: no answer within 10 s, or none of a gateway;
 * PS_E_FULL: longer than 300 MiB; errors of the token's file as ps_secret_read. */
int sb_caller_get(struct sb_caller *caller, const char *path, struct sb_reply *ret_reply,
                  struct ps_fault *fault) PS_MUST_CHECK;

#endif
