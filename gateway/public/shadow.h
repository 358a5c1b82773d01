/* Shadow copies: a share of a route's GET requests is sent to another pool, too, and what comes
 * back is dropped. Nobody waits for a copy: it is not tried again, finds no place or is left out,
 * and no answer waits for it. It carries Penstock-Shadow: ?1. One thread. */
#ifndef PUB_SHADOW_H
#define PUB_SHADOW_H

#include "gateway/upstream/forward.h"

struct pub_request;
struct pub_shadow;

#define PUB_SHADOWS_MAX 64 /* under way, of one worker */

/* The copies of one worker; all zero: none is under way. */
struct pub_shadows {
    LIST_HEAD(, pub_shadow) all;
    size_t count;
};

/* Sends a copy, if it is this request's turn; `head` as up_call has it, with room behind it for a
 * line. */
void pub_shadow_send(struct pub_request *request, struct ps_buf *head);
/* Ends them all. */
void pub_shadows_cancel(struct pub_shadows *shadows);

#endif
