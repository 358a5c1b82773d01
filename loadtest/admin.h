/* The admin listener, as the rehearsal asks it before and after the run: one call at a time,
 * blocking, on a connection of its own. Any thread. */
#ifndef LT_ADMIN_H
#define LT_ADMIN_H

#include "loadtest/target.h"

#include <signal.h>

struct lt_admin {
    struct lt_target target;
    char token[128];
    const volatile sig_atomic_t *stop; /* 2 or more: calls give up; may be NULL */
};

struct lt_reply {
    int status;
    char *body; /* heap, with a closing NUL; owner: the caller (free) */
    size_t len;
};

/* The first line of the file. PS_E_IO, PS_E_INVALID (no token). */
int lt_admin_read_token(const char *path, struct lt_admin *admin,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* `body` NULL: none. While the gateway cannot be reached, or answers 429 or 503, it is tried again
 * until `patience_ms` has passed; so only calls that may be repeated belong here. PS_E_IO,
 * PS_E_TIMEOUT, PS_E_CLOSED (told to stop); any other HTTP status is the caller's business. */
int lt_admin_call(const struct lt_admin *admin, const char *method, const char *path,
                  const char *body, int64_t patience_ms, struct lt_reply *ret_reply,
                  struct ps_fault *fault) PS_MUST_CHECK;

/* Waits, unless told to stop: then PS_E_CLOSED. */
int lt_admin_wait(const struct lt_admin *admin, int64_t ms) PS_MUST_CHECK;

#endif
