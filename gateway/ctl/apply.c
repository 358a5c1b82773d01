/* apply and diff: compares files with the documents in force. Both send one PUT of a bundle, so
 * that all of it is applied or nothing; a dry run of the PUT returns the differences. They replace
 * any version in force: the files are what the operator wants. */
#include "common/clock.h"
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/files.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kinds of --kinds that the files do not have at all: --prune deletes all their documents. */
static int add_kinds(const struct ctl *ctl, json_t *documents)
{
    const char *kinds = ctl->options.kinds;

    while (kinds != NULL && *kinds != '\0') {
        char kind[PS_NAME_MAX + 1];
        size_t len = strcspn(kinds, ",");
        if (len == 0 || len > PS_NAME_MAX)
            return ctl_say(CTL_USAGE, "--kinds is a list such as limits,routes");
        (void)snprintf(kind, sizeof kind, "%.*s", (int)len, kinds);
        if (ctl->options.prune && json_object_get(documents, kind) == NULL &&
            json_object_set_new(documents, kind, json_object()) != 0)
            return ctl_say(CTL_FAILED, "out of memory");
        kinds += len + (kinds[len] == ',');
    }
    return CTL_OK;
}

/* The bundle of the files, as the body of the request. Owner: the caller. */
static int read_bundle(const struct ctl *ctl, json_t **ret_body)
{
    json_t *documents = NULL, *body = NULL;

    if (ctl->options.file == NULL)
        return ctl_say(CTL_USAGE, "%s needs -f FILE|DIR", ctl->command->name);
    int exit = ctl_files_bundle(ctl->options.file, &documents);
    if (exit == CTL_OK)
        exit = add_kinds(ctl, documents);
    if (exit == CTL_OK && json_object_size(documents) == 0)
        exit = ctl_say(CTL_USAGE, "%s contains no document", ctl->options.file);
    if (exit == CTL_OK &&
        ((body = ctl_body(ctl)) == NULL || json_object_set(body, "documents", documents) != 0))
        exit = ctl_say(CTL_FAILED, "out of memory");
    json_decref(documents);
    if (exit == CTL_OK)
        *ret_body = body;
    else
        json_decref(body);
    return exit;
}

/* As ctl_send, but tries again until `end_ns` if no gateway answers. */
static int send_until(const struct ctl *ctl, const struct ctl_call *call, int64_t end_ns,
                      struct ctl_reply *ret_reply)
{
    int exit = ctl_send(ctl, call, ret_reply);

    for (unsigned pause_s = 1; exit == CTL_AWAY && ps_clock_mono_ns(&ps_clock_system) < end_ns;
         pause_s = pause_s < 8 ? 2 * pause_s : 10) {
        (void)sleep(pause_s);
        exit = ctl_send(ctl, call, ret_reply);
    }
    return exit;
}

static int put_bundle(const struct ctl *ctl, const json_t *body, bool dry_run, int64_t end_ns,
                      struct ctl_reply *ret_reply)
{
    char query[64];
    (void)snprintf(query, sizeof query, "?left_out=%s&dry_run=%d&force=%d",
                   ctl->options.prune ? "drop" : "keep", dry_run, ctl->options.force);
    const struct ctl_call call = {
        .method = "PUT",
        .path = "/admin/v1/config{+}{+}{}",
        .args = {query, ctl->options.kinds != NULL ? "&kinds=" : "", ctl->options.kinds},
        .body = body,
        .if_match = "*"};

    return send_until(ctl, &call, end_ns, ret_reply);
}

/* --- Differences. --- */

/* The value that a pointer (RFC 6901) of a difference names; NULL: none. */
static const json_t *follow(const json_t *json, const char *pointer)
{
    char name[512];

    while (json != NULL && *pointer == '/') {
        size_t len = 0;
        for (pointer++; *pointer != '\0' && *pointer != '/'; pointer++) {
            bool escaped = *pointer == '~' && (pointer[1] == '0' || pointer[1] == '1');
            if (len + 1 < sizeof name)
                name[len++] = !escaped ? *pointer : pointer[1] == '0' ? '~' : '/';
            pointer += escaped;
        }
        name[len] = '\0';
        json = json_is_array(json) ? json_array_get(json, strtoul(name, NULL, 10))
                                   : json_object_get(json, name);
    }
    return json;
}

