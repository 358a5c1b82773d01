/* The base of the admin listener, below its parts. Each part of the API (sales, orders, tokens, …)
 * is a file that brings a struct op_part: its routes, its rows of metrics, what it adds to
 * documents of its kind. The router (routes.c) authenticates and reads the body, then calls the
 * route's handler. A handler either answers, or makes the request wait (op_wait) for an event that
 * calls it back.
 *
 * Changes are made one at a time: while one is in progress, requests of other changing routes wait
 * for their turn, and only then read what they change. So a handler checks versions against the
 * present ones, and two operators never overwrite each other. If the gateway itself changed
 * control.db in the meantime (opened a sale), the handler simply runs again.
 *
 * A struct op_request lies in the memory of its HTTP request, which is freed once it is answered,
 * and every request that waits has a deadline. So pending work keeps copies of what it needs and
 * the request's handle, and looks the request up again by the handle. */
#ifndef OP_ADMIN_INTERNAL_H
#define OP_ADMIN_INTERNAL_H

#include "gateway/admin/admin.h"
#include "gateway/admin/outcomes.h"
#include "gateway/admin/reads.h"
#include "gateway/config/store/document.h"
#include "gateway/metrics.h"
#include "gateway/server/http.h"
#include "gateway/server/problem.h"
#include "gateway/answers/verdict.h"
#include "gateway/orders/order_events.h"

#include <sodium.h>

#define OP_BODY_MAX (1u << 20)
/* Of a request without a valid token, which is refused when its body has come. */
#define OP_BODY_STRANGER 4096
#define OP_WAIT_MS       10000
#define OP_PEER_LEN      46

struct op_request;
struct op_change;
struct op_audit;
struct op_events;
struct op_task;
struct op_part;
typedef void op_request_fn(struct op_request *request);
TAILQ_HEAD(op_tasks, op_task);

struct op_admin {
    struct op_deps deps;
    const struct op_part *const *parts;         /* NULL-terminated */
    struct srv_http *http;                      /* NULL: closed */
    TAILQ_HEAD(op_waiting, op_request) waiting; /* in order of arrival */
    bool changing;                              /* a change is in progress */
    uv_timer_t tick;                            /* runs while a request waits: op_waiting_tick */
    uv_async_t wake;                            /* the next turn; an audit's cut has been taken */
    struct op_standby {
        int64_t has;      /* the last record on the standby's disk */
        int64_t control;  /* the revision of its control.db; -1: it has none */
        int64_t asked_ns; /* 0: it never asked */
    } standby;
    struct op_reads reads; /* long ones, on work threads */
    struct op_audit *audit;
    struct op_events *events;
    struct op_head {
        bool out;                   /* in the log's hands */
        char sale[PS_NAME_MAX + 1]; /* for this one */
    } head;
    struct ps_pool *outcomes;
    struct op_tasks tasks;  /* whose outcomes are awaited (task.h) */
    struct op_tasks doubts; /* lowerings whose outcome is unknown */
    size_t open; /* how many changes, works and handles will call back; after the last: */
    void (*free)(struct op_admin *admin);
};

struct op_request {
    struct op_admin *admin;
    struct srv_request *http;
    uint64_t handle;             /* 0 = does not wait */
    const struct cfg_kind *kind; /* what {kind} in the route's path matched */
    struct ps_str arg[2];        /* what {} in the path matched */
    json_t *body;                /* NULL = none */
    char who[PS_NAME_MAX + 1];   /* id of the token */
    enum op_role role;           /* of the token; on open routes: viewer */
    bool is_foreign;             /* a page of another site asks */
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];     /* member `reason` of the body; "" = none */
    op_request_fn *run;         /* the route's handler */
    bool turn;                  /* waiting for its turn */
    op_request_fn *on_tick;     /* while it waits; NULL = none */
    op_request_fn *on_deadline; /* must answer; op_late unless a handler sets it */
    int64_t deadline_ns;
    struct op_task *task; /* the task whose outcome it waits for */
    unsigned conflicts;
    bool created; /* the answer will be 201 */
    TAILQ_ENTRY(op_request) waiting;
};

/* --- What a part has. --- */

