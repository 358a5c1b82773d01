/* See mail.h. */
#include "gateway/mail.h"

#include "common/program/log.h"
#include "gateway/worker.h"

void gw_mail_outcome(const struct oq_ticket *ticket, enum oq_outcome outcome,
                     struct oq_order *order, void *ctx)
{
    const struct gw_mailboxes *mailboxes = ctx;
    struct ps_mail mail = {.kind = GW_MAIL_ORDER,
                           .result = (int32_t)outcome,
                           .handle = ticket->handle,
                           .value = ticket->kind,
                           .ptr = order};
    bool control = ticket->owner == GW_OWNER_CONTROL;

    if (!control)
        mail.value = (uint64_t)ticket->durable_ns;

    /* Expiry and the sweep do not wait for theirs: thousands of them, when a sale's payment time
     * ends, must not displace an outcome that somebody waits for. */
    if (control && ticket->handle == 0)
        return;
    if ((control ? ps_mailbox_post(mailboxes->control, &mail)
                 : gw_worker_post(mailboxes->workers->at[ticket->owner], &mail)) < 0)
        ps_log(PS_LOG_ERROR, "outcome_not_delivered", PS_F_INT("owner", ticket->owner));
}

void gw_mail_log_state(bool available, void *ctx)
{
    const struct gw_mailboxes *mailboxes = ctx;

    (void)!ps_mailbox_post(mailboxes->control,
                           &(struct ps_mail){.kind = GW_MAIL_STATE, .value = available});
}
