/* libcurl's multi interface keeps the connections; a call has an easy handle of its own, so that
 * nothing of one call is left for the next. */
#include "common/call/call.h"

#include "common/grow.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ps_caller {
    CURLM *multi;
    CURL *easy; /* NULL: no call is under way */
    struct curl_slist *headers, *connect_to;
    char *url;
    const char *admin;
    size_t room, answer_max;
    char why[CURL_ERROR_SIZE];
    struct ps_answer answer;
};

int ps_calls_start(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : PS_E_IO;
}

void ps_calls_stop(void)
{
    curl_global_cleanup();
}

bool ps_call_is_address(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0 ||
           strncmp(text, "unix:/", 6) == 0;
}

struct ps_caller *ps_caller_new(void)
{
    struct ps_caller *caller = calloc(1, sizeof *caller);

    if (caller != NULL && (caller->multi = curl_multi_init()) == NULL) {
        free(caller);
        caller = NULL;
    }
    return caller;
}

static void end_call(struct ps_caller *caller)
{
    if (caller->easy != NULL)
        (void)curl_multi_remove_handle(caller->multi, caller->easy);
    curl_easy_cleanup(caller->easy);
    curl_slist_free_all(caller->headers);
    curl_slist_free_all(caller->connect_to);
    free(caller->url);
    caller->easy = NULL;
    caller->headers = caller->connect_to = NULL;
    caller->url = NULL;
}

void ps_caller_free(struct ps_caller *caller)
{
    if (caller == NULL)
        return;
    end_call(caller);
    curl_multi_cleanup(caller->multi);
    free(caller->answer.text);
    free(caller);
}

/* --- Asking. --- */

static size_t take_text(char *bytes, size_t size, size_t count, void *ctx)
{
    struct ps_caller *caller = ctx;
    struct ps_answer *answer = &caller->answer;
    size_t len = size * count;

    if (len > caller->answer_max - answer->len ||
        ps_grow(&answer->text, &caller->room, answer->len + len + 1, 1) < 0)
        return 0;
    memcpy(answer->text + answer->len, bytes, len);
    answer->len += len;
    answer->text[answer->len] = '\0';
    return len;
}

static bool add(struct curl_slist **list, const char *name, const char *value)
{
    char line[320];
    int len = snprintf(line, sizeof line, "%s%s", name, value);
    struct curl_slist *more =
        len > 0 && (size_t)len < sizeof line ? curl_slist_append(*list, line) : NULL;

    if (more != NULL)
        *list = more;
    return more != NULL;
}

static bool add_headers(struct curl_slist **list, const struct ps_strings *headers)
{
    for (size_t i = 0; headers != NULL && i < headers->count; i++) {
        struct curl_slist *more = curl_slist_append(*list, headers->at[i]);
        if (more == NULL)
            return false;
        *list = more;
    }
    return true;
}

static bool add_lists(struct ps_caller *caller, const struct ps_call *call, bool has_body)
{
    return (!has_body || (add(&caller->headers, "Content-Type: application/json", "") &&
                          add(&caller->headers, "Expect:", ""))) &&
           (call->if_match == NULL || add(&caller->headers, "If-Match: ", call->if_match)) &&
           (call->header == NULL || add(&caller->headers, call->header, "")) &&
           add_headers(&caller->headers, call->headers) &&
           (call->connect_to == NULL || add(&caller->connect_to, "::", call->connect_to));
}

static bool set_up(struct ps_caller *caller, const struct ps_call *call)
{
    const char *method = call->method != NULL ? call->method : "GET";
    bool is_unix = strncmp(call->admin, "unix:", 5) == 0, has_body = strcmp(method, "GET") != 0;
    size_t len = strlen(call->admin);
    CURL *easy = caller->easy = curl_easy_init();

    while (len > 0 && call->admin[len - 1] == '/')
        len--;
    if (asprintf(&caller->url, "%.*s%s", is_unix ? 16 : (int)len,
                 is_unix ? "http://localhost" : call->admin, call->path) < 0)
        caller->url = NULL;
    return easy != NULL && caller->url != NULL && add_lists(caller, call, has_body) &&
           curl_easy_setopt(easy, CURLOPT_URL, caller->url) == CURLE_OK &&
           (!has_body || curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                                          call->body != NULL ? call->body : "") == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, caller->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CONNECT_TO, caller->connect_to) == CURLE_OK &&
           (call->token == NULL || call->token[0] == '\0' ||
            (curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, call->token) == CURLE_OK)) &&
           (!is_unix ||
            curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->admin + 5) == CURLE_OK) &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* A name server that is silent holds up neither the next call nor the program's end. */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, call->connect_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, call->answer_ms) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_text) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, caller) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, caller->why) == CURLE_OK &&
           curl_multi_add_handle(caller->multi, easy) == CURLM_OK;
}

