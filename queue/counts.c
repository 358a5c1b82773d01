/* See counts.h. */
#include "queue/counts.h"
#include "common/text/buf.h"
#include "common/text/id.h"
#include "queue/cursor.h"

#include <stdlib.h>

void oq_counts_put(struct ps_buf *buf, const struct oq_count *counts, size_t count)
{
    ps_buf_puts(buf, "[");
    for (size_t i = 0; i < count; i++) {
        ps_buf_puts(buf, i > 0 ? ",{\"sku\":" : "{\"sku\":");
        ps_buf_put_json(buf, counts[i].sku.at, counts[i].sku.len);
        ps_buf_puts(buf, ",\"adjustments\":");
        ps_buf_put_int(buf, counts[i].adjustments);
        ps_buf_puts(buf, ",\"held\":");
        ps_buf_put_int(buf, counts[i].held);
        ps_buf_puts(buf, ",\"confirmed\":");
        ps_buf_put_int(buf, counts[i].confirmed);
        ps_buf_puts(buf, ",\"released\":");
        ps_buf_put_int(buf, counts[i].released);
        ps_buf_puts(buf, "}");
    }
    ps_buf_puts(buf, "]");
}

/* `,"name":` and a number. */
static bool take_number_of(struct oq_cursor *cursor, const char *lead, int64_t *ret_number)
{
    return oq_skip(cursor, lead, strlen(lead)) && oq_take_int(cursor, ret_number);
}

static bool take_count(struct oq_cursor *cursor, struct oq_count *ret_count)
{
    return oq_skip(cursor, "{\"sku\":", 7) && oq_take_string(cursor, &ret_count->sku) &&
           take_number_of(cursor, ",\"adjustments\":", &ret_count->adjustments) &&
           take_number_of(cursor, ",\"held\":", &ret_count->held) &&
           take_number_of(cursor, ",\"confirmed\":", &ret_count->confirmed) &&
           take_number_of(cursor, ",\"released\":", &ret_count->released) &&
           oq_skip(cursor, "}", 1);
}

bool oq_counts_next(struct ps_str *rest, struct oq_count *ret_count)
{
    struct oq_cursor cursor = {rest->at, rest->at + rest->len};
    struct oq_count count = {0};
    if ((!oq_skip(&cursor, "[", 1) && !oq_skip(&cursor, ",", 1)) || !take_count(&cursor, &count))
        return false;
    *rest = (struct ps_str){cursor.at, (size_t)(cursor.end - cursor.at)};
    *ret_count = count;
    return true;
}

static bool count_ok(const struct oq_count *count)
{
    return ps_name_ok(count->sku.at, count->sku.len) && count->adjustments >= -PS_INT_MAX &&
           count->adjustments <= PS_INT_MAX && count->held >= 0 && count->held <= PS_INT_MAX &&
           count->confirmed >= 0 && count->confirmed <= PS_INT_MAX && count->released >= 0 &&
           count->released <= PS_INT_MAX;
}

bool oq_counts_ok(struct ps_str text)
{
    struct oq_count count;
    size_t found = 0;
    if (ps_str_is(text, "[]"))
        return true;
    if (text.len == 0 || text.at[0] != '[')
        return false;
    while (oq_counts_next(&text, &count))
        if (++found > OQ_COUNTS_MAX || !count_ok(&count))
            return false;
    return found > 0 && ps_str_is(text, "]");
}

/* A missing or malformed number counts as out of bounds. */
static bool read_count(const json_t *from, struct oq_count *ret_count)
{
    const json_t *sku = json_object_get(from, "sku");
    struct {
        const char *name;
        int64_t *number;
    } numbers[] = {{"adjustments", &ret_count->adjustments},
                   {"held", &ret_count->held},
                   {"confirmed", &ret_count->confirmed},
                   {"released", &ret_count->released}};
    ret_count->sku = (struct ps_str){json_string_value(sku), json_string_length(sku)};
    for (size_t i = 0; i < PS_ARRAY_LEN(numbers); i++) {
        const json_t *number = json_object_get(from, numbers[i].name);
        if (!json_is_integer(number))
            return false;
        *numbers[i].number = json_integer_value(number);
    }
    return ret_count->sku.at != NULL && count_ok(ret_count);
}

int oq_counts_read(const json_t *list, char **ret_text, struct ps_str *ret_counts)
{
    struct oq_count counts[OQ_COUNTS_MAX];
    size_t count = json_array_size(list);
    struct ps_buf buf;
    if (!json_is_array(list) || count > OQ_COUNTS_MAX)
        return PS_E_INVALID;
    for (size_t i = 0; i < count; i++)
        if (!read_count(json_array_get(list, i), &counts[i]))
            return PS_E_INVALID;
    char *text = malloc(OQ_COUNTS_TEXT_MAX);
    if (text == NULL)
        return PS_E_NOMEM;
    ps_buf_init(&buf, text, OQ_COUNTS_TEXT_MAX);
    oq_counts_put(&buf, counts, count);
    *ret_text = text;
    *ret_counts = (struct ps_str){buf.at, buf.len};
    return 0;
}
