/* sale: shows sales, and acts on them. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>

#define SALE "/admin/v1/sales/{}"

/* The members of the sale, then a row for each SKU. */
static int print_sale(const struct ctl *ctl, json_t *sale)
{
    if (ctl_wants_json(ctl))
        return ctl_put_json(stdout, sale, true);
    json_t *skus = json_incref(json_object_get(sale, "skus"));
    (void)json_object_del(sale, "skus");
    int exit = ctl_print(ctl, sale, NULL);
    fputc('\n', stdout);
    if (exit == CTL_OK)
        exit = ctl_print(ctl, skus, "sku stock available in_doubt held confirmed adjustments");
    json_decref(skus);
    return exit;
}

int ctl_sale_show(struct ctl *ctl)
{
    const struct ctl_call call = {.path = SALE, .args = {ctl->args[0]}};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit == CTL_OK)
        exit = print_sale(ctl, reply.json);
    ctl_reply_done(&reply);
    return exit;
}

/* "sale pause": the second word is the last part of the path. */
int ctl_sale_act(struct ctl *ctl)
{
    const struct ctl_call call = {.method = "POST",
                                  .path = SALE "/{+}",
                                  .args = {ctl->args[0], strchr(ctl->command->name, ' ') + 1}};
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, ctl_body(ctl), 0, &reply);

    if (exit != CTL_OK)
        return exit;
    if (ctl_wants_json(ctl)) {
        exit = ctl_put_json(stdout, reply.json, true);
    } else {
        const char *state = json_string_value(json_object_get(reply.json, "state"));
        fputs("the sale is now: ", stdout);
        ctl_put_text(stdout, state != NULL ? state : "?", state != NULL ? strlen(state) : 1);
        fputc('\n', stdout);
    }
    ctl_reply_done(&reply);
    return exit;
}

int ctl_sale_adjust(struct ctl *ctl)
{
    char *end;
    long long delta = strtoll(ctl->args[2], &end, 10);

    if (*end != '\0' || delta == 0)
        return ctl_say(CTL_USAGE, "\"%s\" is not a number of units such as 100 or -5",
                       ctl->args[2]);
    if (ctl->options.id == NULL)
        return ctl_say(CTL_USAGE,
                       "--id is needed: calls with the same id count once, so a call can "
                       "be repeated if its outcome is unknown");
    const struct ctl_call call = {
        .method = "POST", .path = SALE "/skus/{}/adjust", .args = {ctl->args[0], ctl->args[1]}};
    json_t *body = ctl_body(ctl);
    int err = json_object_set_new(body, "delta", json_integer(delta));
    err |= json_object_set_new(body, "adjust_id", json_string(ctl->options.id));
    return ctl_change_and_print(ctl, call, body, err);
}

/* An audit that fails is reported as a refusal, so that a script notices it. */
int ctl_sale_audit(struct ctl *ctl)
{
    const struct ctl_call call = {.path = SALE "/audit", .args = {ctl->args[0]}};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit != CTL_OK)
        return exit;
    bool ok = json_is_true(json_object_get(reply.json, "ok"));
    if (ctl_wants_json(ctl)) {
        exit = ctl_put_json(stdout, reply.json, true);
    } else {
        exit = ctl_print(ctl, json_object_get(reply.json, "skus"),
                         "sku adjustments available in_doubt held confirmed released");
        if (exit == CTL_OK && !ok)
            exit = ctl_print(ctl, json_object_get(reply.json, "violations"), "rule text");
        json_int_t unknown = json_integer_value(json_object_get(reply.json, "unknown_records"));
        if (unknown > 0)
            printf("%lld records are of types that this version does not know\n",
                   (long long)unknown);
        puts(ok ? "the audit found no differences" : "the audit found DIFFERENCES");
    }
    ctl_reply_done(&reply);
    return exit != CTL_OK ? exit : ok ? CTL_OK : CTL_REFUSED;
}
