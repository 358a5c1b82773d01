/* See later.h. */
#include "queue/later.h"
#include "common/text/json.h"

#include <string.h>

#define OURS "penstock."

static bool is_type(const char *type)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(type);

    return strncmp(type, OURS, sizeof OURS - 1) == 0 && len > sizeof OURS - 1 &&
           len <= OQ_LATER_TYPE_MAX && strspn(type, letters) == len;
}

bool oq_later_is(const json_t *json, const char *const *known)
{
    const char *type = json_string_value(json_object_get(json, "type"));

    if (type == NULL || !is_type(type))
        return false;
    for (; *known != NULL; known++)
        if (strcmp(type, *known) == 0)
            return false;
    return true;
}

static const char *line_fault(const json_t *json, struct ps_str text)
{
    static const char begin[] = "{\"type\":";

    if (text.len > OQ_LATER_JSON_MAX)
        return "is too long for a record";
    if (text.len < sizeof begin || memcmp(text.at, begin, sizeof begin - 1) != 0)
        return "does not begin with its type";
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ')
            return "has a control character";
    if (json_object_get(json, "seq") != NULL || json_object_get(json, "prev") != NULL)
        return "has a seq or prev, which only its line has";
    return NULL;
}

int oq_later_read(const json_t *json, struct ps_str text, struct oq_event *event,
                  struct ps_fault *fault)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *critical = json_object_get(json, "critical");
    const char *wrong = line_fault(json, text);

    if (critical != NULL && !json_is_false(critical))
        return ps_fault(fault, PS_E_NEWER, "/type",
                        "%s is a critical record of a later version: only a version that knows it "
                        "may read this log",
                        type);
    if (wrong != NULL)
        return ps_fault(fault, PS_E_INVALID, "/type", "%s is unknown, and %s", type, wrong);
    event->type = OQ_LATER;
    event->later_type = ps_str(type);
    event->later_json = text;
    return 0;
}

bool oq_later_is_new(struct oq_later_names *names, const struct oq_event *event)
{
    struct ps_str type = event->later_type;

    for (size_t i = 0; i < names->count; i++)
        if (ps_str_is(type, names->at[i]))
            return false;
    if (names->count == OQ_LATER_NAMES || type.len > OQ_LATER_TYPE_MAX)
        return false;
    memcpy(names->at[names->count], type.at, type.len);
    names->at[names->count++][type.len] = '\0';
    return true;
}