int ps_caller_begin(struct ps_caller *caller, const struct ps_call *call)
{
    end_call(caller);
    free(caller->answer.text);
    caller->answer = (struct ps_answer){.last_seq = -1};
    caller->room = 0;
    caller->admin = call->admin;
    caller->answer_max = call->answer_max;
    caller->why[0] = '\0';
    if (ps_grow(&caller->answer.text, &caller->room, 1, 1) == 0 && set_up(caller, call)) {
        caller->answer.text[0] = '\0';
        return 0;
    }
    end_call(caller);
    return PS_E_NOMEM;
}

/* --- Hearing. --- */

/* "": none. */
static const char *header_of(CURL *easy, const char *name)
{
    struct curl_header *header;

    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value
                                                                                   : "";
}

static void read_answer(CURL *easy, struct ps_answer *answer)
{
    const char *seq = header_of(easy, "Penstock-Last-Seq");
    curl_off_t retry_after_s = 0;
    long status = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    answer->status = (int)status;
    answer->retry_after_s = retry_after_s;
    answer->last_seq = seq[0] != '\0' ? strtoll(seq, NULL, 10) : -1;
    (void)snprintf(answer->etag, sizeof answer->etag, "%s", header_of(easy, "ETag"));
}

/* Why there is no answer: the system's word is shorter than libcurl's, where there is one. */
static int say_failed(struct ps_caller *caller, CURLcode code, struct ps_fault *fault)
{
    long os_errno = 0;

    if (code == CURLE_WRITE_ERROR)
        return ps_fault(fault, PS_E_FULL, caller->admin, "the answer is longer than %zu MiB",
                        caller->answer_max >> 20);
    if (code == CURLE_OUT_OF_MEMORY)
        return ps_fault(fault, PS_E_NOMEM, caller->admin, "out of memory");
    (void)curl_easy_getinfo(caller->easy, CURLINFO_OS_ERRNO, &os_errno);
    return ps_fault(fault, code == CURLE_OPERATION_TIMEDOUT ? PS_E_TIMEOUT : PS_E_IO, caller->admin,
                    "%s",
                    code != CURLE_OPERATION_TIMEDOUT && os_errno != 0 ? strerror((int)os_errno)
                    : caller->why[0] != '\0'                          ? caller->why
                                                                      : curl_easy_strerror(code));
}

int ps_caller_poll(struct ps_caller *caller, int wait_ms, struct ps_answer **ret_answer,
                   struct ps_fault *fault)
{
    int running, left, done = 1;

    if (wait_ms > 0)
        (void)curl_multi_poll(caller->multi, NULL, 0, wait_ms, NULL);
    (void)curl_multi_perform(caller->multi, &running);
    const CURLMsg *message = curl_multi_info_read(caller->multi, &left);
    if (message == NULL || message->msg != CURLMSG_DONE)
        return 0;
    if (message->data.result == CURLE_OK) {
        read_answer(caller->easy, &caller->answer);
        *ret_answer = &caller->answer;
    } else {
        done = say_failed(caller, message->data.result, fault);
    }
    end_call(caller);
    return done;
}

int ps_caller_ask(struct ps_caller *caller, const struct ps_call *call,
                  struct ps_answer **ret_answer, struct ps_fault *fault)
{
    int err = ps_caller_begin(caller, call);

    if (err < 0)
        return ps_fault(fault, err, call->admin, "out of memory");
    while ((err = ps_caller_poll(caller, 1000, ret_answer, fault)) == 0)
        ;
    return err < 0 ? err : 0;
}
