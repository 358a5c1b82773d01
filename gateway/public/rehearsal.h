/* Is a request a rehearsal? Its mark (common/text/mark.h) says so, or nothing does. */
#ifndef PUB_REHEARSAL_H
#define PUB_REHEARSAL_H

#include "gateway/config/kinds/rehearsal_key.h"
#include "gateway/public/client.h"

/* Why a mark is not believed; in order of pub_rehearsal_refusals. */
enum pub_rehearsal_result {
    PUB_REHEARSAL_MALFORMED,
    PUB_REHEARSAL_UNKNOWN_KEY, /* revoked or ended, or never made */
    PUB_REHEARSAL_EXPIRED,
    PUB_REHEARSAL_TOO_LONG, /* it would be good for more than PS_MARK_LIFE_MAX_S */
    PUB_REHEARSAL_OTHER_USER,
    PUB_REHEARSAL_FORGED,
    PUB_REHEARSAL_BELIEVED
};

/* The mark that was believed last: those who rehearse send the same one for minutes, and a
 * signature costs more than all the rest of a "no". One thread's; zeroed at first. */
struct pub_rehearsal_seen {
    size_t len; /* 0: none yet */
    char text[PS_MARK_TEXT_MAX];
    struct ps_mark mark;                /* what it says */
    uint8_t secret[PS_MARK_SECRET_LEN]; /* that it is signed with */
};

/* Judges the mark in the request's head, which has one; cheap reasons come first, the signature
 * last, and not again where `seen` has it. A client without a user, who can read status pages only,
 * fits every mark. */
enum pub_rehearsal_result pub_rehearsal_judge(const struct srv_request *request,
                                              const struct pub_client *client,
                                              const struct cfg_rehearsal_keys *keys,
                                              int64_t wall_ms, struct pub_rehearsal_seen *seen);

#endif
