/* See route_parts.h. A header field that frames a message, that says who asks, or that the gateway
 * answers for, is the gateway's alone: no rule sets or removes it. */
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

/* A name that ends with '-' is that of all that begin so. */
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

/* NULL: a rule may name it. */
static const char *wrong_with_name(const char *name)
{
    size_t len = strlen(name);

    if (len > FIELD_NAME_MAX || !ps_http_is_token((struct ps_str){name, len}))
        return "is no name of a header field";
    return is_ours(name) ? "is the gateway's own: no route sets or removes it" : NULL;
}

static bool is_set(const struct cfg_header_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->set_count; i++)
        if (strcasecmp(rules->set[i].name, name) == 0)
            return true;
    return false;
}

static void read_set(struct cfg_part *part, struct cfg_header_rules *rules)
{
    struct cfg_part of;
    const char *name;
    json_t *value;

    if (!cfg_part_open(part, "set", &of))
        return;
    size_t count = json_object_size(of.json.object);
    if (count > CFG_HEADER_RULES_MAX) {
        ps_json_fault(&part->json, "set", "must have at most %d members", CFG_HEADER_RULES_MAX);
        return;
    }
    rules->set = cfg_part_room(part, count, sizeof *rules->set);
    json_object_foreach((json_t *)(uintptr_t)of.json.object, name, value)
    {
        const char *text = json_string_value(value);
        if (rules->set == NULL)
            return;
        const char *wrong = wrong_with_name(name);
        if (wrong != NULL)
            ps_json_fault(&of.json, name, "%s", wrong);
        if (is_set(rules, name))
            ps_json_fault(&of.json, name, "is there twice: case does not tell names apart");
        if (text == NULL || strlen(text) > CFG_VALUE_MAX || !cfg_is_field_value(text))
            ps_json_fault(&of.json, name,
                          "must be a text of at most %d bytes without control bytes, and without "
                          "white space around it",
                          CFG_VALUE_MAX);
        struct cfg_header_set *set = &rules->set[rules->set_count];
        set->name = cfg_part_copy(part, name, strlen(name));
        set->value = cfg_part_copy(part, text != NULL ? text : "", CFG_VALUE_MAX);
        rules->set_count += set->name != NULL;
    }
}

static void read_remove(struct cfg_part *part, struct cfg_header_rules *rules)
{
    const json_t *list = NULL;
    size_t count = cfg_part_array(part, "remove", CFG_HEADER_RULES_MAX, &list);

    rules->remove = cfg_part_room(part, count, sizeof *rules->remove);
    for (size_t i = 0; rules->remove != NULL && i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        const char *wrong =
            name != NULL ? wrong_with_name(name) : "must be the name of a header field";
        char place[32];
        (void)snprintf(place, sizeof place, "remove/%zu", i);
        if (wrong == NULL && is_set(rules, name))
            wrong = "is in set, too, which replaces the field";
        if (wrong != NULL)
            cfg_part_fault(part, place, "%s", wrong);
        rules->remove[i] = cfg_part_copy(part, name != NULL ? name : "", FIELD_NAME_MAX);
        rules->remove_count++;
    }
}

void cfg_header_rules_read(struct cfg_part *outer, const char *member,
                           struct cfg_header_rules *ret_rules)
{
    struct cfg_part part;

    if (!cfg_part_open(outer, member, &part))
        return;
    read_set(&part, ret_rules);
    read_remove(&part, ret_rules);
    cfg_part_close(&part);
}

json_t *cfg_header_rules_write(const struct cfg_header_rules *rules)
{
    json_t *set = json_object(), *list = json_array();
    int err = 0;

    for (size_t i = 0; i < rules->set_count; i++)
        err |= json_object_set_new(set, rules->set[i].name, json_string(rules->set[i].value));
    for (size_t i = 0; i < rules->remove_count; i++)
        err |= json_array_append_new(list, json_string(rules->remove[i]));
    return json_pack("{s:o, s:o}", "set", ps_json_built(set, err), "remove",
                     ps_json_built(list, err));
}

void cfg_header_rules_done(struct cfg_header_rules *rules)
{
    for (size_t i = 0; i < rules->set_count; i++) {
        free(rules->set[i].name);
        free(rules->set[i].value);
    }
    for (size_t i = 0; i < rules->remove_count; i++)
        free(rules->remove[i]);
    free(rules->set);
    free(rules->remove);
}

