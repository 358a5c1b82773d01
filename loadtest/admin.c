/* One libcurl transfer for each attempt. libcurl calls on_progress() about once a second and when a
 * signal interrupts its wait, so that a second Ctrl-C ends a call. It connects to the address to
 * which the target was resolved, and to no other that the name may have by now. */
#include "loadtest/admin.h"

#include "common/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS   100
#define ATTEMPT_MS 10000 /* one attempt; then the next one */
#define PAUSE_MS   200
#define REPLY_MAX  (64L << 20)

int lt_admin_read_token(const char *path, struct lt_admin *admin, struct ps_fault *fault)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "--token-file", "%s: %s", path, strerror(errno));
    const char *line = fgets(admin->token, sizeof admin->token, file);
    (void)fclose(file);
    if (line != NULL)
        admin->token[strcspn(admin->token, "\r\n")] = '\0';
    if (line == NULL || admin->token[0] == '\0' || strpbrk(admin->token, " \t") != NULL)
        return ps_fault(fault, PS_E_INVALID, "--token-file", "%s holds no token", path);
    return 0;
}

static bool is_stopped(const struct lt_admin *admin)
{
    return admin->stop != NULL && *admin->stop >= 2;
}

static int64_t now_ms(void)
{
    return ps_clock_mono_ns(&ps_clock_system) / PS_NS_PER_MS;
}

