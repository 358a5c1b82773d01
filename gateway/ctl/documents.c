/* get, edit, patch, delete, rollback: documents of every kind, one at a time. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/files.h"
#include "gateway/ctl/kinds.h"
#include "gateway/ctl/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads the kind and, if its documents have names, the name; `*ret_next` is the next argument. */
static const struct ctl_kind *read_target(const struct ctl *ctl, const char **ret_name,
                                          const char **ret_next)
{
    const struct ctl_kind *kind = ctl_kind_find(ctl->args[0]);

    *ret_name = NULL;
    *ret_next = NULL;
    if (kind == NULL)
        return NULL;
    *ret_name = kind->is_one ? NULL : ctl->args[1];
    *ret_next = kind->is_one ? ctl->args[1] : ctl->args[2];
    return kind;
}

/* "/admin/v1/limits/ip", of a kind with a single document "/admin/v1/overload"; with a suffix. */
static struct ctl_call call_of(const struct ctl_kind *kind, const char *name, const char *method,
                               const char *more)
{
    return (struct ctl_call){
        .method = method,
        .path = name != NULL ? "/admin/v1/{+}/{}{+}" : "/admin/v1/{+}{+}",
        .args = {kind->path, name != NULL ? name : more, name != NULL ? more : NULL}};
}

/* --- get --- */

/* Appends a page to the list. */
static int add_page(json_t *all, json_t *page)
{
    return json_is_array(all) ? json_array_extend(all, page) : json_object_update(all, page);
}

static int get_list(const struct ctl *ctl, const struct ctl_kind *kind)
{
    char *after = strdup("");
    json_t *all = NULL;
    int exit = CTL_OK;

    while (exit == CTL_OK && after != NULL) {
        struct ctl_reply reply;
        const struct ctl_call call = {.path = after[0] != '\0' ? "/admin/v1/{+}?after={}"
                                                               : "/admin/v1/{+}",
                                      .args = {kind->path, after}};
        if ((exit = ctl_send(ctl, &call, &reply)) != CTL_OK)
            break;
        json_t *page = json_object_get(reply.json, kind->listed);
        const char *next = json_string_value(json_object_get(reply.json, "next"));
        if (all == NULL)
            all = json_incref(page);
        else if (add_page(all, page) != 0)
            exit = ctl_say(CTL_FAILED, "the pages of the list have different members");
        bool moves = next != NULL && strcmp(next, after) != 0;
        free(after);
        after = moves ? strdup(next) : NULL;
        ctl_reply_done(&reply);
    }
    free(after);
    if (exit == CTL_OK && all == NULL)
        exit = ctl_say(CTL_AWAY, "the answer has no \"%s\"", kind->listed);
    if (exit == CTL_OK)
        exit = ctl_print(ctl, all, kind->columns);
    json_decref(all);
    return exit;
}

/* False: a usage error was printed. */
static bool is_version(const char *text)
{
    bool is = text[0] != '0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 17;

    if (!is)
        (void)ctl_say(CTL_USAGE, "\"%s\" is not a version", text);
    return is;
}

int ctl_get(struct ctl *ctl)
{
    const char *name, *next;
    const struct ctl_kind *kind = read_target(ctl, &name, &next);
    char version[32] = "";

    if (kind == NULL || (next != NULL && !is_version(next)))
        return CTL_USAGE;
    if (name == NULL && !kind->is_one)
        return get_list(ctl, kind);
    if (next != NULL)
        (void)snprintf(version, sizeof version, "/versions/%s", next);
    const struct ctl_call call = call_of(kind, name, NULL, version);
    return ctl_send_and_print(ctl, &call, NULL);
}

int ctl_sale_list(struct ctl *ctl)
{
    return get_list(ctl, &ctl_kinds[0]);
}

/* --- edit --- */

