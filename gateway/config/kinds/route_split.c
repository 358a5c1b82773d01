/* See route_parts.h. */
#include "gateway/config/kinds/route_parts.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 64 /* of a header, a cookie */
#define WINDOW_MAX_S 3600

/* "cookie:NAME", "header:NAME=VALUE" */
static void read_split_by(struct cfg_part *part, struct cfg_split *split)
{
    struct ps_str by = {PS_STR("user").at, 4};
    bool header, cookie;

    ps_json_string(&part->json, "by", CFG_VALUE_MAX, &by);
    split->by = strcmp(by.at, "request") == 0 ? CFG_SPLIT_REQUEST : CFG_SPLIT_USER;
    if (strcmp(by.at, "user") == 0 || split->by == CFG_SPLIT_REQUEST)
        return;
    header = strncmp(by.at, "header:", 7) == 0;
    cookie = strncmp(by.at, "cookie:", 7) == 0;
    const char *name = by.at + 7;
    size_t len = header ? strcspn(name, "=") : cookie ? strlen(name) : 0;
    const char *value = header && name[len] == '=' ? name + len + 1 : "";
    if ((!header && !cookie) || len > NAME_MAX_LEN ||
        !ps_http_is_token((struct ps_str){name, len}) ||
        (header && (value[0] == '\0' || !cfg_is_field_value(value)))) {
        ps_json_fault(&part->json, "by", "must be user, request, cookie:NAME or header:NAME=VALUE");
        return;
    }
    split->by = header ? CFG_SPLIT_HEADER : CFG_SPLIT_COOKIE;
    split->name = cfg_part_copy(part, name, len);
    if (header)
        split->value = cfg_part_copy(part, value, strlen(value));
}

static json_t *write_split_by(const struct cfg_split *split)
{
    switch (split->by) {
    case CFG_SPLIT_COOKIE:
        return json_sprintf("cookie:%s", split->name);
    case CFG_SPLIT_HEADER:
        return json_sprintf("header:%s=%s", split->name, split->value);
    default:
        return json_string(split->by == CFG_SPLIT_USER ? "user" : "request");
    }
}

static void read_return(struct cfg_part *outer, struct cfg_split *split)
{
    struct cfg_part part;

    split->back.window_s = 30;
    split->back.on = cfg_part_open(outer, "return", &part);
    if (!split->back.on)
        return;
    ps_json_number(&part.json, "errors_above", 0, 1, &split->back.errors_above);
    ps_json_number(&part.json, "p99_above", 0, 1000, &split->back.p99_above);
    ps_json_int(&part.json, "window_s", 1, WINDOW_MAX_S, &split->back.window_s);
    if (split->back.p99_above > 0 && split->back.p99_above < 1)
        ps_json_fault(&part.json, "p99_above",
                      "must be at least 1 (times that of the route's pool), or 0: not judged");
    if (split->back.errors_above <= 0 && split->back.p99_above <= 0)
        ps_json_fault(&part.json, "", "must have errors_above or p99_above above 0");
    cfg_part_close(&part);
}

void cfg_splits_read(struct cfg_part *part, struct cfg_route *route)
{
    const json_t *list = NULL;
    size_t count = cfg_part_array(part, "split", CFG_SPLITS_MAX, &list);
    uint32_t sum = 0;

    route->splits = cfg_part_room(part, count, sizeof *route->splits);
    for (size_t i = 0; route->splits != NULL && i < count; i++) {
        struct cfg_split *split = &route->splits[route->split_count++];
        struct cfg_part at;
        cfg_part_open_at(part, json_array_get(list, i), "split", i, &at);
        ps_json_require(&at.json, (const char *const[]){"pool", "share", NULL});
        cfg_part_name(&at, "pool", split->pool);
        cfg_part_share(&at, "share", &split->per_mille);
        read_split_by(&at, split);
        read_return(&at, split);
        cfg_part_close(&at);
        if (split->by != CFG_SPLIT_HEADER) /* whose share is of the requests with that header */
            sum += split->per_mille;
    }
    if (sum > 1000)
        ps_json_fault(&part->json, "split", "has shares of %g together, more than 1", sum / 1000.0);
}

static json_t *write_return(const struct cfg_split *split)
{
    if (!split->back.on)
        return json_null();
    return json_pack("{s:o, s:o, s:I}", "errors_above", ps_json_of_number(split->back.errors_above),
                     "p99_above", ps_json_of_number(split->back.p99_above), "window_s",
                     (json_int_t)split->back.window_s);
}

json_t *cfg_split_write(const struct cfg_split *split)
{
    return json_pack("{s:s, s:o, s:o, s:o}", "pool", split->pool, "share",
                     cfg_share_json(split->per_mille), "by", write_split_by(split), "return",
                     write_return(split));
}

json_t *cfg_splits_write(const struct cfg_route *route)
{
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < route->split_count; i++)
        err = json_array_append_new(list, cfg_split_write(&route->splits[i]));
    return ps_json_built(list, err);
}

void cfg_mirror_read(struct cfg_part *outer, struct cfg_route *route)
{
    /* Up to schema 4 of control.db it was stored as `shadow`. */
    bool old = outer->of->bounds == NULL && ps_json_value(&outer->json, "shadow") != NULL;
    struct cfg_part part;

    if (!cfg_part_open(outer, old ? "shadow" : "mirror", &part))
        return;
    ps_json_require(&part.json, (const char *const[]){"pool", "share", NULL});
    cfg_part_name(&part, "pool", route->mirror.pool);
    cfg_part_share(&part, "share", &route->mirror.per_mille);
    if (route->mirror.pool[0] != '\0' && strcmp(route->mirror.pool, route->pool) == 0)
        ps_json_fault(&part.json, "pool", "is the route's own pool");
    if ((route->methods & CFG_GET_BIT) == 0)
        ps_json_fault(&part.json, "", "copies GET requests, which the route does not serve");
    cfg_part_close(&part);
}

json_t *cfg_mirror_write(const struct cfg_route *route)
{
    if (route->mirror.pool[0] == '\0')
        return json_null();
    return json_pack("{s:s, s:o}", "pool", route->mirror.pool, "share",
                     cfg_share_json(route->mirror.per_mille));
}

void cfg_splits_done(struct cfg_route *route)
{
    for (size_t i = 0; i < route->split_count; i++) {
        free(route->splits[i].name);
        free(route->splits[i].value);
        json_decref(route->splits[i].returned);
    }
    free(route->splits);
}
