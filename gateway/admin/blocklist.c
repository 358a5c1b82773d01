/* The blocklist: users, and ranges of addresses. Like limits it is part of the policy, with its
 * version as the entity tag and an optional If-Match. A range is written address-bits in a path,
 * because of the slash; it is kept in one spelling ("10.0.0.0/8"), so that the same range is one
 * entry. */
#include "gateway/admin/admin_internal.h"

#include <stdio.h>
#include <string.h>

#define BLOCKS_MAX 20000 /* a new policy copies them all */
#define TTL_MAX_S  INT64_C(315360000)

/* --- Which entry is meant. --- */

/* False: answered. */
static bool read_user(struct op_request *visit, char ret_subject[PS_USER_MAX + 1])
{
    size_t len;

    if (op_decode(visit->arg[0], ret_subject, PS_USER_MAX + 1, &len) == 0 &&
        ps_user_ok(ret_subject, len))
        return true;
    op_no(visit, ANS_V_invalid,
          "a user in the path: 1 to 128 bytes of UTF-8 without control characters or white "
          "space, percent-encoded");
    return false;
}

static int range_text(char *text, size_t len, char ret_subject[PS_USER_MAX + 1])
{
    char address[OP_PEER_LEN];
    char *dash = memrchr(text, '-', len);
    struct ps_cidr range;

    if (dash != NULL)
        *dash = '/';
    if (ps_cidr_parse(text, len, &range) < 0)
        return PS_E_INVALID;
    ps_address_format(&range.address, address);
    int bits = ps_address_is_v4(&range.address) ? range.bits - PS_V4_BITS : range.bits;
    (void)snprintf(ret_subject, PS_USER_MAX + 1, "%s/%d", address, bits);
    return 0;
}

/* False: answered. */
static bool read_range(struct op_request *visit, char ret_subject[PS_USER_MAX + 1])
{
    char text[64];
    size_t len;

    if (op_decode(visit->arg[0], text, sizeof text, &len) == 0 &&
        range_text(text, len, ret_subject) == 0)
        return true;
    op_no(visit, ANS_V_invalid,
          "a range in the path: {address}-{bits}, no bits set below the prefix");
    return false;
}

static bool read_subject(struct op_request *visit, enum cfg_block_kind kind,
                         char ret_subject[PS_USER_MAX + 1])
{
    return kind == CFG_BLOCK_USER ? read_user(visit, ret_subject) : read_range(visit, ret_subject);
}

/* A block of 0 bits would refuse every buyer of an address family. False: answered. */
static bool is_of_some(struct op_request *visit, const char *range)
{
    struct ps_cidr cidr;

    if (ps_cidr_parse(range, strlen(range), &cidr) < 0 || !ps_cidr_is_everybody(&cidr))
        return true;
    op_no(visit, ANS_V_invalid,
          "the range in the path: %s is everybody; pause the sales to stop all buyers", range);
    return false;
}

/* NULL: there is none that is in force. */
static const struct cfg_block *find_block(const struct op_admin *admin, enum cfg_block_kind kind,
                                          const char *subject)
{
    const struct gw_control *control = admin->control;
    int64_t now = ps_clock_wall_ms(admin->core->clock);

    for (size_t i = 0; i < control->block_count; i++) {
        const struct cfg_block *block = &control->blocks[i];
        if (block->kind == kind && strcmp(block->subject, subject) == 0)
            return block->until_ms > now ? block : NULL;
    }
    return NULL;
}

static size_t count_blocks(const struct gw_control *control, int64_t wall_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < control->block_count; i++)
        count += control->blocks[i].until_ms > wall_ms;
    return count;
}

/* --- Showing. --- */

static json_t *time_json(int64_t at_ms)
{
    char text[PS_TIME_LEN + 1];

    if (at_ms == INT64_MAX)
        return json_null();
    ps_time_format(at_ms, text);
    return json_string(text);
}

static json_t *block_json(const struct cfg_block *block)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:s}", block->kind == CFG_BLOCK_USER ? "user" : "range",
                     block->subject, "until", time_json(block->until_ms), "created_at",
                     time_json(block->created_at_ms), "reason",
                     block->reason[0] != '\0' ? json_string(block->reason) : json_null(), "by",
                     block->by);
}

static void say_block(struct op_request *visit, const struct cfg_block *block)
{
    op_etag(visit, visit->admin->control->policy_version);
    op_json(visit, visit->created ? ANS_V_created : ANS_V_ok, block_json(block));
}

void op_list_blocks(struct op_request *visit)
{
    const struct gw_control *control = visit->admin->control;
    int64_t now = ps_clock_wall_ms(visit->admin->core->clock);
    json_t *lists[] = {[CFG_BLOCK_USER] = json_array(), [CFG_BLOCK_RANGE] = json_array()};
    int err = 0;

    for (size_t i = 0; err == 0 && i < control->block_count; i++) {
        const struct cfg_block *block = &control->blocks[i];
        if (block->until_ms > now)
            err = json_array_append_new(lists[block->kind], block_json(block));
    }
    json_t *json =
        json_pack("{s:o, s:o}", "users", lists[CFG_BLOCK_USER], "ips", lists[CFG_BLOCK_RANGE]);
    if (err != 0) {
        json_decref(json);
        json = NULL;
    }
    op_etag(visit, control->policy_version);
    op_json(visit, ANS_V_ok, json);
}

