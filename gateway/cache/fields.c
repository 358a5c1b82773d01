/* See fields.h. */
#include "gateway/cache/fields.h"

#include "common/clock.h"
#include "common/http/write.h"
#include "gateway/cache/directives.h"

#include <string.h>
#include <strings.h>

/* --- Fields. --- */

/* Section 3.1, and the fields that an entry has of its own. */
static bool is_of_connection(struct ps_str name)
{
    static const char *const names[] = {"Connection",
                                        "Keep-Alive",
                                        "Proxy-Connection",
                                        "Proxy-Authenticate",
                                        "Proxy-Authentication-Info",
                                        "Proxy-Authorization",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "Content-Length",
                                        "Age",
                                        "Surrogate-Key",
                                        "X-Request-Id"};
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        if (ps_http_is_text(name, names[i]))
            return true;
    }
    return name.len > 9 && strncasecmp(name.at, "Penstock-", 9) == 0;
}

static bool is_kept(struct cache_message message, struct ps_str name)
{
    return !is_of_connection(name) && !cache_lists(message, "Connection", name);
}

static void put_missing_date(struct cache_message answer, int64_t wall_ms, struct ps_buf *buf)
{
    char date[PS_HTTP_DATE_LEN + 1];
    if (cache_field(answer, "Date").at != NULL)
        return;
    ps_http_date_format(wall_ms, date);
    ps_http_put_known(buf, PS_STR("Date"), (struct ps_str){date, PS_HTTP_DATE_LEN});
}

void cache_fields_put(struct cache_message answer, int64_t wall_ms, struct ps_buf *buf)
{
    for (uint32_t i = 0; i < answer.head->field_count; i++) {
        const struct ps_http_field *field = &answer.head->fields[i];
        struct ps_str name = ps_http_text(answer.data, field->name);
        if (is_kept(answer, name))
            ps_http_put_known(buf, name, ps_http_text(answer.data, field->value));
    }
    put_missing_date(answer, wall_ms, buf);
}

/* Fields that describe the body, which a 304 does not have. */
static bool is_of_body(struct ps_str name)
{
    return ps_http_is_text(name, "Content-Encoding") || ps_http_is_text(name, "Content-Range");
}

/* Takes a line of "Name: value\r\n". */
static bool take_line(struct ps_str *lines, struct ps_str *ret_name, struct ps_str *ret_value)
{
    const char *end = lines->len > 0 ? memchr(lines->at, '\r', lines->len) : NULL;
    const char *colon = end != NULL ? memchr(lines->at, ':', (size_t)(end - lines->at)) : NULL;
    if (colon == NULL)
        return false;
    *ret_name = (struct ps_str){lines->at, (size_t)(colon - lines->at)};
    *ret_value = (struct ps_str){colon + 2, (size_t)(end - colon - 2)};
    cache_skip(lines, (size_t)(end + 2 - lines->at));
    return true;
}

static bool replaces(struct cache_message not_modified, struct ps_str name)
{
    if (is_of_body(name))
        return false;
    for (uint32_t i = 0; i < not_modified.head->field_count; i++) {
        struct ps_str other = ps_http_text(not_modified.data, not_modified.head->fields[i].name);
        if (ps_http_same_text(name, other))
            return is_kept(not_modified, name);
    }
    return false;
}

void cache_fields_merge(struct ps_str stored, struct cache_message not_modified, int64_t wall_ms,
                        struct ps_buf *buf)
{
    struct ps_str name, value;
    while (take_line(&stored, &name, &value)) {
        if (!replaces(not_modified, name) && !ps_http_is_text(name, "Date"))
            ps_http_put_known(buf, name, value);
    }
    for (uint32_t i = 0; i < not_modified.head->field_count; i++) {
        const struct ps_http_field *field = &not_modified.head->fields[i];
        name = ps_http_text(not_modified.data, field->name);
        if (is_kept(not_modified, name) && !is_of_body(name))
            ps_http_put_known(buf, name, ps_http_text(not_modified.data, field->value));
    }
    put_missing_date(not_modified, wall_ms, buf);
}

struct ps_str cache_fields_find(struct ps_str lines, const char *name)
{
    struct ps_str this_name, value;
    while (take_line(&lines, &this_name, &value)) {
        if (ps_http_is_text(this_name, name))
            return value;
    }
    return (struct ps_str){NULL, 0};
}

/* --- Entity tags. --- */

