/* The admin listener, as the rehearsal calls it before and after the run: one call at a time,
 * blocking, on a connection of its own. One thread. */
#ifndef LT_ADMIN_H
#define LT_ADMIN_H

#include "common/text/json.h"
#include "loadtest/target.h"

#include <signal.h>

struct lt_admin {
    struct lt_target target;
    char token[128];                   /* "" = none: it is the public listener */
    const volatile sig_atomic_t *stop; /* 2 or more: calls end; may be NULL */
    const char *header;                /* of every call, "Name: value"; NULL: none */
};

/* While the gateway cannot be reached, or answers 429 or 503, the call is repeated until
 * `patience_ms` has passed; so only calls that may be repeated belong here. */
struct lt_call {
    const char *method, *path;
    const char *body; /* JSON; NULL: none */
    int64_t patience_ms;
};

struct lt_reply {
    int status;
    char *body; /* heap, with a closing NUL; owner: the caller (free) */
    size_t len;
};

/* Any HTTP status is a success. PS_E_IO, PS_E_TIMEOUT, PS_E_FULL (the answer is too long),
 * PS_E_NOMEM, PS_E_CLOSED (stopped). */
int lt_admin_call(const struct lt_admin *admin, const struct lt_call *call,
                  struct lt_reply *ret_reply, struct ps_fault *fault) PS_MUST_CHECK;
/* A call whose answer must be 2xx with JSON (204: without, *ret_json is untouched); else
 * PS_E_CONFLICT, PS_E_INVALID, or as above. Owner of *ret_json: the caller (json_decref). */
int lt_admin_call_json(const struct lt_admin *admin, const struct lt_call *call, json_t **ret_json,
                       struct ps_fault *fault) PS_MUST_CHECK;
/* The same of a GET. */
int lt_admin_get(const struct lt_admin *admin, const char *path, int64_t patience_ms,
                 json_t **ret_json, struct ps_fault *fault) PS_MUST_CHECK;
/* PS_E_CONFLICT, and in the fault why the gateway refused to do `what`. */
int lt_admin_refused(const struct lt_reply *reply, const char *what,
                     struct ps_fault *fault) PS_MUST_CHECK;

/* Waits, unless stopped: then PS_E_CLOSED, and the fault (may be NULL) says so. */
int lt_admin_wait(const struct lt_admin *admin, int64_t ms, struct ps_fault *fault) PS_MUST_CHECK;

#endif
