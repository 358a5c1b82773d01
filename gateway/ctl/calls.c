/* Commands that are one call each: a table of them, and the few with an option more. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <assert.h>
#include <string.h>

/* `path` takes the command's arguments in their order. */
struct row {
    const char *command, *method, *path;
    const char *listed;  /* the member of the answer that is printed; NULL: all of it */
    const char *columns; /* NULL: member by member */
};

/* clang-format off */
static const struct row rows[] = {
    {"breakers",             NULL,     "/admin/v1/breakers",               "breakers",       "name state since why override openings"},
    {"flow",                 NULL,     "/admin/v1/flow",                   "flow",           "name limit in_flight refused latency_ms aim_ms override"},
    {"whoami",               NULL,     "/admin/v1/whoami",                 NULL,             NULL},
    {"settings",             NULL,     "/admin/v1/settings",               NULL,             NULL},
    {"standby",              NULL,     "/admin/v1/standby",                NULL,             NULL},
    {"nodes",                NULL,     "/admin/v1/gateways",               "gateways",       "gateway this alive heartbeat_age_ms leads"},
    {"override list",        NULL,     "/admin/v1/overrides",              "overrides",      "target value without gateway until by reason"},
    {"token list",           NULL,     "/admin/v1/tokens",                 "tokens",         "id role note pools created_at expires_at"},
    {"token remove",         "DELETE", "/admin/v1/tokens/{}",              NULL,             NULL},
    {"rehearsal-key list",   NULL,     "/admin/v1/rehearsal-keys",         "rehearsal_keys", "key note created_at expires_at by"},
    {"rehearsal-key remove", "DELETE", "/admin/v1/rehearsal-keys/{}",      NULL,             NULL},
    {"endpoint list",        NULL,     "/admin/v1/pools/{}/endpoints",     "endpoints",      "address weight ttl_s registered_at expires_at by"},
    {"endpoint show",        NULL,     "/admin/v1/pools/{}/endpoints/{}",  NULL,             NULL},
    {"endpoint remove",      "DELETE", "/admin/v1/pools/{}/endpoints/{}",  NULL,             NULL},
    {"route resume",         "POST",   "/admin/v1/routes/{}/resume",       NULL,             NULL},
    {"sale rebuild",         "POST",   "/admin/v1/sales/{}/rebuild",       NULL,             NULL},
    {"order show",           NULL,     "/admin/v1/orders/{}",              NULL,             NULL},
    {"order confirm",        "POST",   "/admin/v1/orders/{}/confirm",      NULL,             NULL},
    {"order cancel",         "POST",   "/admin/v1/orders/{}/cancel",       NULL,             NULL},
};
/* clang-format on */

int ctl_one_call(struct ctl *ctl)
{
    const struct row *row;
    struct ctl_reply reply;

    for (row = rows; strcmp(row->command, ctl->command->name) != 0; row++)
        assert(row + 1 < rows + PS_ARRAY_LEN(rows)); /* each such command has one */
    bool changes = row->method != NULL;
    const struct ctl_call call = {.method = row->method,
                                  .path = row->path,
                                  .args = {ctl->args[0], ctl->args[1]},
                                  .if_match = changes && row->method[0] == 'D' ? "*" : NULL};
    int exit =
        changes ? ctl_change(ctl, call, ctl_body(ctl), 0, &reply) : ctl_send(ctl, &call, &reply);
    if (exit == CTL_OK && reply.json != NULL)
        exit = ctl_print(
            ctl, row->listed != NULL ? json_object_get(reply.json, row->listed) : reply.json,
            row->columns);
    ctl_reply_done(&reply);
    return exit;
}

int ctl_override_show(struct ctl *ctl)
{
    const char *gateway = ctl->options.gateway;
    const struct ctl_call call = {
        .path = "/admin/v1/overrides/{}{+}{}",
        .args = {ctl->args[0], gateway != NULL ? "?gateway=" : "", gateway}};

    return ctl_send_and_print(ctl, &call, NULL);
}

/* Each pool's `live`, with the pool's name. */
int ctl_endpoints(struct ctl *ctl)
{
    const char *pool = ctl->args[0];
    const struct ctl_call call = {.path = "/admin/v1/pools{+}{}",
                                  .args = {pool != NULL ? "/" : "", pool}};
    json_t *all = json_array(), *doc, *one;
    struct ctl_reply reply;
    const char *name;
    size_t i;
    int exit = ctl_send(ctl, &call, &reply);
    json_t *pools = pool != NULL && exit == CTL_OK
                        ? json_pack("{s:O}", pool, reply.json)
                        : json_incref(json_object_get(reply.json, "pools"));

    json_object_foreach(pools, name, doc) json_array_foreach(json_object_get(doc, "live"), i, one)
    {
        (void)json_object_set_new(one, "pool", json_string(name));
        (void)json_array_append(all, one);
    }
    if (exit == CTL_OK)
        exit = ctl_print(ctl, all,
                         "pool address state breaker weight_now in_flight errors p99_ms since why");
    json_decref(pools);
    json_decref(all);
    ctl_reply_done(&reply);
    return exit;
}

