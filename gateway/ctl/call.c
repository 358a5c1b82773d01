/* One connection per call: an operator's program makes few calls. Control characters in the
 * gateway's answers are replaced before printing; the token goes into the header and nowhere else.
 * Redirects are not followed, and proxies from the environment are not used. */
#include "gateway/ctl/call.h"

#include "common/call/call.h"
#include "common/text/charset.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 5000
#define ANSWER_MS  130000 /* a gateway allows an audit two minutes */
#define ANSWER_MAX ((size_t)64 << 20)

static const struct ps_charset unreserved = {
    {PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true}};

static void put_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        if (ps_charset_has(&unreserved, *text))
            fputc(*text, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*text);
}

/* Heap; NULL: no memory. */
static char *make_path(const struct ctl_call *call)
{
    const char *const *arg = call->args;
    char *path = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&path, &len);

    if (out == NULL)
        return NULL;
    for (const char *at = call->path; *at != '\0';) {
        bool as_is = strncmp(at, "{+}", 3) == 0;
        if (!as_is && strncmp(at, "{}", 2) != 0) {
            fputc(*at++, out);
            continue;
        }
        if (as_is)
            fputs(*arg != NULL ? *arg : "", out);
        else
            put_escaped(out, *arg != NULL ? *arg : "");
        at += as_is ? 3 : 2;
        arg++;
    }
    if (fclose(out) == 0)
        return path;
    free(path);
    return NULL;
}

/* --- Answers. --- */

static const char *member(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

/* A problem document (RFC 9457): its detail, and each fault if there are several. A 503 passes by
 * itself, and what was asked may still happen: as if no answer had come. */
static int say_refusal(const struct ctl *ctl, const struct ctl_call *call,
                       const struct ctl_reply *reply)
{
    const json_t *errors = json_object_get(reply->json, "errors");
    const char *detail = member(reply->json, "detail"), *code = member(reply->json, "code");
    const char *title = member(reply->json, "title");
    const json_t *error;
    size_t i;

    (void)call;
    (void)ctl_say(CTL_REFUSED, "%s answers %d %s%s%s", ctl->admin, reply->status,
                  code != NULL ? code : "", detail != NULL || title != NULL ? ": " : "",
                  detail != NULL  ? detail
                  : title != NULL ? title
                                  : "");
    json_array_foreach(errors, i, error)
    {
        const char *pointer = member(error, "pointer"), *text = member(error, "detail");
        if (json_array_size(errors) > 1 && pointer != NULL && text != NULL)
            (void)ctl_say(CTL_REFUSED, "  %s: %s", pointer, text);
    }
    if (reply->status == 401)
        (void)ctl_say(CTL_REFUSED,
                      ctl->token[0] != '\0'
                          ? "name a file with a token of this gateway: --token-file FILE"
                          : "no token was sent: --token-file FILE, PENSTOCK_TOKEN_FILE or a "
                            "context name the file that holds one");
    return reply->status == 503 ? CTL_AWAY : CTL_REFUSED;
}

static int judge(const struct ctl *ctl, const struct ctl_call *call, struct ctl_reply *reply)
{
    bool good = reply->status / 100 == 2;
    struct ps_fault fault = {0};

    bool has_json = reply->len > 0 && !(good && call->no_json);
    int err = has_json ? ps_json_parse(reply->text, reply->len, &reply->json, &fault) : 0;
    if (good && err < 0)
        return ctl_say(CTL_AWAY, "%s: the answer is not valid JSON: %s; is this an admin listener?",
                       ctl->admin, fault.text);
    if (good || (call->allow != 0 && reply->status == call->allow))
        return CTL_OK;
    return say_refusal(ctl, call, reply);
}

static int perform(const struct ctl *ctl, struct ps_caller *caller, const struct ps_call *call,
                   struct ctl_reply *ret_reply)
{
    struct ps_answer *answer;
    struct ps_fault fault = {0};
    int err = ps_caller_ask(caller, call, &answer, &fault);

    if (err == PS_E_IO || err == PS_E_TIMEOUT)
        return ctl_say(CTL_AWAY,
                       "%s (%s): %s; is this the admin listener of a running gateway? --admin URL, "
                       "PENSTOCK_ADMIN or a context (penstockctl use) names another",
                       ctl->admin, ctl->admin_from, fault.text);
    if (err < 0)
        return ctl_say(CTL_FAILED, "%s: %s", ctl->admin, fault.text);
    *ret_reply = (struct ctl_reply){.status = answer->status,
                                    .text = answer->text,
                                    .len = answer->len,
                                    .retry_after_s = answer->retry_after_s,
                                    .last_seq = answer->last_seq};
    memcpy(ret_reply->etag, answer->etag, sizeof ret_reply->etag);
    answer->text = NULL;
    return CTL_OK;
}

int ctl_send(const struct ctl *ctl, const struct ctl_call *call, struct ctl_reply *ret_reply)
{
    char *path = make_path(call), *body = NULL;
    struct ps_caller *caller = ps_caller_new();
    struct ctl_reply reply = {0};
    int exit = CTL_FAILED;

    if (call->body != NULL)
        body = json_dumps(call->body, JSON_COMPACT);
    if (path == NULL || caller == NULL || (call->body != NULL && body == NULL))
        (void)ctl_say(CTL_FAILED, "out of memory");
    else
        exit = perform(ctl, caller,
                       &(struct ps_call){.admin = ctl->admin,
                                         .method = call->method,
                                         .path = path,
                                         .body = body,
                                         .token = ctl->token,
                                         .if_match = call->if_match,
                                         .connect_ms = CONNECT_MS,
                                         .answer_ms = ANSWER_MS,
                                         .answer_max = ANSWER_MAX},
                       &reply);
    if (exit == CTL_OK)
        exit = judge(ctl, call, &reply);
    ps_caller_free(caller);
    free(path);
    free(body);
    if (exit != CTL_OK)
        ctl_reply_done(&reply);
    *ret_reply = reply;
    return exit;
}

void ctl_reply_done(struct ctl_reply *reply)
{
    json_decref(reply->json);
    free(reply->text);
    *reply = (struct ctl_reply){0};
}

int ctl_change(const struct ctl *ctl, struct ctl_call call, json_t *body, int err,
               struct ctl_reply *ret_reply)
{
    int exit = CTL_USAGE;

    *ret_reply = (struct ctl_reply){0};
    call.body = body;
    if (body == NULL || err != 0)
        (void)ctl_say(CTL_USAGE, "an argument is not valid UTF-8");
    else
        exit = ctl_send(ctl, &call, ret_reply);
    json_decref(body);
    return exit;
}

int ctl_send_and_print(const struct ctl *ctl, const struct ctl_call *call, const char *columns)
{
    struct ctl_reply reply;
    int exit = ctl_send(ctl, call, &reply);

    if (exit == CTL_OK && reply.json != NULL)
        exit = ctl_print(ctl, reply.json, columns);
    ctl_reply_done(&reply);
    return exit;
}

int ctl_change_and_print(const struct ctl *ctl, struct ctl_call call, json_t *body, int err)
{
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, body, err, &reply);

    if (exit == CTL_OK && reply.json != NULL)
        exit = ctl_print(ctl, reply.json, NULL);
    ctl_reply_done(&reply);
    return exit;
}

json_t *ctl_body(const struct ctl *ctl)
{
    json_t *body = json_object();

    if (body != NULL && ctl->options.reason != NULL)
        return ps_json_built(body,
                             json_object_set_new(body, "reason", json_string(ctl->options.reason)));
    return body;
}
