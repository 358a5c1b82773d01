/* The head of this gateway's audit log goes into the order log once an hour for each open sale:
 * penstock.desk.head.v1. So whoever changes the audit log later would have to change the order log,
 * too, which other machines have. One record at a time; one that the log does not take now is tried
 * again after a minute. */
#include "gateway/admin/audit_internal.h"
#include "gateway/admin/outcomes.h"

#include "gateway/config/store/audit_log.h"

#include <string.h>

#define FIRST_MS INT64_C(60000) /* after the sale was seen as open */
#define AGAIN_MS INT64_C(60000)
#define EVERY_MS INT64_C(3600000)

static bool is_open(const struct sale_entry *sale, int64_t now_ms)
{
    return !sale->stored.doc.rehearsal && sale_view(sale->run)->state == SALE_SERVING &&
           !sale_is_archiving(sale->run) &&
           strcmp(cfg_sale_state_name(&sale->stored.doc, &sale->stored.state, now_ms), "open") == 0;
}

static void on_outcome(enum oq_outcome outcome, struct oq_order *order, void *ctx)
{
    struct op_admin *admin = ctx;
    struct sale_entry *sale =
        sale_list_find(admin->deps.known, admin->head.sale, strlen(admin->head.sale));

    (void)order;
    admin->head.out = false;
    if (sale != NULL && outcome == OQ_REFUSED)
        sale->head_due_ms = ps_clock_wall_ms(admin->deps.clock) + AGAIN_MS;
}

static void append(struct op_admin *admin, struct sale_entry *sale, int64_t now_ms)
{
    const struct op_deps *deps = &admin->deps;
    const char *name = sale->stored.doc.name;
    struct cfg_audit_head head;
    struct oq_ticket ticket;

    cfg_store_audit_head(deps->config, &head);
    const struct oq_event event = {.type = OQ_HEAD,
                                   .sale = ps_str(name),
                                   .epoch = sale_view(sale->run)->epoch,
                                   .at_ms = now_ms,
                                   .gateway = ps_str(deps->gateway_id),
                                   .audit_seq = head.seq,
                                   .head = ps_str(head.hash)};
    int err = op_outcomes_await(admin->outcomes, on_outcome, admin, &ticket);
    ticket.owner = deps->owner;
    if (err == 0 && (err = oq_log_append(deps->log, &event, &ticket)) < 0)
        op_outcomes_forget(admin->outcomes, &ticket);
    sale->head_due_ms = now_ms + (err < 0 ? AGAIN_MS : EVERY_MS);
    admin->head.out = err == 0;
    memcpy(admin->head.sale, name, strlen(name) + 1);
}

void op_heads_tick(struct op_admin *admin)
{
    const struct op_deps *deps = &admin->deps;
    int64_t now_ms = ps_clock_wall_ms(deps->clock);

    for (size_t i = 0; !admin->head.out && i < deps->known->count; i++) {
        struct sale_entry *sale = deps->known->at[i];
        if (!is_open(sale, now_ms))
            sale->head_due_ms = 0;
        else if (sale->head_due_ms == 0 || sale->head_due_ms > now_ms + EVERY_MS)
            sale->head_due_ms = now_ms + FIRST_MS; /* or the clock was set back */
        else if (now_ms >= sale->head_due_ms)
            append(admin, sale, now_ms);
    }
}
