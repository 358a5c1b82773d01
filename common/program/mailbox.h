/* Messages to a thread that runs a uv loop: a bounded queue of small messages with many producers
 * and one consumer, drained completely on each wake (uv_async_send coalesces). */
#ifndef PS_MAILBOX_H
#define PS_MAILBOX_H

#include "common/defs.h"

#include <uv.h>

struct ps_mail {
    uint32_t kind;   /* chosen by the receiver's module */
    int32_t result;  /* an error code or an enum */
    uint64_t handle; /* its subject (ps_pool handle), so that a stale one is recognized */
    uint64_t value;
    void *ptr; /* ownership depends on the kind */
};

/* uv_async_send for what this thread has just published. It looks with a plain load whether a wake
 * is under way already; without the full barrier here that load may come before the publication is
 * visible: the handler under way misses it, and nothing wakes the loop again (seen about once in
 * 100,000 times when two threads post at the same moment). Any thread. */
void ps_wake(uv_async_t *async);

struct ps_mailbox;
typedef void ps_mail_fn(const struct ps_mail *mail, void *ctx);
typedef void ps_mail_drained_fn(void *ctx);

/* `capacity` is rounded up to a power of two. `on_mail` runs on the loop's thread, once a message,
 * in order for each producer; `on_drained` (may be NULL) after each drain. */
int ps_mailbox_new(uv_loop_t *loop, size_t capacity, ps_mail_fn *on_mail,
                   ps_mail_drained_fn *on_drained, void *ctx,
                   struct ps_mailbox **ret_mailbox) PS_MUST_CHECK;
/* Any thread, no lock, no wait. PS_E_FULL: nothing was queued. */
int ps_mailbox_post(struct ps_mailbox *mailbox, const struct ps_mail *mail) PS_MUST_CHECK;
/* The loop's thread, when no other thread can post any more. Undelivered messages are dropped; the
 * handle closes on the loop's next turn, then memory is freed. NULL is allowed. */
void ps_mailbox_close(struct ps_mailbox *mailbox);

#endif
