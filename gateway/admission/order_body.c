/* Two ways to parse, as for the log's records. Clients nearly always send the two members in this
 * order, a name without escapes and a small number: read_usual() parses exactly that, and stops at
 * the first unexpected byte. Then the JSON library parses the body; it accepts every spelling and
 * decides what is an error. (Measured: the library takes 7,600 instructions with its allocations,
 * an eighth of an accepted order.) */
#include "gateway/admission/order_body.h"
#include "common/text/id.h"
#include "common/text/json.h"

#include <string.h>

struct cursor {
    const char *at;
    const char *end;
};

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t' ||
                                        *cursor->at == '\n' || *cursor->at == '\r'))
        cursor->at++;
}

static bool take(struct cursor *cursor, struct ps_str word)
{
    skip_space(cursor);
    if ((size_t)(cursor->end - cursor->at) < word.len || memcmp(cursor->at, word.at, word.len) != 0)
        return false;
    cursor->at += word.len;
    return true;
}

static bool take_name(struct cursor *cursor, struct adm_order_body *body)
{
    if (!take(cursor, PS_STR("\"")))
        return false;
    const char *quote = memchr(cursor->at, '"', (size_t)(cursor->end - cursor->at));
    if (quote == NULL || !ps_name_ok(cursor->at, (size_t)(quote - cursor->at)))
        return false;
    body->sku_len = (size_t)(quote - cursor->at);
    memcpy(body->sku, cursor->at, body->sku_len);
    body->sku[body->sku_len] = '\0';
    cursor->at = quote + 1;
    return true;
}

/* 1 to 9 digits, the first not 0. */
static bool take_quantity(struct cursor *cursor, struct adm_order_body *body)
{
    skip_space(cursor);
    const char *start = cursor->at;
    int64_t number = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9' &&
           cursor->at - start < 10)
        number = number * 10 + (*cursor->at++ - '0');
    body->quantity = number;
    return cursor->at > start && cursor->at - start < 10 && *start != '0';
}

static bool read_usual(struct ps_str text, struct adm_order_body *body)
{
    struct cursor cursor = {text.at, text.at + text.len};
    if (!take(&cursor, PS_STR("{")) || !take(&cursor, PS_STR("\"sku\"")) ||
        !take(&cursor, PS_STR(":")) || !take_name(&cursor, body))
        return false;
    body->quantity = 1;
    if (take(&cursor, PS_STR(",")) &&
        (!take(&cursor, PS_STR("\"quantity\"")) || !take(&cursor, PS_STR(":")) ||
         !take_quantity(&cursor, body)))
        return false;
    if (!take(&cursor, PS_STR("}")))
        return false;
    skip_space(&cursor);
    return cursor.at == cursor.end;
}

static const char *read_members(const json_t *json, struct adm_order_body *body)
{
    const json_t *sku = json_object_get(json, "sku");
    const json_t *quantity = json_object_get(json, "quantity");
    size_t known = (size_t)(sku != NULL) + (size_t)(quantity != NULL);

    if (!json_is_object(json))
        return "the body must be a JSON object";
    if (json_object_size(json) != known)
        return "the body may hold only sku and quantity";
    if (!json_is_string(sku))
        return "sku: a string is required";
    body->quantity = 1;
    if (quantity != NULL) {
        if (!ps_json_whole(quantity, &body->quantity) || body->quantity < 1 ||
            body->quantity > PS_INT_MAX)
            body->quantity = 0;
    }
    body->sku_len = json_string_length(sku);
    if (body->sku_len > PS_NAME_MAX)
        body->sku_len = 0;
    memcpy(body->sku, json_string_value(sku), body->sku_len);
    body->sku[body->sku_len] = '\0';
    return NULL;
}

const char *adm_order_body_read(struct ps_str text, struct adm_order_body *ret_body)
{
    struct ps_fault fault;
    json_t *json;

    if (read_usual(text, ret_body))
        return NULL;
    if (ps_json_parse(text.at, text.len, &json, &fault) < 0)
        return "the body is no valid JSON";
    const char *wrong = read_members(json, ret_body);
    json_decref(json);
    return wrong;
}
