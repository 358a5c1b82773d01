/* See explaining.h. */
#include "gateway/explaining.h"

#include "common/program/log.h"

#include <stdlib.h>

struct gw_ask {
    LIST_ENTRY(gw_ask) entry;
    struct gw_explaining *explaining;
    struct exp_question question;
    uint64_t handle;
    size_t left; /* workers that have not answered */
    struct exp_case *cases[];
};

static void free_ask(struct gw_ask *ask)
{
    for (size_t i = 0; i < ask->explaining->workers->count; i++)
        exp_case_free(ask->cases[i]);
    exp_question_done(&ask->question);
    free(ask);
}

/* A worker's thread. */
static void on_end(struct exp_case *asked, void *ctx)
{
    const struct gw_ask *ask = ctx;

    (void)asked;
    if (ps_mailbox_post(ask->explaining->control,
                        &(struct ps_mail){.kind = GW_MAIL_EXPLAIN, .ptr = ctx}) < 0)
        ps_log(PS_LOG_ERROR, "explanation_not_delivered");
}

int gw_explaining_ask(struct gw_explaining *explaining, struct exp_question *question,
                      uint64_t handle)
{
    const struct gw_workers *workers = explaining->workers;
    struct gw_ask *ask = calloc(1, sizeof *ask + workers->count * sizeof(struct exp_case *));

    if (ask == NULL) {
        exp_question_done(question);
        return PS_E_NOMEM;
    }
    ask->explaining = explaining;
    ask->question = *question;
    ask->handle = handle;
    for (size_t i = 0; i < workers->count; i++) {
        struct exp_case *asked = exp_case_new(&ask->question, on_end, ask);
        if (asked != NULL &&
            gw_worker_post(workers->at[i],
                           &(struct ps_mail){.kind = GW_MAIL_EXPLAIN, .ptr = asked}) == 0) {
            ask->cases[i] = asked;
            ask->left++;
        } else {
            exp_case_free(asked);
        }
    }
    if (ask->left == 0) {
        free_ask(ask);
        return PS_E_BUSY;
    }
    LIST_INSERT_HEAD(&explaining->under_way, ask, entry);
    return 0;
}

void gw_explaining_mail(struct gw_explaining *explaining, const struct ps_mail *mail)
{
    struct gw_ask *ask = mail->ptr;

    if (--ask->left > 0)
        return;
    LIST_REMOVE(ask, entry);
    explaining->on_answer(explaining->ctx, ask->handle,
                          exp_answer(ask->cases, explaining->workers->count));
    free_ask(ask);
}

void gw_explaining_done(struct gw_explaining *explaining)
{
    struct gw_ask *ask;

    while ((ask = LIST_FIRST(&explaining->under_way)) != NULL) {
        LIST_REMOVE(ask, entry);
        free_ask(ask);
    }
}
