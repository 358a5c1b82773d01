/* What the files of the admin listener share. The router (routes.c) finds out who asks and reads
 * the body, then calls the route's handler. A handler either answers, or makes the request wait
 * (op_wait) for something that calls it back.
 *
 * Changes go one at a time: while one is under way, requests of routes that change something wait
 * for their turn, and only then look at what they change. So a handler checks versions against what
 * really is, and two operators never write over each other. Where control.db was changed by the
 * gateway itself meanwhile (a sale was opened), the handler is simply run again.
 *
 * A struct op_request lies in the memory of its HTTP request, which is gone once it is answered,
 * and every request that waits has a deadline. So what is under way keeps a copy of what it needs
 * and the request's handle, and finds the request again by it, or does not. */
#ifndef OP_ADMIN_INTERNAL_H
#define OP_ADMIN_INTERNAL_H

#include "gateway/admin/admin.h"
#include "gateway/admin/outcomes.h"
#include "gateway/admin/reads.h"
#include "gateway/config/kinds/pin.h"
#include "gateway/metrics.h"
#include "gateway/server/http.h"
#include "gateway/server/problem.h"
#include "gateway/answers/verdict.h"
#include "gateway/orders/order_events.h"

#include <sodium.h>

#define OP_BODY_MAX (1u << 20)
#define OP_WAIT_MS  10000
#define OP_PEER_LEN 46

struct op_request;
struct op_change;
struct op_audit;
struct op_task;
typedef void op_request_fn(struct op_request *request);
TAILQ_HEAD(op_tasks, op_task);

struct op_admin {
    struct op_deps deps;
    struct srv_http *http;                      /* NULL: closed */
    TAILQ_HEAD(op_waiting, op_request) waiting; /* in the order of their coming */
    bool changing;                              /* a change is under way */
    uv_timer_t tick;                            /* runs while a request waits */
    uv_async_t wake;                            /* the next turn; an audit's cut has been taken */
    struct op_standby {
        int64_t has;      /* the last record of the journal that is on its disk */
        int64_t asked_ns; /* 0: never */
    } standby;
    struct op_reads reads; /* long ones, on work threads */
    struct op_audit *audit;
    struct ps_pool *outcomes;
    struct op_tasks tasks;  /* whose outcomes are awaited (task.h) */
    struct op_tasks doubts; /* lowerings whose outcome is unknown */
    size_t open; /* what will call back: changes, work, handles; the memory goes with the last */
};

struct op_request {
    struct op_admin *admin;
    struct srv_request *http;
    uint64_t handle;             /* 0 = does not wait */
    const struct cfg_kind *kind; /* what stands for the {kind} of the route's path */
    struct ps_str arg[2];        /* what stands for its {} */
    json_t *body;                /* NULL = none */
    char who[PS_NAME_MAX + 1];   /* id of the token */
    enum op_role role;           /* of the token; of routes that are open: viewer */
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];     /* member `reason` of the body; "" = none */
    op_request_fn *run;         /* the route's handler */
    bool turn;                  /* waits for its turn */
    op_request_fn *on_tick;     /* while it waits; NULL = nothing to look at */
    op_request_fn *on_deadline; /* must answer; NULL = 503 */
    int64_t deadline_ns;
    struct op_task *task; /* while it waits for the outcome of one */
    unsigned conflicts;
    bool created; /* the answer will be 201 */
    TAILQ_ENTRY(op_request) waiting;
};

/* --- admin.c: waiting --- */

/* Keeps the request until it is answered. Called again it sets a new deadline. */
uint64_t op_wait(struct op_request *request, int64_t timeout_ms);
/* NULL: answered meanwhile. */
struct op_request *op_find(struct op_admin *admin, uint64_t handle);
/* Every answer begins with this. */
void op_leave(struct op_request *request);
/* Ends the turn of a change: those that wait come next, on the loop's next turn. */
void op_turn_over(struct op_admin *admin);
/* Something that will call back has begun, has ended. */
void op_hold(struct op_admin *admin);
void op_release(struct op_admin *admin);

/* --- routes.c --- */
void op_handle(struct srv_request *http, void *admin);
/* False: answered; exports and large audits give way. */
bool op_exports_are_on(struct op_request *request);
/* For a handler that finds out by itself whether it changes something: false: it is called again in
 * its turn. */