enum {
    OP_OPEN = 1,       /* needs no token */
    OP_CHANGES = 2,    /* changes something; one at a time */
    OP_NEEDS_BODY = 4, /* requires a JSON object; without it the body is optional */
    OP_QUERY = 8,      /* reads a query; all other routes refuse one */
    OP_EXPORT = 16,    /* turned off under overload: the feature exports */
    OP_REGISTERS = 32, /* a registrar may call it, too */
    OP_METRICS = 64,   /* needs no token if the setting metrics.open is true */
    OP_PAGE = 128      /* needs no token, but a host that is served */
};

struct op_route {
    /* {} stands for one segment, {kind} for a kind of documents; for a kind with a single document
     * {kind}/{} matches the kind alone. */
    const char *path;
    enum srv_method method; /* GET also serves HEAD */
    enum op_role role;
    unsigned flags;
    op_request_fn *run;
};

/* Rows of gw_metric_table whose samples are printed at a scrape. */
struct op_rows {
    enum gw_metric first, last;
    void (*print)(FILE *out, enum gw_metric row, const struct op_admin *admin);
};

/* What a part adds to the routes of documents (documents.c) for documents of its kind. Any member
 * may be NULL. The int functions return 0 or -1. */
struct op_kind {
    const struct cfg_kind *kind;
    op_request_fn *list, *get; /* replace those of documents.c; they read the query */
    /* Adds the present state to a document's JSON. */
    int (*show)(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);
    /* Adds to a dry run's answer, for one changed document and for the whole change. */
    int (*show_change)(const struct op_admin *admin, const struct cfg_doc *from,
                       const struct cfg_doc *to, json_t *json);
    int (*show_dry_run)(const struct op_admin *admin, const struct cfg_change *change,
                        json_t *json);
    /* Answers a change that is in force; NULL: the answer shows the document. */
    void (*answer)(struct op_request *request, struct op_change *change);
    /* Called before a document is deleted. True: it answered, or the request waits. */
    bool (*before_delete)(struct op_request *request);
};

struct op_part {
    const struct op_route *routes; /* the last has no path */
    const struct op_rows *rows;    /* the last has no `print` */
    const struct op_kind *kinds;   /* the last has no kind */
    void (*gather)(
        const struct op_admin *admin); /* called before a scrape: measures into the shard */
};

/* --- waiting.c --- */

/* Lets the request wait until it is answered. A second call sets a new deadline. */
uint64_t op_wait(struct op_request *request, int64_t timeout_ms);
/* NULL: already answered. */
struct op_request *op_find(struct op_admin *admin, uint64_t handle);
/* Ends the waiting; every answer calls it first. */
void op_leave(struct op_request *request);
/* Calls on_tick and on_deadline of waiting requests; `data` of the timer is the op_admin. */
void op_waiting_tick(uv_timer_t *timer);
/* For a handler that decides itself whether it changes something. False: the handler is called
 * again when it is the request's turn. */
bool op_is_its_turn(struct op_request *request);
/* Runs the next request that waits for its turn, unless a change is in progress. */
void op_next_turns(struct op_admin *admin);
/* Ends the turn of a change; the next request runs on the loop's next turn. */
void op_turn_over(struct op_admin *admin);
/* Count pending work that will call back: begun; ended. */
void op_hold(struct op_admin *admin);
void op_release(struct op_admin *admin);

/* --- routes.c --- */
/* Notes what only the head says, before a body takes its place: nobody without a valid token fills
 * a place with a long one. False: the body comes whole. */
bool op_note_head(struct srv_request *http, void *ctx);
void op_handle(struct srv_request *http, void *admin);
/* False: answered; exports and large audits are turned off. */
bool op_exports_are_on(struct op_request *request);

/* --- answer.c --- */

/* 200 or 201 with a document, takes ownership of it (NULL = out of memory: 500). */
void op_json(struct op_request *request, enum ans_verdict verdict, json_t *json);
/* The same as another media type. */
void op_json_as(struct op_request *request, enum ans_verdict verdict, const char *media_type,
                json_t *json);
/* A document as text, with the newline that a terminal needs; takes ownership (NULL is allowed).
 * Heap; NULL: out of memory. Any thread. */
char *op_json_line(json_t *json);
/* NDJSON; `text` is heap; takes ownership. `last` < 0: no Penstock-Last-Seq. */
void op_ndjson(struct op_request *request, char *text, size_t len, int64_t last);
/* Sets the header Penstock-Last-Seq; call it before the answer. */
void op_last_seq(struct op_request *request, int64_t last);
/* `text` is heap; takes ownership. */
void op_text(struct op_request *request, const char *type, char *text, size_t len);
void op_empty(struct op_request *request); /* 204 */
void op_no(struct op_request *request, enum ans_verdict verdict, const char *fmt, ...)
    PS_PRINTF(3, 4);
