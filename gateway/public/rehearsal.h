/* Whether a request is a rehearsal: only its mark (common/text/mark.h) decides. */
#ifndef PUB_REHEARSAL_H
#define PUB_REHEARSAL_H

#include "gateway/config/kinds/rehearsal_key.h"
#include "gateway/public/client.h"

/* Why a mark is not accepted; in the order of pub_rehearsal_refusals. */
enum pub_rehearsal_result {
    PUB_REHEARSAL_MALFORMED,
    PUB_REHEARSAL_UNKNOWN_KEY, /* revoked, expired, or never made */
    PUB_REHEARSAL_EXPIRED,
    PUB_REHEARSAL_TOO_LONG, /* valid for longer than PS_MARK_LIFE_MAX_S */
    PUB_REHEARSAL_OTHER_USER,
    PUB_REHEARSAL_FORGED,
    PUB_REHEARSAL_BELIEVED
};

/* The last accepted mark. A rehearsal sends the same one for minutes, and checking a signature
 * costs more than all the rest of a refusal. One thread's; zeroed at first. */
struct pub_rehearsal_seen {
    size_t len; /* 0: none yet */
    char text[PS_MARK_TEXT_MAX];
    struct ps_mark mark;                /* its content */
    uint8_t secret[PS_MARK_SECRET_LEN]; /* the key's secret */
};

/* Checks the mark in the request's head, which has one: cheap checks first, the signature last, and
 * not again if `seen` has it. Every mark accepts a client without a user, who can only read status
 * pages. */
enum pub_rehearsal_result pub_rehearsal_judge(const struct srv_request *request,
                                              const struct pub_client *client,
                                              const struct cfg_rehearsal_keys *keys,
                                              int64_t wall_ms, struct pub_rehearsal_seen *seen);

#endif
