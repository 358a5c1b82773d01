/* Both formats have the same members. PS_LOG_PENSTOCK prints them by their own names. PS_LOG_ECS
 * prints the names of the Elastic Common Schema 8.11 where that has a name for the same thing, and
 * penstock.NAME for everything else: a table below says which. A name of ECS always has the type
 * that ECS says, because Elasticsearch refuses a document with another one. */
#include "common/program/log_line.h"

#include "common/clock.h"
#include "common/text/buf.h"

#include <string.h>

#define ECS_VERSION "8.11.0"

static const char *const levels[] = {"debug", "info", "warn", "error"};

static const struct ecs_name {
    const char *name;
    enum ps_log_kind kind;
    const char *ecs; /* "": left out, because each line says it already */
    int64_t factor;  /* to the unit of ECS */
} ecs_names[] = {
    {"address", PS_LOG_STRING, "source.ip", 1},
    {"error", PS_LOG_STRING, "error.message", 1},
    {"method", PS_LOG_STRING, "http.request.method", 1},
    {"peer", PS_LOG_STRING, "source.address", 1}, /* "unix" is no address */
    {"request_id", PS_LOG_STRING, "http.request.id", 1},
    {"status", PS_LOG_INT, "http.response.status_code", 1},
    {"took_ms", PS_LOG_INT, "event.duration", PS_NS_PER_MS},
    {"took_us", PS_LOG_INT, "event.duration", 1000},
    {"trace_id", PS_LOG_STRING, "trace.id", 1},
    {"user", PS_LOG_STRING, "user.hash", 1},
    {"version", PS_LOG_STRING, "", 1},
    {"who", PS_LOG_STRING, "user.name", 1},
    {"why", PS_LOG_STRING, "event.reason", 1},
};

static const struct ecs_name *find_ecs(const struct ps_log_field *field)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(ecs_names); i++)
        if (ecs_names[i].kind == field->kind && strcmp(ecs_names[i].name, field->name) == 0)
            return &ecs_names[i];
    return NULL;
}

static void put_name(struct ps_buf *buf, const char *prefix, const char *name)
{
    ps_buf_put(buf, ",\"", 2);
    ps_buf_puts(buf, prefix);
    ps_buf_puts(buf, name);
    ps_buf_put(buf, "\":", 2);
}

static void put_text(struct ps_buf *buf, const char *name, const char *text)
{
    put_name(buf, "", name);
    ps_buf_put_json(buf, text, strlen(text));
}

static void put_value(struct ps_buf *buf, const struct ps_log_field *field, int64_t factor)
{
    int64_t number = field->number;

    if (field->kind == PS_LOG_INT)
        ps_buf_put_int(buf, __builtin_mul_overflow(number, factor, &number) ? INT64_MAX : number);
    else if (field->kind == PS_LOG_BOOL || field->kind == PS_LOG_FLAG)
        ps_buf_puts(buf, number ? "true" : "false");
    else if (field->text == NULL)
        ps_buf_puts(buf, "null");
    else
        ps_buf_put_json(buf, field->text,
                        field->len == SIZE_MAX ? strlen(field->text) : field->len);
}

static void put_ecs(struct ps_buf *buf, const struct ps_log_field *field)
{
    const struct ecs_name *known = find_ecs(field);

    if (field->kind == PS_LOG_STRING && field->text == NULL)
        return;
    if (known != NULL && known->ecs[0] == '\0')
        return;
    put_name(buf, known != NULL ? "" : "penstock.", known != NULL ? known->ecs : field->name);
    put_value(buf, field, known != NULL ? known->factor : 1);
}

static void put_field(struct ps_buf *buf, enum ps_log_format format,
                      const struct ps_log_field *field)
{
    if (field->kind == PS_LOG_FLAG && field->number == 0)
        return;
    if (format == PS_LOG_ECS) {
        put_ecs(buf, field);
        return;
    }
    put_name(buf, "", field->name);
    put_value(buf, field, 1);
}

static void put_head(struct ps_buf *buf, const struct ps_log_style *style, enum ps_log_level level,
                     const char *event)
{
    bool is_ecs = style->format == PS_LOG_ECS;
    char time[PS_TIME_LEN + 1];

    ps_time_format(ps_clock_wall_ms(&ps_clock_system), time);
    ps_buf_puts(buf, is_ecs ? "{\"@timestamp\":\"" : "{\"time\":\"");
    ps_buf_puts(buf, time);
    ps_buf_puts(buf, "\"");
    put_text(buf, is_ecs ? "log.level" : "level", levels[level]);
    put_text(buf, is_ecs ? "message" : "event", event);
    if (!is_ecs)
        return;
    put_text(buf, "ecs.version", ECS_VERSION);
    put_text(buf, "event.action", event);
    put_text(buf, "service.name", style->service);
    put_text(buf, "service.version", style->version);
    if (style->node != NULL)
        put_text(buf, "service.node.name", style->node);
}

size_t ps_log_line(const struct ps_log_style *style, enum ps_log_level level, const char *event,
                   const struct ps_log_field *fields, uint64_t dropped, char *text)
{
    const struct ps_log_field lost = PS_F_INT("dropped", dropped);
    struct ps_buf buf;

    ps_buf_init(&buf, text, PS_LOG_LINE_MAX - 2); /* room for the brace and the newline */
    put_head(&buf, style, level, event);
    if (dropped > 0)
        put_field(&buf, style->format, &lost);
    for (; fields->kind != PS_LOG_END; fields++) {
        size_t before = buf.len;
        put_field(&buf, style->format, fields);
        if (buf.overflow) {
            buf.len = before;
            buf.overflow = false;
        }
    }
    memcpy(text + buf.len, "}\n", 2);
    return buf.len + 2;
}
