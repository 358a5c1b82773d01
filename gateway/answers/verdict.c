/* The verdict table as data. Everything else about an answer derives from its row. */
#include "gateway/answers/verdict.h"

#define ANS_VERDICT_ROW(name, ...) {#name, __VA_ARGS__},
const struct ans_verdict_row ans_verdicts[ANS_VERDICT_COUNT] = {ANS_VERDICT_TABLE(ANS_VERDICT_ROW)};

#define ANS_VERDICT_NAME(name, ...) #name,
const char *const ans_verdict_names[ANS_VERDICT_COUNT + 1] = {ANS_VERDICT_TABLE(ANS_VERDICT_NAME)
                                                                  NULL};