bool op_is_its_turn(struct op_request *request);

/* --- answer.c --- */

/* 200 or 201 with a document, which is taken over (NULL = out of memory: 500). */
void op_json(struct op_request *request, enum ans_verdict verdict, json_t *json);
/* A document as text, with the newline that a terminal needs; it is taken over (NULL is allowed).
 * Heap; NULL: out of memory. Any thread. */
char *op_json_line(json_t *json);
/* NDJSON; `text` is heap and taken over. `last` < 0: no Penstock-Last-Seq. */
void op_ndjson(struct op_request *request, char *text, size_t len, int64_t last);
/* Before the answer: its header Penstock-Last-Seq. */
void op_last_seq(struct op_request *request, int64_t last);
/* `text` is heap and taken over. */
void op_text(struct op_request *request, const char *type, char *text, size_t len);
void op_empty(struct op_request *request); /* 204 */
void op_etag(struct op_request *request, int64_t version);
void op_no(struct op_request *request, enum ans_verdict verdict, const char *fmt, ...)
    PS_PRINTF(3, 4);
void op_fault(struct op_request *request, enum ans_verdict verdict, const struct ps_fault *fault);
/* The first fault as the problem's own, and all in a list. */
void op_faults(struct op_request *request, enum ans_verdict verdict,
               const struct ps_faults *faults);
/* A negative result of oq_log_append or of reading the log. */
void op_no_log(struct op_request *request, int err);
/* The same of a read; `why` is what there is to say of it, or "". */
void op_no_read(struct op_request *request, int err, const char *why);

/* Is If-Match there, and does it name this version? */
enum op_match { OP_MATCH_NONE, OP_MATCH_YES, OP_MATCH_NO };
enum op_match op_if_match(const struct op_request *request, int64_t version);
/* If-Match: *. */
bool op_matches_any(const struct op_request *request);
/* False: answered. For resources whose If-Match is optional. */
bool op_matches(struct op_request *request, int64_t version);

/* Parameters of the query, each at most once. */
struct op_param {
    const char *name;
    char *text;      /* NULL: a number */
    size_t cap;      /* of text, with NUL; "" when absent */
    int64_t *number; /* untouched when absent */
    int64_t min, max;
    bool *flag; /* set when it is there, whatever its value; then neither text nor number */
};
/* Reads all; an unknown, repeated or bad one is answered with 422: false. */
bool op_query(struct op_request *request, const struct op_param *params, size_t count);
/* The index of a word of the NULL-terminated list; `note` is added to what is said of others.
 * False: answered with 422. */
bool op_query_word(struct op_request *request, const char *param, const char *text,
                   const char *const *words, const char *note, int *ret_index);
/* Percent-decodes. PS_E_INVALID: not well-formed, a NUL, or too long for `cap` with its NUL. */
int op_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len) PS_MUST_CHECK;
/* A body that is absent, or an object that holds nothing but (maybe) a reason. False: answered. */
bool op_only_reason(struct op_request *request);
/* The body of POST …/pin, asked by who asks, at `now_ms` of the wall clock. False: answered. */
bool op_read_pin(struct op_request *request, const struct cfg_pin_words *words, int64_t now_ms,
                 struct cfg_pin *ret_pin);

/* --- change.c: changes of what the store keeps --- */

struct op_change {
    struct op_admin *admin;
    uint64_t handle;           /* of the request */
    struct cfg_change *change; /* until it is submitted */
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];
    const char *action; /* literal */
    char target[CFG_NAME_MAX + 64];
    /* Whatever came of it; may be NULL. */
    void (*end)(struct op_change *change, bool written);
    /* It is durable and in force, and the request is still there. */
    void (*answer)(struct op_request *request, struct op_change *change);
    /* What `answer` needs. */
    const struct cfg_kind *kind; /* of the one document that changes */
    char name[CFG_NAME_MAX + 1]; /* its name; of a bundle its kinds, as asked */
    char secret[OP_TOKEN_LEN + 1];
    char token[PS_NAME_MAX + 1];
};

