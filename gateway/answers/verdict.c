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