/* RFC 9110, 8.8.3.2; both are tags. */
static bool same_weakly(struct ps_str a, struct ps_str b)
{
    if (cache_is_weak(a))
        cache_skip(&a, 2);
    if (cache_is_weak(b))
        cache_skip(&b, 2);
    return ps_str_same(a, b);
}

bool cache_fields_same(struct ps_str etag, struct cache_message not_modified)
{
    struct ps_str said = cache_field(not_modified, "ETag");
    if (!cache_is_etag(said))
        return true; /* it can only belong to the entry whose validators were sent */
    return cache_is_etag(etag) && same_weakly(etag, said);
}

/* --- Conditions and ranges. --- */

static bool is_listed(struct cache_message request, struct ps_str etag)
{
    struct ps_str line, element;
    for (uint32_t at = 0; cache_next_line(request, "If-None-Match", &at, &line);) {
        while (cache_take_element(&line, &element)) {
            if (ps_http_is_text(element, "*") ||
                (cache_is_etag(element) && cache_is_etag(etag) && same_weakly(element, etag)))
                return true;
        }
    }
    return false;
}

static bool is_unmodified(const struct cache_asked *asked, const struct cache_kept *kept,
                          struct ps_str etag)
{
    struct ps_str since;
    if (!asked->has_conditions)
        return false;
    if (cache_field(asked->message, "If-None-Match").at != NULL) /* it counts alone (13.1.3) */
        return is_listed(asked->message, etag);
    since = cache_field(asked->message, "If-Modified-Since");
    int64_t since_ms = cache_date_read(since, kept->date_ms);
    int64_t modified_ms = kept->modified_ms == INT64_MIN ? kept->date_ms : kept->modified_ms;
    return since_ms != INT64_MIN && modified_ms <= since_ms;
}

/* RFC 9110, 13.1.5: a strong tag, or the very date of a Last-Modified that is strong because it
 * lies at least a second before Date (8.8.2.2). */
static bool if_range_holds(const struct cache_asked *asked, const struct cache_kept *kept,
                           struct ps_str etag)
{
    if (asked->if_range.at == NULL)
        return true;
    if (cache_is_etag(asked->if_range))
        return cache_is_etag(etag) && !cache_is_weak(etag) && ps_str_same(asked->if_range, etag);
    int64_t date_ms = cache_date_read(asked->if_range, kept->date_ms);
    return date_ms != INT64_MIN && date_ms == kept->modified_ms &&
           kept->modified_ms + 1000 <= kept->date_ms;
}

/* RFC 9110, 14.1.2: one range of bytes. A malformed one is ignored. */
static enum cache_part read_range(struct ps_str text, uint64_t body_len, uint64_t *ret_first,
                                  uint64_t *ret_len)
{
    uint64_t first, last = UINT64_MAX;
    if (text.len < 6 || strncasecmp(text.at, "bytes=", 6) != 0)
        return CACHE_PART_WHOLE;
    cache_skip(&text, 6);
    if (cache_take_char(&text, '-')) {
        uint64_t suffix;
        if (!cache_take_number(&text, &suffix) || text.len > 0)
            return CACHE_PART_WHOLE;
        if (suffix == 0)
            return CACHE_PART_NO_RANGE;
        if (body_len == 0)
            return CACHE_PART_WHOLE;
        *ret_first = suffix < body_len ? body_len - suffix : 0;
        *ret_len = body_len - *ret_first;
        return CACHE_PART_RANGE;
    }
    if (!cache_take_number(&text, &first) || !cache_take_char(&text, '-') ||
        (text.len > 0 && (!cache_take_number(&text, &last) || text.len > 0)) || last < first)
        return CACHE_PART_WHOLE;
    if (first >= body_len)
        return CACHE_PART_NO_RANGE;
    last = last < body_len ? last : body_len - 1;
    *ret_first = first;
    *ret_len = last - first + 1;
    return CACHE_PART_RANGE;
}

enum cache_part cache_part_of(const struct cache_asked *asked, const struct cache_kept *kept,
                              struct ps_str etag, uint64_t body_len, uint64_t *ret_first,
                              uint64_t *ret_len)
{
    *ret_first = 0;
    *ret_len = body_len;
    if (kept->status != 200) /* RFC 9110, 13.2.1 */
        return CACHE_PART_WHOLE;
    if (is_unmodified(asked, kept, etag))
        return CACHE_PART_NOT_MODIFIED;
    if (asked->range.at == NULL || !asked->is_get || !if_range_holds(asked, kept, etag))
        return CACHE_PART_WHOLE;
    return read_range(asked->range, body_len, ret_first, ret_len);
}
