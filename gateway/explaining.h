/* Questions of operators to the workers: what would this request get? (explain/README.md). The
 * control thread. */
#ifndef GW_EXPLAINING_H
#define GW_EXPLAINING_H

#include "gateway/explain/case.h"
#include "gateway/worker.h"

struct gw_ask;

struct gw_explaining {
    const struct gw_workers *workers;
    struct ps_mailbox *control; /* where the workers answer */
    /* All have answered; `answer` is taken over (NULL: out of memory). */
    void (*on_answer)(void *ctx, uint64_t handle, json_t *answer);
    void *ctx;
    LIST_HEAD(, gw_ask) under_way;
};

/* Asks every worker; takes the question over in any case. on_answer follows with this handle.
 * PS_E_BUSY: no worker takes mail; PS_E_NOMEM. */
int gw_explaining_ask(struct gw_explaining *explaining, struct exp_question *question,
                      uint64_t handle) PS_MUST_CHECK;
/* GW_MAIL_EXPLAIN has arrived. */
void gw_explaining_mail(struct gw_explaining *explaining, const struct ps_mail *mail);
/* The workers have ended: frees what they did not answer. */
void gw_explaining_done(struct gw_explaining *explaining);

#endif
