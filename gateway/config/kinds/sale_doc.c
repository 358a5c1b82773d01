/* Sale documents: reading, printing and comparing them.
 *
 * A document is read whole or not at all. What may change in it later is one table, by member:
 * fixed at creation, until the sale is opened (its stock is then in the order log, which only
 * adjustments change, and its SKUs have their places in the counter), until the sale is over, or at
 * any time. */
#include "gateway/config/kinds/sale_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTER_MAX 192

/* --- Reading. --- */

/* An absent or null time leaves the output as it is. */
static void read_time(struct ps_json_reader *reader, const char *member, int64_t *ret_ms)
{
    const json_t *value = ps_json_value(reader, member);
    if (value != NULL && !json_is_null(value))
        ps_json_time(reader, member, ret_ms);
}

static void no_memory(struct ps_json_reader *reader)
{
    reader->err = ps_faults_add(reader->all, PS_E_NOMEM, reader->pointer, "out of memory");
}

/* What stands there once it was written down: fractions have fewer digits then, and whoever reads
 * the text must find what this gateway has. NULL: the fault says why. */
static json_t *as_written(struct ps_json_reader *reader, const json_t *value)
{
    char *text = json_dumps(value, CFG_JSON_FLAGS);
    json_t *written = NULL;
    size_t size = text != NULL ? strlen(text) : 0;

    int err = text != NULL ? 0 : PS_E_NOMEM;
    if (size > CFG_SALE_ATTRIBUTES_MAX)
        ps_json_fault(reader, "attributes", "takes %zu bytes, at most %d are allowed", size,
                      CFG_SALE_ATTRIBUTES_MAX);
    else if (err == 0)
        err = ps_json_parse(text, size, &written, NULL);
    free(text);
    if (err == PS_E_NOMEM)
        no_memory(reader);
    else if (err < 0)
        ps_json_fault(reader, "attributes", "hold a number that is too large");
    return written;
}

/* A new object; an absent one is empty. */
static void read_attributes(struct ps_json_reader *reader, json_t **ret_attributes)
{
    const json_t *value = ps_json_value(reader, "attributes");
    if (value == NULL) {
        *ret_attributes = json_object();
        if (*ret_attributes == NULL)
            no_memory(reader);
    } else if (json_is_object(value)) {
        *ret_attributes = as_written(reader, value);
    } else {
        ps_json_fault(reader, "attributes", "must be an object");
    }
}

static void refuse_members(struct ps_json_reader *reader, const char *const *members)
{
    for (; *members != NULL; members++) {
        if (ps_json_has(reader, *members))
            ps_json_fault(reader, *members, "is shown by reading only: leave it out");
    }
}

/* 1 to 18 digits without a needless zero in front, then perhaps a point and 1 to 6 digits. */
static bool is_amount(struct ps_str text)
{
    size_t whole = 0;
    while (whole < text.len && text.at[whole] >= '0' && text.at[whole] <= '9')
        whole++;
    if (whole == 0 || whole > 18 || (whole > 1 && text.at[0] == '0'))
        return false;
    if (whole == text.len)
        return true;
    size_t digits = text.len - whole - 1;
    if (text.at[whole] != '.' || digits == 0 || digits > 6)
        return false;
    for (size_t i = whole + 1; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    }
    return true;
}

static bool is_currency(struct ps_str text)
{
    if (text.len != 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (text.at[i] < 'A' || text.at[i] > 'Z')
            return false;
    }
    return true;
}

static void read_price(struct ps_json_reader *outer, struct cfg_sku_doc *sku)
{
    const json_t *value = ps_json_value(outer, "price");
    if (value == NULL || json_is_null(value))
        return;
    char pointer[POINTER_MAX];
    (void)snprintf(pointer, sizeof pointer, "%s/price", outer->pointer);
    struct ps_json_reader reader;
    struct ps_str amount = {0}, currency = {0};
    ps_json_reader_init_all(&reader, value, pointer, outer->all);
    ps_json_require(&reader, (const char *const[]){"amount", "currency", NULL});
    ps_json_string(&reader, "amount", sizeof sku->amount - 1, &amount);
    ps_json_string(&reader, "currency", sizeof sku->currency - 1, &currency);
    if (amount.at != NULL && !is_amount(amount))
        ps_json_fault(&reader, "amount", "must be a decimal number in a string, such as \"9.90\"");
    if (currency.at != NULL && !is_currency(currency))
        ps_json_fault(&reader, "currency", "must be three capital letters, such as \"CNY\"");
    int err = ps_json_done(&reader);
    outer->err = outer->err != 0 ? outer->err : err;
    if (err != 0)
        return;
    memcpy(sku->amount, amount.at, amount.len + 1);
    memcpy(sku->currency, currency.at, currency.len + 1);
}