static void get_block(struct op_request *visit, enum cfg_block_kind kind)
{
    char subject[PS_USER_MAX + 1];
    const struct cfg_block *block;

    if (!read_subject(visit, kind, subject))
        return;
    block = find_block(visit->admin, kind, subject);
    if (block == NULL)
        op_no(visit, ANS_V_not_found, "not blocked");
    else
        say_block(visit, block);
}

/* --- Changing. --- */

static int apply_put(struct gw_control *control, struct op_change *change)
{
    return gw_control_put_block(control, &change->block);
}

static void answer_put(struct op_request *visit, struct op_change *change)
{
    visit->created = change->created;
    say_block(visit, &change->block);
}

/* Until when, from the body; absent = for good. False: answered. */
static bool read_until(struct op_request *visit, int64_t now_ms, int64_t *ret_until_ms)
{
    struct ps_json_reader reader;
    struct ps_fault fault = {0};
    int64_t ttl_s = 0;

    *ret_until_ms = INT64_MAX;
    if (visit->body == NULL)
        return true;
    ps_json_reader_init(&reader, visit->body, "", &fault);
    if (json_is_null(ps_json_value(&reader, "ttl_s")))
        ttl_s = 0;
    else
        ps_json_int(&reader, "ttl_s", 1, TTL_MAX_S, &ttl_s);
    (void)ps_json_has(&reader, "reason");
    if (ps_json_done(&reader) < 0) {
        op_fault(visit, ANS_V_invalid, &fault);
        return false;
    }
    if (ttl_s > 0)
        *ret_until_ms = now_ms + ttl_s * 1000;
    return true;
}

static void put_block(struct op_request *visit, enum cfg_block_kind kind)
{
    static const char *const targets[] = {
        [CFG_BLOCK_USER] = "blocklist/users/", [CFG_BLOCK_RANGE] = "blocklist/ips/"};
    static const char *const actions[] = {
        [CFG_BLOCK_USER] = "block.user", [CFG_BLOCK_RANGE] = "block.ip"};
    struct gw_control *control = visit->admin->control;
    struct cfg_block block = {.kind = kind,
                              .created_at_ms = ps_clock_wall_ms(visit->admin->core->clock)};
    const struct cfg_block *have;
    struct op_change *change;

    if (!read_subject(visit, kind, block.subject) ||
        (kind == CFG_BLOCK_RANGE && !is_of_some(visit, block.subject)) ||
        !read_until(visit, block.created_at_ms, &block.until_ms) ||
        !op_matches(visit, control->policy_version))
        return;
    memcpy(block.reason, visit->why, sizeof block.reason);
    memcpy(block.by, visit->who, sizeof block.by);
    have = find_block(visit->admin, kind, block.subject);
    if (have == NULL && count_blocks(control, block.created_at_ms) >= BLOCKS_MAX) {
        op_no(visit, ANS_V_conflict, "there are %d entries already, the most there may be",
              BLOCKS_MAX);
        return;
    }
    change = op_change_new(visit, actions[kind], targets[kind], block.subject);
    if (change == NULL)
        return;
    change->block = block;
    change->created = have == NULL;
    change->apply = apply_put;
    change->answer = answer_put;
    cfg_store_job_block(change->job, &block);
    op_change_policy(change);
    op_change_submit(visit, change, have != NULL ? block_json(have) : NULL, block_json(&block));
}

static int apply_delete(struct gw_control *control, struct op_change *change)
{
    gw_control_drop_block(control, change->block.kind, change->block.subject);
    return 0;
}

static void answer_delete(struct op_request *visit, struct op_change *change)
{
    (void)change;
    op_empty(visit);
}

static void delete_block(struct op_request *visit, enum cfg_block_kind kind)
{
    const struct cfg_block *have;
    struct op_change *change;
    char subject[PS_USER_MAX + 1];

    if (!op_only_reason(visit) || !read_subject(visit, kind, subject) ||
        !op_matches(visit, visit->admin->control->policy_version))
        return;
    have = find_block(visit->admin, kind, subject);
    if (have == NULL) {
        op_no(visit, ANS_V_not_found, "not blocked");
        return;
    }
    change = op_change_new(visit, kind == CFG_BLOCK_USER ? "unblock.user" : "unblock.ip",
                           kind == CFG_BLOCK_USER ? "blocklist/users/" : "blocklist/ips/", subject);
    if (change == NULL)
        return;
    change->block = *have;
    change->apply = apply_delete;
    change->answer = answer_delete;
    cfg_store_job_unblock(change->job, kind, subject);
    op_change_policy(change);
    op_change_submit(visit, change, block_json(have), NULL);
}

/* --- Routes. --- */

void op_get_user(struct op_request *visit)
{
    get_block(visit, CFG_BLOCK_USER);
}

void op_put_user(struct op_request *visit)
{
    put_block(visit, CFG_BLOCK_USER);
}

void op_delete_user(struct op_request *visit)
{
    delete_block(visit, CFG_BLOCK_USER);
}

void op_get_range(struct op_request *visit)
{
    get_block(visit, CFG_BLOCK_RANGE);
}

void op_put_range(struct op_request *visit)
{
    put_block(visit, CFG_BLOCK_RANGE);
}

void op_delete_range(struct op_request *visit)
{
    delete_block(visit, CFG_BLOCK_RANGE);
}
