/* What the files of this room share. */
#ifndef EXP_CASE_INTERNAL_H
#define EXP_CASE_INTERNAL_H

#include "gateway/explain/case.h"
#include "gateway/orders/look.h"
#include "gateway/pages/look.h"

struct exp_explainer {
    const struct pub_listener *listener;
    const struct srv_http *http; /* by whose rules heads are read */
    struct adm_look_sink sink;
};

struct exp_case {
    const struct exp_question *question;
    exp_end_fn *on_end;
    void *ctx;
    /* The answer. */
    enum ans_verdict verdict;
    int status;    /* 0: the shop decides */
    json_t *gates; /* what each has said; NULL: out of memory */
    json_t *page;  /* NULL: it is about an order */
    /* While it runs. */
    struct adm_gates_copy copy;
    struct adm_look look;
    struct ord_deps deps;
    struct ord_look order;
    struct srv_described described;
    struct page_look page_look;
};

/* Ends it: nothing of the case may be used after this. */
void exp_case_end(struct exp_case *asked, enum ans_verdict verdict);
/* page.c: a question with a path. */
void exp_case_path(struct exp_case *asked, const struct exp_explainer *explainer);

#endif
