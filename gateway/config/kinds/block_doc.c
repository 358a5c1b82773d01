/* The two kinds of the blocklist. The name is the blocked user, or the blocked range such as
 * "203.0.113.0/24"; the document holds the end and the reason:
 *
 *   {"until":"2030-11-11T16:00:00.000Z","reason":"a farm"}
 *
 * An `until` of null, or none, means for good. `ttl_s`, seconds from now, may replace it. A range
 * has one canonical form, so that the same range is one entry; in a path its slash is a dash. */
#include "gateway/config/kinds/block_doc.h"

#include <stdio.h>
#include <string.h>

#define TTL_MAX_S  INT64_C(315360000) /* ten years */
#define BLOCKS_MAX 100000             /* users and ranges together */

/* --- Names. --- */

static int user_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (!ps_user_ok(text, len))
        return PS_E_INVALID;
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    return 0;
}

static int range_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    char copy[64], address[46];
    struct ps_cidr range;

    if (len >= sizeof copy)
        return PS_E_INVALID;
    memcpy(copy, text, len);
    char *dash = memrchr(copy, '-', len);
    if (dash != NULL)
        *dash = '/';
    if (ps_cidr_parse(copy, len, &range) < 0)
        return PS_E_INVALID;
    ps_address_format(&range.address, address);
    int bits = ps_address_is_v4(&range.address) ? range.bits - PS_V4_BITS : range.bits;
    (void)snprintf(ret_name, CFG_NAME_MAX + 1, "%s/%d", address, bits);
    return 0;
}

/* --- Documents. --- */

/* The end: `until`, or now plus `ttl_s`. */
static void check_until(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_block *block = object;

    if (block->until_ms <= reading->now_ms)
        ps_table_fault(at, "until", "has passed already");
    if (block->ttl_s == 0)
        return;
    if (ps_table_has(at, "until"))
        ps_table_fault(at, "ttl_s", "must be absent beside until: give one of the two");
    else if (reading->now_ms > 0)
        block->until_ms = reading->now_ms + block->ttl_s * 1000;
    block->ttl_s = 0;
}

/* A range of 0 bits would block every buyer of an address family. */
static void check_range(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_block *block = object;

    check_until(at, object);
    if (ps_cidr_parse(reading->name, strlen(reading->name), &block->range) < 0)
        ps_table_fault(at, "", "the name must be a range");
    else if (reading->now_ms > 0 && ps_cidr_is_everybody(&block->range))
        ps_table_fault(at, "",
                       "the range%s %s contains every address; pause the sales to stop all buyers",
                       reading->pointer[0] == '\0' ? " in the path:" : "", reading->name);
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_block, field)
#define ROWS \
    {"until", PS_M_TIME, AT(until_ms), .flags = PS_M_NULLABLE, .text = {"When the entry ends by itself; null: never", "条目自动失效的时间；null：永不"}}, \
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_NULLABLE | PS_M_INPUT, .min = 1, .max = TTL_MAX_S, .unit = {"s"}, .example = "3600", .text = {"Instead of until: seconds from now", "代替 until：从现在起的秒数"}}, \
    {"reason", PS_M_STRING, AT(reason), .flags = PS_M_NULLABLE, .max = CFG_REASON_MAX, .format = &ps_format_text, .example = "\"a farm\"", .text = {"Why, for people; buyers do not see it", "原因，供内部查看；买家看不到"}}
#define SHOWN_ROWS \
    {"created_at", PS_M_TIME, .flags = PS_M_READ_ONLY, .text = {"When the entry was made", "条目的创建时间"}}, \
    {"by", PS_M_STRING, .flags = PS_M_READ_ONLY, .text = {"The token that made it", "由哪个 token 创建"}}

static const struct ps_member user_rows[] = {
    ROWS,
    {"user", PS_M_STRING, .flags = PS_M_READ_ONLY, .text = {"The blocked user", "被拒绝的用户"}},
    SHOWN_ROWS,
};
static const struct ps_member range_rows[] = {
    ROWS,
    {"range", PS_M_STRING, .flags = PS_M_READ_ONLY, .text = {"The blocked range of addresses", "被拒绝的地址段"}},
    SHOWN_ROWS,
};
/* clang-format on */
static const struct ps_table user_table = {.title = "blocked user",
                                           .members = user_rows,
                                           .count = PS_ARRAY_LEN(user_rows),
                                           .size = sizeof(struct cfg_block),
                                           .check = check_until};
static const struct ps_table range_table = {.title = "blocked range",
                                            .members = range_rows,
                                            .count = PS_ARRAY_LEN(range_rows),
                                            .size = sizeof(struct cfg_block),
                                            .check = check_range};

static int block_show(const struct cfg_doc *doc, json_t *json)
{
    return json_object_set_new(json, doc->kind == &cfg_kind_user ? "user" : "range",
                               json_string(doc->name)) |
           json_object_set_new(json, "created_at", ps_json_of_time(doc->created_at_ms)) |
           json_object_set_new(json, "by", json_string(doc->by.who));
}

const struct cfg_kind cfg_kind_user = {
    .path = "blocklist/users",
    .id = "block_user",
    .word = "blocked user",
    .name_rule = "a user: 1 to 128 bytes of UTF-8 without control characters or white space, "
                 "percent-encoded",
    .listed = "users",
    .put = "block.user",
    .drop = "unblock.user",
    .max = BLOCKS_MAX,
    .max_with = "blocklist/ips",
    .may_be_empty = true,
    .keeps_reason = true,
    .table = &user_table,
    .name = user_name,
    .show = block_show,
    .ends = true,
    .end_is_final = true,
    .until_at = offsetof(struct cfg_block, until_ms),
};

const struct cfg_kind cfg_kind_range = {
    .path = "blocklist/ips",
    .id = "block_ip",
    .word = "blocked range",
    .name_rule = "a range: {address}-{bits}, no bits set below the prefix",
    .listed = "ips",
    .put = "block.ip",
    .drop = "unblock.ip",
    .max = BLOCKS_MAX,
    .max_with = "blocklist/users",
    .may_be_empty = true,
    .keeps_reason = true,
    .table = &range_table,
    .name = range_name,
    .show = block_show,
    .ends = true,
    .end_is_final = true,
    .until_at = offsetof(struct cfg_block, until_ms),
};