/* Null and absent are 0. */
static void read_sku_cap(struct ps_json_reader *reader, int64_t *ret_cap)
{
    const json_t *value = ps_json_value(reader, "per_user_cap");
    if (value != NULL && !json_is_null(value))
        ps_json_int(reader, "per_user_cap", 1, PS_INT_MAX, ret_cap);
}

/* Reads entry `index` of the array; what it could fill before a fault is freed with the document.
 */
static int read_sku(const json_t *json, const char *pointer, struct cfg_sku_doc *sku,
                    struct ps_faults *faults)
{
    struct ps_json_reader reader;
    struct ps_str name = {0};
    ps_json_reader_init_all(&reader, json, pointer, faults);
    ps_json_require(&reader, (const char *const[]){"sku", "stock", NULL});
    ps_json_string(&reader, "sku", PS_NAME_MAX, &name);
    if (name.at != NULL && !ps_name_ok(name.at, name.len))
        ps_json_fault(&reader, "sku", "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    ps_json_int(&reader, "stock", 0, PS_INT_MAX, &sku->stock);
    read_sku_cap(&reader, &sku->cap);
    read_price(&reader, sku);
    read_attributes(&reader, &sku->attributes);
    refuse_members(&reader, (const char *const[]){"available", "in_doubt", "held", "confirmed",
                                                  "adjustments", NULL});
    int err = ps_json_done(&reader);
    if (err == 0)
        memcpy(sku->name, name.at, name.len + 1);
    return err;
}

static void name_twins(const struct cfg_sale_doc *doc, size_t index, const char *pointer,
                       struct ps_faults *faults)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(doc->skus[i].name, doc->skus[index].name) == 0)
            (void)ps_faults_add(faults, PS_E_INVALID, pointer,
                                "\"%s\" is also the name of entry %zu", doc->skus[i].name, i);
}

/* Faults are in the list when it returns. */
static void read_skus(struct ps_json_reader *outer, struct cfg_sale_doc *doc)
{
    const json_t *array = ps_json_value(outer, "skus");
    size_t count = json_array_size(array);
    if (array == NULL)
        return;
    if (!json_is_array(array) || count < 1 || count > CFG_SALE_SKUS_MAX) {
        if (json_is_array(array))
            ps_json_fault(outer, "skus", "must have between 1 and %d entries", CFG_SALE_SKUS_MAX);
        else
            ps_json_fault(outer, "skus", "must be an array");
        return;
    }
    doc->skus = calloc(count, sizeof *doc->skus);
    if (doc->skus == NULL) {
        no_memory(outer);
        return;
    }
    doc->sku_count = count;
    for (size_t i = 0; i < count; i++) {
        char pointer[POINTER_MAX];
        (void)snprintf(pointer, sizeof pointer, "%s/skus/%zu", outer->pointer, i);
        int err = read_sku(json_array_get(array, i), pointer, &doc->skus[i], outer->all);
        if (err == 0)
            name_twins(doc, i, pointer, outer->all);
        else if (outer->err != PS_E_NOMEM)
            outer->err = err;
    }
}

static void check_name(struct ps_json_reader *reader, const char *name)
{
    struct ps_str sale = {name, strlen(name)};
    ps_json_string(reader, "sale", PS_NAME_MAX, &sale);
    if (strcmp(sale.at, name) != 0)
        ps_json_fault(reader, "sale", "is \"%s\", but the sale's name is \"%s\"", sale.at, name);
}

