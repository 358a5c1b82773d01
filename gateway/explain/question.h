/* A request as an operator describes it: an order of a sale, or a page. */
#ifndef EXP_QUESTION_H
#define EXP_QUESTION_H

#include "common/err.h"
#include "common/text/address.h"
#include "common/text/json.h"

#define EXP_HEADERS_MAX    64
#define EXP_TEXT_MAX       8192 /* of a path or a header's value */
#define EXP_ORDER_TEXT_MAX 512

struct exp_question {
    struct ps_str user; /* .len == 0: nobody is named */
    struct ps_address address;
    int64_t at_ms; /* wall clock; INT64_MAX: now */
    /* An order. */
    struct ps_str sale; /* .at == NULL: it is about a page */
    char order[EXP_ORDER_TEXT_MAX];
    size_t order_len; /* its body as the buyer would send it */
    /* A page: the head of the request as it would be sent. Heap. */
    char *head;
    size_t head_len;
    json_t *json; /* private: it holds the texts */
};

/* Reads the body of POST /admin/v1/explain; adds all faults. PS_E_INVALID, PS_E_NOMEM: nothing is
 * held. */
int exp_question_read(json_t *json, struct exp_question *ret_question,
                      struct ps_faults *faults) PS_MUST_CHECK;
void exp_question_done(struct exp_question *question); /* all zero is allowed */

#endif
