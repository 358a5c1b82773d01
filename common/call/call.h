/* Calls by libcurl, one at a time: of a gateway's admin API, of a collector of traces. Connections
 * are kept from call to call. Redirects are not followed; a proxy of the environment is for going
 * out, and is not asked. One thread. */
#ifndef PS_CALL_H
#define PS_CALL_H

#include "common/err.h"

struct ps_call {
    const char *admin;    /* http://HOST:PORT, https://HOST:PORT or unix:/PATH; slashes at the end
                             are passed over. It and `body` must live until the call has ended */
    const char *method;   /* NULL: GET */
    const char *path;     /* with the query */
    const char *body;     /* JSON; NULL: none */
    const char *token;    /* NULL or "": none */
    const char *if_match; /* NULL: none */
    const char *header;   /* one more, "Name: value"; NULL: none */
    const struct ps_strings *headers; /* more of them; NULL: none */
    const char
        *connect_to; /* connects to this "HOST:PORT", whatever `admin` names; NULL: to that */
    long connect_ms, answer_ms; /* an answer must be there within answer_ms, connecting included */
    size_t answer_max;          /* bytes of its body */
};

struct ps_answer {
    int status;
    char *text; /* the body, with a NUL behind it */
    size_t len;
    char etag[64];         /* with its quotation marks; "": none */
    int64_t retry_after_s; /* 0: none */
    int64_t last_seq;      /* Penstock-Last-Seq; -1: none */
};

/* "http://…", "https://…" or "unix:/…": what `admin` of a call may be. */
bool ps_call_is_address(const char *text);

/* Once in a program, before its other threads. PS_E_IO. */
int ps_calls_start(void) PS_MUST_CHECK;
void ps_calls_stop(void);

struct ps_caller;

/* NULL: out of memory. */
struct ps_caller *ps_caller_new(void);
void ps_caller_free(struct ps_caller *caller); /* ends a call under way; NULL is allowed */
/* Begins a call, and ends the one under way. PS_E_NOMEM. */
int ps_caller_begin(struct ps_caller *caller, const struct ps_call *call) PS_MUST_CHECK;
/* Advances the call, waiting up to `wait_ms` for news. 1: there is an answer, of any status; it
 * lives until the next call begins, and whoever takes its text sets that to NULL. 0: not yet.
 * PS_E_IO, PS_E_TIMEOUT, PS_E_FULL (longer than answer_max), PS_E_NOMEM: the call has ended, and
 * the fault, with `admin` as its path, says why. */
int ps_caller_poll(struct ps_caller *caller, int wait_ms, struct ps_answer **ret_answer,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* Both, until there is an answer: 0 or an error of either. Blocks. */
int ps_caller_ask(struct ps_caller *caller, const struct ps_call *call,
                  struct ps_answer **ret_answer, struct ps_fault *fault) PS_MUST_CHECK;

#endif