static void read_twin_of(struct ps_json_reader *reader, const char *name, struct cfg_sale_doc *doc)
{
    struct ps_str twin_of = {0};
    if (json_is_null(ps_json_value(reader, "twin_of")))
        return;
    ps_json_string(reader, "twin_of", PS_NAME_MAX, &twin_of);
    if (twin_of.at == NULL)
        return;
    if (!ps_name_ok(twin_of.at, twin_of.len))
        ps_json_fault(reader, "twin_of", "must be a sale's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    else if (strcmp(twin_of.at, name) == 0)
        ps_json_fault(reader, "twin_of", "is the sale itself: a twin has a name of its own");
    else if (!doc->rehearsal)
        ps_json_fault(reader, "twin_of", "needs a rehearsal of true: a twin sells nothing real");
    else
        memcpy(doc->twin_of, twin_of.at, twin_of.len + 1);
}

/* The opening of an operator's document; `have` is the sale in force, or NULL. */
static void check_opening(struct ps_json_reader *reader, const struct cfg_reading *reading,
                          struct cfg_sale_doc *doc)
{
    const struct cfg_stored_sale *have = reading->have != NULL ? cfg_sale_of(reading->have) : NULL;
    bool open = false;

    ps_json_bool(reader, "open", &open);
    if (open && doc->opens_at_ms == INT64_MAX)
        doc->opens_at_ms = have != NULL && have->doc.opens_at_ms <= reading->now_ms
                               ? have->doc.opens_at_ms
                               : reading->now_ms;
    bool kept = have != NULL && have->doc.opens_at_ms == doc->opens_at_ms;
    bool opened = have != NULL && have->state.opened; /* its opening cannot change anyway */

    if (open && doc->opens_at_ms > reading->now_ms)
        ps_json_fault(reader, "open",
                      "is true, but opens_at is still to come: leave one of them out");
    else if (!open && !kept && !opened && doc->closes_at_ms > reading->now_ms &&
             doc->opens_at_ms < reading->now_ms - CFG_SALE_PAST_MS)
        ps_json_fault(
            reader, "opens_at",
            "has passed already, so the sale would open at once and for good: correct it, "
            "or send \"open\":true with it");
}

int cfg_sale_doc_read(const json_t *json, const struct cfg_reading *reading, const char *name,
                      struct cfg_sale_doc *ret_doc, struct ps_faults *faults)
{
    struct ps_json_reader reader;
    struct cfg_sale_doc doc = {.opens_at_ms = INT64_MAX,
                               .closes_at_ms = INT64_MAX,
                               .cap = CFG_SALE_CAP_DEFAULT,
                               .ttl_s = CFG_SALE_TTL_DEFAULT_S};
    size_t before = faults->count;
    bool ticket = false;
    ps_json_reader_init_all(&reader, json, reading->pointer, faults);
    check_name(&reader, name);
    read_time(&reader, "opens_at", &doc.opens_at_ms);
    read_time(&reader, "closes_at", &doc.closes_at_ms);
    if (reading->now_ms != 0)
        check_opening(&reader, reading, &doc);
    if (doc.opens_at_ms != INT64_MAX && doc.closes_at_ms <= doc.opens_at_ms)
        ps_json_fault(&reader, "closes_at", "must be later than opens_at");
    ps_json_int(&reader, "per_user_cap", 1, PS_INT_MAX, &doc.cap);
    ps_json_int(&reader, "reservation_ttl_s", CFG_SALE_TTL_MIN_S, CFG_SALE_TTL_MAX_S, &doc.ttl_s);
    ps_json_bool(&reader, "rehearsal", &doc.rehearsal);
    read_twin_of(&reader, name, &doc);
    ps_json_bool(&reader, "ticket", &ticket);
    if (ticket)
        ps_json_fault(&reader, "ticket", "must be false: this version has no tickets");
    read_attributes(&reader, &doc.attributes);
    ps_json_require(&reader, (const char *const[]){"skus", NULL});
    read_skus(&reader, &doc);
    refuse_members(&reader, (const char *const[]){"state", "version", "created_at", "updated_at",
                                                  "refused", NULL});
    int err = ps_json_done(&reader);
    if (err == 0 && faults->count > before)
        err = PS_E_INVALID;
    if (err != 0) {
        cfg_sale_doc_done(&doc);
        return err;
    }
    *ret_doc = doc;
    return 0;
}

int cfg_sale_doc_name(const json_t *json, const char *pointer, char *ret_name,
                      struct ps_faults *faults)
{
    struct ps_json_reader reader;
    struct ps_str name = {0};
    ps_json_reader_init_all(&reader, json, pointer, faults);
    ps_json_require(&reader, (const char *const[]){"sale", NULL});
    ps_json_string(&reader, "sale", PS_NAME_MAX, &name);
    if (name.at != NULL && !ps_name_ok(name.at, name.len))
        ps_json_fault(&reader, "sale", "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    if (reader.err == 0)
        memcpy(ret_name, name.at, name.len + 1);
    return reader.err;
}

void cfg_sale_doc_done(struct cfg_sale_doc *doc)
{
    for (size_t i = 0; i < doc->sku_count; i++)
        json_decref(doc->skus[i].attributes);
    free(doc->skus);
    json_decref(doc->attributes);
    *doc = (struct cfg_sale_doc){0};
}

/* --- Printing. --- */

static json_t *sku_json(const struct cfg_sku_doc *sku)
{
    json_t *price = sku->amount[0] == '\0'
                        ? json_null()
                        : json_pack("{s:s, s:s}", "amount", sku->amount, "currency", sku->currency);
    json_t *cap = sku->cap == 0 ? json_null() : json_integer(sku->cap);
    return json_pack("{s:s, s:I, s:o, s:o, s:o}", "sku", sku->name, "stock", (json_int_t)sku->stock,
                     "price", price, "per_user_cap", cap, "attributes",
                     json_deep_copy(sku->attributes));
}

json_t *cfg_sale_doc_write(const struct cfg_sale_doc *doc)
{
    json_t *skus = json_array();
    int err = 0;
    for (size_t i = 0; i < doc->sku_count; i++)
        err |= json_array_append_new(skus, sku_json(&doc->skus[i]));
    return json_pack("{s:o, s:o, s:I, s:I, s:b, s:s*, s:o, s:o}", "opens_at",
                     ps_json_of_time(doc->opens_at_ms), "closes_at",
                     ps_json_of_time(doc->closes_at_ms), "per_user_cap", (json_int_t)doc->cap,
                     "reservation_ttl_s", (json_int_t)doc->ttl_s, "rehearsal", (int)doc->rehearsal,
                     "twin_of", doc->twin_of[0] != '\0' ? doc->twin_of : NULL, "attributes",
                     json_deep_copy(doc->attributes), "skus", ps_json_built(skus, err));
}

/* --- Comparing. --- */

enum member {
    OPENS_AT,
    CLOSES_AT,
    CAP,
    TTL,
    REHEARSAL,
    TWIN_OF,
    ATTRIBUTES,
    SKUS, /* added, removed, renamed or in another order */
    SKU_STOCK,
    SKU_CAP,
    SKU_PRICE,
    SKU_ATTRIBUTES
};

enum until { NEVER, OPENED, OVER, FOR_EVER };

static const struct {
    const char *name;
    enum until until; /* it may change */
} members[] = {
    [OPENS_AT] = {"opens_at", OPENED},       [CLOSES_AT] = {"closes_at", OVER},
    [CAP] = {"per_user_cap", OVER},          [TTL] = {"reservation_ttl_s", OVER},
    [REHEARSAL] = {"rehearsal", NEVER},      [TWIN_OF] = {"twin_of", NEVER},
    [ATTRIBUTES] = {"attributes", FOR_EVER}, [SKUS] = {"skus", OPENED},
    [SKU_STOCK] = {"stock", OPENED},         [SKU_CAP] = {"per_user_cap", OVER},
    [SKU_PRICE] = {"price", FOR_EVER},       [SKU_ATTRIBUTES] = {"attributes", FOR_EVER},
};

struct difference {
    enum member member;
    size_t sku;
};

#define DIFFERENCES_MAX (SKUS + 1 + 4 * CFG_SALE_SKUS_MAX)

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

/* What differs; `ret_list` has room for DIFFERENCES_MAX. */
static size_t find_differences(const struct cfg_sale_doc *a, const struct cfg_sale_doc *b,
                               struct difference *ret_list)
{
    size_t n = 0;
    if (a->rehearsal != b->rehearsal)
        ret_list[n++].member = REHEARSAL;
    if (strcmp(a->twin_of, b->twin_of) != 0)
        ret_list[n++].member = TWIN_OF;
    if (a->opens_at_ms != b->opens_at_ms)
        ret_list[n++].member = OPENS_AT;
    if (a->closes_at_ms != b->closes_at_ms)
        ret_list[n++].member = CLOSES_AT;
    if (a->cap != b->cap)
        ret_list[n++].member = CAP;
    if (a->ttl_s != b->ttl_s)
        ret_list[n++].member = TTL;
    if (!json_equal(a->attributes, b->attributes))
        ret_list[n++].member = ATTRIBUTES;
    if (!same_skus(a, b)) {
        ret_list[n++].member = SKUS;
        return n;
    }
    for (size_t i = 0; i < a->sku_count; i++) {
        const struct cfg_sku_doc *x = &a->skus[i], *y = &b->skus[i];
        if (x->stock != y->stock)
            ret_list[n++] = (struct difference){SKU_STOCK, i};
        if (x->cap != y->cap)
            ret_list[n++] = (struct difference){SKU_CAP, i};
        if (strcmp(x->amount, y->amount) != 0 || strcmp(x->currency, y->currency) != 0)
            ret_list[n++] = (struct difference){SKU_PRICE, i};
        if (!json_equal(x->attributes, y->attributes))
            ret_list[n++] = (struct difference){SKU_ATTRIBUTES, i};
    }
    return n;
}

static enum cfg_refusal refuse(const struct difference *found, bool opened, const char *outer,
                               struct ps_faults *faults)
{
    char pointer[POINTER_MAX];
    const char *name = members[found->member].name, *why;
    enum cfg_refusal refusal = CFG_CONFLICT;
    if (found->member >= SKU_STOCK)
        (void)snprintf(pointer, sizeof pointer, "%s/skus/%zu/%s", outer, found->sku, name);
    else
        (void)snprintf(pointer, sizeof pointer, "%s/%s", outer, name);
    if (members[found->member].until == NEVER) {
        why = "is fixed when the sale is created";
    } else if (found->member == SKU_STOCK && opened) {
        refusal = CFG_USE_ADJUST;
        why = "changes only by .../skus/{sku}/adjust once the sale has been opened";
    } else if (members[found->member].until == OPENED && opened) {
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
    /* A window that passed without an opening may be moved; one that was used may not come back. */
    bool over = state->ended || (state->opened && from->closes_at_ms <= wall_ms);
    enum until now = over ? OVER : state->opened ? OPENED : NEVER;
    for (size_t i = 0; i < count; i++) {
        if (members[list[i].member].until > now)
            continue;
        refusal = refuse(&list[i], state->opened, pointer, faults);
        first = first == CFG_MAY ? refusal : first;
    }
    return first;
}

size_t cfg_sale_doc_differences(const struct cfg_sale_doc *a, const struct cfg_sale_doc *b,
                                char *ret_text, size_t cap)
{
    struct difference list[DIFFERENCES_MAX];
    size_t count = find_differences(a, b, list);
    size_t len = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < count && len < cap; i++) {
        const char *comma = i > 0 ? ", " : "";
        const char *name = members[list[i].member].name;
        int n = list[i].member >= SKU_STOCK
                    ? snprintf(ret_text + len, cap - len, "%sskus/%s/%s", comma,
                               a->skus[list[i].sku].name, name)
                    : snprintf(ret_text + len, cap - len, "%s%s", comma, name);
        len += (size_t)n;
    }
    return count;
}

/* --- The state beside it. --- */

json_t *cfg_sale_state_write(const struct cfg_sale_state *state)
{
    json_t *json =
        json_pack("{s:b, s:b, s:b, s:b}", "opening", (int)state->opening, "opened",
                  (int)state->opened, "paused", (int)state->paused, "ended", (int)state->ended);
    int err = json == NULL ? -1 : 0;

    if (err == 0 && state->opening_id[0] != '\0')
        err |= json_object_set_new(json, "opening_id", json_string(state->opening_id));
    if (err == 0 && state->ended_at_ms > 0)
        err |= json_object_set_new(json, "ended_at", ps_json_of_time(state->ended_at_ms));
    if (err == 0 && state->archived)
        err |= json_object_set_new(json, "archived", json_true());
    return ps_json_built(json, err);
}

int cfg_sale_state_read(const json_t *json, struct cfg_sale_state *state, struct ps_faults *faults)
{
    struct ps_json_reader reader;
    ps_json_reader_init_all(&reader, json, "/state", faults);
    ps_json_bool(&reader, "opening", &state->opening);
    ps_json_bool(&reader, "opened", &state->opened);
    ps_json_bool(&reader, "paused", &state->paused);
    ps_json_bool(&reader, "ended", &state->ended);
    struct ps_str id = {"", 0};
    struct ps_uuid uuid;
    if (ps_json_has(&reader, "opening_id"))
        ps_json_string(&reader, "opening_id", PS_UUID_LEN, &id);
    if (id.len > 0 && ps_uuid_parse(id.at, id.len, &uuid) == 0)
        ps_uuid_format(&uuid, state->opening_id);
    else if (id.len > 0)
        ps_json_fault(&reader, "opening_id", "is not a UUID");
    ps_json_time(&reader, "ended_at", &state->ended_at_ms);
    ps_json_bool(&reader, "archived", &state->archived);
    return ps_json_done(&reader);
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
