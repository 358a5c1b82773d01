/* Any bytes as the body of POST /admin/v1/explain: what is taken is one request, whose head no text
 * has broken out of. */
#include "common/text/json.h"
#include "fuzz.h"
#include "gateway/explain/question.h"

/* The lines of the head, each with CR LF; the last is empty. */
static void check_head(const struct exp_question *question)
{
    const json_t *headers = json_object_get(question->json, "headers");
    const char *at = question->head, *end = at + question->head_len;
    size_t lines = 0;

    MUST(question->head_len > 4 && memcmp(end - 4, "\r\n\r\n", 4) == 0);
    for (; at < end - 2; lines++) {
        const char *stop = memchr(at, '\r', (size_t)(end - at));
        MUST(stop != NULL && stop > at && stop[1] == '\n');
        for (; at < stop; at++)
            MUST((unsigned char)*at >= 0x20 && *at != 0x7f);
        at = stop + 2;
    }
    MUST(json_object_size(headers) <= EXP_HEADERS_MAX);
    MUST(lines == 1 + json_object_size(headers) || lines == 2 + json_object_size(headers));
}

static void check_order(const struct exp_question *question)
{
    struct ps_fault fault = {0};
    json_t *order;

    MUST(question->order_len > 0 && question->order_len <= sizeof question->order);
    MUST(question->sale.len <= PS_NAME_MAX && question->user.len > 0);
    MUST(ps_json_parse(question->order, question->order_len, &order, &fault) == 0);
    MUST(json_object_size(order) == 2);
    MUST(json_string_length(json_object_get(order, "sku")) > 0);
    MUST(json_integer_value(json_object_get(order, "quantity")) > 0);
    json_decref(order);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ps_faults faults = {0};
    struct ps_fault fault = {0};
    struct exp_question question;
    json_t *json;

    if (ps_json_parse((const char *)bytes, size, &json, &fault) < 0)
        return 0;
    if (exp_question_read(json, &question, &faults) < 0) {
        MUST(faults.count > 0 && faults.at[0].text[0] != '\0');
        MUST(question.head == NULL && question.json == NULL);
    } else {
        MUST(faults.count == 0);
        if (question.sale.at != NULL)
            check_order(&question);
        else
            check_head(&question);
        exp_question_done(&question);
    }
    json_decref(json);
    return 0;
}
