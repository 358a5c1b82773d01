/* What a worker keeps for its cases, and a case from its question to its end. run.c and page.c ask
 * the gates. */
#include "gateway/explain/case_internal.h"

#include <stdlib.h>

int exp_explainer_new(const struct pub_listener *listener, const struct srv_http *http,
                      struct exp_explainer **ret_explainer)
{
    struct exp_explainer *explainer = calloc(1, sizeof *explainer);

    if (explainer == NULL)
        return PS_E_NOMEM;
    explainer->listener = listener;
    explainer->http = http;
    int err = adm_look_sink_init(&explainer->sink, ps_clock_mono_ns(listener->clock));
    if (err < 0) {
        free(explainer);
        return err;
    }
    *ret_explainer = explainer;
    return 0;
}

void exp_explainer_free(struct exp_explainer *explainer)
{
    if (explainer == NULL)
        return;
    adm_look_sink_done(&explainer->sink);
    free(explainer);
}

struct exp_case *exp_case_new(const struct exp_question *question, exp_end_fn *on_end, void *ctx)
{
    struct exp_case *asked = calloc(1, sizeof *asked);

    if (asked == NULL)
        return NULL;
    asked->question = question;
    asked->on_end = on_end;
    asked->ctx = ctx;
    asked->gates = json_array();
    return asked;
}

void exp_case_free(struct exp_case *asked)
{
    if (asked == NULL)
        return;
    json_decref(asked->gates);
    json_decref(asked->page);
    srv_described_free(&asked->described);
    free(asked);
}

void exp_case_end(struct exp_case *asked, enum ans_verdict verdict)
{
    asked->verdict = verdict;
    if (verdict != ANS_V_page) /* whose status is the page's */
        asked->status = ans_verdicts[verdict].status;
    asked->on_end(asked, asked->ctx);
}