/* 503: its deadline has passed. */
op_request_fn op_late;
void op_fault(struct op_request *request, enum ans_verdict verdict, const struct ps_fault *fault);
/* One of the list of faults. Owner: the caller. NULL: out of memory. */
json_t *op_fault_json(const struct ps_fault *fault);
/* Answers with the first fault as the problem's detail, and a list of all. */
void op_faults(struct op_request *request, enum ans_verdict verdict,
               const struct ps_faults *faults);
/* Answers a negative result of oq_log_append or of reading the log. */
void op_no_log(struct op_request *request, int err);
/* The same after a read; `why` has details, or "". */
void op_no_read(struct op_request *request, int err, const char *why);

/* --- precondition.c --- */

/* Adds the ETag; call it before the answer. */
void op_etag(struct op_request *request, int64_t version);
/* Is If-Match there, and does it name this version? */
enum op_match { OP_MATCH_NONE, OP_MATCH_YES, OP_MATCH_NO };
enum op_match op_if_match(const struct op_request *request, int64_t version);
/* If-Match: *. */
bool op_matches_any(const struct op_request *request);
/* False: answered. For resources with an optional If-Match. */
bool op_matches(struct op_request *request, int64_t version);

/* --- reading.c --- */

/* Parameters of the query, each at most once. */
struct op_param {
    const char *name;
    char *text;      /* NULL: a number */
    size_t cap;      /* of text, with NUL; "" when absent */
    int64_t *number; /* unchanged when absent */
    int64_t min, max;
    bool *flag; /* set when the parameter is present, whatever its value; then text and number are
                   NULL */
};
/* Reads all parameters. False: answered with 422 (unknown, repeated or invalid). */
bool op_query(struct op_request *request, const struct op_param *params, size_t count);
/* The index of a word of the NULL-terminated list; `note` is added to the error.
 * False: answered with 422. */
bool op_query_word(struct op_request *request, const char *param, const char *text,
                   const char *const *words, const char *note, int *ret_index);
/* Percent-decodes. PS_E_INVALID: not well-formed, a NUL, or too long for `cap` with its NUL. */
int op_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len) PS_MUST_CHECK;
/* Checks that the body is absent, or an object with at most a reason. False: answered. */
bool op_only_reason(struct op_request *request);

/* --- change.c: changes of the store --- */

struct op_change {
    struct op_admin *admin;
    uint64_t handle;           /* of the request */
    struct cfg_change *change; /* owned until it is submitted */
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];
    const char *action; /* literal */
    char target[CFG_NAME_MAX + 64];
    /* Called with the outcome; may be NULL. */
    void (*end)(struct op_change *change, bool written);
    /* The change is durable and in force, and the request is still there. */
    void (*answer)(struct op_request *request, struct op_change *change);
    /* For `answer`. */
    const struct cfg_kind *kind; /* of the document that changes */
    char name[CFG_NAME_MAX + 1]; /* its name; of a bundle its kinds, as in the query */
    char secret[OP_TOKEN_LEN + 1];
    char token[PS_NAME_MAX + 1];
};

void op_answer_empty(struct op_request *request, struct op_change *change); /* 204 */
/* An empty change by the requesting token. NULL: answered with 500. */
struct op_change *op_change_new(struct op_request *request, const char *action, const char *target);
/* Submits; the request waits for the end. Takes ownership of the change. */
void op_change_submit(struct op_request *request, struct op_change *change);
void op_change_free(struct op_change *change); /* instead */
/* The same, and answers all faults of the documents: after an error of cfg_change_put. */
void op_change_refuse(struct op_request *request, struct op_change *change, int err,
                      enum cfg_refusal refusal, const struct ps_faults *faults);

/* The audit line of an event that is already in the order log: written after it. `done` is called
 * once, also if the line could not be written (which is logged), maybe at once. */
struct op_audit_entry {
    struct op_admin *admin;
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];
    const char *action;
    char target[CFG_NAME_MAX + 64];
    void (*done)(struct op_audit_entry *line);
};
/* Takes ownership of from and to. */
void op_audit_entry_write(struct op_audit_entry *line, json_t *from, json_t *to);

#endif
