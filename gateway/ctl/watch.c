/* watch: what a gateway has lately answered to one buyer, and what it answers next. The gateway
 * keeps the last hundred answers, so nothing is lost between two looks unless there are more. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TTL_S 600

static const char path[] = "/admin/v1/watches/{}";

int ctl_watch_list(struct ctl *ctl)
{
    const struct ctl_call call = {.path = "/admin/v1/watches"};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit == CTL_OK)
        exit = ctl_print(ctl, json_object_get(reply.json, "watches"), "user since until by reason");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_watch_end(struct ctl *ctl)
{
    const struct ctl_call call = {.method = "DELETE", .path = path, .args = {ctl->args[0]}};
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, ctl_body(ctl), 0, &reply);

    ctl_reply_done(&reply);
    return exit;
}

/* Sets the watch, for --ttl or ten minutes. */
static int begin(const struct ctl *ctl)
{
    int64_t ttl_s = ctl->options.ttl_s > 0 ? ctl->options.ttl_s : TTL_S;
    const struct ctl_call call = {.method = "PUT", .path = path, .args = {ctl->args[0]}};
    json_t *body = ctl_body(ctl);
    struct ctl_reply reply;
    int err = json_object_set_new(body, "ttl_s", json_integer(ttl_s));
    int exit = ctl_change(ctl, call, body, err, &reply);

    ctl_reply_done(&reply);
    return exit;
}

static void add_heads(struct ctl_table *table)
{
    static const char *const heads[] = {"AT",     "METHOD", "PATH",       "SALE",   "VERDICT",
                                        "STATUS", "RULE",   "REQUEST_ID", "TOOK_US"};

    for (size_t i = 0; i < PS_ARRAY_LEN(heads); i++)
        ctl_table_add(table, heads[i]);
}

static void add_verdict(struct ctl_table *table, const json_t *verdict)
{
    static const char *const members[] = {"at",     "method", "path",       "sale",   "verdict",
                                          "status", "rule",   "request_id", "took_us"};

    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++)
        ctl_table_add_json(table, json_object_get(verdict, members[i]));
}

/* Those behind number *last, the oldest first. */
static int print_new(const struct ctl *ctl, const json_t *verdicts, int64_t *last)
{
    struct ctl_table table = {.columns = 9};
    bool lines = ctl->options.output != NULL && strcmp(ctl->options.output, "ndjson") == 0;
    size_t count = json_array_size(verdicts);
    int exit = CTL_OK;
    int64_t newest = json_integer_value(json_object_get(json_array_get(verdicts, 0), "seq"));

    if (newest < *last) /* the gateway was started again: it counts anew */
        *last = 0;
    if (*last == 0 && !lines)
        add_heads(&table);
    for (size_t i = count; exit == CTL_OK && i > 0; i--) {
        const json_t *verdict = json_array_get(verdicts, i - 1);
        if (json_integer_value(json_object_get(verdict, "seq")) <= *last)
            continue;
        if (lines)
            exit = ctl_put_json(stdout, verdict, false);
        else
            add_verdict(&table, verdict);
    }
    if (newest > 0)
        *last = newest;
    int printed = lines || table.count == 0 ? CTL_OK : ctl_table_print(&table, stdout);
    if (exit == CTL_OK)
        exit = ctl_flush();
    return exit != CTL_OK ? exit : printed;
}

/* Ends with the watch: 404. */
int ctl_watch_follow(struct ctl *ctl)
{
    const struct ctl_call call = {.path = path, .args = {ctl->args[0]}, .allow = 404};
    const struct timespec pause = {.tv_sec = ctl->options.interval_s};
    int64_t last = 0;
    bool there = true;
    int exit = begin(ctl);

    while (exit == CTL_OK && there) {
        struct ctl_reply reply;
        exit = ctl_send(ctl, &call, &reply);
        if (exit != CTL_OK)
            break;
        there = reply.status != 404;
        if (there)
            exit = print_new(ctl, json_object_get(reply.json, "verdicts"), &last);
        ctl_reply_done(&reply);
        if (ctl->options.once)
            break;
        if (there && exit == CTL_OK)
            (void)nanosleep(&pause, NULL);
    }
    return exit;
}
