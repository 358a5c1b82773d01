/* override, token, rehearsal-key, drain. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Adds the member, unless the value is NULL (not given). Takes ownership of the value. */
static int set(json_t *body, const char *name, json_t *value)
{
    return value != NULL ? json_object_set_new(body, name, value) : 0;
}

/* The text of an option; sets `*err` if it is not UTF-8. */
static json_t *text_json(const char *text, int *err)
{
    json_t *json = text != NULL ? json_string(text) : NULL;

    if (text != NULL && json == NULL)
        *err = -1;
    return json;
}

/* --- override --- */

/* A number if the text is one, else a word such as "off". */
static json_t *value_json(const char *text)
{
    json_t *number = NULL;

    if (ps_json_parse(text, strlen(text), &number, NULL) == 0 && json_is_number(number))
        return number;
    json_decref(number);
    return json_string(text);
}

int ctl_override_set(struct ctl *ctl)
{
    const struct ctl_call call = {.method = "PUT",
                                  .path = "/admin/v1/overrides/{}{+}",
                                  .args = {ctl->args[0], ctl->options.dry_run ? "?dry_run=1" : ""}};
    struct ctl_reply reply;
    int err = 0;

    if (ctl->options.ttl_s < 0 || ctl->options.reason == NULL)
        return ctl_say(CTL_USAGE, "override set needs --ttl TIME and --reason TEXT: an override "
                                  "ends by itself, and the reason tells others why it is set");
    json_t *body = ctl_body(ctl), *value = value_json(ctl->args[1]);
    if (value == NULL || set(body, "value", value) != 0 ||
        set(body, "ttl_s", json_integer(ctl->options.ttl_s)) != 0 ||
        set(body, "gateway", text_json(ctl->options.gateway, &err)) != 0)
        err = -1;
    int exit = ctl_change(ctl, call, body, err, &reply);
    if (exit != CTL_OK)
        return exit;
    const json_t *shown = json_object_get(reply.json, "override");
    exit = ctl_print(ctl, ctl_wants_json(ctl) || shown == NULL ? reply.json : shown, NULL);
    ctl_reply_done(&reply);
    return exit;
}

int ctl_override_end(struct ctl *ctl)
{
    const char *gateway = ctl->options.gateway;
    const struct ctl_call call = {
        .method = "DELETE",
        .path = "/admin/v1/overrides/{}{+}{}",
        .args = {ctl->args[0], gateway != NULL ? "?gateway=" : "", gateway}};
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, ctl_body(ctl), 0, &reply);

    if (exit == CTL_OK)
        ctl_reply_done(&reply);
    return exit;
}

/* --- token --- */

/* "web,api" as a list; NULL if not given. */
static json_t *pools_json(const char *text)
{
    json_t *list = text != NULL ? json_array() : NULL;

    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");
        (void)json_array_append_new(list, json_stringn(text, len));
        text += len + (text[len] == ',');
    }
    return list;
}

/* Creates the file for the secret. It must not exist, so that no other token is overwritten. It is
 * created before the token, so that no secret is lost because it cannot be written. */
static int make_secret_file(const char *path, int *ret_fd)
{
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *ret_fd >= 0 ? CTL_OK : ctl_say(CTL_USAGE, "--out: %s: %s", path, strerror(errno));
}

/* Takes the secret out of the answer: a token is a line, a key with its secret the whole answer. */
static int write_secret(int fd, const char *path, const char *member, json_t *answer)
{
    const char *secret = json_string_value(json_object_get(answer, member));
    char *all = strcmp(member, "token") != 0 ? json_dumps(answer, JSON_INDENT(2)) : NULL;
    const char *text = all != NULL ? all : secret;
    bool written = secret != NULL && text != NULL && ps_file_write(fd, text, strlen(text)) == 0 &&
                   ps_file_write(fd, "\n", 1) == 0;

    free(all);
    if (!written)
        return ctl_say(CTL_FAILED,
                       "%s cannot be written: remove it at the gateway and create another "
                       "one",
                       path);
    (void)json_object_del(answer, member);
    return CTL_OK;
}

/* Creates something with a secret, the answer's `member`, which is shown once or goes to --out. */
static int create(const struct ctl *ctl, const char *path, json_t *body, int err,
                  const char *member)
{
    const struct ctl_call call = {.method = "POST", .path = path};
    const struct ctl_options *options = &ctl->options;
    struct ctl_reply reply = {0};
    int fd = -1, exit = CTL_OK;

    if (set(body, "note", text_json(options->note, &err)) != 0 ||
        set(body, "ttl_s", options->ttl_s >= 0 ? json_integer(options->ttl_s) : NULL) != 0)
        err = -1;
    if (options->out != NULL && (exit = make_secret_file(options->out, &fd)) != CTL_OK) {
        json_decref(body);
        return exit;
    }
    exit = ctl_change(ctl, call, body, err, &reply);
    if (exit == CTL_OK && fd >= 0)
        exit = write_secret(fd, options->out, member, reply.json);
    else if (fd >= 0)
        (void)unlink(options->out);
    if (fd >= 0)
        (void)close(fd);
    if (exit == CTL_OK)
        exit = ctl_print(ctl, reply.json, NULL);
    ctl_reply_done(&reply);
    return exit;
}

int ctl_token_new(struct ctl *ctl)
{
    json_t *body = ctl_body(ctl);
    int err = 0;

    if (set(body, "role", text_json(ctl->args[0], &err)) != 0 ||
        set(body, "pools", pools_json(ctl->options.pool)) != 0)
        err = -1;
    return create(ctl, "/admin/v1/tokens", body, err, "token");
}

int ctl_rehearsal_key_new(struct ctl *ctl)
{
    return create(ctl, "/admin/v1/rehearsal-keys", ctl_body(ctl), 0, "secret");
}

/* --- drain --- */

int ctl_drain(struct ctl *ctl)
{
    const struct ctl_call call = {.method = "POST", .path = "/admin/v1/drain"};
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, ctl_body(ctl), 0, &reply);

    if (exit == CTL_OK) {
        puts("the gateway drains and then ends");
        ctl_reply_done(&reply);
    }
    return exit;
}
