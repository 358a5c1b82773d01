/* See heads.h. The gateway reads the log and leaves out all other records; a page may be empty
 * although more follow, so the end is where the place stands still. */
#include "gateway/ctl/heads.h"
#include "gateway/ctl/call.h"

#include "common/grow.h"

#include <stdlib.h>
#include <string.h>

void ctl_heads_done(struct ctl_heads *heads)
{
    free(heads->at);
    *heads = (struct ctl_heads){0};
}

static void copy(const json_t *json, const char *name, char *ret_text, size_t cap)
{
    const char *text = json_string_value(json_object_get(json, name));

    (void)snprintf(ret_text, cap, "%s", text != NULL ? text : "");
}

static int add_line(struct ctl_heads *heads, const char *line, size_t len)
{
    struct ps_fault fault;
    json_t *json;

    if (ps_json_parse(line, len, &json, &fault) < 0)
        return ctl_say(CTL_AWAY, "a line of the order log is not valid JSON: %s", fault.text);
    int err = ps_grow(&heads->at, &heads->room, heads->count + 1, sizeof *heads->at);
    if (err == 0) {
        struct ctl_head *head = &heads->at[heads->count++];
        *head = (struct ctl_head){.seq = json_integer_value(json_object_get(json, "audit_seq"))};
        copy(json, "head", head->hash, sizeof head->hash);
        copy(json, "at", head->at, sizeof head->at);
        copy(json, "gateway", head->gateway, sizeof head->gateway);
    }
    json_decref(json);
    return err == 0 ? CTL_OK : ctl_say(CTL_FAILED, "out of memory");
}

static int read_all(const struct ctl *ctl, const char *sale, struct ctl_heads *heads)
{
    int64_t after = 0, before;
    int exit = CTL_OK;

    do {
        char query[96];
        struct ctl_reply reply;
        (void)snprintf(query, sizeof query, "?type=penstock.desk.head.v1&limit=1000&after=%lld",
                       (long long)after);
        const struct ctl_call call = {
            .path = "/admin/v1/sales/{}/log{+}", .args = {sale, query}, .no_json = true};
        if ((exit = ctl_send(ctl, &call, &reply)) != CTL_OK)
            return exit;
        for (const char *at = reply.text, *stop;
             exit == CTL_OK && (stop = strchr(at, '\n')) != NULL; at = stop + 1)
            exit = add_line(heads, at, (size_t)(stop - at));
        before = after;
        after = reply.last_seq > after ? reply.last_seq : after;
        ctl_reply_done(&reply);
    } while (exit == CTL_OK && after > before);
    return exit;
}

/* Keeps those of one gateway. */
static int choose(struct ctl_heads *heads, const char *gateway)
{
    size_t kept = 0;

    for (size_t i = 0; gateway == NULL && i < heads->count; i++)
        if (strcmp(heads->at[i].gateway, heads->at[0].gateway) != 0)
            return ctl_say(CTL_USAGE,
                           "the order log has heads of several gateways, such as %s and %s: say "
                           "with --gateway whose audit log this is",
                           heads->at[0].gateway, heads->at[i].gateway);
    for (size_t i = 0; i < heads->count; i++)
        if (gateway == NULL || strcmp(heads->at[i].gateway, gateway) == 0)
            heads->at[kept++] = heads->at[i];
    heads->count = kept;
    return CTL_OK;
}

static int by_seq(const void *a, const void *b)
{
    const struct ctl_head *x = a, *y = b;

    return (x->seq > y->seq) - (x->seq < y->seq);
}

int ctl_heads_read(const struct ctl *ctl, const char *sale, const char *gateway,
                   struct ctl_heads *ret_heads)
{
    struct ctl_heads heads = {0};
    int exit = read_all(ctl, sale, &heads);

    if (exit == CTL_OK)
        exit = choose(&heads, gateway);
    if (exit != CTL_OK) {
        ctl_heads_done(&heads);
        return exit;
    }
    if (heads.count > 1)
        qsort(heads.at, heads.count, sizeof *heads.at, by_seq);
    *ret_heads = heads;
    return CTL_OK;
}

size_t ctl_heads_find(const struct ctl_heads *heads, int64_t seq)
{
    size_t low = 0, high = heads->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (heads->at[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
