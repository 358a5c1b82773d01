/* See span.h. JSON as the protocol's mapping says: ids in hexadecimal, whole numbers of 64 bits as
 * strings, enums as numbers. */
#include "common/otlp/span.h"

#include "common/random.h"

#include <sodium.h>

#define FAILED "{\"code\":2}"

void ps_span_begin(struct ps_span *span, const struct ps_traceparent *is, const uint8_t parent[8],
                   enum ps_span_kind kind)
{
    memcpy(span->trace, is->trace, sizeof span->trace);
    memcpy(span->id, is->span, sizeof span->id);
    memcpy(span->parent, parent, sizeof span->parent);
    span->kind = kind;
    span->failed = false;
    span->begin_ns = span->end_ns = 0;
    span->name_len = span->attributes = span->text_len = 0;
}

void ps_span_name(struct ps_span *span, struct ps_str part)
{
    size_t room = sizeof span->name - span->name_len;
    size_t len = part.len < room ? part.len : room;

    if (len > 0)
        memcpy(span->name + span->name_len, part.at, len);
    span->name_len += len;
}

void ps_span_text(struct ps_span *span, const char *name, struct ps_str text)
{
    if (text.len == 0 || span->attributes == PS_SPAN_ATTRIBUTES ||
        text.len > sizeof span->text - span->text_len)
        return;
    span->attribute[span->attributes++] = (struct ps_span_attribute){
        .name = name, .is_text = true, .at = (uint16_t)span->text_len, .len = (uint16_t)text.len};
    memcpy(span->text + span->text_len, text.at, text.len);
    span->text_len += text.len;
}

void ps_span_number(struct ps_span *span, const char *name, int64_t number)
{
    if (span->attributes < PS_SPAN_ATTRIBUTES)
        span->attribute[span->attributes++] =
            (struct ps_span_attribute){.name = name, .number = number};
}

static void put_hex(struct ps_buf *buf, const char *name, const uint8_t *bytes, size_t count)
{
    char text[2 * sizeof(struct ps_traceparent)];

    ps_buf_puts(buf, name);
    ps_buf_put(buf, text, (size_t)(ps_hex_put(text, bytes, count) - text));
    ps_buf_puts(buf, "\"");
}

static void put_time(struct ps_buf *buf, const char *name, int64_t ns)
{
    ps_buf_puts(buf, name);
    ps_buf_put_int(buf, ns);
    ps_buf_puts(buf, "\"");
}

static void put_attribute(struct ps_buf *buf, const struct ps_span *span, size_t i)
{
    const struct ps_span_attribute *attribute = &span->attribute[i];

    ps_buf_puts(buf, i > 0 ? ",{\"key\":\"" : "{\"key\":\"");
    ps_buf_puts(buf, attribute->name);
    if (attribute->is_text) {
        ps_buf_puts(buf, "\",\"value\":{\"stringValue\":");
        ps_buf_put_json(buf, span->text + attribute->at, attribute->len);
        ps_buf_puts(buf, "}}");
    } else {
        put_time(buf, "\",\"value\":{\"intValue\":\"", attribute->number);
        ps_buf_puts(buf, "}}");
    }
}

void ps_span_put(struct ps_buf *buf, const struct ps_span *span, int64_t wall_ns)
{
    static const uint8_t none[sizeof span->parent];

    put_hex(buf, "{\"traceId\":\"", span->trace, sizeof span->trace);
    put_hex(buf, ",\"spanId\":\"", span->id, sizeof span->id);
    if (memcmp(span->parent, none, sizeof none) != 0)
        put_hex(buf, ",\"parentSpanId\":\"", span->parent, sizeof span->parent);
    ps_buf_puts(buf, ",\"name\":");
    ps_buf_put_json(buf, span->name, span->name_len);
    ps_buf_puts(buf, ",\"kind\":");
    ps_buf_put_int(buf, (int64_t)span->kind);
    put_time(buf, ",\"startTimeUnixNano\":\"", span->begin_ns + wall_ns);
    put_time(buf, ",\"endTimeUnixNano\":\"", span->end_ns + wall_ns);
    ps_buf_puts(buf, ",\"attributes\":[");
    for (size_t i = 0; i < span->attributes; i++)
        put_attribute(buf, span, i);
    ps_buf_puts(buf, span->failed ? "],\"status\":" FAILED "}" : "],\"status\":{}}");
}

void ps_span_ids_init(struct ps_span_ids *ids)
{
    randombytes_buf(ids->state, sizeof ids->state);
}

void ps_span_ids_next(struct ps_span_ids *ids, uint8_t ret_id[8])
{
    uint64_t id;

    do
        id = ps_random_next(&ids->state[0]);
    while (id == 0);
    memcpy(ret_id, &id, sizeof id);
}

void ps_span_ids_trace(struct ps_span_ids *ids, uint8_t ret_trace[16])
{
    uint64_t half = ps_random_next(&ids->state[1]);

    memcpy(ret_trace, &half, sizeof half);
    ps_span_ids_next(ids, ret_trace + sizeof half);
}

bool ps_span_ids_draw(struct ps_span_ids *ids, int64_t n)
{
    return n > 0 && (n == 1 || ps_random_next(&ids->state[1]) % (uint64_t)n == 0);
}