/* Writes the document to a private temporary file; its path is heap. */
static int write_text(const json_t *json, char **ret_path)
{
    const char *where = getenv("TMPDIR");
    char *path;

    if (asprintf(&path, "%s/penstock-XXXXXX.json",
                 where != NULL && where[0] != '\0' ? where : "/tmp") < 0)
        return ctl_say(CTL_FAILED, "out of memory");
    int fd = mkstemps(path, 5);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    int exit = file != NULL ? ctl_put_json(file, json, true) : CTL_FAILED;
    if (file == NULL || fclose(file) != 0 || exit != CTL_OK) {
        exit = ctl_say(CTL_FAILED, "%s: %s", path, strerror(errno));
        free(path);
        return exit;
    }
    *ret_path = path;
    return CTL_OK;
}

/* $EDITOR may be a command with arguments, so a shell runs it; the path is passed as an argument,
 * not as part of the command. */
static int run_editor(const char *path)
{
    const char *editor = getenv("VISUAL");
    char *command;
    int status;

    editor = editor != NULL && editor[0] != '\0' ? editor : getenv("EDITOR");
    editor = editor != NULL && editor[0] != '\0' ? editor : "vi";
    if (asprintf(&command, "%s \"$1\"", editor) < 0)
        return ctl_say(CTL_FAILED, "out of memory");
    pid_t child = fork();
    if (child == 0) {
        (void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
        _exit(127);
    }
    free(command);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return ctl_say(CTL_FAILED, "the editor does not start: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ctl_say(CTL_FAILED, "%s failed: nothing was sent; your text is in %s", editor, path);
    return CTL_OK;
}

/* The edited document; NULL: not a document, the reason was printed. */
static json_t *read_edited(const char *path)
{
    struct ps_fault fault = {0};
    json_t *json = NULL;
    size_t len;
    char *text;

    if (ctl_file_read(path, &text, &len) != CTL_OK)
        return NULL;
    if (ps_json_parse(text, len, &json, &fault) < 0)
        (void)ctl_say(CTL_USAGE, "%s: %s: nothing was sent", path, fault.text);
    free(text);
    return json;
}

/* Replaces the version that was opened. If the gateway refuses, the text remains in the file. */
static int put_edited(const struct ctl *ctl, struct ctl_call call, json_t *edited,
                      const struct ctl_reply *opened, const char *path)
{
    struct ctl_reply reply;

    if (ctl->options.reason != NULL &&
        json_object_set_new(edited, "reason", json_string(ctl->options.reason)) != 0)
        return ctl_say(CTL_USAGE, "--reason is not valid UTF-8");
    call.method = "PUT";
    call.body = edited;
    call.if_match = opened->etag;
    call.allow = 412;
    int exit = ctl_send(ctl, &call, &reply);
    if (exit == CTL_OK && reply.status == 412)
        exit = ctl_say(CTL_REFUSED, "somebody else changed it since it was opened");
    if (exit != CTL_OK)
        (void)ctl_say(CTL_REFUSED, "nothing was changed; your text is in %s", path);
    else
        puts("changed");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_edit(struct ctl *ctl)
{
    const char *name, *next;
    const struct ctl_kind *kind = read_target(ctl, &name, &next);
    json_t *edited = NULL;
    struct ctl_reply opened;
    bool keeps_text = true;
    char *path = NULL;

    if (kind == NULL)
        return CTL_USAGE;
    if (name == NULL && !kind->is_one)
        return ctl_say(CTL_USAGE, "usage: penstockctl edit %s NAME", kind->word);
    const struct ctl_call call = call_of(kind, name, NULL, NULL);
    int exit = ctl_send(ctl, &call, &opened);
    if (exit != CTL_OK)
        return exit;
    if ((exit = write_text(opened.json, &path)) != CTL_OK) {
        ctl_reply_done(&opened);
        return exit;
    }
    exit = run_editor(path);
    if (exit == CTL_OK && (edited = read_edited(path)) == NULL) {
        exit = CTL_USAGE;
    } else if (exit == CTL_OK && json_equal(edited, opened.json)) {
        keeps_text = false;
        puts("nothing was changed");
    } else if (exit == CTL_OK) {
        exit = put_edited(ctl, call, edited, &opened, path);
        keeps_text = exit != CTL_OK;
    }
    if (!keeps_text)
        (void)unlink(path);
    json_decref(edited);
    free(path);
    ctl_reply_done(&opened);
    return exit;
}

/* --- patch, delete --- */

/* Sends a change of any version with the body, which it frees. A dry run prints what would change.
 */
static int send_change(const struct ctl *ctl, struct ctl_call call, json_t *body)
{
    struct ctl_reply reply;

    call.if_match = "*";
    int exit = ctl_change(ctl, call, body, 0, &reply);
    if (exit == CTL_OK && ctl->options.dry_run && !ctl_wants_json(ctl))
        exit = ctl_print(ctl, json_object_get(reply.json, "changes"), "document action difference");
    else if (exit == CTL_OK && reply.json != NULL)
        exit = ctl_print(ctl, reply.json, NULL);
    else if (exit == CTL_OK)
        puts("deleted");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_patch(struct ctl *ctl)
{
    const char *name, *next;
    const struct ctl_kind *kind = read_target(ctl, &name, &next);
    struct ps_fault fault = {0};
    json_t *patch = NULL;

    if (kind == NULL)
        return CTL_USAGE;
    if (next == NULL)
        return ctl_say(CTL_USAGE, "usage: penstockctl patch %s%s '{\"member\":value}'", kind->word,
                       kind->is_one ? "" : " NAME");
    if (ps_json_parse(next, strlen(next), &patch, &fault) < 0 || !json_is_object(patch)) {
        json_decref(patch);
        return ctl_say(CTL_USAGE, "the patch is not a JSON object%s%s",
                       fault.text[0] != '\0' ? ": " : "", fault.text);
    }
    if (ctl->options.reason != NULL &&
        json_object_set_new(patch, "reason", json_string(ctl->options.reason)) != 0) {
        json_decref(patch);
        return ctl_say(CTL_USAGE, "--reason is not valid UTF-8");
    }
    return send_change(ctl, call_of(kind, name, "PATCH", ctl->options.dry_run ? "?dry_run=1" : ""),
                       patch);
}

int ctl_delete(struct ctl *ctl)
{
    const char *name, *next;
    const struct ctl_kind *kind = read_target(ctl, &name, &next);

    if (kind == NULL)
        return CTL_USAGE;
    if (kind->is_one)
        return ctl_say(CTL_USAGE, "there is always one %s: edit it, or roll it back", kind->word);
    return send_change(ctl, call_of(kind, name, "DELETE", ctl->options.dry_run ? "?dry_run=1" : ""),
                       ctl_body(ctl));
}

/* --- rollback --- */

static int list_versions(const struct ctl *ctl, const struct ctl_kind *kind, const char *name)
{
    const struct ctl_call call = call_of(kind, name, NULL, "/versions");
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit == CTL_OK)
        exit = ctl_print(ctl, json_object_get(reply.json, "versions"),
                         "version at who action deleted why");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_rollback(struct ctl *ctl)
{
    const char *name, *next;
    const struct ctl_kind *kind = read_target(ctl, &name, &next);

    if (kind == NULL)
        return CTL_USAGE;
    if (name == NULL && !kind->is_one)
        return ctl_say(CTL_USAGE, "usage: penstockctl rollback %s NAME [VERSION]", kind->word);
    if (next == NULL)
        return list_versions(ctl, kind, name);
    if (!is_version(next))
        return CTL_USAGE;
    const struct ctl_call call =
        call_of(kind, name, "POST", ctl->options.dry_run ? "/rollback?dry_run=1" : "/rollback");
    json_t *body = ctl_body(ctl);
    int err = json_object_set_new(body, "version", json_integer(atoll(next)));
    return ctl_change_and_print(ctl, call, body, err);
}
