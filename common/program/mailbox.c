/* The mailbox: a ps_ring of mails and one uv_async. A post publishes first and wakes second, and a
 * wake drains all that is published; a slot that is reserved but not yet published is left to the
 * wake of its own post. So no mail is lost although wakes coalesce. One call of
 * drain_mails() hands out at most one ring full before the loop gets its turn again, so that eager
 * producers cannot starve it. */
#include "common/program/mailbox.h"
#include "common/err.h"
#include "common/ring.h"

#include <stdlib.h>

struct ps_mailbox {
    uv_async_t async;
    struct ps_ring *ring;
    ps_mail_fn *on_mail;
    ps_mail_drained_fn *on_drained;
    void *ctx;
    bool closing;
};

void ps_wake(uv_async_t *async)
{
    __sync_synchronize();
    uv_async_send(async);
}

static void drain_mails(uv_async_t *async)
{
    struct ps_mailbox *mailbox = async->data;
    size_t left = ps_ring_capacity(mailbox->ring);
    const struct ps_mail *front;
    while (left > 0 && !mailbox->closing && (front = ps_ring_front(mailbox->ring)) != NULL) {
        struct ps_mail mail =
            *front; /* copied, so that the slot is free while the mail is handled */
        ps_ring_pop(mailbox->ring);
        mailbox->on_mail(&mail, mailbox->ctx);
        left--;
    }
    if (mailbox->closing)
        return;
    if (left == 0)
        uv_async_send(async);
    if (mailbox->on_drained != NULL)
        mailbox->on_drained(mailbox->ctx);
}

int ps_mailbox_new(uv_loop_t *loop, size_t capacity, ps_mail_fn *on_mail,
                   ps_mail_drained_fn *on_drained, void *ctx, struct ps_mailbox **ret_mailbox)
{
    struct ps_mailbox *mailbox = malloc(sizeof *mailbox);
    if (mailbox == NULL)
        return PS_E_NOMEM;
    *mailbox = (struct ps_mailbox){.on_mail = on_mail, .on_drained = on_drained, .ctx = ctx};
    int err = ps_ring_new(capacity, sizeof(struct ps_mail), &mailbox->ring);
    if (err != 0)
        goto fail;
    err = uv_async_init(loop, &mailbox->async, drain_mails) == 0 ? 0 : PS_E_IO;
    if (err != 0)
        goto fail;
    mailbox->async.data = mailbox;
    *ret_mailbox = mailbox;
    return 0;
fail:
    ps_ring_free(mailbox->ring);
    free(mailbox);
    return err;
}

int ps_mailbox_post(struct ps_mailbox *mailbox, const struct ps_mail *mail)
{
    struct ps_mail *slot = ps_ring_reserve(mailbox->ring);
    if (slot == NULL)
        return PS_E_FULL;
    *slot = *mail;
    ps_ring_publish(mailbox->ring, slot);
    ps_wake(&mailbox->async);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct ps_mailbox *mailbox = handle->data;
    ps_ring_free(mailbox->ring);
    free(mailbox);
}

void ps_mailbox_close(struct ps_mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    mailbox->closing = true;
    uv_close((uv_handle_t *)&mailbox->async, on_closed);
}
