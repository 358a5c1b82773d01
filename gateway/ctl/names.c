/* Who a token is: the note that was given to it, for tables that people read. Asked for once, when
 * the first id is to be shown; a token that may not see notes goes on seeing ids. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/print.h"

#include <string.h>

/* Of the ids that gateways make; "first", "system" and names of files say who it is themselves. */
static bool is_id(const char *text)
{
    return text[0] == 't' && strlen(text) == 13 && strspn(text + 1, "0123456789abcdef") == 12;
}

static json_t *read_notes(const struct ctl *ctl)
{
    const struct ctl_call call = {.path = "/admin/v1/tokens", .allow = 403};
    json_t *notes = json_object(), *token;
    struct ctl_reply reply;
    size_t i;

    if (ctl_send(ctl, &call, &reply) != CTL_OK)
        return notes;
    json_array_foreach(json_object_get(reply.json, "tokens"), i, token)
    {
        const char *id = json_string_value(json_object_get(token, "id"));
        const char *note = json_string_value(json_object_get(token, "note"));
        if (id != NULL && note != NULL && note[0] != '\0')
            (void)json_object_set_new(notes, id, json_string(note));
    }
    ctl_reply_done(&reply);
    return notes;
}

const json_t *ctl_who(const struct ctl *ctl, const json_t *who)
{
    static json_t *notes; /* one command, one gateway */
    const char *id = json_string_value(who);

    if (id == NULL || !is_id(id))
        return who;
    if (notes == NULL)
        notes = read_notes(ctl);
    const json_t *note = json_object_get(notes, id);
    return note != NULL ? note : who;
}