int lt_admin_wait(const struct lt_admin *admin, int64_t ms, struct ps_fault *fault)
{
    int64_t until_ms = now_ms() + ms;
    while (!is_stopped(admin)) {
        int64_t left_ms = until_ms - now_ms();
        if (left_ms <= 0)
            return 0;
        (void)poll(NULL, 0, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
    }
    return ps_fault(fault, PS_E_CLOSED, "", "told to stop");
}

static size_t on_body(char *bytes, size_t size, size_t count, void *file)
{
    return ftell(file) + (long)(size * count) < REPLY_MAX ? fwrite(bytes, size, count, file) : 0;
}

static int on_progress(void *admin, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    (void)down_total, (void)down, (void)up_total, (void)up;
    return is_stopped(admin);
}

/* The target's address in the words of CURLOPT_CONNECT_TO; NULL: no memory. */
static struct curl_slist *new_connect_to(const struct lt_target *target)
{
    char host[NI_MAXHOST], port[NI_MAXSERV], text[NI_MAXHOST + NI_MAXSERV + 8];
    if (getnameinfo((const struct sockaddr *)&target->address, target->address_len, host,
                    sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return NULL;
    bool v6 = target->address.ss_family == AF_INET6;
    (void)snprintf(text, sizeof text, "::%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    return curl_slist_append(NULL, text);
}

/* NULL: no memory. `more` may be NULL. */
static struct curl_slist *new_headers(const char *more)
{
    struct curl_slist *first = curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *all = first != NULL && more != NULL ? curl_slist_append(first, more) : first;
    if (all == NULL)
        curl_slist_free_all(first);
    return all;
}

/* All that one attempt needs; every member is freed by end_attempt(). */
struct attempt {
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    struct lt_reply reply;
    FILE *body; /* writes to `reply` */
    char why[CURL_ERROR_SIZE];
};

/* A proxy of the environment is for outside; a gateway's admin listener is inside. */
static bool begin_attempt(struct attempt *attempt, const struct lt_admin *admin,
                          const struct lt_call *call, int64_t timeout_ms)
{
    *attempt =
        (struct attempt){.easy = curl_easy_init(), .connect_to = new_connect_to(&admin->target)};
    attempt->headers = new_headers(admin->header);
    attempt->body = open_memstream(&attempt->reply.body, &attempt->reply.len);
    char url[2048];
    int len = snprintf(url, sizeof url, "http://%s%s", admin->target.authority, call->path);
    const char *body = call->body != NULL ? call->body : "";
    bool only_reads = strcmp(call->method, "GET") == 0;
    CURL *easy = attempt->easy;
    return easy != NULL && attempt->connect_to != NULL && attempt->headers != NULL &&
           attempt->body != NULL && len > 0 && (size_t)len < sizeof url &&
           curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           (only_reads || curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, attempt->headers) == CURLE_OK &&
           (admin->token[0] == '\0' ||
            (curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, admin->token) == CURLE_OK)) &&
           curl_easy_setopt(easy, CURLOPT_CONNECT_TO, attempt->connect_to) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_XFERINFODATA, admin) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt->body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, attempt->why) == CURLE_OK;
}

static int run_attempt(struct attempt *attempt)
{
    long status = 0, os_errno = 0;
    switch (curl_easy_perform(attempt->easy)) {
    case CURLE_OK:
        (void)curl_easy_getinfo(attempt->easy, CURLINFO_RESPONSE_CODE, &status);
        attempt->reply.status = (int)status;
        return fflush(attempt->body) == 0 ? 0 : PS_E_NOMEM;
    case CURLE_OPERATION_TIMEDOUT:
        return PS_E_TIMEOUT;
    case CURLE_ABORTED_BY_CALLBACK:
        return PS_E_CLOSED;
    case CURLE_WRITE_ERROR:
        return PS_E_FULL;
    case CURLE_OUT_OF_MEMORY:
        return PS_E_NOMEM;
    default:
        /* The system's word for it is shorter than libcurl's, where there is one. */
        if (curl_easy_getinfo(attempt->easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK &&
            os_errno != 0)
            (void)snprintf(attempt->why, sizeof attempt->why, "%s", strerror((int)os_errno));
        return PS_E_IO;
    }
}

/* The reply moves to *ret_reply, unless that is NULL. */
static void end_attempt(struct attempt *attempt, struct lt_reply *ret_reply)
{
    curl_easy_cleanup(attempt->easy);
    curl_slist_free_all(attempt->headers);
    curl_slist_free_all(attempt->connect_to);
    if (attempt->body != NULL)
        (void)fclose(attempt->body);
    if (ret_reply != NULL)
        *ret_reply = attempt->reply;
    else
        free(attempt->reply.body);
}

int lt_admin_call(const struct lt_admin *admin, const struct lt_call *call,
                  struct lt_reply *ret_reply, struct ps_fault *fault)
{
    int64_t give_up_ms = now_ms() + call->patience_ms;
    while (!is_stopped(admin)) {
        int64_t left_ms = give_up_ms - now_ms();
        int64_t timeout_ms = left_ms < 1 ? 1 : left_ms > ATTEMPT_MS ? ATTEMPT_MS : left_ms;
        struct attempt attempt;
        int err =
            begin_attempt(&attempt, admin, call, timeout_ms) ? run_attempt(&attempt) : PS_E_NOMEM;
        bool unavailable = err == PS_E_IO || err == PS_E_TIMEOUT || attempt.reply.status == 429 ||
                           attempt.reply.status == 503;
        bool again = err == PS_E_CLOSED || (unavailable && now_ms() + PAUSE_MS < give_up_ms);
        if (!again && err < 0)
            err =
                ps_fault(fault, err, "--admin", "%s %s at %s: %s", call->method, call->path,
                         admin->target.authority, err == PS_E_IO ? attempt.why : ps_err_text(err));
        end_attempt(&attempt, !again && err == 0 ? ret_reply : NULL);
        if (!again)
            return err;
        (void)!lt_admin_wait(admin, PAUSE_MS, NULL); /* the loop notices the stop */
    }
    return ps_fault(fault, PS_E_CLOSED, "--admin", "told to stop");
}

int lt_admin_refused(const struct lt_reply *reply, const char *what, struct ps_fault *fault)
{
    json_t *problem = NULL;
    const char *detail = NULL, *code = NULL;
    if (ps_json_parse(reply->body, reply->len, &problem, NULL) == 0) {
        detail = json_string_value(json_object_get(problem, "detail"));
        code = json_string_value(json_object_get(problem, "code"));
    }
    bool wrong_token = reply->status == 401;
    int err = ps_fault(fault, PS_E_CONFLICT, wrong_token ? "--token-file" : "--admin",
                       "%s: the gateway answered %d%s%s%s%s%s", what, reply->status,
                       code != NULL ? " " : "", code != NULL ? code : "",
                       detail != NULL ? ": " : "", detail != NULL ? detail : "",
                       wrong_token ? "; name a file that holds a token of this gateway" : "");
    json_decref(problem);
    return err;
}

int lt_admin_call_json(const struct lt_admin *admin, const struct lt_call *call, json_t **ret_json,
                       struct ps_fault *fault)
{
    struct lt_reply reply = {.status = 0};
    int err = lt_admin_call(admin, call, &reply, fault);
    if (err < 0)
        return err;
    if (reply.status / 100 != 2)
        err = lt_admin_refused(&reply, call->path, fault);
    else if (reply.status != 204)
        err = ps_json_parse(reply.body, reply.len, ret_json, fault);
    free(reply.body);
    return err;
}

int lt_admin_get(const struct lt_admin *admin, const char *path, int64_t patience_ms,
                 json_t **ret_json, struct ps_fault *fault)
{
    const struct lt_call call = {.method = "GET", .path = path, .patience_ms = patience_ms};
    return lt_admin_call_json(admin, &call, ret_json, fault);
}
