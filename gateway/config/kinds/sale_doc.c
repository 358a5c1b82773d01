/* Sale documents: their table, the rules across members, and what may change later.
 *
 * A document is read whole or not at all. Until when a member may change stands in the table, by
 * member (`mark`): never after the creation; until the sale is opened (then its stock is in the
 * order log, where only adjustments change it, and its SKUs have their indexes in the counter);
 * until the sale has ended; or at any time. */
#include "gateway/config/kinds/sale_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTER_MAX 192

/* --- Texts. --- */

/* 1 to 18 digits without leading zeros, then optionally a point and 1 to 6 digits. */
static bool is_amount(const char *text, size_t len)
{
    size_t whole = strspn(text, "0123456789");

    if (whole == 0 || whole > 18 || (whole > 1 && text[0] == '0'))
        return false;
    if (whole == len)
        return true;
    size_t digits = strspn(text + whole + 1, "0123456789");
    return text[whole] == '.' && digits >= 1 && digits <= 6 && whole + 1 + digits == len;
}

static bool is_currency(const char *text, size_t len)
{
    return len == 3 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3;
}

static bool is_uuid(const char *text, size_t len)
{
    struct ps_uuid uuid;

    return ps_uuid_parse(text, len, &uuid) == 0;
}

static const struct ps_format amount = {
    .rule = {"a decimal number in a string", "以字符串表示的十进制数"},
    .pattern = "^(0|[1-9][0-9]{0,17})(\\.[0-9]{1,6})?$",
    .is_ok = is_amount};
static const struct ps_format currency = {.rule = {"three capital letters", "三个大写字母"},
                                          .pattern = "^[A-Z]{3}$",
                                          .is_ok = is_currency};
static const struct ps_format uuid = {.rule = {"a UUID", "UUID"}, .is_ok = is_uuid};

/* --- Rules across members. --- */

/* The opening of an operator's document. */
static void check_opening(struct ps_table_at *at, struct cfg_sale_doc *doc)
{
    const struct cfg_reading *reading = at->ctx;
    const struct cfg_stored_sale *have = reading->have != NULL ? cfg_sale_of(reading->have) : NULL;

    if (doc->open && doc->opens_at_ms == INT64_MAX)
        doc->opens_at_ms = have != NULL && have->doc.opens_at_ms <= reading->now_ms
                               ? have->doc.opens_at_ms
                               : reading->now_ms;
    bool kept = have != NULL && have->doc.opens_at_ms == doc->opens_at_ms;
    bool opened = have != NULL && have->state.opened; /* its opening cannot change anyway */

    if (doc->open && doc->opens_at_ms > reading->now_ms)
        ps_table_fault(at, "open", "is true, but opens_at is in the future: give one of the two");
    else if (!doc->open && !kept && !opened && doc->closes_at_ms > reading->now_ms &&
             doc->opens_at_ms < reading->now_ms - CFG_SALE_PAST_MS)
        ps_table_fault(
            at, "opens_at",
            "has passed already, so the sale would open at once and for good: correct it, "
            "or send \"open\":true with it");
}

static void check_twin_of(struct ps_table_at *at, const struct cfg_sale_doc *doc)
{
    const struct cfg_reading *reading = at->ctx;

    if (doc->twin_of[0] == '\0')
        return;
    if (strcmp(doc->twin_of, reading->name) == 0)
        ps_table_fault(at, "twin_of", "is the sale itself: a twin needs another name");
    else if (!doc->rehearsal)
        ps_table_fault(at, "twin_of",
                       "needs \"rehearsal\":true, because a twin sells nothing real");
}

static void check_skus(struct ps_table_at *at, const struct cfg_sale_doc *doc)
{
    char place[40];

    for (size_t i = 0; i < doc->sku_count; i++) {
        size_t other = 0;
        while (other < i && strcmp(doc->skus[other].name, doc->skus[i].name) != 0)
            other++;
        if (other == i || doc->skus[i].name[0] == '\0')
            continue;
        (void)snprintf(place, sizeof place, "skus/%zu", i);
        ps_table_fault(at, place, "\"%s\" is also the name of entry %zu", doc->skus[i].name, other);
    }
}

