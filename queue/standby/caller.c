/* See caller.h: libcurl, one connection that is kept. */
#include "queue/standby/caller.h"

#include "common/grow.h"
#include "common/program/secret.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX  ((size_t)300 << 20)
#define TOKEN_MAX  256
#define CONNECT_MS 2000L
#define ANSWER_MS  10000L

struct sb_caller {
    CURL *easy;
    char *url;
    const char *token_file;
    struct sb_reply reply;
    size_t room; /* of reply.body */
    char why[CURL_ERROR_SIZE];
};

static size_t take_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sb_caller *caller = ctx;
    struct sb_reply *reply = &caller->reply;
    size_t len = size * count;

    if (reply->len + len > REPLY_MAX ||
        ps_grow(&reply->body, &caller->room, reply->len + len + 1, 1) < 0)
        return 0;
    memcpy(reply->body + reply->len, bytes, len);
    reply->len += len;
    reply->body[reply->len] = '\0';
    return len;
}

/* A whole number behind `name`, maybe in quotes. */
static void take_number(const char *line, size_t len, const char *name, int64_t *ret_number)
{
    size_t name_len = strlen(name);

    if (len <= name_len || strncasecmp(line, name, name_len) != 0)
        return;
    const char *at = line + name_len;
    at += strspn(at, " \"");
    if (*at >= '0' && *at <= '9')
        *ret_number = strtoll(at, NULL, 10);
}

static size_t take_header(char *line, size_t size, size_t count, void *ctx)
{
    struct sb_caller *caller = ctx;
    char text[128]; /* those that count are short */
    size_t len = size * count;

    if (len < sizeof text) {
        memcpy(text, line, len);
        text[len] = '\0';
        take_number(text, len, "Penstock-Last-Seq:", &caller->reply.last_seq);
        take_number(text, len, "ETag:", &caller->reply.version);
    }
    return len;
}

int sb_caller_new(const char *url, const char *token_file, struct sb_caller **ret_caller,
                  struct ps_fault *fault)
{
    struct sb_caller *caller = calloc(1, sizeof *caller);

    if (caller == NULL)
        return ps_fault(fault, PS_E_NOMEM, "--gateway", "out of memory");
    caller->token_file = token_file;
    caller->url = strdup(url);
    CURL *easy = caller->easy = curl_easy_init();
    /* A proxy of the environment is for going out; a gateway's admin listener is inside. */
    if (caller->url == NULL || easy == NULL ||
        curl_easy_setopt(easy, CURLOPT_PROXY, "") != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, ANSWER_MS) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, caller) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, caller) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, caller->why) != CURLE_OK) {
        sb_caller_free(caller);
        return ps_fault(fault, PS_E_NOMEM, "--gateway", "libcurl cannot be set up");
    }
    size_t len = strlen(caller->url);
    while (len > 0 && caller->url[len - 1] == '/')
        caller->url[--len] = '\0';
    *ret_caller = caller;
    return 0;
}

void sb_caller_free(struct sb_caller *caller)
{
    if (caller == NULL)
        return;
    curl_easy_cleanup(caller->easy);
    free(caller->reply.body);
    free(caller->url);
    free(caller);
}

int sb_caller_get(struct sb_caller *caller, const char *path, struct sb_reply *ret_reply,
                  struct ps_fault *fault)
{
    struct sb_reply *reply = &caller->reply;
    char token[TOKEN_MAX], url[1200];
    long status = 0;
    int err = ps_secret_read(caller->token_file, "--token-file", sizeof token - 1, token, fault);

    if (err < 0)
        return err;
    (void)snprintf(url, sizeof url, "%s%s", caller->url, path);
    *reply = (struct sb_reply){.body = reply->body, .last_seq = -1, .version = -1};
    if (ps_grow(&reply->body, &caller->room, 1, 1) < 0)
        return ps_fault(fault, PS_E_NOMEM, "--gateway", "out of memory");
    reply->body[0] = caller->why[0] = '\0';
    if (curl_easy_setopt(caller->easy, CURLOPT_URL, url) != CURLE_OK ||
        curl_easy_setopt(caller->easy, CURLOPT_XOAUTH2_BEARER, token) != CURLE_OK)
        return ps_fault(fault, PS_E_NOMEM, "--gateway", "libcurl does not take the call");
    CURLcode code = curl_easy_perform(caller->easy);
    if (code != CURLE_OK)
        return ps_fault(fault, code == CURLE_WRITE_ERROR ? PS_E_FULL : PS_E_IO, caller->url, "%s",
                        caller->why[0] != '\0' ? caller->why : curl_easy_strerror(code));
    (void)curl_easy_getinfo(caller->easy, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (int)status;
    *ret_reply = *reply;
    return 0;
}
