/* See watch.h. */
#include "gateway/config/kinds/watch.h"

#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

static int watch_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (!ps_user_ok(text, len))
        return PS_E_INVALID;
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    return 0;
}

static void check(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_watch *watch = object;

    if (watch->ttl_s > 0)
        watch->until_ms = reading->now_ms + watch->ttl_s * 1000;
    else if (watch->until_ms == 0)
        ps_table_fault(at, "ttl_s", "is missing: say for how many seconds");
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_watch, field)
static const struct ps_member members[] = {
    {"until", PS_M_TIME, AT(until_ms), .text = {"When it ends by itself", "自动结束的时间"}},
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_INPUT, .min = 1, .max = CFG_WATCH_TTL_MAX_S, .unit = {"s"}, .example = "600", .text = {"For how long", "持续多久"}},
    {"reason", PS_M_STRING, AT(reason), .flags = PS_M_INPUT | PS_M_NULLABLE, .max = CFG_REASON_MAX, .format = &ps_format_text, .text = {"Why, for the audit log", "修改原因，记入审计日志"}},
};
/* What PUT takes is the same but for the end. */
static const struct ps_table asked = {.title = "watch",
                                      .members = members + 1,
                                      .count = PS_ARRAY_LEN(members) - 1,
                                      .size = sizeof(struct cfg_watch),
                                      .check = check};
/* clang-format on */
static const struct ps_table table = {.title = "watch",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_watch),
                                      .check = check};

int cfg_watch_ask(const json_t *json, int64_t now_ms, struct cfg_watch *ret_watch,
                  struct ps_faults *faults)
{
    const struct cfg_reading reading = {.pointer = "", .now_ms = now_ms, .name = ""};
    const struct ps_table_source source = {.json = json, .pointer = "", .ctx = &reading};

    *ret_watch = (struct cfg_watch){0};
    int err = ps_table_read(&asked, &source, ret_watch, faults);
    free(ret_watch->reason); /* the caller has it */
    ret_watch->reason = NULL;
    return err;
}

json_t *cfg_watch_write(const struct cfg_watch *watch)
{
    return ps_table_print(&table, watch);
}

static const char *watch_ended(const void *parsed)
{
    (void)parsed;
    return "watch.expire";
}

const struct cfg_kind cfg_kind_watch = {
    .path = "watches",
    .word = "watch",
    .name_rule = "a user: 1 to 128 bytes of UTF-8 without control characters or white space, "
                 "percent-encoded",
    .listed = "watches",
    .put = "watch.put",
    .drop = "watch.delete",
    .max = CFG_WATCHES_MAX,
    .is_private = true,
    .has_no_history = true,
    .ends_at_once = true,
    .name = watch_name,
    .table = &table,
    .ends = true,
    .until_at = offsetof(struct cfg_watch, until_ms),
    .ended = watch_ended,
};