static void check_sale(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_sale_doc *doc = object;

    if (doc->name[0] != '\0' && strcmp(doc->name, reading->name) != 0)
        ps_table_fault(at, "sale", "is \"%s\", but the sale's name is \"%s\"", doc->name,
                       reading->name);
    (void)snprintf(doc->name, sizeof doc->name, "%s", reading->name);
    if (reading->now_ms != 0)
        check_opening(at, doc);
    else if (ps_table_has(at, "open"))
        ps_table_fault(at, "open", "is part of a change only");
    if (doc->opens_at_ms != INT64_MAX && doc->closes_at_ms <= doc->opens_at_ms)
        ps_table_fault(at, "closes_at", "must be later than opens_at");
    check_twin_of(at, doc);
    check_skus(at, doc);
    doc->open = false;
}

/* --- The tables. --- */

/* Until when a member may change: never, until the opening, until the end, at any time. */
enum until { NEVER, OPENED, OVER, FOR_EVER };

/* clang-format off */
#define SKU(field) PS_AT(struct cfg_sku_doc, field)
static const struct ps_member price_members[] = {
    {"amount", PS_M_CHARS, SKU(amount), .flags = PS_M_REQUIRED, .min = 1, .max = 25, .format = &amount, .example = "\"9.90\"", .text = {"The price", "价格"}},
    {"currency", PS_M_CHARS, SKU(currency), .flags = PS_M_REQUIRED, .min = 3, .max = 3, .format = &currency, .example = "\"CNY\"", .text = {"Its currency, by ISO 4217", "货币，ISO 4217 代码"}},
};
static const struct ps_table price = {.title = "price", .members = price_members, .count = PS_ARRAY_LEN(price_members), .size = sizeof(struct cfg_sku_doc)};

