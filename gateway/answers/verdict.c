/* The verdict table as data. Everything else about an answer derives from its row. */
#include "gateway/answers/verdict.h"

/* clang-format off */
#define LITERAL(text) {(text), sizeof(text) - 1}
#define ANS_VERDICT_ROW(name, status, retry, title, ...)                                           \
    {#name, status, retry, title, __VA_ARGS__,                                                     \
     LITERAL("{\"type\":\"urn:penstock:problem:" #name "\",\"title\":\"" title "\",\"status\":" #status), \
     LITERAL(",\"code\":\"" #name "\",\"request_id\":\"")},
/* clang-format on */
const struct ans_verdict_row ans_verdicts[ANS_VERDICT_COUNT] = {ANS_VERDICT_TABLE(ANS_VERDICT_ROW)};

#define ANS_VERDICT_NAME(name, ...) #name,
const char *const ans_verdict_names[ANS_VERDICT_COUNT + 1] = {ANS_VERDICT_TABLE(ANS_VERDICT_NAME)
                                                                  NULL};

const char *const ans_class_names[] = {[ANS_CLASS_ORDER] = "order",
                                       [ANS_CLASS_CONTENT] = "content",
                                       [ANS_CLASS_REFUSED] = "refused",
                                       [ANS_CLASS_UNAVAILABLE] = "unavailable",
                                       NULL};

bool ans_is_public(size_t verdict)
{
    const struct ans_verdict_row *row = &ans_verdicts[verdict];

    return row->audience != ANS_TO_OPERATORS && (row->speaker & ANS_BY_ROUTE) != 0;
}

bool ans_is_early(size_t verdict)
{
    return (ans_verdicts[verdict].speaker & ANS_BY_LISTENER) != 0;
}