static void print_side(const char *sign, const char *pointer, const json_t *value)
{
    fprintf(stdout, "  %s ", sign);
    ctl_put_text(stdout, pointer, strlen(pointer));
    fputc(' ', stdout);
    (void)ctl_put_json(stdout, value, false);
}

/* Prints each changed member of a document with its old and its new value. */
static void print_change(const json_t *change, const json_t *before)
{
    const char *document = json_string_value(json_object_get(change, "document"));
    const char *action = json_string_value(json_object_get(change, "action"));
    json_t *step;
    size_t i;

    if (document == NULL || action == NULL)
        return;
    fprintf(stdout, "%s ", action);
    ctl_put_text(stdout, document, strlen(document));
    fputc('\n', stdout);
    if (strcmp(action, "change") != 0)
        return;
    json_array_foreach(json_object_get(change, "difference"), i, step)
    {
        const char *pointer = json_string_value(json_object_get(step, "path"));
        const json_t *value = json_object_get(step, "value");
        const json_t *old = pointer != NULL ? follow(before, pointer) : NULL;
        if (old != NULL)
            print_side("-", pointer, old);
        if (value != NULL && pointer != NULL)
            print_side("+", pointer, value);
    }
}

/* The document "limits/ip" of a bundle. A kind may contain a slash, so the longest match wins. */
static const json_t *document_of(const json_t *bundle, const char *path)
{
    const char *kind;
    json_t *of_kind;

    json_object_foreach((json_t *)(uintptr_t)bundle, kind, of_kind)
    {
        size_t len = strlen(kind);
        if (path != NULL && strncmp(path, kind, len) == 0 && path[len] == '/')
            return json_object_get(of_kind, path + len + 1);
    }
    return NULL;
}

static int print_changes(const struct ctl *ctl, const json_t *changes, int64_t end_ns)
{
    struct ctl_reply bundle;
    json_t *change;
    size_t i;

    if (ctl_wants_json(ctl))
        return ctl_put_json(stdout, changes, true);
    if (json_array_size(changes) == 0)
        return CTL_OK;
    const struct ctl_call call = {.path = "/admin/v1/config"};
    int exit = send_until(ctl, &call, end_ns, &bundle);
    json_array_foreach(changes, i, change) if (exit == CTL_OK)
        print_change(change, document_of(json_object_get(bundle.json, "documents"),
                                         json_string_value(json_object_get(change, "document"))));
    ctl_reply_done(&bundle);
    return exit;
}

/* --- The commands. --- */

int ctl_diff(struct ctl *ctl)
{
    struct ctl_reply would = {0};
    json_t *body = NULL;
    int exit = read_bundle(ctl, &body);

    if (exit == CTL_OK)
        exit = put_bundle(ctl, body, true, 0, &would);
    const json_t *changes = json_object_get(would.json, "changes");
    if (exit == CTL_OK)
        exit = print_changes(ctl, changes, 0);
    if (exit == CTL_REFUSED)
        exit = CTL_FAILED;
    else if (exit == CTL_OK && json_array_size(changes) > 0)
        exit = CTL_REFUSED;
    ctl_reply_done(&would);
    json_decref(body);
    return exit;
}

/* A dry run finds what will change, and prints it before the change: the old values are gone
 * afterwards. A change whose answer is lost may be sent again: the second time it changes nothing.
 */
int ctl_apply(struct ctl *ctl)
{
    const int64_t end_ns = ps_clock_mono_ns(&ps_clock_system) + ctl->options.wait_s * PS_NS_PER_S;
    struct ctl_reply would = {0}, done = {0};
    json_t *body = NULL;
    int exit = read_bundle(ctl, &body);

    if (exit == CTL_OK)
        exit = put_bundle(ctl, body, true, end_ns, &would);
    const json_t *changes = json_object_get(would.json, "changes");
    size_t count = json_array_size(changes);
    if (exit == CTL_OK)
        exit = print_changes(ctl, changes, end_ns);
    if (exit == CTL_OK && !ctl->options.dry_run && count > 0)
        exit = put_bundle(ctl, body, false, end_ns, &done);
    if (exit == CTL_OK && ctl->options.output == NULL)
        printf("%zu %s%s\n", count, count == 1 ? "document" : "documents",
               ctl->options.dry_run ? " would change" : " changed");
    ctl_reply_done(&would);
    ctl_reply_done(&done);
    json_decref(body);
    return exit;
}
