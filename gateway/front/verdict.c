/* The verdict table as data. Everything else about an answer derives from its row. */
#include "gateway/front/verdict.h"

#define GW_VERDICT_ROW(name, status, type, retry, title) {#name, status, type, retry, title},
const struct gw_verdict_row gw_verdicts[GW_VERDICT_COUNT] = {GW_VERDICT_TABLE(GW_VERDICT_ROW)};

#define GW_VERDICT_NAME(name, ...) #name,
const char *const gw_verdict_names[GW_VERDICT_COUNT + 1] = {GW_VERDICT_TABLE(GW_VERDICT_NAME) NULL};
