/* See route_parts.h. No rule sets or removes a header field that frames a message, says who asks,
 * or that the gateway sets itself. */
#include "gateway/config/kinds/route_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Header rules. --- */

#define FIELD_NAME_MAX 128

/* A name that ends with '-' stands for all names with this prefix. */
static const char *const ours[] = {"Host",
                                   "Connection",
                                   "Keep-Alive",
                                   "Transfer-Encoding",
                                   "Content-Length",
                                   "Upgrade",
                                   "TE",
                                   "Trailer",
                                   "Expect",
                                   "Proxy-",
                                   "HTTP2-Settings",
                                   "Via",
                                   "Forwarded",
                                   "X-User-Id",
                                   "X-Forwarded-",
                                   "X-Request-Id",
                                   "Date",
                                   "Age",
                                   "Cache-Status",
                                   "Penstock-"};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(ours); i++) {
        size_t len = strlen(ours[i]);
        bool all = ours[i][len - 1] == '-';
        if (strncasecmp(ours[i], name, len) == 0 && (all || name[len] == '\0'))
            return true;
    }
    return false;
}

/* clang-format off */
#define OF_SET(field) PS_AT(struct cfg_header_set, field)
static const struct ps_member set_members[] = {
    {"name", PS_M_STRING, OF_SET(name), .min = 1, .max = FIELD_NAME_MAX, .format = &cfg_format_field_name},
    {"value", PS_M_STRING, OF_SET(value), .min = 0, .max = CFG_VALUE_MAX, .format = &cfg_format_field_value, .example = "\"shop\""},
};
/* clang-format on */
static const struct ps_table set_table = {.title = "header field",
                                          .members = set_members,
                                          .count = PS_ARRAY_LEN(set_members),
                                          .size = sizeof(struct cfg_header_set)};
const struct ps_member cfg_header_set_item = {
    "", PS_M_OBJECT, .size = sizeof(struct cfg_header_set), .table = &set_table};
const struct ps_member cfg_header_remove_item = {"",
                                                 PS_M_STRING,
                                                 .size = sizeof(char *),
                                                 .min = 1,
                                                 .max = FIELD_NAME_MAX,
                                                 .format = &cfg_format_field_name,
                                                 .example = "\"Cookie\""};

static const char own_field[] = "is the gateway's own: no route sets or removes it";

/* Is it among the first `count` fields that are set? */
static bool is_set(const struct cfg_header_rules *rules, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (rules->set[i].name != NULL && strcasecmp(rules->set[i].name, name) == 0)
            return true;
    return false;
}

void cfg_header_rules_check(struct ps_table_at *at, const char *member,
                            const struct cfg_header_rules *rules)
{
    char place[FIELD_NAME_MAX + 40];

    for (size_t i = 0; i < rules->set_count; i++) {
        const char *name = rules->set[i].name;
        if (name == NULL)
            continue;
        (void)snprintf(place, sizeof place, "%s/set/%s", member, name);
        if (is_ours(name))
            ps_table_fault(at, place, "%s", own_field);
        if (is_set(rules, i, name))
            ps_table_fault(at, place, "appears twice: names are compared without case");
    }
    for (size_t i = 0; i < rules->remove_count; i++) {
        const char *name = rules->remove[i];
        (void)snprintf(place, sizeof place, "%s/remove/%zu", member, i);
        if (name != NULL && is_ours(name))
            ps_table_fault(at, place, "%s", own_field);
        if (name != NULL && is_set(rules, rules->set_count, name))
            ps_table_fault(at, place, "is also in set, which replaces the field");
    }
}

/* --- Fixed answers. --- */

static bool is_media_type(const char *text, size_t len)
{
    (void)len;
    return cfg_is_field_value(text) && strchr(text, '/') != NULL;
}

const struct ps_format cfg_format_media_type = {
    .rule = {"a media type such as text/html", "媒体类型，例如 text/html"}, .is_ok = is_media_type};

/* Opens a regular file inside the directory; operators must not make the gateway read any other. */
static int open_static(struct ps_table_at *at, const char *name)
{
    const struct cfg_bounds *bounds = ((const struct cfg_reading *)at->ctx)->bounds;
    char path[1400];
    struct stat is;

    if (bounds == NULL || bounds->static_dir == NULL) {
        ps_table_fault(at, "file", "needs the setting upstream.static_dir");
        return -1;
    }
    (void)snprintf(path, sizeof path, "%.1024s/%s", bounds->static_dir, name);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file >= 0 && fstat(file, &is) == 0 && S_ISREG(is.st_mode))
        return file;
    ps_table_fault(at, "file", "cannot be read: %s",
                   file >= 0 ? "not a regular file" : strerror(errno));
    if (file >= 0)
        close(file);
    return -1;
}

static bool is_text(const char *text, size_t len)
{
    json_t *json = json_stringn(text, len); /* as documents have it */

    json_decref(json);
    return json != NULL && strlen(text) == len;
}

/* The file's text; NULL: a fault. */
static char *read_static(struct ps_table_at *at, const char *name)
{
    int file = open_static(at, name);
    char *text = file >= 0 ? calloc(CFG_STATIC_BODY_MAX + 2, 1) : NULL;
    size_t len = 0;
    ssize_t n = 1;

    while (text != NULL && n > 0 && len <= CFG_STATIC_BODY_MAX) {
        n = read(file, text + len, CFG_STATIC_BODY_MAX + 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (file >= 0)
        close(file);
    if (file >= 0 && text == NULL)
        ps_table_no_memory(at);
    if (text == NULL)
        return NULL;
    if (n < 0)
        ps_table_fault(at, "file", "cannot be read: %s", strerror(errno));
    else if (len > CFG_STATIC_BODY_MAX)
        ps_table_fault(at, "file", "must be at most %d bytes long", CFG_STATIC_BODY_MAX);
    else if (!is_text(text, len))
        ps_table_fault(at, "file", "must be text in UTF-8, without NUL");
    return text;
}

void cfg_static_check(struct ps_table_at *at, struct cfg_static *answer)
{
    if (answer->file != NULL) {
        if (ps_table_has(at, "body"))
            ps_table_fault(at, "file", "must be absent beside body: give one of the two");
        char *text = read_static(at, answer->file);
        if (text != NULL) {
            free(answer->body);
            answer->body = text;
        }
        free(answer->file);
        answer->file = NULL;
    }
    answer->body_len = answer->body != NULL ? strlen(answer->body) : 0;
    if (answer->status == 304)
        ps_table_fault(at, "status", "cannot be 304: it answers conditional requests only");
    if (answer->body_len > 0 && (answer->status == 204 || answer->status == 205))
        ps_table_fault(at, "body", "must be empty: the status is %d", answer->status);
}