/* An empty change by who asks. NULL: answered with 500. */
struct op_change *op_change_new(struct op_request *request, const char *action, const char *target);
/* Submits; the request waits for the end. Takes the change over. */
void op_change_submit(struct op_request *request, struct op_change *change);
void op_change_free(struct op_change *change); /* instead */
/* The same, and answers all that is wrong with what was put in: an error of cfg_change_put. */
void op_change_refuse(struct op_request *request, struct op_change *change, int err,
                      enum cfg_refusal refusal, const struct ps_faults *faults);

/* The audit line of something that the order log already remembers: written behind it. `done` comes
 * once, also when the line could not be written (which is logged), maybe at once. */
struct op_audit_entry {
    struct op_admin *admin;
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[CFG_WHY_SIZE];
    const char *action;
    char target[CFG_NAME_MAX + 64];
    void (*done)(struct op_audit_entry *line);
};
/* Takes from and to over. */
void op_audit_entry_write(struct op_audit_entry *line, json_t *from, json_t *to);

/* --- documents.c --- */

/* The document that the path names. False: answered. */
struct op_target {
    const struct cfg_kind *kind;
    char name[CFG_NAME_MAX + 1];
    const struct cfg_doc *have; /* in force; NULL: none */
};
bool op_read_target(struct op_request *request, const struct cfg_kind *kind,
                    struct op_target *ret_target);
/* A document as GET shows it; NULL: out of memory. */
json_t *op_document_json(const struct op_admin *admin, const struct cfg_doc *doc);
/* 200 or 201 with the document in force, or 404. */
void op_say_document(struct op_request *request, const struct cfg_kind *kind, const char *name);
void op_answer_empty(struct op_request *request, struct op_change *change); /* 204 */
/* An empty change of one document. NULL: answered. */
struct op_change *op_document_change(struct op_request *request, const struct op_target *target,
                                     const char *action);
/* Puts the next version of the document in; takes `json` over (NULL: out of memory). False:
 * answered, and the change is gone. */
bool op_document_put(struct op_request *request, struct op_change *change, json_t *json);
/* Submits a change of the document's state alone, with `from` and `to` for its audit line; takes
 * all three over (state NULL: out of memory). It is answered with the document. */
void op_document_state(struct op_request *request, const struct op_target *target,
                       const char *action, json_t *state, json_t *from, json_t *to);
/* The query of a change: dry_run alone. False: answered. */
bool op_read_dry_run(struct op_request *request, bool *ret_dry_run);
/* What a change would do: its documents, and what differs; `tag` is the version or revision in
 * force (0: none). Frees the change. */
void op_say_dry_run(struct op_request *request, struct op_change *change, int64_t tag);

/* The document that the path names is deleted, whatever its version: a rehearsal, once it is
 * archived. */
void op_delete_discarded(struct op_request *request);

/* --- sales.c --- */
/* Before the document of a rehearsal that has been opened is deleted: the sale goes without an
 * archive. False: there is nothing in the way. */
bool op_discard_sale(struct op_request *request);
/* Which sales a list is to have. */
struct op_sale_filter {
    int rehearsal;   /* 0, 1; -1: all */
    unsigned states; /* by bit; 0: all */
};
/* From the texts of the query, "" = all. False: answered. */
bool op_read_sale_filter(struct op_request *request, const char *rehearsal, const char *states,
                         struct op_sale_filter *ret_filter);
bool op_sale_is_wanted(const struct op_admin *admin, const struct cfg_doc *doc,
                       const struct op_sale_filter *filter);
/* Adds to a sale's document what has become of it; 0 or -1. */
int op_show_sale(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);
/* Answers with the sale, as soon as it can be bought from if it is due. */
void op_answer_sale(struct op_request *request, struct op_change *change);
/* One SKU's numbers: {"available","in_doubt","held","confirmed","adjustments"}. */
json_t *op_sku_json(const struct op_admin *admin, const struct sale_entry *sale, const char *sku);
/* Does the change (`from` NULL: a new sale) open the sale the moment that it is made? */
bool op_opens_now(const struct op_admin *admin, const struct cfg_doc *from,
                  const struct cfg_doc *to);
/* It was served since the start, and will be again if it is fenced now. */
bool op_is_served(const struct sale_entry *sale);
/* NULL: answered with 404. */
struct sale_entry *op_sale(struct op_request *request);

