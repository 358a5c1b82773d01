/* describe: the members of a kind's documents, from the gateway's JSON Schema. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/kinds.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX    8
#define NAME_MAX_LEN 256

/* "integer 1 to 4096", "token_bucket, leaky_bucket", "read-only". */
static void add_rule(struct ctl_table *table, const json_t *member)
{
    const json_t *words = json_object_get(member, "enum"), *type = json_object_get(member, "type");
    const json_t *min = json_object_get(member, "minimum"),
                 *max = json_object_get(member, "maximum");
    char text[NAME_MAX_LEN];

    if (json_is_array(type)) /* of a number that may be null, or be written as text */
        type = json_array_get(type, 0);
    if (json_is_true(json_object_get(member, "readOnly")))
        ctl_table_add(table, "read-only");
    else if (words != NULL)
        ctl_table_add_json(table, words);
    else if (json_is_string(type) && json_is_number(min) && json_is_number(max)) {
        (void)snprintf(text, sizeof text, "%.20s %.16g to %.16g", json_string_value(type),
                       json_number_value(min), json_number_value(max));
        ctl_table_add(table, text);
    } else
        ctl_table_add_json(table, type);
}

static void add_members(struct ctl_table *table, const json_t *schema, const char *path, int depth)
{
    json_t *members = json_object_get(schema, "properties"), *member;
    const char *name;
    char whole[NAME_MAX_LEN];

    json_object_foreach(members, name, member)
    {
        const json_t *items = json_object_get(member, "items");
        bool list = json_object_get(items, "properties") != NULL;
        (void)snprintf(whole, sizeof whole, "%s%s%s", path, name, list ? "[]" : "");
        ctl_table_add(table, whole);
        add_rule(table, member);
        ctl_table_add_json(table, json_object_get(member, "default"));
        ctl_table_add_json(table, json_object_get(member, "description"));
        size_t len = strlen(whole);
        if (depth == DEPTH_MAX || len + 2 > sizeof whole)
            continue;
        memcpy(whole + len, ".", 2);
        add_members(table, list ? items : member, whole, depth + 1);
    }
}

static bool speaks_chinese(void)
{
    const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};

    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0')
            return strncmp(value, "zh", 2) == 0;
    }
    return false;
}

int ctl_describe(struct ctl *ctl)
{
    const struct ctl_kind *kind = ctl_kind_find(ctl->args[0]);
    struct ctl_reply reply;

    if (kind == NULL)
        return CTL_USAGE;
    const struct ctl_call call = {.path = "/admin/v1/schema/{}?language={}",
                                  .args = {kind->word, speaks_chinese() ? "zh" : "en"}};
    int exit = ctl_send(ctl, &call, &reply);
    if (exit != CTL_OK)
        return exit;
    if (ctl_wants_json(ctl)) {
        exit = ctl_put_json(stdout, reply.json, true);
    } else {
        struct ctl_table table = {.columns = 4};
        const char *const heads[] = {"MEMBER", "TYPE", "DEFAULT", "MEANING"};
        for (size_t i = 0; i < PS_ARRAY_LEN(heads); i++)
            ctl_table_add(&table, heads[i]);
        add_members(&table, reply.json, "", 0);
        exit = ctl_table_print(&table, stdout);
    }
    ctl_reply_done(&reply);
    return exit;
}
