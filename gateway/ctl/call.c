/* A connection a call: an operator's program makes few. What the gateway says is printed with its
 * control characters replaced; the token goes nowhere but into the header. Redirects are not
 * followed, a proxy of the environment is for going out and is not asked. */
#include "gateway/ctl/call.h"

#include "common/text/charset.h"
#include "gateway/ctl/print.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_MS 5000
#define ANSWER_MS  130000 /* an audit may take the two minutes that a gateway gives it */
#define ANSWER_MAX (64L << 20)

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
static char *make_url(const struct ctl *ctl, const struct ctl_call *call)
{
    bool is_unix = strncmp(ctl->admin, "unix:", 5) == 0;
    const char *const *arg = call->args;
    char *url = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&url, &len);

    if (out == NULL)
        return NULL;
    fputs(is_unix ? "http://localhost" : ctl->admin, out);
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
        return url;
    free(url);
    return NULL;
}

/* --- One transfer. --- */

struct transfer {
    CURL *easy;
    struct curl_slist *headers;
    char *url, *body;
    FILE *text; /* writes into the reply */
    char why[CURL_ERROR_SIZE];
    struct ctl_reply reply;
};

static size_t on_body(char *bytes, size_t size, size_t count, void *file)
{
    return ftell(file) + (long)(size * count) <= ANSWER_MAX ? fwrite(bytes, size, count, file) : 0;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *ctx)
{
    struct ctl_reply *reply = ctx;
    size_t len = size * count;
    char line[128];

    (void)snprintf(line, sizeof line, "%.*s", (int)(len < 127 ? len : 127), bytes);
    line[strcspn(line, "\r\n")] = '\0';
    if (strncasecmp(line, "ETag:", 5) == 0)
        (void)snprintf(reply->etag, sizeof reply->etag, "%.*s", (int)sizeof reply->etag - 1,
                       line + 5 + strspn(line + 5, " \t"));
    else if (strncasecmp(line, "Retry-After:", 12) == 0)
        reply->retry_after_s = strtol(line + 12, NULL, 10);
    else if (strncasecmp(line, "Penstock-Last-Seq:", 18) == 0)
        reply->last_seq = strtoll(line + 18, NULL, 10);
    return len;
}

static bool add_header(struct transfer *transfer, const char *name, const char *value)
{
    char line[256];
    int len = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(transfer->headers, line);

    if (more != NULL)
        transfer->headers = more;
    return more != NULL && len > 0 && (size_t)len < sizeof line;
}

/* False: no memory. */
static bool prepare(struct transfer *transfer, const struct ctl *ctl, const struct ctl_call *call)
{
    const char *method = call->method != NULL ? call->method : "GET";
    bool is_unix = strncmp(ctl->admin, "unix:", 5) == 0, has_body = call->body != NULL;

    *transfer = (struct transfer){.easy = curl_easy_init(), .url = make_url(ctl, call)};
    transfer->text = open_memstream(&transfer->reply.text, &transfer->reply.len);
    if (has_body)
        transfer->body = json_dumps(call->body, JSON_COMPACT);
    CURL *easy = transfer->easy;
    return easy != NULL && transfer->url != NULL && transfer->text != NULL &&
           (!has_body || transfer->body != NULL) &&
           (!has_body || add_header(transfer, "Content-Type", "application/json")) &&
           (call->if_match == NULL || add_header(transfer, "If-Match", call->if_match)) &&
           curl_easy_setopt(easy, CURLOPT_URL, transfer->url) == CURLE_OK &&
           (!has_body || curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
           (ctl->token[0] == '\0' ||
            (curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, ctl->token) == CURLE_OK)) &&
           (!is_unix ||
            curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, ctl->admin + 5) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer->text) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer->reply) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->why) == CURLE_OK;
}

static int perform(struct transfer *transfer, const struct ctl *ctl)
{
    long status = 0, os_errno = 0;
    CURLcode code = curl_easy_perform(transfer->easy);

    if (code == CURLE_WRITE_ERROR)
        return ctl_say(CTL_FAILED, "the answer of %s is longer than %ld MiB", ctl->admin,
                       ANSWER_MAX >> 20);
    if (code == CURLE_OUT_OF_MEMORY)
        return ctl_say(CTL_FAILED, "out of memory");
    if (code != CURLE_OK) {
        /* The system's word for it is shorter than libcurl's, where there is one. */
        if (curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK &&
            os_errno != 0)
            return ctl_say(CTL_AWAY, "%s: %s", ctl->admin, strerror((int)os_errno));
        return ctl_say(CTL_AWAY, "%s: %s", ctl->admin,
                       transfer->why[0] != '\0' ? transfer->why : curl_easy_strerror(code));
    }
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->reply.status = (int)status;
    return CTL_OK;
}

/* --- Answers. --- */

static const char *member(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

/* A problem document (RFC 9457): its detail, and each fault where there are several. */
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
    return CTL_REFUSED;
}

static int judge(const struct ctl *ctl, const struct ctl_call *call, struct ctl_reply *reply)
{
    bool good = reply->status / 100 == 2;
    struct ps_fault fault = {0};

    bool has_json = reply->len > 0 && !(good && call->no_json);
    int err = has_json ? ps_json_parse(reply->text, reply->len, &reply->json, &fault) : 0;
    if (good && err < 0)
        return ctl_say(CTL_AWAY, "%s: the answer is no JSON: %s; is this an admin listener?",
                       ctl->admin, fault.text);
    if (good || (call->allow != 0 && reply->status == call->allow))
        return CTL_OK;
    return say_refusal(ctl, call, reply);
}

int ctl_send(const struct ctl *ctl, const struct ctl_call *call, struct ctl_reply *ret_reply)
{
    struct transfer transfer;
    int exit = prepare(&transfer, ctl, call) ? perform(&transfer, ctl)
                                             : ctl_say(CTL_FAILED, "out of memory");

    if (transfer.text != NULL && fclose(transfer.text) != 0 && exit == CTL_OK)
        exit = ctl_say(CTL_FAILED, "out of memory");
    if (exit == CTL_OK)
        exit = judge(ctl, call, &transfer.reply);
    curl_easy_cleanup(transfer.easy);
    curl_slist_free_all(transfer.headers);
    free(transfer.url);
    free(transfer.body);
    if (exit != CTL_OK)
        ctl_reply_done(&transfer.reply);
    *ret_reply = transfer.reply;
    return exit;
}

void ctl_reply_done(struct ctl_reply *reply)
{
    json_decref(reply->json);
    free(reply->text);
    *reply = (struct ctl_reply){0};
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

json_t *ctl_body(const struct ctl *ctl)
{
    json_t *body = json_object();

    if (body != NULL && ctl->options.reason != NULL)
        return ps_json_built(body,
                             json_object_set_new(body, "reason", json_string(ctl->options.reason)));
    return body;
}