static const struct ps_member sku_members[] = {
    {"sku", PS_M_CHARS, SKU(name), .flags = PS_M_REQUIRED, .format = &ps_format_name, .example = "\"phone\"", .mark = OPENED, .text = {"Its name, unique within the sale", "名称，在活动内唯一"}},
    {"stock", PS_M_INT, SKU(stock), .flags = PS_M_REQUIRED, .min = 0, .max = (double)PS_INT_MAX, .unit = {"units", "件"}, .example = "100", .mark = OPENED, .text = {"Units at the opening; later changes are adjustments", "开售时的库存；之后只能通过库存调整修改"}},
    {"price", PS_M_OBJECT, .flags = PS_M_NULLABLE, .size = sizeof(struct cfg_sku_doc), .table = &price, .example = "{\"amount\":\"9.90\",\"currency\":\"CNY\"}", .mark = FOR_EVER, .text = {"Shown to buyers; null: none", "展示给买家；null：无"}},
    {"per_user_cap", PS_M_INT, SKU(cap), .flags = PS_M_NULLABLE, .min = 1, .max = (double)PS_INT_MAX, .unit = {"units", "件"}, .example = "2", .mark = OVER, .text = {"How many units of this SKU a user may have; null: as many as the sale allows", "每个用户可购买该 SKU 的数量；null：不超过活动上限即可"}},
    {"attributes", PS_M_FREE, SKU(attributes), .max = CFG_SALE_ATTRIBUTES_MAX, .fallback = "{}", .mark = FOR_EVER, .text = {"The shop's own, shown to buyers as it is", "商城自定义内容，原样展示给买家"}},
    {"available", PS_M_INT, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Units that can be ordered now", "当前可下单的数量"}},
    {"in_doubt", PS_M_INT, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Units of reservations whose outcome is not known yet", "预占结果尚未确定的数量"}},
    {"held", PS_M_INT, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Units of unpaid orders", "待支付订单占用的数量"}},
    {"confirmed", PS_M_INT, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Units of paid orders", "已支付的数量"}},
    {"adjustments", PS_M_INT, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Sum of the adjustments since the opening", "开售以来库存调整的合计"}},
};
static const struct ps_table sku_table = {.title = "SKU", .members = sku_members, .count = PS_ARRAY_LEN(sku_members), .size = sizeof(struct cfg_sku_doc)};
static const struct ps_member sku_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_sku_doc), .table = &sku_table};

#define AT(field) PS_AT(struct cfg_sale_doc, field)
static const struct ps_member members[] = {
    {"opens_at", PS_M_TIME, AT(opens_at_ms), .flags = PS_M_NULLABLE, .mark = OPENED, .text = {"When the sale opens; null: it is a draft", "开售时间；null：草稿"}},
    {"closes_at", PS_M_TIME, AT(closes_at_ms), .flags = PS_M_NULLABLE, .mark = OVER, .text = {"When it closes; null: when an operator ends it", "结束时间；null：由运营人员结束"}},
    {"per_user_cap", PS_M_INT, AT(cap), .min = 1, .max = (double)PS_INT_MAX, .unit = {"units", "件"}, .fallback = "1", .mark = OVER, .text = {"How many units a user may have over all SKUs", "每个用户在所有 SKU 上合计可购买的数量"}},
    {"reservation_ttl_s", PS_M_INT, AT(ttl_s), .min = CFG_SALE_TTL_MIN_S, .max = CFG_SALE_TTL_MAX_S, .unit = {"s"}, .fallback = "900", .mark = OVER, .text = {"How long an order may stay unpaid before its units are released", "订单等待支付的时长，超时库存归还"}},
    {"rehearsal", PS_M_BOOL, AT(rehearsal), .fallback = "false", .mark = NEVER, .text = {"Nothing real is sold", "演练：不售卖真实商品"}},
    {"twin_of", PS_M_CHARS, AT(twin_of), .flags = PS_M_NULLABLE | PS_M_OMIT, .format = &ps_format_name, .example = "\"spring\"", .mark = NEVER, .text = {"The sale that this rehearsal is a twin of", "本演练所对应的活动"}},
    {"attributes", PS_M_FREE, AT(attributes), .max = CFG_SALE_ATTRIBUTES_MAX, .fallback = "{}", .mark = FOR_EVER, .text = {"The shop's own, shown to buyers as it is", "商城自定义内容，原样展示给买家"}},
    {"skus", PS_M_LIST, AT(skus), .count_at = offsetof(struct cfg_sale_doc, sku_count), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_SALE_SKUS_MAX, .item = &sku_item, .example = "[{\"sku\":\"phone\",\"stock\":100}]", .mark = OPENED, .text = {"What is sold", "所售商品"}},
    {"sale", PS_M_CHARS, AT(name), .flags = PS_M_INPUT, .format = &ps_format_name, .text = {"The sale's name; a change may repeat it", "活动名称；修改时可以重复给出"}},
    {"open", PS_M_BOOL, AT(open), .flags = PS_M_INPUT, .text = {"true, with opens_at absent or in the past: the sale opens at once", "opens_at 已过或未给出时设为 true：立即开售"}},
    {"version", PS_M_INT, .flags = PS_M_READ_ONLY, .text = {"Rises with each change", "每次修改递增"}},
    {"created_at", PS_M_TIME, .flags = PS_M_READ_ONLY, .text = {"When the sale was created", "创建时间"}},
    {"updated_at", PS_M_TIME, .flags = PS_M_READ_ONLY, .text = {"When it was last changed", "最近修改时间"}},
    {"state", PS_M_STRING, .flags = PS_M_LIVE, .text = {"draft, scheduled, open, paused, ended, settled or archived", "draft、scheduled、open、paused、ended、settled 或 archived"}},
    {"refused", PS_M_STRING, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Why the gateway does not sell it; null: it does", "网关不售卖该活动时的原因"}},
    {"not_archived", PS_M_STRING, .flags = PS_M_LIVE | PS_M_NULLABLE, .text = {"Why it is not archived yet", "尚未归档的原因"}},
};
/* clang-format on */
static const char *const dropped[] = {"ticket", NULL};
const struct ps_table cfg_sale_table = {.title = "sale",
                                        .members = members,
                                        .count = PS_ARRAY_LEN(members),
                                        .size = sizeof(struct cfg_stored_sale),
                                        .dropped = dropped,
                                        .check = check_sale};

/* --- Comparing. --- */

struct difference {
    const struct ps_member *member;
    size_t sku; /* SIZE_MAX: a member of the sale itself */
};

#define DIFFERENCES_MAX (PS_ARRAY_LEN(members) + PS_ARRAY_LEN(sku_members) * CFG_SALE_SKUS_MAX)

static bool same_skus(const struct cfg_sale_doc *a, const struct cfg_sale_doc *b)
{
    if (a->sku_count != b->sku_count)
        return false;
    for (size_t i = 0; i < a->sku_count; i++) {
        if (strcmp(a->skus[i].name, b->skus[i].name) != 0)
            return false;
    }
    return true;
}

/* Lists the differences; `ret_list` has room for DIFFERENCES_MAX. */
static size_t find_differences(const struct cfg_sale_doc *a, const struct cfg_sale_doc *b,
                               struct difference *ret_list)
{
    bool same = same_skus(a, b);
    size_t n = 0;

    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++)
        if (members[i].type == PS_M_LIST ? !same : !ps_member_same(&members[i], a, b))
            ret_list[n++] = (struct difference){&members[i], SIZE_MAX};
    for (size_t sku = 0; same && sku < a->sku_count; sku++)
        for (size_t i = 0; i < PS_ARRAY_LEN(sku_members); i++)
            if (!ps_member_same(&sku_members[i], &a->skus[sku], &b->skus[sku]))
                ret_list[n++] = (struct difference){&sku_members[i], sku};
    return n;
}

static enum cfg_refusal refuse(const struct difference *found, bool opened, const char *outer,
                               struct ps_faults *faults)
{
    char pointer[POINTER_MAX];
    const char *name = found->member->name, *why;
    bool stock = found->sku != SIZE_MAX && strcmp(name, "stock") == 0;
    enum cfg_refusal refusal = CFG_CONFLICT;
    if (found->sku != SIZE_MAX)
        (void)snprintf(pointer, sizeof pointer, "%s/skus/%zu/%s", outer, found->sku, name);
    else
        (void)snprintf(pointer, sizeof pointer, "%s/%s", outer, name);
    if (found->member->mark == NEVER) {
        why = "cannot change after the sale was created";
    } else if (stock && opened) {
        refusal = CFG_USE_ADJUST;
        why = "can change only through .../skus/{sku}/adjust once the sale has been opened";
    } else if (found->member->mark == OPENED && opened) {
        why = "cannot change once the sale has been opened";
    } else {
        refusal = CFG_ENDED;
        why = "cannot change: the sale has ended";
    }
    (void)ps_faults_add(faults, PS_E_CONFLICT, pointer, "%s", why);
    return refusal;
}

enum cfg_refusal cfg_sale_doc_change(const struct cfg_sale_doc *from, const struct cfg_sale_doc *to,
                                     const struct cfg_sale_state *state, int64_t wall_ms,
                                     const char *pointer, struct ps_faults *faults)
{
    struct difference list[DIFFERENCES_MAX];
    size_t count = find_differences(from, to, list);
    enum cfg_refusal refusal = CFG_MAY, first = CFG_MAY;
    /* A window that passed without an opening may be moved; after an opening it may not. */
    bool over = state->ended || (state->opened && from->closes_at_ms <= wall_ms);
    enum until now = over ? OVER : state->opened ? OPENED : NEVER;
    for (size_t i = 0; i < count; i++) {
        if (list[i].member->mark > now)
            continue;
        refusal = refuse(&list[i], state->opened, pointer, faults);
        first = first == CFG_MAY ? refusal : first;
    }
    return first;
}

/* --- The state beside the document. --- */

/* clang-format off */
#define STATE(field) PS_AT(struct cfg_sale_state, field)
static const struct ps_member state_members[] = {
    {"opening", PS_M_BOOL, STATE(opening)},
    {"opened", PS_M_BOOL, STATE(opened)},
    {"paused", PS_M_BOOL, STATE(paused)},
    {"ended", PS_M_BOOL, STATE(ended)},
    {"opening_id", PS_M_CHARS, STATE(opening_id), .flags = PS_M_OMIT | PS_M_NULLABLE, .format = &uuid},
    {"ended_at", PS_M_TIME, STATE(ended_at_ms), .flags = PS_M_OMIT},
    {"archived", PS_M_BOOL, STATE(archived), .flags = PS_M_OMIT},
};
/* clang-format on */
static const struct ps_table state_table = {.title = "state of a sale",
                                            .members = state_members,
                                            .count = PS_ARRAY_LEN(state_members),
                                            .size = sizeof(struct cfg_sale_state)};

json_t *cfg_sale_state_write(const struct cfg_sale_state *state)
{
    return ps_table_print(&state_table, state);
}

int cfg_sale_state_read(const json_t *json, struct cfg_sale_state *state, struct ps_faults *faults)
{
    const struct ps_table_source source = {.json = json, .pointer = "/state"};

    return json != NULL ? ps_table_read(&state_table, &source, state, faults) : 0;
}

const char *cfg_sale_state_name(const struct cfg_sale_doc *doc, const struct cfg_sale_state *state,
                                int64_t wall_ms)
{
    static const char *const names[] = {"scheduled", "open", "paused", "ended"};
    enum cfg_phase phase =
        cfg_phase_at(doc->opens_at_ms, doc->closes_at_ms, state->paused, state->ended, wall_ms);

    if (phase != CFG_PHASE_SCHEDULED)
        return names[phase];
    if (doc->opens_at_ms == INT64_MAX)
        return "draft";
    return names[state->paused ? CFG_PHASE_PAUSED : CFG_PHASE_SCHEDULED];
}
