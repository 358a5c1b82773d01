/* The two kinds of the blocklist, as operators write their entries: who is refused stands in the
 * name (a user, or a range such as "203.0.113.0/24"), until when and why in the document:
 *
 *   {"until":"2030-11-11T16:00:00.000Z","reason":"a farm"}
 *
 * An `until` of null, or none, is for good. Instead of it `ttl_s` may be written, seconds from now.
 * A range is kept in one spelling, so that the same range is one entry; in a path its slash is a
 * dash. */
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TTL_MAX_S  INT64_C(315360000) /* ten years */
#define BLOCKS_MAX 100000             /* users and ranges together */

struct block {
    int64_t until_ms; /* INT64_MAX = for good */
    struct ps_cidr range;
    char reason[]; /* "" = none */
};

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

/* Until when: `until`, or `ttl_s` from now on. */
static void read_until(struct ps_json_reader *reader, int64_t now_ms, int64_t *ret_until_ms)
{
    const json_t *until = ps_json_value(reader, "until"), *ttl = ps_json_value(reader, "ttl_s");
    int64_t ttl_s = 0;

    *ret_until_ms = INT64_MAX;
    if (until != NULL && !json_is_null(until)) {
        ps_json_time(reader, "until", ret_until_ms);
        if (*ret_until_ms <= now_ms)
            ps_json_fault(reader, "until", "has passed already");
    }
    if (now_ms == 0 || ttl == NULL || json_is_null(ttl))
        return;
    ps_json_int(reader, "ttl_s", 1, TTL_MAX_S, &ttl_s);
    if (until != NULL && !json_is_null(until))
        ps_json_fault(reader, "ttl_s", "must be left out where there is an until");
    else if (ttl_s > 0)
        *ret_until_ms = now_ms + ttl_s * 1000;
}

static int block_parse(const json_t *json, const struct cfg_reading *reading,
                       struct block **ret_block, struct ps_faults *faults)
{
    struct ps_str reason = {"", 0};
    struct ps_json_reader reader;
    int64_t until_ms;

    ps_json_reader_init_all(&reader, json, reading->pointer, faults);
    read_until(&reader, reading->now_ms, &until_ms);
    if (!json_is_null(ps_json_value(&reader, "reason")))
        ps_json_text(&reader, "reason", CFG_REASON_MAX, &reason);
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    struct block *block = calloc(1, sizeof *block + reason.len + 1);
    if (block == NULL)
        return PS_E_NOMEM;
    block->until_ms = until_ms;
    memcpy(block->reason, reason.at, reason.len);
    *ret_block = block;
    return 0;
}

static int user_parse(const char *name, const json_t *json, const json_t *state,
                      const struct cfg_reading *reading, void **ret_parsed,
                      struct ps_faults *faults)
{
    struct block *block;
    int err = block_parse(json, reading, &block, faults);

    (void)name;
    (void)state;
    if (err == 0)
        *ret_parsed = block;
    return err;
}

/* A range of 0 bits would refuse every buyer of an address family. */
static int range_parse(const char *name, const json_t *json, const json_t *state,
                       const struct cfg_reading *reading, void **ret_parsed,
                       struct ps_faults *faults)
{
    struct ps_cidr range;
    struct block *block;
    int err = ps_cidr_parse(name, strlen(name), &range);

    (void)state;
    if (err < 0)
        return ps_faults_add(faults, err, reading->pointer, "the name must be a range");
    if (reading->now_ms > 0 && ps_cidr_is_everybody(&range))
        return ps_faults_add(faults, PS_E_INVALID, reading->pointer,
                             "the range%s %s is everybody; pause the sales to stop all buyers",
                             reading->pointer[0] == '\0' ? " in the path:" : "", name);
    err = block_parse(json, reading, &block, faults);
    if (err < 0)
        return err;
    block->range = range;
    *ret_parsed = block;
    return 0;
}

static json_t *block_write(const void *parsed)
{
    const struct block *block = parsed;

    return json_pack("{s:o, s:s?}", "until", ps_json_of_time(block->until_ms), "reason",
                     block->reason[0] != '\0' ? block->reason : NULL);
}

static int block_show(const struct cfg_doc *doc, json_t *json)
{
    return json_object_set_new(json, doc->kind == &cfg_kind_user ? "user" : "range",
                               json_string(doc->name)) |
           json_object_set_new(json, "created_at", ps_json_of_time(doc->created_at_ms)) |
           json_object_set_new(json, "by", json_string(doc->by.who));
}

static int64_t block_ends_at_ms(const void *parsed)
{
    return ((const struct block *)parsed)->until_ms;
}

static int user_publish(struct cfg_store *store, const struct cfg_doc *from,
                        const struct cfg_doc *to)
{
    const struct block *block = to != NULL ? to->parsed : NULL;

    return cfg_blocklist_user(cfg_view_blocklist(cfg_store_view(store)),
                              to != NULL ? to->name : from->name,
                              block != NULL ? block->until_ms : 0);
}

static int range_publish(struct cfg_store *store, const struct cfg_doc *from,
                         const struct cfg_doc *to)
{
    const struct block *block = to != NULL ? to->parsed : NULL;
    const struct block *old = from != NULL ? from->parsed : NULL;

    if (block == NULL && old == NULL) /* a deletion in the place of a deletion */
        return 0;
    return cfg_blocklist_range(cfg_view_blocklist(cfg_store_view(store)),
                               block != NULL ? &block->range : &old->range,
                               block != NULL ? block->until_ms : 0);
}

const struct cfg_kind cfg_kind_user = {
    .path = "blocklist/users",
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
    .read_only = (const char *const[]){"/user", "/created_at", "/by", NULL},
    .name = user_name,
    .parse = user_parse,
    .free = free,
    .write = block_write,
    .show = block_show,
    .ends_at_ms = block_ends_at_ms,
    .publish = user_publish,
};

const struct cfg_kind cfg_kind_range = {
    .path = "blocklist/ips",
    .word = "blocked range",
    .name_rule = "a range: {address}-{bits}, no bits set below the prefix",
    .listed = "ips",
    .put = "block.ip",
    .drop = "unblock.ip",
    .max = BLOCKS_MAX,
    .max_with = "blocklist/users",
    .may_be_empty = true,
    .keeps_reason = true,
    .read_only = (const char *const[]){"/range", "/created_at", "/by", NULL},
    .name = range_name,
    .parse = range_parse,
    .free = free,
    .write = block_write,
    .show = block_show,
    .ends_at_ms = block_ends_at_ms,
    .publish = range_publish,
};
