/* Contexts: names for a gateway's address and the file of its token, in a file of the user:
 *
 *     {"current":"prod","contexts":{"prod":{"admin":"https://…","token_file":"/…/prod.token"}}}
 *
 * A context's token is never sent to the address of --admin or PENSTOCK_ADMIN: it may be any host.
 */
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include "common/call/call.h"
#include "common/program/private_file.h"
#include "common/program/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_ADMIN "http://127.0.0.1:8090"
#define PATH_LEN_MAX  4095
#define FILE_LEN_MAX  65536

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int contexts_path(char ret_path[PATH_LEN_MAX + 1])
{
    const char *own = variable("PENSTOCK_CONTEXTS"), *config = variable("XDG_CONFIG_HOME");
    const char *home = variable("HOME");
    int len;

    if (own != NULL)
        len = snprintf(ret_path, PATH_LEN_MAX, "%s", own);
    else if (config != NULL)
        len = snprintf(ret_path, PATH_LEN_MAX, "%s/penstock/contexts.json", config);
    else
        len = snprintf(ret_path, PATH_LEN_MAX, "%s/.config/penstock/contexts.json",
                       home != NULL ? home : "");
    return len < PATH_LEN_MAX ? CTL_OK
                              : ctl_say(CTL_USAGE, "the path of the file of contexts is too long");
}

/* The whole file and its path; without one an empty object. Owner: the caller. */
static int load(char ret_path[PATH_LEN_MAX + 1], json_t **ret_json)
{
    struct ps_fault fault = {0};
    int exit = contexts_path(ret_path);
    const char *path = ret_path;

    if (exit != CTL_OK)
        return exit;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *ret_json = json_pack("{s:n, s:{}}", "current", "contexts");
        return *ret_json != NULL ? CTL_OK : ctl_say(CTL_FAILED, "out of memory");
    }
    if (ps_json_load(path, FILE_LEN_MAX, ret_json, &fault) < 0)
        return ctl_say(CTL_USAGE, "%s: %s%s%s", path, fault.path, fault.path[0] != '\0' ? " " : "",
                       fault.text);
    if (json_is_object(json_object_get(*ret_json, "contexts")))
        return CTL_OK;
    json_decref(*ret_json);
    return ctl_say(CTL_USAGE, "%s: /contexts must be an object", path);
}

/* --- Reading. --- */

/* The current context's admin and token file, into ctl->context_text. */
static int read_current(struct ctl *ctl)
{
    char path[PATH_LEN_MAX + 1];
    json_t *json;
    int exit = load(path, &json);

    if (exit != CTL_OK)
        return exit;
    const char *name = json_string_value(json_object_get(json, "current"));
    const json_t *context =
        name != NULL ? json_object_get(json_object_get(json, "contexts"), name) : NULL;
    const char *admin = json_string_value(json_object_get(context, "admin"));
    const char *token_file = json_string_value(json_object_get(context, "token_file"));
    if (name != NULL && admin == NULL)
        exit = ctl_say(CTL_USAGE, "%s: the context \"%s\" has no admin", path, name);
    else if ((admin != NULL && (ctl->context_text[0] = strdup(admin)) == NULL) ||
             (token_file != NULL && (ctl->context_text[1] = strdup(token_file)) == NULL))
        exit = ctl_say(CTL_FAILED, "out of memory");
    json_decref(json);
    return exit;
}

static int take_admin(struct ctl *ctl, const char *admin)
{
    size_t len = strlen(admin);

    while (len > 0 && admin[len - 1] == '/')
        len--;
    if (len >= sizeof ctl->admin)
        return ctl_say(CTL_USAGE, "--admin is too long");
    if (!ps_call_is_address(admin))
        return ctl_say(CTL_USAGE,
                       "--admin \"%s\" is not http://HOST:PORT, https://HOST:PORT or unix:/PATH",
                       admin);
    if (strpbrk(admin, "?# \t\r\n") != NULL)
        return ctl_say(CTL_USAGE, "--admin \"%s\" must end after its port or path", admin);
    memcpy(ctl->admin, admin, len);
    ctl->admin[len] = '\0';
    return CTL_OK;
}