int ctl_endpoint_put(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    json_t *body = ctl_body(ctl);
    int err = 0;

    if (options->ttl_s >= 0)
        err |= json_object_set_new(body, "ttl_s", json_integer(options->ttl_s));
    if (options->weight >= 0)
        err |= json_object_set_new(body, "weight", json_integer(options->weight));
    return ctl_change_and_print(ctl,
                                (struct ctl_call){.method = "PUT",
                                                  .path = "/admin/v1/pools/{}/endpoints/{}",
                                                  .args = {ctl->args[0], ctl->args[1]}},
                                body, err);
}

int ctl_cache_purge(struct ctl *ctl)
{
    static const char *const words[] = {"key", "prefix", "tag", NULL};
    bool known = false;

    for (size_t i = 0; words[i] != NULL; i++)
        known |= strcmp(ctl->args[1], words[i]) == 0;
    if (!known)
        return ctl_say(CTL_USAGE, "\"%s\" is none of: key, prefix, tag", ctl->args[1]);
    json_t *body = ctl_body(ctl);
    int err = json_object_set_new(body, ctl->args[1], json_string(ctl->args[2]));
    return ctl_change_and_print(ctl,
                                (struct ctl_call){.method = "POST",
                                                  .path = "/admin/v1/caches/{}/purge",
                                                  .args = {ctl->args[0]}},
                                body, err);
}

/* --- The bundle. --- */

static const char *kinds_query(const struct ctl *ctl)
{
    return ctl->options.kinds != NULL ? "&kinds=" : "";
}

/* As JSON in any case: it is for files, and for apply -f. */
int ctl_config_export(struct ctl *ctl)
{
    const struct ctl_call call = {
        .path = "/admin/v1/config?base={+}{+}{}",
        .args = {ctl->options.base ? "1" : "0", kinds_query(ctl), ctl->options.kinds}};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);
    json_t *documents = json_object_get(reply.json, "documents");

    if (exit == CTL_OK && documents == NULL)
        exit = ctl_say(CTL_AWAY, "the answer has no documents");
    if (exit == CTL_OK) {
        json_t *bundle = json_pack("{s:O}", "documents", documents);
        exit = bundle != NULL ? ctl_put_json(stdout, bundle, true)
                              : ctl_say(CTL_FAILED, "out of memory");
        json_decref(bundle);
    }
    ctl_reply_done(&reply);
    return exit;
}

int ctl_config_versions(struct ctl *ctl)
{
    const struct ctl_call call = {
        .path = "/admin/v1/config/versions{+}{}",
        .args = {ctl->options.kinds != NULL ? "?kinds=" : "", ctl->options.kinds}};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit == CTL_OK)
        exit = ctl_print(ctl, json_object_get(reply.json, "versions"),
                         "revision at who action count documents why");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_config_rollback(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    char query[64];
    char *end;
    long long revision = strtoll(ctl->args[0], &end, 10);

    if (*end != '\0' || revision < 1)
        return ctl_say(CTL_USAGE, "\"%s\" is not a revision", ctl->args[0]);
    (void)snprintf(query, sizeof query, "?dry_run=%d&force=%d", options->dry_run, options->force);
    const struct ctl_call call = {.method = "POST",
                                  .path = "/admin/v1/config/rollback{+}{+}{}",
                                  .args = {query, kinds_query(ctl), options->kinds},
                                  .if_match = "*"};
    json_t *body = ctl_body(ctl);
    struct ctl_reply reply;
    int err = json_object_set_new(body, "revision", json_integer(revision));
    int exit = ctl_change(ctl, call, body, err, &reply);
    if (exit == CTL_OK && options->dry_run)
        exit = ctl_print(ctl, json_object_get(reply.json, "changes"), "document action difference");
    else if (exit == CTL_OK && ctl_wants_json(ctl))
        exit = ctl_put_json(stdout, reply.json, true);
    else if (exit == CTL_OK)
        printf("the documents are as at revision %lld\n", revision);
    ctl_reply_done(&reply);
    return exit;
}
