/* A connection for each attempt, to the address to which the target was resolved, and to no other
 * that the name may have by now. It looks every SLICE_MS whether it has been stopped. */
#include "loadtest/admin.h"

#include "common/call/call.h"
#include "common/clock.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS   100
#define ATTEMPT_MS 10000 /* one attempt; then the next one */
#define PAUSE_MS   200
#define REPLY_MAX  ((size_t)64 << 20)

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

/* The target's address as "HOST:PORT". */
static int put_address(const struct lt_target *target, char *ret_text, size_t cap)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    bool v6 = target->address.ss_family == AF_INET6;
    if (getnameinfo((const struct sockaddr *)&target->address, target->address_len, host,
                    sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return PS_E_NOMEM;
    (void)snprintf(ret_text, cap, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    return 0;
}

/* PS_E_CLOSED: stopped. */
static int await(struct ps_caller *caller, const struct lt_admin *admin, struct lt_reply *ret_reply,
                 struct ps_fault *fault)
{
    struct ps_answer *answer;
    int done = 0;
    while (!is_stopped(admin) && (done = ps_caller_poll(caller, SLICE_MS, &answer, fault)) == 0)
        ;
    if (done <= 0)
        return done < 0 ? done : PS_E_CLOSED;
    *ret_reply = (struct lt_reply){answer->status, answer->text, answer->len};
    answer->text = NULL;
    return 0;
}

static int attempt(const struct lt_admin *admin, const struct lt_call *call, int64_t timeout_ms,
                   struct lt_reply *ret_reply, struct ps_fault *fault)
{
    char url[sizeof admin->target.authority + 8], address[NI_MAXHOST + NI_MAXSERV + 4];
    struct ps_caller *caller = ps_caller_new();
    int err = caller != NULL ? put_address(&admin->target, address, sizeof address) : PS_E_NOMEM;
    (void)snprintf(url, sizeof url, "http://%s", admin->target.authority);
    if (err == 0)
        err = ps_caller_begin(caller, &(struct ps_call){.admin = url,
                                                        .method = call->method,
                                                        .path = call->path,
                                                        .body = call->body,
                                                        .token = admin->token,
                                                        .header = admin->header,
                                                        .connect_to = address,
                                                        .connect_ms = timeout_ms,
                                                        .answer_ms = timeout_ms,
                                                        .answer_max = REPLY_MAX});
    if (err == 0)
        err = await(caller, admin, ret_reply, fault);
    ps_caller_free(caller);
    return err;
}

int lt_admin_call(const struct lt_admin *admin, const struct lt_call *call,
                  struct lt_reply *ret_reply, struct ps_fault *fault)
{
    int64_t give_up_ms = now_ms() + call->patience_ms;
    while (!is_stopped(admin)) {
        int64_t left_ms = give_up_ms - now_ms();
        int64_t timeout_ms = left_ms < 1 ? 1 : left_ms > ATTEMPT_MS ? ATTEMPT_MS : left_ms;
        struct lt_reply reply = {.status = 0};
        struct ps_fault why;
        int err = attempt(admin, call, timeout_ms, &reply, &why);
        bool unavailable =
            err == PS_E_IO || err == PS_E_TIMEOUT || reply.status == 429 || reply.status == 503;
        bool again = err == PS_E_CLOSED || (unavailable && now_ms() + PAUSE_MS < give_up_ms);
        if (!again && err < 0)
            err = ps_fault(fault, err, "--admin", "%s %s at %s: %s", call->method, call->path,
                           admin->target.authority, err == PS_E_IO ? why.text : ps_err_text(err));
        if (!again && err == 0)
            *ret_reply = reply;
        if (!again)
            return err;
        free(reply.body);
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
