/* explain: what refused a request, by the reference of its answer; or what a request would get that
 * the options describe. Whether the description is a request is for the gateway to say. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <string.h>

int ctl_add_header(const struct ps_flag *flag, const char *value, void *field,
                   struct ps_fault *fault)
{
    struct ctl_headers *headers = field;

    if (headers->count == PS_ARRAY_LEN(headers->at))
        return ps_fault(fault, PS_E_INVALID, flag->name, "may be given %d times",
                        (int)PS_ARRAY_LEN(headers->at));
    headers->at[headers->count++] = value;
    return 0;
}

/* --- The question. --- */

/* An absent text is no member. */
static int put_text(json_t *body, const char *name, const char *text)
{
    if (text == NULL || json_object_set_new(body, name, json_string(text)) == 0)
        return CTL_OK;
    return ctl_say(CTL_USAGE, "--%s is not valid UTF-8", name);
}

/* "Name: value". */
static int put_header(json_t *headers, const char *text)
{
    const char *colon = strchr(text, ':');
    char name[256];

    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof name)
        return ctl_say(CTL_USAGE, "--header takes \"NAME: VALUE\"");
    (void)snprintf(name, sizeof name, "%.*s", (int)(colon - text), text);
    if (json_object_get(headers, name) != NULL)
        return ctl_say(CTL_USAGE, "--header names %s twice", name);
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (json_object_set_new(headers, name, json_string(value)) != 0)
        return ctl_say(CTL_USAGE, "--header is not valid UTF-8");
    return CTL_OK;
}

static int put_headers(json_t *body, const struct ctl_headers *given)
{
    json_t *headers = json_object();
    int exit = headers != NULL ? CTL_OK : ctl_say(CTL_FAILED, "out of memory");

    for (size_t i = 0; exit == CTL_OK && i < given->count; i++)
        exit = put_header(headers, given->at[i]);
    if (exit == CTL_OK && given->count > 0 && json_object_set(body, "headers", headers) != 0)
        exit = ctl_say(CTL_FAILED, "out of memory");
    json_decref(headers);
    return exit;
}

/* Fills the body with what the options describe. */
static int describe(const struct ctl_options *options, json_t *body)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"user", options->user}, {"ip", options->ip},         {"sale", options->sale},
                 {"sku", options->sku},   {"method", options->method}, {"path", options->path},
                 {"at", options->at}};
    int exit = CTL_OK;

    for (size_t i = 0; exit == CTL_OK && i < PS_ARRAY_LEN(texts); i++)
        exit = put_text(body, texts[i].name, texts[i].text);
    if (exit == CTL_OK && options->quantity > 0 &&
        json_object_set_new(body, "quantity", json_integer(options->quantity)) != 0)
        exit = ctl_say(CTL_FAILED, "out of memory");
    return exit == CTL_OK ? put_headers(body, &options->headers) : exit;
}

/* --- The answer: members first, then a row for each gate. --- */

static int print_answer(const struct ctl *ctl, json_t *answer)
{
    json_t *gates = json_object_get(answer, "gates");

    if (ctl_wants_json(ctl))
        return ctl_print(ctl, answer, NULL);
    json_incref(gates);
    (void)json_object_del(answer, "gates");
    if (json_is_null(json_object_get(answer, "page")))
        (void)json_object_del(answer, "page");
    int exit = ctl_print(ctl, answer, NULL);
    if (exit == CTL_OK && json_array_size(gates) > 0) {
        putchar('\n');
        exit = ctl_print(ctl, gates, "gate verdict rule left why");
    }
    json_decref(gates);
    return exit;
}

static int explain_described(const struct ctl *ctl)
{
    json_t *body = json_object();
    const struct ctl_call call = {.method = "POST", .path = "/admin/v1/explain", .body = body};
    struct ctl_reply reply = {0};
    int exit = body != NULL ? describe(&ctl->options, body) : ctl_say(CTL_FAILED, "out of memory");

    if (exit == CTL_OK)
        exit = ctl_send(ctl, &call, &reply);
    if (exit == CTL_OK)
        exit = print_answer(ctl, reply.json);
    ctl_reply_done(&reply);
    json_decref(body);
    return exit;
}

int ctl_explain(struct ctl *ctl)
{
    const struct ctl_call call = {.path = "/admin/v1/explain/{}", .args = {ctl->args[0]}};
    const struct ctl_options *options = &ctl->options;
    bool is_described = options->user != NULL || options->ip != NULL || options->sale != NULL ||
                        options->sku != NULL || options->quantity > 0 || options->at != NULL ||
                        options->method != NULL || options->path != NULL ||
                        options->headers.count > 0;

    if (is_described == (ctl->args[0] != NULL))
        return ctl_say(CTL_USAGE, "explain needs either REF or a described request: --user USER "
                                  "--ip IP --sale SALE --sku SKU, or --ip IP --path PATH");
    return is_described ? explain_described(ctl) : ctl_send_and_print(ctl, &call, NULL);
}