/* --- pool_metrics.c --- */

/* The samples of a row of pools or routes; `table` may be NULL. */
void op_print_pools(FILE *out, enum gw_metric row, const struct up_table *table);
void op_print_discovery(FILE *out, enum gw_metric row, const struct up_discovery *discovery,
                        const struct up_table *table);

/* --- pools.c --- */
/* Adds to a pool's document its endpoints as they are at this moment; 0 or -1. */
int op_show_pool(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);

/* --- overload.c, ladder.c --- */
/* Add what is so at this moment to a document; 0 or -1. */
int op_show_feature(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);
int op_show_overload(const struct op_admin *admin, json_t *json);
/* The ladder's part of the latter. */
int op_show_ladder(const struct op_admin *admin, json_t *json);
/* What each level turns off, after the change (NULL: as it is), and how often that was used in the
 * last minute. NULL: out of memory. */
json_t *op_levels_json(const struct op_admin *admin, const struct cfg_change *change);
/* The document with what is measured, and with its history. */
op_request_fn op_get_overload;

/* --- caches.c --- */

int op_show_cache(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);
/* The samples of a row of caches. */
void op_print_caches(FILE *out, enum gw_metric row, const struct caches *caches);

/* --- switching.c --- */
/* Adds what has become of a route; 0 or -1. */
int op_show_route(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json);

/* --- export.c --- */
/* Answers with up to `limit` (1..1,000) records of the log behind `after`, of all sales. */
void op_export_journal(struct op_request *request, int64_t after, int64_t limit);

/* --- standby.c --- */
/* Has the standby this record of the journal on its disk? */
bool op_standby_has(const struct op_admin *admin, int64_t seq);
/* For a scrape. */
void op_gather_standby(const struct op_admin *admin);

/* --- handlers of routes --- */
op_request_fn op_list_documents, op_get_document, op_put_document, op_patch_document,
    op_delete_document, op_list_versions, op_get_version, op_rollback; /* documents.c */
op_request_fn op_get_config, op_put_config, op_list_config_versions,
    op_rollback_config;                                                        /* config.c */
op_request_fn op_open_sale, op_pause_sale, op_resume_sale, op_end_sale;        /* sales.c */
op_request_fn op_adjust;                                                       /* adjust.c */
op_request_fn op_get_order, op_confirm_order, op_cancel_order, op_order_batch; /* orders.c */
op_request_fn op_list_orders, op_read_log, op_read_audit_log;                  /* export.c */
op_request_fn op_pin_level, op_unpin_level, op_pin_feature, op_unpin_feature;  /* ladder.c */
op_request_fn op_get_standby, op_standby_journal, op_standby_control;          /* standby.c */
op_request_fn op_audit_sale;                                                   /* audit.c */
op_request_fn op_rebuild_sale;                                                 /* rebuild.c */
op_request_fn op_list_flow, op_pin_flow, op_unpin_flow;                        /* flow.c */
op_request_fn op_purge_cache;                                                  /* caches.c */
op_request_fn op_fallback_route, op_restore_route, op_resume_route;            /* switching.c */
op_request_fn op_list_breakers, op_force_breaker, op_release_breaker;          /* breakers.c */
op_request_fn op_list_endpoints, op_get_endpoint, op_put_endpoint,
    op_delete_endpoint; /* endpoints.c */
op_request_fn op_livez, op_readyz, op_metrics, op_get_settings, op_list_tokens, op_new_token,
    op_delete_token, op_drain; /* ops.c */
op_request_fn op_list_rehearsal_keys, op_new_rehearsal_key,
    op_delete_rehearsal_key; /* rehearsal_keys.c */

/* --- audit.c --- */
int op_audit_new(struct op_admin *admin, struct op_audit **ret_audit) PS_MUST_CHECK;
/* Before its memory goes: its timers end. */
void op_audit_stop(struct op_audit *audit);
void op_audit_free(struct op_audit *audit);
/* The samples of a row of audits. */
void op_print_audits(FILE *out, enum gw_metric row, const struct op_deps *deps);
/* On every wake: has a cut been taken? */
void op_audit_wake(struct op_admin *admin);

#endif
