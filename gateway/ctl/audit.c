/* audit: who has changed what. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>

static int add_line(struct ctl_table *table, const char *line, size_t len)
{
    static const char *const members[] = {"seq", "at", "who", "peer", "action", "target", "why"};
    struct ps_fault fault;
    json_t *json;

    if (ps_json_parse(line, len, &json, &fault) < 0)
        return ctl_say(CTL_AWAY, "a line of the answer is no JSON: %s", fault.text);
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++)
        ctl_table_add_json(table, json_object_get(json, members[i]));
    json_decref(json);
    return CTL_OK;
}

static int print_lines(const char *text, size_t len)
{
    struct ctl_table table = {.columns = 7};
    int exit = CTL_OK;

    for (size_t i = 0; i < 7; i++)
        ctl_table_add(&table, (const char *const[]){"SEQ", "AT", "WHO", "PEER", "ACTION", "TARGET",
                                                    "WHY"}[i]);
    for (const char *at = text, *end = text + len; exit == CTL_OK && at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t line = (size_t)((stop != NULL ? stop : end) - at);
        exit = add_line(&table, at, line);
        at += line + 1;
    }
    int printed = ctl_table_print(&table, stdout);
    return exit != CTL_OK ? exit : printed;
}

int ctl_audit_show(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    char query[96];
    int len = snprintf(query, sizeof query, "?limit=%lld",
                       (long long)(options->limit > 0 ? options->limit : 100));

    if (options->after >= 0)
        (void)snprintf(query + len, sizeof query - (size_t)len, "&after=%lld",
                       (long long)options->after);
    const struct ctl_call call = {
        .path = "/admin/v1/audit-log{+}", .args = {query}, .no_json = true};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);
    if (exit == CTL_OK && options->output != NULL && strcmp(options->output, "ndjson") == 0)
        (void)fwrite(reply.text, 1, reply.len, stdout);
    else if (exit == CTL_OK)
        exit = print_lines(reply.text, reply.len);
    ctl_reply_done(&reply);
    return exit;
}