/* --- Answers that need nobody. --- */

#define TYPE_MAX 128
#define FILE_MAX 255

/* A regular file inside the directory; operators may make the gateway read no other. */
static int open_static(struct cfg_part *part, const char *name)
{
    const struct cfg_bounds *bounds = part->of->bounds;
    char path[1400];
    struct stat is;

    if (bounds == NULL || bounds->static_dir == NULL) {
        ps_json_fault(&part->json, "file", "needs a directory: the setting upstream.static_dir");
        return -1;
    }
    if (!cfg_is_inside(name)) {
        ps_json_fault(&part->json, "file",
                      "must be a file of upstream.static_dir, such as soon.html");
        return -1;
    }
    (void)snprintf(path, sizeof path, "%.1024s/%s", bounds->static_dir, name);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file >= 0 && fstat(file, &is) == 0 && S_ISREG(is.st_mode))
        return file;
    ps_json_fault(&part->json, "file", "cannot be read: %s",
                  file >= 0 ? "it is no regular file" : strerror(errno));
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
static char *read_static(struct cfg_part *part, const char *name)
{
    int file = open_static(part, name);
    char *text = file >= 0 ? cfg_part_room(part, CFG_STATIC_BODY_MAX + 2, 1) : NULL;
    size_t len = 0;
    ssize_t n = 1;

    while (text != NULL && n > 0 && len <= CFG_STATIC_BODY_MAX) {
        n = read(file, text + len, CFG_STATIC_BODY_MAX + 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (file >= 0)
        close(file);
    if (text == NULL)
        return NULL;
    if (n < 0)
        ps_json_fault(&part->json, "file", "cannot be read: %s", strerror(errno));
    else if (len > CFG_STATIC_BODY_MAX)
        ps_json_fault(&part->json, "file", "must be at most %zu bytes long", CFG_STATIC_BODY_MAX);
    else if (!is_text(text, len))
        ps_json_fault(&part->json, "file", "must be text in UTF-8, without NUL");
    return text;
}

static char *read_body(struct cfg_part *part)
{
    char *name = cfg_part_text(part, "file", FILE_MAX), *body;

    if (name == NULL)
        return cfg_part_text(part, "body", CFG_STATIC_BODY_MAX);
    if (cfg_part_has(part, "body"))
        ps_json_fault(&part->json, "file", "stands beside a body: only one of both may be there");
    body = read_static(part, name);
    free(name);
    return body;
}

void cfg_static_read(struct cfg_part *part, struct cfg_static *ret_answer)
{
    int64_t status = 200;

    ps_json_int(&part->json, "status", 200, 599, &status);
    ret_answer->status = (int)status;
    ret_answer->content_type = cfg_part_text(part, "content_type", TYPE_MAX);
    if (ret_answer->content_type == NULL)
        ret_answer->content_type = cfg_part_copy(part, "text/html", TYPE_MAX);
    const char *type = ret_answer->content_type;
    if (type != NULL && (!cfg_is_field_value(type) || type[0] == '\0' || strchr(type, '/') == NULL))
        ps_json_fault(&part->json, "content_type", "must be a media type such as text/html");
    ret_answer->body = read_body(part);
    if (ret_answer->body == NULL)
        ret_answer->body = cfg_part_copy(part, "", 0);
    ret_answer->body_len = ret_answer->body != NULL ? strlen(ret_answer->body) : 0;
    if (status == 304)
        ps_json_fault(&part->json, "status", "cannot be 304: nothing was asked about");
    if (ret_answer->body_len > 0 && (status == 204 || status == 205))
        ps_json_fault(&part->json, "body", "must be empty with the status %lld", (long long)status);
}

int cfg_static_write(const struct cfg_static *answer, json_t *json)
{
    return json_object_set_new(json, "status", json_integer(answer->status)) |
           json_object_set_new(json, "content_type", json_string(answer->content_type)) |
           json_object_set_new(json, "body", json_stringn(answer->body, answer->body_len));
}

void cfg_static_done(struct cfg_static *answer)
{
    free(answer->content_type);
    free(answer->body);
}
