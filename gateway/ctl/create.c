/* create, limit create, block: documents that are not there yet, one call each, so that who may
 * only change single documents can make them, too. What is there already stays as it is. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/files.h"
#include "gateway/ctl/kinds.h"
#include "gateway/ctl/print.h"

#include <string.h>

/* Takes the document over. */
static int put_new(const struct ctl *ctl, const char *kind, const char *name, json_t *doc,
                   struct ctl_reply *ret_reply)
{
    const struct ctl_call call = {.method = "PUT",
                                  .path = "/admin/v1/{+}/{}{+}",
                                  .args = {kind, name, ctl->options.dry_run ? "?dry_run=1" : ""},
                                  .allow = 428};
    const char *reason = ctl->options.reason;
    int err = reason != NULL ? json_object_set_new(doc, "reason", json_string(reason)) : 0;
    int exit = ctl_change(ctl, call, doc, err, ret_reply);

    if (exit == CTL_OK && ret_reply->status == 428) {
        ctl_reply_done(ret_reply);
        exit = ctl_say(CTL_REFUSED, "%s/%s exists already: penstockctl patch or edit changes it",
                       kind, name);
    }
    return exit;
}

/* Prints what was made, or what a dry run says. */
static int create_one(const struct ctl *ctl, const struct ctl_kind *kind, const char *name,
                      json_t *doc)
{
    struct ctl_reply reply;
    int exit = put_new(ctl, kind->path, name, doc, &reply);

    if (exit != CTL_OK)
        return exit;
    if (ctl->options.dry_run && !ctl_wants_json(ctl))
        exit = ctl_print(ctl, json_object_get(reply.json, "changes"), "document action difference");
    else
        exit = ctl_print(ctl, reply.json, NULL);
    ctl_reply_done(&reply);
    return exit;
}

/* All documents of the files, up to the first that is refused. */
static int create_all(const struct ctl *ctl)
{
    json_t *bundle = NULL, *names, *doc;
    const char *name;
    size_t count = 0;
    int exit = ctl_files_bundle(ctl->options.file, &bundle);

    if (exit != CTL_OK)
        return exit;
    /* in the order of the table: what others name comes first */
    for (const struct ctl_kind *kind = ctl_kinds; kind->word != NULL; kind++) {
        names = json_object_get(bundle, kind->path);
        json_object_foreach(names, name, doc)
        {
            struct ctl_reply reply;
            if (exit != CTL_OK)
                break;
            exit = put_new(ctl, kind->path, name, json_deep_copy(doc), &reply);
            ctl_reply_done(&reply);
            if (exit != CTL_OK)
                break;
            count++;
            printf("%s/%s %s\n", kind->path, name,
                   ctl->options.dry_run ? "would be created" : "is created");
        }
        (void)json_object_del(bundle, kind->path);
    }
    if (exit == CTL_OK && json_object_size(bundle) > 0)
        exit = ctl_say(CTL_USAGE, "unknown kind \"%s\"",
                       json_object_iter_key(json_object_iter(bundle)));
    else if (exit == CTL_OK && count == 0)
        exit = ctl_say(CTL_USAGE, "%s contains no document", ctl->options.file);
    json_decref(bundle);
    return exit;
}

static int create_named(const struct ctl *ctl, const struct ctl_kind *kind, const char *name,
                        const char *text)
{
    struct ps_fault fault = {0};
    json_t *doc = NULL;

    if (kind == NULL)
        return CTL_USAGE;
    if (kind->is_one || name == NULL || text == NULL)
        return ctl_say(CTL_USAGE,
                       "usage: penstockctl create %s NAME '{\"member\":value}', or -f FILE",
                       kind->word);
    if (ps_json_parse(text, strlen(text), &doc, &fault) < 0 || !json_is_object(doc)) {
        json_decref(doc);
        return ctl_say(CTL_USAGE, "the document is not a JSON object%s%s",
                       fault.text[0] != '\0' ? ": " : "", fault.text);
    }
    return create_one(ctl, kind, name, doc);
}

int ctl_create(struct ctl *ctl)
{
    bool named = ctl->args[0] != NULL;

    if (named == (ctl->options.file != NULL))
        return ctl_say(CTL_USAGE, "create needs either KIND NAME DOCUMENT or -f FILE|DIR");
    return named ? create_named(ctl, ctl_kind_find(ctl->args[0]), ctl->args[1],
                                ctl->args[1] != NULL ? ctl->args[2] : NULL)
                 : create_all(ctl);
}

int ctl_limit_create(struct ctl *ctl)
{
    return create_named(ctl, ctl_kind_find("limit"), ctl->args[0], ctl->args[1]);
}

/* "block user", "block ip": of a range the slash is a dash in the path. */
int ctl_block(struct ctl *ctl)
{
    bool user = strcmp(ctl->command->name, "block user") == 0;
    char name[256];
    json_t *doc = json_object();

    (void)snprintf(name, sizeof name, "%s", ctl->args[0]);
    for (char *c = name; !user && *c != '\0'; c++)
        *c = *c == '/' ? '-' : *c;
    if (doc != NULL && ctl->options.ttl_s >= 0 &&
        json_object_set_new(doc, "ttl_s", json_integer(ctl->options.ttl_s)) != 0) {
        json_decref(doc);
        doc = NULL;
    }
    return create_one(ctl, ctl_kind_find(user ? "block_user" : "block_ip"), name, doc);
}
