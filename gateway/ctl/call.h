/* One call of the admin API: makes the path of a template, returns the answer as JSON or text,
 * prints refusals on stderr. */
#ifndef CTL_CALL_H
#define CTL_CALL_H

#include "common/text/json.h"
#include "gateway/ctl/ctl.h"

struct ctl_call {
    const char *method; /* NULL: GET */
    /* "/admin/v1/{+}/{}": {} is the next of `args` percent-encoded, {+} as it is; an argument
     * that is NULL is empty. */
    const char *path;
    const char *args[4];
    const json_t *body;   /* borrowed; NULL: none */
    const char *if_match; /* an entity tag with its quotation marks, or *; NULL: none */
    bool no_json;         /* the answer is plain text */
    int allow;            /* a status that the caller handles itself; 0: none */
};

struct ctl_reply {
    int status;
    char *text; /* with a closing NUL */
    size_t len;
    json_t *json; /* NULL: text, or no body */
    char etag[64];
    int64_t retry_after_s; /* 0: none given */
    int64_t last_seq;      /* Penstock-Last-Seq: `after` of the next page; -1: not said */
};

/* CTL_OK: status 2xx or `allow`. Else the reason was printed, and *ret_reply is empty. Owner of the
 * reply: the caller (ctl_reply_done). */
int ctl_send(const struct ctl *ctl, const struct ctl_call *call,
             struct ctl_reply *ret_reply) PS_MUST_CHECK;
void ctl_reply_done(struct ctl_reply *reply);

/* A call with a body, which is freed. No body, or `err` not 0: an argument is not valid UTF-8, so
 * nothing is sent. Else as ctl_send. */
int ctl_change(const struct ctl *ctl, struct ctl_call call, json_t *body, int err,
               struct ctl_reply *ret_reply) PS_MUST_CHECK;

/* A call whose answer is only printed: as `columns` say (print.h), or as JSON. */
int ctl_send_and_print(const struct ctl *ctl, const struct ctl_call *call, const char *columns);

int ctl_change_and_print(const struct ctl *ctl, struct ctl_call call, json_t *body, int err);

/* {"reason":…} from the options; {} without one. Owner: the caller. NULL: it is not valid UTF-8, or
 * there is no memory. */
json_t *ctl_body(const struct ctl *ctl);

#endif