int ctl_context_read(struct ctl *ctl)
{
    const char *admin = ctl->options.admin, *token_file = ctl->options.token_file;
    struct ps_fault fault;
    int exit = CTL_OK;

    ctl->admin_from = admin != NULL ? "--admin" : "PENSTOCK_ADMIN";
    admin = admin != NULL ? admin : variable("PENSTOCK_ADMIN");
    token_file = token_file != NULL ? token_file : variable("PENSTOCK_TOKEN_FILE");
    if (admin == NULL) {
        exit = read_current(ctl);
        admin = ctl->context_text[0] != NULL ? ctl->context_text[0] : DEFAULT_ADMIN;
        ctl->admin_from = ctl->context_text[0] != NULL ? "the current context" : "the default";
        token_file = token_file != NULL ? token_file : ctl->context_text[1];
    }
    if (exit == CTL_OK)
        exit = take_admin(ctl, admin);
    if (exit == CTL_OK && token_file != NULL &&
        ps_secret_read(token_file, "--token-file", sizeof ctl->token - 1, ctl->token, &fault) < 0)
        exit = ctl_say(CTL_USAGE, "%s: %s", fault.path, fault.text);
    return exit;
}

/* --- penstockctl use. --- */

/* Creates the directories above the file. */
static void make_directories(char *path)
{
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(path, 0700); /* a failure shows when the file is written */
        *at = '/';
    }
}

static int save(char *path, const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2));
    struct ps_fault fault = {.text = ""};
    int exit = CTL_OK;

    if (text == NULL)
        return ctl_say(CTL_FAILED, "out of memory");
    make_directories(path);
    if (ps_private_replace(path, text, strlen(text), &fault) < 0)
        exit = ctl_say(CTL_FAILED, "%s: %s", path, fault.text);
    free(text);
    return exit;
}

static int list(const json_t *json)
{
    const char *name, *current = json_string_value(json_object_get(json, "current"));
    struct ctl_table table = {.columns = 4};
    json_t *context;

    for (size_t i = 0; i < 4; i++)
        ctl_table_add(&table, (const char *const[]){"", "CONTEXT", "ADMIN", "TOKEN FILE"}[i]);
    json_object_foreach(json_object_get(json, "contexts"), name, context)
    {
        ctl_table_add(&table, current != NULL && strcmp(name, current) == 0 ? "*" : "");
        ctl_table_add(&table, name);
        ctl_table_add_json(&table, json_object_get(context, "admin"));
        ctl_table_add_json(&table, json_object_get(context, "token_file"));
    }
    return ctl_table_print(&table, stdout);
}

/* Creates the context, or changes what the options name. */
static int take_context(const struct ctl *ctl, json_t *json, const char *path)
{
    json_t *contexts = json_object_get(json, "contexts");
    json_t *context = json_object_get(contexts, ctl->args[0]);
    const char *admin = ctl->options.admin, *token_file = ctl->options.token_file;
    struct ctl check;
    char *whole = token_file != NULL ? realpath(token_file, NULL) : NULL;
    int err = 0;

    if (context == NULL && admin == NULL)
        return ctl_say(CTL_USAGE, "%s has no context \"%s\": create it with --admin", path,
                       ctl->args[0]);
    if (admin != NULL && take_admin(&check, admin) != CTL_OK)
        return CTL_USAGE;
    if (token_file != NULL && whole == NULL)
        return ctl_say(CTL_USAGE, "--token-file: %s: %s", token_file, strerror(errno));
    if (context == NULL) {
        context = json_object();
        err = json_object_set_new(contexts, ctl->args[0], context);
    }
    if (err == 0 && admin != NULL)
        err = json_object_set_new(context, "admin", json_string(check.admin));
    if (err == 0 && whole != NULL)
        err = json_object_set_new(context, "token_file", json_string(whole));
    if (err == 0)
        err = json_object_set_new(json, "current", json_string(ctl->args[0]));
    free(whole);
    return err == 0 ? CTL_OK : ctl_say(CTL_USAGE, "the name is not valid UTF-8");
}

int ctl_use(struct ctl *ctl)
{
    char path[PATH_LEN_MAX + 1];
    json_t *json;
    int exit = load(path, &json);

    if (exit != CTL_OK)
        return exit;
    if (ctl->args[0] == NULL)
        exit = list(json);
    else if ((exit = take_context(ctl, json, path)) == CTL_OK)
        exit = save(path, json);
    json_decref(json);
    return exit;
}
